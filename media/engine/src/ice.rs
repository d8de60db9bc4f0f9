//! ICE-lite (RFC 8445 §2.5): we are always controlled, answer checks, and send none of our own.
//!
//! The messages are the `is` crate's; the state is ours, because it is all that a leg needs to be
//! rebuilt from a snapshot: credentials, checked addresses, and which of them is nominated.

use crate::datagram::Path;
use is::stun::StunMessage;
use is::{DefaultSha1HmacProvider, Sha1HmacProvider};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// Without a valid check for this long after the remote description, the leg fails.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// Consent ends this long after the last authenticated request (RFC 7675 §5.1).
pub const CONSENT_TIMEOUT: Duration = Duration::from_secs(30);
/// A nominated address that was not nominated again for this long yields to any other nomination.
const NOMINATION_FRESH: Duration = Duration::from_secs(1);
/// Addresses remembered per leg; beyond, the one checked longest ago is forgotten.
pub const MAX_ADDRESSES: usize = 8;
/// The longest check looked at; the longest that browsers send has about 150 bytes.
const MAX_CHECK_LEN: usize = 548;

/// A short-term credential (RFC 8445 §5.3).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceCreds {
    pub ufrag: String,
    pub pwd: String,
}

impl std::fmt::Debug for IceCreds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IceCreds {{ ufrag: {}, … }}", self.ufrag)
    }
}

impl From<media_control::IceCredentials> for IceCreds {
    fn from(told: media_control::IceCredentials) -> IceCreds {
        let media_control::IceCredentials { ufrag, pwd } = told;
        IceCreds { ufrag, pwd }
    }
}

impl IceCreds {
    /// As descriptions tell them.
    pub fn told(&self) -> media_control::IceCredentials {
        media_control::IceCredentials {
            ufrag: self.ufrag.clone(),
            pwd: self.pwd.clone(),
        }
    }

    /// 8 and 32 characters out of 64: 48 and 192 bits (RFC 8445 §5.3 asks for 24 and 128).
    pub fn draw(random: &mut dyn FnMut(&mut [u8])) -> IceCreds {
        const ICE_CHARS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut dice = [0u8; 40];
        random(&mut dice);
        let chars: String = dice
            .iter()
            .map(|byte| char::from(ICE_CHARS[usize::from(byte & 63)]))
            .collect();
        let (ufrag, pwd) = chars.split_at(8);
        IceCreds {
            ufrag: ufrag.to_owned(),
            pwd: pwd.to_owned(),
        }
    }
}

/// An address of the peer that sent an authenticated check.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub path: Path,
    remote_ufrag: String,
    priority: u32,
    last_check: Instant,
    /// When it last came with USE-CANDIDATE.
    last_nominated: Option<Instant>,
}

/// What a check led to. Whatever it is, `reply` holds what to send back, if it is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not for us or not authentic: no answer, nothing changed.
    Ignored,
    /// Answered with an error.
    Refused,
    /// Valid; `forget` is an address that had to make room.
    Valid {
        new_address: bool,
        forget: Option<Path>,
    },
}

pub(crate) struct IceLite {
    pub creds: IceCreds,
    remote: Option<IceCreds>,
    checked: Vec<Checked>,
    nominated: Option<Path>,
    last_valid: Option<Instant>,
}

impl IceLite {
    pub fn new(creds: IceCreds) -> IceLite {
        IceLite {
            creds,
            remote: None,
            checked: Vec::new(),
            nominated: None,
            last_valid: None,
        }
    }

    /// Rebuilds what [`IceLite::nominated_path`] and the credentials described.
    pub fn restore(creds: IceCreds, remote: IceCreds, path: Path, now: Instant) -> IceLite {
        let checked = Checked {
            path,
            remote_ufrag: remote.ufrag.clone(),
            priority: 0,
            last_check: now,
            last_nominated: Some(now),
        };
        IceLite {
            creds,
            remote: Some(remote),
            checked: vec![checked],
            nominated: Some(path),
            last_valid: Some(now),
        }
    }

    pub fn remote(&self) -> Option<&IceCreds> {
        self.remote.as_ref()
    }

    /// The peer's credentials are known now; addresses that checked under another name are forgotten
    /// and returned.
    pub fn set_remote(&mut self, remote: IceCreds) -> Vec<Path> {
        let mut forgotten = Vec::new();
        self.checked.retain(|checked| {
            let keep = checked.remote_ufrag == remote.ufrag;
            if !keep {
                forgotten.push(checked.path);
            }
            keep
        });
        if self.nominated.is_some_and(|path| forgotten.contains(&path)) {
            self.nominated = None;
        }
        if self.checked.is_empty() {
            self.last_valid = None;
        }
        self.remote = Some(remote);
        forgotten
    }

    /// Where to send: the nominated address, or before there is one the last that checked.
    pub fn nominated_path(&self) -> Option<Path> {
        self.nominated.or_else(|| {
            self.checked
                .iter()
                .max_by_key(|c| c.last_check)
                .map(|c| c.path)
        })
    }

