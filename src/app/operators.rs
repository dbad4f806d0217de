//! Opens the operators' socket.

use std::fs::Permissions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::StartError;
use super::sockets::Sockets;
use crate::enforce::Gate;
use crate::enforce::ports::PseudonymKeys;
use crate::serve::Current;
use crate::serve::operators::{MODE, Operators};
use crate::serve::telemetry_listener::Readiness;

/// What the API works on.
pub struct Parts {
    pub gate: Arc<Gate>,
    pub current: Arc<Current>,
    pub readiness: Readiness,
    pub pseudonym_keys: Arc<dyn PseudonymKeys>,
}

/// Serves the operators' socket, which is open already, until it is told to end.
pub fn serve(
    path: &Path,
    sockets: &Sockets,
    runtime: &Handle,
    parts: Parts,
) -> Result<AbortHandle, StartError> {
    let fail = |error: std::io::Error| {
        StartError(format!("the operators' socket `{}` can't be used: {error}", path.display()))
    };
    std::fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(fail)?;
    // Whoever made the socket is who this process runs as.
    let own_uid = std::fs::metadata(path).map_err(fail)?.uid();
    let key = path.to_string_lossy();
    let own: Option<std::io::Result<OwnedFd>> = sockets.with(|addresses, fds| {
        let at = addresses.iter().position(|address| *address == key)?;
        Some(fds.get(at)?.try_clone_to_owned())
    });
    let own = own.ok_or_else(|| fail(std::io::ErrorKind::NotFound.into()))?.map_err(fail)?;
    let listener = std::os::unix::net::UnixListener::from(own);
    listener.set_nonblocking(true).map_err(fail)?;
    let _runtime = runtime.enter();
    let listener = tokio::net::UnixListener::from_std(listener).map_err(fail)?;
    let Parts { gate, current, readiness, pseudonym_keys } = parts;
    let operators = Arc::new(Operators { gate, current, readiness, pseudonym_keys, own_uid });
    tracing::info!(path = %path.display(), "operators");
    Ok(runtime.spawn(operators.serve(listener)).abort_handle())
}
