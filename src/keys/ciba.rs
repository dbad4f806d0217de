//! Issuers that ask a person on the phone: OpenID Connect Client-Initiated Backchannel Authentication (CIBA) Core 1.0.
//!
//! The question goes to the issuer's `backchannel_authentication_endpoint` (`wire`) with a text for the phone
//! (`message`); its token endpoint is looked at for the answer, no more often than it wants (`questions`). The answer is
//! an ID token, which is checked as every other one ([`crate::identity::id_token`]).

mod endpoints;
mod message;
mod questions;
mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use reqwest::Url;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::endpoints::{Endpoints, RemoteEndpoints, client_remedy};
use self::message::Form;
use self::questions::{Look, Questions, Said};
use self::wire::{Handle, How, Wanted};
use super::discovery::Discovery;
use super::error::Owner;
use super::http::{Answer, ClientCredentials, HttpClient};
use super::provider::Access;
use super::refreshed::Refreshed;
use super::{StartError, Verifier, file};
use crate::config::settings::{CibaSettings, IssuerSettings};
use crate::enforce::flight::Flight;
use crate::enforce::prompts::{Answered, Ask, Asked, PromptFault, Proof};
use crate::enforce::sessions::{ProviderFault, Providers as _};
use crate::identity::id_token;
use crate::telemetry::metrics;

/// How long after a question's end its issuer is still asked, in seconds: clocks differ.
const GRACE: i64 = 10;
/// An issuer that can't get the proof that was asked for from this person
/// (OpenID Connect Core Unmet Authentication Requirements 1.0).
const UNMET: &str = "unmet_authentication_requirements";

/// An issuer that asks on the phone.
pub struct CibaAsker {
    settings: CibaSettings,
    scope: String,
    issuer: IssuerSettings,
    endpoints: Arc<Refreshed<RemoteEndpoints>>,
    credentials: ClientCredentials,
    access: Access,
    /// Knows the issuer's rules and keys.
    verifier: Arc<Verifier>,
    progress: Arc<Progress>,
}

/// What outlives a version of the configuration.
#[derive(Default)]
struct Progress {
    questions: Questions,
    /// Whether the issuer has refused a message for people.
    wants_basic_text: AtomicBool,
    /// Why the issuer could not be asked the last time.
    trouble: Mutex<Option<String>>,
}

impl CibaAsker {
    /// Prepares to ask; nobody is asked yet. Issuers and their keys are `verifier`'s. What was found out by `before`,
    /// which asks the same issuer by the same settings, goes on.
    ///
    /// # Errors
    /// The secret can't be read, the issuer has no metadata, or TLS is not available.
    pub fn new(
        settings: &CibaSettings,
        verifier: &Arc<Verifier>,
        before: Option<&Self>,
    ) -> Result<Arc<Self>, StartError> {
        let issuer = verifier.issuers.get(settings.issuer).map(|issuer| &issuer.settings);
        let issuer = issuer.ok_or_else(|| StartError::NoSettings(settings.client_id.clone()))?.clone();
        let secret = file::read_secret(
            file::CLIENT_SECRET,
            &Owner::issuer(&issuer.name),
            &settings.client_secret_file,
        )?;
        let credentials = ClientCredentials::new(&settings.client_id, &secret);
        let before = before.filter(|before| before.settings == *settings && before.issuer == issuer);
        let (endpoints, access, progress) = match before {
            Some(before) => {
                (Arc::clone(&before.endpoints), before.access.clone(), Arc::clone(&before.progress))
            }
            None => {
                let http = HttpClient::new(!issuer.issuer.starts_with("http://"))?;
                let discovery = Discovery::new(&issuer.name, &issuer.issuer)?;
                let remote = RemoteEndpoints { discovery, http: http.clone() };
                let runtime = verifier.runtime.clone();
                let endpoints =
                    Refreshed::new(issuer.name.as_ref().into(), remote, issuer.keys, runtime.clone());
                (endpoints, Access { http, runtime, timeout: settings.timeout }, Arc::default())
            }
        };
        Ok(Arc::new(Self {
            scope: settings.scopes.join(" "),
            settings: settings.clone(),
            issuer,
            endpoints,
            credentials,
            access,
            verifier: Arc::clone(verifier),
            progress,
        }))
    }

    /// Whether it is the asker for these settings.
    pub fn is_for(&self, settings: &CibaSettings) -> bool {
        self.settings == *settings
    }

    /// Keeps what it needs fresh, for as long as the tasks live.
    pub fn keep_fresh(&self, tasks: &mut JoinSet<()>) {
        tasks.spawn_on(Arc::clone(&self.endpoints).keep_fresh(), &self.access.runtime);
    }

    /// Why nobody can be asked now, in plain words.
    pub fn unready(&self) -> Option<String> {
        let trouble = || self.progress.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.endpoints.unready().or_else(trouble)
    }

