//! A service that behaves as each test wants: also badly.

use serde_json::{Value, json};

use super::*;
use crate::identity::Level;
use crate::identity::assurance::Levels;
use crate::identity::testing::{Minter, changed, encode};
use crate::keys::testing::{Asked as Seen, Reply, Server, install_crypto};

const ASK: Ask<'static> = Ask {
    notification_token: None,
    issuer: "https://login.test/realms/people",
    subject: "alice",
    id_token: Some("h.p.s"),
    label: "Pay a bill",
    code: "K742",
    acr_values: &[],
    language: "es",
    come_back: "https://portal.test/_wardgate/step-up?intent=i",
};

fn granted() -> Level {
    Levels::new(["aal1", "aal2"]).find("aal2").expect("a level")
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn created(more: &Value) -> Reply {
    let good = json!({"id": "p-1", "interval": 2, "expires_in": 60});
    Reply::Answer { status: 201, body: changed(good, more).to_string() }
}

/// A service, the asker for it, and the key of its results.
struct Pair {
    server: Server,
    asker: Arc<ServiceAsker>,
    minter: Minter,
    _dir: tempfile::TempDir,
}

impl Pair {
    async fn new(reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        install_crypto();
        let server = Server::start(reply).await;
        let (minter, dir) = (Minter::es256("k-1"), tempfile::tempdir().expect("dir"));
        let (secret_file, keys_file) = (dir.path().join("secret"), dir.path().join("keys"));
        std::fs::write(&secret_file, "s3cret\n").expect("written");
        std::fs::write(&keys_file, minter.jwks()).expect("written");
        let settings = HttpAskerSettings {
            url: Url::parse(&server.address("/v1")).expect("address"),
            secret_file,
            keys_file,
            grants: granted(),
            timeout: Duration::from_millis(500),
        };
        let asker = ServiceAsker::new(&settings, &Runtime::current(), None).expect("asker");
        Self { server, asker, minter, _dir: dir }
    }

    /// A result for a prompt, with some of its header and its claims changed.
    fn result(&self, handle: &Handle, header: &Value, claims: &Value) -> String {
        let now = now();
        let good = json!({
            "iss": self.server.address("/v1"), "aud": "wardgate", "sub": "alice", "jti": &*handle.id,
            "nonce": &*handle.nonce, "iat": now, "exp": now + 60, "auth_time": now, "amr": ["face"],
        });
        let header = changed(json!({"typ": "wardgate-step-up+jwt"}), header);
        self.minter.token(&header, &changed(good, claims))
    }
}

fn handle() -> Handle {
    let asked_at = now();
    Handle {
        id: "p-1".into(),
        nonce: "n-1".into(),
        asked_at,
        expires_at: asked_at + 60,
        interval: Duration::from_secs(2),
    }
}

#[tokio::test]
async fn a_question_says_what_the_person_needs_and_no_more() {
    let pair = Pair::new(|_| created(&json!({"page": "https://proof.test/p/1"}))).await;
    let asked = pair.asker.ask(&ASK).await.expect("asked");
    assert_eq!((asked.interval, asked.expires_in), (Duration::from_secs(2), Duration::from_secs(60)));
    assert_eq!(asked.page.as_deref(), Some("https://proof.test/p/1"));
    let seen = pair.server.asked().pop().expect("one");
    assert_eq!((&*seen.method, &*seen.path, &*seen.authorization), ("POST", "/v1/prompts", "Bearer s3cret"));
    let body: Value = serde_json::from_str(&seen.body).expect("json");
    let nonce = body["nonce"].as_str().expect("a nonce");
    assert!(asked.handle.contains(nonce));
    let expected = json!({
        "person": {"issuer": ASK.issuer, "subject": "alice"}, "label": "Pay a bill", "code": "K742",
        "language": "es", "acr_values": [], "come_back": ASK.come_back, "nonce": nonce,
    });
    assert_eq!(body, expected);
    // Another time it is another number.
    pair.asker.ask(&ASK).await.expect("asked");
    assert!(!pair.server.asked().pop().expect("one").body.contains(nonce));
}

#[tokio::test]
async fn a_service_that_does_not_keep_to_the_contract_asks_nobody() {
    let huge = format!("{{\"id\":\"{}\"}}", "p".repeat(600 * 1024));
    for (reply, word) in [
        (Reply::json(r#"{"id":"p-1","expires_in":60}"#), "status 200"),
        (Reply::status(401), "secret_file"),
        (Reply::status(404), "`url`"),
        (Reply::status(429), "no more prompts"),
        (Reply::status(503), "status 503"),
        (Reply::Redirect("http://127.0.0.1:1/".into()), "redirect"),
        (Reply::Answer { status: 307, body: "{}".into() }, "redirect"),
        (Reply::Hang, "in time"),
        (Reply::HangInBody, "in time"),
        (Reply::Close, "reached"),
        (Reply::Endless, "512 KiB"),
        (Reply::Answer { status: 201, body: huge }, "512 KiB"),
        (created(&json!({"id": "../../admin"})), "acknowledgement"),
        (created(&json!({"expires_in": null})), "acknowledgement"),
        (created(&json!({"page": "http://proof.test/"})), "`page`"),
        (created(&json!({"page": "javascript:alert(1)"})), "`page`"),
    ] {
        let name = format!("{reply:.60?}");
        let pair = Pair::new(move |_| reply.clone()).await;
        assert_eq!(pair.asker.ask(&ASK).await.err(), Some(PromptFault::Unavailable), "{name}");
        let told = pair.asker.unready().expect("trouble");
        assert!(told.contains(word) && !told.contains("s3cret") && !told.contains("alice"), "{name}: {told}");
    }
    let pair = Pair::new(|_| Reply::status(422)).await;
    assert_eq!(pair.asker.ask(&ASK).await.err(), Some(PromptFault::NotReachable));
    assert_eq!(pair.asker.unready(), None);
}

#[tokio::test]
async fn a_prompt_with_a_page_of_no_use_is_taken_back() {
    let pair = Pair::new(|_| created(&json!({"page": "http://proof.test/"}))).await;
    assert_eq!(pair.asker.ask(&ASK).await.err(), Some(PromptFault::Unavailable));
    let seen = pair.server.asked().pop().expect("asked");
    assert_eq!((&*seen.method, &*seen.path), ("DELETE", "/v1/prompts/p-1"));
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_second_question() {
    let tries = std::sync::atomic::AtomicU32::new(0);
    let pair = Pair::new(move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => Reply::CutShort,
        _ => created(&json!({})),
    })
    .await;
    pair.asker.ask(&ASK).await.expect("asked");
    let asked = pair.server.asked();
    // The key by which the service knows it again is in the real service's test.
    assert_eq!((asked.len(), &asked[0].body), (2, &asked[1].body));
}

/// What a result comes to that was made so; each needs its own prompt.
async fn verdict(make: impl Fn(&Pair, &Handle) -> Value) -> Outcome<Answered> {
    let answer = Arc::new(Mutex::new(Value::Null));
    let said = Arc::clone(&answer);
    let pair = Pair::new(move |_| Reply::json(&said.lock().expect("lock").to_string())).await;
    let handle = handle();
    *answer.lock().expect("lock") = make(&pair, &handle);
    pair.asker.answered(&handle.text(), now()).await
}

#[tokio::test]
async fn a_result_for_this_prompt_is_proof_of_the_configured_level() {
    let proven = |pair: &Pair, handle: &Handle| {
        let result = pair.result(handle, &json!({}), &json!({"acr": "aal9", "level": "aal9"}));
        json!({"state": "proven", "result": result})
    };
    let Ok(Answered::Proven(proof)) = verdict(proven).await else { panic!("not proven") };
    assert_eq!((&*proof.subject, proof.level), ("alice", granted()));
    assert_eq!(proof.methods, [Box::from("face")]);
    for (state, answered) in [("declined", Answered::Declined), ("expired", Answered::Expired)] {
        assert_eq!(verdict(|_, _| json!({"state": state})).await, Ok(answered));
    }
    let waiting = |seconds| Ok(Answered::Waiting(Duration::from_secs(seconds)));
    assert_eq!(verdict(|_, _| json!({"state": "waiting"})).await, waiting(2));
    assert_eq!(verdict(|_, _| json!({"state": "waiting", "interval": 7})).await, waiting(7));
}

#[tokio::test]
async fn a_result_that_is_not_this_service_s_for_this_prompt_proves_nothing() {
    let none = json!({});
    for (header, claims, why) in [
        (json!({"typ": null}), none.clone(), "result_type"),
        (json!({"typ": "at+jwt"}), none.clone(), "result_type"),
        (json!({"typ": "JWT"}), none.clone(), "result_type"),
        (json!({"kid": "k-2"}), none.clone(), "token_unknown_key"),
        (json!({"alg": "none"}), none.clone(), "token_algorithm_not_allowed"),
        (json!({"alg": "HS256"}), none.clone(), "token_algorithm_not_allowed"),
        (json!({"alg": "RS256"}), none.clone(), "token_unknown_key"),
        (json!({"jwk": {}}), none.clone(), "token_header_not_allowed"),
        (json!({"crit": ["exp"]}), none.clone(), "token_header_not_allowed"),
        (none.clone(), json!({"iss": null}), "token_unknown_issuer"),
        (none.clone(), json!({"iss": "https://login.test/realms/people"}), "token_unknown_issuer"),
        (none.clone(), json!({"aud": "portal"}), "result_audience"),
        (none.clone(), json!({"jti": "p-2"}), "result_other_prompt"),
        (none.clone(), json!({"nonce": "n-2"}), "result_nonce"),
        (none.clone(), json!({"exp": now() - 1}), "result_time"),
        (none.clone(), json!({"iat": now() - 3_600, "exp": now() + 60}), "result_time"),
        (none.clone(), json!({"auth_time": null}), "result_authentication"),
        (none.clone(), json!({"amr": null}), "result_authentication"),
        (none.clone(), json!({"sub": null}), "result_claim"),
        (none.clone(), json!({"more": "x".repeat(MOST_RESULT)}), "result_too_large"),
    ] {
        let make = |pair: &Pair, handle: &Handle| json!({"state": "proven", "result": pair.result(handle, &header, &claims)});
        assert_eq!(verdict(make).await, Err(PromptFault::Refused(why)), "{header} {claims:.80}");
    }
    let other_key = |pair: &Pair, handle: &Handle| {
        let mine = pair.result(handle, &none, &none);
        let (signed, _) = mine.rsplit_once('.').expect("a token");
        let (header, payload) = signed.split_once('.').expect("a token");
        json!({"state": "proven", "result": Minter::es256("k-1").sign(header, payload)})
    };
    assert_eq!(verdict(other_key).await, Err(PromptFault::Refused("token_bad_signature")));
    let unsigned = |pair: &Pair, handle: &Handle| {
        let mine = pair.result(handle, &none, &none);
        let payload = mine.split('.').nth(1).expect("a token");
        let header = encode(r#"{"typ":"wardgate-step-up+jwt","alg":"none"}"#);
        json!({"state": "proven", "result": format!("{header}.{payload}.")})
    };
    assert_eq!(verdict(unsigned).await, Err(PromptFault::Refused("token_algorithm_not_allowed")));
    for (answer, why) in [
        (json!({"state": "proven"}), "result_missing"),
        (json!({"state": "proven", "result": {"sub": "alice"}}), "result_missing"),
        (json!({"state": "proven", "result": "yes"}), "token_malformed"),
        (json!({"state": "done"}), "answer_malformed"),
        (json!([]), "answer_malformed"),
        (json!({"state": "waiting", "more": "x".repeat(600 * 1024)}), "answer_too_large"),
    ] {
        assert_eq!(verdict(|_, _| answer.clone()).await, Err(PromptFault::Refused(why)), "{why}");
    }
}

#[tokio::test]
async fn where_the_service_does_not_answer_nothing_is_decided() {
    for (reply, fault) in [
        (Reply::status(404), PromptFault::Refused("prompt_unknown")),
        (Reply::status(401), PromptFault::Unavailable),
        (Reply::status(500), PromptFault::Unavailable),
        (Reply::Redirect("http://127.0.0.1:1/".into()), PromptFault::Unavailable),
        (Reply::Hang, PromptFault::Unavailable),
        (Reply::Close, PromptFault::Unavailable),
    ] {
        let name = format!("{reply:?}");
        let pair = Pair::new(move |_| reply.clone()).await;
        assert_eq!(pair.asker.answered(&handle().text(), now()).await, Err(fault), "{name}");
        let told = pair.asker.unready().unwrap_or_default();
        assert!(!told.contains("p-1"), "whoever knows a prompt's name can ask about it: {told}");
    }
}

#[tokio::test]
async fn nobody_is_asked_about_what_is_over_or_was_looked_at_just_now() {
    let pair = Pair::new(|_| Reply::json(r#"{"state":"waiting"}"#)).await;
    let handle = handle();
    let over = pair.asker.answered(&handle.text(), handle.expires_at + GRACE + 1).await;
    assert_eq!((over, pair.server.asked().len()), (Ok(Answered::Expired), 0));
    let unknown = pair.asker.answered("p-1", now()).await;
    assert_eq!((unknown, pair.server.asked().len()), (Err(PromptFault::Refused("no_question")), 0));
    for _ in 0..20 {
        assert!(matches!(pair.asker.answered(&handle.text(), now()).await, Ok(Answered::Waiting(_))));
    }
    assert!(pair.server.asked().len() < 20, "one look in a second is enough");
}

#[test]
fn files_that_are_of_no_use_are_said_at_start() {
    install_crypto();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let dir = tempfile::tempdir().expect("dir");
    let (secret_file, keys_file) = (dir.path().join("secret"), dir.path().join("keys"));
    let settings = HttpAskerSettings {
        url: Url::parse("https://proof.test/v1").expect("address"),
        secret_file: secret_file.clone(),
        keys_file: keys_file.clone(),
        grants: Level::NONE,
        timeout: Duration::from_secs(1),
    };
    let said = |secret: &str, keys: &str| {
        std::fs::write(&secret_file, secret).expect("written");
        std::fs::write(&keys_file, keys).expect("written");
        match ServiceAsker::new(&settings, runtime.handle(), None) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    };
    let keys = Minter::es256("k").jwks();
    assert_eq!(said("s3cret", &keys), "");
    assert!(said(" \n", &keys).contains("is empty"));
    assert!(said("a\nb", &keys).contains("no header"));
    assert!(said("s3cret", "{}").contains("JWK set (RFC 7517)"));
    let shared = r#"{"keys":[{"kty":"oct","k":"czNjcmV0","alg":"HS256"}]}"#;
    assert!(said("s3cret", shared).contains("none of its 1 keys"), "a shared key signs nothing here");
}

/// The contract as other people read it.
fn contract() -> Value {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/step-up-service.yaml"));
    serde_saphyr::from_str(text).expect("YAML")
}

#[tokio::test]
async fn the_contract_says_what_is_said() {
    let contract = contract();
    let schema = |name: &str| contract["components"]["schemas"][name].clone();
    let names = |object: &Value| {
        let members = object.as_object().expect("an object");
        members.keys().cloned().collect::<std::collections::BTreeSet<_>>()
    };
    let words = |list: &Value| {
        let words = list.as_array().expect("a list").iter().filter_map(Value::as_str);
        words.map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    };
    let pair = Pair::new(|_| created(&json!({}))).await;
    pair.asker.ask(&ASK).await.expect("asked");
    let body: Value = serde_json::from_str(&pair.server.asked()[0].body).expect("json");
    let question = schema("Question");
    assert_eq!(names(&body), words(&question["required"]), "all of it is always sent");
    assert_eq!(names(&body), names(&question["properties"]));
    assert_eq!(names(&body["person"]), names(&question["properties"]["person"]["properties"]));
    // Whatever a result must hold is looked at, and without it the result is refused.
    for claim in words(&schema("Result")["required"]) {
        let make = |pair: &Pair, handle: &Handle| json!({"state": "proven", "result": pair.result(handle, &json!({}), &json!({ &*claim: null }))});
        assert!(matches!(verdict(make).await, Err(PromptFault::Refused(_))), "{claim}");
    }
    // The examples are read as they are meant.
    let prompts = &contract["paths"]["/prompts"]["post"];
    let example = &prompts["responses"]["201"]["content"]["application/json"]["example"];
    let prompt = Acknowledged::read(example.to_string().as_bytes()).expect("read");
    assert!(prompt.page.is_some_and(|page| wire::page(&page).is_ok()));
    let examples = &contract["paths"]["/prompts/{id}"]["get"]["responses"]["200"]["content"]["application/json"]
        ["examples"];
    let states = words(&schema("Answer")["properties"]["state"]["enum"]);
    assert_eq!(names(examples), states);
    for state in states {
        let read = State::read(examples[&state]["value"].to_string().as_bytes());
        assert!(read.is_some(), "{state}");
    }
    assert_eq!(schema("Answer")["properties"]["result"]["maxLength"], MOST_RESULT);
}

#[tokio::test]
async fn an_account_is_known_by_a_digest_that_only_the_two_can_make() {
    let pair = Pair::new(|_| created(&json!({}))).await;
    let name = |written: &str| pair.asker.account_name(&Account::parse(written).expect("a name"));
    // printf wardgate-account:alice | openssl dgst -sha256 -hmac s3cret -binary | basenc --base64url
    assert_eq!(&*name("alice"), "hez6p3NLZw3bsi6b5AcHCgxfsHDdSLnvTZ6x4hpICbY");
    assert_eq!(name("alice"), name(" ALICE"));
    assert_ne!(name("alice"), name("bob"));
}
