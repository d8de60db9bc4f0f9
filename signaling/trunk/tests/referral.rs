//! REFERs of theirs from outside, message by message, with an agent that is written down and restored before every
//! step.

mod common;

use common::transfer::*;
use common::{CALL, Desk, PBX, STRANGER, status, text};
use signaling_sip::message::{HeaderName, Message};
use signaling_trunk::api::{Command, Event, ReferId};
use signaling_trunk::limits::MAX_REFERS;

/// The PBX refers us inside the call that `invite` made.
fn refer_us(desk: &mut Desk, ours: &[u8], cseq: u32, headers: &str) {
    let message = desk.inside(ours, "REFER", cseq, headers, "");
    desk.receive(PBX, &message);
}

/// The number of the REFER of theirs that was told last.
fn their_refer(desk: &Desk) -> ReferId {
    let Some(Event::Referred { refer, .. }) = desk.events.last() else {
        panic!("{:?}", desk.events)
    };
    *refer
}

fn say(desk: &mut Desk, refer: ReferId, status: u16) {
    desk.command(Command::NotifyRefer {
        invite: CALL,
        refer,
        status,
        reason: String::new(),
    });
}

/// A NOTIFY of ours: the state of its subscription, and its fragment.
fn notified(message: &[u8]) -> (String, String) {
    let parsed = Message::parse(message).unwrap();
    assert_eq!(parsed.method_text(), b"NOTIFY");
    assert_eq!(parsed.content_type().unwrap(), "message/sipfrag");
    (
        line(message, HeaderName::SubscriptionState).to_string(),
        text(parsed.body()),
    )
}

#[test]
fn their_refer_is_accepted_and_told_how_it_fares_one_word_at_a_time() {
    let (mut desk, invite) = talking();
    let headers = "Refer-To: \"Carol\" <sip:1003@pbx.test;transport=udp>\r\nReferred-By: <sip:bob@pbx.test>\r\n";
    refer_us(&mut desk, &invite, 7, headers);
    assert!(desk.sent.is_empty(), "the calls decide");
    let Some(Event::Referred {
        invite: call,
        refer,
        target,
        replaces,
        referred_by,
        raw,
    }) = desk.events.pop()
    else {
        panic!()
    };
    assert_eq!(
        (call, target.as_str()),
        (CALL, "sip:1003@pbx.test;transport=udp")
    );
    assert_eq!(
        (replaces, referred_by.as_deref()),
        (None, Some("<sip:bob@pbx.test>"))
    );
    assert!(raw.starts_with("REFER "));
    desk.command(Command::AcceptRefer {
        invite: CALL,
        refer,
    });
    let [(_, accepted), (to, trying)] = &desk.sent[..] else {
        panic!("{:?}", desk.methods())
    };
    assert_eq!(status(accepted), 202);
    assert!(text(accepted).contains("\r\nContact: <sip:"));
    assert_eq!(*to, PBX.parse().unwrap());
    let trying = trying.clone();
    assert_eq!(line(&trying, HeaderName::Event), "refer;id=7");
    assert_eq!(
        notified(&trying),
        ("active;expires=250".into(), "SIP/2.0 100 Trying\r\n".into())
    );
    desk.sent.clear();
    say(&mut desk, refer, 180);
    say(&mut desk, refer, 183);
    assert!(desk.sent.is_empty(), "the first one is not answered yet");
    desk.answer(&trying, "200 OK", "", "");
    let progress = desk.taken();
    assert_eq!(notified(&progress).1, "SIP/2.0 183 Session Progress\r\n");
    assert_eq!(number(&progress), number(&trying) + 1);
    desk.answer(&progress, "200 OK", "", "");
    say(&mut desk, refer, 180);
    let unheard = desk.taken();
    say(&mut desk, refer, 200);
    say(&mut desk, refer, 486);
    let last = desk.taken();
    assert_eq!(
        number(&last),
        number(&unheard) + 1,
        "the last word waits for nobody"
    );
    desk.wait(600);
    let repeated = desk.taken();
    assert_eq!(repeated, last, "and what it overtook is not repeated");
    assert_eq!(
        notified(&last),
        (
            "terminated;reason=noresource".into(),
            "SIP/2.0 200 OK\r\n".into()
        )
    );
    desk.answer(&last, "200 OK", "", "");
    say(&mut desk, refer, 603);
    assert!(desk.sent.is_empty() && desk.events.is_empty());
}

