//! The guide: makes a request, tells what happened, and compares it with what the policy promises.

use std::sync::Arc;

use serde_json::Value;

use crate::ask::{Answer, Ask, Token};
use crate::backends::Reached;
use crate::expected::Expected;
use crate::setting::Setting;
use crate::terminal::{Paint, Terminal, fold};
use crate::trail::{Record, Trail};

/// Whoever leads through the tour, and keeps count.
pub struct Guide<'g> {
    /// Who listens where.
    pub setting: &'g Setting,
    /// Asks the gateway and the issuer.
    pub client: &'g reqwest::Client,
    /// Where it is told.
    pub terminal: Terminal,
    trail: Trail,
    reached: Arc<Reached>,
    stops: u32,
    passed: u32,
    failed: u32,
}

impl<'g> Guide<'g> {
    /// A guide who has not begun.
    pub fn new(
        setting: &'g Setting,
        client: &'g reqwest::Client,
        reached: Arc<Reached>,
        terminal: Terminal,
    ) -> Self {
        let trail = Trail::from_here(&setting.audit);
        Self { setting, client, terminal, trail, reached, stops: 0, passed: 0, failed: 0 }
    }

    /// How many checks passed, and how many failed.
    pub fn count(&self) -> (u32, u32) {
        (self.passed, self.failed)
    }

    /// Announces the next stop.
    pub fn stop(&mut self, headline: &str) {
        self.stops += 1;
        self.terminal.say("");
        self.terminal.say(&self.terminal.paint(Paint::Bold, &format!("{}. {headline}", self.stops)));
    }

    /// Says something on the way.
    pub fn note(&self, text: &str) {
        self.terminal.say(&format!("   {}", fold(text)));
    }

    /// Prints a line for a shell.
    pub fn command(&self, line: &str) {
        self.terminal.say(&self.terminal.paint(Paint::Dim, &format!("   $ {line}")));
    }

    /// Gets a token as the printed line does.
    pub async fn token(&self, variable: &'static str, level: &str) -> Result<Token, String> {
        let fault = |error: reqwest::Error| format!("the issuer gives no token: {error}");
        let url = format!("{}/token?patient=p1&level={level}", self.setting.issuer_url);
        let answer = self
            .client
            .post(url)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(fault)?;
        Ok(Token { variable, text: answer.text().await.map_err(fault)?.trim().to_owned() })
    }

    /// Gets a token of somebody who has just signed in again with a second factor, and says so.
    pub async fn sign_in_again(&self) -> Result<Token, String> {
        self.command(&Token::export("AAL2", "aal2", self.setting));
        self.token("AAL2", "aal2").await
    }

    /// Sends a request and checks what comes of it.
    pub async fn send(&mut self, ask: Ask<'_>, expected: Expected) -> Result<Answer, String> {
        self.command(&ask.curl(self.setting.gateway));
        let before = self.reached.total();
        let answer = ask.send(self.client, self.setting.gateway).await?;
        self.judge(&answer, expected, before).await?;
        Ok(answer)
    }

    /// How many requests have reached a back end.
    pub fn reached(&self) -> u64 {
        self.reached.total()
    }

    /// Tells what happened, and compares it with what was expected; `before` requests had reached a back end.
    pub async fn judge(&mut self, answer: &Answer, expected: Expected, before: u64) -> Result<(), String> {
        let id = answer.header("x-wardgate-decision").ok_or("the answer has no decision id")?;
        let record = self.trail.find(id).await?;
        let reached = self.reached.total() > before;
        self.tell(answer, &record, reached);
        if expected.is_met(answer, &record, reached) {
            self.passed += 1;
        } else {
            self.failed += 1;
            self.note(&self.terminal.paint(Paint::Red, &format!("NOT AS EXPECTED: wanted {expected}")));
        }
        Ok(())
    }

    /// Counts a check beside the verdict.
    pub fn check(&mut self, holds: bool, claim: &str) {
        if holds {
            self.passed += 1;
            self.note(claim);
        } else {
            self.failed += 1;
            self.note(
                &self.terminal.paint(Paint::Red, &format!("NOT AS EXPECTED, this does not hold: {claim}")),
            );
        }
    }

    fn tell(&self, answer: &Answer, record: &Record, reached: bool) {
        let paint = match record.verdict() {
            "permit" => Paint::Green,
            "challenge" => Paint::Yellow,
            _ => Paint::Red,
        };
        let tier = if record.tier().is_empty() { String::new() } else { format!(", tier {}", record.tier()) };
        let verdict = self.terminal.paint(paint, &format!("{} {}", answer.status, record.verdict()));
        let way = if reached { "" } else { "; no back end was reached" };
        self.note(&format!("{verdict}{tier}, reason {}{way}", record.reason()));
        if let Some(challenge) = answer.header("www-authenticate") {
            self.note(&format!("WWW-Authenticate: {challenge}"));
        }
        if let (Some(title), Some(detail)) = (text(&answer.body, "title"), text(&answer.body, "detail")) {
            self.note(&format!("the caller reads: {title}. {detail}"));
        }
        for line in record.lines() {
            self.terminal.say(&self.terminal.paint(Paint::Dim, &format!("   audit {line}")));
        }
    }
}

fn text<'v>(body: &'v Value, name: &str) -> Option<&'v str> {
    body.get(name).and_then(Value::as_str)
}
