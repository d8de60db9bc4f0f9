//! ICE with SIP peers (RFC 8839).

use crate::rig::{PHONE, Rig, browser_answer};
use media_control::{Command as Media, IceCredentials, LegSpec, RemoteTransport};
use serde_json::json;
use signaling_plan::MediaProfile;
use signaling_trunk::api::Command as Trunk;

const ICE: &str = "a=ice-ufrag:phne\r\na=ice-pwd:the-telephones-own-password\r\n\
a=candidate:1 1 UDP 2130706431 192.0.2.9 20000 typ host\r\na=candidate:1 2 UDP 2130706430 192.0.2.9 20001 typ host\r\n\
a=candidate:2 1 UDP 1694498815 203.0.113.9 40000 typ srflx raddr 192.0.2.9 rport 20000\r\n";

const OURS: [&str; 4] = [
    "a=ice-ufrag:ours\r\n",
    "a=ice-pwd:our-password-of-many-letters\r\n",
    "a=candidate:1 1 udp 2130706431 198.51.100.2 20000 typ host\r\n",
    "a=candidate:1 2 udp 2130706430 198.51.100.2 20001 typ host\r\n",
];

fn ice() -> MediaProfile {
    MediaProfile {
        ice: true,
        ..MediaProfile::default()
    }
}

/// Takes the call that an offer makes; our answer, and whose checks media answers then.
fn answered(profile: MediaProfile, sdp: &str) -> (String, Option<IceCredentials>) {
    let mut rig = Rig::registered_with(profile);
    rig.rings_in(Some(sdp));
    rig.frame(browser_answer("in-400"));
    let answer = rig.asked().into_iter().find_map(|command| match command {
        Trunk::Accept { sdp, .. } => Some(String::from_utf8(sdp).unwrap()),
        _ => None,
    });
    (answer.expect("a 200"), told(&mut rig))
}

fn told(rig: &mut Rig) -> Option<IceCredentials> {
    let mut asked = rig.media_asked().into_iter();
    asked
        .find_map(|command| match command {
            Media::ConnectLeg { remote, .. } => match remote.transport {
                RemoteTransport::Rtp { ice, .. } => Some(ice.map(|ice| *ice)),
                RemoteTransport::WebRtc { .. } => None,
            },
            _ => None,
        })
        .expect("a description of the telephone")
}

#[test]
fn an_offer_with_ice_is_answered_lite_with_a_candidate_for_each_port() {
    let (answer, checked) = answered(ice(), &(PHONE.to_owned() + ICE));
    assert!(answer.contains("a=ice-lite\r\n"), "{answer}");
    for line in OURS {
        assert!(answer.contains(line), "{answer}");
    }
    let checked = checked.expect("its checks are answered");
    assert_eq!(
        (checked.ufrag.as_str(), checked.pwd.as_str()),
        ("phne", "the-telephones-own-password")
    );
    // With RTCP on the same port there is one component.
    let (answer, _) = answered(ice(), &(PHONE.to_owned() + ICE + "a=rtcp-mux\r\n"));
    assert!(
        answer.contains(OURS[2]) && !answer.contains(OURS[3]),
        "{answer}"
    );
}

#[test]
fn ice_is_answered_only_where_the_line_wants_it_and_the_peer_offers_it() {
    for (profile, sdp) in [
        (MediaProfile::default(), PHONE.to_owned() + ICE),
        (ice(), PHONE.to_owned()),
        (
            ice(),
            PHONE.to_owned() + "a=ice-ufrag:phne\r\na=ice-pwd:the-telephones-own-password\r\n",
        ),
        (
            ice(),
            PHONE.to_owned() + "a=candidate:1 1 UDP 1 192.0.2.9 20000 typ host\r\n",
        ),
    ] {
        let (answer, checked) = answered(profile, &sdp);
        assert!(
            !answer.contains("a=ice") && !answer.contains("a=candidate"),
            "{answer}"
        );
        assert_eq!(checked, None);
    }
}

#[test]
fn an_address_that_is_no_candidate_is_told_as_a_mismatch_and_the_call_goes_on_without_ice() {
    let sdp = PHONE.replace("c=IN IP4 192.0.2.9", "c=IN IP4 192.0.2.77") + ICE;
    let (answer, checked) = answered(ice(), &sdp);
    assert!(
        answer.contains("a=ice-mismatch\r\n") && !answer.contains("a=candidate"),
        "{answer}"
    );
    assert_eq!(checked, None);
}

#[test]
fn a_peer_that_is_lite_too_checks_nothing_and_is_sent_to_where_it_says() {
    let sdp = PHONE.replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n") + ICE;
    let (answer, checked) = answered(ice(), &sdp);
    assert!(answer.contains(OURS[0]), "{answer}");
    assert_eq!(checked, None);
}

#[test]
fn ice_is_offered_where_the_line_wants_it_and_kept_through_a_hold() {
    let mut rig = Rig::registered_with(ice());
    rig.dial("c1", "1002");
    assert!(rig.media_asked().iter().any(|command| matches!(
        command,
        Media::CreateLeg {
            spec: LegSpec::Rtp { ice: true, .. },
            ..
        }
    )));
    let (invite, sdp) = rig.invite();
    let offer = String::from_utf8(sdp).unwrap();
    assert!(offer.contains("a=ice-lite\r\n"), "{offer}");
    for line in OURS {
        assert!(offer.contains(line), "{offer}");
    }
    rig.answer(invite, &(PHONE.to_owned() + ICE));
    assert_eq!(told(&mut rig).map(|ice| ice.ufrag).as_deref(), Some("phne"));
    rig.asked();
    rig.frame(json!({"message": "hold", "data": [{"callId": "c1"}]}));
    let asked = rig.asked();
    let [Trunk::Offer { sdp, .. }] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    assert!(String::from_utf8(sdp.clone()).unwrap().contains(OURS[0]));
    // One that knows no ICE answers without.
    let mut rig = Rig::registered_with(ice());
    rig.dial("c1", "1002");
    let (invite, _) = rig.invite();
    rig.answer(invite, PHONE);
    assert_eq!(told(&mut rig), None);
    // And where the operator does not want it, none is offered.
    let mut rig = Rig::registered_with(MediaProfile::default());
    rig.dial("c1", "1002");
    assert!(!String::from_utf8(rig.invite().1).unwrap().contains("a=ice"));
}
