//! Which pages an application takes, what it is called by its backend, and how a session moves and ends.

use crate::rig::{Rig, account, app, apps, config, ok, refused};
use serde_json::json;
use signaling_backend::Input;
use signaling_protocol::HookMethod;
use std::time::Duration;

fn refusal(rig: &Rig, session: u64) -> Option<String> {
    if rig.told(session) != ["fail FAILED"] || !rig.closed.contains(&session) {
        return None;
    }
    let fail = rig.last("fail");
    assert_eq!(fail["apiMethod"], "ConnectionStatusEvent");
    fail["info"].as_str().map(str::to_owned)
}

#[test]
fn an_app_key_nobody_set_up_is_refused_and_none_is_the_default_app() {
    let mut rig = Rig::new(vec![app("defaultApp")]);
    rig.open(1);
    rig.frame(1, account("mine"));
    assert_eq!(refusal(&rig, 1).as_deref(), Some("Application not found"));
    assert_eq!(rig.hooks(), Vec::<String>::new());
    rig.open(2);
    rig.say(2, "connection", json!({"mediaProviders": ["WebRTC"]}));
    rig.settle();
    assert_eq!(rig.told(2), ["getUserData ESTABLISHED", "getVersion"]);
    assert_eq!(rig.body("connect")["appKey"], "defaultApp");
}

#[test]
fn a_page_of_an_origin_that_is_not_listed_is_refused_before_its_backend_hears_of_it() {
    let mut mine = app("defaultApp");
    mine.origins = vec!["https://app.example".into()];
    let mut rig = Rig::new(vec![mine]);
    for (session, origin, taken) in [
        (1, Some("https://app.example"), true),
        (2, Some("https://evil.example"), false),
        (3, None, false),
    ] {
        rig.open_from(session, origin, "203.0.113.9:51512");
        rig.frame(session, account("defaultApp"));
        rig.settle();
        let wanted = (!taken).then_some("Origin not allowed");
        assert_eq!(refusal(&rig, session).as_deref(), wanted);
    }
    let of_first = |p: &crate::rig::Posted| p.body["origin"] == "https://app.example";
    assert!(rig.posted.iter().all(of_first));
}

#[test]
fn an_application_has_so_many_sessions_and_so_many_new_ones_a_second_from_one_address() {
    let mut mine = app("defaultApp");
    mine.max_sessions = 3;
    mine.connections_per_second = 2;
    let mut rig = Rig::new(vec![mine, app("other")]);
    let mut connect = |session: u64, key: &str, remote: &str| {
        rig.open_from(session, None, remote);
        rig.frame(session, account(key));
        rig.settle();
        let refused = refusal(&rig, session);
        if refused.is_some() {
            rig.close(session);
        }
        (refused, &mut rig as *mut Rig)
    };
    let many = Some("Too many connections".to_owned());
    let full = Some("The application has as many sessions as it may".to_owned());
    assert_eq!(connect(1, "defaultApp", "203.0.113.9:1").0, None);
    assert_eq!(connect(2, "defaultApp", "203.0.113.9:2").0, None);
    assert_eq!(connect(3, "defaultApp", "203.0.113.9:3").0, many);
    assert_eq!(connect(4, "defaultApp", "203.0.113.10:3").0, None);
    assert_eq!(connect(5, "defaultApp", "203.0.113.11:3").0, full);
    assert_eq!(connect(6, "other", "203.0.113.9:4").0, None);
    rig.wait(Duration::from_secs(1));
    // A page that comes back is no further session, and one that went for good makes room.
    rig.open_from(7, None, "203.0.113.9:5");
    rig.say(
        7,
        "connection",
        json!({"appKey": "defaultApp", "authToken": "token-1"}),
    );
    rig.settle();
    assert_eq!(rig.told(7)[0], "getUserData ESTABLISHED");
    rig.close(2);
    rig.wait(Duration::from_secs(70));
    rig.open_from(8, None, "203.0.113.9:6");
    rig.frame(8, account("defaultApp"));
    rig.settle();
    assert_eq!(rig.told(8)[0], "getUserData ESTABLISHED");
    let counts: Vec<_> = rig.desk.sessions_of_apps().collect();
    assert_eq!(counts, [("defaultApp", 3), ("other", 1)]);
}

