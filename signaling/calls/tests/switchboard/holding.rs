//! Holds of both sides, alone and at once, and several calls of one page.

use crate::rig::{PHONE, Rig, SOURCE, browser_answer};
use media_control::{Command as Media, Direction};
use serde_json::json;
use signaling_calls::{Config, Input};
use signaling_trunk::api::{Cause, Command as Trunk, End, Event, Failure, InviteId, OfferId};

fn directed(direction: &str) -> String {
    PHONE.replace("t=0 0\r\n", &format!("t=0 0\r\na={direction}\r\n"))
}

fn ask(rig: &mut Rig, what: &str, id: &str) {
    rig.frame(json!({"message": what, "data": [{"callId": id, "hasVideo": false}]}));
}

/// The re-INVITE of ours that is out, answered.
fn answered(rig: &mut Rig, invite: InviteId, sdp: &str) -> String {
    let offer = rig.asked().into_iter().find_map(|c| match c {
        Trunk::Offer { invite: on, sdp } if on == invite => Some(sdp),
        _ => None,
    });
    rig.give(Input::Trunk(Event::OfferAnswered {
        invite,
        status: 200,
        sdp: Some(sdp.as_bytes().to_vec()),
        source: SOURCE.parse().unwrap(),
        raw: "SIP/2.0 200 Fine\r\n".into(),
    }));
    String::from_utf8(offer.expect("a re-INVITE")).unwrap()
}

