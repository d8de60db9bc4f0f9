//! Requests to backends: how they go out, what waits for them, and what their answers do.

use crate::api::{HookOutcome, Output, Request, RequestId};
use crate::app::App;
use crate::desk::Desk;
use crate::limits::{LOGGED_EVERY, NOTES, REASON};
use crate::session::Speaker;
use signaling_calls::SessionId;
use signaling_protocol::connection::Fail;
use signaling_protocol::rest_client_config::{HookPolicy, OnError, refusal_info};
use signaling_protocol::{HookMessage, HookMethod, ServerMessage};
use signaling_sip::time::Instant;
use std::sync::Arc;

/// What a page is told where the backend said nothing.
const UNREACHABLE: &str = "The application's backend cannot be reached";

/// A request that is not answered yet.
pub(crate) struct Pending {
    /// None: nobody is left whom the answer could concern.
    pub session: Option<SessionId>,
    pub app: Arc<App>,
    pub method: HookMethod,
    pub policy: HookPolicy,
    pub what: What,
    pub due: Instant,
}

impl Pending {
    /// An event's error under FAIL is the page's to know (protocol §5.3), but for an error about an error.
    pub(crate) fn warning(&self, failure: Option<&Failure>) -> Option<Fail> {
        failure
            .filter(|_| self.policy.on_error == OnError::Fail)
            .filter(|_| self.method != HookMethod::ErrorEvent)
            .map(|failure| Fail::error(failure.info.clone()))
    }
}

/// What waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The session itself.
    Connect,
    /// The frame that the session is doing.
    Frame,
    /// Messages in the session's way to its page.
    Message,
    /// An incoming call.
    Incoming { call: String },
    /// Nothing; an error may be told to the page all the same.
    Note,
}

/// An application's backend as the log knows it.
pub(crate) struct Trouble {
    logged: Instant,
    since: u32,
}

/// What an error means for whom it concerns.
pub(crate) struct Failure {
    /// As a page is told it.
    pub info: String,
}

impl Desk {
    /// Posts a hook in the session's name. `None`: there is no application any more, or too much is on its way.
    pub(crate) fn post(
        &mut self,
        id: SessionId,
        hook: &HookMessage,
        policy: HookPolicy,
        what: What,
        now: Instant,
    ) -> Option<RequestId> {
        let session = self.sessions.get(&id)?;
        let speaker = session.speaker()?;
        if what == What::Note && session.notes >= NOTES {
            self.trouble(&speaker.app, hook.method(), "too many events wait", now);
            return None;
        }
        Some(self.post_as(id, &speaker, hook, policy, what, now))
    }

    pub(crate) fn post_as(
        &mut self,
        session: SessionId,
        speaker: &Speaker,
        hook: &HookMessage,
        policy: HookPolicy,
        what: What,
        now: Instant,
    ) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let mut context = speaker.context.clone();
        context.node_id.clone_from(&self.settings.node_id);
        let excluded = |name: &str| policy.rest_exclude.iter().any(|field| field == name);
        let with_password = if let HookMessage::Connect(connect) = hook {
            connect.connection.sip_password.is_some() && !excluded("sipPassword")
        } else {
            false
        };
        let due = now + self.settings.answer_within;
        let method = hook.method();
        let awaited = what != What::Note;
        if let Some(session) = self.sessions.get_mut(&session) {
            session.requests.insert(id);
            session.notes += usize::from(!awaited);
        }
        let body = hook.to_text_without(&context, &policy.rest_exclude);
        self.due.insert((due, id));
        self.pending.insert(
            id,
            Pending {
                session: Some(session),
                app: Arc::clone(&speaker.app),
                method,
                policy,
                what,
                due,
            },
        );
        self.outputs.push_back(Output::Request(Box::new(Request {
            id,
            session: speaker.home,
            method,
            app: Arc::clone(&speaker.app),
            body,
            with_password,
            awaited,
        })));
        id
    }

    /// Tells the backend something that nothing waits for.
    pub(crate) fn note(&mut self, id: SessionId, hook: &HookMessage, now: Instant) {
        let policy = self.sessions.get(&id).and_then(|s| s.hook(hook.method()));
        if let Some(policy) = policy {
            self.post(id, hook, policy, What::Note, now);
        }
    }

    /// What the switchboard has for the backend alone.
    pub(crate) fn hook(&mut self, id: SessionId, hook: &HookMessage, now: Instant) {
        if let Some(session) = self.sessions.get_mut(&id)
            && let HookMessage::RegistrationStatusEvent(told) = hook
            && session.registration.replace(told.status) == Some(told.status)
        {
            return;
        }
        self.note(id, hook, now);
    }

    /// Nothing waits for it any more; its answer is only good for the log.
    pub(crate) fn release(&mut self, request: RequestId) {
        if let Some(pending) = self.pending.get_mut(&request)
            && pending.what != What::Note
        {
            pending.what = What::Note;
            pending.policy.on_error = OnError::Log;
            if let Some(session) = pending.session.and_then(|id| self.sessions.get_mut(&id)) {
                session.notes += 1;
            }
        }
    }

    pub(crate) fn answered(&mut self, request: RequestId, outcome: HookOutcome, now: Instant) {
        let Some(pending) = self.pending.remove(&request) else {
            return;
        };
        self.due.remove(&(pending.due, request));
        let (body, failure) = match outcome {
            HookOutcome::Accepted { body } => (body, None),
            HookOutcome::Refused {
                status,
                reason,
                body,
            } => {
                let reason = match clean(&reason) {
                    reason if reason.is_empty() => format!("HTTP {status}"),
                    reason => reason,
                };
                let why = format!("{status} {reason}");
                self.trouble(&pending.app, pending.method, &why, now);
                let info = cut(&refusal_info(&reason, &body));
                (String::new(), Some(Failure { info }))
            }
            HookOutcome::Unreachable { why } => {
                self.trouble(&pending.app, pending.method, &clean(&why), now);
                let info = UNREACHABLE.to_owned();
                (String::new(), Some(Failure { info }))
            }
        };
        let Some(id) = pending.session else { return };
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.requests.remove(&request);
        match &pending.what {
            What::Connect => self.connect_answered(id, request, &body, failure, now),
            What::Frame => self.frame_answered(id, request, &pending, &body, failure, now),
            What::Message => self.message_answered(id, request, &pending, &body, failure),
            What::Incoming { call } => {
                let call = call.clone();
                self.call_answered(id, request, &call, &pending, &body, failure, now);
            }
            What::Note => {
                session.notes = session.notes.saturating_sub(1);
                if let Some(fail) = pending.warning(failure.as_ref()) {
                    self.say_quietly(id, ServerMessage::Fail(fail), now);
                }
            }
        }
    }

    /// One line an application, not too often, with how many there were since.
    pub(crate) fn trouble(&mut self, app: &App, method: HookMethod, why: &str, now: Instant) {
        if let Some(trouble) = self.troubles.get_mut(&app.key)
            && now.saturating_duration_since(trouble.logged) < LOGGED_EVERY
        {
            trouble.since = trouble.since.saturating_add(1);
            return;
        }
        let trouble = Trouble {
            logged: now,
            since: 0,
        };
        let before = self.troubles.insert(app.key.clone(), trouble);
        let (app, method) = (&app.name, method.as_str());
        match before.map_or(0, |before| before.since) {
            0 => tracing::warn!(app, method, why, "the backend did not take a hook"),
            more => tracing::warn!(app, method, why, more, "the backend did not take hooks"),
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(REASON).collect()
}

/// A text from outside, fit for a log.
fn clean(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.chars().take(REASON).map(visible).collect();
    text.trim().to_owned()
}
