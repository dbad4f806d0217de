//! Follows HTTP/2 frames in a stream of bytes, without keeping or changing them (RFC 9113 §4.1).
//!
//! The HTTP/2 library answers some things by itself, and tells nobody how often a client resets its streams; the
//! frames tell both.

use smallvec::SmallVec;

/// The preface that a client begins with (RFC 9113 §3.4), in bytes.
const PREFACE: usize = 24;
/// Length, type, flags and stream of a frame, in bytes.
const HEAD: usize = 9;

/// `DATA` (RFC 9113 §6.1), and its flag that says that there is padding.
const DATA: u8 = 0;
const PADDED: u8 = 8;
/// `HEADERS` (RFC 9113 §6.2).
const HEADERS: u8 = 1;
/// `RST_STREAM` (RFC 9113 §6.4).
const RST_STREAM: u8 = 3;
/// `GOAWAY` (RFC 9113 §6.8).
const GOAWAY: u8 = 7;

/// A frame that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// A header section begins, or trailers, on this stream.
    Headers(u32),
    /// A frame of a body has come as a whole, with so many bytes of it.
    Data(usize),
    /// A stream was given up, with this error code.
    Reset(u32),
    /// The connection is given up, with this error code.
    GoAway(u32),
}

/// How far the stream of frames has been followed.
#[derive(Debug, Default)]
pub(super) struct Frames {
    skip: usize,
    /// The bytes of a body in the frame that is being skipped.
    data: usize,
    held: SmallVec<[u8; 20]>,
}

impl Frames {
    /// What a server sends.
    pub(super) fn of_server() -> Self {
        Self::default()
    }

    /// What a client sends.
    pub(super) fn of_client() -> Self {
        Self { skip: PREFACE, ..Self::default() }
    }

    /// Looks at the next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Seen)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let jump = self.skip.min(bytes.len());
                self.skip -= jump;
                bytes = bytes.get(jump..).unwrap_or_default();
                if self.skip == 0 && self.data > 0 {
                    seen(Seen::Data(std::mem::take(&mut self.data)));
                }
                continue;
            }
            let take = self.wanted().saturating_sub(self.held.len()).min(bytes.len());
            let (taken, rest) = bytes.split_at(take);
            self.held.extend_from_slice(taken);
            bytes = rest;
            if self.held.len() >= HEAD && self.held.len() == self.wanted() {
                if let Some(frame) = self.frame() {
                    seen(frame);
                }
                self.skip = self.length().saturating_sub(self.held.len() - HEAD);
                self.data = self.data().min(self.skip);
                self.held.clear();
            }
        }
    }

    /// How many bytes must be held before the frame can be told: its head, and of some the error code or the padding's length.
    fn wanted(&self) -> usize {
        let payload = match self.kind() {
            Some(DATA) if self.is_padded() => 1,
            Some(RST_STREAM) => 4,
            Some(GOAWAY) => 8,
            _ => 0,
        };
        HEAD + if self.held.len() < HEAD { 0 } else { self.length().min(payload) }
    }

    fn kind(&self) -> Option<u8> {
        self.held.get(3).copied()
    }

    fn is_padded(&self) -> bool {
        self.held.get(4).is_some_and(|flags| flags & PADDED != 0)
    }

    /// How many bytes of a body the frame holds whose head is held.
    fn data(&self) -> usize {
        let padding = match self.held.get(HEAD) {
            Some(padding) if self.is_padded() => 1 + usize::from(*padding),
            _ => 0,
        };
        if self.kind() == Some(DATA) { self.length().saturating_sub(padding) } else { 0 }
    }

    fn length(&self) -> usize {
        match self.held.as_slice() {
            [high, middle, low, ..] => {
                (usize::from(*high) << 16) | (usize::from(*middle) << 8) | usize::from(*low)
            }
            _ => 0,
        }
    }

    fn frame(&self) -> Option<Seen> {
        let code = |at: usize| {
            let bytes = self.held.get(at..at + 4)?;
            Some(u32::from_be_bytes(bytes.try_into().ok()?))
        };
        match self.kind()? {
            // The highest bit is reserved.
            HEADERS => code(5).map(|stream| Seen::Headers(stream & 0x7fff_ffff)),
            RST_STREAM => code(HEAD).map(Seen::Reset),
            GOAWAY => code(HEAD + 4).map(Seen::GoAway),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(mut frames: Frames, chunks: &[&[u8]]) -> Vec<Seen> {
        let mut found = Vec::new();
        for chunk in chunks {
            frames.feed(chunk, |frame| found.push(frame));
        }
        found
    }

    #[test]
    fn frames_are_followed_however_they_are_cut() {
        // DATA of 3 bytes that look like a reset, HEADERS of 1 byte, RST_STREAM(CANCEL), empty SETTINGS, GOAWAY(ENHANCE_YOUR_CALM) with
        // debug data, RST_STREAM(NO_ERROR).
        let mut sent = vec![0, 0, 3, 0, 1, 0, 0, 0, 1, 3, 3, 3];
        sent.extend([0, 0, 1, 1, 5, 0x80, 0, 1, 2, 0x88]);
        sent.extend([0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8]);
        sent.extend([0, 0, 0, 4, 1, 0, 0, 0, 0]);
        sent.extend([0, 0, 10, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 11, b'h', b'i']);
        sent.extend([0, 0, 4, 3, 0, 0, 0, 0, 3, 0, 0, 0, 0]);
        // DATA of 2 bytes among padding of 3, and DATA that is nothing but padding.
        sent.extend([0, 0, 6, 0, 8, 0, 0, 0, 3, 3, 7, 7, 0, 0, 0]);
        sent.extend([0, 0, 2, 0, 9, 0, 0, 0, 3, 1, 0]);
        let reset = Seen::Reset(0);
        let expected =
            [Seen::Data(3), Seen::Headers(258), Seen::Reset(8), Seen::GoAway(11), reset, Seen::Data(2)];
        assert_eq!(seen(Frames::of_server(), &[&sent]), expected);
        let single: Vec<&[u8]> = sent.chunks(1).collect();
        assert_eq!(seen(Frames::of_server(), &single), expected);
        for size in 2..sent.len() {
            let chunks: Vec<&[u8]> = sent.chunks(size).collect();
            assert_eq!(seen(Frames::of_server(), &chunks), expected, "{size}");
        }
        let mut client = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        client.extend(&sent);
        assert_eq!(seen(Frames::of_client(), &[&client]), expected);
        // Too short to have an error code: for the library to refuse.
        assert_eq!(seen(Frames::of_server(), &[&[0, 0, 1, 3, 0, 0, 0, 0, 1, 9], &sent]), expected);
    }
}
