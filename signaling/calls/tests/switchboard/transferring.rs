//! `transfer` of a page as REFER.

use crate::rig::{PHONE, Rig, account};
use serde_json::json;
use signaling_calls::{Config, Input, SessionId};
use signaling_trunk::api::{
    AccountId, Command as Trunk, End, Event, Failure, InviteId, ReferId, ReferTo, Target,
};
use std::time::Duration;

fn transfer(rig: &mut Rig, id: &str, target: &str) {
    rig.frame(json!({"message": "transfer", "data": [{"callId": id, "target": target}]}));
}

/// The REFER that went out.
fn refer(rig: &mut Rig) -> (InviteId, ReferId, ReferTo) {
    match rig.asked().pop() {
        Some(Trunk::Refer { invite, refer, to }) => (invite, refer, to),
        other => panic!("no REFER: {other:?}"),
    }
}

fn accepted(rig: &mut Rig, invite: InviteId, refer: ReferId) {
    rig.give(Input::Trunk(Event::ReferAccepted {
        invite,
        refer,
        status: 202,
        raw: "SIP/2.0 202 Accepted\r\n".into(),
    }));
}

fn notified(rig: &mut Rig, invite: InviteId, refer: ReferId, status: u16, reason: &str) {
    rig.give(Input::Trunk(Event::ReferNotified {
        invite,
        refer,
        status,
        reason: reason.into(),
        over: status >= 200,
        raw: format!("NOTIFY\r\n\r\nSIP/2.0 {status} {reason}"),
    }));
}

fn refused(rig: &mut Rig, invite: InviteId, refer: ReferId, status: u16, reason: &str) {
    rig.give(Input::Trunk(Event::ReferRefused {
        invite,
        refer,
        failure: Failure {
            status,
            reason: reason.into(),
            raw: format!("SIP/2.0 {status} {reason}\r\n"),
            ..Failure::default()
        },
    }));
}

fn bye() -> End {
    End::ByPeer {
        cancelled: false,
        reason: String::new(),
        raw: "BYE".into(),
    }
}

#[test]
fn a_blind_transfer_tells_each_step_and_the_bye_of_the_pbx_ends_the_call() {
    let (mut rig, invite) = Rig::talking(Config::default());
    transfer(&mut rig, "c1", "1003");
    let (on, refer, to) = refer(&mut rig);
    assert_eq!(on, invite);
    assert!(matches!(to, ReferTo::Target(Target::User { user, .. }) if user == "1003"));
    accepted(&mut rig, invite, refer);
    notified(&mut rig, invite, refer, 100, "Trying");
    notified(&mut rig, invite, refer, 180, "Ringing");
    notified(&mut rig, invite, refer, 200, "OK");
    let event = rig.last("notifyTransferEvent")[0].clone();
    assert_eq!(
        (event["callId"].as_str(), event["incoming"].as_bool()),
        (Some("c1"), Some(false))
    );
    assert!(event["sipMessageRaw"].as_str().unwrap().contains("200 OK"));
    assert_eq!(
        rig.told(),
        [
            "notifyTransferEvent ACCEPTED",
            "notifyTransferEvent TRYING",
            "notifyTransferEvent 180 Ringing",
            "notifyTransferEvent COMPLETED"
        ]
    );
    rig.over(invite, bye());
    assert_eq!(rig.told(), ["finish FINISH"]);
    rig.wait(Duration::from_secs(10));
    assert_eq!(rig.records[0].ended_by, "peer");
}

#[test]
fn without_a_bye_after_completed_we_hang_up_ourselves() {
    let (mut rig, invite) = Rig::talking(Config::default());
    transfer(&mut rig, "c1", "sip:1003@pbx.test");
    let (_, refer, _) = refer(&mut rig);
    accepted(&mut rig, invite, refer);
    notified(&mut rig, invite, refer, 200, "OK");
    rig.told();
    rig.wait(Duration::from_secs(2));
    assert!(rig.asked().is_empty());
    rig.wait(Duration::from_secs(2));
    assert_eq!(rig.told(), ["finish FINISH"]);
    assert!(matches!(rig.asked()[..], [Trunk::Hangup { .. }]));
}

#[test]
fn a_refused_refer_is_failed_and_the_call_stays_as_it_was() {
    for (status, reason, info) in [
        (405, "Method Not Allowed", "SIP 405 METHOD NOT ALLOWED"),
        (603, "Decline", "SIP 603 DECLINE"),
    ] {
        let (mut rig, invite) = Rig::talking(Config::default());
        rig.media.clear();
        transfer(&mut rig, "c1", "1003");
        let (_, first, _) = refer(&mut rig);
        refused(&mut rig, invite, first, status, reason);
        assert_eq!(rig.last("fail")[0]["info"], info);
        assert_eq!(rig.last("fail")[0]["apiMethod"], "TransferStatusEvent");
        assert_eq!(rig.told(), ["notifyTransferEvent FAILED", "fail FAILED"]);
        assert!(rig.media.is_empty() && rig.asked().is_empty());
        rig.wait(Duration::from_secs(300));
        assert_eq!(rig.board.counts().calls, 1);
        // And it may be tried again.
        transfer(&mut rig, "c1", "1004");
        refer(&mut rig);
    }
}

