//! The trunk role's loop: moves values between sockets, name server, link and [`Agent`].

use crate::dns::Dns;
use crate::peer::FromPeer;
use crate::sip_socket::{Adopted, Arrival, BindError, Listen, SipSockets, SocketRules};
use crate::sip_tls::SipTls;
use signaling_sip::time::Instant;
use signaling_trunk::agent::{Agent, Config, Input, Output};
use signaling_trunk::allowed::Entry;
use signaling_trunk::api::{Command, Event};
use signaling_trunk::guard::Figures;
use signaling_trunk::lines::Lines;
use signaling_trunk::net::Listener;
use signaling_trunk::redirect::Redirect;
use signaling_trunk::reliable::ReliableProvisional;
use signaling_trunk::targets::Answer;
use std::collections::VecDeque;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// How long calls and registrations have to end when the role is told to stop.
const FAREWELL: Duration = Duration::from_secs(4);
/// Events that wait for the link; beyond that the oldest are lost, and the calls mend it by `Retain`.
const MAX_EVENTS: usize = 65_536;
/// Timers may be this late, in microseconds; the shortest of SIP's is half a second.
const TICK_MICROS: u64 = 10_000;
/// How often what was counted is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(500);
/// Arrivals taken in one turn before outputs go out.
const BATCH: usize = 64;

#[derive(Debug, Default)]
pub struct TrunkConfig {
    pub listen: Vec<Listen>,
    /// Sockets bound already, beside those of `listen`.
    pub adopted: Vec<Adopted>,
    pub allowed_targets: Vec<Entry>,
    /// Where this process listens for anything else than SIP: a page must not make us talk to ourselves.
    pub others: Vec<SocketAddr>,
    /// `None`: no TLS.
    pub tls: Option<SipTls>,
    /// DSCP of SIP; 0: none.
    pub dscp: u8,
    /// Addresses of this box that are up, with their prefix lengths.
    pub interfaces: Vec<(IpAddr, u8)>,
    /// Empty: those of `/etc/resolv.conf`.
    pub dns_servers: Vec<SocketAddr>,
    pub user_agent: String,
    /// 0: the agent's default.
    pub register_expires_s: u32,
    pub reliable_provisional: ReliableProvisional,
    pub redirect: Redirect,
    /// `None`: the agent's default, as with the next. 0: we ask for no session timer.
    pub session_expires_s: Option<u32>,
    pub min_se_s: Option<u32>,
    /// The operator's lines, now and whenever they change; `None`: there are none.
    pub lines: Option<watch::Receiver<Lines>>,
    /// New calls of others in a second, and calls at once; one more gets 503. 0: no limit but our own.
    pub max_calls_per_second: u32,
    pub max_calls: u32,
    /// What is counted, for whoever shows it.
    pub shown: Arc<Mutex<Shown>>,
    /// Told the addresses really bound, once.
    pub bound: Option<oneshot::Sender<Vec<Listener>>>,
}

/// The figures of the trunk role.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    pub agent: Figures,
    /// New requests lost because more arrived than was handled.
    pub lost: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum TrunkError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("dns.servers: {0}")]
    Dns(String),
    #[error("no randomness from the operating system: {0}")]
    Random(String),
}

