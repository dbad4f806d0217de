//! The trace of one request: continued or begun, passed upstream, and told to a collector where one is configured.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use ipnet::IpNet;
use pingora::http::RequestHeader;
use uuid::Uuid;

use super::otlp::{Exporter, Kind, Span, Value};
use crate::policy::Route;
use crate::request::trace_context::{self, TRACEPARENT, TRACESTATE, TraceContext};

/// What a trace is made with.
#[derive(Clone, Default)]
pub struct Tracer {
    exporter: Option<Arc<Exporter>>,
}

impl Tracer {
    /// Exports to this collector; without one, traces are only passed on.
    pub fn new(exporter: Option<Arc<Exporter>>) -> Self {
        Self { exporter }
    }

    /// Whether there is a collector.
    pub fn exports(&self) -> bool {
        self.exporter.is_some()
    }

    /// Sends what waits, when the gateway stops. Not to be called on a runtime's own threads.
    pub fn flush(&self) {
        if let Some(exporter) = &self.exporter {
            exporter.flush();
        }
    }

    /// Finds the place of a request in its trace.
    ///
    /// A trace that begins here has the decision's id for its own, so that one number finds both. Whether a request is
    /// recorded is decided here, but for callers who are trusted to decide: the world must not fill the collector.
    pub fn begin(&self, headers: &HeaderMap, decision: Uuid, caller_is_trusted: bool) -> Trace {
        let caller = TraceContext::read(headers);
        let drops_state = caller.is_none() || !trace_context::is_valid_state(headers);
        let Some(exporter) = &self.exporter else {
            // A span that nobody records would tear the trace apart: the caller's stays the upstream's parent.
            let span =
                TraceContext { trace_id: decision.into_bytes(), span_id: span_id(decision), sampled: false };
            return Trace { span: caller.unwrap_or(span), call: None, caller, recorded: false, drops_state };
        };
        let trace_id = caller.map_or(decision.into_bytes(), |caller| caller.trace_id);
        let recorded = match caller.filter(|_| caller_is_trusted) {
            Some(caller) => caller.sampled,
            None => exporter.samples(decision),
        };
        let span = TraceContext { trace_id, span_id: span_id(decision), sampled: recorded };
        let call = TraceContext { span_id: next_span_id(span.span_id), ..span };
        Trace { span, call: Some(call), caller, recorded, drops_state }
    }

    /// Tells the collector about a request that has ended.
    pub fn end(&self, trace: &Trace, ended: &Ended<'_>) {
        let Some(exporter) = self.exporter.as_ref().filter(|_| trace.recorded) else {
            return;
        };
        let route = ended.route;
        let mut attributes = vec![
            ("wardgate.decision", Value::from(ended.decision.to_string().as_str())),
            ("wardgate.verdict", Value::from(ended.verdict)),
            ("wardgate.listener", Value::from(ended.listener)),
            ("http.request.method", Value::from(ended.method)),
        ];
        if let Some(reason) = ended.reason {
            attributes.push(("wardgate.reason", Value::from(reason)));
        }
        if let Some(route) = route {
            attributes.push(("http.route", Value::from(route.template.as_str())));
        }
        if let Some(status) = ended.status {
            attributes.push(("http.response.status_code", Value::Number(i64::from(status))));
        }
        let failed = ended.fault.is_some() || ended.status.is_some_and(|status| status >= 500);
        let until = SystemTime::now();
        let began = until.checked_sub(ended.took).unwrap_or(until);
        if let (Some(call), Some(upstream), Some(after)) = (trace.call, ended.upstream, ended.sent_after) {
            let mut attributes = vec![("wardgate.upstream", Value::from(upstream))];
            if let Some(fault) = ended.fault {
                attributes.push(("error.type", Value::from(fault)));
            }
            exporter.export(Span {
                context: call,
                parent: Some(trace.span.span_id),
                name: format!("upstream {upstream}").into(),
                kind: Kind::Client,
                start: nanoseconds(began.checked_add(after).unwrap_or(began)),
                end: nanoseconds(until),
                attributes,
                failed: ended.fault.is_some(),
            });
        }
        exporter.export(Span {
            context: trace.span,
            parent: trace.caller.map(|caller| caller.span_id),
            name: route.map_or("unmatched", |route| &route.id).into(),
            kind: Kind::Server,
            start: nanoseconds(began),
            end: nanoseconds(until),
            attributes,
            failed,
        });
    }
}

/// What is told of a request: names from the configuration and closed lists, never a value from the request.
pub struct Ended<'e> {
    /// The decision's id.
    pub decision: Uuid,
    /// `permit`, `challenge` or `deny`.
    pub verdict: &'static str,
    /// The reason's stable name, where the gateway answered itself.
    pub reason: Option<&'static str>,
    /// The listener's name.
    pub listener: &'e str,
    /// The method, or `other`.
    pub method: &'e str,
    /// The route that matched.
    pub route: Option<&'e Route>,
    /// The upstream's name, where the request was to be forwarded.
    pub upstream: Option<&'e str>,
    /// How long after its beginning it was sent on.
    pub sent_after: Option<Duration>,
    /// What failed there.
    pub fault: Option<&'static str>,
    /// The status the client got.
    pub status: Option<u16>,
    /// How long it took in all.
    pub took: Duration,
}

