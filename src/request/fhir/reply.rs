//! What a reply shows, and whether all of it is one patient's.
//!
//! Whatever says `resourceType` is a resource, wherever it stands; each must be the patient's by its own elements, or of
//! a type that is nobody's record and that the service shares. Whatever refers to another patient is not for this one.

use serde_json::{Map, Value};

use super::belonging::{Belonging, Home};
use super::bundle::BundleKind;
use super::reference::Referred;
use super::types;
use crate::request::json;
use crate::request::names::fold;

/// What a reply may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confined {
    /// Whose records.
    pub home: Home,
    /// The types that everybody may see.
    pub shared: Vec<&'static str>,
    /// What it answers.
    pub awaited: Awaited,
}

/// What a reply answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// One request.
    One(Wanted),
    /// A Bundle of them, in their order; `None` where the answer may show anything.
    Each(BundleKind, Vec<Option<Wanted>>),
}

impl Awaited {
    /// Whether all of it names the patient, so that an error of the server's tells of nobody else.
    pub fn names_patient(&self) -> bool {
        match self {
            Self::One(wanted) => wanted.names_patient,
            Self::Each(_, each) => each.iter().flatten().all(|wanted| wanted.names_patient),
        }
    }
}

/// What one request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The one resource that was asked for by its id.
    pub resource: Option<(&'static str, Box<str>)>,
    /// Whether the request itself names the patient. Where it does not, a reply that shows nothing of theirs tells of
    /// somebody else's.
    pub names_patient: bool,
}

/// Why a reply may not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Something in it is not the patient's.
    Foreign,
    /// It has no one meaning, or is not what such a reply is.
    Unreadable,
}

/// Where a resource stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Root,
    Entry,
    Contained,
}

impl Confined {
    /// Looks through a whole reply. Takes time in proportion to its length.
    ///
    /// # Errors
    /// It must not be shown.
    pub fn inspect(&self, bytes: &[u8]) -> Result<(), Unfit> {
        let root = if bytes.is_empty() {
            Value::Null
        } else {
            json::parse_one_meaning(bytes).map_err(|_| Unfit::Unreadable)?
        };
        match (&self.awaited, &root) {
            (Awaited::One(wanted), Value::Null) if bytes.is_empty() => {
                self.look(wanted).settle(&Found::default())
            }
            (Awaited::One(wanted), Value::Object(resource)) if resource.contains_key("resourceType") => {
                let (look, mut found) = (self.look(wanted), Found::default());
                look.resource(resource, Standing::Root, &mut found)?;
                look.settle(&found)
            }
            (Awaited::Each(kind, wanted), Value::Object(bundle)) => self.answers(bundle, *kind, wanted),
            _ => Err(Unfit::Unreadable),
        }
    }

    fn look<'r>(&'r self, wanted: &'r Wanted) -> Look<'r> {
        Look { home: &self.home, shared: &self.shared, wanted }
    }

    /// The answer to a Bundle: one entry for each request, in the same order (FHIR R4 §3.1.0.11.4).
    fn answers(
        &self,
        bundle: &Map<String, Value>,
        kind: BundleKind,
        wanted: &[Option<Wanted>],
    ) -> Result<(), Unfit> {
        const WHOLE: Wanted = Wanted { resource: None, names_patient: true };
        let is = |name: &str, word: &str| bundle.get(name).and_then(Value::as_str) == Some(word);
        let entries = list(bundle.get("entry"))?;
        if !is("resourceType", "Bundle") || !is("type", kind.answer()) || entries.len() != wanted.len() {
            return Err(Unfit::Unreadable);
        }
        self.look(&WHOLE).frame(bundle, &mut Found::default())?;
        for (entry, wanted) in entries.iter().zip(wanted) {
            let Some(wanted) = wanted else { continue };
            let entry = entry.as_object().ok_or(Unfit::Unreadable)?;
            let status = entry.get("response").and_then(|response| response.get("status"));
            let status = status.and_then(Value::as_str).ok_or(Unfit::Unreadable)?;
            // What a server says of an error stays behind, and that there is nothing looks like what is another's.
            if !["200", "201", "204"].iter().any(|good| status.split(' ').next() == Some(good)) {
                return Err(if wanted.names_patient { Unfit::Unreadable } else { Unfit::Foreign });
            }
            let (look, mut found) = (self.look(wanted), Found::default());
            look.entry(entry, &mut found)?;
            look.settle(&found)?;
        }
        Ok(())
    }
}

