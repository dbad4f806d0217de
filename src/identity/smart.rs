//! SMART scopes: what a token's client may do with FHIR resources (SMART App Launch 2.2, "Scopes for requesting FHIR
//! resources"), and the older form of version 1.

/// Whose resources a scope speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// Those of the patient in the launch context.
    Patient,
    /// Those that the user may see.
    User,
    /// Those that a service may see without a user.
    System,
}

/// A set of the letters `c`, `r`, `u`, `d`, `s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions(u8);

impl Permissions {
    /// The letters in their order.
    const LETTERS: &'static [u8] = b"cruds";
    /// All of them.
    pub const ALL: Self = Self(0b1_1111);

    /// Reads letters in their order, each at most once; `None` for anything else, and for no letter at all.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bits = 0u8;
        let mut order = Self::LETTERS.iter().enumerate();
        for letter in text.bytes() {
            let (at, _) = order.find(|(_, known)| **known == letter)?;
            bits |= 1 << at;
        }
        (bits != 0).then_some(Self(bits))
    }

    /// The letters one by one.
    pub fn each(self) -> impl Iterator<Item = Self> {
        (0..5).map(|at| Self(1 << at)).filter(move |one| self.contains(*one))
    }

    /// Whether all of `others` are among these.
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

impl std::ops::BitOr for Permissions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::fmt::Display for Permissions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, letter) in Self::LETTERS.iter().enumerate() {
            if self.0 & (1 << at) != 0 {
                write!(formatter, "{}", char::from(*letter))?;
            }
        }
        Ok(())
    }
}

/// Which forms of scopes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `patient/Observation.read` only.
    V1,
    /// `patient/Observation.rs`, and what version 1 has.
    V2,
}

/// A scope for FHIR resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmartScope {
    /// Whose resources.
    pub context: Context,
    /// Of which type; `None` is every type.
    pub resource_type: Option<Box<str>>,
    /// What may be done with them.
    pub permissions: Permissions,
    /// Only those that a search with these parameters finds.
    pub constraints: Vec<(Box<str>, Box<str>)>,
}

impl SmartScope {
    /// Reads a scope; `None` where it is none for resources (`openid`, `launch/patient`), or malformed: it allows
    /// nothing then.
    pub fn parse(text: &str, dialect: Dialect) -> Option<Self> {
        let (context, rest) = text.split_once('/')?;
        let context = match context {
            "patient" => Context::Patient,
            "user" => Context::User,
            "system" => Context::System,
            _ => return None,
        };
        let (resource_type, rest) = rest.split_once('.')?;
        let resource_type = match resource_type {
            "*" => None,
            name if name.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !name.is_empty() => {
                Some(name.into())
            }
            _ => return None,
        };
        let (letters, query) = match rest.split_once('?') {
            Some((letters, query)) => (letters, Some(query)),
            None => (rest, None),
        };
        let permissions = match (letters, dialect) {
            ("read", _) if query.is_none() => Permissions::parse("rs")?,
            ("write", _) if query.is_none() => Permissions::parse("cud")?,
            ("*", _) if query.is_none() => Permissions::ALL,
            (letters, Dialect::V2) => Permissions::parse(letters)?,
            (_, Dialect::V1) => return None,
        };
        let mut constraints = Vec::new();
        for (name, value) in query.into_iter().flat_map(|query| form_urlencoded::parse(query.as_bytes())) {
            if name.is_empty() || value.is_empty() {
                return None;
            }
            constraints.push((name.into(), value.into()));
        }
        // A question mark with nothing behind it would be a constraint that was lost.
        if query.is_some() && constraints.is_empty() {
            return None;
        }
        Some(Self { context, resource_type, permissions, constraints })
    }

    /// Whether it speaks of this type; `None` asks for every type.
    pub fn covers(&self, resource_type: Option<&str>) -> bool {
        match (&self.resource_type, resource_type) {
            (None, _) => true,
            (Some(own), Some(asked)) => own.as_ref() == asked,
            (Some(_), None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(text: &str) -> Option<SmartScope> {
        SmartScope::parse(text, Dialect::V2)
    }

    #[test]
    fn both_forms_are_read() {
        for (text, letters) in [
            ("patient/Observation.rs", "rs"),
            ("user/*.cruds", "cruds"),
            ("system/Patient.c", "c"),
            ("patient/*.read", "rs"),
            ("user/Patient.write", "cud"),
            ("user/Patient.*", "cruds"),
        ] {
            assert_eq!(v2(text).expect(text).permissions.to_string(), letters, "{text}");
        }
        let lab = v2("patient/Observation.rs?category=http://a/b|laboratory&status=final").expect("a scope");
        assert_eq!(
            lab.constraints,
            [("category".into(), "http://a/b|laboratory".into()), ("status".into(), "final".into())]
        );
    }

    #[test]
    fn what_is_malformed_allows_nothing() {
        for text in [
            "openid",
            "launch/patient",
            "offline_access",
            "patient/Observation",
            "patient/Observation.",
            "patient/Observation.dus",
            "patient/Observation.sr",
            "patient/Observation.rr",
            "patient/Observation.x",
            "patient/Observation.R",
            "patient/.rs",
            "patient/*Observation.rs",
            "patient/Observation.rs?",
            "patient/Observation.rs?category",
            "patient/Observation.rs?=x",
            "patient/Observation.read?category=x",
            "Patient/Observation.rs",
            "PATIENT/*.rs",
            "patient/Observation.rs ",
            "",
        ] {
            assert_eq!(v2(text), None, "{text}");
        }
        assert!(SmartScope::parse("patient/*.read", Dialect::V1).is_some());
        assert_eq!(SmartScope::parse("patient/*.rs", Dialect::V1), None);
    }

    #[test]
    fn a_type_is_covered_by_itself_or_by_all() {
        let (all, one) = (v2("user/*.r").expect("a scope"), v2("user/Patient.r").expect("a scope"));
        assert!(all.covers(None) && all.covers(Some("Patient")));
        assert!(one.covers(Some("Patient")) && !one.covers(Some("patient")) && !one.covers(None));
    }

    proptest! {
        #[test]
        fn letters_out_of_order_are_never_read(text in "[cruds]{1,6}") {
            let in_order = text.bytes().map(|letter| Permissions::LETTERS.iter().position(|known| *known == letter));
            let ascends = in_order.collect::<Vec<_>>().windows(2).all(|pair| pair[0] < pair[1]);
            let read = Permissions::parse(&text);
            prop_assert_eq!(read.is_some(), ascends);
            prop_assert_eq!(read.map(|read| read.to_string()), ascends.then_some(text));
        }
    }
}
