//! What an audit record may say: a typed allow-list. There is no field for a path, a query, a body, a token or a name.

mod break_glass;
mod delegation;
mod files;
mod outcome;
mod own;

use serde::Serialize;
use uuid::Uuid;

pub use self::break_glass::BreakGlassEvent;
pub use self::delegation::DelegationEvent;
pub use self::files::{Quarantined, RetiredEvent, SegmentEvent};
pub use self::outcome::{OutcomeEvent, OutcomeResult};
pub use self::own::{
    DetectionEvent, PseudonymEpochEvent, PseudonymLookupEvent, PseudonymShredEvent, RevocationEvent,
    SharedSignalEvent,
};
use crate::decision::input::DecisionInput;

/// The version of the records' shape.
pub const VERSION: u8 = 1;

/// One event.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'e> {
    /// A request is about to be forwarded. Written before its first byte goes upstream.
    Intent(DecisionEvent<'e>),
    /// A request was answered by the gateway itself: refused, challenged, or a preflight.
    Decision(DecisionEvent<'e>),
    /// What came of an intent.
    Outcome(OutcomeEvent<'e>),
    /// Something happened to a browser's session.
    Session(SessionEvent<'e>),
    /// A connection's bytes were refused before there was a request: by the HTTP parser, because they came too
    /// slowly, or because of a PROXY header.
    Unparsed {
        /// The listener.
        listener: &'e str,
        /// The pseudonym of the client's address.
        #[serde(skip_serializing_if = "Option::is_none")]
        address: Option<&'e str>,
    },
    /// More of one kind than are recorded one by one.
    Aggregated {
        /// The listener.
        listener: &'e str,
        /// What happened, as in the metrics.
        cause: &'static str,
        /// How often, beyond what was recorded one by one.
        count: u64,
        /// In how many seconds at most.
        seconds: u64,
    },
    /// The gateway started with this policy.
    Started {
        /// The program's version.
        version: &'static str,
        /// The policy's version.
        policy: &'e str,
        /// Each relaxation of a safe default that is in force.
        relaxations: &'e [String],
    },
    /// The gateway was told to stop.
    Stopping,
    /// From here on requests are judged by this version of the configuration.
    Reloaded {
        /// The policy's version.
        policy: &'e str,
        /// The version before.
        previous: &'e str,
        /// Each relaxation of a safe default that is in force.
        relaxations: &'e [String],
    },
    /// A configuration was not taken; the one before goes on.
    ReloadRefused {
        /// The version that goes on.
        policy: &'e str,
        /// The version that was refused; absent where the file can't be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        refused: Option<&'e str>,
        /// The findings, each with its code and place; the first few of many.
        findings: &'e [String],
    },
    /// Somebody's tokens are refused from now on, or were meant to be.
    Revocation(RevocationEvent<'e>),
    /// A security event came from a transmitter of shared signals.
    SharedSignal(SharedSignalEvent<'e>),
    /// A call on the operators' socket was refused.
    OperatorRefused {
        /// `connect`, `revoke`, `look_up`, `shred`, `break_glass` or `delegation`.
        action: &'static str,
        /// The user id of the process that called; absent where the system did not say.
        #[serde(skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
        /// `peer`: this user may not. `malformed`: the call can't be understood. `reviewer`: the token is not that of
        /// somebody who may review this.
        why: &'static str,
    },
    /// Somebody gets beyond a refusal in an emergency, or what becomes of that.
    BreakGlass(BreakGlassEvent<'e>),
    /// Somebody was granted to act for a patient, or what becomes of that.
    Delegation(DelegationEvent<'e>),
    /// Somebody asked under which pseudonyms records speak of a person or a thing. On disk before they were told.
    PseudonymLookup(PseudonymLookupEvent<'e>),
    /// Keys of pseudonyms are destroyed: nobody can find out any more who is behind those of these epochs.
    PseudonymShred(PseudonymShredEvent<'e>),
    /// From here on everybody has another pseudonym, or should have.
    PseudonymEpoch(PseudonymEpochEvent<'e>),
    /// The state store began to fail, for everything or for a part of what is asked of it, or can be used again.
    StoreOutage {
        /// `begun` or `ended`.
        phase: &'static str,
        /// Which one since the start, counted from 1.
        number: u64,
        /// What is wrong, or was in the end, in words that hold no keys, names or secrets.
        why: &'e str,
        /// How long it took, in seconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        seconds: Option<u64>,
    },
    /// A service that decisions depend on gives no answers, or answers again.
    AccessOutage {
        /// `begun` or `ended`.
        phase: &'static str,
        /// What it is for: `pdp`, `patient` or `consent`.
        kind: &'static str,
        /// Its name.
        service: &'e str,
        /// Which one of this service since the start, counted from 1.
        number: u64,
        /// What is wrong, or was, in words that hold no addresses, names of people or secrets.
        why: &'e str,
        /// How long it took, in seconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        seconds: Option<u64>,
    },
    /// The journal itself takes no more records, or only those of requests whose tier needs them on disk; or takes them again.
    JournalOutage {
        /// `begun` or `ended`; of what could not be written at all only the end is told.
        phase: &'static str,
        /// `unwritable`, or `no_room`: what room is kept is left to those requests.
        kind: &'static str,
        /// Which one since the start, counted from 1.
        number: u64,
        /// What is wrong, or was.
        why: &'e str,
        /// How long it took, in seconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        seconds: Option<u64>,
    },
    /// So much waits for the slowest sink that a mark of what was set aside for it is reached.
    JournalNearQuota {
        /// 70, 85, 95 or 100 hundredths of the quota.
        mark: u64,
        /// What waits.
        bytes: u64,
        /// What was set aside, in bytes.
        quota: u64,
    },
    /// Records can't be delivered to a sink; they wait in the journal.
    SinkDown {
        /// Its name.
        sink: &'e str,
        /// What is wrong, in words that hold no secrets and nothing of what the other side said.
        why: &'e str,
    },
    /// They are delivered again.
    SinkUp {
        /// Its name.
        sink: &'e str,
        /// How long they were not.
        seconds: u64,
    },
    /// Something stood out among the records before.
    Detection(DetectionEvent<'e>),
    /// A file of the trail begins. It can be checked by itself from here on.
    Segment(SegmentEvent<'e>),
    /// A file of the trail has reached the end of its retention, and is removed once this is on disk.
    Retired(RetiredEvent<'e>),
    /// The last record was cut short by a crash, before anybody was told that it is there; what was of it is cut off.
    Torn {
        /// So many bytes.
        bytes: u64,
    },
    /// From here on another key signs the checkpoints.
    Signer {
        /// The key that checks them (C2SP signed-note).
        key: &'e str,
        /// The note by which the operators' key vouches for it.
        certificate: &'e str,
    },
    /// What vouches for every record before this one.
    Checkpoint {
        /// A signed tree head (C2SP tlog-checkpoint).
        note: &'e str,
    },
    /// An attempt to let a new program take over.
    Upgrade {
        /// `handed_over` or `failed`.
        result: &'static str,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<&'e str>,
    },
}

impl Event<'_> {
    /// The event's name, as in the record.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Intent(_) => "intent",
            Self::Decision(_) => "decision",
            Self::Outcome(_) => "outcome",
            Self::Session(_) => "session",
            Self::Unparsed { .. } => "unparsed",
            Self::Aggregated { .. } => "aggregated",
            Self::Started { .. } => "started",
            Self::Stopping => "stopping",
            Self::Reloaded { .. } => "reloaded",
            Self::ReloadRefused { .. } => "reload_refused",
            Self::Upgrade { .. } => "upgrade",
            Self::Segment(_) => "segment",
            Self::Retired(_) => "retired",
            Self::Torn { .. } => "torn",
            Self::Signer { .. } => "signer",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Revocation(_) => "revocation",
            Self::SharedSignal(_) => "shared_signal",
            Self::OperatorRefused { .. } => "operator_refused",
            Self::BreakGlass(_) => "break_glass",
            Self::Delegation(_) => "delegation",
            Self::PseudonymLookup(_) => "pseudonym_lookup",
            Self::PseudonymShred(_) => "pseudonym_shred",
            Self::PseudonymEpoch(_) => "pseudonym_epoch",
            Self::StoreOutage { .. } => "store_outage",
            Self::AccessOutage { .. } => "access_outage",
            Self::JournalOutage { .. } => "journal_outage",
            Self::JournalNearQuota { .. } => "journal_near_quota",
            Self::SinkDown { .. } => "sink_down",
            Self::SinkUp { .. } => "sink_up",
            Self::Detection(_) => "detection",
        }
    }

    /// The decision it is about; nil for events about the gateway itself.
    pub fn decision(&self) -> Uuid {
        match self {
            Self::Intent(event) | Self::Decision(event) => event.decision,
            Self::Outcome(event) => event.decision,
            Self::Session(event) => event.decision,
            Self::BreakGlass(event) => event.decision,
            Self::Unparsed { .. }
            | Self::Aggregated { .. }
            | Self::Started { .. }
            | Self::Stopping
            | Self::Reloaded { .. }
            | Self::ReloadRefused { .. }
            | Self::Revocation(_)
            | Self::SharedSignal(_)
            | Self::OperatorRefused { .. }
            | Self::Delegation(_)
            | Self::PseudonymLookup(_)
            | Self::PseudonymShred(_)
            | Self::PseudonymEpoch(_)
            | Self::StoreOutage { .. }
            | Self::AccessOutage { .. }
            | Self::JournalOutage { .. }
            | Self::JournalNearQuota { .. }
            | Self::SinkDown { .. }
            | Self::SinkUp { .. }
            | Self::Detection(_)
            | Self::Segment(_)
            | Self::Retired(_)
            | Self::Torn { .. }
            | Self::Signer { .. }
            | Self::Checkpoint { .. }
            | Self::Upgrade { .. } => Uuid::nil(),
        }
    }
}

/// How often an action occurs in a Bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ActionCount<'e> {
    /// The route's id, or the lowered action's.
    pub action: &'e str,
    /// In so many of its entries.
    pub count: usize,
}

/// A decision on one request.
#[derive(Debug, Serialize)]
pub struct DecisionEvent<'e> {
    /// The decision's id, which the caller sees too.
    pub decision: Uuid,
    /// The listener's name.
    pub listener: &'e str,
    /// `permit`, `challenge` or `deny`.
    pub verdict: &'static str,
    /// The reason's stable name.
    pub reason: &'static str,
    /// The method, or `other` where it is none of the registered ones.
    pub method: &'e str,
    /// The route's id, or the lowered action's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'e str>,
    /// The route's path template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<&'e str>,
    /// The effective tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<&'e str>,
    /// The upstream's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<&'e str>,
    /// The subject's pseudonym.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'e str>,
    /// The pseudonym of whoever acts for the subject, as the token says (RFC 8693 §4.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<&'e str>,
    /// The pseudonym of the patient the request is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patient: Option<&'e str>,
    /// The session's pseudonym.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<&'e str>,
    /// The pseudonym of the account that somebody names who has not signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<&'e str>,
    /// The pseudonym of the client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<&'e str>,
    /// `batch` or `transaction`, where it is several FHIR requests in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<&'static str>,
    /// How many of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<usize>,
    /// What they are, as far as each has a route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<ActionCount<'e>>,
    /// Which rule of `any_of` allowed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
    /// What the decision was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<DecisionInput<'e>>,
}

/// What happened to a browser's session.
#[derive(Debug, Serialize)]
pub struct SessionEvent<'e> {
    /// The id of the request in which it happened.
    pub decision: Uuid,
    /// The listener's name.
    pub listener: &'e str,
    /// `sign_in`, `step_up`, `ciba_ping`, `handover`, `confirm`, `refresh`, `sign_out` or `back_channel_logout`.
    pub what: &'static str,
    /// `ok`, or why not.
    pub result: &'static str,
    /// The issuer's configured name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<&'e str>,
    /// The subject's pseudonym.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'e str>,
    /// The session's pseudonym.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<&'e str>,
    /// The pseudonym of the account that somebody names who has not signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<&'e str>,
    /// The pseudonym of the client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<&'e str>,
}

/// A method as a bounded word.
pub fn method_name(method: &http::Method) -> &str {
    match method.as_str() {
        name @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => name,
        _ => "other",
    }
}
