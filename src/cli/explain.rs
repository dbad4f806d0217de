//! `wardgate explain`: the numbered account of one decision, of a request that nobody sent or of one on record.

mod otherwise;
mod recorded;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use http::Method;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::config::Answers;
use crate::config::rehearse::{Rehearsal, Rehearsed, rehearse};
use crate::config::settings::Compiled;
use crate::decision::trace::{Recorder, Stage};
use crate::decision::{Decision, Identity, Lookup};
use crate::enforce::ports::Identities as _;
use crate::identity::jwt;
use crate::keys::Verifier;
use crate::policy::Policy;
use crate::replay::otherwise::Otherwise;
use crate::request::credentials::Token;
use crate::request::json;

/// What to explain.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// The method, in upper case.
    #[arg(value_name = "METHOD", required_unless_present = "decision", conflicts_with = "decision")]
    method: Option<String>,
    /// The address: a path with its query, or a whole URL whose host counts.
    #[arg(value_name = "URL", required_unless_present = "decision", conflicts_with = "decision")]
    url: Option<String>,
    /// A decision on record, by the id that people are told: how it came about, and what would have let it through. The
    /// configuration must be the one under which it was made.
    #[arg(long, value_name = "ID", requires = "audit", conflicts_with_all = ["claims", "token", "body"])]
    decision: Option<String>,
    /// The directory of the audit trail, for a decision on record.
    #[arg(long, value_name = "DIR", requires = "decision")]
    audit: Option<PathBuf>,
    /// A JSON file with the caller's claims, believed as they stand; `-` is standard input. What a token always has
    /// (`aud`, `exp`, `iat`, `sub`, `jti`, `client_id`) may be left out, and so may `iss` where there is one issuer.
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    claims: Option<PathBuf>,
    /// A file with an access token, which is verified with the issuer's keys; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// A JSON file with the body; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// What the route's policy decision point is taken to say: `permit`, `deny` or `unavailable`. Nobody is asked.
    #[arg(long, value_name = "WORD", default_value = "permit")]
    pdp: String,
    /// What the route's consent service is taken to say: `given`, `not_given` or `unavailable`. Nobody is asked.
    #[arg(long, value_name = "WORD", default_value = "given")]
    consent: String,
    /// Whether the caller is taken to have done what nobody may do together with this: `not_done`, `done` or `unavailable`.
    #[arg(long, value_name = "WORD", default_value = "not_done")]
    other_duty: String,
    /// The patient that the route's look-up is taken to give; without it, nobody. Nobody is asked.
    #[arg(long, value_name = "PATIENT")]
    looked_up: Option<String>,
    /// The route's look-up of the patient is taken to give no answer.
    #[arg(long, conflicts_with = "looked_up")]
    lookup_unavailable: bool,
    /// The relation in which the caller is taken to act for the patient; without it, in none. Nobody is asked.
    #[arg(long, value_name = "RELATION")]
    acts_as: Option<String>,
    /// Print JSON instead.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Explanation<'e> {
    verdict: &'static str,
    reason: &'static str,
    status: u16,
    route: Option<&'e str>,
    tier: Option<&'e str>,
    acr_values: Vec<Box<str>>,
    max_age: Option<i64>,
    for_operators: &'static str,
    /// The tier that the route tries out, and what would come of it there.
    candidate: Option<(&'e str, &'static str)>,
    /// The fewest changes that would let it through: each way in which so many do.
    passes_with: Vec<String>,
    trace: Vec<Note<'e>>,
}

#[derive(Serialize)]
struct Note<'e> {
    stage: Stage,
    finding: &'e str,
}

