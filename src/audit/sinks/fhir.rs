//! Delivery to a FHIR R4 server, as conditional creates of AuditEvents: a record that comes twice is kept once
//! (<https://hl7.org/fhir/R4/http.html#ccreate>).

use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::exchange::{Exchange, Judged, judge, read};
use super::failure::{Failure, Stopped};
use super::item::Item;
use crate::config::settings::FhirSinkSettings;

/// What AuditEvents are sent and answered as.
const MEDIA_TYPE: &str = "application/fhir+json";
/// So many are in one bundle: servers have limits of their own.
const MOST_ENTRIES: usize = 100;
/// The system of the tag that holds a record's key.
const TAG: &str = "urn:wardgate:record";

/// A FHIR server.
pub(super) struct FhirSink {
    exchange: Exchange,
    is_bundled: bool,
}

impl FhirSink {
    pub(super) fn open(settings: &FhirSinkSettings) -> Result<Self, String> {
        Ok(Self { exchange: Exchange::open(&settings.server)?, is_bundled: settings.is_bundled })
    }

    pub(super) async fn deliver(&self, items: &[Item]) -> Result<(), Stopped> {
        let most = if self.is_bundled { MOST_ENTRIES } else { 1 };
        let mut taken = 0;
        for part in items.chunks(most) {
            let delivered = match part {
                [item] if !self.is_bundled => self.create(item).await.map_err(Stopped::from),
                _ => self.batch(part).await,
            };
            delivered.map_err(|stopped| Stopped { taken: taken + stopped.taken, why: stopped.why })?;
            taken += part.len();
        }
        Ok(())
    }

    async fn create(&self, item: &Item) -> Result<(), Failure> {
        let condition = HeaderValue::try_from(condition(&item.key)).map_err(|_| Failure::Unintelligible)?;
        let request = self.exchange.client.post(self.address(Some("AuditEvent"))).body(item.body.clone());
        let request = request
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header(HeaderName::from_static("if-none-exist"), condition)
            .header(HeaderName::from_static("prefer"), "return=minimal");
        self.settle(self.exchange.send(request).await?.status(), item).await
    }

    /// A batch, not a transaction: one event that is refused must not take the others with it.
    async fn batch(&self, items: &[Item]) -> Result<(), Stopped> {
        let request = self.exchange.client.post(self.address(None)).body(bundle(items));
        let request = request
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header(HeaderName::from_static("prefer"), "return=minimal");
        let answer = self.exchange.send(request).await?;
        if judge(answer.status()) == Judged::Never {
            return Err(Failure::refused(answer.status(), items).into());
        }
        let told = statuses(&read(answer).await?)?;
        if told.len() != items.len() {
            return Err(Failure::Unintelligible.into());
        }
        for (taken, (status, item)) in told.into_iter().zip(items).enumerate() {
            self.settle(status, item).await.map_err(|why| Stopped { taken, why })?;
        }
        Ok(())
    }

    /// What became of one event.
    async fn settle(&self, status: StatusCode, item: &Item) -> Result<(), Failure> {
        match status {
            StatusCode::CREATED => Ok(()),
            // Once, or more than once. A server that ignores what it is asked for by says so of anything: it has to show it.
            StatusCode::OK | StatusCode::PRECONDITION_FAILED if self.holds(item).await? => Ok(()),
            StatusCode::OK => Err(Failure::Unintelligible),
            // Others write at this moment.
            StatusCode::CONFLICT => Err(Failure::Unavailable { status: status.as_u16(), wait: None }),
            status => match judge(status) {
                Judged::Taken => Err(Failure::Unintelligible),
                Judged::Later => Err(Failure::Unavailable { status: status.as_u16(), wait: None }),
                Judged::Never => {
                    Err(Failure::Refused { answer: status.as_u16().to_string(), key: item.key.clone() })
                }
            },
        }
    }

    /// Whether the server can show the event.
    async fn holds(&self, item: &Item) -> Result<bool, Failure> {
        let mut address = self.address(Some("AuditEvent"));
        let tag = format!("{TAG}|{}", item.key);
        address.query_pairs_mut().append_pair("_tag", &tag).append_pair("_count", "1");
        let answer = self.exchange.send(self.exchange.client.get(address)).await?;
        if judge(answer.status()) != Judged::Taken {
            return Ok(false);
        }
        Ok(shows(&read(answer).await?, &item.key))
    }

    /// The server's base, or what is below it.
    fn address(&self, below: Option<&str>) -> Url {
        let mut address = self.exchange.server.url.clone();
        let base = address.path().trim_end_matches('/').to_owned();
        address.set_path(&below.map_or_else(|| base.clone(), |below| format!("{base}/{below}")));
        address
    }
}

