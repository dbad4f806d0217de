//! Values with a form of their own: durations, sizes, numbers, words from a list, names.
//!
//! Each reader reports what is wrong and gives the default then, so that its caller can go on and find more;
//! a report with an error in it refuses the configuration whatever was read.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::codes::Code;
use super::diagnostic::Place;
use super::report::{Report, instead, list};
use super::schema::{Given, Text, Texts};

/// Units of time, in milliseconds, the longest first.
const TIMES: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size, in bytes, the largest first.
const SIZES: &[(&str, u64)] = &[("GiB", 1024 * 1024 * 1024), ("MiB", 1024 * 1024), ("KiB", 1024), ("B", 1)];

/// The longest duration that means anything here: ten years.
pub(super) const FOREVER: Duration = seconds(3_650 * 86_400);

/// A duration in seconds, for tables of defaults.
pub(super) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A duration such as `150ms`, `10s`, `15m`, `1h` or `30d`.
pub(super) fn duration(
    report: &mut Report<'_>,
    given: &Given<Text>,
    default: Duration,
    range: RangeInclusive<Duration>,
) -> Duration {
    let Some(text) = given.as_ref() else {
        return default;
    };
    let range = millis(*range.start())..=millis(*range.end());
    quantity(report, text, "duration", TIMES, &range).map_or(default, Duration::from_millis)
}

/// A duration of whole seconds, for times that are compared with a token's.
pub(super) fn whole_seconds(report: &mut Report<'_>, given: &Given<Text>) -> Option<i64> {
    let text = given.as_ref()?;
    let read = quantity(report, text, "duration", TIMES, &(1_000..=millis(FOREVER)))?;
    if read % 1_000 != 0 {
        report.add(
            Code::BadQuantity,
            text,
            format!("`{}` is not in whole seconds", text.value),
            "write it in `s`, `m`, `h` or `d`",
        );
    }
    i64::try_from(read / 1_000).ok()
}

/// A size such as `32KiB` or `1MiB`, in bytes.
pub(super) fn size(
    report: &mut Report<'_>,
    given: &Given<Text>,
    default: usize,
    range: RangeInclusive<u64>,
) -> usize {
    let read = given.as_ref().and_then(|text| quantity(report, text, "size", SIZES, &range));
    read.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(default)
}

/// A plain number.
pub(super) fn count(
    report: &mut Report<'_>,
    given: &Given<Text>,
    range: RangeInclusive<usize>,
) -> Option<usize> {
    let text = given.as_ref()?;
    let read = text.value.parse::<usize>().ok().filter(|number| range.contains(number));
    if read.is_none() {
        let help = format!("write a whole number from {} to {}", range.start(), range.end());
        report.add(Code::BadQuantity, text, format!("`{}` is not a number that fits here", text.value), help);
    }
    read
}

/// One of several words.
pub(super) fn choice<T: Copy>(
    report: &mut Report<'_>,
    given: &Given<Text>,
    choices: &[(&str, T)],
    default: T,
) -> T {
    let Some(text) = given.as_ref() else {
        return default;
    };
    let found = choices.iter().find(|(word, _)| *word == text.value);
    if found.is_none() {
        let help = instead(&text.value, choices.iter().map(|(word, _)| *word));
        report.add(Code::UnknownWord, text, format!("`{}` is not one of the choices here", text.value), help);
    }
    found.map_or(default, |(_, meaning)| *meaning)
}

/// A text that is not empty.
pub(super) fn filled<'s>(report: &mut Report<'_>, text: &'s Text) -> &'s str {
    if text.value.trim().is_empty() {
        report.add(Code::Empty, text, "this text is empty", "write something, or leave the key out");
    }
    &text.value
}

/// The texts of a list, none of them empty; a list that is there must have some.
pub(super) fn texts(report: &mut Report<'_>, given: &Given<Texts>) -> Vec<Box<str>> {
    if let Some(list) = given.as_ref()
        && list.value.is_empty()
    {
        report.add(Code::Empty, list, "this list is empty", "write at least one item, or leave the key out");
    }
    given.items().iter().map(|text| filled(report, text).into()).collect()
}

/// Reports a name with characters that names don't have: they go into logs, metrics and headers unquoted.
pub(super) fn name(report: &mut Report<'_>, text: &Text) {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if text.value.is_empty() || text.value.len() > 100 || !text.value.bytes().all(fits) {
        let message = format!("`{}` is not a name", text.value);
        report.add(
            Code::BadName,
            text,
            message,
            "use letters, digits, `.`, `_` and `-`, at most 100 of them",
        );
    }
}

