//! INFO inside calls from outside, message by message, with an agent that is written down and restored before
//! every step.

mod common;

use common::{CALL, Desk, PBX, STRANGER, status, text};
use signaling_sip::message::{HeaderName, Message};
use signaling_trunk::api::{Cause, Command, Event};
use signaling_trunk::limits::{MAX_INFO_BODY, MAX_INFOS};

fn talking() -> (Desk, Vec<u8>) {
    let mut desk = Desk::registered();
    desk.snapshots = true;
    let (invite, _) = desk.established();
    desk.events.clear();
    (desk, invite)
}

fn send(desk: &mut Desk, content_type: &str, body: &str) {
    desk.command(Command::Info {
        invite: CALL,
        content_type: content_type.into(),
        body: body.into(),
    });
}

fn refusals(desk: &mut Desk) -> Vec<(Cause, u16)> {
    let refusal = |event: Event| match event {
        Event::InfoRefused { failure, .. } => (failure.cause, failure.status),
        other => panic!("{other:?}"),
    };
    desk.events.drain(..).map(refusal).collect()
}

#[test]
fn infos_leave_in_order_and_one_at_a_time() {
    let (mut desk, _) = talking();
    for digit in ["1", "2", "3"] {
        send(
            &mut desk,
            "application/dtmf-relay",
            &format!("Signal={digit}\r\nDuration=160\r\n"),
        );
    }
    for digit in ["1", "2", "3"] {
        let info = desk.taken();
        let message = Message::parse(&info).unwrap();
        assert_eq!(message.method_text(), b"INFO");
        assert_eq!(message.content_type().unwrap(), "application/dtmf-relay");
        assert_eq!(
            text(message.body()),
            format!("Signal={digit}\r\nDuration=160\r\n")
        );
        assert!(message.contact().is_none(), "INFO refreshes no target");
        desk.answer(&info, "200 OK", "", "");
    }
    assert!(desk.sent.is_empty() && desk.events.is_empty());
}

#[test]
fn a_refused_info_is_told_and_the_next_one_goes_out() {
    let (mut desk, _) = talking();
    send(&mut desk, "application/dtmf", "1");
    send(&mut desk, "application/dtmf", "2");
    let first = desk.taken();
    desk.answer(&first, "415 Unsupported Media Type", "", "");
    assert_eq!(refusals(&mut desk), [(Cause::Response, 415)]);
    let second = desk.taken();
    let challenge = "WWW-Authenticate: Digest realm=\"i\", nonce=\"1\"\r\n";
    desk.answer(&second, "401 Unauthorized", challenge, "");
    let again = desk.taken();
    assert!(text(&again).contains("\r\nAuthorization: Digest "));
    desk.answer(&again, "200 OK", "", "");
    assert!(desk.sent.is_empty() && desk.events.is_empty());
}

#[test]
fn a_peer_that_forgot_the_call_ends_it_and_one_that_is_silent_does_not() {
    let (mut desk, _) = talking();
    send(&mut desk, "application/dtmf", "1");
    let info = desk.taken();
    desk.answer(&info, "481 Gone", "", "");
    assert_eq!(refusals(&mut desk), [(Cause::Response, 481)]);
    assert_eq!(desk.methods(), ["BYE"]);
    let (mut desk, _) = talking();
    for digit in ["1", "2", "3"] {
        send(&mut desk, "application/dtmf", digit);
    }
    desk.wait(33_000);
    assert_eq!(refusals(&mut desk), [(Cause::Timeout, 0); 3]);
    assert!(!desk.methods().contains(&"BYE".to_string()));
    desk.sent.clear();
    send(&mut desk, "application/dtmf", "4");
    assert_eq!(desk.methods(), ["INFO"]);
}

#[test]
fn infos_are_bounded_in_number_and_length_and_have_a_media_type() {
    let (mut desk, _) = talking();
    for _ in 0..MAX_INFOS + 2 {
        send(&mut desk, "application/dtmf", "1");
    }
    assert_eq!(refusals(&mut desk), [(Cause::Overloaded, 0)]);
    let (mut desk, _) = talking();
    let long = "1".repeat(MAX_INFO_BODY + 1);
    for (content_type, body) in [
        ("application/dtmf", long.as_str()),
        ("", "1"),
        ("application", "1"),
        ("application/dtmf\r\nEvil: 1", "1"),
        ("application/dtmf;\r\nx=1", "1"),
        ("application/d tmf", "1"),
    ] {
        send(&mut desk, content_type, body);
        assert_eq!(
            refusals(&mut desk),
            [(Cause::BadRequest, 0)],
            "{content_type:?}"
        );
    }
    assert!(desk.sent.is_empty());
    let mut calling = Desk::registered();
    calling.call();
    send(&mut calling, "application/dtmf", "1");
    assert_eq!(refusals(&mut calling), [(Cause::BadRequest, 0)]);
}

