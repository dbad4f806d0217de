//! How the gateway's own pages look, and whether everybody can use them: see `pages.mjs`.

use serde_json::{Value, json};

use super::World;

#[test]
fn every_page_is_for_everybody() {
    let world = World::with_two_issuers();
    // Where somebody wants to look at them, pictures are kept.
    let pictures = std::env::var("PICTURES").ok();
    let seen = world.play("pages", "everyPage", &json!({ "pictures": pictures }));
    let seen: Vec<&str> = seen.as_array().expect("names").iter().filter_map(Value::as_str).collect();
    let all = [
        "chooser",
        "signed-out",
        "expired",
        "failed",
        "malformed",
        "outage",
        "denied",
        "ended",
        "uncertain",
        "challenge",
        "not-found",
        "confirm-sign-out",
    ];
    assert_eq!(seen, all, "a page was left out");
}
