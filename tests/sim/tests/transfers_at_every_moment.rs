//! Transfers of both sides over wires that lose, delay, double and reorder, by seed.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use tests_sim::chance::Chance;
use tests_sim::phone::{Manner, Referred, State};
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
                let told = world.page.iter().filter(|m| m["message"] != "ping");
                told.for_each(|m| eprintln!("page {m}"));
            }
            eprintln!("seed {seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
}

/// A page and a phone that talk.
fn talking(seed: u64, wire: Wire, slot: &mut Option<World>) -> &mut World {
    let world = slot.insert(World::new(seed, wire, Manner::Answers(millis(300)), false));
    world.sign_in();
    world.run(seconds(20));
    world.dial("c1");
    world.run(seconds(20));
    world
}

/// Who talked no more knows it, nobody holds anything, and each call of the page ended once, with nothing after.
fn all_is_over(world: &mut World) {
    world.run(seconds(400));
    let over = world.phone.calls.values().all(|c| c.state == State::Over);
    assert!(over, "the phone thinks that a call goes on");
    assert_eq!(world.board.counts().calls, 0);
    assert_eq!(world.agent.counts()[1], 0, "the trunk holds an INVITE");
    assert!(world.legs.is_empty(), "media holds {:?}", world.legs);
    for id in ["c1", "c2"] {
        let about = |m: &&serde_json::Value| m["data"][0]["callId"] == id;
        let told: Vec<&serde_json::Value> = world.page.iter().filter(about).collect();
        let ends = told.iter().filter(|m| m["message"] == "finish").count();
        assert_eq!(
            ends,
            usize::from(!told.is_empty()),
            "{id}: {:?}",
            world.statuses(id)
        );
        let last = told
            .iter()
            .rposition(|m| m["message"] == "notifyTransferEvent");
        let end = told.iter().position(|m| m["message"] == "finish");
        assert!(last < end || end.is_none(), "the SDK would throw: {told:?}");
        let completed = told
            .iter()
            .position(|m| m["data"][0]["status"] == "COMPLETED");
        if let Some(at) = completed {
            let after = told[at + 1..]
                .iter()
                .any(|m| m["message"] == "notifyTransferEvent");
            assert!(!after, "{:?}", world.statuses(id));
        }
    }
}

#[test]
fn on_a_good_wire_a_blind_transfer_of_the_page_runs_its_course() {
    let mut slot = None;
    let world = talking(1, Wire::GOOD, &mut slot);
    world.transfer("c1", "1003");
    world.run(seconds(5));
    assert_eq!(
        world.statuses("c1"),
        [
            "TRYING",
            "RING",
            "ESTABLISHED",
            "ACCEPTED",
            "TRYING",
            "COMPLETED",
            "FINISH"
        ],
        "{:#?}",
        world.trace
    );
    all_is_over(world);
}

#[test]
fn on_a_good_wire_a_refer_of_the_phone_is_followed_and_the_page_hears_nothing() {
    let mut slot = None;
    let world = talking(2, Wire::GOOD, &mut slot);
    let old = world.phone_talks();
    world.phone_refers(&old[0], "1003");
    world.run(seconds(6));
    let new = world.phone_talks();
    assert_eq!(new.len(), 1, "{:#?}", world.trace);
    assert_ne!(new, old);
    assert_eq!(world.statuses("c1"), ["TRYING", "RING", "ESTABLISHED"]);
    // Holds go to the new party, and so does the end.
    world.hold("c1", true);
    world.run(seconds(1));
    assert_eq!(world.statuses("c1").last().unwrap(), "HOLD");
    world.phone_replaces(&new[0]);
    world.run(seconds(5));
    let third = world.phone_talks();
    assert!(third.len() == 1 && third != new, "{:#?}", world.trace);
    assert_eq!(world.statuses("c1").last().unwrap(), "HOLD");
    world.hang_up("c1");
    all_is_over(world);
    assert_eq!(world.records.len(), 1);
    assert_eq!(world.records[0].other_sip.len(), 2);
}

