//! The agent from outside, message by message: what it says to whom, and what it refuses.

mod common;

use common::*;
use proptest::prelude::*;
use signaling_sip::message::{HeaderName, Message};
use signaling_trunk::agent::{Input, Output};
use signaling_trunk::api::{
    AccountId, AccountSpec, Cause, Command, End, Event, ForkId, Header, Target,
};
use signaling_trunk::limits::{MAX_ACCEPTED_PER_ADDRESS, MAX_CONFIRMED_FORKS, MAX_STREAMS};
use signaling_trunk::net::StreamId;
use signaling_trunk::targets::{Answer, Question, Service};
use std::net::SocketAddr;

#[test]
fn an_invite_says_what_it_was_told_and_no_more() {
    let mut desk = Desk::registered();
    let message = desk.call();
    let text = text(&message);
    assert!(
        text.starts_with("INVITE sip:+49%2030%231@pbx.test;user=phone SIP/2.0\r\n"),
        "{text}"
    );
    assert!(
        text.contains("\r\nFrom: \"Me \\\"M\\\"\" <sip:me@pbx.test>;tag="),
        "{text}"
    );
    assert!(
        text.contains("\r\nX-Call: a b\r\n") && text.ends_with("\r\n\r\nv=0 offer"),
        "{text}"
    );
    assert!(
        desk.contact_user(&message).len() >= 24,
        "96 bits of hex at least"
    );
}

#[test]
fn a_401_and_a_407_in_one_call_are_both_answered() {
    let mut desk = Desk::registered();
    let message = desk.call();
    desk.answer(
        &message,
        "407 Proxy",
        "Proxy-Authenticate: Digest realm=\"p\", nonce=\"1\", algorithm=SHA-256, qop=\"auth\"\r\n",
        "",
    );
    assert_eq!(desk.methods(), ["INVITE", "ACK"]);
    let message = desk.sent.remove(0).1;
    desk.sent.clear();
    desk.answer(
        &message,
        "401 Gateway",
        "WWW-Authenticate: Digest realm=\"g\", nonce=\"2\"\r\n",
        "",
    );
    let message = desk.sent.remove(0).1;
    let text = text(&message);
    assert!(
        text.contains("nonce=\"1\"")
            && text.contains("nc=00000002")
            && text.contains("nonce=\"2\""),
        "{text}"
    );
    assert!(text.contains("CSeq: 3 INVITE"));
    desk.sent.clear();
    desk.answer(
        &message,
        "401 Gateway",
        "WWW-Authenticate: Digest realm=\"g\", nonce=\"3\"\r\n",
        "",
    );
    assert!(
        matches!(desk.events.last(), Some(Event::Ended { end: End::Failed(f), .. }) if f.status == 401)
    );
    assert_eq!(desk.methods(), ["ACK"], "no further guess at the password");
}

#[test]
fn a_stale_nonce_is_replaced_without_complaint() {
    let mut desk = Desk::registered();
    desk.wait(31_000);
    let register = desk.sent.pop().unwrap().1;
    assert!(text(&register).contains("nc=00000002"));
    desk.sent.clear();
    desk.answer(
        &register,
        "401 Stale",
        "WWW-Authenticate: Digest realm=\"r\", nonce=\"new\", qop=\"auth\", stale=true\r\n",
        "",
    );
    assert!(text(&desk.taken()).contains("nonce=\"new\""));
    assert!(desk.events.is_empty());
}

