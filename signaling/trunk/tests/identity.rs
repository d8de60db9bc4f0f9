//! Who calls, told to a trunk and by one (RFC 3323, RFC 3325, RFC 5806, RFC 8224), and who is shown credentials.

mod common;

use common::trunks::*;
use common::*;
use signaling_trunk::api::{ByLine, CallerIdentity, Cause, Command, End, Event, Header, InviteId};
use signaling_trunk::lines::{TrunkMode, TrunkSpec};

fn desk(trusted: bool) -> Desk {
    let mut desk = Desk::new().restored_at_each_step();
    let spec = TrunkSpec {
        trusted,
        ..trunk(TrunkMode::Address)
    };
    take(&mut desk, vec![spec]);
    desk.events.clear();
    desk
}

fn calling(desk: &mut Desk, identity: CallerIdentity, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut command = call("+4930123");
    if let Command::Invite {
        options,
        headers: own,
        from_display,
        ..
    } = &mut command
    {
        options.identity = identity;
        *from_display = "Ann".into();
        *own = headers.iter().map(|(n, v)| named(n, v)).collect();
    }
    desk.command(command);
    desk.taken()
}

fn named(name: &str, value: &str) -> Header {
    Header {
        name: name.into(),
        value: value.into(),
    }
}

fn number(user: &str) -> CallerIdentity {
    CallerIdentity {
        from_user: user.into(),
        asserted_user: Some("+493099".into()),
        ..CallerIdentity::default()
    }
}

#[test]
fn a_caller_is_shown_in_from_and_asserted_to_the_trusted_alone() {
    let invite = calling(&mut desk(true), number("+493055"), &[]);
    assert!(header(&invite, "From").starts_with("\"Ann\" <sip:+493055@carrier.test>;tag="));
    assert_eq!(
        header(&invite, "P-Asserted-Identity"),
        "\"Ann\" <sip:+493099@carrier.test>"
    );
    let invite = calling(&mut desk(false), number("+493055"), &[]);
    assert!(header(&invite, "From").contains("<sip:+493055@carrier.test>"));
    assert_eq!(header(&invite, "P-Asserted-Identity"), "");
    let invite = calling(&mut desk(false), CallerIdentity::default(), &[]);
    assert!(header(&invite, "From").contains("<sip:acme@carrier.test>"));
}

#[test]
fn a_hidden_caller_has_neither_name_nor_number_and_is_still_asserted_to_the_trusted() {
    let hidden = CallerIdentity {
        privacy: Some("id".into()),
        ..number("anonymous")
    };
    let invite = calling(&mut desk(true), hidden.clone(), &[]);
    assert!(
        header(&invite, "From").starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=")
    );
    assert_eq!(header(&invite, "Privacy"), "id");
    assert!(header(&invite, "P-Asserted-Identity").contains("+493099"));
    let invite = calling(&mut desk(false), hidden, &[]);
    assert!(!text(&invite).contains("+493099"));
    assert_eq!(header(&invite, "Privacy"), "id");
}

#[test]
fn diversions_are_told_newest_first_and_what_is_none_is_refused() {
    let diversion = |values: &[&str]| CallerIdentity {
        diversion: values.iter().map(ToString::to_string).collect(),
        ..number("1")
    };
    let newest = "<sip:200@us.test>;reason=no-answer;counter=1";
    let oldest = "<sip:100@us.test>;reason=unconditional";
    let invite = calling(&mut desk(false), diversion(&[newest, oldest]), &[]);
    let both = format!("\r\nDiversion: {newest}\r\nDiversion: {oldest}\r\n");
    assert!(text(&invite).contains(&both));
    for bad in ["<sip:x@y>\r\nX: 1", "not <an address"] {
        let mut desk = desk(false);
        let mut command = call("1");
        if let Command::Invite { options, .. } = &mut command {
            options.identity = diversion(&[bad]);
        }
        desk.command(command);
        assert!(matches!(
            desk.events.last(),
            Some(Event::Ended { end: End::Failed(f), .. }) if f.cause == Cause::BadRequest
        ));
    }
}

#[test]
fn who_calls_is_said_by_the_plan_and_by_no_header_that_is_passed_on() {
    let passed = [
        ("P-Asserted-Identity", "<sip:forged@x.test>"),
        ("P-Preferred-Identity", "<sip:forged@x.test>"),
        ("Remote-Party-ID", "<sip:forged@x.test>"),
        ("Diversion", "<sip:forged@x.test>"),
        ("Privacy", "none"),
        ("X-Trace", "7"),
    ];
    let invite = calling(&mut desk(true), number("1"), &passed);
    assert!(!text(&invite).contains("forged"), "{}", text(&invite));
    assert_eq!(header(&invite, "X-Trace"), "7");
}

const SIGNED: &str = "eyJhbGciOiJFUzI1NiIsInBwdCI6InNoYWtlbiJ9.eyJhdHRlc3QiOiJBIn0.c2ln+/==;\
    info=<https://cert.example.org/passport.cer>;alg=ES256;ppt=shaken";

