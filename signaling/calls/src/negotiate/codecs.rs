//! Which codecs each side of a call is told, and in which order.

use media_control::{Codec, Format};
use serde::{Deserialize, Serialize};
use signaling_plan::MediaProfile;
use signaling_sdp::Media;
use signaling_sdp::attribute::{self, RtpMap};

/// What decides the browser's codec (`calls.codec_policy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodecPolicy {
    /// The SIP side's codec, so that packets are relayed as they are.
    #[default]
    Relay,
    /// Opus towards the browser always: it conceals loss best; the node transcodes where it must.
    Opus,
}

impl CodecPolicy {
    /// As the line says, else as for all lines.
    pub fn by_line(self, profile: &MediaProfile) -> CodecPolicy {
        match profile.opus_to_browsers {
            Some(true) => CodecPolicy::Opus,
            Some(false) => CodecPolicy::Relay,
            None => self,
        }
    }
}

/// Our own preference among speech codecs, best sound first.
pub const SPEECH: [Codec; 4] = [Codec::Opus, Codec::G722, Codec::Pcmu, Codec::Pcma];

/// The usable payload types of an m-line, both numbers as the peer wrote them.
pub fn formats(media: &Media) -> Vec<Format> {
    let mut formats: Vec<Format> = Vec::new();
    for RtpMap {
        pt,
        name,
        clock_hz,
        channels,
    } in attribute::rtpmaps(media)
    {
        let codec = Codec::from_name(&name);
        let usable = match &codec {
            // RFC 7587 §7: the rtpmap must say 48000/2 whatever is sent.
            Codec::Opus => clock_hz == 48000,
            Codec::G722 | Codec::Pcmu | Codec::Pcma => clock_hz == 8000 && channels == 1,
            Codec::TelephoneEvent => matches!(clock_hz, 8000 | 16000 | 48000),
            Codec::ComfortNoise => clock_hz == 8000,
            Codec::H264 | Codec::Vp8 | Codec::Vp9 | Codec::Other(_) => false,
        };
        let double = formats
            .iter()
            .any(|f| f.send_pt == pt || (f.codec == codec && f.clock_hz == clock_hz));
        if usable && !double {
            formats.push(Format {
                codec,
                send_pt: pt,
                receive_pt: pt,
                clock_hz,
                channels,
                fmtp: attribute::fmtp(media, pt),
            });
        }
    }
    formats
}

/// The first speech codec: what we send.
pub fn speech(formats: &[Format]) -> Option<&Format> {
    formats.iter().find(|f| f.codec.is_transcodable())
}

/// What the browser is answered, the codec it shall send first. `sip` is the SIP side's list in its order.
///
/// Under `Relay` that is the SIP side's first codec that the browser has too, then the browser's others,
/// which the SIP side may change to later without transcoding. Under `Opus`, and where nothing is common,
/// Opus alone.
pub fn for_browser(policy: CodecPolicy, browser: &[Format], sip: &[Format]) -> Vec<Format> {
    let has = |codec: &Codec| browser.iter().find(|f| f.codec == *codec);
    let mut chosen: Vec<Format> = Vec::new();
    match policy {
        CodecPolicy::Opus if has(&Codec::Opus).is_some() => {
            chosen.extend(has(&Codec::Opus).cloned())
        }
        _ => {
            let first = speech(sip)
                .and_then(|f| has(&f.codec))
                .or_else(|| has(&Codec::Opus))
                .or_else(|| speech(browser));
            chosen.extend(first.cloned());
            for format in browser.iter().filter(|f| f.codec.is_transcodable()) {
                if !chosen.iter().any(|c| c.codec == format.codec) {
                    chosen.push(format.clone());
                }
            }
        }
    }
    if !chosen.is_empty() {
        chosen.extend(browser.iter().filter(|f| f.codec.is_auxiliary()).cloned());
    }
    chosen
}

/// What we answer to the SIP side's list: the codec that the browser sends if it is there, else the first
/// that we can make, with the peer's own auxiliary types of the same clock.
pub fn for_sip(sip: &[Format], browser_sends: Option<&Codec>) -> Vec<Format> {
    let first = browser_sends
        .and_then(|codec| sip.iter().find(|f| f.codec == *codec))
        .or_else(|| speech(sip));
    let Some(first) = first else {
        return Vec::new();
    };
    let mut chosen = vec![first.clone()];
    chosen.extend(
        sip.iter()
            .filter(|f| f.codec.is_transcodable() && f.codec != first.codec)
            .cloned(),
    );
    // Of the clock of the sound (RFC 4733 §2.1); there are phones that offer Opus and events at 8000 only.
    let mut events = sip.iter().filter(|f| f.codec == Codec::TelephoneEvent);
    let event = events
        .clone()
        .find(|f| f.clock_hz == first.clock_hz)
        .or_else(|| events.next());
    chosen.extend(event.cloned());
    chosen.extend(
        sip.iter()
            .filter(|f| f.codec == Codec::ComfortNoise && first.clock_hz == 8000)
            .cloned(),
    );
    chosen
}

