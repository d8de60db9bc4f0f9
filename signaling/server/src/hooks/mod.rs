//! The hooks' way to the applications' backends: HTTP POST, JSON (protocol §5.1).
//!
//! Each application has a [`line::Line`] of its own, with a bounded queue, bounded connections and a breaker, so that
//! a slow backend delays nobody but itself. Every request gets exactly one answer: at once from [`Hooks::post`] where
//! it is not sent, else over [`Answers`].

mod breaker;
mod client;
mod limits;
mod line;
mod roots;
mod sign;
#[cfg(test)]
pub(crate) mod tests;

use breaker::Change;
use client::{Fault, Pool};
use line::{Bounds, Job, Line, Unsent};
use roots::Roots;
use signaling_backend::{App, AppKey, Apps, HookOutcome, Request, RequestId};
use signaling_calls::SessionId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::CertificateDer;

/// What became of a request.
pub type Answer = (RequestId, HookOutcome);

#[derive(Clone, Debug)]
pub struct Settings {
    /// Zero: none but [`limits::LONGEST_REQUEST`].
    pub request_timeout: Duration,
    /// At once, for one application.
    pub connections: usize,
    /// Waiting, for one application.
    pub queue: usize,
    /// Authorities that are believed beside the system's.
    pub authorities: Vec<CertificateDer<'static>>,
}

impl Settings {
    fn timeout(&self) -> Duration {
        match self.request_timeout {
            Duration::ZERO => limits::LONGEST_REQUEST,
            set => set.min(limits::LONGEST_REQUEST),
        }
    }

    /// How long a hook that something waits for may stay unanswered: it waits as long as a backend may take, finds that
    /// it has waited too long when what is before it ends at the latest, or is asked itself.
    pub fn answers_within(&self) -> Duration {
        self.timeout() * 3 + Duration::from_secs(10)
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            request_timeout: limits::REQUEST_TIMEOUT,
            connections: limits::CONNECTIONS,
            queue: limits::QUEUE,
            authorities: Vec::new(),
        }
    }
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub accepted: u64,
    pub refused: u64,
    pub unreachable: u64,
    /// Not sent at all: queue full, waited too long, breaker open.
    pub unsent: u64,
}

/// One application as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppState {
    pub app: AppKey,
    pub waiting: usize,
    pub running: usize,
    pub breaker_open: bool,
}

/// The hooks' way out. Clones are the same way.
#[derive(Clone)]
pub struct Hooks {
    shared: Arc<Shared>,
}

/// The answers' way in.
pub struct Answers(mpsc::Receiver<Answer>);

impl Answers {
    pub async fn next(&mut self) -> Option<Answer> {
        self.0.recv().await
    }
}

struct Shared {
    bounds: Bounds,
    timeout: Duration,
    roots: Roots,
    lines: Mutex<HashMap<AppKey, Entry>>,
    answers: mpsc::Sender<Answer>,
    counters: Counters,
    /// Taken and not yet answered.
    open: AtomicU64,
}

#[derive(Default)]
struct Counters {
    accepted: AtomicU64,
    refused: AtomicU64,
    unreachable: AtomicU64,
    unsent: AtomicU64,
}

struct Entry {
    line: Line,
    pool: Arc<Pool>,
    warned: Arc<AtomicBool>,
    /// A new address is a new backend.
    url: String,
}

/// Makes both ways. Needs no runtime before the first request.
pub fn hooks(settings: Settings) -> (Hooks, Answers) {
    let timeout = settings.timeout();
    let (answers, receiver) = mpsc::channel(limits::ANSWERS);
    let shared = Shared {
        bounds: Bounds {
            connections: settings.connections.max(1),
            queue: settings.queue.max(1),
            patience: timeout,
        },
        timeout,
        roots: Roots::new(settings.authorities),
        lines: Mutex::default(),
        answers,
        counters: Counters::default(),
        open: AtomicU64::new(0),
    };
    let hooks = Hooks {
        shared: Arc::new(shared),
    };
    (hooks, Answers(receiver))
}

impl Hooks {
    /// Takes a hook, and says which ones will not be sent: this one, or older ones that make room for it.
    #[must_use]
    pub fn post(&self, request: Request) -> Vec<Answer> {
        let now = Instant::now();
        let mut unsent = Vec::new();
        let mut lines = self.lock();
        let entry = lines
            .entry(request.app.key.clone())
            .or_insert_with(|| Entry::new(&request.app));
        if entry.url != request.app.url {
            // What is under way ends where it began, and its session waits no more for it than before.
            entry.url.clone_from(&request.app.url);
            entry.line.forgive();
        }
        self.shared.open.fetch_add(1, Ordering::Relaxed);
        unsent.extend(entry.line.push(request, &self.shared.bounds, now));
        self.begin(entry, now, &mut unsent);
        drop(lines);
        let n = unsent.len() as u64;
        self.shared.open.fetch_sub(n, Ordering::Relaxed);
        self.shared.unsent(unsent)
    }

    /// What the operator took away is forgotten once nothing of it is under way.
    pub fn retain(&self, apps: &Apps) {
        self.lock()
            .retain(|key, entry| apps.by_key.contains_key(key) || entry.line.is_busy());
    }

