use super::field::{Field, Fields};
use super::{Fault, HeaderName, Message, Span, Start, lex};

/// Longest message taken, head and body together; longer ones are answered 513.
pub const MAX_MESSAGE: usize = 65_535;

/// Most header fields of one message.
pub const MAX_HEADERS: usize = 256;

/// How the end of a message is known (RFC 3261 §18.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The datagram ends it; an absent Content-Length means all the rest.
    Datagram,
    /// Content-Length ends it; absent means no body.
    Stream,
}

/// What stands at the start of the bytes.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a message's index lives on the stack, off the heap"
)]
pub enum Scan<'a> {
    /// More bytes are needed; `at_least` in all, as far as is known.
    Partial {
        at_least: usize,
    },
    /// Line ends between messages: `ping` asks for an answer (RFC 5626 §3.5.1).
    KeepAlive {
        used: usize,
        ping: bool,
    },
    Message {
        message: Message<'a>,
        used: usize,
    },
    /// Nothing that could be answered; a stream cannot go on.
    Garbage(Fault),
}

/// The one scanner, for datagrams and streams alike, so that the two cannot disagree.
pub fn scan(bytes: &[u8], framing: Framing) -> Scan<'_> {
    let skipped = bytes
        .iter()
        .take_while(|b| matches!(b, b'\r' | b'\n'))
        .count();
    if skipped == bytes.len() && framing == Framing::Datagram {
        return Scan::KeepAlive {
            used: bytes.len(),
            ping: bytes.len() >= 4,
        };
    }
    if skipped > 0 {
        if framing == Framing::Stream {
            return line_ends(bytes);
        }
        return match scan(bytes.get(skipped..).unwrap_or_default(), framing) {
            Scan::Message { message, used } => Scan::Message {
                message,
                used: used + skipped,
            },
            other => other,
        };
    }
    if bytes.len() > MAX_MESSAGE && framing == Framing::Datagram {
        return Scan::Garbage(Fault::TooLarge);
    }

    let mut lines = Lines {
        bytes,
        at: 0,
        fault: None,
    };
    let (start, start_fault) = match lines.next() {
        Some((from, to)) => match start_line(bytes, from, to) {
            Ok(start) => start,
            Err(fault) => return Scan::Garbage(fault),
        },
        None if framing == Framing::Stream && bytes.len() < MAX_MESSAGE => {
            return Scan::Partial {
                at_least: bytes.len() + 1,
            };
        }
        None => return Scan::Garbage(Fault::NotSip),
    };

    let mut fault = start_fault;
    let mut fields = Fields::new();
    let mut ended = false;
    while let Some((from, to)) = lines.next() {
        if from == to {
            ended = true;
            break;
        }
        let found = header_line(bytes, from, to, &mut fields);
        fault = fault.or(found.err());
    }
    if !ended && framing == Framing::Stream {
        if bytes.len() < MAX_MESSAGE {
            return Scan::Partial {
                at_least: bytes.len() + 1,
            };
        }
        return Scan::Garbage(Fault::TooLarge);
    }
    fault = fault.or(lines.fault);
    if !ended {
        fault = fault.or(Fault::NoEnd.into());
    }
    let head = if ended { lines.at } else { bytes.len() };
    let message = Message {
        bytes,
        start,
        fields,
        body: Span::new(head, head),
        fault,
    };
    with_body(message, head, framing)
}

/// Line ends before a message. Two in a row are a ping; one alone is skipped once more is known.
fn line_ends(bytes: &[u8]) -> Scan<'_> {
    match bytes {
        [b'\r', b'\n', b'\r', b'\n', ..] => Scan::KeepAlive {
            used: 4,
            ping: true,
        },
        [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => Scan::Partial {
            at_least: bytes.len() + 1,
        },
        [b'\r', b'\n', ..] => Scan::KeepAlive {
            used: 2,
            ping: false,
        },
        _ => Scan::KeepAlive {
            used: 1,
            ping: false,
        },
    }
}

fn with_body(mut message: Message<'_>, head: usize, framing: Framing) -> Scan<'_> {
    let available = message.bytes.len() - head;
    let length = match (content_length(&message), framing) {
        (Ok(Some(length)), Framing::Datagram) if length > available => {
            message.fault = message.fault.or(Some(Fault::ContentLength));
            available
        }
        (Ok(Some(length)), _) => length,
        (Ok(None), Framing::Datagram) => available,
        (Ok(None), Framing::Stream) => 0,
        (Err(fault), _) => {
            message.fault = Some(fault);
            available
        }
    };
    let end = head.saturating_add(length);
    if end > MAX_MESSAGE {
        message.fault = Some(Fault::TooLarge);
        let used = message.bytes.len();
        return Scan::Message { message, used };
    }
    if end > message.bytes.len() {
        return Scan::Partial { at_least: end };
    }
    message.body = Span::new(head, end);
    Scan::Message { message, used: end }
}

/// Exactly one, or several that say the same.
fn content_length(message: &Message<'_>) -> Result<Option<usize>, Fault> {
    let mut known = None;
    for value in message.values(HeaderName::ContentLength) {
        let length = lex::number(lex::trim(value)).ok_or(Fault::ContentLength)?;
        let length = usize::try_from(length).map_err(|_| Fault::ContentLength)?;
        if known.is_some_and(|k| k != length) {
            return Err(Fault::ContentLength);
        }
        known = Some(length);
    }
    Ok(known)
}

/// Cuts at CRLF. A CR or LF alone stays in its line and is a fault.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    fault: Option<Fault>,
}

