//! Who a request is from (RFC 3261 §22): digest as a server. Whether a user exists shows neither in the answer nor
//! in the time that it takes.

use crate::agent::Agent;
use crate::net::Path;
use crate::validate::Refusal;
use signaling_sip::digest::server::{Credentials, challenge, credentials};
use signaling_sip::message::{HeaderName, Message, Method, Uri};
use signaling_sip::time::Instant;

/// Of a user that does not exist.
const NOBODYS_HA1: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Why it is nobody, and the 401 for it.
pub(crate) struct Challenged {
    pub refusal: Refusal,
    /// Credentials were given, and they prove nothing: a guess, more often than a slip.
    pub wrong: bool,
}

impl Agent {
    /// The phone whose password the request proves.
    pub(crate) fn authenticate(
        &mut self,
        message: &Message<'_>,
        path: Path,
        now: Instant,
    ) -> Result<String, Challenged> {
        let realm = self.s.lines.registrar.realm.as_bytes();
        let given = credentials(message, HeaderName::Authorization);
        let given = given.into_iter().find(|c| c.realm == realm);
        let Some(given) = given else {
            return Err(self.challenged(path, false, false, now));
        };
        let user = std::str::from_utf8(&given.username).unwrap_or_default();
        let phone = self.s.registrar.phones.get(user);
        let known = phone.map(|phone| phone.ha1(given.hash));
        let known = known.filter(|ha1| ha1.len() == given.hash.hex_len());
        let ha1 = known.unwrap_or(NOBODYS_HA1);
        let ha1 = ha1.get(..given.hash.hex_len()).unwrap_or_default();
        let proved = given.prove(ha1, message.method_text());
        // Either of them alone would save time for one kind of user.
        if !proved | known.is_none() | !is_for(&given, message) {
            return Err(self.challenged(path, false, true, now));
        }
        let user = user.to_string();
        let nonces = &mut self.s.registrar.nonces;
        if !nonces.take(&given.nonce, given.nc, path.remote().ip(), now) {
            return Err(self.challenged(path, true, false, now));
        }
        self.proved_password(path, now);
        Ok(user)
    }

    /// The request brings a nonce that we gave to its address: somebody is really there.
    pub fn returns_nonce(&self, message: &Message<'_>, path: Path) -> bool {
        let given = credentials(message, HeaderName::Authorization);
        let nonces = &self.s.registrar.nonces;
        given
            .iter()
            .any(|c| nonces.is_ours(&c.nonce, path.remote().ip()))
    }

    fn challenged(&mut self, path: Path, stale: bool, wrong: bool, now: Instant) -> Challenged {
        if !self.s.registrar.nonces.has_secret() {
            let secret = self.s.dice.hex(32);
            self.s.registrar.nonces.set_secret(secret);
        }
        let registrar = &mut self.s.registrar;
        let nonce = registrar.nonces.draw(path.remote().ip(), now);
        let realm = &self.s.lines.registrar.realm;
        let mut refusal = Refusal::new(401, "Unauthorized");
        for hash in &registrar.offered {
            let value = challenge(*hash, realm, &nonce, stale);
            refusal.headers.push(("WWW-Authenticate", value));
        }
        Challenged { refusal, wrong }
    }

    /// At once, unless it was a guess: those get slower.
    pub(crate) fn refuse_challenged(
        &mut self,
        message: &Message<'_>,
        path: Path,
        challenged: Challenged,
        now: Instant,
    ) {
        let Challenged { refusal, wrong } = challenged;
        if wrong {
            if self.returns_nonce(message, path) {
                self.failed_digest(path, now);
            }
            self.refuse_slowly(message, path, &refusal, now);
        } else {
            self.refuse(message, path, &refusal);
        }
    }
}

/// Credentials made for one callee are none for another one (RFC 7616 §3.4.6). Hosts may differ: proxies rewrite
/// them.
fn is_for(given: &Credentials, message: &Message<'_>) -> bool {
    if message.method() != Method::Invite {
        return true;
    }
    let user = |uri: &[u8]| Uri::parse(uri).ok().map(|uri| uri.user());
    let asked = user(&given.uri);
    asked.is_some() && asked == user(message.uri_text())
}
