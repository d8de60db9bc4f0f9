//! A desk with pages, a backend, a media role and a trunk that do what the test says, in virtual time.

use media_control as media;
use media_control::{Candidate, Fingerprint, LegId, LegSpec, LegStats, LocalTransport};
use serde_json::{Value, json};
use signaling_backend::{
    App, Apps, Desk, HookOutcome, Input, Output, Request, RequestId, Settings,
};
use signaling_calls::{self as calls, Link, SessionId};
use signaling_protocol::rest_client_config::{ConnectReply, RestClientConfig};
use signaling_protocol::{ClientMessage, HookMethod};
use signaling_sip::time::Instant;
use signaling_trunk::api::{self as trunk, AccountId, Event, ForkId, Identity, InviteId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub const BROWSER_OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
m=audio 9 UDP/TLS/RTP/SAVPF 111 0 8 110 126\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:2sup\r\n\
a=ice-pwd:YwOAObQkA9QWOwPIzuOOpv7X\r\na=fingerprint:sha-256 37:F9\r\na=setup:actpass\r\na=mid:0\r\na=sendrecv\r\n\
a=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n";

pub const PHONE: &str = "v=0\r\no=phone 5 7 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
m=audio 20000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";

pub const SOURCE: &str = "192.0.2.9:5060";

/// A message on its way to a page, as it was on the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub session: u64,
    pub frame: Value,
}

/// A request, and its body as read.
pub struct Posted {
    pub request: Request,
    pub body: Value,
}

pub struct Rig {
    pub desk: Desk,
    pub now: Instant,
    pub page: Vec<Told>,
    pub posted: Vec<Posted>,
    pub trunk: Vec<trunk::Command>,
    pub media: Vec<media::Command>,
    pub closed: Vec<u64>,
    /// The callId of a call that rings, where a test needs it.
    pub rung: String,
    /// What the backend says to a hook, and after how long. Not listed: 200 with nothing in it, at once.
    pub script: BTreeMap<HookMethod, (Duration, HookOutcome)>,
    /// Nobody answers requests but the test.
    pub silent: bool,
    /// As the shell posts them: of one session one after the other.
    lanes: BTreeMap<u64, VecDeque<(RequestId, Duration, HookOutcome)>>,
    answers: Vec<(Instant, u64, RequestId, HookOutcome)>,
    next_invite: u64,
}

pub fn ok(body: &str) -> HookOutcome {
    HookOutcome::Accepted {
        body: body.to_owned(),
    }
}

pub fn refused(status: u16, reason: &str, body: &str) -> HookOutcome {
    HookOutcome::Refused {
        status,
        reason: reason.to_owned(),
        body: body.to_owned(),
    }
}

pub fn unreachable() -> HookOutcome {
    HookOutcome::Unreachable {
        why: "connection refused".to_owned(),
    }
}

/// An application with every hook on.
pub fn app(key: &str) -> App {
    App {
        name: key.to_owned(),
        key: key.to_owned(),
        url: "http://127.0.0.1:8081/apps/EchoApp".to_owned(),
        owner: String::new(),
        rest_user: String::new(),
        rest_password: None,
        methods: HookMethod::ALL.iter().copied().collect(),
        rest_client_config: RestClientConfig::default(),
        origins: Vec::new(),
        password_over_http: false,
        hook_secret: None,
        sip_message_raw: None,
        line: None,
        max_sessions: 0,
        connections_per_second: 0,
        messages_per_second: 0,
    }
}

/// A `restClientConfig` as a backend would write it.
pub fn config(text: Value) -> RestClientConfig {
    let reply = ConnectReply::parse(&json!({ "restClientConfig": text }).to_string());
    assert_eq!(reply.ignored, Vec::<String>::new());
    reply.rest_client_config
}

pub fn apps(list: Vec<App>) -> Apps {
    let by_key = list
        .into_iter()
        .map(|app| (app.key.clone(), Arc::new(app)))
        .collect();
    Apps { by_key }
}

impl Rig {
    pub fn new(list: Vec<App>) -> Rig {
        let settings = Settings {
            node_id: "node@192.0.2.1".to_owned(),
            ..Settings::default()
        };
        Rig::with(list, settings)
    }

