//! Actions that a token names: `authorization_details` (RFC 9396) of the gateway's own type.
//!
//! An ordinary token says who somebody is; one of these says what the person has agreed to, down to the bytes of the
//! body, and is good for that alone.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The `type` (RFC 9396 §2.1) of the details that name an action.
pub const TYPE: &str = "urn:wardgate:action";
/// The claim, and the member of an introspection answer, that holds them (RFC 9396 §9).
pub const CLAIM: &str = "authorization_details";
/// So many actions one token may name: nobody agrees to more with open eyes.
const MOST: usize = 16;

/// One action, as it stands in a challenge and in a token. All of it has to be the same, byte for byte; a member that is
/// missing, or one that is not known here, makes it name nothing: it could narrow what was agreed to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedAction {
    /// [`TYPE`].
    pub r#type: Box<str>,
    /// The origin that is asked (RFC 9396 §2.2), such as `https://portal.clinic.example`.
    pub locations: [Box<str>; 1],
    /// The route's name.
    pub route: Box<str>,
    /// The method.
    pub method: Box<str>,
    /// Path and query.
    pub target: Box<str>,
    /// The SHA-256 of the body, as `Content-Digest` has it (RFC 9530 §2); that of nothing where there is none.
    pub body_digest: Box<str>,
    /// The digest of the rules that it is judged by: under others it is another action.
    pub rules: Box<str>,
}

/// A target may name a patient.
impl fmt::Debug for NamedAction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NamedAction({} {})", self.method, self.route)
    }
}

impl NamedAction {
    /// A SHA-256 in base64url over the length-prefixed parts: what differs in any of them has another digest.
    pub fn digest(&self) -> String {
        let Self { r#type, locations: [location], route, method, target, body_digest, rules } = self;
        let mut context = Context::new(&SHA256);
        for part in [r#type, location, route, method, target, body_digest, rules] {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part.as_bytes());
        }
        URL_SAFE_NO_PAD.encode(context.finish())
    }
}

/// What a token names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NamedActions {
    /// No action: it is an ordinary token.
    #[default]
    Nothing,
    /// These, and it is good for nothing else.
    These(Arc<[NamedAction]>),
    /// Something that can't be understood, so it is good for none.
    Unreadable,
}

impl NamedActions {
    /// Reads `authorization_details`. Details of other types are somebody else's business.
    pub fn read(details: Option<&Value>) -> Self {
        let Some(details) = details else { return Self::Nothing };
        let Some(details) = details.as_array() else { return Self::Unreadable };
        let mut named = Vec::new();
        for one in details {
            match one.get("type").and_then(Value::as_str) {
                Some(TYPE) => match NamedAction::deserialize(one) {
                    Ok(action) if named.len() < MOST => named.push(action),
                    Ok(_) | Err(_) => return Self::Unreadable,
                },
                Some(_) => {}
                // It could be one of ours.
                None => return Self::Unreadable,
            }
        }
        if named.is_empty() { Self::Nothing } else { Self::These(named.into()) }
    }

    /// Whether it is an ordinary token.
    pub fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pay(change: &Value) -> Value {
        crate::identity::testing::changed(
            json!({
                "type": TYPE, "locations": ["https://portal.clinic.example"], "route": "payment.pay", "method": "POST",
                "target": "/patients/p1/payments", "body_digest": "sha-256=:x:", "rules": "r1",
            }),
            change,
        )
    }

    fn read(details: &Value) -> NamedActions {
        NamedActions::read(Some(details))
    }

    #[test]
    fn what_is_named_is_read_and_written_alike() {
        let NamedActions::These(actions) = read(&json!([pay(&json!({})), pay(&json!({"method": "PUT"}))]))
        else {
            panic!("two actions")
        };
        assert_eq!(actions.len(), 2);
        assert_eq!(serde_json::to_value(&actions[0]).expect("JSON"), pay(&json!({})));
        assert_eq!(format!("{:?}", actions[0]), "NamedAction(POST payment.pay)", "no patient in a log");
    }

    #[test]
    fn other_types_are_somebody_elses() {
        for details in [json!([]), json!([{"type": "payment_initiation", "amount": 1}])] {
            assert_eq!(read(&details), NamedActions::Nothing, "{details}");
        }
        assert_eq!(NamedActions::read(None), NamedActions::Nothing);
        let mixed = read(&json!([{"type": "payment_initiation", "amount": 1}, pay(&json!({}))]));
        assert!(matches!(mixed, NamedActions::These(actions) if actions.len() == 1));
    }

    #[test]
    fn what_is_not_understood_names_nothing() {
        let mut all = vec![
            json!({}),
            json!("x"),
            json!([1]),
            json!([[]]),
            json!([{}]),
            json!([{"type": 1}]),
            json!(null),
        ];
        for name in ["locations", "route", "method", "target", "body_digest", "rules"] {
            all.push(json!([pay(&json!({ name: null }))]));
            all.push(json!([pay(&json!({ name: 1 }))]));
        }
        all.push(json!([pay(&json!({"amount": "100"}))]));
        all.push(json!([pay(&json!({"locations": []}))]));
        all.push(json!([pay(&json!({"locations": ["https://a.example", "https://b.example"]}))]));
        all.push(json!([pay(&json!({})), pay(&json!({"until": "noon"}))]));
        all.push(Value::Array(vec![pay(&json!({})); MOST + 1]));
        for details in all {
            assert_eq!(read(&details), NamedActions::Unreadable, "{details}");
        }
        assert!(matches!(read(&Value::Array(vec![pay(&json!({})); MOST])), NamedActions::These(_)));
    }

    #[test]
    fn every_member_counts() {
        let digest = |change: &Value| NamedAction::deserialize(pay(change)).expect("an action").digest();
        let mut digests = vec![digest(&json!({})), digest(&json!({"locations": ["x"]}))];
        for name in ["route", "method", "target", "body_digest", "rules"] {
            digests.push(digest(&json!({ name: "x" })));
        }
        // What is moved from one member to the next is something else too.
        digests.push(digest(&json!({"route": "payment.payP", "method": "OST"})));
        digests.sort_unstable();
        let count = digests.len();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }
}
