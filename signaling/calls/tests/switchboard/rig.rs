//! A switchboard with a browser, a media role and a trunk that do what the test says, in virtual time.

use media_control as media;
use media_control::{
    Candidate, Fingerprint, IceCredentials, LegId, LegSpec, LegStats, LocalTransport, SdesKey,
    SrtpProfile,
};
use serde_json::{Value, json};
use signaling_calls::{CallRecord, Config, Input, Link, Output, SessionId, Switchboard};
use signaling_plan::{MediaProfile, Plan};
use signaling_protocol::context::Context;
use signaling_protocol::{ClientMessage, HookMessage, ServerMessage};
use signaling_sip::time::Instant;
use signaling_trunk::api::{self as trunk, AccountId, Event, ForkId, Identity, InviteId};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

pub const BROWSER_OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111 9 0 8 110 126\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:2sup\r\n\
a=ice-pwd:YwOAObQkA9QWOwPIzuOOpv7X\r\na=fingerprint:sha-256 37:F9\r\na=setup:actpass\r\na=mid:0\r\na=sendrecv\r\n\
a=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n";

pub const PHONE: &str = "v=0\r\no=phone 5 7 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
m=audio 20000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";

pub const SOURCE: &str = "192.0.2.9:5060";

pub struct Rig {
    pub board: Switchboard,
    pub now: Instant,
    /// What the page got, as it was on the wire.
    pub page: Vec<Value>,
    pub trunk: VecDeque<trunk::Command>,
    /// The link's key of each trunk command.
    pub trunk_keys: Vec<u64>,
    pub media: VecDeque<media::Command>,
    pub records: Vec<CallRecord>,
    /// What only the backend is told.
    pub hooks: Vec<HookMessage>,
    pub closed: Vec<SessionId>,
    /// The same by the hook's name and with its body as JSON.
    pub backend: Vec<(String, Value)>,
    /// Sessions that moved, and those that are over (`to` is none).
    pub moves: Vec<(u64, Option<u64>)>,
    /// Media makes and closes legs by itself.
    pub media_works: bool,
    /// The page answers pings.
    pub lives: bool,
    /// The switchboard is dropped and restored from its snapshot after each step.
    pub reincarnates: bool,
}

impl Rig {
    pub fn new(config: Config) -> Rig {
        let mut rig = Rig {
            board: Switchboard::new(Config {
                first_number: 1000,
                ..config
            }),
            now: Instant(1_000_000),
            page: Vec::new(),
            trunk: VecDeque::new(),
            trunk_keys: Vec::new(),
            media: VecDeque::new(),
            records: Vec::new(),
            hooks: Vec::new(),
            closed: Vec::new(),
            backend: Vec::new(),
            moves: Vec::new(),
            media_works: true,
            lives: true,
            reincarnates: false,
        };
        rig.give(Input::MediaLink(Link::Up { fresh: true }));
        rig.give(Input::TrunkLink(Link::Up { fresh: true }));
        rig
    }

    /// A rig whose page 1 has connected without SIP.
    pub fn connected() -> Rig {
        let mut rig = Rig::new(Config::default());
        rig.open(1);
        rig.frame(json!({"message": "connection", "data": [{"appKey": "defaultApp"}]}));
        rig.page.clear();
        rig
    }

    /// A rig whose page 1 is registered as 1001.
    pub fn registered(config: Config) -> Rig {
        let mut rig = Rig::new(config);
        rig.open(1);
        rig.frame(account(true));
        rig.give(Input::Trunk(Event::Registered {
            account: AccountId(1),
            expires_s: 60,
            raw: "SIP/2.0 200 OK\r\n".into(),
        }));
        rig.page.clear();
        rig.trunk.clear();
        rig
    }

    /// A registered page whose account wants this of sound.
    pub fn registered_with(profile: MediaProfile) -> Rig {
        let mut rig = Rig::registered(Config::default());
        rig.wants(profile);
        rig
    }

    /// From now on calls by pages' accounts want this of sound.
    pub fn wants(&mut self, account_media: MediaProfile) {
        self.give(Input::Plan(Box::new(Plan {
            account_media,
            ..Plan::default()
        })));
    }

    pub fn open(&mut self, session: u64) {
        let remote: SocketAddr = "203.0.113.9:51512".parse().unwrap();
        self.give(Input::SessionOpened {
            session: SessionId(session),
            remote,
            token: format!("token-{session}"),
        });
    }

    pub fn frame(&mut self, frame: Value) {
        self.frame_from(1, frame);
    }

    pub fn frame_from(&mut self, session: u64, frame: Value) {
        let message = ClientMessage::parse(&frame.to_string()).unwrap();
        self.give(Input::Frame {
            session: SessionId(session),
            message,
        });
    }

    pub fn dial(&mut self, id: &str, callee: &str) {
        self.frame(json!({"message": "call", "data": [{"callId": id, "callee": callee, "sdp": BROWSER_OFFER}]}));
    }

