//! The port pairs of SIP legs: an even one for RTP, the next for RTCP (RFC 3550 §11).

use crate::socket::Socket;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};

/// Pairs tried before giving up; those that fail belong to other programs.
const TRIES: usize = 64;

/// The free even ports of the range. A pair that was given back is used again last, so that stragglers
/// of the call before meet nobody.
pub struct Ports {
    free: Mutex<VecDeque<u16>>,
    /// The range is `0..=0`: let the system choose.
    any: bool,
    dscp: u8,
}

/// A pair in use; dropped, it is free again.
pub struct Lease {
    ports: Arc<Ports>,
    rtp: u16,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.ports.any {
            self.ports.lock().push_back(self.rtp);
        }
    }
}

/// Sockets of a pair on one address.
pub struct BoundPair {
    pub bound: SocketAddr,
    pub announced: SocketAddr,
    pub rtp: Socket,
    pub rtcp: Socket,
}

impl Ports {
    pub fn new(range: &RangeInclusive<u16>, dscp: u8) -> Arc<Ports> {
        let any = *range.end() == 0;
        let free = range
            .clone()
            .filter(|port| port % 2 == 0 && *port != 0 && port < range.end())
            .collect();
        Arc::new(Ports {
            free: Mutex::new(free),
            any,
            dscp,
        })
    }

    pub fn dscp(&self) -> u8 {
        self.dscp
    }

    /// A poisoned list of numbers is still a list of numbers.
    fn lock(&self) -> MutexGuard<'_, VecDeque<u16>> {
        self.free
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn next(self: &Arc<Ports>) -> Option<Lease> {
        let rtp = if self.any {
            0
        } else {
            self.lock().pop_front()?
        };
        Some(Lease {
            ports: self.clone(),
            rtp,
        })
    }

    /// Binds one pair on every address, all of the same numbers.
    pub fn open(
        self: &Arc<Ports>,
        addresses: &[(IpAddr, Option<IpAddr>)],
    ) -> io::Result<(Lease, Vec<BoundPair>)> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        // Not given back before the end: the next try shall get another.
        let mut refused = Vec::new();
        for _ in 0..TRIES {
            let Some(mut lease) = self.next() else { break };
            match bind_all(&mut lease, addresses) {
                Ok(pairs) => return Ok((lease, pairs)),
                Err(error) => {
                    last = error;
                    refused.push(lease);
                }
            }
        }
        Err(last)
    }
}

fn bind_all(
    lease: &mut Lease,
    addresses: &[(IpAddr, Option<IpAddr>)],
) -> io::Result<Vec<BoundPair>> {
    let dscp = lease.ports.dscp;
    let mut pairs = Vec::with_capacity(addresses.len());
    for (address, announce) in addresses {
        let rtp = Socket::bind(SocketAddr::new(*address, lease.rtp), None, dscp)?;
        let bound = rtp.local_addr()?;
        lease.rtp = bound.port();
        if bound.port() % 2 != 0 {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        let rtcp = Socket::bind(SocketAddr::new(*address, bound.port() + 1), None, dscp)?;
        let announced = SocketAddr::new(announce.unwrap_or(*address), bound.port());
        pairs.push(BoundPair {
            bound,
            announced,
            rtp,
            rtcp,
        });
    }
    if pairs.is_empty() {
        return Err(io::Error::from(io::ErrorKind::AddrNotAvailable));
    }
    Ok(pairs)
}
