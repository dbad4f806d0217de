//! This program as it was started, and those that wait for it to serve: systemd, and whoever reads its process id.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use super::StartError;

/// How this program was started, so that its successor can be started the same way.
pub struct Program {
    /// Where it lies: not what is running, but what lies there by the time of the upgrade.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl Program {
    /// This program. To be asked early: a path that was replaced reads as deleted.
    ///
    /// # Errors
    /// The system doesn't say where it lies.
    pub fn this() -> io::Result<Self> {
        let mut arguments = std::env::args_os();
        let name = arguments.next().map(PathBuf::from).unwrap_or_default();
        // A path is kept as it was given, so that a link that is moved leads to the new program.
        let given =
            if name.components().count() > 1 { std::path::absolute(&name).ok() } else { on_path(&name) };
        let path = match given.filter(|path| path.is_file()) {
            Some(path) => path,
            None => std::env::current_exe()?,
        };
        Ok(Self { path, arguments: arguments.collect() })
    }
}

/// Where a shell would find a program of this name.
fn on_path(name: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|found| found.is_absolute() && found.is_file())
}

/// Tells systemd, if it wants to know (sd_notify(3)); failing changes nothing.
pub fn notify(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!(%error, "NOTIFY_SOCKET is set, and nobody listens there");
    }
}

/// Writes this process's id to a file, whole or not at all.
///
/// # Errors
/// The file can't be written.
pub fn write_pid(path: &Path) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    std::fs::write(&beside, format!("{}\n", std::process::id()))?;
    std::fs::rename(&beside, path)
}

/// Removes the file, unless it names another process by now.
pub fn remove_pid(path: &Path) {
    let own = std::process::id().to_string();
    if std::fs::read_to_string(path).is_ok_and(|text| text.trim() == own) {
        // What is left behind names a process that is gone, and does no harm.
        let _ = std::fs::remove_file(path);
    }
}

/// The thread for what must outlive a request: Pingora's workers run one thread each.
///
/// # Errors
/// The system gives no thread.
pub fn background() -> Result<tokio::runtime::Runtime, StartError> {
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("background")
        .enable_all()
        .build();
    built.map_err(|error| {
        StartError(format!("the background threads can't be started: {error}; raise the limit on threads"))
    })
}
