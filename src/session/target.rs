//! Where people go on to once they have signed in: a path of this very host, and nothing else.

use crate::enforce::sessions::{DELEGATIONS, is_own_path};
use crate::request::target::Target;

/// Longer ones are not kept.
const LONGEST: usize = 2_048;

/// A path and query that every browser reads as one of this host's; the start page for anything else.
///
/// What a request could have as its target is accepted, by the same strict reading: it begins with one `/`, and holds
/// no backslash, control character or second reading. No browser resolves that to another origin (URL standard, §4.4).
pub fn safe(wanted: Option<&str>) -> &str {
    wanted.filter(|wanted| is_safe(wanted)).unwrap_or("/")
}

fn is_safe(wanted: &str) -> bool {
    wanted.len() <= LONGEST
        && wanted.starts_with('/')
        && !wanted.starts_with("//")
        && Target::parse(wanted.as_bytes()).is_ok()
        // Nobody is sent back to where they come from.
        && (wanted == DELEGATIONS || !is_own_path(wanted.split('?').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::Url;

    use super::*;

    #[test]
    fn only_paths_of_this_host_are_kept() {
        for good in ["/", "/a", "/patients/p1/results/2024?a=b&c=%2F%2Fevil.example", "/a%20b", "/_wardgated"]
        {
            assert_eq!(safe(Some(good)), good);
        }
        for bad in [
            "",
            "a",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/%09/evil.example",
            "https://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "/a#b",
            "/../a",
            "/a//b",
            "/.//evil",
            "/%2f/evil.example",
            "/%5cevil.example",
            "/a\r\nSet-Cookie: x=y",
            "/a%0d%0ab",
            "/_wardgate/sign-in",
            "/_wardgate/sign-out?x",
            "///evil.example",
            "/;@evil.example",
            " /a",
            "@evil.example",
            "/\u{2044}evil",
        ] {
            assert_eq!(safe(Some(bad)), "/", "{bad}");
        }
        assert_eq!(safe(None), "/");
        assert_eq!(safe(Some(&format!("/{}", "a".repeat(LONGEST)))), "/");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Whatever is made of the pieces from which open redirects are built, the browser stays at this host.
        #[test]
        fn no_target_leads_elsewhere(pieces in prop::collection::vec(prop::sample::select(vec![
            "/", "//", "\\", "/\\", "\t", "\n", "\r", "%09", "%2f", "%5c", ".", "..", "@", ":", "evil.example", "https:",
            "https://", "http:", "javascript:", "data:", "?", "#", "&", "a", ";", "%", "%00", " ", "\u{ff0f}", "\u{2028}",
            "[::1]", "[", "]", "portal.example", "~", "*", "%2e", "%c0%af", "=",
        ]), 0..8)) {
            let wanted = pieces.concat();
            let base = Url::parse("https://portal.example/_wardgate/callback").expect("a base");
            let resolved = base.join(safe(Some(&wanted))).expect("resolves");
            prop_assert_eq!(resolved.origin(), base.origin());
            prop_assert!(!resolved.path().starts_with("/_wardgate/"));
        }
    }
}
