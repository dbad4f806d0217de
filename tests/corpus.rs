//! The corpora of the fuzz targets, replayed without a fuzzer: what once was interesting stays decided.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
mod targets;

type Target = fn(&[u8]);

/// Every target with its folder below `fuzz/corpus`.
const TARGETS: &[(&str, Target)] = &[
    ("target", targets::target),
    ("host", targets::host),
    ("forwarded", targets::forwarded),
    ("token", targets::token),
    ("proof", targets::proof),
    ("body", targets::body),
    ("condition", targets::condition),
    ("config", targets::config),
];

#[test]
fn every_input_of_every_corpus_holds() {
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut inputs = 0;
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry").path();
            println!("{}", path.display());
            target(&fs::read(&path).expect("readable"));
            inputs += 1;
        }
        assert!(inputs >= 10, "only {inputs} inputs in {}", folder.display());
    }
}

#[test]
fn every_fuzz_target_is_replayed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    for entry in fs::read_dir(folder).expect("the targets") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        assert!(TARGETS.iter().any(|(known, _)| *known == name), "`{name}` is not replayed");
    }
}
