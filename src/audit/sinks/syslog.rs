//! Delivery to a syslog server over TCP with TLS (RFC 5425), each message with its length before it.
//!
//! Syslog has no acknowledgement: what was sent on a connection that breaks may be lost (RFC 5425 §6). So each batch has a
//! connection of its own, and counts as delivered once the server has closed it in return: it has read all of it then. With
//! TLS that takes the server's own close_notify (RFC 5425 §4.4) from any server that has ever sent one: the system closes
//! connections of a process that was killed as well, also in the middle of what it has read. Some servers never send one
//! (rsyslog on GnuTLS). What becomes of it behind that is between the server and its disk.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::failure::{Failure, Stopped};
use super::item::Item;
use crate::audit::formats::Format;
use crate::config::settings::{RecordFormat, SyslogSettings, SyslogTls};
use crate::outgoing;

/// How long a batch may take, from the connection to its end.
const DEADLINE: Duration = Duration::from_secs(30);
/// Facility 13 (log audit), severity 6 (informational): formats of others have a severity of their own.
const PRIORITY: u8 = 13 * 8 + 6;

/// A syslog server.
pub(super) struct Syslog {
    settings: SyslogSettings,
    /// Whether a record in the sink's format is a message already.
    is_message: bool,
    host: String,
    /// `None` until its files could be read, and after a failure: they may have changed.
    tls: Option<TlsConnector>,
    /// Whether the server was heard to end a connection by TLS's own word for it; `None` before any end.
    ends_properly: Option<bool>,
}

/// How the other side ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// As its protocol has it.
    Proper,
    /// Without TLS's own word for it: the system says that for a process that was killed, too.
    Bare,
}

impl Syslog {
    pub(super) fn new(settings: &SyslogSettings, format: RecordFormat) -> Self {
        let host = super::scribe::host();
        let host = if host.is_empty() { "-".to_owned() } else { host };
        Self {
            settings: settings.clone(),
            is_message: format == RecordFormat::Converted(Format::Syslog),
            host,
            tls: None,
            ends_properly: None,
        }
    }

    pub(super) async fn deliver(&mut self, items: &[Item]) -> Result<(), Stopped> {
        let frames = self.frames(items);
        let sent = timeout(DEADLINE, self.send(&frames)).await.unwrap_or(Err(Failure::TimedOut));
        if sent.is_err() {
            self.tls = None;
        }
        Ok(sent?)
    }

    async fn send(&mut self, frames: &[u8]) -> Result<(), Failure> {
        let address = (self.settings.host.as_str(), self.settings.port);
        let stream = TcpStream::connect(address).await.map_err(|_| Failure::Unreachable)?;
        let Some(settings) = self.settings.tls.clone() else {
            return through(stream, frames).await.map(|_| ());
        };
        let tls = match &self.tls {
            Some(tls) => tls,
            None => {
                let reading = tokio::task::spawn_blocking(move || connector(&settings));
                let made = reading.await.unwrap_or_else(|error| Err(error.to_string()));
                self.tls.insert(made.map_err(Failure::Own)?)
            }
        };
        let name = ServerName::try_from(self.settings.server_name().to_owned())
            .map_err(|_| Failure::Own("its name can't be in a certificate".to_owned()))?;
        let stream = tls.connect(name, stream).await.map_err(|_| Failure::Unreachable)?;
        let end = through(stream, frames).await?;
        self.judge(end)
    }

    fn judge(&mut self, end: End) -> Result<(), Failure> {
        match (end, self.ends_properly) {
            (End::Proper, _) => self.ends_properly = Some(true),
            (End::Bare, Some(true)) => return Err(Failure::CutShort),
            (End::Bare, Some(false)) => {}
            (End::Bare, None) => {
                self.ends_properly = Some(false);
                tracing::warn!(
                    server = self.settings.host,
                    "the syslog server ends connections without TLS's close_notify: what it had just read when it is killed may be lost"
                );
            }
        }
        Ok(())
    }

