//! Transfers from outside, message by message: REFERs of ours and theirs, with an agent that is written down and
//! restored before every step.

mod common;

use common::{CALL, Desk, PBX, STRANGER, invite, status, text};
use proptest::prelude::*;
use signaling_sip::message::{HeaderName, Message};
use signaling_trunk::api::{
    AccountId, Cause, Command, End, Event, InviteId, InviteOptions, ReferId, ReferTo, Target,
};
use signaling_trunk::limits::MAX_REFERS;

const REFER: ReferId = ReferId(40);
const OTHER: InviteId = InviteId(4);

fn desk() -> Desk {
    let mut desk = Desk::registered();
    desk.snapshots = true;
    desk
}

/// An established outgoing call, and its INVITE.
fn talking() -> (Desk, Vec<u8>) {
    let mut desk = desk();
    let (invite, _) = desk.established();
    desk.events.clear();
    (desk, invite)
}

fn user(name: &str) -> ReferTo {
    ReferTo::Target(Target::User {
        user: name.into(),
        params: Vec::new(),
    })
}

fn refer(desk: &mut Desk, refer: ReferId, to: ReferTo) {
    desk.command(Command::Refer {
        invite: CALL,
        refer,
        to,
    });
}

/// A REFER of ours to 1003, and what it says.
fn referred() -> (Desk, Vec<u8>) {
    let (mut desk, _) = talking();
    refer(&mut desk, REFER, user("1003"));
    let message = desk.taken();
    (desk, message)
}

fn line(message: &[u8], id: HeaderName) -> &str {
    let message = Message::parse(message).unwrap();
    std::str::from_utf8(message.value(id).unwrap()).unwrap()
}

fn number(message: &[u8]) -> u32 {
    Message::parse(message).unwrap().cseq().unwrap().0
}

/// The PBX says how a REFER of ours fares; our answer.
fn notify(desk: &mut Desk, ours: &[u8], cseq: u32, headers: &str, body: &str) -> u16 {
    let kind = if body.is_empty() || headers.contains("Content-Type") {
        ""
    } else {
        "Content-Type: message/sipfrag;version=2.0\r\n"
    };
    let message = desk.inside(ours, "NOTIFY", cseq, &format!("{headers}{kind}"), body);
    desk.receive(PBX, &message);
    status(&desk.taken())
}

const ACTIVE: &str = "Event: refer\r\nSubscription-State: active;expires=60\r\n";
const OVER: &str = "Event: refer\r\nSubscription-State: terminated;reason=noresource\r\n";

/// What was told of a transfer, in short.
fn told(desk: &mut Desk) -> Vec<String> {
    let short = |event: Event| match event {
        Event::ReferAccepted { refer, status, .. } => format!("{} accepted {status}", refer.0),
        Event::ReferNotified {
            refer,
            status,
            reason,
            over,
            ..
        } => format!(
            "{} {status} {reason}{}",
            refer.0,
            if over { ", over" } else { "" }
        ),
        Event::ReferRefused { refer, failure, .. } => {
            format!("{} refused {:?} {}", refer.0, failure.cause, failure.status)
        }
        Event::Ended { end, .. } => match end {
            End::ByUs { .. } => "ended by us".into(),
            End::ByPeer { .. } => "ended by the peer".into(),
            End::Failed(failure) => format!("failed {}", failure.status),
            End::NoAck => "no ACK".into(),
        },
        other => format!("{other:?}"),
    };
    desk.events.drain(..).map(short).collect()
}

/// Time passes; the registrar is there, and nobody answers anything else. What else was sent, but for keep-alives.
fn pass(desk: &mut Desk, seconds: u64) -> Vec<Vec<u8>> {
    let mut others = Vec::new();
    for _ in 0..seconds {
        desk.wait(1_000);
        for (_, bytes) in std::mem::take(&mut desk.sent) {
            if bytes.starts_with(b"REGISTER") {
                let contact = format!("Contact: {}\r\n", line(&bytes, HeaderName::Contact));
                desk.answer(&bytes, "200 OK", &contact, "");
            } else if bytes != b"\r\n\r\n" {
                others.push(bytes);
            }
        }
    }
    others
}

/// Both sides are through with every call, and nothing of it is kept but the account.
fn nothing_is_left(desk: &mut Desk) {
    // Timers F, J and M, and the last refresh of the registration.
    pass(desk, 40);
    for _ in 0..30 {
        if desk.agent.counts()[3] == 0 {
            break;
        }
        pass(desk, 1);
    }
    assert_eq!(desk.agent.counts()[1..], [0; 4]);
}

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
    let sips = Target::Uri {
        uri: "sips:a@b.test".into(),
        params: Vec::new(),
    };
    let broken = Target::Uri {
        uri: "sip:a@b.test>\r\nEvil: 1".into(),
        params: Vec::new(),
    };
    for to in [
        ReferTo::Call(InviteId(400)),
        ReferTo::Target(sips),
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

// --- REFERs of theirs -------------------------------------------------------------------------------------

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

// --- Replaces ---------------------------------------------------------------------------------------------

fn invite_with(options: InviteOptions) -> Command {
    let mut command = invite(b"v=0");
    if let Command::Invite { options: o, .. } = &mut command {
        *o = options;
    }
    command
}

#[test]
fn an_invite_that_replaces_says_so_and_who_referred_it() {
    let mut desk = desk();
    desk.command(invite_with(InviteOptions {
        replaces: Some("1@2;from-tag=b;to-tag=a;early-only".into()),
        referred_by: Some("\"Bob\" <sip:bob@pbx.test>".into()),
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

// --- Whatever comes ---------------------------------------------------------------------------------------

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
            let mut command = invite_with(InviteOptions { replaces, referred_by });
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
                    let options = InviteOptions { replaces: Some(a), referred_by: Some(b) };
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
