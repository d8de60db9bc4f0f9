//! SIP over TLS and SIPS, and everything of it over IPv6 (RFC 3261 §26, RFC 5922, RFC 5923, RFC 5630).

mod common;

use common::{CALL, Desk, header, invite, spec, status, text};
use signaling_sip::message::{HeaderName, Message};
use signaling_trunk::agent::{Config, Input, Output};
use signaling_trunk::allowed::Entry;
use signaling_trunk::api::{
    AccountId, AccountSpec, Cause, Command, End, Event, Failure, InviteId, InviteOptions, Line,
    NO_ACCOUNT, Target,
};
use signaling_trunk::lines::{Lines, TlsSpec, TrunkMode, TrunkSpec};
use signaling_trunk::net::{Listener, StreamId, Transport};
use signaling_trunk::targets::{Answer, Question, Service};
use signaling_trunk::tls::{PeerCertificate, TlsOpen};
use std::net::SocketAddr;

fn config() -> Config {
    let mut config = common::config();
    config.listeners.push(Listener {
        transport: Transport::Tls,
        bound: "192.0.2.10:5061".parse().unwrap(),
        announce: None,
        name: String::new(),
    });
    config
}

/// What was opened since: stream, to where, and what must be there.
fn opened(desk: &mut Desk) -> Vec<(StreamId, SocketAddr, Option<TlsOpen>)> {
    let others = std::mem::take(&mut desk.others);
    let opened = others.into_iter().filter_map(|output| match output {
        Output::OpenStream {
            stream,
            remote,
            tls,
            ..
        } => Some((stream, remote, tls)),
        _ => None,
    });
    opened.collect()
}

/// What is asked of the name server, which knows nothing of NAPTR.
fn asked(desk: &mut Desk) -> Vec<(u64, Question)> {
    let others = std::mem::take(&mut desk.others);
    let asked = others.into_iter().filter_map(|output| match output {
        Output::Ask { query, question } => Some((query, question)),
        _ => None,
    });
    let (pointers, asked): (Vec<_>, Vec<_>) =
        asked.partition(|(_, question)| matches!(question, Question::Pointers { .. }));
    for (query, _) in pointers {
        let answer = Answer::Nothing;
        desk.step(Input::Answer { query, answer });
    }
    asked
}

fn named(name: &str) -> TlsOpen {
    TlsOpen {
        profile: String::new(),
        server_name: name.into(),
    }
}

/// 200 to a request that went over a stream.
fn answered(desk: &mut Desk, stream: StreamId, request: &[u8], line: &str, headers: &str) {
    let message = Message::parse(request).unwrap();
    let mut out = format!("SIP/2.0 {line}\r\n");
    for (id, _, value) in message.fields() {
        let value = text(value);
        match id {
            HeaderName::To if message.to().unwrap().tag().is_none() => {
                out += &format!("To: {value};tag=b1\r\n");
            }
            HeaderName::Via
            | HeaderName::From
            | HeaderName::To
            | HeaderName::CallId
            | HeaderName::CSeq => out += &format!("{}: {value}\r\n", id.as_str()),
            _ => {}
        }
    }
    out += &format!("{headers}Content-Length: 0\r\n\r\n");
    desk.step(Input::StreamData {
        stream,
        bytes: out.as_bytes(),
    });
}

fn open_account(desk: &mut Desk, spec: AccountSpec) {
    desk.command(Command::OpenAccount {
        account: AccountId(1),
        spec,
    });
}

/// Answers what was asked with the address of the PBX.
fn found(desk: &mut Desk) {
    let answer = Answer::Addresses(vec!["192.0.2.1".parse().unwrap()]);
    for (query, _) in asked(desk) {
        let answer = answer.clone();
        desk.step(Input::Answer { query, answer });
    }
}

