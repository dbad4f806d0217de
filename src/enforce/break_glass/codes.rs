//! Codes on paper, for when an issuer can't be reached: each stands in for one proof, once.
//!
//! The store has their digests, the paper has the codes, and nothing else has either. What lies in a store that was put
//! back to an earlier state does not count again: each is spent as a proof is.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::audit::event::{BreakGlassEvent, Event};
use crate::decision::Lookup;
use crate::enforce::Gate;
use crate::enforce::ports::Consumed;
use crate::enforce::staff::{JOURNAL, Withheld};
use crate::policy::Durability;
use crate::policy::break_glass::BreakGlass;
use crate::state::spent::ProofKey;

/// Crockford's base 32: no letter is taken for a digit, or the other way.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// The letters of a code: 80 bits. Whoever guesses may do so as often in a day as they may break the glass.
const LETTERS: usize = 16;
/// How long after its end it is remembered that a code was used.
const REMEMBER_AFTER: Duration = Duration::from_secs(24 * 3_600);

/// A code as it lies in the store, under its digest.
#[derive(Serialize, Deserialize)]
struct Kept {
    right: Box<str>,
    issued: i64,
    until: i64,
}

/// What came of using one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spent {
    /// It counted, and never will again.
    Done,
    /// There is no such code, or no longer.
    Refused,
    /// The store does not answer.
    Unknown,
}

/// A new code; `None` where the system gives no randomness.
fn new() -> Option<String> {
    let mut bytes = [0_u8; LETTERS];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    let letters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 31)));
    let mut code = String::new();
    for (at, letter) in letters.enumerate() {
        if at > 0 && at % 4 == 0 {
            code.push('-');
        }
        code.push(char::from(*letter));
    }
    Some(code)
}

/// A code as people type it, in the one spelling that counts; `None` for what can't be one.
fn read(typed: &str) -> Option<String> {
    let letters = typed.chars().filter(|letter| !matches!(letter, '-' | ' '));
    let read: Option<String> = letters
        .map(|letter| match letter.to_ascii_uppercase() {
            'O' => Some('0'),
            'I' | 'L' => Some('1'),
            upper => u8::try_from(upper).ok().filter(|byte| ALPHABET.contains(byte)).map(char::from),
        })
        .collect();
    read.filter(|code| code.len() == LETTERS)
}

/// What the store may know of a code that was read.
fn digest_of(code: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, format!("wardgate break-glass code {code}").as_bytes()).as_ref())
}

fn place(digest: &str) -> String {
    format!("break-glass:code:{digest}")
}

impl Gate {
    /// Makes codes of a right, which are good for `valid`. That there are more of them is on record first; what they are is
    /// told once, here.
    ///
    /// # Errors
    /// The store, the journal or the system's randomness can't be used. Codes that are in the store by then are nobody's.
    pub async fn issue_codes(
        &self,
        right: &BreakGlass,
        (count, valid): (usize, Duration),
        (uid, now): (u32, i64),
    ) -> Result<Vec<String>, Withheld> {
        let until = now.saturating_add(i64::try_from(valid.as_secs()).unwrap_or(0));
        let event = Event::BreakGlass(BreakGlassEvent {
            what: "codes_issued",
            right: &right.name,
            until: Some(until),
            result: Some(&count.to_string()),
            uid: Some(uid),
            drill: right.drill,
            ..BreakGlassEvent::default()
        });
        let recorded = self.journal.append(&event, Durability::Synced).await;
        recorded.map_err(|_| JOURNAL)?;
        super::count(&right.name, "codes_issued");
        let mut codes = Vec::new();
        for _ in 0..count {
            let code = new().ok_or(Withheld::Unavailable("the system gives no randomness"))?;
            let kept = Kept { right: right.name.clone(), issued: now, until };
            let (Some(read), Ok(bytes)) = (read(&code), serde_json::to_vec(&kept)) else { continue };
            if self.state.seal(&place(&digest_of(&read)), &bytes, valid).await != Lookup::Found(()) {
                return Err(Withheld::Unavailable("the state store did not confirm the codes"));
            }
            codes.push(code);
        }
        Ok(codes)
    }

    /// Uses a code up, at every gateway.
    pub(super) async fn spend_code(&self, right: &BreakGlass, typed: &str, now: i64) -> Spent {
        let Some(digest) = read(typed).map(|code| digest_of(&code)) else { return Spent::Refused };
        let bytes = match self.state.peek(&place(&digest)).await {
            Lookup::Found(bytes) => bytes,
            Lookup::Absent => return Spent::Refused,
            Lookup::Unavailable => return Spent::Unknown,
        };
        let Ok(kept) = serde_json::from_slice::<Kept>(&bytes) else { return Spent::Refused };
        if kept.right != right.name || kept.until <= now {
            return Spent::Refused;
        }
        let left = u64::try_from(kept.until.saturating_sub(now)).unwrap_or(0);
        let key = ProofKey::new(&["break-glass-code", &digest], kept.issued);
        match self.state.consume(&key, Duration::from_secs(left) + REMEMBER_AFTER).await {
            Consumed::Done(_) => {}
            Consumed::Already => return Spent::Refused,
            Consumed::Unknown => return Spent::Unknown,
        }
        // It is spent; what stays of it goes with its time.
        let _ = self.state.unseal(&place(&digest)).await;
        super::count(&right.name, "code_used");
        Spent::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_differ_and_can_be_typed_by_people() {
        let codes: std::collections::HashSet<String> = (0..100).map(|_| new().expect("random")).collect();
        assert_eq!(codes.len(), 100);
        for code in &codes {
            assert_eq!((code.len(), code.matches('-').count()), (19, 3), "{code}");
            let plain = code.replace('-', "");
            for typed in [code.clone(), plain.to_lowercase(), code.replace('-', " "), code.replace('0', "o")]
            {
                assert_eq!(read(&typed).as_deref(), Some(plain.as_str()), "{typed}");
            }
            assert_eq!(read(&code.replace('1', "l")).as_deref(), Some(plain.as_str()));
        }
        for nonsense in
            ["", "0000-0000-0000-000", "0000-0000-0000-00000", "0000-0000-0000-000U", "0000-0000-0000-000é"]
        {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }
}
