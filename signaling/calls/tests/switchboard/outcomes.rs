use crate::rig::{PHONE, Rig, browser_answer};
use media_control::{Command as Media, Event as MediaEvent, LegFailure, LegId};
use serde_json::json;
use signaling_calls::{Config, Input, Link};
use signaling_trunk::api::{Cause, Command as Trunk, End, Failure, InviteId};
use std::time::Duration;

fn calling() -> (Rig, InviteId) {
    let mut rig = Rig::registered(Config::default());
    rig.dial("c1", "1002");
    let (invite, _) = rig.invite();
    rig.told();
    (rig, invite)
}

fn refused(status: u16, reason: &str) -> End {
    let raw = format!("SIP/2.0 {status} {reason}\r\n");
    End::Failed(Failure {
        status,
        reason: reason.into(),
        cause: Cause::Response,
        raw,
        ..Failure::default()
    })
}

fn hangups(rig: &Rig) -> usize {
    rig.trunk
        .iter()
        .filter(|c| matches!(c, Trunk::Hangup { .. }))
        .count()
}

#[test]
fn refusals_of_sip_become_the_statuses_of_pages() {
    for (status, reason, told, info) in [
        (
            486,
            "Busy Here",
            vec!["busy BUSY", "finish BUSY"],
            "SIP 486 BUSY HERE",
        ),
        (
            600,
            "Busy Everywhere",
            vec!["busy BUSY", "finish BUSY"],
            "SIP 600 BUSY EVERYWHERE",
        ),
        (
            403,
            "Forbidden",
            vec!["finish FAILED", "fail FAILED"],
            "SIP 403 FORBIDDEN",
        ),
        (
            603,
            "Decline",
            vec!["finish FAILED", "fail FAILED"],
            "SIP 603 DECLINE",
        ),
        (
            503,
            "Service Unavailable",
            vec!["finish FAILED", "fail FAILED"],
            "SIP 503 SERVICE UNAVAILABLE",
        ),
    ] {
        let (mut rig, invite) = calling();
        rig.over(invite, refused(status, reason));
        let finish = rig.last("finish")[0].clone();
        assert_eq!(
            (finish["sipStatus"].as_u64(), finish["info"].as_str()),
            (Some(u64::from(status)), Some(info))
        );
        assert!(
            finish["sipMessageRaw"]
                .as_str()
                .unwrap()
                .starts_with("SIP/2.0 ")
        );
        assert_eq!(rig.told(), told);
        assert_eq!(rig.records.len(), 1);
        assert_eq!(hangups(&rig), 0);
    }
}

#[test]
fn a_page_hangs_up_while_it_rings_and_hears_so_once() {
    let (mut rig, invite) = calling();
    rig.progress(invite, 180, None);
    rig.told();
    rig.hang_up("c1");
    assert_eq!(rig.told(), ["finish FINISH"]);
    assert_eq!(hangups(&rig), 1);
    rig.over(invite, End::ByUs { raw: String::new() });
    assert!(rig.told().is_empty());
    assert_eq!(rig.records[0].ended_by, "page");
}

#[test]
fn a_hangup_before_the_legs_are_there_sends_no_invite_at_all() {
    let mut rig = Rig::registered(Config::default());
    rig.media_works = false;
    rig.dial("c1", "1002");
    rig.hang_up("c1");
    assert_eq!(rig.told(), ["notifyTryingResponse TRYING", "finish FINISH"]);
    assert!(rig.trunk.is_empty());
    assert_eq!(
        rig.media
            .iter()
            .filter(|c| matches!(c, Media::CloseLeg { .. }))
            .count(),
        2
    );
    // The node never says that the legs are closed; the call is forgotten all the same.
    rig.wait(Duration::from_secs(80));
    assert_eq!(rig.records.len(), 1);
}

#[test]
fn both_sides_hang_up_at_once_and_the_page_hears_one_finish() {
    let (mut rig, invite) = calling();
    rig.answer(invite, PHONE);
    rig.told();
    rig.hang_up("c1");
    rig.over(
        invite,
        End::ByPeer {
            cancelled: false,
            reason: String::new(),
            raw: "BYE".into(),
        },
    );
    rig.hang_up("c1");
    assert_eq!(rig.told(), ["finish FINISH"]);
    assert_eq!(hangups(&rig), 1);
}

