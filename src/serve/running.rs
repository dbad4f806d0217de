//! What one line serves, so that it can be dropped while it runs, and its outcome is recorded all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Instant;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::audit::event::OutcomeResult;
use crate::enforce::sessions::Ticket;
use crate::enforce::streams::{Lasting, Line};
use crate::enforce::{Ending, Gate, OpenIntent};
use crate::identity::Subject;

tokio::task_local! {
    /// The line that the running task serves.
    static LINE: Arc<Line>;
}

/// Serves a line until the work is done, or its request must end; `None` where it had to.
///
/// Pingora offers no way to end a request from outside. Dropping what serves it ends it cleanly all the same: the
/// connection is closed, or the stream of HTTP/2 reset, on both sides.
pub async fn serve<T>(line: &Arc<Line>, work: impl Future<Output = T>) -> Option<T> {
    LINE.scope(Arc::clone(line), async {
        tokio::select! {
            done = work => Some(done),
            () = line.cut() => None,
        }
    })
    .await
}

/// The line that this task serves.
pub fn line() -> Option<Arc<Line>> {
    LINE.try_with(Arc::clone).ok()
}

/// An admitted request that has not ended yet. Dropped before [`Self::close`], it records that the gateway ended it.
pub struct Open {
    gate: Arc<Gate>,
    intent: Option<OpenIntent>,
    started: Instant,
    line: Option<Arc<Line>>,
    status: AtomicU16,
    sent: AtomicU64,
}

impl Open {
    /// A request of `subject`, if it has one, that is about to go out. `changes` was read before it was decided.
    pub fn begin(
        gate: &Arc<Gate>,
        (line, changes): (Option<Arc<Line>>, u64),
        (subject, ticket): (Option<&Arc<Subject>>, Option<Ticket>),
        websocket: bool,
        (intent, started): (Option<OpenIntent>, Instant),
    ) -> Self {
        if let (Some(line), Some(subject)) = (&line, subject) {
            let lasting = if websocket { Lasting::WebSocket } else { Lasting::Answer };
            gate.streams().bind(line, subject, lasting, changes);
            if let Some(ticket) = ticket {
                line.came_by(ticket);
            }
        }
        Self {
            gate: Arc::clone(gate),
            intent,
            started,
            line,
            status: AtomicU16::new(0),
            sent: AtomicU64::new(0),
        }
    }

    /// The head of an answer passes.
    pub fn answered(&self, status: u16, headers: &HeaderMap) {
        self.status.store(status, Ordering::Relaxed);
        if let Some(line) = self.line.as_ref().filter(|_| is_stream(headers)) {
            line.lasts();
        }
    }

    /// A piece of its body passes.
    pub fn passes(&self, bytes: usize) {
        self.sent.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// It has ended; what is to be recorded is the caller's to record. Gives why the gateway had told it to end.
    pub fn close(mut self) -> Option<crate::decision::Reason> {
        self.intent = None;
        self.line.as_ref().and_then(|line| line.reason())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let reason = self.line.as_ref().and_then(|line| line.reason());
        if let Some(line) = &self.line {
            line.release();
        }
        let (Some(intent), Some(reason)) = (self.intent, reason) else { return };
        let ending = Ending {
            result: OutcomeResult::NotCompleted,
            reason: Some(reason),
            status: Some(self.status.load(Ordering::Relaxed)).filter(|status| *status > 0),
            response_bytes: self.sent.load(Ordering::Relaxed),
            took: self.started.elapsed(),
        };
        let gate = Arc::clone(&self.gate);
        // Every request runs on a runtime; where that is being shut down, the intent reads as "unknown".
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { gate.close(&intent, ending).await });
        }
    }
}

/// Whether an answer has no end of its own: server-sent events, gRPC.
fn is_stream(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return false };
    ["text/event-stream", "application/grpc"].iter().any(|stream| {
        kind.as_bytes().get(..stream.len()).is_some_and(|start| start.eq_ignore_ascii_case(stream.as_bytes()))
    })
}
