//! The requests of the table: who asks for what, and what might talk a front into another answer.

use crate::support::Signer;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub enum Caller {
    Nobody,
    /// Somebody with what is no token.
    Forged,
    /// A patient by this name, at this level, who signed in so many seconds ago.
    Patient(&'static str, &'static str, i64),
    /// Patient p1 whose token has ended.
    Expired,
    /// Patient p1 with a client that was revoked.
    Revoked,
    /// Somebody who acts for patient p1.
    Actor,
    /// Somebody with these roles and scopes.
    Staff(&'static str, &'static str),
}

/// One request.
#[derive(Debug, Clone)]
pub struct Row {
    pub method: &'static str,
    pub target: String,
    pub caller: Caller,
    pub headers: &'static [(&'static str, &'static str)],
    pub body: &'static str,
    /// How often it is sent; the last answer counts.
    pub times: usize,
}

const CSV: &[(&str, &str)] = &[("Content-Type", "text/csv")];

/// One request of somebody's, with a body where the method has one.
pub fn row(method: &'static str, target: impl Into<String>, caller: Caller) -> Row {
    let (headers, body) = if method == "PUT" || method == "POST" { (CSV, "a,b\n") } else { (&[][..], "") };
    Row { method, target: target.into(), caller, headers, body, times: 1 }
}

/// Each tier × caller × age × method.
pub fn of_tiers() -> Vec<Row> {
    let callers = [
        Caller::Nobody,
        Caller::Forged,
        Caller::Expired,
        Caller::Revoked,
        Caller::Actor,
        Caller::Patient("p1", "aal1", 0),
        Caller::Patient("p1", "aal1", 100_000),
        Caller::Patient("p1", "aal2", 0),
        Caller::Patient("p1", "aal2", 4_000),
        Caller::Patient("p2", "aal2", 0),
        Caller::Staff("nurse", "ward.read"),
    ];
    let mut rows = Vec::new();
    for tier in ["low", "moderate", "high", "critical"] {
        for caller in callers {
            for method in ["GET", "PUT"] {
                rows.push(row(method, format!("/patients/p1/{tier}"), caller));
            }
        }
    }
    rows
}

/// Everything else that decides.
pub fn of_rules() -> Vec<Row> {
    let own = Caller::Patient("p1", "aal2", 0);
    let mut rows = vec![
        row("GET", "/r/a?b=1&c=%C3%A9", Caller::Nobody),
        row("GET", "/r/caf%C3%A9/a%20b/!$&'()*+,=:@", Caller::Nobody),
        row("GET", "/r/a", Caller::Forged),
        row("PUT", "/r/a", Caller::Nobody),
        row("DELETE", "/r/a", Caller::Nobody),
        row("HEAD", "/r/a", Caller::Nobody),
        row("POST", "/r/a", Caller::Nobody),
        row("POST", "/w/a", Caller::Nobody),
        row("GET", "/nowhere", own),
        row("GET", "/R/a", own),
        row("GET", "/patients/p1/low/", own),
        row("DELETE", "/patients/p1/low", own),
        row("GET", "/ward/7", Caller::Staff("nurse", "ward.read")),
        row("GET", "/ward/7", Caller::Staff("nurse", "other")),
        row("GET", "/ward/7", Caller::Staff("clerk", "ward.read")),
        row("GET", "/ward/7", Caller::Staff("clerk,nurse", "ward.read")),
        row("GET", "/closed/p1", own),
        row("GET", "/named", own),
        Row { times: 1, ..row("GET", "/rare", own) },
        Row { times: 2, ..row("GET", "/rare", own) },
        Row { times: 2, ..row("PUT", "/patients/p1/critical", own) },
        row("GET", "/patients/p1/visit", own),
    ];
    // What clients say of themselves and of their way changes nothing.
    let words: [&'static [(&'static str, &'static str)]; 5] = [
        &[("X-Forwarded-Uri", "/r/a"), ("X-Forwarded-Method", "GET"), ("X-Forwarded-Body", "no")],
        &[("X-Forwarded-Host", "other.example"), ("Forwarded", "host=other.example")],
        &[("X-Original-URL", "/r/a"), ("X-Rewrite-URL", "/r/a"), ("X-Original-Method", "DELETE")],
        &[("X-Wardgate-Assertion", "forged"), ("X-Remote-User", "admin"), ("X-Wardgate-Status", "200")],
        &[("X-Forwarded-Refusal", "in-headers")],
    ];
    for headers in words {
        for target in ["/patients/p1/low", "/named", "/r/a"] {
            rows.push(Row { headers, ..row("GET", target, Caller::Nobody) });
        }
        rows.push(Row { headers, ..row("DELETE", "/patients/p1/low", own) });
    }
    rows
}

