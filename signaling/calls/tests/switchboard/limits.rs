//! What calls may cost, and overload.

use crate::planned::{CALLED, NUMBER, carrier, identity, inbound, limit, plan, target};
use crate::rig::{PHONE, Rig};
use signaling_calls::{Config, Input, Link};
use signaling_plan::{LimitRule, Plan, Scope};
use signaling_trunk::api::{Command, End, Event, InviteId, Line, ReferId};
use std::time::Duration;

fn limited(limits: Vec<LimitRule>) -> Plan {
    let mut plan = inbound(
        plan(&["trunk:carrier", "trunk:backup"]),
        NUMBER,
        vec![target("number")],
    );
    plan.limits = limits;
    plan
}

fn failed_with(rig: &Rig) -> Option<u64> {
    rig.last("finish")[0]["sipStatus"].as_u64()
}

fn each(scope: fn(String) -> Scope, change: impl FnOnce(&mut LimitRule)) -> LimitRule {
    limit(scope(LimitRule::EACH.into()), change)
}

#[test]
fn calls_at_once_are_counted_for_a_session_a_number_and_an_address_and_given_back_at_the_end() {
    let scopes: [fn(String) -> Scope; 3] = [Scope::Token, Scope::Account, Scope::Source];
    for scope in scopes {
        let mut rig = Rig::planned(limited(vec![each(scope, |l| l.calls = 1)]));
        rig.dial("c1", CALLED);
        let (first, ..) = rig.by_line();
        rig.dial("c2", CALLED);
        assert_eq!(rig.invites_out(), 0);
        assert!(failed_with(&rig).is_some());
        rig.hang_up("c1");
        rig.over(first, End::ByUs { raw: String::new() });
        rig.dial("c3", CALLED);
        assert_eq!(rig.invites_out(), 1);
    }
}

#[test]
fn calls_by_a_pages_own_pbx_are_counted_too() {
    let mut rig = Rig::registered(Config::default());
    rig.give(Input::Plan(Box::new(limited(vec![each(
        Scope::Account,
        |l| l.calls = 1,
    )]))));
    rig.dial("c1", "1002");
    rig.dial("c2", "1003");
    assert_eq!(rig.invites_out(), 1);
    assert!(failed_with(&rig).is_some());
}

#[test]
fn a_trunk_that_is_full_leads_to_the_next_one_and_when_all_are_full_the_page_hears_why() {
    let full = |name: &str| limit(Scope::Trunk(name.into()), |l| l.calls = 1);
    let mut rig = Rig::planned(limited(vec![full("carrier"), full("backup")]));
    for (id, line) in [("c1", "trunk:carrier"), ("c2", "trunk:backup")] {
        rig.dial(id, CALLED);
        assert_eq!(rig.by_line().1, line);
    }
    rig.dial("c3", CALLED);
    assert_eq!(rig.invites_out(), 0);
    let finish = rig.last("finish")[0].clone();
    assert_eq!(finish["status"], "FAILED");
    assert_eq!(finish["sipStatus"], 503);
    assert!(!finish["info"].as_str().unwrap().is_empty());
    assert_eq!(rig.board.counts().refused_calls, 3);
}

#[test]
fn a_trunk_that_failed_is_given_back_when_the_next_one_is_tried() {
    let mut rig = Rig::planned(limited(vec![limit(Scope::Trunk("carrier".into()), |l| {
        l.calls = 1;
    })]));
    rig.dial("c1", CALLED);
    let (first, ..) = rig.by_line();
    rig.refused(first, 503);
    assert_eq!(rig.by_line().1, "trunk:backup");
    rig.dial("c2", CALLED);
    assert_eq!(rig.by_line().1, "trunk:carrier");
}

#[test]
fn a_prefix_has_its_limits_and_its_minutes() {
    let mut rig = Rig::planned(limited(vec![limit(Scope::Prefix("+1".into()), |l| {
        l.minutes_per_day = 2;
    })]));
    rig.dial("c1", CALLED);
    let (first, ..) = rig.by_line();
    rig.answer(first, PHONE);
    rig.wait(Duration::from_secs(180));
    rig.told();
    rig.dial("c2", CALLED);
    assert_eq!(rig.invites_out(), 0);
    assert!(failed_with(&rig).is_some());
    rig.dial("c3", "+4940555");
    assert_eq!(rig.invites_out(), 1);
    // The one that goes on is not cut.
    assert_eq!(rig.board.counts().calls, 2);
}

