//! Whether a packet begins a picture that needs no other to be shown.

/// VP8 (RFC 7741 §4.2): the first packet of the first partition of a key frame.
///
/// ```text
///  |X|R|N|S|R|PID| (X: |I|L|T|K|RSV|, I: |M|PictureID| or 15 bits, L: TL0PICIDX, T or K: TID|Y|KEYIDX)
///  |Size0|H|VER|P| P is 0 in a key frame
/// ```
pub fn vp8_key_frame_begins(payload: &[u8]) -> bool {
    let begins = || {
        let first = *payload.first()?;
        if first & 0x10 == 0 || first & 0x07 != 0 {
            return Some(false);
        }
        let mut at = 1;
        if first & 0x80 != 0 {
            let extended = *payload.get(at)?;
            at += 1;
            if extended & 0x80 != 0 {
                at += if *payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
            }
            at += usize::from(extended & 0x40 != 0);
            at += usize::from(extended & 0x30 != 0);
        }
        Some(payload.get(at)? & 0x01 == 0)
    };
    begins().unwrap_or(false)
}

/// H.264 (RFC 6184 §5): an IDR slice or the parameters before it, alone, in an aggregate or as a first fragment.
pub fn h264_key_frame_begins(payload: &[u8]) -> bool {
    /// Coded slice of an IDR picture, sequence parameter set (H.264 table 7-1).
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let kind = |byte: u8| byte & 0x1f;
    let Some((first, rest)) = payload.split_first() else {
        return false;
    };
    match kind(*first) {
        IDR | SPS => true,
        STAP_A => {
            let mut rest = rest;
            while let Some((size, units)) = rest.split_first_chunk::<2>() {
                if units
                    .first()
                    .is_some_and(|unit| matches!(kind(*unit), IDR | SPS))
                {
                    return true;
                }
                rest = units
                    .get(usize::from(u16::from_be_bytes(*size)).max(1)..)
                    .unwrap_or_default();
            }
            false
        }
        FU_A => rest
            .first()
            .is_some_and(|head| head & 0x80 != 0 && kind(*head) == IDR),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vp8_key_frames_are_told_behind_every_form_of_descriptor() {
        let table: [(&[u8], bool); 9] = [
            (&[0x10, 0x50], true),
            (&[0x10, 0x51], false),
            (&[0x00, 0x50], false),
            (&[0x11, 0x50], false),
            (&[0x90, 0x80, 0x05, 0x50], true),
            (&[0x90, 0x80, 0x85, 0x11, 0x50], true),
            (&[0x90, 0xe0, 0x85, 0x11, 0x07, 0x20, 0x51], false),
            (&[0x90, 0xe0, 0x85], false),
            (&[], false),
        ];
        for (payload, expected) in table {
            assert_eq!(vp8_key_frame_begins(payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn h264_key_frames_are_told_alone_aggregated_and_in_fragments() {
        let table: [(&[u8], bool); 9] = [
            (&[0x67, 1, 2], true),
            (&[0x65, 1, 2], true),
            (&[0x61, 1, 2], false),
            (&[0x7c, 0x85, 1], true),
            (&[0x7c, 0x05, 1], false),
            (&[0x7c, 0x81, 1], false),
            (&[0x78, 0, 2, 0x68, 1, 0, 2, 0x65, 1], true),
            (&[0x78, 0, 2, 0x61, 1, 0, 0], false),
            (&[0x78, 0], false),
        ];
        for (payload, expected) in table {
            assert_eq!(h264_key_frame_begins(payload), expected, "{payload:x?}");
        }
    }
}
