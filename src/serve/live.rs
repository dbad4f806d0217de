//! What a reload exchanges, as one thing: rules, verification, upstreams, and how requests are read.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::pages::Pages;
use super::upstream::Upstreams;
use crate::config::peer_secrets::PeerSecrets;
use crate::enforce::Generation;
use crate::request::facts::Reading;

/// One version of the configuration at work. A request holds the one it began under to its end, so that no two
/// versions ever meet in it.
pub struct Live {
    /// What requests are judged by.
    pub generation: Generation,
    /// Where they go.
    pub upstreams: Arc<Upstreams>,
    /// What people see who come by a browser.
    pub pages: Pages,
    /// How they are read, by the listener's position.
    pub readings: Vec<Reading>,
    /// What those who ask must show, by the listener's position.
    pub peer_secrets: Vec<Option<PeerSecrets>>,
}

/// The version that new requests begin under.
pub struct Current(ArcSwap<Live>);

impl Current {
    /// Begins with this version.
    pub fn new(live: Live) -> Self {
        Self(ArcSwap::from_pointee(live))
    }

    /// The version in force.
    pub fn load(&self) -> Arc<Live> {
        self.0.load_full()
    }

    /// Puts another version in force, for every request that begins from now on.
    pub fn replace(&self, live: Live) {
        self.0.store(Arc::new(live));
    }
}
