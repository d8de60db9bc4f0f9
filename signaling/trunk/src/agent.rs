//! The front door of the trunk: commands, datagrams, streams and look-ups go in; what to send, what to
//! open and what happened comes out.

use crate::allowed::Entry;
use crate::api::{AccountId, Command, Event, InviteId, ReferId, Refusal};
use crate::dice::Dice;
use crate::guard::Guard;
use crate::invite::Invite;
use crate::lines::Lines;
use crate::net::{Listener, Path, Stream, StreamId};
use crate::redirect::Redirect;
use crate::registrar::Registrar;
use crate::registration::Account;
use crate::reliable::ReliableProvisional;
use crate::requests::{ClientTransaction, Request};
use crate::resting::Resting;
use crate::schedule::Schedule;
use crate::server::ServerTransaction;
use crate::session_timer::MIN_SE_S;
use crate::stun;
use crate::targets::{Answer, Question};
use crate::tls::{PeerCertificate, TlsOpen};
use crate::trunks::{Heard, Trunks, is_of_line};
use serde::{Deserialize, Serialize};
use signaling_sip::message::{Framing, Message, Scan, scan};
use signaling_sip::time::Instant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// What the operator decided, and what the shell found out at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bound addresses, never wildcards.
    pub listeners: Vec<Listener>,
    /// Addresses of this box with their prefix lengths.
    pub interfaces: Vec<(IpAddr, u8)>,
    pub allowed: Vec<Entry>,
    /// Where this process listens for anything else than SIP: never to be sent to.
    pub others: Vec<SocketAddr>,
    pub user_agent: String,
    /// Asked of registrars; 0: 60 s. Half of it is the longest time for which a registrar that forgot
    /// everything goes unnoticed.
    pub register_expires_s: u32,
    pub reliable_provisional: ReliableProvisional,
    /// The session interval that we ask for (RFC 4028); 0: none. Who asks us for one is answered in any case.
    pub session_expires_s: u32,
    pub redirect: Redirect,
    /// The least that we bear; below 90 it counts as 90.
    pub min_se_s: u32,
    /// New calls of others in a second, and calls at once; one more gets 503. 0: no limit but our own.
    pub max_calls_per_second: u32,
    pub max_calls: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listeners: Vec::new(),
            interfaces: Vec::new(),
            allowed: Vec::new(),
            others: Vec::new(),
            user_agent: String::new(),
            register_expires_s: 0,
            reliable_provisional: ReliableProvisional::WhenSdp,
            redirect: Redirect::Follow,
            session_expires_s: 1800,
            min_se_s: MIN_SE_S,
            max_calls_per_second: 0,
            max_calls: 0,
        }
    }
}

#[derive(Debug)]
pub enum Input<'a> {
    Command(Command),
    /// The operator's lines as they are from now on.
    Lines(Box<Lines>),
    /// `local` is the bound address that it came to.
    Datagram {
        local: SocketAddr,
        remote: SocketAddr,
        bytes: &'a [u8],
    },
    /// The shell draws odd numbers.
    StreamAccepted {
        stream: StreamId,
        remote: SocketAddr,
        /// TLS, whose handshake is over.
        secure: bool,
        /// What its peer showed in that.
        peer: Option<PeerCertificate>,
    },
    StreamConnected {
        stream: StreamId,
    },
    /// It could not be opened, or it ended.
    StreamClosed {
        stream: StreamId,
    },
    /// It could not be opened, and this is why, in words for whoever wanted it.
    StreamFailed {
        stream: StreamId,
        why: String,
    },
    StreamData {
        stream: StreamId,
        bytes: &'a [u8],
    },
    Answer {
        query: u64,
        answer: Answer,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    Datagram {
        local: SocketAddr,
        remote: SocketAddr,
        bytes: Vec<u8>,
    },
    /// Answered by `StreamConnected`, `StreamClosed` or `StreamFailed`. `from`: the address to leave from. `tls`:
    /// it is connected when the handshake is over and its peer is whom this names.
    OpenStream {
        stream: StreamId,
        from: IpAddr,
        remote: SocketAddr,
        tls: Option<TlsOpen>,
    },
    StreamData {
        stream: StreamId,
        bytes: Vec<u8>,
    },
    /// After what was written before it is out.
    CloseStream {
        stream: StreamId,
    },
    /// Answered by `Input::Answer` with the same number.
    Ask {
        query: u64,
        question: Question,
    },
    Event(Event),
}