#[test]
fn calls_of_lines_are_counted_and_refused_with_a_time_to_come_back() {
    let mut rig = Rig::planned(limited(vec![each(Scope::Trunk, |l| {
        l.calls_per_second = 1;
    })]));
    rig.comes_in(7, carrier(), NUMBER);
    rig.trunk.clear();
    let invite = rig.comes_in(9, carrier(), NUMBER);
    let (status, retry_after) = rig.refusal_of(invite);
    assert_eq!(status, 503);
    assert!(retry_after.is_some());
    rig.wait(Duration::from_secs(2));
    rig.comes_in(11, carrier(), NUMBER);
    let refused = rig
        .asked()
        .iter()
        .any(|c| matches!(c, Command::Hangup { .. }));
    assert!(!refused);
}

#[test]
fn a_line_is_given_back_when_its_call_is_over() {
    let mut rig = Rig::planned(limited(vec![each(Scope::Trunk, |l| l.calls = 1)]));
    let first = rig.comes_in(7, carrier(), NUMBER);
    let second = rig.comes_in(9, carrier(), NUMBER);
    assert_eq!(rig.refusal_of(second).0, 503);
    let over = End::ByPeer {
        cancelled: true,
        reason: String::new(),
        raw: String::new(),
    };
    rig.over(first, over);
    rig.comes_in(11, carrier(), NUMBER);
    let refused = rig
        .asked()
        .iter()
        .any(|c| matches!(c, Command::Hangup { .. }));
    assert!(!refused);
}

#[test]
fn lines_are_given_back_when_the_sip_side_is_lost() {
    let mut rig = Rig::planned(limited(vec![each(Scope::Trunk, |l| l.calls = 1)]));
    rig.comes_in(7, carrier(), NUMBER);
    rig.give(Input::TrunkLink(Link::Up { fresh: true }));
    rig.trunk.clear();
    rig.comes_in(9, carrier(), NUMBER);
    let refused = rig
        .asked()
        .iter()
        .any(|c| matches!(c, Command::Hangup { .. }));
    assert!(!refused);
}

#[test]
fn above_the_operators_calls_at_once_new_ones_get_503_and_retry_after_and_running_ones_go_on() {
    let config = Config {
        max_calls: 1,
        emergency_reserve: 1,
        ..Config::default()
    };
    let mut rig = Rig::planned_with(config, limited(Vec::new()), Some(identity()));
    rig.dial("c1", CALLED);
    let (first, ..) = rig.by_line();
    rig.answer(first, PHONE);
    rig.told();
    rig.dial("c2", CALLED);
    assert_eq!(failed_with(&rig), Some(503));
    let invite = rig.comes_in(7, carrier(), NUMBER);
    assert_eq!(rig.refusal_of(invite), (503, Some(10)));
    let invite = rig.comes_in(9, carrier(), "112");
    assert_eq!(rig.refusal_of(invite).0, 403, "no stranger by a trunk");
    // A call for help has a place of its own, but one only.
    rig.dial("c3", "112");
    assert_eq!(rig.by_line().1, "trunk:backup");
    rig.dial("c4", "112");
    assert_eq!(rig.invites_out(), 0);
    assert_eq!(rig.board.counts().calls, 2);
}

#[test]
fn more_new_calls_a_second_than_the_operator_allows_get_503_and_calls_for_help_do_not() {
    let config = Config {
        calls_per_second: 2,
        ..Config::default()
    };
    let mut rig = Rig::planned_with(config, limited(Vec::new()), Some(identity()));
    for id in ["c1", "c2", "c3"] {
        rig.dial(id, CALLED);
    }
    assert_eq!(rig.invites_out(), 2);
    assert_eq!(failed_with(&rig), Some(503));
    let invite = rig.comes_in(7, carrier(), NUMBER);
    let (status, retry_after) = rig.refusal_of(invite);
    assert_eq!((status, retry_after), (503, Some(1)));
    rig.dial("c4", "112");
    assert_eq!(rig.invites_out(), 1);
    rig.wait(Duration::from_secs(1));
    rig.dial("c5", CALLED);
    assert_eq!(rig.invites_out(), 2);
}

#[test]
fn no_limit_stops_an_emergency_call() {
    let one = |scope: fn(String) -> Scope| each(scope, |l| l.calls = 1);
    let mut rig = Rig::planned(limited(vec![
        one(Scope::Token),
        one(Scope::Account),
        one(Scope::Source),
        one(Scope::Trunk),
    ]));
    rig.dial("c1", CALLED);
    for id in ["c2", "c3", "c4"] {
        rig.dial(id, "112");
    }
    assert_eq!(rig.invites_out(), 4);
    assert_eq!(rig.board.counts().emergency_calls, 3);
}

