//! Open connections to Redis, and how they are made.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
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

/// How long a connection may take to open, with TLS and sign-in.
const OPENS_WITHIN: Duration = Duration::from_secs(2);
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
}

impl Connector {
    pub(super) fn new(settings: Arc<RedisSettings>) -> Self {
        Self { settings }
    }

    /// Opens connections; secrets and certificates are read anew each time, so that a changed one is taken.
    pub(super) async fn connect(&self) -> Result<Link, Fault> {
        let password = read_secret(self.settings.password_file.as_deref())?;
        let writers = if self.settings.min_replicas == 0 { 1 } else { WRITERS };
        let opened = match &self.settings.topology {
            RedisTopology::Standalone => {
                let node = self.settings.nodes.first().cloned().unwrap_or_default();
                self.single(node, None, password, writers).await?
            }
            RedisTopology::Sentinel { service } => {
                let master = sentinel::master(self, service).await?;
                self.single(master.clone(), Some(master), password, writers).await?
            }
            RedisTopology::Cluster => {
                let client = self.cluster(password.as_deref())?;
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
        writers: usize,
    ) -> Result<Link, Fault> {
        let user = self.settings.username.as_deref();
        let client = self.client(&node, user, password.as_deref(), self.settings.database)?;
        let mut wires = Vec::new();
        for _ in 0..=writers {
            wires.push(Wire::Single(open(&client).await?));
        }
        let run = match wires.first_mut() {
            Some(wire) => run_id(wire).await?,
            None => "".into(),
        };
        Link::of(wires, run, master)
    }

    /// The Sentinels' addresses.
    pub(super) fn sentinels(&self) -> Vec<Address> {
        self.settings.nodes.clone()
    }

    /// Opens a connection to a Sentinel.
    pub(super) async fn sentinel(&self, node: &Address) -> Result<MultiplexedConnection, Fault> {
        let password = read_secret(self.settings.sentinel_password_file.as_deref())?;
        let user = self.settings.sentinel_username.as_deref();
        open(&self.client(node, user, password.as_deref(), 0)?).await
    }

    fn client(
        &self,
        node: &Address,
        user: Option<&str>,
        password: Option<&str>,
        database: i64,
    ) -> Result<Client, Fault> {
        let info = self.info(node, user, password, database)?;
        let client = match self.certificates()? {
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

    fn cluster(&self, password: Option<&str>) -> Result<ClusterClient, Fault> {
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
        if let Some(certificates) = self.certificates()? {
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

    /// The authority that vouches for the servers; without one the system's do.
    fn certificates(&self) -> Result<Option<TlsCertificates>, Fault> {
        let Some(path) = self.settings.ca_file.as_deref().filter(|_| self.settings.tls) else {
            return Ok(None);
        };
        let pem = std::fs::read(path)
            .map_err(|error| Fault::new(format!("`{}` can't be read: {error}", path.display())))?;
        Ok(Some(TlsCertificates { client_tls: None, root_cert: Some(pem) }))
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
    line.map(|id| id.trim().into())
        .filter(|id: &Box<str>| !id.is_empty())
        .ok_or_else(|| Fault::new("it does not tell its `run_id`; allow its user `INFO`"))
}

fn read_secret(path: Option<&std::path::Path>) -> Result<Option<String>, Fault> {
    let Some(path) = path else { return Ok(None) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Fault::new(format!("`{}` can't be read: {error}", path.display())))?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}
