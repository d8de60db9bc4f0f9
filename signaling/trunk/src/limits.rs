//! How much of everything there may be, and what happens there.

use std::time::Duration;

/// Accounts; one more fails with `Overloaded`.
pub const MAX_ACCOUNTS: usize = 20_000;
/// INVITEs and their dialogs; one more gets 503, or fails with `Overloaded`.
pub const MAX_INVITES: usize = 20_000;
/// Requests of ours on their way; one more fails with `Overloaded`.
pub const MAX_REQUESTS: usize = 50_000;
/// Server transactions; one more request is answered 503 without remembering it.
pub const MAX_SERVER_TRANSACTIONS: usize = 50_000;
/// Streams; one more is closed at once.
pub const MAX_STREAMS: usize = 4_096;
/// Those of them that others opened: whoever fills these does not keep us from reaching our PBXs.
pub const MAX_ACCEPTED: usize = 3_072;
/// Those from one address, which nobody but a PBX needs more than a few of.
pub const MAX_ACCEPTED_PER_ADDRESS: usize = 512;
/// To tags of one INVITE; 18x of further ones are passed over, 2xx are not …
pub const MAX_FORKS: usize = 32;
/// … up to this: no dialplan rings so many phones, and each costs an ACK and a BYE to wherever its Contact says.
pub const MAX_CONFIRMED_FORKS: usize = 64;
/// Addresses tried for one request.
pub const MAX_HOPS: usize = 16;
/// Names looked up for one request.
pub const MAX_NAMES: usize = 8;
/// Look-ups waiting; one more fails with `Overloaded`.
pub const MAX_LOOKUPS: usize = 4_096;
/// Messages waiting for one connection.
pub const MAX_QUEUED_PER_STREAM: usize = 256;
/// Digest nonces kept for one account.
pub const MAX_DIGEST_SESSIONS: usize = 8;
/// Reliable provisional responses that wait for the PRACK of the one before; the newest take the last place.
pub const MAX_WAITING_PROGRESS: usize = 8;
/// 422s taken up before a request succeeds: a proxy and a callee may each want longer.
pub const MAX_SESSION_ROUNDS: u8 = 3;
/// Sessions are refreshed no more often than in half of this, whatever a peer agrees on …
pub const LEAST_SESSION_S: u32 = 20;
/// … and end within a day, refreshed or not.
pub const MAX_SESSION_S: u32 = 86_400;
/// Targets of 3xx called for one INVITE; after these it fails with what the last one said.
pub const MAX_REDIRECTS: usize = 5;
/// Addresses left alone after a 503 or silence; the one that would rest least makes room.
pub const MAX_RESTING: usize = 4_096;
/// How long an address is left alone that does not say for how long …
pub const USUAL_REST: Duration = Duration::from_secs(30);
/// … and how long at most, whatever it says.
pub const LONGEST_REST: Duration = Duration::from_secs(300);
/// Over this time an address of a trunk gets its share of calls back, after it rested.
pub const RETURN: Duration = Duration::from_secs(60);
/// Trunks of the configuration; further ones are down.
pub const MAX_TRUNKS: usize = 20_000;
/// Servers of one trunk, and addresses that one of them is known by.
pub const MAX_SERVERS: usize = 16;
/// How often the names of a trunk's servers are looked up, where no probe does it.
pub const WATCH: Duration = Duration::from_secs(300);
/// First registrations of trunks keep this distance, lest thousands of them meet one registrar at once.
pub const BETWEEN_REGISTRATIONS: Duration = Duration::from_millis(5);
/// Rounds of 401 and 407 for one request.
pub const MAX_DIGEST_ROUNDS: u8 = 5;

/// REFERs of either side in one dialog that are not over; one more is refused.
pub const MAX_REFERS: usize = 4;
/// INFOs waiting in one dialog behind the one under way; one more fails with `Overloaded`.
pub const MAX_INFOS: usize = 64;
/// The longest body of an INFO; a longer one of theirs gets 413.
pub const MAX_INFO_BODY: usize = 4_096;

/// The calls have this long to decide on a REFER, then it gets 500: its sender waits for 32 s.
pub const REFER_DECISION: Duration = Duration::from_secs(30);
/// The peer hears of its REFER for this long: a little longer than anything may ring.
pub const REFER_LASTS: Duration = Duration::from_secs(250);
/// The NOTIFY that follows a 202 has this long (RFC 6665 §4.1.2.4: 64 T1) …
pub const FIRST_NOTIFY: Duration = Duration::from_secs(32);
/// … and each later one this long, or as much less as the peer says.
pub const MAX_NOTIFY_PAUSE: Duration = Duration::from_secs(300);

/// A connection that is not up by then has failed.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The same with TLS, whose handshake has a few round trips more.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(8);
/// Look-ups of one request, all together.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer about NAPTR is waited for, once all others are in.
pub const POINTER_PATIENCE: Duration = Duration::from_millis(500);
/// Line ends are sent this often to keep NAT bindings and connections alive (RFC 5626 §3.5).
pub const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// An INVITE may ring this long (RFC 3261 §16.6: more than 3 minutes).
pub const MAX_RINGING: Duration = Duration::from_secs(240);
/// Requests longer than this leave UDP for TCP (RFC 3261 §18.1.1).
pub const MAX_DATAGRAM: usize = 1_300;

/// An accepted connection that has sent no message by then is closed.
pub const FIRST_MESSAGE: Duration = Duration::from_secs(32);
/// An accepted connection that has been silent for this long is closed; its peer opens another when it needs one.
pub const MAX_SILENCE: Duration = Duration::from_secs(900);
