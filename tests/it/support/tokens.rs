//! Tokens of an issuer whose keys are in a file, for tests that are not about issuers.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::canaries::canary;

/// The issuer's address in tests.
pub const ISSUER: &str = "https://login.clinic.example";

/// Claims with the places of their canaries.
const PERSONAL: [(&str, &str); 10] = [
    ("given_name", "GivenName"),
    ("family_name", "FamilyName"),
    ("birthdate", "Birthdate"),
    ("email", "Email"),
    ("phone_number", "Phone"),
    ("street_address", "Street"),
    ("health_number", "HealthNumber"),
    ("insurance", "Insurance"),
    ("picture", "Picture"),
    ("diagnosis", "Diagnosis"),
];

/// Signs tokens with one P-256 key.
pub struct Signer {
    key: EncodingKey,
    jwks: String,
}

impl Signer {
    /// Makes a key.
    pub fn new() -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .expect("a key");
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).expect("a key");
        let point = pair.public_key().as_ref();
        let jwks = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..65])}]});
        Self { key: EncodingKey::from_ec_der(document.as_ref()), jwks: jwks.to_string() }
    }

    /// The public key, as a file for `jwks: { file: … }`.
    pub fn jwks(&self) -> &str {
        &self.jwks
    }

    /// Claims of a patient at a level (`aal1` or `aal2`), authenticated `age` seconds ago.
    pub fn claims(patient: &str, level: &str, age: i64) -> Value {
        let now = jiff::Timestamp::now().as_second();
        json!({
            "iss": ISSUER, "aud": "portal-api", "sub": format!("user-{patient}"), "client_id": "portal",
            "iat": now, "exp": now + 600, "jti": uuid::Uuid::now_v7().to_string(), "auth_time": now - age,
            "amr": ["pwd"], "acr": if level == "aal2" { "urn:clinic:loa:2" } else { "urn:clinic:loa:1" }, "patient_id": patient,
        })
    }

    /// Signs claims, and what else an issuer says of a person.
    pub fn sign(&self, claims: &Value) -> String {
        let mut claims = claims.clone();
        for (name, place) in PERSONAL {
            if let Some(claims) = claims.as_object_mut() {
                claims.entry(name).or_insert_with(|| canary(place).into());
            }
        }
        let header = Header {
            typ: Some("at+jwt".to_owned()),
            kid: Some("k1".to_owned()),
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, &claims, &self.key).expect("signed")
    }

    /// A patient's token, as a header value.
    pub fn bearer(&self, patient: &str, level: &str, age: i64) -> String {
        format!("Bearer {}", self.sign(&Self::claims(patient, level, age)))
    }
}

/// A configuration for these tokens: `$UPSTREAM` is the upstream's address, `$ROUTES` the routes.
pub fn config(upstream: std::net::SocketAddr, routes: &str) -> String {
    format!(
        r#"version: 1
listeners: [{{ name: portal, address: "$LISTEN" }}]
telemetry: {{ address: "$TELEMETRY" }}
state: {{ single_replica: true }}
shutdown: {{ lame_duck: 1s, grace: 10s }}
issuers:
  - name: patients
    issuer: {ISSUER}
    audiences: [portal-api]
    algorithms: [ES256]
    jwks: {{ file: jwks.json }}
    assurance: {{ aal1: {{ any_of: {{ amr: [pwd] }} }}, aal2: {{ any_of: {{ acr: ["urn:clinic:loa:2"] }} }} }}
    claims: {{ patient: patient_id, roles: groups }}
upstreams:
  app:
    endpoints: ["{upstream}"]
    timeouts: {{ connect: 1s, read: 5s }}
    identity: {{ header: x-wardgate-assertion, audience: app, ttl: 60s }}
    inject: {{ X-Remote-User: "{{issuer.name}}:{{subject.id}}" }}
audit: {{ dir: ./audit }}
routes:
{routes}
"#
    )
}
