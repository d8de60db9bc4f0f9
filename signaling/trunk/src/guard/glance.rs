//! What a message is, without indexing it: enough to decide whether it is worth that.

/// What stands at the start of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// By its method, as it is written.
    Request(&'a [u8]),
    Response,
    /// Line ends, which keep a flow alive.
    LineEnds,
    /// Nothing of SIP's.
    Other,
}

/// The few words by which a message of a dialog or transaction of ours is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance<'a> {
    pub kind: Kind<'a>,
    pub to_tag: Option<&'a [u8]>,
    /// Of the topmost Via.
    pub branch: Option<&'a [u8]>,
}

/// Lines looked at; To and the topmost Via stand before.
const MAX_LINES: usize = 64;

/// Looks at the first lines of `bytes`. A header that is folded in the middle of what is sought goes unseen: such a
/// message passes for a stranger's, no more.
pub fn glance(bytes: &[u8]) -> Glance<'_> {
    let mut lines = bytes.split(|b| *b == b'\n').take(MAX_LINES);
    let mut seen = Glance {
        kind: kind(bytes),
        to_tag: None,
        branch: None,
    };
    if matches!(seen.kind, Kind::LineEnds | Kind::Other) {
        return seen;
    }
    lines.next();
    let (mut has_to, mut has_via) = (false, false);
    for line in lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || has_to && has_via {
            break;
        }
        let initial = line.first().map(u8::to_ascii_lowercase);
        if !matches!(initial, Some(b't' | b'v')) {
            continue;
        }
        let Some((name, value)) = split_at(line, b':') else {
            continue;
        };
        let name = name.trim_ascii();
        if !has_to && (name.eq_ignore_ascii_case(b"to") || name.eq_ignore_ascii_case(b"t")) {
            has_to = true;
            // Behind the URI, whose own parameters may be called so as well.
            let params = value
                .iter()
                .rposition(|b| *b == b'>')
                .and_then(|at| value.get(at..))
                .unwrap_or(value);
            seen.to_tag = param(params, b"tag");
        } else if !has_via && (name.eq_ignore_ascii_case(b"via") || name.eq_ignore_ascii_case(b"v"))
        {
            has_via = true;
            let first = value.split(|b| *b == b',').next().unwrap_or_default();
            seen.branch = param(first, b"branch");
        }
    }
    seen
}

/// Whether these bytes ask for something new: a request that belongs to no dialog and to no request before it. Such
/// a one is what may be lost when there is too much.
pub fn is_new_request(bytes: &[u8]) -> bool {
    let seen = glance(bytes);
    match seen.kind {
        Kind::Request(b"ACK" | b"CANCEL" | b"BYE" | b"PRACK") => false,
        Kind::Request(_) => seen.to_tag.is_none(),
        Kind::Other => true,
        Kind::Response | Kind::LineEnds => false,
    }
}

fn kind(bytes: &[u8]) -> Kind<'_> {
    if bytes
        .iter()
        .take(8)
        .all(|b| matches!(b, b'\r' | b'\n' | b'\0'))
    {
        return Kind::LineEnds;
    }
    if bytes
        .get(..8)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/2.0 "))
    {
        return Kind::Response;
    }
    let end = bytes.iter().take(32).position(|b| *b == b' ');
    match end.and_then(|end| bytes.get(..end)) {
        Some(method) if !method.is_empty() && method.iter().all(u8::is_ascii_graphic) => {
            Kind::Request(method)
        }
        _ => Kind::Other,
    }
}

fn split_at(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = bytes.iter().position(|b| *b == at)?;
    Some((bytes.get(..place)?, bytes.get(place + 1..)?))
}

fn param<'a>(params: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    params.split(|b| *b == b';').skip(1).find_map(|param| {
        let (name, value) = split_at(param, b'=')?;
        name.trim_ascii()
            .eq_ignore_ascii_case(wanted)
            .then(|| value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_finds_the_to_tag_and_the_topmost_branch() {
        let text = b"INVITE sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP h;rport;branch=z9hG4bK1\r\nVia: SIP/2.0/UDP i;branch=z9hG4bK2\r\n\
            f: <sip:x@y>;tag=f1\r\nT : \"a;tag=no\" <sip:a@b;tag=no> ; TAG = t1\r\n\r\n";
        let seen = glance(text);
        assert_eq!(seen.kind, Kind::Request(b"INVITE"));
        assert_eq!(seen.to_tag, Some(b"t1".as_slice()));
        assert_eq!(seen.branch, Some(b"z9hG4bK1".as_slice()));
    }

    #[test]
    fn a_body_is_not_looked_at() {
        let text = b"OPTIONS sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\n\r\nVia: x;branch=b\r\n";
        assert_eq!(glance(text).branch, None);
    }

    #[test]
    fn what_belongs_to_nothing_yet_is_new() {
        assert!(is_new_request(
            b"INVITE sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\n\r\n"
        ));
        assert!(!is_new_request(
            b"INVITE sip:a@b SIP/2.0\r\nTo: <sip:a@b>;tag=1\r\n\r\n"
        ));
        assert!(!is_new_request(
            b"ACK sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\n\r\n"
        ));
        assert!(!is_new_request(
            b"CANCEL sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\n\r\n"
        ));
        assert!(!is_new_request(b"SIP/2.0 200 OK\r\n\r\n"));
        assert!(!is_new_request(b"\r\n\r\n"));
        assert!(is_new_request(b"\x00\x01garbage garbage"));
    }
}
