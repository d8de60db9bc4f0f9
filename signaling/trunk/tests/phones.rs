//! Calls of registered phones, and calls to them.

mod common;

use common::phones::*;
use common::*;
use signaling_sip::message::{HeaderName, Message};
use signaling_trunk::agent::{Input, Output};
use signaling_trunk::api::{
    CallerIdentity, Cause, Command, End, Event, Failure, InviteOptions, Line, NO_ACCOUNT, Target,
};
use signaling_trunk::lines::{TrunkMode, TrunkSpec};
use signaling_trunk::net::StreamId;

const DESK: &str = "192.0.2.31:5062";
const MOBILE: &str = "192.0.2.32:5062";

fn call_to(line: Line, user: &str) -> Command {
    Command::Invite {
        invite: CALL,
        account: NO_ACCOUNT,
        target: Target::User {
            user: user.into(),
            params: Vec::new(),
        },
        from_display: "Carol".into(),
        headers: Vec::new(),
        sdp: b"v=0 offer".to_vec(),
        options: Box::new(InviteOptions {
            line: Some(line),
            identity: CallerIdentity {
                from_user: "+4930123".into(),
                ..CallerIdentity::default()
            },
            ..InviteOptions::default()
        }),
    }
}

fn call_alice() -> Command {
    call_to(Line::Phone("alice".into()), "")
}

/// The phone answers a request of ours from where it is.
fn answer(
    desk: &mut Desk,
    from: &str,
    tag: &str,
    request: &[u8],
    status: &str,
    more: &str,
    sdp: &str,
) {
    let message = Message::parse(request).unwrap();
    let mut out = format!("SIP/2.0 {status}\r\n");
    for (id, _, value) in message.fields() {
        let value = text(value);
        let kept = matches!(
            id,
            HeaderName::Via
                | HeaderName::From
                | HeaderName::To
                | HeaderName::CallId
                | HeaderName::CSeq
        );
        if kept {
            let tagged = id == HeaderName::To && message.to().unwrap().tag().is_none();
            let tag = if tagged && !status.starts_with("100") {
                format!(";tag={tag}")
            } else {
                String::new()
            };
            out += &format!("{}: {value}{tag}\r\n", id.as_str());
        }
    }
    out += more;
    if !sdp.is_empty() {
        out += "Content-Type: application/sdp\r\n";
    }
    out += &format!("Content-Length: {}\r\n\r\n{sdp}", sdp.len());
    desk.receive(from, out.as_bytes());
}

/// Two contacts, each behind a NAT of its own, both ringing; their INVITEs.
fn ringing() -> (Desk, Vec<u8>, Vec<u8>) {
    let mut desk = Desk::with_phones(&["alice"]).restored_at_each_step();
    Phone::natted("alice", DESK).registers(&mut desk);
    let mut mobile = Phone::natted("alice", MOBILE);
    mobile.contact = "<sip:alice@10.9.9.9:5060>".into();
    mobile.registers(&mut desk);
    desk.events.clear();
    desk.command(call_alice());
    assert_eq!(desk.methods(), ["INVITE", "INVITE"]);
    let mut sent = std::mem::take(&mut desk.sent);
    sent.sort_by_key(|(to, _)| *to);
    assert_eq!(sent[0].0.to_string(), DESK);
    assert_eq!(sent[1].0.to_string(), MOBILE);
    let (one, two) = (sent[0].1.clone(), sent[1].1.clone());
    answer(
        &mut desk,
        DESK,
        "d",
        &one,
        "180 Ringing",
        "Contact: <sip:alice@10.0.0.5:5060>\r\n",
        "",
    );
    answer(
        &mut desk,
        MOBILE,
        "m",
        &two,
        "180 Ringing",
        "Contact: <sip:alice@10.9.9.9:5060>\r\n",
        "",
    );
    assert_eq!(desk.events.len(), 2);
    desk.events.clear();
    (desk, one, two)
}