fn by_line(desk: &Desk) -> (ByLine, Vec<Header>) {
    let found = desk.events.iter().rev().find_map(|event| match event {
        Event::Incoming {
            by_line: Some(by_line),
            headers,
            ..
        } => Some(((**by_line).clone(), headers.clone())),
        _ => None,
    });
    found.expect("a call by a line")
}

/// An INVITE of the trunk's with these lines more.
fn rings(desk: &mut Desk, more: &str) -> (ByLine, Vec<Header>) {
    let invite = desk.inbound_with("INVITE", "+4930", "i", 1, "", more, "v=0");
    desk.receive(PBX, &invite);
    by_line(desk)
}

fn find(headers: &[Header], name: &str) -> Option<String> {
    let found = headers.iter().find(|h| h.name == name);
    found.map(|h| h.value.clone())
}

#[test]
fn a_signed_identity_passes_from_line_to_line_byte_for_byte_with_its_date() {
    let date = "Sun, 22 Nov 2026 22:00:00 GMT";
    for name in ["Identity", "y", "IDENTITY"] {
        let lines = format!("Date: {date}\r\n{name}: {SIGNED}\r\n");
        let (_, headers) = rings(&mut desk(false), &lines);
        assert_eq!(find(&headers, "Identity").as_deref(), Some(SIGNED));
        assert_eq!(find(&headers, "Date").as_deref(), Some(date));
        let passed: Vec<(&str, &str)> = headers
            .iter()
            .filter(|h| matches!(h.name.as_str(), "Identity" | "Date"))
            .map(|h| (h.name.as_str(), h.value.as_str()))
            .collect();
        let invite = calling(&mut desk(false), number("1"), &passed);
        let whole = text(&invite);
        assert!(
            whole.contains(&format!("\r\nIdentity: {SIGNED}\r\n")),
            "{whole}"
        );
        assert!(whole.contains(&format!("\r\nDate: {date}\r\n")), "{whole}");
    }
}

#[test]
fn a_signature_tells_nothing_of_a_hidden_caller_to_the_untrusted() {
    let hidden = CallerIdentity {
        privacy: Some("header;id".into()),
        ..number("anonymous")
    };
    let signed = [("Identity", SIGNED)];
    let invite = calling(&mut desk(false), hidden.clone(), &signed);
    assert_eq!(header(&invite, "Identity"), "");
    let invite = calling(&mut desk(true), hidden, &signed);
    assert_eq!(header(&invite, "Identity"), SIGNED);
}

#[test]
fn a_page_can_sign_nothing() {
    for name in ["Identity", "y", "identity"] {
        let mut desk = Desk::registered();
        let mut command = invite(b"v=0");
        if let Command::Invite { headers, .. } = &mut command {
            *headers = vec![named(name, SIGNED)];
        }
        desk.command(command);
        assert_eq!(desk.sent, []);
        assert!(matches!(
            desk.events.last(),
            Some(Event::Ended { end: End::Failed(f), .. }) if f.cause == Cause::BadRequest
        ));
    }
}

#[test]
fn an_asserted_identity_is_believed_of_trusted_trunks_alone() {
    let lines = "P-Asserted-Identity: \"Eve\" <sip:+491@c.test>, <tel:+491>\r\n\
        P-Asserted-Identity: <tel:+492>\r\nRemote-Party-ID: <sip:x@y>\r\nPrivacy: id\r\n\
        Diversion: <sip:200@c.test>;reason=user-busy\r\n";
    for trusted in [true, false] {
        let (by_line, headers) = rings(&mut desk(trusted), lines);
        assert_eq!(by_line.called.user, "+4930");
        match by_line.asserted {
            Some(asserted) => {
                assert!(trusted);
                assert_eq!(
                    (asserted.user.as_str(), asserted.display.as_str()),
                    ("+491", "Eve")
                );
            }
            None => assert!(!trusted),
        }
        assert_eq!(find(&headers, "P-Asserted-Identity"), None);
        assert_eq!(find(&headers, "Remote-Party-ID"), None);
        assert_eq!(find(&headers, "Privacy").as_deref(), Some("id"));
        let diverted = find(&headers, "Diversion");
        assert_eq!(
            diverted.as_deref(),
            Some("<sip:200@c.test>;reason=user-busy")
        );
    }
}

fn challenge(realm: &str) -> String {
    format!("WWW-Authenticate: Digest realm=\"{realm}\", nonce=\"1\"\r\n")
}

fn refused(desk: &Desk) -> bool {
    matches!(
        desk.events.last(),
        Some(Event::Ended { end: End::Failed(f), .. }) if matches!(f.status, 401 | 407)
    )
}

#[test]
fn a_callee_behind_the_trunk_gets_no_digest_of_another_realm() {
    for status in ["401 Unauthorized", "407 Proxy Authentication Required"] {
        let mut desk = desk(false);
        desk.command(call("1"));
        let invite = desk.taken();
        desk.answer(&invite, "100 Trying", "", "");
        let mut lines = challenge("evil.test");
        if status.starts_with("407") {
            lines = lines.replace("WWW-", "Proxy-");
        }
        desk.answer(&invite, status, &lines, "");
        assert_eq!(desk.methods(), ["ACK"], "{status}");
        assert!(refused(&desk));
    }
}

