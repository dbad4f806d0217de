//! Who may ask about requests that they have: whoever reaches the listener, or those whose certificates bear a name.

use std::sync::Arc;

use pingora::proxy::Session;

use super::context::Context;
use super::proxy::Gateway;
use super::reply::Reply;
use crate::decision::Reason;
use crate::request::Unreadable;
use crate::request::certificate::ClientCertificate;

/// Whether a certificate bears one of these names; none are asked for where there are none.
pub(super) fn may_ask(names: &[Box<str>], certificate: Option<&Arc<ClientCertificate>>) -> bool {
    let bears = |name: &str| {
        certificate.is_some_and(|certificate| {
            certificate.dns.iter().chain(&certificate.uris).any(|own| **own == *name)
        })
    };
    names.is_empty() || names.iter().any(|name| bears(name))
}

impl Gateway {
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
        let may = |name: &str, certificate| may_ask(&[name.into()], certificate);
        assert!(may("envoy.clinic.example", Some(&certificate)));
        assert!(may("spiffe://clinic.example/envoy", Some(&certificate)));
        for name in
            ["clinic.example", "*.clinic.example", "proxy.clinic.example", "spiffe://clinic.example/", ""]
        {
            assert!(!may(name, Some(&certificate)), "{name}");
        }
        assert!(!may("envoy.clinic.example", None));
        assert!(may_ask(&[], None), "on this machine only, as the configuration is checked");
    }
}