#[test]
fn a_session_has_so_many_frames_a_second_and_pongs_are_none() {
    let mut mine = app("defaultApp");
    mine.messages_per_second = 5;
    mine.methods.clear();
    let mut rig = Rig::registered(mine);
    for _ in 0..20 {
        rig.frame(1, json!({"message": "pong", "data": [null]}));
        rig.say(1, "sendData", json!({"operationId": "o", "payload": 1}));
    }
    let told = rig.told(1);
    assert_eq!(
        told.iter()
            .filter(|t| **t == "DataStatusEvent FAILED")
            .count(),
        5
    );
    assert_eq!(rig.last("fail")["info"], "Too many messages");
    assert_eq!(told.len(), 6);
    rig.wait(Duration::from_secs(1));
    rig.say(1, "sendData", json!({"operationId": "o", "payload": 1}));
    assert_eq!(rig.told(1).last().unwrap(), "DataStatusEvent FAILED");
    for _ in 0..3000 {
        rig.say(1, "sendData", json!({"operationId": "o", "payload": 1}));
    }
    assert_eq!(rig.closed, [1]);
}

#[test]
fn frames_that_wait_for_connect_are_done_in_order_after_it_and_are_bounded() {
    let mut rig = Rig::new(vec![app("defaultApp")]);
    rig.silent = true;
    rig.open(1);
    rig.frame(1, account("defaultApp"));
    rig.frame(1, json!({"message": "ping", "data": [null]}));
    assert_eq!(rig.told(1), ["pong"]);
    rig.dial(1, "c1", "1002");
    rig.say(1, "sendData", json!({"operationId": "o1"}));
    assert_eq!(rig.hooks(), ["connect"]);
    rig.reply(HookMethod::Connect, ok(""));
    assert_eq!(rig.hooks()[2..], ["call PENDING"]);
    rig.reply(HookMethod::Call, ok(""));
    assert_eq!(rig.hooks().last().unwrap(), "sendData");
    assert_eq!(
        rig.told(1),
        [
            "pong",
            "getUserData ESTABLISHED",
            "getVersion",
            "notifyTryingResponse TRYING"
        ]
    );

    let mut rig = Rig::new(vec![app("defaultApp")]);
    rig.silent = true;
    rig.open(1);
    rig.frame(1, account("defaultApp"));
    for n in 0..100 {
        rig.say(1, "sendData", json!({"operationId": n.to_string()}));
    }
    assert_eq!(rig.told(1), ["fail FAILED"]);
    assert_eq!(rig.closed, [1]);
    rig.reply(HookMethod::Connect, ok(""));
    assert_eq!(rig.told(1), ["fail FAILED"]);
}

#[test]
fn a_resumed_session_is_one_session_for_its_backend() {
    let mut mine = app("defaultApp");
    mine.rest_client_config = config(json!({
        "hold": {"restOnError": "FAIL"},
        "transfer": {"restOnError": "FAIL"}
    }));
    let mut rig = Rig::registered(mine);
    rig.talk(1, "c1");
    rig.forget();
    rig.close(1);
    rig.wait(Duration::from_secs(5));
    rig.open_from(2, Some("https://page.example"), "198.51.100.77:4000");
    rig.say(
        2,
        "connection",
        json!({"appKey": "defaultApp", "authToken": "token-1", "keepAlive": true}),
    );
    rig.settle();
    assert_eq!(
        rig.told(2),
        [
            "getUserData ESTABLISHED",
            "getVersion",
            "registered REGISTERED"
        ]
    );
    assert_eq!(
        rig.hooks(),
        ["connect", "ConnectionStatusEvent ESTABLISHED"]
    );
    assert_eq!(rig.body("connect")["authToken"], "token-1");
    // What it had is its own still: the call, its policies, its name.
    rig.script.insert(
        HookMethod::Hold,
        (Duration::ZERO, refused(403, "Forbidden", "")),
    );
    rig.say(2, "hold", json!({"callId": "c1"}));
    rig.settle();
    assert_eq!(rig.told(2)[3..], ["talk ESTABLISHED", "fail FAILED"]);
    // Its page has no such call, and would throw.
    rig.script.insert(
        HookMethod::Transfer,
        (Duration::ZERO, refused(403, "Forbidden", "")),
    );
    rig.say(2, "transfer", json!({"callId": "c1", "target": "1003"}));
    rig.settle();
    assert_eq!(rig.told(2)[5..], ["fail FAILED"]);
    rig.say(2, "hangup", json!({"callId": "c1"}));
    rig.settle();
    assert_eq!(rig.told(2).last().unwrap(), "finish FINISH");
    rig.close(1);
    rig.close(2);
    rig.wait(Duration::from_secs(70));
    assert_eq!(
        rig.hooks(),
        [
            "connect",
            "ConnectionStatusEvent ESTABLISHED",
            "hold ESTABLISHED",
            "transfer",
            "TransferStatusEvent FAILED",
            "hangup ESTABLISHED",
            "CallStatusEvent FINISH",
            "RegistrationStatusEvent UNREGISTERED",
            "ConnectionStatusEvent DISCONNECTED"
        ]
    );
    for posted in &rig.posted {
        assert_eq!(
            posted.body["sessionId"],
            "/203.0.113.9:51512/198.51.100.2:8443-u1"
        );
        let own = posted.request.method == HookMethod::Connect;
        assert_eq!(posted.request.session.0, if own { 2 } else { 1 });
    }
}

