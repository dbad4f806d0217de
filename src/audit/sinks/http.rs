//! Delivery over HTTP, many records in one request.

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;

use super::exchange::{Exchange, Judged, judge, read};
use super::failure::{Failure, Stopped};
use super::item::Item;
use crate::config::settings::{BatchShape, HttpSinkSettings};

/// A collector.
pub(super) struct HttpSink {
    exchange: Exchange,
    batch: BatchShape,
}

impl HttpSink {
    pub(super) fn open(settings: &HttpSinkSettings) -> Result<Self, String> {
        Ok(Self { exchange: Exchange::open(&settings.server)?, batch: settings.batch })
    }

    pub(super) async fn deliver(&self, items: &[Item]) -> Result<(), Stopped> {
        let request = self.exchange.client.post(self.exchange.server.url.clone());
        let request = request.header(CONTENT_TYPE, self.batch.content_type()).body(body(self.batch, items));
        let answer = self.exchange.send(request).await?;
        match judge(answer.status()) {
            Judged::Taken if self.batch == BatchShape::Bulk => bulk(&read(answer).await?, items),
            Judged::Taken => Ok(()),
            Judged::Later | Judged::Never => Err(Failure::refused(answer.status(), items).into()),
        }
    }
}

fn body(shape: BatchShape, items: &[Item]) -> Vec<u8> {
    let length: usize = items.iter().map(|item| item.body.len() + 200).sum();
    let mut body = Vec::with_capacity(length);
    for item in items {
        match shape {
            BatchShape::Ndjson => body.extend_from_slice(&item.body),
            BatchShape::Splunk => {
                let milliseconds = item.time.as_millisecond();
                let (seconds, rest) = (milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000));
                let head = format!(
                    r#"{{"time":{seconds}.{rest:03},"source":"wardgate","sourcetype":"wardgate:audit","fields":{{"key":"{}"}},"event":"#,
                    item.key
                );
                body.extend_from_slice(head.as_bytes());
                body.extend_from_slice(&item.body);
                body.push(b'}');
            }
            BatchShape::Bulk => {
                // `create` leaves what is there: 409 for a record that came before.
                body.extend_from_slice(format!("{{\"create\":{{\"_id\":\"{}\"}}}}\n", item.key).as_bytes());
                body.extend_from_slice(&item.body);
            }
        }
        body.push(b'\n');
    }
    body
}

/// Looks at what became of each record of a bulk request.
fn bulk(answer: &[u8], items: &[Item]) -> Result<(), Stopped> {
    #[derive(Deserialize)]
    struct Answer {
        errors: bool,
        #[serde(default)]
        items: Vec<Told>,
    }
    #[derive(Deserialize)]
    struct Told {
        create: Created,
    }
    #[derive(Deserialize)]
    struct Created {
        status: u16,
    }
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| Failure::Unintelligible)?;
    if !answer.errors {
        return Ok(());
    }
    if answer.items.len() != items.len() {
        return Err(Failure::Unintelligible.into());
    }
    let mut stopped: Option<Stopped> = None;
    for (taken, (told, item)) in answer.items.iter().zip(items).enumerate() {
        let status = StatusCode::from_u16(told.create.status).map_err(|_| Failure::Unintelligible)?;
        let why = match judge(status) {
            Judged::Taken => continue,
            Judged::Never if status == StatusCode::CONFLICT => continue,
            Judged::Never => Failure::Refused { answer: status.as_u16().to_string(), key: item.key.clone() },
            Judged::Later => Failure::Unavailable { status: status.as_u16(), wait: None },
        };
        // The first of them that will never be taken is what somebody has to do something about.
        match &mut stopped {
            None => stopped = Some(Stopped { taken, why }),
            Some(stopped) if matches!(stopped.why, Failure::Unavailable { .. }) => stopped.why = why,
            Some(_) => {}
        }
    }
    stopped.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(number: u64) -> Item {
        let time = "2026-11-22T10:15:00.123456Z".parse().expect("a time");
        Item { key: format!("o:{number}"), time, body: format!(r#"{{"seq":{number}}}"#).into_bytes() }
    }

    #[test]
    fn every_shape_carries_the_exact_record_and_its_key() {
        let items = [item(1), item(2)];
        let text = |shape| String::from_utf8(body(shape, &items)).expect("text");
        assert_eq!(text(BatchShape::Ndjson), "{\"seq\":1}\n{\"seq\":2}\n");
        assert_eq!(
            text(BatchShape::Bulk),
            "{\"create\":{\"_id\":\"o:1\"}}\n{\"seq\":1}\n{\"create\":{\"_id\":\"o:2\"}}\n{\"seq\":2}\n"
        );
        let splunk = text(BatchShape::Splunk);
        let events: Vec<serde_json::Value> =
            splunk.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(events[1]["event"]["seq"], 2);
        assert_eq!(
            (&events[1]["fields"]["key"], &events[1]["time"]),
            (&"o:2".into(), &1_795_342_500.123.into())
        );
    }

    #[test]
    fn a_bulk_answer_counts_item_by_item() {
        let items = [item(1), item(2)];
        let judge = |first: u16, second: u16| {
            let answer = serde_json::json!({ "errors": true, "items": [
                { "create": { "status": first } }, { "create": { "status": second } } ] });
            bulk(answer.to_string().as_bytes(), &items)
        };
        assert_eq!(bulk(br#"{"errors":false,"items":[]}"#, &items), Ok(()));
        assert_eq!(judge(201, 409), Ok(()), "it was there already");
        let stopped = |taken, why| Err(Stopped { taken, why });
        assert_eq!(judge(201, 429), stopped(1, Failure::Unavailable { status: 429, wait: None }));
        assert_eq!(
            judge(503, 400),
            stopped(0, Failure::Refused { answer: "400".to_owned(), key: "o:2".to_owned() })
        );
        for other in ["", "{}", r#"{"errors":true,"items":[]}"#] {
            assert_eq!(bulk(other.as_bytes(), &items), Err(Failure::Unintelligible.into()), "{other}");
        }
    }
}
