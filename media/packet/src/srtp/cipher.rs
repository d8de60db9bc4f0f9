//! The session's transforms: AES counter mode with HMAC-SHA1, and AES-GCM.

use super::derive::{Label, Master};
use super::{Error, Profile};
use aes::Aes128Enc;
use aes::cipher::KeyInit;
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ctr::cipher::{InnerIvInit, StreamCipher, StreamCipherCoreWrapper};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

const GCM_TAG: usize = 16;
/// The SRTCP tag of both CM profiles.
const SHA1_80_TAG: usize = 10;
/// "This packet is encrypted", in front of the 31-bit SRTCP index.
const E_FLAG: u32 = 0x8000_0000;
/// RTCP's first header and SSRC, which stay in the clear.
const RTCP_CLEAR: usize = 8;

/// Keys of one direction.
#[allow(
    clippy::large_enum_variant,
    reason = "one per leg and direction, never moved on the packet path"
)]
pub(super) enum Cipher {
    Cm {
        rtp: CmKeys,
        rtcp: CmKeys,
        rtp_tag: usize,
    },
    Gcm {
        rtp: GcmKeys,
        rtcp: GcmKeys,
    },
}

pub(super) struct CmKeys {
    key: Aes128Enc,
    salt: [u8; 14],
    /// Already keyed; cloned for each packet, which saves two of the six compressions.
    mac: Hmac<Sha1>,
}

pub(super) struct GcmKeys {
    key: LessSafeKey,
    salt: [u8; 12],
}

impl Cipher {
    pub(super) fn new(profile: Profile, key_and_salt: &[u8]) -> Result<Cipher, Error> {
        let master = Master::new(profile, key_and_salt)?;
        let cm = |encryption, authentication, salt| CmKeys {
            key: Aes128Enc::new(&(*master.derive::<16>(encryption)).into()),
            salt: *master.derive::<14>(salt),
            mac: Hmac::new_from_slice(&master.derive::<20>(authentication)[..])
                .expect("HMAC takes a key of any length"),
        };
        let rtp_tag = match profile {
            Profile::AesCm128HmacSha1_80 => 10,
            Profile::AesCm128HmacSha1_32 => 4,
            Profile::AeadAes128Gcm => {
                let keys = |encryption, salt| {
                    GcmKeys::new(
                        &master.derive::<16>(encryption)[..],
                        *master.derive::<12>(salt),
                    )
                };
                return Ok(Cipher::Gcm {
                    rtp: keys(Label::RtpEncryption, Label::RtpSalt),
                    rtcp: keys(Label::RtcpEncryption, Label::RtcpSalt),
                });
            }
            Profile::AeadAes256Gcm => {
                let keys = |encryption, salt| {
                    GcmKeys::new(
                        &master.derive::<32>(encryption)[..],
                        *master.derive::<12>(salt),
                    )
                };
                return Ok(Cipher::Gcm {
                    rtp: keys(Label::RtpEncryption, Label::RtpSalt),
                    rtcp: keys(Label::RtcpEncryption, Label::RtcpSalt),
                });
            }
        };
        Ok(Cipher::Cm {
            rtp: cm(
                Label::RtpEncryption,
                Label::RtpAuthentication,
                Label::RtpSalt,
            ),
            rtcp: cm(
                Label::RtcpEncryption,
                Label::RtcpAuthentication,
                Label::RtcpSalt,
            ),
            rtp_tag,
        })
    }

