//! Open connections to Redis, and how they are made.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo as _, Pipeline, RedisConnectionInfo, RedisError, RedisFuture, TlsCertificates,
    TlsMode, Value,
};

use super::fault::Fault;
use super::sentinel::{self, Address};
use crate::config::settings::{RedisSettings, RedisTopology};
use crate::tls::pem;

/// How long a connection may take to open, with TLS and sign-in.
pub(super) const OPENS_WITHIN: Duration = Duration::from_secs(2);
/// `WAIT` holds up what follows on its connection, so writes that replicas confirm are spread over several.
const WRITERS: usize = 4;

/// One connection; clones share it.
#[derive(Clone)]
pub(super) enum Wire {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// The connections in use.
pub(super) struct Link {
    reader: Wire,
    writers: Vec<Wire>,
    next: AtomicUsize,
    /// The server's `run_id`; a connection never changes its server. Empty in a cluster, which has several.
    pub(super) run: Box<str>,
    /// The server, where Sentinels named it.
    pub(super) master: Option<Address>,
}

impl Link {
    /// Runs a command that changes nothing which must last.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        command.query_async(&mut self.reader.clone()).await
    }

    /// Runs a command and waits until `replicas` have what it wrote; says how many had it within `wait`.
    pub(super) async fn write<T: FromRedisValue>(
        &self,
        command: Cmd,
        replicas: u8,
        wait: Duration,
    ) -> Result<(T, i64), RedisError> {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.writers.len().max(1);
        let mut writer = self.writers.get(at).unwrap_or(&self.reader).clone();
        if replicas == 0 {
            return Ok((command.query_async(&mut writer).await?, 0));
        }
        // Together, so that nothing comes between on this connection: `WAIT` speaks of its own connection's writes.
        let mut both = redis::pipe();
        both.add_command(command);
        // Zero would be for ever.
        both.cmd("WAIT").arg(replicas).arg(u64::try_from(wait.as_millis()).unwrap_or(1).max(1));
        both.query_async(&mut writer).await
    }
}

/// Makes connections as the configuration says.
#[derive(Clone)]
pub(super) struct Connector {
    settings: Arc<RedisSettings>,
    /// Held by who reads files.
    reading: Arc<tokio::sync::Mutex<()>>,
}

/// What is read anew for each connection.
struct Files {
    password: Option<String>,
    certificates: Option<TlsCertificates>,
}

impl Connector {
    pub(super) fn new(settings: Arc<RedisSettings>) -> Self {
        Self { settings, reading: Arc::default() }
    }

    /// Opens connections; secrets and certificates are read anew each time, so that a changed one is taken.
    pub(super) async fn connect(&self) -> Result<Link, Fault> {
        let Files { password, certificates } = self.files(self.settings.password_file.clone()).await?;
        let writers = if self.settings.min_replicas == 0 { 1 } else { WRITERS };
        let opened = match &self.settings.topology {
            RedisTopology::Standalone => {
                let node = self.settings.nodes.first().cloned().unwrap_or_default();
                self.single(node, None, password, certificates, writers).await?
            }
            RedisTopology::Sentinel { service } => {
                let master = sentinel::master(self, service).await?;
                self.single(master.clone(), Some(master), password, certificates, writers).await?
            }
            RedisTopology::Cluster => {
                let client = self.cluster(password.as_deref(), certificates)?;
                let mut wires = Vec::new();
                for _ in 0..=writers {
                    wires.push(Wire::Cluster(self.cluster_wire(&client).await?));
                }
                Link::of(wires, "".into(), None)?
            }
        };
        Ok(opened)
    }

    async fn single(
        &self,
        node: Address,
        master: Option<Address>,
        password: Option<String>,
        certificates: Option<TlsCertificates>,
        writers: usize,
    ) -> Result<Link, Fault> {
        let user = self.settings.username.as_deref();
        let client = self.client(&node, user, password.as_deref(), self.settings.database, certificates)?;
        let mut wires = Vec::new();
        for _ in 0..=writers {
            wires.push(Wire::Single(open(&client).await?));
        }
        let mut run: Option<Box<str>> = None;
        for wire in &mut wires {
            let of_wire = run_id(wire).await?;
            if *run.get_or_insert_with(|| of_wire.clone()) != of_wire {
                let text = "its address leads to more than one server; name one in `state.redis.urls`, or use `topology`";
                return Err(Fault::new(text));
            }
        }
        Link::of(wires, run.unwrap_or_default(), master)
    }

