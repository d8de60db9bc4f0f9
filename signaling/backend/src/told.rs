//! What a page is told, and its backend with it: hooks of type 3 (protocol §5.3). Messages of one session reach
//! its page in the order in which they were said; those that wait for a backend keep back only what comes after.

use crate::api::{Output, RequestId};
use crate::desk::Desk;
use crate::limits::MESSAGES;
use crate::overwrite::{Fields, left_out, patch, taken};
use crate::requests::{Failure, Pending, What};
use crate::session::{Item, Message, Session, Stage};
use signaling_calls as calls;
use signaling_calls::SessionId;
use signaling_protocol::call::CallStatus;
use signaling_protocol::rest_client_config::{OnError, Policy};
use signaling_protocol::{HookKind, HookMethod, ServerMessage};
use signaling_sip::time::Instant;

/// Who hears of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Both,
    /// The page was never told of the call.
    Backend,
    /// The backend said so itself.
    Page,
}

impl Desk {
    /// What the switchboard says.
    pub(crate) fn board_says(&mut self, id: SessionId, mut message: ServerMessage, now: Instant) {
        if let Some(raw) = message.sip_message_raw_mut() {
            self.raw_sip(id).apply(raw);
        }
        if matches!(message, ServerMessage::Ping | ServerMessage::Pong) {
            return self.send(id, message, Vec::new());
        }
        if let Some(message) = self.hold_incoming(id, message, now) {
            self.say(id, message, now);
        }
    }

    pub(crate) fn say(&mut self, id: SessionId, message: ServerMessage, now: Instant) {
        self.tell(id, message, To::Both, now);
    }

    /// Something that the backend knows: an error of its own.
    pub(crate) fn say_quietly(&mut self, id: SessionId, message: ServerMessage, now: Instant) {
        self.tell(id, message, To::Page, now);
    }

    pub(crate) fn tell(&mut self, id: SessionId, message: ServerMessage, to: To, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return self.send(id, message, Vec::new());
        };
        // A page that is being closed hears nothing more, its backend does.
        let to = match (session.stage, to) {
            (Stage::Closing, To::Page) => return,
            (Stage::Closing, To::Both | To::Backend) => To::Backend,
            (Stage::New | Stage::Connecting | Stage::Open, to) => to,
        };
        let overlay = call_of(&message).and_then(|call| session.calls.get(call));
        let message = match overlay.map(|known| &known.overlay) {
            Some(overlay) if !overlay.is_empty() => patch(message, &overlay.clone()),
            Some(_) | None => message,
        };
        // The page was told when it came; now it is an event.
        let to = match session.is_second_trying(&message) {
            true if to == To::Both => To::Backend,
            true | false => to,
        };
        let about = about(&message);
        let event = session.event_of(&message);
        let without = session.without(&message);
        let message = Message { message, without };
        let hooked = event
            .filter(|_| to != To::Page)
            .and_then(|event| Some((session.hook(event.method())?, event)));
        let Some((policy, event)) = hooked else {
            if to != To::Backend {
                self.queue(id, message, about);
            }
            return;
        };
        let waits = (policy.on_error == OnError::Fail || policy.policy == Policy::Overwrite)
            // It is the first of its call, and has nothing to wait for (§5.3).
            && !matches!(message.message, ServerMessage::NotifyTryingResponse(_))
            && to == To::Both
            && !self.shutting_down;
        let what = if waits { What::Message } else { What::Note };
        let request = self.post(id, &event, policy, what, now);
        match request.filter(|_| waits) {
            Some(request) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.lane.push_back(Item::Wait {
                        request,
                        messages: vec![message],
                        about,
                    });
                }
                self.bound(id);
            }
            None if to == To::Backend => {}
            None => self.queue(id, message, about),
        }
    }

    /// Behind what is on its way already. A second message about the same change (`busy` and `finish`,
    /// `sessionProgress` and `ring`) goes with the first.
    fn queue(&mut self, id: SessionId, message: Message, about: Option<(String, CallStatus)>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if let (
            Some(about),
            Some(Item::Wait {
                messages,
                about: Some(first),
                ..
            }),
        ) = (&about, session.lane.back_mut())
            && about == first
        {
            messages.push(message);
            return;
        }
        let overtakes = matches!(message.message, ServerMessage::NotifyTryingResponse(_));
        if session.lane.is_empty() || overtakes {
            return self.send(id, message.message, message.without);
        }
        session.lane.push_back(Item::Say(message));
        self.bound(id);
    }

    /// After what was said before it has left.
    pub(crate) fn close(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return self.output_close(id);
        };
        if session.stage == Stage::Closing {
            return;
        }
        session.stage = Stage::Closing;
        session.inbox.clear();
        let doing = session.doing.take();
        session.lane.push_back(Item::Close);
        if let Some(doing) = doing {
            self.release(doing.request);
        }
        if self.shutting_down {
            self.let_go(id);
        }
        self.flush(id);
    }

    pub(crate) fn message_answered(
        &mut self,
        id: SessionId,
        request: RequestId,
        pending: &Pending,
        body: &str,
        failure: Option<Failure>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let waits = |item: &Item| matches!(item, Item::Wait { request: r, .. } if *r == request);
        let Some(at) = session.lane.iter().position(waits) else {
            return;
        };
        let fields = match failure {
            None => taken(&pending.policy, body),
            Some(_) => Fields::new(),
        };
        // What the network brought is refused, what happened is told all the same (§5.3).
        let refused = pending.method.kind() == HookKind::Incoming
            && failure.is_some()
            && pending.policy.on_error == OnError::Fail;
        let mut at = at;
        if let Some(Item::Wait { messages, .. }) = session.lane.remove(at)
            && !refused
        {
            for Message { message, without } in messages {
                let message = patch(message, &fields);
                session
                    .lane
                    .insert(at, Item::Say(Message { message, without }));
                at += 1;
            }
        }
        // The error is told right after what it is about.
        if let Some(fail) = pending.warning(failure.as_ref()) {
            let message = ServerMessage::Fail(fail);
            let without = session.without(&message);
            session
                .lane
                .insert(at, Item::Say(Message { message, without }));
        }
        self.flush(id);
    }

    /// Sends what no answer keeps back.
    pub(crate) fn flush(&mut self, id: SessionId) {
        loop {
            let Some(session) = self.sessions.get_mut(&id) else {
                return;
            };
            match session.lane.pop_front() {
                None => return,
                Some(Item::Say(said)) => self.send(id, said.message, said.without),
                Some(Item::Close) => self.output_close(id),
                Some(waiting @ Item::Wait { .. }) => {
                    session.lane.push_front(waiting);
                    return;
                }
            }
        }
    }

    fn bound(&mut self, id: SessionId) {
        if self
            .sessions
            .get(&id)
            .is_some_and(|session| session.lane.len() > MESSAGES)
        {
            tracing::warn!(
                session = id.0,
                "too much waits for a backend: it goes without"
            );
            self.let_go(id);
            self.flush(id);
        }
    }

    /// Nothing in this session's way waits any longer.
    pub(crate) fn let_go(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let mut released = Vec::new();
        for item in std::mem::take(&mut session.lane) {
            match item {
                Item::Wait {
                    request, messages, ..
                } => {
                    released.push(request);
                    session.lane.extend(messages.into_iter().map(Item::Say));
                }
                item @ (Item::Say(_) | Item::Close) => session.lane.push_back(item),
            }
        }
        for request in released {
            self.release(request);
        }
    }

    pub(crate) fn send(
        &mut self,
        session: SessionId,
        message: ServerMessage,
        without: Vec<String>,
    ) {
        self.outputs.push_back(Output::Send {
            session,
            message,
            without,
        });
    }

    fn output_close(&mut self, session: SessionId) {
        let close = calls::Output::Close { session };
        self.outputs.push_back(Output::Calls(close));
    }
}

