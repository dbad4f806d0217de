//! What is read of a record for deciding it again.

use serde::Deserialize;

use super::otherwise::Otherwise;

/// A line of the trail, as far as it is needed.
#[derive(Debug, Deserialize)]
pub struct Line {
    /// The event's name.
    pub event: String,
    /// When it was (RFC 3339).
    pub time: jiff::Timestamp,
    /// The decision's id.
    #[serde(default)]
    pub decision: String,
    /// The subject's pseudonym.
    #[serde(default)]
    pub subject: Option<String>,
    /// How many there were, of what was only counted.
    #[serde(default)]
    count: Option<u64>,
    #[serde(default)]
    verdict: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    template: Option<String>,
    #[serde(default)]
    tier: Option<String>,
    #[serde(default)]
    patient: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    account: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    bundle: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    input: Option<Input>,
}

/// What a line is.
#[derive(Debug)]
pub enum Read {
    /// A decision.
    Decision(Box<Line>),
    /// So many answers that were only counted.
    Counted(u64),
    /// Something else.
    Other,
    /// No record at all.
    Unreadable,
}

/// Reads a line, without its end.
pub fn read(line: &[u8]) -> Read {
    // Most of a trail are outcomes: those are passed over by their name alone.
    let head = line.get(..HEAD).unwrap_or(line);
    if memchr::memmem::find(head, br#""event":"outcome""#).is_some() {
        return Read::Other;
    }
    let Ok(line) = serde_json::from_slice::<Line>(line) else { return Read::Unreadable };
    match (line.event.as_str(), line.count) {
        ("intent" | "decision", _) => Read::Decision(Box::new(line)),
        ("aggregated", Some(count)) => Read::Counted(count),
        _ => Read::Other,
    }
}

/// The gateway writes a record's name within so many bytes from its beginning.
const HEAD: usize = 160;

/// What was decided, and all that is on record of what it was decided from; of two that are equal the same can be said.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recorded {
    /// `permit`, `challenge` or `deny`.
    pub verdict: String,
    /// The reason's stable name.
    pub reason: String,
    /// The method.
    pub method: String,
    /// The route's id, or the lowered action's.
    pub action: String,
    /// The route's path template.
    pub template: String,
    /// The effective tier.
    pub tier: Option<String>,
    /// Whether it was about a patient.
    pub has_patient: bool,
    /// Whether it named an account that nobody had signed in to.
    pub has_account: bool,
    /// Whether it was several FHIR requests in one.
    pub is_bundle: bool,
    /// What it was decided from.
    pub input: Input,
}

impl Line {
    /// What can be decided again; `None` for what was answered before any rule was asked.
    pub fn recorded(self) -> Option<Recorded> {
        Some(Recorded {
            verdict: self.verdict,
            reason: self.reason,
            method: self.method,
            action: self.action?,
            template: self.template?,
            tier: self.tier,
            has_patient: self.patient.is_some(),
            has_account: self.account.is_some(),
            is_bundle: self.bundle.is_some(),
            input: self.input?,
        })
    }
}

impl Recorded {
    /// Makes something otherwise than it was.
    pub fn change(&mut self, what: &Otherwise) {
        let input = &mut self.input;
        match (what, &mut input.caller) {
            (Otherwise::Level(name), Some(caller)) => caller.level = name.to_string(),
            (Otherwise::Fresh, Some(caller)) if caller.kind == "person" => caller.age = Some(0),
            (Otherwise::Fresh, Some(caller)) => caller.token_age = Some(0),
            (Otherwise::Method(name), Some(caller)) => caller.methods.push(name.to_string()),
            (Otherwise::ForThisAction, Some(caller)) if caller.by_session => {
                let (level, methods) = (caller.level.clone(), caller.methods.clone());
                input.grant = Some(Grant { level, methods });
            }
            (Otherwise::Role(name), Some(caller)) => caller.roles.push(name.to_string()),
            (Otherwise::Scope(name), Some(caller)) => caller.scopes.push(name.to_string()),
            (Otherwise::OwnRecord, _) if self.has_patient => input.own_record = Some(true),
            (Otherwise::ActsAs(relation), _) => {
                input.delegation = Some(Delegation { relation: relation.to_string() });
            }
            (Otherwise::Consent, _) => input.consent = Some("given".to_owned()),
            (Otherwise::Evaluation, _) => input.pdp = Some("permit".to_owned()),
            (Otherwise::BrokenGlass, _) => input.break_glass = Some("broken".to_owned()),
            (Otherwise::Quiet(name), _) => input.signals.retain(|(fired, _)| **fired != **name),
            _ => {}
        }
    }
}

