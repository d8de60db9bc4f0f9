//! The hooks: which there are, and the context that wraps each body (§5).
//!
//! What only the application's backend gets (`nodeId`, `sessionId`, `appKey`) is put around a message here
//! instead of being repeated in each; none of it goes to a browser, but that `getUserData` tells the appKey.

use crate::field::{object, words};

object! {
    /// Where a hook comes from.
    pub struct Context {
        /// 32 alphanumerics, `@`, our address.
        "nodeId" node_id: String,
        "appKey" app_key: String,
        /// `/clientIP:port/serverIP:port-…`. Never the authToken.
        "sessionId" session_id: String,
        /// The page's Origin header.
        "origin" origin: Option<String>,
    }
}

/// A hook's body: one flat JSON object, the context first.
#[derive(Clone, Debug, PartialEq)]
pub struct HookBody<T> {
    pub context: Context,
    pub body: T,
}

words! {
    /// Every hook by its name in the URL (§5.3).
    pub enum HookMethod {
        Connect = "connect",
        Call = "call",
        Answer = "answer",
        Hangup = "hangup",
        Hold = "hold",
        Unhold = "unhold",
        Transfer = "transfer",
        SendDtmf = "sendDtmf",
        SendMessage = "sendMessage",
        SendImdn = "sendIMDN",
        Subscribe = "subscribe",
        SendXcapRequest = "sendXcapRequest",
        PublishStream = "publishStream",
        UnPublishStream = "unPublishStream",
        PlayStream = "playStream",
        StopStream = "stopStream",
        SendData = "sendData",
        SendStreamEvent = "sendStreamEvent",
        SubmitBugReport = "submitBugReport",
        Snapshot = "snapshot",
        SessionDebug = "sessionDebug",
        PushLogs = "pushLogs",
        PlayHls = "playHLS",
        PlayRtsp = "playRTSP",
        ConnectionStatusEvent = "ConnectionStatusEvent",
        RegistrationStatusEvent = "RegistrationStatusEvent",
        CallStatusEvent = "CallStatusEvent",
        TransferStatusEvent = "TransferStatusEvent",
        MessageStatusEvent = "MessageStatusEvent",
        SubscriptionStatusEvent = "SubscriptionStatusEvent",
        XcapStatusEvent = "XcapStatusEvent",
        StreamStatusEvent = "StreamStatusEvent",
        StreamEvent = "StreamEvent",
        StreamKeepAliveEvent = "StreamKeepAliveEvent",
        DataStatusEvent = "DataStatusEvent",
        BugReportStatusEvent = "BugReportStatusEvent",
        SessionDebugStatusEvent = "SessionDebugStatusEvent",
        ErrorEvent = "ErrorEvent",
        /// Ours, not of WCS: a digit that the far side sent.
        OnDtmfEvent = "OnDtmfEvent",
        OnCallEvent = "OnCallEvent",
        OnMessageEvent = "OnMessageEvent",
        OnDataEvent = "OnDataEvent",
    }
}

/// What a hook's error means depends on which of these it is (§5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// An error always refuses the session.
    Connect,
    /// The client asked for something.
    Invocation,
    /// We tell the backend something.
    Event,
    /// The network asks for something.
    Incoming,
}

impl HookMethod {
    /// A method by a name in a configuration, where two of the documents' names are understood too.
    pub fn from_configured(name: &str) -> Option<HookMethod> {
        match name.trim() {
            "sendDTMF" => Some(HookMethod::SendDtmf),
            "sendBugReport" => Some(HookMethod::SubmitBugReport),
            name => HookMethod::from_word(name),
        }
    }

    pub fn kind(self) -> HookKind {
        match self {
            HookMethod::Connect => HookKind::Connect,
            HookMethod::Call
            | HookMethod::Answer
            | HookMethod::Hangup
            | HookMethod::Hold
            | HookMethod::Unhold
            | HookMethod::Transfer
            | HookMethod::SendDtmf
            | HookMethod::SendMessage
            | HookMethod::SendImdn
            | HookMethod::Subscribe
            | HookMethod::SendXcapRequest
            | HookMethod::PublishStream
            | HookMethod::UnPublishStream
            | HookMethod::PlayStream
            | HookMethod::StopStream
            | HookMethod::SendData
            | HookMethod::SendStreamEvent
            | HookMethod::SubmitBugReport
            | HookMethod::Snapshot
            | HookMethod::SessionDebug
            | HookMethod::PushLogs
            | HookMethod::PlayHls
            | HookMethod::PlayRtsp => HookKind::Invocation,
            HookMethod::ConnectionStatusEvent
            | HookMethod::RegistrationStatusEvent
            | HookMethod::CallStatusEvent
            | HookMethod::TransferStatusEvent
            | HookMethod::MessageStatusEvent
            | HookMethod::SubscriptionStatusEvent
            | HookMethod::XcapStatusEvent
            | HookMethod::StreamStatusEvent
            | HookMethod::StreamEvent
            | HookMethod::StreamKeepAliveEvent
            | HookMethod::DataStatusEvent
            | HookMethod::BugReportStatusEvent
            | HookMethod::SessionDebugStatusEvent
            | HookMethod::ErrorEvent
            | HookMethod::OnDtmfEvent => HookKind::Event,
            HookMethod::OnCallEvent | HookMethod::OnMessageEvent | HookMethod::OnDataEvent => {
                HookKind::Incoming
            }
        }
    }
}
