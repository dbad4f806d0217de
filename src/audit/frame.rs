//! A record's line proves by itself that it is whole: its last member is the checksum of everything before it.
//!
//! A checksum finds what a disk does to a record, not what people do: that is the [tree](super::tree)'s.

/// `,"crc":"0123abcd"}`
const CHECKSUM_BYTES: usize = 18;

/// Ends the record that begins at `start` of the buffer, a JSON object, with its checksum (CRC-32 of IEEE 802.3).
pub fn close(buffer: &mut Vec<u8>, start: usize) {
    // The closing brace comes after the checksum.
    buffer.pop();
    let checksum = crc32fast::hash(buffer.get(start..).unwrap_or_default());
    buffer.extend_from_slice(br#","crc":""#);
    buffer.extend_from_slice(&digits(checksum));
    buffer.extend_from_slice(br#""}"#);
}

/// Whether a line, without its end, is a record as it was written.
pub fn is_whole(line: &[u8]) -> bool {
    let Some((record, end)) = line.split_last_chunk::<CHECKSUM_BYTES>() else { return false };
    let digits = digits(crc32fast::hash(record));
    end.strip_prefix(br#","crc":""#).and_then(|end| end.strip_suffix(br#""}"#)) == Some(&digits)
}

/// What every line begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'l> {
    /// Its number.
    pub sequence: u64,
    /// The event's name.
    pub event: &'l str,
}

impl<'l> Head<'l> {
    /// Reads it, without parsing the rest.
    pub fn read(line: &'l [u8]) -> Option<Self> {
        let rest = line.strip_prefix(br#"{"seq":"#)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let sequence = std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()?;
        // Neither the origin nor the time nor the version holds a quote.
        let at = memchr::memmem::find(rest, br#","event":""#)?;
        let event = rest.get(at + br#","event":""#.len()..)?;
        let event = event.get(..memchr::memchr(b'"', event)?)?;
        Some(Self { sequence, event: std::str::from_utf8(event).ok()? })
    }
}

/// When the record of a line was written (RFC 3339), without parsing the rest.
pub fn time(line: &[u8]) -> Option<&str> {
    const BEFORE: &[u8] = br#","time":""#;
    let at = memchr::memmem::find(line, BEFORE)?;
    let time = line.get(at + BEFORE.len()..)?;
    std::str::from_utf8(time.get(..memchr::memchr(b'"', time)?)?).ok()
}

fn digits(checksum: u32) -> [u8; 8] {
    let mut digits = [0; 8];
    for (at, digit) in digits.iter_mut().enumerate() {
        let nibble = (checksum >> (28 - 4 * at)) & 0xf;
        *digit = char::from_digit(nibble, 16).map_or(b'0', |digit| digit as u8);
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<u8> {
        let mut buffer = b"before".to_vec();
        buffer.extend_from_slice(text.as_bytes());
        close(&mut buffer, "before".len());
        buffer.split_off("before".len())
    }

    #[test]
    fn a_record_is_still_json_and_says_when_it_is_damaged() {
        let line = line(r#"{"seq":7,"origin":"o","time":"t","v":1,"event":"stopping"}"#);
        let parsed: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!((parsed["seq"].as_u64(), parsed["crc"].as_str().map(str::len)), (Some(7), Some(8)));
        assert!(is_whole(&line));
        assert_eq!(time(&line), Some("t"));
        assert_eq!(Head::read(&line), Some(Head { sequence: 7, event: "stopping" }));
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut damaged = line.clone();
                damaged[at] ^= 1 << bit;
                assert!(!is_whole(&damaged), "{}", String::from_utf8_lossy(&damaged));
            }
            assert!(!is_whole(&line[..at]));
        }
    }

    #[test]
    fn the_checksum_is_the_one_of_other_tools() {
        // The check value that every catalogue gives for CRC-32: of the digits 1 to 9.
        assert_eq!(digits(crc32fast::hash(b"123456789")), *b"cbf43926");
    }
}
