//! Calls of registered phones: challenged each time, and known by nothing but what that proves.

use super::location::flow_of;
use crate::agent::Agent;
use crate::api::{ByLine, Identity, Line};
use crate::inbound::{Caller, FromPhone, KnownPhone, identity};
use crate::net::Path;
use signaling_sip::message::{HeaderName, Message, NameAddr, Uri, split_list};
use signaling_sip::time::Instant;

impl Agent {
    /// Whether a new INVITE is a phone's. Where phones may register, everybody else hears the same challenge, whoever
    /// they claim to be and whomever they call.
    pub(crate) fn phone_calling(
        &mut self,
        message: &Message<'_>,
        path: Path,
        now: Instant,
    ) -> FromPhone {
        if !self.is_registrar() {
            return FromPhone::Stranger;
        }
        let user = match self.authenticate(message, path, now) {
            Ok(user) => user,
            Err(challenged) => {
                self.refuse_challenged(message, path, challenged, now);
                return FromPhone::Answered;
            }
        };
        let Some(phone) = self.s.registrar.phones.get(&user) else {
            return FromPhone::Stranger;
        };
        let account = phone.account;
        let from = message.from().map(|a| identity(&a)).unwrap_or_default();
        let (line, from) = match &phone.spec.trunk {
            // Whoever calls through a PBX of the operator's is its business.
            Some(trunk) => (Line::Trunk(trunk.clone()), from),
            None => {
                let display = Some(phone.spec.display.clone()).filter(|name| !name.is_empty());
                let from = Identity {
                    display: display.unwrap_or(from.display),
                    uri: format!("sip:{user}@{}", self.s.lines.registrar.realm),
                    user: user.clone(),
                };
                (Line::Phone(user), from)
            }
        };
        let trusted = matches!(&line, Line::Trunk(name) if self.is_trusted(name));
        let by_line = ByLine {
            line,
            called: called(message),
            asserted: asserted(message).filter(|_| trusted),
        };
        let caller = Caller {
            account,
            by_line: Some(Box::new(by_line)),
        };
        let known = KnownPhone {
            from,
            flow: flow_of_caller(message, path),
        };
        FromPhone::Caller(caller, known)
    }

    fn is_trusted(&self, trunk: &str) -> bool {
        let mut trunks = self.s.lines.trunks.iter();
        trunks.any(|spec| spec.name == trunk && spec.trusted)
    }
}

fn flow_of_caller(message: &Message<'_>, path: Path) -> Option<Path> {
    let contact = message.contact()?.ok()?;
    // Behind a proxy that stays on the way, that is where requests go.
    let direct = message.value(HeaderName::RecordRoute).is_none();
    flow_of(message, path, contact.uri).filter(|_| direct)
}

/// The Request-URI as somebody who is called.
fn called(message: &Message<'_>) -> Identity {
    let uri = String::from_utf8_lossy(message.uri_text()).into_owned();
    let user = Uri::parse(message.uri_text()).ok().and_then(|u| u.user());
    Identity {
        user: user.map_or_else(|| uri.clone(), |u| String::from_utf8_lossy(&u).into_owned()),
        display: String::new(),
        uri,
    }
}

fn asserted(message: &Message<'_>) -> Option<Identity> {
    let value = message.value_named("P-Asserted-Identity")?;
    let first = split_list(value).next()?;
    NameAddr::parse(first).ok().map(|addr| identity(&addr))
}
