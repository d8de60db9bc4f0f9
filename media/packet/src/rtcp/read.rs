use super::{ReportBlock, SenderInfo, packet_type};
use crate::bytes::{u16_at, u32_at};

/// What is wrong with a compound packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    TooShort,
    Version,
    /// A packet within it is longer than the whole.
    Length,
    /// Padding elsewhere than in the last packet, or longer than it.
    Padding,
}

/// A well-framed compound packet, or a single one (RFC 5506); iterates over its parts.
///
/// ```text
///  |V=2|P| count 5 | packet type 8 | length 16, in words without this one |
/// ```
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

impl<'a> Compound<'a> {
    /// Checks the framing of the whole, so that nothing of a damaged packet is believed.
    pub fn parse(packet: &'a [u8]) -> Result<Compound<'a>, Error> {
        if packet.len() < 4 {
            return Err(Error::TooShort);
        }
        let mut rest = packet;
        while !rest.is_empty() {
            let (part, after) = split(rest)?;
            let padded = part.first().is_some_and(|b| b & 0x20 != 0);
            if padded && (!after.is_empty() || body(part).is_none()) {
                return Err(Error::Padding);
            }
            rest = after;
        }
        Ok(Compound { rest: packet })
    }
}

fn split(rest: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let first = *rest.first().ok_or(Error::TooShort)?;
    if first >> 6 != 2 {
        return Err(Error::Version);
    }
    let words = u16_at(rest, 2).ok_or(Error::TooShort)?;
    rest.split_at_checked(4 * (usize::from(words) + 1))
        .ok_or(Error::Length)
}

/// What follows the first word, padding taken off.
fn body(part: &[u8]) -> Option<&[u8]> {
    let (head, body) = part.split_at_checked(4)?;
    if head.first()? & 0x20 == 0 {
        return Some(body);
    }
    let padding = usize::from(*body.last()?);
    if padding == 0 || padding % 4 != 0 {
        return None;
    }
    body.get(..body.len().checked_sub(padding)?)
}

impl<'a> Iterator for Compound<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        let (part, after) = split(self.rest).ok()?;
        self.rest = after;
        Some(Packet::read(part))
    }
}