fn failed(desk: &Desk) -> Option<&Failure> {
    desk.events.iter().find_map(|event| match event {
        Event::Ended {
            end: End::Failed(failure),
            ..
        } => Some(failure),
        _ => None,
    })
}

#[test]
fn a_call_to_a_phone_rings_all_its_contacts_by_their_flows_and_the_first_answer_wins() {
    let (mut desk, one, two) = ringing();
    assert!(text(&one).starts_with("INVITE sip:alice@10.0.0.5:5060 SIP/2.0\r\n"));
    assert_eq!(header(&one, "To"), "<sip:alice@office.test>");
    assert!(header(&one, "From").starts_with("\"Carol\" <sip:+4930123@office.test>;tag="));
    assert_eq!(header(&one, "Call-ID"), header(&two, "Call-ID"));
    assert_ne!(header(&one, "Via"), header(&two, "Via"));
    let contact = "Contact: <sip:alice@10.9.9.9:5060>\r\n";
    answer(
        &mut desk,
        MOBILE,
        "m",
        &two,
        "200 OK",
        contact,
        "v=0 answer",
    );
    assert!(
        matches!(&desk.events[..], [Event::Answered { sdp: Some(sdp), .. }] if sdp == b"v=0 answer")
    );
    let sent = std::mem::take(&mut desk.sent);
    let told: Vec<String> = sent
        .iter()
        .map(|(to, bytes)| format!("{to} {}", text(bytes).split(' ').next().unwrap()))
        .collect();
    assert_eq!(told, [format!("{MOBILE} ACK"), format!("{DESK} CANCEL")]);
    // The other one answered at the same moment.
    let contact = "Contact: <sip:alice@10.0.0.5:5060>\r\n";
    answer(&mut desk, DESK, "d", &one, "200 OK", contact, "v=0 late");
    assert_eq!(desk.methods(), ["ACK", "BYE"]);
    assert!(desk.sent.iter().all(|(to, _)| to.to_string() == DESK));
    desk.sent.clear();
    assert_eq!(desk.events.len(), 1, "{:?}", desk.events);
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    assert_eq!(desk.sent[0].0.to_string(), MOBILE);
    let bye = desk.taken();
    assert!(text(&bye).starts_with("BYE sip:alice@10.9.9.9:5060"));
    answer(&mut desk, MOBILE, "m", &bye, "200 OK", "", "");
    assert!(matches!(
        desk.events.last(),
        Some(Event::Ended {
            end: End::ByUs { .. },
            ..
        })
    ));
    desk.wait(60_000);
    assert_eq!(desk.agent.counts()[1..], [0; 4]);
}

#[test]
fn a_call_to_a_phone_fails_when_all_have_refused_with_the_answer_that_tells_most() {
    for (first, second, wanted) in [
        ("408 Timeout", "486 Busy Here", 486),
        ("486 Busy Here", "480 Away", 486),
        ("503 Full", "404 Nobody", 404),
        ("500 Broken", "302 Elsewhere", 302),
        ("486 Busy Here", "415 Type", 415),
    ] {
        let (mut desk, one, two) = ringing();
        answer(&mut desk, DESK, "d", &one, first, "", "");
        assert!(failed(&desk).is_none());
        answer(
            &mut desk,
            MOBILE,
            "m",
            &two,
            second,
            "Contact: <sip:bob@office.test>\r\n",
            "",
        );
        let failure = failed(&desk).unwrap();
        assert_eq!(failure.status, wanted, "{first} and {second}");
        let sent_away: &[&str] = match wanted {
            302 => &["sip:bob@office.test"],
            _ => &[],
        };
        assert_eq!(failure.contacts, sent_away);
        desk.wait(60_000);
        assert_eq!(desk.agent.counts()[1..], [0; 4]);
    }
}

