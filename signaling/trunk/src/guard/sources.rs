//! How much each source has asked of us of late: a table of fixed size.
//!
//! A source is an IPv4 address or an IPv6 /64, since whoever has one address of a /64 has all of them. Each has
//! leaky buckets: what it costs us fills them, time empties them. An entry whose buckets are empty is worth nothing
//! and is the same as none.
//!
//! The table has sets of a few places, and a source's set depends on a secret, so that nobody can choose whom they
//! share a set with. Where a set is full, the source that owes least makes room. So a heavy source is not
//! forgotten for any number of light ones, and nobody gets slower because somebody else was there: who is forgotten
//! begins anew with empty buckets.

use crate::net::unmapped;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use signaling_sip::time::Instant;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// 4,096 sources in all, about 400 kB.
const SETS: usize = 512;
const PLACES: usize = 8;

/// The part of an address that tells sources apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(ip: IpAddr) -> Origin {
        Origin(match unmapped(ip) {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
            v4 => v4,
        })
    }
}

/// Filled by what is done, emptied by time. Levels are in thousandths.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Leaky {
    level: u64,
    at: Instant,
}

impl Leaky {
    /// What is in it, in thousandths; it loses `rate` a second.
    pub fn level(&self, rate: u32, now: Instant) -> u64 {
        let lost = (now - self.at).as_micros() as u64 / 1_000;
        self.level.saturating_sub(lost.saturating_mul(rate.into()))
    }

    /// `amount` in thousandths.
    pub fn add(&mut self, amount: u64, rate: u32, now: Instant) {
        self.level = self.level(rate, now).saturating_add(amount);
        self.at = now;
    }

    /// Whether one more unit still fits into `size`.
    pub fn has_room(&self, size: u32, rate: u32, now: Instant) -> bool {
        self.level(rate, now) + 1_000 <= u64::from(size) * 1_000
    }
}

/// Requests that began nothing we know of: so many at once, so many a second.
pub const REQUESTS_AT_ONCE: u32 = 60;
pub const REQUESTS_PER_SECOND: u32 = 20;
/// What a request costs, in thousandths; less for whoever shares an address with a registration: behind a NAT there
/// may be many.
pub const STRANGER: u32 = 1_000;
pub const NEIGHBOUR: u32 = 100;
/// What bytes that are no SIP cost.
pub const GARBAGE: u32 = 4_000;
/// Connections accepted: so many at once, so many a second.
pub const CONNECTIONS_AT_ONCE: u32 = 512;
pub const CONNECTIONS_PER_SECOND: u32 = 10;
/// Bytes sent to an address that has proved nothing, beyond what came from it: so many at once, so many a second.
pub const UNPROVEN_AT_ONCE: u32 = 4_096;
pub const UNPROVEN_PER_SECOND: u32 = 128;
/// Misdeeds of a source that has proved its address …
pub const STRIKES: u32 = 20;
/// … of which one is forgotten in this time.
const STRIKE_MEMORY: Duration = Duration::from_secs(15);
/// Guesses at users are forgotten after this long without another.
const GUESS_MEMORY: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Source {
    origin: Origin,
    requests: Leaky,
    connections: Leaky,
    unproven: Leaky,
    strikes: u32,
    struck: Instant,
    guesses: u32,
    guessed: Instant,
}

impl Source {
    fn new(origin: Origin, now: Instant) -> Source {
        let empty = Leaky { level: 0, at: now };
        Source {
            origin,
            requests: empty,
            connections: empty,
            unproven: empty,
            strikes: 0,
            struck: now,
            guesses: 0,
            guessed: now,
        }
    }

    fn strikes(&self, now: Instant) -> u32 {
        let forgotten = (now - self.struck).as_micros() / STRIKE_MEMORY.as_micros();
        self.strikes
            .saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
    }

    fn guesses(&self, now: Instant) -> u32 {
        if now - self.guessed < GUESS_MEMORY {
            self.guesses
        } else {
            0
        }
    }

    /// What would be lost if it were forgotten.
    fn weight(&self, now: Instant) -> u64 {
        self.requests.level(REQUESTS_PER_SECOND, now)
            + self.connections.level(CONNECTIONS_PER_SECOND, now)
            + self.unproven.level(UNPROVEN_PER_SECOND, now) / 64
            + u64::from(self.strikes(now)) * 8_000
            + u64::from(self.guesses(now)) * 4_000
    }
}

