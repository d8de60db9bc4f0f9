//! Servers of a trunk that are dead, busy or coming back: who is tried, how long, and who is asked whether it is
//! there.

mod common;

use common::trunks::*;
use common::*;
use signaling_trunk::agent::{Input, Output};
use signaling_trunk::api::{Cause, Command, End, Event, Failure, InviteId};
use signaling_trunk::lines::{TrunkMode, TrunkSpec};
use std::collections::BTreeMap;

const THIRD: &str = "192.0.2.3:5060";

fn two(probe_s: u32) -> TrunkSpec {
    TrunkSpec {
        servers: vec![PBX.into(), SECOND.into()],
        attempt_ms: 2_000,
        probe_s,
        ..trunk(TrunkMode::Address)
    }
}

fn desk(spec: TrunkSpec) -> Desk {
    let mut desk = Desk::new().restored_at_each_step();
    take(&mut desk, vec![spec]);
    desk
}

/// A call of its own number.
fn call_as(number: u64) -> Command {
    let mut command = call("1");
    if let Command::Invite { invite, .. } = &mut command {
        *invite = InviteId(number);
    }
    command
}

/// INVITEs sent since, with whom to.
fn invites(desk: &mut Desk) -> Vec<(String, Vec<u8>)> {
    let sent = std::mem::take(&mut desk.sent).into_iter();
    sent.filter(|(_, bytes)| bytes.starts_with(b"INVITE "))
        .map(|(to, bytes)| (to.to_string(), bytes))
        .collect()
}

fn failure(desk: &Desk) -> Option<&Failure> {
    desk.events.iter().rev().find_map(|event| match event {
        Event::Ended {
            end: End::Failed(failure),
            ..
        } => Some(failure),
        _ => None,
    })
}

/// Whom the OPTIONS since went to, each answered where `alive` says so.
fn probes(desk: &mut Desk, alive: impl Fn(&str) -> bool) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (to, bytes) in std::mem::take(&mut desk.sent) {
        if !bytes.starts_with(b"OPTIONS ") {
            continue;
        }
        *counts.entry(to.to_string()).or_default() += 1;
        if alive(&to.to_string()) {
            desk.answer(&bytes, "404 Not Found", "", "");
        }
    }
    counts
}

/// Seconds in which probes are answered at once.
fn live(desk: &mut Desk, seconds: u64, alive: impl Fn(&str) -> bool) {
    for _ in 0..10 * seconds {
        probes(desk, &alive);
        desk.wait(100);
    }
}

#[test]
fn a_dead_first_server_costs_a_call_no_more_than_the_operator_set() {
    let mut desk = desk(two(0));
    desk.command(call("1"));
    desk.wait(1_999);
    let tried = invites(&mut desk);
    assert!(tried.iter().all(|(to, _)| to == PBX), "{tried:?}");
    desk.wait(1);
    let [(to, invite)] = &invites(&mut desk)[..] else {
        panic!("one more INVITE")
    };
    assert_eq!(to, SECOND);
    let first = &tried[0].1;
    assert_eq!(header(invite, "Call-ID"), header(first, "Call-ID"));
    assert_ne!(header(invite, "Via"), header(first, "Via"));
    desk.answer(invite, "180 Ringing", "", "");
    desk.wait(10_000);
    assert_eq!(invites(&mut desk), [], "it rings: nobody else is tried");
    desk.answer(invite, "200 OK", "Contact: <sip:gw@192.0.2.2>\r\n", "v=0 a");
    assert!(matches!(desk.events.last(), Some(Event::Answered { .. })));
}

#[test]
fn a_call_may_be_given_less_time_than_the_trunk_says() {
    let mut desk = desk(two(0));
    let mut command = call("1");
    if let Command::Invite { options, .. } = &mut command {
        options.attempt_ms = 700;
    }
    desk.command(command);
    desk.wait(700);
    assert_eq!(invites(&mut desk).last().unwrap().0, SECOND);
    desk.wait(700);
    let failure = failure(&desk).expect("both are dead");
    assert_eq!((failure.status, failure.cause), (0, Cause::Timeout));
    desk.wait(100_000);
    assert_eq!(desk.agent.counts()[1..], [0; 4]);
}

#[test]
fn a_dead_server_over_tcp_costs_no_more_either() {
    let mut spec = two(0);
    spec.servers[0] = format!("sip:{PBX};transport=tcp");
    let mut desk = desk(spec);
    desk.command(call("1"));
    let opens = |o: &Output| matches!(o, Output::OpenStream { .. });
    assert!(desk.others.iter().any(opens));
    desk.wait(2_000);
    assert_eq!(invites(&mut desk)[0].0, SECOND);
}

