//! A node whose one browser leg is joined to an echo, described in lines of JSON on stdin and stdout: for
//! trying WebRTC peers of other makes against it without any signaling.

use media_control::{
    Codec, Command, Direction, DtlsRole, Event, Face, Fingerprint, Format, GroupId, LegId, LegSpec,
    LocalTransport, MediaKind, Remote, RemoteMedia, RemoteTransport, Source,
};
use media_relay::{FaceAddress, Node, NodeConfig};
use serde_json::{Value, json};
use std::error::Error;
use std::io::BufRead;
use std::net::SocketAddr;
use std::sync::mpsc::channel;

const BROWSER: LegId = LegId(1);
const ECHO: LegId = LegId(2);

fn main() -> Result<(), Box<dyn Error>> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let certificate = rcgen::CertificateParams::new(Vec::<String>::new())?.self_signed(&key)?;
    let config = NodeConfig {
        outside: vec![FaceAddress {
            bind: SocketAddr::from(([127, 0, 0, 1], 0)),
            announce: None,
        }],
        inside: vec![],
        rtp_ports: 0..=0,
        workers: 1,
        dscp: 46,
        certificate: certificate.der().to_vec(),
        key: key.serialize_der(),
    };
    let (sender, events) = channel();
    let node = Node::new(config, move |event| {
        let _ = sender.send(event);
    })?;
    let group = GroupId(1);
    let spec = LegSpec::WebRtc {
        face: Face::Outside,
    };
    node.handle(Command::CreateLeg {
        leg: BROWSER,
        group,
        spec,
    });
    node.handle(Command::CreateLeg {
        leg: ECHO,
        group,
        spec: LegSpec::Source(Source::Echo),
    });
    node.handle(Command::Join {
        a: BROWSER,
        b: ECHO,
    });
    std::thread::spawn(move || {
        for event in events {
            match event {
                Event::LegCreated {
                    leg: BROWSER,
                    local,
                } => println!("{}", describe(&local)),
                Event::Load(_) => {}
                other => println!("{}", json!({ "event": format!("{other:?}") })),
            }
        }
    });
    for line in std::io::stdin().lock().lines() {
        let line: Value = serde_json::from_str(&line?)?;
        if line["close"] == true {
            node.handle(Command::CloseLeg { leg: BROWSER });
            continue;
        }
        let remote = read(&line).ok_or("a description lacks something")?;
        node.handle(Command::ConnectLeg {
            leg: BROWSER,
            remote,
        });
    }
    node.shutdown();
    Ok(())
}

fn describe(local: &LocalTransport) -> Value {
    let LocalTransport::WebRtc {
        ufrag,
        pwd,
        fingerprint,
        candidates,
    } = local
    else {
        return Value::Null;
    };
    let digest: Vec<String> = fingerprint
        .digest
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    json!({
        "ufrag": ufrag,
        "pwd": pwd,
        "fingerprint": digest.join(":"),
        "ip": candidates.first().map(|c| c.address.ip().to_string()),
        "port": candidates.first().map(|c| c.address.port()),
        "priority": candidates.first().map(|c| c.priority),
    })
}

fn read(line: &Value) -> Option<Remote> {
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    let digest = text("fingerprint")?
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect::<Option<Vec<u8>>>()?;
    let pt = u8::try_from(line["pt"].as_u64()?).ok()?;
    let format = Format {
        codec: Codec::from_name(&text("codec")?),
        send_pt: pt,
        receive_pt: pt,
        clock_hz: u32::try_from(line["clock"].as_u64()?).ok()?,
        channels: u8::try_from(line["channels"].as_u64()?).ok()?,
        fmtp: String::new(),
    };
    let dtls = if line["dtls"] == "active" {
        DtlsRole::Active
    } else {
        DtlsRole::Passive
    };
    Some(Remote {
        transport: RemoteTransport::WebRtc {
            ufrag: text("ufrag")?,
            pwd: text("pwd")?,
            fingerprints: vec![Fingerprint {
                hash: text("hash")?,
                digest,
            }],
            dtls,
        },
        media: vec![RemoteMedia {
            kind: MediaKind::Audio,
            direction: Direction::SendRecv,
            formats: vec![format],
            ptime_ms: 20,
            mid: None,
            key_frame: media_control::KeyFrameRequests::default(),
            inband_dtmf: false,
        }],
    })
}
