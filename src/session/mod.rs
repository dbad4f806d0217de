//! Floor 3: browsers that sign in, and the sessions they hold.
//!
//! The gateway is a relying party (OpenID Connect Core 1.0): `start` sends the browser to the issuer, `callback` takes
//! it back and begins a session, `resume` finds out whom a session speaks for and refreshes what is known of them,
//! `leave` ends it: by the person, or by the issuer on the back channel. A browser holds nothing but an opaque name;
//! what it stands for lies sealed in the state store, under the name's digest ([`record`]).

mod callback;
mod cookie;
mod device;
mod leave;
mod record;
mod refresh;
mod resume;
mod secret;
mod start;
mod step_up;
mod target;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::Method;
use quick_cache::sync::Cache;
use tokio::runtime::Handle;

use self::record::Live;
use self::refresh::Refreshing;
use self::step_up::Holding;
use crate::config::settings::{IssuerSettings, Origin, PagesSettings, SignInSettings};
use crate::decision::{Granted, Lookup};
use crate::enforce::ports::{RevocationClaim, RevocationKey, State};
use crate::enforce::prompts::Prompts;
use crate::enforce::revoke;
use crate::enforce::sessions::{Answer, Page, Place, Providers, Resumed, Sessions, Use, Visit, Visited};
use crate::enforce::step_up::{Again, Challenged, Offered, Taken};
use crate::identity::Subject;
use crate::policy::Policy;
use crate::request::credentials::SessionId;
use crate::request::device::DeviceId;

/// So many sessions are remembered for a moment, so that a page with many parts reads its session once.
const REMEMBERED: usize = 10_000;

/// The sessions of browsers, under one version of the configuration.
pub struct BrowserSessions {
    providers: Arc<dyn Providers>,
    state: Arc<dyn State>,
    /// The rules that proofs are measured by.
    policy: Arc<Policy>,
    /// Those who ask people elsewhere.
    prompts: Option<Arc<dyn Prompts>>,
    /// The pages' own host, where there is one.
    pages: Option<Origin>,
    /// By the policy's positions.
    issuers: Vec<Issuer>,
    /// Where refreshes run, so that they come to their end even where the browser goes away.
    runtime: Handle,
    known: Cache<Box<str>, Arc<Live>>,
    refreshing: Mutex<HashMap<Box<str>, (Refreshing, Instant)>>,
    holding: Holding,
}

struct Issuer {
    name: Box<str>,
    sign_in: Option<SignInSettings>,
    /// How long what was learnt from it is believed while it can't be asked.
    stale_for: Duration,
}

/// An issuer at which people sign in, at one host.
#[derive(Clone, Copy)]
struct Offer<'o> {
    position: usize,
    name: &'o str,
    settings: &'o SignInSettings,
    origin: &'o Origin,
}

impl BrowserSessions {
    /// Puts the parts together; `None` where nobody signs in. `issuers` stand in the policy's order.
    pub fn new(
        (issuers, pages): (&[IssuerSettings], &PagesSettings),
        policy: Arc<Policy>,
        (providers, prompts): (Arc<dyn Providers>, Option<Arc<dyn Prompts>>),
        state: Arc<dyn State>,
        runtime: Handle,
    ) -> Option<Arc<Self>> {
        if issuers.iter().all(|issuer| issuer.sign_in.is_none()) {
            return None;
        }
        let issuer = |issuer: &IssuerSettings| Issuer {
            name: issuer.name.clone(),
            sign_in: issuer.sign_in.clone(),
            stale_for: issuer.keys.stale_for,
        };
        Some(Arc::new(Self {
            providers,
            state,
            policy,
            prompts,
            pages: pages.origin.clone(),
            issuers: issuers.iter().map(issuer).collect(),
            runtime,
            known: Cache::new(REMEMBERED),
            refreshing: Mutex::default(),
            holding: Holding::default(),
        }))
    }

    /// Everybody at whom people sign in at a host.
    fn offers<'s>(&'s self, host: &'s str) -> impl Iterator<Item = Offer<'s>> {
        self.issuers.iter().enumerate().filter_map(move |(position, issuer)| {
            let settings = issuer.sign_in.as_ref()?;
            Some(Offer { position, name: &issuer.name, settings, origin: settings.origin(host)? })
        })
    }

