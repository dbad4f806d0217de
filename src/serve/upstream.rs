//! Towards the upstreams: addresses, and what a request looks like when it leaves the gateway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::HttpPeer;
use prometheus::IntCounter;
use smallvec::SmallVec;
use uuid::Uuid;

use super::assertion::Assertions;
use super::reply::UpstreamFault;
use crate::config::settings::{InjectPart, InjectTemplate, UpstreamSettings};
use crate::enforce::Admission;
use crate::identity::Subject;
use crate::identity::assurance::Levels;
use crate::request::Facts;
use crate::request::headers::{HopByHop, IdentityHeaders};
use crate::telemetry::metrics;

/// The header that tells both sides the decision's id.
pub const DECISION_HEADER: &str = "x-wardgate-decision";

/// How long a resolved name is used before it is asked for again.
const RESOLVE_EVERY: Duration = Duration::from_secs(10);
/// How long a WebSocket may be silent: far longer than an answer may take.
pub const WEBSOCKET_SILENCE: Duration = Duration::from_secs(3600);
/// How long the last good address is used when names can't be resolved.
const LAST_GOOD_FOR: Duration = Duration::from_secs(300);

/// Every upstream, in the policy's order.
pub struct Upstreams {
    upstreams: Vec<Upstream>,
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
    resolved: ArcSwapOption<(SocketAddr, Instant)>,
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
    /// The moment, in Unix seconds.
    pub now: i64,
}

impl Upstreams {
    /// Takes the settings; `assertions` signs for those that want an assertion.
    pub fn new(settings: Vec<UpstreamSettings>, assertions: Assertions) -> Self {
        let injected = settings.iter().flat_map(|upstream| {
            upstream
                .inject
                .keys()
                .map(AsRef::as_ref)
                .chain(upstream.identity.iter().map(|identity| identity.header.as_ref()))
        });
        let identity_headers = IdentityHeaders::new(injected);
        let upstreams = settings.into_iter().map(Upstream::new).collect();
        Self { upstreams, identity_headers, assertions }
    }

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

    /// The key of the assertions, as a JWK set.
    pub fn jwks(&self) -> &str {
        self.assertions.jwks()
    }

    /// Where to connect. Taking the admission is what makes an unadmitted connection impossible to write.
    pub async fn peer(
        &self,
        _key: &Admission,
        index: usize,
        websocket: bool,
    ) -> Result<HttpPeer, UpstreamFault> {
        let upstream = self.upstreams.get(index).ok_or(UpstreamFault::Unreachable)?;
        let address = upstream.address().await?;
        let mut peer = HttpPeer::new(address, false, String::new());
        let settings = &upstream.settings;
        // Stock Pingora waits for ever.
        peer.options.connection_timeout = Some(settings.connect);
        peer.options.total_connection_timeout = Some(settings.connect);
        peer.options.read_timeout =
            Some(if websocket { settings.read.max(WEBSOCKET_SILENCE) } else { settings.read });
        peer.options.write_timeout = Some(settings.write);
        peer.options.idle_timeout = Some(settings.idle);
        Ok(peer)
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
        let unwanted = names_where(&request.headers, |name, hop_by_hop| {
            self.identity_headers.contains(name.as_str())
                || hop_by_hop.contains(name.as_str())
                || (*name == header::AUTHORIZATION && !settings.pass_bearer)
        });
        for name in &unwanted {
            request.remove_header(name);
        }
        if departure.facts.websocket {
            request.insert_header(header::CONNECTION, "upgrade")?;
            request.insert_header(header::UPGRADE, "websocket")?;
        }
        if let Some(client) = departure.facts.client {
            request.insert_header("x-forwarded-for", client.to_string())?;
        }
        request.insert_header("x-forwarded-proto", if departure.facts.secure { "https" } else { "http" })?;
        request.insert_header("x-forwarded-host", departure.facts.host.as_str())?;
        let decision = departure.admission.receipt().decision();
        request.insert_header(
            DECISION_HEADER,
            decision.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes(),
        )?;
        if let Some(subject) = departure.admission.permit().subject() {
            self.identify(request, upstream, departure, subject)?;
        }
        Ok(())
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
    // Framing that not everybody knows ends an answer in another place for the client than for the gateway.
    let mut codings = response.headers.get_all(header::TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Err(UpstreamFault::Broken);
    }
    let unwanted = names_where(&response.headers, |name, hop_by_hop| {
        let of_handshake = switches && (*name == header::CONNECTION || *name == header::UPGRADE);
        name.as_str().starts_with("x-wardgate-") || (hop_by_hop.contains(name.as_str()) && !of_handshake)
    });
    for name in &unwanted {
        response.remove_header(name);
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
    fn new(settings: UpstreamSettings) -> Self {
        let bytes = |name: &str| Bytes::copy_from_slice(name.as_bytes());
        let injected = settings.inject.keys().map(|name| bytes(name)).collect();
        let assertion_header =
            settings.identity.as_ref().map(|identity| bytes(&identity.header)).unwrap_or_default();
        let responses = ["1xx", "2xx", "3xx", "4xx", "5xx"]
            .map(|class| metrics().upstream_responses.with_label_values(&[&settings.name, class]));
        Self { settings, injected, assertion_header, responses, resolved: ArcSwapOption::empty() }
    }

    async fn address(&self) -> Result<SocketAddr, UpstreamFault> {
        if let Ok(address) = self.settings.endpoint.parse() {
            return Ok(address);
        }
        let known = self.resolved.load();
        if let Some((address, at)) = known.as_deref()
            && at.elapsed() < RESOLVE_EVERY
        {
            return Ok(*address);
        }
        let found = tokio::time::timeout(
            self.settings.connect,
            tokio::net::lookup_host(self.settings.endpoint.as_ref()),
        )
        .await;
        match found.ok().and_then(Result::ok).and_then(|mut addresses| addresses.next()) {
            Some(address) => {
                self.resolved.store(Some(Arc::new((address, Instant::now()))));
                Ok(address)
            }
            None => match known.as_deref() {
                Some((address, at)) if at.elapsed() < LAST_GOOD_FOR => Ok(*address),
                _ => Err(UpstreamFault::Unreachable),
            },
        }
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
