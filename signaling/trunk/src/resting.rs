//! Addresses that said 503, or nothing: left alone for a while where there are others (RFC 3263 §4.3,
//! RFC 3261 §21.5.4).

use crate::agent::Agent;
use crate::limits::{LONGEST_REST, MAX_RESTING, USUAL_REST};
use crate::net::{Hop, Transport};
use serde::{Deserialize, Serialize};
use signaling_sip::message::{HeaderName, Message};
use signaling_sip::time::Instant;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Resting(BTreeMap<(Transport, SocketAddr), Instant>);

impl Resting {
    fn add(&mut self, hop: Hop, until: Instant, now: Instant) {
        self.0.retain(|_, until| *until > now);
        if self.0.len() >= MAX_RESTING {
            let first = self.0.iter().min_by_key(|(_, until)| **until);
            if let Some(first) = first.map(|(place, _)| *place) {
                self.0.remove(&first);
            }
        }
        self.0.insert((hop.transport, hop.remote), until);
    }

    fn rests(&self, hop: &Hop, now: Instant) -> bool {
        let until = self.0.get(&(hop.transport, hop.remote));
        until.is_some_and(|until| *until > now)
    }
}

impl Agent {
    /// A 503; without Retry-After the usual time.
    pub(crate) fn let_rest(&mut self, request: u64, response: &Message<'_>, now: Instant) {
        let asked = response
            .value(HeaderName::RetryAfter)
            .and_then(|value| {
                // "120 (in maintenance);duration=60"
                let digits = value.iter().take_while(|b| b.is_ascii_digit()).count();
                std::str::from_utf8(value.get(..digits)?).ok()?.parse().ok()
            })
            .map_or(USUAL_REST, |seconds: u32| {
                Duration::from_secs(u64::from(seconds))
            });
        self.rest_for(request, asked.min(LONGEST_REST), now);
    }

    /// Its address did not answer, or could not be reached.
    pub(crate) fn let_rest_as_dead(&mut self, request: u64, now: Instant) {
        self.rest_for(request, USUAL_REST, now);
    }

    fn rest_for(&mut self, request: u64, time: Duration, now: Instant) {
        if let Some(hop) = self.s.requests.get(&request).and_then(|r| r.hop) {
            self.s.resting.add(hop, now + time, now);
        }
    }

    /// Those that rest go last: where there is nobody else, one that may have recovered is better than none.
    pub(crate) fn rested_last(&self, hops: &mut [Hop], now: Instant) {
        hops.sort_by_key(|hop| self.s.resting.rests(hop, now));
    }
}
