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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::audit::event::Event;
    use crate::audit::frame::Head;
    use crate::audit::journal::{FileJournal, Options};
    use crate::audit::signing::Key;
    use crate::enforce::ports::Journal as _;
    use crate::policy::Durability;

    use super::*;

    /// The numbers that are new, by trail.
    fn read_all(follower: &mut Follower) -> BTreeMap<String, Vec<u64>> {
        let mut found = BTreeMap::<String, Vec<u64>>::new();
        while let Some((trail, lines)) = follower.read_on().expect("readable") {
            let numbers = lines.iter().map(|line| Head::read(line).expect("a record").sequence);
            found.entry(trail).or_default().extend(numbers);
        }
        found
    }

    #[tokio::test]
    async fn what_is_new_is_read_once_over_ended_files_and_of_a_process_that_takes_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = Key::kept(&[3; 32]).expect("a key");
        let options = |origin| Options { origin, key: &key, most_bytes: 2_000, reserve: 0 };
        let journal = FileJournal::open(dir.path(), options("o")).expect("opens");
        let append = async |journal: &FileJournal| {
            journal.append(&Event::Stopping, Durability::Written).await.expect("recorded").sequence()
        };
        let before = append(&journal).await;
        let mut follower = Follower::from_end(dir.path()).expect("readable");
        assert!(read_all(&mut follower).is_empty(), "only what is new");
        let mut last = before;
        let is_ended = |dir: &Path| {
            let mut names = dir.read_dir().expect("readable").map(|entry| entry.expect("one").file_name());
            names.any(|name| name.to_string_lossy().starts_with("audit.0"))
        };
        while !is_ended(dir.path()) {
            last = append(&journal).await;
        }
        last = append(&journal).await.max(last);
        let other = FileJournal::open_beside(dir.path(), options("x")).expect("opens");
        append(&other).await;
        let mut found = read_all(&mut follower);
        let own = found.remove("audit").expect("its records");
        assert_eq!(own.first(), Some(&(before + 1)));
        assert!(own.windows(2).all(|two| two[0] + 1 == two[1]), "each once, in order: {own:?}");
        assert!(own.contains(&last));
        let others = found.remove("audit-x").expect("the other's records");
        assert_eq!(others.first(), Some(&1), "from its beginning");
        assert!(found.is_empty());
    }
}
