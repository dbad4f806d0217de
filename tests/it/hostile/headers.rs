//! Headers that claim to be somebody, in every folding; what `Connection` may name; which host is meant.

use super::{ANY, Bench, Case, Wanted, forwarded, public, refused, unparsed};

fn with(name: &str, lines: impl AsRef<[u8]>, wanted: Wanted) -> Case {
    let start = b"GET /patients/p1/results/1 HTTP/1.1\r\nHost: portal.example\r\nAuthorization: $TOKEN\r\n";
    Case::new(name, [start, lines.as_ref(), b"\r\nConnection: close\r\n\r\n"].concat(), wanted)
}

fn open(name: &str, lines: &str, wanted: Wanted) -> Case {
    Case::new(name, format!("GET /open/x HTTP/1.1\r\n{lines}Connection: close\r\n\r\n"), wanted)
}

/// What well-known back ends believe.
const FAMILIES: &[&str] = &[
    "X-Remote-User", "Remote-User", "Remote-Addr", "X-User", "X-User-Id", "X-Wardgate-Assertion", "X-Wardgate-Decision", "X-Wardgate-Anything",
    "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Uri",
    "X-Forwarded-Method", "X-Forwarded-Server", "X-Forwarded-Scheme", "X-Forwarded-By", "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token", "X-Forwarded-Ssl", "X-Forwarded-Path", "X-Forwarded-Client-Cert", "X-Forwarded-Tls-Client-Cert",
    "Forwarded", "X-Original-URL", "X-Original-URI", "X-Original-Method", "X-Original-Host", "X-Original-Forwarded-For", "X-Rewrite-URL", "X-Host",
    "X-Real-IP", "X-Client-IP", "Client-IP", "True-Client-IP", "X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Groups",
    "X-Auth-Request-Access-Token", "SSL-Client-Cert", "SSL-Client-S-DN", "X-SSL-Client-Cert",
    "X-Webauth-Role", "X-WEBAUTH-GROUPS", "X-User-Email", "X-User-Roles", "X-Auth-User", "X-Auth-Groups", "X-Ms-Client-Principal", "X-Ms-Client-Principal-Name",
    "X-Goog-Authenticated-User-Email", "X-Goog-Iap-Jwt-Assertion", "X-Amzn-Oidc-Identity", "X-Consumer-Username", "X-Sso-User", "X-Override-Url",
    "X-Forwarded", "CF-Connecting-IP", "Fastly-Client-IP", "X-Azure-ClientIP", "X-Envoy-External-Address",
];

