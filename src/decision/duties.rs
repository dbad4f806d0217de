//! Separation of duties: whether the caller has done what nobody may do together with this.
//!
//! It is looked up before anybody is prompted, and claimed before the request goes out: of two requests at once that are the
//! two halves of a pair one is claimed first, and the other refused.

use std::time::Duration;

use smallvec::SmallVec;

use super::evidence::{Evidence, Lookup, Need};
use super::outcome::{DutyWord, Findings};
use super::reason::{AccessRefusal, Reason};
use super::step::{Question, Stop};
use super::trace::{Stage, Trace};
use crate::identity::Subject;
use crate::policy::duties::DutyObject;
use crate::request::names::fold;

/// That somebody does one half of a pair on something, and not the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The pair, the thing and the person. It names people: stores keep it under a keyed digest.
    pub key: Box<str>,
    /// Which half: the route's id.
    pub half: Box<str>,
    /// How long it is remembered.
    pub keep: Duration,
}

/// The claims of one request, each of another pair.
pub type Claims = SmallVec<[Claim; 1]>;

/// What a request claims. Whoever acts for somebody else claims for themselves.
///
/// # Errors
/// The request does not say what it is about.
pub fn claims(question: &Question<'_>, subject: &Subject, patient: Option<&str>) -> Result<Claims, Reason> {
    let (route, facts) = (question.route, question.facts);
    let mut claims = Claims::new();
    for duty in &route.duties {
        let path = facts.target.path_as(route.reading).map_err(Reason::Unreadable)?;
        let object = match &duty.on {
            DutyObject::Patient => patient,
            DutyObject::Parameter(name) => route.template.value(name, &path),
        };
        let object = object.ok_or(Reason::PatientUnresolved)?;
        // A pair's two upstreams may read capitals in two ways: of what might be one thing both halves are claimed.
        let object = fold(object);
        let person = subject.actor.as_deref().unwrap_or(&subject.id);
        let parts = [&*duty.pair, &subject.issuer, person, &*object];
        let mut key = String::from("duty");
        for part in parts {
            key.push_str(&format!(":{}:{part}", part.len()));
        }
        claims.push(Claim { key: key.into(), half: route.id.clone(), keep: duty.within });
    }
    Ok(claims)
}

/// Refuses whoever has done the other half of a pair.
pub(super) fn check<T: Trace>(
    question: &Question<'_>,
    evidence: &Evidence,
    subject: &Subject,
    findings: &mut Findings,
    trace: &mut T,
) -> Result<Claims, Stop> {
    if question.route.duties.is_empty() {
        return Ok(Claims::new());
    }
    let claims = claims(question, subject, findings.patient.as_deref())?;
    let others =
        question.route.duties.iter().map(|duty| duty.other.as_ref()).collect::<Vec<_>>().join("`, `");
    let mut note = |word: DutyWord, text: &str| {
        findings.duties = Some(word);
        trace.note(Stage::Authorize, || format!("separation of duties from `{others}`: {text}"));
    };
    match evidence.duties.as_ref().ok_or(Stop::Need(Need::Duties))? {
        Lookup::Found(false) | Lookup::Absent => {
            note(DutyWord::Free, "the caller has not done the other");
            Ok(claims)
        }
        Lookup::Found(true) => {
            note(DutyWord::Other, "the caller has done the other: refused");
            Err(AccessRefusal::SameActor.into())
        }
        Lookup::Unavailable => {
            note(DutyWord::Unavailable, "whether the caller has done the other can't be known: refused");
            Err(Reason::StoreUnavailable.into())
        }
    }
}
