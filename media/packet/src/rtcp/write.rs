use super::{ReportBlock, SenderInfo, packet_type};
use crate::bytes::put;

/// Writes a compound packet into a buffer, part by part.
///
/// A part that does not fit is left out whole and reported by `false`; what was written stays valid.
#[derive(Debug)]
pub struct Writer<'b> {
    buf: &'b mut [u8],
    len: usize,
}

/// More report blocks than a packet can count (RFC 3550 §6.4.1).
const MAX_BLOCKS: usize = 31;

impl<'b> Writer<'b> {
    pub fn new(buf: &'b mut [u8]) -> Writer<'b> {
        Writer { buf, len: 0 }
    }

    /// Length of the compound so far.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Blocks past the 31st are left out.
    pub fn sender_report(&mut self, ssrc: u32, info: &SenderInfo, blocks: &[ReportBlock]) -> bool {
        let blocks = &blocks[..blocks.len().min(MAX_BLOCKS)];
        self.part(packet_type::SR, blocks.len(), |part| {
            part.u32(ssrc);
            part.bytes(&info.ntp.to_be_bytes());
            part.u32(info.rtp_timestamp);
            part.u32(info.packets);
            part.u32(info.octets);
            blocks.iter().for_each(|block| part.block(block));
        })
    }

    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> bool {
        let blocks = &blocks[..blocks.len().min(MAX_BLOCKS)];
        self.part(packet_type::RR, blocks.len(), |part| {
            part.u32(ssrc);
            blocks.iter().for_each(|block| part.block(block));
        })
    }

    /// One chunk with a CNAME, cut at 255 bytes.
    pub fn sdes_cname(&mut self, ssrc: u32, cname: &str) -> bool {
        let cname = &cname.as_bytes()[..cname.len().min(255)];
        self.part(packet_type::SDES, 1, |part| {
            part.u32(ssrc);
            part.bytes(&[1, u8::try_from(cname.len()).unwrap_or(u8::MAX)]);
            part.bytes(cname);
            // The end of the list, and fill up to a word.
            let fill = 4 - (2 + cname.len()) % 4;
            part.bytes(&[0; 4][..fill]);
        })
    }

    pub fn bye(&mut self, ssrc: u32) -> bool {
        self.part(packet_type::BYE, 1, |part| part.u32(ssrc))
    }

    pub fn pli(&mut self, sender: u32, media: u32) -> bool {
        self.part(packet_type::PSFB, 1, |part| {
            part.u32(sender);
            part.u32(media);
        })
    }

    /// `number` grows by one with each new request (RFC 5104 §4.3.1.1).
    pub fn fir(&mut self, sender: u32, media: u32, number: u8) -> bool {
        self.part(packet_type::PSFB, 4, |part| {
            part.u32(sender);
            part.u32(0);
            part.u32(media);
            part.bytes(&[number, 0, 0, 0]);
        })
    }

    /// Asks for `seq` and, by the bits of `behind`, for the sixteen after it.
    pub fn nack(&mut self, sender: u32, media: u32, seq: u16, behind: u16) -> bool {
        self.part(packet_type::RTPFB, 1, |part| {
            part.u32(sender);
            part.u32(media);
            part.bytes(&seq.to_be_bytes());
            part.bytes(&behind.to_be_bytes());
        })
    }

    fn part(&mut self, packet_type: u8, count: usize, fill: impl FnOnce(&mut Part<'_>)) -> bool {
        let start = self.len;
        let mut part = Part {
            buf: self.buf,
            at: start + 4,
            fits: true,
        };
        fill(&mut part);
        let (end, fits) = (part.at, part.fits);
        let words = u16::try_from((end - start) / 4 - 1);
        let (true, Ok(words), Ok(count)) = (fits, words, u8::try_from(count)) else {
            return false;
        };
        let [high, low] = words.to_be_bytes();
        if !put(
            self.buf,
            start,
            &[0x80 | count & 0x1f, packet_type, high, low],
        ) {
            return false;
        }
        self.len = end;
        true
    }
}

struct Part<'b> {
    buf: &'b mut [u8],
    at: usize,
    fits: bool,
}

impl Part<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.fits &= put(self.buf, self.at, bytes);
        self.at += bytes.len();
    }

    fn u32(&mut self, word: u32) {
        self.bytes(&word.to_be_bytes());
    }

    fn block(&mut self, block: &ReportBlock) {
        self.u32(block.ssrc);
        // 24 bits with a sign; beyond them it stays at the end of the scale.
        let lost = block
            .cumulative_lost
            .clamp(-0x80_0000, 0x7f_ffff)
            .cast_unsigned()
            & 0xff_ffff;
        self.u32(u32::from(block.fraction_lost) << 24 | lost);
        self.u32(block.highest_seq);
        self.u32(block.jitter);
        self.u32(block.last_sr);
        self.u32(block.delay);
    }
}
