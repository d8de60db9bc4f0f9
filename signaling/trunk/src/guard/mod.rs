//! Who is listened to, and how fast: what stands between the network and the agent.
//!
//! Whom we know (a trunk of the operator, the registrar of an account, a flow that something registered over, a
//! dialog or transaction of ours) passes and costs nothing. Everybody else has a small allowance per source; what
//! goes beyond it is answered late, and then not looked at. Over UDP nobody is ever banned for what they sent, since
//! anybody may have sent it; a source that is surely where it says is, after a number of misdeeds, for a while.

mod answers;
mod bans;
mod calls;
mod figures;
mod glance;
mod known;
pub mod policy;
mod sources;

pub use figures::Figures;
pub use glance::{Glance, Kind, glance, is_new_request};
pub use sources::{
    CONNECTIONS_AT_ONCE, CONNECTIONS_PER_SECOND, REQUESTS_AT_ONCE, REQUESTS_PER_SECOND, STRIKES,
    UNPROVEN_AT_ONCE, UNPROVEN_PER_SECOND,
};

use crate::agent::{Agent, Output};
use crate::net::{Path, StreamId};
use bans::Bans;
use calls::NewCalls;
use known::Known;
use serde::{Deserialize, Serialize};
use signaling_sip::message::Message;
use signaling_sip::time::Instant;
use sources::{GARBAGE, NEIGHBOUR, Origin, STRANGER, Sources};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Guard {
    sources: Sources,
    bans: Bans,
    known: Known,
    /// Answers held back.
    late: BTreeMap<u64, (Path, Vec<u8>)>,
    calls: NewCalls,
    #[serde(skip)]
    pub figures: Figures,
}

impl Guard {
    pub fn new(secret: u64) -> Guard {
        Guard {
            sources: Sources::new(secret),
            bans: Bans::default(),
            known: Known::default(),
            late: BTreeMap::new(),
            calls: NewCalls::default(),
            figures: Figures::default(),
        }
    }
}

/// Of snapshots from before there was one.
impl Default for Guard {
    fn default() -> Guard {
        Guard::new(0)
    }
}

/// What we make of where something came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Stranger,
    /// Shares an address with a live registration, as behind a NAT: never banned, but slowed like anybody.
    Neighbour,
    /// The operator's trunk, an account's server, a registered flow.
    Known,
}

impl Agent {
    /// What was counted, and how things stand.
    pub fn figures(&self, now: Instant) -> Figures {
        let live = |a: &&crate::registration::Account| a.flow.is_some() && a.is_live();
        Figures {
            registrations: self.s.accounts.values().filter(live).count() as u64,
            contacts: self.bindings() as u64,
            calls: self.s.invites.values().filter(|i| !i.is_over()).count() as u64,
            banned: self.s.guard.bans.count(now) as u64,
            ..self.s.guard.figures
        }
    }

    /// Whether bytes of `path` are worth reading. Cheap: for whoever is within the allowance it is one look into a
    /// table.
    pub(crate) fn lets_in(&mut self, path: Path, bytes: &[u8], now: Instant) -> bool {
        let ip = path.remote().ip();
        let guard = &self.s.guard;
        let banned = guard.bans.is_banned(ip, now);
        if !banned && !guard.sources.is_over(ip, now) {
            return true;
        }
        if self.is_ours(bytes) || self.standing(path, now) == Standing::Known {
            return true;
        }
        self.s.guard.figures.dropped += 1;
        if !banned && path.is_reliable() {
            self.strike(ip, now);
        }
        false
    }

    /// Of a dialog of ours, or the answer to a request of ours: both bear a tag or a branch that we drew.
    fn is_ours(&self, bytes: &[u8]) -> bool {
        let seen = glance(bytes);
        let text = |word: Option<&[u8]>| {
            word.and_then(|word| std::str::from_utf8(word).ok())
                .map(str::to_owned)
        };
        match seen.kind {
            Kind::Response => text(seen.branch).is_some_and(|b| self.s.client.contains_key(&b)),
            Kind::Request(_) => text(seen.to_tag).is_some_and(|t| self.s.tags.contains_key(&t)),
            Kind::LineEnds | Kind::Other => false,
        }
    }

