//! The other side of digest: what a request's credentials say, and whether they prove anything (RFC 7616 §3.4,
//! RFC 8760). `qop=auth` is required: without its counter a captured request could be sent again.

use super::{Hash, hex, inner, split_quoted};
use crate::message::{HeaderName, Message, print_quoted, quoted_text, trim};
use subtle::ConstantTimeEq;

/// Authorization headers of one request that are looked at: one for each algorithm, and some of other realms.
const MAX_CREDENTIALS: usize = 8;

/// One Authorization or Proxy-Authorization that can be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub username: Vec<u8>,
    pub realm: Vec<u8>,
    pub nonce: Vec<u8>,
    pub uri: Vec<u8>,
    pub hash: Hash,
    pub nc: u32,
    nc_text: Vec<u8>,
    cnonce: Vec<u8>,
    response: Vec<u8>,
}

/// Those of a request that are digest with `qop=auth` and an algorithm of ours, in their order.
pub fn credentials(request: &Message<'_>, header: HeaderName) -> Vec<Credentials> {
    let values = request.values(header).take(MAX_CREDENTIALS);
    values.filter_map(parse).collect()
}

fn parse(value: &[u8]) -> Option<Credentials> {
    let value = trim(value);
    let space = value.iter().position(u8::is_ascii_whitespace)?;
    let (scheme, rest) = value.split_at(space);
    if !scheme.eq_ignore_ascii_case(b"Digest") {
        return None;
    }
    let params: Vec<(&[u8], &[u8])> = split_quoted(rest)
        .into_iter()
        .filter_map(|pair| {
            let mut halves = pair.splitn(2, |b| *b == b'=').map(trim);
            Some((halves.next()?, halves.next()?))
        })
        .collect();
    let get = |wanted: &[u8]| {
        let mut found = params
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let first = found.next()?;
        // Two of a kind may be read in two ways.
        found.next().is_none().then(|| inner(first.1))
    };
    let hash = match get(b"algorithm")
        .unwrap_or(b"MD5")
        .to_ascii_uppercase()
        .as_slice()
    {
        b"MD5" => Hash::Md5,
        b"SHA-256" => Hash::Sha256,
        b"SHA-512-256" => Hash::Sha512_256,
        _ => return None,
    };
    if !get(b"qop")?.eq_ignore_ascii_case(b"auth") {
        return None;
    }
    let nc_text = get(b"nc")?;
    if nc_text.len() != 8 {
        return None;
    }
    let nc = u32::from_str_radix(std::str::from_utf8(nc_text).ok()?, 16).ok()?;
    let username = params
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(b"username"))?
        .1;
    Some(Credentials {
        username: quoted_text(username).into_owned(),
        realm: get(b"realm")?.to_vec(),
        nonce: get(b"nonce")?.to_vec(),
        uri: get(b"uri")?.to_vec(),
        hash,
        nc,
        nc_text: nc_text.to_vec(),
        cnonce: get(b"cnonce")?.to_vec(),
        response: get(b"response")?.to_ascii_lowercase(),
    })
}

impl Credentials {
    /// Whether they were made by someone who knows the password, in a time that does not depend on how near a
    /// guess is. `ha1`: [`ha1`] of their algorithm.
    pub fn prove(&self, ha1: &str, method: &[u8]) -> bool {
        let h = |parts: &[&[u8]]| hex(self.hash, &parts.join(&b':'));
        let a2 = h(&[method, &self.uri]);
        let expected = h(&[
            ha1.as_bytes(),
            &self.nonce,
            &self.nc_text,
            &self.cnonce,
            b"auth",
            a2.as_bytes(),
        ]);
        expected.as_bytes().ct_eq(&self.response).into()
    }
}

/// H(username:realm:password) in lower-case hex: all that needs be kept of a password.
pub fn ha1(hash: Hash, username: &str, realm: &str, password: &str) -> String {
    let parts = [username, realm, password].map(str::as_bytes);
    hex(hash, &parts.join(&b':'))
}

/// The value of WWW-Authenticate. The realm is one without control characters, the nonce a token.
pub fn challenge(hash: Hash, realm: &str, nonce: &str, stale: bool) -> Vec<u8> {
    let mut out = b"Digest realm=".to_vec();
    // One with control characters could not be said; then nobody can answer.
    let _ = print_quoted(realm.as_bytes(), "realm", &mut out);
    let stale = if stale { ", stale=true" } else { "" };
    let name = hash.name();
    out.extend_from_slice(
        format!(", nonce=\"{nonce}\", algorithm={name}, qop=\"auth\"{stale}").as_bytes(),
    );
    out
}

