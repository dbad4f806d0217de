//! The telemetry listener: health, readiness, metrics, and the key that upstream assertions are signed with.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use crate::telemetry::metrics;

/// Names everything that keeps the gateway from being ready, in plain words; empty when it is.
pub type Readiness = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// What `/readyz` tells beside that, as members of its answer.
pub type Details = Arc<dyn Fn() -> serde_json::Map<String, serde_json::Value> + Send + Sync>;

/// The listener's application.
pub struct TelemetryListener {
    /// Asked at each `/readyz`.
    pub readiness: Readiness,
    /// Asked at each `/readyz`, after that.
    pub details: Details,
    /// The keys that assertions are signed with, as a JWK set.
    pub jwks: String,
}

#[async_trait]
impl ServeHttp for TelemetryListener {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        match session.req_header().raw_path() {
            b"/healthz" => answer(StatusCode::OK, "text/plain; charset=utf-8", "ok\n".to_owned()),
            b"/readyz" => self.ready(),
            b"/metrics" => {
                let ready = (self.readiness)().is_empty();
                metrics().ready.set(i64::from(ready));
                answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics().render())
            }
            b"/.well-known/jwks.json" => {
                answer(StatusCode::OK, "application/jwk-set+json", self.jwks.clone())
            }
            _ => answer(
                StatusCode::NOT_FOUND,
                "text/plain; charset=utf-8",
                "there is /healthz, /readyz, /metrics and /.well-known/jwks.json\n".to_owned(),
            ),
        }
    }
}

impl TelemetryListener {
    fn ready(&self) -> Response<Vec<u8>> {
        let missing = (self.readiness)();
        let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut body = (self.details)();
        body.insert("ready".to_owned(), missing.is_empty().into());
        body.insert("not_ready".to_owned(), missing.into());
        answer(status, "application/json", format!("{}\n", serde_json::Value::Object(body)))
    }
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Vec<u8>> {
    let mut response = Response::new(body.into_bytes());
    *response.status_mut() = status;
    let length = response.body().len();
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CONTENT_LENGTH, header::HeaderValue::from(length));
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}
