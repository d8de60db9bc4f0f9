//! One way after the other: what leads on, and what the page hears of it.

use crate::planned::{CALLED, plan};
use crate::rig::{PHONE, Rig};
use media_control::{Command as Media, LegId, LegSpec};
use signaling_calls::{Config, Ringback};
use signaling_trunk::api::{End, Line};
use std::time::Duration;

fn hunting(config: Config, to: &[&str]) -> Rig {
    let mut rig = Rig::planned_with(config, plan(to), Some(crate::planned::identity()));
    rig.dial("c1", CALLED);
    rig.told();
    rig
}

const THREE: [&str; 3] = ["trunk:carrier", "trunk:backup", "trunk:third"];

#[test]
fn after_silence_or_a_listed_status_the_next_trunk_is_tried_and_the_page_hears_nothing_of_it() {
    let mut rig = hunting(Config::default(), &THREE);
    let (first, line, ..) = rig.by_line();
    assert_eq!(line, "trunk:carrier");
    rig.refused(first, 0);
    let (second, line, ..) = rig.by_line();
    assert_eq!(line, "trunk:backup");
    rig.refused(second, 503);
    let (third, line, ..) = rig.by_line();
    assert_eq!(line, "trunk:third");
    assert!(rig.told().is_empty());
    rig.progress(third, 180, None);
    rig.answer(third, PHONE);
    assert_eq!(
        rig.told(),
        ["ring RING", "setRemoteSDP", "talk ESTABLISHED"]
    );
    rig.hang_up("c1");
    rig.over(third, End::ByUs { raw: String::new() });
    let record = rig.records.pop().unwrap();
    let tried: Vec<_> = record
        .attempts
        .iter()
        .map(|t| (t.to.as_str(), t.status))
        .collect();
    assert_eq!(
        tried,
        [
            ("trunk:carrier", 0),
            ("trunk:backup", 503),
            ("trunk:third", 0)
        ]
    );
}

#[test]
fn who_is_busy_or_declines_is_not_called_by_another_trunk() {
    for (status, told) in [
        (486, vec!["busy BUSY", "finish BUSY"]),
        (603, vec!["finish FAILED", "fail FAILED"]),
        (404, vec!["finish FAILED", "fail FAILED"]),
    ] {
        let mut rig = hunting(Config::default(), &THREE);
        let (first, ..) = rig.by_line();
        rig.refused(first, status);
        assert_eq!(rig.invites_out(), 0, "{status}");
        assert_eq!(rig.told(), told, "{status}");
    }
}

#[test]
fn the_page_hears_of_failure_from_the_last_one_only_and_with_its_text() {
    let mut rig = hunting(Config::default(), &["trunk:carrier", "trunk:backup"]);
    let (first, ..) = rig.by_line();
    rig.refused(first, 503);
    let (second, ..) = rig.by_line();
    rig.refused(second, 502);
    let finish = rig.last("finish")[0].clone();
    assert_eq!(finish["sipStatus"], 502);
    assert_eq!(finish["sipMessageRaw"], "SIP/2.0 502 No\r\n");
    assert_eq!(rig.told(), ["finish FAILED", "fail FAILED"]);
    rig.wait(Duration::from_secs(100));
    assert_eq!(rig.records.len(), 1);
}

