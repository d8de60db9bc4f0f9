//! A node: its workers, which of them carries which group, and what it tells.

use crate::mailbox::{Mail, Sender, mailbox};
use crate::ports::Ports;
use crate::socket::Socket;
use crate::worker::{BROWSER_BUFFER, BrowserBind, Plan, WAKE, Worker, tell_lost};
use media_control::{Command, Event, GroupId, LegFailure, LegId, LegStats, Load};
use media_engine::DtlsIdentity;
use mio::{Poll, Waker};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// A lost worker is made again after this, so that one that is lost at once does not spin.
const REPLACE_AFTER: Duration = Duration::from_millis(200);

/// What peers are told instead of a bound address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announce {
    pub ip: IpAddr,
    /// Of the first worker; the others count up from it. `None`: as bound.
    pub port: Option<u16>,
}

/// An address towards browsers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaceAddress {
    /// The first worker's; worker `i` uses the port plus `i`. Port 0 lets the system choose.
    pub bind: SocketAddr,
    pub announce: Option<Announce>,
}

/// An address towards SIP peers; the ports are the range's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    pub bind: IpAddr,
    pub announce: Option<IpAddr>,
}

/// All that a node is told at its start. Addresses are resolved: `auto` has become a list.
#[derive(Clone)]
pub struct NodeConfig {
    pub outside: Vec<FaceAddress>,
    pub inside: Vec<PeerAddress>,
    /// Ports of SIP legs; `0..=0` lets the system choose.
    pub rtp_ports: RangeInclusive<u16>,
    pub workers: usize,
    /// Differentiated services code point of all that leaves (RFC 2474), 0 to 63.
    pub dscp: u8,
    /// X.509 in DER, ECDSA P-256; the cluster's.
    pub certificate: Vec<u8>,
    /// Its key as PKCS #8 in DER.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for NodeConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeConfig")
            .field("outside", &self.outside)
            .field("inside", &self.inside)
            .field("rtp_ports", &self.rtp_ports)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// Why a node did not start.
#[derive(Debug)]
pub enum NodeError {
    NoWorkers,
    NoAddress,
    Certificate(String),
    /// A worker's port for browsers.
    Bind {
        address: SocketAddr,
        error: io::Error,
    },
    Io(io::Error),
}

impl std::fmt::Display for NodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NodeError::NoWorkers => write!(f, "a media node needs at least one worker"),
            NodeError::NoAddress => write!(f, "a media node needs an address for browsers"),
            NodeError::Certificate(error) => write!(f, "the DTLS certificate is unusable: {error}"),
            NodeError::Bind { address, error } => {
                write!(
                    f,
                    "UDP {address}, a worker's port for browsers, cannot be had: {error}"
                )
            }
            NodeError::Io(error) => write!(f, "the media node cannot start: {error}"),
        }
    }
}

impl std::error::Error for NodeError {}

impl From<io::Error> for NodeError {
    fn from(error: io::Error) -> NodeError {
        NodeError::Io(error)
    }
}

/// What workers and node share; never touched for a packet.
pub struct Shared {
    pub ports: Arc<Ports>,
    events: Box<dyn Fn(Event) + Send + Sync>,
    placement: Mutex<Placement>,
    loads: Mutex<Loads>,
}

#[derive(Default)]
struct Placement {
    groups: HashMap<GroupId, Placed>,
    legs: HashMap<LegId, GroupId>,
    /// Legs per worker.
    counts: Vec<usize>,
}

struct Placed {
    worker: usize,
    legs: usize,
}

#[derive(Default)]
struct Loads {
    workers: Vec<Load>,
    told: Load,
}

/// What is behind these locks is valid between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Shared {
    pub fn tell(&self, event: Event) {
        if let Event::LegFailed { leg, .. } | Event::LegClosed { leg, .. } = &event {
            lock(&self.placement).forget(*leg);
        }
        (self.events)(event);
    }

    pub fn legs_of(&self, worker: usize) -> Vec<LegId> {
        let placement = lock(&self.placement);
        placement
            .legs
            .iter()
            .filter(|(_, group)| {
                placement
                    .groups
                    .get(group)
                    .is_some_and(|p| p.worker == worker)
            })
            .map(|(leg, _)| *leg)
            .collect()
    }

    /// One worker's second is over; the first worker tells for all.
    pub fn tell_load(&self, worker: usize, load: Load) {
        let mut loads = lock(&self.loads);
        if let Some(slot) = loads.workers.get_mut(worker) {
            *slot = load;
        }
        if worker != 0 {
            return;
        }
        let total = loads.total();
        // Its own share trembles; that alone is no change.
        let same = Load {
            busiest: total.busiest,
            ..loads.told.clone()
        } == total
            && (loads.told.busiest - total.busiest).abs() < 0.01;
        if !same {
            loads.told = total.clone();
            drop(loads);
            (self.events)(Event::Load(total));
        }
    }
}

