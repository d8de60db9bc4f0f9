//! Calls from line to line: what both sides see of the switchboard between them.

use crate::rig::Rig;
use media_control::{self as media, Codec, Direction, LegId, RemoteTransport};
use signaling_calls::{Config, Input, Link};
use signaling_plan::{
    Attempt, Destination, Identity as Shown, Numbering, Pattern, Plan, Route, Rule, Target,
    TrunkRules, Who,
};
use signaling_trunk::api::{
    ByLine, Cause, Command, End, Event, Failure, ForkId, Header, Identity, InviteId, Line,
    NO_ACCOUNT, OfferId, ReferId,
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

#[test]
fn early_media_of_the_callee_is_relayed_and_the_caller_is_answered_once() {
    let mut bridge = Bridge::usual();
    bridge.progress(0, 183, Some(CALLEE));
    let asked = bridge.rig.asked();
    let [
        Command::Progress {
            status: 183,
            sdp: Some(early),
            ..
        },
    ] = asked.as_slice()
    else {
        panic!("{asked:?}")
    };
    let early = early.clone();
    bridge.rig.media_asked();
    // Another fork, with another codec, answers: the join transcodes, and the caller hears no second description.
    let other = CALLEE
        .replace("AVP 8 101", "AVP 9 101")
        .replace("5000", "5002");
    bridge.answers_as(1, Some(&other), false);
    assert_eq!(
        bridge.rig.asked(),
        [Command::Accept {
            invite: bridge.caller,
            sdp: early
        }]
    );
    let media = bridge.rig.media_asked();
    assert_eq!(connected(&media, LegId(1024)), None, "{media:?}");
    let there = "203.0.113.50:5002".to_owned();
    assert_eq!(
        connected(&media, LegId(1025)),
        Some((Codec::G722, Direction::SendRecv, there))
    );
}

#[test]
fn a_caller_that_leaves_the_offer_to_us_is_offered_what_the_callee_took() {
    let plan = route(vec![to_phone("102")]);
    let (mut bridge, invite) = Bridge::calling(Config::default(), None, plan);
    let Command::Invite { sdp, options, .. } = invite else {
        unreachable!("it was an INVITE")
    };
    assert!(!sdp.is_empty());
    // One phone sees the other one's name.
    assert_eq!(options.identity.from_user, "101");
    bridge.answers(CALLEE);
    let asked = bridge.rig.asked();
    let [Command::Accept { sdp, .. }] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    assert!(
        text(sdp).contains("m=audio 20000 RTP/AVP 8 "),
        "{}",
        text(sdp)
    );
    bridge.rig.media_asked();
    bridge.rig.give(Input::Trunk(Event::Acknowledged {
        invite: bridge.caller,
        sdp: Some(
            CALLER
                .replace(" 96\r\n", " 101\r\n")
                .replace(":96", ":101")
                .into_bytes(),
        ),
    }));
    let there = "192.0.2.40:4000".to_owned();
    assert_eq!(
        connected(&bridge.rig.media_asked(), LegId(1024)),
        Some((Codec::Pcma, Direction::SendRecv, there))
    );
    assert!(bridge.rig.asked().is_empty());
}

#[test]
fn a_late_offer_that_nobody_answers_ends_both_sides() {
    let plan = route(vec![to_phone("102")]);
    let (mut bridge, _) = Bridge::calling(Config::default(), None, plan);
    bridge.answers(CALLEE);
    bridge.rig.asked();
    bridge.rig.give(Input::Trunk(Event::Acknowledged {
        invite: bridge.caller,
        sdp: None,
    }));
    let ended = refused(&bridge.rig.asked());
    assert_eq!(ended.len(), 2, "{ended:?}");
}

#[test]
fn a_line_that_wants_late_offers_gets_its_answer_in_the_ack() {
    let mut plan = signaling_plan::Plan::default();
    let profile = signaling_plan::MediaProfile {
        late_offer: true,
        ..signaling_plan::MediaProfile::default()
    };
    plan.trunk_media.insert("carrier".into(), profile);
    let mut rig = Rig::new(Config::default());
    rig.give(Input::Plan(Box::new(plan)));
    rig.bridge(
        arrival(Some(CALLER), Vec::new()),
        route(vec![to_trunk("carrier", "1")]),
    );
    let (callee, sdp) = rig.invite();
    assert!(sdp.is_empty());
    let mut bridge = Bridge {
        rig,
        caller: InviteId(7),
        callee,
    };
    bridge.answers_as(0, Some(CALLEE), true);
    let asked = bridge.rig.asked();
    let [
        Command::Acknowledge { sdp: ours, .. },
        Command::Accept { sdp: answer, .. },
    ] = asked.as_slice()
    else {
        panic!("{asked:?}")
    };
    assert!(text(ours).contains("RTP/AVP 8 101"), "{}", text(ours));
    assert!(text(answer).contains("RTP/AVP 8 0 96"), "{}", text(answer));
}

#[test]
fn statuses_that_lead_on_make_the_next_attempt_and_others_reach_the_caller() {
    let plan = route(vec![
        to_trunk("one", "1"),
        to_trunk("two", "2"),
        to_phone("102"),
    ]);
    let (mut bridge, _) = Bridge::calling(Config::default(), Some(CALLER), plan);
    bridge.progress(0, 183, Some(CALLEE));
    bridge.rig.asked();
    let mut lines = Vec::new();
    for status in [503, 0] {
        bridge.fails(bridge.callee, status);
        let asked = bridge.rig.asked();
        let [
            Command::Invite {
                invite, options, ..
            },
        ] = asked.as_slice()
        else {
            panic!("{asked:?}")
        };
        lines.extend(options.line.clone());
        bridge.callee = *invite;
    }
    assert_eq!(
        lines,
        [Line::Trunk("two".into()), Line::Phone("102".into())]
    );
    bridge.progress(0, 180, None);
    bridge.rig.asked();
    bridge.fails(bridge.callee, 486);
    assert_eq!(refused(&bridge.rig.asked()), [(bridge.caller, Some(486))]);
    bridge.is_over(bridge.caller);
    bridge.leaves_nothing();
    assert_eq!(bridge.rig.records[0].status, "BUSY");
}

#[test]
fn a_challenge_and_a_contact_elsewhere_are_never_told_to_the_caller() {
    for (status, told) in [
        (401, 500),
        (407, 500),
        (302, 480),
        (503, 503),
        (404, 404),
        (603, 603),
        (606, 606),
        (487, 480),
        (421, 500),
        (0, 408),
    ] {
        let mut plan = route(vec![to_trunk("carrier", "1")]);
        plan.next_on = Vec::new();
        let (mut bridge, _) = Bridge::calling(Config::default(), Some(CALLER), plan);
        bridge.fails(bridge.callee, status);
        let asked = bridge.rig.asked();
        let [
            Command::Hangup {
                status: Some(refusal),
                ..
            },
        ] = asked.as_slice()
        else {
            panic!("{asked:?}")
        };
        // 503 would be said of us (RFC 3261 §16.7).
        let told = if told == 503 { 500 } else { told };
        assert_eq!(refusal.status, told, "{status}");
        assert!(!refusal.reason.contains("203.0.113"), "{}", refusal.reason);
    }
}

#[test]
fn a_caller_that_gives_up_takes_the_callee_with_it() {
    let mut bridge = Bridge::usual();
    bridge.progress(0, 180, None);
    bridge.rig.asked();
    bridge.rig.over(
        bridge.caller,
        End::ByPeer {
            cancelled: true,
            reason: String::new(),
            raw: String::new(),
        },
    );
    let asked = refused(&bridge.rig.asked());
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].0, bridge.callee);
    // Its answer crosses our CANCEL.
    bridge.answers(CALLEE);
    assert!(bridge.rig.asked().is_empty());
    bridge.is_over(bridge.callee);
    bridge.leaves_nothing();
    assert_eq!(bridge.rig.records[0].ended_by, "caller");
}

