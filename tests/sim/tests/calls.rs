//! Calls over wires that lose, delay, double and reorder, by seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use tests_sim::chance::Chance;
use tests_sim::phone::{Manner, State};
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

/// What must be so when everything is over.
fn nothing_is_left(world: &mut World) {
    world.run(seconds(300));
    assert!(
        world.phone.calls.values().all(|c| c.state == State::Over),
        "the phone thinks that a call goes on"
    );
    assert_eq!(world.board.counts().calls, 0);
    assert_eq!(world.agent.counts()[1], 0, "the trunk holds an INVITE");
    assert!(world.legs.is_empty(), "media holds {:?}", world.legs);
}

/// Whoever ended it, the page heard `finish` once.
fn one_end(world: &World, id: &str) {
    let ends = world
        .page
        .iter()
        .filter(|m| m["message"] == "finish" && m["data"][0]["callId"] == id)
        .count();
    assert_eq!(ends, 1, "{:?}", world.statuses(id));
}

#[test]
fn on_a_good_wire_each_step_is_told_in_order() {
    let mut world = World::new(1, Wire::GOOD, Manner::Answers(seconds(2)), false);
    world.sign_in();
    world.run(seconds(1));
    assert!(
        world.page.iter().any(|m| m["message"] == "registered"),
        "{:#?}",
        world.trace
    );
    world.dial("c1");
    world.run(seconds(5));
    assert_eq!(
        world.statuses("c1"),
        ["TRYING", "RING", "ESTABLISHED"],
        "{:#?}",
        world.trace
    );
    world.hang_up("c1");
    nothing_is_left(&mut world);
    assert_eq!(world.records.len(), 1);
}

#[test]
fn outgoing_calls_end_once_and_on_both_sides_whenever_whoever_hangs_up() {
    for_seeds(300, |seed, slot| {
        let mut chance = Chance::new(seed ^ 0xabcd);
        let manner = match chance.below(5) {
            0 => Manner::Busy,
            1 => Manner::RingsForEver,
            _ => Manner::Answers(millis(chance.below(3000))),
        };
        let world = slot.insert(World::new(seed, Wire::BAD, manner, false));
        world.sign_in();
        if chance.percent(70) {
            world.run(seconds(20));
        }
        world.dial("c1");
        world.run(millis(chance.below(6000)));
        match chance.below(3) {
            0 => world.hang_up("c1"),
            1 => {
                let ids: Vec<String> = world.phone.calls.keys().cloned().collect();
                ids.iter().for_each(|id| world.phone_hangs_up(id));
                world.run(millis(chance.below(400)));
                world.hang_up("c1");
            }
            _ => {
                world.run(seconds(30));
                world.hang_up("c1");
            }
        }
        nothing_is_left(world);
        one_end(world, "c1");
        assert_eq!(world.statuses("c1")[0], "TRYING");
        assert_eq!(world.records.len(), 1);
    });
}

#[test]
fn incoming_calls_end_once_and_on_both_sides_whenever_whoever_hangs_up() {
    for_seeds(300, |seed, slot| {
        let mut chance = Chance::new(seed ^ 0x1234);
        let world = slot.insert(World::new(seed, Wire::BAD, Manner::Busy, false));
        world.sign_in();
        world.run(seconds(30));
        let Some(id) = world.phone_calls() else {
            panic!("the account did not register in 30 s")
        };
        world.run(millis(chance.below(3000)));
        let announced = world.announced();
        let answers = chance.percent(60);
        if let (Some(page), true) = (&announced, answers) {
            world.answer(page);
            world.run(millis(chance.below(3000)));
        }
        if chance.percent(50) {
            world.phone_hangs_up(&id);
        } else if let Some(page) = &announced {
            world.hang_up(page);
        }
        nothing_is_left(world);
        for page in world
            .page
            .iter()
            .filter(|m| m["message"] == "notifyIncomingCall")
        {
            one_end(world, page["data"][0]["callId"].as_str().unwrap());
        }
    });
}

#[test]
fn cores_restored_after_every_step_tell_the_page_the_same_story() {
    for_seeds(25, |seed, slot| {
        let tell = |reincarnates: bool, slot: &mut Option<World>| {
            let world = slot.insert(World::new(
                seed,
                Wire::BAD,
                Manner::Answers(millis(700)),
                reincarnates,
            ));
            world.sign_in();
            world.dial("c1");
            world.run(seconds(15));
            world.hang_up("c1");
            world.run(seconds(10));
            if let Some(id) = world.phone_calls() {
                world.run(seconds(5));
                if let Some(page) = world.announced() {
                    world.answer(&page);
                }
                world.run(seconds(5));
                world.phone_hangs_up(&id);
            }
            world.run(seconds(60));
            (world.page.clone(), world.trace.clone())
        };
        let whole = tell(false, slot);
        let pieces = tell(true, slot);
        assert_eq!(whole, pieces);
    });
}
