//! Requests that go round in circles, and those that only look like it.

mod common;

use common::*;
use signaling_sip::message::{HeaderName, Message};
use signaling_trunk::api::{AccountId, AccountSpec, Command, Event};

fn desk() -> Desk {
    Desk::registered().restored_at_each_step()
}

/// The user part under which the PBX rings us.
fn user(desk: &mut Desk) -> String {
    let invite = desk.call();
    let user = desk.contact_user(&invite);
    desk.answer(&invite, "486 Busy", "", "");
    desk.sent.clear();
    desk.events.clear();
    user
}

fn answered(desk: &mut Desk, message: &str) -> u16 {
    desk.receive(PBX, message.as_bytes());
    status(&desk.taken())
}

#[test]
fn an_invite_that_may_not_go_on_is_refused_and_an_options_answered() {
    let mut desk = desk();
    let user = user(&mut desk);
    for (method, hops, wanted) in [
        ("INVITE", "Max-Forwards: 0\r\n", 483),
        ("OPTIONS", "Max-Forwards: 0\r\n", 200),
        ("OPTIONS", "", 200),
        ("INVITE", "Max-Forwards: 1\r\n", 100),
    ] {
        let branch = format!("{method}{wanted}");
        let message = text(&desk.inbound(method, &user, &branch, 1, "", ""));
        let message = message.replace("Max-Forwards: 70\r\n", hops);
        assert_eq!(answered(&mut desk, &message), wanted, "{method} {hops}");
    }
}

#[test]
fn an_invite_without_max_forwards_rings() {
    let mut desk = desk();
    let user = user(&mut desk);
    let message = text(&desk.inbound("INVITE", &user, "a", 1, "", "v=0"));
    let message = message.replace("Max-Forwards: 70\r\n", "");
    assert_eq!(answered(&mut desk, &message), 100);
    assert!(matches!(desk.events.last(), Some(Event::Incoming { .. })));
}

#[test]
fn every_request_of_ours_may_go_seventy_hops() {
    let mut desk = desk();
    let (invite, ack) = desk.established();
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    for message in [invite, ack, desk.taken()] {
        assert_eq!(header(&message, "Max-Forwards"), "70");
    }
}

#[test]
fn one_invite_by_two_ways_rings_once() {
    let mut desk = desk();
    let user = user(&mut desk);
    let first = text(&desk.inbound("INVITE", &user, "one", 1, "", "v=0"));
    let other_way = first.replace("branch=z9hG4bKone", "branch=z9hG4bKtwo");
    assert_eq!(answered(&mut desk, &first), 100);
    assert_eq!(answered(&mut desk, &other_way), 482);
    assert_eq!(
        answered(&mut desk, &first),
        100,
        "the first goes on, and is no merged one of itself"
    );
    for (what, with) in [
        ("Call-ID: in1", "Call-ID: in2"),
        ("tag=bt", "tag=other"),
        ("CSeq: 1 ", "CSeq: 2 "),
    ] {
        let another = other_way
            .replace(what, with)
            .replace("z9hG4bKtwo", &format!("z9hG4bK{}", with.len()));
        assert_eq!(answered(&mut desk, &another), 100, "{with}");
    }
    let incoming = desk
        .events
        .iter()
        .filter(|e| matches!(e, Event::Incoming { .. }));
    assert_eq!(incoming.count(), 4);
}

#[test]
fn an_invite_is_known_again_until_its_transaction_is_over() {
    let mut desk = desk();
    let user = user(&mut desk);
    let first = desk.inbound("INVITE", &user, "one", 1, "", "v=0");
    desk.receive(PBX, &first);
    let Some(Event::Incoming { invite, .. }) = desk.events.last() else {
        panic!("{:?}", desk.events)
    };
    let invite = *invite;
    desk.command(Command::Hangup {
        invite,
        status: None,
    });
    desk.sent.clear();
    let other_way = text(&first).replace("branch=z9hG4bKone", "branch=z9hG4bKtwo");
    assert_eq!(answered(&mut desk, &other_way), 482);
    desk.wait(40_000);
    desk.sent.clear();
    assert_eq!(answered(&mut desk, &other_way), 100);
}

/// What the PBX does with an INVITE of ours as a proxy: its Via on top, another Request-URI.
fn passed_on(invite: &[u8], user: &str) -> String {
    let line = text(Message::parse(invite).unwrap().uri_text());
    text(invite)
        .replacen(&line, &format!("sip:{user}@{US}"), 1)
        .replacen(
            "Via: ",
            "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKproxy;rport\r\nVia: ",
            1,
        )
}

#[test]
fn an_invite_of_ours_that_comes_back_is_a_loop() {
    let mut desk = desk();
    let invite = desk.call();
    let own = desk.contact_user(&invite);
    for user in [own.as_str(), "nobody"] {
        let back = passed_on(&invite, user);
        assert_eq!(answered(&mut desk, &back), 482, "{user}");
    }
    assert!(desk.events.is_empty());
}

#[test]
fn one_account_may_call_another_by_way_of_their_proxy() {
    let mut desk = desk();
    desk.command(Command::OpenAccount {
        account: AccountId(2),
        spec: AccountSpec {
            login: "you".into(),
            ..spec(PBX)
        },
    });
    let register = desk.taken();
    let theirs = desk.contact_user(&register);
    desk.answer(
        &register,
        "200 OK",
        &format!("Contact: {}\r\n", header(&register, "Contact")),
        "",
    );
    let invite = desk.call();
    let back = passed_on(&invite, &theirs).replacen(
        "Max-Forwards",
        "Record-Route: <sip:192.0.2.1;lr>\r\nMax-Forwards",
        1,
    );
    assert_eq!(answered(&mut desk, &back), 100);
    let Some(Event::Incoming {
        account: AccountId(2),
        invite: callee,
        ..
    }) = desk.events.last()
    else {
        panic!("{:?}", desk.events)
    };
    let callee = *callee;
    desk.command(Command::Accept {
        invite: callee,
        sdp: b"v=0 answer".to_vec(),
    });
    // The proxy takes its Via off and hands it back.
    let ok = text(&desk.taken());
    let top = ok.lines().find(|l| l.starts_with("Via: ")).unwrap();
    let ok = ok.replacen(&format!("{top}\r\n"), "", 1);
    desk.receive(PBX, ok.as_bytes());
    assert!(
        matches!(desk.events.last(), Some(Event::Answered { .. })),
        "{ok}"
    );
    let ack = desk.taken();
    let acked = text(&ack).replacen(
        "Via: ",
        "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKackp\r\nVia: ",
        1,
    );
    desk.receive(PBX, acked.as_bytes());
    assert!(
        matches!(desk.events.last(), Some(Event::Acknowledged { invite, .. }) if *invite == callee)
    );
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    let bye = desk.taken();
    assert_eq!(
        Message::parse(&bye)
            .unwrap()
            .list(HeaderName::Route)
            .count(),
        1
    );
    let passed = text(&bye).replacen(
        "Via: ",
        "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKbyep\r\nVia: ",
        1,
    );
    desk.receive(PBX, passed.as_bytes());
    assert!(
        matches!(desk.events.last(), Some(Event::Ended { invite, .. }) if *invite == callee),
        "a BYE with our own Via below the proxy's is no loop either"
    );
}
