//! Framing: where a request ends. Two readings of that are two requests, one of them undecided.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use super::{Bench, Case, Wanted, exchange, forwarded, public, refused, unparsed};

/// What an attacker would like to have read as a request of its own.
const INNER: &str = "GET /admin/smuggled HTTP/1.1\r\nHost: portal.example\r\nX-Remote-User: spoofed\r\n\r\n";

/// A `POST` that is streamed; `rest` begins with headers.
fn post(name: &str, rest: impl AsRef<[u8]>, wanted: Wanted) -> Case {
    let start = b"POST /patients/p1/notes HTTP/1.1\r\nHost: portal.example\r\nAuthorization: $TOKEN\r\nConnection: close\r\n";
    Case::new(name, [start, rest.as_ref()].concat(), wanted)
}

/// A `PUT` whose body is read to classify it.
fn put(name: &str, rest: impl AsRef<[u8]>, wanted: Wanted) -> Case {
    let start = b"PUT /patients/p1/profile HTTP/1.1\r\nHost: portal.example\r\nAuthorization: $TOKEN\r\nConnection: close\r\nContent-Type: application/json\r\n";
    Case::new(name, [start, rest.as_ref()].concat(), wanted)
}

/// A public `GET` with one odd header line.
fn odd(name: &str, line: impl AsRef<[u8]>, wanted: Wanted) -> Case {
    Case::new(name, [b"GET /open/x HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\n", line.as_ref(), b"\r\n\r\n"].concat(), wanted)
}

#[test]
fn lengths() {
    let bad = || refused(400, "bad_content_length");
    Bench::start().run(&[
        post("a plain length", "Content-Length: 2\r\n\r\n{}", forwarded().body(b"{}")),
        post("a length of nothing", "Content-Length: 0\r\n\r\n", forwarded().body(b"")),
        post("blanks around the length", "Content-Length: \t2 \r\n\r\n{}", forwarded().body(b"{}")),
        post("no body and no length", "\r\n", forwarded().body(b"")),
        post("the same length twice", "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", bad()),
        post("two lengths", "Content-Length: 2\r\nContent-Length: 0\r\n\r\n{}", unparsed()),
        post("two lengths, one in capitals", "Content-Length: 2\r\nCONTENT-LENGTH: 2\r\n\r\n{}", bad()),
        post("a list of equal lengths", "Content-Length: 2, 2\r\n\r\n{}", bad()),
        post("a list of lengths", "Content-Length: 2, 0\r\n\r\n{}", unparsed()),
        post("a length with zeros in front", "Content-Length: 002\r\n\r\n{}", bad()),
        post("an octal length", "Content-Length: 010\r\n\r\n{      }", bad()),
        post("a length with a plus", "Content-Length: +2\r\n\r\n{}", unparsed()),
        post("a length with a minus", "Content-Length: -2\r\n\r\n{}", unparsed()),
        post("a hexadecimal length", "Content-Length: 0x2\r\n\r\n{}", unparsed()),
        post("a fractional length", "Content-Length: 2.0\r\n\r\n{}", unparsed()),
        post("an exponent", "Content-Length: 2e0\r\n\r\n{}", unparsed()),
        post("a length with a tail", "Content-Length: 2;x\r\n\r\n{}", unparsed()),
        post("digits of another script", "Content-Length: \u{662}\r\n\r\n{}", unparsed()),
        post("an empty length", "Content-Length:\r\n\r\n", unparsed()),
        post("a length beyond 64 bits", "Content-Length: 18446744073709551618\r\n\r\n{}", unparsed()),
        post("a space before the colon", "Content-Length : 2\r\n\r\n{}", unparsed()),
        post("a tab before the colon", "Content-Length\t: 2\r\n\r\n{}", unparsed()),
        post("a length with an underscore", "Content_Length: 2\r\n\r\n{}", refused(400, "bad_header_name")),
        post("a vertical tab before the length", "Content-Length: \x0b2\r\n\r\n{}", unparsed()),
    ]);
}

