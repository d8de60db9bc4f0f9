//! Addresses that said 503, or nothing: left alone for a while where there are others (RFC 3263 §4.3,
//! RFC 3261 §21.5.4).

use crate::agent::Agent;
use crate::limits::{LONGEST_REST, MAX_RESTING, RETURN, USUAL_REST};
use crate::net::{Hop, Transport};
use crate::trunks::is_of_line;
use serde::{Deserialize, Serialize};
use signaling_sip::message::{HeaderName, Message};
use signaling_sip::time::Instant;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Resting(BTreeMap<(Transport, SocketAddr), Rest>);

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Rest {
    until: Instant,
    /// It said for how long: no sign of life ends that.
    asked: bool,
    /// Times in a row.
    times: u32,
}

/// How much of the calls an address gets that may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    Well,
    /// On its way back: its turn comes later this time.
    Returning,
    Resting,
}

impl Resting {
    /// `growing`: longer each time.
    fn add(&mut self, hop: Hop, time: Duration, asked: bool, growing: bool, now: Instant) {
        self.0.retain(|_, rest| rest.until + RETURN > now);
        if self.0.len() >= MAX_RESTING {
            let first = self.0.iter().min_by_key(|(_, rest)| rest.until);
            if let Some(first) = first.map(|(place, _)| *place) {
                self.0.remove(&first);
            }
        }
        let place = (hop.transport, hop.remote);
        let before = self.0.get(&place).copied();
        if before.is_some_and(|rest| rest.asked && rest.until > now && !asked) {
            return;
        }
        let times = before.map_or(0, |rest| rest.times);
        let time = if growing && !asked {
            (time * 2u32.saturating_pow(times.min(4))).min(LONGEST_REST)
        } else {
            time
        };
        let rest = Rest {
            until: now + time,
            asked,
            times: times.saturating_add(1),
        };
        self.0.insert(place, rest);
    }

    pub fn rests(&self, hop: &Hop, now: Instant) -> bool {
        let rest = self.0.get(&(hop.transport, hop.remote));
        rest.is_some_and(|rest| rest.until > now)
    }

    /// It said itself that it wants to be left alone (Retry-After).
    pub fn asks_for_rest(&self, hop: &Hop, now: Instant) -> bool {
        let rest = self.0.get(&(hop.transport, hop.remote));
        rest.is_some_and(|rest| rest.asked && rest.until > now)
    }

    /// It answered: it comes back slowly, from a tenth of the calls on.
    fn answers(&mut self, hop: &Hop, now: Instant) {
        if let Some(rest) = self.0.get_mut(&(hop.transport, hop.remote))
            && !rest.asked
            && rest.until > now
        {
            rest.until = now;
        }
    }

    /// `lot`: below 1000, drawn anew each time.
    pub fn standing(&self, hop: &Hop, lot: u64, now: Instant) -> Standing {
        let Some(rest) = self.0.get(&(hop.transport, hop.remote)) else {
            return Standing::Well;
        };
        if rest.until > now {
            return Standing::Resting;
        }
        let back = (now - rest.until).as_millis() * 1000 / RETURN.as_millis().max(1);
        if u128::from(lot) < back + 100 {
            Standing::Well
        } else {
            Standing::Returning
        }
    }
}

impl Agent {
    /// A 503; without Retry-After the usual time. After a provisional response it may be a callee behind the server
    /// who says so, and one callee must not take a whole trunk away: then the server is tried last, but tried.
    pub(crate) fn let_rest(&mut self, request: u64, response: &Message<'_>, now: Instant) {
        let entry = self.s.requests.get(&request);
        if entry.is_some_and(|request| request.provisional) {
            return self.rest_for(request, USUAL_REST, false, now);
        }
        let said = response.value(HeaderName::RetryAfter).is_some();
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
        self.rest_for(request, asked.min(LONGEST_REST), said, now);
    }

    /// Its address did not answer, or could not be reached.
    pub(crate) fn let_rest_as_dead(&mut self, request: u64, now: Instant) {
        self.rest_for(request, USUAL_REST, false, now);
        self.heard_nothing(request);
    }

    fn rest_for(&mut self, request: u64, time: Duration, asked: bool, now: Instant) {
        if let Some((hop, account)) = self
            .s
            .requests
            .get(&request)
            .and_then(|r| Some((r.hop?, r.account)))
        {
            let growing = is_of_line(account);
            self.s.resting.add(hop, time, asked, growing, now);
        }
    }

    pub(crate) fn rest_is_over(&mut self, hop: &Hop, now: Instant) {
        self.s.resting.answers(hop, now);
    }

    /// Those that rest go last: where there is nobody else, one that may have recovered is better than none.
    pub(crate) fn rested_last(&self, hops: &mut [Hop], now: Instant) {
        hops.sort_by_key(|hop| self.s.resting.rests(hop, now));
    }

    /// The same for a line, whose calls come back to an address little by little.
    pub(crate) fn returning_later(&mut self, hops: &mut [Hop], now: Instant) {
        let lot = self.s.dice.below(1000);
        hops.sort_by_key(|hop| self.s.resting.standing(hop, lot, now));
    }
}
