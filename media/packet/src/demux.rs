//! Which protocol a datagram of a muxed port belongs to, by its first two bytes.

/// What a datagram claims to be. A claim only: the parsers decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
    /// ZRTP, TURN channel data, or nothing that we know.
    Unknown,
}

/// Sorts a datagram by its first byte (RFC 7983 §7), and RTP from RTCP by its second (RFC 5761 §4).
///
/// ```text
///   0..=3    STUN          20..=63   DTLS
///   16..=19  ZRTP          64..=79   TURN channel
///   128..=191 RTP or RTCP: RTCP when the second byte is 192..=223, which is a marker and a payload type
///   of 64..=95, both reserved for this.
/// ```
pub fn classify(datagram: &[u8]) -> Class {
    match datagram {
        [0..=3, ..] => Class::Stun,
        [20..=63, ..] => Class::Dtls,
        [128..=191, 192..=223, ..] => Class::Rtcp,
        [128..=191, _, ..] => Class::Rtp,
        _ => Class::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_datagrams_by_their_first_byte() {
        assert_eq!(classify(&[0, 1, 0, 0]), Class::Stun);
        assert_eq!(classify(&[1, 1]), Class::Stun);
        assert_eq!(classify(&[22, 254, 253]), Class::Dtls);
        assert_eq!(classify(&[17, 0]), Class::Unknown);
        assert_eq!(classify(&[64, 0]), Class::Unknown);
        assert_eq!(classify(&[128, 0]), Class::Rtp);
        assert_eq!(classify(&[128, 0x80 | 96]), Class::Rtp);
        assert_eq!(classify(&[128, 200]), Class::Rtcp);
        assert_eq!(classify(&[129, 206]), Class::Rtcp);
        assert_eq!(classify(&[128]), Class::Unknown);
        assert_eq!(classify(&[]), Class::Unknown);
        assert_eq!(classify(&[255, 255]), Class::Unknown);
    }
}
