//! Towards the upstreams: who serves a request, and what it looks like when it leaves the gateway.

mod answer_clock;
mod assembly;
mod balance;
mod condition;
mod handshake;
mod health;
mod resolve;
mod servers;
mod tls;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::HttpPeer;
use prometheus::IntCounter;
use smallvec::SmallVec;
use uuid::Uuid;

pub use answer_clock::{AnswerClock, HEAD_PATIENCE, Line};
pub use handshake::Handshake;
pub use servers::{Attempt, Tried};
pub use wire::{WEBSOCKET_SILENCE, address_h2};

use self::servers::Servers;
use self::wire::Wire;
use super::assertion::Assertions;
use super::framing;
use super::reply::{GLASS_HEADER, UpstreamFault};
use crate::config::settings::{InjectPart, InjectTemplate, UpstreamSettings};
use crate::enforce::Admission;
use crate::identity::Subject;
use crate::identity::assurance::Levels;
use crate::policy::route::UpstreamTimeouts;
use crate::request::credentials::PROOF_HEADER;
use crate::request::headers::{HopByHop, IdentityHeaders};
use crate::request::{Facts, client, cookies};
use crate::telemetry::metrics;

/// The header that tells both sides the decision's id.
pub const DECISION_HEADER: &str = "x-wardgate-decision";

/// The longest head of an answer that is passed on, in bytes of names and values.
const RESPONSE_HEADER_BYTES: usize = 128 * 1024;

/// Every upstream, in the policy's order.
pub struct Upstreams {
    upstreams: Vec<Arc<Upstream>>,
    identity_headers: IdentityHeaders,
    assertions: Assertions,
}

struct Upstream {
    settings: UpstreamSettings,
    /// The names of `settings.inject` and of the assertion's header, made once.
    injected: Vec<Bytes>,
    assertion_header: Bytes,
    /// Counts answers by status class, from `1xx`.
    responses: [IntCounter; 5],
    wire: Arc<Wire>,
    servers: Arc<Servers>,
}

/// Where a request goes now.
pub struct Destination {
    /// What Pingora connects to.
    pub peer: HttpPeer,
    /// Counts the request at its server until it is dropped.
    pub attempt: Attempt,
    /// The WebSocket handshake, if the request is one.
    pub handshake: Option<Arc<Handshake>>,
}

/// What the outgoing request is made from, beside the one that came in.
pub struct Departure<'d> {
    /// The key.
    pub admission: &'d Admission,
    /// The facts it was decided on.
    pub facts: &'d Facts,
    /// The names of the levels.
    pub levels: &'d Levels,
    /// The upstream's position.
    pub upstream: usize,
    /// The route's own times.
    pub timeouts: UpstreamTimeouts,
    /// The moment, in Unix seconds.
    pub now: i64,
}

impl Upstreams {
    /// An upstream's name, for metrics.
    pub fn name(&self, index: usize) -> &str {
        self.upstreams.get(index).map_or("none", |upstream| upstream.settings.name.as_ref())
    }

    /// Counts an answer by the class of its status.
    pub fn count_response(&self, index: usize, status: u16) {
        let class = usize::from(status / 100).wrapping_sub(1);
        if let Some(counter) = self.upstreams.get(index).and_then(|upstream| upstream.responses.get(class)) {
            counter.inc();
        }
    }

    /// Turns the request that came in into the one that goes out: target, method and body stay as they are.
    pub fn prepare_request(
        &self,
        request: &mut RequestHeader,
        departure: &Departure<'_>,
    ) -> pingora::Result<()> {
        let Some(upstream) = self.upstreams.get(departure.upstream) else {
            return Ok(());
        };
        let settings = &upstream.settings;
        // What gRPC asks for; on HTTP/2 it is the one meaning that `TE` has (RFC 9113 §8.2.2).
        let takes_trailers = request.version == http::Version::HTTP_2
            && request.headers.get(header::TE).is_some_and(|te| te == "trailers");
        let unwanted = names_where(&request.headers, |name, hop_by_hop| {
            if takes_trailers && *name == header::TE {
                return false;
            }
            hop_by_hop.contains(name.as_str()) || self.withholds(settings, name)
        });
        for name in &unwanted {
            request.remove_header(name);
        }
        if let Some(left) = cookies::without_own(&request.headers) {
            request.remove_header(&header::COOKIE);
            for line in left {
                request.append_header(header::COOKIE, line)?;
            }
        }
        if departure.facts.websocket {
            request.insert_header(header::CONNECTION, "upgrade")?;
            request.insert_header(header::UPGRADE, "websocket")?;
        }
        tell_the_way(request, departure)?;
        if let Some(subject) = departure.admission.permit().subject() {
            self.identify(request, upstream, departure, subject)?;
        }
        Ok(())
    }