/// An account that registered over TLS, by the name `pbx.test` at 192.0.2.1:5061.
fn registered(desk: &mut Desk) -> StreamId {
    open_account(desk, spec("sip:pbx.test:5061;transport=tls"));
    let [(query, _)] = asked(desk)[..] else {
        panic!("one question")
    };
    desk.step(Input::Answer {
        query,
        answer: Answer::Addresses(vec!["192.0.2.1".parse().unwrap()]),
    });
    let [(stream, remote, ref tls)] = opened(desk)[..] else {
        panic!("one connection")
    };
    assert_eq!(remote, "192.0.2.1:5061".parse().unwrap());
    assert_eq!(*tls, Some(named("pbx.test")));
    desk.step(Input::StreamConnected { stream });
    let register = desk.taken();
    let contact = header(&register, "Contact");
    let contact = format!("Contact: {contact}\r\n");
    answered(desk, stream, &register, "200 OK", &contact);
    assert!(matches!(desk.events.pop(), Some(Event::Registered { .. })));
    stream
}

fn failure(desk: &Desk) -> Failure {
    match desk.events.last() {
        Some(Event::Ended {
            end: End::Failed(failure),
            ..
        }) => failure.clone(),
        other => panic!("{other:?}"),
    }
}

fn call(desk: &mut Desk, uri: &str) {
    desk.command(Command::Invite {
        invite: CALL,
        account: AccountId(1),
        target: Target::Uri {
            uri: uri.into(),
            params: Vec::new(),
        },
        from_display: String::new(),
        headers: Vec::new(),
        sdp: b"v=0 offer".to_vec(),
        options: Default::default(),
    });
}

#[test]
fn a_registration_and_its_calls_go_by_one_tls_connection_and_say_so() {
    let mut desk = Desk::with(config()).restored_at_each_step();
    let stream = registered(&mut desk);
    desk.command(invite(b"v=0 offer"));
    found(&mut desk);
    let invite = desk.taken();
    assert!(opened(&mut desk).is_empty(), "the connection is there");
    let via = header(&invite, "Via");
    assert!(via.starts_with("SIP/2.0/TLS 192.0.2.10:5061;"), "{via}");
    let contact = header(&invite, "Contact");
    assert!(contact.starts_with("<sip:"), "{contact}");
    assert!(contact.contains("@192.0.2.10:5061;transport=tls>"));
    // The callee's Contact is the bare address of the PBX, whose certificate holds its name alone.
    let ok = "Contact: <sip:bob@192.0.2.1:5061;transport=tls>\r\n";
    answered(&mut desk, stream, &invite, "200 OK", ok);
    let ack = desk.taken();
    assert!(text(&ack).starts_with("ACK sip:bob@192.0.2.1:5061;transport=tls"));
    assert!(opened(&mut desk).is_empty(), "the same connection serves");
    // It broke meanwhile: the new one must find the PBX by its name again.
    desk.step(Input::StreamClosed { stream });
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    let opened = opened(&mut desk);
    let bye = opened
        .iter()
        .find(|(_, to, _)| *to == "192.0.2.1:5061".parse().unwrap());
    assert_eq!(bye.unwrap().2, Some(named("pbx.test")));
}

#[test]
fn the_tls_of_a_name_is_found_by_srv_and_checked_by_the_name_that_was_asked_for() {
    let mut desk = Desk::with(config());
    open_account(&mut desk, spec("sips:pbx.test"));
    let questions = asked(&mut desk);
    let [(query, question)] = &questions[..] else {
        panic!("{questions:?}")
    };
    let name = "_sips._tcp.pbx.test".to_string();
    assert_eq!(*question, Question::Services { name });
    desk.step(Input::Answer {
        query: *query,
        answer: Answer::Services(vec![Service {
            priority: 1,
            weight: 1,
            port: 5071,
            target: "edge.host.test".into(),
        }]),
    });
    let questions = asked(&mut desk);
    desk.step(Input::Answer {
        query: questions[0].0,
        answer: Answer::Addresses(vec!["192.0.2.1".parse().unwrap()]),
    });
    let opened = opened(&mut desk);
    assert_eq!(opened[0].1, "192.0.2.1:5071".parse().unwrap());
    assert_eq!(opened[0].2, Some(named("pbx.test")));
}