#[test]
fn transfers_of_the_page_end_once_and_leave_nothing_whenever_whoever_hangs_up() {
    let outcomes = Cell::new([0; 2]);
    for_seeds(250, |seed, slot| {
        let mut chance = Chance::new(seed ^ 0x7_0001);
        let world = talking(seed, Wire::BAD, slot);
        let attended = chance.percent(40);
        if attended {
            world.hold("c1", true);
            world.dial_to("c2", "1003");
            world.run(seconds(20));
        }
        world.phone.referred = Referred {
            status: [202, 202, 202, 405, 603][usize::try_from(chance.below(5)).unwrap()],
            outcome: [200, 200, 486, 503][usize::try_from(chance.below(4)).unwrap()],
            after: millis(chance.below(3000)),
            says_bye: chance.percent(50),
        };
        world.transfer("c1", "1003");
        world.run(millis(chance.below(5000)));
        match chance.below(5) {
            0 => world.hang_up("c1"),
            1 => {
                let ids = world.phone_talks();
                ids.iter().for_each(|id| world.phone_hangs_up(id));
            }
            2 => world.transfer("c1", "1004"),
            3 => world.hold("c1", chance.percent(50)),
            _ => {}
        }
        world.run(seconds(60));
        world.hang_up("c1");
        world.hang_up("c2");
        all_is_over(world);
        let [completed, failed] = outcomes.get();
        let told = world.statuses("c1");
        let had = |status: &str| u32::from(told.iter().any(|s| s == status));
        outcomes.set([completed + had("COMPLETED"), failed + had("FAILED")]);
    });
    // The dice must not have made it an empty story.
    let [completed, failed] = outcomes.get();
    assert!(completed > 30 && failed > 30, "{completed} {failed}");
}

#[test]
fn transfers_of_the_phone_end_once_and_leave_nothing_whenever_whoever_hangs_up() {
    let swaps = Cell::new(0);
    for_seeds(250, |seed, slot| {
        let mut chance = Chance::new(seed ^ 0x7_0002);
        let world = talking(seed, Wire::BAD, slot);
        world.phone.manner = match chance.below(5) {
            0 => Manner::Busy,
            1 => Manner::RingsForEver,
            _ => Manner::Answers(millis(chance.below(3000))),
        };
        world.phone.leaves_after = chance.percent(50).then(|| millis(chance.below(4000)));
        for _ in 0..=chance.below(3) {
            let talks = world.phone_talks();
            let Some(id) = talks.first().cloned() else {
                break;
            };
            match chance.below(4) {
                0 => world.phone_replaces(&id),
                _ => world.phone_refers(&id, "1003"),
            }
            world.run(millis(chance.below(5000)));
            match chance.below(6) {
                0 => world.hang_up("c1"),
                1 => world.phone_hangs_up(&id),
                2 => world.hold("c1", true),
                3 => world.transfer("c1", "1004"),
                _ => {}
            }
            world.run(millis(chance.below(5000)));
        }
        world.run(seconds(60));
        world.hang_up("c1");
        all_is_over(world);
        assert!(world.records.len() <= 1);
        let others = world.records.iter().map(|r| r.other_sip.len());
        swaps.set(swaps.get() + others.sum::<usize>());
    });
    assert!(swaps.get() > 100, "{} legs were exchanged", swaps.get());
}

#[test]
fn cores_restored_after_every_step_transfer_alike() {
    for_seeds(10, |seed, slot| {
        let tell = |reincarnates: bool, slot: &mut Option<World>| {
            let world = talking(seed, Wire::BAD, slot);
            world.reincarnates = reincarnates;
            if let Some(id) = world.phone_talks().first().cloned() {
                world.phone_refers(&id, "1003");
            }
            world.run(seconds(10));
            if let Some(id) = world.phone_talks().first().cloned() {
                world.phone_replaces(&id);
            }
            world.run(seconds(10));
            world.transfer("c1", "1004");
            world.run(seconds(60));
            world.hang_up("c1");
            world.run(seconds(60));
            (world.page.clone(), world.trace.clone())
        };
        let whole = tell(false, slot);
        let pieces = tell(true, slot);
        assert_eq!(whole, pieces);
    });
}
