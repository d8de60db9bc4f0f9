//! Session timers (RFC 4028), both roles: who refreshes, how, and what happens when nobody does.

mod common;

use common::*;
use signaling_sip::message::Message;
use signaling_trunk::agent::Config;
use signaling_trunk::api::{Cause, Command, End, Event, InviteId};

const CONTACT: &str = "Contact: <sip:bob@192.0.2.1>\r\n";
const UPDATES: &str = "Allow: INVITE, ACK, BYE, UPDATE\r\n";

fn desk() -> Desk {
    Desk::registered().restored_at_each_step()
}

fn with(session_expires_s: u32, min_se_s: u32) -> Desk {
    let config = Config {
        session_expires_s,
        min_se_s,
        ..config()
    };
    Desk::registered_with(config).restored_at_each_step()
}

/// A call of ours that the PBX answered with these headers; the INVITE.
fn answered(desk: &mut Desk, headers: &str) -> Vec<u8> {
    let invite = desk.call();
    desk.answer(
        &invite,
        "200 OK",
        &format!("{CONTACT}{headers}"),
        "v=0 answer",
    );
    assert!(text(&desk.taken()).starts_with("ACK "));
    invite
}

/// A call of the PBX that we took; its contact user, number, our tag, our 200.
fn taken(desk: &mut Desk, headers: &str) -> (String, InviteId, String, Vec<u8>) {
    let (user, call) = desk.ringing_with(headers, "v=0 offer");
    desk.sent.clear();
    desk.command(Command::Accept {
        invite: call,
        sdp: b"v=0 answer".to_vec(),
    });
    let ok = desk.taken();
    let tag = to_tag(&ok);
    let ack = desk.inbound("ACK", &user, "a", 1, &tag, "");
    desk.receive(PBX, &ack);
    (user, call, tag, ok)
}

/// What is sent about the call in so many seconds, repetitions left out, while the PBX keeps our registration alive.
fn after(desk: &mut Desk, seconds: u64) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for _ in 0..seconds {
        desk.wait(1_000);
        for (_, bytes) in std::mem::take(&mut desk.sent) {
            if bytes.starts_with(b"REGISTER ") {
                let contact = format!("Contact: {}\r\n", header(&bytes, "Contact"));
                desk.answer(&bytes, "200 OK", &contact, "");
            } else if bytes.len() > 4 && found.last() != Some(&bytes) {
                found.push(bytes);
            }
        }
    }
    found
}

fn methods(messages: &[Vec<u8>]) -> Vec<String> {
    let first = |b: &Vec<u8>| text(b).split(' ').next().unwrap().to_string();
    messages.iter().map(first).collect()
}

fn died(desk: &Desk) -> bool {
    matches!(
        desk.events.last(),
        Some(Event::Ended { end: End::Failed(failure), .. }) if failure.cause == Cause::Timeout
    )
}

fn is_alive(desk: &Desk) -> bool {
    !desk.events.iter().any(|e| matches!(e, Event::Ended { .. }))
}

#[test]
fn our_invite_asks_for_a_session_timer_and_leaves_the_refresher_open() {
    let mut desk = with(1800, 120);
    let invite = desk.call();
    assert!(header(&invite, "Supported").contains("timer"));
    assert_eq!(header(&invite, "Session-Expires"), "1800");
    assert_eq!(header(&invite, "Min-SE"), "120");
    let mut desk = with(0, 90);
    let invite = desk.call();
    assert_eq!(header(&invite, "Session-Expires"), "");
}

#[test]
fn a_422_is_answered_by_what_it_wants_and_no_more_than_thrice() {
    let mut desk = desk();
    let mut invite = desk.call();
    for least in ["3600", "7200", "9000"] {
        let min = format!("Min-SE: {least}\r\n");
        desk.answer(&invite, "422 Session Interval Too Small", &min, "");
        let sent = desk.all();
        assert_eq!(methods(&sent), ["INVITE", "ACK"]);
        invite = sent[0].clone();
        assert_eq!(header(&invite, "Session-Expires"), least);
        assert_eq!(header(&invite, "Min-SE"), least);
    }
    assert_eq!(header(&invite, "CSeq"), "4 INVITE");
    desk.answer(
        &invite,
        "422 Session Interval Too Small",
        "Min-SE: 9001\r\n",
        "",
    );
    assert!(
        matches!(desk.events.last(), Some(Event::Ended { end: End::Failed(f), .. }) if f.status == 422)
    );
}

