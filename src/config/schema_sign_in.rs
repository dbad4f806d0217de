//! The shape of what says how people sign in.

use serde_saphyr::Spanned;

use super::schema::{Text, Texts, maps};

maps! {
    /// How people sign in at an issuer.
    SignIn {
        client_id: Text,
        client_secret_file: Text,
        origins: Texts,
        scopes: Texts,
        backchannel_logout: Spanned<bool>,
        shared_workstation: Spanned<bool>,
        label: Text,
        session: Spanned<Session>,
        recognised_device: Spanned<RecognisedDevice>,
    }
    /// After which proof a browser is recognised, and for how long.
    RecognisedDevice { after: Text, r#for: Text, }
    /// How long sessions last.
    Session { idle: Text, absolute: Text, }
    /// What the gateway's own pages look like.
    Pages { name: Text, colour: Text, logo_file: Text, origin: Text, }
}