impl Loads {
    fn total(&self) -> Load {
        let mut total = Load {
            workers: u32::try_from(self.workers.len()).unwrap_or(u32::MAX),
            ..Load::default()
        };
        for load in &self.workers {
            total.groups += load.groups;
            total.legs += load.legs;
            total.busiest = total.busiest.max(load.busiest);
            total.received += load.received;
            total.sent += load.sent;
            total.strangers += load.strangers;
            total.unauthentic += load.unauthentic;
        }
        total
    }
}

impl Placement {
    /// The worker of a new leg: its group's, or for a new group the one with the fewest legs.
    fn place(&mut self, leg: LegId, group: GroupId) -> usize {
        if let Some(known) = self.legs.get(&leg)
            && let Some(placed) = self.groups.get(known)
        {
            return placed.worker;
        }
        let counts = &self.counts;
        let placed = self.groups.entry(group).or_insert_with(|| {
            let worker = (0..counts.len()).min_by_key(|i| counts[*i]).unwrap_or(0);
            Placed { worker, legs: 0 }
        });
        placed.legs += 1;
        let worker = placed.worker;
        self.counts[worker] += 1;
        self.legs.insert(leg, group);
        worker
    }

    fn worker_of(&self, leg: LegId) -> Option<usize> {
        Some(self.groups.get(self.legs.get(&leg)?)?.worker)
    }

    fn forget(&mut self, leg: LegId) {
        let Some(group) = self.legs.remove(&leg) else {
            return;
        };
        if let Some(placed) = self.groups.get_mut(&group) {
            placed.legs -= 1;
            self.counts[placed.worker] -= 1;
            if placed.legs == 0 {
                self.groups.remove(&group);
            }
        }
    }
}

/// A running node. Dropped, it stops.
pub struct Node {
    shared: Arc<Shared>,
    senders: Vec<Sender>,
    threads: Vec<JoinHandle<()>>,
    bound: Vec<Vec<SocketAddr>>,
}

