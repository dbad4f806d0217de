//! Delivery to a file elsewhere, or to standard output: a line for each record.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::failure::{Failure, Stopped};
use super::item::Item;

/// How long a disk, or who reads standard output, may take for what is handed over at once.
const DEADLINE: Duration = Duration::from_secs(10);
/// A line that a crash has cut is looked for in blocks of this size, in bytes.
const BLOCK: u64 = 1 << 16;

/// Where lines go. A disk or a reader may hang: what is under way is never begun a second time beside itself.
pub(super) struct Lines {
    to: Arc<Mutex<To>>,
    under_way: Option<JoinHandle<io::Result<()>>>,
}

enum To {
    Stdout,
    File { path: PathBuf, opened: Option<File> },
}

impl Lines {
    pub(super) fn stdout() -> Self {
        Self::new(To::Stdout)
    }

    pub(super) fn file(path: &Path) -> Self {
        Self::new(To::File { path: path.to_owned(), opened: None })
    }

    fn new(to: To) -> Self {
        Self { to: Arc::new(Mutex::new(to)), under_way: None }
    }

    pub(super) async fn deliver(&mut self, items: &[Item]) -> Result<(), Stopped> {
        if self.under_way.is_some() {
            // It may have written all of it, and comes again: nobody knows.
            self.wait().await?;
        }
        let mut lines = Vec::with_capacity(items.iter().map(|item| item.body.len() + 1).sum());
        for item in items {
            lines.extend_from_slice(&item.body);
            lines.push(b'\n');
        }
        let to = Arc::clone(&self.to);
        self.under_way = Some(tokio::task::spawn_blocking(move || {
            let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
            to.write(&lines).map_err(|error| io::Error::other(format!("{} {error}", to.name())))
        }));
        Ok(self.wait().await?)
    }

    async fn wait(&mut self) -> Result<(), Failure> {
        let Some(under_way) = &mut self.under_way else { return Ok(()) };
        let ended = timeout(DEADLINE, under_way).await.map_err(|_| Failure::TimedOut)?;
        self.under_way = None;
        ended
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| Failure::Own(error.to_string()))
    }
}

impl To {
    fn name(&self) -> String {
        match self {
            Self::Stdout => "standard output can't be written:".to_owned(),
            Self::File { path, .. } => format!("`{}` can't be written:", path.display()),
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(lines)?;
                out.flush()
            }
            Self::File { path, opened } => {
                // Whoever rotates such files gives them another name, and expects a new one.
                let file = match opened.take().filter(|file| is_at(file, path)) {
                    Some(file) => file,
                    None => open(path)?,
                };
                let length = file.metadata()?.len();
                let written = (&file).write_all(lines).and_then(|()| file.sync_data());
                if written.is_err() {
                    // What of it is there comes again; half a line would spoil the next. A file that can't be cut is looked
                    // through again before it is written to.
                    file.set_len(length)?;
                }
                *opened = Some(file);
                written
            }
        }
    }
}

/// Whether the file is still the one of this name.
fn is_at(file: &File, path: &Path) -> bool {
    let same = || {
        let (own, there) = (file.metadata().ok()?, path.symlink_metadata().ok()?);
        Some((own.dev(), own.ino()) == (there.dev(), there.ino()))
    };
    same().unwrap_or(false)
}

/// Opens the file for nobody else to write to, and cuts off a line that has no end.
fn open(path: &Path) -> io::Result<File> {
    if path.symlink_metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(io::Error::other("it is no regular file: name one, or a path where there is none"));
    }
    let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(io::Error::other("another process writes to it: give each gateway its own file"));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let length = file.metadata()?.len();
    let whole = end_of_lines(&file, length)?;
    if whole < length {
        file.set_len(whole)?;
    }
    // Its name, too, must be there after a loss of power.
    path.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
    Ok(file)
}

/// Where the last line ends.
fn end_of_lines(file: &File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut block = vec![0; BLOCK as usize];
    while end > 0 {
        let begin = end.saturating_sub(BLOCK);
        let part = block.get_mut(..usize::try_from(end - begin).unwrap_or_default()).unwrap_or_default();
        file.read_exact_at(part, begin)?;
        if let Some(last) = memchr::memrchr(b'\n', part) {
            return Ok(begin + last as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(numbers: std::ops::RangeInclusive<u64>) -> Vec<Item> {
        let item = |number: u64| Item {
            key: format!("o:{number}"),
            time: jiff::Timestamp::UNIX_EPOCH,
            body: number.to_string().into_bytes(),
        };
        numbers.map(item).collect()
    }

    #[tokio::test]
    async fn a_file_is_written_on_begun_anew_where_it_was_moved_and_never_shared() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("copy.jsonl");
        std::fs::write(&path, "0\nhalf a li").expect("written");
        let mut lines = Lines::file(&path);
        lines.deliver(&items(1..=2)).await.expect("delivered");
        let text = |path: &Path| std::fs::read_to_string(path).expect("text");
        assert_eq!(text(&path), "0\n1\n2\n");
        let refused = Lines::file(&path).deliver(&items(9..=9)).await.expect_err("it is locked");
        assert!(refused.why.to_string().contains("another process"), "{}", refused.why);
        std::fs::rename(&path, dir.path().join("copy.1")).expect("moved");
        lines.deliver(&items(3..=3)).await.expect("delivered");
        assert_eq!((text(&dir.path().join("copy.1")), text(&path)), ("0\n1\n2\n".into(), "3\n".into()));
        std::fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink("/dev/null", &path).expect("linked");
        let refused = lines.deliver(&items(4..=4)).await.expect_err("no file");
        assert!(refused.why.to_string().contains("no regular file"), "{}", refused.why);
    }

    #[test]
    fn the_end_of_lines_is_found_over_blocks() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x");
        for (text, end) in [
            (String::new(), 0),
            ("abc".to_owned(), 0),
            (format!("a\n{}", "b".repeat(200_000)), 2),
            (format!("{}\n", "b".repeat(200_000)), 200_001),
        ] {
            std::fs::write(&path, &text).expect("written");
            let file = File::open(&path).expect("opened");
            assert_eq!(end_of_lines(&file, text.len() as u64).expect("read"), end);
        }
    }
}
