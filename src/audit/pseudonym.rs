//! Pseudonyms: the same person gets the same name in every record, and nobody can tell who it is without the key.

use aws_lc_rs::hmac;

/// What a pseudonym stands for; it keeps a subject and a patient with the same id apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A subject of an issuer.
    Subject,
    /// A patient record.
    Patient,
    /// A sign-in session.
    Session,
    /// A client's address.
    Address,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Subject => "s_",
            Self::Patient => "p_",
            Self::Session => "n_",
            Self::Address => "a_",
        }
    }
}

/// The key behind the pseudonyms.
pub struct Pseudonyms {
    key: hmac::Key,
}

impl Pseudonyms {
    /// The fewest bytes a key may have.
    pub const MIN_KEY_BYTES: usize = 32;

    /// Takes the secret; `None` where it is shorter than [`Self::MIN_KEY_BYTES`].
    pub fn new(secret: &[u8]) -> Option<Self> {
        if secret.len() < Self::MIN_KEY_BYTES {
            None
        } else {
            Some(Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret) })
        }
    }

    /// The pseudonym of a value in the name space of `realm` (an issuer's name, or empty): the first 128 bits of
    /// an HMAC-SHA-256, in hex, behind a letter for its kind.
    pub fn of(&self, kind: Kind, realm: &str, value: &str) -> String {
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
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stable_and_apart() {
        let names = Pseudonyms::new(&[7; 32]).expect("key");
        assert_eq!(names.of(Kind::Patient, "a", "p1"), names.of(Kind::Patient, "a", "p1"));
        assert_ne!(names.of(Kind::Patient, "a", "p1"), names.of(Kind::Subject, "a", "p1"));
        assert_ne!(names.of(Kind::Subject, "ab", "c"), names.of(Kind::Subject, "a", "bc"));
        assert_ne!(
            names.of(Kind::Patient, "a", "p1"),
            Pseudonyms::new(&[8; 32]).expect("key").of(Kind::Patient, "a", "p1")
        );
        assert!(Pseudonyms::new(&[7; 31]).is_none());
    }
}
