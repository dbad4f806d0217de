//! The shape of what says where the state is kept.

use serde_saphyr::Spanned;

use super::schema::{Items, Text, Texts, maps};

maps! {
    /// What is remembered between requests.
    State {
        store: Text,
        data_dir: Text,
        redis: Spanned<Redis>,
        encryption_keys: Items<EncryptionKey>,
        single_replica: Spanned<bool>,
    }
    /// A key that seals what is kept.
    EncryptionKey { id: Text, file: Text, }
    /// A shared store.
    Redis {
        urls: Texts,
        topology: Text,
        service: Text,
        username: Text,
        password_file: Text,
        sentinel_username: Text,
        sentinel_password_file: Text,
        ca_file: Text,
        timeout: Text,
        min_replicas: Text,
        prefix: Text,
    }
}