#[test]
fn what_would_break_a_message_is_refused_by_name() {
    let bad = |change: &dyn Fn(&mut Command)| {
        let mut desk = Desk::registered();
        let mut command = invite(b"v=0");
        change(&mut command);
        desk.command(command);
        assert!(desk.sent.is_empty());
        assert!(
            matches!(desk.events.last(), Some(Event::Ended { end: End::Failed(f), .. }) if f.cause == Cause::BadRequest),
            "{:?}",
            desk.events
        );
    };
    let header = |name: &str, value: &str| {
        let header = Header {
            name: name.into(),
            value: value.into(),
        };
        bad(&|command| {
            if let Command::Invite { headers, .. } = command {
                headers.push(header.clone());
            }
        });
    };
    header("X-A", "1\r\nEvil: 2");
    header("X-A", "1\0");
    header("X A", "1");
    header("Via", "SIP/2.0/UDP evil");
    header("v", "SIP/2.0/UDP evil");
    header("ROUTE", "<sip:evil>");
    header("Content-Length", "0");
    header("Authorization", "Digest");
    bad(&|command| {
        if let Command::Invite { target, .. } = command {
            *target = Target::User {
                user: "1\r\nEvil: 2".into(),
                params: Vec::new(),
            };
        }
    });
    bad(&|command| {
        if let Command::Invite { from_display, .. } = command {
            *from_display = "a\nb".into();
        }
    });
    bad(&|command| {
        if let Command::Invite { target, .. } = command {
            *target = Target::Uri {
                uri: "http://x".into(),
                params: Vec::new(),
            };
        }
    });
}

#[test]
fn the_first_2xx_wins_and_other_forks_are_acknowledged_and_ended() {
    let mut desk = Desk::registered();
    let message = desk.call();
    desk.answer_as(
        "f1",
        &message,
        "180 Ringing",
        "Contact: <sip:one@192.0.2.1>\r\n",
        "",
    );
    desk.answer_as(
        "f2",
        &message,
        "183 Progress",
        "Contact: <sip:two@192.0.2.1>\r\n",
        "v=0 early",
    );
    desk.answer_as(
        "f2",
        &message,
        "200 OK",
        "Contact: <sip:two@192.0.2.1>\r\n",
        "v=0 answer",
    );
    assert!(matches!(
        desk.events.last(),
        Some(Event::Answered {
            fork: ForkId(1),
            ..
        })
    ));
    assert!(text(&desk.taken()).starts_with("ACK sip:two@"));
    desk.answer_as(
        "f1",
        &message,
        "200 OK",
        "Contact: <sip:one@192.0.2.1>\r\n",
        "v=0 answer",
    );
    assert_eq!(desk.methods(), ["ACK", "BYE"]);
    assert!(text(&desk.sent[1].1).starts_with("BYE sip:one@"));
    assert!(!desk.events.iter().any(|e| matches!(e, Event::Ended { .. })));
}

#[test]
fn a_flood_of_forked_2xx_is_not_answered_for_ever() {
    let mut desk = Desk::registered();
    let (invite, _) = desk.established();
    for n in 0..500 {
        desk.answer_as(
            &format!("f{n}"),
            &invite,
            "200 OK",
            "Contact: <sip:bob@192.0.2.77>\r\n",
            "v=0 answer",
        );
    }
    assert!(
        desk.sent.len() <= 2 * MAX_CONFIRMED_FORKS,
        "{}",
        desk.sent.len()
    );
}

#[test]
fn a_registrar_that_always_wants_longer_is_not_asked_without_a_pause() {
    let mut desk = Desk::new();
    desk.command(Command::OpenAccount {
        account: AccountId(1),
        spec: spec(PBX),
    });
    let mut asked = 0;
    for least in 61..100 {
        let Some((_, register)) = desk.sent.pop() else {
            break;
        };
        asked += 1;
        desk.answer(
            &register,
            "423 Interval Too Brief",
            &format!("Min-Expires: {least}\r\n"),
            "",
        );
    }
    assert_eq!(asked, 2);
    desk.wait(3_000);
    assert!(!desk.sent.is_empty(), "it is asked again later");
}

#[test]
fn strangers_connections_leave_room_for_our_own() {
    let mut desk = Desk::new();
    for n in 0..MAX_STREAMS as u64 {
        let address = u8::try_from(n / MAX_ACCEPTED_PER_ADDRESS as u64 + 1).unwrap();
        desk.step(Input::StreamAccepted {
            stream: StreamId(2 * n + 1),
            remote: SocketAddr::from(([192, 0, 2, address], 1024 + n as u16)),
            secure: false,
            peer: None,
        });
    }
    let mut account = spec(PBX);
    account.proxy = format!("sip:{PBX};transport=tcp");
    desk.command(Command::OpenAccount {
        account: AccountId(1),
        spec: account,
    });
    assert!(
        desk.others
            .iter()
            .any(|o| matches!(o, Output::OpenStream { .. }))
    );
}

