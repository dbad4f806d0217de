//! Cookies as requests and answers carry them (RFC 6265): which are the gateway's own, and how they are kept apart.
//!
//! Every cookie of the gateway's has the prefix `__Host-`: browsers take it from this host only, over TLS only, for
//! every path, so that no other host of the domain can plant one (RFC 6265bis §4.1.3.2).

use http::{HeaderMap, HeaderValue, header};

/// What the names of all the gateway's cookies begin with.
pub const OWN_PREFIX: &str = "__Host-wardgate-";
/// The session.
pub const SESSION: &str = "__Host-wardgate-session";
/// What binds what somebody has begun to their browser who has not signed in.
pub const ANONYMOUS: &str = "__Host-wardgate-anonymous";
/// What a recognised browser shows beside it.
pub const DEVICE: &str = "__Host-wardgate-device";

/// The name and value of every cookie of a request that is text.
pub fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(header::COOKIE).iter();
    // Each by itself: another program's cookie in Latin-1 must not hide what stands beside it.
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(|pair| {
        let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
        Some((name.trim_matches([' ', '\t']), value.trim_matches([' ', '\t'])))
    })
}

/// Every value that a name has in a request.
pub fn values<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h str> {
    pairs(headers).filter(move |(other, _)| *other == name).map(|(_, value)| value)
}

/// Whether a name is the gateway's. Without regard to capitals: browsers know the prefix in any (RFC 6265bis §5.7).
pub fn is_own(name: &str) -> bool {
    name.get(..OWN_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(OWN_PREFIX))
}

/// Whether anything in these bytes could be a name of the gateway's; asked first, since it mostly is not so.
fn may_hold_own(line: &[u8]) -> bool {
    let word = b"wardgate-";
    line.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

/// Takes the gateway's own cookies out of a request that goes upstream. `None` where there is nothing to take out;
/// else the lines that are left.
pub fn without_own(headers: &HeaderMap) -> Option<Vec<HeaderValue>> {
    let lines = headers.get_all(header::COOKIE);
    if !lines.iter().any(|line| may_hold_own(line.as_bytes())) {
        return None;
    }
    let mut left = Vec::new();
    for line in lines {
        let pieces = line.as_bytes().split(|byte| *byte == b';');
        let kept: Vec<&[u8]> = pieces.map(<[u8]>::trim_ascii).filter(|piece| !is_own_piece(piece)).collect();
        if !kept.is_empty() {
            left.extend(HeaderValue::from_bytes(&kept.join(&b"; "[..])));
        }
    }
    Some(left)
}

/// Whether an upstream tries to set a cookie of the gateway's (`Set-Cookie`, RFC 6265 §4.1). Of one without a name some
/// browsers send back the value alone, which then reads as a name (RFC 6265bis §5.7).
pub fn sets_own(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    is_own_piece(line) || line.strip_prefix(b"=").is_some_and(|value| is_own_piece(value.trim_ascii()))
}

fn is_own_piece(piece: &[u8]) -> bool {
    let name = piece.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
    std::str::from_utf8(name).is_ok_and(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (header::COOKIE, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn own_cookies_are_taken_out_and_others_stay() {
        let left = |values: &[&'static str]| without_own(&lines(values));
        assert_eq!(left(&["a=b; c=d"]), None);
        assert_eq!(
            left(&["a=b; __Host-wardgate-session=x; c=d"]),
            Some(vec!["a=b; c=d".parse().expect("value")])
        );
        assert_eq!(left(&["__Host-wardgate-session=x", "c=d"]), Some(vec!["c=d".parse().expect("value")]));
        for hidden in [
            "__Host-wardgate-session=x",
            "  __host-WARDGATE-session =x;",
            "__Host-wardgate-session",
            "__Host-wardgate-tx-1=x;__Host-wardgate-session=y",
            "__Host-wardgate-device=x",
        ] {
            let left = left(&[hidden]).expect("changed");
            assert!(left.iter().all(|line| line.is_empty()), "{hidden}: {left:?}");
        }
        assert_eq!(left(&["x=wardgate-"]), Some(vec!["x=wardgate-".parse().expect("value")]));
    }

    #[test]
    fn nobody_else_sets_them() {
        for line in [
            "__Host-wardgate-session=x; Path=/",
            " __HOST-wardgate-session =x",
            "__Host-wardgate-tx-1=",
            "__Host-wardgate-device=x; Max-Age=9",
            "=__Host-wardgate-session=x",
        ] {
            assert!(sets_own(line.as_bytes()), "{line}");
        }
        for line in ["session=__Host-wardgate-session", "__Host-other=x", ""] {
            assert!(!sets_own(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn every_value_of_a_name_is_seen() {
        let headers = lines(&["a=1; b=2;a=3", "a = 4 ; x"]);
        assert_eq!(values(&headers, "a").collect::<Vec<_>>(), ["1", "3", "4"]);
        let mut headers = HeaderMap::new();
        let line = HeaderValue::from_bytes(b"name=M\xfcller; a=1; b=\xe9").expect("a value");
        headers.insert(header::COOKIE, line);
        assert_eq!(values(&headers, "a").collect::<Vec<_>>(), ["1"], "beside another's in Latin-1");
    }
}
