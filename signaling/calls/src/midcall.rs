//! What happens inside an established call: the far side's re-INVITE and UPDATE, hold of both sides, digits.
//! Of none of it the browser gets a description: it is absorbed here and in the join.

use crate::api::SessionId;
use crate::call::{CallKey, Reoffer, Stage};
use crate::dtmf::InbandDtmf;
use crate::negotiate::{SipDescription, answer_sip, codecs, offer_sip, read_sip};
use crate::switchboard::Switchboard;
use media_control::{Codec, Command as Media, Direction, Format, MediaKind};
use signaling_protocol::ServerMessage;
use signaling_protocol::call::CallStatus;
use signaling_trunk::api::{Command as Trunk, Failure, InviteId, OfferId};
use std::net::SocketAddr;

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
    pub(crate) fn offered(
        &mut self,
        invite: InviteId,
        offer: OfferId,
        sdp: Option<Vec<u8>>,
        source: SocketAddr,
        raw: String,
    ) {
        let known = self.by_invite.get(&invite).copied();
        let Some(key) = known.filter(|key| {
            self.calls
                .get(key)
                .is_some_and(|c| c.stage != Stage::Ending)
        }) else {
            self.trunk(
                invite.0,
                Trunk::RefuseOffer {
                    invite,
                    offer,
                    status: 481,
                },
            );
            return;
        };
        let sends = codecs::speech(&self.calls[&key].browser.formats).map(|f| f.codec.clone());
        let browser = self.calls[&key].browser.formats.clone();
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
            sip.offered = codecs::own_ordered_by(&browser);
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
        let theirs = match read_sip(&sdp) {
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
        let ours = match (sip.held_by_us, theirs.direction.reversed()) {
            (false, direction) => direction,
            (true, Direction::SendRecv | Direction::SendOnly) => Direction::SendOnly,
            (true, _) => Direction::Inactive,
        };
        local.version += 1;
        let answer = answer_sip(local, &theirs, &chosen, ours);
        let (was_held, is_held) = (sip.held_by_peer, theirs.holds());
        sip.held_by_peer = is_held;
        match answer {
            Ok(sdp) => {
                self.connect_sip(key, invite, theirs, chosen, source);
                self.trunk(key.0, Trunk::AnswerOffer { invite, offer, sdp });
                if was_held != is_held {
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

    pub(crate) fn hold(&mut self, session: SessionId, id: &str) {
        self.reoffer(session, id, Reoffer::Hold);
    }

    pub(crate) fn unhold(&mut self, session: SessionId, id: &str) {
        self.reoffer(session, id, Reoffer::Unhold);
    }

    fn reoffer(&mut self, session: SessionId, id: &str, what: Reoffer) {
        let Some(key) = self.call_of(session, id) else {
            return;
        };
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let established = call.stage == Stage::Established;
        let browser = call.browser.formats.clone();
        let Some(sip) = call.sip_mut() else {
            return self.tell_hold(key, None, None);
        };
        let done = sip.held_by_us == (what == Reoffer::Hold);
        let (Some(local), true, false, None) = (sip.local.as_mut(), established, done, sip.reoffer)
        else {
            // Each is answered even if nothing changes: pages wait for it with their button disabled.
            if established {
                self.tell_hold(key, None, None);
            }
            return;
        };
        local.version += 1;
        sip.offered = codecs::own_ordered_by(&browser);
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
            return;
        };
        sip.held_by_us = what == Reoffer::Hold;
        if let Some(sdp) = sdp
            && let Err(error) = self.take_late_answer(key, invite, &sdp, source)
        {
            tracing::info!(call = key.0, %error, "the answer to our re-INVITE is of no use; the media stays as it was");
        }
        self.tell_hold(key, Some(status), Some(raw));
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
        let status = (failure.status != 0).then_some(failure.status);
        self.tell_hold(
            key,
            status,
            (!failure.raw.is_empty()).then_some(failure.raw),
        );
    }

    /// HOLD or ESTABLISHED, whichever is so.
    fn tell_hold(&mut self, key: CallKey, sip_status: Option<u16>, raw: Option<String>) {
        let Some(call) = self
            .calls
            .get(&key)
            .filter(|c| c.stage == Stage::Established)
        else {
            return;
        };
        let held = call.sip().is_some_and(|s| s.held_by_us || s.held_by_peer);
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
