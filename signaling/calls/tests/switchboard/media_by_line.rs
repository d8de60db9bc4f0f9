//! Each trunk carries sound as the operator says for it.

use crate::planned::{CALLED, NUMBER, carrier, inbound, plan, target};
use crate::rig::{PHONE, Rig};
use media_control::{Command as Media, LegSpec};
use signaling_plan::{MediaProfile, Plan, Srtp};
use signaling_trunk::api::{Command, InviteId};

/// The carrier wants keys and one codec, the backup is called without an offer, the third wants nothing.
fn profiles(mut plan: Plan) -> Plan {
    let carrier = MediaProfile {
        srtp: Srtp::Require,
        codecs: vec!["PCMA".into()],
        ptime_ms: 30,
        ..MediaProfile::default()
    };
    let backup = MediaProfile {
        late_offer: true,
        srtp: Srtp::Forbid,
        ice: true,
        ..MediaProfile::default()
    };
    plan.trunk_media = [("carrier", carrier), ("backup", backup)]
        .map(|(name, profile)| (name.to_owned(), profile))
        .into();
    plan
}

fn invited(rig: &mut Rig) -> (InviteId, String) {
    let (invite, sdp) = rig.invite();
    (invite, String::from_utf8(sdp).unwrap())
}

/// Whether keys are drawn and checks answered for the SIP leg that was asked for last.
fn spec(rig: &mut Rig) -> (bool, bool) {
    let made = rig.media_asked().into_iter().rev();
    let mut specs = made.filter_map(|command| match command {
        Media::CreateLeg {
            spec: LegSpec::Rtp { sdes, ice, .. },
            ..
        } => Some((sdes, ice)),
        _ => None,
    });
    specs.next().expect("a SIP leg")
}

#[test]
fn each_trunk_that_is_tried_is_offered_what_it_wants() {
    let to = ["trunk:carrier", "trunk:backup", "trunk:third"];
    let mut rig = Rig::planned(profiles(plan(&to)));
    rig.dial("c1", CALLED);
    assert_eq!(spec(&mut rig), (true, false));
    let (first, offer) = invited(&mut rig);
    assert!(
        offer.contains("m=audio 20000 RTP/SAVP 8 101\r\n"),
        "{offer}"
    );
    assert!(
        offer.contains("a=ptime:30\r\n") && offer.contains("a=crypto:1 "),
        "{offer}"
    );
    rig.refused(first, 503);
    assert_eq!(spec(&mut rig), (false, true));
    let (second, offer) = invited(&mut rig);
    assert_eq!(offer, "");
    rig.refused(second, 503);
    assert_eq!(spec(&mut rig), (true, false));
    let (third, offer) = invited(&mut rig);
    assert!(
        offer.contains("m=audio 20000 RTP/AVP 111 9 0 8 "),
        "{offer}"
    );
    assert!(
        !offer.contains("crypto") && !offer.contains("a=ice"),
        "{offer}"
    );
    rig.answer(third, PHONE);
    assert!(rig.told().contains(&"talk ESTABLISHED".to_owned()));
}

#[test]
fn a_trunk_that_answers_late_is_acknowledged_with_our_answer() {
    let mut rig = Rig::planned(profiles(plan(&["trunk:backup"])));
    rig.dial("c1", CALLED);
    let (invite, offer) = invited(&mut rig);
    assert_eq!(offer, "");
    rig.answered(0, invite, Some(PHONE), true);
    let asked = rig.asked();
    assert!(
        matches!(asked.as_slice(), [Command::Acknowledge { .. }]),
        "{asked:?}"
    );
    assert!(rig.told().contains(&"talk ESTABLISHED".to_owned()));
}

#[test]
fn a_trunk_that_must_encrypt_gets_488_for_a_call_in_the_clear() {
    let mut rig = Rig::planned(profiles(inbound(
        plan(&["trunk:carrier"]),
        NUMBER,
        vec![target("number")],
    )));
    rig.comes_in(7, carrier(), NUMBER);
    let asked = rig.asked();
    assert!(
        matches!(asked.as_slice(), [Command::Hangup { status: Some(status), .. }] if status.status == 488),
        "{asked:?}"
    );
    assert!(rig.told().is_empty());
}
