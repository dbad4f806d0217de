//! The set-up of logs, and whose lines are let through.

use std::io::IsTerminal as _;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Starts logging to standard error; the level is taken from `WARDGATE_LOG`, else `info`.
///
/// The level is for Wardgate's own lines. Libraries log what they handle (targets, tokens, bodies), so of them only
/// warnings are let through, and of those that see requests nothing.
pub fn start_logs(format: LogFormat) {
    let asked = std::env::var("WARDGATE_LOG").unwrap_or_default();
    let asked = if asked.is_empty() { "info" } else { &asked };
    let parsed = tracing_subscriber::EnvFilter::try_new(asked);
    let malformed = parsed.as_ref().err().map(ToString::to_string);
    let filter = parsed.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let discreet = tracing_subscriber::filter::filter_fn(|line| is_discreet(line.target(), *line.level()));
    let registry = tracing_subscriber::registry().with(filter).with(discreet);
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second start (in tests) keeps the first subscriber.
    let _ = match format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
    if let Some(error) = malformed {
        tracing::warn!(error, "WARDGATE_LOG can't be read, so `info` is used; try `WARDGATE_LOG=debug`");
    }
}

fn is_discreet(target: &str, level: tracing::Level) -> bool {
    let of_wing =
        |wing: &str| target.strip_prefix(wing).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    let sees_requests = [
        "pingora_proxy",
        "pingora_core::protocols",
        "pingora_core::apps",
        // It names the client of each failed handshake: anybody could fill the log.
        "pingora_core::services::listening",
        "hyper",
        "hyper_util",
        "reqwest",
        "h2",
        "log",
    ];
    of_wing("wardgate") || (level <= tracing::Level::WARN && !sees_requests.iter().any(|wing| of_wing(wing)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_that_see_requests_are_not_heard() {
        use tracing::Level;
        assert!(is_discreet("wardgate::serve::proxy", Level::TRACE));
        assert!(is_discreet("pingora_core::server", Level::WARN));
        assert!(!is_discreet("pingora_core::server", Level::INFO));
        assert!(!is_discreet("pingora_core::services::listening", Level::ERROR));
        assert!(!is_discreet("pingora_proxy", Level::ERROR));
        assert!(!is_discreet("wardgate_like", Level::INFO));
    }
}
