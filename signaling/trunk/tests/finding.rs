//! From a name to addresses (RFC 3263): NAPTR, SRV with priorities and weights, A and AAAA.

mod common;

use common::*;
use signaling_trunk::agent::{Config, Input, Output};
use signaling_trunk::api::{AccountId, AccountSpec, Cause, Command, End, Event, InviteId};
use signaling_trunk::net::{Listener, Transport};
use signaling_trunk::targets::{Answer, Pointer, Question, Service};
use std::collections::BTreeMap;

/// What the name server knows.
#[derive(Default)]
struct Zone {
    pointers: Vec<Pointer>,
    services: BTreeMap<&'static str, Vec<Service>>,
    /// By their last number in 192.0.2.0.
    hosts: BTreeMap<&'static str, u8>,
    /// It never answers what it is asked about NAPTR.
    mute: bool,
    asked: Vec<Question>,
}

impl Zone {
    fn serve(&mut self, desk: &mut Desk) {
        loop {
            let (asked, others): (Vec<_>, Vec<_>) = std::mem::take(&mut desk.others)
                .into_iter()
                .partition(|o| matches!(o, Output::Ask { .. }));
            desk.others = others;
            if asked.is_empty() {
                return;
            }
            for output in asked {
                let Output::Ask { query, question } = output else {
                    continue;
                };
                self.asked.push(question.clone());
                let answer = match &question {
                    Question::Pointers { .. } if self.mute => continue,
                    Question::Pointers { .. } => Answer::Pointers(self.pointers.clone()),
                    Question::Services { name } => match self.services.get(name.as_str()) {
                        Some(services) => Answer::Services(services.clone()),
                        None => Answer::Nothing,
                    },
                    Question::Addresses { name } => match self.hosts.get(name.as_str()) {
                        Some(last) => Answer::Addresses(vec![[192, 0, 2, *last].into()]),
                        None => Answer::Nothing,
                    },
                };
                desk.step(Input::Answer { query, answer });
            }
        }
    }
}

fn pointer(order: u16, preference: u16, service: &str, replacement: &str) -> Pointer {
    Pointer {
        order,
        preference,
        flags: "s".into(),
        service: service.into(),
        regexp: String::new(),
        replacement: replacement.into(),
    }
}

fn service(priority: u16, weight: u16, target: &str) -> Service {
    Service {
        priority,
        weight,
        port: 5060,
        target: target.into(),
    }
}

/// Calls a user of pbx.test, whose names are looked up.
fn calling(config: Config, zone: &mut Zone, domain: &str) -> Desk {
    let mut desk = Desk::with(config);
    desk.command(Command::OpenAccount {
        account: AccountId(1),
        spec: AccountSpec {
            proxy: domain.into(),
            register: false,
            ..spec("")
        },
    });
    desk.command(invite(b"v=0 offer"));
    zone.serve(&mut desk);
    desk
}

/// Where the call went: by UDP, or which connection is opened.
fn went(desk: &Desk) -> (Transport, String) {
    let opened = desk.others.iter().find_map(|output| match output {
        Output::OpenStream { remote, tls, .. } => Some((remote, tls.is_some())),
        _ => None,
    });
    match opened {
        Some((remote, true)) => (Transport::Tls, remote.to_string()),
        Some((remote, false)) => (Transport::Tcp, remote.to_string()),
        None => (Transport::Udp, desk.sent[0].0.to_string()),
    }
}

fn with_tls() -> Config {
    let mut config = config();
    config.listeners.push(Listener {
        transport: Transport::Tls,
        bound: "192.0.2.10:5061".parse().unwrap(),
        ..config.listeners[0].clone()
    });
    config
}

fn full() -> Zone {
    Zone {
        pointers: vec![
            pointer(20, 10, "SIP+D2U", "_sip._udp.pbx.test."),
            pointer(10, 20, "SIP+D2T", "_sip._tcp.other.test."),
            pointer(10, 10, "SIPS+D2T", "_sips._tcp.pbx.test."),
        ],
        services: BTreeMap::from([
            ("_sip._udp.pbx.test", vec![service(1, 1, "udp.test")]),
            ("_sip._tcp.other.test", vec![service(1, 1, "tcp.test")]),
            ("_sips._tcp.pbx.test", vec![service(1, 1, "tls.test")]),
        ]),
        hosts: BTreeMap::from([("udp.test", 21), ("tcp.test", 22), ("tls.test", 23)]),
        ..Zone::default()
    }
}

#[test]
fn naptr_says_by_order_and_preference_which_of_our_transports_is_spoken() {
    let mut zone = full();
    let desk = calling(with_tls(), &mut zone, "pbx.test");
    assert_eq!(went(&desk), (Transport::Tls, "192.0.2.23:5060".into()));
    let desk = calling(config(), &mut full(), "pbx.test");
    assert_eq!(
        went(&desk),
        (Transport::Tcp, "192.0.2.22:5060".into()),
        "TLS is not there, and TCP is under another name"
    );
    let mut udp = config();
    udp.listeners.retain(|l| l.transport == Transport::Udp);
    let desk = calling(udp, &mut full(), "pbx.test");
    assert_eq!(went(&desk), (Transport::Udp, "192.0.2.21:5060".into()));
}

