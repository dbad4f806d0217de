//! The shape of signals that make requests riskier.

use serde_saphyr::Spanned;

use super::schema::{Text, Texts, maps};

maps! {
    /// A signal.
    Signal {
        name: Text,
        outside: Text,
        days: Texts,
        time_zone: Text,
        networks: Texts,
        networks_file: Text,
        effect: Spanned<SignalEffect>,
        mode: Text,
        issuers: Texts,
        when_unavailable: Text,
    }
    /// What it does.
    SignalEffect { raise_to: Text, deny: Spanned<bool>, }
}
