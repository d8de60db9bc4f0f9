//! REGISTER (RFC 3261 §10.3), with Path (RFC 3327) and outbound (RFC 5626 §6).

use super::location::{Binding, MAX_CONTACT, flow_of, instance_of, is_same, params_of, user_of};
use super::{MAX_CONTACTS, Phone};
use crate::agent::{Agent, Due};
use crate::limits::KEEP_ALIVE;
use crate::net::Path;
use crate::validate::{Refusal, check_scheme};
use signaling_sip::dialog::MAX_ROUTES;
use signaling_sip::message::{HeaderName, Message, NameAddr, Uri, quoted_text, unfold};
use signaling_sip::time::Instant;
use std::time::Duration;

/// Path values of one contact, all together; longer ones are refused.
const MAX_PATH: usize = 4_096;
/// What a client that keeps its flow alive is asked to do so in (RFC 5626 §6), seconds.
const FLOW_TIMER_S: u32 = 120;

/// What a REGISTER asks for.
enum Wish {
    /// No Contact: only what is there.
    Tell,
    /// `Contact: *` with `Expires: 0`.
    ForgetAll,
    Change(Vec<Asked>),
}

struct Asked {
    binding: Binding,
    expires_s: u32,
}

type Headers = Vec<(&'static str, Vec<u8>)>;

impl Agent {
    pub(crate) fn on_register(
        &mut self,
        message: &Message<'_>,
        key: String,
        path: Path,
        now: Instant,
    ) {
        if !self.is_registrar() {
            let refusal = check_scheme(message)
                .err()
                .unwrap_or_else(Refusal::not_allowed);
            return self.refuse(message, path, &refusal);
        }
        let user = match self.authenticate(message, path, now) {
            Ok(user) => user,
            Err(challenged) => return self.refuse_challenged(message, path, challenged, now),
        };
        // The nonce is used up: the same request again must get the same answer.
        if !self.open_server(&key, message, path, false, None) {
            return self.refuse(message, path, &Refusal::overloaded());
        }
        let answer = match self.take_register(message, &user, path, now) {
            Ok(headers) => Refusal {
                status: 200,
                reason: "OK".into(),
                headers,
            },
            Err(refusal) => refusal,
        };
        let Refusal {
            status,
            reason,
            headers,
        } = answer;
        self.respond(&key, status, &reason, headers, b"", now);
    }

    /// Carries it out whole, or not at all; the headers of its 200.
    fn take_register(
        &mut self,
        message: &Message<'_>,
        user: &str,
        path: Path,
        now: Instant,
    ) -> Result<Headers, Refusal> {
        let to = message.to()?;
        // Nobody registers for somebody else, and whether that one exists is not told.
        if user_of(to.uri).as_deref() != Some(user) {
            return Err(Refusal::new(403, "Forbidden"));
        }
        let Some(phone) = self.s.registrar.phones.get(user) else {
            return Err(Refusal::new(403, "Forbidden"));
        };
        let wish = self.wish_of(message, path, now)?;
        let (call_id, (cseq, _)) = (message.call_id()?, message.cseq()?);
        let in_order = |binding: &Binding| binding.call_id != call_id || binding.cseq < cseq;
        let outbound = matches!(&wish, Wish::Change(asked) if asked.iter().any(|a| a.binding.reg_id.is_some()));
        match wish {
            Wish::Tell => {}
            Wish::ForgetAll => {
                if !phone.bindings.iter().all(in_order) {
                    return Err(Refusal::new(500, "CSeq Out Of Order"));
                }
                self.change_bindings(user, Vec::clear, "it unregistered");
            }
            Wish::Change(asked) => {
                let next = changed(phone, &asked, in_order)?;
                self.change_bindings(user, |bindings| *bindings = next, "it unregistered");
            }
        }
        let phone = self.s.registrar.phones.get(user);
        let mut bindings = phone.into_iter().flat_map(|phone| &phone.bindings);
        if bindings.any(|binding| binding.mapped().is_some()) {
            let key = Due::PhoneKeepAlive(user.into());
            self.s.schedule.set(key, Some(now + KEEP_ALIVE));
        }
        Ok(self.registered(message, user, outbound, now))
    }

    fn wish_of(&self, message: &Message<'_>, path: Path, now: Instant) -> Result<Wish, Refusal> {
        let contacts: Vec<&[u8]> = message.list(HeaderName::Contact).collect();
        let header_s = message.number(HeaderName::Expires)?;
        if contacts.contains(&b"*".as_slice()) {
            return if contacts.len() == 1 && header_s == Some(0) {
                Ok(Wish::ForgetAll)
            } else {
                Err(Refusal::bad(
                    "Bad Request: Contact: * stands alone, with Expires: 0",
                ))
            };
        }
        if contacts.is_empty() {
            return Ok(Wish::Tell);
        }
        if contacts.len() > MAX_CONTACTS {
            return Err(Refusal::new(403, "Too Many Contacts"));
        }
        let paths = path_of(message)?;
        let outbound = self.is_outbound(message, &paths);
        let mut asked: Vec<Asked> = Vec::new();
        for value in contacts {
            let value = unfold(value);
            let contact = NameAddr::parse(&value)?;
            let mut one = Asked {
                expires_s: self.granted_s(&contact, header_s)?,
                binding: binding_of(message, &contact, &paths, path)?,
            };
            if one.binding.reg_id.is_some() {
                match outbound {
                    Outbound::Yes => one.binding.flow = Some(path).filter(|_| paths.is_empty()),
                    Outbound::No => one.binding.reg_id = None,
                    Outbound::EdgeCannot => {
                        return Err(Refusal::new(439, "First Hop Lacks Outbound Support"));
                    }
                }
            }
            if one.expires_s > 0
                && one.binding.reg_id.is_some()
                && asked
                    .iter()
                    .any(|a| a.binding.reg_id.is_some() && a.expires_s > 0)
            {
                return Err(Refusal::bad("Bad Request: one flow has one reg-id"));
            }
            one.binding.until = now + Duration::from_secs(one.expires_s.into());
            asked.push(one);
        }
        Ok(Wish::Change(asked))
    }

    /// Whether the flow is the registration's (RFC 5626 §6): the client wants it, and the first proxy, if there is
    /// one, can do it.
    fn is_outbound(&self, message: &Message<'_>, paths: &[Vec<u8>]) -> Outbound {
        let wanted = message.names(HeaderName::Supported, "outbound")
            || message.names(HeaderName::Require, "outbound");
        if !wanted {
            return Outbound::No;
        }
        if message.list(HeaderName::Via).count() <= 1 {
            return Outbound::Yes;
        }
        // The proxy nearest to the client wrote the last value.
        let first = paths.last().and_then(|value| NameAddr::parse(value).ok());
        let has_ob = first
            .and_then(|value| Uri::parse(value.uri).ok())
            .is_some_and(|uri| uri.sip().is_some_and(|sip| sip.param("ob").is_some()));
        if has_ob {
            Outbound::Yes
        } else {
            Outbound::EdgeCannot
        }
    }

    /// Seconds for one Contact: its own word, else the header's, else as long as may be. What is no number counts
    /// as if it were not there (RFC 3261 §20.19).
    fn granted_s(&self, contact: &NameAddr<'_>, header_s: Option<u32>) -> Result<u32, Refusal> {
        let spec = &self.s.lines.registrar;
        let most = spec.max_expires_s.max(1);
        let least = spec.min_expires_s.min(most);
        let own = contact.params.get("expires").and_then(|text| {
            let text = std::str::from_utf8(text).ok()?;
            text.parse::<u32>().ok()
        });
        let asked_s = own.or(header_s).unwrap_or(most);
        if asked_s > 0 && asked_s < least && asked_s < 3_600 {
            let least = least.to_string();
            return Err(Refusal::new(423, "Interval Too Brief").with("Min-Expires", &least));
        }
        Ok(asked_s.min(most))
    }

    fn registered(
        &self,
        message: &Message<'_>,
        user: &str,
        outbound: bool,
        now: Instant,
    ) -> Headers {
        let mut headers: Headers = Vec::new();
        let phone = self.s.registrar.phones.get(user);
        for binding in phone.iter().flat_map(|phone| &phone.bindings) {
            let left = (binding.until - now).as_secs_f64().ceil() as u64;
            let mut value = [b"<".as_slice(), &binding.uri, b">"].concat();
            value.extend_from_slice(format!(";expires={left}").as_bytes());
            value.extend_from_slice(&binding.params);
            headers.push(("Contact", value));
        }
        // A client that does not know of it would not understand (RFC 3327 §5.3).
        if message.names(HeaderName::Supported, "path") {
            for value in message.values(HeaderName::Path) {
                headers.push(("Path", unfold(value).into_owned()));
            }
        }
        let mut supported = String::from("path, outbound");
        if outbound {
            headers.push(("Require", b"outbound".to_vec()));
            headers.push(("Flow-Timer", FLOW_TIMER_S.to_string().into_bytes()));
        }
        supported.push_str(", ");
        supported.push_str(&crate::validate::SUPPORTED.join(", "));
        headers.push(("Supported", supported.into_bytes()));
        headers
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outbound {
    Yes,
    No,
    EdgeCannot,
}

/// The contacts after the change; the ones that were refreshed last are last, and the others give way to them where
/// there are too many.
fn changed(
    phone: &Phone,
    asked: &[Asked],
    in_order: impl Fn(&Binding) -> bool,
) -> Result<Vec<Binding>, Refusal> {
    let mut next = phone.bindings.clone();
    for one in asked {
        let replaced = |binding: &Binding| {
            let gone = one.expires_s == 0 && is_same(&binding.uri, &one.binding.uri);
            gone || binding.is_replaced_by(&one.binding)
        };
        if phone.bindings.iter().any(|b| replaced(b) && !in_order(b)) {
            return Err(Refusal::new(500, "CSeq Out Of Order"));
        }
        next.retain(|binding| !replaced(binding));
        if one.expires_s > 0 {
            next.push(one.binding.clone());
        }
    }
    let surplus = next.len().saturating_sub(phone.room());
    next.drain(..surplus);
    Ok(next)
}

fn binding_of(
    message: &Message<'_>,
    contact: &NameAddr<'_>,
    paths: &[Vec<u8>],
    path: Path,
) -> Result<Binding, Refusal> {
    if Uri::parse(contact.uri)?.sip().is_none() {
        return Err(Refusal::bad("Bad Request: a Contact that is no SIP URI"));
    }
    let params = params_of(contact);
    if contact.uri.len() + params.len() > MAX_CONTACT {
        return Err(Refusal::bad("Bad Request: Contact too long"));
    }
    let instance = instance_of(contact);
    let reg_id = contact.params.get("reg-id").map(|text| {
        let text = quoted_text(text);
        let number = std::str::from_utf8(&text).ok().and_then(|t| t.parse().ok());
        number.filter(|n| (1..1 << 31).contains(n))
    });
    let reg_id = match reg_id {
        Some(None) => return Err(Refusal::bad("Bad Request: reg-id is a number from 1")),
        Some(reg_id) => reg_id.filter(|_| instance.is_some()),
        None => None,
    };
    let flow = flow_of(message, path, contact.uri).filter(|_| paths.is_empty());
    Ok(Binding {
        uri: contact.uri.to_vec(),
        params,
        instance,
        reg_id,
        path: paths.to_vec(),
        source: path,
        flow,
        call_id: message.call_id()?.to_vec(),
        cseq: message.cseq()?.0,
        until: Instant(0),
    })
}

/// The proxies to be passed on the way back, as a route set.
fn path_of(message: &Message<'_>) -> Result<Vec<Vec<u8>>, Refusal> {
    let mut paths = Vec::new();
    let mut length = 0;
    for value in message.list(HeaderName::Path) {
        let value = unfold(value);
        let parsed = NameAddr::parse(&value)?;
        if Uri::parse(parsed.uri)?.sip().is_none() {
            return Err(Refusal::bad("Bad Request: a Path that is no SIP URI"));
        }
        length += value.len();
        paths.push(value.into_owned());
        if paths.len() > MAX_ROUTES || length > MAX_PATH {
            return Err(Refusal::bad("Bad Request: Path too long"));
        }
    }
    Ok(paths)
}
