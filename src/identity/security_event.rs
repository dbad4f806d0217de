//! Security Event Tokens: what a transmitter says has happened to a subject, and what follows from it.
//!
//! RFC 8417 with the profile of the Shared Signals Framework 1.0 (§4) and the events of CAEP 1.0. Everything here is
//! about a token whose signature is known to be good. An event that can't be understood, or whose subject is nobody
//! here, is refused by name: the transmitter learns that nothing was done.

mod subject;

use serde_json::{Map, Value};

use super::algorithm::SignatureAlgorithm;
use super::claims::{CLOCK_SKEW, Reader};
use super::jwt::Media;
use super::{TokenFault, claims};

pub use self::subject::{Kind, Named};

/// Transmitters try again for days. An event that was issued longer ago, in seconds, is about tokens that have expired.
pub const OLDEST: i64 = 7 * 86_400;
/// Numbers from here on are milliseconds: CAEP asks for seconds, and its own examples give milliseconds.
const MILLISECONDS: i64 = 100_000_000_000;

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const FRAMEWORK: &str = "https://schemas.openid.net/secevent/ssf/event-type/";

/// What an opaque subject identifier names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpaqueIds {
    /// The subject of the issuer's tokens: their `sub`.
    Subject,
    /// The session of the issuer's tokens: their `sid`.
    Session,
}

/// What happened to a credential (CAEP 1.0 §3.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the specification's own words")]
pub enum CredentialChange {
    Create,
    Update,
    Revoke,
    Delete,
}

impl CredentialChange {
    /// Every change, with the specification's word.
    pub const ALL: [(&str, Self); 4] = [
        ("create", Self::Create),
        ("update", Self::Update),
        ("revoke", Self::Revoke),
        ("delete", Self::Delete),
    ];
}

/// How one transmitter's events are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRules {
    /// The exact `iss` of the tokens that the events are about.
    pub issuer: Box<str>,
    /// The exact `iss` of the events.
    pub transmitter: Box<str>,
    /// What must be in their `aud`.
    pub audience: Box<str>,
    /// The algorithms their signatures may use.
    pub algorithms: Vec<SignatureAlgorithm>,
    /// What opaque identifiers name; `None` where they name nothing here.
    pub opaque_ids: Option<OpaqueIds>,
    /// The changes of a credential that end what was begun with it.
    pub credential_changes: Vec<CredentialChange>,
}

/// Why an event is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFault {
    /// It is another kind of token.
    Type,
    /// It is for somebody else.
    Audience,
    /// It is from the future, or older than any token it could be about.
    Time,
    /// A claim is missing, is not what it should be, or has no place in an event.
    Claim,
    /// There is not exactly one event.
    Count,
    /// An event of this type is not handled.
    UnknownEvent,
    /// The event itself is not what it should be.
    Event,
    /// It does not say whom it is about.
    SubjectMissing,
    /// The subject is written in a way that names nobody here.
    SubjectFormat,
    /// The subject is another issuer's.
    SubjectIssuer,
    /// What it says of the subject leads to nobody: a device, a tenant.
    SubjectUnmapped,
    /// It holds a member that the transmitter declares critical, and that is unknown here.
    SubjectCritical,
}

impl EventFault {
    /// The stable name for audit records and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Type => "set_type",
            Self::Audience => "set_audience",
            Self::Time => "set_time",
            Self::Claim => "set_claim",
            Self::Count => "set_event_count",
            Self::UnknownEvent => "set_event_unknown",
            Self::Event => "set_event_malformed",
            Self::SubjectMissing => "subject_missing",
            Self::SubjectFormat => "subject_format",
            Self::SubjectIssuer => "subject_other_issuer",
            Self::SubjectUnmapped => "subject_unmapped",
            Self::SubjectCritical => "subject_critical_member",
        }
    }
}

impl From<TokenFault> for EventFault {
    fn from(_: TokenFault) -> Self {
        Self::Claim
    }
}

/// The types of events that are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// CAEP 1.0 §3.1.
    SessionRevoked,
    /// CAEP 1.0 §3.3.
    CredentialChange,
    /// CAEP 1.0 §3.4.
    AssuranceLevelChange,
    /// CAEP 1.0 §3.5.
    DeviceComplianceChange,
    /// The transmitter shows that its stream arrives (SSF 1.0 §8.1.4).
    Verification,
    /// The transmitter pauses its stream, stops it or goes on with it (SSF 1.0 §8.1.5).
    StreamUpdated,
}

impl EventKind {
    fn find(uri: &str) -> Option<Self> {
        match (uri.strip_prefix(CAEP), uri.strip_prefix(FRAMEWORK)) {
            (Some("session-revoked"), _) => Some(Self::SessionRevoked),
            (Some("credential-change"), _) => Some(Self::CredentialChange),
            (Some("assurance-level-change"), _) => Some(Self::AssuranceLevelChange),
            (Some("device-compliance-change"), _) => Some(Self::DeviceComplianceChange),
            (_, Some("verification")) => Some(Self::Verification),
            (_, Some("stream-updated")) => Some(Self::StreamUpdated),
            _ => None,
        }
    }

    /// The stable name for audit records and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SessionRevoked => "session_revoked",
            Self::CredentialChange => "credential_change",
            Self::AssuranceLevelChange => "assurance_level_change",
            Self::DeviceComplianceChange => "device_compliance_change",
            Self::Verification => "verification",
            Self::StreamUpdated => "stream_updated",
        }
    }

    /// Whether a session that it names ends alone, rather than all of its subject's.
    const fn is_about_a_session(self) -> bool {
        matches!(self, Self::SessionRevoked | Self::DeviceComplianceChange)
    }
}

