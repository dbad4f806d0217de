//! Logout tokens (OpenID Connect Back-Channel Logout 1.0): forged ones end nothing, whoever signs them.

use serde_json::{Value, json};

use super::forgeries::{of_any_claims, of_any_token};
use super::transmitter::CAEP;
use super::{ROUTES, ask};
use crate::hostile::forge::Forge;
use crate::support::{Gateway, Recorder, Setup, Signer, http, tokens};

const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Nobody answers there: what is tested needs nothing but the keys, which are in a file.
const ISSUER: &str = "http://127.0.0.1:9/realms/patients";

fn start(forge: &Forge, upstream: &Recorder) -> Gateway {
    let sign_in = "    sign_in: { client_id: portal, client_secret_file: secret, origins: [https://portal.example], backchannel_logout: true }\n";
    let config = tokens::config(upstream.address, ROUTES)
        .replace(tokens::ISSUER, ISSUER)
        .replace("    claims: {", &format!("{sign_in}    claims: {{"))
        .replace("upstreams:", "insecure: { plain_http_issuers: [patients] }\nupstreams:");
    let setup = Setup::new(&config, |dir| {
        std::fs::write(dir.join("jwks.json"), forge.jwks()).expect("writable");
        std::fs::write(dir.join("secret"), "desk-secret\n").expect("writable");
    });
    setup.start_unready()
}

fn header() -> Value {
    json!({ "alg": "ES256", "typ": "logout+jwt", "kid": "k1" })
}

fn claims() -> Value {
    let now = jiff::Timestamp::now().as_second();
    json!({
        "iss": ISSUER, "aud": "portal", "iat": now, "exp": now + 120, "jti": uuid::Uuid::now_v7().to_string(),
        "sub": "alice", "sid": "s1", "events": { LOGOUT: {} },
    })
}

fn sign(forge: &Forge, claims: &Value) -> String {
    forge.sign(&header().to_string(), &claims.to_string())
}

/// An access token of alice's session.
fn bearer(forge: &Forge, sid: &str) -> String {
    let mut claims = Signer::claims("p1", "aal1", 5);
    (claims["iss"], claims["sub"], claims["sid"]) = (ISSUER.into(), "alice".into(), sid.into());
    format!("Bearer {}", forge.sign(&Forge::header().to_string(), &claims.to_string()))
}

fn post(gateway: &Gateway, token: &str) -> http::Answer {
    let form = format!("logout_token={token}");
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    http::send(gateway.address, "POST", "/_wardgate/back-channel-logout", &kind, form.as_bytes())
        .expect("an answer")
}

fn results(gateway: &Gateway) -> Vec<String> {
    let records = gateway.audit();
    let of_logout = records.iter().filter(|record| record["what"] == "back_channel_logout");
    of_logout.map(|record| record["result"].as_str().expect("a result").to_owned()).collect()
}

