//! Wardgate at work on this machine: the real gateway between a development issuer and three example back ends, and a
//! guided tour that checks each answer against the audit trail.
//!
//! `make demo` runs it and leaves everything up to play with; `make demo TOUR=once` ends after the tour, with success
//! only if every verdict was the expected one.

mod ask;
mod assertion;
mod backends;
mod expected;
mod gateway;
mod guide;
mod issuer;
mod person;
mod play;
mod portal;
mod serve;
mod setting;
mod sign_in;
mod telehealth;
mod terminal;
mod tour;
mod trail;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::ask::Token;
use crate::assertion::Assertions;
use crate::backends::{Billing, Ehr, Reached};
use crate::gateway::Gateway;
use crate::guide::Guide;
use crate::issuer::Issuer;
use crate::portal::Portal;
use crate::setting::Setting;
use crate::terminal::{Paint, Terminal};

/// The configuration, in the directory where the demo is started.
const CONFIG: &str = "gateway.yaml";

#[tokio::main]
async fn main() -> ExitCode {
    match run(Terminal::new()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("demo: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the whole demo; says whether every verdict was the expected one.
async fn run(terminal: Terminal) -> Result<bool, String> {
    // The HTTP client's TLS needs a provider even where only plain HTTP is spoken.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| "another cryptography provider is installed already")?;
    let setting = Setting::read(Path::new(CONFIG))?;
    setting.check_ports()?;
    let client = client()?;
    let reached = Arc::new(Reached::default());
    introduce(terminal, &setting);
    start_surroundings(&setting, &client, &reached).await?;
    let mut gateway = Gateway::start(&setting.config, "gateway")?;
    let mut portal = Portal::start().await?;
    let shown = tokio::select! {
        shown = show(terminal, &setting, &client, &reached, (&mut gateway, &mut portal)) => shown,
        ended = told_to_stop() => ended.map(|()| !unattended()),
    };
    terminal.begin("\nstopping the gateways: ");
    let stopped = gateway.stop().await.and(portal.stop().await);
    terminal.say(if stopped.is_ok() { "done" } else { "failed" });
    let all_passed = shown?;
    stopped?;
    Ok(all_passed)
}

/// Waits for the gateway, leads the tour, and stays up unless `TOUR=once`.
async fn show(
    terminal: Terminal,
    setting: &Setting,
    client: &reqwest::Client,
    reached: &Arc<Reached>,
    (gateway, portal): (&mut Gateway, &mut Portal),
) -> Result<bool, String> {
    terminal.begin(&format!("  gateway     http://{}   starting: ", setting.gateway));
    let took = gateway.ready(client, setting.telemetry).await.inspect_err(|_| terminal.say("failed"))?;
    terminal.say(&format!("ready after {} ms", took.as_millis()));
    terminal.say(&format!("              configuration {CONFIG}, log {}", gateway.log().display()));
    terminal.begin(&format!("  portal      {}   for browsers, starting: ", portal.url("/")));
    let took = portal.ready(client).await.inspect_err(|_| terminal.say("failed"))?;
    terminal.say(&format!("ready after {} ms", took.as_millis()));
    terminal.say("\nTo repeat a line below in another terminal, get tokens first:");
    for (variable, level) in [("AAL1", "aal1"), ("AAL2", "aal2")] {
        terminal
            .say(&terminal.paint(Paint::Dim, &format!("   $ {}", Token::export(variable, level, setting))));
    }
    terminal.say(&format!("Audit lines are shortened here; they are whole in {}.", setting.audit.display()));

    let mut guide = Guide::new(setting, client, Arc::clone(reached), terminal);
    let finished = match tour::lead(&mut guide).await {
        Ok(()) => sign_in::lead(&mut guide, portal).await,
        broken_off => broken_off,
    };
    let (passed, failed) = guide.count();
    let all_passed = failed == 0 && finished.is_ok();
    let summary = format!("{passed} passed, {failed} failed");
    let paint = if all_passed { Paint::Green } else { Paint::Red };
    terminal.say(&format!("\n{} ({})", terminal.paint(paint, &summary), play::visits(reached)));
    finished.map_err(|why| format!("the tour broke off: {why}"))?;
    if unattended() {
        return Ok(all_passed);
    }
    play::invite(terminal, setting, portal);
    let audit = portal.audit().to_owned();
    tokio::select! {
        why = play::watch(terminal, &setting.audit) => Err(why),
        why = play::watch(terminal, &audit) => Err(why),
        why = gateway.watch() => Err(why),
        why = portal.watch() => Err(why),
    }
}

/// Whether the tour is all there is to do.
fn unattended() -> bool {
    std::env::var("TOUR").is_ok_and(|tour| tour == "once")
}

fn introduce(terminal: Terminal, setting: &Setting) {
    terminal.say(
        &terminal.paint(Paint::Bold, "Wardgate asks for proof in proportion to the risk of the action."),
    );
    let parts = [
        ("issuer", setting.issuer, "signs test tokens for anybody who asks"),
        ("ehr", setting.ehr, "health records, FHIR and profile"),
        ("billing", setting.billing, "payments"),
        ("telehealth", setting.telehealth, "video visits over WebSocket"),
    ];
    for (name, address, what) in parts {
        terminal.say(&format!("  {name:11} http://{address}   {what}"));
    }
}

async fn start_surroundings(
    setting: &Setting,
    client: &reqwest::Client,
    reached: &Arc<Reached>,
) -> Result<(), String> {
    serve::serve(setting.issuer, Issuer::new(&setting.issuer_url, &setting.audience)?).await?;
    let assertions = Assertions::new(client.clone(), setting.telemetry);
    serve::serve(setting.ehr, Ehr::new(Arc::clone(reached), assertions)).await?;
    serve::serve(setting.billing, Billing { reached: Arc::clone(reached) }).await?;
    telehealth::serve(setting.telehealth, Arc::clone(reached)).await
}

fn client() -> Result<reqwest::Client, String> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(10));
    builder.build().map_err(|error| format!("the HTTP client can't be made: {error}"))
}

/// Ctrl-C, `kill`, or a closed terminal.
async fn told_to_stop() -> Result<(), String> {
    let fault = |error: std::io::Error| format!("signals can't be received: {error}");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fault)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(fault)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(fault)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
