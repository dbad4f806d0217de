//! The gateway's own last word on a WebSocket: a close frame with 1001, "going away", where the gateway leaves, and
//! with 1008, "policy violation", where its caller was revoked or its token ended (RFC 6455 §7.4.1).
//!
//! Frames pass through Pingora as plain bytes, so this counts where one ends and the next begins, in the direction
//! of the client. There, and only there, a frame of the gateway's own may stand. What the upstream sends after it is
//! swallowed (§5.5.1); the client's answer goes to the upstream, which then closes as if the client had asked it to.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pingora::protocols::Stream;
use tokio::io::AsyncWrite as _;
use tokio::sync::futures::OwnedNotified;

use super::shutdown::{Draining, Hold};
use crate::enforce::streams::Line;

/// A final, unmasked close frame whose payload is the code 1001.
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];
/// The same with the code 1008.
const NOT_ALLOWED: [u8; 4] = [0x88, 0x02, 0x03, 0xf0];
/// An answer's head of more bytes than this is nobody's handshake.
const MOST_HEAD_BYTES: usize = 64 * 1024;

/// What is known of the bytes that go to one client.
pub(super) struct Goodbye {
    draining: Draining,
    /// What the connection serves; none in HTTP/2, which has no WebSockets here.
    line: Option<Arc<Line>>,
    place: Place,
    told: Option<[Pin<Box<OwnedNotified>>; 2]>,
    /// What is said, once that has begun.
    close: [u8; 4],
    progress: Progress,
}

/// Where in its answer the upstream is.
enum Place {
    /// No WebSocket: whatever passes is not looked at.
    Elsewhere,
    /// In the head of the answer to a handshake.
    Head(Vec<u8>),
    /// After a 101: in frames.
    Frames(Frames),
}

/// How far the close frame is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Open,
    /// So many of its bytes are on their way.
    Sending(usize),
    Flushing,
    Sent,
}

impl Goodbye {
    pub(super) fn new(draining: Draining, line: Option<Arc<Line>>) -> Self {
        let (place, progress) = (Place::Elsewhere, Progress::Open);
        Self { draining, line, place, told: None, close: GOING_AWAY, progress }
    }

    /// Keeps the process for the end of the connection.
    pub(super) fn hold(&self) -> Hold {
        self.draining.hold()
    }

