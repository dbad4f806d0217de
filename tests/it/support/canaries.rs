//! Canaries: words that stand for what nobody may find in a log, a metric, a record or a refusal. They are planted in what
//! every test sends, in tokens, headers and answers, and looked for wherever a gateway of any test has written.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Where a canary is planted; each is a word of its own.
const PLACES: [&str; 40] = [
    // By `operate::secrets`, wherever a request has room.
    "Subject",
    "Patient",
    "OtherPatient",
    "Segment",
    "Query",
    "Header",
    "Cookie",
    "Agent",
    "Body",
    "Field",
    "Key",
    "Rubbish",
    "Method",
    "Answer",
    "AnswerHeader",
    // In every token of a test's own issuer.
    "GivenName",
    "FamilyName",
    "Birthdate",
    "Email",
    "Phone",
    "Street",
    "HealthNumber",
    "Insurance",
    "Picture",
    "Diagnosis",
    // In every token of the identity provider that is for patients.
    "NameThere",
    "EmailThere",
    "PhoneThere",
    "StreetThere",
    // In every request of the tests' own clients.
    "Browser",
    "CameFrom",
    "RecordNumber",
    "Permit",
    "RealName",
    "Equipment",
    "DocumentTitle",
    "Version",
    // In every answer of the recording upstream.
    "Allergy",
    "Medication",
    "Ward",
];

/// A file whose content is shorter is no secret that could be told from a word.
const SHORTEST_SECRET: usize = 8;

/// The canary of a place. Its first letter may stand there encoded, so it is not part of what is looked for.
pub fn canary(place: &str) -> String {
    assert!(PLACES.contains(&place), "{place}");
    format!("Zcanary{place}5501")
}

/// Every way in which a word may be written, in lower case.
fn forms(core: &str) -> Vec<String> {
    let mut forms = vec![core.to_lowercase()];
    let mut encoded = [String::new(), String::new()];
    for byte in core.bytes() {
        write!(encoded[0], "%{byte:02x}").expect("a string");
        write!(encoded[1], "{byte:02x}").expect("a string");
    }
    forms.extend(encoded);
    // In base64 a word looks different at each of three positions; its ends mix with what is beside it.
    for shift in 0..3 {
        let shifted = format!("{}{core}", " ".repeat(shift));
        for engine in [URL_SAFE_NO_PAD, STANDARD_NO_PAD] {
            let text = engine.encode(&shifted);
            forms.push(text[4..text.len() - 4].to_lowercase());
        }
    }
    forms
}

fn search(words: &[String]) -> (AhoCorasick, Vec<String>) {
    let forms: Vec<String> = words.iter().flat_map(|word| forms(word)).collect();
    let search = AhoCorasick::builder().ascii_case_insensitive(true).build(&forms).expect("words");
    (search, forms)
}

static SEARCH: LazyLock<(AhoCorasick, Vec<String>)> =
    LazyLock::new(|| search(&PLACES.map(|place| canary(place)[1..].to_owned())));

/// Fails where the text holds a canary, or what looks like a token.
pub fn assert_silent(place: &str, text: &str) {
    assert_holds_none(place, text, &SEARCH);
    for (at, _) in text.match_indices("eyJ") {
        let header = text[at..].split(|next: char| !(next.is_ascii_alphanumeric() || "-_".contains(next)));
        let length = header.into_iter().next().map_or(0, str::len);
        assert!(!text[at + length..].starts_with(".eyJ"), "{place} holds a token: {:?}", line(text, at));
    }
}

fn assert_holds_none(place: &str, text: &str, (search, forms): &(AhoCorasick, Vec<String>)) {
    if let Some(found) = search.find(text) {
        let form = &forms[found.pattern().as_usize()];
        panic!("{place} holds `{form}`: {:?}", line(text, found.start()));
    }
}

/// The line, up to there, and a little more.
fn line(text: &str, at: usize) -> String {
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    text[start..].chars().take(at - start + 60).collect()
}

/// The regular files in a directory: a test may have put a device or a pipe beside them.
fn files(dir: &Path) -> impl Iterator<Item = fs::DirEntry> {
    let entries = fs::read_dir(dir).into_iter().flatten().map_while(Result::ok);
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
}

/// What a gateway's directory holds of secrets, as words to look for: credentials as they stand, of a private key a piece.
fn secrets(dir: &Path) -> Vec<String> {
    let mut words = Vec::new();
    for entry in files(dir) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_secret = ["secret", "password", "authorization"].iter().any(|word| name.contains(word))
            || name.ends_with(".key");
        let Some(bytes) = is_secret.then(|| fs::read(entry.path()).ok()).flatten() else { continue };
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let key = text.lines().find(|line| text.starts_with("-----") && line.len() >= 64);
        let word = key.map_or(text.trim(), |line| &line[8..48]);
        // A test may name a file after what is in it.
        if word.len() >= SHORTEST_SECRET && word.len() < 512 && word != name {
            words.push(word.to_owned());
        }
    }
    words
}

/// Looks through what a gateway has written: its logs, its trail and its last metrics; for canaries, tokens and the secrets in
/// its directory and its trail's.
pub fn look_through(dir: &Path, logs: &str, metrics: Option<&str>) {
    let audit = dir.join("audit");
    let secrets = search(&[secrets(dir), secrets(&audit)].concat());
    let look = |place: &str, text: &str| {
        assert_silent(place, text);
        assert_holds_none(place, text, &secrets);
    };
    look("the log", logs);
    look("the metrics", metrics.unwrap_or_default());
    for entry in files(&audit) {
        let is_record = entry.path().extension().is_some_and(|extension| extension == "jsonl");
        if let Some(bytes) = is_record.then(|| fs::read(entry.path()).ok()).flatten() {
            look("the trail", &String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn each_form_of_a_canary_is_seen() {
    let word = canary("Diagnosis");
    let hex: String = word.bytes().map(|byte| format!("{byte:02X}")).collect();
    let percent: String = word.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let base64 = (0..3).map(|shift| STANDARD_NO_PAD.encode(format!("{}{word}!", "x".repeat(shift))));
    let token =
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode("{\"alg\":1}"), URL_SAFE_NO_PAD.encode("{\"a\":1}"));
    for text in base64.chain([word.to_lowercase(), format!("%5a{}", &word[1..]), hex, percent, token]) {
        let said = format!("{{\"a\":\"b\"}}\na line with {text} in it\n");
        let looked = std::panic::catch_unwind(|| assert_silent("a text", &said));
        assert!(looked.is_err(), "{text}");
    }
    assert_silent("a text", "nothing of that kind, an eyJhb.c2ln among it");
}

#[test]
fn secrets_beside_a_gateway_are_looked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("audit")).expect("made");
    fs::write(dir.path().join("desk-secret"), "a quiet word\n").expect("written");
    fs::write(dir.path().join("audit/pseudonyms.key"), "0123456789abcdef").expect("written");
    look_through(dir.path(), "all is well", Some("wardgate_up 1"));
    for said in ["it is a quiet word", "key 0123456789ABCDEF"] {
        let looked = std::panic::catch_unwind(|| look_through(dir.path(), said, None));
        assert!(looked.is_err(), "{said}");
    }
    fs::write(dir.path().join("audit/audit.1.jsonl"), canary("Ward")).expect("written");
    assert!(
        std::panic::catch_unwind(|| look_through(dir.path(), "", None)).is_err(),
        "the trail is looked through"
    );
}
