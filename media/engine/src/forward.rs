//! Which way a packet goes: chosen when legs are joined or described, looked up per packet.

use media_control::{Codec, Format, MediaKind, RemoteMedia};

/// What happens to packets of one payload type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Road {
    /// Not negotiated, or nothing on the other side to take it.
    #[default]
    Drop,
    /// The payload stays as it is.
    Relay { out_pt: u8, kind: MediaKind },
    /// telephone-event; durations are translated if the clocks differ (RFC 4733 §2.1).
    Event {
        out_pt: u8,
        in_clock: u32,
        out_clock: u32,
    },
    /// Decoded and made again in the other leg's codec.
    Transcode,
    /// Comfort noise beside speech that is transcoded.
    Noise,
}

/// What there is to know about an incoming payload type, joined or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PayloadType {
    pub clock_hz: u32,
    pub kind: MediaKind,
    pub event: bool,
    /// Which m-line and which of its formats.
    pub media: u8,
    pub format: u8,
}

pub(crate) type PayloadTypes = [Option<PayloadType>; 128];

/// What was looked up last. Nearly every packet has the payload type of the one before, and the tables are
/// cold by then: at 500 calls each look into them is a cache miss of 100 ns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recent {
    pub pt: u8,
    pub known: PayloadType,
    pub road: Road,
    /// Of no meaning where the road is `Drop`.
    pub to: u32,
}

/// The far end of a join in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    /// The leg that packets leave from; for an echo the one that they came to.
    pub to: u32,
    pub roads: Box<[Road; 128]>,
    /// What a transcoder would make.
    pub speech: Option<SpeechOut>,
    /// Digits are listened for in the sound, since its sender has no events for them; `Some(true)`: and taken out
    /// of it, since the far side gets them as events.
    pub ear: Option<bool>,
    /// Events become tones, since the far side has no events.
    pub tones: bool,
}

/// The speech that a leg's peer is sent, if we make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpeechOut {
    pub codec: Codec,
    pub pt: u8,
    pub clock_hz: u32,
    pub ptime_ms: u32,
}

impl Forward {
    pub fn road(&self, pt: u8) -> Road {
        self.roads.get(usize::from(pt)).copied().unwrap_or_default()
    }
}

/// The speech or picture codec that we send on an m-line.
pub(crate) fn first_codec(media: &RemoteMedia) -> Option<&Format> {
    media
        .formats
        .iter()
        .find(|format| !format.codec.is_auxiliary())
}

/// The speech codec of a leg that a transcoder would make.
pub(crate) fn first_speech(media: &[RemoteMedia]) -> Option<SpeechOut> {
    let audio = media.iter().find(|m| m.kind == MediaKind::Audio)?;
    let format = audio
        .formats
        .iter()
        .find(|format| format.codec.is_transcodable())?;
    Some(SpeechOut {
        codec: format.codec.clone(),
        pt: format.send_pt,
        clock_hz: format.clock_hz.max(1),
        ptime_ms: audio.ptime_ms,
    })
}

/// Payload type and clock of the events that a leg may be sent: beside the speech codec that it is sent, if there is
/// one of its clock (RFC 4733 §2.1).
pub(crate) fn first_event(media: &[RemoteMedia]) -> Option<(u8, u32)> {
    let audio = media
        .iter()
        .find(|m| m.kind == MediaKind::Audio && m.direction.sends())?;
    let event = event_beside(audio)?;
    Some((event.send_pt, event.clock_hz.max(1)))
}

fn event_beside(audio: &RemoteMedia) -> Option<&Format> {
    let speech_clock = first_codec(audio).map(|f| f.clock_hz);
    let mut events = audio
        .formats
        .iter()
        .filter(|f| f.codec == Codec::TelephoneEvent);
    events
        .clone()
        .find(|f| Some(f.clock_hz) == speech_clock)
        .or_else(|| events.next())
}

/// What a leg is sent as tones instead of events, if that is what it takes.
pub(crate) fn inband(media: &[RemoteMedia]) -> Option<SpeechOut> {
    let audio = media
        .iter()
        .find(|m| m.kind == MediaKind::Audio && m.direction.sends())?;
    (audio.inband_dtmf && first_event(media).is_none())
        .then(|| first_speech(media))
        .flatten()
}

/// Whether digits are to be listened for in a leg's sound.
pub(crate) fn speaks_inband(media: &[RemoteMedia]) -> bool {
    media
        .iter()
        .any(|m| m.kind == MediaKind::Audio && m.inband_dtmf && m.direction.receives())
}

/// Whether a leg's peer is to be sent sound at all.
pub(crate) fn takes_sound(media: &[RemoteMedia]) -> bool {
    media
        .iter()
        .any(|m| m.kind == MediaKind::Audio && m.direction.sends())
}

pub(crate) fn payload_types(media: &[RemoteMedia]) -> PayloadTypes {
    let mut types = [None; 128];
    for (line, m) in (0u8..).zip(media) {
        for (index, format) in (0u8..).zip(&m.formats) {
            let Some(slot) = types.get_mut(usize::from(format.receive_pt)) else {
                continue;
            };
            slot.get_or_insert(PayloadType {
                clock_hz: format.clock_hz.max(1),
                kind: m.kind,
                event: format.codec == Codec::TelephoneEvent,
                media: line,
                format: index,
            });
        }
    }
    types
}

/// What a direction of a join came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// At least one codec passes as it is, or nothing is to flow now.
    Relayed,
    Transcoded,
    /// Something is to flow, and nothing can.
    Impossible,
}