#[test]
fn their_attended_transfer_is_decoded_for_the_new_invite() {
    let (mut desk, invite) = talking();
    let headers = "r: <sip:carol@192.0.2.3?Replaces=1%402%3Bto-tag%3Dx%3Bfrom-tag%3Dy%3Bearly-only&Require=replaces>\r\n\
        b: <sip:bob@pbx.test>;cid=\"a@b\"\r\n";
    refer_us(&mut desk, &invite, 1, headers);
    let Some(Event::Referred {
        target,
        replaces,
        referred_by,
        ..
    }) = desk.events.last()
    else {
        panic!("{:?}", text(&desk.sent[0].1))
    };
    assert_eq!(target, "sip:carol@192.0.2.3");
    assert_eq!(
        replaces.as_deref(),
        Some("1@2;to-tag=x;from-tag=y;early-only")
    );
    assert_eq!(referred_by.as_deref(), Some("<sip:bob@pbx.test>"));
}

#[test]
fn a_malformed_refer_is_refused_by_name_and_does_no_harm() {
    let (mut desk, invite) = talking();
    let good = "Refer-To: <sip:1003@pbx.test>\r\n";
    let mut cseq = 0;
    for (headers, wanted) in [
        (String::new(), 400),
        (format!("{good}{good}"), 400),
        ("Refer-To: <sip:a@b>, <sip:c@d>\r\n".into(), 400),
        ("Refer-To: \r\n".into(), 400),
        ("Refer-To: <1003>\r\n".into(), 400),
        ("Refer-To: <sip:a@b?Replaces=x>\r\n".into(), 400),
        (
            "Refer-To: <sip:a@b?Replaces=x%0d%0aEvil%3a1%3Bto-tag%3Da%3Bfrom-tag%3Db>\r\n".into(),
            400,
        ),
        (
            "Refer-To: <sip:a@b?Replaces=x;to-tag=a;from-tag=b&replaces=x;to-tag=a;from-tag=b>\r\n"
                .into(),
            400,
        ),
        ("Refer-To: <sips:a@b>\r\n".into(), 416),
        ("Refer-To: <http://b/>\r\n".into(), 416),
        ("Refer-To: <sip:a@b;method=BYE>\r\n".into(), 603),
        ("Refer-To: <sip:a@b;method=invite>\r\n".into(), 603),
        (format!("{good}Referred-By: x\r\n"), 400),
        (
            format!("{good}Referred-By: <sip:a@b>\r\nb: <sip:a@b>\r\n"),
            400,
        ),
        (format!("{good}Require: norefersub\r\n"), 420),
        (format!("{good}Require: multiple-refer\r\n"), 420),
        (format!("{good}Replaces: 1;to-tag=a;from-tag=b\r\n"), 400),
    ] {
        cseq += 1;
        refer_us(&mut desk, &invite, cseq, &headers);
        assert_eq!(status(&desk.taken()), wanted, "{headers}");
        assert!(desk.events.is_empty(), "{headers}");
    }
    refer_us(
        &mut desk,
        &invite,
        30,
        &format!("{good}Supported: norefersub\r\nRefer-Sub: false\r\n"),
    );
    assert!(matches!(desk.events.last(), Some(Event::Referred { .. })));
}

#[test]
fn a_refer_on_which_nobody_decides_is_refused() {
    let (mut desk, invite) = talking();
    refer_us(&mut desk, &invite, 1, "Refer-To: <sip:1003@pbx.test>\r\n");
    let refer = their_refer(&desk);
    assert!(pass(&mut desk, 29).is_empty());
    assert_eq!(status(&pass(&mut desk, 2)[0]), 500);
    desk.command(Command::AcceptRefer {
        invite: CALL,
        refer,
    });
    assert!(desk.sent.is_empty(), "too late");
    refer_us(&mut desk, &invite, 2, "Refer-To: <sip:1003@pbx.test>\r\n");
    let refer = their_refer(&desk);
    desk.command(Command::RefuseRefer {
        invite: CALL,
        refer,
        status: 403,
    });
    assert!(text(&desk.taken()).starts_with("SIP/2.0 403 Forbidden\r\n"));
    desk.command(Command::RefuseRefer {
        invite: CALL,
        refer,
        status: 403,
    });
    assert!(desk.sent.is_empty());
}