#[test]
fn without_srv_tls_goes_to_5061_and_never_to_another_transport() {
    for proxy in ["sips:pbx.test", "sip:pbx.test;transport=tls"] {
        let mut desk = Desk::with(config());
        open_account(
            &mut desk,
            AccountSpec {
                // What pages say where nobody chose a port.
                port: if proxy.starts_with("sips") { 0 } else { 5060 },
                ..spec(proxy)
            },
        );
        let questions = asked(&mut desk);
        assert_eq!(questions.len(), 1, "{questions:?}");
        desk.step(Input::Answer {
            query: questions[0].0,
            answer: Answer::Nothing,
        });
        let questions = asked(&mut desk);
        desk.step(Input::Answer {
            query: questions[0].0,
            answer: Answer::Addresses(vec!["192.0.2.1".parse().unwrap()]),
        });
        let [(stream, remote, ref tls)] = opened(&mut desk)[..] else {
            panic!("one connection")
        };
        assert_eq!(remote, "192.0.2.1:5061".parse().unwrap());
        assert!(tls.is_some());
        let why = "the certificate is for another name";
        desk.step(Input::StreamFailed {
            stream,
            why: why.into(),
        });
        assert!(desk.sent.is_empty(), "not by UDP");
        let Some(Event::RegistrationFailed { failure, .. }) = desk.events.pop() else {
            panic!("{:?}", desk.events)
        };
        assert_eq!(
            (failure.cause, failure.reason.as_str()),
            (Cause::Unreachable, why)
        );
    }
}

#[test]
fn a_sips_target_goes_by_tls_though_the_account_is_plain() {
    let mut desk = Desk::registered_with(config());
    call(&mut desk, "sips:bob@far.test");
    let [(stream, remote, ref tls)] = opened(&mut desk)[..] else {
        panic!("one connection")
    };
    // The account's proxy is 192.0.2.1:5060, where no TLS is spoken.
    assert_eq!(remote, "192.0.2.1:5061".parse().unwrap());
    assert_eq!(*tls, Some(named("192.0.2.1")));
    desk.step(Input::StreamConnected { stream });
    let invite = desk.taken();
    assert!(text(&invite).starts_with("INVITE sips:bob@far.test SIP/2.0"));
    assert_eq!(header(&invite, "To"), "<sips:bob@far.test>");
    let contact = header(&invite, "Contact");
    assert!(
        contact.starts_with("<sips:") && contact.ends_with("@192.0.2.10:5061>"),
        "{contact}"
    );
    let ok = "Contact: <sips:bob@192.0.2.1>\r\n";
    answered(&mut desk, stream, &invite, "200 OK", ok);
    assert!(text(&desk.taken()).starts_with("ACK sips:bob@192.0.2.1 SIP/2.0"));
    assert!(opened(&mut desk).is_empty());
}

#[test]
fn a_sips_call_that_cannot_go_by_tls_fails_and_says_why() {
    // The way is by UDP, says the operator of the account.
    let mut desk = Desk::with(config());
    let plain = AccountSpec {
        register: false,
        ..spec("sip:192.0.2.1;transport=udp")
    };
    open_account(&mut desk, plain.clone());
    call(&mut desk, "sips:bob@far.test");
    let told = failure(&desk);
    assert_eq!(told.cause, Cause::Unreachable);
    assert_eq!(
        told.reason,
        "sips: asks for TLS, and the way to it is by UDP"
    );
    // We have no TLS of our own.
    let mut desk = Desk::with(common::config());
    open_account(
        &mut desk,
        AccountSpec {
            proxy: "192.0.2.1".into(),
            ..plain
        },
    );
    call(&mut desk, "sips:bob@far.test");
    let told = failure(&desk);
    assert_eq!(told.cause, Cause::Unreachable);
    assert_eq!(told.reason, "sip.listen has no tls: address to go out by");
    assert!(desk.sent.is_empty());
}

