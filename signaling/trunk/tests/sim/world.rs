//! Virtual time, two agents, the PBX and the wires between them.

use crate::pbx::{PBX, Pbx};
use crate::transfer::{self, Wishes};
use signaling_sip::message::{StreamFramer, Unit};
use signaling_sip::time::Instant;
use signaling_trunk::agent::{Agent, Config, Input, Output};
use signaling_trunk::allowed::Entry;
use signaling_trunk::api::{AccountId, AccountSpec, Command, Event, InviteId, Refusal, Target};
use signaling_trunk::net::{Listener, StreamId, Transport};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

pub const CALL: InviteId = InviteId(100);
const OFFER: &[u8] = b"v=0 offer";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Caller,
    Callee,
}

/// What happens, and how bad the wires are.
#[derive(Clone, Default)]
pub struct Plan {
    pub seed: u64,
    pub loss_percent: u64,
    pub jitter_ms: u64,
    pub tcp: bool,
    /// Each agent is dropped and restored from its snapshot after each step.
    pub restore: bool,
    pub late: bool,
    /// The callee sends a description before it answers: reliably, since the caller supports it.
    pub early: bool,
    /// Asked for as the session's interval; 0: the usual.
    pub session_s: u32,
    pub min_expires: u32,
    pub answer_after: Option<Duration>,
    pub refuse: Option<Refusal>,
    /// Times from the start of the call.
    pub caller_hangs_up: Option<Duration>,
    pub callee_hangs_up: Option<Duration>,
    pub caller_offers: Option<Duration>,
    pub callee_offers: Option<Duration>,
    pub wishes: Wishes,
}

impl Plan {
    pub fn good() -> Plan {
        Plan {
            seed: 1,
            jitter_ms: 5,
            ..Plan::default()
        }
    }

    pub fn random(seed: u64) -> Plan {
        let mut dice = Dice(seed.wrapping_mul(77).wrapping_add(5));
        let mut maybe = |percent: u64, up_to_ms: u64| {
            let (hit, at) = (dice.below(100) < percent, dice.below(up_to_ms));
            hit.then(|| Duration::from_millis(at))
        };
        let answer_after = maybe(80, 3000);
        let refuse = maybe(10, 1).map(|_| Refusal {
            status: 486,
            reason: "Busy Here".into(),
            retry_after_s: None,
        });
        Plan {
            caller_hangs_up: maybe(70, 6000),
            callee_hangs_up: maybe(50, 6000),
            caller_offers: maybe(40, 4000),
            callee_offers: maybe(40, 4000),
            answer_after,
            refuse,
            seed,
            loss_percent: dice.below(25),
            jitter_ms: 1 + dice.below(400),
            late: dice.below(4) == 0,
            early: dice.below(3) == 0,
            session_s: if dice.below(2) == 0 { 90 } else { 0 },
            ..Plan::default()
        }
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }
}

enum Happening {
    /// A datagram, or a piece of a stream of that side.
    ToPbx {
        side: Side,
        bytes: Vec<u8>,
    },
    ToAgent {
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    Connected {
        side: Side,
        stream: StreamId,
    },
    Failed {
        side: Side,
        stream: StreamId,
    },
    Do {
        side: Side,
        command: Command,
    },
}

struct Node {
    agent: Agent,
    address: SocketAddr,
    stream: Option<StreamId>,
    framer: StreamFramer,
    events: Vec<Event>,
    invite: Option<InviteId>,
}

pub struct World {
    pub plan: Plan,
    pub called: bool,
    now: Instant,
    dice: Dice,
    pbx: Pbx,
    pbx_is_up: bool,
    nodes: BTreeMap<Side, Node>,
    queue: BTreeMap<(Instant, u64), Happening>,
    order: u64,
    log: String,
    call_at: Option<Instant>,
}

impl World {
    pub fn new(plan: Plan) -> World {
        let node = |last: u8| {
            let address = SocketAddr::from(([192, 0, 2, last], 5060));
            Node {
                agent: Agent::new(config(address, &plan), [last; 32]),
                address,
                stream: None,
                framer: StreamFramer::default(),
                events: Vec::new(),
                invite: None,
            }
        };
        let nodes = BTreeMap::from([(Side::Caller, node(11)), (Side::Callee, node(12))]);
        let pbx = Pbx {
            min_expires: plan.min_expires,
            tcp: plan.tcp,
            ..Pbx::default()
        };
        World {
            dice: Dice(plan.seed),
            plan,
            called: false,
            now: Instant(0),
            pbx,
            pbx_is_up: true,
            nodes,
            queue: BTreeMap::new(),
            order: 0,
            log: String::new(),
            call_at: None,
        }
    }

