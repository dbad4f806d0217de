//! Two gateways on one Redis, in each of its topologies: what is revoked at one ends at both.

use super::*;
use crate::support::redis::{Cluster, Redis, Watched};

/// The longest that an end may take where nothing is announced.
const UNANNOUNCED: Duration = Duration::from_secs(30);
const SOCKETS: usize = 200;

/// Two gateways that share servers.
struct Pair {
    _upstream: Recorder,
    signer: Signer,
    gateways: [Gateway; 2],
}

impl Pair {
    /// `servers` are those which keep the state; the gateways sign in there as the documentation says. `how` names them.
    async fn start(servers: &[&Redis], how: &str) -> Self {
        let line =
            include_str!("../../../docs/state.md").lines().find(|line| line.starts_with("ACL SETUSER"));
        let mut words: Vec<&str> = line.expect("the line").split_whitespace().collect();
        words.push("+cluster|slots");
        for server in servers {
            assert_eq!(server.say(&words), "OK");
        }
        let state = format!(
            "state: {{ store: redis, redis: {{ {how}, username: wardgate, password_file: $DIR/password, timeout: 1s }}, \
             encryption_keys: [{{ id: k1, file: k1 }}] }}"
        );
        let (upstream, signer, video) = (talkative(), Signer::new(), echoing().await);
        let start = || {
            let setup = setup(upstream.address, video, &signer, &state);
            std::fs::write(setup.dir().join("password"), "YOUR-PASSWORD\n").expect("writable");
            setup.start()
        };
        let gateways = [start(), start()];
        Self { _upstream: upstream, signer, gateways }
    }

    fn token(&self, sub: &str, sid: &str) -> String {
        session_token(&self.signer, sub, sid).0
    }

    /// Waits until every gateway hears announcements, or none.
    fn wait_until_subscribed(&self, is_subscribed: bool) {
        for gateway in &self.gateways {
            eventually("the subscription is as it should be", SOON, || {
                (gateway.metric("wardgate_store_subscribed") == 1.0) == is_subscribed
            });
        }
    }

    /// Takes the right to the channel away, which makes Redis end the subscriptions.
    fn cut_announcements(&self, servers: &[&Redis]) {
        for server in servers {
            assert_eq!(server.say(&["ACL", "SETUSER", "wardgate", "resetchannels"]), "OK");
            server.say(&["CLIENT", "KILL", "TYPE", "pubsub", "USER", "wardgate"]);
        }
        self.wait_until_subscribed(false);
        for gateway in &self.gateways {
            eventually("operators are told", SOON, || {
                let notices = gateway.telemetry_page("/readyz").json()["notices"].to_string();
                notices.contains("announcements can't be heard") && notices.contains("docs/state.md")
            });
            assert_eq!(gateway.metric("wardgate_store_up"), 1.0, "it is no outage");
        }
    }

    /// Opens sockets of two sessions at both gateways and revokes one session at the first gateway; gives a token of it.
    async fn a_revoked_session_ends_everywhere(&self, session: &str, limit: Duration) -> String {
        let (alice, bob) = (self.token("alice", session), self.token("bob", "another"));
        let (mut hers, mut his) = (Vec::new(), Vec::new());
        for number in 0..SOCKETS / 2 {
            for gateway in &self.gateways {
                hers.push(join(gateway, &alice).await);
                if number % 25 == 0 {
                    his.push(join(gateway, &bob).await);
                }
            }
        }
        assert_eq!(hers.len(), SOCKETS);
        let (code, said) = revoke(&self.gateways[0], &["--issuer", "patients", "--session", session]);
        assert_eq!(code, Some(0), "{said}");
        let all = async {
            for socket in &mut hers {
                assert_eq!(close_code(socket).await, CloseCode::Policy);
            }
        };
        tokio::time::timeout(limit, all).await.expect("all of them, in time");
        for socket in &mut his {
            hears_itself(socket).await;
        }
        for gateway in &self.gateways {
            assert_eq!(ask(gateway, &alice).status, 401, "shown again");
            let first_seen = self.token("alice", session);
            assert_eq!(ask(gateway, &first_seen).status, 401, "of the same session, seen for the first time");
        }
        alice
    }