impl Session {
    /// The switchboard's TRYING for a call of which the page was told before.
    fn is_second_trying(&mut self, message: &ServerMessage) -> bool {
        let ServerMessage::NotifyTryingResponse(object) = message else {
            return false;
        };
        match self.calls.get_mut(object.call_id.as_str()) {
            Some(known) => !std::mem::replace(&mut known.placed, true),
            None => false,
        }
    }

    pub(crate) fn without(&self, message: &ServerMessage) -> Vec<String> {
        let Some(method) = subject(message) else {
            return Vec::new();
        };
        match method {
            HookMethod::ConnectionStatusEvent => left_out(&[
                self.policy(HookMethod::Connect),
                self.policy(HookMethod::ConnectionStatusEvent),
            ]),
            method => left_out(&[self.policy(method)]),
        }
    }
}

/// The call that a message is about.
pub(crate) fn call_of(message: &ServerMessage) -> Option<&str> {
    match message {
        ServerMessage::NotifyIncomingCall(call) => Some(call.call_id.as_str()),
        ServerMessage::SetRemoteSdp(sdp) => Some(&sdp.id),
        ServerMessage::NotifyTransferEvent(event) => Some(event.call_id.as_str()),
        ServerMessage::Fail(fail) => fail.id.as_deref(),
        ServerMessage::NotifyTryingResponse(call)
        | ServerMessage::Ring(call)
        | ServerMessage::Talk(call)
        | ServerMessage::Hold(call)
        | ServerMessage::Finish(call)
        | ServerMessage::Busy(call)
        | ServerMessage::SessionProgress(call) => Some(call.call_id.as_str()),
        ServerMessage::Ping
        | ServerMessage::Pong
        | ServerMessage::GetUserData(_)
        | ServerMessage::GetVersion(_)
        | ServerMessage::Registered(_)
        | ServerMessage::NotifyStreamStatusEvent(_)
        | ServerMessage::NotifyVideoFormat(_)
        | ServerMessage::NotifyStreamEvent(_)
        | ServerMessage::AvailableStream(_)
        | ServerMessage::OutboundVideoRate(_)
        | ServerMessage::InboundVideoRate(_)
        | ServerMessage::OnDataEvent(_)
        | ServerMessage::DataStatusEvent(_)
        | ServerMessage::NotifySessionDebugEvent(_)
        | ServerMessage::NotifyBugReport(_)
        | ServerMessage::NotifyMessage(_)
        | ServerMessage::NotifySubscription(_)
        | ServerMessage::NotifyXcapResponse(_)
        | ServerMessage::Unknown { .. } => None,
    }
}

