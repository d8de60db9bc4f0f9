//! Session keys from the master key (RFC 3711 §4.3), with a key derivation rate of zero.

use super::{Error, Profile, key_len, salt_len};
use aes::cipher::KeyInit;
use aes::{Aes128Enc, Aes256Enc};
use ctr::cipher::{InnerIvInit, StreamCipher, StreamCipherCoreWrapper};
use zeroize::Zeroizing;

/// What a session key is for (RFC 3711 §4.3.1 and §4.3.2).
#[derive(Clone, Copy)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// Master key and salt, ready to derive.
pub(super) struct Master<'a> {
    key: &'a [u8],
    /// RFC 7714 §11 fills its 96-bit salt with zeros at the right.
    salt: [u8; 14],
}

impl<'a> Master<'a> {
    pub(super) fn new(profile: Profile, key_and_salt: &'a [u8]) -> Result<Master<'a>, Error> {
        if key_and_salt.len() != key_len(profile) + salt_len(profile) {
            return Err(Error::KeyLength);
        }
        let (key, rest) = key_and_salt.split_at(key_len(profile));
        let mut salt = [0u8; 14];
        for (to, from) in salt.iter_mut().zip(rest) {
            *to = *from;
        }
        Ok(Master { key, salt })
    }

    /// Fills `out` with the key stream under the master key from `(label · 2^48) xor salt`, in the upper
    /// 112 bits of the counter block.
    pub(super) fn derive<const N: usize>(&self, label: Label) -> Zeroizing<[u8; N]> {
        let mut iv = [0u8; 16];
        iv[..14].copy_from_slice(&self.salt);
        iv[7] ^= label as u8;
        let mut out = Zeroizing::new([0u8; N]);
        if self.key.len() == 32 {
            let key = Aes256Enc::new_from_slice(self.key).expect("32 bytes are an AES-256 key");
            let core =
                ctr::CtrCore::<&Aes256Enc, ctr::flavors::Ctr128BE>::inner_iv_init(&key, &iv.into());
            StreamCipherCoreWrapper::from_core(core).apply_keystream(&mut out[..]);
        } else {
            let key = Aes128Enc::new_from_slice(self.key).expect("Master::new checked the length");
            let core =
                ctr::CtrCore::<&Aes128Enc, ctr::flavors::Ctr128BE>::inner_iv_init(&key, &iv.into());
            StreamCipherCoreWrapper::from_core(core).apply_keystream(&mut out[..]);
        }
        out
    }
}
