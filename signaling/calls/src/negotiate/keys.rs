//! Keys in a SIP peer's description: SDES (RFC 4568), as far as the line wants it.

use data_encoding::{BASE64, BASE64_NOPAD};
use media_control::{SdesKey, SrtpProfile};
use signaling_plan::{MediaProfile, Srtp};
use signaling_sdp::attribute::{self, Crypto};
use signaling_sdp::{Attribute, Media};

/// What is offered where a line lists no suites: first the one that every device has (RFC 4568 §6.2).
const SUITES: [SrtpProfile; 4] = [
    SrtpProfile::AesCm128HmacSha1_80,
    SrtpProfile::AesCm128HmacSha1_32,
    SrtpProfile::AeadAes128Gcm,
    SrtpProfile::AeadAes256Gcm,
];

/// Its name in `a=crypto` (RFC 4568 §6.2, RFC 7714 §14.2).
pub fn suite_name(profile: SrtpProfile) -> &'static str {
    match profile {
        SrtpProfile::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
        SrtpProfile::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        SrtpProfile::AeadAes128Gcm => "AEAD_AES_128_GCM",
        SrtpProfile::AeadAes256Gcm => "AEAD_AES_256_GCM",
    }
}

/// Master key and master salt together, bytes.
fn key_len(profile: SrtpProfile) -> usize {
    match profile {
        SrtpProfile::AesCm128HmacSha1_80 | SrtpProfile::AesCm128HmacSha1_32 => 16 + 14,
        SrtpProfile::AeadAes128Gcm => 16 + 12,
        SrtpProfile::AeadAes256Gcm => 32 + 12,
    }
}

/// A suite that we have, by its name in any case.
pub fn suite(name: &str) -> Option<SrtpProfile> {
    SUITES
        .into_iter()
        .find(|suite| suite_name(*suite).eq_ignore_ascii_case(name))
}

/// The suites that a line speaks, in its order.
fn suites(profile: &MediaProfile) -> Vec<SrtpProfile> {
    if profile.suites.is_empty() {
        return SUITES.to_vec();
    }
    let mut listed = Vec::new();
    for suite in profile.suites.iter().filter_map(|name| suite(name)) {
        if !listed.contains(&suite) {
            listed.push(suite);
        }
    }
    listed
}

/// Keys of ours for the line's suites in its order, of those that media has drawn.
pub(super) fn own(profile: &MediaProfile, drawn: &[SdesKey]) -> Vec<SdesKey> {
    if profile.srtp == Srtp::Forbid {
        return Vec::new();
    }
    let of = |suite: &SrtpProfile| drawn.iter().find(|key| key.profile == *suite).cloned();
    (1..)
        .zip(suites(profile).iter().filter_map(of))
        .map(|(tag, key)| SdesKey { tag, ..key })
        .collect()
}

/// The keys of an m-line that can be used with this line, in the peer's order.
pub(super) fn read(media: &Media, profile: &MediaProfile) -> Vec<SdesKey> {
    if profile.srtp == Srtp::Forbid {
        return Vec::new();
    }
    let spoken = suites(profile);
    attribute::values(&media.attributes, "crypto")
        .filter_map(|value| usable(&Crypto::parse(value)?))
        .filter(|key| spoken.contains(&key.profile))
        .collect()
}

/// One without an MKI, which we do not write, and without session parameters that change what is on the wire. An
/// unknown parameter makes the line invalid, unless it says itself that it may be ignored (RFC 4568 §6.3). How many
/// packets its key may close is its sender's own concern (§6.1).
fn usable(crypto: &Crypto) -> Option<SdesKey> {
    let ignorable = |parameter: &String| {
        let hint = parameter
            .get(..4)
            .is_some_and(|name| name.eq_ignore_ascii_case("WSH="));
        hint || parameter.starts_with('-')
    };
    if crypto.has_mki || !crypto.parameters.iter().all(ignorable) {
        return None;
    }
    let profile = suite(&crypto.suite)?;
    let encoded = crypto.key.trim_end_matches('=').as_bytes();
    let key_and_salt = BASE64_NOPAD.decode(encoded).ok()?;
    (key_and_salt.len() == key_len(profile)).then_some(SdesKey {
        tag: crypto.tag,
        profile,
        key_and_salt,
    })
}

pub(super) fn line(key: &SdesKey) -> Attribute {
    let crypto = Crypto {
        tag: key.tag,
        suite: suite_name(key.profile).to_owned(),
        key: BASE64.encode(&key.key_and_salt),
        lifetime: None,
        has_mki: false,
        parameters: Vec::new(),
    };
    Attribute::new("crypto", crypto.to_string())
}
