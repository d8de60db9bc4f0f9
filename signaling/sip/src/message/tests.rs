use super::*;
use proptest::prelude::*;

const INVITE: &[u8] = b"INVITE sip:bob@b.test SIP/2.0\r\nVia: SIP/2.0/UDP a.test:5070;branch=z9hG4bK1;rport, SIP/2.0/TCP c.test\r\n\
    f: \"A \\\"B\\\"\" <sip:alice@a.test>;tag=a1\r\nTo: sip:bob@b.test\r\ni: c1\r\nCSeq: 7\r\n INVITE\r\n\
    l : 4\r\nc: application/sdp\r\n\r\nv=0\n";

#[test]
fn typed_values_are_read_from_compact_and_folded_headers() {
    let message = Message::parse(INVITE).unwrap();
    assert_eq!(message.fault, None);
    assert_eq!(message.method(), Method::Invite);
    assert_eq!(message.cseq(), Ok((7, b"INVITE".as_slice())));
    assert_eq!(message.from().unwrap().display().as_ref(), b"A \"B\"");
    assert_eq!(message.from().unwrap().tag(), Some(b"a1".as_slice()));
    let via = message.top_via().unwrap();
    assert_eq!((via.port, via.wants_rport()), (Some(5070), true));
    assert_eq!(message.list(HeaderName::Via).count(), 2);
    assert_eq!(message.sdp(), Some(b"v=0\n".as_slice()));
}

#[test]
fn a_stream_takes_two_messages_and_a_ping_apart() {
    let mut framer = StreamFramer::default();
    framer.push(b"\r\n\r\n");
    framer.push(INVITE);
    framer.push(INVITE);
    assert!(matches!(framer.next_unit(), Some(Unit::Ping)));
    for _ in 0..2 {
        assert!(matches!(framer.next_unit(), Some(Unit::Message(m)) if m.body() == b"v=0\n"));
    }
    assert!(framer.next_unit().is_none());
}

