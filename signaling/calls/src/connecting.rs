//! `connection`, registration, pings, and the end of a session.

use crate::addresses::numeric_host;
use crate::api::{Output, SessionId};
use crate::call::Stage;
use crate::ending::How;
use crate::limits::{PING, SILENCE, TEXT_BYTES};
use crate::session::{Account, User};
use crate::switchboard::Switchboard;
use crate::timers::Timer;
use signaling_protocol::connection::{
    ApiMethod, Connection, Fail, FailStatus, Registered, RegistrationStatus,
    RegistrationStatusHook, UserData,
};
use signaling_protocol::info::sip_failure;
use signaling_protocol::{AuthToken, GetVersion, HookMessage, ServerMessage};
use signaling_sip::time::Instant;
use signaling_trunk::api::{AccountId, AccountSpec, Cause, Command, Failure, Refusal};

impl Switchboard {
    pub(crate) fn connection(&mut self, id: SessionId, mut connection: Connection, now: Instant) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if session.user.is_some() {
            self.send(
                id,
                ServerMessage::Fail(Fail::error("This connection is already established")),
            );
            return;
        }
        if self.resume(id, &connection, now) {
            return;
        }
        if let Err(info) = self.check(&connection) {
            self.refuse_connection(id, &info);
            return;
        }
        let login = connection.sip_login.clone().unwrap_or_default();
        let register = !login.is_empty() && connection.wants_registration();
        let account = match (login.is_empty(), register) {
            (true, _) => Account::None,
            (false, true) => Account::Registering,
            (false, false) => Account::Open,
        };
        let app_key = connection
            .app_key
            .get_or_insert_with(|| "defaultApp".to_owned())
            .clone();
        if !login.is_empty() {
            connection.sip_register_required = Some(register);
        }
        let display = connection
            .sip_visible_name
            .clone()
            .unwrap_or_else(|| login.clone());
        let sip_peer = [
            &connection.sip_outbound_proxy,
            &connection.sip_proxy,
            &connection.sip_domain,
        ]
        .into_iter()
        .find_map(|text| text.as_deref().filter(|t| !t.is_empty()))
        .and_then(numeric_host);
        let account_id = AccountId(id.0);
        let data = UserData {
            auth_token: None,
            ..UserData::of(&connection, AuthToken::new(""))
        };
        let user = User {
            app_key,
            account_id,
            keep_alive: connection.keep_alive.unwrap_or(false),
            data: data.clone(),
            login: login.clone(),
            display: display.clone(),
            account,
            sip_peer,
            at_home: is_at_home(&connection),
            was_registered: false,
            custom: connection.custom.clone(),
            far_codec: None,
        };
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.user = Some(user);
        let auth_token = session.token.take().map(|token| AuthToken::new(token.0));
        self.by_proof.insert(session.proof, id);
        let data = UserData { auth_token, ..data };
        if account != Account::None {
            self.by_account.insert(account_id, id);
        }
        self.timers.cancel(Timer::Connection(id.0));
        self.timers.set(Timer::Ping(id.0), now + PING);
        self.send(id, ServerMessage::GetUserData(Box::new(data)));
        let version = GetVersion {
            version: self.config.version.clone(),
        };
        self.send(id, ServerMessage::GetVersion(version));
        if account != Account::None {
            let spec = account_spec(connection, login, display, register);
            self.trunk(
                id.0,
                Command::OpenAccount {
                    account: account_id,
                    spec,
                },
            );
        }
    }

    /// What can be said to be wrong before anything is done.
    fn check(&self, connection: &Connection) -> Result<(), String> {
        if let Some(app) = &connection.app_key
            && !self.config.apps.contains(app)
        {
            return Err("Application not found".to_owned());
        }
        // With an account beside the token a new session is as good (protocol §1.8).
        if connection.auth_token.is_some() && connection.sip_login.is_none() {
            return Err("Session does not exist".to_owned());
        }
        let texts = [
            ("sipLogin", &connection.sip_login),
            ("sipAuthenticationName", &connection.sip_authentication_name),
            ("sipDomain", &connection.sip_domain),
            ("sipOutboundProxy", &connection.sip_outbound_proxy),
            ("sipProxy", &connection.sip_proxy),
            ("sipVisibleName", &connection.sip_visible_name),
            ("sipContactParams", &connection.sip_contact_params),
        ];
        for (name, text) in texts {
            let Some(text) = text else { continue };
            if text.len() > TEXT_BYTES {
                return Err(format!("{name} is too long"));
            }
            if text.chars().any(char::is_control) {
                return Err(format!("{name} holds a control character"));
            }
        }
        let missing = |text: &Option<String>| text.as_ref().is_none_or(|t| t.is_empty());
        if !missing(&connection.sip_login)
            && missing(&connection.sip_domain)
            && missing(&connection.sip_outbound_proxy)
        {
            return Err("sipDomain is missing".to_owned());
        }
        Ok(())
    }

    fn refuse_connection(&mut self, id: SessionId, info: &str) {
        self.send(
            id,
            ServerMessage::Fail(Fail::event(ApiMethod::ConnectionStatusEvent, info)),
        );
        self.close_session(id);
    }

    pub(crate) fn connection_timed_out(&mut self, id: SessionId) {
        self.refuse_connection(id, "No connection message came");
    }

    pub(crate) fn ping(&mut self, id: SessionId, now: Instant) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if session.closing {
            return;
        }
        if now.saturating_duration_since(session.last_heard) >= SILENCE {
            self.close_session(id);
            return;
        }
        self.timers.set(Timer::Ping(id.0), now + PING);
        self.send(id, ServerMessage::Ping);
    }

    pub(crate) fn registered(&mut self, account: AccountId, raw: String, now: Instant) {
        let Some(id) = self.by_account.get(&account).copied() else {
            return;
        };
        let Some(user) = self.sessions.get_mut(&id).and_then(|s| s.user.as_mut()) else {
            return;
        };
        // Only to a session that asked for it: 2.0 fires REGISTERED whatever comes.
        let told = user.account == Account::Registered
            || user.account == Account::None
            || user.account == Account::Open;
        user.account = Account::Registered;
        user.was_registered = true;
        if !told {
            self.send(
                id,
                ServerMessage::Registered(Registered {
                    status: RegistrationStatus::Registered,
                    info: None,
                    sip_message_raw: Some(raw),
                }),
            );
        }
        self.place_waiting_calls(id, now);
    }

    /// The first registration's failure ends the session, so that pages show DISCONNECTED instead of waiting
    /// for ever; a refresh that fails is told once, and the trunk goes on trying.
    pub(crate) fn registration_failed(
        &mut self,
        account: AccountId,
        failure: Failure,
        retry_s: Option<u32>,
        now: Instant,
    ) {
        let Some(id) = self.by_account.get(&account).copied() else {
            return;
        };
        let Some(user) = self.sessions.get_mut(&id).and_then(|s| s.user.as_mut()) else {
            return;
        };
        let was = user.account;
        // A page that keeps its socket lives through any failure that the trunk goes on trying after.
        let had_it = matches!(was, Account::Registered | Account::Retrying)
            || !self.config.close_on_registration_failure;
        user.account = if retry_s.is_some() && had_it {
            Account::Retrying
        } else {
            Account::Failed
        };
        let status = match failure.status {
            401 | 403 | 407 => FailStatus::AuthenticationFail,
            _ => FailStatus::Failed,
        };
        let mut fail = Fail::event(ApiMethod::RegistrationStatusEvent, info_of(&failure));
        fail.status = status;
        fail.sip_status = (failure.status != 0).then_some(failure.status);
        fail.sip_message_raw = (!failure.raw.is_empty()).then(|| failure.raw.clone());
        if was != Account::Retrying {
            self.send(id, ServerMessage::Fail(fail));
        }
        if retry_s.is_some() && had_it {
            return;
        }
        self.fail_waiting_calls(id, &failure, now);
        if self.config.close_on_registration_failure {
            self.close_session(id);
        }
        // What the trunk gave up it has closed already.
        self.by_account.remove(&account);
        if retry_s.is_some() {
            self.trunk(account.0, Command::CloseAccount { account });
        }
    }

    /// The socket is gone. A page that asked for keepAlive may come back; any other is taken down at once.
    pub(crate) fn session_closed(&mut self, id: SessionId, now: Instant) {
        if !self.park(id, now) {
            self.give_up(id, now);
        }
    }

    /// Ends what a session had: its calls, its account.
    pub(crate) fn give_up(&mut self, id: SessionId, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        // Its socket is gone, but the backend is to hear how its calls end.
        session.closing = false;
        session.parked = true;
        for key in self.calls_of(id) {
            let mut how = How::page("Session closed");
            how.refusal = Some(Refusal {
                status: 480,
                reason: "Temporarily Unavailable".to_owned(),
                ..Refusal::default()
            });
            self.end(key, how, now);
        }
        for timer in [
            Timer::Connection(id.0),
            Timer::Ping(id.0),
            Timer::Parked(id.0),
        ] {
            self.timers.cancel(timer);
        }
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        self.by_proof.remove(&session.proof);
        if let Some(user) = session.user
            && self.by_account.remove(&user.account_id).is_some()
        {
            let account = user.account_id;
            self.trunk(account.0, Command::CloseAccount { account });
            if matches!(user.account, Account::Registered | Account::Retrying) {
                let message = Box::new(HookMessage::RegistrationStatusEvent(unregistered(user)));
                self.output(Output::Hook {
                    session: id,
                    message,
                });
            }
        }
        self.output(Output::Over { session: id });
    }

    pub(crate) fn calls_of(&self, id: SessionId) -> Vec<crate::call::CallKey> {
        let live = |key: &crate::call::CallKey| {
            let call = self.calls.get(key);
            call.is_some_and(|c| c.stage != Stage::Ending)
        };
        self.with_ending(id).filter(live).collect()
    }

    /// Those that have ended but are owed something still, too.
    pub(crate) fn with_ending(&self, id: SessionId) -> impl Iterator<Item = crate::call::CallKey> {
        use crate::call::CallKey;
        let all = (id, CallKey(0))..=(id, CallKey(u64::MAX));
        self.by_session.range(all).map(|(_, key)| *key)
    }

    /// A trunk that begins anew knows no account. Passwords are not kept here, so the pages must say them
    /// again: closing their sockets is what makes pages do that.
    pub(crate) fn close_unregistrable_sessions(&mut self) {
        self.by_account.clear();
        let lost: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, s)| s.user.as_ref().is_some_and(|u| u.account != Account::None))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            let info = "The SIP side was restarted; please connect again";
            self.send(
                id,
                ServerMessage::Fail(Fail::event(ApiMethod::RegistrationStatusEvent, info)),
            );
            self.close_session(id);
        }
    }

    pub(crate) fn shut_down(&mut self, now: Instant) {
        self.shutting_down = true;
        let live: Vec<_> = self
            .calls
            .values()
            .filter(|c| c.stage != Stage::Ending)
            .map(|c| c.key)
            .collect();
        for key in live {
            self.end(key, How::gateway("Normal call clearing", None), now);
        }
        self.end_all_bridges(now);
        let sessions: Vec<(SessionId, bool)> = self
            .sessions
            .iter()
            .map(|(id, s)| (*id, s.parked))
            .collect();
        for (id, parked) in sessions {
            if parked {
                self.give_up(id, now);
            } else {
                self.close_session(id);
            }
        }
    }
}