#[test]
fn who_rings_longer_than_the_route_says_is_given_up() {
    let mut bridge = Bridge::usual();
    bridge.progress(0, 180, None);
    bridge.rig.asked();
    bridge.rig.wait(Duration::from_secs(59));
    assert!(bridge.rig.asked().is_empty());
    bridge.rig.wait(Duration::from_secs(1));
    let asked = refused(&bridge.rig.asked());
    assert_eq!(asked[0], (bridge.caller, Some(480)));
    assert_eq!(asked[1].0, bridge.callee);
    bridge.is_over(bridge.caller);
    bridge.is_over(bridge.callee);
    bridge.leaves_nothing();
}

/// Directions of the offers that went out, and to whom.
fn offered(asked: &[Command]) -> Vec<(InviteId, &'static str)> {
    let direction = |sdp: &[u8]| {
        let text = text(sdp);
        ["sendonly", "recvonly", "inactive", "sendrecv"]
            .into_iter()
            .find(|name| text.contains(&format!("a={name}\r\n")))
            .expect("a direction")
    };
    let of = |command: &Command| match command {
        Command::Offer { invite, sdp } | Command::AnswerOffer { invite, sdp, .. } => {
            Some((*invite, direction(sdp)))
        }
        _ => None,
    };
    asked.iter().filter_map(of).collect()
}

