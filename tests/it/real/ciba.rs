//! People who are asked on the phone by a real OpenID Provider (CIBA Core 1.0).

use std::sync::{Arc, Once};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use wardgate::config::Compiled;
use wardgate::enforce::prompts::{Answered, Ask, Asked, PromptFault, Prompts as _, Proof};
use wardgate::keys::{Askers, Verifier};

use crate::support::{Gateway, Idp, Recorder, eventually, http};

const SECRET: &str = "desk-phone-secret";
/// The way by which people are asked on the phone, in `config`.
const PHONE: usize = 1;
const LONG: Duration = Duration::from_secs(30);
const LABEL: &str = "Pay a bill";

/// The askers of a gateway, without the gateway.
struct Desk {
    runtime: Runtime,
    compiled: Compiled,
    verifier: Arc<Verifier>,
    askers: Arc<Askers>,
    dir: tempfile::TempDir,
}

fn config(issuer: &str, client: &str) -> String {
    format!(
        r#"version: 1
listeners: [{{ name: portal, address: "127.0.0.1:0" }}]
state: {{ single_replica: true }}
issuers:
  - name: clinic
    issuer: {issuer}
    audiences: [portal-es256]
    algorithms: [RS256, ES256]
    assurance: {{ aal1: {{ any_of: {{ amr: [pwd] }} }}, aal2: {{ any_of: {{ acr: ["urn:clinic:loa:2"] }} }} }}
    claims: {{ patient: patient_id, roles: groups }}
    jwks: {{ refresh: 1s, stale_for: 60s, stale_for_critical: 30s, unknown_kid_interval: 1s, timeout: 1s }}
    sign_in: {{ client_id: desk, client_secret_file: desk-secret, origins: [https://portal.example] }}
insecure: {{ plain_http_issuers: [clinic] }}
step_up:
  - {{ name: browser, type: oidc }}
  - {{ name: phone, type: ciba, issuer: clinic, client_id: {client}, client_secret_file: secret, timeout: 1s }}
upstreams: {{ app: {{ endpoints: ["127.0.0.1:9"] }} }}
routes:
  - {{ id: results.read, match: {{ path: "/patients/{{patient}}/results/**", methods: [GET] }}, upstream: app, tier: low,
      patient: {{ from: path.patient }}, any_of: [{{ patient: self }}] }}
"#
    )
}

impl Desk {
    fn new(idp: &Idp, client: &str, secret: &str) -> Self {
        static CRYPTO: Once = Once::new();
        CRYPTO.call_once(|| {
            let _ = rustls_provider();
        });
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("secret"), secret).expect("written");
        std::fs::write(dir.path().join("desk-secret"), "desk-secret").expect("written");
        let (compiled, _) = wardgate::config::load("gateway.yaml", &config(&idp.issuer, client), dir.path())
            .unwrap_or_else(|found| panic!("{found:?}"));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let issuers = (compiled.policy.issuers.clone(), compiled.settings.issuers.clone());
        let verifier = Verifier::new(issuers.0, issuers.1, runtime.handle().clone()).expect("a verifier");
        let verifier = Arc::new(verifier);
        let askers = Askers::new(&compiled.settings.step_up, &verifier).expect("askers");
        Self { runtime, compiled, verifier, askers, dir }
    }

    fn phone(idp: &Idp) -> Self {
        Self::new(idp, "desk-phone", SECRET)
    }

    fn ask_by(&self, account: &str, id_token: Option<&str>) -> Result<Asked, PromptFault> {
        let acr_values = ["urn:clinic:loa:2".into()];
        let ask = Ask {
            notification_token: None,
            issuer: "https://login.test",
            subject: account,
            id_token,
            label: LABEL,
            code: "K742",
            acr_values: &acr_values,
            language: "en",
            come_back: "https://portal.example/",
        };
        self.runtime.block_on(self.askers.ask(PHONE, &ask))
    }

    fn ask(&self, account: &str) -> Asked {
        self.ask_by(account, None).unwrap_or_else(|fault| panic!("{fault:?}: {:?}", self.askers.unready()))
    }

    fn look(&self, asked: &Asked) -> Result<Answered, PromptFault> {
        self.runtime.block_on(self.askers.answered(PHONE, &asked.handle, now()))
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

    fn proof(&self, account: &str) -> Proof {
        match self.answer(&self.ask(account)) {
            Ok(Answered::Proven(proof)) => proof,
            other => panic!("{other:?}"),
        }
    }

    fn level(&self, name: &str) -> wardgate::identity::Level {
        self.compiled.policy.levels.find(name).expect("a level")
    }
}

fn rustls_provider() -> Result<(), Arc<rustls::crypto::CryptoProvider>> {
    rustls::crypto::aws_lc_rs::default_provider().install_default()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("this century")
}

fn approve(level: &str) -> Value {
    json!({"answer": "approve", "level": level, "interval": 1})
}

/// What the last question looked like.
fn last_shown(idp: &Idp) -> Value {
    idp.shown().pop().expect("a question")
}

/// An ID token for the very client that asks: its own answer, fetched by hand.
fn own_id_token(idp: &Idp) -> String {
    let address = idp.issuer.strip_prefix("http://").and_then(|text| text.parse().ok()).expect("an address");
    let basic = format!("Basic {}", STANDARD.encode(format!("desk-phone:{SECRET}")));
    let post = |path: &str, form: &str| {
        let headers = [("Authorization", &*basic), ("Content-Type", "application/x-www-form-urlencoded")];
        http::send(address, "POST", path, &headers, form.as_bytes()).expect("an answer")
    };
    let asked = post("/backchannel", "scope=openid&login_hint=alice").json();
    let id = asked["auth_req_id"].as_str().expect("a question");
    let form = format!("grant_type=urn:openid:params:grant-type:ciba&auth_req_id={id}");
    let mut answer = post("/token", &form);
    eventually("there is an answer", LONG, || {
        answer = post("/token", &form);
        answer.status == 200
    });
    answer.json()["id_token"].as_str().expect("an ID token").to_owned()
}

#[test]
fn a_person_who_agrees_has_given_proof() {
    let (idp, began) = (Idp::start(), now());
    let desk = Desk::phone(&idp);
    idp.answers("alice", &json!({"answer": "wait", "interval": 1}));
    let asked = desk.ask("alice");
    assert_eq!((asked.interval, asked.expires_in), (Duration::from_secs(1), Duration::from_secs(120)));
    eventually("the issuer was asked and says that it waits", LONG, || {
        let waits = matches!(desk.look(&asked), Ok(Answered::Waiting(_)));
        waits && idp.asked("token") > 0
    });
    let shown = last_shown(&idp);
    // This issuer takes no blanks, and no more than twenty characters.
    assert_eq!(shown["binding_message"], "Pay-a-bill-K742");
    assert_eq!((&shown["acr_values"], &shown["hint"]), (&json!("urn:clinic:loa:2"), &json!("login_hint")));
    assert_eq!((&shown["account"], &shown["client"]), (&json!("alice"), &json!("desk-phone")));
    idp.answers("alice", &approve("aal2"));
    let Ok(Answered::Proven(proof)) = desk.answer(&asked) else { panic!("no proof") };
    assert_eq!((&*proof.subject, proof.level), ("alice", desk.level("aal2")));
    assert_eq!(proof.methods, [Box::from("pwd"), Box::from("otp")]);
    assert!((began..=now()).contains(&proof.authenticated_at));
    let looks = idp.asked("token");
    assert_eq!(desk.look(&asked), Ok(Answered::Proven(proof)), "who looks late finds the same");
    assert_eq!(idp.asked("token"), looks, "the issuer gives its answer once, and is not asked again");
    let refused_before = idp.asked("backchannel_authentication");
    desk.ask("alice");
    assert_eq!(idp.asked("backchannel_authentication"), refused_before + 1, "what it takes is known now");
}

#[test]
fn a_person_who_declines_or_says_nothing_has_given_none() {
    let idp = Idp::start();
    let desk = Desk::phone(&idp);
    idp.answers("alice", &json!({"answer": "decline", "interval": 1}));
    let asked = desk.ask("alice");
    assert_eq!(desk.answer(&asked), Ok(Answered::Declined));
    assert_eq!(desk.look(&asked), Ok(Answered::Declined), "no is no");
    idp.answers("bob", &json!({"answer": "wait", "interval": 1, "expires_in": 1}));
    let asked = desk.ask("bob");
    assert_eq!(desk.answer(&asked), Ok(Answered::Expired));
    let looks = idp.asked("token");
    let late = desk.runtime.block_on(desk.askers.answered(PHONE, &asked.handle, now() + 3_600));
    assert_eq!((late, idp.asked("token")), (Ok(Answered::Expired), looks));
}

#[test]
fn what_was_proven_is_told_as_it_is_and_judged_elsewhere() {
    let idp = Idp::start();
    let desk = Desk::phone(&idp);
    idp.answers("alice", &json!({"answer": "approve", "level": "aal2", "as": "bob", "interval": 1}));
    assert_eq!(&*desk.proof("alice").subject, "bob", "somebody else has the phone");
    idp.answers("alice", &approve("aal1"));
    let weak = desk.proof("alice");
    assert_eq!((&*weak.subject, weak.level), ("alice", desk.level("aal1")), "asked for aal2");
    idp.answers("alice", &json!({"answer": "approve", "level": "aal2", "auth_age": 500, "interval": 1}));
    let old = desk.proof("alice").authenticated_at;
    assert!((now() - 530..now() - 490).contains(&old), "{old}");
}

#[test]
fn the_person_is_named_in_one_way() {
    let idp = Idp::start();
    let desk = Desk::phone(&idp);
    idp.answers("alice", &approve("aal2"));
    desk.ask_by("alice", Some(&own_id_token(&idp))).expect("asked");
    assert_eq!(last_shown(&idp)["hint"], "id_token_hint");
    // One that was given to another client: this issuer does not take it, and is told the name.
    let others = idp.sign_in("alice", "aal1", "portal-es256");
    desk.ask_by("alice", Some(others.id())).expect("asked");
    assert_eq!(
        (&last_shown(&idp)["hint"], &last_shown(&idp)["account"]),
        (&json!("login_hint"), &json!("alice"))
    );
    let nobody = desk.ask_by("mallory", None).map(|_| ());
    assert_eq!(nobody, Err(PromptFault::NotReachable));
    assert!(desk.askers.unready().is_empty(), "that is nobody's outage: {:?}", desk.askers.unready());
}

#[test]
fn an_answer_that_is_not_the_issuers_to_us_about_this_is_refused() {
    let idp = Idp::start();
    let desk = Desk::phone(&idp);
    idp.answers("alice", &approve("aal2"));
    let question = "urn:openid:params:jwt:claim:auth_req_id";
    for (lie, why) in [
        (json!({"iss": "https://login.elsewhere.example"}), "token_unknown_issuer"),
        (json!({"aud": "desk"}), "id_token_audience"),
        (json!({"aud": ["desk-phone", "desk"]}), "id_token_audience"),
        (json!({"azp": "desk"}), "id_token_audience"),
        (json!({"exp": now() - 1}), "id_token_time"),
        (json!({"iat": now() - 300}), "id_token_time"),
        (json!({"nbf": now() + 300}), "id_token_time"),
        (json!({question: "another"}), "id_token_nonce"),
        (json!({"auth_time": null}), "id_token_authentication"),
        (json!({"acr": null, "amr": null}), "id_token_authentication"),
        (json!({"acr": "urn:unheard:of", "amr": ["telepathy"]}), "id_token_authentication"),
        (json!({"sub": null}), "id_token_claim"),
    ] {
        idp.lie(&lie);
        let asked = desk.ask("alice");
        assert_eq!(desk.answer(&asked), Err(PromptFault::Refused(why)), "{lie}");
        assert_eq!(desk.look(&asked), Err(PromptFault::Refused(why)), "for good: {lie}");
    }
    idp.forge(&json!({}));
    assert_eq!(desk.answer(&desk.ask("alice")), Err(PromptFault::Refused("token_bad_signature")));
    idp.lie(&Value::Null);
    assert_eq!(&*desk.proof("alice").subject, "alice", "an honest one is believed");
    for made_up in ["", "1.2.3", "not-a-handle"] {
        let found = desk.runtime.block_on(desk.askers.answered(PHONE, made_up, now()));
        assert_eq!(found, Err(PromptFault::Refused("no_question")));
    }
    let unknown = format!("{}.{}.1.never-asked", now(), now() + 60);
    for way in [0, 2] {
        let found = desk.runtime.block_on(desk.askers.answered(way, &unknown, now()));
        assert_eq!(found, Err(PromptFault::Unavailable), "nobody asks on way {way}");
    }
    let found = desk.runtime.block_on(desk.askers.answered(PHONE, &unknown, now()));
    assert_eq!(found, Err(PromptFault::Refused("question_unknown")));
}

#[test]
fn an_issuer_that_is_asked_too_often_is_asked_less_often() {
    let idp = Idp::start();
    let (one, other) = (Desk::phone(&idp), Desk::phone(&idp));
    idp.answers("alice", &json!({"answer": "wait", "interval": 1}));
    let asked = one.ask("alice");
    // Two replicas that know nothing of each other.
    let mut slowed = None;
    eventually("one is told to slow down", LONG, || {
        let looks = [one.look(&asked), other.look(&asked)];
        slowed = looks.into_iter().find_map(|look| match look {
            Ok(Answered::Waiting(pause)) if pause > Duration::from_secs(5) => Some(pause),
            _ => None,
        });
        slowed.is_some()
    });
    idp.answers("alice", &approve("aal2"));
    assert!(matches!(one.answer(&asked), Ok(Answered::Proven(_))));
    // The other one comes too late: the issuer has given its answer.
    let late = other.answer(&asked);
    assert_eq!(late, Err(PromptFault::Refused("question_unknown")));
}

#[test]
fn a_browser_that_goes_away_in_the_middle_loses_nothing() {
    let idp = Idp::start();
    let desk = Desk::phone(&idp);
    idp.answers("alice", &json!({"answer": "wait", "interval": 1}));
    let asked = desk.ask("alice");
    idp.answers("alice", &approve("aal2"));
    eventually("an answer is on its way", LONG, || {
        let before = idp.asked("token");
        desk.runtime.block_on(async {
            let look = desk.askers.answered(PHONE, &asked.handle, now());
            // Started, and dropped as soon as it would wait.
            let _ = tokio::time::timeout(Duration::ZERO, look).await;
        });
        std::iter::repeat_with(|| idp.asked("token")).take(50).any(|looks| looks > before)
    });
    let looks = idp.asked("token");
    assert!(matches!(desk.answer(&asked), Ok(Answered::Proven(_))));
    assert_eq!(idp.asked("token"), looks, "it was the answer to the first");
}

#[test]
fn an_outage_is_told_and_ends_by_itself() {
    let mut idp = Idp::start();
    let desk = Desk::phone(&idp);
    idp.answers("alice", &json!({"answer": "wait", "interval": 1}));
    let asked = desk.ask("alice");
    for mode in ["500", "hang", "garbage", "redirect", "huge"] {
        idp.fail("backchannel_authentication", Some(mode));
        assert_eq!(desk.ask_by("alice", None).map(|_| ()), Err(PromptFault::Unavailable), "{mode}");
        let told = desk.askers.unready().join("\n");
        assert!(told.contains("`clinic`") && told.contains("phone"), "{mode}: {told}");
        idp.fail("backchannel_authentication", None);
    }
    assert_eq!(idp.asked("moved"), 0, "the secret was sent where a redirect pointed");
    idp.fail("token", Some("500"));
    assert_eq!(desk.answer(&asked), Err(PromptFault::Unavailable), "while the answer is looked for");
    idp.fail("token", None);
    idp.answers("alice", &approve("aal2"));
    let found = desk.answer(&asked);
    assert!(matches!(found, Ok(Answered::Proven(_))), "the question outlives the outage: {found:?}");
    assert!(desk.askers.unready().is_empty(), "{:?}", desk.askers.unready());

    idp.stop();
    assert_eq!(desk.ask_by("alice", None).map(|_| ()), Err(PromptFault::Unavailable));
    assert!(!desk.askers.unready().is_empty());
    idp.restart();
    idp.answers("alice", &approve("aal2"));
    eventually("people are asked again", LONG, || desk.ask_by("alice", None).is_ok());
    eventually("with new keys", LONG, || matches!(desk.answer(&desk.ask("alice")), Ok(Answered::Proven(_))));
    assert!(desk.askers.unready().is_empty(), "{:?}", desk.askers.unready());
}

#[test]
fn a_wrong_secret_is_told_to_the_operator_and_mended_by_a_reload() {
    let idp = Idp::start();
    let desk = Desk::new(&idp, "desk-phone", "canary-of-a-wrong-secret");
    idp.answers("alice", &approve("aal2"));
    assert_eq!(desk.ask_by("alice", None).map(|_| ()), Err(PromptFault::Unavailable));
    let told = desk.askers.unready().join("\n");
    assert!(told.contains("invalid_client") && told.contains("`client_secret_file`"), "{told}");
    assert!(!told.contains("canary"), "{told}");
    std::fs::write(desk.dir.path().join("secret"), SECRET).expect("written");
    let next = desk.askers.succeeded_by(&desk.compiled.settings.step_up, &desk.verifier).expect("askers");
    let desk = Desk { askers: next, ..desk };
    // Looked at every five seconds: a slow machine is not too late for what follows.
    idp.answers("alice", &json!({"answer": "wait"}));
    let asked = desk.ask("alice");
    // A reload in the middle, by the same settings.
    let next = desk.askers.succeeded_by(&desk.compiled.settings.step_up, &desk.verifier).expect("askers");
    assert!(matches!(desk.look(&asked), Ok(Answered::Waiting(_))), "it was put a moment ago");
    let desk = Desk { askers: next, ..desk };
    assert!(matches!(desk.look(&asked), Ok(Answered::Waiting(_))), "and the next version knows it");
    assert_eq!(idp.asked("token"), 0, "so nobody was asked too early");
    idp.answers("alice", &approve("aal2"));
    assert!(matches!(desk.answer(&asked), Ok(Answered::Proven(_))));
}

#[test]
fn an_issuer_may_be_told_where_to_send_word() {
    let (idp, gateway) = (Idp::start(), Recorder::start());
    let desk = Desk::new(&idp, "desk-ping", "desk-ping-secret");
    idp.relay_to(gateway.address);
    let without = desk.ask_by("alice", None).map(|_| ());
    assert_eq!(without, Err(PromptFault::Unavailable), "this client must say by what it knows the issuer");
    idp.answers("alice", &approve("aal2"));
    let ask = Ask {
        issuer: "https://login.test",
        subject: "alice",
        id_token: None,
        label: LABEL,
        code: "K742",
        acr_values: &["urn:clinic:loa:2".into()],
        language: "en",
        come_back: "",
        notification_token: Some("n-4711"),
    };
    let asked = desk.runtime.block_on(desk.askers.ask(PHONE, &ask)).expect("asked");
    assert_eq!(asked.interval, Duration::from_secs(10), "it is looked at seldom");
    eventually("the issuer sends word", LONG, || gateway.count() == 1);
    let word = gateway.requests().pop().expect("a request");
    assert_eq!(word.values("authorization"), ["Bearer n-4711"]);
    let shown = last_shown(&idp);
    let name = shown["auth_req_id"].as_str().expect("a name");
    assert_eq!(word.body, json!({ "auth_req_id": name }).to_string().as_bytes());
    assert!(desk.askers.is_named(PHONE, &asked.handle, name));
    assert!(
        !desk.askers.is_named(PHONE, &asked.handle, "another")
            && !desk.askers.is_named(0, &asked.handle, name)
    );
    assert!(matches!(desk.look(&asked), Ok(Answered::Waiting(_))), "it is not time yet");
    assert_eq!(idp.asked("token"), 0);
    desk.askers.hasten(PHONE, &asked.handle);
    assert!(matches!(desk.look(&asked), Ok(Answered::Proven(_))), "but who has heard need not wait");
}

#[test]
fn a_gateway_says_that_nobody_can_be_asked_on_the_phone() {
    let (idp, upstream) = (Idp::start(), Recorder::start());
    let more = "    audiences: [portal-es256]
    jwks: { refresh: 1s, stale_for: 2s, stale_for_critical: 1s, unknown_kid_interval: 1s, timeout: 1s }
    sign_in: { client_id: desk, client_secret_file: secret, origins: [https://portal.example] }
step_up:
  - { name: phone, type: ciba, issuer: clinic, client_id: desk-phone, client_secret_file: secret }
";
    let gateway = Gateway::start(&super::config(&idp.issuer, more, upstream.address, super::ROUTES), |dir| {
        std::fs::write(dir.join("secret"), SECRET).expect("written");
    });
    let notices = || gateway.telemetry_page("/readyz").json()["notices"].to_string();
    let told = "addresses for asking on the phone";
    eventually("all is well", LONG, || !notices().contains(told));
    idp.fail("discovery", Some("500"));
    eventually("it is told", LONG, || notices().contains(told));
    idp.fail("discovery", None);
    eventually("all is well again", LONG, || !notices().contains(told));
    super::assert_no_panic(&gateway);
}