    /// Everything that was taken is answered.
    pub fn is_idle(&self) -> bool {
        self.shared.open.load(Ordering::Relaxed) == 0
    }

    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        Counts {
            accepted: read(&counters.accepted),
            refused: read(&counters.refused),
            unreachable: read(&counters.unreachable),
            unsent: read(&counters.unsent),
        }
    }

    /// Of each application that has had a hook.
    pub fn apps(&self) -> Vec<AppState> {
        let lines = self.lock();
        let states = lines.iter().map(|(app, entry)| AppState {
            app: app.clone(),
            waiting: entry.line.waiting(),
            running: entry.line.running(),
            breaker_open: entry.line.is_open(),
        });
        states.collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AppKey, Entry>> {
        self.shared
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what may start.
    fn begin(&self, entry: &mut Entry, now: Instant, unsent: &mut Vec<Unsent>) {
        while let Some(job) = entry.line.next(&self.shared.bounds, now, unsent) {
            let (hooks, pool, warned) = (self.clone(), entry.pool.clone(), entry.warned.clone());
            tokio::spawn(hooks.carry_out(job, pool, warned));
        }
    }

    async fn carry_out(self, job: Job, pool: Arc<Pool>, warned: Arc<AtomicBool>) {
        let Job { request, probe } = job;
        let (id, session, method) = (request.id, request.session, request.method);
        let app = request.app.clone();
        let shared = self.shared.clone();
        // A task of its own: even if it died there would be an answer.
        let posting = tokio::spawn(async move {
            let warn = || warn_of_password(&request.app, &warned);
            let posted = client::post(&request, &pool, &shared.roots, warn);
            match tokio::time::timeout(shared.timeout, posted).await {
                Ok(result) => result,
                Err(_) => Err(Fault {
                    why: format!("no answer within {} s", shared.timeout.as_secs_f32()),
                    alive: false,
                }),
            }
        });
        let result = posting.await.unwrap_or_else(|error| {
            Err(Fault {
                why: format!("the hook was not carried out: {error}"),
                alive: true,
            })
        });
        let alive = result.as_ref().map_or_else(|fault| fault.alive, |_| true);
        let outcome = result.unwrap_or_else(|fault| HookOutcome::Unreachable { why: fault.why });

        let unsent = self.ended(&app, session, alive, probe, &outcome);
        self.shared
            .count(&app, method.as_str(), session.0, &outcome);
        let unsent = self.shared.unsent(unsent);
        for answer in std::iter::once((id, outcome)).chain(unsent) {
            // Nobody listens: the process ends.
            let _ = self.shared.answers.send(answer).await;
            self.shared.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A connection is free, and the breaker knows more than before.
    fn ended(
        &self,
        app: &App,
        session: SessionId,
        alive: bool,
        probe: bool,
        outcome: &HookOutcome,
    ) -> Vec<Unsent> {
        let now = Instant::now();
        let mut unsent = Vec::new();
        let mut lines = self.lock();
        if let Some(entry) = lines.get_mut(&app.key) {
            let change = entry.line.done(session, alive, probe, now, &mut unsent);
            tell_change(&change, app, outcome);
            self.begin(entry, now, &mut unsent);
        }
        unsent
    }
}

impl Shared {
    fn unsent(&self, unsent: Vec<Unsent>) -> Vec<Answer> {
        let n = unsent.len() as u64;
        self.counters.unsent.fetch_add(n, Ordering::Relaxed);
        let answer = |unsent: Unsent| {
            let why = unsent.why.to_owned();
            (unsent.id, HookOutcome::Unreachable { why })
        };
        unsent.into_iter().map(answer).collect()
    }

    fn count(&self, app: &App, method: &str, session: u64, outcome: &HookOutcome) {
        let counter = match outcome {
            HookOutcome::Accepted { .. } => {
                tracing::debug!(app = %app.key, method, session, "hook accepted");
                &self.counters.accepted
            }
            HookOutcome::Refused { status, reason, .. } => {
                tracing::debug!(app = %app.key, method, session, status, reason, "hook refused");
                &self.counters.refused
            }
            HookOutcome::Unreachable { why } => {
                tracing::debug!(app = %app.key, method, session, why, "hook unanswered");
                &self.counters.unreachable
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Entry {
    fn new(app: &App) -> Entry {
        Entry {
            line: Line::new(),
            pool: Arc::default(),
            warned: Arc::default(),
            url: app.url.clone(),
        }
    }
}

fn tell_change(change: &Change, app: &App, outcome: &HookOutcome) {
    match (change, outcome) {
        (Change::Opened, HookOutcome::Unreachable { why }) => tracing::warn!(
            app = %app.key,
            url = %app.url,
            "the backend does not answer ({why}): {} hooks in a row have failed. Hooks of this application fail at once \
             from now on, but for one now and then that tries",
            limits::FAILURES
        ),
        (Change::Closed, _) => {
            tracing::warn!(app = %app.key, url = %app.url, "the backend answers again: hooks go out as before");
        }
        (Change::Opened | Change::None, _) => {}
    }
}

fn warn_of_password(app: &App, warned: &AtomicBool) {
    if !warned.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            app = %app.key,
            url = %app.url,
            "sipPassword is left out of connect: it would cross the network in the clear. Give the application an https URL, \
             or allow it with `trunkgate update app --password-over-http yes {}`",
            app.name
        );
    }
}
