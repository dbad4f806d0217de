//! Who listens where. All of it comes from the gateway's own configuration, so a port is changed in one place.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use wardgate::audit::journal::FILE_NAME;
use wardgate::config::settings::{Compiled, ListenAddress};

/// The addresses and files of the demo.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The gateway's configuration.
    pub config: PathBuf,
    /// Where the gateway takes requests.
    pub gateway: SocketAddr,
    /// Where it says how it is.
    pub telemetry: SocketAddr,
    /// The development issuer's name in tokens: its URL.
    pub issuer_url: String,
    /// Where it listens.
    pub issuer: SocketAddr,
    /// The audience of the tokens it makes.
    pub audience: String,
    /// The electronic health record.
    pub ehr: SocketAddr,
    /// Billing.
    pub billing: SocketAddr,
    /// Video visits.
    pub telehealth: SocketAddr,
    /// The audit file.
    pub audit: PathBuf,
}

impl Setting {
    /// Reads the configuration and finds the demo's parts in it.
    pub fn read(config: &Path) -> Result<Self, String> {
        let (compiled, _) =
            wardgate::config::load_file(config, wardgate::config::Cases::Run).map_err(|faults| {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                let config = config.display();
                format!(
                    "{config} can't be used; the demo looks for it where it is started\n{}",
                    faults.join("\n")
                )
            })?;
        let settings = &compiled.settings;
        let listener = settings.listeners.first().ok_or("the configuration has no listener")?;
        let issuer = settings.issuers.first().ok_or("the configuration has no issuer")?;
        let audience = compiled.policy.issuers.first().and_then(|issuer| issuer.audiences.first());
        let issuer_address: Option<std::net::SocketAddr> =
            issuer.issuer.strip_prefix("http://").and_then(|rest| rest.parse().ok());
        if issuer_address.is_some_and(|address| !address.ip().is_loopback()) {
            return Err(
                "the demo signs tokens for anybody who asks: its issuer has to be on a loopback address"
                    .to_owned(),
            );
        }
        Ok(Self {
            config: config.to_owned(),
            gateway: match listener.address {
                ListenAddress::Tcp(address) => address,
                ListenAddress::Unix(_) => {
                    return Err("the demo's listener has to be an address and a port".to_owned());
                }
            },
            telemetry: settings
                .telemetry
                .ok_or("the configuration has no `telemetry`, so nobody can tell when it is ready")?,
            issuer_url: issuer.issuer.to_string(),
            issuer: issuer_address.ok_or(
                "the demo's issuer has to be `http://` and an address, such as `http://127.0.0.1:9000`",
            )?,
            audience: audience.ok_or("the demo's issuer has no audience")?.to_string(),
            ehr: upstream(&compiled, "ehr")?,
            billing: upstream(&compiled, "billing")?,
            telehealth: upstream(&compiled, "telehealth")?,
            audit: settings.audit.dir.join(FILE_NAME),
        })
    }

    /// Everything that needs a port of its own, with the place in the configuration that names it.
    fn ports(&self) -> [(SocketAddr, &'static str); 6] {
        [
            (self.gateway, "the listener's `address`"),
            (self.telemetry, "`telemetry.address`"),
            (self.issuer, "the issuer's `issuer`"),
            (self.ehr, "`endpoints` of upstream `ehr`"),
            (self.billing, "`endpoints` of upstream `billing`"),
            (self.telehealth, "`endpoints` of upstream `telehealth`"),
        ]
    }

    /// Says which ports can't be had, and how to choose others.
    pub fn check_ports(&self) -> Result<(), String> {
        let busy: Vec<String> = self
            .ports()
            .into_iter()
            .filter_map(|(address, place)| {
                let error = TcpListener::bind(address).err()?;
                Some(format!("  {address} can't be used: {}; it is {place}", plain(&error)))
            })
            .collect();
        if busy.is_empty() {
            return Ok(());
        }
        let config = self.config.display();
        Err(format!(
            "not every port is free\n{}\nStop what holds it, or write another port in {config}: the demo reads it there.",
            busy.join("\n")
        ))
    }
}

fn upstream(compiled: &Compiled, name: &str) -> Result<SocketAddr, String> {
    let found = compiled.settings.upstreams.iter().find(|upstream| upstream.name.as_ref() == name);
    let upstream =
        found.ok_or(format!("the configuration has no upstream `{name}`, which the tour visits"))?;
    let endpoint = upstream.endpoints.first().map(|endpoint| endpoint.name()).unwrap_or_default();
    endpoint.parse().map_err(|_| {
        format!("the endpoint of upstream `{name}` has to be `ip:port` for the demo, not `{endpoint}`")
    })
}

fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program holds it".to_owned(),
        std::io::ErrorKind::PermissionDenied => "this user may not open it".to_owned(),
        _ => error.to_string(),
    }
}
