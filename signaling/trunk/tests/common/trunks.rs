//! Trunks on the desk.

use super::{CALL, Desk, PBX};
use signaling_trunk::agent::Input;
use signaling_trunk::api::{Command, Event, InviteOptions, Line, NO_ACCOUNT, Target};
use signaling_trunk::lines::{Lines, TrunkMode, TrunkSpec};

pub const SECOND: &str = "192.0.2.2:5060";

pub fn trunk(mode: TrunkMode) -> TrunkSpec {
    TrunkSpec {
        name: "carrier".into(),
        mode,
        servers: vec![PBX.into()],
        domain: "carrier.test".into(),
        login: "acme".into(),
        password: "secret".into(),
        probe_s: 0,
        ..TrunkSpec::default()
    }
}

pub fn take(desk: &mut Desk, trunks: Vec<TrunkSpec>) {
    desk.step(Input::Lines(Box::new(Lines {
        trunks,
        ..Lines::default()
    })));
}

pub fn line() -> Line {
    Line::Trunk("carrier".into())
}

/// What was told of lines since.
pub fn lines(desk: &mut Desk) -> Vec<(bool, String)> {
    let told = std::mem::take(&mut desk.events).into_iter();
    told.filter_map(|event| match event {
        Event::Line {
            line: Line::Trunk(_),
            up,
            reason,
        } => Some((up, reason)),
        _ => None,
    })
    .collect()
}

pub fn call(number: &str) -> Command {
    Command::Invite {
        invite: CALL,
        account: NO_ACCOUNT,
        target: Target::User {
            user: number.into(),
            params: Vec::new(),
        },
        from_display: String::new(),
        headers: Vec::new(),
        sdp: b"v=0 offer".to_vec(),
        options: Box::new(InviteOptions {
            line: Some(line()),
            ..InviteOptions::default()
        }),
    }
}
