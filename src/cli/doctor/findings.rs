//! What was found, how grave it is and what to do about it. Pure: the looks are in the files beside.

use std::fmt;

use serde::Serialize;

/// A day, in seconds.
const DAY: i64 = 24 * 60 * 60;
/// A certificate that ends so soon is a failure, in seconds.
const ENDS_NOW: i64 = 7 * DAY;
/// One that ends so soon is a warning.
const ENDS_SOON: i64 = 30 * DAY;
/// Clocks that differ by more are worth a warning, in seconds: half of it may be the question's own way.
const OUT_OF_STEP: i64 = 2;
/// From here on tokens that were just issued are refused as being from the future.
const TOO_FAR: i64 = 30;

/// How grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and should be mended.
    Warning,
    /// It does not work, or does not protect.
    Failure,
    /// It could not be looked at from here.
    Unknown,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of look it was.
    pub look: &'static str,
    /// What was looked at.
    pub about: String,
    /// How grave it is.
    pub verdict: Verdict,
    /// What was seen.
    pub says: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(look: &'static str, about: impl Into<String>, says: impl Into<String>) -> Self {
        Self { look, about: about.into(), verdict: Verdict::Ok, says: plain(&says.into()), remedy: None }
    }

    /// Something to mend in time.
    pub fn warning(
        look: &'static str,
        about: impl Into<String>,
        says: impl Into<String>,
        remedy: &str,
    ) -> Self {
        Self { verdict: Verdict::Warning, remedy: Some(remedy.to_owned()), ..Self::ok(look, about, says) }
    }

    /// Something to mend now.
    pub fn failure(
        look: &'static str,
        about: impl Into<String>,
        says: impl Into<String>,
        remedy: &str,
    ) -> Self {
        Self { verdict: Verdict::Failure, ..Self::warning(look, about, says, remedy) }
    }

    /// Something that can't be seen from here.
    pub fn unknown(
        look: &'static str,
        about: impl Into<String>,
        says: impl Into<String>,
        remedy: &str,
    ) -> Self {
        Self { verdict: Verdict::Unknown, ..Self::warning(look, about, says, remedy) }
    }
}

/// Others' words on a terminal: without what could move its cursor.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { look, about, verdict, says, remedy } = self;
        write!(formatter, "{:<8} {look:<12} {about}: {says}", verdict.name())?;
        remedy.iter().try_for_each(|remedy| write!(formatter, "; {remedy}"))
    }
}

/// How many there are of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// As they should be.
    pub ok: usize,
    /// To be mended in time.
    pub warnings: usize,
    /// To be mended now.
    pub failures: usize,
    /// Not seen.
    pub unknown: usize,
}

impl Count {
    /// Counts them.
    pub fn of(findings: &[Finding]) -> Self {
        let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
        Self {
            ok: count(Verdict::Ok),
            warnings: count(Verdict::Warning),
            failures: count(Verdict::Failure),
            unknown: count(Verdict::Unknown),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ok, warnings, failures, unknown } = self;
        write!(
            formatter,
            "{ok} ok, {warnings} warnings, {failures} failures, {unknown} could not be looked at"
        )
    }
}

/// Another clock less this machine's, in seconds.
pub fn clock(about: &str, ahead: i64) -> Finding {
    let apart = ahead.saturating_abs();
    let says = format!("its clock is {apart} s {}", if ahead < 0 { "behind" } else { "ahead" });
    let remedy = "set both clocks by the same source (NTP)";
    match apart {
        0..=OUT_OF_STEP => Finding::ok("clock", about, "its clock is in step"),
        apart if apart < TOO_FAR => Finding::warning("clock", about, says, remedy),
        _ => Finding::failure("clock", about, says, remedy),
    }
}

/// A certificate that counts from `begins` until `ends`; all in Unix seconds. One `of_many` authorities is missed less.
pub fn validity(about: &str, (begins, ends): (i64, i64), now: i64, of_many: bool) -> Finding {
    let renew = "renew it; the gateway reads the file again by itself";
    let left = ends.saturating_sub(now);
    let days = format!("ends in {} days", left / DAY);
    if begins > now {
        return Finding::failure(
            "certificate",
            about,
            "does not count yet",
            "look at this machine's clock and at the file",
        );
    }
    match left {
        ..0 if of_many => Finding::warning(
            "certificate",
            about,
            "one of its authorities has expired",
            "take it out of the file",
        ),
        ..0 => Finding::failure("certificate", about, format!("expired {} days ago", -left / DAY), renew),
        left if left < ENDS_NOW && !of_many => Finding::failure("certificate", about, days, renew),
        left if left < ENDS_SOON => Finding::warning("certificate", about, days, renew),
        _ => Finding::ok("certificate", about, days),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_and_what_to_do_and_moves_no_cursor() {
        let finding = Finding::warning("redis", "a:1", "version \u{1b}[2J1\n2", "upgrade it");
        assert_eq!(finding.to_string(), "warning  redis        a:1: version  [2J1 2; upgrade it");
        let json = serde_json::to_value(Finding::ok("redis", "a:1", "here")).expect("JSON");
        assert_eq!(
            json,
            serde_json::json!({"look": "redis", "about": "a:1", "verdict": "ok", "says": "here"})
        );
    }

    #[test]
    fn clocks_have_thresholds() {
        let of = |ahead| clock("idp", ahead).verdict;
        assert_eq!([of(0), of(2), of(-2)], [Verdict::Ok; 3]);
        assert_eq!([of(3), of(-29)], [Verdict::Warning; 2]);
        assert_eq!([of(30), of(-30), of(i64::MIN)], [Verdict::Failure; 3]);
    }

    #[test]
    fn certificates_have_thresholds() {
        let of = |begins: i64, ends: i64| validity("c", (begins * DAY, ends * DAY), 100 * DAY, false).verdict;
        assert_eq!([of(0, 99), of(0, 106), of(101, 200)], [Verdict::Failure; 3]);
        assert_eq!([of(0, 107), of(0, 129)], [Verdict::Warning; 2]);
        assert_eq!(of(0, 130), Verdict::Ok);
        assert_eq!(validity("c", (0, 1), 100 * DAY, true).verdict, Verdict::Warning);
    }
}
