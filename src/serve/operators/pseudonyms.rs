//! Who is behind a pseudonym, for those who look into what happened; and the end of that.

use std::net::IpAddr;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, MOST_NAME_BYTES, Operators, issuer_is_known, problem, read, unavailable};
use crate::audit::pseudonym::{Kind, Named};
use crate::enforce::pseudonyms::{Doomed, Operator, Withheld};
use crate::policy::Policy;
use crate::request::account::Account;
use crate::request::client;

/// The longest reason.
const MOST_REASON_BYTES: usize = 200;

/// Somebody or something, by the name that it really has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Inquiry {
    kind: Kind,
    value: String,
    issuer: Option<String>,
    reason: String,
}

/// Epochs to be forgotten: exactly one of both.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShredOrder {
    epoch: Option<String>,
    before: Option<String>,
    reason: String,
}

impl Operators {
    pub(super) async fn lookup(&self, request: Request<Incoming>, uid: u32) -> Answer {
        const ACTION: &str = "look_up";
        let inquiry: Inquiry = match read(request, "an inquiry").await {
            Ok(inquiry) => inquiry,
            Err(why) => return self.refuse(ACTION, uid, &why).await,
        };
        if let Err(why) = inquiry.check_reason() {
            return self.refuse(ACTION, uid, why).await;
        }
        let live = self.current.load();
        let named = match inquiry.named(&live.generation.policy) {
            Ok(named) => named,
            Err(why) => return self.refuse(ACTION, uid, &why).await,
        };
        let operator = Operator { uid, reason: &inquiry.reason };
        match self.gate.look_up(self.pseudonym_keys.as_ref(), named, operator).await {
            Ok(aliases) => {
                let told: Vec<Value> = aliases
                    .known
                    .iter()
                    .map(|alias| match alias.epoch {
                        Some(epoch) => json!({
                            "pseudonym": &*alias.pseudonym,
                            "epoch": epoch.begins.to_string(),
                            "until": epoch.until().to_string(),
                        }),
                        None => json!({ "pseudonym": &*alias.pseudonym }),
                    })
                    .collect();
                let unreadable: Vec<String> = aliases.unreadable.iter().map(Date::to_string).collect();
                (StatusCode::OK, json!({ "pseudonyms": told, "unreadable": unreadable }))
            }
            Err(why) => withheld(&why),
        }
    }

    pub(super) async fn shred(&self, request: Request<Incoming>, uid: u32) -> Answer {
        const ACTION: &str = "shred";
        let order: ShredOrder = match read(request, "an order to shred").await {
            Ok(order) => order,
            Err(why) => return self.refuse(ACTION, uid, &why).await,
        };
        let doomed = match order.doomed().and_then(|doomed| check_reason(&order.reason).map(|()| doomed)) {
            Ok(doomed) => doomed,
            Err(why) => return self.refuse(ACTION, uid, why).await,
        };
        let operator = Operator { uid, reason: &order.reason };
        match self.gate.shred(self.pseudonym_keys.as_ref(), doomed, operator, Timestamp::now()).await {
            Ok(epochs) => {
                let gone: Vec<String> = epochs.iter().map(|epoch| epoch.begins.to_string()).collect();
                (StatusCode::OK, json!({ "destroyed": gone }))
            }
            Err(why) => withheld(&why),
        }
    }
}

fn withheld(why: &Withheld) -> Answer {
    match why {
        Withheld::NotRecorded | Withheld::Keys(_) => unavailable(&why.to_string()),
        Withheld::Refused(why) => (StatusCode::BAD_REQUEST, problem(why)),
    }
}

impl ShredOrder {
    fn doomed(&self) -> Result<Doomed, &'static str> {
        let day = |text: &str| text.parse::<Date>().map_err(|_| "a day is written as 2026-09-14");
        match (&self.epoch, &self.before) {
            (Some(text), None) => day(text).map(Doomed::Beginning),
            (None, Some(text)) => day(text).map(Doomed::OverBefore),
            _ => Err("exactly one of epoch and before says which"),
        }
    }
}

impl Inquiry {
    /// A reason goes on record, and the name of whom it is about must not.
    fn check_reason(&self) -> Result<(), &'static str> {
        check_reason(&self.reason)?;
        let (reason, value) = (self.reason.to_lowercase(), self.value.trim().to_lowercase());
        let is_word_at = |at: usize| {
            let before = reason.get(..at).and_then(|text| text.chars().next_back());
            let after = reason.get(at + value.len()..).and_then(|text| text.chars().next());
            ![before, after].into_iter().flatten().any(char::is_alphanumeric)
        };
        if !value.is_empty() && reason.match_indices(&value).any(|(at, _)| is_word_at(at)) {
            return Err("the reason goes on record, so it must not hold the name that is asked about");
        }
        Ok(())
    }

    /// The name as records are made from it.
    fn named(&self, policy: &Policy) -> Result<Named<String>, String> {
        let Self { kind, value, issuer, .. } = self;
        if value.is_empty() || value.len() > MOST_NAME_BYTES {
            return Err("the name is empty or longer than 1024 bytes".to_owned());
        }
        let is_of_issuer = matches!(kind, Kind::Subject | Kind::Session | Kind::Token);
        let realm = match (is_of_issuer, issuer) {
            (true, Some(issuer)) => issuer_is_known(policy, issuer).map(|()| issuer.clone())?,
            (true, None) => return Err("issuer says whose name it is".to_owned()),
            (false, None) => String::new(),
            (false, Some(_)) => return Err("no issuer gives such names".to_owned()),
        };
        let value = match kind {
            Kind::Address => {
                let address: Result<IpAddr, _> = value.parse();
                let address =
                    address.map_err(|_| "this is no address: write it as `192.0.2.7`".to_owned())?;
                client::text(address.to_canonical())
            }
            Kind::Account => {
                let account = Account::parse(value).ok_or("no request can name such an account")?;
                account.as_str().to_owned()
            }
            Kind::Subject | Kind::Session | Kind::Token | Kind::Patient => value.clone(),
        };
        Ok(Named { kind: *kind, realm, value })
    }
}

fn check_reason(reason: &str) -> Result<(), &'static str> {
    if reason.trim().is_empty() || reason.len() > MOST_REASON_BYTES || reason.chars().any(char::is_control) {
        return Err("reason says why, in 1 to 200 bytes of one line, as the number of a case");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(value: &str, reason: &str) -> bool {
        let inquiry =
            Inquiry { kind: Kind::Patient, value: value.to_owned(), issuer: None, reason: reason.to_owned() };
        inquiry.check_reason().is_ok()
    }

    #[test]
    fn a_reason_is_there_and_names_nobody() {
        assert!(says("p17", "case 4711") && says("17", "case 1734") && says("alice", "malice suspected"));
        for (value, reason) in [
            ("p17", ""),
            ("p17", "  "),
            ("p17", "case\n4711"),
            ("p17", "about p17"),
            ("P17", "p17, again"),
            ("alice@clinic.example", "complaint of Alice@clinic.example."),
        ] {
            assert!(!says(value, reason), "{value} {reason:?}");
        }
        assert!(!says("p17", &"x".repeat(MOST_REASON_BYTES + 1)));
    }
}
