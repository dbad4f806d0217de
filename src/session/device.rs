//! Browsers that are recognised: one in which a person has given strong proof before.
//!
//! The browser holds a secret; what it stands for lies sealed in the store: whose it is, by a digest, at which host, since
//! when, and how strong the proof was. It vouches for nobody: only beside a session of the same person does it say anything,
//! and where it can't be told the rules that ask are answered as for a failure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::{MARGIN, keep, understood};
use super::resume::seconds;
use super::{BrowserSessions, cookie, secret};
use crate::config::settings::RecognisedDevice;
use crate::decision::Lookup;
use crate::enforce::ports::{RevocationClaim, RevocationKey};
use crate::identity::{Level, Subject};
use crate::request::device::DeviceId;

/// How long a replaced name still counts: for requests that were on their way when the browser got the new one.
const OLD_NAME_COUNTS: Duration = Duration::from_secs(10);

/// What a browser's secret stands for.
#[derive(Serialize, Deserialize)]
struct Device {
    /// Whose it is: a digest.
    person: Box<str>,
    /// The host at which it was given.
    host: Box<str>,
    /// The configured name of the level that was proven.
    level: Box<str>,
    /// Since when, in Unix seconds.
    since: i64,
}

/// Where it lies.
fn device_key(device: &str) -> String {
    format!("device:{}", secret::digest(device))
}

impl BrowserSessions {
    /// How an issuer's people have their browsers recognised.
    fn recognition(&self, position: usize) -> Option<RecognisedDevice> {
        let sign_in = self.issuers.get(position)?.sign_in.as_ref()?;
        // Whoever sits there next is somebody else.
        sign_in.recognised_device.filter(|_| !sign_in.shared_workstation)
    }

    /// A person's name, which nobody who reads it can guess without knowing the person, and nobody else has: what an issuer
    /// is called in the configuration may mean another one some day.
    fn person(&self, subject: &Subject) -> Option<String> {
        let rules = self.providers.rules(subject.issuer_index)?;
        Some(secret::digest(&format!("{} {} {}", rules.name, rules.issuer, subject.id)))
    }

    /// Lets the browser be recognised from now on, where the proof is strong enough for that: the cookie. `old` is the name
    /// that it had.
    pub(super) async fn recognise(
        &self,
        (subject, host): (&Subject, &str),
        level: Level,
        old: Option<&DeviceId>,
        now: i64,
    ) -> Option<String> {
        let settings = self.recognition(subject.issuer_index).filter(|settings| level >= settings.after)?;
        let person = self.person(subject)?;
        let id = secret::new()?;
        let device = Device {
            person: person.clone().into(),
            host: host.into(),
            level: self.policy.levels.name(level).into(),
            since: now,
        };
        // Where it can't be kept the browser stays as unknown as it was.
        if !keep(self.state.as_ref(), &device_key(&id), &device, settings.lasts + MARGIN).await {
            return None;
        }
        if let Some(old) = old.map(|old| device_key(old.as_str()))
            && let Lookup::Found(replaced) = understood::<Device>(self.state.peek(&old).await)
            // Another's name is not this person's to end.
            && *replaced.person == *person
        {
            keep(self.state.as_ref(), &old, &replaced, OLD_NAME_COUNTS).await;
        }
        Some(cookie::device(&id, settings.lasts))
    }

    /// Whether a browser was recognised as this person's, and nothing was revoked since.
    pub(super) async fn recognised(
        &self,
        device: &DeviceId,
        host: &str,
        subject: &Subject,
        now: i64,
    ) -> Lookup<()> {
        let Some(settings) = self.recognition(subject.issuer_index) else { return Lookup::Absent };
        let found = match understood::<Device>(self.state.peek(&device_key(device.as_str())).await) {
            Lookup::Found(found) => found,
            Lookup::Absent => return Lookup::Absent,
            Lookup::Unavailable => return Lookup::Unavailable,
        };
        let is_theirs = self.person(subject).is_some_and(|person| *person == *found.person);
        let was_strong = self.policy.levels.find(&found.level).is_some_and(|level| level >= settings.after);
        let has_ended = now.saturating_sub(found.since) >= seconds(settings.lasts);
        if !is_theirs || *found.host != *host || !was_strong || has_ended {
            return Lookup::Absent;
        }
        // Not those of the session, which may have begun after whatever ended all that was before.
        let names = [
            (RevocationClaim::Subject, Some(subject.id.as_ref())),
            (RevocationClaim::Client, subject.client.as_deref()),
        ];
        let key = |(claim, value): (_, Option<_>)| {
            Some(RevocationKey { issuer: &subject.issuer, claim, value: value? })
        };
        let keys: Vec<RevocationKey<'_>> = names.into_iter().filter_map(key).collect();
        match self.state.not_before(&keys).await {
            Lookup::Found(moment) if found.since < moment => Lookup::Absent,
            Lookup::Found(_) | Lookup::Absent => Lookup::Found(()),
            Lookup::Unavailable => Lookup::Unavailable,
        }
    }
}
