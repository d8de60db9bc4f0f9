//! Frames of the JSON protocol, from browsers and (for test clients) from us.

use crate::Target;
use signaling_protocol::{ClientMessage, HookMessage, ServerMessage, context::HookMethod};

pub const ENVELOPE: Target = Target {
    name: "envelope",
    run,
    words: &[
        br#""message":"#,
        br#""data":["#,
        br#"[null]"#,
        b"null",
        b"true",
        b"false",
        br#""true""#,
        br#""false""#,
        br#"{"callId":"c"}"#,
        br#""callId":"#,
        br#""mediaSessionId":"#,
        br#""connection""#,
        br#""call""#,
        br#""answer""#,
        br#""hangup""#,
        br#""sendDtmf""#,
        br#""publishStream""#,
        br#""sendData""#,
        br#""sendMessage""#,
        br#""notifyMessage""#,
        br#""setRemoteSDP""#,
        br#""custom":"#,
        br#""sipPort":"#,
        br#""inviteParameters":"#,
        br#""sipSDP":"#,
        br#""recipients":"#,
        br#""status":"#,
        br#""payload":"#,
        br#"\u0000"#,
        br#"\ud800"#,
        br#"\ud83d\ude00"#,
        br#"\r\n"#,
        b"1.5e3",
        b"-0.0",
        b"[[[[[[[[",
        b"{\"a\":",
    ],
    seeds: &[
        "signaling/protocol/fixtures/client",
        "signaling/protocol/fixtures/client/lenient",
        "signaling/protocol/fixtures/server",
        "signaling/protocol/fixtures/hook",
    ],
    max_len: 300_000,
};

fn run(data: &[u8]) {
    // The WebSocket lets only UTF-8 through (RFC 6455 §8.1), and so do we.
    let text = String::from_utf8_lossy(data);
    match ClientMessage::parse(&text) {
        Ok(message) => {
            let written = message.to_text();
            serde_json::from_str::<serde_json::Value>(&written).expect("what we write is JSON");
            match (&message, ClientMessage::parse(&written)) {
                (ClientMessage::Unknown { .. }, Ok(ClientMessage::Unknown { .. })) => {}
                // Floats of 17 digits may come back one unit of the last place off; the text settles then.
                (_, Ok(again)) => assert_eq!(message.name(), again.name()),
                (_, Err(error)) => panic!("refuses its own text: {error}: {written}"),
            }
            let _ = format!("{message:?}").len();
        }
        Err(error) => {
            let _ = error.to_string();
        }
    }
    if let Ok(message) = ServerMessage::parse(&text) {
        let written = message.to_text();
        let value: serde_json::Value =
            serde_json::from_str(&written).expect("what we write is JSON");
        assert!(
            value.get("data").is_some_and(serde_json::Value::is_array),
            "data is always an array: {written}"
        );
        ServerMessage::parse(&written)
            .unwrap_or_else(|error| panic!("refuses its own text: {error}: {written}"));
    }
    let method = HookMethod::ALL[data.len() % HookMethod::ALL.len()];
    if let Ok(hook) = HookMessage::parse(method, &text) {
        let written = hook.body.to_text(&hook.context);
        HookMessage::parse(method, &written)
            .unwrap_or_else(|error| panic!("refuses its own text: {error}: {written}"));
    }
}
