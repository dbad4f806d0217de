//! What a process that died has left behind: requests that went on, and of which nobody knows what came of them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::frame;
use super::trail::{self, read_line};

/// How many requests the process before this one had begun and not ended, as far as its last two files tell.
///
/// # Errors
/// A file can't be read.
pub fn left_behind(dir: &Path, trail: &str, own_origin: &str) -> io::Result<u64> {
    #[derive(Deserialize)]
    struct Own<'l> {
        seq: u64,
        origin: &'l str,
        event: &'l str,
        intent: Option<u64>,
    }
    let trails = trail::trails(dir)?;
    let Some(trail) = trails.get(trail) else { return Ok(0) };
    let (mut origin, mut open) = (String::new(), HashSet::new());
    for path in trail.files.last().into_iter().chain(&trail.active) {
        let mut reader = BufReader::with_capacity(1 << 16, File::open(path)?);
        let mut line = Vec::new();
        while read_line(&mut reader, &mut line)?.is_ended {
            if !frame::is_whole(&line) {
                continue;
            }
            let Ok(record) = serde_json::from_slice::<Own<'_>>(&line) else { continue };
            if record.origin == own_origin {
                break;
            }
            if record.origin != origin {
                record.origin.clone_into(&mut origin);
                open.clear();
            }
            match (record.event, record.intent) {
                ("intent", _) => {
                    open.insert(record.seq);
                }
                ("outcome", Some(intent)) => {
                    open.remove(&intent);
                }
                _ => {}
            }
        }
    }
    Ok(open.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_last_process_did_not_end_counts() {
        let dir = tempfile::tempdir().expect("a directory");
        let line = |number: u64, origin: &str, rest: &str| {
            let text = format!(
                r#"{{"seq":{number},"origin":"{origin}","time":"2026-11-22T10:15:00Z","v":1,"event":{rest}}}"#
            );
            let mut line = text.into_bytes();
            frame::close(&mut line, 0);
            line.push(b'\n');
            line
        };
        let (intent, other) = (r#""intent""#, r#""stopping""#);
        let ended = [line(1, "a", intent), line(2, "b", intent), line(3, "b", intent)].concat();
        let active = [
            line(4, "b", r#""outcome","intent":2"#),
            line(5, "b", intent),
            line(6, "own", other),
            line(7, "own", intent),
        ];
        std::fs::write(dir.path().join("audit.00000000000000000001.jsonl"), ended).expect("written");
        std::fs::write(dir.path().join("audit.jsonl"), active.concat()).expect("written");
        assert_eq!(left_behind(dir.path(), "audit", "own").expect("readable"), 2);
        assert_eq!(left_behind(dir.path(), "audit-x", "own").expect("readable"), 0);
    }
}
