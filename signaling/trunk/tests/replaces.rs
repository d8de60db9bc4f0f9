//! INVITEs that take the place of a call, and whatever else may be said of transfers, with an agent that is written
//! down and restored before every step.

mod common;

use common::transfer::*;
use common::{CALL, Desk, PBX, status, text};
use proptest::prelude::*;
use signaling_sip::message::{HeaderName, Message};
use signaling_trunk::api::{
    AccountId, Cause, Command, End, Event, InviteId, InviteOptions, ReferId, ReferTo, Target,
};

#[test]
fn an_invite_that_replaces_says_so_and_who_referred_it() {
    let mut desk = desk();
    desk.command(invite_with(InviteOptions {
        replaces: Some("1@2;from-tag=b;to-tag=a;early-only".into()),
        referred_by: Some("\"Bob\" <sip:bob@pbx.test>".into()),
        ..InviteOptions::default()
    }));
    let message = desk.taken();
    assert_eq!(
        line(&message, HeaderName::Replaces),
        "1@2;to-tag=a;from-tag=b;early-only"
    );
    assert_eq!(line(&message, HeaderName::Require), "replaces");
    assert_eq!(
        line(&message, HeaderName::ReferredBy),
        "\"Bob\" <sip:bob@pbx.test>"
    );
    let parsed = Message::parse(&message).unwrap();
    let supported: Vec<String> = parsed.list(HeaderName::Supported).map(text).collect();
    let allowed: Vec<String> = parsed.list(HeaderName::Allow).map(text).collect();
    assert!(supported.contains(&"replaces".to_string()), "{supported:?}");
    for method in ["REFER", "NOTIFY", "INFO"] {
        assert!(allowed.contains(&method.to_string()), "{allowed:?}");
    }
    for (replaces, referred_by) in [
        (Some("1"), None),
        (Some("1;to-tag=a;from-tag=b\r\nEvil: 1"), None),
        (None, Some("bob")),
        (None, Some("<sip:a@b>\r\nEvil: 1")),
    ] {
        let mut desk = Desk::registered();
        desk.command(invite_with(InviteOptions {
            replaces: replaces.map(str::to_string),
            referred_by: referred_by.map(str::to_string),
            ..InviteOptions::default()
        }));
        for (_, bytes) in &desk.sent {
            assert!(Message::parse(bytes).unwrap().value_named("Evil").is_none());
        }
        assert!(
            !desk.sent.is_empty()
                || matches!(desk.events.last(), Some(Event::Ended { end: End::Failed(f), .. }) if f.cause == Cause::BadRequest)
        );
    }
}

/// The PBX calls us with these header lines; what was told, or the status of our refusal.
fn rings(desk: &mut Desk, ours: &[u8], more: &str) -> Result<Option<InviteId>, u16> {
    let user = desk.contact_user(ours);
    desk.sent.clear();
    desk.events.clear();
    let branch = format!("r{}", desk.now.0);
    desk.wait(1);
    let message = text(&desk.inbound("INVITE", &user, &branch, 1, "", "v=0 offer"));
    let message = message
        .replace("X-Trace: 7\r\n", more)
        .replace("Call-ID: in1", &format!("Call-ID: {branch}"));
    desk.receive(PBX, message.as_bytes());
    match desk.events.last() {
        Some(Event::Incoming { replaces, .. }) => Ok(*replaces),
        _ => Err(status(&desk.sent[0].1)),
    }
}

/// The Replaces by which the PBX means the call of this INVITE, whose answer had the tag b1.
fn meaning(ours: &[u8]) -> String {
    let message = Message::parse(ours).unwrap();
    let (id, tag) = (
        text(message.call_id().unwrap()),
        text(message.from().unwrap().tag().unwrap()),
    );
    format!("Replaces: {id};to-tag={tag};from-tag=b1")
}

