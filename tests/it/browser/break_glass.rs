//! The page on which a clinician says why: see `break_glass.mjs`.

use std::process::Command;

use serde_json::json;

use super::World;

#[test]
fn a_clinician_opens_one_record_and_everybody_can_use_the_page() {
    let right = r#"
  - { id: charts.read, label: Read a chart, match: { path: "/charts/{patient}", methods: [GET] }, upstream: app, tier: low,
      patient: { from: path.patient }, break_glass: treatment, any_of: [{ roles: [physician] }] }
operators: { address: "unix:$DIR/operators.sock" }
break_glass:
  treatment:
    roles: [nurse]
    require: { assurance: aal2, max_age: 5m, reason_codes: [emergency, covering], text_min: 20, offline_codes: true }
    review: { within: 72h, by: [privacy-office] }
"#;
    let world = World::start_with("", right);
    let pictures = std::env::var("PICTURES").ok();
    let codes = Command::new(env!("CARGO_BIN_EXE_wardgate"))
        .args(["break-glass", "codes", "--right", "treatment", "--count", "1", "--socket"])
        .arg(world.gateway.dir.path().join("operators.sock"))
        .output()
        .expect("it runs");
    let code = String::from_utf8_lossy(&codes.stdout).trim().to_owned();
    let told = world.play("break_glass", "open", &json!({ "pictures": pictures, "code": code }));
    assert_eq!(
        told["status"],
        json!({ "first": 403, "opened": 200, "other": 403, "crossSite": 403, "offline": "/charts/p9" }),
        "{told}"
    );
    let records = world.gateway.audit();
    let what: Vec<&str> = records
        .iter()
        .filter(|record| record["event"] == "break_glass")
        .filter_map(|record| record["what"].as_str())
        .collect();
    let crossed = records.iter().filter(|record| record["reason"] == "cross_site");
    assert_eq!(
        crossed.count(),
        2,
        "a form and a script, from the one host whose pages the cookie goes along with"
    );
    let count = |wanted: &str| what.iter().filter(|what| **what == wanted).count();
    assert_eq!((what.first(), count("opened")), (Some(&"codes_issued"), 2), "{what:?}");
    assert_eq!(count("used") + 3, what.len(), "{what:?}");
}
