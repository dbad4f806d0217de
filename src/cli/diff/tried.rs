//! A caller of one made-up request, as each policy sees them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::callers::{Proof, Who};
use crate::decision::Identity;
use crate::identity::jwt::TokenFault;
use crate::identity::{Caller, NamedActions, Subject};
use crate::policy::{PatientSource, Policy, Route};
use crate::request::certificate::Thumbprint;

/// Any moment will do, in Unix seconds: only ages count.
pub(super) const NOW: i64 = 1_800_000_000;

/// Somebody who asks, and how.
#[derive(Debug, Clone)]
pub(super) struct Tried<'t> {
    /// What rules look at.
    pub(super) who: &'t Who,
    /// The record that is their own.
    pub(super) patient: Option<String>,
    /// The relation in which they act for a patient.
    pub(super) relation: Option<Box<str>>,
    /// Whether their token has an actor.
    pub(super) has_actor: bool,
    /// How they signed in.
    pub(super) proof: Proof,
    /// How many seconds ago; `None` is not said.
    pub(super) age: Option<i64>,
    /// Whether their token is bound to a key.
    pub(super) is_bound: bool,
}

/// Whose record the caller's own may be: that which the request names, another, none.
pub(super) fn patients(routes: [Option<&Route>; 2], path: &str) -> Vec<(String, Option<String>)> {
    let named = |route: &Route| match &route.patient {
        Some(PatientSource::Path(name)) => route.template.value(name, path).map(str::to_owned),
        Some(PatientSource::Query(_)) => Some("q".to_owned()),
        _ => None,
    };
    let named = routes.map(|route| route.and_then(named));
    let mut whose: Vec<(String, Option<String>)> = Vec::new();
    match named {
        [None, None] => return vec![(String::new(), None)],
        [Some(was), Some(is)] if was == is => whose.push(("own record".to_owned(), Some(is))),
        [Some(one), None] | [None, Some(one)] => whose.push(("own record".to_owned(), Some(one))),
        [Some(was), Some(is)] => {
            whose.push(("own record as it was named".to_owned(), Some(was)));
            whose.push(("own record as it is named".to_owned(), Some(is)));
        }
    }
    whose.push(("another's record".to_owned(), Some("another".to_owned())));
    whose.push(("without a record".to_owned(), None));
    whose
}

impl Tried<'_> {
    /// Who a policy takes them for: the first of the two is `side` 0.
    pub(super) fn identity(&self, policy: &Policy, side: usize) -> Identity {
        let Some(issuer) = &self.who.issuer else { return Identity::Nobody };
        let Some(rules) = policy.issuers.iter().find(|rules| *rules.name == **issuer) else {
            return Identity::Refused(TokenFault::UnknownIssuer);
        };
        let boxed = |texts: &BTreeSet<String>| texts.iter().map(|text| text.as_str().into()).collect();
        let is_person = rules.callers == Caller::Person;
        let moment = self.age.map(|age| NOW.saturating_sub(age));
        Identity::Known(Arc::new(Subject {
            issuer: Arc::clone(&rules.name),
            issuer_index: policy
                .issuers
                .iter()
                .position(|other| other.name == rules.name)
                .unwrap_or_default(),
            id: "somebody".into(),
            caller: rules.callers,
            client: self.who.client.as_deref().map(Into::into),
            actor: self.has_actor.then(|| "actor".into()),
            patient: self.patient.as_deref().map(Into::into),
            roles: boxed(&self.who.roles),
            scopes: boxed(&self.who.scopes),
            level: self.proof.levels.get(side).copied().unwrap_or_default(),
            methods: self.proof.methods.clone(),
            auth_time: if is_person { moment } else { None },
            issued_at: if is_person { NOW } else { moment.unwrap_or(NOW) },
            expires_at: NOW.saturating_add(300),
            token_id: Some("diff".into()),
            session: None,
            bound_to: None,
            bound_key: (self.is_bound || rules.dpop.required).then(|| Thumbprint::of(b"a key")),
            names: NamedActions::Nothing,
            changes_at: None,
            claims: Arc::default(),
        }))
    }

    /// What holds of them beside the rules, in words.
    pub(super) fn situation(&self, whose: &[(String, Option<String>)]) -> String {
        let mut parts = Vec::new();
        let named = whose.iter().find(|(_, patient)| *patient == self.patient);
        parts.extend(named.map(|(name, _)| name.clone()).filter(|name| !name.is_empty()));
        parts.extend(self.relation.as_ref().map(|relation| format!("acting as {relation}")));
        if self.has_actor {
            parts.push("by a token with an actor".to_owned());
        }
        parts.join(", ")
    }

    /// How they signed in, in words.
    pub(super) fn signed_in(&self, [before, after]: [&Policy; 2]) -> String {
        let [was, is] = self.proof.levels;
        let (was, is) = (before.levels.name(was), after.levels.name(is));
        let mut text = if was == is { is.to_owned() } else { format!("{was} (now {is})") };
        if !self.proof.methods.is_empty() {
            text.push_str(&format!(" by {}", self.proof.methods.join("+")));
        }
        match self.age {
            Some(age) => text.push_str(&format!(" {age} s old")),
            None => text.push_str(" of unknown age"),
        }
        if self.is_bound {
            text.push_str(", bound to a key");
        }
        text
    }
}
