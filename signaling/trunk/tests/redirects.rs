//! Where a call goes that is answered with 3xx, 503 or silence, and how 401, 408 and 491 end it.

mod common;

use common::*;
use signaling_sip::message::Message;
use signaling_trunk::agent::{Config, Output};
use signaling_trunk::api::{
    AccountId, AccountSpec, Cause, Command, End, Event, Failure, ForkId, InviteId,
};
use signaling_trunk::redirect::Redirect;
use signaling_trunk::targets::{Answer, Question, Service};

fn desk() -> Desk {
    Desk::registered().restored_at_each_step()
}

/// With an account without a proxy, whose domain is a name; `addresses` answer for it.
fn looking_up(addresses: &[[u8; 4]]) -> Desk {
    let mut desk = Desk::new().restored_at_each_step();
    desk.command(Command::OpenAccount {
        account: AccountId(1),
        spec: AccountSpec {
            proxy: String::new(),
            register: false,
            ..spec("")
        },
    });
    desk.command(invite(b"v=0 offer"));
    resolve(&mut desk, addresses);
    desk
}

fn resolve(desk: &mut Desk, addresses: &[[u8; 4]]) {
    for _ in 0..2 {
        for output in std::mem::take(&mut desk.others) {
            let Output::Ask { query, question } = output else {
                continue;
            };
            let answer = match question {
                Question::Services { name } if name.starts_with("_sip._udp") => {
                    let service = |n: u8| Service {
                        priority: u16::from(n),
                        weight: 0,
                        port: 5060,
                        target: format!("{n}.pbx.test"),
                    };
                    Answer::Services(addresses.iter().map(|a| service(a[3])).collect())
                }
                Question::Services { .. } | Question::Pointers { .. } => Answer::Nothing,
                Question::Addresses { name } => {
                    let of = |a: &&[u8; 4]| name.starts_with(&format!("{}.", a[3]));
                    let found = addresses.iter().filter(of).map(|a| (*a).into());
                    Answer::Addresses(found.collect())
                }
            };
            desk.step(signaling_trunk::agent::Input::Answer { query, answer });
        }
    }
}

/// The same call once more, under another number.
fn invite_as(number: u64) -> Command {
    let mut command = invite(b"v=0 offer");
    if let Command::Invite { invite, .. } = &mut command {
        *invite = InviteId(number);
    }
    command
}

/// The INVITE under way and where it went; ACKs are taken off.
fn sent_invite(desk: &mut Desk) -> (String, Vec<u8>) {
    let sent = std::mem::take(&mut desk.sent);
    let mut invites = sent.into_iter().filter(|(_, b)| b.starts_with(b"INVITE "));
    let (to, bytes) = invites.next().expect("an INVITE");
    assert!(invites.next().is_none());
    (to.to_string(), bytes)
}

fn uri(bytes: &[u8]) -> String {
    text(Message::parse(bytes).unwrap().uri_text())
}

fn failure(desk: &Desk) -> Option<&Failure> {
    match desk.events.last() {
        Some(Event::Ended {
            end: End::Failed(failure),
            ..
        }) => Some(failure),
        _ => None,
    }
}

#[test]
fn a_302_is_followed_through_the_accounts_proxy_in_the_same_call() {
    let mut desk = desk();
    let first = desk.call();
    desk.answer_as("f", &first, "181 Call Is Being Forwarded", "", "");
    desk.answer(
        &first,
        "302 Moved",
        "Contact: <sip:bob@198.51.100.9;x=1?Subject=y>\r\n",
        "",
    );
    let (to, second) = sent_invite(&mut desk);
    assert_eq!(to, PBX, "the account has a proxy");
    assert_eq!(uri(&second), "sip:bob@198.51.100.9;x=1");
    for same in ["From", "To", "Call-ID", "Contact", "X-Call"] {
        assert_eq!(header(&first, same), header(&second, same), "{same}");
    }
    assert_eq!(header(&second, "CSeq"), "2 INVITE");
    assert!(text(&second).ends_with("v=0 offer"));
    desk.answer_as(
        "g",
        &second,
        "180 Ringing",
        "Contact: <sip:bob@192.0.2.1>\r\n",
        "",
    );
    assert!(matches!(
        desk.events.last(),
        Some(Event::Progress {
            fork: ForkId(1),
            status: 180,
            ..
        })
    ));
    desk.answer_as(
        "g",
        &second,
        "200 OK",
        "Contact: <sip:bob@192.0.2.1>\r\n",
        "v=0 answer",
    );
    assert!(matches!(
        desk.events.last(),
        Some(Event::Answered {
            invite: CALL,
            fork: ForkId(1),
            ..
        })
    ));
    assert_eq!(header(&desk.taken(), "CSeq"), "2 ACK");
}

