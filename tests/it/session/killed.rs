//! A whole gateway that is killed again and again while people sign in and out, actions are paid for and names are
//! revoked: what it has acknowledged is there when it starts again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::browser::{Browser, NAVIGATION, portal};
use super::{RESULTS, config};
use crate::support::{Gateway, Idp, Recorder, Setup, Signer, eventually, http, tokens};

const KILLS: u64 = 50;
const TOKENS: &str = r#"
  - name: tokens
    issuer: https://login.clinic.example
    audiences: [portal-api]
    algorithms: [ES256]
    jwks: { file: jwks.json }
    assurance: { aal1: { any_of: { amr: [pwd] } }, aal2: { any_of: { acr: ["urn:clinic:loa:2"] } } }
    claims: { patient: patient_id }
pages:"#;
const ROUTES: &str = r#"routes:
  - { id: record.export, match: { path: "/patients/{patient}/export", methods: [PUT] }, upstream: app,
      tier: critical, patient: { from: path.patient }, any_of: [{ issuer: tokens, patient: self }] }
  - { id: letters.read, match: { path: "/patients/{patient}/letters", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ issuer: tokens, patient: self }] }
"#;

fn setup(idp: &Idp, upstream: &Recorder, signer: &Signer) -> Setup {
    let text = config(&idp.issuer, "desk", "", upstream.address)
        .replace("state: { single_replica: true }", "state: { data_dir: state, single_replica: true }\noperators: { address: \"unix:$DIR/operators.sock\" }")
        .replacen("pages:", TOKENS.trim_start_matches('\n'), 1)
        .replacen("routes:\n", ROUTES, 1);
    assert_eq!(tokens::ISSUER, "https://login.clinic.example");
    Setup::new(&text, |dir| {
        std::fs::write(dir.join("secret"), "desk-secret\n").expect("written");
        std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("written");
    })
}

/// What the gateway has acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// Actions, by number, and what pays for each.
    paid: Vec<(u64, String)>,
    /// Those whose answer was lost.
    unanswered: Vec<(u64, String)>,
    /// Tokens of subjects that were revoked.
    revoked: Vec<String>,
    /// Names of sessions that began, and of those that ended.
    signed_in: Vec<String>,
    signed_out: Vec<String>,
}

fn pay(gateway: &Gateway, number: u64, proof: &str) -> Option<u16> {
    let target = format!("/patients/p1/export?action={number}");
    let answer = http::send(gateway.address, "PUT", &target, &[("Authorization", proof)], b"x");
    answer.ok().map(|answer| answer.status)
}

fn shown(gateway: &Gateway, session: &str) -> u16 {
    let line = format!("__Host-wardgate-session={session}");
    http::send(gateway.address, "GET", RESULTS, &[("Cookie", &line)], b"").expect("an answer").status
}

fn letters(gateway: &Gateway, token: &str) -> u16 {
    let headers = [("Authorization", token)];
    http::send(gateway.address, "GET", "/patients/p1/letters", &headers, b"").expect("an answer").status
}

/// Says something to the operators' socket; whether it was done.
fn revoke(socket: &Path, subject: &str) -> bool {
    use std::io::{Read as _, Write as _};
    let body = format!(r#"{{"issuer":"tokens","subject":"{subject}"}}"#);
    let request =
        format!("POST /v1/revocations HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let Ok(mut stream) = std::os::unix::net::UnixStream::connect(socket) else { return false };
    let mut answer = Vec::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_end(&mut answer).is_ok()
        && answer.starts_with(b"HTTP/1.1 200 ")
}

/// Does everything that must last until the gateway is gone.
fn work(gateway: &Gateway, signer: &Signer, round: u64, done: &Mutex<Acknowledged>, is_over: &AtomicBool) {
    let goes_on = || !is_over.load(Ordering::SeqCst);
    let token = |subject: &str, client: &str| {
        let mut claims = Signer::claims("p1", "aal2", 0);
        (claims["sub"], claims["client_id"]) = (subject.into(), client.into());
        format!("Bearer {}", signer.sign(&claims))
    };
    let numbers = |worker: u64| (round * 100_000 + worker * 10_000..).take_while(|_| goes_on());
    std::thread::scope(|scope| {
        for worker in 0..2 {
            scope.spawn(move || {
                for number in numbers(worker) {
                    let proof = token("user-p1", &format!("client-{number}"));
                    match pay(gateway, number, &proof) {
                        Some(200) => done.lock().expect("whole").paid.push((number, proof)),
                        Some(_) => {}
                        None => done.lock().expect("whole").unanswered.push((number, proof)),
                    }
                }
            });
        }
        scope.spawn(move || {
            for number in numbers(3) {
                let subject = format!("subject-{number}");
                let token = token(&subject, "portal");
                if revoke(&gateway.dir.path().join("operators.sock"), &subject) {
                    done.lock().expect("whole").revoked.push(token);
                }
            }
        });
        scope.spawn(move || {
            for number in numbers(4) {
                // A browser whose gateway goes away gives up.
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    let mut alice = Browser::new(gateway.address, "alice");
                    let arrived = alice.go(&portal("/_wardgate/sign-in?to=%2F"));
                    let Some(session) = alice.session().filter(|_| arrived.answer.status == 200) else {
                        return;
                    };
                    let session = session.to_owned();
                    if number % 2 == 0 {
                        done.lock().expect("whole").signed_in.push(session);
                        return;
                    }
                    let mut own = NAVIGATION.to_vec();
                    own.push(("Sec-Fetch-Site", "same-origin"));
                    let out = alice.ask("POST", &portal("/_wardgate/sign-out"), &own, b"");
                    if out.status == 303 {
                        done.lock().expect("whole").signed_out.push(session);
                    }
                }));
            }
        });
    });
}

