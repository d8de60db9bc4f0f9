//! Reliable provisional responses (RFC 3262), UPDATE before the answer (RFC 3311), 181, 182 and 199.

mod common;

use common::*;
use signaling_sip::message::Message;
use signaling_trunk::agent::Config;
use signaling_trunk::api::{Cause, Command, End, Event, ForkId, InviteId};
use signaling_trunk::reliable::ReliableProvisional;

const RELIABLY: &str = "Require: 100rel\r\nRSeq: 17\r\nContact: <sip:bob@192.0.2.1>\r\n";

fn desk() -> Desk {
    Desk::registered().restored_at_each_step()
}

fn with(reliable_provisional: ReliableProvisional) -> Desk {
    let config = Config {
        reliable_provisional,
        ..config()
    };
    Desk::registered_with(config).restored_at_each_step()
}

fn progress(invite: InviteId, status: u16, sdp: &str) -> Command {
    Command::Progress {
        invite,
        status,
        sdp: (!sdp.is_empty()).then(|| sdp.into()),
    }
}

fn accept(invite: InviteId) -> Command {
    Command::Accept {
        invite,
        sdp: b"v=0 answer".to_vec(),
    }
}

fn statuses(desk: &mut Desk) -> Vec<u16> {
    desk.all().iter().map(|b| status(b)).collect()
}

fn progresses(desk: &Desk) -> Vec<(u32, u16)> {
    let told = |e: &Event| match e {
        Event::Progress { fork, status, .. } => Some((fork.0, *status)),
        _ => None,
    };
    desk.events.iter().filter_map(told).collect()
}

#[test]
fn a_reliable_18x_is_acknowledged_in_its_dialog_and_once() {
    let mut desk = desk();
    let invite = desk.call();
    assert!(header(&invite, "Supported").contains("100rel"));
    assert!(header(&invite, "Allow").contains("PRACK"));
    desk.answer(&invite, "183 Progress", RELIABLY, "v=0 early");
    let prack = desk.taken();
    assert!(text(&prack).starts_with("PRACK sip:bob@192.0.2.1 "));
    assert_eq!(header(&prack, "RAck"), "17 1 INVITE");
    assert_eq!(header(&prack, "CSeq"), "2 PRACK");
    assert_eq!(to_tag(&prack), "b1");
    desk.answer(&invite, "183 Progress", RELIABLY, "v=0 early");
    assert!(
        desk.sent.is_empty(),
        "a repeated one is not acknowledged twice"
    );
    desk.wait(600);
    assert_eq!(desk.taken(), prack, "but the PRACK is repeated by itself");
    desk.answer(&prack, "200 OK", "", "");
    desk.wait(10_000);
    assert!(desk.sent.is_empty());
    assert_eq!(progresses(&desk), [(0, 183)]);
}

#[test]
fn reliable_18x_are_taken_in_their_order() {
    let mut desk = desk();
    let invite = desk.call();
    let rseq = |n: u32| format!("Require: 100rel\r\nRSeq: {n}\r\nContact: <sip:bob@192.0.2.1>\r\n");
    desk.answer(&invite, "180 Ringing", &rseq(5), "");
    desk.answer(&invite, "183 Progress", &rseq(7), "v=0 early");
    assert_eq!(desk.methods(), ["PRACK"], "7 is not what follows 5");
    desk.answer(&invite, "182 Queued", &rseq(6), "");
    desk.answer(&invite, "183 Progress", &rseq(7), "v=0 early");
    let racks: Vec<_> = desk.all().iter().map(|b| header(b, "RAck")).collect();
    assert_eq!(racks, ["5 1 INVITE", "6 1 INVITE", "7 1 INVITE"]);
    assert_eq!(progresses(&desk), [(0, 180), (0, 182), (0, 183)]);
}

#[test]
fn each_fork_counts_for_itself() {
    let mut desk = desk();
    let invite = desk.call();
    desk.answer_as("f1", &invite, "180 Ringing", RELIABLY, "");
    desk.answer_as("f2", &invite, "183 Progress", RELIABLY, "v=0 two");
    let pracks = desk.all();
    let tags: Vec<_> = pracks.iter().map(|b| to_tag(b)).collect();
    assert_eq!(tags, ["f1", "f2"]);
    assert_eq!(header(&pracks[1], "RAck"), "17 1 INVITE");
    assert_eq!(progresses(&desk), [(0, 180), (1, 183)]);
}

