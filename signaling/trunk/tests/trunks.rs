//! Trunks of the configuration: by address and by registration, calls in and out.

mod common;

use common::trunks::*;
use common::*;
use signaling_trunk::api::{
    AccountId, ByLine, Cause, Command, End, Event, InviteId, Line, NO_ACCOUNT,
};
use signaling_trunk::lines::{TrunkMode, TrunkSpec};

fn by_address() -> Desk {
    let mut desk = Desk::new().restored_at_each_step();
    take(&mut desk, vec![trunk(TrunkMode::Address)]);
    assert_eq!(lines(&mut desk), [(true, String::new())]);
    desk
}

/// A new INVITE of somebody at `from`.
fn rings(desk: &mut Desk, from: &str, user: &str) {
    let branch = format!("r{}", desk.events.len());
    let invite = desk.inbound("INVITE", user, &branch, 1, "", "v=0 theirs");
    let own = format!("Call-ID: {branch}{from}{user}\r\n");
    let invite = text(&invite).replacen("Call-ID: in1\r\n", &own, 1);
    desk.receive(from, invite.as_bytes());
}

fn incoming(desk: &Desk) -> Option<(InviteId, AccountId, ByLine)> {
    desk.events.iter().rev().find_map(|event| match event {
        Event::Incoming {
            invite,
            account,
            by_line: Some(by_line),
            ..
        } => Some((*invite, *account, (**by_line).clone())),
        _ => None,
    })
}

/// The trunk registers: its REGISTER is challenged and granted.
fn registered(spec: TrunkSpec, more: &str) -> (Desk, Vec<u8>) {
    let mut desk = Desk::new().restored_at_each_step();
    take(&mut desk, vec![spec]);
    desk.wait(10);
    let register = grant(&mut desk, more);
    assert_eq!(lines(&mut desk), [(true, String::new())]);
    (desk, register)
}

fn grant(desk: &mut Desk, more: &str) -> Vec<u8> {
    let register = desk.taken();
    let challenge = "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n\", qop=\"auth\"\r\n";
    desk.answer(&register, "401 Unauthorized", challenge, "");
    let register = desk.taken();
    assert!(header(&register, "Authorization").starts_with("Digest username=\"acme\""));
    let contact = header(&register, "Contact");
    desk.answer(
        &register,
        "200 OK",
        &format!("Contact: {contact}\r\n{more}"),
        "",
    );
    register
}

#[test]
fn a_trunk_by_address_is_called_with_its_credentials_and_calls_without_any() {
    let mut desk = by_address();
    desk.command(call("+4930123"));
    let invite = desk.taken();
    assert!(text(&invite).starts_with("INVITE sip:+4930123@carrier.test SIP/2.0\r\n"));
    assert!(header(&invite, "From").starts_with("<sip:acme@carrier.test>;tag="));
    assert_eq!(header(&invite, "To"), "<sip:+4930123@carrier.test>");
    let challenge = "Proxy-Authenticate: Digest realm=\"x\", nonce=\"1\"\r\n";
    desk.answer(&invite, "407 Proxy Authentication Required", challenge, "");
    let invite = desk.sent.remove(0).1;
    assert!(header(&invite, "Proxy-Authorization").starts_with("Digest username=\"acme\""));
    desk.sent.clear();
    let contact = "Contact: <sip:gw@192.0.2.1>\r\n";
    desk.answer(&invite, "200 OK", contact, "v=0 answer");
    assert!(matches!(
        desk.events.last(),
        Some(Event::Answered { invite: CALL, .. })
    ));
    assert!(text(&desk.taken()).starts_with("ACK "));
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    assert!(text(&desk.taken()).starts_with("BYE sip:gw@192.0.2.1"));

    rings(&mut desk, PBX, "+4930555");
    let (_, account, by_line) = incoming(&desk).expect("a call");
    assert_eq!(account, NO_ACCOUNT);
    assert_eq!(by_line.line, line());
    assert_eq!(by_line.called.user, "+4930555");
    assert_eq!(by_line.asserted, None);
}

