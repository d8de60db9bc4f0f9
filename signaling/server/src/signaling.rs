//! The signaling role's loop: one desk, its browsers, the links to trunk and media, and the hooks' way out.

use crate::clock::Clock;
use crate::hooks::{Answers, Hooks};
use crate::peer::FromPeer;
use media_control as media;
use signaling_backend::{self as backend, Apps, Desk};
use signaling_calls::{CallRecord, Config, Counts, Input, Link, Output, SessionId};
use signaling_plan::Plan;
use signaling_protocol::ServerMessage;
use signaling_trunk::api as trunk;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Frames of all browsers that may wait for the switchboard; beyond it the sockets are not read.
const INPUTS: usize = 4096;
/// Messages that may wait for one browser; one more, and its socket is dropped as too slow.
const OUTGOING: usize = 256;
/// Commands that wait for a link whose queue is full: the end of all calls at once is more than a queue holds.
/// Beyond it the link is given up.
const BACKLOG: usize = 65_536;
/// When such a queue is tried again.
const AGAIN: Duration = Duration::from_millis(5);
/// What is shown is not counted anew more often: counting takes as long as there are calls, messages come faster.
const SHOWN_EVERY: Duration = Duration::from_millis(50);
/// After a shutdown was asked for, how long calls have to be taken down.
const PARTING: Duration = Duration::from_secs(4);

/// Says a command to the role at the other end of a link, in order with the others of the same key. `false`:
/// the link's queue is full or gone.
pub type Say<C> = Box<dyn FnMut(u64, C) -> bool + Send>;

/// One end of a link: commands out, events in.
pub struct Peer<C, E> {
    pub say: Say<C>,
    pub events: mpsc::Receiver<FromPeer<E>>,
}

/// What a socket tells the loop.
pub(crate) enum FromSocket {
    Opened {
        session: SessionId,
        remote: SocketAddr,
        local: SocketAddr,
        token: String,
        unique: String,
        origin: Option<String>,
        outgoing: mpsc::Sender<ToSocket>,
    },
    Input(Box<Input>),
}

/// What the loop tells a socket.
pub(crate) enum ToSocket {
    Message {
        message: Box<ServerMessage>,
        /// Fields that stay here.
        without: Vec<String>,
    },
    Close,
}

/// The sockets' way to the loop.
#[derive(Clone)]
pub struct Sockets {
    pub(crate) inputs: mpsc::Sender<FromSocket>,
    next: Arc<std::sync::atomic::AtomicU64>,
}

impl Sockets {
    pub(crate) fn next_session(&self) -> SessionId {
        SessionId(self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }

    pub(crate) fn outgoing() -> (mpsc::Sender<ToSocket>, mpsc::Receiver<ToSocket>) {
        mpsc::channel(OUTGOING)
    }
}

/// What the loop shows to whoever watches the process.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub counts: Counts,
    pub ready: bool,
    /// Sockets dropped because they did not take what was sent.
    pub slow_sockets: u64,
    pub load: media::Load,
}

/// The signaling role before it runs.
pub struct Signaling {
    pub config: Config,
    pub settings: backend::Settings,
    /// The applications, now and whenever the operator changes one.
    pub apps: watch::Receiver<Apps>,
    /// The dial plan, the same way.
    pub plan: watch::Receiver<Plan>,
    pub hooks: (Hooks, Answers),
    pub trunk: Peer<trunk::Command, trunk::Event>,
    pub media: Peer<media::Command, media::Event>,
    /// Called with each call's record when it is over.
    pub record: Box<dyn FnMut(&CallRecord) + Send>,
    pub status: Arc<Mutex<Status>>,
}

/// The way in for sockets, and the receiver to give to [`Signaling::run`].
pub fn sockets() -> (Sockets, SocketInputs) {
    let (inputs, receiver) = mpsc::channel(INPUTS);
    // Session numbers name accounts and order trunk commands beside call numbers, which are multiples of
    // four drawn far above; 0 stays free.
    (
        Sockets {
            inputs,
            next: Arc::new(1.into()),
        },
        SocketInputs(receiver),
    )
}

