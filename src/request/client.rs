//! Where the client is: the peer's address, or what exact trusted proxies say of it.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

use super::facts::RawRequest;

/// Finds the client's address.
///
/// `X-Forwarded-For` counts only where the peer is trusted, and is read right to left past trusted proxies. `None`
/// means unknown: a trusted peer that sent nothing readable.
pub fn address(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = peer?.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&peer) {
        return Some(peer);
    }
    let values: Vec<&str> =
        headers.get_all("x-forwarded-for").iter().map(|value| value.to_str().unwrap_or("?")).collect();
    let chain: Vec<&str> = values.iter().flat_map(|value| value.split(',')).map(str::trim).collect();
    for hop in chain.iter().rev() {
        let address: IpAddr = hop.parse().ok()?;
        let address = address.to_canonical();
        if !is_trusted(&address) {
            return Some(address);
        }
    }
    None
}

/// An address as text (RFC 5952), written once or twice for every request.
pub fn text(address: IpAddr) -> String {
    let IpAddr::V4(address) = address else {
        return address.to_string();
    };
    let mut text = String::with_capacity("255.255.255.255".len());
    for octet in address.octets() {
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(itoa::Buffer::new().format(octet));
    }
    text
}

/// Whether the client's own connection was encrypted: what a trusted proxy says of it, else the connection itself.
pub fn is_secure(raw: &RawRequest<'_>, trusted: &[IpNet]) -> bool {
    let from_trusted =
        raw.peer.is_some_and(|peer| trusted.iter().any(|network| network.contains(&peer.to_canonical())));
    if !from_trusted {
        return raw.hop.encrypted;
    }
    let mut values = raw.headers.get_all("x-forwarded-proto").iter();
    match values.next() {
        Some(value) => value == "https" && values.next().is_none(),
        None => raw.hop.encrypted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(peer: &str, chain: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in chain {
            headers.append("x-forwarded-for", value.parse().expect("value"));
        }
        let trusted = ["10.0.0.7/32".parse().expect("network"), "10.0.0.8/32".parse().expect("network")];
        address(Some(peer.parse().expect("address")), &headers, &trusted).map(|found| found.to_string())
    }

    #[test]
    fn only_trusted_peers_are_believed() {
        assert_eq!(find("192.0.2.9", &["1.2.3.4"]).as_deref(), Some("192.0.2.9"));
        assert_eq!(find("10.0.0.7", &["6.6.6.6, 1.2.3.4"]).as_deref(), Some("1.2.3.4"));
        assert_eq!(find("10.0.0.7", &["6.6.6.6", "1.2.3.4, 10.0.0.8"]).as_deref(), Some("1.2.3.4"));
    }

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        for address in ["0.0.0.0", "10.0.200.7", "255.255.255.255", "::", "2001:db8::1", "::ffff:1.2.3.4"] {
            let address: IpAddr = address.parse().expect("address");
            assert_eq!(text(address), address.to_string());
        }
    }

    #[test]
    fn unknown_stays_unknown() {
        assert_eq!(find("10.0.0.7", &[]), None);
        assert_eq!(find("10.0.0.7", &["1.2.3.4, unknown"]), None);
    }
}
