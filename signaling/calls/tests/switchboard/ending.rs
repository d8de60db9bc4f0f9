//! Every way in which a call ends, and what its page, the PBX and the record are told (protocol §2.6, §4.1).

use crate::rig::{PHONE, Rig, browser_answer};
use media_control::{Event as MediaEvent, LegFailure, LegId};
use signaling_calls::{Config, Input, SessionId};
use signaling_trunk::api::{Cause, Command as Trunk, End, Failure, InviteId};
use std::time::Duration;

fn refused(status: u16, reason: &str) -> End {
    End::Failed(Failure {
        status,
        reason: reason.into(),
        cause: Cause::Response,
        raw: format!("SIP/2.0 {status} {reason}\r\n"),
        ..Failure::default()
    })
}

fn failed(cause: Cause) -> End {
    End::Failed(Failure {
        cause,
        ..Failure::default()
    })
}

fn by_peer(cancelled: bool) -> End {
    End::ByPeer {
        cancelled,
        reason: String::new(),
        raw: "BYE or CANCEL".into(),
    }
}

fn calling(config: Config) -> (Rig, InviteId) {
    let mut rig = Rig::registered(config);
    rig.dial("c1", "1002");
    let (invite, _) = rig.invite();
    rig.progress(invite, 180, None);
    rig.told();
    (rig, invite)
}

fn finish(rig: &Rig) -> (String, Option<u64>, String) {
    let finish = rig.last("finish")[0].clone();
    let text = |field: &str| finish[field].as_str().unwrap_or_default().to_owned();
    (text("status"), finish["sipStatus"].as_u64(), text("info"))
}

#[test]
fn each_end_of_a_call_that_nobody_answered_has_its_status_and_reason() {
    for (end, status, sip_status, info, by) in [
        (
            refused(486, "Busy Here"),
            "BUSY",
            Some(486),
            "SIP 486 BUSY HERE",
            "peer",
        ),
        (
            refused(600, "Busy Everywhere"),
            "BUSY",
            Some(600),
            "SIP 600 BUSY EVERYWHERE",
            "peer",
        ),
        (
            refused(487, "Request Terminated"),
            "FINISH",
            Some(487),
            "SIP 487 REQUEST TERMINATED",
            "peer",
        ),
        (
            refused(302, "Moved Temporarily"),
            "FAILED",
            Some(302),
            "SIP 302 MOVED TEMPORARILY",
            "peer",
        ),
        (
            refused(401, "Unauthorized"),
            "FAILED",
            Some(401),
            "SIP 401 UNAUTHORIZED",
            "peer",
        ),
        (
            refused(403, "Forbidden"),
            "FAILED",
            Some(403),
            "SIP 403 FORBIDDEN",
            "peer",
        ),
        (
            refused(404, "Not Found"),
            "FAILED",
            Some(404),
            "SIP 404 NOT FOUND",
            "peer",
        ),
        (
            refused(407, "Proxy Authentication Required"),
            "FAILED",
            Some(407),
            "SIP 407 PROXY AUTHENTICATION REQUIRED",
            "peer",
        ),
        (
            refused(408, "Request Timeout"),
            "FAILED",
            Some(408),
            "SIP 408 REQUEST TIMEOUT",
            "peer",
        ),
        (
            refused(480, "Temporarily Unavailable"),
            "FAILED",
            Some(480),
            "SIP 480 TEMPORARILY UNAVAILABLE",
            "peer",
        ),
        (
            refused(482, "Loop Detected"),
            "FAILED",
            Some(482),
            "SIP 482 LOOP DETECTED",
            "peer",
        ),
        (
            refused(483, "Too Many Hops"),
            "FAILED",
            Some(483),
            "SIP 483 TOO MANY HOPS",
            "peer",
        ),
        (
            refused(488, "Not Acceptable Here"),
            "FAILED",
            Some(488),
            "SIP 488 NOT ACCEPTABLE HERE",
            "peer",
        ),
        (
            refused(491, "Request Pending"),
            "FAILED",
            Some(491),
            "SIP 491 REQUEST PENDING",
            "peer",
        ),
        (
            refused(500, "Server Internal Error"),
            "FAILED",
            Some(500),
            "SIP 500 SERVER INTERNAL ERROR",
            "peer",
        ),
        (
            refused(503, "Service Unavailable"),
            "FAILED",
            Some(503),
            "SIP 503 SERVICE UNAVAILABLE",
            "peer",
        ),
        (
            refused(603, "Decline"),
            "FAILED",
            Some(603),
            "SIP 603 DECLINE",
            "peer",
        ),
        (
            failed(Cause::Timeout),
            "FAILED",
            None,
            "Failed by request timeout",
            "peer",
        ),
        (
            failed(Cause::Overloaded),
            "FAILED",
            None,
            "The gateway is busy",
            "peer",
        ),
        (
            by_peer(false),
            "FINISH",
            Some(200),
            "Normal call clearing",
            "peer",
        ),
        (
            End::ByUs { raw: String::new() },
            "FINISH",
            Some(200),
            "Normal call clearing",
            "gateway",
        ),
    ] {
        let (mut rig, invite) = calling(Config::default());
        rig.over(invite, end.clone());
        assert_eq!(
            finish(&rig),
            (status.to_owned(), sip_status, info.to_owned()),
            "{end:?}"
        );
        let told = match status {
            "BUSY" => vec!["busy BUSY", "finish BUSY"],
            "FAILED" => vec!["finish FAILED", "fail FAILED"],
            _ => vec!["finish FINISH"],
        };
        assert_eq!(rig.told(), told);
        assert_eq!(
            (rig.records[0].ended_by.as_str(), rig.records.len()),
            (by, 1)
        );
        assert!(
            !rig.asked()
                .iter()
                .any(|c| matches!(c, Trunk::Hangup { .. }))
        );
    }
}

