use super::cipher::Cipher;
use super::derive::{Label, Master};
use super::*;
use crate::rtp::RtpHeader;
use proptest::prelude::*;

const PROFILES: [Profile; 4] = [
    Profile::AesCm128HmacSha1_80,
    Profile::AesCm128HmacSha1_32,
    Profile::AeadAes128Gcm,
    Profile::AeadAes256Gcm,
];

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn key(profile: Profile) -> Vec<u8> {
    (0..key_len(profile) + salt_len(profile))
        .map(|n| u8::try_from((n * 7 + 1) & 0xff).unwrap())
        .collect()
}

fn pair(profile: Profile) -> (Context, Context) {
    let key = key(profile);
    (
        Context::new(profile, &key).unwrap(),
        Context::new(profile, &key).unwrap(),
    )
}

fn packet(seq: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 12];
    RtpHeader::new(0, seq, u32::from(seq) * 160, ssrc)
        .write(&mut packet)
        .unwrap();
    packet.extend(payload);
    packet
}

fn seal(context: &mut Context, packet: &[u8]) -> Result<Vec<u8>, Error> {
    let header = RtpHeader::parse(packet).unwrap();
    let mut buf = packet.to_vec();
    buf.resize(packet.len() + MAX_TRAILER, 0);
    let len = context.seal_rtp(&mut buf, packet.len(), &header)?;
    buf.truncate(len);
    Ok(buf)
}

fn open(context: &mut Context, sealed: &[u8]) -> Result<Vec<u8>, Error> {
    let header = RtpHeader::parse(sealed).unwrap();
    let mut buf = sealed.to_vec();
    let len = context.open_rtp(&mut buf, &header)?;
    buf.truncate(len);
    Ok(buf)
}

fn seal_rtcp(context: &mut Context, packet: &[u8]) -> Result<Vec<u8>, Error> {
    let mut buf = packet.to_vec();
    buf.resize(packet.len() + MAX_TRAILER, 0);
    let len = context.seal_rtcp(&mut buf, packet.len())?;
    buf.truncate(len);
    Ok(buf)
}

fn open_rtcp(context: &mut Context, sealed: &[u8]) -> Result<Vec<u8>, Error> {
    let mut buf = sealed.to_vec();
    let len = context.open_rtcp(&mut buf)?;
    buf.truncate(len);
    Ok(buf)
}

