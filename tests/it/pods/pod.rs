//! One pod: a network of its own, a gateway and an application in it, started and stopped in the order in which Kubernetes
//! does it for a native sidecar.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Signer, eventually, http, tokens};

pub const LONG: Duration = Duration::from_secs(30);
/// The gateway's ports, the same in each pod.
const PORTAL: u16 = 8443;
const TELEMETRY: u16 = 9901;
/// The application's, where it has one.
pub const APP: u16 = 8080;
const ROUTES: &str = r#"
  - { id: health, match: { path: /health, methods: [GET] }, upstream: app, access: public }
  - { id: results.read, match: { path: "/patients/{patient}/results/**", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: notes.write, match: { path: "/patients/{patient}/notes", methods: [POST] }, upstream: app,
      tier: moderate, patient: { from: path.patient }, any_of: [{ patient: self }] }
"#;

/// Runs a command of the system's; it must succeed.
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

/// A network namespace with a link to this one.
struct Network {
    name: String,
    address: Ipv4Addr,
}

impl Network {
    fn new() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(number < 64, "a network of four addresses for each pod");
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        // Of the range for measurements between networks (RFC 2544), which nothing here routes.
        let (second, third) = (18 + (high & 1), low);
        let (here, there) = (4 * number + 1, 4 * number + 2);
        let name = format!("wardgate-{}-{number}", std::process::id());
        let link = format!("wg{}n{number}", std::process::id());
        let pod = Ipv4Addr::new(198, second, third, there);
        let network = Self { name, address: pod };
        let name = network.name.as_str();
        run("ip", &["netns", "add", name]);
        run("ip", &["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", name]);
        run("ip", &["address", "add", &format!("198.{second}.{third}.{here}/30"), "dev", &link]);
        run("ip", &["link", "set", &link, "up"]);
        run("ip", &["-n", name, "address", "add", &format!("{pod}/30"), "dev", "eth0"]);
        run("ip", &["-n", name, "link", "set", "eth0", "up"]);
        run("ip", &["-n", name, "link", "set", "lo", "up"]);
        network
    }

    /// A program in it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The link goes with it.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

pub struct Pod {
    gateway: Child,
    app: Option<Child>,
    name: String,
    listen: String,
    network: Network,
    /// Configuration, keys, journal.
    dir: TempDir,
}

impl Pod {
    /// Starts it as a kubelet does: the sidecar first; when that is up, the application, which listens at `listen` (`$DIR` is
    /// the volume that both see). Comes back when the pod is ready.
    pub fn start(name: &str, listen: &str, signer: &Signer) -> Self {
        let (network, dir) = (Network::new(), TempDir::new().expect("a directory"));
        let listen = listen.replace("$DIR", dir.path().to_str().expect("utf-8"));
        let endpoint = listen.replace("0.0.0.0", "127.0.0.1");
        let config = tokens::config(SocketAddr::from(([127, 0, 0, 1], APP)), ROUTES)
            .replace(&format!("127.0.0.1:{APP}"), &endpoint)
            .replace("$LISTEN", &format!("0.0.0.0:{PORTAL}"))
            .replace("$TELEMETRY", &format!("0.0.0.0:{TELEMETRY}"));
        assert!(config.contains(&endpoint));
        std::fs::write(dir.path().join("jwks.json"), signer.jwks()).expect("writable");
        std::fs::write(dir.path().join("gateway.yaml"), config).expect("writable");
        let gateway = network
            .command(env!("CARGO_BIN_EXE_wardgate"))
            .args(["run", "--config"])
            .arg(dir.path().join("gateway.yaml"))
            .stderr(Stdio::null())
            .spawn()
            .expect("the gateway starts");
        let mut pod = Self { gateway, app: None, name: name.to_owned(), listen, network, dir };
        // The sidecar's startup probe.
        eventually("the sidecar has started", LONG, || pod.probe("/healthz") == Some(200));
        pod.start_app();
        // The pod's readiness: the sidecar's own probe, and the application's, which goes through the sidecar.
        eventually("the pod is ready", LONG, || pod.is_ready());
        pod
    }

    fn start_app(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/pods/app.py");
        let mut command = self.network.command("python3");
        self.app = Some(command.arg(script).args([&self.listen, &self.name]).spawn().expect("python3 runs"));
    }

    fn probe(&self, path: &str) -> Option<u16> {
        http::get(self.at(TELEMETRY), path).ok().map(|answer| answer.status)
    }

    /// Whether the endpoints of a Service would hold it.
    pub fn is_ready(&self) -> bool {
        self.probe("/readyz") == Some(200)
            && http::get(self.portal(), "/health").is_ok_and(|answer| answer.status == 200)
    }

    /// A port of it, as others reach it.
    pub fn at(&self, port: u16) -> SocketAddr {
        (self.network.address, port).into()
    }

    /// What the Service leads to.
    pub fn portal(&self) -> SocketAddr {
        self.at(PORTAL)
    }

    /// Every TCP port that listens on an address which others reach, asked from inside.
    pub fn open_ports(&self) -> Vec<u16> {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| {
            let output = self.network.command("cat").arg(table).output().expect("cat runs");
            String::from_utf8(output.stdout).expect("text")
        });
        let ports = tables.iter().flat_map(|table| table.lines()).filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (address, port) = fields.next()?.rsplit_once(':')?;
            let listens = fields.nth(1) == Some("0A");
            let is_loopback = address == "0100007F" || address == "00000000000000000000000001000000";
            (listens && !is_loopback).then(|| u16::from_str_radix(port, 16).expect("a port"))
        });
        let mut ports: Vec<u16> = ports.collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// What `wardgate doctor` says of the way around the gateway, asked from inside.
    pub fn doctor(&self) -> Vec<String> {
        let mut doctor = self.network.command(env!("CARGO_BIN_EXE_wardgate"));
        let output = doctor.args(["doctor", "--config"]).arg(self.dir.path().join("gateway.yaml")).output();
        let said = String::from_utf8(output.expect("it runs").stdout).expect("text");
        let lines = said.lines().filter(|line| line.contains(" backend "));
        lines.map(str::to_owned).collect()
    }

    /// `preStop` of the sidecar, which a kubelet runs together with the application's.
    pub fn drain(&self) {
        let told = Command::new(env!("CARGO_BIN_EXE_wardgate"))
            .args(["drain", "--pid", &self.gateway.id().to_string()])
            .output()
            .expect("it runs");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    }

    /// Ends the application, and when it has gone, the sidecar.
    pub fn end(&mut self) {
        let mut app = self.app.take().expect("it runs");
        terminate(&mut app, "the application");
        terminate(&mut self.gateway, "the gateway");
    }
}

fn terminate(child: &mut Child, what: &str) {
    run("kill", &["-TERM", &child.id().to_string()]);
    eventually(&format!("{what} ends"), LONG, || child.try_wait().expect("waitable").is_some());
}

impl Drop for Pod {
    fn drop(&mut self) {
        for child in [Some(&mut self.gateway), self.app.as_mut()].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
