//! Transfers that the far side asks for: REFER, and INVITE with Replaces.

use crate::rig::{PHONE, Rig, SOURCE, account, browser_answer};
use media_control::{Command as Media, Direction, Event as MediaEvent, LegFailure, LegId};
use serde_json::json;
use signaling_calls::{Config, Input, Ringback, SessionId};
use signaling_trunk::api::{
    AccountId, Command as Trunk, End, Event, Failure, InviteId, OfferId, ReferId, Target,
};
use std::time::Duration;

const OTHER_PHONE: &str = "v=0\r\no=other 9 1 IN IP4 192.0.2.77\r\ns=-\r\nc=IN IP4 192.0.2.77\r\nt=0 0\r\n\
m=audio 30000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";

const REFER: ReferId = ReferId(31);

fn referred(rig: &mut Rig, invite: InviteId, target: &str) {
    rig.give(Input::Trunk(Event::Referred {
        invite,
        refer: REFER,
        target: target.into(),
        replaces: Some("abc;to-tag=1;from-tag=2".into()),
        referred_by: Some("<sip:1002@pbx.test>".into()),
        raw: "REFER sip:x SIP/2.0\r\n".into(),
    }));
}

/// A call that is being transferred: the INVITE to 1003 is out.
fn referring(config: Config) -> (Rig, InviteId, InviteId) {
    let (mut rig, old) = Rig::talking(config);
    rig.media.clear();
    referred(&mut rig, old, "sip:1003@pbx.test");
    let (new, _) = rig.invite();
    (rig, old, new)
}

fn notifies(rig: &mut Rig) -> Vec<u16> {
    rig.asked()
        .into_iter()
        .filter_map(|c| match c {
            Trunk::NotifyRefer { status, refer, .. } => {
                assert_eq!(refer, REFER);
                Some(status)
            }
            _ => None,
        })
        .collect()
}

fn bye() -> End {
    End::ByPeer {
        cancelled: false,
        reason: String::new(),
        raw: "BYE".into(),
    }
}

fn refused(status: u16, reason: &str) -> End {
    End::Failed(Failure {
        status,
        reason: reason.into(),
        ..Failure::default()
    })
}

fn statuses(rig: &Rig) -> Vec<String> {
    rig.backend
        .iter()
        .filter(|(name, _)| name == "TransferStatusEvent")
        .map(|(_, body)| {
            assert_eq!(body["incoming"], true);
            body["status"].as_str().unwrap().to_owned()
        })
        .collect()
}

/// Legs that the browser's leg is joined with, in the order of time.
fn joins(rig: &Rig) -> Vec<u64> {
    rig.media
        .iter()
        .filter_map(|c| match c {
            Media::Join { b, .. } => Some(b.0),
            _ => None,
        })
        .collect()
}

