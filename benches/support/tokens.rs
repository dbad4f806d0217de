//! An issuer with one key of each common kind.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The issuer's address.
pub const ISSUER: &str = "https://login.clinic.example";

/// The issuer.
pub struct Signer {
    ec: EcdsaKeyPair,
    rsa: RsaKeyPair,
}

impl Signer {
    /// Makes its keys: P-256 and RSA with 2048 bits.
    pub fn new() -> Self {
        Self {
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
        }
    }

    /// The public keys as a JWK set.
    pub fn jwks(&self) -> String {
        let (x, y) = self.ec.public_key().as_ref()[1..].split_at(32);
        let rsa = self.rsa.public_key();
        let (n, e) = (
            rsa.modulus().big_endian_without_leading_zero(),
            rsa.exponent().big_endian_without_leading_zero(),
        );
        json!({ "keys": [
            { "kty": "EC", "crv": "P-256", "kid": "ec", "x": encode(x), "y": encode(y) },
            { "kty": "RSA", "kid": "rsa", "n": encode(n), "e": encode(e) },
        ]})
        .to_string()
    }

    /// A patient's token with the usual claims, at this `acr`.
    pub fn token(&self, algorithm: &str, acr: &str, now: i64) -> String {
        let kid = if algorithm == "ES256" { "ec" } else { "rsa" };
        let header = json!({ "alg": algorithm, "typ": "at+jwt", "kid": kid });
        let input = format!("{}.{}", encode(header.to_string()), encode(claims(acr, now).to_string()));
        let random = SystemRandom::new();
        let signature = if algorithm == "ES256" {
            self.ec.sign(&random, input.as_bytes()).expect("a signature").as_ref().to_vec()
        } else {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(&RSA_PKCS1_SHA256, &random, input.as_bytes(), &mut signature).expect("a signature");
            signature
        };
        format!("{input}.{}", encode(signature))
    }
}

fn claims(acr: &str, now: i64) -> Value {
    json!({
        "iss": ISSUER, "aud": ["portal-api"], "sub": "248289761001", "client_id": "portal", "azp": "portal",
        "iat": now, "exp": now + 3600, "auth_time": now - 30, "jti": "0199f2c4-6d1e-7a53-8f3e-0c9d1b2a4e5f",
        "sid": "08a5019c-17e1-4977-8f42-65a12843ea02", "acr": acr, "amr": ["pwd"],
        "scope": "openid profile records", "groups": ["patient", "manager"], "patient_id": "p1",
    })
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
