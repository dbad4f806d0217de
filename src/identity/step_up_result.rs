//! Signed results of services that ask people for proof: the contract of `docs/step-up-service.yaml`.

use serde_json::{Map, Value};

use super::TokenFault;
use super::claims::{CLOCK_SKEW, Reader, identifier};
use super::jwt::Media;

/// Who a result must be for.
const AUDIENCE: &str = "wardgate";
/// A result that lives longer could be shown long after the person was there, in seconds.
const MOST_LIFETIME: i64 = 600;
/// More methods than anybody uses for one authentication.
const MOST_METHODS: usize = 20;

/// The prompt that a result must be about.
#[derive(Debug, Clone, Copy)]
pub struct Prompted<'p> {
    /// The service's name for it.
    pub id: &'p str,
    /// The number that we gave it, and nobody else.
    pub nonce: &'p str,
    /// When it was put, in Unix seconds.
    pub asked_at: i64,
    /// Now, in Unix seconds.
    pub now: i64,
}

/// Who has authenticated, how and when. What that is worth is not the service's to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The issuer's name for the person.
    pub subject: Box<str>,
    /// The methods (RFC 8176).
    pub methods: Vec<Box<str>>,
    /// When the person authenticated, in Unix seconds.
    pub authenticated_at: i64,
}

/// Why a result is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultFault {
    /// It is another kind of token.
    Type,
    /// It is for somebody else.
    Audience,
    /// It is about another prompt.
    Prompt,
    /// It does not hold our number for this prompt.
    Nonce,
    /// It has expired, lives too long, is older than the prompt, or from the future.
    Time,
    /// It does not say when and how the person authenticated.
    Authentication,
    /// A claim is missing, or is not what it should be.
    Claim,
}

impl ResultFault {
    /// The stable name for audit records.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Type => "result_type",
            Self::Audience => "result_audience",
            Self::Prompt => "result_other_prompt",
            Self::Nonce => "result_nonce",
            Self::Time => "result_time",
            Self::Authentication => "result_authentication",
            Self::Claim => "result_claim",
        }
    }
}

impl From<TokenFault> for ResultFault {
    fn from(_: TokenFault) -> Self {
        Self::Claim
    }
}

/// Checks a result whose signature is good, and whose `iss` is the service's. Whom it must speak of is for the caller to
/// judge.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(
    media: Media,
    claims: &Map<String, Value>,
    prompted: &Prompted<'_>,
) -> Result<Shown, ResultFault> {
    // A key that signs other tokens too must not make one of them a proof (RFC 8725 §3.11).
    if media != Media::StepUp {
        return Err(ResultFault::Type);
    }
    let reader = Reader(claims);
    let is = |name: &str, wanted: &str, fault| {
        if reader.text(name)? == Some(wanted) { Ok(()) } else { Err(fault) }
    };
    is("aud", AUDIENCE, ResultFault::Audience)?;
    is("jti", prompted.id, ResultFault::Prompt)?;
    is("nonce", prompted.nonce, ResultFault::Nonce)?;
    let seconds = |name: &str, fault| reader.seconds(name)?.ok_or(fault);
    let (issued_at, expires_at) = (seconds("iat", ResultFault::Claim)?, seconds("exp", ResultFault::Claim)?);
    let not_before = reader.seconds("nbf")?.unwrap_or(issued_at);
    let soon = prompted.now.saturating_add(CLOCK_SKEW);
    let is_timely = issued_at >= prompted.asked_at.saturating_sub(CLOCK_SKEW)
        && issued_at <= soon
        && not_before <= soon
        && expires_at > prompted.now
        && expires_at.saturating_sub(issued_at) <= MOST_LIFETIME;
    if !is_timely {
        return Err(ResultFault::Time);
    }
    let authenticated_at = seconds("auth_time", ResultFault::Authentication)?;
    if authenticated_at > soon {
        return Err(ResultFault::Time);
    }
    let methods = reader.texts("amr")?;
    if methods.is_empty() || methods.len() > MOST_METHODS {
        return Err(ResultFault::Authentication);
    }
    let subject = identifier(reader.text("sub")?.ok_or(ResultFault::Claim)?)?;
    Ok(Shown { subject, methods, authenticated_at })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::testing::{NOW, changed};

    fn verdict_as(media: Media, change: &Value) -> Result<Shown, ResultFault> {
        let good = json!({
            "iss": "https://proof.test/v1", "aud": "wardgate", "sub": "alice", "jti": "p-1", "nonce": "n-1",
            "iat": NOW - 1, "exp": NOW + 60, "auth_time": NOW - 2, "amr": ["face", "mfa"],
        });
        let claims = changed(good, change).as_object().expect("object").clone();
        let prompted = Prompted { id: "p-1", nonce: "n-1", asked_at: NOW - 20, now: NOW };
        check(media, &claims, &prompted)
    }

    #[test]
    fn who_was_there_how_and_when() {
        let found = verdict_as(Media::StepUp, &json!({})).expect("good");
        assert_eq!((&*found.subject, found.authenticated_at), ("alice", NOW - 2));
        assert_eq!(found.methods, [Box::from("face"), Box::from("mfa")]);
        // Whom it must speak of is judged elsewhere.
        let other = verdict_as(Media::StepUp, &json!({"sub": "bob"})).expect("good");
        assert_eq!(&*other.subject, "bob");
        // At the edges of what clocks may differ by.
        for change in [
            json!({"iat": NOW + 30, "auth_time": NOW + 30}),
            json!({"iat": NOW - 50}),
            json!({"exp": NOW + 1}),
            json!({"iat": NOW, "exp": NOW + 600}),
            json!({"nbf": NOW + 30}),
        ] {
            assert!(verdict_as(Media::StepUp, &change).is_ok(), "{change}");
        }
    }

    #[test]
    fn each_claim_that_is_wrong_or_missing_makes_it_worthless() {
        use ResultFault as F;
        for (change, fault) in [
            (json!({"aud": null}), F::Audience),
            (json!({"aud": "portal"}), F::Audience),
            (json!({"aud": ["wardgate", "portal"]}), F::Claim),
            (json!({"jti": null}), F::Prompt),
            (json!({"jti": "p-2"}), F::Prompt),
            (json!({"nonce": null}), F::Nonce),
            (json!({"nonce": "n-2"}), F::Nonce),
            (json!({"nonce": 1}), F::Claim),
            (json!({"iat": null}), F::Claim),
            (json!({"iat": NOW + 31}), F::Time),
            (json!({"iat": NOW - 51}), F::Time),
            (json!({"exp": null}), F::Claim),
            (json!({"exp": NOW}), F::Time),
            (json!({"iat": NOW, "exp": NOW + 601}), F::Time),
            (json!({"exp": "soon"}), F::Claim),
            (json!({"nbf": NOW + 31}), F::Time),
            (json!({"auth_time": null}), F::Authentication),
            (json!({"auth_time": NOW + 31}), F::Time),
            (json!({"auth_time": "now"}), F::Claim),
            (json!({"amr": null}), F::Authentication),
            (json!({"amr": []}), F::Authentication),
            (json!({"amr": 7}), F::Claim),
            (json!({"sub": null}), F::Claim),
            (json!({"sub": ""}), F::Claim),
        ] {
            assert_eq!(verdict_as(Media::StepUp, &change), Err(fault), "{change}");
        }
    }

    #[test]
    fn no_other_token_is_a_result() {
        for media in [Media::AccessToken, Media::Logout, Media::SecurityEvent, Media::Plain, Media::Other] {
            assert_eq!(verdict_as(media, &json!({})), Err(ResultFault::Type), "{media:?}");
        }
    }
}