/// The roads from a leg described by `from` to one described by `to`.
pub(crate) fn roads(from: &[RemoteMedia], to: &[RemoteMedia]) -> (Box<[Road; 128]>, Outcome) {
    let mut table = Box::new([Road::Drop; 128]);
    let mut wanted = false;
    let mut relayed = false;
    let mut transcoded = false;
    for incoming in from {
        let Some(outgoing) = to.iter().find(|m| m.kind == incoming.kind) else {
            continue;
        };
        if !incoming.direction.receives() || !outgoing.direction.sends() {
            continue;
        }
        wanted = true;
        for format in &incoming.formats {
            let road = road_of(format, incoming, outgoing);
            if !format.codec.is_auxiliary() {
                relayed |= matches!(road, Road::Relay { .. });
                transcoded |= road == Road::Transcode;
            }
            if let Some(slot) = table.get_mut(usize::from(format.receive_pt))
                && *slot == Road::Drop
            {
                *slot = road;
            }
        }
    }
    let outcome = if relayed || !wanted {
        Outcome::Relayed
    } else if transcoded {
        Outcome::Transcoded
    } else {
        Outcome::Impossible
    };
    (table, outcome)
}

fn road_of(format: &Format, incoming: &RemoteMedia, outgoing: &RemoteMedia) -> Road {
    let kind = incoming.kind;
    let can_make = outgoing.formats.iter().any(|f| f.codec.is_transcodable());
    // To hear digits in it, sound is decoded even where it could pass as it is.
    let as_it_is = |format: &Format| {
        let equal = outgoing.formats.iter().find(|f| same(f, format));
        equal.filter(|_| !(incoming.inband_dtmf && format.codec.is_transcodable() && can_make))
    };
    match format.codec {
        Codec::TelephoneEvent => match event_beside(outgoing) {
            Some(event) => Road::Event {
                out_pt: event.send_pt,
                in_clock: format.clock_hz.max(1),
                out_clock: event.clock_hz.max(1),
            },
            None => Road::Drop,
        },
        Codec::ComfortNoise
            if first_codec(incoming).is_some_and(|speech| {
                speech.codec.is_transcodable() && as_it_is(speech).is_none()
            }) =>
        {
            if can_make {
                Road::Noise
            } else {
                Road::Drop
            }
        }
        _ => match as_it_is(format) {
            Some(equal) => Road::Relay {
                out_pt: equal.send_pt,
                kind,
            },
            None if kind == MediaKind::Audio && format.codec.is_transcodable() && can_make => {
                Road::Transcode
            }
            None => Road::Drop,
        },
    }
}

fn same(a: &Format, b: &Format) -> bool {
    // An absent channel count is one (RFC 8866 §6.6).
    a.codec == b.codec && a.clock_hz == b.clock_hz && a.channels.max(1) == b.channels.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use media_control::Direction;

    fn format(codec: Codec, pt: u8, clock_hz: u32) -> Format {
        let channels = if codec == Codec::Opus { 2 } else { 1 };
        Format {
            codec,
            send_pt: pt,
            receive_pt: pt,
            clock_hz,
            channels,
            fmtp: String::new(),
        }
    }

    fn audio(formats: Vec<Format>) -> Vec<RemoteMedia> {
        vec![RemoteMedia {
            kind: MediaKind::Audio,
            direction: Direction::SendRecv,
            formats,
            ptime_ms: 20,
            mid: None,
            key_frame: media_control::KeyFrameRequests::default(),
            inband_dtmf: false,
        }]
    }

    #[test]
    fn the_same_codec_under_another_number_is_relayed() {
        let browser = audio(vec![
            format(Codec::Opus, 111, 48_000),
            format(Codec::Pcmu, 0, 8000),
        ]);
        let phone = audio(vec![format(Codec::Opus, 96, 48_000)]);
        let (roads, outcome) = roads(&browser, &phone);
        assert_eq!(
            roads[111],
            Road::Relay {
                out_pt: 96,
                kind: MediaKind::Audio
            }
        );
        assert_eq!(roads[0], Road::Transcode);
        assert_eq!(roads[8], Road::Drop);
        assert_eq!(outcome, Outcome::Relayed);
    }

    #[test]
    fn different_codecs_are_transcoded_and_events_translated() {
        let browser = audio(vec![
            format(Codec::Opus, 111, 48_000),
            format(Codec::TelephoneEvent, 110, 48_000),
        ]);
        let phone = audio(vec![
            format(Codec::Pcmu, 0, 8000),
            format(Codec::TelephoneEvent, 101, 8000),
        ]);
        let (roads, outcome) = roads(&browser, &phone);
        assert_eq!(roads[111], Road::Transcode);
        assert_eq!(
            roads[110],
            Road::Event {
                out_pt: 101,
                in_clock: 48_000,
                out_clock: 8000
            }
        );
        assert_eq!(outcome, Outcome::Transcoded);
    }

    #[test]
    fn what_cannot_be_decoded_has_no_road() {
        let a = audio(vec![format(Codec::Other("G729".into()), 18, 8000)]);
        let b = audio(vec![format(Codec::Pcmu, 0, 8000)]);
        assert_eq!(roads(&a, &b).1, Outcome::Impossible);
    }

    #[test]
    fn nothing_flows_to_a_leg_that_does_not_receive() {
        let a = audio(vec![format(Codec::Pcmu, 0, 8000)]);
        let mut held = a.clone();
        held[0].direction = Direction::RecvOnly;
        assert_eq!(roads(&a, &held).0[0], Road::Drop);
        assert_ne!(roads(&held, &a).0[0], Road::Drop);
    }
}
