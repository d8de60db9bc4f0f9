//! Which hook a page's frame has, and its body (protocol §5.4).

use crate::session::Session;
use serde::Serialize;
use serde_json::Value;
use signaling_protocol::call::{CallHook, CallObject, CallStatus, DtmfType, SendDtmfHook};
use signaling_protocol::data::OnDataEvent;
use signaling_protocol::message::{SendImdnHook, SendMessageHook};
use signaling_protocol::stream::{StreamEventHook, StreamHook};
use signaling_protocol::{ClientMessage, HookMessage, HookMethod};

pub(crate) fn call_hook(call: CallObject) -> Box<CallHook> {
    Box::new(CallHook {
        sdp: None,
        target: None,
        call,
    })
}

impl Session {
    /// `None`: it has none, or it is about a call that is not there or cannot do this now; those the switchboard
    /// ignores or answers by itself.
    pub(crate) fn hook_of(&self, frame: &ClientMessage) -> Option<HookMessage> {
        Some(match frame {
            ClientMessage::Call(call) => {
                let known = self.calls.get(call.call_id.as_str());
                if known.is_some_and(|known| known.placed) {
                    return None;
                }
                let mut object = self.object_of(call);
                object.status = CallStatus::Pending;
                let mut hook = call_hook(object);
                hook.sdp.clone_from(&call.sdp);
                HookMessage::Call(hook)
            }
            ClientMessage::Answer(answer) => {
                let mut object = self.known(answer.call_id.as_str())?;
                if object.incoming != Some(true)
                    || !matches!(object.status, CallStatus::Pending | CallStatus::Ring)
                {
                    return None;
                }
                object.status = answer.status.unwrap_or(CallStatus::Pending);
                object.has_video = answer.has_video.or(object.has_video);
                object.has_audio = answer.has_audio.or(object.has_audio);
                object.custom = answer.custom.clone().or(object.custom);
                let mut hook = call_hook(object);
                hook.sdp.clone_from(&answer.sdp);
                HookMessage::Answer(hook)
            }
            ClientMessage::Hangup(hangup) => {
                let mut object = self.known(hangup.call_id.as_str())?;
                object.has_video = hangup.has_video.or(object.has_video);
                object.custom = hangup.custom.clone().or(object.custom);
                HookMessage::Hangup(call_hook(object))
            }
            ClientMessage::Hold(hold) => {
                let mut object = self.known_established(hold.call_id.as_str())?;
                object.has_video = hold.has_video.or(object.has_video);
                object.hold_for_transfer = hold.hold_for_transfer.or(object.hold_for_transfer);
                HookMessage::Hold(call_hook(object))
            }
            ClientMessage::Unhold(unhold) => {
                let mut object = self.known_established(unhold.call_id.as_str())?;
                object.has_video = unhold.has_video.or(object.has_video);
                HookMessage::Unhold(call_hook(object))
            }
            ClientMessage::Transfer(transfer) => {
                let object = self.known(transfer.call_id.as_str())?;
                let mut transfer = transfer.clone();
                transfer.custom = transfer.custom.or(object.custom);
                HookMessage::Transfer(transfer)
            }
            ClientMessage::SendDtmf(dtmf) => {
                let object = self.known(dtmf.call_id.as_str())?;
                HookMessage::SendDtmf(SendDtmfHook {
                    call_id: dtmf.call_id.clone(),
                    dtmf: dtmf.dtmf.clone(),
                    kind: dtmf.kind.unwrap_or(DtmfType::Rfc2833),
                    custom: object.custom,
                })
            }
            ClientMessage::PublishStream(stream) => {
                HookMessage::PublishStream(stream_hook(stream, true)?)
            }
            ClientMessage::PlayStream(stream) => {
                HookMessage::PlayStream(stream_hook(stream, true)?)
            }
            ClientMessage::UnPublishStream(stream) => {
                HookMessage::UnPublishStream(stream_hook(stream, false)?)
            }
            ClientMessage::StopStream(stream) => {
                HookMessage::StopStream(stream_hook(stream, false)?)
            }
            ClientMessage::Snapshot(snapshot) => HookMessage::Snapshot(snapshot.clone()),
            ClientMessage::SendStreamEvent(event) => {
                let payload = event.payload().cloned();
                HookMessage::SendStreamEvent(StreamEventHook {
                    media_session_id: event.media_session_id.clone(),
                    kind: event.kind,
                    info: payload.as_ref().and_then(Value::as_str).map(str::to_owned),
                    payload,
                    custom: None,
                })
            }
            // WCS itself names OnDataEvent for both directions (§5.4).
            ClientMessage::SendData(data) if self.hook(HookMethod::SendData).is_none() => {
                HookMessage::OnDataEvent(OnDataEvent {
                    operation_id: data.operation_id.clone(),
                    payload: data.payload.clone(),
                })
            }
            ClientMessage::SendData(data) => HookMessage::SendData(data.clone()),
            ClientMessage::SubmitBugReport(report) => HookMessage::SubmitBugReport(report.clone()),
            ClientMessage::SessionDebug(debug) => HookMessage::SessionDebug(debug.clone()),
            ClientMessage::PushLogs(logs) => HookMessage::PushLogs(logs.clone()),
            ClientMessage::SendMessage(message) => {
                let login = self.user.as_ref().and_then(|user| user.sip_login.clone());
                HookMessage::SendMessage(Box::new(SendMessageHook {
                    id: message.id.clone()?,
                    from: message.from.clone().or(login).unwrap_or_default(),
                    to: message.to.clone().unwrap_or_default(),
                    body: message.body.clone(),
                    content_type: message
                        .content_type
                        .clone()
                        .unwrap_or_else(|| "text/plain".to_owned()),
                    is_imdn_required: message.is_imdn_required.unwrap_or(false),
                    recipients: message.recipients.clone(),
                    custom: message.custom.clone(),
                }))
            }
            ClientMessage::NotificationResult(result) => HookMessage::SendImdn(SendImdnHook {
                message_id: result.message_id.clone(),
                custom: None,
            }),
            ClientMessage::Subscribe(subscribe) => HookMessage::Subscribe(subscribe.clone()),
            ClientMessage::SendXcapRequest(request) => {
                HookMessage::SendXcapRequest(request.clone())
            }
            ClientMessage::Ping
            | ClientMessage::Pong
            | ClientMessage::Connection(_)
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
            | ClientMessage::Unknown { .. } => return None,
        })
    }

