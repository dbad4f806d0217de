//! The beginning of a sign-in: which issuer, what is sent along, and what is kept until the browser comes back.

use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};

use super::record::{Begun, Pending, keep, pending_key};
use super::step_up::Demand;
use super::{BrowserSessions, Offer, cookie, secret, target};
use crate::decision::Lookup;
use crate::enforce::sessions::{Answer, Choice, Page, Place, Provider, Visit, Visited};
use crate::request::cookies;

/// The parameter by which a sign-in asks for the proof that breaks the glass.
const STRONGER: &str = "stronger";
/// How long a person may take at the issuer.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Where a sign-in begins. `anew` asks the person to authenticate whoever is signed in already.
pub fn link(issuer: Option<&str>, to: &str, anew: bool) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(issuer) = issuer {
        query.append_pair("issuer", issuer);
    }
    if anew {
        query.append_pair("change", "1");
    }
    query.append_pair("to", to);
    format!("{}?{}", Place::SignIn.path(), query.finish())
}

impl BrowserSessions {
    /// Sends the browser to the issuer, or asks which.
    pub(super) async fn start(&self, visit: &Visit<'_>) -> Visited {
        let (host, target) = (visit.facts.host.as_str(), &visit.facts.target);
        let wanted = target.query_once("to");
        let to = target::safe(wanted.as_deref());
        let change = target.query_once("change").is_some();
        let is_signed_in = matches!(self.alive(visit).await, Lookup::Found(_));
        if is_signed_in && !change {
            // Another tab was first.
            return Answer::GoTo(to.to_owned()).into();
        }
        let offer = match target.query_once("issuer") {
            Some(name) => self.offer(host, &name),
            None => {
                let offers: Vec<Offer<'_>> = self.offers(host).collect();
                match offers.as_slice() {
                    [only] => Some(*only),
                    _ => return Page::Chooser(choices(&offers, to, change)).into(),
                }
            }
        };
        let Some(offer) = offer else {
            return Page::Malformed.into();
        };
        // Whoever used a shared browser before may still be signed in at the issuer.
        let anew = change || offer.settings.shared_workstation;
        let demand = target.query_once(STRONGER).is_some().then(|| self.strongest(offer));
        match self.send(visit, offer, (to, demand), anew).await {
            Some(visited) => visited,
            None => Page::Outage(link(Some(offer.name), to, change)).into(),
        }
    }

    /// What the rights to break the glass ask of this issuer's people.
    fn strongest(&self, offer: Offer<'_>) -> Demand {
        let rights = self.policy.break_glass.iter().filter(|right| right.issuer == offer.position);
        let level = rights.map(|right| right.assurance).max().unwrap_or_default();
        let issuer = self.policy.issuers.get(offer.position);
        let words = issuer.map(|issuer| issuer.assurance.acr_values(level).map(Into::into).collect());
        Demand { acr_values: words.unwrap_or_default(), max_age: None, begun: None }
    }

