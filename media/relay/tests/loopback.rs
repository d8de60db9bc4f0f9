//! A node on loopback: real sockets, real time, ports chosen by the system.

#[path = "../../engine/tests/bed/browser.rs"]
#[allow(dead_code)]
mod browser;

use browser::{Browser, Heard, certificate, format};
use media_control::{
    Codec, Command, DtlsRole, Event, Face, GroupId, LegFailure, LegId, LegSpec, LocalTransport,
    Remote, RemoteTransport, Source,
};
use media_packet::rtp::RtpHeader;
use media_relay::{Announce, FaceAddress, Node, NodeConfig, NodeError, PeerAddress};
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

fn config(bind: &str) -> NodeConfig {
    let (certificate, key) = certificate();
    NodeConfig {
        outside: vec![FaceAddress {
            bind: bind.parse().unwrap(),
            announce: None,
        }],
        inside: vec![PeerAddress {
            bind: "127.0.0.1".parse().unwrap(),
            announce: None,
        }],
        rtp_ports: 0..=0,
        workers: 2,
        dscp: 46,
        certificate,
        key,
    }
}

struct Bed {
    node: Node,
    events: Receiver<Event>,
}

impl Bed {
    fn new(bind: &str) -> Bed {
        Bed::with_config(config(bind))
    }

    fn with_config(config: NodeConfig) -> Bed {
        let (sender, events) = channel();
        let node = Node::new(config, move |event| {
            if !matches!(event, Event::Load(_)) {
                let _ = sender.send(event);
            }
        })
        .unwrap();
        Bed { node, events }
    }

    fn event(&self) -> Event {
        self.events.recv_timeout(PATIENCE).expect("an event")
    }

    fn create(&self, leg: u64, group: u64, spec: LegSpec) -> LocalTransport {
        self.node.handle(Command::CreateLeg {
            leg: LegId(leg),
            group: GroupId(group),
            spec,
        });
        match self.event() {
            Event::LegCreated { leg: id, local } if id == LegId(leg) => local,
            other => panic!("{other:?}"),
        }
    }
}

/// A browser with a socket of its own.
struct Page {
    browser: Browser,
    socket: UdpSocket,
    gateway: SocketAddr,
}

impl Page {
    fn new(local: &LocalTransport, at: Option<SocketAddr>) -> Page {
        let LocalTransport::WebRtc { candidates, .. } = local else {
            panic!("{local:?}")
        };
        let gateway = at.unwrap_or(candidates[0].address);
        let bind = if gateway.is_ipv4() {
            "127.0.0.1:0"
        } else {
            "[::1]:0"
        };
        let socket = UdpSocket::bind(bind).unwrap();
        // Connected: an answer from another address than the one spoken to is not heard.
        socket.connect(gateway).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let mut browser = Browser::new(DtlsRole::Passive, true, Instant::now());
        browser.set_remote(local);
        Page {
            browser,
            socket,
            gateway,
        }
    }

    fn flush(&mut self) {
        for packet in std::mem::take(&mut self.browser.out) {
            self.socket.send(&packet).unwrap();
        }
    }

    fn hear(&mut self) -> Option<Heard> {
        let mut packet = [0; 2048];
        let len = self.socket.recv(&mut packet).ok()?;
        let heard = self.browser.hear(&packet[..len], Instant::now());
        self.flush();
        Some(heard)
    }

    fn connect(&mut self) {
        let check = self.browser.check(true);
        self.socket.send(&check).unwrap();
        let until = Instant::now() + PATIENCE;
        while self.hear() != Some(Heard::CheckAnswered) {
            assert!(
                Instant::now() < until,
                "no answer to the check from {}",
                self.gateway
            );
        }
        self.browser.start(Instant::now());
        self.flush();
        while !self.browser.connected {
            assert!(Instant::now() < until, "no handshake");
            if self.hear().is_none() {
                self.browser.timeout(Instant::now());
                self.flush();
            }
        }
    }

    fn hear_rtp(&mut self) -> (RtpHeader, Vec<u8>) {
        let until = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < until, "no sound");
            if let Some(Heard::Rtp { header, payload }) = self.hear() {
                return (header, payload);
            }
        }
    }

    fn speak(&mut self, pt: u8, seq: u16, payload: &[u8]) {
        let header = RtpHeader::new(pt, seq, u32::from(seq) * 160, 0xbeef);
        let packet = self.browser.rtp(&header, payload);
        self.socket.send(&packet).unwrap();
    }
}

