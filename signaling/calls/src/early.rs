//! Before the answer: 18x of one fork or several, early media, and the 200 that may come from yet another fork
//! (RFC 3261 §13.2.2.4, RFC 3960). The browser is answered once, by the first description or by our ringback;
//! the far leg is pointed anew as often as it takes, since all forks answer the same offer with the same port.

use crate::call::{CallKey, Early, Stage, Standing};
use crate::ending::How;
use crate::limits::FORKS;
use crate::midcall::ours;
use crate::negotiate::{
    NegotiationError, SipDescription, answer_sip, codecs, read_answer, read_offer,
};
use crate::outgoing::narrow;
use crate::switchboard::Switchboard;
use media_control::Format;
use signaling_protocol::call::CallStatus;
use signaling_protocol::{CallStatusInfo, ServerMessage};
use signaling_sip::time::Instant;
use signaling_trunk::api::{Command as Trunk, ForkId, InviteId, OfferId};
use std::net::SocketAddr;

/// An 18x to an INVITE of ours.
pub(crate) struct Provisional {
    pub invite: InviteId,
    pub fork: ForkId,
    pub status: u16,
    pub reason: String,
    pub sdp: Option<Vec<u8>>,
    pub source: SocketAddr,
    pub raw: String,
}

/// A 200 to an INVITE of ours.
pub(crate) struct Answered {
    pub invite: InviteId,
    pub fork: ForkId,
    pub status: u16,
    pub sdp: Option<Vec<u8>>,
    pub late: bool,
    pub source: SocketAddr,
    pub raw: String,
}

impl Switchboard {
    pub(crate) fn progress(&mut self, provisional: Provisional, now: Instant) {
        let Provisional {
            invite,
            fork,
            status,
            reason,
            sdp,
            source,
            raw,
        } = provisional;
        let Some(key) = self.by_invite.get(&invite).copied() else {
            return;
        };
        if !self.is_dialling(key, invite) || status == 100 {
            return;
        }
        // RFC 6228: that early dialog is gone, others may ring on. Nothing that a page could show.
        if status == 199 {
            return self.early_dialog_is_over(key, invite, fork, now);
        }
        // Nothing in an unreliable response can be the offer that we asked for (RFC 3261 §13.2.1).
        let asks = self
            .calls
            .get(&key)
            .and_then(|call| call.by_invite(invite))
            .is_some_and(|sip| sip.profile.late_offer);
        let early = match sdp.filter(|_| !asks) {
            // A description that we cannot use is no reason to give up before the answer.
            Some(sdp) => self
                .early_media(key, invite, fork, &sdp, source, now)
                .is_ok(),
            None => false,
        };
        let Some(sip) = self
            .calls
            .get_mut(&key)
            .and_then(|c| c.by_invite_mut(invite))
        else {
            return;
        };
        sip.rings |= (180..=182).contains(&status);
        self.ring_back(key, now);
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        if call.stage != Stage::Calling {
            return self.followed_progress(key, invite, status, &reason);
        }
        let told = match (status, early) {
            (183, _) => CallStatus::SessionProgress,
            (_, true) => CallStatus::RingMedia,
            (_, false) => CallStatus::Ring,
        };
        // An attempt before this one rang already: to the page it is one call.
        let rang = |plan: &crate::hunting::ByPlan| plan.rang && plan.tried.len() > 1;
        let again = call.by_plan.as_ref().is_some_and(|plan| rang(plan));
        if told == CallStatus::Ring && again {
            return;
        }
        let session = call.session;
        let mut object = self.object(call, told);
        object.sip_status = Some(status);
        object.sip_message_raw = Some(raw);
        if told == CallStatus::SessionProgress {
            self.send(session, ServerMessage::SessionProgress(object.clone()));
        }
        self.send(session, ServerMessage::Ring(object));
    }

    pub(crate) fn answered(&mut self, answered: Answered, now: Instant) {
        let Answered {
            invite,
            fork,
            status,
            sdp,
            late,
            source,
            raw,
        } = answered;
        let Some(key) = self.by_invite.get(&invite).copied() else {
            return;
        };
        if !self.is_dialling(key, invite) {
            return;
        }
        let settled = match &sdp {
            Some(sdp) if late => self.take_offer(key, invite, fork, sdp, source, now),
            Some(sdp) => self.take_answer(key, invite, fork, sdp, source, now),
            None => self.take_early(key, invite, fork, now),
        };
        self.mind_the_keys(key, invite, &raw);
        let followed = self
            .calls
            .get(&key)
            .is_some_and(|c| c.stage != Stage::Calling);
        match settled {
            Ok(()) if followed => self.followed_answer(key, invite, now),
            Ok(()) => self.establish(key, Some(status), Some(raw), now),
            Err(error) => {
                tracing::info!(call = key.0, %error, "the answer cannot be used");
                if followed {
                    self.followed_failed(key, 488, "Not Acceptable Here", now);
                } else {
                    let info = CallStatusInfo::NoCommonCodecs.as_str();
                    self.end(key, How::failed(info, Some(488)), now);
                }
            }
        }
    }