    pub fn hang_up(&mut self, id: &str) {
        self.frame(json!({"message": "hangup", "data": [{"callId": id}]}));
    }

    pub fn give(&mut self, input: Input) {
        self.board.handle(input, self.now);
        self.drain();
    }

    /// An INVITE by a line that leads to another line.
    pub fn bridge(&mut self, event: Event, route: signaling_plan::Route) {
        self.board.bridge_for_test(event, route, self.now);
        self.drain();
    }

    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.board.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.board.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        loop {
            let mut replies = Vec::new();
            while let Some(output) = self.board.poll_output() {
                match output {
                    Output::Send { session, message } => {
                        if self.lives && message == ServerMessage::Ping {
                            replies.push(Input::Frame {
                                session,
                                message: ClientMessage::Pong,
                            });
                        }
                        self.page
                            .push(serde_json::from_str(&message.to_text()).unwrap());
                    }
                    Output::Close { session } => self.closed.push(session),
                    Output::Trunk { key, command } => {
                        self.trunk_keys.push(key);
                        self.trunk.push_back(command);
                    }
                    Output::Media { command, .. } => {
                        if self.media_works {
                            replies.extend(media_reply(&command).map(Input::Media));
                        }
                        self.media.push_back(command);
                    }
                    Output::Record(record) => self.records.push(*record),
                    Output::Hook { message, .. } => {
                        let context = Context {
                            node_id: "n".into(),
                            app_key: "defaultApp".into(),
                            session_id: "s".into(),
                            origin: None,
                        };
                        let body = serde_json::from_str(&message.to_text(&context)).unwrap();
                        let name = message.method().as_str().to_owned();
                        self.backend.push((name, body));
                        self.hooks.push(*message);
                    }
                    Output::Moved { from, to } => self.moves.push((from.0, Some(to.0))),
                    Output::Over { session } => self.moves.push((session.0, None)),
                }
            }
            if self.reincarnates {
                self.board = Switchboard::restore(&self.board.snapshot()).unwrap();
            }
            if replies.is_empty() {
                break;
            }
            for reply in replies {
                self.board.handle(reply, self.now);
            }
        }
    }

    /// Names of what the page got since it was last asked, with the status where there is one.
    pub fn told(&mut self) -> Vec<String> {
        self.page
            .drain(..)
            .filter(|m| m["message"] != "ping")
            .map(|m| match m["data"][0]["status"].as_str() {
                Some(status) => format!("{} {status}", m["message"].as_str().unwrap()),
                None => m["message"].as_str().unwrap().to_owned(),
            })
            .collect()
    }

    pub fn last(&self, name: &str) -> Value {
        self.page
            .iter()
            .rev()
            .find(|m| m["message"] == name)
            .unwrap_or_else(|| panic!("no {name} in {:?}", self.page))["data"]
            .clone()
    }

    /// The INVITE that went out.
    pub fn invite(&mut self) -> (InviteId, Vec<u8>) {
        let at = self
            .trunk
            .iter()
            .position(|c| matches!(c, trunk::Command::Invite { .. }))
            .expect("an INVITE");
        match self.trunk.remove(at) {
            Some(trunk::Command::Invite { invite, sdp, .. }) => (invite, sdp),
            _ => unreachable!("it was an INVITE"),
        }
    }

    pub fn progress(&mut self, invite: InviteId, status: u16, sdp: Option<&str>) {
        self.progress_of(0, invite, status, sdp);
    }

    pub fn progress_of(&mut self, fork: u32, invite: InviteId, status: u16, sdp: Option<&str>) {
        self.give(Input::Trunk(Event::Progress {
            invite,
            fork: ForkId(fork),
            status,
            reason: "Ringing".into(),
            sdp: sdp.map(|s| s.as_bytes().to_vec()),
            source: SOURCE.parse().unwrap(),
            raw: format!("SIP/2.0 {status} x\r\n"),
        }));
    }

    pub fn answer(&mut self, invite: InviteId, sdp: &str) {
        self.answer_of(0, invite, Some(sdp));
    }

    pub fn answer_of(&mut self, fork: u32, invite: InviteId, sdp: Option<&str>) {
        self.answered(fork, invite, sdp, false);
    }

    /// `late`: with their offer, since ours had none.
    pub fn answered(&mut self, fork: u32, invite: InviteId, sdp: Option<&str>, late: bool) {
        self.give(Input::Trunk(Event::Answered {
            invite,
            fork: ForkId(fork),
            status: 200,
            reason: "OK".into(),
            sdp: sdp.map(|s| s.as_bytes().to_vec()),
            late,
            source: SOURCE.parse().unwrap(),
            raw: "SIP/2.0 200 OK\r\n".into(),
        }));
    }

    pub fn rings_in(&mut self, sdp: Option<&str>) -> InviteId {
        self.arrives(7, "1002", sdp, None)
    }

    /// An INVITE of `from`, which may want to take a call's place.
    pub fn arrives(
        &mut self,
        invite: u64,
        from: &str,
        sdp: Option<&str>,
        replaces: Option<InviteId>,
    ) -> InviteId {
        let invite = InviteId(invite);
        self.give(Input::Trunk(Event::Incoming {
            invite,
            account: AccountId(1),
            from: Identity {
                user: from.into(),
                display: "Bob".into(),
                uri: format!("sip:{from}@pbx.test"),
            },
            to: Identity {
                user: "1001".into(),
                display: String::new(),
                uri: "sip:1001@pbx.test".into(),
            },
            sdp: sdp.map(|s| s.as_bytes().to_vec()),
            headers: Vec::new(),
            source: SOURCE.parse().unwrap(),
            raw: "INVITE sip:x SIP/2.0\r\n".into(),
            replaces,
            by_line: None,
        }));
        invite
    }

    /// A registered page that talks with 1002.
    pub fn talking(config: Config) -> (Rig, InviteId) {
        let mut rig = Rig::registered(config);
        let invite = rig.talks("c1", "1002");
        (rig, invite)
    }

    /// Another call of that page, answered.
    pub fn talks(&mut self, id: &str, callee: &str) -> InviteId {
        self.dial(id, callee);
        let (invite, _) = self.invite();
        self.answer(invite, PHONE);
        self.told();
        self.trunk.clear();
        invite
    }

    /// The trunk's commands since the last time, by name.
    pub fn asked(&mut self) -> Vec<trunk::Command> {
        self.trunk.drain(..).collect()
    }

    /// Media's commands since the last time.
    pub fn media_asked(&mut self) -> Vec<media::Command> {
        self.media.drain(..).collect()
    }

    pub fn over(&mut self, invite: InviteId, end: trunk::End) {
        self.give(Input::Trunk(Event::Ended { invite, end }));
    }
}

