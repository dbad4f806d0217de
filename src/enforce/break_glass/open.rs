//! Opening one patient's record: all that must hold first, and in which order it is put on record and in force.

use std::time::Duration;

use super::asked::{Asked, Wanted};
use super::codes::Spent;
use super::queue::{Case, Entry};
use crate::audit::event::{BreakGlassEvent, Event};
use crate::audit::pseudonym::Kind;
use crate::decision::{
    Challenge, Decision, Denial, Evidence, Exceeded, Findings, Glass, Identity, Lookup, Offer, Opened,
    Question, Reason, unproven,
};
use crate::enforce::gate::{Arrival, Gate};
use crate::enforce::settle::Context;
use crate::enforce::{BodySource, Generation};
use crate::identity::Subject;
use crate::policy::break_glass::BreakGlass;
use crate::policy::{Durability, Match};

/// The longest reason in one's own words, in characters.
const MOST_TEXT: usize = 2_000;
/// A day, over which openings of one person are counted.
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// How long after its review was due the patient and the words are kept that nobody has looked at.
const CASE_KEPT_AFTER: Duration = Duration::from_secs(30 * 24 * 3_600);

/// What came of it.
#[derive(Debug)]
pub enum Broken {
    /// It is open, or in a drill would be.
    Open(Opened),
    /// Stronger or more recent proof is needed first.
    Challenged(Challenge),
    /// Nothing was ordered yet: this is what has to be given.
    Offered(Wanted),
    /// It is refused.
    Refused(Denial),
}

impl From<Reason> for Broken {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason.into())
    }
}

impl Gate {
    /// Opens the record of the patient whom a request is about, for its caller. The request itself is judged as if it had
    /// come, and is not forwarded: whoever may break the glass before it sends it again. Without `asked` it is only looked
    /// whether the caller may.
    pub async fn break_glass(
        &self,
        generation: &Generation,
        arrival: &Arrival<'_>,
        asked: Option<Asked<'_>>,
        body: &mut dyn BodySource,
    ) -> Broken {
        let policy = &generation.policy;
        let facts = match arrival.facts {
            Ok(facts) => facts,
            Err(why) => {
                self.record_refused_visit(arrival, Reason::Unreadable(why)).await;
                return Reason::Unreadable(why).into();
            }
        };
        if let Err(denial) = self.limit_anybody(policy, None, facts) {
            self.record_refused_visit(arrival, denial.reason).await;
            return Broken::Refused(denial);
        }
        let found = policy.index.find(facts);
        let Some(route) = (if let Match::Route(index) = found { policy.route(index) } else { None }) else {
            self.record_refused_visit(arrival, Reason::NoRoute).await;
            return Reason::NoRoute.into();
        };
        let forms_may_override = generation.search_forms.get(route.upstream).copied().unwrap_or(true);
        let question = Question { policy, route, facts, forms_may_override };
        let (decision, findings, evidence) = self.decide(generation, &question, arrival, body).await;
        let context = Context { arrival, question, findings: &findings, evidence: &evidence };
        let broken = self.open(generation, &context, decision, asked).await;
        let (verdict, reason) = match &broken {
            Broken::Open(_) | Broken::Offered(_) => return broken,
            Broken::Challenged(challenge) => ("challenge", challenge.reason),
            Broken::Refused(denial) => ("deny", denial.reason),
        };
        if let Some(right) = route.break_glass.and_then(|at| policy.break_glass.get(at)) {
            super::count(&right.name, "refused");
        }
        // A refusal stands whether or not it can be recorded: the failure is counted and logged by the journal.
        let _ = self.record_decision(&context, verdict, reason).await;
        broken
    }

