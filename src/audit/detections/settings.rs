//! What counts as much.

use std::path::PathBuf;

use super::Hours;

/// What stands out among records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// One subject, so many patients.
    pub mass_lookup: Many,
    /// One subject, so many challenges.
    pub prompt_storm: Many,
    /// So many requests of which nobody knows what came of them.
    pub unknown_outcomes: Many,
    /// Hours in which actions of some tiers are expected.
    pub off_hours: Option<OffHours>,
    /// The file with the ids of patients whose records are looked after, a line each.
    pub watched_patients_file: Option<PathBuf>,
    /// The names of what nobody wants to be told.
    pub disabled: Vec<&'static str>,
}

impl Settings {
    /// Whether somebody wants to be told of what has this name.
    pub fn looks_for(&self, name: &str) -> bool {
        !self.disabled.contains(&name)
    }
}

impl Default for Settings {
    fn default() -> Self {
        let many = |count, within| Many { count, within };
        Self {
            mass_lookup: many(100, 600),
            prompt_storm: many(10, 600),
            unknown_outcomes: many(5, 600),
            off_hours: None,
            watched_patients_file: None,
            disabled: Vec::new(),
        }
    }
}

/// So often within some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Many {
    /// How often.
    pub count: u64,
    /// In seconds.
    pub within: u64,
}

/// Hours in which actions of some tiers are expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffHours {
    /// Those hours.
    pub hours: Hours,
    /// The tiers' names.
    pub tiers: Vec<Box<str>>,
}