    pub fn log(&self) -> &str {
        &self.log
    }

    pub fn counts(&self, side: Side) -> [usize; 5] {
        self.nodes[&side].agent.counts()
    }

    pub fn events(&self, side: Side) -> impl Iterator<Item = &Event> {
        self.nodes[&side].events.iter()
    }

    pub fn both_registered(&self) -> bool {
        let is = |side| {
            self.events(side)
                .filter(|e| {
                    matches!(
                        e,
                        Event::Registered { .. } | Event::RegistrationFailed { .. }
                    )
                })
                .last()
                .is_some_and(|e| matches!(e, Event::Registered { .. }))
        };
        is(Side::Caller) && is(Side::Callee)
    }

    pub fn pbx_knows_both(&self) -> bool {
        self.pbx.knows("caller") && self.pbx.knows("callee")
    }

    pub fn open_accounts(&mut self) {
        let proxy = if self.plan.tcp {
            format!("{PBX};transport=tcp")
        } else {
            PBX.to_string()
        };
        for (side, login) in [(Side::Caller, "caller"), (Side::Callee, "callee")] {
            self.command(
                side,
                Command::OpenAccount {
                    account: AccountId(1),
                    spec: spec(login, &proxy, true),
                },
            );
        }
    }

    pub fn close_accounts(&mut self) {
        for side in [Side::Caller, Side::Callee] {
            self.command(
                side,
                Command::Retain {
                    accounts: Vec::new(),
                    invites: Vec::new(),
                },
            );
        }
    }

    pub fn call(&mut self) {
        self.called = true;
        self.call_at = Some(self.now);
        let sdp = if self.plan.late {
            Vec::new()
        } else {
            OFFER.to_vec()
        };
        let target = Target::User {
            user: "callee".into(),
            params: Vec::new(),
        };
        self.command(
            Side::Caller,
            Command::Invite {
                invite: CALL,
                account: AccountId(1),
                target,
                from_display: "A".into(),
                headers: Vec::new(),
                options: Default::default(),
                sdp,
            },
        );
        if let Some(after) = self.plan.caller_hangs_up {
            self.later(
                after,
                Happening::Do {
                    side: Side::Caller,
                    command: Command::Hangup {
                        invite: CALL,
                        status: None,
                    },
                },
            );
        }
        for (after, command) in self.plan.wishes.of(Side::Caller, CALL) {
            let side = Side::Caller;
            self.later(after, Happening::Do { side, command });
        }
        if let Some(after) = self.plan.caller_offers {
            self.later(
                after,
                Happening::Do {
                    side: Side::Caller,
                    command: Command::Offer {
                        invite: CALL,
                        sdp: OFFER.to_vec(),
                    },
                },
            );
        }
    }

    pub fn kill_pbx(&mut self) {
        self.pbx_is_up = false;
        self.pbx.forget();
        for side in [Side::Caller, Side::Callee] {
            let node = self.nodes.get_mut(&side).unwrap();
            node.framer = StreamFramer::default();
            if let Some(stream) = node.stream.take() {
                self.step(side, Input::StreamClosed { stream });
            }
        }
    }

    pub fn start_pbx(&mut self) {
        self.pbx_is_up = true;
    }

    pub fn restart_without_connections(&mut self, side: Side) {
        let node = self.nodes.get_mut(&side).unwrap();
        node.agent =
            Agent::restore(config(node.address, &self.plan), &node.agent.snapshot()).unwrap();
        node.stream = None;
        node.framer = StreamFramer::default();
        for stream in self.nodes[&side].agent.streams() {
            self.step(side, Input::StreamClosed { stream });
        }
    }