/// The table.
#[derive(Debug)]
pub struct Sources {
    secret: u64,
    /// `SETS * PLACES` of them from the first source on.
    places: Vec<Option<Source>>,
}

impl Sources {
    /// `secret`: nobody outside knows it.
    pub fn new(secret: u64) -> Sources {
        Sources {
            secret,
            places: Vec::new(),
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.places.iter().flatten().count()
    }

    fn set_of(&self, origin: Origin) -> usize {
        let mut hasher = std::hash::DefaultHasher::new();
        self.secret.hash(&mut hasher);
        origin.hash(&mut hasher);
        (hasher.finish() as usize % SETS) * PLACES
    }

    fn find(&self, origin: Origin) -> Option<&Source> {
        let from = self.set_of(origin);
        let set = self.places.get(from..from + PLACES)?;
        set.iter().flatten().find(|s| s.origin == origin)
    }

    fn entry(&mut self, origin: Origin, now: Instant) -> &mut Source {
        if self.places.is_empty() {
            self.places = vec![None; SETS * PLACES];
        }
        let from = self.set_of(origin);
        let set = &mut self.places[from..from + PLACES];
        let is_it = |place: &Option<Source>| place.is_some_and(|s| s.origin == origin);
        let place = set.iter().position(is_it).unwrap_or_else(|| {
            let worth = |place: &Option<Source>| place.map_or(0, |s| 1 + s.weight(now));
            let least = (0..PLACES).min_by_key(|n| worth(&set[*n])).unwrap_or(0);
            set[least] = Some(Source::new(origin, now));
            least
        });
        set[place].get_or_insert_with(|| Source::new(origin, now))
    }

    /// `cost` in thousandths of a request.
    pub fn charge(&mut self, ip: IpAddr, cost: u32, now: Instant) {
        let source = self.entry(ip.into(), now);
        // What is dropped costs no more: a source is heard again a moment after it has become quiet.
        if source
            .requests
            .has_room(REQUESTS_AT_ONCE, REQUESTS_PER_SECOND, now)
        {
            source.requests.add(cost.into(), REQUESTS_PER_SECOND, now);
        }
    }

    /// Takes back what was charged.
    pub fn forgive(&mut self, ip: IpAddr, cost: u32, now: Instant) {
        let requests = &mut self.entry(ip.into(), now).requests;
        let level = requests.level(REQUESTS_PER_SECOND, now);
        *requests = Leaky {
            level: level.saturating_sub(cost.into()),
            at: now,
        };
    }

    /// It has asked too much: nothing new of it is looked at.
    pub fn is_over(&self, ip: IpAddr, now: Instant) -> bool {
        self.find(ip.into()).is_some_and(|s| {
            !s.requests
                .has_room(REQUESTS_AT_ONCE, REQUESTS_PER_SECOND, now)
        })
    }

    /// How long its next answer waits for what it has asked: from half of what it may ask on, up to two seconds.
    pub fn delay(&self, ip: IpAddr, now: Instant) -> Duration {
        let level = self
            .find(ip.into())
            .map_or(0, |s| s.requests.level(REQUESTS_PER_SECOND, now));
        let half = u64::from(REQUESTS_AT_ONCE) * 500;
        Duration::from_millis(level.saturating_sub(half).saturating_mul(2_000) / half)
            .min(Duration::from_secs(2))
    }

    /// False if it opens connections too fast.
    pub fn connect(&mut self, ip: IpAddr, now: Instant) -> bool {
        let source = self.entry(ip.into(), now);
        let (most, rate) = (CONNECTIONS_AT_ONCE, CONNECTIONS_PER_SECOND);
        let fits = source.connections.has_room(most, rate, now);
        if fits {
            source.connections.add(1_000, rate, now);
        }
        fits
    }

    /// Takes what an answer is longer than its question from what the source may have; false: it is used up.
    pub fn spend(&mut self, ip: IpAddr, bytes: usize, now: Instant) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let source = self.entry(ip.into(), now);
        let level = source.unproven.level(UNPROVEN_PER_SECOND, now);
        let fits = level + u64::from(bytes) * 1_000 <= u64::from(UNPROVEN_AT_ONCE) * 1_000;
        if fits {
            source
                .unproven
                .add(u64::from(bytes) * 1_000, UNPROVEN_PER_SECOND, now);
        }
        fits
    }

    /// A guess at a user or a password; how many there were of late.
    pub fn guess(&mut self, ip: IpAddr, now: Instant) -> u32 {
        let source = self.entry(ip.into(), now);
        source.guesses = source.guesses(now).saturating_add(1);
        source.guessed = now;
        source.guesses
    }

