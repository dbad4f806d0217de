//! Canaries: what a request carries shows up in no log, metric, record or refusal, however it is written there.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::{EXPORT, ROUTES, proofs};
use crate::support::canaries::{self, canary};
use crate::support::upstream::Behaviour;
use crate::support::{Gateway, Recorder, Setup, Signer, free_address, http, tokens};

/// Fails where the text holds a canary or a part of a token.
fn assert_silent(place: &str, text: &str, tokens: &[String]) {
    canaries::assert_silent(place, text);
    for part in tokens.iter().flat_map(|token| token.split('.')).filter(|part| part.len() > 20) {
        // The tokens' headers are all alike and say nothing of anybody; what follows them does.
        let says_something = !URL_SAFE_NO_PAD.decode(part).is_ok_and(|bytes| bytes.starts_with(b"{\"typ\""));
        assert!(!(says_something && text.contains(part)), "{place} holds a part of a token: {part}");
    }
}

fn requests(signer: &Signer, spendable: &str) -> (Vec<String>, Vec<Vec<u8>>) {
    let patient = canary("Patient");
    let claims = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut claims = Signer::claims(&patient, "aal2", 5);
        claims["sub"] = canary("Subject").into();
        change(&mut claims);
        signer.sign(&claims)
    };
    let good = claims(&|_| {});
    let stranger = Signer::new().sign(&Signer::claims(&patient, "aal2", 5));
    let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": canary("Key")}).to_string();
    let named =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header), good.split_once('.').expect("three parts").1);
    let bad = [
        claims(&|claims| claims["exp"] = json!(1_000_000_000)),
        claims(&|claims| claims["aud"] = canary("Rubbish").into()),
        claims(&|claims| claims["iss"] = canary("Rubbish").into()),
        claims(&|claims| claims["acr"] = canary("Rubbish").into()),
        stranger,
        named,
        canary("Rubbish"),
        format!("a.{}.c", canary("Rubbish")),
    ];
    let own = format!("/patients/{patient}");
    let segment = format!("{own}/results/%5A{}", &canary("Segment")[1..]);
    let query = format!("q={}&%5A{}=1", canary("Query"), &canary("Query")[1..]);
    let more = format!(
        "X-Custom: {}\r\nCookie: session={}\r\nUser-Agent: {}\r\n",
        canary("Header"),
        canary("Cookie"),
        canary("Agent")
    );
    let json_body = format!(r#"{{"{}":"{}"}}"#, canary("Field"), canary("Body"));
    let form_body = format!("{}={}&_method=DELETE", canary("Field"), canary("Body"));
    let request = |method: &str, target: &str, token: &str, kind: &str, body: &str| {
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n"
        );
        format!("{head}{more}Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    };
    let (json, form) = ("application/json", "application/x-www-form-urlencoded");
    let mut sent = vec![
        request("GET", &format!("{segment}?{query}"), &good, "text/plain", ""),
        request("POST", &format!("{own}/notes"), &good, "text/plain", &canary("Body")),
        request("POST", &format!("{own}/notes"), &good, form, &form_body),
        request("PUT", &format!("{own}/profile"), &good, json, &json_body),
        request("PUT", &format!("{own}/profile"), &good, json, r#"{"language":"es"}"#),
        request("PUT", &format!("{own}/export"), &good, json, &json_body),
        request("PUT", EXPORT, spendable, json, &json_body),
        request("PUT", EXPORT, spendable, json, &json_body),
        request("GET", &format!("/patients/{}/results/1", canary("OtherPatient")), &good, "text/plain", ""),
        request("GET", &format!("/{}?{query}", canary("Segment")), &good, "text/plain", ""),
        request("GET", &format!("{own}/results/../{}", canary("Segment")), &good, "text/plain", ""),
        request("GET", &format!("{own}/results/%zz{}", canary("Segment")), &good, "text/plain", ""),
        request("GET", &format!("{segment}?access_token={good}"), &good, "text/plain", ""),
        request(&canary("Method").to_uppercase(), &segment, &good, "text/plain", ""),
        request("G T", &canary("Segment"), &good, "text/plain", ""),
        format!("GET {segment} HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\nX_{}: {}\r\n\r\n", canary("Header"), canary("Header")).into_bytes(),
        format!("GET {segment} HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\nAuthorization: Basic {}\r\n\r\n", STANDARD_NO_PAD.encode(canary("Rubbish"))).into_bytes(),
        format!("{} {}\r\n\r\n", canary("Rubbish"), canary("Rubbish")).into_bytes(),
        format!("GET / HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\nCookie: {}\r\n\r\n", canary("Cookie")).into_bytes(),
        format!("POST {own}/notes HTTP/1.1\r\nHost: portal.example\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer {good}\r\n\r\n{}\r\n", canary("Rubbish")).into_bytes(),
    ];
    sent.extend(bad.iter().map(|token| request("GET", &segment, token, "text/plain", "")));
    let mut tokens = vec![good, spendable.to_owned()];
    tokens.extend(bad);
    (tokens, sent)
}

/// Sends it all, to an upstream that answers and to one that fails, or to others too; looks everywhere.
fn assert_nothing_leaks(filter: &str, of_every_kind: bool) {
    let body = canary("Answer");
    let head =
        format!("HTTP/1.1 200 OK\r\nX-Answer: {}\r\nContent-Length: {}", canary("AnswerHeader"), body.len());
    let mut answers = vec![Some(format!("{head}\r\n\r\n{body}")), Some(format!("{body} rubbish\r\n\r\n"))];
    if of_every_kind {
        answers.extend([Some(String::new()), None]);
    }
    for (number, answer) in answers.into_iter().enumerate() {
        let recorder = answer.map(|bytes| {
            let behaviour: Behaviour = Arc::new(move |_, stream| {
                stream.write_all(bytes.as_bytes()).is_ok() && bytes.starts_with("HTTP")
            });
            Recorder::behaving(behaviour)
        });
        let signer = Signer::new();
        let upstream = recorder.as_ref().map_or_else(free_address, |recorder| recorder.address);
        let setup = Setup::new(&tokens::config(upstream, ROUTES), |dir| super::write_keys(dir, &signer));
        let gateway = setup.logging(filter).start();
        let spendable = proofs(&gateway, &signer, 1).remove(0);
        let spendable = spendable.trim_start_matches("Bearer ");
        let (tokens, sent) = requests(&signer, spendable);
        let mut statuses = Vec::new();
        for bytes in sent {
            let answer =
                http::raw(gateway.address, &bytes, Duration::from_millis(700)).expect("a connection");
            if let Ok(answer) = http::parse(&answer) {
                statuses.push(answer.status);
                if answer.header("content-type") == Some("application/problem+json") {
                    assert_silent("a refusal", &format!("{:?} {}", answer.headers, answer.body), &tokens);
                }
            }
        }
        for expected in [if number == 0 { 200 } else { 502 }, 400, 401, 403, 404] {
            assert!(statuses.contains(&expected), "{expected} is not among {statuses:?}");
        }
        look_everywhere(&gateway, &tokens);
    }
}

fn look_everywhere(gateway: &Gateway, tokens: &[String]) {
    assert!(gateway.audit().len() > 20, "the requests were judged");
    let audit = std::fs::read_to_string(gateway.audit_file()).expect("the journal");
    assert_silent("the journal", &audit, tokens);
    assert_silent("the metrics", &gateway.telemetry_page("/metrics").body, tokens);
    assert_silent("/readyz", &gateway.telemetry_page("/readyz").body, tokens);
    assert_silent("the logs", &gateway.logs().join("\n"), tokens);
}

#[test]
fn nothing_leaks() {
    assert_nothing_leaks("info,pingora_core=warn,pingora_proxy=off", true);
}

#[test]
fn nothing_leaks_where_everything_that_is_usual_is_logged() {
    assert_nothing_leaks("info", false);
}

#[test]
fn nothing_leaks_while_somebody_looks_for_a_fault() {
    assert_nothing_leaks("debug", false);
}

#[test]
fn nothing_leaks_from_the_most_talkative_logs() {
    assert_nothing_leaks("trace", false);
}