#[test]
fn a_refer_comes_only_into_an_established_call_and_only_so_often() {
    let to = "Refer-To: <sip:1003@pbx.test>\r\n";
    let (mut desk, invite) = talking();
    for n in 1..=MAX_REFERS as u32 {
        refer_us(&mut desk, &invite, n, to);
    }
    assert!(desk.sent.is_empty());
    refer_us(&mut desk, &invite, 20, to);
    assert_eq!(status(&desk.taken()), 500);
    assert_eq!(desk.events.len(), MAX_REFERS);
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    let statuses: Vec<u16> = desk.sent.iter().map(|(_, b)| status(b)).collect();
    assert_eq!(statuses, [487, 487, 487, 487, 0], "and then our BYE");
    desk.sent.clear();
    refer_us(&mut desk, &invite, 21, to);
    assert_eq!(status(&desk.taken()), 487);

    let mut ringing = Desk::registered();
    let (user, _) = ringing.ringing();
    let tag = text(
        Message::parse(&ringing.sent[0].1)
            .unwrap()
            .to()
            .unwrap()
            .tag()
            .unwrap_or_default(),
    );
    assert_eq!(tag, "", "100 has none");
    let call = ringing.events.len();
    ringing.sent.clear();
    ringing.command(Command::Progress {
        invite: match ringing.events.last() {
            Some(Event::Incoming { invite, .. }) => *invite,
            _ => panic!(),
        },
        status: 180,
        sdp: None,
    });
    let tag = text(
        Message::parse(&ringing.taken())
            .unwrap()
            .to()
            .unwrap()
            .tag()
            .unwrap(),
    );
    let early =
        text(&ringing.inbound("REFER", &user, "r", 2, &tag, "")).replace("X-Trace: 7\r\n", to);
    ringing.receive(PBX, early.as_bytes());
    assert_eq!(status(&ringing.taken()), 491);
    assert_eq!(ringing.events.len(), call);
}

#[test]
fn refers_and_notifies_outside_any_call_are_refused() {
    let mut desk = desk();
    for (method, more, wanted) in [
        ("REFER", "Refer-To: <sip:1003@pbx.test>\r\n", 403),
        ("NOTIFY", ACTIVE, 481),
        ("NOTIFY", "Event: message-summary\r\n", 489),
        ("NOTIFY", "", 489),
        ("INFO", "", 481),
    ] {
        for (from, tag) in [(PBX, ""), (STRANGER, ""), (STRANGER, "ffee")] {
            let message = text(&desk.inbound(method, "x", "o", 1, tag, ""));
            desk.receive(from, message.replace("X-Trace: 7\r\n", more).as_bytes());
            let wanted = if tag.is_empty() { wanted } else { 481 };
            assert_eq!(status(&desk.taken()), wanted, "{method} {more}");
        }
    }
    assert!(desk.events.is_empty());
}

/// A REFER of theirs that was accepted, with its first NOTIFY answered.
fn accepted() -> (Desk, Vec<u8>, ReferId) {
    let (mut desk, invite) = talking();
    refer_us(&mut desk, &invite, 1, "Refer-To: <sip:1003@pbx.test>\r\n");
    let refer = their_refer(&desk);
    desk.events.clear();
    desk.command(Command::AcceptRefer {
        invite: CALL,
        refer,
    });
    let trying = desk.sent.pop().unwrap().1;
    desk.answer(&trying, "200 OK", "", "");
    desk.sent.clear();
    (desk, invite, refer)
}

#[test]
fn a_phone_that_hung_up_after_its_refer_still_hears_how_it_ended() {
    let (mut desk, invite, refer) = accepted();
    let bye = desk.inside(&invite, "BYE", 2, "", "");
    desk.receive(PBX, &bye);
    assert_eq!(status(&desk.taken()), 200);
    assert_eq!(told(&mut desk), ["ended by the peer"]);
    say(&mut desk, refer, 180);
    let ringing = desk.taken();
    desk.answer(&ringing, "200 OK", "", "");
    desk.wait(20_000);
    desk.sent.clear();
    say(&mut desk, refer, 486);
    let last = desk.taken();
    assert_eq!(notified(&last).1, "SIP/2.0 486 Busy Here\r\n");
    desk.answer(&last, "200 OK", "", "");
    assert!(desk.events.is_empty());
    nothing_is_left(&mut desk);
}

