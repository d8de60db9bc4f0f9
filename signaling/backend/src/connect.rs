//! `connection`: which application it is for, whether that one takes it, and what its backend says to `connect`
//! (protocol §1.3, §1.4, §5.4, §6).

use crate::api::RequestId;
use crate::app::App;
use crate::desk::Desk;
use crate::rate::Bucket;
use crate::requests::{Failure, What};
use crate::session::{Doing, Stage};
use signaling_calls as calls;
use signaling_calls::SessionId;
use signaling_protocol::connection::{ApiMethod, ConnectHook, Connection, Fail};
use signaling_protocol::rest_client_config::ConnectReply;
use signaling_protocol::{ClientMessage, HookMessage, HookMethod, ServerMessage};
use signaling_sip::time::Instant;
use std::sync::Arc;

/// The application of a page that names none.
const DEFAULT_APP: &str = "defaultApp";

impl Desk {
    /// A session's first `connection`.
    pub(crate) fn connection(&mut self, id: SessionId, connection: Box<Connection>, now: Instant) {
        let key = connection
            .app_key
            .as_deref()
            .unwrap_or(DEFAULT_APP)
            .to_owned();
        let Some(app) = self.apps.by_key.get(&key).cloned() else {
            let known: String = key.chars().take(64).collect();
            tracing::info!(session = id.0, app_key = ?known, "a page of an application that is not set up");
            return self.refuse_connection(id, "Application not found", now);
        };
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if !app.admits(session.origin.as_deref()) {
            tracing::info!(
                session = id.0,
                app = app.name,
                origin = ?session.origin,
                "a page of an origin that is not allowed"
            );
            return self.refuse_connection(id, "Origin not allowed", now);
        }
        let address = session.remote;
        if !self
            .arrivals
            .admit(&key, address, app.connections_per_second, now)
        {
            return self.refuse_connection(id, "Too many connections", now);
        }
        let resumed = connection
            .auth_token
            .as_ref()
            .and_then(|token| self.board.resumable(token.expose(), &key));
        let sessions = self.counts.get(&key).copied().unwrap_or(0);
        if app.max_sessions > 0 && resumed.is_none() && sessions >= app.max_sessions {
            let info = "The application has as many sessions as it may";
            return self.refuse_connection(id, info, now);
        }
        *self.counts.entry(key.clone()).or_insert(0) += 1;
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.counted = true;
        session.stage = Stage::Connecting;
        session.app_key = key;
        session.app = Some(Arc::clone(&app));
        session.rate =
            (app.messages_per_second > 0).then(|| Bucket::full(app.messages_per_second, now));
        self.board.connection_came(id);
        let frame = ClientMessage::Connection(connection);
        match self.ask_connect(id, resumed, &app, &frame, now) {
            Some(request) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.doing = Some(Doing { request, frame });
                }
            }
            None => {
                self.board.vouch(id, app.line.clone(), false);
                self.connect_now(id, frame, now);
            }
        }
    }

    /// Posts the hook, if there is one to be posted. A session that is to be resumed is named as it was before,
    /// but what still is on its way for it keeps nobody from coming back.
    fn ask_connect(
        &mut self,
        id: SessionId,
        resumed: Option<SessionId>,
        app: &App,
        frame: &ClientMessage,
        now: Instant,
    ) -> Option<RequestId> {
        let ClientMessage::Connection(connection) = frame else {
            return None;
        };
        let session = self.sessions.get_mut(&id)?;
        let policy = session.hook(HookMethod::Connect)?;
        session.backend_knows = resumed.is_none();
        let mut speaker = session.speaker()?;
        if let Some(before) = resumed.and_then(|id| self.sessions.get(&id)) {
            speaker.context.session_id.clone_from(&before.public_id);
        }
        let mut hook = ConnectHook::of(connection);
        // Whoever holds it is the session's user.
        if !app.is_private() {
            hook.connection.auth_token = None;
        }
        let hook = HookMessage::Connect(Box::new(hook));
        Some(self.post_as(id, &speaker, &hook, policy, What::Connect, now))
    }

    fn connect_now(&mut self, session: SessionId, message: ClientMessage, now: Instant) {
        self.give(calls::Input::Frame { session, message }, now);
        // Neither taken nor refused: dropped, as a flooding page's frames are. A second one would ask nobody.
        let known = self.sessions.get(&session);
        if known.is_some_and(|s| s.stage == Stage::Connecting) {
            self.close(session);
        }
    }

    pub(crate) fn connect_answered(
        &mut self,
        id: SessionId,
        request: RequestId,
        body: &str,
        failure: Option<Failure>,
        now: Instant,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let Some(doing) = session.doing.take_if(|doing| doing.request == request) else {
            return;
        };
        if let Some(failure) = failure {
            return self.refuse_connection(id, &failure.info, now);
        }
        let ClientMessage::Connection(mut connection) = doing.frame else {
            return;
        };
        let reply = ConnectReply::parse(body);
        if !reply.ignored.is_empty() {
            let (app, ignored) = (&session.app_key, reply.ignored.join(", "));
            tracing::warn!(
                app,
                ignored,
                "fields of the answer to connect that make no sense"
            );
        }
        session.reply = Some(reply.rest_client_config.clone());
        let of_app = session.app.as_ref().and_then(|app| app.line.clone());
        let line = match &reply.line {
            None => of_app,
            // What makes no sense may have been a restriction: such a session is nobody.
            Some(None) => None,
            Some(Some(answer)) => Some(answer.clone().over(of_app)),
        };
        self.board.vouch(id, line, true);
        reply.overwrite(&mut connection);
        self.connect_now(id, ClientMessage::Connection(connection), now);
        self.advance(id, now);
    }

    /// Told as §1.4 has it, and closed.
    pub(crate) fn refuse_connection(&mut self, id: SessionId, info: &str, now: Instant) {
        let fail = Fail::event(ApiMethod::ConnectionStatusEvent, info);
        self.say(id, ServerMessage::Fail(fail), now);
        self.close(id);
    }
}
