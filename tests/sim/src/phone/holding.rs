//! Re-INVITEs of the phone's: it holds and comes back.

use super::{Call, GIVE_UP, Phone, Repeat, State, T1, header};
use signaling_sip::time::Instant;

impl Phone {
    /// Offers again, with that direction. One at a time; whatever comes of it, it is not tried again.
    pub fn offer(&mut self, id: &str, direction: &str, now: Instant) {
        let talks = |call: &&Call| call.state == State::Talking && call.repeat.is_none();
        let Some(mut call) = self.calls.get(id).filter(talks).cloned() else {
            return;
        };
        if self.asks_to_hold.contains_key(id) {
            return;
        }
        call.cseq += 1;
        let cseq = call.cseq;
        let sdp = format!("{}a={direction}\r\n", self.looks.sdp).replacen(
            " 1 IN",
            &format!(" {cseq} IN"),
            1,
        );
        let branch = self.branch(&call, "INVITE");
        let text = self.request_with(&call, "INVITE", cseq, "", &sdp, &branch);
        self.calls.insert(id.to_owned(), call);
        self.asks_to_hold.insert(id.to_owned(), branch.clone());
        let repeat = Repeat {
            text: text.clone(),
            at: now + T1,
            interval: T1,
            until: now + GIVE_UP,
        };
        self.requests.insert(branch, repeat);
        self.out.push(text);
    }

    /// Takes a response to a re-INVITE of ours, and says whether it was one.
    pub(super) fn is_about_hold(
        &mut self,
        call: &Call,
        text: &str,
        cseq: &str,
        status: u16,
    ) -> bool {
        let number: u32 = cseq
            .split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        if !cseq.ends_with("INVITE") || number < 2 {
            return false;
        }
        let via = header(text, "Via");
        let branch = via.split("branch=").nth(1).unwrap_or_default();
        let branch = branch.split(';').next().unwrap_or_default().to_owned();
        self.requests.remove(&branch);
        if status >= 200 {
            self.asks_to_hold.remove(&call.id);
            // Of a refusal it is part of the transaction (RFC 3261 §17.1.1.3).
            let own = if status < 300 {
                format!("{branch}ACK")
            } else {
                branch
            };
            let ack = self.request(call, "ACK", number, "", &own);
            self.out.push(ack);
        }
        true
    }

    pub(super) fn note_direction(&mut self, text: &str, id: &str) {
        let found = ["sendonly", "recvonly", "inactive"]
            .into_iter()
            .find(|name| text.contains(&format!("a={name}\r\n")));
        let told = self.was_told.entry(id.to_owned()).or_default();
        let direction = found.unwrap_or("sendrecv").to_owned();
        if told.last() != Some(&direction) {
            told.push(direction);
        }
    }
}
