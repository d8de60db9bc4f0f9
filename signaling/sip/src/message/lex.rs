//! The small pieces that header values are made of (RFC 3261 §25.1). Folded lines count as white space.

use super::Fault;
use std::borrow::Cow;

pub(crate) fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Without white space on either side.
pub fn trim(mut value: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = value
        && is_lws(*first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && is_lws(*last)
    {
        value = rest;
    }
    value
}

pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// A token is one or more of `alphanum - . ! % * _ + ` ' ~`.
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| is_token_byte(*b))
}

/// Decimal digits only, and within 32 bits.
pub(crate) fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A folded value on one line; borrowed where nothing was folded.
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    let value = trim(value);
    if !value.iter().any(|b| matches!(b, b'\r' | b'\n')) {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if !matches!(byte, b'\r' | b'\n') {
            out.push(byte);
            continue;
        }
        while rest.peek().is_some_and(|b| is_lws(*b)) {
            rest.next();
        }
        out.push(b' ');
    }
    Cow::Owned(out)
}

/// The length of a quoted string at the start of `text`, both quotes included.
pub(crate) fn quoted_len(text: &[u8]) -> Option<usize> {
    let mut bytes = text.iter().enumerate();
    if !matches!(bytes.next(), Some((_, b'"'))) {
        return None;
    }
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next()?;
            }
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// What a quoted string says, or a token as it stands.
pub fn quoted_text(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = text.strip_prefix(b"\"").and_then(|t| t.strip_suffix(b"\"")) else {
        return Cow::Borrowed(text);
    };
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        out.push(if *byte == b'\\' {
            *bytes.next().unwrap_or(byte)
        } else {
            *byte
        });
    }
    Cow::Owned(out)
}

/// Splits at commas that are neither quoted nor inside `<>`. Elements come trimmed; an empty one is told,
/// so that whoever reads it can refuse it.
pub fn split_list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = list_end(text);
        rest = text.get(end + 1..);
        Some(trim(text.get(..end).unwrap_or(text)))
    })
}

fn list_end(text: &[u8]) -> usize {
    let mut quoted = false;
    let mut angle = false;
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate() {
        if escaped {
            escaped = false;
            continue;
        }
        match byte {
            b'\\' if quoted => escaped = true,
            b'"' if !angle => quoted = !quoted,
            b'<' if !quoted => angle = true,
            b'>' if !quoted => angle = false,
            b',' if !quoted && !angle => return at,
            _ => {}
        }
    }
    text.len()
}

/// `;name=value` parameters as they stand behind a URI or a sent-by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a>(&'a [u8]);

impl<'a> Params<'a> {
    /// Checked once; afterwards iteration cannot fail.
    pub fn parse(text: &'a [u8]) -> Result<Params<'a>, Fault> {
        let mut rest = trim(text);
        while !rest.is_empty() {
            rest = next_param(rest).ok_or(Fault::Params)?.2;
        }
        Ok(Params(trim(text)))
    }

    /// Names as written; values with their quotes.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (name, value, after) = next_param(rest)?;
            rest = after;
            Some((name, value))
        })
    }

    /// `Some(b"")` for a parameter without a value.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        let mut all = self.iter();
        let found = all.find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))?;
        Some(found.1.unwrap_or_default())
    }

    pub fn has(self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

type Param<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

fn next_param(text: &[u8]) -> Option<Param<'_>> {
    let text = trim(text).strip_prefix(b";")?;
    let text = trim(text);
    let name_len = text.iter().take_while(|b| is_token_byte(**b)).count();
    let (name, rest) = text.split_at(name_len);
    if name.is_empty() {
        return None;
    }
    let rest = trim(rest);
    let Some(value) = rest.strip_prefix(b"=") else {
        return (rest.is_empty() || rest.starts_with(b";")).then_some((name, None, rest));
    };
    let value = trim(value);
    let len = match quoted_len(value) {
        Some(len) => len,
        None => value
            .iter()
            .take_while(|b| !is_lws(**b) && !b";,\"<>".contains(b))
            .count(),
    };
    let (value, rest) = value.split_at(len);
    let rest = trim(rest);
    let ends_well = rest.is_empty() || rest.starts_with(b";");
    (!value.is_empty() && ends_well).then_some((name, Some(value), rest))
}
