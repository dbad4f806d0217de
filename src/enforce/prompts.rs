//! What the gateway needs to ask a person for proof elsewhere than in the browser, as a trait: on a phone, or by another
//! service.

use std::time::Duration;

use async_trait::async_trait;

use crate::identity::Level;
use crate::request::account::Account;

/// The issuer of people who have not signed in: nobody vouches for them, and their `subject` is by what the one who asks
/// knows the account ([`Prompts::account_name`]).
pub const NOBODY: &str = "urn:wardgate:anonymous";

/// What a person is asked, and how it is made sure that it is this one.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// The issuer of the person's session: its exact `iss`.
    pub issuer: &'a str,
    /// The issuer's name for the person.
    pub subject: &'a str,
    /// The person's last ID token, by which the issuer knows who is meant (OpenID Connect CIBA Core 1.0 §7.1).
    pub id_token: Option<&'a str>,
    /// What people call the action.
    pub label: &'a str,
    /// The code that stands on the page too, so that the person tells this prompt from somebody else's; empty where a
    /// request is held and no page shows one.
    pub code: &'a str,
    /// The issuer's words for a sufficient level, the weakest first.
    pub acr_values: &'a [Box<str>],
    /// The language of the page, as a tag (RFC 5646).
    pub language: &'a str,
    /// Where the browser is to come back to, where the way leads through a page.
    pub come_back: &'a str,
    /// By what who asks shows that it is them, where they are to send word when there is an answer (OpenID Connect CIBA
    /// Core 1.0 §7.1).
    pub notification_token: Option<&'a str>,
}

/// A question that was put. No `Debug`: who knows its handle may ask for the answer.
#[derive(Clone)]
pub struct Asked {
    /// By what the answer is asked for: a secret between us and who asks, kept sealed.
    pub handle: Box<str>,
    /// How long to wait before asking for the answer, and between two times.
    pub interval: Duration,
    /// How long the person has.
    pub expires_in: Duration,
    /// The page at which the person is asked, where there is one.
    pub page: Option<Box<str>>,
}

/// What has become of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// Nothing yet; how long to wait before the next look.
    Waiting(Duration),
    /// The person has given proof.
    Proven(Proof),
    /// The person said no.
    Declined,
    /// The person said nothing in time.
    Expired,
}

/// What was proven, by somebody whose signature or connection was checked. Whether it is enough, and about the right
/// person, is for the caller to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The issuer's name for the person.
    pub subject: Box<str>,
    /// The level that it is worth.
    pub level: Level,
    /// The methods that were used (RFC 8176).
    pub methods: Vec<Box<str>>,
    /// When the person authenticated, in Unix seconds.
    pub authenticated_at: i64,
}

/// Why a question can't be put, or its answer not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptFault {
    /// Who asks can't be reached, or gives no usable answer: another way may do.
    Unavailable,
    /// Who asks does not know the person, or has no way to ask them.
    NotReachable,
    /// The answer is not what its issuer would have sent, or not about this question; the word for the audit record.
    Refused(&'static str),
}

/// Those who ask. A way is its position in [`crate::policy::Policy::ways`]; one without an asker is
/// [`PromptFault::Unavailable`]. Implementations never panic, and answer within their own time limit.
#[async_trait]
pub trait Prompts: Send + Sync {
    /// Puts a question.
    async fn ask(&self, way: usize, ask: &Ask<'_>) -> Result<Asked, PromptFault>;

    /// Looks for the answer. Asked more often than the interval says, it may answer [`Answered::Waiting`] without asking
    /// anybody. `now` is in Unix seconds.
    async fn answered(&self, way: usize, handle: &str, now: i64) -> Result<Answered, PromptFault>;

    /// By what the one who asks on this way knows an account whose person has not signed in: a digest with a key that only
    /// the two have. `None` where nobody on this way asks such people.
    fn account_name(&self, way: usize, account: &Account) -> Option<Box<str>>;

    /// Whether the question of this handle has this name at who asks (`auth_req_id`).
    fn is_named(&self, way: usize, handle: &str, name: &str) -> bool;

    /// Who asks has sent word that there is an answer: the next look need not wait, for once.
    fn hasten(&self, way: usize, handle: &str);

    /// Takes a question back that is not needed any more, as far as that goes.
    async fn take_back(&self, way: usize, handle: &str);
}