fn with(sdp: &str, version: u64, direction: &str) -> String {
    sdp.replace("12 IN", &format!("{} IN", 12 + version))
        .replace("22 IN", &format!("{} IN", 22 + version))
        + &format!("a={direction}\r\n")
}

#[test]
fn a_hold_of_either_side_reaches_the_other_one_and_ends_there() {
    for swapped in [false, true] {
        let mut bridge = Bridge::talking();
        let (holder, held) = match swapped {
            false => (bridge.caller, bridge.callee),
            true => (bridge.callee, bridge.caller),
        };
        let (of_holder, of_held) = match swapped {
            false => (CALLER, CALLEE),
            true => (CALLEE, CALLER),
        };
        bridge.offers(holder, Some(&with(of_holder, 1, "sendonly")));
        assert_eq!(
            offered(&bridge.rig.asked()),
            [(holder, "recvonly"), (held, "sendonly")]
        );
        bridge.accepts(held, &with(of_held, 1, "recvonly"));
        assert!(bridge.rig.asked().is_empty());
        // The same again is a refresh: nobody else hears of it.
        bridge.offers(holder, Some(&with(of_holder, 1, "sendonly")));
        assert_eq!(offered(&bridge.rig.asked()), [(holder, "recvonly")]);

        bridge.offers(holder, Some(&with(of_holder, 2, "sendrecv")));
        assert_eq!(
            offered(&bridge.rig.asked()),
            [(holder, "sendrecv"), (held, "sendrecv")]
        );
        bridge.accepts(held, &with(of_held, 2, "sendrecv"));
        assert!(bridge.rig.asked().is_empty());
    }
}

#[test]
fn an_old_hold_by_an_address_of_zeros_is_carried_too() {
    let mut bridge = Bridge::talking();
    let zeros = CALLER.replace("c=IN IP4 192.0.2.40", "c=IN IP4 0.0.0.0");
    bridge.offers(bridge.caller, Some(&zeros));
    let asked = offered(&bridge.rig.asked());
    assert_eq!(asked[1], (bridge.callee, "sendonly"));
}