    /// A request that began nothing we know of, before it is answered.
    pub(crate) fn charge(&mut self, message: &Message<'_>, path: Path, now: Instant) {
        if message.fault.is_some() {
            self.charge_garbage(path, now);
            return;
        }
        let cost = self.cost(path, now);
        if cost > 0 {
            self.s.guard.sources.charge(path.remote().ip(), cost, now);
        }
    }

    /// Of a request that began nothing we know of.
    fn cost(&mut self, path: Path, now: Instant) -> u32 {
        match self.standing(path, now) {
            Standing::Known => 0,
            Standing::Neighbour => NEIGHBOUR,
            Standing::Stranger => STRANGER,
        }
    }

    /// A password was proved: the request that did and the one that was challenged before it cost nothing, so that any
    /// number of phones behind one address may register at once.
    pub(crate) fn proved_password(&mut self, path: Path, now: Instant) {
        let cost = self.cost(path, now);
        if cost > 0 {
            self.s
                .guard
                .sources
                .forgive(path.remote().ip(), 2 * cost, now);
        }
    }

    /// A keep-alive of a phone (RFC 5626 §4.4.2), answered like any other request.
    pub(crate) fn answer_ping(&mut self, path: Path, asked: usize, answer: Vec<u8>, now: Instant) {
        let ip = path.remote().ip();
        if self.standing(path, now) != Standing::Known {
            self.s.guard.sources.charge(ip, NEIGHBOUR, now);
            let more = answer.len().saturating_sub(asked);
            if !self.s.guard.sources.spend(ip, more, now) {
                return;
            }
        }
        self.transmit(path, answer);
    }

    /// Bytes that are no SIP, or a message that cannot be understood.
    pub(crate) fn charge_garbage(&mut self, path: Path, now: Instant) {
        self.s.guard.figures.garbage += 1;
        if self.standing(path, now) == Standing::Known {
            return;
        }
        let ip = path.remote().ip();
        self.s.guard.sources.charge(ip, GARBAGE, now);
        if path.is_reliable() {
            self.strike(ip, now);
        }
    }

    /// A digest that failed though its nonce is one that we gave to this very address: so the address is true, and
    /// somebody there guesses.
    pub(crate) fn failed_digest(&mut self, path: Path, now: Instant) {
        self.strike(path.remote().ip(), now);
    }

    /// Whether a connection from there may be opened.
    pub(crate) fn lets_connect(&mut self, remote: SocketAddr, now: Instant) -> bool {
        if self.is_known_peer(remote.ip(), now) {
            return true;
        }
        let guard = &mut self.s.guard;
        let may =
            !guard.bans.is_banned(remote.ip(), now) && guard.sources.connect(remote.ip(), now);
        guard.figures.connections_refused += u64::from(!may);
        may
    }

    /// A misdeed of an address that is surely the sender's.
    fn strike(&mut self, ip: IpAddr, now: Instant) {
        if !self.s.guard.sources.strike(ip, now) {
            return;
        }
        // Looked up anew: a registration of this very moment counts.
        self.look_up_known(now);
        if self.is_known_peer(ip, now) {
            return;
        }
        self.s.guard.figures.bans += 1;
        self.s.guard.bans.add(ip, now);
        let origin = Origin::from(ip);
        let theirs: Vec<StreamId> = self
            .s
            .streams
            .iter()
            .filter(|(stream, entry)| {
                crate::streams::is_accepted(**stream)
                    && Origin::from(entry.remote.ip()) == origin
                    && !entry.in_call
            })
            .map(|(stream, _)| *stream)
            .collect();
        for stream in theirs {
            self.push(Output::CloseStream { stream });
            self.on_stream_closed(stream, now);
        }
    }

    /// A request of a dialog came over this connection: whatever its neighbours do, it stays.
    pub(crate) fn is_in_call(&mut self, path: Path) {
        if let Path::Stream { stream, .. } = path
            && let Some(entry) = self.s.streams.get_mut(&stream)
        {
            entry.in_call = true;
        }
    }
}
