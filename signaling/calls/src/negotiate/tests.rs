use super::*;
use media_control::{
    Candidate, Codec, Direction, DtlsRole, Fingerprint, Format, LocalTransport, RemoteTransport,
};
use signaling_plan::MediaProfile;
use signaling_sdp::attribute;

const OFFER: &str = "v=0\r\no=- 66 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:2sup\r\n\
a=ice-pwd:YwOAObQkA9QWOwPIzuOOpv7X\r\na=fingerprint:sha-256 37:F9\r\na=setup:actpass\r\na=mid:0\r\na=sendrecv\r\n\
a=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\n\
a=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:13 CN/8000\r\n\
a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\n";

const PHONE: &str = "v=0\r\no=phone 5 7 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
m=image 4000 udptl t38\r\nm=audio 20000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:30\r\n";

fn browser_end() -> LocalTransport {
    LocalTransport::WebRtc {
        ufrag: "abcdefgh".into(),
        pwd: "0123456789abcdefghijklmn".into(),
        fingerprint: Fingerprint {
            hash: "sha-256".into(),
            digest: vec![1, 2],
        },
        candidates: vec![Candidate {
            address: "198.51.100.2:31000".parse().unwrap(),
            tcp: false,
            priority: 5,
        }],
    }
}

fn sip_end() -> SipLocal {
    SipLocal::new(
        "198.51.100.2:20000".parse().unwrap(),
        9,
        MediaProfile::default(),
        &[],
    )
}

fn names(formats: &[Format]) -> Vec<&str> {
    formats.iter().map(|f| f.codec.name()).collect()
}

#[test]
fn under_relay_the_sip_sides_first_codec_leads_the_answer_to_the_browser() {
    let browser = read_browser(OFFER).unwrap();
    let phone = read_sip(PHONE.as_bytes()).unwrap();
    let chosen = codecs::for_browser(codecs::CodecPolicy::Relay, &browser.formats, &phone.formats);
    assert_eq!(names(&chosen)[..2], ["PCMA", "opus"]);
    let answer = answer_browser(&browser, &browser_end(), &chosen, None, 1).unwrap();
    assert!(
        answer.contains("m=audio 31000 UDP/TLS/RTP/SAVPF 8 111 9 0 13 110 126\r\n"),
        "{answer}"
    );
}

#[test]
fn under_opus_the_browser_is_answered_opus_alone_and_told_how_little_is_needed() {
    let browser = read_browser(OFFER).unwrap();
    let phone = read_sip(PHONE.as_bytes()).unwrap();
    let chosen = codecs::for_browser(codecs::CodecPolicy::Opus, &browser.formats, &phone.formats);
    assert_eq!(
        names(&chosen),
        ["opus", "CN", "telephone-event", "telephone-event"]
    );
    let answer = answer_browser(&browser, &browser_end(), &chosen, Some(8000), 1).unwrap();
    assert!(answer.contains(
        "a=fmtp:111 minptime=10;useinbandfec=1;maxplaybackrate=8000;sprop-maxcapturerate=8000\r\n"
    ));
}

#[test]
fn an_answer_to_the_browser_has_all_that_browsers_demand() {
    let browser = read_browser(OFFER).unwrap();
    let answer = answer_browser(&browser, &browser_end(), &browser.formats, None, 1).unwrap();
    for line in [
        "a=ice-lite\r\n",
        "a=group:BUNDLE 0 1\r\n",
        "a=rtcp-mux\r\n",
        "a=mid:0\r\n",
        "a=sendrecv\r\n",
        "a=setup:passive\r\n",
        "a=ice-ufrag:abcdefgh\r\n",
        "a=fingerprint:sha-256 01:02\r\n",
        "a=candidate:1 1 udp 5 198.51.100.2 31000 typ host\r\n",
        "m=video 31000 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 198.51.100.2\r\na=rtcp-mux\r\na=mid:1\r\na=inactive\r\n",
    ] {
        assert!(answer.contains(line), "{line} is missing in {answer}");
    }
    // Of pictures that we could not carry in any case the line is refused, and so it is outside the bundle.
    for (from, to) in [("VP8/90000", "AV1/90000"), ("BUNDLE 0 1", "BUNDLE 0")] {
        let browser = read_browser(&OFFER.replace(from, to)).unwrap();
        let answer = answer_browser(&browser, &browser_end(), &browser.formats, None, 1).unwrap();
        for line in [
            "a=group:BUNDLE 0\r\n",
            "m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=inactive\r\na=mid:1\r\n",
        ] {
            assert!(answer.contains(line), "{line} is missing in {answer}");
        }
    }
}