#[test]
fn contacts_are_called_by_their_q_until_one_answers() {
    let mut desk = desk();
    let mut message = desk.call();
    let contacts = "Contact: <sip:low@c.test>;q=0.1, <sip:mid@c.test>;q=0.5\r\nm: <sip:high@c.test>, \
        <sips:safe@c.test>, <mailto:bob@c.test>, <sip:high@c.test>;q=0.2\r\n";
    desk.answer(&message, "300 Multiple Choices", contacts, "");
    let mut called = Vec::new();
    for refusal in ["486 Busy Here", "408 Request Timeout", "404 Not Found"] {
        message = sent_invite(&mut desk).1;
        called.push(uri(&message));
        desk.answer(&message, refusal, "", "");
    }
    assert_eq!(
        called,
        ["sip:high@c.test", "sip:mid@c.test", "sip:low@c.test"]
    );
    assert_eq!(
        failure(&desk).unwrap().status,
        404,
        "the last failure is told"
    );
    let ends = desk
        .events
        .iter()
        .filter(|e| matches!(e, Event::Ended { .. }));
    assert_eq!(ends.count(), 1);
}

#[test]
fn a_600_speaks_for_the_other_contacts_as_well() {
    let mut desk = desk();
    let message = desk.call();
    desk.answer(
        &message,
        "302 Moved",
        "Contact: <sip:a@c.test>, <sip:b@c.test>\r\n",
        "",
    );
    let message = sent_invite(&mut desk).1;
    desk.answer(&message, "600 Busy Everywhere", "", "");
    assert_eq!(failure(&desk).unwrap().status, 600);
}

#[test]
fn no_target_is_called_twice_and_no_more_than_five() {
    let mut desk = desk();
    let first = desk.call();
    let back = format!("Contact: <{}>\r\n", uri(&first));
    desk.answer(&first, "302 Moved", &back, "");
    assert_eq!(failure(&desk).unwrap().status, 302, "a loop of one");

    let mut desk = self::desk();
    let mut message = desk.call();
    for n in 0..5 {
        desk.answer(
            &message,
            "302 Moved",
            &format!("Contact: <sip:{n}@c.test>\r\n"),
            "",
        );
        message = sent_invite(&mut desk).1;
        assert_eq!(uri(&message), format!("sip:{n}@c.test"));
    }
    desk.answer(&message, "302 Moved", "Contact: <sip:6@c.test>\r\n", "");
    assert_eq!(failure(&desk).unwrap().status, 302);
}

#[test]
fn redirections_are_refused_where_the_setting_says_so_and_where_they_name_no_callee() {
    for (redirect, line, contact) in [
        (
            Redirect::Refuse,
            "302 Moved",
            "Contact: <sip:bob@c.test>\r\n",
        ),
        (Redirect::Follow, "302 Moved", ""),
        (
            Redirect::Follow,
            "302 Moved",
            "Contact: <mailto:bob@c.test>\r\n",
        ),
        (Redirect::Follow, "302 Moved", "Contact: nonsense\r\n"),
        (
            Redirect::Follow,
            "305 Use Proxy",
            "Contact: <sip:c.test>\r\n",
        ),
        (
            Redirect::Follow,
            "380 Alternative Service",
            "Contact: <sip:bob@c.test>\r\n",
        ),
    ] {
        let mut desk = Desk::registered_with(Config {
            redirect,
            ..config()
        });
        let message = desk.call();
        desk.answer(&message, line, contact, "");
        let told = failure(&desk).map(|f| f.status.to_string());
        assert_eq!(told.as_deref(), line.split(' ').next(), "{line} {contact}");
        assert_eq!(desk.methods(), ["ACK"]);
    }
}

#[test]
fn a_tel_contact_goes_to_the_accounts_own_server() {
    let mut desk = desk();
    let message = desk.call();
    desk.answer(&message, "302 Moved", "Contact: <tel:+4930123>\r\n", "");
    let (to, message) = sent_invite(&mut desk);
    assert_eq!((to.as_str(), uri(&message).as_str()), (PBX, "tel:+4930123"));
}

