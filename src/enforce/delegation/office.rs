//! Staff grant delegations, look at them again, and end them.

use jiff::civil::Date;

use super::grants::Grant;
use crate::audit::event::{DelegationEvent, Event};
use crate::audit::pseudonym::Kind;
use crate::enforce::register;
use crate::enforce::staff::{JOURNAL, Office, STORE, Staff, Withheld};
use crate::enforce::{Gate, Generation};
use crate::identity::Subject;
use crate::policy::Durability;
use crate::policy::delegation::Relation;

/// The longest name of a person, patient or action, in bytes.
const MOST_NAME_BYTES: usize = 255;
/// The longest name for the patient's page, in characters.
const MOST_SHOWN: usize = 100;
/// The most actions that a grant is narrowed to.
const MOST_ACTIONS: usize = 64;

/// What is to be granted.
#[derive(Debug, Clone, Copy)]
pub struct Order<'o> {
    /// The relation's name.
    pub relation: &'o str,
    /// The issuer's name for the person who will act.
    pub person: &'o str,
    /// What the patient calls them, for the patient's own page.
    pub name: Option<&'o str>,
    /// Whose record.
    pub patient: &'o str,
    /// The actions that it is narrowed to; all of the relation's, where there are none.
    pub actions: &'o [Box<str>],
    /// The last moment, in Unix seconds, where that is before the relation's own end.
    pub until: Option<i64>,
    /// The patient's day of birth, for relations that end at an age. It is not kept.
    pub born: Option<Date>,
}

/// Who ended a delegation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended<'e> {
    /// An operator, by this user of the machine.
    ByOperator(u32),
    /// The patient, by this pseudonym.
    ByPatient(&'e str),
}

impl Gate {
    /// Grants a delegation: on record first, then in force.
    ///
    /// # Errors
    /// Whoever asks may not, what they ask for can't be, or it can't be kept: then nothing is in force.
    pub async fn grant_delegation(
        &self,
        generation: &Generation,
        order: &Order<'_>,
        by: Staff<'_>,
    ) -> Result<Grant, Withheld> {
        let policy = &generation.policy;
        let grantor = self.grantor(generation, by).await?;
        let relation = policy.delegations.relation(order.relation);
        let relation =
            relation.ok_or(Withheld::Malformed("there is no such relation in the configuration"))?;
        check_names(order, relation)?;
        let issuer = policy.issuers.get(relation.issuer).map(|issuer| &*issuer.name).unwrap_or_default();
        if *grantor.issuer == *issuer && *grantor.id == *order.person {
            return Err(Withheld::NotAllowed("nobody grants anything to themselves"));
        }
        let until = until(order, relation, by.now)?;
        match self.held(issuer, order.person, order.patient).await {
            Ok(None) => {}
            Ok(Some(held)) if by.now >= held.until => {}
            Ok(Some(_)) => {
                return Err(Withheld::Done("this person acts for this patient already: revoke that first"));
            }
            Err(()) => return Err(STORE),
        }
        let id = self.take_number("delegation", by.now).await.ok_or(STORE)?;
        let grant = Grant {
            id,
            relation: relation.name.clone(),
            issuer: issuer.into(),
            person: order.person.into(),
            name: order.name.map(Into::into),
            patient: order.patient.into(),
            actions: order.actions.to_vec(),
            granted: by.now,
            until,
            review_due: next_review(relation, by.now, until),
        };
        self.record_delegation(&grant, "granted", None, Some((&grantor, by.uid)), Durability::Synced).await?;
        if !self.keep_grant(&grant, by.now).await {
            // It may be there after all: nobody relies on that, and it must not be found later.
            self.end_grant(&grant, by.now).await;
            // What can't be recorded is counted and logged by the journal.
            let _ =
                self.record_delegation(&grant, "ended", Some("not_kept"), None, Durability::Written).await;
            return Err(Withheld::Unavailable(
                "the state store does not keep it, or 32 people act for this patient already; nothing is in force",
            ));
        }
        Ok(grant)
    }

    /// Who may act for a patient; that somebody looked is on record first.
    ///
    /// # Errors
    /// Whoever asks may not, or it can't be known.
    pub async fn show_delegations(
        &self,
        generation: &Generation,
        patient: &str,
        by: Staff<'_>,
    ) -> Result<Vec<Grant>, Withheld> {
        let grantor = self.grantor(generation, by).await?;
        let patient_name = self.pseudonyms.of(Kind::Patient, "", patient);
        let reviewer = self.pseudonyms.of(Kind::Subject, &grantor.issuer, &grantor.id);
        let event = Event::Delegation(DelegationEvent {
            what: "shown",
            patient: Some(&patient_name),
            by: Some(&reviewer),
            uid: Some(by.uid),
            ..DelegationEvent::default()
        });
        self.journal.append(&event, Durability::Synced).await.map_err(|_| JOURNAL)?;
        self.grants_for(patient, by.now).await.map_err(|()| STORE)
    }

