//! The messages of RFC 4475 and RFC 5118 against the agent, as `tests/bed/torture/wanted.tsv` says.

use signaling_sip::message::{HeaderName, Message};
use signaling_sip::time::Instant;
use signaling_trunk::agent::{Agent, Config, Input, Output};
use signaling_trunk::net::{Listener, StreamId, Transport};
use std::net::SocketAddr;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/bed/torture")
}

fn agent() -> (Agent, SocketAddr, SocketAddr) {
    let (local, remote) = (
        "192.0.2.10:5060".parse().unwrap(),
        "192.0.2.77:5060".parse().unwrap(),
    );
    let listeners = [Transport::Udp, Transport::Tcp].map(|transport| Listener {
        transport,
        bound: local,
        announce: None,
        name: String::new(),
    });
    let config = Config {
        listeners: listeners.to_vec(),
        ..Config::default()
    };
    (Agent::new(config, [7; 32]), local, remote)
}

fn answers(agent: &mut Agent) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some(output) = agent.poll_output() {
        match output {
            Output::Datagram { bytes, .. } | Output::StreamData { bytes, .. } => found.push(bytes),
            Output::CloseStream { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    found
}

/// Statuses that say that the message itself was at fault.
const AT_FAULT: [u16; 10] = [400, 401, 406, 413, 415, 416, 420, 482, 505, 513];

fn is_wanted(wanted: &str, status: Option<u16>) -> bool {
    if wanted.contains("(response)") {
        return status.is_none();
    }
    let Some(status) = status else { return false };
    let numbers: Vec<u16> = wanted
        .split(|c: char| !c.is_ascii_digit())
        .filter(|n| n.len() == 3)
        .filter_map(|n| n.parse().ok())
        .collect();
    if wanted.contains("then") || !wanted.contains("accept") {
        return numbers.contains(&status);
    }
    numbers.contains(&status) || !AT_FAULT.contains(&status) && status != 501
}

#[test]
fn every_message_of_the_torture_tests_gets_what_it_deserves() {
    let table = std::fs::read_to_string(folder().join("wanted.tsv")).unwrap();
    let mut rows = 0;
    let mut wrong = Vec::new();
    for line in table.lines().skip(1).filter(|l| !l.is_empty()) {
        let mut columns = line.split('\t');
        let (file, _, wanted) = (
            columns.next().unwrap(),
            columns.next().unwrap(),
            columns.next().unwrap(),
        );
        rows += 1;
        let bytes = std::fs::read(folder().join(file)).unwrap();
        let (mut agent, local, remote) = agent();
        agent.handle(
            Input::Datagram {
                local,
                remote,
                bytes: &bytes,
            },
            Instant(0),
        );
        let answers = answers(&mut agent);
        let answer = answers.last().map(|a| Message::parse(a).unwrap());
        let status = answer.as_ref().map(Message::status);
        if !is_wanted(wanted, status) || answers.len() > 1 {
            wrong.push(format!("{file}: wanted {wanted:?}, got {status:?}"));
        }
        let Some(answer) = answer else {
            let parsed = Message::parse(&bytes).unwrap();
            let sound = parsed.fault.is_none()
                && parsed.cseq().is_ok()
                && parsed.list(HeaderName::Via).count() == 1;
            assert_eq!(sound, wanted.starts_with("accept"), "{file}");
            continue;
        };
        assert_eq!(answer.fault, None, "{file}: the answer itself is sound");
        for (told, name) in [
            ("Unsupported", "Unsupported"),
            ("with Accept", "Accept"),
            ("401", "WWW-Authenticate"),
        ] {
            assert!(
                !wanted.contains(told) || answer.value_named(name).is_some(),
                "{file}: no {name}"
            );
        }
        if file == "bext01.dat" {
            assert_eq!(
                answer.value_named("Unsupported"),
                Some(b"nothingSupportsThis, nothingSupportsThisEither".as_slice())
            );
        }
        let asked = Message::parse(&bytes).unwrap();
        assert_eq!(
            asked.list(HeaderName::Via).count(),
            answer.list(HeaderName::Via).count(),
            "{file}: Vias"
        );
        assert_eq!(
            asked.call_id().ok(),
            answer.call_id().ok(),
            "{file}: Call-ID"
        );
    }
    assert_eq!(rows, 60);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_stream_split_at_any_byte_gets_the_same_answers() {
    let table = std::fs::read_to_string(folder().join("wanted.tsv")).unwrap();
    for line in table.lines().skip(1).filter(|l| !l.is_empty()) {
        let file = line.split('\t').next().unwrap();
        let bytes = std::fs::read(folder().join(file)).unwrap();
        let over_stream = |pieces: &[&[u8]]| {
            let (mut agent, _, remote) = agent();
            let stream = StreamId(1);
            agent.handle(
                Input::StreamAccepted {
                    stream,
                    remote,
                    secure: false,
                    peer: None,
                },
                Instant(0),
            );
            for piece in pieces {
                agent.handle(
                    Input::StreamData {
                        stream,
                        bytes: piece,
                    },
                    Instant(0),
                );
            }
            answers(&mut agent)
        };
        let whole = over_stream(&[&bytes]);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(over_stream(&single), whole, "{file}, byte by byte");
        for at in (0..bytes.len()).step_by(7) {
            assert_eq!(
                over_stream(&[&bytes[..at], &bytes[at..]]),
                whole,
                "{file}, split at {at}"
            );
        }
    }
}
