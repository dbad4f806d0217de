//! What issuers answer now, looked at once for an operator: metadata, keys, credentials, clocks.

use std::time::Duration;

use reqwest::Url;
use tokio::time::Instant;

use super::discovery::{Discovery, Member, configured};
use super::error::{Owner, with_causes};
use super::file;
use super::http::{Answer, ClientCredentials, HttpClient};
use super::jwks::Keys;
use crate::config::settings::{IssuerSettings, KeySource};
use crate::identity::IssuerRules;
use crate::identity::jwk::KeySet;

/// What one issuer answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Its keys or, where tokens are asked about, its introspection endpoint: what was found, or why not.
    pub proof: Result<String, String>,
    /// Its metadata, where people sign in there and nothing else has asked for it.
    pub sign_in: Option<Result<(), String>>,
    /// Its clock less this machine's, in seconds; `None` where it did not say. Good to a second.
    pub ahead: Option<i64>,
}

/// Asks an issuer, and waits for each answer for at most `patience`.
pub async fn survey(rules: &IssuerRules, settings: &IssuerSettings, patience: Duration) -> Survey {
    let needs_tls = settings.issuer.starts_with("https:")
        || matches!(&settings.source, KeySource::Address(url) if url.starts_with("https:"))
        || matches!(&settings.source, KeySource::Introspection { endpoint: Some(url), .. } if url.starts_with("https:"));
    let http = match HttpClient::new(needs_tls) {
        Ok(http) => http,
        Err(error) => return Survey { proof: Err(with_causes(&error)), sign_in: None, ahead: None },
    };
    let asker = Asker { rules, settings, http, patience };
    let (proof, address) = match asker.proof().await {
        Ok((found, address)) => (Ok(found), address),
        Err((why, address)) => (Err(why), address),
    };
    let sign_in = match (&settings.sign_in, &settings.source) {
        (None, _) | (_, KeySource::Discovery) => None,
        (Some(_), _) => Some(asker.metadata().await),
    };
    let ahead = match address {
        Some(address) => asker.ahead(&address).await,
        None => None,
    };
    Survey { proof, sign_in, ahead }
}

struct Asker<'s> {
    rules: &'s IssuerRules,
    settings: &'s IssuerSettings,
    http: HttpClient,
    patience: Duration,
}

/// What was found, and an address of the issuer's whose clock can be asked.
type Found = Result<(String, Option<Url>), (String, Option<Url>)>;

impl Asker<'_> {
    fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    fn discovery(&self) -> Result<Discovery, String> {
        Discovery::new(&self.settings.name, &self.settings.issuer).map_err(|error| error.to_string())
    }

    async fn proof(&self) -> Found {
        let told = |error: &dyn std::fmt::Display| (error.to_string(), None);
        let name = &self.settings.name;
        let address = match &self.settings.source {
            KeySource::File(path) => {
                let read = Keys::from_file(name, path).map_err(|error| told(&error))?;
                let keys = read.current();
                let said = keys.map_or(Ok(String::new()), |keys| self.usable(&keys.snapshot.value));
                return said.map(|said| (said, None)).map_err(|why| (why, None));
            }
            KeySource::Introspection { endpoint, client_id, client_secret_file, .. } => {
                let secret = file::read_secret(file::CLIENT_SECRET, &Owner::issuer(name), client_secret_file)
                    .map_err(|error| told(&error))?;
                let credentials = ClientCredentials::new(client_id, &secret);
                let address = match endpoint {
                    Some(address) => {
                        configured("introspection endpoint", name, address).map_err(|error| told(&error))?
                    }
                    None => self.discovered(Member::Introspection).await.map_err(|why| (why, None))?,
                };
                let asked = self.introspect(&address, &credentials).await;
                return asked.map(|said| (said, Some(address.clone()))).map_err(|why| (why, Some(address)));
            }
            KeySource::Address(address) => {
                configured("`jwks` address", name, address).map_err(|error| told(&error))?
            }
            KeySource::Discovery => self.discovered(Member::Keys).await.map_err(|why| (why, None))?,
        };
        let fetched = self.http.get(&address, self.deadline()).await.map_err(|error| error.to_string());
        let keys = fetched.and_then(|text| {
            let shown = |error| format!("the keys at `{address}` can't be used: {error}");
            self.usable(&KeySet::parse(&text).map_err(shown)?)
        });
        keys.map(|said| (said, Some(address.clone()))).map_err(|why| (why, Some(address)))
    }

    /// Whether the configured algorithms can be verified with any of the keys.
    fn usable(&self, keys: &KeySet) -> Result<String, String> {
        let served: Vec<_> =
            self.rules.algorithms.iter().filter(|it| keys.serves(**it)).map(|it| it.name()).collect();
        if served.is_empty() {
            let wanted: Vec<_> = self.rules.algorithms.iter().map(|it| it.name()).collect();
            return Err(format!("none of its {} keys is for {}", keys.len(), wanted.join(", ")));
        }
        Ok(format!("{} usable keys, for {}; {} left out", keys.len(), served.join(", "), keys.skipped()))
    }

    async fn discovered(&self, member: Member) -> Result<Url, String> {
        let found = self.discovery()?.find(member, &self.http, self.deadline()).await;
        found.map_err(|error| error.to_string())
    }

    /// Asks about a token that nobody has issued: what counts is that the question is answered.
    async fn introspect(&self, address: &Url, credentials: &ClientCredentials) -> Result<String, String> {
        let form = "token=wardgate-doctor".to_owned();
        match self.http.post_form_or_refusal(address, credentials, form, self.deadline()).await {
            Ok(Answer::Good(_)) => Ok(format!("`{address}` answers about tokens")),
            Ok(Answer::Refusal(code)) => Err(format!("`{address}` refuses the question: {code}")),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn metadata(&self) -> Result<(), String> {
        let asked = self.discovery()?.metadata(&self.http, self.deadline()).await;
        asked.map(|_| ()).map_err(|error| error.to_string())
    }

    async fn ahead(&self, address: &Url) -> Option<i64> {
        let theirs = self.http.clock(address, self.deadline()).await?;
        Some(theirs - jiff::Timestamp::now().as_second())
    }
}