    /// Says that a delegation was looked at and may go on until its next review.
    ///
    /// # Errors
    /// Whoever asks may not, it is over, or it can't be kept: then it counts as not reviewed.
    pub async fn review_delegation(
        &self,
        generation: &Generation,
        id: &str,
        by: Staff<'_>,
    ) -> Result<Grant, Withheld> {
        let grantor = self.grantor(generation, by).await?;
        let grant = self.grant_of(id).await.map_err(|()| STORE)?.ok_or(Withheld::Unknown)?;
        if by.now >= grant.until || self.is_ended(&grant).await.map_err(|()| STORE)? {
            return Err(Withheld::Done("it is over; grant it anew"));
        }
        if *grantor.issuer == *grant.issuer && *grantor.id == *grant.person {
            return Err(Withheld::NotAllowed("nobody reviews what was granted to themselves"));
        }
        // One that another has taken the place of must not come back.
        let held = self.held(&grant.issuer, &grant.person, &grant.patient).await.map_err(|()| STORE)?;
        if held.is_none_or(|held| held.id != grant.id) {
            return Err(Withheld::Done("another has taken its place, or it is over; grant it anew"));
        }
        let relation = generation.policy.delegations.relation(&grant.relation);
        let relation = relation.ok_or(Withheld::NotAllowed("its relation is not configured any more"))?;
        let grant = Grant { review_due: next_review(relation, by.now, grant.until), ..grant };
        self.record_delegation(&grant, "reviewed", None, Some((&grantor, by.uid)), Durability::Synced)
            .await?;
        if self.keep_reviewed(&grant, by.now).await { Ok(grant) } else { Err(STORE) }
    }

    /// Ends a delegation before its time, at every gateway.
    ///
    /// # Errors
    /// There is nothing of this name, or the store does not confirm it.
    pub async fn revoke_delegation(&self, id: &str, uid: u32, now: i64) -> Result<Grant, Withheld> {
        let grant = self.grant_of(id).await.map_err(|()| STORE)?.ok_or(Withheld::Unknown)?;
        self.end(grant, Ended::ByOperator(uid), now).await
    }

    /// Ends it. Done before it is recorded: a journal that can't be written must not keep a record open.
    pub(super) async fn end(&self, grant: Grant, by: Ended<'_>, now: i64) -> Result<Grant, Withheld> {
        if !self.end_grant(&grant, now).await {
            return Err(STORE);
        }
        let (result, uid, by) = match by {
            Ended::ByOperator(uid) => ("operator", Some(uid), None),
            Ended::ByPatient(name) => ("patient", None, Some(name)),
        };
        let subject = self.pseudonyms.of(Kind::Subject, &grant.issuer, &grant.person);
        let patient = self.pseudonyms.of(Kind::Patient, "", &grant.patient);
        let event = Event::Delegation(DelegationEvent {
            uid,
            by,
            ..about(&grant, "ended", Some(result), (&subject, &patient))
        });
        // What can't be recorded is counted and logged by the journal.
        let _ = self.journal.append(&event, Durability::Written).await;
        super::count(&grant.relation, "ended");
        Ok(grant)
    }

    /// Whoever grants: by the configuration, with a token of their own.
    async fn grantor(&self, generation: &Generation, by: Staff<'_>) -> Result<Subject, Withheld> {
        let grantors = generation.policy.delegations.grantors.as_ref();
        let grantors = grantors.ok_or(Withheld::NotAllowed("the configuration has no `delegation`"))?;
        let subject = self.staff(generation, by).await?;
        let office = Office {
            issuer: grantors.issuer,
            roles: &grantors.roles,
            level: grantors.assurance,
            otherwise: "the token is not that of somebody who grants delegations: see `delegation.by`",
        };
        office.check(&subject)?;
        Ok(Subject::clone(&subject))
    }

    async fn record_delegation(
        &self,
        grant: &Grant,
        what: &'static str,
        result: Option<&str>,
        by: Option<(&Subject, u32)>,
        durability: Durability,
    ) -> Result<(), Withheld> {
        let subject = self.pseudonyms.of(Kind::Subject, &grant.issuer, &grant.person);
        let patient = self.pseudonyms.of(Kind::Patient, "", &grant.patient);
        let staff = by.map(|(staff, _)| self.pseudonyms.of(Kind::Subject, &staff.issuer, &staff.id));
        let event = Event::Delegation(DelegationEvent {
            by: staff.as_deref(),
            uid: by.map(|(_, uid)| uid),
            ..about(grant, what, result, (&subject, &patient))
        });
        super::count(&grant.relation, what);
        self.journal.append(&event, durability).await.map(drop).map_err(|_| JOURNAL)
    }
}

fn about<'e>(
    grant: &'e Grant,
    what: &'static str,
    result: Option<&'e str>,
    (subject, patient): (&'e str, &'e str),
) -> DelegationEvent<'e> {
    DelegationEvent {
        what,
        delegation: Some(&grant.id),
        relation: Some(&grant.relation),
        subject: Some(subject),
        patient: Some(patient),
        actions: &grant.actions,
        until: Some(grant.until),
        review_due: Some(grant.review_due),
        result,
        ..DelegationEvent::default()
    }
}

