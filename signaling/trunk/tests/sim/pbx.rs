//! A registrar and stateless proxy of a page: digest (unchecked but for its presence), bindings,
//! Record-Route.

use signaling_sip::message::{HeaderName, Host, Message, Method, Uri, split_list, unfold};
use std::collections::BTreeMap;
use std::net::SocketAddr;

pub const PBX: &str = "192.0.2.1:5060";

#[derive(Default)]
pub struct Pbx {
    /// User, its Contact URI, and the flow that it registered over.
    pub bindings: BTreeMap<Vec<u8>, (Vec<u8>, SocketAddr)>,
    /// Flows by the address that the other end gave as its own.
    pub min_expires: u32,
    pub tcp: bool,
}

impl Pbx {
    pub fn knows(&self, user: &str) -> bool {
        self.bindings.contains_key(user.as_bytes())
    }

    pub fn forget(&mut self) {
        self.bindings.clear();
    }

    /// What to send where.
    pub fn handle(&mut self, source: SocketAddr, bytes: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        let Ok(message) = Message::parse(bytes) else {
            return Vec::new();
        };
        assert_eq!(message.fault, None, "sound messages only");
        if !message.is_request() {
            return back(&message);
        }
        match message.method() {
            Method::Register => self.register(source, &message),
            Method::Invite
                if message.to().unwrap().tag().is_none()
                    && message.value(HeaderName::ProxyAuthorization).is_none() =>
            {
                let challenge = "Proxy-Authenticate: Digest realm=\"pbx\", nonce=\"n1\", qop=\"auth\", algorithm=SHA-256\r\n";
                vec![(
                    source,
                    response(
                        &message,
                        source,
                        "407 Proxy Authentication Required",
                        challenge,
                    ),
                )]
            }
            _ => self.forward(source, &message),
        }
    }

    fn register(
        &mut self,
        source: SocketAddr,
        message: &Message<'_>,
    ) -> Vec<(SocketAddr, Vec<u8>)> {
        if message.value(HeaderName::Authorization).is_none() {
            let challenge = "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n2\", qop=\"auth\"\r\n\
                WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n3\", qop=\"auth\", algorithm=SHA-256\r\n";
            return vec![(
                source,
                response(message, source, "401 Unauthorized", challenge),
            )];
        }
        let expires = message.number(HeaderName::Expires).unwrap().unwrap();
        if expires > 0 && expires < self.min_expires {
            let least = format!("Min-Expires: {}\r\n", self.min_expires);
            return vec![(
                source,
                response(message, source, "423 Interval Too Brief", &least),
            )];
        }
        let contact = message.contact().unwrap().unwrap();
        let user = Uri::parse(message.to().unwrap().uri)
            .unwrap()
            .user()
            .unwrap();
        if expires == 0 {
            self.bindings.remove(&user);
        } else {
            self.bindings.insert(user, (contact.uri.to_vec(), source));
        }
        // A stale binding of another device first, as real registrars list them.
        let uri = String::from_utf8_lossy(contact.uri);
        let list =
            format!("Contact: <sip:old@192.0.2.200>;expires=7, <{uri}>;expires={expires}\r\n");
        vec![(source, response(message, source, "200 OK", &list))]
    }

    fn forward(&self, source: SocketAddr, message: &Message<'_>) -> Vec<(SocketAddr, Vec<u8>)> {
        let own_route = message.list(HeaderName::Route).next().is_some();
        let uri = Uri::parse(message.uri_text()).unwrap();
        let bound = if own_route {
            None
        } else {
            uri.user().and_then(|user| self.bindings.get(&user))
        };
        let target = match bound {
            Some((contact, _)) => contact.clone(),
            None if own_route => message.uri_text().to_vec(),
            None => {
                let not_there = message.method() != Method::Ack;
                return not_there
                    .then(|| (source, response(message, source, "480 Not There", "")))
                    .into_iter()
                    .collect();
            }
        };
        // Over TCP the flow of the registration is used, as real proxies do for phones behind NAT.
        let to = self
            .bindings
            .values()
            .find(|(contact, _)| *contact == target)
            .map(|(_, flow)| *flow);
        let Some(to) = to.or_else(|| address(&target)) else {
            return Vec::new();
        };
        let transport = if self.tcp { "TCP" } else { "UDP" };
        let branch =
            String::from_utf8_lossy(message.top_via().unwrap().branch().unwrap()).into_owned();
        let mut out = [message.method_text(), b" ", &target, b" SIP/2.0\r\n"].concat();
        out.extend(format!("Via: SIP/2.0/{transport} {PBX};branch={branch}p\r\n").bytes());
        let mut first_via = true;
        let mut first_route = true;
        for (id, name, value) in message.fields() {
            let value = unfold(value);
            match id {
                HeaderName::Via if std::mem::take(&mut first_via) => {
                    line(
                        &mut out,
                        b"Via",
                        &[&value, format!(";x-from={source}").as_bytes()].concat(),
                    );
                }
                HeaderName::Route if std::mem::take(&mut first_route) => {
                    let rest: Vec<&[u8]> = split_list(&value).skip(1).collect();
                    if !rest.is_empty() {
                        line(&mut out, b"Route", &rest.join(b", ".as_slice()));
                    }
                }
                HeaderName::ProxyAuthorization => {}
                _ => line(&mut out, name, &value),
            }
        }
        if message.method() == Method::Invite {
            let transport = if self.tcp { ";transport=tcp" } else { "" };
            line(
                &mut out,
                b"Record-Route",
                format!("<sip:{PBX}{transport};lr>").as_bytes(),
            );
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(message.body());
        vec![(to, out)]
    }
}

/// A response goes back to the address that the next Via got when it passed.
fn back(message: &Message<'_>) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut vias = message.list(HeaderName::Via);
    let _ours = vias.next();
    let Some(theirs) = vias.next() else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(theirs).into_owned();
    let Some((theirs, from)) = text.split_once(";x-from=") else {
        return Vec::new();
    };
    let mut out = [
        b"SIP/2.0 ".as_slice(),
        message.status().to_string().as_bytes(),
        b" ",
        message.reason(),
        b"\r\n",
    ]
    .concat();
    line(&mut out, b"Via", theirs.as_bytes());
    for (id, name, value) in message.fields() {
        if id != HeaderName::Via {
            line(&mut out, name, &unfold(value));
        }
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(message.body());
    vec![(from.parse().unwrap(), out)]
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
}

fn response(message: &Message<'_>, source: SocketAddr, status: &str, headers: &str) -> Vec<u8> {
    let mut out = format!("SIP/2.0 {status}\r\n").into_bytes();
    for (id, name, value) in message.fields() {
        match id {
            HeaderName::Via => {
                line(
                    &mut out,
                    name,
                    &[value, format!(";received={}", source.ip()).as_bytes()].concat(),
                );
            }
            HeaderName::To if message.to().unwrap().tag().is_none() => {
                line(&mut out, name, &[value, b";tag=pbx"].concat());
            }
            HeaderName::From | HeaderName::To | HeaderName::CallId | HeaderName::CSeq => {
                line(&mut out, name, value)
            }
            _ => {}
        }
    }
    out.extend_from_slice(headers.as_bytes());
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    out
}

fn address(uri: &[u8]) -> Option<SocketAddr> {
    let uri = Uri::parse(uri).ok()?;
    let uri = uri.sip()?;
    match uri.host {
        Host::Ip(ip) => Some(SocketAddr::new(ip, uri.port.unwrap_or(5060))),
        Host::Name(_) => None,
    }
}
