//! Calls by the dial plan: pages without a PBX of their own, and whatever comes in by the operator's lines.

use crate::incoming::Arrival;
use crate::switchboard::Switchboard;
use signaling_sip::time::Instant;
use signaling_trunk::api::{ByLine, Command as Trunk, Refusal};

impl Switchboard {
    pub(crate) fn incoming_by_line(&mut self, arrival: Arrival, by: ByLine, _now: Instant) {
        tracing::info!(line = ?by.line, called = by.called.user, headers = arrival.headers.len(), asserted = by.asserted.is_some(), "no way");
        let status = Some(Refusal {
            status: 404,
            reason: "Not Found".to_owned(),
            ..Refusal::default()
        });
        self.trunk(
            arrival.invite.0,
            Trunk::Hangup {
                invite: arrival.invite,
                status,
            },
        );
    }
}
