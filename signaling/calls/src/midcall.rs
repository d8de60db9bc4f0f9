//! What happens inside an established call: the far side's re-INVITE and UPDATE, hold of both sides, digits.
//! Of none of it the browser gets a description: it is absorbed here and in the join.

use crate::api::SessionId;
use crate::call::{CallKey, Reoffer, Stage, Standing};
use crate::dtmf::InbandDtmf;
use crate::negotiate::{SipDescription, answer_sip, codecs, offer_sip, read_offer};
use crate::switchboard::Switchboard;
use media_control::{Codec, Command as Media, Direction, Format, MediaKind, RemoteTransport};
use signaling_protocol::ServerMessage;
use signaling_protocol::call::CallStatus;
use signaling_sip::time::Instant;
use signaling_trunk::api::{Command as Trunk, Failure, ForkId, InviteId, OfferId};
use std::net::SocketAddr;

/// A re-INVITE or UPDATE of theirs.
pub(crate) struct Offered {
    pub invite: InviteId,
    pub offer: OfferId,
    pub sdp: Option<Vec<u8>>,
    pub source: SocketAddr,
    pub raw: String,
    pub fork: Option<ForkId>,
}

/// The direction of our answer to theirs. What we hold stays held.
pub(crate) fn ours(held_by_us: bool, theirs: Direction) -> Direction {
    match (held_by_us, theirs.reversed()) {
        (false, direction) => direction,
        (true, Direction::SendRecv | Direction::SendOnly) => Direction::SendOnly,
        (true, _) => Direction::Inactive,
    }
}

impl Switchboard {
    /// Tells media what the SIP side's description says, unless it says what it said before.
    pub(crate) fn connect_sip(
        &mut self,
        key: CallKey,
        invite: InviteId,
        theirs: SipDescription,
        chosen: Vec<Format>,
        source: SocketAddr,
    ) {
        let no_events = !theirs
            .formats
            .iter()
            .any(|f| f.codec == Codec::TelephoneEvent);
        let inband_dtmf = no_events && self.config.inband_dtmf == InbandDtmf::Auto;
        let call = self.calls.get_mut(&key);
        let Some(sip) = call.and_then(|c| c.by_invite_mut(invite)) else {
            return;
        };
        let mut remote = theirs.remote(chosen, source.ip());
        if let Some(local) = sip.local.as_mut() {
            let keys = match theirs.agreed_keys(local) {
                Ok(keys) => keys,
                Err(error) => {
                    tracing::warn!(call = key.0, %error, "keys that do not fit; the media stays as it was");
                    return;
                }
            };
            local.keyed = keys.is_some();
            if let RemoteTransport::Rtp { sdes, .. } = &mut remote.transport {
                *sdes = keys;
            }
            theirs.show(&mut remote, local, source.ip());
            local.lines.clone_from(&theirs.lines);
        }
        for media in &mut remote.media {
            media.inband_dtmf = inband_dtmf && media.kind == MediaKind::Audio;
        }
        if sip.held_by_us {
            for media in &mut remote.media {
                media.direction = Direction::Inactive;
            }
        }
        sip.source = Some(source.ip());
        sip.description = Some(theirs);
        if sip.remote.as_ref() == Some(&remote) {
            return;
        }
        sip.remote = Some(remote.clone());
        let leg = sip.leg;
        self.media(key, Media::ConnectLeg { leg, remote });
    }

