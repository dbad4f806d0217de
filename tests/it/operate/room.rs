//! A disk that others have filled: what is kept for requests that must be on disk first is theirs, then they too are refused
//! at once, and all of it ends by itself.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{JSON, NOTES, PAY, READ, proofs, setup};
use crate::support::{Gateway, Recorder, Signer, eventually, http};

const LONG: Duration = Duration::from_secs(20);
/// More requests than fill what is kept.
const MANY: usize = 5_000;

/// A file system of 8 MiB in memory, gone at the end.
pub(super) struct Disk(tempfile::TempDir);

impl Disk {
    pub(super) fn mount() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs"]).arg(dir.path());
        assert!(
            mount.status().expect("mount runs").success(),
            "a tmpfs can be mounted: run the tests as root"
        );
        Self(dir)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Somebody else takes all there is.
    pub(super) fn fill(&self) {
        let mut others = std::fs::File::create(self.path().join("others")).expect("a file");
        while others.write_all(&[0; 4096]).is_ok() {}
    }

    pub(super) fn make_room(&self) {
        std::fs::remove_file(self.path().join("others")).expect("removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

fn start(disk: &Disk, reserve: &str) -> (Gateway, Recorder, Signer) {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let audit = format!("audit: {{ dir: ./audit, reserve: {reserve} }}");
    let setup = setup(upstream.address, &signer, |text| text.replace("audit: { dir: ./audit }", &audit));
    std::os::unix::fs::symlink(disk.path(), setup.dir().join("audit")).expect("linked");
    (setup.start(), upstream, signer)
}

fn send(gateway: &Gateway, method: &str, target: &str, token: &str) -> http::Answer {
    http::send(gateway.address, method, target, &[("Authorization", token), JSON], br#"{"amount":5}"#)
        .expect("an answer")
}

/// Asks until it is refused; how often it was not.
fn until_refused(gateway: &Gateway, method: &str, target: &str, token: &str) -> usize {
    for count in 0..MANY {
        let asked = Instant::now();
        let answer = send(gateway, method, target, token);
        match answer.status {
            200 => {}
            503 => {
                assert_eq!(answer.header("retry-after"), Some("5"));
                assert!(asked.elapsed() < Duration::from_secs(3), "it is refused at once");
                return count;
            }
            other => panic!("{other}: {answer:?}"),
        }
    }
    panic!("{target} is never refused");
}

fn outages(gateway: &Gateway) -> Vec<(String, String)> {
    let text = |record: &Value, name: &str| record[name].as_str().expect("text").to_owned();
    let records = gateway.audit().into_iter().filter(|record| record["event"] == "journal_outage");
    records.map(|record| (text(&record, "kind"), text(&record, "phase"))).collect()
}

fn detections(gateway: &Gateway, name: &str) -> usize {
    gateway.audit().iter().filter(|record| record["event"] == "detection" && record["name"] == name).count()
}

#[test]
fn what_is_kept_is_for_those_who_need_it_and_a_full_disk_ends_by_itself() {
    let disk = Disk::mount();
    let (gateway, upstream, signer) = start(&disk, "1MiB");
    let proof = proofs(&gateway, &signer, 1).remove(0);
    let mut forwarded = 0;
    for (method, target) in [("GET", READ), ("POST", NOTES), ("POST", PAY)] {
        assert_eq!(send(&gateway, method, target, &proof).status, 200);
        forwarded += 1;
    }
    disk.fill();
    forwarded += until_refused(&gateway, "GET", READ, &proof);
    assert_eq!(send(&gateway, "POST", NOTES, &proof).status, 503, "as those that are written first");
    let ready = gateway.telemetry_page("/readyz");
    assert_eq!(ready.status, 200, "the rest goes on: {}", ready.body);
    assert!(ready.body.contains("no more room"), "{}", ready.body);
    let paid = until_refused(&gateway, "POST", PAY, &proof);
    assert!(paid > 300, "only {paid} in what is kept");
    forwarded += paid;
    for (method, target) in [("GET", READ), ("POST", NOTES), ("POST", PAY)] {
        assert_eq!(send(&gateway, method, target, &proof).status, 503, "{target}");
    }
    assert_eq!(gateway.telemetry_page("/readyz").status, 503);
    assert_eq!(upstream.count(), forwarded, "nothing was forwarded that is not on record");

    disk.make_room();
    eventually("it recovers by itself", LONG, || {
        let paths = [("GET", READ), ("POST", NOTES), ("POST", PAY)];
        paths.iter().all(|(method, target)| send(&gateway, method, target, &proof).status == 200)
    });
    eventually("and says so", LONG, || gateway.telemetry_page("/readyz").status == 200);
    let is = |kind: &str, phase: &str| (kind.to_owned(), phase.to_owned());
    eventually("it is on record", LONG, || {
        let outages = outages(&gateway);
        outages.first() == Some(&is("no_room", "begun"))
            && outages.contains(&is("no_room", "ended"))
            && outages.contains(&is("unwritable", "ended"))
    });
    // Found while nothing could be recorded.
    eventually("the outages stand out", LONG, || detections(&gateway, "journal_outage") >= 2);
    eventually("all is vouched for", LONG, || {
        let mut verify = Command::new(env!("CARGO_BIN_EXE_wardgate"));
        verify.args(["audit", "verify"]).arg(disk.path());
        verify.output().expect("the program runs").status.code() == Some(0)
    });
}

#[test]
fn a_disk_that_is_too_small_for_what_is_to_be_kept_says_so_at_the_start() {
    let disk = Disk::mount();
    let (gateway, _upstream, signer) = start(&disk, "16MiB");
    let proof = proofs(&gateway, &signer, 1).remove(0);
    assert_eq!(send(&gateway, "GET", READ, &proof).status, 503);
    assert_eq!(send(&gateway, "POST", PAY, &proof).status, 200);
    assert!(gateway.telemetry_page("/readyz").body.contains("no more room"));
    assert_eq!(outages(&gateway), [("no_room".to_owned(), "begun".to_owned())]);
    eventually("it stands out", LONG, || detections(&gateway, "journal_outage") == 1);
}
