//! Listening sockets before and after Pingora has them: addresses are claimed, Unix sockets tidied up, files allowed.

use std::io;
use std::net::TcpListener;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::settings::{ListenAddress, ListenerSettings};

/// The mode of Unix sockets: for the gateway's user and group.
pub const SOCKET_MODE: u32 = 0o660;

/// Files that a connection takes: its own socket and one to an upstream; and what else a process has open.
const FILES_PER_CONNECTION: u64 = 2;
const OTHER_FILES: u64 = 256;

/// Makes sure that an address can be listened on, since Pingora panics where it can't, and removes any Unix socket
/// without asking who uses it.
///
/// # Errors
/// Somebody else has it, or it can't be had; the text names the remedy.
pub fn claim(address: &ListenAddress) -> Result<(), String> {
    match address {
        ListenAddress::Tcp(address) => TcpListener::bind(address).map(drop).map_err(|error| {
            format!("`{address}` can't be listened on: {error}; stop what holds it, or choose another address in the configuration")
        }),
        ListenAddress::Unix(path) => claim_path(path),
    }
}

fn claim_path(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match path.parent() {
                Some(folder) if folder.is_dir() => Ok(()),
                _ => Err(format!("`unix:{shown}` can't be listened on: its directory is missing; make it")),
            };
        }
        Err(error) => {
            return Err(format!("`unix:{shown}` can't be looked at: {error}; check its permissions"));
        }
    };
    if !found.file_type().is_socket() {
        return Err(format!("`{shown}` is there and is not a socket; move it away, or choose another path"));
    }
    if answers(path) {
        return Err(format!("`unix:{shown}` is in use; stop what listens on it, or choose another path"));
    }
    std::fs::remove_file(path)
        .map_err(|error| format!("the stale socket `{shown}` can't be removed: {error}; remove it"))
}

/// Whether somebody listens. A socket that can't be asked counts as in use.
fn answers(path: &Path) -> bool {
    !matches!(UnixStream::connect(path), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

/// The Unix sockets of this process.
#[derive(Debug, Clone)]
pub struct UnixSockets(Vec<PathBuf>);

impl UnixSockets {
    /// Those of the listeners.
    pub fn of(listeners: &[ListenerSettings]) -> Self {
        let paths = listeners.iter().filter_map(|listener| match &listener.address {
            ListenAddress::Unix(path) => Some(path.clone()),
            ListenAddress::Tcp(_) => None,
        });
        Self(paths.collect())
    }

    /// These, and another one.
    #[must_use]
    pub fn and(mut self, path: Option<PathBuf>) -> Self {
        self.0.extend(path);
        self
    }

    /// Removes those on which nobody listens any more; a successor's are left alone.
    pub fn remove(&self) {
        for path in &self.0 {
            let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
            if is_socket
                && !answers(path)
                && let Err(error) = std::fs::remove_file(path)
            {
                tracing::warn!(path = %path.display(), %error, "the socket can't be removed");
            }
        }
    }
}

/// How many open files the connections that the listeners may have need, and all else.
pub fn files_wanted(listeners: &[ListenerSettings]) -> u64 {
    let connections = listeners.iter().map(|listener| listener.limits.connections as u64).sum::<u64>();
    connections.saturating_mul(FILES_PER_CONNECTION).saturating_add(OTHER_FILES)
}

/// Lets the process open as many files as the system allows, and warns where that is too few for the connections that
/// the listeners may have.
pub fn allow_files(listeners: &[ListenerSettings]) {
    let wanted = files_wanted(listeners);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let allowed = if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    if allowed < wanted {
        tracing::warn!(
            allowed,
            wanted,
            "fewer files may be open than `limits.connections` needs: raise the limit (LimitNOFILE, ulimit -n), or lower `connections`"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_a_socket_that_nobody_answers_on_is_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("edge.sock");
        let address = ListenAddress::Unix(path.clone());
        assert_eq!(claim(&address), Ok(()));
        let listener = UnixListener::bind(&path).expect("bound");
        assert!(claim(&address).expect_err("in use").contains("is in use"));
        UnixSockets(vec![path.clone()]).remove();
        assert!(path.exists(), "a successor's");
        drop(listener);
        assert_eq!(claim(&address), Ok(()));
        assert!(!path.exists(), "it was stale");
        std::fs::write(&path, "precious").expect("written");
        assert!(claim(&address).expect_err("a file").contains("is not a socket"));
        UnixSockets(vec![path.clone()]).remove();
        assert!(path.exists(), "not ours to remove");
        let nowhere = ListenAddress::Unix(dir.path().join("none/edge.sock"));
        assert!(claim(&nowhere).expect_err("no directory").contains("make it"));
    }
}
