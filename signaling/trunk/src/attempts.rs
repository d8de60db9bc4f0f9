//! Addresses that say nothing: another one is tried after so many milliseconds, and a call that the first one makes
//! too late is ended (RFC 3263 §4.3).

use crate::agent::{Agent, Due};
use crate::api::{Cause, Failure, InviteId};
use crate::hangup::{AFTER_CANCEL, cancel_key};
use crate::requests::{ClientTransaction, Machine, Phase, Purpose};
use signaling_sip::message::Message;
use signaling_sip::time::Instant;
use signaling_sip::transaction::{ClientNonInvite, cancel_for};
use std::time::Duration;

impl Agent {
    pub(crate) fn begin_attempt(&mut self, request: u64, now: Instant) {
        let wait = self.s.requests.get(&request).map_or(0, |r| r.attempt_ms);
        if wait > 0 {
            let at = now + Duration::from_millis(wait.into());
            self.s.schedule.set(Due::Attempt(request), Some(at));
        }
    }

    pub(crate) fn on_attempt_over(&mut self, request: u64, now: Instant) {
        let Some(entry) = self.s.requests.get(&request) else {
            return;
        };
        match &entry.phase {
            Phase::Looking(_) => {
                return self.fail(
                    request,
                    Cause::Unreachable,
                    "name look-up took too long",
                    now,
                );
            }
            Phase::Connecting(stream) => {
                let stream = *stream;
                if let Some(stream) = self.s.streams.get_mut(&stream) {
                    stream.waiting.retain(|waiting| *waiting != request);
                }
            }
            Phase::Sent { branch } => {
                let branch = branch.clone();
                if !self.let_go(&branch) {
                    return;
                }
            }
        }
        let failure = Failure {
            cause: Cause::Timeout,
            reason: "no answer in time".into(),
            ..Failure::default()
        };
        self.let_rest_as_dead(request, now);
        self.try_next_hop(request, failure, now);
    }

    /// False where it was answered after all. An INVITE cannot be cancelled before it is (RFC 3261 §9.1), so it is
    /// only sent no more; what comes of it until timer B is undone.
    fn let_go(&mut self, branch: &str) -> bool {
        let Some(tx) = self.s.client.get_mut(branch) else {
            return true;
        };
        match (&mut tx.machine, &tx.purpose) {
            (Machine::Invite(machine), Purpose::Invite(invite) | Purpose::Ring(invite, _)) => {
                if !machine.is_calling() {
                    return false;
                }
                machine.stop_repeating();
                tx.abandoned = true;
                let (invite, next) = (*invite, tx.next_timeout());
                self.s.schedule.set(Due::Client(branch.into()), next);
                if let Some(entry) = self.s.invites.get_mut(&invite) {
                    entry.abandoned.push(branch.into());
                }
            }
            (Machine::Invite(_), _) => return false,
            (Machine::Other(_), _) => {
                self.s.schedule.set(Due::Client(branch.into()), None);
                self.s.client.remove(branch);
            }
        }
        true
    }

    /// A server that was given up says something about our INVITE.
    pub(crate) fn on_late_response(
        &mut self,
        (invite, ring): (InviteId, u32),
        branch: &str,
        response: &Message<'_>,
        head: &[u8],
        now: Instant,
    ) {
        match response.status() {
            ..=199 => {
                self.cancel_transaction(invite, branch, now);
                if let Some(tx) = self.s.client.get_mut(branch)
                    && let Machine::Invite(machine) = &mut tx.machine
                {
                    machine.end_by(now + AFTER_CANCEL);
                    let next = tx.next_timeout();
                    self.s.schedule.set(Due::Client(branch.into()), next);
                }
            }
            200..=299 => self.end_fork((invite, ring), response, head, now),
            // Acknowledged by its transaction.
            _ => {}
        }
    }

    /// CANCEL, once a provisional response is there; false if it cannot be sent (yet).
    pub(crate) fn cancel_transaction(
        &mut self,
        invite: InviteId,
        branch: &str,
        now: Instant,
    ) -> bool {
        let key = cancel_key(branch);
        let Some(tx) = self.s.client.get(branch) else {
            return false;
        };
        let Machine::Invite(machine) = &tx.machine else {
            return false;
        };
        if !machine.is_proceeding() || self.s.client.contains_key(&key) {
            return false;
        }
        let Ok(cancel) = Message::parse(&tx.head)
            .map_err(|_| ())
            .and_then(|m| cancel_for(&m).map_err(|_| ()))
        else {
            return false;
        };
        let (path, request) = (tx.path, tx.request);
        self.transmit(path, cancel.clone());
        let machine = Machine::Other(ClientNonInvite::start(cancel, path.is_reliable(), now));
        let tx = ClientTransaction {
            machine,
            path,
            request,
            purpose: Purpose::Cancel(invite),
            head: Vec::new(),
            abandoned: false,
        };
        self.s
            .schedule
            .set(Due::Client(key.clone()), tx.next_timeout());
        self.s.client.insert(key, tx);
        true
    }

    /// A 2xx of a call that is not wanted: acknowledged and ended (RFC 3261 §13.2.2.4).
    fn end_fork(
        &mut self,
        (invite, ring): (InviteId, u32),
        response: &Message<'_>,
        head: &[u8],
        now: Instant,
    ) {
        let Some(id) = self.fork_of(invite, ring, response, head, true) else {
            return;
        };
        let fork = self.s.invites.get_mut(&invite).and_then(|i| i.fork(id));
        let Some(fork) = fork else { return };
        if let Some((_, path, bytes)) = &fork.ack {
            // The 2xx again: its ACK was lost.
            let (path, bytes) = (*path, bytes.clone());
            return self.transmit(path, bytes);
        }
        fork.ack_for = response.cseq().map_or(0, |(number, _)| number);
        if fork.dialog.confirm(response).is_err() {
            return;
        }
        self.send_ack(invite, id, Vec::new(), now);
        self.send_bye(invite, id, now);
    }
}