impl Lines<'_> {
    fn next(&mut self) -> Option<(usize, usize)> {
        let from = self.at;
        let mut search = from;
        loop {
            let lf = search + memchr::memchr(b'\n', self.bytes.get(search..)?)?;
            if lf > from && self.bytes.get(lf - 1) == Some(&b'\r') {
                let to = lf - 1;
                if memchr::memchr(b'\r', self.bytes.get(from..to)?).is_some() {
                    self.fault = Some(Fault::BareLineEnd);
                }
                self.at = lf + 1;
                return Some((from, to));
            }
            self.fault = Some(Fault::BareLineEnd);
            search = lf + 1;
        }
    }
}

fn header_line(bytes: &[u8], from: usize, to: usize, fields: &mut Fields) -> Result<(), Fault> {
    let line = bytes.get(from..to).unwrap_or_default();
    if matches!(line.first(), Some(b' ' | b'\t')) {
        // A fold: the value before goes on over this line (RFC 3261 §7.3.1).
        let last = fields.last_mut().ok_or(Fault::HeaderLine)?;
        if last.value.start == last.value.end {
            last.value.start = Span::new(from, to).start;
        }
        last.value.end = Span::new(from, to).end;
        return Ok(());
    }
    if fields.len() >= MAX_HEADERS {
        return Err(Fault::TooManyHeaders);
    }
    let colon = memchr::memchr(b':', line).ok_or(Fault::HeaderLine)?;
    let name = lex::trim(line.get(..colon).unwrap_or_default());
    if !lex::is_token(name) {
        return Err(Fault::HeaderLine);
    }
    let value = line.get(colon + 1..).unwrap_or_default();
    let lead = value.iter().take_while(|b| lex::is_lws(**b)).count();
    let start = from + colon + 1 + lead;
    let end = start + lex::trim(value).len();
    fields.push(Field {
        id: HeaderName::from_bytes(name),
        name: Span::new(from, from + name.len()),
        value: Span::new(start, end),
    });
    Ok(())
}

type Started = (Start, Option<Fault>);

fn start_line(bytes: &[u8], from: usize, to: usize) -> Result<Started, Fault> {
    let line = bytes.get(from..to).unwrap_or_default();
    if line
        .get(..4)
        .is_some_and(|p| p.eq_ignore_ascii_case(b"SIP/"))
    {
        return status_line(line, from, to);
    }
    let first = memchr::memchr(b' ', line).ok_or(Fault::NotSip)?;
    let (method, rest) = line.split_at(first);
    if !lex::is_token(method) {
        return Err(Fault::NotSip);
    }
    let mut fault = None;
    let trimmed = lex::trim(rest);
    if trimmed.len() + 1 != rest.len() {
        // More than the one space in front, or any behind.
        fault = Some(Fault::StartLine);
    }
    let last = trimmed
        .iter()
        .rposition(|b| *b == b' ')
        .ok_or(Fault::NotSip)?;
    let version = trimmed.get(last + 1..).unwrap_or_default();
    if !version
        .get(..4)
        .is_some_and(|p| p.eq_ignore_ascii_case(b"SIP/"))
    {
        return Err(Fault::NotSip);
    }
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        fault = Some(Fault::Version);
    }
    let uri = trimmed.get(..last).unwrap_or_default();
    if uri.is_empty() || uri.iter().any(|b| b.is_ascii_control() || *b == b' ') {
        fault = fault.or(Some(Fault::RequestUri));
    }
    let lead = rest.iter().take_while(|b| lex::is_lws(**b)).count();
    let start = from + first + lead;
    let start = Start::Request {
        method: Span::new(from, from + first),
        uri: Span::new(start, start + uri.len()),
    };
    Ok((start, fault))
}

fn status_line(line: &[u8], from: usize, to: usize) -> Result<Started, Fault> {
    let space = memchr::memchr(b' ', line).ok_or(Fault::NotSip)?;
    let (version, rest) = line.split_at(space);
    let rest = rest.get(1..).unwrap_or_default();
    let digits = rest.iter().take_while(|b| !lex::is_lws(**b)).count();
    let code = rest.get(..digits).unwrap_or_default();
    let status = lex::number(code)
        .and_then(|n| u16::try_from(n).ok())
        .filter(|n| (100..700).contains(n));
    let mut fault = None;
    if code.len() != 3 || status.is_none() {
        fault = Some(Fault::StatusCode);
    }
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        fault = Some(Fault::Version);
    }
    let reason = (from + space + 1 + digits + 1).min(to);
    Ok((
        Start::Response {
            status: status.unwrap_or(0),
            reason: Span::new(reason, to),
        },
        fault,
    ))
}
