//! Tokens that are bound to a key: what passes, what is refused and how, and that a proof counts once at every gateway.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::support::http::{self, Answer};
use crate::support::possession::ClientKey;
use crate::support::redis::Redis;
use crate::support::{Gateway, Idp, Recorder, Setup, Signer, eventually, tokens};

const HOST: &str = "portal.example";
const READ: &str = "/patients/p1/results/1";
const ADDRESS: &str = "http://portal.example/patients/p1/results/1";
const ROUTES: &str = r#"
  - { id: results.read, match: { host: portal.example, path: "/patients/{patient}/results/**", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }], cors: { origins: ["https://app.example"], headers: [dpop, authorization] } }
  - { id: results.raw, match: { host: portal.example, path: "/raw/{patient}/results/**", methods: [GET] }, upstream: bare,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
"#;

fn setup(upstream: SocketAddr, signer: &Signer, issuer: &str, state: &str) -> Setup {
    let config = tokens::config(upstream, ROUTES)
        .replace("state: { single_replica: true }", state)
        .replace("    algorithms: [ES256]\n", &format!("    algorithms: [ES256]\n{issuer}"))
        .replace(
            "audit: {",
            &format!("  bare: {{ endpoints: [\"{upstream}\"], pass_bearer: true }}\naudit: {{"),
        );
    Setup::new(&config, |dir| {
        std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
        std::fs::write(dir.join("k1"), format!("{}\n", "1".repeat(64))).expect("writable");
    })
}

const ALONE: &str = "state: { single_replica: true }";

/// A patient's token, bound to a key.
fn bound(signer: &Signer, key: &ClientKey) -> String {
    let mut claims = Signer::claims("p1", "aal1", 5);
    claims["cnf"] = serde_json::json!({ "jkt": key.thumbprint() });
    signer.sign(&claims)
}

fn show(gateway: &Gateway, token: &str, proofs: &[&str]) -> Answer {
    let authorization = format!("DPoP {token}");
    let mut headers = vec![("Authorization", authorization.as_str()), ("Origin", "https://app.example")];
    headers.extend(proofs.iter().map(|proof| ("DPoP", *proof)));
    http::send(gateway.address, "GET", READ, &headers, b"").expect("an answer")
}

fn challenge(answer: &Answer) -> &str {
    answer
        .header("www-authenticate")
        .unwrap_or_else(|| panic!("no challenge: {} {}", answer.status, answer.body))
}

fn nonce(answer: &Answer) -> String {
    answer
        .header("dpop-nonce")
        .unwrap_or_else(|| panic!("no nonce: {} {}", answer.status, answer.body))
        .to_owned()
}

fn last_reason(gateway: &Gateway) -> Value {
    let records = gateway.audit();
    let mut decisions =
        records.iter().filter(|record| record["event"] == "decision" || record["event"] == "intent");
    decisions.next_back().expect("a decision")["reason"].clone()
}

#[test]
fn a_proof_opens_the_way_once_and_only_with_the_gateways_nonce() {
    let (upstream, signer, key) = (Recorder::start(), Signer::new(), ClientKey::new());
    let gateway = setup(upstream.address, &signer, "    dpop: required\n", ALONE).start();
    let token = bound(&signer, &key);
    // A proof's moment lies ten seconds before its own, so the gateway must have run for longer.
    let first = ClientKey::claims("GET", ADDRESS, Some(&token), None);
    let asked = show(&gateway, &token, &[&key.proof(&first)]);
    assert_eq!(
        (asked.status, asked.json()["type"].as_str()),
        (401, Some("urn:wardgate:problem:use_dpop_nonce"))
    );
    assert!(
        challenge(&asked).starts_with(r#"DPoP error="use_dpop_nonce", algs="ES256"#),
        "{}",
        challenge(&asked)
    );
    assert!(asked.header("access-control-expose-headers").is_some_and(|names| names.contains("dpop-nonce")));
    let mut given = nonce(&asked);
    let mut proof = String::new();
    eventually("the gateway's memory is old enough", Duration::from_secs(30), || {
        proof = key.proof(&ClientKey::claims("GET", ADDRESS, Some(&token), Some(&given)));
        let answer = show(&gateway, &token, &[&proof]);
        given = nonce(&answer);
        answer.status == 200
    });
    let again = show(&gateway, &token, &[&proof]);
    assert_eq!(again.status, 401);
    assert!(challenge(&again).starts_with(r#"DPoP error="invalid_dpop_proof""#), "{}", challenge(&again));
    assert_eq!(last_reason(&gateway), "dpop_replayed");
    let made_up = ClientKey::claims("GET", ADDRESS, Some(&token), Some("made up"));
    assert!(challenge(&show(&gateway, &token, &[&key.proof(&made_up)])).contains("use_dpop_nonce"));

    let good = || ClientKey::claims("GET", ADDRESS, Some(&token), Some(&given));
    let changed = |name: &str, value: Value| {
        let mut claims = good();
        claims[name] = value;
        key.proof(&claims)
    };
    let other = ClientKey::new();
    let (one, two) = (key.proof(&good()), key.proof(&good()));
    for (proofs, reason) in [
        (vec![], "dpop_missing"),
        (vec![one.as_str(), two.as_str()], "dpop_repeated"),
        (vec!["rubbish"], "dpop_malformed"),
        (vec![&*other.proof(&good())], "dpop_wrong_key"),
        (vec![&*changed("htm", "POST".into())], "dpop_wrong_method"),
        (vec![&*changed("htu", "https://portal.example/patients/p1/results/1".into())], "dpop_wrong_address"),
        (vec![&*changed("htu", "http://evil.example/patients/p1/results/1".into())], "dpop_wrong_address"),
        (vec![&*changed("ath", "x".into())], "dpop_wrong_token"),
        (vec![&*changed("iat", (jiff::Timestamp::now().as_second() - 100).into())], "dpop_out_of_time"),
    ] {
        let refused = show(&gateway, &token, &proofs);
        assert_eq!(refused.status, 401, "{reason}");
        assert!(challenge(&refused).contains("invalid_dpop_proof"), "{reason}: {}", challenge(&refused));
        assert_eq!(last_reason(&gateway), reason);
    }
    let proof = key.proof(&good());
    let as_bearer = [("Authorization", &*format!("Bearer {token}")), ("DPoP", &*proof)];
    let stolen = http::send(gateway.address, "GET", READ, &as_bearer, b"").expect("an answer");
    assert_eq!((stolen.status, last_reason(&gateway)), (401, "token_proof_of_key_missing".into()));
    let unbound = signer.sign(&Signer::claims("p1", "aal1", 5));
    assert!(challenge(&show(&gateway, &unbound, &[&proof])).contains(r#"DPoP error="invalid_token""#));
    let bearer = [("Authorization", &*format!("Bearer {unbound}"))];
    let plain = http::send(gateway.address, "GET", READ, &bearer, b"").expect("an answer");
    assert_eq!((plain.status, last_reason(&gateway)), (401, "token_not_key_bound".into()));
    assert!(challenge(&plain).starts_with("DPoP "), "{}", challenge(&plain));
    let query = http::send(gateway.address, "GET", &format!("{READ}?access_token=x"), &bearer, b"");
    assert_eq!(query.expect("an answer").status, 400);

    // The one request that went out carried neither token nor proof.
    let requests = upstream.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].values("authorization").is_empty() && requests[0].values("dpop").is_empty());
}

#[test]
fn without_a_need_for_nonces_a_proof_is_enough_and_goes_where_the_token_goes() {
    let (upstream, signer, key) = (Recorder::start(), Signer::new(), ClientKey::new());
    let gateway = setup(upstream.address, &signer, "    dpop_nonce: optional\n", ALONE).start();
    let token = bound(&signer, &key);
    let authorization = format!("DPoP {token}");
    eventually("a proof passes", Duration::from_secs(30), || {
        let address = "http://portal.example/raw/p1/results/1";
        let proof = key.proof(&ClientKey::claims("GET", address, Some(&token), None));
        let headers = [("Authorization", authorization.as_str()), ("DPoP", proof.as_str())];
        let target = "/raw/p1/results/1?page=2";
        http::send(gateway.address, "GET", target, &headers, b"").expect("an answer").status == 200
    });
    let requests = upstream.requests();
    assert_eq!(requests[0].values("authorization"), [authorization.as_str()]);
    assert_eq!(requests[0].values("dpop").len(), 1);
    // Bearer tokens still pass where nothing says otherwise.
    let bearer = signer.bearer("p1", "aal1", 5);
    let plain = http::send(gateway.address, "GET", READ, &[("Authorization", &bearer)], b"");
    assert_eq!(plain.expect("an answer").status, 200);
}

#[test]
fn two_gateways_on_one_store_take_a_proof_once_and_know_each_others_nonces() {
    let (upstream, signer, key, server) =
        (Recorder::start(), Signer::new(), ClientKey::new(), Redis::start(&[]));
    let state = format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"], timeout: 1s }}, encryption_keys: [{{ id: k1, file: k1 }}] }}",
        server.address
    );
    let setups = [(); 2].map(|()| setup(upstream.address, &signer, "    dpop: required\n", &state));
    let [one, two] = [setups[0].start(), setups[1].start()];
    let token = bound(&signer, &key);
    let first = key.proof(&ClientKey::claims("GET", ADDRESS, Some(&token), None));
    let given = nonce(&show(&one, &token, &[&first]));
    let mut proof = String::new();
    eventually("the store's memory is old enough", Duration::from_secs(30), || {
        proof = key.proof(&ClientKey::claims("GET", ADDRESS, Some(&token), Some(&given)));
        show(&two, &token, &[&proof]).status == 200
    });
    for gateway in [&one, &two] {
        assert_eq!(show(gateway, &token, &[&proof]).status, 401, "replayed");
        assert_eq!(last_reason(gateway), "dpop_replayed");
    }
    // Many at once, half of them at each gateway: one passes.
    let proof = key.proof(&ClientKey::claims("GET", ADDRESS, Some(&token), Some(&given)));
    let passed = std::thread::scope(|scope| {
        let racers: Vec<_> = [&one, &two]
            .into_iter()
            .cycle()
            .take(8)
            .map(|gateway| scope.spawn(|| usize::from(show(gateway, &token, &[&proof]).status == 200)))
            .collect();
        racers.into_iter().map(|racer| racer.join().expect("a racer")).sum::<usize>()
    });
    assert_eq!(passed, 1);
    // Nobody knows what was shown: 503, whatever the tier says of outages.
    server.freeze();
    let proof = key.proof(&ClientKey::claims("GET", ADDRESS, Some(&token), Some(&given)));
    assert_eq!(show(&one, &token, &[&proof]).status, 503);
    server.thaw();
}

#[test]
fn a_real_providers_key_bound_tokens_pass() {
    let idp = Idp::shared();
    let (upstream, key) = (Recorder::start(), ClientKey::new());
    let token_address = format!("{}/token", idp.issuer);
    let token = idp.bound_client_token(
        "portal-es256",
        &key.proof(&ClientKey::claims("POST", &token_address, None, None)),
    );
    let config = format!(
        r#"version: 1
listeners: [{{ name: portal, address: "$LISTEN" }}]
telemetry: {{ address: "$TELEMETRY" }}
state: {{ single_replica: true }}
insecure: {{ plain_http_issuers: [feeds] }}
assurance_levels: [aal1]
tiers: [{{ name: high, assurance: aal1, service: {{ sender_constrained: required }} }}]
issuers:
  - {{ name: feeds, issuer: "{}", audiences: [portal-es256], callers: services, dpop: required }}
upstreams: {{ app: {{ endpoints: ["{}"] }} }}
audit: {{ dir: ./audit }}
routes:
  - {{ id: feed, match: {{ host: {HOST}, path: /feed, methods: [POST] }}, upstream: app, tier: high, any_of: [{{ clients: [lab-feed] }}] }}
"#,
        idp.issuer, upstream.address
    );
    let gateway = Gateway::start(&config, |_| {});
    let authorization = format!("DPoP {token}");
    let feed = |nonce: Option<&str>| {
        let proof = key.proof(&ClientKey::claims("POST", "http://portal.example/feed", Some(&token), nonce));
        let headers = [("Authorization", authorization.as_str()), ("DPoP", proof.as_str())];
        http::send(gateway.address, "POST", "/feed", &headers, b"{}").expect("an answer")
    };
    let given = nonce(&feed(None));
    eventually("the token passes", Duration::from_secs(30), || feed(Some(&given)).status == 200);
    let as_bearer = [("Authorization", &*format!("Bearer {token}"))];
    assert_eq!(
        http::send(gateway.address, "POST", "/feed", &as_bearer, b"{}").expect("an answer").status,
        401
    );
    assert_eq!(upstream.count(), 1);
}