#[test]
fn a_transfer_whose_target_is_busy_is_failed_and_the_call_goes_on() {
    let (mut rig, invite) = Rig::talking(Config::default());
    transfer(&mut rig, "c1", "1003");
    let (_, refer, _) = refer(&mut rig);
    accepted(&mut rig, invite, refer);
    notified(&mut rig, invite, refer, 486, "Busy Here");
    assert_eq!(rig.last("fail")[0]["info"], "SIP 486 BUSY HERE");
    assert_eq!(
        rig.told(),
        [
            "notifyTransferEvent ACCEPTED",
            "notifyTransferEvent FAILED",
            "fail FAILED"
        ]
    );
    rig.frame(json!({"message": "hold", "data": [{"callId": "c1"}]}));
    assert!(matches!(rig.asked()[..], [Trunk::Offer { .. }]));
}

#[test]
fn a_notify_that_overtakes_the_202_is_told_and_accepted_never_after_completed() {
    let (mut rig, invite) = Rig::talking(Config::default());
    transfer(&mut rig, "c1", "1003");
    let (_, refer, _) = refer(&mut rig);
    notified(&mut rig, invite, refer, 100, "Trying");
    notified(&mut rig, invite, refer, 200, "OK");
    accepted(&mut rig, invite, refer);
    assert_eq!(
        rig.told(),
        [
            "notifyTransferEvent TRYING",
            "notifyTransferEvent COMPLETED"
        ]
    );
}

#[test]
fn a_second_transfer_of_a_call_waits_for_the_first() {
    let (mut rig, invite) = Rig::talking(Config::default());
    transfer(&mut rig, "c1", "1003");
    let (_, first, _) = refer(&mut rig);
    transfer(&mut rig, "c1", "1004");
    assert!(rig.asked().is_empty());
    assert_eq!(
        rig.last("fail")[0]["info"],
        "A transfer of this call is already under way"
    );
    rig.told();
    // The first is untouched by that.
    notified(&mut rig, invite, first, 200, "OK");
    assert_eq!(rig.told(), ["notifyTransferEvent COMPLETED"]);
}

#[test]
fn the_remote_party_of_another_call_makes_it_an_attended_transfer_however_it_is_written() {
    for target in ["1003", " 1003 ", "sip:1003@pbx.test", "1003@pbx.test:5060"] {
        let (mut rig, invite) = Rig::talking(Config::default());
        let consult = rig.talks("c2", "1003");
        transfer(&mut rig, "c1", target);
        let (on, refer, to) = refer(&mut rig);
        assert_eq!((on, to), (invite, ReferTo::Call(consult)), "{target}");
        accepted(&mut rig, invite, refer);
        notified(&mut rig, invite, refer, 200, "OK");
        rig.told();
        // The consultation's far end has a new partner: it hangs up, and if it does not we do.
        rig.wait(Duration::from_secs(4));
        assert_eq!(rig.told(), ["finish FINISH", "finish FINISH"]);
        let hangups = rig.asked();
        assert_eq!(hangups.len(), 2, "{hangups:?}");
    }
}

#[test]
fn an_incoming_call_may_be_the_consultation_and_a_ringing_one_may_not() {
    let (mut rig, _) = Rig::talking(Config::default());
    let other = rig.arrives(7, "1003", Some(PHONE), None);
    let id = rig.last("notifyIncomingCall")[0]["callId"]
        .as_str()
        .unwrap()
        .to_owned();
    rig.asked();
    transfer(&mut rig, "c1", "1003");
    let (invite, first, to) = refer(&mut rig);
    assert!(matches!(to, ReferTo::Target(_)), "it only rings");
    refused(&mut rig, invite, first, 603, "Decline");
    rig.frame(crate::rig::browser_answer(&id));
    rig.asked();
    transfer(&mut rig, "c1", "1003");
    assert_eq!(refer(&mut rig).2, ReferTo::Call(other));
}

#[test]
fn what_cannot_be_transferred_is_failed_with_a_reason_and_an_unknown_call_is_ignored() {
    let (mut rig, _) = Rig::talking(Config::default());
    for (target, info) in [
        ("", "target is missing"),
        (
            "1003\r\nVia: x",
            "target holds characters that cannot be dialled",
        ),
    ] {
        transfer(&mut rig, "c1", target);
        assert_eq!(rig.last("fail")[0]["info"], info);
        assert_eq!(rig.told(), ["notifyTransferEvent FAILED", "fail FAILED"]);
    }
    rig.dial("c2", "echo");
    rig.told();
    transfer(&mut rig, "c2", "1003");
    assert_eq!(
        rig.last("fail")[0]["info"],
        "An echo call cannot be transferred"
    );
    rig.dial("c3", "1005");
    rig.told();
    rig.asked();
    transfer(&mut rig, "c3", "1003");
    assert_eq!(rig.last("fail")[0]["info"], "The call is not established");
    rig.told();
    transfer(&mut rig, "nobody", "1003");
    assert!(rig.told().is_empty() && rig.asked().is_empty());
}

