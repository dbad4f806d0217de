//! Pages on a host of their own, in a real browser: see `pages_host.mjs`.

use serde_json::json;

use super::{App, World};
use crate::support::Idp;

#[test]
fn what_is_confirmed_on_another_host_is_out_of_reach_of_the_portals_scripts() {
    let (issuer, app) = (Idp::start(), App::start());
    let text = crate::step_up::text_before(&issuer, app.address, "desk");
    let world = World::running(&crate::step_up::pages_host::apart(&text), app, issuer, None);
    world.gateway.wait_until_proofs_count();
    let played = world.play("pages_host", "apart", &json!({}));
    assert_eq!(played.as_array().map(Vec::len), Some(4), "a scenario was left out: {played}");
}
