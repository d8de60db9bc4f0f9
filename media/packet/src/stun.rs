//! Just enough of STUN (RFC 8489) to bring a binding request to its leg; ICE itself is elsewhere.
//!
//! ```text
//!  | 0 0 |  message type 14  |  length 16, without these 20 bytes |
//!  |                   magic cookie 0x2112a442                    |
//!  |                   transaction id, 12 bytes                   |
//!  | attribute type 16 | length 16 | value, padded to 4 bytes | …
//! ```

use crate::bytes::{u16_at, u32_at};

const HEADER: usize = 20;
const MAGIC: u32 = 0x2112_a442;
const BINDING: u16 = 0x0001;
const USERNAME: u16 = 0x0006;
const FINGERPRINT: u16 = 0x8028;
/// "STUN", with which a fingerprint's CRC is mixed (RFC 8489 §14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// The class bits of a message type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// A well-framed STUN message. Nothing in it is authenticated.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub class: Class,
    pub method: u16,
    pub transaction: [u8; 12],
    packet: &'a [u8],
}

impl<'a> Message<'a> {
    /// `None` unless the datagram is exactly one STUN message with the magic cookie.
    pub fn parse(packet: &'a [u8]) -> Option<Message<'a>> {
        let kind = u16_at(packet, 0)?;
        if kind & 0xc000 != 0 || u32_at(packet, 4)? != MAGIC {
            return None;
        }
        let len = usize::from(u16_at(packet, 2)?);
        if len % 4 != 0 || packet.len() != HEADER + len {
            return None;
        }
        let class = match kind & 0x0110 {
            0x0000 => Class::Request,
            0x0010 => Class::Indication,
            0x0100 => Class::Success,
            _ => Class::Error,
        };
        // The method's twelve bits stand around the two class bits (RFC 8489 §5).
        let method = kind & 0x000f | (kind & 0x00e0) >> 1 | (kind & 0x3e00) >> 2;
        let transaction = *packet.get(8..)?.first_chunk::<12>()?;
        Some(Message {
            class,
            method,
            transaction,
            packet,
        })
    }

    pub fn is_binding_request(&self) -> bool {
        self.class == Class::Request && self.method == BINDING
    }

    /// The first attribute of this type, without its padding.
    pub fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        Attributes {
            packet: self.packet,
            at: HEADER,
        }
        .find(|(kind, _, _)| *kind == wanted)
        .map(|(_, value, _)| value)
    }

    /// USERNAME as it stands there. A request towards us says `ours:theirs` (RFC 8445 §7.2.2).
    pub fn username(&self) -> Option<&'a [u8]> {
        self.attribute(USERNAME)
    }

    /// The part of USERNAME before the colon, which is the ufrag that we gave to the peer.
    pub fn local_ufrag(&self) -> Option<&'a str> {
        let username = self.username()?;
        let end = username.iter().position(|b| *b == b':')?;
        std::str::from_utf8(username.get(..end)?).ok()
    }

    /// Whether FINGERPRINT is there, last, and right.
    pub fn fingerprint_is_right(&self) -> bool {
        let mut last = None;
        for attribute in (Attributes {
            packet: self.packet,
            at: HEADER,
        }) {
            last = Some(attribute);
        }
        let Some((FINGERPRINT, value, at)) = last else {
            return false;
        };
        let Some(covered) = self.packet.get(..at) else {
            return false;
        };
        u32_at(value, 0) == Some(crc32(covered) ^ FINGERPRINT_XOR) && value.len() == 4
    }
}

/// The ufrag of ours that a binding request names, or `None` for any other datagram.
pub fn binding_request_ufrag(packet: &[u8]) -> Option<&str> {
    let message = Message::parse(packet)?;
    if !message.is_binding_request() {
        return None;
    }
    message.local_ufrag()
}

/// Type, value, and where the attribute begins.
struct Attributes<'a> {
    packet: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8], usize);

    fn next(&mut self) -> Option<(u16, &'a [u8], usize)> {
        let start = self.at;
        let kind = u16_at(self.packet, start)?;
        let len = usize::from(u16_at(self.packet, start + 2)?);
        let value = self.packet.get(start + 4..start + 4 + len)?;
        self.at = start + 4 + len.next_multiple_of(4);
        Some((kind, value, start))
    }
}

/// CRC-32 of ITU-T V.42, bit by bit: it runs once per binding request at most.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let mask = 0u32.wrapping_sub(crc & 1);
            crc = (crc >> 1) ^ (0xedb8_8320 & mask);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(username: &str) -> Vec<u8> {
        let mut packet = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        packet.extend([7; 12]);
        packet.extend(USERNAME.to_be_bytes());
        packet.extend(u16::try_from(username.len()).unwrap().to_be_bytes());
        packet.extend(username.as_bytes());
        packet.resize(packet.len().next_multiple_of(4), 0);
        let len = u16::try_from(packet.len() - HEADER + 8).unwrap();
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        let crc = crc32(&packet) ^ FINGERPRINT_XOR;
        packet.extend(FINGERPRINT.to_be_bytes());
        packet.extend(4u16.to_be_bytes());
        packet.extend(crc.to_be_bytes());
        packet
    }

    #[test]
    fn a_binding_request_names_our_ufrag() {
        let packet = request("abcde:xyz");
        let message = Message::parse(&packet).unwrap();
        assert!(message.is_binding_request());
        assert_eq!(message.transaction, [7; 12]);
        assert_eq!(message.username().unwrap(), b"abcde:xyz");
        assert!(message.fingerprint_is_right());
        assert_eq!(binding_request_ufrag(&packet), Some("abcde"));
    }

    #[test]
    fn a_changed_bit_spoils_the_fingerprint() {
        let mut packet = request("abcde:xyz");
        packet[25] ^= 1;
        assert!(!Message::parse(&packet).unwrap().fingerprint_is_right());
    }

    #[test]
    fn answers_and_other_datagrams_are_no_requests() {
        let mut packet = request("abcde:xyz");
        packet[0] = 1;
        assert_eq!(Message::parse(&packet).unwrap().class, Class::Success);
        assert_eq!(binding_request_ufrag(&packet), None);
        packet[4] = 0;
        assert!(Message::parse(&packet).is_none());
    }

    #[test]
    fn the_crc_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(mut packet in proptest::collection::vec(any::<u8>(), 0..100), framed in any::<bool>()) {
            if framed && packet.len() >= HEADER {
                packet.truncate(packet.len() / 4 * 4);
                packet[0] &= 0x3f;
                let len = u16::try_from(packet.len() - HEADER).unwrap();
                packet[2..4].copy_from_slice(&len.to_be_bytes());
                packet[4..8].copy_from_slice(&MAGIC.to_be_bytes());
            }
            if let Some(message) = Message::parse(&packet) {
                let _ = (message.local_ufrag(), message.fingerprint_is_right());
            }
        }
    }
}
