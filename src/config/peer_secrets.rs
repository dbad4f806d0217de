//! Secrets by which proxies show that they may ask: kept as digests, so that no log, dump or comparison of settings holds one.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

/// The letters of a secret: fewer could be guessed, and more are no secret but some other file.
const LETTERS: std::ops::RangeInclusive<usize> = 32..=256;
/// The one in use, and the next.
const MOST: usize = 2;

/// The digests of a listener's secrets, one or two.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerSecrets(Vec<[u8; 32]>);

impl PeerSecrets {
    /// Reads a file's bytes: one secret a line, each of 32 to 256 visible letters of ASCII, two at most.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let lines = bytes.trim_ascii().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let digests: Option<Vec<[u8; 32]>> = lines.map(hashed).collect();
        digests.filter(|digests| digests.len() <= MOST).map(Self)
    }

    /// Whether this is one of them, in a time that tells nothing of where they differ.
    pub fn has(&self, shown: &[u8]) -> bool {
        let shown = digest(&SHA256, shown);
        self.0.iter().any(|known| verify_slices_are_equal(shown.as_ref(), known).is_ok())
    }
}

fn hashed(secret: &[u8]) -> Option<[u8; 32]> {
    let fits = LETTERS.contains(&secret.len()) && secret.iter().all(u8::is_ascii_graphic);
    fits.then(|| digest(&SHA256, secret).as_ref().try_into().ok()).flatten()
}

impl fmt::Debug for PeerSecrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The digest of a poor secret would let it be guessed.
        write!(formatter, "PeerSecrets({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_or_two_lines_are_secrets() {
        let (one, two) = ("a1".repeat(16), "-_".repeat(128));
        let both = PeerSecrets::parse(format!("{one}\r\n{two}\n").as_bytes()).expect("two");
        assert!(both.has(one.as_bytes()) && both.has(two.as_bytes()));
        let single = PeerSecrets::parse(one.as_bytes()).expect("one");
        assert!(single.has(one.as_bytes()) && single != both);
        let joined = format!("{one}\n{two}");
        for other in [&two, &one[1..], &one.to_uppercase(), &format!("{one} "), &joined, ""] {
            assert!(!single.has(other.as_bytes()), "{other}");
        }
        assert!(!format!("{both:?}").contains("a1"));
    }

    #[test]
    fn anything_else_is_none() {
        let (good, short, long) = ("a".repeat(32), "a".repeat(31), "a".repeat(257));
        let (three, gap) = (format!("{good}\n{good}\n{good}"), format!("{good}\n\n{good}"));
        let (spaced, wide) = (format!("{good} {good}"), "é".repeat(32));
        for text in ["", "\n", &short, &long, &three, &gap, &spaced, &wide] {
            assert_eq!(PeerSecrets::parse(text.as_bytes()), None, "{text}");
        }
    }
}
