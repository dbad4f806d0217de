//! The matrix: reads `matrix.txt`, decides each of its requests, and writes the table.

use std::collections::HashMap;
use std::fmt::Write as _;

use wardgate::config::Compiled;
use wardgate::decision::trace::Silent;
use wardgate::decision::{
    Decision, Evaluation, Evidence, Findings, Lookup, Need, Possession, Question, Revocation, Step,
    StepUpHint, step,
};
use wardgate::policy::requirement::Unmet;
use wardgate::policy::{Access, Match, PatientSource, Policy, Route};
use wardgate::request::Facts;

use super::world::{Body, Known, NOW, Request, identity, reading};

/// One line: a request of one route, and all that can be found out about it.
pub struct Row {
    pub route: usize,
    pub request: Request,
    pub heading: String,
    pub caller: String,
    pub evidence: String,
    pub body: Option<Body>,
}

impl Row {
    /// What the gateway reads of the request; the credentials are what the caller presents.
    pub fn facts(&self) -> Facts {
        let authorization = match self.caller.as_str() {
            "nobody" => None,
            "malformed" => Some("Basic eDp5"),
            _ => Some("Bearer a.b.c"),
        };
        self.request.facts(self.body.as_ref(), authorization).expect("a readable request")
    }

    /// What can be found out.
    pub fn known(&self, question: &Question<'_>) -> Known {
        let says = |word: &str| self.evidence.split(' ').any(|known| known == word);
        Known {
            identity: identity(question.policy, &self.caller),
            keys_too_stale: says("stale-keys"),
            revocation: match (says("revoked"), says("store-down")) {
                (true, _) => Revocation::Revoked,
                (_, true) => Revocation::Unknown,
                _ => Revocation::Valid,
            },
            body: reading(question, self.body.as_ref()),
            evaluation: evaluation(&says),
            record: record(&says),
        }
    }
}

/// What the policy decision point says, in the words of the evidence.
fn evaluation(says: &dyn Fn(&str) -> bool) -> Lookup<Evaluation> {
    let hint = |acr: &str, max_age| {
        let acr_values = acr.split_ascii_whitespace().map(Into::into).collect();
        Lookup::Found(Evaluation::StepUp(StepUpHint { acr_values, max_age }))
    };
    match PDP.iter().find(|word| says(word)) {
        Some(&"pdp-deny") => Lookup::Found(Evaluation::Denied),
        Some(&"pdp-odd") => Lookup::Found(Evaluation::NotUnderstood),
        Some(&"pdp-down") => Lookup::Unavailable,
        Some(&"pdp-wants-strong") => hint("strong card", None),
        Some(&"pdp-wants-fresh") => hint("", Some(600)),
        Some(&"pdp-wants-less") => hint("badge", Some(90_000)),
        Some(&"pdp-wants-unknown") => hint("retina", None),
        _ => Lookup::Found(Evaluation::Permitted),
    }
}

/// What a look-up gives.
fn record(says: &dyn Fn(&str) -> bool) -> Lookup<Box<str>> {
    match () {
        () if says("looked-up-p1") => Lookup::Found("p1".into()),
        () if says("looked-up-p2") => Lookup::Found("p2".into()),
        () if says("lookup-down") => Lookup::Unavailable,
        () => Lookup::Absent,
    }
}

/// What it may say beside yes.
const PDP: [&str; 7] = [
    "pdp-deny",
    "pdp-odd",
    "pdp-down",
    "pdp-wants-strong",
    "pdp-wants-fresh",
    "pdp-wants-less",
    "pdp-wants-unknown",
];

/// The file, read: requests without a route, and the rows of every route.
pub struct Matrix {
    pub unmatched: Vec<Request>,
    pub rows: Vec<Row>,
}

/// Reads `matrix.txt`.
pub fn matrix(policy: &Policy) -> Matrix {
    let mut bodies: HashMap<&str, Body> = HashMap::new();
    let mut found = Matrix { unmatched: Vec::new(), rows: Vec::new() };
    let (mut section, mut heading) = ("", "");
    for line in
        include_str!("matrix.txt").lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
    {
        if let Some(rest) = line.strip_prefix("body ") {
            let (name, body) = self::body(rest);
            assert!(bodies.insert(name, body).is_none(), "two bodies are called `{name}`");
        } else if let Some(name) = line.strip_prefix("== ") {
            section = name;
        } else if let Some(row) = line.strip_prefix("  ") {
            let (callers, evidence) =
                row.split_once(" | ").unwrap_or_else(|| panic!("`{row}` has no evidence"));
            for caller in alternatives(callers) {
                for evidence in alternatives(evidence) {
                    found.rows.push(self::row(policy, &bodies, section, heading, &caller, evidence));
                }
            }
        } else {
            heading = line;
            if section == "none" {
                found.unmatched.push(Request::parse(line));
            }
        }
    }
    found
}