    async fn open(
        &self,
        generation: &Generation,
        context: &Context<'_>,
        decision: Decision,
        asked: Option<Asked<'_>>,
    ) -> Broken {
        let Context { arrival, question, findings, evidence } = context;
        match decision {
            Decision::Permit(_) => return Reason::BreakGlassNotNeeded.into(),
            Decision::Challenge(challenge) => return Broken::Challenged(challenge),
            Decision::Deny(denial) if findings.break_glass != Some(Glass::Offered) => {
                return Broken::Refused(Denial { break_glass: None, ..denial });
            }
            Decision::Deny(_) => {}
        }
        let right = question.route.break_glass.and_then(|at| question.policy.break_glass.get(at));
        let (Some(right), Some((subject, patient))) = (right, who(evidence, findings)) else {
            return Reason::BreakGlassMalformed.into();
        };
        let mut needs_code = false;
        if let Some(challenge) = unproven(question, right, subject, arrival.now) {
            // Where a proof can be had, nothing stands in for it.
            if !right.offline_codes || generation.identities.can_be_asked(right.issuer).await {
                return Broken::Challenged(challenge);
            }
            needs_code = true;
            if asked.is_some_and(|asked| asked.offline_code.is_none()) {
                return Broken::Challenged(challenge);
            }
        }
        let Some(asked) = asked else {
            let offer = Offer { reason_codes: right.reason_codes.clone(), text_min: right.text_min };
            return Broken::Offered(Wanted { offer, needs_code });
        };
        let text = asked.text.trim();
        let length = text.chars().count();
        let is_known = right.reason_codes.iter().any(|code| **code == *asked.code);
        if !is_known || !(right.text_min..=MOST_TEXT).contains(&length) {
            return Reason::BreakGlassMalformed.into();
        }
        if let Err(denial) = self.may_open(right, subject, arrival.now).await {
            return Broken::Refused(denial);
        }
        if needs_code {
            match self.spend_code(right, asked.offline_code.unwrap_or_default(), arrival.now).await {
                Spent::Done => {}
                Spent::Refused => return Reason::BreakGlassMalformed.into(),
                Spent::Unknown => return Reason::StoreUnavailable.into(),
            }
        }
        let Some(id) = self.take_number("break-glass", arrival.now).await else {
            return Reason::StoreUnavailable.into();
        };
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(0);
        let opened = Opened {
            id: id.clone(),
            right: right.name.clone(),
            issuer: (*subject.issuer).into(),
            subject: subject.id.clone(),
            patient: patient.into(),
            until: arrival.now.saturating_add(seconds(right.lasts)),
            drill: right.drill,
        };
        let entry = Entry {
            id,
            right: right.name.clone(),
            action: question.route.id.clone(),
            issuer: opened.issuer.clone(),
            subject: opened.subject.clone(),
            code: asked.code.into(),
            opened: arrival.now,
            until: opened.until,
            due: arrival.now.saturating_add(seconds(right.review_within)),
            drill: right.drill,
            offline_code: needs_code,
        };
        self.put_in_force(context, right, (opened, entry), text).await
    }

    /// On record first, then where somebody looks at it, and only then open.
    async fn put_in_force(
        &self,
        context: &Context<'_>,
        right: &BreakGlass,
        (opened, entry): (Opened, Entry),
        text: &str,
    ) -> Broken {
        let subject = self.pseudonyms.of(Kind::Subject, &opened.issuer, &opened.subject);
        let patient = self.pseudonyms.of(Kind::Patient, "", &opened.patient);
        let event = |what, result| {
            Event::BreakGlass(BreakGlassEvent {
                decision: context.arrival.id,
                what,
                glass: &opened.id,
                right: &right.name,
                action: Some(&entry.action),
                subject: Some(&subject),
                patient: Some(&patient),
                code: Some(&entry.code),
                until: Some(opened.until),
                result,
                drill: opened.drill,
                ..BreakGlassEvent::default()
            })
        };
        if self
            .journal
            .append(&event("opened", entry.offline_code.then_some("offline_code")), Durability::Synced)
            .await
            .is_err()
        {
            return Reason::AuditUnavailable.into();
        }
        let case = Case { patient: opened.patient.clone(), text: text.into() };
        let is_kept = self.keep_entry(&entry, &case, right.review_within + CASE_KEPT_AFTER).await
            && self.keep_open(&opened, entry.opened, right.lasts).await;
        if !is_kept {
            // It may be there after all: nobody relies on that, and what is open has to be closed.
            self.close_opened(&opened.id, &opened.issuer, context.arrival.now).await;
            // What can't be recorded is counted and logged by the journal.
            let _ =
                self.journal.append(&event("ended", Some("store_unavailable")), Durability::Written).await;
            return Reason::StoreUnavailable.into();
        }
        super::count(&right.name, "opened");
        tracing::warn!(right = %right.name, glass = %opened.id, drill = opened.drill, "the glass was broken");
        Broken::Open(opened)
    }

    /// Whether this person may now: nothing of theirs waits for its review too long, and not more often than the right says.
    async fn may_open(&self, right: &BreakGlass, subject: &Subject, now: i64) -> Result<(), Denial> {
        match self.overdue_of(&subject.issuer, &subject.id, now).await {
            Ok(false) => {}
            Ok(true) => return Err(Reason::BreakGlassSuspended.into()),
            Err(()) => return Err(Reason::StoreUnavailable.into()),
        }
        let counter = format!("break-glass:{}:{}:{}", subject.issuer.len(), subject.issuer, subject.id);
        match self.state.window(&counter, DAY).await {
            Lookup::Found(count) if count <= right.most_per_day => Ok(()),
            Lookup::Found(_) => {
                let exceeded = Exceeded {
                    limit: "break_glass".into(),
                    requests: u32::try_from(right.most_per_day).unwrap_or(u32::MAX),
                    window: u32::try_from(DAY.as_secs()).unwrap_or(u32::MAX),
                    retry_after: DAY.as_secs(),
                };
                Err(Denial { exceeded: Some(Box::new(exceeded)), ..Denial::new(Reason::TooManyAttempts) })
            }
            Lookup::Absent | Lookup::Unavailable => Err(Reason::StoreUnavailable.into()),
        }
    }
}

fn who<'c>(evidence: &'c Evidence, findings: &'c Findings) -> Option<(&'c Subject, &'c str)> {
    match &evidence.identity {
        Some(Identity::Known(subject)) => Some((subject, findings.patient.as_deref()?)),
        _ => None,
    }
}
