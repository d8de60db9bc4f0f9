//! Who a page's session is to the dial plan, and whether it dials by the plan at all.

use crate::api::SessionId;
use crate::session::{Account, Session};
use crate::switchboard::Switchboard;
use signaling_plan::{Caller, Scope};
use std::fmt::Write;
use std::net::IpAddr;

impl Switchboard {
    /// Who calls, if this session's calls go by the dial plan; `None`: by its own PBX.
    ///
    /// A page without account needs an identity of its application or backend. An account counts only once its
    /// registrar, or the backend, has taken it: what a page says of itself opens no line.
    pub(crate) fn by_plan_as(&self, session: SessionId) -> Option<Caller> {
        let session = self.sessions.get(&session)?;
        let user = session.user.as_ref()?;
        let caller = caller(session)?;
        let by_plan = match user.account {
            Account::None => session.line_identity.is_some(),
            _ => proven_account(session).is_some() && self.plan.concerns(&caller),
        };
        by_plan.then_some(caller)
    }

    pub(crate) fn caller_of(&self, session: SessionId) -> Option<Caller> {
        self.sessions.get(&session).and_then(caller)
    }

    /// Whether somebody has vouched for this session, so that it may call for help.
    pub(crate) fn is_vouched_for(&self, session: SessionId) -> bool {
        let vouched =
            |s: &Session| s.line_identity.is_some() || s.approved || proven_account(s).is_some();
        self.sessions.get(&session).is_some_and(vouched)
    }

    /// Whose books its calls are in.
    pub(crate) fn scopes_of(&self, session: SessionId) -> Vec<Scope> {
        let Some(session) = self.sessions.get(&session) else {
            return Vec::new();
        };
        let mut scopes = vec![
            Scope::Token(session.proof.to_text()),
            Scope::Source(source(session.remote.ip())),
        ];
        let number = session.line_identity.as_ref().map(|i| i.number.clone());
        let account = proven_account(session).or(number.filter(|n| !n.is_empty()));
        scopes.extend(account.map(Scope::Account));
        scopes
    }
}

fn caller(session: &Session) -> Option<Caller> {
    let user = session.user.as_ref()?;
    let identity = session.line_identity.clone().unwrap_or_default();
    Some(Caller::Session {
        app: user.app_key.clone(),
        account: proven_account(session).unwrap_or_default(),
        number: identity.number,
        trunks: identity.trunks,
        prefixes: identity.prefixes,
    })
}

/// `user@domain` of an account that is really this session's.
pub(crate) fn proven_account(session: &Session) -> Option<String> {
    let user = session.user.as_ref()?;
    let is_registered = matches!(user.account, Account::Registered | Account::Retrying);
    let proven = match user.account {
        Account::None | Account::Failed | Account::Registering => false,
        Account::Open | Account::Registered | Account::Retrying => {
            session.approved || (is_registered && user.was_registered && user.at_home)
        }
    };
    let data = &user.data;
    let domain = [&data.sip_domain, &data.sip_outbound_proxy]
        .into_iter()
        .flatten()
        .find(|text| !text.is_empty())?;
    proven.then(|| format!("{}@{}", user.login, domain.to_ascii_lowercase()))
}

/// An address as it is counted: of IPv6 the /64, which is one customer's.
pub(crate) fn source(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(four) => four.to_string(),
        IpAddr::V6(six) => {
            let mut text = String::new();
            for part in &six.segments()[..4] {
                let _ = write!(text, "{part:x}:");
            }
            text + ":/64"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_of_one_customer_are_one_source() {
        let of = |text: &str| source(text.parse().unwrap());
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
    }
}