/// The call and the status of it that a message tells.
fn about(message: &ServerMessage) -> Option<(String, CallStatus)> {
    if let ServerMessage::Ring(call)
    | ServerMessage::Talk(call)
    | ServerMessage::Hold(call)
    | ServerMessage::Finish(call)
    | ServerMessage::Busy(call)
    | ServerMessage::SessionProgress(call) = message
    {
        Some((call.call_id.as_str().to_owned(), call.status))
    } else {
        None
    }
}

/// The hook whose policy a message is under.
fn subject(message: &ServerMessage) -> Option<HookMethod> {
    use signaling_protocol::connection::ApiMethod;
    Some(match message {
        ServerMessage::GetUserData(_) => HookMethod::ConnectionStatusEvent,
        ServerMessage::Registered(_) => HookMethod::RegistrationStatusEvent,
        ServerMessage::NotifyIncomingCall(_) => HookMethod::OnCallEvent,
        ServerMessage::NotifyTryingResponse(_)
        | ServerMessage::Ring(_)
        | ServerMessage::Talk(_)
        | ServerMessage::Hold(_)
        | ServerMessage::Finish(_)
        | ServerMessage::Busy(_)
        | ServerMessage::SessionProgress(_) => HookMethod::CallStatusEvent,
        ServerMessage::NotifyTransferEvent(_) => HookMethod::TransferStatusEvent,
        ServerMessage::NotifyStreamStatusEvent(_) => HookMethod::StreamStatusEvent,
        ServerMessage::NotifyStreamEvent(_) => HookMethod::StreamEvent,
        ServerMessage::OnDataEvent(_) => HookMethod::OnDataEvent,
        ServerMessage::DataStatusEvent(_) => HookMethod::DataStatusEvent,
        ServerMessage::NotifySessionDebugEvent(_) => HookMethod::SessionDebugStatusEvent,
        ServerMessage::NotifyBugReport(_) => HookMethod::BugReportStatusEvent,
        ServerMessage::NotifyMessage(notify)
            if notify.message.status == signaling_protocol::message::MessageStatus::Received =>
        {
            HookMethod::OnMessageEvent
        }
        ServerMessage::NotifyMessage(_) => HookMethod::MessageStatusEvent,
        ServerMessage::NotifySubscription(_) => HookMethod::SubscriptionStatusEvent,
        ServerMessage::NotifyXcapResponse(_) => HookMethod::XcapStatusEvent,
        ServerMessage::Fail(fail) => match fail.api_method {
            None => HookMethod::ErrorEvent,
            Some(ApiMethod::ConnectionStatusEvent) => HookMethod::ConnectionStatusEvent,
            Some(ApiMethod::RegistrationStatusEvent) => HookMethod::RegistrationStatusEvent,
            Some(ApiMethod::CallStatusEvent) => HookMethod::CallStatusEvent,
            Some(ApiMethod::TransferStatusEvent) => HookMethod::TransferStatusEvent,
            Some(ApiMethod::MessageStatusEvent) => HookMethod::MessageStatusEvent,
            Some(ApiMethod::SubscriptionStatusEvent) => HookMethod::SubscriptionStatusEvent,
            Some(ApiMethod::XcapStatusEvent) => HookMethod::XcapStatusEvent,
            Some(ApiMethod::StreamStatusEvent) => HookMethod::StreamStatusEvent,
            Some(ApiMethod::DataStatusEvent) => HookMethod::DataStatusEvent,
            Some(ApiMethod::BugReportStatusEvent) => HookMethod::BugReportStatusEvent,
            Some(ApiMethod::SessionDebugStatusEvent) => HookMethod::SessionDebugStatusEvent,
            Some(ApiMethod::OnCallEvent) => HookMethod::OnCallEvent,
            Some(ApiMethod::OnMessageEvent) => HookMethod::OnMessageEvent,
            Some(ApiMethod::OnDataEvent) => HookMethod::OnDataEvent,
        },
        ServerMessage::Ping
        | ServerMessage::Pong
        | ServerMessage::GetVersion(_)
        | ServerMessage::SetRemoteSdp(_)
        | ServerMessage::NotifyVideoFormat(_)
        | ServerMessage::AvailableStream(_)
        | ServerMessage::OutboundVideoRate(_)
        | ServerMessage::InboundVideoRate(_)
        | ServerMessage::Unknown { .. } => return None,
    })
}
