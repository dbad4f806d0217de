//! The shape of services outside that have a say in decisions.

use super::schema::{Text, maps};

maps! {
    /// A policy decision point.
    Pdp {
        name: Text,
        r#type: Text,
        url: Text,
        secret_file: Text,
        ca_file: Text,
        timeout: Text,
        concurrency: Text,
        cache: Text,
        when_unavailable: Text,
    }
}
