//! What the tests of transfers share: calls that stand, REFERs of ours, and what was told in short.

use super::{CALL, Desk, PBX, invite, status};
use signaling_sip::message::{HeaderName, Message};
use signaling_trunk::api::{
    Command, End, Event, InviteId, InviteOptions, ReferId, ReferTo, Target,
};

pub const REFER: ReferId = ReferId(40);
pub const OTHER: InviteId = InviteId(4);

pub fn desk() -> Desk {
    let mut desk = Desk::registered();
    desk.snapshots = true;
    desk
}

/// An established outgoing call, and its INVITE.
pub fn talking() -> (Desk, Vec<u8>) {
    let mut desk = desk();
    let (invite, _) = desk.established();
    desk.events.clear();
    (desk, invite)
}

pub fn user(name: &str) -> ReferTo {
    ReferTo::Target(Target::User {
        user: name.into(),
        params: Vec::new(),
    })
}

pub fn refer(desk: &mut Desk, refer: ReferId, to: ReferTo) {
    desk.command(Command::Refer {
        invite: CALL,
        refer,
        to,
    });
}

/// A REFER of ours to 1003, and what it says.
pub fn referred() -> (Desk, Vec<u8>) {
    let (mut desk, _) = talking();
    refer(&mut desk, REFER, user("1003"));
    let message = desk.taken();
    (desk, message)
}

pub fn line(message: &[u8], id: HeaderName) -> &str {
    let message = Message::parse(message).unwrap();
    std::str::from_utf8(message.value(id).unwrap()).unwrap()
}

pub fn number(message: &[u8]) -> u32 {
    Message::parse(message).unwrap().cseq().unwrap().0
}

/// The PBX says how a REFER of ours fares; our answer.
pub fn notify(desk: &mut Desk, ours: &[u8], cseq: u32, headers: &str, body: &str) -> u16 {
    let kind = if body.is_empty() || headers.contains("Content-Type") {
        ""
    } else {
        "Content-Type: message/sipfrag;version=2.0\r\n"
    };
    let message = desk.inside(ours, "NOTIFY", cseq, &format!("{headers}{kind}"), body);
    desk.receive(PBX, &message);
    status(&desk.taken())
}

pub const ACTIVE: &str = "Event: refer\r\nSubscription-State: active;expires=60\r\n";
pub const OVER: &str = "Event: refer\r\nSubscription-State: terminated;reason=noresource\r\n";

/// What was told of a transfer, in short.
pub fn told(desk: &mut Desk) -> Vec<String> {
    let short = |event: Event| match event {
        Event::ReferAccepted { refer, status, .. } => format!("{} accepted {status}", refer.0),
        Event::ReferNotified {
            refer,
            status,
            reason,
            over,
            ..
        } => format!(
            "{} {status} {reason}{}",
            refer.0,
            if over { ", over" } else { "" }
        ),
        Event::ReferRefused { refer, failure, .. } => {
            format!("{} refused {:?} {}", refer.0, failure.cause, failure.status)
        }
        Event::Ended { end, .. } => match end {
            End::ByUs { .. } => "ended by us".into(),
            End::ByPeer { .. } => "ended by the peer".into(),
            End::Failed(failure) => format!("failed {}", failure.status),
            End::NoAck => "no ACK".into(),
        },
        other => format!("{other:?}"),
    };
    desk.events.drain(..).map(short).collect()
}

/// Time passes; the registrar is there, and nobody answers anything else. What else was sent, but for keep-alives.
pub fn pass(desk: &mut Desk, seconds: u64) -> Vec<Vec<u8>> {
    let mut others = Vec::new();
    for _ in 0..seconds {
        desk.wait(1_000);
        for (_, bytes) in std::mem::take(&mut desk.sent) {
            if bytes.starts_with(b"REGISTER") {
                let contact = format!("Contact: {}\r\n", line(&bytes, HeaderName::Contact));
                desk.answer(&bytes, "200 OK", &contact, "");
            } else if bytes != b"\r\n\r\n" {
                others.push(bytes);
            }
        }
    }
    others
}

/// Both sides are through with every call, and nothing of it is kept but the account.
pub fn nothing_is_left(desk: &mut Desk) {
    // Timers F, J and M, and the last refresh of the registration.
    pass(desk, 40);
    for _ in 0..30 {
        if desk.agent.counts()[3] == 0 {
            break;
        }
        pass(desk, 1);
    }
    assert_eq!(desk.agent.counts()[1..], [0; 4]);
}

pub fn invite_with(options: InviteOptions) -> Command {
    let mut command = invite(b"v=0");
    if let Command::Invite { options: o, .. } = &mut command {
        **o = options;
    }
    command
}
