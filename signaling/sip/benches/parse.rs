//! How long one message takes to be read (ns), and to be read in the parts that every call needs.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use signaling_sip::digest::{self, Proof, Session};
use signaling_sip::message::{HeaderName, Message, Method, StreamFramer, Unit, Writer};
use std::hint::black_box;

/// About what a browser's call looks like behind two proxies: 2 kB.
fn invite() -> Vec<u8> {
    let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.4\r\ns=-\r\nc=IN IP4 192.0.2.4\r\nt=0 0\r\n"
        .to_string()
        + &"a=rtpmap:96 opus/48000/2\r\n".repeat(40);
    let mut out = Vec::new();
    let mut writer = Writer::request(
        &mut out,
        &Method::Invite,
        b"sip:+493012345@pbx.example;user=phone",
    );
    for hop in 0..3 {
        writer.text(
            "Via",
            &format!("SIP/2.0/UDP 192.0.2.{hop}:5060;branch=z9hG4bK0123456789abcdef{hop};rport"),
        );
        writer.text(
            "Record-Route",
            &format!("<sip:192.0.2.{hop};lr;ftag=12345>"),
        );
    }
    writer
        .text("Max-Forwards", "68")
        .text("From", "\"Alice\" <sip:alice@pbx.example>;tag=0123456789");
    writer
        .text("To", "<sip:+493012345@pbx.example>")
        .text("Call-ID", "0123456789abcdef0123456789abcdef");
    writer.text("CSeq", "2 INVITE").text(
        "Contact",
        "<sip:0123456789abcdef@192.0.2.4:5060;transport=tcp>",
    );
    writer
        .text("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE")
        .text("User-Agent", "bench");
    writer
        .text("Supported", "replaces, timer")
        .text("P-Asserted-Identity", "<sip:alice@pbx.example>");
    writer
        .end("application/sdp", sdp.as_bytes())
        .expect("writable");
    out
}

fn parse(c: &mut Criterion) {
    let bytes = invite();
    let mut group = c.benchmark_group("sip");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("index a 2 kB INVITE", |b| {
        b.iter(|| Message::parse(black_box(&bytes)).is_ok())
    });
    group.bench_function("index it and read what a transaction needs", |b| {
        b.iter(|| {
            let message = Message::parse(black_box(&bytes)).expect("sound");
            let via = message
                .top_via()
                .expect("a Via")
                .unique_branch()
                .map(<[u8]>::len);
            let tags = (
                message.from().expect("From").tag(),
                message.to().expect("To").tag(),
            );
            (
                via,
                tags.0.is_some(),
                message.cseq().is_ok(),
                message.call_id().is_ok(),
            )
        });
    });
    group.bench_function("frame it from a stream in three pieces", |b| {
        b.iter(|| {
            let mut framer = StreamFramer::default();
            let mut found = 0;
            for piece in bytes.chunks(bytes.len() / 3 + 1) {
                framer.push(piece);
                while let Some(Unit::Message(message)) = framer.next_unit() {
                    found += message.values(HeaderName::Via).count();
                }
            }
            found
        });
    });
    group.bench_function("write it", |b| b.iter(|| black_box(invite()).len()));
    let challenge = b"SIP/2.0 407 x\r\nProxy-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\", algorithm=SHA-256\r\n\r\n";
    let challenge = digest::challenges(&Message::parse(challenge).expect("sound")).remove(0);
    group.bench_function("answer a SHA-256 challenge", |b| {
        let mut session = Session::new(challenge.clone(), "0123456789abcdef".into());
        let proof = Proof {
            username: "alice",
            password: "secret",
            method: b"INVITE",
            uri: b"sip:x@y",
            body: b"",
        };
        b.iter(|| session.authorize(black_box(proof)).map(|v| v.len()));
    });
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