    /// Checks and decrypts `packet` in place; returns its length without the tag. `header_len` is within
    /// the packet.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, Error> {
        match self {
            Cipher::Cm { rtp, rtp_tag, .. } => {
                let plain = packet.len().checked_sub(*rtp_tag).ok_or(Error::TooShort)?;
                if plain < header_len {
                    return Err(Error::TooShort);
                }
                let (body, tag) = packet.split_at_mut(plain);
                rtp.check(body, &roc_bytes(index), tag)?;
                rtp.apply(&mut body[header_len..], ssrc, index);
                Ok(plain)
            }
            Cipher::Gcm { rtp, .. } => {
                let plain = packet.len().checked_sub(GCM_TAG).ok_or(Error::TooShort)?;
                if plain < header_len {
                    return Err(Error::TooShort);
                }
                let (header, body) = packet.split_at_mut(header_len);
                rtp.open(rtp.rtp_nonce(ssrc, index), header, body)?;
                Ok(plain)
            }
        }
    }

    /// Encrypts the first `len` bytes of `buf` and puts the tag behind; returns the new length.
    pub(super) fn seal_rtp(
        &self,
        buf: &mut [u8],
        len: usize,
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, Error> {
        if header_len > len {
            return Err(Error::TooShort);
        }
        let (packet, room) = buf.split_at_mut_checked(len).ok_or(Error::TooShort)?;
        match self {
            Cipher::Cm { rtp, rtp_tag, .. } => {
                let room = room.get_mut(..*rtp_tag).ok_or(Error::NoRoom)?;
                rtp.apply(&mut packet[header_len..], ssrc, index);
                rtp.sign(packet, &roc_bytes(index), room);
                Ok(len + rtp_tag)
            }
            Cipher::Gcm { rtp, .. } => {
                let room = room.get_mut(..GCM_TAG).ok_or(Error::NoRoom)?;
                let (header, body) = packet.split_at_mut(header_len);
                rtp.seal(rtp.rtp_nonce(ssrc, index), header, body, room)?;
                Ok(len + GCM_TAG)
            }
        }
    }

    /// The E flag and index of an SRTCP packet: the last word in GCM, the one before the tag in CM.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Result<u32, Error> {
        let trailer = match self {
            Cipher::Cm { .. } => SHA1_80_TAG + 4,
            Cipher::Gcm { .. } => 4,
        };
        let at = packet.len().checked_sub(trailer).ok_or(Error::TooShort)?;
        let word = crate::bytes::u32_at(packet, at).ok_or(Error::TooShort)?;
        if word & E_FLAG == 0 {
            return Err(Error::NotEncrypted);
        }
        Ok(word & !E_FLAG)
    }

    pub(super) fn open_rtcp(
        &self,
        packet: &mut [u8],
        ssrc: u32,
        index: u32,
    ) -> Result<usize, Error> {
        match self {
            Cipher::Cm { rtcp, .. } => {
                let signed = packet
                    .len()
                    .checked_sub(SHA1_80_TAG)
                    .ok_or(Error::TooShort)?;
                let plain = signed.checked_sub(4).ok_or(Error::TooShort)?;
                if plain < RTCP_CLEAR {
                    return Err(Error::TooShort);
                }
                let (body, tag) = packet.split_at_mut(signed);
                rtcp.check(body, &[], tag)?;
                rtcp.apply(&mut body[RTCP_CLEAR..plain], ssrc, u64::from(index));
                Ok(plain)
            }
            Cipher::Gcm { rtcp, .. } => {
                let tagged = packet.len().checked_sub(4).ok_or(Error::TooShort)?;
                let plain = tagged.checked_sub(GCM_TAG).ok_or(Error::TooShort)?;
                if plain < RTCP_CLEAR {
                    return Err(Error::TooShort);
                }
                let (header, body) = packet[..tagged].split_at_mut(RTCP_CLEAR);
                rtcp.open(rtcp.rtcp_nonce(ssrc, index), &rtcp_aad(header, index), body)?;
                Ok(plain)
            }
        }
    }

    pub(super) fn seal_rtcp(
        &self,
        buf: &mut [u8],
        len: usize,
        ssrc: u32,
        index: u32,
    ) -> Result<usize, Error> {
        if len < RTCP_CLEAR {
            return Err(Error::TooShort);
        }
        let word = (E_FLAG | index).to_be_bytes();
        match self {
            Cipher::Cm { rtcp, .. } => {
                let whole = buf.get_mut(..len + 4 + SHA1_80_TAG).ok_or(Error::NoRoom)?;
                rtcp.apply(&mut whole[RTCP_CLEAR..len], ssrc, u64::from(index));
                whole[len..len + 4].copy_from_slice(&word);
                let (signed, tag) = whole.split_at_mut(len + 4);
                rtcp.sign(signed, &[], tag);
                Ok(len + 4 + SHA1_80_TAG)
            }
            Cipher::Gcm { rtcp, .. } => {
                let whole = buf.get_mut(..len + GCM_TAG + 4).ok_or(Error::NoRoom)?;
                let (packet, room) = whole.split_at_mut(len);
                let (header, body) = packet.split_at_mut(RTCP_CLEAR);
                let (tag, index_room) = room.split_at_mut(GCM_TAG);
                rtcp.seal(
                    rtcp.rtcp_nonce(ssrc, index),
                    &rtcp_aad(header, index),
                    body,
                    tag,
                )?;
                index_room.copy_from_slice(&word);
                Ok(len + GCM_TAG + 4)
            }
        }
    }
}

/// The rollover counter as it goes into the tag of a CM packet (RFC 3711 §4.2).
fn roc_bytes(index: u64) -> [u8; 4] {
    let [_, _, a, b, c, d, _, _] = index.to_be_bytes();
    [a, b, c, d]
}

/// What GCM authenticates beside the body: the clear header, then E flag and index (RFC 7714 §9.2).
fn rtcp_aad(header: &[u8], index: u32) -> [u8; 12] {
    let mut aad = [0u8; 12];
    for (to, from) in aad.iter_mut().zip(header) {
        *to = *from;
    }
    aad[8..].copy_from_slice(&(E_FLAG | index).to_be_bytes());
    aad
}

