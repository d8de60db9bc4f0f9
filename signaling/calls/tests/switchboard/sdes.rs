//! SRTP with SIP peers, keyed by SDP (RFC 4568).

use crate::rig::{PHONE, Rig, SOURCE, account, browser_answer, drawn};
use media_control::{
    Command as Media, LegSpec, MediaKind, Remote, RemoteTransport, SdesKey, SrtpProfile,
};
use serde_json::json;
use signaling_calls::{Config, Input};
use signaling_plan::{MediaProfile, Srtp};
use signaling_trunk::api::{AccountId, Command as Trunk, Event, InviteId, OfferId};

/// Base64 of 30 bytes of `U` and of `V`, and of 28 and 44 bytes of `U`.
const THEIRS: &str = "VVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVV";
const OTHERS: &str = "VlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZW";
const GCM_128: &str = "VVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVQ==";
const GCM_256: &str = "VVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVU=";
/// Base64 of our keys for AES_CM_128_HMAC_SHA1_80 and _32.
const OURS_80: &str = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMD";

fn with(srtp: Srtp) -> MediaProfile {
    MediaProfile {
        srtp,
        ..MediaProfile::default()
    }
}

/// The telephone's description with these lines of keys, in this profile of RTP.
fn phone(protocol: &str, crypto: &[&str]) -> String {
    let mut sdp = PHONE.replace("RTP/AVP", protocol);
    for line in crypto {
        sdp.push_str(&format!("a=crypto:{line}\r\n"));
    }
    sdp
}

fn suite_80(tag: u32, key: &str) -> String {
    format!("{tag} AES_CM_128_HMAC_SHA1_80 inline:{key}")
}

/// What media was told of the telephone, each time.
fn told(rig: &mut Rig) -> Vec<Remote> {
    rig.media_asked()
        .into_iter()
        .filter_map(|command| match command {
            Media::ConnectLeg { remote, .. } => Some(remote),
            _ => None,
        })
        .filter(|remote| matches!(remote.transport, RemoteTransport::Rtp { .. }))
        .collect()
}

fn keys(remote: &Remote) -> Option<(SdesKey, SdesKey)> {
    match &remote.transport {
        RemoteTransport::Rtp { sdes, .. } => sdes.clone(),
        RemoteTransport::WebRtc { .. } => None,
    }
}

fn crypto_lines(sdp: &str) -> Vec<&str> {
    sdp.lines()
        .filter_map(|line| line.strip_prefix("a=crypto:"))
        .map(|line| line.split(" inline:").next().unwrap())
        .collect()
}

fn text(sdp: Vec<u8>) -> String {
    String::from_utf8(sdp).unwrap()
}

fn accepted(rig: &mut Rig) -> String {
    rig.asked()
        .into_iter()
        .find_map(|command| match command {
            Trunk::Accept { sdp, .. } => Some(text(sdp)),
            _ => None,
        })
        .expect("a 200")
}

fn refused(rig: &mut Rig) -> Option<u16> {
    rig.asked().into_iter().find_map(|command| match command {
        Trunk::Hangup {
            status: Some(status),
            ..
        } => Some(status.status),
        _ => None,
    })
}

fn offered(rig: &mut Rig, invite: InviteId, number: u64, sdp: &str) {
    rig.give(Input::Trunk(Event::Offered {
        invite,
        offer: OfferId(number),
        sdp: Some(sdp.as_bytes().to_vec()),
        source: SOURCE.parse().unwrap(),
        raw: "INVITE sip:x SIP/2.0\r\n".into(),
        fork: None,
    }));
}