/// Everything that has a deadline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Due {
    Client(String),
    Server(String),
    Account(AccountId),
    AccountKeepAlive(AccountId),
    /// A 2xx of ours is repeated.
    Repeat(InviteId),
    /// A reliable provisional response of ours is.
    Progress(InviteId),
    /// A session is to be refreshed, or was not.
    Session(InviteId),
    /// A re-INVITE of ours is tried again.
    Offer(InviteId),
    /// It rang too long, or the end of it never came.
    Patience(InviteId),
    Request(u64),
    /// An address has said nothing for too long.
    Attempt(u64),
    /// The servers of a trunk are asked whether they are there.
    Probe(AccountId),
    Stream(StreamId),
    Late(u64),
    /// The next NOTIFY of a REFER of ours.
    Notify(InviteId, ReferId),
    /// A REFER of theirs waits for a decision, or for the end of its subscription.
    Referral(InviteId, ReferId),
    /// The first contact of a phone runs out.
    Phone(String),
    /// The way to a phone behind a NAT is kept open.
    PhoneKeepAlive(String),
}

/// What a snapshot holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    version: u32,
    pub dice: Dice,
    pub schedule: Schedule<Due>,
    pub accounts: BTreeMap<AccountId, Account>,
    #[serde(default)]
    pub lines: Lines,
    #[serde(default)]
    pub trunks: Trunks,
    #[serde(default)]
    pub registrar: Registrar,
    /// Random user parts of our Contacts.
    pub contacts: BTreeMap<String, AccountId>,
    pub invites: BTreeMap<InviteId, Invite>,
    /// Our tags.
    pub tags: BTreeMap<String, InviteId>,
    pub requests: BTreeMap<u64, Request>,
    pub queries: BTreeMap<u64, u64>,
    pub client: BTreeMap<String, ClientTransaction>,
    pub server: BTreeMap<String, ServerTransaction>,
    pub streams: BTreeMap<StreamId, Stream>,
    #[serde(default)]
    pub guard: Guard,
    #[serde(default)]
    pub resting: Resting,
    #[serde(default)]
    pub heard: Heard,
    /// First INVITEs of theirs whose transactions are not over, by what makes two of them the same.
    #[serde(default)]
    pub merged: BTreeMap<String, String>,
    counter: u64,
}

const SNAPSHOT_VERSION: u32 = 1;

pub struct Agent {
    pub(crate) config: Config,
    pub(crate) s: State,
    out: VecDeque<Output>,
    /// When what is being handled came in.
    pub(crate) now: Instant,
}

impl Agent {
    /// `seed`: 32 bytes of the operating system, or a simulation's number.
    pub fn new(config: Config, seed: [u8; 32]) -> Agent {
        let dice = Dice::new(seed);
        let secret = dice.digest_of(b"sources");
        let secret = u64::from_str_radix(&secret, 16).unwrap_or_default();
        let s = State {
            version: SNAPSHOT_VERSION,
            dice,
            schedule: Schedule::default(),
            accounts: BTreeMap::new(),
            lines: Lines::default(),
            trunks: Trunks::default(),
            registrar: Registrar::default(),
            contacts: BTreeMap::new(),
            invites: BTreeMap::new(),
            tags: BTreeMap::new(),
            requests: BTreeMap::new(),
            queries: BTreeMap::new(),
            client: BTreeMap::new(),
            server: BTreeMap::new(),
            streams: BTreeMap::new(),
            guard: Guard::new(secret),
            resting: Resting::default(),
            heard: Heard::default(),
            merged: BTreeMap::new(),
            counter: 0,
        };
        Agent {
            config,
            s,
            out: VecDeque::new(),
            now: Instant(0),
        }
    }

