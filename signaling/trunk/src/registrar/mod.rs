//! We as a registrar (RFC 3261 §10.3): who may register, what they registered, and by which flow they are reached.
//!
//! [`challenge`] asks who it is, [`register`] takes a REGISTER, [`location`] holds the contacts, [`calling`] takes
//! what a phone sends besides, and [`ringing`] calls all contacts of one.

mod authenticate;
mod calling;
pub mod challenge;
mod location;
mod register;
pub(crate) mod ringing;

pub(crate) use location::flow_of;

use crate::agent::{Agent, Due};
use crate::api::{AccountId, Event, Line};
use crate::limits::KEEP_ALIVE;
use crate::lines::{Lines, PhoneSpec, TrunkMode};
use crate::net::{Path, StreamId, unmapped};
use crate::trunks::LINES;
use challenge::Nonces;
use location::Binding;
use serde::{Deserialize, Serialize};
use signaling_sip::digest::Hash;
use signaling_sip::message::Message;
use signaling_sip::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Contacts of one phone, whatever the operator wrote.
pub const MAX_CONTACTS: usize = 16;
/// Where the operator wrote nothing.
pub const USUAL_CONTACTS: usize = 5;

/// Calls of phones belong to accounts from here on, which have no entry: no credentials are theirs.
const PHONES: u64 = LINES | LINES >> 1;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Registrar {
    phones: BTreeMap<String, Phone>,
    /// Algorithms of our challenges, the strongest first.
    offered: Vec<Hash>,
    nonces: Nonces,
    /// Who registered over this stream.
    streams: BTreeMap<StreamId, BTreeSet<String>>,
    /// Contacts that came from this address.
    addresses: BTreeMap<IpAddr, u32>,
    /// Contacts that came by a datagram from this very port.
    flows: BTreeMap<SocketAddr, u32>,
    /// Phones with a contact that stand for a trunk.
    trunks: BTreeMap<String, BTreeSet<String>>,
    drawn: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Phone {
    spec: PhoneSpec,
    /// What its calls belong to.
    account: AccountId,
    /// The one that was refreshed last is the last.
    bindings: Vec<Binding>,
}

impl Phone {
    fn ha1(&self, hash: Hash) -> &str {
        ha1_of(&self.spec, hash)
    }

    fn room(&self) -> usize {
        match usize::try_from(self.spec.max_contacts) {
            Ok(0) | Err(_) => USUAL_CONTACTS,
            Ok(most) => most.min(MAX_CONTACTS),
        }
    }
}

fn ha1_of(spec: &PhoneSpec, hash: Hash) -> &str {
    match hash {
        Hash::Md5 => &spec.ha1_md5,
        Hash::Sha256 => &spec.ha1_sha256,
        Hash::Sha512_256 => &spec.ha1_sha512_256,
    }
}

/// What every phone can be asked for; where there is nothing that all of them can, whatever one can. A challenge that
/// depended on the user would tell who exists.
fn offered(phones: &[PhoneSpec]) -> Vec<Hash> {
    let all = [Hash::Sha512_256, Hash::Sha256, Hash::Md5];
    let has = |phone: &PhoneSpec, hash: Hash| ha1_of(phone, hash).len() == hash.hex_len();
    let by_all: Vec<Hash> = all
        .into_iter()
        .filter(|hash| phones.iter().all(|phone| has(phone, *hash)))
        .collect();
    if !by_all.is_empty() {
        return by_all;
    }
    let by_any = |hash: &Hash| phones.iter().any(|phone| has(phone, *hash));
    all.into_iter().filter(by_any).collect()
}

impl Agent {
    pub(crate) fn is_registrar(&self) -> bool {
        !self.s.lines.registrar.realm.is_empty()
    }

    /// The operator's phones as they are from now on. Who is gone or has another password loses its contacts.
    pub(crate) fn take_phones(&mut self, before: &Lines) {
        let up_before = self.lines_up();
        let other_realm = before.registrar.realm != self.s.lines.registrar.realm;
        let mut specs = std::mem::take(&mut self.s.lines.phones);
        specs.retain(|spec| !spec.user.is_empty());
        self.s.registrar.offered = offered(&specs);
        let mut old = std::mem::take(&mut self.s.registrar.phones);
        let mut next = BTreeMap::new();
        for spec in specs {
            let was = old.remove(&spec.user);
            let same = |phone: &Phone| {
                !other_realm
                    && [Hash::Md5, Hash::Sha256, Hash::Sha512_256]
                        .iter()
                        .all(|hash| phone.ha1(*hash) == ha1_of(&spec, *hash))
            };
            let (account, mut bindings) = match was {
                Some(phone) if same(&phone) => (phone.account, phone.bindings),
                Some(phone) => (phone.account, Vec::new()),
                None => {
                    self.s.registrar.drawn += 1;
                    (AccountId(PHONES + self.s.registrar.drawn), Vec::new())
                }
            };
            let phone = Phone {
                spec,
                account,
                bindings: Vec::new(),
            };
            let surplus = bindings.len().saturating_sub(phone.room());
            bindings.drain(..surplus);
            let phone = Phone { bindings, ..phone };
            next.insert(phone.spec.user.clone(), phone);
        }
        let users: BTreeSet<String> = old.into_keys().chain(next.keys().cloned()).collect();
        self.s.registrar.phones = next;
        self.s.registrar.streams.clear();
        self.s.registrar.addresses.clear();
        self.s.registrar.flows.clear();
        self.s.registrar.trunks.clear();
        for user in users {
            self.s.registrar.index(&user, true);
            self.schedule_phone(&user);
        }
        let up = self.lines_up();
        for line in up_before.difference(&up) {
            self.tell_line(line.clone(), false, "it may no longer register");
        }
        for line in up {
            self.tell_line(line, true, "");
        }
    }

    /// Tells the other side of a new link what is there.
    pub(crate) fn tell_phones(&mut self) {
        for line in self.lines_up() {
            self.tell_line(line, true, "");
        }
    }

    fn lines_up(&self) -> BTreeSet<Line> {
        let phones = self.s.registrar.phones.values();
        let phones = phones.filter(|phone| !phone.bindings.is_empty());
        let phones = phones.map(|phone| Line::Phone(phone.spec.user.clone()));
        let trunks = self.s.registrar.trunks.keys();
        let trunks = trunks.filter(|name| self.is_accepting(name));
        phones.chain(trunks.cloned().map(Line::Trunk)).collect()
    }

    /// Whether this trunk is one that registers to us.
    pub(crate) fn is_accepting(&self, trunk: &str) -> bool {
        let mut trunks = self.s.lines.trunks.iter();
        trunks.any(|spec| spec.name == trunk && spec.mode == TrunkMode::Accept)
    }

    fn tell_line(&mut self, line: Line, up: bool, reason: &str) {
        self.event(Event::Line {
            line,
            up,
            reason: reason.into(),
        });
    }

    /// Changes the contacts of one phone, and does all that follows from it.
    fn change_bindings(
        &mut self,
        user: &str,
        change: impl FnOnce(&mut Vec<Binding>),
        reason: &str,
    ) {
        let registrar = &mut self.s.registrar;
        registrar.index(user, false);
        let Some(phone) = registrar.phones.get_mut(user) else {
            return;
        };
        let was_up = !phone.bindings.is_empty();
        let trunk = phone.spec.trunk.clone();
        let trunk_was_up = trunk
            .as_ref()
            .is_some_and(|t| registrar.trunks.contains_key(t));
        let trunk_was_up = trunk_was_up || (was_up && trunk.is_some());
        change(&mut phone.bindings);
        let is_up = !phone.bindings.is_empty();
        registrar.index(user, true);
        let trunk_is_up = trunk
            .as_ref()
            .is_some_and(|t| registrar.trunks.contains_key(t));
        self.schedule_phone(user);
        if was_up != is_up {
            self.tell_line(Line::Phone(user.into()), is_up, reason);
        }
        if let Some(trunk) = trunk
            && trunk_was_up != trunk_is_up
            && self.is_accepting(&trunk)
        {
            self.tell_line(Line::Trunk(trunk), trunk_is_up, reason);
        }
    }

    fn schedule_phone(&mut self, user: &str) {
        let phone = self.s.registrar.phones.get(user);
        let next = phone.and_then(|phone| phone.bindings.iter().map(|b| b.until).min());
        self.s.schedule.set(Due::Phone(user.into()), next);
    }

    pub(crate) fn on_phone_due(&mut self, user: &str, now: Instant) {
        self.change_bindings(
            user,
            |bindings| bindings.retain(|b| b.until > now),
            "its registration ran out",
        );
    }

    /// Line ends to the contacts behind a NAT over UDP, whose mapping would else be forgotten long before the next
    /// REGISTER. A client that does outbound does that by itself, and over a connection it is the client's part
    /// (RFC 5626 §4.4).
    pub(crate) fn keep_phone_reachable(&mut self, user: &str, now: Instant) {
        let phone = self.s.registrar.phones.get(user);
        let bindings = phone.into_iter().flat_map(|phone| &phone.bindings);
        let flows: Vec<Path> = bindings.filter_map(Binding::mapped).collect();
        let next = (!flows.is_empty()).then(|| now + KEEP_ALIVE);
        let key = Due::PhoneKeepAlive(user.into());
        self.s.schedule.set(key, next);
        for flow in flows {
            self.transmit(flow, b"\r\n\r\n".to_vec());
        }
    }

    /// A connection is gone: whoever can be reached by it alone is not there any more; others are called at their
    /// Contact.
    pub(crate) fn on_phone_stream_closed(&mut self, stream: StreamId) {
        let users = self.s.registrar.streams.get(&stream);
        let users: Vec<String> = users.into_iter().flatten().cloned().collect();
        for user in users {
            let lose = |bindings: &mut Vec<Binding>| {
                bindings.retain_mut(|binding| binding.survives_without(stream));
            };
            self.change_bindings(&user, lose, "its connection is gone");
        }
    }

    /// A live registration hangs on this connection.
    pub(crate) fn has_phone_on(&self, stream: StreamId) -> bool {
        self.s.registrar.streams.contains_key(&stream)
    }

    /// A live registration came from this address, or from the same IPv6 /64: it is not to be banned.
    pub fn has_phone_at(&self, ip: IpAddr) -> bool {
        let addresses = &self.s.registrar.addresses;
        match unmapped(ip) {
            IpAddr::V6(v6) => {
                let network = v6.to_bits() >> 64 << 64;
                let (first, last) = (network, network | u128::from(u64::MAX));
                let v6 = |bits| IpAddr::V6(Ipv6Addr::from_bits(bits));
                addresses.range(v6(first)..=v6(last)).next().is_some()
            }
            v4 => addresses.contains_key(&v4),
        }
    }

    /// A live registration came by this very flow.
    pub(crate) fn has_phone_by(&self, path: Path) -> bool {
        match path {
            Path::Stream { stream, .. } => self.has_phone_on(stream),
            Path::Datagram { remote, .. } => self.s.registrar.flows.contains_key(&remote),
        }
    }

    /// The registered phone that a request claims to be from and whose flow it came by. Nothing is proved by it over
    /// UDP; [`Agent::authenticate`] proves.
    pub fn is_phone(&self, message: &Message<'_>, path: Path) -> Option<String> {
        let user = location::user_of(message.from().ok()?.uri)?;
        let phone = self.s.registrar.phones.get(&user)?;
        let mut bindings = phone.bindings.iter();
        bindings.any(|b| b.came_by(path)).then_some(user)
    }

    /// Contacts held, of all phones.
    pub fn bindings(&self) -> usize {
        let phones = self.s.registrar.phones.values();
        phones.map(|phone| phone.bindings.len()).sum()
    }
}

impl Registrar {
    /// Enters what one phone's contacts mean for streams, addresses and trunks, or takes it out.
    fn index(&mut self, user: &str, enter: bool) {
        let Some(phone) = self.phones.get(user) else {
            return;
        };
        for binding in &phone.bindings {
            let ip = unmapped(binding.source.remote().ip());
            count(&mut self.addresses, ip, enter);
            if let Path::Datagram { remote, .. } = binding.source {
                count(&mut self.flows, remote, enter);
            }
            if let Some(Path::Stream { stream, .. }) = binding.flow {
                put(&mut self.streams, stream, user, enter);
            }
        }
        if let (Some(trunk), false) = (&phone.spec.trunk, phone.bindings.is_empty()) {
            put(&mut self.trunks, trunk.clone(), user, enter);
        }
    }
}

fn count<K: Ord + Copy>(map: &mut BTreeMap<K, u32>, key: K, enter: bool) {
    let count = map.entry(key).or_default();
    *count = if enter {
        count.saturating_add(1)
    } else {
        count.saturating_sub(1)
    };
    if *count == 0 {
        map.remove(&key);
    }
}

fn put<K: Ord + Clone>(map: &mut BTreeMap<K, BTreeSet<String>>, key: K, user: &str, enter: bool) {
    let users = map.entry(key.clone()).or_default();
    if enter {
        users.insert(user.into());
    } else {
        users.remove(user);
    }
    if users.is_empty() {
        map.remove(&key);
    }
}
