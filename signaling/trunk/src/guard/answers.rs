//! Answers to whom we do not know: late for who asks much, and never longer than what they sent, so that nobody can
//! point them at somebody else.

use crate::agent::{Agent, Due};
use crate::net::Path;
use crate::validate::Refusal;
use signaling_sip::message::Message;
use signaling_sip::time::Instant;
use std::time::Duration;

use super::{Figures, Standing};

/// Answers held back; beyond them a stranger gets none.
const MAX_LATE: usize = 256;
/// Those of one source.
const MAX_LATE_PER_SOURCE: usize = 16;
/// Guesses answered at full speed.
const FREE: u32 = 3;
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(6);
/// Left out of an answer that must be short. No rule of RFC 3261 asks for more in it than a To tag and what is copied,
/// apart from challenges and the like, which stay.
const DISPENSABLE: [&[u8]; 6] = [
    b"Server",
    b"Allow",
    b"Accept",
    b"Accept-Encoding",
    b"Supported",
    b"Allow-Events",
];
/// RFC 3261 §7.3.3.
const COMPACT: [(&[u8], &[u8]); 6] = [
    (b"Via", b"v"),
    (b"From", b"f"),
    (b"To", b"t"),
    (b"Call-ID", b"i"),
    (b"Content-Length", b"l"),
    (b"Content-Type", b"c"),
];

impl Agent {
    /// Whatever is wrong (no such user, a dead one, the wrong source), the answer is one and the same.
    pub(crate) fn refuse_stranger(&mut self, message: &Message<'_>, path: Path, now: Instant) {
        self.refuse_slowly(message, path, &Refusal::new(404, "Not Found"), now);
    }

    /// A guess at a user or a password: refused at once a few times, then later and later. Who is registered may
    /// guess at others all the same; only the operator's trunks and accounts' servers are past suspicion.
    pub(crate) fn refuse_slowly(
        &mut self,
        message: &Message<'_>,
        path: Path,
        refusal: &Refusal,
        now: Instant,
    ) {
        let delay = if self.standing_of(path.remote().ip(), now) == Standing::Known {
            Duration::ZERO
        } else {
            self.guessed(path, now)
        };
        let written = self.write_reply(
            message,
            path,
            refusal.status,
            &refusal.reason,
            None,
            &refusal.headers,
            b"",
        );
        if let Some((to, bytes)) = written {
            self.answer_outside(message, path, to, bytes, delay, now);
        }
    }

    /// Counts a guess at a user; how long its answer is to wait.
    fn guessed(&mut self, path: Path, now: Instant) -> Duration {
        let ip = path.remote().ip();
        let guesses = self.s.guard.sources.guess(ip, now);
        if guesses <= FREE {
            return Duration::ZERO;
        }
        if path.is_reliable() {
            self.strike(ip, now);
        }
        let doubled = FIRST_DELAY * 2u32.saturating_pow((guesses - FREE - 1).min(8));
        doubled.min(LONGEST_DELAY)
    }

    /// Sends an answer that nobody remembers. `delay`: at least so late.
    pub(crate) fn answer_outside(
        &mut self,
        message: &Message<'_>,
        path: Path,
        to: Path,
        bytes: Vec<u8>,
        delay: Duration,
        now: Instant,
    ) {
        let tagged = message.to().is_ok_and(|to| to.tag().is_some());
        let standing = self.standing(path, now);
        let known = standing == Standing::Known || tagged && self.dialog_of(message).is_some();
        if known && delay.is_zero() {
            return self.transmit(to, bytes);
        }
        let ip = path.remote().ip();
        if !matches!(bytes.get(8), Some(b'1' | b'2')) {
            self.s.guard.figures.refused += 1;
        }
        let fitting = match path {
            Path::Datagram { .. } if standing == Standing::Stranger => {
                self.fitting(message.raw().len(), bytes, path, now)
            }
            Path::Datagram { .. } | Path::Stream { .. } => Some(bytes),
        };
        let Some(bytes) = fitting else {
            self.s.guard.figures.withheld += 1;
            return;
        };
        let delay = delay.max(self.s.guard.sources.delay(ip, now));
        if delay.is_zero() {
            return self.transmit(to, bytes);
        }
        let late = &self.s.guard.late;
        let of_source = late.values().filter(|(to, _)| to.remote().ip() == ip);
        if late.len() >= MAX_LATE || of_source.count() >= MAX_LATE_PER_SOURCE {
            self.s.guard.figures.dropped += 1;
            return;
        }
        self.s.guard.figures.slowed += 1;
        let number = self.draw();
        self.s.guard.late.insert(number, (to, bytes));
        self.s.schedule.set(Due::Late(number), Some(now + delay));
    }

    /// An answer as long as the question or as the source's small allowance bears, shortened if need be.
    fn fitting(
        &mut self,
        asked: usize,
        bytes: Vec<u8>,
        path: Path,
        now: Instant,
    ) -> Option<Vec<u8>> {
        let ip = path.remote().ip();
        let mut bears = |bytes: &[u8]| {
            let more = bytes.len().saturating_sub(asked);
            more == 0 || self.s.guard.sources.spend(ip, more, now)
        };
        if bears(&bytes) {
            return Some(bytes);
        }
        let short = shortened(&bytes);
        bears(&short).then_some(short)
    }

    pub(crate) fn on_late_answer(&mut self, number: u64) {
        if let Some((path, bytes)) = self.s.guard.late.remove(&number) {
            self.transmit(path, bytes);
        }
    }

    /// Counts what leaves.
    pub(crate) fn count_sent(&mut self, bytes: &[u8]) {
        count_response(&mut self.s.guard.figures, bytes);
    }
}

fn count_response(figures: &mut Figures, bytes: &[u8]) {
    if !bytes.starts_with(b"SIP/2.0 ") {
        return;
    }
    let class = bytes
        .get(8)
        .and_then(|digit| usize::from(*digit).checked_sub(usize::from(b'1')));
    if let Some(count) = class.and_then(|class| figures.answered.get_mut(class)) {
        *count += 1;
    }
}

/// The same response in compact form and without what it can do without. It has no body.
fn shortened(response: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(response.len());
    for (n, line) in response.split_inclusive(|b| *b == b'\n').enumerate() {
        let name_end = line.iter().position(|b| *b == b':');
        let (Some(end), 1..) = (name_end, n) else {
            out.extend_from_slice(line);
            continue;
        };
        let (name, value) = line.split_at(end);
        if DISPENSABLE.iter().any(|d| name.eq_ignore_ascii_case(d)) {
            continue;
        }
        let compact = COMPACT
            .iter()
            .find(|(long, _)| name.eq_ignore_ascii_case(long));
        out.extend_from_slice(compact.map_or(name, |(_, short)| short));
        out.push(b':');
        out.extend_from_slice(value.get(1..).unwrap_or_default().trim_ascii_start());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortened_answer_is_still_one() {
        let long = b"SIP/2.0 405 Method Not Allowed\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
            To: <sip:a@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 MESSAGE\r\nAllow: INVITE\r\nServer: us\r\nContent-Length: 0\r\n\r\n";
        let short = shortened(long);
        let message = Message::parse(&short).unwrap();
        assert_eq!(message.status(), 405);
        assert_eq!(message.to().unwrap().tag(), Some(b"2".as_slice()));
        assert_eq!(message.call_id().unwrap(), b"x");
        assert!(message.fault.is_none() && short.len() + 50 < long.len());
    }
}
