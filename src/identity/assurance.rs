//! How strongly a person was authenticated: ordered levels, and how an issuer's words map to them.

/// A level of assurance, ordered. [`Level::NONE`] lies beneath all that are configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Level(u8);

impl Level {
    /// No assurance at all: what an issuer says that is mapped to nothing.
    pub const NONE: Self = Self(0);
}

/// The configured levels' names, weakest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels(Vec<Box<str>>);

impl Levels {
    /// Takes the names in ascending order.
    pub fn new(names: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }

    /// The level of a name; `none` is [`Level::NONE`].
    pub fn find(&self, name: &str) -> Option<Level> {
        if name == "none" {
            return Some(Level::NONE);
        }
        let at = self.0.iter().position(|known| known.as_ref() == name)?;
        u8::try_from(at + 1).ok().map(Level)
    }

    /// The name of a level.
    pub fn name(&self, level: Level) -> &str {
        usize::from(level.0).checked_sub(1).and_then(|at| self.0.get(at)).map_or("none", AsRef::as_ref)
    }

    /// Every name, weakest first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

/// What an issuer must say for one level: any one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LevelWords {
    /// Values of `acr`.
    pub acr: Vec<Box<str>>,
    /// Values of `amr` (RFC 8176).
    pub amr: Vec<Box<str>>,
}

/// One issuer's mapping from `acr` and `amr` to levels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AssuranceMap(Vec<(Level, LevelWords)>);

impl AssuranceMap {
    /// Takes the levels with their words, in any order.
    pub fn new(mut entries: Vec<(Level, LevelWords)>) -> Self {
        entries.sort_by_key(|(level, _)| *level);
        Self(entries)
    }

    /// The highest level that what the issuer said is mapped to.
    pub fn level(&self, acr: Option<&str>, amr: &[Box<str>]) -> Level {
        let says = |words: &LevelWords| {
            acr.is_some_and(|acr| words.acr.iter().any(|known| known.as_ref() == acr))
                || amr.iter().any(|method| words.amr.contains(method))
        };
        self.0.iter().rev().find(|(_, words)| says(words)).map_or(Level::NONE, |(level, _)| *level)
    }

    /// Every `amr` that counts for some level.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|(_, words)| words.amr.iter().map(AsRef::as_ref))
    }

    /// The highest level this issuer can ever reach.
    pub fn highest(&self) -> Level {
        self.0.last().map_or(Level::NONE, |(level, _)| *level)
    }

    /// The `acr` values that satisfy a level, the weakest sufficient first: the order of preference of RFC 9470 §4.
    pub fn acr_values(&self, wanted: Level) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(level, _)| *level >= wanted)
            .flat_map(|(_, words)| words.acr.iter().map(AsRef::as_ref))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmapped_words_mean_none() {
        let levels = Levels::new(["aal1", "aal2"]);
        let (aal1, aal2) = (levels.find("aal1").expect("level"), levels.find("aal2").expect("level"));
        let map = AssuranceMap::new(vec![
            (aal2, LevelWords { acr: vec!["loa2".into()], amr: vec!["hwk".into()] }),
            (aal1, LevelWords { acr: vec![], amr: vec!["pwd".into()] }),
        ]);
        assert_eq!(map.level(None, &[]), Level::NONE);
        assert_eq!(map.level(Some("LOA2"), &["sms".into()]), Level::NONE);
        assert_eq!(map.level(None, &["pwd".into()]), aal1);
        assert_eq!(map.level(Some("loa2"), &["pwd".into()]), aal2);
        assert_eq!(map.level(None, &["pwd".into(), "hwk".into()]), aal2);
        assert_eq!(levels.name(map.highest()), "aal2");
        assert!(Level::NONE < aal1 && aal1 < aal2);
    }
}
