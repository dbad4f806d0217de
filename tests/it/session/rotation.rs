//! The keys that seal the state are changed while people are at work: nobody is logged out.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::{RESULTS, config, signed_in};
use crate::support::{Gateway, Idp, Recorder, Setup, eventually, http};

const PATIENCE: Duration = Duration::from_secs(30);

fn shown(gateway: &Gateway, session: &str) -> u16 {
    let line = format!("__Host-wardgate-session={session}");
    http::send(gateway.address, "GET", RESULTS, &[("Cookie", &line)], b"").expect("an answer").status
}

fn new_session(gateway: &Gateway) -> String {
    signed_in(gateway, "alice").session().expect("a session").to_owned()
}

/// Writes other keys into the configuration and waits until they are in force.
fn change_keys(gateway: &Gateway, reloads: f64, before: &str, after: &str) {
    let path = gateway.dir.path().join("gateway.yaml");
    let text = std::fs::read_to_string(&path).expect("readable");
    assert!(text.contains(before));
    std::fs::write(&path, text.replace(before, after)).expect("writable");
    gateway.signal("HUP");
    eventually("they are taken", PATIENCE, || {
        gateway.metric("wardgate_config_reloads_total{result=\"accepted\"}") >= reloads
    });
}

#[test]
fn keys_are_changed_under_load_and_nobody_is_logged_out() {
    const K1: &str = "[{ id: k1, file: k1 }]";
    const K1_K2: &str = "[{ id: k1, file: k1 }, { id: k2, file: k2 }]";
    const K2_K1: &str = "[{ id: k2, file: k2 }, { id: k1, file: k1 }]";
    const K2: &str = "[{ id: k2, file: k2 }]";
    let (idp, upstream) = (Idp::shared(), Recorder::forgetful());
    let state = format!("state: {{ data_dir: state, encryption_keys: {K1}, single_replica: true }}");
    let text =
        config(&idp.issuer, "desk", "", upstream.address).replace("state: { single_replica: true }", &state);
    let setup = Setup::new(&text, |dir| {
        std::fs::write(dir.join("secret"), "desk-secret\n").expect("written");
        for (name, digit) in [("k1", "1"), ("k2", "2")] {
            std::fs::write(dir.join(name), format!("{}\n", digit.repeat(64))).expect("written");
        }
    });
    let gateway = setup.start();
    let old: Vec<String> = (0..12).map(|_| new_session(&gateway)).collect();
    let (is_over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let new = std::thread::scope(|scope| {
        for part in old.chunks(4) {
            let (is_over, asked, gateway) = (&is_over, &asked, &gateway);
            scope.spawn(move || {
                for session in part.iter().cycle().take_while(|_| !is_over.load(Ordering::SeqCst)) {
                    assert_eq!(shown(gateway, session), 200, "logged out");
                    asked.fetch_add(1, Ordering::SeqCst);
                    // So slowly that each is read from the store again and again.
                    std::thread::sleep(Duration::from_millis(40));
                }
            });
        }
        let is_read = |what: &str| {
            let read = || gateway.metric("wardgate_store_operations_total{operation=\"peek\"");
            let (reads, requests) = (read(), asked.load(Ordering::SeqCst));
            eventually(what, PATIENCE, || {
                read() >= reads + 24.0 && asked.load(Ordering::SeqCst) >= requests + 100
            });
        };
        is_read("sessions are read before the change");
        let mut new = Vec::new();
        for (reloads, (before, after)) in [1.0, 2.0].into_iter().zip([(K1, K1_K2), (K1_K2, K2_K1)]) {
            change_keys(&gateway, reloads, before, after);
            is_read("sessions are read after a change");
            new.push(new_session(&gateway));
        }
        is_over.store(true, Ordering::SeqCst);
        new
    });
    assert_eq!(gateway.metric("wardgate_store_unopened_total"), 0.0);
    // The old key goes: it takes the sessions with it that it alone can open, and no others.
    change_keys(&gateway, 3.0, K2_K1, K2);
    let gateway_text = std::fs::read_to_string(gateway.dir.path().join("gateway.yaml")).expect("readable");
    assert!(gateway_text.contains(K2) && !gateway_text.contains("k1"));
    eventually("those of the old key are over", PATIENCE, || {
        old.iter().all(|session| shown(&gateway, session) == 401)
    });
    assert_eq!(shown(&gateway, &new[0]), 401, "sealed while the old key was the first");
    assert_eq!(shown(&gateway, &new[1]), 200, "sealed with the new one");
    assert!(gateway.metric("wardgate_store_unopened_total{why=\"unknown_key\"}") >= 13.0);
}