/// Runs until `shutdown` is ready and everything has ended, or the commands end.
pub async fn run(
    config: TrunkConfig,
    commands: mpsc::Receiver<FromPeer<Command>>,
    events: mpsc::Sender<(u64, Event)>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), TrunkError> {
    let dns = Dns::new(&config.dns_servers).map_err(TrunkError::Dns)?;
    let rules = SocketRules {
        tls: config.tls,
        dscp: config.dscp,
    };
    let sockets = SipSockets::bind(&config.listen, config.adopted, &config.interfaces, rules)?;
    if let Some(bound) = config.bound {
        let _ = bound.send(sockets.listeners().to_vec());
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| TrunkError::Random(e.to_string()))?;
    let usual = Config::default();
    let core = Config {
        listeners: sockets.listeners().to_vec(),
        interfaces: config.interfaces,
        allowed: config.allowed_targets,
        others: config.others,
        user_agent: config.user_agent,
        register_expires_s: config.register_expires_s,
        reliable_provisional: config.reliable_provisional,
        redirect: config.redirect,
        session_expires_s: config.session_expires_s.unwrap_or(usual.session_expires_s),
        min_se_s: config.min_se_s.unwrap_or(usual.min_se_s),
        max_calls_per_second: config.max_calls_per_second,
        max_calls: config.max_calls,
    };
    let (answered, answers) = mpsc::channel(1024);
    let shell = Shell {
        agent: Agent::new(core, seed),
        sockets,
        dns,
        started: tokio::time::Instant::now(),
        waiting: VecDeque::new(),
        shown: config.shown,
        answered,
        answers,
        lines: config.lines,
    };
    shell.run(commands, events, shutdown).await;
    Ok(())
}

struct Shell {
    agent: Agent,
    sockets: SipSockets,
    dns: Dns,
    started: tokio::time::Instant,
    /// Events that the link has not taken.
    waiting: VecDeque<(u64, Event)>,
    shown: Arc<Mutex<Shown>>,
    answered: mpsc::Sender<(u64, Answer)>,
    answers: mpsc::Receiver<(u64, Answer)>,
    /// `None`: nobody is left who could change them.
    lines: Option<watch::Receiver<Lines>>,
}

