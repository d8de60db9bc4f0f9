//! Provisional responses that arrive for certain (RFC 3262): PRACK for theirs, RSeq and repetition for ours.

use crate::agent::{Agent, Due};
use crate::api::{Cause, End, Event, Failure, ForkId, InviteId, NO_ACCOUNT, OfferId};
use crate::invite::{Phase, TheirOffer};
use crate::limits::MAX_WAITING_PROGRESS;
use crate::net::Path;
use crate::requests::Purpose;
use crate::validate::Refusal;
use serde::{Deserialize, Serialize};
use signaling_sip::message::{HeaderName, Message, Method, blotted};
use signaling_sip::time::Instant;
use signaling_sip::transaction::T1;
use std::collections::VecDeque;
use std::time::Duration;

/// How long a provisional response is repeated (RFC 3262 §3: 64 T1).
const UNTIL_PRACK: Duration = Duration::from_secs(32);
/// RSeq and the first one's highest value (RFC 3262 §3, §7.1).
const HIGHEST_RSEQ: u32 = (1 << 31) - 1;

/// Which of our provisional responses are sent reliably to a caller that supports it. One that requires it gets them
/// all so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReliableProvisional {
    /// Nor do our own INVITEs offer it.
    Off,
    /// Those with a session description, which are worth a round trip.
    #[default]
    WhenSdp,
    Always,
}

/// The reliable provisional responses of one INVITE of theirs.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Reliability {
    supported: bool,
    required: bool,
    /// RSeq of the last one; 0: none was sent.
    rseq: u32,
    /// The last one, until its PRACK.
    pending: Option<Pending>,
    /// What happened since, to be told after the PRACK.
    waiting: VecDeque<(u16, Option<Vec<u8>>)>,
    /// Our 200, which waits for the PRACK of a description (RFC 3262 §3).
    held: Option<Vec<u8>>,
    /// Offer and answer went in a reliable response and its PRACK, or before them.
    pub settled: bool,
    /// Their INVITE had no offer and ours went out in a reliable response …
    offered: bool,
    /// … to which their PRACK brought this answer.
    pub answer: Option<Vec<u8>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Pending {
    has_sdp: bool,
    path: Path,
    bytes: Vec<u8>,
    interval: Duration,
    /// `None`: no longer repeated, since the final response is out; its PRACK is welcome all the same.
    until: Option<Instant>,
}

impl Reliability {
    pub fn of(invite: &Message<'_>) -> Reliability {
        let required = invite.names(HeaderName::Require, "100rel");
        Reliability {
            supported: required || invite.names(HeaderName::Supported, "100rel"),
            required,
            ..Reliability::default()
        }
    }

    fn is_repeating(&self) -> bool {
        self.pending.as_ref().is_some_and(|p| p.until.is_some())
    }

    /// Our offer is out and not answered.
    pub fn awaits_answer(&self) -> bool {
        self.offered && !self.settled
    }
}

// Theirs.
impl Agent {
    /// False: it is to be passed over, as one seen before, or out of order (RFC 3262 §4).
    pub(crate) fn take_reliable(
        &mut self,
        invite: InviteId,
        fork: ForkId,
        response: &Message<'_>,
        now: Instant,
    ) -> bool {
        let rseq = match response.number(HeaderName::RSeq) {
            Ok(Some(rseq)) if response.names(HeaderName::Require, "100rel") => rseq,
            Ok(_) | Err(_) => return true,
        };
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return false;
        };
        let late = entry.late;
        let Some(fork) = entry.fork(fork) else {
            return false;
        };
        if fork.rseq.is_some_and(|last| rseq != last.wrapping_add(1)) {
            return false;
        }
        fork.rseq = Some(rseq);
        // It settles the route as a 2xx does (RFC 3261 §12.1.2): an 18x before it may have lacked the Contact.
        if response.contact().is_some() {
            let _ = fork.dialog.confirm(response);
        }
        if let (false, Some(sdp)) = (late, response.sdp()) {
            // The first description of a dialog is its answer, the others are not looked at (RFC 3261 §13.2.1).
            fork.early_sdp.get_or_insert_with(|| sdp.to_vec());
        }
        let (id, cseq) = (fork.id, response.cseq().map_or(0, |(number, _)| number));
        self.send_prack(invite, id, rseq, cseq, now);
        true
    }

    fn send_prack(&mut self, invite: InviteId, fork: ForkId, rseq: u32, cseq: u32, now: Instant) {
        let Some((mut draft, next_hop)) = self.dialog_draft(invite, fork, Method::Prack) else {
            return;
        };
        let Some(account) = self.s.invites.get(&invite).map(|i| i.account) else {
            return;
        };
        let rack = format!("{rseq} {cseq} INVITE");
        draft.headers.push(("RAck".into(), rack.into_bytes()));
        let purpose = Purpose::Prack(invite, fork);
        self.request(purpose, account, draft, &next_hop, now);
    }
}