fn echo_over(bind: &str, dial: impl Fn(SocketAddr) -> SocketAddr) {
    let bed = Bed::new(bind);
    let local = bed.create(
        1,
        7,
        LegSpec::WebRtc {
            face: Face::Outside,
        },
    );
    bed.create(2, 7, LegSpec::Source(Source::Echo));
    bed.node.handle(Command::Join {
        a: LegId(1),
        b: LegId(2),
    });
    let LocalTransport::WebRtc { candidates, .. } = &local else {
        panic!()
    };
    let mut page = Page::new(&local, Some(dial(candidates[0].address)));
    let remote = page.browser.description(vec![format(Codec::Pcmu, 0, 8000)]);
    bed.node.handle(Command::ConnectLeg {
        leg: LegId(1),
        remote,
    });
    page.connect();
    assert_eq!(bed.event(), Event::LegConnected { leg: LegId(1) });
    for seq in 0..20u16 {
        let said = [seq.to_be_bytes()[1]; 160];
        page.speak(0, seq, &said);
        let (header, heard) = page.hear_rtp();
        assert_eq!((header.pt, heard.as_slice()), (0, said.as_slice()));
    }
    assert_eq!(bed.event(), Event::MediaStarted { leg: LegId(1) });
    bed.node.handle(Command::CloseLeg { leg: LegId(1) });
    let Event::LegClosed { stats, .. } = bed.event() else {
        panic!()
    };
    assert_eq!((stats.received, stats.sent, stats.lost), (20, 20, 0));
    assert_eq!(
        (stats.road.as_str(), stats.receiving.as_str()),
        ("relayed", "PCMU")
    );
    bed.node.shutdown();
}

#[test]
fn a_browser_hears_its_echo_over_a_real_socket() {
    echo_over("127.0.0.1:0", |address| address);
}

#[test]
fn a_browser_hears_its_echo_over_ipv6() {
    echo_over("[::1]:0", |address| address);
}

#[test]
fn answers_leave_from_the_address_that_was_spoken_to() {
    // Bound to all addresses; the page speaks to one that is not the default of loopback.
    echo_over("0.0.0.0:0", |address| {
        SocketAddr::from(([127, 0, 0, 3], address.port()))
    });
    echo_over("[::]:0", |address| {
        SocketAddr::new("::1".parse().unwrap(), address.port())
    });
}

#[test]
fn a_browser_and_a_phone_hear_each_other() {
    let bed = Bed::new("127.0.0.1:0");
    let browser_end = bed.create(
        1,
        7,
        LegSpec::WebRtc {
            face: Face::Outside,
        },
    );
    let phone_end = bed.create(
        2,
        7,
        LegSpec::Rtp {
            face: Face::Inside,
            sdes: false,
            video: false,
            ice: false,
        },
    );
    let LocalTransport::Rtp { rtp: announced, .. } = phone_end else {
        panic!()
    };
    assert_eq!(announced[0].port() % 2, 0);
    bed.node.handle(Command::Join {
        a: LegId(1),
        b: LegId(2),
    });
    let mut page = Page::new(&browser_end, None);
    let remote = page.browser.description(vec![format(Codec::Pcmu, 0, 8000)]);
    bed.node.handle(Command::ConnectLeg {
        leg: LegId(1),
        remote,
    });
    page.connect();
    assert_eq!(bed.event(), Event::LegConnected { leg: LegId(1) });

    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.connect(announced[0]).unwrap();
    phone.set_read_timeout(Some(PATIENCE)).unwrap();
    let remote = Remote {
        transport: RemoteTransport::Rtp {
            rtp: Some(phone.local_addr().unwrap()),
            rtcp: None,
            signalling: "127.0.0.1".parse().unwrap(),
            sdes: None,
            video: None,
            ice: None,
        },
        media: browser::audio(vec![format(Codec::Pcmu, 0, 8000)]),
    };
    bed.node.handle(Command::ConnectLeg {
        leg: LegId(2),
        remote,
    });
    assert_eq!(bed.event(), Event::LegConnected { leg: LegId(2) });
    for seq in 0..20u16 {
        page.speak(0, seq, &[1; 160]);
        let mut packet = [0; 2048];
        let len = phone.recv(&mut packet).unwrap();
        let header = RtpHeader::parse(&packet[..len]).unwrap();
        assert_eq!(packet[header.header_len..len], [1; 160]);

        let header = RtpHeader::new(0, 500 + seq, 9000 + u32::from(seq) * 160, 77);
        header.write(&mut packet).unwrap();
        packet[12..172].fill(2);
        phone.send(&packet[..172]).unwrap();
        let (header, heard) = page.hear_rtp();
        assert_ne!(header.ssrc, 77);
        assert_eq!(heard, [2; 160]);
    }
    bed.node.shutdown();
}

