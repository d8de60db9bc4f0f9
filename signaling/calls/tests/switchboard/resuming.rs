use crate::rig::{PHONE, Rig, account, browser_answer};
use serde_json::{Value, json};
use signaling_calls::{Config, Input, SessionId};
use signaling_trunk::api::{AccountId, Command as Trunk, Event};
use std::time::Duration;

/// Page 1, registered, with keepAlive; its token is `token-1`.
fn kept() -> Rig {
    let mut rig = Rig::new(Config::default());
    rig.open(1);
    let mut connection = account(true);
    connection["data"][0]["keepAlive"] = json!(true);
    rig.frame(connection);
    rig.give(Input::Trunk(Event::Registered {
        account: AccountId(1),
        expires_s: 60,
        raw: "SIP/2.0 200 OK\r\n".into(),
    }));
    rig.told();
    rig.trunk.clear();
    rig
}

fn token(app: &str, token: &str) -> Value {
    json!({"message": "connection", "data": [{"appKey": app, "keepAlive": true, "authToken": token}]})
}

#[test]
fn a_page_that_comes_back_with_its_token_finds_its_registration() {
    let mut rig = kept();
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    assert!(rig.trunk.is_empty(), "the account waits");
    rig.wait(Duration::from_secs(40));
    rig.open(2);
    rig.frame_from(2, token("defaultApp", "token-1"));
    let data = rig.last("getUserData")[0].clone();
    assert_eq!(
        (data["authToken"].as_str(), data["sipLogin"].as_str()),
        (Some("token-1"), Some("1001"))
    );
    assert_eq!(
        rig.told(),
        [
            "getUserData ESTABLISHED",
            "getVersion",
            "registered REGISTERED"
        ]
    );
    // Its calls go out under the account that the old socket opened.
    let call = json!({"callId": "c1", "callee": "1002", "sdp": crate::rig::BROWSER_OFFER});
    rig.frame_from(2, json!({"message": "call", "data": [call]}));
    assert!(matches!(
        rig.trunk.back(),
        Some(Trunk::Invite {
            account: AccountId(1),
            ..
        })
    ));
}

#[test]
fn a_call_that_still_rings_is_announced_afresh_and_can_be_answered() {
    let mut rig = kept();
    rig.rings_in(Some(PHONE));
    let id = rig.last("notifyIncomingCall")[0]["callId"]
        .as_str()
        .unwrap()
        .to_owned();
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    rig.open(2);
    rig.told();
    rig.frame_from(2, token("defaultApp", "token-1"));
    let told = rig.told();
    assert_eq!(
        told[3..],
        ["setRemoteSDP", "notifyIncomingCall PENDING", "ring RING"]
    );
    rig.frame_from(2, browser_answer(&id));
    assert_eq!(rig.told(), ["talk ESTABLISHED"]);
}

#[test]
fn an_established_call_goes_on_and_the_new_page_can_hang_it_up() {
    let mut rig = kept();
    rig.dial("c1", "1002");
    let (invite, _) = rig.invite();
    rig.answer(invite, PHONE);
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    assert!(!rig.trunk.iter().any(|c| matches!(c, Trunk::Hangup { .. })));
    rig.open(2);
    rig.frame_from(2, token("defaultApp", "token-1"));
    rig.told();
    rig.frame_from(2, json!({"message": "hangup", "data": [{"callId": "c1"}]}));
    assert_eq!(rig.told(), ["finish FINISH"]);
    assert!(rig.trunk.iter().any(|c| matches!(c, Trunk::Hangup { .. })));
}

#[test]
fn a_page_that_stays_away_is_taken_down_after_the_grace() {
    let mut rig = kept();
    rig.dial("c1", "1002");
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    rig.wait(Duration::from_secs(61));
    assert!(rig.trunk.iter().any(|c| matches!(c, Trunk::Hangup { .. })));
    assert!(
        rig.trunk
            .iter()
            .any(|c| matches!(c, Trunk::CloseAccount { .. }))
    );
    rig.open(2);
    rig.frame_from(2, token("defaultApp", "token-1"));
    assert_eq!(rig.last("fail")[0]["info"], "Session does not exist");
}

#[test]
fn a_token_of_another_application_or_a_wrong_one_opens_nothing() {
    let mut rig = kept();
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    for (session, app, token_text) in [
        (2, "clickToCallApp", "token-1"),
        (3, "defaultApp", "token-2"),
    ] {
        rig.open(session);
        rig.frame_from(session, token(app, token_text));
        assert_eq!(rig.last("fail")[0]["info"], "Session does not exist");
        assert!(rig.closed.contains(&SessionId(session)));
    }
}

