//! A call: its legs, what was negotiated with each, and where it stands.
//!
//! Usually there are two legs, the browser's and the far one. While a transfer is followed a third one is beside
//! them, and one that was replaced stays there until its dialog is over.

use crate::api::SessionId;
use crate::hunting::ByPlan;
use crate::negotiate::{BrowserDescription, SipDescription, SipLocal, offer_sip};
use media_control::{
    Direction, Face, Format, GroupId, LegId, LegSpec, LegStats, LocalTransport, Remote,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use signaling_plan::{MediaProfile, Srtp, Ticket};
use signaling_sip::time::Instant;
use signaling_trunk::api::{
    AccountId, ForkId, Header, InviteId, InviteOptions, Line, NO_ACCOUNT, OfferId, ReferId, Target,
};
use std::net::{IpAddr, SocketAddr};

/// Numbers a call takes from the switchboard's counter; its legs, group and invites are derived from it, and none
/// is used twice in one call: 0 is the browser's leg, 1 the first far one, then the far legs that come later, then
/// our ringbacks. Invites of ours are the even ones in order.
pub(crate) const NUMBERS_PER_CALL: u64 = 32;

/// Far legs that one call may have after its first: as many as its even numbers give invites. A transfer beyond
/// that is refused, so that two PBXs which send a call in a circle come to an end.
pub(crate) const LATER_LEGS: u8 = 15;

/// Ringbacks that one call may hear; after that it rings in silence.
pub(crate) const RINGBACKS: u8 = 14;

/// A call's number, which is also its group's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct CallKey(pub u64);

impl CallKey {
    pub fn group(self) -> GroupId {
        GroupId(self.0)
    }

    pub fn browser_leg(self) -> LegId {
        LegId(self.0)
    }

    /// The caller's of a bridge, which has no browser.
    pub fn caller_leg(self) -> LegId {
        LegId(self.0)
    }

    /// The far leg that a call begins with. The one that it has now is [`Call::far_leg`].
    pub fn first_far_leg(self) -> LegId {
        LegId(self.0 + 1)
    }

    /// The far leg that comes `nth` after the first, from 1 to [`LATER_LEGS`].
    pub fn later_leg(self, nth: u8) -> LegId {
        LegId(self.0 + 1 + u64::from(nth))
    }

    /// From 1 to [`RINGBACKS`].
    pub fn ringback_leg(self, nth: u8) -> LegId {
        LegId(self.0 + 1 + u64::from(LATER_LEGS) + u64::from(nth))
    }

    /// Even, as the trunk's contract wants it.
    pub fn invite(self) -> InviteId {
        InviteId(self.0)
    }

    /// That of the `nth` later leg, if the invite is ours.
    pub fn later_invite(self, nth: u8) -> InviteId {
        InviteId(self.0 + 2 * u64::from(nth))
    }

    pub fn of_leg(leg: LegId) -> CallKey {
        CallKey(leg.0 - leg.0 % NUMBERS_PER_CALL)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    pub key: CallKey,
    pub session: SessionId,
    /// Orders its trunk commands: the account's own number, so that no INVITE overtakes the account that it needs.
    pub trunk_lane: u64,
    /// Whose account its SIP side is; [`NO_ACCOUNT`] by a line.
    #[serde(default = "no_account")]
    pub account: AccountId,
    /// The protocol's callId.
    pub id: String,
    pub incoming: bool,
    pub caller: String,
    pub callee: String,
    pub visible_name: String,
    /// The far end's URI where we know more of it than a number.
    pub party_uri: Option<String>,
    pub custom: Option<Value>,
    /// The INVITE as received, for the page when it is told of the call.
    pub invite_raw: Option<String>,
    pub started: Instant,
    pub answered: Option<Instant>,

    pub browser: BrowserLeg,
    /// The far leg that the page talks with.
    pub far: FarLeg,
    /// SIP legs that are to take its place, and those whose place was taken.
    pub beside: Vec<SipLeg>,
    /// Far legs after the first, ever.
    pub later_legs: u8,
    /// Our own ringback that the page hears, and how many there were.
    pub ringback: Option<LegId>,
    pub ringbacks: u8,
    /// A transfer that the page asked for.
    pub transfer: Option<Transfer>,
    /// A transfer that the far side asked for.
    pub following: Option<Following>,
    /// The page's last hold said that it is for a transfer.
    pub hold_for_transfer: bool,
    /// What the page was told last, of HOLD and ESTABLISHED.
    pub told_hold: bool,
    /// What the dial plan said of it.
    #[serde(default)]
    pub by_plan: Option<Box<ByPlan>>,
    /// What it is booked under, while it lasts.
    #[serde(default)]
    pub tickets: Vec<Ticket>,
    /// The page came back with a token: it has no call object for this call.
    pub page_is_new: bool,
    pub stage: Stage,
    /// Whom the browser's leg was joined with.
    pub joined: Option<LegId>,
    /// What the legs that are gone have carried.
    pub past_stats: Vec<LegStats>,
    pub end: Option<Ended>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BrowserLeg {
    pub local: Option<LocalTransport>,
    /// Its offer, or its answer to ours.
    pub description: Option<BrowserDescription>,
    /// What was agreed; the first is what it sends. Empty until its one description is settled.
    pub formats: Vec<Format>,
    /// What we offered it (incoming calls).
    pub offered: Vec<Format>,
    pub closed: bool,
    pub stats: Option<LegStats>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum FarLeg {
    Echo { ready: bool, closed: bool },
    Sip(Box<SipLeg>),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SipLeg {
    pub leg: LegId,
    pub invite: InviteId,
    /// The operator's line that it goes by; none: the account's PBX.
    #[serde(default)]
    pub line: Option<Line>,
    /// The INVITE rings other sessions as well: the ringing group says what becomes of it.
    #[serde(default)]
    pub shared: bool,
    pub standing: Standing,
    /// What the line that it goes by wants of sound.
    #[serde(default)]
    pub profile: MediaProfile,
    pub local: Option<SipLocal>,
    /// Payload types of our last offer.
    pub offered: Vec<Format>,
    /// The peer's last description that was taken.
    pub description: Option<SipDescription>,
    /// What media was last told, so that the same again is not said twice (it would loosen the latch).
    pub remote: Option<Remote>,
    pub source: Option<IpAddr>,
    /// An outgoing call's wish, until the INVITE goes out.
    pub wish: Option<Wish>,
    /// Early dialogs with media, in the order in which they came.
    pub early: Vec<Early>,
    /// The early dialog whose media is in use.
    pub heard: Option<ForkId>,
    /// Somebody was heard to ring, so that a ringback is in place.
    pub rings: bool,
    /// Theirs, and it asks for the place of this one (RFC 3891).
    pub replaces: Option<InviteId>,
    /// Who it is that asks so.
    pub party: Option<Party>,
    /// A re-INVITE of ours that is on its way, with what it is for.
    pub reoffer: Option<Reoffer>,
    /// A re-INVITE of theirs without offer: the number of ours that waits for the ACK.
    pub awaits_answer: Option<OfferId>,
    /// A digit of the page's went out by INFO, whose refusal it has not been told.
    #[serde(default)]
    pub digits_by_info: bool,
    pub held_by_us: bool,
    pub held_by_peer: bool,
    /// The trunk knows of it: our INVITE went out, or theirs came in.
    pub placed: bool,
    /// The trunk was asked to end it.
    pub hung_up: bool,
    /// Nothing more will come from the trunk.
    pub over: bool,
    /// Media was asked to close it.
    pub closing: bool,
    pub closed: bool,
    pub stats: Option<LegStats>,
}

/// How far a SIP leg has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// Nobody has answered it yet.
    New,
    Answered,
    /// Another one took its place.
    Replaced,
}

/// What the INVITE is to say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Wish {
    pub target: Target,
    pub headers: Vec<Header>,
    pub extra: Vec<(char, String)>,
    pub options: InviteOptions,
}

/// An early dialog that brought a description.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Early {
    pub fork: ForkId,
    pub description: SipDescription,
    /// What it and we have in common.
    pub agreed: Vec<Format>,
    pub source: SocketAddr,
}

/// Our REFER.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub refer: ReferId,
    /// The call whose far end is to be the new party, in an attended transfer.
    pub consult: Option<CallKey>,
    /// COMPLETED was told: their BYE is awaited, or ours due.
    pub completed: bool,
    /// How often the page was told of its progress.
    #[serde(default)]
    pub progressed: u8,
}

/// Their REFER.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Following {
    pub refer: ReferId,
    /// The leg that asked.
    pub from: InviteId,
    /// Ours, which is to take its place.
    pub invite: InviteId,
    pub party: Party,
    /// The last status that the asker was told.
    pub told: u16,
    #[serde(default)]
    pub tickets: Vec<Ticket>,
}

