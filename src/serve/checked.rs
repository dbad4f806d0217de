//! Replies of FHIR servers to callers who are confined to one patient: read whole, looked through, and only then sent
//! on, byte for byte (`docs/decisions/0035-checked-replies.md`).

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;

use super::context::Context;
use crate::decision::{Confinement, Reason};
use crate::policy::fhir::{FhirService, ReplyCheck};
use crate::request::fhir::belonging::Home;
use crate::request::fhir::reference::Place;
use crate::request::fhir::reply::{Confined, Unfit};
use crate::request::media::{ContentType, Media};
use crate::telemetry::metrics;

/// Replies above this size are parsed where that holds nobody up: 128 KiB.
const BLOCKING_BYTES: usize = 128 * 1024;

/// The headers that go out with a checked reply; what else a server says could be about anybody.
const HEADERS: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::CACHE_CONTROL,
    header::RETRY_AFTER,
    header::DATE,
];
/// The headers by which a client is sent somewhere.
const ADDRESSES: [HeaderName; 2] = [header::LOCATION, header::CONTENT_LOCATION];
/// What makes a reply depend on what the client has, so that there is nothing to look through.
const CONDITIONS: [HeaderName; 4] =
    [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_RANGE, header::RANGE];

/// What became of a reply.
pub enum Looked {
    /// It may go out like this.
    Fit(Box<ResponseHeader>, Bytes),
    /// The server refused the request; what it said of it stays behind.
    Failed(StatusCode),
    /// It must not go out.
    Refused(Reason),
}

/// How the reply to the request at hand is looked through.
pub struct Check<'c> {
    service: &'c FhirService,
    replies: &'c ReplyCheck,
    rules: Confined,
    is_search: bool,
}

impl<'c> Check<'c> {
    /// `None` where the reply may show anything.
    pub fn of(context: &'c Context) -> Option<Self> {
        let confinement: &Confinement = context.admission.as_ref()?.permit().confinement()?;
        let policy = &context.settled.as_ref()?.policy;
        let service = policy.index.fhir().service(confinement.service)?;
        let replies = service.replies.as_ref()?;
        let own = context.facts.as_ref().map(|facts| facts.host.as_str().into());
        let hosts = own.into_iter().chain(replies.hosts.iter().cloned()).collect();
        let place = Place { hosts, base: service.base.clone(), version: service.version };
        let rules = Confined {
            home: Home { patient: confinement.patient.clone(), place },
            shared: replies.shared.clone(),
            awaited: confinement.awaited.clone(),
        };
        Some(Self { service, replies, rules, is_search: confinement.is_search })
    }

    /// Asks the server for a reply that can be looked through: whole, in plain JSON, and also where only its head is
    /// wanted.
    ///
    /// # Errors
    /// A header can't be written.
    pub fn ask(&self, request: &mut RequestHeader) -> pingora::Result<()> {
        if request.method == Method::HEAD {
            request.set_method(Method::GET);
        }
        if request.method.is_safe() || self.is_search {
            for name in &CONDITIONS {
                request.remove_header(name);
            }
        }
        request.insert_header(header::ACCEPT, "application/fhir+json")?;
        request.insert_header(header::ACCEPT_ENCODING, "identity")?;
        request.remove_header("accept-charset");
        request.remove_header("prefer");
        if self.is_search {
            // A server that ignores a parameter would find what nobody asked for (FHIR R4 §3.1.1.4.1).
            request.insert_header("prefer", "handling=strict")?;
        }
        Ok(())
    }

    /// Reads the whole reply and looks through it.
    ///
    /// # Errors
    /// It broke off, or did not come in time.
    pub async fn look(self, upstream: &mut HttpSession, head: ResponseHeader) -> pingora::Result<Looked> {
        let (result, looked) = self.result(upstream, head).await?;
        metrics().fhir_replies.with_label_values(&[&self.service.name, result]).inc();
        Ok(looked)
    }

    async fn result(
        &self,
        upstream: &mut HttpSession,
        head: ResponseHeader,
    ) -> pingora::Result<(&'static str, Looked)> {
        let unchecked = |why| Ok((why, Looked::Refused(Reason::FhirReplyUnchecked)));
        match head.status {
            StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT => {}
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE
                if !self.rules.awaited.names_patient() =>
            {
                // As for what is another's, so that nobody learns which ids there are.
                return Ok(("failed", Looked::Failed(StatusCode::NOT_FOUND)));
            }
            status if status.is_client_error() || status.is_server_error() => {
                return Ok(("failed", Looked::Failed(status)));
            }
            _ => return unchecked("status"),
        }
        if head.headers.contains_key(header::CONTENT_ENCODING)
            && one(&head, &header::CONTENT_ENCODING).is_none_or(|coding| coding != "identity")
        {
            return unchecked("encoded");
        }
        let Some(mut answer) = self.head(&head) else { return unchecked("address") };
        let most = self.replies.most_bytes;
        let told = one(&head, &header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if told.is_some_and(|length| length > most) {
            return unchecked("too_large");
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = upstream.read_response_body().await? {
            if body.len().saturating_add(chunk.len()) > most {
                return unchecked("too_large");
            }
            body.extend_from_slice(&chunk);
        }
        let body = body.freeze();
        if !body.is_empty() && !is_plain_json(&head) {
            return unchecked("not_json");
        }
        let inspected = if body.len() > BLOCKING_BYTES {
            let (rules, bytes) = (self.rules.clone(), body.clone());
            let inspecting = tokio::task::spawn_blocking(move || rules.inspect(&bytes));
            inspecting.await.unwrap_or(Err(Unfit::Unreadable))
        } else {
            self.rules.inspect(&body)
        };
        match inspected {
            Ok(()) => {
                if head.status != StatusCode::NO_CONTENT {
                    answer.insert_header(header::CONTENT_LENGTH, body.len())?;
                }
                Ok(("passed", Looked::Fit(Box::new(answer), body)))
            }
            Err(Unfit::Foreign) => Ok(("foreign", Looked::Refused(Reason::FhirReplyForeign))),
            Err(Unfit::Unreadable) => unchecked("unreadable"),
        }
    }

    /// The head that goes out; `None` where it leads elsewhere.
    fn head(&self, head: &ResponseHeader) -> Option<ResponseHeader> {
        let mut answer = ResponseHeader::build(head.status, Some(8)).ok()?;
        for name in HEADERS {
            for value in head.headers.get_all(&name) {
                answer.append_header(name.clone(), value.clone()).ok()?;
            }
        }
        for name in ADDRESSES {
            for value in head.headers.get_all(&name) {
                let address = value.to_str().ok()?;
                if !self.rules.home.place.has(address) {
                    return None;
                }
                answer.append_header(name.clone(), value.clone()).ok()?;
            }
        }
        Some(answer)
    }
}

/// A header that stands there once.
fn one<'h>(head: &'h ResponseHeader, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = head.headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn is_plain_json(head: &ResponseHeader) -> bool {
    let value = one(head, &header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let read = ContentType::read(value);
    value.is_some() && read.media == Media::Json && read.utf8
}