#[test]
fn a_lost_worker_ends_its_legs_and_is_replaced() {
    let bed = Bed::new("127.0.0.1:0");
    bed.create(
        1,
        7,
        LegSpec::WebRtc {
            face: Face::Outside,
        },
    );
    bed.create(
        2,
        8,
        LegSpec::Rtp {
            face: Face::Inside,
            sdes: true,
            video: false,
            ice: false,
        },
    );
    bed.node.lose_worker(0);
    assert_eq!(
        bed.event(),
        Event::LegFailed {
            leg: LegId(1),
            reason: LegFailure::WorkerLost
        }
    );
    let ports = bed.node.bound()[0].clone();
    let local = bed.create(
        3,
        9,
        LegSpec::WebRtc {
            face: Face::Outside,
        },
    );
    let LocalTransport::WebRtc { candidates, .. } = &local else {
        panic!()
    };
    assert_eq!(candidates[0].address, ports[0], "the same port again");
    let mut page = Page::new(&local, None);
    let remote = page.browser.description(vec![format(Codec::Pcmu, 0, 8000)]);
    bed.node.handle(Command::ConnectLeg {
        leg: LegId(3),
        remote,
    });
    page.connect();
    assert_eq!(bed.event(), Event::LegConnected { leg: LegId(3) });
    // The other worker's leg never noticed.
    bed.node.handle(Command::CloseLeg { leg: LegId(2) });
    assert!(matches!(
        bed.event(),
        Event::LegClosed { leg: LegId(2), .. }
    ));
}

#[test]
fn a_transcoded_phone_is_sent_a_packet_every_20_ms() {
    let bed = Bed::new("127.0.0.1:0");
    let browser_end = bed.create(
        1,
        7,
        LegSpec::WebRtc {
            face: Face::Outside,
        },
    );
    let phone_end = bed.create(
        2,
        7,
        LegSpec::Rtp {
            face: Face::Inside,
            sdes: false,
            video: false,
            ice: false,
        },
    );
    let LocalTransport::Rtp { rtp: announced, .. } = phone_end else {
        panic!()
    };
    bed.node.handle(Command::Join {
        a: LegId(1),
        b: LegId(2),
    });
    let mut page = Page::new(&browser_end, None);
    let remote = page.browser.description(vec![format(Codec::Pcmu, 0, 8000)]);
    bed.node.handle(Command::ConnectLeg {
        leg: LegId(1),
        remote,
    });
    page.connect();
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.connect(announced[0]).unwrap();
    phone.set_read_timeout(Some(PATIENCE)).unwrap();
    let remote = Remote {
        transport: RemoteTransport::Rtp {
            rtp: Some(phone.local_addr().unwrap()),
            rtcp: None,
            signalling: "127.0.0.1".parse().unwrap(),
            sdes: None,
            video: None,
            ice: None,
        },
        media: browser::audio(vec![format(Codec::Pcma, 8, 8000)]),
    };
    bed.node.handle(Command::ConnectLeg {
        leg: LegId(2),
        remote,
    });
    // The page keeps a little ahead; then the node's own clock is what the phone hears.
    let start = Instant::now();
    let mut last: Option<RtpHeader> = None;
    for seq in 0..30u16 {
        page.speak(0, seq, &[0x33; 160]);
        let mut packet = [0; 2048];
        let len = phone.recv(&mut packet).unwrap();
        let header = RtpHeader::parse(&packet[..len]).unwrap();
        assert_eq!((header.pt, len), (8, 172));
        if let Some(last) = last {
            assert_eq!(header.seq, last.seq.wrapping_add(1));
            assert_eq!(header.timestamp, last.timestamp.wrapping_add(160));
        }
        last = Some(header);
    }
    assert!(
        start.elapsed() >= Duration::from_millis(29 * 20 - 40),
        "{:?}",
        start.elapsed()
    );
    bed.node.shutdown();
}

