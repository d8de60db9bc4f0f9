//! A ringback of our own, for the page of a call that rings while the PBX sends no sound.
//!
//! It is heard only if the browser has been answered, so that is done a second after RING (protocol §2.4 allows it any
//! time after TRYING). Its codec is then chosen before the PBX's is known: the one that the account's SIP side spoke
//! last, at first G.711, which nearly every PBX takes. All common codecs stand in the answer, so that the way to
//! the browser never needs more than it must; where the PBX takes another one, the way from it is transcoded.

use crate::api::Ringback;
use crate::call::{CallKey, RINGBACKS, SipLeg, Stage, Standing};
use crate::limits::RINGBACK_AFTER;
use crate::switchboard::Switchboard;
use crate::timers::Timer;
use media_control::{Codec, Command as Media, Format, LegId, LegSpec, Source};
use signaling_sip::time::Instant;

/// As loud as networks make it (ITU-T E.180 allows -5 to -15 dBm0 and more at the far end).
const DBM0: f32 = -15.0;

impl Switchboard {
    /// Plays the ringback if the page should hear one: the far leg rings, and no early media is heard. A page that has
    /// no answer yet hears it a moment later: whoever answers at once settles its codec by the answer.
    pub(crate) fn ring_back(&mut self, key: CallKey, now: Instant) {
        let open = |call: &crate::call::Call| call.browser.formats.is_empty();
        if self.config.ringback == Ringback::Off || !self.calls.get(&key).is_some_and(open) {
            return self.ring_back_now(key, now);
        }
        if !self.timers.is_set(Timer::Ringback(key.0)) {
            self.timers
                .set(Timer::Ringback(key.0), now + RINGBACK_AFTER);
        }
    }

    pub(crate) fn ring_back_now(&mut self, key: CallKey, now: Instant) {
        let Some(source) = tone(self.config.ringback) else {
            return;
        };
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let rings = |sip: &SipLeg| {
            sip.standing == Standing::New && sip.placed && sip.rings && sip.heard.is_none()
        };
        let waits = matches!(call.stage, Stage::Calling | Stage::Established);
        if !waits || !call.sip().is_some_and(rings) || call.ringback.is_some() {
            return;
        }
        if call.ringbacks >= RINGBACKS || call.incoming && call.stage != Stage::Established {
            return;
        }
        // A page that shows pictures is answered once, too: not before it is known whether the far side has any.
        let settled = !call.browser.formats.is_empty();
        let shows = |call: &crate::call::Call| {
            let page = call.browser.description.as_ref();
            page.is_some_and(|page| page.pictures.is_some())
        };
        if !settled && shows(call) {
            return;
        }
        let likely = self.likely(key);
        self.settle_browser(key, &likely, None, now);
        let Some(call) = self
            .calls
            .get_mut(&key)
            .filter(|c| c.stage != Stage::Ending)
        else {
            return;
        };
        call.ringbacks += 1;
        let leg = key.ringback_leg(call.ringbacks);
        let spec = LegSpec::Source(source);
        let group = key.group();
        self.media(key, Media::CreateLeg { leg, group, spec });
        self.join(key, leg);
        if let Some(call) = self.calls.get_mut(&key) {
            call.ringback = Some(leg);
        }
    }

    /// Our own offer, what the SIP side will most likely take of it first.
    pub(crate) fn likely(&self, key: CallKey) -> Vec<Format> {
        let Some(call) = self.calls.get(&key) else {
            return Vec::new();
        };
        let mut formats = call.sip().map(|s| s.offered.clone()).unwrap_or_default();
        let user = self
            .sessions
            .get(&call.session)
            .and_then(|s| s.user.as_ref());
        let last = user.and_then(|user| user.far_codec.clone());
        let rank = |format: &Format| match &format.codec {
            codec if last.as_ref() == Some(codec) => 0,
            Codec::Pcmu | Codec::Pcma => 1,
            _ => 2,
        };
        // Stable: within a rank the offer's own order stands.
        formats.sort_by_key(rank);
        formats
    }

    /// Media lost a leg that is only a ringback: the call rings on in silence.
    pub(crate) fn ringback_is_gone(&mut self, leg: LegId) -> bool {
        let key = CallKey::of_leg(leg);
        let Some(call) = self.calls.get_mut(&key) else {
            return false;
        };
        if !(1..=RINGBACKS).any(|nth| key.ringback_leg(nth) == leg) {
            return false;
        }
        if call.ringback.take_if(|playing| *playing == leg).is_some() {
            call.joined.take_if(|joined| *joined == leg);
        }
        true
    }
}

fn tone(of: Ringback) -> Option<Source> {
    let (tones_hz, on_off_ms) = match of {
        Ringback::Off => return None,
        Ringback::Eu => (vec![425.0], vec![(1000, 4000)]),
        Ringback::Us => (vec![440.0, 480.0], vec![(2000, 4000)]),
        Ringback::Gb => (vec![400.0, 450.0], vec![(400, 200), (400, 2000)]),
    };
    Some(Source::Ringback {
        tones_hz,
        on_off_ms,
        dbm0: DBM0,
    })
}
