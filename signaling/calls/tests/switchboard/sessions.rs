use crate::rig::{Rig, account};
use serde_json::json;
use signaling_calls::{Config, Input, SessionId};
use signaling_trunk::api::{AccountId, Cause, Command as Trunk, Event, Failure};
use std::time::Duration;

fn failed(status: u16, reason: &str) -> Failure {
    Failure {
        status,
        reason: reason.into(),
        cause: Cause::Response,
        raw: format!("SIP/2.0 {status} {reason}\r\n"),
        ..Failure::default()
    }
}

#[test]
fn a_connection_is_answered_with_user_data_that_has_the_login_and_not_the_password() {
    let mut rig = Rig::new(Config::default());
    rig.open(1);
    rig.frame(account(true));
    let data = rig.last("getUserData")[0].clone();
    assert_eq!(
        (data["sipLogin"].as_str(), data["authToken"].as_str()),
        (Some("1001"), Some("token-1"))
    );
    assert!(!data.to_string().contains("secret"));
    assert_eq!(rig.told(), ["getUserData ESTABLISHED", "getVersion"]);
    let Some(Trunk::OpenAccount { spec, .. }) = rig.trunk.pop_front() else {
        panic!("no account")
    };
    assert_eq!(
        (spec.password.as_str(), spec.port, spec.register),
        ("secret", 5060, true)
    );
    assert!(!format!("{spec:?}").contains("secret"));
}

#[test]
fn registered_is_told_once_and_only_to_a_session_that_asked() {
    let mut rig = Rig::new(Config::default());
    rig.open(1);
    rig.frame(account(true));
    rig.told();
    for _ in 0..2 {
        rig.give(Input::Trunk(Event::Registered {
            account: AccountId(1),
            expires_s: 60,
            raw: "SIP/2.0 200 OK".into(),
        }));
    }
    assert_eq!(rig.told(), ["registered REGISTERED"]);
    let mut rig = Rig::new(Config::default());
    rig.open(1);
    rig.frame(account(false));
    rig.told();
    rig.give(Input::Trunk(Event::Registered {
        account: AccountId(1),
        expires_s: 60,
        raw: String::new(),
    }));
    assert!(rig.told().is_empty());
}

#[test]
fn a_wrong_password_is_authentication_fail_and_the_socket_closes() {
    let mut rig = Rig::new(Config::default());
    rig.open(1);
    rig.frame(account(true));
    rig.told();
    rig.give(Input::Trunk(Event::RegistrationFailed {
        account: AccountId(1),
        failure: failed(403, "Forbidden"),
        retry_s: None,
    }));
    assert_eq!(rig.last("fail")[0]["info"], "SIP 403 FORBIDDEN");
    assert_eq!(rig.told(), ["fail AUTHENTICATION_FAIL"]);
    assert_eq!(rig.closed, [SessionId(1)]);
}

#[test]
fn a_registration_that_is_lost_for_a_while_is_told_once_and_again_when_it_is_back() {
    let mut rig = Rig::registered(Config::default());
    for _ in 0..3 {
        let event = Event::RegistrationFailed {
            account: AccountId(1),
            failure: failed(503, "Service Unavailable"),
            retry_s: Some(4),
        };
        rig.give(Input::Trunk(event));
    }
    assert_eq!(rig.told(), ["fail FAILED"]);
    assert!(rig.closed.is_empty());
    rig.give(Input::Trunk(Event::Registered {
        account: AccountId(1),
        expires_s: 60,
        raw: String::new(),
    }));
    assert_eq!(rig.told(), ["registered REGISTERED"]);
}

#[test]
fn strange_connections_are_refused_and_closed() {
    for (data, info) in [
        (json!({"appKey": "nobody"}), "Application not found"),
        (
            json!({"authToken": "/1.2.3.4:5/6.7.8.9:8443-00"}),
            "Session does not exist",
        ),
        (
            json!({"sipLogin": "a\r\nb", "sipDomain": "x"}),
            "sipLogin holds a control character",
        ),
        (json!({"sipLogin": "a"}), "sipDomain is missing"),
    ] {
        let mut rig = Rig::new(Config::default());
        rig.open(1);
        rig.frame(json!({"message": "connection", "data": [data]}));
        assert_eq!(rig.last("fail")[0]["info"], info);
        assert_eq!(rig.last("fail")[0]["apiMethod"], "ConnectionStatusEvent");
        assert_eq!(rig.closed, [SessionId(1)]);
        assert!(rig.trunk.is_empty());
    }
}

