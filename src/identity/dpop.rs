//! Proof that a caller holds the key its token is bound to, with each request (DPoP, RFC 9449 §4.3).
//!
//! Everything is an argument. What one request can't tell is not asked here: whether the proof was shown before, whether
//! its nonce is one of ours, whether its key is the token's.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::SignatureAlgorithm;
use super::{jwk, jwt};
use crate::request::certificate::Thumbprint;

/// The algorithms that proofs may be signed with, as challenges name them.
pub const ALGORITHMS: &str = "ES256 ES384 EdDSA Ed25519 PS256 PS384 PS512 RS256 RS384 RS512";
/// How old a proof may be, in seconds since its `iat`.
pub const MAX_AGE: i64 = 60;
/// How far ahead of ours the clock of a caller may be, in seconds.
pub const MAX_AHEAD: i64 = 10;
/// Longer proofs are refused unread.
const MAX_BYTES: usize = 8 * 1024;
/// Longer `jti`, and nonces, are nobody's.
const MAX_ID_BYTES: usize = 255;

/// Why a proof of possession is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DpopFault {
    /// The scheme is `DPoP` and there is no proof.
    Missing,
    /// There are several proofs.
    Repeated,
    /// It is no JWT in compact form, or has members twice.
    Malformed,
    /// Its `typ` is not `dpop+jwt`.
    WrongType,
    /// Its header asks for something that is never done.
    HeaderNotAllowed,
    /// Its `alg` is unknown or not asymmetric.
    AlgorithmNotAllowed,
    /// Its `jwk` is missing, no public key, or not for its algorithm.
    KeyNotAllowed,
    /// Its signature does not verify.
    BadSignature,
    /// A claim is missing or has the wrong type.
    BadClaim,
    /// It was made for another method.
    WrongMethod,
    /// It was made for another address.
    WrongAddress,
    /// It was made too long ago, or lies in the future.
    OutOfTime,
    /// It was made for another token.
    WrongToken,
    /// Its key is not the one the token is bound to.
    WrongKey,
    /// It has no nonce of ours, or an old one.
    NonceNeeded,
    /// It was shown before.
    Replayed,
}

impl DpopFault {
    /// The stable name for audit records and traces.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "dpop_missing",
            Self::Repeated => "dpop_repeated",
            Self::Malformed => "dpop_malformed",
            Self::WrongType => "dpop_wrong_type",
            Self::HeaderNotAllowed => "dpop_header_not_allowed",
            Self::AlgorithmNotAllowed => "dpop_algorithm_not_allowed",
            Self::KeyNotAllowed => "dpop_key_not_allowed",
            Self::BadSignature => "dpop_bad_signature",
            Self::BadClaim => "dpop_bad_claim",
            Self::WrongMethod => "dpop_wrong_method",
            Self::WrongAddress => "dpop_wrong_address",
            Self::OutOfTime => "dpop_out_of_time",
            Self::WrongToken => "dpop_wrong_token",
            Self::WrongKey => "dpop_wrong_key",
            Self::NonceNeeded => "dpop_nonce_needed",
            Self::Replayed => "dpop_replayed",
        }
    }
}

impl DpopFault {
    /// What the caller can do now.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::NonceNeeded => {
                "Repeat the request with a new proof that holds the nonce in the DPoP-Nonce header."
            }
            _ => {
                "Repeat the request with a new proof for this method, this address and this token, made with the token's key."
            }
        }
    }

    /// What an operator should know or do.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::WrongAddress => {
                "`htu` is not the address as the client asked for it: does a proxy in front change host or scheme, and is it in `trusted_proxies`?"
            }
            Self::OutOfTime => {
                "the caller's clock is more than a minute behind, or more than ten seconds ahead"
            }
            Self::Replayed => {
                "the proof was shown before, or is older than the state store's memory: somebody may have copied it"
            }
            _ => "the DPoP proof breaks a rule of RFC 9449 §4.3; the code says which",
        }
    }
}

/// The request that a proof must have been made for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a str,
    /// `https` or `http`, as the client sees it.
    pub scheme: &'a str,
    /// The host in lower case.
    pub host: &'a str,
    /// The port, where the client named one.
    pub port: Option<u16>,
    /// The path as it was sent, without the query.
    pub path: &'a str,
    /// The access token's exact bytes.
    pub token: &'a str,
    /// The moment, in Unix seconds.
    pub now: i64,
}

/// A proof that fits its request.
#[derive(Debug)]
pub struct KeyProof {
    /// The key that made it (RFC 7638).
    pub thumbprint: Thumbprint,
    /// Its `jti`.
    pub id: Box<str>,
    /// Its `iat`, in Unix seconds.
    pub issued_at: i64,
    /// Its nonce.
    pub nonce: Option<Box<str>>,
}

