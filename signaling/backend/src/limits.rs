//! Everything here that can grow, with its limit, and the periods.

use std::time::Duration;

/// Frames of one session that may wait for a backend; one more, and the session is closed.
pub(crate) const FRAMES: usize = 64;
/// The same in bytes.
pub(crate) const FRAME_BYTES: usize = 1024 * 1024;
/// Messages that may wait on their way to a page; one more, and all go without waiting any longer.
pub(crate) const MESSAGES: usize = 256;
/// Messages of one incoming call that may wait for the answer to `OnCallEvent`; more are not kept.
pub(crate) const HELD: usize = 32;
/// Calls of one session whose last state is kept for the bodies of hooks. The switchboard has fewer at once.
pub(crate) const CALLS: usize = 64;
/// Refused incoming calls whose last words a page must not hear.
pub(crate) const MUTED: usize = 32;
/// Events of one session on their way to a backend that nothing waits for; more are not told.
pub(crate) const NOTES: usize = 128;
/// Addresses whose rate of connections is watched.
pub(crate) const ADDRESSES: usize = 16 * 1024;
/// Dropped frames after which a session is closed.
pub(crate) const FRAMES_DROPPED: u32 = 2_000;
/// Longest reason that is taken from a backend for a page or a log, characters.
pub(crate) const REASON: usize = 512;

/// Whoever posts answers earlier than this, where the settings say nothing; after it the answer is taken for lost.
pub(crate) const ANSWER: Duration = Duration::from_secs(60);
/// One line an application in the log about its backend, not more often than this.
pub(crate) const LOGGED_EVERY: Duration = Duration::from_secs(10);
