//! A page dials: `call`, its legs, the INVITE, and what comes back until the answer.

use crate::addresses;
use crate::admission::{Admitted, Refused, cut};
use crate::api::SessionId;
use crate::call::{Call, CallKey, FarLeg, NUMBERS_PER_CALL, SipLeg, Stage, Standing, Wish};
use crate::callee::{self, Callee};
use crate::connecting::info_of;
use crate::ending::How;
use crate::hunting::{ByPlan, What};
use crate::limits::{NO_ANSWER_OUTGOING, REGISTRATION};
use crate::negotiate::{SipLocal, answer_browser, codecs, pictures};
use crate::session::Account;
use crate::switchboard::Switchboard;
use crate::timers::Timer;
use media_control::{
    Codec, Command as Media, Direction, Face, Format, LegId, LegSpec, LocalTransport, Source,
};
use signaling_protocol::call::{CallStatus, SetRemoteSdp};
use signaling_protocol::connection::{ApiMethod, Fail};
use signaling_protocol::{CallStatusInfo, ServerMessage, call};
use signaling_sip::time::Instant;
use signaling_trunk::api::{Command as Trunk, Failure, InviteOptions, NO_ACCOUNT, Target};
use std::time::Duration;

impl Switchboard {
    pub(crate) fn call(&mut self, session: SessionId, message: call::Call, now: Instant) {
        let id = message.call_id.as_str().to_owned();
        if self.call_of(session, &id).is_some() {
            // The call that has this id goes on, so it must not be named as the one that failed.
            self.send(
                session,
                ServerMessage::Fail(Fail::error("MediaSessionId is already in use")),
            );
            return;
        }
        let Some(user) = self.sessions.get(&session).and_then(|s| s.user.clone()) else {
            return;
        };
        let key = self.new_key();
        let mut call = Call {
            trunk_lane: user.account_id.0,
            account: user.account_id,
            caller: self.own_number(session, &user.login),
            callee: cut(message.callee.as_deref().unwrap_or_default()),
            visible_name: cut(message.visible_name.as_deref().unwrap_or(&user.display)),
            custom: message.custom.clone(),
            ..Call::new(key, session, id.clone(), false, now)
        };
        // At once, before anything is known: until then the page's hangup tells us nothing.
        let trying = self.object(&call, CallStatus::Trying);
        self.send(session, ServerMessage::NotifyTryingResponse(trying));
        let admitted = self
            .admit_call(session, key, message, now)
            .and_then(|admitted| self.equip(&mut call, admitted, now));
        match admitted {
            Ok(()) => {
                self.make_legs(&call);
                self.by_id.insert((session, id), key);
                self.by_session.insert((session, key));
                self.calls.insert(key, call);
            }
            Err(refused) => {
                let mut object = self.object(&call, CallStatus::Failed);
                object.info = Some(refused.info.clone());
                object.sip_status = refused.sip_status;
                self.send(session, ServerMessage::Finish(object));
                let mut fail = Fail::event(ApiMethod::CallStatusEvent, refused.info);
                fail.id = Some(call.id);
                fail.sip_status = refused.sip_status;
                self.send(session, ServerMessage::Fail(fail));
            }
        }
    }

    /// Gives an admitted call its far side, and books it.
    fn equip(&mut self, call: &mut Call, admitted: Admitted, now: Instant) -> Result<(), Refused> {
        let Admitted {
            description,
            callee,
            extra,
            headers,
            route,
            params,
        } = admitted;
        call.browser.description = Some(description);
        let target = match callee {
            Callee::Echo => {
                call.far = FarLeg::Echo {
                    ready: false,
                    closed: false,
                };
                return Ok(());
            }
            Callee::Sip(target) => target,
        };
        let emergency = route.as_ref().is_some_and(|route| route.emergency);
        let ticket = self.book(&self.scopes_of(call.session), emergency, now)?;
        let key = call.key;
        let mut sip = SipLeg::new(key.first_far_leg(), key.invite(), None)
            .with_profile(self.plan.account_media.clone());
        match route {
            None => {
                sip.profile = self.plan.account_media.clone();
                sip.wish = Some(Wish {
                    target,
                    headers,
                    extra,
                    options: InviteOptions::default(),
                });
            }
            Some(route) => {
                let what = What {
                    params,
                    headers,
                    extra,
                };
                let mut plan = ByPlan::new(route, what);
                let (line, wish) = match self.next_way(&mut plan, now) {
                    Ok(way) => way,
                    Err(refused) => {
                        if let Some(ticket) = ticket {
                            self.ledger.ended(ticket, now);
                        }
                        return Err(refused);
                    }
                };
                if emergency {
                    let alarm = self.alarm(&call.caller, &plan.number, now);
                    call.tickets.push(alarm);
                }
                call.trunk_lane = key.0;
                call.account = NO_ACCOUNT;
                call.by_plan = Some(Box::new(plan));
                sip.profile = self.profile_of(&line);
                sip.line = Some(line);
                sip.wish = Some(wish);
            }
        }
        call.tickets.extend(ticket);
        call.far = FarLeg::Sip(Box::new(sip));
        Ok(())
    }

