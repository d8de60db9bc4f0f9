use super::cipher::Cipher;
use super::stream::{Stream, Window, index_of};
use super::{Error, MAX_STREAMS, Profile};
use crate::bytes::u32_at;
use crate::rtp::RtpHeader;
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The largest SRTCP index (RFC 3711 §3.4).
const MAX_RTCP_INDEX: u64 = 0x7fff_ffff;

/// One direction of one SRTP session.
///
/// Opening and sealing share the counters' form but not their contents: use one context for what comes in
/// and another for what goes out, also where both have the same key.
pub struct Context {
    profile: Profile,
    cipher: Cipher,
    key_and_salt: Zeroizing<Vec<u8>>,
    /// Grows to [`MAX_STREAMS`] and no further.
    streams: Vec<Stream>,
    /// Where the last packet's stream stands; most legs have one.
    recent: usize,
    packets: u64,
}

impl Context {
    /// `key_and_salt` is the master key followed by the master salt.
    pub fn new(profile: Profile, key_and_salt: &[u8]) -> Result<Context, Error> {
        Ok(Context {
            profile,
            cipher: Cipher::new(profile, key_and_salt)?,
            key_and_salt: Zeroizing::new(key_and_salt.to_vec()),
            streams: Vec::new(),
            recent: 0,
            packets: 0,
        })
    }

    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Checks and decrypts an RTP packet in place; returns its length without the tag.
    pub fn open_rtp(&mut self, packet: &mut [u8], header: &RtpHeader) -> Result<usize, Error> {
        let at = self.find(header.ssrc);
        let window = at.and_then(|at| self.streams[at].rtp);
        let highest = window.map(|w| w.highest());
        let index = index_of(highest, header.seq).ok_or(Error::TooOld)?;
        if let Some(window) = window {
            window.check(index)?;
        }
        let len = self
            .cipher
            .open_rtp(packet, header.header_len, header.ssrc, index)?;
        let at = at.unwrap_or_else(|| self.add_evicting(header.ssrc));
        let stream = self.touch(at);
        match &mut stream.rtp {
            Some(window) => window.accept(index),
            none => *none = Some(Window::starting_at(index)),
        }
        Ok(len)
    }

    /// Encrypts the packet in the first `len` bytes of `buf`, in place, and puts the tag behind; returns the
    /// new length. `buf` is to be longer than `len` by [`super::MAX_TRAILER`].
    ///
    /// A sequence number sealed before is refused: GCM must never use a nonce twice.
    pub fn seal_rtp(
        &mut self,
        buf: &mut [u8],
        len: usize,
        header: &RtpHeader,
    ) -> Result<usize, Error> {
        let at = self.find(header.ssrc);
        if at.is_none() && self.streams.len() >= MAX_STREAMS {
            return Err(Error::TooManyStreams);
        }
        let window = at.and_then(|at| self.streams[at].rtp);
        let highest = window.map(|w| w.highest());
        let index = index_of(highest, header.seq).ok_or(Error::Exhausted)?;
        if let Some(window) = window {
            window.check(index)?;
        }
        let len = self
            .cipher
            .seal_rtp(buf, len, header.header_len, header.ssrc, index)?;
        let at = at.unwrap_or_else(|| self.add(header.ssrc));
        let stream = self.touch(at);
        match &mut stream.rtp {
            Some(window) => window.accept(index),
            none => *none = Some(Window::starting_at(index)),
        }
        Ok(len)
    }

