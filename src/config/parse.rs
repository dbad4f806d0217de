//! From text to [`schema::File`], within bounds.

use serde_saphyr::{MergeKeyPolicy, Options};

use super::codes::Code;
use super::diagnostic::{Diagnostic, Place, Source};
use super::schema;
use super::wording::explain;

/// The largest file: 1 MiB has room for some 5,000 routes.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// Reads the shape of a configuration.
///
/// # Errors
/// The first thing that is not YAML or not the shape: the reader can't go on behind it.
pub(super) fn parse(source: &Source<'_>) -> Result<schema::File, Box<Diagnostic>> {
    shape(source)
}

/// Reads the shape of a file of cases.
///
/// # Errors
/// As [`parse`].
pub(super) fn parse_cases(source: &Source<'_>) -> Result<schema::CaseFile, Box<Diagnostic>> {
    shape(source)
}

fn shape<T: serde::de::DeserializeOwned>(source: &Source<'_>) -> Result<T, Box<Diagnostic>> {
    if source.text().len() > MAX_BYTES {
        let (message, help) = ("the file is larger than 1 MiB", "split it into several gateways");
        let found = Diagnostic::new(source, Code::FileUnreadable, Place::FILE, message, help);
        return Err(Box::new(found));
    }
    let read = serde_saphyr::from_str_with_options(source.text(), options());
    read.map_err(|error| Box::new(explain(source, &error)))
}

/// The file as plain data; `None` where it is no YAML.
pub(super) fn tree(text: &str) -> Option<serde_json::Value> {
    serde_saphyr::from_str_with_options(text, options()).ok()
}

/// One reading only, and no more work than a file of 1 MiB can honestly ask for.
fn options() -> Options {
    serde_saphyr::options! {
        // The default is 250,000 nodes; a file of 1 MiB can have more without any alias.
        budget: serde_saphyr::budget! {
            max_nodes: 600_000,
            max_events: 1_200_000,
            max_depth: 24,
            // One is read; the budget lets the second begin, so that it can be reported as what it is.
            max_documents: 2,
            // Aliases are for a list of roles used in many places, not for building a file out of pieces.
            max_aliases: 2_000,
            max_anchors: 200,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 4,
        },
        // A merged map hides which of two values counts.
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        reject_tagged_field_names: true,
        with_snippet: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_routes_are_within_the_budget() {
        let route = "  - { id: r, match: { path: /a, methods: [GET] }, upstream: a, tier: low, any_of: [{ issuer: p }] }\n";
        let text = format!("routes:\n{}", route.repeat(2_000));
        let read = parse(&Source::new("gateway.yaml", &text)).map_err(|diagnostic| diagnostic.to_string());
        assert_eq!(read.expect("routes").routes.items().len(), 2_000);
    }

    #[test]
    fn aliases_point_to_where_they_are_used() {
        let text = "threads: &n 4\nversion: *n\n";
        let file = parse(&Source::new("gateway.yaml", text))
            .map_err(|diagnostic| diagnostic.to_string())
            .expect("file");
        let version = file.version.as_ref().expect("version");
        assert_eq!(
            (version.value.as_str(), Place::from(version)),
            ("4", Place { line: 2, column: 10, length: 2 })
        );
    }
}