/// The recorded input of a decision ([`crate::decision::input::DecisionInput`]).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[allow(missing_docs, reason = "the recorded fields' own names")]
pub struct Input {
    pub v: u8,
    pub policy: String,
    #[serde(default)]
    pub caller: Option<Caller>,
    #[serde(default)]
    pub revoked: Option<String>,
    #[serde(default)]
    pub keys_too_stale: bool,
    #[serde(default)]
    pub body: Option<String>,
    #[serde(default)]
    pub attempts: Option<String>,
    #[serde(default)]
    pub own_record: Option<bool>,
    #[serde(default)]
    pub reply_tells: bool,
    #[serde(default)]
    pub grant: Option<Grant>,
    #[serde(default)]
    pub resumed: bool,
    #[serde(default)]
    pub patient_lookup: Option<String>,
    #[serde(default)]
    pub consent: Option<String>,
    #[serde(default)]
    pub duties: Option<String>,
    #[serde(default)]
    pub pdp: Option<String>,
    #[serde(default)]
    pub break_glass: Option<String>,
    #[serde(default)]
    pub delegation: Option<Delegation>,
    #[serde(default)]
    pub signals: Vec<(String, String)>,
    #[serde(default)]
    pub lowered: bool,
    #[serde(default)]
    pub conditions: Vec<(String, Option<bool>)>,
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[allow(missing_docs, reason = "the recorded fields' own names")]
pub struct Caller {
    pub issuer: String,
    pub kind: String,
    #[serde(default)]
    pub client: Option<String>,
    pub level: String,
    #[serde(default)]
    pub age: Option<i64>,
    #[serde(default)]
    pub token_age: Option<i64>,
    #[serde(default)]
    pub by_session: bool,
    #[serde(default)]
    pub methods: Vec<String>,
    #[serde(default)]
    pub roles: Vec<String>,
    #[serde(default)]
    pub scopes: Vec<String>,
    #[serde(default)]
    pub actor: bool,
    #[serde(default)]
    pub names_actions: bool,
    #[serde(default)]
    pub sender_constrained: bool,
}

/// A step-up that was finished for this very action.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[allow(missing_docs, reason = "the recorded fields' own names")]
pub struct Grant {
    pub level: String,
    #[serde(default)]
    pub methods: Vec<String>,
}

/// In what relation somebody acted for the patient; by which grant makes no difference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[allow(missing_docs, reason = "the recorded fields' own names")]
pub struct Delegation {
    pub relation: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let head = r#"{"seq":7,"origin":"0198c2f14cf07c31","time":"2026-11-22T10:15:00.123456Z","v":1,"#;
        let read = |rest: &str| read(format!("{head}{rest}}}").as_bytes());
        assert!(matches!(read(r#""event":"outcome","intent":6"#), Read::Other));
        assert!(matches!(read(r#""event":"aggregated","listener":"a","count":12"#), Read::Counted(12)));
        assert!(matches!(read(r#""event":"#), Read::Unreadable));
        let text = r#""event":"decision","decision":"d","verdict":"deny","reason":"no_route","method":"GET""#;
        let Read::Decision(line) = read(text) else { panic!("a decision") };
        assert!(line.recorded().is_none(), "it has no input");
    }
}
