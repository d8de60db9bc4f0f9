//! Calls: what a client asks (§2.4 to §2.7, §2.9), the call object that tells it how they fare, and the
//! bodies of the hooks `call`, `answer`, `OnCallEvent`, `CallStatusEvent` and the like.

use crate::connection::MediaProvider;
use crate::field::{Fault, FieldFault, Fields, Object, object, take, words};
use crate::ids::CallId;
use serde::ser::SerializeMap;
use serde_json::Value;
use std::collections::BTreeMap;

object! {
    /// `call`: an outgoing call with the browser's offer.
    pub struct Call {
        "callId" call_id: CallId,
        "incoming" incoming: Option<bool>,
        /// What local tracks there are, and both true if there are none: trust the SDP.
        "hasVideo" has_video: Option<bool>,
        "hasAudio" has_audio: Option<bool>,
        "status" status: Option<CallStatus>,
        "mediaProvider" media_provider: Option<MediaProvider>,
        /// Absent in a 1.0 MSRP call.
        "sdp" sdp: Option<String>,
        /// Lines for the SIP side's offer.
        "sipSDP" sip_sdp: Option<Vec<String>>,
        /// Header lines for the INVITE; the SDK has the option and never sends it.
        "sipHeaders" sip_headers: Option<Vec<String>>,
        "caller" caller: Option<String>,
        /// Number, SIP URI or tel URI, as typed.
        "callee" callee: Option<String>,
        "visibleName" visible_name: Option<String>,
        "custom" custom: Option<Value>,
        /// 1.0 and mobile: parameters for the INVITE's Request-URI.
        "inviteParameters" invite_parameters: Option<BTreeMap<String, String>>,
        "isMsrp" is_msrp: Option<bool>,
        "receiveVideo" receive_video: Option<bool>,
        /// The page's devices and tracks, for debugging.
        "localMediaInfo" local_media_info: Option<Value>,
    }
}

object! {
    /// `answer`: the browser takes an incoming call, with its answer to our offer.
    pub struct Answer {
        "callId" call_id: CallId,
        "incoming" incoming: Option<bool>,
        /// Always true in 2.0: look at the SDP.
        "hasVideo" has_video: Option<bool>,
        "hasAudio" has_audio: Option<bool>,
        "status" status: Option<CallStatus>,
        "mediaProvider" media_provider: Option<MediaProvider>,
        "sdp" sdp: Option<String>,
        "sipSDP" sip_sdp: Option<Vec<String>>,
        "caller" caller: Option<String>,
        "callee" callee: Option<String>,
        "visibleName" visible_name: Option<String>,
        "custom" custom: Option<Value>,
        "isMsrp" is_msrp: Option<bool>,
        "localMediaInfo" local_media_info: Option<Value>,
    }
}

object! {
    /// `hangup`. For an unknown call it is to be ignored.
    pub struct Hangup {
        "callId" call_id: CallId,
        /// Mobile only, which sends the whole call object.
        "hasVideo" has_video: Option<bool>,
        "custom" custom: Option<Value>,
    }
}

object! {
    /// `hold`.
    pub struct Hold {
        "callId" call_id: CallId,
        /// The call is about to be the transferor's.
        "holdForTransfer" hold_for_transfer: Option<bool>,
        "hasVideo" has_video: Option<bool>,
    }
}

object! {
    /// `unhold`.
    pub struct Unhold {
        "callId" call_id: CallId,
        "hasVideo" has_video: Option<bool>,
    }
}

object! {
    /// `sendDtmf`; the seed writes `sendDTMF`.
    pub struct SendDtmf {
        "callId" call_id: CallId,
        /// Absent or strange: [`DtmfType::Rfc2833`].
        "type" kind: Option<DtmfType>,
        /// One symbol or several, to be sent in turn.
        "dtmf" dtmf: String,
    }
}

words! {
    /// How a digit travels on the SIP side (§2.9).
    pub enum DtmfType {
        /// telephone-event in the media (RFC 4733, which replaced RFC 2833).
        Rfc2833 = "RFC2833",
        /// SIP INFO with `application/dtmf`.
        Info = "INFO",
        /// SIP INFO with `application/dtmf-relay`.
        InfoRelay = "INFO_RELAY",
    }
}

words! {
    /// Statuses of a call (§4.1).
    pub enum CallStatus {
        /// Local to the client, before `call` or `answer`.
        New = "NEW",
        Pending = "PENDING",
        Trying = "TRYING",
        Ring = "RING",
        /// 180 with SDP.
        RingMedia = "RING_MEDIA",
        /// 183.
        SessionProgress = "SESSION_PROGRESS",
        Established = "ESTABLISHED",
        Hold = "HOLD",
        Busy = "BUSY",
        Finish = "FINISH",
        Failed = "FAILED",
    }
}

impl CallStatus {
    /// After this the client has forgotten the call.
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            CallStatus::Busy | CallStatus::Finish | CallStatus::Failed
        )
    }
}

