//! How often an address may come: a bucket of permits for each, filled steadily.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that are remembered. With all of them in use, those that are not share one bucket.
const ADDRESSES: usize = 65_536;
/// A bucket holds as much as flows into it in this time: an office behind one address comes all at once when its
/// network is back.
const BURST: Duration = Duration::from_secs(5);

pub struct Rate {
    per_second: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
    /// Of addresses that find no place of their own.
    others: Mutex<Bucket>,
}

#[derive(Clone, Copy)]
struct Bucket {
    permits: f64,
    at: Instant,
}

impl Rate {
    pub fn new(per_second: u32) -> Rate {
        let per_second = f64::from(per_second);
        let full = Bucket {
            permits: per_second * BURST.as_secs_f64(),
            at: Instant::now(),
        };
        Rate {
            per_second,
            buckets: Mutex::default(),
            others: Mutex::new(full),
        }
    }

    /// Whether one more may come from there now.
    pub fn take(&self, ip: IpAddr) -> bool {
        self.take_at(ip, Instant::now())
    }

    fn take_at(&self, ip: IpAddr, now: Instant) -> bool {
        let ip = network(ip);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if !buckets.contains_key(&ip) && buckets.len() >= ADDRESSES {
            // A full bucket is as good as none.
            buckets.retain(|_, bucket| self.filled(*bucket, now).permits < self.capacity());
            if buckets.len() >= ADDRESSES {
                let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
                return self.draw(&mut others, now);
            }
        }
        let bucket = buckets.entry(ip).or_insert(Bucket {
            permits: self.capacity(),
            at: now,
        });
        self.draw(bucket, now)
    }

    fn capacity(&self) -> f64 {
        self.per_second * BURST.as_secs_f64()
    }

    fn filled(&self, bucket: Bucket, now: Instant) -> Bucket {
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        let permits = (bucket.permits + passed * self.per_second).min(self.capacity());
        Bucket { permits, at: now }
    }

    fn draw(&self, bucket: &mut Bucket, now: Instant) -> bool {
        *bucket = self.filled(*bucket, now);
        let may = bucket.permits >= 1.0;
        if may {
            bucket.permits -= 1.0;
        }
        may
    }
}

/// Who has one IPv6 address has the other 2^64 of its network too.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rate: &Rate, ip: IpAddr, now: Instant) -> usize {
        (0..10_000).take_while(|_| rate.take_at(ip, now)).count()
    }

    #[test]
    fn an_address_may_come_in_a_burst_and_then_steadily() {
        let rate = Rate::new(20);
        let now = Instant::now();
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        assert_eq!(taken(&rate, one, now), 100);
        assert_eq!(taken(&rate, other, now), 100);
        assert_eq!(taken(&rate, one, now + Duration::from_millis(500)), 10);
        assert_eq!(taken(&rate, one, now + Duration::from_secs(3600)), 100);
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_and_an_ipv4_address_is_one_however_it_is_written()
    {
        let rate = Rate::new(1);
        let now = Instant::now();
        assert_eq!(taken(&rate, "2001:db8::1".parse().unwrap(), now), 5);
        assert_eq!(taken(&rate, "2001:db8::2".parse().unwrap(), now), 0);
        assert_eq!(taken(&rate, "2001:db8:0:1::1".parse().unwrap(), now), 5);
        assert_eq!(taken(&rate, "192.0.2.1".parse().unwrap(), now), 5);
        assert_eq!(taken(&rate, "::ffff:192.0.2.1".parse().unwrap(), now), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgets_who_has_not_come_for_long() {
        let rate = Rate::new(1);
        let now = Instant::now();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        for n in 0..ADDRESSES as u32 {
            assert!(rate.take_at(address(n), now));
        }
        assert_eq!(taken(&rate, address(u32::MAX), now), 5);
        assert_eq!(
            taken(&rate, address(u32::MAX - 1), now),
            0,
            "they share one bucket"
        );
        let later = now + BURST * 2;
        assert_eq!(taken(&rate, address(u32::MAX - 1), later), 5);
        assert_eq!(rate.buckets.lock().unwrap().len(), 1);
    }
}