#[test]
fn pings_go_every_five_seconds_and_silence_closes_the_socket() {
    let mut rig = Rig::connected();
    rig.lives = false;
    rig.wait(Duration::from_secs(26));
    assert_eq!(
        rig.page
            .iter()
            .filter(|m| m["message"] == "ping" && m["data"].is_array())
            .count(),
        5
    );
    for _ in 0..30 {
        rig.frame(json!({"message": "pong", "data": [null]}));
        rig.wait(Duration::from_secs(5));
    }
    assert!(rig.closed.is_empty(), "any frame is life");
    rig.wait(Duration::from_secs(60));
    assert_eq!(rig.closed, [SessionId(1)]);
}

#[test]
fn a_socket_that_says_nothing_is_closed_after_ten_seconds() {
    let mut rig = Rig::new(Config::default());
    rig.open(1);
    rig.wait(Duration::from_secs(11));
    assert_eq!(rig.closed, [SessionId(1)]);
}

#[test]
fn a_page_that_leaves_loses_its_calls_and_its_account() {
    let mut rig = Rig::registered(Config::default());
    rig.dial("c1", "1002");
    rig.trunk.clear();
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    assert!(matches!(rig.trunk.pop_front(), Some(Trunk::Hangup { .. })));
    assert!(matches!(
        rig.trunk.pop_front(),
        Some(Trunk::CloseAccount { .. })
    ));
}

#[test]
fn two_pages_may_use_one_call_id_and_one_page_may_not_use_it_twice() {
    let mut rig = Rig::registered(Config::default());
    rig.open(2);
    rig.frame_from(2, json!({"message": "connection", "data": [{}]}));
    rig.dial("c1", "1002");
    let call = json!({"message": "call", "data": [{"callId": "c1", "callee": "echo", "sdp": crate::rig::BROWSER_OFFER}]});
    rig.told();
    rig.frame_from(2, call.clone());
    assert_eq!(rig.told().last().unwrap(), "talk ESTABLISHED");
    rig.frame(call);
    assert_eq!(rig.told(), ["fail FAILED"]);
    rig.invite();
}

#[test]
fn what_is_not_there_yet_says_so_in_the_words_of_its_event() {
    let mut rig = Rig::connected();
    for (frame, name, at, wanted) in [
        (
            json!({"message": "publishStream", "data": [{"mediaSessionId": "m", "name": "s"}]}),
            "fail",
            "apiMethod",
            "StreamStatusEvent",
        ),
        (
            json!({"message": "sendData", "data": [{"operationId": "o", "payload": {}}]}),
            "DataStatusEvent",
            "status",
            "FAILED",
        ),
        (
            json!({"message": "subscribe", "data": [{"event": "reg", "expires": 3600}]}),
            "notifySubscription",
            "status",
            "Terminated",
        ),
        (
            json!({"message": "availableStream", "data": [{"mediaSessionId": "m", "name": "s"}]}),
            "availableStream",
            "status",
            "false",
        ),
        (
            json!({"message": "sendXcapRequest", "data": [{"url": "http://x/"}]}),
            "fail",
            "apiMethod",
            "XcapStatusEvent",
        ),
    ] {
        rig.frame(frame);
        assert_eq!(rig.last(name)[0][at], wanted);
    }
    rig.told();
    rig.frame(json!({"message": "nobodyKnows", "data": []}));
    rig.frame(json!({"message": "transfer", "data": [{"callId": "c", "target": "1003"}]}));
    rig.frame(json!({"message": "pushLogs", "data": [{"logs": "x"}]}));
    assert!(rig.told().is_empty());
}

#[test]
fn a_shutdown_hangs_up_says_goodbye_and_is_idle_when_all_have_left() {
    let mut rig = Rig::registered(Config::default());
    rig.dial("c1", "1002");
    let (invite, _) = rig.invite();
    rig.told();
    rig.give(Input::Shutdown);
    assert_eq!(rig.told(), ["finish FINISH"]);
    assert_eq!(rig.closed, [SessionId(1)]);
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    rig.over(
        invite,
        signaling_trunk::api::End::ByUs { raw: String::new() },
    );
    assert!(rig.board.is_idle());
}
