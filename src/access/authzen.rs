//! A policy decision point by OpenID's AuthZEN Authorization API 1.0, as its gateway profile has it: the subject is an
//! `identity`, the action is the method, the resource is the `route`.

mod wire;

use http::header;
use tokio::runtime::Handle;

use self::wire::{Question, key, read};
use super::remembered::{Question as Remembering, Remembered};
use super::service::{Fault, Service, StartError};
use crate::config::settings::ServiceSettings;
use crate::decision::evidence::{Evaluation, Lookup};
use crate::enforce::ports::EvaluationRequest;

/// A policy decision point.
pub struct Authzen {
    service: Service,
    remembered: Option<Remembered<Evaluation>>,
}

impl Authzen {
    /// Prepares to ask.
    pub fn new(
        settings: &ServiceSettings,
        runtime: &Handle,
        before: Option<&Service>,
    ) -> Result<Self, StartError> {
        let service = Service::new("pdp", settings, runtime, before)?;
        Ok(Self { service, remembered: settings.cache.map(Remembered::new) })
    }

    /// The service behind it.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// What it says of a request.
    pub async fn evaluate(&self, request: &EvaluationRequest<'_>) -> Lookup<Evaluation> {
        let known = self.remembered.as_ref().map(|remembered| remembered.of(key(request)));
        if let Some(evaluation) = known.as_ref().and_then(Remembering::answer) {
            self.service.count("remembered");
            return Lookup::Found(evaluation);
        }
        let question = self.service.client().post(self.service.settings().url.clone());
        let Ok(body) = serde_json::to_string(&Question::new(request)) else { return Lookup::Unavailable };
        let question = question.header(header::CONTENT_TYPE, "application/json").body(body);
        let reply = self.service.ask(question, request.id, known.as_ref().map(Remembering::calls)).await;
        let reply = match reply {
            Ok(reply) => reply,
            Err(Fault::NotFound) => {
                self.service.disbelieved("it answers with status 404: `url` is not its evaluation endpoint");
                return Lookup::Found(Evaluation::NotUnderstood);
            }
            Err(Fault::Refused) => return Lookup::Found(Evaluation::NotUnderstood),
            Err(Fault::Unavailable) => return Lookup::Unavailable,
        };
        let evaluation = read(&reply.body).unwrap_or_else(|why| {
            self.service.disbelieved(why);
            Evaluation::NotUnderstood
        });
        let said = match &evaluation {
            Evaluation::Permitted => "permitted",
            Evaluation::Denied => "denied",
            Evaluation::StepUp(_) => "step_up",
            Evaluation::NotUnderstood => "refused",
        };
        self.service.count_reply(&reply, said);
        if let Some(known) = known
            && matches!(evaluation, Evaluation::Permitted | Evaluation::Denied)
        {
            known.keep(reply.asked, evaluation.clone());
        }
        Lookup::Found(evaluation)
    }
}
