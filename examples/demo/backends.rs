//! Two back ends with synthetic patients. Each answer says whom the back end takes the caller to be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::assertion::{self, Assertions};
use crate::serve::{self, Answer, Request, Service};

/// How many requests reached each back end.
#[derive(Debug, Default)]
pub struct Reached {
    /// The health record.
    pub ehr: AtomicU64,
    /// Billing.
    pub billing: AtomicU64,
    /// Video visits.
    pub telehealth: AtomicU64,
}

impl Reached {
    /// All of them together.
    pub fn total(&self) -> u64 {
        [&self.ehr, &self.billing, &self.telehealth]
            .into_iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }
}

/// Every header that says something about the caller, as it arrived.
pub fn identity_headers(headers: &HeaderMap) -> Map<String, Value> {
    let telling = |name: &str| {
        let name = name.replace('_', "-");
        name != "user-agent"
            && ["user", "wardgate", "forwarded", "authorization", "patient"]
                .iter()
                .any(|part| name.contains(part))
    };
    let shown = |name: &str, value: &http::HeaderValue| {
        let value =
            if name == assertion::HEADER { "(signed)" } else { value.to_str().unwrap_or("(not text)") };
        (name.to_owned(), value.into())
    };
    headers
        .iter()
        .filter(|(name, _)| telling(name.as_str()))
        .map(|(name, value)| shown(name.as_str(), value))
        .collect()
}

/// The electronic health record: FHIR reads and the portal's own pages. It believes nothing but the assertion.
pub struct Ehr {
    reached: Arc<Reached>,
    assertions: Assertions,
    profiles: Mutex<Value>,
}

impl Ehr {
    /// A record with two patients.
    pub fn new(reached: Arc<Reached>, assertions: Assertions) -> Self {
        let profiles = json!({
            "p1": { "address": "1 Oak Street", "language": "en", "reminder_time": "08:00" },
            "p2": { "address": "2 Birch Road", "language": "es", "reminder_time": "09:00" },
        });
        Self { reached, assertions, profiles: Mutex::new(profiles) }
    }

    fn content(&self, request: &Request) -> Option<Value> {
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        match (request.method.as_str(), path.as_slice()) {
            ("GET" | "HEAD", ["patients", patient, "results", ..]) => {
                Some(json!({ "patient": patient, "results": results(patient)? }))
            }
            ("GET" | "HEAD", ["fhir", "Patient", patient]) => fhir_patient(patient),
            ("GET" | "HEAD", ["fhir", "Observation"]) => {
                let (_, patient) = request.query.iter().find(|(name, _)| name == "patient")?;
                let entries: Vec<Value> = results(patient)?
                    .iter()
                    .map(|result| json!({ "resource": observation(patient, result) }))
                    .collect();
                Some(
                    json!({ "resourceType": "Bundle", "type": "searchset", "total": entries.len(), "entry": entries }),
                )
            }
            ("PUT" | "PATCH", ["patients", patient, "profile"]) => {
                self.change_profile(patient, &request.body)
            }
            ("POST", ["patients", patient, "export"]) => {
                Some(json!({ "export": "started", "resources": [fhir_patient(patient)?, results(patient)?] }))
            }
            _ => None,
        }
    }

    fn change_profile(&self, patient: &str, body: &[u8]) -> Option<Value> {
        let changes: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let mut profiles = self.profiles.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = profiles.get_mut(patient)?.as_object_mut()?;
        profile.extend(changes);
        Some(json!({ "profile": profile }))
    }
}

impl Service for Ehr {
    async fn answer(&self, request: Request) -> Answer {
        self.reached.ehr.fetch_add(1, Ordering::Relaxed);
        let headers = identity_headers(&request.headers);
        if request.method == Method::GET && request.path == [""] {
            return serve::json(
                StatusCode::OK,
                &json!({ "welcome": "to the clinic's portal", "headers_seen": headers }),
            );
        }
        let caller = match self.assertions.verify(&request.headers).await {
            Ok(claims) => {
                json!({ "sub": claims.get("sub"), "level": claims.get("level"), "patient": claims.get("patient") })
            }
            Err(why) => {
                return serve::json(
                    StatusCode::FORBIDDEN,
                    &json!({ "refused_by": "ehr", "why": why, "headers_seen": headers }),
                );
            }
        };
        match self.content(&request) {
            Some(mut content) => {
                if let Some(content) = content.as_object_mut() {
                    content.insert("caller".to_owned(), caller);
                    content.insert("headers_seen".to_owned(), headers.into());
                }
                serve::json(StatusCode::OK, &content)
            }
            None => serve::json(
                StatusCode::NOT_FOUND,
                &json!({ "error": "no such record, or no JSON object in the body" }),
            ),
        }
    }
}

/// An older application: it believes `X-Remote-User`, so nobody but the gateway may be able to reach it.
pub struct Billing {
    /// Its counter.
    pub reached: Arc<Reached>,
}

impl Service for Billing {
    async fn answer(&self, request: Request) -> Answer {
        self.reached.billing.fetch_add(1, Ordering::Relaxed);
        let headers = identity_headers(&request.headers);
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        match (request.method.as_str(), path.as_slice()) {
            ("POST", ["patients", _, "invoices", invoice, "payments"]) => {
                let paid: Value = serde_json::from_slice(&request.body).unwrap_or_default();
                let receipt = json!({ "paid": invoice, "cents": paid.get("cents"), "payer": headers.get("x-remote-user"), "headers_seen": headers });
                serve::json(StatusCode::OK, &receipt)
            }
            _ => serve::json(
                StatusCode::NOT_FOUND,
                &json!({ "error": "there are only payments here", "headers_seen": headers }),
            ),
        }
    }
}

fn fhir_patient(id: &str) -> Option<Value> {
    let (given, birth) = match id {
        "p1" => ("Ada", "1984-02-11"),
        "p2" => ("Ben", "1971-09-30"),
        _ => return None,
    };
    Some(
        json!({ "resourceType": "Patient", "id": id, "name": [{ "family": "Example", "given": [given] }], "birthDate": birth }),
    )
}

fn results(patient: &str) -> Option<Vec<Value>> {
    let values = match patient {
        "p1" => [("Haemoglobin", 13.4, "g/dL"), ("Glucose", 5.1, "mmol/L")],
        "p2" => [("Haemoglobin", 15.0, "g/dL"), ("Glucose", 7.9, "mmol/L")],
        _ => return None,
    };
    Some(
        values
            .into_iter()
            .map(|(test, value, unit)| json!({ "test": test, "value": value, "unit": unit }))
            .collect(),
    )
}

fn observation(patient: &str, result: &Value) -> Value {
    json!({
        "resourceType": "Observation", "status": "final", "subject": { "reference": format!("Patient/{patient}") },
        "code": { "text": result.get("test") },
        "valueQuantity": { "value": result.get("value"), "unit": result.get("unit") },
    })
}
