//! The pages as they are sent.

use super::*;
use crate::decision::Offer;
use crate::enforce::break_glass::{Form, Given, Wanted};
use crate::enforce::sessions::ActsForYou;
use crate::request::shown::{Shown, ShownValue};

fn pages() -> Pages {
    Pages::new(&PagesSettings { name: "St. <Anna> & Sons".into(), ..PagesSettings::default() })
}

const EVIL: &str = "\"><script>alert(1)</script>";

/// Every page of a step-up, with what somebody evil could put on it.
fn step_up() -> Vec<Page> {
    let label = Some(Box::from(EVIL));
    let ways = vec![
        Choice { label: EVIL.into(), link: "/_wardgate/one".into() },
        Choice { label: "By phone".into(), link: format!("/_wardgate/two?x={EVIL}") },
    ];
    let row = |name: &str, value| Shown { name: name.into(), value };
    let shown = vec![
        row("Home address", ShownValue::Text(EVIL.into())),
        row(EVIL, ShownValue::Text("".into())),
        row("", ShownValue::Text("x".into())),
        row("Pin", ShownValue::Hidden),
        row("Scan", ShownValue::File { name: EVIL.into(), bytes: 1_500_000 }),
        row("", ShownValue::More(7)),
    ];
    let (again, back, cancel) = (EVIL.to_owned(), EVIL.to_owned(), EVIL.to_owned());
    vec![
        Page::StepUp {
            label: label.clone(),
            ways: ways.clone(),
            kept: true,
            lost: false,
            back: Some(again.clone()),
        },
        Page::StepUp { label: None, ways: ways.clone(), kept: false, lost: true, back: None },
        Page::StepUp {
            label: label.clone(),
            ways: Vec::new(),
            kept: true,
            lost: true,
            back: Some(again.clone()),
        },
        Page::Confirm {
            label: label.clone(),
            account: Some(EVIL.into()),
            shown,
            action: EVIL.to_owned(),
            cancel: EVIL.to_owned(),
        },
        Page::Confirm {
            label: None,
            account: None,
            shown: Vec::new(),
            action: "/a".into(),
            cancel: "/".into(),
        },
        Page::Waiting {
            label,
            code: EVIL.into(),
            seconds: 5,
            here: EVIL.to_owned(),
            others: ways.clone(),
            cancel,
        },
        Page::Proven,
        Page::Sent { ok: true, back: back.clone() },
        Page::Sent { ok: false, back: back.clone() },
        Page::AlreadySent(back.clone()),
        Page::IntentGone(back.clone()),
        Page::OtherPerson(back),
        Page::ProofRefused { again: again.clone(), others: ways.clone(), back: Some(again.clone()) },
        Page::WayOutage { again, others: ways.clone() },
        Page::TooManyPrompts(ways),
    ]
}

/// Every page on the way through the glass, the same.
fn break_glass() -> Vec<Page> {
    let asked = |given, needs_code| {
        let offer = Offer { reason_codes: vec![EVIL.into()], text_min: 20 };
        let wanted = Wanted { offer, needs_code };
        Page::BreakGlass(Form { to: EVIL.to_owned(), action: "/_wardgate/break-glass", wanted, given })
    };
    vec![
        asked(None, false),
        asked(Some(Given { code: EVIL.to_owned(), text: EVIL.to_owned() }), true),
        Page::BreakGlassProof(EVIL.to_owned()),
        Page::BreakGlassSuspended(EVIL.to_owned()),
        Page::BreakGlassDrill(EVIL.to_owned()),
    ]
}

/// A patient's page about those who act for them, the same.
fn delegations() -> Vec<Page> {
    let person = |waits| ActsForYou {
        name: EVIL.into(),
        relation: "caregiver".into(),
        until: "2027-03-01".to_owned(),
        waits,
    };
    let ends = vec![Choice { label: EVIL.into(), link: EVIL.to_owned() }; 2];
    vec![
        Page::Delegations { people: Vec::new(), ends: Vec::new() },
        Page::Delegations { people: vec![person(false), person(true)], ends },
        Page::EndDelegation { name: EVIL.into(), action: EVIL.to_owned(), back: "/_wardgate/delegations" },
    ]
}

fn english(page: &Page) -> Rendered {
    pages().page(page, None, Uuid::nil())
}

/// How often a text stands in a page.
fn count(page: &Rendered, text: &str) -> usize {
    page.html.matches(text).count()
}

