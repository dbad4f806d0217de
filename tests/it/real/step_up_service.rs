//! People who are asked by the reference service of `examples/step_up_service`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use wardgate::enforce::prompts::{Answered, Ask, Asked, PromptFault, Prompts as _};
use wardgate::identity::Level;
use wardgate::keys::{Askers, Verifier};

use crate::support::step_up_service::SECRET;
use crate::support::{Recorder, StepUpService, eventually, free_address, http};

/// The way's position in `config`.
const WAY: usize = 1;
const LONG: Duration = Duration::from_secs(30);
const COME_BACK: &str = "https://portal.example/_wardgate/step-up?intent=i&way=proofing";

fn config(url: &str) -> String {
    format!(
        r#"version: 1
listeners: [{{ name: portal, address: "127.0.0.1:0" }}]
state: {{ single_replica: true }}
issuers:
  - name: clinic
    issuer: https://login.test/realms/people
    audiences: [portal]
    assurance: {{ aal1: {{ any_of: {{ amr: [pwd] }} }}, aal2: {{ any_of: {{ acr: ["urn:clinic:loa:2"] }} }} }}
    claims: {{ patient: patient_id }}
step_up:
  - {{ name: api, type: rfc9470 }}
  - {{ name: proofing, type: http, url: "{url}", secret_file: secret, keys_file: key.jwks, grants: aal2, timeout: 2s }}
upstreams: {{ app: {{ endpoints: ["127.0.0.1:9"] }} }}
routes:
  - {{ id: results.read, match: {{ path: "/patients/{{patient}}/results/**", methods: [GET] }}, upstream: app, tier: low,
      patient: {{ from: path.patient }}, any_of: [{{ patient: self }}] }}
"#
    )
}

/// The askers of a gateway, without the gateway.
struct Desk {
    runtime: Runtime,
    askers: Arc<Askers>,
    aal2: Level,
}

impl Desk {
    /// For the service at `url`, whose files are in `dir`.
    fn new(url: &str, dir: &Path) -> Self {
        // Another test may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (compiled, _) = wardgate::config::load("gateway.yaml", &config(url), dir)
            .unwrap_or_else(|found| panic!("{found:?}"));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let aal2 = compiled.policy.levels.find("aal2").expect("a level");
        let issuers = (compiled.policy.issuers.clone(), compiled.settings.issuers.clone());
        let verifier = Verifier::new(issuers.0, issuers.1, runtime.handle().clone()).expect("a verifier");
        let askers = Askers::new(&compiled.settings.step_up, &Arc::new(verifier)).expect("askers");
        Self { runtime, askers, aal2 }
    }

    fn at(service: &StepUpService) -> Self {
        Self::new(&format!("http://{}", service.address), service.dir())
    }

    fn try_asking(&self, subject: &str) -> Result<Asked, PromptFault> {
        let ask = Ask {
            notification_token: None,
            issuer: "https://login.test/realms/people",
            subject,
            id_token: None,
            label: "Change <your> address",
            code: "K7ER",
            acr_values: &["urn:clinic:loa:2".into()],
            language: "es",
            come_back: COME_BACK,
        };
        self.runtime.block_on(self.askers.ask(WAY, &ask))
    }

    fn ask(&self) -> Asked {
        self.try_asking("alice").unwrap_or_else(|fault| panic!("{fault:?}: {:?}", self.askers.unready()))
    }

    fn look(&self, asked: &Asked) -> Result<Answered, PromptFault> {
        self.runtime.block_on(self.askers.answered(WAY, &asked.handle, now()))
    }

