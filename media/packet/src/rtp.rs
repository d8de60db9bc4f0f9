//! The RTP header (RFC 3550 §5.1) and its extensions (RFC 8285), read and written in place.

use crate::bytes::{put, u16_at, u32_at};
use std::ops::Range;

/// Length of a header without CSRCs and without extension.
pub const FIXED_LEN: usize = 12;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    TooShort,
    /// Not version 2.
    Version,
    /// A padding length of zero, or longer than the payload.
    Padding,
}

/// One packet's header.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |V=2|P|X|  CC   |M|     PT      |       sequence number         |
/// |                           timestamp                           |
/// |                             SSRC                              |
/// |                       CSRC, CC of them                        |
/// |     defined by profile        |    length in 32-bit words     |  if X
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    pub marker: bool,
    pub pt: u8,
    pub seq: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub csrc_count: u8,
    /// The P bit. How long the padding is stands in the last byte, which SRTP encrypts: ask
    /// [`RtpHeader::payload`] once the packet is open.
    pub padding: bool,
    /// Profile of the extension, if there is one.
    pub extension: Option<u16>,
    /// Fixed header, CSRCs and extension, in bytes.
    pub header_len: usize,
}

impl RtpHeader {
    pub fn parse(packet: &[u8]) -> Result<RtpHeader, Error> {
        let fixed = packet.first_chunk::<FIXED_LEN>().ok_or(Error::TooShort)?;
        let [b0, b1, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3] = *fixed;
        if b0 >> 6 != 2 {
            return Err(Error::Version);
        }
        let csrc_count = b0 & 0x0f;
        let mut header_len = FIXED_LEN + 4 * usize::from(csrc_count);
        let mut extension = None;
        if b0 & 0x10 != 0 {
            extension = Some(u16_at(packet, header_len).ok_or(Error::TooShort)?);
            let words = u16_at(packet, header_len + 2).ok_or(Error::TooShort)?;
            header_len += 4 + 4 * usize::from(words);
        }
        if header_len > packet.len() {
            return Err(Error::TooShort);
        }
        Ok(RtpHeader {
            marker: b1 & 0x80 != 0,
            pt: b1 & 0x7f,
            seq: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([i0, i1, i2, i3]),
            csrc_count,
            padding: b0 & 0x20 != 0,
            extension,
            header_len,
        })
    }

    /// A header without CSRCs, extension and padding.
    pub fn new(pt: u8, seq: u16, timestamp: u32, ssrc: u32) -> RtpHeader {
        RtpHeader {
            marker: false,
            pt: pt & 0x7f,
            seq,
            timestamp,
            ssrc,
            csrc_count: 0,
            padding: false,
            extension: None,
            header_len: FIXED_LEN,
        }
    }

    /// Writes the twelve fixed bytes of a packet made from nothing: no CSRCs, extension or padding.
    /// Returns the header's length, which is where the payload goes.
    pub fn write(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let fixed = buf.first_chunk_mut::<FIXED_LEN>().ok_or(Error::TooShort)?;
        fixed[0] = 0x80;
        self.store_into(fixed);
        Ok(FIXED_LEN)
    }

    /// Puts marker, pt, seq, timestamp and ssrc into a packet that has a header already; CSRCs, extension
    /// and padding stay as they are.
    pub fn store(&self, packet: &mut [u8]) -> Result<(), Error> {
        let fixed = packet
            .first_chunk_mut::<FIXED_LEN>()
            .ok_or(Error::TooShort)?;
        self.store_into(fixed);
        Ok(())
    }

    fn store_into(&self, fixed: &mut [u8; FIXED_LEN]) {
        fixed[1] = (u8::from(self.marker) << 7) | (self.pt & 0x7f);
        fixed[2..4].copy_from_slice(&self.seq.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
    }

    /// Where the payload of an open packet lies, padding taken off (RFC 3550 §5.1).
    pub fn payload_range(&self, packet: &[u8]) -> Result<Range<usize>, Error> {
        let len = packet.len();
        if len < self.header_len {
            return Err(Error::TooShort);
        }
        if !self.padding {
            return Ok(self.header_len..len);
        }
        let padding = usize::from(*packet.last().ok_or(Error::TooShort)?);
        if padding == 0 || padding > len - self.header_len {
            return Err(Error::Padding);
        }
        Ok(self.header_len..len - padding)
    }

    /// The payload of an open packet, padding taken off.
    pub fn payload<'a>(&self, packet: &'a [u8]) -> Result<&'a [u8], Error> {
        let range = self.payload_range(packet)?;
        packet.get(range).ok_or(Error::TooShort)
    }

    /// The extension's elements; none if there is no extension or its profile is not RFC 8285's.
    pub fn extensions<'a>(&self, packet: &'a [u8]) -> Extensions<'a> {
        let start = FIXED_LEN + 4 * usize::from(self.csrc_count) + 4;
        let body = match self.extension {
            Some(_) => packet.get(start..self.header_len).unwrap_or_default(),
            None => &[],
        };
        match self.extension {
            Some(0xbede) => Extensions {
                body,
                two_byte: false,
            },
            // The lower four bits are for the application (RFC 8285 §4.3).
            Some(profile) if profile & 0xfff0 == 0x1000 => Extensions {
                body,
                two_byte: true,
            },
            _ => Extensions {
                body: &[],
                two_byte: false,
            },
        }
    }
}