/// Explains one request.
pub fn explain(arguments: &Arguments, compiled: Compiled) -> ExitCode {
    if let (Some(decision), Some(audit)) = (&arguments.decision, &arguments.audit) {
        return recorded::explain(decision, audit, compiled, arguments.json);
    }
    let compiled = &compiled;
    match rehearsed(arguments, compiled) {
        Ok((result, recorder, passes_with)) => {
            print(arguments.json, &compiled.policy, &result, &recorder, &passes_with);
            match result.decision {
                Decision::Permit(_) => ExitCode::SUCCESS,
                Decision::Challenge(_) => ExitCode::from(3),
                Decision::Deny(_) => ExitCode::from(4),
            }
        }
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

type Account = (Rehearsed, Recorder, Vec<Vec<Otherwise>>);

fn rehearsed(arguments: &Arguments, compiled: &Compiled) -> Result<Account, String> {
    let now = jiff::Timestamp::now().as_second();
    let named = arguments.method.as_deref().unwrap_or_default();
    let method = Method::from_bytes(named.as_bytes()).map_err(|_| format!("`{named}` is no HTTP method"))?;
    let (host, target) = split_url(arguments.url.as_deref().unwrap_or_default());
    let body = match &arguments.body {
        None => None,
        Some(path) => Some(json::parse(&read(path)?).map_err(|error| {
            format!("the body in `{}` is not JSON with one reading: {error}", path.display())
        })?),
    };
    let identity = identity(arguments, compiled, now)?;
    let answers = answers(arguments)?;
    let rehearsal = Rehearsal { method: &method, target, host, body: body.as_ref(), identity, answers, now };
    let mut recorder = Recorder::default();
    let result = rehearse(&compiled.policy, &rehearsal, &mut recorder);
    let passes_with = otherwise::passes_with(&compiled.policy, &rehearsal, &result);
    Ok((result, recorder, passes_with))
}

fn answers(arguments: &Arguments) -> Result<Answers, String> {
    let pdp = Answers::PDP.into_iter().find(|(word, _)| *word == arguments.pdp);
    let (_, pdp) =
        pdp.ok_or_else(|| format!("`--pdp {}`: write `permit`, `deny` or `unavailable`", arguments.pdp))?;
    let consent = Answers::CONSENT.into_iter().find(|(word, _)| *word == arguments.consent);
    let (_, consent) = consent.ok_or_else(|| {
        format!("`--consent {}`: write `given`, `not_given` or `unavailable`", arguments.consent)
    })?;
    let other_duty = Answers::OTHER_DUTY.into_iter().find(|(word, _)| *word == arguments.other_duty);
    let (_, other_duty) = other_duty.ok_or_else(|| {
        format!("`--other-duty {}`: write `not_done`, `done` or `unavailable`", arguments.other_duty)
    })?;
    let patient = match &arguments.looked_up {
        _ if arguments.lookup_unavailable => Lookup::Unavailable,
        Some(patient) => Lookup::Found(patient.as_str().into()),
        None => Lookup::Absent,
    };
    let delegation = arguments.acts_as.as_deref().map(Into::into);
    Ok(Answers { pdp, consent, other_duty, patient, delegation })
}

fn identity(arguments: &Arguments, compiled: &Compiled, now: i64) -> Result<Identity, String> {
    if let Some(path) = &arguments.claims {
        let Ok(Value::Object(claims)) = json::parse(&read(path)?) else {
            return Err(format!("`{}` is not a JSON object with one reading", path.display()));
        };
        return believed(claims, &compiled.policy, now);
    }
    let Some(path) = &arguments.token else {
        return Ok(Identity::Nobody);
    };
    let text = String::from_utf8(read(path)?).map_err(|_| format!("`{}` is not text", path.display()))?;
    let token =
        Token::new(text.trim()).ok_or_else(|| format!("`{}` does not hold one token", path.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let verifier = Verifier::new(
        compiled.policy.issuers.clone(),
        compiled.settings.issuers.clone(),
        runtime.handle().clone(),
    )
    .map_err(|error| error.to_string())?;
    let verifier = Arc::new(verifier);
    Ok(runtime.block_on(async { verifier.identify(&token, now).await }).identity)
}

/// Takes claims for true, and adds what every token has.
fn believed(mut claims: Map<String, Value>, policy: &Policy, now: i64) -> Result<Identity, String> {
    let named = claims.get("iss").and_then(Value::as_str).map(str::to_owned);
    let rules = match (&named, policy.issuers.as_slice()) {
        (Some(named), issuers) => {
            issuers.iter().find(|rules| rules.issuer.as_ref() == named || rules.name.as_ref() == named)
        }
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let rules = rules
        .ok_or("the claims' `iss` is none of the configured issuers; use an issuer's address or name")?;
    claims.insert("iss".to_owned(), rules.issuer.as_ref().into());
    let defaults: [(&str, Value); 6] = [
        ("aud", rules.audiences.first().map(AsRef::as_ref).unwrap_or_default().into()),
        ("exp", (now + 300).into()),
        ("iat", now.into()),
        ("sub", "someone".into()),
        ("jti", "explained".into()),
        ("client_id", "explained".into()),
    ];
    for (name, value) in defaults {
        claims.entry(name).or_insert(value);
    }
    Ok(match jwt::believed(claims, rules, now) {
        Ok(subject) => Identity::Known(Arc::new(subject)),
        Err(fault) => Identity::Refused(fault),
    })
}

fn print(
    as_json: bool,
    policy: &Policy,
    result: &Rehearsed,
    recorder: &Recorder,
    passes_with: &[Vec<Otherwise>],
) {
    let way =
        |way: &Vec<Otherwise>| way.iter().map(ToString::to_string).collect::<Vec<String>>().join(" and ");
    let reason = result.decision.reason();
    let (acr_values, max_age) = match &result.decision {
        Decision::Challenge(challenge) => (challenge.acr_values.clone(), challenge.max_age),
        Decision::Permit(_) | Decision::Deny(_) => (Vec::new(), None),
    };
    let explanation = Explanation {
        verdict: result.decision.verdict(),
        reason: reason.code(),
        status: reason.wording().status,
        route: result.route.and_then(|index| policy.route(index)).map(|route| route.id.as_ref()),
        tier: result.findings.tier.map(|tier| policy.tier(tier).name.as_ref()),
        acr_values,
        max_age,
        for_operators: reason.wording().operator,
        candidate: result
            .findings
            .candidate
            .map(|candidate| (policy.tier(candidate.tier).name.as_ref(), candidate.verdict)),
        passes_with: passes_with.iter().map(way).collect(),
        trace: recorder.notes.iter().map(|(stage, finding)| Note { stage: *stage, finding }).collect(),
    };
    if as_json {
        println!("{}", serde_json::to_string_pretty(&explanation).unwrap_or_else(|_| json!({}).to_string()));
        return;
    }
    for (number, note) in explanation.trace.iter().enumerate() {
        println!("{:>3}. {:<13} {}", number + 1, format!("{:?}", note.stage).to_lowercase(), note.finding);
    }
    println!(
        "\n     {} ({}), status {}",
        explanation.verdict,
        explanation.reason,
        if explanation.verdict == "permit" {
            "from the upstream".to_owned()
        } else {
            explanation.status.to_string()
        }
    );
    if let Some(max_age) = explanation.max_age {
        println!("     asks for acr_values `{}`, max_age {max_age}", explanation.acr_values.join(" "));
    }
    if !explanation.for_operators.is_empty() {
        println!("     {}", explanation.for_operators);
    }
    if let Some((tier, verdict)) = explanation.candidate {
        println!("     at tier `{tier}`, which the route tries out: {verdict}");
    }
    for way in &explanation.passes_with {
        println!("     passes with {way}");
    }
}

fn split_url(url: &str) -> (Option<&str>, &str) {
    let Some((_, rest)) = url.split_once("://") else {
        return (None, url);
    };
    match rest.find('/') {
        Some(at) => (rest.get(..at), rest.get(at..).unwrap_or("/")),
        None => (Some(rest), "/"),
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        return std::io::stdin()
            .read_to_end(&mut bytes)
            .map(|_| bytes)
            .map_err(|error| format!("standard input can't be read: {error}"));
    }
    std::fs::read(path).map_err(|error| format!("`{}` can't be read: {error}", path.display()))
}