    /// Looks till there is an answer.
    fn answer(&self, asked: &Asked) -> Result<Answered, PromptFault> {
        let mut found = Ok(Answered::Expired);
        eventually("there is an answer", LONG, || {
            found = self.look(asked);
            !matches!(found, Ok(Answered::Waiting(_)))
        });
        found
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("this century")
}

fn page(asked: &Asked) -> &str {
    asked.page.as_deref().expect("a page")
}

/// The service's name for a prompt.
fn id(asked: &Asked) -> &str {
    page(asked).rsplit('/').next().expect("a name")
}

#[test]
fn a_person_who_says_yes_has_given_proof_and_one_who_says_no_has_not() {
    let service = StepUpService::start();
    let desk = Desk::at(&service);
    let before = now();
    let asked = desk.ask();
    assert_eq!((asked.interval, asked.expires_in), (Duration::from_secs(1), Duration::from_secs(120)));
    let shown = service.page(page(&asked)).body;
    assert!(shown.contains("K7ER") && shown.contains("Change &#60;your&#62; address"), "{shown}");
    assert!(shown.contains("Soy yo"), "in the language of the gateway's page: {shown}");
    assert_eq!(desk.look(&asked), Ok(Answered::Waiting(Duration::from_secs(1))));
    assert_eq!(service.press(page(&asked), "yes"), COME_BACK);
    let answer = desk.answer(&asked);
    let Ok(Answered::Proven(proof)) = answer else { panic!("{answer:?}") };
    assert_eq!((&*proof.subject, proof.level), ("alice", desk.aal2));
    assert_eq!(proof.methods, [Box::from("face"), Box::from("mfa")]);
    assert!((before..=now()).contains(&proof.authenticated_at), "{proof:?}");
    // A change of mind is too late.
    service.press(page(&asked), "no");
    assert!(matches!(desk.answer(&asked), Ok(Answered::Proven(_))));

    let other = desk.ask();
    assert_ne!(id(&asked), id(&other));
    service.press(page(&other), "no");
    assert_eq!(desk.answer(&other), Ok(Answered::Declined));
    assert_eq!(desk.askers.unready(), [""; 0]);
}

#[test]
fn another_gateway_gets_the_same_answer() {
    let service = StepUpService::start();
    let (one, other) = (Desk::at(&service), Desk::at(&service));
    let asked = one.ask();
    service.press(page(&asked), "yes");
    assert!(matches!(other.answer(&asked), Ok(Answered::Proven(_))));
    assert!(matches!(one.answer(&asked), Ok(Answered::Proven(_))));
}

#[test]
fn a_question_that_nobody_answers_ends() {
    let service = StepUpService::impatient(2);
    let desk = Desk::at(&service);
    let asked = desk.ask();
    assert_eq!(asked.expires_in, Duration::from_secs(2));
    assert_eq!(desk.answer(&asked), Ok(Answered::Expired));
    service.press(page(&asked), "yes");
    assert_eq!(desk.answer(&asked), Ok(Answered::Expired), "too late");
}

#[test]
fn a_question_is_taken_back() {
    let service = StepUpService::start();
    let desk = Desk::at(&service);
    let (asked, other) = (desk.ask(), desk.ask());
    desk.runtime.block_on(desk.askers.take_back(WAY, &asked.handle));
    eventually("the service has forgotten it", LONG, || service.state(id(&asked)).0 == 404);
    assert_eq!(service.state(id(&other)).0, 200);
    assert_eq!(desk.answer(&asked), Err(PromptFault::Refused("prompt_unknown")));
}

#[test]
fn a_service_that_is_down_is_used_again_when_it_is_back() {
    let mut service = StepUpService::start();
    let desk = Desk::at(&service);
    let asked = desk.ask();
    service.stop();
    assert_eq!(desk.answer(&asked), Err(PromptFault::Unavailable));
    assert_eq!(desk.try_asking("alice").map(drop), Err(PromptFault::Unavailable));
    let told = desk.askers.unready().pop().expect("trouble");
    assert!(told.contains(&service.address.to_string()) && told.contains("reached"), "{told}");
    assert!(!told.contains(SECRET) && !told.contains(id(&asked)), "{told}");
    service.restart();
    let again = desk.ask();
    assert_eq!(desk.askers.unready(), [""; 0]);
    service.press(page(&again), "yes");
    assert!(matches!(desk.answer(&again), Ok(Answered::Proven(_))));
    // It has forgotten what it was asked before.
    assert_eq!(desk.answer(&asked), Err(PromptFault::Refused("prompt_unknown")));
}

#[test]
fn a_wrong_secret_and_a_person_without_a_phone_are_told_apart() {
    let service = StepUpService::start();
    let desk = Desk::at(&service);
    assert_eq!(desk.try_asking("nobody").map(drop), Err(PromptFault::NotReachable));
    assert_eq!(desk.askers.unready(), [""; 0], "nothing is wrong with the service");
    std::fs::write(service.dir().join("secret"), "another").expect("written");
    let desk = Desk::at(&service);
    assert_eq!(desk.try_asking("alice").map(drop), Err(PromptFault::Unavailable));
    let told = desk.askers.unready().pop().expect("trouble");
    assert!(
        told.contains("status 401") && told.contains("`secret_file`") && !told.contains("another"),
        "{told}"
    );
}

/// What changes an answer on its way.
type Change = Arc<Mutex<Box<dyn Fn(Value) -> Value + Send>>>;

/// Somebody between the gateway and the service, who changes what it says of prompts.
struct Between {
    recorder: Recorder,
    service: StepUpService,
    change: Change,
}

impl Between {
    fn start() -> Self {
        let address = free_address();
        let change: Change = Arc::new(Mutex::new(Box::new(|answer| answer)));
        let changing = Arc::clone(&change);
        let recorder = Recorder::behaving(Arc::new(move |request, stream| {
            let answer = pass_on(address, request);
            let body = match serde_json::from_str::<Value>(&answer.body) {
                Ok(body) if request.line.starts_with("GET ") => {
                    changing.lock().expect("lock")(body).to_string()
                }
                _ => answer.body,
            };
            let head = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n\r\n", answer.status, body.len());
            stream.write_all((head + &body).as_bytes()).is_ok()
        }));
        let service = StepUpService::behind(&format!("http://{}", recorder.address), address);
        Self { recorder, service, change }
    }