#[test]
fn our_offer_to_a_browser_is_read_back_as_ours() {
    let offer = offer_browser(&browser_end(), &codecs::own(&codecs::SPEECH), 3).unwrap();
    let read = read_browser(&offer).unwrap();
    assert_eq!(
        names(&read.formats),
        [
            "opus",
            "G722",
            "PCMU",
            "PCMA",
            "telephone-event",
            "telephone-event"
        ]
    );
}

#[test]
fn a_browser_that_insists_on_being_the_dtls_server_gets_a_client() {
    let read = read_browser(&OFFER.replace("setup:actpass", "setup:passive")).unwrap();
    let RemoteTransport::WebRtc { dtls, .. } = read.remote(Vec::new()).transport else {
        panic!()
    };
    assert_eq!(dtls, DtlsRole::Active);
    let answer = answer_browser(&read, &browser_end(), &read.formats, None, 1).unwrap();
    assert!(answer.contains("a=setup:active\r\n"));
}

#[test]
fn an_answer_to_a_phone_refuses_what_we_cannot_carry_and_keeps_its_place() {
    let phone = read_sip(PHONE.as_bytes()).unwrap();
    let chosen = codecs::for_sip(&phone.formats, Some(&Codec::Pcmu));
    assert_eq!(names(&chosen), ["PCMU", "PCMA", "telephone-event"]);
    let answer = answer_sip(&sip_end(), &phone, &chosen, Direction::SendRecv).unwrap();
    let text = String::from_utf8(answer).unwrap();
    assert!(text.contains("m=image 0 UDPTL t38\r\n"), "{text}");
    assert!(text.contains("m=audio 20000 RTP/AVP 0 8 101\r\n"), "{text}");
    assert!(text.contains("a=ptime:30\r\n"));
}

#[test]
fn what_we_send_has_their_number_and_what_we_receive_has_ours() {
    let ours = codecs::own(&codecs::SPEECH);
    let theirs = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 96 8\r\na=rtpmap:96 opus/48000/2\r\n";
    let agreed = codecs::answered(&ours, &read_sip(theirs.as_bytes()).unwrap().formats);
    assert_eq!(names(&agreed), ["opus", "PCMA"]);
    assert_eq!((agreed[0].send_pt, agreed[0].receive_pt), (96, 111));
}

#[test]
fn holds_are_seen_in_every_form() {
    for (from, to) in [
        ("a=ptime", "a=sendonly\r\na=ptime"),
        ("a=ptime", "a=inactive\r\na=ptime"),
        ("c=IN IP4 192.0.2.9", "c=IN IP4 0.0.0.0"),
    ] {
        assert!(
            read_sip(PHONE.replace(from, to).as_bytes())
                .unwrap()
                .holds(),
            "{to}"
        );
    }
    assert!(!read_sip(PHONE.as_bytes()).unwrap().holds());
}

