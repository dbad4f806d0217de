//! What goes wrong with Redis, in words for the operator that name the remedy and hold no data.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerError};

/// Why Redis can't be used now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// What is wrong and what to do.
    pub(super) text: String,
    /// What it has is still true: it only takes nothing new.
    pub(super) reads_are_true: bool,
    /// It may only have been a moment's delay.
    pub(super) is_slowness: bool,
}

impl Fault {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), reads_are_true: false, is_slowness: false }
    }

    /// No answer in time.
    pub(super) fn slow(limit: Duration) -> Self {
        let text = format!("no answer within {limit:?}; look at the load of Redis and at the network");
        Self { is_slowness: true, ..Self::new(text) }
    }

    /// Written, but not by enough replicas.
    pub(super) fn unconfirmed(confirmed: i64, wanted: u8) -> Self {
        let text = format!(
            "{confirmed} of {wanted} replicas have confirmed a write in time; look at the replicas, or at whether this server is still the master"
        );
        Self { is_slowness: true, ..Self::new(text) }
    }
}

impl From<&RedisError> for Fault {
    fn from(error: &RedisError) -> Self {
        // With a write that replicas confirm comes a list of errors; the first one is the write's own.
        let of_server = error.clone().into_server_errors();
        let first = of_server.as_ref().and_then(|errors| errors.first()).map(|(_, first)| first);
        let code = first.map(ServerError::code).or_else(|| error.code()).unwrap_or_default();
        // An error within a script carries the code of its cause in the text.
        let detail = first.and_then(ServerError::details).or_else(|| error.detail()).unwrap_or_default();
        let is = |wanted: &str| code == wanted || detail.starts_with(wanted);
        if is("OOM") {
            let text = "it is out of memory; raise its `maxmemory`, or give it a server of its own";
            return Self { reads_are_true: true, ..Self::new(text) };
        }
        let text = if error.kind() == ErrorKind::AuthenticationFailed || is("WRONGPASS") || is("NOAUTH") {
            "the user or the password is refused; check the names of users and their password files in `state.redis`"
        } else if is("NOPERM") {
            "its user lacks a permission; compare its ACL with the one in docs/state.md"
        } else if is("READONLY") {
            "it is a replica and takes no writes; name the master, or use `topology: sentinel`"
        } else if is("NOREPLICAS") {
            "too few replicas follow it (`min-replicas-to-write`), so it takes no writes"
        } else if is("LOADING") {
            "it is still loading its data"
        } else if is("CLUSTERDOWN") || is("MASTERDOWN") || is("TRYAGAIN") {
            "a part of the cluster is down"
        } else if error.is_timeout() {
            "no answer in time; look at the load of Redis and at the network"
        } else if error.is_io_error() || error.is_connection_dropped() || error.is_connection_refusal() {
            "it can't be reached; check `state.redis.urls`, the network and, with `rediss://`, the certificates"
        } else {
            return Self::new(format!(
                "it answers with an error ({}); check `state.redis`: `urls`, `topology`, `service`",
                first_word(code, error.category())
            ));
        };
        Self::new(text)
    }
}

fn first_word<'w>(code: &'w str, category: &'w str) -> &'w str {
    if code.is_empty() { category } else { code }
}