#[test]
fn families_of_forged_identity() {
    let mut cases = vec![with("an ordinary header passes", "X-Custom: 1", forwarded().header("x-custom", &["1"]))];
    for name in FAMILIES {
        cases.push(with(&format!("{name} with a token"), format!("{name}: spoofed"), forwarded()));
        cases.push(open(&format!("{name} on a public route"), &format!("Host: portal.example\r\n{name}: spoofed\r\n"), public()));
    }
    for name in ["X-Remote-User", "X-Wardgate-Assertion", "X-Forwarded-For"] {
        let body = r#"{"language":"es"}"#;
        let head = format!("PUT /patients/p1/profile HTTP/1.1\r\nHost: portal.example\r\nAuthorization: $TOKEN\r\n\
            Content-Type: application/json\r\n{name}: spoofed\r\nConnection: close, X-Custom\r\n\
            X-Custom: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        cases.push(Case::new(&format!("{name} beside a body that is read"), head, forwarded().body(body.as_bytes()).header("x-custom", &[])));
    }
    Bench::start().run(&cases);
}

#[test]
fn foldings_of_forged_identity() {
    let name = || refused(400, "bad_header_name");
    let mut cases = vec![
        with("twice", "X-Remote-User: spoofed\r\nX-Remote-User: spoofed-too", forwarded()),
        with("an empty one", "X-Remote-User:", forwarded()),
        with("a list", "X-Remote-User: spoofed, patients:user-p1", forwarded()),
        with("no blank behind the colon", "X-Remote-User:spoofed", forwarded()),
        with("Latin-1 in its value", b"X-Remote-User: spoofed\xe9", forwarded()),
        with("a space before the colon", "X-Remote-User : spoofed", unparsed()),
        with("a tab before the colon", "X-Remote-User\t: spoofed", unparsed()),
        with("a folded value", "X-Remote-User:\r\n spoofed", unparsed()),
        with("folded into another header", "X-Custom: 1\r\n X-Remote-User: spoofed", unparsed()),
        with("behind a bare CR", "X-Custom: 1\rX-Remote-User: spoofed", unparsed()),
        with("behind a bare LF", "X-Custom: 1\nX-Remote-User: spoofed", refused(400, "bare_line_feed")),
        with("behind a NUL", "X-Custom: 1\0\r\nX-Remote-User: spoofed", unparsed()),
        with("a NUL in the name", "X-Remote-User\0: spoofed", unparsed()),
        with("spaces in the name", "X Remote User: spoofed", unparsed()),
        with("a colon in front", ":X-Remote-User: spoofed", unparsed()),
        with("an accent in the name", "X-R\u{e9}mote-User: spoofed", unparsed()),
        with("encoded", "X%2dRemote%2dUser: spoofed", name()),
        with("the assertion with underscores", "X_Wardgate_Assertion: spoofed", name()),
        with("the assertion, half with underscores", "X-Wardgate_Assertion: spoofed", name()),
        with("a forwarded address with underscores", "X_Forwarded_For: spoofed", name()),
        with("a rewritten URL with underscores", "X_Original_URL: spoofed", name()),
        with("an override with underscores", "X_HTTP_Method_Override: DELETE", name()),
        with("a token with an underscore", "Proxy_Authorization: spoofed", name()),
    ];
    for spelling in ["x-remote-user", "X-REMOTE-USER", "x-ReMoTe-UsEr", "X-WARDGATE-ASSERTION", "x-wardgate-assertion"] {
        cases.push(with(&format!("spelt {spelling}"), format!("{spelling}: spoofed"), forwarded()));
    }
    for spelling in [
        "X_Remote_User", "x_remote_user", "X_REMOTE_USER", "X-Remote_User", "X.Remote.User", "x-remote.user", "X__Remote__User",
        "HTTP_X_REMOTE_USER", "X'Remote'User", "X*Remote*User",
    ] {
        cases.push(with(&format!("spelt {spelling}"), format!("{spelling}: spoofed"), name()));
    }
    Bench::start().run(&cases);
}

#[test]
fn what_connection_may_name() {
    let named = || refused(400, "connection_names_end_to_end");
    let mut cases = vec![
        with("a custom header is dropped", "Connection: X-Custom\r\nX-Custom: 1", forwarded().header("x-custom", &[])),
        with("a custom header among others", "Connection: keep-alive, X-CUSTOM\r\nX-Custom: 1", forwarded().header("x-custom", &[])),
        with("an identity that is spoofed too", "Connection: x-remote-user\r\nX-Remote-User: spoofed", named()),
        with("several lines", "Connection: x-a\r\nConnection: x-b\r\nX-A: 1\r\nX-B: 2", forwarded().header("x-a", &[]).header("x-b", &[])),
        with("only commas", "Connection: ,,", forwarded()),
        with("ten names", "Connection: a, b, c, d, e, f, g, h, i, j", Wanted::Refused(400, ANY)),
        with("a name in quotes", "Connection: \"x-remote-user\"", Wanted::Refused(400, ANY)),
        with("a name with a space", "Connection: x remote user", Wanted::Refused(400, ANY)),
        with("a pseudo-header", "Connection: :authority", Wanted::Refused(400, ANY)),
        with("not ASCII", b"Connection: authorization, \xe9", Wanted::Refused(400, ANY)),
    ];
    for name in ["Authorization", "Host", "Cookie", "Content-Type", "Content-Length", "If-Match", "If-None-Match", "If-Unmodified-Since", "If-None-Exist",
        "Origin", "X-Remote-User", "X-Wardgate-Assertion", "X-Wardgate-Decision", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"]
    {
        cases.push(with(&format!("names {name}"), format!("Connection: {name}"), named()));
        cases.push(with(&format!("names {name} among others"), format!("Connection: keep-alive ,\t{} ,", name.to_lowercase()), named()));
    }
    for line in [
        "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "Proxy-Authorization: Basic dTpw", "Proxy-Authenticate: Basic", "TE: trailers",
        "Trailer: X-Remote-User",
    ] {
        cases.push(with(&format!("hop by hop: {line}"), line, forwarded()));
    }
    cases.push(with("settings of HTTP/2", "HTTP2-Settings: AAMAAABkAAQAAP__", forwarded()));
    Bench::start().run(&cases);
}

#[test]
fn repeats_and_sizes() {
    let many = |count: usize| (0..count).map(|at| format!("X-{at}: {at}")).collect::<Vec<_>>().join("\r\n");
    let twice = || refused(400, "duplicate_header");
    Bench::start().run(&[
        with("Accept twice stays twice", "Accept: a/b\r\nAccept: c/d", forwarded().header("accept", &["a/b", "c/d"])),
        with("Cookie twice stays whole", "Cookie: a=1\r\nCookie: b=2", forwarded().header("cookie", &["a=1", "b=2"])),
        with("Content-Type twice", "Content-Type: a/b\r\nContent-Type: application/json", twice()),
        with("Origin twice", "Origin: https://a\r\nOrigin: https://b", twice()),
        with("If-Match twice", "If-Match: \"1\"\r\nIf-Match: \"2\"", twice()),
        with("Content-Encoding twice", "Content-Encoding: identity\r\nContent-Encoding: gzip", twice()),
        with("97 headers more", many(97), forwarded().header("x-96", &["96"])),
        with("98 headers more", many(98), refused(431, "too_many_headers")),
        with("250 headers", many(247), refused(431, "too_many_headers")),
        with("300 headers", many(297), unparsed()),
        with("30 KiB in one header", format!("X-Large: {}", "a".repeat(30 * 1024)), forwarded()),
        with("33 KiB in one header", format!("X-Large: {}", "a".repeat(33 * 1024)), refused(431, "headers_too_large")),
        with("200 KiB in one header", format!("X-Large: {}", "a".repeat(200 * 1024)), refused(431, "headers_too_large")),
        with("200 KiB in a name", format!("{}: 1", "a".repeat(200 * 1024)), Wanted::Refused(400, ANY)),
        with("an empty value", "X-Custom:", forwarded().header("x-custom", &[""])),
        with("tabs within a value", "X-Custom: a\tb", forwarded().header("x-custom", &["a\tb"])),
    ]);
}

#[test]
fn hosts() {
    let bad = || refused(400, "host_malformed");
    let staff = || refused(403, "role_missing");
    let token = "Authorization: $TOKEN\r\n";
    let mut cases = vec![
        open("no host", "", refused(400, "host_missing")),
        Case::new("no host with HTTP/1.0", "GET /open/x HTTP/1.0\r\n\r\n", refused(400, "host_missing")),
        open("the same host twice", "Host: portal.example\r\nHost: portal.example\r\n", unparsed()),
        open("two hosts", "Host: portal.example\r\nHost: staff.example\r\n", unparsed()),
        open("two hosts, one empty", "Host:\r\nHost: portal.example\r\n", unparsed()),
        open("a second host with a space", "Host: portal.example\r\nHost : staff.example\r\n", unparsed()),
        open("a second host, folded", "Host: portal.example\r\n Host: staff.example\r\n", unparsed()),
        open("userinfo", "Host: portal.example@staff.example\r\n", unparsed()),
        open("a NUL", "Host: portal.example\0staff.example\r\n", unparsed()),
        open("capitals", "Host: PORTAL.Example\r\n", public().header("host", &["PORTAL.Example"])),
        open("a port", "Host: portal.example:8443\r\n", public().header("host", &["portal.example:8443"])),
        open("an address", "Host: 127.0.0.1:80\r\n", public().header("host", &["127.0.0.1:80"])),
    ];
    for value in ["", "portal.example, staff.example", "portal.example staff.example", "staff.example/open", "staff.example?", "staff.example#", "portal.example\\staff.example",
        "portal.example:", "portal.example:x", "portal.example:99999", "portal.example:80:80", "portal.example:80/x", "portal.example:-1", "portal.example: 80", "staff.example.",
        ".staff.example", "staff..example", "*", "[::1", "[::1]x", "[staff.example]", "http://staff.example", "staff%2eexample", "st\u{e4}ff.example", "staff\u{ff0e}example",
        "staff.example;x", "\"staff.example\"", "portal.example|staff"]
    {
        cases.push(open(&format!("`{value}`"), &format!("Host: {value}\r\n"), bad()));
    }
    for value in ["staff.example", "STAFF.EXAMPLE", "Staff.Example:8443", "\t staff.example \t"] {
        cases.push(open(&format!("the staff's host as `{}`", value.escape_default()), &format!("Host: {value}\r\n{token}"), staff()));
    }
    cases.push(open("the staff's host, believed from elsewhere", &format!("Host: staff.example\r\nX-Forwarded-Host: portal.example\r\n{token}"), staff()));
    Bench::start().run(&cases);
}

#[test]
fn what_might_talk_the_gateway_out_of_asking() {
    let missing = || refused(401, "credentials_missing");
    let ask = |name: &str, target: &str, lines: &str, wanted: Wanted| {
        Case::new(name, format!("GET {target} HTTP/1.1\r\nHost: portal.example\r\n{lines}Connection: close\r\n\r\n"), wanted)
    };
    let results = "/patients/p1/results/1";
    let mut cases = vec![
        ask("a query that spells a public path", "/admin/x?/open/x", "", missing()),
        ask("a query that ends like a public path", "/admin/x?next=/open/", "", missing()),
        Case::new("a local host", format!("GET {results} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"), missing()),
        Case::new("HEAD", format!("HEAD {results} HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\n\r\n"), missing()),
    ];
    for line in [
        "User-Agent: GoogleHC/1.0",
        "User-Agent: kube-probe/1.30",
        "User-Agent: ELB-HealthChecker/2.0",
        "X-Forwarded-Uri: /open/x",
        "X-Forwarded-Path: /open/x",
        "X-Original-URL: /open/x",
        "X-Rewrite-URL: /open/x",
        "X-Original-Method: OPTIONS",
        "X-Forwarded-Method: OPTIONS",
        "X-Forwarded-Proto: https",
        "X-Forwarded-For: 127.0.0.1",
        "Forwarded: for=127.0.0.1;host=localhost",
        "X-Real-IP: 127.0.0.1",
        "X-Remote-User: patients:user-p1",
        "X-Wardgate-Decision: 00000000-0000-0000-0000-000000000000",
        "X-Wardgate-Assertion: e30.e30.e30",
        "X-Auth-Request-User: user-p1",
        "Cookie: wardgate=1; session=1",
        "Proxy-Authorization: $TOKEN",
        "X-Authorization: $TOKEN",
        "Origin: http://portal.example",
        "Access-Control-Request-Method: GET",
        "Sec-Fetch-Site: same-origin",
        "Range: bytes=0-0",
        "If-None-Match: *",
        "Purpose: prefetch",
    ] {
        cases.push(ask(&format!("no token but {line}"), results, &format!("{line}\r\n"), missing()));
    }
    for path in ["/healthz", "/readyz", "/metrics", "/.well-known/jwks.json"] {
        cases.push(ask(&format!("{path} at the front door"), path, "", refused(404, "no_route")));
    }
    Bench::start().run(&cases);
}
