//! The stops of the tour at which a browser stands in the place of an app.

use http::{Method, header};

use crate::guide::Guide;
use crate::person::{CLICK, Person, SCRIPT};
use crate::portal::Portal;

/// Leads through every stop.
pub async fn lead(guide: &mut Guide<'_>, portal: &Portal) -> Result<(), String> {
    let mut alice = Person::new(guide.client, "alice");
    signing_in(guide, portal, &mut alice).await?;
    stepping_up(guide, portal, &mut alice).await?;
    others(guide, portal, &mut alice).await?;
    signing_out(guide, portal, &mut alice).await
}

async fn signing_in(guide: &mut Guide<'_>, portal: &Portal, alice: &mut Person<'_>) -> Result<(), String> {
    guide.stop("A browser, and a portal that knows nothing of signing in. Alice opens her pages there.");
    let page = alice.go(&portal.url("/my")).await?;
    guide.check(
        page.status == 200 && page.url.as_str() == portal.url("/my"),
        "She was sent to the issuer, signed in, and is back at the very page she asked for.",
    );
    guide.check(
        page.body.contains("X-Remote-User: people:alice"),
        "The portal read `X-Remote-User: people:alice`. It never saw a password, a token or a cookie.",
    );
    guide.check(
        alice.session().is_some_and(|name| name.len() == 43),
        "Her browser holds a name of 256 bits; what it stands for lies sealed in the gateway's store.",
    );
    Ok(())
}

async fn stepping_up(guide: &mut Guide<'_>, portal: &Portal, alice: &mut Person<'_>) -> Result<(), String> {
    guide.stop("She reads her results, and changes her address: a critical action. The portal knows nothing of that.");
    let page = alice.go(&portal.url("/patients/p1/results/2024")).await?;
    guide.check(page.status == 200, "Her results are there at once.");
    let (profile, form) = (portal.url("/patients/p1/profile"), Some("address=7+Elm+Street".to_owned()));
    let asked = alice.ask(Method::POST, &profile, &CLICK, form).await?;
    guide.check(
        asked.status == 401 && asked.body.contains("Please confirm that it is you"),
        "For the address she reads that a fresh proof is needed. What she filled in is kept, sealed.",
    );
    let confirm = alice.go(&asked.link("/_wardgate/step-up?")?).await?;
    guide.check(
        confirm.status == 200 && ["Change your address", "7 Elm Street"].iter().all(|it| confirm.body.contains(it)),
        "The issuer asks for a second factor. Then she sees what she is about to do: Change your address, 7 Elm Street.",
    );
    let page = alice.go(&profile).await?;
    guide.check(page.body.contains("1 Main Street"), "Until she says yes, the portal has the old address.");
    let yes = || Some(String::new());
    let done = alice.ask(Method::POST, &confirm.form()?, &CLICK, yes()).await?;
    let page = alice.go(&profile).await?;
    guide.check(
        done.status == 303 && page.body.contains("Post goes to: <b>7 Elm Street</b>"),
        "She says yes: the very form she sent goes on to the portal, which has the new address.",
    );
    let again = alice.ask(Method::POST, &confirm.form()?, &CLICK, yes()).await?;
    guide.check(
        again.status == 409 && again.body.contains("This was confirmed before"),
        "Yes once more, by a double click or the back button: it is sent once, and she is told so.",
    );
    Ok(())
}

async fn others(guide: &mut Guide<'_>, portal: &Portal, alice: &mut Person<'_>) -> Result<(), String> {
    guide.stop("She follows a link to somebody else's results, and another site tries to act in her name.");
    let page = alice.go(&portal.url("/patients/p2/results/2024")).await?;
    let decision =
        page.headers.get("x-wardgate-decision").and_then(|id| id.to_str().ok()).unwrap_or_default();
    guide.check(
        page.status == 403 && !decision.is_empty() && page.body.contains(decision),
        "She reads a page in plain words, with the decision's number for support.",
    );
    let note = || Some("note=forged".to_owned());
    let forged = [("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Site", "cross-site")];
    let answer = alice.ask(Method::POST, &portal.url("/my/notes"), &forged, note()).await?;
    guide.check(answer.status == 403, "A form on another site's page, sent with her session, is refused.");
    let answer = alice.ask(Method::POST, &portal.url("/my/notes"), &CLICK, note()).await?;
    guide.check(answer.status == 200, "The same form on the portal's own page works.");
    Ok(())
}

async fn signing_out(guide: &mut Guide<'_>, portal: &Portal, alice: &mut Person<'_>) -> Result<(), String> {
    guide.stop("She signs out. Somebody has copied her cookie.");
    let cookie = format!("__Host-wardgate-session={}", alice.session().unwrap_or_default());
    let answer = alice.ask(Method::POST, &portal.url("/_wardgate/sign-out"), &CLICK, None).await?;
    let onward = answer.headers.get(header::LOCATION).and_then(|next| next.to_str().ok()).unwrap_or_default();
    guide.check(
        answer.status == 303 && onward.contains("post_logout_redirect_uri="),
        "Her session has ended, and she goes on to the issuer to sign out there too.",
    );
    let mut thief = Person::new(guide.client, "nobody");
    let mut stolen = SCRIPT.to_vec();
    stolen.push(("Cookie", &cookie));
    let answer = thief.ask(Method::GET, &portal.url("/my"), &stolen, None).await?;
    guide.check(
        answer.status == 401 && !answer.headers.contains_key(header::LOCATION),
        "The copy is worthless at once. A script gets a plain 401, never a redirection.",
    );
    Ok(())
}
