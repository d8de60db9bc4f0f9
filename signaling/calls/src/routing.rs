//! Calls that come in by the operator's lines: the dial plan says whom they are for.

use crate::admission::Refused;
use crate::call::CallKey;
use crate::incoming::Arrival;
use crate::negotiate::read_offer;
use crate::switchboard::Switchboard;
use signaling_plan::{Caller, Destination, Presented, Route, Scope};
use signaling_sip::message::asks_for_privacy;
use signaling_sip::time::Instant;
use signaling_trunk::api::{ByLine, Command as Trunk, InviteId, Line, Refusal};

impl Switchboard {
    pub(crate) fn incoming_by_line(&mut self, arrival: Arrival, by: ByLine, now: Instant) {
        if let Some(replaced) = arrival.replaces {
            return self.asks_to_replace(arrival, replaced);
        }
        let invite = arrival.invite;
        match self.route_arrival(&arrival, &by) {
            Ok(route) => self.carry_out(arrival, by, route, now),
            Err(refused) => {
                tracing::info!(
                    line = ?by.line,
                    called = by.called.user,
                    why = refused.info,
                    "a call by a line is refused"
                );
                self.refuse_by_line(invite, &refused);
            }
        }
    }

    fn route_arrival(&self, arrival: &Arrival, by: &ByLine) -> Result<Route, Refused> {
        if self.shutting_down || !self.media_up {
            return Err(Refused::later(503, "The gateway cannot take calls now", 10));
        }
        let caller = match &by.line {
            Line::Trunk(name) => Caller::Trunk(name.clone()),
            Line::Phone(user) => Caller::Phone(user.clone()),
        };
        let presented = Presented {
            from_user: arrival.from.user.clone(),
            asserted_user: by.asserted.as_ref().map(|asserted| asserted.user.clone()),
            privacy: privacy(arrival).map(str::to_owned),
        };
        let lot = CallKey(arrival.invite.0);
        self.way_as(&caller, &presented, &by.called.user, lot)
    }

    /// Books a call that is for sessions.
    fn book_arrival(
        &mut self,
        arrival: &Arrival,
        by: &ByLine,
        emergency: bool,
        now: Instant,
    ) -> Result<(), Refused> {
        let line = match &by.line {
            Line::Trunk(name) => Scope::Trunk(name.clone()),
            Line::Phone(user) => Scope::Account(user.clone()),
        };
        let source = Scope::Source(crate::callers::source(arrival.source.ip()));
        self.has_room(emergency, now)?;
        let ticket = self.book(&[line, source], emergency, now)?;
        self.booked
            .insert(arrival.invite, ticket.into_iter().collect());
        Ok(())
    }

    /// The first way that leads anywhere.
    fn carry_out(&mut self, arrival: Arrival, by: ByLine, mut route: Route, now: Instant) {
        let mut busy = false;
        while let Some(attempt) = route.attempts.first() {
            if matches!(attempt.to, Destination::Trunk(_) | Destination::Phone(_)) {
                return self.bridge(arrival, by, route, now);
            }
            let found = self.sessions_at(&attempt.to);
            let free: Vec<_> = found
                .iter()
                .copied()
                .filter(|session| self.has_hands_free(*session))
                .collect();
            busy |= !found.is_empty();
            if free.is_empty() {
                route.attempts.remove(0);
                continue;
            }
            let profile = self.profile_of(&by.line);
            let offer = arrival.sdp.as_deref();
            let offer = offer.map(|sdp| read_offer(sdp, &profile)).transpose();
            let description = match offer {
                Ok(description) => description,
                Err(error) => {
                    tracing::info!(invite = arrival.invite.0, %error, "an offer that cannot be served");
                    let refused = Refused::sip(488, "Not Acceptable Here");
                    return self.refuse_by_line(arrival.invite, &refused);
                }
            };
            if let Err(refused) = self.book_arrival(&arrival, &by, route.emergency, now) {
                return self.refuse_by_line(arrival.invite, &refused);
            }
            return self.ring_sessions(arrival, &by, &route, &free, description, now);
        }
        let (status, info) = match busy {
            true => (486, "Busy Here"),
            false => (480, "Temporarily Unavailable"),
        };
        self.refuse_by_line(arrival.invite, &Refused::sip(status, info));
    }

    /// The status and its own phrase: why we refuse is for the log, not for the line.
    pub(crate) fn refuse_by_line(&mut self, invite: InviteId, refused: &Refused) {
        let status = refused.sip_status.unwrap_or(480);
        let status = Some(Refusal {
            status,
            reason: crate::ending::reason(status).to_owned(),
            retry_after_s: refused.retry_after_s,
        });
        self.trunk(invite.0, Trunk::Hangup { invite, status });
    }
}

/// Who calls, as a page may see it: what the line asserts, unless the caller wants that kept (RFC 3325 §7), else From.
pub(crate) fn shown<'a>(
    arrival: &'a Arrival,
    by: &'a ByLine,
) -> &'a signaling_trunk::api::Identity {
    let private = privacy(arrival).is_some_and(|value| asks_for_privacy(value.as_bytes()));
    match &by.asserted {
        Some(asserted) if !private => asserted,
        _ => &arrival.from,
    }
}

fn privacy(arrival: &Arrival) -> Option<&str> {
    let mut headers = arrival.headers.iter();
    let header = headers.find(|header| header.name.eq_ignore_ascii_case("Privacy"))?;
    Some(&header.value)
}
