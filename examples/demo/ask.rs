//! One request to the gateway: sent by the tour, and written as the `curl` line that sends the same.

use std::net::SocketAddr;

use http::{HeaderMap, Method};
use serde_json::Value;

use crate::setting::Setting;

/// A token, and the shell variable that the printed lines know it by.
#[derive(Debug, Clone)]
pub struct Token {
    /// The variable's name.
    pub variable: &'static str,
    /// Its text.
    pub text: String,
}

impl Token {
    /// The shell line that gets one.
    pub fn export(variable: &str, level: &str, setting: &Setting) -> String {
        format!("export {variable}=$(curl -sX POST '{}/token?patient=p1&level={level}')", setting.issuer_url)
    }
}

/// A request.
#[derive(Debug)]
pub struct Ask<'a> {
    method: Method,
    path: &'static str,
    token: Option<&'a Token>,
    headers: &'static [(&'static str, &'static str)],
    body: Option<&'static str>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, where it is JSON; else null.
    pub body: Value,
}

impl Answer {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl<'a> Ask<'a> {
    /// A request without a body.
    pub fn get(path: &'static str) -> Self {
        Self { method: Method::GET, path, token: None, headers: &[], body: None }
    }

    /// A request with a JSON body.
    pub fn send_json(method: Method, path: &'static str, body: &'static str) -> Self {
        Self { method, path, token: None, headers: &[], body: Some(body) }
    }

    /// The same with a token.
    pub fn with(self, token: &'a Token) -> Self {
        Self { token: Some(token), ..self }
    }

    /// The same with further headers.
    pub fn with_headers(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }

    /// The method and the path.
    pub fn title(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The line for a shell.
    pub fn curl(&self, gateway: SocketAddr) -> String {
        let method = if self.method == Method::GET { String::new() } else { format!(" -X {}", self.method) };
        let mut parts = vec![format!("curl -i{method} http://{gateway}{}", self.path)];
        parts.extend(self.token.map(|token| format!("-H \"Authorization: Bearer ${}\"", token.variable)));
        parts.extend(self.headers.iter().map(|(name, value)| format!("-H '{name}: {value}'")));
        parts.extend(self.body.map(|body| format!("-H 'Content-Type: application/json' -d '{body}'")));
        wrap(&parts)
    }

    /// Sends it.
    pub async fn send(&self, client: &reqwest::Client, gateway: SocketAddr) -> Result<Answer, String> {
        let fault = |error: reqwest::Error| format!("no answer to {}: {error}", self.title());
        let mut request = client.request(self.method.clone(), format!("http://{gateway}{}", self.path));
        if let Some(token) = self.token {
            request = request.bearer_auth(&token.text);
        }
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = self.body {
            request = request.header("Content-Type", "application/json").body(body);
        }
        let answer = request.send().await.map_err(fault)?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = serde_json::from_slice(&answer.bytes().await.map_err(fault)?).unwrap_or_default();
        Ok(Answer { status, headers, body })
    }
}

/// Puts the parts of a shell command on as few lines as stay readable.
pub fn wrap(parts: &[String]) -> String {
    const WIDTH: usize = 100;
    let (mut text, mut width) = (String::new(), 0);
    for part in parts {
        if width > 0 && width + part.len() > WIDTH {
            text.push_str(" \\\n       ");
            width = 4;
        } else if width > 0 {
            text.push(' ');
        }
        text.push_str(part);
        width += part.len() + 1;
    }
    text
}
