//! What the server may send: [`ServerMessage`].

use crate::bug_report::{NotifyBugReport, SessionDebugStatusEvent};
use crate::call::{CallObject, IncomingCall, SetRemoteSdp};
use crate::connection::{Fail, Registered, UserData};
use crate::data::{DataStatusEvent, OnDataEvent};
use crate::envelope::{Envelope, GetVersion, ParseError, messages};
use crate::message::NotifyMessage;
use crate::stream::{
    NotifyStreamEvent, NotifyStreamStatusEvent, NotifyVideoFormat, StreamAvailability, VideoRate,
};
use crate::subscription::SubscriptionStatusEvent;
use crate::transfer::TransferStatusEvent;
use crate::xcap::XcapStatusEvent;

messages! {
    /// What we may tell a client: one variant per message that may be sent (§2.2). Those that wreck a client
    /// (`webRTCMetrics…`, `notifyAudioCodec` and others) have none.
    pub enum ServerMessage {
        nothing [] {
            "ping" Ping,
            "pong" Pong,
        }
        "getUserData" GetUserData(Box<UserData>),
        "getVersion" GetVersion(GetVersion),
        "registered" Registered(Registered),
        "fail" Fail(Fail),
        /// Once for each call or stream, and before `notifyIncomingCall`.
        "setRemoteSDP" SetRemoteSdp(SetRemoteSdp),
        "notifyIncomingCall" NotifyIncomingCall(Box<IncomingCall>),
        "notifyTryingResponse" NotifyTryingResponse(Box<CallObject>),
        "ring" Ring(Box<CallObject>),
        "talk" Talk(Box<CallObject>),
        "hold" Hold(Box<CallObject>),
        "finish" Finish(Box<CallObject>),
        /// For 1.0, just before the `finish` with the same object: 2.0 ignores it.
        "busy" Busy(Box<CallObject>),
        /// For 1.0, which 2.0 ignores.
        "sessionProgress" SessionProgress(Box<CallObject>),
        "notifyTransferEvent" NotifyTransferEvent(TransferStatusEvent),
        "notifyStreamStatusEvent" NotifyStreamStatusEvent(NotifyStreamStatusEvent),
        "notifyVideoFormat" NotifyVideoFormat(NotifyVideoFormat),
        "notifyStreamEvent" NotifyStreamEvent(NotifyStreamEvent),
        "availableStream" AvailableStream(StreamAvailability),
        "outboundVideoRate" OutboundVideoRate(VideoRate),
        "inboundVideoRate" InboundVideoRate(VideoRate),
        "OnDataEvent" OnDataEvent(OnDataEvent),
        "DataStatusEvent" DataStatusEvent(DataStatusEvent),
        "notifySessionDebugEvent" NotifySessionDebugEvent(SessionDebugStatusEvent),
        "notifyBugReport" NotifyBugReport(NotifyBugReport),
        "notifyMessage" NotifyMessage(NotifyMessage),
        "notifySubscription" NotifySubscription(SubscriptionStatusEvent),
        "notifyXcapResponse" NotifyXcapResponse(XcapStatusEvent),
    }
}

impl ServerMessage {
    /// Reads a frame, as a client would; for test clients.
    pub fn parse(text: &str) -> Result<ServerMessage, ParseError> {
        let Envelope { message, arguments } = Envelope::parse(text)?;
        ServerMessage::from_envelope(&message, arguments)
    }

    /// The SIP message behind it, where it has one.
    pub fn sip_message_raw_mut(&mut self) -> Option<&mut Option<String>> {
        match self {
            ServerMessage::Registered(told) => Some(&mut told.sip_message_raw),
            ServerMessage::Fail(fail) => Some(&mut fail.sip_message_raw),
            ServerMessage::NotifyIncomingCall(call) => Some(&mut call.sip_message_raw),
            ServerMessage::NotifyTryingResponse(call)
            | ServerMessage::Ring(call)
            | ServerMessage::Talk(call)
            | ServerMessage::Hold(call)
            | ServerMessage::Finish(call)
            | ServerMessage::Busy(call)
            | ServerMessage::SessionProgress(call) => Some(&mut call.sip_message_raw),
            ServerMessage::NotifyTransferEvent(event) => Some(&mut event.sip_message_raw),
            ServerMessage::NotifyMessage(notify) => Some(&mut notify.message.sip_message_raw),
            ServerMessage::NotifySubscription(event) => Some(&mut event.sip_message_raw),
            ServerMessage::Ping
            | ServerMessage::Pong
            | ServerMessage::GetUserData(_)
            | ServerMessage::GetVersion(_)
            | ServerMessage::SetRemoteSdp(_)
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
            | ServerMessage::NotifyXcapResponse(_)
            | ServerMessage::Unknown { .. } => None,
        }
    }
}