    /// Our INVITE is out and nobody has answered it.
    fn is_dialling(&self, key: CallKey, invite: InviteId) -> bool {
        let Some(call) = self.calls.get(&key) else {
            return false;
        };
        let live = matches!(call.stage, Stage::Calling | Stage::Established);
        let dials = call
            .by_invite(invite)
            .is_some_and(|sip| sip.standing == Standing::New && sip.placed && !sip.hung_up);
        live && dials
    }

    /// The first early dialog with media is heard; of others it is remembered.
    fn early_media(
        &mut self,
        key: CallKey,
        invite: InviteId,
        fork: ForkId,
        sdp: &[u8],
        source: SocketAddr,
        now: Instant,
    ) -> Result<(), NegotiationError> {
        let early = self.read_answer(key, invite, fork, sdp, source)?;
        self.remember_early(key, early, invite, now);
        Ok(())
    }

    fn remember_early(&mut self, key: CallKey, early: Early, invite: InviteId, now: Instant) {
        let call = self.calls.get_mut(&key);
        let Some(sip) = call.and_then(|c| c.by_invite_mut(invite)) else {
            return;
        };
        let heard = *sip.heard.get_or_insert(early.fork) == early.fork;
        match sip.early.iter().position(|e| e.fork == early.fork) {
            Some(at) => sip.early[at] = early.clone(),
            None if sip.early.len() < FORKS => sip.early.push(early.clone()),
            None => {}
        }
        if heard {
            self.use_description(key, invite, early, now);
        }
    }

    /// Its media, if it was the one heard, gives way to that of another branch which has some.
    fn early_dialog_is_over(&mut self, key: CallKey, invite: InviteId, fork: ForkId, now: Instant) {
        let call = self.calls.get_mut(&key);
        let Some(sip) = call.and_then(|c| c.by_invite_mut(invite)) else {
            return;
        };
        sip.early.retain(|early| early.fork != fork);
        if sip.heard.take_if(|heard| *heard == fork).is_none() {
            return;
        }
        let next = sip.early.last().cloned();
        sip.heard = next.as_ref().map(|early| early.fork);
        match next {
            Some(early) => self.use_description(key, invite, early, now),
            None => self.ring_back(key, now),
        }
    }

    /// The answer in the 200.
    fn take_answer(
        &mut self,
        key: CallKey,
        invite: InviteId,
        fork: ForkId,
        sdp: &[u8],
        source: SocketAddr,
        now: Instant,
    ) -> Result<(), NegotiationError> {
        let early = self.read_answer(key, invite, fork, sdp, source)?;
        self.use_description(key, invite, early, now);
        Ok(())
    }

    /// The offer in the 200 to an INVITE without; ours goes with the ACK (RFC 3261 §13.2.1). One that is of no use is
    /// acknowledged by the hangup that follows.
    fn take_offer(
        &mut self,
        key: CallKey,
        invite: InviteId,
        fork: ForkId,
        sdp: &[u8],
        source: SocketAddr,
        now: Instant,
    ) -> Result<(), NegotiationError> {
        let profile = self
            .calls
            .get(&key)
            .and_then(|call| call.by_invite(invite))
            .map(|sip| sip.profile.clone())
            .unwrap_or_default();
        let theirs = read_offer(sdp, &profile)?;
        self.settle_browser(key, &theirs.formats, Some(&theirs), now);
        let call = self.calls.get(&key).ok_or(NegotiationError::NoAudio)?;
        let sends = codecs::speech(&call.browser.formats).map(|f| f.codec.clone());
        let sip = call.by_invite(invite).ok_or(NegotiationError::NoAudio)?;
        let local = sip.local.as_ref();
        let local = local.ok_or(NegotiationError::Incomplete("SIP leg"))?;
        let chosen = codecs::for_sip(&theirs.formats, sends.as_ref());
        let sdp = answer_sip(
            local,
            &theirs,
            &chosen,
            ours(sip.held_by_us, theirs.direction),
        )?;
        let early = Early {
            fork,
            agreed: theirs.formats.clone(),
            description: theirs,
            source,
        };
        self.use_description(key, invite, early, now);
        self.trunk(key.0, Trunk::Acknowledge { invite, fork, sdp });
        Ok(())
    }

    /// A 200 without one: what its fork said before counts, and at worst what any said.
    fn take_early(
        &mut self,
        key: CallKey,
        invite: InviteId,
        fork: ForkId,
        now: Instant,
    ) -> Result<(), NegotiationError> {
        let sip = self.calls.get(&key).and_then(|c| c.by_invite(invite));
        let of = |fork: ForkId| {
            let early = sip?.early.iter().find(|early| early.fork == fork)?;
            Some(early.clone())
        };
        let early = of(fork).or_else(|| sip?.heard.and_then(of));
        self.use_description(key, invite, early.ok_or(NegotiationError::NoAudio)?, now);
        Ok(())
    }

