//! What `dpop: required` depends on elsewhere in the file.

use super::issuers::Issuer;
use super::routes::Draft;
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{File, Text};
use crate::config::settings::{StateSettings, StoreSettings};

/// Checks the issuers whose tokens must be bound to a key.
pub(super) fn check(
    file: &File,
    issuers: &[Issuer],
    drafts: &[Draft<'_>],
    state: &StateSettings,
    report: &mut Report<'_>,
) {
    let strict = file.issuers.items().iter().zip(issuers).enumerate();
    for (position, (item, issuer)) in strict.filter(|(_, (_, issuer))| issuer.rules.dpop.required) {
        let Some(dpop) = item.value.dpop.as_ref() else { continue };
        check_store(dpop, issuer, state, report);
        check_hosts(position, issuer, drafts, report);
    }
}

/// A proof counts once, so whoever judges it must know of every other time.
fn check_store(dpop: &Text, issuer: &Issuer, state: &StateSettings, report: &mut Report<'_>) {
    let is_shared = matches!(state.store, StoreSettings::Redis(_));
    if is_shared || state.single_replica {
        return;
    }
    let message = "a proof that was shown to one replica could be shown to another";
    let help = "say `state: { single_replica: true }` where there is one gateway, or share the state: `state: { store: redis }`";
    report.within("issuer", Some(&issuer.rules.name)).add(Code::NeedsSingleReplica, dpop, message, help);
}

/// The host is the client's own word: only a route that names its hosts holds it against the proof.
fn check_hosts(position: usize, issuer: &Issuer, drafts: &[Draft<'_>], report: &mut Report<'_>) {
    let is_open = |draft: &&Draft<'_>| {
        draft.route.host.is_none() && draft.route.any_of.iter().any(|entry| entry.issuer == Some(position))
    };
    if let Some(draft) = drafts.iter().find(is_open) {
        let place = draft.schema.r#match.as_ref().map_or(draft.path, Place::from);
        let message = format!(
            "issuer `{}` wants proofs of possession, and this route takes one that was made for another host",
            issuer.rules.name
        );
        let help = "name the host in every such route, as clients write it: `match: { host: portal.clinic.example, … }`";
        report.within("route", Some(&draft.route.id)).add(Code::KeyProofForAnyHost, place, message, help);
    }
}
