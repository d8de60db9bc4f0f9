//! What the application's backend is told: [`HookMessage`], one variant per hook.

use crate::bug_report::{
    BugReportStatusHook, ErrorHook, PushLogs, SessionDebug, SessionDebugStatusEvent,
    SubmitBugReport,
};
use crate::call::{CallHook, SendDtmfHook};
use crate::connection::{ConnectHook, ConnectionStatusHook, RegistrationStatusHook};
use crate::context::{Context, HookBody, HookMethod};
use crate::data::{DataStatusEvent, OnDataEvent, SendData};
use crate::field::{FieldFault, Fields, Object};
use crate::message::{MessageObject, SendImdnHook, SendMessageHook};
use crate::stream::{PlayHlsHook, PlayRtspHook, Snapshot, StreamEventHook, StreamHook};
use crate::subscription::{Subscribe, SubscriptionStatusEvent};
use crate::transfer::{Transfer, TransferStatusEvent};
use crate::xcap::{SendXcapRequest, XcapStatusEvent};

macro_rules! hooks {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $variant:ident($type:ty), )* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name { $( $variant($type), )* }

        impl $name {
            /// Which hook to call.
            pub fn method(&self) -> HookMethod {
                match self { $( $name::$variant(_) => HookMethod::$variant, )* }
            }

            /// The request's body.
            pub fn to_text(&self, context: &Context) -> String {
                match self {
                    $( $name::$variant(body) => body_text(context, body), )*
                }
            }

            /// Reads a body, as a backend would.
            pub fn parse(method: HookMethod, text: &str) -> Result<HookBody<$name>, HookError> {
                let mut fields: Fields = serde_json::from_str(text).map_err(|_| HookError::NotAnObject)?;
                let context = Context::read_fields(&mut fields).map_err(HookError::BadField)?;
                let body = match method {
                    $( HookMethod::$variant => Object::read_fields(&mut fields).map($name::$variant), )*
                };
                Ok(HookBody { context, body: body.map_err(HookError::BadField)? })
            }
        }
    };
}

hooks! {
    /// One variant per hook of §5.3. `match` over [`HookMethod`] keeps the two in step.
    pub enum HookMessage {
        Connect(Box<ConnectHook>),
        Call(Box<CallHook>),
        Answer(Box<CallHook>),
        Hangup(Box<CallHook>),
        Hold(Box<CallHook>),
        Unhold(Box<CallHook>),
        Transfer(Transfer),
        SendDtmf(SendDtmfHook),
        SendMessage(Box<SendMessageHook>),
        SendImdn(SendImdnHook),
        Subscribe(Subscribe),
        SendXcapRequest(SendXcapRequest),
        PublishStream(Box<StreamHook>),
        UnPublishStream(Box<StreamHook>),
        PlayStream(Box<StreamHook>),
        StopStream(Box<StreamHook>),
        SendData(SendData),
        SendStreamEvent(StreamEventHook),
        SubmitBugReport(SubmitBugReport),
        Snapshot(Snapshot),
        SessionDebug(SessionDebug),
        PushLogs(PushLogs),
        PlayHls(PlayHlsHook),
        PlayRtsp(PlayRtspHook),
        ConnectionStatusEvent(Box<ConnectionStatusHook>),
        RegistrationStatusEvent(Box<RegistrationStatusHook>),
        CallStatusEvent(Box<CallHook>),
        TransferStatusEvent(TransferStatusEvent),
        MessageStatusEvent(Box<MessageObject>),
        SubscriptionStatusEvent(SubscriptionStatusEvent),
        XcapStatusEvent(XcapStatusEvent),
        StreamStatusEvent(Box<StreamHook>),
        StreamEvent(StreamEventHook),
        StreamKeepAliveEvent(Box<StreamHook>),
        DataStatusEvent(DataStatusEvent),
        BugReportStatusEvent(BugReportStatusHook),
        SessionDebugStatusEvent(SessionDebugStatusEvent),
        ErrorEvent(ErrorHook),
        OnDtmfEvent(SendDtmfHook),
        OnCallEvent(Box<CallHook>),
        OnMessageEvent(Box<MessageObject>),
        OnDataEvent(OnDataEvent),
    }
}

/// Why a hook's body could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookError {
    NotAnObject,
    BadField(FieldFault),
}

impl std::fmt::Display for HookError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HookError::NotAnObject => f.write_str("not a JSON object"),
            HookError::BadField(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for HookError {}

fn body_text<T: Object>(context: &Context, body: &T) -> String {
    /// The two written one after the other as one object.
    struct Both<'a, T>(&'a Context, &'a T);

    impl<T: Object> serde::Serialize for Both<'_, T> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeMap;
            let mut map = serializer.serialize_map(None)?;
            self.0.write_fields(&mut map)?;
            self.1.write_fields(&mut map)?;
            map.end()
        }
    }

    serde_json::to_string(&Both(context, body))
        .expect("maps here have text keys, and a String takes all that is written")
}
