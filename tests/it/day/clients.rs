//! The people of the day: each does one thing again and again, and knows what may come of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::http::Answer;
use crate::support::{Connection, Idp, Signer, eventually, http, tokens, wire};

/// How long anything may take.
pub const LONG: Duration = Duration::from_secs(120);
/// A pause between two requests of one client: the load is steady, not as high as it can be.
const PAUSE: Duration = Duration::from_millis(25);
/// So many people do what needs a proof of its own each time.
const ACTORS: usize = 40;
const AUDIENCE: &str = "portal-es256";

/// What the configuration in force asks of a note: one after the other, or in between.
pub mod notes {
    pub const AS_EVER: u8 = 0;
    pub const CHANGING: u8 = 1;
    pub const STRICTER: u8 = 2;
}

pub struct People<'a> {
    front: SocketAddr,
    idp: &'a Idp,
    pub notes: AtomicU8,
    /// While the store's master is replaced; only then may requests fail.
    pub failover: AtomicBool,
    /// What happens now, for what is told of failures.
    event: Mutex<&'static str>,
    over: AtomicBool,
    served: AtomicUsize,
    spent: AtomicUsize,
    /// Requests by what was done and what came of it.
    pub counts: Mutex<BTreeMap<(&'static str, u16), usize>>,
    /// The targets of those that were answered by the application.
    pub permitted: Mutex<Vec<String>>,
    /// What must not be: wrong permits, and failures where nothing failed.
    wrong: Mutex<Vec<String>>,
    failed: Mutex<Option<(Instant, Instant)>>,
}

impl<'a> People<'a> {
    pub fn new(front: SocketAddr, idp: &'a Idp) -> Self {
        for number in 0..ACTORS {
            idp.set_claims(
                &format!("actor-{number}"),
                &serde_json::json!({"patient_id": "p1", "groups": []}),
            );
        }
        Self {
            front,
            idp,
            notes: AtomicU8::new(notes::AS_EVER),
            failover: AtomicBool::new(false),
            event: Mutex::new("the morning"),
            over: AtomicBool::new(false),
            served: AtomicUsize::new(0),
            spent: AtomicUsize::new(0),
            counts: Mutex::default(),
            permitted: Mutex::default(),
            wrong: Mutex::default(),
            failed: Mutex::default(),
        }
    }

    /// Something else happens from now on.
    pub fn now(&self, event: &'static str) {
        *self.event.lock().expect("whole") = event;
    }

    pub fn go_home(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        std::thread::sleep(PAUSE);
        self.over.load(Ordering::SeqCst)
    }

    pub fn is_well(&self) -> bool {
        self.wrong.lock().expect("whole").is_empty()
    }

    /// Everything that must not be.
    pub fn wrong(&self) -> Vec<String> {
        self.wrong.lock().expect("whole").clone()
    }

    /// How long it was from the first failed request to the last.
    pub fn failed_for(&self) -> Duration {
        self.failed.lock().expect("whole").map_or(Duration::ZERO, |(first, last)| last - first)
    }

    /// Waits for so many more readings, and some actions.
    pub fn live_on(&self, readings: usize) {
        let of = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        let (served, spent) = (of(&self.served), of(&self.spent));
        eventually("life goes on", LONG, || {
            (of(&self.served) >= served + readings && of(&self.spent) >= spent + 3) || !self.is_well()
        });
    }

    fn tell(&self, what: String) {
        let event = *self.event.lock().expect("whole");
        self.wrong.lock().expect("whole").push(format!("{event}: {what}"));
    }

    fn token(&self, account: &str, level: &str) -> String {
        format!("Bearer {}", self.idp.sign_in(account, level, AUDIENCE).access())
    }

    /// Asks on a kept connection. A request that fails on its way fails the day: Envoy is there all the time.
    fn ask(
        &self,
        kept: &mut Option<Connection>,
        what: &'static str,
        (method, target): (&str, &str),
        token: &str,
    ) -> Option<wire::Answer> {
        // A failure that began while something failed may be answered a moment after that.
        let might_fail = self.failover.load(Ordering::SeqCst);
        let connection = kept.take().filter(|kept| !kept.is_closed());
        let connection = connection.map_or_else(|| Connection::open(self.front), Ok);
        let asked = connection.and_then(|mut connection| {
            let headers: &[(&str, &str)] = if token.is_empty() { &[] } else { &[("Authorization", token)] };
            let answer =
                connection.ask(method, target, headers, if method == "GET" { b"" } else { b"note" })?;
            Ok((answer, connection))
        });
        let (answer, connection) = match asked {
            Ok(done) => done,
            Err(error) => {
                self.tell(format!("{what}: {error}"));
                return None;
            }
        };
        *kept = (!answer.closes()).then_some(connection);
        *self.counts.lock().expect("whole").entry((what, answer.status)).or_default() += 1;
        match answer.status {
            200 => self.permitted.lock().expect("whole").push(target.to_owned()),
            503 if might_fail || self.failover.load(Ordering::SeqCst) => {
                let now = Instant::now();
                self.failed.lock().expect("whole").get_or_insert((now, now)).1 = now;
                if answer.header("retry-after").is_none() {
                    self.tell(format!("{what}: nobody says when to come again: {}", answer.text()));
                }
            }
            status if status >= 500 => self.tell(format!("{what}: {status}: {}", answer.text())),
            _ => {}
        }
        Some(answer)
    }

