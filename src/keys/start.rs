//! Making a [`Verifier`] from the configuration: reads files, checks addresses, asks nobody yet.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;
use tokio::runtime::Handle;

use super::cache::TokenCache;
use super::discovery::{Discovery, configured};
use super::error::Owner;
use super::http::{ClientCredentials, HttpClient};
use super::introspection::{Endpoint, Introspector, Question, RemoteEndpoint};
use super::jwks::{Keys, RemoteKeys};
use super::provider::{Access, RemoteProvider, SignIn};
use super::refreshed::Refreshed;
use super::transmitter::{Polled, RemoteTransmitter, Transmitter};
use super::{Issuer, OpaqueTokens, Proof, StartError, Verifier, file};
use crate::config::settings::{IssuerSettings, KeySource, SignalDelivery, SignalSettings};
use crate::identity::IssuerRules;
use crate::telemetry::metrics;

/// Bytes of verified tokens that are remembered: some 64,000 of the usual size.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

impl Verifier {
    /// Makes a verifier for issuers with these rules and settings, which stand in the same order.
    ///
    /// Issuers are asked on `runtime`, which must have I/O and time enabled and outlive the verifier.
    ///
    /// # Errors
    /// A file can't be read or has not what it should, an address can't be asked, or TLS is not available.
    pub fn new(
        rules: Vec<IssuerRules>,
        settings: Vec<IssuerSettings>,
        runtime: Handle,
    ) -> Result<Self, StartError> {
        Self::with_keys_of(&[], rules, settings, runtime)
    }

    /// The verifier of the next version of the configuration. Issuers whose settings are the same keep the keys that
    /// were fetched; what is remembered of tokens is forgotten, since it was judged by the old rules.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn succeeded_by(
        &self,
        rules: Vec<IssuerRules>,
        settings: Vec<IssuerSettings>,
    ) -> Result<Self, StartError> {
        Self::with_keys_of(&self.issuers, rules, settings, self.runtime.clone())
    }

    fn with_keys_of(
        earlier: &[Issuer],
        rules: Vec<IssuerRules>,
        settings: Vec<IssuerSettings>,
        runtime: Handle,
    ) -> Result<Self, StartError> {
        let http = HttpClient::new(settings.iter().any(needs_tls))?;
        let builder = Builder { runtime, http, cache: Arc::new(TokenCache::new(CACHE_BYTES)), earlier };
        let mut settings = settings.into_iter();
        let (mut issuers, mut by_address) = (Vec::new(), HashMap::new());
        for rules in rules {
            let position = issuers.len();
            let own = settings
                .next()
                .filter(|own| own.name.as_ref() == rules.name.as_ref() && rules.index == position);
            let own = own.ok_or_else(|| StartError::NoSettings(rules.name.as_ref().into()))?;
            if by_address.insert(rules.issuer.clone(), position).is_some() {
                return Err(StartError::SameIssuer(rules.issuer));
            }
            let rules = Arc::new(rules);
            let proof = builder.proof(&rules, own.clone())?;
            let sign_in = builder.sign_in(&rules, &own, &proof)?;
            let transmitter = builder.transmitter(&rules, &own)?;
            issuers.push(Issuer { rules, settings: own, proof, sign_in, transmitter });
        }
        Ok(Self {
            opaque: OpaqueTokens::among(&issuers),
            issuers,
            by_address,
            cache: builder.cache,
            runtime: builder.runtime,
            hits: metrics().token_cache.with_label_values(&["hit"]),
            misses: metrics().token_cache.with_label_values(&["miss"]),
        })
    }
}

impl OpaqueTokens {
    fn among(issuers: &[Issuer]) -> Self {
        let mut introspectors = issuers.iter().filter_map(|issuer| match &issuer.proof {
            Proof::Answer(introspector) => Some(introspector),
            Proof::Signature(_) => None,
        });
        match (introspectors.next(), introspectors.next()) {
            (None, _) => Self::Nobody,
            (Some(only), None) => Self::Issuer(Arc::clone(only)),
            (Some(_), Some(_)) => Self::Ambiguous,
        }
    }
}

/// What the issuers share.
struct Builder<'e> {
    runtime: Handle,
    http: HttpClient,
    cache: Arc<TokenCache>,
    /// Issuers of the version before.
    earlier: &'e [Issuer],
}