fn changed(claims: &Value, change: Value) -> Value {
    let mut changed = claims.clone();
    for (name, value) in change.as_object().expect("members") {
        let members = changed.as_object_mut().expect("claims");
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    changed
}

#[test]
fn forged_logout_tokens_end_nothing() {
    let (forge, upstream) = (Forge::new(), Recorder::start());
    let gateway = start(&forge, &upstream);
    let alice = bearer(&forge, "s1");
    let (honest, now) = (claims(), jiff::Timestamp::now().as_second());
    let with = |change: Value| sign(&forge, &changed(&honest, change));
    let typed = |typ: &str, claims: &Value| {
        forge.sign(&json!({ "alg": "ES256", "typ": typ, "kid": "k1" }).to_string(), &claims.to_string())
    };
    let access = alice["Bearer ".len()..].to_owned();
    let security_event = changed(
        &honest,
        json!({ "sub": null, "sid": null, "exp": null, "sub_id": { "format": "iss_sub", "iss": ISSUER, "sub": "alice" },
            "events": { format!("{CAEP}session-revoked"): {} } }),
    );
    let mut forgeries = of_any_token(&forge, &header(), &honest);
    forgeries.extend(of_any_claims(|claims| sign(&forge, claims), &honest, "id_token_audience"));
    forgeries.extend([
        ("a nonce", with(json!({ "nonce": "n" })), "id_token_type"),
        ("no events", with(json!({ "events": null })), "id_token_type"),
        ("an empty list of events", with(json!({ "events": {} })), "id_token_type"),
        ("another event", with(json!({ "events": { "other": {} } })), "id_token_type"),
        ("an event that is none", with(json!({ "events": { LOGOUT: true } })), "id_token_type"),
        ("about nobody", with(json!({ "sub": null, "sid": null })), "id_token_claim"),
        ("no name", with(json!({ "jti": null })), "id_token_claim"),
        ("an empty name", with(json!({ "jti": "" })), "id_token_claim"),
        ("a list of subjects", with(json!({ "sub": ["alice"] })), "id_token_claim"),
        ("issued never", with(json!({ "iat": null })), "id_token_claim"),
        ("issued long ago", with(json!({ "iat": now - 700 })), "id_token_time"),
        ("issued tomorrow", with(json!({ "iat": now + 86_400 })), "id_token_time"),
        ("expired", with(json!({ "exp": now - 1 })), "id_token_time"),
        ("an access token", access, "id_token_type"),
        (
            "an ID token",
            typed("JWT", &changed(&honest, json!({ "events": null, "nonce": "n" }))),
            "id_token_type",
        ),
        ("a security event", typed("secevent+jwt", &security_event), "id_token_type"),
        (
            "a security event that says it is a logout token",
            typed("logout+jwt", &security_event),
            "id_token_type",
        ),
        ("a logout token that says it is a security event", typed("secevent+jwt", &honest), "id_token_type"),
        ("a logout token that says it is for access", typed("at+jwt", &honest), "id_token_type"),
    ]);
    for (what, token, _) in &forgeries {
        let refused = post(&gateway, token);
        assert_eq!((refused.status, refused.header("cache-control")), (400, Some("no-store")), "{what}");
    }
    let expected: Vec<String> = forgeries.iter().map(|(.., why)| (*why).to_owned()).collect();
    assert_eq!(results(&gateway), expected);
    assert_eq!(ask(&gateway, &alice), 200);
    // The honest one that all were made from.
    assert_eq!(post(&gateway, &sign(&forge, &honest)).status, 200);
    assert_eq!(ask(&gateway, &alice), 401);
}

#[test]
fn a_logout_token_that_is_shown_again_ends_nothing_that_has_begun_since() {
    let (forge, upstream) = (Forge::new(), Recorder::start());
    let gateway = start(&forge, &upstream);
    // Nobody knows what was shown before the store began.
    gateway.wait_until_proofs_count();
    let token = sign(&forge, &changed(&claims(), json!({ "sid": null })));
    let before = bearer(&forge, "s1");
    assert_eq!(ask(&gateway, &before), 200);
    assert_eq!(post(&gateway, &token).status, 200);
    assert_eq!(ask(&gateway, &before), 401, "all of the subject's sessions");
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    let since = bearer(&forge, "s2");
    assert_eq!(ask(&gateway, &since), 200);
    assert_eq!(post(&gateway, &token).status, 200, "taken, as the first time");
    assert_eq!((ask(&gateway, &since), ask(&gateway, &before)), (200, 401));
}

#[test]
fn a_logout_token_that_comes_late_ends_nothing_that_has_begun_since() {
    let (forge, upstream) = (Forge::new(), Recorder::start());
    let gateway = start(&forge, &upstream);
    gateway.wait_until_proofs_count();
    let now = jiff::Timestamp::now().as_second();
    let issued = |age: i64| {
        let mut claims = Signer::claims("p1", "aal1", age);
        (claims["iss"], claims["sub"], claims["iat"]) = (ISSUER.into(), "alice".into(), (now - age).into());
        format!("Bearer {}", forge.sign(&Forge::header().to_string(), &claims.to_string()))
    };
    let (before, since) = (issued(150), issued(50));
    assert_eq!((ask(&gateway, &before), ask(&gateway, &since)), (200, 200));
    let token = sign(&forge, &changed(&claims(), json!({ "sid": null, "iat": now - 100 })));
    assert_eq!(post(&gateway, &token).status, 200);
    assert_eq!((ask(&gateway, &before), ask(&gateway, &since)), (401, 200));
}