    pub fn with(list: Vec<App>, settings: Settings) -> Rig {
        let config = calls::Config {
            first_number: 1000,
            ..calls::Config::default()
        };
        let mut rig = Rig {
            desk: Desk::new(config, settings, apps(list)),
            now: Instant(1_000_000),
            page: Vec::new(),
            posted: Vec::new(),
            trunk: Vec::new(),
            media: Vec::new(),
            closed: Vec::new(),
            rung: String::new(),
            script: BTreeMap::new(),
            silent: false,
            lanes: BTreeMap::new(),
            answers: Vec::new(),
            next_invite: 7,
        };
        rig.give(Input::Calls(calls::Input::MediaLink(Link::Up {
            fresh: true,
        })));
        rig.give(Input::Calls(calls::Input::TrunkLink(Link::Up {
            fresh: true,
        })));
        rig
    }

    /// Page 1 is registered as 1001 with this application, and all that led there is forgotten.
    pub fn registered(app: App) -> Rig {
        let mut rig = Rig::new(vec![app]);
        rig.register(1);
        rig.forget();
        rig
    }

    pub fn register(&mut self, session: u64) {
        self.open(session);
        self.frame(session, account("defaultApp"));
        self.settle();
        self.registered_now(session);
        self.settle();
    }

    pub fn registered_now(&mut self, account: u64) {
        self.event(Event::Registered {
            account: AccountId(account),
            expires_s: 60,
            raw: "SIP/2.0 200 OK\r\nVia: x\r\n".into(),
        });
    }

    /// With a call that is established, besides.
    pub fn talking(app: App) -> Rig {
        let mut rig = Rig::registered(app);
        rig.talk(1, "c1");
        rig.forget();
        rig
    }

    pub fn talk(&mut self, session: u64, id: &str) -> InviteId {
        self.dial(session, id, "1002");
        self.settle();
        let invite = self.invite();
        self.answer(invite);
        self.settle();
        invite
    }

    pub fn forget(&mut self) {
        self.page.clear();
        self.posted.clear();
        self.trunk.clear();
        self.media.clear();
    }

    pub fn forget_all_but_invite(&mut self) {
        self.page.clear();
        self.posted.clear();
        self.media.clear();
    }

    pub fn open(&mut self, session: u64) {
        self.open_from(session, None, "203.0.113.9:51512");
    }

    pub fn open_from(&mut self, session: u64, origin: Option<&str>, remote: &str) {
        self.give(Input::SessionOpened {
            session: SessionId(session),
            remote: remote.parse().unwrap(),
            local: "198.51.100.2:8443".parse().unwrap(),
            token: format!("token-{session}"),
            unique: format!("u{session}"),
            origin: origin.map(str::to_owned),
        });
    }

    pub fn frame(&mut self, session: u64, frame: Value) {
        let message = ClientMessage::parse(&frame.to_string()).unwrap();
        self.give(Input::Calls(calls::Input::Frame {
            session: SessionId(session),
            message,
        }));
    }

    pub fn say(&mut self, session: u64, name: &str, argument: Value) {
        self.frame(session, json!({"message": name, "data": [argument]}));
    }

    pub fn dial(&mut self, session: u64, id: &str, callee: &str) {
        let argument = json!({"callId": id, "callee": callee, "sdp": BROWSER_OFFER, "hasAudio": true, "hasVideo": false,
            "caller": "1001", "visibleName": "Al", "custom": {"c": 1}, "incoming": false, "status": "PENDING"});
        self.say(session, "call", argument);
    }

    pub fn close(&mut self, session: u64) {
        let session = SessionId(session);
        self.give(Input::Calls(calls::Input::SessionClosed { session }));
    }

    pub fn event(&mut self, event: Event) {
        self.give(Input::Calls(calls::Input::Trunk(event)));
    }

    pub fn give(&mut self, input: Input) {
        self.desk.handle(input, self.now);
        self.drain();
    }

    pub fn answer_request(&mut self, request: RequestId, outcome: HookOutcome) {
        self.give(Input::Answered { request, outcome });
    }

