//! Shared signals at work: the streams of the configuration in force, and the task that fetches their events.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::config::settings::{IssuerSettings, Settings, SignalDelivery};
use crate::enforce::Gate;
use crate::enforce::shared_signals::{Delivery, Stream, Streams};
use crate::keys::Verifier;
use crate::policy::Policy;

/// The streams of a configuration. What was known of the same streams under the version before goes on.
pub fn streams(
    settings: &Settings,
    verifier: &Arc<Verifier>,
    before: Option<&Arc<Streams>>,
) -> Option<Arc<Streams>> {
    let stream = |issuer: &IssuerSettings| {
        let signals = issuer.signals.as_ref()?;
        let delivery = match &signals.delivery {
            SignalDelivery::Push(hosts) => Delivery::Push { hosts: hosts.clone() },
            SignalDelivery::Poll { wait, .. } => Delivery::Poll { wait: *wait },
        };
        Some(Stream::new(&issuer.name, signals.rules.clone(), delivery))
    };
    let streams = settings.issuers.iter().map(stream).collect();
    Streams::new(Arc::clone(verifier) as _, streams, before.map(AsRef::as_ref))
}

/// Fetches the events that are not pushed, until the task is ended.
pub fn fetch(
    gate: &Arc<Gate>,
    policy: &Arc<Policy>,
    streams: Option<&Arc<Streams>>,
    runtime: &Handle,
) -> Option<JoinHandle<()>> {
    let streams = Arc::clone(streams?);
    Some(runtime.spawn(Arc::clone(gate).poll_signals(Arc::clone(policy), streams)))
}
