//! What a request line is made of, seen byte by byte before the HTTP parser tidies it.

/// What a request line is made of, as it arrives.
#[derive(Default)]
pub struct RequestLine {
    begun: bool,
    ended: bool,
    spaces: usize,
    has_odd_bytes: bool,
}

impl RequestLine {
    /// Whether its end was seen.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether it holds more than a method, a target and a version in visible ASCII.
    pub fn is_odd(&self) -> bool {
        self.spaces > 2 || self.has_odd_bytes
    }

    /// Looks at further bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                // Empty lines before a request are allowed (RFC 9112 §2.2).
                b'\r' | b'\n' if !self.begun => continue,
                b'\n' => {
                    self.ended = true;
                    return;
                }
                b' ' => self.spaces += 1,
                b'\r' | 0x21..=0x7e => {}
                _ => self.has_odd_bytes = true,
            }
            self.begun = true;
        }
    }
}