// Ours.
impl Agent {
    pub(crate) fn progress(
        &mut self,
        invite: InviteId,
        status: u16,
        sdp: Option<Vec<u8>>,
        now: Instant,
    ) {
        let account = self
            .s
            .invites
            .get(&invite)
            .map_or(NO_ACCOUNT, |i| i.account);
        let policy = self.reliable_provisional(account);
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let (Phase::Ringing, Some(key)) = (entry.phase, entry.transaction.clone()) else {
            return;
        };
        let status = if (101..200).contains(&status) {
            status
        } else {
            183
        };
        let mut sdp = sdp.filter(|sdp| !sdp.is_empty());
        let reliability = &mut entry.reliability;
        if reliability.held.is_some() {
            return;
        }
        let reliably = reliability.required
            || reliability.supported
                && match policy {
                    ReliableProvisional::Off => false,
                    ReliableProvisional::WhenSdp => sdp.is_some(),
                    ReliableProvisional::Always => true,
                };
        if !reliably {
            if entry.late {
                // Nobody could answer an offer that may get lost (RFC 3261 §13.2.1).
                sdp = None;
            }
            let sdp = sdp.unwrap_or_default();
            self.respond(&key, status, reason(status), Vec::new(), &sdp, now);
            return;
        }
        if reliability.is_repeating() {
            if reliability.waiting.len() >= MAX_WAITING_PROGRESS {
                reliability.waiting.pop_back();
            }
            reliability.waiting.push_back((status, sdp));
            return;
        }
        self.progress_reliably(invite, &key, status, sdp, now);
    }

    fn progress_reliably(
        &mut self,
        invite: InviteId,
        key: &str,
        status: u16,
        sdp: Option<Vec<u8>>,
        now: Instant,
    ) {
        let drawn = self.s.dice.below(u64::from(HIGHEST_RSEQ) - 1_000);
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let (late, reliability) = (entry.late, &mut entry.reliability);
        reliability.rseq = match reliability.rseq {
            0 => u32::try_from(drawn).unwrap_or(0) + 1,
            last => last.saturating_add(1),
        };
        // One offer is enough: theirs has not come yet.
        let sdp = sdp.filter(|_| !late || !reliability.offered);
        reliability.offered |= late && sdp.is_some();
        if let Some(sdp) = &sdp {
            entry.last_sdp.clone_from(sdp);
        }
        let headers = vec![
            ("Require", b"100rel".to_vec()),
            ("RSeq", entry.reliability.rseq.to_string().into_bytes()),
        ];
        let has_sdp = sdp.is_some();
        let sent = self.respond(
            key,
            status,
            reason(status),
            headers,
            &sdp.unwrap_or_default(),
            now,
        );
        let Some((path, bytes)) = sent else { return };
        if let Some(entry) = self.s.invites.get_mut(&invite) {
            entry.reliability.pending = Some(Pending {
                has_sdp,
                path,
                bytes,
                interval: T1,
                until: Some(now + UNTIL_PRACK),
            });
            self.s.schedule.set(Due::Progress(invite), Some(now + T1));
        }
    }

