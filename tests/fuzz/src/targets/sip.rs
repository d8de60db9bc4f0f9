//! SIP messages, whole and in the pieces that a stream brings.

use crate::Target;
use signaling_sip::fuzz::{fuzz_message, fuzz_stream};
use signaling_sip::message::{Fault, Message, StreamFramer, Unit};

const WORDS: &[&[u8]] = &[
    b"INVITE", b"REGISTER", b"ACK", b"CANCEL", b"BYE", b"OPTIONS", b"UNKNOWN", b" SIP/2.0\r\n", b"SIP/2.0 200 OK\r\n", b"SIP/3.0", b"sip:",
    b"sips:", b"tel:", b"\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK", b"\r\nv:", b"\r\nFrom: <sip:a@b>;tag=1", b"\r\nf:", b"\r\nTo: <sip:a@b>", b"\r\nt:",
    b"\r\nCall-ID: c", b"\r\ni:", b"\r\nCSeq: 1 INVITE", b"\r\nContact: *", b"\r\nm:", b"\r\nContent-Length: 0", b"\r\nContent-Length : 5",
    b"\r\nl: 99999999999", b"\r\nContent-Length: -1", b"\r\nContent-Type: application/sdp", b"\r\n ", b"\r\n\t", b"\r\nMax-Forwards: 70",
    b"\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth,auth-int\", algorithm=SHA-256", b"\r\nProxy-Authenticate: Digest ",
    b";tag=", b";rport", b";received=1.2.3.4", b";lr", b";expires=", b"%0d%0a", b"%00", b"%", b"[::1]", b"[::ffff:1.2.3.4]", b"[v1.x]", b":65536",
    b"<sip:", b"\"\\\"", b"\"", b"\\", b"?Replaces=a%3Bto-tag%3D", b"\r\nRoute: ", b"\r\nRecord-Route: ", b"\r\nExpires: 4294967296",
    b"\r\nRequire: 100rel", b"\r\nReplaces: ", b"\r\nRefer-To: ", b"\r\nEvent: refer;id=", b"\r\nSubscription-State: ",
    b";early-only", b";to-tag=", b";from-tag=", b"\r\n\r\n\r\n\r\n",
];

pub const MESSAGE: Target = Target {
    name: "sip_message",
    run: fuzz_message,
    words: WORDS,
    seeds: &["tests/fuzz/corpus/sip", "tests/bed/torture"],
    max_len: 70_000,
};

/// The first byte is the length of the pieces.
pub const STREAM: Target = Target {
    name: "sip_stream",
    run: stream,
    words: WORDS,
    seeds: &["tests/fuzz/corpus/sip", "tests/bed/torture"],
    max_len: 140_000,
};

fn stream(data: &[u8]) {
    fuzz_stream(data);
    let Some((size, rest)) = data.split_first() else {
        return;
    };
    let whole = units([rest]);
    let pieces = units(rest.chunks(usize::from(*size).max(1)));
    // Not assert_eq: two long lists side by side tell nobody anything.
    assert!(
        whole == pieces,
        "a stream frames the same however it is split; whole: {whole:?}, in pieces: {pieces:?}"
    );
}

/// What a stream held: its messages byte for byte, and whether it could be followed to its end.
fn units<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, bool) {
    let mut framer = StreamFramer::default();
    let mut found = Vec::new();
    for piece in pieces {
        framer.push(piece);
        while let Some(unit) = framer.next_unit() {
            match unit {
                Unit::Message(message) => {
                    found.push(known_part(&message).escape_ascii().to_string())
                }
                Unit::Ping => found.push("ping".to_owned()),
                Unit::Broken(_) => {}
            }
        }
    }
    (found, framer.is_broken())
}

/// A message whose length nobody can tell ends its stream; what of its body had come by then is chance.
fn known_part<'a>(message: &Message<'a>) -> &'a [u8] {
    let raw = message.raw();
    match message.fault {
        Some(Fault::ContentLength | Fault::TooLarge) => raw
            .get(..raw.len().saturating_sub(message.body().len()))
            .unwrap_or_default(),
        _ => raw,
    }
}
