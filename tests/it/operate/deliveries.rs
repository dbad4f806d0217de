//! The audit trail is delivered to a real Redis, to files and to standard output: outages lose nothing.

use std::collections::HashSet;

use serde_json::Value;
use wardgate::audit::formats::Format;
use wardgate::config::settings::{RecordFormat, RedisStreamSettings, SinkKind};

use super::room::Disk;
use super::setup;
use super::sinks::{LONG, assert_all_came, key, run_with};
use crate::support::redis::Redis;
use crate::support::{Recorder, Signer, eventually};

const STREAM: &str = "clinic:audit";

fn stream(redis: &Redis) -> RedisStreamSettings {
    RedisStreamSettings {
        host: "127.0.0.1".to_owned(),
        port: redis.address.port(),
        tls: false,
        database: 0,
        username: None,
        password_file: None,
        ca_file: None,
        key: STREAM.into(),
        most_records: None,
    }
}

/// How many entries there are, and the records in them, each once, in their order.
fn entries(redis: &Redis) -> (usize, Vec<Value>) {
    let all: Value =
        serde_json::from_str(&redis.say_as(&["--json"], &["XRANGE", STREAM, "-", "+"])).expect("JSON");
    let all = all.as_array().expect("entries");
    let mut seen = HashSet::new();
    let records = all.iter().map(|entry| {
        let fields = entry[1].as_array().expect("fields");
        assert_eq!((fields[0].as_str(), fields[2].as_str()), (Some("key"), Some("record")));
        let record: Value = serde_json::from_str(fields[3].as_str().expect("text")).expect("JSON");
        assert_eq!(fields[1], *key(&record));
        record
    });
    (all.len(), records.filter(|record| seen.insert(key(record))).collect())
}

fn outage(count: usize) {
    let mut redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let running = run_with(SinkKind::RedisStream(stream(&redis)), RecordFormat::Wardgate);
    running.append(count / 3);
    eventually("some came", LONG, || entries(&redis).0 > 10);
    let is_told = |why: &str| running.sinks.trouble().iter().any(|trouble| trouble.contains(why));
    redis.kill();
    running.append(count / 3);
    eventually("it is told", LONG, || is_told("can't be reached"));
    redis.restart();
    redis.freeze();
    running.append(count / 3);
    eventually("it is told", LONG, || is_told("does not answer in time"));
    redis.thaw();
    eventually("all come", LONG * 4, || entries(&redis).1.len() > count / 3 * 3);
    redis.say(&["CONFIG", "SET", "maxmemory", "1"]);
    running.append(10);
    eventually("it is told", LONG, || is_told("it answers"));
    let before = entries(&redis).0;
    redis.say(&["CONFIG", "SET", "maxmemory", "0"]);
    running.finish();
    let (all, kept) = entries(&redis);
    assert_all_came(running.dir.path(), &kept);
    assert!(before < all, "the rest came once there was memory");
}

#[test]
fn nothing_is_lost_when_redis_is_killed_hangs_or_is_full() {
    outage(1_200);
}

/// 10 minutes at 200 records a second.
#[test]
#[ignore = "a soak: `make soak`"]
fn soak_nothing_is_lost_in_a_long_outage_of_redis() {
    outage(120_000);
}

#[test]
fn a_stream_keeps_no_more_than_it_is_told_to_and_takes_only_who_may() {
    let redis = Redis::start(&["--requirepass", "sesame-canary"]);
    let dir = tempfile::tempdir().expect("a directory");
    let password = dir.path().join("password");
    std::fs::write(&password, "wrong-canary\n").expect("written");
    let settings = RedisStreamSettings {
        password_file: Some(password.clone()),
        most_records: Some(100),
        ..stream(&redis)
    };
    let running = run_with(SinkKind::RedisStream(settings), RecordFormat::Converted(Format::Ocsf));
    running.append(2_000);
    eventually("it is told", LONG, || {
        let trouble = running.sinks.trouble().join("\n");
        assert!(!trouble.contains("canary"), "{trouble}");
        trouble.contains("it answers")
    });
    std::fs::write(&password, "sesame-canary\n").expect("written");
    running.finish();
    let length = redis.say_as(&["-a", "sesame-canary", "--no-auth-warning"], &["XLEN", STREAM]);
    let length: usize = length.parse().expect("a number");
    assert!((100..1_000).contains(&length), "{length}");
}

#[test]
fn a_copy_in_a_file_goes_through_no_link_and_is_begun_anew_where_it_was_moved() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("copy.jsonl");
    std::os::unix::fs::symlink("/dev/null", &path).expect("linked");
    let running = run_with(SinkKind::File(path.clone()), RecordFormat::Wardgate);
    running.append(50);
    eventually("it is told", LONG, || running.sinks.trouble().join("\n").contains("no regular file"));
    std::fs::remove_file(&path).expect("removed");
    eventually("it comes", LONG, || std::fs::metadata(&path).is_ok_and(|file| file.len() > 5_000));
    std::fs::rename(&path, dir.path().join("copy.1")).expect("rotated");
    running.append(50);
    running.finish();
    let text =
        ["copy.1", "copy.jsonl"].map(|name| std::fs::read_to_string(dir.path().join(name)).expect(name));
    let kept: Vec<Value> = text
        .iter()
        .flat_map(|text| text.lines())
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_all_came(running.dir.path(), &kept);
    assert!(!text[1].is_empty());
}

#[test]
fn a_full_disk_leaves_whole_lines_in_a_copy_and_gets_the_rest_later() {
    let disk = Disk::mount();
    let path = disk.path().join("copy.jsonl");
    let running = run_with(SinkKind::File(path.clone()), RecordFormat::Wardgate);
    running.append(50);
    let length = || std::fs::metadata(&path).map_or(0, |file| file.len());
    eventually("it comes", LONG, || length() > 5_000);
    disk.fill();
    let trouble = || running.sinks.trouble().join("\n");
    // What is begun goes on to fit until its last page is full.
    for _ in 0..20 {
        running.append(100);
    }
    eventually("it is told", LONG, || trouble().contains("No space left"));
    // Half a line is there only while it is tried again.
    eventually("lines are whole", LONG, || std::fs::read(&path).expect("readable").ends_with(b"\n"));
    disk.make_room();
    running.finish();
    let text = std::fs::read_to_string(&path).expect("text");
    let kept: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_all_came(running.dir.path(), &kept);
}

#[test]
fn standard_output_gets_records_and_nothing_else() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let setup = setup(upstream.address, &signer, |text| {
        let sink = "audit: { dir: ./audit, sinks: [{ name: pod, type: stdout, format: cef }] }";
        text.replace("audit: { dir: ./audit }", sink)
    });
    let mut gateway = setup.start();
    gateway.signal("TERM");
    gateway.wait(LONG);
    let said = std::fs::read_to_string(setup.dir().join("stdout")).expect("text");
    assert!(said.lines().all(|line| line.starts_with("CEF:0|Wardgate|")), "{said}");
    assert!(said.contains("|started|") && said.contains("|stopping|"), "{said}");
}
