//! Where an issuer is asked to ask people, as its metadata says (OpenID Connect CIBA Core 1.0 §4).

use reqwest::Url;
use tokio::time::Instant;

use crate::keys::discovery::Discovery;
use crate::keys::error::FetchError;
use crate::keys::http::HttpClient;
use crate::keys::refreshed::Fetch;

/// The endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Takes questions.
    pub ask: Url,
    /// Gives answers.
    pub token: Url,
    /// Whether it knows the parameter `claims`.
    pub takes_claims: bool,
}

/// An issuer with such endpoints.
#[derive(Debug, Clone)]
pub struct RemoteEndpoints {
    /// Its metadata.
    pub discovery: Discovery,
    /// How it is asked.
    pub http: HttpClient,
}

impl Fetch for RemoteEndpoints {
    type Value = Endpoints;

    const WHAT: &'static str = "addresses for asking on the phone";

    async fn fetch(&self, deadline: Instant) -> Result<Endpoints, FetchError> {
        let metadata = self.discovery.metadata(&self.http, deadline).await?;
        Ok(Endpoints {
            ask: metadata.place("backchannel_authentication_endpoint")?,
            token: metadata.place("token_endpoint")?,
            takes_claims: metadata.says("claims_parameter_supported"),
        })
    }

    fn upholds(new: &Endpoints, old: &Endpoints) -> bool {
        new == old
    }

    fn describe(endpoints: &Endpoints) -> String {
        format!("people are asked through {}", endpoints.ask)
    }
}

/// What an operator can do about an error of the client's own.
pub fn client_remedy(code: &str) -> &'static str {
    match code {
        "invalid_client" => "check `client_id` and what `client_secret_file` holds",
        "unauthorized_client" | "unsupported_grant_type" => {
            "let this client use the grant `urn:openid:params:grant-type:ciba` in poll mode"
        }
        "invalid_scope" => "check `scopes`: the issuer does not give this client all of them",
        "invalid_binding_message" => "write a shorter and plainer `binding_message`",
        _ => "see the issuer's own logs, and its settings of this client",
    }
}
