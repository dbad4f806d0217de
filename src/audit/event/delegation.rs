//! What is recorded of people who act for patients.

use serde::Serialize;

/// Somebody was granted to act for a patient, or what becomes of that.
#[derive(Debug, Default, Serialize)]
pub struct DelegationEvent<'e> {
    /// `granted`, `reviewed`, `shown` or `ended`.
    pub what: &'static str,
    /// By what it is known; absent where all of a patient's were shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delegation: Option<&'e str>,
    /// The relation's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relation: Option<&'e str>,
    /// The pseudonym of whoever acts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'e str>,
    /// The patient's pseudonym.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patient: Option<&'e str>,
    /// The actions that it was narrowed to.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub actions: &'e [Box<str>],
    /// Until when it holds, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    /// When somebody must have looked at it again, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review_due: Option<i64>,
    /// Why it ended: `operator`, `patient` or `not_kept`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<&'e str>,
    /// The pseudonym of whoever did it: a member of the staff, or the patient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<&'e str>,
    /// The user id of the operator's process through which that came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}