#[test]
fn transfer_codings() {
    let bad = || refused(400, "bad_transfer_encoding");
    let both = || refused(400, "length_and_transfer_encoding");
    let te = |value: &str| format!("Transfer-Encoding: {value}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n");
    let mut cases = vec![
        post("chunked", te("chunked"), forwarded().body(b"{}")),
        post("chunked in capitals", te("CHUNKED").to_uppercase(), forwarded().body(b"{}")),
        post("length and coding", format!("Content-Length: 12\r\n{}", te("chunked")), both()),
        post("length and coding, other order", te("chunked").replacen("\r\n", "\r\nContent-Length: 12\r\n", 1), both()),
        post("coding and a short length before a request", format!("Content-Length: 12\r\n{}{INNER}", te("chunked")), both()),
        post("the coding twice", te("chunked\r\nTransfer-Encoding: chunked"), bad()),
        post("two codings in two lines", te("gzip\r\nTransfer-Encoding: chunked"), bad()),
        post("the coding, then identity", te("chunked\r\nTransfer-Encoding: identity"), unparsed()),
        post("a space before the colon of the coding", "Transfer-Encoding : chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", unparsed()),
        post("the coding with an underscore", "Transfer_Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", refused(400, "bad_header_name")),
        post("the coding folded", te("\r\n chunked"), unparsed()),
        post("the coding behind a fold", te("chunked").replacen("Transfer", "X: y\r\n Transfer", 1), unparsed()),
        post("the coding behind a bare LF", te("chunked").replacen("Transfer", "X: y\nTransfer", 1), refused(400, "bare_line_feed")),
        post("the coding behind a bare CR", te("chunked").replacen("Transfer", "X: y\rTransfer", 1), unparsed()),
        post("a length behind a bare LF", te("chunked").replacen("Transfer", "X: y\nContent-Length: 0\r\nTransfer", 1), refused(400, "bare_line_feed")),
        Case::new("the coding with HTTP/1.0", "POST /open/x HTTP/1.0\r\nHost: portal.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", unparsed()),
        post("the coding is nominated away", format!("Connection: transfer-encoding\r\n{}", te("chunked")), forwarded().body(b"{}")),
        post("the length is nominated away", "Connection: content-length\r\nContent-Length: 2\r\n\r\n{}", refused(400, "connection_names_end_to_end")),
    ];
    for value in ["gzip, chunked", "chunked, chunked", ",chunked", " , chunked"] {
        cases.push(post(&format!("coding `{value}`"), te(value), bad()));
    }
    for value in ["chunked,", "xchunked", "chunkedx", "chunked, gzip", "chunked;q=1", "\"chunked\"", "'chunked'", "identity", "", "\x0bchunked", "chun\u{212a}ed", "chunked\0"] {
        cases.push(post(&format!("coding `{}`", value.escape_default()), te(value), Wanted::Refused(400, super::ANY)));
    }
    Bench::start().run(&cases);
}

