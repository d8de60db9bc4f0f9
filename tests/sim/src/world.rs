//! The world of one simulation: a page, the switchboard, media that work, the trunk, a lossy wire, a phone.

use crate::chance::Chance;
use crate::phone::{Manner, Phone};
use media_control as media;
use media_control::{Candidate, Fingerprint, LegSpec, LegStats, LocalTransport};
use serde_json::{Value, json};
use signaling_calls::{CallRecord, Config, Input, Link, Output, Ringback, SessionId, Switchboard};
use signaling_protocol::{ClientMessage, ServerMessage};
use signaling_sip::time::Instant;
use signaling_trunk::agent::{self, Agent};
use signaling_trunk::net::{Listener, Transport};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

pub const BROWSER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 0 8 126\r\n\
a=ice-ufrag:2sup\r\na=ice-pwd:YwOAObQkA9QWOwPIzuOOpv7X\r\na=fingerprint:sha-256 37:F9\r\na=setup:actpass\r\na=mid:0\r\n\
a=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:126 telephone-event/8000\r\n";

/// How bad the wire is.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    pub loss_percent: u64,
    pub double_percent: u64,
    pub delay_ms: (u64, u64),
}

impl Wire {
    pub const GOOD: Wire = Wire {
        loss_percent: 0,
        double_percent: 0,
        delay_ms: (1, 2),
    };
    pub const BAD: Wire = Wire {
        loss_percent: 15,
        double_percent: 5,
        delay_ms: (1, 180),
    };
}

pub struct World {
    pub now: Instant,
    pub board: Switchboard,
    pub agent: Agent,
    pub phone: Phone,
    pub page: Vec<Value>,
    pub records: Vec<CallRecord>,
    /// Cores are dropped and restored after each step.
    pub reincarnates: bool,
    pub trace: Vec<String>,
    /// Legs that media holds.
    pub legs: BTreeSet<media::LegId>,
    agent_config: agent::Config,
    gateway: SocketAddr,
    wire: Wire,
    chance: Chance,
    /// In flight: true towards the phone.
    flying: BTreeMap<(Instant, u64), (bool, Vec<u8>)>,
    flights: u64,
}

impl World {
    pub fn new(seed: u64, wire: Wire, manner: Manner, reincarnates: bool) -> World {
        let gateway: SocketAddr = "127.0.0.1:5060".parse().expect("an address");
        let phone: SocketAddr = "127.0.0.1:15060".parse().expect("an address");
        let agent_config = agent::Config {
            listeners: vec![Listener {
                transport: Transport::Udp,
                bound: gateway,
                announce: None,
                name: String::new(),
            }],
            interfaces: vec![("127.0.0.1".parse().expect("an address"), 8)],
            ..agent::Config::default()
        };
        let mut dice = [7; 32];
        dice[..8].copy_from_slice(&seed.to_be_bytes());
        let mut world = World {
            now: Instant(1_000_000),
            board: Switchboard::new(Config {
                first_number: 1 << 20,
                ringback: Ringback::Eu,
                ..Config::default()
            }),
            agent: Agent::new(agent_config.clone(), dice),
            phone: Phone::new(phone, gateway, manner),
            page: Vec::new(),
            records: Vec::new(),
            reincarnates,
            trace: Vec::new(),
            legs: BTreeSet::new(),
            agent_config,
            gateway,
            wire,
            chance: Chance::new(seed),
            flying: BTreeMap::new(),
            flights: 0,
        };
        world
            .board
            .handle(Input::MediaLink(Link::Up { fresh: true }), world.now);
        world
            .board
            .handle(Input::TrunkLink(Link::Up { fresh: true }), world.now);
        let remote = "127.0.0.1:40000".parse().expect("an address");
        world.board.handle(
            Input::SessionOpened {
                session: SessionId(1),
                remote,
                token: "t".into(),
            },
            world.now,
        );
        world.settle();
        world
    }

    pub fn sign_in(&mut self) {
        let proxy = self.phone.address.to_string();
        self.frame(
            json!({"message": "connection", "data": [{"sipLogin": "1001", "sipPassword": "secret",
            "sipDomain": "pbx", "sipOutboundProxy": proxy, "sipRegisterRequired": true}]}),
        );
    }

    pub fn dial(&mut self, id: &str) {
        self.dial_to(id, "1002");
    }