#[test]
fn who_declines_for_everywhere_ends_it_for_all_contacts() {
    let (mut desk, one, two) = ringing();
    answer(&mut desk, DESK, "d", &one, "603 Decline", "", "");
    assert_eq!(failed(&desk).unwrap().status, 603);
    assert_eq!(desk.methods(), ["CANCEL", "ACK"]);
    answer(&mut desk, MOBILE, "m", &two, "487 Terminated", "", "");
    assert_eq!(desk.events.len(), 1);
    desk.wait(60_000);
    assert_eq!(desk.agent.counts()[1..], [0; 4]);
}

#[test]
fn a_caller_who_gives_up_stops_every_contact() {
    let mut desk = Desk::with_phones(&["alice"]);
    Phone::natted("alice", DESK).registers(&mut desk);
    Phone::new("alice", MOBILE).registers(&mut desk);
    desk.command(call_alice());
    let mut sent = std::mem::take(&mut desk.sent);
    sent.sort_by_key(|(to, _)| *to);
    answer(&mut desk, DESK, "d", &sent[0].1, "180 Ringing", "", "");
    desk.events.clear();
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    assert_eq!(
        desk.methods(),
        ["CANCEL"],
        "nothing came from the other one yet"
    );
    desk.sent.clear();
    answer(&mut desk, MOBILE, "m", &sent[1].1, "100 Trying", "", "");
    assert_eq!(desk.methods(), ["CANCEL"]);
    for (from, (_, invite)) in [DESK, MOBILE].iter().zip(&sent) {
        assert!(desk.events.is_empty());
        answer(&mut desk, from, "x", invite, "487 Terminated", "", "");
    }
    assert!(matches!(
        &desk.events[..],
        [Event::Ended {
            end: End::ByUs { .. },
            ..
        }]
    ));
}

#[test]
fn a_phones_contact_leads_nowhere_but_to_where_it_registered_from() {
    let mut desk = Desk::with(signaling_trunk::agent::Config {
        interfaces: vec![("192.168.7.10".parse().unwrap(), 24)],
        allowed: Vec::new(),
        ..config()
    });
    desk.say_lines(lines(&["alice"]));
    let mut alice = Phone::new("alice", DESK);
    // The PBX beside us, which believes our address.
    alice.contact = "<sip:00881612345@192.168.7.1:5060>".into();
    alice.registers(&mut desk);
    desk.sent.clear();
    desk.command(call_alice());
    assert!(desk.sent.is_empty(), "{:?}", desk.sent);
    assert_eq!(failed(&desk).map(|f| f.cause), Some(Cause::NotAllowed));
}

#[test]
fn a_phone_without_a_contact_is_480_at_once() {
    let mut desk = Desk::with_phones(&["alice"]);
    for user in ["alice", "nobody"] {
        desk.events.clear();
        desk.command(call_to(Line::Phone(user.into()), ""));
        let failure = failed(&desk).unwrap();
        assert_eq!((failure.status, failure.cause), (480, Cause::Unreachable));
    }
    assert!(desk.sent.is_empty());
}

#[test]
fn a_contact_that_answers_nothing_does_not_keep_the_others_from_talking() {
    let mut desk = Desk::with_phones(&["alice"]);
    Phone::natted("alice", DESK).registers(&mut desk);
    Phone::natted("alice", MOBILE).registers(&mut desk);
    assert_eq!(desk.agent.bindings(), 1, "the same Contact, by its URI");
    let mut other = Phone::new("alice", "192.0.2.33:5060");
    other.registers(&mut desk);
    desk.command(call_alice());
    let sent = std::mem::take(&mut desk.sent);
    desk.events.clear();
    let (_, invite) = sent.iter().find(|(to, _)| to.port() == 5060).unwrap();
    answer(
        &mut desk,
        "192.0.2.33:5060",
        "x",
        invite,
        "180 Ringing",
        "",
        "",
    );
    desk.wait(33_000);
    assert!(failed(&desk).is_none(), "the one that is there still rings");
    answer(
        &mut desk,
        "192.0.2.33:5060",
        "x",
        invite,
        "486 Busy",
        "",
        "",
    );
    assert_eq!(failed(&desk).unwrap().status, 486);
}

