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
    crypto: bool,
}

impl Ours {
    /// Without `crypto` both sides of a call are plain RTP: what is left is the relay alone.
    pub fn start(crypto: bool) -> Ours {
        let node = std::env::current_exe()
            .expect("our own path")
            .with_file_name("node");
        let mut child = std::process::Command::new(node)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the node beside this program");
        let commands = child.stdin.take().expect("piped");
        let events = BufReader::new(child.stdout.take().expect("piped")).lines();
        Ours {
            child: Running(child),
            commands,
            events,
            crypto,
        }
    }

    fn say(&mut self, command: &Command) {
        let line = serde_json::to_string(command).expect("a command is plain data");
        writeln!(self.commands, "{line}").expect("the node listens");
    }

    fn create(&mut self, leg: u64, group: u64, spec: LegSpec) -> LocalTransport {
        self.say(&Command::CreateLeg {
            leg: LegId(leg),
            group: GroupId(group),
            spec,
        });
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
        key_frame: media_control::KeyFrameRequests::default(),
        inband_dtmf: false,
    }]
}

impl Target for Ours {
    fn name(&self) -> String {
        if self.crypto {
            "trunkgate"
        } else {
            "trunkgate, crypto off"
        }
        .to_owned()
    }

    fn pid(&self) -> u32 {
        self.child.0.id()
    }

    fn place(&mut self, n: usize, browser: &BrowserSide, phone: SocketAddr) -> Placed {
        let group = u64::try_from(n).expect("few calls");
        let (a, b) = (2 * group, 2 * group + 1);
        let plain = LegSpec::Rtp {
            face: Face::Inside,
            sdes: false,
            video: false, ice: false, };
        let spec = if self.crypto {
            LegSpec::WebRtc {
                face: Face::Outside,
            }
        } else {
            plain.clone()
        };
        let browser_end = self.create(a, group, spec);
        let phone_end = self.create(b, group, plain);
        self.say(&Command::Join {
            a: LegId(a),
            b: LegId(b),
        });
        let fingerprint = Fingerprint {
            hash: "sha-256".to_owned(),
            digest: browser.fingerprint.clone(),
        };
        let secured = RemoteTransport::WebRtc {
            ufrag: browser.ufrag.clone(),
            pwd: browser.pwd.clone(),
            fingerprints: vec![fingerprint],
            dtls: DtlsRole::Passive,
        };
        let transport = if self.crypto {
            secured
        } else {
            rtp(browser.address)
        };
        self.say(&Command::ConnectLeg {
            leg: LegId(a),
            remote: Remote {
                transport,
                media: audio(),
            },
        });
        let remote = Remote {
            transport: rtp(phone),
            media: audio(),
        };
        self.say(&Command::ConnectLeg {
            leg: LegId(b),
            remote,
        });
        let LocalTransport::Rtp { rtp: phone_rtp, .. } = phone_end else {
            panic!("an RTP leg is one")
        };
        let (browser, ice) = match browser_end {
            LocalTransport::WebRtc {
                ufrag,
                pwd,
                candidates,
                ..
            } => (candidates[0].address, Some((ufrag, pwd))),
            LocalTransport::Rtp { rtp, .. } => (rtp[0], None),
            LocalTransport::Source => panic!("no leg of that kind was made"),
        };
        Placed {
            browser,
            ice,
            phone: phone_rtp[0],
        }
    }
}

fn rtp(address: SocketAddr) -> RemoteTransport {
    RemoteTransport::Rtp {
        rtp: Some(address),
        rtcp: None,
        signalling: address.ip(),
        sdes: None,
        video: None, ice: None, }
}
