//! Calls from line to line over wires that lose, delay, double and reorder, by seed; and what of one side the other
//! one gets to see.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use tests_sim::between::{Between, Side};
use tests_sim::chance::Chance;
use tests_sim::phone::{Manner, State};
use tests_sim::world::Wire;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn for_seeds(count: u64, story: impl Fn(u64, &mut Option<Between>)) {
    for seed in 0..count {
        let mut world = None;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| story(seed, &mut world))) {
            if let Some(world) = world {
                eprintln!("seed {seed}:\n{}", world.trace.join("\n"));
            }
            eprintln!("seed {seed} failed");
            std::panic::resume_unwind(panic);
        }
    }
}

fn nothing_is_left(world: &mut Between) {
    world.run(seconds(300));
    for side in [Side::Left, Side::Right] {
        let over = world
            .phone(side)
            .calls
            .values()
            .all(|c| c.state == State::Over);
        assert!(over, "the phone on the {side:?} thinks that a call goes on");
    }
    assert!(world.board.is_idle());
    assert_eq!(world.agent.counts()[1], 0, "the trunk holds an INVITE");
    assert!(world.legs.is_empty(), "media holds {:?}", world.legs);
}

#[test]
fn bridges_end_once_and_on_both_sides_whenever_whoever_hangs_up() {
    for_seeds(300, |seed, slot| {
        let mut chance = Chance::new(seed ^ 0x5eed);
        let manner = match chance.below(6) {
            0 => Manner::Busy,
            1 => Manner::RingsForEver,
            _ => Manner::Answers(millis(chance.below(3000))),
        };
        let world = slot.insert(Between::new(seed, Wire::BAD, manner, false));
        if chance.percent(50) {
            world.next_on = vec![486];
        }
        world.run(seconds(30));
        let (from, to) = match chance.percent(50) {
            true => (Side::Left, Side::Right),
            false => (Side::Right, Side::Left),
        };
        let id = world.calls(from).expect("the account is registered");
        world.run(millis(chance.below(6000)));
        if chance.percent(50) {
            let holds = |side: Side, world: &mut Between| {
                if let Some(id) = world.talks(side) {
                    world.does(side, |phone, now| phone.offer(&id, "sendonly", now));
                }
            };
            holds(from, world);
            world.run(millis(chance.below(600)));
            holds(to, world);
            world.run(millis(chance.below(600)));
        }
        match chance.below(4) {
            0 => world.does(from, |phone, now| phone.hang_up(&id, now)),
            1 => world.hangs_up(to),
            2 => {
                world.hangs_up(to);
                world.run(millis(chance.below(300)));
                world.does(from, |phone, now| phone.hang_up(&id, now));
            }
            _ => {
                world.run(seconds(50));
                world.does(from, |phone, now| phone.hang_up(&id, now));
            }
        }
        // Whoever had nothing to hang up yet: the caller has had enough in any case.
        world.run(seconds(10));
        world.does(from, |phone, now| phone.hang_up(&id, now));
        nothing_is_left(world);
        let records = world.records.len();
        assert!(records <= 1, "{records} records");
    });
}

#[test]
fn either_side_may_hang_up_at_every_step_of_a_bridge() {
    // On a wire that loses nothing, step by step through set-up, a hold, its end, and the talk after it.
    for (reincarnates, every) in [(false, 3), (true, 16)] {
        for side in [Side::Left, Side::Right] {
            for step in (0..160u64).step_by(every) {
                for_seeds(1, |seed, slot| {
                    let manner = Manner::Answers(millis(40));
                    let world = slot.insert(Between::new(seed, Wire::GOOD, manner, reincarnates));
                    world.run(seconds(2));
                    let id = world.calls(Side::Left).expect("the account is registered");
                    let mut left = step;
                    for (at, direction) in [(70, "sendonly"), (110, "sendrecv")] {
                        let now = left.min(if at == 70 { 70 } else { 40 });
                        world.run(millis(now));
                        left -= now;
                        if left > 0 {
                            world.does(Side::Left, |phone, now| phone.offer(&id, direction, now));
                        }
                    }
                    world.run(millis(left));
                    world.hangs_up(side);
                    // Nobody had called yet: the caller gives up later.
                    world.run(seconds(5));
                    world.hangs_up(Side::Left);
                    nothing_is_left(world);
                    assert_eq!(world.records.len(), 1, "step {step}, {side:?}");
                });
            }
        }
    }
}

#[test]
fn bridges_restored_after_every_step_say_the_same_on_both_sides() {
    for_seeds(20, |seed, slot| {
        let mut tell = |reincarnates: bool| {
            let manner = Manner::Answers(millis(700));
            let world = slot.insert(Between::new(seed, Wire::BAD, manner, reincarnates));
            world.run(seconds(20));
            let id = world.calls(Side::Left).unwrap_or_default();
            world.run(seconds(10));
            world.does(Side::Left, |phone, now| phone.offer(&id, "sendonly", now));
            world.run(seconds(10));
            world.does(Side::Left, |phone, now| phone.offer(&id, "sendrecv", now));
            world.run(seconds(10));
            world.hangs_up(Side::Right);
            world.run(seconds(60));
            (world.trace.clone(), world.records.clone())
        };
        let whole = tell(false);
        assert_eq!(whole, tell(true));
    });
}

