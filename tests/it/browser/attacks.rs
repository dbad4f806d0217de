//! What might be tried against people's browsers, judged by a real one: see `redirects.mjs` and `attacks.mjs`.

use serde_json::json;

use super::World;

#[test]
fn nobody_is_led_away_from_the_portal() {
    // Thousands of sign-ins begin here, from one address.
    let many = "rate_limits: [{ name: many, per: address, requests: 10000, in: 1m }]\n";
    let world = World::start_with("", many);
    let count = world.play("redirects", "openRedirects", &json!({}));
    let count = |name: &str| count[name].as_u64().expect("a count");
    // Both kinds are there in numbers: what a browser would read as another's address, and what is kept as it is.
    assert!(
        count("tried") >= 3_000 && count("foreign") >= 1_000 && count("kept") >= 50,
        "{count:?}",
        count = [count("tried"), count("foreign"), count("kept")]
    );
}

#[test]
fn nobody_signs_somebody_else_in() {
    let world = World::start("");
    world.play("attacks", "loginCsrf", &json!({}));
}

#[test]
fn nobody_chooses_the_name_of_a_session_in_a_browser() {
    let world = World::start("");
    world.play("attacks", "fixation", &json!({}));
}

#[test]
fn others_pages_can_not_act_with_somebodys_session() {
    let world = World::start("");
    world.play("attacks", "crossSite", &json!({}));
    let refused: Vec<_> =
        world.gateway.audit().into_iter().filter(|record| record["reason"] == "cross_site").collect();
    // A form, a script and a socket, from the one host whose pages the cookie goes along with.
    assert_eq!(refused.len(), 3, "{refused:#?}");
}