    pub(crate) fn hangup_hook(&self, call: &str) -> Option<HookMessage> {
        let object = self.calls.get(call)?.object.clone();
        Some(HookMessage::Hangup(call_hook(object)))
    }

    /// The call object as it stands. Which SIP message led there was told then.
    fn known(&self, id: &str) -> Option<CallObject> {
        let known = self.calls.get(id).filter(|known| known.placed)?;
        let mut object = known.object.clone();
        object.sip_message_raw = None;
        object.sip_status = None;
        object.info = None;
        Some(object)
    }

    fn known_established(&self, id: &str) -> Option<CallObject> {
        self.known(id)
            .filter(|call| matches!(call.status, CallStatus::Established | CallStatus::Hold))
    }
}

/// A stream's frame has the fields of its hook, but for those that a page leaves out.
fn stream_hook(frame: &impl Serialize, begins: bool) -> Option<Box<StreamHook>> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(frame) else {
        return None;
    };
    if begins {
        for number in [
            "width",
            "height",
            "bitrate",
            "minBitrate",
            "maxBitrate",
            "quality",
        ] {
            fields.entry(number).or_insert_with(|| 0.into());
        }
        fields.entry("record").or_insert_with(|| false.into());
    }
    fields.entry("status").or_insert_with(|| "PENDING".into());
    serde_json::from_value(Value::Object(fields)).ok()
}
