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
                self.to_text_without(context, &[])
            }

            /// The request's body without these fields; the context is always whole.
            pub fn to_text_without(&self, context: &Context, without: &[String]) -> String {
                match self {
                    $( $name::$variant(body) => body_text(context, body, without), )*
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

impl HookMessage {
    /// The SIP message behind it, where it has one.
    pub fn sip_message_raw_mut(&mut self) -> Option<&mut Option<String>> {
        match self {
            HookMessage::Call(hook)
            | HookMessage::Answer(hook)
            | HookMessage::Hangup(hook)
            | HookMessage::Hold(hook)
            | HookMessage::Unhold(hook)
            | HookMessage::CallStatusEvent(hook)
            | HookMessage::OnCallEvent(hook) => Some(&mut hook.call.sip_message_raw),
            HookMessage::RegistrationStatusEvent(hook) => Some(&mut hook.sip_message_raw),
            HookMessage::TransferStatusEvent(hook) => Some(&mut hook.sip_message_raw),
            HookMessage::MessageStatusEvent(hook) | HookMessage::OnMessageEvent(hook) => {
                Some(&mut hook.sip_message_raw)
            }
            HookMessage::SubscriptionStatusEvent(hook) => Some(&mut hook.sip_message_raw),
            HookMessage::Connect(_)
            | HookMessage::Transfer(_)
            | HookMessage::SendDtmf(_)
            | HookMessage::SendMessage(_)
            | HookMessage::SendImdn(_)
            | HookMessage::Subscribe(_)
            | HookMessage::SendXcapRequest(_)
            | HookMessage::PublishStream(_)
            | HookMessage::UnPublishStream(_)
            | HookMessage::PlayStream(_)
            | HookMessage::StopStream(_)
            | HookMessage::SendData(_)
            | HookMessage::SendStreamEvent(_)
            | HookMessage::SubmitBugReport(_)
            | HookMessage::Snapshot(_)
            | HookMessage::SessionDebug(_)
            | HookMessage::PushLogs(_)
            | HookMessage::PlayHls(_)
            | HookMessage::PlayRtsp(_)
            | HookMessage::ConnectionStatusEvent(_)
            | HookMessage::XcapStatusEvent(_)
            | HookMessage::StreamStatusEvent(_)
            | HookMessage::StreamEvent(_)
            | HookMessage::StreamKeepAliveEvent(_)
            | HookMessage::DataStatusEvent(_)
            | HookMessage::BugReportStatusEvent(_)
            | HookMessage::SessionDebugStatusEvent(_)
            | HookMessage::ErrorEvent(_)
            | HookMessage::OnDtmfEvent(_)
            | HookMessage::OnDataEvent(_) => None,
        }
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

fn body_text<T: Object>(context: &Context, body: &T, without: &[String]) -> String {
    /// The two written one after the other as one object.
    struct Both<'a, T>(&'a Context, &'a T, &'a [String]);

    impl<T: Object> serde::Serialize for Both<'_, T> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeMap;
            let mut map = serializer.serialize_map(None)?;
            self.0.write_fields(&mut map)?;
            if self.2.is_empty() {
                self.1.write_fields(&mut map)?;
            } else {
                self.1.write_fields(&mut Sieve {
                    map: &mut map,
                    without: self.2,
                    key: None,
                })?;
            }
            map.end()
        }
    }

    serde_json::to_string(&Both(context, body, without))
        .expect("maps here have text keys, and a String takes all that is written")
}

/// A map that some fields do not get into.
struct Sieve<'a, M> {
    map: &'a mut M,
    without: &'a [String],
    key: Option<serde_json::Value>,
}

impl<M: serde::ser::SerializeMap> serde::ser::SerializeMap for Sieve<'_, M> {
    type Ok = ();
    type Error = M::Error;

    fn serialize_key<T: ?Sized + serde::Serialize>(&mut self, key: &T) -> Result<(), M::Error> {
        self.key = Some(serde_json::to_value(key).map_err(serde::ser::Error::custom)?);
        Ok(())
    }

    fn serialize_value<T: ?Sized + serde::Serialize>(&mut self, value: &T) -> Result<(), M::Error> {
        match self.key.take() {
            Some(key)
                if key
                    .as_str()
                    .is_some_and(|k| self.without.iter().any(|w| w == k)) =>
            {
                Ok(())
            }
            Some(key) => self.map.serialize_entry(&key, value),
            None => Err(serde::ser::Error::custom("a value without its key")),
        }
    }

    fn end(self) -> Result<(), M::Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_of_a_body_is_never_its_context() {
        let context = Context {
            node_id: "n".into(),
            app_key: "a".into(),
            session_id: "s".into(),
            origin: None,
        };
        let hook = HookMessage::ErrorEvent(ErrorHook {
            info: "x".into(),
            custom: Some(serde_json::json!({"info": 1})),
        });
        let without = ["info", "appKey"].map(str::to_owned);
        assert_eq!(
            hook.to_text_without(&context, &without),
            r#"{"nodeId":"n","appKey":"a","sessionId":"s","custom":{"info":1}}"#
        );
    }
}
