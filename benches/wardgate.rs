//! What each step of a request costs, without a network. `cargo bench` takes a minute or two once it is built.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod fhir;
mod replies;
mod support;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use http::Method;
use tokio::runtime::Runtime;
use uuid::Uuid;
use wardgate::audit::event::{DecisionEvent, Event};
use wardgate::audit::journal::{FileJournal, MOST_BYTES, Options};
use wardgate::audit::pseudonym::{InForce, Pseudonyms};
use wardgate::audit::signing::{Key, Trusted};
use wardgate::audit::trail::{Walked, trails, walk};
use wardgate::audit::verify::Verifier as Verified;
use wardgate::decision::evidence::{Evidence, Identity, Revocation};
use wardgate::decision::input::DecisionInput;
use wardgate::decision::trace::Silent;
use wardgate::decision::{Decision, Findings, Question, Step, step};
use wardgate::enforce::ports::{Identities, Journal, State};
use wardgate::enforce::{Arrival, Gate, Generation, Outcome};
use wardgate::identity::Subject;
use wardgate::identity::jwk::KeySet;
use wardgate::identity::jwt::UnverifiedJwt;
use wardgate::keys::Verifier;
use wardgate::policy::{Durability, Match, Policy};
use wardgate::request::Facts;
use wardgate::request::credentials::Token;
use wardgate::state::memory::MemoryState;

use support::routes::{BUSY, Classification, SPREAD};
use support::{Clinic, NoBody, Sent, reading};

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RESULTS: &str = "/patients/p1/results/2024?_count=20";
const PAYMENTS: &str = "/patients/p1/payments";
const SCHEDULE: &str = "/schedule?ward=3b";

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn subject(clinic: &Clinic, token: &str, now: i64) -> Arc<Subject> {
    let keys = KeySet::parse(clinic.signer.jwks().as_bytes()).expect("keys");
    let jwt = UnverifiedJwt::parse(token).expect("a token");
    Arc::new(jwt.verify(&clinic.compiled.policy.issuers[0], &keys, now).expect("a good token"))
}

fn evidence(subject: Arc<Subject>) -> Evidence {
    Evidence {
        identity: Some(Identity::Known(subject)),
        revocation: Some(Revocation::Valid),
        ..Evidence::default()
    }
}

fn question<'q>(policy: &'q Policy, facts: &'q Facts) -> Question<'q> {
    match policy.index.find(facts) {
        Match::Route(at) => Question { policy, route: &policy.routes[at], facts, forms_may_override: true },
        other => panic!("{other:?}"),
    }
}

/// From the parsed headers to the facts of a request.
fn read(criterion: &mut Criterion) {
    let clinic = Clinic::open();
    let sent = Sent::new(Method::GET, RESULTS, &clinic.signer.token("ES256", "weak", now()));
    let reading = reading();
    criterion.bench_function("read/facts", |bencher| bencher.iter(|| black_box(&sent).read(&reading)));
}

/// A decision, once all is known.
fn decide(criterion: &mut Criterion) {
    let (clinic, now) = (Clinic::open(), now());
    let token = clinic.signer.token("ES256", "weak", now);
    let evidence = evidence(subject(&clinic, &token, now));
    let mut group = criterion.benchmark_group("step");
    let cases = [
        ("permit", Method::GET, RESULTS, "permit"),
        ("permit with a condition", Method::GET, SCHEDULE, "permit"),
        ("challenge", Method::POST, PAYMENTS, "challenge"),
    ];
    for (name, method, target, verdict) in cases {
        let facts = Sent::new(method, target, &token).read(&reading());
        let question = question(&clinic.compiled.policy, &facts);
        let decide = || step(black_box(&question), black_box(&evidence), now, &mut Silent);
        assert!(matches!(decide(), Step::Decided(decision, _) if decision.verdict() == verdict), "{name}");
        group.bench_function(name, |bencher| bencher.iter(decide));
    }
    group.finish();
}

/// From the target's bytes to the route: the cost must not grow with the number of routes.
fn classify(criterion: &mut Criterion) {
    let mut all = [10, 1_000, 100_000].map(|count| (count, Classification::new(count, BUSY)));
    let mut group = criterion.benchmark_group("classify");
    for (count, classification) in &mut all {
        classification.check();
        group.bench_function(BenchmarkId::from_parameter(*count), |bencher| {
            bencher.iter(|| classification.step())
        });
    }
    group.finish();
    if std::env::args().any(|argument| argument == "--bench") {
        let [few, _, many] = &mut all;
        println!(
            "classify: 100,000 routes take {:.2} times as long as 10; the limit is 1.50\n",
            ratio(&mut few.1, &mut many.1)
        );
        let [mut few, mut many] = [10, 100_000].map(|count| Classification::new(count, SPREAD));
        println!(
            "classify: where hardly any request comes twice, {:.2} times: the rest is cache misses\n",
            ratio(&mut few, &mut many)
        );
    }
}