#[test]
fn a_resume_that_the_backend_refuses_leaves_the_session_waiting() {
    let mut rig = Rig::registered(app("defaultApp"));
    rig.close(1);
    rig.script.insert(
        HookMethod::Connect,
        (Duration::ZERO, refused(403, "Forbidden", "")),
    );
    let token = json!({"appKey": "defaultApp", "authToken": "token-1", "keepAlive": true});
    rig.open(2);
    rig.say(2, "connection", token.clone());
    rig.settle();
    assert_eq!(refusal(&rig, 2).as_deref(), Some("Forbidden"));
    rig.close(2);
    rig.script.clear();
    rig.open(3);
    rig.say(3, "connection", token);
    rig.settle();
    assert_eq!(rig.told(3)[0], "getUserData ESTABLISHED");
    assert!(
        !rig.hooks()
            .iter()
            .any(|hook| hook.ends_with("DISCONNECTED"))
    );
}

#[test]
fn a_page_that_leaves_while_connect_waits_is_disconnected_for_its_backend() {
    let mut rig = Rig::new(vec![app("defaultApp")]);
    rig.silent = true;
    rig.open(1);
    rig.frame(1, account("defaultApp"));
    rig.close(1);
    assert_eq!(
        rig.hooks(),
        ["connect", "ConnectionStatusEvent DISCONNECTED"]
    );
    rig.reply(HookMethod::Connect, ok(""));
    assert_eq!(rig.told(1), Vec::<String>::new());
    assert!(rig.trunk.is_empty());
    assert_eq!(rig.desk.sessions_of_apps().count(), 0);
}

#[test]
fn an_answer_that_was_lost_is_an_error_after_a_minute() {
    let mut rig = Rig::new(vec![app("defaultApp")]);
    rig.silent = true;
    rig.open(1);
    rig.frame(1, account("defaultApp"));
    rig.wait(Duration::from_secs(59));
    assert_eq!(rig.told(1), Vec::<String>::new());
    rig.wait(Duration::from_secs(2));
    assert_eq!(
        refusal(&rig, 1).as_deref(),
        Some("The application's backend cannot be reached")
    );
    // Its answer, come after all, is nobody's.
    let first = rig.posted[0].request.id;
    rig.answer_request(first, ok(""));
    assert_eq!(rig.told(1), ["fail FAILED"]);
}

#[test]
fn applications_change_under_their_sessions() {
    let mut rig = Rig::registered(app("defaultApp"));
    let mut quiet = app("defaultApp");
    quiet.methods.remove(&HookMethod::SendData);
    quiet.methods.remove(&HookMethod::OnDataEvent);
    rig.give(Input::Apps(apps(vec![quiet, app("fresh")])));
    rig.say(1, "sendData", json!({"operationId": "o1"}));
    rig.settle();
    assert_eq!(rig.hooks(), ["DataStatusEvent FAILED"]);
    rig.open(2);
    rig.frame(2, account("fresh"));
    rig.settle();
    assert_eq!(rig.told(2)[0], "getUserData ESTABLISHED");
    rig.forget();
    // Of an application that is gone, sessions go on and so do their hooks: what a backend refuses stays refused.
    rig.give(Input::Apps(apps(Vec::new())));
    rig.talk(1, "c1");
    assert!(
        rig.hooks()
            .contains(&"CallStatusEvent ESTABLISHED".to_owned()),
        "{:?}",
        rig.hooks()
    );
    assert_eq!(rig.told(1).last().unwrap(), "talk ESTABLISHED");
    rig.open(3);
    rig.frame(3, account("defaultApp"));
    assert_eq!(refusal(&rig, 3).as_deref(), Some("Application not found"));
}

#[test]
fn a_shutdown_waits_for_no_backend() {
    let mut mine = app("defaultApp");
    mine.rest_client_config = config(json!({
        "CallStatusEvent": {"restOnError": "FAIL"},
        "ConnectionStatusEvent": {"restPolicy": "OVERWRITE"}
    }));
    let mut rig = Rig::registered(mine);
    rig.talk(1, "c1");
    rig.forget();
    rig.silent = true;
    rig.ring(1);
    rig.give(Input::Calls(signaling_calls::Input::Shutdown));
    assert_eq!(
        rig.told(1),
        [
            "setRemoteSDP",
            "notifyIncomingCall PENDING",
            "ring RING",
            "finish FINISH",
            "finish FINISH"
        ]
    );
    assert_eq!(rig.closed, [1]);
}
