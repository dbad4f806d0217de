//! What the gateway's own pages say, before it has words or looks.

use super::break_glass::Form;
use crate::request::shown::Shown;

/// One who can be chosen to sign in at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What people call it; empty is signing in again, in the page's language.
    pub label: Box<str>,
    /// Where it begins.
    pub link: String,
}

/// Somebody who acts for a patient, as the patient is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActsForYou {
    /// What the patient calls them, or by what the issuer knows them.
    pub name: Box<str>,
    /// The relation's name.
    pub relation: Box<str>,
    /// The last day.
    pub until: String,
    /// Whether it waits for somebody to look at it.
    pub waits: bool,
}

/// What a page says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// At whom do you want to sign in?
    Chooser(Vec<Choice>),
    /// Do you want to sign out? The form may lead to these origins.
    ConfirmSignOut {
        /// The issuer's origin, where signing out goes on there.
        leads_to: Option<Box<str>>,
    },
    /// You are signed out.
    SignedOut,
    /// The sign-in took too long, or began elsewhere; where to begin anew.
    Expired(String),
    /// The issuer did not vouch for you; where to begin anew.
    Failed(String),
    /// The issuer or the store can't be reached; where to try again.
    Outage(String),
    /// The request makes no sense here.
    Malformed,
    /// A fresh proof is needed that it is you.
    StepUp {
        /// What people call the action.
        label: Option<Box<str>>,
        /// How it can be given; the first is the one to take.
        ways: Vec<Choice>,
        /// What was sent is kept, and its sending will be asked for.
        kept: bool,
        /// What was sent could not be kept.
        lost: bool,
        /// Where one goes who does not want it, where that is known.
        back: Option<String>,
    },
    /// Is this what you want to be done?
    Confirm {
        /// What people call the action.
        label: Option<Box<str>>,
        /// Whose session it is, where the page stands on a host that has no other sign of that.
        account: Option<Box<str>>,
        /// What was sent.
        shown: Vec<Shown>,
        /// Where the form with the one button posts to.
        action: String,
        /// Where one goes who does not want it.
        cancel: String,
    },
    /// Look at your phone.
    Waiting {
        /// What people call the action.
        label: Option<Box<str>>,
        /// What the phone must show too; empty where it was asked before there was a page.
        code: Box<str>,
        /// How long an answer may take until it is known here, in seconds.
        seconds: u32,
        /// Where to look for it.
        here: String,
        /// Other ways.
        others: Vec<Choice>,
        /// Where one goes who gives up.
        cancel: String,
    },
    /// It is confirmed; go on in the other window.
    Proven,
    /// What a script had asked for was sent.
    Sent {
        /// The service accepted it.
        ok: bool,
        /// Where to go on.
        back: String,
    },
    /// This was sent before, and is not sent again; where to look.
    AlreadySent(String),
    /// What was sent is no longer kept; where to begin anew.
    IntentGone(String),
    /// The way to this page was gone before, or took too long; where to begin it anew.
    LinkGone(String),
    /// It was kept for somebody else than who is signed in now; where to go.
    OtherPerson(String),
    /// The proof was not given, was not enough, or came too late.
    ProofRefused {
        /// Where to try again.
        again: String,
        /// Other ways.
        others: Vec<Choice>,
        /// Where one goes who does not want it, where that is known.
        back: Option<String>,
    },
    /// A way can't be used now.
    WayOutage {
        /// Where to try again.
        again: String,
        /// Other ways.
        others: Vec<Choice>,
    },
    /// Why do you want to open this record?
    BreakGlass(Form),
    /// A fresh proof is needed before; where to sign in again.
    BreakGlassProof(String),
    /// Earlier uses were not reviewed in time; where to go back.
    BreakGlassSuspended(String),
    /// It was a drill; where to go back.
    BreakGlassDrill(String),
    /// Who acts for you.
    Delegations {
        /// Each of them.
        people: Vec<ActsForYou>,
        /// Where each is ended, by the person's name.
        ends: Vec<Choice>,
    },
    /// Do you want to end this?
    EndDelegation {
        /// What the patient calls the person.
        name: Box<str>,
        /// Where the form with the one button posts to.
        action: String,
        /// Where one goes who does not want it.
        back: &'static str,
    },
    /// Nobody is asked on the phone any more; other ways.
    TooManyPrompts(Vec<Choice>),
}
