//! One issuer's keys: from a file for good, or fetched and kept fresh.

use std::path::Path;
use std::sync::Arc;

use reqwest::Url;
use tokio::time::Instant;

use super::discovery::{Discovery, Member};
use super::error::{FetchError, Owner, StartError};
use super::file;
use super::http::HttpClient;
use super::refreshed::{Fetch, Refreshed, Search, Snapshot, Usable};
use crate::identity::jwk::KeySet;
use crate::identity::jwt::UnverifiedJwt;

/// Where keys are fetched from.
#[derive(Debug, Clone)]
pub struct RemoteKeys {
    http: HttpClient,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Address(Url),
    Discovery(Discovery),
}

impl RemoteKeys {
    /// Keys at a configured address.
    pub fn at(address: Url, http: HttpClient) -> Self {
        Self { http, place: Place::Address(address) }
    }

    /// Keys where the issuer's metadata says; it is asked each time, so that the keys may move.
    pub fn discovered(discovery: Discovery, http: HttpClient) -> Self {
        Self { http, place: Place::Discovery(discovery) }
    }
}

impl Fetch for RemoteKeys {
    type Value = KeySet;

    const WHAT: &'static str = "keys";

    async fn fetch(&self, deadline: Instant) -> Result<KeySet, FetchError> {
        let found;
        let address = match &self.place {
            Place::Address(address) => address,
            Place::Discovery(discovery) => {
                found = discovery.find(Member::Keys, &self.http, deadline).await?;
                &found
            }
        };
        let text = self.http.get(address, deadline).await?;
        KeySet::parse(&text).map_err(|error| FetchError::Unusable {
            address: address.as_str().into(),
            why: error.to_string().into(),
        })
    }

    fn upholds(new: &KeySet, old: &KeySet) -> bool {
        new.keeps_all_of(old)
    }

    fn describe(keys: &KeySet) -> String {
        format!("{} usable, {} left out", keys.len(), keys.skipped())
    }
}

/// An issuer's keys.
pub enum Keys {
    /// From a file: never stale, never changed.
    Fixed(Arc<Snapshot<KeySet>>),
    /// From the issuer.
    Fetched(Arc<Refreshed<RemoteKeys>>),
}

impl Keys {
    /// Reads a JWKS file.
    ///
    /// # Errors
    /// The file can't be read, or holds no usable keys.
    pub fn from_file(issuer: &str, path: &Path) -> Result<Self, StartError> {
        let text = file::read("key", &Owner::issuer(issuer), path)?;
        let keys = KeySet::parse(&text).map_err(|why| StartError::BadKeys {
            issuer: issuer.into(),
            path: path.into(),
            why,
        })?;
        Ok(Self::Fixed(Arc::new(Snapshot::new(keys))))
    }

    /// The keys there are now; `None` where there are none, or only some beyond `stale_for`.
    pub fn current(&self) -> Option<Usable<KeySet>> {
        match self {
            Self::Fixed(keys) => Some(Usable { snapshot: Arc::clone(keys), too_stale_for_critical: false }),
            Self::Fetched(fetched) => fetched.current(),
        }
    }

    /// The keys for a token, fetched if there are none, or if they might be too old to have the token's key.
    ///
    /// `None` where the issuer can't be asked: then nobody can say whether the token is good. Where the
    /// issuer simply has no such key, the keys come back without it.
    pub async fn for_token(&self, token: &UnverifiedJwt<'_>) -> Option<Usable<KeySet>> {
        let (usable, _) = self.find(token).await?;
        Some(usable)
    }

    /// The same for what is not said twice once it was refused: `None` also where it is too early to ask the issuer
    /// again whether it has such a key by now.
    pub async fn for_message(&self, token: &UnverifiedJwt<'_>) -> Option<Usable<KeySet>> {
        let (usable, is_certain) = self.find(token).await?;
        is_certain.then_some(usable)
    }

    /// The keys, and whether they are certain to hold the token's if the issuer has it.
    async fn find(&self, token: &UnverifiedJwt<'_>) -> Option<(Usable<KeySet>, bool)> {
        let fetched = match self {
            Self::Fixed(_) => return Some((self.current()?, true)),
            Self::Fetched(fetched) => fetched,
        };
        let usable = fetched.usable().await?;
        if token.has_key_in(&usable.snapshot.value) {
            return Some((usable, true));
        }
        match fetched.newer_than(&usable.snapshot).await {
            Search::Newer(newer) => Some((newer, true)),
            Search::TooSoon => Some((usable, false)),
            Search::Failing => None,
        }
    }
}
