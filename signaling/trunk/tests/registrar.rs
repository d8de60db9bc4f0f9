//! We as a registrar (RFC 3261 §10.3, RFC 8760, RFC 3327, RFC 5626), message by message.

mod common;

use common::phones::*;
use common::*;
use signaling_sip::digest::Hash;
use signaling_trunk::registrar::challenge::NONCE_LIFE;

#[test]
fn a_phone_registers_by_each_algorithm_and_the_strongest_is_asked_for_first() {
    for hash in [Hash::Md5, Hash::Sha256, Hash::Sha512_256] {
        let mut desk = Desk::with_phones(&["alice"]).restored_at_each_step();
        let mut alice = Phone::new("alice", PHONE);
        alice.hash = hash;
        let register = alice.register("Contact: <sip:alice@192.0.2.31:5062>\r\n");
        desk.receive(PHONE, &register);
        let challenge = desk.taken();
        assert_eq!(status(&challenge), 401);
        let asked = headers(&challenge, "WWW-Authenticate");
        let algorithms = ["SHA-512-256", "SHA-256", "MD5"];
        assert_eq!(asked.len(), 3);
        for (value, algorithm) in asked.iter().zip(algorithms) {
            assert!(
                value.contains(&format!("algorithm={algorithm}, qop=\"auth\"")),
                "{value}"
            );
            assert!(value.starts_with("Digest realm=\"office.test\"") && !value.contains("stale"));
        }
        alice.challenged(&challenge);
        let register = alice.register("Contact: <sip:alice@192.0.2.31:5062>\r\n");
        desk.receive(PHONE, &register);
        let ok = desk.taken();
        assert_eq!(status(&ok), 200);
        assert_eq!(
            header(&ok, "Contact"),
            "<sip:alice@192.0.2.31:5062>;expires=3600"
        );
        assert_eq!(alice.is_up(&desk), Some(true));
    }
}

#[test]
fn a_request_that_is_sent_again_by_somebody_else_proves_nothing() {
    let mut desk = Desk::with_phones(&["alice"]);
    let mut alice = Phone::new("alice", PHONE);
    assert_eq!(status(&alice.registers(&mut desk)), 200);
    let register = alice.register("Contact: <sip:alice@192.0.2.31:5062>\r\n");
    desk.receive(PHONE, &register);
    assert_eq!(status(&desk.taken()), 200);
    desk.receive(PHONE, &register);
    assert_eq!(
        status(&desk.taken()),
        200,
        "a repetition gets the same answer"
    );
    let stolen = text(&register).replace("branch=z9hG4bK", "branch=z9hG4bKother");
    desk.receive(PHONE, stolen.as_bytes());
    let answer = desk.taken();
    assert_eq!(status(&answer), 401);
    assert!(header(&answer, "WWW-Authenticate").contains("stale=true"));
    desk.receive(STRANGER, stolen.replace("other", "third").as_bytes());
    assert_eq!(status(&desk.taken()), 401, "nonces are for one address");
}

#[test]
fn a_nonce_that_has_aged_is_stale_and_the_next_one_does() {
    let mut desk = Desk::with_phones(&["alice"]);
    let mut alice = Phone::new("alice", PHONE);
    alice.registers(&mut desk);
    let rounds = |desk: &mut Desk, alice: &mut Phone| {
        let register = alice.register("Contact: <sip:alice@192.0.2.31:5062>\r\n");
        desk.receive(PHONE, &register);
        desk.taken()
    };
    desk.wait(60_000);
    assert_eq!(
        status(&rounds(&mut desk, &mut alice)),
        200,
        "one round is enough"
    );
    desk.wait(u64::try_from(NONCE_LIFE.as_millis()).unwrap());
    let stale = rounds(&mut desk, &mut alice);
    assert_eq!(status(&stale), 401);
    assert!(header(&stale, "WWW-Authenticate").contains("stale=true"));
    alice.challenged(&stale);
    assert_eq!(status(&rounds(&mut desk, &mut alice)), 200);
    alice.password = "falsch".into();
    desk.wait(u64::try_from(NONCE_LIFE.as_millis()).unwrap());
    let wrong = rounds(&mut desk, &mut alice);
    assert!(
        !header(&wrong, "WWW-Authenticate").contains("stale"),
        "only the password's owner is told that it was the nonce"
    );
}