    pub(crate) fn on_progress_due(&mut self, invite: InviteId, now: Instant) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let Some(pending) = &mut entry.reliability.pending else {
            return;
        };
        let Some(until) = pending.until else { return };
        if now < until {
            // Doubled without a ceiling, unlike a 2xx (RFC 3262 §3).
            pending.interval *= 2;
            let next = (now + pending.interval).min(until);
            let (path, bytes) = (pending.path, pending.bytes.clone());
            self.s.schedule.set(Due::Progress(invite), Some(next));
            return self.transmit(path, bytes);
        }
        self.answer_invite(invite, 504, "Server Time-out", now);
        let failure = Failure {
            cause: Cause::Timeout,
            reason: "a reliable provisional response was never acknowledged".into(),
            ..Failure::default()
        };
        self.end(invite, End::Failed(failure), now);
    }

    /// True: the 200 waits for the PRACK of a description, or it would overtake it (RFC 3262 §3).
    pub(crate) fn is_held_by_progress(&mut self, invite: InviteId, sdp: &[u8]) -> bool {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return false;
        };
        let reliability = &mut entry.reliability;
        let holds = reliability
            .pending
            .as_ref()
            .is_some_and(|p| p.has_sdp && p.until.is_some());
        if holds {
            reliability.held.get_or_insert_with(|| sdp.to_vec());
            reliability.waiting.clear();
        }
        holds
    }

    /// A final response is out: nothing provisional is repeated, or sent, any more.
    pub(crate) fn stop_progress(&mut self, invite: InviteId) {
        if let Some(entry) = self.s.invites.get_mut(&invite) {
            entry.reliability.waiting.clear();
            entry.reliability.held = None;
            if let Some(pending) = &mut entry.reliability.pending {
                pending.until = None;
                pending.bytes = Vec::new();
            }
        }
        self.s.schedule.set(Due::Progress(invite), None);
    }

    /// What the 200 carries: nothing where our offer went before and was answered.
    pub(crate) fn sdp_for_200(&self, invite: InviteId, sdp: Vec<u8>) -> Vec<u8> {
        let offered = |i: &crate::invite::Invite| i.reliability.offered;
        if self.s.invites.get(&invite).is_some_and(offered) {
            Vec::new()
        } else {
            sdp
        }
    }

    pub(crate) fn on_prack(
        &mut self,
        invite: InviteId,
        message: &Message<'_>,
        key: String,
        path: Path,
        now: Instant,
    ) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let reliability = &mut entry.reliability;
        let wanted = (reliability.rseq, entry.cseq);
        let fits = message.rack().is_some_and(|(rseq, cseq, method)| {
            (rseq, cseq) == wanted && method == b"INVITE" && reliability.pending.is_some()
        });
        if !fits {
            let refusal = Refusal::new(481, "Call/Transaction Does Not Exist");
            return self.refuse_in_dialog(invite, message, key, path, &refusal, false, now);
        }
        if !self.open_server(&key, message, path, false, Some(invite)) {
            return self.refuse(message, path, &Refusal::overloaded());
        }
        let sdp = message.sdp().map(<[u8]>::to_vec);
        let offer = OfferId(self.draw());
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let reliability = &mut entry.reliability;
        let had_sdp = reliability.pending.take().is_some_and(|p| p.has_sdp);
        let is_answer = reliability.awaits_answer();
        reliability.settled |= had_sdp;
        let next = reliability.waiting.pop_front();
        let held = reliability.held.take();
        self.s.schedule.set(Due::Progress(invite), None);
        match sdp {
            Some(sdp) if is_answer => {
                entry.reliability.answer = Some(sdp);
                self.respond(&key, 200, "OK", Vec::new(), b"", now);
            }
            // A PRACK may bring an offer of its own once the first exchange is complete (RFC 3262 §5).
            Some(sdp) if entry.reliability.settled && entry.their_offer.is_none() => {
                entry.their_offer = Some(TheirOffer {
                    id: offer,
                    key,
                    is_invite: false,
                    had_sdp: true,
                    sdp: Some(sdp.clone()),
                });
                self.event(Event::Offered {
                    invite,
                    offer,
                    sdp: Some(sdp),
                    source: path.remote(),
                    raw: blotted(message.raw()),
                    fork: None,
                });
            }
            Some(_) => {
                self.respond(&key, 488, "Not Acceptable Here", Vec::new(), b"", now);
            }
            None => {
                self.respond(&key, 200, "OK", Vec::new(), b"", now);
            }
        }
        if let Some(sdp) = held {
            return self.accept(invite, sdp, now);
        }
        let transaction = self
            .s
            .invites
            .get(&invite)
            .filter(|i| i.phase == Phase::Ringing)
            .and_then(|i| i.transaction.clone());
        if let (Some((status, sdp)), Some(key)) = (next, transaction) {
            self.progress_reliably(invite, &key, status, sdp, now);
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        199 => "Early Dialog Terminated",
        _ => "Session Progress",
    }
}