#[test]
fn nothing_is_told_of_a_transfer_after_finish() {
    let (mut rig, invite) = Rig::talking(Config::default());
    transfer(&mut rig, "c1", "1003");
    let (_, refer, _) = refer(&mut rig);
    rig.hang_up("c1");
    assert_eq!(rig.told(), ["finish FINISH"]);
    accepted(&mut rig, invite, refer);
    notified(&mut rig, invite, refer, 200, "OK");
    rig.wait(Duration::from_secs(300));
    assert!(rig.told().is_empty());
}

#[test]
fn a_transfer_of_which_nobody_tells_the_outcome_is_given_up() {
    let (mut rig, invite) = Rig::talking(Config::default());
    transfer(&mut rig, "c1", "1003");
    let (_, first, _) = refer(&mut rig);
    accepted(&mut rig, invite, first);
    rig.told();
    rig.wait(Duration::from_secs(201));
    assert_eq!(rig.last("fail")[0]["info"], "Failed by request timeout");
    assert_eq!(rig.told(), ["notifyTransferEvent FAILED", "fail FAILED"]);
    // So is one whose subscription ends without a word of it.
    transfer(&mut rig, "c1", "1003");
    let (_, second, _) = refer(&mut rig);
    rig.give(Input::Trunk(Event::ReferNotified {
        invite,
        refer: second,
        status: 100,
        reason: "Trying".into(),
        over: true,
        raw: String::new(),
    }));
    assert_eq!(rig.told(), ["notifyTransferEvent FAILED", "fail FAILED"]);
    assert_eq!(rig.board.counts().calls, 1);
}

#[test]
fn a_held_call_is_transferred_and_hold_for_transfer_is_told_back() {
    let (mut rig, invite) = Rig::talking(Config::default());
    rig.frame(
        json!({"message": "hold", "data": [{"callId": "c1", "holdForTransfer": true, "hasVideo": false}]}),
    );
    rig.give(Input::Trunk(Event::OfferAnswered {
        invite,
        status: 200,
        sdp: Some(PHONE.replace("t=0 0\r\n", "t=0 0\r\na=recvonly\r\n").into()),
        source: crate::rig::SOURCE.parse().unwrap(),
        raw: "SIP/2.0 200 OK\r\n".into(),
    }));
    let hold = rig.last("hold")[0].clone();
    assert_eq!(
        (hold["status"].as_str(), hold["holdForTransfer"].as_bool()),
        (Some("HOLD"), Some(true))
    );
    rig.asked();
    transfer(&mut rig, "c1", "1003");
    let (_, first, _) = refer(&mut rig);
    refused(&mut rig, invite, first, 603, "Decline");
    // The user thinks better of it.
    rig.told();
    rig.frame(json!({"message": "unhold", "data": [{"callId": "c1"}]}));
    rig.give(Input::Trunk(Event::OfferAnswered {
        invite,
        status: 200,
        sdp: Some(PHONE.into()),
        source: crate::rig::SOURCE.parse().unwrap(),
        raw: "SIP/2.0 200 OK\r\n".into(),
    }));
    let talk = rig.last("talk")[0].clone();
    assert_eq!(talk["holdForTransfer"], false);
    assert_eq!(rig.told(), ["talk ESTABLISHED"]);
}

#[test]
fn a_page_that_came_back_is_not_told_of_a_transfer_but_the_backend_is() {
    let mut rig = Rig::new(Config::default());
    rig.open(1);
    let mut connection = account(true);
    connection["data"][0]["keepAlive"] = json!(true);
    rig.frame(connection);
    rig.give(Input::Trunk(Event::Registered {
        account: AccountId(1),
        expires_s: 60,
        raw: String::new(),
    }));
    rig.trunk.clear();
    let invite = rig.talks("c1", "1002");
    transfer(&mut rig, "c1", "1003");
    let (_, refer, _) = refer(&mut rig);
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    rig.open(2);
    rig.frame_from(
        2,
        json!({"message": "connection", "data": [{"appKey": "defaultApp", "authToken": "token-1"}]}),
    );
    rig.told();
    accepted(&mut rig, invite, refer);
    notified(&mut rig, invite, refer, 200, "OK");
    assert!(rig.told().is_empty(), "the SDK would throw");
    let told: Vec<&str> = rig
        .backend
        .iter()
        .map(|(name, body)| {
            assert_eq!(
                (name.as_str(), body["callId"].as_str()),
                ("TransferStatusEvent", Some("c1"))
            );
            body["status"].as_str().unwrap()
        })
        .collect();
    assert_eq!(told, ["ACCEPTED", "COMPLETED"]);
}