#[test]
fn a_gateway_that_started_anew_says_stale_and_nobody_types_a_password() {
    let mut desk = Desk::with_phones(&["alice"]);
    let mut alice = Phone::new("alice", PHONE);
    alice.registers(&mut desk);
    desk.agent = signaling_trunk::agent::Agent::new(config(), [4; 32]);
    desk.say_lines(lines(&["alice"]));
    let register = alice.register("Contact: <sip:alice@192.0.2.31:5062>\r\n");
    desk.receive(PHONE, &register);
    assert!(header(&desk.taken(), "WWW-Authenticate").contains("stale=true"));
}

#[test]
fn several_contacts_are_held_told_and_run_out_each_in_its_time() {
    let mut desk = Desk::with_phones(&["alice"]).restored_at_each_step();
    let mut desk_phone = Phone::new("alice", PHONE);
    let mut mobile = Phone::new("alice", "192.0.2.32:5060");
    desk_phone.registers_with(
        &mut desk,
        "Contact: <sip:alice@192.0.2.31:5062>;q=0.5;expires=300\r\nExpires: 900\r\n",
    );
    let ok = mobile.registers_with(
        &mut desk,
        "Contact: <sip:alice@192.0.2.32>\r\nExpires: 100000\r\n",
    );
    assert_eq!(
        headers(&ok, "Contact"),
        [
            "<sip:alice@192.0.2.31:5062>;expires=300;q=0.5",
            "<sip:alice@192.0.2.32>;expires=3600"
        ]
    );
    desk.wait(299_000);
    let there = headers(&mobile.registers_with(&mut desk, ""), "Contact");
    assert_eq!(there.len(), 2, "without a Contact it only asks");
    assert!(there[0].contains(";expires=1;"), "{there:?}");
    desk.wait(1_000);
    let there = headers(&mobile.registers_with(&mut desk, ""), "Contact");
    assert_eq!(there, ["<sip:alice@192.0.2.32>;expires=3300"]);
    assert_eq!(mobile.is_up(&desk), Some(true));
    assert_eq!(desk.events.len(), 1, "told once: {:?}", desk.events);
    desk.wait(3_300_000);
    assert_eq!(mobile.is_up(&desk), Some(false));
    assert_eq!(desk.agent.bindings(), 0);
}

#[test]
fn a_contact_is_taken_away_alone_or_with_all_others() {
    let mut desk = Desk::with_phones(&["alice"]);
    let mut alice = Phone::new("alice", PHONE);
    alice.registers_with(
        &mut desk,
        "Contact: <sip:alice@192.0.2.31:5062>, <sip:alice@192.0.2.40>\r\n",
    );
    assert_eq!(desk.agent.bindings(), 2);
    let ok = alice.registers_with(&mut desk, "Contact: <sip:alice@192.0.2.40>;expires=0\r\n");
    assert_eq!(headers(&ok, "Contact").len(), 1);
    for (more, wanted) in [
        ("Contact: *\r\n", 400),
        ("Contact: *\r\nExpires: 60\r\n", 400),
        ("Contact: *, <sip:alice@192.0.2.31>\r\nExpires: 0\r\n", 400),
        ("Contact: <tel:+49301>\r\n", 400),
        ("Contact: *\r\nExpires: 0\r\n", 200),
    ] {
        let left = desk.agent.bindings();
        let answer = alice.registers_with(&mut desk, more);
        assert_eq!(status(&answer), wanted, "{more}");
        let expected = if wanted == 200 { 0 } else { left };
        assert_eq!(desk.agent.bindings(), expected);
    }
    assert_eq!(alice.is_up(&desk), Some(false));
}

#[test]
fn a_registration_that_is_too_brief_gets_423_and_the_least_that_there_is() {
    let mut desk = Desk::with_phones(&["alice"]);
    let mut alice = Phone::new("alice", PHONE);
    let brief = "Contact: <sip:alice@192.0.2.31:5062>, <sip:alice@192.0.2.40>;expires=59\r\n";
    let answer = alice.registers_with(&mut desk, brief);
    assert_eq!(
        (status(&answer), header(&answer, "Min-Expires")),
        (423, "60".into())
    );
    assert_eq!(desk.agent.bindings(), 0, "whole, or not at all");
    let odd = "Contact: <sip:alice@192.0.2.31:5062>;expires=soon\r\n";
    let answer = alice.registers_with(&mut desk, odd);
    assert!(header(&answer, "Contact").contains("expires=3600"));
}

