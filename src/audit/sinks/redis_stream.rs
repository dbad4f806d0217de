//! Delivery to a stream of Redis: one entry for each record.

use std::path::PathBuf;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisError, TlsCertificates,
};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::failure::{Failure, Stopped};
use super::item::Item;
use crate::config::settings::RedisStreamSettings;

/// How long a connection may take, and how long what is handed over at once, with the answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// A stream.
pub(super) struct RedisStream {
    settings: RedisStreamSettings,
    connection: Option<MultiplexedConnection>,
}

impl RedisStream {
    pub(super) fn new(settings: &RedisStreamSettings) -> Self {
        Self { settings: settings.clone(), connection: None }
    }

    pub(super) async fn deliver(&mut self, items: &[Item]) -> Result<(), Stopped> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut entries = redis::pipe();
        // All or none of them: what is refused because memory is full does not leave a part behind at each attempt.
        entries.atomic();
        for item in items {
            let entry = entries.cmd("XADD").arg(&*self.settings.key);
            if let Some(most) = self.settings.most_records {
                entry.arg("MAXLEN").arg("~").arg(most);
            }
            entry.arg("*").arg("key").arg(&item.key).arg("record").arg(&item.body).ignore();
        }
        let adding = entries.query_async::<()>(&mut connection);
        timeout(DEADLINE, adding).await.map_err(|_| Failure::TimedOut)?.map_err(|error| of(&error))?;
        // Only one that has answered is used again.
        self.connection = Some(connection);
        Ok(())
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        let settings = self.settings.clone();
        let reading = tokio::task::spawn_blocking(move || client(&settings));
        let client = timeout(DEADLINE, reading)
            .await
            .map_err(|_| Failure::TimedOut)?
            .unwrap_or_else(|error| Err(Failure::Own(error.to_string())))?;
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        timeout(DEADLINE, connecting).await.map_err(|_| Failure::TimedOut)?.map_err(|error| of(&error))
    }
}

/// Passwords and authorities are read for each connection: they change while the gateway runs.
fn client(settings: &RedisStreamSettings) -> Result<Client, Failure> {
    let read = |path: &Option<PathBuf>| {
        let Some(path) = path else { return Ok(None) };
        let unreadable = |error| Failure::Own(format!("`{}` can't be read: {error}", path.display()));
        std::fs::read(path).map(Zeroizing::new).map(Some).map_err(unreadable)
    };
    let mut login = RedisConnectionInfo::default().set_db(settings.database).set_skip_set_lib_name();
    if let Some(user) = &settings.username {
        login = login.set_username(user);
    }
    if let Some(password) = read(&settings.password_file)? {
        let password = std::str::from_utf8(&password)
            .map_err(|_| Failure::Own("`password_file` is no text".to_owned()))?;
        login = login.set_password(password.trim_end_matches(['\r', '\n']));
    }
    let (host, port) = (settings.host.clone(), settings.port);
    let address = if settings.tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    let info = address.into_connection_info().map_err(|error| of(&error))?.set_redis_settings(login);
    let client = match read(&settings.ca_file)? {
        Some(authorities) => {
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(authorities.to_vec()) };
            Client::build_with_tls(info, certificates)
        }
        None => Client::open(info),
    };
    client.map_err(|error| of(&error))
}

/// The error without what the other side said but for its first word, a code.
fn of(error: &RedisError) -> Failure {
    if error.is_timeout() {
        return Failure::TimedOut;
    }
    if error.is_io_error() || error.is_connection_dropped() {
        return Failure::Unreachable;
    }
    let code =
        error.code().filter(|code| code.len() < 20 && code.bytes().all(|byte| byte.is_ascii_uppercase()));
    let code = match (code, error.kind()) {
        (Some(code), _) => code,
        (None, ErrorKind::AuthenticationFailed) => "WRONGPASS",
        (None, _) => "an error",
    };
    Failure::Said(code.to_owned())
}
