//! INVITEs of ours without an offer (RFC 3264 §4).

use crate::rig::{PHONE, Rig};
use media_control::{Command as Media, Direction, RemoteTransport};
use signaling_plan::{MediaProfile, Srtp};
use signaling_trunk::api::{Command as Trunk, ForkId};

fn late(srtp: Srtp) -> Rig {
    Rig::registered_with(MediaProfile {
        late_offer: true,
        srtp,
        ..MediaProfile::default()
    })
}

#[test]
fn a_line_with_late_offers_is_invited_without_one_and_answered_in_the_ack() {
    let mut rig = late(Srtp::Off);
    rig.dial("c1", "1002");
    let (invite, sdp) = rig.invite();
    assert_eq!(sdp, b"");
    // What is said unreliably is no offer: nothing is settled by it.
    rig.progress(invite, 183, Some(PHONE));
    assert!(!rig.told().contains(&"setRemoteSDP".to_owned()));
    rig.answered(0, invite, Some(&PHONE.replace(" 0 101", " 8 0 101")), true);
    assert_eq!(rig.told(), ["setRemoteSDP", "talk ESTABLISHED"]);
    let asked = rig.asked();
    let [
        Trunk::Acknowledge {
            fork: ForkId(0),
            sdp,
            ..
        },
    ] = asked.as_slice()
    else {
        panic!("{asked:?}")
    };
    let answer = String::from_utf8(sdp.clone()).unwrap();
    assert!(
        answer.contains("m=audio 20000 RTP/AVP 8 0 101\r\n"),
        "{answer}"
    );
    let remote = rig
        .media_asked()
        .into_iter()
        .find_map(|command| match command {
            Media::ConnectLeg { remote, .. } => Some(remote)
                .filter(|remote| matches!(remote.transport, RemoteTransport::Rtp { .. })),
            _ => None,
        });
    assert_eq!(remote.unwrap().media[0].direction, Direction::SendRecv);
}

#[test]
fn a_late_offer_that_cannot_be_served_ends_the_call() {
    for (srtp, sdp) in [
        (Srtp::Require, PHONE.to_owned()),
        (
            Srtp::Off,
            PHONE.replace("m=audio 20000 RTP/AVP 0 101", "m=audio 20000 RTP/AVP 18"),
        ),
        (
            Srtp::Off,
            PHONE.replace("m=audio 20000 RTP/AVP 0 101", "m=image 20000 udptl t38"),
        ),
    ] {
        let mut rig = late(srtp);
        rig.dial("c1", "1002");
        let (invite, _) = rig.invite();
        rig.told();
        rig.answered(0, invite, Some(&sdp), true);
        assert_eq!(rig.told(), ["finish FAILED", "fail FAILED"]);
        assert!(matches!(rig.asked().as_slice(), [Trunk::Hangup { .. }]));
    }
    let mut rig = late(Srtp::Off);
    rig.dial("c1", "1002");
    let (invite, _) = rig.invite();
    rig.told();
    rig.answered(0, invite, None, true);
    assert_eq!(rig.told(), ["finish FAILED", "fail FAILED"]);
}
