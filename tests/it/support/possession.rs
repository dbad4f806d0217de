//! Proofs of possession (DPoP) as clients make them.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A client's key.
pub struct ClientKey {
    pair: EcdsaKeyPair,
    jwk: Value,
}

impl ClientKey {
    /// Makes one.
    pub fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let point = pair.public_key().as_ref();
        let jwk =
            json!({ "crv": "P-256", "kty": "EC", "x": encode(&point[1..33]), "y": encode(&point[33..65]) });
        Self { pair, jwk }
    }

    /// What tokens are bound to: `cnf.jkt`.
    pub fn thumbprint(&self) -> String {
        // serde_json keeps members in the order of their names, as RFC 7638 asks.
        encode(digest(&SHA256, self.jwk.to_string().as_bytes()).as_ref())
    }

    /// Claims of a proof for one request; without a token for the issuer.
    pub fn claims(method: &str, address: &str, token: Option<&str>, nonce: Option<&str>) -> Value {
        let mut claims = json!({
            "jti": uuid::Uuid::now_v7().to_string(), "htm": method, "htu": address,
            "iat": jiff::Timestamp::now().as_second(),
        });
        if let Some(token) = token {
            claims["ath"] = encode(digest(&SHA256, token.as_bytes()).as_ref()).into();
        }
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        claims
    }

    /// Signs a proof.
    pub fn proof(&self, claims: &Value) -> String {
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk });
        let input =
            format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes()).expect("signed");
        format!("{input}.{}", encode(signature.as_ref()))
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
