//! Sessions that go: to another socket of the same page, or for good (protocol §1.7, §1.8).

use crate::desk::Desk;
use crate::requests::What;
use crate::session::{Item, Session, Stage};
use signaling_calls as calls;
use signaling_calls::SessionId;
use signaling_protocol::call::CallStatus;
use signaling_protocol::connection::ConnectionStatus;
use signaling_protocol::{ClientMessage, HookMessage, ServerMessage};
use signaling_sip::time::Instant;
use std::mem::take;

impl Desk {
    /// The socket is gone. Whether the session stays for its page to come back is the switchboard's to say.
    pub(crate) fn socket_closed(&mut self, id: SessionId, now: Instant) {
        let mut unplaced = Vec::new();
        let mut request = None;
        if let Some(session) = self.sessions.get_mut(&id) {
            session.inbox_bytes = 0;
            let waiting = take(&mut session.inbox);
            let doing = session.doing.take();
            request = doing.as_ref().map(|doing| doing.request);
            let frames = doing.map(|doing| doing.frame).into_iter().chain(waiting);
            for frame in frames {
                if let ClientMessage::Call(call) = frame
                    && session
                        .calls
                        .get(call.call_id.as_str())
                        .is_some_and(|known| !known.placed)
                {
                    unplaced.push(call.call_id.as_str().to_owned());
                }
            }
        }
        if let Some(request) = request {
            self.release(request);
        }
        for call in unplaced {
            self.end_waiting_call(id, &call, now);
        }
        self.give(calls::Input::SessionClosed { session: id }, now);
        if !self.board.has_session(id) {
            self.over(id, now);
        }
    }

    /// All that was `from`'s is `to`'s: the page came back on another socket.
    pub(crate) fn moved(&mut self, from: SessionId, to: SessionId) {
        let Some(mut old) = self.sessions.remove(&from) else {
            return;
        };
        let Some(fresh) = self.sessions.remove(&to) else {
            self.sessions.insert(from, old);
            return;
        };
        self.discount(&old);
        // What still was on its way to the old page is nothing to the new one, which has no calls.
        for item in take(&mut old.lane) {
            match item {
                Item::Wait { request, .. } => self.release(request),
                Item::Say(_) => {}
                Item::Close => {
                    let close = calls::Output::Close { session: from };
                    self.outputs.push_back(crate::api::Output::Calls(close));
                }
            }
        }
        if let Some(doing) = old.doing.take() {
            self.release(doing.request);
        }
        let mut requests = take(&mut old.requests);
        for request in &requests {
            if let Some(pending) = self.pending.get_mut(request) {
                pending.session = Some(to);
            }
        }
        requests.extend(fresh.requests);
        let session = Session {
            home: old.home,
            public_id: old.public_id,
            user: old.user,
            registration: old.registration,
            backend_knows: old.backend_knows,
            reply: fresh.reply.or(old.reply),
            notes: old.notes + fresh.notes,
            held: old.held,
            calls: old.calls,
            muted: old.muted,
            requests,
            origin: fresh.origin,
            remote: fresh.remote,
            stage: Stage::Open,
            app_key: fresh.app_key,
            app: fresh.app,
            counted: fresh.counted,
            rate: fresh.rate,
            dropped: fresh.dropped,
            inbox: fresh.inbox,
            inbox_bytes: fresh.inbox_bytes,
            doing: fresh.doing,
            lane: fresh.lane,
        };
        self.sessions.insert(to, session);
    }

    /// Nothing more will be said of this session; its backend hears the end of its calls and of itself.
    pub(crate) fn over(&mut self, id: SessionId, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.held.clear();
        // Of those of a session that was being closed the switchboard said nothing.
        let ends: Vec<ServerMessage> = session
            .calls
            .values()
            .map(|known| {
                let mut object = known.object.clone();
                object.status = CallStatus::Finish;
                object.info = Some("Session closed".to_owned());
                object.sip_status = Some(200);
                object.sip_message_raw = None;
                ServerMessage::Finish(Box::new(object))
            })
            .collect();
        for end in ends {
            self.tell(id, end, crate::told::To::Backend, now);
        }
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if session.backend_knows {
            let hook = session.connection_hook(ConnectionStatus::Disconnected);
            self.note(id, &HookMessage::ConnectionStatusEvent(hook), now);
        }
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        self.discount(&session);
        for request in &session.requests {
            if let Some(pending) = self.pending.get_mut(request) {
                pending.session = None;
                pending.what = What::Note;
            }
        }
    }

    fn discount(&mut self, session: &Session) {
        if session.counted
            && let Some(count) = self.counts.get_mut(&session.app_key)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&session.app_key);
            }
        }
    }

    /// Nobody waits for a backend any more.
    pub(crate) fn shut_down(&mut self, now: Instant) {
        self.shutting_down = true;
        let all: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in all {
            self.announce_held(id, now);
            self.let_go(id);
            self.flush(id);
        }
        self.give(calls::Input::Shutdown, now);
    }
}