/// Takes off the padding: clears the P bit and returns the packet's new length.
pub fn strip_padding(packet: &mut [u8], header: &mut RtpHeader) -> Result<usize, Error> {
    let end = header.payload_range(packet)?.end;
    if let Some(first) = packet.first_mut() {
        *first &= !0x20;
    }
    header.padding = false;
    Ok(end)
}

/// Takes off the extension by moving fixed header and CSRCs up against the payload, which stays where it
/// is. Returns where the packet now begins; `header` is made to fit.
pub fn strip_extension(packet: &mut [u8], header: &mut RtpHeader) -> Result<usize, Error> {
    if header.extension.is_none() {
        return Ok(0);
    }
    let kept = FIXED_LEN + 4 * usize::from(header.csrc_count);
    if header.header_len > packet.len() || kept > header.header_len {
        return Err(Error::TooShort);
    }
    let start = header.header_len - kept;
    if let Some(first) = packet.first_mut() {
        *first &= !0x10;
    }
    packet.copy_within(0..kept, start);
    header.extension = None;
    header.header_len = kept;
    Ok(start)
}

/// Setters of single fields. A packet too short to have the field is left as it is.
pub fn set_marker(packet: &mut [u8], marker: bool) {
    if let Some(b) = packet.get_mut(1) {
        *b = (*b & 0x7f) | (u8::from(marker) << 7);
    }
}

pub fn set_pt(packet: &mut [u8], pt: u8) {
    if let Some(b) = packet.get_mut(1) {
        *b = (*b & 0x80) | (pt & 0x7f);
    }
}

pub fn set_seq(packet: &mut [u8], seq: u16) {
    put(packet, 2, &seq.to_be_bytes());
}

pub fn set_timestamp(packet: &mut [u8], timestamp: u32) {
    put(packet, 4, &timestamp.to_be_bytes());
}

pub fn set_ssrc(packet: &mut [u8], ssrc: u32) {
    put(packet, 8, &ssrc.to_be_bytes());
}

/// The SSRC without parsing the rest; it is in the clear in SRTP too.
pub fn ssrc(packet: &[u8]) -> Option<u32> {
    u32_at(packet, 8)
}

/// One element of a header extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    pub id: u8,
    pub data: &'a [u8],
}

/// Iterates over the elements of an RFC 8285 extension, one-byte or two-byte form.
///
/// ```text
///  one byte:  | ID 4 | length-1 4 | data … |      ID 15 ends the list (§4.2)
///  two byte:  |      ID 8         | length 8 | data … |
///  a zero byte in the place of an ID is padding
/// ```
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    body: &'a [u8],
    two_byte: bool,
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Extension<'a>;

    fn next(&mut self) -> Option<Extension<'a>> {
        loop {
            let (&first, rest) = self.body.split_first()?;
            if first == 0 {
                self.body = rest;
                continue;
            }
            let (id, len, rest) = if self.two_byte {
                let (&len, rest) = rest.split_first()?;
                (first, usize::from(len), rest)
            } else {
                let id = first >> 4;
                if id == 15 {
                    self.body = &[];
                    return None;
                }
                (id, usize::from(first & 0x0f) + 1, rest)
            };
            let Some((data, rest)) = rest.split_at_checked(len) else {
                self.body = &[];
                return None;
            };
            self.body = rest;
            // In one-byte form an ID of 0 with a length is padding with a body (§4.2).
            if id == 0 {
                continue;
            }
            return Some(Extension { id, data });
        }
    }
}

/// How far `b` is ahead of `a` on the circle of sequence numbers: 1 for the next one, -1 for the one
/// before.
pub fn seq_distance(a: u16, b: u16) -> i16 {
    b.wrapping_sub(a).cast_signed()
}

/// The same for timestamps.
pub fn timestamp_distance(a: u32, b: u32) -> i32 {
    b.wrapping_sub(a).cast_signed()
}

#[cfg(test)]
mod tests;