#[test]
fn chunks() {
    let chunked = |body: &str| format!("Transfer-Encoding: chunked\r\n\r\n{body}");
    let kept = "POST /patients/p1/notes HTTP/1.1\r\nHost: portal.example\r\nAuthorization: $TOKEN\r\n";
    let inner = format!("{:x}\r\n{INNER}\r\n0\r\n\r\n", INNER.len());
    let mut cases = vec![
        post("a request within a chunk", chunked(&inner), forwarded().body(INNER.as_bytes())),
        post("a request behind the last chunk", chunked(&format!("2\r\n{{}}\r\n0\r\n\r\n{INNER}")), forwarded().body(b"{}")),
        post("an extension", chunked("2;a=b\r\n{}\r\n0\r\n\r\n"), forwarded().body(b"{}")),
        post("an extension of the last chunk", chunked("2\r\n{}\r\n0;a=b\r\n\r\n"), forwarded().body(b"{}")),
        post("an extension with a line break in quotes", chunked("2;a=\"\r\n{}\r\n0\r\n\r\n\"\r\n{}\r\n0\r\n\r\n"), forwarded().body(b"{}")),
        // The parser takes no size for a last chunk: the rest is nobody's, and the connection ends.
        post("no size", chunked(&format!("\r\n\r\n{INNER}")), forwarded().body(b"")),
        post("no size but an extension", chunked(&format!(";a\r\n\r\n{INNER}")), forwarded().body(b"")),
        Case::new("no size, on a connection that is kept", format!("{kept}{}", chunked(&format!("\r\n\r\n{INNER}"))), forwarded().body(b"")),
        put("no size, read to classify", chunked(&format!("\r\n\r\n{INNER}")), refused(401, "level_too_low")),
        post("zeros before a size", chunked("0002\r\n{}\r\n0\r\n\r\n"), forwarded().body(b"{}")),
        post("upper-case sizes", chunked("A\r\n0123456789\r\n0\r\n\r\n"), forwarded().body(b"0123456789")),
    ];
    for (name, body) in [
        ("an extension with a bare LF", "2;a\n{}\r\n0\r\n\r\n"),
        ("an extension with a bare CR", "2;a\rb\r\n{}\r\n0\r\n\r\n"),
        ("a size with a bare LF", "2\n{}\r\n0\r\n\r\n"),
        ("a size with 0x", "0x2\r\n{}\r\n0\r\n\r\n"),
        ("a size with a plus", "+2\r\n{}\r\n0\r\n\r\n"),
        ("a size with a minus", "-2\r\n{}\r\n0\r\n\r\n"),
        ("a size with an underscore", "1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
        ("a space before a size", " 2\r\n{}\r\n0\r\n\r\n"),
        ("a size that is no number", "zz\r\n{}\r\n0\r\n\r\n"),
        ("a size beyond 64 bits", "10000000000000002\r\n{}\r\n0\r\n\r\n"),
        ("a size of 64 ones", "ffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        ("more data than the size", "2\r\n{}{}\r\n0\r\n\r\n"),
        ("no line break behind the data", "2\r\n{}0\r\n\r\n"),
        ("a bare LF behind the data", "2\r\n{}\n0\r\n\r\n"),
    ] {
        cases.push(post(name, chunked(body), Wanted::Broken));
        cases.push(put(&format!("{name}, read to classify"), chunked(body), Wanted::Refused(400, "body_incomplete")));
    }
    for (name, field) in [
        ("an identity", "X-Remote-User: spoofed"),
        ("an assertion", "X-Wardgate-Assertion: spoofed"),
        ("a token", "Authorization: Bearer spoofed"),
        ("a length", "Content-Length: 5"),
        ("a host", "Host: spoofed"),
        ("a folded name", "X_Remote_User: spoofed"),
    ] {
        let body = |start: &str, text: &str| format!("{start}{}", chunked(&format!("{:x}\r\n{text}\r\n0\r\n{field}\r\n\r\n", text.len())));
        let trailer = "Trailer: X-Remote-User\r\n";
        cases.push(post(&format!("{name} in a trailer"), body("", "{}"), forwarded().body(b"{}")));
        cases.push(post(&format!("{name} in a declared trailer"), body(trailer, "{}"), forwarded().body(b"{}")));
        let harmless = r#"{"language":"es"}"#;
        cases.push(put(&format!("{name} in a trailer of a body that is read"), body("", harmless), forwarded().body(harmless.as_bytes())));
    }
    Bench::start().run(&cases);
}

#[test]
fn lines_of_the_header_section() {
    let lf = || refused(400, "bare_line_feed");
    Bench::start().run(&[
        odd("an ordinary line", "X-Custom: 1", public().header("x-custom", &["1"])),
        odd("a bare LF at its end", "X-Custom: 1\nX-Other: 2", lf()),
        odd("a bare CR in a value", "X-Custom: 1\rX-Remote-User: spoofed", unparsed()),
        odd("two CRs at the end", "X-Custom: 1\r", unparsed()),
        odd("a fold", "X-Custom: 1\r\n 2", unparsed()),
        odd("a fold with a tab", "X-Custom: 1\r\n\tX-Remote-User: spoofed", unparsed()),
        odd("a line of blanks", "X-Custom: 1\r\n  ", unparsed()),
        odd("a NUL in a value", b"X-Custom: a\0b", unparsed()),
        odd("a DEL in a value", b"X-Custom: a\x7fb", unparsed()),
        odd("an escape in a value", b"X-Custom: a\x1bb", unparsed()),
        odd("no colon", "X-Custom", unparsed()),
        odd("no name", ": 1", unparsed()),
        odd("a space within a name", "X Custom: 1", unparsed()),
        odd("a tab before the colon", "X-Custom\t: 1", unparsed()),
        odd("a NUL in a name", b"X-Cus\0tom: 1", unparsed()),
        odd("Latin-1 in a name", b"X-Caf\xe9: 1", unparsed()),
        odd("UTF-8 in a name", "X-Caf\u{e9}: 1", unparsed()),
        odd("a quoted name", "\"X-Custom\": 1", unparsed()),
        odd("a name with an exclamation mark", "X!Custom: 1", refused(400, "bad_header_name")),
        odd("a name with a dollar", "X$Custom: 1", refused(400, "bad_header_name")),
        odd("a name with a tilde", "~: 1", refused(400, "bad_header_name")),
        Case::new("LF everywhere", "GET /open/x HTTP/1.1\nHost: portal.example\nConnection: close\n\n", lf()),
        Case::new("LF behind the request line", "GET /open/x HTTP/1.1\nHost: portal.example\r\nConnection: close\r\n\r\n", lf()),
        Case::new("LF as the empty line", "GET /open/x HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\n\n", lf()),
        Case::new("a blank in front of the first header", "GET /open/x HTTP/1.1\r\n Host: portal.example\r\n\r\n", unparsed()),
    ]);
}

#[test]
fn requests_behind_and_within_others() {
    let with_token = "Host: portal.example\r\nAuthorization: $TOKEN\r\n";
    let bodied = |head: &str, body: &str| format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let classified = format!("PUT /patients/p1/profile HTTP/1.1\r\n{with_token}");
    let honest = format!("GET /patients/p1/results/1 HTTP/1.1\r\n{with_token}\r\n");
    Bench::start().run(&[
        Case::several("behind an honest one", format!("{honest}{INNER}"), vec![forwarded()]),
        Case::several("behind a refused one", format!("GET /admin/x HTTP/1.1\r\nHost: portal.example\r\n\r\n{INNER}"), vec![refused(401, "credentials_missing")]),
        Case::several("behind an unreadable one", format!("GET /open/../x HTTP/1.1\r\nHost: portal.example\r\n\r\n{INNER}"), vec![refused(400, "path_dot_segment")]),
        Case::several("behind one that the parser refuses", format!("GET /open/x HTTP/9\r\n\r\n{INNER}"), vec![unparsed()]),
        Case::several("behind OPTIONS *", format!("OPTIONS * HTTP/1.1\r\nHost: portal.example\r\n\r\n{INNER}"), vec![refused(204, "server_options")]),
        Case::several("behind a body", bodied(&format!("POST /patients/p1/notes HTTP/1.1\r\n{with_token}"), "{}") + INNER, vec![forwarded().body(b"{}")]),
        Case::several("within a body", bodied(&format!("POST /patients/p1/notes HTTP/1.1\r\n{with_token}"), INNER), vec![forwarded().body(INNER.as_bytes())]),
        Case::several("within a body of GET", bodied(&format!("GET /patients/p1/results/1 HTTP/1.1\r\n{with_token}"), INNER), vec![forwarded().body(INNER.as_bytes())]),
        Case::several("within the body of a refused one", bodied("POST /patients/p1/notes HTTP/1.1\r\nHost: portal.example\r\n", INNER), vec![refused(401, "credentials_missing")]),
        Case::several("within the body of OPTIONS *", bodied("OPTIONS * HTTP/1.1\r\nHost: portal.example\r\n", INNER), vec![refused(204, "server_options")]),
        Case::several("within the body of an unreadable one", bodied("POST /open/x;y HTTP/1.1\r\nHost: portal.example\r\n", INNER), vec![refused(400, "path_parameter")]),
        Case::several("within the body of an unknown path", bodied("POST /nowhere HTTP/1.1\r\nHost: portal.example\r\n", INNER), vec![refused(404, "no_route")]),
        Case::several("within a classified body", bodied(&format!("{classified}Content-Type: application/json\r\n"), INNER), vec![refused(401, "level_too_low")]),
        Case::several("within a body that can't be classified", bodied(&classified, INNER), vec![refused(401, "level_too_low")]),
        put("behind a classified body", format!("{}{INNER}", bodied("", r#"{"language":"es"}"#)), forwarded().body(br#"{"language":"es"}"#)),
        put("a classified body after 100 Continue", bodied("Expect: 100-continue\r\n", r#"{"language":"es"}"#), forwarded().body(br#"{"language":"es"}"#).header("expect", &[])),
        put("a harmful body after 100 Continue", bodied("Expect: 100-continue\r\n", r#"{"address":"x"}"#), refused(401, "level_too_low")),
        put("a classified body in chunks", "Transfer-Encoding: chunked\r\n\r\n9;x=y\r\n{\"languag\r\n8\r\ne\":\"es\"}\r\n0\r\n\r\n", forwarded().body(br#"{"language":"es"}"#)),
        put("a member twice", bodied("", r#"{"language":"es","language":"en"}"#), refused(401, "level_too_low")),
        put("a member twice, once escaped", bodied("", r#"{"language":"es","l\u0061nguage":{"address":"x"}}"#), refused(401, "level_too_low")),
        put("a harmless body with a tail", bodied("", r#"{"language":"es"}{"address":"x"}"#), refused(401, "level_too_low")),
        put("a compressed body", bodied("Content-Encoding: gzip\r\n", r#"{"language":"es"}"#), refused(401, "level_too_low")),
        put("a body in another charset", bodied("", r#"{"language":"es"}"#).replace("Content-Length", "X: y\r\nContent-Length"), forwarded()),
        put("a body beyond what is read", bodied("", &format!(r#"{{"language":"{}"}}"#, "e".repeat(300_000))), refused(401, "level_too_low")),
        put("a chunked body beyond what is read", format!("Transfer-Encoding: chunked\r\n\r\n493e0\r\n{}\r\n0\r\n\r\n", "e".repeat(300_000)), refused(413, "body_too_large")),
    ]);
}

#[test]
fn connections_that_are_kept() {
    let bench = Bench::start();
    let one = |got: &[u8]| !exchange::split(got, false).is_empty();
    let say = |stream: &mut TcpStream, text: &str| exchange::split(&exchange::converse(stream, &bench.fill(text.as_bytes()), one), false);
    let open = "GET /open/x HTTP/1.1\r\nHost: portal.example\r\n\r\n";
    let connect = || TcpStream::connect(bench.gateway.address).expect("the gateway listens");
    for (text, status) in [
        ("GET /open/x HTTP/9\r\n\r\n", 400),
        ("CONNECT portal.example HTTP/1.1\r\nHost: portal.example\r\n\r\n", 405),
        ("GET /open/../admin/x HTTP/1.1\r\nHost: portal.example\r\n\r\n", 400),
        ("GET /admin/x HTTP/1.1\r\nHost: portal.example\r\nAuthorization: $TOKEN\r\n\r\n", 403),
        ("GET /open/a b HTTP/1.1\r\nHost: portal.example\r\n\r\n", 400),
        ("GET /open/x#y HTTP/1.1\r\nHost: portal.example\r\n\r\n", 400),
    ] {
        let mut stream = connect();
        // Nothing of the first request is left for the second: neither its verdict nor its identity.
        for (text, status) in [(open, 200), (open, 200), (text, status)] {
            let statuses: Vec<u16> = say(&mut stream, text).iter().map(|answer| answer.status).collect();
            assert_eq!(statuses, [status], "{text}");
        }
    }
    let mut stream = connect();
    say(&mut stream, &open.replace("/open/x", "/patients/p1/results/1").replace("\r\n\r\n", "\r\nAuthorization: $TOKEN\r\n\r\n"));
    assert_eq!(say(&mut stream, &open.replace("/open/x", "/patients/p1/results/1"))[0].status, 401);
    assert_eq!(bench.gateway.metric(r#"wardgate_unreadable_requests_total{reason="unparsed"}"#), 2.0);
    assert_eq!(bench.gateway.audit().iter().filter(|record| record["event"] == "unparsed").count(), 2);
    assert_eq!((bench.upstream.count(), bench.gateway.admitted_intents()), (13, 13));
}

#[test]
fn requests_in_pieces() {
    let bench = Bench::start();
    for (pieces, status) in [
        (&["G", "ET /op", "en/x HT", "TP/1.1\r", "\nHost: portal.exa", "mple\r\nConnection: close\r\n\r", "\n"][..], 200),
        (&["\r", "\n", "GET /open/x HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\n\r\n"], 200),
        (&["GET /open/a", " b HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\n\r\n"], 400),
        (&["GET /open/x", " ", " HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\n\r\n"], 400),
        (&["GET /open/x", "#", "y HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\n\r\n"], 400),
        (&["GET /open/x HTTP/1.1\r\nHost: portal.example\r\nX-A: b", "\n", "Connection: close\r\n\r\n"], 400),
        (&["POST /open/x HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\nContent-Length: 2\r\nContent-Len", "gth: 2\r\n\r\n{}"], 400),
        (&["GET /open/.", "./admin/x HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\n\r\n"], 400),
    ] {
        let mut stream = TcpStream::connect(bench.gateway.address).expect("the gateway listens");
        stream.set_nodelay(true).expect("small segments");
        for piece in pieces {
            stream.write_all(piece.as_bytes()).expect("sent");
            std::thread::sleep(Duration::from_millis(30));
        }
        let answers = exchange::split(&exchange::converse(&mut stream, b"", |_| false), false);
        assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [status], "{pieces:?}");
    }
    assert_eq!((bench.upstream.count(), bench.gateway.admitted_intents()), (2, 2));
}

#[test]
fn clients_that_leave() {
    let bench = Bench::start();
    let leave = |text: &str| {
        let mut stream = TcpStream::connect(bench.gateway.address).expect("the gateway listens");
        stream.write_all(&bench.fill(text.as_bytes())).expect("sent");
        std::thread::sleep(Duration::from_millis(200));
    };
    let head = |line: &str| format!("{line} HTTP/1.1\r\nHost: portal.example\r\nAuthorization: $TOKEN\r\nContent-Type: application/json\r\n");
    leave("GET /open/x HTTP/1.1\r\nHost: portal.exa");
    leave(&format!("{}Content-Length: 100\r\n\r\n{{\"language\"", head("PUT /patients/p1/profile")));
    leave(&format!("{}Transfer-Encoding: chunked\r\n\r\n11\r\n{{\"language\":\"es\"}}\r\n", head("PUT /patients/p1/profile")));
    assert_eq!((bench.upstream.count(), bench.gateway.admitted_intents()), (0, 0), "half a body that is classified goes nowhere");
    let streamed = head("POST /patients/p1/notes").replace("application/json", "text/csv");
    leave(&format!("{}Content-Length: 100\r\n\r\n{{}}", streamed));
    leave(&format!("{}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n", streamed));
    assert_eq!((bench.upstream.count(), bench.gateway.admitted_intents()), (2, 2));
    assert!(bench.upstream.requests().iter().all(|request| !request.body.ends_with(b"0\r\n\r\n")), "half a body must not look whole");
    let outcomes: Vec<String> = bench.gateway.audit().iter().filter(|record| record["event"] == "outcome").map(|record| record["result"].to_string()).collect();
    assert_eq!(outcomes, ["\"client_gone\"", "\"client_gone\""]);
}