    /// Their re-INVITE or UPDATE.
    pub(crate) fn offered(&mut self, offered: Offered, now: Instant) {
        let Offered {
            invite,
            offer,
            sdp,
            source,
            raw,
            fork,
        } = offered;
        let known = self.by_invite.get(&invite).copied();
        let live = |key: &CallKey| {
            let call = self.calls.get(key).filter(|c| c.stage != Stage::Ending);
            let sip = call.and_then(|c| c.by_invite(invite));
            sip.is_some_and(|sip| sip.standing != Standing::Replaced && !sip.hung_up)
        };
        let Some(key) = known.filter(live) else {
            let key = known.map_or(invite.0, |key| key.0);
            let status = if self.is_ringing(invite) { 491 } else { 481 };
            self.trunk(
                key,
                Trunk::RefuseOffer {
                    invite,
                    offer,
                    status,
                },
            );
            return;
        };
        if let Some(fork) = fork {
            return self.early_offer(key, invite, fork, offer, sdp, source, now);
        }
        let browser = self.calls[&key].browser.formats.clone();
        let sends = codecs::speech(&browser).map(|f| f.codec.clone());
        let call = self.calls.get_mut(&key);
        let Some(sip) = call.and_then(|c| c.by_invite_mut(invite)) else {
            return;
        };
        let Some(local) = sip.local.as_mut() else {
            return;
        };
        let Some(sdp) = sdp else {
            // They ask for our offer: what we have now, in a new version.
            local.version += 1;
            sip.offered = codecs::own_for(&sip.profile, &browser);
            sip.awaits_answer = Some(offer);
            let ours = if sip.held_by_us {
                Direction::SendOnly
            } else {
                Direction::SendRecv
            };
            let sdp = offer_sip(local, &sip.offered, ours);
            self.trunk(key.0, Trunk::AnswerOffer { invite, offer, sdp });
            return;
        };
        let theirs = match read_offer(&sdp, &sip.profile) {
            Ok(theirs) => theirs,
            Err(error) => {
                tracing::info!(call = key.0, %error, "an offer inside the dialog is refused");
                self.trunk(
                    key.0,
                    Trunk::RefuseOffer {
                        invite,
                        offer,
                        status: 488,
                    },
                );
                return;
            }
        };
        let chosen = codecs::for_sip(&theirs.formats, sends.as_ref());
        let ours = ours(sip.held_by_us, theirs.direction);
        local.version += 1;
        let answer = answer_sip(local, &theirs, &chosen, ours);
        let holds = theirs.holds();
        match answer {
            Ok(sdp) => {
                let was_held = std::mem::replace(&mut sip.held_by_peer, holds);
                self.connect_sip(key, invite, theirs, chosen, source);
                self.trunk(key.0, Trunk::AnswerOffer { invite, offer, sdp });
                if was_held != holds && self.config.tell_hold_by_peer {
                    self.tell_hold(key, None, Some(raw));
                }
            }
            Err(_) => self.trunk(
                key.0,
                Trunk::RefuseOffer {
                    invite,
                    offer,
                    status: 488,
                },
            ),
        }
    }

    /// The ACK that carries their answer to an offer that they asked us for.
    pub(crate) fn offer_acknowledged(
        &mut self,
        invite: InviteId,
        offer: OfferId,
        sdp: Option<Vec<u8>>,
    ) {
        let Some(key) = self.by_invite.get(&invite).copied() else {
            return;
        };
        let call = self.calls.get_mut(&key);
        let Some(sip) = call.and_then(|c| c.by_invite_mut(invite)) else {
            return;
        };
        if sip
            .awaits_answer
            .take_if(|waiting| *waiting == offer)
            .is_none()
        {
            return;
        }
        let source = SocketAddr::new(sip.source.unwrap_or([0, 0, 0, 0].into()), 0);
        if let Some(sdp) = sdp
            && let Err(error) = self.take_late_answer(key, invite, &sdp, source)
        {
            tracing::info!(call = key.0, %error, "the answer in the ACK is of no use; the media stays as it was");
        }
    }

    pub(crate) fn hold(&mut self, session: SessionId, id: &str, for_transfer: bool) {
        let Some(key) = self.call_of(session, id) else {
            return;
        };
        if let Some(call) = self.calls.get_mut(&key) {
            call.hold_for_transfer = for_transfer;
        }
        self.reoffer(key, Reoffer::Hold);
    }

    pub(crate) fn unhold(&mut self, session: SessionId, id: &str) {
        let Some(key) = self.call_of(session, id) else {
            return;
        };
        if let Some(call) = self.calls.get_mut(&key) {
            call.hold_for_transfer = false;
        }
        self.reoffer(key, Reoffer::Unhold);
    }

    fn reoffer(&mut self, key: CallKey, what: Reoffer) {
        let Some(call) = self
            .calls
            .get(&key)
            .filter(|c| c.stage == Stage::Established)
        else {
            return;
        };
        let due = call.sip().is_some_and(|sip| {
            let done = sip.held_by_us == (what == Reoffer::Hold);
            sip.standing == Standing::Answered && !done && sip.reoffer.is_none()
        });
        if due {
            self.reoffer_now(key, what);
        } else {
            // Each is answered even if nothing changes: pages wait for it with their button disabled.
            self.tell_hold(key, None, None);
        }
    }