pub fn account(register: bool) -> Value {
    json!({"message": "connection", "data": [{"appKey": "defaultApp", "sipLogin": "1001", "sipPassword": "secret",
        "sipDomain": "pbx.test", "sipPort": "5060", "sipRegisterRequired": register, "custom": {"a": 1}}]})
}

fn media_reply(command: &media::Command) -> Option<media::Event> {
    match command {
        media::Command::CreateLeg { leg, spec, .. } => Some(media::Event::LegCreated {
            leg: *leg,
            local: local(*leg, spec),
        }),
        media::Command::CloseLeg { leg } => Some(media::Event::LegClosed {
            leg: *leg,
            stats: LegStats::default(),
        }),
        _ => None,
    }
}

fn local(leg: LegId, spec: &LegSpec) -> LocalTransport {
    match spec {
        LegSpec::WebRtc { .. } => LocalTransport::WebRtc {
            ufrag: format!("u{:07}", leg.0),
            pwd: "0123456789abcdefghijklmn".into(),
            fingerprint: Fingerprint {
                hash: "sha-256".into(),
                digest: vec![7; 32],
            },
            candidates: vec![Candidate {
                address: "198.51.100.2:31000".parse().unwrap(),
                tcp: false,
                priority: 5,
            }],
        },
        LegSpec::Rtp {
            video, sdes, ice, ..
        } => LocalTransport::Rtp {
            rtp: vec!["198.51.100.2:20000".parse().unwrap()],
            sdes: if *sdes { drawn() } else { Vec::new() },
            video: video
                .then(|| "198.51.100.2:20010".parse().unwrap())
                .into_iter()
                .collect(),
            ice: ice.then(|| IceCredentials {
                ufrag: "ours".into(),
                pwd: "our-password-of-many-letters".into(),
            }),
        },
        LegSpec::Source(_) => LocalTransport::Source,
    }
}

/// Keys as media draws them: one of each suite, in an order of its own.
pub fn drawn() -> Vec<SdesKey> {
    [
        (SrtpProfile::AeadAes256Gcm, 44),
        (SrtpProfile::AeadAes128Gcm, 28),
        (SrtpProfile::AesCm128HmacSha1_80, 30),
        (SrtpProfile::AesCm128HmacSha1_32, 30),
    ]
    .into_iter()
    .zip(1..)
    .map(|((profile, len), tag)| SdesKey {
        tag,
        profile,
        key_and_salt: vec![u8::try_from(tag).unwrap(); len],
    })
    .collect()
}

/// An answer of a browser to the last offer we made it.
pub fn browser_answer(id: &str) -> Value {
    let sdp = BROWSER_OFFER
        .replace("setup:actpass", "setup:active")
        .replace("a=rtpmap:9 G722/8000\r\n", "")
        .replace(" 9 0", " 0");
    json!({"message": "answer", "data": [{"callId": id, "sdp": sdp, "hasVideo": true}]})
}