#[test]
fn infos_of_theirs_are_answered_and_told_once() {
    let (mut desk, invite) = talking();
    let mut cseq = 0;
    for (content_type, body) in [
        ("application/dtmf", "5"),
        ("application/dtmf-relay", "Signal=5\r\nDuration=160"),
        (
            "Application/Media_Control+XML;charset=utf-8",
            "<media_control/>",
        ),
    ] {
        cseq += 1;
        let kind = format!("Content-Type: {content_type}\r\n");
        let info = desk.inside(&invite, "INFO", cseq, &kind, body);
        desk.receive(PBX, &info);
        let answer = desk.taken();
        assert_eq!(status(&answer), 200);
        desk.receive(PBX, &info);
        assert_eq!(desk.taken(), answer, "a repetition gets the same");
        let told: Vec<Event> = desk.events.drain(..).collect();
        let plain = content_type.to_lowercase().replace(";charset=utf-8", "");
        assert_eq!(
            told,
            [Event::Info {
                invite: CALL,
                content_type: plain,
                body: body.into(),
            }]
        );
    }
}

#[test]
fn infos_that_say_nothing_to_us_get_what_they_deserve() {
    let (mut desk, invite) = talking();
    let long = "5".repeat(MAX_INFO_BODY + 1);
    let mut cseq = 0;
    for (headers, body, wanted) in [
        ("", "", 200),
        ("Content-Type: application/dtmf\r\n", "", 200),
        ("Content-Type: text/plain\r\n", "5", 415),
        ("", "5", 415),
        (
            "Content-Type: application/dtmf\r\nContent-Encoding: gzip\r\n",
            "5",
            415,
        ),
        ("Content-Type: application/dtmf\r\n", long.as_str(), 413),
        (
            "Content-Type: application/dtmf\r\nInfo-Package: x\r\n",
            "5",
            469,
        ),
    ] {
        cseq += 1;
        let info = desk.inside(&invite, "INFO", cseq, headers, body);
        desk.receive(PBX, &info);
        let answer = desk.taken();
        assert_eq!(status(&answer), wanted, "{headers}");
        let accept = Message::parse(&answer)
            .unwrap()
            .value(HeaderName::Accept)
            .map(text);
        assert_eq!(
            accept.is_some_and(|a| a.contains("application/dtmf-relay")),
            wanted == 415
        );
        assert!(desk.events.is_empty());
    }
    let kind = "Content-Type: application/dtmf\r\n";
    let forged = desk.inside(&invite, "INFO", 50, kind, "5");
    let forged = text(&forged).replace(";tag=b1", ";tag=b2");
    desk.receive(STRANGER, forged.as_bytes());
    assert_eq!(status(&desk.taken()), 481);
    let old = desk.inside(&invite, "INFO", 1, kind, "5");
    let old = text(&old).replace("branch=z9hG4bKINFO1", "branch=z9hG4bKother");
    desk.receive(PBX, old.as_bytes());
    assert_eq!(status(&desk.taken()), 500, "a number from before");
    assert!(desk.events.is_empty());
}

#[test]
fn a_call_that_ends_drops_its_infos_without_a_word() {
    let (mut desk, invite) = talking();
    for _ in 0..5 {
        send(&mut desk, "application/dtmf", "1");
    }
    let bye = desk.inside(&invite, "BYE", 1, "", "");
    desk.receive(PBX, &bye);
    assert!(matches!(desk.events.pop(), Some(Event::Ended { .. })));
    desk.sent.clear();
    desk.wait(600);
    assert!(desk.sent.is_empty(), "{:?}", desk.methods());
    send(&mut desk, "application/dtmf", "1");
    assert!(desk.sent.is_empty() && desk.events.is_empty());
    let (mut desk, _) = talking();
    send(&mut desk, "application/dtmf", "1");
    send(&mut desk, "application/dtmf", "2");
    let info = desk.taken();
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    let bye = desk.taken();
    desk.answer(&info, "200 OK", "", "");
    assert!(desk.sent.is_empty(), "nothing follows a BYE");
    desk.answer(&bye, "200 OK", "", "");
    assert!(matches!(desk.events.pop(), Some(Event::Ended { .. })));
    assert_eq!(desk.agent.counts()[4], 0, "no request is on its way");
}