#[test]
fn a_late_answer_of_a_server_that_was_given_up_is_acknowledged_and_ended() {
    let mut desk = desk(two(0));
    desk.command(call("1"));
    let first = invites(&mut desk).remove(0).1;
    desk.wait(2_000);
    let second = invites(&mut desk).pop().unwrap().1;
    let contact = "Contact: <sip:late@192.0.2.1>\r\n";
    desk.answer_as("late", &first, "200 OK", contact, "v=0 late");
    assert_eq!(desk.methods(), ["ACK", "BYE"]);
    assert!(text(&desk.sent[1].1).starts_with("BYE sip:late@192.0.2.1 "));
    assert_eq!(desk.events.len(), 1, "the calls hear nothing of it");
    desk.sent.truncate(1);
    let ack = desk.taken();
    desk.answer_as("late", &first, "200 OK", contact, "v=0 late");
    assert_eq!(desk.taken(), ack, "its ACK was lost");
    let contact = "Contact: <sip:gw@192.0.2.2>\r\n";
    desk.answer(&second, "200 OK", contact, "v=0 a");
    assert!(matches!(desk.events.last(), Some(Event::Answered { .. })));
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    desk.wait(100_000);
    assert_eq!(desk.agent.counts()[1..], [0; 4]);
}

#[test]
fn a_late_ringing_of_a_server_that_was_given_up_is_cancelled() {
    let mut desk = desk(two(0));
    desk.command(call("1"));
    let first = invites(&mut desk).remove(0).1;
    desk.wait(2_000);
    let second = invites(&mut desk).pop().unwrap().1;
    desk.answer_as("late", &first, "180 Ringing", "", "");
    let cancel = desk.taken();
    assert!(text(&cancel).starts_with("CANCEL "));
    assert_eq!(header(&cancel, "Via"), header(&first, "Via"));
    desk.answer(&cancel, "200 OK", "", "");
    desk.answer_as("late", &first, "487 Request Terminated", "", "");
    assert!(text(&desk.taken()).starts_with("ACK "));
    desk.answer(&second, "486 Busy Here", "", "");
    assert_eq!(failure(&desk).unwrap().status, 486);
    desk.wait(100_000);
    assert_eq!(desk.agent.counts()[1..], [0; 4]);
}

#[test]
fn a_call_that_is_hung_up_rings_nobody_else() {
    let mut desk = desk(two(0));
    desk.command(call("1"));
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    desk.wait(100_000);
    assert!(invites(&mut desk).iter().all(|(to, _)| to == PBX));
    let ends = desk
        .events
        .iter()
        .filter(|e| matches!(e, Event::Ended { .. }));
    assert_eq!(ends.count(), 1);
    assert_eq!(desk.agent.counts()[1..], [0; 4]);
}

#[test]
fn a_503_goes_on_to_the_next_server_and_another_refusal_to_the_calls() {
    for (status, next) in [
        ("503 Service Unavailable", true),
        ("500 Server Internal Error", false),
        ("404 Not Found", false),
        ("603 Decline", false),
    ] {
        let mut desk = desk(two(0));
        desk.command(call("1"));
        let first = invites(&mut desk).remove(0).1;
        desk.answer(&first, status, "", "");
        let more = invites(&mut desk);
        if next {
            assert_eq!(more[0].0, SECOND);
            desk.answer(&more[0].1, "503 Service Unavailable", "", "");
            assert_eq!(failure(&desk).unwrap().status, 503, "the last one's word");
        } else {
            assert_eq!(more, [], "{status}");
            assert!(status.starts_with(&failure(&desk).unwrap().status.to_string()));
        }
    }
}

#[test]
fn who_asked_to_be_left_alone_is_not_called_before_its_time() {
    let mut spec = two(0);
    spec.servers.truncate(1);
    let mut desk = desk(spec);
    desk.command(call_as(2));
    let first = invites(&mut desk).remove(0).1;
    desk.answer(&first, "503 Service Unavailable", "Retry-After: 40\r\n", "");
    desk.wait(39_000);
    desk.sent.clear();
    desk.command(call_as(4));
    assert_eq!(invites(&mut desk), [], "Retry-After");
    assert_eq!(failure(&desk).unwrap().status, 503);
    desk.wait(2_000);
    desk.command(call_as(6));
    assert_eq!(invites(&mut desk).len(), 1);
}

#[test]
fn a_callee_behind_a_trunk_cannot_take_it_away_with_a_503() {
    let mut spec = two(0);
    spec.servers.truncate(1);
    let mut desk = desk(spec);
    desk.command(call_as(2));
    let first = invites(&mut desk).remove(0).1;
    desk.answer(&first, "100 Trying", "", "");
    desk.answer(&first, "180 Ringing", "", "");
    desk.answer(
        &first,
        "503 Service Unavailable",
        "Retry-After: 3600\r\n",
        "",
    );
    desk.sent.clear();
    desk.command(call_as(4));
    assert_eq!(invites(&mut desk).len(), 1, "the next call goes out");
}

#[test]
fn probes_tell_whether_a_trunk_is_up_and_any_answer_is_a_sign_of_life() {
    let mut desk = desk(two(20));
    assert_eq!(lines(&mut desk), [], "nobody has answered yet");
    assert_eq!(probes(&mut desk, |_| false).len(), 2);
    desk.wait(2_000);
    assert_eq!(lines(&mut desk), [(false, "no answer in time".into())]);
    live(&mut desk, 24, |to| to == SECOND);
    assert_eq!(lines(&mut desk), [(true, String::new())], "one of two");
    live(&mut desk, 120, |to| to == SECOND);
    assert_eq!(lines(&mut desk), []);
    desk.wait(30_000);
    assert_eq!(lines(&mut desk), [(false, "no answer in time".into())]);
}