/// How many times as long `many` takes as `few`: the median of short runs in turn, so that a busy machine is as busy for
/// both.
fn ratio(few: &mut Classification, many: &mut Classification) -> f64 {
    let time = |classification: &mut Classification| {
        let start = Instant::now();
        for _ in 0..5_000 {
            black_box(classification.step());
        }
        start.elapsed().as_secs_f64()
    };
    let mut ratios: Vec<f64> =
        (0..201).map(|_| (time(few), time(many))).map(|(few, many)| many / few).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

/// A token that was never seen, and one that was.
fn token(criterion: &mut Criterion) {
    let (clinic, now, runtime) = (Clinic::open(), now(), runtime());
    let keys = KeySet::parse(clinic.signer.jwks().as_bytes()).expect("keys");
    let rules = &clinic.compiled.policy.issuers[0];
    let mut group = criterion.benchmark_group("token");
    for algorithm in ["ES256", "RS256"] {
        let token = clinic.signer.token(algorithm, "weak", now);
        let verify = || UnverifiedJwt::parse(black_box(&token)).and_then(|jwt| jwt.verify(rules, &keys, now));
        assert!(verify().is_ok(), "{algorithm}");
        group.bench_function(format!("cold {algorithm}"), |bencher| bencher.iter(verify));
    }
    let verifier = verifier(&clinic, &runtime);
    let token = Token::new(&clinic.signer.token("ES256", "weak", now)).expect("a token");
    let first = runtime.block_on(verifier.identify(&token, now));
    assert!(matches!(first.identity, Identity::Known(_)), "{:?}", first.identity);
    group.bench_function("cached", |bencher| {
        bencher.to_async(&runtime).iter(|| verifier.identify(black_box(&token), now));
    });
    group.finish();
}

/// Audit records at each durability; an iteration of the last one is 64 requests at once.
fn audit(criterion: &mut Criterion) {
    let (clinic, now, runtime) = (Clinic::open(), now(), runtime());
    let token = clinic.signer.token("ES256", "weak", now);
    let facts = Sent::new(Method::GET, RESULTS, &token).read(&reading());
    let policy = &clinic.compiled.policy;
    let question = question(policy, &facts);
    let evidence = evidence(subject(&clinic, &token, now));
    let Step::Decided(Decision::Permit(_), findings) = step(&question, &evidence, now, &mut Silent) else {
        panic!("no permit")
    };
    let journal = Arc::new(journal(&clinic.dir.path().join("audit")));
    let event = || intent(&question, &evidence, &findings, now);
    let mut group = criterion.benchmark_group("audit");
    group.throughput(Throughput::Elements(1));
    for (name, durability) in [("buffered", Durability::Buffered), ("written", Durability::Written)] {
        group.bench_function(name, |bencher| {
            bencher
                .to_async(&runtime)
                .iter(|| async { journal.append(&event(), durability).await.expect("a receipt") });
        });
    }
    for at_once in [64, 512] {
        group.throughput(Throughput::Elements(at_once));
        group.bench_function(format!("synced, {at_once} at once"), |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                let append =
                    |_| async { journal.append(&event(), Durability::Synced).await.expect("a receipt") };
                join_all((0..at_once).map(append)).await
            });
        });
    }
    group.finish();
    runtime.block_on(waits(&journal, &event));
    let dir = clinic.dir.path().join("to-verify");
    let to_verify = self::journal(&dir);
    runtime.block_on(async {
        for _ in 0..50_000 {
            to_verify.append(&event(), Durability::Buffered).await.expect("a receipt");
        }
    });
    to_verify.flush(Duration::from_secs(60)).expect("written");
    verify(criterion, &dir);
}

/// How long each of many waits until its record is on the disk. Criterion knows means only.
async fn waits<'e>(journal: &FileJournal, event: &impl Fn() -> Event<'e>) {
    let wait = |_| async {
        let begun = Instant::now();
        journal.append(&event(), Durability::Synced).await.expect("a receipt");
        begun.elapsed()
    };
    let (mut waited, begun) = (Vec::new(), Instant::now());
    for _ in 0..100 {
        waited.extend(join_all((0..512).map(wait)).await);
    }
    let rate = waited.len() as f64 / begun.elapsed().as_secs_f64();
    waited.sort_unstable();
    let at = |hundredth: usize| waited[waited.len() * hundredth / 100];
    println!("audit/synced, 512 at once: {rate:.0} a second, p50 {:?}, p99 {:?}", at(50), at(99));
}

