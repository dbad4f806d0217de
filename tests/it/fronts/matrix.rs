//! One table of requests, and the verdict of each front on each of them.

use std::net::SocketAddr;

use serde_json::Value;

use super::rows::{Caller, Row, hostile, of_rules, of_tiers, row};
use super::servers::Server;
use super::{World, without_hidden_methods};
use crate::support::redis::Redis;
use crate::support::{Recorder, eventually, http};

/// What a front made of a request.
#[derive(Debug, PartialEq)]
struct Verdict {
    forwarded: bool,
    /// The status, the challenge and the problem that the gateway has for the client.
    told: Option<(u16, Option<String>, Value)>,
}

/// By which way a request is judged.
#[derive(Debug, Clone, Copy)]
enum Front {
    /// By the gateway itself, or a proxy that asks it.
    Through(&'static str, SocketAddr),
    /// By a question that describes it.
    Asked(SocketAddr),
    /// By an evaluation of AuthZEN 1.0.
    Evaluated(SocketAddr),
}

impl Front {
    fn name(self) -> &'static str {
        match self {
            Self::Through(name, _) => name,
            Self::Asked(_) => "a question",
            Self::Evaluated(_) => "an evaluation",
        }
    }

    /// Whether it can be told of such a request at all.
    fn can_say(self, row: &Row) -> bool {
        let hosts = row.headers.iter().filter(|(name, _)| *name == "Host").count();
        let is_framed = row.headers.iter().any(|(name, _)| *name == "Transfer-Encoding");
        let authorizations = row.headers.iter().filter(|(name, _)| *name == "Authorization").count();
        // Envoy itself makes one of two, with a comma, before it asks and before it forwards.
        let is_joined = authorizations > 1 && self.name().starts_with("Envoy");
        !(is_joined || matches!(self, Self::Evaluated(_)) && (hosts > 1 || is_framed))
    }

    fn judge(self, row: &Row, authorization: Option<&str>, salt: &str) -> Verdict {
        let mut headers: Vec<(&str, &str)> = row.headers.to_vec();
        headers.extend(authorization.map(|value| ("Authorization", value)));
        let (address, answer) = match self {
            Self::Evaluated(address) => return evaluate(address, row, &headers, &format!("user-{salt}")),
            Self::Through(_, address) => {
                (address, http::send(address, row.method, &row.target, &headers, row.body.as_bytes()))
            }
            Self::Asked(address) => (address, ask(address, row, &headers)),
        };
        let Ok(answer) = answer else {
            // Closed without a word.
            return Verdict { forwarded: false, told: None };
        };
        let forwarded = match self {
            Self::Asked(_) | Self::Evaluated(_) => answer.status == 200,
            Self::Through(..) => answer.status == 200 && answer.header("x-allergy").is_some(),
        };
        assert!(forwarded || answer.status >= 400, "{address}: {row:?}: {answer:?}");
        let told = (!forwarded && answer.header("x-wardgate-decision").is_some()).then(|| {
            let mut problem: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            if let Some(problem) = problem.as_object_mut() {
                problem.remove("decision");
            }
            (answer.status, answer.header("www-authenticate").map(str::to_owned), problem)
        });
        Verdict { forwarded, told }
    }
}

/// Asks about a request as a proxy does: its own words in the place of the client's.
fn ask(address: SocketAddr, row: &Row, headers: &[(&str, &str)]) -> std::io::Result<http::Answer> {
    let is_own = |name: &str| name.starts_with("x-forwarded-") || name == "host" || name == "connection";
    let mut all: Vec<(&str, &str)> =
        headers.iter().filter(|(name, _)| !is_own(&name.to_ascii_lowercase())).copied().collect();
    let hosts = headers.iter().filter(|(name, _)| *name == "Host");
    all.extend(hosts.clone().map(|(_, host)| ("X-Forwarded-Host", *host)));
    if hosts.count() == 0 {
        all.push(("X-Forwarded-Host", "portal.example"));
    }
    all.extend([
        ("X-Forwarded-Method", row.method),
        ("X-Forwarded-Uri", &row.target),
        ("X-Forwarded-Body", if row.body.is_empty() { "no" } else { "yes" }),
    ]);
    http::send(address, "GET", "/", &all, b"")
}

