//! Each method and event of sessions and calls with its body, field by field.

use crate::rig::{
    BROWSER_OFFER, PHONE, Rig, SOURCE, app, browser_answer, by_peer, config, ok, refused,
};
use serde_json::{Value, json};
use signaling_backend::{RawSip, Settings};
use signaling_protocol::HookMethod;
use signaling_trunk::api::{AccountId, Cause, Command, End, Event, Failure};
use std::time::Duration;

/// The context, with these fields beside it.
fn with_context(fields: Value) -> Value {
    let mut body = json!({"nodeId": "node@192.0.2.1", "appKey": "defaultApp",
        "sessionId": "/203.0.113.9:51512/198.51.100.2:8443-u1"});
    let all = body.as_object_mut().unwrap();
    all.extend(fields.as_object().unwrap().clone());
    body
}

/// Call `c1` as page 1 dialled it, with these fields beside or instead.
fn c1(fields: Value) -> Value {
    let mut body = with_context(
        json!({"callId": "c1", "incoming": false, "caller": "1001", "callee": "1002",
        "visibleName": "Al", "hasAudio": true, "hasVideo": false, "mediaProvider": "WebRTC", "isMsrp": false,
        "holdForTransfer": false, "custom": {"c": 1}}),
    );
    let all = body.as_object_mut().unwrap();
    all.extend(fields.as_object().unwrap().clone());
    body
}

fn failure(status: u16, reason: &str) -> Failure {
    Failure {
        status,
        reason: reason.into(),
        raw: format!("SIP/2.0 {status} {reason}\r\n"),
        cause: Cause::Response,
        ..Failure::default()
    }
}