/// What there must be none of yet.
fn condition(key: &str) -> String {
    format!("_tag={TAG}|{key}")
}

/// The events as they are, and what there must be none of yet. A key holds nothing that ends a JSON text.
fn bundle(items: &[Item]) -> Vec<u8> {
    let length: usize = items.iter().map(|item| item.body.len() + 200).sum();
    let mut body = Vec::with_capacity(length);
    body.extend_from_slice(br#"{"resourceType":"Bundle","type":"batch","entry":["#);
    for (number, item) in items.iter().enumerate() {
        body.extend_from_slice(if number == 0 { b"" } else { b"," });
        body.extend_from_slice(br#"{"resource":"#);
        body.extend_from_slice(&item.body);
        let condition = condition(&item.key);
        let request =
            format!(r#","request":{{"method":"POST","url":"AuditEvent","ifNoneExist":"{condition}"}}}}"#);
        body.extend_from_slice(request.as_bytes());
    }
    body.extend_from_slice(b"]}");
    body
}

/// What became of each entry. Its outcome in words is not looked at: it may repeat what was sent.
fn statuses(answer: &[u8]) -> Result<Vec<StatusCode>, Failure> {
    #[derive(Deserialize)]
    struct Bundle {
        entry: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        response: Told,
    }
    #[derive(Deserialize)]
    struct Told {
        status: String,
    }
    let bundle: Bundle = serde_json::from_slice(answer).map_err(|_| Failure::Unintelligible)?;
    let status = |entry: Entry| {
        // With or without words behind it: `201 Created`.
        let number = entry.response.status.split(' ').next().and_then(|word| word.parse().ok());
        number.and_then(|number| StatusCode::from_u16(number).ok()).ok_or(Failure::Unintelligible)
    };
    bundle.entry.into_iter().map(status).collect()
}

/// Whether what was found has the record's tag.
fn shows(answer: &[u8], key: &str) -> bool {
    #[derive(Deserialize)]
    struct Bundle {
        #[serde(default)]
        entry: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        resource: Resource,
    }
    #[derive(Deserialize)]
    struct Resource {
        meta: Meta,
    }
    #[derive(Deserialize)]
    struct Meta {
        #[serde(default)]
        tag: Vec<Tag>,
    }
    #[derive(Deserialize)]
    struct Tag {
        system: Option<String>,
        code: Option<String>,
    }
    let Ok(bundle) = serde_json::from_slice::<Bundle>(answer) else { return false };
    let is_it = |tag: &Tag| tag.system.as_deref() == Some(TAG) && tag.code.as_deref() == Some(key);
    bundle.entry.iter().any(|entry| entry.resource.meta.tag.iter().any(is_it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_the_exact_event_and_its_condition() {
        let item = Item {
            key: "o:1".to_owned(),
            time: jiff::Timestamp::UNIX_EPOCH,
            body: br#"{"resourceType":"AuditEvent","a":1.50}"#.to_vec(),
        };
        let text = String::from_utf8(bundle(&[item])).expect("text");
        assert_eq!(
            text,
            r#"{"resourceType":"Bundle","type":"batch","entry":[{"resource":{"resourceType":"AuditEvent","a":1.50},"request":{"method":"POST","url":"AuditEvent","ifNoneExist":"_tag=urn:wardgate:record|o:1"}}]}"#
        );
    }

    #[test]
    fn each_entry_of_an_answer_has_a_status() {
        let read = |text: &str| statuses(text.as_bytes());
        let two = r#"{"entry":[{"response":{"status":"201 Created"}},{"response":{"status":"400"}}]}"#;
        assert_eq!(read(two), Ok(vec![StatusCode::CREATED, StatusCode::BAD_REQUEST]));
        for text in ["", "{}", r#"{"entry":[{}]}"#, r#"{"entry":[{"response":{"status":"fine"}}]}"#] {
            assert_eq!(read(text), Err(Failure::Unintelligible), "{text}");
        }
    }

    #[test]
    fn only_the_record_itself_is_the_record() {
        let found = |system: &str, code: &str| {
            let text = format!(
                r#"{{"entry":[{{"resource":{{"meta":{{"tag":[{{"system":"{system}","code":"{code}"}}]}}}}}}]}}"#
            );
            shows(text.as_bytes(), "o:1")
        };
        assert!(found(TAG, "o:1"));
        assert!(!found(TAG, "o:11") && !found("urn:other", "o:1"));
        assert!(!shows(b"{\"resourceType\":\"Bundle\"}", "o:1") && !shows(b"", "o:1"));
    }
}
