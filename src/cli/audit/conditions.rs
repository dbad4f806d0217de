//! Which records somebody looks for.

use serde_json::Value;

/// Each condition narrows.
#[derive(Debug, clap::Args)]
pub struct Conditions {
    /// Not before this moment (RFC 3339, as `2026-11-22T10:00:00Z`).
    #[arg(long, value_name = "TIME")]
    since: Option<jiff::Timestamp>,
    /// Before this moment.
    #[arg(long, value_name = "TIME")]
    until: Option<jiff::Timestamp>,
    /// The event's name: `intent`, `decision`, `session` …
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// The action: a route's id.
    #[arg(long, value_name = "ID")]
    action: Option<String>,
    /// The tier.
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// `permit`, `challenge` or `deny`.
    #[arg(long, value_name = "VERDICT")]
    verdict: Option<String>,
    /// The decision's id, as people are told it.
    #[arg(long, value_name = "ID")]
    decision: Option<String>,
    /// A person's pseudonym (`s_…`).
    #[arg(long, value_name = "PSEUDONYM")]
    subject: Option<String>,
    /// A patient's pseudonym (`p_…`).
    #[arg(long, value_name = "PSEUDONYM")]
    patient: Option<String>,
}

impl Conditions {
    /// Whether a record is among them.
    pub(super) fn fit(&self, record: &Value) -> bool {
        let members = [
            ("event", &self.event),
            ("action", &self.action),
            ("tier", &self.tier),
            ("verdict", &self.verdict),
            ("decision", &self.decision),
            ("subject", &self.subject),
            ("patient", &self.patient),
        ];
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        let is_as_asked =
            members.into_iter().all(|(name, wanted)| wanted.is_none() || wanted.as_deref() == text(name));
        let time = text("time").and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let is_then = |time: jiff::Timestamp| {
            self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time < until)
        };
        is_as_asked && time.is_some_and(is_then)
    }
}
