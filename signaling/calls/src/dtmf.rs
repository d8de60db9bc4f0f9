//! Digits: a page's `sendDtmf` in its three ways, and those of the far side (protocol §2.9).

use crate::api::SessionId;
use crate::call::Stage;
use crate::limits::DIGITS;
use crate::switchboard::Switchboard;
use media_control::Command as Media;
use signaling_protocol::ServerMessage;
use signaling_protocol::call::{DtmfType, SendDtmf};
use signaling_protocol::connection::Fail;
use signaling_trunk::api::{Failure, InviteId};

/// How long a digit lasts, milliseconds.
const DIGIT_MS: u32 = 160;

impl Switchboard {
    /// An INFO of the far side.
    pub(crate) fn info(&mut self, invite: InviteId, content_type: &str, body: &[u8]) {
        self.picture_info(invite, content_type, body);
    }

    pub(crate) fn info_refused(&mut self, _invite: InviteId, _failure: &Failure) {}

    pub(crate) fn send_dtmf(&mut self, session: SessionId, message: SendDtmf) {
        let Some(key) = self.call_of(session, message.call_id.as_str()) else {
            return;
        };
        let digits = message.dtmf.to_ascii_uppercase();
        let info = if digits.is_empty()
            || digits.len() > DIGITS
            || !digits.bytes().all(|b| b"0123456789*#ABCD".contains(&b))
        {
            "dtmf may hold up to 32 of 0-9 * # A-D"
        } else if !matches!(message.kind, None | Some(DtmfType::Rfc2833)) {
            "DTMF by SIP INFO is not there yet; use RFC2833"
        } else if self
            .calls
            .get(&key)
            .is_none_or(|c| c.stage != Stage::Established)
        {
            "The call is not established"
        } else {
            let Some(leg) = self.calls.get(&key).map(|call| call.far_leg()) else {
                return;
            };
            self.media(
                key,
                Media::SendDigits {
                    leg,
                    digits,
                    duration_ms: DIGIT_MS,
                },
            );
            return;
        };
        self.send(session, ServerMessage::Fail(Fail::error(info)));
    }
}
