//! The end of a session: the person signs out, or the issuer says so on the back channel.

use std::time::Duration;

use http::Method;
use reqwest::Url;

use super::record::MARGIN;
use super::{BrowserSessions, cookie};
use crate::decision::Lookup;
use crate::enforce::ports::{RevocationClaim, RevocationKey};
use crate::enforce::revoke;
use crate::enforce::sessions::{Answer, Page, Place, ProviderFault, SessionFact, Visit, Visited};
use crate::identity::id_token::{self, Logout};
use crate::identity::jwt::UnverifiedJwt;
use crate::request::cookies;
use crate::request::credentials::MAX_TOKEN_BYTES;
use crate::request::fetch::From;
use crate::state::spent::ProofKey;

/// How long it is remembered that a logout token was used: longer than one is taken.
const REMEMBER_TOKEN: Duration = Duration::from_secs(30 * 60);
/// How far the issuer's clock may be behind ours, in seconds.
const CLOCKS_DIFFER: i64 = 30;

impl BrowserSessions {
    /// Asks whether the person wants to sign out, or does it.
    pub(super) async fn sign_out(&self, visit: &Visit<'_>) -> Visited {
        let presented = self.presented(visit).await;
        if *visit.method == Method::GET {
            // A link on another's page must not sign anybody out.
            return match presented {
                Lookup::Found((_, record)) => {
                    let leads_to = self
                        .end_session(&record.issuer)
                        .await
                        .map(|url| url.origin().ascii_serialization().into());
                    Page::ConfirmSignOut { leads_to }.into()
                }
                Lookup::Absent => Page::SignedOut.into(),
                Lookup::Unavailable => Page::Outage(Place::SignOut.path().to_owned()).into(),
            };
        }
        if visit.facts.fetch.from != From::Own {
            return Page::Malformed.into();
        }
        let gone = vec![cookie::gone(cookies::SESSION)];
        let (name, record) = match presented {
            Lookup::Found(found) => found,
            Lookup::Absent => {
                return Visited { cookies: gone, ..Answer::GoTo(Place::SignedOut.path().to_owned()).into() };
            }
            Lookup::Unavailable => {
                // Nobody can promise that the session has ended: the browser keeps it, to try again.
                let fact =
                    SessionFact { what: "sign_out", result: "store_unavailable", ..SessionFact::default() };
                return Visited { fact: Some(fact), ..Page::Outage(Place::SignOut.path().to_owned()).into() };
            }
        };
        let sign_in = self.issuer(&record.issuer).and_then(|(_, issuer)| issuer.sign_in.as_ref());
        let has_ended = self.end(&name, &record.issuer, visit.now).await;
        let result = if has_ended { "ok" } else { "store_unavailable" };
        let fact = record.fact("sign_out", result, name);
        let answer = if has_ended {
            Answer::GoTo(self.onward(visit, &record.issuer, &record.id_token).await)
        } else {
            // The browser keeps it, to try again.
            Answer::Page(Page::Outage(Place::SignOut.path().to_owned()))
        };
        let cookies = if has_ended { gone } else { Vec::new() };
        // The application's own cookies and pages are the last person's, too.
        let clears_browser = has_ended && sign_in.is_some_and(|sign_in| sign_in.shared_workstation);
        Visited { answer, cookies, clears_browser, fact: Some(fact) }
    }

    /// Where the browser goes on: to the issuer, so that it signs out there too (RP-Initiated Logout 1.0 §2).
    async fn onward(&self, visit: &Visit<'_>, issuer: &str, id_token: &str) -> String {
        let own = Place::SignedOut.path();
        let Some(offer) = self.offer(visit.facts.host.as_str(), issuer) else { return own.to_owned() };
        let Some(mut address) = self.end_session(issuer).await else { return own.to_owned() };
        address
            .query_pairs_mut()
            .append_pair("id_token_hint", id_token)
            .append_pair("client_id", &offer.settings.client_id)
            .append_pair("post_logout_redirect_uri", &format!("{}{own}", offer.origin.text));
        address.into()
    }

    async fn end_session(&self, issuer: &str) -> Option<Url> {
        let (position, _) = self.issuer(issuer)?;
        let provider = self.providers.provider(position).await?;
        Url::parse(provider.end_session.as_deref()?).ok()
    }

    /// Takes a logout token (Back-Channel Logout 1.0 §2.5).
    pub(super) async fn back_channel_logout(&self, visit: &Visit<'_>) -> Visited {
        let fact = |result, issuer: Option<&str>, logout: Option<&Logout>| SessionFact {
            what: "back_channel_logout",
            result,
            issuer: issuer.map(Into::into),
            subject: logout.and_then(|logout| logout.subject.clone()),
            session: logout.and_then(|logout| logout.session.clone()),
            account: None,
        };
        let (answer, fact) = match self.logout_token(visit).await {
            Err((answer, why)) => (answer, fact(why, None, None)),
            Ok((name, logout)) => {
                let issuer = Some(name.as_ref());
                if self.log_out(&name, &logout, visit.now).await {
                    (Answer::LogoutTaken, fact("ok", issuer, Some(&logout)))
                } else {
                    (Answer::LogoutUnavailable, fact("store_unavailable", issuer, Some(&logout)))
                }
            }
        };
        Visited { fact: Some(fact), ..answer.into() }
    }

