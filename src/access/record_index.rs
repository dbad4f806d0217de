//! Which patient's record something belongs to, by a contract of one question: the configured address with the values of
//! the route's parameters in it, and `{"patient": "…"}` or `{"patient": null}` for an answer.

use reqwest::Url;
use serde_json::Value;
use tokio::runtime::Handle;

use super::remembered::{Question, Remembered, key};
use super::service::{Fault, Service, StartError};
use crate::config::settings::{LookupSegment, LookupSettings};
use crate::decision::evidence::Lookup;
use crate::enforce::ports::PatientRequest;
use crate::request::json;

/// No patient's name is longer.
const MOST_NAME: usize = 256;

/// A service that knows what belongs to whom.
pub struct RecordIndex {
    service: Service,
    segments: Vec<LookupSegment>,
    remembered: Option<Remembered<Box<str>>>,
}

impl RecordIndex {
    /// Prepares to ask.
    pub fn new(
        settings: &LookupSettings,
        runtime: &Handle,
        before: Option<&Service>,
    ) -> Result<Self, StartError> {
        let service = Service::new("patient", &settings.service, runtime, before)?;
        let remembered = settings.service.cache.map(Remembered::new);
        Ok(Self { service, segments: settings.segments.clone(), remembered })
    }

    /// The service behind it.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// The patient; nobody where the service knows none, or gives no answer that can be believed.
    pub async fn patient(&self, request: &PatientRequest<'_>) -> Lookup<Box<str>> {
        let Some(values) = values(&self.segments, request.parameters) else { return Lookup::Absent };
        let Some(address) = address(&self.service.settings().url, &values) else { return Lookup::Absent };
        let values = values.iter().copied();
        let known = self.remembered.as_ref().map(|remembered| remembered.of(key(values)));
        if let Some(patient) = known.as_ref().and_then(Question::answer) {
            self.service.count("remembered");
            return Lookup::Found(patient);
        }
        let calls = known.as_ref().map(Question::calls);
        let reply = match self.service.ask(self.service.client().get(address), request.id, calls).await {
            Ok(reply) => reply,
            Err(Fault::Unavailable) => return Lookup::Unavailable,
            // Nobody's, then: it is refused, and an error of the service is among the notices.
            Err(Fault::NotFound | Fault::Refused) => return Lookup::Absent,
        };
        match read(&reply.body) {
            Ok(Some(patient)) => {
                self.service.count_reply(&reply, "found");
                if let Some(known) = known {
                    known.keep(reply.asked, patient.clone());
                }
                Lookup::Found(patient)
            }
            Ok(None) => {
                self.service.count_reply(&reply, "not_found");
                Lookup::Absent
            }
            Err(why) => {
                self.service.count_reply(&reply, "refused");
                self.service.disbelieved(why);
                Lookup::Absent
            }
        }
    }
}

/// The segments of the address; `None` where a value would not stay one.
fn values<'v>(segments: &'v [LookupSegment], parameters: &[(&str, &'v str)]) -> Option<Vec<&'v str>> {
    let value = |segment: &'v LookupSegment| match segment {
        LookupSegment::Text(text) => Some(&**text),
        LookupSegment::Parameter(name) => {
            let found = parameters.iter().find(|(known, _)| *known == &**name).map(|(_, value)| *value);
            // Dots would lead to another place, also where they are encoded.
            found.filter(|value| !value.is_empty() && !value.chars().all(|letter| letter == '.'))
        }
    };
    segments.iter().map(value).collect()
}

/// Whatever the values hold, each is one segment of the path: the rest of the address is the configuration's.
fn address(base: &Url, values: &[&str]) -> Option<Url> {
    let mut address = base.clone();
    address.path_segments_mut().ok()?.clear().extend(values);
    Some(address)
}

fn read(text: &[u8]) -> Result<Option<Box<str>>, &'static str> {
    let Ok(Value::Object(members)) = json::parse(text) else {
        return Err("it is no JSON object with one reading");
    };
    match members.get("patient") {
        Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => {
            let is_sound = !name.is_empty() && name.len() <= MOST_NAME && !name.chars().any(char::is_control);
            if is_sound { Ok(Some(name.as_str().into())) } else { Err("`patient` is no name") }
        }
        _ => Err("`patient` is missing, or neither a text nor null"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(order: &str) -> Option<String> {
        let segments = [
            LookupSegment::Text("orders".into()),
            LookupSegment::Parameter("order".into()),
            LookupSegment::Text("patient".into()),
        ];
        let values = values(&segments, &[("order", order)])?;
        address(&Url::parse("http://index.example:8090/").expect("a URL"), &values).map(String::from)
    }

    #[test]
    fn a_value_is_one_segment_and_leads_nowhere_else() {
        assert_eq!(asked("o-1").as_deref(), Some("http://index.example:8090/orders/o-1/patient"));
        for (value, written) in [
            ("a/b", "a%2Fb"),
            ("a?patient=p1", "a%3Fpatient=p1"),
            ("a#b", "a%23b"),
            ("%2e%2e", "%252e%252e"),
            ("@evil.example", "@evil.example"),
            ("\u{e9}", "%C3%A9"),
        ] {
            let expected = format!("http://index.example:8090/orders/{written}/patient");
            assert_eq!(asked(value).as_deref(), Some(&*expected), "{value}");
        }
        for value in ["", ".", "..", "..."] {
            assert_eq!(asked(value), None, "{value}");
        }
    }

    #[test]
    fn only_one_name_is_an_answer() {
        assert_eq!(read(br#"{"patient":"p1","as_of":"2026-01-01"}"#), Ok(Some("p1".into())));
        assert_eq!(read(br#"{"patient":null}"#), Ok(None));
        let long = format!(r#"{{"patient":"{}"}}"#, "x".repeat(MOST_NAME + 1));
        for text in [
            "",
            "p1",
            r#""p1""#,
            "{}",
            r#"{"patient":""}"#,
            r#"{"patient":1}"#,
            r#"{"patient":["p1"]}"#,
            r#"{"patient":{"id":"p1"}}"#,
            r#"{"patient":"p1\n"}"#,
            r#"{"patient":"p2","patient":"p1"}"#,
            r#"[{"patient":"p1"}]"#,
            &long,
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