/// Asks as a gateway of APIs does.
fn evaluate(address: SocketAddr, row: &Row, headers: &[(&str, &str)], subject: &str) -> Verdict {
    let mut told = serde_json::Map::new();
    for (name, value) in headers {
        let values = told.entry(*name).or_insert_with(|| Value::Array(Vec::new()));
        values.as_array_mut().expect("a list").push((*value).into());
    }
    let host = headers.iter().find(|(name, _)| *name == "Host").map_or("portal.example", |(_, host)| host);
    let question = serde_json::json!({
        "subject": { "type": "identity", "id": subject },
        "action": { "name": row.method },
        "resource": { "type": "route", "id": row.target, "properties": { "host": host } },
        "context": { "headers": told, "has_body": !row.body.is_empty() },
    });
    let json = [("Content-Type", "application/json")];
    let answer = http::send(address, "POST", "/access/v1/evaluation", &json, question.to_string().as_bytes());
    let answer = answer.expect("an answer").json();
    let response = &answer["context"]["response"];
    let mut problem = response["body"].clone();
    if let Some(problem) = problem.as_object_mut() {
        problem.remove("decision");
    }
    let challenge = response["headers"]["www-authenticate"].as_str().map(str::to_owned);
    let status = response["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    Verdict {
        forwarded: answer["decision"].as_bool().expect("a decision"),
        told: status.map(|status| (status, challenge, problem)),
    }
}

/// Sends every row through every front, and compares with the first. Where a proxy writes targets anew before it asks,
/// `upstream` says what it forwarded: on that the first's verdict must be the same.
fn compare(world: &World, fronts: &[Front], rows: &[Row], upstream: Option<&Recorder>) -> usize {
    let mut admitted = 0;
    for (number, row) in rows.iter().enumerate() {
        let judge = |front: Front| {
            let salt = format!("{number}-{}", front.name().replace(' ', "-"));
            let authorization = row.caller.authorization(&world.signer, &salt);
            let mut verdict = front.judge(row, authorization.as_deref(), &salt);
            for _ in 1..row.times {
                verdict = front.judge(row, authorization.as_deref(), &salt);
            }
            verdict
        };
        let (first, others) = fronts.split_first().expect("a front");
        let due = judge(*first);
        admitted += usize::from(due.forwarded);
        for front in others.iter().filter(|front| front.can_say(row)) {
            let verdict = judge(*front);
            let which = format!("{}: {row:?}\n{verdict:?}\nin the place of {due:?}", front.name());
            if let (Some(upstream), true, false) = (upstream, verdict.forwarded, due.forwarded) {
                let requests = upstream.requests();
                let request = requests.last().expect("a request");
                assert_ne!(request.target(), row.target, "{which}");
                let host = [("Host", request.values("host")[0])];
                let answer = http::send(world.gateway.address, row.method, request.target(), &host, b"");
                assert_eq!(answer.expect("an answer").status, 200, "{which}");
                continue;
            }
            assert_eq!(verdict.forwarded, due.forwarded, "{which}");
            // A proxy may itself refuse what can be read in two ways; in answers to HEAD the problem is left out.
            if let (Some(told), Some(due)) = (&verdict.told, &due.told) {
                assert_eq!((told.0, &told.1), (due.0, &due.1), "{which}");
                // Traefik writes some of these anew before it asks, and so they are refused for another reason.
                let is_unreadable = due.0 == 400 && told.2["type"] == due.2["type"];
                assert!(row.method == "HEAD" || is_unreadable || told.2 == due.2, "{which}");
            }
        }
    }
    admitted
}

