//! Sources that are not listened to for a while.
//!
//! Only for what came over a finished handshake or with a nonce of ours, so that nobody can have somebody else
//! banned by a false source address; and the agent never bans whom it knows.

use super::sources::Origin;
use serde::{Deserialize, Serialize};
use signaling_sip::time::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Bans at once; the one that would end first makes room.
const MAX_BANS: usize = 1_024;
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3_600);
/// Who comes back within this time is banned for twice as long as before.
const MEMORY: Duration = Duration::from_secs(3_600);

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Bans(BTreeMap<Origin, Ban>);

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Ban {
    until: Instant,
    time: Duration,
}

impl Bans {
    pub fn add(&mut self, ip: IpAddr, now: Instant) {
        let origin = Origin::from(ip);
        self.0.retain(|_, ban| now < ban.until + MEMORY);
        let before = self.0.get(&origin).map(|ban| ban.time * 2);
        let time = before.unwrap_or(FIRST).min(LONGEST);
        if before.is_none() && self.0.len() >= MAX_BANS {
            let first = self.0.iter().min_by_key(|(_, ban)| ban.until);
            if let Some(first) = first.map(|(origin, _)| *origin) {
                self.0.remove(&first);
            }
        }
        let until = now + time;
        self.0.insert(origin, Ban { until, time });
    }

    pub fn is_banned(&self, ip: IpAddr, now: Instant) -> bool {
        !self.0.is_empty() && self.0.get(&ip.into()).is_some_and(|ban| now < ban.until)
    }

    pub fn count(&self, now: Instant) -> usize {
        self.0.values().filter(|ban| now < ban.until).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_ends_and_the_next_one_is_longer_and_there_are_only_so_many() {
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let mut bans = Bans::default();
        let mut now = Instant(0);
        bans.add(ip, now);
        assert!(bans.is_banned(ip, now + Duration::from_secs(59)));
        now += Duration::from_secs(60);
        assert!(!bans.is_banned(ip, now));
        bans.add(ip, now);
        assert!(bans.is_banned(ip, now + Duration::from_secs(119)));
        for n in 0..5_000u32 {
            bans.add(std::net::Ipv4Addr::from(n).into(), now);
        }
        assert_eq!(bans.count(now), MAX_BANS);
        assert!(bans.is_banned(ip, now), "the longest ones stay");
    }
}