#[test]
fn a_200_without_a_description_stands_for_the_one_that_came_reliably() {
    let mut desk = desk();
    let invite = desk.call();
    desk.answer(&invite, "183 Progress", RELIABLY, "v=0 early");
    desk.answer(&invite, "200 OK", "Contact: <sip:bob@192.0.2.1>\r\n", "");
    assert!(
        matches!(desk.events.last(), Some(Event::Answered { sdp: Some(sdp), late: false, .. }) if sdp == b"v=0 early"),
        "{:?}",
        desk.events
    );
    assert_eq!(desk.methods(), ["PRACK", "ACK"]);
    assert_eq!(
        header(&desk.sent[1].1, "CSeq"),
        "1 ACK",
        "the ACK keeps the INVITE's number"
    );
}

#[test]
fn a_200_with_another_description_is_told_as_it_came() {
    let mut desk = desk();
    let invite = desk.call();
    desk.answer(&invite, "183 Progress", RELIABLY, "v=0 early");
    desk.answer(
        &invite,
        "200 OK",
        "Contact: <sip:bob@192.0.2.1>\r\n",
        "v=0 other",
    );
    assert!(
        matches!(desk.events.last(), Some(Event::Answered { sdp: Some(sdp), .. }) if sdp == b"v=0 other")
    );
}

#[test]
fn a_prack_is_authorized_and_goes_over_the_recorded_route() {
    let mut desk = desk();
    let invite = desk.call();
    let headers = format!("{RELIABLY}Record-Route: <sip:192.0.2.3;lr>\r\n");
    desk.answer(&invite, "183 Progress", &headers, "v=0 early");
    let (to, prack) = desk.sent.remove(0);
    assert_eq!(to, "192.0.2.3:5060".parse().unwrap());
    assert_eq!(header(&prack, "Route"), "<sip:192.0.2.3;lr>");
    let challenge = "Proxy-Authenticate: Digest realm=\"r\", nonce=\"1\"\r\n";
    desk.answer(&prack, "407 Proxy Authentication Required", challenge, "");
    let prack = desk.taken();
    assert!(header(&prack, "Proxy-Authorization").contains("realm=\"r\""));
    assert_eq!(header(&prack, "CSeq"), "3 PRACK");
}

#[test]
fn an_invite_without_an_offer_does_not_ask_for_reliable_responses() {
    let mut desk = desk();
    desk.command(invite(b""));
    let message = desk.taken();
    assert!(!header(&message, "Supported").contains("100rel"));
    let mut desk = with(ReliableProvisional::Off);
    let message = desk.call();
    assert!(!header(&message, "Supported").contains("100rel"));
}

#[test]
fn progress_is_reliable_as_the_caller_and_the_setting_want_it() {
    use ReliableProvisional::{Always, Off, WhenSdp};
    for (setting, caller, sdp, wanted) in [
        (WhenSdp, "X-A: 1", "v=0", false),
        (WhenSdp, "Supported: timer, 100REL", "v=0", true),
        (WhenSdp, "k: 100rel", "", false),
        (WhenSdp, "Require: 100rel", "", true),
        (Always, "Supported: 100rel", "", true),
        (Always, "X-A: 1", "", false),
        (Off, "Supported: 100rel", "v=0", false),
        (Off, "Require: 100rel", "", true),
    ] {
        let mut desk = with(setting);
        let (_, call) = desk.ringing_with(&format!("{caller}\r\n"), "v=0 offer");
        desk.sent.clear();
        desk.command(progress(call, if sdp.is_empty() { 180 } else { 183 }, sdp));
        let response = desk.taken();
        let is = header(&response, "Require") == "100rel" && !header(&response, "RSeq").is_empty();
        assert_eq!(is, wanted, "{setting:?} {caller} {sdp}");
    }
}