#[test]
fn a_422_without_a_longer_interval_is_a_refusal() {
    for min in ["", "Min-SE: 4000000000\r\n", "Min-SE: x\r\n"] {
        let mut desk = desk();
        let invite = desk.call();
        desk.answer(&invite, "422 Session Interval Too Small", min, "");
        assert!(
            matches!(desk.events.last(), Some(Event::Ended { end: End::Failed(f), .. }) if f.status == 422)
        );
    }
}

#[test]
fn we_refresh_by_update_at_half_the_interval_where_the_peer_knows_it() {
    let mut desk = desk();
    answered(
        &mut desk,
        &format!("{UPDATES}Session-Expires: 200;refresher=uac\r\n"),
    );
    assert!(after(&mut desk, 99).is_empty());
    for round in 0..3 {
        let sent = after(&mut desk, 2);
        assert_eq!(methods(&sent), ["UPDATE"], "round {round}");
        let update = &sent[0];
        assert!(Message::parse(update).unwrap().body().is_empty());
        assert_eq!(header(update, "Session-Expires"), "200;refresher=uac");
        let ok = format!("{CONTACT}Session-Expires: 200;refresher=uac\r\n");
        desk.answer(update, "200 OK", &ok, "");
        assert!(after(&mut desk, 98).is_empty());
    }
    assert!(is_alive(&desk));
}

#[test]
fn we_refresh_by_re_invite_with_what_we_said_last_where_it_does_not() {
    let mut desk = desk();
    answered(
        &mut desk,
        "Allow: INVITE, ACK, BYE\r\nSession-Expires: 200;refresher=uac\r\n",
    );
    desk.command(Command::Offer {
        invite: CALL,
        sdp: b"v=0 hold".to_vec(),
    });
    let hold = desk.taken();
    assert_eq!(header(&hold, "Session-Expires"), "200;refresher=uac");
    let ok = format!("{CONTACT}Session-Expires: 200;refresher=uac\r\n");
    desk.answer(&hold, "200 OK", &ok, "v=0 held");
    desk.all();
    desk.events.clear();
    assert!(after(&mut desk, 99).is_empty(), "the hold was a refresh");
    let sent = after(&mut desk, 1);
    assert_eq!(methods(&sent), ["INVITE"]);
    assert!(text(&sent[0]).ends_with("\r\n\r\nv=0 hold"));
    desk.answer(&sent[0], "200 OK", &ok, "v=0 held");
    assert_eq!(desk.methods(), ["ACK"]);
    assert!(desk.events.is_empty(), "the calls hear nothing of it");
    desk.all();
    let sent = after(&mut desk, 101);
    desk.answer(&sent[0], "200 OK", &ok, "v=0 moved");
    assert!(
        matches!(desk.events.last(), Some(Event::OfferAnswered { sdp: Some(sdp), .. }) if sdp == b"v=0 moved"),
        "unless the peer changes something"
    );
}

#[test]
fn a_refused_offer_of_ours_changes_nothing_that_a_refresh_repeats() {
    let mut desk = desk();
    answered(&mut desk, "Session-Expires: 200;refresher=uac\r\n");
    desk.command(Command::Offer {
        invite: CALL,
        sdp: b"v=0 hold".to_vec(),
    });
    let hold = desk.taken();
    desk.answer(&hold, "488 Not Acceptable Here", "", "");
    desk.all();
    let sent = after(&mut desk, 101);
    assert!(text(&sent[0]).ends_with("\r\n\r\nv=0 offer"));
}

#[test]
fn an_update_that_is_not_allowed_after_all_becomes_a_re_invite() {
    let mut desk = desk();
    answered(
        &mut desk,
        &format!("{UPDATES}Session-Expires: 200;refresher=uac\r\n"),
    );
    let update = after(&mut desk, 101).remove(0);
    desk.answer(&update, "405 Method Not Allowed", "", "");
    assert_eq!(desk.methods(), ["INVITE"]);
}

#[test]
fn a_refresh_that_finds_nobody_ends_the_call() {
    for status in ["481 Call Does Not Exist", "408 Request Timeout", ""] {
        for headers in [UPDATES, "Allow: INVITE\r\n"] {
            let mut desk = desk();
            answered(
                &mut desk,
                &format!("{headers}Session-Expires: 200;refresher=uac\r\n"),
            );
            let refresh = after(&mut desk, 101).remove(0);
            let sent = if status.is_empty() {
                after(&mut desk, 33)
            } else {
                desk.answer(&refresh, status, "", "");
                desk.all()
            };
            assert!(
                methods(&sent).contains(&"BYE".to_string()),
                "{status} {headers}"
            );
            assert!(died(&desk), "{status} {headers}: {:?}", desk.events);
            after(&mut desk, 70);
            assert_eq!(desk.agent.counts()[1..], [0; 4]);
        }
    }
}

