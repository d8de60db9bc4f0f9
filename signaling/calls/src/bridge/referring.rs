//! A side asks us to call somebody else in its place (RFC 3515, a blind transfer). Whom it may have us call is what the
//! dial plan would let it call itself, in its own books. The other side notices nothing: its leg stays, and the join
//! is made with the new one when that is answered.

use super::state::{Bridge, Coming, Side, Stage};
use crate::admission::Refused;
use crate::call::{CallKey, LATER_LEGS, SipLeg, Standing};
use crate::callee;
use crate::limits::{NO_ANSWER_INCOMING, REPLACED};
use crate::negotiate::NegotiationError;
use crate::switchboard::Switchboard;
use crate::timers::Timer;
use media_control::LegId;
use signaling_plan::{Caller, Scope};
use signaling_sip::time::Instant;
use signaling_trunk::api::{
    Command as Trunk, InviteId, InviteOptions, Line, NO_ACCOUNT, ReferId, Target,
};
use std::net::SocketAddr;

/// Their REFER. Its Referred-By goes nowhere: it names a host of the side that asked.
pub(crate) struct Asked {
    pub invite: InviteId,
    pub refer: ReferId,
    pub target: String,
    /// An attended transfer.
    pub replaces: bool,
}

impl Bridge {
    pub fn is_coming(&self, invite: InviteId) -> bool {
        let coming = self.coming.as_ref();
        coming.is_some_and(|coming| coming.side.sip.invite == invite)
    }

    pub fn is_coming_leg(&self, leg: LegId) -> bool {
        let coming = self.coming.as_ref();
        coming.is_some_and(|coming| coming.side.sip.leg == leg)
    }
}

impl Switchboard {
    pub(crate) fn bridge_referred(&mut self, bridge: &mut Bridge, asked: Asked, now: Instant) {
        let (invite, refer) = (asked.invite, asked.refer);
        let answer = match self.follow_in_bridge(bridge, asked, now) {
            Ok(()) => Trunk::AcceptRefer { invite, refer },
            Err(status) => Trunk::RefuseRefer {
                invite,
                refer,
                status,
            },
        };
        self.trunk(bridge.key.0, answer);
    }

    fn follow_in_bridge(
        &mut self,
        bridge: &mut Bridge,
        asked: Asked,
        now: Instant,
    ) -> Result<(), u16> {
        // A dialog to replace is named as the asker knows it, and nobody else knows it by that name.
        let follows = self.config.follow_refer && !asked.replaces;
        if !follows || bridge.invites > LATER_LEGS {
            return Err(603);
        }
        // One thing after the other: they may ask again.
        if bridge.coming.is_some() {
            return Err(491);
        }
        if self.shutting_down || !self.media_up || !self.trunk_up {
            return Err(503);
        }
        let established = bridge.stage == Stage::Established;
        let line = match bridge.pair(asked.invite) {
            Some((side, _)) if established && side.is_talking() => side.line.clone(),
            _ => return Err(481),
        };
        let (caller, scope) = match line {
            Line::Trunk(name) => (Caller::Trunk(name.clone()), Scope::Trunk(name)),
            Line::Phone(user) => (Caller::Phone(user.clone()), Scope::Account(user)),
        };
        let refused = |refused: Refused| refused.sip_status.unwrap_or(603);
        let route = self
            .way(&caller, &callee::dialled(&asked.target), bridge.key)
            .map_err(refused)?;
        // Nobody calls for help in another's name.
        if route.emergency {
            return Err(403);
        }
        let way = self
            .next_line(&route, 0, now)
            .map_err(|refusal| refusal.status)?;
        let mut tickets: Vec<_> = way.ticket.into_iter().collect();
        match self.book(&[scope], false, now) {
            Ok(ticket) => tickets.extend(ticket),
            Err(why) => {
                self.give_back(tickets, now);
                return Err(refused(why));
            }
        }
        let Some(attempt) = route.attempts.get(way.attempt) else {
            self.give_back(tickets, now);
            return Err(404);
        };
        let (key, nth) = (bridge.key, bridge.invites);
        bridge.invites += 1;
        let sip = SipLeg::new(key.later_leg(nth), key.later_invite(nth), None);
        let sip = sip.with_profile(self.profile_of(&way.line));
        let side = Side::new(way.line.clone(), sip);
        self.make_bridge_leg(key, &side);
        bridge.coming = Some(Coming {
            side,
            from: asked.invite,
            refer: asked.refer,
            user: attempt.user.clone(),
            options: InviteOptions {
                line: Some(way.line),
                identity: bridge.identity(attempt),
                attempt_ms: attempt.attempt_ms,
                max_forwards: Some(bridge.hops),
                tell_redirects: true,
                ..InviteOptions::default()
            },
            tickets,
            told: 100,
        });
        self.timers
            .set(Timer::Following(key.0), now + NO_ANSWER_INCOMING);
        Ok(())
    }

