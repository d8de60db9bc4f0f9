//! An INVITE by a line that leads to another line: whether it is let in, its two legs, and our INVITE.

use super::ending::Finish;
use super::passing::{passing, value};
use super::state::{Bridge, CallingParty, Side, Stage, line_of};
use crate::addresses;
use crate::admission::Refused;
use crate::admission::cut;
use crate::call::{CallKey, LATER_LEGS, NUMBERS_PER_CALL, SipLeg};
use crate::incoming::Arrival;
use crate::limits::NO_ANSWER_OUTGOING;
use crate::negotiate::{SipLocal, read_offer};
use crate::switchboard::Switchboard;
use crate::timers::Timer;
use media_control::{Command as Media, LegId, LocalTransport};
use signaling_plan::{Route, Scope, Ticket};
use signaling_sip::time::Instant;
use signaling_trunk::api::{
    ByLine, Command as Trunk, Identity, InviteOptions, Line, NO_ACCOUNT, Refusal, Target,
};
use std::time::Duration;

/// An attempt that can be made.
pub(crate) struct Way {
    pub attempt: usize,
    pub line: Line,
    pub ticket: Option<Ticket>,
}

impl Switchboard {
    /// Calls what the route says, for a caller that is no page.
    pub(crate) fn bridge(&mut self, arrival: Arrival, by: ByLine, route: Route, now: Instant) {
        let invite = arrival.invite;
        if let Err(refusal) = self.begin_bridge(arrival, by, route, now) {
            let status = Some(refusal);
            self.trunk(invite.0, Trunk::Hangup { invite, status });
        }
    }

    fn begin_bridge(
        &mut self,
        arrival: Arrival,
        by: ByLine,
        route: Route,
        now: Instant,
    ) -> Result<(), Refusal> {
        let refusal = |status: u16| Refusal {
            status,
            reason: super::ending::phrase(status).to_owned(),
            ..Refusal::default()
        };
        // To take a call's place (RFC 3891) is not offered between lines.
        if arrival.replaces.is_some() {
            return Err(refusal(603));
        }
        if self.shutting_down || !self.media_up {
            return Err(refusal(503));
        }
        let refused = |why: Refused| Refusal {
            retry_after_s: why.retry_after_s,
            ..refusal(why.sip_status.unwrap_or(503))
        };
        self.has_room(route.emergency, now).map_err(refused)?;
        let profile = self.profile_of(&by.line);
        let read = |sdp| read_offer(sdp, &profile);
        let description = arrival.sdp.as_deref().map(read).transpose();
        let description = description.map_err(|error| {
            tracing::info!(invite = arrival.invite.0, %error, "an offer that cannot be served");
            refusal(488)
        })?;
        let Way {
            attempt,
            line: to,
            ticket,
        } = self.next_line(&route, 0, now)?;
        let from = match &by.line {
            Line::Trunk(name) => Scope::Trunk(name.clone()),
            Line::Phone(user) => Scope::Account(user.clone()),
        };
        let source = Scope::Source(crate::callers::source(arrival.source.ip()));
        let booked = match self.book(&[from, source], route.emergency, now) {
            Ok(booked) => booked,
            Err(why) => {
                self.give_back(ticket.into_iter().collect(), now);
                return Err(refused(why));
            }
        };
        let alarm = route
            .emergency
            .then(|| self.alarm(&arrival.from.user, &route.number, now));

        let key = self.new_key();
        let sip = SipLeg::new(key.caller_leg(), arrival.invite, None);
        let mut sip = sip.with_profile(profile);
        sip.placed = true;
        sip.source = Some(arrival.source.ip());
        sip.description = description;
        let mut caller = Side::new(by.line, sip);
        caller.learn_will();
        let sip = SipLeg::new(key.first_far_leg(), key.invite(), None);
        let sip = sip.with_profile(self.profile_of(&to));
        let callee = Side::new(to, sip);
        let ring_s = match route.ring_s {
            0 => NO_ANSWER_OUTGOING,
            seconds => Duration::from_secs(u64::from(seconds)),
        };
        let bridge = Bridge {
            key,
            attempt,
            from: calling_party(&arrival, by.asserted.as_ref()),
            called: cut(&by.called.user),
            headers: passing(&arrival.headers, &self.config.bridge_headers),
            hops: hops_left(&arrival),
            caller,
            callee,
            past: Vec::new(),
            coming: None,
            invites: 1,
            stage: Stage::AwaitingLegs,
            joined: None,
            tickets: booked.into_iter().chain(alarm).collect(),
            line_ticket: ticket,
            started: now,
            answered: None,
            past_stats: Vec::new(),
            end: None,
            route,
        };
        self.by_invite.insert(arrival.invite, key);
        self.timers.set(Timer::NoAnswer(key.0), now + ring_s);
        self.make_bridge_leg(key, &bridge.caller);
        self.make_bridge_leg(key, &bridge.callee);
        self.bridges.insert(key, bridge);
        Ok(())
    }

