//! The issuer answers well, badly, twice, or not at all.

use serde_json::json;
use tokio::task::JoinSet;

use super::*;
use crate::config::settings::KeySource;
use crate::enforce::ports::Identities as _;
use crate::identity::testing::{ISSUER, Minter, NOW, changed, claims};
use crate::keys::testing::{Asked, Gateway, Reply, Server};
use crate::keys::{Proof, Verifier};
use crate::request::credentials::Token;

const MINUTE: Duration = Duration::from_secs(60);

fn gateway(endpoint: Option<String>) -> Gateway {
    let mut gateway = Gateway::new(ISSUER, KeySource::Discovery);
    let client_secret_file = gateway.file("secret", "s3:cret é\n");
    let endpoint = endpoint.map(Into::into);
    let settings = &mut gateway.settings[0];
    let (cache, timeout) = (MINUTE, Duration::from_secs(1));
    settings.source = KeySource::Introspection {
        endpoint,
        client_id: "gate way".into(),
        client_secret_file,
        cache,
        timeout,
    };
    gateway
}

fn answer(change: &Value) -> Reply {
    Reply::json(&changed(claims(&json!({ "active": true })), change).to_string())
}

/// An issuer that knows `token=NAME…` as the token of NAME.
fn by_name(asked: &Asked) -> Reply {
    let token =
        form_urlencoded::parse(asked.body.as_bytes()).find(|(name, _)| name == "token").expect("token").1;
    answer(&json!({ "sub": token.split('-').next() }))
}

async fn outcome(verifier: &Verifier, token: &str) -> Result<String, &'static str> {
    match verifier.identify(&Token::new(token).expect("token"), NOW).await.identity {
        Identity::Known(subject) => Ok(subject.qualified_id()),
        Identity::Refused(fault) => Err(fault.code()),
        _ => Err("unavailable"),
    }
}

#[tokio::test]
async fn a_good_answer_is_remembered_for_a_while_but_not_beyond_exp() {
    let server = Server::start(|_| answer(&json!({ "exp": NOW + 30 }))).await;
    let verifier = gateway(Some(server.address("/introspect"))).verifier();
    for _ in 0..3 {
        assert_eq!(outcome(&verifier, "opaque").await, Ok("people:alice".into()));
    }
    assert_eq!(server.count("/introspect"), 1);
    let later = verifier.identify(&Token::new("opaque").expect("token"), NOW + 30).await.identity;
    assert!(matches!(later, Identity::Refused(TokenFault::Expired)));
    assert_eq!(server.count("/introspect"), 2);
    tokio::time::pause();
    tokio::time::advance(MINUTE).await;
    tokio::time::resume();
    assert!(outcome(&verifier, "opaque").await.is_ok());
    assert_eq!(server.count("/introspect"), 3);
}

#[tokio::test]
async fn the_question_is_asked_as_the_rfc_wants_it() {
    let server = Server::start(|_| answer(&json!({}))).await;
    let verifier = gateway(Some(server.address("/introspect?realm=x"))).verifier();
    assert!(outcome(&verifier, "a+b/c==").await.is_ok());
    let asked = &server.asked()[0];
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/introspect?realm=x"));
    assert_eq!(asked.body, "token=a%2Bb%2Fc%3D%3D&token_type_hint=access_token");
    // `gate+way:s3%3Acret+%C3%A9`
    assert_eq!(asked.authorization, "Basic Z2F0ZSt3YXk6czMlM0FjcmV0KyVDMyVBOQ==");
}

