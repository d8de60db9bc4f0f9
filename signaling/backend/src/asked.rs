//! What a page asks, put to the backend before it is done: hooks of type 2 (protocol §5.3). Frames of one session
//! are done one after the other, and those of another session do not wait for them.

use crate::api::RequestId;
use crate::desk::Desk;
use crate::limits::{FRAME_BYTES, FRAMES, FRAMES_DROPPED};
use crate::overwrite::{patch, taken};
use crate::requests::{Failure, Pending, What};
use crate::session::{Doing, KnownCall, Session, Stage, is_call};
use signaling_calls as calls;
use signaling_calls::SessionId;
use signaling_protocol::call::{Call, CallObject, CallStatus};
use signaling_protocol::connection::Fail;
use signaling_protocol::rest_client_config::OnError;
use signaling_protocol::{CallStatusInfo, ClientMessage, HookMethod, ServerMessage};
use signaling_sip::time::Instant;

impl Desk {
    pub(crate) fn frame(&mut self, id: SessionId, message: ClientMessage, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else {
            let session = id;
            return self.give(calls::Input::Frame { session, message }, now);
        };
        if session.stage == Stage::Closing {
            return;
        }
        // Life, and what nobody answers, waits for nothing.
        if matches!(message, ClientMessage::Ping | ClientMessage::Pong) || message.is_ignored() {
            let session = id;
            return self.give(calls::Input::Frame { session, message }, now);
        }
        if !self.admit_frame(id, now) {
            return;
        }
        if let ClientMessage::Hangup(hangup) = &message
            && self.hang_up_waiting_call(id, hangup.call_id.as_str(), now)
        {
            return;
        }
        // A call that costs money does not wait for the hooks of what came before.
        let is_open = self
            .sessions
            .get(&id)
            .is_some_and(|s| s.stage == Stage::Open);
        if matches!(message, ClientMessage::Hangup(_)) && is_open {
            return self.begin(id, message, now);
        }
        if let ClientMessage::Call(call) = &message {
            self.tell_trying_of(id, call);
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.doing.is_none() && session.inbox.is_empty() {
            return self.begin_and_advance(id, message, now);
        }
        let bytes = message.to_text().len();
        if session.inbox.len() >= FRAMES || session.inbox_bytes + bytes > FRAME_BYTES {
            self.say(
                id,
                ServerMessage::Fail(Fail::error("Too many messages")),
                now,
            );
            return self.close(id);
        }
        session.inbox_bytes += bytes;
        session.inbox.push_back(message);
    }

    /// The application's own limit, under the gateway's.
    fn admit_frame(&mut self, id: SessionId, now: Instant) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        let per_second = session
            .app
            .as_ref()
            .map_or(0, |app| app.messages_per_second);
        let Some(rate) = session.rate.as_mut().filter(|_| per_second > 0) else {
            return true;
        };
        if rate.take(per_second, now) {
            return true;
        }
        session.dropped += 1;
        let dropped = session.dropped;
        if dropped == 1 || dropped >= FRAMES_DROPPED {
            self.say(
                id,
                ServerMessage::Fail(Fail::error("Too many messages")),
                now,
            );
        }
        if dropped >= FRAMES_DROPPED {
            self.close(id);
        }
        false
    }

    /// Does the frames that wait, until one waits for its hook.
    pub(crate) fn advance(&mut self, id: SessionId, now: Instant) {
        while let Some(session) = self.sessions.get_mut(&id) {
            if session.doing.is_some() || session.stage == Stage::Closing {
                return;
            }
            let Some(frame) = session.inbox.pop_front() else {
                session.inbox_bytes = 0;
                return;
            };
            session.inbox_bytes = session.inbox_bytes.saturating_sub(frame.to_text().len());
            self.begin(id, frame, now);
        }
    }

    fn begin_and_advance(&mut self, id: SessionId, frame: ClientMessage, now: Instant) {
        self.begin(id, frame, now);
        self.advance(id, now);
    }

