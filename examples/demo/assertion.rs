//! How a back end learns who asks: it verifies the assertion that the gateway signed.

use std::net::SocketAddr;

use http::HeaderMap;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use tokio::sync::OnceCell;

/// The header that `gateway.yaml` names.
pub const HEADER: &str = "x-wardgate-assertion";

/// Verifies assertions with the gateway's published key.
pub struct Assertions {
    client: reqwest::Client,
    address: String,
    keys: OnceCell<JwkSet>,
}

impl Assertions {
    /// The key is fetched when the first assertion comes.
    pub fn new(client: reqwest::Client, telemetry: SocketAddr) -> Self {
        Self { client, address: format!("http://{telemetry}/.well-known/jwks.json"), keys: OnceCell::new() }
    }

    /// The claims of a valid assertion, or why there are none.
    pub async fn verify(&self, headers: &HeaderMap) -> Result<Value, String> {
        let token = headers
            .get(HEADER)
            .and_then(|value| value.to_str().ok())
            .ok_or("there is no assertion from the gateway")?;
        let keys = self.keys.get_or_try_init(|| self.fetch()).await?;
        let header = jsonwebtoken::decode_header(token)
            .map_err(|error| format!("the assertion can't be read: {error}"))?;
        let key =
            header.kid.as_deref().and_then(|id| keys.find(id)).ok_or("the assertion has another's key")?;
        let key = DecodingKey::from_jwk(key)
            .map_err(|error| format!("the gateway's key can't be used: {error}"))?;
        let mut rules = Validation::new(Algorithm::ES256);
        rules.set_issuer(&["wardgate"]);
        rules.set_audience(&["ehr"]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let token = jsonwebtoken::decode(token, &key, &rules)
            .map_err(|error| format!("the assertion is not valid: {error}"))?;
        Ok(token.claims)
    }

    async fn fetch(&self) -> Result<JwkSet, String> {
        let fault = |error: reqwest::Error| format!("the gateway's key can't be fetched: {error}");
        let text = self.client.get(&self.address).send().await.map_err(fault)?.text().await.map_err(fault)?;
        serde_json::from_str(&text).map_err(|error| format!("the gateway's key can't be read: {error}"))
    }
}
