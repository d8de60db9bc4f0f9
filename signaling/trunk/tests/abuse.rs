//! Strangers, floods, scanners and too many calls: what they get, and what they do not keep others from.

mod common;

use common::phones::*;
use common::*;
use signaling_sip::message::{HeaderName, Message};
use signaling_trunk::agent::{Config, Input, Output};
use signaling_trunk::api::{Command, Event, InviteId};
use signaling_trunk::guard::policy::POLICY;
use signaling_trunk::guard::{
    REQUESTS_AT_ONCE, REQUESTS_PER_SECOND, STRIKES, UNPROVEN_AT_ONCE, UNPROVEN_PER_SECOND,
};
use signaling_trunk::lines::{Lines, TrunkSpec};
use signaling_trunk::net::StreamId;
use std::net::SocketAddr;

/// A request outside dialogs as a scanner of ordinary manners sends it.
fn scan(method: &str, user: &str, n: u32) -> Vec<u8> {
    format!(
        "{method} sip:{user}@{US} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.66:5060;branch=z9hG4bK{method}{n};rport\r\n\
         Max-Forwards: 70\r\nTo: <sip:{user}@192.0.2.10>\r\nFrom: \"probe\" <sip:{user}@192.0.2.10>;tag=p{n}\r\n\
         User-Agent: friendly-scanner\r\nCall-ID: {n}-scan\r\nContact: <sip:probe@192.0.2.66:5060>\r\n\
         CSeq: 1 {method}\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// As short as a request can be.
fn terse(method: &str, n: u32) -> Vec<u8> {
    format!(
        "{method} sip:a@b SIP/2.0\r\nv:SIP/2.0/UDP h;branch=z9hG4bK{n};rport\r\nf:<sip:a@b>;tag=1\r\nt:<sip:a@b>\r\ni:{n}\r\n\
         CSeq:1 {method}\r\nMax-Forwards:9\r\n\r\n"
    )
    .into_bytes()
}

fn statuses(desk: &mut Desk) -> Vec<u16> {
    desk.sent.drain(..).map(|(_, b)| status(&b)).collect()
}

fn accept(desk: &mut Desk, stream: u64, from: &str) {
    desk.step(Input::StreamAccepted {
        stream: StreamId(stream),
        remote: from.parse().unwrap(),
        secure: false,
        peer: None,
    });
}

fn over(desk: &mut Desk, stream: u64, bytes: &[u8]) {
    desk.step(Input::StreamData {
        stream: StreamId(stream),
        bytes,
    });
}

fn closed(desk: &Desk) -> Vec<u64> {
    let closed = desk.others.iter().filter_map(|o| match o {
        Output::CloseStream { stream } => Some(stream.0),
        _ => None,
    });
    closed.collect()
}

#[test]
fn every_method_from_a_stranger_meets_the_written_policy() {
    let mut desk = Desk::registered();
    for (n, rule) in (0u32..).zip(POLICY) {
        let method = if rule.method == "any other" {
            "FOO"
        } else {
            rule.method
        };
        let mut message = text(&scan(method, "1001", n));
        if method == "NOTIFY" {
            message = message.replace(
                "Accept:",
                "Event: refer;id=1\r\nSubscription-State: active\r\nAccept:",
            );
        }
        desk.receive(&format!("192.0.2.{}:5060", 100 + n), message.as_bytes());
        let wanted: &[u16] = if rule.status == 0 {
            &[]
        } else {
            &[rule.status]
        };
        assert_eq!(statuses(&mut desk), wanted, "{method}");
    }
    assert!(desk.events.is_empty(), "nobody is disturbed");
}

#[test]
fn the_written_policy_stands_in_the_documents() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    for rule in POLICY {
        let status = match rule.status {
            0 => "none".to_string(),
            status if rule.challenged => format!("{status}, or 401 where phones may register"),
            status => status.to_string(),
        };
        let line = format!("| {} | {status} | {} |", rule.method, rule.why);
        assert!(readme.contains(&line), "signaling/README.md lacks:\n{line}");
    }
}

#[test]
fn a_known_and_an_unknown_user_are_told_apart_by_neither_answer_nor_time() {
    for method in [
        "INVITE",
        "OPTIONS",
        "REGISTER",
        "MESSAGE",
        "SUBSCRIBE",
        "PUBLISH",
        "NOTIFY",
        "REFER",
        "INFO",
    ] {
        let heard = |user: &str| {
            let mut desk = Desk::registered();
            let invite = desk.call();
            let user = if user == "contact" {
                desk.contact_user(&invite)
            } else {
                user.to_string()
            };
            desk.answer(&invite, "486 Busy", "", "");
            desk.sent.clear();
            let mut heard = Vec::new();
            for n in 0..12 {
                desk.receive(STRANGER, &scan(method, &user, n));
                // Each answer with the time at which it came.
                for ms in 0..700 {
                    desk.wait(10);
                    for (to, bytes) in desk.sent.drain(..) {
                        if to == STRANGER.parse().unwrap() {
                            let answer = text(&bytes).replace(&format!("sip:{user}@"), "sip:USER@");
                            // The To tag is a digest of Call-ID and From, which name the user.
                            let ours = to_tag(&bytes);
                            heard.push((n, ms, answer.replace(&ours, "TAG")));
                        }
                    }
                }
            }
            heard
        };
        let unknown = heard("0123456789abcdef0123456789abcdef");
        assert!(!unknown.is_empty(), "{method}");
        assert_eq!(unknown, heard("contact"), "{method} to a live contact");
        let short = heard("xy");
        assert_eq!(short, heard("me"), "{method} to the account's own name");
    }
}

#[test]
fn a_flood_from_one_address_is_slowed_and_then_not_answered_while_others_are_served() {
    let mut desk = Desk::registered();
    let mut answered = 0;
    for n in 0..2_000 {
        desk.receive(STRANGER, &scan("OPTIONS", "a", n));
        answered += statuses(&mut desk).len();
    }
    assert!(answered <= REQUESTS_AT_ONCE as usize, "{answered}");
    let figures = desk.agent.figures(desk.now);
    assert!(
        figures.slowed > 0 && figures.dropped >= 1_900,
        "{figures:?}"
    );
    // Somebody else, and the PBX, hear at once.
    desk.receive("192.0.2.67:5060", &scan("OPTIONS", "a", 9_000));
    assert_eq!(statuses(&mut desk), [200]);
    for n in 0..500 {
        let message = text(&scan("OPTIONS", "a", 10_000 + n)).replace("192.0.2.66", "192.0.2.1");
        desk.receive(PBX, message.as_bytes());
    }
    assert_eq!(statuses(&mut desk), [200; 500]);
    // Later the flood is a source like any other.
    desk.wait(10_000);
    desk.sent.clear();
    desk.receive(STRANGER, &scan("OPTIONS", "a", 99_000));
    assert_eq!(statuses(&mut desk), [200]);
}

#[test]
fn a_flood_of_garbage_costs_its_source_more_than_one_of_requests() {
    let mut desk = Desk::new();
    for _ in 0..REQUESTS_AT_ONCE {
        desk.receive(STRANGER, b"\x16\x03\x01 this is no SIP at all\r\n\r\n");
    }
    assert!(desk.sent.is_empty());
    let figures = desk.agent.figures(desk.now);
    assert!(
        figures.garbage <= u64::from(REQUESTS_AT_ONCE) / 4 + 1,
        "{figures:?}"
    );
    desk.receive(STRANGER, &scan("OPTIONS", "a", 1));
    assert!(desk.sent.is_empty());
    desk.wait(1_000);
    desk.receive(STRANGER, &scan("OPTIONS", "a", 2));
    desk.wait(2_000);
    assert_eq!(statuses(&mut desk), [200]);
}

#[test]
fn nobody_over_udp_is_banned_whatever_they_send() {
    let mut desk = Desk::new();
    for n in 0..5_000 {
        desk.receive(STRANGER, &scan("INVITE", &n.to_string(), n));
        desk.receive(STRANGER, b"nonsense \xff\xff");
    }
    desk.wait(1);
    assert_eq!(desk.agent.figures(desk.now).bans, 0);
    // The flood over, its address is served within the time that its allowance takes.
    desk.wait(u64::from(REQUESTS_AT_ONCE / REQUESTS_PER_SECOND) * 1_000 + 7_000);
    desk.sent.clear();
    desk.receive(STRANGER, &scan("OPTIONS", "a", 9_999));
    assert_eq!(statuses(&mut desk), [200]);
}

#[test]
fn an_unproven_source_never_gets_more_bytes_than_it_sent() {
    let mut desk = Desk::registered();
    let methods = POLICY
        .iter()
        .map(|rule| rule.method)
        .filter(|m| *m != "any other");
    let methods: Vec<&str> = methods.collect();
    let (mut sent, mut got) = (0, 0);
    let seconds = 120;
    for n in 0..seconds * 50 {
        let method = methods[n as usize % methods.len()];
        let request = if n % 2 == 0 {
            terse(method, n)
        } else {
            scan(method, "a", n)
        };
        sent += request.len();
        desk.receive(STRANGER, &request);
        desk.wait(20);
        let answers = desk
            .sent
            .drain(..)
            .filter(|(to, _)| to.ip().to_string() == "192.0.2.66");
        got += answers.map(|(_, b)| b.len()).sum::<usize>();
    }
    let allowance = UNPROVEN_AT_ONCE + seconds * UNPROVEN_PER_SECOND;
    assert!(
        got > 0 && got <= sent + allowance as usize,
        "{got} for {sent}"
    );
}

#[test]
fn a_terse_request_gets_a_terse_answer_when_the_allowance_is_used_up() {
    let mut desk = Desk::new();
    let mut shortest = usize::MAX;
    for n in 0..40 {
        desk.receive(STRANGER, &terse("MESSAGE", n));
        desk.wait(400);
        for (_, bytes) in desk.sent.drain(..) {
            let message = Message::parse(&bytes).unwrap();
            assert_eq!(message.status(), 405);
            assert!(message.fault.is_none() && message.to().unwrap().tag().is_some());
            shortest = shortest.min(bytes.len());
        }
    }
    assert!(shortest <= terse("MESSAGE", 0).len() + 60, "{shortest}");
}

#[test]
fn calls_and_their_answers_are_served_through_a_flood_from_the_same_address() {
    // The callee's address is flooded with its own source address forged.
    let mut desk = Desk::with(config());
    let mut account = spec("192.0.2.66:5070");
    account.register = false;
    desk.command(Command::OpenAccount {
        account: signaling_trunk::api::AccountId(1),
        spec: account,
    });
    let invite = desk.call();
    for n in 0..1_000 {
        desk.receive(STRANGER, &scan("INVITE", "a", n));
    }
    desk.sent.clear();
    let ok = answered_from(&mut desk, STRANGER, &invite);
    assert!(matches!(desk.events.last(), Some(Event::Answered { .. })));
    let ack = desk.taken();
    assert!(ack.starts_with(b"ACK "));
    // Their BYE has our tag.
    let bye = text(&desk.inside(&invite, "BYE", 7, "", "")).replace("192.0.2.1;", "192.0.2.66;");
    desk.receive(STRANGER, bye.as_bytes());
    assert_eq!(statuses(&mut desk), [200], "{}", text(&ok));
}

fn answered_from(desk: &mut Desk, from: &str, invite: &[u8]) -> Vec<u8> {
    let message = Message::parse(invite).unwrap();
    let mut out = String::from("SIP/2.0 200 OK\r\n");
    for (id, _, value) in message.fields() {
        let tag = if id == HeaderName::To { ";tag=b1" } else { "" };
        if matches!(
            id,
            HeaderName::Via
                | HeaderName::From
                | HeaderName::To
                | HeaderName::CallId
                | HeaderName::CSeq
        ) {
            out += &format!("{}: {}{tag}\r\n", id.as_str(), text(value));
        }
    }
    out += "Contact: <sip:bob@192.0.2.66>\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0";
    desk.receive(from, out.as_bytes());
    out.into_bytes()
}

#[test]
fn who_guesses_over_a_connection_is_banned_for_a_while_and_its_neighbours_call_goes_on() {
    let mut desk = Desk::new();
    accept(&mut desk, 1, "192.0.2.66:1001");
    accept(&mut desk, 3, "192.0.2.66:1003");
    accept(&mut desk, 5, "192.0.2.67:1005");
    for n in 0..STRIKES + 10 {
        over(&mut desk, 1, &scan("INVITE", &n.to_string(), n));
    }
    assert_eq!(closed(&desk), [1, 3], "all of that address, nobody else");
    assert_eq!(desk.agent.figures(desk.now).bans, 1);
    desk.others.clear();
    accept(&mut desk, 7, "192.0.2.66:1007");
    assert_eq!(closed(&desk), [7], "refused");
    desk.sent.clear();
    desk.receive(STRANGER, &scan("OPTIONS", "a", 500));
    assert!(desk.sent.is_empty());
    desk.others.clear();
    over(&mut desk, 5, &scan("OPTIONS", "a", 501));
    assert_eq!(statuses(&mut desk), [200]);
    desk.wait(61_000);
    desk.others.clear();
    accept(&mut desk, 9, "192.0.2.66:1009");
    assert!(closed(&desk).is_empty(), "it is over");
}

#[test]
fn neither_a_trunk_nor_an_accounts_server_is_ever_banned_or_slowed() {
    let mut desk = Desk::registered();
    let trunk = TrunkSpec {
        name: "carrier".into(),
        sources: vec![("198.51.100.0".parse().unwrap(), 24)],
        servers: vec!["sip:203.0.113.9:5080;transport=tcp".into()],
        ..TrunkSpec::default()
    };
    desk.step(Input::Lines(Box::new(Lines {
        trunks: vec![trunk],
        ..Lines::default()
    })));
    for (stream, from) in [
        (1, "192.0.2.1:9"),
        (3, "198.51.100.7:9"),
        (5, "203.0.113.9:9"),
    ] {
        accept(&mut desk, stream, from);
        for n in 0..500 {
            over(&mut desk, stream, &scan("REFER", &n.to_string(), n));
        }
        assert_eq!(statuses(&mut desk), [403; 500], "{from}");
    }
    let figures = desk.agent.figures(desk.now);
    assert_eq!((figures.bans, figures.slowed, figures.dropped), (0, 0, 0));
    assert!(closed(&desk).is_empty());
}

#[test]
fn a_flood_over_streams_and_datagrams_survives_being_written_down() {
    let run = |snapshots: bool| {
        let mut desk = Desk::registered();
        desk.snapshots = snapshots;
        for n in 0..150 {
            desk.receive(STRANGER, &scan("INVITE", "a", n));
            desk.receive(STRANGER, &terse("OPTIONS", n));
            desk.wait(7);
        }
        desk.wait(8_000);
        desk.sent
            .iter()
            .map(|(to, b)| (*to, b.clone()))
            .collect::<Vec<(SocketAddr, Vec<u8>)>>()
    };
    assert_eq!(run(false), run(true));
}

// ---- too many calls

fn limited(max_calls_per_second: u32, max_calls: u32) -> (Desk, String) {
    let mut desk = Desk::registered_with(Config {
        max_calls_per_second,
        max_calls,
        ..config()
    });
    let invite = desk.call();
    let user = desk.contact_user(&invite);
    desk.answer(&invite, "486 Busy", "", "");
    desk.wait(1_000);
    desk.sent.clear();
    desk.events.clear();
    (desk, user)
}

fn ring(desk: &mut Desk, user: &str, n: u32) -> (u16, u32) {
    let message = text(&desk.inbound("INVITE", user, &format!("r{n}"), 1, "", "v=0"))
        .replace("Call-ID: in1", &format!("Call-ID: ring{n}"));
    desk.receive(PBX, message.as_bytes());
    let (_, answer) = desk.sent.pop().unwrap();
    let after = header(&answer, "Retry-After").parse().unwrap_or(0);
    (status(&answer), after)
}

#[test]
fn calls_above_the_rate_get_503_with_retry_after_and_the_rate_itself_goes_on() {
    let (mut desk, user) = limited(10, 0);
    let mut taken = 0;
    let mut longest = 0;
    // Fifty a second for ten seconds.
    for n in 0..500 {
        let (status, after) = ring(&mut desk, &user, n);
        match status {
            100 => taken += 1,
            503 => longest = longest.max(after),
            other => panic!("{other}"),
        }
        assert!(status == 100 || (1..=5).contains(&after));
        desk.wait(20);
        desk.sent.clear();
    }
    assert!((100..=111).contains(&taken), "{taken}");
    assert!(longest > 1, "they do not all come back at once");
    assert_eq!(desk.agent.figures(desk.now).overloaded, 500 - taken);
    assert_eq!(
        desk.agent.figures(desk.now).calls,
        taken,
        "the refused leave nothing"
    );
}

#[test]
fn strangers_do_not_use_up_the_operators_rate() {
    let (mut desk, user) = limited(1, 0);
    for n in 0..50 {
        desk.receive(STRANGER, &scan("INVITE", "a", n));
    }
    desk.sent.clear();
    assert_eq!(ring(&mut desk, &user, 0).0, 100);
}

#[test]
fn calls_above_the_limit_at_once_get_503_until_one_has_ended() {
    let (mut desk, user) = limited(0, 3);
    for n in 0..3 {
        assert_eq!(ring(&mut desk, &user, n).0, 100);
    }
    assert_eq!(ring(&mut desk, &user, 3).0, 503);
    let Some(Event::Incoming { invite, .. }) = desk.events.first() else {
        panic!("not rung")
    };
    let invite: InviteId = *invite;
    desk.command(Command::Hangup {
        invite,
        status: None,
    });
    desk.wait(200);
    desk.sent.clear();
    assert_eq!(ring(&mut desk, &user, 4).0, 100);
    assert_eq!(ring(&mut desk, &user, 5).0, 503);
}

#[test]
fn a_running_call_is_served_while_new_ones_are_refused() {
    let (mut desk, user) = limited(1, 0);
    assert_eq!(ring(&mut desk, &user, 0).0, 100);
    let Some(Event::Incoming { invite, .. }) = desk.events.first() else {
        panic!("not rung")
    };
    let invite = *invite;
    for n in 1..100 {
        assert_eq!(ring(&mut desk, &user, n).0, 503);
    }
    desk.command(Command::Accept {
        invite,
        sdp: b"v=0 answer".to_vec(),
    });
    let ok = desk.taken();
    let tag = to_tag(&ok);
    let ack = text(&desk.inbound("ACK", &user, "ack", 1, &tag, "")).replace("in1", "ring0");
    desk.receive(PBX, ack.as_bytes());
    for n in 100..200 {
        assert_eq!(ring(&mut desk, &user, n).0, 503);
    }
    let bye = text(&desk.inbound("BYE", &user, "bye", 2, &tag, "")).replace("in1", "ring0");
    desk.receive(PBX, bye.as_bytes());
    assert_eq!(statuses(&mut desk), [200]);
}

// ---- where phones register

/// What a stranger hears of twelve guesses at `user`: which, when, and what, without what is drawn for each.
fn guesses(method: &str, user: &str, with_password: bool) -> Vec<(u32, u32, String)> {
    let mut desk = Desk::with_phones(&["2001", "2002"]);
    let mut guesser = Phone::new(user, STRANGER);
    guesser.password = "wrong".into();
    guesser.call_id = "scan".into();
    let mut heard = Vec::new();
    for n in 0..12 {
        let uri = format!("sip:2002@{REALM}");
        let uri = if method == "REGISTER" {
            format!("sip:{REALM}")
        } else {
            uri
        };
        let request = guesser.request(method, &uri, "Contact: <sip:x@192.0.2.66>\r\n", "");
        let request = text(&request).replace(&format!("sip:{user}@"), "sip:USER@");
        desk.receive(STRANGER, request.as_bytes());
        for tick in 0..700 {
            for (_, bytes) in std::mem::take(&mut desk.sent) {
                if with_password && status(&bytes) == 401 {
                    guesser.challenged(&bytes);
                }
                let answer = text(&bytes);
                let lines = answer.lines().filter(|l| {
                    !l.starts_with("Via:") && !l.starts_with("v:") && !l.starts_with("Content")
                });
                let lines = lines.map(|l| l.split("nonce=").next().unwrap().to_string());
                heard.push((n, tick, lines.collect::<Vec<_>>().join("\n")));
            }
            desk.wait(10);
        }
    }
    heard
}

#[test]
fn where_phones_register_a_scanner_hears_the_same_of_users_that_exist_and_that_do_not() {
    for method in ["REGISTER", "INVITE", "OPTIONS", "MESSAGE", "SUBSCRIBE"] {
        for with_password in [false, true] {
            let there = guesses(method, "2001", with_password);
            assert!(!there.is_empty(), "{method}");
            assert_eq!(
                there,
                guesses(method, "9009", with_password),
                "{method} {with_password}"
            );
        }
    }
}

#[test]
fn who_guesses_passwords_with_our_own_nonces_is_banned_even_over_udp() {
    let mut desk = Desk::with_phones(&["2001"]);
    let mut guesser = Phone::new("2001", STRANGER);
    guesser.password = "wrong".into();
    for _ in 0..200 {
        let request = guesser.register("Contact: <sip:x@192.0.2.66>\r\n");
        desk.receive(STRANGER, &request);
        desk.wait(200);
        if let Some((_, challenge)) = desk.sent.drain(..).next_back() {
            guesser.challenged(&challenge);
        }
    }
    let figures = desk.agent.figures(desk.now);
    assert!(figures.bans >= 1, "{figures:?}");
    desk.receive(STRANGER, &scan("OPTIONS", "a", 1));
    desk.wait(100);
    assert!(desk.sent.is_empty(), "not heard");
    // With a nonce that was given to another address nobody gets that one banned.
    let mut desk = Desk::with_phones(&["2001"]);
    let mut thief = Phone::new("2001", "192.0.2.70:5060");
    thief.password = "wrong".into();
    desk.receive("192.0.2.70:5060", &thief.register(""));
    let challenge = desk.taken();
    for _ in 0..200 {
        thief.challenged(&challenge);
        desk.receive(STRANGER, &thief.register(""));
        desk.wait(200);
    }
    assert_eq!(desk.agent.figures(desk.now).bans, 0);
}

#[test]
fn a_guesser_behind_a_nat_does_not_lock_out_its_registered_neighbour() {
    let mut desk = Desk::with_phones(&["2001", "2002"]);
    let mut good = Phone::natted("2001", "192.0.2.66:4001");
    assert_eq!(status(&good.registers(&mut desk)), 200);
    let mut guesser = Phone::natted("2002", "192.0.2.66:4002");
    guesser.password = "wrong".into();
    for n in 0..500 {
        let request = guesser.register("Contact: <sip:x@10.0.0.6>\r\n");
        desk.receive("192.0.2.66:4002", &request);
        desk.receive("192.0.2.66:4002", &scan("INVITE", "a", n));
        desk.receive("192.0.2.66:4002", b"garbage");
        for (to, bytes) in desk.sent.drain(..) {
            if to.port() == 4002 && status(&bytes) == 401 {
                guesser.challenged(&bytes);
            }
        }
        desk.wait(10);
    }
    let figures = desk.agent.figures(desk.now);
    assert!(figures.bans == 0 && figures.dropped > 0, "{figures:?}");
    desk.wait(1_000);
    desk.sent.clear();
    for _ in 0..50 {
        assert_eq!(status(&good.registers(&mut desk)), 200, "at once");
    }
}

#[test]
fn any_number_of_phones_behind_one_address_may_register_at_once() {
    let users: Vec<String> = (0..1_000).map(|n| format!("u{n}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let mut desk = Desk::with_phones(&users);
    for (n, user) in users.iter().enumerate() {
        let mut phone = Phone::natted(user, &format!("192.0.2.66:{}", 4_000 + n));
        assert_eq!(status(&phone.registers(&mut desk)), 200);
    }
    assert_eq!(desk.agent.figures(desk.now).contacts, 1_000);
}
