//! Digest authentication of the client (RFC 7616, RFC 8760): MD5, SHA-256, SHA-512-256, and `-sess`. The server's
//! side is in [`server`].

pub mod server;

use crate::message::{HeaderName, Message, WriteFault, print_quoted, trim};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use sha2::{Sha256, Sha512_256};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Hash {
    Md5,
    Sha256,
    Sha512_256,
}

/// A 401's or 407's challenge that we can answer. Quoted values are kept as they stood inside the quotes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// It came in Proxy-Authenticate.
    pub proxy: bool,
    pub realm: Vec<u8>,
    pub nonce: Vec<u8>,
    pub opaque: Option<Vec<u8>>,
    pub hash: Hash,
    /// The nonce and cnonce go into the key once (`-sess`).
    pub sess: bool,
    /// As it is to be said back; absent where the challenge named none.
    pub algorithm: Option<Vec<u8>>,
    pub qop: Qop,
    pub stale: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Qop {
    /// RFC 2069: no counter.
    None,
    Auth,
    AuthInt,
}

/// What is to be proved, and for which request.
#[derive(Clone, Copy)]
pub struct Proof<'a> {
    pub username: &'a str,
    pub password: &'a str,
    pub method: &'a [u8],
    pub uri: &'a [u8],
    pub body: &'a [u8],
}

/// One nonce in use, its counter going up (RFC 7616 §3.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub challenge: Challenge,
    cnonce: String,
    nc: u32,
}

/// Every digest challenge of a response that we can answer, strongest hash first, else in their order.
pub fn challenges(response: &Message<'_>) -> Vec<Challenge> {
    let mut found = Vec::new();
    for (name, proxy) in [
        (HeaderName::WwwAuthenticate, false),
        (HeaderName::ProxyAuthenticate, true),
    ] {
        for value in response.values(name) {
            parse_challenges(value, proxy, &mut found);
        }
    }
    found.sort_by_key(|c| std::cmp::Reverse(c.hash));
    found
}

/// The strongest challenge of each kind (401's and 407's) and realm.
pub fn choose(mut challenges: Vec<Challenge>) -> Vec<Challenge> {
    let mut chosen: Vec<Challenge> = Vec::new();
    for challenge in challenges.drain(..) {
        let same = |c: &Challenge| c.proxy == challenge.proxy && c.realm == challenge.realm;
        if !chosen.iter().any(same) {
            chosen.push(challenge);
        }
    }
    chosen
}

fn parse_challenges(value: &[u8], proxy: bool, found: &mut Vec<Challenge>) {
    let mut scheme: &[u8] = b"";
    let mut params: Vec<(&[u8], &[u8])> = Vec::new();
    for element in split_quoted(value) {
        // "Digest realm=…" begins a challenge; "nonce=…" goes on with it.
        let equals = element
            .iter()
            .position(|b| *b == b'=')
            .unwrap_or(element.len());
        let head = trim(element.get(..equals).unwrap_or_default());
        let mut pair = element;
        if let Some(space) = head.iter().position(|b| b.is_ascii_whitespace()) {
            found.extend(challenge(scheme, &params, proxy));
            params.clear();
            scheme = head.get(..space).unwrap_or_default();
            pair = trim(element.get(space..).unwrap_or_default());
        }
        let mut halves = pair.splitn(2, |b| *b == b'=').map(trim);
        if let (Some(name), Some(value)) = (halves.next(), halves.next()) {
            params.push((name, value));
        }
    }
    found.extend(challenge(scheme, &params, proxy));
}

/// Splits at commas outside quotes; unlike header lists, `<` means nothing here.
fn split_quoted(value: &[u8]) -> Vec<&[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    value
        .split(|b| {
            if escaped {
                escaped = false;
                return false;
            }
            match b {
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ => {}
            }
            *b == b',' && !quoted
        })
        .map(trim)
        .filter(|e| !e.is_empty())
        .collect()
}

