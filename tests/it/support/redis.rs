//! Real Redis servers and Sentinels as child processes.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wardgate::config::settings::{RedisSettings, RedisTopology};

use super::{eventually, free_address, send_signal};

/// A server; ends with the value.
pub struct Redis {
    process: Child,
    program: &'static str,
    arguments: Vec<String>,
    /// Where it listens.
    pub address: SocketAddr,
    dir: TempDir,
}

impl Redis {
    /// Starts an empty one that keeps nothing on the disk, with more options like `--maxmemory 1mb`.
    pub fn start(options: &[&str]) -> Self {
        Self::start_in(TempDir::new().expect("a directory"), options, free_address())
    }

    /// The same in a directory where files for it lie, at an address of one's own.
    pub fn start_in(dir: TempDir, options: &[&str], address: SocketAddr) -> Self {
        let mut arguments: Vec<String> =
            ["--save", "", "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0"].map(Into::into).into();
        arguments.extend(["--dir".to_owned(), dir.path().to_str().expect("utf-8").to_owned()]);
        if !options.contains(&"--port") {
            arguments.extend(["--port".to_owned(), address.port().to_string()]);
        }
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        Self::launch("redis-server", arguments, address, dir)
    }

    /// A Sentinel that watches a master by the name `wardgate`; two of them decide.
    fn sentinel(master: SocketAddr) -> Self {
        let (address, dir) = (free_address(), TempDir::new().expect("a directory"));
        let text = format!(
            "port {}\nbind 127.0.0.1\nsentinel monitor wardgate 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds wardgate 600\nsentinel failover-timeout wardgate 2000\n",
            address.port(),
            master.port()
        );
        let path = file_in(dir.path(), "sentinel.conf", &text);
        let arguments = vec![path.to_str().expect("utf-8").to_owned()];
        Self::launch("redis-sentinel", arguments, address, dir)
    }

    fn launch(program: &'static str, arguments: Vec<String>, address: SocketAddr, dir: TempDir) -> Self {
        let process = spawn(program, &arguments, dir.path());
        let server = Self { process, program, arguments, address, dir };
        server.wait_until_up();
        server
    }

