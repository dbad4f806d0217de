//! `wardgate audit prove` and `check-proof`.

use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::audit::frame::Head;
use crate::audit::proof::{Hashes, Proof};
use crate::audit::records::{Checkpoint, Segment, Signer};
use crate::audit::trail::trails;
use crate::audit::tree::Tree;
use crate::audit::verify::Kept;

/// Which record.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The directory of the trail.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The record's number (`seq`).
    #[arg(value_name = "NUMBER")]
    sequence: u64,
    /// Which trail of the directory: the name of its file without `.jsonl`.
    #[arg(long, value_name = "NAME", default_value = "audit")]
    trail: String,
}

/// What to check.
#[derive(Debug, clap::Args)]
pub struct CheckArguments {
    /// What `prove` printed.
    #[arg(value_name = "FILE")]
    proof: PathBuf,
    /// The public key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// What was read up to the checkpoint behind the record.
#[derive(Default)]
struct Reading {
    log: Option<Segment>,
    signer: Option<Signer>,
    hashes: Hashes,
    record: Option<String>,
}

/// Proves.
pub fn prove(arguments: &Arguments) -> Result<(), String> {
    let Arguments { dir, sequence, trail } = arguments;
    let mut trails = trails(dir).map_err(|error| format!("`{}` can't be read: {error}", dir.display()))?;
    let trail =
        trails.remove(trail).ok_or_else(|| format!("there is no trail `{trail}` in `{}`", dir.display()))?;
    let mut reading = Reading::default();
    let proof = trail
        .lines(|_, line| match line.is_ended.then(|| reading.line(line.bytes, *sequence)) {
            // The newest record may be on its way.
            None => ControlFlow::Continue(()),
            Some(Ok(None)) => ControlFlow::Continue(()),
            Some(Ok(Some(proof))) => ControlFlow::Break(Ok(proof)),
            Some(Err(why)) => ControlFlow::Break(Err(why)),
        })
        .map_err(|error| format!("the trail can't be read: {error}"))?
        .ok_or_else(|| match reading.record {
            Some(_) => format!("no checkpoint vouches for record {sequence} yet: try again in a second"),
            None => format!("there is no record {sequence}"),
        })??;
    println!("{}", serde_json::to_string_pretty(&proof).map_err(|error| error.to_string())?);
    Ok(())
}

impl Reading {
    /// Takes the next line; gives the proof once there is a checkpoint behind the record.
    fn line(&mut self, line: &[u8], wanted: u64) -> Result<Option<Proof>, String> {
        let broken = |_| "the trail was changed: see `wardgate audit verify`".to_owned();
        let head = Head::read(line).ok_or_else(|| broken(()))?;
        match head.event {
            "segment" => {
                let segment: Segment = serde_json::from_slice(line).map_err(|_| broken(()))?;
                if self.log.as_ref().is_none_or(|log| log.log != segment.log) {
                    // Files that were retired are not needed: what is proven of a tree with their roots is checked below.
                    let tree = Tree::resume(segment.size, segment.edge.clone()).ok_or_else(|| broken(()))?;
                    *self = Self { log: Some(segment), hashes: Hashes::resume(tree), ..Self::default() };
                }
            }
            "signer" => self.signer = Some(serde_json::from_slice(line).map_err(|_| broken(()))?),
            "checkpoint" if self.record.is_some() => {
                let Checkpoint { note } = serde_json::from_slice(line).map_err(|_| broken(()))?;
                return self.proof(note, wanted).map(Some).ok_or_else(|| broken(()));
            }
            _ => {}
        }
        if head.sequence == wanted {
            self.record = Some(String::from_utf8(line.to_vec()).map_err(|_| broken(()))?);
        }
        self.hashes.push(line).map_err(|_| broken(()))?;
        Ok(None)
    }

    fn proof(&mut self, checkpoint: String, wanted: u64) -> Option<Proof> {
        let (log, signer) = (self.log.take()?, self.signer.take()?);
        let index = wanted.checked_sub(log.tree_first)?;
        // What proves nothing is not given to anybody.
        let signed = Kept::read(&checkpoint)?;
        let tree = self.hashes.tree();
        (signed.log == log.log && (signed.size, signed.root) == (tree.size(), tree.root())).then_some(())?;
        Some(Proof {
            record: self.record.take()?,
            log: log.log,
            index,
            path: self.hashes.path(index).ok()?,
            checkpoint,
            signer: signer.key,
            certificate: signer.certificate,
        })
    }
}

/// Checks a proof.
pub fn check(arguments: &CheckArguments) -> Result<(), String> {
    let CheckArguments { proof, key } = arguments;
    let text = std::fs::read_to_string(proof)
        .map_err(|error| format!("`{}` can't be read: {error}", proof.display()))?;
    let key = super::key(Some(key), proof)?;
    let parsed: Proof =
        serde_json::from_str(&text).map_err(|error| format!("`{}` is no proof: {error}", proof.display()))?;
    parsed.check(&key).map_err(|why| format!("not proven: {why}"))?;
    println!("{}", parsed.record);
    Ok(())
}
