//! The same rows through a real gate: what it gathers, in which order, and what it makes of the answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use wardgate::audit::journal::{FILE_NAME, FileJournal, MOST_BYTES, Options};
use wardgate::audit::pseudonym::{InForce, Pseudonyms};
use wardgate::audit::signing::Key;
use wardgate::decision::{Decision, Evaluation, Lookup, Need, Question, Revocation};
use wardgate::enforce::ports::{
    AccessServices, ConsentRequest, Consumed, EvaluationRequest, Identified, Identities, Journal,
    PatientRequest, RevocationKey, ServiceOutages, State,
};
use wardgate::enforce::{Arrival, BodyFault, BodySource, Gate, Generation, Outcome};
use wardgate::request::credentials::{Presented, Token};
use wardgate::state::memory::MemoryState;
use wardgate::state::spent::ProofKey;

use super::matrix::{decide, matrix};
use super::world::{Known, NOW, POLICY, compile};

/// What the world answers to the request at hand, and what it was asked.
#[derive(Default)]
struct World {
    known: Mutex<Option<Known>>,
    asked: Mutex<Vec<Need>>,
    store: Mutex<Arc<MemoryState>>,
}

impl World {
    fn next(&self, known: Known) {
        *self.known.lock().unwrap() = Some(known);
        *self.store.lock().unwrap() = Arc::default();
        self.asked.lock().unwrap().clear();
    }

    fn ask(&self, need: Need) -> Known {
        self.asked.lock().unwrap().push(need);
        self.known.lock().unwrap().clone().expect("a request")
    }

    fn store(&self) -> Arc<MemoryState> {
        Arc::clone(&self.store.lock().unwrap())
    }
}

#[async_trait]
impl Identities for World {
    async fn can_be_asked(&self, _: usize) -> bool {
        true
    }

    async fn identify(&self, _: &Token, now: i64) -> Identified {
        assert_eq!(now, NOW);
        let known = self.ask(Need::Identity);
        Identified { identity: known.identity, too_stale_for_critical: known.keys_too_stale }
    }
}

#[async_trait]
impl AccessServices for World {
    async fn evaluate(&self, pdp: usize, request: &EvaluationRequest<'_>) -> Lookup<Evaluation> {
        assert_eq!((pdp, request.subject.qualified_id().is_empty()), (0, false));
        self.known.lock().unwrap().clone().expect("a request").evaluation
    }

    async fn patient(&self, lookup: usize, request: &PatientRequest<'_>) -> Lookup<Box<str>> {
        assert_eq!((lookup, request.parameters), (0, [("order", "o-1")].as_slice()));
        self.known.lock().unwrap().clone().expect("a request").record
    }

    async fn consents(&self, consent: usize, _: &ConsentRequest<'_>) -> Lookup<bool> {
        panic!("no route asks for consent {consent}")
    }

    fn trouble(&self) -> Vec<String> {
        Vec::new()
    }

    fn outages(&self) -> Vec<ServiceOutages> {
        Vec::new()
    }
}

#[async_trait]
impl State for World {
    async fn consume(&self, key: &ProofKey, remember: Duration) -> Consumed {
        self.store().consume(key, remember).await
    }

    async fn not_before(&self, _: &[RevocationKey<'_>]) -> Lookup<i64> {
        match self.ask(Need::Revocation).revocation {
            Revocation::Valid => Lookup::Absent,
            Revocation::Revoked => Lookup::Found(i64::MAX),
            Revocation::Unknown => Lookup::Unavailable,
        }
    }

    async fn revoke(&self, key: &RevocationKey<'_>, moment: i64, remember: Duration) -> Lookup<()> {
        self.store().revoke(key, moment, remember).await
    }

    async fn revised(&self, _: u64) -> u64 {
        std::future::pending().await
    }

    async fn window(&self, key: &str, span: Duration) -> Lookup<u64> {
        self.store().window(key, span).await
    }

    async fn seal(&self, key: &str, bytes: &[u8], ttl: Duration) -> Lookup<()> {
        self.store().seal(key, bytes, ttl).await
    }

    async fn unseal(&self, key: &str) -> Lookup<Vec<u8>> {
        self.store().unseal(key).await
    }

    async fn distinct(&self, key: &str, member: &str, span: Duration, most: usize) -> Lookup<usize> {
        self.store().distinct(key, member, span, most).await
    }

    async fn hold(&self, key: &str, word: &str, keep: Duration) -> Lookup<Box<str>> {
        self.store().hold(key, word, keep).await
    }

    async fn held(&self, key: &str) -> Lookup<Box<str>> {
        self.store().held(key).await
    }

    async fn peek(&self, key: &str) -> Lookup<Vec<u8>> {
        self.store().peek(key).await
    }
}

struct Source<'w> {
    world: &'w World,
    bytes: Bytes,
}

