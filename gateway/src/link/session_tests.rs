use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

const GRACE: Duration = Duration::from_secs(30);

fn us(role: &str) -> Ourselves {
    Ourselves {
        role: role.into(),
        newest: 2,
        oldest: 1,
    }
}

/// A dialer, a listener and the wires between them.
struct Pair {
    now: Instant,
    sides: [Side; 2],
    /// Frames under way, by sending side and lane.
    lanes: [Vec<VecDeque<Batch>>; 2],
    seens: [VecDeque<Seen>; 2],
    /// A reply that the dialer has read and the listener has not yet followed.
    half: Option<(Hello, Reply)>,
}

struct Side {
    us: Ourselves,
    session: Session,
    got: Vec<Vec<u64>>,
    changes: Vec<Change>,
}

impl Side {
    fn new(role: &str, instance: u64) -> Side {
        Side {
            us: us(role),
            session: Session::new(instance, GRACE),
            got: vec![Vec::new(); LANES],
            changes: Vec::new(),
        }
    }
}

const DIALER: usize = 0;
const LISTENER: usize = 1;

impl Pair {
    fn new() -> Pair {
        let wires = || vec![VecDeque::new(); LANES];
        Pair {
            now: Instant::now(),
            sides: [Side::new("signaling", 11), Side::new("media", 22)],
            lanes: [wires(), wires()],
            seens: Default::default(),
            half: None,
        }
    }

    fn send(&mut self, side: usize, lane: usize, message: u64) -> bool {
        self.sides[side]
            .session
            .send(lane, message.to_be_bytes().to_vec())
    }

    /// Puts on the wires all that the sides have for them.
    fn flush(&mut self) {
        for (i, side) in self.sides.iter_mut().enumerate() {
            for lane in 0..LANES {
                while let Some(batch) = side.session.poll_batch(lane) {
                    self.lanes[i][lane].push_back(batch);
                }
            }
            if let Some(seen) = side.session.poll_seen(self.now) {
                self.seens[i].push_back(seen);
            }
        }
    }

    /// The oldest frame of that side and lane arrives, if the receiver is established.
    fn deliver(&mut self, from: usize, lane: usize) {
        let to = &mut self.sides[1 - from];
        if !to.session.is_connected() {
            return;
        }
        if let Some(batch) = self.lanes[from][lane].pop_front() {
            for message in to.session.receive(lane, batch, self.now).unwrap() {
                to.got[lane].push(u64::from_be_bytes(message.try_into().unwrap()));
            }
        }
    }

    fn deliver_seen(&mut self, from: usize) {
        let to = &mut self.sides[1 - from];
        if !to.session.is_connected() {
            return;
        }
        if let Some(seen) = self.seens[from].pop_front() {
            to.session.acknowledged(&seen).unwrap();
        }
    }

    fn cut(&mut self) {
        self.half = None;
        for i in 0..2 {
            self.lanes[i].iter_mut().for_each(VecDeque::clear);
            self.seens[i].clear();
            let change = self.sides[i].session.disconnected(self.now);
            self.sides[i].changes.extend(change);
        }
    }

    /// The dialer has read the reply. `follow` has to come, else the listener never knew.
    fn dial(&mut self) {
        if self.half.is_some() || self.sides[DIALER].session.is_connected() {
            return;
        }
        // A listener that believes in an older connection drops it first.
        let change = self.sides[LISTENER].session.disconnected(self.now);
        self.sides[LISTENER].changes.extend(change);
        let [dialer, listener] = &mut self.sides;
        let hello = dialer.session.hello(&dialer.us, "media");
        let version = agree(&hello, &listener.us).unwrap();
        let reply = listener.session.judge(&hello, version);
        let number = dialer.session.number();
        let change = dialer
            .session
            .connected(number, reply.instance, reply.resumed, &reply.seen)
            .unwrap();
        dialer.changes.push(change);
        self.half = Some((hello, reply));
    }

