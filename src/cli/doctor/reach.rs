//! Does a server answer, and can TLS be agreed on with it? Nothing is asked of it beyond that.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::certificates;
use super::findings::{Finding, Verdict, validity};
use crate::config::settings::{
    AskerSettings, Endpoint, HttpEndpoint, Protocol, Settings, SinkKind, SinkSettings, UpstreamSettings,
};
use crate::outgoing;

/// How long a connection with its handshake may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server to be tried.
#[derive(Debug, Clone)]
pub struct Place {
    look: &'static str,
    about: String,
    at: At,
    remedy: &'static str,
}

#[derive(Debug, Clone)]
enum At {
    Network { host: String, port: u16, tls: Option<Tls> },
    Unix(PathBuf),
}

/// How TLS is spoken.
#[derive(Debug, Clone, Default)]
struct Tls {
    ca_file: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
    server_name: Option<Box<str>>,
    protocols: &'static [&'static [u8]],
    /// Whether the name is checked; where it is not, TLS is not tried.
    is_named: bool,
}

/// Every server that the configuration names, but issuers and the state store, which are asked more.
pub fn places(settings: &Settings) -> Vec<Place> {
    let mut found: Vec<Place> = settings.upstreams.iter().flat_map(upstream).collect();
    found.extend(settings.audit.sinks.iter().filter_map(sink));
    let remedy = "start it, and look at its address, the network and its certificate";
    let of_url = |look, what: &str, url: &reqwest::Url| {
        http(look, what, &HttpEndpoint { url: url.clone(), authorization_file: None, ca_file: None }, remedy)
    };
    for asker in settings.step_up.iter().flatten() {
        if let AskerSettings::Http(service) = asker {
            found.extend(of_url("step-up", "the step-up service", &service.url));
        }
    }
    for issuer in &settings.issuers {
        let what = format!("security events of `{}`", issuer.name);
        let addresses = issuer.signals.iter().flat_map(|signals| signals.addresses());
        let parsed = addresses.filter_map(|address| reqwest::Url::parse(address).ok());
        found.extend(parsed.filter_map(|url| of_url("signals", &what, &url)));
    }
    found.extend(
        settings
            .traces
            .iter()
            .filter_map(|traces| of_url("traces", "the trace collector", &traces.collector)),
    );
    found
}

fn upstream(upstream: &UpstreamSettings) -> Vec<Place> {
    let remedy = "start the application, and look at `endpoints`, the network and its certificate";
    let tls = upstream.tls.as_ref().map(|tls| Tls {
        ca_file: tls.ca_file.clone(),
        identity: tls.client.clone(),
        server_name: tls.server_name.clone(),
        protocols: match upstream.protocol {
            Protocol::Http1 => &[b"http/1.1"],
            Protocol::Http2 => &[b"h2"],
            Protocol::Auto => &[b"h2", b"http/1.1"],
        },
        is_named: tls.verify_name,
    });
    let place = |endpoint: &Endpoint| {
        let at = match endpoint {
            Endpoint::Unix(path) => At::Unix(path.clone()),
            Endpoint::Network(place) => {
                let port = place.rsplit_once(':').and_then(|(_, port)| port.parse().ok())?;
                At::Network { host: endpoint.host().to_owned(), port, tls: tls.clone() }
            }
        };
        let about = format!("`{}` at {}", upstream.name, endpoint.name());
        Some(Place { look: "upstream", about, at, remedy })
    };
    upstream.endpoints.iter().filter_map(place).collect()
}

fn http(look: &'static str, what: &str, server: &HttpEndpoint, remedy: &'static str) -> Option<Place> {
    let host = server.url.host_str()?.trim_matches(['[', ']']).to_owned();
    let port = server.url.port_or_known_default()?;
    let tls = (server.url.scheme() == "https").then(|| Tls {
        ca_file: server.ca_file.clone(),
        protocols: &[b"http/1.1"],
        is_named: true,
        ..Tls::default()
    });
    Some(Place {
        look,
        about: format!("{what} at {host}:{port}"),
        at: At::Network { host, port, tls },
        remedy,
    })
}

