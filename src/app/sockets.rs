//! The listening sockets: opened here and not by Pingora, so that a taken address is told before anything is served,
//! and so that they can be handed to a new program.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd, IntoRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use pingora::server::{Fds, ListenFds, ShutdownWatch};
use pingora::services::Service;

use super::StartError;
use crate::config::settings::{ListenAddress, Settings};
use crate::serve::sockets::{self, SOCKET_MODE};

/// A listening socket, by the address as the service that accepts on it knows it.
pub struct Socket {
    /// `ip:port`, or a Unix socket's path.
    pub address: String,
    /// The socket.
    pub socket: OwnedFd,
}

/// Every listening socket, held as long as the gateway listens.
pub struct Sockets(Mutex<Vec<Socket>>);

impl Sockets {
    /// Takes for each address the socket that was inherited from the program before, or opens one.
    ///
    /// # Errors
    /// An address is taken, or not this machine's.
    pub fn open(addresses: &[ListenAddress], mut inherited: Vec<Socket>) -> Result<Self, StartError> {
        let mut sockets = Vec::new();
        for address in addresses {
            let key = match address {
                ListenAddress::Tcp(address) => address.to_string(),
                ListenAddress::Unix(path) => path.to_string_lossy().into_owned(),
            };
            if let Some(at) = inherited.iter().position(|socket| socket.address == key) {
                sockets.push(inherited.swap_remove(at));
                continue;
            }
            let socket = open(address).map_err(StartError::new)?;
            sockets.push(Socket { address: key, socket });
        }
        Ok(Self(Mutex::new(sockets)))
    }

    /// A service of Pingora's that accepts on these sockets.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn accepting<S: Service>(&self, service: S) -> Result<Accepting<S>, StartError> {
        let mut fds = Fds::new();
        // Only its own: a copy that nobody accepts on would keep the address open after the end.
        let own_addresses = service.listen_addresses().unwrap_or_default();
        for Socket { address, socket } in
            self.lock().iter().filter(|held| own_addresses.contains(&held.address))
        {
            let own = socket.try_clone().map_err(|error| {
                StartError::new(format!("a socket can't be shared: {error}; raise the limit on open files"))
            })?;
            // From here on it is Pingora's to close.
            fds.add(address.clone(), own.into_raw_fd());
        }
        Ok(Accepting { service, fds: Arc::new(fds.into()) })
    }

    /// Calls with every address and socket.
    pub fn with<R>(&self, call: impl FnOnce(&[String], &[BorrowedFd<'_>]) -> R) -> R {
        let sockets = self.lock();
        let addresses: Vec<String> = sockets.iter().map(|socket| socket.address.clone()).collect();
        let fds: Vec<BorrowedFd<'_>> = sockets.iter().map(|socket| socket.socket.as_fd()).collect();
        call(&addresses, &fds)
    }

    /// Lets go of them: once Pingora has too, nobody can connect any more, unless a successor holds them.
    pub fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Socket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(address: &ListenAddress) -> Result<OwnedFd, String> {
    sockets::claim(address)?;
    let opened = match address {
        ListenAddress::Tcp(address) => TcpListener::bind(address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| OwnedFd::from(listener))),
        ListenAddress::Unix(path) => UnixListener::bind(path).and_then(|listener| {
            std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
            listener.set_nonblocking(true).map(|()| OwnedFd::from(listener))
        }),
    };
    opened.map_err(|error| format!("`{address}` can't be listened on: {error}"))
}

/// A service with sockets that are open already.
pub struct Accepting<S> {
    service: S,
    fds: ListenFds,
}

#[async_trait]
impl<S: Service> Service for Accepting<S> {
    async fn start_service(
        &mut self,
        _: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        self.service.start_service(Some(Arc::clone(&self.fds)), shutdown, listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        self.service.name()
    }

    fn threads(&self) -> Option<usize> {
        self.service.threads()
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        self.service.listen_addresses()
    }
}

/// Every address that is listened on.
pub fn addresses(settings: &Settings) -> Vec<ListenAddress> {
    let listeners = settings.listeners.iter().map(|listener| listener.address.clone());
    let operators = settings.operators.clone().map(ListenAddress::Unix);
    listeners.chain(settings.telemetry.map(ListenAddress::Tcp)).chain(operators).collect()
}
