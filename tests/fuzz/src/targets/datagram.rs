//! Datagrams on a muxed media port: STUN, RTP, RTCP, telephone events, and SRTP under a key that both know.

use crate::Target;
use media_packet::demux::{Class, classify};
use media_packet::rtp::RtpHeader;
use media_packet::srtp::{Context, MAX_TRAILER, Profile, key_len, salt_len};
use media_packet::{dtmf, rtcp, rtp, stun};

pub const DATAGRAM: Target = Target {
    name: "datagram",
    run,
    words: &[
        b"\x80\x00",
        b"\x90\x6f",
        b"\xb0\xff",
        b"\x80\xc8\x00\x06",
        b"\x81\xc9\x00\x07",
        b"\x81\xca\x00\x02",
        b"\x81\xcb\x00\x01",
        b"\x81\xcd\x00\x03",
        b"\x81\xce\x00\x02",
        b"\x84\xce\x00\x04",
        b"\x8f\xce\x00\x05",
        b"REMB",
        b"\xbe\xde\x00\x01",
        b"\x10\x00\x00\x01",
        b"\x00\x01\x00\x00",
        b"\x21\x12\xa4\x42",
        b"\x00\x06\x00\x09",
        b"abcd:efgh",
        b"\x00\x08\x00\x14",
        b"\x80\x28\x00\x04",
        b"\x00\x20\x00\x08",
        b"\x05\x8a\x03\x20",
        b"\xff\xff",
        b"\x00\x00\x00\x00",
        b"\xa0",
        b"\x16\xfe\xfd",
    ],
    seeds: &[],
    // The largest UDP payload.
    max_len: 65_507,
};

fn run(data: &[u8]) {
    // Every parser gets every datagram: a claim in the first byte is only a claim.
    match classify(data) {
        Class::Stun | Class::Dtls | Class::Rtp | Class::Rtcp | Class::Unknown => {}
    }
    read_stun(data);
    read_rtp(data);
    read_rtcp(data);
    for profile in [
        Profile::AesCm128HmacSha1_80,
        Profile::AesCm128HmacSha1_32,
        Profile::AeadAes128Gcm,
        Profile::AeadAes256Gcm,
    ] {
        open_and_seal(profile, data);
    }
}

fn read_stun(data: &[u8]) {
    let _ = stun::binding_request_ufrag(data);
    if let Some(message) = stun::Message::parse(data) {
        let _ = (
            message.is_binding_request(),
            message.username(),
            message.local_ufrag(),
            message.fingerprint_is_right(),
        );
        for attribute in [
            0x0006, 0x0008, 0x0020, 0x0024, 0x0025, 0x8028, 0x8029, 0x802a, 0xffff,
        ] {
            let _ = message.attribute(attribute);
        }
    }
}

fn read_rtp(data: &[u8]) {
    let Ok(header) = RtpHeader::parse(data) else {
        return;
    };
    assert!(
        header.header_len <= data.len(),
        "a header is inside its packet"
    );
    if let Ok(payload) = header.payload(data) {
        let _ = dtmf::Event::parse(payload);
    }
    for extension in header.extensions(data) {
        let _ = format!("{extension:?}");
    }
    let mut packet = data.to_vec();
    header
        .store(&mut packet)
        .expect("a packet that was read has room for its header");
    assert_eq!(
        RtpHeader::parse(&packet),
        Ok(header),
        "a header is stored as it was read"
    );
    rtp::set_marker(&mut packet, true);
    rtp::set_pt(&mut packet, 127);
    rtp::set_seq(&mut packet, u16::MAX);
    rtp::set_timestamp(&mut packet, u32::MAX);
    rtp::set_ssrc(&mut packet, 1);
    let mut header = RtpHeader::parse(&packet).expect("it still is a packet");
    assert_eq!(rtp::ssrc(&packet), Some(1));
    if let Ok(len) = rtp::strip_padding(&mut packet, &mut header) {
        packet.truncate(len);
    }
    if let Ok(start) = rtp::strip_extension(&mut packet, &mut header) {
        RtpHeader::parse(packet.get(start..).expect("it begins inside the packet"))
            .expect("without its extension it still is a packet");
    }
}

fn read_rtcp(data: &[u8]) {
    let Ok(compound) = rtcp::Compound::parse(data) else {
        return;
    };
    for packet in compound {
        match packet {
            rtcp::Packet::SenderReport(report) => {
                report.blocks.for_each(|block| drop(format!("{block:?}")))
            }
            rtcp::Packet::ReceiverReport(report) => {
                report.blocks.for_each(|block| drop(format!("{block:?}")))
            }
            rtcp::Packet::Sdes(sdes) => sdes.cnames().for_each(drop),
            rtcp::Packet::Bye(bye) => bye.ssrcs().for_each(drop),
            rtcp::Packet::Fir(fir) => fir.requests().for_each(drop),
            rtcp::Packet::Nack(nack) => nack.seqs().for_each(drop),
            rtcp::Packet::Pli(_)
            | rtcp::Packet::Remb(_)
            | rtcp::Packet::TransportCc(_)
            | rtcp::Packet::Other { .. } => {}
        }
    }
}

/// Garbage is refused; what one side sealed the other opens, byte for byte, and only once.
fn open_and_seal(profile: Profile, data: &[u8]) {
    let key: Vec<u8> = (1..).take(key_len(profile) + salt_len(profile)).collect();
    let context = || Context::new(profile, &key).expect("a key of the right length");
    let (mut sender, mut receiver) = (context(), context());
    let mut packet = data.to_vec();
    let _ = receiver.open_rtcp(&mut packet);
    packet.copy_from_slice(data);
    if let Ok(header) = RtpHeader::parse(data) {
        let _ = receiver.open_rtp(&mut packet, &header);
        packet.clear();
        packet.extend_from_slice(data);
        packet.resize(data.len() + MAX_TRAILER, 0);
        let sealed = sender
            .seal_rtp(&mut packet, data.len(), &header)
            .expect("a first packet can be sealed");
        let again = packet.clone();
        let opened = receiver
            .open_rtp(packet.get_mut(..sealed).expect("inside"), &header)
            .expect("what was sealed is opened");
        assert_eq!(packet.get(..opened), Some(data), "opened as it was sealed");
        let mut again = again;
        receiver
            .open_rtp(again.get_mut(..sealed).expect("inside"), &header)
            .expect_err("and only once");
    }
}
