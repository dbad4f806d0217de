//! One version of the configuration, as far as judging goes.

use std::sync::Arc;

use super::ports::{AccessServices, Identities};
use super::sessions::Sessions;
use super::shared_signals::Streams;
use crate::policy::Policy;

/// The rules of one version of the configuration, and what only makes sense together with them: positions in the
/// policy (of issuers, of upstreams) mean something else in the next version. A request is judged by one of these
/// from beginning to end.
#[derive(Clone)]
pub struct Generation {
    /// The rules.
    pub policy: Arc<Policy>,
    /// Verifies the tokens of the policy's issuers.
    pub identities: Arc<dyn Identities>,
    /// The sessions of browsers, where people sign in at all.
    pub sessions: Option<Arc<dyn Sessions>>,
    /// Transmitters whose events end what was begun, where there are any.
    pub signals: Option<Arc<Streams>>,
    /// Those outside who have a say, where any route asks them.
    pub access: Option<Arc<dyn AccessServices>>,
    /// By upstream: whether forms are searched for a field that overrides the method.
    pub search_forms: Vec<bool>,
}
