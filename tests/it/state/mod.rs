//! The stores that last, against real servers and a real disk.

mod announcements;
mod cluster;
mod embedded;
mod gateways;
mod outages;
mod redis;
mod sentinel;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use wardgate::config::settings::RedisSettings;
use wardgate::decision::evidence::Lookup;
use wardgate::enforce::ports::{Consumed, RevocationClaim, RevocationKey, State};
use wardgate::state::redis::RedisState;
use wardgate::state::spent::ProofKey;

use crate::support::redis::soon;

const HOUR: Duration = Duration::from_secs(3_600);
/// How long a store may take to be reached again, on a busy machine.
const AGAIN: Duration = Duration::from_secs(20);

/// A handle on Redis as one gateway has it, once it can be used.
async fn connected(settings: RedisSettings) -> Arc<RedisState> {
    let state = Arc::new(RedisState::start(settings, &Handle::current()));
    usable(&state).await;
    state
}

async fn usable(state: &RedisState) {
    soon("the store can be used", AGAIN, async || state.was_reached() && state.trouble().is_none()).await;
}

fn alice() -> RevocationKey<'static> {
    RevocationKey { issuer: "people", claim: RevocationClaim::Subject, value: "alice" }
}

/// A proof that no epoch is too late for.
fn timeless(name: &str) -> ProofKey {
    ProofKey::new(&["people", name], i64::MAX)
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Waits for the next second: a proof from the second of an epoch pays for nothing.
async fn next_second() {
    let before = now();
    while now() <= before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Lets many racers on every handle spend each proof; gives how often each was spent, and how many attempts nobody could
/// tell the end of.
async fn race(handles: &[Arc<RedisState>], proofs: usize, racers: usize) -> (Vec<usize>, usize) {
    let wins: Arc<Vec<AtomicUsize>> = Arc::new((0..proofs).map(|_| AtomicUsize::new(0)).collect());
    let unknown = Arc::new(AtomicUsize::new(0));
    let mut running = JoinSet::new();
    for handle in handles {
        for _ in 0..racers {
            let (handle, wins, unknown) = (Arc::clone(handle), Arc::clone(&wins), Arc::clone(&unknown));
            running.spawn(async move {
                for (number, won) in wins.iter().enumerate() {
                    match handle.consume(&timeless(&format!("race {number}")), HOUR).await {
                        Consumed::Done(_) => won.fetch_add(1, Ordering::SeqCst),
                        Consumed::Already => 0,
                        Consumed::Unknown => unknown.fetch_add(1, Ordering::SeqCst),
                    };
                }
            });
        }
    }
    while let Some(done) = running.join_next().await {
        done.expect("racer");
    }
    (wins.iter().map(|won| won.load(Ordering::SeqCst)).collect(), unknown.load(Ordering::SeqCst))
}

/// Every write says that it can't be done.
async fn is_out(state: &RedisState) -> bool {
    matches!(state.consume(&timeless("during the outage"), HOUR).await, Consumed::Unknown)
        && state.revoke(&alice(), 1, HOUR).await == Lookup::Unavailable
        && state.seal("x", b"x", HOUR).await == Lookup::Unavailable
}

/// Waits until the store says that a proof is spent; it must never say anything else that it knows.
async fn stays_spent(state: &RedisState, proof: &ProofKey) {
    soon("the store knows that it is spent", AGAIN, async || match state.consume(proof, HOUR).await {
        Consumed::Done(_) => panic!("it was spent twice"),
        Consumed::Already => true,
        Consumed::Unknown => false,
    })
    .await;
}
