//! Delivery to a file elsewhere, or to standard output: a line for each record.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::failure::{Failure, Stopped};
use super::files;
use super::item::Item;

/// How long a disk, or who reads standard output, may take for what is handed over at once.
const DEADLINE: Duration = Duration::from_secs(10);

/// Where lines go. A disk or a reader may hang: what is under way is never begun a second time beside itself.
pub(super) struct Lines {
    to: Arc<Mutex<To>>,
    under_way: Option<JoinHandle<Result<(), Stopped>>>,
}

enum To {
    /// Whether its last line has no end yet.
    Stdout {
        is_torn: bool,
    },
    File {
        path: PathBuf,
        opened: Option<File>,
    },
}

impl Lines {
    pub(super) fn stdout() -> Self {
        Self::new(To::Stdout { is_torn: false })
    }

    pub(super) fn file(path: &Path) -> Self {
        Self::new(To::File { path: path.to_owned(), opened: None })
    }

    fn new(to: To) -> Self {
        Self { to: Arc::new(Mutex::new(to)), under_way: None }
    }

    pub(super) async fn deliver(&mut self, items: &[Item]) -> Result<(), Stopped> {
        if self.under_way.is_some() {
            // What it has written comes again: what is asked for now need not be the same.
            self.wait().await.map_err(|stopped| stopped.why)?;
        }
        let mut lines = Vec::with_capacity(items.iter().map(|item| item.body.len() + 1).sum());
        for item in items {
            lines.extend_from_slice(&item.body);
            lines.push(b'\n');
        }
        let to = Arc::clone(&self.to);
        self.under_way = Some(tokio::task::spawn_blocking(move || {
            let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
            to.write(&lines).map_err(|Torn { whole, error }| {
                let whole = lines.get(..whole).unwrap_or_default();
                let taken = memchr::memchr_iter(b'\n', whole).count();
                Stopped { taken, why: Failure::Own(format!("{} {error}", to.name())) }
            })
        }));
        self.wait().await
    }

    async fn wait(&mut self) -> Result<(), Stopped> {
        let Some(under_way) = &mut self.under_way else { return Ok(()) };
        let ended = timeout(DEADLINE, under_way).await.map_err(|_| Failure::TimedOut)?;
        self.under_way = None;
        ended.unwrap_or_else(|error| Err(Failure::Own(error.to_string()).into()))
    }
}

/// Not all was written.
struct Torn {
    /// So many bytes were, with the end of the last line there is.
    whole: usize,
    error: io::Error,
}

impl From<io::Error> for Torn {
    fn from(error: io::Error) -> Self {
        Self { whole: 0, error }
    }
}

impl To {
    fn name(&self) -> String {
        match self {
            Self::Stdout { .. } => "standard output can't be written:".to_owned(),
            Self::File { path, .. } => format!("`{}` can't be written:", path.display()),
        }
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), Torn> {
        match self {
            Self::Stdout { is_torn } => {
                // Not through the library's own buffer: what is left in it after an error would be written later.
                let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
                if is_nowhere(&out)? {
                    return Err(io::Error::other("it is /dev/null: connect it with who collects it").into());
                }
                pour(&out, lines, is_torn)
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
                Ok(written?)
            }
        }
    }
}

/// Writes lines to a stream that may take a part of them; the rest of a line that was cut is not sought, it comes whole again.
fn pour(mut out: impl io::Write, lines: &[u8], is_torn: &mut bool) -> Result<(), Torn> {
    let (mut written, mut whole) = (0, 0);
    if *is_torn {
        out.write_all(b"\n")?;
        *is_torn = false;
    }
    while let Some(left) = lines.get(written..).filter(|left| !left.is_empty()) {
        match out.write(left) {
            Ok(0) => return Err(Torn { whole, error: io::ErrorKind::WriteZero.into() }),
            Ok(count) => {
                written += count;
                let done = lines.get(..written).unwrap_or_default();
                whole = memchr::memrchr(b'\n', done).map_or(0, |last| last + 1);
                *is_torn = whole < written;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Torn { whole, error }),
        }
    }
    Ok(())
}

/// Whether what is written is thrown away.
fn is_nowhere(file: &File) -> io::Result<bool> {
    let (own, nowhere) = (file.metadata()?, std::fs::metadata("/dev/null")?);
    Ok((own.rdev(), own.mode()) == (nowhere.rdev(), nowhere.mode()))
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
    let other = || io::Error::other("it is no regular file: name one, or a path where there is none");
    // Not through a link that somebody else put there, and not waiting for the other end of a pipe.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .mode(0o600)
        .custom_flags(flags.cast_signed())
        .open(path)
        .map_err(
            |error| if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) { other() } else { error },
        )?;
    if !file.metadata()?.is_file() {
        return Err(other());
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(io::Error::other("another process writes to it: give each gateway its own file"));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let length = file.metadata()?.len();
    let whole = files::end_of_lines(&file, length)?;
    if whole < length {
        file.set_len(whole)?;
    }
    // Its name, too, must be there after a loss of power.
    path.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
    Ok(file)
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

    /// Takes so many bytes, and then nothing more.
    struct Narrow(Vec<u8>, usize);

    impl io::Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.1);
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.1 -= count;
            self.0.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_a_stream_took_a_part_of_comes_whole_on_a_line_of_its_own() {
        let (mut out, mut is_torn) = (Narrow(Vec::new(), 6), false);
        let torn = pour(&mut out, b"one\ntwo\n", &mut is_torn).expect_err("it is full");
        assert_eq!((torn.whole, is_torn), (4, true));
        out.1 = 1;
        let torn = pour(&mut out, b"two\n", &mut is_torn).expect_err("it is full");
        assert_eq!((torn.whole, is_torn), (0, false), "only the end of the torn line");
        out.1 = 100;
        assert!(pour(&mut out, b"two\n", &mut is_torn).is_ok());
        assert_eq!(String::from_utf8(out.0).expect("text"), "one\ntw\ntwo\n");
    }

    #[tokio::test]
    async fn a_pipe_is_no_file_and_nobody_waits_for_its_other_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
        assert!(made.success());
        let refused = Lines::file(&path).deliver(&items(1..=1)).await.expect_err("no file");
        assert!(!matches!(refused.why, Failure::TimedOut), "{}", refused.why);
    }

    #[test]
    fn what_is_thrown_away_is_not_taken_for_delivered() {
        assert!(is_nowhere(&File::create("/dev/null").expect("opened")).expect("known"));
        assert!(!is_nowhere(&tempfile::tempfile().expect("opened")).expect("known"));
    }
}
