//! Methods, what claims to be another method, and upgrades.

use super::{ANY, Bench, Case, Wanted, forwarded, public, refused, unparsed};

fn ask(name: &str, method: &str, target: &str, wanted: Wanted) -> Case {
    Case::new(name, format!("{method} {target} HTTP/1.1\r\nHost: portal.example\r\nAuthorization: $TOKEN\r\nConnection: close\r\n\r\n"), wanted)
}

/// A `POST` with a body of a type.
fn post(name: &str, headers: &str, body: &str, wanted: Wanted) -> Case {
    let length = body.len();
    let start = "POST /patients/p1/notes HTTP/1.1\r\nHost: portal.example\r\nAuthorization: $TOKEN\r\nConnection: close\r\n";
    Case::new(name, format!("{start}{headers}Content-Length: {length}\r\n\r\n{body}"), wanted)
}

#[test]
fn methods_as_spelt() {
    let bad = || refused(400, "bad_method");
    let other = || refused(405, "method_not_allowed");
    let results = "/patients/p1/results/1";
    let preflight = |method: &str| {
        let start = "OPTIONS /patients/p1/profile HTTP/1.1\r\nHost: portal.example\r\nOrigin: https://evil.example\r\nConnection: close\r\n";
        format!("{start}Access-Control-Request-Method: {method}\r\n\r\n")
    };
    let mut cases = vec![
        ask("GET", "GET", results, forwarded()),
        ask("HEAD", "HEAD", results, forwarded()),
        ask("POST where only GET is", "POST", results, other()),
        ask("DELETE on a public path", "DELETE", "/open/x", other()),
        ask("a method that nobody knows", "FOO", results, other()),
        ask("a method that begins like one", "GETX", results, other()),
        ask("TRACK", "TRACK", results, other()),
        ask("DEBUG", "DEBUG", results, other()),
        ask("PROPFIND", "PROPFIND", "/open/x", other()),
        ask("PURGE", "PURGE", "/open/x", other()),
        ask("a method with a hyphen", "M-SEARCH", "/open/x", other()),
        ask("PRI", "PRI", "/open/x", other()),
        ask("a method of a thousand letters", &"A".repeat(1000), "/open/x", other()),
        ask("a number for a method", "0", "/open/x", bad()),
        ask("no method", "", "/open/x", unparsed()),
        ask("a method in brackets", "[GET]", "/open/x", unparsed()),
        ask("a method with a slash", "GET/", "/open/x", unparsed()),
        ask("two methods", "GET,POST", "/open/x", unparsed()),
        ask("a quoted method", "\"GET\"", "/open/x", unparsed()),
        ask("a method in full width", "\u{ff27}ET", "/open/x", unparsed()),
        Case::new("a NUL in the method", b"GE\0T /open/x HTTP/1.1\r\nHost: portal.example\r\n\r\n", unparsed()),
        Case::new("an OPTIONS * of another case", "options * HTTP/1.1\r\nHost: portal.example\r\n\r\n", bad()),
        ask("CONNECT to another host", "CONNECT", "staff.example:443", unparsed()),
        ask("CONNECT to its own host", "CONNECT", "portal.example", refused(405, "unparsed")),
        ask("CONNECT to a path", "CONNECT", "/open/x", refused(405, "unparsed")),
        ask("a preflight that nobody allows", "OPTIONS", "/open/x", public()),
        Case::new("a preflight of another method", preflight("PUT"), refused(403, "preflight_refused")),
        Case::new("a preflight of no known method", preflight("put"), refused(405, "method_not_allowed")),
    ];
    for method in ["get", "Get", "gEt", "TRACE", "GET1", "GET_", "GET.", "GET!", "post", "_method"] {
        cases.push(ask(&format!("method {method}"), method, "/open/x", bad()));
    }
    Bench::start().run(&cases);
}

