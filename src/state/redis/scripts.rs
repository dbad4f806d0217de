//! What happens inside Redis, each in one step that nothing can come between.
//!
//! # Epochs
//! Beside the proofs lies an epoch: the server's `run_id` and the moment since which this memory is known to be whole.
//! A missing epoch means that the memory was emptied. Another `run_id` means that another process serves it: a restart,
//! which may have lost what was not yet on the disk, or a replica that took over, which may have been behind. In both
//! cases a new epoch begins, and a proof from before it pays for nothing.
//!
//! The moment is the later of the server's and the gateway's clock, since gateways take no proof from the future. It
//! never goes back, so that a gateway whose clock is far ahead is not believed: it would refuse everybody's proofs until
//! then, on every gateway.

use redis::{Cmd, cmd};

/// Finds or begins the epoch whose key is `KEYS[2]`. `ARGV[1]` is the gateway's time in seconds; `ARGV[2]` the server's
/// `run_id`, or empty where the caller can't know which server answers.
macro_rules! with_epoch {
    ($($rest:literal)*) => {
        concat!(
            r"
local run = ARGV[2]
if run == '' then
  run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end
local start = 0
local time = tonumber(redis.call('TIME')[1])
local now = math.max(time, math.min(tonumber(ARGV[1]), time + 5))
local is_known = false
local epoch = redis.call('GET', KEYS[2])
if epoch then
  local of, since = string.match(epoch, '^(%w+) (%d+)$')
  start = tonumber(since) or 0
  is_known = of == run
end
if not is_known then
  start = math.max(start, now)
  epoch = run .. ' ' .. string.format('%d', start)
  redis.call('SET', KEYS[2], epoch)
end
",
            $($rest,)*
        )
    };
}

/// 1: spent by this call; 0: spent before; -1: from before the epoch. The value is the call's own token, so that a
/// call that is sent twice on the way does not find its own proof spent.
const CONSUME: &str = with_epoch!(
    r"
if tonumber(ARGV[3]) <= start then return -1 end
if redis.call('SET', KEYS[1], ARGV[4], 'NX', 'PX', ARGV[5]) then return 1 end
if redis.call('GET', KEYS[1]) == ARGV[4] then return 1 end
return 0
"
);

/// Keeps the epoch beside the bytes.
const SEAL: &str = with_epoch!(
    r"
redis.call('SET', KEYS[1], epoch .. '\n' .. ARGV[3], 'PX', ARGV[4])
return 1
"
);

/// Keeps a word where there is none, or the same for longer; gives the one that is there then.
const HOLD: &str = r"
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return held end
local keep = math.max(tonumber(ARGV[2]), redis.call('PTTL', KEYS[1]))
redis.call('SET', KEYS[1], ARGV[1], 'PX', string.format('%d', keep))
return ARGV[1]
";

