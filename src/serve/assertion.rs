//! The signed assertion by which an upstream knows who asks: a short-lived JWT under a key of this process.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use aws_lc_rs::{digest, error::Unspecified};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use quick_cache::sync::Cache;
use serde::Serialize;

use crate::config::settings::AssertionSettings;
use crate::identity::Subject;
use crate::identity::assurance::Levels;

/// How many assertions are kept.
const CACHED: usize = 50_000;

/// Signs assertions, and keeps them while they are young.
pub struct Assertions {
    signer: Arc<Signer>,
    cache: Cache<(usize, usize), Arc<Signed>>,
}

/// The key that assertions are signed with.
struct Signer {
    key: EncodingKey,
    key_id: String,
    public: serde_json::Value,
}

struct Signed {
    /// Holding the subject keeps its address, which is the cache's key, from being given to another.
    subject: Arc<Subject>,
    value: HeaderValue,
    renew_at: i64,
}

#[derive(Serialize)]
struct Claims<'c> {
    iss: &'static str,
    aud: &'c str,
    sub: String,
    iat: i64,
    exp: i64,
    issuer: &'c str,
    kind: &'static str,
    level: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patient: Option<&'c str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    roles: &'c [Box<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
}

impl Assertions {
    /// Makes a fresh P-256 key for this process.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn new() -> Result<Self, Unspecified> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref())
            .map_err(|_| Unspecified)?;
        // An uncompressed point: one byte of form, then x and y of 32 bytes each (SEC 1 §2.3.3).
        let point = pair.public_key().as_ref();
        let (x, y) = (point.get(1..33).ok_or(Unspecified)?, point.get(33..65).ok_or(Unspecified)?);
        let key_id = URL_SAFE_NO_PAD
            .encode(digest::digest(&digest::SHA256, point).as_ref().get(..12).unwrap_or_default());
        let public = serde_json::json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": key_id,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        });
        let signer = Signer { key: EncodingKey::from_ec_der(document.as_ref()), key_id, public };
        Ok(Self { signer: Arc::new(signer), cache: Cache::new(CACHED) })
    }

    /// The same key for the next version of the configuration. What was signed is not kept: an upstream's position
    /// may mean another audience there.
    pub fn succeeded(&self) -> Self {
        Self { signer: Arc::clone(&self.signer), cache: Cache::new(CACHED) }
    }

    /// The public key as a JWK (RFC 7517).
    pub fn public_key(&self) -> &serde_json::Value {
        &self.signer.public
    }

    /// An assertion about a subject for one upstream; signed anew once half its life is over. `now` is in Unix
    /// seconds. `None` where signing fails.
    pub fn token(
        &self,
        upstream: usize,
        settings: &AssertionSettings,
        subject: &Arc<Subject>,
        levels: &Levels,
        now: i64,
    ) -> Option<HeaderValue> {
        let slot = (Arc::as_ptr(subject) as usize, upstream);
        if let Some(signed) = self.cache.get(&slot)
            && Arc::ptr_eq(&signed.subject, subject)
            && now < signed.renew_at
        {
            return Some(signed.value.clone());
        }
        let ttl = i64::try_from(settings.ttl.as_secs()).unwrap_or(60);
        let claims = Claims {
            iss: "wardgate",
            aud: &settings.audience,
            sub: subject.qualified_id(),
            iat: now,
            exp: now.saturating_add(ttl),
            issuer: &subject.issuer,
            kind: subject.caller_word(),
            level: levels.name(subject.level),
            client_id: subject.client.as_deref(),
            patient: subject.patient.as_deref(),
            roles: &subject.roles,
            auth_time: subject.auth_time,
        };
        let header = Header { kid: Some(self.signer.key_id.clone()), ..Header::new(Algorithm::ES256) };
        let mut value =
            HeaderValue::from_str(&jsonwebtoken::encode(&header, &claims, &self.signer.key).ok()?).ok()?;
        value.set_sensitive(true);
        let signed = Signed {
            subject: Arc::clone(subject),
            value: value.clone(),
            renew_at: now.saturating_add(ttl / 2),
        };
        self.cache.insert(slot, Arc::new(signed));
        Some(value)
    }
}
