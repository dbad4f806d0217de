//! Whether a patient has consented, by one question to a service that knows: a FHIR server that keeps Consent resources, or
//! a contract of one question in JSON.

mod fhir;

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use http::header;
use jiff::Timestamp;
use quick_cache::sync::Cache;
use reqwest::{RequestBuilder, Url};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::service::{Fault, Service, StartError};
use crate::config::settings::{ConsentKind, ConsentSettings};
use crate::decision::evidence::Lookup;
use crate::enforce::ports::ConsentRequest;
use crate::request::json as strict;

/// So many answers are remembered at most.
const REMEMBERED: usize = 10_000;
/// So many consents of one patient are read; whoever has more is told apart by a service of their own.
const MOST_CONSENTS: &str = "50";

/// Answers, by digests of the questions, and until when each holds.
type Remembered = Cache<[u8; 32], (Instant, bool)>;

/// A service that knows who has consented to what.
pub struct Consents {
    service: Service,
    kind: ConsentKind,
    purpose: Option<Box<str>>,
    remembered: Option<(Duration, Remembered)>,
}

impl Consents {
    /// Prepares to ask.
    pub fn new(
        settings: &ConsentSettings,
        runtime: &Handle,
        before: Option<&Service>,
    ) -> Result<Self, StartError> {
        let service = Service::new("consent", &settings.service, runtime, before)?;
        let remembered = settings.service.cache.map(|keep| (keep, Cache::new(REMEMBERED)));
        Ok(Self { service, kind: settings.kind, purpose: settings.purpose.clone(), remembered })
    }

    /// The service behind it.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Whether the patient has consented. An answer that can't be believed is [`Lookup::Absent`].
    pub async fn given(&self, request: &ConsentRequest<'_>) -> Lookup<bool> {
        let known = self.remembered.as_ref().map(|(keep, cache)| (self.key(request), *keep, cache));
        if let Some((key, _, cache)) = &known
            && let Some((until, given)) = cache.get(key)
            && Instant::now() < until
        {
            self.service.count("remembered");
            return Lookup::Found(given);
        }
        let Some(question) = self.question(request) else { return Lookup::Absent };
        let asked = Instant::now();
        let body = match self.service.ask(question, request.id).await {
            Ok(body) => body,
            Err(Fault::Unavailable) => return Lookup::Unavailable,
            Err(Fault::NotFound) => {
                self.service.disbelieved("it answers with status 404: `url` is not where consents are known");
                return Lookup::Absent;
            }
            Err(Fault::Refused) => return Lookup::Absent,
        };
        match self.read(&body, request) {
            Ok(given) => {
                self.service.count(if given { "given" } else { "not_given" });
                if let Some((key, keep, cache)) = known {
                    cache.insert(key, (asked + keep, given));
                }
                Lookup::Found(given)
            }
            Err(why) => {
                self.service.count("refused");
                self.service.disbelieved(why);
                Lookup::Absent
            }
        }
    }

    fn question(&self, request: &ConsentRequest<'_>) -> Option<RequestBuilder> {
        let (client, url) = (self.service.client(), self.service.settings().url.clone());
        match self.kind {
            ConsentKind::Http => {
                let mut question = json!({
                    "patient": request.patient,
                    "action": request.action,
                    "subject": { "issuer": request.issuer, "id": request.subject },
                });
                if let (Some(purpose), Value::Object(members)) = (&self.purpose, &mut question) {
                    members.insert("purpose".to_owned(), (&**purpose).into());
                }
                let question = question.to_string();
                Some(client.post(url).header(header::CONTENT_TYPE, "application/json").body(question))
            }
            // The name goes into a search: what FHIR does not allow in an id could be several values, or another search.
            ConsentKind::Fhir if fhir::is_id(request.patient) => {
                Some(client.get(search(url, request.patient)?))
            }
            ConsentKind::Fhir => None,
        }
    }

    fn read(&self, body: &[u8], request: &ConsentRequest<'_>) -> Result<bool, &'static str> {
        let Ok(answer) = strict::parse(body) else { return Err("it is no JSON with one reading") };
        match self.kind {
            ConsentKind::Http => {
                let said = answer.get("consent").and_then(Value::as_bool);
                said.ok_or("`consent` is missing, or neither true nor false")
            }
            ConsentKind::Fhir => {
                let now = Timestamp::from_second(request.now).map_err(|_| "the clock can't be used")?;
                let base = self.service.settings().url.as_str().trim_end_matches('/');
                let asked =
                    fhir::Asked { base, patient: request.patient, purpose: self.purpose.as_deref(), now };
                fhir::given(&answer, &asked)
            }
        }
    }

    /// The digest of whatever the answer depends on, each part behind its length.
    fn key(&self, request: &ConsentRequest<'_>) -> [u8; 32] {
        let by_person = [request.action, request.issuer, request.subject];
        let more = if self.kind == ConsentKind::Http { &by_person[..] } else { &[] };
        let mut context = Context::new(&SHA256);
        for value in [request.patient].iter().chain(more) {
            // `usize` has at most 64 bits wherever this runs.
            context.update(&u64::try_from(value.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(value.as_bytes());
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        bytes
    }
}

/// The search for a patient's consents that are in force (FHIR R4 §3.1.1).
fn search(base: Url, patient: &str) -> Option<Url> {
    let mut url = base;
    url.path_segments_mut().ok()?.pop_if_empty().push("Consent");
    url.query_pairs_mut()
        .append_pair("patient", &format!("Patient/{patient}"))
        .append_pair("status", "active")
        .append_pair("_count", MOST_CONSENTS);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_is_below_the_base() {
        for base in ["https://fhir.example/r4", "https://fhir.example/r4/"] {
            let url = search(Url::parse(base).expect("a URL"), "p1").map(String::from);
            let wanted = "https://fhir.example/r4/Consent?patient=Patient%2Fp1&status=active&_count=50";
            assert_eq!(url.as_deref(), Some(wanted));
        }
    }
}