#[test]
fn a_refresh_that_is_refused_for_now_is_tried_again_until_the_session_ends() {
    let mut desk = desk();
    answered(
        &mut desk,
        &format!("{UPDATES}Session-Expires: 200;refresher=uac\r\n"),
    );
    let update = after(&mut desk, 101).remove(0);
    desk.answer(&update, "500 Busy", "", "");
    let update = after(&mut desk, 11).remove(0);
    desk.answer(
        &update,
        "200 OK",
        &format!("{CONTACT}Session-Expires: 200;refresher=uac\r\n"),
        "",
    );
    assert!(is_alive(&desk));
    let mut tries = 0;
    for _ in 0..200 {
        for sent in after(&mut desk, 1) {
            tries += 1;
            desk.answer(&sent, "500 Busy", "", "");
        }
    }
    assert!(died(&desk) && tries > 3, "{tries}");
}

#[test]
fn a_refresh_that_meets_an_offer_of_theirs_is_tried_again() {
    let mut desk = desk();
    answered(&mut desk, "Session-Expires: 200;refresher=uac\r\n");
    let refresh = after(&mut desk, 101).remove(0);
    desk.answer(&refresh, "491 Request Pending", "", "");
    desk.all();
    desk.events.clear();
    let sent = after(&mut desk, 5);
    assert_eq!(methods(&sent), ["INVITE"], "after 2.1 to 4 s");
    desk.answer(
        &sent[0],
        "200 OK",
        &format!("{CONTACT}Session-Expires: 200\r\n"),
        "v=0 answer",
    );
    assert!(desk.events.is_empty());
    assert!(is_alive(&desk));
}

#[test]
fn a_422_to_a_refresh_is_answered_by_what_it_wants() {
    for headers in [UPDATES, "Allow: INVITE\r\n"] {
        let mut desk = desk();
        answered(
            &mut desk,
            &format!("{headers}Session-Expires: 200;refresher=uac\r\n"),
        );
        let refresh = after(&mut desk, 101).remove(0);
        desk.answer(
            &refresh,
            "422 Session Interval Too Small",
            "Min-SE: 600\r\n",
            "",
        );
        let again = desk.all().remove(0);
        assert_eq!(header(&again, "Session-Expires"), "600;refresher=uac");
        assert_eq!(header(&again, "Min-SE"), "600");
    }
}

#[test]
fn a_peer_that_was_to_refresh_and_did_not_is_hung_up_on() {
    let mut desk = desk();
    answered(&mut desk, "Session-Expires: 300;refresher=uas\r\n");
    assert!(after(&mut desk, 267).is_empty());
    let sent = after(&mut desk, 2);
    assert_eq!(methods(&sent), ["BYE"], "32 s before the end");
    assert!(died(&desk));
    let mut desk = Desk::registered();
    answered(&mut desk, "Session-Expires: 90;refresher=uas\r\n");
    assert!(after(&mut desk, 59).is_empty());
    assert_eq!(methods(&after(&mut desk, 2)), ["BYE"], "or a third of it");
}

#[test]
fn an_answer_without_session_expires_means_that_nothing_expires() {
    let mut desk = desk();
    answered(&mut desk, UPDATES);
    assert!(after(&mut desk, 4_000).is_empty());
    assert!(is_alive(&desk));
}

#[test]
fn we_answer_a_session_timer_as_the_caller_can_bear_it() {
    for (headers, expires, require) in [
        (
            "Supported: timer\r\nSession-Expires: 600\r\n",
            "600;refresher=uac",
            "timer",
        ),
        (
            "k: timer\r\nx: 600;refresher=uac\r\n",
            "600;refresher=uac",
            "timer",
        ),
        (
            "Supported: timer\r\nSession-Expires: 600;refresher=UAS\r\n",
            "600;refresher=uas",
            "",
        ),
        (
            "Require: timer\r\nSession-Expires: 600\r\n",
            "600;refresher=uac",
            "timer",
        ),
        ("Session-Expires: 600\r\n", "600;refresher=uas", ""),
        (
            "Supported: timer\r\nSession-Expires: 7200\r\n",
            "1800;refresher=uac",
            "timer",
        ),
        (
            "Supported: timer\r\nSession-Expires: 7200\r\nMin-SE: 3600\r\n",
            "3600;refresher=uac",
            "timer",
        ),
        ("Supported: timer\r\n", "1800;refresher=uas", ""),
        ("X-A: 1\r\n", "", ""),
    ] {
        let mut desk = desk();
        let (_, _, _, ok) = taken(&mut desk, headers);
        assert_eq!(header(&ok, "Session-Expires"), expires, "{headers}");
        assert_eq!(header(&ok, "Require"), require, "{headers}");
    }
}

