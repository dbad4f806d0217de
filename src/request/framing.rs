//! How the message is framed, read from the bytes of the header section themselves.
//!
//! The HTTP parser tidies up (it drops a `Content-Length` beside `Transfer-Encoding`, takes LF for CRLF), so these
//! checks look at what was on the wire. See RFC 9112 §6 and the request-smuggling advisories in `docs/threats.md`.

use http::{HeaderMap, header};
use memchr::{memchr, memchr_iter};

use super::Unreadable;

/// How long the body is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// No body.
    None,
    /// A body of this many bytes, above zero.
    Known(u64),
    /// A body whose length is not told: chunked, or in the frames of HTTP/2.
    Chunked,
}

/// Checks the raw header section of an HTTP/1 request, from the request line to the empty line.
///
/// # Errors
/// The first way in which the framing has two readings.
pub fn read(section: &[u8]) -> Result<BodyLength, Unreadable> {
    let mut length = None;
    let mut chunked = false;
    let mut start = 0;
    let mut lines = memchr_iter(b'\n', section).map(|end| end + 1).chain([section.len()]).filter_map(|end| {
        let line = section.get(start..end).filter(|line| !line.is_empty());
        start = end;
        line
    });
    // The request line's own parts are checked elsewhere; its line ending counts here.
    if let Some(line) = lines.next() {
        without_crlf(line)?;
    }
    for line in lines {
        let line = without_crlf(line)?;
        let Some(colon) = memchr(b':', line) else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.replace(decimal(value)?).is_some() {
                return Err(Unreadable::BadContentLength);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Unreadable::BadTransferEncoding);
            }
            chunked = true;
        }
    }
    match (length, chunked) {
        (Some(_), true) => Err(Unreadable::LengthAndTransferEncoding),
        (None, true) => Ok(BodyLength::Chunked),
        (Some(0) | None, false) => Ok(BodyLength::None),
        (Some(bytes), false) => Ok(BodyLength::Known(bytes)),
    }
}

/// The same for HTTP/2, whose frames say where a body ends (RFC 9113 §8.1.1); `body_follows` where the header section
/// did not end the stream.
///
/// # Errors
/// The first way in which the framing has two readings, for this hop or for one in HTTP/1 behind it.
pub fn of_fields(headers: &HeaderMap, body_follows: bool) -> Result<BodyLength, Unreadable> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Unreadable::BadTransferEncoding);
    }
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = values.next().map(|value| decimal(value.as_bytes())).transpose()?;
    if values.next().is_some() {
        return Err(Unreadable::BadContentLength);
    }
    match (length, body_follows) {
        (None | Some(0), false) | (Some(0), true) => Ok(BodyLength::None),
        (None, true) => Ok(BodyLength::Chunked),
        (Some(bytes), true) => Ok(BodyLength::Known(bytes)),
        (Some(_), false) => Err(Unreadable::BadContentLength),
    }
}

fn without_crlf(line: &[u8]) -> Result<&[u8], Unreadable> {
    match line.strip_suffix(b"\n") {
        // A carriage return anywhere but right before the line feed is a second line to some readers.
        Some(rest) => match rest.strip_suffix(b"\r") {
            Some(text) if memchr(b'\r', text).is_none() => Ok(text),
            _ => Err(Unreadable::BareLineFeed),
        },
        None => Ok(line),
    }
}

/// A decimal without sign, blank, list or superfluous zero: `0`, `5`, but neither `005` nor `5, 5`.
fn decimal(value: &[u8]) -> Result<u64, Unreadable> {
    let plain = !value.is_empty()
        && value.iter().all(u8::is_ascii_digit)
        && (value.len() == 1 || !value.starts_with(b"0"));
    if !plain {
        return Err(Unreadable::BadContentLength);
    }
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(Unreadable::BadContentLength)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(headers: &str) -> Result<BodyLength, Unreadable> {
        read(format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n").as_bytes())
    }

    #[test]
    fn one_reading_only() {
        assert_eq!(framing(""), Ok(BodyLength::None));
        assert_eq!(framing("Content-Length: 0\r\n"), Ok(BodyLength::None));
        assert_eq!(framing("content-length: 12\r\n"), Ok(BodyLength::Known(12)));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Ok(BodyLength::Chunked));
    }

    #[test]
    fn smuggling_shapes_are_refused() {
        use Unreadable::*;
        for (headers, expected) in [
            ("Content-Length: 5\r\nContent-Length: 5\r\n", BadContentLength),
            ("Content-Length: 5, 5\r\n", BadContentLength),
            ("Content-Length: 005\r\n", BadContentLength),
            ("Content-Length: +5\r\n", BadContentLength),
            ("Content-Length:\r\n", BadContentLength),
            ("Content-Length: 99999999999999999999\r\n", BadContentLength),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", LengthAndTransferEncoding),
            ("Transfer-Encoding: gzip, chunked\r\n", BadTransferEncoding),
            ("Transfer-Encoding: chunked, chunked\r\n", BadTransferEncoding),
            ("Transfer-Encoding: ,chunked\r\n", BadTransferEncoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", BadTransferEncoding),
            ("Transfer-Encoding: xchunked\r\n", BadTransferEncoding),
            ("X: y\n", BareLineFeed),
            ("X: y\rZ: w\r\n", BareLineFeed),
        ] {
            assert_eq!(framing(headers), Err(expected), "{headers:?}");
        }
    }
}