    pub fn is_nominated(&self) -> bool {
        self.nominated.is_some()
    }

    pub fn paths(&self) -> impl Iterator<Item = Path> + '_ {
        self.checked.iter().map(|checked| checked.path)
    }

    /// When `path` last sent a valid check.
    pub fn last_check(&self, path: &Path) -> Option<Instant> {
        self.find(path).map(|index| self.checked[index].last_check)
    }

    pub fn last_valid(&self) -> Option<Instant> {
        self.last_valid
    }

    fn find(&self, path: &Path) -> Option<usize> {
        self.checked
            .iter()
            .position(|c| c.path.socket == path.socket && c.path.remote == path.remote)
    }

    /// Answers a binding request that came on `path` (RFC 8445 §7.3).
    pub fn handle_check(
        &mut self,
        message: &StunMessage<'_>,
        path: Path,
        now: Instant,
        reply: &mut Vec<u8>,
    ) -> Verdict {
        reply.clear();
        let Some((local, remote_ufrag)) = message.split_username() else {
            return Verdict::Ignored;
        };
        if !bool::from(local.as_bytes().ct_eq(self.creds.ufrag.as_bytes())) {
            return Verdict::Ignored;
        }
        if self
            .remote
            .as_ref()
            .is_some_and(|remote| remote.ufrag != remote_ufrag)
        {
            return Verdict::Ignored;
        }
        if !message.verify(self.creds.pwd.as_bytes(), hmac) {
            return Verdict::Ignored;
        }
        if message.ice_controlled().is_some() {
            // Both controlled: a lite agent stays so, the peer must take over (RFC 8445 §7.3.1.1).
            let conflict = StunMessage::binding_role_conflict_reply(message.trans_id());
            self.write(conflict, reply);
            return Verdict::Refused;
        }

        let success = StunMessage::binding_reply(message.trans_id(), path.remote);
        self.write(success, reply);
        self.last_valid = Some(now);
        let priority = message.prio().unwrap_or(0);
        let mut forget = None;
        let (index, new_address) = match self.find(&path) {
            Some(index) => (index, false),
            None => {
                if self.checked.len() >= MAX_ADDRESSES {
                    forget = self.forget_oldest();
                }
                self.checked.push(Checked {
                    path,
                    remote_ufrag: remote_ufrag.to_owned(),
                    priority,
                    last_check: now,
                    last_nominated: None,
                });
                (self.checked.len() - 1, true)
            }
        };
        let checked = &mut self.checked[index];
        // The address of ours that it came to may have changed under the same remote address.
        let same_as_nominated = self.nominated == Some(checked.path);
        checked.path = path;
        checked.last_check = now;
        checked.priority = priority;
        if same_as_nominated {
            self.nominated = Some(path);
        }
        if message.use_candidate() {
            checked.last_nominated = Some(now);
            self.nominate(index, now);
        }
        Verdict::Valid {
            new_address,
            forget,
        }
    }

    /// A nomination moves the leg, unless the present address is preferred by the peer and was itself
    /// nominated a moment ago: peers that nominate every pair (RFC 5245 §8.1.1.2) would make it swing.
    fn nominate(&mut self, index: usize, now: Instant) {
        let candidate = &self.checked[index];
        let present = self
            .nominated
            .and_then(|path| self.find(&path))
            .map(|i| &self.checked[i]);
        let stays = present.is_some_and(|present| {
            present.path != candidate.path
                && present.priority > candidate.priority
                && present
                    .last_nominated
                    .is_some_and(|at| now.saturating_duration_since(at) < NOMINATION_FRESH)
        });
        if !stays {
            self.nominated = Some(candidate.path);
        }
    }

    fn forget_oldest(&mut self) -> Option<Path> {
        let oldest = self
            .checked
            .iter()
            .enumerate()
            .filter(|(_, checked)| Some(checked.path) != self.nominated)
            .min_by_key(|(_, checked)| checked.last_check)
            .map(|(index, _)| index)?;
        Some(self.checked.swap_remove(oldest).path)
    }

    fn write(&self, message: StunMessage<'_>, reply: &mut Vec<u8>) {
        reply.resize(MAX_CHECK_LEN, 0);
        match message.to_bytes(Some(self.creds.pwd.as_bytes()), reply, hmac) {
            Ok(len) => reply.truncate(len),
            Err(_) => reply.clear(),
        }
    }
}

/// A binding request, or nothing that we would look at.
pub(crate) fn parse_check(packet: &[u8]) -> Option<StunMessage<'_>> {
    if packet.len() > MAX_CHECK_LEN {
        return None;
    }
    StunMessage::parse(packet)
        .ok()
        .filter(|message| message.is_binding_request())
}

fn hmac(key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
    DefaultSha1HmacProvider.sha1_hmac(key, payloads)
}
