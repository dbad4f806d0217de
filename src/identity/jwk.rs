//! Public keys: each JWK is read by itself, so that one unknown key never spoils a set (RFC 7517 §5).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;

use super::algorithm::{KeyKind, SignatureAlgorithm};
use crate::request::certificate::Thumbprint;
use crate::request::json;

/// More keys than any issuer has; a longer set is refused.
const MAX_KEYS: usize = 128;

/// A public key with all that binds it.
pub struct VerifyKey {
    id: Option<Box<str>>,
    kind: KeyKind,
    algorithm: Option<SignatureAlgorithm>,
    key: DecodingKey,
    fingerprint: Box<str>,
}

impl VerifyKey {
    /// The library's form of the key.
    pub fn key(&self) -> &DecodingKey {
        &self.key
    }

    fn is_same(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            && self.id == other.id
            && self.kind == other.kind
            && self.algorithm == other.algorithm
    }

    fn suits(&self, algorithm: SignatureAlgorithm) -> bool {
        // Bound by kind always, and by name where the key names an algorithm (RFC 7517 §4.4).
        self.kind == algorithm.key_kind()
            && self.algorithm.is_none_or(|own| own.for_library() == algorithm.for_library())
    }
}

/// An issuer's keys at one moment.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<VerifyKey>,
    skipped: usize,
}

/// Why a key set can't be used at all.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// Not a JSON object with a list of `keys`, or a member twice.
    #[error("it is not a JWK set: {0}")]
    NotAKeySet(#[from] serde_json::Error),
    /// More than 128 keys.
    #[error("it holds more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// Nothing in it can verify a signature.
    #[error("none of its {0} keys can be used to verify signatures")]
    NoUsableKey(usize),
}

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a JWK set, leaving out keys for other purposes and of unknown kinds.
    ///
    /// # Errors
    /// The text is no JWK set, or nothing in it can be used.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let raw: RawSet = json::parse_as(text)?;
        if raw.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let total = raw.keys.len();
        let keys: Vec<VerifyKey> = raw
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value::<RawKey>(key).ok())
            .filter_map(read_key)
            .collect();
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey(total));
        }
        Ok(Self { skipped: total - keys.len(), keys })
    }

    /// The key for a token: by `kid` where the token names one, else the only one that suits the algorithm.
    pub fn find(&self, key_id: Option<&str>, algorithm: SignatureAlgorithm) -> Option<&VerifyKey> {
        let mut suitable = self
            .keys
            .iter()
            .filter(|key| key.suits(algorithm) && (key_id.is_none() || key.id.as_deref() == key_id));
        let first = suitable.next()?;
        if key_id.is_none() && suitable.next().is_some() { None } else { Some(first) }
    }

    /// Whether a signature of this algorithm could be verified with any of them.
    pub fn serves(&self, algorithm: SignatureAlgorithm) -> bool {
        self.keys.iter().any(|key| key.suits(algorithm))
    }

    /// Whether every key of `older` is still here: if not, tokens verified with the older set need a fresh look.
    pub fn keeps_all_of(&self, older: &Self) -> bool {
        older.keys.iter().all(|key| self.keys.iter().any(|own| own.is_same(key)))
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys were left out.
    pub fn skipped(&self) -> usize {
        self.skipped
    }
}

/// What only a private or a shared key holds (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Reads a single public key that came with what it has signed, for this algorithm, and its thumbprint (RFC 7638).
/// `None` where it can't be used so, or where somebody gave a private part of it away.
pub fn shown_key(
    jwk: &serde_json::Map<String, serde_json::Value>,
    algorithm: SignatureAlgorithm,
) -> Option<(VerifyKey, Thumbprint)> {
    if PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
        return None;
    }
    let members: &[&str] = match jwk.get("kty")?.as_str()? {
        "RSA" => &["e", "kty", "n"],
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        _ => return None,
    };
    // A map of this kind keeps its members in the order of their names, as RFC 7638 §3.3 asks.
    let required: std::collections::BTreeMap<&str, &str> =
        members.iter().map(|name| Some((*name, jwk.get(*name)?.as_str()?))).collect::<Option<_>>()?;
    let thumbprint = Thumbprint::of(serde_json::to_string(&required).ok()?.as_bytes());
    let key = read_key(serde_json::from_value(serde_json::Value::Object(jwk.clone())).ok()?)?;
    key.suits(algorithm).then_some((key, thumbprint))
}