#[test]
fn requests_that_overtook_each_other_do_not_undo_the_later_one() {
    let mut desk = Desk::with_phones(&["alice"]);
    let mut alice = Phone::new("alice", PHONE);
    alice.registers(&mut desk);
    let mut late = alice.clone();
    alice.registers(&mut desk);
    late.session = alice.session.clone();
    let answer = late.registers_with(
        &mut desk,
        "Contact: <sip:alice@192.0.2.31:5062>;expires=0\r\n",
    );
    assert_eq!(status(&answer), 500);
    assert_eq!(desk.agent.bindings(), 1);
    late.call_id = "rebooted".into();
    assert_eq!(
        status(&late.registers(&mut desk)),
        200,
        "another Call-ID counts anew"
    );
}

#[test]
fn where_there_are_too_many_contacts_the_one_refreshed_longest_ago_gives_way() {
    let mut desk = Desk::new();
    let mut said = lines(&["alice"]);
    said.phones[0].max_contacts = 2;
    desk.say_lines(said);
    for port in [5061, 5062, 5063] {
        let mut phone = Phone::new("alice", &format!("192.0.2.31:{port}"));
        let ok = phone.registers(&mut desk);
        assert_eq!(status(&ok), 200);
    }
    let mut phone = Phone::new("alice", "192.0.2.31:5063");
    phone.cseq = 7;
    let there = headers(&phone.registers_with(&mut desk, ""), "Contact");
    assert_eq!(there.len(), 2);
    assert!(
        there[0].contains(":5062") && there[1].contains(":5063"),
        "{there:?}"
    );
}

#[test]
fn nobody_registers_for_somebody_else_and_who_else_exists_is_not_told() {
    let mut desk = Desk::with_phones(&["alice", "bob"]);
    for other in ["bob", "carol"] {
        let mut alice = Phone::new("alice", PHONE);
        alice.registers(&mut desk);
        let register = alice.register("Contact: <sip:x@192.0.2.31:5062>\r\n");
        let register = text(&register).replace("To: <sip:alice@", &format!("To: <sip:{other}@"));
        desk.receive(PHONE, register.as_bytes());
        assert_eq!(status(&desk.taken()), 403);
    }
}

/// What tells one answer from another, without what is drawn for each.
fn face(answer: &[u8]) -> Vec<String> {
    text(answer)
        .lines()
        .filter(|line| !line.starts_with("Via:") && !line.starts_with("To:"))
        .filter(|line| !line.starts_with("From:") && !line.starts_with("Call-ID:"))
        .map(|line| match line.split_once("nonce=\"") {
            Some((before, after)) => {
                let after = after.split_once('"').unwrap().1;
                format!("{before}nonce{after}")
            }
            None => line.to_string(),
        })
        .collect()
}

#[test]
fn a_scanner_hears_the_same_of_known_and_unknown_users_whatever_it_asks() {
    let mut faces = Vec::new();
    for user in ["alice", "nobody"] {
        let mut desk = Desk::with_phones(&["alice"]);
        let mut heard = Vec::new();
        let mut alice = Phone::new("alice", PHONE);
        alice.registers(&mut desk);
        for method in [
            "REGISTER",
            "INVITE",
            "OPTIONS",
            "MESSAGE",
            "SUBSCRIBE",
            "PUBLISH",
        ] {
            let mut scanner = Phone::new(user, STRANGER);
            scanner.password = "1234".into();
            let uri = match method {
                "REGISTER" => format!("sip:{REALM}"),
                _ => format!("sip:{user}@{US}"),
            };
            for round in 0..2 {
                let contact = "Contact: <sip:x@192.0.2.66>\r\n";
                let request = scanner.request(method, &uri, contact, "");
                desk.receive(STRANGER, &request);
                let answer = desk.taken();
                heard.push(face(&answer));
                if status(&answer) == 401 && round == 0 {
                    scanner.challenged(&answer);
                }
            }
        }
        // svcrack: guess after guess, slower and slower.
        let mut cracker = Phone::new(user, STRANGER);
        cracker.password = "guess".into();
        for _ in 0..8 {
            let asked_at = desk.now;
            let request = cracker.register("Contact: <sip:x@192.0.2.66>\r\n");
            desk.receive(STRANGER, &request);
            while desk.sent.is_empty() {
                desk.wait(10);
            }
            let answer = desk.taken();
            heard.push(face(&answer));
            heard.push(vec![format!("{:?}", desk.now - asked_at)]);
            cracker.challenged(&answer);
        }
        assert!(desk.now.0 > 0, "guesses are answered late");
        faces.push(heard);
    }
    assert_eq!(faces[0], faces[1]);
}