#[test]
fn an_options_has_no_credentials_and_a_challenge_is_an_answer() {
    let mut desk = desk(two(20));
    let (_, options) = desk.sent.remove(0);
    assert!(text(&options).starts_with("OPTIONS sip:192.0.2.1:5060 SIP/2.0\r\n"));
    let challenge = "WWW-Authenticate: Digest realm=\"carrier.test\", nonce=\"1\"\r\n";
    desk.sent.clear();
    desk.answer(&options, "401 Unauthorized", challenge, "");
    assert_eq!(desk.sent, []);
    assert_eq!(lines(&mut desk), [(true, String::new())]);
}

#[test]
fn a_server_that_probes_found_dead_is_passed_over_without_a_wait() {
    let mut desk = desk(two(20));
    probes(&mut desk, |to| to == SECOND);
    desk.wait(5_000);
    desk.sent.clear();
    desk.command(call("1"));
    assert_eq!(invites(&mut desk)[0].0, SECOND);
}

#[test]
fn a_server_that_comes_back_gets_its_calls_little_by_little() {
    let mut desk = Desk::new();
    take(&mut desk, vec![two(10)]);
    probes(&mut desk, |to| to == SECOND);
    desk.wait(3_000);
    desk.sent.clear();
    // It answers its next probe, some ten seconds later.
    while !probes(&mut desk, |_| true).contains_key(PBX) {
        desk.wait(100);
    }
    let mut shares = Vec::new();
    let mut number = 2;
    for _ in 0..4 {
        let mut first = 0;
        for _ in 0..100 {
            number += 2;
            desk.command(call_as(number));
            let sent = invites(&mut desk);
            first += usize::from(sent[0].0 == PBX);
            desk.answer(&sent[0].1, "486 Busy Here", "", "");
            probes(&mut desk, |_| true);
        }
        shares.push(first);
        for _ in 0..20 {
            desk.wait(1_000);
            probes(&mut desk, |_| true);
        }
    }
    assert!(shares[0] < 30, "{shares:?}");
    assert!(shares.windows(2).all(|w| w[0] < w[1]), "{shares:?}");
    assert_eq!(shares[3], 100, "{shares:?}");
}

#[test]
fn trunks_at_one_server_share_its_probes() {
    let mut desk = Desk::new();
    let specs = (0..100).map(|n| TrunkSpec {
        name: format!("t{n}"),
        ..two(20)
    });
    take(&mut desk, specs.collect());
    probes(&mut desk, |_| true);
    let mut sent = 0;
    for _ in 0..600 {
        desk.wait(100);
        sent += probes(&mut desk, |_| true).values().sum::<usize>();
    }
    assert!(sent < 20, "{sent} in a minute");
    assert_eq!(lines(&mut desk).len(), 100);
}

#[test]
fn a_dead_name_server_costs_a_call_no_more_than_the_operator_set() {
    let mut spec = two(0);
    spec.servers[0] = "sip.carrier.test".into();
    let mut desk = desk(spec);
    desk.others.clear();
    desk.command(call("1"));
    desk.wait(2_000);
    assert_eq!(invites(&mut desk)[0].0, SECOND);
}

#[test]
fn a_trunks_server_need_not_be_among_the_allowed_targets_but_never_is_ourselves() {
    let mut config = config();
    config.allowed.clear();
    let mut desk = Desk::with(config);
    let spec = TrunkSpec {
        servers: vec!["203.0.113.9".into()],
        ..trunk(TrunkMode::Address)
    };
    let us = TrunkSpec {
        name: "us".into(),
        servers: vec![US.into()],
        ..trunk(TrunkMode::Address)
    };
    take(&mut desk, vec![spec, us]);
    desk.command(call_as(2));
    assert_eq!(invites(&mut desk)[0].0, "203.0.113.9:5060");
    let mut command = call_as(4);
    if let Command::Invite { options, .. } = &mut command {
        options.line = Some(signaling_trunk::api::Line::Trunk("us".into()));
    }
    desk.command(command);
    assert_eq!(failure(&desk).unwrap().cause, Cause::NotAllowed);
}

#[test]
fn a_lost_connection_before_an_answer_leads_on_to_the_next_server() {
    let mut spec = two(0);
    spec.servers = vec![format!("sip:{THIRD};transport=tcp"), SECOND.into()];
    let mut desk = desk(spec);
    desk.command(call("1"));
    let stream = desk.others.iter().find_map(|output| match output {
        Output::OpenStream { stream, .. } => Some(*stream),
        _ => None,
    });
    let stream = stream.unwrap();
    desk.step(Input::StreamConnected { stream });
    desk.sent.clear();
    desk.step(Input::StreamClosed { stream });
    assert_eq!(invites(&mut desk)[0].0, SECOND);
}
