//! What the desk around the switchboard may ask of it, and tell it, besides inputs.

use crate::api::SessionId;
use crate::session::Proof;
use crate::switchboard::Switchboard;
use crate::timers::Timer;
use signaling_protocol::LineIdentity;

impl Switchboard {
    /// The appKeys that a page may name from now on. Sessions of others go on.
    pub fn set_apps(&mut self, apps: Vec<String>) {
        self.config.apps = apps;
    }

    /// Who a session is on the operator's lines, said before its `connection`. `approved`: its backend took it in.
    pub fn vouch(&mut self, session: SessionId, identity: Option<LineIdentity>, approved: bool) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.line_identity = identity;
            session.approved = approved;
        }
    }

    /// Whether this session is known, its socket open or waited for.
    pub fn has_session(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// Whether this call of a page goes on.
    pub fn has_call(&self, session: SessionId, id: &str) -> bool {
        self.call_of(session, id).is_some()
    }

    /// The session that a `connection` with this token would resume.
    pub fn resumable(&self, token: &str, app_key: &str) -> Option<SessionId> {
        let id = self.by_proof.get(&Proof::of(token)).copied()?;
        let session = self.sessions.get(&id)?;
        let user = session.user.as_ref()?;
        (!session.closing && user.app_key == app_key).then_some(id)
    }

    /// `connection` has come and waits for the application's backend: the socket is not to be closed for want
    /// of one.
    pub fn connection_came(&mut self, session: SessionId) {
        self.timers.cancel(Timer::Connection(session.0));
    }
}
