//! Where an issuer keeps its keys and its introspection endpoint, as its own metadata says.
//!
//! OpenID Connect Discovery 1.0 §4 first, then RFC 8414 §3. The metadata is believed only as far as it speaks
//! of the configured issuer and stays at the issuer's origin: who can change a document there must not be
//! able to have tokens verified with keys from elsewhere, or shown to somebody else.

use reqwest::Url;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::error::{FetchError, StartError, quoted};
use super::http::HttpClient;
use crate::request::json;

/// What is looked for in the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// `jwks_uri`.
    Keys,
    /// `introspection_endpoint`.
    Introspection,
}

impl Member {
    /// The member's name in the metadata.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keys => "jwks_uri",
            Self::Introspection => "introspection_endpoint",
        }
    }
}

/// An issuer whose metadata can be asked for.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// As configured; compared byte by byte.
    issuer: Box<str>,
    address: Url,
    /// Where the metadata is, or else in the second place.
    first: Url,
    second: Option<Url>,
}

impl Discovery {
    /// Prepares discovery for the issuer called `name` with the address `issuer`.
    ///
    /// # Errors
    /// The issuer is not an address under which metadata can lie.
    pub fn new(name: &str, issuer: &str) -> Result<Self, StartError> {
        let mut found = Self::transmitter(name, issuer)?;
        let path = found.address.path().trim_end_matches('/').to_owned();
        found.first.set_path(&format!("{path}/.well-known/openid-configuration"));
        let mut second = found.address.clone();
        second.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
        found.second = Some(second);
        Ok(found)
    }

    /// The same for a transmitter of security events (SSF 1.0 §7.2).
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn transmitter(name: &str, issuer: &str) -> Result<Self, StartError> {
        let refused = |why| StartError::BadAddress {
            what: "address",
            issuer: name.into(),
            address: issuer.into(),
            why,
        };
        let address = parse(issuer).map_err(refused)?;
        if address.query().is_some() {
            return Err(refused("an issuer has no query (RFC 8414 §2); set `jwks` explicitly"));
        }
        let mut first = address.clone();
        first.set_path(&format!("/.well-known/ssf-configuration{}", address.path().trim_end_matches('/')));
        Ok(Self { issuer: issuer.into(), first, second: None, address })
    }

    /// Asks the issuer where `member` is.
    ///
    /// # Errors
    /// There is no metadata, it is somebody else's, or it points to another origin.
    pub async fn find(
        &self,
        member: Member,
        http: &HttpClient,
        deadline: Instant,
    ) -> Result<Url, FetchError> {
        self.metadata(http, deadline).await?.place(member.name())
    }

    /// Asks the issuer for all that it says of itself.
    ///
    /// # Errors
    /// There is no metadata, or it is somebody else's.
    pub async fn metadata(&self, http: &HttpClient, deadline: Instant) -> Result<Metadata, FetchError> {
        let (address, text) = match (http.get(&self.first, deadline).await, &self.second) {
            (Ok(text), _) => (&self.first, text),
            // Only where the document is not there: any other trouble would be the same for the second.
            (Err(FetchError::Status { status: 400..=499, .. }), Some(second)) => {
                (second, http.get(second, deadline).await?)
            }
            (Err(error), _) => return Err(error),
        };
        self.read(address, &text)
    }

    fn read(&self, address: &Url, text: &[u8]) -> Result<Metadata, FetchError> {
        let unusable =
            |why: String| FetchError::Unusable { address: address.as_str().into(), why: why.into() };
        let members = match json::parse(text) {
            Ok(Value::Object(members)) => members,
            Ok(_) => return Err(unusable("it is no JSON object".into())),
            Err(error) => return Err(unusable(error.to_string())),
        };
        let issuer = members.get("issuer").and_then(Value::as_str).unwrap_or_default();
        if issuer != &*self.issuer {
            return Err(FetchError::WrongIssuer { address: address.as_str().into(), says: quoted(issuer) });
        }
        Ok(Metadata { address: address.clone(), members, issuer: self.address.clone() })
    }
}

/// What an issuer says of itself.
pub struct Metadata {
    address: Url,
    members: Map<String, Value>,
    issuer: Url,
}

impl Metadata {
    /// An address in it, which must be at the issuer's own origin.
    ///
    /// # Errors
    /// There is none, or it is elsewhere.
    pub fn place(&self, member: &'static str) -> Result<Url, FetchError> {
        let found = self.members.get(member).and_then(Value::as_str).ok_or_else(|| FetchError::Unusable {
            address: self.address.as_str().into(),
            why: format!("it has no `{member}`").into(),
        })?;
        match parse(found) {
            Ok(url) if url.origin() == self.issuer.origin() => Ok(url),
            _ => Err(FetchError::OtherOrigin { member, says: quoted(found) }),
        }
    }

    /// A member as it stands there.
    pub fn member(&self, member: &str) -> Option<&Value> {
        self.members.get(member)
    }

    /// Whether it has a member at all.
    pub fn has(&self, member: &str) -> bool {
        self.members.contains_key(member)
    }

    /// Whether it says yes to something.
    pub fn says(&self, member: &str) -> bool {
        self.members.get(member).and_then(Value::as_bool) == Some(true)
    }
}

/// Reads an address that was configured beside the issuer's. It may be anywhere, and the check of the
/// configuration has refused plain HTTP where the operator did not ask for it by name.
///
/// # Errors
/// It is no HTTP address.
pub fn configured(what: &'static str, name: &str, address: &str) -> Result<Url, StartError> {
    parse(address).map_err(|why| StartError::BadAddress {
        what,
        issuer: name.into(),
        address: address.into(),
        why,
    })
}

