//! Reads the trails of a directory as they grow, as a sink would, and remembers nothing beyond the process.

use std::io;
use std::path::{Path, PathBuf};

use super::cursor::{Cursor, Position};
use super::{feed, files};
use crate::audit::trail;

/// So many records are read at once at most.
const MOST_RECORDS: usize = 1000;

/// Where somebody is who reads along.
#[derive(Debug)]
pub struct Follower {
    dir: PathBuf,
    cursor: Cursor,
    last: String,
}

impl Follower {
    /// From the first record there is.
    pub fn from_start(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), cursor: Cursor::default(), last: String::new() }
    }

    /// From the next record on.
    ///
    /// # Errors
    /// Something can't be read.
    pub fn from_end(dir: &Path) -> io::Result<Self> {
        let mut follower = Self::from_start(dir);
        for (name, trail) in trail::trails(dir)? {
            let sources = files::sources(&trail)?;
            let Some((first, place)) = sources.last() else { continue };
            let end = place.with(|file| {
                let offset = files::end_of_lines(file, file.metadata()?.len())?;
                let mut end = Position { first: *first, offset, ..Position::default() };
                end.seal(file)?;
                Ok(end)
            })?;
            let sequence = files::newest(&sources)?;
            follower.cursor.trails.insert(name, Position { sequence, ..end });
        }
        Ok(follower)
    }

    /// The next records of one trail with its name, each a line without its end; `None` where there are none yet.
    ///
    /// # Errors
    /// Something can't be read.
    pub fn read_on(&mut self) -> io::Result<Option<(String, Vec<Vec<u8>>)>> {
        let Some(batch) = feed::next(&self.dir, &mut self.cursor, &self.last, MOST_RECORDS)? else {
            return Ok(None);
        };
        self.last.clone_from(&batch.trail);
        self.cursor.trails.insert(batch.trail.clone(), batch.after);
        Ok(Some((batch.trail, batch.records.into_iter().map(|record| record.line).collect())))
    }
}
