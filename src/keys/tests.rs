//! Tokens of issuers on loopback, from the first request to the rotation of keys.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::testing::{Gateway, Reply, Server};
use super::*;
use crate::identity::testing::{Minter, NOW, claims, jwks};

fn good(minter: &Minter) -> Token {
    Token::new(&minter.token(&json!({}), &claims(&json!({})))).expect("token")
}

/// A server that gives whatever key set is in the slot, or fails where that is empty.
async fn issuer(slot: &Arc<Mutex<String>>) -> Server {
    let slot = Arc::clone(slot);
    Server::start(move |_| match slot.lock().expect("lock").as_str() {
        "" => Reply::status(503),
        keys => Reply::json(keys),
    })
    .await
}

async fn outcome(verifier: &Verifier, token: &Token) -> Result<String, &'static str> {
    match verifier.identify(token, NOW).await.identity {
        Identity::Known(subject) => Ok(subject.qualified_id()),
        Identity::Refused(fault) => Err(fault.code()),
        Identity::Unavailable | Identity::SessionUnavailable => Err("unavailable"),
        Identity::Nobody | Identity::Malformed(_) => Err("not looked at"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_cold_requests_make_one_fetch() {
    let minter = Minter::es256("k1");
    let keys = minter.jwks();
    let server =
        Server::start(move |_| Reply::After(Duration::from_millis(300), Box::new(Reply::json(&keys)))).await;
    let verifier = Gateway::keys_at(&server.address("/keys")).verifier();
    let mut requests = JoinSet::new();
    for number in 0..10_000 {
        let token = minter.token(&json!({}), &claims(&json!({ "jti": number.to_string() })));
        let (verifier, token) = (Arc::clone(&verifier), Token::new(&token).expect("token"));
        requests.spawn(async move { outcome(&verifier, &token).await });
    }
    while let Some(result) = requests.join_next().await {
        assert_eq!(result.expect("request"), Ok("people:alice".into()));
    }
    assert_eq!(server.count("/keys"), 1);
}

#[tokio::test]
async fn made_up_key_names_make_one_fetch_in_the_interval() {
    let (minter, stranger) = (Minter::es256("k1"), Minter::es256("x"));
    let server = issuer(&Arc::new(Mutex::new(minter.jwks()))).await;
    let verifier = Gateway::keys_at(&server.address("/keys")).verifier();
    assert!(outcome(&verifier, &good(&minter)).await.is_ok());
    for number in 0..5000 {
        let token = stranger.token(&json!({ "kid": format!("k{number}x") }), &claims(&json!({})));
        assert_eq!(outcome(&verifier, &Token::new(&token).expect("token")).await, Err("token_unknown_key"));
    }
    assert_eq!(server.count("/keys"), 2);
}

#[tokio::test]
async fn a_known_key_never_waits_for_the_search_for_an_unknown_one() {
    let (minter, first) = (Minter::es256("k1"), AtomicUsize::new(0));
    let keys = minter.jwks();
    let server = Server::start(move |_| match first.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::json(&keys),
        _ => Reply::Hang,
    })
    .await;
    let verifier = Gateway::keys_at(&server.address("/keys")).verifier();
    assert!(outcome(&verifier, &good(&minter)).await.is_ok());
    let (own, unknown) = (Arc::clone(&verifier), good(&Minter::es256("new")));
    let search = tokio::spawn(async move { outcome(&own, &unknown).await });
    while server.count("/keys") < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let another = minter.token(&json!({}), &claims(&json!({ "jti": "t-2" })));
    assert!(outcome(&verifier, &Token::new(&another).expect("token")).await.is_ok());
    assert!(!search.is_finished());
    assert_eq!(
        search.await.expect("search"),
        Err("unavailable"),
        "nobody can say whether there is such a key"
    );
}

#[tokio::test]
async fn a_rotation_is_followed_and_a_vanished_key_takes_its_tokens_along() {
    let (old, new) = (Minter::es256("k1"), Minter::es256("k2"));
    let slot = Arc::new(Mutex::new(old.jwks()));
    let server = issuer(&slot).await;
    let verifier = Gateway::keys_at(&server.address("/keys")).verifier();
    assert!(outcome(&verifier, &good(&old)).await.is_ok());
    // First both, as issuers should: what was remembered stays.
    *slot.lock().expect("lock") = jwks(&[&old, &new]);
    assert!(outcome(&verifier, &good(&new)).await.is_ok());
    assert_eq!(server.count("/keys"), 2);
    let remembered = good(&old);
    assert!(outcome(&verifier, &remembered).await.is_ok());
    // Then the old one is gone: withdrawn perhaps because it was stolen.
    *slot.lock().expect("lock") = new.jwks();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    assert_eq!(outcome(&verifier, &good(&Minter::es256("k3"))).await, Err("token_unknown_key"));
    assert_eq!(server.count("/keys"), 3);
    assert_eq!(outcome(&verifier, &remembered).await, Err("token_unknown_key"));
    assert!(outcome(&verifier, &good(&new)).await.is_ok());
    assert_eq!(server.count("/keys"), 3);
}

#[tokio::test]
async fn stale_keys_serve_up_to_their_limits() {
    let minter = Minter::es256("k1");
    let slot = Arc::new(Mutex::new(minter.jwks()));
    let server = issuer(&slot).await;
    let verifier = Gateway::keys_at(&server.address("/keys")).verifier();
    assert_eq!(verifier.unready().len(), 1);
    let token = good(&minter);
    assert!(!verifier.identify(&token, NOW).await.too_stale_for_critical);
    assert!(verifier.unready().is_empty());
    slot.lock().expect("lock").clear();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(601)).await;
    for token in
        [&token, &Token::new(&minter.token(&json!({}), &claims(&json!({ "jti": "2" })))).expect("token")]
    {
        let identified = verifier.identify(token, NOW).await;
        assert!(matches!(identified.identity, Identity::Known(_)) && identified.too_stale_for_critical);
    }
    tokio::time::advance(Duration::from_secs(3000)).await;
    assert_eq!(outcome(&verifier, &token).await, Err("unavailable"), "remembered or not");
    let [reason] = &verifier.unready()[..] else { panic!("one issuer") };
    assert!(reason.contains("`people`") && reason.contains("3601 s"), "{reason}");
}