    pub(crate) fn make_bridge_leg(&mut self, key: CallKey, side: &Side) {
        let (leg, spec, group) = (side.sip.leg, side.sip.spec(false), key.group());
        self.media(key, Media::CreateLeg { leg, group, spec });
    }

    pub(crate) fn bridge_leg_created(
        &mut self,
        bridge: &mut Bridge,
        leg: LegId,
        local: LocalTransport,
        now: Instant,
    ) {
        let LocalTransport::Rtp { rtp, sdes, ice, .. } = local else {
            return;
        };
        let Some(side) = bridge.sides_mut().find(|side| side.sip.leg == leg) else {
            return;
        };
        let Some(address) = addresses::nearest(&rtp, side.sip.source) else {
            return;
        };
        if side.sip.local.is_none() {
            let session_id = leg.0 + NUMBERS_PER_CALL;
            let profile = side.sip.profile.clone();
            side.sip.local = Some(SipLocal::new(address, session_id, profile, &sdes).with_ice(ice));
        }
        if bridge.is_coming_leg(leg) {
            return self.call_coming(bridge);
        }
        let both = bridge.caller.sip.local.is_some() && bridge.callee.sip.local.is_some();
        let waits = matches!(bridge.stage, Stage::AwaitingLegs | Stage::Calling);
        if both && waits && !bridge.callee.sip.placed {
            self.call_out(bridge, now);
        }
    }

    /// Our INVITE of the attempt at hand.
    pub(crate) fn call_out(&mut self, bridge: &mut Bridge, now: Instant) {
        bridge.stage = Stage::Calling;
        let Some(attempt) = bridge.route.attempts.get(bridge.attempt).cloned() else {
            return self.end_bridge(bridge, Finish::failed("No way", 480), now);
        };
        let options = InviteOptions {
            line: Some(bridge.callee.line.clone()),
            identity: bridge.identity(&attempt),
            attempt_ms: attempt.attempt_ms,
            max_forwards: Some(bridge.hops),
            // Whom the callee names is the plan's business, and it was not asked.
            tell_redirects: true,
            ..InviteOptions::default()
        };
        let anonymous = options.identity.from_user == ANONYMOUS;
        let from_display = match anonymous {
            true => "Anonymous".to_owned(),
            false => bridge.from.display.clone(),
        };
        let theirs = bridge.caller.agreed();
        // Who left the offer to us is not asked to wait for a second late one.
        let may_be_late = bridge.caller.sip.description.is_some();
        let callee = &mut bridge.callee;
        callee.sip.profile.late_offer &= may_be_late;
        let late = callee.sip.profile.late_offer;
        let sdp = match late {
            true => Vec::new(),
            false => callee
                .offer(&theirs, bridge.caller.will)
                .unwrap_or_default(),
        };
        callee.sip.placed = true;
        let invite = callee.sip.invite;
        self.by_invite.insert(invite, bridge.key);
        self.trunk(
            bridge.key.0,
            Trunk::Invite {
                invite,
                account: NO_ACCOUNT,
                target: Target::User {
                    user: attempt.user,
                    params: Vec::new(),
                },
                from_display,
                headers: bridge.headers.clone(),
                sdp,
                options: Box::new(options),
            },
        );
    }

