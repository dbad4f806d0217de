//! One request to a collector over HTTP, and what its answer means for records.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use super::failure::Failure;
use super::retry_after;
use crate::config::settings::HttpEndpoint;
use crate::outgoing::{self, Authorities};

/// How long one request may take, with its answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// No more of an answer is read, in bytes.
const MOST_ANSWER: usize = 4 << 20;

/// A server, and how it is spoken to.
pub(super) struct Exchange {
    /// Its requests get their credentials from [`Self::send`].
    pub(super) client: Client,
    /// Where and with what.
    pub(super) server: HttpEndpoint,
}

/// What an answer means for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// It has them.
    Taken,
    /// It may take them another time.
    Later,
    /// It takes them at no time.
    Never,
}

impl Exchange {
    /// Makes its client.
    ///
    /// # Errors
    /// The authorities can't be read.
    pub(super) fn open(server: &HttpEndpoint) -> Result<Self, String> {
        let authorities = Authorities::of(&server.url, server.ca_file.as_deref());
        let client = outgoing::client(authorities, Some(DEADLINE), 1).map_err(|error| error.to_string())?;
        Ok(Self { client, server: server.clone() })
    }

    /// Sends a request with the endpoint's credentials. An answer that asks for another try is a failure by itself.
    pub(super) async fn send(&self, mut request: RequestBuilder) -> Result<Response, Failure> {
        if let Some(value) = self.authorization().await? {
            request = request.header(AUTHORIZATION, value);
        }
        let answer = request.send().await.map_err(|error| of(&error))?;
        if judge(answer.status()) == Judged::Later {
            let wait = retry_after::asked(answer.headers(), Timestamp::now());
            return Err(Failure::Unavailable { status: answer.status().as_u16(), wait });
        }
        Ok(answer)
    }

    /// Read each time: credentials are changed while the gateway runs.
    async fn authorization(&self) -> Result<Option<HeaderValue>, Failure> {
        let Some(path) = self.server.authorization_file.clone() else { return Ok(None) };
        let unusable =
            |why: &dyn std::fmt::Display| Failure::Own(format!("`authorization_file` can't be used: {why}"));
        let read = tokio::task::spawn_blocking(move || std::fs::read(path).map(zeroize::Zeroizing::new));
        let text = read.await.map_err(|error| unusable(&error))?.map_err(|error| unusable(&error))?;
        let mut value = HeaderValue::from_bytes(text.trim_ascii()).map_err(|error| unusable(&error))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// What a status means.
pub(super) fn judge(status: StatusCode) -> Judged {
    match status.as_u16() {
        200..300 => Judged::Taken,
        // Too slow, too much (RFC 9110 §15.5.9, RFC 6585 §4).
        408 | 429 => Judged::Later,
        400..500 => Judged::Never,
        _ => Judged::Later,
    }
}

/// The whole answer.
pub(super) async fn read(mut answer: Response) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| of(&error))? {
        if bytes.len() + chunk.len() > MOST_ANSWER {
            return Err(Failure::Unintelligible);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The error without its address.
fn of(error: &reqwest::Error) -> Failure {
    if error.is_timeout() { Failure::TimedOut } else { Failure::Unreachable }
}
