//! A call: two legs, what was negotiated with each, and where it stands.

use crate::api::SessionId;
use crate::negotiate::{BrowserDescription, SipDescription, SipLocal};
use media_control::{Format, GroupId, LegId, LegStats, LocalTransport, Remote};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use signaling_sip::time::Instant;
use signaling_trunk::api::{Header, InviteId, OfferId, Target};
use std::net::IpAddr;

/// Numbers a call takes from the switchboard's counter; its legs, group and invite are derived from it.
pub(crate) const NUMBERS_PER_CALL: u64 = 4;

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

    pub fn sip_leg(self) -> LegId {
        LegId(self.0 + 1)
    }

    /// Even, as the trunk's contract wants it.
    pub fn invite(self) -> InviteId {
        InviteId(self.0)
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
    /// The protocol's callId.
    pub id: String,
    pub incoming: bool,
    pub caller: String,
    pub callee: String,
    pub visible_name: String,
    pub custom: Option<Value>,
    /// The INVITE as received, for the page when it is told of the call.
    pub invite_raw: Option<String>,
    pub started: Instant,
    pub answered: Option<Instant>,

    pub browser: BrowserLeg,
    pub far: FarLeg,
    pub stage: Stage,
    /// A join was asked for.
    pub joined: bool,
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
    pub invite: InviteId,
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
    /// A re-INVITE of ours that is on its way, with what it is for.
    pub reoffer: Option<Reoffer>,
    /// A re-INVITE of theirs without offer: the number of ours that waits for the ACK.
    pub awaits_answer: Option<OfferId>,
    pub held_by_us: bool,
    pub held_by_peer: bool,
    /// Nothing more will come from the trunk.
    pub over: bool,
    pub closed: bool,
    pub stats: Option<LegStats>,
}

/// What the INVITE is to say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Wish {
    pub target: Target,
    pub headers: Vec<Header>,
    pub extra: Vec<(char, String)>,
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
    pub fn sip(&self) -> Option<&SipLeg> {
        match &self.far {
            FarLeg::Sip(leg) => Some(leg),
            FarLeg::Echo { .. } => None,
        }
    }

    pub fn sip_mut(&mut self) -> Option<&mut SipLeg> {
        match &mut self.far {
            FarLeg::Sip(leg) => Some(leg),
            FarLeg::Echo { .. } => None,
        }
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
        let far = match &self.far {
            FarLeg::Echo { closed, .. } => *closed,
            FarLeg::Sip(leg) => leg.closed && leg.over,
        };
        far && self.browser.closed && self.stage == Stage::Ending
    }
}

impl SipLeg {
    pub fn new(invite: InviteId, wish: Option<Wish>) -> SipLeg {
        SipLeg {
            invite,
            local: None,
            offered: Vec::new(),
            description: None,
            remote: None,
            source: None,
            wish,
            reoffer: None,
            awaits_answer: None,
            held_by_us: false,
            held_by_peer: false,
            over: false,
            closed: false,
            stats: None,
        }
    }
}
