//! One service over HTTP: bounded in time, in answers and in how many ask at once; left alone while it is known to fail.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};
use reqwest::{Client, RequestBuilder, Response};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::remembered::{Called, Calls, Key};
use crate::config::settings::ServiceSettings;
use crate::enforce::flight::Flight;
use crate::enforce::ports::ServiceOutages;
use crate::outgoing::{self, Authorities, ClientError};
use crate::telemetry::metrics;

/// Larger answers are refused while they come in.
const MOST_ANSWER: usize = 64 * 1024;
/// Larger files hold no secret.
const MOST_SECRET: usize = 8 * 1024;
/// Connections kept for reuse.
const IDLE: usize = 16;
/// After so many failures in a row the service is left alone.
const FAILURES: u32 = 5;
/// After so many it is an outage. Of one alone the request's own record tells.
const OUTAGE: u32 = 2;
/// For so long; then one question tries whether it is back.
const PAUSE: Duration = Duration::from_secs(2);
/// By what both sides know a question (AuthZEN Authorization API 1.0, HTTPS binding).
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Why a service can't be asked from the start. Each message names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its secret can't be read.
    #[error("the secret of `{name}` can't be read from `{}`: {why}; check the path and that the gateway's user may read it", path.display())]
    Secret {
        /// The service.
        name: Box<str>,
        /// The file.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// The file holds no value of a header.
    #[error("the secret file `{}` of `{name}` is empty or holds what no header can; write one line of plain letters into it", path.display())]
    NoHeader {
        /// The service.
        name: Box<str>,
        /// The file.
        path: PathBuf,
    },
    /// There is no client.
    #[error(
        "`{name}` can't be asked: {why}; check its `ca_file`, or install the system's certificate authorities"
    )]
    Client {
        /// The service.
        name: Box<str>,
        /// Why.
        why: ClientError,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It was not reached, was too slow, is overloaded, or is being left alone.
    Unavailable,
    /// It knows nothing by that name (404).
    NotFound,
    /// It answered, with what is no answer to the question: another status, too much, about another question.
    Refused,
}

/// A service.
pub struct Service {
    client: Client,
    authorization: Option<HeaderValue>,
    runtime: Handle,
    known: Arc<Known>,
}

/// What outlives a version of the configuration, where the settings stay the same.
struct Known {
    kind: &'static str,
    settings: ServiceSettings,
    slots: Semaphore,
    circuit: Mutex<Circuit>,
}

/// An answer of status 200.
pub struct Reply {
    /// When it was asked for.
    pub asked: Instant,
    /// What it holds.
    pub body: Arc<[u8]>,
    /// Whether somebody else's equal question was under way, and this is its answer.
    joined: bool,
}

#[derive(Default)]
struct Circuit {
    failures: u32,
    /// Until when nobody asks.
    closed_until: Option<Instant>,
    /// What is wrong.
    trouble: Option<String>,
    /// How many outages have begun, and why the last did.
    outages: u64,
    silent: String,
}

impl Circuit {
    /// It has answered.
    fn close(&mut self) {
        let Self { outages, silent, .. } = std::mem::take(self);
        *self = Self { outages, silent, ..Self::default() };
    }
}

impl Service {
    /// Prepares to ask; `kind` names what it is for in metrics. What `before` knows goes on, where it has the same settings.
    pub fn new(
        kind: &'static str,
        settings: &ServiceSettings,
        runtime: &Handle,
        before: Option<&Self>,
    ) -> Result<Self, StartError> {
        let name = &settings.name;
        let authorization = settings.secret_file.as_deref().map(|path| bearer(name, path)).transpose()?;
        let before = before.filter(|before| before.known.settings == *settings);
        let known = before.map_or_else(
            || {
                let slots = Semaphore::new(settings.concurrency);
                Arc::new(Known { kind, settings: settings.clone(), slots, circuit: Mutex::default() })
            },
            |before| Arc::clone(&before.known),
        );
        // Made anew, since the file of authorities may have changed.
        let authorities = Authorities::of(&settings.url, settings.ca_file.as_deref());
        let client = outgoing::client(authorities, None, IDLE)
            .map_err(|why| StartError::Client { name: name.clone(), why })?;
        Ok(Self { client, authorization, runtime: runtime.clone(), known })
    }

