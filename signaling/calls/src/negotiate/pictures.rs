//! Picture formats: which both sides of a call have in common, and what each is told of the other's.
//!
//! Pictures are relayed and never made here, so each side is told what the other can show: a format that only one side
//! has is of no use to anybody.

use media_control::picture::{H264, best_match, likeness};
use media_control::{Codec, Direction, Format, KeyFrameRequests};
use signaling_sdp::attribute::{self, RtpMap};
use signaling_sdp::{Attribute, Media};

/// Picture formats read from one m-line; browsers write seven of H.264 alone.
const MAX_FORMATS: usize = 16;
/// Longest `sprop-parameter-sets` passed on, bytes.
const MAX_PARAMETER_SETS: usize = 512;
/// Payload types for our own offer to a browser, clear of those of sound in the same bundle.
const OWN_TYPES: [u8; MAX_FORMATS] = [
    96, 97, 98, 99, 100, 102, 103, 104, 105, 106, 107, 108, 109, 112, 113, 114,
];

/// VP8 and H.264 of an m-line, in its order, both numbers as the peer wrote them.
pub fn formats(media: &Media) -> Vec<Format> {
    let mut formats: Vec<Format> = Vec::new();
    for RtpMap {
        pt, name, clock_hz, ..
    } in attribute::rtpmaps(media)
    {
        let codec = Codec::from_name(&name);
        let usable = matches!(codec, Codec::Vp8 | Codec::H264) && clock_hz == 90_000;
        if usable && formats.len() < MAX_FORMATS && formats.iter().all(|f| f.send_pt != pt) {
            formats.push(Format {
                codec,
                send_pt: pt,
                receive_pt: pt,
                clock_hz,
                channels: 1,
                fmtp: attribute::fmtp(media, pt),
            });
        }
    }
    formats
}

pub fn is_picture(format: &Format) -> bool {
    matches!(format.codec, Codec::Vp8 | Codec::H264)
}

/// The pictures among what was agreed.
pub fn of(formats: &[Format]) -> Vec<Format> {
    formats.iter().filter(|f| is_picture(f)).cloned().collect()
}

/// How the peer takes requests for a whole picture (RFC 4585 §4.2, RFC 5104 §7.1), whatever its profile is called:
/// phones write `a=rtcp-fb` under RTP/AVP too, and mean it.
pub fn key_frame(media: &Media) -> KeyFrameRequests {
    let asks = |wanted: &str| {
        attribute::values(&media.attributes, "rtcp-fb").any(|value| {
            value
                .split_once(|c: char| c.is_ascii_whitespace())
                .is_some_and(|(_, what)| what.trim().eq_ignore_ascii_case(wanted))
        })
    };
    KeyFrameRequests {
        pli: asks("nack pli"),
        fir: asks("ccm fir"),
    }
}

/// `a=rtcp-fb` for all formats of a line of ours.
pub fn feedback_lines(attributes: &mut Vec<Attribute>, requests: KeyFrameRequests) {
    for (given, what) in [(requests.pli, "nack pli"), (requests.fir, "ccm fir")] {
        if given {
            attributes.push(Attribute::new("rtcp-fb", format!("* {what}")));
        }
    }
}

/// What both have, in their order, each of ours once.
fn common<'a>(ours: &'a [Format], theirs: &'a [Format]) -> Vec<(&'a Format, &'a Format)> {
    let mut pairs: Vec<(&Format, &Format)> = Vec::new();
    for their in theirs {
        if let Some(our) = best_match(ours, their)
            && pairs
                .iter()
                .all(|(taken, _)| taken.receive_pt != our.receive_pt)
        {
            pairs.push((our, their));
        }
    }
    pairs
}

/// What a page is told to use towards a far end: the page's own numbers in the far end's order, with the far end's
/// limits.
pub fn for_page(page: &[Format], far: &[Format]) -> Vec<Format> {
    common(page, far)
        .into_iter()
        .map(|(page, far)| Format {
            fmtp: merged(page, far),
            ..page.clone()
        })
        .collect()
}

/// What we answer to their offer: their numbers and order, our side's limits.
pub fn answer(ours: &[Format], theirs: &[Format]) -> Vec<Format> {
    common(ours, theirs)
        .into_iter()
        .map(|(our, their)| Format {
            fmtp: merged(their, our),
            ..their.clone()
        })
        .collect()
}