/// The path of a file that must be there and hold something; a relative one begins at the configuration's
/// directory.
pub(super) fn file(report: &mut Report<'_>, base_dir: &Path, text: &Text) -> PathBuf {
    let path = base_dir.join(&text.value);
    // Looked at before it is opened: to open a pipe would wait for its writer.
    let problem = match fs::metadata(&path) {
        Err(error) => Some(format!("`{}` can't be read: {}", text.value, reason(&error))),
        Ok(found) if !found.is_file() => Some(format!("`{}` is not a file", text.value)),
        Ok(found) if found.len() == 0 => Some(format!("`{}` is empty", text.value)),
        Ok(_) => match File::open(&path) {
            Err(error) => Some(format!("`{}` can't be read: {}", text.value, reason(&error))),
            Ok(_) => None,
        },
    };
    if let Some(problem) = problem {
        let help = "relative paths begin at the configuration's directory; the gateway's user must be able to read it";
        report.add(Code::FileMissing, text, problem, help);
    }
    path
}

/// A file's bytes, if it is one and at most `limit` long.
pub(super) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let found = fs::metadata(path)?;
    if !found.is_file() || found.len() > limit {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The error without the operating system's number.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        kind => kind.to_string(),
    }
}

/// Names that were seen, to find the one that comes again.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, Place>);

impl Names {
    /// Reports a name that was seen before.
    pub(super) fn add(&mut self, report: &mut Report<'_>, what: &str, text: &Text) {
        self.add_as(report, what, text, text.value.clone());
    }

    /// The same for names of which capitals make no other.
    pub(super) fn add_ignoring_case(&mut self, report: &mut Report<'_>, what: &str, text: &Text) {
        self.add_as(report, what, text, text.value.to_ascii_lowercase());
    }

    fn add_as(&mut self, report: &mut Report<'_>, what: &str, text: &Text, key: String) {
        match self.0.entry(key) {
            Entry::Occupied(first) => {
                let message = format!("a second {what} is called `{}`", text.value);
                let help = format!("the first is in line {}; rename one", first.get().line);
                report.add(Code::RepeatedName, text, message, help);
            }
            Entry::Vacant(vacant) => {
                vacant.insert(text.into());
            }
        }
    }
}

/// Reads a number and its unit, and reports what is wrong with them.
fn quantity(
    report: &mut Report<'_>,
    text: &Text,
    what: &str,
    units: &[(&str, u64)],
    range: &RangeInclusive<u64>,
) -> Option<u64> {
    let read = split(&text.value, units);
    if read.is_some_and(|value| range.contains(&value)) {
        return read;
    }
    let (message, help) = match read {
        Some(_) => {
            let help = format!(
                "write a {what} from {} to {}",
                show(*range.start(), units),
                show(*range.end(), units)
            );
            (format!("`{}` is out of range", text.value), help)
        }
        None => {
            let names: Vec<&str> = units.iter().rev().map(|(unit, _)| *unit).collect();
            let help = format!("write a whole number and one of the units {}", list(&names));
            (format!("`{}` is not a {what}", text.value), help)
        }
    };
    report.add(Code::BadQuantity, text, message, help);
    None
}

fn split(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let at = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(at)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Writes a quantity in the largest unit that needs no fraction.
fn show(value: u64, units: &[(&str, u64)]) -> String {
    let unit = units.iter().find(|(_, factor)| value > 0 && value.is_multiple_of(*factor)).or(units.last());
    unit.map_or_else(String::new, |(name, factor)| format!("{}{name}", value / factor))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_need_a_unit() {
        for (text, value) in
            [("150ms", 150), ("10s", 10_000), ("15m", 900_000), ("1h", 3_600_000), ("30d", 2_592_000_000)]
        {
            assert_eq!(split(text, TIMES), Some(value), "{text}");
        }
        assert_eq!(split("32KiB", SIZES), Some(32_768));
        for text in [
            "",
            "10",
            "s",
            "1.5s",
            "-1s",
            "1 s",
            "1h30m",
            "10 S",
            "1w",
            "99999999999999999999s",
            "20000000000000d",
            "1KB",
        ] {
            assert_eq!(split(text, TIMES).or(split(text, SIZES)), None, "{text}");
        }
    }

    #[test]
    fn shows_what_people_would_write() {
        for (value, text) in
            [(0, "0ms"), (150, "150ms"), (90_000, "90s"), (600_000, "10m"), (86_400_000, "1d")]
        {
            assert_eq!(show(value, TIMES), text);
        }
        assert_eq!(show(1_048_576, SIZES), "1MiB");
    }
}
