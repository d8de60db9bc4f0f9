//! Digits between two SIP sides. Those in the media pass there (RFC 4733), or as tones; those by INFO become events where
//! the other side takes them, and INFO where it does not.

use super::state::{Bridge, Stage};
use crate::dtmf::{self, DTMF, DTMF_RELAY};
use crate::switchboard::Switchboard;
use media_control::Command as Media;
use signaling_protocol::call::DtmfType;
use signaling_trunk::api::{Command as Trunk, InviteId};

impl Switchboard {
    pub(crate) fn bridge_info(
        &mut self,
        bridge: &mut Bridge,
        invite: InviteId,
        content_type: &str,
        body: &[u8],
    ) {
        let key = bridge.key;
        let established = bridge.stage == Stage::Established;
        let Some((pressed, kind)) = dtmf::read(content_type, body) else {
            return;
        };
        let Some((_, other)) = bridge.pair(invite).filter(|_| established) else {
            return;
        };
        if dtmf::takes_digits(&other.sip).is_ok() {
            let command = Media::SendDigits {
                leg: other.sip.leg,
                digits: pressed.digit.to_string(),
                duration_ms: pressed.duration_ms,
            };
            return self.media(key, command);
        }
        let (content_type, body) = match kind {
            DtmfType::InfoRelay => (
                DTMF_RELAY,
                format!(
                    "Signal={}\r\nDuration={}\r\n",
                    pressed.digit, pressed.duration_ms
                ),
            ),
            DtmfType::Info | DtmfType::Rfc2833 => (DTMF, pressed.digit.to_string()),
        };
        let command = Trunk::Info {
            invite: other.sip.invite,
            content_type: content_type.to_owned(),
            body: body.into_bytes(),
        };
        self.trunk(key.0, command);
    }
}
