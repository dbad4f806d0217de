//! The shape of what says which transmitters' security events are taken.

use serde_saphyr::Spanned;

use super::schema::{Text, Texts, maps};

maps! {
    /// A transmitter whose events are about an issuer's subjects.
    SharedSignals {
        transmitter: Text,
        audience: Text,
        algorithms: Texts,
        jwks_url: Text,
        push: Spanned<SignalPush>,
        poll: Spanned<SignalPoll>,
        opaque_ids: Text,
        credential_changes: Texts,
    }
    /// Events come by themselves.
    SignalPush { hosts: Texts, authorization_file: Text, }
    /// Events are fetched.
    SignalPoll { url: Text, authorization_file: Text, wait: Text, }
}
