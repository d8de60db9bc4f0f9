//! The PBX rings: an INVITE for a session's account, announced to its page, answered or not.

use crate::api::SessionId;
use crate::call::{Call, CallKey, FarLeg, SipLeg, Stage};
use crate::ending::How;
use crate::limits::{CALLS_PER_SESSION, NO_ANSWER_INCOMING, SDP_BYTES};
use crate::negotiate::codecs::CodecPolicy;
use crate::negotiate::{
    NegotiationError, answer_sip, codecs, offer_browser, offer_sip, pictures, read_answer,
    read_browser, read_offer,
};
use crate::switchboard::Switchboard;
use crate::timers::Timer;
use media_control::{Codec, Command as Media, Direction};
use signaling_protocol::call::{Answer, CallStatus, IncomingCall, SetRemoteSdp};
use signaling_protocol::{CallId, CallStatusInfo, ServerMessage};
use signaling_sip::time::Instant;
use signaling_trunk::api::{
    AccountId, Command as Trunk, Header, Identity, InviteId, Line, Refusal,
};
use std::net::SocketAddr;
use std::time::Duration;

/// An INVITE as the trunk tells it.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub invite: InviteId,
    pub account: AccountId,
    pub from: Identity,
    pub to: Identity,
    pub sdp: Option<Vec<u8>>,
    pub source: SocketAddr,
    pub raw: String,
    /// A call of ours whose place it wants (RFC 3891).
    pub replaces: Option<InviteId>,
    /// Header fields beyond SIP's own machinery.
    pub headers: Vec<Header>,
    /// The operator's line that it came by.
    pub line: Option<Line>,
}

impl Switchboard {
    pub(crate) fn incoming(&mut self, arrival: Arrival, now: Instant) {
        if let Some(replaced) = arrival.replaces {
            return self.asks_to_replace(arrival, replaced);
        }
        let refuse = |status: u16, reason: &str| {
            Some(Refusal {
                status,
                reason: reason.to_owned(),
                ..Refusal::default()
            })
        };
        let owner = self.by_account.get(&arrival.account).copied();
        let session = owner.unwrap_or(SessionId(0));
        let user = self
            .sessions
            .get(&session)
            .filter(|s| !s.closing && !s.parked)
            .and_then(|s| s.user.clone());
        let refusal = match &user {
            None => refuse(480, "Temporarily Unavailable"),
            Some(_) if self.shutting_down || !self.media_up => refuse(503, "Service Unavailable"),
            Some(_) if self.calls_of(session).len() >= CALLS_PER_SESSION => {
                refuse(486, "Busy Here")
            }
            Some(_) => None,
        };
        // An INVITE that cannot be served at all is refused before anybody's telephone rings.
        let profile = self.plan.account_media.clone();
        let read = |sdp| read_offer(sdp, &profile);
        let description = arrival.sdp.as_deref().map(read).transpose();
        let refusal = match (&description, refusal) {
            (Err(error), None) => {
                tracing::info!(invite = arrival.invite.0, %error, "an offer that cannot be served");
                refuse(488, "Not Acceptable Here")
            }
            (Ok(_), None) => match self.has_room(false, now) {
                Ok(()) => None,
                Err(refused) => Some(Refusal {
                    status: 503,
                    reason: "Service Unavailable".to_owned(),
                    retry_after_s: refused.retry_after_s,
                }),
            },
            (_, refusal) => refusal,
        };
        let (Some(user), Ok(description), None) = (user, description, &refusal) else {
            self.trunk(
                arrival.invite.0,
                Trunk::Hangup {
                    invite: arrival.invite,
                    status: refusal,
                },
            );
            return;
        };
        let key = self.new_key();
        let mut sip = SipLeg::new(key.first_far_leg(), arrival.invite, None).with_profile(profile);
        sip.placed = true;
        sip.description = description;
        sip.source = Some(arrival.source.ip());
        let visible_name = if arrival.from.display.is_empty() {
            &arrival.from.user
        } else {
            &arrival.from.display
        };
        let call = Call {
            trunk_lane: arrival.account.0,
            account: arrival.account,
            caller: arrival.from.user.clone(),
            callee: if arrival.to.user.is_empty() {
                user.login
            } else {
                arrival.to.user
            },
            visible_name: visible_name.clone(),
            party_uri: Some(arrival.from.uri),
            invite_raw: Some(arrival.raw),
            far: FarLeg::Sip(Box::new(sip)),
            ..Call::new(key, session, format!("in-{:x}", key.0), true, now)
        };
        self.by_invite.insert(arrival.invite, key);
        self.by_id.insert((session, call.id.clone()), key);
        self.make_legs(&call);
        self.by_session.insert((session, key));
        self.calls.insert(key, call);
    }

