//! What a running gateway can't change: sockets, threads, the journal's place. A file that changes it is refused as a
//! whole, since half of a change is a policy that nobody wrote.

use super::codes::Code;
use super::diagnostic::Place;
use super::report::Report;
use super::schema::File;
use super::settings::{ListenerSettings, Settings};

/// Reports each difference between what runs and what the file wants that needs a restart.
pub(super) fn check(file: &File, wanted: &Settings, running: &Settings, report: &mut Report<'_>) {
    // Every part is named, so that a new one must say whether it can change.
    let Settings {
        listeners,
        telemetry,
        operators,
        traces,
        proxy_status,
        issuers: _,
        pages: _,
        step_up: _,
        access: _,
        upstreams: _,
        audit,
        state,
        shutdown,
        upgrade: _,
        threads,
        insecure: _,
    } = wanted;
    check_listeners(file, listeners, &running.listeners, report);
    let place = file.telemetry.as_ref().map(Place::from);
    differs(*telemetry != running.telemetry, "telemetry", place, report);
    let place = file.operators.as_ref().and_then(|it| it.value.address.as_ref()).map(Place::from);
    differs(*operators != running.operators, "operators", place, report);
    let place = file.telemetry.as_ref().and_then(|it| it.value.traces.as_ref()).map(Place::from);
    differs(*traces != running.traces, "telemetry.traces", place, report);
    let schema = file.proxy_status.as_ref();
    let place = schema.and_then(|it| it.name.as_ref().or(it.from_upstream.as_ref())).map(Place::from);
    differs(*proxy_status != running.proxy_status, "proxy_status", place, report);
    let schema = file.audit.as_ref();
    let place = schema.and_then(|audit| audit.dir.as_ref()).map(Place::from);
    differs(audit.dir != running.audit.dir, "audit.dir", place, report);
    let place = schema.and_then(|audit| audit.pseudonyms.as_ref()).map(Place::from);
    let other_key = audit.pseudonyms != running.audit.pseudonyms;
    differs(other_key, "audit.pseudonyms", place, report);
    let place = schema.and_then(|audit| audit.checkpoint.as_ref()).map(Place::from);
    let other_key = audit.checkpoint_key_file != running.audit.checkpoint_key_file;
    differs(other_key, "audit.checkpoint", place, report);
    let place = schema.and_then(|audit| audit.reserve.as_ref()).map(Place::from);
    differs(audit.reserve != running.audit.reserve, "audit.reserve", place, report);
    let place = schema.and_then(|audit| audit.detections.as_ref()).map(Place::from);
    differs(audit.detections != running.audit.detections, "audit.detections", place, report);
    let place = schema.and_then(|audit| audit.retention.as_ref()).map(Place::from);
    differs(audit.retention != running.audit.retention, "audit.retention", place, report);
    let place = schema.and_then(|audit| audit.undelivered_quota.as_ref()).map(Place::from);
    let other_quota = audit.undelivered_quota != running.audit.undelivered_quota;
    differs(other_quota, "audit.undelivered_quota", place, report);
    let place = schema.and_then(|audit| audit.remote_sink.as_ref()).map(Place::from);
    differs(audit.remote_sink != running.audit.remote_sink, "audit.remote_sink", place, report);
    let place = schema.and_then(|audit| audit.sinks.as_ref()).map(Place::from);
    differs(audit.sinks != running.audit.sinks, "audit.sinks", place, report);
    // Which keys seal may change, and whether it is said that the gateway is alone.
    let schema = file.state.as_ref();
    let place = schema.and_then(|state| state.store.as_ref().or(state.data_dir.as_ref())).map(Place::from);
    let place = place.or(schema.and_then(|state| state.redis.as_ref()).map(Place::from));
    differs(state.store != running.state.store, "state", place, report);
    let schema = file.shutdown.as_ref();
    let place = schema.and_then(|shutdown| shutdown.lame_duck.as_ref()).map(Place::from);
    differs(shutdown.lame_duck != running.shutdown.lame_duck, "shutdown.lame_duck", place, report);
    let place = schema.and_then(|shutdown| shutdown.grace.as_ref()).map(Place::from);
    differs(shutdown.grace != running.shutdown.grace, "shutdown.grace", place, report);
    let place = file.threads.as_ref().map(Place::from);
    differs(*threads != running.threads, "threads", place, report);
}

