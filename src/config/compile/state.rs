//! Where the state is kept, and what seals it.

use std::path::Path;
use std::time::Duration;

use reqwest::Url;
use serde_saphyr::Spanned;

use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::encryption_keys;
use crate::config::report::Report;
use crate::config::schema::{EncryptionKey, File, Given, Items, Redis, State, Text};
use crate::config::settings::{
    EncryptionKeySettings, RedisSettings, RedisTopology, StateSettings, StoreSettings,
};
use crate::config::values::{self, Names};
use crate::tls::pem;

/// How long an operation may take where nothing is said: longer than a healthy network and Redis ever need, and short
/// beside what a person notices.
const TIMEOUT: Duration = Duration::from_millis(150);
/// More of a key file is not read.
const MAX_KEY_FILE_BYTES: u64 = 1024;

/// Which store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Memory,
    Embedded,
    Redis,
}

const STORES: &[(&str, Kind)] =
    &[("embedded", Kind::Embedded), ("redis", Kind::Redis), ("memory", Kind::Memory)];

/// Compiles `state`.
pub(super) fn compile(file: &File, base_dir: &Path, report: &mut Report<'_>) -> StateSettings {
    let absent = State::default();
    let schema = file.state.as_ref().unwrap_or(&absent);
    let report = &mut report.within("state", None);
    // A directory is named for something to be kept there. Without one nothing is written that nobody asked for.
    let default = if schema.data_dir.is_some() { Kind::Embedded } else { Kind::Memory };
    let kind = values::choice(report, &schema.store, STORES, default);
    let single_replica = schema.single_replica.as_ref().is_some_and(|alone| alone.value);
    let store = match kind {
        Kind::Memory => {
            misplaced(report, schema.data_dir.as_ref(), "data_dir", "store: embedded");
            misplaced(report, schema.redis.as_ref(), "redis", "store: redis");
            StoreSettings::Memory
        }
        Kind::Embedded => {
            misplaced(report, schema.redis.as_ref(), "redis", "store: redis");
            let dir = schema.data_dir.as_ref().map_or("state", |dir| values::filled(report, dir));
            let path = base_dir.join(dir);
            if path.exists() && !path.is_dir() {
                let place = schema.data_dir.as_ref().map_or(Place::FILE, Place::from);
                let message = format!("`{dir}` is not a directory");
                let help = "name a directory; it is made where it is missing";
                report.add(Code::FileMissing, place, message, help);
            }
            StoreSettings::Embedded(path)
        }
        Kind::Redis => {
            if let Some(alone) = schema.single_replica.as_ref().filter(|alone| alone.value) {
                let help = "leave `single_replica` out: this store is for any number of gateways";
                report.add(Code::SharedAndAlone, alone, "the store is shared all the same", help);
            }
            match (schema.redis.as_ref(), schema.store.as_ref()) {
                (Some(redis), _) => redis_store(redis, file, base_dir, report),
                (None, store) => {
                    let place = store.map_or(Place::FILE, Place::from);
                    let help = "write `redis: { urls: [\"rediss://redis.clinic.example:6379\"] }` beside it";
                    report.add(Code::StoreSettings, place, "nothing says where Redis is", help);
                    StoreSettings::Memory
                }
            }
        }
    };
    let leave = file.insecure.as_ref().and_then(|insecure| insecure.plain_redis.as_ref());
    if let (Some(leave), false) = (leave, kind == Kind::Redis) {
        let message = "Redis is not the store";
        report.add(Code::AllowanceNotNeeded, leave, message, "take the entry out");
    }
    let encryption_keys = keys(&schema.encryption_keys, base_dir, report);
    if kind == Kind::Redis
        && schema.encryption_keys.is_none()
        && let Some(store) = schema.store.as_ref()
    {
        let message = "whoever can read Redis could read what is kept there";
        let help = "make a key with `openssl rand -hex 32` for all gateways, and write `encryption_keys: [{ id: k1, file: /secrets/k1 }]`";
        report.add(Code::NoEncryptionKeys, store, message, help);
    }
    StateSettings { store, single_replica, encryption_keys }
}

/// Reports a key that belongs to another store.
fn misplaced<'s, T>(report: &mut Report<'_>, given: Option<&'s T>, key: &str, instead: &str)
where
    Place: From<&'s T>,
{
    if let Some(given) = given {
        let message = format!("`{key}` says nothing about the store that is chosen");
        report.add(Code::StoreSettings, given, message, format!("write `{instead}`, or leave it out"));
    }
}

