//! What is recorded of a glass that is broken.

use serde::Serialize;
use uuid::Uuid;

/// Somebody gets beyond a refusal in an emergency, or what becomes of that. Why in their own words is not here: it may
/// name the patient.
#[derive(Debug, Default, Serialize)]
pub struct BreakGlassEvent<'e> {
    /// The id of the request in which it happened; absent where there was none.
    #[serde(skip_serializing_if = "Uuid::is_nil")]
    pub decision: Uuid,
    /// `opened`, `used`, `ended`, `shown`, `reviewed`, `overdue`, `suspended`, `restored` or `codes_issued`.
    pub what: &'static str,
    /// By what it is known; empty, and not recorded, where it is about no opening.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub glass: &'e str,
    /// The right's name.
    pub right: &'e str,
    /// The action for which it was opened, or used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'e str>,
    /// The pseudonym of whoever did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'e str>,
    /// The patient's pseudonym.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patient: Option<&'e str>,
    /// The reason that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'e str>,
    /// Until when it is open, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// What the review found, why it ended, what stood in for a proof, or how many codes were issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<&'e str>,
    /// The pseudonym of whoever reviewed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reviewer: Option<&'e str>,
    /// The user id of the operator's process through which that came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// It is a drill: nothing is open.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drill: bool,
}