#[test]
fn one_address_has_no_more_than_its_share_of_connections() {
    let mut desk = Desk::new();
    for n in 0..MAX_STREAMS as u64 {
        desk.step(Input::StreamAccepted {
            stream: StreamId(2 * n + 1),
            remote: SocketAddr::from(([192, 0, 2, 66], 1024 + n as u16)),
            secure: false,
            peer: None,
        });
    }
    let refused = desk
        .others
        .iter()
        .filter(|o| matches!(o, Output::CloseStream { .. }))
        .count();
    assert_eq!(refused, MAX_STREAMS - MAX_ACCEPTED_PER_ADDRESS);
}

#[test]
fn a_lost_ack_is_sent_again_with_the_2xx() {
    let mut desk = Desk::registered();
    let (invite, ack) = desk.established();
    desk.answer(
        &invite,
        "200 OK",
        "Contact: <sip:bob@192.0.2.1>\r\n",
        "v=0 answer",
    );
    assert_eq!(desk.taken(), ack);
}

#[test]
fn a_200_that_crosses_our_cancel_is_acknowledged_and_ended() {
    let mut desk = Desk::registered();
    let invite = desk.call();
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    assert!(
        desk.sent.is_empty(),
        "no CANCEL before a provisional response"
    );
    desk.answer(&invite, "180 Ringing", "", "");
    assert_eq!(desk.methods(), ["CANCEL"]);
    desk.sent.clear();
    desk.answer(
        &invite,
        "200 OK",
        "Contact: <sip:bob@192.0.2.1>\r\n",
        "v=0 answer",
    );
    assert_eq!(desk.methods(), ["ACK", "BYE"]);
    let bye = desk.sent.pop().unwrap().1;
    desk.answer(&bye, "200 OK", "", "");
    let ends: Vec<_> = desk
        .events
        .iter()
        .filter(|e| matches!(e, Event::Ended { .. }))
        .collect();
    assert!(
        matches!(
            ends[..],
            [Event::Ended {
                end: End::ByUs { .. },
                ..
            }]
        ),
        "{ends:?}"
    );
    assert!(
        !desk
            .events
            .iter()
            .any(|e| matches!(e, Event::Answered { .. }))
    );
}

#[test]
fn long_requests_leave_udp_for_tcp_and_come_back_where_that_is_refused() {
    let mut desk = Desk::registered();
    desk.command(invite(&[b'v'; 1400]));
    assert!(desk.sent.is_empty());
    let Some(Output::OpenStream { stream, remote, .. }) = desk.others.pop() else {
        panic!("no TCP")
    };
    assert_eq!(remote, PBX.parse().unwrap());
    desk.step(Input::StreamClosed { stream });
    let message = desk.taken();
    assert!(text(&message).contains("Via: SIP/2.0/UDP"));
    assert!(message.len() > 1400);
}