    /// The token of the form, and whose it is.
    async fn logout_token(&self, visit: &Visit<'_>) -> Result<(Box<str>, Logout), (Answer, &'static str)> {
        let refused = |why| (Answer::LogoutRefused, why);
        let form = visit.form.as_deref().unwrap_or_default();
        let mut tokens = form_urlencoded::parse(form).filter(|(name, _)| name == "logout_token");
        let (Some((_, token)), None) = (tokens.next(), tokens.next()) else {
            return Err(refused("logout_token_missing"));
        };
        if token.len() > MAX_TOKEN_BYTES {
            return Err(refused("logout_token_malformed"));
        }
        let jwt = UnverifiedJwt::parse(&token).map_err(|fault| refused(fault.code()))?;
        let rules = |position| self.providers.rules(position);
        let found = self.issuers.iter().enumerate().find_map(|(position, issuer)| {
            let sign_in = issuer.sign_in.as_ref().filter(|sign_in| sign_in.backchannel_logout)?;
            // At a host of that issuer's: elsewhere it has no business.
            sign_in.origin(visit.facts.host.as_str())?;
            (jwt.issuer()? == rules(position)?.issuer.as_ref()).then_some((position, &issuer.name, sign_in))
        });
        let (position, name, sign_in) = found.ok_or(refused("token_unknown_issuer"))?;
        let (media, claims) = self.providers.signed(position, &token).await.map_err(|fault| match fault {
            ProviderFault::Token(fault) => refused(fault.code()),
            ProviderFault::Refused => refused("token_refused"),
            ProviderFault::Unavailable => (Answer::LogoutUnavailable, "issuer_unavailable"),
        })?;
        let logout = id_token::logout(media, &claims, &sign_in.client_id, visit.now)
            .map_err(|fault| refused(fault.code()))?;
        Ok((name.clone(), logout))
    }

    /// Ends the session named, or all of the subject's; says whether that is kept in mind.
    async fn log_out(&self, issuer: &str, logout: &Logout, now: i64) -> bool {
        let key = ProofKey::new(&[issuer, &logout.token_id], 0);
        let memory = format!("logout:{}", key.as_str());
        let (claim, value, moment) = match (&logout.session, &logout.subject) {
            // A session of that name never begins again.
            (Some(session), _) => {
                let remember = revoke::LONGEST_SESSION;
                (RevocationClaim::Session, session, revoke::moment(RevocationClaim::Session, now, remember))
            }
            (None, Some(subject)) => {
                if let Lookup::Found(_) = self.state.peek(&memory).await {
                    // Shown again it must not end what has begun since.
                    return true;
                }
                // Also where a store that lost its memory takes one that was shown before: what began well after the
                // issuer said so stays.
                let moment = logout.issued_at.saturating_add(CLOCKS_DIFFER).min(now).saturating_add(1);
                (RevocationClaim::Subject, subject, moment)
            }
            (None, None) => return false,
        };
        let revocation = RevocationKey { issuer, claim, value };
        if self.state.revoke(&revocation, moment, self.remember_logout(issuer, claim)).await
            != Lookup::Found(())
        {
            return false;
        }
        if claim == RevocationClaim::Subject {
            // Only now: what could not be kept in mind is to be told again. Where this fails it is done again.
            let _ = self.state.seal(&memory, b"1", REMEMBER_TOKEN).await;
        }
        true
    }

    /// How long a logout is remembered: as long as a session or a token from before it could count. There is one for
    /// every sign-out anywhere, so not for longer.
    fn remember_logout(&self, issuer: &str, claim: RevocationClaim) -> Duration {
        let Some((position, configured)) = self.issuer(issuer) else { return revoke::LONGEST_SESSION };
        let session = configured.sign_in.as_ref().map(|sign_in| sign_in.session.absolute);
        let token = self.providers.rules(position).and_then(|rules| rules.max_token_lifetime);
        let token = token.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
        let longest =
            session.zip(token).map_or(revoke::LONGEST_SESSION, |(session, token)| session.max(token));
        // Who is signed out everywhere is recognised nowhere.
        let device = configured.sign_in.as_ref().and_then(|sign_in| sign_in.recognised_device);
        let device = device.filter(|_| claim == RevocationClaim::Subject);
        longest.max(device.map_or(Duration::ZERO, |device| device.lasts)) + MARGIN
    }
}