    /// Reads what is one's own: always served, but while the store fails.
    pub fn read(&self, name: &'static str, folder: &str) {
        let (mut kept, mut number, mut token) = (None, 0, String::new());
        while !self.is_over() {
            if number % 40 == 0 {
                token = self.token("alice", "aal1");
            }
            number += 1;
            let target = format!("/patients/p1/{folder}/{name}-{number}");
            match self.ask(&mut kept, name, ("GET", &target), &token) {
                Some(answer) if answer.status == 200 => {
                    self.served.fetch_add(1, Ordering::SeqCst);
                }
                // What may be read without the store is read without it.
                Some(answer) if answer.status == 503 && folder != "notices" => {}
                Some(answer) => self.tell(format!("{name}: {}: {}", answer.status, answer.text())),
                None => {}
            }
        }
    }

    /// Writes notes, for which a stricter configuration wants a better proof.
    pub fn write(&self) {
        let (mut kept, mut number, mut token) = (None, 0, String::new());
        while !self.is_over() {
            if number % 40 == 0 {
                token = self.token("alice", "aal1");
            }
            number += 1;
            let before = self.notes.load(Ordering::SeqCst);
            let target = format!("/patients/p1/notes/{number}");
            let Some(answer) = self.ask(&mut kept, "write", ("POST", &target), &token) else { continue };
            let after = self.notes.load(Ordering::SeqCst);
            let is_right = match answer.status {
                200 => before != notes::STRICTER || after != notes::STRICTER,
                401 => before != notes::AS_EVER || after != notes::AS_EVER,
                503 => true,
                _ => false,
            };
            if !is_right {
                self.tell(format!("a note: {} in {before}: {}", answer.status, answer.text()));
            }
        }
    }

    /// Does what asks for a proof of its own each time, and tries to pay with each proof twice.
    pub fn act(&self) {
        let (mut kept, mut number) = (None, 0);
        while !self.is_over() {
            // Who signs in twice within a second has done so once, as far as anybody can tell.
            let account = format!("actor-{}", number % ACTORS);
            number += 1;
            let token = self.token(&account, "aal2");
            let mut paid = 0;
            for attempt in 0..2 {
                let target = format!("/patients/p1/export/{number}-{attempt}");
                let Some(answer) = self.ask(&mut kept, "act", ("PUT", &target), &token) else { continue };
                match answer.status {
                    200 => paid += 1,
                    401 if attempt == 1 => {}
                    503 => {}
                    _ => self.tell(format!("an action: {} at {attempt}: {}", answer.status, answer.text())),
                }
            }
            if paid > 1 {
                self.tell(format!("a proof paid {paid} times"));
            }
            self.spent.fetch_add(paid, Ordering::SeqCst);
        }
    }

    /// Tries what is nobody's right; `revoked` is a token whose subject was revoked.
    pub fn trespass(&self, revoked: &str) {
        let (mut kept, mut number) = (None, 0);
        let forged = Signer::new().bearer("p1", "aal2", 0);
        assert_ne!(tokens::ISSUER, self.idp.issuer);
        let (mut bob, mut weak) = (String::new(), String::new());
        while !self.is_over() {
            if number % 60 == 0 {
                (bob, weak) = (self.token("bob", "aal2"), self.token("alice", "aal1"));
            }
            number += 1;
            let read = format!("/patients/p1/results/stolen-{number}");
            let (method, target, token, status) = match number % 6 {
                0 => ("GET", read, bob.as_str(), 403),
                1 => ("GET", read, "", 401),
                2 => ("GET", read, forged.as_str(), 401),
                3 => ("GET", read, revoked, 401),
                4 => ("PUT", format!("/patients/p1/export/stolen-{number}"), weak.as_str(), 401),
                _ => ("GET", format!("/unknown/stolen-{number}"), bob.as_str(), 404),
            };
            let Some(answer) = self.ask(&mut kept, "trespass", (method, &target), token) else { continue };
            if answer.status != status && answer.status != 503 {
                self.tell(format!("a trespass: {} and not {status}: {}", answer.status, answer.text()));
            }
        }
    }
}

/// Envoy's answer to a plain request.
pub fn get(front: SocketAddr, target: &str) -> Option<Answer> {
    http::get(front, target).ok()
}
