//! From decisions to audit records and metrics: pseudonyms here, names nowhere.

use std::net::IpAddr;
use std::time::Duration;

use uuid::Uuid;

use super::flood;
use super::gate::{Arrival, Gate};
use super::ports::JournalUnavailable;
use super::sessions::SessionFact;
use super::settle::Context;
use crate::audit::event::{
    ActionCount, DecisionEvent, Event, OutcomeEvent, OutcomeResult, SessionEvent, method_name,
};
use crate::audit::pseudonym::Kind;
use crate::audit::receipt::Receipt;
use crate::decision::input::DecisionInput;
use crate::decision::{Bundled, Identity, Permit, Reason};
use crate::policy::{Durability, Policy, Route};
use crate::request::{Unreadable, client};
use crate::telemetry::metrics;

/// An intent that waits for its outcome.
#[derive(Debug, Clone, Copy)]
pub struct OpenIntent {
    decision: Uuid,
    sequence: u64,
    durability: Durability,
}

/// How a forwarded request ended.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    /// What happened.
    pub result: OutcomeResult,
    /// Why, where the gateway itself stopped it.
    pub reason: Option<Reason>,
    /// The status the client got, if any.
    pub status: Option<u16>,
    /// The bytes of the answer's body that were sent.
    pub response_bytes: u64,
    /// How long it took from its arrival.
    pub took: Duration,
}

impl Ending {
    /// The request never left.
    pub(super) fn not_forwarded(arrival: &Arrival<'_>, reason: Reason) -> Self {
        Self {
            result: OutcomeResult::NotForwarded,
            reason: Some(reason),
            status: None,
            response_bytes: 0,
            took: arrival.at.elapsed(),
        }
    }
}

impl Gate {
    /// Records the intent to forward, as durably as the tier asks.
    pub(super) async fn record_intent(
        &self,
        context: &Context<'_>,
        permit: &Permit,
    ) -> Result<(Receipt, OpenIntent), JournalUnavailable> {
        let tier = context.question.policy.tier(context.findings.tier.unwrap_or(context.question.route.tier));
        let receipt = match self.record(context, "permit", permit.reason(), tier.audit, true).await {
            Ok(receipt) => receipt,
            Err(unavailable) => {
                if let Some(sequence) = unavailable.written {
                    let decision = context.arrival.id;
                    let intent = OpenIntent { decision, sequence, durability: Durability::Buffered };
                    let ending = Ending::not_forwarded(context.arrival, Reason::AuditUnavailable);
                    self.close(&intent, ending).await;
                }
                return Err(unavailable);
            }
        };
        let intent =
            OpenIntent { decision: receipt.decision(), sequence: receipt.sequence(), durability: tier.audit };
        Ok((receipt, intent))
    }

    /// Counts what became of a permit, which is known only once its proof is spent.
    pub(super) fn count_settled(context: &Context<'_>, verdict: &str, reason: Reason) {
        let route = context.question.route;
        let tier = context.question.policy.tier(context.findings.tier.unwrap_or(route.tier));
        count(Some(route), Some(&tier.name), verdict, reason);
    }

    /// Records a refusal or challenge; says whether that worked.
    pub(super) async fn record_decision(
        &self,
        context: &Context<'_>,
        verdict: &'static str,
        reason: Reason,
    ) -> bool {
        let is_anybody = !matches!(context.evidence.identity, Some(Identity::Known(_)))
            && context.findings.account.is_none();
        if self.is_only_counted(context.arrival.listener, reason, is_anybody) {
            Self::count_settled(context, verdict, reason);
            return true;
        }
        self.record(context, verdict, reason, Durability::Buffered, false).await.is_ok()
    }

