//! A world without a page: two phones with the gateway between them, each behind a line of its own.

use crate::chance::Chance;
use crate::phone::{Looks, Manner, Phone, State};
use crate::world::Wire;
use media_control::{self as media, LegStats, LocalTransport};
use signaling_calls::{CallRecord, Config, Input, Link, Output, Switchboard};
use signaling_plan::{Attempt, Destination, Identity as Shown, Route};
use signaling_sip::time::Instant;
use signaling_trunk::agent::{self, Agent};
use signaling_trunk::allowed::Entry;
use signaling_trunk::api::{
    AccountId, AccountSpec, ByLine, Command, Event, Identity, Line, NO_ACCOUNT, Target,
};
use signaling_trunk::net::{Listener, Transport};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

pub const GATEWAY: &str = "203.0.113.5:5060";
const LEFT: AccountId = AccountId(1);
const RIGHT: AccountId = AccountId(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Left,
    Right,
}

impl Side {
    pub fn other(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }

    fn line(self) -> Line {
        Line::Trunk(match self {
            Side::Left => "left".to_owned(),
            Side::Right => "right".to_owned(),
        })
    }
}

pub struct Between {
    pub now: Instant,
    pub board: Switchboard,
    pub agent: Agent,
    pub left: Phone,
    pub right: Phone,
    pub records: Vec<CallRecord>,
    /// Legs that media holds, and the joins between them.
    pub legs: BTreeSet<media::LegId>,
    pub trace: Vec<String>,
    /// All datagrams of each side, in both directions.
    pub captured: BTreeMap<Side, Vec<String>>,
    /// Cores are dropped and restored after each step.
    pub reincarnates: bool,
    pub next_on: Vec<u16>,
    agent_config: agent::Config,
    gateway: SocketAddr,
    wire: Wire,
    chance: Chance,
    /// In flight: towards the phone of that side, or from it.
    flying: BTreeMap<(Instant, u64), (Side, bool, Vec<u8>)>,
    flights: u64,
}

/// What only one side may know, and shows in all that it says.
fn looks(name: &str, ip: &str) -> Looks {
    Looks {
        user: format!("user-{name}"),
        display: format!("Display {name}"),
        host: format!("{name}.example"),
        calls: format!("<sip:5551234@dialled-by-{name}.example>"),
        sdp: format!(
            "v=0\r\no=origin-{name} 7 1 IN IP4 {ip}\r\ns=session-{name}\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio 20000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=x-vendor:{name}\r\n"
        ),
        headers: format!(
            "User-Agent: Phone-{name}/1.0\r\nServer: Server-{name}\r\nX-Host: box-{name}\r\n"
        ),
        of_invites: format!(
            "P-Asserted-Identity: <sip:asserted-{name}@{name}.example>\r\nSubject: subject-{name}\r\n\
             P-Charging-Vector: icid-value={name}\r\nCall-Info: <http://{name}.example/>\r\n"
        ),
    }
}

impl Between {
    pub fn new(seed: u64, wire: Wire, manner: Manner, reincarnates: bool) -> Between {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let gateway = address(GATEWAY);
        let agent_config = agent::Config {
            listeners: vec![Listener {
                transport: Transport::Udp,
                bound: gateway,
                announce: None,
                name: String::new(),
            }],
            interfaces: vec![(gateway.ip(), 24)],
            allowed: vec![Entry::Network {
                ip: [0, 0, 0, 0].into(),
                prefix: 0,
                port: None,
            }],
            ..agent::Config::default()
        };
        let mut dice = [7; 32];
        dice[..8].copy_from_slice(&seed.to_be_bytes());
        let phone = |name: &str, at: &str| {
            let at = address(at);
            let mut phone = Phone::new(at, gateway, manner);
            phone.looks = looks(name, &at.ip().to_string());
            phone
        };
        let mut world = Between {
            now: Instant(1_000_000),
            board: Switchboard::new(Config {
                first_number: 1 << 20,
                ..Config::default()
            }),
            agent: Agent::new(agent_config.clone(), dice),
            left: phone("left", "192.0.2.10:5060"),
            right: phone("right", "198.51.100.20:5070"),
            records: Vec::new(),
            legs: BTreeSet::new(),
            trace: Vec::new(),
            captured: BTreeMap::new(),
            reincarnates,
            next_on: Vec::new(),
            agent_config,
            gateway,
            wire,
            chance: Chance::new(seed),
            flying: BTreeMap::new(),
            flights: 0,
        };
        for link in [Input::MediaLink, Input::TrunkLink] {
            world
                .board
                .handle(link(Link::Up { fresh: true }), world.now);
        }
        for (account, name) in [(LEFT, "left"), (RIGHT, "right")] {
            let proxy = match account {
                LEFT => world.left.address,
                _ => world.right.address,
            };
            let spec = AccountSpec {
                login: format!("gateway-at-{name}"),
                auth_name: String::new(),
                password: format!("password-{name}"),
                domain: format!("{name}.example"),
                proxy: proxy.to_string(),
                port: 0,
                register: true,
                display: String::new(),
                contact_params: Vec::new(),
            };
            let open = Command::OpenAccount { account, spec };
            world.agent.handle(agent::Input::Command(open), world.now);
        }
        world.settle();
        world
    }

