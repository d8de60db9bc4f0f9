//! Transfers and INFOs between the two: who asks for what when, what the calls above would do, and what must
//! hold of all that was told.

use crate::world::{Side, World};
use signaling_trunk::api::{Command, Event, InviteId, ReferId, ReferTo, Target};
use std::collections::BTreeMap;
use std::time::Duration;

/// Times from the start of the call.
#[derive(Clone, Default)]
pub struct Wishes {
    pub caller_refers: Vec<Duration>,
    pub callee_refers: Vec<Duration>,
    /// As many digits as each side presses, one right after the other.
    pub digits: u8,
    pub digits_at: Duration,
    /// Of some REFERs that it took the other side never says how they ended.
    pub forgetful: bool,
}

impl Wishes {
    /// What one side asks for in its call.
    pub fn of(&self, side: Side, invite: InviteId) -> Vec<(Duration, Command)> {
        let (refers, first) = match side {
            Side::Caller => (&self.caller_refers, 1_000),
            Side::Callee => (&self.callee_refers, 2_000),
        };
        let refer = |(n, at): (usize, &Duration)| {
            let target = Target::User {
                user: "third".into(),
                params: Vec::new(),
            };
            let command = Command::Refer {
                invite,
                refer: ReferId(first + n as u64),
                to: ReferTo::Target(target),
            };
            (*at, command)
        };
        let digit = |n| {
            let command = Command::Info {
                invite,
                content_type: "application/dtmf".into(),
                body: vec![n],
            };
            (self.digits_at, command)
        };
        let refers = refers.iter().enumerate().map(refer);
        refers.chain((0..self.digits).map(digit)).collect()
    }
}

/// A REFER that came: refused, taken and told to its end, or taken and forgotten.
pub fn decide(
    invite: InviteId,
    refer: ReferId,
    luck: u64,
    forgetful: bool,
) -> Vec<(Duration, Command)> {
    let ms = Duration::from_millis;
    if luck.is_multiple_of(5) {
        let status = 603;
        let refuse = Command::RefuseRefer {
            invite,
            refer,
            status,
        };
        return vec![(ms(luck % 900), refuse)];
    }
    let say = |status| Command::NotifyRefer {
        invite,
        refer,
        status,
        reason: String::new(),
    };
    let mut all = vec![
        (ms(luck % 900), Command::AcceptRefer { invite, refer }),
        (ms(1_000), say(180)),
        (ms(1_000 + luck % 200), say(183)),
    ];
    if !forgetful || !luck.is_multiple_of(7) {
        let status = if luck.is_multiple_of(2) { 200 } else { 486 };
        all.push((ms(1_300 + luck % 3_000), say(status)));
        // Of two last words the first counts.
        all.push((ms(1_300 + luck % 4_000), say(603)));
    }
    all
}

/// Each transfer is told in its order and to one end, each digit once and in order, and nothing after the call.
pub fn check(world: &World) {
    let fail = |what: &str| panic!("seed {}: {what}\n{}", world.plan.seed, world.log());
    let in_turn = |what: &str, is: bool| {
        if !is {
            fail(&format!("{what} out of turn"));
        }
    };
    for side in [Side::Caller, Side::Callee] {
        let mut over = false;
        let mut transfers: BTreeMap<ReferId, &str> = BTreeMap::new();
        let mut digits = Vec::new();
        for event in world.events(side) {
            match event {
                Event::Ended { .. } => over = true,
                Event::ReferAccepted { refer, .. } => {
                    let before = transfers.insert(*refer, "accepted");
                    in_turn("accepted", !over && before.is_none());
                }
                Event::ReferNotified {
                    refer, over: last, ..
                } => {
                    let before = transfers.get(refer).copied();
                    in_turn("notified", !over && before == Some("accepted"));
                    if *last {
                        transfers.insert(*refer, "over");
                    }
                }
                Event::ReferRefused { refer, .. } => {
                    let before = transfers.insert(*refer, "refused");
                    in_turn("refused", !over && before.is_none());
                }
                Event::Info { body, .. } if !over => digits.push(body.clone()),
                Event::Info { .. } | Event::InfoRefused { .. } | Event::Referred { .. } if over => {
                    fail("something after the end");
                }
                _ => {}
            }
        }
        if !digits.is_sorted_by(|a, b| a < b) {
            fail("digits twice or out of order");
        }
    }
}

/// How the transfers of one side ended, by number: the last that was told of each.
pub fn ends(world: &World, side: Side) -> BTreeMap<u64, String> {
    let mut ends = BTreeMap::new();
    for event in world.events(side) {
        match event {
            Event::ReferNotified {
                refer,
                status,
                over,
                ..
            } => {
                ends.insert(
                    refer.0,
                    format!("{status}{}", if *over { "" } else { " …" }),
                );
            }
            Event::ReferRefused { refer, failure, .. } => {
                ends.insert(refer.0, format!("refused {}", failure.status));
            }
            _ => {}
        }
    }
    ends
}

/// The digits that one side heard.
pub fn heard(world: &World, side: Side) -> Vec<u8> {
    let digit = |event: &Event| match event {
        Event::Info { body, .. } => body.first().copied(),
        _ => None,
    };
    world.events(side).filter_map(digit).collect()
}
