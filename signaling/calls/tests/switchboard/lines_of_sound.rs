//! Codecs and packet lengths by line, and m-lines that nobody here carries.

use crate::rig::{BROWSER_OFFER, PHONE, Rig, SOURCE, browser_answer};
use media_control::{Codec, Command as Media, Remote, RemoteTransport};
use signaling_calls::{CodecPolicy, Config, Input};
use signaling_plan::MediaProfile;
use signaling_trunk::api::{Command as Trunk, Event, InviteId, OfferId};

fn by(profile: MediaProfile) -> Rig {
    Rig::registered_with(profile)
}

fn text(sdp: Vec<u8>) -> String {
    String::from_utf8(sdp).unwrap()
}

fn phone_remote(rig: &mut Rig) -> Remote {
    let mut all = rig
        .media_asked()
        .into_iter()
        .filter_map(|command| match command {
            Media::ConnectLeg { remote, .. } => Some(remote),
            _ => None,
        });
    all.rfind(|remote| matches!(remote.transport, RemoteTransport::Rtp { .. }))
        .expect("a description of the telephone")
}

fn accepted(rig: &mut Rig) -> String {
    let mut asked = rig.asked().into_iter();
    asked
        .find_map(|command| match command {
            Trunk::Accept { sdp, .. } => Some(text(sdp)),
            _ => None,
        })
        .expect("a 200")
}

fn codecs(names: &[&str]) -> MediaProfile {
    MediaProfile {
        codecs: names.iter().map(|name| (*name).to_owned()).collect(),
        ..MediaProfile::default()
    }
}

#[test]
fn a_lines_codecs_are_offered_in_its_order_and_no_others() {
    let mut rig = by(codecs(&["pcma", "G722", "PCMA", "EVS"]));
    rig.dial("c1", "1002");
    let (invite, sdp) = rig.invite();
    let offer = text(sdp);
    assert!(
        offer.contains("m=audio 20000 RTP/AVP 8 9 101\r\n"),
        "{offer}"
    );
    // A trunk that answers with what it was not offered has nothing in common.
    rig.told();
    rig.answer(invite, PHONE);
    assert_eq!(rig.told(), ["finish FAILED", "fail FAILED"]);
}

#[test]
fn a_lines_codecs_decide_what_its_offers_are_answered() {
    let all = PHONE.replace(" 0 101", " 0 8 9 101");
    let mut rig = by(codecs(&["PCMA", "PCMU"]));
    rig.rings_in(Some(&all));
    // The page is offered the same order, so that both sides agree.
    let offer = rig.last("setRemoteSDP")[1].to_string();
    assert!(offer.contains("UDP/TLS/RTP/SAVPF 8 0"), "{offer}");
    rig.frame(serde_json::json!({"message": "answer", "data": [{"callId": "in-400",
        "sdp": BROWSER_OFFER.replace("setup:actpass", "setup:active").replace(" 111 9 0 8 ", " 8 0 ")}]}));
    let answer = accepted(&mut rig);
    assert!(
        answer.contains("m=audio 20000 RTP/AVP 8 0 101\r\n"),
        "{answer}"
    );
    assert_eq!(
        phone_remote(&mut rig).media[0].formats[0].codec,
        Codec::Pcma
    );

    let mut rig = by(codecs(&["opus"]));
    rig.rings_in(Some(&all));
    assert!(matches!(
        rig.asked().as_slice(),
        [Trunk::Hangup { status: Some(status), .. }] if status.status == 488
    ));
}

#[test]
fn the_codec_policy_towards_browsers_is_the_lines_own() {
    let first = |opus_to_browsers, codec_policy| {
        let mut rig = Rig::registered(Config {
            codec_policy,
            ..Config::default()
        });
        rig.wants(MediaProfile {
            opus_to_browsers,
            ..MediaProfile::default()
        });
        rig.dial("c1", "1002");
        let (invite, _) = rig.invite();
        rig.answer(invite, PHONE);
        let answer = rig.last("setRemoteSDP")[1].as_str().unwrap().to_owned();
        let line = answer.split("UDP/TLS/RTP/SAVPF ").nth(1).unwrap();
        line.split([' ', '\r']).next().unwrap().to_owned()
    };
    assert_eq!(first(None, CodecPolicy::Relay), "0");
    assert_eq!(first(Some(true), CodecPolicy::Relay), "111");
    assert_eq!(first(Some(false), CodecPolicy::Opus), "0");
}

#[test]
fn packets_are_as_long_as_the_peer_says_else_as_the_line_says() {
    for (line, ptime, wanted) in [
        (0, "", 20),
        (0, "a=ptime:30\r\n", 30),
        (0, "a=ptime:5\r\n", 10),
        (0, "a=ptime:200\r\n", 60),
        (0, "a=ptime:25\r\n", 20),
        (0, "a=ptime:60\r\na=maxptime:40\r\n", 40),
        (0, "a=maxptime:10\r\n", 10),
        (0, "a=ptime:40\r\na=maxptime:0\r\n", 40),
        (40, "", 40),
        (40, "a=ptime:20\r\n", 20),
        (40, "a=maxptime:30\r\n", 30),
        (5, "", 10),
        (255, "", 60),
    ] {
        let mut rig = by(MediaProfile {
            ptime_ms: line,
            ..MediaProfile::default()
        });
        rig.dial("c1", "1002");
        let (invite, sdp) = rig.invite();
        let asked = match line {
            0 => 20,
            ms => u32::from(ms).clamp(10, 60),
        };
        assert!(text(sdp).contains(&format!("a=ptime:{asked}\r\n")));
        rig.answer(invite, &(PHONE.to_owned() + ptime));
        assert_eq!(
            phone_remote(&mut rig).media[0].ptime_ms,
            wanted,
            "{line} {ptime}"
        );
    }
    let mut rig = by(MediaProfile {
        ptime_ms: 30,
        ..MediaProfile::default()
    });
    rig.rings_in(Some(&(PHONE.to_owned() + "a=ptime:20\r\n")));
    rig.frame(browser_answer("in-400"));
    assert!(accepted(&mut rig).contains("a=ptime:30\r\n"));
}

