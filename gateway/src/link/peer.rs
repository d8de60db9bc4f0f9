//! The task that is one side of a link: it owns the [`Session`], feeds it from the queues and the wire, and
//! tells the user what came of it. Both sides run the same; a [`Finder`] gets them their connections.

use super::frame::decode;
use super::session::{Change, LANES, Session};
use super::wire::{Wire, WireError};
use super::{EVENTS, LinkConfig, LinkEvent, QUEUE_MESSAGES, Receiver, Sender, Shared, draw};
use quinn::{Connection, VarInt};
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

/// Application error codes of our `CONNECTION_CLOSE`.
pub const CLOSE_DONE: VarInt = VarInt::from_u32(0);
pub const CLOSE_REPLACED: VarInt = VarInt::from_u32(1);
pub const CLOSE_MISBEHAVED: VarInt = VarInt::from_u32(2);
pub const CLOSE_REFUSED: VarInt = VarInt::from_u32(3);
pub const CLOSE_CUT: VarInt = VarInt::from_u32(4);

/// A connection on which both first frames were said.
pub struct Established {
    pub wire: Wire,
    pub session: u64,
    pub peer_instance: u64,
    pub resumed: bool,
    pub peer_seen: Vec<u64>,
}

/// Gets connections: by dialing, or by waiting for one who dials.
pub trait Finder: Send + 'static {
    /// Called before each wait, with the connection that stands. `true`: that one is to be given up.
    fn look(&mut self, session: &Session, standing: Option<&Connection>) -> bool;

    /// Cancelled whenever something else happens: what is under way is kept in `self`. `None`: look again.
    fn next(&mut self) -> impl Future<Output = Option<Box<Established>>> + Send;
}

pub fn spawn<Out, In, F>(
    config: &LinkConfig,
    name: String,
    shared: Arc<Shared>,
    finder: F,
) -> (Sender<Out>, Receiver<In>)
where
    In: DeserializeOwned + Send + 'static,
    F: Finder,
{
    let (lanes, queues): (Vec<_>, Vec<_>) =
        (0..LANES).map(|_| mpsc::channel(QUEUE_MESSAGES)).unzip();
    let (events, receiver) = mpsc::channel(EVENTS);
    let peer = Peer::<In> {
        name,
        session: Session::new(config.instance, config.grace),
        queues,
        events,
        inbox: VecDeque::new(),
        wire: None,
        shared: shared.clone(),
    };
    config.runtime.spawn(peer.run(finder));
    (
        Sender {
            lanes: lanes.into(),
            shared,
            what: PhantomData,
        },
        receiver,
    )
}

struct Peer<In> {
    /// Who speaks with whom, for the log.
    name: String,
    session: Session,
    /// What the user sent, by lane.
    queues: Vec<mpsc::Receiver<Vec<u8>>>,
    events: mpsc::Sender<LinkEvent<In>>,
    /// What the user is to be told; bounded by what one turn of reading brings beyond [`EVENTS`].
    inbox: VecDeque<LinkEvent<In>>,
    wire: Option<Wire>,
    shared: Arc<Shared>,
}

/// Why the task woke.
enum Turn {
    Told,
    Established(Box<Established>),
    Cut,
    Arrived(Vec<Vec<u8>>),
    /// What came before it broke counts as seen.
    Broken(WireError, Vec<Vec<u8>>),
    /// Nobody listens, or nobody will send and all is sent.
    UserGone,
}

