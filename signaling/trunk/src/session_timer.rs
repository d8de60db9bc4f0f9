//! Session timers (RFC 4028): a call whose other end is gone without a word ends all the same.
//!
//! An exchange of INVITE or UPDATE agrees on an interval and on who refreshes. The refresher sends one more at
//! half of it; the other ends the call when none came. Any re-INVITE or UPDATE counts.

use crate::agent::{Agent, Due};
use crate::api::{Cause, End, Failure, InviteId, NO_ACCOUNT};
use crate::invite::{Invite, Phase};
use crate::limits::{LEAST_SESSION_S, MAX_SESSION_ROUNDS, MAX_SESSION_S};
use crate::requests::Purpose;
use crate::responses::failure_of;
use crate::validate::Refusal;
use serde::{Deserialize, Serialize};
use signaling_sip::message::{HeaderName, Message, Method};
use signaling_sip::time::Instant;
use std::time::Duration;

/// Nobody may ask for less than this, and so nobody need be ready for it (RFC 4028 §5).
pub const MIN_SE_S: u32 = 90;
/// Where the peer should have refreshed, the call ends this long before its session does, or a third of the interval
/// where that is less (RFC 4028 §10).
const BEFORE_EXPIRY: Duration = Duration::from_secs(32);
/// A refresh that was refused for no lasting reason is tried again after this.
const AGAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SessionTimer {
    /// What was agreed on; 0: nothing, or that there is none.
    interval_s: u32,
    we_refresh: bool,
    /// When the call ends unless it is refreshed before.
    end_at: Instant,
    /// The least that a 422 asked for.
    min_se_s: u32,
    /// 422s since the last success.
    rounds: u8,
    /// Our refresh is due or under way.
    refreshing: bool,
    /// It does it by re-INVITE, with what we said last.
    pub wants_reinvite: bool,
    /// The peer's Allow named UPDATE.
    updates: bool,
}

impl Agent {
    /// What a request of ours says about the session.
    pub(crate) fn session_request(&self, purpose: &Purpose) -> Vec<(&'static str, String)> {
        let (invite, initial) = match purpose {
            Purpose::Invite(invite) | Purpose::Ring(invite, _) => (invite, true),
            Purpose::Reinvite(invite) | Purpose::Refresh(invite) => (invite, false),
            Purpose::Register(_)
            | Purpose::Probe { .. }
            | Purpose::Cancel(_)
            | Purpose::Bye(..)
            | Purpose::Prack(..)
            | Purpose::Refer(..)
            | Purpose::Notify(..)
            | Purpose::Info(_)
            | Purpose::Ack { .. } => return Vec::new(),
        };
        let Some(entry) = self.s.invites.get(invite) else {
            return Vec::new();
        };
        let timer = &entry.timer;
        let least = self.config.min_se_s.max(MIN_SE_S).max(timer.min_se_s);
        let expires = if initial {
            // Who refreshes is for the callee to say (RFC 4028 §7.1).
            match self.session_expires_s(entry.account) {
                0 => return Vec::new(),
                wanted => wanted.max(least).to_string(),
            }
        } else {
            let refresher = if timer.we_refresh { "uac" } else { "uas" };
            match timer.interval_s {
                0 => return Vec::new(),
                agreed => format!("{};refresher={refresher}", agreed.max(timer.min_se_s)),
            }
        };
        let mut headers = vec![("Session-Expires", expires)];
        if least > MIN_SE_S {
            // Else it would say what everybody assumes, in a datagram that has no room to spare.
            headers.push(("Min-SE", least.to_string()));
        }
        headers
    }

