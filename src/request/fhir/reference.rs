//! What a reference points at (FHIR R4 §2.3.0), as far as whose record it is counts.

use super::{Version, is_id, types};
use crate::request::names::fold;

/// Where a FHIR server is, as its references and links may have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Authorities in lower case, such as `ehr.example` or `10.0.0.7:8080`.
    pub hosts: Vec<Box<str>>,
    /// The path of the base, without a slash at the end.
    pub base: Box<str>,
    /// Its version: which types there are.
    pub version: Version,
}

/// What a reference points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referred<'r> {
    /// A resource of this server.
    Here(&'static str, &'r str),
    /// A contained resource, by its local id.
    Contained(&'r str),
    /// Something else, of which it does not say that it is a patient.
    Elsewhere,
    /// Perhaps a patient.
    Unclear,
}

impl Place {
    /// What follows the base in an address below it: empty, or with a slash or a `?` before it.
    pub fn below<'u>(&self, url: &'u str) -> Option<&'u str> {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        let is_known = self.hosts.iter().any(|host| host.eq_ignore_ascii_case(authority));
        let below = path.strip_prefix(self.base.as_ref()).filter(|_| is_known)?;
        (below.is_empty() || below.starts_with(['/', '?'])).then_some(below)
    }

    /// Whether following an address leads nowhere but below the base. Relative ones do (FHIR R4 §3.1.0.1.4).
    pub fn has(&self, url: &str) -> bool {
        let climbs = |path: &str| {
            let path = path.split(['?', '#']).next().unwrap_or_default();
            let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
            decoded.split(['/', '\\']).any(|segment| segment == ".." || segment == ".")
        };
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        if !is_plain(url) || url.is_empty() {
            return false;
        }
        match self.below(url) {
            Some(below) => !climbs(below),
            None => {
                let path = url.split(['?', '#']).next().unwrap_or_default();
                let own = path.strip_prefix(self.base.as_ref()).is_some_and(|rest| rest.starts_with('/'));
                let is_relative = !path.contains(':') && (!path.starts_with('/') || own);
                is_relative && !path.starts_with("//") && !climbs(path)
            }
        }
    }

    /// Reads a literal reference.
    pub fn read<'r>(&self, text: &'r str) -> Referred<'r> {
        if let Some(id) = text.strip_prefix('#') {
            return Referred::Contained(id);
        }
        let absolute = self.below(text).and_then(|below| below.strip_prefix('/'));
        let mut words = absolute.unwrap_or(text).split('/');
        let found = match (words.next(), words.next(), words.next(), words.next(), words.next()) {
            (Some(name), Some(id), None, None, None) => Some((name, id)),
            (Some(name), Some(id), Some("_history"), Some(version), None) if is_id(version) => {
                Some((name, id))
            }
            _ => None,
        };
        let here = found.filter(|(_, id)| is_id(id));
        match here.and_then(|(name, id)| Some((types::find(self.version, name)?, id))) {
            Some((name, id)) => Referred::Here(name, id),
            // Another server's patient, a search for one, another spelling.
            None if says_patient(text) => Referred::Unclear,
            None => Referred::Elsewhere,
        }
    }
}

fn says_patient(text: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
    fold(&decoded).contains("patient")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            hosts: vec!["ehr.example".into(), "10.0.0.7:8080".into()],
            base: "/fhir".into(),
            version: Version::R4,
        }
    }

    #[test]
    fn references_are_read_narrowly() {
        let place = place();
        for text in [
            "Patient/p1",
            "Patient/p1/_history/3",
            "https://ehr.example/fhir/Patient/p1",
            "http://10.0.0.7:8080/fhir/Patient/p1",
        ] {
            assert_eq!(place.read(text), Referred::Here("Patient", "p1"), "{text}");
        }
        assert_eq!(place.read("#a"), Referred::Contained("a"));
        for text in [
            "patient/p1",
            "Patient/",
            "Patient?identifier=1",
            "/Patient/p1",
            "Patient/p1/x",
            "Patient/p1/_history/",
            "P%61tient/p1",
            "https://other.example/fhir/Patient/p1",
            "https://ehr.example/fhirs/Patient/p1",
            "https://ehr.example.evil/fhir/Patient/p1",
            "https://x@ehr.example/fhir/Patient/p1",
        ] {
            assert_eq!(place.read(text), Referred::Unclear, "{text}");
        }
        for text in ["urn:uuid:1", "https://other.example/Practitioner/1", "", "x"] {
            assert_eq!(place.read(text), Referred::Elsewhere, "{text}");
        }
    }

    #[test]
    fn addresses_stay_below_the_base() {
        let place = place();
        for url in [
            "https://ehr.example/fhir/Observation?patient=p1&_offset=1",
            "https://EHR.example/fhir?_getpages=1",
            "https://ehr.example/fhir",
            "Observation/o1/_history/1",
            "/fhir/Observation/o1",
        ] {
            assert!(place.has(url), "{url}");
        }
        for url in [
            "",
            "https://other.example/fhir/Observation",
            "https://ehr.example/other",
            "https://ehr.example/fhir/../other",
            "https://ehr.example/fhir/%2e%2e/other",
            "https://ehr.example/fhirs/Observation",
            "//other.example/fhir/Observation",
            "/other",
            "../other",
            "javascript:1",
            "ftp://ehr.example/fhir/x",
            "https://ehr.example\\@other.example/fhir/x",
            "https:/fhir",
        ] {
            assert!(!place.has(url), "{url}");
        }
    }
}