#[test]
fn different_content_lengths_end_a_stream() {
    let mut framer = StreamFramer::default();
    framer.push(b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 3\r\nl: 4\r\n\r\nabcd");
    assert!(
        matches!(framer.next_unit(), Some(Unit::Message(m)) if m.fault == Some(Fault::ContentLength))
    );
    assert!(framer.next_unit().is_none());
    assert!(framer.is_broken());
}

#[test]
fn uris_are_printed_as_they_may_stand() {
    let mut uri = SipUri::new(
        Some("*21# \r\nX: y\0é".as_bytes()),
        Host::parse(b"b.test").unwrap(),
        Some(5070),
    );
    uri.params.push((b"x".to_vec(), Some(b"a;b\r\n".to_vec())));
    let text = uri.to_bytes();
    assert_eq!(
        text,
        b"sip:*21%23%20%0D%0AX%3A%20y%00%C3%A9@b.test:5070;x=a%3Bb%0D%0A"
    );
    assert_eq!(Uri::parse(&text), Ok(Uri::Sip(uri)));
}

#[test]
fn uris_are_compared_by_rfc_3261_19_1_4() {
    let same = |a: &str, b: &str| {
        let (a, b) = (
            Uri::parse(a.as_bytes()).unwrap(),
            Uri::parse(b.as_bytes()).unwrap(),
        );
        a.sip().unwrap().is_same(b.sip().unwrap())
    };
    assert!(same(
        "sip:%61lice@atlanta.com;transport=TCP",
        "sip:alice@AtLanTa.CoM;Transport=tcp"
    ));
    assert!(same(
        "sip:carol@chicago.com",
        "sip:carol@chicago.com;newparam=5"
    ));
    assert!(!same(
        "SIP:ALICE@AtLanTa.CoM;Transport=udp",
        "sip:alice@AtLanTa.CoM;Transport=UDP"
    ));
    assert!(!same("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"));
    assert!(!same(
        "sip:bob@biloxi.com",
        "sip:bob@biloxi.com;transport=udp"
    ));
    assert!(!same(
        "sip:carol@chicago.com;newparam=5",
        "sip:carol@chicago.com;newparam=6"
    ));
}

#[test]
fn credentials_and_keys_are_blotted_and_the_rest_stays() {
    let text = b"INVITE sip:a@b SIP/2.0\r\nProxy-Authorization: Digest username=\"u\",\r\n response=\"secret1\"\r\n\
        authorization : Digest secret2\r\nSubject: s\r\n\r\nv=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:secret3\r\n";
    let shown = blotted(text);
    assert!(!shown.contains("secret"), "{shown}");
    assert!(
        shown.contains("Subject: s\r\n") && shown.contains("a=crypto:1 AES_CM"),
        "{shown}"
    );
}

#[test]
fn rsip_reads_an_ordinary_message_the_same() {
    use rsip::prelude::*;
    let mut out = Vec::new();
    let mut writer = Writer::request(
        &mut out,
        &Method::Invite,
        b"sip:7001@127.0.0.1:15060;transport=tcp",
    );
    writer.text("Via", "SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bKx;rport");
    writer
        .text("From", "\"A\" <sip:1001@pbx.test>;tag=1")
        .text("To", "<sip:7001@pbx.test>");
    writer
        .text("Call-ID", "c")
        .text("CSeq", "1 INVITE")
        .text("Max-Forwards", "70");
    writer.end("application/sdp", b"v=0\r\n").unwrap();
    let theirs = rsip::Request::try_from(out.as_slice()).unwrap();
    let ours = Message::parse(&out).unwrap();
    assert_eq!(
        theirs.cseq_header().unwrap().typed().unwrap().seq,
        ours.cseq().unwrap().0
    );
    assert!(
        theirs
            .uri
            .to_string()
            .as_bytes()
            .eq_ignore_ascii_case(ours.uri_text())
    );
    assert_eq!(theirs.body(), ours.body());
}

/// Bytes that look like SIP now and then.
fn sipish() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"INVITE sip:a@b SIP/2.0\r\n".to_vec()),
        Just(b"SIP/2.0 200 OK\r\n".to_vec()),
        Just(b"Content-Length: 3\r\n".to_vec()),
        Just(b"l:1\r\n".to_vec()),
        Just(b"Via: SIP/2.0/UDP h;branch=z9hG4bKa\r\n".to_vec()),
        Just(b"Contact: \"a\" <sip:x@y;p=\"q\">;r\r\n".to_vec()),
        Just(b"WWW-Authenticate: Digest realm=\"a,b\", nonce=\"\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..20),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn framed(pieces: &[&[u8]]) -> Vec<String> {
    let mut framer = StreamFramer::default();
    let mut seen = Vec::new();
    for piece in pieces {
        framer.push(piece);
        while let Some(unit) = framer.next_unit() {
            match unit {
                Unit::Message(m) if m.fault == Some(Fault::ContentLength) => {
                    seen.push("bad length".into())
                }
                Unit::Message(m) => seen.push(m.raw().escape_ascii().to_string()),
                Unit::Ping => seen.push("ping".into()),
                Unit::Broken(_) => seen.push("broken".into()),
            }
        }
    }
    seen
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(data in sipish()) {
        crate::fuzz::fuzz_message(&data);
        crate::fuzz::fuzz_stream(&data);
    }

    #[test]
    fn a_stream_split_at_any_byte_frames_the_same(data in sipish(), at in any::<proptest::sample::Index>()) {
        let whole = framed(&[&data]);
        let at = at.index(data.len() + 1);
        prop_assert_eq!(&framed(&[&data[..at], &data[at..]]), &whole);
        let bytes: Vec<&[u8]> = data.chunks(1).collect();
        prop_assert_eq!(&framed(&bytes), &whole);
    }

    #[test]
    fn no_input_to_the_writer_yields_a_second_header_or_line(
        user in ".*", display in ".*", name in ".{0,8}", value in ".*", reason in ".*",
    ) {
        let uri = SipUri::new(Some(user.as_bytes()), Host::parse(b"b.test").unwrap(), None).to_bytes();
        let mut out = Vec::new();
        let mut writer = Writer::request(&mut out, &Method::Invite, &uri);
        if let Ok(from) = addr_spec(&display, &uri) {
            writer.header("From", &from);
        }
        let mut params = Vec::new();
        if print_params(&[(name.clone(), Some(value.clone()))], &mut params).is_ok() {
            writer.header("Contact", &[b"<sip:a@b>".as_slice(), &params].concat());
        }
        writer.copied("To", value.as_bytes());
        let lines_wanted = 6;
        if writer.end("", b"").is_ok() {
            let text = out.escape_ascii().to_string();
            prop_assert!(text.matches("\\n").count() <= lines_wanted, "{}", text);
            let message = Message::parse(&out).unwrap();
            prop_assert_eq!(message.fault, None);
            prop_assert!(message.fields().count() <= 4);
        }
        let mut out = Vec::new();
        let mut writer = Writer::request(&mut out, &Method::Invite, &uri);
        writer.text(&name, &value);
        if writer.end("", b"").is_ok() {
            prop_assert_eq!(Message::parse(&out).unwrap().fields().count(), 2);
        }
        let mut out = Vec::new();
        Writer::response(&mut out, 486, &reason).end("", b"").unwrap();
        prop_assert_eq!(Message::parse(&out).unwrap().fields().count(), 1);
    }
}