    /// RFC 5425 §4.3: the length in octets, a space, the message.
    fn frames(&self, items: &[Item]) -> Vec<u8> {
        let mut frames = Vec::with_capacity(items.iter().map(|item| item.body.len() + 120).sum());
        for item in items {
            let header = if self.is_message {
                String::new()
            } else {
                let origin = item.key.split(':').next().unwrap_or("-");
                // At most six decimals of a second (RFC 5424 §6.2.3).
                let time = item.time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ");
                format!("<{PRIORITY}>1 {time} {} wardgate {origin} - - ", self.host)
            };
            frames.extend_from_slice(format!("{} {header}", header.len() + item.body.len()).as_bytes());
            frames.extend_from_slice(&item.body);
        }
        frames
    }
}

/// Sends all, says that this was all, and waits for the other side's end.
async fn through(mut stream: impl AsyncRead + AsyncWrite + Unpin, frames: &[u8]) -> Result<End, Failure> {
    let broken = |_: io::Error| Failure::Unreachable;
    stream.write_all(frames).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    stream.shutdown().await.map_err(broken)?;
    let mut nothing = [0; 256];
    loop {
        match stream.read(&mut nothing).await {
            Ok(0) => return Ok(End::Proper),
            // A syslog server has nothing to say.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(End::Bare),
            Err(_) => return Err(Failure::Unreachable),
        }
    }
}

fn connector(settings: &SyslogTls) -> Result<TlsConnector, String> {
    let mut config = outgoing::tls(settings.ca_file.as_deref(), settings.identity.as_ref())?;
    // rsyslog on OpenSSL refuses whoever resumes a session and shows a certificate.
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syslog(format: Format) -> Syslog {
        let settings = SyslogSettings { host: "siem".to_owned(), port: 6514, tls: None };
        Syslog { host: "gw1".to_owned(), ..Syslog::new(&settings, RecordFormat::Converted(format)) }
    }

    #[test]
    fn a_message_has_its_length_and_a_header_where_it_is_none_by_itself() {
        let time = "2026-11-22T10:15:00.123456Z".parse().expect("a time");
        let items = [Item { key: "o1:7".to_owned(), time, body: "CEF:0|é".into() }];
        let text = |format| String::from_utf8(syslog(format).frames(&items)).expect("text");
        assert_eq!(text(Format::Syslog), "8 CEF:0|é");
        assert_eq!(text(Format::Cef), "63 <110>1 2026-11-22T10:15:00.123456Z gw1 wardgate o1 - - CEF:0|é");
    }

    /// What comes of a batch at a server that reads all of it, and then says so or is gone.
    async fn sent_to_one_that(says_so: bool) -> Result<End, Failure> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().expect("a directory");
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let path = dir.path().join("ca.pem");
        std::fs::write(&path, own.cert.pem()).expect("written");
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key.into())
            .expect("a server");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let server = tokio::spawn(async move {
            let mut stream = acceptor.accept(theirs).await.expect("accepted");
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.expect("read");
            assert_eq!(all, b"5 hello");
            if says_so {
                stream.shutdown().await.expect("told");
            }
        });
        let settings = SyslogTls { ca_file: Some(path), server_name: None, identity: None };
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = connector(&settings).expect("a connector");
        let stream = connector.connect(name, ours).await.expect("connected");
        let sent = through(stream, b"5 hello").await;
        server.await.expect("ran");
        sent
    }

    #[tokio::test]
    async fn a_server_that_says_that_it_has_read_all_has_to_say_so_each_time() {
        assert_eq!(sent_to_one_that(true).await, Ok(End::Proper));
        assert_eq!(sent_to_one_that(false).await, Ok(End::Bare));
        let mut server = syslog(Format::Syslog);
        assert_eq!((server.judge(End::Bare), server.judge(End::Bare)), (Ok(()), Ok(())), "it never does");
        assert_eq!(server.judge(End::Proper), Ok(()));
        assert_eq!(server.judge(End::Bare), Err(Failure::CutShort));
    }

    #[tokio::test]
    async fn only_what_the_other_side_has_read_to_its_end_is_delivered() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let reading = tokio::spawn(async move {
            let mut theirs = theirs;
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).await.map(|_| all)
        });
        assert_eq!(through(ours, b"5 hello").await, Ok(End::Proper));
        assert_eq!(reading.await.expect("ran").expect("read"), b"5 hello");
        let (ours, theirs) = tokio::io::duplex(4);
        drop(theirs);
        assert_eq!(through(ours, b"5 hello").await, Err(Failure::Unreachable));
    }
}