    pub fn command(&mut self, side: Side, command: Command) {
        self.step(side, Input::Command(command));
    }

    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let timed = self
                .nodes
                .iter()
                .filter_map(|(side, n)| n.agent.poll_timeout().map(|at| (at, *side)))
                .min();
            let next = [queued, timed.map(|(at, _)| at)]
                .into_iter()
                .flatten()
                .min();
            let Some(next) = next.filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(next);
            if queued == Some(next) {
                let (_, happening) = self.queue.pop_first().unwrap();
                self.happen(happening);
            } else if let Some((_, side)) = timed {
                let now = self.now;
                self.nodes.get_mut(&side).unwrap().agent.handle_timeout(now);
                self.drain(side);
            }
        }
        self.now = until;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Do { side, command } => self.command(side, command),
            Happening::Connected { side, stream } if self.pbx_is_up => {
                self.nodes.get_mut(&side).unwrap().stream = Some(stream);
                self.step(side, Input::StreamConnected { stream });
            }
            Happening::Connected { side, stream } | Happening::Failed { side, stream } => {
                self.step(side, Input::StreamClosed { stream });
            }
            Happening::ToPbx { side, bytes } => {
                if !self.pbx_is_up {
                    return;
                }
                let node = self.nodes.get_mut(&side).unwrap();
                let source = node.address;
                let mut whole = Vec::new();
                if self.plan.tcp {
                    node.framer.push(&bytes);
                    while let Some(unit) = node.framer.next_unit() {
                        if let Unit::Message(message) = unit {
                            whole.push(message.raw().to_vec());
                        }
                    }
                } else {
                    whole.push(bytes);
                }
                for message in whole {
                    for (to, bytes) in self.pbx.handle(source, &message) {
                        self.over_the_wire(Happening::ToAgent { to, bytes });
                    }
                }
            }
            Happening::ToAgent { to, bytes } => {
                let Some(side) = self
                    .nodes
                    .iter()
                    .find(|(_, n)| n.address == to)
                    .map(|(s, _)| *s)
                else {
                    return;
                };
                let remote = PBX.parse().unwrap();
                match self.nodes[&side].stream {
                    Some(stream) if self.plan.tcp => {
                        // In two pieces, wherever the seed says.
                        let at = usize::try_from(self.dice.below(bytes.len() as u64)).unwrap();
                        self.step(
                            side,
                            Input::StreamData {
                                stream,
                                bytes: &bytes[..at],
                            },
                        );
                        self.step(
                            side,
                            Input::StreamData {
                                stream,
                                bytes: &bytes[at..],
                            },
                        );
                    }
                    _ => self.step(
                        side,
                        Input::Datagram {
                            local: to,
                            remote,
                            bytes: &bytes,
                        },
                    ),
                }
            }
        }
    }

    fn step(&mut self, side: Side, input: Input<'_>) {
        let now = self.now;
        self.nodes.get_mut(&side).unwrap().agent.handle(input, now);
        self.drain(side);
    }

    fn drain(&mut self, side: Side) {
        let mut reactions = Vec::new();
        let node = self.nodes.get_mut(&side).unwrap();
        let mut outputs = Vec::new();
        while let Some(output) = node.agent.poll_output() {
            outputs.push(output);
        }
        if self.plan.restore {
            let snapshot = node.agent.snapshot();
            node.agent = Agent::restore(config(node.address, &self.plan), &snapshot).unwrap();
        }
        for output in outputs {
            match output {
                Output::Datagram { bytes, .. } | Output::StreamData { bytes, .. } => {
                    self.note(side, "sends", &String::from_utf8_lossy(&bytes));
                    if bytes.len() > 4 {
                        self.over_the_wire(Happening::ToPbx { side, bytes });
                    }
                }
                Output::OpenStream { stream, .. } => {
                    let happening = if self.pbx_is_up {
                        Happening::Connected { side, stream }
                    } else {
                        Happening::Failed { side, stream }
                    };
                    self.later(Duration::from_millis(20), happening);
                }
                Output::CloseStream { .. } => {}
                Output::Ask { question, .. } => panic!("unexpected question {question:?}"),
                Output::Event(event) => {
                    self.note(side, "tells", &format!("{event:?}"));
                    self.react(side, &event, &mut reactions);
                    self.nodes.get_mut(&side).unwrap().events.push(event);
                }
            }
        }
        for (after, command) in reactions {
            self.later(after, Happening::Do { side, command });
        }
    }

    /// What the calls above would do.
    fn react(&mut self, side: Side, event: &Event, reactions: &mut Vec<(Duration, Command)>) {
        let soon = Duration::from_millis(1 + self.dice.below(300));
        let since_call = self.call_at.map_or(Duration::ZERO, |at| self.now - at);
        match event {
            Event::Incoming { invite, .. } => {
                let invite = *invite;
                self.nodes.get_mut(&side).unwrap().invite = Some(invite);
                reactions.push((
                    Duration::ZERO,
                    Command::Progress {
                        invite,
                        status: 180,
                        sdp: None,
                    },
                ));
                if self.plan.early {
                    reactions.push((
                        Duration::from_millis(50),
                        Command::Progress {
                            invite,
                            status: 183,
                            sdp: Some(b"v=0 early".to_vec()),
                        },
                    ));
                }
                if let Some(refusal) = self.plan.refuse.clone() {
                    reactions.push((
                        Duration::from_millis(900),
                        Command::Hangup {
                            invite,
                            status: Some(refusal),
                        },
                    ));
                } else if let Some(after) = self.plan.answer_after {
                    reactions.push((
                        after,
                        Command::Accept {
                            invite,
                            sdp: b"v=0 answer".to_vec(),
                        },
                    ));
                }
                for (at, command) in self.plan.wishes.of(side, invite) {
                    reactions.push((at.saturating_sub(since_call), command));
                }
                if let Some(at) = self.plan.callee_hangs_up {
                    reactions.push((
                        at.saturating_sub(since_call),
                        Command::Hangup {
                            invite,
                            status: None,
                        },
                    ));
                }
                if let Some(at) = self.plan.callee_offers {
                    reactions.push((
                        at.saturating_sub(since_call),
                        Command::Offer {
                            invite,
                            sdp: OFFER.to_vec(),
                        },
                    ));
                }
            }
            Event::Answered {
                invite,
                fork,
                late: true,
                ..
            } => {
                reactions.push((
                    soon,
                    Command::Acknowledge {
                        invite: *invite,
                        fork: *fork,
                        sdp: b"late answer".to_vec(),
                    },
                ));
            }
            Event::Offered { invite, offer, .. } => {
                reactions.push((
                    soon,
                    Command::AnswerOffer {
                        invite: *invite,
                        offer: *offer,
                        sdp: b"v=0 answer".to_vec(),
                    },
                ));
            }
            Event::Referred { invite, refer, .. } => {
                let luck = self.dice.below(1 << 20);
                reactions.extend(transfer::decide(
                    *invite,
                    *refer,
                    luck,
                    self.plan.wishes.forgetful,
                ));
            }
            _ => {}
        }
    }

    fn over_the_wire(&mut self, happening: Happening) {
        let lost = !self.plan.tcp && self.dice.below(100) < self.plan.loss_percent;
        // A stream keeps its order.
        let jitter = if self.plan.tcp {
            3
        } else {
            1 + self.dice.below(self.plan.jitter_ms)
        };
        if !lost {
            self.later(Duration::from_millis(jitter), happening);
        }
    }

    fn later(&mut self, after: Duration, happening: Happening) {
        self.order += 1;
        self.queue.insert((self.now + after, self.order), happening);
    }

    fn note(&mut self, side: Side, what: &str, text: &str) {
        let line = text.lines().next().unwrap_or_default();
        let cseq = text
            .lines()
            .find(|l| l.starts_with("CSeq"))
            .unwrap_or_default();
        let _ = writeln!(
            self.log,
            "{:>9.3} {side:?} {what} {line} {cseq}",
            self.now.0 as f64 / 1e6
        );
    }
}

fn config(address: SocketAddr, plan: &Plan) -> Config {
    let usual = Config::default();
    let listeners = [Transport::Udp, Transport::Tcp].map(|transport| Listener {
        transport,
        bound: address,
        announce: None,
        name: String::new(),
    });
    Config {
        listeners: listeners.to_vec(),
        interfaces: vec![(address.ip(), 24)],
        allowed: vec![Entry::parse("192.0.2.0/24").unwrap()],
        user_agent: "Trunkgate".into(),
        session_expires_s: if plan.session_s == 0 {
            usual.session_expires_s
        } else {
            plan.session_s
        },
        ..usual
    }
}

pub fn spec(login: &str, proxy: &str, with_password: bool) -> AccountSpec {
    AccountSpec {
        login: login.into(),
        auth_name: String::new(),
        password: if with_password {
            "secret".into()
        } else {
            String::new()
        },
        domain: "pbx.test".into(),
        proxy: proxy.into(),
        port: 0,
        register: true,
        display: String::new(),
        contact_params: Vec::new(),
    }
}
