//! Unit tests of how answers are cleaned.

use super::*;

fn response(status: u16, headers: &[(&'static str, &str)]) -> ResponseHeader {
    let mut response = ResponseHeader::build(status, None).expect("a response");
    for (name, value) in headers {
        response.append_header(*name, *value).expect("a header");
    }
    response
}

#[test]
fn trailers_keep_what_grpc_says_and_nothing_of_the_gateways() {
    let mut trailers = HeaderMap::new();
    for name in ["grpc-status", "grpc-message", "x-wardgate-decision", "connection", "transfer-encoding"] {
        trailers.insert(name, "0".parse().expect("a value"));
    }
    prepare_trailers(&mut trailers);
    let left: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(trailers.contains_key("grpc-status") && trailers.contains_key("grpc-message"));
}

#[test]
fn heads_have_a_size() {
    let half = "x".repeat(RESPONSE_HEADER_BYTES / 2);
    assert!(prepare_response(&mut response(200, &[("x-a", &half)]), false).is_ok());
    let too_much = prepare_response(&mut response(200, &[("x-a", &half), ("x-b", &half)]), false);
    assert_eq!(too_much, Err(UpstreamFault::Broken));
}
