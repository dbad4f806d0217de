//! Can an application be reached around the gateway? What listens on this pod's other addresses is open to whoever reaches
//! the pod, whatever the gateway says.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::findings::Finding;
use crate::config::settings::{Endpoint, ListenAddress, Settings, UpstreamSettings};

const LOOK: &str = "backend";
/// An address of this machine answers at once, or its packets are dropped.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the pod could be reached, and where the gateway itself listens.
#[derive(Debug, Clone)]
pub struct Around {
    /// The pod's addresses that are not loopback; `None` where nobody tells.
    pub addresses: Option<Vec<IpAddr>>,
    /// The gateway's own listeners.
    pub own: Vec<SocketAddr>,
}

impl Around {
    /// With the addresses that were found and those that were given.
    pub fn new(found: Option<Vec<IpAddr>>, given: &[IpAddr], settings: &Settings) -> Self {
        let mut addresses = found;
        if !given.is_empty() {
            addresses.get_or_insert_default().extend(given);
        }
        let listening = settings.listeners.iter().filter_map(|listener| match &listener.address {
            ListenAddress::Tcp(address) => Some(*address),
            ListenAddress::Unix(_) => None,
        });
        Self { addresses, own: listening.chain(settings.telemetry).collect() }
    }

    fn is_own(&self, place: SocketAddr) -> bool {
        let at = |own: &SocketAddr| {
            own.port() == place.port() && (own.ip() == place.ip() || own.ip().is_unspecified())
        };
        self.own.iter().any(at)
    }
}

/// Tries every endpoint of an upstream on the pod's other addresses.
pub async fn look(upstream: UpstreamSettings, around: Around) -> Vec<Finding> {
    let mut found = Vec::new();
    for endpoint in &upstream.endpoints {
        let about = format!("`{}` at {}", upstream.name, endpoint.name());
        found.push(match endpoint {
            Endpoint::Unix(path) => socket(about, path),
            Endpoint::Network(place) => network(about, place, &around).await,
        });
    }
    found
}

async fn network(about: String, place: &str, around: &Around) -> Finding {
    let resolved: Vec<SocketAddr> = match timeout(PATIENCE * 5, tokio::net::lookup_host(place)).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(_)) | Err(_) => {
            return Finding::unknown(
                LOOK,
                about,
                "its name can't be looked up",
                "see what is said of the upstream",
            );
        }
    };
    let Some(addresses) = &around.addresses else {
        let remedy = "name the pod's address with `--pod-address`";
        return Finding::unknown(LOOK, about, "the kernel does not tell this machine's addresses", remedy);
    };
    let is_here =
        |at: &&SocketAddr| at.ip().is_loopback() || at.ip().is_unspecified() || addresses.contains(&at.ip());
    let Some(here) = resolved.iter().find(is_here) else {
        let remedy =
            "let only the gateway reach it (NetworkPolicy, firewall), and try it from another machine";
        return Finding::unknown(
            LOOK,
            about,
            "it is on another machine, where only the network decides who reaches it",
            remedy,
        );
    };
    if addresses.is_empty() {
        let remedy = "name the pod's address with `--pod-address`";
        return Finding::unknown(LOOK, about, "this machine has no other address to try", remedy);
    }
    let mut open = Vec::new();
    for address in addresses {
        let place = SocketAddr::new(*address, here.port());
        if !around.is_own(place) && matches!(timeout(PATIENCE, TcpStream::connect(place)).await, Ok(Ok(_))) {
            open.push(place.to_string());
        }
    }
    if open.is_empty() && !matches!(timeout(PATIENCE, TcpStream::connect(*here)).await, Ok(Ok(_))) {
        let remedy = "start the application, and look again: what is not running answers nowhere";
        return Finding::unknown(LOOK, about, "it does not answer at all", remedy);
    }
    if open.is_empty() {
        let tried = addresses.len();
        return Finding::ok(
            LOOK,
            about,
            format!("does not answer on the other {tried} addresses of this machine"),
        );
    }
    let says = format!("answers around the gateway, at {}", open.join(", "));
    let remedy = "have it listen on 127.0.0.1 or a Unix socket alone, or keep everybody else off that port (NetworkPolicy, firewall)";
    Finding::failure(LOOK, about, says, remedy)
}

fn socket(about: String, path: &Path) -> Finding {
    match std::fs::metadata(path) {
        Ok(found) => {
            let (mode, owner) = (found.mode() & 0o7777, found.uid());
            let directory = path.parent().and_then(|parent| std::fs::metadata(parent).ok());
            let is_open = directory.is_none_or(|directory| directory.mode() & 0o001 != 0);
            let says = format!("a socket of mode {mode:04o}, of user {owner}");
            if mode & 0o002 != 0 && is_open {
                let remedy =
                    "give it mode 0660 and a group of the gateway's, or a directory that only both may enter";
                return Finding::warning(LOOK, about, format!("{says}: every user here may connect"), remedy);
            }
            Finding::ok(LOOK, about, says)
        }
        Err(_) => Finding::unknown(LOOK, about, "the socket is not there", "start the application first"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::super::findings::Verdict;
    use super::*;

    async fn verdict(place: &str, around: &Around) -> Verdict {
        network("app".to_owned(), place, around).await.verdict
    }

    #[tokio::test]
    async fn what_answers_elsewhere_too_is_a_failure() {
        let other: IpAddr = "127.0.0.2".parse().expect("an address");
        let mut around = Around { addresses: Some(vec![other]), own: Vec::new() };
        let narrow = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let place = narrow.local_addr().expect("an address").to_string();
        assert_eq!(verdict(&place, &around).await, Verdict::Ok);
        drop(narrow);
        assert_eq!(verdict(&place, &around).await, Verdict::Unknown, "nobody can know");
        let wide = TcpListener::bind("0.0.0.0:0").await.expect("bound");
        let port = wide.local_addr().expect("an address").port();
        assert_eq!(verdict(&format!("127.0.0.1:{port}"), &around).await, Verdict::Failure);
        around.own = vec![SocketAddr::new(other, port)];
        assert_eq!(verdict(&format!("127.0.0.1:{port}"), &around).await, Verdict::Ok, "the gateway itself");
        around.own.clear();
        assert_eq!(verdict("192.0.2.1:80", &around).await, Verdict::Unknown);
        around.addresses = None;
        assert_eq!(verdict("127.0.0.1:80", &around).await, Verdict::Unknown);
    }

    #[test]
    fn a_socket_for_everybody_is_told() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("app.sock");
        assert_eq!(socket("app".into(), &path).verdict, Verdict::Unknown);
        let _listener = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
        };
        set(&path, 0o777);
        set(dir.path(), 0o755);
        assert_eq!(socket("app".into(), &path).verdict, Verdict::Warning);
        set(dir.path(), 0o700);
        assert_eq!(socket("app".into(), &path).verdict, Verdict::Ok);
    }
}