#[test]
fn a_hold_crosses_the_bridge_and_its_end_too() {
    let mut world = Between::new(1, Wire::GOOD, Manner::Answers(millis(300)), false);
    world.run(seconds(2));
    let id = world.calls(Side::Left).expect("the account is registered");
    world.run(seconds(3));
    let far = world.talks(Side::Right).expect("it was answered");
    for direction in ["sendonly", "sendrecv"] {
        world.does(Side::Left, |phone, now| phone.offer(&id, direction, now));
        world.run(seconds(2));
    }
    assert_eq!(world.right.was_told[&far], ["sendonly", "sendrecv"]);
    assert!(!world.left.was_told.contains_key(&id), "{:#?}", world.trace);
    // And the other way.
    for direction in ["inactive", "sendrecv"] {
        world.does(Side::Right, |phone, now| phone.offer(&far, direction, now));
        world.run(seconds(2));
    }
    assert_eq!(world.left.was_told[&id], ["inactive", "sendrecv"]);
    world.does(Side::Left, |phone, now| phone.press(&id, '7', now));
    world.run(seconds(1));
    world.hangs_up(Side::Right);
    nothing_is_left(&mut world);
}

/// All that only one side knows: what its messages are told apart by, and what it says of itself.
fn secrets(world: &Between, side: Side) -> BTreeSet<String> {
    let name = match side {
        Side::Left => "left",
        Side::Right => "right",
    };
    let address = match side {
        Side::Left => world.left.address,
        Side::Right => world.right.address,
    };
    let mut words: BTreeSet<String> = [
        address.to_string(),
        address.ip().to_string(),
        format!("{name}.example"),
        format!("origin-{name}"),
        format!("session-{name}"),
        format!("Phone-{name}"),
        format!("Server-{name}"),
        format!("box-{name}"),
        format!("asserted-{name}"),
        format!("subject-{name}"),
        format!("icid-value={name}"),
        format!("x-vendor:{name}"),
        format!("gateway-at-{name}"),
        format!("password-{name}"),
    ]
    .into();
    for text in &world.captured[&side] {
        for line in text.lines() {
            let of = |name: &str| line.strip_prefix(name).map(str::trim);
            words.extend(of("Call-ID:").map(str::to_owned));
            for (mark, end) in [("tag=", ';'), ("branch=", ';')] {
                let found = line.split_once(mark).map(|(_, rest)| rest);
                let word = found.and_then(|rest| rest.split([end, ' ', '>']).next());
                // Some of the phones' tags are a letter and a digit.
                words.extend(word.filter(|w| w.len() > 3).map(str::to_owned));
            }
            if let Some((_, rest)) = of("Contact:").and_then(|c| c.split_once("sip:")) {
                let user = rest.split('@').next().unwrap_or_default();
                words.insert(user.to_owned());
            }
            // o= and ports of our own end, too: nothing lets the two legs be told for one call.
            words.extend(of("o=").map(|o| format!("o={o}")));
            words.extend(of("m=audio ").map(|m| format!("m=audio {m}")));
        }
    }
    // Who calls is what the callee is to be told.
    words.remove(&format!("user-{name}"));
    // The phones on both sides have the same habits.
    words.remove("m=audio 20000 RTP/AVP 0 101");
    words
}

#[test]
fn no_datagram_of_one_side_holds_a_word_of_the_other() {
    for manner in [
        Manner::Answers(millis(400)),
        Manner::Busy,
        Manner::RingsForEver,
    ] {
        for (caller, hangs_up) in [(Side::Left, Side::Left), (Side::Right, Side::Left)] {
            let mut world = Between::new(9, Wire::GOOD, manner, false);
            world.run(seconds(2));
            let id = world.calls(caller).expect("the account is registered");
            world.run(seconds(3));
            world.does(caller, |phone, now| phone.offer(&id, "sendonly", now));
            world.run(seconds(1));
            world.does(caller, |phone, now| phone.press(&id, '5', now));
            world.does(caller, |phone, now| {
                phone.refer(&id, "sip:x@refer-target.example", now)
            });
            world.run(seconds(1));
            if let Some(far) = world.talks(caller.other()) {
                world.does(caller.other(), |phone, now| {
                    phone.offer(&far, "inactive", now)
                });
                world.run(seconds(1));
            }
            world.hangs_up(hangs_up);
            nothing_is_left(&mut world);
            for side in [Side::Left, Side::Right] {
                let words = secrets(&world, side);
                assert!(words.len() > 20, "{words:?}");
                for text in &world.captured[&side.other()] {
                    for word in &words {
                        assert!(
                            !text.contains(word.as_str()),
                            "{word:?} of the {side:?} side is told to the other:\n{text}"
                        );
                    }
                    assert!(!text.contains("refer-target") || caller != side);
                }
            }
        }
    }
}

#[test]
fn identity_of_the_caller_reaches_the_callee_byte_for_byte() {
    let identity = "eyJhbGciOiJFUzI1NiIsInBwdCI6InNoYWtlbiJ9.eyJhdHRlc3QiOiJBIn0.c2ln_-0;\
                    info=<https://cert.example/a.pem>;alg=ES256;ppt=\"shaken\"";
    let mut world = Between::new(3, Wire::GOOD, Manner::Answers(millis(100)), false);
    world.run(seconds(2));
    world.left.looks.of_invites +=
        &format!("Identity: {identity}\r\nDate: Sun, 22 Nov 2026 21:02:03 GMT\r\n");
    world.calls(Side::Left);
    world.run(seconds(2));
    let invite = world.captured[&Side::Right]
        .iter()
        .find(|text| text.starts_with("INVITE ") && text.contains("Proxy-Authorization"))
        .unwrap_or_else(|| panic!("no INVITE in {:#?}", world.captured));
    assert!(
        invite.contains(&format!("\r\nIdentity: {identity}\r\n")),
        "{invite}"
    );
    assert!(
        invite.contains("\r\nDate: Sun, 22 Nov 2026 21:02:03 GMT\r\n"),
        "{invite}"
    );
    // One hop fewer than it came with (RFC 7332 §4).
    assert!(invite.contains("\r\nMax-Forwards: 69\r\n"), "{invite}");
}