    /// Whether a header of a client's stays behind: it would say who the caller is, or is the token that was shown here.
    fn withholds(&self, settings: &UpstreamSettings, name: &HeaderName) -> bool {
        self.identity_headers.contains(name.as_str())
            || (!settings.pass_bearer && (*name == header::AUTHORIZATION || *name == PROOF_HEADER))
    }

    /// For a proxy that changes a request as it is told: adds to `told` what else [`prepare_request`](Self::prepare_request)
    /// would write, and names what it would take out of a request that has these headers.
    ///
    /// # Errors
    /// A value can't be written as a header.
    pub fn changes(
        &self,
        departure: &Departure<'_>,
        headers: &HeaderMap,
        told: &mut RequestHeader,
    ) -> pingora::Result<Vec<HeaderName>> {
        tell_the_way(told, departure)?;
        let Some(upstream) = self.upstreams.get(departure.upstream) else { return Ok(Vec::new()) };
        let settings = &upstream.settings;
        let cookies = cookies::without_own(headers);
        if let Some(left) = &cookies
            && !left.is_empty()
        {
            let lines: Vec<&[u8]> = left.iter().map(HeaderValue::as_bytes).collect();
            told.insert_header(header::COOKIE, lines.join(&b"; "[..]))?;
        }
        // Also where they were not among the headers that were shown here.
        let token = [header::AUTHORIZATION, HeaderName::from_static(PROOF_HEADER)];
        let shown = headers.keys().filter(|name| !token.contains(name)).cloned();
        let mut withheld: Vec<HeaderName> =
            token.iter().cloned().chain(shown).filter(|name| self.withholds(settings, name)).collect();
        if cookies.is_some() {
            withheld.push(header::COOKIE);
        }
        withheld.retain(|name| !told.headers.contains_key(name));
        Ok(withheld)
    }

    /// What the application is told about the caller, where another proxy forwards the request: the headers that
    /// `inject` and `identity` ask for, and none else.
    ///
    /// # Errors
    /// A value can't be written as a header, or not be signed.
    pub fn told(&self, departure: &Departure<'_>) -> pingora::Result<RequestHeader> {
        let mut told = RequestHeader::build(http::Method::GET, b"/", Some(4))?;
        if let (Some(upstream), Some(subject)) =
            (self.upstreams.get(departure.upstream), departure.admission.permit().subject())
        {
            self.identify(&mut told, upstream, departure, subject)?;
        }
        Ok(told)
    }

    fn identify(
        &self,
        request: &mut RequestHeader,
        upstream: &Upstream,
        departure: &Departure<'_>,
        subject: &Arc<Subject>,
    ) -> pingora::Result<()> {
        let settings = &upstream.settings;
        for (name, template) in upstream.injected.iter().zip(settings.inject.values()) {
            let value = fill(template, subject, departure.levels)
                .and_then(|value| HeaderValue::from_str(&value).ok())
                .ok_or_else(|| {
                    pingora::Error::explain(
                        pingora::ErrorType::InternalError,
                        "the caller's identity can't be written as a header without another meaning",
                    )
                })?;
            request.insert_header(name.clone(), value)?;
        }
        if let Some(assertion) = &settings.identity {
            let token = self
                .assertions
                .token(departure.upstream, assertion, subject, departure.levels, departure.now)
                .ok_or_else(|| {
                    pingora::Error::explain(
                        pingora::ErrorType::InternalError,
                        "the assertion for the upstream could not be signed",
                    )
                })?;
            request.insert_header(upstream.assertion_header.clone(), token)?;
        }
        Ok(())
    }
}

/// Tells by which way a request came, and the decision about it.
fn tell_the_way(request: &mut RequestHeader, departure: &Departure<'_>) -> pingora::Result<()> {
    if let Some(client) = departure.facts.client {
        request.insert_header("x-forwarded-for", client::text(client))?;
    }
    request.insert_header("x-forwarded-proto", if departure.facts.secure { "https" } else { "http" })?;
    request.insert_header("x-forwarded-host", departure.facts.host.as_str())?;
    let decision = departure.admission.receipt().decision();
    request.insert_header(
        DECISION_HEADER,
        decision.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes(),
    )?;
    if departure.admission.permit().broke_glass() {
        // So that the application can say so on its pages.
        request.insert_header(GLASS_HEADER, "open")?;
    }
    Ok(())
}

