//! Header hygiene: which names may come in, and which never pass through.

use std::collections::HashSet;

use http::header::{self, HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::Unreadable;

/// Headers that carry identity or rewrite the request for some well-known back end. Always removed.
const FORGEABLE: &[&str] = &[
    "cf-connecting-ip",
    "client-ip",
    "fastly-client-ip",
    "forwarded",
    "front-end-https",
    "remote-addr",
    "remote-user",
    "true-client-ip",
    "x-azure-clientip",
    "x-client-ip",
    "x-client-verify",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-forwarded",
    "x-host",
    "x-iisnode-auth-user",
    "x-real-ip",
    "x-token-subject",
    "x-user",
    "x-username",
];

/// Families of such headers: whatever begins so is removed. Each begins with a letter that [`in_family`] looks for.
const FORGEABLE_FAMILIES: &[&str] = &[
    OWN_PREFIX,
    "remote-",
    "ssl-client-",
    "x-amzn-oidc-",
    "x-auth-",
    "x-authenticated-",
    "x-client-cert",
    "x-consumer-",
    "x-forwarded-",
    "x-goog-authenticated-",
    "x-goog-iap-",
    "x-ms-client-principal",
    "x-original-",
    "x-override-",
    "x-remote-",
    "x-rewrite-",
    "x-ssl-",
    "x-sso-",
    "x-user-",
    "x-webauth-",
];

/// Every header that begins so belongs to the gateway itself.
const OWN_PREFIX: &str = "x-wardgate-";

/// More options in `Connection` than any client sends are refused.
const MAX_CONNECTION_OPTIONS: usize = 8;

/// Headers that a client may not have deleted by naming them in `Connection` (RFC 9110 §7.6.1).
const END_TO_END: &[HeaderName] = &[
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::EXPECT,
    header::ORIGIN,
    header::RANGE,
    header::REFERER,
    header::USER_AGENT,
];

/// Families of such headers.
const END_TO_END_FAMILIES: &[&str] = &["accept", "access-control-", "content-", "if-", "sec-"];

/// Headers that mean one connection only and are never forwarded, beside those that `Connection` names.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
];

/// Single-valued request headers whose repetition two servers would resolve differently.
const ONCE: &[HeaderName] = &[
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::ORIGIN,
    header::IF_MATCH,
    header::CONTENT_ENCODING,
    header::UPGRADE,
];

/// Headers by which a client asks to be treated as if another method had been sent.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Refuses header names and values that another server would read as something else.
///
/// # Errors
/// The first offending name or value.
pub fn check(headers: &HeaderMap) -> Result<(), Unreadable> {
    let mut previous: Option<&HeaderName> = None;
    let mut repeats = false;
    // A map gives all values of one name in a row.
    for (name, value) in headers {
        if !is_plain(name.as_str().as_bytes()) {
            return Err(Unreadable::BadHeaderName);
        }
        if !is_one_line(value.as_bytes()) {
            return Err(Unreadable::BadHeaderValue);
        }
        repeats |= previous == Some(name) && ONCE.contains(name);
        previous = Some(name);
    }
    if repeats {
        return Err(Unreadable::DuplicateHeader);
    }
    check_connection(headers)
}

/// Refuses what HTTP/2 does not have: headers of HTTP/1 connections, and blanks around values (RFC 9113 §8.2).
///
/// # Errors
/// The first offending header.
pub fn check_http2(headers: &HeaderMap) -> Result<(), Unreadable> {
    for (name, value) in headers {
        let of_a_connection = match name.as_str() {
            "connection" | "keep-alive" | "proxy-connection" | "upgrade" | "transfer-encoding"
            | "http2-settings" => true,
            "te" => value != "trailers",
            _ => false,
        };
        if of_a_connection {
            return Err(Unreadable::ConnectionHeader);
        }
        if value.as_bytes().trim_ascii().len() != value.len() {
            return Err(Unreadable::BadHeaderValue);
        }
    }
    Ok(())
}

fn check_connection(headers: &HeaderMap) -> Result<(), Unreadable> {
    if headers.get_all(header::CONNECTION).iter().any(|value| value.to_str().is_err()) {
        return Err(Unreadable::BadConnection);
    }
    for (position, token) in connection_tokens(headers).enumerate() {
        if position >= MAX_CONNECTION_OPTIONS || !is_plain(token.as_bytes()) {
            return Err(Unreadable::BadConnection);
        }
        let name = token.to_ascii_lowercase();
        if in_family(&name)
            || END_TO_END_FAMILIES.iter().any(|family| name.starts_with(family))
            || END_TO_END.iter().any(|known| known.as_str() == name)
            || FORGEABLE.contains(&name.as_str())
        {
            return Err(Unreadable::ConnectionNamesEndToEnd);
        }
    }
    Ok(())
}

// Neither of these stops at the first byte that decides: without a branch they are done many bytes at a time.

fn is_plain(name: &[u8]) -> bool {
    name.iter().fold(true, |plain, byte| plain & (byte.is_ascii_alphanumeric() | (*byte == b'-')))
}

fn is_one_line(value: &[u8]) -> bool {
    value.iter().fold(true, |clean, byte| clean & ((*byte >= 0x20) | (*byte == b'\t')) & (*byte != 0x7f))
}

