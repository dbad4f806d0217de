//! Real servers that read paths in their own ways, as child processes.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{eventually, free_address};

/// nginx, Node and Python, each with several applications; they end with the value.
pub struct Servers {
    children: Vec<Child>,
    /// nginx as it is.
    pub nginx: SocketAddr,
    /// nginx with locations that make no difference of capitals.
    pub nginx_insensitive: SocketAddr,
    /// The same below another application's path.
    pub nginx_legacy: SocketAddr,
    /// Node with the standard URL class.
    pub node_url: SocketAddr,
    /// Node as a servlet container.
    pub node_servlet: SocketAddr,
    /// Node as on Windows.
    pub node_windows: SocketAddr,
    /// Python's file server.
    pub python: SocketAddr,
    /// Python in ISO 8859-1.
    pub python_latin1: SocketAddr,
    _dir: TempDir,
}

impl Servers {
    /// Starts them all and waits until they listen.
    pub fn start() -> Self {
        let dir = TempDir::new().expect("a directory");
        let mut servers = Self {
            children: Vec::new(),
            nginx: free_address(),
            nginx_insensitive: free_address(),
            nginx_legacy: free_address(),
            node_url: free_address(),
            node_servlet: free_address(),
            node_windows: free_address(),
            python: free_address(),
            python_latin1: free_address(),
            _dir: dir,
        };
        let dir = servers._dir.path().to_owned();
        std::fs::write(dir.join("nginx.conf"), servers.nginx_conf()).expect("writable");
        for (name, text) in [("kiosk", "protected"), ("other", "open")] {
            std::fs::create_dir_all(dir.join("files").join(name)).expect("writable");
            for file in ["index.html", "x"] {
                std::fs::write(dir.join("files").join(name).join(file), text).expect("writable");
            }
        }
        let nginx =
            ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(nginx.unwrap_or("nginx"));
        command.arg("-p").arg(&dir).arg("-c").arg(dir.join("nginx.conf"));
        servers.run("nginx", &mut command);
        let node = [".tools/bin/node"].into_iter().find(|path| Path::new(path).exists()).unwrap_or("node");
        let mut command = Command::new(node);
        command.arg(script("readings.mjs"));
        for (name, address) in
            [("url", servers.node_url), ("servlet", servers.node_servlet), ("windows", servers.node_windows)]
        {
            command.arg(format!("{name}:{}", address.port()));
        }
        servers.run("node", &mut command);
        let mut command = Command::new("python3");
        command.arg(script("readings.py")).arg(dir.join("files"));
        command.args([servers.python.port().to_string(), servers.python_latin1.port().to_string()]);
        servers.run("python3", &mut command);
        for address in servers.addresses() {
            eventually("the servers listen", Duration::from_secs(30), || TcpStream::connect(address).is_ok());
        }
        servers
    }

    fn addresses(&self) -> [SocketAddr; 8] {
        [
            self.nginx,
            self.nginx_insensitive,
            self.nginx_legacy,
            self.node_url,
            self.node_servlet,
            self.node_windows,
            self.python,
            self.python_latin1,
        ]
    }

    fn run(&mut self, name: &str, command: &mut Command) {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child =
            child.unwrap_or_else(|error| panic!("{name}: {error}; `scripts/setup.sh test` installs it"));
        self.children.push(child);
    }

    fn nginx_conf(&self) -> String {
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path temp_{name};"))
            .join(" ");
        let server = |address: SocketAddr, location: &str| {
            format!(
                "server {{ listen {address}; default_type text/plain;
                location {location} {{ return 200 protected; }} location / {{ return 200 open; }} }}"
            )
        };
        format!(
            "daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr crit;
            events {{ worker_connections 64; }} http {{ access_log off; {paths} {} {} {} }}",
            server(self.nginx, "~ ^/kiosk(/|$)"),
            server(self.nginx_insensitive, "~* ^/kiosk(/|$)"),
            server(self.nginx_legacy, "~* ^/legacy/kiosk(/|$)"),
        )
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/edge").join(name)
}
