//! The last question: whether the proof is strong and fresh enough for the tier, and what the action is paid with.

use smallvec::SmallVec;

use super::Reason;
use super::evidence::{Evidence, Granted, Lookup, Need};
use super::named::{self, Named};
use super::outcome::Challenge;
use super::step::{Question, Stop};
use super::trace::{Stage, Trace};
use crate::identity::{Caller, Level, Subject, TokenFault};
use crate::policy::requirement::{Requirement, Unmet};
use crate::policy::{Policy, Tier, TierIndex};
use crate::request::credentials::Presented;
use crate::state::spent::ProofKey;

/// What is to be spent, where the demand of the tier and of the data's class is met.
pub(super) fn assure<T: Trace>(
    question: &Question<'_>,
    evidence: &Evidence,
    (tier_index, floor): (TierIndex, Level),
    subject: &Subject,
    now: i64,
    trace: &mut T,
) -> Result<Option<ProofKey>, Stop> {
    let policy = question.policy;
    let tier = policy.tier(tier_index);
    let requirement = Requirement::new(tier, floor);
    let mut unmet = requirement.unmet(subject, now);
    let named = named::find(question, evidence, tier, subject)?;
    if let Named::Not(why) = named {
        // Never an authentication event in its place: that would pay for whatever comes first.
        unmet.push(why);
    }
    let binds = binds_proof(question, subject, tier);
    // Who has given proof for what is not spent shows it with the session itself; a request that was kept may be confirmed
    // a while later.
    let may_be_granted =
        tier.each_action_needs_new_proof || (!unmet.is_empty() && evidence.resumes.is_some());
    if binds && may_be_granted {
        match &evidence.grant {
            None => return Err(Stop::Need(Need::Grant(tier_index))),
            Some(Lookup::Unavailable) => return Err(Reason::StoreUnavailable.into()),
            Some(Lookup::Found(granted))
                if requirement.proven_by(granted.level, &granted.methods) && is_for(granted, evidence) =>
            {
                trace.note(Stage::Assure, || {
                    format!("a step-up for this action satisfies tier `{}`", tier.name)
                });
                return paid_by_grant(tier, granted, evidence, now);
            }
            Some(Lookup::Found(_) | Lookup::Absent) => {}
        }
    }
    if unmet.is_empty() && tier.each_action_needs_new_proof && (binds || evidence.resumes.is_some()) {
        // Strong and fresh, and given for something else.
        unmet.push(Unmet::Age);
    }
    if unmet.is_empty() {
        trace.note(Stage::Assure, || format!("tier `{}` is satisfied", tier.name));
        return match &evidence.resumes {
            Some(once) => Ok(Some(once.clone())),
            None => proof_to_spend(tier, subject, &named, now),
        };
    }
    trace.note(Stage::Assure, || {
        let age = subject.age(now).map_or("unknown".to_owned(), |age| format!("{age} s"));
        format!(
            "tier `{}` is not satisfied: {unmet:?} (level `{}`, age {age})",
            tier.name,
            policy.levels.name(subject.level)
        )
    });
    Err(challenge(question, evidence, requirement, tier_index, subject, unmet))
}

/// Whether a proof is given for one action here, and for no other: a browser's person has a way to do so. Others pay with
/// an authentication event.
fn binds_proof(question: &Question<'_>, subject: &Subject, tier: &Tier) -> bool {
    let ways = || tier.step_up.iter().filter_map(|way| question.policy.ways.get(*way));
    matches!(question.facts.presented, Presented::Session(_))
        && subject.caller == Caller::Person
        && ways().any(|way| way.fits_browser(subject.issuer_index))
}

/// Whether a proof for this tier would be given for one action here, and shown with nothing else.
pub(super) fn binds_single_use(question: &Question<'_>, subject: &Subject, tier: TierIndex) -> bool {
    let tier = question.policy.tier(tier);
    tier.each_action_needs_new_proof && binds_proof(question, subject, tier)
}

/// Whether a request that was kept is the one that the proof was given for: of two that are alike, one is paid for.
pub(super) fn is_for(granted: &Granted, evidence: &Evidence) -> bool {
    evidence.resumes.as_ref().is_none_or(|once| *once == granted.proof)
}

