//! The development issuer: makes a token for whoever asks. Never run anything like it beyond one machine.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::serve::{self, Answer, Request, Service};

/// How long tokens live, in seconds.
const LIFETIME: u64 = 900;
const USAGE: &str = "POST /token?patient=p1&level=aal2&age=0 makes a token: `patient` p1 or p2, `level` aal1 (password) or aal2 \
(and a second factor), `age` in seconds since the sign-in\n";

/// The issuer.
pub struct Issuer {
    url: String,
    audience: String,
    key_id: String,
    key: EncodingKey,
    jwks: Value,
    last_sign_in: Mutex<u64>,
}

impl Issuer {
    /// Makes a fresh key.
    pub fn new(url: &str, audience: &str) -> Result<Self, String> {
        let fault = |_| "the issuer's key can't be made: the system gives no randomness".to_owned();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(fault)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref())
            .map_err(|error| format!("the issuer's key can't be read: {error}"))?;
        // An uncompressed point: one byte that says so, then x and y of 32 bytes each (SEC 1 §2.3.3).
        let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at_checked(32).ok_or("the issuer's key has no public part")?;
        let key_id = Uuid::now_v7().to_string();
        let jwks = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": key_id,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]});
        let key = EncodingKey::from_ec_der(document.as_ref());
        Ok(Self {
            url: url.to_owned(),
            audience: audience.to_owned(),
            key_id,
            key,
            jwks,
            last_sign_in: Mutex::new(0),
        })
    }

    fn discovery(&self) -> Value {
        json!({
            "issuer": self.url,
            "jwks_uri": format!("{}/jwks", self.url),
            "token_endpoint": format!("{}/token", self.url),
            "id_token_signing_alg_values_supported": ["ES256"],
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "acr_values_supported": [Level::Aal1.acr(), Level::Aal2.acr()],
        })
    }

    /// An access token by the book (RFC 9068 §2), as plain text so that a shell variable can take it.
    async fn token(&self, query: &[(String, String)]) -> Result<String, String> {
        let wish = Wish::read(query)?;
        let now = match wish.level {
            Level::Aal1 => unix_seconds()?,
            Level::Aal2 => self.next_second().await?,
        };
        let claims = json!({
            "iss": self.url, "aud": self.audience, "client_id": "portal", "sub": format!("account-{}", wish.patient),
            "iat": now, "exp": now + LIFETIME, "jti": Uuid::now_v7(),
            "auth_time": now.saturating_sub(wish.age), "acr": wish.level.acr(), "amr": wish.level.amr(),
            "patient_id": wish.patient, "groups": ["patient"],
        });
        let header = Header {
            typ: Some("at+jwt".to_owned()),
            kid: Some(self.key_id.clone()),
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, &claims, &self.key)
            .map_err(|error| format!("the token can't be signed: {error}"))
    }

    /// The time of a sign-in with a second factor. Nobody signs in twice in one second, but a script might: then the
    /// two would have one `auth_time`, and pay for one critical action between them.
    async fn next_second(&self) -> Result<u64, String> {
        let mut last = self.last_sign_in.lock().await;
        loop {
            let now = unix_seconds()?;
            if now != *last {
                *last = now;
                return Ok(now);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Service for Issuer {
    async fn answer(&self, request: Request) -> Answer {
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        match path.as_slice() {
            [".well-known", "openid-configuration"] => serve::json(StatusCode::OK, &self.discovery()),
            ["jwks"] => serve::json(StatusCode::OK, &self.jwks),
            ["token"] if request.method != Method::POST => serve::text(StatusCode::METHOD_NOT_ALLOWED, USAGE),
            ["token"] => match self.token(&request.query).await {
                Ok(token) => serve::text(StatusCode::OK, &format!("{token}\n")),
                Err(why) => serve::text(StatusCode::BAD_REQUEST, &format!("{why}\n{USAGE}")),
            },
            _ => serve::text(StatusCode::NOT_FOUND, USAGE),
        }
    }
}

fn unix_seconds() -> Result<u64, String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock stands before 1970")?;
    Ok(since.as_secs())
}

/// How the person has signed in.
#[derive(Clone, Copy)]
enum Level {
    Aal1,
    Aal2,
}

impl Level {
    fn acr(self) -> &'static str {
        match self {
            Self::Aal1 => "urn:clinic:loa:1",
            Self::Aal2 => "urn:clinic:loa:2",
        }
    }

    /// Methods by their registered names (RFC 8176).
    fn amr(self) -> &'static [&'static str] {
        match self {
            Self::Aal1 => &["pwd"],
            Self::Aal2 => &["pwd", "otp"],
        }
    }
}

/// The token that is wished for.
struct Wish {
    patient: String,
    level: Level,
    age: u64,
}

impl Wish {
    fn read(query: &[(String, String)]) -> Result<Self, String> {
        let mut wish = Self { patient: "p1".to_owned(), level: Level::Aal1, age: 0 };
        for (name, value) in query {
            match (name.as_str(), value.as_str()) {
                ("patient", "p1" | "p2") => wish.patient.clone_from(value),
                ("level", "aal1") => wish.level = Level::Aal1,
                ("level", "aal2") => wish.level = Level::Aal2,
                ("age", seconds) => {
                    wish.age =
                        seconds.parse().map_err(|_| format!("`{seconds}` is not a number of seconds"))?
                }
                (name, value) => return Err(format!("`{name}={value}` is not a choice here")),
            }
        }
        Ok(wish)
    }
}
