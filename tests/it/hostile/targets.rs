//! Request targets: one reading or none, and never another than the one that was decided on.

use super::{ANY, Bench, Case, Wanted, forwarded, public, refused, unparsed};

/// `GET` of a target, with a good token.
fn get(name: &str, target: impl AsRef<[u8]>, wanted: Wanted) -> Case {
    let tail = b" HTTP/1.1\r\nHost: portal.example\r\nAuthorization: $TOKEN\r\nConnection: close\r\n\r\n";
    Case::new(name, [b"GET ", target.as_ref(), tail].concat(), wanted)
}

fn line(name: &str, line: &str, wanted: Wanted) -> Case {
    Case::new(name, format!("{line}\r\nHost: portal.example\r\nAuthorization: $TOKEN\r\nConnection: close\r\n\r\n"), wanted)
}

#[test]
fn hostile_paths() {
    let dots = || refused(400, "path_dot_segment");
    let delimiter = || refused(400, "path_encoded_delimiter");
    let letter = || refused(400, "path_encoded_unreserved");
    let empty = || refused(400, "path_empty_segment");
    let parameter = || refused(400, "path_parameter");
    let control = || refused(400, "control_character");
    let percent = || refused(400, "bad_percent_encoding");
    let foldable = || refused(400, "foldable_character");
    Bench::start().run(&[
        get("a plain path", "/patients/p1/results/1", forwarded()),
        get("every harmless byte", "/patients/p1/results/a-._~!$&'()*+,=:@z", forwarded()),
        get("a name in UTF-8, encoded", "/open/caf%C3%A9", public()),
        get("lower-case hex stays lower-case", "/open/caf%c3%a9", public()),
        get("an encoded space stays encoded", "/open/a%20b", public()),
        get("one action, plain", "/fhir/Patient/p1/$everything", forwarded()),
        get("one action, its dollar encoded", "/fhir/Patient/p1/%24everything", forwarded()),
        get("a trailing slash is kept", "/patients/p1/results/1/", forwarded()),
        line("a trailing slash does not lead to a broader route", "POST /patients/p1/notes/ HTTP/1.1", refused(404, "no_route")),
        get("a trailing slash is another path", "/fhir/Patient/p1/$everything/", refused(404, "no_route")),
        get("three dots are a name", "/open/...", public()),
        get("a dot within a name", "/open/.well-known", public()),
        get("up from public to admin", "/open/../admin/x", dots()),
        get("up at the end", "/open/..", dots()),
        get("a single dot", "/open/./x", dots()),
        get("a single dot at the end", "/patients/p1/results/1/.", dots()),
        get("up, both dots encoded", "/open/%2e%2e/admin/x", dots()),
        get("up, one dot encoded", "/open/.%2e/admin/x", dots()),
        get("up, upper-case hex", "/open/%2E%2E/admin/x", dots()),
        get("up, encoded with its slash", "/open/%2e%2e%2fadmin/x", dots()),
        get("up, slash encoded", "/open/..%2fadmin/x", delimiter()),
        get("up, backslash encoded", "/open/..%5cadmin/x", delimiter()),
        get("up, backslash", "/open/..\\admin\\x", refused(400, "path_backslash")),
        get("up, encoded twice", "/open/%252e%252e/admin/x", delimiter()),
        get("up, encoded three times", "/open/%25252e%25252e/admin/x", delimiter()),
        get("up behind a parameter", "/open/..;/admin/x", parameter()),
        get("up behind a parameter at admin", "/admin/..;/x", parameter()),
        get("a parameter", "/admin/x;jsessionid=1", parameter()),
        get("an encoded parameter", "/admin/x%3bjsessionid=1", delimiter()),
        get("an empty parameter", "/patients/p1;/results/1", parameter()),
        get("two slashes in front", "//admin/x", empty()),
        get("two slashes and a host", "//evil.example/admin/x", empty()),
        get("two slashes within", "/open//admin/x", empty()),
        get("two slashes at the end", "/open/x//", empty()),
        get("an encoded slash", "/patients/p1%2fresults/1", delimiter()),
        get("an encoded slash, upper case", "/patients/p1%2Fresults/1", delimiter()),
        get("an encoded letter", "/%61dmin/x", letter()),
        get("an encoded digit", "/patients/p%31/results/1", letter()),
        get("an encoded tilde", "/open/%7Ex", letter()),
        get("an encoded question mark", "/open/x%3fy", delimiter()),
        get("an encoded hash", "/patients/p1/results/1%23/x", delimiter()),
        get("a hash", "/admin#x", refused(400, "target_fragment")),
        get("a hash behind public", "/open/x#/../admin", refused(400, "target_fragment")),
        get("an encoded NUL", "/patients/p1/results/1%00.json", control()),
        get("an encoded line break", "/open/x%0d%0aX-Remote-User:%20admin", control()),
        get("an encoded tab", "/open/x%09", control()),
        get("an encoded DEL", "/open/x%7f", control()),
        get("an encoded C1 control", "/open/x%c2%85", control()),
        get("a lone percent at the end", "/patients/p1/results/1%", percent()),
        get("one hex digit", "/open/x%4", percent()),
        get("no hex digits", "/open/x%zz", percent()),
        get("IIS-style unicode escape", "/open/%u002e%u002e/admin", percent()),
        get("an overlong dot", "/open/%c0%ae%c0%ae/admin", refused(400, "not_utf8")),
        get("an overlong slash", "/open/..%c0%afadmin", refused(400, "not_utf8")),
        get("Latin-1", "/open/caf%e9", refused(400, "not_utf8")),
        get("a surrogate", "/open/%ed%a0%80", refused(400, "not_utf8")),
        get("full-width dots", "/open/%ef%bc%8e%ef%bc%8e/admin", foldable()),
        get("a full-width slash", "/open/%ef%bc%8fadmin", foldable()),
        get("full-width letters", "/%ef%bd%81dmin/x", foldable()),
        get("a ligature", "/open/%ef%ac%81le", foldable()),
        get("a decomposed accent", "/open/cafe%cc%81", foldable()),
        get("a Kelvin sign", "/open/%e2%84%aa", foldable()),
        get("64 segments", format!("/open{}", "/a".repeat(63)), public()),
        get("65 segments", format!("/open{}", "/a".repeat(64)), refused(400, "too_many_segments")),
        get("another case is another path", "/Admin/x", refused(404, "no_route")),
        get("a pipe in the path", "/open/a|b", refused(400, "forbidden_character")),
        get("a caret in the path", "/open/a^b", refused(400, "forbidden_character")),
        get("a bracket in the path", "/open/a[b", refused(400, "forbidden_character")),
        get("another patient", "/patients/p2/results/1", refused(403, "no_relation")),
        get("no patient at all", "/patients//results/1", empty()),
    ]);
}

