//! How calls end: one way for all, whoever ends them, and the record that is left.

use crate::api::{Config, Output, SessionId};
use crate::call::{CallKey, Ended, FarLeg, Stage, Standing};
use crate::connecting::info_of;
use crate::limits::FORGET;
use crate::record::CallRecord;
use crate::switchboard::Switchboard;
use crate::timers::Timer;
use media_control::{Command as Media, LegFailure, LegId, LegStats};
use signaling_protocol::call::CallStatus;
use signaling_protocol::connection::{ApiMethod, Fail};
use signaling_protocol::{CallStatusInfo, ServerMessage};
use signaling_sip::time::Instant;
use signaling_trunk::api::{Command as Trunk, End, InviteId, Refusal};
use std::time::Duration;

/// What the page is told of an end, and the far side where it is not the one that ended it.
pub(crate) struct How {
    status: CallStatus,
    info: String,
    sip_status: Option<u16>,
    raw: Option<String>,
    by: &'static str,
    /// For an INVITE of theirs that was not answered.
    pub refusal: Option<Refusal>,
}

impl How {
    fn new(status: CallStatus, info: &str, sip_status: Option<u16>, by: &'static str) -> How {
        How {
            status,
            info: info.to_owned(),
            sip_status,
            raw: None,
            by,
            refusal: None,
        }
    }

    /// The page, by its wish or by vanishing.
    pub fn page(info: &str) -> How {
        How::new(CallStatus::Finish, info, Some(200), "page")
    }

    /// We, in good order.
    pub fn gateway(info: &str, sip_status: Option<u16>) -> How {
        How::new(CallStatus::Finish, info, sip_status, "gateway")
    }

    /// The far side, by a final response.
    pub fn refused(config: &Config, status: u16, info: &str) -> How {
        let sip_status = (status != 0).then_some(status);
        How::new(status_of(config, status), info, sip_status, "peer")
    }

    /// We, because it cannot go on.
    pub fn failed(info: &str, sip_status: Option<u16>) -> How {
        let mut how = How::new(CallStatus::Failed, info, sip_status, "gateway");
        how.refusal = sip_status
            .filter(|status| (400..700).contains(status))
            .map(|status| Refusal {
                status,
                reason: reason(status).to_owned(),
                ..Refusal::default()
            });
        how
    }
}

/// The status that a refusal of the far side becomes (protocol §4.1).
fn status_of(config: &Config, status: u16) -> CallStatus {
    match status {
        486 | 600 if config.busy_as_failed => CallStatus::Failed,
        486 | 600 => CallStatus::Busy,
        487 => CallStatus::Finish,
        _ => CallStatus::Failed,
    }
}

impl Switchboard {
    pub(crate) fn page_hangs_up(&mut self, session: SessionId, id: &str, now: Instant) {
        // Unknown ids happen in normal use: a page whose user refuses the microphone hangs up a call that
        // it never sent.
        if let Some(key) = self.call_of(session, id) {
            self.end(
                key,
                How::page(CallStatusInfo::NormalCallClearing.as_str()),
                now,
            );
        }
    }

    /// The backend does not want an incoming call.
    pub(crate) fn refuse_call(
        &mut self,
        session: SessionId,
        id: &str,
        status: u16,
        info: &str,
        now: Instant,
    ) {
        let Some(key) = self.call_of(session, id) else {
            return;
        };
        let mut how = How::failed(info, Some(status));
        how.refusal = Some(Refusal {
            status,
            reason: reason(status).to_owned(),
            ..Refusal::default()
        });
        self.end(key, how, now);
    }

    pub(crate) fn trunk_ended(&mut self, invite: InviteId, end: End, now: Instant) {
        if self.ringing_ended(invite, &end, now) {
            return;
        }
        let Some(key) = self.by_invite.remove(&invite) else {
            return;
        };
        let call = self.calls.get_mut(&key);
        let Some(sip) = call.and_then(|c| c.by_invite_mut(invite)) else {
            return;
        };
        sip.over = true;
        if !self.calls.get(&key).is_some_and(|c| c.is_current(invite)) {
            self.leg_beside_ended(key, invite, &end, now);
            return self.settle(key, now);
        }
        if self.asker_has_left(key, invite, now) || self.hunts_on(key, invite, &end, now) {
            return self.settle(key, now);
        }
        let how = self.how(end);
        self.end(key, how, now);
        self.settle(key, now);
    }

    pub(crate) fn how(&self, end: End) -> How {
        let clearing = CallStatusInfo::NormalCallClearing.as_str();
        match end {
            End::ByUs { .. } => How::gateway(clearing, Some(200)),
            End::ByPeer { raw, .. } => {
                let mut how = How::new(CallStatus::Finish, clearing, Some(200), "peer");
                how.raw = Some(raw);
                how
            }
            End::NoAck => How::new(
                CallStatus::Failed,
                CallStatusInfo::FailedByRequestTimeout.as_str(),
                Some(408),
                "gateway",
            ),
            End::Failed(failure) => {
                let mut how = How::refused(&self.config, failure.status, &info_of(&failure));
                how.raw = (!failure.raw.is_empty()).then_some(failure.raw);
                how
            }
        }
    }