    /// Its settings.
    pub fn settings(&self) -> &ServiceSettings {
        &self.known.settings
    }

    /// The client, to begin a question with.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What is wrong with it, in plain words.
    pub fn trouble(&self) -> Option<String> {
        self.known.circuit().trouble.clone()
    }

    /// When it was silent.
    pub fn outages(&self) -> ServiceOutages {
        let Known { kind, settings, .. } = &*self.known;
        let circuit = self.known.circuit();
        ServiceOutages {
            kind,
            name: settings.name.clone(),
            begun: circuit.outages,
            lasts: circuit.failures >= OUTAGE,
            why: circuit.silent.clone(),
        }
    }

    /// Puts a question whose name is `id`, or waits for the answer to an equal one among `calls` that is under way.
    ///
    /// # Errors
    /// There is no answer, or it is none.
    pub async fn ask(
        &self,
        question: RequestBuilder,
        id: Uuid,
        calls: Option<(&Calls, Key)>,
    ) -> Result<Reply, Fault> {
        let running = calls.and_then(|(calls, key)| calls.running(&key));
        let (flight, joined) = match (running, calls) {
            (Some(running), _) => (running, true),
            (None, _) if !self.known.may_ask() => {
                self.count("left_alone");
                return Err(Fault::Unavailable);
            }
            (None, None) => (Flight::start(&self.runtime, self.call(question, id)), false),
            (None, Some((calls, key))) => calls.join_or_start(key, |under_way| {
                Flight::start(&self.runtime, under_way.until_over(self.call(question, id)))
            }),
        };
        let outcome = flight.outcome(self.known.settings.timeout).await;
        let called = outcome.unwrap_or_else(|| Err(self.known.failed(Trouble::TooSlow)));
        let failed = |fault| {
            if joined {
                self.count("joined");
            }
            fault
        };
        called.map(|(asked, body)| Reply { asked, body, joined }).map_err(failed)
    }

    /// One call, which keeps to the timeout and counts for the service however it ends.
    fn call(&self, question: RequestBuilder, id: Uuid) -> impl Future<Output = Called> + use<> {
        let id = id.to_string();
        let mut question = question.header(header::ACCEPT, "application/json").header(REQUEST_ID, &id);
        if let Some(value) = &self.authorization {
            question = question.header(header::AUTHORIZATION, value.clone());
        }
        let (known, asked) = (Arc::clone(&self.known), Instant::now());
        async move {
            let whole = async {
                let _slot = known.slots.acquire().await.map_err(|_| Trouble::Overloaded)?;
                exchange(question, &id).await
            };
            let deadline = asked + known.settings.timeout;
            match timeout_at(deadline, whole).await.unwrap_or(Err(Trouble::TooSlow)) {
                Ok(body) => {
                    known.circuit().close();
                    Ok((asked, body.into()))
                }
                Err(trouble) => Err(known.failed(trouble)),
            }
        }
    }

    /// Counts what came of a question without an answer of its own.
    pub fn count(&self, result: &str) {
        self.known.count(result);
    }

    /// Counts what a reply said.
    pub fn count_reply(&self, reply: &Reply, result: &str) {
        self.known.count(if reply.joined { "joined" } else { result });
    }

    /// Notes that an answer could not be used; gives what that counts as.
    pub fn disbelieved(&self, why: &str) -> Fault {
        self.known.disbelieved(why)
    }
}

impl Known {
    fn count(&self, result: &str) {
        metrics().access_questions.with_label_values(&[self.kind, &self.settings.name, result]).inc();
    }

    fn disbelieved(&self, why: &str) -> Fault {
        let (kind, name) = (self.kind, &self.settings.name);
        tracing::warn!(kind, service = %name, why, "an answer is refused, and with it the request");
        self.circuit().trouble =
            Some(format!("{kind} `{name}`: an answer was refused: {why}; see its own log"));
        Fault::Refused
    }

