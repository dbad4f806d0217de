//! Who may read and write the gateway's files, whether it can write where it must, and whether there is room.

use std::fs::{File, Metadata, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

use super::findings::Finding;
use crate::config::settings::{
    AskerSettings, AuditSettings, HttpEndpoint, KeySource, Settings, SinkKind, StoreSettings,
};

const LOOK: &str = "file";
/// Less room than one part in so many is worth a warning.
const NEARLY_FULL: u64 = 10;

/// What a file is to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nobody else may read it.
    Secret,
    /// Anybody may read it, and nobody else may write it.
    Trusted,
}

/// The files that the configuration names, and those that the gateway made for itself.
fn named(config: &Path, settings: &Settings) -> Vec<(PathBuf, Kind)> {
    let mut found = vec![(config.to_owned(), Kind::Trusted)];
    let mut secret = |path: Option<&PathBuf>| found.extend(path.map(|path| (path.clone(), Kind::Secret)));
    for issuer in &settings.issuers {
        if let KeySource::Introspection { client_secret_file, .. } = &issuer.source {
            secret(Some(client_secret_file));
        }
        secret(issuer.sign_in.as_ref().map(|sign_in| &sign_in.client_secret_file));
        secret(issuer.signals.as_ref().and_then(|signals| signals.authorization_file.as_ref()));
    }
    settings.step_up.iter().flatten().for_each(|asker| secret(Some(&asker.secret_file().to_owned())));
    settings.state.encryption_keys.iter().for_each(|key| secret(Some(&key.file)));
    for listener in &settings.listeners {
        secret(listener.peer_secret_file.as_ref());
    }
    let certificates = settings.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    certificates.flat_map(|tls| &tls.certificates).for_each(|pair| secret(Some(&pair.key_file)));
    for tls in settings.upstreams.iter().filter_map(|upstream| upstream.tls.as_ref()) {
        secret(tls.client.as_ref().map(|(_, key)| key));
    }
    match &settings.state.store {
        StoreSettings::Redis(redis) => {
            secret(redis.password_file.as_ref());
            secret(redis.sentinel_password_file.as_ref());
        }
        StoreSettings::Embedded(dir) => secret(Some(&dir.join("sealing.key")).filter(|path| path.exists())),
        StoreSettings::Memory => {}
    }
    for sink in &settings.audit.sinks {
        let of_http = |server: &HttpEndpoint| server.authorization_file.clone();
        match &sink.kind {
            SinkKind::Http(to) => secret(of_http(&to.server).as_ref()),
            SinkKind::Fhir(to) => secret(of_http(&to.server).as_ref()),
            SinkKind::Otlp(to) => secret(of_http(to).as_ref()),
            SinkKind::RedisStream(to) => secret(to.password_file.as_ref()),
            SinkKind::Syslog(to) => {
                let identity = to.tls.as_ref().and_then(|tls| tls.identity.as_ref());
                secret(identity.map(|(_, key)| key));
            }
            SinkKind::Kafka(_) | SinkKind::File(_) | SinkKind::Stdout => {}
        }
    }
    let audit = &settings.audit;
    secret(audit.checkpoint_key_file.as_ref());
    secret(audit.pseudonyms.key_file.as_ref());
    for own in ["checkpoints.key", "pseudonyms.key"] {
        secret(Some(&audit.dir.join(own)).filter(|path| path.exists()));
    }
    found.extend(settings.issuers.iter().filter_map(|issuer| match &issuer.source {
        KeySource::File(path) => Some((path.clone(), Kind::Trusted)),
        KeySource::Address(_) | KeySource::Discovery | KeySource::Introspection { .. } => None,
    }));
    found.extend(settings.step_up.iter().flatten().filter_map(|asker| match asker {
        AskerSettings::Http(service) => Some((service.keys_file.clone(), Kind::Trusted)),
        AskerSettings::Ciba(_) => None,
    }));
    found.sort();
    found.dedup();
    found
}