    /// `demand` is what is asked of somebody who is signed in already.
    pub(super) async fn send(
        &self,
        visit: &Visit<'_>,
        offer: Offer<'_>,
        (to, demand): (&str, Option<Demand>),
        anew: bool,
    ) -> Option<Visited> {
        let provider = self.providers.provider(offer.position).await?;
        let (state, nonce) = (secret::new()?, secret::new()?);
        let (verifier, binding) = (secret::new()?, secret::new()?);
        let state_digest = secret::digest(&state);
        let redirect_uri = self.redirect_uri(visit.facts.host.as_str(), offer, &provider);
        let challenge = secret::digest(&verifier);
        let leave =
            Leave { offer, state: &state, nonce: &nonce, challenge, redirect_uri: &redirect_uri, anew };
        let address = leave.address(&provider, demand.as_ref())?;
        let begun = Pending::Begun(Begun {
            issuer: offer.name.into(),
            host: visit.facts.host.as_str().into(),
            binding: secret::digest(&binding).into(),
            nonce: nonce.into(),
            verifier: verifier.into(),
            redirect_uri: redirect_uri.into(),
            names_itself: provider.names_itself,
            to: to.into(),
            began_at: visit.now,
            anew,
            step_up: demand.and_then(|demand| demand.begun),
        });
        if !keep(self.state.as_ref(), &pending_key(&state_digest), &begun, PATIENCE).await {
            return None;
        }
        // At a shared workstation the next person need not find where the last one was going.
        let remembered = if offer.settings.shared_workstation { "/" } else { to };
        let mut set = vec![cookie::pending(&cookie::pending_name(&state_digest), &binding, remembered)];
        let prefix = cookie::pending_prefix();
        let others =
            cookies::pairs(visit.headers).map(|(name, _)| name).filter(|name| name.starts_with(&prefix));
        set.extend(others.skip(cookie::MOST_PENDING - 1).map(cookie::gone));
        Some(Visited { cookies: set, ..Answer::GoTo(address).into() })
    }

    /// Where the issuer sends the browser back to; it must know this address. Where people choose among several, an
    /// issuer that does not say who it is (RFC 9207) has an address of its own, so that none can pass on another's code
    /// (RFC 9700 §4.4.2.2).
    fn redirect_uri(&self, host: &str, offer: Offer<'_>, provider: &Provider) -> String {
        let (origin, callback) = (&offer.origin.text, Place::Callback.path());
        if provider.names_itself || self.offers(host).count() == 1 {
            format!("{origin}{callback}")
        } else {
            format!("{origin}{callback}/{}", offer.name)
        }
    }
}

fn choices(offers: &[Offer<'_>], to: &str, change: bool) -> Vec<Choice> {
    let choice = |offer: &Offer<'_>| Choice {
        label: offer.settings.label.clone(),
        link: link(Some(offer.name), to, change),
    };
    offers.iter().map(choice).collect()
}

/// What the browser takes along to the issuer.
struct Leave<'l> {
    offer: Offer<'l>,
    state: &'l str,
    nonce: &'l str,
    challenge: String,
    redirect_uri: &'l str,
    anew: bool,
}

impl Leave<'_> {
    /// The authentication request (OpenID Connect Core 1.0 §3.1.2.1).
    fn address(&self, provider: &Provider, demand: Option<&Demand>) -> Option<String> {
        let settings = self.offer.settings;
        let mut address = Url::parse(&provider.authorization).ok()?;
        let longest = settings.session.absolute.as_secs();
        let max_age = demand.and_then(|demand| u64::try_from(demand.max_age?).ok()).unwrap_or(longest);
        let levels = demand.map_or(&[][..], |demand| &demand.acr_values);
        address
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &settings.client_id)
            .append_pair("redirect_uri", self.redirect_uri)
            .append_pair("scope", &settings.scopes.join(" "))
            .append_pair("state", self.state)
            .append_pair("nonce", self.nonce)
            .append_pair("code_challenge", &self.challenge)
            .append_pair("code_challenge_method", "S256")
            // Asks for `auth_time` too, and lets no sign-in at the issuer outlast our longest session.
            .append_pair("max_age", &max_age.to_string());
        if provider.takes_claims {
            // `acr_values` is a mere wish; an essential claim is a demand (§5.5.1.1). Not both: there are issuers at which
            // the wish takes the demand's place.
            let acr =
                if levels.is_empty() { Value::Null } else { json!({ "essential": true, "values": levels }) };
            let claims =
                json!({ "id_token": { "acr": acr, "amr": null, "auth_time": { "essential": true } } });
            address.query_pairs_mut().append_pair("claims", &claims.to_string());
        } else if !levels.is_empty() {
            address.query_pairs_mut().append_pair("acr_values", &levels.join(" "));
        }
        if self.anew {
            address.query_pairs_mut().append_pair("prompt", "login");
        }
        Some(address.into())
    }
}
