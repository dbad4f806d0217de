//! The last touch to an upstream's answer, however it came.

use pingora::http::ResponseHeader;
use uuid::Uuid;

use super::context::Context;
use super::proxy::Gateway;
use super::reply::{GLASS_HEADER, allow_origin, give_nonce};
use super::upstream::DECISION_HEADER;
use crate::enforce::Settled;

impl Gateway {
    /// The last touch to an upstream's answer.
    pub(super) fn finish_response(
        &self,
        response: &mut ResponseHeader,
        context: &Context,
    ) -> pingora::Result<()> {
        self.proxy_status.clean(response);
        if let Some(open) = &context.open {
            open.answered(response.status.as_u16(), &response.headers);
        }
        if context.facts.as_ref().is_some_and(|facts| facts.presented.is_key_bound()) {
            give_nonce(response, self.gate.nonce(context.now))?;
        }
        for line in &context.cookies {
            response.append_header(http::header::SET_COOKIE, line.as_str())?;
        }
        let mut buffer = Uuid::encode_buffer();
        response
            .insert_header(DECISION_HEADER, context.id.hyphenated().encode_lower(&mut buffer).as_bytes())?;
        if context.admission.as_ref().is_some_and(|admission| admission.permit().broke_glass()) {
            response.insert_header(GLASS_HEADER, "open")?;
        }
        allow_origin(response, context.settled.as_ref().and_then(Settled::route), context.facts.as_ref())
    }
}
