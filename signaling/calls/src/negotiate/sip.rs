//! The SIP side: RTP, plain or with keys, offered and answered as often as the dialog likes.

use super::ice::PeerIce;
use super::sip_read::{is_secure_rtp, own_ptime};
use super::{NegotiationError, keys, pictures};
use media_control::{
    Direction, Format, IceCredentials, KeyFrameRequests, MediaKind, Remote, RemoteMedia,
    RemoteTransport, SdesKey, VideoAddresses,
};
use serde::{Deserialize, Serialize};
use signaling_plan::{MediaProfile, Srtp};
use std::net::{IpAddr, SocketAddr};

/// Our end of a SIP leg's description, which keeps its origin through the dialog (RFC 3264 §8).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SipLocal {
    pub address: SocketAddr,
    pub session_id: u64,
    pub version: u64,
    /// Attribute and bandwidth lines that the page asked for, already checked.
    pub extra: Vec<(char, String)>,
    /// Our end for pictures, where the leg has one.
    #[serde(default)]
    pub video: Option<SipVideoLocal>,
    /// The m-lines of this dialog so far: their number and order stay for good (RFC 3264 §8).
    #[serde(default)]
    pub lines: Vec<LineShape>,
    /// What the line wants of sound.
    #[serde(default)]
    pub profile: MediaProfile,
    /// Our keys, one for each suite of the line, in its order.
    #[serde(default)]
    pub keys: Vec<SdesKey>,
    /// Sound is encrypted, by what was agreed last.
    #[serde(default)]
    pub keyed: bool,
    /// What the leg answers checks with, where the line wants ICE.
    #[serde(default)]
    pub ice: Option<IceCredentials>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SipVideoLocal {
    pub address: SocketAddr,
    /// What the page can send and show, under the numbers that we use towards this peer. None: nothing.
    pub formats: Vec<Format>,
    /// What the page wants of its pictures, which is what we want of the peer's.
    pub direction: Direction,
}

/// What an m-line is, in any description of a dialog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineShape {
    /// `None`: nothing of ours.
    pub carries: Option<MediaKind>,
    pub kind: String,
    pub protocol: String,
    pub formats: Vec<String>,
}

impl SipLocal {
    /// The end of a leg that has just been made, for a peer to whom `address` is the nearest. `drawn`: the keys that
    /// media drew for it.
    pub fn new(
        address: SocketAddr,
        session_id: u64,
        profile: MediaProfile,
        drawn: &[SdesKey],
    ) -> SipLocal {
        SipLocal {
            address,
            session_id,
            version: 1,
            extra: Vec::new(),
            video: None,
            lines: Vec::new(),
            keys: keys::own(&profile, drawn),
            profile,
            keyed: false,
            ice: None,
        }
    }

    pub fn with_ice(self, ice: Option<IceCredentials>) -> SipLocal {
        let ice = ice.filter(|_| self.profile.ice);
        SipLocal { ice, ..self }
    }

    pub fn goes_by(&mut self, profile: &MediaProfile) {
        self.keys = keys::own(profile, &self.keys);
        self.ice.take_if(|_| !profile.ice);
        self.profile = profile.clone();
    }

    /// Offers of ours bring keys.
    pub(super) fn offers_keys(&self) -> bool {
        let wanted = matches!(self.profile.srtp, Srtp::Offer | Srtp::Require);
        (wanted || self.keyed) && !self.keys.is_empty()
    }

    /// The m-line of sound in the dialog so far says that it is encrypted.
    pub(super) fn is_secure(&self) -> bool {
        let mut sound = self.lines.iter();
        let sound = sound.find(|line| line.carries == Some(MediaKind::Audio));
        match sound {
            Some(line) => is_secure_rtp(&line.protocol),
            None => self.profile.srtp == Srtp::Require,
        }
    }

    pub(super) fn ptime_ms(&self) -> Option<u32> {
        own_ptime(&self.profile)
    }
}

impl SipVideoLocal {
    pub(super) fn is_usable(&self) -> bool {
        !self.formats.is_empty()
    }
}

/// What a SIP peer's description says, once read. Its bytes and keys are secrets where it has keys (`Debug` leaves
/// them out).
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct SipDescription {
    pub bytes: Vec<u8>,
    pub audio: usize,
    pub formats: Vec<Format>,
    /// As the peer wrote it.
    pub direction: Direction,
    pub rtp: Option<SocketAddr>,
    pub rtcp: Option<SocketAddr>,
    /// `a=rtcp-mux`: in an offer a wish that our answer grants; an answer has none to grant, since we never
    /// offer it (RFC 5761 §5.1.1).
    pub muxed: bool,
    pub ptime_ms: u32,
    /// `o=` session id and version: the same again means that nothing changed.
    pub origin: (u64, u64),
    /// Its pictures, where it has any that we can carry.
    #[serde(default)]
    pub pictures: Option<SipPictures>,
    /// It answers an offer of ours.
    #[serde(default)]
    pub is_answer: bool,
    #[serde(default)]
    pub lines: Vec<LineShape>,
    /// Its keys that the line can use, in its order.
    #[serde(default)]
    pub keys: Vec<SdesKey>,
    /// RTP/SAVP: with keys or not at all.
    #[serde(default)]
    pub secure: bool,
    /// It has keys, and none that the line can use.
    #[serde(default)]
    pub strange_keys: bool,
    /// Where the line does ICE.
    #[serde(default)]
    pub ice: Option<PeerIce>,
}

