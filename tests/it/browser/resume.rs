//! Stronger proof in a real browser: what people sent goes on after it, once, and only for them: see `resume.mjs`.

use serde_json::json;

use super::{App, World};
use crate::support::Idp;

/// A gateway before a portal with routes that ask for proof; `more` is said beside.
fn world(more: &str) -> World {
    let (issuer, app) = (Idp::start(), App::start());
    let text = crate::step_up::text_before(&issuer, app.address, "desk") + more;
    let world = World::running(&text, app, issuer, None);
    world.gateway.wait_until_proofs_count();
    world
}

/// Plays so many scenarios, one after the other.
fn play(world: &World, group: &str, count: usize) {
    let played = world.play("resume", group, &json!({}));
    assert_eq!(played.as_array().map(Vec::len), Some(count), "a scenario was left out: {played}");
}

#[test]
fn whatever_was_sent_goes_on_as_it_was_after_the_proof() {
    play(&world(""), "whatever", 6);
}

#[test]
fn clicks_tabs_and_the_back_button_send_nothing_twice() {
    play(&world(""), "once", 4);
}

#[test]
fn what_was_sent_is_for_who_sent_it_and_as_long_as_they_are_there() {
    let world = world("");
    play(&world, "theirs", 4);
    let refused = crate::session::events(&world.gateway)
        .into_iter()
        .filter(|(what, result)| what == "step_up" && result != "ok");
    assert_eq!(refused.count(), 1, "the one who cancelled at the issuer");
}

#[test]
fn what_nobody_confirms_is_forgotten_and_they_are_told() {
    let short = "step_up: [{ name: again, type: oidc, label: Sign in again, resume: { ttl: 30s } }]\n";
    play(&world(short), "tooLate", 1);
}

#[test]
fn other_rules_ask_again() {
    play(&world(""), "otherRules", 1);
}

#[test]
fn a_single_page_application_goes_on_by_itself() {
    let world = world("");
    play(&world, "applications", 2);
}