#[tokio::test]
async fn every_kind_of_bad_answer_is_an_outage_and_is_not_repeated_at_once() {
    let minter = Minter::es256("k1");
    for reply in [
        Reply::status(404),
        Reply::status(500),
        Reply::Redirect("/keys2".into()),
        Reply::Close,
        Reply::CutShort,
        Reply::Endless,
        Reply::Hang,
        Reply::HangInBody,
        Reply::json("<html>"),
        Reply::json("{}"),
        Reply::json(r#"{"keys":[]}"#),
        Reply::json(r#"{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"k1"}]}"#),
    ] {
        let wanted = reply.clone();
        let server = Server::start(move |_| wanted.clone()).await;
        let verifier = Gateway::keys_at(&server.address("/keys")).verifier();
        for _ in 0..10 {
            assert_eq!(outcome(&verifier, &good(&minter)).await, Err("unavailable"), "{reply:?}");
        }
        assert_eq!((server.count("/keys"), server.count("/keys2")), (1, 0), "{reply:?}");
        assert_eq!(verifier.unready().len(), 1);
    }
}

#[tokio::test]
async fn the_issuer_picks_the_keys() {
    let (minter, other) = (Minter::es256("k1"), Minter::es256("k1"));
    let mut gateway = Gateway::keys_in_file(&minter.jwks());
    gateway.add("https://other.test", &other.jwks());
    let verifier = gateway.verifier();
    assert_eq!(outcome(&verifier, &good(&minter)).await, Ok("people:alice".into()));
    assert_eq!(outcome(&verifier, &good(&other)).await, Err("token_bad_signature"));
    let from = |minter: &Minter, issuer: &str| {
        Token::new(&minter.token(&json!({}), &claims(&json!({ "iss": issuer })))).expect("token")
    };
    assert_eq!(outcome(&verifier, &from(&other, "https://other.test")).await, Ok("other:alice".into()));
    assert_eq!(outcome(&verifier, &from(&minter, "https://other.test")).await, Err("token_bad_signature"));
    assert_eq!(outcome(&verifier, &from(&minter, "https://else.test")).await, Err("token_unknown_issuer"));
    for text in ["opaque", "a.b", "a.b.c.d.e"] {
        assert_eq!(
            outcome(&verifier, &Token::new(text).expect("token")).await,
            Err("token_malformed"),
            "{text}"
        );
    }
    assert!(verifier.unready().is_empty());
}

#[tokio::test]
async fn a_remembered_token_ends_with_its_exp_and_a_changed_byte_is_another_token() {
    let minter = Minter::es256("k1");
    let verifier = Gateway::keys_in_file(&minter.jwks()).verifier();
    let token = good(&minter);
    for _ in 0..2 {
        assert!(outcome(&verifier, &token).await.is_ok());
    }
    let forged = Token::new(&token.as_str().replacen('.', ".e", 1)).expect("token");
    assert!(outcome(&verifier, &forged).await.is_err());
    let late = verifier.identify(&token, NOW + 300).await.identity;
    assert!(matches!(late, Identity::Refused(TokenFault::Expired)), "{late:?}");
}

#[tokio::test]
async fn the_background_fetches_by_itself_and_again() {
    let minter = Minter::es256("k1");
    let server = issuer(&Arc::new(Mutex::new(minter.jwks()))).await;
    let verifier =
        Gateway::keys_at(&server.address("/keys")).refreshed_every(Duration::from_millis(50)).verifier();
    let background = tokio::spawn(Arc::clone(&verifier).background());
    while server.count("/keys") < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(verifier.unready().is_empty());
    background.abort();
}

/// Requests come on runtimes that may stop, or whose futures are dropped; the fetch belongs to neither.
#[test]
fn a_fetch_outlives_the_request_and_the_runtime_that_started_it() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime")
    };
    let (own, minter) = (runtime(), Minter::es256("k1"));
    let keys = minter.jwks();
    let server = own.block_on(Server::start(move |_| {
        Reply::After(Duration::from_millis(200), Box::new(Reply::json(&keys)))
    }));
    let verifier = own.block_on(async { Gateway::keys_at(&server.address("/keys")).verifier() });
    let worker = runtime();
    worker.block_on(async {
        let impatient =
            tokio::time::timeout(Duration::from_millis(50), outcome(&verifier, &good(&minter))).await;
        assert!(impatient.is_err());
    });
    drop(worker);
    let another = runtime();
    assert_eq!(another.block_on(outcome(&verifier, &good(&minter))), Ok("people:alice".into()));
    assert_eq!(server.count("/keys"), 1);
}