impl Node {
    /// Binds every browser port, then starts the workers. `events` is called on their threads and must
    /// not block.
    pub fn new(
        config: NodeConfig,
        events: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Node, NodeError> {
        if config.workers == 0 {
            return Err(NodeError::NoWorkers);
        }
        if config.outside.is_empty() {
            return Err(NodeError::NoAddress);
        }
        let identity = DtlsIdentity::new(config.certificate.clone(), config.key.clone())
            .map_err(NodeError::Certificate)?;
        let shared = Arc::new(Shared {
            ports: Ports::new(&config.rtp_ports, config.dscp),
            events: Box::new(events),
            placement: Mutex::new(Placement {
                counts: vec![0; config.workers],
                ..Placement::default()
            }),
            loads: Mutex::new(Loads {
                workers: vec![Load::default(); config.workers],
                told: Load::default(),
            }),
        });
        let mut node = Node {
            shared: shared.clone(),
            senders: Vec::new(),
            threads: Vec::new(),
            bound: Vec::new(),
        };
        let mut prepared = Vec::new();
        for index in 0..config.workers {
            let (browsers, sockets) = bind_browsers(&config.outside, index, config.dscp)?;
            node.bound
                .push(browsers.iter().map(|browser| browser.bind).collect());
            let plan = Arc::new(Plan {
                index,
                browsers,
                inside: config.inside.iter().map(|a| (a.bind, a.announce)).collect(),
                outside: config
                    .outside
                    .iter()
                    .map(|a| (a.bind.ip(), a.announce.map(|announce| announce.ip)))
                    .collect(),
                identity: identity.clone(),
                shared: shared.clone(),
            });
            let poll = Poll::new()?;
            let worker = Worker::new(plan.clone(), sockets, &poll)?;
            prepared.push((plan, poll, worker));
        }
        for (plan, mut poll, worker) in prepared {
            let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
            let (sender, mailbox) = mailbox(waker);
            let thread = std::thread::Builder::new()
                .name(format!("media-{}", plan.index))
                .spawn(move || {
                    let mut worker = worker;
                    while let Lost::Panicked = attend(&mut worker, &mut poll, &mailbox) {
                        tracing::error!(
                            worker = plan.index,
                            "a media worker was lost; its legs end"
                        );
                        // Its sockets close before those of the next are bound.
                        drop(worker);
                        // What waited was for legs that are lost, too.
                        if mailbox.discard() {
                            return;
                        }
                        tell_lost(&plan.shared, plan.index);
                        worker = replace(&plan, &poll);
                    }
                })?;
            node.senders.push(sender);
            node.threads.push(thread);
        }
        Ok(node)
    }

    /// Carries out a command on the worker of its legs; the answers come as events.
    pub fn handle(&self, command: Command) {
        let worker = match &command {
            Command::CreateLeg { leg, group, .. } => {
                Some(lock(&self.shared.placement).place(*leg, *group))
            }
            Command::ConnectLeg { leg, .. }
            | Command::SendDigits { leg, .. }
            | Command::RequestKeyFrame { leg } => {
                let worker = lock(&self.shared.placement).worker_of(*leg);
                if worker.is_none() && matches!(command, Command::ConnectLeg { .. }) {
                    let reason = LegFailure::Unsupported("no such leg".to_owned());
                    self.shared.tell(Event::LegFailed { leg: *leg, reason });
                }
                worker
            }
            Command::CloseLeg { leg } => {
                let worker = lock(&self.shared.placement).worker_of(*leg);
                if worker.is_none() {
                    self.shared.tell(Event::LegClosed {
                        leg: *leg,
                        stats: LegStats::default(),
                    });
                }
                worker
            }
            Command::Join { a, b } | Command::Part { a, b } => {
                let placement = lock(&self.shared.placement);
                let (wa, wb) = (placement.worker_of(*a), placement.worker_of(*b));
                if wa == wb { wa } else { None }
            }
            Command::Retain { .. } => {
                for sender in &self.senders {
                    sender.send(Mail::Command(command.clone()));
                }
                return;
            }
        };
        if let Some(sender) = worker.and_then(|worker| self.senders.get(worker)) {
            sender.send(Mail::Command(command));
        }
    }

    /// The ports for browsers, per worker, as bound.
    pub fn bound(&self) -> &[Vec<SocketAddr>] {
        &self.bound
    }

    /// What the node carries, for whoever has just connected.
    pub fn load(&self) -> Load {
        lock(&self.shared.loads).total()
    }

    /// Makes a worker panic, to see that its loss is survived.
    #[doc(hidden)]
    pub fn lose_worker(&self, index: usize) {
        if let Some(sender) = self.senders.get(index) {
            sender.send(Mail::Panic);
        }
    }

    /// Stops all workers and waits for them. Legs end without events.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        // The senders stay until the threads are gone: with the last of them the waker closes, and a wake
        // that was not seen yet is lost.
        for sender in &self.senders {
            sender.send(Mail::Stop);
        }
        for thread in self.threads.drain(..) {
            // A worker's panic was told when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

fn bind_browsers(
    addresses: &[FaceAddress],
    index: usize,
    dscp: u8,
) -> Result<(Vec<BrowserBind>, Vec<Socket>), NodeError> {
    let offset = u16::try_from(index).map_err(io::Error::other)?;
    let mut browsers = Vec::new();
    let mut sockets = Vec::new();
    for face in addresses {
        let mut bind = face.bind;
        if bind.port() != 0 {
            bind.set_port(
                bind.port()
                    .checked_add(offset)
                    .ok_or(NodeError::NoAddress)?,
            );
        }
        let socket =
            Socket::bind(bind, Some(BROWSER_BUFFER), dscp).map_err(|error| NodeError::Bind {
                address: bind,
                error,
            })?;
        let bound = socket.local_addr()?;
        let mut announced = bound;
        if let Some(announce) = face.announce {
            announced.set_ip(announce.ip);
            if let Some(port) = announce.port {
                announced.set_port(port.checked_add(offset).ok_or(NodeError::NoAddress)?);
            }
        }
        browsers.push(BrowserBind {
            bind: bound,
            announced,
        });
        sockets.push(socket);
    }
    Ok((browsers, sockets))
}

enum Lost {
    Stopped,
    Panicked,
}

/// Runs a worker until it is told to stop or cannot go on.
fn attend(worker: &mut Worker, poll: &mut Poll, mailbox: &crate::mailbox::Mailbox) -> Lost {
    // What the panic left half done is dropped whole with the worker.
    match catch_unwind(AssertUnwindSafe(|| worker.run(poll, mailbox))) {
        Ok(Ok(())) => Lost::Stopped,
        Ok(Err(error)) => {
            tracing::error!(%error, "a media worker's poll failed");
            Lost::Panicked
        }
        Err(_) => Lost::Panicked,
    }
}

/// A new worker on the same ports.
fn replace(plan: &Arc<Plan>, poll: &Poll) -> Worker {
    loop {
        std::thread::sleep(REPLACE_AFTER);
        let bound: io::Result<Vec<Socket>> = plan
            .browsers
            .iter()
            .map(|browser| {
                Socket::bind(browser.bind, Some(BROWSER_BUFFER), plan.shared.ports.dscp())
            })
            .collect();
        match bound.and_then(|sockets| Worker::new(plan.clone(), sockets, poll)) {
            Ok(worker) => return worker,
            Err(error) => tracing::error!(%error, "a lost media worker cannot be replaced yet"),
        }
    }
}
