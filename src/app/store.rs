//! The state store that the configuration asks for, and the ring of keys that seals what it keeps.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{StartError, secret_file};
use crate::config::encryption_keys;
use crate::config::settings::{EncryptionKeySettings, StateSettings, StoreSettings};
use crate::enforce::ports::{Nonces, State};
use crate::state::embedded::{EmbeddedLimits, EmbeddedState};
use crate::state::health::Outages;
use crate::state::memory::MemoryState;
use crate::state::redis::RedisState;
use crate::state::ring::{KeyRing, RingNonces};
use crate::state::sealed::SealedState;
use crate::telemetry::metrics;

/// The key that an embedded store makes for itself, in its directory.
const OWN_KEY: &str = "sealing.key";

/// The store in use.
pub struct Store {
    kind: Kind,
    state: Arc<dyn State>,
    /// Where contents leave the process, or keys are configured.
    ring: Option<Arc<ArcSwap<KeyRing>>>,
}

enum Kind {
    Memory(Arc<MemoryState>),
    Embedded(Arc<EmbeddedState>),
    Redis(RedisState),
}

impl Store {
    /// Opens the store. One that a predecessor holds is opened later, by [`Self::begin_after`].
    ///
    /// # Errors
    /// It can't be used, in words for the operator.
    pub fn open(
        settings: &StateSettings,
        runtime: &Handle,
        has_predecessor: bool,
    ) -> Result<Self, StartError> {
        let ring = ring(settings)?.map(|ring| Arc::new(ArcSwap::from_pointee(ring)));
        let (kind, inner): (Kind, Arc<dyn State>) = match &settings.store {
            StoreSettings::Memory => {
                metrics().store_up.set(1);
                let memory = Arc::new(MemoryState::new());
                (Kind::Memory(Arc::clone(&memory)), memory)
            }
            StoreSettings::Embedded(dir) => {
                let embedded = EmbeddedState::new(dir.clone(), EmbeddedLimits::default())
                    .map_err(|error| StartError(format!("a thread can't be started: {error}")))?;
                if !has_predecessor {
                    embedded.open().map_err(StartError::new)?;
                }
                let embedded = Arc::new(embedded);
                (Kind::Embedded(Arc::clone(&embedded)), embedded)
            }
            StoreSettings::Redis(redis) => {
                let redis = RedisState::start(redis.clone(), runtime);
                (Kind::Redis(redis.clone()), Arc::new(redis))
            }
        };
        let state = match &ring {
            Some(ring) => Arc::new(SealedState::new(inner, Arc::clone(ring))),
            None => inner,
        };
        Ok(Self { kind, state, ring })
    }

    /// The store as the gate sees it.
    pub fn state(&self) -> Arc<dyn State> {
        Arc::clone(&self.state)
    }

    /// A store of this process's own, for what is only observed: nobody waits for another machine then.
    pub fn of_this_process() -> Arc<dyn State> {
        Arc::new(MemoryState::new())
    }