#[test]
fn without_a_proxy_the_target_itself_is_called_if_it_is_allowed_and_hears_no_credentials() {
    let mut desk = looking_up(&[[192, 0, 2, 21]]);
    let (to, message) = sent_invite(&mut desk);
    assert_eq!(to, "192.0.2.21:5060");
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\n";
    desk.answer(&message, "401 Unauthorized", challenge, "");
    let (_, message) = sent_invite(&mut desk);
    assert!(!header(&message, "Authorization").is_empty());
    let contacts = "Contact: <sip:bob@169.254.169.254>, <sip:bob@192.0.2.77:5080>\r\n";
    desk.answer(&message, "302 Moved", contacts, "");
    let (to, message) = sent_invite(&mut desk);
    assert_eq!(to, "192.0.2.77:5080", "the first is not to be sent to");
    assert_eq!(header(&message, "Authorization"), "");
    desk.answer(&message, "401 Unauthorized", challenge, "");
    assert_eq!(
        failure(&desk).unwrap().status,
        401,
        "a stranger gets no digest to guess at"
    );
    let user = desk.contact_user(&message);
    let ring = desk.inbound("INVITE", &user, "r", 1, "", "v=0");
    desk.sent.clear();
    desk.receive("192.0.2.77:5060", &ring);
    assert_eq!(status(&desk.taken()), 404, "nor may it ring");
}

#[test]
fn a_redirection_to_where_nobody_may_be_sent_fails_by_name() {
    let mut desk = looking_up(&[[192, 0, 2, 21]]);
    let (_, message) = sent_invite(&mut desk);
    desk.answer(
        &message,
        "302 Moved",
        "Contact: <sip:bob@169.254.169.254>\r\n",
        "",
    );
    assert_eq!(failure(&desk).unwrap().cause, Cause::NotAllowed);
}

#[test]
fn a_hangup_during_a_redirection_ends_it() {
    let mut desk = desk();
    let message = desk.call();
    desk.answer(&message, "302 Moved", "Contact: <sip:bob@c.test>\r\n", "");
    let (_, message) = sent_invite(&mut desk);
    desk.answer(&message, "180 Ringing", "", "");
    desk.command(Command::Hangup {
        invite: CALL,
        status: None,
    });
    let cancel = desk.taken();
    assert!(text(&cancel).starts_with("CANCEL sip:bob@c.test "));
    desk.answer(&cancel, "200 OK", "", "");
    desk.answer(&message, "302 Moved", "Contact: <sip:other@c.test>\r\n", "");
    assert_eq!(desk.methods(), ["ACK"]);
    assert!(matches!(
        desk.events.last(),
        Some(Event::Ended {
            end: End::ByUs { .. },
            ..
        })
    ));
    desk.wait(100_000);
    assert_eq!(desk.agent.counts()[1..3], [0, 0]);
}

#[test]
fn a_503_goes_on_to_the_next_address_and_rests_the_first() {
    let both = [[192, 0, 2, 21], [192, 0, 2, 22]];
    let mut desk = looking_up(&both);
    let (to, message) = sent_invite(&mut desk);
    assert_eq!(to, "192.0.2.21:5060");
    desk.answer(
        &message,
        "503 Service Unavailable",
        "Retry-After: 60 (soon);duration=9\r\n",
        "",
    );
    let (to, message) = sent_invite(&mut desk);
    assert_eq!(to, "192.0.2.22:5060");
    desk.answer(&message, "486 Busy Here", "", "");
    desk.sent.clear();
    for (number, wait, first) in [
        (4, 50_000, "192.0.2.22:5060"),
        (6, 11_000, "192.0.2.21:5060"),
    ] {
        desk.wait(wait);
        desk.sent.clear();
        desk.command(invite_as(number));
        resolve(&mut desk, &both);
        let (to, message) = sent_invite(&mut desk);
        assert_eq!(to, first);
        desk.answer(&message, "486 Busy Here", "", "");
    }
}

#[test]
fn a_503_from_the_last_address_is_told() {
    let mut desk = looking_up(&[[192, 0, 2, 21]]);
    let (_, message) = sent_invite(&mut desk);
    desk.answer(
        &message,
        "503 Service Unavailable",
        "Retry-After: 5\r\n",
        "",
    );
    assert_eq!(failure(&desk).unwrap().status, 503);
    desk.sent.clear();
    desk.command(invite_as(4));
    resolve(&mut desk, &[[192, 0, 2, 21]]);
    assert_eq!(
        sent_invite(&mut desk).0,
        "192.0.2.21:5060",
        "and is asked again by the next call"
    );
}