    pub(crate) fn leg_failed(&mut self, leg: LegId, failure: &LegFailure, now: Instant) {
        if self.ringback_is_gone(leg) {
            return;
        }
        let key = CallKey::of_leg(leg);
        self.note_closed(leg, None);
        if let LegFailure::Unsupported(why) = failure {
            tracing::warn!(call = key.0, why, "media cannot serve a description");
        }
        let beside = self
            .calls
            .get(&key)
            .and_then(|c| c.beside.iter().find(|sip| sip.leg == leg))
            .map(|sip| sip.invite);
        if let Some(invite) = beside {
            self.leg_beside_failed(key, invite, now);
            return self.settle(key, now);
        }
        let status = match failure {
            LegFailure::NoResources | LegFailure::Draining | LegFailure::WorkerLost => Some(503),
            LegFailure::NoCommonCodec => Some(488),
            _ => None,
        };
        self.end(key, How::failed(failure.call_info(), status), now);
        self.settle(key, now);
    }

    /// Media cannot make, or lost, a leg that the page does not talk with.
    fn leg_beside_failed(&mut self, key: CallKey, invite: InviteId, now: Instant) {
        let following = self.calls.get(&key).and_then(|c| c.following.as_ref());
        if following.is_some_and(|f| f.invite == invite) {
            self.followed_failed(key, 503, reason(503), now);
        } else {
            let status = Some(Refusal {
                status: 503,
                reason: reason(503).to_owned(),
                ..Refusal::default()
            });
            self.drop_leg(key, invite, status);
        }
    }

    pub(crate) fn leg_closed(&mut self, leg: LegId, stats: LegStats, now: Instant) {
        self.note_closed(leg, Some(stats));
        self.settle(CallKey::of_leg(leg), now);
    }

    fn note_closed(&mut self, leg: LegId, stats: Option<LegStats>) {
        let key = CallKey::of_leg(leg);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if leg == key.browser_leg() {
            call.browser.closed = true;
            call.browser.stats = stats.or(call.browser.stats.take());
        } else if let Some(sip) = call.sips_mut().find(|sip| sip.leg == leg) {
            sip.closed = true;
            sip.stats = stats.or(sip.stats.take());
        } else if let FarLeg::Echo { closed, .. } = &mut call.far
            && leg == key.first_far_leg()
        {
            *closed = true;
        }
    }

    /// Nothing came for a minute where something should.
    pub(crate) fn media_silent(&mut self, leg: LegId, seconds: u32, now: Instant) {
        let key = CallKey::of_leg(leg);
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        // A leg that nobody talks with, or that is not answered, owes no sound.
        let matters = leg == key.browser_leg() || leg == call.far_leg();
        let held = call
            .sip()
            .is_some_and(|s| s.held_by_us || s.held_by_peer || s.standing == Standing::New);
        if seconds >= 60 && matters && !held {
            self.end(
                key,
                How::failed(CallStatusInfo::FailedByRtpActivity.as_str(), None),
                now,
            );
        }
    }

    /// The media role is another one now: what it held is gone.
    pub(crate) fn media_is_gone(&mut self, now: Instant) {
        let keys: Vec<CallKey> = self.calls.keys().copied().collect();
        for key in keys {
            let sips: Vec<LegId> = self
                .calls
                .get(&key)
                .map(|call| call.sips().map(|sip| sip.leg).collect())
                .unwrap_or_default();
            for leg in sips
                .into_iter()
                .chain([key.browser_leg(), key.first_far_leg()])
            {
                self.note_closed(leg, None);
            }
            self.end(key, How::failed("The media node was lost", Some(503)), now);
            self.settle(key, now);
        }
    }

    pub(crate) fn trunk_is_gone(&mut self, now: Instant) {
        self.ringing.clear();
        // Nobody will say that these have ended.
        for tickets in std::mem::take(&mut self.booked).into_values() {
            self.give_back(tickets, now);
        }
        let keys: Vec<CallKey> = self
            .calls
            .values()
            .filter(|c| c.sip().is_some())
            .map(|c| c.key)
            .collect();
        for key in keys {
            if let Some(call) = self.calls.get_mut(&key) {
                for sip in call.sips_mut() {
                    sip.over = true;
                    self.by_invite.remove(&sip.invite);
                }
            }
            self.end(key, How::failed("The SIP side was lost", Some(503)), now);
            self.settle(key, now);
        }
    }

