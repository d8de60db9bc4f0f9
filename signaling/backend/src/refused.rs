//! A page's wish that the backend refused under FAIL: each is told by its own event (protocol §5.4).

use crate::desk::Desk;
use signaling_calls as calls;
use signaling_calls::SessionId;
use signaling_protocol::call::{CallObject, CallStatus};
use signaling_protocol::connection::{ApiMethod, Fail};
use signaling_protocol::data::{DataStatus, DataStatusEvent};
use signaling_protocol::message::{MessageObject, MessageStatus, NotifyMessage, NotifyToken};
use signaling_protocol::stream::{NotifyStreamEvent, StreamEventType};
use signaling_protocol::subscription::{SubscriptionStatus, SubscriptionStatusEvent};
use signaling_protocol::transfer::{TransferStatus, TransferStatusEvent};
use signaling_protocol::{ClientMessage, MediaSessionId, MessageId, ServerMessage};
use signaling_sip::time::Instant;

/// What a caller gets whose call the backend refused.
pub(crate) const FORBIDDEN: u16 = 403;

impl Desk {
    pub(crate) fn refuse_frame(
        &mut self,
        id: SessionId,
        frame: ClientMessage,
        info: &str,
        now: Instant,
    ) {
        match frame {
            ClientMessage::Call(call) => {
                let known = self.sessions.get(&id).and_then(|s| {
                    s.calls
                        .get(call.call_id.as_str())
                        .map(|known| known.object.clone())
                        .or_else(|| Some(s.object_of(&call)))
                });
                let Some(mut object) = known else { return };
                object.status = CallStatus::Failed;
                object.info = Some(info.to_owned());
                self.say(id, ServerMessage::Finish(Box::new(object)), now);
                let fail = Fail::call(&call.call_id, info);
                self.say(id, ServerMessage::Fail(fail), now);
            }
            ClientMessage::Answer(answer) => {
                let refusal = calls::Input::RefuseCall {
                    session: id,
                    call_id: answer.call_id.as_str().to_owned(),
                    status: FORBIDDEN,
                    info: info.to_owned(),
                };
                self.give(refusal, now);
            }
            ClientMessage::Hold(hold) => {
                self.repeat_status(id, hold.call_id.as_str(), now);
                self.warn(id, info, now);
            }
            ClientMessage::Unhold(unhold) => {
                self.repeat_status(id, unhold.call_id.as_str(), now);
                self.warn(id, info, now);
            }
            ClientMessage::Transfer(transfer) => {
                let call = self
                    .sessions
                    .get(&id)
                    .and_then(|s| s.calls.get(transfer.call_id.as_str()));
                // A page that does not know the call would throw.
                if let Some(call) = call {
                    let event = TransferStatusEvent {
                        call_id: transfer.call_id,
                        incoming: false,
                        status: TransferStatus::Failed,
                        info: Some(info.to_owned()),
                        sip_message_raw: None,
                        has_video: call.object.has_video,
                        custom: transfer.custom,
                    };
                    self.say(id, ServerMessage::NotifyTransferEvent(event), now);
                }
                self.fail(id, ApiMethod::TransferStatusEvent, info, now);
            }
            ClientMessage::SendDtmf(_)
            | ClientMessage::SendStreamEvent(_)
            | ClientMessage::PushLogs(_) => self.warn(id, info, now),
            ClientMessage::PublishStream(stream) => {
                self.refuse_stream(id, &stream.media_session_id, info, now);
            }
            ClientMessage::PlayStream(stream) => {
                self.refuse_stream(id, &stream.media_session_id, info, now);
            }
            ClientMessage::Snapshot(snapshot) => {
                let event = NotifyStreamEvent {
                    media_session_id: snapshot.media_session_id,
                    kind: StreamEventType::SnapshotFailed,
                    payload: serde_json::json!({ "info": info }),
                };
                self.say(id, ServerMessage::NotifyStreamEvent(event), now);
            }
            ClientMessage::SendData(data) => {
                let event = DataStatusEvent {
                    operation_id: data.operation_id,
                    status: DataStatus::Failed,
                    info: Some(info.to_owned()),
                };
                self.say(id, ServerMessage::DataStatusEvent(event), now);
            }
            ClientMessage::SendMessage(message) => {
                let Some(message_id) = message.id else {
                    return self.fail(id, ApiMethod::MessageStatusEvent, info, now);
                };
                let mut object = message_object(message_id, MessageStatus::Failed, info);
                object.from = message.from.unwrap_or_default();
                object.to = message.to.unwrap_or_default();
                object.content_type = message.content_type.unwrap_or(object.content_type);
                object.is_imdn_required = message.is_imdn_required.unwrap_or(false);
                self.notify_message(id, object, now);
            }
            ClientMessage::NotificationResult(result) => {
                let object = message_object(result.message_id, MessageStatus::ImdnForbidden, info);
                self.notify_message(id, object, now);
            }
            ClientMessage::Subscribe(subscribe) => {
                let event = SubscriptionStatusEvent {
                    event: subscribe.event,
                    expires_s: 0,
                    status: SubscriptionStatus::Terminated,
                    terminate: false,
                    request_body: None,
                    info: Some(info.to_owned()),
                    sip_message_raw: None,
                    custom: None,
                };
                self.say(id, ServerMessage::NotifySubscription(event), now);
            }
            ClientMessage::SendXcapRequest(_) => {
                self.fail(id, ApiMethod::XcapStatusEvent, info, now);
            }
            ClientMessage::SubmitBugReport(_) => {
                self.fail(id, ApiMethod::BugReportStatusEvent, info, now);
            }
            ClientMessage::SessionDebug(_) => {
                self.fail(id, ApiMethod::SessionDebugStatusEvent, info, now);
            }
            // Carried out whatever the backend says, or without a hook.
            ClientMessage::Hangup(_)
            | ClientMessage::UnPublishStream(_)
            | ClientMessage::StopStream(_)
            | ClientMessage::Connection(_)
            | ClientMessage::Ping
            | ClientMessage::Pong
            | ClientMessage::AvailableStream(_)
            | ClientMessage::DataStatusEvent(_)
            | ClientMessage::WebRtcMetricsClientDescription(_)
            | ClientMessage::WebRtcMetricsBatch(_)
            | ClientMessage::UpdateCallToVideo(_)
            | ClientMessage::ChangeVideoState(_)
            | ClientMessage::SetUseProxy(_)
            | ClientMessage::SetLtState(_)
            | ClientMessage::RequestStreamInfo(_)
            | ClientMessage::PauseStream(_)
            | ClientMessage::SubscribeRoom(_)
            | ClientMessage::UnsubscribeRoom(_)
            | ClientMessage::SendRoomData(_)
            | ClientMessage::Unknown { .. } => {}
        }
    }

