//! The trails of a directory, as files to read: whoever reads takes no lock and changes nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// What one process after another has written, each going on after the one before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// Its files, the oldest first.
    pub files: Vec<PathBuf>,
    /// Files that held what the gateway did not write, and were put aside.
    pub put_aside: Vec<PathBuf>,
    /// The file that is written to, where it is there.
    pub active: Option<PathBuf>,
}

impl Trail {
    /// Whether a gateway is writing to it now.
    pub fn is_written(&self) -> bool {
        let lock = self.active.as_ref().and_then(|active| File::open(active.with_extension("lock")).ok());
        lock.is_some_and(|lock| matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
    }

    /// Shows every line, without its end, with its file and its number there from 1, until told to stop. What a file ends
    /// with beyond its last line is not shown.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn lines<B>(
        &self,
        mut each: impl FnMut(&Path, u64, &[u8]) -> ControlFlow<B>,
    ) -> io::Result<Option<B>> {
        let mut line = Vec::new();
        for path in self.files.iter().chain(&self.active) {
            let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
            for number in 1.. {
                line.clear();
                reader.read_until(b'\n', &mut line)?;
                if line.pop_if(|byte| *byte == b'\n').is_none() {
                    break;
                }
                if let ControlFlow::Break(end) = each(path, number, &line) {
                    return Ok(Some(end));
                }
            }
        }
        Ok(None)
    }

    /// How many bytes stand behind the last line of the file that is written to.
    ///
    /// # Errors
    /// It can't be read.
    pub fn torn(&self) -> io::Result<u64> {
        let Some(active) = &self.active else { return Ok(0) };
        let mut reader = BufReader::with_capacity(1 << 20, File::open(active)?);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                return Ok(length as u64);
            }
        }
    }
}

/// The trails of a directory, by their names.
///
/// # Errors
/// It can't be read.
pub fn trails(dir: &Path) -> io::Result<BTreeMap<String, Trail>> {
    let mut trails: BTreeMap<String, Trail> = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Some(stem) = name.strip_suffix(".jsonl") else { continue };
        let (stem, part) = stem.split_once('.').map_or((stem, None), |(stem, part)| (stem, Some(part)));
        if stem != "audit" && !stem.starts_with("audit-") {
            continue;
        }
        let trail = trails.entry(stem.to_owned()).or_default();
        match part {
            None => trail.active = Some(path),
            Some(part) if part.bytes().all(|byte| byte.is_ascii_digit()) => trail.files.push(path),
            Some(_) => trail.put_aside.push(path),
        }
    }
    for trail in trails.values_mut() {
        // Their names hold the number of the first record, with zeros in front.
        trail.files.sort();
        trail.put_aside.sort();
    }
    Ok(trails)
}