    fn changes(&self, change: impl Fn(Value) -> Value + Send + 'static) {
        *self.change.lock().expect("lock") = Box::new(change);
    }

    fn desk(&self) -> Desk {
        Desk::new(&format!("http://{}", self.recorder.address), self.service.dir())
    }

    /// What a result comes to that was changed so.
    fn verdict(
        &self,
        desk: &Desk,
        change: impl Fn(Value) -> Value + Send + 'static,
    ) -> Result<Answered, PromptFault> {
        self.changes(change);
        let asked = desk.ask();
        self.service.press(page(&asked), "yes");
        desk.answer(&asked)
    }
}

fn pass_on(to: SocketAddr, request: &crate::support::upstream::Recorded) -> http::Answer {
    let mut words = request.line.split(' ');
    let (method, target) = (words.next().expect("a method"), words.next().expect("a target"));
    let headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        .filter(|(name, _)| {
            ["authorization", "idempotency-key"].contains(&name.to_ascii_lowercase().as_str())
        })
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    http::send(to, method, target, &headers, &request.body).expect("the service answers")
}

/// The claims of a result.
fn claims(result: &str) -> Value {
    jsonwebtoken::dangerous::insecure_decode::<Value>(result).expect("a token").claims
}

/// The result with another header, other claims, and another key.
fn forged(result: &str, key: &EncodingKey, header: impl Fn(&mut Header), claim: (&str, Value)) -> String {
    let mut own = jsonwebtoken::decode_header(result).expect("a header");
    header(&mut own);
    let mut claims = claims(result);
    claims[claim.0] = claim.1;
    jsonwebtoken::encode(&own, &claims, key).expect("signed")
}

fn result_of(answer: &Value) -> String {
    answer["result"].as_str().expect("a result").to_owned()
}

#[test]
fn who_stands_between_can_change_nothing() {
    let between = Between::start();
    let desk = between.desk();
    let honest = between.verdict(&desk, |answer| answer);
    assert!(matches!(honest, Ok(Answered::Proven(_))), "{honest:?}");
    // The gateway's own key for the question stays the same where it asks again; each question has another one.
    let requests = between.recorder.requests();
    let started: Vec<_> = requests.iter().filter(|request| request.line.starts_with("POST ")).collect();
    assert!(started.iter().all(|request| request.values("idempotency-key").len() == 1));

    // Another person's prompt, another answer, no signature.
    let first = desk.ask();
    between.service.press(page(&first), "yes");
    let replayed = result_of(&between.service.state(id(&first)).1);
    let replay = replayed.clone();
    let verdict = between.verdict(&desk, move |_| json!({"state": "proven", "result": replay.clone()}));
    assert_eq!(verdict, Err(PromptFault::Refused("result_other_prompt")));
    let verdict = between.verdict(&desk, |answer| {
        let result = result_of(&answer);
        let parts: Vec<&str> = result.split('.').collect();
        // {"typ":"wardgate-step-up+jwt","alg":"none"}
        let none = "eyJ0eXAiOiJ3YXJkZ2F0ZS1zdGVwLXVwK2p3dCIsImFsZyI6Im5vbmUifQ";
        json!({"state": "proven", "result": format!("{none}.{}.", parts[1])})
    });
    assert_eq!(verdict, Err(PromptFault::Refused("token_algorithm_not_allowed")));
    let verdict = between.verdict(&desk, |answer| {
        let (result, mine) = (result_of(&answer), EncodingKey::from_secret(SECRET.as_bytes()));
        let hmac = |header: &mut Header| header.alg = Algorithm::HS256;
        json!({"state": "proven", "result": forged(&result, &mine, hmac, ("sub", json!("alice")))})
    });
    assert_eq!(verdict, Err(PromptFault::Refused("token_algorithm_not_allowed")), "by a key that both know");

    let stranger = StepUpService::start();
    let pem = |service: &StepUpService| std::fs::read(service.dir().join("key")).expect("a key");
    let (own, other) = (pem(&between.service), pem(&stranger));
    type Case = (&'static str, fn(&mut Header), &'static str, Value);
    let cases: [Case; 9] = [
        ("own", |_| (), "nonce", json!("AAAA")),
        ("own", |_| (), "jti", json!("AAAA")),
        ("own", |_| (), "aud", json!("portal")),
        ("own", |_| (), "iss", json!("https://proof.test")),
        ("own", |_| (), "exp", json!(now() - 1)),
        ("own", |_| (), "iat", json!(now() - 3_600)),
        ("own", |_| (), "auth_time", Value::Null),
        ("own", |header| header.typ = Some("JWT".into()), "sub", json!("alice")),
        ("other", |_| (), "sub", json!("alice")),
    ];
    let expected = [
        "result_nonce",
        "result_other_prompt",
        "result_audience",
        "token_unknown_issuer",
        "result_time",
        "result_time",
        "result_claim",
        "result_type",
        "token_bad_signature",
    ];
    for ((key, header, claim, value), why) in cases.into_iter().zip(expected) {
        let pem = if key == "own" { own.clone() } else { other.clone() };
        let said = value.clone();
        let verdict = between.verdict(&desk, move |answer| {
            let key = EncodingKey::from_ed_pem(&pem).expect("a key");
            json!({"state": "proven", "result": forged(&result_of(&answer), &key, header, (claim, said.clone()))})
        });
        assert_eq!(verdict, Err(PromptFault::Refused(why)), "{key} {claim} {value}");
    }
    // A key that the gateway was not told of.
    let verdict = between.verdict(&desk, move |answer| {
        let key = EncodingKey::from_ed_pem(&other).expect("a key");
        let named = |header: &mut Header| header.kid = Some("unheard-of".into());
        json!({"state": "proven", "result": forged(&result_of(&answer), &key, named, ("sub", json!("alice")))})
    });
    assert_eq!(verdict, Err(PromptFault::Refused("token_unknown_key")));
    let verdict = between.verdict(&desk, |_| json!({"state": "proven", "more": "x".repeat(600 * 1024)}));
    assert_eq!(verdict, Err(PromptFault::Refused("answer_too_large")));
    let verdict = between.verdict(&desk, |answer| answer);
    assert!(matches!(verdict, Ok(Answered::Proven(_))), "nothing is held against the service: {verdict:?}");
}

#[test]
fn a_redirection_is_not_followed() {
    let elsewhere = Recorder::start();
    let to =
        format!("HTTP/1.1 307 X\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n", elsewhere.address);
    let service = Recorder::behaving(Arc::new(move |_, stream| stream.write_all(to.as_bytes()).is_ok()));
    let files = StepUpService::start();
    let desk = Desk::new(&format!("http://{}", service.address), files.dir());
    assert_eq!(desk.try_asking("alice").map(drop), Err(PromptFault::Unavailable));
    assert!(desk.askers.unready().pop().expect("trouble").contains("redirect"));
    assert_eq!((service.count(), elsewhere.count()), (1, 0), "the secret goes nowhere else");
}

#[test]
fn the_service_knows_a_question_again() {
    let service = StepUpService::start();
    let bearer = format!("Bearer {SECRET}");
    let body = json!({
        "person": {"issuer": "https://login.test", "subject": "alice"}, "label": "Pay", "code": "K7ER",
        "language": "en", "acr_values": [], "come_back": COME_BACK, "nonce": "n",
    });
    let start = |key: &str| {
        let headers = [("Authorization", &*bearer), ("Idempotency-Key", key)];
        let answer = http::send(service.address, "POST", "/prompts", &headers, body.to_string().as_bytes());
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["id"].clone()
    };
    assert_eq!(start("k-1"), start("k-1"));
    assert_ne!(start("k-1"), start("k-2"));
    let without = http::send(service.address, "POST", "/prompts", &[], b"{}").expect("an answer");
    assert_eq!(without.status, 401);
}
