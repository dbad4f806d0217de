//! Issuers at which people sign in: where their pages are, what they give for a code, and whether they signed it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::discovery::Discovery;
use super::error::FetchError;
use super::http::{ClientCredentials, HttpClient};
use super::jwks::Keys;
use super::refreshed::{Fetch, Refreshed};
use super::{Issuer, Proof, Verifier};
use crate::enforce::flight::Flight;
use crate::enforce::sessions::{Grant, Provider, ProviderFault, Providers, Tokens};
use crate::identity::IssuerRules;
use crate::identity::TokenFault;
use crate::identity::jwt::{Media, UnverifiedJwt};
use crate::request::json;

/// Where an issuer's pages are, as its metadata says.
#[derive(Debug, Clone)]
pub struct RemoteProvider {
    discovery: Discovery,
    http: HttpClient,
}

impl RemoteProvider {
    /// The pages of this issuer.
    pub fn new(discovery: Discovery, http: HttpClient) -> Self {
        Self { discovery, http }
    }
}

/// What is needed of an issuer's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pages {
    provider: Arc<Provider>,
    token: Url,
}

impl Fetch for RemoteProvider {
    type Value = Pages;

    const WHAT: &'static str = "addresses for signing in";

    async fn fetch(&self, deadline: Instant) -> Result<Pages, FetchError> {
        let metadata = self.discovery.metadata(&self.http, deadline).await?;
        let end_session = if metadata.has("end_session_endpoint") {
            Some(metadata.place("end_session_endpoint")?.as_str().into())
        } else {
            None
        };
        let provider = Provider {
            authorization: metadata.place("authorization_endpoint")?.as_str().into(),
            end_session,
            names_itself: metadata.says("authorization_response_iss_parameter_supported"),
            takes_claims: metadata.says("claims_parameter_supported"),
        };
        Ok(Pages { provider: Arc::new(provider), token: metadata.place("token_endpoint")? })
    }

    fn upholds(new: &Pages, old: &Pages) -> bool {
        new == old
    }

    fn describe(pages: &Pages) -> String {
        format!("people sign in at {}", pages.provider.authorization)
    }
}

/// How an issuer is asked.
#[derive(Clone)]
pub struct Access {
    /// The client.
    pub http: HttpClient,
    /// Where its requests run.
    pub runtime: Handle,
    /// How long one may take.
    pub timeout: Duration,
}

/// Signing in at one issuer.
pub struct SignIn {
    pages: Arc<Refreshed<RemoteProvider>>,
    /// Keys of its ID tokens, where its access tokens are proven without any.
    keys: Option<Arc<Keys>>,
    credentials: ClientCredentials,
    access: Access,
}

impl SignIn {
    /// Puts the parts together.
    pub fn new(
        pages: Arc<Refreshed<RemoteProvider>>,
        keys: Option<Keys>,
        credentials: ClientCredentials,
        access: Access,
    ) -> Self {
        Self { pages, keys: keys.map(Arc::new), credentials, access }
    }

    /// The same with a secret that was read anew.
    pub fn with_credentials(&self, credentials: ClientCredentials) -> Self {
        let (pages, keys, access) = (Arc::clone(&self.pages), self.keys.clone(), self.access.clone());
        Self { pages, keys, credentials, access }
    }

    /// Keeps what it needs fresh, for as long as the tasks live.
    pub fn keep_fresh(&self, tasks: &mut JoinSet<()>, runtime: &Handle) {
        tasks.spawn_on(Arc::clone(&self.pages).keep_fresh(), runtime);
        if let Some(Keys::Fetched(keys)) = self.keys.as_deref() {
            tasks.spawn_on(Arc::clone(keys).keep_fresh(), runtime);
        }
    }

    /// Why nobody can sign in now, in plain words.
    pub fn unready(&self) -> Option<String> {
        let of_keys = match self.keys.as_deref() {
            Some(Keys::Fetched(keys)) => keys.unready(),
            _ => None,
        };
        self.pages.unready().or(of_keys)
    }

    async fn exchange(&self, grant: Grant<'_>) -> Result<Tokens, ProviderFault> {
        let pages = self.pages.usable().await.ok_or(ProviderFault::Unavailable)?;
        let address = pages.snapshot.value.token.clone();
        let is_refresh = matches!(grant, Grant::Refresh(_));
        let (form, http) = (form(grant), self.access.http.clone());
        let (credentials, limit) = (self.credentials.clone(), self.access.timeout);
        // On the runtime of the connections, and to its end even where the browser goes away: a code counts once.
        let asked = Flight::start(&self.access.runtime, async move {
            http.post_form(&address, &credentials, form, Instant::now() + limit).await
        });
        let answer = asked.outcome(limit).await.ok_or(ProviderFault::Unavailable)?;
        let text = answer.map_err(|error| match error {
            FetchError::InvalidGrant { .. } => {
                tracing::info!(%error, "the issuer refuses a code or a refresh token");
                ProviderFault::Refused
            }
            // About us, or about nobody. It ends a sign-in, which can be begun again, and no session.
            FetchError::Status { status: 400..=403, .. } if !is_refresh => {
                tracing::warn!(%error, "the issuer refuses us; check `client_id` and its secret");
                ProviderFault::Refused
            }
            error => {
                tracing::warn!(%error, remedy = error.remedy(), "the issuer gives no tokens");
                ProviderFault::Unavailable
            }
        })?;
        tokens(&text).ok_or_else(|| {
            tracing::warn!("the issuer's token endpoint gives an answer that can't be read (RFC 6749 §5.1)");
            ProviderFault::Unavailable
        })
    }
}