    /// 422 to our request: its Min-SE is taken up; false if it was already, or too often (RFC 4028 §7.3).
    pub(crate) fn take_min_se(&mut self, invite: InviteId, response: &Message<'_>) -> bool {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return false;
        };
        let timer = &mut entry.timer;
        let Ok(Some(least)) = response.number(HeaderName::MinSe) else {
            return false;
        };
        if least <= timer.min_se_s || least > MAX_SESSION_S || timer.rounds >= MAX_SESSION_ROUNDS {
            return false;
        }
        timer.min_se_s = least;
        timer.rounds += 1;
        true
    }

    /// A 2xx to an INVITE or UPDATE of ours (RFC 4028 §7.2): without Session-Expires nothing expires.
    pub(crate) fn on_session_response(
        &mut self,
        invite: InviteId,
        response: &Message<'_>,
        now: Instant,
    ) {
        if let Some(entry) = self.s.invites.get_mut(&invite) {
            note_allow(entry, response);
        }
        let (interval, we_refresh) = match response.session_expires() {
            Some((seconds, refresher)) => (seconds, refresher.as_deref() != Some(b"uas")),
            None => (0, false),
        };
        self.start_session(invite, interval, we_refresh, now);
    }

    /// 422 where a request of theirs asks for less than we bear. Not to one that could not make sense of it, whose
    /// Session-Expires a proxy put there (RFC 4028 §9).
    pub(crate) fn session_too_brief(&self, request: &Message<'_>) -> Option<Refusal> {
        let (asked, _) = request.session_expires()?;
        let least = self.config.min_se_s.max(MIN_SE_S);
        let understands = supports_timer(request);
        (asked < least && understands).then(|| {
            Refusal::new(422, "Session Interval Too Small").with("Min-SE", &least.to_string())
        })
    }

    /// What our 2xx to their INVITE or UPDATE says, and the clock begins anew (RFC 4028 §9).
    pub(crate) fn session_answer(
        &mut self,
        invite: InviteId,
        request: &Message<'_>,
        now: Instant,
    ) -> Vec<(&'static str, Vec<u8>)> {
        let account = self
            .s
            .invites
            .get(&invite)
            .map_or(NO_ACCOUNT, |i| i.account);
        let wanted = self.session_expires_s(account);
        let own_least = self.config.min_se_s.max(MIN_SE_S);
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return Vec::new();
        };
        note_allow(entry, request);
        if request.method() == Method::Update && entry.phase != Phase::Talking {
            // The session begins with the 2xx of its INVITE.
            return Vec::new();
        }
        let understands = supports_timer(request);
        let least = request.number(HeaderName::MinSe).ok().flatten();
        let least = least.unwrap_or(0).clamp(own_least, MAX_SESSION_S);
        let (interval, they_refresh) = match request.session_expires() {
            Some((asked, refresher)) => {
                // It may be shortened, though never below what either side bears.
                let interval = if wanted == 0 {
                    asked
                } else {
                    asked.min(wanted)
                };
                let theirs = understands && refresher.as_deref() != Some(b"uas");
                (interval.max(least).min(asked.max(own_least)), theirs)
            }
            None if understands && wanted > 0 => (wanted.max(least), false),
            None => {
                self.start_session(invite, 0, false, now);
                return Vec::new();
            }
        };
        self.start_session(invite, interval, !they_refresh, now);
        let refresher = if they_refresh { "uac" } else { "uas" };
        let expires = format!("{interval};refresher={refresher}").into_bytes();
        let mut headers = vec![("Session-Expires", expires)];
        if they_refresh {
            headers.push(("Require", b"timer".to_vec()));
        }
        headers
    }

    fn start_session(&mut self, invite: InviteId, interval_s: u32, we_refresh: bool, now: Instant) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let timer = &mut entry.timer;
        timer.rounds = 0;
        timer.refreshing = false;
        timer.wants_reinvite = false;
        timer.we_refresh = we_refresh;
        timer.interval_s = match interval_s {
            0 => 0,
            some => some.clamp(LEAST_SESSION_S, MAX_SESSION_S),
        };
        if timer.interval_s == 0 {
            return self.s.schedule.set(Due::Session(invite), None);
        }
        let interval = Duration::from_secs(u64::from(timer.interval_s));
        // A refresher has until the end for its repetitions; the other side gives up a little before (RFC 4028 §10).
        let (end_at, next) = if we_refresh {
            (now + interval, now + interval / 2)
        } else {
            let end_at = now + (interval - BEFORE_EXPIRY.min(interval / 3));
            (end_at, end_at)
        };
        timer.end_at = end_at;
        self.s.schedule.set(Due::Session(invite), Some(next));
    }

    pub(crate) fn on_session_due(&mut self, invite: InviteId, now: Instant) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        if entry.phase != Phase::Talking || entry.hung_up {
            return;
        }
        let timer = &mut entry.timer;
        if timer.we_refresh && !timer.refreshing && now < timer.end_at {
            timer.refreshing = true;
            let end_at = timer.end_at;
            self.s.schedule.set(Due::Session(invite), Some(end_at));
            return self.refresh(invite, now);
        }
        let failure = Failure {
            cause: Cause::Timeout,
            reason: "the session was not refreshed in time".into(),
            ..Failure::default()
        };
        self.end_session(invite, failure, now);
    }

    fn refresh(&mut self, invite: InviteId, now: Instant) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        if !entry.timer.updates {
            entry.timer.wants_reinvite = true;
            return self.send_waiting_offer(invite, now);
        }
        let (account, main) = (entry.account, entry.main);
        let draft = main.and_then(|main| self.dialog_draft(invite, main, Method::Update));
        if let Some((draft, next_hop)) = draft {
            self.request(Purpose::Refresh(invite), account, draft, &next_hop, now);
        }
    }

    /// The answer to an UPDATE that only refreshes.
    pub(crate) fn on_refresh_final(
        &mut self,
        invite: InviteId,
        response: &Message<'_>,
        now: Instant,
    ) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        if entry.phase != Phase::Talking {
            return;
        }
        if response.status() < 300 {
            if let Some(fork) = entry.main() {
                let _ = fork.dialog.refresh_target(response);
            }
            return self.on_session_response(invite, response, now);
        }
        match response.status() {
            422 if self.take_min_se(invite, response) => self.refresh(invite, now),
            // It knows no UPDATE after all.
            405 | 501 => {
                if let Some(entry) = self.s.invites.get_mut(&invite) {
                    entry.timer.updates = false;
                }
                self.refresh(invite, now);
            }
            _ => self.on_refresh_refused(invite, failure_of(response), now),
        }
    }

    /// A refresh by whichever method came to nothing.
    pub(crate) fn on_refresh_refused(&mut self, invite: InviteId, failure: Failure, now: Instant) {
        let gone = matches!(failure.status, 408 | 481) || failure.cause == Cause::Timeout;
        if gone {
            let failure = Failure {
                cause: Cause::Timeout,
                ..failure
            };
            return self.end_session(invite, failure, now);
        }
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        // It may succeed next time, and has until the end of the session to do so.
        let timer = &mut entry.timer;
        timer.refreshing = false;
        let next = (now + AGAIN).min(timer.end_at);
        self.s.schedule.set(Due::Session(invite), Some(next));
    }

    fn end_session(&mut self, invite: InviteId, failure: Failure, now: Instant) {
        let Some(entry) = self.s.invites.get(&invite) else {
            return;
        };
        if entry.phase != Phase::Talking {
            return;
        }
        let end = if entry.hung_up {
            End::ByUs { raw: String::new() }
        } else {
            End::Failed(failure)
        };
        if let Some(main) = entry.main {
            self.send_bye(invite, main, now);
        }
        self.end(invite, end, now);
    }

    /// The re-INVITE that refreshes, if one is due: what we said last, unchanged (RFC 4028 §7.4).
    pub(crate) fn take_refresh(&mut self, invite: InviteId) -> Option<Vec<u8>> {
        let entry = self.s.invites.get_mut(&invite)?;
        if entry.last_sdp.is_empty() || !std::mem::take(&mut entry.timer.wants_reinvite) {
            return None;
        }
        Some(entry.last_sdp.clone())
    }
}

fn supports_timer(message: &Message<'_>) -> bool {
    message.names(HeaderName::Supported, "timer") || message.names(HeaderName::Require, "timer")
}

/// Only what is said counts: without an Allow it stays as it was (RFC 3261 §20.5).
fn note_allow(entry: &mut Invite, message: &Message<'_>) {
    if message.value(HeaderName::Allow).is_some() {
        entry.timer.updates = message.names(HeaderName::Allow, "UPDATE");
    }
}
