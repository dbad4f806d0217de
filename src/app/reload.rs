//! Reloads: watches the configuration's file, and puts a changed one in force, or says why not.
//!
//! Everything here happens on one thread of its own, beside the requests. What is built is built first; then it is
//! recorded; then it is put in force, all of it at once.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::askers::Asking;
use super::fingerprint::{Digest, Fingerprint, digests};
use super::signals;
use super::store::{self, Store};
use crate::access::Services;
use crate::audit::event::Event;
use crate::config::{self, Compiled, Diagnostic, Settings};
use crate::enforce::prompts::Prompts;
use crate::enforce::sessions::Sessions;
use crate::enforce::shared_signals::Streams;
use crate::enforce::{Gate, Generation};
use crate::keys::{Askers, Verifier};
use crate::policy::Policy;
use crate::serve::pages::Pages;
use crate::serve::shutdown::Draining;
use crate::serve::{Current, Live, Upstreams};
use crate::session::BrowserSessions;
use crate::state::ring::KeyRing;
use crate::telemetry::metrics;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A file that was the same twice with this pause between is no longer being written.
const SETTLED_AFTER: Duration = Duration::from_millis(250);
/// A file that never settles is read as it is after this long.
const SETTLED_AT_LAST: Duration = Duration::from_secs(10);
/// So many findings of a refused configuration are recorded.
const MOST_FINDINGS: usize = 20;

/// What is in force, beside what every request holds.
struct InForce {
    policy: Arc<Policy>,
    settings: Settings,
    verifier: Arc<Verifier>,
    upstreams: Arc<Upstreams>,
    access: Arc<Services>,
    /// Digests of the files that the verifier was made from.
    named: Vec<Option<Digest>>,
}

/// How the last attempt went; for `/readyz`.
#[derive(Debug, Clone, Default)]
struct Report {
    policy: String,
    refused: Option<Vec<String>>,
}

/// What the rest of the program knows of reloads.
#[derive(Clone, Default)]
pub struct Status {
    report: Arc<Mutex<Report>>,
    verifier: Arc<Mutex<Option<Arc<Verifier>>>>,
    /// Those who ask people.
    pub asking: Asking,
    /// `upgrade.ready_within`, in milliseconds.
    ready_within: Arc<AtomicU64>,
}

impl Status {
    /// What keeps issuers' tokens from being verified, under the configuration in force.
    pub fn unready(&self) -> Vec<String> {
        let verifier = self.verifier.lock().unwrap_or_else(PoisonError::into_inner).clone();
        verifier.map_or_else(Vec::new, |verifier| verifier.unready())
    }

    /// What keeps security events from being verified, under the configuration in force.
    pub fn signals_trouble(&self) -> Vec<String> {
        let verifier = self.verifier.lock().unwrap_or_else(PoisonError::into_inner).clone();
        verifier.map_or_else(Vec::new, |verifier| verifier.signals_trouble().collect())
    }

    /// The member `configuration` of `/readyz`.
    pub fn tell(&self, details: &mut Map<String, Value>) {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut told = json!({ "policy": report.policy, "last_reload": "accepted" });
        if let Some(findings) = report.refused {
            told = json!({ "policy": report.policy, "last_reload": "refused", "findings": findings });
        }
        details.insert("configuration".to_owned(), told);
    }

    /// `upgrade.ready_within` of the configuration in force.
    pub fn ready_within(&self) -> Duration {
        Duration::from_millis(self.ready_within.load(Ordering::Relaxed))
    }

    fn accepted(&self, policy: &str, settings: &Settings, verifier: &Arc<Verifier>) {
        let ready_within = settings.upgrade.ready_within.as_millis();
        self.ready_within.store(u64::try_from(ready_within).unwrap_or(u64::MAX), Ordering::Relaxed);
        *self.verifier.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(verifier));
        self.set(Report { policy: policy.to_owned(), refused: None });
        metrics().config_last_reload.set(1);
        metrics().config_loaded_at.set(jiff::Timestamp::now().as_second());
    }

    fn set(&self, report: Report) {
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }
}

/// Reloads one configuration.
pub struct Reloader {
    path: PathBuf,
    gate: Arc<Gate>,
    current: Arc<Current>,
    draining: Draining,
    runtime: Handle,
    status: Status,
    store: Arc<Store>,
    in_force: InForce,
    /// Keeps the verifier's keys fresh.
    freshness: JoinHandle<()>,
    /// Fetches security events.
    fetching: Option<JoinHandle<()>>,
    /// What was last read, taken or not.
    seen: Fingerprint,
}

/// What is to be in force.
struct Next {
    in_force: InForce,
    askers: Arc<Askers>,
    ring: Option<KeyRing>,
    seen: Fingerprint,
    warnings: Vec<Diagnostic>,
}