impl KeyProof {
    /// Reads and verifies a proof.
    ///
    /// # Errors
    /// The first check that fails, in the order of RFC 9449 §4.3.
    pub fn verify(proof: &str, asked: &Asked<'_>) -> Result<Self, DpopFault> {
        if proof.len() > MAX_BYTES {
            return Err(DpopFault::Malformed);
        }
        let (signing_input, signature) = proof.rsplit_once('.').ok_or(DpopFault::Malformed)?;
        let (header, claims) = signing_input.split_once('.').ok_or(DpopFault::Malformed)?;
        let object = |text| jwt::object(text).map_err(|_| DpopFault::Malformed);
        let header = object(header)?;
        jwt::part(signature).map_err(|_| DpopFault::Malformed)?;
        if !header.get("typ").and_then(Value::as_str).is_some_and(|typ| typ.eq_ignore_ascii_case("dpop+jwt"))
        {
            return Err(DpopFault::WrongType);
        }
        if ["crit", "b64", "jku", "x5u", "x5c"].iter().any(|name| header.contains_key(*name)) {
            return Err(DpopFault::HeaderNotAllowed);
        }
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(SignatureAlgorithm::from_name);
        let algorithm = algorithm.ok_or(DpopFault::AlgorithmNotAllowed)?;
        let jwk = header.get("jwk").and_then(Value::as_object).ok_or(DpopFault::KeyNotAllowed)?;
        let (key, thumbprint) = jwk::shown_key(jwk, algorithm).ok_or(DpopFault::KeyNotAllowed)?;
        let (input, algorithm) = (signing_input.as_bytes(), algorithm.for_library());
        if !matches!(jsonwebtoken::crypto::verify(signature, input, key.key(), algorithm), Ok(true)) {
            return Err(DpopFault::BadSignature);
        }
        let claims = object(claims)?;
        let (id, issued_at, nonce) = check_claims(&claims, asked)?;
        Ok(Self { thumbprint, id, issued_at, nonce })
    }
}

type Claims = (Box<str>, i64, Option<Box<str>>);

fn check_claims(claims: &Map<String, Value>, asked: &Asked<'_>) -> Result<Claims, DpopFault> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).ok_or(DpopFault::BadClaim);
    let bounded = |text: &str| match text.len() {
        1..=MAX_ID_BYTES => Ok(text.into()),
        _ => Err(DpopFault::BadClaim),
    };
    let id = bounded(text("jti")?)?;
    if text("htm")? != asked.method {
        return Err(DpopFault::WrongMethod);
    }
    if !is_address(text("htu")?, asked) {
        return Err(DpopFault::WrongAddress);
    }
    let issued_at = match claims.get("iat") {
        Some(Value::Number(number)) => number.as_i64().ok_or(DpopFault::BadClaim)?,
        _ => return Err(DpopFault::BadClaim),
    };
    let earliest = asked.now.saturating_sub(MAX_AGE);
    if !(earliest..=asked.now.saturating_add(MAX_AHEAD)).contains(&issued_at) {
        return Err(DpopFault::OutOfTime);
    }
    if text("ath")? != URL_SAFE_NO_PAD.encode(digest(&SHA256, asked.token.as_bytes())) {
        return Err(DpopFault::WrongToken);
    }
    let nonce = match claims.get("nonce") {
        None => None,
        Some(Value::String(nonce)) => Some(bounded(nonce)?),
        Some(_) => return Err(DpopFault::BadClaim),
    };
    Ok((id, issued_at, nonce))
}

/// Whether `htu` is the request's address, apart from query and fragment, in the normal form of RFC 3986 §6.2.2 and
/// §6.2.3. Dot segments have no meaning here: the gateway takes none.
fn is_address(htu: &str, asked: &Asked<'_>) -> bool {
    let Some((scheme, rest)) = htu.split_once("://") else { return false };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((host, port)) if !port.ends_with(']') => match port.parse::<u16>() {
            Ok(port) => (host, Some(port)),
            Err(_) => return false,
        },
        _ => (authority, None),
    };
    let default_port = if asked.scheme == "https" { 443 } else { 80 };
    scheme.eq_ignore_ascii_case(asked.scheme)
        && host.eq_ignore_ascii_case(asked.host)
        && port.unwrap_or(default_port) == asked.port.unwrap_or(default_port)
        && normal_path(path) == normal_path(asked.path)
}

/// A path with its percent-encoding in capitals, and none where none is needed.
fn normal_path(path: &str) -> Vec<u8> {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut normal = Vec::with_capacity(path.len().max(1));
    let mut rest = path.as_bytes();
    loop {
        match rest {
            [b'%', high, low, after @ ..] => {
                match (hex(*high), hex(*low)) {
                    (Some(first), Some(second)) if is_unreserved(first << 4 | second) => {
                        normal.push(first << 4 | second);
                    }
                    _ => {
                        normal.extend_from_slice(&[b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()])
                    }
                }
                rest = after;
            }
            [byte, after @ ..] => {
                normal.push(*byte);
                rest = after;
            }
            [] => break,
        }
    }
    if normal.is_empty() {
        normal.push(b'/');
    }
    normal
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests;
