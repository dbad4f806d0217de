//! The hours in which people are expected to work, where they work.

use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

/// Hours of some days of the week, in a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// From then on.
    pub from: Time,
    /// Until just before then; where it is not later than `from`, of the day after.
    pub until: Time,
    /// On which days; hours past midnight belong to the day on which they began.
    pub days: Vec<Weekday>,
    /// Where.
    pub zone: TimeZone,
}

impl Hours {
    /// Whether a moment is within them.
    pub fn contains(&self, moment: Timestamp) -> bool {
        let there = moment.to_zoned(self.zone.clone());
        let (day, time) = (there.weekday(), there.time());
        if self.from < self.until {
            return self.days.contains(&day) && self.from <= time && time < self.until;
        }
        (self.days.contains(&day) && self.from <= time)
            || (self.days.contains(&day.previous()) && time < self.until)
    }

    /// Reads `07:00-19:00`.
    pub fn read_times(text: &str) -> Option<(Time, Time)> {
        let (from, until) = text.split_once('-')?;
        let read = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            let is_short = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            (is_short(hour) && is_short(minute)).then_some(())?;
            Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
        };
        read(from).zip(read(until))
    }

    /// Reads `mon`.
    pub fn read_day(text: &str) -> Option<Weekday> {
        Some(match text {
            "mon" => Weekday::Monday,
            "tue" => Weekday::Tuesday,
            "wed" => Weekday::Wednesday,
            "thu" => Weekday::Thursday,
            "fri" => Weekday::Friday,
            "sat" => Weekday::Saturday,
            "sun" => Weekday::Sunday,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(times: &str, days: &[&str]) -> Hours {
        let (from, until) = Hours::read_times(times).expect("times");
        let days = days.iter().map(|day| Hours::read_day(day).expect("a day")).collect();
        Hours { from, until, days, zone: TimeZone::get("Europe/Vienna").expect("a zone") }
    }

    #[test]
    fn hours_are_those_of_the_place() {
        let day = hours("07:00-19:00", &["mon", "tue"]);
        let contains = |hours: &Hours, moment: &str| hours.contains(moment.parse().expect("a moment"));
        // Monday; in November Vienna is an hour ahead of UTC, in July two.
        assert!(contains(&day, "2026-11-23T06:00:00Z") && contains(&day, "2026-11-23T17:59:59Z"));
        assert!(!contains(&day, "2026-11-23T05:59:59Z") && !contains(&day, "2026-11-23T18:00:00Z"));
        assert!(contains(&day, "2026-07-20T05:00:00Z") && !contains(&day, "2026-07-20T17:00:00Z"));
        assert!(!contains(&day, "2026-11-25T10:00:00Z"), "a Wednesday");
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_began() {
        let night = hours("22:00-06:00", &["fri"]);
        let contains = |moment: &str| night.contains(moment.parse().expect("a moment"));
        assert!(contains("2026-11-27T21:30:00Z"), "Friday night");
        assert!(contains("2026-11-28T04:30:00Z"), "Saturday morning");
        assert!(!contains("2026-11-28T21:30:00Z") && !contains("2026-11-27T04:30:00Z"));
        for text in ["7:00-19:00", "07:00", "25:00-26:00", "07:00-19:00:00", ""] {
            assert_eq!(Hours::read_times(text), None, "{text}");
        }
    }
}
