//! The telemetry listener: health, readiness, metrics, and the key that upstream assertions are signed with.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use super::Upstreams;
use crate::telemetry::metrics;

/// Names everything that keeps the gateway from being ready, in plain words; empty when it is.
pub type Readiness = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// Names what an operator should see to although the gateway serves, in plain words.
pub type Notices = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// The listener's application.
pub struct TelemetryListener {
    /// Asked at each `/readyz`.
    pub readiness: Readiness,
    /// Asked at each `/readyz`, and no reason to say no.
    pub notices: Notices,
    /// Holds the key.
    pub upstreams: Arc<Upstreams>,
}

#[async_trait]
impl ServeHttp for TelemetryListener {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        match session.req_header().raw_path() {
            b"/healthz" => answer(StatusCode::OK, "text/plain; charset=utf-8", "ok\n".to_owned()),
            b"/readyz" => self.ready(),
            b"/metrics" => {
                answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics().render())
            }
            b"/.well-known/jwks.json" => {
                answer(StatusCode::OK, "application/jwk-set+json", self.upstreams.jwks().to_owned())
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
        metrics().ready.set(i64::from(missing.is_empty()));
        let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let notices = (self.notices)();
        let body =
            serde_json::json!({ "ready": missing.is_empty(), "not_ready": missing, "notices": notices });
        answer(status, "application/json", format!("{body}\n"))
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
