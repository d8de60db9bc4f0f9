//! Calls that come in by the operator's lines: the dial plan says whom they are for.

use crate::admission::Refused;
use crate::call::CallKey;
use crate::incoming::Arrival;
use crate::negotiate::read_offer;
use crate::switchboard::Switchboard;
use signaling_plan::{Caller, Destination, Route, Scope};
use signaling_sip::message::asks_for_privacy;
use signaling_sip::time::Instant;
use signaling_trunk::api::{ByLine, Command as Trunk, InviteId, Line, Refusal};

impl Switchboard {
    pub(crate) fn incoming_by_line(&mut self, arrival: Arrival, by: ByLine, now: Instant) {
        if let Some(replaced) = arrival.replaces {
            return self.asks_to_replace(arrival, replaced);
        }
        let invite = arrival.invite;
        match self.route_arrival(&arrival, &by, now) {
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

    /// What the plan and the limits say, booked if they let it through.
    fn route_arrival(
        &mut self,
        arrival: &Arrival,
        by: &ByLine,
        now: Instant,
    ) -> Result<Route, Refused> {
        if self.shutting_down || !self.media_up {
            return Err(Refused::later(503, "The gateway cannot take calls now", 10));
        }
        let (caller, mut scopes) = match &by.line {
            Line::Trunk(name) => (
                Caller::Trunk(name.clone()),
                vec![Scope::Trunk(name.clone())],
            ),
            Line::Phone(user) => (
                Caller::Phone(user.clone()),
                vec![Scope::Account(user.clone())],
            ),
        };
        scopes.push(Scope::Source(crate::callers::source(arrival.source.ip())));
        let route = self.way(&caller, &by.called.user, CallKey(arrival.invite.0))?;
        self.has_room(route.emergency, now)?;
        let ticket = self.book(&scopes, route.emergency, now)?;
        if route.emergency {
            self.alarm(&format!("{:?}", by.line), &route.number);
        }
        self.booked
            .insert(arrival.invite, ticket.into_iter().collect());
        Ok(route)
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
            let description = match arrival
                .sdp
                .as_deref()
                .map(|sdp| read_offer(sdp, &profile))
                .transpose()
            {
                Ok(description) => description,
                Err(error) => {
                    tracing::info!(invite = arrival.invite.0, %error, "an offer that cannot be served");
                    let refused = Refused::sip(488, "Not Acceptable Here");
                    return self.refuse_by_line(arrival.invite, &refused);
                }
            };
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
    let private = arrival.headers.iter().any(|header| {
        header.name.eq_ignore_ascii_case("Privacy") && asks_for_privacy(header.value.as_bytes())
    });
    match &by.asserted {
        Some(asserted) if !private => asserted,
        _ => &arrival.from,
    }
}
