//! `wardgate audit tail`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::conditions::Conditions;
use super::query::{converted, unwritten};
use crate::audit::formats::{Encoder, Format};
use crate::audit::sinks::Follower;

/// So often it is looked whether there is something new.
const LOOK: Duration = Duration::from_millis(250);

/// Which records, and how they are printed.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The directory of the trail.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Begin with the first record there is, not with the next.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    conditions: Conditions,
    /// Print them in another format; without it as they stand.
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

/// Prints what fits, from one file to the next and of every trail there, until nobody reads it any more.
pub fn tail(arguments: &Arguments) -> Result<(), String> {
    let fail = |error: io::Error| format!("`{}` can't be read: {error}", arguments.dir.display());
    let follower = if arguments.all {
        Ok(Follower::from_start(&arguments.dir))
    } else {
        Follower::from_end(&arguments.dir)
    };
    let mut follower = follower.map_err(fail)?;
    let mut encoders: BTreeMap<String, Encoder> = BTreeMap::new();
    let mut out = io::BufWriter::new(io::stdout().lock());
    loop {
        let Some((trail, lines)) = follower.read_on().map_err(fail)? else {
            if let Err(error) = out.flush() {
                return unwritten(error);
            }
            std::thread::park_timeout(LOOK);
            continue;
        };
        for line in lines {
            let Ok(record) = serde_json::from_slice::<Value>(&line) else { continue };
            let fits = arguments.conditions.fit(&record);
            let shown = match arguments.format {
                None => fits.then_some(Cow::Borrowed(line.as_slice())),
                Some(format) => {
                    let encoder = encoders.entry(trail.clone()).or_insert_with(|| Encoder::new(format));
                    converted(encoder, &line, fits).map(Cow::Owned)
                }
            };
            let Some(shown) = shown else { continue };
            if let Err(error) = out.write_all(&shown).and_then(|()| out.write_all(b"\n")) {
                return unwritten(error);
            }
        }
    }
}
