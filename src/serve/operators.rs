//! The operators' socket: an HTTP API for those who may be root or the gateway's own user on this machine.
//!
//! The socket's mode keeps others away, and the kernel says of each connection who is at its other end (`SO_PEERCRED`).
//! `docs/operators-api.yaml` describes the API.

mod break_glass;
mod delegation;
mod pseudonyms;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::live::Current;
use super::telemetry_listener::Readiness;
use crate::audit::event::Event;
use crate::enforce::Gate;
use crate::enforce::ports::{PseudonymKeys, RevocationClaim, RevocationKey};
use crate::enforce::revoke::{RevokedBy, claim_name};
use crate::enforce::staff::Withheld;
use crate::policy::Policy;
use crate::request::json as strict;

/// The mode of the socket: for the gateway's own user.
pub const MODE: u32 = 0o600;
/// The longest body.
const MOST_BYTES: usize = 16 * 1024;
/// The most connections at a time.
const MOST_CONNECTIONS: usize = 32;
/// How long one call may take.
const TIME: Duration = Duration::from_secs(10);
/// The longest name that can be revoked.
const MOST_NAME_BYTES: usize = 1_024;

/// The API, and what it works on.
pub struct Operators {
    /// What revokes.
    pub gate: Arc<Gate>,
    /// The issuers there are.
    pub current: Arc<Current>,
    /// The keys of pseudonyms.
    pub pseudonym_keys: Arc<dyn PseudonymKeys>,
    /// What keeps the gateway from being ready.
    pub readiness: Readiness,
    /// The user that the gateway runs as.
    pub own_uid: u32,
}

/// What is to be revoked: exactly one of the four names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    issuer: String,
    subject: Option<String>,
    session: Option<String>,
    token_id: Option<String>,
    client: Option<String>,
    not_before: Option<i64>,
}

/// An answer: its status and JSON.
type Answer = (StatusCode, Value);

