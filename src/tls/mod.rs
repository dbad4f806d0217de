//! Floor 2: TLS from files: what a listener's certificates, keys and authorities say, and the rustls configuration
//! they make.
//!
//! The configuration is checked with the same code that serves, so a file that `wardgate check` takes is one that a
//! handshake can use. Nothing here opens a socket.

mod choice;
mod material;
pub mod settings;

pub use material::{Built, Certificate, Material, Part, TlsError};
pub use settings::{CertificateFiles, ClientCertificates, TlsSettings, TlsVersion};
