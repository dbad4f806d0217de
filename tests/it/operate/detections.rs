//! What stands out is on record once, in the log and on the metrics, and what a killed gateway left behind is as well.

use std::time::Duration;

use serde_json::Value;

use super::{EXPORT, JSON, NOTES, READ, listen, proofs, setup};
use crate::support::{Gateway, Recorder, Signer, eventually, free_address, http};

const LONG: Duration = Duration::from_secs(20);

fn detections(gateway: &Gateway) -> Vec<Value> {
    gateway.audit().into_iter().filter(|record| record["event"] == "detection").collect()
}

fn send(gateway: &Gateway, method: &str, target: &str, token: &str) -> u16 {
    http::send(gateway.address, method, target, &[("Authorization", token), JSON], b"{}")
        .expect("an answer")
        .status
}

#[test]
fn one_who_reads_many_records_stands_out_once() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let setup = setup(upstream.address, &signer, |text| {
        let many = "audit: { dir: ./audit, detections: { mass_lookup: { count: 20, within: 10m }, watched_patients_file: ./watched } }";
        // A nurse reads what anybody's is.
        let any = "tier: low, patient: { from: path.patient }, any_of: [{ patient: self }]";
        let text = text.replace("audit: { dir: ./audit }", many);
        text.replace(any, "tier: low, patient: { from: path.patient }, any_of: [{ issuer: patients }]")
    });
    std::fs::write(setup.dir().join("watched"), "# somebody known\nstar-canary\n").expect("written");
    let gateway = setup.start();
    let nurse = proofs(&gateway, &signer, 1).remove(0);
    for _ in 0..40 {
        assert_eq!(send(&gateway, "GET", READ, &nurse), 200);
    }
    assert!(detections(&gateway).is_empty(), "one patient again and again");
    for number in 0..40 {
        assert_eq!(send(&gateway, "GET", &format!("/patients/q{number}/results/1"), &nurse), 200);
    }
    assert_eq!(send(&gateway, "GET", "/patients/star-canary/results/1", &nurse), 200);
    eventually("it is on record", LONG, || detections(&gateway).len() == 2);
    let found = detections(&gateway);
    assert_eq!((&found[0]["name"], &found[0]["count"]), (&"mass_lookup".into(), &20.into()));
    assert!(found[0]["subject"].as_str().is_some_and(|name| name.starts_with("s_")));
    assert_eq!((&found[1]["name"], &found[1]["subject"]), (&"watched_patient".into(), &found[0]["subject"]));
    assert_eq!(gateway.metric("wardgate_detections_total{name=\"mass_lookup\"}"), 1.0);
    assert!(gateway.logs().join("\n").contains("stands out"));
    let trail = std::fs::read_to_string(gateway.audit_file()).expect("text");
    assert!(!(trail + &gateway.logs().join("\n")).contains("star-canary"));
}

#[test]
fn who_is_asked_for_more_again_and_again_stands_out() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let setup = setup(upstream.address, &signer, |text| {
        let storm = "audit: { dir: ./audit, detections: { prompt_storm: { count: 4, within: 10m } } }";
        text.replace("audit: { dir: ./audit }", storm)
    });
    let gateway = setup.start();
    // Signed in without the second factor that an export asks for.
    let weak = signer.bearer("p1", "aal1", 0);
    for _ in 0..3 {
        assert_eq!(send(&gateway, "PUT", EXPORT, &weak), 401);
        assert_eq!(send(&gateway, "PUT", EXPORT, "Bearer none"), 401);
    }
    gateway.audit();
    assert!(detections(&gateway).is_empty());
    assert_eq!(send(&gateway, "PUT", EXPORT, &weak), 401);
    eventually("it is on record", LONG, || !detections(&gateway).is_empty());
    let found = detections(&gateway);
    assert_eq!((found.len(), &found[0]["name"], &found[0]["count"]), (1, &"prompt_storm".into(), &4.into()));
    assert!(found[0]["subject"].as_str().is_some_and(|name| name.starts_with("s_")));
}

#[test]
fn the_gateways_own_troubles_stand_out_once_each() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let sink = format!("{{ name: siem, type: http, url: \"http://{}/audit\" }}", free_address());
    let setup = setup(upstream.address, &signer, |text| {
        text.replace("audit: { dir: ./audit }", &format!("audit: {{ dir: ./audit, sinks: [{sink}] }}"))
    });
    let gateway = setup.start();
    let names = || {
        let found = detections(&gateway).into_iter();
        let mut names: Vec<_> = found.map(|found| found["name"].as_str().expect("text").to_owned()).collect();
        names.sort();
        names
    };
    eventually("the sink is down", LONG, || names() == ["sink_down"]);
    let path = gateway.dir.path().join("gateway.yaml");
    let text = std::fs::read_to_string(&path).expect("the configuration");
    std::fs::write(&path, text.replace("tier: low", "tier: lwo")).expect("written");
    eventually("the configuration was refused", LONG, || names() == ["configuration_refused", "sink_down"]);
    for name in names() {
        assert_eq!(gateway.metric(&format!("wardgate_detections_total{{name=\"{name}\"}}")), 1.0, "{name}");
    }
}

#[test]
fn what_a_killed_gateway_left_behind_stands_out_at_the_next_start() {
    // An upstream that never answers.
    let (upstream, signer) = (listen(std::mem::forget), Signer::new());
    let setup = setup(upstream, &signer, |text| text);
    let gateway = setup.start();
    let proof = proofs(&gateway, &signer, 1).remove(0);
    let address = gateway.address;
    for _ in 0..3 {
        let proof = proof.clone();
        std::thread::spawn(move || {
            http::send(address, "POST", NOTES, &[("Authorization", &proof), JSON], b"{}")
        });
    }
    let intents =
        |gateway: &Gateway| gateway.audit().iter().filter(|record| record["event"] == "intent").count();
    eventually("they are under way", LONG, || intents(&gateway) == 3);
    gateway.kill();
    let mut gateway = setup.start();
    eventually("it is on record", LONG, || !detections(&gateway).is_empty());
    let found = detections(&gateway);
    assert_eq!(
        (found.len(), &found[0]["name"], &found[0]["count"]),
        (1, &"unknown_outcomes".into(), &3.into())
    );
    gateway.signal("TERM");
    gateway.wait(LONG);
    let gateway = setup.start();
    assert_eq!(detections(&gateway).len(), 1, "once");
}