    /// The Sentinels' addresses.
    pub(super) fn sentinels(&self) -> Vec<Address> {
        self.settings.nodes.clone()
    }

    /// Opens a connection to one server, whatever the others are.
    pub(super) async fn server(&self, node: &Address) -> Result<MultiplexedConnection, Fault> {
        let Files { password, certificates } = self.files(self.settings.password_file.clone()).await?;
        let user = self.settings.username.as_deref();
        open(&self.client(node, user, password.as_deref(), 0, certificates)?).await
    }

    /// Opens a connection to a Sentinel.
    pub(super) async fn sentinel(&self, node: &Address) -> Result<MultiplexedConnection, Fault> {
        let Files { password, certificates } =
            self.files(self.settings.sentinel_password_file.clone()).await?;
        let user = self.settings.sentinel_username.as_deref();
        open(&self.client(node, user, password.as_deref(), 0, certificates)?).await
    }

    /// Subscribes to a channel on a connection of its own: at the server that `link` leads to, or at one of a cluster's,
    /// each of which hears everything; another one with another `attempt`.
    pub(super) async fn subscribe(
        &self,
        link: &Link,
        channel: &str,
        attempt: usize,
    ) -> Result<PubSub, Fault> {
        let nodes = &self.settings.nodes;
        let node = link.master.as_ref().or_else(|| nodes.get(attempt % nodes.len().max(1)));
        let node = node.cloned().unwrap_or_default();
        let Files { password, certificates } = self.files(self.settings.password_file.clone()).await?;
        let user = self.settings.username.as_deref();
        let client = self.client(&node, user, password.as_deref(), 0, certificates)?;
        let subscribing = async {
            let mut heard = client.get_async_pubsub().await?;
            heard.subscribe(channel).await?;
            Ok(heard)
        };
        let subscribed = tokio::time::timeout(OPENS_WITHIN, subscribing).await;
        subscribed.map_err(|_| Fault::slow(OPENS_WITHIN))?.map_err(|error: RedisError| Fault::from(&error))
    }

    fn client(
        &self,
        node: &Address,
        user: Option<&str>,
        password: Option<&str>,
        database: i64,
        certificates: Option<TlsCertificates>,
    ) -> Result<Client, Fault> {
        let info = self.info(node, user, password, database)?;
        let client = match certificates {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        };
        client.map_err(|error| Fault::from(&error))
    }

    fn info(
        &self,
        (host, port): &Address,
        user: Option<&str>,
        password: Option<&str>,
        database: i64,
    ) -> Result<ConnectionInfo, Fault> {
        let mut redis = RedisConnectionInfo::default().set_db(database).set_skip_set_lib_name();
        if let Some(user) = user {
            redis = redis.set_username(user);
        }
        if let Some(password) = password {
            redis = redis.set_password(password);
        }
        let (host, port) = (host.clone(), *port);
        let address = if self.settings.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let info = address.into_connection_info().map_err(|error| Fault::from(&error))?;
        Ok(info.set_redis_settings(redis))
    }

    fn cluster(
        &self,
        password: Option<&str>,
        certificates: Option<TlsCertificates>,
    ) -> Result<ClusterClient, Fault> {
        let user = self.settings.username.as_deref();
        let nodes: Result<Vec<_>, _> =
            self.settings.nodes.iter().map(|node| self.info(node, user, password, 0)).collect();
        let mut builder = ClusterClient::builder(nodes?)
            // Only for redirections: each call has a token of its own, so that none is carried out twice.
            .retries(1)
            .connection_timeout(OPENS_WITHIN);
        if self.settings.tls {
            builder = builder.tls(TlsMode::Secure);
        }
        if let Some(certificates) = certificates {
            builder = builder.certs(certificates);
        }
        builder.build().map_err(|error| Fault::from(&error))
    }

