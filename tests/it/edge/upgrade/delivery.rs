//! Records go on to a collector while a new program takes over, also those that must be there before a request is forwarded.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use super::{LONG, Line, NOTES, READ, setup};
use crate::operate::sinks::{Collector, assert_all_came};
use crate::support::{Recorder, Signer, eventually, http};

#[test]
fn no_record_is_lost_while_new_programs_take_over() {
    let collector = Collector::start("ok");
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let line = Line::start(setup(&upstream, &signer, |text| {
        text.replace("audit: { dir: ./audit }", &collector.audit(["remote", "written"]))
    }));
    let token = signer.bearer("p1", "aal1", 5);
    let (is_over, served, refused) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let ask = |method: &str, target: &str| {
        let headers = [("Authorization", token.as_str())];
        http::send(line.gateway.address, method, target, &headers, b"").expect("no connection is lost").status
    };
    std::thread::scope(|scope| {
        for (method, target) in [("POST", NOTES), ("POST", NOTES), ("GET", READ)] {
            let (ask, is_over, served, refused) = (&ask, &is_over, &served, &refused);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    match ask(method, target) {
                        200 => served.fetch_add(1, Ordering::Relaxed),
                        // Nobody could say in time that the intent is elsewhere: it was not forwarded.
                        503 if method == "POST" => refused.fetch_add(1, Ordering::Relaxed),
                        other => panic!("{method}: {other}"),
                    };
                }
            });
        }
        for _ in 0..2 {
            let before = served.load(Ordering::Relaxed);
            eventually("requests are served", LONG, || served.load(Ordering::Relaxed) > before + 50);
            let old = line.upgrade();
            line.wait_for_end(old);
            eventually("the new one has the collector's word", LONG, || ask("POST", NOTES) == 200);
            served.fetch_add(1, Ordering::Relaxed);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let last = line.pid();
    line.signal("TERM");
    line.wait_for_end(last);
    let kept = collector.kept();
    assert_all_came(&line.gateway.dir.path().join("audit"), &kept);
    let of =
        |event: &str| kept.iter().filter(|record| record["event"] == event).cloned().collect::<Vec<Value>>();
    let not_forwarded: HashSet<String> = of("outcome")
        .iter()
        .filter(|record| record["result"] == "not_forwarded")
        .map(|record| record["decision"].to_string())
        .collect();
    let forwarded =
        of("intent").iter().filter(|record| !not_forwarded.contains(&record["decision"].to_string())).count();
    assert_eq!(forwarded, upstream.count(), "each request that went on has its intent, and it alone");
    assert!(served.load(Ordering::Relaxed) >= 100 && upstream.count() >= served.load(Ordering::Relaxed));
    let origins: HashSet<String> = kept.iter().map(|record| record["origin"].to_string()).collect();
    assert_eq!(origins.len(), 3, "each program is an origin");
    let (lines, distinct) = (collector.lines("kept").len(), kept.len());
    assert!(
        lines < distinct + 3 * 1_000,
        "no more than a batch comes twice at a change: {lines} of {distinct}"
    );
    println!(
        "{} served, {} refused meanwhile",
        served.load(Ordering::Relaxed),
        refused.load(Ordering::Relaxed)
    );
}
