//! What comes back from the callee before and with its answer, and what the caller is told of it. The caller is
//! answered once, by the first description that any fork brings; later ones are absorbed by the join.

use super::ending::Finish;
use super::state::{Bridge, Stage};
use crate::call::{Early, Standing};
use crate::limits::FORKS;
use crate::negotiate::{NegotiationError, SipDescription};
use crate::switchboard::Switchboard;
use crate::timers::Timer;
use signaling_sip::time::Instant;
use signaling_trunk::api::{Command as Trunk, ForkId, InviteId};
use std::net::SocketAddr;

impl Switchboard {
    pub(crate) fn bridge_progress(
        &mut self,
        bridge: &mut Bridge,
        (invite, fork): (InviteId, ForkId),
        status: u16,
        sdp: Option<Vec<u8>>,
        source: SocketAddr,
    ) {
        if bridge.is_coming(invite) {
            return self.coming_progress(bridge, status);
        }
        let calls = bridge.stage == Stage::Calling && bridge.callee.sip.invite == invite;
        if !calls || status == 100 {
            return;
        }
        // RFC 6228: that early dialog is gone, others may ring on.
        if status == 199 {
            return self.bridge_fork_is_over(bridge, fork);
        }
        // A description that cannot be used is no reason to give up before the answer.
        // Nothing in an unreliable response can be the offer that we asked for (RFC 3261 §13.2.1).
        let sdp = sdp.filter(|_| !bridge.callee.sip.profile.late_offer);
        let early = sdp.and_then(|sdp| self.bridge_early_media(bridge, fork, &sdp, source).ok());
        // 181 and 182 tell what becomes of the call beyond us; what the caller can use of it is that it rings.
        let status = if status == 183 { 183 } else { 180 };
        let sdp = early.and_then(|()| self.answer_caller(bridge).ok());
        let invite = bridge.caller.sip.invite;
        self.trunk(
            bridge.key.0,
            Trunk::Progress {
                invite,
                status,
                sdp,
            },
        );
    }

    /// The first early dialog with media is heard; of others it is remembered.
    fn bridge_early_media(
        &mut self,
        bridge: &mut Bridge,
        fork: ForkId,
        sdp: &[u8],
        source: SocketAddr,
    ) -> Result<(), NegotiationError> {
        let description = bridge.callee.read_answer(sdp)?;
        self.bridge_remembers(bridge, fork, description, source);
        Ok(())
    }

    pub(crate) fn bridge_remembers(
        &mut self,
        bridge: &mut Bridge,
        fork: ForkId,
        description: SipDescription,
        source: SocketAddr,
    ) {
        let sip = &mut bridge.callee.sip;
        let early = Early {
            fork,
            description: description.clone(),
            agreed: Vec::new(),
            source,
        };
        if let Some(known) = sip.early.iter_mut().find(|e| e.fork == fork) {
            *known = early;
        } else if sip.early.len() < FORKS {
            sip.early.push(early);
        }
        if *sip.heard.get_or_insert(fork) == fork {
            self.hear(bridge, description, source);
        }
    }

    fn bridge_fork_is_over(&mut self, bridge: &mut Bridge, fork: ForkId) {
        let sip = &mut bridge.callee.sip;
        sip.early.retain(|early| early.fork != fork);
        if sip.heard.take_if(|heard| *heard == fork).is_none() {
            return;
        }
        if let Some(next) = sip.early.last().cloned() {
            sip.heard = Some(next.fork);
            self.hear(bridge, next.description, next.source);
        }
    }

    /// The callee's description in use from now on.
    fn hear(&mut self, bridge: &mut Bridge, theirs: SipDescription, source: SocketAddr) {
        bridge.callee.take(theirs, source);
        // Before the caller is answered it is the callee who chooses among what the caller has.
        let (caller, callee) = (&mut bridge.caller, &mut bridge.callee);
        self.connect_pair(bridge.key, caller, callee);
        self.join_sides(bridge);
    }

    /// The caller's one answer, or, where the offer is left to us, our offer.
    fn answer_caller(&mut self, bridge: &mut Bridge) -> Result<Vec<u8>, NegotiationError> {
        let (caller, callee) = (&mut bridge.caller, &bridge.callee);
        if let Some(said) = &caller.said {
            return Ok(said.0.clone());
        }
        match caller.sip.description.clone() {
            Some(theirs) => caller.answer(&theirs, callee.speech().as_ref(), callee.will),
            None => caller
                .offer(&callee.agreed(), callee.will)
                .ok_or(NegotiationError::Incomplete("SIP leg")),
        }
    }

