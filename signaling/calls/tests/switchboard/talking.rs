use crate::rig::{PHONE, Rig, SOURCE, browser_answer};
use media_control::{Codec, Command as Media, Direction, RemoteTransport};
use serde_json::json;
use signaling_calls::{CodecPolicy, Config, Input};
use signaling_trunk::api::{Command as Trunk, Event, OfferId};

fn opus() -> Config {
    Config {
        codec_policy: CodecPolicy::Opus,
        ..Config::default()
    }
}

fn remotes(rig: &Rig) -> Vec<media_control::Remote> {
    rig.media
        .iter()
        .filter_map(|c| match c {
            Media::ConnectLeg { remote, .. } => Some(remote.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn echo_needs_no_account_and_no_pbx() {
    let mut rig = Rig::connected();
    rig.dial("c1", "echo");
    assert_eq!(
        rig.told(),
        [
            "notifyTryingResponse TRYING",
            "setRemoteSDP",
            "talk ESTABLISHED"
        ]
    );
    assert!(rig.trunk.is_empty());
    assert!(rig.media.iter().any(|c| matches!(c, Media::Join { .. })));
    rig.hang_up("c1");
    assert_eq!(rig.told(), ["finish FINISH"]);
    assert_eq!(rig.records[0].direction, "echo");
}

#[test]
fn echo_calls_are_bounded_in_number_and_in_length() {
    let mut rig = Rig::new(Config {
        max_echo_calls: 1,
        max_echo_seconds: 30,
        ..Config::default()
    });
    rig.open(1);
    rig.frame(json!({"message": "connection", "data": [{}]}));
    rig.dial("c1", "echo");
    rig.told();
    rig.dial("c2", "echo");
    assert_eq!(
        rig.told(),
        [
            "notifyTryingResponse TRYING",
            "finish FAILED",
            "fail FAILED"
        ]
    );
    rig.wait(std::time::Duration::from_secs(31));
    assert_eq!(rig.told(), ["finish FINISH"]);
    rig.dial("c3", "echo");
    assert_eq!(rig.told().last().unwrap(), "talk ESTABLISHED");
}

#[test]
fn a_page_calls_a_phone_and_hears_of_each_step() {
    let mut rig = Rig::registered(Config::default());
    rig.dial("c1", "1002");
    let (invite, offer) = rig.invite();
    assert!(
        String::from_utf8(offer)
            .unwrap()
            .contains("m=audio 20000 RTP/AVP 111 9 0 8 101 110\r\n")
    );
    rig.progress(invite, 180, None);
    assert_eq!(rig.told(), ["notifyTryingResponse TRYING", "ring RING"]);
    rig.answer(invite, PHONE);
    assert_eq!(rig.last("talk")[0]["sipStatus"], 200);
    assert!(
        rig.last("setRemoteSDP")[1]
            .as_str()
            .unwrap()
            .contains("SAVPF 0 111"),
        "PCMU leads under relay"
    );
    assert_eq!(rig.told(), ["setRemoteSDP", "talk ESTABLISHED"]);
    let remotes = remotes(&rig);
    assert_eq!(remotes[1].media[0].formats[0].codec, Codec::Pcmu);
    assert!(
        matches!(remotes[1].transport, RemoteTransport::Rtp { rtp: Some(at), .. } if at == "192.0.2.9:20000".parse().unwrap())
    );
}

#[test]
fn early_media_settles_the_browsers_one_answer_and_the_200_does_not_repeat_it() {
    let mut rig = Rig::registered(Config::default());
    rig.dial("c1", "1002");
    let (invite, _) = rig.invite();
    rig.told();
    rig.progress(invite, 183, Some(PHONE));
    rig.progress(invite, 180, Some(PHONE));
    rig.answer(invite, PHONE);
    assert_eq!(
        rig.told(),
        [
            "setRemoteSDP",
            "sessionProgress SESSION_PROGRESS",
            "ring SESSION_PROGRESS",
            "ring RING_MEDIA",
            "talk ESTABLISHED"
        ]
    );
    // The same description thrice is told to media once: it would loosen the latch.
    assert_eq!(remotes(&rig).len(), 2);
}

#[test]
fn another_codec_in_the_200_than_in_the_183_reaches_media_and_not_the_browser() {
    let mut rig = Rig::registered(Config::default());
    rig.dial("c1", "1002");
    let (invite, _) = rig.invite();
    rig.progress(invite, 183, Some(PHONE));
    rig.answer(
        invite,
        &PHONE
            .replace("RTP/AVP 0 101", "RTP/AVP 8 101")
            .replace("20000", "20022"),
    );
    assert_eq!(
        rig.page
            .iter()
            .filter(|m| m["message"] == "setRemoteSDP")
            .count(),
        1
    );
    let remotes = remotes(&rig);
    assert_eq!(
        remotes.last().unwrap().media[0].formats[0].codec,
        Codec::Pcma
    );
}

#[test]
fn under_opus_the_browser_sends_opus_and_is_told_how_little_is_needed() {
    let mut rig = Rig::registered(opus());
    rig.dial("c1", "1002");
    let (invite, _) = rig.invite();
    rig.answer(invite, PHONE);
    let answer = rig.last("setRemoteSDP")[1].as_str().unwrap().to_owned();
    assert!(
        answer.contains("SAVPF 111 110 126\r\n") && answer.contains("maxplaybackrate=8000"),
        "{answer}"
    );
}

#[test]
fn a_phone_calls_a_page_in_the_one_order_that_pages_understand() {
    let mut rig = Rig::registered(Config::default());
    let invite = rig.rings_in(Some(PHONE));
    assert_eq!(rig.last("setRemoteSDP")[2], false);
    let call = rig.last("notifyIncomingCall")[0].clone();
    assert_eq!(
        (
            call["caller"].as_str(),
            call["visibleName"].as_str(),
            call["incoming"].as_bool()
        ),
        (Some("1002"), Some("Bob"), Some(true))
    );
    assert_eq!(
        rig.told(),
        ["setRemoteSDP", "notifyIncomingCall PENDING", "ring RING"]
    );
    assert!(matches!(
        rig.trunk.pop_front(),
        Some(Trunk::Progress { status: 180, .. })
    ));
    rig.frame(browser_answer(call["callId"].as_str().unwrap()));
    let Some(Trunk::Accept {
        invite: accepted,
        sdp,
    }) = rig.trunk.pop_front()
    else {
        panic!("no 200")
    };
    assert_eq!(accepted, invite);
    assert!(
        String::from_utf8(sdp)
            .unwrap()
            .contains("m=audio 20000 RTP/AVP 0 101\r\n")
    );
    assert_eq!(rig.told(), ["talk ESTABLISHED"]);
}

#[test]
fn an_invite_without_an_offer_gets_ours_and_its_answer_comes_with_the_ack() {
    let mut rig = Rig::registered(Config::default());
    let invite = rig.rings_in(None);
    let id = rig.last("notifyIncomingCall")[0]["callId"]
        .as_str()
        .unwrap()
        .to_owned();
    rig.frame(browser_answer(&id));
    assert!(matches!(rig.trunk.back(), Some(Trunk::Accept { .. })));
    assert_eq!(remotes(&rig).len(), 1);
    rig.give(Input::Trunk(Event::Acknowledged {
        invite,
        sdp: Some(PHONE.as_bytes().to_vec()),
    }));
    assert_eq!(remotes(&rig).len(), 2);
}

fn talking() -> (Rig, signaling_trunk::api::InviteId) {
    Rig::talking(Config::default())
}

#[test]
fn a_hold_by_the_phone_is_answered_and_told_and_the_browser_gets_no_description() {
    let (mut rig, invite) = talking();
    let offer = |rig: &mut Rig, n: u64, sdp: String| {
        rig.give(Input::Trunk(Event::Offered {
            invite,
            offer: OfferId(n),
            sdp: Some(sdp.into_bytes()),
            source: SOURCE.parse().unwrap(),
            raw: "INVITE".into(),
            fork: None,
        }));
        let Some(Trunk::AnswerOffer { sdp, .. }) = rig.trunk.pop_front() else {
            panic!("no answer")
        };
        String::from_utf8(sdp).unwrap()
    };
    let answer = offer(
        &mut rig,
        1,
        PHONE.replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n"),
    );
    assert!(answer.contains("a=recvonly\r\n"), "{answer}");
    assert_eq!(rig.told(), ["hold HOLD"]);
    assert_eq!(
        remotes(&rig).last().unwrap().media[0].direction,
        Direction::RecvOnly
    );
    let answer = offer(&mut rig, 2, PHONE.to_owned());
    assert!(
        answer.contains("a=sendrecv\r\n") && answer.contains(" 3 IN IP4 198.51.100.2\r\n"),
        "{answer}"
    );
    assert_eq!(rig.told(), ["talk ESTABLISHED"]);
}

#[test]
fn a_refresh_with_the_same_description_changes_nothing_for_media() {
    let (mut rig, invite) = talking();
    let before = remotes(&rig).len();
    rig.give(Input::Trunk(Event::Offered {
        invite,
        offer: OfferId(1),
        sdp: Some(PHONE.as_bytes().to_vec()),
        source: SOURCE.parse().unwrap(),
        raw: "UPDATE".into(),
        fork: None,
    }));
    assert!(matches!(
        rig.trunk.pop_front(),
        Some(Trunk::AnswerOffer { .. })
    ));
    assert_eq!(remotes(&rig).len(), before);
    assert!(rig.told().is_empty());
}

#[test]
fn hold_and_unhold_by_the_page_are_a_re_invite_each_and_always_answered() {
    let (mut rig, invite) = talking();
    rig.frame(json!({"message": "hold", "data": [{"callId": "c1"}]}));
    let Some(Trunk::Offer { sdp, .. }) = rig.trunk.pop_front() else {
        panic!("no re-INVITE")
    };
    assert!(String::from_utf8(sdp).unwrap().contains("a=sendonly\r\n"));
    let answered = Event::OfferAnswered {
        invite,
        status: 200,
        sdp: Some(
            PHONE
                .replace("t=0 0\r\n", "t=0 0\r\na=recvonly\r\n")
                .into_bytes(),
        ),
        source: SOURCE.parse().unwrap(),
        raw: "SIP/2.0 200 OK\r\n".into(),
    };
    rig.give(Input::Trunk(answered));
    assert_eq!(rig.told(), ["hold HOLD"]);
    assert_eq!(
        remotes(&rig).last().unwrap().media[0].direction,
        Direction::Inactive
    );
    rig.frame(json!({"message": "hold", "data": [{"callId": "c1"}]}));
    assert_eq!(
        rig.told(),
        ["hold HOLD"],
        "a second hold is answered with what is so"
    );
    rig.frame(json!({"message": "unhold", "data": [{"callId": "c1"}]}));
    assert!(matches!(rig.trunk.pop_front(), Some(Trunk::Offer { .. })));
}

#[test]
fn digits_go_out_of_the_sip_leg_and_nonsense_is_told() {
    let (mut rig, _) = talking();
    rig.frame(
        json!({"message": "sendDtmf", "data": [{"callId": "c1", "type": "RFC2833", "dtmf": 5}]}),
    );
    assert!(matches!(rig.media.back(), Some(Media::SendDigits { digits, .. }) if digits == "5"));
    rig.frame(json!({"message": "sendDtmf", "data": [{"callId": "c1", "dtmf": "5x"}]}));
    assert_eq!(rig.told(), ["fail FAILED"]);
}

#[test]
fn a_call_before_the_registration_waits_for_it() {
    let mut rig = Rig::new(Config::default());
    rig.open(1);
    rig.frame(crate::rig::account(true));
    rig.dial("c1", "1002");
    assert!(!rig.trunk.iter().any(|c| matches!(c, Trunk::Invite { .. })));
    let account = signaling_trunk::api::AccountId(1);
    rig.give(Input::Trunk(Event::Registered {
        account,
        expires_s: 60,
        raw: String::new(),
    }));
    rig.invite();
    assert!(rig.told().contains(&"registered REGISTERED".to_owned()));
}

#[test]
fn what_an_account_and_its_calls_ask_of_the_trunk_goes_one_way_in_order() {
    let mut rig = Rig::new(Config::default());
    rig.open(1);
    rig.frame(crate::rig::account(false));
    rig.dial("c1", "1002");
    rig.invite();
    rig.hang_up("c1");
    let ringing = rig.rings_in(Some(PHONE));
    rig.give(Input::SessionClosed {
        session: signaling_calls::SessionId(1),
    });
    assert!(
        rig.trunk
            .iter()
            .any(|c| matches!(c, Trunk::Hangup { invite, .. } if *invite == ringing))
    );
    rig.trunk_keys.retain(|key| *key != 0);
    assert_eq!(rig.trunk_keys, vec![1; rig.trunk_keys.len()]);
}
