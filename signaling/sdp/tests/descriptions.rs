//! Real descriptions, read and written back.

use proptest::prelude::*;
use signaling_sdp::attribute::{self, Candidate, Direction, Fingerprint, Setup};
use signaling_sdp::{Connection, MAX_MEDIA, ParseError, parse};

const CHROMIUM: &str = "v=0\r\no=- 6654468130706167202 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
a=extmap-allow-mixed\r\na=msid-semantic: WMS s\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\n\
c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:2sup\r\na=ice-pwd:YwOAObQkA9QWOwPIzuOOpv7X\r\n\
a=ice-options:trickle\r\na=fingerprint:sha-256 37:F9:00\r\na=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n\
a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n\
a=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:13 CN/8000\r\n\
a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n";

#[test]
fn reads_an_offer_of_chromium() {
    let offer = parse(CHROMIUM.as_bytes()).unwrap();
    let audio = &offer.media[0];
    assert_eq!(
        (audio.kind.as_str(), audio.port, audio.protocol.as_str()),
        ("audio", 9, "UDP/TLS/RTP/SAVPF")
    );
    let maps = attribute::rtpmaps(audio);
    let names: Vec<_> = maps
        .iter()
        .map(|m| (m.pt, m.name.as_str(), m.clock_hz, m.channels))
        .collect();
    assert_eq!(names[0], (111, "opus", 48000, 2));
    assert_eq!(names[7], (126, "telephone-event", 8000, 1));
    assert_eq!(attribute::fmtp(audio, 111), "minptime=10;useinbandfec=1");
    assert_eq!(
        attribute::value(&audio.attributes, "ice-ufrag"),
        Some("2sup")
    );
    assert_eq!(
        Setup::parse(attribute::value(&audio.attributes, "setup").unwrap()),
        Some(Setup::ActPass)
    );
    assert_eq!(
        attribute::direction(&audio.attributes, &offer.attributes),
        Direction::SendRecv
    );
}

#[test]
fn what_is_read_is_written_back_the_same() {
    assert_eq!(
        parse(CHROMIUM.as_bytes())
            .unwrap()
            .to_string()
            .replace("msid-semantic:WMS", "msid-semantic: WMS"),
        CHROMIUM
    );
}

#[test]
fn bare_line_feeds_and_a_blank_line_at_the_end_are_taken() {
    let text = "v=0\no=x 1 1 IN IP4 192.0.2.1\ns= \nc=IN IP6 2001:db8::1\nt=0 0\nm=audio 4000/2 RTP/AVP 0 96\n\n";
    let read = parse(text.as_bytes()).unwrap();
    assert_eq!(
        read.connection,
        Some(Connection::Address("2001:db8::1".parse().unwrap()))
    );
    assert_eq!(read.media[0].port, 4000);
    // 0 is PCMU by its number; 96 has no mapping and cannot be used.
    assert_eq!(attribute::rtpmaps(&read.media[0]).len(), 1);
}

#[test]
fn the_direction_of_the_session_holds_where_the_m_line_has_none() {
    let text = "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nt=0 0\na=sendonly\nm=audio 4000 RTP/AVP 0\nm=video 0 RTP/AVP 31\na=recvonly\n";
    let read = parse(text.as_bytes()).unwrap();
    let of = |n: usize| attribute::direction(&read.media[n].attributes, &read.attributes);
    assert_eq!((of(0), of(1)), (Direction::SendOnly, Direction::RecvOnly));
}

#[test]
fn fingerprints_come_in_any_case() {
    let print = Fingerprint::parse("SHA-256 ab:0C:ff").unwrap();
    assert_eq!(
        (print.hash.as_str(), print.digest.as_slice()),
        ("sha-256", &[0xab, 0x0c, 0xff][..])
    );
    assert_eq!(print.to_string(), "sha-256 AB:0C:FF");
    assert_eq!(Fingerprint::parse("sha-256 ab:0"), None);
}

#[test]
fn candidates_are_written_as_rfc_8839_has_them() {
    let candidate = Candidate {
        foundation: 1,
        component: 1,
        tcp_passive: false,
        priority: 2130706431,
        address: "198.51.100.2:31000".parse().unwrap(),
    };
    assert_eq!(
        candidate.to_string(),
        "1 1 udp 2130706431 198.51.100.2 31000 typ host"
    );
}

#[test]
fn too_much_of_anything_is_refused() {
    let mut text = "v=0\r\n".to_owned();
    (0..=MAX_MEDIA).for_each(|_| text.push_str("m=audio 1 RTP/AVP 0\r\n"));
    assert_eq!(parse(text.as_bytes()), Err(ParseError::TooMany("m-lines")));
    assert_eq!(parse(&vec![b'v'; 70_000]), Err(ParseError::TooLong));
    assert_eq!(parse(b"v=1\r\n"), Err(ParseError::Version));
}

proptest! {
    #[test]
    fn no_bytes_panic_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
        let mut led = b"v=0\r\n".to_vec();
        led.extend(bytes);
        if let Ok(read) = parse(&led) {
            for media in &read.media {
                let _ = (attribute::rtpmaps(media), attribute::ptime(media), attribute::fmtp(media, 0));
                let _ = attribute::rtcp(media, [0, 0, 0, 0].into());
            }
        }
    }

    #[test]
    fn lines_made_of_sdp_characters_are_read_back_as_printed(text in "(([abcmos]=[a-z0-9 :/.=]{0,40})\r\n){0,12}") {
        if let Ok(first) = parse(format!("v=0\r\n{text}").as_bytes()) {
            let printed = first.to_string();
            let again = parse(printed.as_bytes()).unwrap().to_string();
            prop_assert_eq!(printed, again);
        }
    }

    #[test]
    fn no_value_makes_a_second_line(value in any::<String>()) {
        let mut description = parse(CHROMIUM.as_bytes()).unwrap();
        let before = description.to_string().matches("\r\n").count();
        description.name = value.clone();
        description.origin.username = value.clone();
        description.media[0].attributes.push(signaling_sdp::Attribute::new(&value, value.clone()));
        let after = description.to_string();
        prop_assert_eq!(after.matches('\n').count(), before + 1);
        prop_assert_eq!(after.matches('\r').count(), before + 1);
    }
}