/// What `wardgate audit verify` does.
fn verify(criterion: &mut Criterion, dir: &Path) {
    let key = Trusted::read(kept_key().public()).expect("a key");
    let check = || {
        let (_, trail) = trails(dir).expect("readable").pop_first().expect("a trail");
        let mut verifier = Verified::new(&key, None);
        assert!(matches!(walk(trail.readers(), &mut verifier), Ok(Walked::Through { torn: 0 })));
        verifier.finish().records
    };
    let mut group = criterion.benchmark_group("audit");
    group.throughput(Throughput::Elements(check())).sample_size(10);
    group.bench_function("verify", |bencher| bencher.iter(check));
    group.finish();
}

fn intent<'e>(
    question: &Question<'e>,
    evidence: &'e Evidence,
    findings: &'e Findings,
    now: i64,
) -> Event<'e> {
    Event::Intent(DecisionEvent {
        decision: Uuid::now_v7(),
        listener: "portal",
        verdict: "permit",
        reason: "permitted",
        method: "GET",
        action: Some(&question.route.id),
        template: Some(question.route.template.as_str()),
        tier: Some("low"),
        upstream: Some("ehr"),
        subject: Some("s_0123456789abcdef0123456789abcdef"),
        actor: None,
        patient: Some("p_0123456789abcdef0123456789abcdef"),
        session: Some("n_0123456789abcdef0123456789abcdef"),
        account: None,
        address: Some("a_0123456789abcdef0123456789abcdef"),
        bundle: None,
        entries: None,
        actions: Vec::new(),
        rule: findings.rule,
        input: Some(DecisionInput::new(question, evidence, findings, now)),
    })
}

fn journal(dir: &Path) -> FileJournal {
    FileJournal::open(
        dir,
        Options { origin: "benchmark", key: &kept_key(), most_bytes: MOST_BYTES, reserve: 0 },
    )
    .expect("a journal")
}

fn kept_key() -> Key {
    Key::kept(&[1; 32]).expect("a key")
}

/// Everything between the read request and the upstream: match, token, decision, record.
fn gate(criterion: &mut Criterion) {
    let (clinic, now, runtime) = (Clinic::open(), now(), runtime());
    let journal = journal(&clinic.dir.path().join("audit"));
    let pseudonyms = Pseudonyms::new(&[7; 32]).expect("a key");
    let ports = (Arc::new(verifier(&clinic, &runtime)), Arc::new(MemoryState::new()), Arc::new(journal));
    let ports = (ports.0 as Arc<dyn Identities>, ports.1 as Arc<dyn State>, ports.2 as Arc<dyn Journal>);
    let rates = Arc::new(wardgate::state::rates::LocalRates::default());
    let gate = Gate::new(ports.1, ports.2, rates, Arc::new(InForce::new(pseudonyms)));
    let generation = Generation {
        policy: Arc::new(clinic.compiled().policy),
        identities: ports.0,
        sessions: None,
        signals: None,
        access: None,
        search_forms: vec![true],
    };
    let token = clinic.signer.token("ES256", "weak", now);
    let mut group = criterion.benchmark_group("gate");
    let cases = [
        ("admitted", Method::GET, RESULTS),
        ("challenged", Method::POST, PAYMENTS),
        ("refused", Method::GET, "/patients/p2/results/2024"),
    ];
    for (name, method, target) in cases {
        let facts = Sent::new(method.clone(), target, &token).read(&reading());
        let admit = || async {
            let arrival = Arrival {
                id: Uuid::now_v7(),
                listener: "portal",
                method: &method,
                facts: Ok(&facts),
                subject: None,
                now,
                at: std::time::Instant::now(),
                body_bytes: u64::MAX,
                resumes: None,
            };
            gate.admit(&generation, &arrival, &mut NoBody).await.outcome
        };
        let as_expected = match runtime.block_on(admit()) {
            Outcome::Admitted(_) => name == "admitted",
            Outcome::Challenged(_) => name == "challenged",
            Outcome::Refused(_) => name == "refused",
            Outcome::Preflight => false,
        };
        assert!(as_expected, "{name}");
        group.bench_function(name, |bencher| bencher.to_async(&runtime).iter(admit));
    }
    group.finish();
}

fn verifier(clinic: &Clinic, runtime: &Runtime) -> Verifier {
    // As `main` does; a second time changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let compiled = clinic.compiled();
    Verifier::new(compiled.policy.issuers, compiled.settings.issuers, runtime.handle().clone())
        .expect("a verifier")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn config() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2))
}

criterion_group! {
    name = benches;
    config = config();
    targets = read, decide, classify, fhir::classify, fhir::decide, fhir::inspect, token, replies::inspect, audit, gate
}
criterion_main!(benches);