#[test]
fn our_bye_does_not_overtake_the_last_word_of_a_transfer() {
    let (mut desk, _, refer) = accepted();
    say(&mut desk, refer, 200);
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    assert_eq!(desk.methods(), ["NOTIFY", "BYE"]);
    let (notify, bye) = (desk.sent[0].1.clone(), desk.sent[1].1.clone());
    assert_eq!(number(&bye), number(&notify) + 1);
    desk.answer(&bye, "200 OK", "", "");
    assert_eq!(told(&mut desk), ["ended by us"]);
    desk.sent.clear();
    desk.wait(600);
    assert_eq!(desk.methods(), ["NOTIFY"], "repeated until it is answered");
    desk.answer(&notify, "200 OK", "", "");
    nothing_is_left(&mut desk);
}

#[test]
fn a_transfer_that_nobody_ends_is_ended_by_the_clock() {
    for by_peer in [false, true] {
        let (mut desk, invite, _) = accepted();
        if by_peer {
            let bye = desk.inside(&invite, "BYE", 2, "", "");
            desk.receive(PBX, &bye);
        }
        let mut last = None;
        for _ in 0..260 {
            for bytes in pass(&mut desk, 1) {
                if bytes.starts_with(b"NOTIFY") {
                    desk.answer(&bytes, "200 OK", "", "");
                    last = Some(bytes);
                }
            }
        }
        assert_eq!(
            notified(&last.unwrap()),
            (
                "terminated;reason=timeout".into(),
                "SIP/2.0 100 Trying\r\n".into()
            )
        );
        if by_peer {
            assert_eq!(desk.agent.counts()[1], 0);
        }
    }
}

#[test]
fn a_peer_that_wants_no_notify_gets_no_other() {
    for answer in ["481 Gone", "489 Bad Event", "405 No", "500 Error"] {
        let (mut desk, _, refer) = accepted();
        say(&mut desk, refer, 180);
        let ringing = desk.taken();
        desk.answer(&ringing, answer, "", "");
        say(&mut desk, refer, 200);
        assert!(
            desk.sent.is_empty() && desk.events.is_empty(),
            "the call goes on"
        );
    }
    let (mut desk, invite, refer) = accepted();
    say(&mut desk, refer, 180);
    let bye = desk.inside(&invite, "BYE", 2, "", "");
    desk.receive(PBX, &bye);
    desk.events.clear();
    nothing_is_left(&mut desk);
    say(&mut desk, refer, 200);
    assert!(desk.sent.is_empty() && desk.events.is_empty());
}

#[test]
fn a_phone_may_ask_for_the_state_of_its_transfer_or_for_its_end() {
    let (mut desk, invite, refer) = accepted();
    let mut subscribe = |cseq, headers: &str| {
        let message = desk.inside(&invite, "SUBSCRIBE", cseq, headers, "");
        desk.receive(PBX, &message);
        let answer = desk.sent.remove(0).1;
        let notify = desk.sent.pop().map(|(_, bytes)| bytes);
        if let Some(notify) = &notify {
            desk.answer(notify, "200 OK", "", "");
        }
        (status(&answer), text(&answer), notify.map(|n| notified(&n)))
    };
    assert_eq!(subscribe(2, "Event: refer;id=7\r\n").0, 481);
    assert_eq!(subscribe(3, "Event: presence\r\n").0, 489);
    let (status, answer, notify) = subscribe(4, "Event: refer;id=1\r\nExpires: 3600\r\n");
    assert_eq!(status, 200);
    assert!(answer.contains("\r\nExpires: 250\r\n") && answer.contains("\r\nContact: "));
    let trying = "SIP/2.0 100 Trying\r\n".to_string();
    assert_eq!(notify, Some(("active;expires=250".into(), trying.clone())));
    let (status, answer, notify) = subscribe(5, "Event: refer\r\nExpires: 0\r\n");
    assert_eq!(status, 200);
    assert!(answer.contains("\r\nExpires: 0\r\n"));
    assert_eq!(notify, Some(("terminated;reason=timeout".into(), trying)));
    assert_eq!(subscribe(6, "Event: refer\r\n").0, 481);
    say(&mut desk, refer, 200);
    assert!(desk.sent.is_empty() && desk.events.is_empty());
}

#[test]
fn a_reason_for_a_notify_stays_on_its_line() {
    let (mut desk, _, refer) = accepted();
    desk.command(Command::NotifyRefer {
        invite: CALL,
        refer,
        status: 99,
        reason: "Odd\r\nEvil: 1\r\n\r\n".into(),
    });
    assert_eq!(notified(&desk.taken()).1, "SIP/2.0 100 OddEvil: 1\r\n");
}