    pub fn phone(&mut self, side: Side) -> &mut Phone {
        match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        }
    }

    /// One phone calls, and the gateway calls the other one.
    pub fn calls(&mut self, side: Side) -> Option<String> {
        let now = self.now;
        let id = self.phone(side).call(now);
        self.settle();
        id
    }

    pub fn does(&mut self, side: Side, what: impl FnOnce(&mut Phone, Instant)) {
        let now = self.now;
        what(self.phone(side), now);
        self.settle();
    }

    /// Whatever calls a phone has are hung up.
    pub fn hangs_up(&mut self, side: Side) {
        let ids: Vec<String> = self.phone(side).calls.keys().cloned().collect();
        for id in ids {
            self.does(side, |phone, now| phone.hang_up(&id, now));
        }
    }

    pub fn talks(&mut self, side: Side) -> Option<String> {
        let calls = self.phone(side).calls.iter();
        let mut talking = calls.filter(|(_, call)| call.state == State::Talking);
        talking.next().map(|(id, _)| id.clone())
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let times = [
                self.flying.keys().next().map(|(at, _)| *at),
                self.board.poll_timeout(),
                self.agent.poll_timeout(),
                self.left.poll_timeout(),
                self.right.poll_timeout(),
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
                let (side, to_phone, bytes) = self.flying.remove(&key).expect("it was there");
                let now = self.now;
                if to_phone {
                    self.phone(side).handle(&bytes, now);
                } else {
                    let (local, remote) = (self.gateway, self.phone(side).address);
                    let input = agent::Input::Datagram {
                        local,
                        remote,
                        bytes: &bytes,
                    };
                    self.agent.handle(input, now);
                }
                self.settle();
            }
            let now = self.now;
            self.board.handle_timeout(now);
            self.agent.handle_timeout(now);
            self.left.handle_timeout(now);
            self.right.handle_timeout(now);
            self.settle();
        }
        self.now = end;
    }

    /// Moves what the cores put out until none has more to say.
    fn settle(&mut self) {
        loop {
            let mut events = VecDeque::new();
            let mut to_board = VecDeque::new();
            let mut to_agent = VecDeque::new();
            while let Some(output) = self.board.poll_output() {
                match output {
                    Output::Trunk { command, .. } => to_agent.push_back(by_account(command)),
                    Output::Media { command, .. } => {
                        self.check(&command);
                        to_board.extend(media_does(command).map(Input::Media));
                    }
                    Output::Record(record) => self.records.push(*record),
                    other => unreachable!("there is no page: {other:?}"),
                }
            }
            while let Some(output) = self.agent.poll_output() {
                match output {
                    agent::Output::Datagram { remote, bytes, .. } => {
                        let side = if remote == self.left.address {
                            Side::Left
                        } else {
                            assert_eq!(remote, self.right.address, "nothing goes anywhere else");
                            Side::Right
                        };
                        self.fly(side, true, bytes);
                    }
                    agent::Output::Event(event) => events.push_back(event),
                    agent::Output::OpenStream { stream, .. } => {
                        let closed = agent::Input::StreamClosed { stream };
                        self.agent.handle(closed, self.now);
                    }
                    agent::Output::StreamData { .. } | agent::Output::CloseStream { .. } => {}
                    agent::Output::Ask { .. } => unreachable!("all addresses are numeric"),
                }
            }
            for side in [Side::Left, Side::Right] {
                for text in std::mem::take(&mut self.phone(side).out) {
                    self.fly(side, false, text.into_bytes());
                }
            }
            if self.reincarnates {
                let snapshot = self.board.snapshot();
                self.board = Switchboard::restore(&snapshot).expect("our own snapshot");
                let snapshot = self.agent.snapshot();
                self.agent =
                    Agent::restore(self.agent_config.clone(), &snapshot).expect("our own snapshot");
            }
            if events.is_empty() && to_board.is_empty() && to_agent.is_empty() {
                break;
            }
            for event in events {
                self.tell(event);
            }
            for input in to_board {
                self.board.handle(input, self.now);
            }
            for command in to_agent {
                self.agent.handle(agent::Input::Command(command), self.now);
            }
        }
    }

    /// What comes in by one side's account is what came by that side's line.
    fn tell(&mut self, event: Event) {
        let side = match &event {
            Event::Registered { .. } => return,
            Event::RegistrationFailed { failure, .. } => {
                return self.trace.push(format!("not registered: {failure:?}"));
            }
            Event::Incoming { account: LEFT, .. } => Side::Left,
            Event::Incoming { account: RIGHT, .. } => Side::Right,
            _ => return self.board.handle(Input::Trunk(event), self.now),
        };
        let mut event = event;
        if let Event::Incoming {
            account,
            to,
            by_line,
            ..
        } = &mut event
        {
            *account = NO_ACCOUNT;
            *by_line = Some(Box::new(ByLine {
                line: side.line(),
                called: to.clone(),
                asserted: None::<Identity>,
            }));
        }
        let Line::Trunk(name) = side.other().line() else {
            return;
        };
        let attempt = Attempt {
            to: Destination::Trunk(name),
            user: "5551234".into(),
            identity: Shown::default(),
            attempt_ms: 0,
        };
        let route = Route {
            name: "across".into(),
            number: "5551234".into(),
            emergency: false,
            attempts: vec![attempt.clone(), attempt],
            ring_s: 40,
            next_on: self.next_on.clone(),
        };
        self.board.bridge_for_test(event, route, self.now);
    }

    fn check(&mut self, command: &media::Command) {
        match command {
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
            media::Command::ConnectLeg { leg, .. } => {
                assert!(
                    self.legs.contains(leg),
                    "{leg} is connected and is not there"
                );
            }
            _ => {}
        }
    }

    fn fly(&mut self, side: Side, to_phone: bool, bytes: Vec<u8>) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let line = text.lines().next().unwrap_or_default().to_owned();
        let arrow = if to_phone { "->" } else { "<-" };
        let lost = self.chance.percent(self.wire.loss_percent);
        let lost_mark = if lost { " (lost)" } else { "" };
        let ms = self.now.0 / 1000;
        self.trace
            .push(format!("{ms:>9} {side:?} {arrow} {line}{lost_mark}"));
        self.captured.entry(side).or_default().push(text);
        if lost {
            return;
        }
        let twice = self.chance.percent(self.wire.double_percent);
        for _ in 0..1 + u8::from(twice) {
            let (least, most) = self.wire.delay_ms;
            let delay = Duration::from_millis(least + self.chance.below(most - least + 1));
            self.flights += 1;
            let key = (self.now + delay, self.flights);
            self.flying.insert(key, (side, to_phone, bytes.clone()));
        }
    }
}

/// What is to go out by a side's line goes out by its account.
fn by_account(command: Command) -> Command {
    let Command::Invite {
        invite,
        target: Target::User { user, params },
        from_display,
        headers,
        sdp,
        mut options,
        ..
    } = command
    else {
        return command;
    };
    let line = options.line.take();
    Command::Invite {
        invite,
        account: if line == Some(Side::Left.line()) {
            LEFT
        } else {
            RIGHT
        },
        target: Target::User { user, params },
        from_display,
        headers,
        sdp,
        options,
    }
}

fn media_does(command: media::Command) -> Option<media::Event> {
    match command {
        media::Command::CreateLeg { leg, .. } => {
            let port = 30_000 + u16::try_from(leg.0 % 64).unwrap_or(0) * 2;
            let ip = GATEWAY.parse::<SocketAddr>().expect("an address").ip();
            let local = LocalTransport::Rtp {
                ice: None,
                rtp: vec![SocketAddr::new(ip, port)],
                sdes: Vec::new(),
                video: Vec::new(),
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
