//! Services that ask people by the gateway's own contract, `docs/step-up-service.yaml`: identity proofing, call centres,
//! any tool for more proof.
//!
//! What is said is in `wire`. Nothing is remembered of a prompt but what its caller keeps, so any replica may look for the
//! answer. The answer itself is a signed result, which is checked for this prompt alone
//! ([`crate::identity::step_up_result`]).

#[cfg(test)]
mod tests;
mod told;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, Method, StatusCode};
use quick_cache::sync::Cache;
use reqwest::Url;
use tokio::runtime::Handle as Runtime;
use tokio::time::Instant;

use self::told::{CONTRACT, count, result};
use self::wire::{Acknowledged, Handle, State, Wanted};
use super::error::{FetchError, Owner};
use super::http::{Call, HttpClient};
use super::provider::Access;
use super::{StartError, file};
use crate::config::settings::HttpAskerSettings;
use crate::enforce::flight::Flight;
use crate::enforce::prompts::{Answered, Ask, Asked, PromptFault, Proof};
use crate::identity::algorithm::SignatureAlgorithm;
use crate::identity::jwk::KeySet;
use crate::identity::jwt::UnverifiedJwt;
use crate::identity::step_up_result::{self, Prompted};
use crate::request::account::Account;

/// How long after a prompt's end its service is still asked, in seconds: clocks differ.
const GRACE: i64 = 10;
/// Somebody who reloads a page makes no more looks at one prompt than one in this time.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// So many prompts are known by when they were looked at.
const LOOKED_AT: usize = 4096;
/// No result is longer: a signature of 4096 bits and a handful of claims.
const MOST_RESULT: usize = 8 * 1024;

/// What stands before a name whose digest is an account's: the secret signs nothing else.
const ACCOUNT: &str = "wardgate-account:";

type Outcome<T> = Result<T, PromptFault>;

/// A service that asks.
#[derive(Clone)]
pub struct ServiceAsker {
    settings: HttpAskerSettings,
    /// The configured address: what results are from.
    service: Box<str>,
    prompts: Url,
    authorization: HeaderValue,
    /// The key of accounts' names, which the service has too.
    accounts: hmac::Key,
    keys: Arc<KeySet>,
    access: Access,
    progress: Arc<Progress>,
}

/// What outlives a version of the configuration.
struct Progress {
    /// Why the service could not be asked the last time.
    trouble: Mutex<Option<String>>,
    /// By prompt.
    looked_at: Cache<Box<str>, Instant>,
}