    /// Ends a call for its page, and puts everything else away. A second end changes nothing.
    pub(crate) fn end(&mut self, key: CallKey, how: How, now: Instant) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if call.stage == Stage::Ending {
            return;
        }
        call.stage = Stage::Ending;
        call.transfer = None;
        let following = call.following.take();
        call.tickets
            .extend(following.into_iter().flat_map(|f| f.tickets));
        call.end = Some(Ended {
            at: now,
            status: how.status.as_str().to_owned(),
            info: how.info.clone(),
            sip_status: how.sip_status,
            by: how.by.to_owned(),
        });
        let session = call.session;
        let id = call.id.clone();
        self.close_books(key, now);
        self.leaves_others_ringing(key);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let mut hangups = Vec::new();
        for sip in call.sips_mut().filter(|sip| !sip.over && !sip.hung_up) {
            if sip.placed {
                sip.hung_up = true;
                hangups.push(sip.invite);
            } else {
                sip.over = true;
            }
        }
        for invite in hangups {
            let status = how.refusal.clone();
            self.trunk(key.0, Trunk::Hangup { invite, status });
        }
        self.by_id.remove(&(session, id));
        for timer in [
            Timer::NoAnswer(key.0),
            Timer::Registration(key.0),
            Timer::Echo(key.0),
            Timer::Transfer(key.0),
            Timer::Following(key.0),
            Timer::Replaced(key.0),
        ] {
            self.timers.cancel(timer);
        }
        self.timers.set(Timer::Forget(key.0), now + FORGET);
        let call = &self.calls[&key];
        let mut object = self.object(call, how.status);
        object.info = Some(how.info.clone());
        object.sip_status = how.sip_status;
        object.sip_message_raw = how.raw;
        let id = call.id.clone();
        if how.status == CallStatus::Busy {
            self.send(session, ServerMessage::Busy(object.clone()));
        }
        self.send(session, ServerMessage::Finish(object));
        if how.status == CallStatus::Failed {
            let mut fail = Fail::event(ApiMethod::CallStatusEvent, how.info);
            fail.id = Some(id);
            fail.sip_status = how.sip_status;
            self.send(session, ServerMessage::Fail(fail));
        }
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let mut open = Vec::new();
        if !call.browser.closed {
            open.push(key.browser_leg());
        }
        if let FarLeg::Echo { closed: false, .. } = call.far {
            open.push(key.first_far_leg());
        }
        open.extend(call.ringback.take());
        for sip in call.sips_mut().filter(|sip| !sip.closed && !sip.closing) {
            sip.closing = true;
            open.push(sip.leg);
        }
        for leg in open {
            self.media(key, Media::CloseLeg { leg });
        }
        self.settle(key, now);
    }

    /// Writes the record once nothing is owed any more.
    pub(crate) fn settle(&mut self, key: CallKey, now: Instant) {
        self.tidy(key);
        if self.calls.get(&key).is_some_and(|c| c.is_settled()) {
            self.forget(key, now);
        }
    }

    pub(crate) fn forget(&mut self, key: CallKey, now: Instant) {
        self.timers.cancel(Timer::Forget(key.0));
        let Some(call) = self.calls.remove(&key) else {
            return;
        };
        self.by_session.remove(&(call.session, key));
        for sip in call.sips() {
            // One that rang several sessions is another call's now.
            if self.by_invite.get(&sip.invite) == Some(&key) {
                self.by_invite.remove(&sip.invite);
            }
        }
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let end = call.end.unwrap_or(Ended {
            at: now,
            status: String::new(),
            info: String::new(),
            sip_status: None,
            by: String::new(),
        });
        let direction = match (&call.far, call.incoming) {
            (FarLeg::Echo { .. }, _) => "echo",
            (FarLeg::Sip(_), true) => "incoming",
            (FarLeg::Sip(_), false) => "outgoing",
        };
        let plan = call.by_plan.map(|plan| *plan);
        let (route, number, attempts, emergency) = plan
            .map(|plan| (plan.route, plan.number, plan.tried, plan.emergency))
            .unwrap_or_default();
        let record = CallRecord {
            route,
            number,
            attempts,
            emergency,
            call_id: call.id,
            session: call.session.0,
            direction: direction.to_owned(),
            caller: call.caller,
            callee: call.callee,
            answered_after_ms: call
                .answered
                .map(|at| ms(at.saturating_duration_since(call.started))),
            ended_after_ms: ms(end.at.saturating_duration_since(call.started)),
            status: end.status,
            info: end.info,
            sip_status: end.sip_status,
            ended_by: end.by,
            browser: call.browser.stats,
            sip: match call.far {
                FarLeg::Sip(sip) => sip.stats,
                FarLeg::Echo { .. } => None,
            },
            other_sip: call
                .past_stats
                .into_iter()
                .chain(call.beside.into_iter().filter_map(|sip| sip.stats))
                .collect(),
            ..CallRecord::default()
        };
        self.output(Output::Record(Box::new(record)));
    }
}

/// Reason phrases of the responses we refuse with ourselves (RFC 3261 §21).
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        403 => "Forbidden",
        400 => "Bad Request",
        408 => "Request Timeout",
        404 => "Not Found",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        486 => "Busy Here",
        488 => "Not Acceptable Here",
        501 => "Not Implemented",
        500 => "Server Internal Error",
        503 => "Service Unavailable",
        603 => "Decline",
        _ => "Refused",
    }
}