/// RFC 3711 appendix B.3.
#[test]
fn derives_the_session_keys_of_rfc_3711() {
    let key_and_salt = hex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6");
    let master = Master::new(Profile::AesCm128HmacSha1_80, &key_and_salt).unwrap();
    let encryption = master.derive::<16>(Label::RtpEncryption);
    assert_eq!(encryption[..], hex("C61E7A93744F39EE10734AFE3FF7A087"));
    let salt = master.derive::<14>(Label::RtpSalt);
    assert_eq!(salt[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
    let authentication = master.derive::<94>(Label::RtpAuthentication);
    assert_eq!(
        authentication[..],
        hex(
            "CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE
             E049646C43D9327AD175578EF7227098 6371C10C9A369AC2F94A8C5FBCDDDC25
             6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2"
        )
    );
}

/// RFC 3711 appendix B.2: the key stream is what zeros encrypt to. The example's session salt and key are
/// given, with index and SSRC zero.
#[test]
fn the_counter_mode_key_stream_is_that_of_rfc_3711() {
    let cipher = Cipher::cm_from_session(
        &hex("2B7E151628AED2A6ABF7158809CF4F3C"),
        &hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"),
    );
    // 0xff02 blocks of 16 bytes.
    let mut buf = vec![0; 0xff02 * 16 + MAX_TRAILER];
    cipher.seal_rtp(&mut buf, 0xff02 * 16, 0, 0, 0).unwrap();
    let block = |n: usize| buf[n * 16..n * 16 + 16].to_vec();
    assert_eq!(block(0), hex("E03EAD0935C95E80E166B16DD92B4EB4"));
    assert_eq!(block(1), hex("D23513162B02D0F72A43A2FE4A5F97AB"));
    assert_eq!(block(2), hex("41E95B3BB0A2E8DD477901E4FCA894C0"));
    assert_eq!(block(0xfeff), hex("EC8CDF7398607CB0F2D21675EA9EA1E4"));
    assert_eq!(block(0xff00), hex("362B7C3C6773516318A077D7FC5073AE"));
    assert_eq!(block(0xff01), hex("6A2CC3787889374FBEB4C81B17BA6C44"));
}

/// The whole transform with RFC 3711's master key: a packet and a report that other implementations use
/// as their known answer too.
#[test]
fn seals_the_counter_mode_packet_that_others_seal() {
    let key_and_salt = hex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6");
    let mut context = Context::new(Profile::AesCm128HmacSha1_80, &key_and_salt).unwrap();
    let plain = hex("800f1234decafbadcafebabe abababababababababababababababab");
    let sealed =
        hex("800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb");
    assert_eq!(seal(&mut context, &plain).unwrap(), sealed);
    let mut context = Context::new(Profile::AesCm128HmacSha1_80, &key_and_salt).unwrap();
    assert_eq!(open(&mut context, &sealed).unwrap(), plain);
}

const GCM_SALT: [u8; 12] = *b"Quid pro quo";
const GCM_RTP: &str = "8040f17b8041f8d35501a0b2 47616c6c696120657374206f6d6e69732064697669736120696e20\
                       7061727465732074726573";
const GCM_RTCP: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeef\
                        deadbeefdeadbeefdeadbeef";

fn gcm_vector(key_len: u8, rtp: &str, rtcp: &str) {
    let key: Vec<u8> = (0..key_len).collect();
    let cipher = Cipher::gcm_from_session(&key, GCM_SALT);
    let plain = hex(GCM_RTP);
    let mut buf = plain.clone();
    buf.resize(plain.len() + MAX_TRAILER, 0);
    let len = cipher
        .seal_rtp(&mut buf, plain.len(), 12, 0x5501_a0b2, 0xf17b)
        .unwrap();
    buf.truncate(len);
    assert_eq!(buf, hex(rtp));
    let len = cipher.open_rtp(&mut buf, 12, 0x5501_a0b2, 0xf17b).unwrap();
    assert_eq!(buf[..len], plain);

    let plain = hex(GCM_RTCP);
    let mut buf = plain.clone();
    buf.resize(plain.len() + MAX_TRAILER, 0);
    let len = cipher
        .seal_rtcp(&mut buf, plain.len(), 0x4d61_7273, 0x5d4)
        .unwrap();
    buf.truncate(len);
    assert_eq!(buf, hex(rtcp));
    assert_eq!(cipher.rtcp_index(&buf), Ok(0x5d4));
    let len = cipher.open_rtcp(&mut buf, 0x4d61_7273, 0x5d4).unwrap();
    assert_eq!(buf[..len], plain);
}

/// RFC 7714 §16.1 and §17.1.
#[test]
fn seals_and_opens_the_aes_128_packets_of_rfc_7714() {
    gcm_vector(
        16,
        "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b
         36de3adf8833899d7f27beb16a9152cf765ee4390cce",
        "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b46
         86303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
    );
}

/// RFC 7714 §16.2 and §17.2.
#[test]
fn seals_and_opens_the_aes_256_packets_of_rfc_7714() {
    gcm_vector(
        32,
        "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f
         1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
        "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658
         c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
    );
}

#[test]
fn a_stream_goes_on_over_the_wrap_with_loss_and_reordering() {
    for profile in PROFILES {
        let (mut out, mut inward) = pair(profile);
        let seqs = [65530u16, 65533, 65532, 65535, 1, 0, 65534, 5, 4];
        let sealed: Vec<_> = seqs
            .iter()
            .map(|seq| seal(&mut out, &packet(*seq, 7, &[1, 2, 3])).unwrap())
            .collect();
        for (seq, sealed) in seqs.iter().zip(&sealed) {
            assert_eq!(
                open(&mut inward, sealed).unwrap(),
                packet(*seq, 7, &[1, 2, 3]),
                "{profile:?}"
            );
        }
        for sealed in &sealed {
            assert_eq!(
                open(&mut inward, sealed),
                Err(Error::Replayed),
                "{profile:?}"
            );
        }
    }
}

#[test]
fn an_unauthentic_packet_changes_nothing() {
    for profile in PROFILES {
        let (mut out, mut inward) = pair(profile);
        let first = seal(&mut out, &packet(100, 7, b"one")).unwrap();
        let second = seal(&mut out, &packet(101, 7, b"two")).unwrap();
        let third = seal(&mut out, &packet(102, 7, b"three")).unwrap();
        assert!(open(&mut inward, &first).is_ok());
        let mut forged = third.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(open(&mut inward, &forged), Err(Error::Unauthentic));
        // A sequence number far ahead would have moved the rollover counter.
        let mut far = second.clone();
        far[2] = 0x7f;
        assert_eq!(open(&mut inward, &far), Err(Error::Unauthentic));
        let mut stranger = second.clone();
        stranger[11] ^= 9;
        assert_eq!(open(&mut inward, &stranger), Err(Error::Unauthentic));
        assert_eq!(inward.snapshot().streams.len(), 1);
        assert_eq!(open(&mut inward, &second).unwrap(), packet(101, 7, b"two"));
        assert_eq!(open(&mut inward, &third).unwrap(), packet(102, 7, b"three"));
    }
}

#[test]
fn a_sequence_number_is_never_sealed_twice() {
    let (mut out, _) = pair(Profile::AeadAes128Gcm);
    assert!(seal(&mut out, &packet(5, 7, b"a")).is_ok());
    assert_eq!(seal(&mut out, &packet(5, 7, b"b")), Err(Error::Replayed));
    assert!(seal(&mut out, &packet(4, 7, b"b")).is_ok());
    assert!(seal(&mut out, &packet(5, 8, b"b")).is_ok());
}

#[test]
fn reports_are_opened_once() {
    let report = hex("81c9000700000001 000000020000000000000000000000000000000000000000");
    for profile in PROFILES {
        let (mut out, mut inward) = pair(profile);
        let first = seal_rtcp(&mut out, &report).unwrap();
        let second = seal_rtcp(&mut out, &report).unwrap();
        assert_eq!(first.len(), report.len() + rtcp_trailer(profile));
        assert_ne!(first, second);
        assert_eq!(open_rtcp(&mut inward, &second).unwrap(), report);
        assert_eq!(open_rtcp(&mut inward, &first).unwrap(), report);
        assert_eq!(open_rtcp(&mut inward, &first), Err(Error::Replayed));
        let mut forged = seal_rtcp(&mut out, &report).unwrap();
        forged[9] ^= 1;
        assert_eq!(open_rtcp(&mut inward, &forged), Err(Error::Unauthentic));
        assert!(open_rtcp(&mut inward, &report).is_err());
    }
}

#[test]
fn streams_are_bounded_and_a_new_one_takes_the_place_of_the_oldest() {
    let (mut out, mut inward) = pair(Profile::AesCm128HmacSha1_80);
    let (mut other, _) = pair(Profile::AesCm128HmacSha1_80);
    for ssrc in 0..64 {
        let sealed = seal(&mut out, &packet(1, ssrc, b"x")).unwrap();
        assert!(open(&mut inward, &sealed).is_ok());
    }
    assert_eq!(
        seal(&mut out, &packet(1, 64, b"x")),
        Err(Error::TooManyStreams)
    );
    let sealed = seal(&mut other, &packet(1, 64, b"x")).unwrap();
    assert!(open(&mut inward, &sealed).is_ok());
    assert_eq!(inward.snapshot().streams.len(), MAX_STREAMS);
    assert_eq!(open(&mut inward, &sealed), Err(Error::Replayed));
}

#[test]
fn a_restored_context_goes_on_where_it_stopped() {
    let report = hex("80c9000100000007");
    for profile in PROFILES {
        let (mut out, mut inward) = pair(profile);
        let mut old = Vec::new();
        for seq in [65534u16, 65535, 0] {
            old = seal(&mut out, &packet(seq, 7, b"x")).unwrap();
            open(&mut inward, &old).unwrap();
        }
        let old_report = seal_rtcp(&mut out, &report).unwrap();
        open_rtcp(&mut inward, &old_report).unwrap();

        let mut written = Vec::new();
        ciborium::into_writer(&inward.snapshot(), &mut written).unwrap();
        let read: Snapshot = ciborium::from_reader(&written[..]).unwrap();
        let mut inward = Context::restore(&read).unwrap();
        let mut out = Context::restore(&out.snapshot()).unwrap();

        assert_eq!(open(&mut inward, &old), Err(Error::Replayed));
        assert_eq!(open_rtcp(&mut inward, &old_report), Err(Error::Replayed));
        let next = seal(&mut out, &packet(1, 7, b"y")).unwrap();
        assert_eq!(open(&mut inward, &next).unwrap(), packet(1, 7, b"y"));
        let next = seal_rtcp(&mut out, &report).unwrap();
        assert_eq!(open_rtcp(&mut inward, &next).unwrap(), report);
    }
}

#[test]
fn debug_shows_no_key() {
    let (out, _) = pair(Profile::AeadAes128Gcm);
    let shown = format!("{out:?} {:?}", out.snapshot());
    assert_eq!(
        shown,
        "Context { AeadAes128Gcm, 0 streams, … } Snapshot { AeadAes128Gcm, 0 streams, … }"
    );
}

#[test]
fn keys_of_a_wrong_length_and_buffers_without_room_are_refused() {
    for profile in PROFILES {
        let key = key(profile);
        assert_eq!(
            Context::new(profile, &key[1..]).err(),
            Some(Error::KeyLength)
        );
        let mut context = Context::new(profile, &key).unwrap();
        let mut exact = packet(1, 1, b"abc");
        let header = RtpHeader::parse(&exact).unwrap();
        let len = exact.len();
        assert_eq!(
            context.seal_rtp(&mut exact, len, &header),
            Err(Error::NoRoom)
        );
        assert_eq!(
            context.seal_rtp(&mut exact, len + 1, &header),
            Err(Error::TooShort)
        );
        assert_eq!(
            context.open_rtp(&mut exact[..13], &header),
            Err(Error::TooShort)
        );
        let mut report = hex("80c9000100000007");
        assert_eq!(context.seal_rtcp(&mut report, 8), Err(Error::NoRoom));
        assert_eq!(context.seal_rtcp(&mut report, 9), Err(Error::NoRoom));
        assert_eq!(context.seal_rtcp(&mut report, 7), Err(Error::TooShort));
    }
}

proptest! {
    /// Sent in order, moved about by less than the window: each packet is opened once and unchanged, over
    /// several wraps.
    #[test]
    fn whatever_order_packets_arrive_in_each_is_opened_once(
        start in any::<u16>(),
        steps in proptest::collection::vec(1u16..2000, 2..120),
        swaps in proptest::collection::vec((0usize..120, 1usize..10), 0..40),
        which in 0usize..4,
    ) {
        let (mut out, mut inward) = pair(PROFILES[which]);
        let mut seq = start;
        let mut sent = Vec::new();
        for step in steps {
            sent.push((packet(seq, 3, &seq.to_be_bytes()), seal(&mut out, &packet(seq, 3, &seq.to_be_bytes())).unwrap()));
            // Neighbours must stay within the window for this test, so most steps are small.
            seq = seq.wrapping_add(if step % 7 == 0 { step } else { 1 });
        }
        let first = sent.remove(0);
        prop_assert_eq!(open(&mut inward, &first.1).unwrap(), first.0);
        for (at, by) in swaps {
            let to = at + by;
            if to < sent.len() {
                sent.swap(at, to);
            }
        }
        for (plain, sealed) in &sent {
            match open(&mut inward, sealed) {
                Ok(opened) => prop_assert_eq!(&opened, plain),
                // A step of thousands followed by a late packet is outside the window, and said so.
                Err(error) => prop_assert_eq!(error, Error::TooOld),
            }
            prop_assert!(open(&mut inward, sealed).is_err());
        }
    }

    #[test]
    fn any_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), which in 0usize..4) {
        let (_, mut inward) = pair(PROFILES[which]);
        let mut rtcp = bytes.clone();
        prop_assert!(inward.open_rtcp(&mut rtcp).is_err());
        let mut rtp = bytes.clone();
        if let Ok(header) = RtpHeader::parse(&bytes) {
            prop_assert!(inward.open_rtp(&mut rtp, &header).is_err());
        }
        // A header that belongs to another packet.
        let mut header = RtpHeader::new(0, 1, 2, 3);
        header.header_len = 70;
        prop_assert!(inward.open_rtp(&mut rtp, &header).is_err());
    }
}
