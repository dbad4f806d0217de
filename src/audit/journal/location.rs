//! Whether the file that is written to is still the file that people will read.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the file should be, so that its removal, replacement or truncation is noticed.
pub(super) struct Location {
    path: PathBuf,
    inode: (u64, u64),
    longest: AtomicU64,
}

impl Location {
    pub(super) fn of(path: &Path, file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let inode = (metadata.dev(), metadata.ino());
        Ok(Self { path: path.to_owned(), inode, longest: AtomicU64::new(metadata.len()) })
    }

    pub(super) fn check(&self, file: &File) -> io::Result<()> {
        let there = std::fs::metadata(&self.path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        let length = file.metadata()?.len();
        let longest = self.longest.fetch_max(length, Ordering::Relaxed);
        if there == Some(self.inode) && length >= longest {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "`{}` was removed, replaced or cut short while it was in use; secure what is left and restart",
            self.path.display()
        )))
    }
}