impl<In: DeserializeOwned + Send + 'static> Peer<In> {
    async fn run(mut self, mut finder: impl Finder) {
        let shared = self.shared.clone();
        loop {
            if finder.look(
                &self.session,
                self.wire.as_ref().map(|wire| &wire.connection),
            ) {
                self.close(CLOSE_REPLACED, "the peer came on another connection");
                continue;
            }
            let timeout = self.session.poll_timeout();
            let may_read = self.inbox.len() < EVENTS;
            let woken = tokio::select! {
                biased;
                permit = self.events.reserve(), if !self.inbox.is_empty() => match permit {
                    // There is room: `tell_more` fills it.
                    Ok(_) => Turn::Told,
                    Err(_) => Turn::UserGone,
                },
                () = self.events.closed() => Turn::UserGone,
                () = shared.cut.notified() => Turn::Cut,
                found = finder.next() => found.map_or(Turn::Told, Turn::Established),
                turn = poll_fn(|cx| {
                    turn(cx, &mut self.session, &mut self.queues, &mut self.wire, &self.shared, may_read)
                }) => turn,
                () = sleep_until(timeout) => Turn::Told,
            };
            match woken {
                Turn::Told => self.tell_more(),
                Turn::Arrived(messages) => {
                    self.arrived(messages);
                    self.tell_more();
                }
                Turn::Broken(error, messages) => {
                    self.arrived(messages);
                    self.broken(error);
                }
                Turn::Established(established) => self.established(*established),
                Turn::Cut => self.close(CLOSE_CUT, "cut"),
                Turn::UserGone => break,
            }
            if self.session.is_overdue(Instant::now()) {
                let change = self.session.abandon(draw());
                self.drop_queues();
                self.tell(change);
            }
        }
        if let Some(wire) = self.wire.take() {
            wire.connection.close(CLOSE_DONE, b"done");
        }
    }

    /// Hands over what the user's queue takes without waiting.
    fn tell_more(&mut self) {
        while !self.inbox.is_empty()
            && let Ok(permit) = self.events.try_reserve()
            && let Some(event) = self.inbox.pop_front()
        {
            permit.send(event);
        }
    }

    fn established(&mut self, established: Established) {
        self.close(CLOSE_REPLACED, "the peer came on another connection");
        let Established {
            wire,
            session,
            peer_instance,
            resumed,
            peer_seen,
        } = established;
        if self.session.would_drop(session, peer_instance) {
            self.drop_queues();
        }
        match self
            .session
            .connected(session, peer_instance, resumed, &peer_seen)
        {
            Ok(change) => {
                info!(link = self.name, address = %wire.connection.remote_address(), resumed, "link up");
                self.wire = Some(wire);
                self.shared.set_trouble(None);
                Shared::add(&self.shared.connections, 1);
                self.tell(Some(change));
            }
            Err(error) => {
                warn!(link = self.name, %error, "the peer of the link makes no sense and is given up");
                wire.connection
                    .close(CLOSE_MISBEHAVED, b"impossible numbers in the first frame");
                let change = self.session.abandon(draw());
                self.drop_queues();
                self.tell(change);
            }
        }
    }

    fn arrived(&mut self, messages: Vec<Vec<u8>>) {
        Shared::add(&self.shared.received, messages.len() as u64);
        for bytes in messages {
            match decode::<In>(&bytes) {
                Ok(message) => self.inbox.push_back(LinkEvent::Message(message)),
                Err(_) => {
                    Shared::add(&self.shared.skipped, 1);
                    debug!(
                        bytes = bytes.len(),
                        "skipped a message that this version does not know"
                    );
                }
            }
        }
    }

    fn broken(&mut self, error: WireError) {
        info!(link = self.name, %error, "link down");
        let code = if error.is_misbehaviour() {
            CLOSE_MISBEHAVED
        } else {
            CLOSE_DONE
        };
        self.shared.set_trouble(Some(error.to_string()));
        self.close(code, "broken");
        if error.is_misbehaviour() {
            // The numbers of both sides do not fit each other: begin anew rather than for ever again.
            let change = self.session.abandon(draw());
            self.drop_queues();
            self.tell(change);
        }
    }

    fn close(&mut self, code: VarInt, reason: &str) {
        if let Some(wire) = self.wire.take() {
            wire.connection.close(code, reason.as_bytes());
        }
        let change = self.session.disconnected(Instant::now());
        self.tell(change);
    }

    fn tell(&mut self, change: Option<Change>) {
        let Some(change) = change else { return };
        self.shared.up.store(
            matches!(change, Change::Up { .. }).into(),
            std::sync::atomic::Ordering::Relaxed,
        );
        self.inbox.push_back(match change {
            Change::Up { fresh } => LinkEvent::Up { fresh },
            Change::Down => LinkEvent::Down,
            Change::Lost => LinkEvent::Lost,
        });
    }

    /// What still waits was said to a peer that is no more.
    fn drop_queues(&mut self) {
        for queue in &mut self.queues {
            while queue.try_recv().is_ok() {
                Shared::add(&self.shared.dropped, 1);
            }
        }
    }
}

/// Everything that costs no waiting: from the queues to the lanes, from the lanes to the wire and back.
fn turn(
    cx: &mut Context<'_>,
    session: &mut Session,
    queues: &mut [mpsc::Receiver<Vec<u8>>],
    wire: &mut Option<Wire>,
    shared: &Shared,
    may_read: bool,
) -> Poll<Turn> {
    let mut open = 0;
    for (lane, queue) in queues.iter_mut().enumerate() {
        loop {
            if !session.has_room(lane) {
                open += 1;
                break;
            }
            match queue.poll_recv(cx) {
                Poll::Ready(Some(message)) => {
                    let counter = if session.send(lane, message) {
                        &shared.sent
                    } else {
                        &shared.dropped
                    };
                    Shared::add(counter, 1);
                }
                Poll::Ready(None) => break,
                Poll::Pending => {
                    open += 1;
                    break;
                }
            }
        }
    }
    if open == 0 && (session.is_idle() || !session.is_connected()) {
        return Poll::Ready(Turn::UserGone);
    }
    let Some(wire) = wire else {
        return Poll::Pending;
    };
    let mut arrived = Vec::new();
    match wire.poll(cx, session, may_read, Instant::now(), &mut arrived) {
        Poll::Ready(Ok(())) => Poll::Ready(Turn::Arrived(arrived)),
        Poll::Ready(Err(error)) => Poll::Ready(Turn::Broken(error, arrived)),
        Poll::Pending => Poll::Pending,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}

/// A future under way that a [`Finder`] keeps between two calls.
pub type UnderWay<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

/// Waits for what is under way; for ever if nothing is.
pub async fn finish<T>(under_way: &mut UnderWay<T>) -> T {
    match under_way {
        Some(future) => {
            let value = future.await;
            *under_way = None;
            value
        }
        None => pending().await,
    }
}
