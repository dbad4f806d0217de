//! Questions as gateways ask them, and what is none.

use std::net::Ipv4Addr;

use serde_json::json;

use super::*;
use crate::request::Facts;
use crate::request::facts::Reading;
use crate::request::framing::BodyLength;

fn whole() -> Value {
    json!({
        "subject": { "type": "identity", "id": "user-p1" },
        "action": { "name": "GET" },
        "resource": { "type": "route", "id": "/patients/{patient}/notes",
            "properties": { "uri": "/patients/p1/notes?a=b", "host": "portal.example" } },
        "context": { "headers": { "authorization": "Bearer x" }, "has_body": false,
            "client_address": "192.0.2.7", "scheme": "https" },
    })
}

fn facts(value: &Value) -> Result<Facts, Unreadable> {
    let batch = Batch::read(value.to_string().as_bytes(), false).expect("an evaluation");
    let question = batch.evaluations.into_iter().next().expect("one").expect("whole");
    let trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let reading = Reading { trusted_proxies, header_bytes: 8192, header_count: 50 };
    question.request?.read(IpAddr::V4(Ipv4Addr::LOCALHOST), &reading)
}

fn wrong(value: &Value) -> Option<Wrong> {
    Batch::read(value.to_string().as_bytes(), false).err()
}

#[test]
fn the_request_is_the_one_described() {
    let read = facts(&whole()).expect("readable");
    assert_eq!((read.method.as_str(), read.target.raw()), ("GET", "/patients/p1/notes?a=b"));
    assert_eq!(
        (read.host.as_str(), read.secure, read.body.length),
        ("portal.example", true, BodyLength::None)
    );
    assert_eq!(read.client, "192.0.2.7".parse().ok());
    let mut unsaid = whole();
    unsaid["context"].as_object_mut().expect("an object").remove("has_body");
    assert_eq!(facts(&unsaid).expect("readable").body.length, BodyLength::Chunked, "there may be one");
    let mut plain = whole();
    plain["resource"] = json!({ "type": "route", "id": "/r", "properties": { "host": "portal.example" } });
    assert_eq!(facts(&plain).expect("readable").target.raw(), "/r");
    plain["later"] = json!({ "unknown": true });
    plain["subject"]["properties"] = json!({ "ip": "::1" });
    assert!(facts(&plain).is_ok(), "unknown members are left alone");
}

#[test]
fn what_clients_say_of_their_way_is_left_out() {
    let mut value = whole();
    value["context"]["headers"]["X-Forwarded-For"] = "198.51.100.1".into();
    value["context"]["headers"]["x-forwarded-proto"] = json!(["https", "https"]);
    let read = facts(&value).expect("readable");
    assert_eq!((read.client, read.secure), ("192.0.2.7".parse().ok(), true));
    for name in ["client_address", "scheme"] {
        value["context"].as_object_mut().expect("an object").remove(name);
    }
    let read = facts(&value).expect("readable");
    assert_ne!(read.client, "198.51.100.1".parse().ok());
    assert!(!read.secure);
}

#[test]
fn requests_are_read_as_on_the_wire() {
    for target in
        ["/a/../b", "/a%2fb", "//a", "http://other.example/a", "/a b", "/{patient}", "a", "", "/a#b"]
    {
        let mut value = whole();
        value["resource"]["properties"]["uri"] = target.into();
        assert!(facts(&value).is_err(), "{target}");
    }
    let mut twice = whole();
    twice["context"]["headers"]["Authorization"] = "Bearer y".into();
    assert_eq!(facts(&twice).err(), Some(Unreadable::DuplicateHeader));
    twice["context"]["headers"] = json!({ "authorization": ["Bearer x", "Bearer y"] });
    assert_eq!(facts(&twice).err(), Some(Unreadable::DuplicateHeader));
    let mut other = whole();
    other["resource"]["type"] = "record".into();
    assert_eq!(facts(&other).err(), Some(Unreadable::NotOriginForm));
    other = whole();
    other["resource"]["properties"].as_object_mut().expect("an object").remove("host");
    assert_eq!(facts(&other).err(), Some(Unreadable::MissingHost));
}

#[test]
fn what_is_none_is_told_so() {
    for (pointer, value) in [
        ("/subject", json!(null)),
        ("/subject/type", json!(1)),
        ("/subject/id", json!(null)),
        ("/action", json!("GET")),
        ("/action/name", json!(["GET"])),
        ("/resource", json!([])),
        ("/resource/type", json!(null)),
        ("/resource/id", json!({})),
        ("/resource/properties", json!("x")),
        ("/resource/properties/uri", json!(7)),
        ("/resource/properties/host", json!(["a", "b"])),
        ("/context", json!([])),
        ("/context/has_body", json!("no")),
        ("/context/headers", json!(["authorization"])),
        ("/context/headers/authorization", json!(7)),
        ("/context/headers/authorization", json!("a\nb")),
        ("/context/client_address", json!("portal.example")),
        ("/context/scheme", json!("ftp")),
    ] {
        let mut changed = whole();
        *changed.pointer_mut(pointer).expect("there") = value.clone();
        assert!(wrong(&changed).is_some(), "{pointer} = {value}");
    }
    for text in ["", "[]", "{", "null", r#"{"subject":1,"subject":2}"#] {
        assert!(Batch::read(text.as_bytes(), false).is_err(), "{text}");
    }
}

#[test]
fn lists_have_defaults_and_an_end() {
    let mut value = whole();
    let other = json!({ "type": "route", "id": "/r", "properties": { "host": "portal.example" } });
    value["evaluations"] =
        json!([{}, { "resource": other }, { "action": { "name": "PUT" } }, 7, { "action": {} }]);
    let read = |value: &Value| Batch::read(value.to_string().as_bytes(), true);
    let batch = read(&value).expect("a list");
    assert!(batch.is_list && batch.until == Until::End);
    let whole_ones: Vec<bool> = batch.evaluations.iter().map(Result::is_ok).collect();
    assert_eq!(whole_ones, [true, true, true, false, false]);
    for (word, until) in [
        ("execute_all", Some(Until::End)),
        ("deny_on_first_deny", Some(Until::Deny)),
        ("permit_on_first_permit", Some(Until::Permit)),
        ("all", None),
    ] {
        value["options"] = json!({ "evaluations_semantic": word });
        assert_eq!(read(&value).ok().map(|batch| batch.until), until, "{word}");
    }
    assert!(Until::Deny.is_reached(false) && !Until::Deny.is_reached(true));
    assert!(
        Until::Permit.is_reached(true) && !Until::Permit.is_reached(false) && !Until::End.is_reached(true)
    );
    value["options"] = json!({});
    value["evaluations"] = vec![json!({}); MOST].into();
    assert!(read(&value).is_ok());
    value["evaluations"] = vec![json!({}); MOST + 1].into();
    assert!(read(&value).is_err());
    value["evaluations"] = json!([]);
    assert!(!read(&value).expect("a single one").is_list);
}
