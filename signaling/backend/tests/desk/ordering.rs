//! What waits for a slow backend, and what does not.

use crate::rig::{Rig, account, app, config, ok, refused};
use serde_json::json;
use signaling_protocol::HookMethod;
use signaling_trunk::api::Command;
use std::time::Duration;

const SLOW: Duration = Duration::from_secs(15);

#[test]
fn a_slow_hook_of_one_session_delays_no_other() {
    let mut rig = Rig::new(vec![app("slow"), app("quick")]);
    for (session, key) in [(1, "slow"), (2, "slow"), (3, "quick")] {
        rig.open(session);
        rig.frame(session, account(key));
        rig.settle();
        rig.registered_now(session);
    }
    rig.settle();
    rig.forget();
    rig.script.insert(HookMethod::Call, (SLOW, ok("")));
    rig.dial(1, "a", "1002");
    rig.script.clear();
    rig.dial(2, "b", "1002");
    rig.dial(3, "c", "1002");
    rig.settle();
    let invites = |rig: &Rig| {
        let of = |c: &Command| match c {
            Command::Invite { account, .. } => Some(account.0),
            _ => None,
        };
        rig.trunk.iter().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(invites(&rig), [2, 3]);
    rig.wait(SLOW);
    assert_eq!(invites(&rig), [2, 3, 1]);
}

#[test]
fn frames_of_a_session_are_done_in_order_whatever_their_hooks_take() {
    let mut rig = Rig::talking(app("defaultApp"));
    rig.script.insert(HookMethod::SendDtmf, (SLOW, ok("")));
    for digit in ["1", "2", "3"] {
        rig.say(1, "sendDtmf", json!({"callId": "c1", "dtmf": digit}));
    }
    rig.say(1, "sendData", json!({"operationId": "o1"}));
    assert_eq!(rig.hooks(), ["sendDtmf"]);
    rig.wait(SLOW);
    assert_eq!(rig.hooks(), ["sendDtmf", "sendDtmf"]);
    rig.wait(SLOW * 2);
    let digits: Vec<String> = rig.media.iter().map(|c| format!("{c:?}")).collect();
    assert_eq!(digits.len(), 3);
    for (n, digit) in ["\"1\"", "\"2\"", "\"3\""].iter().enumerate() {
        assert!(digits[n].contains(digit), "{digits:?}");
    }
    assert_eq!(rig.told(1), ["DataStatusEvent FAILED"]);
}

#[test]
fn a_call_that_is_hung_up_while_its_hook_waits_is_never_placed() {
    for answer in [ok(""), refused(403, "Forbidden", "")] {
        let mut mine = app("defaultApp");
        mine.rest_client_config = config(json!({"call": {"restOnError": "FAIL"}}));
        let mut rig = Rig::registered(mine);
        rig.script.insert(HookMethod::Call, (SLOW, answer));
        rig.dial(1, "c1", "1002");
        assert_eq!(rig.told(1), ["notifyTryingResponse TRYING"]);
        rig.say(1, "sendData", json!({"operationId": "o1"}));
        rig.say(1, "hangup", json!({"callId": "c1"}));
        assert_eq!(
            rig.told(1),
            ["notifyTryingResponse TRYING", "finish FINISH"]
        );
        assert_eq!(rig.last("finish")["info"], "Normal call clearing");
        assert_eq!(
            rig.hooks(),
            [
                "call PENDING",
                "hangup TRYING",
                "CallStatusEvent FINISH",
                "sendData"
            ]
        );
        // The same id may be dialled again at once.
        rig.script.clear();
        rig.wait(SLOW);
        rig.dial(1, "c1", "1003");
        rig.settle();
        let placed: Vec<String> = rig.trunk.iter().map(|c| format!("{c:?}")).collect();
        assert_eq!(placed.len(), 1, "{placed:?}");
        assert!(placed[0].contains("1003"), "{placed:?}");
    }
}

#[test]
fn a_call_behind_another_frames_hook_is_tried_at_once_and_can_be_hung_up() {
    let mut rig = Rig::talking(app("defaultApp"));
    rig.script.insert(HookMethod::SendDtmf, (SLOW, ok("")));
    rig.say(1, "sendDtmf", json!({"callId": "c1", "dtmf": "1"}));
    rig.dial(1, "c2", "1003");
    rig.dial(1, "c3", "1004");
    assert_eq!(rig.told(1), ["notifyTryingResponse TRYING"; 2]);
    rig.say(1, "hangup", json!({"callId": "c2"}));
    assert_eq!(rig.told(1)[2..], ["finish FINISH".to_owned()]);
    rig.wait(SLOW);
    let invites = rig
        .trunk
        .iter()
        .filter(|c| matches!(c, Command::Invite { .. }));
    assert_eq!(invites.count(), 1);
    assert!(rig.invited().unwrap().1.contains("1004"));
    assert_eq!(rig.told(1).len(), 3);
}

#[test]
fn a_page_that_leaves_while_its_call_waits_never_places_it() {
    let mut rig = Rig::registered(app("defaultApp"));
    rig.script.insert(HookMethod::Call, (SLOW, ok("")));
    rig.dial(1, "c1", "1002");
    rig.close(1);
    rig.wait(SLOW);
    assert!(rig.trunk.is_empty(), "{:?}", rig.trunk);
    assert_eq!(rig.hooks(), ["call PENDING", "CallStatusEvent FINISH"]);
}

#[test]
fn messages_that_wait_for_their_event_keep_their_order_and_pings_do_not_wait() {
    let mut mine = app("defaultApp");
    mine.rest_client_config = config(json!({"CallStatusEvent": {"restOnError": "FAIL"}}));
    let mut rig = Rig::registered(mine);
    rig.dial(1, "c1", "1002");
    rig.settle();
    let invite = rig.invite();
    rig.forget();
    rig.silent = true;
    rig.progress(invite, 180, None);
    rig.answer(invite);
    rig.say(1, "sendData", json!({"operationId": "o1"}));
    rig.reply(HookMethod::SendData, ok(""));
    rig.wait(Duration::from_secs(6));
    assert!(rig.page.iter().any(|told| told.frame["message"] == "ping"));
    assert_eq!(rig.told(1), Vec::<String>::new());
    assert_eq!(
        rig.hooks(),
        [
            "CallStatusEvent RING",
            "CallStatusEvent ESTABLISHED",
            "sendData",
            "DataStatusEvent FAILED"
        ]
    );
    // The second answer first.
    rig.reply(HookMethod::CallStatusEvent, refused(403, "Forbidden", ""));
    assert_eq!(rig.told(1), Vec::<String>::new());
    let ring = rig.posted[0].request.id;
    rig.answer_request(ring, refused(500, "Server Error", ""));
    assert_eq!(
        rig.told(1),
        [
            "ring RING",
            "fail FAILED",
            "setRemoteSDP",
            "talk ESTABLISHED",
            "fail FAILED",
            "DataStatusEvent FAILED"
        ]
    );
    let infos: Vec<_> = rig
        .page
        .iter()
        .filter(|told| told.frame["message"] == "fail")
        .map(|told| told.frame["data"][0]["info"].clone())
        .collect();
    assert_eq!(infos, ["Server Error", "Forbidden"]);
}

#[test]
fn a_socket_is_closed_after_what_was_said_before() {
    let mut mine = app("defaultApp");
    mine.rest_client_config = config(json!({"ConnectionStatusEvent": {"restOnError": "FAIL"}}));
    let mut rig = Rig::new(vec![mine]);
    rig.script.insert(
        HookMethod::Connect,
        (Duration::ZERO, refused(403, "Forbidden", "")),
    );
    rig.script
        .insert(HookMethod::ConnectionStatusEvent, (SLOW, ok("")));
    rig.open(1);
    rig.frame(1, account("defaultApp"));
    rig.settle();
    assert_eq!((rig.told(1).len(), rig.closed.len()), (0, 0));
    rig.wait(SLOW);
    assert_eq!(rig.told(1), ["fail FAILED"]);
    assert_eq!(rig.closed, [1]);
}

#[test]
fn more_than_a_page_can_wait_for_goes_without_its_backend() {
    let mut mine = app("defaultApp");
    mine.rest_client_config = config(json!({"DataStatusEvent": {"restOnError": "FAIL"}}));
    mine.methods.remove(&HookMethod::SendData);
    mine.methods.remove(&HookMethod::OnDataEvent);
    let mut rig = Rig::registered(mine);
    rig.silent = true;
    let mut said = 0;
    for n in 0..300 {
        // Slowly enough for the gateway's own limit.
        rig.wait(Duration::from_millis(25));
        rig.say(1, "sendData", json!({"operationId": n.to_string()}));
        said += 1;
    }
    let ids: Vec<String> = rig
        .page
        .iter()
        .filter(|told| told.frame["message"] == "DataStatusEvent")
        .map(|told| {
            told.frame["data"][0]["operationId"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert!(ids.len() > 256 && ids.len() <= said, "{}", ids.len());
    let wanted: Vec<String> = (0..ids.len()).map(|n| n.to_string()).collect();
    assert_eq!(ids, wanted);
}

#[test]
fn events_that_nothing_waits_for_are_bounded() {
    let mut rig = Rig::registered(app("defaultApp"));
    rig.silent = true;
    for n in 0..300 {
        rig.wait(Duration::from_millis(70));
        // Each ends in an error, which is an event.
        rig.say(
            1,
            "availableStream",
            json!({"mediaSessionId": n.to_string(), "name": "x"}),
        );
        rig.say(1, "pushLogs", json!({}));
        rig.reply(HookMethod::PushLogs, ok(""));
        rig.say(
            1,
            "sendStreamEvent",
            json!({"mediaSessionId": "m", "type": "data"}),
        );
        rig.reply(HookMethod::SendStreamEvent, ok(""));
    }
    let errors = rig
        .hooks()
        .iter()
        .filter(|hook| *hook == "ErrorEvent")
        .count();
    assert_eq!(errors, 128);
    assert_eq!(rig.desk.requests_waiting(), 128);
}

#[test]
fn a_page_that_floods_gets_no_call_and_no_session_past_its_backend() {
    let mut rig = Rig::registered(app("defaultApp"));
    let flood = |rig: &mut Rig, session| {
        for _ in 0..300 {
            rig.frame(session, json!({"message": "ping", "data": [null]}));
        }
    };
    let asked = |rig: &Rig, what: &str| {
        let first = |h: &&String| h.split(" ").next() == Some(what);
        rig.hooks().iter().filter(first).count()
    };
    flood(&mut rig, 1);
    rig.dial(1, "c1", "1002");
    rig.settle();
    assert!(rig.invited().is_none(), "its frame was dropped");
    assert_eq!(rig.told(1).last().unwrap(), "finish FINISH");
    rig.wait(Duration::from_secs(10));
    rig.dial(1, "c1", "premium");
    rig.settle();
    assert_eq!(asked(&rig, "call"), 2);

    rig.open(2);
    flood(&mut rig, 2);
    rig.frame(2, account("defaultApp"));
    rig.settle();
    assert_eq!(rig.closed, [2], "neither taken nor refused");
}

#[test]
fn a_hangup_of_a_call_that_stands_waits_for_no_hook_of_other_frames() {
    let mut rig = Rig::talking(app("defaultApp"));
    rig.script.insert(HookMethod::SendDtmf, (SLOW, ok("")));
    for digit in ["1", "2", "3"] {
        rig.say(1, "sendDtmf", json!({"callId": "c1", "dtmf": digit}));
    }
    rig.say(1, "hangup", json!({"callId": "c1"}));
    assert_eq!(rig.told(1), ["finish FINISH"]);
}
