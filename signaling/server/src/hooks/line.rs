//! The hooks of one application that wait: in order within a session, side by side across sessions.

use super::breaker::{Breaker, Change};
use super::limits::{LEAST_SHARE, SHARE};
use signaling_backend::{Request, RequestId};
use signaling_calls::SessionId;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// How much of an application's hooks there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub connections: usize,
    pub queue: usize,
    /// One that something waits for has no use after this.
    pub patience: Duration,
}

pub(super) struct Line {
    waiting: VecDeque<Waiting>,
    /// Sessions with a hook under way: their next one waits.
    busy: HashSet<SessionId>,
    breaker: Breaker,
}

struct Waiting {
    request: Request,
    since: Instant,
}

/// A hook that will not go out, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsent {
    pub id: RequestId,
    pub why: &'static str,
}

pub(super) struct Job {
    pub request: Request,
    pub probe: bool,
}

pub(super) const BREAKER_OPEN: &str =
    "the backend has not answered for a while, and is not asked again yet";
const DROPPED: &str = "too many hooks wait for this backend";
const WAITED: &str = "the backend was too slow with the hooks before this one";

impl Line {
    pub fn new() -> Line {
        Line {
            waiting: VecDeque::new(),
            busy: HashSet::new(),
            breaker: Breaker::new(),
        }
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn running(&self) -> usize {
        // One for each busy session.
        self.busy.len()
    }

    pub fn is_open(&self) -> bool {
        !self.breaker.is_closed()
    }

    /// Something waits or is under way.
    pub fn is_busy(&self) -> bool {
        !self.waiting.is_empty() || !self.busy.is_empty()
    }

    /// The backend is another one now: what was held against the old one is not held against it.
    pub fn forgive(&mut self) {
        self.breaker = Breaker::new();
    }

    /// Takes a hook, or says which one is not sent instead.
    pub fn push(&mut self, request: Request, bounds: &Bounds, now: Instant) -> Option<Unsent> {
        if !self.breaker.admits(now) {
            return Some(Unsent {
                id: request.id,
                why: BREAKER_OPEN,
            });
        }
        // One session's hooks must not crowd out everybody's.
        let of_session = |w: &&Waiting| w.request.session == request.session;
        if self.waiting.iter().filter(of_session).count() >= (bounds.queue / SHARE).max(LEAST_SHARE)
        {
            return Some(Unsent {
                id: request.id,
                why: DROPPED,
            });
        }
        let mut unsent = None;
        if self.waiting.len() >= bounds.queue {
            let oldest = self
                .waiting
                .iter()
                .position(|waiting| !waiting.request.awaited);
            let dropped = match oldest.and_then(|at| self.waiting.remove(at)) {
                Some(dropped) => dropped.request.id,
                None => request.id,
            };
            unsent = Some(Unsent {
                id: dropped,
                why: DROPPED,
            });
            if dropped == request.id {
                return unsent;
            }
        }
        self.waiting.push_back(Waiting {
            request,
            since: now,
        });
        unsent
    }

    /// The next to go out, if one may; what has waited too long goes to `unsent`.
    pub fn next(&mut self, bounds: &Bounds, now: Instant, unsent: &mut Vec<Unsent>) -> Option<Job> {
        loop {
            if self.busy.len() >= bounds.connections || !self.breaker.admits(now) {
                return None;
            }
            let free = |waiting: &Waiting| !self.busy.contains(&waiting.request.session);
            let at = self.waiting.iter().position(free)?;
            let Waiting { request, since } = self.waiting.remove(at)?;
            if request.awaited && now - since > bounds.patience {
                unsent.push(Unsent {
                    id: request.id,
                    why: WAITED,
                });
                continue;
            }
            self.busy.insert(request.session);
            let probe = self.breaker.begins(now);
            return Some(Job { request, probe });
        }
    }

    /// A hook has ended. When the breaker opens, all that wait are not sent.
    pub fn done(
        &mut self,
        session: SessionId,
        answered: bool,
        probe: bool,
        now: Instant,
        unsent: &mut Vec<Unsent>,
    ) -> Change {
        self.busy.remove(&session);
        let change = if answered {
            self.breaker.answered()
        } else {
            self.breaker.failed(probe, now)
        };
        if change == Change::Opened {
            unsent.extend(self.waiting.drain(..).map(|waiting| Unsent {
                id: waiting.request.id,
                why: BREAKER_OPEN,
            }));
        }
        change
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits;
    use super::*;
    use crate::hooks::tests::{app, request};
    use proptest::prelude::*;
    use std::collections::HashMap;

    const BOUNDS: Bounds = Bounds {
        connections: 2,
        queue: 4,
        patience: Duration::from_secs(15),
    };

    fn next(line: &mut Line) -> Option<u64> {
        let mut unsent = Vec::new();
        let job = line.next(&BOUNDS, Instant::now(), &mut unsent);
        assert_eq!(unsent, []);
        job.map(|job| job.request.id.0)
    }

    fn done(line: &mut Line, session: u64, answered: bool) -> Vec<u64> {
        let mut unsent = Vec::new();
        line.done(
            SessionId(session),
            answered,
            false,
            Instant::now(),
            &mut unsent,
        );
        unsent.into_iter().map(|unsent| unsent.id.0).collect()
    }

    #[test]
    fn a_sessions_hooks_go_one_after_the_other_and_others_pass() {
        let app = app("http://localhost");
        let mut line = Line::new();
        let now = Instant::now();
        for (id, session) in [(1, 7), (2, 7), (3, 8), (4, 9)] {
            assert_eq!(line.push(request(&app, id, session), &BOUNDS, now), None);
        }
        assert_eq!((next(&mut line), next(&mut line)), (Some(1), Some(3)));
        assert_eq!(next(&mut line), None, "both connections are in use");
        done(&mut line, 8, true);
        assert_eq!(next(&mut line), Some(4), "7 still waits for its first");
        done(&mut line, 7, true);
        assert_eq!(next(&mut line), Some(2));
    }

    #[test]
    fn a_full_queue_drops_the_oldest_that_nothing_waits_for_and_refuses_where_there_is_none() {
        let app = app("http://localhost");
        let mut line = Line::new();
        let now = Instant::now();
        for id in 1..=4 {
            let mut request = request(&app, id, 1);
            request.awaited = id % 2 == 1;
            assert_eq!(line.push(request, &BOUNDS, now), None);
        }
        let dropped =
            [5, 6, 7].map(|id| line.push(request(&app, id, 1), &BOUNDS, now).unwrap().id.0);
        assert_eq!(dropped, [2, 4, 7]);
        assert_eq!(line.waiting(), BOUNDS.queue);
    }

    #[test]
    fn what_something_waits_for_is_given_up_after_the_patience_and_the_rest_still_told() {
        let app = app("http://localhost");
        let mut line = Line::new();
        let begun = Instant::now();
        line.push(request(&app, 1, 1), &BOUNDS, begun);
        let mut event = request(&app, 2, 1);
        event.awaited = false;
        line.push(event, &BOUNDS, begun);
        let mut unsent = Vec::new();
        let later = begun + BOUNDS.patience + Duration::from_millis(1);
        let job = line.next(&BOUNDS, later, &mut unsent);
        assert_eq!(job.map(|job| job.request.id.0), Some(2));
        assert_eq!(unsent.len(), 1);
        assert_eq!(unsent[0].id, RequestId(1));
    }

    #[test]
    fn when_the_breaker_opens_nothing_waits_any_more() {
        let app = app("http://localhost");
        let mut line = Line::new();
        let now = Instant::now();
        let failures = u64::from(limits::FAILURES);
        for n in 1..=failures {
            line.push(request(&app, n, n), &BOUNDS, now);
            assert_eq!(next(&mut line), Some(n));
            if n == failures {
                line.push(request(&app, 90, n), &BOUNDS, now);
            }
            let unsent = done(&mut line, n, false);
            assert_eq!(unsent, if n == failures { vec![90] } else { vec![] });
        }
        assert!(line.is_open());
        let refused = line.push(request(&app, 91, 1), &BOUNDS, now);
        assert_eq!(refused.map(|unsent| unsent.id.0), Some(91));
        // After the back-off one goes out, and no second beside it.
        let later = now + limits::FIRST_BACK_OFF * 2;
        assert_eq!(line.push(request(&app, 92, 1), &BOUNDS, later), None);
        let job = line.next(&BOUNDS, later, &mut Vec::new()).unwrap();
        assert!(job.probe);
        assert!(line.push(request(&app, 93, 2), &BOUNDS, later).is_some());
        let change = line.done(SessionId(1), true, true, later, &mut Vec::new());
        assert_eq!(change, Change::Closed);
        assert!(!line.is_busy() && !line.is_open());
    }

    proptest! {
        #[test]
        fn each_hook_is_sent_or_said_to_be_unsent_exactly_once_and_in_its_sessions_order(
            steps in proptest::collection::vec((0u8..4, 0u64..4, any::<bool>()), 1..300)
        ) {
            let app = app("http://localhost");
            let mut line = Line::new();
            let now = Instant::now();
            let (mut ids, mut running) = (0, Vec::<SessionId>::new());
            let mut fate: HashMap<u64, u32> = HashMap::new();
            let mut last_sent: HashMap<SessionId, u64> = HashMap::new();
            let mut unsent = Vec::new();
            for (step, session, flag) in steps {
                if step < 2 {
                    ids += 1;
                    let mut request = request(&app, ids, session);
                    request.awaited = flag;
                    unsent.extend(line.push(request, &BOUNDS, now));
                } else if let Some(at) = running.iter().position(|s| s.0 == session) {
                    let session = running.swap_remove(at);
                    line.done(session, flag, false, now, &mut unsent);
                }
                while let Some(job) = line.next(&BOUNDS, now, &mut unsent) {
                    let (id, session) = (job.request.id.0, job.request.session);
                    prop_assert!(!running.contains(&session));
                    prop_assert!(last_sent.insert(session, id).is_none_or(|last| last < id));
                    running.push(session);
                    *fate.entry(id).or_default() += 1;
                }
                prop_assert!(running.len() <= BOUNDS.connections && line.waiting() <= BOUNDS.queue);
            }
            for unsent in unsent {
                *fate.entry(unsent.id.0).or_default() += 1;
            }
            prop_assert!(fate.values().all(|n| *n == 1));
            prop_assert_eq!(fate.len() + line.waiting(), usize::try_from(ids).unwrap());
        }
    }
}
