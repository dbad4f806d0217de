//! The operators' socket: an HTTP API for those who may be root or the gateway's own user on this machine.
//!
//! The socket's mode keeps others away, and the kernel says of each connection who is at its other end (`SO_PEERCRED`).
//! `docs/operators-api.yaml` describes the API.

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
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::live::Current;
use super::telemetry_listener::Readiness;
use crate::audit::event::Event;
use crate::enforce::Gate;
use crate::enforce::ports::{RevocationClaim, RevocationKey};
use crate::enforce::revoke::{RevokedBy, claim_name};
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
        const HEALTH: &str = "/v1/health";
        let target = request.uri().to_string();
        let (status, body) = match (request.method(), target.as_str()) {
            (&Method::GET, HEALTH) => self.health(),
            (&Method::POST, REVOCATIONS) => {
                let revoked = tokio::time::timeout(TIME, self.revocation(request, uid)).await;
                revoked.unwrap_or_else(|_| unavailable("the call took too long"))
            }
            (_, HEALTH | REVOCATIONS) => {
                (StatusCode::METHOD_NOT_ALLOWED, problem("this address takes another method"))
            }
            _ => (StatusCode::NOT_FOUND, problem("there is GET /v1/health and POST /v1/revocations")),
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
        let body = match Limited::new(request.into_body(), MOST_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return self.refuse(uid, "the body is longer than 16 KiB, or did not come").await,
        };
        let order: Order = match strict::parse_as(&body) {
            Ok(order) => order,
            Err(error) => return self.refuse(uid, &format!("the body is not a revocation: {error}")).await,
        };
        let live = self.current.load();
        let policy = &live.generation.policy;
        let (claim, value) = match order.name() {
            Ok(name) => name,
            Err(why) => return self.refuse(uid, why).await,
        };
        if !policy.issuers.iter().any(|issuer| issuer.name.as_ref() == order.issuer) {
            let known: Vec<&str> = policy.issuers.iter().map(|issuer| issuer.name.as_ref()).collect();
            let why = format!("there is no issuer of that name; there is: {}", known.join(", "));
            return self.refuse(uid, &why).await;
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

    async fn refuse(&self, uid: u32, why: &str) -> Answer {
        self.record_refused("revoke", Some(uid), "malformed").await;
        (StatusCode::BAD_REQUEST, problem(why))
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

fn problem(why: &str) -> Value {
    json!({ "error": why })
}

fn unavailable(why: &str) -> Answer {
    (StatusCode::SERVICE_UNAVAILABLE, problem(why))
}