    fn follow(&mut self) {
        if let Some((hello, reply)) = self.half.take() {
            let listener = &mut self.sides[LISTENER];
            let change = listener
                .session
                .connected(hello.session, hello.instance, reply.resumed, &hello.seen)
                .unwrap();
            listener.changes.push(change);
        }
    }

    fn connect(&mut self) {
        self.dial();
        self.follow();
    }

    fn deliver_all(&mut self) {
        self.now += SEEN_AFTER;
        self.flush();
        for from in 0..2 {
            for lane in 0..LANES {
                while !self.lanes[from][lane].is_empty() {
                    self.deliver(from, lane);
                }
            }
        }
        self.now += SEEN_AFTER;
        self.flush();
        self.deliver_seen(DIALER);
        self.deliver_seen(LISTENER);
    }
}

#[test]
fn what_was_said_before_the_first_connection_is_delivered() {
    let mut pair = Pair::new();
    pair.send(DIALER, 0, 1);
    pair.connect();
    pair.deliver_all();
    assert_eq!(pair.sides[LISTENER].got[0], [1]);
    assert_eq!(pair.sides[LISTENER].changes, [Change::Up { fresh: true }]);
    assert!(pair.sides[DIALER].session.is_idle());
}

#[test]
fn a_replaced_peer_is_fresh_and_is_not_told_what_was_said_to_the_old_one() {
    let mut pair = Pair::new();
    pair.connect();
    pair.send(DIALER, 3, 1);
    pair.cut();
    pair.sides[LISTENER] = Side::new("media", 23);
    pair.connect();
    pair.send(DIALER, 3, 2);
    pair.deliver_all();
    assert_eq!(pair.sides[LISTENER].got[3], [2]);
    assert_eq!(
        pair.sides[DIALER].changes,
        [
            Change::Up { fresh: true },
            Change::Down,
            Change::Up { fresh: true }
        ]
    );
}

#[test]
fn a_dialer_that_comes_with_another_session_is_fresh_for_the_listener() {
    let mut pair = Pair::new();
    pair.connect();
    pair.send(LISTENER, 1, 1);
    pair.cut();
    pair.sides[DIALER] = Side::new("signaling", 12);
    pair.connect();
    pair.deliver_all();
    assert_eq!(pair.sides[DIALER].got[1], [] as [u64; 0]);
    assert_eq!(
        pair.sides[LISTENER].changes.last(),
        Some(&Change::Up { fresh: true })
    );
}

#[test]
fn after_grace_the_peer_is_lost_and_messages_go_nowhere_until_it_is_back() {
    let mut pair = Pair::new();
    pair.connect();
    pair.cut();
    let session = &mut pair.sides[DIALER].session;
    assert!(!session.is_overdue(pair.now + GRACE - Duration::from_millis(1)));
    assert_eq!(session.poll_timeout(), Some(pair.now + GRACE));
    assert!(session.is_overdue(pair.now + GRACE));
    assert_eq!(session.abandon(79), Some(Change::Lost));
    assert_eq!(session.poll_timeout(), None);
    assert!(!pair.send(DIALER, 0, 1));
    pair.connect();
    assert_eq!(
        pair.sides[DIALER].changes.last(),
        Some(&Change::Up { fresh: true })
    );
    assert_eq!(
        pair.sides[LISTENER].changes.last(),
        Some(&Change::Up { fresh: true })
    );
    assert!(pair.send(DIALER, 0, 2));
    pair.deliver_all();
    assert_eq!(pair.sides[LISTENER].got[0], [2]);
}

#[test]
fn a_listener_that_gave_up_first_is_fresh_for_the_dialer_that_did_not() {
    let mut pair = Pair::new();
    pair.connect();
    pair.send(DIALER, 0, 1);
    pair.deliver_all();
    pair.cut();
    pair.send(DIALER, 0, 2);
    assert_eq!(pair.sides[LISTENER].session.abandon(99), Some(Change::Lost));
    pair.connect();
    pair.send(DIALER, 0, 3);
    pair.deliver_all();
    assert_eq!(pair.sides[LISTENER].got[0], [1, 3]);
    for side in &pair.sides {
        assert_eq!(side.changes.last(), Some(&Change::Up { fresh: true }));
    }
}

