//! The protocol's table as a test: each message has a fixture, which is read and written back unchanged.

use serde_json::Value;
use signaling_protocol::context::{Context, HookMethod};
use signaling_protocol::{ClientMessage, HookMessage, ServerMessage};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn fixtures(folder: &str) -> Vec<(PathBuf, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(folder);
    let mut found: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder that can be listed").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a fixture is text");
            let value = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path, value)
        })
        .collect();
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert!(!found.is_empty(), "no fixtures in {}", folder.display());
    found
}

fn read_back(path: &Path, text: &str) -> Value {
    serde_json::from_str(text)
        .unwrap_or_else(|error| panic!("{}: wrote {text}: {error}", path.display()))
}

/// The fixture `talk-2.json` is one for `talk`.
fn subject(path: &Path) -> &str {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .expect("a fixture's name is text");
    stem.split('-')
        .next()
        .expect("split gives at least one part")
}

fn assert_all_covered<'a>(names: impl IntoIterator<Item = &'a str>, seen: &BTreeSet<String>) {
    let missing: Vec<&str> = names
        .into_iter()
        .filter(|name| !seen.contains(*name))
        .collect();
    assert!(missing.is_empty(), "without a fixture: {missing:?}");
}

#[test]
fn every_client_message_has_a_fixture_that_survives_reading_and_writing() {
    let mut seen = BTreeSet::new();
    for (path, wanted) in fixtures("client") {
        let message = ClientMessage::parse(&wanted.to_string())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(message.name(), subject(&path), "{}", path.display());
        assert!(
            !matches!(message, ClientMessage::Unknown { .. }),
            "{}",
            path.display()
        );
        assert_eq!(
            read_back(&path, &message.to_text()),
            wanted,
            "{}",
            path.display()
        );
        seen.insert(message.name().to_owned());
    }
    assert_all_covered(ClientMessage::NAMES.iter().copied(), &seen);
}

#[test]
fn every_server_message_has_a_fixture_that_survives_reading_and_writing() {
    let mut seen = BTreeSet::new();
    for (path, wanted) in fixtures("server") {
        let message = ServerMessage::parse(&wanted.to_string())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(message.name(), subject(&path), "{}", path.display());
        assert!(
            !matches!(message, ServerMessage::Unknown { .. }),
            "{}",
            path.display()
        );
        let written = read_back(&path, &message.to_text());
        assert_eq!(written, wanted, "{}", path.display());
        assert!(written["data"].is_array(), "{}", path.display());
        seen.insert(message.name().to_owned());
    }
    assert_all_covered(ServerMessage::NAMES.iter().copied(), &seen);
}

#[test]
fn every_hook_has_a_fixture_that_survives_reading_and_writing() {
    let mut seen = BTreeSet::new();
    for (path, wanted) in fixtures("hook") {
        let method = HookMethod::from_word(subject(&path))
            .unwrap_or_else(|| panic!("{}: no hook", path.display()));
        let hook = HookMessage::parse(method, &wanted.to_string())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(hook.body.method(), method);
        let text = hook.body.to_text(&hook.context);
        assert_eq!(read_back(&path, &text), wanted, "{}", path.display());
        assert!(
            text.starts_with(r#"{"nodeId":"#),
            "{}: the context comes first",
            path.display()
        );
        seen.insert(method.as_str().to_owned());
    }
    assert_all_covered(HookMethod::ALL.iter().map(|method| method.as_str()), &seen);
}

#[test]
fn lenient_forms_are_read_as_what_they_mean() {
    for (path, case) in fixtures("client/lenient") {
        for frame in case["read"].as_array().expect("a list of frames to read") {
            // A text is a frame letter by letter, anything else the frame itself.
            let text = frame
                .as_str()
                .map_or_else(|| frame.to_string(), str::to_owned);
            let message = ClientMessage::parse(&text)
                .unwrap_or_else(|error| panic!("{}: {text}: {error}", path.display()));
            assert_eq!(
                read_back(&path, &message.to_text()),
                case["means"],
                "{}: {text}",
                path.display()
            );
        }
    }
}

#[test]
fn a_client_message_survives_a_snapshot() {
    for (path, frame) in fixtures("client") {
        let message: ClientMessage =
            serde_json::from_value(frame).expect("the fixtures are frames");
        let again: ClientMessage = serde_json::from_str(&message.to_text()).expect("what we wrote");
        assert_eq!(message, again, "{}", path.display());
    }
}

#[test]
fn the_context_of_a_hook_is_never_doubled() {
    let connection = ClientMessage::parse(
        r#"{"message":"connection","data":[{"appKey":"mine","sipLogin":"1001"}]}"#,
    );
    let Ok(ClientMessage::Connection(connection)) = connection else {
        panic!("{connection:?}")
    };
    let hook = HookMessage::Connect(Box::new(signaling_protocol::connection::ConnectHook::of(
        &connection,
    )));
    let context = Context {
        node_id: "n@1".into(),
        app_key: "mine".into(),
        session_id: "/a/b".into(),
        origin: None,
    };
    assert_eq!(hook.to_text(&context).matches("appKey").count(), 1);
}