#[test]
fn nobody_but_the_trunks_servers_and_sources_may_call_by_it() {
    let mut desk = Desk::new().restored_at_each_step();
    let spec = TrunkSpec {
        sources: vec![("192.0.2.64".parse().unwrap(), 31)],
        ..trunk(TrunkMode::Address)
    };
    let other = TrunkSpec {
        name: "wide".into(),
        servers: Vec::new(),
        sources: vec![("192.0.2.0".parse().unwrap(), 25)],
        ..trunk(TrunkMode::Address)
    };
    take(&mut desk, vec![other, spec]);
    for (from, by) in [
        ("192.0.2.64:5060", Some("carrier")),
        ("192.0.2.65:9999", Some("carrier")),
        ("192.0.2.66:5060", Some("wide")),
        (PBX, Some("carrier")),
        ("192.0.2.130:5060", None),
    ] {
        desk.sent.clear();
        let before = desk.events.len();
        rings(&mut desk, from, "100");
        match by {
            Some(name) => {
                let (.., by_line) = incoming(&desk).unwrap();
                assert_eq!(by_line.line, Line::Trunk(name.into()), "{from}");
            }
            None => {
                assert_eq!(desk.events.len(), before);
                assert_eq!(status(&desk.taken()), 404, "{from}");
            }
        }
        let invites = incoming(&desk).map(|(invite, ..)| invite);
        if let Some(invite) = invites {
            desk.command(Command::Hangup {
                invite,
                status: None,
            });
            desk.wait(100_000);
        }
    }
}

#[test]
fn a_trunk_with_client_certificates_hears_nobody_over_udp() {
    let mut desk = Desk::new();
    let mut spec = trunk(TrunkMode::Address);
    spec.tls = Some(signaling_trunk::lines::TlsSpec {
        client_certificate: true,
        ..Default::default()
    });
    take(&mut desk, vec![spec]);
    rings(&mut desk, PBX, "100");
    assert_eq!(status(&desk.taken()), 404);
}

#[test]
fn a_trunk_that_is_reached_by_tls_hears_nobody_who_claims_its_address_over_udp() {
    let mut desk = Desk::new();
    let mut spec = trunk(TrunkMode::Address);
    spec.servers = vec![format!(
        "sip:{};transport=tls",
        PBX.split(':').next().unwrap()
    )];
    spec.probe_s = 0;
    take(&mut desk, vec![spec.clone()]);
    rings(&mut desk, PBX, "100");
    assert_eq!(status(&desk.taken()), 404);
    // Where the operator lists the address itself, that is its word.
    spec.sources = vec![("192.0.2.1".parse().unwrap(), 32)];
    take(&mut desk, vec![spec]);
    rings(&mut desk, PBX, "101");
    assert_eq!(status(&desk.taken()), 100);
}

#[test]
fn a_trunk_registers_is_up_with_the_2xx_and_refreshes_in_time() {
    let (mut desk, register) = registered(trunk(TrunkMode::Register), "");
    assert!(text(&register).starts_with("REGISTER sip:carrier.test SIP/2.0\r\n"));
    assert_eq!(header(&register, "To"), "<sip:acme@carrier.test>");
    assert_eq!(header(&register, "Expires"), "300");
    let mut sent = Vec::new();
    desk.wait(271_000);
    sent.append(&mut desk.sent);
    let again = sent
        .into_iter()
        .map(|(_, b)| b)
        .find(|b| b.starts_with(b"REGISTER"));
    let again = again.expect("a refresh half a minute before its end");
    assert_eq!(header(&again, "Call-ID"), header(&register, "Call-ID"));
    let contact = header(&again, "Contact");
    desk.answer(&again, "200 OK", &format!("Contact: {contact}\r\n"), "");
    assert_eq!(desk.events, [], "a refresh is silent");
}

#[test]
fn a_call_to_a_registered_trunks_contact_is_for_whom_to_names() {
    let (mut desk, register) = registered(trunk(TrunkMode::Register), "");
    let user = desk.contact_user(&register);
    rings(&mut desk, PBX, &user);
    let (_, account, by_line) = incoming(&desk).unwrap();
    assert_eq!((account, by_line.line), (NO_ACCOUNT, line()));
    assert_eq!(
        by_line.called.user, "me",
        "To, since we drew the Request-URI"
    );
    desk.sent.clear();
    rings(&mut desk, STRANGER, &user);
    assert_eq!(status(&desk.taken()), 404, "whoever else knows it");
}