#[test]
fn names_are_looked_up_by_srv_and_then_by_address() {
    let mut desk = Desk::new();
    let spec = AccountSpec {
        domain: "pbx.test".into(),
        proxy: String::new(),
        ..spec("")
    };
    desk.command(Command::OpenAccount {
        account: AccountId(1),
        spec,
    });
    let asked = |desk: &mut Desk| -> Vec<(u64, Question)> {
        let outputs = std::mem::take(&mut desk.others);
        outputs
            .into_iter()
            .map(|o| match o {
                Output::Ask { query, question } => (query, question),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let questions = asked(&mut desk);
    assert_eq!(
        questions[0].1,
        Question::Services {
            name: "_sip._udp.pbx.test".into()
        }
    );
    assert_eq!(
        questions[1].1,
        Question::Services {
            name: "_sip._tcp.pbx.test".into()
        }
    );
    let service = |priority, target: &str| Service {
        priority,
        weight: 0,
        port: 5070,
        target: target.into(),
    };
    let services = vec![service(20, "second.test."), service(10, "first.test.")];
    desk.step(Input::Answer {
        query: questions[0].0,
        answer: Answer::Services(services),
    });
    desk.step(Input::Answer {
        query: questions[1].0,
        answer: Answer::Nothing,
    });
    let name = "pbx.test".into();
    assert_eq!(questions[2].1, Question::Pointers { name });
    desk.step(Input::Answer {
        query: questions[2].0,
        answer: Answer::Nothing,
    });
    let questions = asked(&mut desk);
    assert_eq!(questions.len(), 2);
    for (query, question) in questions {
        let last = if question
            == (Question::Addresses {
                name: "first.test".into(),
            }) {
            21
        } else {
            22
        };
        desk.step(Input::Answer {
            query,
            answer: Answer::Addresses(vec![[192, 0, 2, last].into()]),
        });
    }
    assert_eq!(desk.sent[0].0, "192.0.2.21:5070".parse().unwrap());
    desk.sent.clear();
    desk.wait(32_000);
    assert_eq!(
        desk.sent.last().unwrap().0,
        "192.0.2.22:5070".parse().unwrap(),
        "the next one after a timeout"
    );
}

#[test]
fn a_name_that_leads_to_a_forbidden_address_is_not_followed() {
    let mut desk = Desk::new();
    desk.command(Command::OpenAccount {
        account: AccountId(1),
        spec: spec("evil.test:5060"),
    });
    let Some(Output::Ask { query, .. }) = desk.others.pop() else {
        panic!("no question")
    };
    let answer = Answer::Addresses(vec![
        "169.254.169.254".parse().unwrap(),
        "198.51.100.1".parse().unwrap(),
    ]);
    desk.step(Input::Answer { query, answer });
    assert!(desk.sent.is_empty());
    assert!(
        matches!(desk.events.last(), Some(Event::RegistrationFailed { failure, retry_s: None, .. }) if failure.cause == Cause::NotAllowed)
    );
}

#[test]
fn a_pbx_at_our_own_address_is_refused_in_words_that_help() {
    let mut desk = Desk::new();
    desk.command(Command::OpenAccount {
        account: AccountId(1),
        spec: spec(US),
    });
    let Some(Event::RegistrationFailed { failure, .. }) = desk.events.last() else {
        panic!("no refusal")
    };
    assert_eq!(failure.cause, Cause::NotAllowed);
    assert!(failure.reason.contains("the gateway itself"));
}

#[test]
fn a_contact_that_leads_to_a_forbidden_address_ends_the_call() {
    let mut desk = Desk::registered();
    let invite = desk.call();
    desk.answer(
        &invite,
        "200 OK",
        "Contact: <sip:bob@169.254.169.254>\r\n",
        "v=0 answer",
    );
    assert!(desk.sent.is_empty());
    assert!(
        matches!(desk.events.last(), Some(Event::Ended { end: End::Failed(f), .. }) if f.cause == Cause::NotAllowed)
    );
}

#[test]
fn nobody_but_the_registrar_rings_and_all_others_hear_the_same() {
    let mut desk = Desk::registered();
    let invite = desk.call();
    let user = desk.contact_user(&invite);
    let guess = desk.inbound("INVITE", "0123456789abcdef", "g", 1, "", "v=0");
    let known = desk.inbound("INVITE", &user, "k", 1, "", "v=0");
    desk.receive(STRANGER, &guess);
    desk.receive(STRANGER, &known);
    desk.receive(PBX, &guess);
    let answers: Vec<String> = desk
        .sent
        .drain(..)
        .map(|(_, b)| text(&b).lines().next().unwrap().to_string())
        .collect();
    assert_eq!(answers, ["SIP/2.0 404 Not Found"; 3]);
    assert!(desk.events.is_empty());
    desk.receive(STRANGER, &guess);
    desk.sent.clear();
    desk.receive(STRANGER, &guess);
    desk.receive(STRANGER, &guess);
    assert!(desk.sent.is_empty(), "repeaters wait");
    desk.wait(400);
    assert!(
        !desk.sent.is_empty()
            && desk
                .sent
                .iter()
                .all(|(to, b)| *to == STRANGER.parse().unwrap() && status(b) == 404)
    );
    desk.sent.clear();
    desk.receive(PBX, &known);
    assert_eq!(status(&desk.taken()), 100);
    let Some(Event::Incoming {
        from, headers, raw, ..
    }) = desk.events.last()
    else {
        panic!("not rung")
    };
    assert_eq!((from.user.as_str(), from.display.as_str()), ("bob", "Bob"));
    assert_eq!(
        headers,
        &[Header {
            name: "X-Trace".into(),
            value: "7".into()
        }]
    );
    assert!(raw.starts_with("INVITE ") && raw.ends_with("v=0"));
}

#[test]
fn a_200_is_repeated_until_the_ack_arrives() {
    let mut desk = Desk::registered();
    let (user, invite, tag) = desk.accepted();
    desk.wait(1600);
    assert_eq!(
        desk.sent.iter().map(|(_, b)| status(b)).collect::<Vec<_>>(),
        [200, 200]
    );
    desk.sent.clear();
    let ack = desk.inbound("ACK", &user, "a", 1, &tag, "");
    desk.receive(PBX, &ack);
    desk.receive(PBX, &ack);
    desk.wait(10_000);
    assert!(desk.sent.is_empty());
    assert_eq!(
        desk.events
            .iter()
            .filter(|e| **e == Event::Acknowledged { invite, sdp: None })
            .count(),
        1
    );
}

#[test]
fn a_200_that_is_never_acknowledged_ends_the_call() {
    let mut desk = Desk::registered();
    let (_, invite, _) = desk.accepted();
    desk.command(Command::Offer {
        invite,
        sdp: b"v=0".to_vec(),
    });
    desk.wait(32_000);
    assert!(
        desk.methods().iter().any(|m| m == "BYE") && !desk.methods().iter().any(|m| m == "INVITE")
    );
    assert_eq!(
        desk.events.last(),
        Some(&Event::Ended {
            invite,
            end: End::NoAck
        })
    );
}

#[test]
fn a_hangup_before_the_ack_waits_for_it() {
    let mut desk = Desk::registered();
    let (user, invite, tag) = desk.accepted();
    desk.command(Command::Hangup {
        invite,
        status: None,
    });
    assert!(desk.sent.is_empty());
    let ack = desk.inbound("ACK", &user, "a", 1, &tag, "");
    desk.receive(PBX, &ack);
    assert_eq!(desk.methods(), ["BYE"]);
}

#[test]
fn a_cancel_counts_only_from_where_the_invite_came() {
    let mut desk = Desk::registered();
    let (user, invite) = desk.ringing();
    desk.sent.clear();
    let cancel = desk.inbound("CANCEL", &user, "in", 1, "", "");
    desk.receive(STRANGER, &cancel);
    assert_eq!(status(&desk.taken()), 481);
    let other_branch = desk.inbound("CANCEL", &user, "other", 1, "", "");
    desk.receive(PBX, &other_branch);
    assert_eq!(status(&desk.taken()), 481);
    desk.receive(PBX, &cancel);
    assert_eq!(
        desk.sent.iter().map(|(_, b)| status(b)).collect::<Vec<_>>(),
        [200, 487]
    );
    assert!(
        matches!(desk.events.last(), Some(Event::Ended { invite: i, end: End::ByPeer { cancelled: true, .. } }) if *i == invite)
    );
}

#[test]
fn a_bye_counts_only_with_both_tags() {
    let mut desk = Desk::registered();
    let (user, invite, tag) = desk.accepted();
    let ack = desk.inbound("ACK", &user, "a", 1, &tag, "");
    desk.receive(PBX, &ack);
    desk.sent.clear();
    let wrong = desk.inbound("BYE", &user, "b1", 2, "0011223344556677", "");
    desk.receive(PBX, &wrong);
    assert_eq!(status(&desk.taken()), 481);
    let wrong = text(&desk.inbound("BYE", &user, "b2", 2, &tag, "")).replace("tag=bt", "tag=xx");
    desk.receive(PBX, wrong.as_bytes());
    assert_eq!(status(&desk.taken()), 481);
    let right = desk.inbound("BYE", &user, "b3", 2, &tag, "");
    desk.receive(PBX, &right);
    desk.receive(PBX, &right);
    assert_eq!(
        desk.sent.iter().map(|(_, b)| status(b)).collect::<Vec<_>>(),
        [200, 200]
    );
    assert!(
        matches!(desk.events.last(), Some(Event::Ended { invite: i, end: End::ByPeer { cancelled: false, .. } }) if *i == invite)
    );
}

#[test]
fn a_reinvite_that_overtakes_the_ack_is_taken() {
    let mut desk = Desk::registered();
    let (user, invite, tag) = desk.accepted();
    let reinvite = desk.inbound("INVITE", &user, "re", 2, &tag, "v=0 hold");
    desk.receive(PBX, &reinvite);
    assert_eq!(status(&desk.taken()), 100);
    let Some(Event::Offered {
        offer,
        sdp: Some(sdp),
        ..
    }) = desk.events.last()
    else {
        panic!("{:?}", desk.events)
    };
    assert_eq!(sdp, b"v=0 hold");
    let offer = *offer;
    desk.command(Command::AnswerOffer {
        invite,
        offer,
        sdp: b"v=0 held".to_vec(),
    });
    assert!(text(&desk.taken()).ends_with("v=0 held"));
    let ack = desk.inbound("ACK", &user, "a", 2, &tag, "");
    desk.receive(PBX, &ack);
    desk.wait(5_000);
    assert!(desk.sent.is_empty());
}

#[test]
fn an_update_with_an_offer_is_answered_and_one_without_refreshes() {
    let mut desk = Desk::registered();
    let (user, invite, tag) = desk.accepted();
    let ack = desk.inbound("ACK", &user, "a", 1, &tag, "");
    desk.receive(PBX, &ack);
    let update = desk.inbound("UPDATE", &user, "u1", 2, &tag, "");
    desk.receive(PBX, &update);
    assert_eq!(status(&desk.taken()), 200);
    let update = desk.inbound("UPDATE", &user, "u2", 3, &tag, "v=0 new");
    desk.receive(PBX, &update);
    let Some(Event::Offered { offer, .. }) = desk.events.last() else {
        panic!("{:?}", desk.events)
    };
    let offer = *offer;
    let early = desk.inbound("UPDATE", &user, "u3", 4, &tag, "v=0 newer");
    desk.receive(PBX, &early);
    let refused = desk.taken();
    assert_eq!(status(&refused), 500);
    assert!(
        Message::parse(&refused)
            .unwrap()
            .value(HeaderName::RetryAfter)
            .is_some()
    );
    desk.command(Command::RefuseOffer {
        invite,
        offer,
        status: 488,
    });
    assert_eq!(status(&desk.taken()), 488);
    let old = desk.inbound("UPDATE", &user, "u4", 2, &tag, "v=0 old");
    desk.receive(PBX, &old);
    assert_eq!(status(&desk.taken()), 500, "a number that was used before");
}

#[test]
fn other_methods_get_what_they_deserve() {
    let mut desk = Desk::registered();
    for (method, wanted) in [
        ("OPTIONS", 200),
        ("MESSAGE", 405),
        ("REGISTER", 405),
        ("SUBSCRIBE", 405),
        ("FOO", 501),
        ("BYE", 481),
    ] {
        let message = desk.inbound(method, "x", method, 1, "", "");
        desk.receive(STRANGER, &message);
        let answer = desk.taken();
        assert_eq!(status(&answer), wanted, "{method}");
        let allow = Message::parse(&answer)
            .unwrap()
            .value(HeaderName::Allow)
            .is_some();
        assert_eq!(allow, wanted != 481, "{method}");
    }
    let invite = desk.call();
    let branch = text(
        Message::parse(&invite)
            .unwrap()
            .top_via()
            .unwrap()
            .branch()
            .unwrap(),
    );
    let looped = text(&desk.inbound("INVITE", "x", "l", 1, "", "")).replace(
        ";rport\r\n",
        &format!(";rport\r\nVia: SIP/2.0/UDP {US};branch={branch}\r\n"),
    );
    desk.receive(STRANGER, looped.as_bytes());
    assert_eq!(status(&desk.taken()), 482);
}

#[test]
fn credentials_and_keys_are_blotted_in_raw_texts() {
    let mut desk = Desk::registered();
    let invite = desk.call();
    desk.answer(
        &invite,
        "200 OK",
        "Contact: <sip:bob@192.0.2.1>\r\n",
        "v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:topsecret\r\n",
    );
    let Some(Event::Answered {
        raw,
        sdp: Some(sdp),
        ..
    }) = desk.events.last()
    else {
        panic!("{:?}", desk.events)
    };
    assert!(!raw.contains("topsecret"));
    assert!(text(sdp).contains("topsecret"), "the calls need the key");
    assert!(!format!("{:?}", spec(PBX)).contains("secret"));
}

#[test]
fn who_asks_for_privacy_is_not_told_to_a_page_by_the_network() {
    for (privacy, hidden) in [
        ("Privacy: header; ID\r\n", true),
        ("Privacy: none\r\n", false),
    ] {
        let mut desk = Desk::registered();
        let headers = format!(
            "{privacy}P-Asserted-Identity: <sip:real@pbx.test>\r\nRemote-Party-ID: <sip:real@pbx.test>\r\nX-Trace: 7\r\n"
        );
        desk.ringing_with(&headers, "v=0 offer");
        let Some(Event::Incoming { headers, raw, .. }) = desk.events.last() else {
            panic!("{:?}", desk.events)
        };
        assert_eq!(raw.contains("real@"), !hidden, "{raw}");
        assert_eq!(headers.iter().any(|h| h.value.contains("real@")), !hidden);
        assert!(headers.iter().any(|h| h.name == "X-Trace"));
    }
}

#[test]
fn an_account_closed_while_registering_is_unregistered_last() {
    let mut desk = Desk::new();
    desk.command(Command::OpenAccount {
        account: AccountId(1),
        spec: spec(PBX),
    });
    desk.sent.clear();
    desk.command(Command::CloseAccount {
        account: AccountId(1),
    });
    let unregister = desk.taken();
    assert!(text(&unregister).contains("\r\nExpires: 0\r\n"));
    desk.wait(600);
    assert!(
        desk.sent
            .iter()
            .all(|(_, b)| text(b).contains("\r\nExpires: 0\r\n")),
        "the first is not repeated"
    );
    desk.answer(&unregister, "200 OK", "", "");
    assert_eq!(
        desk.events,
        [Event::Unregistered {
            account: AccountId(1)
        }]
    );
    desk.wait(60_000);
    assert_eq!(desk.agent.counts(), [0; 5]);
}

/// A message of a live dialog with some of its bytes changed, or pieces of it, from anywhere.
#[derive(Clone, Debug)]
struct Mangled {
    method: usize,
    cut: (usize, usize),
    put: Vec<u8>,
    from_pbx: bool,
}

fn mangled() -> impl Strategy<Value = Mangled> {
    let parts = (
        0usize..8,
        0usize..600,
        0usize..30,
        proptest::collection::vec(any::<u8>(), 0..20),
        any::<bool>(),
    );
    parts.prop_map(|(method, at, len, put, from_pbx)| Mangled {
        method,
        cut: (at, len),
        put,
        from_pbx,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn mangled_messages_break_nothing_else(messages in proptest::collection::vec(mangled(), 1..40)) {
        const METHODS: [&str; 8] = ["INVITE", "ACK", "BYE", "CANCEL", "UPDATE", "OPTIONS", "INFO", "200"];
        let mut desk = Desk::registered();
        let (user, invite, tag) = desk.accepted();
        let ack = desk.inbound("ACK", &user, "a", 1, &tag, "");
        desk.receive(PBX, &ack);
        for (n, mangled) in messages.iter().enumerate() {
            let method = METHODS[mangled.method];
            let mut bytes = if method == "200" {
                desk.sent.last().map(|(_, b)| b.clone()).unwrap_or_default()
            } else {
                // Of a dialog that is not the call's, or the change might be a sound BYE.
                desk.inbound(method, &user, &format!("m{n}"), 5, "ffeeffeeffeeffee", "v=0")
            };
            let start = mangled.cut.0.min(bytes.len());
            let end = (start + mangled.cut.1).min(bytes.len());
            bytes.splice(start..end, mangled.put.iter().copied());
            let from = if mangled.from_pbx { PBX } else { STRANGER };
            desk.receive(from, &bytes);
            desk.wait(50);
        }
        desk.sent.clear();
        desk.wait(8_000);
        desk.sent.clear();
        desk.command(Command::Hangup { invite, status: None });
        prop_assert!(desk.methods().contains(&"BYE".to_string()), "the call lives on");
    }
}

#[test]
fn an_account_that_failed_for_good_can_still_be_closed() {
    let mut desk = Desk::new();
    desk.command(Command::OpenAccount {
        account: AccountId(1),
        spec: spec(PBX),
    });
    let register = desk.taken();
    desk.answer(&register, "403 Forbidden", "", "");
    assert!(matches!(
        desk.events.pop(),
        Some(Event::RegistrationFailed { retry_s: None, .. })
    ));
    desk.command(Command::CloseAccount {
        account: AccountId(1),
    });
    assert_eq!(
        desk.events,
        [Event::Unregistered {
            account: AccountId(1)
        }]
    );
    assert!(desk.sent.is_empty());
}

#[test]
fn several_accounts_keep_apart() {
    let mut desk = Desk::registered();
    desk.command(Command::OpenAccount {
        account: AccountId(2),
        spec: AccountSpec {
            login: "you".into(),
            ..spec("192.0.2.2:5060")
        },
    });
    let register = desk.sent.remove(0);
    assert_eq!(register.0, "192.0.2.2:5060".parse().unwrap());
    assert!(
        !text(&register.1).contains("Authorization"),
        "no digest of another account's registrar"
    );
    let theirs = desk.contact_user(&register.1);
    // The first account's registrar may not ring the second account.
    let message = desk.inbound("INVITE", &theirs, "x", 1, "", "v=0");
    desk.receive(PBX, &message);
    assert_eq!(status(&desk.taken()), 404);
    desk.receive("192.0.2.2:5060", &message);
    assert_eq!(status(&desk.taken()), 100);
    assert!(matches!(
        desk.events.last(),
        Some(Event::Incoming {
            account: AccountId(2),
            ..
        })
    ));
}

/// What a page might type, line ends and all.
fn typed() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => "[a-z0-9+#*]{1,6}",
        1 => Just("\r\n".to_string()),
        1 => Just("\r\nEvil: 1\r\n\r\n".to_string()),
        1 => Just("\0".to_string()),
        1 => "[\"<>;,@:%?&= ]{1,3}",
        1 => "\\PC{0,4}",
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn whatever_a_page_types_becomes_one_message_or_none(
        login in typed(), auth_name in typed(), display in typed(), from_display in typed(), callee in typed(),
        uri in typed(), name in typed(), value in typed(), domain in typed(), use_uri in any::<bool>(),
    ) {
        let mut desk = Desk::new();
        let domain = if domain.len() % 2 == 0 { "pbx.test".to_string() } else { domain };
        let params = vec![(name.clone(), Some(value.clone()))];
        desk.command(Command::OpenAccount {
            account: AccountId(1),
            spec: AccountSpec { login, auth_name, display, domain, contact_params: params.clone(), ..spec(PBX) },
        });
        if let Some((_, register)) = desk.sent.first().cloned() {
            let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n";
            desk.answer(&register, "401 Unauthorized", challenge, "");
        }
        let target = if use_uri {
            Target::Uri { uri: format!("sip:{uri}"), params }
        } else {
            Target::User { user: callee, params }
        };
        let headers = vec![Header { name: format!("X-{name}"), value }];
        let (invite, account, sdp) = (CALL, AccountId(1), b"v=0".to_vec());
        desk.command(Command::Invite { invite, account, target, from_display, headers, sdp, options: Default::default() });
        for (_, bytes) in &desk.sent {
            let message = Message::parse(bytes).unwrap();
            prop_assert_eq!(message.fault, None);
            let head = bytes.len() - message.body().len();
            let lines = bytes[..head].iter().filter(|b| **b == b'\n').count();
            prop_assert_eq!(lines, message.fields().count() + 2, "{}", text(bytes));
            prop_assert!(message.value_named("Evil").is_none(), "{}", text(bytes));
            prop_assert!(message.from().is_ok() && message.to().is_ok(), "{}", text(bytes));
            prop_assert!(message.body().is_empty() || message.body() == b"v=0");
            for once in [HeaderName::From, HeaderName::To, HeaderName::Contact, HeaderName::CallId] {
                prop_assert_eq!(message.list(once).count(), 1, "{}", text(bytes));
            }
        }
    }
}
