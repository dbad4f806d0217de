//! What differs between small policies, against brute force.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use http::Method;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::callers::Who;
use super::*;
use crate::config::rehearse::{Rehearsal, rehearse};
use crate::config::{self, Answers};
use crate::decision::Identity;
use crate::decision::trace::Silent;
use crate::identity::{Caller, NamedActions, Subject};

const HEAD: &str = r#"
version: 1
listeners: [{ name: edge, address: "127.0.0.1:8080" }]
state: { single_replica: true }
issuers:
  - { name: people, issuer: "https://login.example", audiences: [a], claims: { patient: p, roles: g },
      assurance: { aal1: { any_of: { amr: [pwd] } }, aal2: { any_of: { acr: [two] } } } }
upstreams: { app: { endpoints: ["127.0.0.1:9000"] } }
routes:
"#;

fn policy(routes: &str) -> Policy {
    let text = format!("{HEAD}{routes}");
    let loaded = config::load("gateway.yaml", &text, Path::new("."));
    loaded
        .unwrap_or_else(|faults| {
            panic!("{}\n{text}", faults.iter().map(ToString::to_string).collect::<String>())
        })
        .0
        .policy
}

fn differences(before: &str, after: &str) -> Differences {
    compare(&policy(before), &policy(after))
}

const READ: &str = "  - { id: read, match: { path: \"/a/{p}\", methods: [GET] }, upstream: app, tier: TIER, patient: { from: path.p }, any_of: [{ patient: self }] }\n";

#[test]
fn a_lower_tier_names_who_gets_in() {
    let found = differences(&READ.replace("TIER", "high"), &READ.replace("TIER", "moderate"));
    assert_eq!(found.settings.len(), 1, "{found:?}");
    let text = print::text(&found);
    assert!(text.contains("~ route `read`: tier: high -> moderate"), "{text}");
    assert!(text.contains("`read` GET,HEAD: people, own record, aal1 0 s old"), "{text}");
    assert!(text.contains("challenge -> permit"), "{text}");
    assert!(!text.contains("another's record, aal2 0 s old"), "who is refused is refused still: {text}");
    assert!(found.may_differ.is_empty());
}

#[test]
fn order_and_what_decides_nothing_change_no_verdict() {
    let one = "  - { id: a, match: { path: /a, methods: [GET, PUT] }, upstream: app, tier: low, any_of: [{ issuer: people, roles: [x, y] }] }\n";
    let two = "  - { id: b, match: { path: /b, methods: [GET] }, upstream: app, access: public }\n";
    let same = one.replace("[GET, PUT]", "[PUT, GET]").replace("[x, y]", "[y, x]");
    assert!(differences(&format!("{one}{two}"), &format!("{two}{same}")).is_empty());
    let labelled = two.replace("id: b,", "id: b, label: Something,");
    let found = differences(two, &labelled);
    assert_eq!((found.settings.len(), found.verdicts.len()), (1, 0));
}

#[test]
fn a_changed_condition_may_differ() {
    let route = |when: &str| {
        format!(
            "  - {{ id: a, match: {{ path: /a, methods: [GET] }}, upstream: app, tier: low, any_of: [{{ issuer: people, when: \"{when}\" }}] }}\n"
        )
    };
    let found = differences(&route("subject.id == 'x'"), &route("subject.id == 'y'"));
    assert!(found.may_differ.iter().any(|pair| pair.because.contains("conditions")), "{found:?}");
    assert!(differences(&route("subject.id == 'x'"), &route("subject.id == 'x'")).is_empty());
}

#[test]
fn what_a_removed_route_had_taken_falls_to_the_broader_one() {
    let broad =
        "  - { id: all, match: { path: \"/a/**\", methods: [GET] }, upstream: app, access: public }\n";
    let both = format!(
        "{broad}  - {{ id: one, match: {{ path: /a/export, methods: [GET] }}, upstream: app, tier: critical, any_of: [{{ issuer: people }}] }}\n"
    );
    let text = print::text(&differences(&both, broad));
    assert!(text.contains("`one` -> `all` GET,HEAD: without a token: deny -> permit"), "{text}");
    assert!(text.contains("`no route` -> `all`"), "what differs by its spelling alone: {text}");
}

/// A route of a small policy, as it is written.
fn a_route() -> impl Strategy<Value = String> {
    let path = select(vec!["/a", "/a/{p}", "/a/b", "/a/**", "/{q}/b", "/a/{p}/c", "/**"]);
    let methods = subsequence(vec!["GET", "PUT"], 1..=2);
    let tier = select(vec!["low", "moderate", "high", "critical"]);
    let roles = subsequence(vec!["r1", "r2", "r3"], 0..=2);
    let host = select(vec!["", "host: h.example, "]);
    let entry = (roles, subsequence(vec!["s1", "s2"], 0..=1), any::<bool>());
    (path, methods, tier, proptest::collection::vec(entry, 1..3), host, 0..8_u8).prop_map(
        |(path, methods, tier, entries, host, public)| {
            let has_patient = path.contains("{p}");
            let entries: Vec<String> = entries
                .into_iter()
                .map(|(roles, scopes, own)| {
                    let own = if own && has_patient { ", patient: self" } else { "" };
                    let list = |name: &str, values: Vec<&str>| {
                        if values.is_empty() {
                            String::new()
                        } else {
                            format!(", {name}: [{}]", values.join(", "))
                        }
                    };
                    format!("{{ issuer: people{}{}{own} }}", list("roles", roles), list("scopes", scopes))
                })
                .collect();
            let rules = if public == 0 {
                "access: public".to_owned()
            } else {
                let patient = if has_patient { "patient: { from: path.p }, " } else { "" };
                format!("tier: {tier}, {patient}any_of: [{}]", entries.join(", "))
            };
            format!(
                "match: {{ {host}path: \"{path}\", methods: [{}] }}, upstream: app, {rules}",
                methods.join(", ")
            )
        },
    )
}