    /// Puts a question.
    ///
    /// # Errors
    /// The issuer can't be asked, or does not know the person or no way to ask them.
    pub async fn ask(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Asked, PromptFault> {
        let (this, wanted) = (Arc::clone(self), Wanted::new(ask));
        let asked = match self.usable().await {
            Ok(endpoints) => {
                let put = async move { this.put(&endpoints, &wanted).await };
                self.run(self.access.timeout, put).await
            }
            Err(fault) => Err(fault),
        };
        count(match &asked {
            Ok(_) => "asked",
            Err(PromptFault::NotReachable) => "not_reachable",
            Err(_) => "unavailable",
        });
        let handle = asked?;
        Ok(Asked {
            handle: handle.text(),
            interval: handle.interval,
            expires_in: handle.lifetime(),
            page: None,
        })
    }

    /// Looks for the answer. `now` is in Unix seconds.
    ///
    /// # Errors
    /// The issuer can't be asked, or its answer is not believed.
    pub async fn answered(self: &Arc<Self>, handle: &str, now: i64) -> Result<Answered, PromptFault> {
        let handle = Handle::parse(handle).ok_or(PromptFault::Refused("no_question"))?;
        if now > handle.expires_at.saturating_add(GRACE) {
            return Ok(Answered::Expired);
        }
        let endpoints = self.usable().await?;
        let limit = self.access.timeout + self.issuer.keys.timeout;
        let look = |given: Option<Box<str>>| {
            let (this, handle) = (Arc::clone(self), handle.clone());
            // To its end even where nobody waits any more: the answer is given once.
            Flight::start(&self.access.runtime, async move {
                let said = this.look(&endpoints.token, &handle, given, now).await;
                count(result(&said));
                this.progress.questions.note(&handle.id, said)
            })
        };
        match self.progress.questions.look(&handle, look) {
            Look::Early(pause) => Ok(Answered::Waiting(pause)),
            Look::Known(outcome) => outcome,
            Look::Asking(flight) => flight.outcome(limit).await.unwrap_or(Err(PromptFault::Unavailable)),
        }
    }

    /// Whether the question of this handle has this name, in a time that tells nothing of where they differ.
    pub fn is_named(handle: &str, name: &str) -> bool {
        let same = |handle: Handle| verify_slices_are_equal(handle.id.as_bytes(), name.as_bytes()).is_ok();
        Handle::parse(handle).is_some_and(same)
    }

    /// Looks for the answer the next time that somebody wants it, whenever that is.
    pub fn hasten(&self, handle: &str) {
        if let Some(handle) = Handle::parse(handle) {
            self.progress.questions.hasten(&handle);
        }
    }

    /// Forgets a question; the issuer can't be told.
    pub fn take_back(&self, handle: &str) {
        if let Some(handle) = Handle::parse(handle) {
            self.progress.questions.forget(&handle.id);
        }
    }

    async fn usable(&self) -> Result<Endpoints, PromptFault> {
        let usable = self.endpoints.usable().await.ok_or(PromptFault::Unavailable)?;
        Ok(usable.snapshot.value.clone())
    }

    /// On the runtime of the connections.
    async fn run<T: Clone + Send + Sync + 'static>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, PromptFault>> + Send + 'static,
    ) -> Result<T, PromptFault> {
        let flight = Flight::start(&self.access.runtime, work);
        flight.outcome(limit).await.unwrap_or(Err(PromptFault::Unavailable))
    }

    /// Puts a question in the best way that the issuer takes.
    async fn put(&self, endpoints: &Endpoints, wanted: &Wanted) -> Result<Handle, PromptFault> {
        let deadline = Instant::now() + self.access.timeout;
        let basic = &self.progress.wants_basic_text;
        let mut how = How {
            template: &self.settings.binding_message,
            form: if basic.load(Ordering::Relaxed) { Form::Basic } else { Form::Plain },
            by_id_token: wanted.has_id_token(),
            scope: &self.scope,
            takes_claims: endpoints.takes_claims,
        };
        loop {
            let form = wanted.form(&how).ok_or_else(|| {
                let remedy = "write a shorter `binding_message` around `{code}`";
                self.failed("the phone can't show the code", remedy)
            })?;
            // Taken before it is sent: what answers it is not older.
            let now = jiff::Timestamp::now().as_second();
            let answer =
                self.access.http.post_form_or_refusal(&endpoints.ask, &self.credentials, form, deadline);
            match answer.await {
                Ok(Answer::Good(text)) => {
                    let handle = Handle::acknowledged(&text, now, wanted.is_told()).ok_or_else(|| {
                        let problem = "the issuer's acknowledgement can't be read (CIBA Core 1.0 §7.3)";
                        self.failed(problem, "check that no proxy or login page answers there")
                    })?;
                    self.works();
                    self.progress.questions.put(&handle);
                    return Ok(handle);
                }
                Ok(Answer::Refusal(code)) => match &*code {
                    "invalid_binding_message" if how.form == Form::Plain => {
                        tracing::info!(issuer = %self.issuer.name, "the issuer takes short messages without blanks only");
                        basic.store(true, Ordering::Relaxed);
                        how.form = Form::Basic;
                    }
                    // The ID token may be another client's of ours, or signed with a key that is gone.
                    "invalid_request" if how.by_id_token => how.by_id_token = false,
                    code => return Err(self.refused(code)),
                },
                Err(error) => return Err(self.failed(&error, error.remedy())),
            }
        }
    }