#[test]
fn a_listener_that_never_followed_gets_all_at_the_next_attempt() {
    let mut pair = Pair::new();
    pair.dial();
    pair.send(DIALER, 0, 1);
    pair.flush();
    pair.cut();
    pair.connect();
    pair.deliver_all();
    assert_eq!(pair.sides[LISTENER].got[0], [1]);
    assert_eq!(
        pair.sides[DIALER].changes.last(),
        Some(&Change::Up { fresh: false })
    );
}

#[test]
fn versions_n_and_n_minus_1_agree_and_n_minus_2_is_refused_with_a_sentence() {
    let hello = |newest, oldest| Hello {
        newest,
        oldest,
        ..Session::new(1, GRACE).hello(&us("signaling"), "media")
    };
    let us = Ourselves {
        newest: 5,
        oldest: 4,
        ..us("media")
    };
    assert_eq!(agree(&hello(5, 4), &us), Ok(5));
    assert_eq!(agree(&hello(4, 3), &us), Ok(4));
    assert_eq!(agree(&hello(6, 5), &us), Ok(5));
    assert_eq!(
        agree(&hello(3, 2), &us).unwrap_err(),
        "The signaling role speaks versions 2 to 3 of the link and this media role 4 to 5: upgrade the older one first."
    );
    assert!(agree(&hello(7, 6), &us).is_err());
}

#[test]
fn neighbouring_keys_and_even_keys_use_all_lanes() {
    for step in [1, 2, 8, 1 << 20] {
        let used: std::collections::HashSet<_> = (0..200).map(|i| lane_of(i * step)).collect();
        assert_eq!(used.len(), LANES, "step {step}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize, usize),
    Flush,
    Deliver(usize, usize),
    DeliverSeen(usize),
    Wait,
    Cut,
    Dial,
    Follow,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Three lanes are enough to see them not mix, and make each of them busier.
    let lane = 0..3usize;
    let side = 0..2usize;
    let step = prop_oneof![
        6 => (side.clone(), lane.clone()).prop_map(|(s, l)| Step::Send(s, l)),
        4 => Just(Step::Flush),
        6 => (side.clone(), lane).prop_map(|(s, l)| Step::Deliver(s, l)),
        3 => side.prop_map(Step::DeliverSeen),
        2 => Just(Step::Wait),
        1 => Just(Step::Cut),
        2 => Just(Step::Dial),
        2 => Just(Step::Follow),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn every_message_arrives_once_and_in_order_wherever_the_connection_is_cut(steps in steps()) {
        let mut pair = Pair::new();
        let mut sent = [vec![Vec::new(); LANES], vec![Vec::new(); LANES]];
        for (i, step) in steps.into_iter().enumerate() {
            match step {
                Step::Send(side, lane) => {
                    prop_assert!(pair.send(side, lane, i as u64));
                    sent[side][lane].push(i as u64);
                }
                Step::Flush => pair.flush(),
                Step::Deliver(from, lane) => pair.deliver(from, lane),
                Step::DeliverSeen(from) => pair.deliver_seen(from),
                Step::Wait => pair.now += SEEN_AFTER,
                Step::Cut => pair.cut(),
                Step::Dial => pair.dial(),
                Step::Follow => pair.follow(),
            }
        }
        pair.cut();
        pair.connect();
        pair.deliver_all();
        for (side, sent) in sent.iter().enumerate() {
            prop_assert_eq!(&pair.sides[1 - side].got, sent);
            prop_assert!(pair.sides[side].session.is_idle());
            let fresh = pair.sides[side].changes.iter().filter(|c| **c == Change::Up { fresh: true }).count();
            prop_assert_eq!(fresh, 1);
        }
    }
}
