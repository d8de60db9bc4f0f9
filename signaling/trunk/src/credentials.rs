//! Who is shown an account's credentials.
//!
//! A digest is as good as the password to whoever may choose what it is made for, so it goes to the account's own
//! servers and nobody behind them:
//!
//! - never where a 3xx or a peer's Contact led past them;
//! - a realm that challenged our REGISTER, or that is named like the account's domain or server, is theirs wherever
//!   in a chain of proxies the challenge was made;
//! - any other realm is theirs only where nobody else can have spoken: the address is one of theirs, and the request
//!   has not been passed on, which a proxy says by 100 (RFC 3261 §16.2, §17.2.1), or which, in a dialog, a route past
//!   it shows. A callee behind it who answers 401 or 407 is told nothing.

use crate::agent::Agent;
use crate::limits::{MAX_DIGEST_ROUNDS, MAX_DIGEST_SESSIONS};
use crate::registration::Account;
use crate::requests::Purpose;
use signaling_sip::digest;
use signaling_sip::message::{Host, Message, Method, Uri};
use signaling_sip::time::Instant;

impl Account {
    fn is_own_realm(&self, realm: &[u8]) -> bool {
        let same = |name: &str| realm.eq_ignore_ascii_case(name.as_bytes());
        let server = |way: &Vec<u8>| match Uri::parse(way) {
            Ok(Uri::Sip(uri)) => match &uri.host {
                Host::Name(name) => same(name),
                Host::Ip(ip) => same(&ip.to_string()),
            },
            Ok(_) | Err(_) => false,
        };
        self.realms.iter().any(|own| own == realm)
            || same(&self.spec.domain)
            || self.servers.iter().any(server)
    }

    fn learn_realm(&mut self, realm: &[u8]) {
        if !self.realms.iter().any(|own| own == realm) {
            if self.realms.len() >= MAX_DIGEST_SESSIONS {
                self.realms.remove(0);
            }
            self.realms.push(realm.to_vec());
        }
    }
}

impl Agent {
    /// Whether nobody behind the server that a request went to can have answered it.
    fn is_direct(&self, request: u64) -> bool {
        let Some(entry) = self.s.requests.get(&request) else {
            return false;
        };
        match entry.purpose {
            Purpose::Register(_) => true,
            Purpose::Invite(_) => !entry.provisional,
            _ => entry.draft.routes.is_empty(),
        }
    }

    /// A request inside a dialog goes where the peer's Contact leads, straight where no proxy has put itself on the way:
    /// credentials are for the account's own servers alone.
    pub(crate) fn is_strange(&self, request: u64) -> bool {
        let Some(entry) = self.s.requests.get(&request) else {
            return false;
        };
        let begins = matches!(entry.purpose, Purpose::Register(_) | Purpose::Invite(_));
        let routed = !entry.draft.routes.is_empty();
        let (Some(hop), false) = (&entry.hop, begins || routed) else {
            return false;
        };
        let ip = hop.remote.ip().to_canonical();
        self.s
            .accounts
            .get(&entry.account)
            .is_some_and(|account| !account.peers.iter().any(|peer| peer.to_canonical() == ip))
    }

    /// Answers a 401 or 407; false if there is nothing better to answer with.
    pub(crate) fn authorize(&mut self, request: u64, response: &Message<'_>, now: Instant) -> bool {
        let purpose = self.s.requests.get(&request).map(|r| &r.purpose);
        if purpose.is_some_and(|purpose| self.is_away(purpose)) || self.is_strange(request) {
            return false;
        }
        if matches!(purpose, Some(Purpose::Probe { .. })) {
            return false;
        }
        let direct = self.is_direct(request);
        let Some(entry) = self.s.requests.get_mut(&request) else {
            return false;
        };
        let Some(account) = self.s.accounts.get_mut(&entry.account) else {
            return false;
        };
        let mut challenges = digest::choose(digest::challenges(response));
        challenges.retain(|challenge| direct || account.is_own_realm(&challenge.realm));
        if challenges.is_empty()
            || account.spec.password.is_empty()
            || entry.rounds >= MAX_DIGEST_ROUNDS
        {
            return false;
        }
        let registers = entry.draft.method == Method::Register;
        let mut anything_new = false;
        for challenge in challenges {
            account.learn_realm(&challenge.realm);
            let mut before = entry
                .answered
                .iter()
                .filter(|(proxy, realm, _)| (*proxy, realm) == (challenge.proxy, &challenge.realm));
            // A nonce of this very exchange was refused: the credentials are wrong. Unless it has grown old in the
            // meantime and there is a fresh one.
            let refused = if challenge.stale {
                before.any(|(_, _, nonce)| *nonce == challenge.nonce)
            } else {
                before.next().is_some()
            };
            if refused {
                continue;
            }
            let key = (
                challenge.proxy,
                challenge.realm.clone(),
                challenge.nonce.clone(),
            );
            anything_new = true;
            entry.answered.push(key);
            account.digest.retain(|(r, s)| {
                *r != registers
                    || s.challenge.proxy != challenge.proxy
                    || s.challenge.realm != challenge.realm
            });
            if account.digest.len() >= MAX_DIGEST_SESSIONS {
                account.digest.remove(0);
            }
            let cnonce = self.s.dice.hex(16);
            account
                .digest
                .push((registers, digest::Session::new(challenge, cnonce)));
        }
        if !anything_new {
            account.digest.retain(|(r, _)| *r != registers);
            return false;
        }
        entry.rounds += 1;
        self.send_again(request, now);
        true
    }
}
