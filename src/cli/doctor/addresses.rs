//! The addresses of this network namespace, as the kernel lists them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses that are not loopback, or `None` where the kernel does not tell.
pub fn own() -> Option<Vec<IpAddr>> {
    let four = std::fs::read_to_string("/proc/net/fib_trie").ok()?;
    // Not there where IPv6 is off.
    let six = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let mut found: Vec<IpAddr> = version_4(&four).into_iter().map(IpAddr::V4).collect();
    found.extend(version_6(&six).into_iter().map(IpAddr::V6));
    found.sort_unstable();
    found.dedup();
    found.retain(|address| !address.is_loopback());
    Some(found)
}

/// Local addresses of the routing trie: `|-- 10.0.0.5`, and `/32 host LOCAL` on the line behind.
fn version_4(text: &str) -> Vec<Ipv4Addr> {
    let (mut found, mut last) = (Vec::new(), None);
    for line in text.lines().map(str::trim) {
        if let Some(leaf) = line.strip_prefix("|-- ") {
            last = leaf.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(last);
        }
    }
    found
}

/// One line for each: 32 digits, index, prefix, scope, flags, name. Those of one link alone (`fe80::`) are left out: nobody
/// beyond the link reaches them, and what listens there listens on the others too.
fn version_6(text: &str) -> Vec<Ipv6Addr> {
    let parsed = text.lines().filter_map(|line| {
        let digits = line.split_whitespace().next().filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from)
    });
    parsed.filter(|address| !address.is_unicast_link_local()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIE: &str = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 10.1.0.0/24 2 0 2\n        |-- 10.1.0.0\n           /24 link UNICAST\n        |-- 10.1.0.5\n           /32 host LOCAL\n        |-- 10.1.0.255\n           /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";

    #[test]
    fn local_addresses_are_found_and_no_networks() {
        assert_eq!(
            version_4(TRIE),
            ["10.1.0.5".parse::<Ipv4Addr>().expect("an address"), Ipv4Addr::LOCALHOST]
        );
    }

    #[test]
    fn addresses_of_one_link_are_left_out() {
        let text = "fe800000000000000000000000000001 02 40 20 80     eth0\nfd000000000000000000000000000005 02 40 00 80     eth0\nodd\n";
        assert_eq!(version_6(text), ["fd00::5".parse::<Ipv6Addr>().expect("an address")]);
    }
}
