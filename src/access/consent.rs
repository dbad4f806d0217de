//! Whether a patient has consented, by one question to a service that knows: a FHIR server that keeps Consent resources, or
//! a contract of one question in JSON.

mod fhir;

use http::header;
use jiff::Timestamp;
use reqwest::{RequestBuilder, Url};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::remembered::{Key, Question as Remembering, Remembered, key};
use super::service::{Fault, Service, StartError};
use crate::config::settings::{ConsentKind, ConsentSettings};
use crate::decision::evidence::Lookup;
use crate::enforce::ports::ConsentRequest;
use crate::request::json as strict;

/// So many consents of one patient are read; whoever has more is told apart by a service of their own.
const MOST_CONSENTS: &str = "50";

/// A service that knows who has consented to what.
pub struct Consents {
    service: Service,
    kind: ConsentKind,
    purpose: Option<Box<str>>,
    remembered: Option<Remembered<bool>>,
}

impl Consents {
    /// Prepares to ask.
    pub fn new(
        settings: &ConsentSettings,
        runtime: &Handle,
        before: Option<&Service>,
    ) -> Result<Self, StartError> {
        let service = Service::new("consent", &settings.service, runtime, before)?;
        let remembered = settings.service.cache.map(Remembered::new);
        Ok(Self { service, kind: settings.kind, purpose: settings.purpose.clone(), remembered })
    }

    /// The service behind it.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Whether the patient has consented. An answer that can't be believed is [`Lookup::Absent`].
    pub async fn given(&self, request: &ConsentRequest<'_>) -> Lookup<bool> {
        let known = self.remembered.as_ref().map(|remembered| remembered.of(self.key(request)));
        if let Some(given) = known.as_ref().and_then(Remembering::answer) {
            self.service.count("remembered");
            return Lookup::Found(given);
        }
        let Some(question) = self.question(request) else { return Lookup::Absent };
        let calls = known.as_ref().map(Remembering::calls);
        let reply = match self.service.ask(question, request.id, calls).await {
            Ok(reply) => reply,
            Err(Fault::Unavailable) => return Lookup::Unavailable,
            Err(Fault::NotFound) => {
                self.service.disbelieved("it answers with status 404: `url` is not where consents are known");
                return Lookup::Absent;
            }
            Err(Fault::Refused) => return Lookup::Absent,
        };
        match self.read(&reply.body, request) {
            Ok(given) => {
                self.service.count_reply(&reply, if given { "given" } else { "not_given" });
                if let Some(known) = known {
                    known.keep(reply.asked, given);
                }
                Lookup::Found(given)
            }
            Err(why) => {
                self.service.count_reply(&reply, "refused");
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

    fn key(&self, request: &ConsentRequest<'_>) -> Key {
        let by_person = [request.action, request.issuer, request.subject];
        let more = if self.kind == ConsentKind::Http { &by_person[..] } else { &[] };
        key([request.patient].into_iter().chain(more.iter().copied()))
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
