//! RTCP (RFC 3550 §6, RFC 4585, RFC 5104): compound packets read one by one, and written one by one.

mod read;
mod write;

pub use read::{
    Block, Bye, Compound, Error, Feedback, Fir, Nack, Packet, ReceiverReport, Sdes, SenderReport,
};
pub use write::Writer;

/// Packet types (RFC 3550 §12.1, RFC 4585 §6.1).
pub mod packet_type {
    pub const SR: u8 = 200;
    pub const RR: u8 = 201;
    pub const SDES: u8 = 202;
    pub const BYE: u8 = 203;
    pub const APP: u8 = 204;
    /// Transport-layer feedback.
    pub const RTPFB: u8 = 205;
    /// Payload-specific feedback.
    pub const PSFB: u8 = 206;
}

/// What a sender says about its own stream (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall clock of this report, in 1/2^32 s since 1900.
    pub ntp: u64,
    /// The same moment on the stream's own clock.
    pub rtp_timestamp: u32,
    pub packets: u32,
    pub octets: u32,
}

impl SenderInfo {
    /// The middle 32 bits of the NTP time, which a receiver sends back as `last_sr`.
    pub fn middle(&self) -> u32 {
        middle_of(self.ntp)
    }
}

/// Seconds and 1/65536 s of an NTP time.
pub fn middle_of(ntp: u64) -> u32 {
    let [_, _, a, b, c, d, _, _] = ntp.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// What a receiver says about one stream that it hears (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    pub ssrc: u32,
    /// Share of packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning; duplicates can make it negative. 24 bits.
    pub cumulative_lost: i32,
    /// Highest sequence number, extended by its cycles.
    pub highest_seq: u32,
    /// In ticks of the stream's clock.
    pub jitter: u32,
    /// [`SenderInfo::middle`] of the last report heard; 0 if none.
    pub last_sr: u32,
    /// How long ago that was, in 1/65536 s.
    pub delay: u32,
}

impl ReportBlock {
    /// Round trip in 1/65536 s, if the block answers a report of ours (RFC 3550 §6.4.1). `now` is the
    /// middle of our NTP time.
    pub fn round_trip(&self, now: u32) -> Option<u32> {
        if self.last_sr == 0 {
            return None;
        }
        let round_trip = now.wrapping_sub(self.last_sr).wrapping_sub(self.delay);
        // A clock that jumped gives a time before it was sent.
        (round_trip < 1 << 31).then_some(round_trip)
    }
}

#[cfg(test)]
mod tests;