#[test]
fn an_invite_with_replaces_finds_the_call_that_it_means() {
    let (mut desk, ours) = talking();
    let meant = meaning(&ours);
    let both = format!("Require: replaces\r\n{meant}\r\n");
    assert_eq!(rings(&mut desk, &ours, &both), Ok(Some(CALL)));
    for (more, wanted) in [
        (String::new(), Ok(None)),
        (format!("{meant};early-only\r\n"), Err(486)),
        (meant.replace("from-tag=b1", "from-tag=b2\r\n"), Err(481)),
        (meant.replace("to-tag=", "to-tag=f") + "\r\n", Err(481)),
        (
            meant.replace("Replaces: ", "Replaces: x") + "\r\n",
            Err(481),
        ),
        (format!("{meant}\r\n{meant}\r\n"), Err(400)),
        (format!("{meant}, 1;to-tag=a;from-tag=b\r\n"), Err(400)),
        (
            format!("{meant}\r\nJoin: 1;to-tag=a;from-tag=b\r\n"),
            Err(400),
        ),
        ("Replaces: 1\r\n".into(), Err(400)),
        ("Replaces: \r\n".into(), Err(400)),
    ] {
        assert_eq!(rings(&mut desk, &ours, &more), wanted, "{more}");
    }
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    assert_eq!(rings(&mut desk, &ours, &both), Err(603));
}

#[test]
fn an_early_call_of_ours_may_be_replaced_and_one_of_theirs_not() {
    let mut desk = desk();
    let ours = desk.call();
    desk.answer(&ours, "180 Ringing", "Contact: <sip:bob@192.0.2.1>\r\n", "");
    let early = format!("{};early-only\r\n", meaning(&ours));
    assert_eq!(rings(&mut desk, &ours, &early), Ok(Some(CALL)));
    let Some(Event::Incoming { invite, .. }) = desk.events.last() else {
        panic!()
    };
    let invite = *invite;
    desk.sent.clear();
    desk.command(Command::Progress {
        invite,
        status: 180,
        sdp: None,
    });
    let ringing = desk.taken();
    let parsed = Message::parse(&ringing).unwrap();
    let theirs = format!(
        "Replaces: {};to-tag={};from-tag=bt\r\n",
        text(parsed.call_id().unwrap()),
        text(parsed.to().unwrap().tag().unwrap())
    );
    assert_eq!(rings(&mut desk, &ours, &theirs), Err(481));
}

#[test]
fn only_calls_of_the_same_account_can_be_replaced() {
    let (mut desk, ours) = talking();
    desk.command(Command::OpenAccount {
        account: AccountId(2),
        spec: common::spec(PBX),
    });
    let register = desk.taken();
    let contact = format!("Contact: {}\r\n", line(&register, HeaderName::Contact));
    desk.answer(&register, "200 OK", &contact, "");
    let meant = format!("{}\r\n", meaning(&ours));
    assert_eq!(rings(&mut desk, &register, &meant), Err(481));
    assert_eq!(rings(&mut desk, &ours, &meant), Ok(Some(CALL)));
}

/// Pieces of header values, sound and not.
fn value() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "<", ">", "\"", ";", ",", "?", "=", "&", ":", "@", "%", "%0d%0a", "%3B", "sip:", "tel:", "a@b.test",
            "method=", "INVITE", "Replaces=", "to-tag=", "from-tag=", "early-only", "refer", "id=", "active",
            "terminated", "expires=", "SIP/2.0 ", "200", "100 Trying", " ",
        ]).prop_map(str::to_string),
        1 => "[ -~]{1,6}",
        1 => "\\PC{0,3}",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Line ends and all: from the application, not from the wire.
fn typed() -> impl Strategy<Value = String> {
    prop_oneof![3 => value(), 1 => value().prop_map(|v| format!("{v}\r\nEvil: 1\r\n\r\n{v}"))]
}

