//! The shape of what says how people give stronger proof.

use serde_saphyr::Spanned;

use super::schema::{Text, Texts, maps};

maps! {
    /// A way to get stronger proof; which keys it has depends on its type.
    StepUp {
        name: Text,
        r#type: Text,
        label: Text,
        resume: Spanned<Resume>,
        issuer: Text,
        client_id: Text,
        client_secret_file: Text,
        scopes: Texts,
        binding_message: Text,
        hold_request: Text,
        delivery: Text,
        url: Text,
        secret_file: Text,
        keys_file: Text,
        grants: Text,
        timeout: Text,
    }
    /// What is kept of a request meanwhile.
    Resume { methods: Texts, max_body: Text, ttl: Text, }
}