#[test]
fn a_path_is_the_way_back_to_the_contact() {
    let mut desk = Desk::with_phones(&["alice"]);
    let mut alice = Phone::new("alice", DESK);
    alice.registers_with(
        &mut desk,
        "Path: <sip:192.0.2.50;lr>, <sip:192.0.2.51;lr>\r\nContact: <sip:alice@10.0.0.5>\r\n",
    );
    desk.command(call_alice());
    assert_eq!(desk.sent[0].0.to_string(), "192.0.2.50:5060");
    let invite = desk.taken();
    assert!(text(&invite).starts_with("INVITE sip:alice@10.0.0.5 SIP/2.0\r\n"));
    assert_eq!(
        headers(&invite, "Route"),
        ["<sip:192.0.2.50;lr>", "<sip:192.0.2.51;lr>"]
    );
}

#[test]
fn one_phone_with_two_flows_rings_once_and_by_the_other_where_one_is_gone() {
    let instance = ";+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"";
    let mut desk = Desk::with_phones(&["alice"]).restored_at_each_step();
    for (reg_id, edge) in [(1, "192.0.2.50"), (2, "192.0.2.51")] {
        let mut alice = Phone::natted("alice", DESK);
        alice.cseq = reg_id * 10;
        let more = format!(
            "Supported: path, outbound\r\nPath: <sip:{edge};lr;ob>\r\nContact: <sip:alice@10.0.0.5>{instance};reg-id={reg_id}\r\n"
        );
        assert_eq!(status(&alice.registers_with(&mut desk, &more)), 200);
    }
    assert_eq!(desk.agent.bindings(), 2);
    desk.command(call_alice());
    let invite = desk.taken();
    assert_eq!(header(&invite, "Route"), "<sip:192.0.2.51;lr;ob>");
    answer(
        &mut desk,
        "192.0.2.51:5060",
        "e",
        &invite,
        "430 Flow Failed",
        "",
        "",
    );
    let sent = std::mem::take(&mut desk.sent);
    let again = &sent
        .iter()
        .find(|(_, b)| b.starts_with(b"INVITE"))
        .unwrap()
        .1;
    assert_eq!(header(again, "Route"), "<sip:192.0.2.50;lr;ob>");
    assert!(failed(&desk).is_none());
}

fn stream_request(
    phone: &mut Phone,
    desk: &mut Desk,
    stream: StreamId,
    method: &str,
    uri: &str,
    more: &str,
    body: &str,
) -> Vec<u8> {
    loop {
        let bytes = phone.request(method, uri, more, body);
        let bytes = text(&bytes).replace("SIP/2.0/UDP", "SIP/2.0/TCP");
        desk.step(Input::StreamData {
            stream,
            bytes: bytes.as_bytes(),
        });
        let answer = desk.sent.remove(0).1;
        if status(&answer) != 401 {
            return answer;
        }
        phone.challenged(&answer);
    }
}

#[test]
fn a_phone_behind_a_nat_is_reached_over_the_connection_that_it_registered_by() {
    let mut desk = Desk::with_phones(&["alice"]).restored_at_each_step();
    let (stream, remote) = (StreamId(1), "192.0.2.31:40000");
    desk.step(Input::StreamAccepted {
        stream,
        remote: remote.parse().unwrap(),
        secure: false,
        peer: None,
    });
    let mut alice = Phone::natted("alice", remote);
    let contact = "Contact: <sip:alice@10.0.0.5:5060;transport=tcp>\r\n";
    let ok = stream_request(
        &mut alice,
        &mut desk,
        stream,
        "REGISTER",
        "sip:office.test",
        contact,
        "",
    );
    assert_eq!(status(&ok), 200);
    desk.step(Input::StreamData {
        stream,
        bytes: b"\r\n\r\n",
    });
    assert_eq!(desk.taken(), b"\r\n", "a keep-alive is answered");
    // Longer than a silent stranger may stay.
    desk.wait(1_000_000);
    desk.sent.clear();
    assert!(desk.others.is_empty());
    desk.command(call_alice());
    assert!(
        desk.others.is_empty(),
        "no connection is opened: {:?}",
        desk.others
    );
    let invite = desk.taken();
    assert!(text(&invite).starts_with("INVITE sip:alice@10.0.0.5:5060;transport=tcp"));
    desk.step(Input::StreamClosed { stream });
    assert_eq!(
        alice.is_up(&desk),
        Some(false),
        "nothing leads there any more"
    );
    assert_eq!(desk.agent.bindings(), 0);
    assert!(failed(&desk).is_some());
}