    /// What a page's calls are told to come from.
    fn own_number(&self, session: SessionId, login: &str) -> String {
        let identity = self
            .sessions
            .get(&session)
            .and_then(|s| s.line_identity.as_ref());
        match identity {
            Some(identity) if login.is_empty() => identity.number.clone(),
            _ => login.to_owned(),
        }
    }

    /// The name beside the number: on the operator's lines the one that the application gave, not the page's own.
    pub(crate) fn shown_by(&self, session: SessionId, line: bool, own: &str) -> String {
        if !line {
            return own.to_owned();
        }
        let identity = self
            .sessions
            .get(&session)
            .and_then(|s| s.line_identity.as_ref());
        identity
            .map(|identity| identity.display.clone())
            .unwrap_or_default()
    }

    pub(crate) fn make_legs(&mut self, call: &Call) {
        let key = call.key;
        let make = |leg: LegId, spec: LegSpec| Media::CreateLeg {
            leg,
            group: key.group(),
            spec,
        };
        self.media(
            key,
            make(
                key.browser_leg(),
                LegSpec::WebRtc {
                    face: Face::Outside,
                },
            ),
        );
        let far = match &call.far {
            FarLeg::Echo { .. } => LegSpec::Source(Source::Echo),
            FarLeg::Sip(sip) => sip.spec(call.wants_pictures()),
        };
        self.media(key, make(key.first_far_leg(), far));
    }

    pub(crate) fn leg_created(&mut self, leg: LegId, local: LocalTransport, now: Instant) {
        let key = CallKey::of_leg(leg);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let session = self.sessions.get(&call.session);
        if leg == key.browser_leg() {
            call.browser.local = Some(match session {
                Some(session) => addresses::for_page(local, session.remote.ip()),
                None => local,
            });
        } else {
            match (&mut call.far, local) {
                (FarLeg::Echo { ready, .. }, _) => *ready = true,
                (
                    FarLeg::Sip(_),
                    LocalTransport::Rtp {
                        rtp,
                        sdes,
                        video,
                        ice,
                    },
                ) => {
                    let known = session
                        .and_then(|s| s.user.as_ref())
                        .and_then(|u| u.sip_peer);
                    let source = call
                        .sips()
                        .find(|sip| sip.leg == leg)
                        .and_then(|s| s.source);
                    let near = source.or(known);
                    let video = call.video_local(&video, near);
                    let Some(sip) = call.sips_mut().find(|sip| sip.leg == leg) else {
                        return;
                    };
                    let Some(address) = addresses::nearest(&rtp, near) else {
                        return;
                    };
                    let extra = sip
                        .wish
                        .as_mut()
                        .map(|w| std::mem::take(&mut w.extra))
                        .unwrap_or_default();
                    let session_id = leg.0 + NUMBERS_PER_CALL;
                    sip.local = Some(SipLocal {
                        extra,
                        video,
                        ..SipLocal::new(address, session_id, sip.profile.clone(), &sdes)
                            .with_ice(ice)
                    });
                }
                (FarLeg::Sip(_), _) => return,
            }
        }
        if leg != key.browser_leg() && leg != key.first_far_leg() {
            return self.later_leg_created(key, leg, now);
        }
        if !call.legs_ready() || call.stage != Stage::AwaitingLegs {
            return;
        }
        match (&call.far, call.incoming) {
            (FarLeg::Echo { .. }, _) => self.echo(key, now),
            (FarLeg::Sip(_), true) => self.announce(key, now),
            (FarLeg::Sip(_), false) => self.place(key, now),
        }
    }

    /// Our own echo: answered as soon as the legs are there.
    fn echo(&mut self, key: CallKey, now: Instant) {
        let policy = self.config.codec_policy;
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let Some(description) = &call.browser.description else {
            return;
        };
        // What goes round comes back as it went, so the browser's own first choice is right.
        let formats = codecs::for_browser(policy, &description.formats, &description.formats);
        call.browser.formats = formats;
        if let Some(page) = call
            .browser
            .description
            .as_ref()
            .and_then(|d| d.pictures.as_ref())
        {
            let shown = pictures::for_page(&page.formats, &page.formats);
            call.browser.formats.extend(shown);
        }
        self.answer_page(key, None, now);
        self.join(key, key.first_far_leg());
        let seconds = u64::from(self.config.max_echo_seconds);
        self.timers
            .set(Timer::Echo(key.0), now + Duration::from_secs(seconds));
        self.establish(key, Some(200), None, now);
    }

