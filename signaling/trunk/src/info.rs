//! INFO inside a dialog: digits and picture requests (RFC 6086 §3, legacy usage; RFC 5168).

use crate::agent::Agent;
use crate::api::{Cause, Event, Failure, InviteId};
use signaling_sip::time::Instant;

impl Agent {
    pub(crate) fn send_info(
        &mut self,
        invite: InviteId,
        _content_type: String,
        _body: Vec<u8>,
        _now: Instant,
    ) {
        let failure = Failure {
            cause: Cause::BadRequest,
            reason: "INFO is not there yet".into(),
            ..Failure::default()
        };
        self.event(Event::InfoRefused { invite, failure });
    }
}
