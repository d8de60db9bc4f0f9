//! Nonces that need no memory until they proved something: the time, a number and a MAC over both and the address
//! they were given to. Of one that did, the counters seen are kept, so that no request counts twice
//! (RFC 7616 §3.4).

use crate::net::unmapped;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use signaling_sip::time::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// How long a nonce may be used; then `stale=true` gives another one.
pub const NONCE_LIFE: Duration = Duration::from_secs(1_800);
/// Nonces in use that are remembered. Beyond them the oldest count as stale.
pub const MAX_NONCES: usize = 65_536;
/// Bytes of the MAC that are shown.
const MAC_LEN: usize = 16;

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Nonces {
    /// Drawn with the first nonce.
    secret: String,
    drawn: u64,
    used: BTreeMap<(Instant, u64), Uses>,
    /// Nonces up to this one may have been used without our remembering.
    forgotten: Option<(Instant, u64)>,
}

/// The highest counter, and which of the 64 below it were seen: requests over UDP may overtake each other.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Uses {
    highest: u32,
    seen: u64,
}

impl Uses {
    /// False where it was seen before, or is too old to tell.
    fn take(&mut self, nc: u32) -> bool {
        if nc == 0 {
            return false;
        }
        if nc > self.highest {
            let ahead = nc - self.highest;
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = nc;
            return true;
        }
        let bit = 1u64.checked_shl(self.highest - nc).unwrap_or(0);
        let fresh = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        fresh
    }
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Nonces({} in use)", self.used.len())
    }
}

impl Nonces {
    pub fn has_secret(&self) -> bool {
        !self.secret.is_empty()
    }

    /// Before the first nonce.
    pub fn set_secret(&mut self, secret: String) {
        self.secret = secret;
    }

    pub fn draw(&mut self, ip: IpAddr, now: Instant) -> String {
        self.drawn = self.drawn.wrapping_add(1);
        let head = format!("{:016x}{:016x}", now.0, self.drawn);
        let mac = self.mac(&head, ip).finalize().into_bytes();
        let mac: String = mac
            .iter()
            .take(MAC_LEN)
            .map(|b| format!("{b:02x}"))
            .collect();
        head + &mac
    }

    fn mac(&self, head: &str, ip: IpAddr) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes())
            .expect("a key of HMAC may have any length");
        mac.update(head.as_bytes());
        mac.update(unmapped(ip).to_string().as_bytes());
        mac
    }

    /// Whether we gave this nonce to this address, however long ago: then somebody is there who receives what we
    /// send.
    pub fn is_ours(&self, nonce: &[u8], ip: IpAddr) -> bool {
        self.read(nonce, ip).is_some()
    }

    fn read(&self, nonce: &[u8], ip: IpAddr) -> Option<(Instant, u64)> {
        let text = std::str::from_utf8(nonce).ok()?;
        if !text.is_ascii() || text.len() != 32 + 2 * MAC_LEN {
            return None;
        }
        let (head, mac) = text.split_at(32);
        let shown: Vec<u8> = (0..MAC_LEN)
            .map_while(|at| u8::from_str_radix(mac.get(2 * at..2 * at + 2)?, 16).ok())
            .collect();
        if shown.len() != MAC_LEN {
            return None;
        }
        self.mac(head, ip).verify_truncated_left(&shown).ok()?;
        let (made, number) = head.split_at(16);
        let number_of = |text| u64::from_str_radix(text, 16).ok();
        Some((Instant(number_of(made)?), number_of(number)?))
    }

    /// Takes one use of a nonce whose credentials proved the password; false: stale, another one is due.
    pub fn take(&mut self, nonce: &[u8], nc: u32, ip: IpAddr, now: Instant) -> bool {
        while let Some(((made, number), _)) = self.used.first_key_value() {
            if now - *made < NONCE_LIFE {
                break;
            }
            let key = (*made, *number);
            self.used.remove(&key);
        }
        let Some(key) = self.read(nonce, ip) else {
            return false;
        };
        if key.0 > now || now - key.0 >= NONCE_LIFE {
            return false;
        }
        if !self.used.contains_key(&key) {
            if self.forgotten.is_some_and(|last| key <= last) {
                return false;
            }
            if self.used.len() >= MAX_NONCES
                && let Some((oldest, _)) = self.used.pop_first()
            {
                self.forgotten = Some(oldest);
                if key <= oldest {
                    return false;
                }
            }
        }
        self.used.entry(key).or_default().take(nc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn nonces() -> Nonces {
        let mut nonces = Nonces::default();
        nonces.set_secret("secret".into());
        nonces
    }

    #[test]
    fn a_nonce_counts_for_its_address_its_time_and_each_counter_once() {
        let mut nonces = nonces();
        let now = Instant(5);
        let nonce = nonces.draw(HERE, now);
        let nonce = nonce.as_bytes();
        assert!(!nonces.take(nonce, 1, THERE, now) && !nonces.is_ours(nonce, THERE));
        assert!(nonces.is_ours(nonce, HERE));
        assert!(nonces.take(nonce, 3, HERE, now));
        assert!(!nonces.take(nonce, 3, HERE, now), "again");
        assert!(nonces.take(nonce, 1, HERE, now), "overtaken on its way");
        assert!(!nonces.take(nonce, 0, HERE, now));
        assert!(nonces.take(nonce, 200, HERE, now));
        assert!(!nonces.take(nonce, 2, HERE, now), "too old to tell");
        let late = now + NONCE_LIFE;
        assert!(!nonces.take(nonce, 201, HERE, late));
        assert!(nonces.used.is_empty(), "forgotten when it has aged");
    }

    #[test]
    fn a_nonce_that_was_made_up_or_changed_is_nobodys() {
        let mut nonces = nonces();
        let nonce = nonces.draw(HERE, Instant(5));
        let changed = nonce.replacen('0', "1", 1);
        for made_up in [
            "",
            "0",
            &changed,
            &nonce[..63],
            &"z".repeat(64),
            &"é".repeat(32),
        ] {
            assert!(!nonces.take(made_up.as_bytes(), 1, HERE, Instant(5)));
        }
    }

    #[test]
    fn what_was_forgotten_for_want_of_room_is_stale_not_new() {
        let mut nonces = nonces();
        let all: Vec<String> = (0..=MAX_NONCES as u64)
            .map(|at| nonces.draw(HERE, Instant(at)))
            .collect();
        let now = Instant(MAX_NONCES as u64);
        for nonce in &all {
            assert!(nonces.take(nonce.as_bytes(), 1, HERE, now));
        }
        assert_eq!(nonces.used.len(), MAX_NONCES);
        assert!(!nonces.take(all[0].as_bytes(), 1, HERE, now));
        assert!(!nonces.take(all[1].as_bytes(), 1, HERE, now));
        assert!(nonces.take(all[1].as_bytes(), 2, HERE, now));
    }
}