    async fn cluster_wire(&self, client: &ClusterClient) -> Result<ClusterConnection, Fault> {
        let config = ClusterConfig::new()
            .set_connection_timeout(OPENS_WITHIN)
            // What nobody waits for any more must not pile up.
            .set_response_timeout(self.settings.timeout.saturating_mul(4));
        let opening = client.get_async_connection_with_config(config);
        let opened = tokio::time::timeout(OPENS_WITHIN, opening).await;
        opened.map_err(|_| Fault::slow(OPENS_WITHIN))?.map_err(|error| Fault::from(&error))
    }

    /// Reads a password, and the authority that vouches for the servers; without one the system's do. Not on the
    /// runtime's threads, since a disk may hang.
    async fn files(&self, password: Option<PathBuf>) -> Result<Files, Fault> {
        let ca = self.settings.ca_file.clone().filter(|_| self.settings.tls);
        let reading = async {
            // One at a time, so that a disk that hangs holds one thread and not more with every attempt.
            let turn = Arc::clone(&self.reading).lock_owned().await;
            let read = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                read_files(password.as_deref(), ca.as_deref())
            });
            read.await.unwrap_or_else(|_| Err(Fault::new("its files can't be read")))
        };
        let slow = || {
            let text = "the files of passwords and certificates can't be read in time; check their disk";
            Err(Fault::new(text))
        };
        tokio::time::timeout(OPENS_WITHIN, reading).await.unwrap_or_else(|_| slow())
    }
}

impl Link {
    fn of(mut wires: Vec<Wire>, run: Box<str>, master: Option<Address>) -> Result<Self, Fault> {
        let reader = wires.pop().ok_or_else(|| Fault::new("no connection was opened"))?;
        Ok(Self { reader, writers: wires, next: AtomicUsize::new(0), run, master })
    }
}

async fn open(client: &Client) -> Result<MultiplexedConnection, Fault> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(OPENS_WITHIN))
        // Each operation has its own limit.
        .set_response_timeout(None);
    let opening = client.get_multiplexed_async_connection_with_config(&config);
    let opened = tokio::time::timeout(OPENS_WITHIN, opening).await;
    opened.map_err(|_| Fault::slow(OPENS_WITHIN))?.map_err(|error| Fault::from(&error))
}

async fn run_id(wire: &mut Wire) -> Result<Box<str>, Fault> {
    let mut info = redis::cmd("INFO");
    info.arg("server");
    let asked = tokio::time::timeout(OPENS_WITHIN, info.query_async::<String>(wire)).await;
    let text = asked.map_err(|_| Fault::slow(OPENS_WITHIN))?.map_err(|error| Fault::from(&error))?;
    let line = text.lines().find_map(|line| line.strip_prefix("run_id:"));
    // Without it nobody would notice a restart.
    line.map(str::trim)
        .filter(|id| !id.is_empty())
        .map(Into::into)
        .ok_or_else(|| Fault::new("it does not tell its `run_id`; allow its user `INFO`"))
}

fn read_files(password: Option<&Path>, ca: Option<&Path>) -> Result<Files, Fault> {
    let read = |path: &Path| {
        pem::read(path).map_err(|unreadable| Fault::new(format!("`{}` {unreadable}", path.display())))
    };
    let password = password.map(|path| -> Result<String, Fault> {
        let text = String::from_utf8(read(path)?)
            .map_err(|_| Fault::new(format!("`{}` is not UTF-8", path.display())))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    });
    let authority = ca.map(read).transpose()?;
    let certificates = authority.map(|pem| TlsCertificates { client_tls: None, root_cert: Some(pem) });
    Ok(Files { password: password.transpose()?, certificates })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To open a pipe would wait for its writer, for ever.
    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let (pipe, file) = (dir.path().join("pipe"), dir.path().join("file"));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        std::fs::write(&file, "secret\n").expect("written");
        for (password, ca) in [(Some(&*pipe), None), (Some(&*file), Some(&*pipe))] {
            let fault = read_files(password, ca).err().expect("refused");
            assert!(fault.text.contains("is not a file"), "{fault:?}");
        }
        let files = read_files(Some(&file), Some(&file)).map_err(|fault| fault.text).expect("read");
        assert_eq!(files.password.as_deref(), Some("secret"));
        assert!(files.certificates.is_some());
    }
}