fn parse(address: &str) -> Result<Url, &'static str> {
    let url = Url::parse(address).map_err(|_| "it is no URL")?;
    if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
        return Err("it must begin with `https://` and a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user name or password, which would end up in logs; remove them");
    }
    if url.fragment().is_some() { Err("it has a fragment (`#`); remove it") } else { Ok(url) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::keys::testing::{Reply, Server, client};

    async fn find(server: &Server, path: &str) -> Result<Url, FetchError> {
        let discovery = Discovery::new("people", &server.address(path)).expect("issuer");
        discovery.find(Member::Keys, &client(), Instant::now() + Duration::from_secs(5)).await
    }

    #[test]
    fn the_two_places_are_built_from_the_path() {
        for (issuer, openid, oauth) in [
            (
                "https://a.test",
                "/.well-known/openid-configuration",
                "/.well-known/oauth-authorization-server",
            ),
            (
                "https://a.test/",
                "/.well-known/openid-configuration",
                "/.well-known/oauth-authorization-server",
            ),
            (
                "https://a.test/r/x",
                "/r/x/.well-known/openid-configuration",
                "/.well-known/oauth-authorization-server/r/x",
            ),
        ] {
            let discovery = Discovery::new("people", issuer).expect("issuer");
            let second = discovery.second.as_ref().expect("two places");
            assert_eq!((discovery.first.path(), second.path()), (openid, oauth));
        }
        for (transmitter, path) in [
            ("https://a.test/", "/.well-known/ssf-configuration"),
            ("https://a.test/r", "/.well-known/ssf-configuration/r"),
        ] {
            let discovery = Discovery::transmitter("people", transmitter).expect("transmitter");
            assert_eq!((discovery.first.path(), discovery.second), (path, None));
        }
    }

    #[test]
    fn an_address_that_can_not_be_asked_stops_the_start() {
        for issuer in [
            "people",
            "ftp://a.test",
            "https://a.test/?x",
            "https://a.test/#x",
            "https://u:p@a.test/",
            "https://",
        ] {
            assert!(Discovery::new("people", issuer).is_err(), "{issuer}");
        }
        for (address, is_good) in
            [("https://b.test/keys?v=1", true), ("http://b.test/keys", true), ("file:///keys", false)]
        {
            assert_eq!(configured("`jwks.url`", "people", address).is_ok(), is_good, "{address}");
        }
    }

    #[tokio::test]
    async fn the_second_place_is_asked_when_the_first_is_empty() {
        let server = Server::start(|request| match request.path.as_str() {
            "/.well-known/oauth-authorization-server/r" => {
                let base = format!("http://{}", request.host);
                Reply::json(
                    &json!({ "issuer": format!("{base}/r"), "jwks_uri": format!("{base}/keys") }).to_string(),
                )
            }
            _ => Reply::status(404),
        })
        .await;
        assert_eq!(find(&server, "/r").await.map(String::from), Ok(server.address("/keys")));
        let broken = Server::start(|_| Reply::status(500)).await;
        assert!(matches!(find(&broken, "").await, Err(FetchError::Status { status: 500, .. })));
        assert_eq!(broken.count("/.well-known/oauth-authorization-server"), 0);
    }

    #[tokio::test]
    async fn metadata_is_believed_only_about_the_issuer_itself() {
        let reply = |metadata: fn(&str) -> Value| async move {
            let server = Server::start(move |request| {
                Reply::json(&metadata(&format!("http://{}", request.host)).to_string())
            })
            .await;
            find(&server, "").await
        };
        assert!(reply(|own| json!({ "issuer": own, "jwks_uri": format!("{own}/keys?a=1") })).await.is_ok());
        for answer in [
            reply(|own| json!({ "issuer": format!("{own}/"), "jwks_uri": format!("{own}/keys") })).await,
            reply(|own| json!({ "issuer": [own], "jwks_uri": format!("{own}/keys") })).await,
            reply(|own| json!({ "jwks_uri": format!("{own}/keys") })).await,
        ] {
            assert!(matches!(answer, Err(FetchError::WrongIssuer { .. })), "{answer:?}");
        }
        for answer in [
            reply(|own| json!({ "issuer": own, "jwks_uri": "http://169.254.169.254/keys" })).await,
            reply(|own| json!({ "issuer": own, "jwks_uri": own.replace("http:", "https:") })).await,
            reply(|own| json!({ "issuer": own, "jwks_uri": format!("{own}0/keys") })).await,
            reply(|own| json!({ "issuer": own, "jwks_uri": "/keys" })).await,
            reply(|own| json!({ "issuer": own, "jwks_uri": own.replace("http://", "http://u:p@") })).await,
            reply(|own| json!({ "issuer": own, "jwks_uri": "file:///etc/passwd" })).await,
        ] {
            let Err(error @ FetchError::OtherOrigin { .. }) = answer else { panic!("{answer:?}") };
            assert!(error.remedy().contains("`jwks.url`"));
        }
        for answer in [
            reply(|own| json!({ "issuer": own })).await,
            reply(|own| json!({ "issuer": own, "jwks_uri": 1 })).await,
            reply(|_| json!([])).await,
        ] {
            assert!(matches!(answer, Err(FetchError::Unusable { .. })), "{answer:?}");
        }
    }
}
