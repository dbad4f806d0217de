//! The page on which a patient sees who acts for them: see `delegation.mjs`.

use std::process::Command;

use serde_json::json;

use super::World;

#[test]
fn a_patient_ends_what_somebody_may_do_and_everybody_can_use_the_page() {
    let relations = r#"
operators: { address: "unix:$DIR/operators.sock" }
delegation:
  by: { roles: [nurse], assurance: aal2 }
  relations: { caregiver: {}, parent: {} }
"#;
    let world = World::start_with("", relations);
    let dir = world.gateway.dir.path();
    let token = dir.join("nora");
    std::fs::write(&token, world.issuer.sign_in("nora", "aal2", "portal-es256").access()).expect("written");
    for (person, name, relation) in [("bob", "Bob the neighbour", "caregiver"), ("paula", "Paula", "parent")]
    {
        let granted = Command::new(env!("CARGO_BIN_EXE_wardgate"))
            .args(["delegation", "grant", "--relation", relation, "--person", person, "--name", name])
            .args(["--patient", "p1", "--token-file"])
            .arg(&token)
            .arg("--socket")
            .arg(dir.join("operators.sock"))
            .output()
            .expect("it runs");
        assert!(granted.status.success(), "{granted:?}");
    }
    let pictures = std::env::var("PICTURES").ok();
    let told = world.play("delegation", "own", &json!({ "pictures": pictures }));
    assert_eq!(told["status"], json!({ "crossSite": 403, "other": [], "left": [] }), "{told}");
    let records = world.gateway.audit();
    let ended = records.iter().filter(|record| record["event"] == "delegation" && record["what"] == "ended");
    assert_eq!(ended.map(|record| record["result"].clone()).collect::<Vec<_>>(), ["patient", "patient"]);
}
