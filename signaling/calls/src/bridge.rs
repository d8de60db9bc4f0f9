//! Calls from line to line: a phone calls a trunk, a trunk a phone. Two SIP legs and no page; both sides speak with
//! us alone (a B2BUA, RFC 7092 §3.1), and nothing of the one is told the other.

use crate::incoming::Arrival;
use crate::switchboard::Switchboard;
use serde::{Deserialize, Serialize};
use signaling_plan::Route;
use signaling_sip::time::Instant;
use signaling_trunk::api::{ByLine, Command as Trunk, Refusal};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bridge {}

impl Switchboard {
    /// Calls what the route says, for a caller that is no page. Not carried out yet: 501.
    #[allow(dead_code)]
    pub(crate) fn bridge(&mut self, arrival: Arrival, _by: ByLine, _route: Route, _now: Instant) {
        let status = Some(Refusal {
            status: 501,
            reason: "Not Implemented".to_owned(),
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
