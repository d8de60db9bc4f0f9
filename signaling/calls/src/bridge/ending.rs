//! How bridges end: one way for all, whoever ends them, and both sides hear it once.

use super::state::{Bridge, Side, Stage};
use crate::api::Output;
use crate::call::{CallKey, Ended, Standing};
use crate::limits::FORGET;
use crate::record::CallRecord;
use crate::switchboard::Switchboard;
use crate::timers::Timer;
use media_control::{Command as Media, LegFailure, LegId};
use signaling_sip::time::Instant;
use signaling_trunk::api::{Cause, Command as Trunk, End, Failure, InviteId, Line, Refusal};
use std::time::Duration;

/// Why a bridge ends, and what the caller gets for it if nobody has answered.
pub(crate) struct Finish {
    status: &'static str,
    info: String,
    sip_status: u16,
    by: &'static str,
}

impl Finish {
    fn by(who: &'static str) -> Finish {
        Finish {
            status: "FINISH",
            info: "Normal call clearing".to_owned(),
            sip_status: 200,
            by: who,
        }
    }

    /// We, because it cannot go on.
    pub fn failed(info: &str, sip_status: u16) -> Finish {
        Finish {
            status: "FAILED",
            info: info.to_owned(),
            sip_status,
            by: "gateway",
        }
    }

    pub fn no_answer() -> Finish {
        Finish::failed("No answer", 480)
    }

    fn refused(failure: &Failure) -> Finish {
        let sip_status = relayed(failure);
        Finish {
            status: if matches!(sip_status, 486 | 600) {
                "BUSY"
            } else {
                "FAILED"
            },
            info: phrase(sip_status).to_owned(),
            sip_status,
            by: "callee",
        }
    }
}

/// What of a callee's refusal is told to the caller. What speaks of the hop between us and the callee means nothing
/// to who did not send that request (RFC 3261 §16.7 steps 4 to 7): its challenges above all, whose realm is not the
/// caller's, and contacts elsewhere, which only we may follow.
fn relayed(failure: &Failure) -> u16 {
    match (failure.status, failure.cause) {
        (0, Cause::Timeout) => 408,
        (0, Cause::NotAllowed) => 403,
        (0, Cause::Overloaded) => 503,
        (0, _) => 500,
        (300..=399, _) => 480,
        (401 | 407 | 400 | 405 | 415 | 416 | 420 | 421 | 422 | 423 | 440 | 494, _) => 500,
        (481 | 487 | 491, _) => 480,
        // "Unavailable" would be said of us, and take us out of the caller's list of servers.
        (503, _) => 500,
        (402..=699, _) => failure.status,
        _ => 500,
    }
}

/// Our own words for a status: those of the callee may name its hosts.
pub(crate) fn phrase(status: u16) -> &'static str {
    match status {
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        428 => "Use Identity Header",
        433 => "Anonymity Disallowed",
        436 => "Bad Identity Info",
        437 => "Unsupported Credential",
        438 => "Invalid Identity Header",
        480 => "Temporarily Unavailable",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        488 => "Not Acceptable Here",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        _ => "Refused",
    }
}

impl Switchboard {
    /// The trunk has done with an INVITE.
    pub(crate) fn bridge_leg_ended(
        &mut self,
        bridge: &mut Bridge,
        invite: InviteId,
        end: &End,
        now: Instant,
    ) {
        self.by_invite.remove(&invite);
        if let Some(side) = bridge.sides_mut().find(|side| side.sip.invite == invite) {
            side.sip.over = true;
        }
        if bridge.stage == Stage::Ending {
            return;
        }
        if bridge.is_coming(invite) {
            let status = match end {
                End::Failed(failure) => relayed(failure),
                End::ByUs { .. } | End::ByPeer { .. } | End::NoAck => 480,
            };
            return self.coming_is_off(bridge, status, now);
        }
        let calls = bridge.callee.sip.standing == Standing::New;
        if bridge.caller.sip.invite == invite {
            let finish = match end {
                End::NoAck => Finish::failed("The answer was not acknowledged", 408),
                End::Failed(failure) => Finish::failed("The caller was lost", failure.status),
                End::ByUs { .. } | End::ByPeer { .. } => Finish::by("caller"),
            };
            return self.end_bridge(bridge, finish, now);
        }
        if bridge.callee.sip.invite != invite {
            return;
        }
        match end {
            End::Failed(failure) if calls => {
                let goes_on = bridge.route.leads_on(failure.status);
                if !(goes_on && self.try_next(bridge, now)) {
                    self.end_bridge(bridge, Finish::refused(failure), now);
                }
            }
            End::Failed(failure) => {
                self.end_bridge(
                    bridge,
                    Finish::failed("The callee was lost", failure.status),
                    now,
                );
            }
            End::NoAck => self.end_bridge(bridge, Finish::failed("No ACK", 408), now),
            End::ByPeer { .. } | End::ByUs { .. } => {
                let mut finish = Finish::by("callee");
                finish.sip_status = if calls { 480 } else { 200 };
                self.end_bridge(bridge, finish, now);
            }
        }
    }