impl Builder<'_> {
    /// What was fetched from the same issuer, by the same settings, under the version before.
    fn fetched_before(&self, settings: &IssuerSettings) -> Option<&Issuer> {
        self.earlier.iter().find(|issuer| issuer.settings == *settings)
    }

    fn sign_in(
        &self,
        rules: &Arc<IssuerRules>,
        settings: &IssuerSettings,
        proof: &Proof,
    ) -> Result<Option<SignIn>, StartError> {
        let Some(own) = &settings.sign_in else { return Ok(None) };
        let (name, issuer) = (settings.name.as_ref(), settings.issuer.as_ref());
        let secret = file::read_secret(file::CLIENT_SECRET, &Owner::issuer(name), &own.client_secret_file)?;
        let credentials = ClientCredentials::new(&own.client_id, &secret);
        if let Some(before) = self.fetched_before(settings).and_then(|issuer| issuer.sign_in.as_ref()) {
            return Ok(Some(before.with_credentials(credentials)));
        }
        let fetched = |fetch| {
            Keys::Fetched(Refreshed::new(Arc::clone(&rules.name), fetch, settings.keys, self.runtime.clone()))
        };
        let discovery = Discovery::new(name, issuer)?;
        let own_keys = match proof {
            Proof::Signature(_) => None,
            // Access tokens are asked about; ID tokens are signed all the same.
            Proof::Answer(_) => Some(fetched(RemoteKeys::discovered(discovery.clone(), self.http.clone()))),
        };
        let pages = RemoteProvider::new(discovery, self.http.clone());
        let pages = Refreshed::new(Arc::clone(&rules.name), pages, settings.keys, self.runtime.clone());
        let access =
            Access { http: self.http.clone(), runtime: self.runtime.clone(), timeout: settings.keys.timeout };
        Ok(Some(SignIn::new(pages, own_keys, credentials, access)))
    }

    fn transmitter(
        &self,
        rules: &Arc<IssuerRules>,
        settings: &IssuerSettings,
    ) -> Result<Option<Transmitter>, StartError> {
        let Some(own) = &settings.signals else { return Ok(None) };
        let name = settings.name.as_ref();
        let (what, path) = ("authorization", own.authorization_file.as_deref());
        let secret = path.map(|path| file::read_secret(what, &Owner::issuer(name), path)).transpose()?;
        let announced = match self.fetched_before(settings).and_then(|issuer| issuer.transmitter.as_ref()) {
            Some(before) => Arc::clone(&before.announced),
            None => {
                let keys = own.jwks_url.as_deref();
                let keys = keys.map(|url| configured("`shared_signals.jwks_url`", name, url)).transpose()?;
                let metadata = Discovery::transmitter(name, &own.rules.transmitter)?;
                let remote = RemoteTransmitter { metadata, keys, http: self.http.clone() };
                Refreshed::new(Arc::clone(&rules.name), remote, settings.keys, self.runtime.clone())
            }
        };
        let (authorization, polled) = match (&own.delivery, secret) {
            (SignalDelivery::Push(_), secret) => (secret.map(|secret| secret.into_bytes().into()), None),
            (SignalDelivery::Poll { url, .. }, secret) => {
                let value = secret.map(|secret| HeaderValue::from_str(&secret)).transpose();
                let authorization = value.map_err(|_| StartError::NoHeader {
                    what,
                    whose: Owner::issuer(name),
                    path: path.unwrap_or(Path::new("")).into(),
                })?;
                let url = configured("`shared_signals.poll.url`", name, url)?;
                (None, Some(Polled { url, authorization }))
            }
        };
        let access =
            Access { http: self.http.clone(), runtime: self.runtime.clone(), timeout: settings.keys.timeout };
        Ok(Some(Transmitter { rules: own.rules.clone(), announced, authorization, polled, access }))
    }

    fn proof(&self, rules: &Arc<IssuerRules>, settings: IssuerSettings) -> Result<Proof, StartError> {
        let (name, issuer) = (settings.name.as_ref(), settings.issuer.as_ref());
        let before = self.fetched_before(&settings).map(|issuer| &issuer.proof);
        if let Some(Proof::Signature(Keys::Fetched(keys))) = before {
            return Ok(Proof::Signature(Keys::Fetched(Arc::clone(keys))));
        }
        let endpoint_before = match before {
            Some(Proof::Answer(introspector)) => match introspector.endpoint() {
                Endpoint::Discovered(endpoint) => Some(Arc::clone(endpoint)),
                Endpoint::Fixed(_) => None,
            },
            _ => None,
        };
        let fetched = |keys| {
            let fetched = Refreshed::new(Arc::clone(&rules.name), keys, settings.keys, self.runtime.clone());
            Proof::Signature(Keys::Fetched(fetched))
        };
        Ok(match settings.source {
            KeySource::File(path) => Proof::Signature(Keys::from_file(name, &path)?),
            KeySource::Address(address) => {
                fetched(RemoteKeys::at(configured("`jwks.url`", name, &address)?, self.http.clone()))
            }
            KeySource::Discovery => {
                fetched(RemoteKeys::discovered(Discovery::new(name, issuer)?, self.http.clone()))
            }
            KeySource::Introspection { endpoint, client_id, client_secret_file, cache, timeout } => {
                let endpoint = match (endpoint, endpoint_before) {
                    (Some(address), _) => {
                        Endpoint::Fixed(configured("`introspection.endpoint`", name, &address)?)
                    }
                    (None, Some(before)) => Endpoint::Discovered(before),
                    (None, None) => {
                        let remote = RemoteEndpoint::new(Discovery::new(name, issuer)?, self.http.clone());
                        Endpoint::Discovered(Refreshed::new(
                            Arc::clone(&rules.name),
                            remote,
                            settings.keys,
                            self.runtime.clone(),
                        ))
                    }
                };
                let credentials = ClientCredentials::new(
                    &client_id,
                    &file::read_secret(file::CLIENT_SECRET, &Owner::issuer(name), &client_secret_file)?,
                );
                let question = Question { endpoint, credentials, remember: cache, timeout };
                let (http, runtime) = (self.http.clone(), self.runtime.clone());
                Proof::Answer(Introspector::new(
                    Arc::clone(rules),
                    question,
                    http,
                    runtime,
                    Arc::clone(&self.cache),
                ))
            }
        })
    }
}

