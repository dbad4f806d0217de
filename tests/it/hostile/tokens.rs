//! Tokens: every trap of RFC 8725 and RFC 9068, each refused for its own reason.

use serde_json::{Value, json};

use super::forge::{Forge, encode, with_stray_bits};
use super::{Bench, Case, Wanted, forwarded, refused};
use crate::support::{Recorder, http};

fn ask(headers: &str) -> String {
    format!("GET /patients/p1/results/1 HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\n{headers}\r\n")
}

fn bearer(name: &str, token: &str, wanted: Wanted) -> Case {
    Case::new(name, ask(&format!("Authorization: Bearer {token}\r\n")), wanted)
}

fn run(cases: impl FnOnce(&Forge) -> Vec<Case>) {
    let forge = Forge::new();
    let token = format!("Bearer {}", forge.with_claims(|_| {}));
    Bench::with(Recorder::start(), &forge.jwks(), &token).run(&cases(&forge));
}

fn set<'v>(name: &'v str, value: Value) -> impl FnOnce(&mut Value) + 'v {
    move |object| object[name] = value
}

fn without(name: &str) -> impl FnOnce(&mut Value) + '_ {
    move |object| drop(object.as_object_mut().expect("an object").remove(name))
}

#[test]
fn algorithms_and_signatures() {
    let alg = || refused(401, "token_algorithm_not_allowed");
    let signature = || refused(401, "token_bad_signature");
    let malformed = || refused(401, "token_malformed");
    run(|forge| {
        let honest = forge.with_claims(|_| {});
        let (input, own_signature) = honest.rsplit_once('.').expect("three parts");
        let point = forge.point();
        let unsigned = |alg: &str| format!("{}.", Forge::input(alg));
        let resigned = |bytes: &[u8]| format!("{input}.{}", encode(bytes));
        let order = b"\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51";
        let mut named = vec![
            bearer("an honest token", &honest, forwarded()),
            bearer("HS256 under the public point", &forge.hmac(&point), alg()),
            bearer("HS256 under the point's coordinates", &forge.hmac(&point[1..]), alg()),
            bearer("HS256 under the public PEM", &forge.hmac(forge.pem().as_bytes()), alg()),
            bearer("HS256 under the key set's text", &forge.hmac(forge.jwks().as_bytes()), alg()),
            bearer("HS256 under nothing", &forge.hmac(b""), alg()),
            bearer("no alg", &forge.with_header(without("alg")), malformed()),
            bearer("alg is a number", &forge.with_header(set("alg", json!(256))), malformed()),
            bearer("alg is a list", &forge.with_header(set("alg", json!(["ES256", "none"]))), malformed()),
            bearer("alg is null", &forge.with_header(set("alg", Value::Null)), malformed()),
            bearer("none with an honest signature", &forge.with_header(set("alg", json!("none"))), alg()),
            bearer("no signature", &format!("{input}."), signature()),
            bearer("a signature of zeros (psychic)", &resigned(&[0; 64]), signature()),
            bearer("r and s are the curve's order", &resigned(&[&order[..], order].concat()), signature()),
            bearer("r is zero", &resigned(&[&[0; 32][..], &[1; 32]].concat()), signature()),
            bearer("63 bytes of signature", &resigned(&[7; 63]), signature()),
            bearer("65 bytes of signature", &resigned(&[7; 65]), signature()),
            bearer("a signature in DER", &forge.in_der(), signature()),
            bearer("another's key", &forge.foreign(), signature()),
            bearer("another token's signature", &format!("{}.{own_signature}", Forge::input("ES256")), signature()),
            bearer("a signature with stray bits", &with_stray_bits(&honest), malformed()),
            bearer("a padded signature", &format!("{honest}=="), malformed()),
            bearer("a signature half empty", &format!("{input}.A"), malformed()),
        ];
        for name in [
            "none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "RS256", "PS256", "ES384", "ES512", "ES256K", "EdDSA", "es256", "ES256 ",
            "SHA256withECDSA",
        ] {
            named.push(bearer(&format!("alg `{name}`, unsigned"), &unsigned(name), alg()));
        }
        named
    });
}