/// Takes the bytes out; those of another epoch may have been taken out before.
const UNSEAL: &str = with_epoch!(
    r"
local kept = redis.call('GET', KEYS[1])
if not kept then return false end
redis.call('DEL', KEYS[1])
local of = epoch .. '\n'
if string.sub(kept, 1, #of) ~= of then return false end
return string.sub(kept, #of + 1)
"
);

/// Writes, so that replicas have something to confirm. Gives the epoch's beginning, what Redis does when its memory is
/// full, and how much it has evicted since it started. Where it may evict, an epoch begins with each probe: proofs may
/// be gone while the epoch, which has no end, is kept.
const PROBE: &str = with_epoch!(
    r"
redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000)
local policy = string.match(redis.call('INFO', 'memory'), 'maxmemory_policy:([%w%-]+)') or ''
if policy ~= '' and policy ~= 'noeviction' then
  start = math.max(start, now)
  redis.call('SET', KEYS[2], run .. ' ' .. string.format('%d', start))
end
local evicted = tonumber(string.match(redis.call('INFO', 'stats'), 'evicted_keys:(%d+)')) or 0
return { start, policy, evicted }
"
);

/// Counts an event in one of 64 parts of the span. A part counts until its last moment has left the span: the count is
/// never less than what happened, and an event counts for at most a 64th of the span too long.
const WINDOW: &str = r"
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local span = tonumber(ARGV[1])
local width = math.max(1, math.ceil(span / 64))
local part = math.floor(now / width)
local oldest = math.floor((now - span) / width)
redis.call('HINCRBY', KEYS[1], string.format('%.0f', part), 1)
local parts = redis.call('HGETALL', KEYS[1])
local sum = 0
for at = 1, #parts, 2 do
  if tonumber(parts[at]) >= oldest then
    sum = sum + tonumber(parts[at + 1])
  else
    redis.call('HDEL', KEYS[1], parts[at])
  end
end
redis.call('PEXPIRE', KEYS[1], math.ceil((span + width) / 1000))
return sum
";

/// Notes a member with the moment, and keeps no more than `ARGV[3]` of them: those of the last moments. As many as are
/// kept are all in the span, or there are fewer.
const DISTINCT: &str = r"
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local span, most = tonumber(ARGV[1]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - span))
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[2])
local count = redis.call('ZCARD', KEYS[1])
if count > most then
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, count - most - 1)
  count = most
end
redis.call('PEXPIRE', KEYS[1], math.ceil(span / 1000))
return count
";

/// Finds out whether the revocation table has lost something: it belongs to another lineage than the caller has seen,
/// or has counted less. Then everything from before now is revoked, since nobody knows what was. That counts like a
/// revocation, so that the next loss is found as well. `KEYS[1]` is the revision, `KEYS[2]` the floor; `ARGV` is the
/// lineage and count that were seen, the gateway's time, a name for a new lineage, and the channel on which a change is
/// announced. The announcement is the revision and nothing else. Whether it may be made never decides whether the
/// change is: gateways find it by looking, too.
macro_rules! with_revision {
    ($($rest:literal)*) => {
        concat!(
            r"
local lineage, count = ARGV[4], 0
local revision = redis.call('GET', KEYS[1])
if revision then
  local of, so_many = string.match(revision, '^(%w+) (%d+)$')
  lineage, count = of or lineage, tonumber(so_many) or 0
end
local seen = tonumber(ARGV[2])
local is_other = seen > 0 and ARGV[1] ~= lineage
local lost = is_other or count < seen
local has_changed = lost
if lost then
  local time = tonumber(redis.call('TIME')[1])
  local floor = math.max(time, math.min(tonumber(ARGV[3]), time + 5)) + 1
  floor = math.max(floor, tonumber(redis.call('GET', KEYS[2]) or '0'))
  redis.call('SET', KEYS[2], string.format('%d', floor))
  if not is_other then count = seen end
  count = count + 1
end
",
            $($rest,)*
            r"
revision = lineage .. ' ' .. string.format('%d', count)
redis.call('SET', KEYS[1], revision)
local announced = -1
if has_changed then
  local sent = redis.pcall('PUBLISH', ARGV[5], revision)
  announced = type(sent) == 'table' and sent.err and 0 or 1
end
return { revision, lost and 1 or 0, announced }
"
        )
    };
}

const REVOKE: &str = with_revision!(
    r"
local moment, keep = tonumber(ARGV[6]), tonumber(ARGV[7])
local before = redis.call('GET', KEYS[3])
if before then
  moment = math.max(moment, tonumber(before))
  keep = math.max(keep, redis.call('PTTL', KEYS[3]))
end
redis.call('SET', KEYS[3], string.format('%d', moment), 'PX', string.format('%d', keep))
count = count + 1
has_changed = true
"
);

const REPAIR: &str = with_revision!("");

/// What every script with an epoch is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'t> {
    /// The gateway's time, in Unix seconds.
    pub(super) now: i64,
    /// The server's `run_id`, where it is known.
    pub(super) run: &'t str,
}

fn eval(script: &str, keys: &[String]) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(script).arg(keys.len()).arg(keys);
    command
}