/// What else phones and gateways put beside sound.
const STRANGE: [&str; 6] = [
    "m=image 4000 udptl t38\r\na=T38FaxVersion:0\r\na=T38FaxRateManagement:transferredTCF\r\n",
    "m=text 4002 RTP/AVP 98 99\r\na=rtpmap:98 t140/1000\r\na=rtpmap:99 red/1000\r\n",
    "m=application 4004 UDP/BFCP *\r\na=floorctrl:c-s\r\n",
    "m=message 4006 TCP/MSRP *\r\na=path:msrp://192.0.2.9:4006/x;tcp\r\na=accept-types:text/plain\r\n",
    "m=audio 4008 RTP/AVP 18\r\n",
    "m=control 4010 H323 mc\r\n",
];

/// What says nothing to us and hurts nobody.
const IGNORED: &str = "a=group:BUNDLE a t\r\na=candidate:1 1 UDP 2130706431 192.0.2.9 20000 typ host\r\n\
a=ssrc:7 cname:x\r\na=rtcp-fb:* trr-int 100\r\na=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=x-nothing\r\n";

fn answer_to(rig: &mut Rig, invite: InviteId, sdp: &str) -> Result<String, u16> {
    rig.give(Input::Trunk(Event::Offered {
        invite,
        offer: OfferId(1),
        sdp: Some(sdp.as_bytes().to_vec()),
        source: SOURCE.parse().unwrap(),
        raw: "INVITE sip:x SIP/2.0\r\n".into(),
        fork: None,
    }));
    let mut asked = rig.asked().into_iter();
    asked
        .find_map(|command| match command {
            Trunk::AnswerOffer { sdp, .. } => Some(Ok(text(sdp))),
            Trunk::RefuseOffer { status, .. } => Some(Err(status)),
            _ => None,
        })
        .expect("an answer")
}

/// The m-lines of a description: kind and port.
fn lines(sdp: &str) -> Vec<(&str, &str)> {
    sdp.lines()
        .filter_map(|line| line.strip_prefix("m="))
        .map(|line| {
            let mut words = line.split(' ');
            (words.next().unwrap(), words.next().unwrap())
        })
        .collect()
}

#[test]
fn unknown_m_lines_of_an_invite_are_refused_in_their_places_and_the_call_is_taken() {
    let (head, audio) = PHONE.split_at(PHONE.find("m=").unwrap());
    for strange in STRANGE {
        let kind = strange.split(['=', ' ']).nth(1).unwrap();
        for (sdp, wanted) in [
            (
                format!("{head}{strange}{audio}{IGNORED}"),
                [(kind, "0"), ("audio", "20000")],
            ),
            (
                format!("{head}{audio}{IGNORED}{strange}"),
                [("audio", "20000"), (kind, "0")],
            ),
        ] {
            let mut rig = Rig::registered(Config::default());
            rig.rings_in(Some(&sdp));
            rig.frame(browser_answer("in-400"));
            let answer = accepted(&mut rig);
            assert_eq!(lines(&answer), wanted, "{sdp}");
            assert!(
                !answer.contains("candidate") && !answer.contains("BUNDLE"),
                "{answer}"
            );
        }
    }
}

#[test]
fn a_re_invite_that_adds_an_unknown_m_line_keeps_the_call_and_our_next_offer_keeps_its_place() {
    for strange in STRANGE
        .into_iter()
        .filter(|line| !line.starts_with("m=audio"))
    {
        let kind = strange.split(['=', ' ']).nth(1).unwrap();
        let (mut rig, invite) = Rig::talking(Config::default());
        let answer = answer_to(&mut rig, invite, &(PHONE.to_owned() + strange)).unwrap();
        assert_eq!(lines(&answer), [("audio", "20000"), (kind, "0")]);
        rig.frame(serde_json::json!({"message": "hold", "data": [{"callId": "c1"}]}));
        let asked = rig.asked();
        let [Trunk::Offer { sdp, .. }] = asked.as_slice() else {
            panic!("{asked:?}")
        };
        assert_eq!(lines(&text(sdp.clone())), [("audio", "20000"), (kind, "0")]);
    }
}

#[test]
fn a_re_invite_for_fax_alone_gets_488_and_the_call_goes_on() {
    let (head, audio) = PHONE.split_at(PHONE.find("m=").unwrap());
    let fax = STRANGE[0];
    for sdp in [
        format!("{head}{fax}"),
        format!("{head}{}{fax}", audio.replace("20000", "0")),
        format!("{head}{fax}{}", STRANGE[1]),
    ] {
        let (mut rig, invite) = Rig::talking(Config::default());
        assert_eq!(answer_to(&mut rig, invite, &sdp), Err(488));
        assert_eq!(rig.told(), Vec::<String>::new());
        // It stands: the next description of sound is answered.
        assert!(answer_to(&mut rig, invite, PHONE).is_ok());
    }
}

#[test]
fn an_invite_without_sound_gets_488_before_anybody_rings() {
    let head = &PHONE[..PHONE.find("m=").unwrap()];
    for strange in STRANGE {
        let mut rig = Rig::registered(Config::default());
        rig.rings_in(Some(&format!("{head}{strange}")));
        assert!(matches!(
            rig.asked().as_slice(),
            [Trunk::Hangup { status: Some(status), .. }] if status.status == 488
        ));
        assert_eq!(rig.told(), Vec::<String>::new());
    }
}
