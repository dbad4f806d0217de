//! How forwarded requests ended.

use serde::Serialize;
use uuid::Uuid;

/// What came of an intent.
#[derive(Debug, Serialize)]
pub struct OutcomeEvent<'e> {
    /// The decision's id.
    pub decision: Uuid,
    /// The intent's sequence number.
    pub intent: u64,
    /// What happened.
    pub result: OutcomeResult,
    /// The reason's stable name, where the gateway itself stopped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'e str>,
    /// The status the client got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The bytes of the answer's body that were sent.
    pub response_bytes: u64,
    /// From the request's arrival to its end, in microseconds.
    pub duration_us: u64,
}

/// How a forwarded request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeResult {
    /// The upstream answered and the client got all of it.
    Completed,
    /// It was never sent: the proof was spent already, or could not be spent.
    NotForwarded,
    /// No connection to the upstream: nothing was sent.
    UpstreamUnreachable,
    /// It was sent, in part or whole, and no whole answer came: whether it took effect is unknown.
    Unknown,
    /// The client went away before the end.
    ClientGone,
    /// The gateway itself stopped it part of the way, for the reason given: whether it took effect is unknown.
    NotCompleted,
    /// Another proxy was told that it may forward it; what came of it is not seen here.
    NotObserved,
}
