//! A request to one of the gateway's own pages: limited and recorded like any other.

use super::gate::{Arrival, Gate};
use super::sessions::{Answer, Page, Place, SessionFact, Sessions, Visit, Visited};
use super::step_up::{Challenged, Taken};
use crate::decision::{Denial, Reason};
use crate::policy::Policy;

/// What became of a visit.
#[derive(Debug)]
pub enum VisitSettled {
    /// It is answered so.
    Answered(Visited),
    /// It is refused.
    Refused(Denial),
    /// It can't be recorded. Whoever was signed in before stays so: these are the cookies of their session's new name.
    Unrecorded(Denial, Vec<String>),
}

/// A request that was held until its person had given proof.
#[derive(Debug)]
pub struct HeldUntilProven {
    /// The cookies of the raised session.
    pub cookies: Vec<String>,
    /// Whether the proof is on record; else the request must not go on.
    pub is_recorded: bool,
}

impl Gate {
    /// Answers a request to one of the gateway's own pages. What could not be recorded has not happened.
    pub async fn visit(
        &self,
        policy: &Policy,
        sessions: &dyn Sessions,
        arrival: &Arrival<'_>,
        visit: &Visit<'_>,
    ) -> VisitSettled {
        let begins = visit.place == Place::SignIn;
        let limited = self
            .limit_anybody(policy, None, visit.facts)
            .and_then(|()| if begins { self.limit_sign_ins(policy, visit.facts) } else { Ok(()) });
        if let Err(denial) = limited {
            self.record_refused_visit(arrival, denial.reason).await;
            return VisitSettled::Refused(denial);
        }
        let visited = sessions.visit(visit).await;
        if let Some(fact) = &visited.fact
            && !self.record_session(arrival, fact).await
            && begins_session(&visited)
        {
            let denial = Denial::new(Reason::AuditUnavailable);
            return if fact.what == "step_up" {
                // The name before counts for a moment only: without the new one somebody would be signed out.
                VisitSettled::Unrecorded(denial, visited.cookies)
            } else {
                // The cookies stay here: nobody knows the session that was made.
                VisitSettled::Refused(denial)
            };
        }
        VisitSettled::Answered(visited)
    }

    /// Takes a confirmed request out. Whoever may not have it is limited and recorded like any other visit.
    ///
    /// # Errors
    /// Too many requests come.
    pub async fn confirm(
        &self,
        policy: &Policy,
        sessions: &dyn Sessions,
        arrival: &Arrival<'_>,
        (name, target, visit): (&str, &str, &Visit<'_>),
    ) -> Result<Taken, Denial> {
        if let Err(denial) = self.limit_anybody(policy, None, visit.facts) {
            self.record_refused_visit(arrival, denial.reason).await;
            return Err(denial);
        }
        let taken = sessions.take(name, target, visit).await;
        if let Taken::Page(_, result) = &taken {
            let fact = SessionFact { what: "confirm", result, ..SessionFact::default() };
            self.record_session(arrival, &fact).await;
        }
        Ok(taken)
    }

    /// Holds a request while its person is asked elsewhere. Gives the cookies of the raised session, once the proof is there.
    pub async fn hold(
        &self,
        sessions: &dyn Sessions,
        arrival: &Arrival<'_>,
        name: &str,
        challenged: &Challenged<'_>,
    ) -> Option<HeldUntilProven> {
        let visited = sessions.hold(name, challenged).await?;
        let is_recorded = match &visited.fact {
            Some(fact) => self.record_session(arrival, fact).await,
            None => true,
        };
        begins_session(&visited).then_some(HeldUntilProven { cookies: visited.cookies, is_recorded })
    }

    /// Refuses a request to a path of the gateway's own at which there is nothing for it.
    pub async fn refuse_visit(&self, arrival: &Arrival<'_>, reason: Reason) -> Denial {
        self.record_refused_visit(arrival, reason).await;
        Denial::new(reason)
    }

    pub(super) async fn record_refused_visit(&self, arrival: &Arrival<'_>, reason: Reason) {
        // A refusal stands whether or not it can be recorded: the failure is counted and logged by the journal.
        self.record_answer(arrival, None, "deny", reason).await;
    }
}

/// Whether the answer gives somebody something: to refuse it then undoes that.
fn begins_session(visited: &Visited) -> bool {
    let is_refusal = matches!(
        visited.answer,
        Answer::Page(Page::Expired(_) | Page::Failed(_) | Page::Outage(_) | Page::Malformed)
    );
    let fact = visited.fact.as_ref();
    // By it a request goes on.
    let is_confirmed = fact.is_some_and(|fact| fact.what == "confirm" && fact.result == "ok");
    let is_sign_in = fact.is_some_and(|fact| fact.what == "sign_in") && !is_refusal;
    is_confirmed || is_sign_in || fact.is_some_and(|fact| fact.what == "step_up" && fact.result == "ok")
}