    pub fn dial_to(&mut self, id: &str, callee: &str) {
        self.frame(
            json!({"message": "call", "data": [{"callId": id, "callee": callee, "sdp": BROWSER}]}),
        );
    }

    pub fn hang_up(&mut self, id: &str) {
        self.frame(json!({"message": "hangup", "data": [{"callId": id}]}));
    }

    pub fn answer(&mut self, id: &str) {
        let sdp = BROWSER.replace("actpass", "active");
        self.frame(json!({"message": "answer", "data": [{"callId": id, "sdp": sdp}]}));
    }

    pub fn frame(&mut self, frame: Value) {
        let message = ClientMessage::parse(&frame.to_string()).expect("a frame of the protocol");
        self.board.handle(
            Input::Frame {
                session: SessionId(1),
                message,
            },
            self.now,
        );
        self.settle();
    }

    pub fn phone_calls(&mut self) -> Option<String> {
        let id = self.phone.call(self.now);
        self.settle();
        id
    }

    pub fn phone_does(&mut self, what: impl FnOnce(&mut Phone, Instant)) {
        what(&mut self.phone, self.now);
        self.settle();
    }

    pub fn phone_hangs_up(&mut self, id: &str) {
        self.phone.hang_up(id, self.now);
        self.settle();
    }

    pub fn transfer(&mut self, id: &str, target: &str) {
        self.frame(json!({"message": "transfer", "data": [{"callId": id, "target": target}]}));
    }

    pub fn hold(&mut self, id: &str, hold: bool) {
        let message = if hold { "hold" } else { "unhold" };
        self.frame(json!({"message": message, "data": [{"callId": id}]}));
    }

    /// The phone asks for another party instead of itself.
    pub fn phone_refers(&mut self, id: &str, user: &str) {
        self.phone.refer_to(id, user, self.now);
        self.settle();
    }

    /// Another phone takes the place of that call.
    pub fn phone_replaces(&mut self, id: &str) {
        self.phone.replace(id, self.now);
        self.settle();
    }

    /// Calls that the phone thinks are talking.
    pub fn phone_talks(&self) -> Vec<String> {
        let talks =
            |(_, call): &(&String, &crate::phone::Call)| call.state == crate::phone::State::Talking;
        let calls = self.phone.calls.iter().filter(talks);
        calls.map(|(id, _)| id.clone()).collect()
    }

    /// callId of the last call that was announced to the page.
    pub fn announced(&self) -> Option<String> {
        let last = self
            .page
            .iter()
            .rev()
            .find(|m| m["message"] == "notifyIncomingCall")?;
        last["data"][0]["callId"].as_str().map(str::to_owned)
    }

