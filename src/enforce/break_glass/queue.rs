//! What waits for somebody else's look, the same at every gateway.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decision::Lookup;
use crate::enforce::Gate;
use crate::enforce::register::{self, KEPT};

/// One opening. Whose record it was and why lie apart ([`Case`]), and for less long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// By what it is known: its day and number.
    pub id: Box<str>,
    /// The right's name.
    pub right: Box<str>,
    /// The action for which it was opened.
    pub action: Box<str>,
    /// The configured name of the person's issuer.
    pub issuer: Box<str>,
    /// The issuer's name for the person.
    pub subject: Box<str>,
    /// The reason that was given.
    pub code: Box<str>,
    /// When, in Unix seconds.
    pub opened: i64,
    /// Until when it was to be open, in Unix seconds.
    pub until: i64,
    /// Until when somebody else must have looked at it, in Unix seconds.
    pub due: i64,
    /// Whether it was a drill.
    #[serde(default)]
    pub drill: bool,
    /// Whether a code stood in for the proof.
    #[serde(default)]
    pub offline_code: bool,
}

/// Whose record was opened, and why in the person's own words. Gone once it was reviewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The patient.
    pub patient: Box<str>,
    /// Why.
    pub text: Box<str>,
}

/// The place of an entry.
fn entry_place(id: &str) -> String {
    format!("break-glass:entry:{id}")
}

fn case_place(id: &str) -> String {
    format!("break-glass:case:{id}")
}

fn review_place(id: &str) -> String {
    format!("break-glass:review:{id}")
}

impl Gate {
    /// Keeps an opening for whoever looks at it; says whether the store has it.
    pub(super) async fn keep_entry(&self, entry: &Entry, case: &Case, case_kept: Duration) -> bool {
        let (Ok(entry_bytes), Ok(case_bytes)) = (serde_json::to_vec(entry), serde_json::to_vec(case)) else {
            return false;
        };
        self.state.seal(&case_place(&entry.id), &case_bytes, case_kept).await == Lookup::Found(())
            && self.state.seal(&entry_place(&entry.id), &entry_bytes, KEPT).await == Lookup::Found(())
    }

    /// What was opened in the last days, the newest day first.
    ///
    /// # Errors
    /// The store does not answer.
    #[allow(clippy::result_unit_err, reason = "there is one way to fail, and the store has told of it")]
    pub async fn entries(&self, now: i64, days: i32) -> Result<Vec<Entry>, ()> {
        register::last_days(now, days, &|id| Box::pin(async move { self.entry(&id).await })).await
    }

    /// One opening.
    pub(super) async fn entry(&self, id: &str) -> Result<Option<Entry>, ()> {
        match self.state.peek(&entry_place(id)).await {
            // What can't be read was never written here.
            Lookup::Found(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Lookup::Absent => Ok(None),
            Lookup::Unavailable => Err(()),
        }
    }

    /// Whose record it was and why; gone once it was reviewed, or nobody has looked for long.
    pub(super) async fn case(&self, id: &str) -> Result<Option<Case>, ()> {
        match self.state.peek(&case_place(id)).await {
            Lookup::Found(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Lookup::Absent => Ok(None),
            Lookup::Unavailable => Err(()),
        }
    }

    /// Whether somebody has looked at it.
    ///
    /// # Errors
    /// The store does not answer.
    #[allow(clippy::result_unit_err, reason = "there is one way to fail, and the store has told of it")]
    pub async fn is_reviewed(&self, id: &str) -> Result<bool, ()> {
        match self.state.peek(&review_place(id)).await {
            Lookup::Found(_) => Ok(true),
            Lookup::Absent => Ok(false),
            Lookup::Unavailable => Err(()),
        }
    }

    /// Keeps what was found, and forgets the patient and the words; says whether the store has it.
    pub(super) async fn keep_review(&self, id: &str, finding: &str) -> bool {
        if self.state.seal(&review_place(id), finding.as_bytes(), KEPT).await != Lookup::Found(()) {
            return false;
        }
        // What stays goes with its time.
        let _ = self.state.unseal(&case_place(id)).await;
        true
    }
}
