//! Verified tokens, by a digest of their exact bytes, so that a token is verified once and not once a
//! request.
//!
//! Only good tokens are kept. A bad one costs its sender a request and us one signature check (some 50 µs),
//! whatever is cached; kept, anybody could fill the cache with rubbish, and a token that is bad today because
//! its key is not known yet would stay bad.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::identity::Subject;

/// What a token usually has: only a hint for the size of the table.
const TYPICAL_TOKEN_BYTES: u64 = 1024;

/// SHA-256 of a token's exact bytes.
///
/// The issuer need not be part of it: for one [`super::Verifier`] the bytes alone determine which issuer a
/// token goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Digests a token.
    pub fn of(token: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        Self(bytes)
    }
}

/// What a remembered verdict rests on, beside the token's own `exp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// A signature, with the issuer's keys of this generation.
    Signature {
        /// See [`super::refreshed::Snapshot::generation`].
        generation: u64,
    },
    /// The issuer's answer to a question (RFC 7662).
    Answer {
        /// When it must be asked again.
        until: Instant,
    },
}

/// A token that was verified.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Whom it speaks for.
    pub subject: Arc<Subject>,
    /// What that rests on.
    pub basis: Basis,
    /// The token's length: the subject read from it takes two to three times as much memory.
    pub token_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct ByTokenBytes;

impl Weighter<TokenDigest, Verified> for ByTokenBytes {
    fn weight(&self, _: &TokenDigest, verified: &Verified) -> u64 {
        // An entry of no weight could never be evicted.
        u64::try_from(verified.token_bytes).unwrap_or(u64::MAX).max(1)
    }
}

/// The cache.
pub struct TokenCache(Cache<TokenDigest, Verified, ByTokenBytes>);

impl TokenCache {
    /// An empty cache for tokens of this many bytes in all.
    pub fn new(bytes: u64) -> Self {
        let tokens = usize::try_from(bytes / TYPICAL_TOKEN_BYTES).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(tokens, bytes, ByTokenBytes))
    }

    /// What is remembered of a token; whether it still holds is for the caller to say.
    pub fn get(&self, token: &TokenDigest) -> Option<Verified> {
        self.0.get(token)
    }

    /// Remembers a token.
    pub fn insert(&self, token: TokenDigest, verified: Verified) {
        self.0.insert(token, verified);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::jwk::KeySet;
    use crate::identity::jwt::UnverifiedJwt;
    use crate::identity::testing::{Minter, NOW, claims, rules};

    #[test]
    fn memory_is_bounded_by_the_tokens_bytes() {
        let minter = Minter::es256("k1");
        let keys = KeySet::parse(minter.jwks().as_bytes()).expect("keys");
        let token = minter.token(&serde_json::json!({}), &claims(&serde_json::json!({})));
        let subject =
            UnverifiedJwt::parse(&token).and_then(|jwt| jwt.verify(&rules(), &keys, NOW)).expect("subject");
        let subject = Arc::new(subject);
        let cache = TokenCache::new(1_000_000);
        for number in 0..10_000 {
            let verified = Verified {
                subject: Arc::clone(&subject),
                basis: Basis::Signature { generation: 0 },
                token_bytes: 1000,
            };
            cache.insert(TokenDigest::of(&number.to_string()), verified);
        }
        assert!(cache.0.weight() <= 1_000_000 && cache.0.len() <= 1000);
        assert!(Arc::strong_count(&subject) <= 1001);
    }

    #[test]
    fn a_digest_is_of_every_byte() {
        assert_ne!(TokenDigest::of("a.b.c"), TokenDigest::of("a.b.C"));
        assert_ne!(TokenDigest::of("a.b.c"), TokenDigest::of("a.b.c="));
        assert_eq!(TokenDigest::of("a.b.c"), TokenDigest::of("a.b.c"));
    }
}
