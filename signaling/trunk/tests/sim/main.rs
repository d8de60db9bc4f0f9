//! Two agents and a small PBX between them, in virtual time, over wires that lose, delay and reorder by
//! seed. A failure prints its seed.

mod pbx;
mod transfer;
mod world;

use signaling_trunk::api::{Cause, Command, End, Event, InviteId, Refusal};
use std::time::Duration;
use transfer::Wishes;
use world::{CALL, Plan, Side, World};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A call between the two, played to its end and long enough for all to be forgotten.
fn play(plan: Plan) -> World {
    let mut world = World::new(plan);
    world.open_accounts();
    world.run_for(ms(40_000));
    if world.both_registered() {
        world.call();
    }
    world.run_for(ms(400_000));
    world.close_accounts();
    world.run_for(ms(120_000));
    world
}

fn check_nothing_is_left(world: &World) {
    let seed = world.plan.seed;
    for side in [Side::Caller, Side::Callee] {
        assert_eq!(
            world.counts(side),
            [0; 5],
            "seed {seed}: {side:?} forgot something\n{}",
            world.log()
        );
    }
    let ended = |side: Side, invite: InviteId| {
        world
            .events(side)
            .filter(|e| matches!(e, Event::Ended { invite: i, .. } if *i == invite))
            .count()
    };
    if world.called {
        assert_eq!(
            ended(Side::Caller, CALL),
            1,
            "seed {seed}: ends exactly once\n{}",
            world.log()
        );
    }
    for event in world.events(Side::Callee) {
        if let Event::Incoming { invite, .. } = event {
            assert_eq!(
                ended(Side::Callee, *invite),
                1,
                "seed {seed}: ends exactly once\n{}",
                world.log()
            );
        }
    }
}

fn ended(world: &World, side: Side) -> End {
    let end = world.events(side).find_map(|e| match e {
        Event::Ended { end, .. } => Some(end.clone()),
        _ => None,
    });
    end.unwrap_or_else(|| panic!("no end\n{}", world.log()))
}

#[test]
fn a_call_over_a_good_wire_is_answered_and_ended_by_the_caller() {
    let world = play(Plan {
        answer_after: Some(ms(2000)),
        caller_hangs_up: Some(ms(9000)),
        ..Plan::good()
    });
    check_nothing_is_left(&world);
    assert!(
        world
            .events(Side::Caller)
            .any(|e| matches!(e, Event::Progress { status: 180, .. }))
    );
    assert!(world.events(Side::Caller).any(|e| matches!(
        e,
        Event::Answered {
            status: 200,
            late: false,
            ..
        }
    )));
    assert!(matches!(ended(&world, Side::Caller), End::ByUs { .. }));
    assert!(matches!(
        ended(&world, Side::Callee),
        End::ByPeer {
            cancelled: false,
            ..
        }
    ));
}

#[test]
fn the_callee_may_end_it_as_well() {
    let world = play(Plan {
        answer_after: Some(ms(500)),
        callee_hangs_up: Some(ms(4000)),
        ..Plan::good()
    });
    check_nothing_is_left(&world);
    assert!(matches!(ended(&world, Side::Caller), End::ByPeer { .. }));
}

#[test]
fn a_ringing_call_is_cancelled() {
    let world = play(Plan {
        caller_hangs_up: Some(ms(3000)),
        ..Plan::good()
    });
    check_nothing_is_left(&world);
    assert!(matches!(ended(&world, Side::Caller), End::ByUs { .. }));
    assert!(matches!(
        ended(&world, Side::Callee),
        End::ByPeer {
            cancelled: true,
            ..
        }
    ));
}

#[test]
fn a_refusal_reaches_the_caller_with_its_status() {
    let world = play(Plan {
        refuse: Some(Refusal {
            status: 486,
            reason: "Busy Here".into(),
            retry_after_s: None,
        }),
        ..Plan::good()
    });
    check_nothing_is_left(&world);
    assert!(
        matches!(ended(&world, Side::Caller), End::Failed(f) if f.status == 486 && f.raw.starts_with("SIP/2.0 486"))
    );
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let plan = Plan {
        late: true,
        answer_after: Some(ms(500)),
        caller_hangs_up: Some(ms(5000)),
        ..Plan::good()
    };
    let world = play(plan);
    check_nothing_is_left(&world);
    assert!(world.events(Side::Caller).any(|e| matches!(
        e,
        Event::Answered {
            late: true,
            sdp: Some(_),
            ..
        }
    )));
    let acknowledged = |e: &Event| matches!(e, Event::Acknowledged { sdp: Some(sdp), .. } if sdp == b"late answer");
    assert!(world.events(Side::Callee).any(acknowledged));
}