    /// The nonces of proofs of possession: those of the ring, or this process's own where nothing is shared.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn nonces(&self) -> Result<Arc<dyn Nonces>, StartError> {
        let ring = match &self.ring {
            Some(ring) => Arc::clone(ring),
            None => {
                let mut key = [0; 32];
                aws_lc_rs::rand::fill(&mut key).map_err(|_| {
                    StartError("no key for nonces could be made: the system gives no randomness".to_owned())
                })?;
                let ring = KeyRing::new(&[("process".into(), key)]).map_err(StartError::new)?;
                Arc::new(ArcSwap::from_pointee(ring))
            }
        };
        Ok(Arc::new(RingNonces(ring)))
    }

    /// Leaves what happens after `moment` (Unix seconds) to the program that takes over.
    pub fn end_at(&self, moment: i64) {
        match &self.kind {
            Kind::Memory(memory) => memory.end_at(moment),
            // The other one goes on where the file ends.
            Kind::Embedded(embedded) => embedded.close(),
            // Both write to the same servers.
            Kind::Redis(_) => {}
        }
    }

    /// Takes over what happens after `moment` (Unix seconds).
    ///
    /// # Errors
    /// The store can't be used, in words for the operator.
    pub fn begin_after(&self, moment: i64) -> Result<(), String> {
        match &self.kind {
            Kind::Memory(memory) => memory.begin_after(moment),
            Kind::Embedded(embedded) => embedded.open().map_err(|error| error.to_string())?,
            Kind::Redis(_) => {}
        }
        Ok(())
    }

    /// Closes the store at the end of the process, so that the next one need not look for what a crash left behind.
    pub fn close(&self) {
        if let Kind::Embedded(embedded) = &self.kind {
            embedded.close();
        }
    }

    /// What keeps the gateway from serving at all: a shared store that was never reached. One that fails later fails
    /// for every gateway, so that to say "not ready" would only turn people away from what still works.
    pub fn unready(&self) -> Option<String> {
        match &self.kind {
            Kind::Redis(redis) if !redis.was_reached() => {
                let why = redis.trouble().unwrap_or_else(|| "it is being connected to".to_owned());
                Some(format!("state store: {why}"))
            }
            Kind::Redis(_) | Kind::Memory(_) | Kind::Embedded(_) => None,
        }
    }

    /// What is wrong with it now.
    pub fn trouble(&self) -> Option<String> {
        let trouble = match &self.kind {
            Kind::Memory(_) => None,
            Kind::Embedded(embedded) => embedded.trouble(),
            Kind::Redis(redis) => redis.trouble(),
        };
        trouble.map(|why| format!("state store: {why}"))
    }

    /// What does not keep it from being used, but should be mended.
    pub fn notice(&self) -> Option<String> {
        match &self.kind {
            Kind::Memory(_) | Kind::Embedded(_) => None,
            Kind::Redis(redis) => redis.notice().map(|why| format!("state store: {why}")),
        }
    }

    /// Tells when an outage begins or ends; memory has none.
    pub fn outages(&self) -> Option<watch::Receiver<Outages>> {
        match &self.kind {
            Kind::Memory(_) => None,
            Kind::Embedded(embedded) => Some(embedded.outages()),
            Kind::Redis(redis) => Some(redis.outages()),
        }
    }

    /// Puts another ring in place.
    pub fn replace_ring(&self, ring: Option<KeyRing>) {
        if let (Some(place), Some(ring)) = (&self.ring, ring) {
            place.store(Arc::new(ring));
        }
    }

    /// Whether a ring can be put in place while the gateway runs: not the first one, and not the last one away.
    pub fn can_take(&self, ring: Option<&KeyRing>) -> bool {
        self.ring.is_some() == ring.is_some()
    }
}

/// The ring that the configuration asks for; `None` where nothing leaves the process and no key is named.
///
/// # Errors
/// A key can't be read, in words for the operator.
pub fn ring(settings: &StateSettings) -> Result<Option<KeyRing>, StartError> {
    let keys = match (&settings.store, settings.encryption_keys.is_empty()) {
        (_, false) => settings.encryption_keys.iter().map(read).collect::<Result<Vec<_>, _>>()?,
        (StoreSettings::Embedded(dir), true) => vec![own_key(dir)?],
        (StoreSettings::Memory | StoreSettings::Redis(_), true) => return Ok(None),
    };
    KeyRing::new(&keys).map(Some).map_err(StartError::new)
}

fn read(key: &EncryptionKeySettings) -> Result<(Box<str>, [u8; 32]), StartError> {
    let bytes = std::fs::read(&key.file)
        .map_err(|error| StartError(format!("the key `{}` can't be read: {error}", key.file.display())))?;
    parsed(key.id.clone(), &bytes, &key.file)
}

fn parsed(id: Box<str>, bytes: &[u8], path: &Path) -> Result<(Box<str>, [u8; 32]), StartError> {
    let key = encryption_keys::parse(bytes).ok_or_else(|| {
        let path = path.display();
        StartError(format!("`{path}` holds no key of 256 bits; make one with `openssl rand -hex 32`"))
    })?;
    Ok((id, key))
}

/// The store's own key, made with the first start. Its id tells it from one that was made after it was lost.
fn own_key(dir: &Path) -> Result<(Box<str>, [u8; 32]), StartError> {
    let path = dir.join(OWN_KEY);
    let fail = |error: &dyn std::fmt::Display| {
        StartError(format!("the key `{}` can't be made or read: {error}", path.display()))
    };
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            secret_file::make_dir(dir).map_err(|error| fail(&error))?;
            secret_file::make(&path).map_err(|error| fail(&error))?.into_bytes()
        }
        Err(error) => return Err(fail(&error)),
    };
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &text);
    let id: String = digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    parsed(format!("own-{id}").into(), &text, &path)
}