/// Looks at every file and directory.
pub fn look(config: &Path, settings: &Settings) -> Vec<Finding> {
    let own = rustix::process::geteuid().as_raw();
    let mut found: Vec<Finding> = named(config, settings)
        .iter()
        .map(|(path, kind)| match std::fs::metadata(path) {
            Ok(metadata) => judge(path, *kind, (metadata.mode(), metadata.uid()), own),
            Err(error) => {
                let says = format!("can't be looked at: {error}");
                Finding::failure(LOOK, shown(path), says, "put it there, readable for the gateway's user")
            }
        })
        .collect();
    let dir = &settings.audit.dir;
    found.extend(directory(dir, own));
    found.push(lock(dir));
    found.push(room(&settings.audit));
    if let StoreSettings::Embedded(dir) = &settings.state.store {
        found.extend(directory(dir, own));
    }
    let epochs = settings.audit.pseudonyms.epochs.as_ref().and_then(|epochs| epochs.dir.as_ref());
    found.extend(epochs.and_then(|dir| directory(dir, own)));
    found.extend(settings.audit.sinks.iter().filter_map(|sink| match &sink.kind {
        SinkKind::File(path) => path.parent().and_then(|dir| directory(dir, own)),
        _ => None,
    }));
    found
}

fn shown(path: &Path) -> String {
    format!("`{}`", path.display())
}

/// What mode and owner of a file mean, for a process of this user.
fn judge(path: &Path, kind: Kind, (mode, owner): (u32, u32), own: u32) -> Finding {
    let (about, says) = (shown(path), format!("mode {:04o}, of user {owner}", mode & 0o7777));
    if mode & 0o002 != 0 {
        let says = format!("{says}: everybody may change it");
        return Finding::failure(
            LOOK,
            about,
            says,
            "take that away (`chmod o-w`), and put its content there anew",
        );
    }
    if kind == Kind::Secret && mode & 0o004 != 0 {
        let says = format!("{says}: everybody may read it");
        let remedy = "take that away (`chmod 0400`; for a volume of Kubernetes `defaultMode: 0440` with `fsGroup`), and use another secret";
        return Finding::failure(LOOK, about, says, remedy);
    }
    // Another user's file that this one may read comes through its group: a volume with `fsGroup`.
    if mode & 0o020 != 0 || (kind == Kind::Secret && mode & 0o040 != 0 && owner == own) {
        let says = format!("{says}: its group may {} it", if mode & 0o020 != 0 { "change" } else { "read" });
        return Finding::warning(
            LOOK,
            about,
            says,
            "take that away (`chmod 0400`), or see who is in the group",
        );
    }
    Finding::ok(LOOK, about, says)
}

/// A directory that the gateway writes to. `None` where it need not be there yet.
fn directory(dir: &Path, own: u32) -> Option<Finding> {
    let about = shown(dir);
    let unwritable = "let the gateway's user write there, and run this look as that user";
    let metadata: Metadata = match std::fs::metadata(dir) {
        Ok(metadata) => metadata,
        Err(_) => {
            let parent = dir.ancestors().skip(1).find(|parent| parent.is_dir());
            let can_be_made =
                parent.is_some_and(|parent| access(parent, Access::WRITE_OK | Access::EXEC_OK).is_ok());
            return Some(if can_be_made {
                Finding::ok(LOOK, about, "is made with the first start")
            } else {
                Finding::failure(LOOK, about, "is not there and can't be made", unwritable)
            });
        }
    };
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    let says = format!("mode {mode:04o}, of user {owner}");
    if !metadata.is_dir() {
        return Some(Finding::failure(LOOK, about, "is no directory", "name a directory"));
    }
    if access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return Some(Finding::failure(
            LOOK,
            about,
            format!("{says}: this user can't write to it"),
            unwritable,
        ));
    }
    if mode & 0o002 != 0 {
        let says = format!("{says}: everybody may put and remove files in it");
        return Some(Finding::failure(
            LOOK,
            about,
            says,
            "take that away (`chmod o-w`), and check the trail",
        ));
    }
    if own == 0 && owner != 0 {
        let says = format!("{says}, and this look runs as root, for whom everything can be written");
        return Some(Finding::warning(LOOK, about, says, "run it as the gateway's user"));
    }
    Some(Finding::ok(LOOK, about, format!("{says}, and can be written")))
}

