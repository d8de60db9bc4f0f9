use super::lex;

/// What a message may be shown as: digest credentials and SRTP keys blotted; where the caller asks for privacy, what
/// the network knows of who it is left out (RFC 3323 §5, RFC 3325 §9.3). Other bytes as received, where they are not
/// UTF-8 replaced.
///
/// It reads lines and not the message, since what is shown may be broken, or hold another message in its body.
pub fn blotted(raw: &[u8]) -> String {
    let private = wants_privacy(raw);
    let mut out = String::with_capacity(raw.len());
    // What a folded line goes on with.
    let mut fate = Fate::Shown;
    for line in lines(raw) {
        let continues = matches!(line.first(), Some(b' ' | b'\t'));
        if !(continues && fate != Fate::Shown) {
            fate = fate_of(line, private);
            if fate == Fate::Blotted {
                out.push_str(&String::from_utf8_lossy(name_of(line)));
                out.push_str(": …\r\n");
            }
        }
        if fate != Fate::Shown {
            continue;
        }
        match key_at(line) {
            Some(at) => {
                out.push_str(&String::from_utf8_lossy(line.get(..at).unwrap_or_default()));
                out.push_str("…\r\n");
            }
            None => out.push_str(&String::from_utf8_lossy(line)),
        }
    }
    out
}

/// Names of headers that tell who somebody is although he asked that they should not: not for those who are not
/// trusted with it.
pub fn is_identity(name: &[u8]) -> bool {
    const NAMES: [&str; 7] = [
        "P-Asserted-Identity",
        "P-Preferred-Identity",
        "Remote-Party-ID",
        "Identity",
        "Identity-Info",
        // Their compact forms (RFC 4474).
        "y",
        "n",
    ];
    is_one_of(name, &NAMES)
}

/// `Privacy` with `id` among its values (RFC 3325 §9.3).
pub fn asks_for_privacy(value: &[u8]) -> bool {
    value
        .split(|b| matches!(b, b';' | b',') || lex::is_lws(*b))
        .any(|word| word.eq_ignore_ascii_case(b"id"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Shown,
    /// Its name is shown, its value is not.
    Blotted,
    Dropped,
}

fn fate_of(line: &[u8], private: bool) -> Fate {
    const CREDENTIALS: [&str; 4] = [
        "Authorization",
        "Proxy-Authorization",
        // A proof by the same password, the other way round.
        "Authentication-Info",
        "Proxy-Authentication-Info",
    ];
    let name = name_of(line);
    if is_one_of(name, &CREDENTIALS) {
        Fate::Blotted
    } else if private && is_identity(name) {
        Fate::Dropped
    } else {
        Fate::Shown
    }
}

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names
        .iter()
        .any(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

/// What stands before the first colon; the whole line where there is none, as its value may follow on the next.
fn name_of(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|b| *b == b':').unwrap_or(line.len());
    lex::trim(line.get(..end).unwrap_or_default())
}

/// Each with its end, be it CR LF, LF, or a CR alone.
fn lines(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at = rest.iter().position(|b| matches!(b, b'\r' | b'\n'));
        let len = match at {
            None => rest.len(),
            Some(at) if rest.get(at..at + 2) == Some(b"\r\n") => at + 2,
            Some(at) => at + 1,
        };
        let (line, after) = rest.split_at(len);
        rest = after;
        Some(line)
    })
}

fn wants_privacy(raw: &[u8]) -> bool {
    let mut is_privacy = false;
    for line in lines(raw) {
        let continues = matches!(line.first(), Some(b' ' | b'\t'));
        let value = if continues {
            line
        } else {
            let name = name_of(line);
            is_privacy = name.eq_ignore_ascii_case(b"Privacy");
            let end = line.iter().position(|b| *b == b':').unwrap_or(line.len());
            line.get(end..)
                .and_then(|l| l.strip_prefix(b":"))
                .unwrap_or_default()
        };
        if is_privacy && asks_for_privacy(value) {
            return true;
        }
    }
    false
}

