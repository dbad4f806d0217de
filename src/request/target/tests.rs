//! Request targets: what is taken, what is refused, what each reading sees.

use super::*;

#[test]
fn accepts_and_keeps_every_byte() {
    for raw in ["/", "/a/b?x=1&y=%20", "/a/", "/caf%C3%A9", "/%24everything", "/a?b=c?d", "/a?code=x|y"] {
        let target = Target::parse(raw.as_bytes()).expect(raw);
        assert_eq!(target.raw(), raw);
    }
    let everything = Target::parse(b"/%24everything").expect("one action");
    assert_eq!(everything.path_as(PathReading::STRICT).expect("strict"), "/$everything");
}

#[test]
fn refuses_what_two_servers_could_read_differently() {
    use Unreadable::*;
    let cases: &[(&[u8], Unreadable)] = &[
        (b"admin", NotOriginForm),
        (b"", NotOriginForm),
        (b"*", NotOriginForm),
        (b"?x=1", NotOriginForm),
        (b"%20/x", NotOriginForm),
        (b"http://h/x", NotOriginForm),
        (b"//x", EmptySegment),
        (b"/a//b", EmptySegment),
        (b"/a/../b", DotSegment),
        (b"/a/.", DotSegment),
        (b"/a/..;/x", PathParameter),
        (b"/%2e%2e/x", DotSegment),
        (b"/a%2fb", EncodedDelimiter),
        (b"/a%5Cb", EncodedDelimiter),
        (b"/%252e%252e/x", EncodedDelimiter),
        (b"/1%23/x", EncodedDelimiter),
        (b"/%61dmin", EncodedUnreserved),
        (b"/a%", BadPercentEncoding),
        (b"/a%zz", BadPercentEncoding),
        (b"/a?b=%4", BadPercentEncoding),
        (b"/a\\b", Backslash),
        (b"/a;jsessionid=1", PathParameter),
        (b"/a#b", Fragment),
        (b"/a?b#c", Fragment),
        (b"/a%00.json", ControlCharacter),
        (b"/a%0d%0a", ControlCharacter),
        (b"/a?b=%00", ControlCharacter),
        (b"/%c2%85", ControlCharacter),
        (b"/a b", ForbiddenCharacter),
        ("/caf\u{e9}".as_bytes(), ForbiddenCharacter),
        (b"/%c0%ae", NotUtf8),
        (b"/%ff", NotUtf8),
        (b"/%ef%bc%8e", FoldableCharacter),
        (b"/e%cc%81", FoldableCharacter),
    ];
    for (raw, expected) in cases {
        assert_eq!(Target::parse(raw), Err(*expected), "{}", raw.escape_ascii());
    }
    let deep = "/a".repeat(MAX_SEGMENTS + 1);
    assert_eq!(Target::parse(deep.as_bytes()), Err(TooManySegments));
}

#[test]
fn a_repeated_parameter_has_no_value() {
    let target = Target::parse(b"/a?p=1&q=2&%70=3").expect("readable");
    assert_eq!(target.query_once("p"), None);
    assert_eq!(target.query_once("q").as_deref(), Some("2"));
}

#[test]
fn a_relaxed_reading_sees_what_its_upstream_sees() {
    let strict = PathReading::STRICT;
    let parameters = PathReading { drops_parameters: true, ..strict };
    let latin1 = PathReading { latin1: true, ..strict };
    let insensitive = PathReading { ignores_case: true, ..strict };
    let all = PathReading { ignores_case: true, drops_parameters: true, latin1: true };
    type Seen = Result<&'static str, Unreadable>;
    let cases: &[(&str, PathReading, Seen)] = &[
        ("/a;jsessionid=1/b", strict, Err(Unreadable::PathParameter)),
        ("/a;jsessionid=1/b", parameters, Ok("/a/b")),
        ("/a;x=%20/b", parameters, Ok("/a/b")),
        ("/a/..;/b", parameters, Err(Unreadable::DotSegment)),
        ("/a/;x/b", parameters, Err(Unreadable::EmptySegment)),
        ("/;x", parameters, Ok("/")),
        ("/a;x/%C3%A9", parameters, Ok("/a/\u{e9}")),
        ("/a;x/%E9", parameters, Err(Unreadable::NotUtf8)),
        ("/a;x=%E9/b", parameters, Ok("/a/b")),
        ("/%E9", strict, Err(Unreadable::NotUtf8)),
        ("/%E9", latin1, Ok("/\u{e9}")),
        ("/%C3%A9", latin1, Err(Unreadable::AmbiguousReading)),
        ("/%C3%A9", strict, Ok("/\u{e9}")),
        ("/%92", latin1, Err(Unreadable::ControlCharacter)),
        ("/%AA", latin1, Err(Unreadable::FoldableCharacter)),
        ("/%E9;x", latin1, Err(Unreadable::PathParameter)),
        ("/A/B", insensitive, Ok("/A/B")),
        ("/%C3%89", insensitive, Err(Unreadable::FoldableCharacter)),
        ("/A;x/%E9", all, Ok("/A/\u{e9}")),
    ];
    for (raw, reading, expected) in cases {
        let target = Target::receive(raw.as_bytes()).expect(raw);
        let seen = target.path_as(*reading);
        assert_eq!(seen.as_deref(), expected.as_ref().copied(), "{raw} {reading:?}");
        assert_eq!(target.raw(), *raw);
    }
}

#[test]
fn no_reading_takes_what_is_dangerous_in_all() {
    for raw in ["/a;x/%2e%2e/b", "/a;%2f", "/a;x\\b", "//a;x", "/a%3bx", "/%E9%2e"] {
        let seen = Target::receive(raw.as_bytes()).and_then(|target| {
            let all = PathReading { ignores_case: true, drops_parameters: true, latin1: true };
            target.path_as(all).map(Cow::into_owned)
        });
        assert!(seen.is_err(), "{raw} reads {seen:?}");
    }
}

#[test]
fn a_parameter_beside_one_that_some_server_takes_for_it_has_no_value() {
    let alone = |query: &str| {
        let target = Target::parse(format!("/a?{query}").as_bytes()).expect("readable");
        target.query_alone("patient").map(Cow::into_owned)
    };
    for query in ["patient=p1", "patients=p2&patient=p1", "patient=p1&x=patient", "%70atient=p1"] {
        assert_eq!(alone(query).as_deref(), Some("p1"), "{query}");
    }
    for query in [
        "patient=p1&Patient=p2",
        "patient=p1&+patient=p2",
        "patient=p1&patient[]=p2",
        "patient=p1&patient%5B%5D=p2",
        "patient=p1&patient:Patient=p2",
        "patient=p1&patient:missing=true",
        "patient=p1&patient.identifier=p2",
        "patient=p1&PAT%C4%B0ENT=p2&patient=p2",
        "x=1;patient=p2&patient=p1",
        "patient=p1;patient=p2",
        "Patient=p1",
        "patient[]=p1",
    ] {
        assert_eq!(alone(query), None, "{query}");
    }
}
