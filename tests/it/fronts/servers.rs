//! The proxies that ask, as child processes with the shipped configurations.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::World;
use crate::support::{eventually, free_address};

/// curl's words for versions of HTTP.
pub const HTTP1: &str = "--http1.1";
pub const HTTP2: &str = "--http2-prior-knowledge";

/// One of them; ends with the value.
pub struct Server {
    /// What it is called in messages.
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    _dir: TempDir,
}

impl Server {
    /// nginx with `deploy/nginx/nginx.conf`.
    pub fn nginx(world: &World) -> Self {
        Self::nginx_with(world, HTTP1, |text| text)
    }

    /// The same for clients that speak HTTP/2 without TLS.
    pub fn nginx_http2(world: &World) -> Self {
        Self::nginx_with(world, HTTP2, |text| {
            text.replacen(";\n        # The gateway", " http2;\n        # The gateway", 1)
        })
    }

    /// The same with a changed configuration.
    pub fn nginx_with(world: &World, version: &'static str, change: impl FnOnce(String) -> String) -> Self {
        let (dir, address) = (TempDir::new().expect("a directory"), free_address());
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path temp_{name};"))
            .concat();
        let text = shipped("nginx/nginx.conf", world, address)
            .replace("http {", &format!("http {{ access_log off; {paths}"));
        let beginning = "daemon off; master_process off; pid nginx.pid; error_log stderr crit;\n";
        let path = write(&dir, "nginx.conf", &format!("{beginning}{}", change(text)));
        let program =
            ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(program.unwrap_or("nginx"));
        command.arg("-p").arg(dir.path()).arg("-c").arg(path);
        Self::spawn("nginx", version, command, address, dir)
    }

    /// Caddy with `deploy/caddy/Caddyfile`.
    pub fn caddy(world: &World) -> Self {
        Self::caddy_with(world, |text| text)
    }

    /// The same with a changed configuration.
    pub fn caddy_with(world: &World, change: impl FnOnce(String) -> String) -> Self {
        let (dir, address) = (TempDir::new().expect("a directory"), free_address());
        let text = shipped("caddy/Caddyfile", world, address)
            .replace(":8080", &format!(":{}", address.port()))
            .replace("protocols h1 h2", "protocols h1 h2 h2c")
            .replace("admin off", "admin off\n\tpersist_config off\n\tlog default {\n\t\tlevel ERROR\n\t}");
        let path = write(&dir, "Caddyfile", &change(text));
        let mut command = Command::new(tool("caddy"));
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(path).env("HOME", dir.path());
        Self::spawn("Caddy", HTTP1, command, address, dir)
    }

    /// Traefik with `deploy/traefik`.
    pub fn traefik(world: &World) -> Self {
        let (dir, address) = (TempDir::new().expect("a directory"), free_address());
        let rules = write(&dir, "dynamic.yaml", &shipped("traefik/dynamic.yaml", world, address));
        let text = shipped("traefik/static.yaml", world, address)
            .replace("/etc/traefik/dynamic.yaml", rules.to_str().expect("utf-8"));
        let path = write(&dir, "static.yaml", &text);
        let mut command = Command::new(tool("traefik"));
        command.arg(format!("--configFile={}", path.display())).env("HOME", dir.path());
        Self::spawn("Traefik", HTTP1, command, address, dir)
    }

    /// Envoy with `deploy/envoy/ext-authz-grpc.yaml` or `ext-authz-http.yaml`.
    pub fn envoy(world: &World, protocol: &'static str) -> Self {
        Self::envoy_with(world, protocol, "x-wardgate-decision", |text| text)
    }

    /// The same with a changed configuration; `settled` stands in its answers once it runs.
    pub fn envoy_with(
        world: &World,
        protocol: &'static str,
        settled: &str,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let (dir, address) = (TempDir::new().expect("a directory"), free_address());
        let application = world.application.port();
        let text = shipped(&format!("envoy/ext-authz-{protocol}.yaml"), world, address)
            .replace(
                "/run/wardgate/ext-authz.sock",
                world.ext_authz_socket(protocol).to_str().expect("utf-8"),
            )
            .replace("127.0.0.1, port_value: 8081", &format!("127.0.0.1, port_value: {application}"))
            .replace("0.0.0.0, port_value: 8080", &format!("127.0.0.1, port_value: {}", address.port()))
            .replace(
                "- exact: cookie",
                "- exact: cookie\n                              - exact: x-remote-user",
            );
        let path = write(&dir, "envoy.yaml", &change(text));
        let mut command = Command::new(tool("envoy"));
        command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "error", "-c"]).arg(path);
        let name = if protocol == "grpc" { "Envoy by gRPC" } else { "Envoy by HTTP" };
        Self::spawn_until(settled, (name, HTTP1), command, address, dir)
    }

    fn spawn(name: &'static str, version: &str, command: Command, address: SocketAddr, dir: TempDir) -> Self {
        Self::spawn_until("x-wardgate-decision", (name, version), command, address, dir)
    }

    fn spawn_until(
        settled: &str,
        (name, version): (&'static str, &str),
        mut command: Command,
        address: SocketAddr,
        dir: TempDir,
    ) -> Self {
        let child = command
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}; `scripts/setup.sh test` installs it"));
        let server = Self { name, address, child, _dir: dir };
        // Once its rules are in force it no longer says by itself that there is nothing.
        eventually(&format!("{name} answers"), Duration::from_secs(60), || {
            TcpStream::connect(address).is_ok()
                && server.curl(version, &["--include"], "/nowhere", b"").contains(settled)
        });
        server
    }
}

impl Server {
    /// What curl prints, in lower case; it reads `body` where it is told to upload `-`.
    pub fn curl(&self, version: &str, arguments: &[&str], target: &str, body: &[u8]) -> String {
        let mut child = Command::new("curl")
            .args([version, "--silent", "--max-time", "20", "--header", "Host: portal.example"])
            .args(arguments)
            .arg(format!("http://{}{target}", self.address))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl");
        // It may have been answered before it had read everything.
        let _ = child.stdin.take().expect("piped").write_all(body);
        let output = child.wait_with_output().expect("an end");
        String::from_utf8_lossy(&output.stdout).to_lowercase()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shipped configuration with this world's addresses in the place of those in it.
fn shipped(name: &str, world: &World, address: SocketAddr) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
    std::fs::read_to_string(path)
        .expect("shipped")
        .replace("/run/wardgate/auth.sock", world.socket().to_str().expect("utf-8"))
        .replace("127.0.0.1:9180", &world.ask.to_string())
        .replace("127.0.0.1:8081", &world.application.to_string())
        .replace("127.0.0.1:8080", &address.to_string())
}

fn write(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("writable");
    path
}

fn tool(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools").join(name)
}
