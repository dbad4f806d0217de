//! What people do at a portal, each in a browser: see `people.mjs`.

use serde_json::json;

use super::World;
use crate::session::events;

fn play(world: &World, scenario: &str) {
    world.play("people", scenario, &json!({}));
}

#[test]
fn a_person_signs_in_on_the_way_to_a_legacy_page() {
    let world = World::start("");
    play(&world, "wayIn");
    assert_eq!(events(&world.gateway), [("sign_in".to_owned(), "ok".to_owned())]);
}

#[test]
fn ten_tabs_at_once_all_arrive() {
    let world = World::start("");
    play(&world, "tenTabs");
}

#[test]
fn a_session_that_ends_during_use_leads_back_to_where_one_was() {
    let world = World::start("      session: { idle: 2s, absolute: 1h }");
    world.play("people", "expiry", &json!({ "idleSeconds": 2 }));
}

#[test]
fn a_sign_in_that_took_too_long_is_begun_anew() {
    let world = World::start("");
    play(&world, "lateSignIn");
}

#[test]
fn people_choose_among_two_issuers() {
    let world = World::with_two_issuers();
    play(&world, "chooser");
}

#[test]
fn signing_out_in_one_tab_closes_the_socket_of_another() {
    let world = World::start("");
    play(&world, "signingOut");
    assert_eq!(events(&world.gateway).iter().filter(|(what, _)| what == "sign_out").count(), 1);
}

#[test]
fn the_next_person_at_a_shared_workstation_is_somebody_else() {
    let world = World::start("      shared_workstation: true");
    play(&world, "sharedWorkstation");
}

#[test]
fn everything_works_where_no_scripts_run() {
    let world = World::with_two_issuers();
    play(&world, "withoutScripts");
}
