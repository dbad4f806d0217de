//! The one way in which issuers are asked: no redirects, no proxy, one deadline, bounded answers.

use http::{HeaderValue, Method, StatusCode, header};
use reqwest::{Client, RequestBuilder, Response, Url};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::error::{FetchError, StartError, with_causes};
use crate::outgoing::{self, Authorities, ClientError};
use crate::request::json;

/// Larger answers are refused while they come in. Key sets and metadata are a few KiB.
pub const MAX_ANSWER_BYTES: usize = 512 * 1024;

/// Connections kept for reuse to one issuer.
const MAX_IDLE_CONNECTIONS: usize = 16;

/// An HTTP client that keeps to these rules. Cloning shares its connections.
///
/// Its requests must be made on one runtime: a connection is driven by the runtime that opened it, and stands
/// still when that one does.
#[derive(Debug, Clone)]
pub struct HttpClient(Client);

impl HttpClient {
    /// Makes a client that trusts the system's certificate authorities, or nobody where TLS is not needed.
    ///
    /// # Errors
    /// The system has no certificate authorities, or the process has no cryptography provider installed.
    pub fn new(needs_tls: bool) -> Result<Self, StartError> {
        let authorities = if needs_tls { Authorities::System } else { Authorities::Nobody };
        outgoing::client(authorities, None, MAX_IDLE_CONNECTIONS).map(Self).map_err(|error| match error {
            ClientError::NoCryptography => StartError::NoCryptography,
            error => StartError::Tls(with_causes(&error)),
        })
    }

    /// Gets a JSON document.
    ///
    /// # Errors
    /// Anything but a complete answer of status 200 before the deadline.
    pub async fn get(&self, address: &Url, deadline: Instant) -> Result<Vec<u8>, FetchError> {
        answer(self.0.get(address.clone()), address, deadline).await
    }

    /// What the other side's clock says (`Date`, RFC 9110 §6.6.1), whatever else it answers; in Unix seconds.
    pub async fn clock(&self, address: &Url, deadline: Instant) -> Option<i64> {
        let answer = timeout_at(deadline, self.0.head(address.clone()).send()).await.ok()?.ok()?;
        let date = answer.headers().get(header::DATE)?.to_str().ok()?;
        // An IMF-fixdate is a date of RFC 5322.
        Some(jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_second())
    }

    /// Posts a JSON document with an `Authorization` header, and gets one.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post_json(
        &self,
        address: &Url,
        authorization: Option<HeaderValue>,
        body: String,
        deadline: Instant,
    ) -> Result<Vec<u8>, FetchError> {
        let mut request =
            self.0.post(address.clone()).header(header::CONTENT_TYPE, "application/json").body(body);
        if let Some(mut value) = authorization {
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        answer(request, address, deadline).await
    }

    /// Asks a service, where each status has a meaning of its own. Gives the status, and the document that comes with a
    /// good one.
    ///
    /// # Errors
    /// There is no complete answer before the deadline, or it is a redirect.
    pub async fn call(&self, call: Call<'_>, deadline: Instant) -> Result<(StatusCode, Vec<u8>), FetchError> {
        let address = call.told;
        let mut authorization = call.authorization.clone();
        authorization.set_sensitive(true);
        let mut request = self
            .0
            .request(call.method, call.address)
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, authorization);
        if let Some((key, body)) = call.body {
            request = request.header("idempotency-key", key);
            request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        }
        let whole = async {
            let response = request.send().await.map_err(|error| unreachable_at(address, error))?;
            match response.status() {
                status if status.is_success() => Ok((status, body(response, address).await?)),
                status if status.is_redirection() => {
                    check_status(&response, address).map(|()| (status, Vec::new()))
                }
                status => Ok((status, Vec::new())),
            }
        };
        timeout_at(deadline, whole)
            .await
            .unwrap_or_else(|_| Err(FetchError::TooSlow { address: address.as_str().into() }))
    }

    /// Posts a form with client credentials, and gets a JSON document.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post_form(
        &self,
        address: &Url,
        credentials: &ClientCredentials,
        form: String,
        deadline: Instant,
    ) -> Result<Vec<u8>, FetchError> {
        answer(self.form(address, credentials, form), address, deadline).await
    }

    /// The same where a refusal is an answer too.
    ///
    /// # Errors
    /// Anything but a complete answer of status 200, or a refusal with an error code, before the deadline.
    pub async fn post_form_or_refusal(
        &self,
        address: &Url,
        credentials: &ClientCredentials,
        form: String,
        deadline: Instant,
    ) -> Result<Answer, FetchError> {
        let request = self.form(address, credentials, form).header(header::ACCEPT, "application/json");
        let whole = async {
            let response = request.send().await.map_err(|error| unreachable_at(address, error))?;
            match check_status(&response, address) {
                Ok(()) => body(response, address).await.map(Answer::Good),
                Err(FetchError::Status { status, .. }) if (400..=403).contains(&status) => {
                    let code = error_code(&body(response, address).await?);
                    code.map(Answer::Refusal)
                        .ok_or_else(|| FetchError::Status { address: address.as_str().into(), status })
                }
                Err(error) => Err(error),
            }
        };
        timeout_at(deadline, whole)
            .await
            .unwrap_or_else(|_| Err(FetchError::TooSlow { address: address.as_str().into() }))
    }

    fn form(&self, address: &Url, credentials: &ClientCredentials, form: String) -> RequestBuilder {
        self.0
            .post(address.clone())
            .basic_auth(&credentials.id, Some(&credentials.secret))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form)
    }
}