#[async_trait]
impl BodySource for Source<'_> {
    async fn collect(&mut self, limit: usize) -> Result<Bytes, BodyFault> {
        self.world.ask(Need::Body);
        assert!(self.bytes.len() <= limit);
        Ok(self.bytes.clone())
    }
}

#[tokio::test]
async fn a_gate_does_what_the_matrix_says() {
    let compiled = compile(POLICY);
    let search_forms: Vec<bool> =
        compiled.settings.upstreams.iter().map(|upstream| upstream.refuse_hidden_method).collect();
    let matrix = matrix(&compiled.policy);
    let world = Arc::new(World::default());
    let dir = tempfile::tempdir().expect("a directory");
    let journal = {
        let key = Key::kept(&[1; 32]).expect("a key");
        let options = Options { origin: "test", key: &key, most_bytes: MOST_BYTES, reserve: 0 };
        Arc::new(FileJournal::open(dir.path(), options).expect("a journal"))
    };
    let pseudonyms = Pseudonyms::new(&[7; 32]).expect("a key");
    let ports = (
        Arc::clone(&world) as Arc<dyn Identities>,
        Arc::clone(&world) as Arc<dyn State>,
        Arc::clone(&journal) as Arc<dyn Journal>,
    );
    let rates = Arc::new(wardgate::state::rates::LocalRates::default());
    let gate = Gate::new(ports.1, ports.2, rates, Arc::new(InForce::new(pseudonyms)));
    let policy = Arc::new(compiled.policy);
    let generation = Generation {
        policy: Arc::clone(&policy),
        identities: ports.0,
        sessions: None,
        signals: None,
        access: Some(Arc::clone(&world) as Arc<dyn AccessServices>),
        search_forms: search_forms.clone(),
    };
    let mut permits = 0;
    for row in &matrix.rows {
        let line = format!("{}: {} | {}", row.heading, row.caller, row.evidence);
        let facts = row.facts();
        let route = &policy.routes[row.route];
        let question = Question {
            policy: &policy,
            route,
            facts: &facts,
            forms_may_override: search_forms[route.upstream],
        };
        let known = row.known(&question);
        let (asked, decision, _) = decide(&question, &known);

        world.next(known);
        let bytes = row.body.as_ref().map(|body| Bytes::from(body.bytes.clone())).unwrap_or_default();
        let arrival = Arrival {
            resumes: None,
            id: uuid::Uuid::now_v7(),
            listener: "edge",
            method: &row.request.method,
            facts: Ok(&facts),
            subject: None,
            now: NOW,
            at: std::time::Instant::now(),
            body_bytes: u64::MAX,
        };
        let settled = gate.admit(&generation, &arrival, &mut Source { world: &world, bytes }).await;

        assert_eq!(settled.route, Some(row.route), "{line}");
        assert_eq!(settled.verdict, decision.verdict(), "{line}");
        match (decision, settled.outcome) {
            (Decision::Permit(permit), Outcome::Admitted(admission)) => {
                permits += 1;
                assert_eq!(permit.to_spend(), admission.spent().map(|spent| spent.key()), "{line}");
                assert!(settled.intent.is_some(), "{line}");
            }
            (Decision::Challenge(expected), Outcome::Challenged(challenge)) => {
                assert_eq!(challenge, expected, "{line}")
            }
            (Decision::Deny(expected), Outcome::Refused(denial)) => assert_eq!(denial, expected, "{line}"),
            (decision, outcome) => panic!("{line}: decided {decision:?}, did {outcome:?}"),
        }
        // Nobody is asked about a token that is not there, and a body that can't be read is left where it is.
        let world_asked = world.asked.lock().unwrap().clone();
        let is_bearer = matches!(facts.presented, Presented::Bearer(_));
        let expected: Vec<Need> = asked
            .into_iter()
            .filter(|need| match need {
                Need::Identity => is_bearer,
                Need::Possession => false,
                Need::Revocation => true,
                Need::Body => world_asked.contains(&Need::Body),
                Need::Grant(_)
                | Need::Patient
                | Need::Evaluation { .. }
                | Need::Content
                | Need::Device
                | Need::Attempts
                | Need::BreakGlass
                | Need::Signals
                | Need::Delegation
                | Need::Duties
                | Need::Consent { .. } => false,
            })
            .collect();
        assert_eq!(world_asked, expected, "{line}");
    }
    journal.flush(std::time::Duration::ZERO).expect("flushed");
    let records = std::fs::read_to_string(dir.path().join(FILE_NAME)).expect("records");
    let count = |event: &str| records.lines().filter(|line| line.contains(event)).count();
    assert_eq!(count(r#""event":"intent""#), permits);
    assert_eq!(count(r#""event":"decision""#), matrix.rows.len() - permits);
}