/// Whether an issuer is asked over TLS.
fn needs_tls(settings: &IssuerSettings) -> bool {
    if settings.sign_in.is_some() && !settings.issuer.starts_with("http://") {
        return true;
    }
    let mut of_signals = settings.signals.iter().flat_map(SignalSettings::addresses);
    if of_signals.any(|address| !address.starts_with("http://")) {
        return true;
    }
    let address = match &settings.source {
        KeySource::File(_) => return false,
        KeySource::Address(address) | KeySource::Introspection { endpoint: Some(address), .. } => address,
        KeySource::Discovery | KeySource::Introspection { endpoint: None, .. } => &settings.issuer,
    };
    !address.starts_with("http://")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::{ISSUER, Minter};
    use crate::keys::testing::{Gateway, install_crypto};

    fn error(gateway: &Gateway) -> String {
        install_crypto();
        let made = Verifier::new(gateway.rules.clone(), gateway.settings.clone(), Handle::current());
        made.err().expect("an error").to_string()
    }

    fn with(source: KeySource) -> Gateway {
        Gateway::new(ISSUER, source)
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_file_is_said_at_start() {
        let text = error(&with(KeySource::File("/no/such/keys.json".into())));
        assert!(text.contains("`people`") && text.contains("`/no/such/keys.json`"), "{text}");
        let mut gateway = Gateway::keys_in_file("{}");
        assert!(error(&gateway).contains("can't be used"));
        gateway.settings[0].source =
            KeySource::File(gateway.file("secret-keys", r#"{"keys":[{"kty":"oct","k":"aa"}]}"#));
        assert!(error(&gateway).contains("none of its 1 keys"));
        gateway.settings[0].source = KeySource::Introspection {
            endpoint: None,
            client_id: "gateway".into(),
            client_secret_file: gateway.file("empty", "\n"),
            cache: std::time::Duration::ZERO,
            timeout: std::time::Duration::from_secs(1),
        };
        assert!(error(&gateway).contains("is empty"));
    }

    #[tokio::test]
    async fn an_address_that_can_not_be_asked_is_said_at_start() {
        let text = error(&with(KeySource::Address("login.test/keys".into())));
        assert!(text.contains("`jwks.url` `login.test/keys`") && text.contains("no URL"), "{text}");
        let mut gateway = with(KeySource::Discovery);
        gateway.settings[0].issuer = "https://login.test/?tenant=1".into();
        assert!(error(&gateway).contains("query"));
    }

    #[tokio::test]
    async fn issuers_are_told_apart_and_belong_to_their_settings() {
        let mut gateway = Gateway::keys_in_file(&Minter::es256("k").jwks());
        gateway.add(ISSUER, &Minter::es256("k").jwks());
        assert!(error(&gateway).contains("two issuers"));
        gateway.rules[1].issuer = "https://other.test".into();
        gateway.settings.swap(0, 1);
        assert!(error(&gateway).contains("`people` has rules but no settings"));
        gateway.settings.clear();
        assert!(error(&gateway).contains("`people` has rules but no settings"));
    }
}
