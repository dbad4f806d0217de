//! Tokens that name actions (RFC 9396): whether this is one of them, and what a client is told to ask for.

use super::Reason;
use super::evidence::{Evidence, Lookup, Need};
use super::step::{Question, Stop};
use crate::identity::named_action::{NamedAction, NamedActions, TYPE};
use crate::identity::{Caller, Subject};
use crate::policy::Tier;
use crate::policy::requirement::Unmet;
use crate::request::credentials::Presented;

/// What a token says of this action.
pub(super) enum Named {
    /// Nothing: it is an ordinary token.
    Ordinary,
    /// It names it; the action's digest.
    This(String),
    /// It does not pay for it, whatever else it shows.
    Not(Unmet),
}

/// Looks for this action among those that the token names.
///
/// Such a token is for what it names, and for nothing else: who was shown one payment has not agreed to anything beside
/// it, and who finds the token gains nothing. Where the issuer can give such tokens, no other pays: one authentication
/// would pay for what it names, and once more for whatever an ordinary token of it is shown with.
pub(super) fn find(
    question: &Question<'_>,
    evidence: &Evidence,
    tier: &Tier,
    subject: &Subject,
) -> Result<Named, Stop> {
    match &subject.names {
        NamedActions::Nothing if can_be_named(question, tier, subject) => Ok(Named::Not(Unmet::OtherAction)),
        NamedActions::Nothing => Ok(Named::Ordinary),
        _ if !tier.each_action_needs_new_proof => Err(Reason::TokenForOtherAction.into()),
        NamedActions::Unreadable => Ok(Named::Not(Unmet::UnreadableDetails)),
        NamedActions::These(actions) => match this(question, evidence)? {
            Some(action) if actions.contains(&action) => Ok(Named::This(action.digest())),
            _ => Ok(Named::Not(Unmet::OtherAction)),
        },
    }
}

/// What a client is told to ask its issuer for, where the action needs a proof of its own and the issuer can give one
/// that names it.
pub(super) fn offer(
    question: &Question<'_>,
    evidence: &Evidence,
    tier: &Tier,
    subject: &Subject,
) -> Result<Option<Box<NamedAction>>, Stop> {
    if !can_be_named(question, tier, subject) {
        return Ok(None);
    }
    Ok(this(question, evidence)?.map(Box::new))
}

/// Whether the action needs a proof of its own, and the issuer of what was shown can name it in a token.
fn can_be_named(question: &Question<'_>, tier: &Tier, subject: &Subject) -> bool {
    let issuer = question.policy.issuers.get(subject.issuer_index);
    tier.each_action_needs_new_proof
        && matches!(question.facts.presented, Presented::Bearer(_) | Presented::Dpop(_))
        && subject.caller == Caller::Person
        && issuer.is_some_and(|issuer| issuer.names_actions)
}

/// The same where nothing more can be found out.
pub(super) fn offer_of_known(
    question: &Question<'_>,
    evidence: &Evidence,
    tier: &Tier,
    subject: &Subject,
) -> Option<Box<NamedAction>> {
    offer(question, evidence, tier, subject).ok().flatten()
}

/// This action, by the name that a token would have for it; none where its body is too long to be read.
fn this(question: &Question<'_>, evidence: &Evidence) -> Result<Option<NamedAction>, Stop> {
    let content = match evidence.content.as_ref().ok_or(Stop::Need(Need::Content))? {
        Lookup::Found(digest) => digest.clone(),
        Lookup::Absent | Lookup::Unavailable => return Ok(None),
    };
    let Question { policy, route, facts, .. } = question;
    Ok(Some(NamedAction {
        r#type: TYPE.into(),
        locations: [origin(facts.secure, facts.host.as_str(), facts.port).into()],
        route: route.id.clone(),
        method: facts.method.as_str().into(),
        target: facts.target.raw().into(),
        body_digest: content,
        rules: policy.rules.clone(),
    }))
}

/// As a browser would write it (RFC 6454 §6.2): without the scheme's own port.
fn origin(secure: bool, host: &str, port: Option<u16>) -> String {
    let (scheme, usual) = if secure { ("https", 443) } else { ("http", 80) };
    match port {
        Some(port) if port != usual => format!("{scheme}://{host}:{port}"),
        _ => format!("{scheme}://{host}"),
    }
}
