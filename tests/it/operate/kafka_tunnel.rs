//! The audit trail goes to Kafka over TLS, through the shipped tunnel: the gateway and an Envoy in a network of their own, in
//! which the brokers' announced addresses are the tunnel's.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::kafka::{Cluster, TOPIC};
use super::sinks::{LONG, assert_all_came, events};
use super::{ROUTES, write_keys};
use crate::edge::pki::Authority;
use crate::support::{Signer, eventually, tokens};

/// A child process; ends with the value.
struct Program(Child);

impl Program {
    fn start(mut command: Command) -> Self {
        Self(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("started"),
        )
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn envoy(before: &str, config: &Path) -> Command {
    let mut command = Command::new("sh");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/envoy");
    let script = format!(
        "{before} exec {} --disable-hot-restart --concurrency 1 --log-level error -c {}",
        program.display(),
        config.display()
    );
    command.args(["-c", &script]);
    command
}

/// What stands before the brokers: TLS on Unix sockets, which are reached from every network.
fn doors(dir: &Path, ports: &[String]) -> String {
    let mut text = "static_resources:\n  listeners:\n".to_owned();
    let mut clusters = "  clusters:\n".to_owned();
    for (position, port) in ports.iter().enumerate() {
        let (number, dir) = (position + 1, dir.display());
        text.push_str(&format!(
            r#"    - name: b{number}
      address: {{ pipe: {{ path: {dir}/b{number}.sock }} }}
      filter_chains:
        - filters: [{{ name: envoy.filters.network.tcp_proxy, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: b, cluster: b{number} }} }}]
          transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
              require_client_certificate: true
              common_tls_context:
                tls_certificates: [{{ certificate_chain: {{ filename: {dir}/b{number}.crt }}, private_key: {{ filename: {dir}/b{number}.key }} }}]
                validation_context: {{ trusted_ca: {{ filename: {dir}/clients.pem }} }}
"#
        ));
        clusters.push_str(&format!(
            r#"    - {{ name: b{number}, type: STATIC, load_assignment: {{ cluster_name: b{number}, endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }}] }}] }} }}
"#
        ));
    }
    text + &clusters
}

/// The shipped tunnel, with these ports and files in the place of those in it.
fn tunnel(dir: &Path, ports: &[String]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/envoy/kafka-tunnel.yaml");
    let mut text = std::fs::read_to_string(path).expect("shipped").replace("STRICT_DNS", "STATIC");
    for (position, port) in ports.iter().enumerate() {
        let number = position + 1;
        for (from, to) in [
            (format!("port_value: {}", 19_092 + position), format!("port_value: {port}")),
            (
                format!("socket_address: {{ address: kafka-{number}.example, port_value: 9093 }}"),
                format!("pipe: {{ path: {}/b{number}.sock }}", dir.display()),
            ),
        ] {
            assert!(text.contains(&from), "{from}");
            text = text.replace(&from, &to);
        }
    }
    text.replace("/tls/kafka-ca.crt", &format!("{}/trusted.pem", dir.display()))
        .replace("/tls/kafka.", &format!("{}/client.", dir.display()))
}

/// A gateway that starts and delivers through the tunnel, which trusts `trusted`, to brokers with certificates of `servers` for
/// `domain`.
struct World {
    cluster: Cluster,
    dir: TempDir,
    gateway: Program,
    _envoys: [Program; 2],
}

impl World {
    fn start(servers: &Authority, trusted: &Authority, domain: &str) -> Self {
        let (cluster, dir) = (Cluster::start(), tempfile::tempdir().expect("a directory"));
        let (at, brokers) = (dir.path(), cluster.brokers());
        let ports: Vec<String> =
            brokers.iter().map(|broker| broker.rsplit_once(':').expect("a port").1.to_owned()).collect();
        let clients = Authority::new("clients");
        clients.issue(&["wardgate.clinic.example"]).write(at, "client");
        let write = |name: &str, text: &str| std::fs::write(at.join(name), text).expect("writable");
        write("clients.pem", &clients.pem);
        write("trusted.pem", &trusted.pem);
        for number in 1..=ports.len() {
            servers.issue(&[&format!("kafka-{number}.{domain}")]).write(at, &format!("b{number}"));
        }
        write("doors.yaml", &doors(at, &ports));
        write("tunnel.yaml", &tunnel(at, &ports));
        let before_brokers = Program::start(envoy("", &at.join("doors.yaml")));
        eventually("the brokers' doors are open", LONG, || at.join("b3.sock").exists());
        let mut isolated = Command::new("unshare");
        let inner = envoy("ip link set lo up;", &at.join("tunnel.yaml"));
        isolated.arg("--net").arg(inner.get_program()).args(inner.get_args());
        let beside = Program::start(isolated);
        let network = format!("/proc/{}", beside.0.id());
        let listening = format!(":{:04X} 00000000:0000 0A", ports[2].parse::<u16>().expect("a port"));
        eventually("the tunnel listens", LONG, || {
            std::fs::read_to_string(format!("{network}/net/tcp"))
                .is_ok_and(|table| table.contains(&listening))
        });
        write_keys(at, &Signer::new());
        let sink = format!(
            "audit: {{ dir: ./audit, sinks: [{{ name: bus, type: kafka, brokers: {brokers:?}, topic: {TOPIC} }}] }}\ninsecure: {{ plain_audit_sinks: true }}"
        );
        let config = tokens::config("127.0.0.1:8081".parse().expect("an address"), ROUTES)
            .replace("$LISTEN", "127.0.0.1:8080")
            .replace("$TELEMETRY", "127.0.0.1:9901")
            .replace("audit: { dir: ./audit }", &sink);
        write("gateway.yaml", &config);
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={network}/ns/net")).arg(env!("CARGO_BIN_EXE_wardgate"));
        command.args(["run", "--config"]).arg(at.join("gateway.yaml")).current_dir(at);
        let gateway = Program::start(command);
        Self { cluster, dir, gateway, _envoys: [before_brokers, beside] }
    }

    fn is_down(&self) -> bool {
        let audit = self.dir.path().join("audit");
        audit.exists() && events(&audit).values().any(|event| event == "sink_down")
    }
}

#[test]
fn records_arrive_over_tls() {
    let servers = Authority::new("servers");
    let mut world = World::start(&servers, &servers, "example");
    eventually("records come", LONG, || world.cluster.count() > 0);
    let pid = i32::try_from(world.gateway.0.id()).expect("a number");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).expect("told");
    let ended = world.gateway.0.wait().expect("an end");
    assert!(ended.success(), "{ended}");
    let audit = world.dir.path().join("audit");
    let all = events(&audit).len();
    eventually("all are read", LONG, || world.cluster.kept().len() >= all);
    assert_all_came(&audit, &world.cluster.kept());
}

#[test]
fn nobody_else_gets_them() {
    let (servers, others) = (Authority::new("servers"), Authority::new("others"));
    for (trusted, domain) in [(&others, "example"), (&servers, "other.example")] {
        let world = World::start(&servers, trusted, domain);
        eventually("it is told", LONG, || world.is_down());
        assert_eq!(world.cluster.count(), 0, "{domain}");
    }
}
