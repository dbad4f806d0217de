//! How an answer's body is delimited: what an upstream may say, and what a client can read (RFC 9112 §6).

use http::{Method, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};

use super::reply::UpstreamFault;

/// Leaves an upstream's answer with at most one plain length or one `chunked`.
///
/// # Errors
/// Framing that two readers could take differently, so that the next hop might see the end in another place.
pub fn check_answer(response: &mut ResponseHeader) -> Result<(), UpstreamFault> {
    let mut codings = response.headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (!coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some())
    {
        return Err(UpstreamFault::Broken);
    }
    let mut lengths = response.headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let plain = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
        if !plain || lengths.next().is_some() {
            return Err(UpstreamFault::Broken);
        }
    }
    if response.status.is_informational() || response.status == StatusCode::NO_CONTENT {
        // These have no body whatever they say (RFC 9110 §8.6).
        response.remove_header(&header::CONTENT_LENGTH);
        response.remove_header(&header::TRANSFER_ENCODING);
    }
    Ok(())
}

/// Gives an answer of unknown length the framing that this client can read: chunks, by which it sees whether the answer
/// is whole, or for HTTP/1.0 the connection's end. HTTP/2 has frames of its own.
pub fn suit_client(response: &mut ResponseHeader, request: &RequestHeader) -> pingora::Result<()> {
    match request.version {
        Version::HTTP_2 => return Ok(()),
        Version::HTTP_10 => {
            response.set_version(Version::HTTP_11);
            response.remove_header(&header::TRANSFER_ENCODING);
            return Ok(());
        }
        _ => response.set_version(Version::HTTP_11),
    }
    let framed = response.headers.contains_key(header::TRANSFER_ENCODING)
        || response.headers.contains_key(header::CONTENT_LENGTH);
    let bodiless = request.method == Method::HEAD
        || response.status.is_informational()
        || matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !framed && !bodiless {
        response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> ResponseHeader {
        let mut response = ResponseHeader::build(status, None).expect("a header");
        for (name, value) in headers {
            response.append_header(*name, *value).expect("a header");
        }
        response
    }

    #[test]
    fn framing_with_two_readings_is_broken() {
        for headers in [
            &[("content-length", "5"), ("content-length", "5")][..],
            &[("content-length", "5, 5")],
            &[("content-length", "+5")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        ] {
            assert_eq!(check_answer(&mut answer(200, headers)), Err(UpstreamFault::Broken), "{headers:?}");
        }
        assert_eq!(check_answer(&mut answer(200, &[("content-length", "5")])), Ok(()));
        assert_eq!(check_answer(&mut answer(200, &[("transfer-encoding", "Chunked")])), Ok(()));
        let mut nothing = answer(204, &[("content-length", "5")]);
        assert_eq!(check_answer(&mut nothing), Ok(()));
        assert!(!nothing.headers.contains_key("content-length"));
    }

    #[test]
    fn an_answer_of_unknown_length_is_chunked_where_the_client_knows_chunks() {
        let chunked = |version, bodiless, headers| {
            let mut response = answer(200, headers);
            let mut request =
                RequestHeader::build(if bodiless { "HEAD" } else { "GET" }, b"/", None).expect("a request");
            request.set_version(version);
            suit_client(&mut response, &request).expect("a header");
            response.headers.contains_key("transfer-encoding")
        };
        assert!(chunked(Version::HTTP_11, false, &[]));
        assert!(!chunked(Version::HTTP_11, true, &[]));
        assert!(!chunked(Version::HTTP_11, false, &[("content-length", "5")]));
        assert!(!chunked(Version::HTTP_10, false, &[("transfer-encoding", "chunked")]));
        assert!(!chunked(Version::HTTP_2, false, &[]));
    }
}
