//! Pictures: requests for a whole one that cross between RTCP and SIP INFO (RFC 5168).

use crate::switchboard::Switchboard;
use media_control::LegId;

impl Switchboard {
    pub(crate) fn key_frame_wanted(&mut self, _leg: LegId) {}
}
