//! Calls from line to line: what both sides see of the switchboard between them.

use crate::rig::Rig;
use media_control::{self as media, Codec, Direction, LegId, RemoteTransport};
use signaling_calls::{Config, Input, Link};
use signaling_plan::{Attempt, Destination, Identity as Shown, Route};
use signaling_trunk::api::{
    ByLine, Cause, Command, End, Event, Failure, ForkId, Header, Identity, InviteId, Line,
    NO_ACCOUNT, OfferId,
};
use std::time::Duration;

const CALLER: &str = "v=0\r\no=alice 11 12 IN IP4 192.0.2.40\r\ns=-\r\nc=IN IP4 192.0.2.40\r\nt=0 0\r\n\
m=audio 4000 RTP/AVP 8 0 96\r\na=rtpmap:96 telephone-event/8000\r\n";
const CALLEE: &str = "v=0\r\no=bob 21 22 IN IP4 203.0.113.50\r\ns=-\r\nc=IN IP4 203.0.113.50\r\nt=0 0\r\n\
m=audio 5000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
const CALLER_AT: &str = "192.0.2.40:5060";
const CALLEE_AT: &str = "203.0.113.50:5060";

fn to_phone(user: &str) -> Attempt {
    Attempt {
        to: Destination::Phone(user.into()),
        user: user.into(),
        identity: Shown::default(),
        attempt_ms: 0,
    }
}

fn to_trunk(name: &str, user: &str) -> Attempt {
    Attempt {
        to: Destination::Trunk(name.into()),
        user: user.into(),
        identity: Shown {
            from_user: "+15550001111".into(),
            ..Shown::default()
        },
        attempt_ms: 4_000,
    }
}

fn route(attempts: Vec<Attempt>) -> Route {
    Route {
        name: "out".into(),
        number: "+15551234567".into(),
        emergency: false,
        attempts,
        ring_s: 60,
        next_on: vec![503, 500],
    }
}

/// A rig with one bridge.
struct Bridge {
    rig: Rig,
    caller: InviteId,
    callee: InviteId,
}

fn arrival(sdp: Option<&str>, headers: Vec<Header>) -> Event {
    Event::Incoming {
        invite: InviteId(7),
        account: NO_ACCOUNT,
        from: Identity {
            user: "101".into(),
            display: "Alice".into(),
            uri: "sip:101@alice.example".into(),
        },
        to: Identity::default(),
        sdp: sdp.map(|s| s.as_bytes().to_vec()),
        headers,
        source: CALLER_AT.parse().unwrap(),
        raw: "INVITE sip:x SIP/2.0\r\n".into(),
        replaces: None,
        by_line: Some(Box::new(ByLine {
            line: Line::Phone("101".into()),
            called: Identity {
                user: "5551234567".into(),
                ..Identity::default()
            },
            asserted: None,
        })),
    }
}

impl Bridge {
    /// The callee has been sent our INVITE; that is given back too.
    fn calling(config: Config, sdp: Option<&str>, route: Route) -> (Bridge, Command) {
        Bridge::calling_with(config, arrival(sdp, Vec::new()), route)
    }

    fn calling_with(config: Config, event: Event, route: Route) -> (Bridge, Command) {
        let mut rig = Rig::new(config);
        rig.bridge(event, route);
        let asked = rig.asked();
        let [invite @ Command::Invite { invite: callee, .. }] = asked.as_slice() else {
            panic!("{asked:?}")
        };
        let bridge = Bridge {
            caller: InviteId(7),
            callee: *callee,
            rig,
        };
        (bridge, invite.clone())
    }

    fn usual() -> Bridge {
        let route = route(vec![to_trunk("carrier", "15551234567")]);
        Bridge::calling(Config::default(), Some(CALLER), route).0
    }

    fn talking() -> Bridge {
        let mut bridge = Bridge::usual();
        bridge.answers(CALLEE);
        bridge.rig.give(Input::Trunk(Event::Acknowledged {
            invite: bridge.caller,
            sdp: None,
        }));
        bridge.rig.asked();
        bridge.rig.media_asked();
        bridge
    }

    fn progress(&mut self, fork: u32, status: u16, sdp: Option<&str>) {
        self.rig.give(Input::Trunk(Event::Progress {
            invite: self.callee,
            fork: ForkId(fork),
            status,
            reason: "Whatever".into(),
            sdp: sdp.map(|s| s.as_bytes().to_vec()),
            source: CALLEE_AT.parse().unwrap(),
            raw: String::new(),
        }));
    }

    fn answers(&mut self, sdp: &str) {
        self.answers_as(0, Some(sdp), false);
    }

    fn answers_as(&mut self, fork: u32, sdp: Option<&str>, late: bool) {
        self.rig.give(Input::Trunk(Event::Answered {
            invite: self.callee,
            fork: ForkId(fork),
            status: 200,
            reason: "OK".into(),
            sdp: sdp.map(|s| s.as_bytes().to_vec()),
            late,
            source: CALLEE_AT.parse().unwrap(),
            raw: String::new(),
        }));
    }

    fn offers(&mut self, invite: InviteId, sdp: Option<&str>) {
        let source = if invite == self.caller {
            CALLER_AT
        } else {
            CALLEE_AT
        };
        self.rig.give(Input::Trunk(Event::Offered {
            invite,
            offer: OfferId(99),
            sdp: sdp.map(|s| s.as_bytes().to_vec()),
            source: source.parse().unwrap(),
            raw: String::new(),
            fork: None,
        }));
    }

