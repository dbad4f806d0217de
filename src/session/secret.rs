//! Secrets of 256 bits that nobody can guess, and digests under which they are kept.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest as sha};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A new secret in base64url: 43 letters; `None` where the system gives no randomness.
pub fn new() -> Option<String> {
    bytes().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
}

/// 32 bytes that nobody can guess; `None` where the system gives no randomness.
pub fn bytes() -> Option<[u8; 32]> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// The SHA-256 of a secret in base64url: what a store may know. It is also the S256 challenge of RFC 7636 §4.2.
pub fn digest(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha(&SHA256, secret.as_bytes()).as_ref())
}

/// Whether a secret has this digest, in a time that tells nothing of where they differ.
pub fn has_digest(secret: &str, expected: &str) -> bool {
    verify_slices_are_equal(digest(secret).as_bytes(), expected.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_that_of_rfc_7636() {
        // RFC 7636, appendix B.
        assert_eq!(
            digest("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn secrets_differ_and_are_recognised() {
        let (one, two) = (new().expect("random"), new().expect("random"));
        assert!(one != two && one.len() == 43);
        assert!(has_digest(&one, &digest(&one)) && !has_digest(&two, &digest(&one)));
        assert!(!has_digest(&one, ""));
    }
}
