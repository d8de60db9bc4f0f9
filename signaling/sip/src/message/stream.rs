use super::{Fault, Framing, Message, Scan, scan};

/// Cuts the messages out of a byte stream, however it was split.
#[derive(Clone, Debug, Default)]
pub struct StreamFramer {
    buf: Vec<u8>,
    /// How far the end of the head was looked for, so that a peer who sends byte by byte costs no more.
    searched: usize,
    /// Bytes that must be there before another look is worth it.
    at_least: usize,
    used: usize,
    broken: bool,
}

/// What a stream held.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a message's index lives on the stack, off the heap"
)]
pub enum Unit<'a> {
    Message(Message<'a>),
    /// Two line ends: to be answered by one (RFC 5626 §3.5.1).
    Ping,
    /// The stream cannot be followed any further and is to be closed.
    Broken(Fault),
}

impl StreamFramer {
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.buf.extend_from_slice(bytes);
        }
    }

    /// The next thing in the stream. A message with a fault in its framing is given out so that it can be
    /// answered; `Broken` follows it.
    pub fn next_unit(&mut self) -> Option<Unit<'_>> {
        if self.used > 0 {
            self.buf.drain(..self.used.min(self.buf.len()));
            self.used = 0;
            self.searched = 0;
            self.at_least = 0;
        }
        if self.broken {
            self.buf.clear();
            return None;
        }
        while matches!(self.buf.first(), Some(b'\r' | b'\n')) {
            match scan(&self.buf, Framing::Stream) {
                Scan::KeepAlive { used, ping } => {
                    self.buf.drain(..used.min(self.buf.len()));
                    if ping {
                        return Some(Unit::Ping);
                    }
                }
                _ => return None,
            }
        }
        if self.buf.is_empty() || self.buf.len() < self.at_least || !self.head_is_whole() {
            return None;
        }
        match scan(&self.buf, Framing::Stream) {
            Scan::Partial { at_least } => {
                self.at_least = at_least;
                None
            }
            Scan::KeepAlive { .. } => None,
            Scan::Message { message, used } => {
                self.used = used;
                if matches!(message.fault, Some(Fault::ContentLength | Fault::TooLarge)) {
                    self.broken = true;
                }
                Some(Unit::Message(message))
            }
            Scan::Garbage(fault) => {
                self.broken = true;
                Some(Unit::Broken(fault))
            }
        }
    }

    /// Nothing more can be read: to be closed once what was read is answered.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Bytes received and not yet made into a message; put back by [`Self::push`] after a restart.
    pub fn pending(&self) -> &[u8] {
        self.buf.get(self.used..).unwrap_or_default()
    }

    fn head_is_whole(&mut self) -> bool {
        let from = self.searched.saturating_sub(3);
        let window = self.buf.get(from..).unwrap_or_default();
        if memchr::memmem::find(window, b"\r\n\r\n").is_some()
            || self.buf.len() >= super::MAX_MESSAGE
        {
            return true;
        }
        self.searched = self.buf.len();
        false
    }
}