/// Whether a gateway writes to the trail. Who starts meanwhile waits for a moment.
fn lock(dir: &Path) -> Finding {
    let about = shown(&dir.join("audit.lock"));
    let Ok(file) = File::open(dir.join("audit.lock")) else {
        return Finding::ok(LOOK, about, "no gateway has written here yet");
    };
    match file.try_lock_shared() {
        Ok(()) => Finding::ok(LOOK, about, "free: no gateway is running on it"),
        Err(TryLockError::WouldBlock) => Finding::ok(LOOK, about, "held by a running gateway"),
        Err(TryLockError::Error(error)) => {
            let remedy = "keep `audit.dir` on a file system that has locks";
            Finding::failure(LOOK, about, format!("can't be locked: {error}"), remedy)
        }
    }
}

fn room(audit: &AuditSettings) -> Finding {
    let dir = audit.dir.ancestors().find(|dir| dir.is_dir()).unwrap_or_else(|| Path::new("/"));
    match statvfs(dir) {
        Ok(disk) => {
            let size = disk.f_frsize;
            let (free, whole) = (disk.f_bavail.saturating_mul(size), disk.f_blocks.saturating_mul(size));
            judge_room(&shown(&audit.dir), (free, whole), audit.reserve, audit.undelivered_quota.unwrap_or(0))
        }
        Err(error) => {
            Finding::unknown(LOOK, shown(dir), format!("its room can't be seen: {error}"), "look with `df`")
        }
    }
}

/// All in bytes: the room that is free and in all, what is kept for clinical tiers, what may pile up for sinks.
fn judge_room(about: &str, (free, whole): (u64, u64), reserve: u64, quota: u64) -> Finding {
    let says = format!("{} MiB of {} MiB are free", free >> 20, whole >> 20);
    let remedy = "give it a larger disk, or keep less (`audit.retention`)";
    if free < reserve {
        return Finding::failure(LOOK, about, format!("{says}: less than `audit.reserve`"), remedy);
    }
    if free < quota {
        return Finding::warning(LOOK, about, format!("{says}: less than `audit.undelivered_quota`"), remedy);
    }
    if free < whole / NEARLY_FULL {
        return Finding::warning(LOOK, about, says, remedy);
    }
    Finding::ok(LOOK, about, says)
}

#[cfg(test)]
mod tests {
    use super::super::findings::Verdict;
    use super::*;

    #[test]
    fn secrets_are_for_the_gateway_alone() {
        let of = |kind, mode, owner| judge(Path::new("k"), kind, (mode, owner), 10).verdict;
        assert_eq!([of(Kind::Secret, 0o400, 10), of(Kind::Secret, 0o440, 0)], [Verdict::Ok; 2]);
        assert_eq!([of(Kind::Secret, 0o640, 10), of(Kind::Trusted, 0o664, 10)], [Verdict::Warning; 2]);
        assert_eq!([of(Kind::Secret, 0o644, 10), of(Kind::Secret, 0o602, 10)], [Verdict::Failure; 2]);
        assert_eq!([of(Kind::Trusted, 0o644, 10)], [Verdict::Ok]);
        assert_eq!([of(Kind::Trusted, 0o646, 10)], [Verdict::Failure]);
    }

    #[test]
    fn room_is_measured_against_what_may_pile_up() {
        let of = |free| judge_room("d", (free, 1000), 20, 200).verdict;
        assert_eq!(
            [of(19), of(20), of(199), of(200)],
            [Verdict::Failure, Verdict::Warning, Verdict::Warning, Verdict::Ok]
        );
        assert_eq!(judge_room("d", (99, 1000), 0, 0).verdict, Verdict::Warning);
    }

    #[test]
    fn a_running_gateway_is_seen_by_its_lock() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(lock(dir.path()).says.contains("yet"));
        let file = File::create(dir.path().join("audit.lock")).expect("made");
        assert!(lock(dir.path()).says.contains("free"));
        file.lock().expect("locked");
        assert!(lock(dir.path()).says.contains("held"));
    }
}