fn proxy(world: &World) -> Front {
    Front::Through("the proxy", world.gateway.address)
}

#[test]
fn every_front_gives_the_verdicts_of_the_proxy() {
    let upstream = Recorder::start();
    let world = World::start(upstream.address, |text| text);
    world.revoke_client("lost");
    let (nginx, caddy) = (Server::nginx(&world), Server::caddy(&world));
    let fronts = [
        proxy(&world),
        Front::Asked(world.ask),
        Front::Evaluated(world.pdp),
        Front::Through(nginx.name, nginx.address),
        Front::Through(caddy.name, caddy.address),
    ];
    let rows = [of_tiers(), of_rules(), hostile()].concat();
    let admitted = compare(&world, &fronts, &rows, None);
    assert!(admitted > 20 && rows.len() - admitted > 100, "{admitted} of {}", rows.len());
}

#[test]
fn traefik_gives_the_verdicts_of_the_proxy() {
    let upstream = Recorder::start();
    let world = World::start(upstream.address, without_hidden_methods);
    world.revoke_client("lost");
    let traefik = Server::traefik(&world);
    let fronts = [proxy(&world), Front::Through(traefik.name, traefik.address)];
    let rows = [of_tiers(), of_rules(), hostile()].concat();
    compare(&world, &fronts, &rows, Some(&upstream));
}

#[test]
fn envoy_gives_the_verdicts_of_the_proxy_by_grpc() {
    let upstream = Recorder::start();
    let world = World::start(upstream.address, |text| text);
    world.revoke_client("lost");
    let envoy = Server::envoy(&world, "grpc");
    let fronts = [proxy(&world), Front::Through(envoy.name, envoy.address)];
    let rows = [of_tiers(), of_rules(), hostile()].concat();
    let admitted = compare(&world, &fronts, &rows, Some(&upstream));
    assert!(admitted > 20 && rows.len() - admitted > 100, "{admitted} of {}", rows.len());
}

#[test]
fn envoy_gives_the_verdicts_of_the_proxy_by_http() {
    let upstream = Recorder::start();
    let world = World::start(upstream.address, without_hidden_methods);
    world.revoke_client("lost");
    let envoy = Server::envoy(&world, "http");
    let fronts = [proxy(&world), Front::Through(envoy.name, envoy.address)];
    let rows = [of_tiers(), of_rules(), hostile()].concat();
    compare(&world, &fronts, &rows, Some(&upstream));
}

#[test]
fn without_the_store_every_front_refuses() {
    let (upstream, mut redis) = (Recorder::start(), Redis::start(&[]));
    let state = format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"], timeout: 1s }}, encryption_keys: [{{ id: k1, file: k1 }}] }}",
        redis.address
    );
    let world =
        World::start(upstream.address, |text| text.replace("state: { single_replica: true }", &state));
    let (nginx, caddy) = (Server::nginx(&world), Server::caddy(&world));
    let envoy = Server::envoy(&world, "grpc");
    redis.kill();
    eventually("the outage is noticed", std::time::Duration::from_secs(30), || {
        world.gateway.logs().iter().any(|line| line.contains("the state store can't be used"))
    });
    let fronts = [
        proxy(&world),
        Front::Asked(world.ask),
        Front::Evaluated(world.pdp),
        Front::Through(nginx.name, nginx.address),
        Front::Through(caddy.name, caddy.address),
        Front::Through(envoy.name, envoy.address),
    ];
    let rows: Vec<Row> = ["low", "moderate", "high", "critical"]
        .map(|tier| row("PUT", format!("/patients/p1/{tier}"), Caller::Patient("p1", "aal2", 0)))
        .into();
    assert_eq!(compare(&world, &fronts, &rows, None), 0);
    assert_eq!(
        compare(&world, &fronts, &[row("GET", "/r/a", Caller::Nobody)], None),
        1,
        "nobody needs it for this"
    );
}