#[test]
fn a_path_is_kept_and_told_to_a_client_that_knows_it() {
    let mut desk = Desk::with_phones(&["alice"]);
    let mut alice = Phone::new("alice", PHONE);
    let path = "Path: <sip:edge.test;lr>,<sip:inner.test;lr>\r\nContact: <sip:alice@10.0.0.5>\r\n";
    let ok = alice.registers_with(&mut desk, &format!("Supported: path\r\n{path}"));
    assert_eq!(
        headers(&ok, "Path"),
        ["<sip:edge.test;lr>,<sip:inner.test;lr>"]
    );
    let ok = alice.registers_with(&mut desk, path);
    assert!(headers(&ok, "Path").is_empty());
    let ok = alice.registers_with(&mut desk, "Require: path\r\n");
    assert_eq!(status(&ok), 200);
    let bad = alice.registers_with(
        &mut desk,
        "Path: <tel:1>\r\nContact: <sip:alice@10.0.0.5>\r\n",
    );
    assert_eq!(status(&bad), 400);
}

const INSTANCE: &str = ";+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"";

#[test]
fn a_flow_is_replaced_by_its_instance_and_number_not_by_its_address() {
    let mut desk = Desk::with_phones(&["alice"]).restored_at_each_step();
    let outbound = |port: u16, reg_id: u32| {
        format!(
            "Supported: path, outbound\r\nContact: <sip:alice@10.0.0.5:{port}>{INSTANCE};reg-id={reg_id}\r\n"
        )
    };
    let mut alice = Phone::natted("alice", PHONE);
    let ok = alice.registers_with(&mut desk, &outbound(5060, 1));
    assert_eq!(header(&ok, "Require"), "outbound");
    assert_eq!(header(&ok, "Flow-Timer"), "120");
    assert!(header(&ok, "Contact").ends_with(&format!("{INSTANCE};reg-id=1")));
    // Rebooted behind the same NAT, by another port.
    let mut again = Phone::natted("alice", "192.0.2.31:7000");
    let ok = again.registers_with(&mut desk, &outbound(6060, 1));
    assert_eq!(headers(&ok, "Contact").len(), 1);
    let ok = again.registers_with(&mut desk, &outbound(6060, 2));
    assert_eq!(headers(&ok, "Contact").len(), 2);
    for (contact, wanted) in [
        (format!("<sip:alice@10.0.0.5>{INSTANCE};reg-id=0"), 400),
        (format!("<sip:alice@10.0.0.5>{INSTANCE};reg-id=x"), 400),
        (
            format!(
                "<sip:alice@10.0.0.5>{INSTANCE};reg-id=1, <sip:alice@10.0.0.6>{INSTANCE};reg-id=2"
            ),
            400,
        ),
    ] {
        let more = format!("Supported: outbound\r\nContact: {contact}\r\n");
        assert_eq!(status(&again.registers_with(&mut desk, &more)), wanted);
    }
}

#[test]
fn a_first_proxy_without_outbound_is_told_with_439() {
    let mut desk = Desk::with_phones(&["alice"]);
    for (path, wanted) in [
        ("", 439),
        ("Path: <sip:edge.test;lr>\r\n", 439),
        ("Path: <sip:inner.test;lr>, <sip:edge.test;lr;ob>\r\n", 200),
    ] {
        let mut alice = Phone::new("alice", PHONE);
        alice.cseq = 10 * u32::try_from(path.len()).unwrap();
        let more = format!(
            "Via: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKinner\r\nSupported: path, outbound\r\n{path}\
             Contact: <sip:alice@10.0.0.5>{INSTANCE};reg-id=1\r\n"
        );
        assert_eq!(
            status(&alice.registers_with(&mut desk, &more)),
            wanted,
            "{path}"
        );
    }
}

