//! What a policy says, as facts that can be compared: defaults filled in, positions turned into names, no order where none counts.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::policy::{Entry, PatientSource, Policy, Route, TierIndex};

/// What is said, by what it is about.
pub(super) type Facts = BTreeMap<String, String>;

/// What a route says that decides nothing.
const UNDECIDING: [&str; 6] = ["label", "candidate", "upstream", "timeouts", "cross-origin", "body limit"];

/// All of it.
#[derive(Debug)]
pub(super) struct Meaning {
    /// What is not a route's or a tier's.
    pub(super) general: Facts,
    /// The tiers, by name.
    pub(super) tiers: BTreeMap<String, Facts>,
    /// The routes, by id.
    pub(super) routes: BTreeMap<String, Facts>,
}

/// Something that is said in another way.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Change {
    /// What it is about: ``route `profile.update`: tier``.
    pub(super) what: String,
    /// As it was; `None` where it was not there.
    pub(super) before: Option<String>,
    /// As it is; `None` where it is gone.
    pub(super) after: Option<String>,
}

/// What a policy says.
pub(super) fn of(policy: &Policy) -> Meaning {
    // Written out, so that what is added to a policy can't be forgotten here.
    let Policy {
        version: _,
        rules: _,
        levels,
        issuers,
        tiers,
        ways,
        resume,
        routes,
        index,
        rate_limits,
        pdps,
        consents,
        signals,
        break_glass,
        delegations,
        upstreams: _,
    } = policy;
    let mut general = Facts::new();
    general.insert("levels".to_owned(), levels.names().collect::<Vec<_>>().join(" < "));
    for issuer in issuers {
        // Its position says nothing.
        let rules = crate::identity::IssuerRules { index: 0, ..issuer.clone() };
        let crate::identity::IssuerRules { issuer: address, audiences, assurance, claims, .. } = &rules;
        let mut say =
            |key: &str, value: String| general.insert(format!("issuer `{}`: {key}", issuer.name), value);
        say("address", address.to_string());
        say("audiences", format!("{audiences:?}"));
        say("assurance", format!("{assurance:?}"));
        say("claims", format!("{claims:?}"));
        let rest = crate::identity::IssuerRules {
            issuer: "".into(),
            audiences: Vec::new(),
            assurance: Default::default(),
            claims: Default::default(),
            ..rules.clone()
        };
        say("tokens", format!("{rest:?}"));
    }
    for way in ways {
        general.insert(format!("way to step up `{}`", way.name), format!("{way:?}"));
    }
    general.insert("kept for later".to_owned(), format!("{resume:?}"));
    general.insert("FHIR services".to_owned(), format!("{:?}", index.fhir().services()));
    for limit in rate_limits {
        general.insert(format!("rate limit `{}`", limit.name), format!("{limit:?}"));
    }
    for pdp in pdps {
        general.insert(format!("policy decision point `{}`", pdp.name), format!("{pdp:?}"));
    }
    for consent in consents {
        general.insert(format!("consent `{}`", consent.name), format!("{consent:?}"));
    }
    for signal in signals {
        general.insert(format!("signal `{}`", signal.name), format!("{signal:?}"));
    }
    for right in break_glass {
        general.insert(format!("break glass `{}`", right.name), format!("{right:?}"));
    }
    general.insert("delegations".to_owned(), format!("{delegations:?}"));
    Meaning {
        general,
        tiers: tiers.iter().map(|tier| (tier.name.to_string(), self::tier(policy, tier))).collect(),
        routes: routes.iter().map(|route| (route.id.to_string(), self::route(policy, route))).collect(),
    }
}