#[test]
fn an_answer_that_crosses_the_hangup_establishes_nothing() {
    let (mut rig, invite) = calling();
    rig.hang_up("c1");
    rig.answer(invite, PHONE);
    assert_eq!(rig.told(), ["finish FINISH"]);
}

#[test]
fn a_caller_that_cancels_ends_the_ringing_and_a_late_answer_of_the_page_is_ignored() {
    let mut rig = Rig::registered(Config::default());
    let invite = rig.rings_in(Some(PHONE));
    let id = rig.last("notifyIncomingCall")[0]["callId"]
        .as_str()
        .unwrap()
        .to_owned();
    rig.told();
    rig.over(
        invite,
        End::ByPeer {
            cancelled: true,
            reason: String::new(),
            raw: "CANCEL".into(),
        },
    );
    assert_eq!(rig.told(), ["finish FINISH"]);
    rig.frame(browser_answer(&id));
    assert!(rig.told().is_empty());
    assert!(!rig.trunk.iter().any(|c| matches!(c, Trunk::Accept { .. })));
}

#[test]
fn a_page_that_declines_lets_the_trunk_say_603() {
    let mut rig = Rig::registered(Config::default());
    rig.rings_in(Some(PHONE));
    let id = rig.last("notifyIncomingCall")[0]["callId"]
        .as_str()
        .unwrap()
        .to_owned();
    rig.hang_up(&id);
    assert!(
        rig.trunk
            .iter()
            .any(|c| matches!(c, Trunk::Hangup { status: None, .. }))
    );
    assert_eq!(rig.last("finish")[0]["status"], "FINISH");
}

#[test]
fn nobody_answers() {
    let (mut rig, _) = calling();
    rig.wait(Duration::from_secs(181));
    assert_eq!(rig.last("finish")[0]["info"], "Failed by request timeout");
    assert_eq!(hangups(&rig), 1);

    let mut rig = Rig::registered(Config::default());
    rig.rings_in(Some(PHONE));
    rig.told();
    rig.wait(Duration::from_secs(61));
    assert_eq!(rig.told(), ["finish FAILED", "fail FAILED"]);
    assert!(
        rig.trunk
            .iter()
            .any(|c| matches!(c, Trunk::Hangup { status: Some(r), .. } if r.status == 480))
    );
}

#[test]
fn an_invite_that_nobody_can_take_is_refused_with_the_right_word() {
    let refusal = |rig: &Rig| {
        rig.trunk.iter().find_map(|c| match c {
            Trunk::Hangup {
                status: Some(r), ..
            } => Some(r.status),
            _ => None,
        })
    };
    let mut rig = Rig::new(Config::default());
    rig.rings_in(Some(PHONE));
    assert_eq!(refusal(&rig), Some(480));
    let mut rig = Rig::registered(Config::default());
    rig.rings_in(Some("v=0\r\nm=audio 1 RTP/AVP 18\r\n"));
    assert_eq!(refusal(&rig), Some(488));
    let mut rig = Rig::registered(Config::default());
    rig.give(Input::MediaLink(Link::Down));
    rig.rings_in(Some(PHONE));
    assert_eq!(refusal(&rig), Some(503));
}

#[test]
fn media_that_fails_ends_the_call_with_its_reason() {
    for (failure, info) in [
        (LegFailure::IceTimeout, "Failed by ICE error"),
        (LegFailure::DtlsFailed, "Failed by DTLS error"),
        (
            LegFailure::FingerprintMismatch,
            "Failed by DTLS fingerprint error",
        ),
    ] {
        let (mut rig, invite) = calling();
        rig.answer(invite, PHONE);
        let Some(Media::CreateLeg { leg, .. }) = rig.media.front().cloned() else {
            panic!("no leg")
        };
        rig.give(Input::Media(MediaEvent::LegFailed {
            leg,
            reason: failure,
        }));
        assert_eq!(rig.last("finish")[0]["info"], info);
        assert_eq!(hangups(&rig), 1);
    }
}

