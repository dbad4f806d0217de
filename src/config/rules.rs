//! What of the file makes the rules: two gateways that differ in nothing else take each other's proofs.

use serde_json::Value;

use super::parse;

/// The parts that say where a gateway listens, writes and keeps, and nothing about what may be done.
const PLACES: [&str; 11] = [
    "listeners",
    "telemetry",
    "operators",
    "proxy_status",
    "threads",
    "shutdown",
    "upgrade",
    "state",
    "pages",
    "audit",
    "cases",
];

/// The file's rules as one text, in one order, without comments and layout; the whole text where it can't be read.
pub(super) fn rules(text: &str) -> String {
    match parse::tree(text) {
        Some(Value::Object(mut file)) => {
            file.retain(|key, _| !PLACES.contains(&key.as_str()));
            Value::Object(file).to_string()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_judged_by_counts() {
        let base =
            "version: 1\nlisteners: [{ name: a, address: '0.0.0.0:80' }]\nroutes: [{ id: r, tier: low }]\n";
        let same = "# moved\nroutes:\n  - tier: low\n    id: r\nlisteners: [{ name: a, address: '0.0.0.0:81' }]\nversion: 1\naudit: { dir: x }\n";
        assert_eq!(rules(base), rules(same));
        for (what, with) in [("low", "high"), ("version: 1", "version: 2"), ("id: r", "id: q")] {
            assert_ne!(rules(base), rules(&base.replace(what, with)), "{what}");
        }
        assert_eq!(rules("- no map"), "- no map");
    }
}
