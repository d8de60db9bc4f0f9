//! The front door: all legs of one worker.

use crate::datagram::{Buf, Datagram, Path, SocketId};
use crate::dtls::DtlsIdentity;
use crate::leg::{Leg, Timer};
use crate::rtcp::WallClock;
use crate::transport::PortPair;
use media_control::{Command, Event, Face, LegFailure, LegId, Load};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Legs of one worker; a further one is refused with `NoResources`.
pub const MAX_LEGS: usize = 20_000;
/// Packets of our own making that wait to be sent; a further one is dropped, as a full network would.
pub(crate) const MAX_WAITING_PACKETS: usize = 4096;
/// Buffers kept for packets of our own making.
const MAX_SPARE_BUFS: usize = 256;
const FIRST_SPARE_BUFS: usize = 8;
/// A leg that expects media is reported silent after each of these.
const SILENCES: [Duration; 3] = [
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

/// The operating system's generator, or a test's.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// A socket that browser legs share, opened by the shell before the engine is made.
#[derive(Clone, Copy, Debug)]
pub struct BrowserSocket {
    pub face: Face,
    pub socket: SocketId,
    /// What candidates say.
    pub announced: SocketAddr,
}

pub struct EngineConfig {
    pub identity: DtlsIdentity,
    pub browser_sockets: Vec<BrowserSocket>,
    pub wall: WallClock,
}

pub enum Input<'a> {
    Command(Command),
    /// What the sockets received. Afterwards the slots that [`Datagram::is_ready`] are to be sent.
    Datagrams(&'a mut [Datagram]),
    /// The answer to [`Output::OpenPorts`]: one pair for each of the face's addresses.
    PortsOpened {
        leg: LegId,
        ports: Vec<PortPair>,
    },
    PortsRefused {
        leg: LegId,
    },
}

pub enum Output {
    /// A packet of our own making. Its buffer comes back by [`Legs::recycle`].
    Transmit {
        path: Path,
        buf: Buf,
    },
    Event(Event),
    /// A SIP leg needs its sockets.
    OpenPorts {
        leg: LegId,
        face: Face,
    },
    /// These are not used any more.
    ClosePorts {
        ports: Vec<PortPair>,
    },
}

/// Whose a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketUse {
    Free,
    /// Shared by browser legs: the remote address tells which.
    Browsers,
    Rtp {
        leg: u32,
    },
    Rtcp {
        leg: u32,
    },
}

pub struct Legs {
    pub(crate) config: EngineConfig,
    pub(crate) random: Random,
    pub(crate) slots: Vec<Option<Box<Leg>>>,
    pub(crate) free: Vec<u32>,
    pub(crate) by_id: HashMap<LegId, u32>,
    pub(crate) by_ufrag: HashMap<String, u32>,
    pub(crate) by_address: HashMap<(SocketId, SocketAddr), u32>,
    pub(crate) sockets: Vec<SocketUse>,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) waiting_packets: usize,
    pub(crate) spare: Vec<Buf>,
    timers: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Scratch for answers to checks.
    pub(crate) reply: Vec<u8>,
    pub(crate) totals: Totals,
}

/// Counts of the whole worker, from its start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub received: u64,
    pub sent: u64,
    pub strangers: u64,
    pub unauthentic: u64,
}