#[test]
fn a_reliable_183_is_repeated_until_its_prack() {
    let mut desk = desk();
    let (user, call) = desk.ringing_with("Supported: 100rel\r\n", "v=0 offer");
    desk.sent.clear();
    desk.command(progress(call, 183, "v=0 early"));
    let first = desk.taken();
    desk.wait(3_600);
    let repeated = desk.all();
    assert_eq!(repeated.len(), 3, "after 0.5, 1.5 and 3.5 s");
    assert!(repeated.iter().all(|b| *b == first));
    let (tag, rseq) = (to_tag(&first), header(&first, "RSeq"));
    let rack = |rseq: &str, cseq: u32| format!("RAck: {rseq} {cseq} INVITE\r\n");
    for (n, wrong) in [
        rack("1", 1),
        rack(&rseq, 2),
        "RAck: nonsense\r\n".into(),
        String::new(),
    ]
    .iter()
    .enumerate()
    {
        let n = u32::try_from(n).unwrap();
        let prack = desk.inbound_with("PRACK", &user, &format!("p{n}"), 2 + n, &tag, wrong, "");
        desk.receive(PBX, &prack);
        assert_eq!(status(&desk.taken()), 481, "{wrong}");
    }
    let prack = desk.inbound_with("PRACK", &user, "p", 9, &tag, &rack(&rseq, 1), "");
    desk.receive(PBX, &prack);
    desk.receive(PBX, &prack);
    assert_eq!(
        statuses(&mut desk),
        [200, 200],
        "a repeated PRACK gets its answer again"
    );
    desk.wait(40_000);
    assert!(desk.all().is_empty());
}

#[test]
fn a_reliable_183_without_a_prack_ends_the_call() {
    let mut desk = desk();
    let (_, call) = desk.ringing_with("Supported: 100rel\r\n", "v=0 offer");
    desk.sent.clear();
    desk.command(progress(call, 183, "v=0 early"));
    desk.wait(32_000);
    let statuses = statuses(&mut desk);
    assert_eq!(
        statuses.len(),
        8,
        "{statuses:?}: sent at 0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s, and the end"
    );
    assert_eq!(statuses.last(), Some(&504));
    assert!(
        matches!(desk.events.last(), Some(Event::Ended { invite, end: End::Failed(f) }) if *invite == call && f.cause == Cause::Timeout)
    );
}

#[test]
fn a_second_reliable_response_waits_for_the_prack_of_the_first() {
    let mut desk = with(ReliableProvisional::Always);
    let (user, call) = desk.ringing_with("Supported: 100rel\r\n", "v=0 offer");
    desk.sent.clear();
    desk.command(progress(call, 180, ""));
    let first = desk.taken();
    desk.command(progress(call, 183, "v=0 early"));
    assert!(desk.sent.is_empty());
    let rseq: u32 = header(&first, "RSeq").parse().unwrap();
    let rack = format!("RAck: {rseq} 1 INVITE\r\n");
    let prack = desk.inbound_with("PRACK", &user, "p1", 2, &to_tag(&first), &rack, "");
    desk.receive(PBX, &prack);
    let sent = desk.all();
    assert_eq!((status(&sent[0]), status(&sent[1])), (200, 183));
    assert_eq!(header(&sent[1], "RSeq"), (rseq + 1).to_string());
}

#[test]
fn a_200_waits_for_the_prack_of_a_description_and_for_no_other() {
    for (sdp, held) in [("v=0 early", true), ("", false)] {
        let mut desk = with(ReliableProvisional::Always);
        let (user, call) = desk.ringing_with("Supported: 100rel\r\n", "v=0 offer");
        desk.sent.clear();
        desk.command(progress(call, 183, sdp));
        let first = desk.taken();
        desk.command(accept(call));
        assert_eq!(desk.sent.is_empty(), held);
        desk.sent.clear();
        let rack = format!("RAck: {} 1 INVITE\r\n", header(&first, "RSeq"));
        let prack = desk.inbound_with("PRACK", &user, "p1", 2, &to_tag(&first), &rack, "");
        desk.receive(PBX, &prack);
        let sent = desk.all();
        assert_eq!(status(&sent[0]), 200);
        assert_eq!(header(&sent[0], "CSeq"), "2 PRACK");
        assert_eq!(sent.len(), if held { 2 } else { 1 });
        if held {
            assert_eq!(header(&sent[1], "CSeq"), "1 INVITE");
        }
    }
}

