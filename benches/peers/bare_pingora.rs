//! A proxy that does nothing but forward: what Pingora itself costs, and so the floor for Wardgate.
//!
//! Usage: `bare_pingora LISTEN_ADDRESS UPSTREAM_ADDRESS [CERTIFICATE_FILE KEY_FILE]`; with a certificate it speaks TLS

use std::net::SocketAddr;
use std::process::ExitCode;

use async_trait::async_trait;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::upstreams::peer::HttpPeer;

struct Forward {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Self::CTX,
    ) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next();
    let upstream = arguments.next().and_then(|text| text.parse::<SocketAddr>().ok());
    let (Some(listen), Some(upstream)) = (listen, upstream) else {
        eprintln!(
            "usage: bare_pingora LISTEN_ADDRESS UPSTREAM_ADDRESS [CERTIFICATE_FILE KEY_FILE], \
             addresses like 127.0.0.1:8080"
        );
        return ExitCode::from(2);
    };
    let certificate = arguments.next().zip(arguments.next());

    let settings = ServerConf {
        threads: 1,
        work_stealing: false,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, settings);
    server.bootstrap();

    let mut service = http_proxy_service(&server.configuration, Forward { upstream });
    match certificate {
        None => service.add_tcp(&listen),
        Some((certificate, key)) => {
            // Wardgate's cryptography instead of Pingora's default: the proxies are compared, not the libraries.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            if let Err(error) = service.add_tls(&listen, &certificate, &key) {
                eprintln!("bare_pingora: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    server.add_service(service);
    server.run(RunArgs::default());
    ExitCode::SUCCESS
}