    /// The last request of this hook is answered.
    pub fn reply(&mut self, method: HookMethod, outcome: HookOutcome) {
        let request = self
            .posted
            .iter()
            .rev()
            .find(|posted| posted.request.method == method)
            .unwrap_or_else(|| panic!("no {} in {:?}", method.as_str(), self.hooks()))
            .request
            .id;
        self.answer_request(request, outcome);
    }

    /// Until nothing is left to do now.
    pub fn settle(&mut self) {
        self.wait(Duration::ZERO);
    }

    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let answer = self.answers.iter().map(|(at, ..)| *at).min();
            let next = [self.desk.poll_timeout(), answer]
                .into_iter()
                .flatten()
                .min();
            let Some(at) = next.filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            if let Some(n) = self.answers.iter().position(|(at, ..)| *at <= self.now) {
                let (_, home, request, outcome) = self.answers.remove(n);
                if let Some(lane) = self.lanes.get_mut(&home) {
                    lane.pop_front();
                }
                self.post_next(home);
                self.give(Input::Answered { request, outcome });
            } else {
                self.desk.handle_timeout(self.now);
                self.drain();
            }
        }
        self.now = end;
    }

    fn post_next(&mut self, home: u64) {
        if let Some((id, delay, outcome)) = self.lanes.get(&home).and_then(|lane| lane.front()) {
            self.answers
                .push((self.now + *delay, home, *id, outcome.clone()));
        }
    }

    fn drain(&mut self) {
        loop {
            let mut replies = Vec::new();
            while let Some(output) = self.desk.poll_output() {
                match output {
                    Output::Send {
                        session,
                        message,
                        without,
                    } => {
                        let mut frame: Value = serde_json::from_str(&message.to_text()).unwrap();
                        if frame["message"] == "ping" {
                            replies.push(calls::Input::Frame {
                                session,
                                message: ClientMessage::Pong,
                            });
                        }
                        if let Some(Value::Object(argument)) = frame["data"].get_mut(0) {
                            argument.retain(|name, _| !without.contains(name));
                        }
                        self.page.push(Told {
                            session: session.0,
                            frame,
                        });
                    }
                    Output::Request(request) => self.post(*request),
                    Output::Calls(calls::Output::Close { session }) => self.closed.push(session.0),
                    Output::Calls(calls::Output::Trunk { command, .. }) => self.trunk.push(command),
                    Output::Calls(calls::Output::Media { command, .. }) => {
                        replies.extend(media_reply(&command).map(calls::Input::Media));
                        self.media.push(command);
                    }
                    Output::Calls(calls::Output::Record(_)) => {}
                    Output::Calls(other) => panic!("the desk keeps {other:?} to itself"),
                }
            }
            if replies.is_empty() {
                break;
            }
            for reply in replies {
                self.desk.handle(Input::Calls(reply), self.now);
            }
        }
    }

    fn post(&mut self, request: Request) {
        let body: Value = serde_json::from_str(&request.body).unwrap();
        if !self.silent {
            let (delay, outcome) = self
                .script
                .get(&request.method)
                .cloned()
                .unwrap_or((Duration::ZERO, ok("")));
            let home = request.session.0;
            let lane = self.lanes.entry(home).or_default();
            lane.push_back((request.id, delay, outcome));
            if lane.len() == 1 {
                self.post_next(home);
            }
        }
        self.posted.push(Posted { request, body });
    }

    /// Names of what this page got, with the status where there is one.
    pub fn told(&self, session: u64) -> Vec<String> {
        self.page
            .iter()
            .filter(|told| told.session == session && told.frame["message"] != "ping")
            .map(|told| {
                let name = told.frame["message"].as_str().unwrap();
                match told.frame["data"][0]["status"].as_str() {
                    Some(status) => format!("{name} {status}"),
                    None => name.to_owned(),
                }
            })
            .collect()
    }

    /// Names of the hooks that left, with the status where there is one.
    pub fn hooks(&self) -> Vec<String> {
        self.posted
            .iter()
            .map(|posted| {
                let name = posted.request.method.as_str();
                match posted.body["status"].as_str() {
                    Some(status) => format!("{name} {status}"),
                    None => name.to_owned(),
                }
            })
            .collect()
    }

    /// The last body of this hook.
    pub fn body(&self, method: &str) -> Value {
        self.posted
            .iter()
            .rev()
            .find(|posted| posted.request.method.as_str() == method)
            .unwrap_or_else(|| panic!("no {method} in {:?}", self.hooks()))
            .body
            .clone()
    }

    /// The last argument of this message to a page.
    pub fn last(&self, name: &str) -> Value {
        self.page
            .iter()
            .rev()
            .find(|told| told.frame["message"] == name)
            .unwrap_or_else(|| panic!("no {name} in {:?}", self.page))
            .frame["data"][0]
            .clone()
    }

    /// The last INVITE that went out.
    pub fn invite(&self) -> InviteId {
        self.invited().expect("an INVITE").0
    }

    pub fn invited(&self) -> Option<(InviteId, String)> {
        self.trunk.iter().rev().find_map(|command| match command {
            trunk::Command::Invite { invite, target, .. } => Some((*invite, format!("{target:?}"))),
            _ => None,
        })
    }

    pub fn progress(&mut self, invite: InviteId, status: u16, sdp: Option<&str>) {
        self.event(Event::Progress {
            invite,
            fork: ForkId(0),
            status,
            reason: "Ringing".into(),
            sdp: sdp.map(|s| s.as_bytes().to_vec()),
            source: SOURCE.parse().unwrap(),
            raw: format!("SIP/2.0 {status} x\r\nVia: x\r\n"),
        });
    }

    pub fn answer(&mut self, invite: InviteId) {
        self.event(Event::Answered {
            invite,
            fork: ForkId(0),
            status: 200,
            reason: "OK".into(),
            sdp: Some(PHONE.as_bytes().to_vec()),
            late: false,
            source: SOURCE.parse().unwrap(),
            raw: "SIP/2.0 200 OK\r\nVia: x\r\n".into(),
        });
    }

    /// A call for the page whose account has this number. Its callId is [`Rig::rings`]'.
    pub fn ring(&mut self, account: u64) -> InviteId {
        let invite = InviteId(self.next_invite);
        self.next_invite += 2;
        self.event(Event::Incoming {
            invite,
            account: AccountId(account),
            from: Identity {
                user: "1002".into(),
                display: "Bob".into(),
                uri: "sip:1002@pbx.test".into(),
            },
            to: Identity {
                user: "1001".into(),
                display: String::new(),
                uri: "sip:1001@pbx.test".into(),
            },
            sdp: Some(PHONE.as_bytes().to_vec()),
            headers: Vec::new(),
            source: SOURCE.parse().unwrap(),
            raw: "INVITE sip:x SIP/2.0\r\nVia: x\r\n".into(),
            replaces: None,
            by_line: None,
        });
        invite
    }

    pub fn over(&mut self, invite: InviteId, end: trunk::End) {
        self.event(Event::Ended { invite, end });
    }
}

