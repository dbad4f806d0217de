//! The body of a request: whether it is worth reading, what it says, and what it changes.

use super::evidence::BodyReading;
use super::outcome::Denial;
use super::step::Question;
use super::trace::{Stage, Trace};
use super::{Reason, fhir};
use crate::request::body::{BodyFacts, MAX_CLASSIFIED_BYTES, Media, Patch, hides_method};
use crate::request::changes::{Changes, of_json_patch};
use crate::request::fhir::{Interaction, content};
use crate::request::framing::BodyLength;

/// The type of resources that hold content of any kind, which may be sent as it is.
const BINARY: &str = "Binary";

impl Question<'_> {
    /// Whether the body is what a FHIR request writes: a resource, a patch, several requests.
    pub fn writes_fhir(&self) -> bool {
        let may_write = ["POST", "PUT", "PATCH"].contains(&self.facts.method.as_str());
        self.route.fhir.is_some()
            && may_write
            && fhir::with_request(self, |_, request| {
                matches!(
                    request.interaction,
                    Interaction::Create | Interaction::Update | Interaction::Patch | Interaction::Bundle
                )
            })
            .unwrap_or(false)
    }

    /// The most bytes of a body that are read, where the route and its listener allow as many.
    pub fn most_read(&self) -> usize {
        if self.writes_fhir() { content::MAX_BYTES } else { MAX_CLASSIFIED_BYTES }
    }

    /// Whether the body is worth collecting: else it is left unread, so that it can still be streamed.
    pub fn may_be_read(&self) -> bool {
        let shape = self.facts.body;
        shape.is_readable(self.most_read()) || (self.may_hide_method() && shape.is_searchable())
    }

    /// What the whole body says.
    pub fn reading(&self, bytes: &[u8]) -> BodyReading {
        let shape = self.facts.body;
        let media = if shape.patch.is_some() { Media::Json } else { shape.media };
        let read = if self.is_fhir_form() { BodyFacts::read_search } else { BodyFacts::read };
        match read(media, bytes) {
            Some(facts) => BodyReading::Read(facts),
            None if self.may_hide_method() => {
                BodyReading::Searched { hides_method: hides_method(shape.media, bytes) }
            }
            None => BodyReading::Unreadable,
        }
    }
}

/// What the request changes, as far as its body says.
pub(super) fn changes(question: &Question<'_>, body: &BodyReading) -> Changes {
    let facts = match body {
        BodyReading::Absent if question.facts.body.length == BodyLength::None => {
            return Changes::Of(Vec::new());
        }
        BodyReading::Read(facts) => facts,
        BodyReading::Absent | BodyReading::Searched { .. } | BodyReading::Unreadable => return Changes::Any,
    };
    let patch = question.facts.body.patch;
    match facts {
        BodyFacts::Json(value) if question.writes_fhir() => {
            fhir::with_request(question, |_, request| content::read(request, value, patch).ok())
                .flatten()
                .unwrap_or(Changes::Any)
        }
        BodyFacts::Json(value) if patch == Some(Patch::Json) => of_json_patch(value).unwrap_or(Changes::Any),
        BodyFacts::Json(_) | BodyFacts::Form(_) => match facts.field_names() {
            Some(names) => Changes::of(names),
            None => Changes::Any,
        },
    }
}

/// Checks what a FHIR request writes against its address.
pub(super) fn check<T: Trace>(
    question: &Question<'_>,
    body: &BodyReading,
    trace: &mut T,
) -> Result<(), Denial> {
    if !question.writes_fhir() {
        return Ok(());
    }
    let checked = fhir::with_request(question, |_, request| match body {
        BodyReading::Read(BodyFacts::Json(value)) => {
            content::read(request, value, question.facts.body.patch).map(|_| ()).map_err(|fault| fault.0)
        }
        BodyReading::Unreadable | BodyReading::Searched { .. }
            if request.resource_type == Some(BINARY)
                && request.interaction != Interaction::Patch
                && question.facts.body.opaque =>
        {
            Ok(())
        }
        BodyReading::Absent => Err("there is none"),
        _ => Err("it is not JSON with one reading, in UTF-8, not compressed, of at most 1 MiB"),
    });
    match checked {
        Some(Ok(())) => Ok(()),
        Some(Err(why)) => {
            trace.note(Stage::Authorize, || format!("the body is refused: {why}"));
            Err(Denial::new(Reason::FhirBodyRefused))
        }
        // The index has read the same request by the same rules.
        None => Err(Denial::new(Reason::FhirNotUnderstood)),
    }
}