#[test]
fn overrides_in_headers_and_queries() {
    let overrides = || refused(400, "method_override");
    let mut cases = vec![ask("a parameter with a harmless name", "GET", "/patients/p1/results/1?method=DELETE", forwarded())];
    for name in ["X-HTTP-Method-Override", "x-http-method-override", "X-HTTP-Method", "X-Method-Override", "X-METHOD-OVERRIDE"] {
        cases.push(post(&format!("{name}: DELETE"), &format!("{name}: DELETE\r\n"), "{}", overrides()));
        cases.push(post(&format!("{name}: POST, which changes nothing"), &format!("{name}: POST\r\n"), "{}", overrides()));
    }
    cases.push(post("X-Original-Method is dropped", "X-Original-Method: DELETE\r\n", "{}", forwarded().header("x-original-method", &[])));
    for query in [
        "_method=DELETE", "a=1&_method=DELETE", "_method", "_method=", "%5fmethod=DELETE", "%5Fm%65thod=DELETE", "+_method=DELETE", "_METHOD=DELETE",
        ".method=DELETE", "_method%00=DELETE", "_method=GET&_method=DELETE", "x=1;_method=DELETE", "_HttpMethod=DELETE",
    ] {
        let reason = if query.contains("%00") { "control_character" } else { "method_override" };
        cases.push(ask(&format!("query {query}"), "GET", &format!("/patients/p1/results/1?{query}"), refused(400, reason)));
    }
    cases.push(ask("a parameter that overrides on a public route", "POST", "/open/x?_method=DELETE", overrides()));
    cases.push(Case::new("a header that overrides on a public route", "POST /open/x HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\n\
        X-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\n\r\n", overrides()));
    cases.push(ask("an override on a path that nobody may use is not told apart", "GET", "/patients/p2/results/1?_method=DELETE", overrides()));
    Bench::start().run(&cases);
}

