//! `wardgate doctor`: looks at the world around a configuration from where the gateway runs, and says what to do about it.
//!
//! What is found is judged in `findings` and beside each look; nothing waits for longer than a few seconds for anybody.

mod addresses;
mod backend;
mod certificates;
mod envoy;
mod files;
mod findings;
mod reach;
mod store;

use std::future::Future;
use std::io::{IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use nix::sys::resource::{Resource, getrlimit};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::findings::{Count, Finding, clock};
use crate::config::settings::{Compiled, Settings, StoreSettings};
use crate::config::{self, Cases};
use crate::identity::IssuerRules;
use crate::keys::survey::survey;

/// How long one answer of an issuer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one kind of look may take in all.
const MOST: Duration = Duration::from_secs(30);

/// What to look at, and how to say it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "gateway.yaml")]
    config: PathBuf,
    /// How findings look.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// An address at which others reach this pod, beside those of its network interfaces. Can be given more than once.
    #[arg(long, value_name = "IP")]
    pod_address: Vec<IpAddr>,
    /// The configuration of an Envoy that asks this gateway. Can be given more than once.
    #[arg(long, value_name = "FILE")]
    envoy: Vec<PathBuf>,
}

/// How findings look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each, as it is found.
    Text,
    /// One JSON object at the end.
    Json,
}