#[test]
fn a_phone_that_listens_where_it_calls_from_outlives_its_connection() {
    let mut desk = Desk::with_phones(&["alice"]);
    let stream = StreamId(1);
    desk.step(Input::StreamAccepted {
        stream,
        remote: "192.0.2.31:40000".parse().unwrap(),
        secure: false,
        peer: None,
    });
    let mut alice = Phone::new("alice", "192.0.2.31:40000");
    let contact = "Contact: <sip:alice@192.0.2.31;transport=tcp>\r\n";
    stream_request(
        &mut alice,
        &mut desk,
        stream,
        "REGISTER",
        "sip:office.test",
        contact,
        "",
    );
    desk.step(Input::StreamClosed { stream });
    assert_eq!(desk.agent.bindings(), 1);
    desk.command(call_alice());
    assert!(
        matches!(&desk.others[..], [Output::OpenStream { remote, .. }] if remote.port() == 5060),
        "{:?}",
        desk.others
    );
}

const TO_BOB: &str = "sip:201@192.0.2.10";

#[test]
fn a_phone_calls_as_who_its_password_says_whatever_its_from_says() {
    let mut desk = Desk::with_phones(&["alice"]).restored_at_each_step();
    let mut alice = Phone::natted("alice", DESK);
    alice.registers(&mut desk);
    desk.events.clear();
    let contact = "Contact: <sip:alice@10.0.0.5:5060>\r\n";
    // The nonce of its registration does.
    let invite = alice.request("INVITE", TO_BOB, contact, "v=0 offer");
    let invite = text(&invite).replace("From: <sip:alice@", "From: \"Boss\" <sip:boss@");
    desk.receive(DESK, invite.as_bytes());
    assert_eq!(status(&desk.taken()), 100);
    let Some(Event::Incoming {
        invite,
        account,
        from,
        by_line: Some(by_line),
        ..
    }) = desk.events.pop()
    else {
        panic!("{:?}", desk.events)
    };
    assert_eq!(account, NO_ACCOUNT);
    assert_eq!(
        (from.user.as_str(), by_line.line),
        ("alice", Line::Phone("alice".into()))
    );
    assert_eq!(by_line.called.user, "201");
    assert_eq!(by_line.asserted, None);
    desk.command(Command::Accept {
        invite,
        sdp: b"v=0 answer".to_vec(),
    });
    let ok = desk.taken();
    assert_eq!(status(&ok), 200);
    let ack = text(&alice.request("ACK", TO_BOB, "", ""));
    let ack = ack.replace(
        &format!("To: <{TO_BOB}>"),
        &format!("To: <{TO_BOB}>;tag={}", to_tag(&ok)),
    );
    let ack = ack.replace("From: <sip:alice@", "From: \"Boss\" <sip:boss@");
    let ack = ack.replace(
        &format!("CSeq: {}", alice.cseq),
        &format!("CSeq: {}", alice.cseq - 1),
    );
    desk.receive(DESK, ack.as_bytes());
    assert!(matches!(
        desk.events.pop(),
        Some(Event::Acknowledged { .. })
    ));
    desk.sent.clear();
    desk.command(Command::Hangup {
        invite,
        status: None,
    });
    assert_eq!(
        desk.sent[0].0.to_string(),
        DESK,
        "over the flow, not to 10.0.0.5"
    );
    assert!(text(&desk.taken()).starts_with("BYE sip:alice@10.0.0.5:5060"));
}