object! {
    /// The call object of `notifyTryingResponse`, `ring`, `talk`, `hold`, `finish`, `busy` and
    /// `sessionProgress` (§2.4). 2.0 reads callId and status, older clients the rest.
    ///
    /// There is no `sdp` in it: SDP goes by `setRemoteSDP` alone.
    pub struct CallObject {
        "callId" call_id: CallId,
        "parentCallId" parent_call_id: Option<CallId>,
        "incoming" incoming: Option<bool>,
        "status" status: CallStatus,
        "sipStatus" sip_status: Option<u16>,
        "caller" caller: Option<String>,
        "callee" callee: Option<String>,
        "visibleName" visible_name: Option<String>,
        "hasAudio" has_audio: Option<bool>,
        "hasVideo" has_video: Option<bool>,
        /// Required: 1.0 indexes by it on `talk` and `hold`.
        "mediaProvider" media_provider: MediaProvider,
        "isMsrp" is_msrp: Option<bool>,
        "holdForTransfer" hold_for_transfer: Option<bool>,
        "inviteParameters" invite_parameters: Option<BTreeMap<String, String>>,
        "info" info: Option<String>,
        "sipMessageRaw" sip_message_raw: Option<String>,
        "custom" custom: Option<Value>,
    }
}

impl CallObject {
    /// A WebRTC call of which no more is told than its status.
    pub fn new(call_id: CallId, status: CallStatus) -> CallObject {
        CallObject {
            call_id,
            parent_call_id: None,
            incoming: None,
            status,
            sip_status: None,
            caller: None,
            callee: None,
            visible_name: None,
            has_audio: None,
            has_video: None,
            media_provider: MediaProvider::WebRtc,
            is_msrp: None,
            hold_for_transfer: None,
            invite_parameters: None,
            info: None,
            sip_message_raw: None,
            custom: None,
        }
    }
}

/// `notifyIncomingCall`: announces a call whose offer the client already has (§2.5).
///
/// The SDK feeds this object to its own `createCall`, so a field named `constraints`, `logger`,
/// `localVideoDisplay`, `remoteVideoDisplay`, `receiveAudio`, `receiveVideo`, `sdpHook` or `stripCodecs`
/// would be taken for a page's option. The struct cannot carry one. `incoming` is always true and `status`
/// PENDING: without the first a hangup is not sent.
#[derive(Clone, Debug, PartialEq)]
pub struct IncomingCall {
    pub call_id: CallId,
    pub parent_call_id: Option<CallId>,
    pub caller: String,
    pub callee: String,
    pub visible_name: String,
    pub has_audio: bool,
    pub has_video: bool,
    pub is_msrp: bool,
    pub invite_parameters: Option<BTreeMap<String, String>>,
    pub sip_message_raw: Option<String>,
    pub custom: Option<Value>,
}

impl Object for IncomingCall {
    fn read_fields(fields: &mut Fields) -> Result<Self, FieldFault> {
        let wrong = |field, what| FieldFault {
            field,
            fault: Fault::Expected(what),
        };
        if !take::<bool>(fields, "incoming")? {
            return Err(wrong("incoming", "true"));
        }
        if take::<CallStatus>(fields, "status")? != CallStatus::Pending {
            return Err(wrong("status", "PENDING"));
        }
        match take(fields, "mediaProvider")? {
            None | Some(MediaProvider::WebRtc) => {}
            Some(_) => return Err(wrong("mediaProvider", "WebRTC")),
        }
        Ok(IncomingCall {
            call_id: take(fields, "callId")?,
            parent_call_id: take(fields, "parentCallId")?,
            caller: take(fields, "caller")?,
            callee: take(fields, "callee")?,
            visible_name: take(fields, "visibleName")?,
            has_audio: take(fields, "hasAudio")?,
            has_video: take(fields, "hasVideo")?,
            is_msrp: take::<Option<bool>>(fields, "isMsrp")?.unwrap_or(false),
            invite_parameters: take(fields, "inviteParameters")?,
            sip_message_raw: take(fields, "sipMessageRaw")?,
            custom: take(fields, "custom")?,
        })
    }

    fn write_fields<S: SerializeMap>(&self, map: &mut S) -> Result<(), S::Error> {
        use crate::field::Field;
        self.call_id.write("callId", map)?;
        self.parent_call_id.write("parentCallId", map)?;
        true.write("incoming", map)?;
        CallStatus::Pending.write("status", map)?;
        self.caller.write("caller", map)?;
        self.callee.write("callee", map)?;
        self.visible_name.write("visibleName", map)?;
        self.has_audio.write("hasAudio", map)?;
        self.has_video.write("hasVideo", map)?;
        MediaProvider::WebRtc.write("mediaProvider", map)?;
        self.is_msrp.write("isMsrp", map)?;
        self.invite_parameters.write("inviteParameters", map)?;
        self.sip_message_raw.write("sipMessageRaw", map)?;
        self.custom.write("custom", map)
    }
}

crate::field::serde_by_object!(IncomingCall);

/// `setRemoteSDP`: the one description that a call or stream ever gets from us. Three arguments on the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct SetRemoteSdp {
    /// callId or mediaSessionId.
    pub id: String,
    pub sdp: String,
    /// Whether the receiver began: true with an answer, false with an offer of ours. 2.0 does not look.
    pub initiator: bool,
}

object! {
    /// Body of the hooks `call`, `answer`, `hangup`, `hold`, `unhold`, `OnCallEvent` and `CallStatusEvent`.
    pub struct CallHook {
        "sdp" sdp: Option<String>,
        "target" target: Option<String>,
        .. call: CallObject,
    }
}

object! {
    /// Body of the hook `sendDtmf`.
    pub struct SendDtmfHook {
        "callId" call_id: CallId,
        "dtmf" dtmf: String,
        "type" kind: DtmfType,
        "custom" custom: Option<Value>,
    }
}
