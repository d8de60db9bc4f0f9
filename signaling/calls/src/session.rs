//! A session: one page's connection, its account, and how much it may say.

use crate::limits::{FRAMES_BURST, FRAMES_DROPPED, FRAMES_PER_SECOND};
use media_control::Codec;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use signaling_protocol::LineIdentity;
use signaling_protocol::connection::UserData;
use signaling_sip::time::Instant;
use signaling_trunk::api::AccountId;
use std::net::{IpAddr, SocketAddr};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    pub remote: SocketAddr,
    /// What resumes it, as its page is told it once; afterwards only `proof` is kept.
    pub token: Option<Token>,
    /// SHA-256 of the token.
    pub proof: Proof,
    pub last_heard: Instant,
    pub rate: Rate,
    pub user: Option<User>,
    /// Its close was asked for; nothing more is said to it.
    pub closing: bool,
    /// Its socket was lost; registration and calls wait for the page to come back with the token.
    pub parked: bool,
    /// Who it is on the operator's lines, as its application or its backend says.
    #[serde(default)]
    pub line_identity: Option<LineIdentity>,
    /// The application's backend has taken it in.
    #[serde(default)]
    pub approved: bool,
}

/// What `connection` made of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct User {
    pub app_key: String,
    pub account_id: AccountId,
    /// Stays for a while when the socket is lost.
    pub keep_alive: bool,
    /// What `getUserData` told, without the token.
    pub data: UserData,
    pub login: String,
    pub display: String,
    pub account: Account,
    /// Where its SIP goes, if the page said so by number.
    pub sip_peer: Option<IpAddr>,
    /// Its registrar is the one that its domain names, not one that the page chose.
    #[serde(default)]
    pub at_home: bool,
    /// Its registrar has said yes at least once: a failure that is tried again proves nothing.
    #[serde(default)]
    pub was_registered: bool,
    pub custom: Option<Value>,
    /// What the SIP side spoke in the last call: likely what it speaks in the next.
    pub far_codec: Option<Codec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Account {
    /// A session without SIP: it can still dial `echo`.
    None,
    /// Usable without registration.
    Open,
    Registering,
    Registered,
    /// The registration was lost and the trunk tries again.
    Retrying,
    Failed,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Token(pub String);

/// SHA-256 of a token: what it takes to know it again, and not to say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Proof([u8; 32]);

impl Proof {
    pub fn of(token: &str) -> Proof {
        Proof(Sha256::digest(token.as_bytes()).into())
    }

    /// As books name it: enough of it to be nobody else's.
    pub fn to_text(self) -> String {
        self.0[..16].iter().map(|b| format!("{b:02x}")).collect()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A bucket of frames: a page that floods loses frames, and in the end its socket, and costs nobody else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Rate {
    left: u32,
    filled: Instant,
    dropped: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Take,
    Drop,
    Close,
}

impl Rate {
    pub fn new(now: Instant) -> Rate {
        Rate {
            left: FRAMES_BURST,
            filled: now,
            dropped: 0,
        }
    }

    pub fn admit(&mut self, now: Instant) -> Admission {
        let since = now.saturating_duration_since(self.filled);
        let earned = u64::try_from(since.as_micros())
            .unwrap_or(u64::MAX)
            .saturating_mul(u64::from(FRAMES_PER_SECOND))
            / 1_000_000;
        if earned > 0 {
            self.left = u32::try_from(earned.saturating_add(u64::from(self.left)))
                .unwrap_or(u32::MAX)
                .min(FRAMES_BURST);
            self.filled = now;
        }
        if self.left > 0 {
            self.left -= 1;
            return Admission::Take;
        }
        self.dropped += 1;
        if self.dropped >= FRAMES_DROPPED {
            Admission::Close
        } else {
            Admission::Drop
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_loses_frames_and_then_its_socket_while_a_steady_page_loses_none() {
        let mut flood = Rate::new(Instant(0));
        let taken = (0..FRAMES_BURST + FRAMES_DROPPED)
            .map(|_| flood.admit(Instant(0)))
            .collect::<Vec<_>>();
        assert_eq!(
            taken.iter().filter(|a| **a == Admission::Take).count(),
            FRAMES_BURST as usize
        );
        assert_eq!(taken.last(), Some(&Admission::Close));

        let mut steady = Rate::new(Instant(0));
        let mut now = Instant(0);
        for _ in 0..10_000 {
            now += Duration::from_millis(21);
            assert_eq!(steady.admit(now), Admission::Take);
        }
    }
}