/// What was agreed, as media is told it. In an answer of theirs what we receive has our numbers (RFC 3264 §6.1): the very
/// one that they repeat, and any other that we offered for the same stream. baresip answers with the last of them and sends
/// under the first.
pub fn agreed(ours: &[Format], theirs: &[Format], their_answer: bool) -> Vec<Format> {
    let mut formats: Vec<Format> = Vec::new();
    for (our, their) in common(ours, theirs) {
        if !their_answer {
            formats.push(their.clone());
            continue;
        }
        let first = if repeats(ours, their) { their } else { our };
        let alike = ours.iter().filter(|our| likeness(our, their).is_some());
        for receive_pt in [first].into_iter().chain(alike).map(|f| f.receive_pt) {
            if formats.iter().all(|f| f.receive_pt != receive_pt) {
                formats.push(Format {
                    receive_pt,
                    ..their.clone()
                });
            }
        }
    }
    formats
}

/// What we go on offering in a dialog after their first answer: ours of what both have, under the number that they repeat
/// and the others that we offered for the same (RFC 3264 §8.3.2: a number keeps its meaning).
pub fn kept(ours: &[Format], theirs: &[Format], offered: &[Format]) -> Vec<Format> {
    let mut formats: Vec<Format> = Vec::new();
    for (our, their) in common(ours, theirs) {
        let first = if repeats(offered, their) { their } else { our };
        let alike = offered.iter().filter(|f| likeness(f, their).is_some());
        for pt in [first].into_iter().chain(alike).map(|f| f.receive_pt) {
            if formats.iter().all(|f| f.receive_pt != pt) {
                formats.push(Format {
                    send_pt: pt,
                    receive_pt: pt,
                    ..our.clone()
                });
            }
        }
    }
    formats
}

fn repeats(ours: &[Format], their: &Format) -> bool {
    ours.iter()
        .any(|our| our.receive_pt == their.receive_pt && our.codec == their.codec)
}

/// Our own list for an offer to a page: what the far end has, under numbers of ours.
pub fn own(far: &[Format]) -> Vec<Format> {
    far.iter()
        .zip(OWN_TYPES)
        .map(|(format, pt)| Format {
            send_pt: pt,
            receive_pt: pt,
            fmtp: told(format),
            ..format.clone()
        })
        .collect()
}

/// A format's own parameters, as far as they are worth passing on.
pub fn told(format: &Format) -> String {
    merged(format, format)
}

/// The parameters of `asked`'s profile at the level of `able`, which is the one that will receive (RFC 6184 §8.2.2).
fn merged(asked: &Format, able: &Format) -> String {
    match asked.codec {
        Codec::H264 => h264(&asked.fmtp, &able.fmtp),
        // RFC 7741 §6.1: what the receiver can take.
        Codec::Vp8 => ["max-fr", "max-fs"]
            .into_iter()
            .filter_map(|name| Some((name, parameter(&able.fmtp, name)?)))
            .filter(|(_, value)| value.parse::<u32>().is_ok())
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(";"),
        _ => String::new(),
    }
}

fn h264(asked: &str, able: &str) -> String {
    let profile = parameter(asked, "profile-level-id")
        .filter(|id| id.len() == 6 && id.bytes().all(|b| b.is_ascii_hexdigit()))
        .and_then(|id| id.get(..4))
        .unwrap_or("4200")
        .to_ascii_lowercase();
    let (theirs, ours) = (H264::parse(asked), H264::parse(able));
    let (level, asymmetry) = if theirs.level_asymmetry_allowed {
        (ours.level_idc, "level-asymmetry-allowed=1;")
    } else {
        // One level for both directions, which an answer may only lower.
        (ours.level_idc.min(theirs.level_idc), "")
    };
    let mode = theirs.packetization_mode;
    let mut fmtp =
        format!("{asymmetry}packetization-mode={mode};profile-level-id={profile}{level:02x}");
    // Of a sender that says its parameter sets here and nowhere else.
    let base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=,".contains(&b);
    if let Some(sets) = parameter(able, "sprop-parameter-sets")
        && sets.len() <= MAX_PARAMETER_SETS
        && sets.bytes().all(base64)
    {
        fmtp.push_str(";sprop-parameter-sets=");
        fmtp.push_str(sets);
    }
    fmtp
}

fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// What both directions allow.
pub fn both(a: Direction, b: Direction) -> Direction {
    match (a.sends() && b.sends(), a.receives() && b.receives()) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    }
}
