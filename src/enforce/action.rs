//! What a proof is given for: one action, told from every other by all that makes it what it is.

use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;

use super::gather::BodySource;
use crate::decision::Reason;
use crate::identity::Subject;
use crate::policy::{Policy, Route, TierIndex};
use crate::request::Facts;
use crate::request::framing::BodyLength;

/// One action of one person. The session it belongs to is the store's to add.
#[derive(Clone, Copy)]
pub struct Action<'a> {
    /// The rules it was judged by: under others it is another action.
    pub policy: &'a Policy,
    /// The route.
    pub route: &'a Route,
    /// The tier, once everything that raises it was seen.
    pub tier: TierIndex,
    /// The request.
    pub facts: &'a Facts,
    /// Who asks; nobody where the account that is meant stands in the request itself.
    pub subject: Option<&'a Subject>,
    /// The whole body.
    pub body: &'a [u8],
}

impl Action<'_> {
    /// A SHA-256 in base64url over the length-prefixed parts: what differs in any of them has another digest.
    pub fn digest(&self) -> String {
        let body = digest(&SHA256, self.body);
        let [issuer, id, client] = self.subject.map_or([""; 3], |subject| {
            [&*subject.issuer, &*subject.id, subject.client.as_deref().unwrap_or_default()]
        });
        let mut context = Context::new(&SHA256);
        let parts = [
            self.policy.rules.as_bytes(),
            self.route.id.as_bytes(),
            self.policy.tier(self.tier).name.as_bytes(),
            self.facts.host.as_str().as_bytes(),
            self.facts.method.as_str().as_bytes(),
            self.facts.target.raw().as_bytes(),
            body.as_ref(),
            issuer.as_bytes(),
            id.as_bytes(),
            client.as_bytes(),
        ];
        // What the person was shown is what these say, and may be nothing like it under others.
        for part in parts.into_iter().chain(self.facts.read_as.parts()) {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        URL_SAFE_NO_PAD.encode(context.finish())
    }
}

/// The digest of a body as `Content-Digest` has it (RFC 9530 §2).
pub fn content_digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(digest(&SHA256, body)))
}

/// The longest body that is read because a proof is for it, in bytes.
pub fn most_bytes(policy: &Policy, route: &Route, listener_bytes: u64) -> usize {
    policy.resume.most_body.min(usize::try_from(route.body_limit(listener_bytes)).unwrap_or(usize::MAX))
}

