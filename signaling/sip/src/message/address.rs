use super::lex::{self, Params};
use super::{Fault, Uri};
use std::borrow::Cow;

/// `"Display" <uri>;params`, or a bare URI whose parameters are then the header's (RFC 3261 §20.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    display: &'a [u8],
    /// As it stands, checked to be some URI.
    pub uri: &'a [u8],
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    pub fn parse(value: &'a [u8]) -> Result<NameAddr<'a>, Fault> {
        let value = lex::trim(value);
        let (display, rest) = match lex::quoted_len(value) {
            Some(len) => value.split_at(len),
            None if value.starts_with(b"\"") => return Err(Fault::Address),
            None => match value.iter().position(|b| *b == b'<') {
                Some(at) => value.split_at(at),
                None => return NameAddr::parse_bare(value),
            },
        };
        let inner = lex::trim(rest).strip_prefix(b"<").ok_or(Fault::Address)?;
        let end = inner
            .iter()
            .position(|b| *b == b'>')
            .ok_or(Fault::Address)?;
        let (uri, params) = inner.split_at(end);
        if lex::trim(display).contains(&b'"') && !display.starts_with(b"\"") {
            return Err(Fault::Address);
        }
        Uri::parse(uri).map_err(|_| Fault::Address)?;
        let params = Params::parse(params.get(1..).unwrap_or_default())?;
        Ok(NameAddr {
            display: lex::trim(display),
            uri,
            params,
        })
    }

    /// Without `<>` the URI may hold neither `?`, `,` nor `;` (RFC 3261 §20): what follows is the header's.
    fn parse_bare(value: &'a [u8]) -> Result<NameAddr<'a>, Fault> {
        let end = value
            .iter()
            .position(|b| *b == b';' || lex::is_lws(*b))
            .unwrap_or(value.len());
        let (uri, params) = value.split_at(end);
        if uri.iter().any(|b| b"?,".contains(b)) {
            return Err(Fault::Address);
        }
        Uri::parse(uri).map_err(|_| Fault::Address)?;
        Ok(NameAddr {
            display: b"",
            uri,
            params: Params::parse(params)?,
        })
    }

    /// What the display name says, unquoted.
    pub fn display(&self) -> Cow<'a, [u8]> {
        match lex::unfold(self.display) {
            Cow::Borrowed(text) => lex::quoted_text(text),
            Cow::Owned(text) => Cow::Owned(lex::quoted_text(&text).into_owned()),
        }
    }

    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.get("tag").filter(|tag| !tag.is_empty())
    }
}
