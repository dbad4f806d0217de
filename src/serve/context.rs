//! What the proxy front remembers of one request between Pingora's calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora::http::RequestHeader;
use pingora::{Error, ErrorType};
use uuid::Uuid;

use super::delivery::Delivery;
use super::edge::Running;
use super::kept::Resumed;
use super::live::Live;
use super::proxy_status::ProxyError;
use super::running::Open;
use super::trace::Trace;
use super::upstream::Departure;
use crate::audit::event::OutcomeResult;
use crate::decision::Reason;
use crate::enforce::{Admission, Settled};
use crate::request::Facts;
use crate::telemetry::metrics;

/// What is remembered of one request between Pingora's calls.
pub struct Context {
    pub(super) id: Uuid,
    /// The version of the configuration that the request began under.
    pub(super) live: Arc<Live>,
    pub(super) started: Instant,
    pub(super) facts: Option<Facts>,
    pub(super) settled: Option<Settled>,
    pub(super) admission: Option<Box<Admission>>,
    pub(super) ending: Option<OutcomeResult>,
    pub(super) delivery: Delivery,
    pub(super) now: i64,
    /// Why the gateway itself stopped a request that had been forwarded.
    pub(super) stopped: Option<Reason>,
    /// The most bytes of its body.
    pub(super) body_bytes: u64,
    pub(super) running: Option<Running>,
    /// How often something had been revoked before it was decided.
    pub(super) changes: u64,
    /// What is to be recorded where it is dropped while it runs.
    pub(super) open: Option<Open>,
    /// Its place in a trace, once its headers were seen.
    pub(super) trace: Option<Trace>,
    /// How long after its beginning it set out for the upstream.
    pub(super) sent_after: Option<Duration>,
    /// What failed on the way upstream.
    pub(super) fault: Option<ProxyError>,
    /// What the browser is given with the answer: its session has another name.
    pub(super) cookies: Vec<String>,
    /// What goes upstream in the place of the request itself.
    pub(super) resumed: Option<Box<Resumed>>,
    /// Why the gateway answered itself.
    pub(super) reason: Option<&'static str>,
    _in_flight: InFlight,
}

/// Counts a request as running until it is dropped, however it ends.
struct InFlight;

impl InFlight {
    fn new() -> Self {
        metrics().in_flight.inc();
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics().in_flight.dec();
    }
}

impl Context {
    /// A request that has just begun; so often something had been revoked before.
    pub(super) fn new(live: Arc<Live>, changes: u64) -> Self {
        // One reading of the clock for all that is dated.
        let now = jiff::Timestamp::now();
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanoseconds = now.subsec_nanosecond().unsigned_abs();
        Self {
            id: Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds)),
            live,
            started: Instant::now(),
            facts: None,
            settled: None,
            admission: None,
            ending: None,
            delivery: Delivery::default(),
            now: now.as_second(),
            stopped: None,
            body_bytes: u64::MAX,
            running: None,
            changes,
            open: None,
            trace: None,
            sent_after: None,
            fault: None,
            cookies: Vec::new(),
            resumed: None,
            reason: None,
            _in_flight: InFlight::new(),
        }
    }

    /// The request is judged anew: under an id and at a moment of its own, and with these cookies for the browser.
    pub(super) fn renew(&mut self, cookies: Vec<String>) {
        let now = jiff::Timestamp::now();
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        self.id = Uuid::new_v7(uuid::Timestamp::from_unix(
            uuid::NoContext,
            seconds,
            now.subsec_nanosecond().unsigned_abs(),
        ));
        self.now = now.as_second();
        self.cookies = cookies;
    }

    /// Notes when the way upstream began.
    pub(super) fn set_out(&mut self) {
        self.sent_after.get_or_insert_with(|| self.started.elapsed());
    }

    /// Writes the trace into what goes upstream.
    pub(super) fn mark(&self, request: &mut RequestHeader) -> pingora::Result<()> {
        self.trace.map_or(Ok(()), |trace| trace.pass_on(request))
    }

    pub(super) fn websocket(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.websocket)
    }

    pub(super) fn upstream(&self) -> Option<usize> {
        self.settled.as_ref().and_then(Settled::route).map(|route| route.upstream)
    }

    /// What the outgoing request is made from; an error where there is no admission.
    pub(super) fn departure(&self) -> pingora::Result<Departure<'_>> {
        match (&self.admission, &self.facts, &self.settled, self.settled.as_ref().and_then(Settled::route)) {
            (Some(admission), Some(facts), Some(settled), Some(route)) => Ok(Departure {
                admission,
                facts,
                levels: &settled.policy.levels,
                upstream: route.upstream,
                timeouts: route.timeouts,
                now: self.now,
            }),
            _ => Error::e_explain(ErrorType::InternalError, "nothing goes upstream without an admission"),
        }
    }
}
