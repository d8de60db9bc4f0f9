//! CPU of one outgoing call in the trunk core, INVITE to BYE (µs), the peer's own writing included.

use criterion::{Criterion, criterion_group, criterion_main};
use signaling_sip::message::{HeaderName, Message, Writer};
use signaling_sip::time::Instant;
use signaling_trunk::agent::{Agent, Config, Input, Output};
use signaling_trunk::api::{AccountId, AccountSpec, Command, InviteId, Target};
use signaling_trunk::net::{Listener, Transport};
use std::net::SocketAddr;
use std::time::Duration;

const SDP: &[u8] = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";

fn answer(request: &[u8], status: u16, sdp: &[u8]) -> Vec<u8> {
    let message = Message::parse(request).expect("sound");
    let mut out = Vec::new();
    let mut writer = Writer::response(&mut out, status, "OK");
    for (id, _, value) in message.fields() {
        match id {
            HeaderName::To if message.to().expect("To").tag().is_none() => {
                writer.copied("To", &[value, b";tag=b"].concat());
            }
            HeaderName::Via
            | HeaderName::From
            | HeaderName::To
            | HeaderName::CallId
            | HeaderName::CSeq => {
                writer.copied(id.as_str(), value);
            }
            _ => {}
        }
    }
    writer.text("Contact", "<sip:bob@127.0.0.1:25070>");
    writer.end("application/sdp", sdp).expect("writable");
    out
}

fn call(c: &mut Criterion) {
    let (local, remote): (SocketAddr, SocketAddr) = (
        "127.0.0.1:25060".parse().expect("an address"),
        "127.0.0.1:25070".parse().expect("an address"),
    );
    let listener = Listener {
        transport: Transport::Udp,
        bound: local,
        announce: None,
        name: String::new(),
    };
    let config = Config {
        listeners: vec![listener],
        user_agent: "bench".into(),
        ..Config::default()
    };
    let mut agent = Agent::new(config, [1; 32]);
    let mut now = Instant(0);
    let spec = AccountSpec {
        login: "a".into(),
        auth_name: String::new(),
        password: String::new(),
        domain: "pbx.test".into(),
        proxy: remote.to_string(),
        port: 0,
        register: false,
        display: String::new(),
        contact_params: Vec::new(),
    };
    let account = AccountId(1);
    agent.handle(Input::Command(Command::OpenAccount { account, spec }), now);
    let mut number = 0;
    c.bench_function("a call, INVITE to BYE", |b| {
        b.iter(|| {
            number += 2;
            // A hundred calls a second: finished ones stay for their 32 s, as they would.
            now += Duration::from_millis(10);
            agent.handle_timeout(now);
            let invite = InviteId(number);
            let target = Target::User {
                user: "7001".into(),
                params: Vec::new(),
            };
            let command = Command::Invite {
                invite,
                account,
                target,
                from_display: String::new(),
                headers: Vec::new(),
                sdp: SDP.to_vec(),
                options: Default::default(),
            };
            agent.handle(Input::Command(command), now);
            let mut hung_up = false;
            let mut requests = 0;
            loop {
                let mut sent = Vec::new();
                while let Some(output) = agent.poll_output() {
                    if let Output::Datagram { bytes, .. } = output {
                        sent.push(bytes);
                    }
                }
                if sent.is_empty() && hung_up {
                    break;
                }
                if sent.is_empty() {
                    hung_up = true;
                    agent.handle(
                        Input::Command(Command::Hangup {
                            invite,
                            status: None,
                        }),
                        now,
                    );
                }
                for bytes in sent {
                    requests += 1;
                    let answers = match bytes.first() {
                        Some(b'I') => vec![answer(&bytes, 180, b""), answer(&bytes, 200, SDP)],
                        Some(b'B') => vec![answer(&bytes, 200, b"")],
                        _ => Vec::new(),
                    };
                    for bytes in answers {
                        agent.handle(
                            Input::Datagram {
                                local,
                                remote,
                                bytes: &bytes,
                            },
                            now,
                        );
                    }
                }
            }
            requests
        });
    });
}

criterion_group!(benches, call);
criterion_main!(benches);