fn challenge(scheme: &[u8], params: &[(&[u8], &[u8])], proxy: bool) -> Option<Challenge> {
    if !scheme.eq_ignore_ascii_case(b"Digest") {
        return None;
    }
    let get = |wanted: &[u8]| {
        let found = params
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        Some(inner(found.1))
    };
    let algorithm = get(b"algorithm");
    let (hash, sess) = match algorithm.unwrap_or(b"MD5").to_ascii_uppercase().as_slice() {
        b"MD5" => (Hash::Md5, false),
        b"MD5-SESS" => (Hash::Md5, true),
        b"SHA-256" => (Hash::Sha256, false),
        b"SHA-256-SESS" => (Hash::Sha256, true),
        b"SHA-512-256" => (Hash::Sha512_256, false),
        b"SHA-512-256-SESS" => (Hash::Sha512_256, true),
        _ => return None,
    };
    let qop = match get(b"qop") {
        None => Qop::None,
        Some(offered) => {
            let has = |w: &[u8]| {
                offered
                    .split(|b| *b == b',')
                    .any(|q| trim(q).eq_ignore_ascii_case(w))
            };
            if has(b"auth") {
                Qop::Auth
            } else if has(b"auth-int") {
                Qop::AuthInt
            } else {
                return None;
            }
        }
    };
    // Said back inside quotes: text that could leave them is not answered.
    let safe = |text: &[u8]| !text.iter().any(u8::is_ascii_control) && !text.ends_with(b"\\");
    let quoted = |name: &[u8]| get(name).filter(|t| safe(t)).map(<[u8]>::to_vec);
    Some(Challenge {
        proxy,
        realm: quoted(b"realm")?,
        nonce: quoted(b"nonce")?,
        opaque: quoted(b"opaque"),
        hash,
        sess,
        algorithm: algorithm.map(<[u8]>::to_vec),
        qop,
        stale: get(b"stale").is_some_and(|s| s.eq_ignore_ascii_case(b"true")),
    })
}

fn inner(value: &[u8]) -> &[u8] {
    value
        .strip_prefix(b"\"")
        .and_then(|v| v.strip_suffix(b"\""))
        .unwrap_or(value)
}

impl Session {
    /// `cnonce` is fresh randomness, a token.
    pub fn new(challenge: Challenge, cnonce: String) -> Session {
        Session {
            challenge,
            cnonce,
            nc: 0,
        }
    }

    pub fn header_name(&self) -> &'static str {
        if self.challenge.proxy {
            "Proxy-Authorization"
        } else {
            "Authorization"
        }
    }

    /// The next Authorization value with this nonce.
    pub fn authorize(&mut self, proof: Proof<'_>) -> Result<Vec<u8>, WriteFault> {
        self.nc = self.nc.saturating_add(1);
        let nc = format!("{:08x}", self.nc);
        let c = &self.challenge;
        let response = self.response(proof, &nc);
        let mut out = b"Digest username=".to_vec();
        print_quoted(proof.username.as_bytes(), "username", &mut out)?;
        let mut quoted = |name: &str, value: &[u8]| {
            out.extend_from_slice(format!(", {name}=\"").as_bytes());
            out.extend_from_slice(value);
            out.push(b'"');
        };
        quoted("realm", &c.realm);
        quoted("nonce", &c.nonce);
        quoted("uri", proof.uri);
        quoted("response", response.as_bytes());
        if let Some(opaque) = &c.opaque {
            quoted("opaque", opaque);
        }
        if c.qop != Qop::None || c.sess {
            quoted("cnonce", self.cnonce.as_bytes());
        }
        if let Some(algorithm) = &c.algorithm {
            out.extend_from_slice(b", algorithm=");
            out.extend_from_slice(algorithm);
        }
        if let Some(qop) = qop_name(c.qop) {
            out.extend_from_slice(format!(", qop={qop}, nc={nc}").as_bytes());
        }
        Ok(out)
    }

    fn response(&self, proof: Proof<'_>, nc: &str) -> String {
        let c = &self.challenge;
        let h = |parts: &[&[u8]]| hex(c.hash, &parts.join(&b':'));
        let username = proof.username.as_bytes();
        let mut a1 = h(&[username, &c.realm, proof.password.as_bytes()]);
        if c.sess {
            a1 = h(&[a1.as_bytes(), &c.nonce, self.cnonce.as_bytes()]);
        }
        let a2 = if c.qop == Qop::AuthInt {
            h(&[proof.method, proof.uri, hex(c.hash, proof.body).as_bytes()])
        } else {
            h(&[proof.method, proof.uri])
        };
        let cnonce = self.cnonce.as_bytes();
        match qop_name(c.qop) {
            None => h(&[a1.as_bytes(), &c.nonce, a2.as_bytes()]),
            Some(q) => h(&[
                a1.as_bytes(),
                &c.nonce,
                nc.as_bytes(),
                cnonce,
                q.as_bytes(),
                a2.as_bytes(),
            ]),
        }
    }
}

fn qop_name(qop: Qop) -> Option<&'static str> {
    match qop {
        Qop::None => None,
        Qop::Auth => Some("auth"),
        Qop::AuthInt => Some("auth-int"),
    }
}