fn next_review(relation: &Relation, now: i64, until: i64) -> i64 {
    let time = i64::try_from(relation.review_every.as_secs()).unwrap_or(i64::MAX);
    now.saturating_add(time).min(until)
}

fn check_names(order: &Order<'_>, relation: &Relation) -> Result<(), Withheld> {
    let is_name = |name: &str| {
        (1..=MOST_NAME_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if !is_name(order.person) || !is_name(order.patient) {
        return Err(Withheld::Malformed("person and patient are 1 to 255 visible ASCII characters each"));
    }
    let is_shown =
        |name: &str| (1..=MOST_SHOWN).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if !order.name.is_none_or(is_shown) {
        return Err(Withheld::Malformed(
            "the name for the patient's page is 1 to 100 characters on one line",
        ));
    }
    let fit = order.actions.iter().all(|action| is_name(action) && relation.covers(action));
    if order.actions.len() > MOST_ACTIONS || !fit {
        return Err(Withheld::Malformed("the relation is not good for one of the actions"));
    }
    Ok(())
}

/// The end: that of the relation, an earlier one that was asked for, or the day on which the patient is old enough.
fn until(order: &Order<'_>, relation: &Relation, now: i64) -> Result<i64, Withheld> {
    let lasts = i64::try_from(relation.lasts.as_secs()).unwrap_or(i64::MAX);
    let mut until = now.saturating_add(lasts).min(order.until.unwrap_or(i64::MAX));
    if let Some(age) = relation.until_age {
        let born = order.born;
        let born =
            born.ok_or(Withheld::Malformed("the relation ends at an age: say when the patient was born"))?;
        if register::day(now).is_none_or(|today| born > today) {
            return Err(Withheld::Malformed("nobody is born in the future"));
        }
        let birthday = born
            .checked_add(jiff::Span::new().years(i64::from(age)))
            .and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC));
        let birthday = birthday.map_err(|_| Withheld::Malformed("the day of birth can't be used"))?;
        until = until.min(birthday.timestamp().as_second());
    }
    if until <= now {
        return Err(Withheld::Malformed("it would be over already"));
    }
    Ok(until)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: i64 = 1_795_342_500; // 2026-11-22

    fn relation(until_age: Option<u8>) -> Relation {
        Relation {
            name: "parent".into(),
            issuer: 0,
            review_every: Duration::from_secs(90 * 86_400),
            lasts: Duration::from_secs(365 * 86_400),
            until_age,
            actions: vec!["results.read".into()],
        }
    }

    fn order() -> Order<'static> {
        Order {
            relation: "parent",
            person: "mia",
            name: None,
            patient: "p1",
            actions: &[],
            until: None,
            born: None,
        }
    }

    #[test]
    fn it_ends_at_the_first_of_its_ends() {
        let day = |text: &str| text.parse::<Date>().ok();
        let all = NOW + 365 * 86_400;
        assert_eq!(until(&order(), &relation(None), NOW), Ok(all));
        assert_eq!(until(&Order { until: Some(NOW + 60), ..order() }, &relation(None), NOW), Ok(NOW + 60));
        assert_eq!(until(&Order { until: Some(all + 60), ..order() }, &relation(None), NOW), Ok(all));
        let aged = |born: &str| until(&Order { born: day(born), ..order() }, &relation(Some(13)), NOW);
        assert_eq!(aged("2020-01-01"), Ok(all), "the child is young for longer than it lasts");
        // 13 on 2027-03-05.
        assert_eq!(aged("2014-03-05"), Ok(1_804_204_800));
        for over in ["2013-11-01", "2013-11-22", "2027-01-01"] {
            assert!(aged(over).is_err(), "{over}");
        }
        assert!(until(&order(), &relation(Some(13)), NOW).is_err(), "nobody said when the patient was born");
        assert!(until(&Order { until: Some(NOW), ..order() }, &relation(None), NOW).is_err());
    }

    #[test]
    fn names_are_names_and_actions_the_relations() {
        let relation = relation(None);
        assert_eq!(check_names(&order(), &relation), Ok(()));
        let actions: [Box<str>; 1] = ["results.read".into()];
        assert_eq!(check_names(&Order { actions: &actions, ..order() }, &relation), Ok(()));
        let other: [Box<str>; 1] = ["payment.pay".into()];
        assert!(check_names(&Order { actions: &other, ..order() }, &relation).is_err());
        for name in ["", "a b", "é", &"x".repeat(256)] {
            assert!(check_names(&Order { person: name, ..order() }, &relation).is_err(), "{name}");
            assert!(check_names(&Order { patient: name, ..order() }, &relation).is_err(), "{name}");
        }
        for (name, is_good) in [("Mia Müller", true), ("", false), ("a\nb", false), (&"x".repeat(101), false)]
        {
            let named = Order { name: Some(name), ..order() };
            assert_eq!(check_names(&named, &relation).is_ok(), is_good, "{name}");
        }
    }
}
