//! How long does one frame take? Parsing a browser's `call` with its offer, and writing a `talk`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use signaling_protocol::call::{CallObject, CallStatus};
use signaling_protocol::{CallId, ClientMessage, ServerMessage};
use std::hint::black_box;

fn parse_a_call_with_sdp(c: &mut Criterion) {
    let frame: serde_json::Value =
        serde_json::from_str(include_str!("../fixtures/client/call.json")).expect("a fixture");
    let frame = frame.to_string();
    let mut group = c.benchmark_group("envelope");
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("parse a call with SDP", |b| {
        b.iter(|| ClientMessage::parse(black_box(&frame)).expect("a call"));
    });
    group.finish();
}

fn write_a_talk(c: &mut Criterion) {
    let talk = ServerMessage::Talk(Box::new(CallObject {
        sip_status: Some(200),
        caller: Some("1001".into()),
        callee: Some("1002".into()),
        incoming: Some(false),
        has_audio: Some(true),
        has_video: Some(false),
        sip_message_raw: Some("SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n".into()),
        ..CallObject::new(
            CallId::new("b08ac430-e637-11f1-98da-d1a013a3cc15"),
            CallStatus::Established,
        )
    }));
    let mut group = c.benchmark_group("envelope");
    group.throughput(Throughput::Bytes(talk.to_text().len() as u64));
    group.bench_function("write a talk", |b| b.iter(|| black_box(&talk).to_text()));
    group.finish();
}

criterion_group!(benches, parse_a_call_with_sdp, write_a_talk);
criterion_main!(benches);
