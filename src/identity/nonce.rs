//! Nonces for proofs of possession (RFC 9449 §9): made and known without being remembered.
//!
//! A nonce is the minute it was made in and a MAC over it, so every gateway that has the key knows it. All callers get
//! the same one in a minute: it says when a proof was made, and the proof's own `jti` that it is shown once.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How long one nonce is given out, in seconds.
const SLOT: i64 = 60;
/// For how many slots after its own a nonce is taken.
const SLOTS_AFTER: i64 = 4;
/// How many slots another gateway's clock may be ahead.
const SLOTS_AHEAD: i64 = 1;
/// The bytes of a MAC that are kept: 128 bits.
const MAC_BYTES: usize = 16;

/// The keys of nonces: the first makes them, all know them.
pub struct NonceKeys(Vec<hmac::Key>);

impl NonceKeys {
    /// Takes these keys, of 256 bits each.
    pub fn new(keys: &[[u8; 32]]) -> Self {
        Self(keys.iter().map(|key| hmac::Key::new(hmac::HMAC_SHA256, key)).collect())
    }

    /// The nonce to give out at `now` (Unix seconds): visible ASCII; `None` where there is no key.
    pub fn current(&self, now: i64) -> Option<String> {
        let slot = now.div_euclid(SLOT).to_be_bytes();
        let mut bytes = slot.to_vec();
        bytes.extend_from_slice(&mac(self.0.first()?, slot));
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Whether a nonce was given out in the last minutes by a gateway with one of these keys.
    pub fn accepts(&self, nonce: &str, now: i64) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(nonce) else { return false };
        let Some((slot, shown)) = bytes.split_first_chunk::<8>() else { return false };
        let age = now.div_euclid(SLOT).saturating_sub(i64::from_be_bytes(*slot));
        (-SLOTS_AHEAD..=SLOTS_AFTER).contains(&age)
            && self.0.iter().any(|key| verify_slices_are_equal(&mac(key, *slot), shown).is_ok())
    }
}

fn mac(key: &hmac::Key, slot: [u8; 8]) -> [u8; MAC_BYTES] {
    let mut kept = [0; MAC_BYTES];
    let whole = hmac::sign(key, &slot);
    for (place, byte) in kept.iter_mut().zip(whole.as_ref()) {
        *place = *byte;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::NOW;

    #[test]
    fn a_nonce_holds_for_some_minutes_at_every_gateway_with_its_key() {
        let (old, new) = ([1; 32], [2; 32]);
        let (before, during) = (NonceKeys::new(&[old]), NonceKeys::new(&[new, old]));
        let nonce = before.current(NOW).expect("a nonce");
        assert!(during.accepts(&nonce, NOW) && during.accepts(&nonce, NOW + 4 * SLOT));
        assert!(during.accepts(&nonce, NOW - SLOT), "another clock is ahead");
        assert!(!during.accepts(&nonce, NOW + 5 * SLOT) && !during.accepts(&nonce, NOW - 2 * SLOT));
        assert!(!before.accepts(&during.current(NOW).expect("a nonce"), NOW), "another key's");
        assert_eq!(NonceKeys::new(&[]).current(NOW), None);
        assert!(!NonceKeys::new(&[]).accepts(&nonce, NOW));
    }

    #[test]
    fn a_made_up_nonce_is_none() {
        let keys = NonceKeys::new(&[[1; 32]]);
        let nonce = keys.current(NOW).expect("a nonce");
        let bytes = URL_SAFE_NO_PAD.decode(&nonce).expect("base64url");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(!keys.accepts(&URL_SAFE_NO_PAD.encode(&changed), NOW), "byte {at}");
            assert!(!keys.accepts(&URL_SAFE_NO_PAD.encode(&bytes[..at]), NOW), "cut at {at}");
        }
        assert!(
            !keys.accepts("", NOW) && !keys.accepts("ä", NOW) && !keys.accepts(&format!("{nonce}AA"), NOW)
        );
    }
}
