//! Which server is the master, as the Sentinels know it.

use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::cmd;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::fault::Fault;
use super::link::Connector;

/// How long a Sentinel is waited for. They are asked at the same time.
const PATIENCE: Duration = Duration::from_secs(1);

/// A server's address.
pub(super) type Address = (String, u16);

/// Asks every Sentinel for the master; where they differ, whoever knows of the latest failover is right. A Sentinel
/// that was cut off with an old master still names it.
pub(super) async fn master(connector: &Connector, service: &str) -> Result<Address, Fault> {
    let mut asked = JoinSet::new();
    for node in connector.sentinels() {
        let (connector, service) = (connector.clone(), service.to_owned());
        asked.spawn(async move { timeout(PATIENCE, ask(&connector, &node, &service)).await.ok().flatten() });
    }
    let mut latest: Option<(u64, Address)> = None;
    let mut answers = 0;
    while let Some(answer) = asked.join_next().await {
        let Ok(Some((epoch, address))) = answer else { continue };
        answers += 1;
        if latest.as_ref().is_none_or(|(known, _)| epoch > *known) {
            latest = Some((epoch, address));
        }
    }
    latest.map(|(_, address)| address).ok_or_else(|| {
        debug_assert!(answers == 0, "an answer is kept");
        Fault::new(format!(
            "no Sentinel names a master called `{service}`; check `state.redis.urls` and `service`"
        ))
    })
}

/// The epoch of the last failover, and the master since.
async fn ask(connector: &Connector, node: &Address, service: &str) -> Option<(u64, Address)> {
    let mut connection = connector.sentinel(node).await.ok()?;
    let mut command = cmd("SENTINEL");
    command.arg("MASTER").arg(service);
    let answer = connection.req_packed_command(&command).await.ok()?;
    let fields: Vec<String> = redis::from_redis_value(answer).ok()?;
    let of = |wanted: &str| {
        let mut pairs = fields.chunks_exact(2);
        pairs.find_map(|pair| match pair {
            [name, value] if name == wanted => Some(value.as_str()),
            _ => None,
        })
    };
    let port = of("port")?.parse().ok()?;
    Some((of("config-epoch")?.parse().ok()?, (of("ip")?.to_owned(), port)))
}
