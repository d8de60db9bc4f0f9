//! What a phone says inside a call beside the call itself: it refers the gateway and is referred by it, tells and
//! hears how that goes, and presses digits. One request at a time, repeated until it is answered.

use super::{Call, GIVE_UP, Phone, Repeat, State, T1, T2, header};
use signaling_sip::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What the phone does with a REFER.
#[derive(Clone, Copy, Debug, Default)]
pub enum Referee {
    #[default]
    Refuses,
    /// Takes it, says so many milliseconds later how it went, and may hang up then.
    Takes {
        after_ms: u64,
        status: u16,
        hangs_up: bool,
    },
    /// Takes it and hangs up without a further word.
    Leaves,
}

#[derive(Clone, Debug, Default)]
pub struct Inside {
    pub referee: Referee,
    /// Refer-To of the REFERs that came.
    pub asked: Vec<String>,
    /// How our own were answered, and what the NOTIFYs after them said.
    pub answers: Vec<u16>,
    pub heard: Vec<String>,
    /// Bodies of the INFOs that came.
    pub infos: Vec<String>,
    lines: BTreeMap<String, Line>,
    /// Responses by Via, for requests that are repeated.
    answered: BTreeMap<String, String>,
    later: Vec<(Instant, String, Errand)>,
}

/// The requests of one call.
#[derive(Clone, Debug, Default)]
struct Line {
    waiting: VecDeque<Errand>,
    current: Option<(u32, Repeat)>,
    /// When the last one is answered.
    hangs_up: bool,
}

#[derive(Clone, Debug)]
struct Errand {
    method: &'static str,
    headers: String,
    body: String,
}

impl Phone {
    /// Asks the gateway to call somebody else.
    pub fn refer(&mut self, id: &str, target: &str, now: Instant) {
        let headers = format!("Refer-To: <{target}>\r\nReferred-By: <sip:1002@pbx>\r\n");
        self.errand(id, "REFER", headers, String::new(), now);
    }

    pub fn press(&mut self, id: &str, digit: char, now: Instant) {
        let headers = "Content-Type: application/dtmf-relay\r\n".to_owned();
        let body = format!("Signal={digit}\r\nDuration=160\r\n");
        self.errand(id, "INFO", headers, body, now);
    }

    fn notify(&mut self, id: &str, status: u16, now: Instant) {
        let errand = notification(status);
        self.errand(id, errand.method, errand.headers, errand.body, now);
    }

    fn errand(
        &mut self,
        id: &str,
        method: &'static str,
        headers: String,
        body: String,
        now: Instant,
    ) {
        let line = self.inside.lines.entry(id.to_owned()).or_default();
        line.waiting.push_back(Errand {
            method,
            headers,
            body,
        });
        self.next_errand(id, now);
    }

    fn next_errand(&mut self, id: &str, now: Instant) {
        let talking = |c: &&Call| c.state == State::Talking;
        let Some(mut call) = self.calls.get(id).filter(talking).cloned() else {
            self.inside.lines.remove(id);
            return;
        };
        let Some(line) = self.inside.lines.get_mut(id) else {
            return;
        };
        if line.current.is_some() {
            return;
        }
        let Some(errand) = line.waiting.pop_front() else {
            if line.hangs_up {
                self.hang_up(id, now);
            }
            return;
        };
        call.cseq += 1;
        let branch = self.branch(&call, errand.method);
        let text = self.request(&call, errand.method, call.cseq, "", &branch);
        let rest = format!(
            "{}Content-Length: {}\r\n\r\n{}",
            errand.headers,
            errand.body.len(),
            errand.body
        );
        let text = text.replace("Content-Length: 0\r\n\r\n", &rest);
        let repeat = Repeat {
            text: text.clone(),
            at: now + T1,
            interval: T1,
            until: now + GIVE_UP,
        };
        if let Some(line) = self.inside.lines.get_mut(id) {
            line.current = Some((call.cseq, repeat));
        }
        self.calls.insert(id.to_owned(), call);
        self.out.push(text);
    }

    /// A final answer to one of them, or none at all.
    fn errand_over(&mut self, id: &str, now: Instant) {
        if let Some(line) = self.inside.lines.get_mut(id) {
            line.current = None;
        }
        self.next_errand(id, now);
    }