#[test]
fn overrides_in_bodies() {
    let overrides = || refused(400, "method_override");
    let uninspectable = || refused(413, "form_not_inspectable");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let multipart = "Content-Type: multipart/form-data; boundary=b\r\n";
    let part = |disposition: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{value}\r\n--b--\r\n");
    let harmless = part("name=\"note\"", "well");
    let large = "a".repeat(300_000);
    let mut cases = vec![
        post("a harmless form", form, "a=1&b=2", forwarded().body(b"a=1&b=2")),
        post("a harmless multipart form", multipart, &harmless, forwarded().body(harmless.as_bytes())),
        post("a harmless JSON body", "Content-Type: application/json\r\n", r#"{"a":1}"#, forwarded().body(br#"{"a":1}"#)),
        post("a form with a field twice", form, "a=1&a=2", forwarded().body(b"a=1&a=2")),
        post("a compressed form", &format!("{form}Content-Encoding: gzip\r\n"), "a=1", uninspectable()),
        post("a compressed multipart form", &format!("{multipart}Content-Encoding: br\r\n"), &harmless, uninspectable()),
        post("a form beyond what is read", form, &large, uninspectable()),
        post("a multipart form beyond what is read", multipart, &part("name=\"note\"", &large), uninspectable()),
        post("a form that is not UTF-8 when decoded", form, "%ff=1&_method=DELETE", overrides()),
    ];
    let chunked = format!("POST /patients/p1/notes HTTP/1.1\r\nHost: portal.example\r\nAuthorization: $TOKEN\r\nConnection: close\r\n\
        {form}Transfer-Encoding: chunked\r\n\r\n");
    cases.push(Case::new("a form in chunks, the name cut in two", format!("{chunked}4\r\n_met\r\na\r\nhod=DELETE\r\n0\r\n\r\n"), overrides()));
    cases.push(Case::new("a chunked form beyond what is read", format!("{chunked}493e0\r\n{large}\r\n0\r\n\r\n"), refused(413, "body_too_large")));
    for body in [
        "_method=DELETE", "a=1&_method=DELETE", "_method", "%5fmethod=DELETE", "%5Fm%65thod=DELETE", "+_method=DELETE", "_METHOD=DELETE",
        ".method=DELETE", "_method%00=DELETE", "&&_method=PUT", "a=1;_method=DELETE", "_HttpMethod=DELETE", "X-HTTP-Method-Override=DELETE",
    ] {
        cases.push(post(&format!("form {body}"), form, body, overrides()));
    }
    for kind in [
        "APPLICATION/X-WWW-FORM-URLENCODED",
        "application/x-www-form-urlencoded; charset=UTF-8",
        " application/x-www-form-urlencoded ;",
    ] {
        cases.push(post(&format!("a form as `{kind}`"), &format!("Content-Type: {kind}\r\n"), "_method=DELETE", Wanted::Refused(400, ANY)));
    }
    for kind in [
        "application/x-www-form-urlencoded;charset=iso-8859-1",
        "application/x-www-form-urlencoded; charset=utf-16",
        "application/x-www-form-urlencoded; charset=ibm037",
        "application/x-www-form-urlencoded; charset=utf-8; charset=utf-7",
        "application/x-www-form-urlencoded; charset=utf-7; v=utf-8",
        "application/x-www-form-urlencoded x",
        "application/x-www-form-urlencoded, text/plain",
        "text/plain, application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "text/plain, application/json",
    ] {
        cases.push(post(&format!("a body as `{kind}`"), &format!("Content-Type: {kind}\r\n"), "a=1", uninspectable()));
    }
    let json = "Content-Type: application/json\r\n";
    for body in [r#"{"_method":"DELETE"}"#, r#"{"\u005fmethod":"DELETE"}"#, r#"{"_METHOD":"DELETE"}"#, r#"{"_method":"DELETE",}"#, r#"{"_HttpMethod":"PUT"}"#] {
        cases.push(post(&format!("JSON {body}"), json, body, overrides()));
        cases.push(post(&format!("JSON of another name {body}"), "Content-Type: text/json\r\n", body, overrides()));
    }
    cases.push(post("JSON that names a method deep within", json, r#"{"a":{"_method":"x"}}"#, forwarded()));
    cases.push(post("JSON beyond what is read", json, &format!("{{\"a\":\"{large}\"}}"), uninspectable()));
    cases.push(post("compressed JSON", &format!("{json}Content-Encoding: gzip\r\n"), "{}", uninspectable()));
    cases.push(post("a form without a type, which some take for a form", "", "_method=DELETE", Wanted::Refused(400, ANY)));
    let untyped = chunked.replace(form, "");
    cases.push(Case::new("a form without a type, in chunks", format!("{untyped}e\r\n_method=DELETE\r\n0\r\n\r\n"), overrides()));
    cases.push(post("a form without a type, beyond what is read", "", &format!("_method=DELETE&a={large}"), uninspectable()));
    cases.push(post("a form with an empty type", "Content-Type:\r\n", "_method=DELETE", Wanted::Refused(400, ANY)));
    for disposition in [
        "name=\"_method\"", "name=_method", "name='_method'", "NAME=\"_Method\"", "filename=x; name=\"_method\"", "name=\"%5fmethod\"",
        "name*=utf-8''_method", "name*=utf-8''%5Fmethod", "name=\"\\_method\"", "name=\"_\\method\"", "name=\"_m\\ethod\"", "name = \"_method\"", "name=\" _method\"", "name=\".method\"",
    ] {
        cases.push(post(&format!("part {disposition}"), multipart, &part(disposition, "DELETE"), overrides()));
    }
    cases.push(post("a multipart form in capitals", "Content-Type: Multipart/Form-Data; boundary=b\r\n", &part("name=\"_method\"", "DELETE"), overrides()));
    let related = "Content-Type: multipart/related; boundary=b\r\n";
    cases.push(post("a related multipart, which some take for a form", related, &part("name=\"_method\"", "DELETE"), overrides()));
    let mixed = "Content-Type: multipart/mixed; boundary=b\r\n";
    cases.push(post("a multipart of another kind, which some take for a form", mixed, &part("name=\"_method\"", "DELETE"), Wanted::Refused(400, ANY)));
    Bench::start().run(&cases);
}

#[test]
fn upgrades() {
    let bad = || refused(400, "bad_upgrade");
    let live = "/patients/p1/live";
    let line = |target: &str, headers: &str| format!("GET {target} HTTP/1.1\r\nHost: portal.example\r\nAuthorization: $TOKEN\r\n{headers}\r\n");
    let shake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let kept = || forwarded().websocket();
    let swap = |from: &str, to: &str| line(live, &shake.replace(from, to));
    let inner = "GET /admin/smuggled HTTP/1.1\r\nHost: portal.example\r\n\r\n";
    Bench::start().run(&[
        Case::new("an honest handshake", line(live, shake), kept()),
        Case::new("an honest handshake in capitals", swap("websocket\r\n", "WebSocket\r\n"), kept()),
        Case::new("a handshake without a token", line(live, shake).replace("Authorization: $TOKEN\r\n", ""), refused(401, "credentials_missing")),
        Case::new("a handshake for another patient", line("/patients/p2/live", shake), refused(403, "no_relation")),
        Case::new("a handshake with a forged identity", line(live, &format!("{shake}X-Remote-User: spoofed\r\n")), kept()),
        Case::new("a handshake that names its identity in Connection", swap("Connection: Upgrade", "Connection: Upgrade, X-Remote-User"), refused(400, "connection_names_end_to_end")),
        Case::new("a handshake that names its key in Connection", swap("Connection: Upgrade", "Connection: Upgrade, Sec-WebSocket-Key"), refused(400, "connection_names_end_to_end")),
        Case::several("a request behind a handshake that is not taken up", line(live, shake) + inner, vec![kept()]),
        Case::new("a handshake with a body", line(live, &format!("{shake}Content-Length: {}\r\n", inner.len())) + inner, kept().body(inner.as_bytes())),
        Case::new("a handshake with a chunked body", line(live, &format!("{shake}Transfer-Encoding: chunked\r\n")) + "0\r\n\r\n" + inner, kept().body(b"")),
        Case::new("a handshake at a route without upgrade", line("/patients/p1/results/1", shake), refused(404, "no_route")),
        Case::new("a handshake at a public route", line("/open/x", shake), refused(404, "no_route")),
        Case::new("a plain GET of a WebSocket route", line(live, "Connection: close\r\n"), refused(404, "no_route")),
        Case::new("only Upgrade", line(live, "Connection: close\r\nUpgrade: websocket\r\n"), bad()),
        Case::new("a handshake that Connection does not name", swap("Connection: Upgrade", "Connection: close"), bad()),
        Case::new("a handshake without a version", swap("Sec-WebSocket-Version: 13\r\n", ""), bad()),
        Case::new("a handshake of version 8", swap("13", "8"), bad()),
        Case::new("two versions", swap("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8"), Wanted::Refused(400, ANY)),
        Case::new("a handshake without a key", swap("Sec-WebSocket-Key", "X-Key"), bad()),
        Case::new("two keys", swap("Sec-WebSocket-Key", "Sec-WebSocket-Key: a\r\nSec-WebSocket-Key"), bad()),
        Case::new("a handshake by POST", line(live, shake).replacen("GET", "POST", 1), bad()),
        Case::new("a handshake with HTTP/1.0", line(live, shake).replacen("1.1", "1.0", 1), bad()),
        Case::new("h2c", line("/open/x", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), bad()),
        Case::new("h2c beside websocket", swap("Upgrade: websocket", "Upgrade: websocket, h2c"), bad()),
        Case::new("h2c in another line", swap("Upgrade: websocket", "Upgrade: websocket\r\nUpgrade: h2c"), refused(400, "duplicate_header")),
        Case::new("TLS", line("/open/x", "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n"), bad()),
        Case::new("a websocket of a version", swap("Upgrade: websocket", "Upgrade: websocket/13"), bad()),
        Case::new("an empty upgrade", line("/open/x", "Connection: close\r\nUpgrade:\r\n"), bad()),
    ]);
}
