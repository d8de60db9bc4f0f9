//! Responses to our requests: matched to their transaction, then handed to whom they concern.

use crate::agent::{Agent, Due};
use crate::api::{Cause, Failure};
use crate::hangup::cancel_key;
use crate::net::Path;
use crate::requests::{Machine, Purpose};
use signaling_sip::message::{HeaderName, Message, Method, blotted};
use signaling_sip::time::Instant;
use signaling_sip::transaction::{Turn, ack_for};
use std::net::SocketAddr;

impl Agent {
    pub(crate) fn on_response(&mut self, response: &Message<'_>, path: Path, now: Instant) {
        let usable = response.fault.is_none() && response.list(HeaderName::Via).count() == 1;
        let (Ok(via), Ok((_, method)), true) = (response.top_via(), response.cseq(), usable) else {
            return;
        };
        if response.from().is_err() || response.to().is_err() || response.call_id().is_err() {
            return;
        }
        let mut branch = String::from_utf8_lossy(via.branch().unwrap_or_default()).into_owned();
        if method == b"CANCEL" {
            branch = cancel_key(&branch);
        }
        let Some(tx) = self.s.client.get_mut(&branch) else {
            return self.charge(response, path, now);
        };
        let status = response.status();
        let (turn, wanted) = match &mut tx.machine {
            Machine::Invite(machine) => {
                let head = &tx.head;
                let ack = || match Message::parse(head) {
                    Ok(invite) => ack_for(&invite, response).unwrap_or_default(),
                    Err(_) => Vec::new(),
                };
                if method != b"INVITE" {
                    return;
                }
                (machine.on_response(status, now, ack), Method::Invite)
            }
            Machine::Other(machine) => {
                (machine.on_response(status, now), Method::from_bytes(method))
            }
        };
        if wanted.as_bytes() != method {
            return;
        }
        let (path, request, purpose, head) =
            (tx.path, tx.request, tx.purpose.clone(), tx.head.clone());
        let abandoned = tx.abandoned;
        self.s
            .schedule
            .set(Due::Client(branch.clone()), tx.next_timeout());
        if abandoned {
            let ring = match purpose {
                Purpose::Invite(invite) => Some((invite, 0)),
                Purpose::Ring(invite, ring) => Some((invite, ring)),
                _ => None,
            };
            if let Some(ring) = ring.filter(|_| turn.deliver) {
                self.on_late_response(ring, &branch, response, &head, now);
            }
            let turn = Turn {
                deliver: false,
                ..turn
            };
            return self.after_client_turn(&branch, turn, now);
        }
        if !matches!(purpose, Purpose::Cancel(_)) {
            self.s.schedule.set(Due::Attempt(request), None);
            self.heard_from(request, path, now);
        }
        if turn.deliver {
            self.deliver(response, path, request, purpose, &head, now);
        }
        self.after_client_turn(
            &branch,
            Turn {
                deliver: false,
                ..turn
            },
            now,
        );
    }