#[test]
fn a_call_whose_200_is_held_can_still_be_refused_and_cancelled() {
    for cancelled in [false, true] {
        let mut desk = desk();
        let (user, call) = desk.ringing_with("Supported: 100rel\r\n", "v=0 offer");
        desk.command(progress(call, 183, "v=0 early"));
        desk.command(accept(call));
        desk.sent.clear();
        if cancelled {
            let cancel = desk.inbound("CANCEL", &user, "in", 1, "", "");
            desk.receive(PBX, &cancel);
            assert_eq!(statuses(&mut desk), [200, 487]);
        } else {
            desk.command(Command::Hangup {
                invite: call,
                status: None,
            });
            assert_eq!(statuses(&mut desk), [603]);
        }
        desk.wait(3_000);
        assert!(
            statuses(&mut desk).iter().all(|s| *s >= 300),
            "no 183 any more"
        );
        let ends = desk
            .events
            .iter()
            .filter(|e| matches!(e, Event::Ended { .. }));
        assert_eq!(ends.count(), 1);
    }
}

#[test]
fn an_offer_of_ours_in_a_reliable_183_is_answered_in_its_prack() {
    let mut desk = desk();
    let (user, call) = desk.ringing_with("Supported: 100rel\r\n", "");
    desk.sent.clear();
    desk.command(progress(call, 183, "v=0 offer"));
    let first = desk.taken();
    assert!(text(&first).ends_with("v=0 offer"));
    let tag = to_tag(&first);
    let rack = format!("RAck: {} 1 INVITE\r\n", header(&first, "RSeq"));
    let prack = desk
        .inbound_with("PRACK", &user, "p1", 2, &tag, &rack, "v=0 theirs")
        .to_vec();
    desk.receive(PBX, &prack);
    assert_eq!(statuses(&mut desk), [200]);
    desk.command(accept(call));
    let ok = desk.taken();
    assert!(
        Message::parse(&ok).unwrap().body().is_empty(),
        "offer and answer are done"
    );
    let ack = desk.inbound("ACK", &user, "a", 1, &tag, "");
    desk.receive(PBX, &ack);
    assert_eq!(
        desk.events.last(),
        Some(&Event::Acknowledged {
            invite: call,
            sdp: Some(b"v=0 theirs".to_vec())
        })
    );
}

#[test]
fn an_offer_of_ours_never_goes_unreliably() {
    let mut desk = desk();
    let (_, call) = desk.ringing_with("X-A: 1\r\n", "");
    desk.sent.clear();
    desk.command(progress(call, 183, "v=0 offer"));
    assert!(Message::parse(&desk.taken()).unwrap().body().is_empty());
}

#[test]
fn a_new_offer_in_a_prack_is_answered_in_its_200() {
    let mut desk = desk();
    let (user, call) = desk.ringing_with("Supported: 100rel\r\n", "v=0 offer");
    desk.sent.clear();
    desk.command(progress(call, 183, "v=0 early"));
    let first = desk.taken();
    let rack = format!("RAck: {} 1 INVITE\r\n", header(&first, "RSeq"));
    let prack = desk.inbound_with("PRACK", &user, "p1", 2, &to_tag(&first), &rack, "v=0 again");
    desk.receive(PBX, &prack);
    assert!(desk.sent.is_empty());
    let Some(Event::Offered {
        offer,
        sdp,
        fork: None,
        ..
    }) = desk.events.last()
    else {
        panic!("{:?}", desk.events)
    };
    assert_eq!(sdp.as_deref(), Some(b"v=0 again".as_slice()));
    let offer = *offer;
    desk.command(Command::AnswerOffer {
        invite: call,
        offer,
        sdp: b"v=0 agreed".to_vec(),
    });
    let ok = desk.taken();
    assert_eq!(header(&ok, "CSeq"), "2 PRACK");
    assert!(text(&ok).ends_with("v=0 agreed"));
}