    fn accepts(&mut self, invite: InviteId, sdp: &str) {
        let source = if invite == self.caller {
            CALLER_AT
        } else {
            CALLEE_AT
        };
        self.rig.give(Input::Trunk(Event::OfferAnswered {
            invite,
            status: 200,
            sdp: Some(sdp.as_bytes().to_vec()),
            source: source.parse().unwrap(),
            raw: String::new(),
        }));
    }

    fn fails(&mut self, invite: InviteId, status: u16) {
        let failure = Failure {
            status,
            reason: "Said by 203.0.113.50".into(),
            cause: if status == 0 {
                Cause::Timeout
            } else {
                Cause::Response
            },
            raw: String::new(),
            ..Failure::default()
        };
        self.rig.over(invite, End::Failed(failure));
    }

    fn hangs_up(&mut self, invite: InviteId) {
        self.rig.over(
            invite,
            End::ByPeer {
                cancelled: false,
                reason: String::new(),
                raw: String::new(),
            },
        );
    }

    /// The trunk has done what it was asked.
    fn is_over(&mut self, invite: InviteId) {
        self.rig.over(invite, End::ByUs { raw: String::new() });
    }

    /// Nothing is left, and one record was written.
    fn leaves_nothing(&mut self) {
        assert!(self.rig.board.is_idle());
        assert_eq!(self.rig.board.poll_timeout(), None);
        assert_eq!(self.rig.records.len(), 1, "{:?}", self.rig.records);
    }
}

fn text(sdp: &[u8]) -> String {
    String::from_utf8(sdp.to_vec()).unwrap()
}

fn refused(asked: &[Command]) -> Vec<(InviteId, Option<u16>)> {
    let of = |command: &Command| match command {
        Command::Hangup { invite, status } => {
            Some((*invite, status.as_ref().map(|refusal| refusal.status)))
        }
        _ => None,
    };
    asked.iter().filter_map(of).collect()
}

/// What media was told last of a leg: its first codec and direction.
fn connected(asked: &[media::Command], leg: LegId) -> Option<(Codec, Direction, String)> {
    asked.iter().rev().find_map(|command| match command {
        media::Command::ConnectLeg { leg: of, remote } if *of == leg => {
            let sound = &remote.media[0];
            let RemoteTransport::Rtp { rtp, .. } = &remote.transport else {
                return None;
            };
            let to = rtp.map(|rtp| rtp.to_string()).unwrap_or_default();
            Some((sound.formats[0].codec.clone(), sound.direction, to))
        }
        _ => None,
    })
}

#[test]
fn a_phone_calls_a_trunk_and_both_are_connected_to_us_alone() {
    let route = route(vec![to_trunk("carrier", "15551234567")]);
    let (mut bridge, invite) = Bridge::calling(Config::default(), Some(CALLER), route);
    let Command::Invite {
        target,
        sdp,
        options,
        from_display,
        ..
    } = invite
    else {
        unreachable!("it was an INVITE")
    };
    assert_eq!(options.line, Some(Line::Trunk("carrier".into())));
    assert_eq!(options.identity.from_user, "+15550001111");
    assert_eq!(options.attempt_ms, 4_000);
    assert_eq!(from_display, "Alice");
    assert!(format!("{target:?}").contains("15551234567"));
    let offer = text(&sdp);
    // What the caller has comes first, then what we could make of it.
    assert!(
        offer.contains("m=audio 20000 RTP/AVP 8 0 111 9 101"),
        "{offer}"
    );
    assert!(
        !offer.contains("192.0.2.40") && !offer.contains("alice"),
        "{offer}"
    );

    bridge.progress(0, 180, None);
    assert_eq!(
        bridge.rig.asked(),
        [Command::Progress {
            invite: bridge.caller,
            status: 180,
            sdp: None
        }]
    );
    bridge.answers(CALLEE);
    let asked = bridge.rig.asked();
    let [Command::Accept { invite, sdp }] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    assert_eq!(*invite, bridge.caller);
    let answer = text(sdp);
    assert!(answer.contains("m=audio 20000 RTP/AVP 8 0 96"), "{answer}");
    assert!(
        !answer.contains("203.0.113") && !answer.contains("bob"),
        "{answer}"
    );
    let media = bridge.rig.media_asked();
    let (a, b) = (LegId(1024), LegId(1025));
    assert!(media.contains(&media::Command::Join { a, b }), "{media:?}");
    let sound = |to: &str| Some((Codec::Pcma, Direction::SendRecv, to.to_owned()));
    assert_eq!(connected(&media, a), sound("192.0.2.40:4000"));
    assert_eq!(connected(&media, b), sound("203.0.113.50:5000"));

    bridge.hangs_up(bridge.callee);
    assert_eq!(refused(&bridge.rig.asked())[0].0, bridge.caller);
    bridge.is_over(bridge.caller);
    bridge.leaves_nothing();
    let record = &bridge.rig.records[0];
    assert_eq!(
        (
            record.from_line.as_str(),
            record.to_line.as_str(),
            record.route.as_str()
        ),
        ("phone 101", "trunk carrier", "out")
    );
    assert_eq!(
        (record.ended_by.as_str(), record.status.as_str()),
        ("callee", "FINISH")
    );
    assert_eq!(record.answered_after_ms, Some(0));
}