#[test]
fn a_step_ups_pages_have_their_status_and_nothing_that_loads_itself() {
    let statuses: Vec<u16> = step_up().iter().map(|page| english(page).status).collect();
    assert_eq!(statuses, [401, 401, 401, 200, 200, 200, 200, 200, 502, 409, 410, 403, 403, 503, 429]);
    for page in step_up() {
        // The application's answer to what is confirmed may lead anywhere.
        let leads = if matches!(page, Page::Confirm { .. }) { "'self' *;" } else { "'self';" };
        let page = english(&page);
        assert!(!page.html.contains("http-equiv") && !page.html.contains("{label}"), "{}", page.html);
        assert!(page.content_policy.contains(&format!("form-action {leads}")), "{}", page.content_policy);
        assert!(!page.html.contains(EVIL) && count(&page, "<h1>") == 1);
    }
}

#[test]
fn a_step_up_says_what_becomes_of_what_was_sent() {
    let ways = vec![
        Choice { label: "By phone".into(), link: "/phone".into() },
        Choice { label: "By card".into(), link: "/card".into() },
    ];
    let again = [Choice { label: Box::default(), link: "/again".into() }];
    let nameless = Page::StepUp { label: None, ways: again.to_vec(), kept: false, lost: false, back: None };
    assert!(english(&nameless).html.contains(">Sign in again</a>"));
    assert!(pages().page(&nameless, Some("es"), Uuid::nil()).html.contains(">Iniciar sesión de nuevo</a>"));
    let page = |label: Option<&str>, ways: &[Choice], kept, lost| {
        let (label, ways) = (label.map(Into::into), ways.to_vec());
        english(&Page::StepUp { label, ways, kept, lost, back: None })
    };
    let kept = page(Some("Pay a bill"), &ways, true, false);
    assert_eq!((count(&kept, "is kept for"), count(&kept, "could not be kept")), (1, 0));
    assert_eq!(count(&kept, "“Pay a bill” needs a fresh proof"), 1);
    assert_eq!(count(&kept, "<a class=\"action\" href=\"/phone\">By phone</a>"), 1);
    assert_eq!(count(&kept, "<a class=\"action second\" href=\"/card\">By card</a>"), 1);
    let lost = page(None, &ways, false, true);
    assert_eq!(
        (count(&lost, "is kept for"), count(&lost, "could not be kept"), count(&lost, "this needs")),
        (0, 1, 1)
    );
    let none = page(None, &[], true, false);
    assert_eq!(
        (count(&none, "is kept for"), count(&none, "<a "), count(&none, "Nothing was sent")),
        (0, 0, 1)
    );
}

#[test]
fn the_way_through_the_glass_says_what_it_takes_and_keeps_what_was_written() {
    let pages = break_glass().into_iter().map(|page| english(&page)).collect::<Vec<_>>();
    assert_eq!(pages.iter().map(|page| page.status).collect::<Vec<_>>(), [200, 400, 401, 403, 200]);
    let (first, again) = (&pages[0], &pages[1]);
    for page in [first, again] {
        assert_eq!((count(page, "minlength=\"20\""), count(page, "At least 20 characters")), (1, 1));
        assert_eq!(
            (count(page, "<form "), count(page, "<label for=")),
            (1, if page.html.contains("offline") { 3 } else { 2 })
        );
    }
    assert_eq!((count(first, "write a little more"), count(again, "write a little more")), (0, 1));
    assert_eq!((count(first, "offline_code"), count(again, "name=\"offline_code\"")), (0, 1));
    assert_eq!((count(first, " selected>"), count(again, " selected>")), (0, 1));
    assert!(again.html.contains("alert(1)&#60;/script&#62;</textarea>"), "{}", again.html);
}

#[test]
fn a_patient_sees_who_acts_for_them_and_is_asked_before_it_ends() {
    let pages = delegations().into_iter().map(|page| english(&page)).collect::<Vec<_>>();
    assert_eq!(pages.iter().map(|page| page.status).collect::<Vec<_>>(), [200; 3]);
    assert_eq!((count(&pages[0], "<form"), count(&pages[0], "<dl>")), (0, 0));
    assert_eq!(
        (count(&pages[1], "<dt>"), count(&pages[1], "until 2027-03-01"), count(&pages[1], "stopped until")),
        (2, 1, 1)
    );
    assert_eq!((count(&pages[1], "<form"), count(&pages[1], "<li>")), (0, 2));
    assert_eq!((count(&pages[2], "<form"), count(&pages[2], "No, go back")), (1, 1));
}

