//! REFER and its NOTIFYs, ours and theirs (RFC 3515, RFC 3891, RFC 3892, RFC 5589).

use crate::agent::Agent;
use crate::api::{Cause, Event, Failure, InviteId, ReferId, ReferTo};
use signaling_sip::time::Instant;

impl Agent {
    pub(crate) fn refer(&mut self, invite: InviteId, refer: ReferId, _to: ReferTo, _now: Instant) {
        let failure = Failure {
            cause: Cause::BadRequest,
            reason: "REFER is not there yet".into(),
            ..Failure::default()
        };
        self.event(Event::ReferRefused {
            invite,
            refer,
            failure,
        });
    }

    pub(crate) fn accept_refer(&mut self, _invite: InviteId, _refer: ReferId, _now: Instant) {}

    pub(crate) fn refuse_refer(
        &mut self,
        _invite: InviteId,
        _refer: ReferId,
        _status: u16,
        _now: Instant,
    ) {
    }

    pub(crate) fn notify_refer(
        &mut self,
        _invite: InviteId,
        _refer: ReferId,
        _status: u16,
        _reason: &str,
        _now: Instant,
    ) {
    }
}