    /// What the page was told of a call, by status.
    pub fn statuses(&self, id: &str) -> Vec<String> {
        let of = |m: &&Value| m["data"][0]["callId"] == id;
        self.page
            .iter()
            .filter(of)
            .filter_map(|m| m["data"][0]["status"].as_str())
            .map(str::to_owned)
            .collect()
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let flight = self.flying.keys().next().map(|(at, _)| *at);
            let times = [
                flight,
                self.board.poll_timeout(),
                self.agent.poll_timeout(),
                self.phone.poll_timeout(),
            ];
            let Some(next) = times.into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            while let Some((&key, _)) = self
                .flying
                .iter()
                .next()
                .filter(|((at, _), _)| *at <= self.now)
            {
                let (to_phone, bytes) = self.flying.remove(&key).expect("it was there");
                if to_phone {
                    self.phone.handle(&bytes, self.now);
                } else {
                    let (local, remote) = (self.gateway, self.phone.address);
                    self.agent.handle(
                        agent::Input::Datagram {
                            local,
                            remote,
                            bytes: &bytes,
                        },
                        self.now,
                    );
                }
                self.settle();
            }
            self.board.handle_timeout(self.now);
            self.agent.handle_timeout(self.now);
            self.phone.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    /// Moves what the cores put out until none has more to say.
    fn settle(&mut self) {
        loop {
            let mut to_board = VecDeque::new();
            let mut to_agent = VecDeque::new();
            while let Some(output) = self.board.poll_output() {
                match output {
                    Output::Send { session, message } => {
                        if message == ServerMessage::Ping {
                            to_board.push_back(Input::Frame {
                                session,
                                message: ClientMessage::Pong,
                            });
                        }
                        self.page
                            .push(serde_json::from_str(&message.to_text()).expect("our own JSON"));
                    }
                    Output::Close { session } => {
                        to_board.push_back(Input::SessionClosed { session })
                    }
                    Output::Trunk { command, .. } => to_agent.push_back(command),
                    Output::Media { command, .. } => {
                        match &command {
                            media::Command::CreateLeg { leg, .. } => {
                                assert!(self.legs.insert(*leg), "{leg} is made twice");
                            }
                            media::Command::CloseLeg { leg } => {
                                assert!(self.legs.remove(leg), "{leg} is closed and is not there");
                            }
                            media::Command::Join { a, b } | media::Command::Part { a, b } => {
                                let there = self.legs.contains(a) && self.legs.contains(b);
                                assert!(there, "{command:?} of legs that are not there");
                            }
                            _ => {}
                        }
                        to_board.extend(media_does(command).map(Input::Media))
                    }
                    Output::Record(record) => self.records.push(*record),
                    Output::Hook { .. } | Output::Moved { .. } | Output::Over { .. } => {}
                }
            }
            while let Some(output) = self.agent.poll_output() {
                match output {
                    agent::Output::Datagram { remote, bytes, .. } => {
                        assert_eq!(remote, self.phone.address, "nothing goes anywhere else");
                        self.fly(true, bytes);
                    }
                    agent::Output::Event(event) => to_board.push_back(Input::Trunk(event)),
                    agent::Output::OpenStream { stream, .. } => {
                        self.agent
                            .handle(agent::Input::StreamClosed { stream }, self.now);
                    }
                    agent::Output::StreamData { .. } | agent::Output::CloseStream { .. } => {}
                    agent::Output::Ask { .. } => unreachable!("all addresses are numeric"),
                }
            }
            for text in std::mem::take(&mut self.phone.out) {
                self.fly(false, text.into_bytes());
            }
            if self.reincarnates {
                self.board =
                    Switchboard::restore(&self.board.snapshot()).expect("our own snapshot");
                let snapshot = self.agent.snapshot();
                self.agent =
                    Agent::restore(self.agent_config.clone(), &snapshot).expect("our own snapshot");
            }
            if to_board.is_empty() && to_agent.is_empty() {
                break;
            }
            for input in to_board {
                self.board.handle(input, self.now);
            }
            for command in to_agent {
                self.agent.handle(agent::Input::Command(command), self.now);
            }
        }
    }

    fn fly(&mut self, to_phone: bool, bytes: Vec<u8>) {
        let line = String::from_utf8_lossy(&bytes)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        let arrow = if to_phone { "->" } else { "<-" };
        let lost = self.chance.percent(self.wire.loss_percent);
        self.trace.push(format!(
            "{:>9} {arrow} {line}{}",
            self.now.0 / 1000,
            if lost { " (lost)" } else { "" }
        ));
        if lost {
            return;
        }
        let copies = if self.chance.percent(self.wire.double_percent) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let (least, most) = self.wire.delay_ms;
            let delay = Duration::from_millis(least + self.chance.below(most - least + 1));
            self.flights += 1;
            self.flying
                .insert((self.now + delay, self.flights), (to_phone, bytes.clone()));
        }
    }
}

fn media_does(command: media::Command) -> Option<media::Event> {
    match command {
        media::Command::CreateLeg { leg, spec, .. } => {
            let local = match spec {
                LegSpec::WebRtc { .. } => LocalTransport::WebRtc {
                    ufrag: "abcdefgh".into(),
                    pwd: "0123456789abcdefghijklmn".into(),
                    fingerprint: Fingerprint {
                        hash: "sha-256".into(),
                        digest: vec![7; 32],
                    },
                    candidates: vec![Candidate {
                        address: "127.0.0.1:31000".parse().expect("an address"),
                        tcp: false,
                        priority: 5,
                    }],
                },
                LegSpec::Rtp { .. } => LocalTransport::Rtp {
                    rtp: vec!["127.0.0.1:20000".parse().expect("an address")],
                    sdes: Vec::new(),
                    video: Vec::new(),
                    ice: None,
                },
                LegSpec::Source(_) => LocalTransport::Source,
            };
            Some(media::Event::LegCreated { leg, local })
        }
        media::Command::CloseLeg { leg } => Some(media::Event::LegClosed {
            leg,
            stats: LegStats::default(),
        }),
        _ => None,
    }
}