#[test]
fn a_minute_of_silence_ends_a_call_but_not_one_that_is_held() {
    let (mut rig, invite) = calling();
    rig.answer(invite, PHONE);
    let Some(Media::CreateLeg {
        leg: LegId(leg), ..
    }) = rig.media.front().cloned()
    else {
        panic!("no leg")
    };
    rig.give(Input::Media(MediaEvent::MediaSilent {
        leg: LegId(leg + 1),
        seconds: 30,
    }));
    rig.told();
    rig.give(Input::Media(MediaEvent::MediaSilent {
        leg: LegId(leg + 1),
        seconds: 60,
    }));
    assert_eq!(rig.last("finish")[0]["info"], "Failed by RTP activity");
}

#[test]
fn a_media_node_that_is_gone_ends_its_calls_and_new_ones_get_503_until_it_is_back() {
    let (mut rig, invite) = calling();
    rig.answer(invite, PHONE);
    rig.give(Input::MediaLink(Link::Down));
    assert!(
        !rig.told().contains(&"finish FAILED".to_owned()),
        "within the grace calls go on"
    );
    rig.dial("c2", "1002");
    assert_eq!(rig.last("finish")[0]["sipStatus"], 503);
    rig.told();
    rig.give(Input::MediaLink(Link::Lost));
    assert_eq!(rig.told(), ["finish FAILED", "fail FAILED"]);
    assert_eq!(hangups(&rig), 1);
    rig.give(Input::MediaLink(Link::Up { fresh: true }));
    rig.dial("c3", "1002");
    rig.invite();
}

#[test]
fn what_cannot_be_dialled_is_refused_with_a_reason() {
    for (callee, sdp, wanted) in [
        ("", crate::rig::BROWSER_OFFER, "callee is missing"),
        (
            "1002\r\nVia: x",
            crate::rig::BROWSER_OFFER,
            "callee holds characters that cannot be dialled",
        ),
        ("1002", "v=0\r\n", "No common codecs"),
        ("1002", "nonsense", "SDP does not begin with v=0"),
    ] {
        let mut rig = Rig::registered(Config::default());
        rig.frame(
            json!({"message": "call", "data": [{"callId": "c", "callee": callee, "sdp": sdp}]}),
        );
        assert_eq!(rig.last("finish")[0]["info"], wanted);
        assert!(rig.trunk.is_empty() && rig.media.is_empty());
    }
    let mut rig = Rig::connected();
    rig.dial("c", "1002");
    assert!(
        rig.last("finish")[0]["info"]
            .as_str()
            .unwrap()
            .contains("dial echo")
    );
}

#[test]
fn header_and_sdp_lines_of_a_page_are_held_to_what_they_may_be() {
    for (field, value, ok) in [
        ("sipHeaders", json!(["X-Tag: 7"]), true),
        ("sipHeaders", json!(["Via: SIP/2.0/UDP x"]), false),
        ("sipHeaders", json!(["X-A: 1\r\nVia: x"]), false),
        ("sipSDP", json!(["b=AS:64"]), true),
        ("sipSDP", json!(["a=crypto:1 x inline:y"]), false),
        ("sipSDP", json!(["a=x\r\nm=audio 1 RTP/AVP 0"]), false),
    ] {
        let mut rig = Rig::registered(Config::default());
        let mut call = json!({"callId": "c", "callee": "1002", "sdp": crate::rig::BROWSER_OFFER});
        call[field] = value.clone();
        rig.frame(json!({"message": "call", "data": [call]}));
        assert_eq!(
            rig.trunk.iter().any(|c| matches!(c, Trunk::Invite { .. })),
            ok,
            "{field} {value}"
        );
    }
}

#[test]
fn a_page_that_dials_and_hangs_up_in_a_circle_does_not_pile_up_invites() {
    let mut rig = Rig::registered(Config::default());
    for n in 0..60 {
        let id = format!("c{n}");
        rig.dial(&id, "200");
        rig.hang_up(&id);
    }
    let finish = rig.last("finish")[0].clone();
    assert_eq!(finish["sipStatus"], 503, "{finish}");
}