fn sink(sink: &SinkSettings) -> Option<Place> {
    let remedy = "start it, and look at its address, the network and its certificate: until then records pile up in `audit.dir`";
    let what = format!("`{}`", sink.name);
    let plain = |host: &str, port: u16, tls: Option<Tls>| Place {
        look: "sink",
        about: format!("{what} at {host}:{port}"),
        at: At::Network { host: host.trim_matches(['[', ']']).to_owned(), port, tls },
        remedy,
    };
    match &sink.kind {
        SinkKind::Http(to) => http("sink", &what, &to.server, remedy),
        SinkKind::Fhir(to) => http("sink", &what, &to.server, remedy),
        SinkKind::Otlp(to) => http("sink", &what, to, remedy),
        SinkKind::RedisStream(to) => {
            let tls = Tls { ca_file: to.ca_file.clone(), is_named: true, ..Tls::default() };
            Some(plain(&to.host, to.port, to.tls.then_some(tls)))
        }
        SinkKind::Kafka(to) => {
            let (host, port) = to.brokers.first()?.rsplit_once(':')?;
            Some(plain(host, port.parse().ok()?, None))
        }
        SinkKind::Syslog(to) => {
            let tls = to.tls.as_ref().map(|tls| Tls {
                ca_file: tls.ca_file.clone(),
                identity: tls.identity.clone(),
                server_name: tls.server_name.clone(),
                is_named: true,
                ..Tls::default()
            });
            Some(plain(&to.host, to.port, tls))
        }
        SinkKind::File(_) | SinkKind::Stdout => None,
    }
}

/// Tries it.
pub async fn reach(place: Place) -> Vec<Finding> {
    let Place { look, about, at, remedy } = place;
    let trying = async {
        match at {
            At::Unix(path) => {
                UnixStream::connect(&path).await.map(|_| Seen::Answers).map_err(|error| error.to_string())
            }
            At::Network { host, port, tls } => knock(&host, port, tls).await,
        }
    };
    let tried = timeout(PATIENCE, trying).await;
    match tried.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}"))) {
        Ok(Seen::Answers) => vec![Finding::ok(look, about, "answers")],
        Ok(Seen::Unnamed) => {
            let says = "answers; TLS was not tried, since `verify_name` is off";
            vec![Finding::unknown(
                look,
                about,
                says,
                "have it show a certificate with its name, and verify it",
            )]
        }
        Ok(Seen::Encrypted(ends)) => {
            let now = jiff::Timestamp::now().as_second();
            let of_server = ends.map(|dates| validity(&about, dates, now, false));
            let mut found = vec![Finding::ok(look, about, "answers, and TLS is agreed on")];
            found.extend(of_server.filter(|finding| finding.verdict != Verdict::Ok).map(|mut finding| {
                finding.remedy = Some("have the server's certificate renewed".to_owned());
                finding
            }));
            found
        }
        Err(why) => vec![Finding::failure(look, about, format!("can't be reached: {why}"), remedy)],
    }
}

enum Seen {
    Answers,
    Unnamed,
    /// From when until when its certificate counts, in Unix seconds.
    Encrypted(Option<(i64, i64)>),
}

async fn knock(host: &str, port: u16, tls: Option<Tls>) -> Result<Seen, String> {
    let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    let Some(tls) = tls else { return Ok(Seen::Answers) };
    if !tls.is_named {
        return Ok(Seen::Unnamed);
    }
    let name = tls.server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).map_err(|_| "its name can't be in a certificate".to_owned())?;
    let reading = tokio::task::spawn_blocking(move || {
        let mut config = outgoing::tls(tls.ca_file.as_deref(), tls.identity.as_ref())?;
        config.alpn_protocols = tls.protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok::<_, String>(config)
    });
    let config = reading.await.map_err(|error| error.to_string())??;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = connecting.await.map_err(|error| format!("TLS: {error}"))?;
    let (_, session) = stream.get_ref();
    let own = session.peer_certificates().and_then(|chain| chain.first());
    Ok(Seen::Encrypted(own.and_then(|der| certificates::dates(der))))
}