#[test]
fn an_invite_is_challenged_and_credentials_made_for_another_callee_are_none() {
    let mut desk = Desk::with_phones(&["alice"]);
    let mut alice = Phone::new("alice", DESK);
    let contact = format!("Contact: {}\r\n", alice.contact);
    let first = alice.request("INVITE", TO_BOB, &contact, "v=0 offer");
    desk.receive(DESK, &first);
    let challenge = desk.taken();
    assert_eq!(status(&challenge), 401);
    alice.challenged(&challenge);
    let second = alice.request("INVITE", TO_BOB, &contact, "v=0 offer");
    let stolen = text(&second).replacen("INVITE sip:201@", "INVITE sip:+1900@", 1);
    desk.receive(DESK, stolen.as_bytes());
    assert_eq!(status(&desk.taken()), 401);
    assert!(desk.events.is_empty());
    desk.receive(
        DESK,
        text(&second)
            .replace("branch=", "branch=z9hG4bKx")
            .replace("z9hG4bKxz9", "z9")
            .as_bytes(),
    );
    assert_eq!(status(&desk.taken()), 100);
}

#[test]
fn a_phone_beside_a_trunks_server_is_known_by_its_flow_and_has_to_prove_itself() {
    let mut desk = Desk::new();
    let mut said = lines(&["alice"]);
    let address = DESK.parse::<std::net::SocketAddr>().unwrap();
    said.trunks.push(TrunkSpec {
        name: "beside".into(),
        sources: vec![(address.ip(), 32)],
        probe_s: 0,
        ..TrunkSpec::default()
    });
    desk.say_lines(said);
    let mut alice = Phone::new("alice", DESK);
    alice.registers(&mut desk);
    desk.events.clear();
    let contact = format!("Contact: {}\r\n", alice.contact);
    let invite = alice.request("INVITE", TO_BOB, &contact, "v=0 offer");
    desk.receive(DESK, &invite);
    assert_eq!(status(&desk.taken()), 100);
    assert!(matches!(
        desk.events.pop(),
        Some(Event::Incoming { by_line: Some(by_line), .. }) if by_line.line == Line::Phone("alice".into())
    ));
    // From another port of that address it is the trunk.
    let other = format!("{}:5099", address.ip());
    let mut elsewhere = Phone::new("alice", &other);
    let contact = format!("Contact: {}\r\n", elsewhere.contact);
    let invite = elsewhere.request("INVITE", TO_BOB, &contact, "v=0 offer");
    desk.receive(&other, &invite);
    assert!(matches!(
        desk.events.pop(),
        Some(Event::Incoming { by_line: Some(by_line), .. }) if by_line.line == Line::Trunk("beside".into())
    ));
}

fn with_pbx(desk: &mut Desk) {
    let mut said = lines(&["pbx", "alice"]);
    said.phones[0].trunk = Some("branch".into());
    said.trunks = vec![TrunkSpec {
        name: "branch".into(),
        mode: TrunkMode::Accept,
        trusted: true,
        ..TrunkSpec::default()
    }];
    desk.say_lines(said);
}

