//! The house keeps its floors: stairs go down only, the lower floors are pure, files stay readable.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};

/// The floor of a module path such as `audit::file`; the longest entry that fits counts.
const FLOORS: &[(&str, u8)] = &[
    ("request", 0),
    ("identity", 0),
    ("policy", 1),
    ("decision", 1),
    ("replay", 1),
    ("audit", 3),
    ("audit::detections", 1),
    ("audit::epoch", 1),
    ("audit::event", 1),
    ("audit::formats", 1),
    ("audit::frame", 1),
    ("audit::json", 1),
    ("audit::proof", 1),
    ("audit::signing", 1),
    ("audit::tree", 1),
    ("audit::verify", 1),
    ("audit::pseudonym", 1),
    ("audit::receipt", 1),
    ("audit::records", 1),
    ("state", 3),
    ("state::spent", 1),
    ("enforce", 2),
    ("config", 2),
    ("outgoing", 2),
    ("tls", 2),
    ("access", 3),
    ("keys", 3),
    ("serve", 3),
    ("session", 3),
    ("app", 4),
    ("cli", 4),
    ("main", 4),
    ("lib", 4),
];

/// Holds constants and counters only, so every floor that may have effects may use it.
const EVERYWHERE_FROM_FLOOR_2: &str = "telemetry";

/// What the pure floors must not know: time, files, sockets, threads, logs, the runtime.
const IMPURE: &[&str] = &[
    "tokio::",
    "pingora",
    "reqwest",
    "tracing::",
    "std::fs",
    "std::thread",
    "Timestamp::now",
    "Instant::now",
    "SystemTime",
    "std::env",
    "TcpStream",
    "println!",
    "eprintln!",
    "Uuid::now",
    "rand::",
];

struct SourceFile {
    path: PathBuf,
    module: String,
    text: String,
}

fn sources() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    assert!(found.len() > 40, "the source tree was not found");
    found
}

fn collect(root: &Path, dir: &Path, found: &mut Vec<SourceFile>) {
    for entry in fs::read_dir(dir).expect("readable directory") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root).expect("below src").with_extension("");
            let module =
                relative.to_str().expect("utf-8").replace('/', "::").trim_end_matches("::mod").to_owned();
            found.push(SourceFile { text: fs::read_to_string(&path).expect("readable"), module, path });
        }
    }
}

fn floor(module: &str) -> Option<u8> {
    FLOORS
        .iter()
        .filter(|(name, _)| module == *name || module.starts_with(&format!("{name}::")))
        .max_by_key(|(name, _)| name.len())
        .map(|(_, floor)| *floor)
}

/// Every `crate::…` path in a file, braces expanded one level.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let before = &text[line_start..at];
        // Comments import nothing, and neither does a visibility: `pub(in crate::audit)`.
        if before.trim_start().starts_with("//") || before.ends_with("(in ") {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        let end = rest
            .find(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == ':'))
            .unwrap_or(rest.len());
        let (head, tail) = rest.split_at(end);
        match tail.strip_prefix('{').and_then(|tail| tail.split_once('}')) {
            Some((names, _)) if head.ends_with("::") => {
                found.extend(names.split(',').map(|name| format!("{head}{}", name.trim())));
            }
            _ => found.push(head.to_owned()),
        }
    }
    found
}

#[test]
fn stairs_go_down_only() {
    let mut faults = Vec::new();
    for file in sources() {
        if file.module.split("::").next() == Some(EVERYWHERE_FROM_FLOOR_2) {
            assert!(imports(&file.text).is_empty(), "telemetry imports nothing of the house");
            continue;
        }
        let own = floor(&file.module).unwrap_or_else(|| panic!("{} stands on no floor", file.module));
        let own_wing = file.module.split("::").next().expect("module");
        for import in imports(&file.text) {
            let wing = import.split("::").next().expect("module");
            if wing == EVERYWHERE_FROM_FLOOR_2 {
                if own < 2 {
                    faults.push(format!("{} (pure) imports {import}", file.module));
                }
                continue;
            }
            let Some(other) = floor(&import) else { continue };
            let sideways = own == 3 && other == 3 && wing != own_wing;
            if other > own || sideways {
                faults.push(format!("{} (floor {own}) imports {import} (floor {other})", file.module));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_lower_floors_are_pure() {
    let mut faults = Vec::new();
    // A file of tests may read what is published: no program holds it.
    let is_production = |file: &&SourceFile| !file.module.ends_with("::tests");
    let pure = |file: &&SourceFile| floor(&file.module).is_some_and(|floor| floor < 2);
    for file in sources().iter().filter(is_production).filter(pure) {
        let production = file.text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in
            production.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                faults.push(format!("{}:{}: `{word}`", file.path.display(), number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_hold_one_idea_and_say_which() {
    let mut faults = Vec::new();
    for file in sources() {
        if !file.text.starts_with("//! ") {
            faults.push(format!("{} does not begin by saying what it is", file.path.display()));
        }
        let lines = file.text.lines().count();
        if lines > 400 {
            faults.push(format!("{} has {lines} lines: split it", file.path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn only_the_journal_and_the_store_make_receipts() {
    for file in sources() {
        let production = file.text.split("#[cfg(test)]").next().unwrap_or_default();
        let makes = |what: &str| {
            production.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(what))
        };
        assert!(
            !makes("Receipt::new(") || file.module == "audit::journal::port",
            "{} makes a receipt",
            file.module
        );
        assert!(
            !makes("Spent::new(") || file.module.starts_with("state::"),
            "{} makes a spent proof",
            file.module
        );
        assert!(
            !makes("Admission::new(") || file.module == "enforce::settle",
            "{} makes an admission",
            file.module
        );
        assert!(
            !(makes("HttpPeer::new(") || makes("HttpPeer::new_uds("))
                || file.module == "serve::upstream::wire",
            "{} opens a way to an upstream",
            file.module
        );
    }
}

#[test]
fn no_state_is_kept_under_a_pseudonym() {
    const WHO_MAY: &[&str] = &["audit", "enforce", "app", "serve::operators"];
    for file in sources() {
        let may = WHO_MAY.iter().any(|module| file.module.starts_with(module));
        let uses = imports(&file.text).iter().any(|import| import.starts_with("audit::pseudonym"));
        assert!(may || !uses, "{}: pseudonyms change, so nothing but a record may hang on one", file.module);
    }
}