#[test]
fn an_update_in_an_early_dialog_of_ours_is_answered_once_the_first_offer_was() {
    let mut desk = desk();
    let invite = desk.call();
    desk.answer_as(
        "f1",
        &invite,
        "180 Ringing",
        "Contact: <sip:bob@192.0.2.1>\r\n",
        "",
    );
    let update = desk.callee_request("UPDATE", &invite, "f1", 1, "", "v=0 new");
    desk.receive(PBX, &update);
    assert_eq!(statuses(&mut desk), [491], "our offer is still open");
    desk.answer_as("f2", &invite, "183 Progress", RELIABLY, "v=0 early");
    desk.sent.clear();
    let update = desk.callee_request("UPDATE", &invite, "f2", 1, "", "v=0 new");
    desk.receive(PBX, &update);
    let Some(Event::Offered { offer, fork, .. }) = desk.events.last() else {
        panic!("{:?}", desk.events)
    };
    assert_eq!(*fork, Some(ForkId(1)));
    let offer = *offer;
    let second = desk.callee_request("UPDATE", &invite, "f2", 2, "", "v=0 newer");
    desk.receive(PBX, &second);
    let refused = desk.taken();
    assert_eq!(status(&refused), 500);
    assert!(!header(&refused, "Retry-After").is_empty());
    let bare = desk.callee_request("UPDATE", &invite, "f2", 3, "", "");
    desk.receive(PBX, &bare);
    assert_eq!(
        statuses(&mut desk),
        [200],
        "one without an offer only refreshes"
    );
    desk.command(Command::AnswerOffer {
        invite: CALL,
        offer,
        sdp: b"v=0 agreed".to_vec(),
    });
    assert!(text(&desk.taken()).ends_with("v=0 agreed"));
    desk.answer_as(
        "f2",
        &invite,
        "200 OK",
        "Contact: <sip:bob@192.0.2.1>\r\n",
        "",
    );
    assert!(
        matches!(desk.events.last(), Some(Event::Answered { sdp: Some(sdp), .. }) if sdp == b"v=0 new"),
        "the last description counts"
    );
}

#[test]
fn an_update_of_a_fork_that_lost_is_not_left_without_an_answer() {
    let mut desk = desk();
    let invite = desk.call();
    desk.answer_as("f1", &invite, "183 Progress", RELIABLY, "v=0 one");
    desk.answer_as("f2", &invite, "183 Progress", RELIABLY, "v=0 two");
    for fork in ["f1", "f2"] {
        let update = desk.callee_request("UPDATE", &invite, fork, 1, "", "v=0 new");
        desk.receive(PBX, &update);
    }
    desk.sent.clear();
    desk.answer_as(
        "f2",
        &invite,
        "200 OK",
        "Contact: <sip:bob@192.0.2.1>\r\n",
        "",
    );
    let sent = desk.all();
    assert_eq!(status(&sent[0]), 487);
    assert_eq!(header(&sent[0], "CSeq"), "1 UPDATE");
    let offers = desk.events.iter().filter_map(|e| match e {
        Event::Offered { offer, .. } => Some(*offer),
        _ => None,
    });
    let offers: Vec<_> = offers.collect();
    desk.command(Command::AnswerOffer {
        invite: CALL,
        offer: offers[1],
        sdp: b"v=0 agreed".to_vec(),
    });
    assert_eq!(status(&desk.taken()), 200, "the winner's goes on");
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    let bye = desk.taken();
    desk.answer(&bye, "200 OK", "", "");
    desk.wait(100_000);
    assert_eq!(desk.agent.counts()[1..3], [0, 0]);
}