/// What was acknowledged is so.
fn check(gateway: &Gateway, acknowledged: &Acknowledged) {
    for (number, proof) in &acknowledged.paid {
        assert_eq!(
            pay(gateway, *number, proof),
            Some(401),
            "action {number} is paid for twice with one proof"
        );
    }
    for (number, proof) in &acknowledged.unanswered {
        let status = pay(gateway, *number, proof);
        assert!([Some(200), Some(401)].contains(&status), "{number}: {status:?}");
    }
    for token in &acknowledged.revoked {
        assert_eq!(letters(gateway, token), 401, "somebody is not revoked any more");
    }
    for session in &acknowledged.signed_in {
        assert_eq!(shown(gateway, session), 200, "somebody is logged out");
    }
    for session in &acknowledged.signed_out {
        assert_eq!(shown(gateway, session), 401, "somebody is signed in again");
    }
}

#[test]
fn killed_at_any_moment_a_gateway_has_lost_nothing_that_it_acknowledged() {
    let (idp, upstream, signer) = (Idp::shared(), Recorder::start(), Signer::new());
    let setup = setup(idp, &upstream, &signer);
    // The first start begins the memory; what is done in that second counts for nothing.
    setup.start().wait_until_proofs_count();
    let mut all: Vec<Acknowledged> = Vec::new();
    for round in 0..KILLS {
        let gateway = setup.start_unready();
        eventually("it reads its store", Duration::from_secs(30), || {
            letters(&gateway, &signer.bearer("p1", "aal1", 0)) == 200
        });
        for earlier in all.iter().rev().take(2) {
            check(&gateway, earlier);
        }
        let (done, is_over) = (Mutex::new(Acknowledged::default()), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| work(&gateway, &signer, round, &done, &is_over));
            let chance =
                u64::from_be_bytes(uuid::Uuid::now_v7().as_bytes()[8..].try_into().expect("8 bytes"));
            // Now and then long enough for several sign-ins.
            let (least, most) = if round % 5 == 0 { (500_000, 2_500_000) } else { (0, 250_000) };
            std::thread::sleep(Duration::from_micros(least + chance % (most - least)));
            gateway.signal("KILL");
            is_over.store(true, Ordering::SeqCst);
        });
        drop(gateway);
        all.push(done.into_inner().expect("whole"));
    }
    let gateway = setup.start();
    all.iter().for_each(|earlier| check(&gateway, earlier));
    let count = |of: fn(&Acknowledged) -> usize| all.iter().map(of).sum::<usize>();
    let counts = [
        count(|it| it.paid.len()),
        count(|it| it.revoked.len()),
        count(|it| it.signed_in.len()),
        count(|it| it.signed_out.len()),
    ];
    assert!(counts.iter().zip([100, 100, 3, 1]).all(|(count, least)| *count >= least), "{counts:?}");
    // Neither before a kill nor after it was any action forwarded more than once.
    let mut actions: Vec<String> =
        upstream.requests().iter().map(|request| request.target().to_owned()).collect();
    actions.retain(|target| target.contains("/export?action="));
    let all_of_them = actions.len();
    actions.sort_unstable();
    actions.dedup();
    assert_eq!(actions.len(), all_of_them, "an action was forwarded twice");
}
