use super::lex;

/// A message as it may be shown: digest credentials and SRTP keys blotted, other bytes as received,
/// where they are not UTF-8 replaced.
pub fn blotted(raw: &[u8]) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut hiding = false;
    for line in raw.split_inclusive(|b| *b == b'\n') {
        let continues = matches!(line.first(), Some(b' ' | b'\t'));
        if hiding && continues {
            continue;
        }
        hiding = false;
        let body_start = line.iter().position(|b| *b == b':').unwrap_or(0);
        let name = lex::trim(line.get(..body_start).unwrap_or_default());
        if is_credential(name) {
            hiding = true;
            out.push_str(&String::from_utf8_lossy(name));
            out.push_str(": …\r\n");
            continue;
        }
        if let Some(kept) = crypto_prefix(line) {
            out.push_str(&String::from_utf8_lossy(kept));
            out.push_str("inline:…\r\n");
            continue;
        }
        out.push_str(&String::from_utf8_lossy(line));
    }
    out
}

fn is_credential(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"Authorization") || name.eq_ignore_ascii_case(b"Proxy-Authorization")
}

/// The part of an `a=crypto` line before its key (RFC 4568 §9.1). `k=` of old and MIKEY
/// (RFC 4567) are hidden whole.
fn crypto_prefix(line: &[u8]) -> Option<&[u8]> {
    let lower = line.to_ascii_lowercase();
    if lower.starts_with(b"k=") {
        return line.get(..2);
    }
    if lower.starts_with(b"a=key-mgmt:") {
        return line.get(..11);
    }
    if !lower.starts_with(b"a=crypto") {
        return None;
    }
    let at = memchr::memmem::find(&lower, b"inline:").unwrap_or(8);
    line.get(..at)
}
