//! What the servers say of themselves and let the gateway do, looked at once for an operator.
//!
//! Rights are found by use: each command that the gateway needs is tried on keys of this look's own, which go by themselves
//! after ten seconds. The rules of an ACL can be asked for only by those who may change them.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, Value, cmd};
use tokio::time::timeout;

use super::fault::Fault;
use super::link::{Connector, Link, OPENS_WITHIN};
use super::names::Names;
use super::sentinel::{self, Address};
use crate::config::settings::{RedisSettings, RedisTopology};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Each Sentinel, and what is wrong with it.
    pub sentinels: Vec<(String, Option<String>)>,
    /// Each server that is used: the one, the master, or the configured ones of a cluster.
    pub servers: Vec<(String, Result<Server, String>)>,
    /// What the gateway may do there.
    pub use_of_it: Result<Use, String>,
}

/// What a server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// The fields of `INFO`.
    pub info: BTreeMap<String, String>,
    /// `save` of its configuration; `None` where the gateway's user may not ask, which it need not.
    pub save: Option<String>,
    /// Its clock less this machine's, in seconds.
    pub ahead: Option<i64>,
}

/// What the gateway may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The commands that its user may not run.
    pub forbidden: Vec<&'static str>,
    /// The commands that failed otherwise, and why.
    pub failed: Vec<(&'static str, String)>,
    /// So many replicas have confirmed a write in time.
    pub confirmed: Option<i64>,
    /// Whether announcements of revocations can be heard.
    pub hears: Result<(), String>,
}

/// Looks at the servers that the configuration names.
pub async fn survey(settings: &RedisSettings) -> Survey {
    let settings = Arc::new(settings.clone());
    let connector = Connector::new(Arc::clone(&settings));
    let (mut sentinels, mut nodes) = (Vec::new(), settings.nodes.clone());
    if let RedisTopology::Sentinel { service } = &settings.topology {
        for node in &settings.nodes {
            let trouble = connector.sentinel(node).await.err();
            sentinels.push((shown(node), trouble.map(|fault| fault.text)));
        }
        nodes = sentinel::master(&connector, service).await.into_iter().collect();
    }
    if settings.topology == RedisTopology::Standalone {
        nodes.truncate(1);
    }
    let mut servers = Vec::new();
    for node in &nodes {
        servers.push((shown(node), server(&connector, node).await.map_err(|fault| fault.text)));
    }
    let use_of_it = match connector.connect().await {
        Ok(link) => Ok(try_all(&connector, &link, &settings).await),
        Err(fault) => Err(fault.text),
    };
    Survey { sentinels, servers, use_of_it }
}

fn shown((host, port): &Address) -> String {
    format!("{host}:{port}")
}

async fn server(connector: &Connector, node: &Address) -> Result<Server, Fault> {
    let mut connection = connector.server(node).await?;
    let text: String = ask(&mut connection, &cmd("INFO")).await?;
    let fields = text.lines().filter_map(|line| line.trim_end().split_once(':'));
    let info = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let ours = jiff::Timestamp::now().as_second();
    let time = ask::<(i64, i64)>(&mut connection, &cmd("TIME")).await;
    let mut asked = cmd("CONFIG");
    asked.arg("GET").arg("save");
    let save = ask::<Vec<String>>(&mut connection, &asked).await.ok().and_then(|pair| pair.get(1).cloned());
    Ok(Server { info, save, ahead: time.ok().map(|(seconds, _)| seconds - ours) })
}

async fn ask<T: redis::FromRedisValue>(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
) -> Result<T, Fault> {
    let asked = timeout(OPENS_WITHIN, command.query_async(connection)).await;
    asked.map_err(|_| Fault::slow(OPENS_WITHIN))?.map_err(|error: RedisError| Fault::from(&error))
}

/// Every command of the gateway's, in an order in which each has something to work on.
fn commands(names: &Names) -> Vec<(&'static str, Cmd)> {
    // One slot of a cluster: what is in braces is its tag.
    let [text, hash, set] = names.of_a_look();
    let made = |name: &'static str, arguments: &[&str]| {
        let mut command = cmd(name);
        for argument in arguments {
            command.arg(*argument);
        }
        (name, command)
    };
    vec![
        made("PING", &[]),
        made("TIME", &[]),
        made("SET", &[&text, "1", "PX", "10000"]),
        made("GET", &[&text]),
        made("MGET", &[&text]),
        made("PTTL", &[&text]),
        made("HINCRBY", &[&hash, "1", "1"]),
        made("PEXPIRE", &[&hash, "10000"]),
        made("HGETALL", &[&hash]),
        made("HDEL", &[&hash, "1"]),
        made("ZADD", &[&set, "1", "1"]),
        made("ZREMRANGEBYSCORE", &[&set, "-inf", "0"]),
        made("ZREMRANGEBYRANK", &[&set, "0", "-3"]),
        made("ZCARD", &[&set]),
        made("EVAL", &["return redis.call('GET', KEYS[1])", "1", &text]),
        made("DEL", &[&text, &hash, &set]),
        // Not what an announcement looks like: whoever hears it does nothing.
        made("PUBLISH", &[names.channel(), "look"]),
    ]
}

async fn try_all(connector: &Connector, link: &Link, settings: &RedisSettings) -> Use {
    let names = Names::new(&settings.prefix, 1);
    let (mut forbidden, mut failed) = (Vec::new(), Vec::new());
    for (name, command) in commands(&names) {
        match timeout(OPENS_WITHIN, link.ask::<Value>(&command)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.code() == Some("NOPERM") => forbidden.push(name),
            Ok(Err(error)) => failed.push((name, Fault::from(&error).text)),
            Err(_) => failed.push((name, Fault::slow(OPENS_WITHIN).text)),
        }
    }
    let confirmed = match settings.min_replicas {
        0 => None,
        wanted => {
            let [text, ..] = names.of_a_look();
            let mut write = cmd("SET");
            write.arg(text).arg("1").arg("PX").arg(10_000);
            let written = timeout(OPENS_WITHIN, link.write::<Value>(write, wanted, settings.timeout)).await;
            written.ok().and_then(Result::ok).map(|(_, confirmed)| confirmed)
        }
    };
    let hears = connector.subscribe(link, names.channel(), 0).await.map(|_| ()).map_err(|fault| fault.text);
    Use { forbidden, failed, confirmed, hears }
}