impl ServiceAsker {
    /// Prepares to ask; nobody is asked yet. Requests are made on `runtime`. What was found out by `before`, which asks by
    /// the same settings, goes on; files are read anew.
    ///
    /// # Errors
    /// A file can't be read or has not what it should, or TLS is not available.
    pub fn new(
        settings: &HttpAskerSettings,
        runtime: &Runtime,
        before: Option<&Self>,
    ) -> Result<Arc<Self>, StartError> {
        let service: Box<str> = settings.url.as_str().trim_end_matches('/').into();
        let (secret, keys) = (settings.secret_file.as_path(), settings.keys_file.as_path());
        let owner = Owner::service(&service);
        let text = file::read_secret("secret", &owner, secret)?;
        let authorization = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| {
            StartError::NoHeader { what: "secret", whose: owner.clone(), path: secret.into() }
        })?;
        let keys = KeySet::parse(&file::read("key", &owner, keys)?)
            .map_err(|why| StartError::BadServiceKeys { service: service.clone(), path: keys.into(), why })?;
        let before = before.filter(|before| before.is_for(settings));
        let (access, progress) = match before {
            Some(before) => (before.access.clone(), Arc::clone(&before.progress)),
            None => {
                let http = HttpClient::new(settings.url.scheme() != "http")?;
                let access = Access { http, runtime: runtime.clone(), timeout: settings.timeout };
                let (trouble, looked_at) = (Mutex::default(), Cache::new(LOOKED_AT));
                (access, Arc::new(Progress { trouble, looked_at }))
            }
        };
        Ok(Arc::new(Self {
            prompts: wire::below(&settings.url, &["prompts"]),
            settings: settings.clone(),
            service,
            authorization,
            accounts: hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes()),
            keys: Arc::new(keys),
            access,
            progress,
        }))
    }

    /// Whether it is the asker for these settings.
    pub fn is_for(&self, settings: &HttpAskerSettings) -> bool {
        self.settings == *settings
    }

    /// By what the service knows an account whose person has not signed in: it can tell for each that it knows whether it
    /// is this one, and nobody else can.
    pub fn account_name(&self, account: &Account) -> Box<str> {
        let text = format!("{ACCOUNT}{}", account.as_str());
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.accounts, text.as_bytes()).as_ref()).into()
    }

    /// Why nobody can be asked now, in plain words.
    pub fn unready(&self) -> Option<String> {
        self.progress.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a question.
    ///
    /// # Errors
    /// The service can't be asked, or has no way to ask this person.
    pub async fn ask(self: &Arc<Self>, ask: &Ask<'_>) -> Outcome<Asked> {
        let wanted =
            Wanted::new(ask).ok_or_else(|| self.failed("the system gives no randomness", "check the host"));
        let asked = match wanted {
            Ok(wanted) => self.run(|this| async move { this.put(&wanted).await }).await,
            Err(fault) => Err(fault),
        };
        count(match &asked {
            Ok(_) => "asked",
            Err(PromptFault::NotReachable) => "not_reachable",
            Err(_) => "unavailable",
        });
        asked
    }

    /// Looks for the answer. `now` is in Unix seconds.
    ///
    /// # Errors
    /// The service can't be asked, or its answer is not believed.
    pub async fn answered(self: &Arc<Self>, handle: &str, now: i64) -> Outcome<Answered> {
        let handle = Handle::parse(handle).ok_or(PromptFault::Refused("no_question"))?;
        if now > handle.expires_at.saturating_add(GRACE) {
            return Ok(Answered::Expired);
        }
        let looked_at = &self.progress.looked_at;
        let is_early = looked_at.get(&handle.id).is_some_and(|last| last.elapsed() < SHORTEST_PAUSE);
        if is_early {
            return Ok(Answered::Waiting(handle.interval));
        }
        looked_at.insert(handle.id.clone(), Instant::now());
        let outcome = self.run(|this| async move { this.look(&handle, now).await }).await;
        if let Some(result) = result(&outcome) {
            count(result);
        }
        outcome
    }

    /// Tells the service that nobody waits any more, without waiting for it to hear that.
    pub fn take_back(self: &Arc<Self>, handle: &str) {
        if let Some(handle) = Handle::parse(handle) {
            let this = Arc::clone(self);
            self.access.runtime.spawn(async move { this.cancel(&handle.id).await });
        }
    }

    /// On the runtime of the connections, to its end.
    async fn run<T, W>(self: &Arc<Self>, work: impl FnOnce(Arc<Self>) -> W) -> Outcome<T>
    where
        T: Clone + Send + Sync + 'static,
        W: Future<Output = Outcome<T>> + Send + 'static,
    {
        let flight = Flight::start(&self.access.runtime, work(Arc::clone(self)));
        flight.outcome(self.access.timeout).await.unwrap_or(Err(PromptFault::Unavailable))
    }

    async fn call(
        &self,
        method: Method,
        address: Url,
        body: Option<(&str, String)>,
        deadline: Instant,
    ) -> Result<(StatusCode, Vec<u8>), FetchError> {
        let authorization = &self.authorization;
        let call = Call { method, address, told: &self.prompts, authorization, body };
        self.access.http.call(call, deadline).await
    }

    async fn put(&self, wanted: &Wanted) -> Outcome<Asked> {
        let deadline = Instant::now() + self.access.timeout;
        // Taken before it is sent: what answers it is not older.
        let now = jiff::Timestamp::now().as_second();
        let send = || {
            let body = Some((&*wanted.key, wanted.body.clone()));
            self.call(Method::POST, self.prompts.clone(), body, deadline)
        };
        let mut answer = send().await;
        if matches!(answer, Err(FetchError::Unreachable { .. })) {
            // The service may have closed a connection, or be starting anew. By the key it knows what it has heard.
            answer = send().await;
        }
        let text = match answer {
            Ok((StatusCode::CREATED, text)) => text,
            Ok((StatusCode::UNPROCESSABLE_ENTITY, _)) => {
                self.works();
                tracing::info!(service = %self.service, "the service has no way to ask this person");
                return Err(PromptFault::NotReachable);
            }
            Ok((status, _)) => return Err(self.unwilling(status)),
            Err(error) => return Err(self.failed(&error, error.remedy())),
        };
        let Some(Acknowledged { id, interval, lifetime, page }) = Acknowledged::read(&text) else {
            return Err(self.failed("the service's acknowledgement can't be read", CONTRACT));
        };
        let Ok(page) = page.as_deref().map(wire::page).transpose() else {
            self.cancel(&id).await;
            let problem = "the service's `page` is not `https://` (`http://` only for this machine)";
            return Err(self.failed(problem, CONTRACT));
        };
        self.works();
        let expires_in = Duration::from_secs(lifetime);
        let expires_at = now.saturating_add(i64::try_from(lifetime).unwrap_or_default());
        let handle = Handle { id, nonce: wanted.nonce.clone(), asked_at: now, expires_at, interval };
        Ok(Asked { handle: handle.text(), interval, expires_in, page })
    }

    async fn look(&self, handle: &Handle, now: i64) -> Outcome<Answered> {
        let (address, deadline) = (self.at(&handle.id), Instant::now() + self.access.timeout);
        let text = match self.call(Method::GET, address, None, deadline).await {
            Ok((StatusCode::OK, text)) => text,
            Ok((StatusCode::NOT_FOUND, _)) => return Err(self.disbelieved("prompt_unknown")),
            Ok((status, _)) => return Err(self.unwilling(status)),
            Err(FetchError::TooLarge { .. }) => return Err(self.disbelieved("answer_too_large")),
            Err(error) => return Err(self.failed(&error, error.remedy())),
        };
        let state = State::read(&text).ok_or_else(|| self.disbelieved("answer_malformed"))?;
        self.works();
        match state {
            State::Waiting(interval) => Ok(Answered::Waiting(interval.unwrap_or(handle.interval))),
            State::Declined => Ok(Answered::Declined),
            State::Expired => Ok(Answered::Expired),
            State::Proven(None) => Err(self.disbelieved("result_missing")),
            State::Proven(Some(result)) => {
                let proof = self.proof(&result, handle, now).map_err(|why| self.disbelieved(why))?;
                Ok(Answered::Proven(proof))
            }
        }
    }

    /// What a result proves.
    fn proof(&self, result: &str, handle: &Handle, now: i64) -> Result<Proof, &'static str> {
        if result.len() > MOST_RESULT {
            return Err("result_too_large");
        }
        let jwt = UnverifiedJwt::parse(result).map_err(|fault| fault.code())?;
        let signed = jwt.signed_by(&self.service, SignatureAlgorithm::ALL, &self.keys);
        let (media, claims) = signed.map_err(|fault| fault.code())?;
        let prompted = Prompted { id: &handle.id, nonce: &handle.nonce, asked_at: handle.asked_at, now };
        let shown = step_up_result::check(media, &claims, &prompted).map_err(|fault| fault.code())?;
        Ok(Proof {
            subject: shown.subject,
            // The service says who was there and how, never what that is worth here.
            level: self.settings.grants,
            methods: shown.methods,
            authenticated_at: shown.authenticated_at,
        })
    }

    async fn cancel(&self, id: &str) {
        let (address, deadline) = (self.at(id), Instant::now() + self.access.timeout);
        match self.call(Method::DELETE, address, None, deadline).await {
            Ok((status, _)) if status.is_success() || status == StatusCode::NOT_FOUND => {}
            Ok((status, _)) => drop(self.unwilling(status)),
            Err(error) => drop(self.failed(&error, error.remedy())),
        }
    }

    fn at(&self, id: &str) -> Url {
        wire::below(&self.prompts, &[id])
    }

    /// What the service means by such a status.
    fn unwilling(&self, status: StatusCode) -> PromptFault {
        self.failed(format_args!("the service answers with status {}", status.as_u16()), told::remedy(status))
    }

    fn disbelieved(&self, why: &'static str) -> PromptFault {
        let remedy = "nothing, if it is seldom: the person is asked again; else compare the service's clock, `url` and \
                      keys with the configuration";
        tracing::warn!(service = %self.service, why, remedy, "a step-up service's answer is not believed");
        PromptFault::Refused(why)
    }

    fn failed(&self, problem: impl std::fmt::Display, remedy: &str) -> PromptFault {
        let service = &self.service;
        tracing::warn!(%service, %problem, remedy, "people can't be asked by a step-up service");
        let told = format!("step-up service `{service}`: people can't be asked: {problem}; {remedy}");
        *self.progress.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
        PromptFault::Unavailable
    }

    fn works(&self) {
        *self.progress.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
