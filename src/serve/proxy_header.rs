//! The PROXY protocol (HAProxy's specification, versions 1 and 2): who a load balancer says is behind a connection.

use std::io;
use std::net::IpAddr;

use ppp::{HeaderResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest header of version 1, with its line end (§2.1).
const LONGEST_TEXT: usize = 107;
/// The longest header of version 2 that is read: addresses take up to 216 bytes, the rest is for extensions.
const LONGEST_BINARY: usize = 2_048;
/// Both versions have at least this many bytes; it is the length of version 2's signature (§2.2).
const SIGNATURE: usize = 12;
/// Version 2's fixed part, which ends with the length of the rest.
const FIXED_PART: usize = 16;

/// Who opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A client at this address.
    Client(IpAddr),
    /// Somebody of whom the load balancer does not know an address.
    Unknown,
    /// The load balancer itself, such as for a health check (`LOCAL`).
    Itself,
}

/// Reads a header and not one byte more. To be called with a time limit.
///
/// # Errors
/// It is malformed or too long, or the connection ended.
pub async fn read<S: AsyncRead + Unpin + Send + ?Sized>(stream: &mut S) -> io::Result<Source> {
    let mut header = vec![0; SIGNATURE];
    stream.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        read_binary(stream, &mut header).await?;
    } else {
        read_text(stream, &mut header).await?;
    }
    source(&header).ok_or_else(malformed)
}

async fn read_binary<S: AsyncRead + Unpin + Send + ?Sized>(
    stream: &mut S,
    header: &mut Vec<u8>,
) -> io::Result<()> {
    header.resize(FIXED_PART, 0);
    stream.read_exact(header.get_mut(SIGNATURE..).ok_or_else(malformed)?).await?;
    let length = match header.as_slice() {
        [.., high, low] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => return Err(malformed()),
    };
    if FIXED_PART + length > LONGEST_BINARY {
        return Err(malformed());
    }
    header.resize(FIXED_PART + length, 0);
    stream.read_exact(header.get_mut(FIXED_PART..).ok_or_else(malformed)?).await.map(drop)
}

/// Reads on to the line's end. Byte by byte, but out of the stream's own buffer.
async fn read_text<S: AsyncRead + Unpin + Send + ?Sized>(
    stream: &mut S,
    header: &mut Vec<u8>,
) -> io::Result<()> {
    if !header.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        return Err(malformed());
    }
    while !header.ends_with(b"\r\n") {
        if header.len() == LONGEST_TEXT || header.ends_with(b"\n") {
            return Err(malformed());
        }
        header.push(stream.read_u8().await?);
    }
    Ok(())
}

fn source(header: &[u8]) -> Option<Source> {
    let address = match HeaderResult::parse(header) {
        HeaderResult::V1(header) => match header.ok()?.addresses {
            v1::Addresses::Tcp4(addresses) => IpAddr::from(addresses.source_address),
            v1::Addresses::Tcp6(addresses) => IpAddr::from(addresses.source_address),
            v1::Addresses::Unknown => return Some(Source::Unknown),
        },
        HeaderResult::V2(header) => match header.ok()? {
            // Whatever addresses it has are to be ignored.
            v2::Header { command: v2::Command::Local, .. } => return Some(Source::Itself),
            v2::Header { addresses: v2::Addresses::IPv4(addresses), .. } => addresses.source_address.into(),
            v2::Header { addresses: v2::Addresses::IPv6(addresses), .. } => addresses.source_address.into(),
            v2::Header { addresses: v2::Addresses::Unix(_) | v2::Addresses::Unspecified, .. } => {
                return Some(Source::Unknown);
            }
        },
    };
    Some(Source::Client(address.to_canonical()))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the PROXY header is malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(mut bytes: &[u8]) -> (Option<Source>, usize) {
        let source = read(&mut bytes).await.ok();
        (source, bytes.len())
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, rest].concat()
    }

    #[tokio::test]
    async fn good_headers_are_read_and_nothing_behind_them() {
        let client = |text: &str| Source::Client(text.parse().expect("address"));
        let four = [192, 0, 2, 7, 10, 0, 0, 1, 0xd4, 0x31, 0x01, 0xbb];
        let mut six = [0u8; 36];
        six[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>().expect("address").octets());
        let with_extension = [&four[..], &[0x04, 0, 2, 0, 0]].concat();
        let cases: [(Vec<u8>, Source); 9] = [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n".to_vec(), client("192.0.2.7")),
            (b"PROXY TCP6 2001:db8::7 ::1 56324 443\r\n".to_vec(), client("2001:db8::7")),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 56324 443\r\n".to_vec(), client("192.0.2.7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Source::Unknown),
            (binary(0x21, 0x11, &four), client("192.0.2.7")),
            (binary(0x21, 0x21, &six), client("2001:db8::7")),
            (binary(0x21, 0x11, &with_extension), client("192.0.2.7")),
            (binary(0x20, 0x00, &[]), Source::Itself),
            (binary(0x21, 0x00, &[]), Source::Unknown),
        ];
        for (header, expected) in cases {
            let bytes = [&header[..], b"GET / HTTP/1.1"].concat();
            assert_eq!(read_all(&bytes).await, (Some(expected), 14), "{header:?}");
        }
    }

    #[tokio::test]
    async fn everything_else_is_refused() {
        let long = format!("PROXY TCP4 192.0.2.7 10.0.0.1 56324 443{}\r\n", " ".repeat(70));
        let cases: [Vec<u8>; 13] = [
            Vec::new(),
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.777 10.0.0.1 56324 443\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 ::1 56324 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 99999\r\n".to_vec(),
            b"proxy TCP4 192.0.2.7 10.0.0.1 56324 443\r\n".to_vec(),
            long.into_bytes(),
            binary(0x11, 0x11, &[0; 12]),
            binary(0x22, 0x11, &[0; 12]),
            binary(0x21, 0x11, &[0; 4]),
            binary(0x21, 0x11, &vec![0; 4_000]),
            binary(0x21, 0x11, &[0; 12])[..20].to_vec(),
        ];
        for header in cases {
            assert_eq!(read_all(&header).await.0, None, "{}", String::from_utf8_lossy(&header));
        }
    }
}
