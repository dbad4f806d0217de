//! Delegations at the operators' socket: granted, shown, looked at again, revoked.

use http::{Request, StatusCode};
use hyper::body::Incoming;
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Operators, moment, problem, read, store};
use crate::enforce::delegation::{Grant, Order};
use crate::enforce::staff::Staff;
use crate::request::credentials::Token;

/// How far back a list goes, in days: as long as anything holds.
const DAYS: i32 = 366;
/// The action in records of what was refused.
const ACTION: &str = "delegation";

/// What the addresses below this begin with.
pub(super) const BELOW: &str = "/v1/delegations/";

/// What is to be granted, and by whom.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Granting {
    /// The grantor's own access token.
    token: String,
    relation: String,
    person: String,
    /// What the patient calls them.
    name: Option<String>,
    patient: String,
    #[serde(default)]
    actions: Vec<Box<str>>,
    /// The last moment (RFC 3339).
    until: Option<jiff::Timestamp>,
    /// The patient's day of birth.
    born: Option<Date>,
}

/// Which ones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    /// Also those that are over.
    #[serde(default)]
    all: bool,
    /// Those only that must be looked at within so many days.
    due_within_days: Option<u16>,
}

/// All of one patient's, and who asks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    token: String,
    patient: String,
}

/// One of them, and who asks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Review {
    token: String,
    id: String,
}

/// One of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    id: String,
}

impl Operators {
    /// Answers a call below [`BELOW`].
    pub(super) async fn delegations(&self, what: &str, request: Request<Incoming>, uid: u32) -> Answer {
        let now = jiff::Timestamp::now().as_second();
        match what {
            "grant" => self.grant(request, (uid, now)).await,
            "list" => self.list(request, (uid, now)).await,
            "show" => self.show(request, (uid, now)).await,
            "review" => self.review(request, (uid, now)).await,
            "revoke" => self.revoke(request, (uid, now)).await,
            _ => (StatusCode::NOT_FOUND, problem("there is grant, list, show, review and revoke")),
        }
    }

    async fn grant(&self, request: Request<Incoming>, (uid, now): (u32, i64)) -> Answer {
        let granting: Granting = match read(request, "a delegation").await {
            Ok(granting) => granting,
            Err(why) => return self.refuse(ACTION, uid, &why).await,
        };
        let Some(token) = Token::new(&granting.token) else { return self.no_token(ACTION, uid).await };
        let order = Order {
            relation: &granting.relation,
            person: &granting.person,
            name: granting.name.as_deref(),
            patient: &granting.patient,
            actions: &granting.actions,
            until: granting.until.map(jiff::Timestamp::as_second),
            born: granting.born,
        };
        let live = self.current.load();
        let by = Staff { token: &token, uid, now };
        match self.gate.grant_delegation(&live.generation, &order, by).await {
            Ok(grant) => (StatusCode::CREATED, of_grant(&grant, now)),
            Err(why) => self.withheld(ACTION, why, uid).await,
        }
    }

    /// Whose records they are is not told: that is for whoever shows a token.
    async fn list(&self, request: Request<Incoming>, (uid, now): (u32, i64)) -> Answer {
        let listing: Listing = match read(request, "a question about delegations").await {
            Ok(listing) => listing,
            Err(why) => return self.refuse(ACTION, uid, &why).await,
        };
        let Ok(grants) = self.gate.grants(now, DAYS).await else { return store() };
        let due = listing.due_within_days.map(|days| now.saturating_add(i64::from(days) * 86_400));
        let mut told = Vec::new();
        for grant in grants {
            let Ok(is_ended) = self.gate.is_ended(&grant).await else { return store() };
            let is_over = is_ended || now >= grant.until;
            if (is_over && !listing.all) || due.is_some_and(|due| is_over || grant.review_due > due) {
                continue;
            }
            let mut one = of_grant(&grant, now);
            if let Value::Object(members) = &mut one {
                members.remove("patient");
                members.remove("name");
                members.insert("over".to_owned(), is_over.into());
            }
            told.push(one);
        }
        (StatusCode::OK, json!({ "delegations": told }))
    }

    async fn show(&self, request: Request<Incoming>, (uid, now): (u32, i64)) -> Answer {
        let look: Look = match read(request, "a look at a patient's delegations").await {
            Ok(look) => look,
            Err(why) => return self.refuse(ACTION, uid, &why).await,
        };
        let Some(token) = Token::new(&look.token) else { return self.no_token(ACTION, uid).await };
        let live = self.current.load();
        let by = Staff { token: &token, uid, now };
        match self.gate.show_delegations(&live.generation, &look.patient, by).await {
            Ok(grants) => {
                let told: Vec<Value> = grants.iter().map(|grant| of_grant(grant, now)).collect();
                (StatusCode::OK, json!({ "delegations": told }))
            }
            Err(why) => self.withheld(ACTION, why, uid).await,
        }
    }

    async fn review(&self, request: Request<Incoming>, (uid, now): (u32, i64)) -> Answer {
        let review: Review = match read(request, "a review").await {
            Ok(review) => review,
            Err(why) => return self.refuse(ACTION, uid, &why).await,
        };
        let Some(token) = Token::new(&review.token) else { return self.no_token(ACTION, uid).await };
        let live = self.current.load();
        let by = Staff { token: &token, uid, now };
        match self.gate.review_delegation(&live.generation, &review.id, by).await {
            Ok(grant) => (StatusCode::OK, of_grant(&grant, now)),
            Err(why) => self.withheld(ACTION, why, uid).await,
        }
    }

    async fn revoke(&self, request: Request<Incoming>, (uid, now): (u32, i64)) -> Answer {
        let one: One = match read(request, "an order to end a delegation").await {
            Ok(one) => one,
            Err(why) => return self.refuse(ACTION, uid, &why).await,
        };
        match self.gate.revoke_delegation(&one.id, uid, now).await {
            Ok(grant) => (StatusCode::OK, json!({ "id": grant.id, "ended": true })),
            Err(why) => self.withheld(ACTION, why, uid).await,
        }
    }
}

fn of_grant(grant: &Grant, now: i64) -> Value {
    json!({
        "id": grant.id, "relation": grant.relation, "issuer": grant.issuer, "person": grant.person, "name": grant.name,
        "patient": grant.patient, "actions": grant.actions, "granted": moment(grant.granted),
        "until": moment(grant.until), "review_due": moment(grant.review_due),
        "overdue": now >= grant.review_due && now < grant.until,
    })
}
