//! The end of a connection that the gateway closes first: what the client still sends is read until it has seen the end.
//!
//! A socket that is closed with bytes unread, or that receives bytes later, answers with a reset, and the client's system
//! then throws away the part of the answer that its program has not read (RFC 9112 §9.6). An HTTP/2 client sends
//! something for nearly all that it takes (`WINDOW_UPDATE`, the answers to `PING` and `SETTINGS`), and a client whose
//! upload was refused early is still sending it.

use std::time::Duration;

use pingora::protocols::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};

use super::shutdown::Hold;

/// A client that has sent nothing for this long has nothing under way that would meet a closed socket.
const SILENCE: Duration = Duration::from_secs(2);
/// For no longer than this, whatever the client does.
const MOST_TIME: Duration = Duration::from_secs(30);
/// What is read at a time, in bytes.
const PIECE: usize = 4 * 1024;

/// A connection whose service is over while its client has not closed it.
pub(super) struct Left {
    pub(super) stream: Stream,
    /// The process stays for it.
    pub(super) hold: Hold,
}

/// Ends the gateway's side, and reads until the client ends its own, falls silent or has had time enough.
pub(super) async fn linger(left: Left) {
    let Left { mut stream, hold: _hold } = left;
    let until = Instant::now() + MOST_TIME;
    if !matches!(timeout(SILENCE, stream.shutdown()).await, Ok(Ok(()))) {
        return;
    }
    let mut piece = vec![0; PIECE];
    let all = async { while let Ok(Ok(1..)) = timeout(SILENCE, stream.read(&mut piece)).await {} };
    let _ = timeout_at(until, all).await;
}
