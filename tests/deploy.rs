//! What is shipped for running Wardgate is judged by the programs that read it: Helm, the schemas of Kubernetes, and others.
//! `scripts/setup.sh test` installs them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::process::Command;

/// Runs a script of `tests/deploy` with this build's `wardgate`; it must end well.
fn judged_by(script: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join(".tools/deploy/bin/python"))
        .current_dir(root)
        .arg(root.join("tests/deploy").join(script))
        .arg(env!("CARGO_BIN_EXE_wardgate"))
        .output()
        .expect("Python and its packages: run `scripts/setup.sh test`");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_chart_renders_in_both_modes_and_refuses_what_would_not_work() {
    judged_by("chart.py");
}

#[test]
fn helm_test_fails_when_the_application_answers_around_the_gateway() {
    judged_by("reachable.py");
}

#[test]
fn alerts_fire_when_they_should_and_dashboards_ask_for_metrics_that_exist() {
    judged_by("monitoring.py");
}

#[test]
fn the_manifests_are_what_the_chart_renders() {
    judged_by("manifests.py");
}

#[test]
fn the_unit_the_compose_file_and_the_image_hold_to_what_they_promise() {
    judged_by("machine.py");
}

#[test]
fn what_meshes_and_gateways_of_kubernetes_are_given_is_sound() {
    judged_by("meshes.py");
}

#[test]
fn the_first_steps_run_as_printed() {
    judged_by("first_steps.py");
}

#[test]
fn editors_find_mistakes_by_the_schema_and_none_in_what_loads() {
    judged_by("schema.py");
}
