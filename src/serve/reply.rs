//! The only writer of the gateway's own answers: plain status, RFC 9457 problem, RFC 6750 and RFC 9470 challenges.

mod browser;
pub mod evaluation;
mod events;
mod fhir;
mod fronts;
mod glass;
pub mod grpc;
mod outward;

use std::sync::LazyLock;

use bytes::Bytes;
use http::{Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use serde::Serialize;
use uuid::Uuid;

pub use self::glass::GLASS_HEADER;
use self::outward::{challenge, public_name};
use super::proxy_status::{ProxyError, ProxyStatus};
use super::upstream::DECISION_HEADER;
use crate::decision::{Challenge, Denial, Exceeded, Reason, cors};
use crate::identity::NamedAction;
use crate::identity::dpop::ALGORITHMS;
use crate::policy::Route;
use crate::request::Facts;

/// How long a client should wait after a passing fault, in seconds.
const RETRY_AFTER: u16 = 5;
/// The header with the nonce for the next proof (RFC 9449 §8.1).
const NONCE_HEADER: &str = "dpop-nonce";

/// What went wrong behind the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamFault {
    /// The request could not be made ready for the upstream: it never left.
    Unsendable,
    /// No connection: the request never left.
    Unreachable,
    /// Every endpoint is known not to be well: the request never left.
    NoneHealthy,
    /// The answer did not come in time.
    TimedOut,
    /// The answer was broken, or the connection ended.
    Broken,
}

impl UpstreamFault {
    const fn problem(self) -> (StatusCode, &'static str, &'static str, &'static str) {
        const CHECK: &str = "It is not known whether the action took effect: look before you repeat it.";
        match self {
            Self::Unsendable => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "not_sent",
                "The request could not be passed on",
                "Nothing was sent. Tell the operator the decision's id: the account's details don't fit the application.",
            ),
            Self::Unreachable => (
                StatusCode::BAD_GATEWAY,
                "upstream_unreachable",
                "The service can't be reached",
                "Nothing was sent. Try again in a few seconds.",
            ),
            Self::NoneHealthy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream_unavailable",
                "The service is not available at the moment",
                "Nothing was sent. Try again in a few seconds.",
            ),
            Self::TimedOut => {
                (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", "The service did not answer in time", CHECK)
            }
            Self::Broken => {
                (StatusCode::BAD_GATEWAY, "upstream_broken", "The service gave no usable answer", CHECK)
            }
        }
    }

    /// The word for metrics.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Unsendable => "unsendable",
            Self::Unreachable => "unreachable",
            Self::NoneHealthy => "none_healthy",
            Self::TimedOut => "timeout",
            Self::Broken => "broken",
        }
    }
}

/// The body of a refusal (RFC 9457), with what the caller can do now.
#[derive(Default, Serialize)]
struct Problem<'p> {
    r#type: String,
    title: &'p str,
    status: u16,
    detail: &'p str,
    decision: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr_values: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<i64>,
    /// What the client may ask the issuer for (RFC 9396 §2), as it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_details: Option<[&'p NamedAction; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_up_url: Option<&'p str>,
    /// Where the glass can be broken, and what that takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    break_glass: Option<glass::Offered<'p>>,
}

/// One finished answer.
pub struct Reply {
    header: ResponseHeader,
    body: Bytes,
}

