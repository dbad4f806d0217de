//! Tokens for tests: keys that sign, and claims that are good until a test breaks one of them.

use aws_lc_rs::rand as random;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::algorithm::SignatureAlgorithm;
use super::assurance::{AssuranceMap, LevelWords, Levels};
use super::issuer::{ClaimNames, IssuerRules, KeyProofRule};
use super::subject::Caller;

/// The issuer that [`rules`] trusts and [`claims`] come from.
pub const ISSUER: &str = "https://login.test/realms/people";

/// The moment at which [`claims`] were issued, in Unix seconds.
pub const NOW: i64 = 1_790_000_000;

/// A P-256 key with a name, able to sign anything: also what no issuer would.
pub struct Minter {
    kid: Box<str>,
    pair: EcdsaKeyPair,
}

impl Minter {
    /// Makes a fresh key called `kid`.
    pub fn es256(kid: &str) -> Self {
        Self { kid: kid.into(), pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("key") }
    }

    /// The public key as a JWK.
    pub fn jwk(&self) -> Value {
        // An uncompressed point: 4, x, y (SEC 1 §2.3.3).
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({ "kty": "EC", "crv": "P-256", "kid": self.kid, "x": encode(x), "y": encode(y) })
    }

    /// The public key as a JWK set.
    pub fn jwks(&self) -> String {
        jwks(&[self])
    }

    /// A token whose header is `at+jwt`, ES256 and this key's name, changed by the members of `header`;
    /// `null` removes one.
    pub fn token(&self, header: &Value, claims: &Value) -> String {
        let whole = changed(json!({ "typ": "at+jwt", "alg": "ES256", "kid": self.kid }), header);
        self.sign(&encode(whole.to_string()), &encode(claims.to_string()))
    }

    /// Signs two parts as they are.
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let input = format!("{header}.{payload}");
        let signature = self.pair.sign(&random::SystemRandom::new(), input.as_bytes()).expect("signature");
        format!("{input}.{}", encode(signature))
    }
}

/// Several keys as one JWK set.
pub fn jwks(minters: &[&Minter]) -> String {
    json!({ "keys": minters.iter().map(|minter| minter.jwk()).collect::<Vec<_>>() }).to_string()
}

/// Base64url without padding.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `base` with the members of `change` put in; a `null` takes one out.
pub fn changed(mut base: Value, change: &Value) -> Value {
    let members = base.as_object_mut().expect("object");
    for (name, value) in change.as_object().expect("object") {
        if value.is_null() {
            members.remove(name)
        } else {
            members.insert(name.clone(), value.clone())
        };
    }
    base
}

/// The claims of a good RFC 9068 token from [`ISSUER`], issued at [`NOW`] for five minutes, with some of them
/// changed.
pub fn claims(change: &Value) -> Value {
    let good = json!({
        "iss": ISSUER, "aud": "portal", "sub": "alice", "client_id": "app", "jti": "t-1",
        "iat": NOW, "exp": NOW + 300, "auth_time": NOW - 60, "acr": "loa2", "amr": ["pwd"],
        "scope": "openid profile", "roles": ["nurse"],
    });
    changed(good, change)
}

/// The rules for [`ISSUER`]: ES256, audience `portal`, RFC 9068 tokens only, `loa2` and `pwd` mapped.
pub fn rules() -> IssuerRules {
    let levels = Levels::new(["aal1", "aal2"]);
    let level = |name: &str| levels.find(name).expect("level");
    IssuerRules {
        name: "people".into(),
        index: 0,
        issuer: ISSUER.into(),
        audiences: vec!["portal".into()],
        algorithms: vec![SignatureAlgorithm::ES256],
        callers: Caller::Person,
        plain_jwt: false,
        max_token_lifetime: None,
        has_sessions: false,
        names_actions: false,
        recognises_for: None,
        dpop: KeyProofRule::default(),
        assurance: AssuranceMap::new(vec![
            (level("aal1"), LevelWords { acr: vec![], amr: vec!["pwd".into()] }),
            (level("aal2"), LevelWords { acr: vec!["loa2".into()], amr: vec![] }),
        ]),
        claims: ClaimNames { patient: Some("patient".into()), roles: Some("roles".into()), role_ends: None },
    }
}
