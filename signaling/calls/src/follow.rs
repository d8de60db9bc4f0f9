//! A transfer that the far side asks for, by REFER (RFC 3515) or by an INVITE with Replaces (RFC 3891): the SIP leg
//! is exchanged for another one in the same media group, and the browser's leg notices nothing (protocol §2.8).

use crate::admission::Refused;
use crate::call::{
    Call, CallKey, FarLeg, Following, LATER_LEGS, Party, Reoffer, SipLeg, Stage, Standing, Wish,
};
use crate::callee::{self, Callee};
use crate::ending::How;
use crate::hunting::{ByPlan, What};
use crate::incoming::Arrival;
use crate::limits::{NO_ANSWER_OUTGOING, REPLACED};
use crate::midcall::ours;
use crate::negotiate::{NegotiationError, answer_sip, codecs, offer_sip, read_offer};
use crate::switchboard::Switchboard;
use crate::timers::Timer;
use crate::transfer::{Told, transfer_event};
use media_control::{Command as Media, Direction, LegId};
use signaling_plan::Ticket;
use signaling_protocol::ServerMessage;
use signaling_protocol::transfer::TransferStatus;
use signaling_sip::message::unescape;
use signaling_sip::time::Instant;
use signaling_trunk::api::{
    Command as Trunk, End, InviteId, InviteOptions, Line, NO_ACCOUNT, ReferId, Refusal, Target,
};
use std::net::SocketAddr;

/// What a REFER of theirs says.
pub(crate) struct Referral {
    pub invite: InviteId,
    pub refer: ReferId,
    pub target: String,
    pub replaces: Option<String>,
    pub referred_by: Option<String>,
    pub raw: String,
}

/// How to call whom a REFER names.
struct FollowBy {
    line: Option<Line>,
    wish: Wish,
    tickets: Vec<Ticket>,
}

impl Switchboard {
    /// Takes their REFER and makes a leg for the new party, or refuses it.
    pub(crate) fn referred(&mut self, referral: Referral, now: Instant) {
        let (invite, refer) = (referral.invite, referral.refer);
        let known = self.by_invite.get(&invite).copied();
        match known.ok_or(481).and_then(|key| {
            let target = self.may_follow(key, &referral)?;
            Ok((key, self.follow_by(key, &referral, target, now)?))
        }) {
            Ok((key, way)) => self.follow(key, referral, way),
            Err(status) => {
                let key = known.map_or(invite.0, |key| key.0);
                self.trunk(
                    key,
                    Trunk::RefuseRefer {
                        invite,
                        refer,
                        status,
                    },
                );
            }
        }
    }

    fn may_follow(&self, key: CallKey, referral: &Referral) -> Result<Target, u16> {
        let call = self.calls.get(&key).ok_or(481_u16)?;
        let answered = |sip: &SipLeg| sip.standing == Standing::Answered;
        if call.stage != Stage::Established
            || !call.is_current(referral.invite)
            || !call.sip().is_some_and(answered)
        {
            return Err(481);
        }
        if !self.config.follow_refer || call.later_legs >= LATER_LEGS {
            return Err(603);
        }
        // One thing after the other: they may ask again.
        if call.following.is_some() || call.transfer.is_some() {
            return Err(491);
        }
        let has_account = call.account == NO_ACCOUNT || self.by_account.contains_key(&call.account);
        if self.shutting_down || !self.media_up || !self.trunk_up || !has_account {
            return Err(503);
        }
        match callee::read(&referral.target, Vec::new()) {
            Ok(Callee::Sip(target @ Target::Uri { .. })) => Ok(target),
            Ok(_) | Err(_) => Err(400),
        }
    }

