//! What people see of a step-up, and the script for single-page applications: see `step_up.mjs`.

use serde_json::{Value, json};
use uuid::Uuid;
use wardgate::config::settings::PagesSettings;
use wardgate::enforce::sessions::{Choice, Page};
use wardgate::request::shown::shown;
use wardgate::serve::pages::Pages;

use super::World;

/// Each page as it is at its fullest, and where it has two shapes, in both.
fn pages() -> Vec<(&'static str, Page)> {
    let label = Some(Box::from("Change my address and telephone number"));
    let choice = |label: &str| Choice { label: label.into(), link: format!("/_wardgate/{}", label.len()) };
    let ways = vec![choice("Confirm on my phone"), choice("Sign in with a security key")];
    let others = vec![choice("Sign in with a security key"), choice("Call the clinic")];
    let body = json!({
        "home_address": "12 Long Meadow Lane, Apartment 3\nSpringfield",
        "email": "a.very.long.address.without.any.blank.in.it@department.hospital.example",
        "pin": "1234",
        "note": "",
        "mother_tongue": "عربي \u{202e}x",
        "contact": { "phones": ["+1 555 0100", "+1 555 0101"] },
        "too_many": (0..40).collect::<Vec<_>>(),
    });
    let shown = shown(Some("application/json"), body.to_string().as_bytes());
    let [again, back, cancel, here] = ["/again", "/back", "/cancel", "/here"].map(str::to_owned);
    let confirm = |shown| Page::Confirm {
        label: label.clone(),
        account: Some("ana.garcia@clinic.example".into()),
        shown,
        action: "/_wardgate/confirm".to_owned(),
        cancel: cancel.clone(),
    };
    vec![
        (
            "step-up-kept",
            Page::StepUp {
                label: label.clone(),
                ways: ways.clone(),
                kept: true,
                lost: false,
                back: Some(again.clone()),
            },
        ),
        ("step-up-lost", Page::StepUp { label: None, ways, kept: false, lost: true, back: None }),
        (
            "step-up-no-way",
            Page::StepUp {
                label: label.clone(),
                ways: Vec::new(),
                kept: false,
                lost: false,
                back: Some(again.clone()),
            },
        ),
        ("confirm", confirm(shown)),
        ("confirm-unread", confirm(Vec::new())),
        (
            "waiting",
            Page::Waiting {
                label: label.clone(),
                code: "K7M2-QX".into(),
                seconds: 5,
                here,
                others: others.clone(),
                cancel: cancel.clone(),
            },
        ),
        ("proven", Page::Proven),
        ("sent", Page::Sent { ok: true, back: back.clone() }),
        ("not-accepted", Page::Sent { ok: false, back: back.clone() }),
        ("already-sent", Page::AlreadySent(back.clone())),
        ("intent-gone", Page::IntentGone(back.clone())),
        ("link-gone", Page::LinkGone(back.clone())),
        ("other-person", Page::OtherPerson(back)),
        (
            "proof-refused",
            Page::ProofRefused { again: again.clone(), others: others.clone(), back: Some(again.clone()) },
        ),
        ("way-outage", Page::WayOutage { again, others: others.clone() }),
        ("too-many-prompts", Page::TooManyPrompts(others)),
    ]
}

#[test]
fn every_page_of_a_step_up_is_for_everybody() {
    let settings = PagesSettings { name: "St. Anna Hospital".into(), ..PagesSettings::default() };
    let pages_of = Pages::new(&settings);
    let rendered: Vec<Value> = ["en", "es"]
        .into_iter()
        .flat_map(|language| pages().into_iter().map(move |(name, page)| (language, name, page)))
        .map(|(language, name, page)| {
            let page = pages_of.page(&page, Some(language), Uuid::nil());
            json!({
                "name": format!("{name}-{language}"),
                "html": page.html,
                "policy": page.content_policy,
                "status": page.status,
            })
        })
        .collect();
    let pictures = std::env::var("PICTURES").ok();
    let world = World::start("");
    let seen =
        world.play("step_up", "everyStepUpPage", &json!({ "rendered": rendered, "pictures": pictures }));
    assert_eq!(seen, json!(rendered.len()), "a page was left out");
}

#[test]
fn the_script_repeats_once_what_was_proven_and_opens_nothing_foreign() {
    let world = World::start("");
    let played = world.play("step_up", "theScript", &json!({}));
    assert_eq!(played.as_array().map(Vec::len), Some(11), "a scenario was left out: {played}");
}