#[test]
fn a_description_before_the_answer_is_acknowledged_over_a_bad_wire() {
    for seed in 0..20 {
        let world = play(Plan {
            seed,
            loss_percent: 30,
            jitter_ms: 300,
            early: true,
            answer_after: Some(ms(200)),
            caller_hangs_up: Some(ms(60_000)),
            ..Plan::good()
        });
        check_nothing_is_left(&world);
        let pracked = world.log().contains("PRACK");
        let answered = |e: &Event| matches!(e, Event::Answered { .. });
        if world.events(Side::Caller).any(answered) {
            assert!(pracked, "seed {seed}\n{}", world.log());
        }
    }
}

#[test]
fn a_call_that_is_refreshed_over_a_bad_wire_lives_until_somebody_hangs_up() {
    for seed in 0..20 {
        let world = play(Plan {
            seed,
            loss_percent: 10,
            jitter_ms: 300,
            session_s: 90,
            answer_after: Some(ms(200)),
            caller_hangs_up: Some(ms(350_000)),
            ..Plan::good()
        });
        check_nothing_is_left(&world);
        if world
            .events(Side::Caller)
            .any(|e| matches!(e, Event::Answered { .. }))
        {
            assert!(
                world.log().contains("UPDATE"),
                "seed {seed}\n{}",
                world.log()
            );
            assert!(
                matches!(ended(&world, Side::Caller), End::ByUs { .. }),
                "seed {seed}\n{}",
                world.log()
            );
        }
    }
}

#[test]
fn a_call_whose_proxy_vanished_ends_on_both_sides_when_its_session_does() {
    let mut world = World::new(Plan {
        session_s: 90,
        answer_after: Some(ms(200)),
        ..Plan::good()
    });
    world.open_accounts();
    world.run_for(ms(5_000));
    world.call();
    world.run_for(ms(10_000));
    world.kill_pbx();
    world.run_for(ms(100_000));
    for side in [Side::Caller, Side::Callee] {
        assert!(
            matches!(ended(&world, side), End::Failed(f) if f.cause == Cause::Timeout),
            "{}",
            world.log()
        );
    }
}

#[test]
fn offers_that_meet_are_both_answered_in_the_end() {
    let plan = Plan {
        answer_after: Some(ms(500)),
        caller_offers: Some(ms(3000)),
        callee_offers: Some(ms(3000)),
        caller_hangs_up: Some(ms(30_000)),
        ..Plan::good()
    };
    let world = play(plan);
    check_nothing_is_left(&world);
    for side in [Side::Caller, Side::Callee] {
        assert!(
            world
                .events(side)
                .any(|e| matches!(e, Event::OfferAnswered { .. })),
            "{side:?}\n{}",
            world.log()
        );
        assert!(
            world
                .events(side)
                .any(|e| matches!(e, Event::Offered { .. })),
            "{side:?}\n{}",
            world.log()
        );
    }
}

#[test]
fn a_call_over_tcp_works_as_over_udp() {
    let plan = Plan {
        tcp: true,
        answer_after: Some(ms(500)),
        caller_offers: Some(ms(2000)),
        caller_hangs_up: Some(ms(6000)),
        ..Plan::good()
    };
    let world = play(plan);
    check_nothing_is_left(&world);
    assert!(
        world
            .events(Side::Caller)
            .any(|e| matches!(e, Event::OfferAnswered { .. })),
        "{}",
        world.log()
    );
    assert!(matches!(
        ended(&world, Side::Callee),
        End::ByPeer {
            cancelled: false,
            ..
        }
    ));
}

#[test]
fn a_registrar_that_was_away_for_a_minute_is_registered_with_again() {
    for (tcp, away_at) in [
        (false, 1_000),
        (false, 20_000),
        (true, 1_000),
        (true, 20_000),
    ] {
        let mut world = World::new(Plan {
            tcp,
            ..Plan::good()
        });
        world.open_accounts();
        world.run_for(ms(away_at));
        assert!(world.both_registered());
        world.kill_pbx();
        world.run_for(ms(60_000));
        world.start_pbx();
        world.run_for(ms(45_000));
        assert!(
            world.pbx_knows_both(),
            "tcp {tcp}, away at {away_at}\n{}",
            world.log()
        );
    }
}

#[test]
fn a_registrar_that_forgot_everything_at_once_is_told_again() {
    let mut world = World::new(Plan::good());
    world.open_accounts();
    world.run_for(ms(5_000));
    world.kill_pbx();
    world.start_pbx();
    world.run_for(ms(45_000));
    assert!(world.pbx_knows_both(), "{}", world.log());
}

#[test]
fn a_registrar_that_wants_longer_is_given_longer() {
    let mut world = World::new(Plan {
        min_expires: 300,
        ..Plan::good()
    });
    world.open_accounts();
    world.run_for(ms(5_000));
    assert!(world.both_registered(), "{}", world.log());
    assert!(
        world
            .events(Side::Caller)
            .any(|e| matches!(e, Event::Registered { expires_s: 300, .. }))
    );
}