#[test]
fn busy_is_failed_for_pages_that_know_no_busy() {
    for status in [486, 600] {
        let (mut rig, invite) = calling(Config {
            busy_as_failed: true,
            ..Config::default()
        });
        rig.over(invite, refused(status, "Busy"));
        assert_eq!(finish(&rig).1, Some(u64::from(status)));
        assert_eq!(rig.told(), ["finish FAILED", "fail FAILED"]);
    }
}

#[test]
fn an_established_call_tells_who_ended_it() {
    // The far side.
    let (mut rig, invite) = Rig::talking(Config::default());
    rig.over(invite, by_peer(false));
    assert_eq!(finish(&rig).0, "FINISH");
    assert_eq!(rig.last("finish")[0]["sipMessageRaw"], "BYE or CANCEL");
    assert_eq!(rig.records[0].ended_by, "peer");
    // The page.
    let (mut rig, invite) = Rig::talking(Config::default());
    rig.hang_up("c1");
    assert_eq!(finish(&rig).0, "FINISH");
    rig.over(invite, End::ByUs { raw: String::new() });
    assert_eq!(rig.records[0].ended_by, "page");
    // We, since the ACK never came.
    let mut rig = Rig::registered(Config::default());
    let invite = rig.rings_in(Some(PHONE));
    let id = rig.last("notifyIncomingCall")[0]["callId"]
        .as_str()
        .unwrap()
        .to_owned();
    rig.frame(browser_answer(&id));
    rig.told();
    rig.over(invite, End::NoAck);
    assert_eq!(
        finish(&rig),
        (
            "FAILED".into(),
            Some(408),
            "Failed by request timeout".into()
        )
    );
    assert_eq!(rig.records[0].ended_by, "gateway");
}

