//! Active health checks: every server is asked for one path again and again, in the background.

use std::sync::{Arc, Weak};

use http::header;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::servers::Servers;
use super::wire::Wire;
use crate::config::settings::HealthCheckSettings;
use crate::telemetry::metrics;

/// Asks every server of an upstream for as long as they are used.
pub async fn keep_asking(
    connector: Arc<Connector>,
    wire: Weak<Wire>,
    servers: Weak<Servers>,
    settings: Arc<HealthCheckSettings>,
) {
    let mut ticks = tokio::time::interval(settings.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (Some(wire), Some(all)) = (wire.upgrade(), servers.upgrade()) else { return };
        let mut asked = JoinSet::new();
        for server in all.all().iter() {
            let (server, connector, settings) =
                (Arc::clone(server), Arc::clone(&connector), Arc::clone(&settings));
            let peer = wire.peer_for_check(&server, settings.timeout);
            let host = wire.host_for_check(&server);
            asked.spawn(async move {
                let answered =
                    tokio::time::timeout(settings.timeout, ask(&connector, peer?, &settings, &host));
                Some((server, answered.await.is_ok_and(|answer| answer.is_ok_and(|good| good))))
            });
        }
        while let Some(result) = asked.join_next().await {
            if let Ok(Some((server, good))) = result {
                let endpoint = all.endpoint(server.endpoint);
                let word = if good { "good" } else { "bad" };
                metrics().health_checks.with_label_values(&[all.upstream(), endpoint, word]).inc();
                all.checked(&server, good, &settings);
            }
        }
    }
}

/// Asks once, on a connection of its own: that one can be made is a part of the question.
async fn ask(
    connector: &Connector,
    mut peer: HttpPeer,
    settings: &HealthCheckSettings,
    host: &str,
) -> pingora::Result<bool> {
    static ASKED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    peer.group_key ^= ASKED.fetch_add(1, std::sync::atomic::Ordering::Relaxed).rotate_right(20);
    let (mut session, _) = connector.get_http_session(&peer).await?;
    let mut request = RequestHeader::build("GET", settings.path.as_bytes(), Some(3))?;
    request.insert_header(header::HOST, host)?;
    request.insert_header(header::USER_AGENT, "wardgate-health-check")?;
    request.insert_header(header::ACCEPT, "*/*")?;
    session.set_read_timeout(Some(settings.timeout));
    if matches!(session, HttpSession::H2(_)) {
        super::wire::address_h2(&mut request, peer.is_tls())?;
    } else {
        request.insert_header(header::CONNECTION, "close")?;
    }
    session.write_request_header(Box::new(request)).await?;
    session.finish_request_body().await?;
    loop {
        session.read_response_header().await?;
        let status = session.response_header().map_or(0, |response| response.status.as_u16());
        if status >= 200 || status == 101 {
            session.shutdown().await;
            return Ok(settings.expect.iter().any(|(first, last)| (*first..=*last).contains(&status)));
        }
    }
}