fn read_key(raw: RawKey) -> Option<VerifyKey> {
    let for_signatures = raw.usage.as_deref().is_none_or(|usage| usage == "sig")
        && raw.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    if !for_signatures {
        return None;
    }
    let algorithm = match &raw.alg {
        Some(name) => Some(SignatureAlgorithm::from_name(name)?),
        None => None,
    };
    let (kind, key, fingerprint) = match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("RSA", _) => {
            let (n, e) = (raw.n?, raw.e?);
            if !is_strong_modulus(&n)? {
                return None;
            }
            (KeyKind::Rsa, DecodingKey::from_rsa_components(&n, &e).ok()?, format!("{n}.{e}"))
        }
        ("EC", Some(curve @ ("P-256" | "P-384"))) => {
            let (x, y) = (raw.x?, raw.y?);
            let kind = if curve == "P-256" { KeyKind::P256 } else { KeyKind::P384 };
            (kind, DecodingKey::from_ec_components(&x, &y).ok()?, format!("{x}.{y}"))
        }
        ("OKP", Some("Ed25519")) => {
            let x = raw.x?;
            (KeyKind::Ed25519, DecodingKey::from_ed_components(&x).ok()?, x)
        }
        _ => return None,
    };
    let key =
        VerifyKey { id: raw.kid.map(Into::into), kind, algorithm, key, fingerprint: fingerprint.into() };
    // A key that contradicts its own `alg` can verify nothing.
    if key.algorithm.is_some_and(|own| !key.suits(own)) { None } else { Some(key) }
}

/// RSA below 2048 bits is refused (RFC 7518 §3.3).
fn is_strong_modulus(n: &str) -> Option<bool> {
    let bytes = URL_SAFE_NO_PAD.decode(n).ok()?;
    let significant = bytes.iter().skip_while(|byte| **byte == 0).count();
    let first = bytes.iter().find(|byte| **byte != 0)?;
    let bits = significant.checked_mul(8)?.checked_sub(usize::try_from(first.leading_zeros()).ok()?)?;
    Some(bits >= 2048)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;

    fn set(keys: &[String]) -> Result<KeySet, KeySetError> {
        KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
    }

    #[test]
    fn unknown_and_unsuitable_keys_are_left_out() {
        let keys = set(&[
            format!("{EC}}}"),
            r#"{"kty":"OKP","crv":"X25519","x":"aa"}"#.into(),
            r#"{"kty":"AKP","alg":"ML-DSA-44","pub":"aa"}"#.into(),
            r#"{"kty":"oct","k":"aa"}"#.into(),
            "7".into(),
        ])
        .expect("usable");
        assert_eq!((keys.len(), keys.skipped()), (1, 4));
        assert!(keys.find(Some("a"), SignatureAlgorithm::ES256).is_some());
        assert!(keys.find(Some("a"), SignatureAlgorithm::ES384).is_none());
        assert!(keys.find(Some("a"), SignatureAlgorithm::RS256).is_none());
        assert!(keys.find(Some("b"), SignatureAlgorithm::ES256).is_none());
        assert!(keys.find(None, SignatureAlgorithm::ES256).is_some());
    }

    #[test]
    fn purpose_and_algorithm_bind() {
        for extra in [
            r#","use":"enc""#,
            r#","key_ops":["encrypt"]"#,
            r#","alg":"ES384""#,
            r#","alg":"none""#,
            r#","alg":"HS256""#,
        ] {
            assert!(matches!(set(&[format!("{EC}{extra}}}")]), Err(KeySetError::NoUsableKey(1))), "{extra}");
        }
    }

    #[test]
    fn thumbprints_are_those_of_the_standard() {
        // The example of RFC 7638 §3.1.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let key =
            serde_json::json!({ "kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29" });
        let (_, thumbprint) =
            shown_key(key.as_object().expect("a map"), SignatureAlgorithm::RS256).expect("a key");
        assert_eq!(thumbprint.to_string(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        for (name, value) in [("d", "AQAB"), ("k", "AQAB"), ("kty", "oct"), ("alg", "PS256"), ("use", "enc")]
        {
            let mut other = key.clone();
            other[name] = value.into();
            assert!(
                shown_key(other.as_object().expect("a map"), SignatureAlgorithm::RS256).is_none(),
                "{name}"
            );
        }
        assert!(shown_key(key.as_object().expect("a map"), SignatureAlgorithm::ES256).is_none());
    }

    #[test]
    fn weak_rsa_is_left_out() {
        let weak = URL_SAFE_NO_PAD.encode([0xffu8; 128]);
        let strong = URL_SAFE_NO_PAD.encode([0xffu8; 256]);
        let key = |n: &str| format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"}}"#);
        assert!(set(&[key(&weak)]).is_err());
        assert_eq!(set(&[key(&strong)]).expect("usable").len(), 1);
    }

    #[test]
    fn two_keys_without_a_name_are_ambiguous() {
        let keys = set(&[format!("{EC}}}"), format!("{EC}}}").replace("\"a\"", "\"b\"")]).expect("usable");
        assert!(keys.find(None, SignatureAlgorithm::ES256).is_none());
    }
}
