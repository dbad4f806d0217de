//! After the tour: everything stays up, and each decision is shown as it is made.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;

use crate::ask::Token;
use crate::backends::Reached;
use crate::portal::Portal;
use crate::setting::Setting;
use crate::terminal::{Paint, Terminal};
use crate::trail::{Trail, text};

/// Prints how to go on.
pub fn invite(terminal: Terminal, setting: &Setting, portal: &Portal) {
    let headline = "Your turn. Ctrl-C ends the demo.";
    terminal.say(&format!("\n{}", terminal.paint(Paint::Bold, headline)));
    terminal.say(&format!(
        "   Open {} in a browser, and sign in as\n     alice or bob   patients\n     nora           a nurse\n     paula          a physician, whom no page here is for\n   There are no passwords. Change your address, and see what you are asked.\n   Sign out in one tab, and watch the live connection of another.",
        terminal.paint(Paint::Bold, &portal.url("/"))
    ));
    terminal.say("   Every line above works in another terminal.");
    terminal.say("   A token from a sign-in that is an hour old:");
    let export = Token::export("OLD", "aal2&age=3600", setting);
    terminal.say(&terminal.paint(Paint::Dim, &format!("   $ {export}")));
    terminal.say("   Your requests show here as they are decided:");
}

/// Shows decisions until it is dropped.
pub async fn watch(terminal: Terminal, audit: &Path) -> String {
    let mut trail = Trail::from_here(audit);
    loop {
        match trail.news() {
            Ok(events) => {
                events.iter().filter_map(|event| line(terminal, event)).for_each(|line| terminal.say(&line))
            }
            Err(why) => return why,
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// How often each back end was reached.
pub fn visits(reached: &Arc<Reached>) -> String {
    let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let (ehr, billing, telehealth) =
        (count(&reached.ehr), count(&reached.billing), count(&reached.telehealth));
    format!("requests that reached a back end: ehr {ehr}, billing {billing}, telehealth {telehealth}")
}

fn line(terminal: Terminal, event: &Value) -> Option<String> {
    let verdict = text(event, "verdict");
    let paint = match verdict {
        "permit" => Paint::Green,
        "challenge" => Paint::Yellow,
        "deny" => Paint::Red,
        // An outcome is news only where it takes the permit back.
        _ if text(event, "result") == "not_forwarded" => {
            return Some(format!("   {} not forwarded after all: {}", " ".repeat(10), text(event, "reason")));
        }
        _ => return None,
    };
    let or_none = |name| {
        if text(event, name).is_empty() { "-" } else { text(event, name) }
    };
    let verdict = terminal.paint(paint, &format!("{verdict:10}"));
    Some(format!(
        "   {verdict} {:9} {:24} {} {}",
        or_none("tier"),
        text(event, "reason"),
        text(event, "method"),
        or_none("action")
    ))
}
