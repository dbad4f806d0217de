//! A flood of what anybody can send, on a disk that is slow: the trail stays small and tells how much there was, and nobody
//! who has a right is kept waiting for it.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{NOTES, READ, setup};
use crate::support::{Connection, Gateway, Recorder, Signer, eventually, http};

const LONG: Duration = Duration::from_secs(60);
/// From each of so many clients.
const REQUESTS: usize = 600;
const CLIENTS: usize = 8;
/// So many of one kind are recorded one by one in ten seconds.
const ONE_BY_ONE: usize = 100;

/// Each write to the journal takes 20 ms longer, as long as this lives.
struct SlowDisk(Child);

impl SlowDisk {
    fn under(gateway: &Gateway) -> Self {
        let pid = gateway.pid();
        let child = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-p", &pid.to_string(), "-e", "trace=write,fdatasync"])
            .arg("-P")
            .arg(gateway.audit_file())
            .args(["-e", "inject=write,fdatasync:delay_enter=20000"])
            .stderr(Stdio::null())
            .spawn()
            .expect("strace runs: see scripts/setup.sh test");
        eventually("the disk is slow", LONG, || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        });
        Self(child)
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_flood_of_strangers_leaves_numbers_and_keeps_nobody_waiting() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let gateway = setup(upstream.address, &signer, |text| text).start();
    let disk = SlowDisk::under(&gateway);
    let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let flood: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| ask_as_a_stranger(&gateway))).collect();
        scope.spawn(|| {
            let token = signer.bearer("p1", "aal1", 5);
            while !over.load(Ordering::SeqCst) {
                for (method, target) in [("GET", READ), ("POST", NOTES)] {
                    let answer =
                        http::send(gateway.address, method, target, &[("Authorization", &token)], b"");
                    assert_eq!(answer.expect("an answer").status, 200);
                }
                served.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let ended: Vec<_> = flood.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::SeqCst);
        assert!(ended.iter().all(Result::is_ok), "each stranger was answered");
    });
    let spans = begun.elapsed().as_secs() as usize / 10 + 2;
    drop(disk);
    assert!(served.into_inner() > 3, "who has a right was served meanwhile");
    let of = |event: &str| {
        let records = gateway.audit().into_iter();
        records.filter(|record| record["event"] == event).collect::<Vec<_>>()
    };
    let numbers = || {
        let aggregated = of("aggregated");
        aggregated.iter().filter_map(|record| record["count"].as_u64()).sum::<u64>() as usize
    };
    eventually("all are on record", LONG, || of("decision").len() + numbers() == CLIENTS * REQUESTS);
    let mut kinds = BTreeMap::<String, usize>::new();
    for record in of("decision") {
        *kinds.entry(record["reason"].to_string()).or_default() += 1;
    }
    assert!(kinds.len() == 4 && kinds.values().all(|count| *count <= ONE_BY_ONE * spans), "{kinds:?}");
    assert_eq!(
        gateway.metric("wardgate_uncovered_requests_total"),
        (CLIENTS * REQUESTS / 4) as f64,
        "each is counted"
    );
}

#[test]
fn a_gateway_that_is_stopped_leaves_the_number_behind() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    for signal in ["TERM", "INT"] {
        let mut gateway = setup(upstream.address, &signer, |text| text).start();
        let mut connection = Connection::open(gateway.address).expect("a connection");
        for _ in 0..3 * ONE_BY_ONE {
            assert_eq!(connection.ask("GET", READ, &[], b"").expect("an answer").status, 401);
        }
        drop(connection);
        gateway.signal(signal);
        gateway.wait(LONG);
        let of = |event: &str| {
            gateway.audit().into_iter().filter(|record| record["event"] == event).collect::<Vec<_>>()
        };
        let numbers: u64 = of("aggregated").iter().filter_map(|record| record["count"].as_u64()).sum();
        assert_eq!(of("decision").len() + numbers as usize, 3 * ONE_BY_ONE, "{signal}");
        assert_eq!(of("stopping").len(), 1, "{signal}");
    }
}

fn ask_as_a_stranger(gateway: &Gateway) {
    let mut kept = None::<Connection>;
    for number in 0..REQUESTS {
        let mut connection = match kept.take().filter(|kept| !kept.is_closed()) {
            Some(connection) => connection,
            None => Connection::open(gateway.address).expect("a connection"),
        };
        let (target, headers, status): (&str, &[(&str, &str)], u16) = match number % 4 {
            0 => (READ, &[], 401),
            1 => (READ, &[("Authorization", "Bearer eyJhbGciOiJFUzI1NiJ9.e30.AA")], 401),
            2 => ("/unknown", &[], 404),
            _ => ("/patients/../unknown", &[], 400),
        };
        let answer = connection.ask("GET", target, headers, b"").expect("an answer");
        assert_eq!(answer.status, status, "{}", answer.text());
        kept = (!answer.closes()).then_some(connection);
    }
}