#[tokio::test]
async fn a_refusal_is_the_issuers_word_and_is_not_remembered() {
    for (reply, code) in [
        (Reply::json(r#"{"active":false}"#), "token_inactive"),
        (answer(&json!({ "exp": NOW })), "token_expired"),
        (answer(&json!({ "exp": null })), "token_missing_claim"),
        (answer(&json!({ "aud": "other" })), "token_wrong_audience"),
        (answer(&json!({ "sub": 1 })), "token_bad_claim"),
        (answer(&json!({ "iss": "https://else.test" })), "token_unknown_issuer"),
    ] {
        let server = Server::start(move |_| reply.clone()).await;
        let verifier = gateway(Some(server.address("/introspect"))).verifier();
        assert_eq!(outcome(&verifier, "opaque").await, Err(code));
        assert_eq!(outcome(&verifier, "opaque").await, Err(code));
        assert_eq!(server.count("/introspect"), 2);
    }
}

#[tokio::test]
async fn everything_else_is_an_outage() {
    for reply in [
        Reply::status(401),
        Reply::status(403),
        Reply::status(400),
        Reply::status(500),
        Reply::Redirect("/elsewhere".into()),
        Reply::Close,
        Reply::CutShort,
        Reply::Hang,
        Reply::Endless,
        Reply::json("<html>"),
        Reply::json("[]"),
        Reply::json("{}"),
        Reply::json(r#"{"active":"true"}"#),
        Reply::json(r#"{"active":false,"active":true}"#),
    ] {
        let wanted = reply.clone();
        let server = Server::start(move |_| wanted.clone()).await;
        let verifier = gateway(Some(server.address("/introspect"))).verifier();
        assert_eq!(outcome(&verifier, "opaque").await, Err("unavailable"), "{reply:?}");
        assert_eq!(server.asked().len(), 1, "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_show_one_token_make_one_question_and_no_two_tokens_are_mixed_up() {
    let server =
        Server::start(|asked| Reply::After(Duration::from_millis(200), Box::new(by_name(asked)))).await;
    let verifier = gateway(Some(server.address("/introspect"))).verifier();
    let mut requests = JoinSet::new();
    for number in 0..5000 {
        let (verifier, name) = (Arc::clone(&verifier), format!("user{}", number % 10));
        requests.spawn(async move {
            (outcome(&verifier, &format!("{name}-secret")).await, format!("people:{name}"))
        });
    }
    while let Some(result) = requests.join_next().await {
        let (got, wanted) = result.expect("request");
        assert_eq!(got, Ok(wanted));
    }
    assert_eq!(server.count("/introspect"), 10);
}

#[tokio::test]
async fn too_many_questions_at_once_are_not_asked() {
    let server = Server::start(|_| Reply::Hang).await;
    let verifier = gateway(Some(server.address("/introspect"))).verifier();
    let mut requests = JoinSet::new();
    for number in 0..MAX_QUESTIONS + 50 {
        let verifier = Arc::clone(&verifier);
        requests.spawn(async move {
            let start = Instant::now();
            assert_eq!(outcome(&verifier, &format!("token{number}")).await, Err("unavailable"));
            start.elapsed()
        });
    }
    let mut at_once = 0;
    while let Some(waited) = requests.join_next().await {
        at_once += usize::from(waited.expect("request") < Duration::from_millis(900));
    }
    assert_eq!(at_once, 50);
    assert!(server.asked().len() <= MAX_QUESTIONS);
    // All come to an end, so there is room again.
    let Proof::Answer(introspector) = &verifier.issuers[0].proof else { panic!("introspection") };
    while !introspector.flights().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_issuers_jwts_are_asked_about_too() {
    let server = Server::start(|_| Reply::json(r#"{"active":false}"#)).await;
    let verifier = gateway(Some(server.address("/introspect"))).verifier();
    let jwt = Minter::es256("any").token(&json!({}), &claims(&json!({})));
    assert_eq!(outcome(&verifier, &jwt).await, Err("token_inactive"));
    let stranger = Minter::es256("any").token(&json!({}), &claims(&json!({ "iss": "https://else.test" })));
    assert_eq!(outcome(&verifier, &stranger).await, Err("token_unknown_issuer"));
    assert_eq!(server.asked().len(), 1, "a token is shown to nobody but its issuer");
}

#[tokio::test]
async fn an_opaque_token_is_not_tried_on_several_issuers() {
    let server = Server::start(|_| answer(&json!({}))).await;
    let mut gateway = gateway(Some(server.address("/introspect")));
    gateway.add("https://other.test", &Minter::es256("k").jwks());
    gateway.settings[1].source = gateway.settings[0].source.clone();
    assert_eq!(outcome(&gateway.verifier(), "opaque").await, Err("token_unknown_issuer"));
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn the_endpoint_can_be_discovered() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/.well-known/openid-configuration" => {
            let base = format!("http://{}", asked.host);
            Reply::json(
                &json!({ "issuer": base, "introspection_endpoint": format!("{base}/ask") }).to_string(),
            )
        }
        _ => answer(&json!({ "iss": null })),
    })
    .await;
    let mut good = gateway(None);
    good.settings[0].issuer = server.address("").into();
    let verifier = good.verifier();
    assert_eq!(verifier.unready().len(), 1);
    assert!(outcome(&verifier, "one").await.is_ok() && outcome(&verifier, "two").await.is_ok());
    assert!(verifier.unready().is_empty());
    assert_eq!((server.count("/.well-known/openid-configuration"), server.count("/ask")), (1, 2));

    let mut nowhere = gateway(None);
    nowhere.settings[0].issuer = "http://127.0.0.1:1".into();
    let verifier = nowhere.verifier();
    assert_eq!(outcome(&verifier, "one").await, Err("unavailable"));
    assert!(verifier.unready()[0].contains("has no introspection endpoint yet"), "{:?}", verifier.unready());
}