    /// Whether the caller may not go on: nothing more of theirs is to go upstream.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.place, Place::Frames(_)) && self.line.as_ref().is_some_and(|line| line.is_ending())
    }

    fn is_due(&self) -> bool {
        self.draining.is_farewell() || self.line.as_ref().is_some_and(|line| line.is_ending())
    }

    /// A handshake was forwarded: the answer may open a WebSocket.
    pub(super) fn expect(&mut self) {
        if matches!(self.place, Place::Elsewhere) {
            self.place = Place::Head(Vec::new());
        }
    }

    /// Whether there is, or may come, a WebSocket.
    pub(super) fn is_expected(&self) -> bool {
        !matches!(self.place, Place::Elsewhere)
    }

    /// Called whenever the session looks for bytes of the client: says goodbye if it is time, and has the session
    /// woken when it will be. Never stands in the way of reading.
    pub(super) fn poll(&mut self, stream: &mut Stream, context: &mut Context<'_>) {
        if !matches!(self.place, Place::Frames(_)) || self.progress == Progress::Sent {
            return;
        }
        if !self.is_due() {
            let told = self.told.get_or_insert_with(|| {
                let farewell = || Box::pin(self.draining.farewell());
                [farewell(), self.line.as_ref().map_or_else(farewell, |line| Box::pin(line.told()))]
            });
            // It may have been told between the two looks; afterwards the wakers are registered. A word that was for an
            // earlier request of this connection has been used up: another is waited for.
            let heard = told.each_mut().map(|told| told.as_mut().poll(context).is_ready());
            if heard.contains(&true) {
                self.told = None;
                context.waker().wake_by_ref();
            }
            if !self.is_due() {
                return;
            }
        }
        // An error will be met by the session itself; unsent bytes are tried again at the next look.
        let _ = self.poll_send(stream, context);
    }

    /// Writes for the session; counts what was written.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut allowed = bytes;
        if self.is_due()
            && let Place::Frames(frames) = &self.place
        {
            if frames.is_at_boundary() && !frames.is_closed {
                ready!(self.poll_send(stream, context))?;
            }
            if self.progress == Progress::Sent {
                return Poll::Ready(Ok(bytes.len()));
            }
            if let Place::Frames(frames) = &self.place {
                let end = frames.clone().feed(bytes, true);
                allowed = bytes.get(..end).unwrap_or(bytes);
            }
        }
        let written = ready!(Pin::new(stream).poll_write(context, allowed))?;
        self.count(allowed.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    /// The same for several pieces.
    pub(super) fn poll_write_vectored(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        self.poll_write(stream, context, first.map_or(&[], |slice| slice))
    }

    fn poll_send(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.progress {
                Progress::Open => match &self.place {
                    Place::Frames(frames) if frames.is_at_boundary() && !frames.is_closed => {
                        let is_over = self.line.as_ref().is_some_and(|line| line.is_ending());
                        self.close = if is_over { NOT_ALLOWED } else { GOING_AWAY };
                        self.progress = Progress::Sending(0);
                    }
                    _ => return Poll::Ready(Ok(())),
                },
                Progress::Sending(done) => {
                    let rest = self.close.get(done..).unwrap_or_default();
                    let written = ready!(Pin::new(&mut *stream).poll_write(context, rest))?;
                    if written == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    let done = done + written;
                    self.progress =
                        if done < self.close.len() { Progress::Sending(done) } else { Progress::Flushing };
                }
                Progress::Flushing => {
                    ready!(Pin::new(&mut *stream).poll_flush(context))?;
                    self.progress = Progress::Sent;
                }
                Progress::Sent => return Poll::Ready(Ok(())),
            }
        }
    }

    fn count(&mut self, mut bytes: &[u8]) {
        loop {
            match &mut self.place {
                Place::Elsewhere => return,
                Place::Frames(frames) => {
                    frames.feed(bytes, false);
                    return;
                }
                Place::Head(head) => {
                    let before = head.len();
                    head.extend_from_slice(bytes);
                    let from = before.saturating_sub(3);
                    let end = head
                        .get(from..)
                        .and_then(|tail| memchr::memmem::find(tail, b"\r\n\r\n"))
                        .map(|at| from + at + 4);
                    let Some(end) = end else {
                        if head.len() > MOST_HEAD_BYTES {
                            self.place = Place::Elsewhere;
                        }
                        return;
                    };
                    bytes = bytes.get(end - before..).unwrap_or_default();
                    self.place = match head.get(9..12) {
                        Some(b"101") => Place::Frames(Frames::default()),
                        // An interim answer (RFC 9110 §15.2): another one follows.
                        Some([b'1', ..]) => Place::Head(Vec::new()),
                        _ => Place::Elsewhere,
                    };
                }
            }
        }
    }
}

/// Where in a frame (RFC 6455 §5.2) a stream of them is.
#[derive(Debug, Clone, Default)]
struct Frames {
    head: [u8; 14],
    have: usize,
    payload_left: u64,
    /// A close frame has begun: there is nothing more to say.
    is_closed: bool,
}

impl Frames {
    fn is_at_boundary(&self) -> bool {
        self.have == 0 && self.payload_left == 0
    }