fn told(script: &str, keys: &[String], told: Told<'_>) -> Cmd {
    let mut command = eval(script, keys);
    command.arg(told.now).arg(told.run);
    command
}

pub(super) fn consume(keys: &[String; 2], of: Told<'_>, moment: i64, token: &str, keep_ms: u64) -> Cmd {
    let mut command = told(CONSUME, keys, of);
    command.arg(moment).arg(token).arg(keep_ms);
    command
}

pub(super) fn seal(keys: &[String; 2], of: Told<'_>, bytes: &[u8], keep_ms: u64) -> Cmd {
    let mut command = told(SEAL, keys, of);
    command.arg(bytes).arg(keep_ms);
    command
}

pub(super) fn unseal(keys: &[String; 2], of: Told<'_>) -> Cmd {
    told(UNSEAL, keys, of)
}

pub(super) fn hold(key: &str, word: &str, keep_ms: u64) -> Cmd {
    let mut command = eval(HOLD, &[key.to_owned()]);
    command.arg(word).arg(keep_ms);
    command
}

/// Reads what [`seal`] or [`hold`] has kept; see [`kept`].
pub(super) fn peek(key: String) -> Cmd {
    let mut command = cmd("GET");
    command.arg(key);
    command
}

/// The bytes behind the epoch that they are kept under.
pub(super) fn kept(mut whole: Vec<u8>) -> Option<Vec<u8>> {
    let epoch = whole.iter().position(|byte| *byte == b'\n')?;
    whole.drain(..=epoch);
    Some(whole)
}

pub(super) fn probe(keys: &[String; 2], of: Told<'_>) -> Cmd {
    let [epoch, probe] = keys.clone();
    told(PROBE, &[probe, epoch], of)
}

pub(super) fn window(key: String, span_micros: u128) -> Cmd {
    let mut command = eval(WINDOW, &[key]);
    command.arg(span_micros.to_string());
    command
}

pub(super) fn distinct(key: String, member: &str, span_micros: u128, most: usize) -> Cmd {
    let mut command = eval(DISTINCT, &[key]);
    command.arg(span_micros.to_string()).arg(member).arg(most.max(1));
    command
}

/// How much of the revocation table was seen: its lineage, empty where nothing was, and its count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Revision {
    pub(super) lineage: Box<str>,
    pub(super) count: u64,
}

impl Revision {
    /// Reads what stands in Redis.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (lineage, count) = text.split_once(' ')?;
        Some(Self { lineage: lineage.into(), count: count.parse().ok()? })
    }
}

/// What the scripts of the revocation table say: its revision as text, whether it had lost something (1), and whether
/// a change was announced (1), could not be (0), or there was none (-1).
pub(super) type Changed = (String, i64, i64);

/// What the scripts of the revocation table work on, and what they are told.
#[derive(Debug)]
pub(super) struct Table<'t> {
    /// The revision and the floor.
    pub(super) keys: [String; 2],
    /// Where a change is announced.
    pub(super) channel: &'t str,
    /// What the gateway has seen.
    pub(super) seen: &'t Revision,
    /// The gateway's time, in Unix seconds.
    pub(super) now: i64,
    /// A name for a lineage that begins now.
    pub(super) new_lineage: &'t str,
}

fn revision(script: &str, keys: &[String], of: &Table<'_>) -> Cmd {
    let mut command = eval(script, keys);
    command.arg(&*of.seen.lineage).arg(of.seen.count).arg(of.now).arg(of.new_lineage).arg(of.channel);
    command
}

pub(super) fn revoke(of: &Table<'_>, name: String, (moment, keep_ms): (i64, u64)) -> Cmd {
    let [revision_key, floor] = of.keys.clone();
    let mut command = revision(REVOKE, &[revision_key, floor, name], of);
    command.arg(moment).arg(keep_ms);
    command
}

pub(super) fn repair(of: &Table<'_>) -> Cmd {
    revision(REPAIR, &of.keys, of)
}