#[test]
fn bytes_that_no_target_may_have() {
    // The parser would quietly encode these: then what was sent is not what was decided on.
    let either = || Wanted::Refused(400, ANY);
    Bench::start().run(&[
        get("a space in the path", "/open/a b", either()),
        get("a space behind the path", "/open/a ", either()),
        get("an angle bracket", "/open/<script>", unparsed()),
        get("a quotation mark", "/open/a\"b", either()),
        get("a brace", "/open/{a}", either()),
        get("a backtick", "/open/a`b", unparsed()),
        get("UTF-8 unencoded", "/open/caf\u{e9}", either()),
        get("Latin-1 unencoded", b"/open/caf\xe9", unparsed()),
        get("a space in the query", "/open/a?b=c d", either()),
        get("an angle bracket in the query", "/open/a?b=<c>", unparsed()),
        get("a version in the target", "/open/a HTTP/1.1 /admin", unparsed()),
        get("a NUL", b"/open/a\0b", either()),
        get("a tab", "/open/a\tb", either()),
        get("a DEL", b"/open/a\x7fb", either()),
        get("a bare CR", "/open/a\rb", either()),
        get("an escape", b"/open/a\x1bb", either()),
    ]);
}

#[test]
fn hostile_queries() {
    let percent = || refused(400, "bad_percent_encoding");
    Bench::start().run(&[
        get("every byte stays as it is", "/patients/p1/results/1?x=%41&y=%20&z=a+b&&=&y=2", forwarded()),
        get("an empty query", "/patients/p1/results/1?", forwarded()),
        get("a second question mark", "/patients/p1/results/1?a?b=c", forwarded()),
        get("FHIR's pipe and brackets", "/open/a?code=http://loinc.org|1-8&x[]=1", public()),
        get("a path within the query", "/patients/p1/results/1?next=/../admin", forwarded()),
        get("a query that spells the admin path", "/open/x?/admin/y", public()),
        get("a line break within the query", "/open/x?a=%0d%0aX-Remote-User:%20admin", public()),
        get("a hash in the query", "/patients/p1/results/1?a#b", refused(400, "target_fragment")),
        get("a backslash in the query", "/open/x?a\\b", refused(400, "path_backslash")),
        get("an encoded NUL in the query", "/open/x?a=%00", refused(400, "control_character")),
        get("a bad escape in the query", "/open/x?a=%zz", percent()),
        get("half an escape in the query", "/open/x?a=%4", percent()),
        get("a caret in the query", "/open/x?a=^", refused(400, "forbidden_character")),
        get("only a query", "?x=1", refused(400, "target_not_origin_form")),
        get("a query at the root", "/?x=1", public()),
        get("a long target", format!("/open/x?a={}", "b".repeat(8000)), public()),
        get("a target larger than the headers may be", format!("/open/x?a={}", "b".repeat(40_000)), refused(431, "headers_too_large")),
    ]);
}

