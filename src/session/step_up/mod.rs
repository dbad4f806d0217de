//! More proof from somebody who is signed in, for one action: what was asked is kept (`intent`), the person gives proof
//! at the issuer (`at_issuer`) or elsewhere (`elsewhere`), confirms what will be done, and it goes on (`confirm`).
//!
//! A proof raises the session (`raise`) for whatever needs no proof of its own; and it is a grant for the action that
//! waits, and for nothing else.

mod anonymous;
mod at_issuer;
mod body;
mod confirm;
mod elsewhere;
mod handover;
mod hold;
mod intent;
mod owner;
mod pages_host;
mod ping;
mod raise;

pub(super) use self::at_issuer::Demand;
pub(super) use self::hold::Holding;

use self::intent::{Intent, Kept};
use self::owner::Owner;
use super::BrowserSessions;
use super::record::Live;
use crate::decision::Lookup;
use crate::enforce::sessions::{Answer, Choice, Page, Place, SessionFact, Visit, Visited};
use crate::enforce::step_up::is_anonymous;
use crate::policy::{Route, TierIndex, Way, WayKind};
use crate::request::device::DeviceId;

/// So often a person may fail to give proof for one action before it has to be begun anew.
const MOST_ATTEMPTS: u64 = 5;

/// A step-up that a visit is about.
struct Matter {
    /// The request's name, as the browser knows it.
    name: String,
    intent: Intent,
    owner: Owner,
    /// Whether the window is to be closed afterwards.
    closes: bool,
    /// The application's origin, where the visit is at the pages' own host; what leads back begins with it.
    home: Option<Box<str>>,
    /// Whether its request is held, and asks again by itself.
    is_held: bool,
    /// The name by which the browser shows that it was recognised before.
    device: Option<DeviceId>,
}

impl Matter {
    /// Where the person goes back to.
    fn back(&self) -> String {
        self.at_home(&self.intent.back)
    }

    /// Where the person goes who does not want it; a page that needs the proof itself is no such place.
    fn way_out(&self) -> Option<String> {
        (self.intent.back != self.intent.target).then(|| self.back())
    }

    /// An address of the application.
    fn at_home(&self, target: &str) -> String {
        format!("{}{target}", self.home.as_deref().unwrap_or_default())
    }
}

/// The address of a step-up; `way` is one that was chosen.
fn address(name: &str, way: Option<&str>, closes: bool) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("intent", name);
    if let Some(way) = way {
        query.append_pair("way", way);
    }
    if closes {
        query.append_pair("then", "close");
    }
    format!("{}?{}", Place::StepUp.path(), query.finish())
}

impl BrowserSessions {
    /// The step-up that a visit names, where it is this person's and still waits.
    async fn matter(&self, visit: &Visit<'_>) -> Result<Matter, Visited> {
        let target = &visit.facts.target;
        let Some(name) = target.query_once("intent") else { return Err(Page::Malformed.into()) };
        let name = name.into_owned();
        if is_anonymous(&name) {
            return self.anonymous_matter(visit, name).await;
        }
        let live = match self.visitor(visit).await {
            Lookup::Found(live) => live,
            // Whatever was kept was the ended session's.
            Lookup::Absent => return Err(Page::IntentGone(self.start_page(visit)).into()),
            Lookup::Unavailable => return Err(Page::Outage(target.raw().to_owned()).into()),
        };
        let home = self.home(visit, &live);
        let at_home = |target: &str| format!("{}{target}", home.as_deref().unwrap_or_default());
        let intent = match self.kept(&name).await {
            Lookup::Found(Kept::Waiting(intent)) => *intent,
            Lookup::Found(Kept::Sent { session, back }) if session == live.name => {
                return Err(Page::AlreadySent(at_home(&back)).into());
            }
            Lookup::Found(Kept::Released { session, .. }) if session == live.name => {
                return Err(Page::Proven.into());
            }
            Lookup::Found(_) => return Err(Page::OtherPerson(at_home("/")).into()),
            Lookup::Absent => return Err(Page::IntentGone(at_home("/")).into()),
            Lookup::Unavailable => return Err(Page::Outage(target.raw().to_owned()).into()),
        };
        if intent.session != live.name {
            return Err(Page::OtherPerson(at_home("/")).into());
        }
        let closes = target.query_once("then").as_deref() == Some("close");
        let device = visit.facts.device.clone();
        Ok(Matter { name, intent, owner: Owner::SignedIn(live), closes, home, is_held: false, device })
    }

    /// Goes the way that was chosen, or the only one; else asks which.
    pub(super) async fn step_up(&self, visit: &Visit<'_>) -> Visited {
        let matter = match self.matter(visit).await {
            Ok(matter) => matter,
            Err(visited) => return visited,
        };
        if matter.closes && self.is_proven(&matter.name, &matter.intent).await {
            // The proof took effect, and an outage kept the one who asked from being told.
            return self.after_proof(&matter).await.into();
        }
        let target = &visit.facts.target;
        let ways: Vec<&Way> = self.ways(&matter.intent, matter.owner.issuer()).collect();
        let wanted = target.query_once("way");
        let way = match (wanted, ways.as_slice()) {
            (Some(name), ways) => ways.iter().find(|way| *way.name == *name).copied(),
            (None, [only]) => Some(*only),
            (None, _) if self.leads_to_pages(&matter) => return self.to_pages(visit, &matter, None).await,
            (None, _) => return self.asks_which(&matter),
        };
        match way.map(|way| (way, &way.kind)) {
            // That goes by the application's host, where the issuer knows it.
            Some((way, WayKind::Oidc)) if matter.home.is_some() => {
                Answer::GoTo(matter.at_home(&address(&matter.name, Some(&way.name), matter.closes))).into()
            }
            Some((_, WayKind::Oidc)) => self.to_issuer(visit, matter).await,
            Some((way, WayKind::Ciba { .. } | WayKind::Http { .. })) if self.leads_to_pages(&matter) => {
                self.to_pages(visit, &matter, Some(&way.name)).await
            }
            Some((way, WayKind::Ciba { .. } | WayKind::Http { .. })) => {
                self.elsewhere(visit, matter, way).await
            }
            Some((_, WayKind::Rfc9470)) | None => Page::Malformed.into(),
        }
    }