#[test]
fn a_refused_registration_is_told_and_tried_again_seldom() {
    let mut desk = Desk::new().restored_at_each_step();
    take(&mut desk, vec![trunk(TrunkMode::Register)]);
    desk.wait(10);
    let register = desk.taken();
    desk.answer(&register, "403 Forbidden", "", "");
    assert_eq!(lines(&mut desk), [(false, "403 Forbidden".into())]);
    desk.wait(110_000);
    assert_eq!(desk.sent, []);
    while desk.sent.is_empty() && desk.now.0 < 200_000_000 {
        desk.wait(100);
    }
    grant(&mut desk, "");
    assert_eq!(lines(&mut desk), [(true, String::new())]);
}

#[test]
fn a_silent_registrar_is_asked_less_and_less_often_and_never_given_up() {
    let mut desk = Desk::new();
    take(&mut desk, vec![trunk(TrunkMode::Register)]);
    let mut at = Vec::new();
    for _ in 0..3_600 {
        desk.wait(1_000);
        let ids: std::collections::BTreeSet<String> = std::mem::take(&mut desk.sent)
            .iter()
            .map(|(_, b)| header(b, "CSeq"))
            .collect();
        at.extend(ids.into_iter().map(|_| desk.now.0 / 1_000_000));
    }
    // Each REGISTER is repeated for four seconds: gaps longer than that are pauses.
    let pauses: Vec<u64> = at
        .windows(2)
        .map(|w| w[1] - w[0])
        .filter(|g| *g > 3)
        .collect();
    assert!(pauses.len() > 8, "{pauses:?}");
    assert!(pauses.last().unwrap() >= &200, "{pauses:?}");
    assert!(pauses.iter().all(|gap| *gap <= 400), "{pauses:?}");
}

#[test]
fn a_registration_goes_over_to_the_next_server_and_calls_follow_it() {
    let mut desk = Desk::new().restored_at_each_step();
    let spec = TrunkSpec {
        servers: vec![PBX.into(), SECOND.into()],
        attempt_ms: 2_000,
        ..trunk(TrunkMode::Register)
    };
    take(&mut desk, vec![spec]);
    desk.wait(2_100);
    let (to, register) = desk.sent.pop().unwrap();
    assert_eq!(to, SECOND.parse().unwrap());
    desk.sent.clear();
    let contact = header(&register, "Contact");
    desk.answer(&register, "200 OK", &format!("Contact: {contact}\r\n"), "");
    assert_eq!(lines(&mut desk), [(true, String::new())]);
    desk.command(call("1"));
    assert_eq!(desk.sent[0].0, SECOND.parse().unwrap());
}

#[test]
fn the_service_route_of_a_registration_is_the_route_of_calls() {
    let (mut desk, _) = registered(
        trunk(TrunkMode::Register),
        "Service-Route: <sip:edge.carrier.test;lr>, <sip:home.carrier.test;lr>\r\n",
    );
    desk.command(call("1"));
    let (to, invite) = desk.sent.remove(0);
    assert_eq!(to, PBX.parse().unwrap(), "by the proxy that it came from");
    let text = text(&invite);
    assert!(
        text.contains(
            "\r\nRoute: <sip:edge.carrier.test;lr>\r\nRoute: <sip:home.carrier.test;lr>\r\n"
        ),
        "{text}"
    );
    assert!(text.starts_with("INVITE sip:1@carrier.test "));
}

#[test]
fn what_did_not_change_goes_on_and_what_did_registers_anew() {
    let (mut desk, before) = registered(trunk(TrunkMode::Register), "");
    let probing = TrunkSpec {
        attempt_ms: 1_000,
        trusted: true,
        ..trunk(TrunkMode::Register)
    };
    take(&mut desk, vec![probing]);
    assert_eq!(desk.sent, [], "the same registration");
    assert_eq!(lines(&mut desk), [(true, String::new())], "told again");
    desk.command(call("1"));
    let invite = desk.taken();
    desk.answer(
        &invite,
        "200 OK",
        "Contact: <sip:gw@192.0.2.1>\r\n",
        "v=0 a",
    );
    desk.sent.clear();
    desk.events.clear();
    let changed = TrunkSpec {
        login: "other".into(),
        ..trunk(TrunkMode::Register)
    };
    take(&mut desk, vec![changed]);
    desk.wait(10);
    let sent: Vec<Vec<u8>> = desk.sent.drain(..).map(|(_, b)| b).collect();
    assert_eq!(header(&sent[0], "Expires"), "0");
    assert_eq!(header(&sent[0], "Call-ID"), header(&before, "Call-ID"));
    assert_eq!(header(&sent[1], "To"), "<sip:other@carrier.test>");
    assert!(!desk.events.iter().any(|e| matches!(e, Event::Ended { .. })));
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    let bye = desk.sent.pop().unwrap().1;
    assert!(text(&bye).starts_with("BYE "), "its call ran on");
    desk.answer(&bye, "200 OK", "", "");
    assert!(matches!(
        desk.events.last(),
        Some(Event::Ended {
            invite: CALL,
            end: End::ByUs { .. }
        })
    ));
}

