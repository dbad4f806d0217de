//! The page on which a clinician says why: see `break_glass.mjs`.

use serde_json::json;

use super::World;

#[test]
fn a_clinician_opens_one_record_and_everybody_can_use_the_page() {
    let right = r#"
  - { id: charts.read, label: Read a chart, match: { path: "/charts/{patient}", methods: [GET] }, upstream: app, tier: low,
      patient: { from: path.patient }, break_glass: treatment, any_of: [{ roles: [physician] }] }
break_glass:
  treatment:
    roles: [nurse]
    require: { assurance: aal2, max_age: 5m, reason_codes: [emergency, covering], text_min: 20 }
    review: { within: 72h, by: [privacy-office] }
"#;
    let world = World::start_with("", right);
    let pictures = std::env::var("PICTURES").ok();
    let told = world.play("break_glass", "open", &json!({ "pictures": pictures }));
    assert_eq!(
        told["status"],
        json!({ "first": 403, "opened": 200, "other": 403, "crossSite": 403 }),
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
    assert_eq!(what.first(), Some(&"opened"), "{what:?}");
    assert!(what.len() > 1 && what[1..].iter().all(|what| *what == "used"), "{what:?}");
}
