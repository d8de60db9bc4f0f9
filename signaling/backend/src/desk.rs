//! The front door: who gets which input and output.

use crate::api::{HookOutcome, Input, Output, RequestId, Settings};
use crate::app::{AppKey, Apps, RawSip};
use crate::rate::Arrivals;
use crate::requests::{Pending, Trouble};
use crate::session::Session;
use signaling_calls as calls;
use signaling_calls::{SessionId, Switchboard};
use signaling_protocol::ServerMessage;
use signaling_sip::time::Instant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

/// The switchboard with the applications around it.
pub struct Desk {
    pub(crate) board: Switchboard,
    pub(crate) settings: Settings,
    pub(crate) apps: Apps,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    /// How many sessions an application has.
    pub(crate) counts: BTreeMap<AppKey, usize>,
    pub(crate) arrivals: Arrivals,
    pub(crate) pending: BTreeMap<RequestId, Pending>,
    /// When their answers should have come long ago.
    pub(crate) due: BTreeSet<(Instant, RequestId)>,
    pub(crate) troubles: BTreeMap<AppKey, Trouble>,
    /// The offer of a call that the switchboard is about to announce.
    pub(crate) offered: Option<(SessionId, ServerMessage)>,
    pub(crate) next_request: u64,
    pub(crate) shutting_down: bool,
    pub(crate) outputs: VecDeque<Output>,
}

impl Desk {
    /// Only `apps` may be named by pages, whatever `config` says of them.
    pub fn new(mut config: calls::Config, settings: impl Into<Settings>, apps: Apps) -> Desk {
        config.apps = apps.by_key.keys().cloned().collect();
        Desk {
            board: Switchboard::new(config),
            settings: settings.into(),
            apps,
            sessions: BTreeMap::new(),
            counts: BTreeMap::new(),
            arrivals: Arrivals::default(),
            pending: BTreeMap::new(),
            due: BTreeSet::new(),
            troubles: BTreeMap::new(),
            offered: None,
            next_request: 1,
            shutting_down: false,
            outputs: VecDeque::new(),
        }
    }

    pub fn board(&self) -> &Switchboard {
        &self.board
    }

    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::SessionOpened {
                session,
                remote,
                local,
                token,
                unique,
                origin,
            } => {
                let public_id = format!("/{remote}/{local}-{unique}");
                self.open(session, remote, token, public_id, origin, now);
            }
            Input::Answered { request, outcome } => self.answered(request, outcome, now),
            Input::Apps(apps) => self.replace_apps(apps),
            Input::Calls(input) => self.calls(input, now),
        }
        self.drain(now);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.board.handle_timeout(now);
        self.drain(now);
        while let Some((at, request)) = self.due.first().copied()
            && at <= now
        {
            let why = "no answer was reported".to_owned();
            self.answered(request, HookOutcome::Unreachable { why }, now);
            self.due.remove(&(at, request));
            self.drain(now);
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = self.due.first().map(|(at, _)| *at);
        [self.board.poll_timeout(), due].into_iter().flatten().min()
    }

    fn open(
        &mut self,
        id: SessionId,
        remote: SocketAddr,
        token: String,
        public_id: String,
        origin: Option<String>,
        now: Instant,
    ) {
        let session = Session::new(id, public_id, origin, remote.ip());
        self.sessions.insert(id, session);
        let session = id;
        let opened = calls::Input::SessionOpened {
            session,
            remote,
            token,
        };
        self.give(opened, now);
    }

    fn replace_apps(&mut self, apps: Apps) {
        self.board.set_apps(apps.by_key.keys().cloned().collect());
        for session in self.sessions.values_mut() {
            if session.app.is_some() || !session.app_key.is_empty() {
                // One that is taken away keeps its hooks for those who are inside: what a backend refused must not be
                // allowed to them because nobody is asked any more.
                if let Some(app) = apps.by_key.get(&session.app_key) {
                    session.app = Some(app.clone());
                }
            }
        }
        self.troubles.retain(|key, _| apps.by_key.contains_key(key));
        self.apps = apps;
    }

    fn calls(&mut self, input: calls::Input, now: Instant) {
        match input {
            calls::Input::Frame { session, message } => self.frame(session, message, now),
            calls::Input::SessionClosed { session } => self.socket_closed(session, now),
            calls::Input::Shutdown => self.shut_down(now),
            other @ (calls::Input::SessionOpened { .. }
            | calls::Input::Unreadable { .. }
            | calls::Input::RefuseCall { .. }
            | calls::Input::Plan(_)
            | calls::Input::Trunk(_)
            | calls::Input::TrunkLink(_)
            | calls::Input::Media(_)
            | calls::Input::MediaLink(_)) => self.give(other, now),
        }
    }

    /// Lets the switchboard have it, and takes what comes of it.
    pub(crate) fn give(&mut self, input: calls::Input, now: Instant) {
        self.board.handle(input, now);
        self.drain(now);
    }

    /// Takes the switchboard's outputs. Nothing here gives it an input, so that one turn of it is taken whole.
    fn drain(&mut self, now: Instant) {
        while let Some(output) = self.board.poll_output() {
            match output {
                calls::Output::Send { session, message } => {
                    self.board_says(session, message, now);
                }
                calls::Output::Hook {
                    session,
                    mut message,
                } => {
                    if let Some(raw) = message.sip_message_raw_mut() {
                        self.raw_sip(session).apply(raw);
                    }
                    self.hook(session, &message, now);
                }
                calls::Output::Moved { from, to } => self.moved(from, to),
                calls::Output::Over { session } => self.over(session, now),
                calls::Output::Close { session } => self.close(session),
                other @ (calls::Output::Trunk { .. }
                | calls::Output::Media { .. }
                | calls::Output::Record(_)) => self.outputs.push_back(Output::Calls(other)),
            }
        }
        self.say_offered(now);
    }

    pub(crate) fn raw_sip(&self, id: SessionId) -> RawSip {
        let app = self.sessions.get(&id).and_then(|s| s.app.as_ref());
        app.and_then(|app| app.sip_message_raw)
            .unwrap_or(self.settings.sip_message_raw)
    }

    /// How many sessions each application has.
    pub fn sessions_of_apps(&self) -> impl Iterator<Item = (&str, usize)> {
        self.counts
            .iter()
            .map(|(key, count)| (key.as_str(), *count))
    }

    /// Requests that are not answered yet.
    pub fn requests_waiting(&self) -> usize {
        self.pending.len()
    }
}
