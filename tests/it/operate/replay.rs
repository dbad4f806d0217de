//! `wardgate replay`: what it forecasts of a gateway's trail is what a gateway with the changed configuration then does.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::{JSON, NOTES, PAY, PROFILE, READ, setup};
use crate::support::{Gateway, Recorder, Signer, http};

/// What an operator changes: payments get a stricter tier, notes a stricter one and a condition, reading is for members of
/// staff too, less of a profile is harmless, and a new route takes one of the results out.
fn changed(text: &str) -> String {
    text.replace("payments\", methods: [POST] }, upstream: app,\n      tier: high", "payments\", methods: [POST] }, upstream: app,\n      tier: critical")
        .replace("methods: [POST, PUT, DELETE] }, upstream: app,\n      tier: moderate", "methods: [POST, DELETE] }, upstream: app,\n      tier: high, refine: [{ when: \"has(body.urgent)\", tier: critical }]")
        .replace("any_of: [{ patient: self }] }\n  - { id: notes.write", "any_of: [{ patient: self }, { roles: [nurse] }] }\n  - { id: results.shared, match: { path: \"/patients/{patient}/results/shared\", methods: [GET] }, upstream: app, access: public }\n  - { id: notes.write")
        .replace("fields: [language], tier: moderate", "fields: [language, theme], tier: low")
}

struct Sent {
    method: &'static str,
    path: &'static str,
    token: Option<String>,
    body: &'static str,
}