    pub(crate) fn echo_is_over(&mut self, key: CallKey, now: Instant) {
        let info = format!("Echo calls last {} s at most", self.config.max_echo_seconds);
        self.end(key, How::gateway(&info, None), now);
    }

    /// Sends the INVITE, or lets it wait for the registration.
    fn place(&mut self, key: CallKey, now: Instant) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        if call.by_plan.is_some() {
            return self.invite(key, now);
        }
        let account = self
            .sessions
            .get(&call.session)
            .and_then(|s| s.user.as_ref())
            .map(|u| u.account);
        match account {
            Some(Account::Registering) => {
                self.stage(key, Stage::AwaitingRegistration);
                self.timers
                    .set(Timer::Registration(key.0), now + REGISTRATION);
            }
            Some(Account::Open | Account::Registered | Account::Retrying) => self.invite(key, now),
            Some(Account::None | Account::Failed) | None => {
                self.end(
                    key,
                    How::failed("The SIP account could not be registered", None),
                    now,
                );
            }
        }
    }

    pub(crate) fn invite(&mut self, key: CallKey, now: Instant) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let by_line = call.sip().is_some_and(|sip| sip.line.is_some());
        let display = self.shown_by(call.session, by_line, &call.visible_name);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let account = call.account;
        let ring_s = call.ring_s();
        let Some(browser) = call.browser.description.as_ref().map(|d| d.formats.clone()) else {
            return;
        };
        let Some(sip) = call.sip_mut() else { return };
        let (Some(local), Some(wish)) = (&sip.local, sip.wish.take()) else {
            return;
        };
        sip.offered = codecs::own_for(&sip.profile, &browser);
        let sdp = sip.first_offer(local, Direction::SendRecv);
        sip.placed = true;
        let invite = sip.invite;
        self.by_invite.insert(invite, key);
        self.stage(key, Stage::Calling);
        // Over all ways that are tried.
        if !self.timers.is_set(Timer::NoAnswer(key.0)) {
            let patience = ring_s.map_or(NO_ANSWER_OUTGOING, Duration::from_secs);
            self.timers.set(Timer::NoAnswer(key.0), now + patience);
        }
        self.trunk(
            key.0,
            Trunk::Invite {
                invite,
                account,
                target: wish.target,
                from_display: display,
                headers: wish.headers,
                sdp,
                options: Box::new(wish.options),
            },
        );
    }

    pub(crate) fn place_waiting_calls(&mut self, session: SessionId, now: Instant) {
        for key in self.waiting_calls(session) {
            self.timers.cancel(Timer::Registration(key.0));
            match self.route_registered(key, now) {
                Ok(()) => self.invite(key, now),
                Err(refused) => self.end(key, How::failed(&refused.info, refused.sip_status), now),
            }
        }
    }

    /// A call that waited for the registration: now it is known who calls, and so whether the dial plan is asked.
    fn route_registered(&mut self, key: CallKey, now: Instant) -> Result<(), Refused> {
        let Some(call) = self.calls.get(&key) else {
            return Ok(());
        };
        let (session, dialled) = (call.session, callee::dialled(call.callee.trim()));
        let Some(caller) = self.by_plan_as(session) else {
            return Ok(());
        };
        let route = self.way(&caller, &dialled, key)?;
        if route.emergency {
            let who = self.calls.get(&key).map(|call| call.caller.clone());
            let alarm = self.alarm(&who.unwrap_or_default(), &route.number, now);
            if let Some(call) = self.calls.get_mut(&key) {
                call.tickets.push(alarm);
            }
        }
        let Some(wish) = self
            .calls
            .get_mut(&key)
            .and_then(Call::sip_mut)
            .and_then(|sip| sip.wish.take())
        else {
            return Ok(());
        };
        let params = match wish.target {
            Target::User { params, .. } | Target::Uri { params, .. } => params,
        };
        let what = What {
            params,
            headers: wish.headers,
            extra: wish.extra,
        };
        let mut plan = ByPlan::new(route, what);
        let (line, wish) = self.next_way(&mut plan, now)?;
        let profile = self.profile_of(&line);
        let Some(call) = self.calls.get_mut(&key) else {
            return Ok(());
        };
        call.trunk_lane = key.0;
        call.account = NO_ACCOUNT;
        call.by_plan = Some(Box::new(plan));
        if let Some(sip) = call.sip_mut() {
            sip.goes_by(profile);
            sip.line = Some(line);
            sip.wish = Some(wish);
        }
        Ok(())
    }

    pub(crate) fn fail_waiting_calls(
        &mut self,
        session: SessionId,
        failure: &Failure,
        now: Instant,
    ) {
        for key in self.waiting_calls(session) {
            self.end(
                key,
                How::failed(
                    &info_of(failure),
                    (failure.status != 0).then_some(failure.status),
                ),
                now,
            );
        }
    }

    pub(crate) fn registration_timed_out(&mut self, key: CallKey, now: Instant) {
        if self
            .calls
            .get(&key)
            .is_some_and(|c| c.stage == Stage::AwaitingRegistration)
        {
            self.end(
                key,
                How::failed(CallStatusInfo::FailedByRequestTimeout.as_str(), Some(408)),
                now,
            );
        }
    }

    fn waiting_calls(&self, session: SessionId) -> Vec<CallKey> {
        let waits = |key: &CallKey| {
            let call = self.calls.get(key);
            call.is_some_and(|c| c.stage == Stage::AwaitingRegistration)
        };
        self.with_ending(session).filter(waits).collect()
    }

    /// The browser's one answer, and media told of it.
    pub(crate) fn answer_page(&mut self, key: CallKey, narrow: Option<u32>, now: Instant) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let (Some(description), Some(local)) = (&call.browser.description, &call.browser.local)
        else {
            return;
        };
        let answer = answer_browser(description, local, &call.browser.formats, narrow, key.0 + 1);
        let remote = description.remote(call.browser.formats.clone());
        let (session, id) = (call.session, call.id.clone());
        match answer {
            Ok(sdp) => {
                self.media(
                    key,
                    Media::ConnectLeg {
                        leg: key.browser_leg(),
                        remote,
                    },
                );
                self.send(
                    session,
                    ServerMessage::SetRemoteSdp(SetRemoteSdp {
                        id,
                        sdp,
                        initiator: true,
                    }),
                );
            }
            Err(error) => self.end(key, How::failed(&error.to_string(), Some(488)), now),
        }
    }

    /// Joins the browser's leg with another one, instead of whom it was joined with before.
    pub(crate) fn join(&mut self, key: CallKey, leg: LegId) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if call.joined == Some(leg) {
            return;
        }
        self.part(key);
        if let Some(call) = self.calls.get_mut(&key) {
            call.joined = Some(leg);
        }
        let a = key.browser_leg();
        self.media(key, Media::Join { a, b: leg });
    }

    /// Parts the browser's leg from whom it was joined with; a ringback is over then.
    pub(crate) fn part(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let ringback = call.ringback.take();
        let (a, joined) = (key.browser_leg(), call.joined.take());
        if let Some(b) = joined {
            self.media(key, Media::Part { a, b });
        }
        if let Some(leg) = ringback {
            self.media(key, Media::CloseLeg { leg });
        }
    }

    pub(crate) fn establish(
        &mut self,
        key: CallKey,
        sip_status: Option<u16>,
        raw: Option<String>,
        now: Instant,
    ) {
        self.timers.cancel(Timer::NoAnswer(key.0));
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if call.stage == Stage::Ending {
            return;
        }
        call.stage = Stage::Established;
        call.answered = Some(now);
        let invite = call.sip().map(|sip| sip.invite);
        self.booked_answered(key, now);
        if let Some(invite) = invite {
            self.arrival_answered(invite, now);
        }
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if let Some(sip) = call.sip_mut() {
            sip.standing = Standing::Answered;
            sip.early.clear();
            sip.held_by_peer = sip
                .description
                .as_ref()
                .is_some_and(|theirs| theirs.holds());
        }
        let session = call.session;
        let call = &self.calls[&key];
        let mut object = self.object(call, CallStatus::Established);
        object.sip_status = sip_status;
        object.sip_message_raw = raw;
        self.send(session, ServerMessage::Talk(object));
    }

    pub(crate) fn stage(&mut self, key: CallKey, stage: Stage) {
        if let Some(call) = self.calls.get_mut(&key) {
            call.stage = stage;
        }
    }
}

/// The bandwidth worth asking of an Opus sender whose sound is transcoded to `far`, in Hz of sampling.
pub(crate) fn narrow(browser: Option<&Codec>, far: Option<&Format>) -> Option<u32> {
    if browser != Some(&Codec::Opus) {
        return None;
    }
    match far?.codec {
        Codec::Pcmu | Codec::Pcma => Some(8000),
        Codec::G722 => Some(16000),
        _ => None,
    }
}
