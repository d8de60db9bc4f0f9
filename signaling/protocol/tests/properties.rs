//! What holds for every frame, not only for those that somebody thought of.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use signaling_protocol::call::{CallObject, CallStatus, IncomingCall, SetRemoteSdp};
use signaling_protocol::connection::{Connection, Fail, UserData};
use signaling_protocol::{
    AuthToken, CallId, ClientMessage, FRAME_MAX, Fault, FieldFault, ParseError, Secret,
    ServerMessage,
};

/// Any JSON of modest size.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Sixteenths: serde_json reads a float of 17 digits to within its last one, unless told otherwise.
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 16.0)),
        any::<String>().prop_map(Value::from),
        "[0-9 .truefals-]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// An object in which fields that messages have are filled with anything.
fn any_argument() -> impl Strategy<Value = Value> {
    let field = prop::sample::select(vec![
        "callId",
        "callee",
        "sdp",
        "status",
        "hasVideo",
        "sipPort",
        "sipLogin",
        "sipPassword",
        "mediaProvider",
        "mediaProviders",
        "custom",
        "inviteParameters",
        "sipSDP",
        "dtmf",
        "type",
        "target",
        "mediaSessionId",
        "name",
        "bitrate",
        "payload",
        "operationId",
        "id",
        "to",
        "body",
        "recipients",
        "messageId",
        "event",
        "expires",
        "url",
        "command",
        "text",
        "logs",
        "holdForTransfer",
        "transport",
        "authToken",
        "info",
    ]);
    let value = prop_oneof![3 => any_json(), 2 => "[a-zA-Z0-9@. ]{1,12}".prop_map(Value::from), 1 => any::<u32>().prop_map(Value::from)];
    prop::collection::vec((field, value), 0..20).prop_map(|entries| {
        Value::Object(
            entries
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    })
}

fn any_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(ClientMessage::NAMES.to_vec())
}

