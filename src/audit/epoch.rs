//! Epochs of pseudonyms: spans of whole days, each with a random key of its own that lies sealed under a master key.
//!
//! Random and not derived: what can be derived can't be destroyed while the master key is there. Sealed with AES-256-GCM
//! (NIST SP 800-38D) under a key for this purpose alone (HKDF-SHA-256, RFC 5869), bound to the epoch's days, in one line:
//!
//! ```text
//! wardgate-epoch-1 DAYS BASE64(nonce (12) │ ciphertext (32) │ tag (16))
//! ```

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

/// The longest epoch, in days.
pub const MOST_DAYS: u16 = 3_650;

const FORMAT: &str = "wardgate-epoch-1";
const NONCE_BYTES: usize = 12;
const WRAPPING_PURPOSE: &[u8] = b"wardgate: wrapping of pseudonyms' epoch keys, version 1";
const DAY: i64 = 86_400;

/// A key of pseudonyms: 256 bits.
pub type EpochKey = Zeroizing<[u8; 32]>;

/// A span of days (UTC) in which the same person keeps the same pseudonym.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch {
    /// Its first day; epochs are named after it.
    pub begins: Date,
    /// How many days it has.
    pub days: u16,
}

impl Epoch {
    /// The epoch of `days` days in which `now` lies. They are counted from 1970-01-01, so that every gateway finds the same.
    pub fn at(now: Timestamp, days: u16) -> Self {
        let days = days.max(1);
        let today = now.to_zoned(TimeZone::UTC).date();
        let since_1970 = today.duration_since(date(1970, 1, 1)).as_secs().div_euclid(DAY);
        let into = SignedDuration::from_secs(since_1970.rem_euclid(i64::from(days)).saturating_mul(DAY));
        Self { begins: today.checked_sub(into).unwrap_or(today), days }
    }

    /// The first day that is no longer its own.
    pub fn until(&self) -> Date {
        let length = SignedDuration::from_secs(i64::from(self.days).saturating_mul(DAY));
        self.begins.checked_add(length).unwrap_or(Date::MAX)
    }

    /// Whether it was over when `day` began.
    pub fn is_over(&self, day: Date) -> bool {
        self.until() <= day
    }

    /// Its name in pseudonyms and file names: `20260914`.
    pub fn label(&self) -> String {
        label(self.begins)
    }
}

/// A day as it stands in pseudonyms and file names: `20260914`.
pub fn label(day: Date) -> String {
    day.strftime("%Y%m%d").to_string()
}

/// Why a sealed key can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealedKeyError {
    /// It has another form.
    #[error("it is no key of an epoch")]
    Malformed,
    /// It was sealed under another master key, for another epoch, or was changed.
    #[error("it was sealed under another master key, or was changed")]
    Forged,
}

/// What seals the keys of epochs.
pub struct Wrapping(RandomizedNonceKey);

impl Wrapping {
    /// Derived from the master key; `None` where the library refuses.
    pub fn new(master: &[u8]) -> Option<Self> {
        let mut key = Zeroizing::new([0; 32]);
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(master);
        let info = [WRAPPING_PURPOSE];
        extracted.expand(&info, hkdf::HKDF_SHA256).ok()?.fill(key.as_mut()).ok()?;
        RandomizedNonceKey::new(&AES_256_GCM, key.as_ref()).ok().map(Self)
    }

    /// The line for the epoch's file; `None` where the system gives no randomness.
    pub fn seal(&self, epoch: Epoch, key: &EpochKey) -> Option<String> {
        let mut body = key.to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(bound_to(epoch)), &mut body).ok()?;
        let sealed = [nonce.as_ref().as_slice(), &body].concat();
        Some(format!("{FORMAT} {} {}\n", epoch.days, STANDARD.encode(sealed)))
    }

    /// Opens the line of the epoch that begins on that day.
    ///
    /// # Errors
    /// It is no such line, or not what was sealed.
    pub fn open(&self, begins: Date, line: &str) -> Result<EpochKey, SealedKeyError> {
        let (epoch, sealed) = read(begins, line).ok_or(SealedKeyError::Malformed)?;
        let (nonce, body) = sealed.split_at_checked(NONCE_BYTES).ok_or(SealedKeyError::Malformed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealedKeyError::Malformed)?;
        let mut body = Zeroizing::new(body.to_vec());
        let opened = self.0.open_in_place(nonce, Aad::from(bound_to(epoch)), &mut body);
        let opened = opened.map_err(|_| SealedKeyError::Forged)?;
        let mut key = Zeroizing::new([0; 32]);
        if opened.len() != key.len() {
            return Err(SealedKeyError::Malformed);
        }
        key.copy_from_slice(opened);
        Ok(key)
    }
}

