//! Stopping and starting again: no answer is lost, no record is torn, and never two at the same place.

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::{EXPORT, JSON, PAY, READ, proofs, setup, start};
use crate::support::upstream::Behaviour;
use crate::support::{Connection, Gateway, Recorder, Setup, Signer, eventually, http, tokens, wire};

const LONG: Duration = Duration::from_secs(30);
const SLOW: &str = "/patients/p1/results/slow";
const SERVED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Takes so long for the slow request, and no time for others.
fn upstream(slowness: Duration) -> Recorder {
    let behaviour: Behaviour = Arc::new(move |request, stream| {
        if request.target() == SLOW {
            std::thread::sleep(slowness);
        }
        stream.write_all(SERVED).is_ok()
    });
    Recorder::behaving(behaviour)
}

fn stopping(upstream: &Recorder, shutdown: &str) -> (Gateway, Signer) {
    let signer = Signer::new();
    let gateway = setup(upstream.address, &signer, |text| {
        let text = text.replace("lame_duck: 1s, grace: 10s", shutdown);
        text.replace("read: 5s", "read: 60s")
    });
    (gateway.start(), signer)
}

/// The journal as it lies there, with what no record is left out.
fn records(gateway: &Gateway) -> Vec<Value> {
    let text = std::fs::read_to_string(gateway.audit_file()).expect("the journal");
    assert!(text.ends_with('\n'), "the last line is torn");
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn assert_continuous(records: &[Value]) {
    let sequence: Vec<u64> = records.iter().filter_map(|record| record["seq"].as_u64()).collect();
    assert_eq!(sequence.len(), records.len());
    assert!(sequence.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sequence:?}");
}

#[test]
fn a_running_request_is_finished_and_then_nothing_is_waited_for() {
    let upstream = upstream(Duration::from_secs(3));
    let (mut gateway, signer) = stopping(&upstream, "lame_duck: 1s, grace: 60s");
    let token = signer.bearer("p1", "aal1", 5);
    let (address, headers) = (gateway.address, [("Authorization", token.as_str())]);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| wire::once(address, "GET", SLOW, &headers, b""));
        eventually("the slow request is under way", LONG, || upstream.count() == 1);
        gateway.signal("TERM");
        eventually("/readyz says no", Duration::from_millis(900), || {
            gateway.telemetry_page("/readyz").status == 503
        });
        assert!(gateway.telemetry_page("/readyz").body.contains("stopping"));
        let late = wire::once(address, "GET", READ, &headers, b"").expect("an answer");
        assert_eq!((late.status, late.closes()), (200, true), "served, and told to go elsewhere");
        assert_eq!(slow.join().expect("joined").expect("an answer").status, 200);
    });
    assert_eq!(gateway.wait(LONG), Some(0), "it does not wait for the rest of the grace period");
    let records = records(&gateway);
    assert_continuous(&records);
    assert_eq!(records.iter().filter(|record| record["event"] == "stopping").count(), 1);
    assert_eq!(records.iter().filter(|record| record["result"] == "completed").count(), 2);
}

/// One worker of a load balancer: goes on until it is told that the gateway is leaving.
fn work(gateway: &Gateway, token: &str, leaving: &AtomicBool, served: &AtomicUsize) -> Vec<String> {
    let (mut lost, mut kept) = (Vec::new(), None::<Connection>);
    loop {
        // A connection that was closed before anything was sent on it is simply replaced.
        let mut connection = match kept.take().filter(|kept| !kept.is_closed()) {
            Some(connection) => connection,
            None if leaving.load(Ordering::SeqCst) => return lost,
            None => Connection::open(gateway.address).expect("it still listens"),
        };
        match connection.ask("GET", READ, &[("Authorization", token)], b"") {
            Ok(answer) if answer.status == 200 => {
                served.fetch_add(1, Ordering::Relaxed);
                kept = (!answer.closes()).then_some(connection);
            }
            Ok(answer) => lost.push(format!("{}: {}", answer.status, answer.text())),
            Err(error) => lost.push(error.to_string()),
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

#[test]
fn no_answer_is_lost_under_a_steady_load() {
    let upstream = upstream(Duration::ZERO);
    let (mut gateway, signer) = stopping(&upstream, "lame_duck: 2s, grace: 20s");
    let token = signer.bearer("p1", "aal1", 5);
    let (leaving, served, lost) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let own = work(&gateway, &token, &leaving, &served);
                lost.lock().expect("whole").extend(own);
            });
        }
        eventually("the load is steady", Duration::from_secs(60), || served.load(Ordering::Relaxed) > 800);
        gateway.signal("TERM");
        eventually("/readyz says no", LONG, || gateway.telemetry_page("/readyz").status == 503);
        let before = served.load(Ordering::Relaxed);
        // A load balancer takes a moment to notice.
        std::thread::sleep(Duration::from_millis(700));
        assert!(served.load(Ordering::Relaxed) > before, "nothing is served any more");
        leaving.store(true, Ordering::SeqCst);
    });
    let lost = lost.into_inner().expect("whole");
    assert!(lost.is_empty(), "{} of {} answers were lost: {lost:?}", lost.len(), served.into_inner());
    assert_eq!(gateway.wait(LONG), Some(0));
    assert_continuous(&records(&gateway));
}