#[test]
fn a_3xx_leads_from_sip_to_sips_and_not_back() {
    for (target, contact, followed) in [
        ("sip:bob@192.0.2.1", "sips:bob@192.0.2.7", true),
        ("sips:bob@192.0.2.1", "sip:bob@192.0.2.7", false),
        ("sips:bob@192.0.2.1", "sips:bob@192.0.2.7", true),
    ] {
        let mut desk = Desk::with(config());
        let account = AccountSpec {
            register: false,
            domain: "192.0.2.1".into(),
            ..spec("")
        };
        open_account(&mut desk, account);
        call(&mut desk, target);
        let stream = opened(&mut desk).first().map(|(stream, ..)| *stream);
        if let Some(stream) = stream {
            desk.step(Input::StreamConnected { stream });
        }
        let invite = desk.taken();
        let moved = format!("Contact: <{contact}>\r\n");
        match stream {
            Some(stream) => answered(&mut desk, stream, &invite, "302 Moved", &moved),
            None => desk.answer(&invite, "302 Moved", &moved, ""),
        }
        let to = opened(&mut desk)
            .first()
            .map(|(_, remote, tls)| (*remote, tls.clone()));
        let expected = ("192.0.2.7:5061".parse().unwrap(), Some(named("192.0.2.7")));
        assert_eq!(to, followed.then_some(expected), "{target} {contact}");
    }
}

#[test]
fn a_request_for_sips_over_tls_is_served_and_answered_with_a_sips_contact() {
    let mut desk = Desk::with(config());
    let stream = registered(&mut desk);
    desk.command(invite(b"v=0 offer"));
    found(&mut desk);
    let ours = desk.taken();
    let user = desk.contact_user(&ours);
    answered(&mut desk, stream, &ours, "486 Busy Here", "");
    desk.sent.clear();
    desk.events.clear();
    let message = text(&desk.inbound("INVITE", &user, "s1", 1, "", "v=0 offer"))
        .replace("INVITE sip:", "INVITE sips:")
        .replace("SIP/2.0/UDP", "SIP/2.0/TLS")
        .replace("<sip:bob@192.0.2.1>", "<sips:bob@192.0.2.1>");
    // Over a connection that the PBX opened.
    let theirs = StreamId(9);
    desk.step(Input::StreamAccepted {
        stream: theirs,
        remote: "192.0.2.1:40000".parse().unwrap(),
        secure: true,
        peer: None,
    });
    desk.step(Input::StreamData {
        stream: theirs,
        bytes: message.as_bytes(),
    });
    let Some(Event::Incoming { invite, .. }) = desk.events.pop() else {
        panic!("{:?}", desk.events)
    };
    desk.sent.clear();
    desk.command(Command::Accept {
        invite,
        sdp: b"v=0 answer".to_vec(),
    });
    let ok = desk.taken();
    assert_eq!(status(&ok), 200);
    let contact = header(&ok, "Contact");
    assert_eq!(contact, format!("<sips:{user}@192.0.2.10:5061>"));
    let via = header(&ok, "Via");
    assert!(
        via.starts_with("SIP/2.0/TLS 192.0.2.1;") && via.contains("rport=40000"),
        "{via}"
    );
}

