//! Registers: things that are numbered by their day, the same at every gateway.
//!
//! A store can't list what it holds. So each thing takes the next free number of its day, once and for all gateways, as
//! a proof is spent; who looks for them tries the numbers. A number that was taken by a process that died then stays
//! empty, and nothing was done under it.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use jiff::civil::Date;

use super::Gate;
use super::ports::Consumed;
use crate::state::spent::ProofKey;

/// So long numbers are taken.
pub(super) const KEPT: Duration = Duration::from_secs(366 * 24 * 3_600);
/// So many are taken on one day.
const MOST_A_DAY: u32 = 2_000;
/// So many numbers in a row may be empty where more follow: those of processes that died, or could not reach the store.
const MOST_EMPTY: u32 = 8;
/// So many days are looked at at a time.
const DAYS_AT_A_TIME: usize = 32;

/// The day of a moment, in UTC.
pub(super) fn day(now: i64) -> Option<Date> {
    Some(jiff::Timestamp::from_second(now).ok()?.to_zoned(jiff::tz::TimeZone::UTC).date())
}

impl Gate {
    /// Takes the next free number of the day in a register. `None` where the store does not answer, or the day is full.
    pub(super) async fn take_number(&self, register: &str, now: i64) -> Option<Box<str>> {
        let day = day(now)?.to_string();
        for number in 1..=MOST_A_DAY {
            // A number is no event that a store without memory could have missed: who lost it has lost its entry too.
            let key = ProofKey::new(&[register, &day, &number.to_string()], i64::MAX);
            match self.state.consume(&key, KEPT).await {
                Consumed::Done(_) => return Some(format!("{day}.{number}").into()),
                Consumed::Already => {}
                Consumed::Unknown => return None,
            }
        }
        None
    }
}

/// Looks at what is kept under one number.
pub(super) type Look<'l, T> = dyn Fn(String) -> BoxFuture<'l, Result<Option<T>, ()>> + Sync + 'l;

/// What `look` finds under the numbers of the last days, the newest day first.
///
/// # Errors
/// The store does not answer.
pub(super) async fn last_days<'l, T>(now: i64, days: i32, look: &Look<'l, T>) -> Result<Vec<T>, ()> {
    let Some(today) = day(now) else { return Err(()) };
    let looks = (0..days).map(|back| one_day(today, back, look));
    let days: Vec<Result<Vec<T>, ()>> = stream::iter(looks).buffered(DAYS_AT_A_TIME).collect().await;
    let mut found = Vec::new();
    for day in days {
        found.extend(day?);
    }
    Ok(found)
}

async fn one_day<'l, T>(today: Date, back: i32, look: &Look<'l, T>) -> Result<Vec<T>, ()> {
    let (mut found, mut empty) = (Vec::new(), 0);
    let Ok(day) = today.checked_sub(jiff::Span::new().days(back)) else { return Ok(found) };
    for number in 1..=MOST_A_DAY {
        match look(format!("{day}.{number}")).await? {
            Some(one) => {
                empty = 0;
                found.push(one);
            }
            None => empty += 1,
        }
        if empty > MOST_EMPTY {
            break;
        }
    }
    Ok(found)
}
