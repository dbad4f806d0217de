//! The shape of services outside that have a say in decisions.

use super::schema::{Text, maps};

maps! {
    /// A service that knows what patients have consented to.
    Consent {
        name: Text,
        r#type: Text,
        url: Text,
        purpose: Text,
        secret_file: Text,
        ca_file: Text,
        timeout: Text,
        concurrency: Text,
        cache: Text,
        when_unavailable: Text,
    }
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
