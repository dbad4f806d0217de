//! Runs something again whenever one of some files changes.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// So often the files are looked at: soon enough for whoever has just saved one.
const LOOK: Duration = Duration::from_millis(300);

/// Runs it now and after each change, until the process is interrupted.
#[expect(clippy::disallowed_methods, reason = "a tool at a terminal; it serves nobody")]
pub(super) fn whenever_changed<T>(files: Vec<&PathBuf>, mut run: impl FnMut() -> T) -> ! {
    let mut seen = None;
    loop {
        let now: Vec<_> = files.iter().map(|file| state(file)).collect();
        if seen.as_ref() != Some(&now) {
            seen = Some(now);
            run();
            eprintln!("waiting for a change of {} files; Ctrl-C ends it", files.len());
        }
        std::thread::sleep(LOOK);
    }
}

/// What a change alters; nothing where the file can't be seen, as while an editor replaces it.
fn state(file: &Path) -> Option<(SystemTime, u64)> {
    let about = std::fs::metadata(file).ok()?;
    Some((about.modified().ok()?, about.len()))
}
