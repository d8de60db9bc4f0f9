//! What else a page may say in `call` and `connection`, and what the backend hears of sessions.

use crate::rig::{BROWSER_OFFER, PHONE, Rig, account};
use serde_json::{Value, json};
use signaling_calls::{Config, Input, SessionId};
use signaling_trunk::api::{
    AccountId, Cause, Command as Trunk, Event, Failure, Header, InviteOptions, Target,
};
use std::time::Duration;

fn invite(config: Config, more: Value) -> (Rig, Trunk) {
    let mut rig = Rig::registered(config);
    let mut call = json!({"callId": "c1", "callee": "1002", "sdp": BROWSER_OFFER});
    for (field, value) in more.as_object().unwrap() {
        call[field] = value.clone();
    }
    rig.frame(json!({"message": "call", "data": [call]}));
    let at = rig.asked().pop();
    let invite = at.unwrap_or_else(|| panic!("no INVITE: {:?}", rig.page));
    (rig, invite)
}

#[test]
fn callees_may_be_numbers_users_and_uris_and_carry_parameters() {
    let parameters = json!({"param1": "value1", "flag": ""});
    let params = vec![
        ("flag".to_owned(), None),
        ("param1".to_owned(), Some("value1".to_owned())),
    ];
    for (callee, user, uri) in [
        ("1002", Some("1002"), None),
        ("+1 (555) 123-4567", Some("+15551234567"), None),
        ("alice", Some("alice"), None),
        ("sip:bob@pbx.test:5070", None, Some("sip:bob@pbx.test:5070")),
        ("bob@pbx.test", None, Some("sip:bob@pbx.test")),
        ("tel:+15551234567", None, Some("tel:+15551234567")),
        (
            "tel:7042;phone-context=example.com",
            None,
            Some("tel:7042;phone-context=example.com"),
        ),
    ] {
        let (rig, asked) = invite(
            Config::default(),
            json!({"callee": callee, "inviteParameters": parameters}),
        );
        let Trunk::Invite {
            target, options, ..
        } = asked
        else {
            panic!("{asked:?}")
        };
        let wanted = match (user, uri) {
            (Some(user), _) => Target::User {
                user: user.into(),
                params: params.clone(),
            },
            (None, uri) => Target::Uri {
                uri: uri.unwrap().into(),
                params: params.clone(),
            },
        };
        assert_eq!(target, wanted);
        assert_eq!(*options, InviteOptions::default());
        assert_eq!(rig.last("notifyTryingResponse")[0]["callee"], callee);
    }
}

#[test]
fn visible_name_and_custom_and_lines_for_the_far_sides_offer_go_where_they_belong() {
    let (mut rig, asked) = invite(
        Config::default(),
        json!({"visibleName": "Ann Other", "custom": {"order": 7}, "sipSDP": ["b=AS:256", "a=tool:x"]}),
    );
    let Trunk::Invite {
        invite,
        from_display,
        sdp,
        ..
    } = asked
    else {
        panic!("{asked:?}")
    };
    assert_eq!(from_display, "Ann Other");
    let sdp = String::from_utf8(sdp).unwrap();
    let session_level = sdp.split("m=audio").next().unwrap();
    assert!(session_level.contains("b=AS:256\r\n") && session_level.contains("a=tool:x\r\n"));
    rig.answer(invite, PHONE);
    for message in ["notifyTryingResponse", "talk"] {
        let call = rig.last(message)[0].clone();
        assert_eq!(call["custom"], json!({"order": 7}));
        assert_eq!(call["visibleName"], "Ann Other");
        assert_eq!(call["mediaProvider"], "WebRTC");
    }
    // Without a name of its own the account's counts.
    let (_, asked) = self::invite(Config::default(), json!({}));
    assert!(matches!(asked, Trunk::Invite { from_display, .. } if from_display == "1001"));
}

#[test]
fn stripped_codecs_are_not_offered_back_and_the_callee_hears_none_of_them_first() {
    // stripCodecs works in the page: its offer simply has fewer.
    let offer = BROWSER_OFFER
        .replace("111 9 0 8 110 126", "8 126")
        .replace("a=rtpmap:111 opus/48000/2\r\n", "")
        .replace("a=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\n", "")
        .replace("a=rtpmap:110 telephone-event/48000\r\n", "");
    let (mut rig, asked) = invite(Config::default(), json!({"sdp": offer}));
    let Trunk::Invite { invite, sdp, .. } = asked else {
        panic!("{asked:?}")
    };
    assert!(String::from_utf8(sdp).unwrap().contains("RTP/AVP 8 "));
    rig.answer(invite, PHONE);
    let answer = rig.last("setRemoteSDP")[1].as_str().unwrap().to_owned();
    assert!(answer.contains("SAVPF 8 126\r\n"), "{answer}");
}