#[test]
fn a_refer_is_followed_and_the_page_notices_nothing() {
    let (mut rig, old) = Rig::talking(Config::default());
    rig.media.clear();
    referred(&mut rig, old, "sip:1003@pbx.test");
    let asked = rig.asked();
    assert!(matches!(asked[0], Trunk::AcceptRefer { invite, refer: REFER } if invite == old));
    let Trunk::Invite {
        invite: new,
        account: AccountId(1),
        target: Target::Uri { uri, .. },
        options,
        sdp,
        ..
    } = &asked[1]
    else {
        panic!("{asked:?}")
    };
    assert_eq!(uri, "sip:1003@pbx.test");
    assert_eq!(options.replaces.as_deref(), Some("abc;to-tag=1;from-tag=2"));
    assert_eq!(options.referred_by.as_deref(), Some("<sip:1002@pbx.test>"));
    assert!(String::from_utf8_lossy(sdp).contains("a=sendrecv"));
    let new = *new;
    assert_ne!(new, old);

    rig.progress(new, 180, None);
    rig.progress(new, 180, None);
    assert_eq!(notifies(&mut rig), [180]);
    rig.answer(new, OTHER_PHONE);
    assert_eq!(notifies(&mut rig), [200]);
    assert!(rig.told().is_empty(), "to the page it is one call");
    assert_eq!(
        statuses(&rig),
        ["ACCEPTED", "TRYING", "180 Ringing", "COMPLETED"]
    );
    // A leg of its own in the same group takes the place of the old one.
    let media = rig.media_asked();
    let Media::CreateLeg {
        leg: LegId(leg),
        group,
        ..
    } = &media[0]
    else {
        panic!("{media:?}")
    };
    assert_eq!(group.0, leg - leg % 32);
    let (browser, gone) = (LegId(group.0), LegId(group.0 + 1));
    assert!(
        matches!(&media[1], Media::ConnectLeg { leg: l, .. } if l.0 == *leg),
        "{media:?}"
    );
    assert_eq!(
        media[2..],
        [
            Media::Part {
                a: browser,
                b: gone
            },
            Media::Join {
                a: browser,
                b: LegId(*leg)
            },
            Media::CloseLeg { leg: gone }
        ]
    );
    // The old dialog is hung up if the PBX does not do it.
    assert!(rig.asked().is_empty());
    rig.wait(Duration::from_secs(3));
    assert!(matches!(&rig.asked()[..], [Trunk::Hangup { invite, .. }] if *invite == old));
    rig.over(old, End::ByUs { raw: String::new() });

    // All that comes later is the new leg's.
    rig.frame(json!({"message": "hold", "data": [{"callId": "c1"}]}));
    assert!(matches!(&rig.asked()[..], [Trunk::Offer { invite, .. }] if *invite == new));
    rig.frame(json!({"message": "sendDtmf", "data": [{"callId": "c1", "dtmf": "5"}]}));
    assert!(matches!(rig.media.back(), Some(Media::SendDigits { leg: l, .. }) if l.0 == *leg));
    rig.hang_up("c1");
    let finish = rig.last("finish")[0].clone();
    assert_eq!(finish["callee"], "1003", "the call has a new far end");
    assert!(matches!(&rig.asked()[..], [Trunk::Hangup { invite, .. }] if *invite == new));
    rig.over(new, End::ByUs { raw: String::new() });
    assert_eq!(rig.records.len(), 1);
    assert_eq!(rig.records[0].other_sip.len(), 1);
}

#[test]
fn a_bye_of_who_asked_after_the_answer_ends_only_its_own_dialog() {
    let (mut rig, old, new) = referring(Config::default());
    rig.answer(new, OTHER_PHONE);
    rig.asked();
    rig.over(old, bye());
    rig.wait(Duration::from_secs(5));
    assert!(rig.told().is_empty() && rig.asked().is_empty());
    rig.over(new, bye());
    assert_eq!(rig.told(), ["finish FINISH"]);
    assert_eq!(rig.records.len(), 1);
}

#[test]
fn a_new_party_that_cannot_be_had_leaves_the_call_as_it_was() {
    let (mut rig, old, new) = referring(Config::default());
    rig.over(new, refused(486, "Busy Here"));
    assert_eq!(notifies(&mut rig), [486]);
    assert!(rig.told().is_empty());
    assert_eq!(statuses(&rig).last().unwrap(), "FAILED");
    assert_eq!(joins(&rig), [0_u64; 0]);
    // Both sides may go on, and ask again.
    referred(&mut rig, old, "sip:1004@pbx.test");
    let (again, _) = rig.invite();
    assert_ne!(again, new);
    rig.wait(Duration::from_secs(181));
    let asked = rig.asked();
    assert!(
        asked
            .iter()
            .any(|c| matches!(c, Trunk::Hangup { invite, .. } if *invite == again)),
        "{asked:?}"
    );
    assert!(
        asked
            .iter()
            .any(|c| matches!(c, Trunk::NotifyRefer { status: 408, .. }))
    );
    assert_eq!(rig.board.counts().calls, 1);
}

