//! Unit tests of the servers behind one upstream.

use std::collections::HashMap;

use super::*;

fn settings(text: &str) -> UpstreamSettings {
    let file = format!(
        "version: 1
listeners: [{{ name: edge, address: '127.0.0.1:8080' }}]
upstreams: {{ app: {text} }}
routes: [{{ id: home, match: {{ path: /, methods: [GET] }}, upstream: app, access: public }}]
"
    );
    let (compiled, _) = crate::config::load("gateway.yaml", &file, std::path::Path::new("/"))
        .unwrap_or_else(|found| panic!("{}", found.iter().map(ToString::to_string).collect::<String>()));
    compiled.settings.upstreams.into_iter().next().expect("one")
}

pub(in crate::serve::upstream) fn servers(text: &str) -> Arc<Servers> {
    Arc::new(Servers::new(&settings(text)))
}

const THREE: &str = "{ endpoints: ['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3'] }";

fn chosen(servers: &Arc<Servers>, times: u64) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for key in 0..times {
        let attempt = servers.choose_now(key, &Tried::new()).expect("a server");
        *counts.entry(attempt.server.address.to_string()).or_default() += 1;
    }
    counts
}

fn fail(servers: &Arc<Servers>, at: usize, times: usize) {
    let list = servers.all();
    for _ in 0..times {
        servers.failed(&list[at]);
    }
}

#[test]
fn what_fails_again_and_again_is_left_out_but_never_all() {
    let servers = servers(THREE);
    fail(&servers, 0, 4);
    assert_eq!(chosen(&servers, 30).len(), 3, "four failures are too few");
    fail(&servers, 0, 1);
    let counts = chosen(&servers, 30);
    assert_eq!((counts.len(), counts.get("127.0.0.1:1")), (2, None));
    // Half of three is one.
    fail(&servers, 1, 10);
    fail(&servers, 2, 10);
    assert_eq!(chosen(&servers, 30).len(), 2);
}

#[test]
fn the_only_server_is_never_left_out() {
    let servers = servers("{ endpoints: ['127.0.0.1:1'], ejection: { max_percent: 100 } }");
    fail(&servers, 0, 100);
    assert_eq!(chosen(&servers, 3).len(), 1);
}

#[test]
fn another_server_is_preferred_after_a_failure() {
    let servers = servers(THREE);
    let mut tried = Tried::new();
    for _ in 0..3 {
        let attempt = servers.choose_now(0, &tried).expect("a server");
        assert!(!tried.contains(&attempt.server.hash));
        assert_eq!(attempt.has_other(&tried), tried.len() < 3);
        tried.push(attempt.server.hash);
    }
    assert!(servers.choose_now(0, &tried).is_ok(), "rather one again than none");
}

#[test]
fn nobody_well_is_told_apart_from_nobody_known() {
    let servers = servers("{ endpoints: ['127.0.0.1:1', 'app.example:80'], health_check: { path: / } }");
    let check =
        settings("{ endpoints: ['127.0.0.1:1'], health_check: { path: / } }").health_check.expect("one");
    let list = servers.all();
    servers.checked(&list[0], false, &check);
    assert!(matches!(servers.choose_now(0, &Tried::new()), Err(NoServer::AllUnwell)));
    assert!(servers.is_down());
    servers.found(1, &["127.0.0.1:2".parse().expect("an address")], true);
    assert_eq!(chosen(&servers, 4).len(), 1);
    for _ in 0..2 {
        servers.checked(&list[0], true, &check);
    }
    assert_eq!(chosen(&servers, 4).len(), 2);
}

#[test]
fn requests_count_at_their_server_until_they_end() {
    let servers = servers("{ endpoints: ['127.0.0.1:1', '127.0.0.1:2'], balance: least_connections }");
    let tried = Tried::new();
    let mut slow: Vec<_> = (0..4).map(|_| servers.choose_now(0, &tried).expect("a server")).collect();
    let gone = slow[0].server.address.clone();
    slow.retain(|attempt| attempt.server.address != gone);
    let next = servers.choose_now(0, &tried).expect("a server");
    assert_eq!(next.server.address, gone);
}

#[test]
fn a_name_keeps_the_condition_of_the_addresses_that_stay() {
    let servers = servers("{ endpoints: ['app.example:80'] }");
    let address = |text: &str| text.parse().expect("an address");
    assert!(matches!(servers.choose_now(0, &Tried::new()), Err(NoServer::Unknown)));
    servers.found(0, &[address("127.0.0.1:80"), address("127.0.0.2:80")], true);
    fail(&servers, 0, 5);
    assert_eq!(chosen(&servers, 10).len(), 1);
    servers.found(0, &[address("127.0.0.3:80"), address("127.0.0.1:80"), address("127.0.0.3:80")], false);
    let counts = chosen(&servers, 10);
    assert_eq!((counts.len(), counts.get("127.0.0.3:80")), (1, Some(&10)), "the first is still left out");
    servers.found(0, &[], false);
    assert!(matches!(servers.choose_now(0, &Tried::new()), Err(NoServer::Unknown)));
}

#[tokio::test(start_paused = true)]
async fn only_the_first_look_up_is_waited_for() {
    let servers = servers("{ endpoints: ['app.example:80'] }");
    let limit = Duration::from_secs(1);
    assert!(servers.choose(0, &Tried::new(), limit).await.is_err(), "not for ever");
    let waiting = tokio::spawn({
        let servers = Arc::clone(&servers);
        async move {
            servers.choose(0, &Tried::new(), limit).await.map(|attempt| attempt.server.address.to_string())
        }
    });
    tokio::task::yield_now().await;
    servers.found(0, &["127.0.0.1:80".parse().expect("an address")], true);
    assert_eq!(waiting.await.expect("done"), Ok("127.0.0.1:80".to_owned()));
    servers.found(0, &[], false);
    let asked = tokio::time::Instant::now();
    assert!(servers.choose(0, &Tried::new(), limit).await.is_err());
    assert!(asked.elapsed() < Duration::from_millis(1), "no request waits for a look-up");
}