impl Operators {
    /// Answers on the socket, for ever; drop the future to stop.
    pub async fn serve(self: Arc<Self>, listener: UnixListener) {
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let this = Arc::clone(&self);
                    tokio::spawn(async move {
                        this.serve_one(stream).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection of an operator could not be accepted");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn serve_one(self: Arc<Self>, stream: UnixStream) {
        let uid = match stream.peer_cred() {
            Ok(peer) if peer.uid() == 0 || peer.uid() == self.own_uid => peer.uid(),
            other => {
                let uid = other.ok().map(|peer| peer.uid());
                tracing::warn!(
                    ?uid,
                    "an operator's connection was refused: only root and the gateway's own user may"
                );
                self.record_refused("connect", uid, "peer").await;
                return;
            }
        };
        let service = service_fn(|request| {
            let this = Arc::clone(&self);
            async move { Ok::<_, Infallible>(this.answer(request, uid).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(TIME)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        if let Ok(Err(error)) = tokio::time::timeout(TIME * 2, connection).await {
            tracing::debug!(%error, "an operator's connection broke");
        }
    }

    async fn answer(&self, request: Request<Incoming>, uid: u32) -> Response<Full<Bytes>> {
        const REVOCATIONS: &str = "/v1/revocations";
        const LOOKUP: &str = "/v1/pseudonyms/lookup";
        const SHRED: &str = "/v1/pseudonyms/shred";
        const HEALTH: &str = "/v1/health";
        let target = request.uri().to_string();
        let (status, body) = match (request.method(), target.as_str()) {
            (&Method::GET, HEALTH) => self.health(),
            (&Method::POST, REVOCATIONS) => {
                let revoked = tokio::time::timeout(TIME, self.revocation(request, uid)).await;
                revoked.unwrap_or_else(|_| unavailable("the call took too long"))
            }
            (&Method::POST, LOOKUP) => {
                let told = tokio::time::timeout(TIME, self.lookup(request, uid)).await;
                told.unwrap_or_else(|_| unavailable("the call took too long"))
            }
            (&Method::POST, SHRED) => {
                let told = tokio::time::timeout(TIME, self.shred(request, uid)).await;
                told.unwrap_or_else(|_| {
                    unavailable("the call took too long; the audit trail says how far it came")
                })
            }
            (&Method::POST, below) if below.starts_with(break_glass::BELOW) => {
                let what = below.trim_start_matches(break_glass::BELOW).to_owned();
                let told = tokio::time::timeout(TIME, self.broken_glass(&what, request, uid)).await;
                told.unwrap_or_else(|_| unavailable("the call took too long"))
            }
            (&Method::POST, below) if below.starts_with(delegation::BELOW) => {
                let what = below.trim_start_matches(delegation::BELOW).to_owned();
                let told = tokio::time::timeout(TIME, self.delegations(&what, request, uid)).await;
                told.unwrap_or_else(|_| unavailable("the call took too long"))
            }
            (_, HEALTH | REVOCATIONS | LOOKUP | SHRED) => {
                (StatusCode::METHOD_NOT_ALLOWED, problem("this address takes another method"))
            }
            _ => (
                StatusCode::NOT_FOUND,
                problem(
                    "there is GET /v1/health, and POST to /v1/revocations, /v1/pseudonyms/lookup, /v1/pseudonyms/shred and below /v1/break-glass and /v1/delegations",
                ),
            ),
        };
        let mut response = Response::new(Full::new(format!("{body}\n").into()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = if target == HEALTH { "GET" } else { "POST" };
            headers.insert(header::ALLOW, header::HeaderValue::from_static(allowed));
        }
        response
    }

    fn health(&self) -> Answer {
        let missing = (self.readiness)();
        let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, json!({ "ready": missing.is_empty(), "not_ready": missing }))
    }

    async fn revocation(&self, request: Request<Incoming>, uid: u32) -> Answer {
        let order: Order = match read(request, "a revocation").await {
            Ok(order) => order,
            Err(why) => return self.refuse("revoke", uid, &why).await,
        };
        let live = self.current.load();
        let policy = &live.generation.policy;
        let (claim, value) = match order.name() {
            Ok(name) => name,
            Err(why) => return self.refuse("revoke", uid, why).await,
        };
        if let Err(why) = issuer_is_known(policy, &order.issuer) {
            return self.refuse("revoke", uid, &why).await;
        }
        let key = RevocationKey { issuer: &order.issuer, claim, value };
        let by = RevokedBy { source: "operator", uid: Some(uid) };
        let now = jiff::Timestamp::now().as_second();
        let revoked = self.gate.revoke(policy, &key, order.not_before, now, by).await;
        if !revoked.stored {
            return unavailable("the state store did not confirm it; repeat the call until it does");
        }
        let told = json!({
            "issuer": order.issuer, "claim": claim_name(claim),
            "not_before": revoked.not_before, "recorded": revoked.recorded,
        });
        (StatusCode::OK, told)
    }

    async fn refuse(&self, action: &'static str, uid: u32, why: &str) -> Answer {
        self.record_refused(action, Some(uid), "malformed").await;
        (StatusCode::BAD_REQUEST, problem(why))
    }

    async fn no_token(&self, action: &'static str, uid: u32) -> Answer {
        self.refuse(action, uid, "the token is none").await
    }

    async fn withheld(&self, action: &'static str, why: Withheld, uid: u32) -> Answer {
        match why {
            Withheld::Unknown => (StatusCode::NOT_FOUND, problem("nothing of this name is kept")),
            Withheld::Done(why) => (StatusCode::CONFLICT, problem(why)),
            Withheld::Malformed(why) => self.refuse(action, uid, why).await,
            Withheld::Unavailable(why) => unavailable(why),
            Withheld::NotAllowed(why) => {
                self.record_refused(action, Some(uid), "reviewer").await;
                (StatusCode::FORBIDDEN, problem(why))
            }
        }
    }

    async fn record_refused(&self, action: &'static str, uid: Option<u32>, why: &'static str) {
        // It was refused; a failure to record is counted and logged by the journal.
        self.gate.record_own(&Event::OperatorRefused { action, uid, why }).await;
    }
}

impl Order {
    /// The one name that it gives.
    fn name(&self) -> Result<(RevocationClaim, &str), &'static str> {
        let names = [
            (RevocationClaim::Subject, &self.subject),
            (RevocationClaim::Session, &self.session),
            (RevocationClaim::TokenId, &self.token_id),
            (RevocationClaim::Client, &self.client),
        ];
        let mut given = names.iter().filter_map(|(claim, name)| Some((*claim, name.as_deref()?)));
        let (Some((claim, value)), None) = (given.next(), given.next()) else {
            return Err("exactly one of subject, session, token_id and client says what is revoked");
        };
        if value.is_empty() || value.len() > MOST_NAME_BYTES {
            return Err("the name is empty or longer than 1024 bytes");
        }
        if self.not_before.is_some_and(|moment| moment < 0) {
            return Err("not_before is in Unix seconds");
        }
        Ok((claim, value))
    }
}

/// Reads an order.
///
/// # Errors
/// It is none, in words for whoever sent it.
async fn read<T: DeserializeOwned>(request: Request<Incoming>, what: &str) -> Result<T, String> {
    let body = Limited::new(request.into_body(), MOST_BYTES).collect().await;
    let body = body.map_err(|_| "the body is longer than 16 KiB, or did not come".to_owned())?.to_bytes();
    strict::parse_as(&body).map_err(|error| format!("the body is not {what}: {error}"))
}

/// # Errors
/// There is no such issuer, in words for whoever named it.
fn issuer_is_known(policy: &Policy, name: &str) -> Result<(), String> {
    if policy.issuers.iter().any(|issuer| issuer.name.as_ref() == name) {
        return Ok(());
    }
    let known: Vec<&str> = policy.issuers.iter().map(|issuer| issuer.name.as_ref()).collect();
    Err(format!("there is no issuer of that name; there is: {}", known.join(", ")))
}

fn problem(why: &str) -> Value {
    json!({ "error": why })
}

fn store() -> Answer {
    unavailable("the state store does not answer")
}

fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

fn unavailable(why: &str) -> Answer {
    (StatusCode::SERVICE_UNAVAILABLE, problem(why))
}
