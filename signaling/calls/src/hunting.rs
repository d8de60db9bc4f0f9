//! The ways that the dial plan gave for a page's call, tried one after the other until somebody answers. The browser
//! and its one description notice nothing of it; each try is a SIP leg of its own.

use crate::admission::Refused;
use crate::api::SessionId;
use crate::call::{Call, CallKey, FarLeg, LATER_LEGS, SipLeg, Stage, Standing, Wish};
use crate::limits::{ATTEMPTS, REDIRECTS};
use crate::record::Tried;
use crate::switchboard::Switchboard;
use serde::{Deserialize, Serialize};
use signaling_plan::{Attempt, Caller, Destination, Lot, Presented, Route, Ticket};
use signaling_sip::time::Instant;
use signaling_trunk::api::{
    CallerIdentity, End, Failure, Header, InviteId, InviteOptions, Line, Target,
};
use std::collections::VecDeque;

/// What is left of a route, and what was tried.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ByPlan {
    pub route: String,
    /// What was dialled, as the plan reads it.
    pub number: String,
    pub emergency: bool,
    pub ring_s: u32,
    next_on: Vec<u16>,
    left: VecDeque<Attempt>,
    /// The last one is on its way, or was answered.
    pub tried: Vec<Tried>,
    /// Of the line that is in use.
    pub line_ticket: Option<Ticket>,
    redirects: u8,
    /// The page was told that it rings, by an attempt before this one.
    pub rang: bool,
    what: What,
}

/// What the page wants each INVITE to say.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct What {
    pub params: Vec<(String, Option<String>)>,
    pub headers: Vec<Header>,
    pub extra: Vec<(char, String)>,
}

impl ByPlan {
    pub fn new(route: Route, what: What) -> ByPlan {
        let mut left = route.attempts;
        left.truncate(ATTEMPTS);
        ByPlan {
            route: route.name,
            number: route.number,
            emergency: route.emergency,
            ring_s: route.ring_s,
            next_on: route.next_on,
            left: left.into(),
            tried: Vec::new(),
            line_ticket: None,
            redirects: 0,
            rang: false,
            what,
        }
    }

    /// It came in by this line.
    pub fn came_by(&mut self, line: &Line) {
        self.left.clear();
        let to = match line {
            Line::Trunk(name) => Destination::Trunk(name.clone()).to_string(),
            Line::Phone(user) => Destination::Phone(user.clone()).to_string(),
        };
        self.tried = vec![Tried {
            to,
            ..Tried::default()
        }];
    }

    /// A response that leads to the next way; none at all always does.
    fn leads_on(&self, status: u16) -> bool {
        status == 0 || self.next_on.contains(&status)
    }

    fn was_tried(&self, attempt: &Attempt) -> bool {
        let to = attempt.to.to_string();
        let same = |tried: &Tried| tried.to == to && tried.user == attempt.user;
        self.tried.iter().any(same)
    }
}

impl Switchboard {
    /// What the plan says of a number that somebody dialled.
    pub(crate) fn way(
        &self,
        caller: &Caller,
        dialled: &str,
        lot: CallKey,
    ) -> Result<Route, Refused> {
        self.way_as(caller, &Presented::default(), dialled, lot)
    }

    /// The same for a call that came in by SIP and says who calls.
    pub(crate) fn way_as(
        &self,
        caller: &Caller,
        presented: &Presented,
        dialled: &str,
        lot: CallKey,
    ) -> Result<Route, Refused> {
        let mut lot = Draw(self.config.first_number ^ lot.0);
        let is_up = |to: &Destination| self.is_up(to);
        let way = self
            .plan
            .route_as(caller, presented, dialled, &is_up, &mut lot);
        way.answer.map_err(|no| Refused::sip(no.status, no.reason))
    }

    fn is_up(&self, to: &Destination) -> bool {
        match to {
            Destination::Trunk(name) => self.lines_up.contains(&Line::Trunk(name.clone())),
            Destination::Phone(user) => self.lines_up.contains(&Line::Phone(user.clone())),
            Destination::App { .. } | Destination::Account(_) => !self.sessions_at(to).is_empty(),
        }
    }

    /// The next way that may be used now, booked; else why the last one may not.
    pub(crate) fn next_way(
        &mut self,
        plan: &mut ByPlan,
        now: Instant,
    ) -> Result<(Line, Wish), Refused> {
        let mut refused = Refused::sip(404, "The dial plan has no way for this number");
        self.leave_line(plan, now);
        while let Some(attempt) = plan.left.pop_front() {
            if plan.tried.len() >= ATTEMPTS {
                break;
            }
            let mut tried = Tried {
                to: attempt.to.to_string(),
                user: attempt.user.clone(),
                status: 0,
            };
            let line = match &attempt.to {
                Destination::Trunk(name) => Line::Trunk(name.clone()),
                Destination::Phone(user) => Line::Phone(user.clone()),
                Destination::App { .. } | Destination::Account(_) => {
                    refused = Refused::sip(501, "Calls from page to page are not there yet");
                    tried.status = 501;
                    plan.tried.push(tried);
                    continue;
                }
            };
            if let Err(why) = self.take_line(&line, plan, now) {
                tried.status = why.sip_status.unwrap_or(503);
                plan.tried.push(tried);
                refused = why;
                continue;
            }
            plan.tried.push(tried);
            return Ok((line.clone(), wish(line, attempt, &plan.what)));
        }
        Err(refused)
    }