#[test]
fn a_pbx_that_registers_is_its_trunk_and_is_called_by_the_number_wanted() {
    let mut desk = Desk::new();
    with_pbx(&mut desk);
    let mut pbx = Phone::new("pbx", "192.0.2.60:5060");
    assert_eq!(status(&pbx.registers(&mut desk)), 200);
    let trunk = || Line::Trunk("branch".into());
    let up = |desk: &Desk| {
        desk.events.iter().rev().find_map(|event| match event {
            Event::Line { line, up, .. } if *line == trunk() => Some(*up),
            _ => None,
        })
    };
    assert_eq!(up(&desk), Some(true));
    desk.command(call_to(trunk(), "+4989456"));
    assert_eq!(desk.sent[0].0.to_string(), "192.0.2.60:5060");
    let invite = desk.taken();
    assert!(text(&invite).starts_with("INVITE sip:+4989456@192.0.2.60:5060 SIP/2.0\r\n"));
    assert!(header(&invite, "To").starts_with("<sip:+4989456@"));
    desk.events.clear();
    let more = "P-Asserted-Identity: \"X\" <sip:+49891@pbx>\r\nContact: <sip:pbx@192.0.2.60>\r\n";
    let call = pbx.request("INVITE", TO_BOB, more, "v=0 offer");
    let call = text(&call).replace("From: <sip:pbx@", "From: <sip:555@");
    desk.receive("192.0.2.60:5060", call.as_bytes());
    let Some(Event::Incoming {
        from,
        by_line: Some(by_line),
        ..
    }) = desk.events.pop()
    else {
        panic!("{:?}", desk.events)
    };
    assert_eq!(by_line.line, trunk());
    desk.sent.clear();
    assert_eq!(from.user, "555");
    assert_eq!(by_line.asserted.unwrap().user, "+49891");
    pbx.registers_with(&mut desk, "Contact: *\r\nExpires: 0\r\n");
    assert_eq!(up(&desk), Some(false));
}

#[test]
fn a_pbx_with_two_contacts_is_tried_at_the_other_one_after_as_long_as_the_operator_set() {
    let mut desk = Desk::new().restored_at_each_step();
    with_pbx(&mut desk);
    for from in ["192.0.2.60:5060", "192.0.2.61:5060"] {
        Phone::new("pbx", from).registers(&mut desk);
    }
    desk.command(call_to(Line::Trunk("branch".into()), "+4989456"));
    assert_eq!(desk.sent[0].0.to_string(), "192.0.2.61:5060");
    let first = desk.taken();
    desk.wait(4_000);
    let sent = std::mem::take(&mut desk.sent);
    let (to, second) = sent.last().unwrap();
    assert_eq!(to.to_string(), "192.0.2.60:5060");
    assert!(second.starts_with(b"INVITE sip:+4989456@192.0.2.60:5060"));
    // The first one was only slow.
    let contact = "Contact: <sip:pbx@192.0.2.61>\r\n";
    answer(
        &mut desk,
        "192.0.2.61:5060",
        "a",
        &first,
        "200 OK",
        contact,
        "v=0",
    );
    assert_eq!(desk.methods(), ["ACK", "BYE"]);
    let contact = "Contact: <sip:pbx@192.0.2.60>\r\n";
    answer(
        &mut desk,
        "192.0.2.60:5060",
        "b",
        second,
        "200 OK",
        contact,
        "v=0 answer",
    );
    assert!(matches!(desk.events.last(), Some(Event::Answered { .. })));
}

#[test]
fn the_requests_of_a_registered_phone_are_known_by_their_flow() {
    let mut desk = Desk::with_phones(&["alice", "bob"]);
    let mut alice = Phone::new("alice", DESK);
    alice.registers(&mut desk);
    let path = |remote: &str| signaling_trunk::net::Path::Datagram {
        local: US.parse().unwrap(),
        remote: remote.parse().unwrap(),
    };
    let who = |user: &str, from: &str| {
        let message = Phone::new(user, from).request("MESSAGE", TO_BOB, "", "");
        let message = Message::parse(&message).unwrap();
        desk.agent.is_phone(&message, path(from))
    };
    assert_eq!(who("alice", DESK), Some("alice".into()));
    assert_eq!(who("alice", MOBILE), None);
    assert_eq!(who("bob", DESK), None);
    assert!(desk.agent.has_phone_at("192.0.2.31".parse().unwrap()));
    assert!(!desk.agent.has_phone_at("192.0.2.32".parse().unwrap()));
    desk.wait(3_600_000);
    assert!(!desk.agent.has_phone_at("192.0.2.31".parse().unwrap()));
}
