//! Somebody with a browser: cookies, redirections, and the form of the issuer at which one says who one is.

use std::collections::BTreeMap;

use http::{HeaderMap, Method, header};
use reqwest::Url;

/// The browser of one person.
pub struct Person<'p> {
    client: &'p reqwest::Client,
    account: &'static str,
    /// By host, then by name.
    cookies: BTreeMap<String, BTreeMap<String, String>>,
}

/// A page, where the browser has come to.
pub struct Page {
    /// Its address.
    pub url: Url,
    /// Its status.
    pub status: u16,
    /// What came with it.
    pub headers: HeaderMap,
    /// Its text.
    pub body: String,
}

impl Page {
    /// The first link on it that begins so.
    pub fn link(&self, start: &str) -> Result<String, String> {
        self.attribute(&format!("href=\"{start}"), start)
    }

    /// Where its form leads.
    pub fn form(&self) -> Result<String, String> {
        self.attribute("<form method=\"post\" action=\"", "")
    }

    /// An attribute's text after a mark, `start` being the part of the mark that belongs to it.
    fn attribute(&self, mark: &str, start: &str) -> Result<String, String> {
        let rest = self.body.split_once(mark).and_then(|(_, rest)| rest.split('"').next());
        let rest = rest.ok_or_else(|| format!("{} has no `{mark}`", self.url))?;
        let target = format!("{start}{rest}").replace("&#38;", "&").replace("&amp;", "&");
        let url = self.url.join(&target).map_err(|error| format!("{target}: {error}"))?;
        Ok(url.to_string())
    }
}

/// What a browser says of a click.
pub const CLICK: [(&str, &str); 3] =
    [("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"), ("Sec-Fetch-Site", "same-origin")];
/// What it says of a script's request.
pub const SCRIPT: [(&str, &str); 2] = [("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Site", "same-origin")];

impl<'p> Person<'p> {
    /// Somebody whom the issuer knows by this name.
    pub fn new(client: &'p reqwest::Client, account: &'static str) -> Self {
        Self { client, account, cookies: BTreeMap::new() }
    }

    /// One request, without following where it leads.
    pub async fn ask(
        &mut self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        form: Option<String>,
    ) -> Result<Page, String> {
        let fault = |error: reqwest::Error| format!("no answer from {url}: {error}");
        let url = Url::parse(url).map_err(|error| format!("{url}: {error}"))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let jar = self.cookies.entry(host).or_default();
        let mut request = self.client.request(method, url.clone());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !jar.is_empty() {
            let cookies: Vec<String> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        if let Some(form) = form {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        }
        let answer = request.send().await.map_err(fault)?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        for line in headers.get_all(header::SET_COOKIE).iter().filter_map(|line| line.to_str().ok()) {
            let Some((name, value)) = line.split(';').next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            if value.is_empty() {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(Page { url, status, headers, body: answer.text().await.map_err(fault)? })
    }

    /// Goes to an address and wherever that leads; says who one is where the issuer asks.
    pub async fn go(&mut self, url: &str) -> Result<Page, String> {
        let mut page = self.ask(Method::GET, url, &CLICK, None).await?;
        for _ in 0..15 {
            let asks = page.url.path().starts_with("/interaction/") && page.status == 200;
            let next = page.headers.get(header::LOCATION).and_then(|next| next.to_str().ok());
            page = match next.map(|next| page.url.join(next)) {
                Some(Ok(next)) => self.ask(Method::GET, next.as_str(), &CLICK, None).await?,
                Some(Err(error)) => return Err(format!("{}: {error}", page.url)),
                None if asks => {
                    let form = format!("account={}", self.account);
                    self.ask(Method::POST, page.url.as_str(), &CLICK, Some(form)).await?
                }
                None => return Ok(page),
            };
        }
        Err(format!("{url} leads round and round"))
    }

    /// The name of the session at the portal.
    pub fn session(&self) -> Option<String> {
        self.cookies.values().find_map(|jar| jar.get("__Host-wardgate-session").cloned())
    }
}