#[test]
fn a_second_page_with_the_token_takes_over_and_the_first_is_closed() {
    let mut rig = kept();
    rig.open(2);
    rig.frame_from(2, token("defaultApp", "token-1"));
    assert_eq!(rig.closed, [SessionId(1)]);
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    assert!(rig.trunk.is_empty(), "the account has moved, not ended");
    assert_eq!(rig.board.counts().registered, 1);
}

#[test]
fn without_keep_alive_nothing_waits_and_a_parked_page_is_not_rung() {
    let mut rig = Rig::registered(Config::default());
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    assert!(matches!(
        rig.trunk.pop_front(),
        Some(Trunk::CloseAccount { .. })
    ));

    let mut rig = kept();
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    rig.rings_in(Some(PHONE));
    assert!(
        matches!(rig.trunk.pop_front(), Some(Trunk::Hangup { status: Some(r), .. }) if r.status == 480)
    );
}

#[test]
fn what_happens_while_the_page_is_away_is_told_to_the_backend_and_the_session_moves_once() {
    let mut rig = kept();
    let invite = rig.talks("c1", "1002");
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    rig.give(Input::Trunk(Event::Offered {
        invite,
        offer: signaling_trunk::api::OfferId(1),
        sdp: Some(PHONE.replace("t=0 0\r\n", "t=0 0\r\na=sendonly\r\n").into()),
        source: crate::rig::SOURCE.parse().unwrap(),
        raw: String::new(),
        fork: None,
    }));
    assert_eq!(rig.told(), ["hold HOLD"]);
    assert!(rig.moves.is_empty());
    rig.open(2);
    rig.frame_from(2, token("defaultApp", "token-1"));
    assert_eq!(rig.moves, [(1, Some(2))]);
    // The socket that it came from is nobody's any more.
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    assert_eq!(rig.moves.len(), 1);
    rig.give(Input::SessionClosed {
        session: SessionId(2),
    });
    rig.wait(Duration::from_secs(61));
    assert_eq!(rig.moves, [(1, Some(2)), (2, None)]);
}

#[test]
fn an_established_call_whose_media_is_dead_is_hung_up_although_the_page_came_back() {
    for resumed in [true, false] {
        let mut rig = kept();
        let invite = rig.talks("c1", "1002");
        let browser = match rig.media.front() {
            Some(media_control::Command::CreateLeg { leg, .. }) => *leg,
            other => panic!("{other:?}"),
        };
        rig.media.clear();
        rig.give(Input::SessionClosed {
            session: SessionId(1),
        });
        if resumed {
            rig.open(2);
            rig.frame_from(2, token("defaultApp", "token-1"));
        }
        rig.told();
        // While its old peer connection lives it keeps its sound.
        rig.wait(Duration::from_secs(29));
        assert!(rig.media.is_empty() && rig.asked().is_empty());
        // 30 s without consent (RFC 7675): media says so by itself.
        rig.give(Input::Media(media_control::Event::LegFailed {
            leg: browser,
            reason: media_control::LegFailure::ConsentLost,
        }));
        assert_eq!(rig.last("finish")[0]["info"], "Failed by ICE error");
        assert!(matches!(&rig.asked()[..], [Trunk::Hangup { invite: i, .. }] if *i == invite));
        rig.over(
            invite,
            signaling_trunk::api::End::ByUs { raw: String::new() },
        );
        assert_eq!(rig.records.len(), 1);
    }
}

#[test]
fn a_transfer_is_followed_while_the_page_is_away() {
    let mut rig = kept();
    let old = rig.talks("c1", "1002");
    rig.give(Input::SessionClosed {
        session: SessionId(1),
    });
    rig.give(Input::Trunk(Event::Referred {
        invite: old,
        refer: signaling_trunk::api::ReferId(9),
        target: "sip:1003@pbx.test".into(),
        replaces: None,
        referred_by: None,
        raw: String::new(),
    }));
    let (new, _) = rig.invite();
    rig.answer(new, PHONE);
    rig.open(2);
    rig.told();
    rig.frame_from(2, token("defaultApp", "token-1"));
    rig.frame_from(2, json!({"message": "hangup", "data": [{"callId": "c1"}]}));
    let hung_up = rig
        .asked()
        .into_iter()
        .filter(|c| matches!(c, Trunk::Hangup { .. }));
    assert_eq!(hung_up.count(), 2, "the old dialog and the new one");
    assert_eq!(rig.told().last().unwrap(), "finish FINISH");
}
