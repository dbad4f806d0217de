//! The file: killed at any moment, it has lost nothing that was acknowledged.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use wardgate::state::embedded::{EmbeddedLimits, EmbeddedState};

use super::*;

const DIR: &str = "WARDGATE_TEST_STATE_DIR";
const FROM: &str = "WARDGATE_TEST_FROM";
const ROUNDS: u64 = 30;

fn open(dir: &Path) -> EmbeddedState {
    let state = EmbeddedState::new(dir.to_owned(), EmbeddedLimits::default()).expect("a thread");
    state.open().expect("opens");
    state
}

fn proof(number: u64) -> ProofKey {
    timeless(&number.to_string())
}

/// Not a test of its own: what is killed. It does everything that must last, from many tasks, and says what was done.
#[test]
#[ignore = "run by the test below, which kills it"]
fn writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let from: u64 = std::env::var(FROM).expect("a number").parse().expect("a number");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let state = Arc::new(open(Path::new(&dir)));
        println!("open");
        let mut running = JoinSet::new();
        for task in 0..8 {
            let state = Arc::clone(&state);
            running.spawn(async move {
                // Far less than it takes to be killed would be 1,000; this is an end all the same.
                for number in (from + task..from + 400_000).step_by(8) {
                    let name = number.to_string();
                    let revoked = RevocationKey { value: &name, ..alice() };
                    match number % 4 {
                        0 => {
                            assert!(matches!(state.consume(&proof(number), HOUR).await, Consumed::Done(_)));
                            println!("consume {number}");
                        }
                        1 => {
                            assert_eq!(state.revoke(&revoked, 5, HOUR).await, Lookup::Found(()));
                            println!("revoke {number}");
                        }
                        kind => {
                            assert_eq!(state.seal(&name, name.as_bytes(), HOUR).await, Lookup::Found(()));
                            println!("seal {number}");
                            if kind == 3 {
                                println!("try {number}");
                                assert!(matches!(state.unseal(&name).await, Lookup::Found(_)));
                                println!("unseal {number}");
                            }
                        }
                    }
                }
            });
        }
        while running.join_next().await.is_some() {}
    });
}

/// Runs it for so long; what it said.
fn run_and_kill(dir: &Path, from: u64, wait_for_open: bool, micros: u64) -> String {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "state::embedded::writes_until_it_is_killed", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut stdout = child.stdout.take().expect("piped");
    let mut said = Vec::new();
    let mut chunk = [0; 4_096];
    while wait_for_open && !String::from_utf8_lossy(&said).contains("open\n") {
        let length = stdout.read(&mut chunk).expect("readable");
        assert!(length > 0, "it ended by itself: {}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&chunk[..length]);
    }
    let reader = std::thread::spawn(move || {
        stdout.read_to_end(&mut said).expect("readable");
        said
    });
    std::thread::sleep(Duration::from_micros(micros));
    child.kill().expect("killed");
    child.wait().expect("ended");
    let said = String::from_utf8(reader.join().expect("read")).expect("text");
    // The last line may be half a line.
    said[..said.rfind('\n').map_or(0, |end| end + 1)].to_owned()
}

#[test]
fn killed_at_any_moment_it_has_lost_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("state");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // Per number: what was last acknowledged.
    let mut known: HashMap<u64, &str> = HashMap::new();
    let (mut checked, mut opened) = (0, 0);
    for round in 0..ROUNDS {
        let chance = u64::from_be_bytes(uuid::Uuid::now_v7().as_bytes()[8..].try_into().expect("8 bytes"));
        // Every third time it may be killed while it still opens, or makes, the file.
        let wait_for_open = round % 3 != 0;
        let micros = chance % if wait_for_open { 200_000 } else { 60_000 };
        let said = run_and_kill(&path, round * 1_000_000, wait_for_open, micros);
        opened += usize::from(said.contains("open\n"));
        let mut acknowledged = Vec::new();
        for line in said.lines() {
            let Some((word, number)) = line.split_once(' ') else { continue };
            let (Some(word), Ok(number)) = (
                ["consume", "revoke", "seal", "try", "unseal"].into_iter().find(|known| *known == word),
                number.parse(),
            ) else {
                continue;
            };
            known.insert(number, word);
            acknowledged.push(number);
        }
        // The numbers of this round, and some of those before.
        let some = known.keys().copied().filter(|number| number % 97 == round % 97);
        let numbers: Vec<u64> = acknowledged.iter().copied().chain(some).collect();
        let state = open(&path);
        runtime.block_on(async {
            for number in numbers {
                checked += 1;
                let name = number.to_string();
                match known[&number] {
                    "consume" => {
                        let again = state.consume(&proof(number), HOUR).await;
                        assert!(matches!(again, Consumed::Already), "{number} can be spent again");
                    }
                    "revoke" => {
                        let revoked = RevocationKey { value: &name, ..alice() };
                        let found = state.not_before(&[revoked]).await;
                        assert_eq!(found, Lookup::Found(5), "{number} is not revoked any more");
                    }
                    "seal" => {
                        let found = state.unseal(&name).await;
                        assert_eq!(found, Lookup::Found(name.clone().into_bytes()), "{number} is gone");
                        known.insert(number, "unseal");
                    }
                    "unseal" => {
                        assert_eq!(state.unseal(&name).await, Lookup::Absent, "{number} is back");
                    }
                    // It may have been taken out or not.
                    _ => {}
                }
            }
        });
        state.close();
    }
    assert!(checked > 1_000 && opened >= usize::try_from(ROUNDS).expect("small") / 2, "{checked}, {opened}");
}

/// Not a test of its own: it runs where files may not grow, which holds for a whole process.
#[test]
#[ignore = "run by the test below, in a process of its own"]
fn meets_a_full_disk() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let limit_files = |bytes: &str| {
        let pid = std::process::id().to_string();
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status();
        assert!(set.expect("prlimit runs").success());
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let state = open(Path::new(&dir));
        assert!(matches!(state.consume(&proof(1), HOUR).await, Consumed::Done(_)));
        assert_eq!(state.revoke(&alice(), 5, HOUR).await, Lookup::Found(()));
        let length = std::fs::metadata(Path::new(&dir).join("state.redb")).expect("a file").len();
        limit_files(&(length + 4_096).to_string());
        let mut kept = 0;
        while state.seal(&kept.to_string(), &vec![1; 200_000], HOUR).await == Lookup::Found(()) {
            kept += 1;
            assert!(kept < 1_000, "the limit is no limit");
        }
        soon("it is told", AGAIN, async || {
            let is_refused = matches!(state.consume(&proof(2), HOUR).await, Consumed::Unknown);
            is_refused && state.trouble().is_some_and(|why| why.contains("state.data_dir"))
        })
        .await;
        assert_eq!(state.not_before(&[alice()]).await, Lookup::Found(5), "what is revoked is still refused");
        limit_files("unlimited");
        soon("it goes on by itself", AGAIN, async || {
            matches!(state.consume(&timeless("after"), HOUR).await, Consumed::Done(_))
        })
        .await;
        assert_eq!(state.trouble(), None);
        assert!(matches!(state.consume(&proof(1), HOUR).await, Consumed::Already));
        for number in 0..kept {
            assert!(matches!(state.unseal(&number.to_string()).await, Lookup::Found(_)), "{number}");
        }
    });
}

#[test]
fn a_full_disk_loses_nothing_and_heals() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "state::embedded::meets_a_full_disk", "--ignored", "--nocapture"])
        .env(DIR, dir.path().join("state"))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
