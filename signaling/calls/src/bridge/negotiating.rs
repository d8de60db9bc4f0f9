//! Offer and answer between two SIP sides. Each is negotiated apart; what they have in common is preferred, and the
//! join transcodes the rest, so that a change on one side asks nothing of the other.

use super::state::{Bridge, Said, Side};
use crate::call::CallKey;
use crate::dtmf::InbandDtmf;
use crate::negotiate::{
    NegotiationError, SipDescription, SipLocal, answer_sip, codecs, offer_sip, pictures,
    read_answer, read_offer,
};
use crate::switchboard::Switchboard;
use media_control::{Codec, Command as Media, Direction, Format, RemoteTransport};
use std::net::SocketAddr;

/// What we offer a side: what the other one speaks first. A codec that this dialog has a number for keeps it
/// (RFC 3264 §8.3.2), and a number that it has given away is not given to another.
pub(crate) fn our_offer(side: &Side, other: &[Format]) -> Vec<Format> {
    let agreed = side.agreed();
    let order = if agreed.is_empty() { other } else { &agreed };
    let ours = codecs::own_for(&side.sip.profile, order);
    let known = |format: &Format| {
        let same = |f: &&Format| f.codec == format.codec && f.clock_hz == format.clock_hz;
        agreed.iter().find(same).map(|f| f.receive_pt)
    };
    let is_free = |pt: u8| agreed.iter().all(|f| f.receive_pt != pt);
    ours.into_iter()
        .filter_map(|format| {
            let pt = match known(&format) {
                Some(pt) => pt,
                None if is_free(format.receive_pt) => format.receive_pt,
                None => return None,
            };
            Some(Format {
                send_pt: pt,
                receive_pt: pt,
                ..format
            })
        })
        .collect()
}

impl Side {
    /// Our description as an offer to this side, which carries the other one's will. `None` before its leg is made.
    pub fn offer(&mut self, other: &[Format], will: Direction) -> Option<Vec<u8>> {
        let formats = our_offer(self, other);
        self.sip.local.as_ref()?;
        let sdp = self
            .say(|local| Ok(offer_sip(local, &formats, will)))
            .ok()?;
        self.sip.offered = formats;
        self.told = will;
        Some(sdp)
    }

    /// Our answer to what this side offers. `prefers` is what the other one sends.
    pub fn answer(
        &mut self,
        theirs: &SipDescription,
        prefers: Option<&Codec>,
        will: Direction,
    ) -> Result<Vec<u8>, NegotiationError> {
        let chosen = codecs::for_sip(&theirs.formats, prefers);
        if chosen.is_empty() {
            return Err(NegotiationError::NoCommonCodec);
        }
        let ours = pictures::both(will, theirs.direction.reversed());
        let sdp = self.say(|local| answer_sip(local, theirs, &chosen, ours))?;
        self.told = will;
        Ok(sdp)
    }

    /// A description that says nothing new keeps its version (RFC 3264 §8).
    fn say(
        &mut self,
        write: impl Fn(&SipLocal) -> Result<Vec<u8>, NegotiationError>,
    ) -> Result<Vec<u8>, NegotiationError> {
        let local = self.sip.local.as_mut();
        let local = local.ok_or(NegotiationError::Incomplete("SIP leg"))?;
        let mut sdp = write(local)?;
        if self.said.as_ref().is_some_and(|said| said.0 != sdp) {
            local.version += 1;
            sdp = write(local)?;
        }
        self.said = Some(Said(sdp.clone()));
        Ok(sdp)
    }

    /// The codec that it is sent, or would be.
    pub fn speech(&self) -> Option<Codec> {
        let agreed = self.agreed();
        let format = codecs::speech(self.sent()).or(codecs::speech(&agreed));
        format.map(|format| format.codec.clone())
    }

    /// Its offer, by what its line takes.
    pub fn read_offer(&self, sdp: &[u8]) -> Result<SipDescription, NegotiationError> {
        read_offer(sdp, &self.sip.profile)
    }

    /// Its answer to our offer.
    pub fn read_answer(&self, sdp: &[u8]) -> Result<SipDescription, NegotiationError> {
        let local = self.sip.local.as_ref();
        let theirs = read_answer(sdp, local.ok_or(NegotiationError::NoAudio)?)?;
        let agreed = codecs::answered(&self.sip.offered, &theirs.formats);
        match codecs::speech(&agreed) {
            Some(_) => Ok(theirs),
            None => Err(NegotiationError::NoCommonCodec),
        }
    }

    /// Its description, taken for good.
    pub fn take(&mut self, theirs: SipDescription, source: SocketAddr) {
        if let Some(local) = self.sip.local.as_mut() {
            local.lines.clone_from(&theirs.lines);
        }
        // An answer in an ACK has no source of its own.
        if !source.ip().is_unspecified() {
            self.sip.source = Some(source.ip());
        }
        self.sip.description = Some(theirs);
        self.learn_will();
    }
}

impl Switchboard {
    /// Tells media what a side's description says and what it is sent, unless that was said before.
    pub(crate) fn connect_side(&mut self, key: CallKey, side: &mut Side, prefers: Option<&Codec>) {
        let (Some(theirs), Some(source)) = (&side.sip.description, side.sip.source) else {
            return;
        };
        let chosen = codecs::for_sip(&side.agreed(), prefers);
        let has_events = chosen.iter().any(|f| f.codec == Codec::TelephoneEvent);
        let mut remote = theirs.remote(chosen, source);
        if let Some(local) = side.sip.local.as_mut() {
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
        }
        for media in &mut remote.media {
            media.inband_dtmf = !has_events && self.config.inband_dtmf == InbandDtmf::Auto;
        }
        if side.sip.remote.as_ref() == Some(&remote) {
            return;
        }
        side.sip.remote = Some(remote.clone());
        let leg = side.sip.leg;
        self.media(key, Media::ConnectLeg { leg, remote });
    }

    /// One of the two said something new: both are sent what suits both, the codec of the one who spoke first.
    pub(crate) fn connect_pair(&mut self, key: CallKey, spoke: &mut Side, other: &mut Side) {
        let sent = other.speech();
        self.connect_side(key, spoke, sent.as_ref());
        let sent = spoke.speech();
        self.connect_side(key, other, sent.as_ref());
    }

    pub(crate) fn join_sides(&mut self, bridge: &mut Bridge) {
        let (a, b) = (bridge.caller.sip.leg, bridge.callee.sip.leg);
        if bridge.joined == Some(b) {
            return;
        }
        self.part_sides(bridge);
        bridge.joined = Some(b);
        self.media(bridge.key, Media::Join { a, b });
    }

    pub(crate) fn part_sides(&mut self, bridge: &mut Bridge) {
        let a = bridge.caller.sip.leg;
        if let Some(b) = bridge.joined.take() {
            self.media(bridge.key, Media::Part { a, b });
        }
    }
}