impl Shell {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<FromPeer<Command>>,
        events: mpsc::Sender<(u64, Event)>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut farewell: Option<tokio::time::Instant> = None;
        self.take_lines();
        let mut show = tokio::time::interval(SHOWN_EVERY);
        show.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.drain();
            if let Some(until) = farewell
                && (self.agent.is_idle() || tokio::time::Instant::now() >= until)
            {
                return self.deliver_rest(&events).await;
            }
            let due = self
                .agent
                .poll_timeout()
                .map(|at| self.started + Duration::from_micros(together(at.0)));
            let due = [due, farewell].into_iter().flatten().min();
            let has_events = !self.waiting.is_empty();
            tokio::select! {
                arrival = self.sockets.next() => {
                    let Some(arrival) = arrival else { return };
                    self.on_arrival(arrival);
                    for _ in 0..BATCH {
                        let Some(arrival) = self.sockets.try_next() else { break };
                        self.on_arrival(arrival);
                    }
                }
                command = commands.recv(), if farewell.is_none() => match command {
                    Some(command) => self.on_command(command),
                    None => {
                        self.leave();
                        farewell = Some(tokio::time::Instant::now() + FAREWELL);
                    }
                },
                Some((query, answer)) = self.answers.recv() => {
                    let now = self.now();
                    self.agent.handle(Input::Answer { query, answer }, now);
                }
                changed = lines_changed(&mut self.lines) => {
                    if changed {
                        self.take_lines();
                    } else {
                        self.lines = None;
                    }
                }
                permit = events.reserve(), if has_events => match permit {
                    Ok(permit) => {
                        if let Some(event) = self.waiting.pop_front() {
                            permit.send(event);
                        }
                    }
                    Err(_) => self.waiting.clear(),
                },
                _ = show.tick() => self.show(),
                () = sleep_until(due) => {
                    let now = self.now();
                    self.agent.handle_timeout(now);
                }
                () = &mut shutdown, if farewell.is_none() => {
                    self.leave();
                    farewell = Some(tokio::time::Instant::now() + FAREWELL);
                }
            }
        }
    }

    fn now(&self) -> Instant {
        let micros = self.started.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn take_lines(&mut self) {
        let Some(lines) = &mut self.lines else { return };
        let lines = Box::new(lines.borrow_and_update().clone());
        let now = self.now();
        // First what connections are judged by, then whoever opens them.
        self.sockets.take_lines(&lines);
        self.agent.handle(Input::Lines(lines), now);
    }

    fn show(&self) {
        let shown = Shown {
            agent: self.agent.figures(self.now()),
            lost: self.sockets.lost(),
        };
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }

    fn leave(&mut self) {
        let now = self.now();
        self.agent.leave(now);
    }

    fn end_all(&mut self) {
        let now = self.now();
        let nothing = Command::Retain {
            accounts: Vec::new(),
            invites: Vec::new(),
        };
        self.agent.handle(Input::Command(nothing), now);
    }

    fn on_command(&mut self, command: FromPeer<Command>) {
        match command {
            FromPeer::Message(command) => {
                let now = self.now();
                self.agent.handle(Input::Command(command), now);
            }
            FromPeer::Up { fresh: true } | FromPeer::Lost => self.end_all(),
            FromPeer::Up { fresh: false } | FromPeer::Down => {}
        }
    }

    fn on_arrival(&mut self, arrival: Arrival) {
        let now = self.now();
        match arrival {
            Arrival::Datagram {
                local,
                remote,
                bytes,
            } => {
                self.agent.handle(
                    Input::Datagram {
                        local,
                        remote,
                        bytes: &bytes,
                    },
                    now,
                );
            }
            Arrival::Accepted {
                stream,
                remote,
                secure,
                peer,
                ..
            } => {
                let accepted = Input::StreamAccepted {
                    stream,
                    remote,
                    secure,
                    peer,
                };
                self.agent.handle(accepted, now);
            }
            Arrival::Connected { stream } => {
                self.agent.handle(Input::StreamConnected { stream }, now)
            }
            Arrival::Data { stream, bytes } => {
                self.agent.handle(
                    Input::StreamData {
                        stream,
                        bytes: &bytes,
                    },
                    now,
                );
            }
            Arrival::Closed { stream } => self.agent.handle(Input::StreamClosed { stream }, now),
            Arrival::Failed { stream, why } => {
                self.agent.handle(Input::StreamFailed { stream, why }, now);
            }
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::Datagram {
                    local,
                    remote,
                    bytes,
                } => self.sockets.send_datagram(local, remote, &bytes),
                Output::StreamData { stream, bytes } => {
                    if !self.sockets.send_stream(stream, bytes) {
                        let now = self.now();
                        self.agent.handle(Input::StreamClosed { stream }, now);
                    }
                }
                Output::OpenStream {
                    stream,
                    from,
                    remote,
                    tls,
                } => self.sockets.open(stream, from, remote, tls),
                Output::CloseStream { stream } => self.sockets.close(stream),
                Output::Ask { query, question } => {
                    let (dns, answered) = (self.dns.clone(), self.answered.clone());
                    tokio::spawn(async move {
                        let answer = dns.ask(&question).await;
                        let _ = answered.send((query, answer)).await;
                    });
                }
                Output::Event(event) => {
                    if self.waiting.len() >= MAX_EVENTS {
                        self.waiting.pop_front();
                    }
                    self.waiting.push_back((key(&event), event));
                }
            }
        }
    }

    async fn deliver_rest(&mut self, events: &mpsc::Sender<(u64, Event)>) {
        while let Some(event) = self.waiting.pop_front() {
            let sent = tokio::time::timeout(Duration::from_millis(200), events.send(event)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    }
}

/// Deadlines that are near each other are met by one waking up: most of them are the ends of transactions that are long
/// over, several for each call.
fn together(micros: u64) -> u64 {
    micros.div_ceil(TICK_MICROS).saturating_mul(TICK_MICROS)
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// `false`: they never will again.
async fn lines_changed(lines: &mut Option<watch::Receiver<Lines>>) -> bool {
    match lines {
        Some(lines) => lines.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}

/// Events with the same key keep their order on the link.
fn key(event: &Event) -> u64 {
    match event {
        Event::Registered { account, .. }
        | Event::Unregistered { account }
        | Event::RegistrationFailed { account, .. } => account.0,
        // One lane for all lines.
        other => other.invite().map_or(0, |invite| invite.0),
    }
}
