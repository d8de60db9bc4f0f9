//! The one clock of the signaling cores.

use signaling_sip::time::Instant;
use std::time::Duration;

/// Maps the monotonic clock to the cores' microseconds, beginning at the process's start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    pub fn start() -> Clock {
        Clock {
            origin: tokio::time::Instant::now(),
        }
    }

    pub fn now(&self) -> Instant {
        Instant(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// When a core's timer is due, for the runtime to sleep until.
    pub fn deadline(&self, at: Instant) -> tokio::time::Instant {
        self.origin + Duration::from_micros(at.0)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::start()
    }
}