/// An OPTIONS of a peer over a stream, with these Via parameters.
fn options(via: &str) -> String {
    format!(
        "OPTIONS sip:192.0.2.10 SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.1:5061;branch=z9hG4bKo;rport{via}\r\n\
         From: <sip:x@pbx.test>;tag=1\r\nTo: <sip:192.0.2.10>\r\nCall-ID: o\r\nCSeq: 1 OPTIONS\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

#[test]
fn a_connection_that_a_peer_opened_is_used_for_it_only_if_alias_and_certificate_allow() {
    let shown = |name: &str, trusted: bool| {
        Some(PeerCertificate {
            sha256: [1; 32],
            names: vec![name.into()],
            trusted_by: if trusted {
                vec![String::new()]
            } else {
                Vec::new()
            },
        })
    };
    for (alias, peer, secure, reused) in [
        (";alias", shown("pbx.test", true), true, true),
        ("", shown("pbx.test", true), true, false),
        (";alias", shown("pbx.test", false), true, false),
        (";alias", shown("evil.test", true), true, false),
        (";alias", None, true, false),
        (";alias", shown("pbx.test", true), false, false),
    ] {
        let case = format!("{alias} {peer:?} {secure}");
        let mut desk = Desk::with(config());
        desk.step(Input::StreamAccepted {
            stream: StreamId(9),
            remote: "192.0.2.1:40000".parse().unwrap(),
            secure,
            peer,
        });
        desk.step(Input::StreamData {
            stream: StreamId(9),
            bytes: options(alias).as_bytes(),
        });
        desk.sent.clear();
        open_account(&mut desk, spec("sip:pbx.test:5061;transport=tls"));
        let [(query, _)] = asked(&mut desk)[..] else {
            panic!("one question")
        };
        desk.step(Input::Answer {
            query,
            answer: Answer::Addresses(vec!["192.0.2.1".parse().unwrap()]),
        });
        assert_eq!(opened(&mut desk).is_empty(), reused, "{case}");
        assert_eq!(desk.sent.len(), usize::from(reused), "{case}");
    }
}

#[test]
fn a_connection_is_not_shared_by_two_names_at_one_address() {
    let mut desk = Desk::with(config());
    registered(&mut desk);
    desk.command(Command::OpenAccount {
        account: AccountId(2),
        spec: spec("sip:other.test:5061;transport=tls"),
    });
    let [(query, _)] = asked(&mut desk)[..] else {
        panic!("one question")
    };
    desk.step(Input::Answer {
        query,
        answer: Answer::Addresses(vec!["192.0.2.1".parse().unwrap()]),
    });
    assert_eq!(opened(&mut desk)[0].2, Some(named("other.test")));
}

/// Trunks with rules of their own, each at the same server.
fn trunks(desk: &mut Desk, specs: Vec<TrunkSpec>) {
    desk.step(Input::Lines(Box::new(Lines {
        trunks: specs,
        ..Lines::default()
    })));
    desk.events.clear();
}

fn trunk(name: &str, tls: TlsSpec) -> TrunkSpec {
    TrunkSpec {
        name: name.into(),
        servers: vec!["sip:192.0.2.1;transport=tls".into()],
        domain: format!("{name}.test"),
        login: "acme".into(),
        probe_s: 0,
        tls: Some(tls),
        ..TrunkSpec::default()
    }
}

fn call_by(desk: &mut Desk, number: u64, name: &str) {
    desk.command(Command::Invite {
        invite: InviteId(number),
        account: NO_ACCOUNT,
        target: Target::User {
            user: "+4930123".into(),
            params: Vec::new(),
        },
        from_display: String::new(),
        headers: Vec::new(),
        sdp: b"v=0 offer".to_vec(),
        options: Box::new(InviteOptions {
            line: Some(Line::Trunk(name.into())),
            ..InviteOptions::default()
        }),
    });
}

#[test]
fn a_probe_over_tls_goes_to_the_name_that_the_operator_wrote() {
    let mut desk = Desk::with(config());
    let mut probed = trunk("carrier", TlsSpec::default());
    probed.probe_s = 30;
    probed.servers = vec!["sip:sbc.carrier.test:5061;transport=tls".into()];
    trunks(&mut desk, vec![probed]);
    for (query, question) in asked(&mut desk) {
        let answer = match question {
            Question::Addresses { .. } => Answer::Addresses(vec!["192.0.2.1".parse().unwrap()]),
            _ => Answer::Nothing,
        };
        desk.step(Input::Answer { query, answer });
    }
    let opened = opened(&mut desk);
    assert_eq!(opened.len(), 1, "{opened:?}");
    let tls = opened[0].2.clone().expect("TLS");
    assert_eq!(
        (tls.profile.as_str(), tls.server_name.as_str()),
        ("carrier", "sbc.carrier.test")
    );
}

#[test]
fn a_trunk_that_has_changed_leaves_by_its_own_tls() {
    let mut desk = Desk::with(config());
    let registers = |login: &str| {
        let pinned = TlsSpec {
            pinned_sha256: Some([7; 32]),
            ..TlsSpec::default()
        };
        TrunkSpec {
            mode: TrunkMode::Register,
            login: login.into(),
            password: "geheim".into(),
            ..trunk("carrier", pinned)
        }
    };
    trunks(&mut desk, vec![registers("acme")]);
    desk.wait(1_000);
    let first = opened(&mut desk);
    assert_eq!(first.len(), 1);
    desk.step(Input::StreamConnected { stream: first[0].0 });
    let register = desk.taken();
    let contact = header(&register, "Contact");
    let contact = format!("Contact: {contact}\r\n");
    answered(&mut desk, first[0].0, &register, "200 OK", &contact);
    desk.step(Input::StreamClosed { stream: first[0].0 });
    trunks(&mut desk, vec![registers("other")]);
    let again = opened(&mut desk);
    assert!(!again.is_empty());
    for (_, _, tls) in again {
        assert_eq!(tls.expect("TLS").profile, "carrier");
    }
}

#[test]
fn each_trunk_has_connections_of_its_own_by_its_own_rules_and_listener() {
    let mut config = config();
    config.listeners.push(Listener {
        transport: Transport::Tls,
        bound: "192.0.2.10:5071".parse().unwrap(),
        announce: None,
        name: "outside".into(),
    });
    let mut desk = Desk::with(config).restored_at_each_step();
    let named = TlsSpec {
        server_name: "edge.b.test".into(),
        ..TlsSpec::default()
    };
    let b = TrunkSpec {
        listener: "outside".into(),
        ..trunk("b", named)
    };
    let specs = vec![trunk("a", TlsSpec::default()), b.clone()];
    trunks(&mut desk, specs.clone());
    call_by(&mut desk, 2, "a");
    let [(of_a, remote, ref tls)] = opened(&mut desk)[..] else {
        panic!("one connection")
    };
    assert_eq!(remote, "192.0.2.1:5061".parse().unwrap());
    let wanted = |profile: &str, server_name: &str| TlsOpen {
        profile: profile.into(),
        server_name: server_name.into(),
    };
    assert_eq!(*tls, Some(wanted("a", "192.0.2.1")));
    desk.step(Input::StreamConnected { stream: of_a });
    assert!(header(&desk.taken(), "Via").starts_with("SIP/2.0/TLS 192.0.2.10:5061;"));
    // The other trunk, at the same address, finds no connection that was checked by its rules.
    call_by(&mut desk, 4, "b");
    let [(of_b, remote, ref tls)] = opened(&mut desk)[..] else {
        panic!("a connection of its own")
    };
    assert_eq!(remote, "192.0.2.1:5061".parse().unwrap());
    assert_eq!(*tls, Some(wanted("b", "edge.b.test")));
    desk.step(Input::StreamConnected { stream: of_b });
    assert!(header(&desk.taken(), "Via").starts_with("SIP/2.0/TLS 192.0.2.10:5071;"));
    // And a page's account, by the same address, none at all.
    open_account(&mut desk, spec("sip:192.0.2.1;transport=tls"));
    assert_eq!(opened(&mut desk)[0].2, Some(wanted("", "192.0.2.1")));

    // The operator trusts others for b: what was checked before is not enough any more.
    let mut changed = b;
    changed.tls = Some(TlsSpec {
        pinned_sha256: Some([1; 32]),
        ..TlsSpec::default()
    });
    desk.others.clear();
    trunks(&mut desk, vec![specs[0].clone(), changed]);
    let closed: Vec<_> = desk
        .others
        .iter()
        .filter_map(|output| match output {
            Output::CloseStream { stream } => Some(*stream),
            _ => None,
        })
        .collect();
    assert_eq!(closed, [of_b]);
}

#[test]
fn inside_a_dialog_a_trunks_server_is_known_by_the_name_that_it_proved() {
    let mut desk = Desk::with(config()).restored_at_each_step();
    let by_name = TrunkSpec {
        servers: vec!["sip:edge.host.test:5061;transport=tls".into()],
        ..trunk("a", TlsSpec::default())
    };
    trunks(&mut desk, vec![by_name]);
    found(&mut desk);
    call_by(&mut desk, 2, "a");
    let [(query, _)] = asked(&mut desk)[..] else {
        panic!("one question")
    };
    desk.step(Input::Answer {
        query,
        answer: Answer::Addresses(vec!["192.0.2.1".parse().unwrap()]),
    });
    let wanted = TlsOpen {
        profile: "a".into(),
        server_name: "edge.host.test".into(),
    };
    let [(stream, _, ref tls)] = opened(&mut desk)[..] else {
        panic!("one connection")
    };
    assert_eq!(*tls, Some(wanted.clone()));
    desk.step(Input::StreamConnected { stream });
    let invite = desk.taken();
    let ok = "Contact: <sip:bob@192.0.2.1:5061;transport=tls>\r\n";
    answered(&mut desk, stream, &invite, "200 OK", ok);
    assert!(text(&desk.taken()).starts_with("ACK "));
    assert!(opened(&mut desk).is_empty(), "the same connection serves");
    desk.step(Input::StreamClosed { stream });
    desk.command(Command::Hangup {
        invite: InviteId(2),
        status: None,
    });
    assert_eq!(opened(&mut desk)[0].2, Some(wanted));
}

#[test]
fn the_calls_of_a_trunk_that_is_gone_keep_their_connection() {
    let mut desk = Desk::with(config());
    trunks(&mut desk, vec![trunk("a", TlsSpec::default())]);
    call_by(&mut desk, 2, "a");
    let stream = opened(&mut desk)[0].0;
    desk.step(Input::StreamConnected { stream });
    let invite = desk.taken();
    let ok = "Contact: <sip:bob@192.0.2.1:5061;transport=tls>\r\n";
    answered(&mut desk, stream, &invite, "200 OK", ok);
    assert!(text(&desk.taken()).starts_with("ACK "));
    trunks(&mut desk, Vec::new());
    desk.command(Command::Hangup {
        invite: InviteId(2),
        status: None,
    });
    assert!(text(&desk.taken()).starts_with("BYE "));
    assert!(opened(&mut desk).is_empty());
}

#[test]
fn a_trunk_that_wants_a_client_certificate_is_called_from_by_nobody_else() {
    let wanted = TlsSpec {
        client_certificate: true,
        ..TlsSpec::default()
    };
    let by_address = TrunkSpec {
        sources: vec![("192.0.2.0".parse().unwrap(), 24)],
        ..trunk("carrier", wanted.clone())
    };
    // Known by nothing but its certificate.
    let by_certificate = TrunkSpec {
        servers: Vec::new(),
        ..trunk("carrier", wanted)
    };
    let peer = |name: &str, trusted_by: &str| {
        Some(PeerCertificate {
            sha256: [1; 32],
            names: vec![name.into()],
            trusted_by: vec![trusted_by.into()],
        })
    };
    for spec in [by_address, by_certificate] {
        for (secure, peer, comes_in) in [
            (false, None, false),
            (true, None, false),
            (true, peer("carrier.test", ""), false),
            (true, peer("other.test", "carrier"), false),
            (true, peer("carrier.test", "carrier"), true),
        ] {
            let mut desk = Desk::with(config());
            trunks(&mut desk, vec![spec.clone()]);
            desk.sent.clear();
            let case = format!("{:?} {secure} {peer:?}", spec.servers);
            desk.step(Input::StreamAccepted {
                stream: StreamId(9),
                remote: "192.0.2.7:40000".parse().unwrap(),
                secure,
                peer,
            });
            let message = text(&desk.inbound("INVITE", "+4930123", "s1", 1, "", "v=0 offer"));
            desk.step(Input::StreamData {
                stream: StreamId(9),
                bytes: message.as_bytes(),
            });
            let line = desk.events.iter().find_map(|event| match event {
                Event::Incoming { by_line, .. } => by_line.as_ref().map(|by| by.line.clone()),
                _ => None,
            });
            let expected = comes_in.then(|| Line::Trunk("carrier".into()));
            assert_eq!(line, expected, "{case}");
        }
    }
}

/// A gateway that has nothing but IPv6.
fn v6() -> Config {
    let listener = |transport: Transport| Listener {
        transport,
        bound: SocketAddr::new("2001:db8::10".parse().unwrap(), transport.port()),
        announce: None,
        name: String::new(),
    };
    Config {
        listeners: [Transport::Udp, Transport::Tcp, Transport::Tls]
            .map(listener)
            .to_vec(),
        interfaces: vec![("2001:db8::10".parse().unwrap(), 64)],
        allowed: vec![Entry::parse("[2001:db8::]/32").unwrap()],
        user_agent: "Trunkgate".into(),
        ..Config::default()
    }
}

#[test]
fn over_ipv6_via_and_contact_have_brackets_whatever_the_transport() {
    for (parameter, via, contact) in [
        (
            "",
            "SIP/2.0/UDP [2001:db8::10]:5060;",
            "@[2001:db8::10]:5060>",
        ),
        (
            ";transport=tcp",
            "SIP/2.0/TCP [2001:db8::10]:5060;",
            "@[2001:db8::10]:5060;transport=tcp>",
        ),
        (
            ";transport=tls",
            "SIP/2.0/TLS [2001:db8::10]:5061;",
            "@[2001:db8::10]:5061;transport=tls>",
        ),
    ] {
        let mut agent = signaling_trunk::agent::Agent::new(v6(), [3; 32]);
        let account = spec(&format!("sip:[2001:db8::1]{parameter}"));
        let open = Command::OpenAccount {
            account: AccountId(1),
            spec: account,
        };
        let now = signaling_sip::time::Instant(0);
        agent.handle(Input::Command(open), now);
        let register = loop {
            match agent.poll_output().expect("something sent") {
                Output::OpenStream {
                    stream,
                    remote,
                    tls,
                    ..
                } => {
                    assert_eq!(
                        remote.ip(),
                        "2001:db8::1".parse::<std::net::IpAddr>().unwrap()
                    );
                    let name = tls.map(|tls| tls.server_name);
                    assert!(name.is_none_or(|name| name == "2001:db8::1"));
                    agent.handle(Input::StreamConnected { stream }, now);
                }
                Output::Datagram {
                    local,
                    remote,
                    bytes,
                } => {
                    assert_eq!(local, "[2001:db8::10]:5060".parse().unwrap());
                    assert_eq!(remote, "[2001:db8::1]:5060".parse().unwrap());
                    break bytes;
                }
                Output::StreamData { bytes, .. } => break bytes,
                other => panic!("{other:?}"),
            }
        };
        let told = header(&register, "Via");
        assert!(told.starts_with(via), "{told}");
        let told = header(&register, "Contact");
        assert!(told.contains(contact), "{told}");
    }
}

#[test]
fn over_ipv6_received_and_rport_say_where_a_request_came_from() {
    let mut agent = signaling_trunk::agent::Agent::new(v6(), [3; 32]);
    let now = signaling_sip::time::Instant(0);
    let remote: SocketAddr = "[2001:db8::7]:40000".parse().unwrap();
    let request = |transport: &str| {
        options("")
            .replace(
                "SIP/2.0/TLS 192.0.2.1:5061",
                &format!("SIP/2.0/{transport} [2001:db8::8]:5070"),
            )
            .replace("192.0.2.10", "[2001:db8::10]")
    };
    agent.handle(
        Input::Datagram {
            local: "[2001:db8::10]:5060".parse().unwrap(),
            remote,
            bytes: request("UDP").as_bytes(),
        },
        now,
    );
    for (number, secure) in [(1, false), (3, true)] {
        let stream = StreamId(number);
        agent.handle(
            Input::StreamAccepted {
                stream,
                remote,
                secure,
                peer: None,
            },
            now,
        );
        let bytes = request(if secure { "TLS" } else { "TCP" });
        agent.handle(
            Input::StreamData {
                stream,
                bytes: bytes.as_bytes(),
            },
            now,
        );
    }
    let mut answers = 0;
    while let Some(output) = agent.poll_output() {
        let bytes = match output {
            Output::Datagram {
                remote: to, bytes, ..
            } => {
                assert_eq!(to, remote);
                bytes
            }
            Output::StreamData { bytes, .. } => bytes,
            other => panic!("{other:?}"),
        };
        assert_eq!(status(&bytes), 200);
        let via = header(&bytes, "Via");
        assert!(via.contains(" [2001:db8::8]:5070;"), "{via}");
        assert!(
            via.contains(";received=2001:db8::7") && via.contains(";rport=40000"),
            "{via}"
        );
        answers += 1;
    }
    assert_eq!(answers, 3);
}
