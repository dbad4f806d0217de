//! Whom an event is about: subject identifiers (RFC 9493, SSF 1.0 §3) and the names that tokens have here.
//!
//! A complex subject is about what all of its members describe together. Where a member can't be followed (a device, a
//! tenant), the event is taken to be about more than it says, never about less.

use serde_json::{Map, Value};

use super::{EventFault, OpaqueIds, StreamRules};
use crate::identity::claims::identifier;

/// So many aliases of one subject are read; who sends more has something else in mind.
const MOST_ALIASES: usize = 16;
/// The members of complex subjects that SSF 1.0 §3.3 describes.
const MEMBERS: [&str; 7] = ["user", "device", "session", "application", "tenant", "org_unit", "group"];

/// What a name is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `sub`.
    Subject,
    /// `sid`.
    Session,
    /// `jti`.
    Token,
}

/// A name under which tokens of the stream's issuer are revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// What it is of.
    pub kind: Kind,
    /// The name.
    pub value: Box<str>,
}

/// The names of a subject. `session_alone` says whether a session that is named ends alone.
pub(super) fn names(
    subject: &Map<String, Value>,
    rules: &StreamRules,
    critical: &[Box<str>],
    session_alone: bool,
) -> Result<Vec<Named>, EventFault> {
    match format(subject)? {
        "aliases" => aliases(subject, rules),
        "complex" => complex(subject, rules, critical, session_alone),
        _ => simple(subject, rules).map(|name| vec![name]),
    }
}

fn format(subject: &Map<String, Value>) -> Result<&str, EventFault> {
    subject.get("format").and_then(Value::as_str).ok_or(EventFault::SubjectFormat)
}

fn simple(subject: &Map<String, Value>, rules: &StreamRules) -> Result<Named, EventFault> {
    let text = |name: &str| {
        let text = subject.get(name).and_then(Value::as_str).ok_or(EventFault::SubjectFormat)?;
        identifier(text).map_err(|_| EventFault::SubjectFormat)
    };
    let of_issuer = || if *text("iss")? == *rules.issuer { Ok(()) } else { Err(EventFault::SubjectIssuer) };
    let (kind, value) = match format(subject)? {
        "iss_sub" => {
            of_issuer()?;
            (Kind::Subject, text("sub")?)
        }
        "jwt_id" => {
            of_issuer()?;
            (Kind::Token, text("jti")?)
        }
        "opaque" => match rules.opaque_ids {
            Some(OpaqueIds::Subject) => (Kind::Subject, text("id")?),
            Some(OpaqueIds::Session) => (Kind::Session, text("id")?),
            None => return Err(EventFault::SubjectUnmapped),
        },
        // An e-mail address or a telephone number is no name of a subject: it may be another's tomorrow.
        _ => return Err(EventFault::SubjectFormat),
    };
    Ok(Named { kind, value })
}

/// Several names of one subject: every one that leads somewhere counts, and one must.
fn aliases(subject: &Map<String, Value>, rules: &StreamRules) -> Result<Vec<Named>, EventFault> {
    let Some(Value::Array(all)) = subject.get("identifiers") else { return Err(EventFault::SubjectFormat) };
    if all.is_empty() || all.len() > MOST_ALIASES {
        return Err(EventFault::SubjectFormat);
    }
    let (mut found, mut fault) = (Vec::new(), EventFault::SubjectFormat);
    for one in all {
        let one = one.as_object().ok_or(EventFault::SubjectFormat)?;
        // RFC 9493 §3.2.8: aliases don't nest.
        if matches!(format(one)?, "aliases" | "complex") {
            return Err(EventFault::SubjectFormat);
        }
        match simple(one, rules) {
            Ok(name) if !found.contains(&name) => found.push(name),
            Ok(_) => {}
            Err(why) => fault = why,
        }
    }
    if found.is_empty() { Err(fault) } else { Ok(found) }
}

fn complex(
    subject: &Map<String, Value>,
    rules: &StreamRules,
    critical: &[Box<str>],
    session_alone: bool,
) -> Result<Vec<Named>, EventFault> {
    let is_unknown = |name: &String| !MEMBERS.contains(&name.as_str());
    if subject.keys().any(|name| is_unknown(name) && critical.iter().any(|critical| **critical == **name)) {
        return Err(EventFault::SubjectCritical);
    }
    let member = |name: &str| match subject.get(name) {
        None => Ok(None),
        Some(Value::Object(member)) => Ok(Some(member)),
        Some(_) => Err(EventFault::SubjectFormat),
    };
    let session = match (member("session")?, rules.opaque_ids) {
        (Some(session), Some(OpaqueIds::Session)) if format(session)? == "opaque" => {
            Some(simple(session, rules)?)
        }
        // A name that our tokens don't know would end nothing.
        _ => None,
    };
    let named = |user| match format(user)? {
        // What is said to be a session's name everywhere else is none of a person's.
        "opaque" if rules.opaque_ids != Some(OpaqueIds::Subject) => Ok(None),
        "aliases" => aliases(user, rules).map(Some),
        _ => simple(user, rules).map(|user| Some(vec![user])),
    };
    let user = match member("user")?.map_or(Ok(None), named) {
        // The session is enough, however its person is written.
        Err(EventFault::SubjectFormat) if session_alone && session.is_some() => None,
        user => user?,
    };
    match (user, session) {
        (Some(_), Some(session)) if session_alone => Ok(vec![session]),
        (Some(user), _) => Ok(user),
        (None, Some(session)) => Ok(vec![session]),
        (None, None) => Err(EventFault::SubjectUnmapped),
    }
}