    /// The legs are there: the page is told, and the caller that it rings.
    pub(crate) fn announce(&mut self, key: CallKey, now: Instant) {
        if !self.tell_of_ringing(key, now) {
            return;
        }
        self.stage(key, Stage::Ringing);
        let ring_s = self.calls.get(&key).and_then(Call::ring_s);
        let patience = ring_s.map_or(NO_ANSWER_INCOMING, Duration::from_secs);
        self.timers.set(Timer::NoAnswer(key.0), now + patience);
        self.tell_ringing(key);
    }

    /// Tells the page, in the one order that it understands: offer, call, ring (protocol §2.5).
    pub(crate) fn tell_of_ringing(&mut self, key: CallKey, now: Instant) -> bool {
        let policy = self.config.codec_policy;
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        let policy = policy.by_line(&call.profile());
        let theirs = call
            .sip()
            .and_then(|s| s.description.as_ref())
            .map(|d| d.formats.clone())
            .unwrap_or_default();
        let mut formats = match policy {
            CodecPolicy::Opus => codecs::own(&[Codec::Opus]),
            CodecPolicy::Relay => codecs::own_ordered_by(&theirs),
        };
        let shown = call.sip().and_then(|s| s.description.as_ref());
        let shown = shown.and_then(|d| d.pictures.as_ref());
        formats.extend(pictures::own(shown.map_or(&[], |p| &p.formats)));
        let has_video = shown.is_some();
        let Some(local) = &call.browser.local else {
            return false;
        };
        let offer = offer_browser(local, &formats, key.0 + 1);
        call.browser.offered = formats;
        let raw = call.invite_raw.clone();
        let announced = IncomingCall {
            call_id: CallId::new(call.id.clone()),
            parent_call_id: None,
            caller: call.caller.clone(),
            callee: call.callee.clone(),
            visible_name: call.visible_name.clone(),
            has_audio: true,
            has_video,
            is_msrp: false,
            invite_parameters: None,
            sip_message_raw: raw,
            custom: None,
        };
        let (session, id) = (call.session, call.id.clone());
        let sdp = match offer {
            Ok(sdp) => sdp,
            Err(error) => {
                self.end(key, How::failed(&error.to_string(), Some(500)), now);
                return false;
            }
        };
        self.send(
            session,
            ServerMessage::SetRemoteSdp(SetRemoteSdp {
                id,
                sdp,
                initiator: false,
            }),
        );
        self.send(
            session,
            ServerMessage::NotifyIncomingCall(Box::new(announced)),
        );
        let ring = self.object(&self.calls[&key], CallStatus::Ring);
        self.send(session, ServerMessage::Ring(ring));
        true
    }

    pub(crate) fn answer(&mut self, session: SessionId, message: Answer, now: Instant) {
        let Some(key) = self.call_of(session, message.call_id.as_str()) else {
            return;
        };
        if self
            .calls
            .get(&key)
            .is_none_or(|c| c.stage != Stage::Ringing)
        {
            return;
        }
        self.timers.cancel(Timer::NoAnswer(key.0));
        match self.settle_answer(key, message) {
            Ok(()) => {
                self.takes_it(key, now);
                self.establish(key, Some(200), None, now);
            }
            Err(error) => {
                let info = match error {
                    NegotiationError::NoCommonCodec => {
                        CallStatusInfo::NoCommonCodecs.as_str().to_owned()
                    }
                    other => other.to_string(),
                };
                self.end(key, How::failed(&info, Some(488)), now);
            }
        }
    }