/// A re-INVITE of theirs, and our answer.
fn offered(rig: &mut Rig, invite: InviteId, n: u64, sdp: &str) -> String {
    rig.give(Input::Trunk(Event::Offered {
        invite,
        offer: OfferId(n),
        sdp: Some(sdp.as_bytes().to_vec()),
        source: SOURCE.parse().unwrap(),
        raw: "INVITE of theirs".into(),
        fork: None,
    }));
    match rig.asked().pop() {
        Some(Trunk::AnswerOffer { sdp, .. }) => String::from_utf8(sdp).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn direction(rig: &Rig) -> Direction {
    let last = rig.media.iter().rev().find_map(|c| match c {
        Media::ConnectLeg { remote, .. } => Some(remote.media[0].direction),
        _ => None,
    });
    last.expect("media was told")
}

#[test]
fn every_way_to_hold_of_the_far_side_is_a_hold_and_its_music_is_heard() {
    let nowhere = PHONE.replace("c=IN IP4 192.0.2.9", "c=IN IP4 0.0.0.0");
    for (sdp, ours, media) in [
        (directed("sendonly"), "a=recvonly", Direction::RecvOnly),
        (directed("inactive"), "a=inactive", Direction::Inactive),
        (nowhere, "a=sendrecv", Direction::SendRecv),
    ] {
        let (mut rig, invite) = Rig::talking(Config::default());
        let answer = offered(&mut rig, invite, 1, &sdp);
        assert!(answer.contains(ours), "{answer}");
        assert_eq!(direction(&rig), media);
        assert_eq!(rig.last("hold")[0]["sipMessageRaw"], "INVITE of theirs");
        assert_eq!(rig.told(), ["hold HOLD"]);
        offered(&mut rig, invite, 2, PHONE);
        assert_eq!(direction(&rig), Direction::SendRecv);
        assert_eq!(rig.told(), ["talk ESTABLISHED"]);
    }
}

#[test]
fn a_hold_of_the_page_shows_the_status_and_text_of_the_answer_to_the_re_invite() {
    let (mut rig, invite) = Rig::talking(Config::default());
    ask(&mut rig, "hold", "c1");
    let offer = answered(&mut rig, invite, &directed("recvonly"));
    assert!(offer.contains("a=sendonly"));
    let hold = rig.last("hold")[0].clone();
    assert_eq!(
        (hold["sipStatus"].as_u64(), hold["sipMessageRaw"].as_str()),
        (Some(200), Some("SIP/2.0 200 Fine\r\n"))
    );
    assert_eq!(direction(&rig), Direction::Inactive);
    ask(&mut rig, "unhold", "c1");
    let offer = answered(&mut rig, invite, PHONE);
    assert!(offer.contains("a=sendrecv"));
    assert_eq!(rig.last("talk")[0]["sipStatus"], 200);
    assert_eq!(direction(&rig), Direction::SendRecv);
}

#[test]
fn held_by_both_the_call_stays_held_until_both_let_go() {
    // Ours first, theirs first; and either lets go first.
    for (page_first, page_lets_go_first) in
        [(true, true), (true, false), (false, true), (false, false)]
    {
        let (mut rig, invite) = Rig::talking(Config::default());
        let hold_by_page = |rig: &mut Rig, theirs: &str| {
            ask(rig, "hold", "c1");
            answered(rig, invite, &directed(theirs));
        };
        if page_first {
            hold_by_page(&mut rig, "recvonly");
            let answer = offered(&mut rig, invite, 1, &directed("sendonly"));
            assert!(answer.contains("a=inactive"), "{answer}");
        } else {
            offered(&mut rig, invite, 1, &directed("sendonly"));
            hold_by_page(&mut rig, "inactive");
        }
        assert_eq!(rig.told(), ["hold HOLD", "hold HOLD"]);
        if page_lets_go_first {
            ask(&mut rig, "unhold", "c1");
            answered(&mut rig, invite, &directed("sendonly"));
            assert_eq!(rig.told(), ["hold HOLD"], "they still hold");
            assert_eq!(direction(&rig), Direction::RecvOnly, "their music is heard");
            offered(&mut rig, invite, 2, PHONE);
        } else {
            let answer = offered(&mut rig, invite, 2, PHONE);
            assert!(answer.contains("a=sendonly"), "{answer}");
            assert_eq!(rig.told(), ["hold HOLD"], "we still hold");
            assert_eq!(direction(&rig), Direction::Inactive);
            ask(&mut rig, "unhold", "c1");
            answered(&mut rig, invite, PHONE);
        }
        assert_eq!(rig.told(), ["talk ESTABLISHED"]);
        assert_eq!(direction(&rig), Direction::SendRecv);
    }
}

#[test]
fn both_hold_in_the_same_moment() {
    let (mut rig, invite) = Rig::talking(Config::default());
    ask(&mut rig, "hold", "c1");
    let ours = rig.asked();
    assert!(matches!(ours[..], [Trunk::Offer { .. }]));
    // The trunk lets theirs through first and repeats ours after the back-off (RFC 3261 §14.1).
    let answer = offered(&mut rig, invite, 1, &directed("sendonly"));
    assert!(answer.contains("a=recvonly"), "{answer}");
    assert_eq!(rig.told(), ["hold HOLD"]);
    rig.give(Input::Trunk(Event::OfferAnswered {
        invite,
        status: 200,
        sdp: Some(directed("inactive").into()),
        source: SOURCE.parse().unwrap(),
        raw: String::new(),
    }));
    assert_eq!(rig.told(), ["hold HOLD"]);
    assert_eq!(direction(&rig), Direction::Inactive);
}

#[test]
fn a_refused_hold_is_answered_with_what_is_so() {
    let (mut rig, invite) = Rig::talking(Config::default());
    ask(&mut rig, "hold", "c1");
    rig.give(Input::Trunk(Event::OfferRefused {
        invite,
        failure: Failure {
            status: 488,
            reason: "Not Acceptable Here".into(),
            cause: Cause::Response,
            raw: "SIP/2.0 488 x\r\n".into(),
            ..Failure::default()
        },
    }));
    assert_eq!(rig.last("talk")[0]["sipStatus"], 488);
    assert_eq!(rig.told(), ["talk ESTABLISHED"]);
}

#[test]
fn a_hold_by_the_far_side_can_be_kept_from_pages() {
    let (mut rig, invite) = Rig::talking(Config {
        tell_hold_by_peer: false,
        ..Config::default()
    });
    offered(&mut rig, invite, 1, &directed("sendonly"));
    assert!(rig.told().is_empty());
    assert_eq!(direction(&rig), Direction::RecvOnly);
    // Its own holds are told as ever.
    ask(&mut rig, "hold", "c1");
    answered(&mut rig, invite, &directed("inactive"));
    assert_eq!(rig.told(), ["hold HOLD"]);
    ask(&mut rig, "unhold", "c1");
    answered(&mut rig, invite, &directed("sendonly"));
    assert_eq!(rig.told(), ["talk ESTABLISHED"]);
    offered(&mut rig, invite, 2, PHONE);
    assert!(rig.told().is_empty());
}

#[test]
fn an_answer_that_wants_no_sound_is_a_hold_that_a_minute_of_silence_does_not_end() {
    let mut rig = Rig::registered(Config::default());
    rig.dial("c1", "1002");
    let (invite, _) = rig.invite();
    rig.answer(invite, &directed("inactive"));
    let far = rig.media.iter().rev().find_map(|c| match c {
        Media::Join { b, .. } => Some(*b),
        _ => None,
    });
    rig.give(Input::Media(media_control::Event::MediaSilent {
        leg: far.unwrap(),
        seconds: 60,
    }));
    assert_eq!(rig.board.counts().calls, 1);
}

#[test]
fn a_page_swaps_between_two_calls_and_a_third_one_rings_in() {
    let mut rig = Rig::registered(Config::default());
    let first = rig.talks("c1", "1002");
    ask(&mut rig, "hold", "c1");
    answered(&mut rig, first, &directed("recvonly"));
    let second = rig.talks("c2", "1003");
    for (hold, held, unhold, free) in [
        ("c2", second, "c1", first),
        ("c1", first, "c2", second),
        ("c2", second, "c1", first),
    ] {
        ask(&mut rig, "hold", hold);
        answered(&mut rig, held, &directed("recvonly"));
        assert_eq!(rig.last("hold")[0]["callId"], hold);
        ask(&mut rig, "unhold", unhold);
        answered(&mut rig, free, PHONE);
        assert_eq!(rig.last("talk")[0]["callId"], unhold);
        rig.told();
    }
    let third = rig.rings_in(Some(PHONE));
    let id = rig.last("notifyIncomingCall")[0]["callId"]
        .as_str()
        .unwrap()
        .to_owned();
    rig.frame(browser_answer(&id));
    assert_eq!(rig.board.counts().calls, 3);
    // Each ends by itself.
    rig.told();
    rig.over(
        first,
        End::ByPeer {
            cancelled: false,
            reason: String::new(),
            raw: "BYE".into(),
        },
    );
    assert_eq!(rig.last("finish")[0]["callId"], "c1");
    rig.hang_up(&id);
    assert_eq!(rig.last("finish")[0]["callId"], id.as_str());
    rig.over(third, End::ByUs { raw: String::new() });
    ask(&mut rig, "unhold", "c2");
    answered(&mut rig, second, PHONE);
    assert_eq!(rig.last("talk")[0]["callId"], "c2");
}