#[test]
fn header_lines_of_a_page_are_those_with_x_and_those_that_the_operator_lists() {
    let listed = || Config {
        page_headers: vec!["Alert-Info".into(), "User-to-User".into()],
        ..Config::default()
    };
    let header = |name: &str, value: &str| Header {
        name: name.into(),
        value: value.into(),
    };
    let (_, asked) = invite(
        listed(),
        json!({"sipHeaders": ["X-Tag: 7", "alert-info: <http://x/ring.wav>", "x-more:"]}),
    );
    let Trunk::Invite { headers, .. } = asked else {
        panic!("{asked:?}")
    };
    assert_eq!(
        headers,
        [
            header("X-Tag", "7"),
            header("alert-info", "<http://x/ring.wav>"),
            header("x-more", "")
        ]
    );
    for (config, line) in [
        (Config::default(), "Alert-Info: <http://x/>"),
        (listed(), "P-Asserted-Identity: <sip:boss@pbx>"),
        (listed(), "Alert-Info"),
        (listed(), "Alert-Info: a\r\nVia: b"),
        (listed(), "Alert-Info : a\nb"),
        (listed(), ": x"),
    ] {
        let mut rig = Rig::registered(config);
        rig.frame(json!({"message": "call", "data": [
            {"callId": "c1", "callee": "1002", "sdp": BROWSER_OFFER, "sipHeaders": [line]}]}));
        assert!(rig.asked().is_empty(), "{line}");
        let info = rig.last("finish")[0]["info"].as_str().unwrap().to_owned();
        assert!(info.starts_with("sipHeaders"), "{info}");
    }
}

#[test]
fn contact_parameters_of_a_connection_go_into_the_accounts_contact() {
    let mut rig = Rig::new(Config::default());
    rig.open(1);
    let mut connection = account(true);
    connection["data"][0]["sipContactParams"] = json!(";app-id=7;flag; pn-tok = abc ");
    rig.frame(connection);
    let Some(Trunk::OpenAccount { spec, .. }) = rig.asked().pop() else {
        panic!("no account")
    };
    assert_eq!(
        spec.contact_params,
        [
            ("app-id".to_owned(), Some("7".to_owned())),
            ("flag".to_owned(), None),
            ("pn-tok".to_owned(), Some("abc".to_owned()))
        ]
    );
}

fn registration_failed(rig: &mut Rig, status: u16, retry_s: Option<u32>) {
    rig.give(Input::Trunk(Event::RegistrationFailed {
        account: AccountId(1),
        failure: Failure {
            status,
            reason: "No".into(),
            cause: Cause::Response,
            raw: format!("SIP/2.0 {status} No\r\n"),
            ..Failure::default()
        },
        retry_s,
    }));
}

#[test]
fn a_socket_may_be_kept_open_when_its_registration_fails() {
    let mut rig = Rig::new(Config {
        close_on_registration_failure: false,
        ..Config::default()
    });
    rig.open(1);
    rig.frame(account(true));
    rig.dial("c1", "1002");
    rig.told();
    rig.asked();
    // The trunk goes on trying: so does the page's call, till its own time is over.
    registration_failed(&mut rig, 503, Some(4));
    assert_eq!(rig.told(), ["fail FAILED"]);
    assert!(rig.closed.is_empty() && rig.asked().is_empty());
    rig.wait(Duration::from_secs(11));
    assert_eq!(rig.last("finish")[0]["info"], "Failed by request timeout");
    rig.told();
    rig.give(Input::Trunk(Event::Registered {
        account: AccountId(1),
        expires_s: 60,
        raw: String::new(),
    }));
    assert_eq!(rig.told(), ["registered REGISTERED"]);

    // A password that is wrong stays wrong: calls are refused, the page may still dial the echo.
    let mut rig = Rig::new(Config {
        close_on_registration_failure: false,
        ..Config::default()
    });
    rig.open(1);
    rig.frame(account(true));
    rig.told();
    registration_failed(&mut rig, 403, None);
    assert_eq!(rig.told(), ["fail AUTHENTICATION_FAIL"]);
    assert!(rig.closed.is_empty());
    rig.dial("c1", "1002");
    assert_eq!(
        rig.last("finish")[0]["info"],
        "The SIP account could not be registered"
    );
    rig.told();
    rig.dial("c2", "echo");
    assert_eq!(rig.told().last().unwrap(), "talk ESTABLISHED");
}

#[test]
fn each_failed_registration_is_told_as_what_it_is() {
    for (status, told) in [
        (401, "fail AUTHENTICATION_FAIL"),
        (403, "fail AUTHENTICATION_FAIL"),
        (407, "fail AUTHENTICATION_FAIL"),
        (404, "fail FAILED"),
        (423, "fail FAILED"),
        (500, "fail FAILED"),
    ] {
        let mut rig = Rig::new(Config::default());
        rig.open(1);
        rig.frame(account(true));
        rig.told();
        registration_failed(&mut rig, status, None);
        let fail = rig.last("fail")[0].clone();
        assert_eq!(fail["apiMethod"], "RegistrationStatusEvent");
        assert_eq!(fail["sipMessageRaw"], format!("SIP/2.0 {status} No\r\n"));
        assert_eq!(rig.told(), [told]);
        assert_eq!(rig.closed, [SessionId(1)]);
    }
}

#[test]
fn the_backend_hears_how_calls_and_registration_of_a_lost_page_end_and_then_no_more() {
    let mut rig = Rig::registered(Config::default());
    rig.talks("c1", "1002");
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    assert_eq!(rig.told(), ["finish FINISH"]);
    let (name, body) = rig.backend.pop().unwrap();
    assert_eq!(name, "RegistrationStatusEvent");
    assert_eq!(
        (body["status"].as_str(), body["sipLogin"].as_str()),
        (Some("UNREGISTERED"), Some("1001"))
    );
    assert_eq!(body["custom"], json!({"a": 1}));
    assert!(!body.to_string().contains("secret"));
    assert_eq!(rig.moves, [(1, None)]);
    rig.wait(Duration::from_secs(200));
    assert!(rig.told().is_empty() && rig.backend.is_empty());

    // One that never was registered is not un-registered.
    let mut rig = Rig::new(Config::default());
    rig.open(1);
    rig.frame(account(false));
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    assert!(rig.backend.is_empty());
    assert_eq!(rig.moves, [(1, None)]);
}
