//! Who may ask about requests that they have: whoever reaches the listener, those whose certificates bear a name, or those
//! who show a secret.

use std::sync::Arc;

use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::context::Context;
use super::edge;
use super::live::Live;
use super::proxy::Gateway;
use super::reply::Reply;
use crate::config::peer_secrets::PeerSecrets;
use crate::decision::Reason;
use crate::request::Unreadable;
use crate::request::certificate::ClientCertificate;

/// The header, or of gRPC the metadata, in which a proxy shows its secret.
const SECRET: &str = "x-wardgate-peer-secret";

/// Whether a certificate bears one of these names; none are asked for where there are none.
fn bears_name(names: &[Box<str>], certificate: Option<&Arc<ClientCertificate>>) -> bool {
    let bears = |name: &str| {
        certificate.is_some_and(|certificate| {
            certificate.dns.iter().chain(&certificate.uris).any(|own| **own == *name)
        })
    };
    names.is_empty() || names.iter().any(|name| bears(name))
}

/// Whether a question shows one of these secrets, once; none is asked for where there are none. It is taken out, so that
/// nothing behind this sees it.
fn shows_secret(secrets: Option<&PeerSecrets>, asked: &mut RequestHeader) -> bool {
    let Some(secrets) = secrets else { return true };
    let mut shown = asked.headers.get_all(SECRET).iter();
    let shows = matches!((shown.next(), shown.next()), (Some(shown), None) if secrets.has(shown.as_bytes()));
    asked.remove_header(SECRET);
    shows
}

impl Gateway {
    /// Whether whoever sends this may ask: anybody where the configuration names nobody.
    pub(super) fn may_ask(&self, session: &mut Session, live: &Live) -> bool {
        let secrets = live.peer_secrets.get(self.position).and_then(Option::as_ref);
        shows_secret(secrets, session.req_header_mut())
            && bears_name(&self.listener.peers, edge::encryption(session).1)
    }

    /// Refuses somebody who may not ask; nothing of the question is read.
    pub(super) async fn refuse_peer(&self, session: &mut Session, context: &Context) -> pingora::Result<()> {
        let method = session.req_header().method.clone();
        // Nothing that was said counts, and so there are no facts.
        let arrival = self.arrival(context, &method, Err(Unreadable::NotOriginForm));
        let denial = self.gate.refuse_visit(&arrival, Reason::PeerUnknown).await;
        session.set_keepalive(None);
        Reply::refusal(context.id, &denial, &[])?
            .with_proxy_status(&self.proxy_status, None)?
            .send(session)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::certificate::Thumbprint;

    #[test]
    fn a_whole_name_counts() {
        let certificate = Arc::new(ClientCertificate {
            thumbprint: Thumbprint::of(b"der"),
            subject: "CN=proxy.clinic.example".into(),
            dns: vec!["envoy.clinic.example".into()],
            uris: vec!["spiffe://clinic.example/envoy".into()],
        });
        let may = |name: &str, certificate| bears_name(&[name.into()], certificate);
        assert!(may("envoy.clinic.example", Some(&certificate)));
        assert!(may("spiffe://clinic.example/envoy", Some(&certificate)));
        for name in
            ["clinic.example", "*.clinic.example", "proxy.clinic.example", "spiffe://clinic.example/", ""]
        {
            assert!(!may(name, Some(&certificate)), "{name}");
        }
        assert!(!may("envoy.clinic.example", None));
        assert!(bears_name(&[], None), "on this machine only, as the configuration is checked");
    }

    #[test]
    fn a_secret_is_shown_once_and_goes_no_further() {
        let secret = "c0ffee".repeat(8);
        let secrets = PeerSecrets::parse(secret.as_bytes()).expect("a secret");
        let shows = |values: &[&str]| {
            let mut asked = RequestHeader::build("GET", b"/", None).expect("a request");
            for value in values {
                asked.append_header(SECRET, *value).expect("a header");
            }
            let shows = shows_secret(Some(&secrets), &mut asked);
            assert!(!asked.headers.contains_key(SECRET));
            shows
        };
        assert!(shows(&[&secret]));
        let longer = format!("{secret}0");
        for other in [&[][..], &[""], &[&secret[1..]], &[&longer], &[&secret, &secret], &["x", &secret]] {
            assert!(!shows(other), "{other:?}");
        }
        assert!(shows_secret(None, &mut RequestHeader::build("GET", b"/", None).expect("a request")));
    }
}
