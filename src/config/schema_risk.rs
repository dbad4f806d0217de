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
        requests: Spanned<MoreThan>,
        distinct_patients: Spanned<MoreThan>,
        effect: Spanned<SignalEffect>,
        mode: Text,
        issuers: Texts,
        when_unavailable: Text,
    }
    /// How often in how long.
    MoreThan { more_than: Text, r#in: Text, }
    /// What it does.
    SignalEffect { raise_to: Text, deny: Spanned<bool>, }
}
