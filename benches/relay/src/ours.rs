//! Our own media node, driven by the words of `media/control`.

use crate::process::Running;
use crate::target::{BrowserSide, Placed, Target};
use media_control::{
    Codec, Command, Direction, DtlsRole, Event, Face, Fingerprint, Format, GroupId, LegId, LegSpec,
    LocalTransport, MediaKind, Remote, RemoteMedia, RemoteTransport,
};
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout, Stdio};

pub struct Ours {
    child: Running,
    commands: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
}

impl Ours {
    pub fn start() -> Ours {
        let node = std::env::current_exe().expect("our own path").with_file_name("node");
        let mut child = std::process::Command::new(node)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the node beside this program");
        let commands = child.stdin.take().expect("piped");
        let events = BufReader::new(child.stdout.take().expect("piped")).lines();
        Ours { child: Running(child), commands, events }
    }

    fn say(&mut self, command: &Command) {
        let line = serde_json::to_string(command).expect("a command is plain data");
        writeln!(self.commands, "{line}").expect("the node listens");
    }

    fn create(&mut self, leg: u64, group: u64, spec: LegSpec) -> LocalTransport {
        self.say(&Command::CreateLeg { leg: LegId(leg), group: GroupId(group), spec });
        loop {
            let line = self.events.next().expect("the node lives").expect("text");
            match serde_json::from_str(&line).expect("an event as JSON") {
                Event::LegCreated { leg: id, local } if id == LegId(leg) => return local,
                Event::LegFailed { leg, reason } => panic!("{leg}: {reason:?}"),
                _ => {}
            }
        }
    }
}

fn audio() -> Vec<RemoteMedia> {
    let pcmu = Format {
        codec: Codec::Pcmu,
        send_pt: 0,
        receive_pt: 0,
        clock_hz: 8000,
        channels: 1,
        fmtp: String::new(),
    };
    vec![RemoteMedia {
        kind: MediaKind::Audio,
        direction: Direction::SendRecv,
        formats: vec![pcmu],
        ptime_ms: 20,
        mid: None,
    }]
}

impl Target for Ours {
    fn name(&self) -> String {
        "trunkgate".to_owned()
    }

    fn pid(&self) -> u32 {
        self.child.0.id()
    }

    fn place(&mut self, n: usize, browser: &BrowserSide, phone: SocketAddr) -> Placed {
        let group = u64::try_from(n).expect("few calls");
        let (a, b) = (2 * group, 2 * group + 1);
        let browser_end = self.create(a, group, LegSpec::WebRtc { face: Face::Outside });
        let phone_end = self.create(b, group, LegSpec::Rtp { face: Face::Inside, sdes: false });
        self.say(&Command::Join { a: LegId(a), b: LegId(b) });
        let fingerprint =
            Fingerprint { hash: "sha-256".to_owned(), digest: browser.fingerprint.clone() };
        self.say(&Command::ConnectLeg {
            leg: LegId(a),
            remote: Remote {
                transport: RemoteTransport::WebRtc {
                    ufrag: browser.ufrag.clone(),
                    pwd: browser.pwd.clone(),
                    fingerprints: vec![fingerprint],
                    dtls: DtlsRole::Passive,
                },
                media: audio(),
            },
        });
        self.say(&Command::ConnectLeg {
            leg: LegId(b),
            remote: Remote {
                transport: RemoteTransport::Rtp {
                    rtp: Some(phone),
                    rtcp: None,
                    signalling: phone.ip(),
                    sdes: None,
                },
                media: audio(),
            },
        });
        let LocalTransport::WebRtc { ufrag, pwd, candidates, .. } = browser_end else {
            panic!("a browser leg is one")
        };
        let LocalTransport::Rtp { rtp, .. } = phone_end else { panic!("an RTP leg is one") };
        Placed { browser: candidates[0].address, ufrag, pwd, phone: rtp[0] }
    }
}