    /// Counts bytes; with `stop`, only to the end of the first frame that ends in them. Says how many.
    fn feed(&mut self, bytes: &[u8], stop: bool) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.payload_left > 0 {
                let taken = usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(rest.len());
                self.payload_left -= u64::try_from(taken).unwrap_or(self.payload_left);
                rest = rest.get(taken..).unwrap_or_default();
            } else {
                if let (Some(slot), Some(byte)) = (self.head.get_mut(self.have), rest.first()) {
                    *slot = *byte;
                }
                self.have += 1;
                rest = rest.get(1..).unwrap_or_default();
                self.begin_payload();
            }
            if stop && self.is_at_boundary() {
                break;
            }
        }
        bytes.len() - rest.len()
    }

    /// Reads the head, once it is whole.
    fn begin_payload(&mut self) {
        let [first, second, long @ ..] = self.head;
        if self.have == 1 && first & 0x0f == 0x8 {
            self.is_closed = true;
        }
        let (length_bytes, short) = match second & 0x7f {
            126 => (2, 0),
            127 => (8, 0),
            short => (0, u64::from(short)),
        };
        let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
        if self.have < 2 || self.have < 2 + length_bytes + mask_bytes {
            return;
        }
        let long = long.iter().take(length_bytes);
        self.payload_left = long.fold(short, |length, byte| length << 8 | u64::from(*byte));
        self.have = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0x80 | opcode];
        match payload {
            0..126 => bytes.push(u8::try_from(payload).expect("short")),
            126..65_536 => {
                bytes.push(126);
                bytes.extend_from_slice(&u16::try_from(payload).expect("medium").to_be_bytes());
            }
            _ => {
                bytes.push(127);
                bytes.extend_from_slice(&u64::try_from(payload).expect("long").to_be_bytes());
            }
        }
        // Bytes that would read as heads of other frames.
        bytes.extend(std::iter::repeat_n(0x88, payload));
        bytes
    }

    #[test]
    fn boundaries_are_where_frames_end_however_they_are_cut() {
        let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 70_000, 0];
        let all: Vec<u8> = lengths.iter().flat_map(|length| frame(0x2, *length)).collect();
        for step in [1, 2, 3, 7, 1000, all.len()] {
            let (mut frames, mut at, mut ends) = (Frames::default(), 0, Vec::new());
            while at < all.len() {
                let piece = &all[at..(at + step).min(all.len())];
                at += frames.feed(piece, true);
                if frames.is_at_boundary() {
                    ends.push(at);
                }
            }
            let mut expected = 0;
            let expected: Vec<usize> = lengths
                .iter()
                .map(|length| {
                    expected += frame(0x2, *length).len();
                    expected
                })
                .collect();
            assert_eq!(ends, expected, "pieces of {step}");
            assert!(!frames.is_closed);
        }
    }

    #[test]
    fn masked_frames_and_the_upstreams_own_close_are_known() {
        let mut frames = Frames::default();
        frames.feed(&[0x81, 0x81, 1, 2, 3, 4], false);
        assert!(!frames.is_at_boundary());
        frames.feed(&[9], false);
        assert!(frames.is_at_boundary() && !frames.is_closed);
        frames.feed(&frame(0x8, 2), false);
        assert!(frames.is_at_boundary() && frames.is_closed);
    }

    #[test]
    fn only_after_a_101_there_are_frames() {
        let mut goodbye = Goodbye::new(Draining::default(), None);
        goodbye.count(b"HTTP/1.1 101 \r\n\r\n");
        assert!(!goodbye.is_expected());
        for (answer, switches) in [
            (
                "HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n\u{1}",
                true,
            ),
            ("HTTP/1.1 409 Conflict\r\nContent-Length: 4\r\n\r\nfull", false),
        ] {
            for step in [1, 5, answer.len()] {
                let mut goodbye = Goodbye::new(Draining::default(), None);
                goodbye.expect();
                answer.as_bytes().chunks(step).for_each(|piece| goodbye.count(piece));
                let in_frame = matches!(&goodbye.place, Place::Frames(frames) if !frames.is_at_boundary());
                assert_eq!(in_frame, switches, "{answer} in pieces of {step}");
                assert_eq!(goodbye.is_expected(), switches);
            }
        }
    }
}