    pub(crate) fn bridge_leg_failed(
        &mut self,
        bridge: &mut Bridge,
        leg: LegId,
        failure: &LegFailure,
        now: Instant,
    ) {
        if let LegFailure::Unsupported(why) = failure {
            tracing::warn!(call = bridge.key.0, why, "media cannot serve a description");
        }
        bridge.note_closed(leg, None);
        if bridge.is_coming_leg(leg) {
            return self.coming_is_off(bridge, 503, now);
        }
        let in_use = [bridge.caller.sip.leg, bridge.callee.sip.leg].contains(&leg);
        if in_use {
            let status = match failure {
                LegFailure::NoCommonCodec => 488,
                _ => 503,
            };
            self.end_bridge(bridge, Finish::failed(failure.call_info(), status), now);
        }
    }

    /// Nothing came for a minute where something should.
    pub(crate) fn bridge_is_silent(
        &mut self,
        bridge: &mut Bridge,
        leg: LegId,
        seconds: u32,
        now: Instant,
    ) {
        let talks = bridge.stage == Stage::Established
            && [bridge.caller.sip.leg, bridge.callee.sip.leg].contains(&leg);
        // Who is held, or holds, may be silent.
        let open = [&bridge.caller, &bridge.callee]
            .iter()
            .all(|side| side.will.sends() && side.will.receives());
        if seconds >= 60 && talks && open {
            self.end_bridge(bridge, Finish::failed("Failed by RTP activity", 0), now);
        }
    }

    /// The media role is another one now: what it held is gone.
    pub(crate) fn bridges_lose_media(&mut self, now: Instant) {
        let keys: Vec<CallKey> = self.bridges.keys().copied().collect();
        for key in keys {
            self.with_bridge(key, now, |board, bridge| {
                for side in bridge.sides_mut() {
                    side.sip.closed = true;
                }
                let finish = Finish::failed("The media node was lost", 503);
                board.end_bridge(bridge, finish, now);
            });
        }
    }

    pub(crate) fn bridges_lose_trunk(&mut self, now: Instant) {
        let keys: Vec<CallKey> = self.bridges.keys().copied().collect();
        for key in keys {
            self.with_bridge(key, now, |board, bridge| {
                for side in bridge.sides_mut() {
                    side.sip.over = true;
                    board.by_invite.remove(&side.sip.invite);
                }
                let finish = Finish::failed("The SIP side was lost", 503);
                board.end_bridge(bridge, finish, now);
            });
        }
    }

    pub(crate) fn end_all_bridges(&mut self, now: Instant) {
        let keys: Vec<CallKey> = self.bridges.keys().copied().collect();
        for key in keys {
            self.with_bridge(key, now, |board, bridge| {
                let mut finish = Finish::by("gateway");
                finish.sip_status = 503;
                board.end_bridge(bridge, finish, now);
            });
        }
    }

