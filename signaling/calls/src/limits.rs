//! Everything here that can grow, with its limit, and the periods that the protocol leaves to the server
//! (protocol §3.6).

use std::time::Duration;

/// Calls of one session at once; one more is refused with FAILED.
pub const CALLS_PER_SESSION: usize = 16;
/// The same with those that have ended but whose INVITE nobody has answered yet: a page that dials and hangs up
/// in a circle must not fill the trunk's table with them.
pub const ENDING_PER_SESSION: usize = 48;
/// Longest text taken from a page for a name, a number or a domain, bytes.
pub const TEXT_BYTES: usize = 512;
/// Longest description taken from a page, bytes.
pub const SDP_BYTES: usize = 64 * 1024;
/// Header lines and parameters that a page may add to one INVITE.
pub const EXTRAS: usize = 16;
/// Early dialogs of one INVITE whose media is remembered; the media of one more is not.
pub const FORKS: usize = 16;
/// Ways that one call of the dial plan tries, one after the other, redirections included.
pub const ATTEMPTS: usize = 8;
/// Redirections (3xx) that one call of the dial plan goes after.
pub const REDIRECTS: u8 = 5;
/// Sessions that one incoming call rings at once.
pub const RINGING_TOGETHER: usize = 32;
/// Digits of one `sendDtmf`.
pub const DIGITS: usize = 32;

/// A socket without `connection` is closed.
pub const CONNECTION: Duration = Duration::from_secs(10);
/// Pings go by a steady clock, busy or not.
pub const PING: Duration = Duration::from_secs(5);
/// So long without any frame, and the socket is taken for dead.
pub const SILENCE: Duration = Duration::from_secs(50);
/// A session whose page asked for keepAlive waits so long for it to come back (protocol §1.8).
pub const PARKED: Duration = Duration::from_secs(60);
/// An INVITE waits so long for the registration it depends on.
pub const REGISTRATION: Duration = Duration::from_secs(10);
/// A call that rings so long without a sound of the far side gets a ringback of ours.
pub const RINGBACK_AFTER: Duration = Duration::from_secs(1);
/// An incoming call rings so long.
pub const NO_ANSWER_INCOMING: Duration = Duration::from_secs(60);
/// An outgoing call rings so long.
pub const NO_ANSWER_OUTGOING: Duration = Duration::from_secs(180);
/// After COMPLETED of a transfer the far side has so long for its BYE, and we hang up if it does not come.
pub const TRANSFERRED: Duration = Duration::from_secs(3);
/// A transfer of which nobody tells the outcome is taken for failed after this, and another one may be tried.
pub const TRANSFER_OUTCOME: Duration = Duration::from_secs(200);
/// Who asked us to call somebody else has so long, after the new party answered, to say BYE by itself.
pub const REPLACED: Duration = Duration::from_secs(2);
/// An ended call is forgotten after this, whatever its legs or the trunk owe.
pub const FORGET: Duration = Duration::from_secs(70);

/// Frames a session may send at once, and per second after that; what is over is dropped.
pub const FRAMES_BURST: u32 = 200;
pub const FRAMES_PER_SECOND: u32 = 50;
/// Dropped frames after which a session is closed.
pub const FRAMES_DROPPED: u32 = 2_000;
/// Provisional NOTIFYs of one transfer that its page is told.
pub const TRANSFER_PROGRESS: u8 = 16;
