//! A media node and nothing else: commands as JSON lines on standard input, events on standard output. It
//! ends when its input does.

use media_control::{Command, Event};
use media_relay::{FaceAddress, Node, NodeConfig, PeerAddress};
use std::io::{BufRead, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

fn main() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let certificate = rcgen::CertificateParams::new(Vec::<String>::new())
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let config = NodeConfig {
        outside: vec![FaceAddress {
            bind: SocketAddr::new(loopback, 0),
            announce: None,
        }],
        inside: vec![PeerAddress {
            bind: loopback,
            announce: None,
        }],
        rtp_ports: 0..=0,
        workers: 1,
        dscp: 46,
        certificate: certificate.der().to_vec(),
        key: key.serialize_der(),
    };
    let node = Node::new(config, |event| {
        if matches!(event, Event::Load(_)) {
            return;
        }
        let line = serde_json::to_string(&event).expect("an event is plain data");
        // Whoever listened may be gone; then the input ends too.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    })
    .expect("a node on loopback");
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let command: Command = serde_json::from_str(&line).expect("a command as JSON");
        node.handle(command);
    }
    node.shutdown();
}