fn keys(
    schema: &Given<Items<EncryptionKey>>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Vec<EncryptionKeySettings> {
    if let Some(list) = schema.as_ref()
        && list.value.is_empty()
    {
        report.add(Code::Empty, list, "this list is empty", "write at least one key, or leave the list out");
    }
    let mut names = Names::default();
    let mut keys = Vec::new();
    for item in schema.items() {
        let place = Place::from(item);
        let id = report.required(&item.value.id, "id", place, "k1");
        let file = report.required(&item.value.file, "file", place, "/secrets/k1");
        if let Some(id) = id {
            values::name(report, id);
            names.add(report, "key", id);
        }
        let path = file.map(|text| (text, values::file(report, base_dir, text)));
        if let Some((text, path)) = &path
            && let Ok(bytes) = values::read_bounded(path, MAX_KEY_FILE_BYTES)
            && !bytes.is_empty()
            && encryption_keys::parse(&bytes).is_none()
        {
            let message = format!("`{}` holds no key of 256 bits", text.value);
            report.add(Code::BadEncryptionKey, *text, message, "make one with `openssl rand -hex 32`");
        }
        if let (Some(id), Some((_, path))) = (id, path) {
            keys.push(EncryptionKeySettings { id: id.value.as_str().into(), file: path });
        }
    }
    keys
}

fn redis_store(
    item: &Spanned<Redis>,
    file: &File,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> StoreSettings {
    let (place, schema) = (Place::from(item), &item.value);
    let topology = topology(schema, place, report);
    let urls = report.required(&schema.urls, "urls", place, "[\"rediss://redis.clinic.example:6379\"]");
    if urls.is_some_and(|urls| urls.value.is_empty()) {
        report.add(Code::Empty, place, "`urls` is empty", "name at least one server");
    }
    let default_port = if matches!(topology, RedisTopology::Sentinel { .. }) { 26_379 } else { 6_379 };
    let read: Vec<(&Text, Address)> = schema
        .urls
        .items()
        .iter()
        .filter_map(|text| Some((text, address(report, text, default_port)?)))
        .collect();
    check_urls(&read, &topology, report);
    let first = read.first().map(|(_, address)| address);
    let (tls, database) = first.map_or((true, 0), |address| (address.tls, address.database));
    let ca_file = schema.ca_file.as_ref().map(|text| {
        let errors = report.errors();
        let path = values::file(report, base_dir, text);
        let fault = match pem::read(&path) {
            Ok(pem) => pem::authorities(&pem).err().map(|fault| fault.to_string()),
            Err(unreadable) => Some(unreadable.to_string()),
        };
        // What can't be read at all was told.
        if let Some(fault) = fault.filter(|_| report.errors() == errors) {
            let help = "look at it with `openssl x509 -in FILE -noout -text`";
            report.add(Code::BadCertificateFile, text, format!("`{}` {fault}", text.value), help);
        }
        if !tls {
            let message = "an authority vouches for nothing without TLS";
            report.add(Code::StoreTopology, text, message, "write `rediss://`, or leave `ca_file` out");
        }
        path
    });
    let settings = RedisSettings {
        nodes: read.into_iter().map(|(_, address)| (address.host, address.port)).collect(),
        tls,
        ca_file,
        database,
        username: user(report, &schema.username, &schema.password_file, "password_file"),
        password_file: secret(report, base_dir, &schema.password_file),
        sentinel_username: user(
            report,
            &schema.sentinel_username,
            &schema.sentinel_password_file,
            "sentinel_password_file",
        ),
        sentinel_password_file: secret(report, base_dir, &schema.sentinel_password_file),
        timeout: values::duration(
            report,
            &schema.timeout,
            TIMEOUT,
            Duration::from_millis(5)..=Duration::from_secs(5),
        ),
        min_replicas: replicas(schema, &topology, report),
        prefix: prefix(report, &schema.prefix),
        topology,
    };
    check_encryption(&settings, schema, file, report);
    StoreSettings::Redis(settings)
}

fn topology(schema: &Redis, place: Place, report: &mut Report<'_>) -> RedisTopology {
    let words = [("standalone", 0), ("sentinel", 1), ("cluster", 2)];
    let chosen = values::choice(report, &schema.topology, &words, 0);
    if chosen != 1 {
        for (given, key) in [
            (schema.service.as_ref(), "service"),
            (schema.sentinel_username.as_ref(), "sentinel_username"),
            (schema.sentinel_password_file.as_ref(), "sentinel_password_file"),
        ] {
            if let Some(text) = given {
                let message = format!("`{key}` is about Sentinels, and there are none");
                let help = "write `topology: sentinel`, or leave it out";
                report.add(Code::StoreTopology, text, message, help);
            }
        }
    }
    match chosen {
        1 => {
            let place = schema.topology.as_ref().map_or(place, Place::from);
            let service = report.required(&schema.service, "service", place, "wardgate");
            let service = service.map(|text| values::filled(report, text)).unwrap_or_default();
            RedisTopology::Sentinel { service: service.to_owned() }
        }
        2 => RedisTopology::Cluster,
        _ => RedisTopology::Standalone,
    }
}

/// A server as an address names it.
struct Address {
    tls: bool,
    host: String,
    port: u16,
    database: i64,
}

fn address(report: &mut Report<'_>, text: &Text, default_port: u16) -> Option<Address> {
    let read = Url::parse(&text.value).ok().and_then(|url| {
        let is_plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        let tls = match url.scheme() {
            "rediss" => true,
            "redis" => false,
            _ => return None,
        };
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            number => number.parse().ok().filter(|number| (0..=1_000_000).contains(number))?,
        };
        let host = url.host_str().filter(|host| is_plain && !host.is_empty())?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Address { tls, host, port: url.port().unwrap_or(default_port), database })
    });
    if read.is_none() {
        // The text may hold a password, so it is not repeated.
        let help = "write `rediss://host:port`; user and password stand in `username` and `password_file`";
        report.add(Code::BadStoreAddress, text, "this is not an address of Redis", help);
    }
    read
}