    pub(crate) fn bridge_answered(
        &mut self,
        bridge: &mut Bridge,
        (invite, fork): (InviteId, ForkId),
        sdp: Option<Vec<u8>>,
        late: bool,
        source: SocketAddr,
        now: Instant,
    ) {
        if bridge.is_coming(invite) {
            let sdp = sdp.filter(|_| !late);
            return self.coming_answered(bridge, sdp, source, now);
        }
        if bridge.stage != Stage::Calling || bridge.callee.sip.invite != invite {
            return;
        }
        bridge.callee.sip.standing = Standing::Answered;
        let settled = match (sdp, late) {
            (Some(sdp), true) => self.take_late_offer(bridge, fork, &sdp, source),
            (Some(sdp), false) => bridge.callee.read_answer(&sdp).map(|theirs| {
                bridge.callee.sip.heard = Some(fork);
                self.hear(bridge, theirs, source);
            }),
            (None, true) => Err(NegotiationError::NoAudio),
            (None, false) => self.take_early_answer(bridge, fork),
        };
        let sdp = settled.and_then(|()| self.answer_caller(bridge));
        let sdp = match sdp {
            Ok(sdp) => sdp,
            Err(error) => {
                tracing::info!(call = bridge.key.0, %error, "the answer cannot be used");
                return self.end_bridge(bridge, Finish::failed("No common codecs", 488), now);
            }
        };
        self.timers.cancel(Timer::NoAnswer(bridge.key.0));
        for ticket in bridge.tickets.iter().chain(&bridge.line_ticket) {
            self.ledger.answered(*ticket, now);
        }
        bridge.stage = Stage::Established;
        bridge.answered = Some(now);
        bridge.caller.sip.standing = Standing::Answered;
        bridge.callee.sip.early.clear();
        let invite = bridge.caller.sip.invite;
        self.trunk(bridge.key.0, Trunk::Accept { invite, sdp });
        // Its 200 may hold where its 183 did not.
        self.carry_wills(bridge);
    }

    /// A 200 without one: what its fork said before counts, and at worst what any said.
    fn take_early_answer(
        &mut self,
        bridge: &mut Bridge,
        fork: ForkId,
    ) -> Result<(), NegotiationError> {
        let sip = &mut bridge.callee.sip;
        let of = |fork: ForkId| sip.early.iter().find(|early| early.fork == fork).cloned();
        let early = of(fork).or_else(|| sip.heard.and_then(of));
        let early = early.ok_or(NegotiationError::NoAudio)?;
        sip.heard = Some(early.fork);
        self.hear(bridge, early.description, early.source);
        Ok(())
    }

    /// Our INVITE had no offer: theirs came with the 200, and our answer goes with the ACK.
    fn take_late_offer(
        &mut self,
        bridge: &mut Bridge,
        fork: ForkId,
        sdp: &[u8],
        source: SocketAddr,
    ) -> Result<(), NegotiationError> {
        let theirs = bridge.callee.read_offer(sdp)?;
        let prefers = bridge.caller.speech();
        let will = bridge.caller.will;
        let sdp = bridge.callee.answer(&theirs, prefers.as_ref(), will)?;
        self.hear(bridge, theirs, source);
        let invite = bridge.callee.sip.invite;
        self.trunk(bridge.key.0, Trunk::Acknowledge { invite, fork, sdp });
        Ok(())
    }

    /// The ACK of our 200; after a late offer it carries the caller's answer.
    pub(crate) fn bridge_acknowledged(
        &mut self,
        bridge: &mut Bridge,
        invite: InviteId,
        sdp: Option<Vec<u8>>,
        now: Instant,
    ) {
        let open = bridge.caller.sip.description.is_none() && bridge.stage == Stage::Established;
        if bridge.caller.sip.invite != invite || !open {
            return;
        }
        let taken = sdp
            .ok_or(NegotiationError::NoAudio)
            .and_then(|sdp| bridge.caller.read_answer(&sdp));
        match taken {
            Ok(theirs) => {
                let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
                bridge.caller.take(theirs, nowhere);
                let (caller, callee) = (&mut bridge.caller, &mut bridge.callee);
                self.connect_pair(bridge.key, caller, callee);
                self.carry_wills(bridge);
            }
            Err(error) => {
                tracing::info!(call = bridge.key.0, %error, "the answer in the ACK cannot be used");
                self.end_bridge(bridge, Finish::failed("No common codecs", 488), now);
            }
        }
    }
}
