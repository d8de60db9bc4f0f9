use super::*;
use crate::time::Instant;
use std::time::Duration;

fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}

#[test]
fn an_invite_is_repeated_at_doubling_intervals_until_timer_b() {
    let mut tx = ClientInvite::start(b"INVITE".to_vec(), false, at(0));
    let mut sent = Vec::new();
    let mut gave_up = None;
    while let Some(due) = tx.next_timeout() {
        let turn = tx.on_timeout(due);
        if turn.send {
            sent.push(due.0 / 1000);
        }
        if turn.timed_out {
            gave_up = Some(due.0 / 1000);
        }
    }
    assert_eq!(sent, [500, 1500, 3500, 7500, 15500, 31500]);
    assert_eq!(gave_up, Some(32000));
    assert!(tx.is_terminated());
}

#[test]
fn a_refusal_is_acknowledged_once_for_each_time_it_comes() {
    let mut tx = ClientInvite::start(b"INVITE".to_vec(), false, at(0));
    let turn = tx.on_response(486, at(10), || b"ACK".to_vec());
    assert!(turn.send && turn.deliver);
    assert_eq!(tx.repeats(), b"ACK");
    let turn = tx.on_response(486, at(600), || unreachable!("written once"));
    assert!(turn.send && !turn.deliver);
    tx.on_timeout(at(10) + Duration::from_secs(32));
    assert!(tx.is_terminated());
}

#[test]
fn every_2xx_goes_up_until_timer_m() {
    let mut tx = ClientInvite::start(b"INVITE".to_vec(), false, at(0));
    assert!(tx.on_response(200, at(10), Vec::new).deliver);
    assert!(tx.on_response(200, at(510), Vec::new).deliver);
    assert!(!tx.on_response(486, at(600), Vec::new).deliver);
    assert!(!tx.is_terminated());
    tx.on_timeout(at(32_010));
    assert!(tx.is_terminated());
}

#[test]
fn a_request_is_repeated_every_four_seconds_at_most() {
    let mut tx = ClientNonInvite::start(b"BYE".to_vec(), false, at(0));
    let mut sent = Vec::new();
    while let Some(due) = tx.next_timeout() {
        if tx.on_timeout(due).send {
            sent.push(due.0 / 1000);
        }
    }
    assert_eq!(
        sent,
        [
            500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500
        ]
    );
}

#[test]
fn a_reliable_transport_repeats_nothing() {
    let mut tx = ClientNonInvite::start(b"BYE".to_vec(), true, at(0));
    assert_eq!(tx.next_timeout(), Some(at(32_000)));
    assert!(tx.on_response(200, at(5)).deliver);
    tx.on_timeout(at(5));
    assert!(tx.is_terminated());
}

#[test]
fn a_refusal_of_an_invite_is_repeated_until_the_ack() {
    let mut tx = ServerInvite::start(false);
    assert!(tx.respond(100, b"100".to_vec(), at(0)));
    assert!(tx.on_repeated_invite().send);
    assert!(tx.respond(486, b"486".to_vec(), at(0)));
    assert!(
        !tx.respond(200, b"200".to_vec(), at(1)),
        "only one final response"
    );
    assert!(tx.on_timeout(at(500)).send);
    assert!(tx.on_timeout(at(1500)).send);
    tx.on_ack(at(1600));
    assert!(!tx.on_timeout(at(3500)).send);
    tx.on_timeout(at(6600));
    assert!(tx.is_terminated());
}

#[test]
fn an_invite_repeated_after_its_2xx_is_absorbed() {
    let mut tx = ServerInvite::start(false);
    tx.respond(200, b"200".to_vec(), at(0));
    assert!(!tx.on_repeated_invite().send);
    assert!(!tx.is_terminated());
    tx.on_timeout(at(32_000));
    assert!(tx.is_terminated());
}

#[test]
fn a_response_is_repeated_for_a_repeated_request() {
    let mut tx = ServerNonInvite::start(false);
    assert!(!tx.on_repeated_request().send);
    tx.respond(200, b"200".to_vec(), at(0));
    assert!(tx.on_repeated_request().send);
    tx.on_timeout(at(32_000));
    assert!(tx.is_terminated());
}