fn check_urls(read: &[(&Text, Address)], topology: &RedisTopology, report: &mut Report<'_>) {
    let Some((start, first)) = read.first() else { return };
    for (text, address) in read.iter().skip(1) {
        if *topology == RedisTopology::Standalone {
            let help = "keep one, or say how they belong together: `topology: sentinel` or `cluster`";
            report.add(Code::StoreTopology, *text, "a second server beside a single one", help);
        } else if address.tls != first.tls || address.database != first.database {
            let help = "write the same scheme and database for all";
            report.add(
                Code::StoreTopology,
                *text,
                "this server is reached in another way than the first",
                help,
            );
        }
    }
    if *topology == RedisTopology::Cluster && first.database != 0 {
        let help = "leave the number out; gateways that must not meet get a `prefix` each";
        report.add(Code::StoreTopology, *start, "a cluster has no numbered databases", help);
    }
}

fn user(report: &mut Report<'_>, name: &Given<Text>, password: &Given<Text>, key: &str) -> Option<Box<str>> {
    let name = name.as_ref()?;
    if password.is_none() {
        let message = format!("a user needs a password: `{key}` is missing");
        report.add(Code::MissingKey, name, message, format!("write `{key}: /secrets/redis`"));
    }
    Some(values::filled(report, name).into())
}

fn secret(report: &mut Report<'_>, base_dir: &Path, given: &Given<Text>) -> Option<std::path::PathBuf> {
    given.as_ref().map(|text| values::file(report, base_dir, text))
}

fn replicas(schema: &Redis, topology: &RedisTopology, report: &mut Report<'_>) -> u8 {
    let may_fail_over = *topology != RedisTopology::Standalone;
    let said =
        values::count(report, &schema.min_replicas, 0..=9).and_then(|number| u8::try_from(number).ok());
    if let (Some(0), true, Some(text)) = (said, may_fail_over, schema.min_replicas.as_ref()) {
        let message = "a server that takes over may not know what was spent";
        let help = "write the number of replicas, or leave `min_replicas` out for 1";
        report.add(Code::NoReplicaConfirms, text, message, help);
    }
    said.unwrap_or(u8::from(may_fail_over))
}

fn prefix(report: &mut Report<'_>, given: &Given<Text>) -> Box<str> {
    let Some(text) = given.as_ref() else { return "wardgate".into() };
    // Braces would move keys to other nodes of a cluster.
    values::name(report, text);
    text.value.as_str().into()
}

fn check_encryption(settings: &RedisSettings, schema: &Redis, file: &File, report: &mut Report<'_>) {
    let leave = file.insecure.as_ref().and_then(|insecure| insecure.plain_redis.as_ref());
    let is_allowed = leave.is_some_and(|leave| leave.value);
    if settings.tls || settings.is_local() || settings.nodes.is_empty() {
        if let Some(leave) = leave {
            let message = "Redis is not spoken to without TLS over the network";
            report.add(Code::AllowanceNotNeeded, leave, message, "take the entry out");
        }
    } else if is_allowed && let Some(leave) = leave {
        let message = "Redis is spoken to without TLS";
        let help = "who sits between reads the password and can make spent proofs unspent";
        report.add(Code::PlainRedisAllowed, leave, message, help);
    } else if let Some(text) = schema.urls.items().first() {
        let message = "the password and what is spent would go over the network unencrypted";
        let help = "write `rediss://`; for a test, `insecure: { plain_redis: true }`";
        report.add(Code::PlainRedis, text, message, help);
    }
}