    fn offer<'s>(&'s self, host: &'s str, name: &str) -> Option<Offer<'s>> {
        self.offers(host).find(|offer| offer.name == name)
    }

    /// An issuer, and its position.
    fn issuer(&self, name: &str) -> Option<(usize, &Issuer)> {
        self.issuers.iter().enumerate().find(|(_, issuer)| *issuer.name == *name)
    }

    /// Ends a session for good: whatever still lies in a store or a cache is refused from now on. Says whether that
    /// could be kept in mind.
    async fn end(&self, name: &str, issuer: &str, now: i64) -> bool {
        let absolute = self
            .issuer(issuer)
            .and_then(|(_, issuer)| issuer.sign_in.as_ref())
            .map_or(revoke::LONGEST_SESSION, |sign_in| sign_in.session.absolute);
        let key = RevocationKey { issuer, claim: RevocationClaim::TokenId, value: name };
        let moment = now.saturating_add(1);
        let revoked = self.state.revoke(&key, moment, absolute + record::MARGIN).await;
        self.known.remove(name);
        self.state.unseal(&record::refresh_key(name)).await;
        self.state.unseal(&record::raise_key(name)).await;
        self.state.unseal(&record::session_key(name)).await;
        revoked == crate::decision::Lookup::Found(())
    }
}

#[async_trait]
impl Sessions for BrowserSessions {
    fn serves(&self, host: &str) -> bool {
        self.offers(host).next().is_some() || self.pages_host() == Some(host)
    }

    fn pages_host(&self) -> Option<&str> {
        self.pages.as_ref().map(|origin| &*origin.host)
    }

    fn sign_in(
        &self,
        host: &str,
        issuers: &mut dyn Iterator<Item = Option<usize>>,
        target: &str,
    ) -> Option<String> {
        let mut fitting = Vec::new();
        for issuer in issuers {
            let of =
                self.offers(host).filter(|offer| issuer.is_none_or(|position| position == offer.position));
            fitting.extend(of.map(|offer| (offer.position, offer.name)));
        }
        fitting.sort_unstable();
        fitting.dedup();
        match fitting.as_slice() {
            [] => None,
            [(_, only)] => Some(start::link(Some(only), target, false)),
            _ => Some(start::link(None, target, false)),
        }
    }

    async fn resume(&self, id: &SessionId, host: &str, wanted: Use, now: i64) -> Resumed {
        self.resumed(id, host, wanted, now).await
    }

    async fn visit(&self, visit: &Visit<'_>) -> Visited {
        if self.is_at_pages(visit) {
            return self.visit_pages(visit).await;
        }
        match visit.place {
            Place::SignIn => self.start(visit).await,
            Place::Callback => self.call_back(visit).await,
            Place::SignOut => self.sign_out(visit).await,
            Place::SignedOut => Page::SignedOut.into(),
            Place::BackChannelLogout => self.back_channel_logout(visit).await,
            Place::StepUp => self.step_up(visit).await,
            Place::StepUpStatus => self.progress(visit).await,
            Place::Confirm if *visit.method == Method::GET => self.confirm(visit).await,
            // That is for the form of the pages' own host.
            Place::Confirm => self.unconfirmed("not_its_own_page", Page::Malformed),
            Place::CibaNotification => self.word(visit).await,
            Place::Script => Answer::Script.into(),
        }
    }

    async fn keep(&self, challenged: &Challenged<'_>) -> Option<Offered> {
        self.keep_request(challenged).await
    }

    async fn hold(&self, name: &str, challenged: &Challenged<'_>) -> Option<Visited> {
        self.held(name, challenged).await
    }

    async fn grant(&self, id: &SessionId, action: &str, now: i64) -> Lookup<Granted> {
        self.granted(id, action, now).await
    }

    async fn anonymous_grant(&self, id: &SessionId, host: &str, action: &str) -> Lookup<Granted> {
        self.anonymously_granted(id, host, action).await
    }

    async fn recognises(&self, device: &DeviceId, host: &str, subject: &Subject, now: i64) -> Lookup<()> {
        self.recognised(device, host, subject, now).await
    }

    async fn take(&self, name: &str, target: &str, visit: &Visit<'_>) -> Taken {
        self.taken(name, target, visit).await
    }

    async fn keep_again(&self, again: &Again, body: &[u8], now: i64) {
        self.kept_again(again, body, now).await;
    }
}