#[test]
fn what_outlasts_the_grace_period_is_cut_and_its_outcome_open() {
    let upstream = upstream(Duration::from_secs(40));
    let (mut gateway, signer) = stopping(&upstream, "lame_duck: 0s, grace: 3s");
    let token = signer.bearer("p1", "aal1", 5);
    let mut connection = Connection::open(gateway.address).expect("a connection");
    let head = wire::head("GET", SLOW, &[("Authorization", &token)], None);
    connection.stream.write_all(head.as_bytes()).expect("sent");
    eventually("the slow request is under way", LONG, || upstream.count() == 1);
    gateway.signal("TERM");
    assert_eq!(gateway.wait(Duration::from_secs(20)), Some(0));
    assert!(connection.answer(false).is_err(), "an answer was made up");
    assert_continuous(&records(&gateway));
}

#[test]
fn an_interrupt_ends_it_at_once_with_the_journal_whole() {
    let upstream = upstream(Duration::from_secs(40));
    let (mut gateway, signer) = stopping(&upstream, "lame_duck: 30s, grace: 60s");
    let token = signer.bearer("p1", "aal1", 5);
    for _ in 0..20 {
        assert_eq!(
            wire::once(gateway.address, "GET", READ, &[("Authorization", &token)], b"")
                .expect("an answer")
                .status,
            200
        );
    }
    let mut connection = Connection::open(gateway.address).expect("a connection");
    let head = wire::head("GET", SLOW, &[("Authorization", &token)], None);
    connection.stream.write_all(head.as_bytes()).expect("sent");
    eventually("the slow request is under way", LONG, || upstream.count() == 21);
    gateway.signal("INT");
    assert_eq!(gateway.wait(LONG), Some(0));
    let records = records(&gateway);
    assert_continuous(&records);
    let of = |event: &str| records.iter().filter(|record| record["event"] == event).count();
    assert_eq!((of("intent"), of("stopping")), (21, 1), "what was buffered is written too");
}

#[test]
fn after_a_crash_the_journal_goes_on_and_old_proofs_pay_for_nothing() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let setup = setup(upstream.address, &signer, |text| text);
    let gateway = setup.start();
    let proof = proofs(&gateway, &signer, 1).remove(0);
    let mut decisions = Vec::new();
    for _ in 0..10 {
        let paid =
            http::send(gateway.address, "POST", PAY, &[("Authorization", &proof)], b"5").expect("an answer");
        assert_eq!(paid.status, 200);
        decisions.push(paid.decision().to_owned());
    }
    let spend = |gateway: &Gateway, proof: &str| {
        http::send(gateway.address, "PUT", EXPORT, &[("Authorization", proof), JSON], b"{}")
            .expect("an answer")
    };
    assert_eq!(spend(&gateway, &proof).status, 200);
    let file = gateway.audit_file();
    gateway.kill();
    let text = std::fs::read_to_string(&file).expect("the journal");
    for decision in &decisions {
        assert!(text.contains(decision), "an action was done and is not recorded");
    }
    let whole = text.lines().count();
    // As a power cut would leave it.
    let torn = r#"{"seq":9999,"origin":"torn"#;
    let mut journal = std::fs::OpenOptions::new().append(true).open(&file).expect("the journal");
    journal.write_all(torn.as_bytes()).expect("written");

    let gateway = setup.start();
    assert_eq!(spend(&gateway, &proof).json()["reason"], "proof_already_spent", "nobody knows any more");
    let fresh = proofs(&gateway, &signer, 1).remove(0);
    assert_eq!(spend(&gateway, &fresh).status, 200);
    std::thread::sleep(Duration::from_millis(300));
    let records = records(&gateway);
    assert_continuous(&records);
    assert_eq!(records[whole]["event"], "signer", "who cuts it off is known first");
    assert_eq!(
        records[whole + 1]["event"],
        "torn",
        "what nobody was told of is cut off, and that is recorded"
    );
    assert_eq!(records[whole + 1]["bytes"].as_u64(), Some(torn.len() as u64));
    let starts: Vec<&Value> = records.iter().filter(|record| record["event"] == "started").collect();
    assert_eq!(starts.len(), 2);
    assert_ne!(starts[0]["origin"], starts[1]["origin"]);
}