/// The epoch that a line says it is of; only opening it shows whether that is true.
///
/// # Errors
/// It is no such line.
pub fn claimed(begins: Date, line: &str) -> Result<Epoch, SealedKeyError> {
    read(begins, line).map(|(epoch, _)| epoch).ok_or(SealedKeyError::Malformed)
}

fn read(begins: Date, line: &str) -> Option<(Epoch, Vec<u8>)> {
    let (format, rest) = line.trim_end().split_once(' ')?;
    let (days, sealed) = rest.split_once(' ')?;
    let days = days.parse().ok().filter(|days| (1..=MOST_DAYS).contains(days))?;
    let sealed = STANDARD.decode(sealed).ok()?;
    (format == FORMAT).then_some((Epoch { begins, days }, sealed))
}

/// What is authenticated with a key: one that was moved to another epoch does not open.
fn bound_to(epoch: Epoch) -> String {
    format!("{FORMAT} {} {}", epoch.label(), epoch.days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, days: u16) -> Epoch {
        Epoch::at(text.parse().expect("a moment"), days)
    }

    #[test]
    fn every_moment_lies_in_the_epoch_that_it_finds() {
        for days in [1, 7, 90, 365, MOST_DAYS] {
            for day in 0..800 {
                let now = Timestamp::from_second(1_795_342_500 + day * DAY).expect("a moment");
                let (epoch, today) = (Epoch::at(now, days), now.to_zoned(TimeZone::UTC).date());
                assert!(epoch.begins <= today && today < epoch.until(), "{now} {epoch:?}");
                assert!(!epoch.is_over(today) && epoch.is_over(epoch.until()));
            }
        }
    }

    #[test]
    fn an_epoch_ends_at_midnight_and_the_next_begins() {
        let first = at("2026-11-22T10:15:00Z", 90);
        let last_moment = format!("{}T23:59:59Z", first.until().yesterday().expect("a day"));
        assert_eq!(at(&last_moment, 90), first);
        assert_eq!(at(&format!("{}T00:00:00Z", first.until()), 90).begins, first.until());
        assert_eq!(at("2026-11-22T10:15:00Z", 1).label(), "20261122");
    }

    #[test]
    fn a_key_opens_under_its_master_and_in_its_epoch_only() {
        let (epoch, key) = (at("2026-11-22T10:15:00Z", 90), Zeroizing::new([5; 32]));
        let wrapping = Wrapping::new(&[7; 32]).expect("a key");
        let line = wrapping.seal(epoch, &key).expect("sealed");
        assert_eq!(wrapping.open(epoch.begins, &line).as_deref(), Ok(&[5; 32]));
        assert_eq!(claimed(epoch.begins, &line), Ok(epoch));
        let other = Wrapping::new(&[8; 32]).expect("a key");
        assert_eq!(other.open(epoch.begins, &line), Err(SealedKeyError::Forged));
        assert_eq!(wrapping.open(epoch.until(), &line), Err(SealedKeyError::Forged));
        let longer = line.replace(" 90 ", " 91 ");
        assert_eq!(wrapping.open(epoch.begins, &longer), Err(SealedKeyError::Forged));
        for wrong in ["", "wardgate-epoch-1", "wardgate-epoch-1 90 AAAA", "wardgate-epoch-2 90 AAAA", "x 0 y"]
        {
            assert_eq!(wrapping.open(epoch.begins, wrong), Err(SealedKeyError::Malformed), "{wrong}");
        }
        assert_ne!(wrapping.seal(epoch, &key), Some(line), "each time another nonce");
    }
}
