//! A bridge: its two sides and where it stands.

use crate::call::{CallKey, Ended, SipLeg, Standing};
use crate::hunting::diversion;
use crate::negotiate::{codecs, pictures};
use media_control::{Direction, Format, LegId, LegStats};
use serde::{Deserialize, Serialize};
use signaling_plan::{Attempt, Destination, Route, Ticket};
use signaling_sip::time::Instant;
use signaling_trunk::api::{CallerIdentity, Header, InviteId, InviteOptions, Line, ReferId};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bridge {
    pub key: CallKey,
    pub route: Route,
    /// Which of the route's attempts is being made.
    pub attempt: usize,
    pub from: CallingParty,
    /// What the caller dialled.
    pub called: String,
    /// What passes from the caller's INVITE into ours.
    pub headers: Vec<Header>,
    /// Our INVITEs have as many hops left (RFC 7332 §4).
    pub hops: u8,
    pub caller: Side,
    /// Whom the attempt at hand calls.
    pub callee: Side,
    /// Whom earlier attempts called, as long as something is owed.
    pub past: Vec<Side>,
    /// Who is to take a side's place, because that side asked for it (RFC 3515).
    #[serde(default)]
    pub coming: Option<Coming>,
    /// INVITEs of ours so far.
    pub invites: u8,
    pub stage: Stage,
    /// The callee's leg that the caller's is joined with.
    pub joined: Option<LegId>,
    /// What the caller is booked under, and the line of the attempt at hand.
    pub tickets: Vec<Ticket>,
    pub line_ticket: Option<Ticket>,
    pub started: Instant,
    pub answered: Option<Instant>,
    pub past_stats: Vec<LegStats>,
    pub end: Option<Ended>,
}

/// Who calls, as the callee may be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CallingParty {
    pub user: String,
    pub display: String,
    /// The value of the caller's Privacy (RFC 3323).
    pub privacy: Option<String>,
}

/// A REFER that is carried out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Coming {
    pub side: Side,
    /// Who asked, and whose place it is.
    pub from: InviteId,
    pub refer: ReferId,
    /// What our INVITE is to say.
    pub user: String,
    pub options: InviteOptions,
    pub tickets: Vec<Ticket>,
    /// The last status that the asker was told.
    pub told: u16,
}

/// One end of a bridge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Side {
    pub line: Line,
    pub sip: SipLeg,
    /// What it wants by itself, whatever the other side wants: `SendOnly` holds.
    pub will: Direction,
    /// The other side's will, as this one was told it last.
    pub told: Direction,
    /// Our last description in this dialog; the same again keeps its version.
    pub said: Option<Said>,
    /// Our re-INVITE is on its way, with the will that it carries.
    pub asking: Option<Direction>,
}

/// A description of ours. It may hold keys, so `Debug` leaves it out.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Said(pub Vec<u8>);

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Said(…)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Media makes the first legs.
    AwaitingLegs,
    /// The callee is called, or its leg is being made.
    Calling,
    Established,
    /// Legs and dialogs are being put away.
    Ending,
}

impl Bridge {
    pub fn sides(&self) -> impl Iterator<Item = &Side> {
        let coming = self.coming.as_ref().map(|coming| &coming.side);
        [&self.caller, &self.callee]
            .into_iter()
            .chain(coming)
            .chain(&self.past)
    }

    pub fn sides_mut(&mut self) -> impl Iterator<Item = &mut Side> {
        let coming = self.coming.as_mut().map(|coming| &mut coming.side);
        [&mut self.caller, &mut self.callee]
            .into_iter()
            .chain(coming)
            .chain(&mut self.past)
    }

    /// The side of an invite with the one at the other end, if it is one of the two that talk.
    pub fn pair(&mut self, invite: InviteId) -> Option<(&mut Side, &mut Side)> {
        if self.caller.sip.invite == invite {
            Some((&mut self.caller, &mut self.callee))
        } else if self.callee.sip.invite == invite {
            Some((&mut self.callee, &mut self.caller))
        } else {
            None
        }
    }

