//! The numbered account of a decision that `wardgate explain` prints; free of cost where nobody listens.

/// The stages of a decision, in the order of a request's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The bytes were read.
    Canonicalise,
    /// A route was found.
    Match,
    /// The token was verified.
    Authenticate,
    /// The base assurance was checked.
    Floor,
    /// The tier was found.
    Classify,
    /// The rules were applied.
    Authorize,
    /// The tier's demand was checked.
    Assure,
}

/// Takes notes of a decision.
pub trait Trace {
    /// Notes one finding; `text` is only called by traces that keep it.
    fn note(&mut self, stage: Stage, text: impl FnOnce() -> String);
}

/// Keeps nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Trace for Silent {
    fn note(&mut self, _: Stage, _: impl FnOnce() -> String) {}
}

/// Keeps every note.
#[derive(Debug, Default)]
pub struct Recorder {
    /// The notes in order.
    pub notes: Vec<(Stage, String)>,
}

impl Trace for Recorder {
    fn note(&mut self, stage: Stage, text: impl FnOnce() -> String) {
        self.notes.push((stage, text()));
    }
}
