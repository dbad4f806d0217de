//! What things are called in Redis.
//!
//! Names hold digests, so that a dump tells nobody's name and no key that could be used. The part in braces is the hash
//! tag: keys with one tag lie on one node of a cluster, as the keys of one script must.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::state::expiring::Key;

/// The names under one prefix.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: Box<str>,
    buckets: u8,
    channel: Box<str>,
}

impl Names {
    /// Names that are spread over so many hash tags.
    pub(super) fn new(prefix: &str, buckets: u8) -> Self {
        let channel = format!("{prefix}:revised").into();
        Self { prefix: prefix.into(), buckets: buckets.max(1), channel }
    }

    /// The channel on which changes of the revocation table are announced.
    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// Every hash tag that proofs, counters and sealed pieces are spread over.
    pub(super) fn buckets(&self) -> impl Iterator<Item = u8> {
        0..self.buckets
    }

    /// A proof, and the epoch beside it.
    pub(super) fn proof(&self, text: &str) -> [String; 2] {
        self.beside_epoch("proof", &Key::of(&[text.as_bytes()]))
    }

    /// A sealed piece, and the epoch beside it.
    pub(super) fn sealed(&self, name: &str) -> [String; 2] {
        self.beside_epoch("sealed", &Key::of(&[name.as_bytes()]))
    }

    /// A word that is held.
    pub(super) fn held(&self, name: &str) -> String {
        let [held, _] = self.beside_epoch("held", &Key::of(&[name.as_bytes()]));
        held
    }

    /// A counter.
    pub(super) fn window(&self, name: &str, span_micros: u128) -> String {
        let [window, _] =
            self.beside_epoch("window", &Key::of(&[name.as_bytes(), &span_micros.to_be_bytes()]));
        window
    }

    /// Those of whom different things are counted.
    pub(super) fn distinct(&self, name: &str, span_micros: u128) -> String {
        let [distinct, _] =
            self.beside_epoch("distinct", &Key::of(&[name.as_bytes(), &span_micros.to_be_bytes()]));
        distinct
    }

    /// The epoch of a bucket, and the key that is written to see whether it can be.
    pub(super) fn probe(&self, bucket: u8) -> [String; 2] {
        [self.in_bucket(bucket, "epoch"), self.in_bucket(bucket, "probe")]
    }

    /// A name in the revocation table.
    pub(super) fn revoked(&self, name: &Key) -> String {
        format!("{}:{{r}}:revoked:{}", self.prefix, text(name))
    }

    /// How often something was revoked, and the moment before which everything is.
    pub(super) fn revision_and_floor(&self) -> [String; 2] {
        ["revision", "floor"].map(|what| format!("{}:{{r}}:{what}", self.prefix))
    }

    /// Three names with one hash tag for whoever only looks whether Redis can be used; nothing of the gateway's is there.
    pub(super) fn of_a_look(&self) -> [String; 3] {
        let look = uuid::Uuid::now_v7().simple();
        ["text", "hash", "set"].map(|what| format!("{}:{{look}}:{what}:{look}", self.prefix))
    }

    fn beside_epoch(&self, kind: &str, key: &Key) -> [String; 2] {
        let bucket = key.digest().last().map_or(0, |byte| byte % self.buckets);
        [self.in_bucket(bucket, &format!("{kind}:{}", text(key))), self.in_bucket(bucket, "epoch")]
    }

    fn in_bucket(&self, bucket: u8, what: &str) -> String {
        format!("{}:{{p{bucket:02}}}:{what}", self.prefix)
    }
}

fn text(key: &Key) -> String {
    // A digest of the digest: what lies in Redis is not what other stores keep.
    URL_SAFE_NO_PAD.encode(digest(&SHA256, key.digest()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_script_share_a_tag_and_tell_no_names() {
        let names = Names::new("wardgate", 16);
        let tag = |key: &str| key[key.find('{').expect("tag")..=key.find('}').expect("tag")].to_owned();
        let mut tags = std::collections::HashSet::new();
        for number in 0..200 {
            let [proof, epoch] = names.proof(&format!("alice {number}"));
            assert_eq!(tag(&proof), tag(&epoch));
            assert!(!proof.contains("alice"));
            assert!(names.probe(0)[0] != epoch || tag(&epoch) == "{p00}");
            tags.insert(tag(&proof));
        }
        assert_eq!(tags.len(), 16);
        assert_ne!(names.proof("a")[0], names.sealed("a")[0]);
        assert_ne!(names.window("a", 1), names.window("a", 2));
    }
}