#[test]
fn an_emergency_call_that_a_trunk_refuses_tries_the_next_whatever_the_refusal() {
    let mut plan = plan(&["trunk:carrier"]);
    plan.emergency.trunks = vec!["carrier".into(), "backup".into()];
    let mut rig = Rig::planned(plan);
    rig.dial("c1", "112");
    let (first, ..) = rig.by_line();
    rig.refused(first, 486);
    assert_eq!(rig.by_line().1, "trunk:backup");
}

fn refer(rig: &mut Rig, invite: InviteId, target: &str) -> Vec<Command> {
    rig.asked();
    rig.give(Input::Trunk(Event::Referred {
        invite,
        refer: ReferId(5),
        target: target.into(),
        replaces: None,
        referred_by: None,
        raw: "REFER sip:x SIP/2.0\r\n".into(),
    }));
    rig.asked()
}

fn refused_refer(asked: &[Command]) -> Option<u16> {
    asked.iter().find_map(|c| match c {
        Command::RefuseRefer { status, .. } => Some(*status),
        _ => None,
    })
}

#[test]
fn a_refer_on_a_call_by_a_line_is_carried_out_by_the_plan() {
    let mut rig = Rig::planned(limited(Vec::new()));
    rig.dial("c1", CALLED);
    let (invite, ..) = rig.by_line();
    rig.answer(invite, PHONE);
    let asked = refer(&mut rig, invite, "sip:+4940555@evil.test");
    let placed = asked.iter().find_map(|c| match c {
        Command::Invite { options, .. } => Some(options.clone()),
        _ => None,
    });
    let options = placed.unwrap();
    assert_eq!(options.line, Some(Line::Trunk("carrier".into())));
    assert_eq!(options.identity.from_user, NUMBER);
}

#[test]
fn a_refer_to_what_the_session_may_not_call_is_refused() {
    let who = signaling_protocol::LineIdentity {
        prefixes: Some(vec!["+1".into()]),
        ..identity()
    };
    let mut rig = Rig::planned_with(Config::default(), limited(Vec::new()), Some(who));
    rig.dial("c1", CALLED);
    let (invite, ..) = rig.by_line();
    rig.answer(invite, PHONE);
    for (target, status) in [
        ("sip:+4940555@x.test", 403),
        ("sip:112@x.test", 403),
        ("sip:nobody@x.test", 404),
        ("tel:+4940555", 403),
    ] {
        let asked = refer(&mut rig, invite, target);
        assert_eq!(refused_refer(&asked), Some(status), "{target}");
        assert!(!asked.iter().any(|c| matches!(c, Command::Invite { .. })));
    }
}

#[test]
fn a_refer_on_a_call_by_the_pages_own_pbx_is_within_the_sessions_limits() {
    let (mut rig, invite) = Rig::talking(Config::default());
    rig.give(Input::Plan(Box::new(limited(vec![each(
        Scope::Token,
        |l| {
            l.calls = 1;
        },
    )]))));
    let asked = refer(&mut rig, invite, "sip:1003@pbx.test");
    assert!(refused_refer(&asked).is_some(), "{asked:?}");
    rig.give(Input::Plan(Box::new(limited(vec![each(
        Scope::Token,
        |l| {
            l.calls = 2;
        },
    )]))));
    let asked = refer(&mut rig, invite, "sip:1003@pbx.test");
    assert_eq!(refused_refer(&asked), None);
    assert!(asked.iter().any(|c| matches!(c, Command::Invite { .. })));
}

#[test]
fn a_page_transfers_a_call_by_a_line_only_to_what_it_may_call_itself() {
    for (target, allowed) in [
        ("+4940555", true),
        ("112", false),
        ("sip:nobody@x.test", false),
    ] {
        let mut rig = Rig::planned(limited(Vec::new()));
        rig.dial("c1", CALLED);
        let (invite, ..) = rig.by_line();
        rig.answer(invite, PHONE);
        rig.asked();
        let transfer = serde_json::json!({"callId": "c1", "target": target});
        rig.frame(serde_json::json!({"message": "transfer", "data": [transfer]}));
        let referred = rig
            .asked()
            .iter()
            .any(|c| matches!(c, Command::Refer { .. }));
        assert_eq!(referred, allowed, "{target}");
    }
}
