//! The review of broken glasses: what waits, what it was about, and what was found.

use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Operators, moment, problem, read, store};
use crate::enforce::break_glass::{Entry, Finding};
use crate::enforce::staff::Staff;
use crate::request::credentials::Token;

/// How far back a list goes, in days.
const DAYS: i32 = 45;

/// So many codes are made at a time.
const MOST_CODES: usize = 100;
/// So many days they are good for at most.
const MOST_CODE_DAYS: u64 = 366;

/// What the addresses below this begin with.
pub(super) const BELOW: &str = "/v1/break-glass/";

/// Which ones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    /// Also those that were reviewed.
    #[serde(default)]
    all: bool,
}

/// One of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    id: String,
}

/// One of them, and who asks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    id: String,
    /// The reviewer's own access token.
    token: String,
}

/// One of them, who asks, and what they found.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Review {
    id: String,
    token: String,
    finding: String,
}

/// Codes for when the issuer can't be reached.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Codes {
    right: String,
    count: usize,
    /// For how many days they are good.
    days: u64,
}

impl Operators {
    /// Answers a call below [`BELOW`].
    pub(super) async fn broken_glass(&self, what: &str, request: Request<Incoming>, uid: u32) -> Answer {
        match what {
            "list" => self.list_glass(request, uid).await,
            "show" => self.show_glass(request, uid).await,
            "review" => self.review_glass(request, uid).await,
            "end" => self.end_glass(request, uid).await,
            "codes" => self.issue_codes(request, uid).await,
            _ => (StatusCode::NOT_FOUND, problem("there is list, show, review, end and codes")),
        }
    }

    async fn list_glass(&self, request: Request<Incoming>, uid: u32) -> Answer {
        let listing: Listing = match read(request, "a question about broken glasses").await {
            Ok(listing) => listing,
            Err(why) => return self.refuse("break_glass", uid, &why).await,
        };
        let now = jiff::Timestamp::now().as_second();
        let Ok(entries) = self.gate.entries(now, DAYS).await else { return store() };
        let mut told = Vec::new();
        for entry in entries {
            let Ok(is_reviewed) = self.gate.is_reviewed(&entry.id).await else { return store() };
            if listing.all || !is_reviewed {
                let mut one = of_entry(&entry);
                if let Value::Object(members) = &mut one {
                    members.insert("reviewed".to_owned(), is_reviewed.into());
                    members.insert("overdue".to_owned(), (!is_reviewed && entry.due < now).into());
                }
                told.push(one);
            }
        }
        (StatusCode::OK, json!({ "break_glass": told }))
    }

    async fn show_glass(&self, request: Request<Incoming>, uid: u32) -> Answer {
        let look: Look = match read(request, "a look at a broken glass").await {
            Ok(look) => look,
            Err(why) => return self.refuse("break_glass", uid, &why).await,
        };
        let Some(token) = Token::new(&look.token) else { return self.no_token("break_glass", uid).await };
        let by = Staff { token: &token, uid, now: jiff::Timestamp::now().as_second() };
        let live = self.current.load();
        match self.gate.show_broken_glass(&live.generation, &look.id, by).await {
            Ok((entry, case)) => {
                let mut told = of_entry(&entry);
                if let (Value::Object(members), Some(case)) = (&mut told, case) {
                    members.insert("patient".to_owned(), case.patient.as_ref().into());
                    members.insert("text".to_owned(), case.text.as_ref().into());
                }
                (StatusCode::OK, told)
            }
            Err(why) => self.withheld("break_glass", why, uid).await,
        }
    }

    async fn review_glass(&self, request: Request<Incoming>, uid: u32) -> Answer {
        let review: Review = match read(request, "a review").await {
            Ok(review) => review,
            Err(why) => return self.refuse("break_glass", uid, &why).await,
        };
        let finding = match review.finding.as_str() {
            "justified" => Finding::Justified,
            "unjustified" => Finding::Unjustified,
            _ => return self.refuse("break_glass", uid, "`finding` is `justified` or `unjustified`").await,
        };
        let Some(token) = Token::new(&review.token) else { return self.no_token("break_glass", uid).await };
        let by = Staff { token: &token, uid, now: jiff::Timestamp::now().as_second() };
        let live = self.current.load();
        match self.gate.review_broken_glass(&live.generation, &review.id, finding, by).await {
            Ok(entry) => (StatusCode::OK, json!({ "id": entry.id, "finding": finding.word() })),
            Err(why) => self.withheld("break_glass", why, uid).await,
        }
    }

    async fn end_glass(&self, request: Request<Incoming>, uid: u32) -> Answer {
        let one: One = match read(request, "an order to end what is open").await {
            Ok(one) => one,
            Err(why) => return self.refuse("break_glass", uid, &why).await,
        };
        let now = jiff::Timestamp::now().as_second();
        match self.gate.end_broken_glass(&one.id, uid, now).await {
            Ok(entry) => (StatusCode::OK, json!({ "id": entry.id, "ended": true })),
            Err(why) => self.withheld("break_glass", why, uid).await,
        }
    }

    async fn issue_codes(&self, request: Request<Incoming>, uid: u32) -> Answer {
        let order: Codes = match read(request, "an order of codes").await {
            Ok(order) => order,
            Err(why) => return self.refuse("break_glass", uid, &why).await,
        };
        if !(1..=MOST_CODES).contains(&order.count) || !(1..=MOST_CODE_DAYS).contains(&order.days) {
            return self
                .refuse("break_glass", uid, "at most 100 codes at a time, for at most 366 days")
                .await;
        }
        let live = self.current.load();
        let mut rights = live.generation.policy.break_glass.iter();
        let Some(right) = rights.find(|right| *right.name == *order.right && right.offline_codes) else {
            let why = "no right of this name has `offline_codes: true`";
            return self.refuse("break_glass", uid, why).await;
        };
        let valid = Duration::from_secs(order.days.saturating_mul(86_400));
        let now = jiff::Timestamp::now().as_second();
        match self.gate.issue_codes(right, (order.count, valid), (uid, now)).await {
            Ok(codes) => (StatusCode::OK, json!({ "codes": codes })),
            Err(why) => self.withheld("break_glass", why, uid).await,
        }
    }
}

fn of_entry(entry: &Entry) -> Value {
    json!({
        "id": entry.id, "right": entry.right, "action": entry.action, "issuer": entry.issuer, "subject": entry.subject,
        "code": entry.code, "opened": moment(entry.opened), "until": moment(entry.until), "due": moment(entry.due),
        "drill": entry.drill, "offline_code": entry.offline_code,
    })
}
