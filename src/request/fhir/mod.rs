//! What a request to a FHIR server asks for (FHIR R4 and R5, "RESTful API").
//!
//! The path below a service's base, the method and the form of the query say which interaction it is, with which type
//! and which id. What FHIR does not have, or what two servers could take for two interactions, is none.

pub mod belonging;
pub mod bundle;
pub mod compartment;
pub mod content;
pub mod elements;
mod interaction;
mod parameters;
mod patch;
mod path;
pub mod r5;
pub mod reference;
pub mod reply;
pub mod types;

pub use interaction::Interaction;
pub use parameters::{Naming, Parameters};
pub use path::read;

use http::Method;

/// A version of FHIR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// 4.0.1.
    R4,
    /// 5.0.0.
    R5,
}

/// What is known of a request before its interaction is.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a Method,
    /// The decoded path below the base: empty, or with a slash before it.
    pub below: &'a str,
    /// Whether the target has a query that is not empty.
    pub has_query: bool,
    /// Whether there is a body.
    pub has_body: bool,
    /// Whether there is an `If-None-Exist` header (conditional create).
    pub if_none_exist: bool,
    /// The server's version.
    pub version: Version,
}

/// One interaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FhirRequest<'a> {
    /// What it does.
    pub interaction: Interaction,
    /// The type it is about; of a compartment search, the type that is looked for.
    pub resource_type: Option<&'static str>,
    /// The resource's id.
    pub id: Option<&'a str>,
    /// The compartment that is searched: its type, and the id of its resource.
    pub compartment: Option<(&'static str, &'a str)>,
    /// The operation with its `$`.
    pub operation: Option<&'a str>,
    /// Whether a search decides what it does (conditional create, update, patch and delete).
    pub conditional: bool,
}

/// Whether a text is an id: 1 to 64 letters, digits, `-` and `.` (FHIR R4 §2.24.0.1), and no dot segment.
pub fn is_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(fits) && text != "." && text != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_never_dot_segments() {
        for id in ["1", "a-b.C", "...", &"x".repeat(64)] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", ".", "..", "a_b", "a/b", "$x", "a%", "\u{e9}", &"x".repeat(65)] {
            assert!(!is_id(id), "{id}");
        }
    }
}