/// One message, nothing smuggled in.
fn is_whole(bytes: &[u8]) -> Result<(), TestCaseError> {
    let message = Message::parse(bytes).unwrap();
    prop_assert_eq!(message.fault, None);
    let head = bytes.len() - message.body().len();
    let lines = bytes[..head].iter().filter(|b| **b == b'\n').count();
    prop_assert_eq!(lines, message.fields().count() + 2, "{}", text(bytes));
    prop_assert!(message.value_named("Evil").is_none(), "{}", text(bytes));
    Ok(())
}

proptest! {
    #[test]
    fn whatever_a_peer_or_an_application_says_of_a_transfer_becomes_one_message_or_none(
        said in proptest::collection::vec((0usize..6, value(), value(), value()), 1..8),
        asked in proptest::collection::vec((0usize..5, typed(), typed()), 1..6),
    ) {
        let (mut desk, message) = referred();
        desk.answer(&message, "202 Accepted", "", "");
        let mut theirs = Vec::new();
        for (n, (what, a, b, body)) in said.into_iter().enumerate() {
            let cseq = n as u32 + 1;
            let bytes = match what {
                0 => desk.inside(&message, "REFER", cseq, &format!("Refer-To: {a}\r\nReferred-By: {b}\r\n"), ""),
                1 => desk.inside(&message, "REFER", cseq, &format!("Refer-To: <sip:{a}>\r\n"), ""),
                2 => desk.inside(&message, "NOTIFY", cseq, &format!("Event: {a}\r\nSubscription-State: {b}\r\nContent-Type: message/sipfrag\r\n"), &body),
                3 => desk.inside(&message, "NOTIFY", cseq, &format!("{ACTIVE}Content-Type: message/sipfrag\r\n"), &format!("SIP/2.0 180 {body}")),
                4 => desk.inside(&message, "INFO", cseq, &format!("Content-Type: {a}\r\n"), &body),
                _ => {
                    let user = desk.contact_user(&message);
                    let invite = text(&desk.inbound("INVITE", &user, &format!("p{n}"), 1, "", "v=0"));
                    invite.replace("X-Trace: 7", &format!("Replaces: {a}")).replace("in1", &format!("in{n}")).into_bytes()
                }
            };
            desk.receive(PBX, &bytes);
            for event in desk.events.drain(..) {
                match event {
                    Event::Referred { refer, replaces, referred_by, .. } => theirs.push((refer, replaces, referred_by)),
                    Event::ReferNotified { reason, .. } => prop_assert!(!reason.contains(['\r', '\n'])),
                    _ => {}
                }
            }
        }
        for (n, (refer, replaces, referred_by)) in theirs.into_iter().enumerate() {
            desk.command(Command::AcceptRefer { invite: CALL, refer });
            let mut command = invite_with(InviteOptions { replaces, referred_by, ..InviteOptions::default() });
            if let Command::Invite { invite, .. } = &mut command {
                *invite = InviteId(1_000 + 2 * n as u64);
            }
            desk.command(command);
        }
        for (n, (what, a, b)) in asked.into_iter().enumerate() {
            let refer = ReferId(100 + n as u64);
            let to = match what {
                0 => user(&a),
                1 => ReferTo::Target(Target::Uri { uri: a, params: vec![(b, None)] }),
                2 => ReferTo::Target(Target::Uri { uri: format!("sip:{a}"), params: Vec::new() }),
                3 => {
                    desk.command(Command::Info { invite: CALL, content_type: a, body: b.into_bytes() });
                    continue;
                }
                _ => {
                    let options = InviteOptions { replaces: Some(a), referred_by: Some(b), ..InviteOptions::default() };
                    let mut command = invite_with(options);
                    if let Command::Invite { invite, .. } = &mut command {
                        *invite = InviteId(2_000 + 2 * n as u64);
                    }
                    desk.command(command);
                    continue;
                }
            };
            desk.command(Command::Refer { invite: CALL, refer, to });
        }
        for (_, bytes) in &desk.sent {
            is_whole(bytes)?;
        }
    }
}