    /// The next attempt, with a leg of its own.
    pub(crate) fn try_next(&mut self, bridge: &mut Bridge, now: Instant) -> bool {
        if let Some(ticket) = bridge.line_ticket.take() {
            self.ledger.ended(ticket, now);
        }
        if bridge.invites > LATER_LEGS {
            return false;
        }
        let Ok(Way {
            attempt,
            line,
            ticket,
        }) = self.next_line(&bridge.route, bridge.attempt + 1, now)
        else {
            return false;
        };
        bridge.line_ticket = ticket;
        let nth = bridge.invites;
        bridge.invites += 1;
        bridge.attempt = attempt;
        let (leg, invite) = (bridge.key.later_leg(nth), bridge.key.later_invite(nth));
        let sip = SipLeg::new(leg, invite, None).with_profile(self.profile_of(&line));
        let callee = Side::new(line, sip);
        self.part_sides(bridge);
        let mut before = std::mem::replace(&mut bridge.callee, callee);
        self.close_side(bridge.key, &mut before);
        bridge.past.push(before);
        self.make_bridge_leg(bridge.key, &bridge.callee);
        true
    }

    /// The next attempt, from `at` on, that calls a line which may be used now, booked.
    pub(crate) fn next_line(
        &mut self,
        route: &Route,
        at: usize,
        now: Instant,
    ) -> Result<Way, Refusal> {
        let mut refusal = Refusal {
            status: 480,
            reason: super::ending::phrase(480).to_owned(),
            ..Refusal::default()
        };
        for (attempt, line) in (at..).zip(route.attempts.iter().skip(at).map(line_of)) {
            let Some(line) = line else { continue };
            let scopes = self.line_scopes(&line, &route.number);
            match self.book(&scopes, route.emergency, now) {
                Ok(ticket) => {
                    return Ok(Way {
                        attempt,
                        line,
                        ticket,
                    });
                }
                Err(refused) => {
                    refusal.status = refused.sip_status.unwrap_or(503);
                    refusal.reason = super::ending::phrase(refusal.status).to_owned();
                    refusal.retry_after_s = refused.retry_after_s;
                }
            }
        }
        Err(refusal)
    }
}

/// RFC 3323 §4.1.1.3.
const ANONYMOUS: &str = "anonymous";

/// Who calls: by the word of a trusted line (RFC 3325 §5), else by From. A URI without a user part tells nothing but
/// where it comes from.
fn calling_party(arrival: &Arrival, asserted: Option<&Identity>) -> CallingParty {
    let hidden = arrival.from.user.eq_ignore_ascii_case(ANONYMOUS);
    let named = |identity: &&Identity| !identity.user.is_empty() && identity.user != identity.uri;
    let who = match hidden {
        true => None,
        false => asserted.filter(named).or(Some(&arrival.from).filter(named)),
    };
    let display = match arrival.from.display.as_str() {
        _ if hidden => String::new(),
        "" => asserted.map(|a| a.display.clone()).unwrap_or_default(),
        display => display.to_owned(),
    };
    CallingParty {
        user: cut(who.map_or(ANONYMOUS, |who| &who.user)),
        display: cut(&display),
        privacy: value(&arrival.headers, "Privacy").map(cut),
    }
}

/// What is left of the caller's hops after this one (RFC 7332 §4).
fn hops_left(arrival: &Arrival) -> u8 {
    let hops = value(&arrival.headers, "Max-Forwards").and_then(|hops| hops.parse::<u8>().ok());
    hops.unwrap_or(70).min(70).saturating_sub(1)
}
