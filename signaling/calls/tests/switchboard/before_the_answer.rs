//! 18x of one fork and of several, early media, our own ringback, and the 200 that comes from elsewhere.

use crate::rig::{PHONE, Rig, SOURCE};
use media_control::{
    Codec, Command as Media, Event as MediaEvent, LegFailure, LegId, LegSpec, Source,
};
use serde_json::json;
use signaling_calls::{CodecPolicy, Config, Input, Ringback};
use signaling_trunk::api::{Command as Trunk, End, Event, Failure, ForkId, InviteId, OfferId};
use std::time::Duration;

fn calling(config: Config) -> (Rig, InviteId) {
    let mut rig = Rig::registered(config);
    rig.dial("c1", "1002");
    let (invite, _) = rig.invite();
    rig.told();
    rig.media.clear();
    (rig, invite)
}

fn with(ringback: Ringback) -> Config {
    Config {
        ringback,
        ..Config::default()
    }
}

/// A description of another branch, told apart by its port.
fn branch(port: u16) -> String {
    PHONE.replace("m=audio 20000", &format!("m=audio {port}"))
}

/// Where media was told to send, in order.
fn ports(rig: &Rig) -> Vec<u16> {
    rig.media
        .iter()
        .filter_map(|c| match c {
            Media::ConnectLeg { remote, .. } => match &remote.transport {
                media_control::RemoteTransport::Rtp { rtp: Some(at), .. } => Some(at.port()),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

fn descriptions(rig: &Rig) -> usize {
    rig.page
        .iter()
        .filter(|m| m["message"] == "setRemoteSDP")
        .count()
}

#[test]
fn each_18x_is_told_in_the_words_of_pages_with_its_own_status_and_text() {
    for (status, sdp, told, word) in [
        (180, false, vec!["ring RING"], "RING"),
        (181, false, vec!["ring RING"], "RING"),
        (182, false, vec!["ring RING"], "RING"),
        (
            180,
            true,
            vec!["setRemoteSDP", "ring RING_MEDIA"],
            "RING_MEDIA",
        ),
        (
            183,
            false,
            vec!["sessionProgress SESSION_PROGRESS", "ring SESSION_PROGRESS"],
            "SESSION_PROGRESS",
        ),
        (
            183,
            true,
            vec![
                "setRemoteSDP",
                "sessionProgress SESSION_PROGRESS",
                "ring SESSION_PROGRESS",
            ],
            "SESSION_PROGRESS",
        ),
        (199, false, vec![], ""),
        (100, false, vec![], ""),
    ] {
        let (mut rig, invite) = calling(Config::default());
        rig.progress(invite, status, sdp.then_some(PHONE));
        if !word.is_empty() {
            let ring = rig.last("ring")[0].clone();
            assert_eq!(ring["sipStatus"], status);
            assert_eq!(ring["status"], word);
            let raw = ring["sipMessageRaw"].as_str().unwrap();
            assert!(raw.starts_with(&format!("SIP/2.0 {status}")));
        }
        assert_eq!(rig.told(), told, "{status} {sdp}");
    }
}

#[test]
fn several_18x_are_told_one_by_one_and_the_browser_is_answered_once() {
    let (mut rig, invite) = calling(Config::default());
    for (status, sdp) in [(180, None), (181, None), (183, Some(PHONE)), (180, None)] {
        rig.progress(invite, status, sdp);
    }
    rig.answer(invite, PHONE);
    assert_eq!(
        rig.told(),
        [
            "ring RING",
            "ring RING",
            "setRemoteSDP",
            "sessionProgress SESSION_PROGRESS",
            "ring SESSION_PROGRESS",
            "ring RING",
            "talk ESTABLISHED"
        ]
    );
}

#[test]
fn of_two_branches_with_early_media_the_first_is_heard_and_the_one_that_answers_is_bridged() {
    let (mut rig, invite) = calling(Config::default());
    rig.progress_of(0, invite, 183, Some(&branch(20002)));
    rig.progress_of(1, invite, 183, Some(&branch(20004)));
    rig.progress_of(0, invite, 183, Some(&branch(20002)));
    assert_eq!(ports(&rig), [20002]);
    rig.answer_of(1, invite, Some(&branch(20004)));
    assert_eq!(ports(&rig), [20002, 20004]);
    assert_eq!(descriptions(&rig), 1);
    let joins = rig.media.iter().filter(|c| matches!(c, Media::Join { .. }));
    assert_eq!(joins.count(), 1, "it is the same leg, pointed elsewhere");
    assert_eq!(rig.told().last().unwrap(), "talk ESTABLISHED");
}

#[test]
fn a_200_without_a_description_means_that_of_its_own_fork() {
    let (mut rig, invite) = calling(Config::default());
    rig.progress_of(0, invite, 183, Some(&branch(20002)));
    rig.progress_of(1, invite, 183, Some(&branch(20004)));
    rig.answer_of(1, invite, None);
    assert_eq!(ports(&rig), [20002, 20004]);
    assert_eq!(rig.told().last().unwrap(), "talk ESTABLISHED");
    // And with none at all there is nothing to talk by.
    let (mut rig, invite) = calling(Config::default());
    rig.answer_of(0, invite, None);
    assert_eq!(rig.last("finish")[0]["info"], "No common codecs");
}

#[test]
fn a_branch_that_is_gone_gives_way_to_another_with_media() {
    let (mut rig, invite) = calling(Config::default());
    for (fork, port) in [(0, 20002), (1, 20004), (2, 20006)] {
        rig.progress_of(fork, invite, 183, Some(&branch(port)));
    }
    rig.told();
    rig.progress_of(2, invite, 199, None);
    assert_eq!(ports(&rig), [20002], "that one was not heard");
    rig.progress_of(0, invite, 199, None);
    assert_eq!(ports(&rig), [20002, 20004]);
    rig.progress_of(1, invite, 199, None);
    assert!(rig.told().is_empty(), "pages have no word for it");
    // With none left the next one that comes is heard.
    rig.progress_of(3, invite, 183, Some(&branch(20008)));
    assert_eq!(ports(&rig), [20002, 20004, 20008]);
    assert_eq!(descriptions(&rig), 0, "the browser has its answer");
}

#[test]
fn early_dialogs_are_remembered_up_to_a_limit() {
    let (mut rig, invite) = calling(Config::default());
    for fork in 0..100_u32 {
        let port = u16::try_from(20_000 + 2 * fork).unwrap();
        rig.progress_of(fork, invite, 183, Some(&branch(port)));
    }
    rig.answer_of(99, invite, Some(&branch(20198)));
    assert_eq!(ports(&rig), [20000, 20198]);
}

#[test]
fn a_183_and_then_a_200_with_another_description_moves_the_far_leg_alone() {
    let (mut rig, invite) = calling(Config::default());
    rig.progress(invite, 183, Some(&branch(20002)));
    rig.answer(invite, &branch(20010));
    assert_eq!(ports(&rig), [20002, 20010]);
    assert_eq!(descriptions(&rig), 1);
}

#[test]
fn an_update_before_the_answer_is_answered_and_followed_if_its_fork_is_heard() {
    let (mut rig, invite) = calling(Config::default());
    rig.progress_of(0, invite, 183, Some(&branch(20002)));
    rig.progress_of(1, invite, 183, Some(&branch(20004)));
    let update = |rig: &mut Rig, fork: u32, n: u64, sdp: Option<String>| {
        rig.give(Input::Trunk(Event::Offered {
            invite,
            offer: OfferId(n),
            sdp: sdp.map(String::into_bytes),
            source: SOURCE.parse().unwrap(),
            raw: "UPDATE".into(),
            fork: Some(ForkId(fork)),
        }));
        rig.asked().pop().unwrap()
    };
    let answer = update(&mut rig, 0, 1, Some(branch(20012)));
    let Trunk::AnswerOffer { sdp, .. } = answer else {
        panic!("{answer:?}")
    };
    let sdp = String::from_utf8(sdp).unwrap();
    assert!(sdp.contains("m=audio 20000 RTP/AVP 0 101"), "{sdp}");
    assert_eq!(ports(&rig), [20002, 20012]);
    // The other branch is answered as well, and heard only when it is its turn.
    let answer = update(&mut rig, 1, 2, Some(branch(20014)));
    assert!(matches!(answer, Trunk::AnswerOffer { .. }));
    assert_eq!(ports(&rig), [20002, 20012]);
    rig.progress_of(0, invite, 199, None);
    assert_eq!(ports(&rig), [20002, 20012, 20014]);
    let answer = update(&mut rig, 1, 3, Some("v=0\r\n".into()));
    assert!(matches!(answer, Trunk::RefuseOffer { status: 488, .. }));
    assert_eq!(descriptions(&rig), 1);
}

#[test]
fn an_early_description_that_is_of_no_use_is_no_reason_to_give_up() {
    let (mut rig, invite) = calling(Config::default());
    rig.progress(invite, 183, Some("v=0\r\nm=audio 1 RTP/AVP 18\r\n"));
    assert_eq!(
        rig.told(),
        ["sessionProgress SESSION_PROGRESS", "ring SESSION_PROGRESS"]
    );
    rig.answer(invite, PHONE);
    assert_eq!(rig.told(), ["setRemoteSDP", "talk ESTABLISHED"]);
}

fn ringback(rig: &Rig) -> Option<(LegId, Source)> {
    rig.media.iter().find_map(|c| match c {
        Media::CreateLeg {
            leg,
            spec: LegSpec::Source(source),
            ..
        } => Some((*leg, source.clone())),
        _ => None,
    })
}

/// 180, and the second that it takes until a page hears a ringback.
fn rings(rig: &mut Rig, invite: InviteId) {
    rig.progress(invite, 180, None);
    rig.wait(Duration::from_secs(1));
}

#[test]
fn a_page_hears_a_ringback_of_ours_until_the_answer() {
    for (country, tones, pattern) in [
        (Ringback::Eu, vec![425.0], vec![(1000, 4000)]),
        (Ringback::Us, vec![440.0, 480.0], vec![(2000, 4000)]),
        (
            Ringback::Gb,
            vec![400.0, 450.0],
            vec![(400, 200), (400, 2000)],
        ),
    ] {
        let (mut rig, invite) = calling(with(country));
        rings(&mut rig, invite);
        let (leg, source) = ringback(&rig).unwrap();
        let Source::Ringback {
            tones_hz,
            on_off_ms,
            ..
        } = source
        else {
            panic!("{source:?}")
        };
        assert_eq!((tones_hz, on_off_ms), (tones, pattern));
        let browser = LegId(leg.0 - leg.0 % 32);
        assert!(rig.media.contains(&Media::Join { a: browser, b: leg }));
        // Once, however often it rings.
        rings(&mut rig, invite);
        assert_eq!(rig.told(), ["ring RING", "setRemoteSDP", "ring RING"]);
        rig.media.clear();
        rig.answer(invite, PHONE);
        let far = LegId(browser.0 + 1);
        let media = rig.media_asked();
        assert_eq!(
            media[1..],
            [
                Media::Part { a: browser, b: leg },
                Media::CloseLeg { leg },
                Media::Join { a: browser, b: far }
            ]
        );
        assert_eq!(rig.told(), ["talk ESTABLISHED"], "no second description");
    }
}

#[test]
fn early_media_takes_over_from_the_ringback_and_its_end_brings_it_back() {
    let (mut rig, invite) = calling(with(Ringback::Eu));
    rig.progress_of(0, invite, 180, None);
    rig.wait(Duration::from_secs(1));
    let (first, _) = ringback(&rig).unwrap();
    rig.progress_of(0, invite, 183, Some(PHONE));
    assert!(rig.media.contains(&Media::CloseLeg { leg: first }));
    assert_eq!(descriptions(&rig), 1);
    // A 180 beside early media is no reason to ring over it.
    rig.media.clear();
    rig.progress_of(0, invite, 180, None);
    assert_eq!(ringback(&rig), None);
    rig.progress_of(0, invite, 199, None);
    let (second, _) = ringback(&rig).unwrap();
    assert_ne!(first, second, "numbers are not used twice");
    rig.media.clear();
    rig.hang_up("c1");
    assert!(rig.media.contains(&Media::CloseLeg { leg: second }));
}

#[test]
fn there_is_no_ringback_where_it_is_off_or_where_the_pbx_sends_sound() {
    let (mut rig, invite) = calling(with(Ringback::Off));
    rings(&mut rig, invite);
    assert!(rig.media.is_empty());
    let (mut rig, invite) = calling(with(Ringback::Eu));
    rig.progress(invite, 183, Some(PHONE));
    rings(&mut rig, invite);
    assert_eq!(ringback(&rig), None);
    let (mut rig, invite) = calling(with(Ringback::Eu));
    rig.progress(invite, 180, Some(PHONE));
    assert_eq!(ringback(&rig), None);
    // A busy line is told as ever, and the tone ends.
    let (mut rig, invite) = calling(with(Ringback::Eu));
    rings(&mut rig, invite);
    let (leg, _) = ringback(&rig).unwrap();
    rig.told();
    rig.over(
        invite,
        End::Failed(Failure {
            status: 486,
            reason: "Busy Here".into(),
            ..Failure::default()
        }),
    );
    assert_eq!(rig.told(), ["busy BUSY", "finish BUSY"]);
    assert!(rig.media.contains(&Media::CloseLeg { leg }));
}

#[test]
fn a_ringback_that_media_cannot_make_harms_no_call() {
    let (mut rig, invite) = calling(with(Ringback::Eu));
    rings(&mut rig, invite);
    let (leg, _) = ringback(&rig).unwrap();
    rig.give(Input::Media(MediaEvent::LegFailed {
        leg,
        reason: LegFailure::NoResources,
    }));
    rig.told();
    rig.answer(invite, PHONE);
    assert_eq!(rig.told(), ["talk ESTABLISHED"]);
    assert!(!rig.media.contains(&Media::CloseLeg { leg }));
    rig.hang_up("c1");
    rig.over(invite, End::ByUs { raw: String::new() });
    assert_eq!(rig.records.len(), 1);
}

/// The codec that the browser was told to send.
fn browser_sends(rig: &Rig) -> Codec {
    let first = rig.media.iter().find_map(|c| match c {
        Media::ConnectLeg { leg, remote } if leg.0 % 32 == 0 => {
            Some(remote.media[0].formats[0].codec.clone())
        }
        _ => None,
    });
    first.expect("the browser was answered")
}

#[test]
fn the_browsers_codec_is_guessed_from_the_last_call_and_at_first_g711() {
    let (mut rig, invite) = calling(with(Ringback::Eu));
    rings(&mut rig, invite);
    assert_eq!(browser_sends(&rig), Codec::Pcmu);
    let answer = rig.last("setRemoteSDP")[1].as_str().unwrap().to_owned();
    for codec in ["PCMA/8000", "G722/8000", "opus/48000/2"] {
        assert!(answer.contains(codec), "all common codecs stand in it");
    }
    // This PBX turns out to speak G.722.
    let wide = PHONE.replace("RTP/AVP 0 101", "RTP/AVP 9 101");
    rig.answer(invite, &wide);
    rig.hang_up("c1");
    rig.dial("c2", "1003");
    let (invite, _) = rig.invite();
    rig.media.clear();
    rings(&mut rig, invite);
    assert_eq!(browser_sends(&rig), Codec::G722);
    // Under `opus` there is nothing to guess.
    let (mut rig, invite) = calling(Config {
        codec_policy: CodecPolicy::Opus,
        ..with(Ringback::Eu)
    });
    rings(&mut rig, invite);
    assert_eq!(browser_sends(&rig), Codec::Opus);
}

#[test]
fn an_incoming_call_and_an_echo_hear_no_ringback() {
    let mut rig = Rig::registered(with(Ringback::Eu));
    rig.rings_in(Some(PHONE));
    assert_eq!(ringback(&rig), None);
    rig.media.clear();
    rig.dial("c9", "echo");
    assert!(matches!(ringback(&rig), Some((_, Source::Echo)) | None));
    rig.frame(json!({"message": "hangup", "data": [{"callId": "c9"}]}));
}

#[test]
fn who_answers_at_once_settles_the_pages_codec_by_the_answer() {
    let (mut rig, invite) = calling(with(Ringback::Eu));
    rig.progress(invite, 180, None);
    assert!(ringback(&rig).is_none());
    rig.answer(invite, PHONE);
    rig.wait(Duration::from_secs(3));
    assert!(ringback(&rig).is_none(), "nobody rings any more");
    assert_eq!(
        rig.told(),
        ["ring RING", "setRemoteSDP", "talk ESTABLISHED"]
    );
}
