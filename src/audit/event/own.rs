//! What the gateway records of itself, and of those who operate it.

use serde::Serialize;

use crate::audit::pseudonym::Kind;

/// A revocation.
#[derive(Debug, Serialize)]
pub struct RevocationEvent<'e> {
    /// `operator` or `shared_signals`.
    pub source: &'static str,
    /// The user id of the operator's process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The issuer's configured name.
    pub issuer: &'e str,
    /// `sub`, `sid`, `jti` or `client`.
    pub claim: &'static str,
    /// The pseudonym of what was revoked, or the client's id.
    pub name: &'e str,
    /// Tokens issued before this moment (Unix seconds) are refused.
    pub not_before: i64,
    /// `stored`, or `unavailable` where the state store did not confirm it.
    pub result: &'static str,
}

/// What became of a security event. The names that it ended are in the records of the revocations before it.
#[derive(Debug, Serialize)]
pub struct SharedSignalEvent<'e> {
    /// The configured name of the issuer whose tokens it is about.
    pub issuer: &'e str,
    /// `push` or `poll`.
    pub delivery: &'static str,
    /// The event's type, where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<&'static str>,
    /// `revoked`, or what else became of it.
    pub result: &'static str,
    /// The pseudonym of the event's own name (`jti`), where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<&'e str>,
}

/// Something stood out. Who looks into it begins with the records just before.
#[derive(Debug, Serialize)]
pub struct DetectionEvent<'e> {
    /// Its stable name, as in `wardgate_detections_total`.
    pub name: &'static str,
    /// The pseudonym of the person whose doing it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'e str>,
    /// The pseudonym of the patient it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patient: Option<&'e str>,
    /// The action's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'e str>,
    /// How often it happened.
    pub count: u64,
    /// Within so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<u64>,
}

/// A question of an operator's about somebody.
#[derive(Debug, Serialize)]
pub struct PseudonymLookupEvent<'e> {
    /// The user id of the operator's process.
    pub uid: u32,
    /// What they say they ask for.
    pub reason: &'e str,
    /// What was asked about.
    pub kind: Kind,
    /// Its pseudonym at this time, and no other: those of an epoch whose key is destroyed must lead to nobody.
    pub name: &'e str,
}

/// The end of some epochs' keys.
#[derive(Debug, Serialize)]
pub struct PseudonymShredEvent<'e> {
    /// `begun`: on disk before the first one was destroyed. `ended`.
    pub phase: &'static str,
    /// The user id of the operator's process.
    pub uid: u32,
    /// What they say they do it for.
    pub reason: &'e str,
    /// The first days of the epochs; where it failed, those whose keys may still be there.
    pub epochs: &'e [String],
    /// `destroyed`, or `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<&'static str>,
}

/// The next epoch of pseudonyms.
#[derive(Debug, Serialize)]
pub struct PseudonymEpochEvent<'e> {
    /// Its first day.
    pub epoch: &'e str,
    /// That of the one before.
    pub previous: &'e str,
    /// `begun`, or `failed`: the one before goes on.
    pub result: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'e str>,
}
