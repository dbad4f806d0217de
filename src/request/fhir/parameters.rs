//! The parameters of a FHIR request: in the query, in the form of a search by `POST`, in `If-None-Exist`. All count
//! alike, wherever they stand and however often.

use super::{FhirRequest, Interaction, Version, compartment, is_id, types};
use crate::request::names::is_near;
use crate::request::target::Target;

/// What every request may say: in which form it wants the answer.
const FORMS: [&str; 2] = ["_format", "_pretty"];

/// Decoded names and values, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

/// Which patient a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// It names this one and no other.
    One(Box<str>),
    /// It names several.
    Several,
    /// It names nobody, or in a way that some server may read otherwise.
    Nobody,
}

impl Parameters {
    /// Takes the parameters of a target, of a form, and of an `If-None-Exist`.
    ///
    /// `None` where servers could find others: a `;`, text that is not UTF-8, a name that no parameter of FHIR has.
    pub fn read(target: &Target, form: &[(String, String)], if_none_exist: Option<&str>) -> Option<Self> {
        let condition =
            if_none_exist.map(|query| query.strip_prefix('?').unwrap_or(query)).unwrap_or_default();
        if [target.query(), condition].iter().any(|query| query.contains(';')) {
            return None;
        }
        let queries = target.query_pairs().chain(form_urlencoded::parse(condition.as_bytes()));
        let queries = queries.map(|(name, value)| (name.into_owned(), value.into_owned()));
        let all: Vec<(String, String)> = queries.chain(form.iter().cloned()).collect();
        let is_name = |name: &str| {
            let fits =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':' | b'.' | b'*');
            !name.is_empty() && name.bytes().all(fits)
        };
        let is_value =
            |value: &str| !value.contains(char::REPLACEMENT_CHARACTER) && !value.contains(char::is_control);
        all.iter().all(|(name, value)| is_name(name) && is_value(value)).then_some(Self(all))
    }

    /// The first parameter that is none of `allowed`; modifiers are no part of a name, the links of a chain are.
    pub fn first_beyond(&self, allowed: &[Box<str>], also: &[&str]) -> Option<&str> {
        let is_allowed = |name: &str| {
            let path = without_modifiers(name);
            let mut known = allowed.iter().map(AsRef::as_ref).chain(also.iter().copied()).chain(FORMS);
            known.any(|known| known == path)
        };
        self.0.iter().map(|(name, _)| name.as_str()).find(|name| !is_allowed(name))
    }

    /// Whether a parameter of exactly this name has exactly this value: the server then gives nothing beside it.
    pub fn asks_for(&self, name: &str, value: &str) -> bool {
        self.0.iter().any(|(known, given)| known == name && given == value)
    }

    /// The types in `_type`; none where it does not occur, or names something else.
    pub fn types(&self, version: Version) -> Option<Vec<&'static str>> {
        let mut lists = self.0.iter().filter(|(name, _)| is_near(name, "_type")).peekable();
        lists.peek()?;
        let mut found = Vec::new();
        for (name, list) in lists {
            if name != "_type" {
                return None;
            }
            for name in list.split(',') {
                found.push(types::find(version, name)?);
            }
        }
        Some(found)
    }

    /// The types beside the one that is asked for of which the answer tells something: included ones, and those that
    /// conditions look at. `None` stands for any.
    pub fn other_types(&self, version: Version) -> Vec<Option<&'static str>> {
        let mut found = Vec::new();
        let find = |name: Option<&str>| name.and_then(|name| types::find(version, name));
        for (name, value) in &self.0 {
            let stem = name.split([':', '.']).next().unwrap_or_default();
            match stem {
                "_include" => found.push(find(value.split(':').nth(2))),
                "_revinclude" => found.push(find(value.split(':').next())),
                "_has" => {
                    let mut words = name.split([':', '.']);
                    while let Some(word) = words.next() {
                        if word == "_has" {
                            found.push(find(words.next()));
                        }
                    }
                }
                "_filter" | "_query" | "_list" | "_contained" | "_containedType" => found.push(None),
                _ => {}
            }
            if name.contains('.') {
                let links = name.split('.').collect::<Vec<_>>();
                let links = links.split_last().map(|(_, links)| links).unwrap_or_default();
                found.extend(links.iter().map(|link| find(link.split(':').nth(1))));
            }
        }
        found
    }

    /// Whether something beside what is looked for decides what is found: that would be learnt from what is missing.
    pub fn looks_elsewhere(&self, version: Version) -> bool {
        let adds = |name: &str| {
            let stem = name.split(':').next().unwrap_or_default();
            stem == "_include" || stem == "_revinclude"
        };
        let others = Self(self.0.iter().filter(|(name, _)| !adds(name)).cloned().collect());
        !others.other_types(version).is_empty()
    }

    /// Which patient the request is about, as far as the request itself says: what a resource of another type holds is
    /// not known from its id. `sees_reply` says that what comes with the answer is looked at before it goes out.
    pub fn naming(&self, request: &FhirRequest<'_>, version: Version, sees_reply: bool) -> Naming {
        let is_wide =
            if sees_reply { self.looks_elsewhere(version) } else { !self.other_types(version).is_empty() };
        if request.conditional || is_wide {
            return Naming::Nobody;
        }
        let mut named = Named::default();
        match (request.interaction, request.compartment) {
            (Interaction::SearchCompartment, Some(("Patient", id))) => named.add(id),
            (Interaction::SearchCompartment, _) => return Naming::Nobody,
            (Interaction::SearchType, _) => {}
            (Interaction::Create, _) => return Naming::Nobody,
            (_, _) => match (request.resource_type, request.id) {
                (Some("Patient"), Some(id)) => named.add(id),
                _ => return Naming::Nobody,
            },
        }
        if let Some(resource_type) = request.resource_type {
            match self.add_searched((version, resource_type), request.interaction, &mut named) {
                Some(()) => {}
                None => return Naming::Nobody,
            }
        }
        named.into()
    }

    /// Adds the patients that a search names; `None` where one of its parameters could be read in another way.
    fn add_searched(
        &self,
        (version, resource_type): (Version, &str),
        interaction: Interaction,
        named: &mut Named,
    ) -> Option<()> {
        if !interaction.is_search() {
            return Some(());
        }
        let parameters: Vec<&str> = compartment::parameters(version, resource_type)?.collect();
        // Whatever else speaks of a patient must agree, or a server that knows one of two names would give another
        // record.
        let speaks = |name: &str| {
            let also = ["patient", "subject", "link"];
            parameters.iter().chain(&also).any(|known| is_near(name, known))
        };
        for (name, value) in self.0.iter().filter(|(name, _)| speaks(name)) {
            let plain = name.strip_suffix(":Patient").unwrap_or(name);
            if !parameters.contains(&plain) {
                return None;
            }
            for item in value.split(',') {
                let id = item.strip_prefix("Patient/").unwrap_or(item);
                if !is_id(id) || (plain == "_id" && (id != item || plain != name)) {
                    return None;
                }
                named.add(id);
            }
        }
        Some(())
    }
}