#[test]
fn both_may_hold_and_each_comes_back_by_itself() {
    let mut bridge = Bridge::talking();
    let (caller, callee) = (bridge.caller, bridge.callee);
    bridge.offers(caller, Some(&with(CALLER, 1, "sendonly")));
    bridge.accepts(callee, &with(CALLEE, 1, "recvonly"));
    bridge.rig.asked();
    bridge.offers(callee, Some(&with(CALLEE, 2, "sendonly")));
    assert_eq!(
        offered(&bridge.rig.asked()),
        [(callee, "inactive"), (caller, "sendonly")]
    );
    bridge.accepts(caller, &with(CALLER, 2, "inactive"));
    assert!(bridge.rig.asked().is_empty());
    bridge.offers(caller, Some(&with(CALLER, 3, "sendrecv")));
    assert_eq!(
        offered(&bridge.rig.asked()),
        [(caller, "sendonly"), (callee, "sendrecv")]
    );
    bridge.accepts(callee, &with(CALLEE, 3, "sendonly"));
    assert!(bridge.rig.asked().is_empty());
    bridge.offers(callee, Some(&with(CALLEE, 4, "sendrecv")));
    assert_eq!(
        offered(&bridge.rig.asked()),
        [(callee, "sendrecv"), (caller, "sendrecv")]
    );
}

#[test]
fn a_hold_that_changes_while_the_other_side_is_asked_is_carried_afterwards() {
    let mut bridge = Bridge::talking();
    let (caller, callee) = (bridge.caller, bridge.callee);
    bridge.offers(caller, Some(&with(CALLER, 1, "sendonly")));
    bridge.rig.asked();
    bridge.offers(caller, Some(&with(CALLER, 2, "sendrecv")));
    assert_eq!(offered(&bridge.rig.asked()), [(caller, "sendrecv")]);
    bridge.accepts(callee, &with(CALLEE, 1, "recvonly"));
    assert_eq!(offered(&bridge.rig.asked()), [(callee, "sendrecv")]);
    // A side that refuses is not asked again until something changes.
    let failure = Failure {
        status: 488,
        ..Failure::default()
    };
    bridge.rig.give(Input::Trunk(Event::OfferRefused {
        invite: callee,
        failure,
    }));
    assert!(bridge.rig.asked().is_empty());
}

#[test]
fn a_new_codec_or_address_of_one_side_is_absorbed() {
    let mut bridge = Bridge::talking();
    let moved = CALLER
        .replace("AVP 8 0", "AVP 0")
        .replace("4000", "4010")
        .replace("12 IN", "13 IN");
    bridge.offers(bridge.caller, Some(&moved));
    let asked = bridge.rig.asked();
    let [Command::AnswerOffer { sdp, .. }] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    let answer = text(sdp);
    assert!(answer.contains("RTP/AVP 0 96"), "{answer}");
    let media = bridge.rig.media_asked();
    let there = "192.0.2.40:4010".to_owned();
    assert_eq!(
        connected(&media, LegId(1024)),
        Some((Codec::Pcmu, Direction::SendRecv, there))
    );
    assert_eq!(connected(&media, LegId(1025)), None, "{media:?}");
}