#[test]
fn connect_has_all_that_the_page_sent_and_its_context() {
    let mut rig = Rig::new(vec![app("defaultApp")]);
    rig.open_from(1, Some("https://page.example"), "203.0.113.9:51512");
    let mut frame = crate::rig::account("defaultApp");
    frame["data"][0]["sipVisibleName"] = "Alice".into();
    rig.frame(1, frame);
    assert_eq!(
        rig.body("connect"),
        with_context(
            json!({"origin": "https://page.example", "useWsTunnel": false, "useWsTunnelPacketization2": false,
            "useBase64BinaryEncoding": false, "mediaProviders": ["WebRTC"], "keepAlive": true, "clientVersion": "2.0",
            "sipLogin": "1001", "sipAuthenticationName": "auth1001", "sipPassword": "secret", "sipDomain": "pbx.test",
            "sipOutboundProxy": "proxy.test", "sipPort": 5060, "sipRegisterRequired": true, "sipVisibleName": "Alice",
            "custom": {"a": 1}})
        )
    );
    let text = &rig.posted[0].request.body;
    assert!(
        text.starts_with(r#"{"nodeId":"node@192.0.2.1","appKey":"defaultApp","sessionId":"/203"#),
        "{text}"
    );
}

#[test]
fn a_session_is_told_established_registered_and_disconnected_with_its_account() {
    let mut rig = Rig::new(vec![app("defaultApp")]);
    rig.register(1);
    let session = json!({"sipRegisterRequired": true, "sipLogin": "1001", "sipDomain": "pbx.test",
        "sipOutboundProxy": "proxy.test", "sipPort": 5060, "mediaProviders": ["WebRTC"], "custom": {"a": 1}});
    let mut established = with_context(session.clone());
    established["status"] = "ESTABLISHED".into();
    established["authToken"] = "token-1".into();
    assert_eq!(rig.body("ConnectionStatusEvent"), established);
    assert_eq!(
        rig.body("RegistrationStatusEvent"),
        with_context(
            json!({"status": "REGISTERED", "sipMessageRaw": "SIP/2.0 200 OK\r\nVia: x\r\n", "sipLogin": "1001",
            "sipDomain": "pbx.test", "sipOutboundProxy": "proxy.test", "sipPort": 5060, "custom": {"a": 1}})
        )
    );
    rig.close(1);
    // It waits for its page to come back (keepAlive), and the backend with it.
    rig.wait(Duration::from_secs(59));
    assert_eq!(rig.hooks().len(), 3, "{:?}", rig.hooks());
    rig.wait(Duration::from_secs(2));
    let mut disconnected = with_context(session);
    disconnected["status"] = "DISCONNECTED".into();
    assert_eq!(rig.body("ConnectionStatusEvent"), disconnected);
    assert_eq!(
        rig.body("RegistrationStatusEvent"),
        with_context(
            json!({"status": "UNREGISTERED", "sipLogin": "1001", "sipDomain": "pbx.test",
            "sipOutboundProxy": "proxy.test", "sipPort": 5060, "custom": {"a": 1}})
        )
    );
    rig.wait(Duration::from_secs(100));
    assert_eq!(
        rig.hooks(),
        [
            "connect",
            "ConnectionStatusEvent ESTABLISHED",
            "RegistrationStatusEvent REGISTERED",
            "RegistrationStatusEvent UNREGISTERED",
            "ConnectionStatusEvent DISCONNECTED"
        ]
    );
    assert_eq!(rig.desk.requests_waiting(), 0);
}

#[test]
fn a_registration_that_fails_is_told_with_its_status_and_the_session_ends() {
    for (status, reason, told) in [
        (403, "Forbidden", "AUTHENTICATION_FAIL"),
        (503, "Service Unavailable", "FAILED"),
    ] {
        let mut rig = Rig::new(vec![app("defaultApp")]);
        rig.open(1);
        rig.frame(1, crate::rig::account("defaultApp"));
        rig.settle();
        rig.event(Event::RegistrationFailed {
            account: AccountId(1),
            failure: failure(status, reason),
            retry_s: None,
        });
        assert_eq!(
            rig.body("RegistrationStatusEvent"),
            with_context(
                json!({"status": told, "info": format!("SIP {status} {}", reason.to_uppercase()),
                "sipMessageRaw": format!("SIP/2.0 {status} {reason}\r\n"), "sipLogin": "1001", "sipDomain": "pbx.test",
                "sipOutboundProxy": "proxy.test", "sipPort": 5060, "custom": {"a": 1}})
            )
        );
        assert_eq!(rig.last("fail")["status"], told);
        assert_eq!(rig.closed, [1]);
        rig.close(1);
        rig.settle();
        assert_eq!(
            rig.hooks().last().unwrap(),
            "ConnectionStatusEvent DISCONNECTED"
        );
    }
}

#[test]
fn an_outgoing_call_is_told_from_call_to_finish() {
    let mut rig = Rig::registered(app("defaultApp"));
    rig.dial(1, "c1", "1002");
    assert_eq!(
        rig.body("call"),
        c1(json!({"status": "PENDING", "sdp": BROWSER_OFFER}))
    );
    rig.settle();
    let invite = rig.invite();
    rig.progress(invite, 180, None);
    assert_eq!(
        rig.body("CallStatusEvent"),
        c1(
            json!({"status": "RING", "sipStatus": 180, "sipMessageRaw": "SIP/2.0 180 x\r\nVia: x\r\n"})
        )
    );
    rig.progress(invite, 180, None);
    rig.progress(invite, 183, Some(PHONE));
    assert_eq!(
        rig.body("CallStatusEvent"),
        c1(
            json!({"status": "SESSION_PROGRESS", "sipStatus": 183, "sipMessageRaw": "SIP/2.0 183 x\r\nVia: x\r\n"})
        )
    );
    rig.answer(invite);
    assert_eq!(
        rig.body("CallStatusEvent"),
        c1(
            json!({"status": "ESTABLISHED", "sipStatus": 200, "sipMessageRaw": "SIP/2.0 200 OK\r\nVia: x\r\n"})
        )
    );
    rig.settle();
    rig.say(1, "hangup", json!({"callId": "c1"}));
    rig.settle();
    assert_eq!(rig.body("hangup"), c1(json!({"status": "ESTABLISHED"})));
    assert_eq!(
        rig.body("CallStatusEvent"),
        c1(json!({"status": "FINISH", "sipStatus": 200, "info": "Normal call clearing"}))
    );
    assert_eq!(
        rig.hooks(),
        [
            "call PENDING",
            "CallStatusEvent TRYING",
            "CallStatusEvent RING",
            "CallStatusEvent SESSION_PROGRESS",
            "CallStatusEvent ESTABLISHED",
            "hangup ESTABLISHED",
            "CallStatusEvent FINISH"
        ]
    );
    assert_eq!(
        rig.told(1),
        [
            "notifyTryingResponse TRYING",
            "ring RING",
            "ring RING",
            "setRemoteSDP",
            "sessionProgress SESSION_PROGRESS",
            "ring SESSION_PROGRESS",
            "talk ESTABLISHED",
            "finish FINISH"
        ]
    );
}

#[test]
fn a_call_that_fails_or_meets_a_busy_line_is_told_once() {
    for (status, reason, told, page) in [
        (486, "Busy Here", "BUSY", vec!["busy BUSY", "finish BUSY"]),
        (
            404,
            "Not Found",
            "FAILED",
            vec!["finish FAILED", "fail FAILED"],
        ),
    ] {
        let mut rig = Rig::registered(app("defaultApp"));
        rig.dial(1, "c1", "1002");
        rig.settle();
        let invite = rig.invite();
        rig.over(invite, End::Failed(failure(status, reason)));
        rig.settle();
        assert_eq!(
            rig.body("CallStatusEvent"),
            c1(
                json!({"status": told, "sipStatus": status, "info": format!("SIP {status} {}", reason.to_uppercase()),
                "sipMessageRaw": format!("SIP/2.0 {status} {reason}\r\n")})
            )
        );
        assert_eq!(
            rig.hooks(),
            [
                "call PENDING",
                "CallStatusEvent TRYING",
                &format!("CallStatusEvent {told}")
            ]
        );
        assert_eq!(rig.told(1)[1..], page);
    }
}

#[test]
fn hold_unhold_transfer_and_dtmf_are_filled_from_the_call() {
    let mut rig = Rig::talking(app("defaultApp"));
    rig.say(1, "hold", json!({"callId": "c1", "holdForTransfer": true}));
    rig.settle();
    assert_eq!(
        rig.body("hold"),
        c1(json!({"status": "ESTABLISHED", "holdForTransfer": true}))
    );
    let invite = match rig.trunk.last() {
        Some(signaling_trunk::api::Command::Offer { invite, .. }) => *invite,
        other => panic!("{other:?}"),
    };
    rig.event(Event::OfferAnswered {
        invite,
        status: 200,
        sdp: Some(PHONE.as_bytes().to_vec()),
        source: SOURCE.parse().unwrap(),
        raw: "SIP/2.0 200 OK\r\n".into(),
    });
    assert_eq!(
        rig.body("CallStatusEvent"),
        c1(
            json!({"status": "HOLD", "holdForTransfer": true, "sipStatus": 200, "sipMessageRaw": "SIP/2.0 200 OK\r\n"})
        )
    );
    rig.say(1, "unhold", json!({"callId": "c1"}));
    rig.settle();
    assert_eq!(
        rig.body("unhold"),
        c1(json!({"status": "HOLD", "holdForTransfer": true}))
    );
    rig.say(1, "transfer", json!({"callId": "c1", "target": "1003"}));
    rig.settle();
    assert_eq!(
        rig.body("transfer"),
        with_context(json!({"callId": "c1", "target": "1003", "custom": {"c": 1}}))
    );
    rig.say(1, "sendDtmf", json!({"callId": "c1", "dtmf": 5}));
    rig.settle();
    assert_eq!(
        rig.body("sendDtmf"),
        with_context(json!({"callId": "c1", "dtmf": "5", "type": "RFC2833", "custom": {"c": 1}}))
    );
}

#[test]
fn an_incoming_call_is_asked_answered_and_told_to_its_end() {
    let mut rig = Rig::registered(app("defaultApp"));
    let invite = rig.ring(1);
    rig.settle();
    let id = rig.last("notifyIncomingCall")["callId"].clone();
    let name = id.as_str().unwrap();
    let sdp = rig
        .page
        .iter()
        .find(|told| told.frame["message"] == "setRemoteSDP")
        .map(|told| told.frame["data"][1].clone())
        .unwrap();
    let call = |fields: Value| {
        let mut body = with_context(
            json!({"callId": name, "incoming": true, "caller": "1002", "callee": "1001",
            "visibleName": "Bob", "hasAudio": true, "hasVideo": false, "mediaProvider": "WebRTC", "isMsrp": false,
            "holdForTransfer": false}),
        );
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        body
    };
    assert_eq!(
        rig.body("OnCallEvent"),
        call(
            json!({"status": "PENDING", "sdp": sdp, "sipMessageRaw": "INVITE sip:x SIP/2.0\r\nVia: x\r\n"})
        )
    );
    assert_eq!(rig.body("CallStatusEvent"), call(json!({"status": "RING"})));
    let answer = browser_answer(name);
    rig.say(1, "answer", answer.clone());
    rig.settle();
    assert_eq!(
        rig.body("answer"),
        call(json!({"status": "PENDING", "hasVideo": true, "sdp": answer["sdp"]}))
    );
    assert_eq!(
        rig.body("CallStatusEvent"),
        call(json!({"status": "ESTABLISHED", "sipStatus": 200}))
    );
    rig.over(invite, by_peer());
    rig.settle();
    assert_eq!(
        rig.body("CallStatusEvent"),
        call(
            json!({"status": "FINISH", "sipStatus": 200, "info": "Normal call clearing", "sipMessageRaw": "BYE sip:x SIP/2.0\r\n"})
        )
    );
    assert_eq!(
        rig.hooks(),
        [
            "OnCallEvent PENDING",
            "CallStatusEvent RING",
            "answer PENDING",
            "CallStatusEvent ESTABLISHED",
            "CallStatusEvent FINISH"
        ]
    );
}

#[test]
fn a_transfer_is_told_step_by_step() {
    let mut rig = Rig::talking(app("defaultApp"));
    rig.say(1, "transfer", json!({"callId": "c1", "target": "1003"}));
    rig.settle();
    let Some(Command::Refer { invite, refer, .. }) = rig.trunk.last().cloned() else {
        panic!("{:?}", rig.trunk)
    };
    let raw = || "SIP/2.0 202 Accepted\r\n".to_owned();
    rig.event(Event::ReferAccepted {
        invite,
        refer,
        status: 202,
        raw: raw(),
    });
    assert_eq!(
        rig.body("TransferStatusEvent"),
        with_context(
            json!({"callId": "c1", "incoming": false, "status": "ACCEPTED", "hasVideo": false,
            "sipMessageRaw": raw(), "custom": {"c": 1}})
        )
    );
    for (status, reason, over) in [(100, "Trying", false), (503, "Service Unavailable", true)] {
        rig.event(Event::ReferNotified {
            invite,
            refer,
            status,
            reason: reason.into(),
            over,
            raw: format!("SIP/2.0 {status} {reason}\r\n"),
        });
    }
    assert_eq!(
        rig.hooks(),
        [
            "transfer",
            "TransferStatusEvent ACCEPTED",
            "TransferStatusEvent TRYING",
            "TransferStatusEvent FAILED"
        ]
    );
    assert_eq!(
        rig.told(1),
        [
            "notifyTransferEvent ACCEPTED",
            "notifyTransferEvent TRYING",
            "notifyTransferEvent FAILED",
            "fail FAILED"
        ]
    );
}

#[test]
fn a_digit_of_the_far_side_is_told_where_the_application_wants_it() {
    for wanted in [true, false] {
        let mut mine = app("defaultApp");
        if !wanted {
            mine.methods.remove(&HookMethod::OnDtmfEvent);
        }
        let mut rig = Rig::registered(mine);
        let invite = rig.talk(1, "c1");
        rig.forget();
        rig.event(Event::Info {
            invite,
            content_type: "application/dtmf-relay".into(),
            body: b"Signal=5\r\nDuration=160\r\n".to_vec(),
        });
        if wanted {
            assert_eq!(
                rig.body("OnDtmfEvent"),
                with_context(
                    json!({"callId": "c1", "dtmf": "5", "type": "INFO_RELAY", "custom": {"c": 1}})
                )
            );
        }
        assert_eq!(rig.posted.len(), usize::from(wanted));
        assert_eq!(rig.told(1), Vec::<String>::new());
    }
}

#[test]
fn an_error_that_belongs_to_no_event_is_an_error_event() {
    let mut rig = Rig::talking(app("defaultApp"));
    rig.dial(1, "c1", "1003");
    rig.settle();
    assert_eq!(
        rig.body("ErrorEvent"),
        with_context(json!({"info": "MediaSessionId is already in use", "custom": {"a": 1}}))
    );
    assert_eq!(rig.hooks(), ["ErrorEvent"]);
}

#[test]
fn data_goes_to_send_data_or_else_to_on_data_event() {
    for (methods, hook) in [
        (
            vec![HookMethod::SendData, HookMethod::OnDataEvent],
            "sendData",
        ),
        (vec![HookMethod::OnDataEvent], "OnDataEvent"),
    ] {
        let mut mine = app("defaultApp");
        mine.methods = methods.into_iter().collect();
        let mut rig = Rig::registered(mine);
        rig.say(
            1,
            "sendData",
            json!({"operationId": "o1", "payload": {"x": 1}}),
        );
        rig.settle();
        assert_eq!(
            rig.body(hook),
            with_context(json!({"operationId": "o1", "payload": {"x": 1}}))
        );
        assert_eq!(rig.posted.len(), 1);
    }
}

#[test]
fn calls_that_end_with_their_session_are_told_before_it_is() {
    let mut mine = app("defaultApp");
    mine.methods.remove(&HookMethod::Connect);
    let mut rig = Rig::new(vec![mine]);
    rig.open(1);
    let mut frame = crate::rig::account("defaultApp");
    frame["data"][0]["keepAlive"] = false.into();
    rig.frame(1, frame);
    rig.registered_now(1);
    rig.settle();
    rig.talk(1, "c1");
    rig.forget();
    rig.close(1);
    rig.settle();
    assert_eq!(
        rig.hooks(),
        [
            "CallStatusEvent FINISH",
            "RegistrationStatusEvent UNREGISTERED",
            "ConnectionStatusEvent DISCONNECTED"
        ]
    );
    assert_eq!(
        rig.body("CallStatusEvent"),
        c1(json!({"status": "FINISH", "sipStatus": 200, "info": "Session closed"}))
    );
}

#[test]
fn hooks_that_an_application_did_not_turn_on_are_not_called() {
    let mut mine = app("defaultApp");
    mine.methods.clear();
    let mut other = app("other");
    other.url.clear();
    for (mine, key) in [(mine, "defaultApp"), (other, "other")] {
        let mut rig = Rig::new(vec![mine]);
        rig.open(1);
        rig.frame(1, crate::rig::account(key));
        rig.registered_now(1);
        rig.talk(1, "c1");
        rig.ring(1);
        rig.close(1);
        rig.wait(Duration::from_secs(50));
        assert_eq!(rig.hooks(), Vec::<String>::new());
        assert_eq!(
            rig.told(1),
            [
                "getUserData ESTABLISHED",
                "getVersion",
                "registered REGISTERED",
                "notifyTryingResponse TRYING",
                "setRemoteSDP",
                "talk ESTABLISHED",
                "setRemoteSDP",
                "notifyIncomingCall PENDING",
                "ring RING"
            ]
        );
    }
}

#[test]
fn excluded_fields_go_neither_to_the_page_nor_to_the_backend_but_for_what_a_page_cannot_do_without()
{
    let mut mine = app("defaultApp");
    mine.rest_client_config = config(json!({
        "call": {"restExclude": "sdp, custom"},
        "CallStatusEvent": {"clientExclude": "sipMessageRaw, callId, status, custom", "restExclude": "sipMessageRaw"},
        "OnCallEvent": {"clientExclude": "sipMessageRaw", "restExclude": "sdp"},
        "ConnectionStatusEvent": {"clientExclude": "custom"},
        "connect": {"restExclude": "sipPassword"}
    }));
    let mut rig = Rig::new(vec![mine]);
    rig.register(1);
    assert!(rig.body("connect")["sipPassword"].is_null());
    assert!(!rig.posted[0].request.with_password);
    assert!(rig.last("getUserData")["custom"].is_null());
    assert_eq!(rig.last("getUserData")["sipLogin"], "1001");
    rig.talk(1, "c1");
    let call = rig.body("call");
    assert_eq!(
        (&call["sdp"], &call["custom"]),
        (&Value::Null, &Value::Null)
    );
    assert!(rig.body("CallStatusEvent")["sipMessageRaw"].is_null());
    assert_eq!(rig.body("CallStatusEvent")["custom"], json!({"c": 1}));
    let talk = rig.last("talk");
    assert_eq!(
        (&talk["callId"], &talk["status"]),
        (&json!("c1"), &json!("ESTABLISHED"))
    );
    assert_eq!(
        (&talk["sipMessageRaw"], &talk["custom"]),
        (&Value::Null, &Value::Null)
    );
    rig.ring(1);
    rig.settle();
    assert!(rig.last("notifyIncomingCall")["sipMessageRaw"].is_null());
    assert!(rig.body("OnCallEvent")["sdp"].is_null());
    assert!(rig.body("OnCallEvent")["sipMessageRaw"].is_string());
}

#[test]
fn raw_sip_is_told_as_the_gateway_or_the_application_wants() {
    let told = |gateway, mine| {
        let settings = Settings {
            node_id: "n".into(),
            sip_message_raw: gateway,
            ..Settings::default()
        };
        let mut list = app("defaultApp");
        list.sip_message_raw = mine;
        let mut rig = Rig::with(vec![list], settings);
        rig.register(1);
        rig.ring(1);
        rig.settle();
        let page = rig.last("notifyIncomingCall")["sipMessageRaw"].clone();
        assert_eq!(page, rig.body("OnCallEvent")["sipMessageRaw"]);
        assert_eq!(
            rig.last("registered")["sipMessageRaw"],
            rig.body("RegistrationStatusEvent")["sipMessageRaw"]
        );
        page
    };
    let (full, line) = (
        json!("INVITE sip:x SIP/2.0\r\nVia: x\r\n"),
        json!("INVITE sip:x SIP/2.0"),
    );
    assert_eq!(told(RawSip::Full, None), full);
    assert_eq!(told(RawSip::StatusLine, None), line);
    assert_eq!(told(RawSip::Off, None), Value::Null);
    assert_eq!(told(RawSip::Off, Some(RawSip::StatusLine)), line);
    assert_eq!(told(RawSip::StatusLine, Some(RawSip::Full)), full);
    assert_eq!(told(RawSip::Full, Some(RawSip::Off)), Value::Null);
}

#[test]
fn a_password_leaves_only_in_connect_and_is_marked_and_a_token_only_where_nobody_reads_along() {
    for (url, token_goes) in [
        ("http://127.0.0.1:8081", true),
        ("https://backend.example", true),
        ("http://backend.example", false),
    ] {
        let mut mine = app("defaultApp");
        mine.url = url.into();
        let mut rig = Rig::new(vec![mine]);
        rig.script.insert(
            HookMethod::Connect,
            (
                Duration::ZERO,
                ok(r#"{"sipPassword":"hidden","sipLogin":"1001"}"#),
            ),
        );
        rig.script.insert(
            HookMethod::Call,
            (Duration::ZERO, refused(403, "Forbidden", "")),
        );
        rig.register(1);
        rig.talk(1, "c1");
        rig.ring(1);
        rig.close(1);
        rig.wait(Duration::from_secs(3));
        // A page that comes back says its token to us, and that is nobody else's either.
        rig.open(2);
        rig.say(
            2,
            "connection",
            json!({"appKey": "defaultApp", "authToken": "token-1", "keepAlive": true}),
        );
        rig.settle();
        rig.close(2);
        rig.wait(Duration::from_secs(100));
        for (n, posted) in rig.posted.iter().enumerate() {
            let method = posted.request.method;
            let has = |what: &str| posted.request.body.contains(what);
            let first = n == 0;
            assert_eq!(has("secret"), first, "{url} {}", method.as_str());
            assert_eq!(posted.request.with_password, first);
            assert!(!has("hidden"), "{}", method.as_str());
            if has("token-1") {
                assert!(token_goes, "{url} {}", method.as_str());
                assert!(
                    matches!(
                        method,
                        HookMethod::Connect | HookMethod::ConnectionStatusEvent
                    ),
                    "{}",
                    method.as_str()
                );
            }
        }
        for told in &rig.page {
            let text = told.frame.to_string();
            assert!(
                !text.contains("secret") && !text.contains("hidden"),
                "{text}"
            );
        }
        let account = rig.trunk.iter().find_map(|command| match command {
            signaling_trunk::api::Command::OpenAccount { spec, .. } => Some(spec.password.clone()),
            _ => None,
        });
        assert_eq!(account.as_deref().unwrap_or("hidden"), "hidden");
    }
}
