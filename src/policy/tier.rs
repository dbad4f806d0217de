//! Tiers: how risky an action is, and what that risk asks for.

use crate::identity::Level;

/// A tier's position; a greater one is riskier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TierIndex(pub u8);

impl TierIndex {
    /// The position in [`super::Policy::tiers`].
    pub fn position(self) -> usize {
        usize::from(self.0)
    }
}

/// What must have happened to an audit record before the first upstream byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// It is in memory and will be written within a fraction of a second.
    Buffered,
    /// The operating system has it: it survives a crash of this process.
    Written,
    /// The disk has it: it survives a loss of power.
    Synced,
    /// The disk has it, and so has another machine: it survives the loss of this one.
    Remote,
}

/// What to do when the state store can't answer whether a token was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreDown {
    /// Refuse with 503.
    Deny,
    /// Go on without that check.
    AllowWithoutRevocationCheck,
}

/// What a tier asks of machines, which have no authentication event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceRule {
    /// The oldest a machine's token may be, in seconds since `iat`.
    pub max_token_age: i64,
    /// Whether the token must be bound to a key (RFC 9449) or a certificate (RFC 8705).
    pub sender_constrained: bool,
}

/// The most that `max_age` may be, in seconds, where each action needs a new proof. A spent proof is remembered for
/// longer, whatever tier spent it: the next configuration, or another gateway's, may take older ones than this one.
pub const MOST_PROOF_AGE: i64 = 3_600;

/// One tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// Its name.
    pub name: Box<str>,
    /// The level of assurance it asks for.
    pub assurance: Level,
    /// The oldest authentication it takes, in seconds.
    pub max_age: Option<i64>,
    /// Whether each action spends one authentication event.
    pub each_action_needs_new_proof: bool,
    /// If not empty, at least one of these must be in `amr`.
    pub require_methods: Vec<Box<str>>,
    /// How a person may reach what is missing, in order of preference: positions in [`super::Policy::ways`].
    pub step_up: Vec<usize>,
    /// What must have happened to the audit record first.
    pub audit: Durability,
    /// What a store outage means.
    pub when_store_down: StoreDown,
    /// What machines must show; `None` refuses them.
    pub service: Option<ServiceRule>,
}

/// What stands in for a tier that does not exist, so that a mistake in this program can only refuse.
pub static STRICTEST: std::sync::LazyLock<Tier> = std::sync::LazyLock::new(|| Tier {
    name: "undefined".into(),
    assurance: Level::NONE,
    max_age: Some(-1),
    each_action_needs_new_proof: true,
    require_methods: vec!["undefined".into()],
    step_up: Vec::new(),
    audit: Durability::Synced,
    when_store_down: StoreDown::Deny,
    service: None,
});