#[test]
fn a_ringing_call_of_theirs_ends_with_the_word_that_fits() {
    let ring = || {
        let mut rig = Rig::registered(Config::default());
        let invite = rig.rings_in(Some(PHONE));
        let id = rig.last("notifyIncomingCall")[0]["callId"].clone();
        rig.told();
        rig.asked();
        (rig, invite, id.as_str().unwrap().to_owned())
    };
    let refusal = |rig: &mut Rig| match rig.asked().pop() {
        Some(Trunk::Hangup { status, .. }) => status.map(|s| s.status),
        other => panic!("{other:?}"),
    };
    // Cancelled, or answered elsewhere.
    let (mut rig, invite, _) = ring();
    rig.over(invite, by_peer(true));
    assert_eq!(rig.told(), ["finish FINISH"]);
    // Declined by the page: the trunk's 603.
    let (mut rig, _, id) = ring();
    rig.hang_up(&id);
    assert_eq!(rig.told(), ["finish FINISH"]);
    assert_eq!(refusal(&mut rig), None);
    // Nobody there.
    let (mut rig, _, _) = ring();
    rig.wait(Duration::from_secs(61));
    assert_eq!(rig.told(), ["finish FAILED", "fail FAILED"]);
    assert_eq!(refusal(&mut rig), Some(480));
    // The page is gone.
    let (mut rig, _, _) = ring();
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    let hangup = rig.asked().into_iter().find_map(|c| match c {
        Trunk::Hangup { status, .. } => status,
        _ => None,
    });
    assert_eq!(hangup.unwrap().status, 480);
    // The application does not want it.
    let (mut rig, _, id) = ring();
    rig.give(Input::RefuseCall {
        session: SessionId(1),
        call_id: id.clone(),
        status: 403,
        info: "Not at night".into(),
    });
    assert_eq!(
        finish(&rig),
        ("FAILED".into(), Some(403), "Not at night".into())
    );
    assert_eq!(refusal(&mut rig), Some(403));
    // A call that is over, and one of another session, are not to be refused.
    for (session, call_id) in [(1, id), (2, "in-1".to_owned())] {
        rig.told();
        rig.give(Input::RefuseCall {
            session: SessionId(session),
            call_id,
            status: 403,
            info: String::new(),
        });
        assert!(rig.told().is_empty() && rig.asked().is_empty());
    }
}

#[test]
fn each_failure_of_media_has_its_own_words() {
    for (failure, info) in [
        (LegFailure::IceTimeout, "Failed by ICE error"),
        (LegFailure::ConsentLost, "Failed by ICE error"),
        (LegFailure::DtlsFailed, "Failed by DTLS error"),
        (
            LegFailure::FingerprintMismatch,
            "Failed by DTLS fingerprint error",
        ),
        (LegFailure::NoCommonCodec, "No common codecs"),
        (LegFailure::NoResources, "Failed by session creation"),
        (LegFailure::WorkerLost, "Failed by session creation"),
        (LegFailure::Draining, "Failed by session creation"),
        (
            LegFailure::Unsupported("x".into()),
            "Failed by session creation",
        ),
    ] {
        for (leg, talking) in [(0, true), (1, true), (0, false), (1, false)] {
            let (mut rig, invite) = calling(Config::default());
            if talking {
                rig.answer(invite, PHONE);
                rig.told();
            }
            let browser = match rig.media.front() {
                Some(media_control::Command::CreateLeg { leg, .. }) => leg.0,
                other => panic!("{other:?}"),
            };
            rig.give(Input::Media(MediaEvent::LegFailed {
                leg: LegId(browser + leg),
                reason: failure.clone(),
            }));
            assert_eq!(finish(&rig).2, info);
            assert_eq!(rig.told(), ["finish FAILED", "fail FAILED"]);
            assert!(matches!(rig.asked()[..], [Trunk::Hangup { .. }]));
            rig.over(invite, End::ByUs { raw: String::new() });
            assert_eq!(rig.records.len(), 1);
        }
    }
}