/// Our own list for an offer. Numbers follow browsers' habits, so that both sides often agree.
pub fn own(order: &[Codec]) -> Vec<Format> {
    let format = |codec: Codec, pt: u8, clock_hz: u32, channels: u8, fmtp: &str| Format {
        codec,
        send_pt: pt,
        receive_pt: pt,
        clock_hz,
        channels,
        fmtp: fmtp.to_owned(),
    };
    let mut list = Vec::new();
    for codec in order {
        list.push(match codec {
            Codec::Opus => format(Codec::Opus, 111, 48000, 2, "minptime=10;useinbandfec=1"),
            Codec::G722 => format(Codec::G722, 9, 8000, 1, ""),
            Codec::Pcmu => format(Codec::Pcmu, 0, 8000, 1, ""),
            Codec::Pcma => format(Codec::Pcma, 8, 8000, 1, ""),
            _ => continue,
        });
    }
    if list.iter().any(|f| f.clock_hz == 8000) {
        list.push(format(Codec::TelephoneEvent, 101, 8000, 1, "0-15"));
    }
    if list.iter().any(|f| f.clock_hz == 48000) {
        list.push(format(Codec::TelephoneEvent, 110, 48000, 1, "0-15"));
    }
    list
}

/// Our list for an offer of ours, ordered so that what the other side of the call has comes first.
pub fn own_ordered_by(other: &[Format]) -> Vec<Format> {
    let mut order: Vec<Codec> = Vec::new();
    for format in other {
        if SPEECH.contains(&format.codec) && !order.contains(&format.codec) {
            order.push(format.codec.clone());
        }
    }
    for codec in SPEECH {
        if !order.contains(&codec) {
            order.push(codec);
        }
    }
    own(&order)
}

/// Our list for an offer by a line: its own codecs in its order, or all of ours, what the other side of the call has
/// first.
pub fn own_for(profile: &MediaProfile, other: &[Format]) -> Vec<Format> {
    match listed(profile) {
        Some(order) => own(&order),
        None => own_ordered_by(other),
    }
}

/// The speech codecs that the operator listed for a line, if any.
fn listed(profile: &MediaProfile) -> Option<Vec<Codec>> {
    if profile.codecs.is_empty() {
        return None;
    }
    let mut listed = Vec::new();
    for codec in profile.codecs.iter().map(|name| Codec::from_name(name)) {
        if codec.is_transcodable() && !listed.contains(&codec) {
            listed.push(codec);
        }
    }
    Some(listed)
}

/// Leaves out what is not spoken with a line.
pub fn spoken(profile: &MediaProfile, formats: &mut Vec<Format>) {
    if let Some(listed) = listed(profile) {
        formats.retain(|f| f.codec.is_auxiliary() || listed.contains(&f.codec));
    }
}

/// Puts what a peer offers into the line's own order.
pub fn prefer(profile: &MediaProfile, formats: &mut [Format]) {
    if let Some(listed) = listed(profile) {
        let place = |f: &Format| listed.iter().position(|codec| *codec == f.codec);
        formats.sort_by_key(|f| place(f).unwrap_or(usize::MAX));
    }
}

/// Their answer to our offer: what we may send is their number, what we receive is ours (RFC 3264 §6.1).
pub fn answered(ours: &[Format], theirs: &[Format]) -> Vec<Format> {
    theirs
        .iter()
        .filter_map(|their| {
            let our = ours
                .iter()
                .find(|f| f.codec == their.codec && f.clock_hz == their.clock_hz)?;
            Some(Format {
                receive_pt: our.receive_pt,
                ..their.clone()
            })
        })
        .collect()
}

/// The `a=fmtp` value of our description for a format, empty where none is due. `narrow` asks an Opus
/// sender for no more than a G.711 far end can carry (RFC 7587 §6.1), which halves the decoder's work.
pub fn own_fmtp(format: &Format, narrow: Option<u32>) -> String {
    match (&format.codec, narrow) {
        (Codec::Opus, Some(hz)) => {
            format!("minptime=10;useinbandfec=1;maxplaybackrate={hz};sprop-maxcapturerate={hz}")
        }
        (Codec::Opus, None) => "minptime=10;useinbandfec=1".to_owned(),
        (Codec::TelephoneEvent, _) => "0-15".to_owned(),
        // Made of what both sides say, in `pictures`.
        (Codec::H264 | Codec::Vp8, _) => format.fmtp.clone(),
        _ => String::new(),
    }
}