fn paid_by_grant(
    tier: &Tier,
    granted: &Granted,
    evidence: &Evidence,
    now: i64,
) -> Result<Option<ProofKey>, Stop> {
    let proof = tier.each_action_needs_new_proof.then_some(&granted.proof);
    match evidence.resumes.as_ref().or(proof) {
        Some(key) if key.moment() > now => Err(Reason::TokenRefused(TokenFault::NotYetValid).into()),
        key => Ok(key.cloned()),
    }
}

pub(super) fn challenge(
    question: &Question<'_>,
    evidence: &Evidence,
    requirement: Requirement<'_>,
    tier: TierIndex,
    subject: &Subject,
    unmet: SmallVec<[Unmet; 3]>,
) -> Stop {
    let policy = question.policy;
    let (index, tier) = (tier, policy.tier(tier));
    match unmet.first() {
        Some(Unmet::ServiceNotAllowed) => return Reason::ServiceNotAllowed.into(),
        Some(Unmet::ServiceTokenAge) => return Reason::ServiceTokenTooOld.into(),
        Some(Unmet::ServiceNotSenderConstrained) => return Reason::ServiceNotSenderConstrained.into(),
        _ if tier.step_up.is_empty() => return Reason::StepUpImpossible.into(),
        _ => {}
    }
    let action = match named::offer(question, evidence, tier, subject) {
        Ok(action) => action,
        Err(stop) => return stop,
    };
    let reason = Reason::StepUpRequired(unmet.first().copied().unwrap_or(Unmet::Level));
    Stop::Challenge(Challenge {
        reason,
        unmet,
        acr_values: acr_values(policy, subject, requirement),
        max_age: tier.max_age,
        tier: index,
        account: None,
        action,
    })
}

fn acr_values(policy: &Policy, subject: &Subject, requirement: Requirement<'_>) -> Vec<Box<str>> {
    words_for(policy, subject, requirement.level())
}

/// The words of the subject's issuer for a level, the weakest first.
pub(super) fn words_for(policy: &Policy, subject: &Subject, level: Level) -> Vec<Box<str>> {
    let issuer = policy.issuers.get(subject.issuer_index);
    issuer.map(|issuer| issuer.assurance.acr_values(level).map(Into::into).collect()).unwrap_or_default()
}

impl Challenge {
    /// The challenge after a proof turned out to be spent: only a new authentication will do.
    pub fn after_spent_proof(
        question: &Question<'_>,
        evidence: &Evidence,
        (tier, floor): (TierIndex, Level),
        subject: &Subject,
    ) -> Self {
        let policy = question.policy;
        Self {
            reason: Reason::ProofAlreadySpent,
            unmet: SmallVec::from_slice(&[Unmet::Age]),
            acr_values: acr_values(policy, subject, Requirement::new(policy.tier(tier), floor)),
            max_age: Some(0),
            tier,
            account: None,
            action: named::offer_of_known(question, evidence, policy.tier(tier), subject),
        }
    }
}

/// A person pays with one authentication event; a machine, which has none, with the token itself. Where the token names
/// the action, what is paid with is that event or token for this action: the issuer gives further tokens for one consent
/// (`refresh_token`), and they must not repeat it.
///
/// A moment still to come pays for nothing yet: a store that lost its memory takes what is later than its own start
/// for new, so nothing may have been spent before its moment.
fn proof_to_spend(tier: &Tier, subject: &Subject, named: &Named, now: i64) -> Result<Option<ProofKey>, Stop> {
    if !tier.each_action_needs_new_proof {
        return Ok(None);
    }
    let client = subject.client.as_deref().unwrap_or_default();
    let of_action = |key: &str, parts: &[&str], moment| match named {
        Named::This(digest) => ProofKey::new(&[&["action", key, digest][..], parts].concat(), moment),
        Named::Ordinary | Named::Not(_) => ProofKey::new(&[&[key][..], parts].concat(), moment),
    };
    let key = match (subject.caller, subject.auth_time, subject.token_id.as_deref()) {
        (Caller::Person, Some(at), _) => {
            of_action("event", &[&subject.issuer, &subject.id, client, &at.to_string()], at)
        }
        (Caller::Service, _, Some(token_id)) => {
            of_action("token", &[&subject.issuer, token_id], subject.issued_at)
        }
        (Caller::Person, None, _) => return Err(Reason::StepUpImpossible.into()),
        (Caller::Service, _, None) => return Err(Reason::ServiceNotAllowed.into()),
    };
    if key.moment() > now {
        return Err(Reason::TokenRefused(TokenFault::NotYetValid).into());
    }
    Ok(Some(key))
}