    fn deliver(
        &mut self,
        response: &Message<'_>,
        path: Path,
        request: u64,
        purpose: Purpose,
        head: &[u8],
        now: Instant,
    ) {
        let status = response.status();
        let source = path.remote();
        if status < 200 {
            if let Some(entry) = self.s.requests.get_mut(&request) {
                entry.provisional = true;
            }
            match purpose {
                Purpose::Invite(invite) => {
                    self.on_provisional(invite, 0, response, head, source, now)
                }
                Purpose::Ring(invite, ring) => {
                    self.on_ring_provisional(invite, ring, response, head, source, now);
                }
                _ => {}
            }
            return;
        }
        let dropped = !self.s.requests.contains_key(&request);
        let is_once = !matches!(
            purpose,
            Purpose::Invite(_) | Purpose::Ring(..) | Purpose::Reinvite(_)
        );
        if dropped && is_once {
            return;
        }
        let given_up = match &purpose {
            Purpose::Invite(invite) => self.is_hung_up(*invite),
            Purpose::Ring(invite, ring) => {
                self.is_hung_up(*invite) || self.is_ring_stopped(*invite, *ring)
            }
            _ => false,
        };
        if !given_up && matches!(status, 401 | 407) && self.authorize(request, response, now) {
            return;
        }
        if let (false, 422, Purpose::Invite(invite) | Purpose::Ring(invite, _)) =
            (given_up, status, &purpose)
            && !dropped
            && self.take_min_se(*invite, response)
        {
            return self.send_again(request, now);
        }
        if let (false, 300..400, Purpose::Invite(invite)) = (given_up, status, &purpose)
            && self.redirected(request, *invite, response, now)
        {
            return;
        }
        if status == 503 {
            self.let_rest(request, response, now);
        }
        let more_hops = self
            .s
            .requests
            .get(&request)
            .is_some_and(|r| !r.hops.is_empty() || !r.ways.is_empty());
        if !given_up && status == 503 && more_hops {
            let failure = failure_of(response);
            return self.try_next_hop(request, failure, now);
        }
        let way = self
            .s
            .requests
            .get_mut(&request)
            .map(|r| std::mem::take(&mut r.way));
        let way = way.unwrap_or_default();
        self.drop_request(request);
        match purpose {
            Purpose::Register(account) => {
                self.on_register_response(account, response, path, way, now);
            }
            Purpose::Invite(invite) => self.on_invite_final(invite, 0, response, head, source, now),
            Purpose::Ring(invite, ring) => {
                self.on_ring_final(invite, ring, response, head, source, now)
            }
            Purpose::Reinvite(invite) if dropped => self.acknowledge_again(invite, response),
            Purpose::Reinvite(invite) => self.on_reinvite_final(invite, response, source, now),
            Purpose::Bye(invite, fork) => {
                self.on_bye_done(invite, fork, blotted(response.raw()), now);
            }
            Purpose::Refresh(invite) => self.on_refresh_final(invite, response, now),
            Purpose::Refer(invite, refer) => self.on_refer_final(invite, refer, response, now),
            Purpose::Notify(invite, refer) => self.on_notify_done(invite, refer, status < 300, now),
            Purpose::Info(invite) => self.on_info_final(invite, response, now),
            Purpose::Probe {
                account, server, ..
            } => {
                self.on_probe_answered(account, &server, path, now);
            }
            // A caller whose PRACK was refused can only wait: the callee ends it if it must (RFC 3262 §3).
            Purpose::Prack(..) | Purpose::Cancel(_) | Purpose::Ack { .. } => {}
        }
    }

    /// A request got no response at all.
    pub(crate) fn on_failure(&mut self, purpose: &Purpose, failure: Failure, now: Instant) {
        match purpose {
            Purpose::Register(account) => self.on_register_failed(*account, failure, now),
            Purpose::Invite(invite) => self.on_invite_failed(*invite, failure, now),
            Purpose::Ring(invite, ring) => self.ring_over(*invite, *ring, failure, now),
            Purpose::Reinvite(invite) => self.on_reinvite_failed(*invite, failure, now),
            Purpose::Bye(invite, fork) => self.on_bye_done(*invite, *fork, String::new(), now),
            Purpose::Ack { invite, .. } => self.on_ack_unsendable(*invite, failure, now),
            Purpose::Refresh(invite) => self.on_refresh_refused(*invite, failure, now),
            Purpose::Refer(invite, refer) => self.on_refer_failed(*invite, *refer, failure),
            Purpose::Notify(invite, refer) => self.on_notify_done(*invite, *refer, false, now),
            Purpose::Info(invite) => self.on_info_failed(*invite, failure),
            Purpose::Probe {
                account,
                server,
                to,
            } => self.on_probe_failed(*account, server, *to, &failure),
            Purpose::Prack(..) | Purpose::Cancel(_) => {}
        }
    }
}

/// A refusal as the calls hear of it.
pub(crate) fn failure_of(response: &Message<'_>) -> Failure {
    Failure {
        status: response.status(),
        reason: reason_of(response),
        cause: Cause::Response,
        raw: blotted(response.raw()),
        contacts: Vec::new(),
    }
}

pub(crate) fn reason_of(message: &Message<'_>) -> String {
    String::from_utf8_lossy(message.reason()).into_owned()
}

/// What every event of a message tells.
pub(crate) fn told(
    message: &Message<'_>,
    source: SocketAddr,
) -> (u16, String, Option<Vec<u8>>, SocketAddr, String) {
    let sdp = message.sdp().map(<[u8]>::to_vec);
    (
        message.status(),
        reason_of(message),
        sdp,
        source,
        blotted(message.raw()),
    )
}