    /// The new leg is there.
    pub(crate) fn call_coming(&mut self, bridge: &mut Bridge) {
        let key = bridge.key;
        let (caller, callee) = (&bridge.caller, &bridge.callee);
        let Some(coming) = bridge.coming.as_mut() else {
            return;
        };
        if std::mem::replace(&mut coming.side.sip.placed, true) {
            return;
        }
        let stays = match caller.sip.invite == coming.from {
            true => callee,
            false => caller,
        };
        // Somebody waits, and can be offered to at once.
        coming.side.sip.profile.late_offer = false;
        let sdp = coming.side.offer(&stays.agreed(), stays.will);
        let invite = coming.side.sip.invite;
        let command = Trunk::Invite {
            invite,
            account: NO_ACCOUNT,
            target: Target::User {
                user: coming.user.clone(),
                params: Vec::new(),
            },
            from_display: String::new(),
            headers: Vec::new(),
            sdp: sdp.unwrap_or_default(),
            options: Box::new(coming.options.clone()),
        };
        self.by_invite.insert(invite, key);
        self.trunk(key.0, command);
    }

    /// Its early media are not heard: the other side still talks with who asked, or hears its music.
    pub(crate) fn coming_progress(&mut self, bridge: &mut Bridge, status: u16) {
        if status != 100 && status != 199 {
            self.tell_asker(bridge, status);
        }
    }

    pub(crate) fn coming_answered(
        &mut self,
        bridge: &mut Bridge,
        sdp: Option<Vec<u8>>,
        source: SocketAddr,
        now: Instant,
    ) {
        let Some(coming) = bridge.coming.as_mut() else {
            return;
        };
        let sdp = sdp.ok_or(NegotiationError::NoAudio);
        let theirs = match sdp.and_then(|sdp| coming.side.read_answer(&sdp)) {
            Ok(theirs) => theirs,
            Err(error) => {
                tracing::info!(call = bridge.key.0, %error, "the answer cannot be used");
                return self.coming_is_off(bridge, 488, now);
            }
        };
        self.tell_asker(bridge, 200);
        let Some(coming) = bridge.coming.take() else {
            return;
        };
        let key = bridge.key;
        self.timers.cancel(Timer::Following(key.0));
        for ticket in &coming.tickets {
            self.ledger.answered(*ticket, now);
        }
        bridge.tickets.extend(coming.tickets);
        let mut side = coming.side;
        side.sip.standing = Standing::Answered;
        side.take(theirs, source);
        self.part_sides(bridge);
        let place = match bridge.caller.sip.invite == coming.from {
            true => &mut bridge.caller,
            false => &mut bridge.callee,
        };
        let mut before = std::mem::replace(place, side);
        before.sip.standing = Standing::Replaced;
        self.close_side(key, &mut before);
        bridge.past.push(before);
        // Who asked says BYE when it hears of it, or we do.
        self.timers.set(Timer::Replaced(key.0), now + REPLACED);
        let (caller, callee) = (&mut bridge.caller, &mut bridge.callee);
        self.connect_pair(key, caller, callee);
        self.join_sides(bridge);
        // Who asked has held the other side, most likely.
        self.carry_wills(bridge);
    }

    pub(crate) fn bridge_coming_timed_out(&mut self, key: CallKey, now: Instant) {
        self.with_bridge(key, now, |board, bridge| {
            board.coming_is_off(bridge, 408, now);
        });
    }

    pub(crate) fn bridge_asker_stays(&mut self, key: CallKey, now: Instant) {
        self.with_bridge(key, now, |board, bridge| {
            for side in &mut bridge.past {
                board.hang_up_side(key, side, None);
            }
        });
    }

    /// Who was to come does not; the two go on.
    pub(crate) fn coming_is_off(&mut self, bridge: &mut Bridge, status: u16, now: Instant) {
        self.tell_asker(bridge, status);
        let Some(mut coming) = bridge.coming.take() else {
            return;
        };
        self.timers.cancel(Timer::Following(bridge.key.0));
        self.give_back(coming.tickets, now);
        self.hang_up_side(bridge.key, &mut coming.side, None);
        self.close_side(bridge.key, &mut coming.side);
        bridge.past.push(coming.side);
    }

    fn tell_asker(&mut self, bridge: &mut Bridge, status: u16) {
        let Some(coming) = bridge.coming.as_mut() else {
            return;
        };
        if std::mem::replace(&mut coming.told, status) == status {
            return;
        }
        let reason = match status {
            200 => "OK",
            180 => "Ringing",
            100..=199 => "Session Progress",
            status => super::ending::phrase(status),
        };
        let command = Trunk::NotifyRefer {
            invite: coming.from,
            refer: coming.refer,
            status,
            reason: reason.to_owned(),
        };
        self.trunk(bridge.key.0, command);
    }
}