impl std::fmt::Debug for SipDescription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SipDescription")
            .field("formats", &self.formats)
            .field("direction", &self.direction)
            .field("rtp", &self.rtp)
            .field("rtcp", &self.rtcp)
            .field("ptime_ms", &self.ptime_ms)
            .field("pictures", &self.pictures)
            .field("keys", &self.keys)
            .field("ice", &self.ice)
            .finish_non_exhaustive()
    }
}

/// A SIP peer's m-line of pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SipPictures {
    pub line: usize,
    pub formats: Vec<Format>,
    /// As the peer wrote it.
    pub direction: Direction,
    pub rtp: Option<SocketAddr>,
    pub rtcp: Option<SocketAddr>,
    pub muxed: bool,
    pub key_frame: KeyFrameRequests,
}

impl SipDescription {
    /// The words for the media role. `formats` are the negotiated ones, what we send first. Whose SIP came from
    /// elsewhere means its own loopback address, not ours: nothing is sent there.
    pub fn remote(&self, formats: Vec<Format>, signalling: IpAddr) -> Remote {
        let is_local = |ip: IpAddr| ip.to_canonical().is_loopback();
        let means_itself = |to: &SocketAddr| is_local(to.ip()) && !is_local(signalling);
        Remote {
            transport: RemoteTransport::Rtp {
                rtp: self.rtp.filter(|to| !means_itself(to)),
                rtcp: if self.muxed { self.rtp } else { self.rtcp }.filter(|to| !means_itself(to)),
                signalling,
                sdes: None,
                video: None,
                ice: self
                    .ice
                    .as_ref()
                    .filter(|ice| ice.checks())
                    .map(|ice| Box::new(ice.credentials.clone())),
            },
            media: vec![RemoteMedia {
                kind: MediaKind::Audio,
                direction: self.direction.reversed(),
                formats,
                ptime_ms: self.ptime_ms,
                mid: None,
                key_frame: media_control::KeyFrameRequests::default(),
                inband_dtmf: false,
            }],
        }
    }

    /// Adds the pictures that both have to the words for the media role.
    pub fn show(&self, remote: &mut Remote, local: &SipLocal, signalling: IpAddr) {
        let (Some(theirs), Some(ours)) = (&self.pictures, &local.video) else {
            return;
        };
        let formats = pictures::agreed(&ours.formats, &theirs.formats, self.is_answer);
        let RemoteTransport::Rtp { video, sdes, .. } = &mut remote.transport else {
            return;
        };
        // Each m-line has keys of its own (RFC 4568 §5), and there are none for pictures.
        if formats.is_empty() || sdes.is_some() {
            return;
        }
        let is_local = |ip: IpAddr| ip.to_canonical().is_loopback();
        let means_itself = |to: &SocketAddr| is_local(to.ip()) && !is_local(signalling);
        let rtcp = if theirs.muxed {
            theirs.rtp
        } else {
            theirs.rtcp
        };
        *video = Some(Box::new(VideoAddresses {
            rtp: theirs.rtp.filter(|to| !means_itself(to)),
            rtcp: rtcp.filter(|to| !means_itself(to)),
        }));
        remote.media.push(RemoteMedia {
            kind: MediaKind::Video,
            direction: pictures::both(theirs.direction.reversed(), ours.direction),
            formats,
            ptime_ms: self.ptime_ms,
            mid: None,
            key_frame: theirs.key_frame,
            inband_dtmf: false,
        });
    }

    /// The same read as an answer to an offer of ours.
    pub fn as_answer(self) -> SipDescription {
        let pictures = self.pictures.map(|pictures| SipPictures {
            muxed: false,
            ..pictures
        });
        SipDescription {
            muxed: false,
            is_answer: true,
            pictures,
            ..self
        }
    }

    /// What opens the peer's packets and what closes ours: its first key that we can use and ours of the same suite, both
    /// under the offer's tag (RFC 4568 §5.1.2, §5.1.3). `None`: plain RTP.
    pub fn agreed_keys(
        &self,
        local: &SipLocal,
    ) -> Result<Option<(SdesKey, SdesKey)>, NegotiationError> {
        let refused = || {
            NegotiationError::Profile(if self.secure { "RTP/SAVP" } else { "RTP/AVP" }.to_owned())
        };
        let required = self.secure || local.profile.srtp == Srtp::Require;
        if !self.is_answer {
            let both = self.keys.iter().find_map(|theirs| {
                let ours = local
                    .keys
                    .iter()
                    .find(|ours| ours.profile == theirs.profile)?;
                let tag = theirs.tag;
                Some((
                    theirs.clone(),
                    SdesKey {
                        tag,
                        ..ours.clone()
                    },
                ))
            });
            return match both {
                None if required => Err(refused()),
                both => Ok(both),
            };
        }
        if !local.offers_keys() {
            // An answer with keys to an offer without.
            return if self.secure {
                Err(refused())
            } else {
                Ok(None)
            };
        }
        match self.keys.first() {
            Some(theirs) => {
                let ours = local
                    .keys
                    .iter()
                    .find(|ours| ours.tag == theirs.tag && ours.profile == theirs.profile)
                    .ok_or(NegotiationError::Incomplete(
                        "a=crypto with a tag of our offer",
                    ))?;
                Ok(Some((theirs.clone(), ours.clone())))
            }
            // What was offered as encrypted is never answered as plain (RFC 4568 §5.1.3); beside plain RTP keys may be
            // passed over (RFC 8643 §3.2), but not answered by others.
            None if required || local.is_secure() || self.strange_keys => Err(refused()),
            None => Ok(None),
        }
    }

    /// The peer does not want to hear us: `sendonly`, `inactive`, or the address 0.0.0.0 of RFC 2543.
    pub fn holds(&self) -> bool {
        !self.direction.receives() || self.rtp.is_none()
    }
}
