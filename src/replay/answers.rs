//! What the record answers of what a decision needs.

use std::sync::Arc;

use super::props::Props;
use super::record::Recorded;
use super::stage::{Depends, NOW, Stage, spent};
use super::world::{Unknown, World};
use crate::decision::{
    BodyReading, Delegated, Evaluation, Evidence, Granted, Identity, Lookup, Need, Opened, Possession,
    Revocation, StepUpHint, Tried, who_acts,
};
use crate::identity::{Subject, TokenFault};
use crate::policy::signal::Signal;
use crate::policy::{Consent, Pdp, Policy, Route};
use crate::request::body::BodyFacts;

impl Stage<'_> {
    /// Answers what the decision needs, or says on what that depends and how many answers there are.
    pub(super) fn find_out(
        &self,
        need: Need,
        (recorded, world): (&Recorded, &World),
        props: &Props,
        evidence: &mut Evidence,
    ) -> Result<(), Depends> {
        let input = &recorded.input;
        let assumed = |what: Unknown, answers: u8| self.assumed(world, true, what, answers);
        match need {
            Need::Identity => evidence.identity = Some(self.identity(recorded, props)),
            Need::Possession => evidence.possession = Some(Possession::Proven),
            Need::Revocation => {
                evidence.revocation = Some(match input.revoked.as_deref() {
                    Some("no") => Revocation::Valid,
                    Some("yes") => Revocation::Revoked,
                    Some(_) => Revocation::Unknown,
                    None if assumed(Unknown::Revocation, 2)? == 0 => Revocation::Valid,
                    None => Revocation::Revoked,
                });
            }
            Need::Body if props.is_hidden => {
                let form = vec![("_method".to_owned(), "PUT".to_owned())];
                evidence.body = Some(BodyReading::Read(BodyFacts::Form(form)));
            }
            Need::Body => evidence.body = Some(props.body.clone()),
            // Conditions about the browser have their recorded answers.
            Need::Device => evidence.device = Some(Lookup::Absent),
            Need::Grant(_) => evidence.grant = Some(self.grant(recorded)),
            Need::Patient => evidence.record = Some(props.record.clone()),
            Need::Duties => {
                let alike = self.was_route.duties == self.route.duties;
                evidence.duties = Some(match input.duties.as_deref().filter(|_| self.is_here(alike)) {
                    Some("free") => Lookup::Found(false),
                    Some("other") => Lookup::Found(true),
                    Some(_) => Lookup::Unavailable,
                    None => Lookup::Found(self.assumed(world, alike, Unknown::Duties, 2)? == 1),
                });
            }
            Need::Consent { .. } => {
                fn service<'p>(policy: &'p Policy, route: &Route) -> Option<&'p Consent> {
                    policy.consents.get(route.consent?)
                }
                let alike = service(self.was, self.was_route) == service(self.policy, self.route);
                evidence.consent = Some(match input.consent.as_deref().filter(|_| self.is_here(alike)) {
                    Some("given") => Lookup::Found(true),
                    Some("not_given") => Lookup::Found(false),
                    Some("not_understood") => Lookup::Absent,
                    Some("unavailable") => Lookup::Unavailable,
                    _ => Lookup::Found(self.assumed(world, alike, Unknown::Consent, 2)? == 0),
                });
            }
            Need::Evaluation { tier, .. } => {
                fn pdp<'p>(policy: &'p Policy, route: &Route) -> Option<&'p Pdp> {
                    policy.pdps.get(route.pdp?)
                }
                // It is told the tier.
                let alike = pdp(self.was, self.was_route) == pdp(self.policy, self.route)
                    && recorded.tier.as_deref() == Some(&*self.policy.tier(tier).name);
                evidence.evaluation = Some(match input.pdp.as_deref().filter(|_| self.is_here(alike)) {
                    Some("permit") => Lookup::Found(Evaluation::Permitted),
                    Some("deny") => Lookup::Found(Evaluation::Denied),
                    Some("not_understood") => Lookup::Found(Evaluation::NotUnderstood),
                    Some("step_up") => Lookup::Found(Evaluation::StepUp(StepUpHint::default())),
                    Some("unavailable") => Lookup::Unavailable,
                    _ if self.assumed(world, alike, Unknown::Evaluation, 2)? == 0 => {
                        Lookup::Found(Evaluation::Permitted)
                    }
                    _ => Lookup::Found(Evaluation::Denied),
                });
            }
            Need::Signals => {
                let mut said = Vec::with_capacity(self.policy.signals.len());
                for signal in &self.policy.signals {
                    said.push(Some(match self.fired(signal, recorded) {
                        Some(fired) => fired,
                        None => assumed(Unknown::Signal(signal.name.clone()), 2)? == 1,
                    }));
                }
                evidence.signals = Some(said);
            }
            Need::Attempts => {
                let limit = |route: &Route| route.anonymous.as_ref().map(|anonymous| anonymous.attempts);
                let alike = limit(self.was_route) == limit(self.route);
                evidence.attempts = Some(match input.attempts.as_deref().filter(|_| self.is_here(alike)) {
                    Some("within") => Lookup::Found(Tried::Within),
                    Some("beyond") => Lookup::Found(Tried::Beyond),
                    Some(_) => Lookup::Unavailable,
                    None if self.assumed(world, alike, Unknown::Attempts, 2)? == 0 => {
                        Lookup::Found(Tried::Within)
                    }
                    None => Lookup::Found(Tried::Beyond),
                });
            }
            Need::BreakGlass => {
                let opened = self.opened((recorded, world), props, evidence)?;
                evidence.break_glass = Some(opened.map_or(Lookup::Absent, Lookup::Found));
            }
            Need::Delegation => {
                let granted = self.delegated((recorded, world), props, evidence)?;
                evidence.delegation = Some(granted.map_or(Lookup::Absent, Lookup::Found));
            }
            Need::Content => evidence.content = Some(Lookup::Absent),
        }
        Ok(())
    }

    /// What the caller had opened, where there was something to open.
    fn opened(
        &self,
        (recorded, world): (&Recorded, &World),
        props: &Props,
        evidence: &Evidence,
    ) -> Result<Option<Opened>, Depends> {
        let Some(right) = self.route.break_glass.and_then(|at| self.policy.break_glass.get(at)) else {
            return Ok(None);
        };
        let was = self.was.break_glass.iter().find(|was| was.name == right.name);
        let alike = was == Some(right);
        let known = recorded.input.break_glass.as_deref().filter(|_| self.is_here(alike));
        let (is_broken, drill) = match known {
            Some(word) => (word != "offered", word == "drill"),
            // Nobody can have broken what there was not.
            None if was.is_none() => (false, false),
            None => (self.assumed(world, alike, Unknown::BreakGlass, 2)? == 1, false),
        };
        Ok(subject_of(evidence).filter(|_| is_broken).map(|subject| Opened {
            id: "replay".into(),
            right: right.name.clone(),
            issuer: (*subject.issuer).into(),
            subject: subject.id.clone(),
            patient: props.patient().into(),
            until: i64::MAX,
            drill,
        }))
    }

    /// By what the caller acted for the patient.
    fn delegated(
        &self,
        (recorded, world): (&Recorded, &World),
        props: &Props,
        evidence: &Evidence,
    ) -> Result<Option<Delegated>, Depends> {
        let alike = self.was.delegations == self.policy.delegations;
        let known = recorded.input.delegation.as_ref().filter(|_| self.is_here(alike));
        let relation = match known {
            Some(known) => Some(known.relation.as_str()),
            None if self.was.delegations.relations.is_empty() => None,
            None => {
                let answers = u8::try_from(self.relations.len() + 1).unwrap_or(u8::MAX);
                let answer = usize::from(self.assumed(world, alike, Unknown::Delegation, answers)?);
                answer.checked_sub(1).and_then(|at| self.relations.get(at)).map(AsRef::as_ref)
            }
        };
        let is_due = recorded.reason == "delegation_review_due";
        Ok(relation.zip(subject_of(evidence)).and_then(|(relation, subject)| {
            Some(Delegated {
                id: "replay".into(),
                relation: relation.into(),
                issuer: (*subject.issuer).into(),
                person: who_acts(subject)?.into(),
                patient: props.patient().into(),
                actions: Vec::new(),
                granted: NOW,
                until: i64::MAX,
                review_due: if is_due { NOW } else { i64::MAX },
            })
        }))
    }

    /// Whether a signal fired, where the same was watched for then.
    fn fired(&self, signal: &Signal, recorded: &Recorded) -> Option<bool> {
        let issuer = &recorded.input.caller.as_ref()?.issuer;
        let index = |policy: &Policy| policy.issuers.iter().position(|rules| *rules.name == **issuer);
        if !signal.concerns(index(self.policy)?) {
            return Some(false);
        }
        let index = index(self.was)?;
        let was = self.was.signals.iter().find(|was| {
            was.watch == signal.watch && was.fires_unknown == signal.fires_unknown && was.concerns(index)
        })?;
        Some(recorded.input.signals.iter().any(|(name, _)| **name == *was.name))
    }

    fn grant(&self, recorded: &Recorded) -> Lookup<Granted> {
        let granted = recorded.input.grant.as_ref().and_then(|grant| {
            Some(Granted {
                level: self.policy.levels.find(&grant.level)?,
                methods: grant.methods.iter().map(|method| method.as_str().into()).collect(),
                proof: spent(),
            })
        });
        granted.map_or(Lookup::Absent, Lookup::Found)
    }

    fn identity(&self, recorded: &Recorded, props: &Props) -> Identity {
        let subject = recorded.input.caller.as_ref().and_then(|caller| props.subject(self.policy, caller));
        match (subject, recorded.reason.as_str()) {
            (Some(subject), _) => Identity::Known(Arc::new(subject)),
            (None, "credentials_missing") => Identity::Nobody,
            (None, "credentials_malformed") => Identity::Malformed("as recorded"),
            (None, "keys_unavailable") => Identity::Unavailable,
            (None, "store_unavailable") => Identity::SessionUnavailable,
            (None, _) => Identity::Refused(TokenFault::Malformed),
        }
    }
}

fn subject_of(evidence: &Evidence) -> Option<&Arc<Subject>> {
    match &evidence.identity {
        Some(Identity::Known(subject)) => Some(subject),
        _ => None,
    }
}
