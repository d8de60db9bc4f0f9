//! The front door: tables of sessions and calls, and who gets which message.

use crate::api::{Config, Input, Link, Output, SessionId};
use crate::books::CallRate;
use crate::bridge::Bridge;
use crate::call::{Call, CallKey, FarLeg, NUMBERS_PER_CALL, Stage};
use crate::early::{Answered, Provisional};
use crate::follow::Referral;
use crate::incoming::Arrival;
use crate::limits::CONNECTION;
use crate::midcall::Offered;
use crate::ringing::Ringing;
use crate::session::{Admission, Proof, Rate, Session, Token};
use crate::timers::{Timer, Timers};
use media_control as media;
use serde::{Deserialize, Serialize};
use signaling_plan::{Ledger, MediaProfile, Plan, Ticket};
use signaling_protocol::call::{CallObject, CallStatus};
use signaling_protocol::connection::Fail;
use signaling_protocol::{ClientMessage, ServerMessage};
use signaling_sip::time::Instant;
use signaling_trunk::api::{self as trunk, AccountId, InviteId, Line};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Sessions and calls of one signaling process. Plain data: see [`Switchboard::snapshot`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Switchboard {
    pub(crate) config: Config,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) calls: BTreeMap<CallKey, Call>,
    /// The same by session, ending ones included.
    pub(crate) by_session: BTreeSet<(SessionId, CallKey)>,
    pub(crate) by_invite: BTreeMap<InviteId, CallKey>,
    /// Calls that their page still knows, by its own name for them.
    pub(crate) by_id: BTreeMap<(SessionId, String), CallKey>,
    /// Which session has an account now: a resumed one has another number than the one that opened it.
    pub(crate) by_account: BTreeMap<AccountId, SessionId>,
    /// Sessions that may be resumed, by the hash of their token.
    pub(crate) by_proof: BTreeMap<Proof, SessionId>,
    pub(crate) timers: Timers,
    /// Who may call whom, and how much of it.
    #[serde(default)]
    pub(crate) plan: Plan,
    #[serde(default)]
    pub(crate) ledger: Ledger,
    /// Lines of the operator's that can be used now.
    #[serde(default)]
    pub(crate) lines_up: BTreeSet<Line>,
    /// Calls from line to line.
    #[serde(default)]
    pub(crate) bridges: BTreeMap<CallKey, Bridge>,
    /// INVITEs of lines that ring several sessions.
    #[serde(default)]
    pub(crate) ringing: BTreeMap<InviteId, Ringing>,
    /// What INVITEs of lines are booked under.
    #[serde(default)]
    pub(crate) booked: BTreeMap<InviteId, Vec<Ticket>>,
    #[serde(default)]
    pub(crate) call_rate: CallRate,
    #[serde(default)]
    pub(crate) emergency_calls: u64,
    #[serde(default)]
    pub(crate) refused_calls: u64,
    /// Whether it was said that keys go over signalling in the clear.
    #[serde(default)]
    pub(crate) told_of_clear_keys: bool,
    pub(crate) media_up: bool,
    pub(crate) trunk_up: bool,
    pub(crate) shutting_down: bool,
    next_number: u64,
    #[serde(skip)]
    outputs: VecDeque<Output>,
}

/// Figures for the operator's metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub sessions: usize,
    pub calls: usize,
    /// Of these, from line to line.
    pub bridges: usize,
    pub echo_calls: usize,
    pub registered: usize,
    /// Calls to emergency numbers so far.
    pub emergency_calls: u64,
    /// Of these, such as began while more went on at once than the operator's alarm allows.
    pub emergency_alarms: u64,
    /// Calls refused so far for a limit.
    pub refused_calls: u64,
}