fn body(text: &str) -> (&str, Body) {
    let (name, rest) = text.split_once('=').expect("a body's name");
    let (media_type, content) = rest.split_once(" | ").expect("a body's type");
    let media_type = media_type.trim();
    let plain = media_type.strip_prefix("gzip ");
    let content =
        if media_type.starts_with("multipart") { content.replace("..", "\r\n") } else { content.to_owned() };
    (
        name.trim(),
        Body {
            media_type: plain.unwrap_or(media_type).to_owned(),
            gzip: plain.is_some(),
            bytes: content.into_bytes(),
        },
    )
}

fn row(
    policy: &Policy,
    bodies: &HashMap<&str, Body>,
    section: &str,
    heading: &str,
    caller: &str,
    evidence: String,
) -> Row {
    let request = Request::parse(heading);
    let named = evidence.split(' ').filter(|word| {
        !matches!(*word, "-" | "revoked" | "store-down" | "stale-keys")
            && !PDP.contains(word)
            && !word.starts_with("look")
    });
    let mut named = named.map(|name| bodies.get(name).unwrap_or_else(|| panic!("`{name}` in `{evidence}`")));
    let body = named.next().cloned();
    assert!(named.next().is_none(), "`{evidence}` has two bodies");
    let row =
        Row { route: 0, request, heading: heading.to_owned(), caller: caller.to_owned(), body, evidence };
    match policy.index.find(&row.facts()) {
        Match::Route(route) if policy.routes[route].id.as_ref() == section => Row { route, ..row },
        other => panic!("`{heading}` leads to {other:?}, not to `{section}`"),
    }
}

/// `a {b,c} {,d}` is `a b`, `a b d`, `a c`, `a c d`.
fn alternatives(text: &str) -> Vec<String> {
    let Some((start, rest)) = text.split_once('{') else {
        return vec![text.split_whitespace().collect::<Vec<_>>().join(" ")];
    };
    let (choices, rest) = rest.split_once('}').expect("a closing brace");
    choices.split(',').flat_map(|choice| alternatives(&format!("{start}{choice}{rest}"))).collect()
}

/// Decides as the gateway does: asks, and is told what it asked for. Gives the order in which it asked.
pub fn decide(question: &Question<'_>, known: &Known) -> (Vec<Need>, Decision, Findings) {
    let mut asked = Vec::new();
    let mut evidence = Evidence::default();
    loop {
        match step(question, &evidence, NOW, &mut Silent) {
            Step::Decided(decision, findings) => return (asked, decision, findings),
            Step::Need(need) => {
                assert!(!asked.contains(&need), "{need:?} is asked for twice");
                asked.push(need);
                match need {
                    Need::Identity => {
                        (evidence.identity, evidence.keys_too_stale) =
                            (Some(known.identity.clone()), known.keys_too_stale)
                    }
                    Need::Possession => evidence.possession = Some(Possession::Proven),
                    Need::Revocation => evidence.revocation = Some(known.revocation),
                    Need::Body => evidence.body = Some(known.body.clone()),
                    Need::Grant(_) => evidence.grant = Some(Lookup::Absent),
                    Need::Attempts => evidence.attempts = Some(Lookup::Unavailable),
                    Need::Content => evidence.content = Some(Lookup::Absent),
                    Need::Patient => evidence.record = Some(known.record.clone()),
                    Need::Evaluation { .. } => evidence.evaluation = Some(known.evaluation.clone()),
                    Need::Device => evidence.device = Some(Lookup::Absent),
                    Need::Signals => evidence.signals = Some(Vec::new()),
                    Need::BreakGlass => evidence.break_glass = Some(Lookup::Absent),
                    Need::Delegation => evidence.delegation = Some(Lookup::Absent),
                    Need::Duties => evidence.duties = Some(Lookup::Found(false)),
                    Need::Consent { .. } => evidence.consent = Some(Lookup::Found(true)),
                }
            }
        }
    }
}

/// The whole table.
pub fn render(compiled: &Compiled) -> String {
    let policy = &compiled.policy;
    let matrix = matrix(policy);
    let mut table = String::from(LEGEND);
    table.push_str("\nno route\n");
    for request in &matrix.unmatched {
        let found = match request.facts(None, None) {
            Ok(facts) => match policy.index.find(&facts) {
                Match::Route(route) => {
                    panic!("`{}` has the route `{}`", request.target, policy.routes[route].id)
                }
                Match::OtherMethod(methods) => format!(
                    "only for {}",
                    methods.iter().map(http::Method::as_str).collect::<Vec<_>>().join(", ")
                ),
                Match::None => "no route".to_owned(),
                Match::NotFhir => "no interaction of FHIR".to_owned(),
                Match::Unreadable(why) => why.code().to_owned(),
            },
            Err(why) => why.code().to_owned(),
        };
        let handshake = if request.handshake { " +handshake" } else { "" };
        let _ =
            writeln!(table, "  {:<60}{found}", format!("{} {}{handshake}", request.method, request.target));
    }
    for rows in matrix.rows.chunk_by(|one, next| one.route == next.route) {
        let _ = write!(table, "\n{}\n", summary(policy, &policy.routes[rows[0].route]));
        let width = |of: fn(&Row) -> &str| rows.iter().map(|row| of(row).len()).max().unwrap_or(0);
        let (callers, evidence) = (width(|row| &row.caller), width(|row| &row.evidence));
        for rows in rows.chunk_by(|one, next| one.heading == next.heading) {
            let _ = writeln!(table, "  {}", rows[0].heading);
            for row in rows {
                let _ = writeln!(
                    table,
                    "    {:<callers$}  {:<evidence$}  {}",
                    row.caller,
                    row.evidence,
                    answer(compiled, row)
                );
            }
        }
    }
    table
}

