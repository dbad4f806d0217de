//! What a candidate would change, counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use jiff::Timestamp;
use serde::Serialize;

use super::compare::Finding;
use super::stage::Outcome;

/// What becomes of requests, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// They were refused, or asked for proof, and go through.
    NewPermit,
    /// They went through, or would have with proof, and are refused.
    NewRefusal,
    /// They went through, and are asked for proof.
    NewPrompt,
    /// They were refused, and are asked for proof.
    RefusalToPrompt,
    /// The verdict stays; the tier is another.
    OtherTier,
}

impl Kind {
    fn of(was: &Outcome, is: &Outcome) -> Option<Self> {
        match (was.verdict, is.verdict) {
            ("deny", "challenge") => Some(Self::RefusalToPrompt),
            (before, "permit") if before != "permit" => Some(Self::NewPermit),
            (before, "deny") if before != "deny" => Some(Self::NewRefusal),
            ("permit", "challenge") => Some(Self::NewPrompt),
            // What is refused has no way on, whatever its tier.
            ("deny", "deny") => None,
            _ if was.tier != is.tier => Some(Self::OtherTier),
            _ => None,
        }
    }
}

/// Requests that one change is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Change {
    /// What becomes of them.
    pub kind: Kind,
    /// The action.
    pub action: String,
    /// Whose callers: the issuer's name; `anybody` where nobody had signed in.
    pub callers: String,
    /// The verdict of the time.
    pub was: &'static str,
    /// The tier of the time.
    pub was_tier: Option<Box<str>>,
    /// The candidate's verdict.
    pub is: &'static str,
    /// The candidate's tier.
    pub is_tier: Option<Box<str>>,
    /// The candidate's reason.
    pub reason: Box<str>,
}

/// How many there are.
#[derive(Debug, Default, Serialize)]
pub struct Counted {
    /// Requests.
    pub requests: u64,
    /// Different callers, by their pseudonyms.
    pub people: usize,
    /// Times that somebody gives proof, where what was given goes on counting for as long as the tier lets it.
    pub prompts: u64,
    /// The ids of some of the decisions.
    pub decisions: Vec<String>,
    #[serde(skip)]
    seen: HashSet<u64>,
}

/// So many ids are kept of each change.
const MOST_SHOWN: usize = 3;

/// All that can be said.
#[derive(Debug, Serialize)]
pub struct Forecast {
    /// The first record's time.
    pub from: Option<Timestamp>,
    /// The last record's time.
    pub until: Option<Timestamp>,
    /// The decisions on record.
    pub decisions: u64,
    /// Those that come out as they did, or depend on nothing that is another.
    pub unchanged: u64,
    /// Those that were answered before any rule was asked: unreadable, no route, a preflight, a limit.
    pub before_rules: u64,
    /// Those that were only counted when they were many, and are not on record one by one.
    pub only_counted: u64,
    /// Those that were made under a policy that is not at hand.
    pub other_policy: u64,
    /// Those that do not come out as they did by the rules of their time.
    pub not_reproduced: u64,
    /// Those that depend on what is not on record.
    pub open: u64,
    /// Lines that are no records.
    pub unreadable: u64,
    /// On what the open ones depend, by action: so many.
    pub open_for: Vec<(String, String, u64)>,
    /// The callers of each issuer on record, by their pseudonyms.
    pub people: BTreeMap<String, usize>,
    /// What would become of others.
    pub changes: Vec<(Change, Counted)>,
}

/// Counts.
#[derive(Debug)]
pub struct Tally {
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    decisions: u64,
    unchanged: u64,
    before_rules: u64,
    only_counted: u64,
    other_policy: u64,
    not_reproduced: u64,
    open: u64,
    unreadable: u64,
    open_for: BTreeMap<(String, String), u64>,
    people: BTreeMap<String, HashSet<u64>>,
    changes: BTreeMap<Change, Counted>,
    /// Until when a proof that is asked for counts, by caller and tier.
    proven: HashMap<(u64, Box<str>), Timestamp>,
    hasher: RandomState,
}

/// What is known of a decision beside what comes of it.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'d> {
    /// When it was.
    pub time: Timestamp,
    /// Its id.
    pub id: &'d str,
    /// The action.
    pub action: &'d str,
    /// The caller's issuer.
    pub issuer: Option<&'d str>,
    /// The caller's pseudonym.
    pub subject: Option<&'d str>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            from: None,
            until: None,
            decisions: 0,
            unchanged: 0,
            before_rules: 0,
            only_counted: 0,
            other_policy: 0,
            not_reproduced: 0,
            open: 0,
            unreadable: 0,
            open_for: BTreeMap::new(),
            people: BTreeMap::new(),
            changes: BTreeMap::new(),
            proven: HashMap::new(),
            hasher: RandomState::new(),
        }
    }
}

impl Tally {
    /// Adds a line that is no record.
    pub fn add_unreadable(&mut self) {
        self.unreadable += 1;
    }