#[test]
fn a_call_to_where_nobody_is_allowed_to_send_fails_by_name() {
    let mut world = World::new(Plan::good());
    world.open_accounts();
    world.run_for(ms(5_000));
    world.command(
        Side::Caller,
        Command::OpenAccount {
            account: signaling_trunk::api::AccountId(9),
            spec: world::spec("x", "169.254.169.254", false),
        },
    );
    world.run_for(ms(5_000));
    let refused = |e: &Event| matches!(e, Event::RegistrationFailed { failure, retry_s: None, .. } if failure.cause == Cause::NotAllowed);
    assert!(world.events(Side::Caller).any(refused), "{}", world.log());
}

/// Everything a seed decides: loss up to a quarter, delays that reorder, and who does what when.
#[test]
fn calls_over_bad_wires_always_end_once_and_leave_nothing() {
    for seed in 0..seeds(400) {
        let world = play(Plan::random(seed));
        check_nothing_is_left(&world);
    }
}

#[test]
fn an_agent_restored_between_any_two_steps_goes_on_as_if_nothing_had_happened() {
    for seed in 0..seeds(40) {
        let steady = play(Plan::random(seed));
        let restored = play(Plan {
            restore: true,
            ..Plan::random(seed)
        });
        assert_eq!(restored.log(), steady.log(), "seed {seed}");
    }
    for tcp in [false, true] {
        let plan = || Plan {
            tcp,
            answer_after: Some(ms(500)),
            caller_offers: Some(ms(2000)),
            caller_hangs_up: Some(ms(6000)),
            ..Plan::good()
        };
        assert_eq!(
            play(Plan {
                restore: true,
                ..plan()
            })
            .log(),
            play(plan()).log()
        );
    }
}

/// Both refer each other and press digits, over wires as bad as a seed decides.
fn with_wishes(seed: u64) -> Plan {
    let step = |n: u64| ms(seed.wrapping_mul(2_654_435_761).wrapping_add(n * 977) % 4_000);
    Plan {
        answer_after: Some(ms(200)),
        wishes: Wishes {
            caller_refers: vec![step(1), step(2), step(3)],
            callee_refers: vec![step(4), step(5)],
            digits: 6,
            digits_at: step(6),
            forgetful: true,
        },
        ..Plan::random(seed)
    }
}

#[test]
fn over_a_good_wire_each_transfer_is_told_to_its_end_and_each_digit_is_heard() {
    let plan = Plan {
        answer_after: Some(ms(100)),
        caller_hangs_up: Some(ms(30_000)),
        wishes: Wishes {
            caller_refers: vec![ms(1_000), ms(1_001), ms(8_000)],
            callee_refers: vec![ms(1_000)],
            digits: 9,
            digits_at: ms(1_000),
            forgetful: false,
        },
        // What leaves in order arrives in order: a number that was overtaken gets 500.
        jitter_ms: 1,
        ..Plan::good()
    };
    let world = play(plan);
    check_nothing_is_left(&world);
    transfer::check(&world);
    for (side, count) in [(Side::Caller, 3), (Side::Callee, 1)] {
        let ends = transfer::ends(&world, side);
        assert_eq!(ends.len(), count, "{}", world.log());
        for end in ends.values() {
            let is_end = ["200", "486", "603", "refused 603"].contains(&end.as_str());
            assert!(is_end, "{ends:?}\n{}", world.log());
        }
        let digits: Vec<u8> = (0..9).collect();
        assert_eq!(transfer::heard(&world, side), digits, "{}", world.log());
    }
}

#[test]
fn transfers_and_digits_over_bad_wires_are_told_in_order_and_leave_nothing() {
    for seed in 0..seeds(200) {
        let world = play(with_wishes(seed));
        check_nothing_is_left(&world);
        transfer::check(&world);
    }
    for seed in 0..20 {
        let steady = play(with_wishes(seed));
        let restored = play(Plan {
            restore: true,
            ..with_wishes(seed)
        });
        assert_eq!(restored.log(), steady.log(), "seed {seed}");
    }
}

/// How many seeds to play: more by `SIM_SEEDS` when there is time.
fn seeds(usual: u64) -> u64 {
    std::env::var("SIM_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(usual)
}

#[test]
fn a_call_survives_a_restart_that_lost_every_connection() {
    let plan = Plan {
        tcp: true,
        answer_after: Some(ms(500)),
        caller_hangs_up: Some(ms(20_000)),
        ..Plan::good()
    };
    let mut world = World::new(plan);
    world.open_accounts();
    world.run_for(ms(3_000));
    world.call();
    world.run_for(ms(5_000));
    world.restart_without_connections(Side::Caller);
    world.run_for(ms(100_000));
    assert!(
        matches!(ended(&world, Side::Caller), End::ByUs { .. }),
        "{}",
        world.log()
    );
    assert!(
        matches!(
            ended(&world, Side::Callee),
            End::ByPeer {
                cancelled: false,
                ..
            }
        ),
        "{}",
        world.log()
    );
}
