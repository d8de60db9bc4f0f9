//! The link between roles: QUIC with mutual TLS. It carries any pair of commands and events and knows
//! no meaning.
//!
//! [`dial`] on the one side, [`Listener::serve`] on the other; both give a [`Sender`] and a receiver of
//! [`LinkEvent`]s. As long as both processes live, every message arrives once, and in order with the others of
//! its key, whatever becomes of the connection. A message is sent on the lane of its key, so that what is
//! lost and sent again on one lane does not hold up the others.
//!
//! ```text
//!  Sender ─ queue per lane ─▶ Session (lanes) ─▶ wire ══ QUIC ══▶ wire ─▶ Session ─▶ LinkEvent::Message
//! ```
//!
//! `frame`, `lane` and `session` know neither sockets nor clocks; `wire`, `peer`, `dial` and `listen`
//! move their values.

mod dial;
pub mod frame;
mod identity;
mod lane;
mod listen;
mod peer;
mod session;
#[cfg(test)]
mod tests;
mod wire;

pub use dial::dial;
pub use identity::Identity;
pub use listen::Listener;
pub use session::LANES;

use frame::MAX_MESSAGE_BYTES;
use quinn::Endpoint;
use serde::Serialize;
use session::{Ourselves, lane_of};
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};

/// Messages that wait before a lane; a full one makes `send` wait and `try_send` fail.
pub const QUEUE_MESSAGES: usize = 1024;

/// Events that wait for whoever reads them; a full queue stops the reading of the lanes.
pub const EVENTS: usize = 1024;

/// How long the goodbye of a process may take.
const CLOSE_TIME: Duration = Duration::from_millis(500);

/// How a link behaves, and as whom.
#[derive(Clone)]
pub struct LinkConfig {
    pub identity: Arc<Identity>,
    /// Random, drawn at the start of the process ([`draw`]).
    pub instance: u64,
    /// How long a lost connection may take to come back before the peer is given up.
    pub grace: Duration,
    /// A connection on which nothing was heard for so long is gone.
    pub idle: Duration,
    /// Where endpoints and connections are driven; see [`thread`].
    pub runtime: Handle,
    /// Newest and oldest version spoken.
    pub versions: (u16, u16),
    /// All sockets made with this configuration, for [`LinkConfig::close`].
    endpoints: Arc<Mutex<Vec<Endpoint>>>,
}

impl LinkConfig {
    pub fn new(identity: Arc<Identity>, runtime: Handle) -> LinkConfig {
        LinkConfig {
            identity,
            instance: draw(),
            grace: Duration::from_secs(30),
            idle: Duration::from_secs(10),
            runtime,
            versions: (frame::VERSION, frame::VERSION.saturating_sub(1)),
            endpoints: Arc::default(),
        }
    }

    /// Ends all links made with this configuration (or a clone), and lets the peers know: otherwise they would
    /// find out when nothing has been heard for long enough.
    pub async fn close(&self) {
        let endpoints = self
            .endpoints
            .lock()
            .map(|all| all.clone())
            .unwrap_or_default();
        for endpoint in &endpoints {
            endpoint.close(peer::CLOSE_DONE, b"the process ends");
        }
        let told = async {
            for endpoint in &endpoints {
                endpoint.wait_idle().await;
            }
        };
        let _ = tokio::time::timeout(CLOSE_TIME, told).await;
    }

    fn remember(&self, endpoint: &Endpoint) {
        if let Ok(mut endpoints) = self.endpoints.lock() {
            endpoints.push(endpoint.clone());
        }
    }

    fn ourselves(&self, role: &str) -> Ourselves {
        Ourselves {
            role: role.to_owned(),
            newest: self.versions.0,
            oldest: self.versions.1,
        }
    }
}

/// What the link tells its user, in order.
#[derive(Debug, PartialEq)]
pub enum LinkEvent<In> {
    /// The peer is there. `fresh`: it is new and knows nothing of what was said before; what was sent to the
    /// one before and had not arrived is dropped. Otherwise nothing was lost.
    Up {
        fresh: bool,
    },
    Message(In),
    /// The connection is gone; what is sent from now on waits for its return.
    Down,
    /// It did not return within the grace: what waited is dropped, and so is all that is sent until `Up`.
    Lost,
}