impl Switchboard {
    pub fn new(config: Config) -> Switchboard {
        let next_number = config.first_number.next_multiple_of(NUMBERS_PER_CALL);
        Switchboard {
            config,
            sessions: BTreeMap::new(),
            calls: BTreeMap::new(),
            by_session: BTreeSet::new(),
            by_invite: BTreeMap::new(),
            by_id: BTreeMap::new(),
            by_account: BTreeMap::new(),
            by_proof: BTreeMap::new(),
            timers: Timers::default(),
            plan: Plan::default(),
            ledger: Ledger::default(),
            lines_up: BTreeSet::new(),
            bridges: BTreeMap::new(),
            ringing: BTreeMap::new(),
            booked: BTreeMap::new(),
            call_rate: CallRate::default(),
            emergency_calls: 0,
            refused_calls: 0,
            told_of_clear_keys: false,
            media_up: false,
            trunk_up: false,
            shutting_down: false,
            next_number,
            outputs: VecDeque::new(),
        }
    }

    /// Everything, for another process to go on with. Holds tokens and ICE passwords: never logged, sealed
    /// where it leaves the process. Outputs must have been drained before.
    pub fn snapshot(&self) -> Vec<u8> {
        debug_assert!(
            self.outputs.is_empty(),
            "outputs are drained before a snapshot"
        );
        let mut bytes = Vec::new();
        ciborium::into_writer(self, &mut bytes).expect("plain data is always written to memory");
        bytes
    }

    pub fn restore(bytes: &[u8]) -> Result<Switchboard, String> {
        ciborium::from_reader(bytes).map_err(|error| error.to_string())
    }

    pub fn counts(&self) -> Counts {
        Counts {
            sessions: self.sessions.len(),
            calls: self
                .calls
                .values()
                .filter(|c| c.stage != Stage::Ending)
                .count()
                + self.live_bridges(),
            bridges: self.live_bridges(),
            echo_calls: self.echo_calls(),
            emergency_calls: self.emergency_calls,
            emergency_alarms: self.ledger.emergencies().1,
            refused_calls: self.refused_calls,
            registered: self
                .sessions
                .values()
                .filter(|s| {
                    s.user
                        .as_ref()
                        .is_some_and(|u| u.account == crate::session::Account::Registered)
                })
                .count(),
        }
    }

    /// What a line wants of sound.
    pub fn profile_of(&self, line: &Line) -> MediaProfile {
        match line {
            Line::Trunk(name) => self.plan.trunk_media.get(name).cloned().unwrap_or_default(),
            Line::Phone(_) => self.plan.phone_media.clone(),
        }
    }

    /// Whether new calls can be served: both links are up.
    pub fn is_ready(&self) -> bool {
        self.media_up && self.trunk_up && !self.shutting_down
    }