    /// After an attempt that nobody answered: true if the call goes on with another one.
    pub(crate) fn hunts_on(
        &mut self,
        key: CallKey,
        invite: InviteId,
        end: &End,
        now: Instant,
    ) -> bool {
        let End::Failed(failure) = end else {
            return false;
        };
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        let rings = call.stage == Stage::Calling && call.is_current(invite);
        let dialling = call.sip().is_some_and(|sip| sip.standing == Standing::New);
        if !rings || !dialling || call.later_legs >= LATER_LEGS {
            return false;
        }
        let session = call.session;
        let rang = call.sip().is_some_and(|sip| sip.rings);
        let Some(mut plan) = call.by_plan.take() else {
            return false;
        };
        plan.rang |= rang;
        if let Some(tried) = plan.tried.last_mut() {
            tried.status = failure.status;
        }
        let redirected = self.go_after(key, session, &mut plan, failure);
        let next = match redirected || plan.leads_on(failure.status) {
            true => self.next_way(&mut plan, now).ok(),
            false => None,
        };
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        call.by_plan = Some(plan);
        let Some((line, wish)) = next else {
            return false;
        };
        tracing::info!(
            call = key.0,
            ?line,
            after = failure.status,
            "the next way is tried"
        );
        self.put_aside(key, line, wish);
        true
    }

    /// A further SIP leg takes the place of the one that failed. A ringback of ours plays on.
    fn put_aside(&mut self, key: CallKey, line: Line, wish: Wish) {
        let heard = self
            .calls
            .get(&key)
            .is_some_and(|call| call.joined == Some(call.far_leg()));
        if heard {
            self.part(key);
        }
        let profile = self.profile_of(&line);
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        call.later_legs += 1;
        let leg = key.later_leg(call.later_legs);
        let invite = key.later_invite(call.later_legs);
        let FarLeg::Sip(current) = &mut call.far else {
            return;
        };
        let fresh = SipLeg::new(leg, invite, Some(wish))
            .with_profile(profile)
            .by_line(line);
        let mut old = std::mem::replace(&mut **current, fresh);
        old.standing = Standing::Replaced;
        old.early.clear();
        call.beside.push(old);
        self.close_replaced(key);
        self.make_later_leg(key, leg);
    }

    /// Whom a 3xx names is called only where the plan lets this caller call it; true if there is one.
    fn go_after(
        &mut self,
        key: CallKey,
        session: SessionId,
        plan: &mut ByPlan,
        failure: &Failure,
    ) -> bool {
        let Some(caller) = self.caller_of(session) else {
            return false;
        };
        if failure.contacts.is_empty() || plan.redirects >= REDIRECTS {
            return false;
        }
        plan.redirects += 1;
        let mut found = VecDeque::new();
        let mut number = None;
        for contact in failure.contacts.iter().take(ATTEMPTS) {
            match self.way(&caller, &crate::callee::dialled(contact), key) {
                // What a call for help may do is not what a redirection may do.
                Ok(route) if !route.emergency => {
                    number.get_or_insert(route.number);
                    found.extend(route.attempts);
                }
                Ok(_) => {}
                Err(no) => {
                    tracing::info!(call = key.0, why = no.info, "a redirection is not followed");
                }
            }
        }
        found.retain(|attempt| !plan.was_tried(attempt));
        let any = !found.is_empty();
        if let (true, Some(number)) = (any, number) {
            // What is called now is what its prefix's limits count.
            plan.number = number;
        }
        found.extend(plan.left.drain(..));
        found.truncate(ATTEMPTS);
        plan.left = found;
        any
    }
}

impl Call {
    /// How long it may ring by the plan, all attempts together.
    pub fn ring_s(&self) -> Option<u64> {
        let seconds = self.by_plan.as_ref()?.ring_s;
        (seconds > 0).then_some(u64::from(seconds))
    }
}

/// Who sent the call on (RFC 5806), as a whole `name-addr`: what the plan gives is a number.
pub(crate) fn diversion(number: &str) -> String {
    let plain: String = number
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "+*#-._".contains(*c))
        .map(|c| {
            if c == '#' {
                "%23".to_owned()
            } else {
                c.to_string()
            }
        })
        .collect();
    match plain.strip_prefix('+') {
        Some(_) => format!("<tel:{plain}>;reason=unconditional"),
        // A number without its country is nobody's alone: it needs a host, and ours is not to be told.
        None => format!("<sip:{plain}@anonymous.invalid>;reason=unconditional"),
    }
}

fn wish(line: Line, attempt: Attempt, what: &What) -> Wish {
    let identity = attempt.identity;
    Wish {
        target: Target::User {
            user: attempt.user,
            // A page's parameters could lead a carrier elsewhere (maddr, tgrp, rn): an extension's own part is all.
            params: what
                .params
                .iter()
                .filter(|(name, _)| {
                    ["user", "isub", "ext"].contains(&name.to_ascii_lowercase().as_str())
                })
                .cloned()
                .collect(),
        },
        headers: what.headers.clone(),
        extra: what.extra.clone(),
        options: InviteOptions {
            line: Some(line),
            identity: CallerIdentity {
                from_user: identity.from_user,
                asserted_user: identity.asserted_user,
                privacy: identity.privacy,
                diversion: identity.diversion.iter().map(|n| diversion(n)).collect(),
            },
            attempt_ms: attempt.attempt_ms,
            tell_redirects: true,
            ..InviteOptions::default()
        },
    }
}

/// Chance for trunks by weight, drawn from the call's own number: a switchboard that is restored draws the same.
struct Draw(u64);

impl Lot for Draw {
    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64: each number of the sequence is well mixed, and so is the first.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}