#[test]
fn a_named_transport_a_port_or_a_number_leave_naptr_no_say() {
    for (proxy, asked) in [
        ("sip:pbx.test;transport=udp", 2),
        ("udp.test:5060", 1),
        ("192.0.2.21", 0),
    ] {
        let mut zone = full();
        let desk = calling(config(), &mut zone, proxy);
        assert_eq!(went(&desk).1, "192.0.2.21:5060", "{proxy}");
        assert_eq!(zone.asked.len(), asked, "{proxy}: {:?}", zone.asked);
    }
}

#[test]
fn records_of_naptr_that_are_not_for_sip_are_passed_over() {
    let mut zone = full();
    zone.pointers = vec![
        pointer(1, 1, "SIP+D2S", "_sip._sctp.pbx.test."),
        pointer(1, 2, "E2U+sip", "_sip._tcp.other.test."),
        Pointer {
            flags: "u".into(),
            ..pointer(1, 3, "SIP+D2T", "_sip._tcp.other.test.")
        },
        Pointer {
            regexp: "!^.*$!sip:x@y!".into(),
            ..pointer(1, 4, "SIP+D2T", "_sip._tcp.other.test.")
        },
        pointer(1, 5, "SIP+D2T", "."),
    ];
    let desk = calling(config(), &mut zone, "pbx.test");
    assert_eq!(went(&desk), (Transport::Udp, "192.0.2.21:5060".into()));
}

#[test]
fn a_name_server_that_is_silent_about_naptr_costs_half_a_second() {
    let mut zone = Zone {
        mute: true,
        ..full()
    };
    let mut desk = calling(config(), &mut zone, "pbx.test");
    assert_eq!(desk.sent, []);
    desk.wait(500);
    zone.serve(&mut desk);
    assert_eq!(went(&desk), (Transport::Udp, "192.0.2.21:5060".into()));
}

#[test]
fn calls_are_shared_out_by_the_weights_of_srv_within_the_best_priority() {
    let mut zone = Zone {
        services: BTreeMap::from([(
            "_sip._udp.pbx.test",
            vec![
                service(20, 100, "spare.test"),
                service(10, 0, "none.test"),
                service(10, 30, "small.test"),
                service(10, 70, "large.test"),
            ],
        )]),
        hosts: BTreeMap::from([
            ("none.test", 30),
            ("small.test", 31),
            ("large.test", 32),
            ("spare.test", 33),
        ]),
        ..Zone::default()
    };
    let mut desk = calling(config(), &mut zone, "pbx.test");
    let mut counts = BTreeMap::<String, usize>::new();
    for n in 0..1_000 {
        let (to, message) = desk.sent.remove(0);
        *counts.entry(to.ip().to_string()).or_default() += 1;
        desk.answer(&message, "486 Busy Here", "", "");
        desk.sent.clear();
        let mut command = invite(b"v=0 offer");
        if let Command::Invite { invite, .. } = &mut command {
            *invite = InviteId(4 + 2 * n);
        }
        desk.command(command);
        zone.serve(&mut desk);
    }
    let of = |last: u8| counts.get(&format!("192.0.2.{last}")).copied().unwrap_or(0);
    assert!((620..780).contains(&of(32)), "{counts:?}");
    assert!((220..380).contains(&of(31)), "{counts:?}");
    assert!(of(30) < 40, "{counts:?}");
    assert_eq!(of(33), 0, "a worse priority only after the better failed");
}

#[test]
fn a_dead_host_is_followed_by_the_next_of_its_priority_and_then_by_the_worse() {
    let mut zone = Zone {
        services: BTreeMap::from([(
            "_sip._udp.pbx.test",
            vec![service(20, 1, "spare.test"), service(10, 1, "first.test")],
        )]),
        hosts: BTreeMap::from([("first.test", 41), ("spare.test", 42)]),
        ..Zone::default()
    };
    let mut desk = calling(config(), &mut zone, "pbx.test");
    let (to, message) = desk.sent.remove(0);
    assert_eq!(to.to_string(), "192.0.2.41:5060");
    desk.answer(&message, "503 Service Unavailable", "", "");
    let again = desk.sent.iter().find(|(_, b)| b.starts_with(b"INVITE "));
    let (to, again) = again.unwrap();
    assert_eq!(to.to_string(), "192.0.2.42:5060");
    // A new transaction with the same request (RFC 3263 §4.3).
    assert_eq!(header(again, "Call-ID"), header(&message, "Call-ID"));
    assert_eq!(header(again, "CSeq"), header(&message, "CSeq"));
    assert_ne!(header(again, "Via"), header(&message, "Via"));
}

#[test]
fn a_hundred_records_of_each_kind_are_bounded() {
    let names: Vec<String> = (0..100).map(|n| format!("h{n}.test")).collect();
    let pointers = (0..100).map(|n| {
        let name = format!("_sip._udp.z{n}.test");
        pointer(1, n, "SIP+D2U", &name)
    });
    let mut zone = Zone {
        pointers: pointers.collect(),
        ..Zone::default()
    };
    let services: Vec<Service> = names.iter().map(|name| service(1, 1, name)).collect();
    zone.services.insert("_sip._udp.z0.test", services);
    let desk = calling(config(), &mut zone, "pbx.test");
    assert!(zone.asked.len() < 30, "{}", zone.asked.len());
    assert!(matches!(
        desk.events.last(),
        Some(Event::Ended { end: End::Failed(f), .. }) if f.cause == Cause::Unreachable
    ));
}