impl Reply {
    /// A refusal. `allow` names the methods that a path does take.
    pub fn refusal(id: Uuid, denial: &Denial, allow: &[Method]) -> pingora::Result<Self> {
        let wording = denial.reason.wording();
        let status = StatusCode::from_u16(wording.status).unwrap_or(StatusCode::FORBIDDEN);
        let problem = Problem {
            r#type: problem_type(public_name(denial.reason)),
            title: wording.title,
            status: wording.status,
            detail: wording.remedy,
            decision: id,
            // Only what the caller did to their own message is named; a 403 never says why.
            reason: if matches!(denial.reason, Reason::Unreadable(_)) { Some(wording.code) } else { None },
            break_glass: denial.break_glass.as_deref().map(glass::Offered::new),
            ..Problem::default()
        };
        let mut reply = Self::problem(status, id, &problem)?;
        if let Some(challenge) = challenge(denial) {
            reply.header.insert_header(http::header::WWW_AUTHENTICATE, challenge)?;
        }
        if denial.break_glass.is_some() {
            reply.header.insert_header(GLASS_HEADER, "offered")?;
        }
        if !allow.is_empty() {
            let allow = allow.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
            reply.header.insert_header(http::header::ALLOW, allow)?;
        }
        if let Some(exceeded) = &denial.exceeded {
            // draft-ietf-httpapi-ratelimit-headers: the limit's name, quota and window in seconds, and what is left of it.
            let Exceeded { limit, requests, window, retry_after } = exceeded.as_ref();
            reply
                .header
                .insert_header("ratelimit-policy", format!(r#""{limit}";q={requests};w={window}"#))?;
            reply.header.insert_header("ratelimit", format!(r#""{limit}";r=0;t={retry_after}"#))?;
            reply.header.insert_header(http::header::RETRY_AFTER, *retry_after)?;
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            reply.header.insert_header(http::header::RETRY_AFTER, RETRY_AFTER)?;
        }
        Ok(reply)
    }

    /// A request for stronger proof (RFC 9470 §3).
    ///
    /// `step_up_url` is where a browser's person gives it.
    pub fn challenge(
        id: Uuid,
        challenge: &Challenge,
        label: Option<&str>,
        step_up_url: Option<&str>,
    ) -> pingora::Result<Self> {
        let wording = challenge.reason.wording();
        let acr_values = challenge.acr_values.join(" ");
        let mut value = format!(
            r#"Bearer error="insufficient_user_authentication", error_description="{}""#,
            "A stronger or more recent authentication is needed"
        );
        if !acr_values.is_empty() {
            value.push_str(&format!(r#", acr_values="{acr_values}""#));
        }
        if let Some(max_age) = challenge.max_age {
            value.push_str(&format!(r#", max_age="{max_age}""#));
        }
        let problem = Problem {
            r#type: problem_type("insufficient_user_authentication"),
            title: wording.title,
            status: wording.status,
            detail: wording.remedy,
            decision: id,
            reason: Some(wording.code),
            action: label,
            acr_values: if acr_values.is_empty() { None } else { Some(acr_values) },
            max_age: challenge.max_age,
            authorization_details: challenge.action.as_deref().map(|action| [action]),
            step_up_url,
            ..Problem::default()
        };
        let mut reply = Self::problem(StatusCode::UNAUTHORIZED, id, &problem)?;
        reply.header.insert_header(http::header::WWW_AUTHENTICATE, value)?;
        Ok(reply)
    }

    /// A preflight's answer, or that to `OPTIONS *` where there is no route.
    pub fn preflight(id: Uuid, route: Option<&Route>, facts: Option<&Facts>) -> pingora::Result<Self> {
        let mut header = ResponseHeader::build(StatusCode::NO_CONTENT, Some(8))?;
        header.insert_header(DECISION_HEADER, id.to_string())?;
        if let (Some(route), Some(settings)) =
            (route, route.zip(facts).and_then(|(route, facts)| cors::allowed(route, facts)))
        {
            header.insert_header(http::header::ACCESS_CONTROL_ALLOW_METHODS, cors::methods(route))?;
            if !settings.headers.is_empty() {
                header
                    .insert_header(http::header::ACCESS_CONTROL_ALLOW_HEADERS, settings.headers.join(", "))?;
            }
            header.insert_header(http::header::ACCESS_CONTROL_MAX_AGE, settings.max_age)?;
        }
        Ok(Self { header, body: Bytes::new() })
    }

    /// The service behind the gateway failed.
    pub fn upstream_fault(id: Uuid, fault: UpstreamFault) -> pingora::Result<Self> {
        let (status, name, title, detail) = fault.problem();
        let problem = Problem {
            r#type: problem_type(name),
            title,
            status: status.as_u16(),
            detail,
            decision: id,
            ..Problem::default()
        };
        let mut reply = Self::problem(status, id, &problem)?;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            reply.header.insert_header(http::header::RETRY_AFTER, RETRY_AFTER)?;
        }
        Ok(reply)
    }

    /// Speaks to a client that proves its key (RFC 9449 §7.1): in its scheme, and with the nonce for its next proof.
    pub fn for_key_holder(mut self, nonce: Option<String>) -> pingora::Result<Self> {
        let asked = self.header.headers.get(http::header::WWW_AUTHENTICATE).and_then(|it| it.to_str().ok());
        if let Some(parameters) = asked.and_then(|challenge| challenge.strip_prefix("Bearer")) {
            let parameters = parameters.trim_start();
            let comma = if parameters.is_empty() { "" } else { ", " };
            let value = format!(r#"DPoP {parameters}{comma}algs="{ALGORITHMS}""#);
            self.header.insert_header(http::header::WWW_AUTHENTICATE, value)?;
        }
        give_nonce(&mut self.header, nonce)?;
        Ok(self)
    }

    fn problem(status: StatusCode, id: Uuid, problem: &Problem<'_>) -> pingora::Result<Self> {
        // The problem is made of strings and numbers, which JSON can always hold; an empty body would still be safe.
        let mut body = serde_json::to_vec(problem).unwrap_or_default();
        body.push(b'\n');
        let body = Bytes::from(body);
        let mut header = ResponseHeader::build(status, Some(8))?;
        header.insert_header(http::header::CONTENT_TYPE, "application/problem+json")?;
        header.insert_header(http::header::CONTENT_LENGTH, body.len())?;
        header.insert_header(http::header::CACHE_CONTROL, "no-store")?;
        header.insert_header("x-content-type-options", "nosniff")?;
        header.insert_header(DECISION_HEADER, id.to_string())?;
        Ok(Self { header, body })
    }

    /// The status that will be sent.
    pub fn status(&self) -> u16 {
        self.header.status.as_u16()
    }

    /// Its head and its body, for what sends them itself.
    pub fn into_parts(self) -> (ResponseHeader, Bytes) {
        (self.header, self.body)
    }

    /// Lets a page of an allowed other origin read this answer too.
    pub fn with_cors(mut self, route: Option<&Route>, facts: Option<&Facts>) -> pingora::Result<Self> {
        allow_origin(&mut self.header, route, facts)?;
        Ok(self)
    }

    /// Says, under the gateway's pseudonym, what kind of failure it is about; `None` goes by the status.
    pub fn with_proxy_status(
        mut self,
        status: &ProxyStatus,
        error: Option<ProxyError>,
    ) -> pingora::Result<Self> {
        let error = error.unwrap_or_else(|| ProxyError::of_own_answer(self.header.status));
        status.mark(&mut self.header, error)?;
        Ok(self)
    }

    /// Sends it; the body stays away from answers to `HEAD`.
    pub async fn send(self, session: &mut Session) -> pingora::Result<()> {
        let bodiless = session.req_header().method == Method::HEAD || self.body.is_empty();
        session.write_response_header(Box::new(self.header), bodiless).await?;
        if !bodiless {
            session.write_response_body(Some(self.body), true).await?;
        }
        Ok(())
    }
}

/// Names the origin on an answer that a page of that origin may read (Fetch standard).
pub fn allow_origin(
    header: &mut ResponseHeader,
    route: Option<&Route>,
    facts: Option<&Facts>,
) -> pingora::Result<()> {
    let Some((route, facts)) = route.zip(facts) else {
        return Ok(());
    };
    if route.cors.is_none() {
        return Ok(());
    }
    // The route's own list counts, not what the application says to everybody.
    for name in [
        http::header::ACCESS_CONTROL_ALLOW_ORIGIN,
        http::header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        http::header::ACCESS_CONTROL_EXPOSE_HEADERS,
    ] {
        header.remove_header(&name);
    }
    header.append_header(http::header::VARY, "Origin")?;
    if let (Some(_), Some(origin)) = (cors::allowed(route, facts), facts.origin.as_deref()) {
        header.insert_header(http::header::ACCESS_CONTROL_ALLOW_ORIGIN, origin)?;
        // A page could not read the nonce otherwise (RFC 9449 §8).
        if facts.presented.is_key_bound() {
            header
                .insert_header(http::header::ACCESS_CONTROL_EXPOSE_HEADERS, "dpop-nonce, www-authenticate")?;
        }
    }
    Ok(())
}

/// The whole answer to a client that did not bring a request to its end in time (RFC 9110 §15.5.9).
///
/// There is no request yet, and so no session of Pingora's to write it and no decision to name.
pub fn too_slow_to_ask() -> &'static [u8] {
    static ANSWER: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let problem = serde_json::json!({
            "type": problem_type("too_slow"),
            "title": "The request came too slowly",
            "status": 408,
            "detail": "Send it again, at once and whole.",
        });
        let head = "HTTP/1.1 408 Request Timeout\r\ncontent-type: application/problem+json\r\ncache-control: no-store";
        let body = format!("{problem}\n");
        format!("{head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
    });
    &ANSWER
}

fn problem_type(name: &str) -> String {
    format!("urn:wardgate:problem:{name}")
}

/// Gives a client the nonce for its next proof (RFC 9449 §8.2).
pub fn give_nonce(header: &mut ResponseHeader, nonce: Option<String>) -> pingora::Result<()> {
    match nonce {
        Some(nonce) => header.insert_header(NONCE_HEADER, nonce),
        None => Ok(()),
    }
}
