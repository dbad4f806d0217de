//! Whether what arrived is what was sent, under the gateway's own identity headers and nobody else's.

use std::collections::{HashSet, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::{Case, Departure, Wanted, exchange};
use crate::support::http::Answer;
use crate::support::upstream::Recorded;

/// What the gateway itself says of the caller.
const OWN: &[&str] = &[
    "x-remote-user",
    "x-wardgate-assertion",
    "x-wardgate-decision",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
];

/// What reached the upstream, by the decision that let it in.
pub struct Arrivals {
    decided: Vec<(String, Recorded)>,
    others: VecDeque<Recorded>,
}

impl Arrivals {
    /// Sorts what arrived by the answers that the clients got.
    pub fn new<'a>(arrived: Vec<Recorded>, answers: impl Iterator<Item = &'a Answer>) -> Self {
        let known: HashSet<&str> =
            answers.filter_map(|answer| answer.header("x-wardgate-decision")).collect();
        let mut sorted = Self { decided: Vec::new(), others: VecDeque::new() };
        for request in arrived {
            let ids = request.values("x-wardgate-decision");
            match ids.into_iter().find(|id| known.contains(id)).map(str::to_owned) {
                Some(id) => sorted.decided.push((id, request)),
                None => sorted.others.push_back(request),
            }
        }
        sorted
    }

    /// What a case sent upstream; one whose client got no answer takes the next that no answer speaks of.
    pub fn of(&mut self, case: &Case, answers: &[Answer]) -> Vec<Recorded> {
        let own = |id: &str| answers.iter().any(|answer| answer.header("x-wardgate-decision") == Some(id));
        let mut mine: Vec<Recorded> =
            self.decided.extract_if(.., |(id, _)| own(id)).map(|(_, request)| request).collect();
        if answers.is_empty() && case.wanted.iter().any(|wanted| matches!(wanted, Wanted::Broken)) {
            mine.extend(self.others.pop_front());
        }
        mine
    }

    /// What is left once every case has taken its own.
    pub fn strays(&self) -> impl Iterator<Item = &Recorded> {
        self.decided.iter().map(|(_, request)| request).chain(&self.others)
    }
}

/// Holds the answers and what reached the upstream against what was wanted.
pub fn compare(case: &Case, sent: &[u8], answers: &[Answer], arrived: &[Recorded], faults: &mut Vec<String>) {
    let name = &case.name;
    let unanswered = case.wanted.iter().all(|wanted| matches!(wanted, Wanted::Broken)) && answers.is_empty();
    if answers.len() != case.wanted.len() && !unanswered {
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        faults.push(format!("{name}: {} answers wanted, got {statuses:?}", case.wanted.len()));
    }
    let mut arrivals = arrived.iter();
    for (at, wanted) in case.wanted.iter().enumerate() {
        let answer = answers.get(at);
        let status = answer.map_or(0, |answer| answer.status);
        match wanted {
            Wanted::Refused(wanted, _) if status != *wanted => {
                faults.push(format!("{name}: wanted {wanted}, answered {status}"))
            }
            Wanted::Refused(..) => {}
            Wanted::Broken => {
                if (200..300).contains(&status) {
                    faults.push(format!("{name}: answered {status} though the body is broken"));
                }
                if let Some(request) = arrivals.next() {
                    check_line(name, &first_line(sent), request, faults);
                }
            }
            Wanted::Forwarded(departure) => match (answer, arrivals.next()) {
                (Some(answer), Some(request)) if status == 200 => {
                    let line = departure.line.clone().unwrap_or_else(|| first_line(sent));
                    check_line(name, &line, request, faults);
                    check_departure(name, departure, answer, request, faults);
                }
                (_, request) => {
                    faults.push(format!(
                        "{name}: wanted to be forwarded, answered {status}, upstream {:?}",
                        request.map(|request| &request.line)
                    ));
                }
            },
        }
    }
    faults.extend(arrivals.map(|request| format!("{name}: reached the upstream as {:?}", request.line)));
}

/// The request line as sent; upstream the version is always the gateway's own.
fn first_line(sent: &[u8]) -> String {
    let end = sent.windows(2).position(|window| window == b"\r\n").unwrap_or(sent.len());
    String::from_utf8_lossy(&sent[..end]).replace("HTTP/1.0", "HTTP/1.1")
}

fn check_line(name: &str, line: &str, request: &Recorded, faults: &mut Vec<String>) {
    if request.line != line {
        faults.push(format!("{name}: sent {line:?}, forwarded {:?}", request.line));
    }
}

fn check_departure(
    name: &str,
    departure: &Departure,
    answer: &Answer,
    request: &Recorded,
    faults: &mut Vec<String>,
) {
    let mut must = |holds: bool, what: String| {
        if !holds {
            faults.push(format!("{name}: {what}"));
        }
    };
    for (header, values) in &departure.headers {
        let found = request.values(header);
        must(found == *values, format!("{header} is {found:?}, not {values:?}"));
    }
    if let Some(body) = &departure.body {
        let got = exchange::dechunked(request);
        must(got == *body, format!("the body is {:?}", String::from_utf8_lossy(&got)));
    }
    for own in OWN {
        let found: Vec<&(String, String)> =
            request.headers.iter().filter(|(header, _)| folded(header) == *own).collect();
        let right = match found.as_slice() {
            [] => departure.nobody && ["x-remote-user", "x-wardgate-assertion"].contains(own),
            [(header, value)] => {
                header.eq_ignore_ascii_case(own) && is_own(own, value, departure, answer, request)
            }
            _ => false,
        };
        must(right, format!("{own} is not the gateway's: {found:?}"));
    }
    for (header, value) in &request.headers {
        let header = folded(header);
        let handshake = departure.websocket && ["connection", "upgrade"].contains(&header.as_str());
        must(
            handshake || OWN.contains(&header.as_str()) || !is_unwanted(&header),
            format!("{header}: {value} went upstream"),
        );
        must(!value.contains("spoofed") || is_unwanted(&header), format!("a spoofed {header} went upstream"));
    }
}

fn is_own(name: &str, value: &str, departure: &Departure, answer: &Answer, request: &Recorded) -> bool {
    match name {
        "x-remote-user" => !departure.nobody && value == "patients:user-p1",
        "x-wardgate-assertion" => !departure.nobody && speaks_for_p1(value),
        "x-wardgate-decision" => answer.header("x-wardgate-decision") == Some(value),
        "x-forwarded-for" => value == "127.0.0.1",
        "x-forwarded-proto" => value == "http",
        _ => request.values("host").concat().to_ascii_lowercase().split(':').next() == Some(value),
    }
}

/// As CGI folds names, and as carelessly as any server might.
fn folded(name: &str) -> String {
    name.chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .collect()
}

fn is_unwanted(name: &str) -> bool {
    let families = ["x-forwarded", "x-wardgate", "x-original", "x-rewrite", "x-auth-request", "proxy-"];
    let single = [
        "forwarded",
        "authorization",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "http2-settings",
        "remote-user",
        "x-real-ip",
    ];
    single.contains(&name) || families.iter().any(|family| name.starts_with(family))
}

fn speaks_for_p1(token: &str) -> bool {
    let payload = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = payload.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()).unwrap_or_default();
    claims["sub"] == "patients:user-p1" && claims["aud"] == "app" && claims["iss"] == "wardgate"
}
