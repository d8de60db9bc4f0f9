//! How often something may happen.

use crate::app::AppKey;
use crate::limits::ADDRESSES;
use signaling_sip::time::Instant;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// A bucket that holds one second's worth, and fills again at the same rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    /// Millionths of one.
    left: u64,
    filled: Instant,
}

const ONE: u64 = 1_000_000;

impl Bucket {
    pub fn full(per_second: u32, now: Instant) -> Bucket {
        Bucket {
            left: u64::from(per_second) * ONE,
            filled: now,
        }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, per_second: u32, now: Instant) -> bool {
        self.fill(per_second, now);
        let there = self.left >= ONE;
        if there {
            self.left -= ONE;
        }
        there
    }

    fn fill(&mut self, per_second: u32, now: Instant) {
        let since = now.saturating_duration_since(self.filled);
        // A microsecond earns per_second millionths of one.
        let earned = u64::try_from(since.as_micros())
            .unwrap_or(u64::MAX)
            .saturating_mul(u64::from(per_second));
        let most = u64::from(per_second) * ONE;
        self.left = self.left.saturating_add(earned).min(most);
        self.filled = now;
    }

    fn is_full(&mut self, per_second: u32, now: Instant) -> bool {
        self.fill(per_second, now);
        self.left >= u64::from(per_second) * ONE
    }
}

/// Connections per second, by application and address.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    buckets: BTreeMap<(AppKey, IpAddr), (u32, Bucket)>,
}

impl Arrivals {
    pub fn admit(&mut self, app: &str, address: IpAddr, per_second: u32, now: Instant) -> bool {
        if per_second == 0 {
            return true;
        }
        let key = (app.to_owned(), neighbourhood(address));
        if self.buckets.len() >= ADDRESSES && !self.buckets.contains_key(&key) {
            // An address that has been quiet is as good as a new one.
            self.buckets
                .retain(|_, (rate, bucket)| !bucket.is_full(*rate, now));
            if self.buckets.len() >= ADDRESSES {
                return false;
            }
        }
        let (rate, bucket) = self
            .buckets
            .entry(key)
            .or_insert_with(|| (per_second, Bucket::full(per_second, now)));
        *rate = per_second;
        bucket.take(per_second, now)
    }
}

/// One household has a /64 of IPv6 and may change the rest at will.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => IpAddr::V4(four),
            None => {
                let bits = u128::from(six) >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from(bits))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_address_has_its_rate_and_another_its_own() {
        let mut arrivals = Arrivals::default();
        let now = Instant(0);
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let two: IpAddr = "192.0.2.2".parse().unwrap();
        let took = |arrivals: &mut Arrivals, address, now| {
            (0..10)
                .filter(|_| arrivals.admit("a", address, 3, now))
                .count()
        };
        assert_eq!(took(&mut arrivals, one, now), 3);
        assert_eq!(took(&mut arrivals, two, now), 3);
        assert_eq!(
            took(&mut arrivals, one, now + Duration::from_millis(700)),
            2
        );
        assert!(arrivals.admit("b", one, 3, now));
    }

    #[test]
    fn the_addresses_of_one_ipv6_household_share_a_rate() {
        let mut arrivals = Arrivals::default();
        let now = Instant(0);
        assert!(arrivals.admit("a", "2001:db8::1".parse().unwrap(), 1, now));
        assert!(!arrivals.admit("a", "2001:db8::2".parse().unwrap(), 1, now));
        assert!(arrivals.admit("a", "2001:db8:0:1::2".parse().unwrap(), 1, now));
    }

    #[test]
    fn so_many_addresses_are_watched_and_quiet_ones_make_room() {
        let mut arrivals = Arrivals::default();
        let now = Instant(0);
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        for n in 0..u32::try_from(ADDRESSES).unwrap() {
            assert!(arrivals.admit("a", address(n), 1, now));
        }
        assert!(!arrivals.admit("a", address(u32::MAX), 1, now));
        let later = now + Duration::from_secs(1);
        assert!(arrivals.admit("a", address(u32::MAX), 1, later));
        assert_eq!(arrivals.buckets.len(), 1);
    }
}
