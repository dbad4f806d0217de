//! What FHIR costs: to find the route of an interaction and to decide about it, beside a plain path; and to look into what is
//! written, in proportion to its length.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput};
use http::Method;
use serde_json::json;
use wardgate::decision::trace::Silent;
use wardgate::decision::{Decision, Step, step};
use wardgate::identity::Subject;
use wardgate::policy::Match;
use wardgate::request::Facts;
use wardgate::request::body::BodyFacts;
use wardgate::request::fhir::{FhirRequest, Interaction, Naming, content};
use wardgate::request::media::Media;

use super::support::{Clinic, Sent, reading};
use super::{RESULTS, evidence, now, question, subject};

/// A plain path first: the yardstick.
const TARGETS: [(&str, &str); 4] = [
    ("plain path", RESULTS),
    ("FHIR read", "/fhir/Observation/o1"),
    ("FHIR search", "/fhir/Observation?patient=p1&category=laboratory&date=ge2026-01-01&_count=20"),
    ("FHIR search in a compartment", "/fhir/Patient/p1/Observation?_count=20"),
];

fn requests(token: &str) -> Vec<(&'static str, Facts)> {
    TARGETS.map(|(name, target)| (name, Sent::new(Method::GET, target, token).read(&reading()))).into()
}

/// From the facts of a request to its route.
pub fn classify(criterion: &mut Criterion) {
    let clinic = Clinic::open();
    let (index, all) = (&clinic.compiled.policy.index, requests("none"));
    let mut group = criterion.benchmark_group("FHIR route");
    for (name, facts) in &all {
        assert!(matches!(index.find(facts), Match::Route(_)), "{name}");
        group.bench_function(*name, |bencher| bencher.iter(|| index.find(black_box(facts))));
    }
    group.finish();
    tell("FHIR route", &all, |facts| {
        black_box(index.find(black_box(facts)));
    });
}

/// A decision about a patient's own record, once all is known: scopes, parameters and whose record it is.
pub fn decide(criterion: &mut Criterion) {
    let (clinic, now) = (Clinic::open(), now());
    let token = clinic.signer.token("ES256", "weak", now);
    let scopes = vec!["openid".into(), "patient/*.rs".into()];
    let subject = Arc::new(Subject { scopes, ..subject(&clinic, &token, now).as_ref().clone() });
    let (evidence, policy, all) = (evidence(subject), &clinic.compiled.policy, requests(&token));
    let decide = |facts: &Facts| step(&question(policy, facts), black_box(&evidence), now, &mut Silent);
    let mut group = criterion.benchmark_group("FHIR decision");
    for (name, facts) in &all {
        assert!(matches!(decide(facts), Step::Decided(Decision::Permit(_), _)), "{name}");
        group.bench_function(*name, |bencher| bencher.iter(|| decide(black_box(facts))));
    }
    group.finish();
    tell("FHIR decision, with its route", &all, |facts| {
        black_box(decide(black_box(facts)));
    });
}

/// How many times as long the others take as the first, in short runs in turn, so that a busy machine is as busy for all.
fn tell(what: &str, all: &[(&str, Facts)], act: impl Fn(&Facts)) {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let time = |facts: &Facts| {
        let start = Instant::now();
        (0..2_000).for_each(|_| act(facts));
        start.elapsed().as_secs_f64()
    };
    let Some(((_, plain), others)) = all.split_first() else { return };
    for (name, facts) in others {
        let mut ratios: Vec<f64> =
            (0..201).map(|_| (time(plain), time(facts))).map(|(few, many)| many / few).collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "{what}: {name} takes {:.2} times as long as a plain path (95% of runs {:.2} to {:.2})",
            ratios[100], ratios[5], ratios[195]
        );
    }
}

/// A new observation of p1 with so many components.
fn observation(components: usize) -> String {
    let component = |at: usize| {
        json!({
            "code": { "coding": [{ "system": "http://loinc.org", "code": format!("{at}-7"), "display": "Hemoglobin" }] },
            "valueQuantity": { "value": 13.2, "unit": "g/dL" },
            "interpretation": [{ "text": "as expected, see the Patient's own notes" }]
        })
    };
    let components: Vec<_> = (0..components).map(component).collect();
    json!({
        "resourceType": "Observation", "status": "final", "code": { "text": "panel" }, "component": components,
        "subject": { "reference": "Patient/p1" }, "performer": [{ "reference": "Practitioner/d1" }]
    })
    .to_string()
}

/// From a body's bytes to what it changes and whose record it is.
pub fn inspect(criterion: &mut Criterion) {
    let request = FhirRequest {
        interaction: Interaction::Create,
        resource_type: Some("Observation"),
        id: None,
        compartment: None,
        operation: None,
        conditional: false,
    };
    let inspect = |body: &[u8]| {
        let BodyFacts::Json(value) = BodyFacts::read(Media::Json, body)? else { return None };
        content::read(&request, &value, None).ok().map(|_| content::patient(&value))
    };
    let mut group = criterion.benchmark_group("FHIR body");
    for components in [4, 400, 4_000] {
        let body = observation(components);
        assert!(body.len() < content::MAX_BYTES);
        assert_eq!(inspect(body.as_bytes()), Some(Naming::One("p1".into())));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(body.len()), |bencher| {
            bencher.iter(|| inspect(black_box(body.as_bytes())))
        });
    }
    group.finish();
}