/// What a reloader begins with.
pub struct Beginning {
    /// The configuration's file.
    pub path: PathBuf,
    /// Records what is loaded and refused.
    pub gate: Arc<Gate>,
    /// Where versions are put in force.
    pub current: Arc<Current>,
    /// Ends reloading.
    pub draining: Draining,
    /// Where keys are fetched.
    pub runtime: Handle,
    /// Where it is told how it goes.
    pub status: Status,
    /// What was compiled at the start.
    pub policy: Arc<Policy>,
    /// Its settings.
    pub settings: Settings,
    /// Its verifier.
    pub verifier: Arc<Verifier>,
    /// [`digests`] of the files that the verifier was made from.
    pub named: Vec<Option<Digest>>,
    /// Its upstreams.
    pub upstreams: Arc<Upstreams>,
    /// Those who have a say under it.
    pub access: Arc<Services>,
    /// Seals with its keys.
    pub store: Arc<Store>,
}

impl Reloader {
    /// Takes over what was compiled at the start.
    pub fn new(from: Beginning) -> Self {
        let Beginning {
            path,
            gate,
            current,
            draining,
            runtime,
            status,
            policy,
            settings,
            verifier,
            named,
            upstreams,
            access,
            store,
        } = from;
        let freshness = runtime.spawn(Arc::clone(&verifier).background());
        let streams = current.load().generation.signals.clone();
        let fetching = signals::fetch(&gate, &policy, streams.as_ref(), &runtime);
        status.accepted(&policy.version, &settings, &verifier);
        // What has changed since it was read is found at the first look.
        let seen = Fingerprint { version: Some(policy.version.clone()), named: named.clone() };
        let in_force = InForce { policy, settings, verifier, upstreams, access, named };
        Self { path, gate, current, draining, runtime, status, store, in_force, freshness, fetching, seen }
    }

    /// Watches until the gateway leaves; each message asks for a reload at once.
    pub fn run(mut self, asked: &Receiver<()>) {
        loop {
            let is_asked = match asked.recv_timeout(LOOK_EVERY) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if self.draining.is_draining() {
                return;
            }
            // One reading answers all who asked so far.
            while asked.try_recv().is_ok() {}
            let found = Fingerprint::of(&self.path, &self.in_force.settings);
            if is_asked || found != self.seen {
                self.seen = self.settled(found);
                self.reload();
            }
        }
    }

    /// Waits until nobody writes any more.
    fn settled(&self, mut found: Fingerprint) -> Fingerprint {
        let began = Instant::now();
        loop {
            std::thread::park_timeout(SETTLED_AFTER);
            let again = Fingerprint::of(&self.path, &self.in_force.settings);
            if again == found || began.elapsed() > SETTLED_AT_LAST {
                return again;
            }
            found = again;
        }
    }

    fn reload(&mut self) {
        match self.build() {
            Ok(next) => self.put_in_force(next),
            Err(findings) => self.refuse(&findings),
        }
    }

    /// Builds what is to be in force, and touches nothing.
    fn build(&self) -> Result<Next, Vec<Diagnostic>> {
        let InForce { policy: old_policy, settings: old, verifier, upstreams, access, named: old_named } =
            &self.in_force;
        let (Compiled { policy, settings, .. }, warnings) = config::load_next(&self.path, old)?;
        let named = digests(&settings);
        let seen = Fingerprint { version: Some(policy.version.clone()), named: named.clone() };
        let same_issuers = policy.issuers == old_policy.issuers
            && policy.levels == old_policy.levels
            && settings.issuers == old.issuers
            && named == *old_named;
        let verifier = if same_issuers {
            Arc::clone(verifier)
        } else {
            let made = verifier.succeeded_by(policy.issuers.clone(), settings.issuers.clone());
            Arc::new(made.map_err(|error| vec![config::unusable(&self.path, &error.to_string())])?)
        };
        let asking = self.status.asking.next(&settings, &verifier);
        let askers = asking.map_err(|error| vec![config::unusable(&self.path, &error.to_string())])?;
        let upstreams = if settings.upstreams == old.upstreams {
            Arc::clone(upstreams)
        } else {
            let made = upstreams.succeeded_by(settings.upstreams.clone(), &self.runtime);
            Arc::new(made.map_err(|error| vec![config::unusable(&self.path, &error)])?)
        };
        let access = Services::new(&settings.access, &self.runtime, Some(access));
        let access = access.map_err(|error| vec![config::unusable(&self.path, &error.to_string())])?;
        let ring = store::ring(&settings.state)
            .map_err(|error| vec![config::unusable(&self.path, &error.to_string())])?;
        if !self.store.can_take(ring.as_ref()) {
            let problem = "`state.encryption_keys` begins or ends, which needs a restart";
            return Err(vec![config::unusable(&self.path, problem)]);
        }
        let in_force = InForce {
            policy: Arc::new(policy),
            settings,
            verifier,
            upstreams,
            access: Arc::new(access),
            named,
        };
        Ok(Next { in_force, askers, ring, seen, warnings })
    }

