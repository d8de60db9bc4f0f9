use super::*;
use proptest::prelude::*;

fn packet_with_extension() -> Vec<u8> {
    let mut packet = vec![0x91, 0x80 | 111, 0x12, 0x34, 0, 0, 1, 0, 0, 0, 0, 7];
    packet.extend([0, 0, 0, 9]); // one CSRC
    packet.extend([0xbe, 0xde, 0, 2]); // two words
    packet.extend([0x10, 0xaa, 0, 0x22, 1, 2, 3, 0]);
    packet.extend([5, 6, 7]);
    packet
}

#[test]
fn reads_header_csrc_extension_and_payload() {
    let packet = packet_with_extension();
    let header = RtpHeader::parse(&packet).unwrap();
    assert_eq!(header.pt, 111);
    assert!(header.marker);
    assert_eq!(header.seq, 0x1234);
    assert_eq!(header.timestamp, 256);
    assert_eq!(header.ssrc, 7);
    assert_eq!(header.csrc_count, 1);
    assert_eq!(header.header_len, 12 + 4 + 4 + 8);
    assert_eq!(header.payload(&packet).unwrap(), [5, 6, 7]);
    let elements: Vec<_> = header.extensions(&packet).collect();
    assert_eq!(
        elements,
        [
            Extension {
                id: 1,
                data: &[0xaa]
            },
            Extension {
                id: 2,
                data: &[1, 2, 3]
            }
        ]
    );
}

#[test]
fn reads_the_two_byte_form() {
    let mut packet = vec![0x90, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x10, 0x00, 0, 2];
    packet.extend([200, 0, 3, 2, 8, 9, 0, 0]);
    let header = RtpHeader::parse(&packet).unwrap();
    let elements: Vec<_> = header.extensions(&packet).collect();
    assert_eq!(
        elements,
        [
            Extension { id: 200, data: &[] },
            Extension {
                id: 3,
                data: &[8, 9]
            }
        ]
    );
}

#[test]
fn strips_the_extension_without_moving_the_payload() {
    let mut packet = packet_with_extension();
    let mut header = RtpHeader::parse(&packet).unwrap();
    let start = strip_extension(&mut packet, &mut header).unwrap();
    assert_eq!(start, 12);
    let stripped = RtpHeader::parse(&packet[start..]).unwrap();
    assert_eq!(stripped, header);
    assert_eq!(stripped.header_len, 16);
    assert_eq!(stripped.payload(&packet[start..]).unwrap(), [5, 6, 7]);
}

#[test]
fn padding_is_taken_off_and_checked() {
    let mut packet = vec![0xa0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 9, 9, 0, 2];
    let mut header = RtpHeader::parse(&packet).unwrap();
    assert_eq!(header.payload(&packet).unwrap(), [9, 9]);
    packet[15] = 0;
    assert_eq!(header.payload(&packet), Err(Error::Padding));
    packet[15] = 5;
    assert_eq!(header.payload(&packet), Err(Error::Padding));
    packet[15] = 4;
    assert_eq!(header.payload(&packet).unwrap(), [0u8; 0]);
    let len = strip_padding(&mut packet, &mut header).unwrap();
    assert_eq!(RtpHeader::parse(&packet[..len]).unwrap(), header);
}

#[test]
fn writes_what_it_reads() {
    let mut header = RtpHeader::new(8, 65535, 4_000_000_000, 77);
    header.marker = true;
    let mut buf = [0u8; 14];
    assert_eq!(header.write(&mut buf), Ok(12));
    assert_eq!(RtpHeader::parse(&buf).unwrap(), header);
    set_pt(&mut buf, 0);
    set_marker(&mut buf, false);
    set_seq(&mut buf, 2);
    set_timestamp(&mut buf, 3);
    set_ssrc(&mut buf, 4);
    assert_eq!(RtpHeader::parse(&buf).unwrap(), RtpHeader::new(0, 2, 3, 4));
    assert_eq!(ssrc(&buf), Some(4));
    assert_eq!(header.write(&mut buf[..11]), Err(Error::TooShort));
}

#[test]
fn other_versions_and_short_headers_are_refused() {
    assert_eq!(RtpHeader::parse(&[0x40; 12]), Err(Error::Version));
    assert_eq!(RtpHeader::parse(&[0x80; 11]), Err(Error::TooShort));
    assert_eq!(RtpHeader::parse(&[0x8f; 12]), Err(Error::TooShort));
    assert_eq!(RtpHeader::parse(&[0x90; 12]), Err(Error::TooShort));
    assert_eq!(RtpHeader::parse(&[0x90; 16]), Err(Error::TooShort));
}

#[test]
fn distances_go_around_the_circle() {
    assert_eq!(seq_distance(65535, 2), 3);
    assert_eq!(seq_distance(2, 65535), -3);
    assert_eq!(timestamp_distance(u32::MAX, 159), 160);
}

proptest! {
    #[test]
    fn any_bytes_parse_or_are_refused(mut packet in proptest::collection::vec(any::<u8>(), 0..120), v2 in any::<bool>()) {
        if v2 && let Some(b) = packet.first_mut() {
            *b = (*b & 0x3f) | 0x80;
        }
        if let Ok(mut header) = RtpHeader::parse(&packet) {
            let _ = header.extensions(&packet).count();
            if let Ok(payload) = header.payload(&packet) {
                prop_assert!(payload.len() <= packet.len());
            }
            let mut copy = packet.clone();
            let start = strip_extension(&mut copy, &mut header).unwrap();
            prop_assert_eq!(RtpHeader::parse(&copy[start..]).unwrap(), header);
            let _ = strip_padding(&mut copy[start..], &mut header);
        }
    }
}
