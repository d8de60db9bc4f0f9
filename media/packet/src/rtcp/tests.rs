use super::*;
use proptest::prelude::*;

fn block(ssrc: u32, lost: i32) -> ReportBlock {
    ReportBlock {
        ssrc,
        fraction_lost: 12,
        cumulative_lost: lost,
        highest_seq: 70_000,
        jitter: 33,
        last_sr: 5,
        delay: 6,
    }
}

#[test]
fn reads_the_compound_that_it_wrote() {
    let mut buf = [0u8; 300];
    let mut writer = Writer::new(&mut buf);
    let info = SenderInfo {
        ntp: 0x0102_0304_0506_0708,
        rtp_timestamp: 9,
        packets: 10,
        octets: 11,
    };
    assert!(writer.sender_report(1, &info, &[block(2, -3), block(3, 0x7f_ffff)]));
    assert!(writer.receiver_report(1, &[]));
    assert!(writer.sdes_cname(1, "abcdef"));
    assert!(writer.pli(1, 2));
    assert!(writer.fir(1, 2, 7));
    assert!(writer.nack(1, 2, 65535, 0b101));
    assert!(writer.bye(1));
    let len = writer.len();

    let packets: Vec<_> = Compound::parse(&buf[..len]).unwrap().collect();
    let [
        Packet::SenderReport(sr),
        Packet::ReceiverReport(rr),
        Packet::Sdes(sdes),
        Packet::Pli(pli),
        Packet::Fir(fir),
        Packet::Nack(nack),
        Packet::Bye(bye),
    ] = packets[..]
    else {
        panic!("{packets:?}");
    };
    assert_eq!((sr.ssrc, sr.info), (1, info));
    assert_eq!(sr.info.middle(), 0x0304_0506);
    assert_eq!(
        sr.blocks.collect::<Vec<_>>(),
        [block(2, -3), block(3, 0x7f_ffff)]
    );
    assert_eq!((rr.ssrc, rr.blocks.count()), (1, 0));
    assert_eq!(sdes.cnames().collect::<Vec<_>>(), [(1, &b"abcdef"[..])]);
    assert_eq!((pli.sender, pli.media), (1, 2));
    assert_eq!(fir.requests().collect::<Vec<_>>(), [(2, 7)]);
    assert_eq!(nack.seqs().collect::<Vec<_>>(), [65535, 0, 2]);
    assert_eq!(bye.ssrcs().collect::<Vec<_>>(), [1]);
}

#[test]
fn a_part_that_does_not_fit_is_left_out_whole() {
    let mut buf = [0u8; 20];
    let mut writer = Writer::new(&mut buf);
    assert!(writer.receiver_report(1, &[]));
    assert!(!writer.receiver_report(1, &[block(2, 0)]));
    assert!(writer.pli(1, 2));
    assert_eq!(writer.len(), 20);
    assert_eq!(Compound::parse(&buf).unwrap().count(), 2);
}

#[test]
fn cnames_of_every_length_end_on_a_word() {
    for len in 0..=300 {
        let cname = "c".repeat(len);
        let mut buf = [0u8; 300];
        let mut writer = Writer::new(&mut buf);
        assert!(writer.sdes_cname(9, &cname));
        let written = writer.len();
        let Some(Packet::Sdes(sdes)) = Compound::parse(&buf[..written]).unwrap().next() else {
            panic!("no SDES");
        };
        let (ssrc, read) = sdes.cnames().next().unwrap();
        assert_eq!((ssrc, read), (9, &cname.as_bytes()[..len.min(255)]));
    }
}

#[test]
fn damaged_frames_are_refused_whole() {
    assert_eq!(Compound::parse(&[]).err(), Some(Error::TooShort));
    assert_eq!(
        Compound::parse(&[0x40, 201, 0, 0]).err(),
        Some(Error::Version)
    );
    assert_eq!(
        Compound::parse(&[0x80, 201, 0, 1]).err(),
        Some(Error::Length)
    );
    let padded_first = [0xa0, 203, 0, 1, 0, 0, 0, 4, 0x80, 203, 0, 0];
    assert_eq!(Compound::parse(&padded_first).err(), Some(Error::Padding));
    assert_eq!(
        Compound::parse(&[0xa0, 203, 0, 1, 0, 0, 0, 8]).err(),
        Some(Error::Padding)
    );
    assert_eq!(
        Compound::parse(&[0xa0, 203, 0, 1, 0, 0, 0, 4])
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn a_report_without_its_blocks_is_not_believed() {
    let packet = [0x82, 201, 0, 1, 0, 0, 0, 1];
    let packets: Vec<_> = Compound::parse(&packet).unwrap().collect();
    assert!(matches!(
        packets[..],
        [Packet::Other {
            packet_type: 201,
            count: 2,
            ..
        }]
    ));
}

#[test]
fn the_round_trip_is_what_the_peer_did_not_keep() {
    let answer = ReportBlock {
        last_sr: 1000,
        delay: 300,
        ..ReportBlock::default()
    };
    assert_eq!(answer.round_trip(1500), Some(200));
    assert_eq!(answer.round_trip(1200), None);
    assert_eq!(ReportBlock::default().round_trip(1500), None);
}

proptest! {
    #[test]
    fn any_bytes_parse_or_are_refused(mut packet in proptest::collection::vec(any::<u8>(), 0..160), kind in 198u8..210, framed in any::<bool>()) {
        if framed && packet.len() >= 4 {
            packet.truncate(packet.len() / 4 * 4);
            packet[0] = packet[0] & 0x3f | 0x80;
            packet[1] = kind;
            let words = u16::try_from(packet.len() / 4 - 1).unwrap();
            packet[2..4].copy_from_slice(&words.to_be_bytes());
        }
        if let Ok(compound) = Compound::parse(&packet) {
            for part in compound {
                match part {
                    Packet::SenderReport(sr) => drop(sr.blocks.count()),
                    Packet::ReceiverReport(rr) => drop(rr.blocks.count()),
                    Packet::Sdes(sdes) => drop(sdes.cnames().count()),
                    Packet::Bye(bye) => drop(bye.ssrcs().count()),
                    Packet::Fir(fir) => drop(fir.requests().count()),
                    Packet::Nack(nack) => drop(nack.seqs().count()),
                    Packet::Pli(_) | Packet::Remb(_) | Packet::TransportCc(_) | Packet::Other { .. } => {}
                }
            }
        }
    }
}
