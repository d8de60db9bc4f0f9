//! A call for a page: `OnCallEvent` is asked first, and all that the page would hear of the call waits for the
//! answer (protocol §2.5, §5.3 type 4).

use crate::api::RequestId;
use crate::bodies::call_hook;
use crate::desk::Desk;
use crate::events::incoming_object;
use crate::limits::HELD;
use crate::overwrite::taken;
use crate::refused::FORBIDDEN;
use crate::requests::{Failure, Pending, What};
use crate::session::{Held, KnownCall};
use crate::told::{To, call_of};
use signaling_calls as calls;
use signaling_calls::SessionId;
use signaling_protocol::call::SetRemoteSdp;
use signaling_protocol::connection::Fail;
use signaling_protocol::rest_client_config::OnError;
use signaling_protocol::{HookMessage, HookMethod, ServerMessage};
use signaling_sip::time::Instant;

impl Desk {
    /// Keeps a message of a call that its page must not hear of yet, or not at all. The others come back.
    pub(crate) fn hold_incoming(
        &mut self,
        id: SessionId,
        message: ServerMessage,
        now: Instant,
    ) -> Option<ServerMessage> {
        // The offer comes just before the call that it belongs to is announced.
        let offer = match &message {
            ServerMessage::NotifyIncomingCall(call) => self
                .offered
                .take_if(|(of, offer)| *of == id && call_of(offer) == Some(call.call_id.as_str())),
            _ => None,
        };
        self.say_offered(now);
        match &message {
            ServerMessage::SetRemoteSdp(sdp) if !sdp.initiator => {
                self.offered = Some((id, message));
                return None;
            }
            ServerMessage::NotifyIncomingCall(_) => {
                return self.announce(id, offer.map(|(_, offer)| offer), message, now);
            }
            _ => {}
        }
        let Some(call) = call_of(&message).map(str::to_owned) else {
            return Some(message);
        };
        let session = self.sessions.get_mut(&id)?;
        if session.is_muted(&call) {
            // Its end is the backend's to know, and nobody else's.
            if matches!(message, ServerMessage::Finish(_)) {
                self.tell(id, message, To::Backend, now);
            }
            return None;
        }
        let Some(held) = session.held.get_mut(&call) else {
            return Some(message);
        };
        if matches!(message, ServerMessage::Finish(_)) {
            let request = held.request;
            session.held.remove(&call);
            session.mute(&call);
            self.release(request);
            self.tell(id, message, To::Backend, now);
        } else if held.messages.len() < HELD {
            held.messages.push(message);
        }
        None
    }

    /// An offer that no call followed is said as it is.
    pub(crate) fn say_offered(&mut self, now: Instant) {
        if let Some((id, offer)) = self.offered.take() {
            self.say(id, offer, now);
        }
    }

    fn announce(
        &mut self,
        id: SessionId,
        offer: Option<ServerMessage>,
        message: ServerMessage,
        now: Instant,
    ) -> Option<ServerMessage> {
        let ServerMessage::NotifyIncomingCall(call) = &message else {
            return Some(message);
        };
        let name = call.call_id.as_str().to_owned();
        let object = incoming_object(call);
        let session = self.sessions.get_mut(&id)?;
        let accepted = session.calls.get(&name).is_some_and(|known| known.accepted);
        if let Some(held) = session.held.get_mut(&name) {
            // Announced afresh to a page that came back, while the backend still thinks.
            held.messages = offer.into_iter().chain([message]).collect();
            return None;
        }
        let policy = session
            .hook(HookMethod::OnCallEvent)
            .filter(|_| !accepted && !self.shutting_down);
        let Some(policy) = policy else {
            if let Some(offer) = offer {
                self.say(id, offer, now);
            }
            return Some(message);
        };
        let mut hook = call_hook(object.clone());
        if let Some(ServerMessage::SetRemoteSdp(SetRemoteSdp { sdp, .. })) = &offer {
            hook.sdp = Some(sdp.clone());
        }
        let hook = HookMessage::OnCallEvent(hook);
        let what = What::Incoming { call: name.clone() };
        let messages: Vec<ServerMessage> = offer.into_iter().chain([message]).collect();
        match self.post(id, &hook, policy, what, now) {
            Some(request) => {
                let session = self.sessions.get_mut(&id)?;
                session.know(&name, KnownCall::new(object));
                session.held.insert(name, Held { request, messages });
            }
            None => messages
                .into_iter()
                .for_each(|message| self.say(id, message, now)),
        }
        None
    }

    #[allow(clippy::too_many_arguments, reason = "an answer and what it answers")]
    pub(crate) fn call_answered(
        &mut self,
        id: SessionId,
        request: RequestId,
        call: &str,
        pending: &Pending,
        body: &str,
        failure: Option<Failure>,
        now: Instant,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session
            .held
            .get(call)
            .is_none_or(|held| held.request != request)
        {
            return;
        }
        let Some(held) = session.held.remove(call) else {
            return;
        };
        if let Some(failure) = &failure
            && pending.policy.on_error == OnError::Fail
        {
            session.mute(call);
            let refusal = calls::Input::RefuseCall {
                session: id,
                call_id: call.to_owned(),
                status: FORBIDDEN,
                info: failure.info.clone(),
            };
            self.give(refusal, now);
            let fail = Fail::error(failure.info.clone());
            return self.say_quietly(id, ServerMessage::Fail(fail), now);
        }
        if let Some(known) = session.calls.get_mut(call) {
            known.accepted = true;
            known.overlay = taken(&pending.policy, body);
            if failure.is_some() {
                known.overlay.clear();
            }
        }
        for message in held.messages {
            self.say(id, message, now);
        }
    }

    /// What waits for the backend goes to the page without its word.
    pub(crate) fn announce_held(&mut self, id: SessionId, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        for held in std::mem::take(&mut session.held).into_values() {
            self.release(held.request);
            for message in held.messages {
                self.say(id, message, now);
            }
        }
    }
}