    /// Begins with a frame: its hook, if it has one to wait for, else the thing itself.
    fn begin(&mut self, id: SessionId, frame: ClientMessage, now: Instant) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let frame = match frame {
            ClientMessage::Connection(connection) if session.stage == Stage::New => {
                return self.connection(id, connection, now);
            }
            frame => frame,
        };
        // The page has not been told of it yet: the backend may still refuse it.
        if let ClientMessage::Answer(answer) = &frame
            && session.held.contains_key(answer.call_id.as_str())
        {
            return;
        }
        let hook = match session.stage {
            Stage::Open => session.hook_of(&frame),
            Stage::New | Stage::Connecting | Stage::Closing => None,
        };
        let Some((hook, policy)) =
            hook.and_then(|hook| Some((session.hook(hook.method())?, hook)).map(|(p, h)| (h, p)))
        else {
            return self.carry_out(id, frame, now);
        };
        if is_done_anyway(&frame) {
            // No answer could change it, so nobody waits for one: whoever hangs up, hangs up now.
            self.post(id, &hook, policy, What::Note, now);
            return self.carry_out(id, frame, now);
        }
        if let ClientMessage::Call(call) = &frame {
            self.tell_trying(id, call);
        }
        match self.post(id, &hook, policy, What::Frame, now) {
            Some(request) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.doing = Some(Doing { request, frame });
                }
            }
            None => self.carry_out(id, frame, now),
        }
    }

    fn carry_out(&mut self, session: SessionId, message: ClientMessage, now: Instant) {
        let mut call = None;
        if let ClientMessage::Call(wanted) = &message {
            call = Some(wanted.call_id.clone());
        }
        self.give(calls::Input::Frame { session, message }, now);
        // A page that floods has frames dropped: a call that was asked for and never placed must not be left open for
        // another `call` of its name, about which nobody would be asked.
        if let Some(call) = &call
            && !self.board.has_call(session, call.as_str())
        {
            return self.end_waiting_call(session, call.as_str(), now);
        }
        // It is the switchboard's now, whatever that said to it.
        let known = call.and_then(|call| {
            self.sessions
                .get_mut(&session)?
                .calls
                .get_mut(call.as_str())
        });
        if let Some(known) = known {
            known.placed = true;
        }
    }

    pub(crate) fn frame_answered(
        &mut self,
        id: SessionId,
        request: RequestId,
        pending: &Pending,
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
        match failure {
            Some(failure) if pending.policy.on_error == OnError::Fail => {
                self.refuse_frame(id, doing.frame, &failure.info, now);
            }
            Some(_) => self.carry_out(id, doing.frame, now),
            None => {
                let frame = patch(doing.frame, &taken(&pending.policy, body));
                self.carry_out(id, frame, now);
            }
        }
        self.advance(id, now);
    }

    /// TRYING goes out the moment a `call` arrives, if anything keeps it from the switchboard: until then the
    /// page's hangup would tell us nothing (protocol §2.4).
    fn tell_trying_of(&mut self, id: SessionId, call: &Call) {
        let waits = self.sessions.get(&id).is_some_and(|session| {
            session.stage == Stage::Open
                && (session.doing.is_some()
                    || !session.inbox.is_empty()
                    || session.hook(HookMethod::Call).is_some())
        });
        if waits {
            self.tell_trying(id, call);
        }
    }

    fn tell_trying(&mut self, id: SessionId, call: &Call) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.calls.contains_key(call.call_id.as_str()) {
            return;
        }
        let object = session.object_of(call);
        let mut known = KnownCall::new(object.clone());
        known.placed = false;
        session.know(call.call_id.as_str(), known);
        // For the backend it is an event only when the call is really tried.
        let message = ServerMessage::NotifyTryingResponse(Box::new(object));
        let without = session.without(&message);
        self.send(id, message, without);
    }

    /// A call that waits for its hook, or for the frame before it, ends at once and is never placed.
    fn hang_up_waiting_call(&mut self, id: SessionId, call: &str, now: Instant) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        if !session.is_waiting_call(call)
            || session.calls.get(call).is_some_and(|known| known.placed)
        {
            return false;
        }
        let asked = session.doing.take_if(|doing| is_call(&doing.frame, call));
        if asked.is_none() {
            session.inbox.retain(|frame| !is_call(frame, call));
        }
        if let Some(doing) = asked {
            self.release(doing.request);
            if let Some(hook) = self.sessions.get(&id).and_then(|s| s.hangup_hook(call)) {
                self.note(id, &hook, now);
            }
        }
        self.end_waiting_call(id, call, now);
        self.advance(id, now);
        true
    }

    /// The end of a call that the switchboard never had.
    pub(crate) fn end_waiting_call(&mut self, id: SessionId, call: &str, now: Instant) {
        let known = self.sessions.get(&id).and_then(|s| s.calls.get(call));
        let Some(known) = known else { return };
        let mut object = known.object.clone();
        object.status = CallStatus::Finish;
        object.info = Some(CallStatusInfo::NormalCallClearing.as_str().to_owned());
        object.sip_status = Some(200);
        self.say(id, ServerMessage::Finish(Box::new(object)), now);
    }
}

/// Whatever the backend says.
fn is_done_anyway(frame: &ClientMessage) -> bool {
    matches!(
        frame,
        ClientMessage::Hangup(_) | ClientMessage::UnPublishStream(_) | ClientMessage::StopStream(_)
    )
}

impl Session {
    /// The call object of a `call`, as the switchboard would tell it.
    pub(crate) fn object_of(&self, call: &Call) -> CallObject {
        let user = self.user.as_ref();
        let login = user.and_then(|u| u.sip_login.clone()).unwrap_or_default();
        let display = user
            .and_then(|u| u.sip_visible_name.clone())
            .unwrap_or_else(|| login.clone());
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let mut object = CallObject::new(call.call_id.clone(), CallStatus::Trying);
        object.incoming = Some(false);
        object.caller = Some(text(&call.caller).unwrap_or(login));
        object.callee = Some(call.callee.clone().unwrap_or_default());
        object.visible_name = Some(text(&call.visible_name).unwrap_or(display));
        object.has_audio = Some(call.has_audio.unwrap_or(true));
        object.has_video = Some(call.has_video.unwrap_or(false));
        object.is_msrp = Some(call.is_msrp.unwrap_or(false));
        object.hold_for_transfer = Some(false);
        object.invite_parameters.clone_from(&call.invite_parameters);
        object.custom.clone_from(&call.custom);
        object
    }
}