impl Legs {
    pub fn new(config: EngineConfig, random: Random) -> Legs {
        let mut legs = Legs {
            config,
            random,
            slots: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::new(),
            by_ufrag: HashMap::new(),
            by_address: HashMap::new(),
            sockets: Vec::new(),
            outputs: VecDeque::with_capacity(64),
            waiting_packets: 0,
            spare: spare_bufs(),
            timers: BinaryHeap::with_capacity(64),
            reply: Vec::new(),
            totals: Totals::default(),
        };
        for browser in legs.config.browser_sockets.clone() {
            legs.use_socket(browser.socket, SocketUse::Browsers);
        }
        legs
    }

    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Command(command) => self.command(command, now),
            Input::Datagrams(batch) => self.batch(batch, now),
            Input::PortsOpened { leg, ports } => self.ports_opened(leg, ports),
            Input::PortsRefused { leg } => {
                if let Some(index) = self.by_id.get(&leg).copied() {
                    self.fail(index, LegFailure::NoResources, now);
                }
            }
        }
    }

    /// Carries out all that is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(Reverse((at, index))) = self.timers.peek().copied() {
            if at > now {
                break;
            }
            self.timers.pop();
            match self.leg_mut(index) {
                // Armed anew since, or another leg's place by now.
                Some(leg) if leg.armed == Some(at) => leg.armed = None,
                _ => continue,
            }
            while let Some(timer) = self.leg_mut(index).and_then(|leg| leg.timers.take_due(now)) {
                self.timer(index, timer, now);
            }
            self.arm(index);
        }
    }

    /// What is to be sent and told, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if matches!(output, Some(Output::Transmit { .. })) {
            self.waiting_packets = self.waiting_packets.saturating_sub(1);
        }
        output
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes back the buffer of an [`Output::Transmit`].
    pub fn recycle(&mut self, mut buf: Buf) {
        if self.spare.len() < MAX_SPARE_BUFS {
            buf.clear();
            self.spare.push(buf);
        }
    }

    /// This worker's part of the node's load; `workers`, `busiest` and `draining` are the shell's.
    pub fn load(&self) -> Load {
        let groups: HashSet<_> = self.slots.iter().flatten().map(|leg| leg.group).collect();
        Load {
            groups: u32::try_from(groups.len()).unwrap_or(u32::MAX),
            legs: u32::try_from(self.by_id.len()).unwrap_or(u32::MAX),
            received: self.totals.received,
            sent: self.totals.sent,
            strangers: self.totals.strangers,
            unauthentic: self.totals.unauthentic,
            ..Load::default()
        }
    }

    /// Every leg that lives here.
    pub fn leg_ids(&self) -> impl Iterator<Item = LegId> + '_ {
        self.by_id.keys().copied()
    }

    fn timer(&mut self, index: u32, timer: Timer, now: Instant) {
        match timer {
            Timer::Connect => self.connect_timeout(index, now),
            Timer::Handshake => self.handshake_timeout(index, now),
            Timer::Consent => self.consent_timeout(index, now),
            Timer::Silence => self.silence_timeout(index, now),
            Timer::Report => self.report(index, now),
            Timer::Digits => self.digits_timeout(index, now),
            Timer::Detect => self.tell_digits(index, now),
            Timer::Pace => self.pace_timeout(index, now),
        }
    }

    fn silence_timeout(&mut self, index: u32, now: Instant) {
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        if !leg.expects_media() {
            leg.listening_since = None;
            return;
        }
        let since = leg.listening_since.max(leg.inbound.last_at).unwrap_or(now);
        let silent = now.saturating_duration_since(since);
        // Something came since it was last told.
        leg.silence_told = leg
            .silence_told
            .min(SILENCES.iter().filter(|s| silent >= **s).count());
        let mut told = None;
        if let Some(threshold) = SILENCES.get(leg.silence_told)
            && silent >= *threshold
        {
            leg.silence_told += 1;
            told = Some(Event::MediaSilent {
                leg: leg.id,
                seconds: u32::try_from(threshold.as_secs()).unwrap_or(u32::MAX),
            });
        }
        let next = SILENCES
            .get(leg.silence_told)
            .map_or(now + SILENCES[0], |next| since + *next);
        leg.timers
            .set(Timer::Silence, next.max(now + Duration::from_secs(1)));
        if let Some(event) = told {
            self.tell(event);
        }
    }

    /// Begins (or goes on) to expect media.
    pub(crate) fn listen(&mut self, index: u32, now: Instant) {
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        if leg.expects_media() {
            if leg.listening_since.is_none() {
                leg.listening_since = Some(now);
                leg.silence_told = 0;
                leg.timers.set(Timer::Silence, now + SILENCES[0]);
            }
        } else {
            leg.listening_since = None;
            leg.timers.stop(Timer::Silence);
        }
        if leg_connected(self.leg(index)) {
            self.begin_reports(index, now);
        }
        self.arm(index);
    }

    pub(crate) fn leg(&self, index: u32) -> Option<&Leg> {
        self.slots.get(index as usize)?.as_deref()
    }

    pub(crate) fn leg_mut(&mut self, index: u32) -> Option<&mut Leg> {
        self.slots.get_mut(index as usize)?.as_deref_mut()
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Sends `packet` on `path`, from a spare buffer.
    pub(crate) fn transmit(&mut self, path: Path, packet: &[u8]) {
        let mut buf = self.spare.pop().unwrap_or_default();
        buf.fill(packet);
        self.transmit_buf(path, buf);
    }

    pub(crate) fn use_socket(&mut self, socket: SocketId, what: SocketUse) {
        let index = socket.0 as usize;
        if self.sockets.len() <= index {
            self.sockets.resize(index + 1, SocketUse::Free);
        }
        self.sockets[index] = what;
    }

    pub(crate) fn socket_use(&self, socket: SocketId) -> SocketUse {
        self.sockets
            .get(socket.0 as usize)
            .copied()
            .unwrap_or(SocketUse::Free)
    }

    /// Puts the leg's next timer into the queue, if it is not there or comes sooner than it stands there.
    pub(crate) fn arm(&mut self, index: u32) {
        let Some(leg) = self.leg_mut(index) else {
            return;
        };
        let Some(next) = leg.timers.next() else {
            return;
        };
        if leg.armed.is_none_or(|armed| next < armed) {
            leg.armed = Some(next);
            self.timers.push(Reverse((next, index)));
        }
    }

    /// The leg cannot go on.
    pub(crate) fn fail(&mut self, index: u32, reason: LegFailure, now: Instant) {
        if let Some(leg) = self.remove(index, now) {
            self.tell(Event::LegFailed {
                leg: leg.id,
                reason,
            });
        }
    }
}

/// Some to begin with, so that reports which happen to be due at one moment need no new ones.
fn spare_bufs() -> Vec<Buf> {
    let mut spare = Vec::with_capacity(MAX_SPARE_BUFS);
    spare.resize_with(FIRST_SPARE_BUFS, Buf::new);
    spare
}

fn leg_connected(leg: Option<&Leg>) -> bool {
    leg.is_some_and(|leg| leg.connected)
}
