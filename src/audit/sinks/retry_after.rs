//! How long a collector asks to be left alone (RFC 9110 §10.2.3).

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// What `Retry-After` says, in seconds or as a date. What can't be read asks for nothing: the courier has a wait of its own.
pub(super) fn asked(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has are a long time all the same.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    // An IMF-fixdate is a date of RFC 5322.
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_nothing_else() {
        let now: Timestamp = "1994-11-06T08:49:30Z".parse().expect("a time");
        let asked = |text: &'static str| {
            asked(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]), now)
        };
        let seconds = |count| Some(Duration::from_secs(count));
        assert_eq!(asked("120"), seconds(120));
        assert_eq!(asked(" 0 "), seconds(0));
        assert_eq!(asked("99999999999999999999999"), seconds(u64::MAX));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), seconds(7));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:29 GMT"), seconds(0), "it has passed");
        for text in ["", "-1", "1.5", "soon", "1994-11-06T08:49:37Z"] {
            assert_eq!(asked(text), None, "{text}");
        }
        assert_eq!(super::asked(&HeaderMap::new(), now), None);
    }
}