    async fn record(
        &self,
        context: &Context<'_>,
        verdict: &'static str,
        reason: Reason,
        durability: Durability,
        forwards: bool,
    ) -> Result<Receipt, JournalUnavailable> {
        let Context { arrival, question, findings, evidence } = context;
        let subject = match &evidence.identity {
            Some(Identity::Known(subject)) => Some(subject),
            _ => None,
        };
        let name = subject.map(|subject| self.pseudonyms.of(Kind::Subject, &subject.issuer, &subject.id));
        let actor = subject.and_then(|subject| {
            Some(self.pseudonyms.of(Kind::Subject, &subject.issuer, subject.actor.as_deref()?))
        });
        let session = subject.and_then(|subject| {
            Some(self.pseudonyms.of(Kind::Session, &subject.issuer, subject.session.as_deref()?))
        });
        let patient =
            findings.patient.as_deref().map(|patient| self.pseudonyms.of(Kind::Patient, "", patient));
        let address = question
            .facts
            .client
            .map(|address| self.pseudonyms.of(Kind::Address, "", &client::text(address)));
        let account = findings.account.as_ref();
        let account = account.map(|account| self.pseudonyms.of(Kind::Account, "", account.as_str()));
        let route = question.route;
        let tier = findings.tier.map(|tier| question.policy.tier(tier).name.as_ref());
        let bundle = findings.bundle.as_deref();
        let event = DecisionEvent {
            decision: arrival.id,
            listener: arrival.listener,
            verdict,
            reason: reason.code(),
            method: method_name(arrival.method),
            action: Some(action(route, findings.lowered)),
            template: Some(route.template.as_str()),
            tier,
            upstream: question.policy.upstreams.get(route.upstream).map(AsRef::as_ref),
            subject: name.as_deref(),
            actor: actor.as_deref(),
            patient: patient.as_deref(),
            session: session.as_deref(),
            account: account.as_deref(),
            address: address.as_deref(),
            bundle: bundle.map(|bundled| bundled.kind.name()),
            entries: bundle.map(|bundled| bundled.entries.len()),
            actions: bundle.map(|bundled| actions(question.policy, bundled)).unwrap_or_default(),
            rule: findings.rule,
            input: Some(DecisionInput::new(question, evidence, findings, arrival.now)),
        };
        if !forwards {
            count(Some(route), tier, verdict, reason);
        }
        self.journal
            .append(&if forwards { Event::Intent(event) } else { Event::Decision(event) }, durability)
            .await
    }

    /// Records an answer to a request that got no further than the index.
    pub(super) async fn record_answer(
        &self,
        arrival: &Arrival<'_>,
        route: Option<&Route>,
        verdict: &'static str,
        reason: Reason,
    ) -> bool {
        match reason {
            Reason::Unreadable(why) => metrics().unreadable.with_label_values(&[why.code()]).inc(),
            Reason::NoRoute => metrics().uncovered.with_label_values(&[arrival.listener]).inc(),
            _ => {}
        }
        if self.is_only_counted(arrival.listener, reason, true) {
            count(route, None, verdict, reason);
            return true;
        }
        let address = arrival
            .facts
            .ok()
            .and_then(|facts| facts.client)
            .map(|address| self.pseudonyms.of(Kind::Address, "", &client::text(address)));
        let event = DecisionEvent {
            decision: arrival.id,
            listener: arrival.listener,
            verdict,
            reason: reason.code(),
            method: method_name(arrival.method),
            action: route.map(|route| route.id.as_ref()),
            template: route.map(|route| route.template.as_str()),
            tier: None,
            upstream: None,
            subject: None,
            actor: None,
            patient: None,
            session: None,
            account: None,
            address: address.as_deref(),
            bundle: None,
            entries: None,
            actions: Vec::new(),
            rule: None,
            input: None,
        };
        count(route, None, verdict, reason);
        self.journal.append(&Event::Decision(event), Durability::Buffered).await.is_ok()
    }

    /// Whether there are so many answers of this kind that this one is recorded as part of a number only: one that anybody can
    /// bring about without a token that holds, or that somebody gets who was told to wait.
    fn is_only_counted(&self, listener: &str, reason: Reason, is_anybody: bool) -> bool {
        (is_anybody || matches!(reason, Reason::RateLimited | Reason::TooManyAttempts))
            && !self.flood.is_recorded(listener, reason.code())
    }

    /// Records that a connection was closed before anything was read from it: as part of a number.
    pub fn count_refused_connection(&self, listener: &str, cause: &'static str) {
        self.flood.add(listener, cause);
    }

    /// Records how much there was of what was not recorded one by one; to be called every [`flood::SPAN`], and at
    /// the end.
    pub async fn record_flood(&self) {
        for (listener, cause, count) in self.flood.take() {
            let event =
                Event::Aggregated { listener: &listener, cause, count, seconds: flood::SPAN.as_secs() };
            // What was counted has been refused; a failure to record is counted and logged by the journal.
            let _ = self.journal.append(&event, Durability::Written).await;
        }
    }

