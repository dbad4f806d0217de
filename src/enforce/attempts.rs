//! Counts what somebody tries who has not signed in: by network, and by the account that the request names, the same at
//! every gateway.
//!
//! The network comes first, then what it tries about this account, and what is refused there is counted no further. An
//! account may be tried more often from all networks together than from one: a stranger at one network can't use up what
//! the account's own person has elsewhere.

use std::net::IpAddr;

use super::gate::{Arrival, Gate};
use crate::decision::{Evidence, Lookup, Question, Tried, account};
use crate::policy::anonymous::Attempts;
use crate::request::client;
use crate::telemetry::metrics;

impl Gate {
    /// Counts one attempt. What can't be counted is refused by the decision.
    pub(super) async fn attempts(
        &self,
        question: &Question<'_>,
        arrival: &Arrival<'_>,
        evidence: &Evidence,
    ) -> Lookup<Tried> {
        let limit = question.route.anonymous.as_ref().map(|anonymous| anonymous.attempts);
        let named = evidence.body.as_ref().and_then(|body| account(question, body));
        let named = named.or_else(|| account(question, &crate::decision::BodyReading::Absent));
        let (Some(limit), Some(named)) = (limit, named) else { return Lookup::Unavailable };
        let network = network(arrival.facts.ok().and_then(|facts| facts.client));
        let route = question.route.id.as_ref();
        let (tried, result) = self.tried(limit, route, &network, &named.counted()).await;
        metrics().attempts.with_label_values(&[result]).inc();
        tried
    }

    async fn tried(
        &self,
        limit: Attempts,
        route: &str,
        network: &str,
        account: &str,
    ) -> (Lookup<Tried>, &'static str) {
        // Lengths keep what stands side by side apart. The store digests these names with a key before they leave the process.
        let name = |kind: &str, value: &str| format!("attempts:{kind}:{}:{route}:{value}", route.len());
        let here = format!("{}:{network}:{account}", network.len());
        let counters = [
            (name("network", network), limit.per_network, "network"),
            (name("account-here", &here), limit.more_than, "account"),
            (name("account", account), limit.of_account(), "account"),
        ];
        for (counter, most, result) in counters {
            match self.state.window(&counter, limit.span).await {
                Lookup::Found(count) if count <= most => {}
                Lookup::Found(_) => return (Lookup::Found(Tried::Beyond), result),
                Lookup::Absent | Lookup::Unavailable => return (Lookup::Unavailable, "unavailable"),
            }
        }
        (Lookup::Found(Tried::Within), "within")
    }
}

/// Whose attempts are counted together: one address; of IPv6 one /64, which one customer has as a whole. Those whose
/// address can't be known are one network.
fn network(client: Option<IpAddr>) -> String {
    match client.map(|address| address.to_canonical()) {
        None => "unknown".to_owned(),
        Some(IpAddr::V6(address)) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            client::text(IpAddr::V6(network.into()))
        }
        Some(address) => client::text(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_what_one_customer_has() {
        let of = |address: &str| network(Some(address.parse().expect("an address")));
        assert_eq!(of("192.0.2.7"), of("::ffff:192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(network(None), network(None));
    }
}