/// What follows from an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// What was begun under these names before a moment ends.
    Revoke {
        /// The names: one, or several that are one subject's.
        names: Vec<Named>,
        /// When it happened, in Unix seconds.
        at: i64,
    },
    /// Nothing: a level that rose, a device that is well again.
    Nothing,
    /// Whether more events will come.
    Stream {
        /// Whether they will.
        enabled: bool,
    },
}

/// An event that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityEvent {
    /// The token's own name.
    pub token_id: Box<str>,
    /// What happened.
    pub kind: EventKind,
    /// What follows from it.
    pub effect: Effect,
}

/// Reads an event whose signature is good. `critical` are the members of complex subjects that the transmitter
/// declares critical; `now` is in Unix seconds.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read(
    media: Media,
    claims: &Map<String, Value>,
    rules: &StreamRules,
    critical: &[Box<str>],
    now: i64,
) -> Result<SecurityEvent, EventFault> {
    // SSF 1.0 §4.1: with its own type, without `sub` and `exp`, so that nobody takes it for an ID token or an access
    // token. A nonce belongs to an ID token.
    if media != Media::SecurityEvent {
        return Err(EventFault::Type);
    }
    if ["sub", "exp", "nonce"].iter().any(|name| claims.contains_key(*name)) {
        return Err(EventFault::Claim);
    }
    let reader = Reader(claims);
    if !reader.texts("aud")?.contains(&rules.audience) {
        return Err(EventFault::Audience);
    }
    let issued_at = reader.seconds("iat")?.ok_or(EventFault::Claim)?;
    let possible = now.saturating_sub(OLDEST)..=now.saturating_add(CLOCK_SKEW);
    if !possible.contains(&issued_at) {
        return Err(EventFault::Time);
    }
    let token_id = claims::identifier(reader.text("jti")?.ok_or(EventFault::Claim)?)?;
    let Some(Value::Object(events)) = claims.get("events") else { return Err(EventFault::Claim) };
    let mut events = events.iter();
    let (Some((uri, event)), None) = (events.next(), events.next()) else { return Err(EventFault::Count) };
    let kind = EventKind::find(uri).ok_or(EventFault::UnknownEvent)?;
    let Value::Object(event) = event else { return Err(EventFault::Event) };
    let subject = match claims.get("sub_id") {
        Some(Value::Object(subject)) => subject,
        Some(_) => return Err(EventFault::Claim),
        None => return Err(EventFault::SubjectMissing),
    };
    let happened_at = match event.get("event_timestamp") {
        None => issued_at,
        Some(_) => moment(event)?,
    };
    if !possible.contains(&happened_at) {
        return Err(EventFault::Time);
    }
    let effect = match follows(kind, event, rules)? {
        Follows::Ends => {
            let names = subject::names(subject, rules, critical, kind.is_about_a_session())?;
            Effect::Revoke { names, at: happened_at }
        }
        Follows::Nothing => Effect::Nothing,
        Follows::Stream { enabled } => Effect::Stream { enabled },
    };
    Ok(SecurityEvent { token_id, kind, effect })
}

fn moment(event: &Map<String, Value>) -> Result<i64, EventFault> {
    let seconds = Reader(event).seconds("event_timestamp").map_err(|_| EventFault::Event)?;
    let seconds = seconds.ok_or(EventFault::Event)?;
    Ok(if seconds >= MILLISECONDS { seconds / 1_000 } else { seconds })
}

/// What an event asks for, whomever it is about.
enum Follows {
    Ends,
    Nothing,
    Stream { enabled: bool },
}

fn follows(kind: EventKind, event: &Map<String, Value>, rules: &StreamRules) -> Result<Follows, EventFault> {
    let word = |name: &str| match event.get(name) {
        None => Ok(None),
        Some(Value::String(word)) => Ok(Some(word.as_str())),
        Some(_) => Err(EventFault::Event),
    };
    let ends = match kind {
        EventKind::SessionRevoked => true,
        EventKind::CredentialChange => {
            let change = word("change_type")?.ok_or(EventFault::Event)?;
            let known = CredentialChange::ALL.iter().find(|(word, _)| *word == change);
            let (_, change) = known.ok_or(EventFault::Event)?;
            rules.credential_changes.contains(change)
        }
        EventKind::AssuranceLevelChange => match word("change_direction")? {
            Some("increase") => false,
            // The transmitter need not say: then it may have fallen.
            Some("decrease") | None => true,
            Some(_) => return Err(EventFault::Event),
        },
        EventKind::DeviceComplianceChange => match word("current_status")? {
            Some("compliant") => false,
            Some("not-compliant") => true,
            _ => return Err(EventFault::Event),
        },
        EventKind::Verification => {
            // Nothing is asked of the transmitter by us, so there is no state to compare: whoever asked it compares.
            word("state")?;
            false
        }
        EventKind::StreamUpdated => {
            return match word("status")? {
                Some("enabled") => Ok(Follows::Stream { enabled: true }),
                Some("paused" | "disabled") => Ok(Follows::Stream { enabled: false }),
                _ => Err(EventFault::Event),
            };
        }
    };
    Ok(if ends { Follows::Ends } else { Follows::Nothing })
}

#[cfg(test)]
mod tests;
