//! What a client may send: [`ClientMessage`].

use crate::bug_report::{PushLogs, SessionDebug, SubmitBugReport};
use crate::call::{Answer, Call, Hangup, Hold, SendDtmf, Unhold};
use crate::connection::Connection;
use crate::data::{DataStatusEvent, SendData};
use crate::envelope::{Envelope, ParseError, Raw, messages};
use crate::message::{NotificationResult, SendMessage};
use crate::stream::{
    AvailableStream, PlayStream, PublishStream, SendStreamEvent, Snapshot, StopStream,
    UnPublishStream,
};
use crate::subscription::Subscribe;
use crate::transfer::Transfer;
use crate::xcap::SendXcapRequest;
use serde_json::Value;

messages! {
    /// What a browser may ask of us: one variant per method of the protocol (§2.1).
    pub enum ClientMessage {
        nothing [null] {
            "ping" Ping,
            "pong" Pong,
        }
        "connection" Connection(Box<Connection>),
        "call" Call(Box<Call>),
        "answer" Answer(Box<Answer>),
        "hangup" Hangup(Hangup),
        "hold" Hold(Hold),
        "unhold" Unhold(Unhold),
        "transfer" Transfer(Transfer),
        "sendDtmf" SendDtmf(SendDtmf),
        "publishStream" PublishStream(Box<PublishStream>),
        "unPublishStream" UnPublishStream(UnPublishStream),
        "playStream" PlayStream(Box<PlayStream>),
        "stopStream" StopStream(StopStream),
        "availableStream" AvailableStream(AvailableStream),
        "snapshot" Snapshot(Snapshot),
        "sendStreamEvent" SendStreamEvent(SendStreamEvent),
        "sendData" SendData(SendData),
        "DataStatusEvent" DataStatusEvent(DataStatusEvent),
        "submitBugReport" SubmitBugReport(SubmitBugReport),
        "sessionDebug" SessionDebug(SessionDebug),
        "pushLogs" PushLogs(PushLogs),
        "sendMessage" SendMessage(Box<SendMessage>),
        "notificationResult" NotificationResult(NotificationResult),
        "subscribe" Subscribe(Subscribe),
        "sendXcapRequest" SendXcapRequest(SendXcapRequest),
        /// Only comes if it was asked for, and we do not ask (§2.14).
        "webRTCMetricsClientDescription" WebRtcMetricsClientDescription(Raw),
        "webRTCMetricsBatch" WebRtcMetricsBatch(Raw),
        /// From here on 1.0 only, to be ignored and logged once.
        "updateCallToVideo" UpdateCallToVideo(Raw),
        "changeVideoState" ChangeVideoState(Raw),
        "setUseProxy" SetUseProxy(Raw),
        "setLTState" SetLtState(Raw),
        "requestStreamInfo" RequestStreamInfo(Raw),
        "pauseStream" PauseStream(Raw),
        "subscribeRoom" SubscribeRoom(Raw),
        "unsubscribeRoom" UnsubscribeRoom(Raw),
        "sendRoomData" SendRoomData(Raw),
    }
}

impl ClientMessage {
    /// Reads a frame as leniently as pages need it (§1.2).
    pub fn parse(text: &str) -> Result<ClientMessage, ParseError> {
        let Envelope {
            message,
            mut arguments,
        } = Envelope::parse(text)?;
        let name = canonical(&message);
        if name == "connection" {
            trim_scalars(&mut arguments);
        }
        ClientMessage::from_envelope(name, arguments)
    }

    /// Whether it is one of those that are understood only to be ignored.
    pub fn is_ignored(&self) -> bool {
        match self {
            ClientMessage::WebRtcMetricsClientDescription(_)
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
            | ClientMessage::Unknown { .. } => true,
            ClientMessage::Ping
            | ClientMessage::Pong
            | ClientMessage::Connection(_)
            | ClientMessage::Call(_)
            | ClientMessage::Answer(_)
            | ClientMessage::Hangup(_)
            | ClientMessage::Hold(_)
            | ClientMessage::Unhold(_)
            | ClientMessage::Transfer(_)
            | ClientMessage::SendDtmf(_)
            | ClientMessage::PublishStream(_)
            | ClientMessage::UnPublishStream(_)
            | ClientMessage::PlayStream(_)
            | ClientMessage::StopStream(_)
            | ClientMessage::AvailableStream(_)
            | ClientMessage::Snapshot(_)
            | ClientMessage::SendStreamEvent(_)
            | ClientMessage::SendData(_)
            | ClientMessage::DataStatusEvent(_)
            | ClientMessage::SubmitBugReport(_)
            | ClientMessage::SessionDebug(_)
            | ClientMessage::PushLogs(_)
            | ClientMessage::SendMessage(_)
            | ClientMessage::NotificationResult(_)
            | ClientMessage::Subscribe(_)
            | ClientMessage::SendXcapRequest(_) => false,
        }
    }
}

/// The wire's name for a method that documents call otherwise (§9.3). Pages that speak JSON by themselves
/// may have been written from those documents.
fn canonical(name: &str) -> &str {
    match name {
        "connect" => "connection",
        "sendDTMF" => "sendDtmf",
        "sendBugReport" => "submitBugReport",
        "sendIMDN" => "notificationResult",
        other => other,
    }
}

/// In `connection` form inputs arrive with spaces around them, and empty where nobody typed: 1.0 trims each
/// scalar before it sends it, and 2.0 does not. A password may well end in a space and is left alone.
fn trim_scalars(arguments: &mut [Value]) {
    let Some(Value::Object(fields)) = arguments.first_mut() else {
        return;
    };
    for (name, value) in fields.iter_mut() {
        if name == "sipPassword" {
            continue;
        }
        if let Value::String(text) = value {
            let trimmed = text.trim();
            if trimmed.is_empty() {
                *value = Value::Null;
            } else if trimmed.len() < text.len() {
                *value = Value::String(trimmed.to_owned());
            }
        }
    }
}
