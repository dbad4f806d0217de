//! Pseudonyms: the same person gets the same name in every record, and nobody can tell who it is without the key.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use jiff::civil::Date;
use quick_cache::Equivalent;
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};

use super::epoch::{Epoch, EpochKey};

/// How many pseudonyms are remembered: people ask again and again, so most are computed once.
const REMEMBERED: usize = 16 * 1024;
/// Longer values are computed each time, so that nobody can fill the memory with them.
const MAX_REMEMBERED_BYTES: usize = 128;

/// What a pseudonym stands for; it keeps a subject and a patient with the same id apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// The key behind the pseudonyms, for good or for one epoch.
pub struct Pseudonyms {
    key: hmac::Key,
    epoch: Option<Epoch>,
    /// What stands between the letter and the digits: `20260914.`, or nothing.
    label: Box<str>,
    known: Cache<Named<Box<str>>, Arc<str>>,
}

/// What a pseudonym is made from.
#[derive(PartialEq, Eq, Hash)]
pub struct Named<S> {
    /// What it stands for.
    pub kind: Kind,
    /// The name space: an issuer's name, or empty.
    pub realm: S,
    /// The name itself, as somebody or something is really called. It goes into no log and no record.
    pub value: S,
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
        if secret.len() < Self::MIN_KEY_BYTES { None } else { Some(Self::keyed(secret, None)) }
    }

    /// Those of one epoch: each says which.
    pub fn of_epoch(epoch: Epoch, key: &EpochKey) -> Self {
        Self::keyed(key.as_slice(), Some(epoch))
    }

    fn keyed(secret: &[u8], epoch: Option<Epoch>) -> Self {
        let label = epoch.map(|epoch| format!("{}.", epoch.label())).unwrap_or_default().into();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Self { key, epoch, label, known: Cache::new(REMEMBERED) }
    }

    /// The epoch that they are of; `None` where they never change.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// The pseudonym of a value in the name space of `realm` (an issuer's name, or empty): the first 128 bits of
    /// an HMAC-SHA-256, in hex, behind a letter for its kind and, where there are epochs, the day on which this one began.
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

    /// The same without remembering it: for who asks about somebody once.
    pub fn compute(&self, kind: Kind, realm: &str, value: &str) -> Arc<str> {
        let mut context = hmac::Context::with_key(&self.key);
        // Lengths keep `ab` + `c` and `a` + `bc` apart.
        for part in [kind.prefix(), realm, value] {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part.as_bytes());
        }
        let tag = context.sign();
        let mut text = String::with_capacity(34 + self.label.len());
        text.push_str(kind.prefix());
        text.push_str(&self.label);
        for byte in tag.as_ref().iter().take(16) {
            for half in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
            }
        }
        text.into()
    }
}

/// The pseudonyms that records get now. They are exchanged when an epoch ends; who is in the middle of a record may take
/// one from either side, and each says which.
pub struct InForce(ArcSwap<Pseudonyms>);

impl InForce {
    /// Begins with these.
    pub fn new(pseudonyms: Pseudonyms) -> Self {
        Self(ArcSwap::from_pointee(pseudonyms))
    }

    /// The pseudonym of a value, as [`Pseudonyms::of`].
    pub fn of(&self, kind: Kind, realm: &str, value: &str) -> Arc<str> {
        self.0.load().of(kind, realm, value)
    }

    /// The first day of the epoch in force; `None` where they never change.
    pub fn begins(&self) -> Option<Date> {
        self.0.load().epoch().map(|epoch| epoch.begins)
    }

    /// From now on these. The key before, and what was remembered under it, goes with the last who uses it.
    pub fn put(&self, next: Pseudonyms) {
        self.0.store(Arc::new(next));
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn an_epoch_shows_and_nothing_else_is_the_same_in_the_next() {
        let epoch = |day, key| {
            Pseudonyms::of_epoch(Epoch { begins: date(2026, 11, day), days: 7 }, &Zeroizing::new([key; 32]))
        };
        let (one, two) = (epoch(1, 1), epoch(8, 2));
        let name = |of: &Pseudonyms| of.of(Kind::Subject, "patients", "alice");
        let (first, second) = (name(&one), name(&two));
        assert!(first.starts_with("s_20261101.") && second.starts_with("s_20261108."), "{first} {second}");
        assert_ne!(first.split_once('.'), second.split_once('.'));
        assert_ne!(first.rsplit('.').next(), second.rsplit('.').next());
        let now = InForce::new(one);
        assert_eq!(
            (now.of(Kind::Subject, "patients", "alice"), now.begins()),
            (first, Some(date(2026, 11, 1)))
        );
        now.put(two);
        assert_eq!(
            (now.of(Kind::Subject, "patients", "alice"), now.begins()),
            (second, Some(date(2026, 11, 8)))
        );
    }

    /// Trails of years are searched by these: the bytes must not change where nothing rotates.
    #[test]
    fn without_epochs_a_pseudonym_is_what_it_always_was() {
        let names = Pseudonyms::new(&[7; 32]).expect("key");
        assert_eq!(&*names.of(Kind::Subject, "patients", "alice"), "s_0d7be07af1c5dea8eef47dc00e04a9ed");
        assert_eq!(names.epoch(), None);
    }

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
