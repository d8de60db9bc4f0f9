//! Which picture formats carry the same stream, so that packets may pass from one leg to another as they are.

use crate::{Codec, Format};

/// What an H.264 payload type promises (RFC 6184 §8.1). Two of them are the same stream where profile and
/// packetization mode agree; levels may differ (§8.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct H264 {
    pub profile: H264Profile,
    pub level_idc: u8,
    /// 0: one NAL unit a packet. 1: also aggregates and fragments. 2: interleaved, which nobody does.
    pub packetization_mode: u8,
    pub level_asymmetry_allowed: bool,
}

/// The sub-profiles of RFC 6184 table 5, as far as phones and browsers have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    ConstrainedHigh,
    High,
    /// `profile_idc` and `profile-iop` of another.
    Other(u8, u8),
}

impl H264 {
    /// From the value of `a=fmtp`. What is missing has its default: Baseline at level 1, mode 0 (RFC 6184 §8.1).
    pub fn parse(fmtp: &str) -> H264 {
        let parameter = |name: &str| {
            fmtp.split(';').find_map(|part| {
                let (key, value) = part.split_once('=')?;
                key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let [idc, iop, level_idc] = parameter("profile-level-id")
            .filter(|text| text.len() == 6)
            .and_then(|text| u32::from_str_radix(text, 16).ok())
            .map_or([0x42, 0x00, 0x0a], |id| {
                let [_, idc, iop, level] = id.to_be_bytes();
                [idc, iop, level]
            });
        H264 {
            profile: H264Profile::of(idc, iop),
            level_idc,
            packetization_mode: parameter("packetization-mode")
                .and_then(|mode| mode.parse().ok())
                .unwrap_or(0),
            level_asymmetry_allowed: parameter("level-asymmetry-allowed") == Some("1"),
        }
    }
}

impl H264Profile {
    fn of(idc: u8, iop: u8) -> H264Profile {
        let bit = |n: u8| iop & (0x80 >> n) != 0;
        match idc {
            0x42 if bit(1) => H264Profile::ConstrainedBaseline,
            0x42 => H264Profile::Baseline,
            0x4d if bit(0) => H264Profile::ConstrainedBaseline,
            0x4d => H264Profile::Main,
            0x58 if bit(0) && bit(1) => H264Profile::ConstrainedBaseline,
            0x58 if bit(0) => H264Profile::Baseline,
            0x64 if bit(4) && bit(5) => H264Profile::ConstrainedHigh,
            0x64 => H264Profile::High,
            _ => H264Profile::Other(idc, iop),
        }
    }

    /// Phones write Baseline (`420016`, `42800c`) for what x264, OpenH264 or a chip makes, which is Constrained
    /// Baseline in all but name: slice groups and redundant slices, the difference, are nobody's.
    fn family(self) -> H264Profile {
        match self {
            H264Profile::Baseline => H264Profile::ConstrainedBaseline,
            H264Profile::ConstrainedHigh => H264Profile::High,
            other => other,
        }
    }
}

/// How well one format's packets serve where the other is expected; more is better, `None` not at all.
pub fn likeness(a: &Format, b: &Format) -> Option<u8> {
    if a.codec != b.codec || a.clock_hz != b.clock_hz || a.channels.max(1) != b.channels.max(1) {
        // An absent channel count is one (RFC 8866 §6.6).
        return None;
    }
    if a.codec != Codec::H264 {
        return Some(2);
    }
    let (a, b) = (H264::parse(&a.fmtp), H264::parse(&b.fmtp));
    if a.packetization_mode != b.packetization_mode || a.packetization_mode > 1 {
        None
    } else if a.profile == b.profile {
        Some(2)
    } else {
        (a.profile.family() == b.profile.family()).then_some(1)
    }
}

/// The format of a list that serves best for `wanted`; of equals the first.
pub fn best_match<'a>(list: &'a [Format], wanted: &Format) -> Option<&'a Format> {
    let mut best: Option<(u8, &Format)> = None;
    for format in list {
        if let Some(rank) = likeness(format, wanted)
            && best.is_none_or(|(before, _)| rank > before)
        {
            best = Some((rank, format));
        }
    }
    best.map(|(_, format)| format)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h264(fmtp: &str) -> Format {
        Format {
            codec: Codec::H264,
            send_pt: 96,
            receive_pt: 96,
            clock_hz: 90_000,
            channels: 1,
            fmtp: fmtp.to_owned(),
        }
    }

    #[test]
    fn profile_and_packetization_mode_decide_and_the_level_does_not() {
        let table = [
            (
                "profile-level-id=42e01f;packetization-mode=1",
                "packetization-mode=1; profile-level-id=42E00C",
                Some(2),
            ),
            (
                "profile-level-id=42e01f;packetization-mode=1",
                "profile-level-id=42e01f",
                None,
            ),
            (
                "profile-level-id=42e01f",
                "profile-level-id=42e01f;packetization-mode=0",
                Some(2),
            ),
            (
                "profile-level-id=42801f",
                "profile-level-id=42e01f",
                Some(1),
            ),
            ("profile-level-id=4d001f", "profile-level-id=42e01f", None),
            (
                "profile-level-id=4d801f",
                "profile-level-id=42e01f",
                Some(2),
            ),
            (
                "profile-level-id=640c1f",
                "profile-level-id=64001f",
                Some(1),
            ),
            ("", "profile-level-id=42000a", Some(2)),
            ("packetization-mode=2", "packetization-mode=2", None),
            (
                "profile-level-id=zzzzzz",
                "profile-level-id=42e01f",
                Some(1),
            ),
        ];
        for (a, b, expected) in table {
            assert_eq!(likeness(&h264(a), &h264(b)), expected, "{a} {b}");
            assert_eq!(likeness(&h264(b), &h264(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn the_very_profile_is_taken_before_its_relative() {
        let list = [
            h264("profile-level-id=42001f;packetization-mode=1"),
            h264("profile-level-id=42e01f;packetization-mode=1"),
        ];
        let wanted = h264("profile-level-id=42e028;packetization-mode=1");
        assert_eq!(best_match(&list, &wanted), Some(&list[1]));
        assert_eq!(best_match(&list[..1], &wanted), Some(&list[0]));
    }
}