#[test]
fn an_address_that_never_answers_rests_as_well() {
    let both = [[192, 0, 2, 21], [192, 0, 2, 22]];
    let mut desk = looking_up(&both);
    desk.wait(32_000);
    let (to, last) = desk.sent.pop().unwrap();
    assert_eq!(to, "192.0.2.22:5060".parse().unwrap());
    desk.sent.clear();
    desk.answer(&last, "486 Busy Here", "", "");
    desk.wait(25_000);
    desk.sent.clear();
    desk.command(invite_as(4));
    resolve(&mut desk, &both);
    assert_eq!(sent_invite(&mut desk).0, "192.0.2.22:5060");
}

#[test]
fn a_long_call_does_not_wait_for_tcp_where_it_was_refused_a_moment_ago() {
    let mut desk = desk();
    let long = |number| {
        let mut command = invite_as(number);
        if let Command::Invite { sdp, .. } = &mut command {
            *sdp = vec![b'v'; 1400];
        }
        command
    };
    let opened = |desk: &mut Desk| {
        let outputs = std::mem::take(&mut desk.others);
        outputs.into_iter().find_map(|o| match o {
            Output::OpenStream { stream, .. } => Some(stream),
            _ => None,
        })
    };
    desk.command(long(4));
    let stream = opened(&mut desk).expect("TCP is tried");
    desk.step(signaling_trunk::agent::Input::StreamClosed { stream });
    assert!(sent_invite(&mut desk).1.len() > 1400);
    desk.command(long(6));
    assert!(sent_invite(&mut desk).1.len() > 1400, "by UDP at once");
    assert!(opened(&mut desk).is_none());
    desk.wait(31_000);
    desk.command(long(8));
    assert!(
        opened(&mut desk).is_some(),
        "and by TCP again some time after"
    );
}

#[test]
fn credentials_are_tried_once_for_each_fresh_nonce() {
    let mut desk = desk();
    let mut message = desk.call();
    let challenge = |nonce: &str, stale: &str| {
        format!("Proxy-Authenticate: Digest realm=\"p\", nonce=\"{nonce}\"{stale}\r\n")
    };
    desk.answer(&message, "407 Proxy", &challenge("1", ""), "");
    message = sent_invite(&mut desk).1;
    desk.answer(&message, "407 Proxy", &challenge("2", ", stale=true"), "");
    message = sent_invite(&mut desk).1;
    assert!(text(&message).contains("nonce=\"2\""));
    desk.answer(&message, "407 Proxy", &challenge("2", ", stale=true"), "");
    assert_eq!(failure(&desk).unwrap().status, 407, "the same nonce again");

    let mut desk = self::desk();
    let mut message = desk.call();
    let mut tries = 0;
    for nonce in 0..20 {
        desk.answer(
            &message,
            "407 Proxy",
            &challenge(&nonce.to_string(), ", stale=true"),
            "",
        );
        if failure(&desk).is_some() {
            break;
        }
        tries += 1;
        message = sent_invite(&mut desk).1;
    }
    assert_eq!(tries, 5, "and no proxy makes us try for ever");
}

#[test]
fn what_else_refuses_a_first_invite_fails_it_at_once() {
    for line in [
        "408 Request Timeout",
        "491 Request Pending",
        "403 Forbidden",
        "500 Error",
    ] {
        let mut desk = desk();
        let message = desk.call();
        desk.answer(&message, line, "", "");
        let failure = failure(&desk).unwrap();
        assert_eq!(failure.status.to_string(), line.split(' ').next().unwrap());
        assert_eq!(desk.methods(), ["ACK"], "{line}");
        desk.events.clear();
        desk.wait(10_000);
        assert!(desk.events.is_empty());
    }
}

#[test]
fn a_3xx_that_the_calls_want_to_hear_of_is_not_followed_and_tells_its_contacts_the_likeliest_first()
{
    let mut desk = desk();
    let mut command = invite(b"v=0 offer");
    if let Command::Invite { options, .. } = &mut command {
        options.tell_redirects = true;
    }
    desk.sent.clear();
    desk.command(command);
    let (_, first) = sent_invite(&mut desk);
    desk.answer(
        &first,
        "302 Moved",
        "Contact: <sip:+4930@a.test?Subject=y>;q=0.2, <tel:+4940>;q=0.9\r\n",
        "",
    );
    let failure = failure(&desk).unwrap();
    assert_eq!(failure.status, 302);
    assert_eq!(failure.contacts, ["tel:+4940", "sip:+4930@a.test"]);
    let invites = desk.sent.iter().filter(|(_, b)| b.starts_with(b"INVITE "));
    assert_eq!(invites.count(), 0);
}
