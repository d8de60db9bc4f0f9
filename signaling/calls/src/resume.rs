//! A page that lost its socket comes back with its token and finds its registration and its calls
//! (protocol §1.8).

use crate::api::{Output, SessionId};
use crate::call::{CallKey, Stage};
use crate::limits::{PARKED, PING};
use crate::session::{Account, Proof};
use crate::switchboard::Switchboard;
use crate::timers::Timer;
use signaling_protocol::connection::{Connection, Registered, RegistrationStatus, UserData};
use signaling_protocol::{AuthToken, GetVersion, ServerMessage};
use signaling_sip::time::Instant;

impl Switchboard {
    /// Keeps a session whose socket is gone, if its page asked for that.
    pub(crate) fn park(&mut self, id: SessionId, now: Instant) -> bool {
        let shutting_down = self.shutting_down;
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        let keeps = session
            .user
            .as_ref()
            .is_some_and(|user| user.keep_alive && user.account != Account::Failed);
        // One that we closed ourselves had its reason.
        if !keeps || session.closing || session.parked || shutting_down {
            return false;
        }
        session.parked = true;
        self.timers.cancel(Timer::Ping(id.0));
        self.timers.set(Timer::Parked(id.0), now + PARKED);
        true
    }

    /// Attaches the socket `id` to the session that its token names: everything of that session moves over,
    /// and a socket that it still has is closed. `false`: there is no such session for this application.
    pub(crate) fn resume(&mut self, id: SessionId, connection: &Connection, now: Instant) -> bool {
        let Some(token) = &connection.auth_token else {
            return false;
        };
        let app = connection.app_key.as_deref().unwrap_or("defaultApp");
        let Some(old) = self.by_proof.get(&Proof::of(token.expose())).copied() else {
            return false;
        };
        let bound = |s: &crate::session::Session| {
            !s.closing && s.user.as_ref().is_some_and(|user| user.app_key == app)
        };
        if !self.sessions.get(&old).is_some_and(bound) {
            return false;
        }
        let (Some(mut session), Some(fresh)) =
            (self.sessions.remove(&old), self.sessions.remove(&id))
        else {
            return false;
        };
        if !session.parked {
            self.output(Output::Close { session: old });
        }
        for timer in [
            Timer::Ping(old.0),
            Timer::Parked(old.0),
            Timer::Connection(id.0),
        ] {
            self.timers.cancel(timer);
        }
        self.timers.set(Timer::Ping(id.0), now + PING);
        session.parked = false;
        session.remote = fresh.remote;
        session.rate = fresh.rate;
        session.line_identity = fresh.line_identity;
        session.approved = fresh.approved;
        session.last_heard = now;
        let user = session.user.clone();
        self.by_proof.insert(session.proof, id);
        self.sessions.insert(id, session);
        let Some(user) = user else {
            return false;
        };
        if let Some(owner) = self.by_account.get_mut(&user.account_id) {
            *owner = id;
        }
        self.output(Output::Moved { from: old, to: id });
        let calls = self.move_calls(old, id);
        let data = UserData {
            auth_token: Some(AuthToken::new(token.expose())),
            ..user.data
        };
        self.send(id, ServerMessage::GetUserData(Box::new(data)));
        let version = self.config.version.clone();
        self.send(id, ServerMessage::GetVersion(GetVersion { version }));
        if user.account == Account::Registered {
            let registered = Registered {
                status: RegistrationStatus::Registered,
                info: None,
                sip_message_raw: None,
            };
            self.send(id, ServerMessage::Registered(registered));
        }
        // What still rings is announced afresh. What is established goes on without the new page knowing it,
        // which can only hang it up: the peer connection was the old page's.
        for key in calls {
            let Some(call) = self.calls.get_mut(&key) else {
                continue;
            };
            if call.stage == Stage::Ringing {
                self.tell_of_ringing(key, now);
            } else if call.stage != Stage::AwaitingLegs || !call.incoming {
                call.page_is_new = true;
            }
        }
        true
    }

    fn move_calls(&mut self, old: SessionId, new: SessionId) -> Vec<CallKey> {
        let all: Vec<CallKey> = self.with_ending(old).collect();
        let mut live = Vec::new();
        for key in all {
            self.by_session.remove(&(old, key));
            self.by_session.insert((new, key));
            let Some(call) = self.calls.get_mut(&key) else {
                continue;
            };
            call.session = new;
            if self.by_id.remove(&(old, call.id.clone())).is_some() {
                self.by_id.insert((new, call.id.clone()), key);
                live.push(key);
            }
        }
        live
    }
}
