//! The judgement of a request by somebody who has not signed in, on a route that asks for more than nothing: which account
//! it is about, whether that was proven, and how often it was tried.

use smallvec::smallvec;

use super::authorize::body_may_name;
use super::duties::Claims;
use super::evidence::{BodyReading, Evidence, Granted, Lookup, Need, Tried};
use super::outcome::{Challenge, Denial, Exceeded, Findings, Permit};
use super::presentation::check_own_page;
use super::step::{Question, Stop};
use super::trace::{Stage, Trace};
use super::{Reason, assure};
use crate::policy::TierIndex;
use crate::policy::anonymous::{Anonymous, HintSource};
use crate::policy::requirement::Unmet;
use crate::request::account::{self, Account};

/// The account that a request names, where that is one. The same whoever asks, and whether or not there is such an
/// account.
pub fn account(question: &Question<'_>, body: &BodyReading) -> Option<Account> {
    let target = &question.facts.target;
    match (&question.route.anonymous.as_ref()?.hint, body) {
        (HintSource::Body(field), BodyReading::Read(facts)) => account::in_body(facts, target, field),
        (HintSource::Body(_), _) => None,
        (HintSource::Query(name), _) if body_may_name(question, body, name) => None,
        (HintSource::Query(name), _) => account::in_query(target, name),
    }
}

pub(super) fn judge<T: Trace>(
    question: &Question<'_>,
    anonymous: &Anonymous,
    evidence: &Evidence,
    findings: &mut Findings,
    trace: &mut T,
) -> Result<Permit, Stop> {
    let (policy, route) = (question.policy, question.route);
    if question.facts.method_override {
        return Err(Reason::MethodOverride.into());
    }
    check_own_page(route, question.facts)?;
    let (may_hide_method, body) = (question.may_hide_method(), question.body(evidence)?);
    let hides_method = match body {
        BodyReading::Read(facts) => facts.hides_method(),
        BodyReading::Searched { hides_method } => *hides_method,
        BodyReading::Absent | BodyReading::Unreadable => false,
    };
    if may_hide_method && hides_method {
        return Err(Reason::MethodOverride.into());
    }
    if may_hide_method && *body == BodyReading::Unreadable && !anonymous.reads_body() {
        return Err(Reason::FormNotInspectable.into());
    }
    let Some(account) = account(question, body) else {
        trace.note(Stage::Authenticate, || "the request does not name one account".to_owned());
        return Err(Reason::AccountUnnamed.into());
    };
    trace.note(Stage::Authenticate, || "the request names an account; nobody has signed in".to_owned());
    findings.account = Some(Box::new(account.clone()));
    if let Some(granted) = proven(question, anonymous, evidence)? {
        trace.note(Stage::Assure, || "proof was given for this very request".to_owned());
        let spend = Some(granted.proof.clone());
        return Ok(Permit {
            subject: None,
            reason: Reason::AnonymousProven,
            spend,
            confined: None,
            claims: Claims::new(),
        });
    }
    check_attempts(anonymous, evidence, trace)?;
    if anonymous.step_up.is_empty() {
        let spend = evidence.resumes.clone();
        return Ok(Permit {
            subject: None,
            reason: Reason::PublicRoute,
            spend,
            confined: None,
            claims: Claims::new(),
        });
    }
    trace.note(Stage::Assure, || {
        format!("tier `{}` asks for proof before anybody has signed in", policy.tier(route.tier).name)
    });
    Err(Stop::Challenge(Challenge::of_account(route.tier, Box::new(account))))
}

impl Challenge {
    /// The challenge to somebody who has not signed in.
    pub fn of_account(tier: TierIndex, account: Box<Account>) -> Self {
        let (unmet, account) = (smallvec![Unmet::Level], Some(account));
        Self {
            reason: Reason::ProofingRequired,
            unmet,
            acr_values: Vec::new(),
            max_age: None,
            tier,
            account,
            action: None,
        }
    }
}

/// The proof that was given for this very request, where it is good enough for the tier.
fn proven<'e>(
    question: &Question<'_>,
    anonymous: &Anonymous,
    evidence: &'e Evidence,
) -> Result<Option<&'e Granted>, Stop> {
    if anonymous.step_up.is_empty() {
        return Ok(None);
    }
    let tier = question.route.tier;
    let requirement = question.policy.requirement(question.route, tier);
    match &evidence.grant {
        None => Err(Stop::Need(Need::Grant(tier))),
        Some(Lookup::Unavailable) => Err(Reason::StoreUnavailable.into()),
        Some(Lookup::Absent) => Ok(None),
        Some(Lookup::Found(granted)) => {
            let is_enough = requirement.proven_by(granted.level, &granted.methods);
            Ok(Some(granted).filter(|granted| is_enough && assure::is_for(granted, evidence)))
        }
    }
}

/// What was proven was counted when it was asked for; all else counts each time.
fn check_attempts<T: Trace>(anonymous: &Anonymous, evidence: &Evidence, trace: &mut T) -> Result<(), Stop> {
    match evidence.attempts {
        None => Err(Stop::Need(Need::Attempts)),
        Some(Lookup::Found(Tried::Within)) => Ok(()),
        Some(Lookup::Found(Tried::Beyond)) => {
            trace.note(Stage::Authorize, || {
                "there were too many attempts about this account, or from this network".to_owned()
            });
            // The same for an account as for a network, with or without such an account.
            let exceeded = Some(Box::new(Exceeded::attempts(&anonymous.attempts)));
            Err(Denial { exceeded, ..Denial::new(Reason::TooManyAttempts) }.into())
        }
        Some(Lookup::Absent | Lookup::Unavailable) => {
            trace.note(Stage::Authorize, || "attempts can't be counted".to_owned());
            Err(Reason::StoreUnavailable.into())
        }
    }
}
