//! Opaque tokens, about which a real OpenID Provider is asked (RFC 7662).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{PAY, READ, ROUTES, alice, ask, assert_no_panic, config};
use crate::support::{Gateway, Idp, Recorder, Setup, eventually};

const SECRET: &str = "gw-secret";
const LONG: Duration = Duration::from_secs(20);

fn setup(idp: &Idp, upstream: &Recorder, secret: &str, more: &str) -> Setup {
    let more = format!(
        "    audiences: [portal-opaque]\n    introspection: {{ client_id: gw, client_secret_file: secret, timeout: 1s, {more} }}\n"
    );
    Setup::new(&config(&idp.issuer, &more, upstream.address, ROUTES), |dir| {
        std::fs::write(dir.join("secret"), format!("{secret}\n")).expect("writable");
    })
}

fn assert_kept_secret(gateway: &Gateway, secrets: &[&str]) {
    let said = gateway.logs().join("\n");
    let metrics = gateway.telemetry_page("/metrics").body;
    let audit = std::fs::read_to_string(gateway.audit_file()).expect("the journal");
    for secret in secrets {
        for (place, text) in [("the logs", &said), ("the metrics", &metrics), ("the journal", &audit)] {
            assert!(!text.contains(secret), "{place} hold {secret}");
        }
    }
}

#[test]
fn an_opaque_token_shows_its_person_level_and_age() {
    let (idp, upstream) = (Idp::start(), Recorder::start());
    let gateway = setup(&idp, &upstream, SECRET, "cache: 60s").start();
    let weak = alice(&idp, "aal1", "portal-opaque");
    assert!(!weak.contains('.'), "the token is opaque");
    assert_eq!(ask(&gateway, READ, &weak).status, 200);
    assert_eq!(ask(&gateway, ("GET", "/patients/p2/results/1"), &weak).status, 403);
    let challenged = ask(&gateway, PAY, &weak);
    assert_eq!((challenged.status, challenged.json()["reason"].as_str()), (401, Some("level_too_low")));
    let old = idp.sign_in_earlier("alice", "aal2", "portal-opaque", 700);
    assert_eq!(ask(&gateway, PAY, old.access()).json()["reason"], "authentication_too_old");
    assert_eq!(ask(&gateway, PAY, &alice(&idp, "aal2", "portal-opaque")).status, 200);
    assert_eq!(
        ask(&gateway, ("GET", "/ward"), idp.sign_in("nora", "aal1", "portal-opaque").access()).status,
        200
    );
    assert_eq!(upstream.count(), 3);
    assert_eq!(idp.asked("introspection"), 4, "once for each token, then it is remembered");
}

#[test]
fn a_revoked_token_is_refused_once_the_answer_is_forgotten() {
    let (idp, upstream) = (Idp::shared(), Recorder::start());
    let gateway = setup(idp, &upstream, SECRET, "cache: 1s").start();
    let token = alice(idp, "aal1", "portal-opaque");
    assert_eq!(ask(&gateway, READ, &token).status, 200);
    idp.revoke(&token);
    eventually("it is refused", Duration::from_secs(3), || ask(&gateway, READ, &token).status == 401);
    let forwarded = upstream.count();
    assert_eq!(ask(&gateway, READ, &token).status, 401);
    for made_up in ["never-issued", "x", &"y".repeat(3000)] {
        assert_eq!(ask(&gateway, READ, made_up).status, 401, "{made_up}");
    }
    // This provider will not speak of its JWTs, so nobody can say whether the token is good.
    let others = ask(&gateway, READ, &alice(idp, "aal1", "portal-es256"));
    assert!(matches!(others.status, 401 | 503), "{others:?}");
    assert_eq!(upstream.count(), forwarded);
}

#[test]
fn no_answer_means_no_entry() {
    let (idp, upstream) = (Idp::start(), Recorder::start());
    let gateway = setup(&idp, &upstream, SECRET, "cache: 0s").start();
    let token = alice(&idp, "aal2", "portal-opaque");
    assert_eq!(ask(&gateway, READ, &token).status, 200);
    for mode in ["500", "hang", "garbage", "redirect", "huge"] {
        idp.fail("introspection", Some(mode));
        for request in [READ, PAY] {
            let refused = ask(&gateway, request, &token);
            assert_eq!(refused.status, 503, "{mode}: {refused:?}");
            assert!(refused.header("retry-after").is_some(), "{mode}");
        }
        idp.fail("introspection", None);
        assert_eq!(ask(&gateway, READ, &token).status, 200, "{mode} is over");
    }
    assert_eq!(upstream.count(), 6);
    assert_eq!(idp.asked("moved"), 0, "the token was sent where a redirect pointed");
    assert_no_panic(&gateway);
}

#[test]
fn a_provider_that_stops_is_named_and_waited_for() {
    let (mut idp, upstream) = (Idp::start(), Recorder::start());
    let gateway = setup(&idp, &upstream, SECRET, "cache: 0s").start();
    let token = alice(&idp, "aal1", "portal-opaque");
    assert_eq!(ask(&gateway, READ, &token).status, 200);
    idp.stop();
    assert_eq!(ask(&gateway, READ, &token).status, 503);
    eventually("the log says so", LONG, || {
        gateway.logs().iter().any(|line| line.contains("clinic") && line.contains("can't be introspected"))
    });
    idp.restart();
    let token = alice(&idp, "aal1", "portal-opaque");
    eventually("it works again", LONG, || ask(&gateway, READ, &token).status == 200);
}

#[test]
fn a_wrong_secret_is_told_to_the_operator_and_to_nobody_else() {
    let (idp, upstream) = (Idp::shared(), Recorder::start());
    let wrong = "canary-of-a-wrong-secret";
    let gateway = setup(idp, &upstream, wrong, "cache: 0s").start();
    let token = alice(idp, "aal1", "portal-opaque");
    let refused = ask(&gateway, READ, &token);
    assert_eq!(refused.status, 503);
    assert!(!refused.body.contains("secret") && !refused.body.contains("clinic"), "{}", refused.body);
    let is_it = |line: &String| {
        line.contains("ERROR") && line.contains("clinic") && line.contains("client_secret_file")
    };
    eventually("the log names the remedy", LONG, || gateway.logs().iter().any(is_it));
    assert_kept_secret(&gateway, &[wrong, &STANDARD.encode(format!("gw:{wrong}")), &token]);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn the_secret_and_the_tokens_stay_out_of_the_most_talkative_logs() {
    let (idp, upstream) = (Idp::start(), Recorder::start());
    let gateway = setup(&idp, &upstream, SECRET, "cache: 0s").logging("trace").start();
    let token = alice(&idp, "aal1", "portal-opaque");
    assert_eq!(ask(&gateway, READ, &token).status, 200);
    assert_eq!(ask(&gateway, READ, "canary-never-issued").status, 401);
    idp.fail("introspection", Some("500"));
    assert_eq!(ask(&gateway, READ, &token).status, 503);
    let basic = STANDARD.encode(format!("gw:{SECRET}"));
    assert_kept_secret(&gateway, &[SECRET, &basic, &token, "canary-never-issued"]);
}
