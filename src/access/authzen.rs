//! A policy decision point by OpenID's AuthZEN Authorization API 1.0, as its gateway profile has it: the subject is an
//! `identity`, the action is the method, the resource is the `route`.

mod wire;

use std::time::Duration;

use http::header;
use quick_cache::sync::Cache;
use tokio::runtime::Handle;
use tokio::time::Instant;

use self::wire::{Question, key, read};
use super::service::{Fault, Service, StartError};
use crate::config::settings::ServiceSettings;
use crate::decision::evidence::{Evaluation, Lookup};
use crate::enforce::ports::EvaluationRequest;

/// So many answers are remembered at most.
const REMEMBERED: usize = 10_000;

/// Answers, by digests of the questions.
type Remembered = Cache<[u8; 32], (Instant, Evaluation)>;

/// A policy decision point.
pub struct Authzen {
    service: Service,
    /// For how long, and until when each.
    remembered: Option<(Duration, Remembered)>,
}

impl Authzen {
    /// Prepares to ask.
    pub fn new(
        settings: &ServiceSettings,
        runtime: &Handle,
        before: Option<&Service>,
    ) -> Result<Self, StartError> {
        let service = Service::new("pdp", settings, runtime, before)?;
        Ok(Self { service, remembered: settings.cache.map(|keep| (keep, Cache::new(REMEMBERED))) })
    }

    /// The service behind it.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// What it says of a request.
    pub async fn evaluate(&self, request: &EvaluationRequest<'_>) -> Lookup<Evaluation> {
        let known = self.remembered.as_ref().map(|(keep, cache)| (key(request), *keep, cache));
        if let Some((key, _, cache)) = &known
            && let Some((until, evaluation)) = cache.get(key)
            && Instant::now() < until
        {
            self.service.count("remembered");
            return Lookup::Found(evaluation);
        }
        let question = self.service.client().post(self.service.settings().url.clone());
        let Ok(body) = serde_json::to_string(&Question::new(request)) else { return Lookup::Unavailable };
        let asked = Instant::now();
        let answer = self
            .service
            .ask(question.header(header::CONTENT_TYPE, "application/json").body(body), request.id)
            .await;
        let evaluation = match answer {
            Ok(body) => read(&body).unwrap_or_else(|why| {
                self.service.disbelieved(why);
                Evaluation::NotUnderstood
            }),
            Err(Fault::NotFound) => {
                self.service.disbelieved("it answers with status 404: `url` is not its evaluation endpoint");
                return Lookup::Found(Evaluation::NotUnderstood);
            }
            Err(Fault::Refused) => return Lookup::Found(Evaluation::NotUnderstood),
            Err(Fault::Unavailable) => return Lookup::Unavailable,
        };
        self.service.count(match &evaluation {
            Evaluation::Permitted => "permitted",
            Evaluation::Denied => "denied",
            Evaluation::StepUp(_) => "step_up",
            Evaluation::NotUnderstood => "refused",
        });
        if let Some((key, keep, cache)) = known
            && matches!(evaluation, Evaluation::Permitted | Evaluation::Denied)
        {
            cache.insert(key, (asked + keep, evaluation.clone()));
        }
        Lookup::Found(evaluation)
    }
}