#[test]
fn early_media_of_a_way_that_failed_is_forgotten_and_the_browser_keeps_its_one_description() {
    let mut rig = hunting(Config::default(), &["trunk:carrier", "trunk:backup"]);
    let (first, ..) = rig.by_line();
    rig.progress(first, 183, Some(PHONE));
    rig.media.clear();
    rig.refused(first, 503);
    let asked = rig.media_asked();
    let parted = asked.iter().any(|c| matches!(c, Media::Part { .. }));
    let closed = asked.iter().any(|c| matches!(c, Media::CloseLeg { .. }));
    assert!(parted && closed, "{asked:?}");
    let (second, ..) = rig.by_line();
    rig.answer(second, PHONE);
    let asked = rig.media_asked();
    let joined = asked.iter().find_map(|c| match c {
        Media::Join { b, .. } => Some(*b),
        _ => None,
    });
    assert_eq!(joined, Some(LegId(1024 + 2)));
    let told = rig.told();
    let answers = told.iter().filter(|t| *t == "setRemoteSDP").count();
    assert_eq!(answers, 1, "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("talk ESTABLISHED"));
}

#[test]
fn a_second_trunk_that_rings_is_no_second_ring_and_our_ringback_plays_on() {
    let config = Config {
        ringback: Ringback::Eu,
        ..Config::default()
    };
    let mut rig = hunting(config, &["trunk:carrier", "trunk:backup"]);
    let (first, ..) = rig.by_line();
    rig.progress(first, 180, None);
    rig.wait(Duration::from_secs(2));
    assert_eq!(rig.told(), ["ring RING", "setRemoteSDP"]);
    rig.media.clear();
    rig.refused(first, 503);
    let (second, ..) = rig.by_line();
    rig.progress(second, 180, None);
    assert!(rig.told().is_empty());
    let touched = rig.media_asked().into_iter().any(|c| {
        let tone = |spec: &LegSpec| matches!(spec, LegSpec::Source(_));
        matches!(c, Media::Part { .. } | Media::Join { .. })
            || matches!(c, Media::CreateLeg { spec, .. } if tone(&spec))
    });
    assert!(!touched, "the ringback plays on");
    rig.answer(second, PHONE);
    assert_eq!(rig.told(), ["talk ESTABLISHED"]);
}

#[test]
fn all_ways_together_ring_no_longer_than_the_rule_says() {
    let mut rig = hunting(Config::default(), &["trunk:carrier", "trunk:backup"]);
    let (first, ..) = rig.by_line();
    rig.wait(Duration::from_secs(30));
    rig.refused(first, 503);
    let (second, ..) = rig.by_line();
    rig.wait(Duration::from_secs(9));
    assert!(rig.told().is_empty());
    rig.wait(Duration::from_secs(2));
    assert_eq!(rig.told(), ["finish FAILED", "fail FAILED"]);
    assert!(rig.hung_up(second));
}

#[test]
fn a_page_that_hangs_up_cancels_the_way_that_is_pending_and_no_other_is_tried() {
    let mut rig = hunting(Config::default(), &THREE);
    let (first, ..) = rig.by_line();
    rig.refused(first, 503);
    let (second, ..) = rig.by_line();
    rig.hang_up("c1");
    assert!(rig.hung_up(second));
    rig.over(second, End::ByUs { raw: String::new() });
    assert_eq!(rig.invites_out(), 0);
    assert_eq!(rig.told(), ["finish FINISH"]);
    assert_eq!(rig.records.len(), 1);
}

#[test]
fn a_page_that_hangs_up_between_two_ways_gets_no_call() {
    let mut rig = hunting(Config::default(), &THREE);
    let (first, ..) = rig.by_line();
    rig.media_works = false;
    rig.refused(first, 503);
    rig.hang_up("c1");
    assert_eq!(rig.invites_out(), 0);
    assert_eq!(rig.told(), ["finish FINISH"]);
}

#[test]
fn trunks_that_are_known_to_be_down_are_tried_last() {
    let mut rig = Rig::planned(plan(&THREE));
    rig.line(Line::Trunk("carrier".into()), false);
    rig.dial("c1", CALLED);
    for wanted in ["trunk:backup", "trunk:third", "trunk:carrier"] {
        let (invite, line, ..) = rig.by_line();
        assert_eq!(line, wanted);
        rig.refused(invite, 0);
    }
}

#[test]
fn a_redirection_goes_where_the_plan_leads_and_not_where_it_points() {
    let mut rig = hunting(Config::default(), &["trunk:carrier"]);
    let (first, ..) = rig.by_line();
    rig.refused_to(first, 302, &["sip:+4940555@evil.test:5070"]);
    let (second, line, user, _) = rig.by_line();
    assert_eq!(
        (line.as_str(), user.as_str()),
        ("trunk:carrier", "+4940555")
    );
    rig.answer(second, PHONE);
    assert_eq!(
        rig.told().last().map(String::as_str),
        Some("talk ESTABLISHED")
    );
}

#[test]
fn a_redirection_to_what_the_session_may_not_call_ends_the_call() {
    for (contact, prefixes) in [
        ("sip:+4940555@carrier.test", Some(vec!["+1".to_owned()])),
        ("sip:112@carrier.test", None),
        ("sip:not-a-number@carrier.test", None),
    ] {
        let who = signaling_protocol::LineIdentity {
            prefixes,
            ..crate::planned::identity()
        };
        let plan = plan(&["trunk:carrier"]);
        let mut rig = Rig::planned_with(Config::default(), plan, Some(who));
        rig.dial("c1", CALLED);
        let (first, ..) = rig.by_line();
        rig.refused_to(first, 302, &[contact]);
        assert_eq!(rig.invites_out(), 0, "{contact}");
        assert_eq!(rig.last("finish")[0]["sipStatus"], 302);
    }
}

#[test]
fn redirections_in_a_circle_come_to_an_end() {
    let mut rig = hunting(Config::default(), &["trunk:carrier"]);
    let mut tried = 0;
    while rig.invites_out() > 0 {
        let (invite, ..) = rig.by_line();
        tried += 1;
        let next = format!("sip:+4940{tried}@x.test");
        rig.refused_to(invite, 302, &[&next, "sip:+15551234567@x.test"]);
        assert!(tried < 20);
    }
    assert_eq!(tried, 6);
    assert_eq!(rig.last("finish")[0]["status"], "FAILED");
}

#[test]
fn a_hunting_call_that_is_restored_between_any_two_steps_goes_on() {
    let mut rig = Rig::planned(plan(&THREE));
    rig.reincarnates = true;
    rig.dial("c1", CALLED);
    let (first, ..) = rig.by_line();
    rig.progress(first, 180, None);
    rig.refused(first, 503);
    let (second, ..) = rig.by_line();
    rig.refused(second, 0);
    let (third, ..) = rig.by_line();
    rig.answer(third, PHONE);
    assert_eq!(
        rig.told().last().map(String::as_str),
        Some("talk ESTABLISHED")
    );
}