#[test]
fn a_refresh_is_answered_with_the_same_description_in_the_same_version() {
    let mut bridge = Bridge::talking();
    let mut answers = Vec::new();
    for _ in 0..2 {
        bridge.offers(bridge.caller, Some(CALLER));
        match bridge.rig.asked().as_slice() {
            [Command::AnswerOffer { sdp, .. }] => answers.push(text(sdp)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answers[0], answers[1]);
    assert!(bridge.rig.media_asked().is_empty());
}

#[test]
fn a_re_invite_without_offer_is_offered_what_is_spoken() {
    let mut bridge = Bridge::talking();
    bridge.offers(bridge.callee, None);
    let asked = bridge.rig.asked();
    let [Command::AnswerOffer { sdp, .. }] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    assert!(
        text(sdp).contains("m=audio 20000 RTP/AVP 8 "),
        "{}",
        text(sdp)
    );
    bridge.rig.give(Input::Trunk(Event::OfferAcknowledged {
        invite: bridge.callee,
        offer: OfferId(99),
        sdp: Some(CALLEE.replace("5000", "5020").into_bytes()),
    }));
    let there = "203.0.113.50:5020".to_owned();
    assert_eq!(
        connected(&bridge.rig.media_asked(), LegId(1025)),
        Some((Codec::Pcma, Direction::SendRecv, there))
    );
    assert!(bridge.rig.asked().is_empty());
}

#[test]
fn digits_by_info_become_events_or_info_whichever_the_other_side_takes() {
    let mut bridge = Bridge::talking();
    let press = |bridge: &mut Bridge, invite: InviteId, digit: &str| {
        bridge.rig.give(Input::Trunk(Event::Info {
            invite,
            content_type: "application/dtmf-relay".into(),
            body: format!("Signal={digit}\r\nDuration=200\r\n").into_bytes(),
        }));
    };
    let caller = bridge.caller;
    press(&mut bridge, caller, "5");
    assert_eq!(
        bridge.rig.media_asked(),
        [media::Command::SendDigits {
            leg: LegId(1025),
            digits: "5".into(),
            duration_ms: 200
        }]
    );
    // Held sides hear no events, and INFO all the same.
    bridge.offers(bridge.callee, Some(&with(CALLEE, 1, "inactive")));
    bridge.rig.asked();
    press(&mut bridge, caller, "#");
    assert_eq!(
        bridge.rig.asked(),
        [Command::Info {
            invite: bridge.callee,
            content_type: "application/dtmf-relay".into(),
            body: b"Signal=#\r\nDuration=200\r\n".to_vec()
        }]
    );
}

/// Whatever phones and trunks dial goes to these.
fn plan_to(to: &[Destination]) -> Input {
    let rule = Rule {
        name: "all".into(),
        from: vec![Who::Phone(None), Who::Trunk(None)],
        matches: vec![Pattern::parse("*", &Numbering::default()).unwrap()],
        to: to.iter().cloned().map(Target::To).collect(),
        hairpin: true,
        ..Rule::default()
    };
    let trunk = |name: &str| (name.to_owned(), TrunkRules::default());
    Input::Plan(Box::new(Plan {
        rules: vec![rule],
        trunks: [trunk("carrier"), trunk("other")].into(),
        ..Plan::default()
    }))
}

impl Bridge {
    fn refers(&mut self, invite: InviteId, replaces: Option<&str>) -> Vec<Command> {
        self.rig.give(Input::Trunk(Event::Referred {
            invite,
            refer: ReferId(5),
            target: "sip:103@192.0.2.40".into(),
            replaces: replaces.map(str::to_owned),
            referred_by: Some("<sip:101@alice.example>".into()),
            raw: String::new(),
        }));
        self.rig.asked()
    }
}

/// What the asker was told of its REFER.
fn notified(asked: &[Command]) -> Vec<u16> {
    let of = |command: &Command| match command {
        Command::NotifyRefer { status, .. } => Some(*status),
        _ => None,
    };
    asked.iter().filter_map(of).collect()
}

#[test]
fn a_call_by_the_plan_goes_from_line_to_line() {
    for (line, to) in [
        (
            Line::Trunk("carrier".into()),
            Destination::Phone("102".into()),
        ),
        (Line::Phone("101".into()), Destination::Phone("102".into())),
        (
            Line::Phone("101".into()),
            Destination::Trunk("carrier".into()),
        ),
        (
            Line::Trunk("carrier".into()),
            Destination::Trunk("other".into()),
        ),
    ] {
        let mut rig = Rig::new(Config::default());
        rig.give(plan_to(std::slice::from_ref(&to)));
        let mut event = arrival(Some(CALLER), Vec::new());
        if let Event::Incoming {
            by_line: Some(by), ..
        } = &mut event
        {
            by.line = line.clone();
        }
        rig.give(Input::Trunk(event));
        let asked = rig.asked();
        let [Command::Invite { options, .. }] = asked.as_slice() else {
            panic!("{line:?} {asked:?}")
        };
        let expected = match to {
            Destination::Phone(user) => Line::Phone(user),
            Destination::Trunk(name) => Line::Trunk(name),
            other => panic!("{other:?}"),
        };
        assert_eq!(options.line, Some(expected));
        assert_eq!(rig.board.counts().bridges, 1);
    }
}

#[test]
fn a_side_that_is_transferred_is_replaced_and_the_other_one_stays_as_it_is() {
    for swapped in [false, true] {
        let mut bridge = Bridge::talking();
        bridge
            .rig
            .give(plan_to(&[Destination::Phone("103".into())]));
        let (asker, stays, leg) = match swapped {
            false => (bridge.callee, bridge.caller, LegId(1024)),
            true => (bridge.caller, bridge.callee, LegId(1025)),
        };
        let asked = bridge.refers(asker, None);
        let [
            Command::AcceptRefer { invite, .. },
            Command::Invite {
                invite: third,
                options,
                ..
            },
        ] = asked.as_slice()
        else {
            panic!("{asked:?}")
        };
        assert_eq!(
            (*invite, options.line.clone()),
            (asker, Some(Line::Phone("103".into())))
        );
        assert_eq!(options.referred_by, None);
        let third = *third;
        bridge.callee = third;
        bridge.progress(0, 180, None);
        assert_eq!(notified(&bridge.rig.asked()), [180]);
        bridge.rig.media_asked();
        bridge.answers(CALLEE);
        let asked = bridge.rig.asked();
        assert_eq!(notified(&asked), [200]);
        assert!(
            offered(&asked).is_empty() && refused(&asked).is_empty(),
            "{asked:?}"
        );
        let media = bridge.rig.media_asked();
        assert_eq!(connected(&media, leg), None, "{media:?}");
        let joined = media.iter().any(
            |command| matches!(command, media::Command::Join { a, b } if [*a, *b].contains(&leg)),
        );
        assert!(joined, "{media:?}");
        // The asker stays on the line too long.
        bridge.rig.wait(Duration::from_secs(3));
        assert_eq!(refused(&bridge.rig.asked())[0].0, asker);
        bridge.is_over(asker);
        bridge.hangs_up(stays);
        assert_eq!(refused(&bridge.rig.asked())[0].0, third);
        bridge.is_over(third);
        bridge.leaves_nothing();
    }
}

#[test]
fn a_transfer_that_comes_to_nothing_leaves_the_two_as_they_were() {
    let mut bridge = Bridge::talking();
    bridge
        .rig
        .give(plan_to(&[Destination::Phone("103".into())]));
    let (caller, callee) = (bridge.caller, bridge.callee);
    let asked = bridge.refers(callee, None);
    let Some(Command::Invite { invite: third, .. }) = asked.last() else {
        panic!("{asked:?}")
    };
    bridge.fails(*third, 486);
    assert_eq!(notified(&bridge.rig.asked()), [486]);
    // Again, and the one who waits gives up meanwhile.
    let asked = bridge.refers(callee, None);
    let Some(Command::Invite { invite: third, .. }) = asked.last() else {
        panic!("{asked:?}")
    };
    let third = *third;
    bridge.hangs_up(caller);
    let mut ended: Vec<_> = refused(&bridge.rig.asked())
        .into_iter()
        .map(|(i, _)| i)
        .collect();
    ended.sort();
    assert_eq!(ended, [callee, third]);
    bridge.is_over(callee);
    bridge.is_over(third);
    bridge.leaves_nothing();
}

#[test]
fn a_refer_that_the_plan_the_settings_or_another_dialog_forbid_is_refused() {
    let refusal = |asked: Vec<Command>| match asked.as_slice() {
        [Command::RefuseRefer { status, .. }] => *status,
        other => panic!("{other:?}"),
    };
    // No rule lets a trunk call out.
    let mut bridge = Bridge::talking();
    let callee = bridge.callee;
    assert_eq!(refusal(bridge.refers(callee, None)), 404);
    // Attended: the dialog is named as only the asker knows it.
    bridge
        .rig
        .give(plan_to(&[Destination::Phone("103".into())]));
    assert_eq!(
        refusal(bridge.refers(callee, Some("a;to-tag=b;from-tag=c"))),
        603
    );
    let config = Config {
        follow_refer: false,
        ..Config::default()
    };
    let plan = route(vec![to_trunk("carrier", "1")]);
    let (mut bridge, _) = Bridge::calling(config, Some(CALLER), plan);
    bridge.answers(CALLEE);
    bridge.rig.asked();
    let callee = bridge.callee;
    assert_eq!(refusal(bridge.refers(callee, None)), 603);
}

#[test]
fn identity_passes_as_it_is_and_hops_are_counted_down() {
    let header = |name: &str, value: &str| Header {
        name: name.into(),
        value: value.into(),
    };
    let signed =
        "eyJhbGciOiJFUzI1NiJ9.e30.sig;info=<https://cert.example/c.pem>;alg=ES256;ppt=\"shaken\"";
    let headers = vec![
        header("Max-Forwards", "5"),
        header("Identity", signed),
        header("Date", "Sun, 22 Nov 2026 21:02:03 GMT"),
        header("X-Inner-Host", "pbx7.alice.example"),
        header("User-To-User", "56a3;encoding=hex"),
    ];
    let config = Config {
        bridge_headers: vec!["User-to-User".into()],
        ..Config::default()
    };
    let plan = route(vec![to_trunk("carrier", "1")]);
    let (_, invite) = Bridge::calling_with(config, arrival(Some(CALLER), headers.clone()), plan);
    let Command::Invite {
        headers: passed,
        options,
        ..
    } = invite
    else {
        unreachable!("it was an INVITE")
    };
    assert_eq!(
        passed,
        [headers[1].clone(), headers[2].clone(), headers[4].clone()]
    );
    assert_eq!(options.max_forwards, Some(4));
}

#[test]
fn a_caller_without_a_name_stays_without_one() {
    let mut event = arrival(
        Some(CALLER),
        vec![Header {
            name: "Privacy".into(),
            value: "id".into(),
        }],
    );
    if let Event::Incoming { from, .. } = &mut event {
        *from = Identity {
            user: "anonymous".into(),
            display: "Anonymous".into(),
            uri: "sip:anonymous@anonymous.invalid".into(),
        };
    }
    let (_, invite) = Bridge::calling_with(Config::default(), event, route(vec![to_phone("102")]));
    let Command::Invite {
        options,
        from_display,
        ..
    } = invite
    else {
        unreachable!("it was an INVITE")
    };
    assert_eq!(options.identity.from_user, "anonymous");
    assert_eq!(options.identity.privacy.as_deref(), Some("id"));
    assert_eq!(from_display, "Anonymous");
}

#[test]
fn bridges_count_among_the_calls_that_the_gateway_carries() {
    let config = Config {
        max_calls: 1,
        ..Config::default()
    };
    let plan = route(vec![to_phone("102")]);
    let (mut bridge, _) = Bridge::calling(config, Some(CALLER), plan.clone());
    assert_eq!(bridge.rig.board.counts().calls, 1);
    let mut second = arrival(Some(CALLER), Vec::new());
    if let Event::Incoming { invite, .. } = &mut second {
        *invite = InviteId(9);
    }
    bridge.rig.bridge(second, plan);
    assert_eq!(refused(&bridge.rig.asked()), [(InviteId(9), Some(503))]);
}

#[test]
fn what_cannot_be_bridged_is_refused_at_once() {
    let no_codec = CALLER.replace("AVP 8 0 96", "AVP 18");
    for (sdp, attempts, status) in [
        (no_codec.as_str(), vec![to_phone("102")], 488),
        ("v=0\r\n", vec![to_phone("102")], 488),
        (CALLER, vec![], 480),
    ] {
        let mut rig = Rig::new(Config::default());
        rig.bridge(arrival(Some(sdp), Vec::new()), route(attempts));
        assert_eq!(refused(&rig.asked()), [(InviteId(7), Some(status))]);
        assert!(rig.board.is_idle());
    }
    // And who has nothing in common with the caller's side of us.
    let mut bridge = Bridge::usual();
    bridge.answers(&CALLEE.replace("AVP 8 101", "AVP 18"));
    let asked = refused(&bridge.rig.asked());
    assert_eq!(asked[0], (bridge.caller, Some(488)));
    assert_eq!(asked[1].0, bridge.callee);
}

#[test]
fn whatever_is_lost_ends_both_sides_of_a_bridge_once() {
    let silence = |leg: u64| {
        Input::Media(media::Event::MediaSilent {
            leg: LegId(leg),
            seconds: 60,
        })
    };
    let failure = media::Event::LegFailed {
        leg: LegId(1025),
        reason: media::LegFailure::WorkerLost,
    };
    for (input, hung_up) in [
        (silence(1024), 2),
        (silence(1025), 2),
        (Input::Media(failure), 2),
        (Input::MediaLink(Link::Lost), 2),
        (Input::TrunkLink(Link::Lost), 0),
        (Input::TrunkLink(Link::Up { fresh: true }), 0),
        (Input::Shutdown, 2),
    ] {
        let mut bridge = Bridge::talking();
        bridge.rig.give(input.clone());
        let asked = refused(&bridge.rig.asked());
        assert_eq!(asked.len(), hung_up, "{input:?}");
        for (invite, _) in asked {
            bridge.is_over(invite);
        }
        bridge.leaves_nothing();
    }
    let mut bridge = Bridge::talking();
    bridge.rig.over(bridge.caller, End::NoAck);
    assert_eq!(refused(&bridge.rig.asked())[0].0, bridge.callee);
    // A trunk that never says that it is done is not waited for.
    bridge.rig.wait(Duration::from_secs(100));
    bridge.leaves_nothing();
}

#[test]
fn held_silence_ends_no_bridge() {
    let mut bridge = Bridge::talking();
    bridge.offers(bridge.caller, Some(&with(CALLER, 1, "inactive")));
    bridge.rig.asked();
    bridge.rig.give(Input::Media(media::Event::MediaSilent {
        leg: LegId(1025),
        seconds: 60,
    }));
    assert!(bridge.rig.asked().is_empty());
}

#[test]
fn a_bridge_goes_on_in_a_switchboard_restored_from_its_snapshot() {
    let story = |reincarnates: bool| {
        let mut rig = Rig::new(Config::default());
        rig.reincarnates = reincarnates;
        let plan = route(vec![to_trunk("one", "1"), to_phone("102")]);
        rig.bridge(arrival(Some(CALLER), Vec::new()), plan);
        let (first, _) = rig.invite();
        let mut bridge = Bridge {
            rig,
            caller: InviteId(7),
            callee: first,
        };
        bridge.progress(0, 183, Some(CALLEE));
        bridge.fails(first, 503);
        let (callee, _) = bridge.rig.invite();
        bridge.callee = callee;
        bridge.answers(CALLEE);
        bridge.offers(callee, Some(&with(CALLEE, 1, "sendonly")));
        bridge.accepts(bridge.caller, &with(CALLER, 1, "recvonly"));
        bridge.hangs_up(bridge.caller);
        bridge.is_over(callee);
        bridge.leaves_nothing();
        (
            bridge.rig.asked(),
            bridge.rig.media_asked(),
            bridge.rig.records.clone(),
        )
    };
    assert_eq!(story(false), story(true));
}
