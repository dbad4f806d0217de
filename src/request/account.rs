//! The name of an account as somebody writes it who has not signed in: one spelling of it, so that each is counted once.

use std::borrow::Cow;
use std::fmt;

use unicode_normalization::UnicodeNormalization as _;

use super::body::BodyFacts;
use super::names::{fold, is_near};
use super::shown::is_invisible;
use super::target::Target;

/// Longer names are none: 254 bytes, as the longest address of a mailbox (RFC 5321 §4.5.3.1.3, less its brackets).
const MOST_BYTES: usize = 254;
/// More letters are not looked at: normalisation may make them fewer, or many more.
const MOST_RAW: usize = 1_024;

/// The name of an account, in its one spelling. It is somebody's: `Debug` hides it, and what leaves the process holds
/// keyed digests of it only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Account(Box<str>);

impl fmt::Debug for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Account(hidden)")
    }
}

impl Account {
    /// Takes a name as it was written: normalised (NFKC, UAX #15), without blanks around it, in small letters.
    ///
    /// `None` where nothing is left, where it is too long, or holds what nobody sees: two names that look alike would be
    /// counted apart.
    pub fn parse(written: &str) -> Option<Self> {
        if written.len() > MOST_RAW {
            return None;
        }
        let normal: String = written.nfkc().collect();
        let name = normal.trim().to_lowercase();
        // What stands for bytes that are no text (U+FFFD) would be one name here and another at the application.
        let is_no_letter = |letter: char| letter.is_control() || is_invisible(letter) || letter == '\u{fffd}';
        let is_plain = !name.chars().any(is_no_letter);
        (!name.is_empty() && name.len() <= MOST_BYTES && is_plain).then(|| Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What attempts are counted under: names that some application takes for one share it, as `νικος` and `νικοσ`.
    pub fn counted(&self) -> Cow<'_, str> {
        fold(&self.0)
    }
}

/// The account that a field of a body names, where no server could find another one in body or query.
///
/// A dotted name steps into nested objects of JSON.
pub fn in_body(body: &BodyFacts, target: &Target, field: &str) -> Option<Account> {
    let top = match body {
        BodyFacts::Json(_) => field.split('.').next().unwrap_or(field),
        BodyFacts::Form(_) => field,
    };
    let names = body.every_name();
    let mut near = names.iter().filter(|name| is_near(name, top));
    let is_alone = near.next().is_some_and(|name| *name == top) && near.next().is_none();
    // Many frameworks make one list of the fields of body and query.
    let is_elsewhere = target.query_names().any(|name| is_near(&name, top));
    if !is_alone || is_elsewhere {
        return None;
    }
    Account::parse(&body.field(field)?)
}

/// The account that a parameter of the query names; who may find another one in a body is for the caller to say.
pub fn in_query(target: &Target, parameter: &str) -> Option<Account> {
    Account::parse(&target.query_alone(parameter)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::body::Media;

    fn name(written: &str) -> Option<String> {
        Account::parse(written).map(|account| account.as_str().to_owned())
    }

    #[test]
    fn every_spelling_of_a_name_is_one() {
        for written in ["alice", " Alice ", "ALICE\t", "\u{ff21}lice", "\u{ff41}\u{ff4c}ice", "al\u{2170}ce"]
        {
            assert_eq!(name(written).as_deref(), Some("alice"), "{written:?}");
        }
        assert_eq!(name("Jose\u{301}"), name("JOS\u{c9}"), "composed or not");
        assert_eq!(name("\u{212a}ay"), name("kay"), "the Kelvin sign");
        assert_eq!(name("a@b.example").as_deref(), Some("a@b.example"));
        let counted = |written| Account::parse(written).map(|account| account.counted().into_owned());
        for (one, other) in [("νικος", "νικοσ"), ("straße", "strasse")] {
            assert_eq!((counted(one), name(one) == name(other)), (counted(other), false), "{one}");
        }
        assert!(!format!("{:?}", Account::parse("alice")).contains("alice"));
    }

    #[test]
    fn what_nobody_could_tell_apart_is_no_name() {
        for written in [
            "",
            " ",
            "\u{3000}",
            "alice\u{fffd}",
            "ali\u{200b}ce",
            "ali\u{ad}ce",
            "a\0b",
            "a\nb",
            "\u{202e}ecila",
        ] {
            assert_eq!(name(written), None, "{written:?}");
        }
        assert!(name(&"a".repeat(MOST_BYTES)).is_some());
        assert_eq!(name(&"a".repeat(MOST_BYTES + 1)), None);
        // One letter that normalisation makes eighteen of.
        assert_eq!(name(&"\u{fdfa}".repeat(20)), None);
    }

    fn found(media: Media, target: &str, field: &str, body: &str) -> Option<String> {
        let target = Target::parse(target.as_bytes()).expect("a target");
        let facts = BodyFacts::read(media, body.as_bytes())?;
        in_body(&facts, &target, field).map(|account| account.as_str().to_owned())
    }

    #[test]
    fn one_field_names_it() {
        let form = |body| found(Media::Form, "/", "username", body);
        assert_eq!(form("username=Alice&x=1").as_deref(), Some("alice"));
        for body in [
            "",
            "user=alice",
            "username=",
            "username=a&username=b",
            "username=a&Username=b",
            "username=a&username[]=b",
            "username=a&x=1;username=b",
            "username[]=a",
            "USERNAME=a",
            "username=a%00",
        ] {
            assert_eq!(form(body), None, "{body}");
        }
        assert_eq!(found(Media::Form, "/?username=b", "username", "username=a"), None);
        assert_eq!(found(Media::Form, "/?a=1;username=b", "username", "username=a"), None);
        assert_eq!(found(Media::Form, "/?q=b", "username", "username=a").as_deref(), Some("a"));
        let json = |field, body| found(Media::Json, "/", field, body);
        assert_eq!(json("username", r#"{"username":"Alice"}"#).as_deref(), Some("alice"));
        assert_eq!(json("account.name", r#"{"account":{"name":"Alice"}}"#).as_deref(), Some("alice"));
        assert_eq!(json("number", r#"{"number":4711}"#).as_deref(), Some("4711"));
        for body in [
            r#"{"username":["alice"]}"#,
            r#"{"username":null}"#,
            r#"{"username":"a","UserName":"b"}"#,
            r#"{"username":"a","username[]":"b"}"#,
            r#"["username"]"#,
            r#"{"user":{"username":"a"}}"#,
        ] {
            assert_eq!(json("username", body), None, "{body}");
        }
    }

    #[test]
    fn a_parameter_names_it_where_it_stands_alone() {
        let found = |target: &str| {
            let target = Target::parse(target.as_bytes()).expect("a target");
            in_query(&target, "user").map(|account| account.as_str().to_owned())
        };
        assert_eq!(found("/?user=Alice").as_deref(), Some("alice"));
        for target in ["/", "/?user=", "/?user=a&user=b", "/?user=a&User=b", "/?user=a;b=c"] {
            assert_eq!(found(target), None, "{target}");
        }
    }
}
