//! What the protocol has and we have not: each is answered in the words of its own event, so that a page
//! which waits for one is not left waiting.

use crate::api::SessionId;
use crate::switchboard::Switchboard;
use serde_json::json;
use signaling_protocol::connection::{ApiMethod, Fail};
use signaling_protocol::data::{DataStatus, DataStatusEvent};
use signaling_protocol::stream::{
    NotifyStreamEvent, StreamAvailability, StreamEventType, TextFlag,
};
use signaling_protocol::subscription::{SubscriptionStatus, SubscriptionStatusEvent};
use signaling_protocol::{ClientMessage, ServerMessage};

impl Switchboard {
    pub(crate) fn not_there_yet(&mut self, session: SessionId, message: ClientMessage) {
        let info = format!("{} is not there yet", message.name());
        let event = |method: ApiMethod| ServerMessage::Fail(Fail::event(method, info.clone()));
        let about = |id: &str| {
            let mut fail = Fail::event(ApiMethod::StreamStatusEvent, info.clone());
            fail.id = Some(id.to_owned());
            ServerMessage::Fail(fail)
        };
        let answer = match message {
            ClientMessage::PublishStream(stream) => about(stream.media_session_id.as_str()),
            ClientMessage::PlayStream(stream) => about(stream.media_session_id.as_str()),
            ClientMessage::UnPublishStream(stream) => about(stream.media_session_id.as_str()),
            ClientMessage::StopStream(stream) => about(stream.media_session_id.as_str()),
            ClientMessage::AvailableStream(stream) => {
                ServerMessage::AvailableStream(StreamAvailability {
                    id: stream.media_session_id,
                    available: TextFlag(false),
                    info: "Stream not found".to_owned(),
                })
            }
            ClientMessage::Snapshot(stream) => {
                ServerMessage::NotifyStreamEvent(NotifyStreamEvent {
                    media_session_id: stream.media_session_id,
                    kind: StreamEventType::SnapshotFailed,
                    payload: json!({ "info": info }),
                })
            }
            ClientMessage::SendStreamEvent(_) => ServerMessage::Fail(Fail::error(info)),
            ClientMessage::SendData(data) => ServerMessage::DataStatusEvent(DataStatusEvent {
                operation_id: data.operation_id,
                status: DataStatus::Failed,
                info: Some(info),
            }),
            ClientMessage::SendMessage(_) | ClientMessage::NotificationResult(_) => {
                event(ApiMethod::MessageStatusEvent)
            }
            ClientMessage::Subscribe(subscribe) => {
                ServerMessage::NotifySubscription(SubscriptionStatusEvent {
                    event: subscribe.event,
                    expires_s: 0,
                    status: SubscriptionStatus::Terminated,
                    terminate: false,
                    request_body: None,
                    info: Some(info),
                    sip_message_raw: None,
                    custom: None,
                })
            }
            ClientMessage::SendXcapRequest(_) => event(ApiMethod::XcapStatusEvent),
            ClientMessage::SubmitBugReport(_) => event(ApiMethod::BugReportStatusEvent),
            ClientMessage::SessionDebug(_) => event(ApiMethod::SessionDebugStatusEvent),
            // Nobody waits for an answer to these.
            ClientMessage::PushLogs(_) | ClientMessage::DataStatusEvent(_) => return,
            // Handled before, or known only to be ignored.
            ClientMessage::Ping
            | ClientMessage::Pong
            | ClientMessage::Connection(_)
            | ClientMessage::Call(_)
            | ClientMessage::Answer(_)
            | ClientMessage::Hangup(_)
            | ClientMessage::Hold(_)
            | ClientMessage::Unhold(_)
            | ClientMessage::SendDtmf(_)
            | ClientMessage::Transfer(_)
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
            | ClientMessage::Unknown { .. } => return,
        };
        self.send(session, answer);
    }
}
