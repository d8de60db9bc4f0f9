//! REFERs of ours from outside, message by message, with an agent that is written down and restored before every
//! step.

mod common;

use common::transfer::*;
use common::{CALL, PBX, invite, text};
use signaling_sip::message::{HeaderName, Message};
use signaling_trunk::api::{Command, InviteId, ReferId, ReferTo, Target};
use signaling_trunk::limits::MAX_REFERS;

#[test]
fn a_refer_names_its_target_and_who_refers() {
    let (mut desk, invite) = talking();
    refer(&mut desk, REFER, user("+49 30"));
    let message = desk.taken();
    let said = text(&message);
    assert!(
        said.starts_with("REFER sip:bob@192.0.2.1 SIP/2.0\r\n"),
        "{said}"
    );
    assert_eq!(
        line(&message, HeaderName::ReferTo),
        "<sip:+49%2030@pbx.test>"
    );
    assert_eq!(line(&message, HeaderName::ReferredBy), "<sip:me@pbx.test>");
    assert_eq!(number(&message), number(&invite) + 1);
    assert!(said.contains("\r\nContact: <sip:"), "{said}");
    for (uri, wanted) in [
        ("tel:+4930", "<tel:+4930>"),
        (
            "sip:a@b.test;x=1;method=BYE?Subject=y",
            "<sip:a@b.test;x=1>",
        ),
    ] {
        let (mut desk, _) = talking();
        let (uri, params) = (uri.into(), Vec::new());
        refer(
            &mut desk,
            REFER,
            ReferTo::Target(Target::Uri { uri, params }),
        );
        assert_eq!(line(&desk.taken(), HeaderName::ReferTo), wanted);
    }
}

#[test]
fn an_attended_transfer_names_the_other_dialog_as_its_far_end_sees_it() {
    let (mut desk, _) = talking();
    let mut second = invite(b"v=0 offer");
    if let Command::Invite { invite, .. } = &mut second {
        *invite = OTHER;
    }
    desk.command(second);
    let second = desk.taken();
    desk.answer_as(
        "ct",
        &second,
        "200 OK",
        "Contact: <sip:carol@192.0.2.3:5070;transport=udp>\r\n",
        "v=0 answer",
    );
    desk.sent.clear();
    desk.events.clear();
    refer(&mut desk, REFER, ReferTo::Call(OTHER));
    let refer = desk.taken();
    let message = Message::parse(&second).unwrap();
    let (id, ours) = (
        text(message.call_id().unwrap()),
        text(message.from().unwrap().tag().unwrap()),
    );
    assert_eq!(
        line(&refer, HeaderName::ReferTo),
        format!(
            "<sip:carol@192.0.2.3:5070;transport=udp?Replaces={id}%3Bto-tag%3Dct%3Bfrom-tag%3D{ours}>"
        )
    );
}

#[test]
fn only_an_established_call_can_be_transferred_and_only_to_what_can_be_called() {
    let mut calling = desk();
    calling.call();
    refer(&mut calling, REFER, user("1003"));
    assert_eq!(told(&mut calling), ["40 refused BadRequest 0"]);
    let mail = Target::Uri {
        uri: "mailto:a@b.test".into(),
        params: Vec::new(),
    };
    let broken = Target::Uri {
        uri: "sip:a@b.test>\r\nEvil: 1".into(),
        params: Vec::new(),
    };
    for to in [
        ReferTo::Call(InviteId(400)),
        ReferTo::Target(mail),
        ReferTo::Target(broken),
        user(""),
        user("a\r\nb"),
    ] {
        let (mut desk, _) = talking();
        refer(&mut desk, REFER, to);
        assert!(desk.sent.is_empty());
        assert_eq!(told(&mut desk), ["40 refused BadRequest 0"]);
    }
}

