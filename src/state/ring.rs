//! The key ring that seals what leaves the process: a store, its backups and its operators see no contents.
//!
//! AES-256-GCM (NIST SP 800-38D) with random nonces. The first key seals, every key opens, and a sealed piece names its
//! key, so a key can be replaced while pieces that it sealed are still about. The name that a piece is kept under is
//! authenticated with it: a piece moved to another name does not open. One key should seal no more than 2^32 pieces
//! (SP 800-38D, 8.3).
//!
//! ```text
//! version (1) │ length of id (1) │ id │ nonce (12) │ ciphertext │ tag (16)
//! ```

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use smallvec::{SmallVec, smallvec};

use crate::enforce::ports::{Nonces, PRIVATE};
use crate::identity::nonce::NonceKeys;

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;

/// Why there is no ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// A ring without a key seals nothing.
    #[error("there is no key")]
    Empty,
    /// Its name doesn't fit into a sealed piece, or is another's too.
    #[error("a key's id is empty, longer than 255 bytes, or there twice")]
    BadId,
    /// The library refuses the key.
    #[error("a key can't be used")]
    BadKey,
}

/// Why a piece doesn't open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenFailure {
    /// Its key is not in the ring.
    UnknownKey,
    /// It was changed, moved to another name, or is no sealed piece at all.
    Forged,
}

/// Keys by their ids; the first one seals.
pub struct KeyRing {
    keys: Vec<(Box<str>, RandomizedNonceKey)>,
    /// The keys of nonces for proofs of possession, in the same order.
    nonces: NonceKeys,
    /// The keys of names, in the same order: of counters by the first, of private pieces by each.
    names: Vec<hmac::Key>,
}

/// What the keys of names are derived with.
const NAME_PURPOSE: &[u8] = b"wardgate: names of counters, version 1";

/// What the keys of nonces are derived with, so that no key serves two purposes.
const NONCE_PURPOSE: &[u8] = b"wardgate: nonces of proofs of possession, version 1";

impl KeyRing {
    /// A ring of keys in this order.
    ///
    /// # Errors
    /// There is no key, or one can't be used.
    pub fn new(keys: &[(Box<str>, [u8; 32])]) -> Result<Self, RingError> {
        if keys.is_empty() {
            return Err(RingError::Empty);
        }
        let mut ring: Vec<(Box<str>, RandomizedNonceKey)> = Vec::with_capacity(keys.len());
        for (id, key) in keys {
            let is_usable = !id.is_empty() && u8::try_from(id.len()).is_ok();
            if !is_usable || ring.iter().any(|(other, _)| other == id) {
                return Err(RingError::BadId);
            }
            let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| RingError::BadKey)?;
            ring.push((id.clone(), key));
        }
        let derived: Vec<[u8; 32]> = keys.iter().map(|(_, key)| derive(key, NONCE_PURPOSE)).collect();
        let names = keys.iter().map(|(_, key)| hmac::Key::new(hmac::HMAC_SHA256, &derive(key, NAME_PURPOSE)));
        Ok(Self { keys: ring, nonces: NonceKeys::new(&derived), names: names.collect() })
    }

    /// The name under which a counter is kept: a keyed digest, so that who sees the store can't try names of people till
    /// one fits. Counters begin anew where another key comes first.
    pub fn blinded(&self, name: &str) -> String {
        self.names.first().map(|key| digest(key, name)).unwrap_or_default()
    }

    /// The names under which a piece may lie: its own, or where that is somebody's the keyed digests of it, that of the key
    /// which seals first.
    pub(super) fn places(&self, name: &str) -> SmallVec<[String; 1]> {
        if name.starts_with(PRIVATE) {
            self.names.iter().map(|key| format!("{PRIVATE}{}", digest(key, name))).collect()
        } else {
            smallvec![name.to_owned()]
        }
    }

    /// Seals bytes that will be kept under `name`; `None` where the system gives no randomness.
    pub fn seal(&self, name: &str, plain: &[u8]) -> Option<Vec<u8>> {
        let (id, key) = self.keys.first()?;
        let mut body = plain.to_vec();
        let nonce = key.seal_in_place_append_tag(Aad::from(associated(id, name)), &mut body).ok()?;
        let mut sealed = Vec::with_capacity(2 + id.len() + NONCE_BYTES + body.len());
        sealed.push(VERSION);
        sealed.push(u8::try_from(id.len()).ok()?);
        sealed.extend_from_slice(id.as_bytes());
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut body);
        Some(sealed)
    }

    /// Opens what was sealed for `name`.
    ///
    /// # Errors
    /// Its key is unknown, or it is not what was sealed.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenFailure> {
        let (id, nonce, body) = parts(sealed).ok_or(OpenFailure::Forged)?;
        let known = self.keys.iter().find(|(known, _)| known.as_bytes() == id);
        let (id, key) = known.ok_or(OpenFailure::UnknownKey)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenFailure::Forged)?;
        let mut plain = body.to_vec();
        let length = key
            .open_in_place(nonce, Aad::from(associated(id, name)), &mut plain)
            .map_err(|_| OpenFailure::Forged)?
            .len();
        plain.truncate(length);
        Ok(plain)
    }
}