    fn wait_until_up(&self) {
        eventually("Redis is up", Duration::from_secs(10), || TcpStream::connect(self.address).is_ok());
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Says something to it and gives the answer, errors too, as text.
    pub fn say(&self, words: &[&str]) -> String {
        self.say_as(&[], words)
    }

    /// The same with options for `redis-cli`.
    pub fn say_as(&self, options: &[&str], words: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &self.address.port().to_string()])
            .args(options)
            .args(words)
            .output()
            .expect("redis-cli runs");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    /// Stops it where it is, as a partition or a hung machine would; its connections stay open.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Ends it at once, without a chance to write anything.
    pub fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("ended");
    }

    /// Starts it again after [`Self::kill`].
    pub fn restart(&mut self) {
        self.process = spawn(self.program, &self.arguments, self.dir.path());
        self.wait_until_up();
        eventually("Redis has loaded", Duration::from_secs(60), || self.say(&["PING"]) == "PONG");
    }

    fn signal(&self, name: &str) {
        send_signal(self.process.id(), name);
    }

    /// How a gateway reaches it.
    pub fn settings(&self) -> RedisSettings {
        settings(&[self], RedisTopology::Standalone, 0)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(program: &str, arguments: &[String], dir: &Path) -> Child {
    let log = std::fs::File::create(dir.join("log")).expect("a log");
    Command::new(program)
        .args(arguments)
        .stdout(log)
        .stderr(Stdio::null())
        .spawn()
        .expect("Redis starts; `scripts/setup.sh test` installs it")
}

/// How a gateway reaches servers. The limit is longer than in operation: these tests share their machine with others.
pub fn settings(servers: &[&Redis], topology: RedisTopology, min_replicas: u8) -> RedisSettings {
    RedisSettings {
        nodes: servers.iter().map(|it| ("127.0.0.1".to_owned(), it.address.port())).collect(),
        tls: false,
        ca_file: None,
        database: 0,
        topology,
        username: None,
        password_file: None,
        sentinel_username: None,
        sentinel_password_file: None,
        timeout: Duration::from_millis(1_500),
        min_replicas,
        prefix: "wardgate".into(),
    }
}

/// A master, its replica, and three Sentinels that know both.
pub struct Watched {
    pub master: Redis,
    pub replica: Redis,
    pub sentinels: Vec<Redis>,
    /// The way on which the replica and the Sentinels reach the master. Who knows its own address goes past it.
    pub wire: Wire,
}

impl Watched {
    pub fn start() -> Self {
        let master = Redis::start(&[]);
        let wire = Wire::to(master.address);
        let port = wire.address.port().to_string();
        // Where the master says that it is found, also once it is a replica.
        master.say(&["CONFIG", "SET", "replica-announce-port", &port]);
        let replica = Redis::start(&["--replicaof", "127.0.0.1", &port]);
        eventually("the replica follows", Duration::from_secs(20), || {
            master.say(&["WAIT", "1", "100"]) == "1" && replica.say(&["ROLE"]).contains("connected")
        });
        let sentinels: Vec<Redis> = (0..3).map(|_| Redis::sentinel(wire.address)).collect();
        let watched = Self { master, replica, sentinels, wire };
        eventually("the Sentinels know everyone", Duration::from_secs(30), || {
            watched.sentinels.iter().all(|sentinel| {
                sentinel.say(&["SENTINEL", "CKQUORUM", "wardgate"]).starts_with("OK 3")
                    && sentinel.say(&["SENTINEL", "REPLICAS", "wardgate"]).contains("flags\nslave\n")
            })
        });
        watched
    }

    pub fn settings(&self) -> RedisSettings {
        let sentinels: Vec<&Redis> = self.sentinels.iter().collect();
        settings(&sentinels, RedisTopology::Sentinel { service: "wardgate".to_owned() }, 1)
    }

    /// Waits until the replica has taken over.
    pub fn wait_for_failover(&self) {
        eventually("the replica takes over", Duration::from_secs(30), || {
            self.replica.say(&["ROLE"]).starts_with("master")
        });
    }
}

/// Three masters with a replica each.
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    pub fn start() -> Self {
        let start = |_| {
            let bus = free_address().port().to_string();
            let options =
                ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &bus];
            Redis::start(&options)
        };
        let nodes: Vec<Redis> = (0..6).map(start).collect();
        let addresses: Vec<String> = nodes.iter().map(|node| node.address.to_string()).collect();
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .expect("redis-cli runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let cluster = Self { nodes };
        eventually("the cluster is whole", Duration::from_secs(30), || {
            cluster.nodes.iter().all(|node| {
                let replication = node.say(&["INFO", "replication"]);
                node.say(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
                    && (replication.contains("connected_slaves:1")
                        || replication.contains("master_link_status:up"))
            })
        });
        cluster
    }

    pub fn settings(&self) -> RedisSettings {
        settings(&self.nodes.iter().collect::<Vec<_>>(), RedisTopology::Cluster, 1)
    }

    /// The masters now.
    pub fn masters(&self) -> Vec<usize> {
        let is_master = |at: &usize| self.nodes[*at].say(&["ROLE"]).starts_with("master");
        (0..self.nodes.len()).filter(is_master).collect()
    }
}

/// A file beside a server.
pub fn file_in(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("writable");
    path
}

/// Waits, without holding up the runtime, until the answer is yes.
pub async fn soon(what: &str, limit: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// A way to a server that can be cut, as networks are: what was open breaks, and nothing new comes through.
pub struct Wire {
    pub address: SocketAddr,
    is_cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    pub fn to(target: SocketAddr) -> Self {
        Self::to_each(vec![target])
    }

    /// Leads each connection to the next of some servers, as a balancer does.
    pub fn to_each(targets: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind(free_address()).expect("an address");
        let wire = Self {
            address: listener.local_addr().expect("an address"),
            is_cut: Arc::default(),
            open: Arc::default(),
        };
        let (is_cut, open) = (Arc::clone(&wire.is_cut), Arc::clone(&wire.open));
        // Ends with the test's process.
        std::thread::spawn(move || {
            for (near, target) in listener.incoming().map_while(Result::ok).zip(targets.into_iter().cycle()) {
                if is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(target) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) =
                        (from.try_clone().expect("a clone"), to.try_clone().expect("a clone"));
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                open.lock().expect("whole").extend([near, far]);
            }
        });
        wire
    }

    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        for stream in self.open.lock().expect("whole").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}