/// Where the secret part of a line begins: behind `inline:` of SDES, in `a=crypto` or offered as a capability
/// (RFC 4568 §9.1, RFC 5939); behind `a=crypto` where there is no such word; `k=` of old and MIKEY (RFC 4567) whole.
fn key_at(line: &[u8]) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    let find = |word: &[u8]| memchr::memmem::find(&lower, word).map(|at| at + word.len());
    let lead = line.iter().take_while(|b| lex::is_lws(**b)).count();
    let starts = |word: &[u8]| {
        let text = lower.get(lead..).unwrap_or_default();
        text.starts_with(word).then_some(lead + word.len())
    };
    starts(b"k=")
        .or_else(|| find(b"inline:"))
        .or_else(|| find(b"key-mgmt:"))
        .or_else(|| starts(b"a=crypto"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn credentials_are_blotted_however_they_are_spelt() {
        for line in [
            "Authorization: Digest nonce=\"n\", response=\"SECRET\"",
            "AUTHORIZATION : Digest response=\"SECRET\"",
            "proxy-authorization:\r\n Digest\r\n\tresponse=\"SECRET\"",
            "Authorization: Digest\r\n \r\n\t\r\n response=SECRET",
            "Authorization\r\n : Digest response=\"SECRET\"",
            "Authorization: Basic SECRET, Digest response=\"SECRET\"",
            "\rAuthorization: Digest response=SECRET\rX: 1",
            " Authorization: Digest response=SECRET",
            "Authentication-Info: rspauth=\"SECRET\"",
            "Authorization: Digest a=1\n\n SECRET",
        ] {
            let raw = format!("INVITE sip:a@b SIP/2.0\r\n{line}\r\nTo: <sip:b@c>\r\n\r\n");
            let shown = blotted(raw.as_bytes());
            let kept = line.contains("\n\n");
            assert_eq!(shown.contains("SECRET"), kept, "{shown}");
            assert!(shown.contains("\r\nTo: <sip:b@c>\r\n"), "{shown}");
        }
    }

    #[test]
    fn keys_are_blotted_wherever_sdp_puts_them() {
        for line in [
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:SECRET|2^20|1:4;inline:SECRET",
            "A=CRYPTO:1 AES INLINE:SECRET",
            "  a=crypto:1 AES inline:SECRET",
            "a=crypto:1 AES SECRET",
            "a=acap:3 crypto:1 AES inline:SECRET",
            "a=key-mgmt:mikey SECRET",
            "a=acap:1 key-mgmt:mikey SECRET",
            "k=clear:SECRET",
            "a=rtpmap:0 PCMU/8000\ra=crypto:1 AES inline:SECRET",
        ] {
            let raw = format!(
                "SIP/2.0 200 OK\r\nContent-Disposition: inline\r\n\r\nv=0\r\n{line}\r\na=sendrecv\r\n"
            );
            let shown = blotted(raw.as_bytes());
            assert!(!shown.contains("SECRET"), "{shown}");
            assert!(
                shown.contains("v=0\r\n") && shown.ends_with("a=sendrecv\r\n"),
                "{shown}"
            );
            assert!(shown.contains("Content-Disposition: inline\r\n"), "{shown}");
        }
    }

    #[test]
    fn who_it_is_is_left_out_where_the_caller_asks_for_it() {
        let identity = "P-Asserted-Identity: \"Al\" <sip:al@b>,\r\n <tel:+49SECRET>\r\nremote-party-id : <sip:SECRET@b>\r\n\
            P-Preferred-Identity: <sip:SECRET@b>\r\nIdentity: SECRET\r\ny: SECRET\r\nN: <https://SECRET>\r\n";
        for (privacy, hidden) in [
            ("Privacy: id\r\n", true),
            ("PRIVACY:header;ID;critical\r\n", true),
            ("Privacy :\r\n user,\r\n id\r\n", true),
            ("Privacy: none\r\nPrivacy: id\r\n", true),
            ("Privacy: none\r\n", false),
            ("Privacy: idle\r\n", false),
            ("X-Privacy: id\r\n", false),
            ("", false),
        ] {
            let raw = format!(
                "INVITE sip:a@b SIP/2.0\r\n{identity}{privacy}From: <sip:anonymous@anonymous.invalid>\r\n\r\n"
            );
            let shown = blotted(raw.as_bytes());
            assert_eq!(!shown.contains("SECRET"), hidden, "{privacy}: {shown}");
            assert_eq!(shown.contains("P-Asserted-Identity"), !hidden);
            assert!(shown.contains("\r\nFrom: <sip:anonymous@"), "{shown}");
        }
    }

    fn piece() -> impl Strategy<Value = String> {
        let cased = |word: &'static str| {
            proptest::collection::vec(any::<bool>(), word.len()).prop_map(move |upper| {
                let flip = |(c, up): (char, &bool)| {
                    if *up {
                        c.to_ascii_uppercase()
                    } else {
                        c.to_ascii_lowercase()
                    }
                };
                word.chars().zip(&upper).map(flip).collect::<String>()
            })
        };
        let name = prop_oneof![
            cased("Authorization"),
            cased("Proxy-Authorization"),
            cased("Authentication-Info"),
        ];
        let space = prop_oneof![
            Just(""),
            Just(" "),
            Just("\t"),
            Just("\r\n \r\n "),
            Just("\n\t")
        ];
        let end = prop_oneof![Just("\r\n"), Just("\n"), Just("\r")];
        let secret = (name, space.clone(), space.clone(), end.clone())
            .prop_map(|(name, a, b, end)| format!("{name}{a}:{b}Digest response=\"SECRET\"{end}"));
        let key = (cased("a=crypto:1 AES "), cased("inline:"), end.clone())
            .prop_map(|(line, inline, end)| format!("{line}{inline}SECRET{end}"));
        let identity = (cased("P-Asserted-Identity"), space, end.clone())
            .prop_map(|(name, a, end)| format!("{name}{a}: <sip:SECRET@b>{end}"));
        let other = ("[a-zA-Z-]{1,12}", "[ -~]{0,20}", end)
            .prop_map(|(name, value, end)| format!("X{name}: {value}{end}"));
        prop_oneof![secret, key, identity, other, Just("\r\n".to_string())]
    }

    proptest! {
        #[test]
        fn no_secret_survives(pieces in proptest::collection::vec(piece(), 0..12)) {
            let raw = format!("INVITE sip:a@b SIP/2.0\r\nPrivacy: id\r\n{}", pieces.concat());
            let shown = blotted(raw.as_bytes());
            prop_assert!(!shown.contains("SECRET"), "{raw:?}\n{shown:?}");
        }

        #[test]
        fn what_holds_no_secret_is_shown_as_it_is(text in "(X[a-z]{0,8}: [a-z ]{0,20}\r\n){0,8}") {
            prop_assert_eq!(blotted(text.as_bytes()), text);
        }

        #[test]
        fn any_bytes_can_be_shown(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = blotted(&bytes);
        }
    }
}