    pub(crate) fn reoffer_now(&mut self, key: CallKey, what: Reoffer) {
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let browser = call.browser.formats.clone();
        let Some(sip) = call.sip_mut() else { return };
        let Some(local) = sip.local.as_mut() else {
            return;
        };
        local.version += 1;
        sip.offered = codecs::own_for(&sip.profile, &browser);
        sip.reoffer = Some(what);
        let ours = if what == Reoffer::Hold {
            Direction::SendOnly
        } else {
            Direction::SendRecv
        };
        let sdp = offer_sip(local, &sip.offered, ours);
        let invite = sip.invite;
        self.trunk(key.0, Trunk::Offer { invite, sdp });
    }

    pub(crate) fn offer_answered(
        &mut self,
        invite: InviteId,
        status: u16,
        sdp: Option<Vec<u8>>,
        source: SocketAddr,
        raw: String,
    ) {
        let Some(key) = self.by_invite.get(&invite).copied() else {
            return;
        };
        let call = self.calls.get_mut(&key);
        let Some(sip) = call.and_then(|c| c.by_invite_mut(invite)) else {
            return;
        };
        let Some(what) = sip.reoffer.take() else {
            // A refresh of the trunk's own (RFC 4028), to which the peer says something new.
            if let Some(sdp) = sdp
                && let Err(error) = self.take_late_answer(key, invite, &sdp, source)
            {
                tracing::info!(call = key.0, %error, "what a refresh brought is of no use; the media stays as it was");
            }
            return;
        };
        sip.held_by_us = what == Reoffer::Hold;
        if let Some(sdp) = sdp {
            match self.take_late_answer(key, invite, &sdp, source) {
                Ok(()) if what == Reoffer::Unhold => self.note_hold_of_answer(key, invite),
                Ok(()) => {}
                Err(error) => {
                    tracing::info!(call = key.0, %error, "the answer to our re-INVITE is of no use; the media stays as it was");
                }
            }
        }
        if self.is_current(key, invite) {
            self.tell_hold(key, Some(status), Some(raw));
        }
    }

    /// An answer to `sendrecv` tells whether they hold us; one to our hold does not, since it must mirror ours.
    fn note_hold_of_answer(&mut self, key: CallKey, invite: InviteId) {
        let call = self.calls.get_mut(&key);
        if let Some(sip) = call.and_then(|c| c.by_invite_mut(invite))
            && let Some(theirs) = &sip.description
        {
            sip.held_by_peer = theirs.holds();
        }
    }

    pub(crate) fn offer_refused(&mut self, invite: InviteId, failure: Failure) {
        let Some(key) = self.by_invite.get(&invite).copied() else {
            return;
        };
        let call = self.calls.get_mut(&key);
        let Some(sip) = call.and_then(|c| c.by_invite_mut(invite)) else {
            return;
        };
        sip.reoffer = None;
        if !self.is_current(key, invite) {
            return;
        }
        let status = (failure.status != 0).then_some(failure.status);
        self.tell_hold(
            key,
            status,
            (!failure.raw.is_empty()).then_some(failure.raw),
        );
    }

    fn is_current(&self, key: CallKey, invite: InviteId) -> bool {
        self.calls.get(&key).is_some_and(|c| c.is_current(invite))
    }

    /// What the page is to think: held by either side, as far as it is told of the other one's holds.
    fn shows_hold(&self, call: &crate::call::Call) -> bool {
        let by_peer = self.config.tell_hold_by_peer;
        call.sip()
            .is_some_and(|s| s.held_by_us || s.held_by_peer && by_peer)
    }

    pub(crate) fn tell_hold_if_changed(&mut self, key: CallKey) {
        let changed = self
            .calls
            .get(&key)
            .is_some_and(|call| call.told_hold != self.shows_hold(call));
        if changed {
            self.tell_hold(key, None, None);
        }
    }

    /// HOLD or ESTABLISHED, whichever is so.
    pub(crate) fn tell_hold(&mut self, key: CallKey, sip_status: Option<u16>, raw: Option<String>) {
        let Some(call) = self
            .calls
            .get(&key)
            .filter(|c| c.stage == Stage::Established)
        else {
            return;
        };
        let held = self.shows_hold(call);
        let session = call.session;
        let mut object = self.object(
            call,
            if held {
                CallStatus::Hold
            } else {
                CallStatus::Established
            },
        );
        object.sip_status = sip_status;
        object.sip_message_raw = raw;
        if let Some(call) = self.calls.get_mut(&key) {
            call.told_hold = held;
        }
        self.send(
            session,
            if held {
                ServerMessage::Hold(object)
            } else {
                ServerMessage::Talk(object)
            },
        );
    }
}
