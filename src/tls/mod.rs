//! Floor 2: TLS from files: what certificates, keys and authorities say ([`pem`]), and the rustls configuration that those of a
//! listener make.
//!
//! The configuration is checked with the same code that serves, so a file that `wardgate check` takes is one that a
//! handshake can use. Nothing here opens a socket.

mod choice;
mod material;
pub mod pem;
pub mod settings;

pub use material::{Built, Certificate, Material, Part, TlsError};
pub use settings::{CertificateFiles, ClientCertificates, TlsSettings, TlsVersion};