#[test]
fn forms_of_targets() {
    let origin = || refused(400, "target_not_origin_form");
    Bench::start().run(&[
        get("no slash in front", "admin", origin()),
        get("no slash in front, deeper", "admin/x", origin()),
        get("an encoded space in front", "%20/open/x", origin()),
        get("an asterisk", "*", origin()),
        get("an asterisk and more", "*abc", origin()),
        get("an exclamation mark", "!", origin()),
        get("a dot in front", "../admin", origin()),
        get("a backslash in front", "\\admin", origin()),
        get("a host and port", "admin:80/x", origin()),
        get("absolute form, same host", "http://portal.example/patients/p1/results/1", origin()),
        get("absolute form, another host", "http://staff.example/open/x", unparsed()),
        get("absolute form with userinfo", "http://portal.example@staff.example/open/x", unparsed()),
        get("absolute form without a scheme's slashes", "http:portal.example/open/x", unparsed()),
        get("absolute form, another scheme", "gopher://portal.example/open/x", origin()),
        get("a file", "file:///etc/passwd", unparsed()),
        line("two spaces before the target", "GET  /open/x HTTP/1.1", Wanted::Refused(400, ANY)),
        line("two spaces before admin", "GET  admin HTTP/1.1", Wanted::Refused(400, ANY)),
        line("two spaces before the version", "GET /open/x  HTTP/1.1", Wanted::Refused(400, ANY)),
        line("a tab before the target", "GET\t/open/x HTTP/1.1", unparsed()),
        line("no target", "GET HTTP/1.1", unparsed()),
        line("an empty target", "GET  HTTP/1.1", unparsed()),
        line("HTTP/0.9", "GET /open/x", unparsed()),
        line("HTTP/2.0 in the line", "GET /open/x HTTP/2.0", unparsed()),
        line("HTTP/1.2", "GET /open/x HTTP/1.2", unparsed()),
        line("HTTP/1.10", "GET /open/x HTTP/1.10", unparsed()),
        line("HTTP/01.1", "GET /open/x HTTP/01.1", unparsed()),
        line("lower-case protocol", "GET /open/x http/1.1", unparsed()),
        line("another protocol", "GET /open/x HTCPCP/1.0", unparsed()),
        line("a space behind the version", "GET /open/x HTTP/1.1 ", unparsed()),
        line("a space in front of the method", " GET /open/x HTTP/1.1", unparsed()),
        line("OPTIONS * is answered here", "OPTIONS * HTTP/1.1", refused(204, "server_options")),
        line("OPTIONS of a path is not", "OPTIONS /admin/x HTTP/1.1", refused(405, "method_not_allowed")),
        Case::new("an empty line in front", "\r\nGET /open/x HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\n\r\n", public().line("GET /open/x HTTP/1.1")),
        Case::new("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", unparsed()),
        Case::new("a TLS greeting", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", unparsed()),
        Case::new("the PROXY protocol", "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET /open/x HTTP/1.1\r\nHost: portal.example\r\n\r\n", unparsed()),
        Case::new("HTTP/1.0 with a Host", "GET /open/x HTTP/1.0\r\nHost: portal.example\r\n\r\n", public()),
    ]);
}