/// The ids that were found.
#[derive(Default)]
struct Named {
    first: Option<Box<str>>,
    has_others: bool,
}

impl Named {
    fn add(&mut self, id: &str) {
        match &self.first {
            None => self.first = Some(id.into()),
            Some(first) => self.has_others |= first.as_ref() != id,
        }
    }
}

impl From<Named> for Naming {
    fn from(named: Named) -> Self {
        match named.first {
            Some(_) if named.has_others => Self::Several,
            Some(id) => Self::One(id),
            None => Self::Nobody,
        }
    }
}

fn without_modifiers(name: &str) -> String {
    let links = name.split('.').map(|link| link.split(':').next().unwrap_or_default());
    links.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::super::{Asked, read};
    use super::*;

    fn parameters(query: &str) -> Option<Parameters> {
        let target = Target::parse(format!("/x?{query}").as_bytes()).expect("a target");
        Parameters::read(&target, &[], None)
    }

    fn naming(line: &str) -> Naming {
        let (below, query) = line.split_once('?').unwrap_or((line, ""));
        let asked = Asked {
            method: &Method::GET,
            below,
            has_query: !query.is_empty(),
            has_body: false,
            if_none_exist: false,
            version: Version::R4,
        };
        let request = read(&asked).expect("an interaction");
        parameters(query).map_or(Naming::Nobody, |found| found.naming(&request, Version::R4, false))
    }

    #[test]
    fn a_request_names_its_patient_in_these_ways() {
        for line in [
            "/Patient/p1",
            "/Patient/p1/_history",
            "/Patient/p1/_history/3",
            "/Patient/p1/$everything",
            "/Patient/p1/Observation",
            "/Patient/p1/*",
            "/Patient/p1/Observation?patient=p1",
            "/Patient?_id=p1",
            "/Observation?patient=p1",
            "/Observation?patient=Patient/p1&code=a,b",
            "/Observation?patient:Patient=p1",
            "/Observation?subject=Patient%2Fp1",
            "/Observation?%70atient=p1&patient=p1",
            "/Observation?patient=p1,p1&performer=p1",
            "/AllergyIntolerance?recorder=Patient/p1",
        ] {
            assert_eq!(naming(line), Naming::One("p1".into()), "{line}");
        }
    }

    #[test]
    fn a_second_patient_in_any_form_is_seen() {
        for line in [
            "/Observation?patient=p1,p2",
            "/Observation?patient=p1&patient=p2",
            "/Observation?patient=p1&patient:Patient=p2",
            "/Observation?patient=p1&%70atient=p2",
            "/Observation?patient=p1&subject=Patient/p2",
            "/Patient/p1/Observation?subject=p2",
            "/Patient?_id=p1,p2",
        ] {
            assert_eq!(naming(line), Naming::Several, "{line}");
        }
    }

    #[test]
    fn what_some_server_reads_otherwise_names_nobody() {
        for line in [
            "/Observation",
            "/Observation/1",
            "/Observation?code=a",
            "/Observation?patient=",
            "/Observation?patient=p1,",
            "/Observation?patient=p1&patient:missing=true",
            "/Observation?patient=p1&Patient=p2",
            "/Observation?patient=p1&patient.name=x",
            "/Observation?patient=p1&subject:identifier=x",
            "/Observation?patient:not=p2&patient=p1",
            "/Observation?patient=Practitioner/p1",
            "/Observation?patient=https://ehr.example/fhir/Patient/p1",
            "/Observation?patient=p1%7Cx",
            "/Observation?patient=p1%5C,p2",
            "/Observation?patient=p1;patient=p2",
            "/Observation?patient=p1%00",
            "/Observation?patient=..",
            "/Observation?patient=p1&_include=Observation:performer",
            "/Observation?patient=p1&_revinclude:iterate=*",
            "/Observation?patient=p1&_has:Group:member:_id=1",
            "/Observation?patient=p1&_filter=x",
            "/Patient?_id=p1&link=p2",
            "/Patient?_id=Patient/p1",
            "/Patient?identifier=1",
            "/Practitioner?_id=p1",
            "/Practitioner/p1/Observation",
            "/Organization?patient=p1",
            "/Patient/_history",
            "/?_type=Observation&patient=p1",
        ] {
            let target = Target::parse(format!("/x{line}").as_bytes());
            if target.is_ok() {
                assert_eq!(naming(line), Naming::Nobody, "{line}");
            }
        }
    }

    #[test]
    fn modifiers_are_no_names_and_chains_are() {
        let allowed: Vec<Box<str>> = vec!["patient".into(), "subject.name".into(), "date".into()];
        let beyond = |query: &str| {
            parameters(query).and_then(|found| found.first_beyond(&allowed, &[]).map(str::to_owned))
        };
        for query in [
            "",
            "patient=1&date=ge2020&date=le2021",
            "patient:Patient=1",
            "subject:Patient.name=x",
            "_format=json",
        ] {
            assert_eq!(beyond(query), None, "{query}");
        }
        for query in
            ["code=1", "Patient=1", "patient.name=x", "_include=a:b", "_has:Group:member:_id=1", "_sort=date"]
        {
            assert_eq!(beyond(query).as_deref(), query.split('=').next(), "{query}");
        }
    }

    #[test]
    fn types_that_the_answer_tells_of_are_found() {
        let others = |query: &str| parameters(query).expect("readable").other_types(Version::R4);
        assert_eq!(others("_include=Observation:performer:Practitioner"), [Some("Practitioner")]);
        assert_eq!(others("_include=Observation:performer"), [None]);
        assert_eq!(others("_include:iterate=*"), [None]);
        assert_eq!(others("_revinclude=Provenance:target"), [Some("Provenance")]);
        assert_eq!(
            others("_has:Observation:patient:_has:AuditEvent:entity:user=1"),
            [Some("Observation"), Some("AuditEvent")]
        );
        assert_eq!(others("subject:Patient.organization.name=x"), [Some("Patient"), None]);
        assert_eq!(others("code=a&date=b"), []);
        let types = |query: &str| parameters(query).expect("readable").types(Version::R4);
        assert_eq!(types("_type=Patient,Observation"), Some(vec!["Patient", "Observation"]));
        for query in ["", "_type=", "_type=patient", "_type=Patient,", "_Type=Patient"] {
            assert_eq!(types(query), None, "{query}");
        }
    }
}
