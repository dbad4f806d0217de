//! Every kind of route × caller × evidence, as one table that is reviewed like code.
//!
//! `decisions/policy.yaml` has the routes, `decisions/matrix.txt` the requests; the snapshot says what is asked for, in
//! which order, and what is decided. `INSTA_UPDATE=always cargo test --test decisions` writes what is decided now: read
//! the difference as a change of what the gateway lets through.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "decisions/anonymous.rs"]
mod anonymous;
#[path = "decisions/break_glass.rs"]
mod break_glass;
#[path = "decisions/delegation.rs"]
mod delegation;
#[path = "decisions/device.rs"]
mod device;
#[path = "decisions/duties.rs"]
mod duties;
#[path = "decisions/fhir.rs"]
mod fhir;
#[path = "decisions/fhir_bundles.rs"]
mod fhir_bundles;
#[path = "decisions/fhir_properties.rs"]
mod fhir_properties;
#[path = "decisions/fhir_writes.rs"]
mod fhir_writes;
#[path = "decisions/fragments.rs"]
mod fragments;
#[path = "decisions/gate.rs"]
mod gate;
#[path = "decisions/matrix.rs"]
mod matrix;
#[path = "decisions/named.rs"]
mod named;
#[path = "decisions/properties.rs"]
mod properties;
#[path = "decisions/replay.rs"]
mod replay;
#[path = "decisions/signals.rs"]
mod signals;
#[path = "decisions/world.rs"]
mod world;

#[test]
fn the_matrix_is_as_reviewed() {
    let table = matrix::render(&world::compile(world::POLICY));
    assert!(table.lines().count() < 1500, "the table is for reading: {} lines", table.lines().count());
    insta::with_settings!({ snapshot_path => "decisions/snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("matrix", table);
    });
}