fn connection(fields: Value) -> Result<Connection, ParseError> {
    match ClientMessage::parse(&json!({ "message": "connection", "data": [fields] }).to_string())? {
        ClientMessage::Connection(connection) => Ok(*connection),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = ClientMessage::parse(&text);
        let _ = ServerMessage::parse(&text);
    }

    #[test]
    fn no_text_that_looks_like_json_makes_the_parser_panic(text in r#"[\[\]{}",:0-9a-z\\ -]{0,80}"#) {
        let _ = ClientMessage::parse(&text);
        let _ = ServerMessage::parse(&text);
    }

    #[test]
    fn what_is_read_is_read_again_after_writing(name in any_name(), argument in any_argument()) {
        if let Ok(message) = ClientMessage::parse(&json!({ "message": name, "data": [argument] }).to_string()) {
            let written = message.to_text();
            prop_assert_eq!(ClientMessage::parse(&written), Ok(message), "{}", written);
        }
    }

    #[test]
    fn server_messages_are_read_again_after_writing(
        name in prop::sample::select(ServerMessage::NAMES.to_vec()),
        arguments in prop::collection::vec(any_argument(), 0..4),
    ) {
        if let Ok(message) = ServerMessage::parse(&json!({ "message": name, "data": arguments }).to_string()) {
            let written = message.to_text();
            let value: Value = serde_json::from_str(&written).expect("we write JSON");
            prop_assert!(value["data"].is_array());
            prop_assert_eq!(ServerMessage::parse(&written), Ok(message), "{}", written);
        }
    }

    #[test]
    fn any_envelope_is_read_or_refused(name in any::<String>(), data in any_json()) {
        let _ = ClientMessage::parse(&json!({ "message": name, "data": data }).to_string());
    }

    #[test]
    fn unknown_names_and_fields_harm_nothing(name in "[a-z]{1,20}Q", field in "[a-z]{1,20}Q", value in any_json()) {
        let unknown = ClientMessage::parse(&json!({ "message": name, "data": [value] }).to_string());
        prop_assert_eq!(unknown, Ok(ClientMessage::Unknown { name }));
        let plain = ClientMessage::parse(r#"{"message":"hangup","data":[{"callId":"c"}]}"#);
        let more = json!({ "message": "hangup", "data": [{ "callId": "c", field: value }] });
        prop_assert_eq!(ClientMessage::parse(&more.to_string()), plain);
    }

    #[test]
    fn a_number_may_be_text(port in any::<u16>(), before in " {0,2}", after in " {0,2}") {
        let number = connection(json!({ "sipPort": port })).expect("a port").sip_port;
        prop_assert_eq!(number, Some(port));
        let text = connection(json!({ "sipPort": format!("{before}{port}{after}") })).expect("a port").sip_port;
        prop_assert_eq!(text, Some(port));
    }

    #[test]
    fn a_port_that_is_none_is_refused_by_name(port in 65536u64..) {
        let fault = FieldFault { field: "sipPort", fault: Fault::Expected("a number below 65536") };
        let refused = Err(ParseError::BadArgument { message: "connection", fault });
        prop_assert_eq!(connection(json!({ "sipPort": port })), refused.clone());
        prop_assert_eq!(connection(json!({ "sipPort": port.to_string() })), refused);
    }

    #[test]
    fn null_is_absent(name in any_name(), argument in any_argument()) {
        let Value::Object(fields) = &argument else { unreachable!("arguments are objects") };
        let mut with_nulls: Map<String, Value> = fields.clone();
        for field in ["callId", "callee", "sipPort", "hasVideo", "custom", "sdp", "payload", "recipients"] {
            with_nulls.entry(field).or_insert(Value::Null);
        }
        // Messages handed on as they came keep what they came with.
        let plain = ClientMessage::parse(&json!({ "message": name, "data": [argument] }).to_string());
        if !plain.as_ref().is_ok_and(ClientMessage::is_ignored) {
            let nulled = ClientMessage::parse(&json!({ "message": name, "data": [with_nulls] }).to_string());
            prop_assert_eq!(plain, nulled);
        }
    }

    #[test]
    fn any_text_of_a_page_survives(text in any::<String>(), custom in any_json()) {
        let frame = json!({ "message": "call", "data": [{ "callId": "c", "callee": text, "visibleName": text, "custom": { "x": custom } }] });
        let Ok(ClientMessage::Call(call)) = ClientMessage::parse(&frame.to_string()) else { panic!("refused {frame}") };
        prop_assert_eq!(call.callee.as_deref(), Some(text.as_str()));
        prop_assert_eq!(call.visible_name.as_deref(), Some(text.as_str()));
        let told = ServerMessage::Ring(Box::new(CallObject {
            caller: Some(text.clone()), info: Some(text.clone()), custom: call.custom,
            ..CallObject::new(CallId::new("c"), CallStatus::Ring)
        }));
        let read = ServerMessage::parse(&told.to_text());
        prop_assert_eq!(read, Ok(told));
        let sdp = ServerMessage::SetRemoteSdp(SetRemoteSdp { id: text.clone(), sdp: text, initiator: true });
        let read = ServerMessage::parse(&sdp.to_text());
        prop_assert_eq!(read, Ok(sdp));
    }

    #[test]
    fn an_announced_call_never_carries_what_the_sdk_takes_for_an_option(caller in any::<String>(), custom in any_json()) {
        let call = IncomingCall {
            call_id: CallId::new("c"), parent_call_id: None, caller: caller.clone(), callee: caller.clone(), visible_name: caller,
            has_audio: true, has_video: false, is_msrp: false, invite_parameters: None, sip_message_raw: None, custom: Some(custom),
        };
        let text = ServerMessage::NotifyIncomingCall(Box::new(call)).to_text();
        let value: Value = serde_json::from_str(&text).expect("we write JSON");
        let fields = value["data"][0].as_object().expect("an object");
        for forbidden in ["constraints", "logger", "localVideoDisplay", "remoteVideoDisplay", "receiveAudio", "receiveVideo", "sdpHook", "stripCodecs", "sdp"] {
            prop_assert!(!fields.contains_key(forbidden));
        }
        prop_assert_eq!(&fields["incoming"], &json!(true));
        prop_assert_eq!(&fields["mediaProvider"], &json!("WebRTC"));
    }

    #[test]
    fn an_error_repeats_nothing_that_the_page_sent(name in any_name(), field in prop::sample::select(vec!["sipPassword", "sipPort", "callId", "custom", "status", "hasVideo"])) {
        const CANARY: &str = "hunter2hunter2";
        for value in [json!(CANARY), json!([CANARY]), json!({ CANARY: CANARY })] {
            let data = [json!([{ field: value }]), json!([value]), json!(value)];
            for data in data {
                if let Err(error) = ClientMessage::parse(&json!({ "message": name, "data": data }).to_string()) {
                    let shown = format!("{error} {error:?}");
                    prop_assert!(!shown.contains(CANARY), "{}", shown);
                }
            }
        }
    }
}

#[test]
fn a_password_is_in_no_debug_text_and_goes_to_no_client() {
    let connection = connection(
        json!({ "custom": { "token": "canary" }, "sipLogin": "1001", "sipPassword": "hunter2 ", "authToken": "canary" }),
    );
    let connection = connection.expect("a connection");
    assert_eq!(connection.sip_password, Some(Secret::new("hunter2 ")));
    let shown = format!(
        "{connection:?} {:?}",
        ClientMessage::Connection(Box::new(connection.clone()))
    );
    assert!(
        !shown.contains("hunter2") && !shown.contains("canary"),
        "{shown}"
    );
    let told =
        ServerMessage::GetUserData(Box::new(UserData::of(&connection, AuthToken::new("token"))));
    assert!(!told.to_text().contains("hunter2"));
    assert!(told.to_text().contains(r#""authToken":"token""#));
    assert!(!format!("{told:?}").contains(r#""token""#));
}

#[test]
fn deep_nesting_is_refused_without_deep_recursion() {
    let deep = format!(
        r#"{{"message":"sendData","data":[{{"operationId":"o","payload":{}{}}}]}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert!(matches!(
        ClientMessage::parse(&deep),
        Err(ParseError::NotJson { .. })
    ));
}

#[test]
fn a_frame_over_the_limit_is_refused_before_it_is_read() {
    let frame = |length: usize| {
        let empty = r#"{"message":"pushLogs","data":[{"logs":""}]}"#.len();
        format!(
            r#"{{"message":"pushLogs","data":[{{"logs":"{}"}}]}}"#,
            "x".repeat(length - empty)
        )
    };
    assert!(matches!(
        ClientMessage::parse(&frame(FRAME_MAX)),
        Ok(ClientMessage::PushLogs(_))
    ));
    assert_eq!(
        ClientMessage::parse(&frame(FRAME_MAX + 1)),
        Err(ParseError::TooLarge {
            bytes: FRAME_MAX + 1
        })
    );
}

#[test]
fn ids_are_bounded_and_clean() {
    let hangup = |id: Value| {
        ClientMessage::parse(
            &json!({ "message": "hangup", "data": [{ "callId": id }] }).to_string(),
        )
    };
    assert!(hangup(json!("x".repeat(256))).is_ok());
    assert!(hangup(json!(7)).is_ok());
    for bad in [
        json!("x".repeat(257)),
        json!(""),
        json!("a\r\nb"),
        json!("a\u{0}"),
        json!(null),
        json!({}),
        json!([]),
    ] {
        assert!(hangup(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn frames_that_are_no_envelope_are_refused_each_in_its_way() {
    for text in ["", "{", "nonsense", "\u{feff}{}", r#"{"message":"\ud800""#] {
        assert!(
            matches!(ClientMessage::parse(text), Err(ParseError::NotJson { .. })),
            "{text}"
        );
    }
    for text in [
        "null",
        "[]",
        "{}",
        "7",
        r#""call""#,
        r#"{"message":7}"#,
        r#"{"data":[]}"#,
    ] {
        assert_eq!(
            ClientMessage::parse(text),
            Err(ParseError::NotAnEnvelope),
            "{text}"
        );
    }
    let missing =
        ClientMessage::parse(r#"{"message":"transfer","data":[{"callId":"c"}]}"#).unwrap_err();
    assert_eq!(missing.to_string(), "transfer: target is missing");
}

#[test]
fn a_refused_call_is_told_with_its_id() {
    let text = ServerMessage::Fail(Fail::call(&CallId::new("c"), "Forbidden")).to_text();
    assert_eq!(
        text,
        r#"{"message":"fail","data":[{"status":"FAILED","info":"Forbidden","apiMethod":"CallStatusEvent","id":"c"}]}"#
    );
}

#[test]
fn an_unknown_name_never_looks_like_a_known_one() {
    let Ok(ClientMessage::Unknown { name }) =
        ClientMessage::parse(r#"{"message":"hang\u0000up\n"}"#)
    else {
        panic!("known after all");
    };
    assert_eq!(name, "hang\u{fffd}up\u{fffd}");
    let long = ClientMessage::parse(&json!({ "message": "x".repeat(1000) }).to_string());
    assert_eq!(
        long,
        Ok(ClientMessage::Unknown {
            name: "x".repeat(64)
        })
    );
}

#[test]
fn half_an_emoji_costs_only_itself() {
    let callee = |text: &str| {
        let frame = format!(r#"{{"message":"call","data":[{{"callId":"c","callee":"{text}"}}]}}"#);
        match ClientMessage::parse(&frame) {
            Ok(ClientMessage::Call(call)) => call.callee,
            _ => None,
        }
    };
    for (sent, read) in [
        (r"Bob \ud83d", "Bob \u{fffd}"),
        (r"\ude00\ud83d\ude00\ud83d", "\u{fffd}\u{1f600}\u{fffd}"),
        (r"\uD83D\uD83D\uDE00", "\u{fffd}\u{1f600}"),
        (r"\\ud83d\u00e9\ud83dx\n", "\\ud83d\u{e9}\u{fffd}x\n"),
        (r"\\\ud83d", "\\\u{fffd}"),
        ("é\\ud83d😀", "é\u{fffd}😀"),
    ] {
        assert_eq!(callee(sent).as_deref(), Some(read), "{sent}");
    }
    for sent in [r"\ud83d\x", r"\ud83d\u12", r"\", r"\ud83", "\\ud83d\\é"] {
        assert_eq!(callee(sent), None, "{sent}");
    }
}
