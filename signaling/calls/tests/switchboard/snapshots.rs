use crate::rig::{PHONE, Rig, account, browser_answer};
use serde_json::{Value, json};
use signaling_calls::{Config, Input};
use signaling_trunk::api::{AccountId, End, Event};
use std::time::Duration;

/// A morning at the switchboard: registration, an outgoing call, a hold, an incoming call, an echo.
fn morning(reincarnates: bool) -> (Vec<Value>, String) {
    let mut rig = Rig::new(Config::default());
    rig.reincarnates = reincarnates;
    rig.open(1);
    rig.frame(account(true));
    rig.dial("c1", "1002");
    rig.give(Input::Trunk(Event::Registered {
        account: AccountId(1),
        expires_s: 60,
        raw: "SIP/2.0 200 OK".into(),
    }));
    let (invite, _) = rig.invite();
    rig.progress(invite, 183, Some(PHONE));
    rig.wait(Duration::from_secs(7));
    rig.answer(invite, PHONE);
    rig.frame(json!({"message": "hold", "data": [{"callId": "c1"}]}));
    let ringing = rig.rings_in(Some(PHONE));
    let id = rig.last("notifyIncomingCall")[0]["callId"]
        .as_str()
        .unwrap()
        .to_owned();
    rig.frame(browser_answer(&id));
    rig.hang_up("c1");
    rig.over(invite, End::ByUs { raw: String::new() });
    rig.dial("c2", "echo");
    rig.wait(Duration::from_secs(400));
    rig.over(
        ringing,
        End::ByPeer {
            cancelled: false,
            reason: String::new(),
            raw: "BYE".into(),
        },
    );
    let rest = format!("{:?} {:?} {:?}", rig.trunk, rig.media, rig.records);
    (rig.page, rest)
}

#[test]
fn a_switchboard_restored_after_every_step_goes_on_as_if_nothing_had_happened() {
    assert_eq!(morning(true), morning(false));
}
