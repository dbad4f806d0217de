//! How the file is opened or made, and why it sometimes can't be.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageError};

use super::file::{ENDS, LAYOUT, META, NAME, PROOFS, REVOKED, SEALED};

/// The library's own memory: the tables are small and mostly written.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Why the file can't be opened. The text names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the state in `{}` is held by another process, probably another gateway: stop that one, or give this one a `state.data_dir` of its own; gateways that must share their state use `store: redis`",
        .0.display()
    )]
    Held(PathBuf),
    /// The file that was in use is there no more.
    #[error(
        "the state in `{}` was taken away or replaced while the gateway ran: bring that file back; or restart the gateway and end all sessions at the issuers, since what was revoked is lost with it",
        .0.display()
    )]
    Gone(PathBuf),
    /// The directory or the file can't be used.
    #[error(
        "the state in `{}` can't be opened: {error}; check that the disk has room and that the gateway's user may write to `state.data_dir`",
        path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: String,
    },
    /// It was written by something else, or damaged.
    #[error(
        "the state in `{}` is damaged, or was not written by this version: {error}; restore it, or move it away and end all sessions at the issuers, since what it knew of spent proofs and revocations is lost with it",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the database says.
        error: String,
    },
}

/// Opens a file that is there.
pub(super) fn open(path: &Path) -> Result<Database, OpenError> {
    let opened = Builder::new().set_cache_size(CACHE_BYTES).open(path);
    opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::Held(path.to_owned()),
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() != io::ErrorKind::InvalidData => {
            OpenError::Unusable { path: path.to_owned(), error: error.to_string() }
        }
        error => OpenError::Damaged { path: path.to_owned(), error: error.to_string() },
    })
}

/// Makes the file under another name first, so that one that was only begun is never taken for the state.
pub(super) fn create(dir: &Path, path: &Path, now: i64) -> Result<Database, OpenError> {
    let unusable = |error: &dyn std::fmt::Display| OpenError::Unusable {
        path: path.to_owned(),
        error: error.to_string(),
    };
    // Processes in containers that share the directory may have the same id.
    let begun = dir.join(format!("{NAME}.{}", uuid::Uuid::now_v7().simple()));
    let made = || -> Result<Database, redb::Error> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&begun)?;
        let database =
            Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(FileBackend::new(file)?)?;
        let transaction = database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert("layout", LAYOUT)?;
            meta.insert("epoch", now.div_euclid(1_000))?;
        }
        // They are there from the beginning, so that readers find them.
        transaction.open_table(PROOFS)?;
        transaction.open_table(REVOKED)?;
        transaction.open_table(SEALED)?;
        transaction.open_table(ENDS)?;
        transaction.commit()?;
        Ok(database)
    };
    let linked =
        made().map_err(|error| unusable(&error)).and_then(|database| match fs::hard_link(&begun, path) {
            Ok(()) => Ok(database),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(OpenError::Held(path.to_owned()))
            }
            Err(error) => Err(unusable(&error)),
        });
    // Whatever came of it, the other name is of no use any more.
    let _ = fs::remove_file(&begun);
    let database = linked?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| unusable(&error))?;
    Ok(database)
}
