//! What the integration tests stand on: the real program, a recording upstream, raw sockets, tokens, real servers.

pub mod canaries;
pub mod fhir_server;
pub mod gateway;
pub mod http;
pub mod idp;
pub mod orthanc;
pub mod possession;
pub mod redis;
pub mod step_up_service;
pub mod tokens;
pub mod upstream;
pub mod wire;

pub use fhir_server::FhirServer;
pub use gateway::{Gateway, Setup};
pub use idp::Idp;
pub use orthanc::Orthanc;
pub use step_up_service::StepUpService;
pub use tokens::Signer;
pub use upstream::Recorder;
pub use wire::Connection;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Sends a signal, such as `TERM`, to a process that a test has started.
pub fn send_signal(process: u32, name: &str) {
    let sent = std::process::Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status();
    assert!(sent.expect("kill runs").success(), "the process is gone");
}

/// An address on loopback that was free a moment ago.
///
/// Below the range from which systems take the ports of outgoing connections, and a new one each time: else a client
/// of another test could hold it before the server that it is for.
pub fn free_address() -> SocketAddr {
    const FIRST: u16 = 10_000;
    const LAST: u16 = 32_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() * 101 % u32::from(LAST - FIRST)).expect("small");
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start + next % (LAST - FIRST)) % (LAST - FIRST);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().expect("an address");
        }
    }
}

/// Asks again and again until the answer is yes; fails with `what` where it does not come to that.
pub fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}