/// The whole body where it is at most `most` bytes long and says so; `None`, and nothing read, where it is or may be
/// longer.
///
/// # Errors
/// It does not arrive.
pub async fn whole_body(
    facts: &Facts,
    most: usize,
    source: &mut dyn BodySource,
) -> Result<Option<Bytes>, Reason> {
    match facts.body.length {
        BodyLength::None => Ok(Some(Bytes::new())),
        BodyLength::Known(length) if usize::try_from(length).is_ok_and(|length| length <= most) => {
            source.collect(most).await.map(Some).map_err(Reason::from)
        }
        BodyLength::Known(_) | BodyLength::Chunked => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use http::{HeaderMap, Method, Version};
    use serde_json::json;

    use super::*;
    use crate::config;
    use crate::identity::id_token::{self, Frame};
    use crate::request::facts::{Hop, RawRequest, Reading};

    const RULES: &str = r#"version: 1
listeners: [{ name: portal, address: "127.0.0.1:8080" }]
state: { single_replica: true }
issuers:
  - name: patients
    issuer: https://login.clinic.example
    audiences: [portal]
    assurance: { aal1: { any_of: { amr: [pwd] } }, aal2: { any_of: { acr: ["two"] } } }
upstreams:
  app: { endpoints: ["127.0.0.1:9000"] }
routes:
  - { id: profile, match: { path: "/profile", methods: [PUT, POST] }, upstream: app, tier: critical, any_of: [{ issuer: patients }] }
  - { id: mail, match: { path: "/mail", methods: [PUT, POST] }, upstream: app, tier: critical, any_of: [{ issuer: patients }] }
"#;

    fn facts(method: &str, host: &str, target: &str) -> Facts {
        facts_read_as(method, host, target, "text/plain")
    }

    fn facts_read_as(method: &str, host: &str, target: &str, kind: &str) -> Facts {
        let (method, mut headers) = (method.parse::<Method>().expect("method"), HeaderMap::new());
        headers.insert("host", host.parse().expect("host"));
        headers.insert("content-type", kind.parse().expect("type"));
        let section = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {kind}\r\n\r\n");
        let raw = RawRequest {
            method: &method,
            version: Version::HTTP_11,
            target: target.as_bytes(),
            headers: &headers,
            section: section.as_bytes(),
            peer: None,
            hop: Hop::default(),
        };
        Facts::read(&raw, &Reading { trusted_proxies: Vec::new(), header_bytes: 1024, header_count: 10 })
            .expect("facts")
    }

    /// Each part that makes an action what it is, changed by itself. The session is part of where a grant lies.
    #[test]
    fn whatever_differs_it_is_another_action() {
        let load = || match config::load("gateway.yaml", RULES, Path::new("")) {
            Ok((compiled, _)) => compiled.policy,
            Err(found) => panic!("{}", found[0]),
        };
        let (policy, mut other_rules) = (load(), load());
        other_rules.rules = "other".into();
        let claims = json!({ "iss": "https://login.clinic.example", "sub": "alice", "amr": ["pwd"] });
        let claims = Arc::new(claims.as_object().expect("object").clone());
        let frame = Frame { client_id: "desk", name: "session", began_at: 1, ends_at: 9, now: 2 };
        let alice = id_token::subject(&claims, &policy.issuers[0], &frame).expect("a subject");
        let other = |change: fn(&mut Subject)| {
            let mut subject = alice.clone();
            change(&mut subject);
            subject
        };
        let form = facts_read_as("POST", "portal.example", "/profile", "application/x-www-form-urlencoded");
        let critical = policy.routes[0].tier;
        let lower = TierIndex(critical.0 - 1);
        let own = facts("POST", "portal.example", "/profile");
        let (put, query, host) = (
            facts("PUT", "portal.example", "/profile"),
            facts("POST", "portal.example", "/profile?a=b"),
            facts("POST", "staff.example", "/profile"),
        );
        let (bob, client, issuer) = (
            other(|subject| subject.id = "bob".into()),
            other(|subject| subject.client = Some("kiosk".into())),
            other(|subject| subject.issuer = "staff".into()),
        );
        let action = Action {
            policy: &policy,
            route: &policy.routes[0],
            tier: critical,
            facts: &own,
            subject: Some(&alice),
            body: b"street=1",
        };
        let others = [
            ("rules", Action { policy: &other_rules, ..action }),
            ("route", Action { route: &policy.routes[1], ..action }),
            ("tier", Action { tier: lower, ..action }),
            ("host", Action { facts: &host, ..action }),
            ("method", Action { facts: &put, ..action }),
            ("target", Action { facts: &query, ..action }),
            ("body's type", Action { facts: &form, ..action }),
            ("body", Action { body: b"street=2", ..action }),
            ("issuer", Action { subject: Some(&issuer), ..action }),
            ("subject", Action { subject: Some(&bob), ..action }),
            ("client", Action { subject: Some(&client), ..action }),
            ("person at all", Action { subject: None, ..action }),
        ];
        assert_eq!(action.digest(), Action { ..action }.digest());
        for (what, other) in others {
            assert_ne!(action.digest(), other.digest(), "the digest says nothing of the {what}");
        }
    }

    #[test]
    fn digests_are_those_of_rfc_9530() {
        // RFC 9530, appendix D: the SHA-256 of `{"hello": "world"}` and a line feed.
        let expected = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        assert_eq!(content_digest(b"{\"hello\": \"world\"}\n"), expected);
        assert_eq!(content_digest(b""), "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:");
    }
}