    /// Ends both sides and puts everything else away. A second end changes nothing.
    pub(crate) fn end_bridge(&mut self, bridge: &mut Bridge, finish: Finish, now: Instant) {
        if bridge.stage == Stage::Ending {
            return;
        }
        let key = bridge.key;
        bridge.stage = Stage::Ending;
        bridge.joined = None;
        self.timers.cancel(Timer::NoAnswer(key.0));
        self.timers.set(Timer::Forget(key.0), now + FORGET);
        self.timers.cancel(Timer::Following(key.0));
        self.timers.cancel(Timer::Replaced(key.0));
        for ticket in bridge.tickets.drain(..).chain(bridge.line_ticket.take()) {
            self.ledger.ended(ticket, now);
        }
        let status = match finish.sip_status {
            status @ 400..=699 => status,
            _ => 480,
        };
        let refusal = Refusal {
            status,
            reason: phrase(status).to_owned(),
            ..Refusal::default()
        };
        if let Some(coming) = bridge.coming.take() {
            self.give_back(coming.tickets, now);
            bridge.past.push(coming.side);
        }
        for side in bridge.sides_mut() {
            self.hang_up_side(key, side, Some(refusal.clone()));
            self.close_side(key, side);
        }
        bridge.end = Some(Ended {
            at: now,
            status: finish.status.to_owned(),
            info: finish.info,
            sip_status: (finish.sip_status != 0).then_some(finish.sip_status),
            by: finish.by.to_owned(),
        });
    }

    pub(crate) fn hang_up_side(&mut self, key: CallKey, side: &mut Side, status: Option<Refusal>) {
        let sip = &mut side.sip;
        if sip.over || sip.hung_up {
            return;
        }
        if sip.placed {
            sip.hung_up = true;
            let invite = sip.invite;
            self.trunk(key.0, Trunk::Hangup { invite, status });
        } else {
            sip.over = true;
        }
    }

    pub(crate) fn close_side(&mut self, key: CallKey, side: &mut Side) {
        let sip = &mut side.sip;
        if !sip.closed && !std::mem::replace(&mut sip.closing, true) {
            let leg = sip.leg;
            self.media(key, Media::CloseLeg { leg });
        }
    }

    /// Forgets callees of earlier attempts of whom nothing is owed.
    pub(crate) fn tidy_bridge(&mut self, bridge: &mut Bridge) {
        let (done, past) = std::mem::take(&mut bridge.past)
            .into_iter()
            .partition(Side::is_done);
        bridge.past = past;
        let stats = Vec::into_iter(done).filter_map(|side: Side| side.sip.stats);
        bridge.past_stats.extend(stats);
    }

    pub(crate) fn bridge_is_overdue(&mut self, key: CallKey, now: Instant) {
        if let Some(bridge) = self.bridges.remove(&key) {
            self.forget_bridge(bridge, now);
        }
    }

    /// Writes the record.
    pub(crate) fn forget_bridge(&mut self, mut bridge: Bridge, now: Instant) {
        self.timers.cancel(Timer::Forget(bridge.key.0));
        for side in bridge.sides() {
            self.by_invite.remove(&side.sip.invite);
        }
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let since = |at: Instant| ms(at.saturating_duration_since(bridge.started));
        let name = |line: &Line| match line {
            Line::Trunk(name) => format!("trunk {name}"),
            Line::Phone(user) => format!("phone {user}"),
        };
        let end = bridge.end.take();
        let record = CallRecord {
            call_id: format!("line-{:x}", bridge.key.0),
            direction: "bridged".to_owned(),
            caller: bridge.from.user.clone(),
            callee: bridge.called.clone(),
            answered_after_ms: bridge.answered.map(since),
            ended_after_ms: since(end.as_ref().map_or(now, |end| end.at)),
            status: end.as_ref().map(|e| e.status.clone()).unwrap_or_default(),
            info: end.as_ref().map(|e| e.info.clone()).unwrap_or_default(),
            sip_status: end.as_ref().and_then(|e| e.sip_status),
            ended_by: end.map(|e| e.by).unwrap_or_default(),
            from_line: name(&bridge.caller.line),
            to_line: name(&bridge.callee.line),
            route: bridge.route.name.clone(),
            sip: bridge.caller.sip.stats.take(),
            other_sip: bridge
                .callee
                .sip
                .stats
                .take()
                .into_iter()
                .chain(bridge.past_stats)
                .chain(bridge.past.into_iter().filter_map(|side| side.sip.stats))
                .collect(),
            ..CallRecord::default()
        };
        self.output(Output::Record(Box::new(record)));
    }
}