#[test]
fn rtcp_goes_where_the_description_says() {
    let with = |line: &str| {
        read_sip(
            PHONE
                .replace("a=ptime", &format!("{line}\r\na=ptime"))
                .as_bytes(),
        )
        .unwrap()
    };
    let rtcp_of = |description: SipDescription| match description
        .remote(Vec::new(), [192, 0, 2, 9].into())
        .transport
    {
        RemoteTransport::Rtp { rtcp, .. } => rtcp,
        RemoteTransport::WebRtc { .. } => panic!("not a browser"),
    };
    assert_eq!(
        rtcp_of(with("a=rtcp:20007")),
        Some("192.0.2.9:20007".parse().unwrap())
    );
    assert_eq!(rtcp_of(read_sip(PHONE.as_bytes()).unwrap()), None);
    let muxed = with("a=rtcp-mux");
    assert_eq!(
        rtcp_of(muxed.clone()),
        Some("192.0.2.9:20000".parse().unwrap())
    );
    // Granted where they offered it; where we did not offer it, their word for it counts for nothing.
    let answer = answer_sip(&sip_end(), &muxed, &muxed.formats, Direction::SendRecv).unwrap();
    assert!(
        String::from_utf8(answer)
            .unwrap()
            .contains("a=rtcp-mux\r\n")
    );
    assert_eq!(rtcp_of(muxed.as_answer()), None);
}

#[test]
fn lines_of_a_page_are_only_such_as_change_nothing_of_ours() {
    let ok = extra_lines(&["b=AS:256".to_owned(), "a=tool:page".to_owned()]).unwrap();
    assert_eq!(
        ok,
        [('b', "AS:256".to_owned()), ('a', "tool:page".to_owned())]
    );
    for bad in [
        "m=audio 1 RTP/AVP 0",
        "a=crypto:1 x",
        "a=a\r\na=b",
        "a=sendonly",
        "c=IN IP4 1.2.3.4",
        "",
        "a=",
        "a=candidate:1",
    ] {
        assert!(extra_lines(&[bad.to_owned()]).is_err(), "{bad:?}");
    }
}

#[test]
fn a_description_without_what_webrtc_needs_is_refused_by_name() {
    assert_eq!(
        read_browser(&OFFER.replace("a=ice-pwd:YwOAObQkA9QWOwPIzuOOpv7X\r\n", "")),
        Err(NegotiationError::Incomplete("ice-pwd"))
    );
    assert_eq!(
        read_browser(&OFFER.replace("a=fingerprint:sha-256 37:F9\r\n", "")),
        Err(NegotiationError::Incomplete("fingerprint"))
    );
    assert!(attribute::Fingerprint::parse("x").is_none());
}

#[test]
fn a_description_cannot_send_our_media_to_where_no_phone_is() {
    for to in [
        "169.254.169.254",
        "224.0.1.75",
        "255.255.255.255",
        "100.100.100.200",
    ] {
        let text = PHONE.replace("c=IN IP4 192.0.2.9", &format!("c=IN IP4 {to}"));
        assert!(
            matches!(
                read_sip(text.as_bytes()),
                Err(NegotiationError::Incomplete(_))
            ),
            "{to}"
        );
    }
    for to in ["fe80::1", "ff02::1", "::ffff:169.254.169.254"] {
        let text = PHONE.replace("c=IN IP4 192.0.2.9", &format!("c=IN IP6 {to}"));
        assert!(read_sip(text.as_bytes()).is_err(), "{to}");
    }
    let reports = format!("{PHONE}a=rtcp:53 IN IP4 169.254.169.254\r\n");
    assert_eq!(read_sip(reports.as_bytes()).unwrap().rtcp, None);
}

#[test]
fn a_phone_elsewhere_that_names_loopback_does_not_mean_ours() {
    let text = PHONE.replace("c=IN IP4 192.0.2.9", "c=IN IP4 127.0.0.1");
    let phone = read_sip(text.as_bytes()).unwrap();
    let goes_to = |signalling: &str| {
        let remote = phone.remote(phone.formats.clone(), signalling.parse().unwrap());
        match remote.transport {
            RemoteTransport::Rtp { rtp, .. } => rtp,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(goes_to("192.0.2.9"), None);
    assert_eq!(
        goes_to("127.0.0.1"),
        Some("127.0.0.1:20000".parse().unwrap())
    );
}