/// Routes with ids, those left out that could not stand beside the ones before them.
fn routes() -> impl Strategy<Value = Vec<(usize, String)>> {
    proptest::collection::vec((0..5_usize, a_route()), 1..5)
}

fn compiled(routes: &[(usize, String)]) -> Policy {
    let mut text = String::new();
    for (id, route) in routes {
        let more = format!("{text}  - {{ id: r{id}, {route} }}\n");
        if config::load("gateway.yaml", &format!("{HEAD}{more}"), Path::new(".")).is_ok() {
            text = more;
        }
    }
    policy(&text)
}

/// A request with its caller, as in the wild: more roles than a rule asks for, odd ages, any path.
type Request =
    (&'static str, &'static str, &'static str, Vec<&'static str>, Vec<&'static str>, u8, Option<i64>, u8);

fn a_request() -> impl Strategy<Value = Request> {
    (
        select(vec![
            "/a", "/a/", "/A", "/a/b", "/a/B", "/a/7", "/z/b", "/a/7/c", "/a/b/c", "/a/7/", "/z", "/a/1/2/3",
            "/a/b/",
        ]),
        select(vec!["GET", "HEAD", "PUT", "DELETE"]),
        select(vec!["h.example", "g.example"]),
        subsequence(vec!["r1", "r2", "r3", "r4"], 0..=4),
        subsequence(vec!["s1", "s2"], 0..=2),
        0..4_u8,
        prop_oneof![Just(None), (0..40_000_i64).prop_map(Some), (0..700_i64).prop_map(Some)],
        0..3_u8,
    )
}

fn decided(policy: &Policy, request: &Request) -> (&'static str, Option<String>) {
    const NOW: i64 = 1_900_000_000;
    let (path, method, host, roles, scopes, level, age, patient) = request;
    let boxed = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect();
    let identity = if *level == 3 {
        Identity::Nobody
    } else {
        let names = ["none", "aal1", "aal2"];
        Identity::Known(Arc::new(Subject {
            issuer: "people".into(),
            issuer_index: 0,
            id: "me".into(),
            caller: Caller::Person,
            client: None,
            actor: None,
            patient: [None, Some("7"), Some("b")][usize::from(*patient)].map(Into::into),
            roles: boxed(roles),
            scopes: boxed(scopes),
            level: policy.levels.find(names[usize::from(*level)]).expect("a level"),
            methods: Vec::new(),
            auth_time: age.map(|age| NOW - age),
            issued_at: NOW,
            expires_at: NOW + 60,
            token_id: Some("t".into()),
            session: None,
            bound_to: None,
            bound_key: None,
            names: NamedActions::Nothing,
            changes_at: None,
            claims: Arc::default(),
        }))
    };
    let method: Method = method.parse().expect("a method");
    let rehearsal = Rehearsal {
        method: &method,
        target: path,
        host: Some(host),
        body: None,
        identity,
        answers: Answers::default(),
        now: NOW,
    };
    let result = rehearse(policy, &rehearsal, &mut Silent);
    (
        result.decision.verdict(),
        result.route.and_then(|at| policy.route(at)).map(|route| route.id.to_string()),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, max_shrink_iters: 300, ..ProptestConfig::default() })]

    /// No request gets another verdict whose routes and caller are not listed with that very change.
    #[test]
    fn no_changed_verdict_is_missed(before in routes(), after in routes(), keep in any::<bool>(), requests in proptest::collection::vec(a_request(), 60)) {
        // Half of the pairs have most in common, as a change of a file has.
        let after = if keep { before.iter().skip(1).chain(after.first()).cloned().collect() } else { after };
        let (before, after) = (compiled(&before), compiled(&after));
        let found = compare(&before, &after);
        for request in &requests {
            let ((was, route_before), (is, route_after)) = (decided(&before, request), decided(&after, request));
            if was == is {
                continue;
            }
            let (_, method, _, roles, scopes, level, ..) = request;
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<BTreeSet<_>>();
            let issuer = (*level != 3).then(|| "people".to_owned());
            let who = Who { issuer, roles: owned(roles), scopes: owned(scopes), client: None };
            let listed = found.verdicts.iter().any(|change| {
                change.route_before == route_before && change.route_after == route_after
                    && change.methods.contains(*method)
                    && (change.before, change.after) == (was, is)
                    && change.who.is_within(&who)
            });
            prop_assert!(listed, "{request:?}: {was} ({route_before:?}) -> {is} ({route_after:?}), not in {found:#?}");
        }
    }
}