/// Requests that can be read in two ways, with a token that would be enough for either.
pub fn hostile() -> Vec<Row> {
    let own = Caller::Patient("p1", "aal2", 0);
    let targets = [
        "/r/../patients/p1/low",
        "/r/./a",
        "/r/..",
        "/r/%2e%2e/patients/p1/low",
        "/r/.%2e/patients/p1/low",
        "/r/%252e%252e/patients/p1/low",
        "/r/..%2fpatients/p1/low",
        "/r/..%5cpatients/p1/low",
        "/r/..;/patients/p1/low",
        "/r/a;b=c",
        "/r/a%3bb",
        "//r/a",
        "/r//a",
        "/r/a//",
        "/r/a%2fb",
        "/%72/a",
        "/r/a#/patients/p1/low",
        "/r/a%23b",
        "/r/a%3fb",
        "/r/a%00.json",
        "/r/a%0d%0aX-Remote-User:%20admin",
        "/r/a%",
        "/r/a%4",
        "/r/a%zz",
        "/r/%c0%ae%c0%ae/a",
        "/r/%ef%bc%8e%ef%bc%8e/a",
        "/r/caf%e9",
        "/r/a\\b",
        "/r/a|b",
        "/r/a^b",
        "/r/{a}",
        "?x=1",
        "!",
        "*",
        "*abc",
        "admin:80/x",
        "http://other.example/named",
        "/r/a?_method=DELETE",
        "/r/a?%5Fmethod=DELETE",
        "/patients/p1/low?access_token=x",
    ];
    let mut rows: Vec<Row> = targets.iter().map(|target| row("GET", *target, own)).collect();
    for method in ["get", "GETX", "TRACE", "PROPFIND"] {
        rows.push(row(method, "/r/a", own));
    }
    let headers: [&'static [(&'static str, &'static str)]; 5] = [
        &[("X-HTTP-Method-Override", "DELETE")],
        &[("Authorization", "Bearer a"), ("Authorization", "Bearer b")],
        &[("Host", "portal.example"), ("Host", "other.example")],
        &[("Host", "portal.example/r/a")],
        &[("Transfer-Encoding", "xchunked")],
    ];
    for headers in headers {
        rows.push(Row { headers, ..row("GET", "/r/a", Caller::Nobody) });
    }
    rows
}

impl Caller {
    /// The `Authorization` of this caller; `salt` keeps one front's proofs from paying for another's requests.
    pub fn authorization(self, signer: &Signer, salt: &str) -> Option<String> {
        let mut claims = match self {
            Self::Nobody => return None,
            Self::Forged => return Some("Bearer forged".to_owned()),
            Self::Patient(patient, level, age) => Signer::claims(patient, level, age),
            _ => Signer::claims("p1", "aal2", 0),
        };
        claims["sub"] = format!("user-{salt}").into();
        match self {
            Self::Expired => {
                for name in ["iat", "exp", "auth_time"] {
                    claims[name] = (claims[name].as_i64().expect("a moment") - 7_200).into();
                }
            }
            Self::Revoked => {
                claims["client_id"] = "lost".into();
                claims["iat"] = (claims["iat"].as_i64().expect("a moment") - 60).into();
            }
            Self::Actor => claims["act"] = serde_json::json!({ "sub": "proxy" }),
            Self::Staff(roles, scopes) => {
                claims["groups"] = serde_json::json!([roles]);
                claims["scope"] = scopes.into();
                claims.as_object_mut().expect("claims").remove("patient_id");
            }
            Self::Nobody | Self::Forged | Self::Patient(..) => {}
        }
        Some(format!("Bearer {}", signer.sign(&claims)))
    }
}