/// Says whether a header asks the back end to act as if another method or path had been sent.
pub fn overrides_method(headers: &HeaderMap) -> bool {
    // Comparing lengths is cheaper than hashing each of them.
    headers.keys().any(|name| METHOD_OVERRIDES.contains(&name.as_str()))
}

/// The set of header names a client can't send, folded the way CGI folds them.
#[derive(Debug, Clone)]
pub struct IdentityHeaders {
    folded: HashSet<Box<str>, foldhash::fast::RandomState>,
}

impl IdentityHeaders {
    /// The built-in names and those the configuration injects towards some upstream.
    pub fn new<'n>(injected: impl IntoIterator<Item = &'n str>) -> Self {
        let names = FORGEABLE.iter().copied().chain(injected);
        Self { folded: names.map(|name| fold(name).into()).collect() }
    }

    /// Whether this header must be removed before a request goes upstream.
    pub fn contains(&self, name: &str) -> bool {
        // Parsed names are in lower case already; folding one that needs none would allocate on every request.
        let is_folded =
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if is_folded { self.contains_folded(name) } else { self.contains_folded(&fold(name)) }
    }

    fn contains_folded(&self, name: &str) -> bool {
        in_family(name) || self.folded.contains(name)
    }
}

/// Whether a name in lower case belongs to one of [`FORGEABLE_FAMILIES`].
///
/// Asked of every header of every request: most names end at their first letter, most others at their third.
fn in_family(name: &str) -> bool {
    let bytes = name.as_bytes();
    matches!(bytes.first(), Some(b'r' | b's' | b'x'))
        && FORGEABLE_FAMILIES
            .iter()
            .any(|family| family.as_bytes().get(2) == bytes.get(2) && name.starts_with(family))
}

/// CGI makes one variable of `X-User-Id`, `x_user_id` and `X.User.Id`.
fn fold(name: &str) -> String {
    name.chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .collect()
}

/// The headers of a message that belong to one connection.
#[derive(Debug)]
pub struct HopByHop<'h> {
    named: SmallVec<[&'h str; 4]>,
}

impl<'h> HopByHop<'h> {
    /// Reads what `Connection` names.
    pub fn of(headers: &'h HeaderMap) -> Self {
        Self { named: connection_tokens(headers).collect() }
    }

    /// Whether a header is named in `Connection`, or hop-by-hop by definition.
    pub fn contains(&self, name: &str) -> bool {
        HOP_BY_HOP.contains(&name) || self.named.iter().any(|token| token.eq_ignore_ascii_case(name))
    }
}

fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

/// What a FHIR server is to look for before it makes a resource (FHIR R4 §3.1.0.8.1).
///
/// # Errors
/// The header came several times, or holds no text.
pub(super) fn if_none_exist(headers: &HeaderMap) -> Result<Option<Box<str>>, Unreadable> {
    let mut values = headers.get_all("if-none-exist").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Unreadable::DuplicateHeader);
    }
    value.to_str().map(|value| Some(value.into())).map_err(|_| Unreadable::BadHeaderValue)
}

/// Whether there is a header that some server reads as `X-Provenance`.
pub(super) fn has_provenance(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().replace('_', "-") == "x-provenance")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("value")))
            .collect()
    }

    #[test]
    fn folds_like_cgi() {
        let identity = IdentityHeaders::new(["X-Clinic-User"]);
        for name in [
            "x-clinic-user",
            "x_clinic_user",
            "X.Clinic.User",
            "x-wardgate-anything",
            "x-forwarded-for",
            "remote_user",
        ] {
            assert!(identity.contains(name), "{name}");
        }
        assert!(!identity.contains("x-clinic-users"));
        assert!(!identity.contains("accept"));
    }

    #[test]
    fn every_name_and_family_is_found() {
        let identity = IdentityHeaders::new([]);
        for family in FORGEABLE_FAMILIES {
            assert!(identity.contains(&format!("{family}a")), "{family}");
            assert!(
                identity.contains(&format!("{family}a").to_ascii_uppercase().replace('-', "_")),
                "{family}"
            );
        }
        for name in FORGEABLE {
            assert!(identity.contains(name), "{name}");
        }
        for name in
            ["accept", "x-request-id", "x-csrf-token", "x-requested-with", "x", "", "sec-fetch-site", "range"]
        {
            assert!(!identity.contains(name), "{name}");
        }
    }

    #[test]
    fn connection_may_not_delete_what_matters() {
        assert_eq!(
            check(&map(&[("connection", "close, Authorization")])),
            Err(Unreadable::ConnectionNamesEndToEnd)
        );
        assert_eq!(
            check(&map(&[("connection", "X-Wardgate-Assertion")])),
            Err(Unreadable::ConnectionNamesEndToEnd)
        );
        assert_eq!(check(&map(&[("connection", "keep-alive, x-custom")])), Ok(()));
        assert!(HopByHop::of(&map(&[("connection", "keep-alive, X-Custom")])).contains("x-custom"));
    }

    #[test]
    fn ambiguous_names_and_repeats_are_refused() {
        assert_eq!(check(&map(&[("x_user_id", "1")])), Err(Unreadable::BadHeaderName));
        assert_eq!(check(&map(&[("x.user", "1")])), Err(Unreadable::BadHeaderName));
        let mut twice = map(&[("authorization", "Bearer a")]);
        twice.append(header::AUTHORIZATION, "Bearer b".parse().expect("value"));
        assert_eq!(check(&twice), Err(Unreadable::DuplicateHeader));
    }
}
