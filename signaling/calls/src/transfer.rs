//! Transfer: a page's `transfer` as REFER, and the far side's REFER followed by us (protocol §2.8).

use crate::switchboard::Switchboard;
use signaling_sip::time::Instant;
use signaling_trunk::api::{Command as Trunk, Failure, InviteId, ReferId};

impl Switchboard {
    pub(crate) fn refer_accepted(
        &mut self,
        _invite: InviteId,
        _refer: ReferId,
        _status: u16,
        _raw: String,
    ) {
    }

    pub(crate) fn refer_notified(
        &mut self,
        _invite: InviteId,
        _refer: ReferId,
        (_status, _reason, _over): (u16, &str, bool),
        _raw: String,
        _now: Instant,
    ) {
    }

    pub(crate) fn refer_refused(&mut self, _invite: InviteId, _refer: ReferId, _failure: Failure) {}

    pub(crate) fn referred(
        &mut self,
        invite: InviteId,
        refer: ReferId,
        (_target, _replaces, _referred_by): (String, Option<String>, Option<String>),
        _raw: String,
        _now: Instant,
    ) {
        let status = 501;
        self.trunk(
            invite.0,
            Trunk::RefuseRefer {
                invite,
                refer,
                status,
            },
        );
    }
}