    fn read_answer(
        &self,
        key: CallKey,
        invite: InviteId,
        fork: ForkId,
        sdp: &[u8],
        source: SocketAddr,
    ) -> Result<Early, NegotiationError> {
        let call = self.calls.get(&key).ok_or(NegotiationError::NoAudio)?;
        let sip = call.by_invite(invite).ok_or(NegotiationError::NoAudio)?;
        let local = sip.local.as_ref();
        let description = read_answer(sdp, local.ok_or(NegotiationError::NoAudio)?)?;
        let agreed = codecs::answered(&sip.offered, &description.formats);
        if codecs::speech(&agreed).is_none() {
            return Err(NegotiationError::NoCommonCodec);
        }
        Ok(Early {
            fork,
            description,
            agreed,
            source,
        })
    }

    /// Settles the browser's one description if that is still open, and tells media where to send. The same
    /// description again changes nothing.
    fn use_description(&mut self, key: CallKey, invite: InviteId, early: Early, now: Instant) {
        let Early {
            fork,
            description,
            agreed,
            source,
        } = early;
        self.learn_codec(key, &agreed);
        self.settle_browser(key, &agreed, Some(&description), now);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let sends = codecs::speech(&call.browser.formats).map(|f| f.codec.clone());
        let current = call.is_current(invite);
        let Some(sip) = call.by_invite_mut(invite) else {
            return;
        };
        sip.heard = Some(fork);
        let leg = sip.leg;
        let chosen = codecs::for_sip(&agreed, sends.as_ref());
        self.connect_sip(key, invite, description, chosen, source);
        if current {
            self.join(key, leg);
        }
    }

    /// Chooses what the browser is answered by what the SIP side has, unless it was answered before. `far`: what that
    /// side said of pictures too, where it has spoken already.
    pub(crate) fn settle_browser(
        &mut self,
        key: CallKey,
        agreed: &[Format],
        far: Option<&SipDescription>,
        now: Instant,
    ) {
        let policy = self.config.codec_policy;
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let policy = policy.by_line(&call.profile());
        let Some(description) = &call.browser.description else {
            return;
        };
        if !call.browser.formats.is_empty() {
            return;
        }
        call.browser.formats = codecs::for_browser(policy, &description.formats, agreed);
        if let Some(far) = far {
            call.settle_pictures(far);
        }
        let sends = codecs::speech(&call.browser.formats).map(|f| f.codec.clone());
        let chosen = codecs::for_sip(agreed, sends.as_ref());
        let narrow = narrow(sends.as_ref(), codecs::speech(&chosen));
        self.answer_page(key, narrow, now);
    }

    /// What this account's SIP side speaks is a good guess at what it will speak next time.
    fn learn_codec(&mut self, key: CallKey, agreed: &[Format]) {
        let Some(session) = self.calls.get(&key).map(|call| call.session) else {
            return;
        };
        let user = self
            .sessions
            .get_mut(&session)
            .and_then(|s| s.user.as_mut());
        if let (Some(user), Some(format)) = (user, codecs::speech(agreed)) {
            user.far_codec = Some(format.codec.clone());
        }
    }

    /// An UPDATE in an early dialog (RFC 3311 §5.1): a new offer of that fork, answered whether it is heard or not.
    #[allow(clippy::too_many_arguments, reason = "the fields of one event")]
    pub(crate) fn early_offer(
        &mut self,
        key: CallKey,
        invite: InviteId,
        fork: ForkId,
        offer: OfferId,
        sdp: Option<Vec<u8>>,
        source: SocketAddr,
        now: Instant,
    ) {
        match self.answer_early(key, invite, sdp.as_deref()) {
            Ok((description, agreed, sdp)) => {
                let early = Early {
                    fork,
                    description,
                    agreed,
                    source,
                };
                self.remember_early(key, early, invite, now);
                self.trunk(key.0, Trunk::AnswerOffer { invite, offer, sdp });
            }
            Err(error) => {
                tracing::info!(call = key.0, %error, "an offer in an early dialog is refused");
                let status = 488;
                self.trunk(
                    key.0,
                    Trunk::RefuseOffer {
                        invite,
                        offer,
                        status,
                    },
                );
            }
        }
    }

    fn answer_early(
        &mut self,
        key: CallKey,
        invite: InviteId,
        sdp: Option<&[u8]>,
    ) -> Result<(SipDescription, Vec<Format>, Vec<u8>), NegotiationError> {
        let sdp = sdp.ok_or(NegotiationError::NoAudio)?;
        let call = self.calls.get_mut(&key).ok_or(NegotiationError::NoAudio)?;
        let sends = codecs::speech(&call.browser.formats).map(|f| f.codec.clone());
        let sip = call
            .by_invite_mut(invite)
            .ok_or(NegotiationError::NoAudio)?;
        let local = sip
            .local
            .as_mut()
            .ok_or(NegotiationError::Incomplete("SIP leg"))?;
        let theirs = read_offer(sdp, &sip.profile)?;
        let chosen = codecs::for_sip(&theirs.formats, sends.as_ref());
        local.version += 1;
        let answer = answer_sip(local, &theirs, &chosen, theirs.direction.reversed())?;
        let agreed = theirs.formats.clone();
        Ok((theirs, agreed, answer))
    }
}