/// One packet of a compound.
#[derive(Clone, Copy, Debug)]
pub enum Packet<'a> {
    SenderReport(SenderReport<'a>),
    ReceiverReport(ReceiverReport<'a>),
    Sdes(Sdes<'a>),
    Bye(Bye<'a>),
    /// Picture loss (RFC 4585 §6.3.1).
    Pli(Feedback<'a>),
    /// Full intra request (RFC 5104 §4.3.1).
    Fir(Fir<'a>),
    /// Generic NACK (RFC 4585 §6.2.1).
    Nack(Nack<'a>),
    /// Receiver estimated maximum bitrate, unparsed.
    Remb(Feedback<'a>),
    /// Transport-wide congestion control feedback, unparsed.
    TransportCc(Feedback<'a>),
    /// Anything else, and known types that are too short for what they should hold.
    Other {
        packet_type: u8,
        count: u8,
        body: &'a [u8],
    },
}

impl<'a> Packet<'a> {
    fn read(part: &'a [u8]) -> Packet<'a> {
        let count = part.first().map_or(0, |b| b & 0x1f);
        let kind = part.get(1).copied().unwrap_or(0);
        let body = body(part).unwrap_or_default();
        let other = Packet::Other {
            packet_type: kind,
            count,
            body,
        };
        let known = match (kind, count) {
            (packet_type::SR, _) => SenderReport::read(body, count).map(Packet::SenderReport),
            (packet_type::RR, _) => ReceiverReport::read(body, count).map(Packet::ReceiverReport),
            (packet_type::SDES, _) => Some(Packet::Sdes(Sdes {
                body,
                chunks: count,
            })),
            (packet_type::BYE, _) => Bye::read(body, count).map(Packet::Bye),
            (packet_type::RTPFB, 1) => {
                Feedback::read(body).map(|f| Packet::Nack(Nack { feedback: f }))
            }
            (packet_type::RTPFB, 15) => Feedback::read(body).map(Packet::TransportCc),
            (packet_type::PSFB, 1) => Feedback::read(body).map(Packet::Pli),
            (packet_type::PSFB, 4) => {
                Feedback::read(body).map(|f| Packet::Fir(Fir { feedback: f }))
            }
            (packet_type::PSFB, 15) => Feedback::read(body)
                .filter(|feedback| feedback.body.starts_with(b"REMB"))
                .map(Packet::Remb),
            _ => None,
        };
        known.unwrap_or(other)
    }
}

/// Report blocks, as many as the packet both announces and holds.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    body: &'a [u8],
}

const BLOCK_LEN: usize = 24;

impl<'a> Block<'a> {
    fn read(body: &'a [u8], count: u8) -> Option<Block<'a>> {
        Some(Block {
            body: body.get(..BLOCK_LEN * usize::from(count))?,
        })
    }
}

impl Iterator for Block<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.body.split_at_checked(BLOCK_LEN)?;
        self.body = rest;
        let loss = u32_at(block, 4)?;
        let [fraction_lost, ..] = loss.to_be_bytes();
        Some(ReportBlock {
            ssrc: u32_at(block, 0)?,
            fraction_lost,
            // The lower 24 bits with their sign.
            cumulative_lost: (loss << 8).cast_signed() >> 8,
            highest_seq: u32_at(block, 8)?,
            jitter: u32_at(block, 12)?,
            last_sr: u32_at(block, 16)?,
            delay: u32_at(block, 20)?,
        })
    }
}

#[derive(Clone, Copy, Debug)]
pub struct SenderReport<'a> {
    pub ssrc: u32,
    pub info: SenderInfo,
    pub blocks: Block<'a>,
}

impl<'a> SenderReport<'a> {
    fn read(body: &'a [u8], count: u8) -> Option<SenderReport<'a>> {
        Some(SenderReport {
            ssrc: u32_at(body, 0)?,
            info: SenderInfo {
                ntp: u64::from(u32_at(body, 4)?) << 32 | u64::from(u32_at(body, 8)?),
                rtp_timestamp: u32_at(body, 12)?,
                packets: u32_at(body, 16)?,
                octets: u32_at(body, 20)?,
            },
            blocks: Block::read(body.get(24..)?, count)?,
        })
    }
}

#[derive(Clone, Copy, Debug)]
pub struct ReceiverReport<'a> {
    pub ssrc: u32,
    pub blocks: Block<'a>,
}

impl<'a> ReceiverReport<'a> {
    fn read(body: &'a [u8], count: u8) -> Option<ReceiverReport<'a>> {
        Some(ReceiverReport {
            ssrc: u32_at(body, 0)?,
            blocks: Block::read(body.get(4..)?, count)?,
        })
    }
}

/// Source descriptions (RFC 3550 §6.5).
#[derive(Clone, Copy, Debug)]
pub struct Sdes<'a> {
    body: &'a [u8],
    chunks: u8,
}

impl<'a> Sdes<'a> {
    /// SSRC and CNAME of each chunk that has one.
    pub fn cnames(&self) -> impl Iterator<Item = (u32, &'a [u8])> {
        let mut rest = self.body;
        let mut chunks = self.chunks;
        std::iter::from_fn(move || {
            while chunks > 0 {
                chunks -= 1;
                let ssrc = u32_at(rest, 0)?;
                let (len, cname) = chunk(rest)?;
                rest = rest.get(len..).unwrap_or_default();
                if let Some(cname) = cname {
                    return Some((ssrc, cname));
                }
            }
            None
        })
    }
}

/// Length of the chunk at the front, and its CNAME: items of type, length and text, ended by a zero and
/// filled up to a word.
fn chunk(body: &[u8]) -> Option<(usize, Option<&[u8]>)> {
    let mut at = 4;
    let mut cname = None;
    loop {
        let kind = *body.get(at)?;
        if kind == 0 {
            return Some(((at + 1).next_multiple_of(4), cname));
        }
        let len = usize::from(*body.get(at + 1)?);
        let text = body.get(at + 2..at + 2 + len)?;
        if kind == 1 {
            cname = cname.or(Some(text));
        }
        at += 2 + len;
    }
}

/// Goodbye (RFC 3550 §6.6).
#[derive(Clone, Copy, Debug)]
pub struct Bye<'a> {
    ssrcs: &'a [u8],
}

impl<'a> Bye<'a> {
    fn read(body: &'a [u8], count: u8) -> Option<Bye<'a>> {
        Some(Bye {
            ssrcs: body.get(..4 * usize::from(count))?,
        })
    }

    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.ssrcs
            .chunks_exact(4)
            .filter_map(|word| u32_at(word, 0))
    }
}

/// The frame of every feedback message (RFC 4585 §6.1).
#[derive(Clone, Copy, Debug)]
pub struct Feedback<'a> {
    pub sender: u32,
    pub media: u32,
    /// The feedback control information.
    pub body: &'a [u8],
}

impl<'a> Feedback<'a> {
    fn read(body: &'a [u8]) -> Option<Feedback<'a>> {
        Some(Feedback {
            sender: u32_at(body, 0)?,
            media: u32_at(body, 4)?,
            body: body.get(8..)?,
        })
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Fir<'a> {
    pub feedback: Feedback<'a>,
}

impl<'a> Fir<'a> {
    /// The stream asked for and the request's number; a repeated number is a repeated request.
    pub fn requests(&self) -> impl Iterator<Item = (u32, u8)> + use<'a> {
        self.feedback
            .body
            .chunks_exact(8)
            .filter_map(|entry| Some((u32_at(entry, 0)?, *entry.get(4)?)))
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Nack<'a> {
    pub feedback: Feedback<'a>,
}

impl<'a> Nack<'a> {
    /// The sequence numbers asked for: each entry names one, and by 16 bits those behind it.
    pub fn seqs(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.feedback.body.chunks_exact(4).flat_map(|entry| {
            let pid = u16_at(entry, 0).unwrap_or_default();
            let mask = u16_at(entry, 2).unwrap_or_default();
            let behind = (0u16..16)
                .filter(move |bit| mask >> bit & 1 == 1)
                .map(move |bit| pid.wrapping_add(bit + 1));
            std::iter::once(pid).chain(behind)
        })
    }
}
