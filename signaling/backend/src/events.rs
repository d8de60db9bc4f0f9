//! Which event a message to a page is, and the body of its hook (protocol §5.4). A status that is told again is
//! no event.

use crate::bodies::call_hook;
use crate::session::{KnownCall, Session, Stage};
use signaling_protocol::bug_report::{BugReportStatusHook, ErrorHook};
use signaling_protocol::call::{CallObject, CallStatus, IncomingCall};
use signaling_protocol::connection::{
    ApiMethod, ConnectionStatus, ConnectionStatusHook, Fail, FailStatus, RegistrationStatus,
    RegistrationStatusHook, UserData,
};
use signaling_protocol::message::MessageStatus;
use signaling_protocol::stream::{
    NotifyStreamStatusEvent, StreamEventHook, StreamHook, StreamObject, StreamStatus,
};
use signaling_protocol::{CallId, HookMessage, MediaSessionId, ServerMessage};

impl Session {
    /// Takes note of what the page is told, and says what the backend is to be told of it.
    pub(crate) fn event_of(&mut self, message: &ServerMessage) -> Option<HookMessage> {
        Some(match message {
            ServerMessage::GetUserData(data) => {
                self.stage = Stage::Open;
                self.backend_knows = true;
                let user = UserData {
                    auth_token: None,
                    ..(**data).clone()
                };
                self.user = Some(Box::new(user));
                let mut hook = self.connection_hook(ConnectionStatus::Established);
                // Whoever holds it is the session's user.
                if self.app.as_ref().is_some_and(|app| app.is_private()) {
                    hook.auth_token.clone_from(&data.auth_token);
                }
                HookMessage::ConnectionStatusEvent(hook)
            }
            ServerMessage::Registered(told) => {
                let raw = told.sip_message_raw.clone();
                return self.registration(told.status, told.info.clone(), raw);
            }
            ServerMessage::NotifyIncomingCall(call) => {
                let mut known = KnownCall::new(incoming_object(call));
                if let Some(before) = self.calls.get(call.call_id.as_str()) {
                    known.accepted = before.accepted;
                    known.overlay = before.overlay.clone();
                    known.told = before.told;
                }
                self.know(call.call_id.as_str(), known);
                return None;
            }
            ServerMessage::NotifyTryingResponse(call)
            | ServerMessage::Ring(call)
            | ServerMessage::Talk(call)
            | ServerMessage::Hold(call)
            | ServerMessage::Busy(call)
            | ServerMessage::SessionProgress(call) => return self.call_event(call),
            ServerMessage::Finish(call) => {
                let event = self.call_event(call);
                self.calls.remove(call.call_id.as_str());
                return event;
            }
            ServerMessage::NotifyTransferEvent(event) => {
                let mut event = event.clone();
                let known = self.calls.get(event.call_id.as_str());
                if event.custom.is_none() {
                    event.custom = known.and_then(|known| known.object.custom.clone());
                }
                HookMessage::TransferStatusEvent(event)
            }
            ServerMessage::NotifyStreamStatusEvent(NotifyStreamStatusEvent::Status(stream)) => {
                HookMessage::StreamStatusEvent(stream_hook((**stream).clone()))
            }
            ServerMessage::NotifyStreamStatusEvent(NotifyStreamStatusEvent::Older(_)) => {
                return None;
            }
            ServerMessage::NotifyStreamEvent(event) => HookMessage::StreamEvent(StreamEventHook {
                media_session_id: event.media_session_id.clone(),
                kind: event.kind,
                info: event.payload.as_str().map(str::to_owned),
                payload: (!event.payload.is_null()).then(|| event.payload.clone()),
                custom: None,
            }),
            ServerMessage::OnDataEvent(event) => HookMessage::OnDataEvent(event.clone()),
            ServerMessage::DataStatusEvent(event) => HookMessage::DataStatusEvent(event.clone()),
            ServerMessage::NotifySessionDebugEvent(event) => {
                HookMessage::SessionDebugStatusEvent(event.clone())
            }
            ServerMessage::NotifyBugReport(report) => {
                HookMessage::BugReportStatusEvent(BugReportStatusHook {
                    filename: report.filename.clone(),
                    custom: None,
                })
            }
            ServerMessage::NotifyMessage(notify) => {
                let message = Box::new(notify.message.clone());
                if message.status == MessageStatus::Received {
                    HookMessage::OnMessageEvent(message)
                } else {
                    HookMessage::MessageStatusEvent(message)
                }
            }
            ServerMessage::NotifySubscription(event) => {
                HookMessage::SubscriptionStatusEvent(event.clone())
            }
            ServerMessage::NotifyXcapResponse(event) => {
                let mut event = event.clone();
                event.response_body = None;
                HookMessage::XcapStatusEvent(event)
            }
            ServerMessage::Fail(fail) => return self.failure_event(fail),
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

    fn call_event(&mut self, call: &CallObject) -> Option<HookMessage> {
        let id = call.call_id.as_str();
        if !self.calls.contains_key(id) {
            self.know(id, KnownCall::new(call.clone()));
        }
        // One that is too many to be kept is told every time.
        if let Some(known) = self.calls.get_mut(id) {
            let again = known.told == Some(call.status);
            known.told = Some(call.status);
            known.object = call.clone();
            if again {
                return None;
            }
        }
        Some(HookMessage::CallStatusEvent(call_hook(call.clone())))
    }

    fn failure_event(&mut self, fail: &Fail) -> Option<HookMessage> {
        let info = fail.info.clone().unwrap_or_default();
        let Some(method) = fail.api_method else {
            return Some(HookMessage::ErrorEvent(ErrorHook {
                info,
                custom: self.custom(),
            }));
        };
        match method {
            ApiMethod::ConnectionStatusEvent => {
                self.backend_knows = false;
                let mut hook = empty_connection_hook(ConnectionStatus::Failed);
                hook.info = Some(info);
                Some(HookMessage::ConnectionStatusEvent(hook))
            }
            ApiMethod::RegistrationStatusEvent => {
                let status = if fail.status == FailStatus::AuthenticationFail {
                    RegistrationStatus::AuthenticationFail
                } else if fail.status == FailStatus::Unregistered {
                    RegistrationStatus::Unregistered
                } else {
                    RegistrationStatus::Failed
                };
                self.registration(status, fail.info.clone(), fail.sip_message_raw.clone())
            }
            ApiMethod::StreamStatusEvent => {
                let id = MediaSessionId::new(fail.id.clone()?);
                let mut stream = StreamObject::new(id, StreamStatus::Failed);
                stream.info = Some(info);
                Some(HookMessage::StreamStatusEvent(stream_hook(stream)))
            }
            // Told by the event itself, or nothing in it but what its own hook's answer said.
            ApiMethod::CallStatusEvent
            | ApiMethod::TransferStatusEvent
            | ApiMethod::MessageStatusEvent
            | ApiMethod::SubscriptionStatusEvent
            | ApiMethod::XcapStatusEvent
            | ApiMethod::DataStatusEvent
            | ApiMethod::BugReportStatusEvent
            | ApiMethod::SessionDebugStatusEvent
            | ApiMethod::OnCallEvent
            | ApiMethod::OnMessageEvent
            | ApiMethod::OnDataEvent => None,
        }
    }

    fn registration(
        &mut self,
        status: RegistrationStatus,
        info: Option<String>,
        raw: Option<String>,
    ) -> Option<HookMessage> {
        if self.registration.replace(status) == Some(status) {
            return None;
        }
        Some(self.registration_hook(status, info, raw))
    }

    pub(crate) fn registration_hook(
        &self,
        status: RegistrationStatus,
        info: Option<String>,
        sip_message_raw: Option<String>,
    ) -> HookMessage {
        let user = self.user.as_deref();
        let text = |field: fn(&UserData) -> &Option<String>| user.and_then(|u| field(u).clone());
        HookMessage::RegistrationStatusEvent(Box::new(RegistrationStatusHook {
            status,
            info,
            sip_message_raw,
            sip_login: text(|u| &u.sip_login),
            sip_domain: text(|u| &u.sip_domain),
            sip_outbound_proxy: text(|u| &u.sip_outbound_proxy),
            sip_port: user.and_then(|u| u.sip_port),
            custom: self.custom(),
        }))
    }

    /// Never with the password (§1.4); with the token only where the caller puts it.
    pub(crate) fn connection_hook(&self, status: ConnectionStatus) -> Box<ConnectionStatusHook> {
        let mut hook = empty_connection_hook(status);
        if let Some(user) = self.user.as_deref() {
            hook.sip_register_required = user.sip_register_required;
            hook.sip_login.clone_from(&user.sip_login);
            hook.sip_visible_name.clone_from(&user.sip_visible_name);
            hook.sip_domain.clone_from(&user.sip_domain);
            hook.sip_outbound_proxy.clone_from(&user.sip_outbound_proxy);
            hook.sip_port = user.sip_port;
            hook.sip_contact_params.clone_from(&user.sip_contact_params);
            hook.media_providers.clone_from(&user.media_providers);
            hook.custom.clone_from(&user.custom);
        }
        hook
    }

    fn custom(&self) -> Option<serde_json::Value> {
        self.user.as_ref().and_then(|user| user.custom.clone())
    }
}

fn empty_connection_hook(status: ConnectionStatus) -> Box<ConnectionStatusHook> {
    Box::new(ConnectionStatusHook {
        sip_register_required: None,
        sip_login: None,
        sip_password: None,
        sip_visible_name: None,
        sip_domain: None,
        sip_outbound_proxy: None,
        sip_port: None,
        sip_contact_params: None,
        status,
        info: None,
        auth_token: None,
        media_providers: None,
        custom: None,
    })
}

fn stream_hook(stream: StreamObject) -> Box<StreamHook> {
    Box::new(StreamHook {
        sdp: None,
        rtmp_url: None,
        custom: None,
        stream,
    })
}

/// An announced call as the object that its later messages carry.
pub(crate) fn incoming_object(call: &IncomingCall) -> CallObject {
    let id = CallId::new(call.call_id.as_str());
    let mut object = CallObject::new(id, CallStatus::Pending);
    object.parent_call_id.clone_from(&call.parent_call_id);
    object.incoming = Some(true);
    object.caller = Some(call.caller.clone());
    object.callee = Some(call.callee.clone());
    object.visible_name = Some(call.visible_name.clone());
    object.has_audio = Some(call.has_audio);
    object.has_video = Some(call.has_video);
    object.is_msrp = Some(call.is_msrp);
    object.hold_for_transfer = Some(false);
    object.invite_parameters.clone_from(&call.invite_parameters);
    object.sip_message_raw.clone_from(&call.sip_message_raw);
    object.custom.clone_from(&call.custom);
    object
}
