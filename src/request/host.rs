//! The authority a request is for.

use memchr::memchr;

use super::Unreadable;

/// A host name or address in lower case, without its port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host(Box<str>);

/// The port of a `Host` field value that was read; `None` where it names none.
pub fn port(value: &[u8]) -> Option<u16> {
    split_port(std::str::from_utf8(value).ok()?)?.1.parse().ok()
}

impl Host {
    /// Reads a `Host` field value: `name`, `address` or `[v6]`, with an optional port (RFC 9110 §7.2).
    ///
    /// # Errors
    /// [`Unreadable::BadHost`] for anything else, among it user information, a path, a trailing dot.
    pub fn parse(value: &[u8]) -> Result<Self, Unreadable> {
        let text = std::str::from_utf8(value).map_err(|_| Unreadable::BadHost)?;
        let (name, port) = split_port(text).ok_or(Unreadable::BadHost)?;
        if !port.is_empty() && port.parse::<u16>().is_err() {
            return Err(Unreadable::BadHost);
        }
        if !is_bracketed_address(name) && !is_name(name) {
            return Err(Unreadable::BadHost);
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }

    /// The host in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn split_port(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let name_end = if bytes.first() == Some(&b'[') {
        memchr(b']', bytes)? + 1
    } else {
        memchr(b':', bytes).unwrap_or(bytes.len())
    };
    let (name, rest) = text.split_at_checked(name_end)?;
    match rest.strip_prefix(':') {
        Some(port) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((name, port))
        }
        Some(_) => None,
        None if rest.is_empty() => Some((name, "")),
        None => None,
    }
}

fn is_bracketed_address(name: &str) -> bool {
    name.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
}

fn is_name(name: &str) -> bool {
    let mut label_length = 0;
    for byte in name.bytes() {
        label_length = match byte {
            b'.' if label_length == 0 => return false,
            b'.' => 0,
            _ if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' => label_length + 1,
            _ => return false,
        };
        if label_length > 63 {
            return false;
        }
    }
    label_length > 0 && name.len() <= 253
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_addresses_and_ports() {
        for (value, host) in
            [("Portal.Example:443", "portal.example"), ("127.0.0.1", "127.0.0.1"), ("[::1]:80", "[::1]")]
        {
            assert_eq!(Host::parse(value.as_bytes()).expect(value).as_str(), host);
        }
    }

    #[test]
    fn refuses_everything_else() {
        for value in [
            "", "a/evil", "u@a", "a b", "a.", ".a", "a:", "a:b", "a:99999", "a,b", "[::1", "[x]", "a:80:80",
            "a#b", "*",
        ] {
            assert_eq!(Host::parse(value.as_bytes()), Err(Unreadable::BadHost), "{value}");
        }
        assert_eq!(Host::parse(b"\xff"), Err(Unreadable::BadHost));
    }
}
