//! What is not on record, and might have been either way.
//!
//! A record says what was looked at when a request was decided. Other rules may look at more. Nothing of that is guessed: the
//! request is decided in every world that agrees with the record, and what comes of it counts where it is the same in all of
//! them.

use std::fmt;

/// What a decision depends on and the record does not tell.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unknown {
    /// Whose record it is: the caller's own, another's, or nobody's in particular.
    Whose,
    /// What stands in the body: more than harmless fields, those only, nothing that can be read, or nothing.
    Body,
    /// Whether the body holds what is refused whatever the rules: one that is searched for that alone.
    Hidden,
    /// The same for one that is read for the rules: more kinds are.
    HiddenInRead,
    /// From which page it came.
    Page,
    /// Whether a condition holds.
    Condition(Box<str>),
    /// Whether a signal fires.
    Signal(Box<str>),
    /// Whether the patient consents.
    Consent,
    /// Whether the caller has done what nobody may do together with this.
    Duties,
    /// What the policy decision point says.
    Evaluation,
    /// In what relation the caller acts for the patient.
    Delegation,
    /// Whether the caller has broken the glass.
    BreakGlass,
    /// Whether the token was revoked.
    Revocation,
    /// How often it was tried before.
    Attempts,
    /// Whether the FHIR request is one that the service takes.
    Fhir,
    /// How old a machine's token was.
    TokenAge,
    /// Who asks: a public route does not look.
    Caller,
    /// What each request of a Bundle is.
    Bundle,
    /// How an issuer's tokens are read now.
    Issuer(Box<str>),
    /// Which of several routes takes it.
    Route(Box<str>),
}

impl fmt::Display for Unknown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whose => formatter.write_str("whose record it is"),
            Self::Body => formatter.write_str("what stands in the body"),
            Self::Hidden | Self::HiddenInRead => formatter.write_str("whether the body hides another method"),
            Self::Page => formatter.write_str("from which page it came"),
            Self::Condition(source) => write!(formatter, "whether `{source}` holds"),
            Self::Signal(name) => write!(formatter, "whether signal `{name}` fires"),
            Self::Consent => formatter.write_str("whether the patient consents"),
            Self::Duties => formatter.write_str("whether the caller has done what is kept apart from it"),
            Self::Evaluation => formatter.write_str("what the policy decision point says"),
            Self::Delegation => formatter.write_str("for whom the caller acts"),
            Self::BreakGlass => formatter.write_str("whether the glass was broken"),
            Self::Revocation => formatter.write_str("whether the token was revoked"),
            Self::Attempts => formatter.write_str("how often it was tried"),
            Self::Fhir => formatter.write_str("whether the FHIR service takes it as it is configured now"),
            Self::TokenAge => formatter.write_str("how old the machine's token was"),
            Self::Caller => formatter.write_str("who asks: a public route does not look"),
            Self::Bundle => formatter.write_str("what each request of a Bundle is"),
            Self::Issuer(name) => write!(formatter, "how tokens of issuer `{name}` are read now"),
            Self::Route(id) => write!(formatter, "whether route `{id}` takes it"),
        }
    }
}

/// Where something is unknown: at the place that the record speaks of, or at another route by its position.
pub type Place = Option<usize>;

/// Where the same is asked in another way than at the time, so that one answer says nothing of the other.
pub const ASKED_OTHERWISE: Place = Some(usize::MAX);

/// One way in which all that is not on record could have been.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World(Vec<(Place, Unknown, u8)>);

impl World {
    /// What is assumed of something.
    pub fn answer(&self, place: Place, what: &Unknown) -> Option<u8> {
        self.0.iter().find(|(at, known, _)| *at == place && known == what).map(|(_, _, answer)| *answer)
    }

    fn with(&self, place: Place, what: Unknown, answer: u8) -> Self {
        let mut world = self.clone();
        world.0.push((place, what, answer));
        world
    }

    /// All that is assumed.
    pub fn unknowns(&self) -> impl Iterator<Item = &Unknown> {
        self.0.iter().map(|(_, what, _)| what)
    }
}

/// What came of deciding in a world.
#[derive(Debug)]
pub enum Ran<T> {
    /// This.
    Decided(T),
    /// It depends on something that has so many answers.
    Depends(Place, Unknown, u8),
    /// It depends on something that has too many.
    Beyond(Unknown),
}

/// More worlds than these are not looked at.
const MOST: usize = 512;

/// Decides in every world that is like one of these. What can't be said depends on the last.
pub fn explore<T>(
    start: impl IntoIterator<Item = World>,
    mut run: impl FnMut(&World) -> Ran<T>,
) -> Result<Vec<(World, T)>, Unknown> {
    let mut open: Vec<World> = start.into_iter().collect();
    let mut decided = Vec::new();
    while let Some(world) = open.pop() {
        match run(&world) {
            Ran::Decided(outcome) => decided.push((world, outcome)),
            Ran::Beyond(what) => return Err(what),
            Ran::Depends(_, what, _) if open.len() + decided.len() >= MOST => return Err(what),
            Ran::Depends(place, what, answers) => {
                open.extend((0..answers).map(|answer| world.with(place, what.clone(), answer)));
            }
        }
    }
    Ok(decided)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_world_is_looked_at_once() {
        let seen = explore([World::default()], |world| {
            let Some(consent) = world.answer(None, &Unknown::Consent) else {
                return Ran::Depends(None, Unknown::Consent, 2);
            };
            match (consent, world.answer(Some(3), &Unknown::Consent)) {
                (0, _) => Ran::Decided(0),
                (_, None) => Ran::Depends(Some(3), Unknown::Consent, 3),
                (_, Some(other)) => Ran::Decided(10 + other),
            }
        });
        let mut outcomes: Vec<u8> = seen.expect("few").into_iter().map(|(_, outcome)| outcome).collect();
        outcomes.sort_unstable();
        assert_eq!(outcomes, [0, 10, 11, 12]);
    }

    #[test]
    fn too_many_are_none() {
        let mut asked = 0;
        let result: Result<Vec<(World, ())>, Unknown> = explore([World::default()], |_| {
            asked += 1;
            Ran::Depends(None, Unknown::Condition(asked.to_string().into()), 3)
        });
        assert!(result.is_err() && asked < 2 * MOST);
    }
}