fn hex(hash: Hash, data: &[u8]) -> String {
    let print = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
    match hash {
        Hash::Md5 => print(&Md5::digest(data)),
        Hash::Sha256 => print(&Sha256::digest(data)),
        Hash::Sha512_256 => print(&Sha512_256::digest(data)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> Vec<Challenge> {
        let mut found = Vec::new();
        parse_challenges(value.as_bytes(), false, &mut found);
        found
    }

    fn mufasa(value: &str, cnonce: &str) -> String {
        let mut session = Session::new(parsed(value).remove(0), cnonce.into());
        let proof = Proof {
            username: "Mufasa",
            password: "Circle of Life",
            method: b"GET",
            uri: b"/dir/index.html",
            body: b"",
        };
        String::from_utf8(session.authorize(proof).unwrap()).unwrap()
    }

    #[test]
    fn the_examples_of_rfc_7616_3_9_1_are_answered_as_there() {
        let rest = "realm=\"http-auth@example.org\", qop=\"auth, auth-int\", \
            nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let sha = mufasa(&format!("Digest {rest}, algorithm=SHA-256"), cnonce);
        assert!(
            sha.contains("753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
            "{sha}"
        );
        let md5 = mufasa(&format!("Digest {rest}, algorithm=MD5"), cnonce);
        assert!(md5.contains("8ca523f5e9506fed4657c9700eebdbec"), "{md5}");
    }

    #[test]
    fn the_example_of_rfc_2617_is_answered_as_there() {
        let value = "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
            nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
        let mut session = Session::new(parsed(value).remove(0), "0a4f113b".into());
        let proof = Proof {
            username: "Mufasa",
            password: "Circle Of Life",
            method: b"GET",
            uri: b"/dir/index.html",
            body: b"",
        };
        let first = String::from_utf8(session.authorize(proof).unwrap()).unwrap();
        assert!(
            first.contains("6629fae49393a05397450978507c4ef1"),
            "{first}"
        );
        assert!(first.contains("nc=00000001"));
        let second = String::from_utf8(session.authorize(proof).unwrap()).unwrap();
        assert!(
            second.contains("nc=00000002"),
            "the nonce is used again, counted up"
        );
    }

    /// RFC 7616 §3.9.2: SHA-512-256 with a user name beyond ASCII (userhash left aside: its response is
    /// the same).
    #[test]
    fn the_example_of_rfc_7616_3_9_2_uses_sha_512_256() {
        let value = "Digest realm=\"api@example.org\", qop=\"auth\", algorithm=SHA-512-256, \
            nonce=\"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK\", opaque=\"HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS\"";
        let cnonce = "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v";
        let mut session = Session::new(parsed(value).remove(0), cnonce.into());
        let proof = Proof {
            username: "J\u{e4}s\u{f8}n Doe",
            password: "Secret, or not?",
            method: b"GET",
            uri: b"/doe.json",
            body: b"",
        };
        let text = String::from_utf8(session.authorize(proof).unwrap()).unwrap();
        // As corrected by the RFC's erratum 4897: its own figure was made with SHA-512 cut short.
        assert!(
            text.contains(
                "response=\"3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5\""
            ),
            "{text}"
        );
        assert!(text.contains("algorithm=SHA-512-256"));
    }

    #[test]
    fn of_several_challenges_the_strongest_is_chosen() {
        let text = "SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"1\", algorithm=MD5\r\n\
            WWW-Authenticate: Digest realm=\"r\", nonce=\"2\", algorithm=SHA-256, Basic realm=\"x\"\r\n\
            Proxy-Authenticate: Digest realm=\"p\", nonce=\"3\", algorithm=\"md5-sess\", qop=\"auth\"\r\n\r\n";
        let chosen = choose(challenges(&Message::parse(text.as_bytes()).unwrap()));
        assert_eq!(chosen.len(), 2);
        assert_eq!(
            (chosen[0].hash, chosen[0].nonce.as_slice()),
            (Hash::Sha256, b"2".as_slice())
        );
        assert!(chosen[1].proxy && chosen[1].sess);
    }

    #[test]
    fn a_challenge_that_nobody_can_answer_is_passed_over() {
        assert!(parsed("Digest realm=\"r\", nonce=\"n\", algorithm=XYZ").is_empty());
        assert!(parsed("NoOneKnowsThisScheme opaque-data=here").is_empty());
        assert!(parsed("Digest realm=\"r\"").is_empty());
    }
}
