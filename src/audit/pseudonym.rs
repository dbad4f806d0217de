//! Pseudonyms: the same person gets the same name in every record, and nobody can tell who it is without the key.

use std::sync::Arc;

use aws_lc_rs::hmac;
use quick_cache::Equivalent;
use quick_cache::sync::Cache;

/// How many pseudonyms are remembered: people ask again and again, so most are computed once.
const REMEMBERED: usize = 16 * 1024;
/// Longer values are computed each time, so that nobody can fill the memory with them.
const MAX_REMEMBERED_BYTES: usize = 128;

/// What a pseudonym stands for; it keeps a subject and a patient with the same id apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A subject of an issuer.
    Subject,
    /// A patient record.
    Patient,
    /// A sign-in session.
    Session,
    /// A single token.
    Token,
    /// A client's address.
    Address,
    /// An account, as somebody names it who has not signed in.
    Account,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Subject => "s_",
            Self::Patient => "p_",
            Self::Session => "n_",
            Self::Token => "t_",
            Self::Address => "a_",
            Self::Account => "u_",
        }
    }
}

/// The key behind the pseudonyms.
pub struct Pseudonyms {
    key: hmac::Key,
    known: Cache<Named<Box<str>>, Arc<str>>,
}

/// What a pseudonym is made from.
#[derive(PartialEq, Eq, Hash)]
struct Named<S> {
    kind: Kind,
    realm: S,
    value: S,
}

impl Equivalent<Named<Box<str>>> for Named<&str> {
    fn equivalent(&self, known: &Named<Box<str>>) -> bool {
        self.kind == known.kind && self.realm == &*known.realm && self.value == &*known.value
    }
}

impl Pseudonyms {
    /// The fewest bytes a key may have.
    pub const MIN_KEY_BYTES: usize = 32;

    /// Takes the secret; `None` where it is shorter than [`Self::MIN_KEY_BYTES`].
    pub fn new(secret: &[u8]) -> Option<Self> {
        if secret.len() < Self::MIN_KEY_BYTES {
            None
        } else {
            Some(Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret), known: Cache::new(REMEMBERED) })
        }
    }

    /// The pseudonym of a value in the name space of `realm` (an issuer's name, or empty): the first 128 bits of
    /// an HMAC-SHA-256, in hex, behind a letter for its kind.
    pub fn of(&self, kind: Kind, realm: &str, value: &str) -> Arc<str> {
        if realm.len() + value.len() > MAX_REMEMBERED_BYTES {
            return self.compute(kind, realm, value);
        }
        if let Some(known) = self.known.get(&Named { kind, realm, value }) {
            return known;
        }
        let computed = self.compute(kind, realm, value);
        self.known.insert(Named { kind, realm: realm.into(), value: value.into() }, Arc::clone(&computed));
        computed
    }

    fn compute(&self, kind: Kind, realm: &str, value: &str) -> Arc<str> {
        let mut context = hmac::Context::with_key(&self.key);
        // Lengths keep `ab` + `c` and `a` + `bc` apart.
        for part in [kind.prefix(), realm, value] {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part.as_bytes());
        }
        let tag = context.sign();
        let mut text = String::with_capacity(34);
        text.push_str(kind.prefix());
        for byte in tag.as_ref().iter().take(16) {
            for half in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
            }
        }
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_and_apart() {
        let names = Pseudonyms::new(&[7; 32]).expect("key");
        let long = "p".repeat(MAX_REMEMBERED_BYTES + 1);
        for value in ["p1", &long] {
            let first = names.of(Kind::Patient, "a", value);
            assert_eq!(first, names.of(Kind::Patient, "a", value));
            assert_eq!(first, Pseudonyms::new(&[7; 32]).expect("key").of(Kind::Patient, "a", value));
            assert_ne!(first, names.of(Kind::Subject, "a", value));
            assert_ne!(first, Pseudonyms::new(&[8; 32]).expect("key").of(Kind::Patient, "a", value));
        }
        assert_ne!(names.of(Kind::Subject, "ab", "c"), names.of(Kind::Subject, "a", "bc"));
        assert!(Pseudonyms::new(&[7; 31]).is_none());
    }
}