#[test]
fn a_refer_is_told_as_accepted_and_then_as_it_fares() {
    let (mut desk, message) = referred();
    desk.answer(&message, "202 Accepted", "", "");
    assert_eq!(
        notify(&mut desk, &message, 1, ACTIVE, "SIP/2.0 100 Trying\r\n"),
        200
    );
    assert_eq!(
        notify(&mut desk, &message, 2, ACTIVE, "SIP/2.0 180 Ringing"),
        200
    );
    assert_eq!(
        notify(&mut desk, &message, 3, OVER, "SIP/2.0 200 OK\r\n"),
        200
    );
    assert_eq!(
        told(&mut desk),
        [
            "40 accepted 202",
            "40 100 Trying",
            "40 180 Ringing",
            "40 200 OK, over"
        ]
    );
    assert_eq!(
        notify(&mut desk, &message, 4, OVER, "SIP/2.0 200 OK\r\n"),
        481,
        "the subscription is gone"
    );
    assert!(desk.events.is_empty());
}

#[test]
fn a_repeated_notify_is_answered_again_and_told_once() {
    let (mut desk, message) = referred();
    desk.answer(&message, "202 Accepted", "", "");
    let kind = format!("{ACTIVE}Content-Type: message/sipfrag\r\n");
    let notify = desk.inside(&message, "NOTIFY", 1, &kind, "SIP/2.0 180 Ringing");
    desk.receive(PBX, &notify);
    let first = desk.taken();
    desk.receive(PBX, &notify);
    assert_eq!(desk.taken(), first);
    assert_eq!(told(&mut desk), ["40 accepted 202", "40 180 Ringing"]);
}

#[test]
fn a_notify_that_overtakes_the_202_counts_as_one() {
    let (mut desk, message) = referred();
    assert_eq!(
        notify(&mut desk, &message, 1, ACTIVE, "SIP/2.0 100 Trying"),
        200
    );
    desk.answer(&message, "202 Accepted", "", "");
    assert_eq!(
        notify(&mut desk, &message, 2, OVER, "SIP/2.0 486 Busy Here"),
        200
    );
    assert_eq!(
        told(&mut desk),
        ["40 accepted 202", "40 100 Trying", "40 486 Busy Here, over"]
    );
    let (mut desk, message) = referred();
    assert_eq!(notify(&mut desk, &message, 1, OVER, "SIP/2.0 200 OK"), 200);
    desk.answer(&message, "202 Accepted", "", "");
    pass(&mut desk, 60);
    assert_eq!(told(&mut desk), ["40 accepted 202", "40 200 OK, over"]);
}

#[test]
fn a_refer_that_is_challenged_takes_a_number_that_no_other_request_has() {
    let (mut desk, message) = referred();
    desk.command(Command::Info {
        invite: CALL,
        content_type: "application/dtmf".into(),
        body: b"5".to_vec(),
    });
    let info = desk.taken();
    assert_eq!(number(&info), number(&message) + 1);
    let challenge = "Proxy-Authenticate: Digest realm=\"p\", nonce=\"1\", qop=\"auth\"\r\n";
    desk.answer(&message, "407 Proxy", challenge, "");
    let again = desk.taken();
    assert!(text(&again).contains("\r\nProxy-Authorization: Digest "));
    assert_eq!(number(&again), number(&info) + 1);
    desk.answer(&again, "202 Accepted", "", "");
    let headers = |id: u32| ACTIVE.replace("refer\r\n", &format!("refer;id={id}\r\n"));
    let said = "SIP/2.0 100 Trying";
    assert_eq!(
        notify(&mut desk, &again, 1, &headers(number(&message)), said),
        481
    );
    assert_eq!(
        notify(&mut desk, &again, 2, &headers(number(&again)), said),
        200
    );
    assert_eq!(told(&mut desk), ["40 accepted 202", "40 100 Trying"]);
}