pub struct SocketInputs(mpsc::Receiver<FromSocket>);

impl Signaling {
    /// Runs until `shutdown` turns true, then takes calls and sessions down and returns.
    pub async fn run(self, inputs: SocketInputs, mut shutdown: watch::Receiver<bool>) {
        let Signaling {
            config,
            settings,
            mut apps,
            mut plan,
            hooks: (hooks, mut answers),
            trunk,
            media,
            record,
            status,
        } = self;
        let mut inputs = inputs.0;
        let clock = Clock::start();
        let known = apps.borrow_and_update().clone();
        let (mut apps_may_change, mut plan_may_change) = (true, true);
        let mut state = Loop {
            desk: Desk::new(config, settings, known),
            hooks,
            sockets: HashMap::new(),
            trunk: Way::new(trunk.say),
            media: Way::new(media.say),
            record,
            slow: 0,
            load: media::Load::default(),
            unshown: false,
        };
        let (mut trunk_events, mut media_events) = (trunk.events, media.events);
        let mut parting: Option<tokio::time::Instant> = None;
        let mut shown = tokio::time::Instant::now();
        let rules = Box::new(plan.borrow_and_update().clone());
        state.handle(Input::Plan(rules), &clock);
        state.publish(&status);
        loop {
            let again = state
                .is_backed_up()
                .then(|| tokio::time::Instant::now() + AGAIN);
            let timer = state.desk.poll_timeout().map(|at| clock.deadline(at));
            tokio::select! {
                Some(input) = inputs.recv() => state.socket(input, &clock),
                Some(event) = trunk_events.recv() => {
                    let input = match event {
                        FromPeer::Message(event) => Input::Trunk(event),
                        FromPeer::Up { fresh } => Input::TrunkLink(Link::Up { fresh }),
                        FromPeer::Down => Input::TrunkLink(Link::Down),
                        FromPeer::Lost => Input::TrunkLink(Link::Lost),
                    };
                    state.handle(input, &clock);
                }
                Some(event) = media_events.recv() => {
                    let input = match event {
                        FromPeer::Message(media::Event::Load(load)) => {
                            state.load = load;
                            state.unshown = true;
                            continue;
                        }
                        FromPeer::Message(event) => Input::Media(event),
                        FromPeer::Up { fresh } => Input::MediaLink(Link::Up { fresh }),
                        FromPeer::Down => Input::MediaLink(Link::Down),
                        FromPeer::Lost => Input::MediaLink(Link::Lost),
                    };
                    state.handle(input, &clock);
                }
                Some((request, outcome)) = answers.next() => {
                    state.put(backend::Input::Answered { request, outcome }, &clock);
                }
                changed = apps.changed(), if apps_may_change => {
                    // Nobody is left who could change them.
                    apps_may_change = changed.is_ok();
                    let apps = apps.borrow_and_update().clone();
                    state.hooks.retain(&apps);
                    state.put(backend::Input::Apps(apps), &clock);
                }
                changed = plan.changed(), if plan_may_change => {
                    plan_may_change = changed.is_ok();
                    let rules = Box::new(plan.borrow_and_update().clone());
                    state.handle(Input::Plan(rules), &clock);
                }
                () = sleep_until(timer) => {
                    state.desk.handle_timeout(clock.now());
                    state.drain(&clock);
                }
                () = sleep_until(again) => state.drain(&clock),
                // Nothing new, but not all that was new is shown yet.
                () = sleep_until(state.unshown.then(|| shown + SHOWN_EVERY)) => {
                    shown = tokio::time::Instant::now();
                    state.publish(&status);
                    continue;
                }
                () = sleep_until(parting) => break,
                changed = shutdown.changed(), if parting.is_none() => {
                    if changed.is_err() || *shutdown.borrow() {
                        state.handle(Input::Shutdown, &clock);
                        parting = Some(tokio::time::Instant::now() + PARTING);
                    }
                }
            }
            state.unshown = true;
            if shown.elapsed() >= SHOWN_EVERY {
                shown = tokio::time::Instant::now();
                state.publish(&status);
            }
            let is_over = |state: &Loop| {
                state.desk.board().is_idle() && state.sockets.is_empty() && state.hooks.is_idle()
            };
            if parting.is_some() && is_over(&state) {
                break;
            }
        }
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

struct Loop {
    desk: Desk,
    hooks: Hooks,
    sockets: HashMap<SessionId, mpsc::Sender<ToSocket>>,
    trunk: Way<trunk::Command>,
    media: Way<media::Command>,
    record: Box<dyn FnMut(&CallRecord) + Send>,
    slow: u64,
    load: media::Load,
    /// Something happened since the last `publish`.
    unshown: bool,
}

/// The way to a link: straight, or behind what waits already.
struct Way<C> {
    say: Say<C>,
    waiting: VecDeque<(u64, C)>,
}

impl<C: Clone> Way<C> {
    fn new(say: Say<C>) -> Way<C> {
        Way {
            say,
            waiting: VecDeque::new(),
        }
    }

    /// Says what waits, as far as the link takes it.
    fn flush(&mut self) {
        while let Some((key, command)) = self.waiting.front() {
            if !(self.say)(*key, command.clone()) {
                break;
            }
            self.waiting.pop_front();
        }
    }

    /// `false`: too much waits; all of it is forgotten.
    fn say(&mut self, key: u64, command: C) -> bool {
        if self.waiting.is_empty() && (self.say)(key, command.clone()) {
            return true;
        }
        self.waiting.push_back((key, command));
        if self.waiting.len() <= BACKLOG {
            return true;
        }
        self.waiting.clear();
        false
    }
}

impl Loop {
    fn is_backed_up(&self) -> bool {
        !self.trunk.waiting.is_empty() || !self.media.waiting.is_empty()
    }

    fn socket(&mut self, input: FromSocket, clock: &Clock) {
        match input {
            FromSocket::Opened {
                session,
                remote,
                local,
                token,
                unique,
                origin,
                outgoing,
            } => {
                self.sockets.insert(session, outgoing);
                let opened = backend::Input::SessionOpened {
                    session,
                    remote,
                    local,
                    token,
                    unique,
                    origin,
                };
                self.put(opened, clock);
            }
            FromSocket::Input(input) => {
                let input = *input;
                if let Input::SessionClosed { session } = &input {
                    self.sockets.remove(session);
                }
                self.handle(input, clock);
            }
        }
    }

    fn handle(&mut self, input: Input, clock: &Clock) {
        self.put(backend::Input::Calls(input), clock);
    }

    fn put(&mut self, input: backend::Input, clock: &Clock) {
        self.desk.handle(input, clock.now());
        self.drain(clock);
    }

    /// Carries out what the desk decided. A link that lets so much pile up is treated as lost, which
    /// frees what depends on it, and as back when its queue has room: then the far side is told what is left.
    fn drain(&mut self, clock: &Clock) {
        self.trunk.flush();
        self.media.flush();
        while let Some(output) = self.desk.poll_output() {
            match output {
                backend::Output::Send {
                    session,
                    message,
                    without,
                } => {
                    let message = Box::new(message);
                    self.tell(session, ToSocket::Message { message, without });
                }
                backend::Output::Request(request) => {
                    for (request, outcome) in self.hooks.post(*request) {
                        let answered = backend::Input::Answered { request, outcome };
                        self.desk.handle(answered, clock.now());
                    }
                }
                backend::Output::Calls(output) => self.carry_out(output, clock),
            }
        }
    }

    fn carry_out(&mut self, output: Output, clock: &Clock) {
        let mut relink = |link: fn(Link) -> Input| {
            for state in [Link::Lost, Link::Up { fresh: false }] {
                let input = backend::Input::Calls(link(state));
                self.desk.handle(input, clock.now());
            }
        };
        match output {
            Output::Close { session } => self.tell(session, ToSocket::Close),
            // The desk keeps these for itself.
            Output::Send { .. }
            | Output::Hook { .. }
            | Output::Moved { .. }
            | Output::Over { .. } => {}
            Output::Trunk { key, command } => {
                if !self.trunk.say(key, command) {
                    tracing::error!("the trunk takes no more commands");
                    relink(Input::TrunkLink);
                }
            }
            Output::Media { key, command } => {
                if !self.media.say(key, command) {
                    tracing::error!("the media role takes no more commands");
                    relink(Input::MediaLink);
                }
            }
            Output::Record(record) => (self.record)(&record),
        }
    }

    fn tell(&mut self, session: SessionId, message: ToSocket) {
        let Some(socket) = self.sockets.get(&session) else {
            return;
        };
        if socket.try_send(message).is_err() {
            // Dropping the sender ends the socket's task, which reports the session closed.
            self.slow += 1;
            self.sockets.remove(&session);
            tracing::info!(
                session = session.0,
                "a socket that does not read is dropped"
            );
        }
    }

    fn publish(&mut self, status: &Mutex<Status>) {
        self.unshown = false;
        let now = Status {
            counts: self.desk.board().counts(),
            ready: self.desk.board().is_ready(),
            slow_sockets: self.slow,
            load: self.load.clone(),
        };
        *status
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signaling_protocol::ClientMessage;

    #[test]
    fn a_socket_that_does_not_read_is_dropped_and_the_others_are_served() {
        let clock = Clock::start();
        let mut state = Loop {
            desk: Desk::new(
                Config::default(),
                backend::Settings::default(),
                Apps::default(),
            ),
            hooks: crate::hooks::hooks(crate::hooks::Settings::default()).0,
            sockets: HashMap::new(),
            trunk: Way::new(Box::new(|_, _| true)),
            media: Way::new(Box::new(|_, _| true)),
            record: Box::new(|_| {}),
            slow: 0,
            load: media::Load::default(),
            unshown: false,
        };
        let open = |state: &mut Loop, n: u64| {
            let (outgoing, receiver) = Sockets::outgoing();
            let remote = ([127, 0, 0, 1], 40_000).into();
            let opened = FromSocket::Opened {
                session: SessionId(n),
                remote,
                local: remote,
                token: n.to_string(),
                unique: n.to_string(),
                origin: None,
                outgoing,
            };
            state.socket(opened, &clock);
            receiver
        };
        let _never_read = open(&mut state, 1);
        let mut read = open(&mut state, 2);
        let ping = |n| {
            FromSocket::Input(Box::new(Input::Frame {
                session: SessionId(n),
                message: ClientMessage::Ping,
            }))
        };
        for _ in 0..OUTGOING {
            state.tell(SessionId(1), ToSocket::Close);
        }
        assert!(state.sockets.contains_key(&SessionId(1)));
        state.socket(ping(1), &clock);
        assert!(!state.sockets.contains_key(&SessionId(1)));
        assert_eq!(state.slow, 1);
        state.socket(ping(2), &clock);
        assert!(matches!(read.try_recv(), Ok(ToSocket::Message { .. })));
    }

    #[test]
    fn a_full_link_gets_everything_in_order_once_it_has_room() {
        let (hand, mut taken) = mpsc::channel(4);
        let mut way = Way::new(Box::new(move |_, n: u32| hand.try_send(n).is_ok()));
        for n in 0..10 {
            assert!(way.say(0, n));
        }
        let mut got = Vec::new();
        while let Ok(n) = taken.try_recv() {
            got.push(n);
            way.flush();
        }
        assert_eq!(got, (0..10).collect::<Vec<_>>());
        assert!(way.waiting.is_empty());
    }

    #[test]
    fn what_waits_for_a_link_is_bounded() {
        let mut way = Way::new(Box::new(|_, _: u32| false));
        let said = (0..100_000).take_while(|n| way.say(0, *n)).count();
        assert_eq!(said, BACKLOG);
        assert!(way.waiting.is_empty());
    }
}