#[test]
fn who_is_taken_from_the_phones_or_gets_another_password_loses_its_contacts() {
    let mut desk = Desk::with_phones(&["alice", "bob", "carol"]);
    for (user, port) in [("alice", 1), ("bob", 2), ("carol", 3)] {
        Phone::new(user, &format!("192.0.2.31:506{port}")).registers(&mut desk);
    }
    desk.events.clear();
    let mut said = lines(&["bob", "carol"]);
    said.phones[0].ha1_md5 = "0".repeat(32);
    desk.say_lines(said);
    assert_eq!(desk.agent.bindings(), 1);
    let up = |user: &str| Phone::new(user, PHONE).is_up(&desk);
    assert_eq!(
        (up("alice"), up("bob"), up("carol")),
        (Some(false), Some(false), Some(true)),
        "those that are up are told anew"
    );
}

#[test]
fn lines_that_are_up_are_told_to_a_fresh_link() {
    use signaling_trunk::api::Command;
    let mut desk = Desk::with_phones(&["alice", "bob"]);
    let mut alice = Phone::new("alice", PHONE);
    alice.registers(&mut desk);
    desk.events.clear();
    desk.command(Command::Retain {
        accounts: Vec::new(),
        invites: Vec::new(),
    });
    assert_eq!(alice.is_up(&desk), Some(true));
    assert_eq!(desk.events.len(), 1);
}

#[test]
fn ten_thousand_phones_are_held_and_refreshed() {
    let users: Vec<String> = (0..10_000).map(|n| format!("phone{n}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let mut desk = Desk::with_phones(&users);
    let mut phones: Vec<Phone> = users
        .iter()
        .enumerate()
        .map(|(n, user)| Phone::new(user, &format!("198.51.100.{}:{}", n % 250, 10_000 + n)))
        .collect();
    for round in 0..3 {
        for phone in &mut phones {
            phone.hash = Hash::Md5;
            let ok = phone.registers(&mut desk);
            assert_eq!(status(&ok), 200);
            desk.wait(2);
        }
        assert_eq!(desk.agent.bindings(), 10_000, "round {round}");
        desk.wait(1_600_000);
    }
    let ups = desk.events.len();
    assert_eq!(ups, 10_000, "refreshes are told to nobody");
    desk.wait(3_600_000);
    assert_eq!(desk.agent.bindings(), 0);
    assert_eq!(desk.agent.counts()[2], 0, "no transaction is left");
}

#[test]
fn the_way_to_a_phone_behind_a_nat_is_kept_open_as_long_as_it_is_registered() {
    let mut desk = Desk::with_phones(&["alice", "bob"]).restored_at_each_step();
    Phone::natted("alice", PHONE).registers_with(
        &mut desk,
        "Contact: <sip:alice@10.0.0.5:5060>\r\nExpires: 300\r\n",
    );
    Phone::new("bob", "192.0.2.32:5060").registers(&mut desk);
    desk.wait(310_000);
    let kept: Vec<(String, Vec<u8>)> = desk
        .sent
        .drain(..)
        .map(|(to, b)| (to.to_string(), b))
        .collect();
    assert_eq!(kept.len(), 11, "each 25 s");
    for (to, bytes) in kept {
        assert_eq!(
            (to.as_str(), bytes.as_slice()),
            (PHONE, b"\r\n\r\n".as_slice())
        );
    }
}

#[test]
fn a_stun_keep_alive_on_the_sip_port_is_answered_with_the_address_seen() {
    let mut desk = Desk::with_phones(&[]);
    let request = [[0, 1, 0, 0].as_slice(), &[0x21, 0x12, 0xa4, 0x42], &[7; 12]].concat();
    desk.receive("192.0.2.31:5062", &request);
    let answer = desk.taken();
    assert_eq!(answer[..4], [1, 1, 0, 12]);
    assert_eq!(answer[8..20], [7; 12]);
    let port = u16::from_be_bytes([answer[26] ^ 0x21, answer[27] ^ 0x12]);
    assert_eq!(port, 5062);
}
