//! Inside a bridge that stands, and inside early dialogs: what one side offers is answered at once with what the other
//! one has, and its codec and address are absorbed by the join. Its will to hear and to be heard alone is carried to
//! the other side, by a re-INVITE, so that a hold and its music reach whom they are meant for.

use super::state::{Bridge, Side, Stage};
use crate::negotiate::NegotiationError;
use crate::switchboard::Switchboard;
use signaling_trunk::api::{Command as Trunk, Failure, ForkId, InviteId, OfferId};
use std::net::SocketAddr;

impl Switchboard {
    pub(crate) fn bridge_offered(
        &mut self,
        bridge: &mut Bridge,
        invite: InviteId,
        (offer, fork): (OfferId, Option<ForkId>),
        sdp: Option<Vec<u8>>,
        source: SocketAddr,
    ) {
        let key = bridge.key.0;
        let refuse = |status: u16| Trunk::RefuseOffer {
            invite,
            offer,
            status,
        };
        let ending = bridge.stage == Stage::Ending;
        let Some((side, other)) = bridge.pair(invite).filter(|_| !ending) else {
            return self.trunk(key, refuse(481));
        };
        // An early dialog that nobody listens to has no media to change (RFC 3311 §5.1).
        let unheard = fork.is_some_and(|fork| side.sip.heard.is_some_and(|heard| heard != fork));
        let answer = match sdp {
            None => ask_us(side, other, offer),
            Some(sdp) if unheard => side
                .read_offer(&sdp)
                .and_then(|theirs| side.answer(&theirs, other.speech().as_ref(), other.will)),
            Some(sdp) => side.read_offer(&sdp).and_then(|theirs| {
                let answer = side.answer(&theirs, other.speech().as_ref(), other.will)?;
                side.take(theirs, source);
                Ok(answer)
            }),
        };
        match answer {
            Ok(sdp) => {
                let (side, other) = match bridge.pair(invite) {
                    Some(pair) if !unheard => pair,
                    _ => return self.trunk(key, Trunk::AnswerOffer { invite, offer, sdp }),
                };
                if side.sip.awaits_answer.is_none() {
                    self.connect_pair(super::CallKey(key), side, other);
                }
                self.trunk(key, Trunk::AnswerOffer { invite, offer, sdp });
                self.carry_wills(bridge);
            }
            Err(error) => {
                tracing::info!(call = key, %error, "an offer inside the dialog is refused");
                self.trunk(key, refuse(488));
            }
        }
    }

    /// The ACK that carries a side's answer to the offer that it asked us for.
    pub(crate) fn bridge_offer_acknowledged(
        &mut self,
        bridge: &mut Bridge,
        invite: InviteId,
        offer: OfferId,
        sdp: Option<Vec<u8>>,
    ) {
        let Some((side, _)) = bridge.pair(invite) else {
            return;
        };
        let waited = side.sip.awaits_answer.take_if(|waiting| *waiting == offer);
        if waited.is_some()
            && let Some(sdp) = sdp
        {
            let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
            self.take_bridge_answer(bridge, invite, &sdp, nowhere);
        }
        self.carry_wills(bridge);
    }

    /// The answer to our re-INVITE, or to a refresh of the trunk's own (RFC 4028) that brought something new.
    pub(crate) fn bridge_offer_answered(
        &mut self,
        bridge: &mut Bridge,
        invite: InviteId,
        sdp: Option<Vec<u8>>,
        source: SocketAddr,
    ) {
        let Some((side, _)) = bridge.pair(invite) else {
            return;
        };
        side.asking = None;
        if let Some(sdp) = sdp {
            self.take_bridge_answer(bridge, invite, &sdp, source);
        }
        self.carry_wills(bridge);
    }

    /// The side stays as it is, and what it was told stands for told: it is not asked the same again.
    pub(crate) fn bridge_offer_refused(
        &mut self,
        bridge: &mut Bridge,
        invite: InviteId,
        failure: &Failure,
    ) {
        let Some((side, _)) = bridge.pair(invite) else {
            return;
        };
        side.asking = None;
        tracing::info!(
            call = bridge.key.0,
            status = failure.status,
            "a re-INVITE of ours is refused"
        );
        self.carry_wills(bridge);
    }

    fn take_bridge_answer(
        &mut self,
        bridge: &mut Bridge,
        invite: InviteId,
        sdp: &[u8],
        source: SocketAddr,
    ) {
        let key = bridge.key;
        let Some((side, other)) = bridge.pair(invite) else {
            return;
        };
        match side.read_answer(sdp) {
            Ok(theirs) => {
                side.take(theirs, source);
                self.connect_pair(key, side, other);
            }
            Err(error) => {
                tracing::info!(call = key.0, %error, "an answer is of no use; the media stays as it was");
            }
        }
    }

    /// Tells each side what the other one wants, if it was told otherwise before.
    pub(crate) fn carry_wills(&mut self, bridge: &mut Bridge) {
        if bridge.stage != Stage::Established {
            return;
        }
        let (caller, callee) = (&mut bridge.caller, &mut bridge.callee);
        let offers = [carry(caller, callee), carry(callee, caller)];
        for (invite, sdp) in offers.into_iter().flatten() {
            self.trunk(bridge.key.0, Trunk::Offer { invite, sdp });
        }
    }
}

/// Our offer to who asks for one. What it holds by itself it will say in its answer.
fn ask_us(side: &mut Side, other: &Side, offer: OfferId) -> Result<Vec<u8>, NegotiationError> {
    let sdp = side.offer(&other.agreed(), other.will);
    side.sip.awaits_answer = Some(offer);
    sdp.ok_or(NegotiationError::Incomplete("SIP leg"))
}

fn carry(to: &mut Side, from: &Side) -> Option<(InviteId, Vec<u8>)> {
    let due = to.is_talking() && to.asking.is_none() && to.sip.awaits_answer.is_none();
    // Before its first description is there is nothing to change.
    if !due || to.told == from.will || to.sip.description.is_none() {
        return None;
    }
    let sdp = to.offer(&from.agreed(), from.will)?;
    to.asking = Some(from.will);
    Some((to.sip.invite, sdp))
}