impl CmKeys {
    /// Adds the key stream (RFC 3711 §4.1.1): the counter block starts at
    /// `salt · 2^16 xor ssrc · 2^64 xor index · 2^16`.
    #[inline]
    fn apply(&self, body: &mut [u8], ssrc: u32, index: u64) {
        let mut iv = [0u8; 16];
        iv[..14].copy_from_slice(&self.salt);
        for (to, from) in iv[4..8].iter_mut().zip(ssrc.to_be_bytes()) {
            *to ^= from;
        }
        // 48 bits of index.
        for (to, from) in iv[8..14].iter_mut().zip(&index.to_be_bytes()[2..]) {
            *to ^= from;
        }
        let core = ctr::CtrCore::<&Aes128Enc, ctr::flavors::Ctr128BE>::inner_iv_init(
            &self.key,
            &iv.into(),
        );
        StreamCipherCoreWrapper::from_core(core).apply_keystream(body);
    }

    #[inline]
    fn tag(&self, body: &[u8], suffix: &[u8]) -> [u8; 20] {
        let mut mac = self.mac.clone();
        mac.update(body);
        mac.update(suffix);
        mac.finalize().into_bytes().into()
    }

    #[inline]
    fn check(&self, body: &[u8], suffix: &[u8], tag: &[u8]) -> Result<(), Error> {
        let wanted = self.tag(body, suffix);
        if bool::from(wanted[..tag.len().min(20)].ct_eq(tag)) {
            Ok(())
        } else {
            Err(Error::Unauthentic)
        }
    }

    #[inline]
    fn sign(&self, body: &[u8], suffix: &[u8], room: &mut [u8]) {
        let tag = self.tag(body, suffix);
        for (to, from) in room.iter_mut().zip(tag) {
            *to = from;
        }
    }
}

impl Drop for CmKeys {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.salt);
    }
}

impl GcmKeys {
    pub(super) fn new(key: &[u8], salt: [u8; 12]) -> GcmKeys {
        let algorithm = if key.len() == 32 {
            &AES_256_GCM
        } else {
            &AES_128_GCM
        };
        let key = UnboundKey::new(algorithm, key).expect("derived at the algorithm's length");
        GcmKeys {
            key: LessSafeKey::new(key),
            salt,
        }
    }

    /// `00 00 | SSRC | ROC | SEQ`, xor salt (RFC 7714 §8.1).
    #[inline]
    fn rtp_nonce(&self, ssrc: u32, index: u64) -> Nonce {
        self.nonce(ssrc, index)
    }

    /// `00 00 | SSRC | 00 00 | index`, xor salt (RFC 7714 §9.1): the same with 31 bits of index.
    #[inline]
    fn rtcp_nonce(&self, ssrc: u32, index: u32) -> Nonce {
        self.nonce(ssrc, u64::from(index))
    }

    #[inline]
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut nonce = self.salt;
        for (to, from) in nonce[2..6].iter_mut().zip(ssrc.to_be_bytes()) {
            *to ^= from;
        }
        for (to, from) in nonce[6..].iter_mut().zip(&index.to_be_bytes()[2..]) {
            *to ^= from;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    #[inline]
    fn open(&self, nonce: Nonce, aad: &[u8], body_and_tag: &mut [u8]) -> Result<(), Error> {
        self.key
            .open_in_place(nonce, Aad::from(aad), body_and_tag)
            .map(|_| ())
            .map_err(|_| Error::Unauthentic)
    }

    #[inline]
    fn seal(
        &self,
        nonce: Nonce,
        aad: &[u8],
        body: &mut [u8],
        room: &mut [u8],
    ) -> Result<(), Error> {
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), body)
            .map_err(|_| Error::Exhausted)?;
        room.copy_from_slice(tag.as_ref());
        Ok(())
    }
}

#[cfg(test)]
impl Cipher {
    /// From session keys, as RFC 7714's examples give them.
    pub(super) fn gcm_from_session(key: &[u8], salt: [u8; 12]) -> Cipher {
        Cipher::Gcm {
            rtp: GcmKeys::new(key, salt),
            rtcp: GcmKeys::new(key, salt),
        }
    }

    /// From session key and salt, as RFC 3711 B.2 gives them; there is no authentication key there.
    pub(super) fn cm_from_session(key: &[u8], salt: &[u8]) -> Cipher {
        let keys = || CmKeys {
            key: Aes128Enc::new_from_slice(key).unwrap(),
            salt: salt.try_into().unwrap(),
            mac: Hmac::new_from_slice(&[]).unwrap(),
        };
        Cipher::Cm {
            rtp: keys(),
            rtcp: keys(),
            rtp_tag: 10,
        }
    }
}