    pub fn note_closed(&mut self, leg: LegId, stats: Option<LegStats>) {
        if let Some(side) = self.sides_mut().find(|side| side.sip.leg == leg) {
            side.sip.closed = true;
            side.sip.stats = stats.or(side.sip.stats.take());
        }
    }

    pub fn is_ending(&self) -> bool {
        self.stage == Stage::Ending
    }

    /// Nothing is owed any more.
    pub fn is_settled(&self) -> bool {
        self.stage == Stage::Ending && self.sides().all(Side::is_done)
    }

    /// How the caller is shown to an attempt's line.
    ///
    /// What the plan says comes first. Else a number that came in by a trunk, and a phone's name towards another
    /// phone, are shown as they are; a phone is not made known to a trunk by its own name.
    pub fn identity(&self, attempt: &Attempt) -> CallerIdentity {
        let plan = &attempt.identity;
        let as_it_is = matches!(self.caller.line, Line::Trunk(_))
            || matches!(attempt.to, Destination::Phone(_));
        let from_user = match plan.from_user.as_str() {
            "" if as_it_is => self.from.user.clone(),
            user => user.to_owned(),
        };
        CallerIdentity {
            from_user,
            asserted_user: plan.asserted_user.clone(),
            privacy: plan.privacy.clone().or(self.from.privacy.clone()),
            diversion: plan.diversion.iter().map(|n| diversion(n)).collect(),
        }
    }
}

impl Side {
    pub fn new(line: Line, sip: SipLeg) -> Side {
        Side {
            line,
            sip,
            will: Direction::SendRecv,
            told: Direction::SendRecv,
            said: None,
            asking: None,
        }
    }

    pub fn is_done(&self) -> bool {
        self.sip.closed && self.sip.over
    }

    /// It has a dialog that stands.
    pub fn is_talking(&self) -> bool {
        let sip = &self.sip;
        sip.standing == Standing::Answered && !sip.over && !sip.hung_up
    }

    /// What it and we have in common by its last description, with its numbers for what we send.
    pub fn agreed(&self) -> Vec<Format> {
        match &self.sip.description {
            Some(theirs) if theirs.is_answer => {
                codecs::answered(&self.sip.offered, &theirs.formats)
            }
            Some(theirs) => theirs.formats.clone(),
            None => Vec::new(),
        }
    }

    /// What it is sent now, the codec in use first.
    pub fn sent(&self) -> &[Format] {
        let media = self.sip.remote.as_ref().map(|r| r.media.as_slice());
        media
            .and_then(|media| media.first())
            .map_or(&[], |media| &media.formats)
    }

    /// Notes what it wants: by an offer of its own all of it, by an answer as much as our offer left open.
    pub fn learn_will(&mut self) {
        let Some(theirs) = &self.sip.description else {
            return;
        };
        // 0.0.0.0 is an old way to say that nothing is to be sent (RFC 2543 §B.5).
        let says = match theirs.rtp {
            Some(_) => theirs.direction,
            None => pictures::both(theirs.direction, Direction::SendOnly),
        };
        if !theirs.is_answer {
            self.will = says;
            return;
        }
        let sends = if self.told.receives() {
            says.sends()
        } else {
            self.will.sends()
        };
        let receives = if self.told.sends() {
            says.receives()
        } else {
            self.will.receives()
        };
        self.will = match (sends, receives) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        };
    }
}

pub(crate) fn line_of(attempt: &Attempt) -> Option<Line> {
    match &attempt.to {
        Destination::Trunk(name) => Some(Line::Trunk(name.clone())),
        Destination::Phone(user) => Some(Line::Phone(user.clone())),
        // Sessions ring by another way.
        Destination::App { .. } | Destination::Account(_) => None,
    }
}
