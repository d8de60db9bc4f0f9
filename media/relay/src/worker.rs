//! One core's loop: wait, gather, receive all, carry all, send all.

use crate::mailbox::{Mail, Mailbox};
use crate::node::Shared;
use crate::pool::Pool;
use crate::ports::Lease;
use crate::socket::{CHUNK, Calls, Socket};
use media_control::{Event, Face, LegFailure, LegId};
use media_engine::{
    BrowserSocket, Buf, DtlsIdentity, EngineConfig, Input, Legs, Output, Path, PortPair, SocketId,
    WallClock,
};
use mio::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Packets are gathered for so long before they are carried: it saves a third of the CPU.
const GATHER: Duration = Duration::from_millis(1);
/// How often load is told, and how long the loop sleeps at most.
const SECOND: Duration = Duration::from_secs(1);
/// Readiness reports per wake-up; the rest comes with the next.
const EVENTS: usize = 1024;
/// A phone's socket has one datagram at a time, and one more header tells that there is no second.
const PEER_AT_ONCE: usize = 4;
/// Commands carried out between two batches: making a SIP leg costs some 50 µs of system calls.
const MAILS: usize = 32;
/// All browser legs of a worker arrive on one socket: 4 MB are 2 s of 1,000 calls.
pub const BROWSER_BUFFER: usize = 4 << 20;
pub const WAKE: Token = Token(usize::MAX);

/// A browsers' socket to open: where, and what candidates say.
#[derive(Clone, Copy, Debug)]
pub struct BrowserBind {
    pub bind: SocketAddr,
    pub announced: SocketAddr,
}

/// What a worker is made of, and made of again if it is lost.
pub struct Plan {
    pub index: usize,
    pub browsers: Vec<BrowserBind>,
    pub inside: Vec<(IpAddr, Option<IpAddr>)>,
    pub outside: Vec<(IpAddr, Option<IpAddr>)>,
    pub identity: DtlsIdentity,
    pub shared: Arc<Shared>,
}

struct Open {
    socket: Socket,
    /// Of a SIP leg's first socket: the pair's numbers, free again when it closes.
    _lease: Option<Lease>,
    /// In the list of sockets to read.
    waiting: bool,
    /// Datagrams asked for at once.
    at_once: usize,
}

pub struct Worker {
    plan: Arc<Plan>,
    legs: Legs,
    sockets: Vec<Option<Open>>,
    free: Vec<u32>,
    /// Sockets with something to read.
    ready: Vec<u32>,
    pool: Pool,
    calls: Calls,
    order: Vec<(SocketId, u32)>,
    own: Vec<(Path, Buf)>,
    /// Sockets to open, found while the engine is drained.
    wanted: HashMap<LegId, (Face, bool)>,
    served: Instant,
    told: Instant,
    cpu: Duration,
}

impl Worker {
    pub fn new(plan: Arc<Plan>, sockets: Vec<Socket>, poll: &Poll) -> io::Result<Worker> {
        let mut open = Vec::new();
        let mut browser_sockets = Vec::new();
        for (browser, mut socket) in plan.browsers.iter().zip(sockets) {
            let id = u32::try_from(open.len()).map_err(io::Error::other)?;
            poll.registry()
                .register(socket.source(), token(id), Interest::READABLE)?;
            open.push(Some(Open {
                socket,
                _lease: None,
                waiting: false,
                at_once: CHUNK,
            }));
            browser_sockets.push(BrowserSocket {
                face: Face::Outside,
                socket: SocketId(id),
                announced: browser.announced,
            });
        }
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let config = EngineConfig {
            identity: plan.identity.clone(),
            browser_sockets,
            wall: WallClock::new(Instant::now(), since_1970),
        };
        let random = Box::new(|bytes: &mut [u8]| {
            getrandom::fill(bytes).expect("the system's generator works since boot");
        });
        let now = Instant::now();
        Ok(Worker {
            legs: Legs::new(config, random),
            plan,
            sockets: open,
            free: Vec::new(),
            ready: Vec::new(),
            pool: Pool::new(),
            calls: Calls::new(),
            order: Vec::new(),
            own: Vec::new(),
            wanted: HashMap::new(),
            served: now,
            told: now,
            cpu: crate::socket::thread_cpu_time(),
        })
    }