#[test]
fn what_is_to_be_confirmed_stands_on_the_page() {
    let body = b"home_address=2+New+Road&pin=1234&note=";
    let shown = crate::request::shown::shown(Some("application/x-www-form-urlencoded"), body);
    let confirm = |shown: &[Shown]| {
        english(&Page::Confirm {
            label: Some("Change my address".into()),
            account: Some("ana@example.org".into()),
            shown: shown.to_vec(),
            action: "/_wardgate/go?i=1&j=2".into(),
            cancel: "/profile".into(),
        })
    };
    let page = confirm(&shown);
    assert_eq!(count(&page, "<h1>Please check: Change my address</h1>"), 1);
    assert_eq!(count(&page, "<dt><bdi>Home address</bdi></dt><dd><bdi>2 New Road</bdi></dd>"), 1);
    assert_eq!(count(&page, "<dt><bdi>Note</bdi></dt><dd class=\"remark\"><bdi>empty</bdi></dd>"), 1);
    assert_eq!(count(&page, "<p>You are signed in as ana@example.org.</p>"), 1);
    assert_eq!((count(&page, "1234"), count(&page, "not shown<")), (0, 1));
    let form = "<form method=\"post\" action=\"/_wardgate/go?i=1&#38;j=2\"><button class=\"action\" type=\"submit\">Yes, do it: Change my address</button></form>";
    assert_eq!((count(&page, form), count(&page, "<form"), count(&page, "<button")), (1, 1, 1));
    assert_eq!(count(&page, "<a href=\"/profile\">No, go back</a>"), 1);
    assert_eq!((count(&page, "can&#39;t be shown"), count(&confirm(&[]), "can&#39;t be shown")), (0, 1));
    let many = vec![Shown { name: "".into(), value: ShownValue::More(7) }];
    assert_eq!(count(&confirm(&many), "And 7 more"), 1);
    // What stands in the address must not look like all there is.
    let beside = [&shown[..1], &[Shown { name: "".into(), value: ShownValue::Unread }]].concat();
    assert_eq!(count(&confirm(&beside), "can&#39;t be shown"), 1);
}

#[test]
fn the_code_is_on_the_page_that_waits() {
    let mut waiting = Page::Waiting {
        label: Some("Pay a bill".into()),
        code: "K7-M2".into(),
        seconds: 5,
        here: "/here".into(),
        others: vec![Choice { label: "By card".into(), link: "/card".into() }],
        cancel: "/bills".into(),
    };
    let page = english(&waiting);
    assert_eq!((count(&page, "<p class=\"code\">K7-M2</p>"), count(&page, "can take 5 seconds")), (1, 1));
    let Page::Waiting { ref mut code, .. } = waiting else { unreachable!() };
    *code = Box::default();
    let asked = english(&waiting);
    assert_eq!(
        (count(&asked, "class=\"code\""), count(&asked, "code there"), count(&asked, "say no")),
        (0, 0, 1)
    );
    for link in
        ["class=\"action\" href=\"/here\"", "class=\"action second\" href=\"/card\"", "href=\"/bills\""]
    {
        assert_eq!(count(&page, link), 1, "{link}");
    }
}

#[test]
fn every_page_is_whole_in_every_language_and_runs_nothing() {
    let choices =
        vec![Choice { label: "Patients \"A\"".into(), link: "/_wardgate/sign-in?to=%2F&x=<".into() }];
    let mut all = vec![
        Page::Chooser(choices),
        Page::ConfirmSignOut { leads_to: Some("https://login.example".into()) },
        Page::SignedOut,
        Page::Expired("/a\"><script>".to_owned()),
        Page::Failed("/".to_owned()),
        Page::Outage("/".to_owned()),
        Page::Malformed,
    ];
    all.extend(step_up());
    all.extend(break_glass());
    all.extend(delegations());
    for (accepts, tag) in [(Some("es-MX,es;q=0.9,en;q=0.8"), "es"), (Some("de"), "en"), (None, "en")] {
        for page in &all {
            let Rendered { html, content_policy, language, .. } = pages().page(page, accepts, Uuid::nil());
            assert_eq!(language, tag);
            assert!(html.contains(&format!("<html lang=\"{tag}\">")), "{html}");
            assert!(html.contains(&Uuid::nil().to_string()), "the decision's id: {html}");
            assert!(html.contains("St. &#60;Anna&#62; &#38; Sons"), "escaped: {html}");
            assert!(!html.contains("<script") && !html.contains("href=\"http"), "{html}");
            assert!(content_policy.starts_with("default-src 'none'; style-src 'sha256-"));
            assert!(!content_policy.contains("script-src") && !content_policy.contains("unsafe"));
            assert!(content_policy.contains("frame-ancestors 'none'"));
        }
    }
    let confirm = pages().page(&all[1], None, Uuid::nil());
    assert!(confirm.content_policy.contains("form-action 'self' https://login.example;"));
    assert!(confirm.html.contains("<form method=\"post\" action=\"/_wardgate/sign-out\">"));
}

#[test]
fn a_refusals_page_has_its_status() {
    for status in [400, 401, 403, 404, 405, 429, 500, 503] {
        let page = pages().refusal(status, "/again", Some("es"), Uuid::nil());
        assert_eq!((page.status, page.language), (status, "es"));
        assert_eq!(page.html.contains("href=\"/again\""), status == 429 || status >= 500, "{status}");
    }
}
