//! What is remembered of one SSRC.

use super::Error;
use serde::{Deserialize, Serialize};

/// Packets behind the newest one that are still told apart. RFC 3711 §3.3.2 asks for 64 at least; 128
/// are 2.5 s of a 20 ms codec.
pub(super) const WINDOW: u64 = 128;

/// Highest index seen, and which of the 128 up to it were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window {
    highest: u64,
    /// Bit n: `highest - n` was seen. Two halves, low first, because not every format has 128 bits.
    seen: [u64; 2],
}

impl Window {
    fn bits(&self) -> u128 {
        u128::from(self.seen[0]) | u128::from(self.seen[1]) << 64
    }

    fn set_bits(&mut self, bits: u128) {
        let low = bits & u128::from(u64::MAX);
        self.seen = [
            u64::try_from(low).expect("masked to 64 bits"),
            u64::try_from(bits >> 64).expect("shifted to 64 bits"),
        ];
    }

    pub(super) fn starting_at(index: u64) -> Window {
        Window {
            highest: index,
            seen: [1, 0],
        }
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    pub(super) fn check(&self, index: u64) -> Result<(), Error> {
        let Some(behind) = self.highest.checked_sub(index) else {
            return Ok(());
        };
        if behind >= WINDOW {
            Err(Error::TooOld)
        } else if self.bits() >> behind & 1 == 1 {
            Err(Error::Replayed)
        } else {
            Ok(())
        }
    }

    pub(super) fn accept(&mut self, index: u64) {
        match self.highest.checked_sub(index) {
            Some(behind) if behind < WINDOW => self.set_bits(self.bits() | 1 << behind),
            Some(_) => {}
            None => {
                let ahead = index - self.highest;
                let shifted = if ahead < WINDOW {
                    self.bits() << ahead
                } else {
                    0
                };
                self.set_bits(shifted | 1);
                self.highest = index;
            }
        }
    }
}

/// Both directions of counting for one SSRC: RTP by 48-bit index, RTCP by 31-bit index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) ssrc: u32,
    pub(super) rtp: Option<Window>,
    pub(super) rtcp: Option<Window>,
    /// When it was last used, in packets of its context.
    pub(super) used: u64,
}

/// Extends a 16-bit sequence number to the 48-bit SRTP packet index (RFC 3711 §3.3.1).
///
/// The rollover counter is the upper 32 bits. After seq 65534 at roc 0, seq 2 gives 65538. `None` before
/// the first packet of all or past the last one.
pub(super) fn index_of(highest: Option<u64>, seq: u16) -> Option<u64> {
    let seq = u64::from(seq);
    let Some(highest) = highest else {
        return Some(seq);
    };
    let roc = highest >> 16;
    let last = highest & 0xffff;
    let roc = if last < 0x8000 && seq > last + 0x8000 {
        roc.checked_sub(1)?
    } else if last >= 0x8000 && seq + 0x8000 < last {
        roc + 1
    } else {
        roc
    };
    (roc <= u64::from(u32::MAX)).then_some(roc << 16 | seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_follows_the_sequence_around_the_wrap() {
        assert_eq!(index_of(None, 65534), Some(65534));
        assert_eq!(index_of(Some(65534), 2), Some(65538));
        assert_eq!(index_of(Some(65538), 65535), Some(65535));
        assert_eq!(index_of(Some(100), 32868), Some(32868));
        assert_eq!(index_of(Some(100), 40000), None);
        assert_eq!(index_of(Some(0xffff_ffff_ffff), 1), None);
    }

    #[test]
    fn the_window_knows_128_packets() {
        let mut window = Window::starting_at(1000);
        assert_eq!(window.check(1000), Err(Error::Replayed));
        assert_eq!(window.check(873), Ok(()));
        assert_eq!(window.check(872), Err(Error::TooOld));
        window.accept(873);
        assert_eq!(window.check(873), Err(Error::Replayed));
        window.accept(1001);
        assert_eq!(window.check(873), Err(Error::TooOld));
        window.accept(1065);
        assert_eq!(window.check(1000), Err(Error::Replayed));
        assert_eq!(window.check(1002), Ok(()));
        window.accept(9000);
        assert_eq!(window.check(9000), Err(Error::Replayed));
        assert_eq!(window.check(8999), Ok(()));
    }
}