    /// However the servers have lost their memory: whoever was refused before is never let in by anybody. A token that was
    /// made after the loss was noticed is another matter: nobody has refused it.
    fn nothing_is_revived(&self, old: &str) {
        for gateway in &self.gateways {
            eventually("the loss is noticed", Duration::from_secs(60), || {
                let status = ask(gateway, old).status;
                assert!([401, 503].contains(&status), "revived: {status}");
                status == 401
            });
        }
        for (gateway, _) in self.gateways.iter().cycle().zip(0..40) {
            assert_ne!(ask(gateway, old).status, 200, "revived");
        }
    }
}

fn redis_urls(servers: &[Redis]) -> String {
    let urls: Vec<String> = servers.iter().map(|it| format!("\"redis://{}\"", it.address)).collect();
    format!("urls: [{}]", urls.join(", "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_server() {
    let server = [Redis::start(&[])];
    let pair = Pair::start(&[&server[0]], &redis_urls(&server)).await;
    pair.wait_until_subscribed(true);
    let old = pair.a_revoked_session_ends_everywhere("s1", SOON).await;
    // A single token: the session's others go on. A client, and everybody who uses it.
    let [one, two] = &pair.gateways;
    let (bob, claims) = session_token(&pair.signer, "bob", "s2");
    let (mut his, mut other) = (join(one, &bob).await, join(one, &pair.token("bob", "s2")).await);
    let token_id = claims["jti"].as_str().expect("an id");
    assert_eq!(revoke(two, &["--issuer", "patients", "--token-id", token_id]).0, Some(0));
    assert_eq!(close_code(&mut his).await, CloseCode::Policy);
    hears_itself(&mut other).await;
    assert_eq!(revoke(two, &["--issuer", "patients", "--client", "portal"]).0, Some(0));
    assert_eq!(close_code(&mut other).await, CloseCode::Policy);
    std::thread::sleep(Duration::from_millis(1_500));
    pair.cut_announcements(&[&server[0]]);
    pair.a_revoked_session_ends_everywhere("s3", UNANNOUNCED).await;
    assert_eq!(server[0].say(&["FLUSHALL"]), "OK");
    pair.nothing_is_revived(&old);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_sentinels() {
    let mut servers = Watched::start();
    let how = format!("{}, topology: sentinel, service: wardgate", redis_urls(&servers.sentinels));
    let pair = Pair::start(&[&servers.master, &servers.replica], &how).await;
    pair.wait_until_subscribed(true);
    let first = pair.a_revoked_session_ends_everywhere("s1", SOON).await;
    pair.cut_announcements(&[&servers.master, &servers.replica]);
    let second = pair.a_revoked_session_ends_everywhere("s2", UNANNOUNCED).await;
    // The master goes, and who is left to take over is empty.
    servers.master.kill();
    assert_eq!(servers.replica.say(&["CONFIG", "SET", "replica-read-only", "no"]), "OK");
    assert_eq!(servers.replica.say(&["FLUSHALL"]), "OK");
    assert_eq!(servers.replica.say(&["DBSIZE"]), "0");
    tokio::task::block_in_place(|| servers.wait_for_failover());
    // So that its writes can be confirmed, the old one follows it, without what it knew.
    servers.master.restart();
    let port = servers.replica.address.port().to_string();
    tokio::task::block_in_place(|| {
        eventually("the old master follows", Duration::from_secs(60), || {
            servers.master.say(&["REPLICAOF", "127.0.0.1", &port]);
            servers.replica.say(&["WAIT", "1", "100"]) == "1"
        });
        pair.nothing_is_revived(&first);
        pair.nothing_is_revived(&second);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_a_cluster() {
    let cluster = Cluster::start();
    let nodes: Vec<&Redis> = cluster.nodes.iter().collect();
    let how = format!("{}, topology: cluster", redis_urls(&cluster.nodes));
    let pair = Pair::start(&nodes, &how).await;
    pair.wait_until_subscribed(true);
    let old = pair.a_revoked_session_ends_everywhere("s1", SOON).await;
    pair.cut_announcements(&nodes);
    pair.a_revoked_session_ends_everywhere("s2", UNANNOUNCED).await;
    for master in cluster.masters() {
        assert_eq!(cluster.nodes[master].say(&["FLUSHALL"]), "OK");
    }
    tokio::task::block_in_place(|| pair.nothing_is_revived(&old));
}
