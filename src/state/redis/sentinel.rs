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
        asked.spawn(async move {
            let answer = timeout(PATIENCE, ask(&connector, &node, &service)).await;
            answer.unwrap_or_else(|_| Err(Fault::slow(PATIENCE)))
        });
    }
    let mut latest: Option<(u64, Address)> = None;
    let mut why = Fault::new("nobody was asked");
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok((epoch, address))) if latest.as_ref().is_none_or(|(known, _)| epoch > *known) => {
                latest = Some((epoch, address));
            }
            Ok(Ok(_)) | Err(_) => {}
            Ok(Err(fault)) => why = fault,
        }
    }
    let none = || Fault::new(format!("no Sentinel names the master of `{service}`: {}", why.text));
    latest.map(|(_, address)| address).ok_or_else(none)
}

/// The epoch of the last failover, and the master since.
async fn ask(connector: &Connector, node: &Address, service: &str) -> Result<(u64, Address), Fault> {
    let mut connection = connector.sentinel(node).await?;
    let mut command = cmd("SENTINEL");
    command.arg("MASTER").arg(service);
    let answer = connection.req_packed_command(&command).await.map_err(|error| Fault::from(&error))?;
    let fields: Vec<String> = redis::from_redis_value(answer).unwrap_or_default();
    let of = |wanted: &str| {
        let mut pairs = fields.chunks_exact(2);
        pairs.find_map(|pair| match pair {
            [name, value] if name == wanted => Some(value.as_str()),
            _ => None,
        })
    };
    let read =
        || Some((of("config-epoch")?.parse().ok()?, (of("ip")?.to_owned(), of("port")?.parse().ok()?)));
    read().ok_or_else(|| Fault::new("its answer can't be read; is it a Sentinel?"))
}