    /// Records that a connection's bytes were refused before there was a request.
    pub async fn record_unparsed(&self, listener: &str, peer: Option<std::net::IpAddr>) {
        metrics().unreadable.with_label_values(&[Unreadable::Unparsed.code()]).inc();
        if !self.flood.is_recorded(listener, Unreadable::Unparsed.code()) {
            return;
        }
        let address =
            peer.map(|peer| self.pseudonyms.of(Kind::Address, "", &client::text(peer.to_canonical())));
        // The parser has refused already; a failure to record is counted and logged by the journal.
        let _ = self
            .journal
            .append(&Event::Unparsed { listener, address: address.as_deref() }, Durability::Buffered)
            .await;
    }

    /// Records an event about the gateway itself; says whether that worked.
    pub async fn record_own(&self, event: &Event<'_>) -> bool {
        self.journal.append(event, Durability::Written).await.is_ok()
    }

    /// Records what happened to a session; says whether that worked.
    pub(super) async fn record_session(&self, arrival: &Arrival<'_>, fact: &SessionFact) -> bool {
        let client = arrival.facts.ok().and_then(|facts| facts.client);
        self.record_session_at((arrival.id, arrival.listener, client), fact).await
    }

    /// The same for what happens to a session while something runs for it.
    pub(super) async fn record_session_at(
        &self,
        (id, listener, address): (Uuid, &str, Option<IpAddr>),
        fact: &SessionFact,
    ) -> bool {
        let issuer = fact.issuer.as_deref().unwrap_or_default();
        let name = |kind, value: Option<&str>| value.map(|value| self.pseudonyms.of(kind, issuer, value));
        let subject = name(Kind::Subject, fact.subject.as_deref());
        let session = name(Kind::Session, fact.session.as_deref());
        let address = address.map(|address| self.pseudonyms.of(Kind::Address, "", &client::text(address)));
        let account = fact.account.as_ref();
        let account = account.map(|account| self.pseudonyms.of(Kind::Account, "", account.as_str()));
        let event = SessionEvent {
            decision: id,
            listener,
            what: fact.what,
            result: fact.result,
            issuer: fact.issuer.as_deref(),
            subject: subject.as_deref(),
            session: session.as_deref(),
            account: account.as_deref(),
            address: address.as_deref(),
        };
        metrics().sessions.with_label_values(&[fact.what, fact.result]).inc();
        if fact.result != "ok" && !self.flood.is_recorded(listener, fact.result) {
            return true;
        }
        self.journal.append(&Event::Session(event), Durability::Written).await.is_ok()
    }

    /// Closes an intent with what came of it.
    pub async fn close(&self, intent: &OpenIntent, ending: Ending) {
        let event = OutcomeEvent {
            decision: intent.decision,
            intent: intent.sequence,
            result: ending.result,
            reason: ending.reason.map(Reason::code),
            status: ending.status,
            response_bytes: ending.response_bytes,
            duration_us: u64::try_from(ending.took.as_micros()).unwrap_or(u64::MAX),
        };
        // The request is over: nothing can be refused any more, so a failure here is only counted and logged, and an
        // intent without an outcome reads as "unknown". Nobody waits for the disk.
        let durability =
            if intent.durability >= Durability::Synced { Durability::Written } else { Durability::Buffered };
        let _ = self.journal.append(&Event::Outcome(event), durability).await;
    }
}

fn action(route: &Route, lowered: bool) -> &str {
    match &route.lower_risk {
        Some(lower) if lowered => &lower.id,
        _ => &route.id,
    }
}

/// The actions of a Bundle's entries, each once, in the order in which they first occur.
fn actions<'p>(policy: &'p Policy, bundled: &Bundled) -> Vec<ActionCount<'p>> {
    let mut counted: Vec<ActionCount<'p>> = Vec::new();
    for entry in &bundled.entries {
        let Some(route) = policy.route(entry.route) else { continue };
        let action = action(route, entry.lowered);
        match counted.iter_mut().find(|known| known.action == action) {
            Some(known) => known.count += 1,
            None => counted.push(ActionCount { action, count: 1 }),
        }
    }
    counted
}

fn count(route: Option<&Route>, tier: Option<&str>, verdict: &str, reason: Reason) {
    let route = route.map_or("none", |route| route.id.as_ref());
    metrics().decisions.with_label_values(&[route, tier.unwrap_or("none"), verdict, reason.code()]).inc();
}