    /// Runs until told to stop.
    pub fn run(&mut self, poll: &mut Poll, mailbox: &Mailbox) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut more_mail = false;
        loop {
            let now = Instant::now();
            let until = self
                .legs
                .poll_timeout()
                .map_or(SECOND, |at| at.saturating_duration_since(now).min(SECOND));
            let busy = more_mail || !self.ready.is_empty();
            let wait = if busy { Duration::ZERO } else { until };
            self.wait(poll, &mut events, wait)?;
            let since = self.served.elapsed();
            if !self.ready.is_empty() && since < GATHER {
                std::thread::sleep(GATHER - since);
                self.wait(poll, &mut events, Duration::ZERO)?;
            }
            self.served = Instant::now();

            more_mail = true;
            for _ in 0..MAILS {
                let Some(mail) = mailbox.next() else {
                    more_mail = false;
                    break;
                };
                match mail {
                    Mail::Command(command) => {
                        self.legs.handle(Input::Command(command), self.served);
                        self.drain(poll);
                    }
                    Mail::Stop => return Ok(()),
                    Mail::Panic => panic!("asked to"),
                }
            }
            self.legs.handle_timeout(self.served);
            self.drain(poll);
            self.carry(poll);
            self.tell_load();
        }
    }

    fn wait(&mut self, poll: &mut Poll, events: &mut Events, timeout: Duration) -> io::Result<()> {
        match poll.poll(events, Some(timeout)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in events.iter() {
            let Ok(id) = u32::try_from(event.token().0) else {
                continue;
            };
            if let Some(Some(open)) = self.sockets.get_mut(id as usize)
                && !open.waiting
            {
                open.waiting = true;
                self.ready.push(id);
            }
        }
        Ok(())
    }

    /// Receives all there is, up to a batch, carries it, and sends what came of it.
    fn carry(&mut self, poll: &Poll) {
        let mut kept = 0;
        for at in 0..self.ready.len() {
            let id = self.ready[at];
            let Some(Some(open)) = self.sockets.get_mut(id as usize) else {
                continue;
            };
            let drained = loop {
                if self.pool.is_full() {
                    break false;
                }
                match self
                    .calls
                    .receive(&open.socket, SocketId(id), self.pool.free(open.at_once))
                {
                    Ok(received) => {
                        self.pool.fill(received.count);
                        if received.drained {
                            break true;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a media socket cannot be read");
                        break true;
                    }
                }
            };
            if drained {
                open.waiting = false;
            } else {
                self.ready[kept] = id;
                kept += 1;
            }
        }
        self.ready.truncate(kept);
        if self.pool.is_empty() {
            return;
        }
        self.legs
            .handle(Input::Datagrams(self.pool.batch()), self.served);
        self.send_batch();
        self.pool.clear();
        self.drain(poll);
    }

    fn send_batch(&mut self) {
        let batch = self.pool.batch();
        self.order.clear();
        for (i, datagram) in (0u32..).zip(batch.iter()) {
            if datagram.is_ready() {
                self.order.push((datagram.path.socket, i));
            }
        }
        // By socket, and within one in the order of arrival.
        self.order.sort_unstable();
        for run in self.order.chunk_by(|a, b| a.0 == b.0) {
            let Some((socket, _)) = run.first() else {
                continue;
            };
            if let Some(Some(open)) = self.sockets.get(socket.0 as usize) {
                let packets = run.iter().map(|(_, i)| {
                    let datagram = &batch[*i as usize];
                    (datagram.path, datagram.buf.data())
                });
                self.calls.send(&open.socket, packets);
            }
        }
    }

    /// Does what the engine asks, until it asks nothing.
    fn drain(&mut self, poll: &Poll) {
        loop {
            while let Some(output) = self.legs.poll_output() {
                match output {
                    Output::Transmit { path, buf } => self.own.push((path, buf)),
                    Output::Event(event) => self.plan.shared.tell(event),
                    Output::OpenPorts { leg, face, second } => {
                        self.wanted.insert(leg, (face, second));
                    }
                    Output::ClosePorts { ports } => {
                        for pair in ports {
                            self.close(pair.rtp);
                            self.close(pair.rtcp);
                        }
                    }
                }
            }
            self.send_own();
            if self.wanted.is_empty() {
                return;
            }
            for (leg, (face, second)) in std::mem::take(&mut self.wanted) {
                let input = match self.open_all(face, second, poll) {
                    Ok((ports, second)) => Input::PortsOpened { leg, ports, second },
                    Err(error) => {
                        tracing::warn!(%error, %leg, "no ports for a leg");
                        Input::PortsRefused { leg }
                    }
                };
                self.legs.handle(input, self.served);
            }
        }
    }

    fn send_own(&mut self) {
        if self.own.is_empty() {
            return;
        }
        self.own.sort_by_key(|(path, _)| path.socket);
        for run in self.own.chunk_by(|a, b| a.0.socket == b.0.socket) {
            let Some((path, _)) = run.first() else {
                continue;
            };
            if let Some(Some(open)) = self.sockets.get(path.socket.0 as usize) {
                let packets = run.iter().map(|(path, buf)| (*path, buf.data()));
                self.calls.send(&open.socket, packets);
            }
        }
        for (_, buf) in self.own.drain(..) {
            self.legs.recycle(buf);
        }
    }

    /// A pair on each address, and a second one where the leg carries pictures; both or none.
    fn open_all(
        &mut self,
        face: Face,
        second: bool,
        poll: &Poll,
    ) -> io::Result<(Vec<PortPair>, Vec<PortPair>)> {
        let ports = self.open_ports(face, poll)?;
        if !second {
            return Ok((ports, Vec::new()));
        }
        match self.open_ports(face, poll) {
            Ok(second) => Ok((ports, second)),
            Err(error) => {
                for pair in ports {
                    self.close(pair.rtp);
                    self.close(pair.rtcp);
                }
                Err(error)
            }
        }
    }

    fn open_ports(&mut self, face: Face, poll: &Poll) -> io::Result<Vec<PortPair>> {
        let addresses = match face {
            Face::Inside => &self.plan.inside,
            Face::Outside => &self.plan.outside,
        };
        let (lease, bound) = self.plan.shared.ports.open(addresses)?;
        let mut lease = Some(lease);
        let mut ports = Vec::with_capacity(bound.len());
        for pair in bound {
            let rtp = self.add(pair.rtp, lease.take(), poll)?;
            let rtcp = self.add(pair.rtcp, None, poll)?;
            ports.push(PortPair {
                rtp,
                rtcp,
                bound: pair.bound,
                announced: pair.announced,
            });
        }
        Ok(ports)
    }

    fn add(
        &mut self,
        mut socket: Socket,
        lease: Option<Lease>,
        poll: &Poll,
    ) -> io::Result<SocketId> {
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.sockets.push(None);
                u32::try_from(self.sockets.len() - 1).map_err(io::Error::other)?
            }
        };
        poll.registry()
            .register(socket.source(), token(id), Interest::READABLE)?;
        self.sockets[id as usize] = Some(Open {
            socket,
            _lease: lease,
            waiting: false,
            at_once: PEER_AT_ONCE,
        });
        Ok(SocketId(id))
    }

    /// Closing the descriptor takes it out of the poll.
    fn close(&mut self, socket: SocketId) {
        if let Some(open) = self.sockets.get_mut(socket.0 as usize)
            && open.take().is_some()
        {
            self.ready.retain(|id| *id != socket.0);
            self.free.push(socket.0);
        }
    }

    fn tell_load(&mut self) {
        let elapsed = self.served.saturating_duration_since(self.told);
        if elapsed < SECOND {
            return;
        }
        let cpu = crate::socket::thread_cpu_time();
        let busy = cpu.saturating_sub(self.cpu).as_secs_f32() / elapsed.as_secs_f32();
        self.cpu = cpu;
        self.told = self.served;
        let mut load = self.legs.load();
        load.busiest = busy.min(1.0);
        self.plan.shared.tell_load(self.plan.index, load);
    }
}

fn token(id: u32) -> Token {
    Token(id as usize)
}

/// The legs of a worker that was lost.
pub fn tell_lost(shared: &Shared, index: usize) {
    for leg in shared.legs_of(index) {
        shared.tell(Event::LegFailed {
            leg,
            reason: LegFailure::WorkerLost,
        });
    }
}