    /// No call, live or ending, and no session.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.bridges.is_empty() && self.sessions.is_empty()
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::SessionOpened {
                session,
                remote,
                token,
            } => self.open_session(session, remote, token, now),
            Input::Frame { session, message } => self.frame(session, message, now),
            Input::Unreadable { session, error } => self.unreadable(session, error, now),
            Input::SessionClosed { session } => self.session_closed(session, now),
            Input::RefuseCall {
                session,
                call_id,
                status,
                info,
            } => self.refuse_call(session, &call_id, status, &info, now),
            Input::Plan(plan) => {
                let alarm_after = plan.emergency.alarm_after;
                self.ledger.set_limits(&plan.limits, alarm_after);
                self.plan = *plan;
            }
            Input::Trunk(event) => self.trunk_event(event, now),
            Input::Media(event) => self.media_event(event, now),
            Input::TrunkLink(link) => self.trunk_link(link, now),
            Input::MediaLink(link) => self.media_link(link, now),
            Input::Shutdown => self.shut_down(now),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Connection(session) => self.connection_timed_out(SessionId(session)),
                Timer::Ping(session) => self.ping(SessionId(session), now),
                Timer::Registration(call) => self.registration_timed_out(CallKey(call), now),
                Timer::NoAnswer(call) if self.bridges.contains_key(&CallKey(call)) => {
                    self.bridge_rings_too_long(CallKey(call), now);
                }
                Timer::NoAnswer(call) => self.no_answer(CallKey(call), now),
                Timer::Transfer(call) => self.transfer_is_due(CallKey(call), now),
                Timer::Following(call) if self.bridges.contains_key(&CallKey(call)) => {
                    self.bridge_coming_timed_out(CallKey(call), now);
                }
                Timer::Replaced(call) if self.bridges.contains_key(&CallKey(call)) => {
                    self.bridge_asker_stays(CallKey(call), now);
                }
                Timer::Following(call) => self.following_timed_out(CallKey(call), now),
                Timer::Replaced(call) => self.hang_up_replaced(CallKey(call)),
                Timer::Echo(call) => self.echo_is_over(CallKey(call), now),
                Timer::Forget(call) if self.bridges.contains_key(&CallKey(call)) => {
                    self.bridge_is_overdue(CallKey(call), now);
                }
                Timer::Forget(call) => self.forget(CallKey(call), now),
                Timer::Ringback(call) => self.ring_back_now(CallKey(call), now),
                Timer::Parked(session) => self.give_up(SessionId(session), now),
            }
        }
    }

    fn open_session(
        &mut self,
        id: SessionId,
        remote: std::net::SocketAddr,
        token: String,
        now: Instant,
    ) {
        if self.sessions.len() >= self.config.max_sessions || self.shutting_down {
            self.outputs.push_back(Output::Close { session: id });
            return;
        }
        let session = Session {
            remote,
            proof: Proof::of(&token),
            token: Some(Token(token)),
            last_heard: now,
            rate: Rate::new(now),
            user: None,
            closing: false,
            parked: false,
            line_identity: None,
            approved: false,
        };
        self.sessions.insert(id, session);
        self.timers.set(Timer::Connection(id.0), now + CONNECTION);
    }

    fn frame(&mut self, id: SessionId, message: ClientMessage, now: Instant) {
        if !self.admit(id, now) {
            return;
        }
        match message {
            // Known only to be ignored, or not known at all.
            message if message.is_ignored() => {
                tracing::debug!(session = id.0, name = message.name(), "ignored")
            }
            ClientMessage::Pong => {}
            ClientMessage::Ping => self.send(id, ServerMessage::Pong),
            ClientMessage::Connection(connection) => self.connection(id, *connection, now),
            message if self.sessions.get(&id).is_none_or(|s| s.user.is_none()) => {
                let info = format!("{} came before connection", message.name());
                self.send(id, ServerMessage::Fail(Fail::error(info)));
            }
            ClientMessage::Call(call) => self.call(id, *call, now),
            ClientMessage::Answer(answer) => self.answer(id, *answer, now),
            ClientMessage::Hangup(hangup) => self.page_hangs_up(id, hangup.call_id.as_str(), now),
            ClientMessage::Hold(hold) => {
                let for_transfer = hold.hold_for_transfer.unwrap_or(false);
                self.hold(id, hold.call_id.as_str(), for_transfer);
            }
            ClientMessage::Unhold(unhold) => self.unhold(id, unhold.call_id.as_str()),
            ClientMessage::SendDtmf(dtmf) => self.send_dtmf(id, dtmf),
            ClientMessage::Transfer(transfer) => self.transfer(id, transfer, now),
            other => self.not_there_yet(id, other),
        }
    }

    fn unreadable(&mut self, id: SessionId, error: String, now: Instant) {
        if self.admit(id, now) {
            self.send(id, ServerMessage::Fail(Fail::error(error)));
        }
    }

    /// Any frame is life; too many are dropped.
    fn admit(&mut self, id: SessionId, now: Instant) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        if session.closing {
            return false;
        }
        session.last_heard = now;
        match session.rate.admit(now) {
            Admission::Take => true,
            Admission::Drop => false,
            Admission::Close => {
                self.send(id, ServerMessage::Fail(Fail::error("Too many messages")));
                self.close_session(id);
                false
            }
        }
    }

    fn trunk_event(&mut self, event: trunk::Event, now: Instant) {
        use trunk::Event;
        if let Some(key) = self.bridge_of_event(&event) {
            return self.bridge_trunk_event(key, event, now);
        }
        match event {
            Event::Registered { account, raw, .. } => self.registered(account, raw, now),
            Event::Unregistered { .. } => {}
            Event::RegistrationFailed {
                account,
                failure,
                retry_s,
            } => {
                self.registration_failed(account, failure, retry_s, now);
            }
            Event::Incoming {
                invite,
                account,
                from,
                to,
                sdp,
                source,
                raw,
                replaces,
                headers,
                by_line,
            } => {
                let arrival = Arrival {
                    invite,
                    account,
                    from,
                    to,
                    sdp,
                    source,
                    raw,
                    replaces,
                    headers,
                    line: by_line.as_ref().map(|by| by.line.clone()),
                };
                match by_line {
                    None => self.incoming(arrival, now),
                    Some(by) => self.incoming_by_line(arrival, *by, now),
                }
            }
            Event::Line { line, up, reason } => {
                tell_of_line(&line, up, &reason);
                if up {
                    self.lines_up.insert(line);
                } else {
                    self.lines_up.remove(&line);
                }
            }
            Event::Progress {
                invite,
                fork,
                status,
                reason,
                sdp,
                source,
                raw,
            } => {
                let provisional = Provisional {
                    invite,
                    fork,
                    status,
                    reason,
                    sdp,
                    source,
                    raw,
                };
                self.progress(provisional, now);
            }
            Event::Answered {
                invite,
                fork,
                status,
                reason: _,
                sdp,
                late,
                source,
                raw,
            } => {
                let answered = Answered {
                    invite,
                    fork,
                    status,
                    sdp,
                    late,
                    source,
                    raw,
                };
                self.answered(answered, now);
            }
            Event::Acknowledged { invite, sdp } => self.acknowledged(invite, sdp, now),
            Event::Offered {
                invite,
                offer,
                sdp,
                source,
                raw,
                fork,
            } => {
                let offered = Offered {
                    invite,
                    offer,
                    sdp,
                    source,
                    raw,
                    fork,
                };
                self.offered(offered, now);
            }
            Event::OfferAcknowledged { invite, offer, sdp } => {
                self.offer_acknowledged(invite, offer, sdp)
            }
            Event::OfferAnswered {
                invite,
                status,
                sdp,
                source,
                raw,
            } => {
                self.offer_answered(invite, status, sdp, source, raw);
            }
            Event::OfferRefused { invite, failure } => self.offer_refused(invite, failure),
            Event::ReferAccepted {
                invite,
                refer,
                status,
                raw,
            } => self.refer_accepted(invite, refer, status, raw),
            Event::ReferNotified {
                invite,
                refer,
                status,
                reason,
                over,
                raw,
            } => self.refer_notified(invite, refer, (status, &reason, over), raw, now),
            Event::ReferRefused {
                invite,
                refer,
                failure,
            } => self.refer_refused(invite, refer, failure),
            Event::Referred {
                invite,
                refer,
                target,
                replaces,
                referred_by,
                raw,
            } => {
                let referral = Referral {
                    invite,
                    refer,
                    target,
                    replaces,
                    referred_by,
                    raw,
                };
                self.referred(referral, now);
            }
            Event::Info {
                invite,
                content_type,
                body,
            } => self.info(invite, &content_type, &body),
            Event::InfoRefused { invite, failure } => self.info_refused(invite, &failure),
            Event::Ended { invite, end } => {
                self.arrival_ended(invite, now);
                self.trunk_ended(invite, end, now);
            }
        }
    }

    fn media_event(&mut self, event: media::Event, now: Instant) {
        use media::Event;
        if let Some(key) = self.bridge_of_media(&event) {
            return self.bridge_media_event(key, event, now);
        }
        match event {
            Event::LegCreated { leg, local } => self.leg_created(leg, local, now),
            Event::LegFailed { leg, reason } => self.leg_failed(leg, &reason, now),
            Event::LegClosed { leg, stats } => self.leg_closed(leg, stats, now),
            Event::MediaSilent { leg, seconds } => self.media_silent(leg, seconds, now),
            Event::KeyFrameWanted { leg } => self.key_frame_wanted(leg),
            Event::Digit { leg, digit, .. } => self.digit_heard(leg, digit),
            // Told for the record and the backend, who have no ear for them yet.
            Event::LegConnected { .. } | Event::MediaStarted { .. } | Event::Load(_) => {}
        }
    }

    fn media_link(&mut self, link: Link, now: Instant) {
        self.media_up = matches!(link, Link::Up { .. });
        match link {
            Link::Up { fresh: false } => {
                let keys = self.calls.keys().chain(self.bridges.keys());
                let groups = keys.map(|key| key.group()).collect();
                self.outputs.push_back(Output::Media {
                    key: 0,
                    command: media::Command::Retain { groups },
                });
            }
            Link::Up { fresh: true } | Link::Lost => {
                self.media_is_gone(now);
                self.bridges_lose_media(now);
            }
            Link::Down => {}
        }
    }

    fn trunk_link(&mut self, link: Link, now: Instant) {
        self.trunk_up = matches!(link, Link::Up { .. });
        match link {
            Link::Up { fresh: false } => {
                let accounts = self.accounts();
                let ringing = self.ringing.keys();
                let invites = self.by_invite.keys().chain(ringing).copied().collect();
                self.trunk(0, trunk::Command::Retain { accounts, invites });
            }
            Link::Up { fresh: true } => {
                self.trunk_is_gone(now);
                self.bridges_lose_trunk(now);
                self.close_unregistrable_sessions();
            }
            Link::Lost => {
                self.trunk_is_gone(now);
                self.bridges_lose_trunk(now);
            }
            Link::Down => {}
        }
    }

    fn accounts(&self) -> Vec<AccountId> {
        self.by_account.keys().copied().collect()
    }

    // What the other files say everything with.

    pub(crate) fn send(&mut self, session: SessionId, message: ServerMessage) {
        if self.sessions.get(&session).is_some_and(|s| !s.closing) {
            self.outputs.push_back(Output::Send { session, message });
        }
    }

    pub(crate) fn close_session(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id)
            && !session.closing
        {
            session.closing = true;
            self.outputs.push_back(Output::Close { session: id });
        }
    }

    /// `key` is a call's or an account's number; a call's commands go the way of its account's.
    pub(crate) fn trunk(&mut self, key: u64, command: trunk::Command) {
        let key = self
            .calls
            .get(&CallKey(key))
            .map_or(key, |call| call.trunk_lane);
        self.outputs.push_back(Output::Trunk { key, command });
    }

    pub(crate) fn media(&mut self, key: CallKey, command: media::Command) {
        self.outputs.push_back(Output::Media {
            key: key.0,
            command,
        });
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn new_key(&mut self) -> CallKey {
        let key = CallKey(self.next_number);
        self.next_number += NUMBERS_PER_CALL;
        key
    }

    pub(crate) fn call_of(&self, session: SessionId, id: &str) -> Option<CallKey> {
        self.by_id.get(&(session, id.to_owned())).copied()
    }

    pub(crate) fn echo_calls(&self) -> usize {
        self.calls
            .values()
            .filter(|c| matches!(c.far, FarLeg::Echo { .. }) && c.stage != Stage::Ending)
            .count()
    }

    pub(crate) fn live_calls(&self) -> usize {
        self.by_id.len() + self.live_bridges()
    }

    pub(crate) fn live_bridges(&self) -> usize {
        let live = |bridge: &&Bridge| !bridge.is_ending();
        self.bridges.values().filter(live).count()
    }

    /// The call object as pages are told it.
    pub(crate) fn object(&self, call: &Call, status: CallStatus) -> Box<CallObject> {
        let mut object = CallObject::new(signaling_protocol::CallId::new(call.id.clone()), status);
        object.incoming = Some(call.incoming);
        object.caller = Some(call.caller.clone());
        object.callee = Some(call.callee.clone());
        object.visible_name = Some(call.visible_name.clone());
        object.has_audio = Some(true);
        object.has_video = Some(call.has_pictures());
        object.is_msrp = Some(false);
        object.hold_for_transfer = Some(call.hold_for_transfer);
        object.custom = call.custom.clone();
        Box::new(object)
    }
}

/// The operator hears of trunks that come and go; phones do so all day.
fn tell_of_line(line: &Line, up: bool, reason: &str) {
    match (line, up) {
        (Line::Trunk(name), true) => tracing::info!("trunk {name} is up"),
        (Line::Trunk(name), false) => tracing::warn!("trunk {name} is down: {reason}"),
        (Line::Phone(user), true) => tracing::debug!("phone {user} is there"),
        (Line::Phone(user), false) => tracing::debug!("phone {user} is gone: {reason}"),
    }
}
