//! Tokens that no honest issuer would make, signed with the honest issuer's key.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::Signer;

/// The issuer's key, and one that is not.
pub struct Forge {
    document: Vec<u8>,
    other: Vec<u8>,
}

impl Forge {
    /// Makes both keys.
    pub fn new() -> Self {
        let key = || {
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .expect("a key")
                .as_ref()
                .to_vec()
        };
        Self { document: key(), other: key() }
    }

    /// The uncompressed point of the public key.
    pub fn point(&self) -> Vec<u8> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.document)
            .expect("a key")
            .public_key()
            .as_ref()
            .to_vec()
    }

    /// The issuer's key set, with one key `k1`.
    pub fn jwks(&self) -> String {
        let jwk = self.jwk();
        json!({ "keys": [jwk] }).to_string()
    }

    /// The public key as a JWK.
    pub fn jwk(&self) -> Value {
        let point = self.point();
        json!({"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "x": encode(&point[1..33]), "y": encode(&point[33..65])})
    }

    /// The public key as a PEM file, as an issuer might publish it.
    pub fn pem(&self) -> String {
        let prefix = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
        let text = STANDARD.encode([&prefix[..], &self.point()].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n", &text[..64], &text[64..])
    }

    /// The header of an honest token.
    pub fn header() -> Value {
        json!({"alg": "ES256", "typ": "at+jwt", "kid": "k1"})
    }

    /// The claims of an honest token.
    pub fn claims() -> Value {
        Signer::claims("p1", "aal1", 30)
    }

    /// An honest signature under any two texts.
    pub fn sign(&self, header: &str, payload: &str) -> String {
        self.signed(&format!("{}.{}", encode(header.as_bytes()), encode(payload.as_bytes())))
    }

    /// An honest signature under a signing input.
    pub fn signed(&self, input: &str) -> String {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.document).expect("a key");
        format!(
            "{input}.{}",
            encode(pair.sign(&SystemRandom::new(), input.as_bytes()).expect("signed").as_ref())
        )
    }

    /// An honest token, with its header changed.
    pub fn with_header(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut header = Self::header();
        change(&mut header);
        self.sign(&header.to_string(), &Self::claims().to_string())
    }

    /// An honest token, with its claims changed.
    pub fn with_claims(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = Self::claims();
        change(&mut claims);
        self.sign(&Self::header().to_string(), &claims.to_string())
    }

    /// An honest token's signing input.
    pub fn input(alg: &str) -> String {
        let mut header = Self::header();
        header["alg"] = alg.into();
        format!("{}.{}", encode(header.to_string().as_bytes()), encode(Self::claims().to_string().as_bytes()))
    }

    /// A token with an HMAC under a secret that everybody knows.
    pub fn hmac(&self, secret: &[u8]) -> String {
        hmac(secret, &Self::input("HS256"))
    }

    /// A token signed by somebody else.
    pub fn foreign(&self) -> String {
        let input = Self::input("ES256");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.other).expect("a key");
        format!(
            "{input}.{}",
            encode(pair.sign(&SystemRandom::new(), input.as_bytes()).expect("signed").as_ref())
        )
    }

    /// A token with a right signature in the wrong form.
    pub fn in_der(&self) -> String {
        let input = Self::input("ES256");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.document).expect("a key");
        format!(
            "{input}.{}",
            encode(pair.sign(&SystemRandom::new(), input.as_bytes()).expect("signed").as_ref())
        )
    }
}

/// An HMAC under a signing input.
pub fn hmac(secret: &[u8], input: &str) -> String {
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
    format!("{input}.{}", encode(mac.as_ref()))
}

/// Unpadded base64url.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The same 64 bytes, spelled with stray bits in the last letter.
pub fn with_stray_bits(token: &str) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (start, last) = token.split_at(token.len() - 1);
    let at = alphabet.iter().position(|letter| *letter == last.as_bytes()[0]).expect("base64url");
    assert_eq!(at % 16, 0, "64 bytes leave four bits");
    format!("{start}{}", char::from(alphabet[at + 1]))
}