/// For the backend: no page has a use for it, and its socket is gone.
fn unregistered(user: User) -> Box<RegistrationStatusHook> {
    Box::new(RegistrationStatusHook {
        status: RegistrationStatus::Unregistered,
        info: None,
        sip_message_raw: None,
        sip_login: user.data.sip_login,
        sip_domain: user.data.sip_domain,
        sip_outbound_proxy: user.data.sip_outbound_proxy,
        sip_port: user.data.sip_port,
        custom: user.custom,
    })
}

/// Whether a registration says something of the domain: a registrar that the page chose may be the page's own.
fn is_at_home(connection: &Connection) -> bool {
    let domain = connection.sip_domain.as_deref().unwrap_or_default();
    [&connection.sip_outbound_proxy, &connection.sip_proxy]
        .into_iter()
        .flatten()
        .all(|proxy| proxy.is_empty() || proxy.eq_ignore_ascii_case(domain))
        && connection
            .sip_port
            .is_none_or(|port| matches!(u32::from(port), 0 | 5060 | 5061))
}

fn account_spec(
    connection: Connection,
    login: String,
    display: String,
    register: bool,
) -> AccountSpec {
    let text = |field: Option<String>| field.filter(|t| !t.is_empty());
    let proxy = text(connection.sip_outbound_proxy)
        .or(text(connection.sip_proxy))
        .unwrap_or_default();
    let domain = text(connection.sip_domain).unwrap_or_else(|| proxy.clone());
    AccountSpec {
        auth_name: text(connection.sip_authentication_name).unwrap_or_else(|| login.clone()),
        login,
        password: connection
            .sip_password
            .map(|p| p.expose().to_owned())
            .unwrap_or_default(),
        domain,
        proxy,
        port: connection.sip_port.unwrap_or(0),
        register,
        display,
        contact_params: params(connection.sip_contact_params.as_deref().unwrap_or_default()),
    }
}

/// `;a=b;c` as parameters.
fn params(text: &str) -> Vec<(String, Option<String>)> {
    text.split(';')
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .take(crate::limits::EXTRAS)
        .map(|p| match p.split_once('=') {
            Some((name, value)) => (name.trim().to_owned(), Some(value.trim().to_owned())),
            None => (p.to_owned(), None),
        })
        .collect()
}

/// The `info` of a failure that SIP, or the way to it, gave.
pub(crate) fn info_of(failure: &Failure) -> String {
    match failure.cause {
        Cause::Response => sip_failure(failure.status, &failure.reason),
        Cause::Timeout => "Failed by request timeout".to_owned(),
        Cause::Unreachable => format!("The SIP server cannot be reached: {}", failure.reason),
        Cause::NotAllowed => format!("This SIP target is not allowed here: {}", failure.reason),
        Cause::BadRequest => failure.reason.clone(),
        Cause::Overloaded => "The gateway is busy".to_owned(),
    }
}