#[test]
fn a_removed_trunk_unregisters_and_can_no_longer_be_called() {
    let (mut desk, _) = registered(trunk(TrunkMode::Register), "");
    take(&mut desk, Vec::new());
    let register = desk.taken();
    assert_eq!(header(&register, "Expires"), "0");
    desk.answer(&register, "200 OK", "", "");
    assert_eq!(desk.events, []);
    desk.command(call("1"));
    assert!(matches!(
        desk.events.last(),
        Some(Event::Ended { end: End::Failed(f), .. }) if f.cause == Cause::BadRequest
    ));
    rings(&mut desk, PBX, "1");
    assert_eq!(status(&desk.taken()), 404);
    desk.wait(100_000);
    assert_eq!(desk.agent.counts(), [0; 5]);
}

#[test]
fn a_fresh_link_hears_of_lines_and_closes_none() {
    let (mut desk, _) = registered(trunk(TrunkMode::Register), "");
    desk.command(Command::Retain {
        accounts: Vec::new(),
        invites: Vec::new(),
    });
    assert_eq!(lines(&mut desk), [(true, String::new())]);
    assert_eq!(desk.sent, []);
}

#[test]
fn a_process_that_ends_unregisters_its_trunks() {
    let (mut desk, _) = registered(trunk(TrunkMode::Register), "");
    assert!(!desk.agent.is_idle());
    desk.agent.leave(desk.now);
    desk.drain();
    let register = desk.taken();
    assert_eq!(header(&register, "Expires"), "0");
    desk.answer(&register, "200 OK", "", "");
    assert!(desk.agent.is_idle());
}

#[test]
fn two_trunks_at_one_carrier_are_told_apart_by_contact_and_login() {
    let mut desk = Desk::new().restored_at_each_step();
    let second = TrunkSpec {
        name: "second".into(),
        login: "beta".into(),
        ..trunk(TrunkMode::Address)
    };
    take(&mut desk, vec![trunk(TrunkMode::Address), second]);
    rings(&mut desk, PBX, "beta");
    assert_eq!(
        incoming(&desk).unwrap().2.line,
        Line::Trunk("second".into())
    );
    rings(&mut desk, PBX, "4711");
    assert_eq!(
        incoming(&desk).unwrap().2.line,
        line(),
        "the first one named"
    );
}

#[test]
fn thousands_of_registrations_begin_spread_out_and_are_all_held() {
    let mut desk = Desk::new();
    let specs = (0..2_000).map(|n| TrunkSpec {
        name: format!("t{n}"),
        login: format!("u{n}"),
        ..trunk(TrunkMode::Register)
    });
    take(&mut desk, specs.collect());
    assert!(desk.sent.len() <= 1);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..700 {
        desk.wait(1_000);
        for (_, register) in std::mem::take(&mut desk.sent) {
            if !register.starts_with(b"REGISTER ") {
                continue;
            }
            let contact = header(&register, "Contact");
            desk.answer(&register, "200 OK", &format!("Contact: {contact}\r\n"), "");
            seen.insert(header(&register, "CSeq") + &header(&register, "To"));
        }
    }
    let first = seen.iter().filter(|s| s.starts_with("1 ")).count();
    let third = seen.iter().filter(|s| s.starts_with("3 ")).count();
    assert_eq!(
        (first, third),
        (2_000, 2_000),
        "registered, and refreshed twice"
    );
    let ups = desk
        .events
        .iter()
        .filter(|e| matches!(e, Event::Line { up: true, .. }));
    assert_eq!(ups.count(), 2_000);
    assert!(
        !desk
            .events
            .iter()
            .any(|e| matches!(e, Event::Line { up: false, .. }))
    );
}
