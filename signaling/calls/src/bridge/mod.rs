//! Calls from line to line: a phone calls a trunk, a trunk a phone. Two SIP legs and no page; both sides speak with
//! us alone (a B2BUA, RFC 7092 §3.1), and nothing of the one is told the other but what is listed in [`passing`].
//!
//! What a side said last decides what the other one is told: its codecs first, so that packets are relayed where they
//! can be, and its direction, so that a hold reaches the ear that is held ([`midcall`]).

mod digits;
mod early;
mod ending;
mod midcall;
mod negotiating;
mod passing;
mod referring;
mod setting_up;
mod state;

pub(crate) use state::Bridge;

use crate::call::CallKey;
use crate::incoming::Arrival;
use crate::switchboard::Switchboard;
use media_control::Event as Media;
use signaling_plan::Route;
use signaling_sip::time::Instant;
use signaling_trunk::api::Event;
use state::Stage;

impl Switchboard {
    /// An INVITE by a line, sent the way of `route` whatever the plan says. For tests.
    #[doc(hidden)]
    pub fn bridge_for_test(&mut self, event: Event, route: Route, now: Instant) {
        if let Event::Incoming {
            invite,
            account,
            from,
            to,
            sdp,
            headers,
            source,
            raw,
            replaces,
            by_line: Some(by),
        } = event
        {
            let arrival = Arrival {
                invite,
                account,
                from,
                to,
                sdp,
                source,
                raw,
                replaces,
                headers,
                line: Some(by.line.clone()),
            };
            self.bridge(arrival, *by, route, now);
        }
    }

    /// The bridge that an event of the trunk is about, if it is about one.
    pub(crate) fn bridge_of_event(&self, event: &Event) -> Option<CallKey> {
        let key = self.by_invite.get(&event.invite()?).copied()?;
        self.bridges.contains_key(&key).then_some(key)
    }

    /// The bridge that an event of media is about, if it is about one.
    pub(crate) fn bridge_of_media(&self, event: &Media) -> Option<CallKey> {
        let leg = match event {
            Media::LegCreated { leg, .. }
            | Media::LegFailed { leg, .. }
            | Media::LegConnected { leg }
            | Media::MediaStarted { leg }
            | Media::MediaSilent { leg, .. }
            | Media::Digit { leg, .. }
            | Media::KeyFrameWanted { leg }
            | Media::LegClosed { leg, .. } => *leg,
            Media::Load(_) => return None,
        };
        let key = CallKey::of_leg(leg);
        self.bridges.contains_key(&key).then_some(key)
    }

    /// Does something with a bridge; what is then owed by nobody is put away.
    pub(crate) fn with_bridge(
        &mut self,
        key: CallKey,
        now: Instant,
        work: impl FnOnce(&mut Switchboard, &mut Bridge),
    ) {
        let Some(mut bridge) = self.bridges.remove(&key) else {
            return;
        };
        work(self, &mut bridge);
        self.tidy_bridge(&mut bridge);
        if bridge.is_settled() {
            self.forget_bridge(bridge, now);
        } else {
            self.bridges.insert(key, bridge);
        }
    }

    pub(crate) fn bridge_trunk_event(&mut self, key: CallKey, event: Event, now: Instant) {
        self.with_bridge(key, now, |board, bridge| match event {
            Event::Progress {
                invite,
                fork,
                status,
                sdp,
                source,
                ..
            } => board.bridge_progress(bridge, (invite, fork), status, sdp, source),
            Event::Answered {
                invite,
                fork,
                sdp,
                late,
                source,
                ..
            } => board.bridge_answered(bridge, (invite, fork), sdp, late, source, now),
            Event::Acknowledged { invite, sdp } => {
                board.bridge_acknowledged(bridge, invite, sdp, now);
            }
            Event::Offered {
                invite,
                offer,
                sdp,
                source,
                fork,
                ..
            } => board.bridge_offered(bridge, invite, (offer, fork), sdp, source),
            Event::OfferAcknowledged { invite, offer, sdp } => {
                board.bridge_offer_acknowledged(bridge, invite, offer, sdp);
            }
            Event::OfferAnswered {
                invite,
                sdp,
                source,
                ..
            } => board.bridge_offer_answered(bridge, invite, sdp, source),
            Event::OfferRefused { invite, failure } => {
                board.bridge_offer_refused(bridge, invite, &failure);
            }
            Event::Referred {
                invite,
                refer,
                target,
                replaces,
                ..
            } => {
                let asked = referring::Asked {
                    invite,
                    refer,
                    target,
                    replaces: replaces.is_some(),
                };
                board.bridge_referred(bridge, asked, now);
            }
            Event::Info {
                invite,
                content_type,
                body,
            } => board.bridge_info(bridge, invite, &content_type, &body),
            Event::Ended { invite, end } => board.bridge_leg_ended(bridge, invite, &end, now),
            // No REFER and no picture is ours; whoever takes no INFO with a digit goes without.
            Event::ReferAccepted { .. }
            | Event::ReferNotified { .. }
            | Event::ReferRefused { .. }
            | Event::InfoRefused { .. } => {}
            Event::Incoming { .. }
            | Event::Line { .. }
            | Event::Registered { .. }
            | Event::Unregistered { .. }
            | Event::RegistrationFailed { .. } => {}
        });
    }

    pub(crate) fn bridge_media_event(&mut self, key: CallKey, event: Media, now: Instant) {
        self.with_bridge(key, now, |board, bridge| match event {
            Media::LegCreated { leg, local } => board.bridge_leg_created(bridge, leg, local, now),
            Media::LegFailed { leg, reason } => {
                board.bridge_leg_failed(bridge, leg, &reason, now);
            }
            Media::LegClosed { leg, stats } => bridge.note_closed(leg, Some(stats)),
            Media::MediaSilent { leg, seconds } => {
                board.bridge_is_silent(bridge, leg, seconds, now);
            }
            Media::LegConnected { .. }
            | Media::MediaStarted { .. }
            | Media::Digit { .. }
            | Media::KeyFrameWanted { .. }
            | Media::Load(_) => {}
        });
    }

    /// Nobody answers.
    pub(crate) fn bridge_rings_too_long(&mut self, key: CallKey, now: Instant) {
        self.with_bridge(key, now, |board, bridge| {
            if matches!(bridge.stage, Stage::AwaitingLegs | Stage::Calling) {
                board.end_bridge(bridge, ending::Finish::no_answer(), now);
            }
        });
    }
}