pub fn by_peer() -> trunk::End {
    trunk::End::ByPeer {
        raw: "BYE sip:x SIP/2.0\r\n".into(),
        reason: String::new(),
        cancelled: false,
    }
}

pub fn account(app: &str) -> Value {
    json!({"message": "connection", "data": [{"appKey": app, "sipLogin": "1001", "sipAuthenticationName": "auth1001",
        "sipPassword": "secret", "sipDomain": "pbx.test", "sipOutboundProxy": "proxy.test", "sipPort": "5060",
        "sipRegisterRequired": true, "mediaProviders": ["WebRTC"], "keepAlive": true, "clientVersion": "2.0",
        "custom": {"a": 1}}]})
}

/// An answer of a browser to the last offer we made it.
pub fn browser_answer(id: &str) -> Value {
    let sdp = BROWSER_OFFER.replace("setup:actpass", "setup:active");
    json!({"callId": id, "sdp": sdp, "hasVideo": true, "hasAudio": true, "incoming": true, "status": "PENDING"})
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
        LegSpec::Rtp { .. } => LocalTransport::Rtp {
            rtp: vec!["198.51.100.2:20000".parse().unwrap()],
            sdes: Vec::new(),
            video: Vec::new(),
            ice: None,
        },
        LegSpec::Source(_) => LocalTransport::Source,
    }
}
