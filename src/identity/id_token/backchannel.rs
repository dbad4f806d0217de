//! ID tokens that answer a question put on the back channel (OpenID Connect CIBA Core 1.0 §10.1).

use serde_json::{Map, Value};

use super::{Expected, IdTokenFault, check};
use crate::identity::Level;
use crate::identity::claims::{CLOCK_SKEW, Reader, identifier};
use crate::identity::issuer::IssuerRules;
use crate::identity::jwt::Media;

/// The claim by which an issuer says which question it answers (CIBA Core 1.0 §10.3.1).
const QUESTION: &str = "urn:openid:params:jwt:claim:auth_req_id";

/// The question that must have been answered.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// The issuer's name for it.
    pub id: &'q str,
    /// When it was put, in Unix seconds.
    pub asked_at: i64,
    /// Our name at the issuer.
    pub client_id: &'q str,
    /// Now, in Unix seconds.
    pub now: i64,
}

/// Who has given which proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// The issuer's name for the person.
    pub subject: Box<str>,
    /// What the proof is worth, by the issuer's assurance rules.
    pub level: Level,
    /// The methods (RFC 8176).
    pub methods: Vec<Box<str>>,
    /// When the person authenticated, in Unix seconds.
    pub authenticated_at: i64,
}

/// Checks an ID token whose signature is good, and reads what it proves. Whom it must speak of, and which level is
/// enough, is for the caller to judge.
///
/// # Errors
/// The first thing that is wrong with it. One that does not say when the person authenticated, or how, proves nothing.
pub fn answer(
    media: Media,
    claims: &Map<String, Value>,
    rules: &IssuerRules,
    question: &Question<'_>,
) -> Result<Authentication, IdTokenFault> {
    let expected = Expected {
        client_id: question.client_id,
        nonce: None,
        subject: None,
        authenticated_since: None,
        now: question.now,
    };
    check(media, claims, &expected)?;
    let reader = Reader(claims);
    if reader.text(QUESTION)?.is_some_and(|id| id != question.id) {
        return Err(IdTokenFault::Nonce);
    }
    // Issued before the question was put, it can't be the answer; not every issuer names the question.
    let issued_at = reader.seconds("iat")?.ok_or(IdTokenFault::Claim)?;
    if issued_at < question.asked_at.saturating_sub(CLOCK_SKEW) {
        return Err(IdTokenFault::Time);
    }
    let methods = reader.texts("amr")?;
    let level = rules.assurance.level(reader.text("acr")?, &methods);
    let authenticated_at = reader.seconds("auth_time")?.ok_or(IdTokenFault::Authentication)?;
    if level == Level::NONE {
        return Err(IdTokenFault::Authentication);
    }
    let subject = identifier(reader.text("sub")?.ok_or(IdTokenFault::Claim)?)?;
    Ok(Authentication { subject, level, methods, authenticated_at })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::testing::{NOW, changed, rules};

    fn verdict(change: &Value) -> Result<Authentication, IdTokenFault> {
        let good = json!({
            "iss": "https://login.test/realms/people", "aud": "phone", "sub": "alice", "iat": NOW - 1,
            "exp": NOW + 300, "auth_time": NOW - 2, "acr": "loa2", "amr": ["pwd", "hwk"], QUESTION: "q-1",
        });
        let claims = changed(good, change).as_object().expect("object").clone();
        let question = Question { id: "q-1", asked_at: NOW - 20, client_id: "phone", now: NOW };
        answer(Media::Plain, &claims, &rules(), &question)
    }

    #[test]
    fn who_has_given_which_proof_and_when() {
        let found = verdict(&json!({})).expect("good");
        assert_eq!((&*found.subject, found.authenticated_at), ("alice", NOW - 2));
        assert_eq!(found.methods, [Box::from("pwd"), Box::from("hwk")]);
        assert!(found.level > Level::NONE);
        // Not every issuer names the question.
        assert_eq!(verdict(&json!({ QUESTION: null })), Ok(found.clone()));
        // Somebody else's proof is no lie of the issuer: whom it is about is judged elsewhere.
        assert_eq!(&*verdict(&json!({ "sub": "bob" })).expect("good").subject, "bob");
        let weaker = verdict(&json!({ "acr": "loa1" })).expect("good");
        assert!(weaker.level < found.level && weaker.level > Level::NONE);
    }

    #[test]
    fn an_answer_to_another_question_or_without_proof_is_refused() {
        for (change, fault) in [
            (json!({ QUESTION: "q-2" }), IdTokenFault::Nonce),
            (json!({ QUESTION: 7 }), IdTokenFault::Claim),
            (json!({ "iat": NOW - 51 }), IdTokenFault::Time),
            (json!({ "iat": NOW + 31 }), IdTokenFault::Time),
            (json!({ "nbf": NOW + 31 }), IdTokenFault::Time),
            (json!({ "exp": NOW }), IdTokenFault::Time),
            (json!({ "aud": "desk" }), IdTokenFault::Audience),
            (json!({ "azp": "desk" }), IdTokenFault::Audience),
            (json!({ "auth_time": null }), IdTokenFault::Authentication),
            (json!({ "auth_time": NOW + 31 }), IdTokenFault::Time),
            (json!({ "auth_time": "yesterday" }), IdTokenFault::Claim),
            (json!({ "acr": null, "amr": null }), IdTokenFault::Authentication),
            (json!({ "acr": "unheard of", "amr": ["unheard of"] }), IdTokenFault::Authentication),
            (json!({ "sub": null }), IdTokenFault::Claim),
            (json!({ "events": {} }), IdTokenFault::Type),
        ] {
            assert_eq!(verdict(&change), Err(fault), "{change}");
        }
    }
}
