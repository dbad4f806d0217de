//! What an HTTP/2 request must become before an HTTP/1.1 upstream can read it.

use http::{HeaderValue, Version, header};
use pingora::http::RequestHeader;
use pingora::{ErrorType, OrErr as _};

/// Makes an HTTP/2 request one of HTTP/1.1; others stay as they are.
pub(super) fn from_http2(request: &mut RequestHeader) -> pingora::Result<()> {
    if request.version != Version::HTTP_2 {
        return Ok(());
    }
    let authority = request.uri.authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    if let Some(authority) = authority {
        let authority = authority.or_err(ErrorType::InvalidHTTPHeader, "an authority is ASCII")?;
        request.insert_header(header::HOST, authority)?;
    }
    request.set_version(Version::HTTP_11);
    join_cookies(request)
}

/// Joins the cookies, which HTTP/2 clients may send one by one (RFC 9113 §8.2.3): some servers read the first only.
pub(super) fn join_cookies(request: &mut RequestHeader) -> pingora::Result<()> {
    let mut crumbs = request.headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else {
        return Ok(());
    };
    let mut whole = first.as_bytes().to_vec();
    for crumb in [second].into_iter().chain(crumbs) {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(crumb.as_bytes());
    }
    let whole =
        HeaderValue::from_bytes(&whole).or_err(ErrorType::InvalidHTTPHeader, "cookies are one line")?;
    request.insert_header(header::COOKIE, whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_one_cookie() {
        let parts = http::Request::builder()
            .version(Version::HTTP_2)
            .uri("https://portal.example:8443/a%20b?c")
            .header("cookie", "a=1")
            .header("cookie", "b=2; c=3")
            .header("cookie", "d=4")
            .body(())
            .expect("a request")
            .into_parts()
            .0;
        let mut request = RequestHeader::from(parts);
        from_http2(&mut request).expect("a request");
        assert_eq!(request.version, Version::HTTP_11);
        assert_eq!(request.raw_path(), b"/a%20b?c");
        assert_eq!(request.headers["host"], "portal.example:8443");
        let cookies: Vec<_> = request.headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3; d=4"]);
    }
}
