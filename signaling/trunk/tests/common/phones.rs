//! Phones that register to the gateway, with a digest client of their own.

use super::*;
use signaling_sip::digest::server::ha1;
use signaling_sip::digest::{Hash, Proof, Session, challenges};
use signaling_trunk::api::Line;
use signaling_trunk::lines::{Lines, PhoneSpec, RegistrarSpec};
use std::sync::atomic::{AtomicU32, Ordering};

/// Branches are never the same.
static DRAWN: AtomicU32 = AtomicU32::new(0);

pub const REALM: &str = "office.test";
pub const PHONE: &str = "192.0.2.31:5062";

pub fn phone_spec(user: &str) -> PhoneSpec {
    let ha1 = |hash| ha1(hash, user, REALM, "geheim");
    PhoneSpec {
        user: user.into(),
        ha1_md5: ha1(Hash::Md5),
        ha1_sha256: ha1(Hash::Sha256),
        ha1_sha512_256: ha1(Hash::Sha512_256),
        ..PhoneSpec::default()
    }
}

pub fn lines(users: &[&str]) -> Lines {
    Lines {
        registrar: RegistrarSpec {
            realm: REALM.into(),
            ..RegistrarSpec::default()
        },
        phones: users.iter().map(|user| phone_spec(user)).collect(),
        ..Lines::default()
    }
}

impl Desk {
    pub fn with_phones(users: &[&str]) -> Desk {
        let mut desk = Desk::new();
        desk.say_lines(lines(users));
        desk
    }

    pub fn say_lines(&mut self, lines: Lines) {
        self.step(Input::Lines(Box::new(lines)));
    }
}

/// Something that registers and calls.
#[derive(Clone)]
pub struct Phone {
    pub user: String,
    pub password: String,
    /// Where its datagrams come from.
    pub from: String,
    /// What its Via says of where it is.
    pub sent_by: String,
    pub contact: String,
    pub call_id: String,
    pub cseq: u32,
    pub hash: Hash,
    pub session: Option<Session>,
}

impl Phone {
    pub fn new(user: &str, from: &str) -> Phone {
        Phone {
            user: user.into(),
            password: "geheim".into(),
            from: from.into(),
            sent_by: from.into(),
            contact: format!("<sip:{user}@{from}>"),
            call_id: format!("reg-{user}-{from}"),
            cseq: 0,
            hash: Hash::Sha256,
            session: None,
        }
    }

    /// Behind a NAT: inside it is 10.0.0.5, outside `from`.
    pub fn natted(user: &str, from: &str) -> Phone {
        Phone {
            sent_by: "10.0.0.5:5060".into(),
            contact: format!("<sip:{user}@10.0.0.5:5060>"),
            ..Phone::new(user, from)
        }
    }

    pub fn request(&mut self, method: &str, uri: &str, more: &str, body: &str) -> Vec<u8> {
        self.cseq += 1;
        let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
        let credentials = match &mut self.session {
            Some(session) => {
                let proof = Proof {
                    username: &self.user,
                    password: &self.password,
                    method: method.as_bytes(),
                    uri: uri.as_bytes(),
                    body: body.as_bytes(),
                };
                let value = session.authorize(proof).unwrap();
                format!("Authorization: {}\r\n", text(&value))
            }
            None => String::new(),
        };
        let (user, branch) = (&self.user, format!("{method}{drawn}"));
        let to = if method == "REGISTER" {
            format!("sip:{user}@{REALM}")
        } else {
            uri.to_string()
        };
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{}{user}{branch};rport\r\n\
             From: <sip:{user}@{REALM}>;tag=f1\r\nTo: <{to}>\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n\
             Max-Forwards: 70\r\n{credentials}{more}{kind}Content-Length: {}\r\n\r\n{body}",
            self.sent_by,
            self.from.replace([':', '.', '[', ']'], ""),
            self.call_id,
            self.cseq,
            body.len()
        )
        .into_bytes()
    }

    pub fn register(&mut self, more: &str) -> Vec<u8> {
        self.request("REGISTER", &format!("sip:{REALM}"), more, "")
    }

    /// Takes the challenge of a 401 that its hash can answer.
    pub fn challenged(&mut self, response: &[u8]) {
        let all = challenges(&Message::parse(response).unwrap());
        let mine = all.into_iter().find(|c| c.hash == self.hash);
        self.session = Some(Session::new(mine.expect("a challenge"), "c0".into()));
    }

    /// Sends a request, answers the challenge, and returns the answer after that.
    pub fn ask(
        &mut self,
        desk: &mut Desk,
        method: &str,
        uri: &str,
        more: &str,
        body: &str,
    ) -> Vec<u8> {
        let request = self.request(method, uri, more, body);
        desk.receive(&self.from.clone(), &request);
        let answer = desk.taken();
        if status(&answer) != 401 {
            return answer;
        }
        self.challenged(&answer);
        let request = self.request(method, uri, more, body);
        desk.receive(&self.from.clone(), &request);
        desk.taken()
    }

    /// Registers its contact with these header lines; the final answer.
    pub fn registers_with(&mut self, desk: &mut Desk, more: &str) -> Vec<u8> {
        self.ask(desk, "REGISTER", &format!("sip:{REALM}"), more, "")
    }

    pub fn registers(&mut self, desk: &mut Desk) -> Vec<u8> {
        let contact = format!("Contact: {}\r\n", self.contact);
        self.registers_with(desk, &contact)
    }

    pub fn is_up(&self, desk: &Desk) -> Option<bool> {
        desk.events.iter().rev().find_map(|event| match event {
            Event::Line {
                line: Line::Phone(user),
                up,
                ..
            } if *user == self.user => Some(*up),
            _ => None,
        })
    }
}

/// Every value of a header.
pub fn headers(bytes: &[u8], name: &str) -> Vec<String> {
    let message = Message::parse(bytes).unwrap();
    message
        .fields()
        .filter(|(_, n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, _, value)| text(value))
        .collect()
}