    /// The page that asks which way.
    fn asks_which(&self, matter: &Matter) -> Visited {
        let label = matter.intent.label.clone();
        let (ways, kept) = (self.choices(matter, &[]), !matter.intent.is_read());
        Page::StepUp { label, ways, kept, lost: false, back: matter.way_out() }.into()
    }

    /// Whether the person may try once more; counts the attempt.
    async fn may_try(&self, matter: &Matter) -> bool {
        let name = super::secret::digest(&matter.name);
        let attempts = self.state.window(&format!("step-up:{name}"), self.policy.resume.ttl).await;
        // Else an issuer that can't give the level would send the browser round in circles.
        !matches!(attempts, Lookup::Found(count) if count > MOST_ATTEMPTS)
    }

    fn too_often(&self, matter: &Matter) -> Visited {
        let (label, back) = (matter.intent.label.clone(), matter.way_out());
        let page = Page::StepUp { label, ways: Vec::new(), kept: false, lost: false, back };
        self.ended(matter, "too_many_attempts", page)
    }

    /// The tier's and the route's positions, where the rules are those it was kept under.
    fn rules_of(&self, intent: &Intent) -> Option<(TierIndex, &Route)> {
        let tier = self.policy.tiers.iter().position(|tier| tier.name == intent.tier)?;
        let route = self.policy.routes.iter().find(|route| *route.id == *intent.route)?;
        let is_same = intent.policy == self.policy.rules;
        Some((TierIndex(u8::try_from(tier).ok()?), route)).filter(|_| is_same)
    }

    /// The issuer's words for the level that is asked for, the weakest first.
    fn acr_values(&self, matter: &Matter) -> Vec<Box<str>> {
        let Some((tier, route)) = self.rules_of(&matter.intent) else { return Vec::new() };
        let level = self.policy.requirement(route, tier).level();
        let rules = self.policy.issuers.get(matter.owner.issuer());
        rules.map(|rules| rules.assurance.acr_values(level).map(Into::into).collect()).unwrap_or_default()
    }

    /// The ways that its tier lists and this person can take.
    fn ways<'s>(&'s self, intent: &Intent, issuer: usize) -> impl Iterator<Item = &'s Way> {
        let listed = if intent.account.is_some() {
            let route = self.policy.routes.iter().find(|route| *route.id == *intent.route);
            route.and_then(|route| route.anonymous.as_ref()).map(|anonymous| &*anonymous.step_up)
        } else {
            let tier = self.policy.tiers.iter().find(|tier| tier.name == intent.tier);
            tier.map(|tier| &*tier.step_up)
        };
        let listed = listed.unwrap_or_default();
        listed.iter().filter_map(|way| self.policy.ways.get(*way)).filter(move |way| way.fits_browser(issuer))
    }

    /// The ways but for some, as links.
    fn choices(&self, matter: &Matter, without: &[&str]) -> Vec<Choice> {
        let ways = self.ways(&matter.intent, matter.owner.issuer());
        ways.filter(|way| !without.contains(&&*way.name))
            .map(|way| choice(way, &matter.name, matter.closes))
            .collect()
    }

    /// A page, and the record of why it is shown.
    fn ended(&self, matter: &Matter, result: &'static str, page: Page) -> Visited {
        let fact = matter.owner.fact("step_up", result);
        Visited { fact: Some(fact), ..page.into() }
    }

    /// The page that says that the proof was not enough, with what else can be done.
    fn refused(&self, matter: &Matter, way: &str, result: &'static str) -> Visited {
        let again = address(&matter.name, Some(way), matter.closes);
        let others = self.choices(matter, &[way]);
        self.ended(matter, result, Page::ProofRefused { again, others, back: matter.way_out() })
    }

    /// The page that says that a way can't be used now.
    fn way_down(&self, matter: &Matter, way: &str, result: &'static str) -> Visited {
        let again = address(&matter.name, Some(way), matter.closes);
        let others = self.choices(matter, &[way]);
        self.ended(matter, result, Page::WayOutage { again, others })
    }
}

/// What is said to one whose request it is not.
fn not_theirs(name: &str) -> Page {
    let to = "/".to_owned();
    if is_anonymous(name) { Page::IntentGone(to) } else { Page::OtherPerson(to) }
}

/// A way as a link, for the request of this name. Signing in again needs no label: the page says so in the person's
/// language.
fn choice(way: &Way, name: &str, closes: bool) -> Choice {
    let is_sign_in = matches!(way.kind, WayKind::Oidc);
    let unnamed = || if is_sign_in { Box::default() } else { way.name.clone() };
    Choice { label: way.label.clone().unwrap_or_else(unnamed), link: address(name, Some(&way.name), closes) }
}

/// A person's name in counters, which are not sealed.
fn person(live: &Live) -> String {
    super::secret::digest(&format!("{}:{}", live.record.issuer, live.subject.id))
}

/// What a fact says of a proof that was given.
fn proven(live: &Live) -> SessionFact {
    live.record.fact("step_up", "ok", live.name.clone())
}