#[test]
fn one_that_asks_for_too_little_is_told_how_much_it_takes() {
    let mut desk = with(1800, 120);
    let (user, _, tag, _) = taken(&mut desk, "Supported: timer\r\nSession-Expires: 600\r\n");
    let brief = "Supported: timer\r\nSession-Expires: 100\r\n";
    for message in [
        desk.inbound_with("INVITE", &user, "re", 2, &tag, brief, "v=0"),
        desk.inbound_with("UPDATE", &user, "up", 3, &tag, brief, ""),
        text(&desk.inbound_with("INVITE", &user, "new", 1, "", brief, "v=0"))
            .replace("Call-ID: in1", "Call-ID: in2")
            .into_bytes(),
    ] {
        desk.receive(PBX, &message);
        let refused = desk.taken();
        assert_eq!(status(&refused), 422);
        assert_eq!(header(&refused, "Min-SE"), "120");
    }
    // A proxy put it there: the caller could not make sense of a 422.
    let mut desk = with(1800, 120);
    let (_, _, _, ok) = taken(&mut desk, "Session-Expires: 100\r\n");
    assert_eq!(header(&ok, "Session-Expires"), "120;refresher=uas");
}

#[test]
fn a_caller_that_refreshes_keeps_its_call_and_one_that_stops_loses_it() {
    let mut desk = desk();
    let (user, call, tag, _) = taken(
        &mut desk,
        "Supported: timer\r\nSession-Expires: 200;refresher=uac\r\n",
    );
    let refresh = "Supported: timer\r\nSession-Expires: 200;refresher=uac\r\n";
    for n in 0..4 {
        assert!(after(&mut desk, 100).is_empty());
        let update = desk.inbound_with("UPDATE", &user, &format!("u{n}"), 2 + n, &tag, refresh, "");
        desk.receive(PBX, &update);
        let ok = desk.taken();
        assert_eq!(header(&ok, "Session-Expires"), "200;refresher=uac");
    }
    assert!(after(&mut desk, 100).is_empty());
    let hold = desk.inbound_with("INVITE", &user, "re", 9, &tag, refresh, "v=0 hold");
    desk.receive(PBX, &hold);
    let Some(Event::Offered { offer, .. }) = desk.events.last() else {
        panic!("{:?}", desk.events)
    };
    let offer = *offer;
    desk.command(Command::AnswerOffer {
        invite: call,
        offer,
        sdp: b"v=0 held".to_vec(),
    });
    let ack = desk.inbound("ACK", &user, "a9", 9, &tag, "");
    desk.receive(PBX, &ack);
    desk.all();
    assert!(after(&mut desk, 160).is_empty(), "a hold counts as well");
    assert_eq!(methods(&after(&mut desk, 10)), ["BYE"]);
    assert!(died(&desk));
}

#[test]
fn we_refresh_a_call_of_theirs_where_it_fell_to_us() {
    let mut desk = desk();
    let headers = format!("{UPDATES}Supported: timer\r\nSession-Expires: 200;refresher=uas\r\n");
    taken(&mut desk, &headers);
    let sent = after(&mut desk, 101);
    assert_eq!(methods(&sent), ["UPDATE"]);
    assert_eq!(header(&sent[0], "Session-Expires"), "200;refresher=uac");
    // From now on it falls to them.
    let ok = format!("{CONTACT}Session-Expires: 200;refresher=uas\r\n");
    desk.answer(&sent[0], "200 OK", &ok, "");
    assert!(after(&mut desk, 160).is_empty());
    assert_eq!(methods(&after(&mut desk, 10)), ["BYE"]);
}

#[test]
fn an_absurdly_short_session_does_not_make_us_talk_all_the_time() {
    let mut desk = desk();
    answered(
        &mut desk,
        &format!("{UPDATES}Session-Expires: 1;refresher=uac\r\n"),
    );
    let mut sent = 0;
    for _ in 0..60 {
        for update in after(&mut desk, 1) {
            sent += 1;
            desk.answer(
                &update,
                "200 OK",
                &format!("{CONTACT}Session-Expires: 0\r\nSession-Expires: 1\r\n"),
                "",
            );
        }
    }
    assert!(sent <= 7, "{sent}");
}
