//! Calls that come in by lines and ring pages.

use crate::planned::{NUMBER, carrier, identity, inbound, plan, target};
use crate::rig::{Rig, browser_answer};
use media_control::Command as Media;
use serde_json::Value;
use signaling_calls::{Config, Input, SessionId};
use signaling_protocol::LineIdentity;
use signaling_trunk::api::{Command, End, Event, InviteId, Line, OfferId};
use std::time::Duration;

fn ringing(to: &str) -> Rig {
    let plan = inbound(plan(&["trunk:carrier"]), NUMBER, vec![target(to)]);
    Rig::planned(plan)
}

fn id_of(rig: &Rig) -> String {
    rig.last("notifyIncomingCall")[0]["callId"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// callIds of the calls that pages were told of, in order.
fn announced(rig: &Rig) -> Vec<String> {
    let told = rig
        .page
        .iter()
        .filter(|m| m["message"] == "notifyIncomingCall");
    told.map(|m| m["data"][0]["callId"].as_str().unwrap().to_owned())
        .collect()
}

fn progresses(asked: &[Command]) -> usize {
    let is_it = |c: &&Command| matches!(c, Command::Progress { status: 180, .. });
    asked.iter().filter(is_it).count()
}

fn cancelled() -> End {
    End::ByPeer {
        cancelled: true,
        reason: String::new(),
        raw: "CANCEL sip:x SIP/2.0\r\n".into(),
    }
}

#[test]
fn a_call_for_a_sessions_number_rings_its_page_and_is_answered() {
    let mut rig = ringing("number");
    let invite = rig.comes_in(7, carrier(), NUMBER);
    let told = rig.last("notifyIncomingCall")[0].clone();
    assert_eq!(told["caller"], "+4989777");
    assert_eq!(told["callee"], NUMBER);
    let id = id_of(&rig);
    assert_eq!(
        rig.told(),
        ["setRemoteSDP", "notifyIncomingCall PENDING", "ring RING"]
    );
    assert_eq!(progresses(&rig.asked()), 1);
    rig.frame(browser_answer(&id));
    assert_eq!(rig.told(), ["talk ESTABLISHED"]);
    let asked = rig.asked();
    let accepted = |c: &Command| matches!(c, Command::Accept { invite: i, .. } if *i == invite);
    assert!(asked.iter().any(accepted), "{asked:?}");
    rig.over(
        invite,
        End::ByPeer {
            cancelled: false,
            reason: String::new(),
            raw: "BYE".into(),
        },
    );
    assert_eq!(rig.told(), ["finish FINISH"]);
    let record = rig.records.pop().unwrap();
    assert_eq!(
        (record.route.as_str(), record.direction.as_str()),
        ("in", "incoming")
    );
    assert_eq!(record.attempts[0].to, "trunk:carrier");
}

#[test]
fn a_call_for_a_number_that_nobody_has_gets_480_and_one_that_no_rule_knows_404() {
    let mut rig = ringing("number");
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    let invite = rig.comes_in(7, carrier(), NUMBER);
    assert_eq!(rig.refusal_of(invite), (480, None));
    let invite = rig.comes_in(9, carrier(), "+49301");
    assert_eq!(rig.refusal_of(invite).0, 404);
}

#[test]
fn a_trunk_reaches_no_trunk_by_the_rules_of_pages() {
    let mut rig = ringing("number");
    let invite = rig.comes_in(7, carrier(), "+15551234567");
    assert_eq!(rig.refusal_of(invite).0, 404);
}

#[test]
fn a_call_for_an_account_rings_who_is_registered_as_it() {
    let mut rig = Rig::registered(Config::default());
    let plan = inbound(plan(&[]), NUMBER, vec![target("account:1001@pbx.test")]);
    rig.give(Input::Plan(Box::new(plan)));
    rig.comes_in(7, carrier(), NUMBER);
    assert_eq!(announced(&rig).len(), 1);
    assert_eq!(progresses(&rig.asked()), 1);
}

#[test]
fn who_calls_is_whom_the_line_asserts_unless_that_is_private() {
    for (headers, caller) in [
        (vec![], "+49891234"),
        (vec![("Privacy", "id")], "anonymous"),
        (vec![("Privacy", "none")], "+49891234"),
        (vec![("Privacy", "header;id")], "anonymous"),
    ] {
        let mut rig = ringing("number");
        rig.comes_in_from(
            7,
            carrier(),
            NUMBER,
            "anonymous",
            Some("+49891234"),
            &headers,
        );
        assert_eq!(rig.last("notifyIncomingCall")[0]["caller"], caller);
    }
}

/// Three pages of one application ring.
fn three() -> (Rig, InviteId, Vec<String>) {
    let mut rig = ringing("app:defaultApp");
    for session in [2, 3] {
        rig.join_as(session, Some(LineIdentity::default()));
    }
    rig.page.clear();
    rig.trunk.clear();
    let invite = rig.comes_in(7, carrier(), NUMBER);
    let ids = announced(&rig);
    assert_eq!(ids.len(), 3);
    assert_eq!(progresses(&rig.asked()), 1, "one 180 for all of them");
    rig.page.clear();
    (rig, invite, ids)
}

fn finished(rig: &Rig) -> Vec<(String, Value)> {
    let finish = rig.page.iter().filter(|m| m["message"] == "finish");
    finish
        .map(|m| {
            let call = &m["data"][0];
            (
                call["callId"].as_str().unwrap().to_owned(),
                call["status"].clone(),
            )
        })
        .collect()
}

#[test]
fn of_several_sessions_the_first_that_answers_has_the_call_and_the_others_finish() {
    let (mut rig, invite, ids) = three();
    rig.frame_from(2, browser_answer(&ids[1]));
    let asked = rig.asked();
    let accepts = asked.iter().filter(|c| matches!(c, Command::Accept { .. }));
    assert_eq!(accepts.count(), 1);
    let hangups = asked.iter().any(|c| matches!(c, Command::Hangup { .. }));
    assert!(!hangups, "{asked:?}");
    let over = finished(&rig);
    assert_eq!(
        over,
        [
            (ids[0].clone(), "FINISH".into()),
            (ids[2].clone(), "FINISH".into())
        ]
    );
    assert_eq!(rig.records.len(), 2);
    // Too late.
    rig.page.clear();
    rig.frame_from(3, browser_answer(&ids[2]));
    assert!(rig.asked().is_empty() && rig.page.is_empty());
    // From here on it is a call like any other.
    rig.frame_from(
        2,
        serde_json::json!({"message": "hangup", "data": [{"callId": ids[1]}]}),
    );
    assert!(rig.hung_up(invite));
    rig.over(invite, End::ByUs { raw: String::new() });
    assert_eq!(rig.records.len(), 3);
    assert!(!rig.board.is_idle());
    assert_eq!(rig.board.counts().calls, 0);
}

#[test]
fn of_several_sessions_one_that_declines_leaves_the_others_ringing_and_the_last_one_says_no() {
    let (mut rig, invite, ids) = three();
    for (session, id) in [(1, &ids[0]), (3, &ids[2])] {
        rig.frame_from(
            session,
            serde_json::json!({"message": "hangup", "data": [{"callId": id}]}),
        );
        assert!(rig.asked().is_empty());
    }
    rig.give(Input::RefuseCall {
        session: SessionId(2),
        call_id: ids[1].clone(),
        status: 486,
        info: "no".into(),
    });
    assert_eq!(rig.refusal_of(invite).0, 486);
    rig.over(invite, End::ByUs { raw: String::new() });
    assert_eq!(rig.records.len(), 3);
    assert_eq!(rig.board.counts().calls, 0);
}

#[test]
fn a_caller_that_gives_up_ends_all_that_ring() {
    let (mut rig, invite, _) = three();
    rig.over(invite, cancelled());
    assert_eq!(finished(&rig).len(), 3);
    assert_eq!(rig.records.len(), 3);
    assert!(rig.asked().is_empty());
}

#[test]
fn nobody_of_several_answers_within_the_rules_time_and_the_caller_gets_480() {
    let (mut rig, invite, _) = three();
    rig.wait(Duration::from_secs(24));
    assert!(finished(&rig).is_empty());
    rig.wait(Duration::from_secs(2));
    assert_eq!(finished(&rig).len(), 3);
    assert_eq!(rig.refusal_of(invite).0, 480);
}

#[test]
fn a_page_that_leaves_while_several_ring_takes_only_its_own_call_along() {
    let (mut rig, _, ids) = three();
    rig.give(Input::SessionClosed {
        session: SessionId(3),
    });
    assert!(rig.asked().is_empty());
    rig.frame_from(1, browser_answer(&ids[0]));
    let asked = rig.asked();
    assert!(asked.iter().any(|c| matches!(c, Command::Accept { .. })));
}

#[test]
fn several_that_ring_are_restored_from_a_snapshot_and_one_answers() {
    let mut rig = ringing("app:defaultApp");
    rig.join_as(2, Some(identity()));
    rig.reincarnates = true;
    rig.comes_in(7, carrier(), NUMBER);
    let ids = announced(&rig);
    rig.frame_from(2, browser_answer(&ids[1]));
    assert_eq!(
        rig.told().last().map(String::as_str),
        Some("talk ESTABLISHED")
    );
    assert_eq!(rig.board.counts().calls, 1);
}

#[test]
fn after_the_link_came_back_an_invite_that_rings_several_is_kept() {
    let (mut rig, invite, _) = three();
    rig.give(Input::TrunkLink(signaling_calls::Link::Down));
    rig.give(Input::TrunkLink(signaling_calls::Link::Up { fresh: false }));
    let kept = rig.asked().into_iter().find_map(|c| match c {
        Command::Retain { invites, .. } => Some(invites),
        _ => None,
    });
    assert!(kept.unwrap().contains(&invite));
}

#[test]
fn an_offer_while_several_ring_is_put_off() {
    let (mut rig, invite, _) = three();
    rig.give(Input::Trunk(Event::Offered {
        invite,
        offer: OfferId(1),
        sdp: None,
        source: crate::rig::SOURCE.parse().unwrap(),
        raw: String::new(),
        fork: None,
    }));
    let refused = rig.asked();
    assert!(
        matches!(refused[..], [Command::RefuseOffer { status: 491, .. }]),
        "{refused:?}"
    );
}

#[test]
fn a_busy_session_is_passed_over_and_if_all_are_busy_the_caller_hears_that() {
    let mut rig = ringing("number");
    for at in 0..16 {
        rig.comes_in(7 + 2 * at, carrier(), NUMBER);
    }
    rig.trunk.clear();
    let invite = rig.comes_in(99, carrier(), NUMBER);
    assert_eq!(rig.refusal_of(invite).0, 486);
}

#[test]
fn a_registered_phone_calls_a_page_by_its_number() {
    let mut rig = ringing("number");
    rig.comes_in(7, Line::Phone("201".into()), NUMBER);
    assert_eq!(announced(&rig).len(), 1);
}

#[test]
fn a_line_whose_way_is_a_trunk_or_a_phone_is_bridged() {
    let mut rig = ringing("phone:201");
    rig.comes_in(7, carrier(), NUMBER);
    let legs = rig.media_asked();
    let made = legs.iter().filter(|c| matches!(c, Media::CreateLeg { .. }));
    assert_eq!(made.count(), 2);
    assert_eq!(rig.by_line().1, "phone:201");
}