/// Whom a page talks with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Party {
    pub user: String,
    pub display: String,
    pub uri: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reoffer {
    Hold,
    Unhold,
}

/// Where a call stands. What is still to come is in the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Media makes the legs.
    AwaitingLegs,
    /// The INVITE waits for the account's registration.
    AwaitingRegistration,
    /// Our INVITE is out.
    Calling,
    /// The page rings.
    Ringing,
    Established,
    /// The page was told; legs and dialog are being put away.
    Ending,
}

/// How it ended, as the page was told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub at: Instant,
    pub status: String,
    pub info: String,
    pub sip_status: Option<u16>,
    pub by: String,
}

impl Call {
    /// A call that has only begun; the caller fills in who talks with whom.
    pub fn new(key: CallKey, session: SessionId, id: String, incoming: bool, now: Instant) -> Call {
        Call {
            key,
            session,
            trunk_lane: 0,
            account: NO_ACCOUNT,
            id,
            incoming,
            caller: String::new(),
            callee: String::new(),
            visible_name: String::new(),
            party_uri: None,
            custom: None,
            invite_raw: None,
            started: now,
            answered: None,
            browser: BrowserLeg {
                local: None,
                description: None,
                formats: Vec::new(),
                offered: Vec::new(),
                closed: false,
                stats: None,
            },
            far: FarLeg::Echo {
                ready: false,
                closed: true,
            },
            beside: Vec::new(),
            later_legs: 0,
            ringback: None,
            ringbacks: 0,
            transfer: None,
            following: None,
            hold_for_transfer: false,
            by_plan: None,
            tickets: Vec::new(),
            told_hold: false,
            page_is_new: false,
            stage: Stage::AwaitingLegs,
            joined: None,
            past_stats: Vec::new(),
            end: None,
        }
    }