/// Cleans an upstream's answer: hop-by-hop headers and names of the gateway's own stay behind, and a switch of
/// protocols counts only where one was asked for.
pub fn prepare_response(response: &mut ResponseHeader, websocket: bool) -> Result<(), UpstreamFault> {
    let switches = response.status == StatusCode::SWITCHING_PROTOCOLS;
    let to_websocket = response
        .headers
        .get(header::UPGRADE)
        .is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if switches && !(websocket && to_websocket) {
        return Err(UpstreamFault::Broken);
    }
    framing::check_answer(response)?;
    let size = response.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    if size.sum::<usize>() > RESPONSE_HEADER_BYTES {
        return Err(UpstreamFault::Broken);
    }
    let unwanted = names_where(&response.headers, |name, hop_by_hop| {
        let of_handshake = switches && (*name == header::CONNECTION || *name == header::UPGRADE);
        name.as_str().starts_with("x-wardgate-") || (hop_by_hop.contains(name.as_str()) && !of_handshake)
    });
    for name in &unwanted {
        response.remove_header(name);
    }
    refuse_own_cookies(response).map_err(|_| UpstreamFault::Broken)
}

/// An upstream that could set the gateway's cookies could put people into sessions of others.
fn refuse_own_cookies(response: &mut ResponseHeader) -> pingora::Result<()> {
    let lines = response.headers.get_all(header::SET_COOKIE);
    if !lines.iter().any(|line| cookies::sets_own(line.as_bytes())) {
        return Ok(());
    }
    let kept: Vec<HeaderValue> =
        lines.iter().filter(|line| !cookies::sets_own(line.as_bytes())).cloned().collect();
    response.remove_header(&header::SET_COOKIE);
    for line in kept {
        response.append_header(header::SET_COOKIE, line)?;
    }
    Ok(())
}

/// Cleans the trailers of an upstream's answer: what may not stand in a head may not follow the body either, and what
/// says how the body is to be read comes too late (RFC 9110 §6.5.1).
pub fn prepare_trailers(trailers: &mut HeaderMap) {
    let too_late = [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_RANGE,
        header::SET_COOKIE,
        header::HOST,
        header::WWW_AUTHENTICATE,
        header::CACHE_CONTROL,
    ];
    let unwanted = names_where(trailers, |name, hop_by_hop| {
        name.as_str().starts_with("x-wardgate-")
            || name.as_str().starts_with("access-control-")
            || hop_by_hop.contains(name.as_str())
            || too_late.contains(name)
    });
    for name in &unwanted {
        trailers.remove(name);
    }
}

fn names_where(
    headers: &HeaderMap,
    is_unwanted: impl Fn(&HeaderName, &HopByHop<'_>) -> bool,
) -> SmallVec<[HeaderName; 8]> {
    let hop_by_hop = HopByHop::of(headers);
    headers.keys().filter(|name| is_unwanted(name, &hop_by_hop)).cloned().collect()
}

impl Upstream {
    fn new(settings: UpstreamSettings) -> Result<Self, String> {
        let bytes = |name: &str| Bytes::copy_from_slice(name.as_bytes());
        let injected = settings.inject.keys().map(|name| bytes(name)).collect();
        let assertion_header =
            settings.identity.as_ref().map(|identity| bytes(&identity.header)).unwrap_or_default();
        let responses = ["1xx", "2xx", "3xx", "4xx", "5xx"]
            .map(|class| metrics().upstream_responses.with_label_values(&[&settings.name, class]));
        let wire = Wire::new(&settings).map_err(|fault| format!("upstream `{}`: {fault}", settings.name))?;
        let servers = Arc::new(Servers::new(&settings));
        Ok(Self { settings, injected, assertion_header, responses, wire: Arc::new(wire), servers })
    }
}

/// Fills a template in; `None` where a value would read as something else (a role `user,admin` as two roles).
fn fill(template: &InjectTemplate, subject: &Subject, levels: &Levels) -> Option<String> {
    let mut value = String::new();
    for part in &template.0 {
        match part {
            InjectPart::Text(text) => value.push_str(text),
            InjectPart::IssuerName => value.push_str(&subject.issuer),
            InjectPart::SubjectId => value.push_str(&subject.id),
            InjectPart::SubjectPatient => value.push_str(subject.patient.as_deref().unwrap_or_default()),
            InjectPart::SubjectRoles if subject.roles.iter().any(|role| role.contains(',')) => return None,
            InjectPart::SubjectRoles => value.push_str(&subject.roles.join(",")),
            InjectPart::SubjectLevel => value.push_str(levels.name(subject.level)),
            InjectPart::ClientId => value.push_str(subject.client.as_deref().unwrap_or_default()),
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests;
