use crate::time::Instant;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Round-trip estimate (RFC 3261 §17.1.1.1).
pub const T1: Duration = Duration::from_millis(500);
/// Longest interval between repeated non-INVITE requests and INVITE responses.
pub const T2: Duration = Duration::from_secs(4);
/// How long a message stays in the network.
pub const T4: Duration = Duration::from_secs(5);

/// 64 times T1: timers B, D (at least 32 s), F, H, J, L and M.
pub const PATIENCE: Duration = Duration::from_secs(32);

/// The letters of RFC 3261 §17 and RFC 6026 §7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Timer {
    /// INVITE repeated.
    A,
    /// INVITE given up.
    B,
    /// Repeated final responses awaited.
    D,
    /// Request repeated.
    E,
    /// Request given up.
    F,
    /// Final response to INVITE repeated.
    G,
    /// ACK given up.
    H,
    /// Repeated ACKs awaited.
    I,
    /// Repeated requests awaited.
    J,
    /// Repeated responses awaited.
    K,
    /// Repeated INVITEs after a 2xx awaited.
    L,
    /// 2xx of further forks awaited.
    M,
}

/// The one table of a machine's running timers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Timers(Vec<(Timer, Instant)>);

impl Timers {
    pub fn set(&mut self, timer: Timer, at: Instant) {
        self.stop(timer);
        self.0.push((timer, at));
    }

    pub fn stop(&mut self, timer: Timer) {
        self.0.retain(|(t, _)| *t != timer);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn next(&self) -> Option<Instant> {
        self.0.iter().map(|(_, at)| *at).min()
    }

    /// Takes the earliest timer that is due.
    pub fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let (timer, at) = self.0.iter().min_by_key(|(_, at)| *at).copied()?;
        if at > now {
            return None;
        }
        self.stop(timer);
        Some(timer)
    }
}
