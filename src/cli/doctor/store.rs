//! What the state store's servers say, and what that means. Pure but for the question.

use super::findings::{Finding, clock};
use crate::config::settings::{RedisSettings, RedisTopology};
use crate::state::redis::survey::{Server, Survey, Use, survey};

const LOOK: &str = "redis";
/// The oldest version that has ACLs; older ones are not tried.
const OLDEST: u32 = 6;

/// Asks Redis.
pub async fn look(settings: &RedisSettings) -> Vec<Finding> {
    judge(settings, &survey(settings).await)
}

fn judge(settings: &RedisSettings, survey: &Survey) -> Vec<Finding> {
    let mut found = Vec::new();
    for (about, trouble) in &survey.sentinels {
        found.push(match trouble {
            None => Finding::ok(LOOK, format!("Sentinel {about}"), "answers"),
            Some(why) => Finding::warning(
                LOOK,
                format!("Sentinel {about}"),
                why.as_str(),
                "mend it: a failover needs most of them",
            ),
        });
    }
    for (about, answer) in &survey.servers {
        match answer {
            Ok(server) => found.extend(judge_server(about, settings, server)),
            Err(why) => {
                found.push(Finding::failure(
                    LOOK,
                    about.as_str(),
                    why.as_str(),
                    "docs/state.md says what Redis needs",
                ));
            }
        }
    }
    match &survey.use_of_it {
        Ok(used) => found.extend(judge_use(settings, used)),
        Err(why) => found.push(Finding::failure(
            LOOK,
            "state store",
            why.as_str(),
            "docs/state.md says what Redis needs",
        )),
    }
    found
}

fn judge_server(about: &str, settings: &RedisSettings, server: &Server) -> Vec<Finding> {
    let of = |name: &str| server.info.get(name).map_or("", String::as_str);
    let number = |name: &str| of(name).parse::<u32>().unwrap_or(0);
    let version = of("redis_version");
    let is_old =
        version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_none_or(|it| it < OLDEST);
    let says = format!("version {version}, role {}", of("role"));
    let mut found = vec![if is_old {
        Finding::warning(LOOK, about, says, "use Redis 7 or newer")
    } else {
        Finding::ok(LOOK, about, says)
    }];
    found.extend(server.ahead.map(|ahead| clock(about, ahead)));
    match of("maxmemory_policy") {
        "" => found.push(Finding::unknown(
            LOOK,
            about,
            "does not tell its `maxmemory-policy`",
            "see that it is `noeviction`",
        )),
        "noeviction" => found.push(Finding::ok(LOOK, about, "maxmemory-policy is noeviction")),
        other => {
            let says =
                format!("maxmemory-policy is {other}: it would forget what counts, so that no proof pays");
            found.push(Finding::failure(LOOK, about, says, "set `maxmemory-policy noeviction`"));
        }
    }
    found.push(persistence(about, of("aof_enabled"), of("aof_last_write_status"), server.save.as_deref()));
    if of("role") == "slave" {
        // One of a cluster's; where the master is asked for, writes fail and say so.
        return found;
    }
    let replicas = number("connected_slaves");
    if replicas < u32::from(settings.min_replicas) {
        let says = format!("{replicas} replicas follow it, and `min_replicas` is {}", settings.min_replicas);
        found.push(Finding::failure(
            LOOK,
            about,
            says,
            "mend the replicas: until then nothing single-use is admitted",
        ));
    } else if replicas > 0 && of("min_slaves_good_slaves").is_empty() {
        let says = "`min-replicas-to-write` is not set: cut off from its replicas it would still take writes";
        found.push(Finding::warning(
            LOOK,
            about,
            says,
            "set `min-replicas-to-write 1` and `min-replicas-max-lag 5`",
        ));
    } else if replicas == 0 && settings.topology != RedisTopology::Standalone {
        found.push(Finding::warning(
            LOOK,
            about,
            "no replica follows it",
            "give it one, or its loss is everybody's outage",
        ));
    } else {
        found.push(Finding::ok(LOOK, about, format!("{replicas} replicas follow it")));
    }
    found
}

fn persistence(about: &str, append_only: &str, last_write: &str, save: Option<&str>) -> Finding {
    let remedy = "set `appendonly yes`: revocations and sealed work outlast a restart then";
    match (append_only, last_write) {
        ("1", "ok" | "") => Finding::ok(LOOK, about, "appends what it is told to a file"),
        ("1", _) => Finding::failure(
            LOOK,
            about,
            "could not write its append-only file",
            "look at its disk and its log",
        ),
        ("0", _) => {
            let says = match save {
                Some("") => "keeps nothing on the disk: a restart of all servers forgets who was revoked",
                _ => "keeps no append-only file: a restart of all servers may forget who was revoked",
            };
            Finding::warning(LOOK, about, says, remedy)
        }
        _ => Finding::unknown(LOOK, about, "does not tell whether it keeps anything on the disk", remedy),
    }
}

fn judge_use(settings: &RedisSettings, used: &Use) -> Vec<Finding> {
    let about = "state store";
    let acl = "give its user the rights that docs/state.md lists";
    let mut found = Vec::new();
    let (announcing, needed): (Vec<_>, Vec<_>) =
        used.forbidden.iter().partition(|name| ***name == *"PUBLISH");
    if !needed.is_empty() {
        let names: Vec<&str> = needed.into_iter().copied().collect();
        let says = format!("the gateway's user may not run {}", names.join(", "));
        found.push(Finding::failure(LOOK, about, says, acl));
    }
    if !announcing.is_empty() {
        let says =
            "the gateway's user may not announce revocations: other gateways notice them a second later";
        found.push(Finding::warning(LOOK, about, says, acl));
    }
    for (name, why) in &used.failed {
        found.push(Finding::failure(
            LOOK,
            about,
            format!("{name}: {why}"),
            "docs/state.md says what Redis needs",
        ));
    }
    if used.forbidden.is_empty() && used.failed.is_empty() {
        found.push(Finding::ok(LOOK, about, "the gateway's user may run every command that it needs"));
    }
    if let Err(why) = &used.hears {
        found.push(Finding::warning(
            LOOK,
            about,
            format!("announcements of revocations can't be heard: {why}"),
            acl,
        ));
    }
    let wanted = i64::from(settings.min_replicas);
    if wanted > 0 {
        let remedy = "look at the replicas and their lag, or at `state.redis.timeout`";
        found.push(match used.confirmed {
            Some(confirmed) if confirmed >= wanted => {
                Finding::ok(LOOK, about, format!("{confirmed} replicas have confirmed a write in time"))
            }
            Some(confirmed) => {
                let says = format!("{confirmed} of {wanted} replicas have confirmed a write in time");
                Finding::failure(LOOK, about, says, remedy)
            }
            None => Finding::failure(LOOK, about, "a write that replicas confirm (`WAIT`) failed", acl),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::findings::Verdict;
    use super::*;

    #[test]
    fn what_is_kept_on_the_disk_is_judged() {
        let of = |append, last, save| persistence("r", append, last, save).verdict;
        assert_eq!(of("1", "ok", None), Verdict::Ok);
        assert_eq!(of("1", "err", None), Verdict::Failure);
        assert_eq!(of("0", "", Some("")), Verdict::Warning);
        assert_eq!(of("", "", None), Verdict::Unknown);
    }
}