    /// Checks and decrypts a compound RTCP packet in place; returns its length without index and tag.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, Error> {
        let ssrc = u32_at(packet, 4).ok_or(Error::TooShort)?;
        let index = self.cipher.rtcp_index(packet)?;
        let at = self.find(ssrc);
        let window = at.and_then(|at| self.streams[at].rtcp);
        if let Some(window) = window {
            window.check(u64::from(index))?;
        }
        let len = self.cipher.open_rtcp(packet, ssrc, index)?;
        let at = at.unwrap_or_else(|| self.add_evicting(ssrc));
        let stream = self.touch(at);
        match &mut stream.rtcp {
            Some(window) => window.accept(u64::from(index)),
            none => *none = Some(Window::starting_at(u64::from(index))),
        }
        Ok(len)
    }

    /// Encrypts a compound RTCP packet in place; returns the new length. `buf` as for
    /// [`Context::seal_rtp`].
    pub fn seal_rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, Error> {
        let ssrc = u32_at(buf, 4).ok_or(Error::TooShort)?;
        let at = self.find(ssrc);
        if at.is_none() && self.streams.len() >= MAX_STREAMS {
            return Err(Error::TooManyStreams);
        }
        let index = at
            .and_then(|at| self.streams[at].rtcp)
            .map_or(0, |w| w.highest() + 1);
        if index > MAX_RTCP_INDEX {
            return Err(Error::Exhausted);
        }
        let short = u32::try_from(index).expect("at most 31 bits, checked above");
        let len = self.cipher.seal_rtcp(buf, len, ssrc, short)?;
        let at = at.unwrap_or_else(|| self.add(ssrc));
        self.touch(at).rtcp = Some(Window::starting_at(index));
        Ok(len)
    }

    /// The stream's sequence numbers have wrapped, so that its rollover counter is not zero: whoever begins to
    /// listen now guesses it wrong (RFC 3711 §3.3.1).
    pub fn has_rolled_over(&self, ssrc: u32) -> bool {
        let window = self.find(ssrc).and_then(|at| self.streams[at].rtp);
        window.is_some_and(|window| window.highest() >> 16 > 0)
    }

    fn find(&self, ssrc: u32) -> Option<usize> {
        match self.streams.get(self.recent) {
            Some(stream) if stream.ssrc == ssrc => Some(self.recent),
            _ => self.streams.iter().position(|stream| stream.ssrc == ssrc),
        }
    }

    fn touch(&mut self, at: usize) -> &mut Stream {
        self.recent = at;
        self.packets += 1;
        let stream = &mut self.streams[at];
        stream.used = self.packets;
        stream
    }

    fn add(&mut self, ssrc: u32) -> usize {
        self.streams.push(Stream {
            ssrc,
            rtp: None,
            rtcp: None,
            used: 0,
        });
        self.streams.len() - 1
    }

    /// Makes room by forgetting the stream unused for longest. Only after authentication, so only the
    /// key's owner can cause it.
    fn add_evicting(&mut self, ssrc: u32) -> usize {
        if self.streams.len() < MAX_STREAMS {
            return self.add(ssrc);
        }
        let oldest = (0..self.streams.len())
            .min_by_key(|at| self.streams[*at].used)
            .expect("MAX_STREAMS is not zero");
        self.streams[oldest] = Stream {
            ssrc,
            rtp: None,
            rtcp: None,
            used: 0,
        };
        oldest
    }

    /// All that another process needs to go on. It holds the key: seal it before it leaves.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            profile: self.profile,
            key_and_salt: self.key_and_salt.to_vec(),
            streams: self
                .streams
                .iter()
                .map(|s| StreamSnapshot {
                    ssrc: s.ssrc,
                    rtp: s.rtp,
                    rtcp: s.rtcp,
                })
                .collect(),
        }
    }

    pub fn restore(snapshot: &Snapshot) -> Result<Context, Error> {
        let mut context = Context::new(snapshot.profile, &snapshot.key_and_salt)?;
        for stream in snapshot.streams.iter().take(MAX_STREAMS) {
            let at = context.add(stream.ssrc);
            context.streams[at].rtp = stream.rtp;
            context.streams[at].rtcp = stream.rtcp;
        }
        Ok(context)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Context {{ {:?}, {} streams, … }}",
            self.profile,
            self.streams.len()
        )
    }
}

/// A [`Context`] written down.
#[derive(Clone, Serialize, Deserialize)]
pub struct Snapshot {
    pub profile: Profile,
    pub key_and_salt: Vec<u8>,
    pub streams: Vec<StreamSnapshot>,
}

/// What is remembered of one SSRC: highest index (roc and sequence number) and replay window, for RTP and
/// RTCP.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct StreamSnapshot {
    pub ssrc: u32,
    rtp: Option<Window>,
    rtcp: Option<Window>,
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.key_and_salt.zeroize();
    }
}

impl ZeroizeOnDrop for Snapshot {}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Snapshot {{ {:?}, {} streams, … }}",
            self.profile,
            self.streams.len()
        )
    }
}