#[test]
fn a_refused_refer_leaves_the_call_unless_the_peer_has_forgotten_that() {
    for (answer, told_as, ends) in [
        ("603 Decline", "40 refused Response 603", false),
        ("405 Method Not Allowed", "40 refused Response 405", false),
        ("481 Gone", "40 refused Response 481", true),
        ("408 Timeout", "40 refused Response 408", true),
    ] {
        let (mut desk, message) = referred();
        desk.answer(&message, answer, "", "");
        assert_eq!(told(&mut desk), [told_as]);
        assert_eq!(
            desk.methods().contains(&"BYE".to_string()),
            ends,
            "{answer}"
        );
    }
    let (mut desk, _) = referred();
    pass(&mut desk, 31);
    assert!(desk.events.is_empty());
    let sent = pass(&mut desk, 2);
    assert_eq!(told(&mut desk), ["40 refused Timeout 0"]);
    assert!(!sent.iter().any(|bytes| bytes.starts_with(b"BYE")));
}

#[test]
fn notifies_that_fit_no_refer_get_what_they_deserve() {
    const TRYING: &str = "SIP/2.0 100 Trying\r\n";
    let state = "Subscription-State: active\r\n";
    for (headers, body, wanted) in [
        (format!("Event: refer;id=4711\r\n{state}"), TRYING, 481),
        (format!("Event: refer;id=x\r\n{state}"), TRYING, 481),
        (format!("Event: message-summary\r\n{state}"), TRYING, 489),
        (format!("Event: REFER\r\n{state}"), TRYING, 489),
        (state.to_string(), TRYING, 489),
        (format!("Event: ;id=1\r\n{state}"), TRYING, 400),
        (format!("{ACTIVE}Event: refer\r\n"), TRYING, 400),
        (
            "Event: refer\r\nSubscription-State: ;\r\n".into(),
            TRYING,
            400,
        ),
        (ACTIVE.to_string(), "", 400),
        (ACTIVE.to_string(), "INVITE sip:a@b SIP/2.0\r\n", 400),
        (ACTIVE.to_string(), "SIP/2.0 700 Odd\r\n", 400),
        (format!("{ACTIVE}Content-Type: text/plain\r\n"), TRYING, 415),
        (
            format!("{ACTIVE}Content-Type: message/sipfrag\r\nContent-Encoding: gzip\r\n"),
            TRYING,
            415,
        ),
    ] {
        let (mut desk, message) = referred();
        desk.answer(&message, "202 Accepted", "", "");
        desk.events.clear();
        assert_eq!(
            notify(&mut desk, &message, 1, &headers, body),
            wanted,
            "{headers} {body}"
        );
        assert!(desk.events.is_empty());
        assert_eq!(notify(&mut desk, &message, 2, OVER, "SIP/2.0 200 OK"), 200);
        assert_eq!(told(&mut desk), ["40 200 OK, over"], "it goes on as it was");
    }
    let (mut desk, invite) = talking();
    assert_eq!(
        notify(&mut desk, &invite, 1, ACTIVE, TRYING),
        481,
        "no REFER at all"
    );
}

#[test]
fn refers_of_one_dialog_are_told_apart_by_number() {
    let (mut desk, first) = referred();
    refer(&mut desk, ReferId(42), user("1004"));
    let second = desk.taken();
    desk.answer(&first, "202 Accepted", "", "");
    desk.answer(&second, "202 Accepted", "", "");
    let headers = |refer: &[u8]| {
        format!(
            "Event: refer;id={}\r\nSubscription-State: terminated;reason=noresource\r\n",
            number(refer)
        )
    };
    assert_eq!(
        notify(&mut desk, &first, 1, &headers(&second), "SIP/2.0 200 OK"),
        200
    );
    assert_eq!(
        notify(&mut desk, &first, 2, &headers(&first), "SIP/2.0 603 No"),
        200
    );
    assert_eq!(
        told(&mut desk),
        [
            "40 accepted 202",
            "42 accepted 202",
            "42 200 OK, over",
            "40 603 No, over"
        ]
    );
}