impl Hash {
    /// As RFC 8760 spells it.
    pub fn name(self) -> &'static str {
        match self {
            Hash::Md5 => "MD5",
            Hash::Sha256 => "SHA-256",
            Hash::Sha512_256 => "SHA-512-256",
        }
    }

    /// Hex digits of its HA1.
    pub fn hex_len(self) -> usize {
        match self {
            Hash::Md5 => 32,
            Hash::Sha256 | Hash::Sha512_256 => 64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rfc_7616(algorithm: &str, response: &str) -> Credentials {
        let text = format!(
            "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", \
             algorithm={algorithm}, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
             cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, response=\"{response}\", \
             opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        );
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_credentials_of_rfc_7616_3_9_1_prove_the_password_and_no_other() {
        for (hash, response) in [
            (Hash::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (
                Hash::Sha256,
                "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
        ] {
            let credentials = rfc_7616(hash.name(), response);
            let ha1 = |password| ha1(hash, "Mufasa", "http-auth@example.org", password);
            assert_eq!(ha1("x").len(), hash.hex_len());
            assert!(credentials.prove(&ha1("Circle of Life"), b"GET"));
            assert!(!credentials.prove(&ha1("Circle of Lice"), b"GET"));
            assert!(!credentials.prove(&ha1("Circle of Life"), b"POST"));
        }
    }

    /// As corrected by erratum 4897.
    #[test]
    fn the_credentials_of_rfc_7616_3_9_2_prove_the_password_by_sha_512_256() {
        let text = "Digest username=\"J\u{e4}s\u{f8}n Doe\", realm=\"api@example.org\", uri=\"/doe.json\", \
            algorithm=SHA-512-256, nonce=\"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK\", nc=00000001, \
            cnonce=\"NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v\", qop=auth, \
            response=\"3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5\"";
        let credentials = parse(text.as_bytes()).unwrap();
        let name = "J\u{e4}s\u{f8}n Doe";
        assert_eq!(credentials.username, name.as_bytes());
        let ha1 = ha1(Hash::Sha512_256, name, "api@example.org", "Secret, or not?");
        assert!(credentials.prove(&ha1, b"GET"));
    }

    #[test]
    fn what_our_client_answers_to_our_challenge_proves_the_password() {
        for hash in [Hash::Md5, Hash::Sha256, Hash::Sha512_256] {
            let challenge = [
                b"SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: ".as_slice(),
                &challenge(hash, "office \"west\"", "n1", true),
                b"\r\n\r\n",
            ]
            .concat();
            let found = crate::digest::challenges(&Message::parse(&challenge).unwrap()).remove(0);
            assert!(found.stale && found.hash == hash);
            let mut session = crate::digest::Session::new(found, "c1".into());
            let proof = crate::digest::Proof {
                username: "al\"ice",
                password: "geheim",
                method: b"REGISTER",
                uri: b"sip:office",
                body: b"",
            };
            let value = session.authorize(proof).unwrap();
            let credentials = parse(&value).unwrap();
            assert_eq!(credentials.username, b"al\"ice");
            assert_eq!(
                (credentials.nc, credentials.nonce.as_slice()),
                (1, b"n1".as_slice())
            );
            // The realm goes into the hash as it stands between its quotes.
            let realm = String::from_utf8(credentials.realm.clone()).unwrap();
            let ha1 = ha1(hash, "al\"ice", &realm, "geheim");
            assert!(credentials.prove(&ha1, b"REGISTER"));
        }
    }

    #[test]
    fn credentials_without_a_counter_or_with_a_thing_said_twice_are_none() {
        let whole = "Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:r\", response=\"0\", cnonce=\"c\", \
             nc=00000001, qop=auth";
        assert!(parse(whole.as_bytes()).is_some());
        for (part, other) in [
            (", qop=auth", ""),
            ("qop=auth", "qop=auth-int"),
            ("nc=00000001", "nc=1"),
            ("nc=00000001", "nc=0000000g"),
            ("cnonce=\"c\", ", ""),
            ("nonce=\"n\"", "nonce=\"n\", nonce=\"m\""),
            ("Digest", "Basic"),
            ("qop=auth", "qop=auth, algorithm=MD5-sess"),
        ] {
            assert!(parse(whole.replacen(part, other, 1).as_bytes()).is_none());
        }
    }
}
