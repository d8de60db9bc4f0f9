//! A datagram on its way through: where it came from, where it goes, and the one buffer it lives in.

use crate::forward::Line;
use media_control::MediaKind;
use media_packet::rtp::RtpHeader;
use std::net::{IpAddr, SocketAddr};

/// A socket of the shell, by the number that the shell gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// One end of ours and one of the peer's. What leaves on a path leaves from the address that packets
/// from there came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    pub socket: SocketId,
    /// Our address, where the socket is bound to all of them; `None` leaves it to the socket.
    pub local: Option<IpAddr>,
    pub remote: SocketAddr,
}

/// Bytes of a buffer, head and tail room included.
pub const BUF_LEN: usize = 2048;
/// Free in front of a packet as it arrives.
pub const HEAD_ROOM: usize = 64;
/// Free behind the longest packet: an SRTCP index and an authentication tag (RFC 7714 §9), rounded up.
pub const TAIL_ROOM: usize = 64;
/// The longest datagram taken.
pub const MAX_DATAGRAM: usize = BUF_LEN - HEAD_ROOM - TAIL_ROOM;

/// A packet in the middle of its buffer, so that it can grow and shrink at both ends where it lies.
pub struct Buf {
    bytes: Box<[u8; BUF_LEN]>,
    start: usize,
    end: usize,
}

impl Buf {
    pub fn new() -> Buf {
        Buf {
            bytes: Box::new([0; BUF_LEN]),
            start: HEAD_ROOM,
            end: HEAD_ROOM,
        }
    }

    pub fn clear(&mut self) {
        self.start = HEAD_ROOM;
        self.end = HEAD_ROOM;
    }

    /// Where the shell receives into; followed by [`Buf::set_received`].
    pub fn receive_area(&mut self) -> &mut [u8] {
        &mut self.bytes[HEAD_ROOM..HEAD_ROOM + MAX_DATAGRAM]
    }

    /// `len` bytes were written to the [`Buf::receive_area`].
    pub fn set_received(&mut self, len: usize) {
        self.start = HEAD_ROOM;
        self.end = HEAD_ROOM + len.min(MAX_DATAGRAM);
    }

    pub fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The packet and all the room behind it.
    pub fn with_tail(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    /// The packet's length becomes `len`, as far as there is room.
    pub fn set_len(&mut self, len: usize) {
        self.end = (self.start + len).min(BUF_LEN);
    }

    /// Drops `count` bytes in front.
    pub fn advance(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Replaces the content. Longer than [`MAX_DATAGRAM`] leaves it empty.
    pub fn fill(&mut self, content: &[u8]) {
        self.clear();
        if content.len() <= MAX_DATAGRAM {
            self.receive_area()[..content.len()].copy_from_slice(content);
            self.set_received(content.len());
        }
    }
}

impl Default for Buf {
    fn default() -> Buf {
        Buf::new()
    }
}

/// What became of a datagram of a batch, in the order of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing more to do, nothing to send.
    Done,
    Received,
    /// RTP of this leg, still closed.
    Rtp {
        leg: u32,
        line: Line,
    },
    /// RTCP of this leg, still closed.
    Rtcp {
        leg: u32,
        line: Line,
    },
    /// RTP of this leg, open.
    Opened {
        leg: u32,
        line: Line,
    },
    /// RTP to leave from this leg, still open.
    Leaving {
        leg: u32,
        kind: MediaKind,
    },
    /// Complete, to be sent to `path`.
    Ready,
}

/// One slot of a batch: it comes in with what a socket received and goes out with what is to be sent,
/// if anything is.
pub struct Datagram {
    pub path: Path,
    pub buf: Buf,
    pub(crate) step: Step,
    /// Of an RTP packet that is open.
    pub(crate) header: RtpHeader,
}

impl Datagram {
    /// A slot for the shell to receive into.
    pub fn new(buf: Buf) -> Datagram {
        let path = Path {
            socket: SocketId(u32::MAX),
            local: None,
            remote: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        Datagram {
            path,
            buf,
            step: Step::Done,
            header: RtpHeader::new(0, 0, 0, 0),
        }
    }

    /// Marks the slot as holding what came on `path`.
    pub fn received(&mut self, path: Path, len: usize) {
        self.path = path;
        self.buf.set_received(len);
        self.step = Step::Received;
    }

    /// After [`Legs::handle`](crate::Legs::handle): this slot is to be sent on its path.
    pub fn is_ready(&self) -> bool {
        self.step == Step::Ready
    }

    /// Nothing to send here any more.
    pub fn discard(&mut self) {
        self.step = Step::Done;
    }
}