#[test]
fn an_offer_of_rtp_savp_is_answered_with_the_first_usable_suite_its_tag_and_our_key() {
    for srtp in [Srtp::Off, Srtp::Offer, Srtp::Require] {
        let mut rig = Rig::registered_with(with(srtp));
        let lines = [
            "1 F8_128_HMAC_SHA1_80 inline:abc".to_owned(),
            format!("2 AES_CM_128_HMAC_SHA1_80 inline:{THEIRS}|2^20|1:4"),
            format!("3 AES_CM_128_HMAC_SHA1_80 inline:{THEIRS} UNENCRYPTED_SRTP"),
            format!("4 AES_CM_128_HMAC_SHA1_80 inline:{THEIRS} KDR=1"),
            format!("5 AES_CM_128_HMAC_SHA1_80 inline:{GCM_128}"),
            format!("6 AES_CM_128_HMAC_SHA1_80 inline:{THEIRS}|2^31 WSH=128 -x-hint=7"),
            format!("7 AEAD_AES_128_GCM inline:{GCM_128}"),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        rig.rings_in(Some(&phone("RTP/SAVP", &lines)));
        rig.frame(browser_answer("in-400"));
        let answer = accepted(&mut rig);
        assert!(answer.contains("m=audio 20000 RTP/SAVP 0"), "{answer}");
        assert_eq!(crypto_lines(&answer), ["6 AES_CM_128_HMAC_SHA1_80"]);
        assert!(
            answer.contains(&format!("inline:{OURS_80}\r\n")),
            "{answer}"
        );
        let remotes = told(&mut rig);
        let (open, close) = keys(&remotes[0]).expect("keys");
        assert_eq!((open.tag, open.key_and_salt), (6, vec![0x55; 30]));
        assert_eq!((close.tag, close.key_and_salt), (6, vec![3; 30]));
    }
}

#[test]
fn every_suite_of_rfc_4568_and_rfc_7714_is_answered() {
    for (name, key, profile) in [
        (
            "AES_CM_128_HMAC_SHA1_80",
            THEIRS,
            SrtpProfile::AesCm128HmacSha1_80,
        ),
        (
            "AES_CM_128_HMAC_SHA1_32",
            THEIRS,
            SrtpProfile::AesCm128HmacSha1_32,
        ),
        ("AEAD_AES_128_GCM", GCM_128, SrtpProfile::AeadAes128Gcm),
        ("AEAD_AES_256_GCM", GCM_256, SrtpProfile::AeadAes256Gcm),
        (
            "aead_aes_256_gcm",
            GCM_256.trim_end_matches('='),
            SrtpProfile::AeadAes256Gcm,
        ),
    ] {
        let mut rig = Rig::registered(Config::default());
        rig.rings_in(Some(&phone(
            "RTP/SAVP",
            &[&format!("9 {name} inline:{key}")],
        )));
        rig.frame(browser_answer("in-400"));
        let answer = accepted(&mut rig);
        assert_eq!(
            crypto_lines(&answer),
            [format!("9 {}", name.to_uppercase())]
        );
        let (open, close) = keys(&told(&mut rig)[0]).expect("keys");
        assert_eq!((open.profile, close.profile), (profile, profile));
        assert_eq!(
            Some(close.key_and_salt),
            drawn()
                .into_iter()
                .find(|k| k.profile == profile)
                .map(|k| k.key_and_salt)
        );
    }
}

#[test]
fn where_srtp_is_required_an_offer_without_it_gets_488() {
    for sdp in [
        PHONE.to_owned(),
        phone("RTP/SAVP", &[]),
        phone(
            "RTP/SAVP",
            &[&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{GCM_128}")],
        ),
        phone("RTP/SAVP", &["1 AES_192_CM_HMAC_SHA1_80 inline:VVVV"]),
    ] {
        let mut rig = Rig::registered_with(with(Srtp::Require));
        rig.rings_in(Some(&sdp));
        assert_eq!(refused(&mut rig), Some(488), "{sdp}");
        assert_eq!(rig.told(), Vec::<String>::new());
    }
}

#[test]
fn where_srtp_is_forbidden_an_offer_of_it_gets_488_and_no_key_is_drawn() {
    let mut rig = Rig::registered_with(with(Srtp::Forbid));
    rig.rings_in(Some(&phone("RTP/SAVP", &[&suite_80(1, THEIRS)])));
    assert_eq!(refused(&mut rig), Some(488));
    // Keys beside plain RTP are passed over.
    rig.rings_in(Some(&phone("RTP/AVP", &[&suite_80(1, THEIRS)])));
    rig.frame(browser_answer("in-400"));
    assert!(rig.media.iter().any(|command| matches!(
        command,
        Media::CreateLeg {
            spec: LegSpec::Rtp { sdes: false, .. },
            ..
        }
    )));
    assert_eq!(crypto_lines(&accepted(&mut rig)), Vec::<&str>::new());
    assert_eq!(keys(&told(&mut rig)[0]), None);
}

#[test]
fn srtp_keyed_by_dtls_is_refused_on_the_sip_side() {
    let mut rig = Rig::registered(Config::default());
    rig.rings_in(Some(&phone("UDP/TLS/RTP/SAVP", &[])));
    assert_eq!(refused(&mut rig), Some(488));
}

#[test]
fn of_two_lines_of_sound_the_one_that_the_operator_wants_is_taken() {
    let both = |first: &str, second: &str| {
        let line = |protocol: &str, port: u16| {
            let crypto = match protocol {
                "RTP/SAVP" => format!("a=crypto:{}\r\n", suite_80(1, THEIRS)),
                _ => String::new(),
            };
            format!("m=audio {port} {protocol} 0\r\n{crypto}")
        };
        let head = PHONE.split("m=").next().unwrap();
        format!("{head}{}{}", line(first, 20000), line(second, 20002))
    };
    let plain_first = both("RTP/AVP", "RTP/SAVP");
    let secure_first = both("RTP/SAVP", "RTP/AVP");
    for (srtp, sdp, taken) in [
        (Srtp::Off, &plain_first, 0),
        (Srtp::Off, &secure_first, 0),
        (Srtp::Offer, &plain_first, 1),
        (Srtp::Offer, &secure_first, 0),
        (Srtp::Require, &plain_first, 1),
        (Srtp::Forbid, &plain_first, 0),
        (Srtp::Forbid, &secure_first, 1),
    ] {
        let mut rig = Rig::registered_with(with(srtp));
        rig.rings_in(Some(sdp));
        rig.frame(browser_answer("in-400"));
        let answer = accepted(&mut rig);
        let ports: Vec<&str> = answer
            .lines()
            .filter_map(|line| line.strip_prefix("m=audio "))
            .map(|rest| rest.split(' ').next().unwrap())
            .collect();
        let wanted = if taken == 0 {
            ["20000", "0"]
        } else {
            ["0", "20000"]
        };
        assert_eq!(ports, wanted, "{srtp:?}");
    }
}

#[test]
fn keys_are_offered_beside_plain_rtp_or_demanded_in_the_operators_order() {
    let profile = MediaProfile {
        srtp: Srtp::Offer,
        suites: vec![
            "AEAD_AES_256_GCM".into(),
            "nonsense".into(),
            "AES_CM_128_HMAC_SHA1_32".into(),
        ],
        ..MediaProfile::default()
    };
    let mut rig = Rig::registered_with(profile);
    rig.dial("c1", "1002");
    let offer = text(rig.invite().1);
    assert!(offer.contains("m=audio 20000 RTP/AVP "), "{offer}");
    assert_eq!(
        crypto_lines(&offer),
        ["1 AEAD_AES_256_GCM", "2 AES_CM_128_HMAC_SHA1_32"]
    );

    let mut rig = Rig::registered_with(with(Srtp::Require));
    rig.dial("c1", "1002");
    let offer = text(rig.invite().1);
    assert!(offer.contains("m=audio 20000 RTP/SAVP "), "{offer}");
    assert_eq!(
        crypto_lines(&offer),
        [
            "1 AES_CM_128_HMAC_SHA1_80",
            "2 AES_CM_128_HMAC_SHA1_32",
            "3 AEAD_AES_128_GCM",
            "4 AEAD_AES_256_GCM"
        ]
    );

    for srtp in [Srtp::Off, Srtp::Forbid] {
        let mut rig = Rig::registered_with(with(srtp));
        rig.dial("c1", "1002");
        let offer = text(rig.invite().1);
        assert!(
            offer.contains("m=audio 20000 RTP/AVP ") && !offer.contains("crypto"),
            "{offer}"
        );
    }
}

#[test]
fn an_answer_with_a_key_of_our_offer_is_taken_and_one_without_as_the_operator_says() {
    let good = |protocol: &str| phone(protocol, &[&suite_80(1, THEIRS)]);
    let other_tag = phone("RTP/SAVP", &[&suite_80(3, THEIRS)]);
    let other_suite = phone(
        "RTP/AVP",
        &[&format!("1 AEAD_AES_128_GCM inline:{GCM_128}")],
    );
    let with_mki = phone("RTP/AVP", &[&format!("{}|1:4", suite_80(1, THEIRS))]);
    for (srtp, answer, encrypted) in [
        (Srtp::Require, good("RTP/SAVP"), Some(true)),
        (Srtp::Require, PHONE.to_owned(), None),
        (Srtp::Require, phone("RTP/SAVP", &[]), None),
        (Srtp::Require, other_tag, None),
        (Srtp::Offer, good("RTP/AVP"), Some(true)),
        (Srtp::Offer, PHONE.to_owned(), Some(false)),
        (Srtp::Offer, other_suite, None),
        (Srtp::Offer, with_mki, None),
        (Srtp::Off, PHONE.to_owned(), Some(false)),
        (Srtp::Off, good("RTP/AVP"), Some(false)),
        (Srtp::Off, good("RTP/SAVP"), None),
    ] {
        let mut rig = Rig::registered_with(with(srtp));
        rig.dial("c1", "1002");
        let (invite, _) = rig.invite();
        rig.told();
        rig.answer(invite, &answer);
        match encrypted {
            Some(encrypted) => {
                assert!(
                    rig.told().contains(&"talk ESTABLISHED".to_owned()),
                    "{srtp:?} {answer}"
                );
                assert_eq!(
                    keys(&told(&mut rig)[0]).is_some(),
                    encrypted,
                    "{srtp:?} {answer}"
                );
            }
            None => {
                assert_eq!(
                    rig.told(),
                    ["finish FAILED", "fail FAILED"],
                    "{srtp:?} {answer}"
                );
                assert_eq!(told(&mut rig), [], "nothing is sent in the clear");
            }
        }
    }
}

#[test]
fn a_hold_in_an_encrypted_call_offers_the_same_key_in_the_same_profile() {
    let mut rig = Rig::registered(Config::default());
    let invite = rig.rings_in(Some(&phone("RTP/SAVP", &[&suite_80(1, THEIRS)])));
    rig.frame(browser_answer("in-400"));
    rig.asked();
    rig.frame(json!({"message": "hold", "data": [{"callId": "in-400"}]}));
    let offer = rig
        .asked()
        .into_iter()
        .find_map(|command| match command {
            Trunk::Offer { sdp, .. } => Some(text(sdp)),
            _ => None,
        })
        .expect("a re-INVITE");
    assert!(offer.contains("m=audio 20000 RTP/SAVP "), "{offer}");
    assert!(
        offer.contains(&format!(
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{OURS_80}\r\n"
        )),
        "{offer}"
    );
    // An answer that would end the encryption changes nothing.
    told(&mut rig);
    rig.give(Input::Trunk(Event::OfferAnswered {
        invite,
        status: 200,
        sdp: Some(PHONE.as_bytes().to_vec()),
        source: SOURCE.parse().unwrap(),
        raw: "SIP/2.0 200 OK\r\n".into(),
    }));
    assert_eq!(told(&mut rig), []);
}

#[test]
fn a_new_key_of_the_peers_is_told_to_media_and_answered_with_ours() {
    let mut rig = Rig::registered(Config::default());
    let invite = rig.rings_in(Some(&phone("RTP/SAVP", &[&suite_80(1, THEIRS)])));
    rig.frame(browser_answer("in-400"));
    rig.asked();
    let (before, ours) = keys(&told(&mut rig)[0]).expect("keys");
    offered(
        &mut rig,
        invite,
        2,
        &phone("RTP/SAVP", &[&suite_80(2, OTHERS)]).replace("phone 5 7", "phone 5 8"),
    );
    let (after, still) = keys(&told(&mut rig)[0]).expect("keys");
    assert_ne!(before.key_and_salt, after.key_and_salt);
    assert_eq!(ours.key_and_salt, still.key_and_salt);
    let answer = rig
        .asked()
        .into_iter()
        .find_map(|command| match command {
            Trunk::AnswerOffer { sdp, .. } => Some(text(sdp)),
            _ => None,
        })
        .expect("an answer");
    assert_eq!(crypto_lines(&answer), ["2 AES_CM_128_HMAC_SHA1_80"]);
}

#[test]
fn pictures_are_worth_more_than_keys_that_are_only_a_wish_and_go_where_keys_are_due() {
    let video = "m=video 20004 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n";
    let shows = |profile: MediaProfile, protocol: &str| {
        let mut rig = Rig::registered_with(profile);
        rig.rings_in(Some(&(phone(protocol, &[&suite_80(1, THEIRS)]) + video)));
        let announced = rig.last("notifyIncomingCall")[0]["hasVideo"].clone();
        announced == true
    };
    assert!(shows(with(Srtp::Off), "RTP/AVP"));
    assert!(!shows(with(Srtp::Off), "RTP/SAVP"));
    assert!(!shows(with(Srtp::Offer), "RTP/AVP"));
    let mut rig = Rig::registered(Config::default());
    rig.rings_in(Some(&(phone("RTP/SAVP", &[&suite_80(1, THEIRS)]) + video)));
    rig.frame(browser_answer("in-400"));
    assert!(accepted(&mut rig).contains("m=video 0 RTP/AVP 96\r\n"));
    assert!(
        told(&mut rig)[0]
            .media
            .iter()
            .all(|media| media.kind == MediaKind::Audio)
    );
}

#[test]
fn an_encrypted_call_goes_on_through_snapshots() {
    let mut rig = Rig::new(Config::default());
    rig.wants(with(Srtp::Require));
    rig.reincarnates = true;
    rig.open(1);
    rig.frame(account(true));
    rig.give(Input::Trunk(Event::Registered {
        account: AccountId(1),
        expires_s: 60,
        raw: String::new(),
    }));
    rig.dial("c1", "1002");
    let (invite, _) = rig.invite();
    rig.answer(invite, &phone("RTP/SAVP", &[&suite_80(1, THEIRS)]));
    assert!(keys(&told(&mut rig)[0]).is_some());
    offered(
        &mut rig,
        invite,
        1,
        &phone("RTP/SAVP", &[&suite_80(4, OTHERS)]),
    );
    assert_eq!(keys(&told(&mut rig)[0]).map(|(open, _)| open.tag), Some(4));
}