/// What a service is asked.
pub struct Call<'c> {
    /// How.
    pub method: Method,
    /// Where.
    pub address: Url,
    /// The address that errors name: the other one may hold what is for nobody else.
    pub told: &'c Url,
    /// By what the service knows us.
    pub authorization: &'c HeaderValue,
    /// A JSON document, and the key by which the service knows it again.
    pub body: Option<(&'c str, String)>,
}

/// What an endpoint that may refuse has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A document.
    Good(Vec<u8>),
    /// The code of an error (RFC 6749 §5.2).
    Refusal(Box<str>),
}

/// The gateway's own name and secret at an issuer.
#[derive(Clone)]
pub struct ClientCredentials {
    id: String,
    secret: String,
}

impl ClientCredentials {
    /// For `client_secret_basic`: both are form-encoded first (RFC 6749 §2.3.1), so a colon in them does no
    /// harm.
    pub fn new(id: &str, secret: &str) -> Self {
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect();
        Self { id: encoded(id), secret: encoded(secret) }
    }
}

async fn answer(request: RequestBuilder, address: &Url, deadline: Instant) -> Result<Vec<u8>, FetchError> {
    let request = request.header(header::ACCEPT, "application/json");
    let whole = async {
        let response = request.send().await.map_err(|error| unreachable_at(address, error))?;
        match check_status(&response, address) {
            Ok(()) => body(response, address).await,
            Err(FetchError::Status { status, .. })
                // Some issuers choose another status than the standard's 400.
                if matches!(status, 400 | 401 | 403)
                    && is_invalid_grant(&body(response, address).await?) =>
            {
                Err(FetchError::InvalidGrant { address: address.as_str().into() })
            }
            Err(error) => Err(error),
        }
    };
    timeout_at(deadline, whole)
        .await
        .unwrap_or_else(|_| Err(FetchError::TooSlow { address: address.as_str().into() }))
}

/// The code of an error, which is short and plain (RFC 6749 §5.2).
fn error_code(text: &[u8]) -> Option<Box<str>> {
    let Ok(Value::Object(members)) = json::parse(text) else { return None };
    let code = members.get("error")?.as_str()?;
    let is_sound = code.len() <= 100 && code.bytes().all(|byte| byte.is_ascii_graphic());
    is_sound.then(|| code.into())
}

/// Whether a token endpoint says that what it was given is not good, and not that it can't or won't look (RFC 6749 §5.2).
fn is_invalid_grant(text: &[u8]) -> bool {
    matches!(json::parse(text), Ok(Value::Object(members)) if members.get("error") == Some(&"invalid_grant".into()))
}

fn check_status(response: &Response, address: &Url) -> Result<(), FetchError> {
    match response.status() {
        StatusCode::OK => Ok(()),
        status if status.is_redirection() => Err(FetchError::Redirected { address: address.as_str().into() }),
        status => Err(FetchError::Status { address: address.as_str().into(), status: status.as_u16() }),
    }
}

async fn body(mut response: Response, address: &Url) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable_at(address, error))? {
        // Counted as it comes in: a declared length may be missing or wrong.
        if chunk.len() > MAX_ANSWER_BYTES.saturating_sub(body.len()) {
            return Err(FetchError::TooLarge { address: address.as_str().into() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unreachable_at(address: &Url, error: reqwest::Error) -> FetchError {
    // The library's text repeats the address.
    FetchError::Unreachable {
        address: address.as_str().into(),
        why: with_causes(&error.without_url()).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::keys::testing::{Reply, Server, client};

    async fn get(reply: Reply) -> Result<Vec<u8>, FetchError> {
        let server = Server::start(move |_| reply.clone()).await;
        let address = Url::parse(&server.address("/keys")).expect("url");
        client().get(&address, Instant::now() + Duration::from_millis(500)).await
    }

    #[tokio::test]
    async fn only_a_complete_answer_of_status_200_counts() {
        assert_eq!(get(Reply::json("{}")).await, Ok(b"{}".to_vec()));
        for status in [201, 204, 206, 400, 401, 404, 500, 503] {
            let got = get(Reply::status(status)).await;
            assert!(matches!(got, Err(FetchError::Status { status: got, .. }) if got == status));
        }
        assert!(matches!(
            get(Reply::Redirect("/elsewhere".into())).await,
            Err(FetchError::Redirected { .. })
        ));
        assert!(matches!(get(Reply::Hang).await, Err(FetchError::TooSlow { .. })));
        assert!(matches!(get(Reply::HangInBody).await, Err(FetchError::TooSlow { .. })));
        assert!(matches!(get(Reply::Close).await, Err(FetchError::Unreachable { .. })));
        assert!(matches!(get(Reply::CutShort).await, Err(FetchError::Unreachable { .. })));
    }

    #[tokio::test]
    async fn a_huge_answer_is_refused_while_it_comes_in() {
        assert_eq!(
            get(Reply::json(&" ".repeat(MAX_ANSWER_BYTES))).await.map(|body| body.len()),
            Ok(MAX_ANSWER_BYTES)
        );
        assert!(matches!(
            get(Reply::json(&" ".repeat(MAX_ANSWER_BYTES + 1))).await,
            Err(FetchError::TooLarge { .. })
        ));
        assert!(matches!(get(Reply::Endless).await, Err(FetchError::TooLarge { .. })));
    }

    #[tokio::test]
    async fn an_error_says_what_and_where() {
        let nobody = Url::parse("http://127.0.0.1:1/keys").expect("url");
        let error =
            client().get(&nobody, Instant::now() + Duration::from_secs(5)).await.expect_err("refused");
        let text = error.to_string();
        assert!(text.contains("`http://127.0.0.1:1/keys`") && text.contains("refused"), "{text}");
    }
}