    fn warn(&mut self, id: SessionId, info: &str, now: Instant) {
        self.say_quietly(id, ServerMessage::Fail(Fail::error(info)), now);
    }

    fn fail(&mut self, id: SessionId, method: ApiMethod, info: &str, now: Instant) {
        self.say(id, ServerMessage::Fail(Fail::event(method, info)), now);
    }

    fn refuse_stream(&mut self, id: SessionId, stream: &MediaSessionId, info: &str, now: Instant) {
        let mut fail = Fail::event(ApiMethod::StreamStatusEvent, info);
        fail.id = Some(stream.as_str().to_owned());
        self.say(id, ServerMessage::Fail(fail), now);
    }

    fn notify_message(&mut self, id: SessionId, message: MessageObject, now: Instant) {
        let token = NotifyToken { message_id: None };
        let notify = NotifyMessage { message, token };
        self.say(id, ServerMessage::NotifyMessage(notify), now);
    }

    /// HOLD or ESTABLISHED as it is: pages wait for one of them with their button disabled (protocol §2.7).
    fn repeat_status(&mut self, id: SessionId, call: &str, now: Instant) {
        let known = self.sessions.get(&id).and_then(|s| s.calls.get(call));
        let Some(object) = known.map(|known| Box::new(repeated(&known.object))) else {
            return;
        };
        match object.status {
            CallStatus::Hold => self.say(id, ServerMessage::Hold(object), now),
            CallStatus::Established => self.say(id, ServerMessage::Talk(object), now),
            CallStatus::New
            | CallStatus::Pending
            | CallStatus::Trying
            | CallStatus::Ring
            | CallStatus::RingMedia
            | CallStatus::SessionProgress
            | CallStatus::Busy
            | CallStatus::Finish
            | CallStatus::Failed => {}
        }
    }
}

fn repeated(object: &CallObject) -> CallObject {
    let mut object = object.clone();
    object.sip_message_raw = None;
    object.sip_status = None;
    object.info = None;
    object
}

fn message_object(id: MessageId, status: MessageStatus, info: &str) -> MessageObject {
    MessageObject {
        id,
        from: String::new(),
        to: String::new(),
        body: None,
        content_type: "text/plain".to_owned(),
        is_imdn_required: false,
        status,
        info: Some(info.to_owned()),
        sip_message_raw: None,
        custom: None,
    }
}
