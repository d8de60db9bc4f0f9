//! Those who ring without being asked: the same 404 for all, slower for repeaters.

use crate::agent::{Agent, Due};
use crate::net::Path;
use crate::validate::Refusal;
use serde::{Deserialize, Serialize};
use signaling_sip::message::Message;
use signaling_sip::time::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Addresses remembered; the oldest makes room.
const MAX_STRANGERS: usize = 1_024;
/// Answers held back; beyond them a stranger gets none.
const MAX_LATE: usize = 256;
/// Refusals at full speed.
const FREE: u32 = 3;
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(6);
/// Forgotten after this long without another try.
const MEMORY: Duration = Duration::from_secs(600);

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Strangers {
    seen: BTreeMap<IpAddr, (u32, Instant)>,
    late: BTreeMap<u64, (Path, Vec<u8>)>,
}

impl Strangers {
    fn count(&mut self, ip: IpAddr, now: Instant) -> u32 {
        self.seen.retain(|_, (_, last)| now - *last < MEMORY);
        if self.seen.len() >= MAX_STRANGERS && !self.seen.contains_key(&ip) {
            let oldest = self
                .seen
                .iter()
                .min_by_key(|(_, (_, last))| *last)
                .map(|(ip, _)| *ip);
            if let Some(oldest) = oldest {
                self.seen.remove(&oldest);
            }
        }
        let entry = self.seen.entry(ip).or_insert((0, now));
        *entry = (entry.0.saturating_add(1), now);
        entry.0
    }
}

impl Agent {
    /// Whatever is wrong (no such user, a dead one, the wrong source), the answer is one and the same.
    pub(crate) fn refuse_stranger(&mut self, message: &Message<'_>, path: Path, now: Instant) {
        self.refuse_slowly(message, path, &Refusal::new(404, "Not Found"), now);
    }

    /// At once, a few times; then later and later.
    pub(crate) fn refuse_slowly(
        &mut self,
        message: &Message<'_>,
        path: Path,
        refusal: &Refusal,
        now: Instant,
    ) {
        let tries = self.s.strangers.count(path.remote().ip(), now);
        if tries <= FREE {
            return self.refuse(message, path, refusal);
        }
        if self.s.strangers.late.len() >= MAX_LATE {
            return;
        }
        let doubled = FIRST_DELAY * 2u32.saturating_pow((tries - FREE - 1).min(8));
        let Some((to, bytes)) = self.write_reply(
            message,
            path,
            refusal.status,
            &refusal.reason,
            None,
            &refusal.headers,
            b"",
        ) else {
            return;
        };
        let number = self.draw();
        self.s.strangers.late.insert(number, (to, bytes));
        self.s
            .schedule
            .set(Due::Late(number), Some(now + doubled.min(LONGEST_DELAY)));
    }

    pub(crate) fn on_late_answer(&mut self, number: u64) {
        if let Some((path, bytes)) = self.s.strangers.late.remove(&number) {
            self.transmit(path, bytes);
        }
    }
}