fn facts(list: impl IntoIterator<Item = (&'static str, String)>) -> Facts {
    list.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn tier(policy: &Policy, tier: &crate::policy::Tier) -> Facts {
    let at = policy.tiers.iter().position(|other| other.name == tier.name).unwrap_or_default();
    let ways = tier.step_up.iter().filter_map(|at| policy.ways.get(*at)).map(|way| way.name.to_string());
    let below = at.checked_sub(1).and_then(|at| policy.tiers.get(at));
    facts([
        ("assurance", policy.levels.name(tier.assurance).to_owned()),
        ("max_age", tier.max_age.map_or("any".to_owned(), |seconds| format!("{seconds} s"))),
        ("each_action_needs_new_proof", tier.each_action_needs_new_proof.to_string()),
        ("require_methods", tier.require_methods.join(", ")),
        ("step_up", ways.collect::<Vec<_>>().join(", ")),
        ("audit", format!("{:?}", tier.audit).to_lowercase()),
        ("when_store_down", format!("{:?}", tier.when_store_down)),
        ("service", format!("{:?}", tier.service)),
        ("above", below.map_or("none", |below| &below.name).to_owned()),
    ])
}

fn route(policy: &Policy, route: &Route) -> Facts {
    let Route {
        id: _,
        label,
        host,
        template,
        fhir,
        methods,
        websocket,
        upstream,
        reading,
        timeouts,
        access,
        anonymous,
        tier,
        candidate,
        data_floor,
        patient,
        refine,
        lower_risk,
        deny,
        any_of,
        pdp,
        consent,
        duties,
        break_glass,
        cors,
        body_bytes,
        rate_limits,
    } = route;
    let tier_name = |tier: TierIndex| policy.tier(tier).name.to_string();
    let mut methods: Vec<&str> = methods.iter().map(http::Method::as_str).collect();
    methods.sort_unstable();
    let mut entries: Vec<String> = any_of.iter().map(|entry| self::entry(policy, entry)).collect();
    entries.sort();
    let refine =
        refine.iter().map(|refine| format!("{} -> {}", refine.when.source(), tier_name(refine.tier)));
    let limits =
        rate_limits.iter().filter_map(|at| policy.rate_limits.get(*at)).map(|limit| limit.name.to_string());
    let named = |name: Option<&str>| name.unwrap_or("none").to_owned();
    facts([
        ("label", named(label.as_deref())),
        ("host", host.as_deref().unwrap_or("any").to_owned()),
        ("path", template.as_str().to_owned()),
        ("FHIR", fhir.as_ref().map_or("none".to_owned(), |matched| format!("{matched:?}"))),
        ("methods", methods.join(", ")),
        ("websocket", websocket.to_string()),
        ("upstream", named(policy.upstreams.get(*upstream).map(AsRef::as_ref))),
        ("path reading", format!("{reading:?}")),
        ("timeouts", format!("{timeouts:?}")),
        ("access", format!("{access:?}").to_lowercase()),
        ("anonymous", anonymous.as_ref().map_or("none".to_owned(), |asked| format!("{asked:?}"))),
        ("tier", tier_name(*tier)),
        ("candidate", candidate.as_ref().map_or("none".to_owned(), |tried| tier_name(tried.tier))),
        ("data floor", policy.levels.name(*data_floor).to_owned()),
        ("patient", patient.as_ref().map_or("none".to_owned(), self::patient)),
        ("refine", refine.collect::<Vec<_>>().join("; ")),
        (
            "lower_risk_if_only",
            lower_risk.as_ref().map_or("none".to_owned(), |lower| {
                format!("{} as {}, if only {}", tier_name(lower.tier), lower.id, lower.fields.join(", "))
            }),
        ),
        ("deny", deny.iter().map(|condition| condition.source()).collect::<Vec<_>>().join("; ")),
        ("any_of", entries.join(" or ")),
        ("pdp", named(pdp.and_then(|at| policy.pdps.get(at)).map(|pdp| pdp.name.as_ref()))),
        (
            "consent",
            named(consent.and_then(|at| policy.consents.get(at)).map(|consent| consent.name.as_ref())),
        ),
        ("separation_of_duties", if duties.is_empty() { "none".to_owned() } else { format!("{duties:?}") }),
        (
            "break_glass",
            named(break_glass.and_then(|at| policy.break_glass.get(at)).map(|right| right.name.as_ref())),
        ),
        ("cross-origin", cors.as_ref().map_or("none".to_owned(), |cors| format!("{cors:?}"))),
        ("body limit", body_bytes.map_or("the listener's".to_owned(), |bytes| format!("{bytes} bytes"))),
        ("rate limits", limits.collect::<Vec<_>>().join(", ")),
    ])
}

fn patient(source: &PatientSource) -> String {
    match source {
        PatientSource::Path(name) => format!("path.{name}"),
        PatientSource::Query(name) => format!("query.{name}"),
        PatientSource::Body(name) => format!("body.{name}"),
        PatientSource::Fhir => "fhir".to_owned(),
        PatientSource::Lookup(at) => format!("look-up {at}"),
    }
}

fn entry(policy: &Policy, entry: &Entry) -> String {
    let Entry { issuer, roles, scopes, clients, patient_self, delegate, when } = entry;
    let relations: Vec<Box<str>> = delegate
        .iter()
        .filter_map(|at| policy.delegations.relations.get(*at))
        .map(|relation| relation.name.clone())
        .collect();
    let mut parts = Vec::new();
    parts.extend(issuer.and_then(|at| policy.issuers.get(at)).map(|issuer| issuer.name.to_string()));
    for (name, values) in [("role", roles), ("scope", scopes), ("client", clients), ("acting as", &relations)]
    {
        let mut values = values.clone();
        values.sort();
        if !values.is_empty() {
            parts.push(format!("{name} {}", values.join("|")));
        }
    }
    if *patient_self {
        parts.push("own record".to_owned());
    }
    parts.extend(when.as_ref().map(|when| format!("when {}", when.source())));
    parts.join(" + ")
}

impl Meaning {
    /// Whatever a decision about a route hangs on.
    pub(super) fn deciding(&self, policy: &Policy, route: &Route) -> (&Facts, Facts, Vec<&Facts>) {
        let own = self.routes.get(&*route.id).cloned().unwrap_or_default();
        let own = own.into_iter().filter(|(key, _)| !UNDECIDING.contains(&key.as_str())).collect();
        let lowest = route.lower_risk.as_ref().map_or(route.tier, |lower| lower.tier);
        let tiers = policy.tiers.iter().enumerate().filter(|(at, _)| {
            let reached = route.refine.iter().map(|refine| refine.tier).chain([route.tier, lowest]);
            !policy.signals.is_empty() || reached.into_iter().any(|tier| tier.position() == *at)
        });
        (&self.general, own, tiers.filter_map(|(_, tier)| self.tiers.get(&*tier.name)).collect())
    }
}

/// What is said in other ways.
pub(super) fn changes(before: &Meaning, after: &Meaning) -> Vec<Change> {
    let mut found = Vec::new();
    changed("", &before.general, &after.general, &mut found);
    for (kind, was, is) in [("tier", &before.tiers, &after.tiers), ("route", &before.routes, &after.routes)] {
        let mut names: Vec<&String> = was.keys().chain(is.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let what = format!("{kind} `{name}`");
            match (was.get(name), is.get(name)) {
                (Some(was), Some(is)) => changed(&format!("{what}: "), was, is, &mut found),
                (was, is) => found.push(Change { what, before: was.map(summary), after: is.map(summary) }),
            }
        }
    }
    found
}

fn changed(about: &str, before: &Facts, after: &Facts, found: &mut Vec<Change>) {
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys.into_iter().filter(|key| before.get(*key) != after.get(*key)) {
        let what = format!("{about}{key}");
        found.push(Change { what, before: before.get(key).cloned(), after: after.get(key).cloned() });
    }
}

/// What tells most of a route or a tier.
fn summary(facts: &Facts) -> String {
    let told = ["methods", "path", "FHIR", "access", "tier", "any_of", "assurance", "max_age"];
    let told =
        told.iter().filter_map(|key| facts.get(*key).filter(|value| !value.is_empty() && *value != "none"));
    told.map(String::as_str).collect::<Vec<_>>().join(", ")
}
