//! Revoking: by whom, what, and from which moment.

use std::time::Duration;

use super::gate::Gate;
use super::ports::{RevocationClaim, RevocationKey};
use crate::audit::event::{Event, RevocationEvent};
use crate::audit::pseudonym::Kind;
use crate::decision::Lookup;
use crate::identity::IssuerRules;
use crate::policy::Policy;
use crate::telemetry::metrics;

/// How long is remembered what can't be bounded by the life of a token: longer than tokens and sessions live.
pub const LONGEST: Duration = Duration::from_secs(400 * 24 * 3_600);
/// The longest that a configuration may let a browser's session live.
pub const LONGEST_SESSION: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Remembered beyond the life of the longest token: clocks differ.
const MARGIN: Duration = Duration::from_secs(3_600);

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct RevokedBy {
    /// `operator` or `shared_signals`.
    pub source: &'static str,
    /// The user id of an operator's process.
    pub uid: Option<u32>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    /// Tokens issued before this moment (Unix seconds) are refused.
    pub not_before: i64,
    /// Whether the state store has it. Where not, it may be in force at this gateway, and is not to be relied on.
    pub stored: bool,
    /// Whether the audit trail has it.
    pub recorded: bool,
}

impl Gate {
    /// Refuses tokens by a name, from now on and at every gateway, and ends what runs with them. `from` is the moment
    /// before which tokens must have been issued; without it nothing with this name that exists `now` is accepted any
    /// more. Both are in Unix seconds.
    ///
    /// It is done before it is recorded: a journal that can't be written must not keep a stolen token alive.
    pub async fn revoke(
        &self,
        policy: &Policy,
        key: &RevocationKey<'_>,
        from: Option<i64>,
        now: i64,
        by: RevokedBy,
    ) -> Revoked {
        let remember = remember(policy, key, by);
        let not_before = from.unwrap_or_else(|| moment(key.claim, now, remember));
        let stored = self.state.revoke(key, not_before, remember).await == Lookup::Found(());
        let result = if stored { "stored" } else { "unavailable" };
        metrics().revocations.with_label_values(&[by.source, result]).inc();
        let name = match key.claim {
            RevocationClaim::Client => None,
            RevocationClaim::Subject => Some(Kind::Subject),
            RevocationClaim::Session => Some(Kind::Session),
            RevocationClaim::TokenId => Some(Kind::Token),
        };
        let name =
            name.map_or_else(|| key.value.into(), |kind| self.pseudonyms.of(kind, key.issuer, key.value));
        let event = Event::Revocation(RevocationEvent {
            source: by.source,
            uid: by.uid,
            issuer: key.issuer,
            claim: claim_name(key.claim),
            name: &name,
            not_before,
            result,
        });
        let recorded = self.record_own(&event).await;
        tracing::info!(
            issuer = key.issuer,
            claim = claim_name(key.claim),
            source = by.source,
            result,
            "revocation"
        );
        Revoked { not_before, stored, recorded }
    }
}

/// The claim's own name.
pub const fn claim_name(claim: RevocationClaim) -> &'static str {
    match claim {
        RevocationClaim::Subject => "sub",
        RevocationClaim::Session => "sid",
        RevocationClaim::TokenId => "jti",
        RevocationClaim::Client => "client",
    }
}

/// A token and a session that were revoked never come back. A subject and a client may sign in again, but what was
/// issued in this very second may have been issued before.
pub fn moment(claim: RevocationClaim, now: i64, remember: Duration) -> i64 {
    match claim {
        RevocationClaim::Subject | RevocationClaim::Client => now.saturating_add(1),
        RevocationClaim::Session | RevocationClaim::TokenId => {
            now.saturating_add(i64::try_from(remember.as_secs()).unwrap_or(i64::MAX))
        }
    }
}

/// As long as a token with this name could live.
fn remember(policy: &Policy, key: &RevocationKey<'_>, by: RevokedBy) -> Duration {
    let issuer = policy.issuers.iter().find(|issuer| issuer.name.as_ref() == key.issuer);
    let remember = remember_at(issuer, key.claim);
    let device = issuer.map(|issuer| device_life(issuer, key.claim)).unwrap_or_default();
    // A session that its issuer has ended gets no more tokens there; and there is an event for each.
    let most = LONGEST_SESSION.max(device) + MARGIN;
    if by.source == "shared_signals" { remember.min(most) } else { remember }
}

fn remember_at(issuer: Option<&IssuerRules>, claim: RevocationClaim) -> Duration {
    // A session of the issuer's has tokens issued anew for as long as it lives; a browser's outlives the tokens that it
    // began with, by as much as a later configuration may allow.
    let longest = |issuer: &IssuerRules| {
        let token = Duration::from_secs(u64::try_from(issuer.max_token_lifetime?).ok()?);
        let session = if issuer.has_sessions { LONGEST_SESSION } else { Duration::ZERO };
        Some(token.max(session).max(device_life(issuer, claim)))
    };
    let life = issuer.and_then(longest);
    match (claim, life) {
        (RevocationClaim::Session, _) | (_, None) => LONGEST,
        (_, Some(life)) => life.saturating_add(MARGIN),
    }
}

/// How long a browser may be recognised that belongs to whom a revocation is about.
fn device_life(issuer: &IssuerRules, claim: RevocationClaim) -> Duration {
    match claim {
        RevocationClaim::Subject | RevocationClaim::Client => {
            Duration::from_secs(issuer.recognises_for.and_then(|life| u64::try_from(life).ok()).unwrap_or(0))
        }
        RevocationClaim::Session | RevocationClaim::TokenId => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exists_now_ends_and_only_people_and_clients_come_back() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(moment(RevocationClaim::Subject, 1_000, hour), 1_001);
        assert_eq!(moment(RevocationClaim::Client, 1_000, hour), 1_001);
        assert_eq!(moment(RevocationClaim::Session, 1_000, hour), 4_600);
        assert_eq!(moment(RevocationClaim::TokenId, 1_000, hour), 4_600);
    }

    #[test]
    fn a_revocation_outlives_whatever_it_is_about() {
        let rules = crate::identity::testing::rules;
        let of = |token: Option<i64>, has_sessions: bool, claim| {
            let rules = IssuerRules { max_token_lifetime: token, has_sessions, ..rules() };
            remember_at(Some(&rules), claim)
        };
        let (subject, hour) = (RevocationClaim::Subject, Duration::from_secs(3_600));
        assert_eq!(of(Some(600), false, subject), Duration::from_secs(600) + hour);
        assert_eq!(of(Some(600), true, subject), (30 * 24 + 1) * hour);
        assert_eq!(of(Some(600), true, RevocationClaim::TokenId), (30 * 24 + 1) * hour);
        assert_eq!(of(None, true, subject), LONGEST);
        assert_eq!(of(Some(600), true, RevocationClaim::Session), LONGEST);
        assert_eq!(remember_at(None, subject), LONGEST);
        let devices = IssuerRules {
            max_token_lifetime: Some(600),
            has_sessions: true,
            recognises_for: Some(90 * 86_400),
            ..rules()
        };
        for (claim, days) in [(subject, 90), (RevocationClaim::Client, 90), (RevocationClaim::TokenId, 30)] {
            assert_eq!(remember_at(Some(&devices), claim), (days * 24 + 1) * hour, "{claim:?}");
        }
    }
}
