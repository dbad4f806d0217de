//! Signals: what makes requests riskier whatever their routes say.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;

use super::TierIndex;
use crate::audit::detections::Hours;

/// What a signal watches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watch {
    /// Moments outside these hours.
    Outside(Hours),
    /// Clients in these networks.
    Networks(Vec<IpNet>),
    /// What somebody does more often than this.
    Counted(Counted),
}

/// What is counted of one person, at all gateways together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// What of theirs.
    pub what: Countable,
    /// It fires where there are more.
    pub more_than: usize,
    /// In so long.
    pub span: Duration,
}

/// What can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Countable {
    /// Requests.
    Requests,
    /// Different patients that requests name.
    Patients,
}

/// What it does to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It counts as this tier at least.
    RaiseTo(TierIndex),
    /// It is refused.
    Deny,
}

/// One signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// Its name.
    pub name: Box<str>,
    /// What it watches for.
    pub watch: Watch,
    /// What it does.
    pub effect: Effect,
    /// Whether it does that; else it is only recorded.
    pub is_enforced: bool,
    /// Whether it counts as fired where nobody can tell.
    pub fires_unknown: bool,
    /// The positions of the issuers whose callers it is about; all of them where there are none.
    pub issuers: Vec<usize>,
}

impl Signal {
    /// Whether it is about callers of the issuer at this position.
    pub fn concerns(&self, issuer: usize) -> bool {
        self.issuers.is_empty() || self.issuers.contains(&issuer)
    }

    /// What it counts, where it counts something.
    pub fn counted(&self) -> Option<&Counted> {
        match &self.watch {
            Watch::Counted(counted) => Some(counted),
            Watch::Outside(_) | Watch::Networks(_) => None,
        }
    }

    /// Whether it fires at `now` (Unix seconds) for a client; `None` where that can't be told, as of what has to be counted.
    pub fn fires(&self, now: i64, client: Option<IpAddr>) -> Option<bool> {
        match &self.watch {
            Watch::Outside(hours) => Timestamp::from_second(now).ok().map(|moment| !hours.contains(moment)),
            Watch::Networks(networks) => {
                let client = client?.to_canonical();
                Some(networks.iter().any(|network| network.contains(&client)))
            }
            Watch::Counted(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(watch: Watch) -> Signal {
        Signal {
            name: "test".into(),
            watch,
            effect: Effect::Deny,
            is_enforced: true,
            fires_unknown: true,
            issuers: vec![1],
        }
    }

    #[test]
    fn networks_hold_addresses_however_they_are_written() {
        let networks = ["203.0.113.0/24", "2001:db8::/32"].map(|text| text.parse().expect("a network"));
        let signal = signal(Watch::Networks(networks.to_vec()));
        for (address, fires) in [
            ("203.0.113.9", true),
            ("::ffff:203.0.113.9", true),
            ("203.0.114.1", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(signal.fires(0, Some(address.parse().expect("an address"))), Some(fires), "{address}");
        }
        assert_eq!(signal.fires(0, None), None);
        assert!(signal.concerns(1) && !signal.concerns(0));
    }

    #[test]
    fn hours_are_those_of_the_place() {
        let (from, until) = Hours::read_times("06:00-22:00").expect("times");
        let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].iter();
        let days = days.filter_map(|day| Hours::read_day(day)).collect();
        let zone = jiff::tz::TimeZone::get("America/Chicago").expect("a zone");
        let signal = signal(Watch::Outside(Hours { from, until, days, zone }));
        let at = |moment: &str| moment.parse::<Timestamp>().expect("a moment").as_second();
        // Chicago is six hours behind in winter.
        assert_eq!(signal.fires(at("2026-11-23T12:00:00Z"), None), Some(false));
        assert_eq!(signal.fires(at("2026-11-23T11:59:59Z"), None), Some(true));
        assert_eq!(signal.fires(i64::MAX, None), None, "no such moment");
    }
}
