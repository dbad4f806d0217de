//! The listening sockets: opened here and not by Pingora, so that a taken address is told before anything is served,
//! and so that they can be handed to a new program.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd, IntoRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use pingora::server::{Fds, ListenFds, ShutdownWatch};
use pingora::services::Service;

use super::StartError;

/// A listening socket, by the address as the service that accepts on it knows it.
pub struct Socket {
    /// `ip:port`.
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
    pub fn open(addresses: &[SocketAddr], mut inherited: Vec<Socket>) -> Result<Self, StartError> {
        let mut sockets = Vec::new();
        for address in addresses {
            let key = address.to_string();
            if let Some(at) = inherited.iter().position(|socket| socket.address == key) {
                sockets.push(inherited.swap_remove(at));
                continue;
            }
            let bound = TcpListener::bind(address)
                .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
            let listener = bound.map_err(|error| {
                StartError::new(format!("`{address}` can't be listened on: {error}; stop what holds it, or choose another address in the configuration"))
            })?;
            sockets.push(Socket { address: key, socket: OwnedFd::from(listener) });
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
