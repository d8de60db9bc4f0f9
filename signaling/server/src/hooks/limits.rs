//! Everything here that can grow, and what happens at its limit.

use std::time::Duration;

/// Connections to one application's backend, where the settings do not say.
pub const CONNECTIONS: usize = 8;
/// Hooks of one application that wait for a connection; then the oldest that nothing waits for is dropped, and where
/// there is none, the new one.
pub const QUEUE: usize = 1000;
/// How long a backend may take, from the first packet of a connection to the last byte of the body.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// The same where the settings say that there is no limit: a hook must not stay for ever.
pub const LONGEST_REQUEST: Duration = Duration::from_secs(600);
/// One address of a name that has several may take so long to answer, then the next is tried.
pub const CONNECTING: Duration = Duration::from_secs(4);
/// Longest answer; a longer one is no answer.
pub const BODY: usize = 256 * 1024;
/// Longest head of an answer.
pub const HEAD: usize = 32 * 1024;
/// A connection that nobody used for so long is not used again: Node closes its own after 5 s, and what is written
/// into a connection that is just being closed is lost.
pub const IDLE: Duration = Duration::from_secs(4);
/// A connection older than this makes room for a new one, so that a name's new address is found.
pub const AGE: Duration = Duration::from_secs(300);
/// Failures one after the other that open the breaker.
pub const FAILURES: u32 = 5;
/// How long an open breaker waits for its first probe; twice as long for each next one …
pub const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
/// … but never longer.
pub const LAST_BACK_OFF: Duration = Duration::from_secs(30);
/// Answers on their way to the loop; tasks wait beyond.
pub const ANSWERS: usize = 1024;
/// Longest reason phrase that is handed on.
pub const REASON: usize = 200;
/// The part of an application's queue that one session may fill, but so many at least.
pub(super) const SHARE: usize = 8;
pub(super) const LEAST_SHARE: usize = 16;