    /// Adds answers that were only counted.
    pub fn add_counted(&mut self, count: u64) {
        self.only_counted += count;
    }

    /// Adds an answer that no rule had a part in.
    pub fn add_before_rules(&mut self, time: Timestamp) {
        self.at(time);
        self.before_rules += 1;
    }

    /// How many decisions there are until now.
    pub fn decisions(&self) -> u64 {
        self.decisions
    }

    /// Adds a decision, and says what would become of it, where that is something else.
    pub fn add(&mut self, decided: Decided<'_>, finding: &Finding) -> Option<Kind> {
        self.at(decided.time);
        let who = decided.subject.map(|subject| self.hasher.hash_one(subject));
        let callers = decided.issuer.unwrap_or("anybody");
        if let Some(who) = who {
            match self.people.get_mut(callers) {
                Some(known) => {
                    known.insert(who);
                }
                None => {
                    self.people.insert(callers.to_owned(), HashSet::from([who]));
                }
            }
        }
        let (was, is) = match finding {
            Finding::Untouched => {
                self.unchanged += 1;
                return None;
            }
            Finding::OtherPolicy => {
                self.other_policy += 1;
                return None;
            }
            Finding::NotReproduced => {
                self.not_reproduced += 1;
                return None;
            }
            Finding::Open(unknowns) => {
                self.open += 1;
                for unknown in unknowns {
                    let key = (decided.action.to_owned(), unknown.to_string());
                    *self.open_for.entry(key).or_default() += 1;
                }
                return None;
            }
            Finding::Decided { was, is } => (was, is),
        };
        let Some(kind) = Kind::of(was, is) else {
            self.unchanged += 1;
            return None;
        };
        let change = Change {
            kind,
            action: decided.action.to_owned(),
            callers: callers.to_owned(),
            was: was.verdict,
            was_tier: was.tier.clone(),
            is: is.verdict,
            is_tier: is.tier.clone(),
            reason: is.reason.clone(),
        };
        let is_asked = kind == Kind::NewPrompt && self.is_asked(decided.time, who, is);
        let counted = self.changes.entry(change).or_default();
        counted.requests += 1;
        counted.prompts += u64::from(is_asked);
        counted.seen.extend(who);
        if counted.decisions.len() < MOST_SHOWN {
            counted.decisions.push(decided.id.to_owned());
        }
        Some(kind)
    }

    /// Whether somebody has to give proof, who may have done so for a request just before.
    fn is_asked(&mut self, time: Timestamp, who: Option<u64>, is: &Outcome) -> bool {
        let (Some(who), Some(tier), Some(lasts)) = (who, &is.tier, is.lasts) else { return true };
        let until = time.checked_add(jiff::SignedDuration::from_secs(lasts)).unwrap_or(Timestamp::MAX);
        match self.proven.get_mut(&(who, tier.clone())) {
            Some(proven) if time < *proven => false,
            Some(proven) => {
                *proven = until;
                true
            }
            None => {
                self.proven.insert((who, tier.clone()), until);
                true
            }
        }
    }

    fn at(&mut self, time: Timestamp) {
        self.decisions += 1;
        self.from = Some(self.from.map_or(time, |from| from.min(time)));
        self.until = Some(self.until.map_or(time, |until| until.max(time)));
    }

    /// What there is to say.
    pub fn forecast(self) -> Forecast {
        let counted = |mut counted: Counted| {
            counted.people = counted.seen.len();
            counted
        };
        let mut changes: Vec<(Change, Counted)> =
            self.changes.into_iter().map(|(change, it)| (change, counted(it))).collect();
        changes.sort_by(|(one, ones), (other, others)| {
            (one.kind, std::cmp::Reverse(ones.requests))
                .cmp(&(other.kind, std::cmp::Reverse(others.requests)))
        });
        let mut open_for: Vec<_> =
            self.open_for.into_iter().map(|((action, what), count)| (action, what, count)).collect();
        open_for.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
        Forecast {
            from: self.from,
            until: self.until,
            decisions: self.decisions,
            unchanged: self.unchanged,
            before_rules: self.before_rules,
            only_counted: self.only_counted,
            other_policy: self.other_policy,
            not_reproduced: self.not_reproduced,
            open: self.open,
            unreadable: self.unreadable,
            open_for,
            people: self.people.into_iter().map(|(issuer, people)| (issuer, people.len())).collect(),
            changes,
        }
    }
}

impl Forecast {
    /// How many requests something of this kind becomes of.
    pub fn requests(&self, kind: Kind) -> u64 {
        let of_kind = self.changes.iter().filter(|(change, _)| change.kind == kind);
        of_kind.map(|(_, counted)| counted.requests).sum()
    }

    /// How many days the records are of, where it is more than one.
    pub fn days(&self) -> Option<f64> {
        let (from, until) = self.from.zip(self.until)?;
        let days = until.duration_since(from).as_secs_f64() / 86_400.0;
        (days >= 1.0).then_some(days)
    }
}