    /// A misdeed of a source that is where it says; true: that was one too many.
    pub fn strike(&mut self, ip: IpAddr, now: Instant) -> bool {
        let source = self.entry(ip.into(), now);
        source.strikes = source.strikes(now).saturating_add(1);
        source.struck = now;
        if source.strikes < STRIKES {
            return false;
        }
        source.strikes = 0;
        true
    }
}

/// Only those that are worth remembering are written down.
#[derive(Serialize, Deserialize)]
struct Written {
    secret: u64,
    sources: Vec<(u32, Source)>,
}

impl Serialize for Sources {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let sources = (0..).zip(&self.places);
        let sources = sources.filter_map(|(n, place)| Some((n, (*place)?)));
        Written {
            secret: self.secret,
            sources: sources.collect(),
        }
        .serialize(to)
    }
}

impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Sources, D::Error> {
        let written = Written::deserialize(from)?;
        let mut sources = Sources::new(written.secret);
        if !written.sources.is_empty() {
            sources.places = vec![None; SETS * PLACES];
        }
        for (n, source) in written.sources {
            if let Some(place) = sources.places.get_mut(n as usize) {
                *place = Some(source);
            }
        }
        Ok(sources)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn v4(n: u32) -> IpAddr {
        Ipv4Addr::from(n).into()
    }

    fn at(ms: u64) -> Instant {
        Instant(ms * 1_000)
    }

    #[test]
    fn a_source_is_heard_at_its_rate_and_no_faster() {
        let mut sources = Sources::new(1);
        let mut heard = 0;
        for ms in 0..10_000 {
            if !sources.is_over(v4(1), at(ms)) {
                heard += 1;
                sources.charge(v4(1), STRANGER, at(ms));
            }
        }
        let wanted = REQUESTS_AT_ONCE + 10 * REQUESTS_PER_SECOND;
        assert!((wanted - 2..=wanted + 2).contains(&heard), "{heard}");
    }

    #[test]
    fn one_v6_network_is_one_source_and_two_are_two() {
        let mut sources = Sources::new(1);
        for n in 0..1_000u128 {
            let ip = Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) + n).into();
            sources.charge(ip, STRANGER, at(0));
        }
        assert_eq!(sources.len(), 1);
        assert!(sources.is_over("2001:db8::ffff".parse().unwrap(), at(0)));
        assert!(!sources.is_over("2001:db8:0:1::1".parse().unwrap(), at(0)));
        sources.charge("::ffff:192.0.2.1".parse().unwrap(), 60 * STRANGER, at(0));
        assert!(sources.is_over("192.0.2.1".parse().unwrap(), at(0)));
    }

    #[test]
    fn a_flood_of_sources_neither_grows_the_table_nor_forgets_a_heavy_one_nor_slows_a_new_one() {
        let mut sources = Sources::new(7);
        let heavy = v4(0xc000_0242);
        for _ in 0..REQUESTS_AT_ONCE {
            sources.charge(heavy, STRANGER, at(0));
        }
        for n in 0..100_000 {
            sources.charge(v4(n), STRANGER, at(0));
        }
        assert!(sources.is_over(heavy, at(0)));
        assert_eq!(sources.len(), SETS * PLACES);
        let new = v4(0xc633_6401);
        assert!(!sources.is_over(new, at(0)) && sources.delay(new, at(0)).is_zero());
    }

    #[test]
    fn strikes_and_guesses_are_forgotten_in_time() {
        let mut sources = Sources::new(1);
        for _ in 1..STRIKES {
            assert!(!sources.strike(v4(1), at(0)));
        }
        assert!(sources.strike(v4(1), at(0)));
        for n in 0..100 {
            assert!(!sources.strike(v4(2), at(n * 16_000)), "one in a while");
        }
        assert_eq!(
            (sources.guess(v4(3), at(0)), sources.guess(v4(3), at(1))),
            (1, 2)
        );
        assert_eq!(sources.guess(v4(3), at(700_000)), 1);
    }

    #[test]
    fn the_table_is_written_down_and_read_back() {
        let mut sources = Sources::new(9);
        sources.charge(v4(1), 60 * STRANGER, at(0));
        let mut bytes = Vec::new();
        ciborium::into_writer(&sources, &mut bytes).unwrap();
        let again: Sources = ciborium::from_reader(bytes.as_slice()).unwrap();
        assert!(again.is_over(v4(1), at(0)) && !again.is_over(v4(2), at(0)));
    }
}
