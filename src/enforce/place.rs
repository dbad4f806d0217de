//! The gateway's own pages: which there are, and where.

use http::Method;

/// The path under which the gateway's own pages lie, on every host at which people sign in.
pub const OWN_PATH: &str = "/_wardgate";

/// Where patients see who acts for them: the one own page at which somebody wants to be who has just signed in.
pub const DELEGATIONS: &str = "/_wardgate/delegations";

/// One of the gateway's own pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Where a sign-in begins.
    SignIn,
    /// Where an issuer sends the browser back to; issuers that don't name themselves each have a place below it.
    Callback,
    /// Where a session is ended.
    SignOut,
    /// What is shown after that.
    SignedOut,
    /// Where an issuer ends sessions (OpenID Connect Back-Channel Logout 1.0).
    BackChannelLogout,
    /// Where a step-up begins, and where its person waits.
    StepUp,
    /// Where a script asks how far it is.
    StepUpStatus,
    /// Where the person sees what will be done, and confirms it.
    Confirm,
    /// Where an issuer says that a person has answered on the phone (ping, OpenID Connect CIBA Core 1.0 §10.2).
    CibaNotification,
    /// The script by which a single-page application's `fetch` asks for proof.
    Script,
}

impl Place {
    const ALL: [Self; 10] = [
        Self::SignIn,
        Self::Callback,
        Self::SignOut,
        Self::SignedOut,
        Self::BackChannelLogout,
        Self::StepUp,
        Self::StepUpStatus,
        Self::Confirm,
        Self::CibaNotification,
        Self::Script,
    ];

    /// Its path.
    pub const fn path(self) -> &'static str {
        match self {
            Self::SignIn => "/_wardgate/sign-in",
            Self::Callback => "/_wardgate/callback",
            Self::SignOut => "/_wardgate/sign-out",
            Self::SignedOut => "/_wardgate/signed-out",
            Self::BackChannelLogout => "/_wardgate/back-channel-logout",
            Self::StepUp => "/_wardgate/step-up",
            Self::StepUpStatus => "/_wardgate/step-up/status",
            Self::Confirm => "/_wardgate/confirm",
            Self::CibaNotification => "/_wardgate/ciba-notification",
            Self::Script => "/_wardgate/step-up.js",
        }
    }

    /// The page at a path.
    pub fn find(path: &str) -> Option<Self> {
        let issuer = path.strip_prefix(Self::Callback.path()).and_then(|rest| rest.strip_prefix('/'));
        if issuer.is_some_and(|issuer| !issuer.is_empty() && !issuer.contains('/')) {
            return Some(Self::Callback);
        }
        Self::ALL.into_iter().find(|place| place.path() == path)
    }

    /// Whether it takes a request of this method.
    pub fn takes(self, method: &Method) -> bool {
        match self {
            Self::SignIn
            | Self::Callback
            | Self::SignedOut
            | Self::StepUp
            | Self::StepUpStatus
            | Self::Script => *method == Method::GET,
            // On a host of the pages' own the form leads here too.
            Self::Confirm | Self::SignOut => *method == Method::GET || *method == Method::POST,
            Self::BackChannelLogout | Self::CibaNotification => *method == Method::POST,
        }
    }
}

/// Whether a path is the gateway's own.
pub fn is_own_path(path: &str) -> bool {
    path.strip_prefix(OWN_PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