    /// The SIP leg that the page talks with.
    pub fn sip(&self) -> Option<&SipLeg> {
        match &self.far {
            FarLeg::Sip(leg) => Some(leg),
            FarLeg::Echo { .. } => None,
        }
    }

    /// What the line of the SIP leg wants of sound.
    pub fn profile(&self) -> MediaProfile {
        self.sip()
            .map(|sip| sip.profile.clone())
            .unwrap_or_default()
    }

    pub fn sip_mut(&mut self) -> Option<&mut SipLeg> {
        match &mut self.far {
            FarLeg::Sip(leg) => Some(leg),
            FarLeg::Echo { .. } => None,
        }
    }

    pub fn far_leg(&self) -> LegId {
        self.sip().map_or(self.key.first_far_leg(), |sip| sip.leg)
    }

    /// All SIP legs, the current one first.
    pub fn sips(&self) -> impl Iterator<Item = &SipLeg> {
        self.sip().into_iter().chain(&self.beside)
    }

    pub fn sips_mut(&mut self) -> impl Iterator<Item = &mut SipLeg> {
        let current = match &mut self.far {
            FarLeg::Sip(leg) => Some(&mut **leg),
            FarLeg::Echo { .. } => None,
        };
        current.into_iter().chain(&mut self.beside)
    }

    pub fn by_invite(&self, invite: InviteId) -> Option<&SipLeg> {
        self.sips().find(|sip| sip.invite == invite)
    }

    pub fn by_invite_mut(&mut self, invite: InviteId) -> Option<&mut SipLeg> {
        self.sips_mut().find(|sip| sip.invite == invite)
    }

    /// Whether the invite is that of the leg that the page talks with.
    pub fn is_current(&self, invite: InviteId) -> bool {
        self.sip().is_some_and(|sip| sip.invite == invite)
    }

    pub fn legs_ready(&self) -> bool {
        let far = match &self.far {
            FarLeg::Echo { ready, .. } => *ready,
            FarLeg::Sip(leg) => leg.local.is_some(),
        };
        far && self.browser.local.is_some()
    }

    /// Nothing is owed any more: the record can be written and the call forgotten.
    pub fn is_settled(&self) -> bool {
        let echo = match &self.far {
            FarLeg::Echo { closed, .. } => *closed,
            FarLeg::Sip(_) => true,
        };
        let sips = self.sips().all(|leg| leg.closed && leg.over);
        echo && sips && self.browser.closed && self.stage == Stage::Ending
    }
}

fn no_account() -> AccountId {
    NO_ACCOUNT
}

impl SipLeg {
    pub fn new(leg: LegId, invite: InviteId, wish: Option<Wish>) -> SipLeg {
        SipLeg {
            leg,
            invite,
            line: None,
            shared: false,
            standing: Standing::New,
            profile: MediaProfile::default(),
            local: None,
            offered: Vec::new(),
            description: None,
            remote: None,
            source: None,
            wish,
            early: Vec::new(),
            heard: None,
            rings: false,
            replaces: None,
            party: None,
            reoffer: None,
            awaits_answer: None,
            digits_by_info: false,
            held_by_us: false,
            held_by_peer: false,
            placed: false,
            hung_up: false,
            over: false,
            closing: false,
            closed: false,
            stats: None,
        }
    }

    /// By a line that wants this of sound; a page's own account has no wishes.
    pub fn by_line(self, line: Line) -> SipLeg {
        SipLeg {
            line: Some(line),
            ..self
        }
    }

    pub fn with_profile(self, profile: MediaProfile) -> SipLeg {
        SipLeg { profile, ..self }
    }

    /// Another line is to be used after all: whatever media has made already serves it as far as it can.
    pub fn goes_by(&mut self, profile: MediaProfile) {
        if let Some(local) = &mut self.local {
            local.goes_by(&profile);
        }
        self.profile = profile;
    }

    /// What our INVITE says: an offer, or nothing where the line wants the peer to offer (RFC 3264 §4).
    pub fn first_offer(&self, local: &SipLocal, ours: Direction) -> Vec<u8> {
        if self.profile.late_offer {
            return Vec::new();
        }
        offer_sip(local, &self.offered, ours)
    }

    /// The leg as media is to make it. Keys are drawn for all but those that shall have none: a peer may offer SRTP
    /// at any time.
    pub fn spec(&self, pictures: bool) -> LegSpec {
        let keyed = matches!(self.profile.srtp, Srtp::Offer | Srtp::Require);
        LegSpec::Rtp {
            face: Face::Inside,
            sdes: self.profile.srtp != Srtp::Forbid,
            video: pictures && !keyed && !self.profile.ice,
            ice: self.profile.ice,
        }
    }
}