    pub(super) fn errand_answered(&mut self, cseq: &str, id: &str, status: u16, now: Instant) {
        let number = cseq.split(' ').next().and_then(|n| n.parse::<u32>().ok());
        let current = self.inside.lines.get(id).and_then(|l| l.current.as_ref());
        if status < 200 || current.map(|(n, _)| *n) != number {
            return;
        }
        if cseq.ends_with("REFER") {
            self.inside.answers.push(status);
        }
        self.errand_over(id, now);
    }

    /// A request of the gateway's, told once however often it comes.
    pub(super) fn asked_inside(&mut self, method: &str, text: &str, id: &str, now: Instant) {
        let via = header(text, "Via");
        if let Some(response) = self.inside.answered.get(&via) {
            let response = response.clone();
            return self.out.push(response);
        }
        let known = self.calls.get(id).is_some_and(|c| {
            matches!(c.state, State::Talking | State::Ending) && text.contains(&c.ours)
        });
        let body = text.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned();
        let mut after = None;
        match (known, method) {
            (false, _) => self.respond(text, 481, "Call/Transaction Does Not Exist", ""),
            (true, "REFER") => {
                self.inside.asked.push(header(text, "Refer-To"));
                match self.inside.referee {
                    Referee::Refuses => self.respond(text, 603, "Decline", ""),
                    takes => {
                        self.respond(text, 202, "Accepted", "");
                        after = Some(takes);
                    }
                }
            }
            (true, "NOTIFY") => {
                self.inside.heard.push(body.trim_end().to_owned());
                self.respond(text, 200, "OK", "");
            }
            (true, _) => {
                self.inside.infos.push(body);
                self.respond(text, 200, "OK", "");
            }
        }
        if let Some(response) = self.out.last() {
            self.inside.answered.insert(via, response.clone());
        }
        match after {
            None | Some(Referee::Refuses) => {}
            Some(Referee::Leaves) => self.hang_up(id, now),
            Some(Referee::Takes {
                after_ms, status, ..
            }) => {
                self.notify(id, 100, now);
                let at = now + Duration::from_millis(after_ms);
                self.inside
                    .later
                    .push((at, id.to_owned(), notification(status)));
            }
        }
    }

    pub(super) fn inside_timeout(&mut self, now: Instant) {
        let later = std::mem::take(&mut self.inside.later);
        let (due, later): (Vec<_>, Vec<_>) = later.into_iter().partition(|(at, ..)| *at <= now);
        self.inside.later = later;
        for (_, id, errand) in due {
            let Errand {
                method,
                headers,
                body,
            } = errand;
            self.errand(&id, method, headers, body, now);
            let hangs_up = matches!(self.inside.referee, Referee::Takes { hangs_up: true, .. });
            if let Some(line) = self.inside.lines.get_mut(&id) {
                line.hangs_up = hangs_up;
            }
        }
        let ids: Vec<String> = self.inside.lines.keys().cloned().collect();
        for id in ids {
            let talking = self
                .calls
                .get(&id)
                .is_some_and(|c| c.state == State::Talking);
            let line = self.inside.lines.get_mut(&id).filter(|_| talking);
            let Some(line) = line else {
                self.inside.lines.remove(&id);
                continue;
            };
            let Some((_, repeat)) = line.current.as_mut().filter(|(_, r)| r.at <= now) else {
                continue;
            };
            if now >= repeat.until {
                self.errand_over(&id, now);
                continue;
            }
            repeat.interval = (repeat.interval * 2).min(T2);
            repeat.at = now + repeat.interval;
            let text = repeat.text.clone();
            self.out.push(text);
        }
    }

    pub(super) fn inside_next(&self) -> Option<Instant> {
        let repeats = self.inside.lines.values();
        let repeats = repeats.filter_map(|l| l.current.as_ref().map(|(_, r)| r.at));
        repeats
            .chain(self.inside.later.iter().map(|(at, ..)| *at))
            .min()
    }
}

fn notification(status: u16) -> Errand {
    let state = if status < 200 {
        "active;expires=60"
    } else {
        "terminated;reason=noresource"
    };
    Errand {
        method: "NOTIFY",
        headers: format!(
            "Event: refer\r\nSubscription-State: {state}\r\nContent-Type: message/sipfrag;version=2.0\r\n"
        ),
        body: format!("SIP/2.0 {status} Said\r\n"),
    }
}
