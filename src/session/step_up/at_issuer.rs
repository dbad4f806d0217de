//! Proof at the issuer of the session, in the browser: there and back, as for signing in, with more asked for.

use super::super::callback::Stop;
use super::super::record::{Begun, StepUpBegun};
use super::super::{BrowserSessions, Offer};
use super::owner::Owner;
use super::{Matter, address};
use crate::decision::Lookup;
use crate::enforce::prompts::Proof;
use crate::enforce::sessions::{Page, Tokens, Visit, Visited};
use crate::identity::id_token::{self, Expected, Frame};
use crate::policy::WayKind;

/// What an issuer is asked for beyond a sign-in.
pub(in crate::session) struct Demand {
    /// Its words for a sufficient level, the weakest first.
    pub acr_values: Vec<Box<str>>,
    /// The oldest authentication that will do, in seconds.
    pub max_age: Option<i64>,
    /// The step-up that it is for; none where somebody signs in anew with a stronger proof.
    pub begun: Option<StepUpBegun>,
}

impl BrowserSessions {
    /// Sends the browser to the issuer of its session.
    pub(super) async fn to_issuer(&self, visit: &Visit<'_>, matter: Matter) -> Visited {
        let intent = &matter.intent;
        // Nobody vouches for people who have not signed in: they have no such way.
        let Some(live) = matter.owner.live() else { return Page::Malformed.into() };
        let way = self.own_way(&matter);
        let offer = self.offer(visit.facts.host.as_str(), &live.record.issuer);
        let (Some(offer), Some((index, _))) = (offer, self.rules_of(intent)) else {
            return self.ended(&matter, "policy_changed", Page::IntentGone(intent.back.clone().into()));
        };
        if !self.may_try(&matter).await {
            return self.too_often(&matter);
        }
        let tier = self.policy.tier(index);
        let demand = Demand {
            acr_values: self.acr_values(&matter),
            max_age: tier.max_age,
            begun: Some(StepUpBegun {
                session: live.name.clone(),
                intent: matter.name.as_str().into(),
                closes: matter.closes,
            }),
        };
        let anew = tier.each_action_needs_new_proof;
        match self.send(visit, offer, (&intent.back, Some(demand)), anew).await {
            Some(visited) => visited,
            None => self.way_down(&matter, &way, "issuer_unavailable"),
        }
    }

    /// The name of the way that leads to the issuer.
    fn own_way(&self, matter: &Matter) -> String {
        let mut ways = self.ways(&matter.intent, matter.owner.issuer());
        ways.find(|way| way.kind == WayKind::Oidc).map(|way| way.name.to_string()).unwrap_or_default()
    }

    /// Takes the browser back, with or without a proof.
    pub(in crate::session) async fn stepped_up(
        &self,
        visit: &Visit<'_>,
        begun: &Begun,
        step_up: &StepUpBegun,
        tokens: Result<(Offer<'_>, Tokens), Stop>,
    ) -> Visited {
        let live = match self.alive(visit).await {
            Lookup::Found(live) => live,
            Lookup::Absent => return Page::IntentGone(self.start_page(visit)).into(),
            Lookup::Unavailable => {
                return Page::Outage(address(&step_up.intent, None, step_up.closes)).into();
            }
        };
        let intent = match self.kept(&step_up.intent).await {
            Lookup::Found(super::Kept::Waiting(intent)) => *intent,
            Lookup::Found(super::Kept::Sent { session, back }) if session == live.name => {
                return Page::AlreadySent(back.into()).into();
            }
            Lookup::Found(super::Kept::Released { session }) if session == live.name => {
                return Page::Proven.into();
            }
            Lookup::Found(super::Kept::Sent { .. } | super::Kept::Released { .. }) => {
                return Page::OtherPerson("/".to_owned()).into();
            }
            Lookup::Absent => return Page::IntentGone(begun.to.clone().into()).into(),
            Lookup::Unavailable => {
                return Page::Outage(address(&step_up.intent, None, step_up.closes)).into();
            }
        };
        let is_theirs = live.name == step_up.session && intent.session == step_up.session;
        let (name, device) = (step_up.intent.to_string(), visit.facts.device.clone());
        let (owner, closes) = (Owner::SignedIn(live), step_up.closes);
        let matter = Matter { name, intent, owner, closes, home: None, is_held: false, device };
        // Whoever began it is who must come back.
        if !is_theirs {
            return self.ended(&matter, "other_session", Page::OtherPerson("/".to_owned()));
        }
        let way = self.own_way(&matter);
        let proof = match tokens {
            Ok((offer, tokens)) => self.proof(visit, begun, offer, &matter, &tokens).await,
            Err(stop) => Err(stop),
        };
        match proof {
            Ok(proof) => self.accept(&matter, (&way, proof), (begun.began_at, visit.now)).await,
            Err(Stop::Refused(why)) => self.refused(&matter, &way, why),
            Err(Stop::Stale) => self.refused(&matter, &way, "step_up_expired"),
            Err(Stop::Outage(why)) => self.way_down(&matter, &way, why),
        }
    }

    /// What the issuer's answer proves.
    async fn proof(
        &self,
        visit: &Visit<'_>,
        begun: &Begun,
        offer: Offer<'_>,
        matter: &Matter,
        tokens: &Tokens,
    ) -> Result<Proof, Stop> {
        let live = matter.owner.live().ok_or(Stop::Refused("no_session"))?;
        let id_token = tokens.id_token.as_deref().ok_or(Stop::Refused("id_token_missing"))?;
        let (media, claims) = self.providers.signed(offer.position, id_token).await?;
        let expected = Expected {
            client_id: &offer.settings.client_id,
            nonce: Some(&begun.nonce),
            subject: live.record.claim("sub"),
            authenticated_since: begun.anew.then_some(begun.began_at),
            now: visit.now,
        };
        id_token::check(media, &claims, &expected)?;
        let rules = self.providers.rules(offer.position).ok_or(Stop::Outage("issuer_unavailable"))?;
        let (name, now) = (&*live.name, visit.now);
        let frame = Frame { client_id: &offer.settings.client_id, name, began_at: now, ends_at: now, now };
        let subject = id_token::subject(&std::sync::Arc::new(claims), rules, &frame)
            .map_err(|fault| Stop::Refused(fault.code()))?;
        let authenticated_at = subject.auth_time.ok_or(Stop::Refused("id_token_authentication"))?;
        Ok(Proof { subject: subject.id, level: subject.level, methods: subject.methods, authenticated_at })
    }
}
