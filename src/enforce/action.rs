//! What a proof is given for: one action, told from every other by all that makes it what it is.

use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
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
        for part in parts {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        URL_SAFE_NO_PAD.encode(context.finish())
    }
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