    /// The way to whom a REFER names: it is the page that calls there, so what the page may not call is refused. By
    /// the plan where the call or the session is governed by it, else by the account's PBX; booked in both cases.
    fn follow_by(
        &mut self,
        key: CallKey,
        referral: &Referral,
        target: Target,
        now: Instant,
    ) -> Result<FollowBy, u16> {
        let call = self.calls.get(&key).ok_or(481_u16)?;
        let (session, by_line) = (call.session, call.account == NO_ACCOUNT);
        let caller = match by_line {
            true => self.caller_of(session),
            false => self.by_plan_as(session),
        };
        let status = |refused: Refused| refused.sip_status.unwrap_or(603);
        let mut options = InviteOptions {
            replaces: referral.replaces.clone(),
            referred_by: referral.referred_by.clone(),
            ..InviteOptions::default()
        };
        let Some(caller) = caller else {
            let ticket = self
                .book(&self.scopes_of(session), false, now)
                .map_err(status)?;
            let wish = Wish {
                target,
                headers: Vec::new(),
                extra: Vec::new(),
                options,
            };
            return Ok(FollowBy {
                line: None,
                wish,
                tickets: ticket.into_iter().collect(),
            });
        };
        let route = self
            .way(&caller, &callee::dialled(&referral.target), key)
            .map_err(status)?;
        // Nobody calls for help in another's name.
        if route.emergency {
            return Err(403);
        }
        let mut tickets: Vec<_> = self
            .book(&self.scopes_of(session), false, now)
            .map_err(status)?
            .into_iter()
            .collect();
        let mut plan = ByPlan::new(route, What::default());
        match self.next_way(&mut plan, now) {
            Ok((line, mut wish)) => {
                options.line = wish.options.line.take();
                options.identity = std::mem::take(&mut wish.options.identity);
                options.attempt_ms = wish.options.attempt_ms;
                options.tell_redirects = true;
                wish.options = options;
                tickets.extend(plan.line_ticket);
                Ok(FollowBy {
                    line: Some(line),
                    wish,
                    tickets,
                })
            }
            Err(refused) => {
                self.give_back(tickets, now);
                Err(status(refused))
            }
        }
    }

    fn follow(&mut self, key: CallKey, referral: Referral, way: FollowBy) {
        let Referral {
            invite,
            refer,
            target: uri,
            raw,
            ..
        } = referral;
        let FollowBy {
            line,
            wish,
            tickets,
        } = way;
        let by_line = line.as_ref().map(|line| self.profile_of(line));
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        call.later_legs += 1;
        let leg = key.later_leg(call.later_legs);
        let coming = key.later_invite(call.later_legs);
        let profile = by_line.unwrap_or_else(|| call.profile());
        let mut sip = SipLeg::new(leg, coming, Some(wish)).with_profile(profile);
        sip.line = line;
        call.beside.push(sip);
        call.following = Some(Following {
            refer,
            from: invite,
            invite: coming,
            party: Party {
                user: user_of(&uri),
                display: String::new(),
                uri: Some(uri),
            },
            told: 100,
            tickets,
        });
        let session = call.session;
        self.by_invite.insert(coming, key);
        self.trunk(key.0, Trunk::AcceptRefer { invite, refer });
        self.make_later_leg(key, leg);
        let told = Told {
            raw: Some(raw),
            ..Told::default()
        };
        let call = &self.calls[&key];
        // Only a page of API 1.0 has a use for it (its OnTransferEvent).
        if self.is_old_page(call) {
            let event = transfer_event(call, true, TransferStatus::Pending, told.clone());
            self.send(session, ServerMessage::NotifyTransferEvent(event));
        }
        self.hook_following(key, TransferStatus::Accepted, told);
    }

    /// A page of the generation before 2.0. What the SDK of rooms calls 0.5 is newer than that.
    fn is_old_page(&self, call: &Call) -> bool {
        let user = self
            .sessions
            .get(&call.session)
            .and_then(|s| s.user.as_ref());
        let version = user.and_then(|user| user.data.client_version.as_deref());
        let is_new = |version: &str| version.starts_with("2.") || version.starts_with("0.5.");
        version.is_some_and(|version| !is_new(version)) && !call.page_is_new
    }

    fn hook_following(&mut self, key: CallKey, status: TransferStatus, told: Told) {
        if let Some(call) = self.calls.get(&key) {
            let event = transfer_event(call, true, status, told);
            self.hook_transfer(call.session, event);
        }
    }