/// How what one request gets is looked at.
struct Look<'r> {
    home: &'r Home,
    shared: &'r [&'static str],
    wanted: &'r Wanted,
}

impl Look<'_> {
    /// An empty answer to an id that names nobody would tell that there is something of another's.
    fn settle(&self, found: &Found) -> Result<(), Unfit> {
        let is_known = self.wanted.resource.is_none() || self.wanted.names_patient;
        if is_known || found.own || found.shared { Ok(()) } else { Err(Unfit::Foreign) }
    }

    fn resource(
        &self,
        resource: &Map<String, Value>,
        standing: Standing,
        found: &mut Found,
    ) -> Result<(), Unfit> {
        let name = resource.get("resourceType").and_then(Value::as_str).ok_or(Unfit::Unreadable)?;
        let name = types::find(self.home.place.version, name).ok_or(Unfit::Unreadable)?;
        match (name, standing) {
            ("Bundle", Standing::Root | Standing::Entry) => return self.bundle(resource, found),
            ("Parameters", Standing::Root | Standing::Entry) => {
                return self.parameters(resource.get("parameter"), resource, found);
            }
            ("OperationOutcome", _) => {}
            // The id of a contained resource is its own affair.
            ("Patient", Standing::Contained) => return Err(Unfit::Foreign),
            _ => match self.home.belonging(name, resource) {
                Belonging::Own => found.own = true,
                Belonging::Nobody if self.shared.contains(&name) => found.shared = true,
                Belonging::Nobody | Belonging::Other => return Err(Unfit::Foreign),
            },
        }
        if standing != Standing::Contained
            && let Some((asked, id)) = &self.wanted.resource
            && name != "OperationOutcome"
        {
            let id_fits = resource.get("id").and_then(Value::as_str) == Some(id);
            if name != *asked || !id_fits {
                return Err(Unfit::Foreign);
            }
        }
        self.members(resource, found)
    }

    /// The members of anything but a Bundle: resources among them, and references.
    fn members(&self, object: &Map<String, Value>, found: &mut Found) -> Result<(), Unfit> {
        for (name, value) in object {
            if name == "contained" {
                for item in value.as_array().ok_or(Unfit::Unreadable)? {
                    let inside = item.as_object().filter(|it| it.contains_key("resourceType"));
                    self.resource(inside.ok_or(Unfit::Unreadable)?, Standing::Contained, found)?;
                }
                continue;
            }
            let is_misspelled = |known: &str| {
                let is_same = if name.is_ascii() {
                    name.eq_ignore_ascii_case(known)
                } else {
                    fold(name) == fold(known)
                };
                is_same && name != known
            };
            if ["resourceType", "reference", "contained"].into_iter().any(is_misspelled) {
                return Err(Unfit::Unreadable);
            }
            if let (true, Value::String(text)) = (name == "reference", value) {
                self.refers(text)?;
            }
            self.inside(value, found)?;
        }
        Ok(())
    }

    fn inside(&self, value: &Value, found: &mut Found) -> Result<(), Unfit> {
        match value {
            Value::Object(object) if object.contains_key("resourceType") => {
                self.resource(object, Standing::Contained, found)
            }
            Value::Object(object) => self.members(object, found),
            Value::Array(items) => items.iter().try_for_each(|item| self.inside(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    fn refers(&self, text: &str) -> Result<(), Unfit> {
        match self.home.place.read(text) {
            Referred::Here("Patient", id) if *id != *self.home.patient => Err(Unfit::Foreign),
            Referred::Unclear => Err(Unfit::Foreign),
            Referred::Here(..) | Referred::Contained(_) | Referred::Elsewhere => Ok(()),
        }
    }

    /// An address that a client may follow: below the base, and to no other patient.
    fn leads(&self, value: &Value) -> Result<(), Unfit> {
        let text = value.as_str().ok_or(Unfit::Unreadable)?;
        if !self.home.place.has(text) {
            return Err(Unfit::Unreadable);
        }
        match self.home.place.read(text) {
            Referred::Here("Patient", id) if *id != *self.home.patient => Err(Unfit::Foreign),
            _ => Ok(()),
        }
    }

    /// What a Bundle has beside its entries; says whether there are further pages.
    fn frame(&self, bundle: &Map<String, Value>, found: &mut Found) -> Result<bool, Unfit> {
        const MEMBERS: [&str; 10] = [
            "resourceType",
            "id",
            "meta",
            "implicitRules",
            "language",
            "type",
            "timestamp",
            "total",
            "link",
            "entry",
        ];
        only(bundle, &MEMBERS)?;
        self.inside(bundle.get("meta").unwrap_or(&Value::Null), found)?;
        let mut pages = false;
        for link in list(bundle.get("link"))? {
            let link = link.as_object().ok_or(Unfit::Unreadable)?;
            only(link, &["relation", "url", "id"])?;
            self.leads(link.get("url").ok_or(Unfit::Unreadable)?)?;
            pages |=
                matches!(link.get("relation").and_then(Value::as_str), Some("next" | "previous" | "prev"));
        }
        Ok(pages)
    }

    fn bundle(&self, bundle: &Map<String, Value>, found: &mut Found) -> Result<(), Unfit> {
        let pages = self.frame(bundle, found)?;
        let entries = list(bundle.get("entry"))?;
        for entry in entries {
            self.entry(entry.as_object().ok_or(Unfit::Unreadable)?, found)?;
        }
        // Whose the others are that it counts can't be seen.
        match bundle.get("total") {
            None => Ok(()),
            Some(total) => {
                let total = total.as_u64().ok_or(Unfit::Unreadable)?;
                let shown = u64::try_from(entries.len()).unwrap_or(u64::MAX);
                if total <= shown || (pages && shown > 0) { Ok(()) } else { Err(Unfit::Foreign) }
            }
        }
    }

    fn entry(&self, entry: &Map<String, Value>, found: &mut Found) -> Result<(), Unfit> {
        only(entry, &["id", "fullUrl", "link", "resource", "search", "request", "response"])?;
        if let Some(url) = entry.get("fullUrl") {
            // Some servers leave it empty, which leads nowhere.
            let is_no_address = url.as_str().is_some_and(|text| {
                text.is_empty() || text.starts_with("urn:uuid:") || text.starts_with("urn:oid:")
            });
            if !is_no_address {
                self.leads(url)?;
            }
        }
        for link in list(entry.get("link"))? {
            self.leads(link.get("url").ok_or(Unfit::Unreadable)?)?;
        }
        if let Some(search) = entry.get("search") {
            only(search.as_object().ok_or(Unfit::Unreadable)?, &["mode", "score", "id"])?;
        }
        if let Some(request) = entry.get("request") {
            let request = request.as_object().ok_or(Unfit::Unreadable)?;
            only(request, &["method", "url", "id"])?;
            self.leads(request.get("url").ok_or(Unfit::Unreadable)?)?;
        }
        if let Some(response) = entry.get("response") {
            let response = response.as_object().ok_or(Unfit::Unreadable)?;
            only(response, &["status", "location", "etag", "lastModified", "outcome", "id"])?;
            if let Some(location) = response.get("location") {
                self.leads(location)?;
            }
            if let Some(outcome) = response.get("outcome") {
                self.inside_entry(outcome, found)?;
            }
        }
        entry.get("resource").map_or(Ok(()), |resource| self.inside_entry(resource, found))
    }

    fn inside_entry(&self, value: &Value, found: &mut Found) -> Result<(), Unfit> {
        let resource = value.as_object().filter(|it| it.contains_key("resourceType"));
        self.resource(resource.ok_or(Unfit::Unreadable)?, Standing::Entry, found)
    }

    /// Of the values of parameters nobody can say whose they are: only resources may stand there.
    fn parameters(
        &self,
        parameters: Option<&Value>,
        holder: &Map<String, Value>,
        found: &mut Found,
    ) -> Result<(), Unfit> {
        only(holder, &["resourceType", "id", "meta", "name", "part", "parameter", "resource"])?;
        for parameter in list(parameters)? {
            let parameter = parameter.as_object().ok_or(Unfit::Unreadable)?;
            if let Some(resource) = parameter.get("resource") {
                self.inside_entry(resource, found)?;
            }
            self.parameters(parameter.get("part"), parameter, found)?;
        }
        Ok(())
    }
}

/// What was seen so far.
#[derive(Default)]
struct Found {
    own: bool,
    shared: bool,
}

fn list(value: Option<&Value>) -> Result<&[Value], Unfit> {
    value.map_or(Ok(&[]), |value| value.as_array().map(Vec::as_slice).ok_or(Unfit::Unreadable))
}

fn only(object: &Map<String, Value>, known: &[&str]) -> Result<(), Unfit> {
    let all = object.keys().all(|key| known.contains(&key.as_str()));
    if all { Ok(()) } else { Err(Unfit::Unreadable) }
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
