//! What can go wrong with issuers and their keys, and what an operator can do about it.

use std::error::Error;
use std::path::PathBuf;

use crate::identity::jwk::KeySetError;

/// Whose a file is, as messages say it.
#[derive(Debug, Clone)]
pub struct Owner(Box<str>);

impl Owner {
    /// An issuer, by its configured name.
    pub fn issuer(name: &str) -> Self {
        Self(format!("issuer `{name}`").into())
    }

    /// A service that asks people for proof, by its address.
    pub fn service(address: &str) -> Self {
        Self(format!("the step-up service `{address}`").into())
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why the gateway can't start with these issuers. Each message names the remedy.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each message says what its fields are")]
pub enum StartError {
    /// A file is missing or may not be read.
    #[error("the {what} of {whose} can't be read from `{}`: {why}; \
             check the path and that the gateway's user may read the file", path.display())]
    Unreadable { what: &'static str, whose: Owner, path: PathBuf, why: std::io::Error },
    /// A file is far larger than what it should hold.
    #[error("the {what} file `{}` of {whose} is larger than 512 KiB; \
             check that it is the right file", path.display())]
    FileTooLarge { what: &'static str, whose: Owner, path: PathBuf },
    /// A key file holds no usable keys.
    #[error("the key file `{}` of issuer `{issuer}` can't be used: {why}; \
             save the answer of the issuer's `jwks_uri` there", path.display())]
    BadKeys { issuer: Box<str>, path: PathBuf, why: KeySetError },
    /// A secret file has nothing in it.
    #[error("the {what} file `{}` of {whose} is empty; \
             write what was agreed on into it", path.display())]
    EmptySecret { what: &'static str, whose: Owner, path: PathBuf },
    /// A file holds no value of a header.
    #[error("the {what} file `{}` of {whose} holds what no header can; \
             write one line of plain letters into it", path.display())]
    NoHeader { what: &'static str, whose: Owner, path: PathBuf },
    /// An address can't be asked.
    #[error("the {what} `{address}` of issuer `{issuer}` can't be used: {why}")]
    BadAddress { what: &'static str, issuer: Box<str>, address: Box<str>, why: &'static str },
    /// Two issuers could not be told apart.
    #[error(
        "two issuers have the address `{0}`; a token's `iss` must name one of them: merge them, or remove one"
    )]
    SameIssuer(Box<str>),
    /// The rules and the settings of the issuers do not belong together.
    #[error(
        "issuer `{0}` has rules but no settings for its keys; \
             compile both from one configuration"
    )]
    NoSettings(Box<str>),
    /// The key file of a step-up service holds no usable keys.
    #[error("the key file `{}` of the step-up service `{service}` can't be used: {why}; \
             save the service's public keys there as a JWK set (RFC 7517)", path.display())]
    BadServiceKeys { service: Box<str>, path: PathBuf, why: KeySetError },
    /// There are no certificate authorities to check the issuers' certificates with.
    #[error(
        "issuers can't be asked over TLS: {0}; install the system's certificate authorities \
             (`ca-certificates`), or name a file of them in SSL_CERT_FILE"
    )]
    Tls(String),
    /// The program forgot its first step.
    #[error(
        "no cryptography provider was installed at start; this is a fault of the program, please report it"
    )]
    NoCryptography,
}

/// Why an issuer gave no usable answer. Addresses are from the configuration or checked against it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each message says what its fields are")]
pub enum FetchError {
    /// No connection, or it broke.
    #[error("`{address}` can't be reached: {why}")]
    Unreachable { address: Box<str>, why: Box<str> },
    /// The time limit passed.
    #[error("`{address}` did not answer in time")]
    TooSlow { address: Box<str> },
    /// A redirect, which is never followed.
    #[error("`{address}` answers with a redirect, which is never followed")]
    Redirected { address: Box<str> },
    /// Any other status but 200.
    #[error("`{address}` answers with status {status}")]
    Status { address: Box<str>, status: u16 },
    /// What was to be exchanged for tokens is not good, or not any more (RFC 6749 §5.2).
    #[error("`{address}` answers that the grant is invalid")]
    InvalidGrant { address: Box<str> },
    /// More bytes than any such answer has.
    #[error("`{address}` answers with more than 512 KiB")]
    TooLarge { address: Box<str> },
    /// Not what was asked for.
    #[error("the answer of `{address}` can't be used: {why}")]
    Unusable { address: Box<str>, why: Box<str> },
    /// Metadata of somebody else.
    #[error("the metadata at `{address}` is for issuer {says}, not for the configured one")]
    WrongIssuer { address: Box<str>, says: Box<str> },
    /// Metadata that points elsewhere.
    #[error("the metadata's `{member}` is {says}, which is not at the issuer's own scheme, host and port")]
    OtherOrigin { member: &'static str, says: Box<str> },
}

impl FetchError {
    /// The stable name for metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::TooSlow { .. } => "too_slow",
            Self::Redirected { .. } => "redirected",
            Self::Status { .. } => "status",
            Self::InvalidGrant { .. } => "invalid_grant",
            Self::TooLarge { .. } => "too_large",
            Self::Unusable { .. } => "unusable",
            Self::WrongIssuer { .. } => "wrong_issuer",
            Self::OtherOrigin { .. } => "other_origin",
        }
    }

    /// What an operator can do.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => {
                "check the address, the network's rules and, for TLS, that the certificate names this host and \
                 is from an authority of the system or of SSL_CERT_FILE"
            }
            Self::TooSlow { .. } => "check the issuer's load and the network, or raise the timeout",
            Self::Redirected { .. } => "configure the address it redirects to, if you trust it",
            Self::Status { .. } => "check the address, and the issuer's own logs",
            Self::InvalidGrant { .. } => "nothing: whoever it is about signs in again",
            Self::TooLarge { .. } => "check that the address is the right one",
            Self::Unusable { .. } => {
                "check that the address is the right one, and that no proxy or login page answers there"
            }
            Self::WrongIssuer { .. } => {
                "write `issuer` exactly as the metadata has it, if you trust it: case, port and slashes count"
            }
            Self::OtherOrigin { member, .. } => match member.as_bytes() {
                b"jwks_uri" => {
                    "set `jwks.url` (of a transmitter, `shared_signals.jwks_url`) to that address, if you trust it"
                }
                b"authorization_endpoint" | b"token_endpoint" | b"end_session_endpoint" => {
                    "people can sign in only at an issuer whose pages are at its own scheme, host and port"
                }
                b"backchannel_authentication_endpoint" => {
                    "people can be asked on the phone only by an issuer whose endpoints are at its own scheme, host and port"
                }
                _ => "set `introspection.endpoint` to that address, if you trust it",
            },
        }
    }
}

/// An error with all its causes on one line: what the outermost says is seldom what helps.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Text from outside for an operator's eyes: quoted, without control characters, not too long.
pub(super) fn quoted(text: &str) -> Box<str> {
    const MOST: usize = 200;
    let short: String = text.chars().take(MOST).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{more}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_quoted_and_cut() {
        assert_eq!(&*quoted("a\n\u{1b}[2J\"b"), r#""a\n\u{1b}[2J\"b""#);
        let long = quoted(&"é".repeat(500));
        assert!(long.chars().count() == 203 && long.ends_with("\"…"));
    }
}
