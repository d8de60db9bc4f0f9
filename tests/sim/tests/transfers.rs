//! Transfers and digits between page and phone, over wires that lose, delay, double and reorder, by seed.

use serde_json::json;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use tests_sim::chance::Chance;
use tests_sim::phone::{Manner, Referee, State};
use tests_sim::world::{Wire, World};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Runs a story for many seeds; the first that fails is told with what went over the wire.
fn for_seeds(count: u64, story: impl Fn(u64, &mut Option<World>)) {
    for seed in 0..count {
        let mut world = None;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| story(seed, &mut world))) {
            if let Some(world) = world {
                eprintln!("seed {seed}:\n{}", world.trace.join("\n"));
                world
                    .page
                    .iter()
                    .filter(|m| m["message"] != "ping")
                    .for_each(|m| eprintln!("page {m}"));
            }
            eprintln!("seed {seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
}

/// An established call of the page to the phone: how the phone knows it.
fn talking(world: &mut World) -> String {
    world.phone.runs_errands = true;
    world.sign_in();
    world.run(seconds(30));
    world.dial("c1");
    world.run(seconds(20));
    assert!(world.statuses("c1").contains(&"ESTABLISHED".to_owned()));
    let mut calls = world.phone.calls.iter();
    let call = calls.find(|(_, c)| c.state == State::Talking);
    call.expect("the phone talks").0.clone()
}

fn nothing_is_left(world: &mut World) {
    world.run(seconds(330));
    assert!(
        world.phone.calls.values().all(|c| c.state == State::Over),
        "the phone thinks that a call goes on"
    );
    assert_eq!(world.board.counts().calls, 0);
    assert_eq!(world.agent.counts()[1], 0, "the trunk holds an INVITE");
    let ends = world
        .page
        .iter()
        .filter(|m| m["message"] == "finish" && m["data"][0]["callId"] == "c1")
        .count();
    assert_eq!(ends, 1, "{:?}", world.statuses("c1"));
}

fn transfer_statuses(world: &World) -> Vec<String> {
    world
        .page
        .iter()
        .filter(|m| m["message"] == "notifyTransferEvent")
        .filter_map(|m| m["data"][0]["status"].as_str())
        .map(str::to_owned)
        .collect()
}

fn page_transfers(world: &mut World) {
    world.frame(json!({"message": "transfer", "data": [{"callId": "c1", "target": "1003"}]}));
}

#[test]
fn a_pages_transfer_is_told_step_by_step_and_ends_its_call() {
    let mut world = World::new(1, Wire::GOOD, Manner::Answers(seconds(1)), true);
    world.phone.inside.referee = Referee::Takes {
        after_ms: 2_000,
        status: 200,
        hangs_up: true,
    };
    talking(&mut world);
    page_transfers(&mut world);
    nothing_is_left(&mut world);
    assert_eq!(world.phone.inside.asked, ["<sip:1003@pbx>"]);
    assert_eq!(
        transfer_statuses(&world),
        ["ACCEPTED", "TRYING", "COMPLETED"],
        "{:#?}",
        world.trace
    );
}

#[test]
fn a_phones_transfer_is_followed_and_told_to_the_phone() {
    let mut world = World::new(1, Wire::GOOD, Manner::Answers(seconds(1)), true);
    let id = talking(&mut world);
    world.phone_does(|phone, now| phone.refer(&id, "sip:1003@pbx", now));
    world.run(seconds(10));
    let inside = &world.phone.inside;
    assert_eq!(inside.answers, [202], "{:#?}", world.trace);
    assert_eq!(inside.heard.first().unwrap(), "SIP/2.0 100 Trying");
    assert!(inside.heard.last().unwrap().starts_with("SIP/2.0 200"));
    let states: Vec<State> = world.phone.calls.values().map(|c| c.state).collect();
    let talking = states.iter().filter(|s| **s == State::Talking).count();
    assert_eq!((states.len(), talking), (2, 1), "{states:?}");
    world.hang_up("c1");
    nothing_is_left(&mut world);
}

#[test]
fn pages_transfers_over_bad_wires_have_one_outcome_and_leave_nothing() {
    for_seeds(120, |seed, slot| {
        let mut chance = Chance::new(seed ^ 0x7a51);
        let world = slot.insert(World::new(
            seed,
            Wire::BAD,
            Manner::Answers(millis(500)),
            false,
        ));
        world.phone.inside.referee = match chance.below(5) {
            0 => Referee::Refuses,
            1 => Referee::Leaves,
            _ => Referee::Takes {
                after_ms: chance.below(5_000),
                status: if chance.percent(60) { 200 } else { 486 },
                hangs_up: chance.percent(50),
            },
        };
        let id = talking(world);
        page_transfers(world);
        world.run(millis(chance.below(8_000)));
        if chance.percent(30) {
            world.phone_hangs_up(&id);
            world.run(millis(chance.below(400)));
        }
        if chance.percent(60) {
            world.run(seconds(60));
        }
        world.hang_up("c1");
        nothing_is_left(world);
        let told = transfer_statuses(world);
        let is_end = |s: &&String| matches!(s.as_str(), "COMPLETED" | "FAILED");
        assert!(told.iter().filter(is_end).count() <= 1, "{told:?}");
        if let Some(at) = told.iter().position(|s| is_end(&s)) {
            assert_eq!(at + 1, told.len(), "{told:?}");
        }
    });
}

#[test]
fn phones_transfers_over_bad_wires_are_told_to_their_end_and_leave_nothing() {
    for_seeds(120, |seed, slot| {
        let mut chance = Chance::new(seed ^ 0x9b1e);
        let world = slot.insert(World::new(
            seed,
            Wire::BAD,
            Manner::Answers(millis(500)),
            false,
        ));
        let id = talking(world);
        if chance.percent(30) {
            world.phone.manner = Manner::Busy;
        }
        world.phone_does(|phone, now| phone.refer(&id, "sip:1003@pbx", now));
        let soon = chance.percent(40);
        if soon {
            world.run(millis(chance.below(3_000)));
            if chance.percent(50) {
                world.phone_hangs_up(&id);
            } else {
                world.hang_up("c1");
            }
        }
        world.run(seconds(40));
        let inside = &world.phone.inside;
        if !soon && inside.answers == [202] {
            // Whatever the last word overtook comes late, and is not the last word.
            let ends = ["SIP/2.0 200", "SIP/2.0 486"];
            let is_end = |said: &String| ends.iter().any(|s| said.starts_with(s));
            let heard = &inside.heard;
            // Our BYE follows after two seconds: only a wire that loses the last word can hide it.
            let lost = |line: &String| line.contains("NOTIFY") && line.ends_with("(lost)");
            let told = heard.iter().any(is_end) || world.trace.iter().any(lost);
            assert!(told, "{heard:?}");
        }
        world.hang_up("c1");
        nothing_is_left(world);
    });
}

#[test]
fn digits_in_infos_arrive_once_and_in_order_over_bad_wires() {
    for_seeds(60, |seed, slot| {
        let world = slot.insert(World::new(
            seed,
            Wire::BAD,
            Manner::Answers(millis(500)),
            false,
        ));
        let id = talking(world);
        world.frame(json!({"message": "sendDtmf", "data": [{"callId": "c1", "type": "INFO_RELAY", "dtmf": "12345"}]}));
        for digit in "6789".chars() {
            world.phone_does(|phone, now| phone.press(&id, digit, now));
        }
        world.run(seconds(60));
        let pressed = |info: &String| {
            info.split(['=', '\r'])
                .nth(1)
                .unwrap_or_default()
                .to_owned()
        };
        let digits: String = world.phone.inside.infos.iter().map(pressed).collect();
        assert_eq!(digits, "12345", "{:?}", world.phone.inside.infos);
        world.hang_up("c1");
        nothing_is_left(world);
    });
}

#[test]
fn transfers_with_cores_restored_after_every_step_are_the_same_story() {
    for_seeds(8, |seed, slot| {
        let tell = |reincarnates: bool, slot: &mut Option<World>| {
            let manner = Manner::Answers(millis(700));
            let world = slot.insert(World::new(seed, Wire::BAD, manner, reincarnates));
            world.phone.inside.referee = Referee::Takes {
                after_ms: 1_000,
                status: 486,
                hangs_up: false,
            };
            let id = talking(world);
            page_transfers(world);
            world.run(seconds(20));
            world.phone_does(|phone, now| phone.press(&id, '5', now));
            world.phone_does(|phone, now| phone.refer(&id, "sip:1003@pbx", now));
            world.run(seconds(20));
            world.hang_up("c1");
            world.run(seconds(60));
            (world.page.clone(), world.trace.clone())
        };
        let whole = tell(false, slot);
        let pieces = tell(true, slot);
        assert_eq!(whole, pieces);
    });
}
