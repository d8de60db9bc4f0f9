//! Lines that a page wants in the SIP side's description (`sipSDP`).

use std::fmt;

/// Most lines taken from one page.
const MAX_LINES: usize = 32;
/// Longest line taken, bytes.
const MAX_LINE: usize = 1024;

/// Attributes that we write ourselves, or that would change where media goes or what protects it.
const OURS: [&str; 22] = [
    "rtpmap",
    "fmtp",
    "ptime",
    "maxptime",
    "sendrecv",
    "sendonly",
    "recvonly",
    "inactive",
    "rtcp",
    "rtcp-mux",
    "candidate",
    "ice-ufrag",
    "ice-pwd",
    "ice-lite",
    "fingerprint",
    "setup",
    "connection",
    "crypto",
    "mid",
    "group",
    "ssrc",
    "key-mgmt",
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineRefused {
    pub line: usize,
    pub why: &'static str,
}

impl fmt::Display for LineRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sipSDP line {}: {}", self.line + 1, self.why)
    }
}

/// Checks the lines: only `a=` and `b=`, one line each, never one that we write ourselves. Gives the kind
/// and what follows the equals sign.
pub fn extra_lines(lines: &[String]) -> Result<Vec<(char, String)>, LineRefused> {
    let refuse = |line: usize, why: &'static str| LineRefused { line, why };
    if lines.len() > MAX_LINES {
        return Err(refuse(MAX_LINES, "too many lines"));
    }
    lines
        .iter()
        .enumerate()
        .map(|(n, line)| {
            if line.len() > MAX_LINE {
                return Err(refuse(n, "too long"));
            }
            if line.chars().any(char::is_control) {
                return Err(refuse(n, "holds a control character"));
            }
            let (kind, value) = match line.split_once('=') {
                Some(("a", value)) => ('a', value),
                Some(("b", value)) => ('b', value),
                _ => return Err(refuse(n, "only a= and b= lines may be added")),
            };
            let name = value
                .split(':')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase();
            if name.is_empty() {
                return Err(refuse(n, "is empty"));
            }
            if kind == 'a' && OURS.contains(&name.as_str()) {
                return Err(refuse(n, "this attribute is the gateway's own"));
            }
            Ok((kind, value.trim().to_owned()))
        })
        .collect()
}