/// Looks, and tells.
pub fn doctor(arguments: &Arguments) -> ExitCode {
    let mut told = Told { format: arguments.format, findings: Vec::new() };
    let compiled = match config::load_file(&arguments.config, Cases::Run) {
        Ok((compiled, warnings)) => {
            super::print_diagnostics(&warnings);
            told.add(vec![judge_config(arguments, warnings.len())]);
            Arc::new(compiled)
        }
        Err(diagnostics) => {
            super::print_diagnostics(&diagnostics);
            let says = format!("is refused: {} findings", diagnostics.len());
            let about = format!("`{}`", arguments.config.display());
            told.add(vec![Finding::failure(
                "config",
                about,
                says,
                "mend it; `wardgate check` says the same",
            )]);
            return told.end();
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: a runtime can't be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(look(arguments, &compiled, &mut told));
    // A disk that hangs holds up nobody.
    runtime.shutdown_background();
    told.end()
}

fn judge_config(arguments: &Arguments, warnings: usize) -> Finding {
    let about = format!("`{}`", arguments.config.display());
    match warnings {
        0 => Finding::ok("config", about, "can be run"),
        warnings => Finding::warning(
            "config",
            about,
            format!("can be run, with {warnings} warnings"),
            "see `wardgate check`",
        ),
    }
}

async fn look(arguments: &Arguments, compiled: &Arc<Compiled>, told: &mut Told) {
    let settings = &compiled.settings;
    told.begin("files");
    let (of_files, config) = (Arc::clone(compiled), arguments.config.clone());
    told.add(aside("file", move || files::look(&config, &of_files.settings)).await);
    told.begin("certificates");
    let of_files = Arc::clone(compiled);
    let now = jiff::Timestamp::now().as_second();
    told.add(aside("certificate", move || certificates::look(&of_files.settings, now)).await);
    told.add(vec![open_files(settings)]);
    let files = arguments.envoy.clone();
    told.add(aside("envoy", move || files.iter().flat_map(|file| envoy::look(file)).collect()).await);
    told.begin("backends");
    let around = backend::Around::new(addresses::own(), &arguments.pod_address, settings);
    told.add(
        each("backend", settings.upstreams.iter().map(|it| backend::look(it.clone(), around.clone()))).await,
    );
    told.begin("upstreams and sinks");
    told.add(each("upstream", reach::places(settings).into_iter().map(reach::reach)).await);
    told.begin("issuers");
    let pairs = 0..compiled.policy.issuers.len();
    told.add(each("issuer", pairs.map(|at| issuer(Arc::clone(compiled), at))).await);
    if let StoreSettings::Redis(redis) = &settings.state.store {
        told.begin("Redis");
        let asked = timeout(MOST, store::look(redis)).await;
        told.add(asked.unwrap_or_else(|_| vec![unfinished("redis")]));
    }
}

fn unfinished(look: &'static str) -> Finding {
    let says = format!("not finished within {MOST:?}");
    Finding::unknown(look, "this look", says, "see what hangs: a disk, a name server, the network")
}

/// Runs a look at files, whose disk may hang.
async fn aside(look: &'static str, work: impl FnOnce() -> Vec<Finding> + Send + 'static) -> Vec<Finding> {
    match timeout(MOST, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) | Err(_) => vec![unfinished(look)],
    }
}

/// Runs looks at the same time; gives what they found in their order.
async fn each<F>(look: &'static str, looks: impl Iterator<Item = F>) -> Vec<Finding>
where
    F: Future<Output = Vec<Finding>> + Send + 'static,
{
    let mut running = JoinSet::new();
    for (at, future) in looks.enumerate() {
        running.spawn(async move {
            let found = timeout(MOST, future).await;
            (at, found.unwrap_or_else(|_| vec![unfinished(look)]))
        });
    }
    let mut found = Vec::new();
    while let Some(done) = running.join_next().await {
        found.push(done.unwrap_or_else(|_| (usize::MAX, vec![unfinished(look)])));
    }
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().flat_map(|(_, found)| found).collect()
}

async fn issuer(compiled: Arc<Compiled>, at: usize) -> Vec<Finding> {
    let pair: Option<(&IssuerRules, _)> =
        compiled.policy.issuers.get(at).zip(compiled.settings.issuers.get(at));
    let Some((rules, settings)) = pair else { return Vec::new() };
    let about = format!("`{}`", rules.name);
    let seen = survey(rules, settings, PATIENCE).await;
    let remedy = "see that it runs, the network, its certificate, and what the configuration says of it";
    let judged = |answer: Result<String, String>| match answer {
        Ok(says) => Finding::ok("issuer", about.clone(), says),
        Err(why) => Finding::failure("issuer", about.clone(), why, remedy),
    };
    let mut found = vec![judged(seen.proof)];
    found.extend(seen.sign_in.map(|answer| judged(answer.map(|()| "its metadata can be read".to_owned()))));
    found.extend(seen.ahead.map(|ahead| clock(&about, ahead)));
    found
}

/// Whether as many files may be open as the listeners' connections need.
fn open_files(settings: &Settings) -> Finding {
    let wanted = crate::serve::sockets::files_wanted(&settings.listeners);
    let remedy = "raise the limit (LimitNOFILE, ulimit -Hn), or lower `limits.connections`";
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard >= wanted => {
            Finding::ok("system", "open files", format!("{hard} may be, {wanted} are enough"))
        }
        Ok((_, hard)) => {
            let says = format!("{hard} may be, and all connections need {wanted}");
            Finding::warning("system", "open files", says, remedy)
        }
        Err(error) => Finding::unknown("system", "open files", error.to_string(), remedy),
    }
}

/// What was found so far, and how it is told.
struct Told {
    format: Format,
    findings: Vec<Finding>,
}

impl Told {
    /// Says what is looked at now to whoever waits for it.
    fn begin(&self, what: &str) {
        if self.format == Format::Text && std::io::stderr().is_terminal() {
            eprintln!("looking at {what} ...");
        }
    }

    fn add(&mut self, found: Vec<Finding>) {
        if self.format == Format::Text {
            found.iter().for_each(|finding| say(&finding.to_string()));
        }
        self.findings.extend(found);
    }

    fn end(&self) -> ExitCode {
        let count = Count::of(&self.findings);
        match self.format {
            Format::Text => say(&count.to_string()),
            Format::Json => {
                say(&json!({ "version": 1, "findings": self.findings, "count": count }).to_string())
            }
        }
        if count.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// A line, to somebody who may have left: `doctor | head`.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
