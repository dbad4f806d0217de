//! Somebody else looks at what was opened: a reviewer who shows a token of their own, never the person themselves.

use super::queue::{Case, Entry};
use crate::audit::event::{BreakGlassEvent, Event};
use crate::audit::pseudonym::Kind;
use crate::enforce::staff::{JOURNAL, Office, STORE, Staff, Withheld};
use crate::enforce::{Gate, Generation};
use crate::identity::Subject;
use crate::policy::Durability;

/// What a review found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It was an emergency, or what else the right is for.
    Justified,
    /// It was not: whoever reviews it does what then has to be done.
    Unjustified,
}

impl Finding {
    /// The word in audit records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Justified => "justified",
            Self::Unjustified => "unjustified",
        }
    }
}

impl Gate {
    /// What was opened, with the patient and the words, for somebody who may review it. That they looked is on record first.
    ///
    /// # Errors
    /// They may not, or it can't be known.
    pub async fn show_broken_glass(
        &self,
        generation: &Generation,
        id: &str,
        by: Staff<'_>,
    ) -> Result<(Entry, Option<Case>), Withheld> {
        let (entry, reviewer) = self.reviewable(generation, id, by).await?;
        self.record_review(&entry, "shown", None, (&reviewer, by.uid)).await?;
        let case = self.case(id).await.map_err(|()| STORE)?;
        Ok((entry, case))
    }

    /// Takes a review: on record first, then kept. The patient and the words go with it.
    ///
    /// # Errors
    /// They may not, or it can't be kept: then it counts as not reviewed.
    pub async fn review_broken_glass(
        &self,
        generation: &Generation,
        id: &str,
        finding: Finding,
        by: Staff<'_>,
    ) -> Result<Entry, Withheld> {
        let (entry, reviewer) = self.reviewable(generation, id, by).await?;
        self.record_review(&entry, "reviewed", Some(finding.word()), (&reviewer, by.uid)).await?;
        if !self.keep_review(id, finding.word()).await {
            return Err(STORE);
        }
        let was_overdue = entry.due < by.now;
        if was_overdue && self.overdue_of(&entry.issuer, &entry.subject, by.now).await == Ok(false) {
            // The right is back whether or not that can be recorded: the failure is counted and logged by the journal.
            let _ = self.record_review(&entry, "restored", None, (&reviewer, by.uid)).await;
        }
        Ok(entry)
    }

    /// Ends what is open before its time, at every gateway.
    ///
    /// # Errors
    /// There is nothing of this name, or the store does not confirm it.
    pub async fn end_broken_glass(&self, id: &str, uid: u32, now: i64) -> Result<Entry, Withheld> {
        let entry = self.entry(id).await.map_err(|()| STORE)?.ok_or(Withheld::Unknown)?;
        // Done before it is recorded: a journal that can't be written must not keep a record open.
        if !self.close_opened(id, &entry.issuer, now).await {
            return Err(STORE);
        }
        let subject = self.pseudonyms.of(Kind::Subject, &entry.issuer, &entry.subject);
        let event = Event::BreakGlass(BreakGlassEvent {
            what: "ended",
            glass: &entry.id,
            right: &entry.right,
            action: Some(&entry.action),
            subject: Some(&subject),
            result: Some("operator"),
            uid: Some(uid),
            drill: entry.drill,
            ..BreakGlassEvent::default()
        });
        super::count(&entry.right, "ended");
        // What can't be recorded is counted and logged by the journal.
        let _ = self.journal.append(&event, Durability::Written).await;
        Ok(entry)
    }

    /// What waits, and whose token may review it: of the right's issuer, in one of its roles, and not the person's own.
    async fn reviewable(
        &self,
        generation: &Generation,
        id: &str,
        by: Staff<'_>,
    ) -> Result<(Entry, Subject), Withheld> {
        let entry = self.entry(id).await.map_err(|()| STORE)?.ok_or(Withheld::Unknown)?;
        let right = generation.policy.break_glass.iter().find(|right| right.name == entry.right);
        let right = right
            .ok_or(Withheld::NotAllowed("the right by which it was opened is not configured any more"))?;
        let subject = self.staff(generation, by).await?;
        if *subject.issuer == *entry.issuer && subject.id == entry.subject {
            return Err(Withheld::NotAllowed("nobody reviews what they have done themselves"));
        }
        let office = Office {
            issuer: right.issuer,
            roles: &right.reviewers,
            level: right.assurance,
            otherwise: "the token is not that of a reviewer: see `review.by`, and the level that the right asks for",
        };
        office.check(&subject)?;
        if self.is_reviewed(id).await.map_err(|()| STORE)? {
            return Err(Withheld::Done("this was reviewed before"));
        }
        Ok((entry, Subject::clone(&subject)))
    }

    async fn record_review(
        &self,
        entry: &Entry,
        what: &'static str,
        result: Option<&str>,
        (reviewer, uid): (&Subject, u32),
    ) -> Result<(), Withheld> {
        let subject = self.pseudonyms.of(Kind::Subject, &entry.issuer, &entry.subject);
        let reviewer = self.pseudonyms.of(Kind::Subject, &reviewer.issuer, &reviewer.id);
        let event = Event::BreakGlass(BreakGlassEvent {
            what,
            glass: &entry.id,
            right: &entry.right,
            action: Some(&entry.action),
            subject: Some(&subject),
            result,
            reviewer: Some(&reviewer),
            uid: Some(uid),
            drill: entry.drill,
            ..BreakGlassEvent::default()
        });
        super::count(&entry.right, what);
        let recorded = self.journal.append(&event, Durability::Synced).await;
        recorded.map(drop).map_err(|_| JOURNAL)
    }
}