pub type Receiver<In> = mpsc::Receiver<LinkEvent<In>>;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum SendError {
    #[error("the queue of the link is full")]
    Full,
    #[error("the link has ended")]
    Closed,
    #[error("the message is larger than the link carries ({0} bytes)")]
    TooLarge(usize),
}

/// Sends messages to the peer. Clones share the queues. When the last one is dropped the link ends, as soon as
/// all was delivered; when the receiver is dropped it ends at once.
///
/// Who waits in `send` must not be the only one who reads the receiver: if both sides did that with full
/// queues, neither would ever read again.
pub struct Sender<Out> {
    lanes: Arc<[mpsc::Sender<Vec<u8>>]>,
    shared: Arc<Shared>,
    what: PhantomData<fn(Out)>,
}

impl<Out> Clone for Sender<Out> {
    fn clone(&self) -> Self {
        Sender {
            lanes: self.lanes.clone(),
            shared: self.shared.clone(),
            what: PhantomData,
        }
    }
}

impl<Out: Serialize> Sender<Out> {
    /// Order holds among the messages of one key. Waits while the lane's queue is full.
    pub async fn send(&self, key: u64, message: Out) -> Result<(), SendError> {
        let bytes = encode(&message)?;
        self.lanes[lane_of(key)]
            .send(bytes)
            .await
            .map_err(|_| SendError::Closed)
    }

    /// The same without waiting.
    pub fn try_send(&self, key: u64, message: Out) -> Result<(), SendError> {
        let bytes = encode(&message)?;
        self.lanes[lane_of(key)]
            .try_send(bytes)
            .map_err(|e| match e {
                mpsc::error::TrySendError::Full(_) => SendError::Full,
                mpsc::error::TrySendError::Closed(_) => SendError::Closed,
            })
    }

    pub fn stats(&self) -> LinkStats {
        self.shared.stats()
    }

    /// The same for somebody who outlives the sender; holding it does not hold the link.
    pub fn watch(&self) -> Watch {
        let shared = self.shared.clone();
        Arc::new(move || shared.stats())
    }

    /// Closes the present connection, if there is one, as if the network had.
    pub fn cut(&self) {
        self.shared.cut.notify_one();
    }
}

fn encode<Out: Serialize>(message: &Out) -> Result<Vec<u8>, SendError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(message, &mut bytes).expect("plain data written to memory cannot fail");
    if bytes.len() > MAX_MESSAGE_BYTES {
        Err(SendError::TooLarge(bytes.len()))
    } else {
        Ok(bytes)
    }
}

/// What a link has seen, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    pub up: bool,
    pub sent: u64,
    pub received: u64,
    /// Messages of a variant that this version does not know.
    pub skipped: u64,
    /// Messages for a peer that was given up, or replaced.
    pub dropped: u64,
    pub connections: u64,
    /// The sentence with which the peer refuses us, or the reason why it cannot be reached; none while up.
    pub trouble: Option<String>,
}

/// Tells a link's numbers whenever it is called.
pub type Watch = Arc<dyn Fn() -> LinkStats + Send + Sync>;

#[derive(Debug, Default)]
struct Shared {
    up: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    skipped: AtomicU64,
    dropped: AtomicU64,
    connections: AtomicU64,
    trouble: Mutex<Option<String>>,
    cut: Notify,
}

impl Shared {
    fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    fn stats(&self) -> LinkStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LinkStats {
            up: get(&self.up) != 0,
            sent: get(&self.sent),
            received: get(&self.received),
            skipped: get(&self.skipped),
            dropped: get(&self.dropped),
            connections: get(&self.connections),
            trouble: self.trouble.lock().map(|t| t.clone()).unwrap_or_default(),
        }
    }

    /// `true`: it is another trouble than before.
    fn set_trouble(&self, trouble: Option<String>) -> bool {
        let Ok(mut place) = self.trouble.lock() else {
            return false;
        };
        let changed = *place != trouble;
        *place = trouble;
        changed
    }
}

/// A random number that nobody else has.
pub fn draw() -> u64 {
    getrandom::u64().expect("the system's random generator works, or nothing else here would")
}

/// A thread of its own for the link's sockets, so that neither calls nor media make it wait.
pub fn thread(name: &str) -> io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}