const LEGEND: &str = "\
Each line: the caller, the evidence, what was asked for in its order (i identity, r revocation, b body, l look-up of the patient, e evaluation by a PDP), the verdict,
its reason, the effective tier; then for a permit the rule that allowed it and what is spent, for a challenge what it
asks for and all that is missing.
";

fn summary(policy: &Policy, route: &Route) -> String {
    let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
    let mut text = format!(
        "{}: {} {}, tier {}",
        route.id,
        methods.join(","),
        route.template.as_str(),
        policy.tier(route.tier).name
    );
    if route.access == Access::Public {
        text.push_str(", public");
    }
    if route.data_floor > wardgate::identity::Level::NONE {
        let _ = write!(text, ", floor {}", policy.levels.name(route.data_floor));
    }
    match &route.patient {
        Some(PatientSource::Path(name)) => text.push_str(&format!(", patient from path.{name}")),
        Some(PatientSource::Query(name)) => text.push_str(&format!(", patient from query.{name}")),
        Some(PatientSource::Body(name)) => text.push_str(&format!(", patient from body.{name}")),
        Some(PatientSource::Lookup(_)) => text.push_str(", patient from a look-up"),
        None | Some(PatientSource::Fhir) => {}
    }
    if let Some(lower) = &route.lower_risk {
        let _ = write!(
            text,
            ", {} ({}) if only {}",
            lower.id,
            policy.tier(lower.tier).name,
            lower.fields.join(", ")
        );
    }
    for refine in &route.refine {
        let _ = write!(text, ", {} if {}", policy.tier(refine.tier).name, refine.when.source());
    }
    text
}

fn answer(compiled: &Compiled, row: &Row) -> String {
    let policy = &compiled.policy;
    let route = &policy.routes[row.route];
    let facts = row.facts();
    let forms_may_override = compiled.settings.upstreams[route.upstream].refuse_hidden_method;
    let question = Question { policy, route, facts: &facts, forms_may_override };
    let (asked, decision, findings) = decide(&question, &row.known(&question));
    let letters = asked.iter().map(|need| match need {
        Need::Identity => 'i',
        Need::Possession => 'p',
        Need::Revocation => 'r',
        Need::Body => 'b',
        Need::Grant(_) => 'g',
        Need::Attempts => 'a',
        Need::Content => 'c',
        Need::Device => 'd',
        Need::Patient => 'l',
        Need::Evaluation { .. } => 'e',
        Need::Signals => 's',
        Need::BreakGlass => 'g',
        Need::Delegation => 'm',
        Need::Duties => 'v',
        Need::Consent { .. } => 'n',
    });
    let asked: String = letters.collect();
    let tier = findings.tier.map_or("-", |tier| &policy.tier(tier).name);
    let mut text = format!("{asked:<4} {:<9} {:<24} {tier:<8}", decision.verdict(), decision.reason().code());
    if findings.lowered {
        let _ = write!(text, " as {}", route.lower_risk.as_ref().expect("a lower risk").id);
    }
    match &decision {
        Decision::Permit(permit) => {
            if let Some(rule) = findings.rule {
                let _ = write!(text, " any_of[{rule}]");
            }
            if let Some(key) = permit.to_spend() {
                let _ = write!(text, " spends {}", key.as_str());
            }
        }
        Decision::Challenge(challenge) => {
            let missing: Vec<&str> = challenge.unmet.iter().map(|unmet| word(*unmet)).collect();
            let age = challenge.max_age.map_or("any".to_owned(), |age| age.to_string());
            let _ = write!(
                text,
                " acr {} max_age {age}, missing {}",
                challenge.acr_values.join(" or "),
                missing.join(", ")
            );
        }
        Decision::Deny(denial) if !denial.scopes.is_empty() => {
            let _ = write!(text, " scopes {}", denial.scopes.join(" "));
        }
        Decision::Deny(_) => {}
    }
    text.trim_end().to_owned()
}

fn word(unmet: Unmet) -> &'static str {
    match unmet {
        Unmet::Level => "level",
        Unmet::Age => "age",
        Unmet::Methods => "methods",
        Unmet::OtherAction => "action",
        Unmet::UnreadableDetails => "details",
        Unmet::ServiceNotAllowed => "service rule",
        Unmet::ServiceTokenAge => "token age",
        Unmet::ServiceNotSenderConstrained => "binding",
    }
}