    fn settle_answer(&mut self, key: CallKey, message: Answer) -> Result<(), NegotiationError> {
        let sdp = message
            .sdp
            .filter(|s| s.len() <= SDP_BYTES)
            .ok_or(NegotiationError::NoAudio)?;
        let description = read_browser(&sdp)?;
        let Some(call) = self.calls.get_mut(&key) else {
            return Ok(());
        };
        let agreed = codecs::answered(&call.browser.offered, &description.formats);
        let sends = codecs::speech(&agreed)
            .map(|f| f.codec.clone())
            .ok_or(NegotiationError::NoCommonCodec)?;
        call.browser.formats = agreed;
        call.browser.description = Some(description.clone());
        call.settle_answered_pictures();
        let remote = description.remote(call.browser.formats.clone());
        let browser_formats = call.browser.formats.clone();
        let Some(sip) = call.sip_mut() else {
            return Ok(());
        };
        let Some(local) = sip.local.clone() else {
            return Err(NegotiationError::Incomplete("SIP leg"));
        };
        let (leg, invite, source) = (sip.leg, sip.invite, sip.source);
        let (sdp, connect) = match sip.description.take() {
            Some(theirs) => {
                let chosen = codecs::for_sip(&theirs.formats, Some(&sends));
                let ours = theirs.direction.reversed();
                (
                    answer_sip(&local, &theirs, &chosen, ours)?,
                    Some((theirs, chosen)),
                )
            }
            // Their INVITE had no offer: ours goes with the 200, and their answer with the ACK.
            None => {
                sip.offered = codecs::own_for(&sip.profile, &browser_formats);
                (offer_sip(&local, &sip.offered, Direction::SendRecv), None)
            }
        };
        self.media(
            key,
            Media::ConnectLeg {
                leg: key.browser_leg(),
                remote,
            },
        );
        if let (Some((theirs, chosen)), Some(source)) = (connect, source) {
            self.connect_sip(key, invite, theirs, chosen, SocketAddr::new(source, 0));
        }
        let raw = self
            .calls
            .get(&key)
            .and_then(|call| call.invite_raw.clone());
        self.mind_the_keys(key, invite, raw.as_deref().unwrap_or_default());
        self.join(key, leg);
        self.trunk(key.0, Trunk::Accept { invite, sdp });
        Ok(())
    }

    /// The ACK of our 200; after a late offer it carries their answer.
    pub(crate) fn acknowledged(&mut self, invite: InviteId, sdp: Option<Vec<u8>>, now: Instant) {
        let Some(key) = self.by_invite.get(&invite).copied() else {
            return;
        };
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let Some(sip) = call.by_invite(invite) else {
            return;
        };
        if call.stage != Stage::Established || sip.remote.is_some() {
            return;
        }
        let source = SocketAddr::new(sip.source.unwrap_or([0, 0, 0, 0].into()), 0);
        let settled = sdp
            .ok_or(NegotiationError::NoAudio)
            .and_then(|sdp| self.take_late_answer(key, invite, &sdp, source));
        if settled.is_err() {
            self.end(
                key,
                How::failed(CallStatusInfo::NoCommonCodecs.as_str(), Some(488)),
                now,
            );
        }
    }

    /// An answer to an offer of ours in a dialog that stands.
    pub(crate) fn take_late_answer(
        &mut self,
        key: CallKey,
        invite: InviteId,
        sdp: &[u8],
        source: SocketAddr,
    ) -> Result<(), NegotiationError> {
        let Some(call) = self.calls.get(&key) else {
            return Ok(());
        };
        let sends = codecs::speech(&call.browser.formats).map(|f| f.codec.clone());
        let Some(sip) = call.by_invite(invite) else {
            return Ok(());
        };
        let Some(local) = &sip.local else {
            return Ok(());
        };
        let theirs = read_answer(sdp, local)?;
        let agreed = codecs::answered(&sip.offered, &theirs.formats);
        let chosen = codecs::for_sip(&agreed, sends.as_ref());
        if chosen.is_empty() {
            return Err(NegotiationError::NoCommonCodec);
        }
        self.connect_sip(key, invite, theirs, chosen, source);
        Ok(())
    }

    pub(crate) fn no_answer(&mut self, key: CallKey, now: Instant) {
        let waiting = |c: &Call| matches!(c.stage, Stage::Ringing | Stage::Calling);
        if self.calls.get(&key).is_some_and(waiting) {
            let mut how = How::failed(CallStatusInfo::FailedByRequestTimeout.as_str(), Some(408));
            how.refusal = Some(Refusal {
                status: 480,
                reason: "Temporarily Unavailable".to_owned(),
                ..Refusal::default()
            });
            self.end(key, how, now);
        }
    }
}