    /// Everything but the configuration, as CBOR. Outputs must have been drained. Holds passwords.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(&self.s, &mut bytes).expect("plain data into memory");
        bytes
    }

    /// Goes on where a snapshot was taken. Its instants are those of the clock it was taken with.
    pub fn restore(config: Config, snapshot: &[u8]) -> Result<Agent, String> {
        let s: State = ciborium::from_reader(snapshot).map_err(|e| e.to_string())?;
        if s.version != SNAPSHOT_VERSION {
            return Err(format!("snapshot version {}", s.version));
        }
        Ok(Agent {
            config,
            s,
            out: VecDeque::new(),
            now: Instant(0),
        })
    }

    /// Every connection it believes in. After a restart of the process none of them is left: each is to be
    /// told as closed.
    pub fn streams(&self) -> Vec<StreamId> {
        self.s.streams.keys().copied().collect()
    }

    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        self.now = now;
        match input {
            Input::Command(command) => self.on_command(command, now),
            Input::Lines(lines) => self.take_lines(*lines, now),
            Input::Datagram {
                local,
                remote,
                bytes,
            } => {
                let path = Path::Datagram { local, remote };
                if !self.lets_in(path, bytes, now) {
                    return;
                }
                if let Some(answer) = stun::answer(bytes, remote) {
                    return self.answer_ping(path, bytes.len(), answer, now);
                }
                match scan(bytes, Framing::Datagram) {
                    Scan::Message { message, .. } => self.on_message(&message, path, now),
                    Scan::Garbage(_) => self.charge_garbage(path, now),
                    Scan::KeepAlive { .. } | Scan::Partial { .. } => {}
                }
            }
            Input::StreamAccepted {
                stream,
                remote,
                secure,
                peer,
            } => self.on_accepted(stream, remote, secure, peer, now),
            Input::StreamConnected { stream } => self.on_connected(stream, now),
            Input::StreamClosed { stream } => self.on_stream_closed(stream, now),
            Input::StreamFailed { stream, why } => self.on_stream_failed(stream, &why, now),
            Input::StreamData { stream, bytes } => self.on_stream_data(stream, bytes, now),
            Input::Answer { query, answer } => self.on_answer(query, answer, now),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        while let Some(due) = self.s.schedule.take_due(now) {
            match due {
                Due::Client(branch) => self.on_client_timeout(&branch, now),
                Due::Server(key) => self.on_server_timeout(&key, now),
                Due::Account(account) => self.on_account_due(account, now),
                Due::AccountKeepAlive(account) => self.on_account_keep_alive(account, now),
                Due::Repeat(invite) => self.on_repeat_due(invite, now),
                Due::Session(invite) => self.on_session_due(invite, now),
                Due::Progress(invite) => self.on_progress_due(invite, now),
                Due::Offer(invite) => self.on_offer_due(invite, now),
                Due::Patience(invite) => self.on_patience_over(invite, now),
                Due::Request(request) => self.on_request_due(request, now),
                Due::Attempt(request) => self.on_attempt_over(request, now),
                Due::Probe(account) => self.on_probe_due(account, now),
                Due::Stream(stream) => self.on_stream_due(stream, now),
                Due::Late(number) => self.on_late_answer(number),
                Due::Notify(invite, refer) => self.on_notify_due(invite, refer),
                Due::Referral(invite, refer) => self.on_referral_due(invite, refer, now),
                Due::Phone(user) => self.on_phone_due(&user, now),
                Due::PhoneKeepAlive(user) => self.keep_phone_reachable(&user, now),
            }
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.s.schedule.next()
    }

    /// Accounts, INVITEs, server and client transactions, requests on their way: for metrics and tests.
    pub fn counts(&self) -> [usize; 5] {
        let s = &self.s;
        [
            s.accounts.len(),
            s.invites.len(),
            s.server.len(),
            s.client.len(),
            s.requests.len(),
        ]
    }

    /// The process is about to end: so do calls, and registrations of pages and trunks.
    pub fn leave(&mut self, now: Instant) {
        self.retain(&[], &[], now);
        self.close_trunks(now);
    }

    /// Every call has ended and every account is unregistered: nothing is left to be polite about.
    pub fn is_idle(&self) -> bool {
        self.s.accounts.values().all(Account::is_gone)
            && self.s.invites.values().all(Invite::is_over)
    }

    fn on_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::OpenAccount { account, spec } => self.open_account(account, spec, now),
            Command::CloseAccount { account } if is_of_line(account) => {}
            Command::CloseAccount { account } => self.close_account(account, now),
            Command::Invite {
                invite,
                account,
                target,
                from_display,
                headers,
                sdp,
                options,
            } => {
                self.place_invite(
                    invite,
                    account,
                    &target,
                    &from_display,
                    headers,
                    sdp,
                    *options,
                    now,
                );
            }
            Command::Acknowledge { invite, fork, sdp } => self.acknowledge(invite, fork, sdp, now),
            Command::Hangup { invite, status } => self.hang_up(invite, status, now),
            Command::Progress {
                invite,
                status,
                sdp,
            } => self.progress(invite, status, sdp, now),
            Command::Accept { invite, sdp } => self.accept(invite, sdp, now),
            Command::Offer { invite, sdp } => self.offer(invite, sdp, now),
            Command::AnswerOffer { invite, offer, sdp } => {
                self.answer_offer(invite, offer, sdp, now)
            }
            Command::RefuseOffer {
                invite,
                offer,
                status,
            } => self.refuse_offer(invite, offer, status, now),
            Command::Refer { invite, refer, to } => self.refer(invite, refer, to, now),
            Command::AcceptRefer { invite, refer } => self.accept_refer(invite, refer, now),
            Command::RefuseRefer {
                invite,
                refer,
                status,
            } => self.refuse_refer(invite, refer, status, now),
            Command::NotifyRefer {
                invite,
                refer,
                status,
                reason,
            } => self.notify_refer(invite, refer, status, &reason, now),
            Command::Info {
                invite,
                content_type,
                body,
            } => self.send_info(invite, content_type, body, now),
            Command::Retain { accounts, invites } => self.retain(&accounts, &invites, now),
        }
    }

    fn retain(&mut self, accounts: &[AccountId], invites: &[InviteId], now: Instant) {
        let (accounts, invites): (BTreeSet<_>, BTreeSet<_>) =
            (accounts.iter().collect(), invites.iter().collect());
        let gone: Vec<InviteId> = self
            .s
            .invites
            .keys()
            .filter(|i| !invites.contains(i))
            .copied()
            .collect();
        for invite in gone {
            // Not 603: that would end the call for the user's other phones as well.
            let away = Refusal {
                status: 480,
                reason: "Temporarily Unavailable".into(),
                ..Refusal::default()
            };
            self.hang_up(invite, Some(away), now);
        }
        let gone: Vec<AccountId> = self
            .s
            .accounts
            .keys()
            .filter(|a| !accounts.contains(a) && !is_of_line(**a))
            .copied()
            .collect();
        for account in gone {
            self.close_account(account, now);
        }
        self.tell_trunks();
        self.tell_phones();
    }

    fn take_lines(&mut self, lines: Lines, now: Instant) {
        let before = std::mem::replace(&mut self.s.lines, lines);
        // A trunk that goes says so over the connection that it has.
        self.take_trunks(now);
        self.close_misjudged(&before, now);
        self.take_phones(&before);
    }

    pub(crate) fn on_message(&mut self, message: &Message<'_>, path: Path, now: Instant) {
        if message.is_request() {
            self.s.guard.figures.requests += 1;
            self.on_request(message, path, now);
        } else {
            self.s.guard.figures.responses += 1;
            self.on_response(message, path, now);
        }
    }

    pub(crate) fn transmit(&mut self, path: Path, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        self.count_sent(&bytes);
        match path {
            Path::Datagram { local, remote } => self.push(Output::Datagram {
                local,
                remote,
                bytes,
            }),
            Path::Stream { stream, .. } => {
                if self.s.streams.get(&stream).is_some_and(|s| s.up) {
                    self.push(Output::StreamData { stream, bytes });
                }
            }
        }
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.out.push_back(output);
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    /// Numbers of requests, look-ups, streams, offers and inbound INVITEs.
    pub(crate) fn draw(&mut self) -> u64 {
        self.s.counter += 1;
        self.s.counter
    }
}