    /// What the issuer means by not asking (CIBA Core 1.0 §13).
    fn refused(&self, code: &str) -> PromptFault {
        let issuer = &self.issuer.name;
        let remedy = match code {
            "unknown_user_id" | "expired_login_hint_token" | "access_denied" | UNMET => {
                self.works();
                tracing::info!(%issuer, code, "the issuer has no way to ask this person on the phone");
                return PromptFault::NotReachable;
            }
            "missing_user_code" | "invalid_user_code" => {
                "turn user codes off for this client: people are never asked for one here"
            }
            _ => client_remedy(code),
        };
        self.failed(format_args!("the issuer answers `{code}`"), remedy)
    }

    async fn look(&self, token: &Url, handle: &Handle, given: Option<Box<str>>, now: i64) -> Said {
        let id_token = match given {
            Some(given) => given,
            None => match self.redeem(token, handle).await {
                Ok(id_token) => id_token,
                Err(said) => return said,
            },
        };
        let (media, claims) = match self.verifier.signed(self.settings.issuer, &id_token).await {
            Ok(signed) => signed,
            Err(ProviderFault::Token(fault)) => return Said::Final(Err(self.disbelieved(fault.code()))),
            Err(ProviderFault::Unavailable | ProviderFault::Refused) => return Said::Unchecked(id_token),
        };
        let Some(rules) = self.verifier.rules(self.settings.issuer) else { return Said::Unchecked(id_token) };
        let question = id_token::Question {
            id: &handle.id,
            asked_at: handle.asked_at,
            client_id: &self.settings.client_id,
            now,
        };
        Said::Final(match id_token::answer(media, &claims, rules, &question) {
            Ok(found) => Ok(Answered::Proven(Proof {
                subject: found.subject,
                level: found.level,
                methods: found.methods,
                authenticated_at: found.authenticated_at,
            })),
            Err(fault) => Err(self.disbelieved(fault.code())),
        })
    }

    /// The ID token that answers the question (CIBA Core 1.0 §10.1 and §11).
    async fn redeem(&self, token: &Url, handle: &Handle) -> Result<Box<str>, Said> {
        let (form, deadline) = (handle.form(), Instant::now() + self.access.timeout);
        let answer = self.access.http.post_form_or_refusal(token, &self.credentials, form, deadline).await;
        let code = match answer {
            Ok(Answer::Good(text)) => {
                self.works();
                let problem = "no_id_token";
                return wire::id_token(&text).ok_or_else(|| Said::Final(Err(self.disbelieved(problem))));
            }
            Ok(Answer::Refusal(code)) => code,
            Err(error) => {
                self.failed(&error, error.remedy());
                return Err(Said::Nothing);
            }
        };
        let said = match &*code {
            "authorization_pending" => Said::Pending,
            "slow_down" => Said::SlowDown,
            "access_denied" => Said::Final(Ok(Answered::Declined)),
            "expired_token" => Said::Final(Ok(Answered::Expired)),
            UNMET => Said::Final(Err(self.disbelieved(UNMET))),
            // Not known any more, or answered already.
            "invalid_grant" | "transaction_failed" => Said::Final(Err(self.disbelieved("question_unknown"))),
            code => {
                self.failed(format_args!("the issuer answers `{code}`"), client_remedy(code));
                return Err(Said::Nothing);
            }
        };
        self.works();
        Err(said)
    }

    fn disbelieved(&self, why: &'static str) -> PromptFault {
        let remedy = "nothing, if it is seldom: the person is asked again; else compare the issuer's clock, keys and \
                      client settings with the configuration";
        tracing::warn!(issuer = %self.issuer.name, why, remedy, "an answer from the phone is not believed");
        PromptFault::Refused(why)
    }

    fn failed(&self, problem: impl std::fmt::Display, remedy: &str) -> PromptFault {
        let issuer = &self.issuer.name;
        tracing::warn!(%issuer, %problem, remedy, "people can't be asked on the phone");
        let told = format!(
            "issuer `{issuer}`: at the last try nobody could be asked on the phone: {problem}; {remedy}"
        );
        *self.progress.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
        PromptFault::Unavailable
    }

    fn works(&self) {
        *self.progress.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn result(said: &Said) -> &'static str {
    match said {
        Said::Pending | Said::Final(Ok(Answered::Waiting(_))) => "waiting",
        Said::SlowDown => "slow_down",
        Said::Nothing | Said::Unchecked(_) | Said::Final(Err(PromptFault::Unavailable)) => "unavailable",
        Said::Final(Ok(Answered::Proven(_))) => "proven",
        Said::Final(Ok(Answered::Declined)) => "declined",
        Said::Final(Ok(Answered::Expired)) => "expired",
        Said::Final(Err(PromptFault::Refused(_))) => "refused",
        Said::Final(Err(PromptFault::NotReachable)) => "not_reachable",
    }
}

fn count(result: &str) {
    metrics().prompts.with_label_values(&["ciba", result]).inc();
}
