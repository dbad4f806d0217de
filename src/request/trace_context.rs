//! The trace a request belongs to (W3C Trace Context, Recommendation of 23 November 2021).

use http::HeaderMap;

/// The header that names a trace and the span that called.
pub const TRACEPARENT: &str = "traceparent";
/// The header with what tracing vendors add to it.
pub const TRACESTATE: &str = "tracestate";

/// The sampled flag (§3.2.2.5).
const SAMPLED: u8 = 1;
/// The length of a version-00 `traceparent`.
const LENGTH: usize = 55;
/// The most members of a `tracestate` (§3.3.1.1).
const MAX_MEMBERS: usize = 32;
/// More than the 512 characters that §3.3.1.5 asks to pass on is dropped.
const MAX_STATE: usize = 512;

/// A position in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never all zeros.
    pub trace_id: [u8; 16],
    /// The span that made the call; never all zeros.
    pub span_id: [u8; 8],
    /// Whether the caller records it.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads `traceparent`; `None` where there is none, several, or one that is invalid.
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(value.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let mut parts = known.split('-');
        let [version] = bytes(parts.next()?)?;
        let trace_id: [u8; 16] = bytes(parts.next()?)?;
        let span_id: [u8; 8] = bytes(parts.next()?)?;
        let [flags] = bytes(parts.next()?)?;
        // Later versions may go on behind another dash (§3.2.4); version ff does not exist.
        let ends_well = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let valid = parts.next().is_none() && ends_well && trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self { trace_id, span_id, sampled: flags & SAMPLED != 0 })
    }

    /// The header's value, in version 00.
    pub fn to_header(self) -> String {
        let mut text = String::with_capacity(LENGTH);
        text.push_str("00-");
        push_hex(&self.trace_id, &mut text);
        text.push('-');
        push_hex(&self.span_id, &mut text);
        text.push('-');
        push_hex(&[u8::from(self.sampled)], &mut text);
        text
    }
}

/// Whether what stands in `tracestate` may be passed on (§3.3.1); without the header it may.
pub fn is_valid_state(headers: &HeaderMap) -> bool {
    let mut keys: Vec<&str> = Vec::new();
    let mut length = 0usize;
    for value in headers.get_all(TRACESTATE) {
        let Ok(value) = value.to_str() else { return false };
        length += value.len() + 1;
        for member in value.split(',').map(|member| member.trim_matches([' ', '\t'])) {
            if member.is_empty() {
                continue;
            }
            let Some((key, value)) = member.split_once('=') else { return false };
            if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() >= MAX_MEMBERS {
                return false;
            }
            keys.push(key);
        }
    }
    length <= MAX_STATE + 1
}

fn is_key(key: &str) -> bool {
    let begins = key.starts_with(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    let rest = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@')
    };
    begins && key.len() <= 256 && key.bytes().all(rest)
}

fn is_value(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= 256
        && value.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b',' && byte != b'=')
}

/// Lower-case hexadecimal of exactly the right length.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != N * 2 {
        return None;
    }
    let mut read = [0; N];
    let mut digits = text.bytes();
    for byte in &mut read {
        *byte = digit(digits.next()?)? << 4 | digit(digits.next()?)?;
    }
    Some(read)
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_hex(bytes, &mut text);
    text
}

/// Done for every request, and so without the formatting machinery.
fn push_hex(bytes: &[u8], text: &mut String) {
    let digit = |half: u8| char::from(if half < 10 { b'0' + half } else { b'a' + half - 10 });
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(values: &[&str]) -> Option<TraceContext> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, value.parse().expect("value"));
        }
        TraceContext::read(&headers)
    }

    fn state_is_valid(values: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACESTATE, value.parse().expect("value"));
        }
        is_valid_state(&headers)
    }

    #[test]
    fn reads_what_it_writes() {
        let context = read(&[VALID]).expect("valid");
        assert!(context.sampled);
        assert_eq!(context.to_header(), VALID);
        let later = read(&["cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-what-the-future-holds"]);
        assert!(later.is_some_and(|context| !context.sampled));
    }

    #[test]
    fn everything_else_is_no_trace() {
        for value in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033-0100",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00more",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        ] {
            assert_eq!(read(&[value]), None, "{value}");
        }
        assert_eq!(read(&[VALID, VALID]), None, "twice");
    }

    #[test]
    fn a_state_is_whole_or_nothing() {
        assert!(state_is_valid(&[]));
        assert!(state_is_valid(&["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "fw529a3039@dt=x , a=b"]));
        let many = (0..33).map(|at| format!("k{at}=v")).collect::<Vec<_>>().join(",");
        let long = format!("a={}", "x".repeat(256));
        for value in ["a", "A=b", "a=", "a=b=c", "a=1,a=2", "a=\t1", &many, &format!("{long}1")] {
            assert!(!state_is_valid(&[value]), "{value}");
        }
        assert!(state_is_valid(&[&long]));
        assert!(!state_is_valid(&[&long, &format!("b{long}")]), "more than is passed on");
    }
}