    pub(crate) fn make_later_leg(&mut self, key: CallKey, leg: LegId) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let Some(sip) = call.sips().find(|sip| sip.leg == leg) else {
            return;
        };
        let spec = sip.spec(call.wants_pictures());
        let group = key.group();
        self.media(key, Media::CreateLeg { leg, group, spec });
    }

    /// The new leg is there: its INVITE goes out, or the one that came is answered.
    pub(crate) fn later_leg_created(&mut self, key: CallKey, leg: LegId, now: Instant) {
        let call = self.calls.get(&key);
        let Some(sip) = call.and_then(|c| c.sips().find(|sip| sip.leg == leg)) else {
            return;
        };
        let (invite, theirs) = (sip.invite, sip.replaces.is_some());
        if sip.standing != Standing::New || sip.hung_up || sip.closing {
            return;
        }
        if call.is_some_and(|call| call.stage == Stage::Calling && call.is_current(invite)) {
            return self.invite(key, now);
        }
        if theirs {
            if let Err(error) = self.accept_replacing(key, invite, now) {
                tracing::info!(call = key.0, %error, "an INVITE with Replaces cannot be answered");
                self.drop_leg(key, invite, refusal(488, "Not Acceptable Here"));
            }
        } else {
            self.place_followed(key, invite, now);
        }
    }

    fn place_followed(&mut self, key: CallKey, invite: InviteId, now: Instant) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let user = self
            .sessions
            .get(&call.session)
            .and_then(|s| s.user.as_ref());
        let own = user.map(|user| user.display.clone()).unwrap_or_default();
        let by_line = call.by_invite(invite).is_some_and(|sip| sip.line.is_some());
        let account = if by_line { NO_ACCOUNT } else { call.account };
        let from_display = self.shown_by(call.session, by_line, &own);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let browser = call.browser.formats.clone();
        // Held by the page, the new party is held from the start.
        let held = call.sip().is_some_and(wants_hold);
        let Some(sip) = call.by_invite_mut(invite) else {
            return;
        };
        let (Some(local), Some(wish), false) = (&sip.local, sip.wish.take(), sip.placed) else {
            return;
        };
        sip.offered = codecs::own_for(&sip.profile, &browser);
        sip.held_by_us = held;
        sip.placed = true;
        let sdp = sip.first_offer(local, direction(held));
        self.timers
            .set(Timer::Following(key.0), now + NO_ANSWER_OUTGOING);
        self.trunk(
            key.0,
            Trunk::Invite {
                invite,
                account,
                target: wish.target,
                from_display,
                headers: wish.headers,
                sdp,
                options: Box::new(wish.options),
            },
        );
        self.hook_following(key, TransferStatus::Trying, Told::default());
    }

    /// Tells who asked how it fares, once for each status.
    fn notify(&mut self, key: CallKey, status: u16, reason: &str) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let Some(following) = call.following.as_mut() else {
            return;
        };
        if following.told == status {
            return;
        }
        following.told = status;
        let (invite, refer) = (following.from, following.refer);
        // Whoever asked may have hung up already; then nobody listens.
        if call
            .by_invite(invite)
            .is_none_or(|sip| sip.over || sip.hung_up)
        {
            return;
        }
        let reason = reason.to_owned();
        self.trunk(
            key.0,
            Trunk::NotifyRefer {
                invite,
                refer,
                status,
                reason,
            },
        );
    }

    pub(crate) fn followed_progress(
        &mut self,
        key: CallKey,
        invite: InviteId,
        status: u16,
        reason: &str,
    ) {
        let following = self.calls.get(&key).and_then(|c| c.following.as_ref());
        if following.is_none_or(|f| f.invite != invite || f.told == status) {
            return;
        }
        self.notify(key, status, reason);
        let status = TransferStatus::from_sipfrag(status, reason);
        self.hook_following(key, status, Told::default());
    }

    /// The new party answered: it takes the place of the one who asked.
    pub(crate) fn followed_answer(&mut self, key: CallKey, invite: InviteId, now: Instant) {
        self.timers.cancel(Timer::Following(key.0));
        self.swap(key, invite);
        self.notify(key, 200, "OK");
        let following = self.calls.get_mut(&key).and_then(|c| c.following.take());
        if let Some(following) = following {
            for ticket in &following.tickets {
                self.ledger.answered(*ticket, now);
            }
            if let Some(call) = self.calls.get_mut(&key) {
                call.tickets.extend(following.tickets);
            }
            self.now_with(key, following.party);
            self.hook_following(key, TransferStatus::Completed, Told::default());
        }
        self.timers.set(Timer::Replaced(key.0), now + REPLACED);
    }

    /// The new party cannot be had: the call goes on as it was, or, if who asked has left, it is over.
    pub(crate) fn followed_failed(
        &mut self,
        key: CallKey,
        status: u16,
        reason: &str,
        now: Instant,
    ) {
        self.timers.cancel(Timer::Following(key.0));
        self.notify(key, status, reason);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let Some(following) = call.following.take() else {
            return;
        };
        self.give_back(following.tickets.clone(), now);
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let info = signaling_protocol::info::sip_failure(status, reason);
        let told = Told {
            info: Some(info.clone()),
            ..Told::default()
        };
        let left_alone = call.is_current(following.invite);
        self.hook_following(key, TransferStatus::Failed, told);
        if left_alone {
            self.end(key, How::refused(&self.config, status, &info), now);
        } else {
            self.drop_leg(key, following.invite, None);
        }
    }

    pub(crate) fn following_timed_out(&mut self, key: CallKey, now: Instant) {
        self.followed_failed(key, 408, "Request Timeout", now);
    }

    /// Who asked hung up before the new party answered: the page waits for that, and hears it ring.
    pub(crate) fn asker_has_left(&mut self, key: CallKey, invite: InviteId, now: Instant) -> bool {
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        let coming = match &call.following {
            Some(following) if following.from == invite => following.invite,
            _ => return false,
        };
        if call.stage != Stage::Established || !call.is_current(invite) {
            return false;
        }
        let Some(leg) = self.exchange(key, coming) else {
            return false;
        };
        let call = self.calls.get(&key);
        let heard = call
            .and_then(|c| c.sip())
            .is_some_and(|sip| sip.heard.is_some());
        if heard {
            self.join(key, leg);
        } else {
            self.part(key);
            self.ring_back(key, now);
        }
        self.close_replaced(key);
        true
    }

    /// An INVITE for the place of a leg of ours, whose rights the trunk has checked.
    pub(crate) fn asks_to_replace(&mut self, arrival: Arrival, replaced: InviteId) {
        let refused = self.may_replace(&arrival, replaced);
        let replaced_call = self.by_invite.get(&replaced);
        let replaced_call = replaced_call.and_then(|key| self.calls.get(key));
        let profile = replaced_call.map(Call::profile).unwrap_or_default();
        let read = |sdp| read_offer(sdp, &profile);
        let description = arrival.sdp.as_deref().map(read).transpose();
        let (key, description) = match (refused, description) {
            (Ok(key), Ok(description)) => (key, description),
            (Err(status), _) => return self.refuse_arrival(&arrival, status),
            (Ok(_), Err(_)) => return self.refuse_arrival(&arrival, 488),
        };
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        call.later_legs += 1;
        let leg = key.later_leg(call.later_legs);
        let mut sip = SipLeg::new(leg, arrival.invite, None).with_profile(call.profile());
        sip.line.clone_from(&arrival.line);
        sip.placed = true;
        sip.description = description;
        sip.source = Some(arrival.source.ip());
        sip.replaces = Some(replaced);
        sip.party = Some(Party {
            user: arrival.from.user,
            display: arrival.from.display,
            uri: Some(arrival.from.uri),
        });
        call.beside.push(sip);
        self.by_invite.insert(arrival.invite, key);
        self.make_later_leg(key, leg);
    }

    fn may_replace(&self, arrival: &Arrival, replaced: InviteId) -> Result<CallKey, u16> {
        let key = *self.by_invite.get(&replaced).ok_or(481_u16)?;
        let call = self.calls.get(&key).ok_or(481_u16)?;
        // RFC 3891 §3: a call that stands, or one of ours that still rings there.
        let stands = match call.stage {
            Stage::Established => call.sip().is_some_and(|s| s.standing == Standing::Answered),
            Stage::Calling => true,
            Stage::AwaitingLegs | Stage::AwaitingRegistration | Stage::Ringing | Stage::Ending => {
                false
            }
        } && call.is_current(replaced);
        // Two that want the same place: the first gets it.
        let line = call.sip().and_then(|sip| sip.line.as_ref());
        let wanted = call.beside.iter().any(|sip| sip.replaces == Some(replaced));
        if !stands || wanted || call.account != arrival.account || line != arrival.line.as_ref() {
            return Err(481);
        }
        if self.shutting_down || !self.media_up {
            return Err(503);
        }
        if call.later_legs >= LATER_LEGS {
            return Err(603);
        }
        Ok(key)
    }

    fn refuse_arrival(&mut self, arrival: &Arrival, status: u16) {
        let reason = crate::ending::reason(status);
        self.trunk(
            arrival.account.0,
            Trunk::Hangup {
                invite: arrival.invite,
                status: refusal(status, reason),
            },
        );
    }

    /// Answers at once, without a ring: to the page it is the same call.
    fn accept_replacing(
        &mut self,
        key: CallKey,
        invite: InviteId,
        now: Instant,
    ) -> Result<(), NegotiationError> {
        let Some(call) = self.calls.get(&key) else {
            return Ok(());
        };
        // One that still rings may have left the browser without an answer.
        let theirs = call
            .by_invite(invite)
            .and_then(|sip| sip.description.as_ref());
        let likely = match theirs {
            Some(theirs) => theirs.formats.clone(),
            None => self.likely(key),
        };
        let theirs = theirs.cloned();
        self.settle_browser(key, &likely, theirs.as_ref(), now);
        let Some(call) = self.calls.get_mut(&key) else {
            return Ok(());
        };
        let rings = call.stage == Stage::Calling;
        let held = call.sip().is_some_and(wants_hold);
        let browser = call.browser.formats.clone();
        let sends = codecs::speech(&browser).map(|f| f.codec.clone());
        let Some(sip) = call.by_invite_mut(invite) else {
            return Ok(());
        };
        let Some(local) = &sip.local else {
            return Err(NegotiationError::Incomplete("SIP leg"));
        };
        sip.held_by_us = held;
        let party = sip.party.take();
        let source = sip.source;
        let sdp = match sip.description.take() {
            Some(theirs) => {
                let chosen = codecs::for_sip(&theirs.formats, sends.as_ref());
                let sdp = answer_sip(local, &theirs, &chosen, ours(held, theirs.direction))?;
                sip.held_by_peer = theirs.holds();
                if let Some(source) = source {
                    let source = SocketAddr::new(source, 0);
                    self.connect_sip(key, invite, theirs, chosen, source);
                }
                sdp
            }
            // They want our offer: their answer comes with the ACK.
            None => {
                sip.offered = codecs::own_for(&sip.profile, &browser);
                offer_sip(local, &sip.offered, direction(held))
            }
        };
        self.trunk(key.0, Trunk::Accept { invite, sdp });
        self.forget_following(key, now);
        self.swap(key, invite);
        if let Some(party) = party {
            self.now_with(key, party);
        }
        // RFC 3891 §3: accepting the new dialog ends the old one.
        self.hang_up_replaced(key);
        if rings {
            self.establish(key, Some(200), None, now);
        }
        Ok(())
    }

    /// A REFER of a leg that another one took the place of meanwhile.
    fn forget_following(&mut self, key: CallKey, now: Instant) {
        self.timers.cancel(Timer::Following(key.0));
        self.notify(key, 487, "Request Terminated");
        if let Some(following) = self.calls.get_mut(&key).and_then(|c| c.following.take()) {
            self.give_back(following.tickets, now);
            self.drop_leg(key, following.invite, None);
        }
    }

    /// Puts an answered leg where the current one was. The page hears of it only if it was told a hold that is over
    /// now, or waits for one.
    fn swap(&mut self, key: CallKey, invite: InviteId) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let (wanted, waits) = call.sip().map_or((false, false), |old| {
            (wants_hold(old), old.reoffer.is_some())
        });
        let leg = match call.is_current(invite) {
            true => call.far_leg(),
            false => match self.exchange(key, invite) {
                Some(leg) => leg,
                None => return,
            },
        };
        self.transfer_is_lost(key);
        let call = self.calls.get_mut(&key);
        let Some(sip) = call.and_then(|c| c.sip_mut()) else {
            return;
        };
        sip.standing = Standing::Answered;
        sip.early.clear();
        if let Some(description) = &sip.description {
            sip.held_by_peer = description.holds();
        }
        let held = sip.held_by_us;
        self.join(key, leg);
        self.close_replaced(key);
        if held != wanted {
            let what = if wanted {
                Reoffer::Hold
            } else {
                Reoffer::Unhold
            };
            self.reoffer_now(key, what);
        } else if waits {
            self.tell_hold(key, None, None);
        } else {
            self.tell_hold_if_changed(key);
        }
    }

    /// Exchanges the current leg for one beside it.
    fn exchange(&mut self, key: CallKey, invite: InviteId) -> Option<LegId> {
        let call = self.calls.get_mut(&key)?;
        let at = call.beside.iter().position(|sip| sip.invite == invite)?;
        let FarLeg::Sip(current) = &mut call.far else {
            return None;
        };
        std::mem::swap(&mut **current, &mut call.beside[at]);
        call.beside[at].standing = Standing::Replaced;
        Some(current.leg)
    }

    /// The media of replaced legs is of no use to anybody.
    pub(crate) fn close_replaced(&mut self, key: CallKey) {
        let mut closed = Vec::new();
        if let Some(call) = self.calls.get_mut(&key) {
            for sip in &mut call.beside {
                if sip.standing == Standing::Replaced && !sip.closing && !sip.closed {
                    sip.closing = true;
                    closed.push(sip.leg);
                }
            }
        }
        for leg in closed {
            self.media(key, Media::CloseLeg { leg });
        }
    }

    pub(crate) fn hang_up_replaced(&mut self, key: CallKey) {
        let mut hangups = Vec::new();
        if let Some(call) = self.calls.get_mut(&key) {
            for sip in &mut call.beside {
                if sip.standing == Standing::Replaced && !sip.over && !sip.hung_up {
                    sip.hung_up = true;
                    hangups.push(sip.invite);
                }
            }
        }
        for invite in hangups {
            let status = None;
            self.trunk(key.0, Trunk::Hangup { invite, status });
        }
    }

    /// Puts away a leg that never got its place.
    pub(crate) fn drop_leg(&mut self, key: CallKey, invite: InviteId, status: Option<Refusal>) {
        let call = self.calls.get_mut(&key);
        let Some(sip) = call.and_then(|c| c.beside.iter_mut().find(|sip| sip.invite == invite))
        else {
            return;
        };
        sip.standing = Standing::Replaced;
        if !sip.placed {
            sip.over = true;
            self.by_invite.remove(&invite);
        } else if !sip.over && !sip.hung_up {
            sip.hung_up = true;
            self.trunk(key.0, Trunk::Hangup { invite, status });
        }
        self.close_replaced(key);
        self.tidy(key);
    }

    /// Legs beside the current one of which nothing more is to come are kept by their figures only.
    pub(crate) fn tidy(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let past = &mut call.past_stats;
        call.beside.retain_mut(|sip| {
            let gone = sip.closed && sip.over;
            if gone {
                past.extend(sip.stats.take());
            }
            !gone
        });
    }

    /// Something ended a leg that is beside the current one.
    pub(crate) fn leg_beside_ended(
        &mut self,
        key: CallKey,
        invite: InviteId,
        end: &End,
        now: Instant,
    ) {
        let following = self.calls.get(&key).and_then(|c| c.following.as_ref());
        if following.is_some_and(|f| f.invite == invite) {
            let (status, reason) = match end {
                End::Failed(failure) if failure.status >= 300 => {
                    (failure.status, failure.reason.clone())
                }
                End::Failed(_) | End::NoAck => (503, "Service Unavailable".to_owned()),
                End::ByUs { .. } | End::ByPeer { .. } => (487, "Request Terminated".to_owned()),
            };
            self.followed_failed(key, status, &reason, now);
        } else {
            self.drop_leg(key, invite, None);
        }
    }

    fn now_with(&mut self, key: CallKey, party: Party) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        if call.incoming {
            call.visible_name = match party.display.is_empty() {
                true => party.user.clone(),
                false => party.display,
            };
            call.caller = party.user;
        } else {
            call.callee = party.user;
        }
        call.party_uri = party.uri;
    }
}

/// Whether the page wants the far side held, or soon will have it so.
fn wants_hold(sip: &SipLeg) -> bool {
    match sip.reoffer {
        Some(what) => what == Reoffer::Hold,
        None => sip.held_by_us,
    }
}

fn direction(held: bool) -> Direction {
    if held {
        Direction::SendOnly
    } else {
        Direction::SendRecv
    }
}

fn refusal(status: u16, reason: &str) -> Option<Refusal> {
    Some(Refusal {
        status,
        reason: reason.to_owned(),
        ..Refusal::default()
    })
}

/// The user part, as pages show it; the whole URI where it has none that could be shown.
fn user_of(uri: &str) -> String {
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    let user = if scheme.eq_ignore_ascii_case("tel") {
        rest.split(';').next()
    } else {
        rest.rsplit_once('@')
            .and_then(|(user, _)| user.split([';', ':']).next())
    };
    let plain = user
        .and_then(|user| unescape(user.as_bytes()))
        .and_then(|user| String::from_utf8(user).ok())
        .filter(|user| !user.is_empty() && !user.chars().any(char::is_control));
    crate::admission::cut(plain.as_deref().unwrap_or(uri))
}