/// The place of one request in its trace.
#[derive(Debug, Clone, Copy)]
pub struct Trace {
    /// The request itself.
    span: TraceContext,
    /// The call to the upstream, where spans are made.
    call: Option<TraceContext>,
    /// Who called.
    caller: Option<TraceContext>,
    recorded: bool,
    drops_state: bool,
}

impl Trace {
    /// Writes it into a request that goes upstream.
    pub fn pass_on(&self, request: &mut RequestHeader) -> pingora::Result<()> {
        let context = self.call.unwrap_or(self.span);
        if self.caller != Some(context) {
            request.insert_header(TRACEPARENT, context.to_header())?;
        }
        if self.drops_state {
            request.remove_header(TRACESTATE);
        }
        Ok(())
    }
}

/// Whether a peer may say what is recorded.
pub fn is_trusted(peer: Option<IpAddr>, proxies: &[IpNet]) -> bool {
    peer.is_some_and(|peer| proxies.iter().any(|network| network.contains(&peer.to_canonical())))
}

/// The random half of the decision's id (RFC 9562 §5.7). Its variant bits are never zero, so neither is this.
fn span_id(decision: Uuid) -> [u8; 8] {
    *decision.as_bytes().last_chunk::<8>().unwrap_or(&[1; 8])
}

/// Another one: the lowest bit is flipped, so that it is not zero either.
fn next_span_id(id: [u8; 8]) -> [u8; 8] {
    (u64::from_be_bytes(id) ^ 1).to_be_bytes()
}

fn nanoseconds(moment: SystemTime) -> u64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn request(fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).expect("a request");
        for (name, value) in fields {
            request.append_header(*name, *value).expect("a header");
        }
        request
    }

    fn passed(
        tracer: &Tracer,
        fields: &[(&'static str, &str)],
        trusted: bool,
    ) -> (RequestHeader, Trace, Uuid) {
        let (mut request, decision) = (request(fields), Uuid::now_v7());
        let trace = tracer.begin(&request.headers, decision, trusted);
        trace.pass_on(&mut request).expect("passed on");
        (request, trace, decision)
    }

    #[test]
    fn without_a_collector_a_trace_passes_through_and_one_begins_where_there_is_none() {
        let (request, ..) = passed(&Tracer::default(), &[(TRACEPARENT, CALLER), (TRACESTATE, "a=b")], false);
        assert_eq!(
            (&request.headers[TRACEPARENT], &request.headers[TRACESTATE]),
            (&CALLER.parse().unwrap(), &"a=b".parse().unwrap())
        );
        let (request, _, decision) = passed(&Tracer::default(), &[(TRACESTATE, "a=b")], false);
        let begun = TraceContext::read(&request.headers).expect("a trace");
        assert_eq!((begun.trace_id, begun.sampled), (decision.into_bytes(), false));
        assert!(!request.headers.contains_key(TRACESTATE), "a state belongs to a trace");
    }

    #[test]
    fn an_invalid_trace_begins_anew() {
        let broken: &[&[(&'static str, &str)]] = &[
            &[(TRACEPARENT, "00-xyz"), (TRACESTATE, "a=b")],
            &[(TRACEPARENT, CALLER), (TRACEPARENT, CALLER), (TRACESTATE, "a=b")],
        ];
        for fields in broken {
            let (request, _, decision) = passed(&Tracer::default(), fields, true);
            let begun = TraceContext::read(&request.headers).expect("one trace");
            assert_eq!(begun.trace_id, decision.into_bytes());
            assert!(!request.headers.contains_key(TRACESTATE));
        }
        let (request, ..) = passed(&Tracer::default(), &[(TRACEPARENT, CALLER), (TRACESTATE, "A")], true);
        assert_eq!(request.headers[TRACEPARENT], CALLER, "only the state was broken");
        assert!(!request.headers.contains_key(TRACESTATE));
    }

    #[tokio::test]
    async fn only_trusted_callers_decide_what_is_recorded() {
        let nothing = Tracer::new(Some(Arc::new(Exporter::discarding(0.0))));
        let (request, trace, _) = passed(&nothing, &[(TRACEPARENT, CALLER), (TRACESTATE, "a=b")], false);
        let sent = TraceContext::read(&request.headers).expect("a trace");
        assert!(!trace.recorded && !sent.sampled);
        assert_eq!(
            sent.trace_id,
            TraceContext::read(&super::tests::request(&[(TRACEPARENT, CALLER)]).headers).unwrap().trace_id
        );
        assert_eq!(Some(sent), trace.call, "the upstream's parent is the gateway's call");
        assert_eq!(request.headers[TRACESTATE], "a=b");
        assert!(passed(&nothing, &[(TRACEPARENT, CALLER)], true).1.recorded);
        let everything = Tracer::new(Some(Arc::new(Exporter::discarding(1.0))));
        assert!(passed(&everything, &[], false).1.recorded);
        let unsampled = CALLER.replace("-01", "-00");
        assert!(!passed(&everything, &[(TRACEPARENT, &unsampled)], true).1.recorded);
    }
}
