//! One INVITE that rings several sessions: each has a call and legs of its own, the trunk has one INVITE. Who answers
//! first has it, the others' calls finish; when the last one has declined, the caller hears that.

use crate::api::SessionId;
use crate::call::{Call, CallKey, FarLeg, SipLeg, Stage};
use crate::ending::How;
use crate::hunting::{ByPlan, What};
use crate::incoming::Arrival;
use crate::limits::{CALLS_PER_SESSION, RINGING_TOGETHER};
use crate::negotiate::SipDescription;
use crate::routing::shown;
use crate::switchboard::Switchboard;
use serde::{Deserialize, Serialize};
use signaling_plan::{Destination, Route};
use signaling_protocol::CallStatusInfo;
use signaling_sip::time::Instant;
use signaling_trunk::api::{ByLine, Command as Trunk, End, InviteId, NO_ACCOUNT};
use std::collections::BTreeSet;

/// The calls that one INVITE rings.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ringing {
    members: BTreeSet<CallKey>,
    /// The caller was told that it rings.
    rang: bool,
}

impl Switchboard {
    /// Sessions that a destination names, whose pages are there.
    pub(crate) fn sessions_at(&self, to: &Destination) -> Vec<SessionId> {
        let is_there = |session: &crate::session::Session| !session.closing && !session.parked;
        let is_named = |session: &crate::session::Session| match to {
            Destination::App { app, number } => {
                let of_app = session
                    .user
                    .as_ref()
                    .is_some_and(|u| app.is_empty() || u.app_key == *app);
                let has = session.line_identity.as_ref().map(|i| &i.number);
                of_app && (number.is_none() || has == number.as_ref())
            }
            Destination::Account(account) => crate::callers::proven_account(session)
                .is_some_and(|proven| proven.eq_ignore_ascii_case(account)),
            Destination::Trunk(_) | Destination::Phone(_) => false,
        };
        self.sessions
            .iter()
            .filter(|(_, session)| is_there(session) && is_named(session))
            .map(|(id, _)| *id)
            .collect()
    }

    pub(crate) fn has_hands_free(&self, session: SessionId) -> bool {
        self.calls_of(session).len() < CALLS_PER_SESSION
    }

    /// A call for each of them.
    pub(crate) fn ring_sessions(
        &mut self,
        arrival: Arrival,
        by: &ByLine,
        route: &Route,
        sessions: &[SessionId],
        description: Option<SipDescription>,
        now: Instant,
    ) {
        let invite = arrival.invite;
        let shared = sessions.len() > 1;
        let mut members = BTreeSet::new();
        for session in sessions.iter().take(RINGING_TOGETHER) {
            let key = self.new_key();
            let profile = self.profile_of(&by.line);
            let mut sip = SipLeg::new(key.first_far_leg(), invite, None)
                .with_profile(profile)
                .by_line(by.line.clone());
            sip.placed = true;
            sip.shared = shared;
            sip.description.clone_from(&description);
            sip.source = Some(arrival.source.ip());
            let from = shown(&arrival, by);
            let visible_name = match from.display.is_empty() {
                true => from.user.clone(),
                false => from.display.clone(),
            };
            let mut plan = ByPlan::new(route.clone(), What::default());
            plan.came_by(&by.line);
            let call = Call {
                // One lane for all of them: they speak to the same INVITE.
                trunk_lane: invite.0,
                account: NO_ACCOUNT,
                caller: from.user.clone(),
                callee: by.called.user.clone(),
                visible_name,
                party_uri: Some(from.uri.clone()),
                invite_raw: Some(arrival.raw.clone()),
                far: FarLeg::Sip(Box::new(sip)),
                by_plan: Some(Box::new(plan)),
                ..Call::new(key, *session, format!("in-{:x}", key.0), true, now)
            };
            if !shared {
                self.by_invite.insert(invite, key);
            }
            members.insert(key);
            self.by_id.insert((*session, call.id.clone()), key);
            self.make_legs(&call);
            self.by_session.insert((*session, key));
            self.calls.insert(key, call);
        }
        if shared {
            let rang = false;
            self.ringing.insert(invite, Ringing { members, rang });
        }
    }

    /// Whether the caller is still to be told that it rings.
    pub(crate) fn first_to_ring(&mut self, invite: InviteId) -> bool {
        match self.ringing.get_mut(&invite) {
            Some(group) => !std::mem::replace(&mut group.rang, true),
            None => true,
        }
    }

    /// A call of a group ends: true if others ring on, so that the INVITE is not this one's to end.
    pub(crate) fn leaves_others_ringing(&mut self, key: CallKey) -> bool {
        let Some(sip) = self.calls.get_mut(&key).and_then(|call| call.sip_mut()) else {
            return false;
        };
        if !std::mem::take(&mut sip.shared) {
            return false;
        }
        let invite = sip.invite;
        let Some(group) = self.ringing.get_mut(&invite) else {
            return false;
        };
        group.members.remove(&key);
        if group.members.is_empty() {
            self.ringing.remove(&invite);
            self.by_invite.insert(invite, key);
            return false;
        }
        if let Some(sip) = self.calls.get_mut(&key).and_then(|call| call.sip_mut()) {
            sip.over = true;
        }
        true
    }

    /// The INVITE is this call's alone from now on.
    pub(crate) fn takes_it(&mut self, key: CallKey, now: Instant) {
        let Some(sip) = self.calls.get_mut(&key).and_then(|call| call.sip_mut()) else {
            return;
        };
        let invite = sip.invite;
        if !std::mem::take(&mut sip.shared) {
            return;
        }
        self.by_invite.insert(invite, key);
        let others = self.ringing.remove(&invite).unwrap_or_default().members;
        for other in others.into_iter().filter(|other| *other != key) {
            let how = How::gateway(CallStatusInfo::NormalCallClearing.as_str(), Some(200));
            self.end_member(other, how, now);
        }
    }

    /// The caller gave up, or its INVITE was lost: true if it rang several sessions.
    pub(crate) fn ringing_ended(&mut self, invite: InviteId, end: &End, now: Instant) -> bool {
        let Some(group) = self.ringing.remove(&invite) else {
            return false;
        };
        for key in group.members {
            let how = self.how(end.clone());
            self.end_member(key, how, now);
        }
        true
    }

    fn end_member(&mut self, key: CallKey, how: How, now: Instant) {
        let call = self.calls.get_mut(&key);
        if let Some(sip) = call.and_then(|call| call.sip_mut()) {
            sip.shared = false;
            sip.over = true;
        }
        self.end(key, how, now);
        self.settle(key, now);
    }

    /// An offer inside an INVITE that several sessions ring for: not now (RFC 3261 §14.2).
    pub(crate) fn is_ringing(&self, invite: InviteId) -> bool {
        self.ringing.contains_key(&invite)
    }

    pub(crate) fn tell_ringing(&mut self, key: CallKey) {
        let call = self.calls.get(&key);
        let Some(invite) = call.and_then(|c| c.sip()).map(|sip| sip.invite) else {
            return;
        };
        if call.is_some_and(|call| call.stage == Stage::Ending) || !self.first_to_ring(invite) {
            return;
        }
        self.trunk(
            key.0,
            Trunk::Progress {
                invite,
                status: 180,
                sdp: None,
            },
        );
    }
}