fn check_listeners(
    file: &File,
    wanted: &[ListenerSettings],
    running: &[ListenerSettings],
    report: &mut Report<'_>,
) {
    if wanted.len() != running.len() {
        differs(true, "listeners", file.listeners.as_ref().map(Place::from), report);
        return;
    }
    for (position, (new, old)) in wanted.iter().zip(running).enumerate() {
        let schema = file.listeners.items().get(position);
        let place = schema.map(Place::from);
        // How requests are read (`reading`) and secrets of peers are taken over; what the socket was opened with is not.
        let ListenerSettings {
            name,
            address,
            mode,
            reading: _,
            limits,
            announcers,
            tls,
            h2c,
            peers,
            peer_secret_file: _,
            peer_secrets: _,
        } = new;
        let of_name = schema.and_then(|item| item.value.name.as_ref()).map(Place::from).or(place);
        differs(*name != old.name, &format!("listeners[{position}].name"), of_name, report);
        let of_address = schema.and_then(|item| item.value.address.as_ref()).map(Place::from).or(place);
        differs(*address != old.address, &format!("listeners[{position}].address"), of_address, report);
        let of_mode = schema.and_then(|item| item.value.mode.as_ref()).map(Place::from).or(place);
        differs(*mode != old.mode, &format!("listeners[{position}].mode"), of_mode, report);
        differs(*limits != old.limits, &format!("listeners[{position}].limits"), place, report);
        differs(*tls != old.tls, &format!("listeners[{position}].tls"), place, report);
        differs(*h2c != old.h2c, &format!("listeners[{position}].h2c"), place, report);
        let of_names = schema.and_then(|item| item.value.peers.as_ref()).map(Place::from).or(place);
        differs(*peers != old.peers, &format!("listeners[{position}].peers"), of_names, report);
        let of_peers = schema.and_then(|item| item.value.proxy_protocol.as_ref()).map(Place::from).or(place);
        differs(
            *announcers != old.announcers,
            &format!("listeners[{position}].proxy_protocol"),
            of_peers,
            report,
        );
    }
}

fn differs(is_so: bool, key: &str, place: Option<Place>, report: &mut Report<'_>) {
    if is_so {
        // A key that was taken out has no place any more.
        report.add(
            Code::NeedsRestart,
            place.unwrap_or(Place { line: 1, column: 1, length: 1 }),
            format!("restart needed: `{key}` can't change while the gateway runs"),
            "upgrade the gateway in place (SIGUSR2) or restart it, or put the old value back",
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Cases, load, load_with};

    const FILE: &str = "version: 1
listeners: [{ name: edge, address: '127.0.0.1:8080', trusted_proxies: [10.0.0.1] }]
telemetry: { address: '127.0.0.1:9901' }
threads: 2
audit: { dir: trail }
shutdown: { lame_duck: 1s, grace: 2s }
upstreams: { app: { endpoints: ['127.0.0.1:1'] } }
routes: [{ id: home, match: { path: '/', methods: [GET] }, upstream: app, access: public }]
";

    fn said(from: &str, to: &str) -> Vec<String> {
        let running = load("gateway.yaml", FILE, Path::new("")).expect("sound").0.settings;
        let text = FILE.replace(from, to);
        assert_ne!(text, FILE);
        match load_with("gateway.yaml", &text, Path::new(""), Cases::Run, Some(&running)) {
            Ok(_) => Vec::new(),
            Err(found) => found.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn what_needs_a_restart_is_named_at_its_place() {
        for (from, to, key, place) in [
            ("127.0.0.1:8080", "127.0.0.1:8081", "listeners[0].address", ":2:36"),
            ("name: edge", "name: door", "listeners[0].name", ":2:21"),
            ("'127.0.0.1:9901'", "'127.0.0.1:9902'", "telemetry", ":3:12"),
            ("telemetry: { address: '127.0.0.1:9901' }\n", "", "telemetry", ":1:1"),
            (
                "9901' }",
                "9901', traces: { otlp: 'http://127.0.0.1:4318/v1/traces' } }",
                "telemetry.traces",
                ":3:49",
            ),
            ("threads: 2", "threads: 2\nproxy_status: { name: edge-2 }", "proxy_status", ":5:23"),
            ("threads: 2", "threads: 3", "threads", ":4:10"),
            ("threads: 2", "threads: 2\noperators: { address: 'unix:/run/o.sock' }", "operators", ":5:23"),
            ("dir: trail", "dir: other", "audit.dir", ":5:15"),
            ("lame_duck: 1s", "lame_duck: 3s", "shutdown.lame_duck", ":6:24"),
            ("grace: 2s", "grace: 3s", "shutdown.grace", ":6:35"),
            ("threads: 2", "threads: 2\nstate: { data_dir: other }", "state", ":5:20"),
        ] {
            let said = said(from, to);
            assert_eq!(said.len(), 1, "{key}: {said:?}");
            let first = format!("error[WG130]: restart needed: `{key}` can't change while the gateway runs");
            assert!(said[0].starts_with(&first), "{}", said[0]);
            assert!(said[0].contains(&format!("gateway.yaml{place}")), "{}", said[0]);
            assert!(said[0].contains("SIGUSR2"), "{}", said[0]);
        }
    }

    #[test]
    fn everything_else_may_change() {
        for (from, to) in [
            ("10.0.0.1", "10.0.0.2"),
            ("127.0.0.1:1'", "127.0.0.1:2'"),
            ("path: '/'", "path: '/start'"),
            ("threads: 2", "threads: 2\nstate: { single_replica: true }"),
            ("version: 1\n", "version: 1\nupgrade: { ready_within: 5s }\n"),
        ] {
            assert_eq!(said(from, to), Vec::<String>::new(), "{to}");
        }
    }

    #[test]
    fn a_listener_more_is_named_once() {
        let more = "trusted_proxies: [10.0.0.1] }, { name: two, address: '127.0.0.1:8082' }]";
        let said = said("trusted_proxies: [10.0.0.1] }]", more);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("`listeners` can't change"), "{}", said[0]);
    }
}