#[test]
fn headers_of_tokens() {
    let header = || refused(401, "token_header_not_allowed");
    let malformed = || refused(401, "token_malformed");
    let unknown = || refused(401, "token_unknown_key");
    let other = || refused(401, "token_not_an_access_token");
    run(|forge| {
        let with = |name: &str, value: Value| forge.with_header(set(name, value));
        let own = Forge::claims().to_string();
        let raw = |text: &str| forge.sign(text, &own);
        let odd = encode(br#"{"alg":"ES256","typ":"at+jwt","kid":"k1","z":"??~~"}"#);
        assert!(odd.contains(['-', '_']), "{odd} has no letter of its own alphabet");
        vec![
            bearer("crit that asks for exp", &with("crit", json!(["exp"])), header()),
            bearer("crit that is empty", &with("crit", json!([])), header()),
            bearer("b64 is false", &with("b64", json!(false)), header()),
            bearer("b64 is true", &with("b64", json!(true)), header()),
            bearer("it brings its key", &with("jwk", forge.jwk()), header()),
            bearer("it names a key set", &with("jku", json!("https://evil.example/jwks.json")), header()),
            bearer("it names a certificate", &with("x5u", json!("https://evil.example/a.pem")), header()),
            bearer("it brings a certificate", &with("x5c", json!(["MIIB"])), header()),
            bearer("kid is left out and there is one key", &forge.with_header(without("kid")), forwarded()),
            bearer("kid is a number", &with("kid", json!(1)), malformed()),
            bearer("kid is null", &with("kid", Value::Null), malformed()),
            bearer("kid is a list", &with("kid", json!(["k1"])), malformed()),
            bearer("kid is a file", &with("kid", json!("../../../../dev/null")), unknown()),
            bearer("kid is SQL", &with("kid", json!("x' UNION SELECT 'k1")), unknown()),
            bearer("kid is a command", &with("kid", json!("k1|whoami")), unknown()),
            bearer("kid is empty", &with("kid", json!("")), unknown()),
            bearer("kid in another case", &with("kid", json!("K1")), unknown()),
            bearer("kid with a NUL", &with("kid", json!("k1\0")), unknown()),
            bearer("typ in capitals", &with("typ", json!("AT+JWT")), forwarded()),
            bearer("typ as a whole media type", &with("typ", json!("application/at+jwt")), forwarded()),
            bearer("typ JWT", &with("typ", json!("JWT")), other()),
            bearer("no typ", &forge.with_header(without("typ")), other()),
            bearer("typ is empty", &with("typ", json!("")), other()),
            bearer("typ logout+jwt", &with("typ", json!("logout+jwt")), other()),
            bearer("typ secevent+jwt", &with("typ", json!("secevent+jwt")), other()),
            bearer("typ dpop+jwt", &with("typ", json!("dpop+jwt")), other()),
            bearer("typ id_token+jwt", &with("typ", json!("id_token+jwt")), other()),
            bearer("typ is a number", &with("typ", json!(1)), malformed()),
            bearer("alg twice, none first", &raw(r#"{"alg":"none","typ":"at+jwt","kid":"k1","alg":"ES256"}"#), malformed()),
            bearer("alg twice, once escaped", &raw(r#"{"\u0061lg":"none","typ":"at+jwt","kid":"k1","alg":"ES256"}"#), malformed()),
            bearer("the header is a list", &raw(r#"["ES256"]"#), malformed()),
            bearer("the header is a text", &raw(r#""ES256""#), malformed()),
            bearer("the header has a tail", &raw(r#"{"alg":"ES256","typ":"at+jwt","kid":"k1"}{}"#), malformed()),
            bearer("the header has a comment", &raw(r#"{"alg":"ES256"/**/,"typ":"at+jwt","kid":"k1"}"#), malformed()),
            bearer("the header begins with a BOM", &raw("\u{feff}{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}"), malformed()),
            bearer("a padded header", &forge.signed(&format!("{}=.{}", encode(br#"{"alg":"ES256","typ":"at+jwt","kid":"k1"} "#), encode(own.as_bytes()))), malformed()),
            bearer("the other alphabet", &forge.signed(&format!("{}.{}", odd.replace('_', "/").replace('-', "+"), encode(own.as_bytes()))), malformed()),
            bearer("two parts", &Forge::input("ES256"), malformed()),
            bearer("four parts", &format!("{}.x", raw(&Forge::header().to_string())), malformed()),
            bearer("five parts, encrypted", &format!("{}.e30.e30.e30.e30", encode(br#"{"alg":"dir","enc":"A256GCM"}"#)), malformed()),
            bearer("three empty parts", "..", malformed()),
            bearer("one word", "opaque", malformed()),
        ]
    });
}

#[test]
fn claims_of_tokens() {
    let bad = || refused(401, "token_bad_claim");
    let missing = || refused(401, "token_missing_claim");
    let issuer = || refused(401, "token_unknown_issuer");
    let audience = || refused(401, "token_wrong_audience");
    let early = || refused(401, "token_not_yet_valid");
    let bound = || refused(401, "token_proof_of_key_missing");
    let own = crate::support::tokens::ISSUER;
    let now = jiff::Timestamp::now().as_second();
    run(|forge| {
        let mut cases = Vec::new();
        let mut claim = |name: &str, at: &str, value: Value, wanted: Wanted| cases.push(bearer(name, &forge.with_claims(set(at, value)), wanted));
        claim("aud is a list with ours", "aud", json!(["other", "portal-api"]), forwarded());
        claim("iss is a list", "iss", json!([own]), issuer());
        claim("iss is another", "iss", json!("https://evil.example"), issuer());
        claim("iss has a slash more", "iss", json!(format!("{own}/")), issuer());
        claim("iss in capitals", "iss", json!(own.to_uppercase()), issuer());
        claim("iss is null", "iss", Value::Null, issuer());
        claim("aud is a list without ours", "aud", json!(["other", "portal"]), audience());
        claim("aud begins like ours", "aud", json!("portal-api-evil"), audience());
        claim("aud holds ours among words", "aud", json!("other portal-api"), audience());
        claim("aud in capitals", "aud", json!("PORTAL-API"), audience());
        claim("aud is an empty list", "aud", json!([]), missing());
        claim("aud is a list in a list", "aud", json!([["portal-api"]]), bad());
        claim("aud is an object", "aud", json!({"portal-api": true}), bad());
        claim("exp is past", "exp", json!(now - 1), refused(401, "token_expired"));
        claim("exp is zero", "exp", json!(0), refused(401, "token_expired"));
        claim("exp is a text", "exp", json!((now + 600).to_string()), bad());
        claim("exp is null", "exp", Value::Null, bad());
        claim("exp is negative", "exp", json!(-1), bad());
        claim("exp is beyond any date", "exp", json!(1e30), bad());
        claim("exp is a list", "exp", json!([now + 600]), bad());
        claim("iat is tomorrow", "iat", json!(now + 86_400), early());
        claim("iat is a text", "iat", json!(now.to_string()), bad());
        claim("nbf is tomorrow", "nbf", json!(now + 86_400), early());
        claim("nbf is a text", "nbf", json!("0"), bad());
        claim("auth_time is tomorrow", "auth_time", json!(now + 86_400), early());
        claim("auth_time is a text", "auth_time", json!(now.to_string()), bad());
        claim("sub is empty", "sub", json!(""), bad());
        claim("sub is a number", "sub", json!(7), bad());
        claim("sub holds a header", "sub", json!("u\r\nX-Remote-User: admin"), bad());
        claim("sub holds a space", "sub", json!("u admin"), bad());
        claim("sub is not ASCII", "sub", json!("\u{430}dmin"), bad());
        claim("sub is very long", "sub", json!("u".repeat(256)), bad());
        claim("jti is a number", "jti", json!(7), bad());
        claim("client_id is a list", "client_id", json!(["portal"]), bad());
        claim("the patient is a list", "patient_id", json!(["p1"]), bad());
        claim("the patient is null", "patient_id", Value::Null, bad());
        claim("the patient is another", "patient_id", json!("p2"), refused(403, "no_relation"));
        claim("the patient in capitals", "patient_id", json!("P1"), refused(403, "no_relation"));
        claim("acr is a list", "acr", json!(["urn:clinic:loa:2"]), bad());
        claim("amr holds a number", "amr", json!(["pwd", 1]), bad());
        claim("amr is one word that holds pwd", "amr", json!("pwd otp"), refused(401, "level_too_low"));
        claim("a role is a number", "groups", json!(["a", 7]), bad());
        claim("scope is a number", "scope", json!(7), bad());
        claim("bound by DPoP", "cnf", json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}), bound());
        claim("bound by certificate", "cnf", json!({"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0"}), bound());
        claim("bound by null", "cnf", Value::Null, bound());
        claim("somebody acts", "act", json!({"sub": "agent"}), refused(403, "actor_not_allowed"));
        claim("somebody acts for somebody", "act", json!({"sub": "agent", "act": {"sub": "p1"}}), refused(403, "actor_not_allowed"));
        claim("the actor is a text", "act", json!("agent"), bad());
        claim("the actor is empty", "act", json!({}), bad());
        claim("the actor is null", "act", Value::Null, bad());
        claim("a logout token", "events", json!({"http://schemas.openid.net/event/backchannel-logout": {}}), refused(401, "token_not_an_access_token"));
        for name in ["exp", "aud", "sub", "client_id", "iat", "jti"] {
            cases.push(bearer(&format!("no {name}"), &forge.with_claims(without(name)), missing()));
        }
        cases.push(bearer("no iss", &forge.with_claims(without("iss")), issuer()));
        let text = Forge::claims().to_string();
        let twice = |member: &str| forge.sign(&Forge::header().to_string(), &text.replacen('{', &format!("{{{member},"), 1));
        let malformed = || refused(401, "token_malformed");
        cases.push(bearer("sub twice", &twice(r#""sub":"admin""#), malformed()));
        cases.push(bearer("patient twice, once escaped", &twice(r#""patient\u005fid":"p2""#), malformed()));
        cases.push(bearer("a member twice, deep inside", &twice(r#""x":{"a":1,"a":2}"#), malformed()));
        cases.push(bearer("a number too large for JSON readers", &twice(r#""x":1e999"#), malformed()));
        for (name, payload) in [("the payload is a list", "[]"), ("the payload is a text", r#""x""#), ("the payload is empty", ""), ("the payload is not JSON", "{x}")] {
            cases.push(bearer(name, &forge.sign(&Forge::header().to_string(), payload), malformed()));
        }
        let mut id_token = Forge::header();
        id_token["typ"] = "JWT".into();
        let mut claims = Forge::claims();
        (claims["nonce"], claims["at_hash"]) = ("n".into(), "h".into());
        cases.push(bearer("an ID token", &forge.sign(&id_token.to_string(), &claims.to_string()), refused(401, "token_not_an_access_token")));
        cases
    });
}

#[test]
fn ways_to_present_a_token() {
    let malformed = || refused(400, "credentials_malformed");
    run(|forge| {
        let token = forge.with_claims(|_| {});
        let of = |patient: &str| forge.with_claims(set("patient_id", json!(patient)));
        let query = |query: &str| ask("Authorization: $TOKEN\r\n").replace("results/1 ", &format!("results/1?{query} "));
        let post = |kind: &str, body: &str| {
            let start = "POST /patients/p1/notes HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\nAuthorization: $TOKEN\r\n";
            format!("{start}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        };
        let admin = |groups: Value| {
            let token = forge.with_claims(set("groups", groups));
            ask(&format!("Authorization: Bearer {token}\r\n")).replace("/patients/p1/results/1", "/admin/x")
        };
        let form = "application/x-www-form-urlencoded";
        let mut cases = vec![
            Case::new("nothing presented", ask(""), refused(401, "credentials_missing")),
            Case::new("in the query only", format!("GET /patients/p1/results/1?access_token={token} HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\n\r\n"), malformed()),
            Case::new("in the header and in the query", query(&format!("access_token={token}")), malformed()),
            Case::new("in the query, its name encoded", query(&format!("%61ccess%5ftoken={token}")), malformed()),
            Case::new("an empty one in the query", query("access_token="), malformed()),
            Case::new("in the header and in a form", post(form, &format!("a=1&access_token={token}")), malformed()),
            Case::new("a form without a token", post(form, "a=1"), forwarded().body(b"a=1")),
            Case::new("two headers, the same", ask("Authorization: $TOKEN\r\nAuthorization: $TOKEN\r\n"), refused(400, "duplicate_header")),
            Case::new("two headers, another patient first", ask(&format!("Authorization: Bearer {}\r\nauthorization: $TOKEN\r\n", of("p2"))), refused(400, "duplicate_header")),
            Case::new("Basic beside Bearer", ask("Authorization: Basic dTpw\r\nAuthorization: $TOKEN\r\n"), refused(400, "duplicate_header")),
            Case::new("a token of 20 KB", ask(&format!("Authorization: Bearer {}\r\n", "a".repeat(20_000))), malformed()),
            Case::new("a parameter in place of a token", ask("Authorization: Bearer token=abc\r\n"), refused(401, "token_malformed")),
            Case::new("a role among roles in one text", admin(json!("user,admin")), refused(403, "role_missing")),
            Case::new("the right role opens admin", admin(json!(["admin"])), forwarded()),
        ];
        for scheme in ["Bearer", "bearer", "BEARER", "Bearer "] {
            cases.push(Case::new(&format!("scheme `{scheme}`"), ask(&format!("Authorization: {scheme} {token}\r\n")), forwarded()));
        }
        // Bound to no key, so that no proof could be good.
        cases.push(Case::new("scheme `DPoP`", ask(&format!("Authorization: DPoP {token}\r\n")), refused(401, "token_scheme_needs_key")));
        let with = |value: &str| value.replace('$', &token);
        for value in [
            "", "Bearer", "$", "Basic $", "Basic dTpw", "Negotiate YII=", "Token $", "Bearer=$", "Bearer:$", "Bearer\t$", "Bearer,$",
            "Bearer $ x", "Bearer $,", "Bearer $, Bearer $", "Bearer $;", "Bearer $;x=1", "Bearer \"$\"", "Bearer $\u{e9}", "Bearer {$}",
            "BearerBearer $", "Bearer Bearer $",
        ] {
            cases.push(Case::new(&format!("value `{value}`"), ask(&format!("Authorization: {}\r\n", with(value))), malformed()));
        }
        cases
    });
}

#[test]
fn an_assertion_is_signed_by_the_gateway() {
    let bench = Bench::start();
    assert_eq!(super::exchange::exchange(bench.gateway.address, &bench.fill(ask("Authorization: $TOKEN\r\n").as_bytes()), 1)[0].status, 200);
    let requests = bench.upstream.requests();
    let assertion = requests[0].values("x-wardgate-assertion")[0];
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_value(http::get(bench.gateway.telemetry, "/.well-known/jwks.json").expect("keys").json()).expect("a key set");
    let key = jsonwebtoken::DecodingKey::from_jwk(&keys.keys[0]).expect("a key");
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    rules.set_audience(&["app"]);
    rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    let claims = jsonwebtoken::decode::<Value>(assertion, &key, &rules).expect("verified").claims;
    assert_eq!((claims["patient"].as_str(), claims["level"].as_str()), (Some("p1"), Some("aal1")));
}