    /// Whether it may be asked now. After a pause one question may, and the others once that was answered.
    fn may_ask(&self) -> bool {
        let mut circuit = self.circuit();
        match circuit.closed_until {
            Some(until) if Instant::now() < until => false,
            Some(_) => {
                circuit.closed_until = Some(Instant::now() + PAUSE);
                true
            }
            None => true,
        }
    }

    fn failed(&self, trouble: Trouble) -> Fault {
        if matches!(trouble, Trouble::NotFound) {
            self.circuit().close();
            self.count("not_found");
            return Fault::NotFound;
        }
        if let Trouble::Refused(why) = &trouble {
            self.count("refused");
            // Whatever it said, it is not silent: the next request is refused too, and not taken for one in an outage.
            self.circuit().close();
            return self.disbelieved(why);
        }
        let (kind, name) = (self.kind, &self.settings.name);
        let mut circuit = self.circuit();
        circuit.failures = circuit.failures.saturating_add(1);
        if circuit.failures >= FAILURES {
            circuit.closed_until = Some(Instant::now() + PAUSE);
        }
        let why = trouble.text();
        if circuit.failures == OUTAGE {
            circuit.outages += 1;
            metrics().access_outages.with_label_values(&[kind, name]).inc();
        }
        circuit.silent.clone_from(&why);
        if circuit.trouble.is_none() {
            tracing::warn!(kind, service = %name, why, "a service that decisions depend on does not answer");
        }
        circuit.trouble = Some(format!("{kind} `{name}`: {why}; check that it runs and its `timeout`"));
        drop(circuit);
        self.count("unavailable");
        Fault::Unavailable
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone)]
enum Trouble {
    Unreachable(Arc<str>),
    Status(u16),
    TooSlow,
    Overloaded,
    NotFound,
    Refused(Arc<str>),
}

impl Trouble {
    fn text(&self) -> String {
        match self {
            Self::Unreachable(why) => format!("it can't be reached: {why}"),
            Self::Status(status) => format!("it answers with status {status}"),
            Self::TooSlow => "it is too slow, or too many ask at once".to_owned(),
            Self::Overloaded => "too many ask at once".to_owned(),
            Self::NotFound => "it knows nothing by that name".to_owned(),
            Self::Refused(why) => why.to_string(),
        }
    }
}

async fn exchange(question: RequestBuilder, id: &str) -> Result<Vec<u8>, Trouble> {
    // The library's text repeats the address, which may hold a patient's name.
    let unreachable = |error: reqwest::Error| Trouble::Unreachable(error.without_url().to_string().into());
    let refused = |why: String| Err(Trouble::Refused(why.into()));
    let mut answer = question.send().await.map_err(unreachable)?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(Trouble::NotFound),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Err(Trouble::Status(status.as_u16()));
        }
        status => return refused(format!("it answers with status {}", status.as_u16())),
    }
    if !is_for(&answer, id) {
        return refused("it answers another question (`X-Request-ID`)".to_owned());
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        // Counted as it comes in: a declared length may be missing or wrong.
        if chunk.len() > MOST_ANSWER.saturating_sub(body.len()) {
            return refused(format!("its answer is longer than {MOST_ANSWER} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Whether an answer that names its question names this one.
fn is_for(answer: &Response, id: &str) -> bool {
    answer.headers().get_all(REQUEST_ID).iter().all(|named| named.as_bytes() == id.as_bytes())
}

fn bearer(name: &str, path: &Path) -> Result<HeaderValue, StartError> {
    let text = std::fs::read_to_string(path).map_err(|why| StartError::Secret {
        name: name.into(),
        path: path.to_owned(),
        why,
    })?;
    let secret = text.trim();
    let value = HeaderValue::from_str(&format!("Bearer {secret}")).ok();
    let value = value.filter(|_| !secret.is_empty() && secret.len() <= MOST_SECRET);
    let mut value = value.ok_or_else(|| StartError::NoHeader { name: name.into(), path: path.to_owned() })?;
    value.set_sensitive(true);
    Ok(value)
}