#[test]
fn an_update_before_we_answered_waits_or_is_taken() {
    let mut desk = desk();
    let (user, call) = desk.ringing_with("Supported: 100rel\r\n", "v=0 offer");
    desk.command(progress(call, 180, ""));
    let tag = to_tag(&desk.sent.pop().unwrap().1);
    desk.sent.clear();
    let update = desk.inbound("UPDATE", &user, "u1", 2, &tag, "v=0 new");
    desk.receive(PBX, &update);
    let refused = desk.taken();
    assert_eq!(status(&refused), 500, "their own offer has no answer yet");
    assert!(!header(&refused, "Retry-After").is_empty());
    desk.command(progress(call, 183, "v=0 early"));
    let rack = format!("RAck: {} 1 INVITE\r\n", header(&desk.taken(), "RSeq"));
    let prack = desk.inbound_with("PRACK", &user, "p1", 3, &tag, &rack, "");
    desk.receive(PBX, &prack);
    desk.sent.clear();
    let update = desk.inbound("UPDATE", &user, "u2", 4, &tag, "v=0 new");
    desk.receive(PBX, &update);
    let Some(Event::Offered {
        offer, fork: None, ..
    }) = desk.events.last()
    else {
        panic!("{:?}", desk.events)
    };
    let offer = *offer;
    desk.command(Command::RefuseOffer {
        invite: call,
        offer,
        status: 488,
    });
    assert_eq!(statuses(&mut desk), [488]);
    desk.command(accept(call));
    assert_eq!(statuses(&mut desk), [200]);
}

#[test]
fn an_open_update_is_answered_when_its_call_ends() {
    let mut desk = desk();
    let invite = desk.call();
    desk.answer(&invite, "183 Progress", RELIABLY, "v=0 early");
    let update = desk.callee_request("UPDATE", &invite, "b1", 1, "", "v=0 new");
    desk.receive(PBX, &update);
    desk.sent.clear();
    desk.answer(&invite, "486 Busy Here", "", "");
    let sent = desk.all();
    assert!(sent.iter().any(|b| text(b).starts_with("SIP/2.0 487")));
    desk.wait(100_000);
    assert_eq!(desk.agent.counts()[1..3], [0, 0]);
}

#[test]
fn a_199_ends_one_early_dialog_and_not_the_call() {
    let mut desk = desk();
    let invite = desk.call();
    assert!(header(&invite, "Supported").contains("199"));
    desk.answer_as("f1", &invite, "183 Progress", RELIABLY, "v=0 one");
    desk.answer_as(
        "f2",
        &invite,
        "180 Ringing",
        "Contact: <sip:two@192.0.2.1>\r\n",
        "",
    );
    desk.sent.clear();
    let gone = RELIABLY.replace("17", "18");
    desk.answer_as("f1", &invite, "199 Early Dialog Terminated", &gone, "");
    assert_eq!(header(&desk.taken(), "RAck"), "18 1 INVITE");
    let update = desk.callee_request("UPDATE", &invite, "f1", 1, "", "v=0 new");
    desk.receive(PBX, &update);
    assert_eq!(statuses(&mut desk), [481], "the dialog is forgotten");
    desk.answer_as(
        "f3",
        &invite,
        "180 Ringing",
        "Contact: <sip:three@192.0.2.1>\r\n",
        "",
    );
    assert_eq!(progresses(&desk), [(0, 183), (1, 180), (0, 199), (2, 180)]);
    desk.answer_as(
        "f2",
        &invite,
        "200 OK",
        "Contact: <sip:two@192.0.2.1>\r\n",
        "v=0 two",
    );
    assert!(matches!(
        desk.events.last(),
        Some(Event::Answered {
            fork: ForkId(1),
            ..
        })
    ));
}

#[test]
fn every_18x_is_told_and_keeps_the_call_ringing() {
    let mut desk = desk();
    let invite = desk.call();
    for (n, line) in [
        "181 Call Is Being Forwarded",
        "182 Queued",
        "180 Ringing",
        "183 Progress",
    ]
    .iter()
    .enumerate()
    {
        desk.answer(&invite, line, "", "");
        assert_eq!(progresses(&desk).len(), n + 1);
        desk.wait(200_000);
    }
    let ended = |desk: &Desk| desk.events.iter().any(|e| matches!(e, Event::Ended { .. }));
    assert!(!ended(&desk), "four minutes begin anew with each");
    desk.wait(41_000);
    assert!(ended(&desk), "and end at last");
}