    fn put_in_force(&mut self, next: Next) {
        let Next { in_force: next, askers, ring, seen, warnings } = next;
        let (new, old) = (next.policy.version.clone(), self.in_force.policy.version.clone());
        let event = Event::Reloaded { policy: &new, previous: &old, relaxations: &next.settings.insecure };
        if !self.runtime.block_on(self.gate.record_own(&event)) {
            // What is not on record is not in force.
            let problem = "the load can't be recorded in the audit journal";
            self.refuse(&[config::unusable(&self.path, problem)]);
            return;
        }
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        for relaxation in &next.settings.insecure {
            if !self.in_force.settings.insecure.contains(relaxation) {
                tracing::warn!("insecure: {relaxation}");
            }
        }
        let before = self.current.load().generation.signals.clone();
        let store = (&*self.store, &self.runtime);
        let known = (&next.verifier, self.status.asking.replace(askers));
        let own = own_parts((&next.policy, &next.settings), known, store, before.as_ref());
        let streams = own.1.clone();
        self.fetching.take().inspect(JoinHandle::abort);
        let behind = (&next.upstreams, &next.access);
        self.current.replace(live((&next.policy, &next.settings), &next.verifier, behind, own));
        self.fetching = signals::fetch(&self.gate, &next.policy, streams.as_ref(), &self.runtime);
        self.store.replace_ring(ring);
        if !Arc::ptr_eq(&next.verifier, &self.in_force.verifier) {
            self.freshness.abort();
            self.freshness = self.runtime.spawn(Arc::clone(&next.verifier).background());
        }
        self.status.accepted(&new, &next.settings, &next.verifier);
        metrics().config_reloads.with_label_values(&["accepted"]).inc();
        (self.in_force, self.seen) = (next, seen);
        tracing::info!(policy = %new, previous = %old, "the configuration was reloaded");
    }

    fn refuse(&self, findings: &[Diagnostic]) {
        let policy = &self.in_force.policy.version;
        for finding in findings {
            tracing::error!("{finding}");
        }
        tracing::error!(%policy, "the changed configuration is refused; the one before stays in force");
        metrics().config_reloads.with_label_values(&["refused"]).inc();
        metrics().config_last_reload.set(0);
        let mut told: Vec<String> = findings.iter().take(MOST_FINDINGS).map(in_one_line).collect();
        if findings.len() > MOST_FINDINGS {
            told.push(format!("and {} more", findings.len() - MOST_FINDINGS));
        }
        let refused = self.seen.version.as_deref();
        let event = Event::ReloadRefused { policy, refused, findings: &told };
        // The refusal stands whether or not it can be recorded; the journal counts and logs that by itself.
        self.runtime.block_on(self.gate.record_own(&event));
        self.status.set(Report { policy: policy.to_string(), refused: Some(told) });
    }
}

/// What a version of the configuration answers itself: the pages of sessions, and pushes of security events.
pub type OwnParts = (Option<Arc<dyn Sessions>>, Option<Arc<Streams>>);

/// Makes them. What was known of the same streams under the version before goes on.
pub fn own_parts(
    (policy, settings): (&Arc<Policy>, &Settings),
    (verifier, prompts): (&Arc<Verifier>, Option<Arc<dyn Prompts>>),
    (store, runtime): (&Store, &Handle),
    before: Option<&Arc<Streams>>,
) -> OwnParts {
    let providers = Arc::clone(verifier) as _;
    let (policy, state) = (Arc::clone(policy), store.state());
    let sessions = BrowserSessions::new(
        (&settings.issuers, &settings.pages),
        policy,
        (providers, prompts),
        state,
        runtime.clone(),
    );
    let streams = signals::streams(settings, verifier, before);
    (sessions.map(|sessions| sessions as _), streams)
}

/// The version as requests see it.
pub fn live(
    (policy, settings): (&Arc<Policy>, &Settings),
    verifier: &Arc<Verifier>,
    (upstreams, access): (&Arc<Upstreams>, &Arc<Services>),
    (sessions, signals): OwnParts,
) -> Live {
    Live {
        generation: Generation {
            policy: Arc::clone(policy),
            identities: Arc::clone(verifier) as _,
            sessions,
            signals,
            access: access.are_any().then(|| Arc::clone(access) as _),
            search_forms: settings.upstreams.iter().map(|upstream| upstream.refuse_hidden_method).collect(),
        },
        upstreams: Arc::clone(upstreams),
        pages: Pages::new(&settings.pages),
        readings: settings.listeners.iter().map(|listener| listener.reading.clone()).collect(),
        peer_secrets: settings.listeners.iter().map(|listener| listener.peer_secrets.clone()).collect(),
    }
}

fn in_one_line(finding: &Diagnostic) -> String {
    let place = finding.place;
    let at = if place.line == 0 {
        String::new()
    } else {
        format!(" (line {}, column {})", place.line, place.column)
    };
    format!("{}: {}{at}; {}", finding.code.name(), finding.message, finding.help)
}