fn digest(key: &hmac::Key, name: &str) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(key, name.as_bytes()).as_ref())
}

/// A key for one purpose (the first block of HKDF-Expand, RFC 5869 §2.3).
fn derive(key: &[u8; 32], purpose: &[u8]) -> [u8; 32] {
    let info = [purpose, &[1]].concat();
    let mut derived = [0; 32];
    derived.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &info).as_ref());
    derived
}

/// The nonces of a ring that may be exchanged: gateways that share its keys know each other's.
pub struct RingNonces(pub Arc<ArcSwap<KeyRing>>);

impl Nonces for RingNonces {
    fn current(&self, now: i64) -> Option<String> {
        self.0.load().nonces.current(now)
    }

    fn accepts(&self, nonce: &str, now: i64) -> bool {
        self.0.load().nonces.accepts(nonce, now)
    }
}

/// The id, the nonce and the rest of a sealed piece.
fn parts(sealed: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let [VERSION, length, rest @ ..] = sealed else { return None };
    let (id, rest) = rest.split_at_checked((*length).into())?;
    let (nonce, body) = rest.split_at_checked(NONCE_BYTES)?;
    Some((id, nonce, body))
}

/// What is authenticated beside the contents. The id's length is part of the piece, so the two can't be mixed up.
fn associated(id: &str, name: &str) -> Vec<u8> {
    let mut text = vec![VERSION];
    for part in [id, name] {
        text.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(ids: &[&str]) -> KeyRing {
        let key = |id: &&str| {
            let mut bytes = [0; 32];
            bytes[..id.len()].copy_from_slice(id.as_bytes());
            ((*id).into(), bytes)
        };
        KeyRing::new(&ids.iter().map(key).collect::<Vec<_>>()).expect("a ring")
    }

    #[test]
    fn what_is_sealed_opens_under_its_own_name_only() {
        let ring = ring(&["k1"]);
        let sealed = ring.seal("session 1", b"secret").expect("sealed");
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_ne!(sealed, ring.seal("session 1", b"secret").expect("sealed"), "nonces differ");
        assert_eq!(ring.open("session 1", &sealed), Ok(b"secret".to_vec()));
        assert_eq!(ring.open("session 2", &sealed), Err(OpenFailure::Forged));
        assert_eq!(ring.open("session 1", &ring.seal("session 1", b"").expect("sealed")), Ok(Vec::new()));
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let ring = ring(&["k1", "k0"]);
        let sealed = ring.seal("name", b"secret").expect("sealed");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(ring.open("name", &changed).is_err(), "byte {at}");
            assert!(ring.open("name", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_rotation_opens_what_was_sealed_before() {
        let (before, during, after) = (ring(&["k1"]), ring(&["k2", "k1"]), ring(&["k2"]));
        let old = before.seal("name", b"old").expect("sealed");
        let new = during.seal("name", b"new").expect("sealed");
        assert_eq!(during.open("name", &old), Ok(b"old".to_vec()));
        assert_eq!(after.open("name", &new), Ok(b"new".to_vec()));
        assert_eq!(after.open("name", &old), Err(OpenFailure::UnknownKey));
        assert_eq!(before.open("name", &new), Err(OpenFailure::UnknownKey));
    }

    #[test]
    fn bad_rings_are_refused() {
        let key = |id: &str| (id.into(), [0; 32]);
        assert_eq!(KeyRing::new(&[]).err(), Some(RingError::Empty));
        assert_eq!(KeyRing::new(&[key("")]).err(), Some(RingError::BadId));
        assert_eq!(KeyRing::new(&[key(&"x".repeat(256))]).err(), Some(RingError::BadId));
        assert_eq!(KeyRing::new(&[key("a"), key("a")]).err(), Some(RingError::BadId));
    }

    #[test]
    fn gateways_with_one_key_know_each_others_nonces() {
        let nonces = |ids: &[&str]| RingNonces(Arc::new(ArcSwap::from_pointee(ring(ids))));
        let nonce = nonces(&["k1"]).current(1_000).expect("a nonce");
        assert!(nonces(&["k2", "k1"]).accepts(&nonce, 1_000), "a rotation under way");
        assert!(!nonces(&["k2"]).accepts(&nonce, 1_000));
    }
}