#[test]
fn two_never_write_one_journal() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let setup = setup(upstream.address, &signer, |text| text);
    let first = setup.start();
    let (code, said) = setup.refused();
    assert_eq!(code, Some(1));
    assert!(
        said.contains("audit.jsonl") && said.contains("another wardgate") && said.contains("audit.dir"),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    let token = signer.bearer("p1", "aal1", 5);
    let answer =
        http::send(first.address, "GET", READ, &[("Authorization", &token)], b"").expect("an answer");
    assert_eq!(answer.status, 200, "the first is unharmed");
    assert_continuous(&first.audit());
}

#[test]
fn an_address_that_is_taken_is_named_and_nothing_is_served() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("an address").to_string();
    for place in ["$LISTEN", "$TELEMETRY"] {
        let text =
            tokens::config("127.0.0.1:9".parse().expect("an address"), super::ROUTES).replace(place, &taken);
        let (code, said) = Setup::new(&text, |dir| super::write_keys(dir, &Signer::new())).refused();
        assert_eq!(code, Some(1), "{place}");
        assert!(said.contains(&taken) && said.contains("choose another address"), "{place}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_quit_signal_changes_nothing() {
    let upstream = Recorder::start();
    let (gateway, signer) = start(&upstream);
    gateway.signal("QUIT");
    eventually("it is noted", LONG, || gateway.logs().iter().any(|line| line.contains("SIGQUIT")));
    let token = signer.bearer("p1", "aal1", 5);
    assert_eq!(
        http::send(gateway.address, "GET", READ, &[("Authorization", &token)], b"")
            .expect("an answer")
            .status,
        200
    );
    assert_eq!(gateway.telemetry_page("/readyz").status, 200);
}

#[test]
fn clients_are_sent_elsewhere_before_it_is_stopped() {
    let upstream = upstream(Duration::ZERO);
    let (mut gateway, signer) = stopping(&upstream, "lame_duck: 2s, grace: 60s");
    let token = signer.bearer("p1", "aal1", 5);
    let read =
        || wire::once(gateway.address, "GET", READ, &[("Authorization", &token)], b"").expect("an answer");
    let drain = |pid: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_wardgate"));
        command.args(["drain", "--pid", pid]).output().expect("it runs")
    };
    for wrong in ["0", "-1", "2147483647"] {
        let output = drain(wrong);
        assert!(!output.status.success() && output.stderr.starts_with(b"error: "), "{wrong}: {output:?}");
    }
    assert!(drain(&gateway.pid().to_string()).status.success());
    eventually("it says no", LONG, || gateway.telemetry_page("/readyz").status == 503);
    let answer = read();
    assert_eq!((answer.status, answer.closes()), (200, true));
    gateway.signal("USR2");
    let told = |part: &str| gateway.logs().iter().any(|line| line.contains(part));
    eventually("no upgrade begins", LONG, || told("SIGUSR2 is ignored"));
    assert!(drain(&gateway.pid().to_string()).status.success(), "again");
    // All of the time in which it would still have served.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(read().status, 200, "until it is told to stop");
    gateway.signal("TERM");
    eventually("it stops", LONG, || told("lame_duck=0ns"));
    assert_eq!(gateway.wait(LONG), Some(0));
    assert_eq!(records(&gateway).iter().filter(|record| record["event"] == "stopping").count(), 1);
}