#[test]
fn candidates_and_ports_say_what_is_announced() {
    let mut config = config("127.0.0.1:0");
    let announce = Announce {
        ip: "203.0.113.5".parse().unwrap(),
        port: Some(7000),
    };
    config.outside[0].announce = Some(announce);
    config.inside[0].announce = Some("198.51.100.5".parse().unwrap());
    let bed = Bed::with_config(config);
    let mut ports = Vec::new();
    for (leg, group) in [(1, 1), (2, 2), (3, 1)] {
        let local = bed.create(
            leg,
            group,
            LegSpec::WebRtc {
                face: Face::Outside,
            },
        );
        let LocalTransport::WebRtc { candidates, .. } = local else {
            panic!()
        };
        assert_eq!(candidates[0].address.ip(), announce.ip);
        ports.push(candidates[0].address.port());
    }
    // Two groups, two workers; a group stays together.
    assert_eq!(ports, [7000, 7001, 7000]);
    let LocalTransport::Rtp { rtp, .. } = bed.create(
        4,
        1,
        LegSpec::Rtp {
            face: Face::Inside,
            sdes: false,
            video: false,
            ice: false,
        },
    ) else {
        panic!()
    };
    assert_eq!(rtp[0].ip().to_string(), "198.51.100.5");
}

#[test]
fn a_leg_without_ports_is_refused_and_a_taken_port_is_named() {
    let mut config = config("127.0.0.1:0");
    config.inside.clear();
    let bed = Bed::with_config(config.clone());
    bed.node.handle(Command::CreateLeg {
        leg: LegId(1),
        group: GroupId(1),
        spec: LegSpec::Rtp {
            face: Face::Inside,
            sdes: false,
            video: false,
            ice: false,
        },
    });
    assert_eq!(
        bed.event(),
        Event::LegFailed {
            leg: LegId(1),
            reason: LegFailure::NoResources
        }
    );
    config.outside[0].bind = bed.node.bound()[1][0];
    let Err(error) = Node::new(config, |_| {}) else {
        panic!("the port is taken")
    };
    assert!(matches!(error, NodeError::Bind { .. }));
    assert!(
        error
            .to_string()
            .contains(&bed.node.bound()[1][0].to_string()),
        "{error}"
    );
}

#[test]
fn a_leg_with_pictures_has_two_even_ports_or_none() {
    let mut config = config("127.0.0.1:0");
    // The ports are the last two that are free: a third pair is not to be had.
    let free: Vec<u16> = std::iter::repeat_with(|| {
        std::net::UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .map_or(0, |address| address.port())
    })
    .take(64)
    .collect();
    let from = free.iter().filter(|port| **port < 65_000).max().copied();
    let from = from.unwrap_or(40_000) / 2 * 2 + 2;
    config.rtp_ports = from..=from + 5;
    let bed = Bed::with_config(config);
    let spec = LegSpec::Rtp {
        face: Face::Inside,
        sdes: false,
        video: true,
        ice: false,
    };
    let LocalTransport::Rtp { rtp, video, .. } = bed.create(1, 1, spec.clone()) else {
        panic!()
    };
    assert_eq!((rtp[0].port() % 2, video[0].port() % 2), (0, 0));
    assert_ne!(rtp[0].port(), video[0].port());
    let one_more = |leg: u64| {
        bed.node.handle(Command::CreateLeg {
            leg: LegId(leg),
            group: GroupId(1),
            spec: spec.clone(),
        });
        bed.event()
    };
    let reason = LegFailure::NoResources;
    assert_eq!(
        one_more(2),
        Event::LegFailed {
            leg: LegId(2),
            reason
        }
    );
    // What the refused one had of the first pair is free again, and so are both of one that closes.
    bed.node.handle(Command::CloseLeg { leg: LegId(1) });
    assert!(matches!(bed.event(), Event::LegClosed { .. }));
    assert!(matches!(one_more(3), Event::LegCreated { .. }));
}
