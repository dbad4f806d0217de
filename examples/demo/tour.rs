//! The stops of the tour: what a patient does, and what the gateway makes of it.

use futures_util::{SinkExt as _, StreamExt as _};
use http::Method;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::ask::{Answer, Ask, Token, wrap};
use crate::expected::Expected;
use crate::guide::Guide;

const RESULTS: &str = "/patients/p1/results/2024";
const PROFILE: &str = "/patients/p1/profile";
const PAYMENT: &str = "/patients/p1/invoices/42/payments";
const VISIT: &str = "/patients/p1/visits/7/ws";

/// Leads through every stop.
pub async fn lead(guide: &mut Guide<'_>) -> Result<(), String> {
    let password = &guide.token("AAL1", "aal1").await?;
    results(guide, password).await?;
    payment(guide, password).await?;
    another_patient(guide, password).await?;
    unclassified(guide, password).await?;
    forged_headers(guide).await?;
    profile(guide, password).await?;
    visit(guide, password).await?;
    nobody(guide).await
}

async fn results(guide: &mut Guide<'_>, password: &Token) -> Result<(), String> {
    guide.stop("A patient reads her own results. Her password is enough: reading them is low risk.");
    let answer = guide.send(Ask::get(RESULTS).with(password), Expected::permit("low")).await?;
    let caller = answer.body.get("caller").map(Value::to_string).unwrap_or_default();
    guide.check(
        caller.contains("patients:account-p1"),
        &format!("The EHR verified the gateway's signature and knows the caller: {caller}"),
    );
    guide.check(!answer.body.to_string().contains("authorization"), "Her token stayed at the gateway.");
    Ok(())
}

async fn payment(guide: &mut Guide<'_>, password: &Token) -> Result<(), String> {
    guide
        .stop("She pays a bill. That is high risk: it asks for a second factor, not older than ten minutes.");
    let pay = || Ask::send_json(Method::POST, PAYMENT, r#"{"cents":4200}"#);
    let answer = guide.send(pay().with(password), Expected::challenge("high", "level_too_low")).await?;
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    let names_all =
        challenge.contains(r#"acr_values="urn:clinic:loa:2""#) && challenge.contains(r#"max_age="600""#);
    guide.check(
        names_all,
        "The challenge names the level and the age. Her app asks the issuer for just that, and tries again:",
    );
    let fresh = guide.sign_in_again().await?;
    guide.send(pay().with(&fresh), Expected::permit("high")).await?;
    Ok(())
}

async fn another_patient(guide: &mut Guide<'_>, password: &Token) -> Result<(), String> {
    guide.stop("She tries another patient's results.");
    guide
        .send(Ask::get("/patients/p2/results/2024").with(password), Expected::deny(403, "low", "no_relation"))
        .await?;
    Ok(())
}

async fn unclassified(guide: &mut Guide<'_>, password: &Token) -> Result<(), String> {
    guide.stop("She opens something that nobody has classified.");
    guide.send(Ask::get("/patients/p1/notes").with(password), Expected::deny(404, "", "no_route")).await?;
    Ok(())
}

async fn forged_headers(guide: &mut Guide<'_>) -> Result<(), String> {
    guide.stop("She pretends to be somebody else towards billing, which believes the header X-Remote-User.");
    let fresh = guide.sign_in_again().await?;
    let pay = || Ask::send_json(Method::POST, PAYMENT, r#"{"cents":4200}"#).with(&fresh);
    let answer =
        guide.send(pay().with_headers(&[("X-Remote-User", "admin")]), Expected::permit("high")).await?;
    let payer = answer.body.get("payer").and_then(Value::as_str).unwrap_or_default();
    guide.check(
        payer == "patients:account-p1",
        &format!("Billing saw `X-Remote-User: {payer}`: her header was taken off."),
    );
    guide.note("The same with underscores, which some servers read as dashes:");
    let variant = pay().with_headers(&[("X_Remote_User", "admin")]);
    guide.send(variant, Expected::deny(400, "", "bad_header_name")).await?;
    Ok(())
}

async fn profile(guide: &mut Guide<'_>, password: &Token) -> Result<(), String> {
    guide.stop("She changes her profile: the action is critical, unless the body proves to be harmless.");
    let change = |body| Ask::send_json(Method::PATCH, PROFILE, body);
    guide.note("The hour of her reminder, with the password only:");
    let reminder = change(r#"{"reminder_time":"18:00"}"#);
    guide.send(reminder.with(password), Expected::permit("moderate")).await?;
    guide.note("Her address, with the password only:");
    let address = || change(r#"{"address":"7 Elm Street"}"#);
    guide.send(address().with(password), Expected::challenge("critical", "level_too_low")).await?;
    guide.note("With a second factor from just now:");
    let fresh = guide.sign_in_again().await?;
    guide.send(address().with(&fresh), Expected::permit("critical")).await?;
    guide.note("The same once more. One sign-in pays for one critical action, and this one is spent:");
    guide.send(address().with(&fresh), Expected::challenge("critical", "proof_already_spent")).await?;
    Ok(())
}

async fn visit(guide: &mut Guide<'_>, password: &Token) -> Result<(), String> {
    guide.stop("She joins her video visit, a WebSocket.");
    let gateway = guide.setting.gateway;
    guide.command(&wrap(&[
        format!("curl -i --max-time 2 http://{gateway}{VISIT}"),
        format!("-H \"Authorization: Bearer ${}\"", password.variable),
        "-H 'Connection: Upgrade' -H 'Upgrade: websocket'".to_owned(),
        "-H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='".to_owned(),
    ]));
    let before = guide.reached();
    let fault =
        |error: tokio_tungstenite::tungstenite::Error| format!("the WebSocket does not work: {error}");
    let mut request = format!("ws://{gateway}{VISIT}").into_client_request().map_err(fault)?;
    let bearer =
        format!("Bearer {}", password.text).parse().map_err(|_| "the token does not fit into a header")?;
    request.headers_mut().insert(http::header::AUTHORIZATION, bearer);
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.map_err(fault)?;
    socket.send(Message::text("hello")).await.map_err(fault)?;
    let reply = match socket.next().await {
        Some(Ok(Message::Text(text))) => serde_json::from_str::<Value>(&text).unwrap_or_default(),
        Some(Err(error)) => return Err(fault(error)),
        Some(Ok(_)) | None => Value::Null,
    };
    socket.close(None).await.map_err(fault)?;
    while let Some(Ok(_)) = socket.next().await {}
    let answer =
        Answer { status: response.status().as_u16(), headers: response.headers().clone(), body: Value::Null };
    guide.judge(&answer, Expected::switch("moderate"), before).await?;
    let heard = |name| reply.get(name).and_then(Value::as_str).unwrap_or_default();
    let claim =
        format!("She said `{}`, the waiting room answered `{}`.", heard("you_said"), heard("waiting_room"));
    guide.check(heard("you_said") == "hello" && heard("patient") == "p1", &claim);
    Ok(())
}

async fn nobody(guide: &mut Guide<'_>) -> Result<(), String> {
    guide.stop("Somebody who has not signed in asks for her results.");
    let answer = guide.send(Ask::get(RESULTS), Expected::deny(401, "low", "credentials_missing")).await?;
    guide.check(
        answer.header("www-authenticate") == Some("Bearer"),
        "The challenge is bare: it says how to sign in and nothing else.",
    );
    Ok(())
}