#[test]
fn there_are_only_so_many_refers_in_a_dialog() {
    let (mut desk, _) = talking();
    for n in 0..=MAX_REFERS as u64 {
        refer(&mut desk, ReferId(n), user("1003"));
    }
    assert_eq!(desk.sent.len(), MAX_REFERS);
    assert_eq!(
        told(&mut desk),
        [format!("{MAX_REFERS} refused Overloaded 0")]
    );
    refer(&mut desk, ReferId(0), user("1003"));
    assert!(desk.events.is_empty(), "a repeated command does nothing");
    assert_eq!(desk.sent.len(), MAX_REFERS);
}

#[test]
fn a_subscription_that_ends_without_a_status_is_over_with_the_last_one() {
    let (mut desk, message) = referred();
    desk.answer(&message, "202 Accepted", "", "");
    assert_eq!(
        notify(&mut desk, &message, 1, ACTIVE, "SIP/2.0 183 Progress"),
        200
    );
    assert_eq!(notify(&mut desk, &message, 2, OVER, ""), 200);
    assert_eq!(
        told(&mut desk),
        [
            "40 accepted 202",
            "40 183 Progress",
            "40 183 Progress, over"
        ]
    );
    let (mut desk, message) = referred();
    desk.answer(&message, "202 Accepted", "Refer-Sub: false\r\n", "");
    assert_eq!(told(&mut desk), ["40 accepted 202", "40 100 Trying, over"]);
}

#[test]
fn a_final_status_is_the_last_word_though_the_subscription_goes_on() {
    let (mut desk, message) = referred();
    desk.answer(&message, "202 Accepted", "", "");
    assert_eq!(
        notify(&mut desk, &message, 1, "Event: refer\r\n", "SIP/2.0 200 OK"),
        200
    );
    assert_eq!(
        notify(&mut desk, &message, 2, ACTIVE, "SIP/2.0 200 OK"),
        200
    );
    assert_eq!(notify(&mut desk, &message, 3, OVER, "SIP/2.0 200 OK"), 200);
    pass(&mut desk, 400);
    assert_eq!(told(&mut desk), ["40 accepted 202", "40 200 OK, over"]);
}

#[test]
fn a_transfer_of_which_nothing_is_heard_is_given_up() {
    let (mut desk, message) = referred();
    desk.answer(&message, "202 Accepted", "", "");
    pass(&mut desk, 31);
    assert_eq!(told(&mut desk), ["40 accepted 202"]);
    pass(&mut desk, 2);
    assert_eq!(told(&mut desk), ["40 408 No Notification, over"]);
    let (mut desk, message) = referred();
    desk.answer(&message, "202 Accepted", "", "");
    notify(&mut desk, &message, 1, ACTIVE, "SIP/2.0 180 Ringing");
    desk.events.clear();
    pass(&mut desk, 90);
    assert!(desk.events.is_empty());
    pass(&mut desk, 3);
    assert_eq!(told(&mut desk), ["40 408 No Notification, over"]);
}

#[test]
fn a_call_that_ends_says_nothing_more_of_its_transfer() {
    // Before the 202, and after it.
    for accepted in [false, true] {
        let (mut desk, message) = referred();
        if accepted {
            desk.answer(&message, "202 Accepted", "", "");
            desk.events.clear();
        }
        let bye = desk.inside(&message, "BYE", 1, "", "");
        desk.receive(PBX, &bye);
        desk.sent.clear();
        desk.answer(&message, "202 Accepted", "", "");
        assert_eq!(notify(&mut desk, &message, 2, OVER, "SIP/2.0 200 OK"), 481);
        nothing_is_left(&mut desk);
        pass(&mut desk, 400);
        assert_eq!(told(&mut desk), ["ended by the peer"]);
    }
    let (mut desk, message) = referred();
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    let bye = desk.taken();
    assert_eq!(number(&bye), number(&message) + 1);
    desk.answer(&message, "202 Accepted", "", "");
    assert_eq!(notify(&mut desk, &message, 1, OVER, "SIP/2.0 200 OK"), 200);
    desk.answer(&bye, "200 OK", "", "");
    assert_eq!(
        told(&mut desk),
        ["40 accepted 202", "40 200 OK, over", "ended by us"]
    );
    nothing_is_left(&mut desk);
}
