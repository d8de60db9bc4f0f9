//! An engine in virtual time, and peers on perfect wires.
#![allow(dead_code)]

pub mod browser;
pub mod call;

use browser::{Browser, Heard};
use media_control::{Command, Event, Face, GroupId, LegId, LegSpec, LocalTransport, Source};
use media_engine::{
    BrowserSocket, Buf, Datagram, DtlsIdentity, EngineConfig, Input, Legs, Output, Path, PortPair,
    SocketId, WallClock,
};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub const BROWSERS: SocketId = SocketId(0);

pub fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn identity() -> DtlsIdentity {
    let (certificate, key) = browser::certificate();
    DtlsIdentity::new(certificate, key).unwrap()
}

pub fn random() -> media_engine::Random {
    Box::new(|bytes| getrandom::fill(bytes).unwrap())
}

/// One packet that left, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    pub path: Path,
    pub packet: Vec<u8>,
}

pub struct Bed {
    pub legs: Legs,
    pub now: Instant,
    pub events: Vec<Event>,
    pub sent: Vec<Sent>,
    next_socket: u32,
    next_port: u16,
    slot: Option<Datagram>,
}

impl Bed {
    pub fn new() -> Bed {
        Bed::with_identity(identity())
    }

    pub fn config(identity: DtlsIdentity) -> EngineConfig {
        EngineConfig {
            identity,
            browser_sockets: vec![BrowserSocket {
                face: Face::Outside,
                socket: BROWSERS,
                announced: addr("203.0.113.1:9000"),
            }],
            wall: WallClock::new(Instant::now(), Duration::from_secs(1_800_000_000)),
        }
    }

    pub fn with_identity(identity: DtlsIdentity) -> Bed {
        Bed {
            legs: Legs::new(Bed::config(identity), random()),
            now: Instant::now(),
            events: Vec::new(),
            sent: Vec::new(),
            next_socket: 1,
            next_port: 20_000,
            slot: Some(Datagram::new(Buf::new())),
        }
    }

    pub fn command(&mut self, command: Command) {
        self.legs.handle(Input::Command(command), self.now);
        self.drain();
    }

    /// A datagram arrives.
    pub fn arrive(&mut self, socket: SocketId, remote: SocketAddr, packet: &[u8]) {
        let mut slot = self
            .slot
            .take()
            .unwrap_or_else(|| Datagram::new(Buf::new()));
        slot.buf.fill(packet);
        slot.received(
            Path {
                socket,
                local: None,
                remote,
            },
            packet.len(),
        );
        let mut batch = [slot];
        self.legs.handle(Input::Datagrams(&mut batch), self.now);
        let [slot] = batch;
        if slot.is_ready() {
            self.sent.push(Sent {
                path: slot.path,
                packet: slot.buf.data().to_vec(),
            });
        }
        self.slot = Some(slot);
        self.drain();
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.legs.poll_output() {
            match output {
                Output::Transmit { path, buf } => {
                    self.sent.push(Sent {
                        path,
                        packet: buf.data().to_vec(),
                    });
                    self.legs.recycle(buf);
                }
                Output::Event(event) => self.events.push(event),
                Output::OpenPorts { leg, .. } => {
                    let bound = SocketAddr::from(([203, 0, 113, 2], self.next_port));
                    let pair = PortPair {
                        rtp: SocketId(self.next_socket),
                        rtcp: SocketId(self.next_socket + 1),
                        bound,
                        announced: bound,
                    };
                    self.next_socket += 2;
                    self.next_port += 2;
                    self.legs.handle(
                        Input::PortsOpened {
                            leg,
                            ports: vec![pair],
                        },
                        self.now,
                    );
                }
                Output::ClosePorts { .. } => {}
            }
        }
    }

    /// Lets time pass, stopping at every timer.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.legs.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.legs.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    pub fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub fn create(&mut self, leg: u64, spec: LegSpec) -> LocalTransport {
        self.command(Command::CreateLeg {
            leg: LegId(leg),
            group: GroupId(1),
            spec,
        });
        self.events
            .iter()
            .rev()
            .find_map(|event| match event {
                Event::LegCreated { leg: id, local } if id.0 == leg => Some(local.clone()),
                _ => None,
            })
            .expect("LegCreated")
    }

    pub fn create_browser(&mut self, leg: u64) -> LocalTransport {
        self.create(
            leg,
            LegSpec::WebRtc {
                face: Face::Outside,
            },
        )
    }

    pub fn create_echo(&mut self, leg: u64) {
        self.create(leg, LegSpec::Source(Source::Echo));
    }

    pub fn join(&mut self, a: u64, b: u64) {
        self.command(Command::Join {
            a: LegId(a),
            b: LegId(b),
        });
    }

    /// Checks and handshake until both ends are connected, or 5 s have passed.
    pub fn connect_browser(&mut self, browser: &mut Browser, remote: SocketAddr) {
        let check = browser.check(true);
        self.arrive(BROWSERS, remote, &check);
        browser.start(self.now);
        for _ in 0..500 {
            self.exchange(browser, remote);
            if browser.connected {
                self.exchange(browser, remote);
                return;
            }
            self.pass(Duration::from_millis(10));
            browser.timeout(self.now);
        }
        panic!("no handshake: {:?}", self.events);
    }

    /// Carries datagrams both ways until nobody has any.
    pub fn exchange(&mut self, browser: &mut Browser, remote: SocketAddr) -> Vec<Heard> {
        let mut heard = Vec::new();
        loop {
            let to_browser = self.take_sent();
            for sent in to_browser.iter().filter(|sent| sent.path.remote == remote) {
                heard.push(browser.hear(&sent.packet, self.now));
            }
            let to_engine = std::mem::take(&mut browser.out);
            if to_browser.is_empty() && to_engine.is_empty() {
                return heard;
            }
            for packet in to_engine {
                self.arrive(BROWSERS, remote, &packet);
            }
        }
    }

    pub fn has_failed(&self) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event, Event::LegFailed { .. }))
    }
}

impl Bed {
    /// The leg is not known any more: closing it answers with an empty record.
    pub fn by_id_gone(&self, leg: u64) -> bool {
        self.legs.leg_ids().all(|id| id != LegId(leg))
    }
}