fn requests(signer: &Signer) -> Vec<Sent> {
    let mut tokens = vec![None];
    for (patient, role) in [("p1", None), ("p2", None), ("p2", Some("nurse"))] {
        for level in ["aal1", "aal2"] {
            for age in [0, 400, 5000, 50_000] {
                let mut claims = Signer::claims(patient, level, age);
                claims["groups"] = role.into_iter().collect();
                tokens.push(Some(format!("Bearer {}", signer.sign(&claims))));
            }
        }
    }
    let mut sent = Vec::new();
    for token in tokens {
        for (method, path, body) in [
            ("GET", "/", ""),
            ("GET", READ, ""),
            ("GET", "/patients/p1/results/shared", ""),
            ("GET", "/nowhere", ""),
            ("POST", NOTES, r#"{"text":"a"}"#),
            ("POST", NOTES, r#"{"text":"a","urgent":true}"#),
            ("PUT", NOTES, r#"{"text":"b"}"#),
            ("POST", PAY, r#"{"cents":100}"#),
            ("PUT", PROFILE, r#"{"language":"de"}"#),
            ("PUT", PROFILE, r#"{"theme":"dark"}"#),
            ("PUT", PROFILE, r#"{"address":"x"}"#),
            ("PUT", PROFILE, "not json"),
        ] {
            sent.push(Sent { method, path, token: token.clone(), body });
        }
    }
    sent
}

/// Sends them all: the decision's id and the verdict of each.
fn send(gateway: &Gateway, requests: &[Sent]) -> Vec<(String, String)> {
    let ids = requests.iter().map(|sent| {
        let mut headers = vec![("Host", "portal.example")];
        headers.extend(sent.token.as_deref().map(|token| ("Authorization", token)));
        headers.extend((!sent.body.is_empty()).then_some(JSON));
        let answer = http::send(gateway.address, sent.method, sent.path, &headers, sent.body.as_bytes());
        answer.expect("an answer").decision().to_owned()
    });
    let ids: Vec<String> = ids.collect();
    let records = gateway.audit();
    let verdicts: HashMap<&str, &str> = records
        .iter()
        .filter(|record| record["event"] == "intent" || record["event"] == "decision")
        .map(|record| (record["decision"].as_str().expect("an id"), record["verdict"].as_str().expect("one")))
        .collect();
    ids.iter().map(|id| (id.clone(), verdicts[id.as_str()].to_owned())).collect()
}

fn replay(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardgate"));
    command
        .args(["replay", "changed.yaml", "--audit", "audit", "--in-force", "gateway.yaml"])
        .args(arguments);
    let Output { status, stdout, stderr } = command.current_dir(dir).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn what_is_forecast_of_a_trail_is_what_a_changed_gateway_does() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let before = setup(upstream.address, &signer, |text| text);
    let gateway = before.start();
    let requests = requests(&signer);
    let then = send(&gateway, &requests);
    drop(gateway);
    let text = std::fs::read_to_string(before.dir().join("gateway.yaml")).expect("the configuration");
    assert_ne!(changed(&text), text);
    std::fs::write(before.dir().join("changed.yaml"), changed(&text)).expect("writable");
    let (code, listed, said) = replay(before.dir(), &["--list"]);
    assert_eq!(code, Some(0), "{said}");
    let listed: HashMap<String, Value> = listed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|line| (line["decision"].as_str().expect("an id").to_owned(), line))
        .collect();
    let after = setup(upstream.address, &signer, |text| changed(&text)).start();
    let now = send(&after, &requests);
    let (mut changed, mut open) = (0, 0);
    for (((id, was), (_, is)), sent) in then.iter().zip(&now).zip(&requests) {
        let what =
            format!("{} {} {}: {was} becomes {is}, {:?}", sent.method, sent.path, sent.body, listed.get(id));
        match listed.get(id) {
            None if sent.path == "/nowhere" => {}
            None => assert_eq!(was, is, "{what}"),
            Some(line) if line["finding"] == "open" => open += 1,
            Some(line) => {
                assert_eq!(
                    (&line["finding"], &line["was"], &line["is"]),
                    (&"changed".into(), &(*was).clone().into(), &(*is).clone().into()),
                    "{what}"
                );
                changed += usize::from(was != is);
            }
        }
    }
    assert!(changed > 8 && open > 10 && open < requests.len() / 3, "{changed} changed, {open} open");

    let (code, told, said) = replay(before.dir(), &["--max-new-permits", "0", "--max-open", "100000"]);
    assert_eq!(code, Some(1), "{told}{said}");
    assert!(said.contains("`--max-new-permits` is 0"), "{said}");
    for part in [
        "Would go through, and did not:",
        "Would be refused, and were not:",
        "Would be asked for proof, and were not:\n  `notes.write`, patients: ",
        "of `results.read` on whether route `results.shared` takes it",
        "of `profile.update` on what stands in the body",
        "permit at `moderate` becomes challenge at `",
        "were answered before any rule was asked",
    ] {
        assert!(told.contains(part), "`{part}` in\n{told}");
    }
    let (code, told, said) = replay(before.dir(), &["--json"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((code, &told["unreadable"]), (Some(0), &0.into()), "{said}");
    assert!(!told.to_string().contains("user-p"), "nobody is named: {told}");
    // Of what was decided under another file nothing is said.
    std::fs::write(before.dir().join("gateway.yaml"), format!("{text}# edited\n")).expect("writable");
    let (code, told, _) = replay(before.dir(), &["--max-open", "0"]);
    assert!(code == Some(1) && told.contains("under a configuration that was not given"), "{told}");
    let (code, _, said) = replay(&before.dir().join(".."), &[]);
    assert!(code == Some(2) && said.contains("error"), "{said}");
}

/// The account of a decision on record, and what would have let it through.
#[test]
fn a_decision_on_record_is_told_with_what_would_have_let_it_through() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let before = setup(upstream.address, &signer, |text| {
        text.replace(
            "[{ patient: self }] }\n  - { id: payment",
            "[{ patient: self }, { roles: [nurse] }] }\n  - { id: payment",
        )
    });
    let gateway = before.start();
    let ask = |method: &str, path: &str, patient: &str, level: &str, age: i64| {
        let token = signer.bearer(patient, level, age);
        let headers = [("Host", "portal.example"), ("Authorization", token.as_str()), JSON];
        http::send(gateway.address, method, path, &headers, b"{}").expect("an answer").decision().to_owned()
    };
    let explain = |decision: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardgate"));
        command
            .args(["explain", "--config", "gateway.yaml", "--audit", "audit", "--decision", decision])
            .args(more);
        let Output { status, stdout, stderr } = command.current_dir(before.dir()).output().expect("it runs");
        let text = [stdout, stderr].concat();
        (status.code(), String::from_utf8(text).expect("text"))
    };
    let (weak, foreign, fine) = (
        ask("POST", PAY, "p1", "aal1", 5000),
        ask("POST", NOTES, "p2", "aal1", 0),
        ask("POST", NOTES, "p1", "aal1", 0),
    );
    gateway.audit();
    let (code, told) = explain(&weak, &[]);
    assert_eq!(code, Some(3), "{told}");
    for part in [
        "payment.pay at ",
        "below the route's floor: level `aal2`",
        "taken as it fits: whose record it is",
        "passes with level `aal2` and a proof just given\n",
    ] {
        assert!(told.contains(part), "`{part}` in\n{told}");
    }
    let (code, told) = explain(&foreign, &["--json"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((code, &told["reason"]), (Some(4), &"no_relation".into()), "{told}");
    assert_eq!(
        told["passes_with"],
        serde_json::json!([["the caller's own record"], ["role `nurse`"]]),
        "{told}"
    );
    let (code, told) = explain(&fine, &[]);
    assert!(code == Some(0) && !told.contains("passes with"), "{told}");
    let (code, told) = explain("01a20aa7-c93b-75d9-996c-000000000015", &[]);
    assert!(code == Some(1) && told.contains("there is no decision"), "{told}");
    // Of a request that nobody sent the same is said.
    let claims = before.dir().join("claims.json");
    std::fs::write(&claims, r#"{"patient_id":"p1","amr":["pwd"]}"#).expect("writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardgate"));
    command.args(["explain", "--config", "gateway.yaml", "--claims", "claims.json", "POST", PAY]);
    let told = command.current_dir(before.dir()).output().expect("it runs").stdout;
    let told = String::from_utf8(told).expect("text");
    assert!(told.contains("passes with level `aal2` and a proof just given"), "{told}");
}

/// A trail of so many decisions of 20,000 people over 30 days, as the gateway writes it.
fn long_trail(path: &Path, policy: &str, decisions: u64) {
    use std::io::Write as _;
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).expect("writable"));
    let begun = jiff::Timestamp::from_second(1_760_000_000).expect("a moment");
    // Spread without being random: what repeats does so after all of it.
    let mut spread = 0u64;
    for number in 0..decisions {
        spread = spread.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (who, age) = ((spread >> 33) % 20_000, (spread >> 20) % 40_000);
        let strong = spread >> 60 < 6;
        let (level, acr) = if strong { ("aal2", "high") } else { ("aal1", "moderate") };
        let (action, template, method) = match number % 10 {
            0 => ("payment.pay", "/patients/{patient}/payments", "POST"),
            1 => ("notes.write", "/patients/{patient}/notes", "POST"),
            _ => ("results.read", "/patients/{patient}/results/**", "GET"),
        };
        let (tier, verdict, reason) = match action {
            "results.read" => ("low", "permit", "permitted"),
            "notes.write" if age <= 28_800 => ("moderate", "permit", "permitted"),
            "notes.write" => ("moderate", "challenge", "authentication_too_old"),
            _ if !strong => ("high", "challenge", "assurance_too_low"),
            _ if age <= 600 => ("high", "permit", "permitted"),
            _ => ("high", "challenge", "authentication_too_old"),
        };
        let event = if verdict == "permit" { "intent" } else { "decision" };
        let time = begun + jiff::SignedDuration::from_millis(i64::try_from(number * 2592).expect("few"));
        let _ = acr;
        let id = format!("01a20aa7-c93b-75d9-996c-{number:012x}");
        writeln!(
            out,
            r#"{{"seq":{number},"origin":"0198c2f14cf07c31","time":"{time}","v":1,"event":"{event}","decision":"{id}","listener":"portal","verdict":"{verdict}","reason":"{reason}","method":"{method}","action":"{action}","template":"{template}","tier":"{tier}","upstream":"app","subject":"s_{who:032x}","patient":"p_{who:032x}","address":"a_0123456789abcdef0123456789abcdef","rule":0,"input":{{"v":1,"policy":"{policy}","caller":{{"issuer":"patients","kind":"person","client":"portal","level":"{level}","age":{age},"methods":["pwd"]}},"revoked":"no","own_record":true}},"crc":"00000000"}}"#
        )
        .expect("written");
    }
    out.flush().expect("written");
}

#[test]
#[ignore = "a soak: a million decisions"]
fn a_million_decisions_are_decided_again() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let before = setup(upstream.address, &signer, |text| text);
    drop(before.start());
    let text = std::fs::read_to_string(before.dir().join("gateway.yaml")).expect("the configuration");
    let started = std::fs::read_to_string(before.dir().join("audit/audit.jsonl")).expect("a trail");
    let started = started.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let started: Vec<Value> = started.filter(|record| record["event"] == "started").collect();
    let policy = started[0]["policy"].as_str().expect("a version");
    let path = before.dir().join("audit/audit.jsonl");
    long_trail(&path, policy, 1_000_000);
    // Payments go on with a proof of a minute, notes ask for a second factor, reading for a day.
    let strict = text.replace(
        "upstream: app,\n      tier: moderate, patient",
        "upstream: app,\n      tier: high, patient",
    );
    assert_ne!(strict, text);
    std::fs::write(before.dir().join("changed.yaml"), strict).expect("writable");
    let begun = std::time::Instant::now();
    let (code, told, said) = replay(before.dir(), &["--max-open", "0"]);
    println!(
        "{told}{said}\n{:.1} s, {} MB",
        begun.elapsed().as_secs_f64(),
        std::fs::metadata(&path).expect("it").len() / 1_000_000
    );
    assert_eq!(code, Some(0), "{told}{said}");
    let (_, told, _) = replay(before.dir(), &["--json"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(
        (&told["decisions"], &told["open"], &told["not_reproduced"]),
        (&1_000_000.into(), &0.into(), &0.into())
    );
    assert!(told["changes"].as_array().is_some_and(|changes| !changes.is_empty()), "{told}");
}