#[test]
fn a_page_that_is_held_while_it_is_transferred_hears_when_that_is_over() {
    let (mut rig, old) = Rig::talking(Config::default());
    rig.give(Input::Trunk(Event::Offered {
        invite: old,
        offer: OfferId(1),
        sdp: Some(PHONE.replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n").into()),
        source: SOURCE.parse().unwrap(),
        raw: "INVITE".into(),
        fork: None,
    }));
    assert_eq!(rig.told(), ["hold HOLD"]);
    referred(&mut rig, old, "sip:1003@pbx.test");
    let (new, _) = rig.invite();
    rig.answer(new, OTHER_PHONE);
    assert_eq!(rig.told(), ["talk ESTABLISHED"]);
}

#[test]
fn what_the_page_holds_stays_held_through_a_transfer() {
    let (mut rig, old) = Rig::talking(Config::default());
    rig.frame(json!({"message": "hold", "data": [{"callId": "c1"}]}));
    let answered = |invite| {
        Input::Trunk(Event::OfferAnswered {
            invite,
            status: 200,
            sdp: Some(PHONE.into()),
            source: SOURCE.parse().unwrap(),
            raw: "SIP/2.0 200 OK\r\n".into(),
        })
    };
    rig.give(answered(old));
    rig.told();
    rig.asked();
    referred(&mut rig, old, "sip:1003@pbx.test");
    let (new, offer) = rig.invite();
    assert!(String::from_utf8_lossy(&offer).contains("a=sendonly"));
    // The page changes its mind before the new party answers: that one is let go with a re-INVITE.
    rig.frame(json!({"message": "unhold", "data": [{"callId": "c1"}]}));
    rig.asked();
    rig.answer(new, OTHER_PHONE);
    let asked = rig.asked();
    assert!(
        asked
            .iter()
            .any(|c| matches!(c, Trunk::Offer { invite, .. } if *invite == new)),
        "{asked:?}"
    );
    assert!(rig.told().is_empty(), "the page is answered when it is so");
    rig.give(answered(new));
    assert_eq!(rig.told(), ["talk ESTABLISHED"]);
    let remote = rig.media.iter().rev().find_map(|c| match c {
        Media::ConnectLeg { remote, .. } => Some(remote.clone()),
        _ => None,
    });
    assert_eq!(remote.unwrap().media[0].direction, Direction::SendRecv);
}

#[test]
fn who_asked_may_hang_up_first_and_the_page_hears_the_new_party_ring() {
    let (mut rig, old, new) = referring(Config {
        ringback: Ringback::Eu,
        ..Config::default()
    });
    rig.over(old, bye());
    assert!(rig.told().is_empty(), "the call is not over");
    rig.media.clear();
    rig.progress(new, 180, None);
    let media = rig.media_asked();
    let Media::CreateLeg {
        leg: ringback,
        spec: media_control::LegSpec::Source(_),
        ..
    } = &media[0]
    else {
        panic!("{media:?}")
    };
    assert!(matches!(&media[1], Media::Join { b, .. } if b == ringback));
    assert!(rig.told().is_empty() && notifies(&mut rig).is_empty());
    // A hold now changes nothing, and is answered all the same.
    rig.frame(json!({"message": "hold", "data": [{"callId": "c1"}]}));
    assert_eq!(rig.told(), ["talk ESTABLISHED"]);
    rig.answer(new, OTHER_PHONE);
    let media = rig.media_asked();
    assert!(media.contains(&Media::CloseLeg { leg: *ringback }));
    assert!(
        matches!(media.iter().find(|c| matches!(c, Media::Join { .. })), Some(Media::Join { b, .. }) if b != ringback)
    );
    assert!(rig.told().is_empty());
    rig.over(new, bye());
    assert_eq!(rig.told(), ["finish FINISH"]);
    assert_eq!(rig.records.len(), 1);
}

#[test]
fn with_nobody_left_to_talk_to_the_failed_transfer_ends_the_call() {
    let (mut rig, old, new) = referring(Config::default());
    rig.over(old, bye());
    rig.over(new, refused(404, "Not Found"));
    assert_eq!(rig.last("finish")[0]["info"], "SIP 404 NOT FOUND");
    assert_eq!(rig.told(), ["finish FAILED", "fail FAILED"]);
    assert_eq!(rig.records.len(), 1);
}

#[test]
fn a_page_that_hangs_up_meanwhile_ends_both_dialogs() {
    let (mut rig, old, new) = referring(Config::default());
    rig.hang_up("c1");
    let ended: Vec<InviteId> = rig
        .asked()
        .into_iter()
        .filter_map(|c| match c {
            Trunk::Hangup { invite, .. } => Some(invite),
            _ => None,
        })
        .collect();
    assert_eq!(ended, [old, new]);
    assert_eq!(rig.told(), ["finish FINISH"]);
    rig.answer(new, OTHER_PHONE);
    rig.over(old, End::ByUs { raw: String::new() });
    rig.over(new, End::ByUs { raw: String::new() });
    assert!(rig.told().is_empty());
    assert_eq!(rig.records.len(), 1);
}

#[test]
fn a_refer_is_refused_where_policy_or_state_forbids_it() {
    let status = |rig: &mut Rig| match rig.asked().pop() {
        Some(Trunk::RefuseRefer { status, .. }) => status,
        other => panic!("{other:?}"),
    };
    let (mut rig, invite) = Rig::talking(Config {
        follow_refer: false,
        ..Config::default()
    });
    referred(&mut rig, invite, "sip:1003@pbx.test");
    assert_eq!(status(&mut rig), 603);

    let (mut rig, old, _) = referring(Config::default());
    rig.asked();
    referred(&mut rig, old, "sip:1004@pbx.test");
    assert_eq!(status(&mut rig), 491, "one after the other");

    let (mut rig, invite) = Rig::talking(Config::default());
    referred(&mut rig, invite, "");
    assert_eq!(status(&mut rig), 400);
    referred(&mut rig, InviteId(99_999), "sip:1003@pbx.test");
    assert_eq!(status(&mut rig), 481);
    rig.frame(json!({"message": "transfer", "data": [{"callId": "c1", "target": "1004"}]}));
    referred(&mut rig, invite, "sip:1003@pbx.test");
    assert_eq!(status(&mut rig), 491, "the page transfers it itself");

    // Not answered yet.
    let mut rig = Rig::registered(Config::default());
    rig.dial("c1", "1002");
    let (invite, _) = rig.invite();
    referred(&mut rig, invite, "sip:1003@pbx.test");
    assert_eq!(status(&mut rig), 481);
}

#[test]
fn a_call_that_is_sent_in_a_circle_comes_to_an_end() {
    let (mut rig, mut current) = Rig::talking(Config::default());
    let mut seen = vec![current];
    for round in 0..15 {
        referred(&mut rig, current, "sip:1003@pbx.test");
        let (new, _) = rig.invite();
        assert!(!seen.contains(&new), "round {round}");
        rig.answer(new, OTHER_PHONE);
        rig.over(current, bye());
        rig.asked();
        seen.push(new);
        current = new;
    }
    referred(&mut rig, current, "sip:1003@pbx.test");
    assert!(matches!(
        rig.asked()[..],
        [Trunk::RefuseRefer { status: 603, .. }]
    ));
    // The next call's numbers are not touched by all that.
    let next = rig.talks("c2", "1002");
    assert!(!seen.contains(&next));
    rig.hang_up("c1");
    rig.over(current, End::ByUs { raw: String::new() });
    assert_eq!(rig.records[0].other_sip.len(), 15);
}

#[test]
fn no_ports_for_the_new_leg_is_told_to_who_asked_and_harms_nobody() {
    let (mut rig, old) = Rig::talking(Config::default());
    rig.media_works = false;
    rig.media.clear();
    referred(&mut rig, old, "sip:1003@pbx.test");
    let Some(Media::CreateLeg { leg, .. }) = rig.media.front().cloned() else {
        panic!("no leg")
    };
    rig.give(Input::Media(MediaEvent::LegFailed {
        leg,
        reason: LegFailure::NoResources,
    }));
    assert_eq!(notifies(&mut rig), [503]);
    assert!(rig.told().is_empty());
    assert_eq!(rig.board.counts().calls, 1);
}

#[test]
fn a_page_of_the_older_generation_is_told_of_the_transfer_as_pending() {
    for (version, told) in [("1.0", 1), ("2.0", 0), ("2.0.218", 0), ("0.5.28", 0)] {
        let mut rig = Rig::new(Config::default());
        rig.open(1);
        let mut connection = account(false);
        connection["data"][0]["clientVersion"] = json!(version);
        rig.frame(connection);
        rig.trunk.clear();
        let invite = rig.talks("c1", "1002");
        referred(&mut rig, invite, "sip:1003@pbx.test");
        let events = rig.told();
        assert_eq!(events.len(), told, "{version} {events:?}");
        assert!(events.iter().all(|e| e == "notifyTransferEvent PENDING"));
    }
}

#[test]
fn an_incoming_call_has_the_new_party_as_its_caller() {
    let mut rig = Rig::registered(Config::default());
    let old = rig.rings_in(Some(PHONE));
    let id = rig.last("notifyIncomingCall")[0]["callId"]
        .as_str()
        .unwrap()
        .to_owned();
    rig.frame(browser_answer(&id));
    rig.asked();
    rig.told();
    referred(&mut rig, old, "sip:%2B1555@pbx.test;user=phone");
    let (new, _) = rig.invite();
    rig.answer(new, OTHER_PHONE);
    rig.asked();
    assert!(rig.told().is_empty());
    rig.over(old, bye());
    rig.hang_up(&id);
    assert_eq!(rig.last("finish")[0]["caller"], "+1555");
    assert_eq!(rig.last("finish")[0]["callee"], "1001");
}

#[test]
fn an_invite_with_replaces_takes_the_place_without_a_ring() {
    let (mut rig, old) = Rig::talking(Config::default());
    rig.media.clear();
    let new = rig.arrives(77, "1009", Some(OTHER_PHONE), Some(old));
    let asked = rig.asked();
    let [
        Trunk::Accept { invite, sdp },
        Trunk::Hangup {
            invite: ended,
            status: None,
        },
    ] = &asked[..]
    else {
        panic!("{asked:?}")
    };
    assert_eq!((*invite, *ended), (new, old));
    assert!(String::from_utf8_lossy(sdp).contains("RTP/AVP 8 101"));
    assert!(rig.told().is_empty(), "the page is told nothing");
    assert_eq!(joins(&rig).len(), 1);
    rig.over(old, End::ByUs { raw: String::new() });
    rig.hang_up("c1");
    assert_eq!(rig.last("finish")[0]["callee"], "1009");
    assert!(matches!(&rig.asked()[..], [Trunk::Hangup { invite, .. }] if *invite == new));
    rig.over(new, End::ByUs { raw: String::new() });
    assert_eq!(rig.records.len(), 1);
}

#[test]
fn a_call_that_still_rings_may_be_picked_up_from_elsewhere() {
    for early in [None, Some(PHONE)] {
        let mut rig = Rig::registered(Config::default());
        rig.dial("c1", "1002");
        let (old, _) = rig.invite();
        rig.progress(old, 183, early);
        rig.told();
        let new = rig.arrives(77, "1009", Some(OTHER_PHONE), Some(old));
        let asked = rig.asked();
        assert!(
            matches!(&asked[..], [Trunk::Accept { invite, .. }, Trunk::Hangup { invite: gone, .. }]
                if *invite == new && *gone == old),
            "{asked:?}"
        );
        let told = rig.told();
        assert_eq!(told.last().unwrap(), "talk ESTABLISHED");
        assert_eq!(told.len(), if early.is_some() { 1 } else { 2 }, "{told:?}");
        // The first callee's answer crossed our CANCEL.
        rig.answer(old, PHONE);
        rig.over(old, End::ByUs { raw: String::new() });
        assert!(rig.told().is_empty());
        rig.over(new, bye());
        assert_eq!(rig.told(), ["finish FINISH"]);
        assert_eq!(rig.records.len(), 1);
    }
}

#[test]
fn a_replacing_invite_without_an_offer_gets_ours() {
    let (mut rig, old) = Rig::talking(Config::default());
    let new = rig.arrives(77, "1009", None, Some(old));
    rig.media.clear();
    rig.give(Input::Trunk(Event::Acknowledged {
        invite: new,
        sdp: Some(OTHER_PHONE.into()),
    }));
    assert!(matches!(rig.media.front(), Some(Media::ConnectLeg { .. })));
    assert!(rig.told().is_empty());
}

#[test]
fn a_replacing_invite_is_refused_where_there_is_nothing_to_replace() {
    let status = |rig: &mut Rig| match rig.asked().pop() {
        Some(Trunk::Hangup {
            status: Some(refusal),
            ..
        }) => refusal.status,
        other => panic!("{other:?}"),
    };
    let mut rig = Rig::registered(Config::default());
    rig.arrives(77, "1009", Some(OTHER_PHONE), Some(InviteId(5)));
    assert_eq!(status(&mut rig), 481);
    let ringing = rig.rings_in(Some(PHONE));
    rig.asked();
    rig.arrives(79, "1009", Some(OTHER_PHONE), Some(ringing));
    assert_eq!(status(&mut rig), 481);
    let (mut rig, old) = Rig::talking(Config::default());
    rig.arrives(
        77,
        "1009",
        Some("v=0\r\nm=audio 1 RTP/AVP 18\r\n"),
        Some(old),
    );
    assert_eq!(status(&mut rig), 488);
    // And the call is what it was.
    rig.media_works = false;
    rig.arrives(79, "1009", Some(OTHER_PHONE), Some(old));
    let Some(Media::CreateLeg { leg, .. }) = rig.media.back().cloned() else {
        panic!("no leg")
    };
    rig.give(Input::Media(MediaEvent::LegFailed {
        leg,
        reason: LegFailure::NoResources,
    }));
    assert_eq!(status(&mut rig), 503);
    assert!(rig.told().is_empty());
    assert_eq!(rig.board.counts().calls, 1);
}

#[test]
fn a_replaced_leg_takes_its_refer_and_ours_along() {
    // Theirs: the INVITE that we sent on its behalf is taken back.
    let (mut rig, old, coming) = referring(Config::default());
    rig.asked();
    let new = rig.arrives(77, "1009", Some(OTHER_PHONE), Some(old));
    let asked = rig.asked();
    for wanted in [coming, old] {
        assert!(
            asked
                .iter()
                .any(|c| matches!(c, Trunk::Hangup { invite, .. } if *invite == wanted)),
            "{asked:?}"
        );
    }
    rig.answer(coming, OTHER_PHONE);
    rig.over(coming, End::ByUs { raw: String::new() });
    rig.over(old, End::ByUs { raw: String::new() });
    assert!(rig.told().is_empty());
    // Ours: nobody is left to tell how it went.
    rig.frame(json!({"message": "transfer", "data": [{"callId": "c1", "target": "1004"}]}));
    rig.arrives(79, "1010", Some(OTHER_PHONE), Some(new));
    assert_eq!(rig.told(), ["notifyTransferEvent FAILED", "fail FAILED"]);
    assert_eq!(rig.board.counts().calls, 1);
}

#[test]
fn a_session_that_ends_in_the_middle_of_it_leaves_nothing() {
    let (mut rig, old, new) = referring(Config::default());
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    rig.over(old, End::ByUs { raw: String::new() });
    rig.over(new, End::ByUs { raw: String::new() });
    assert!(rig.board.is_idle());
    assert_eq!(rig.board.poll_timeout(), None);
}
