//! Delivery of the trail to others. The journal's own files are the buffer: nothing of it is on a request's path, and a sink
//! that fails costs no memory.
//!
//! Each sink has a task of its own ([`courier`]) that reads what follows its [`cursor`] ([`feed`]), hands it over, and moves
//! the cursor once that was acknowledged: at least once, in order, each record with its key `origin:seq`.

mod courier;
mod cursor;
mod exchange;
mod failure;
mod feed;
mod fhir;
mod files;
mod follow;
mod http;
mod item;
#[cfg(feature = "kafka")]
mod kafka;
mod lines;
mod otlp;
mod quota;
mod redis_stream;
mod remote;
mod retry_after;
mod scribe;
mod syslog;

use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

pub use self::cursor::delivered;
pub use self::follow::Follower;
pub use self::remote::Remote;

use self::courier::Courier;
use self::failure::Stopped;
use self::fhir::FhirSink;
use self::http::HttpSink;
use self::item::Item;
#[cfg(feature = "kafka")]
use self::kafka::KafkaSink;
use self::lines::Lines;
use self::otlp::OtlpSink;
use self::quota::Quota;
use self::redis_stream::RedisStream;
use self::syslog::Syslog;
use crate::config::settings::{SinkKind, SinkSettings};
use crate::enforce::ports::Journal;

/// How long the end waits for records to be delivered; those that are not are delivered after the next start.
pub const LAST_DELIVERY: Duration = Duration::from_secs(3);

/// Why a sink can't be begun with. The text names the remedy.
#[derive(Debug, thiserror::Error)]
#[error("the audit sink `{name}` can't be used: {why}")]
pub struct SinkError {
    name: Box<str>,
    why: String,
}

/// Where records go.
enum Target {
    Http(HttpSink),
    Fhir(FhirSink),
    Otlp(OtlpSink),
    RedisStream(RedisStream),
    #[cfg(feature = "kafka")]
    Kafka(KafkaSink),
    Lines(Lines),
    Syslog(Syslog),
}

impl Target {
    fn open(settings: &SinkSettings) -> Result<Self, String> {
        match &settings.kind {
            SinkKind::Http(http) => HttpSink::open(http).map(Self::Http),
            SinkKind::Fhir(fhir) => FhirSink::open(fhir).map(Self::Fhir),
            SinkKind::Otlp(server) => OtlpSink::open(server).map(Self::Otlp),
            SinkKind::RedisStream(stream) => Ok(Self::RedisStream(RedisStream::new(stream))),
            #[cfg(feature = "kafka")]
            SinkKind::Kafka(topic) => Ok(Self::Kafka(KafkaSink::new(topic))),
            #[cfg(not(feature = "kafka"))]
            SinkKind::Kafka(_) => Err("this program was built without the feature `kafka`".to_owned()),
            SinkKind::File(path) => Ok(Self::Lines(Lines::file(path))),
            SinkKind::Stdout => Ok(Self::Lines(Lines::stdout())),
            SinkKind::Syslog(syslog) => Ok(Self::Syslog(Syslog::new(syslog, settings.format))),
        }
    }

    /// How often it is looked whether there is something new: a connection for every batch is not opened more often.
    fn look(&self) -> Duration {
        match self {
            Self::Syslog(_) => Duration::from_secs(1),
            _ => Duration::from_millis(250),
        }
    }

    /// Hands records over; `Ok` is the other side's word that it has them all.
    async fn deliver(&mut self, items: &[Item]) -> Result<(), Stopped> {
        match self {
            Self::Http(sink) => sink.deliver(items).await,
            Self::Fhir(sink) => sink.deliver(items).await,
            Self::Otlp(sink) => sink.deliver(items).await,
            Self::RedisStream(stream) => stream.deliver(items).await,
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => topic.deliver(items).await,
            Self::Lines(lines) => lines.deliver(items).await,
            Self::Syslog(syslog) => syslog.deliver(items).await,
        }
    }
}

/// What is wrong with a sink, while something is.
type Trouble = Arc<Mutex<Option<String>>>;

/// The tasks of all sinks.
#[derive(Clone)]
pub struct Sinks {
    stop: watch::Sender<bool>,
    ended: Arc<Mutex<mpsc::Receiver<()>>>,
    troubles: Arc<[Trouble]>,
}

impl Sinks {
    /// Begins to deliver what is in the trails of `dir`; outages are put on record in `journal`, and when what waits comes near
    /// `quota` bytes. Who waits in `remote` is told what its sink has.
    ///
    /// # Errors
    /// What a sink needs can't be read.
    pub fn start(
        dir: &Path,
        settings: &[SinkSettings],
        quota: Option<u64>,
        remote: Option<&Arc<Remote>>,
        journal: &Arc<dyn Journal>,
        runtime: &Handle,
    ) -> Result<Self, SinkError> {
        let (stop, stopping) = watch::channel(false);
        let (end, ended) = mpsc::channel();
        let mut troubles = Vec::new();
        let mut couriers = Vec::new();
        for sink in settings {
            let fail = |why| SinkError { name: sink.name.clone(), why };
            let trouble = Trouble::default();
            troubles.push(Arc::clone(&trouble));
            let target = Target::open(sink).map_err(fail)?;
            let remote = remote.filter(|remote| remote.sink() == &*sink.name).cloned();
            let courier = Courier::new(sink, target, dir, Arc::clone(journal), stopping.clone(), trouble);
            couriers.push(courier.told_to(remote));
        }
        if let Some(bytes) = quota {
            let trouble = Trouble::default();
            troubles.push(Arc::clone(&trouble));
            let names = settings.iter().map(|sink| Arc::from(&*sink.name)).collect();
            let quota = Quota::new(dir.to_owned(), names, bytes, trouble);
            runtime.spawn(quota.run(Arc::clone(journal), stopping));
        }
        for courier in couriers {
            // Dropped when its task ends, however that does.
            let end = end.clone();
            runtime.spawn(async move {
                courier.run().await;
                drop(end);
            });
        }
        Ok(Self { stop, ended: Arc::new(Mutex::new(ended)), troubles: troubles.into() })
    }

    /// What is wrong now, a sentence for each sink that can't be delivered to.
    pub fn trouble(&self) -> Vec<String> {
        let of = |trouble: &Trouble| trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.troubles.iter().filter_map(of).collect()
    }

    /// Delivers what there still is, as far as that goes in `limit`; what is left is delivered after the next start. Not to be
    /// called on a runtime's own threads, and after the journal has written all.
    pub fn finish(&self, limit: Duration) {
        self.stop.send_replace(true);
        let until = Instant::now() + limit;
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing is ever sent: the channel closes with the last task.
        let _ = ended.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}
