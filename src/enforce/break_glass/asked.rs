//! What somebody gives who wants to break the glass, and what a page asks of them.

use crate::decision::Offer;

/// Why somebody wants to break the glass.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// One of the right's codes.
    pub code: &'a str,
    /// In their own words.
    pub text: &'a str,
    /// A code that was handed out for when the issuer can't be reached. No `Debug`: it is a secret.
    pub offline_code: Option<&'a str>,
}

/// What has to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The reasons, and how long one's own words must be.
    pub offer: Offer,
    /// Also a code, in the place of a proof that can't be had now.
    pub needs_code: bool,
}

/// A page that asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// Path and query of the page that was refused.
    pub to: String,
    /// Where the form posts to.
    pub action: &'static str,
    /// What has to be given.
    pub wanted: Wanted,
    /// What was given before, where that was not enough.
    pub given: Option<Given>,
}

/// What was filled in before. Never a code that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The reason.
    pub code: String,
    /// Their own words.
    pub text: String,
}
