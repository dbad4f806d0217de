//! The shape of FHIR services, and of routes below them.

use serde_saphyr::Spanned;

use super::schema::{Text, Texts, maps};

maps! {
    /// A FHIR server.
    FhirService {
        name: Text,
        host: Text,
        base: Text,
        version: Text,
        upstream: Text,
        smart: Text,
        search_params: Spanned<SearchParams>,
        check_replies: Spanned<bool>,
        max_reply_bytes: Text,
        shared_types: Texts,
        bundles: Spanned<Bundles>,
    }
    /// Which parameters its requests may have.
    SearchParams { allow: Texts, }
    /// Which batches and transactions it takes.
    Bundles { allow: Texts, max_entries: Text, }
    /// Which of its requests a route takes.
    FhirMatch { service: Text, interactions: Texts, types: Texts, operations: Texts, }
}