/// The body of a request to the token endpoint.
fn form(grant: Grant<'_>) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    match grant {
        Grant::Code { code, verifier, redirect_uri } => form
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("code_verifier", verifier),
        Grant::Refresh(token) => {
            form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token)
        }
    };
    form.finish()
}

/// Reads the token endpoint's answer; a member of the wrong kind is no answer.
fn tokens(text: &[u8]) -> Option<Tokens> {
    let Ok(Value::Object(members)) = json::parse(text) else { return None };
    let string = |name: &str| match members.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) => Some(Some(Box::<str>::from(text.as_str()))),
        Some(_) => None,
    };
    let expires_in = match members.get("expires_in") {
        None | Some(Value::Null) => None,
        Some(Value::Number(seconds)) => Some(seconds.as_i64().filter(|seconds| *seconds >= 0)?),
        // Some issuers quote it.
        Some(Value::String(seconds)) => Some(seconds.parse().ok().filter(|seconds| *seconds >= 0)?),
        Some(_) => return None,
    };
    Some(Tokens { id_token: string("id_token")?, refresh_token: string("refresh_token")?, expires_in })
}

impl Verifier {
    fn at(&self, issuer: usize) -> Option<(&Issuer, &SignIn)> {
        let issuer = self.issuers.get(issuer)?;
        Some((issuer, issuer.sign_in.as_ref()?))
    }
}

#[async_trait]
impl Providers for Verifier {
    fn rules(&self, issuer: usize) -> Option<&IssuerRules> {
        self.issuers.get(issuer).map(|issuer| issuer.rules.as_ref())
    }

    async fn provider(&self, issuer: usize) -> Option<Arc<Provider>> {
        let pages = self.at(issuer)?.1.pages.usable().await?;
        Some(Arc::clone(&pages.snapshot.value.provider))
    }

    async fn tokens(&self, issuer: usize, grant: Grant<'_>) -> Result<Tokens, ProviderFault> {
        let (_, sign_in) = self.at(issuer).ok_or(ProviderFault::Unavailable)?;
        sign_in.exchange(grant).await
    }

    async fn signed(&self, issuer: usize, token: &str) -> Result<(Media, Map<String, Value>), ProviderFault> {
        let (issuer, sign_in) = self.at(issuer).ok_or(ProviderFault::Unavailable)?;
        let jwt = UnverifiedJwt::parse(token).map_err(ProviderFault::Token)?;
        if jwt.issuer() != Some(issuer.rules.issuer.as_ref()) {
            return Err(ProviderFault::Token(TokenFault::UnknownIssuer));
        }
        let keys = match (&issuer.proof, sign_in.keys.as_deref()) {
            (_, Some(keys)) | (Proof::Signature(keys), None) => keys,
            (Proof::Answer(_), None) => return Err(ProviderFault::Unavailable),
        };
        let usable = keys.for_message(&jwt).await.ok_or(ProviderFault::Unavailable)?;
        jwt.signed(&issuer.rules, &usable.snapshot.value).map_err(ProviderFault::Token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_token_endpoints_are_read_strictly() {
        let all = tokens(br#"{"id_token":"a.b.c","refresh_token":"r","expires_in":300,"scope":"x"}"#)
            .expect("read");
        assert_eq!((all.id_token.as_deref(), all.refresh_token.as_deref()), (Some("a.b.c"), Some("r")));
        assert_eq!(all.expires_in, Some(300));
        assert_eq!(tokens(br#"{"expires_in":"60"}"#).expect("read").expires_in, Some(60));
        for text in [
            &b"[]"[..],
            b"{",
            br#"{"id_token":7}"#,
            br#"{"expires_in":-1}"#,
            br#"{"expires_in":true}"#,
            br#"{"id_token":"a","id_token":"b"}"#,
        ] {
            assert!(tokens(text).is_none(), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn what_is_exchanged_is_encoded() {
        let code = Grant::Code { code: "a&b", verifier: "v", redirect_uri: "https://p.test/cb?x" };
        assert_eq!(
            form(code),
            "grant_type=authorization_code&code=a%26b&redirect_uri=https%3A%2F%2Fp.test%2Fcb%3Fx&code_verifier=v"
        );
        assert_eq!(form(Grant::Refresh("r+")), "grant_type=refresh_token&refresh_token=r%2B");
    }
}
