//! Packets as long as the phone's description asks, on the road that makes them anew.

mod bed;

use bed::browser::{Browser, audio, format};
use bed::call::{BROWSER, FRAME, PHONE, RTP, codec_of, pcma, pcmu, rtp_leg};
use bed::{BROWSERS, Bed, addr};
use media_codec::tone::Tone;
use media_control::{Codec, Command, DtlsRole, Format, LegId};
use media_packet::rtp::RtpHeader;
use std::time::Duration;

/// What reaches a phone that asks for packets of `ptime_ms`, while a page sends `page` for two seconds in packets
/// of 20 ms.
fn heard(page: Format, phone: Format, ptime_ms: u32) -> Vec<(RtpHeader, usize)> {
    let mut bed = Bed::new();
    let mut browser = Browser::new(DtlsRole::Passive, true, bed.now);
    let local = bed.create_browser(1);
    browser.set_remote(&local);
    bed.create(2, rtp_leg());
    let remote = browser.description(vec![page.clone()]);
    bed.command(Command::ConnectLeg {
        leg: LegId(1),
        remote,
    });
    bed.connect_browser(&mut browser, addr(BROWSER));
    let mut media = audio(vec![phone]);
    media[0].ptime_ms = ptime_ms;
    bed.command(Command::ConnectLeg {
        leg: LegId(2),
        remote: bed::call::phone_at(PHONE, media),
    });
    bed.join(1, 2);
    let mut mouth = bed::call::Mouth::new(&codec_of(std::slice::from_ref(&page), page.send_pt));
    let mut tone = Tone::new(440.0, -16.0, 8000);
    let step = page.clock_hz / 50;
    for n in 0..100_u16 {
        bed.pass(FRAME);
        let mut samples = [0; 160];
        tone.fill(&mut samples);
        let payload = mouth.say(&samples);
        let header = RtpHeader::new(page.send_pt, n, u32::from(n) * step, 0xb0b);
        let packet = browser.rtp(&header, &payload);
        bed.arrive(BROWSERS, addr(BROWSER), &packet);
    }
    bed.pass(Duration::from_millis(200));
    let to_phone = bed.take_sent().into_iter();
    to_phone
        .filter(|sent| sent.path.socket == RTP)
        .map(|sent| {
            let header = RtpHeader::parse(&sent.packet).unwrap();
            (header, sent.packet.len() - header.header_len)
        })
        .collect()
}

#[test]
fn transcoded_sound_comes_in_packets_as_long_as_the_peer_asked() {
    let opus = format(Codec::Opus, 111, 48_000);
    for ms in [10, 20, 30, 40, 50, 60] {
        let packets = heard(opus.clone(), pcma(), ms);
        let wanted = usize::try_from(ms).unwrap() * 8;
        assert!(
            packets.iter().all(|(_, len)| *len == wanted),
            "{ms}: {packets:?}"
        );
        let expected = 2000 / usize::try_from(ms).unwrap();
        assert!(packets.len() >= expected - 4, "{ms}: {}", packets.len());
        for pair in packets.windows(2) {
            let step = pair[1].0.timestamp.wrapping_sub(pair[0].0.timestamp);
            assert_eq!(step, ms * 8, "{ms}");
        }
    }
}

#[test]
fn relayed_sound_keeps_the_length_that_its_sender_chose() {
    let packets = heard(pcmu(), pcmu(), 40);
    assert!(packets.len() >= 95 && packets.iter().all(|(_, len)| *len == 160));
}