#[test]
fn the_trunks_own_realm_is_answered_wherever_the_challenge_was_made() {
    let mut desk = desk(false);
    desk.command(call("1"));
    let invite = desk.taken();
    desk.answer(&invite, "100 Trying", "", "");
    desk.answer(&invite, "401 Unauthorized", &challenge("carrier.test"), "");
    let invite = desk.sent.remove(0).1;
    assert!(header(&invite, "Authorization").contains("realm=\"carrier.test\""));
}

#[test]
fn a_realm_that_the_server_itself_asked_for_stays_its_own() {
    let mut desk = desk(false);
    desk.command(call("1"));
    let invite = desk.taken();
    // Its server says so before it has passed anything on.
    desk.answer(&invite, "401 Unauthorized", &challenge("gate-7"), "");
    let invite = desk.sent.remove(0).1;
    assert!(header(&invite, "Authorization").contains("realm=\"gate-7\""));
    desk.sent.clear();
    desk.answer(&invite, "100 Trying", "", "");
    desk.answer(&invite, "401 Unauthorized", &challenge("evil.test"), "");
    assert_eq!(desk.methods(), ["ACK"]);
    assert!(refused(&desk));
    desk.sent.clear();
    // Another call: the nonce is old, and a proxy further on says so.
    let mut command = call("2");
    if let Command::Invite { invite, .. } = &mut command {
        *invite = InviteId(4);
    }
    desk.command(command);
    let invite = desk.taken();
    desk.answer(&invite, "100 Trying", "", "");
    let stale = challenge("gate-7").replace("nonce=\"1\"", "nonce=\"2\", stale=true");
    desk.answer(&invite, "401 Unauthorized", &stale, "");
    assert!(header(&desk.sent.remove(0).1, "Authorization").contains("nonce=\"2\""));
}

#[test]
fn a_pages_callee_gets_no_digest_of_another_realm_in_or_outside_a_call() {
    let mut desk = Desk::registered();
    let message = desk.call();
    desk.answer(&message, "180 Ringing", "", "");
    desk.answer(&message, "401 Unauthorized", &challenge("evil.test"), "");
    assert_eq!(desk.methods(), ["ACK"]);
    assert!(refused(&desk));

    // By a proxy that stays on the way, and straight.
    for (more, contact) in [
        ("Record-Route: <sip:192.0.2.1;lr>\r\n", "192.0.2.77"),
        ("", "192.0.2.77"),
    ] {
        let mut desk = Desk::registered();
        let message = desk.call();
        let lines = format!("{more}Contact: <sip:bob@{contact}>\r\n");
        desk.answer(&message, "200 OK", &lines, "v=0 a");
        desk.sent.clear();
        desk.command(Command::Hangup {
            invite: CALL,
            status: None,
        });
        let bye = desk.taken();
        assert_eq!(header(&bye, "Authorization"), "");
        desk.answer(&bye, "401 Unauthorized", &challenge("evil.test"), "");
        assert_eq!(desk.sent, [], "{more}");
    }
}

#[test]
fn inside_a_call_the_trunks_realm_is_answered_over_its_proxy() {
    let mut desk = desk(false);
    desk.command(call("1"));
    let message = desk.taken();
    let lines = "Record-Route: <sip:192.0.2.1;lr>\r\nContact: <sip:gw@192.0.2.50>\r\n";
    desk.answer(&message, "200 OK", lines, "v=0 a");
    desk.sent.clear();
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    let bye = desk.taken();
    desk.answer(&bye, "401 Unauthorized", &challenge("carrier.test"), "");
    assert!(header(&desk.taken(), "Authorization").contains("realm=\"carrier.test\""));
}

#[test]
fn reliable_responses_and_session_timers_are_as_the_trunk_has_them() {
    let mut desk = Desk::new();
    let spec = TrunkSpec {
        reliable_provisional: Some(signaling_trunk::reliable::ReliableProvisional::Off),
        session_expires_s: Some(600),
        ..trunk(TrunkMode::Address)
    };
    let other = TrunkSpec {
        name: "other".into(),
        session_expires_s: Some(0),
        ..trunk(TrunkMode::Address)
    };
    take(&mut desk, vec![spec, other]);
    desk.command(call("1"));
    let message = desk.taken();
    assert!(!header(&message, "Supported").contains("100rel"));
    assert_eq!(header(&message, "Session-Expires"), "600");
    let mut command = call("2");
    if let Command::Invite {
        options, invite, ..
    } = &mut command
    {
        options.line = Some(signaling_trunk::api::Line::Trunk("other".into()));
        *invite = InviteId(4);
    }
    desk.command(command);
    let message = desk.taken();
    assert!(header(&message, "Supported").contains("100rel"));
    assert_eq!(header(&message, "Session-Expires"), "");
}
