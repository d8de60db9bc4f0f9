//! Messages: an index over the received bytes, and a writer for what we send.
//!
//! Parsing finds the start line and the header fields and looks no deeper; [`Via`], [`NameAddr`] and the
//! others read one value when asked. Values are bytes, since a display name or a reason phrase may hold
//! any UTF-8 and a broken peer anything at all.

mod address;
mod blot;
mod event;
mod fault;
mod field;
mod lex;
mod method;
mod refer_to;
mod replaces;
mod scan;
mod stream;
mod uri;
mod via;
mod write;

pub use address::NameAddr;
pub use blot::{asks_for_privacy, blotted, is_identity};
pub use event::{EventPackage, SubscriptionState, sipfrag_status};
pub use fault::Fault;
pub use field::{Field, HeaderName};
pub use lex::{Params, is_token, quoted_text, split_list, trim, unfold};
pub use method::Method;
pub use refer_to::{ReferTarget, escape_header};
pub use replaces::Replaces;
pub use scan::{Framing, MAX_HEADERS, MAX_MESSAGE, Scan, scan};
pub use stream::{StreamFramer, Unit};
pub use uri::{Host, SipUri, Uri, escape_user, unescape};
pub use via::Via;
pub use write::{WriteFault, Writer, addr_spec, print_params, print_quoted};

use field::Fields;
use std::borrow::Cow;

/// A half-open range of a message's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Offsets fit: a message is at most [`MAX_MESSAGE`] bytes.
    fn new(start: usize, end: usize) -> Span {
        let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Span {
            start: narrow(start),
            end: narrow(end),
        }
    }

    fn of(self, bytes: &[u8]) -> &[u8] {
        bytes
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug)]
enum Start {
    Request { method: Span, uri: Span },
    Response { status: u16, reason: Span },
}

/// A received message: its bytes, and where the parts are.
#[derive(Clone)]
pub struct Message<'a> {
    bytes: &'a [u8],
    start: Start,
    fields: Fields,
    body: Span,
    /// The first thing wrong with its outer form. A request with a fault deserves its status; a response
    /// with one is dropped.
    pub fault: Option<Fault>,
}

impl<'a> Message<'a> {
    /// Reads a datagram, or text that was framed before.
    pub fn parse(bytes: &'a [u8]) -> Result<Message<'a>, Fault> {
        match scan(bytes, Framing::Datagram) {
            Scan::Message { message, .. } => Ok(message),
            Scan::Garbage(fault) => Err(fault),
            Scan::Partial { .. } | Scan::KeepAlive { .. } => Err(Fault::NotSip),
        }
    }

    pub fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// The method of a request, empty in a response.
    pub fn method_text(&self) -> &'a [u8] {
        match self.start {
            Start::Request { method, .. } => method.of(self.bytes),
            Start::Response { .. } => b"",
        }
    }

    pub fn method(&self) -> Method {
        Method::from_bytes(self.method_text())
    }

    /// The Request-URI as it stands, empty in a response.
    pub fn uri_text(&self) -> &'a [u8] {
        match self.start {
            Start::Request { uri, .. } => uri.of(self.bytes),
            Start::Response { .. } => b"",
        }
    }

    /// The status of a response, 0 in a request.
    pub fn status(&self) -> u16 {
        match self.start {
            Start::Request { .. } => 0,
            Start::Response { status, .. } => status,
        }
    }

    pub fn reason(&self) -> &'a [u8] {
        match self.start {
            Start::Request { .. } => b"",
            Start::Response { reason, .. } => reason.of(self.bytes),
        }
    }

    /// The fields in their order, names as written.
    pub fn fields(&self) -> impl Iterator<Item = (HeaderName, &'a [u8], &'a [u8])> + '_ {
        let bytes = self.bytes;
        self.fields
            .iter()
            .map(move |f| (f.id, f.name.of(bytes), f.value.of(bytes)))
    }

    /// Values of every field of that name, folded lines included.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &'a [u8]> + '_ {
        let bytes = self.bytes;
        self.fields
            .iter()
            .filter(move |f| f.id == name)
            .map(move |f| f.value.of(bytes))
    }

    /// The first field of that name.
    pub fn value(&self, name: HeaderName) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// The first field whose name is `name` in any case; for headers without an id.
    pub fn value_named(&self, name: &str) -> Option<&'a [u8]> {
        self.fields()
            .find(|(_, n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, _, v)| v)
    }

    /// The elements of a comma-separated header, over all its fields (RFC 3261 §7.3.1).
    pub fn list(&self, name: HeaderName) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.values(name).flat_map(split_list)
    }

    pub fn body(&self) -> &'a [u8] {
        self.body.of(self.bytes)
    }

    /// The message from its first to its last byte, nothing of what followed it.
    pub fn raw(&self) -> &'a [u8] {
        self.bytes
            .get(..self.body.end as usize)
            .unwrap_or(self.bytes)
    }

    pub fn top_via(&self) -> Result<Via<'a>, Fault> {
        let first = self
            .list(HeaderName::Via)
            .next()
            .ok_or(Fault::Missing("Via"))?;
        Via::parse(first)
    }

    pub fn from(&self) -> Result<NameAddr<'a>, Fault> {
        NameAddr::parse(self.value(HeaderName::From).ok_or(Fault::Missing("From"))?)
    }

    pub fn to(&self) -> Result<NameAddr<'a>, Fault> {
        NameAddr::parse(self.value(HeaderName::To).ok_or(Fault::Missing("To"))?)
    }

    /// The first Contact.
    pub fn contact(&self) -> Option<Result<NameAddr<'a>, Fault>> {
        self.list(HeaderName::Contact).next().map(NameAddr::parse)
    }

    pub fn call_id(&self) -> Result<&'a [u8], Fault> {
        let id = trim(
            self.value(HeaderName::CallId)
                .ok_or(Fault::Missing("Call-ID"))?,
        );
        if id.is_empty() || id.iter().any(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')) {
            return Err(Fault::CallId);
        }
        Ok(id)
    }

    /// Sequence number (below 2^31, RFC 3261 §8.1.1.5) and method.
    pub fn cseq(&self) -> Result<(u32, &'a [u8]), Fault> {
        let value = trim(self.value(HeaderName::CSeq).ok_or(Fault::Missing("CSeq"))?);
        let digits = value.iter().take_while(|b| b.is_ascii_digit()).count();
        let (number, method) = value.split_at(digits);
        let number = lex::number(number)
            .filter(|n| *n < 1 << 31)
            .ok_or(Fault::CSeq)?;
        let trimmed = trim(method);
        if trimmed.len() == method.len() || !is_token(trimmed) {
            return Err(Fault::CSeq);
        }
        Ok((number, trimmed))
    }

    /// A header that is one decimal number; `None` where absent.
    pub fn number(&self, name: HeaderName) -> Result<Option<u32>, Fault> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => lex::number(trim(value)).map(Some).ok_or(Fault::Number),
        }
    }

    /// Whether a list of option tags (Supported, Require) or methods (Allow) names this one.
    pub fn names(&self, list: HeaderName, tag: &str) -> bool {
        self.list(list)
            .any(|element| trim(element).eq_ignore_ascii_case(tag.as_bytes()))
    }

    /// RAck: RSeq and CSeq number of a provisional response, and its method (RFC 3262 §7.2).
    pub fn rack(&self) -> Option<(u32, u32, &'a [u8])> {
        let mut words = self
            .value(HeaderName::RAck)?
            .split(|b| lex::is_lws(*b))
            .filter(|word| !word.is_empty());
        let rseq = lex::number(words.next()?)?;
        let cseq = lex::number(words.next()?)?;
        let method = words.next()?;
        words.next().is_none().then_some((rseq, cseq, method))
    }

    /// Session-Expires in seconds, and who refreshes in lower case (RFC 4028 §4).
    pub fn session_expires(&self) -> Option<(u32, Option<Vec<u8>>)> {
        let value = self.value(HeaderName::SessionExpires)?;
        let end = value.iter().position(|b| *b == b';').unwrap_or(value.len());
        let (seconds, params) = value.split_at(end);
        let refresher = Params::parse(params)
            .ok()
            .and_then(|p| p.get("refresher"))
            .map(<[u8]>::to_ascii_lowercase);
        Some((lex::number(trim(seconds))?, refresher))
    }

    /// Type and subtype of the body in lower case, without parameters.
    pub fn content_type(&self) -> Option<String> {
        let value = trim(self.value(HeaderName::ContentType)?);
        let main = value.split(|b| *b == b';').next().unwrap_or_default();
        Some(
            String::from_utf8_lossy(main)
                .split_whitespace()
                .collect::<String>()
                .to_ascii_lowercase(),
        )
    }

    /// The body where it is SDP.
    pub fn sdp(&self) -> Option<&'a [u8]> {
        let is_sdp = self.content_type().is_some_and(|t| t == "application/sdp");
        (is_sdp && !self.body().is_empty()).then(|| self.body())
    }

    /// A value with its folds made into single spaces.
    pub fn unfolded(&self, name: HeaderName) -> Option<Cow<'a, [u8]>> {
        self.value(name).map(unfold)
    }
}

impl std::fmt::Debug for Message<'_> {
    /// The start line only: bodies hold keys and headers hold digests.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_request() {
            let (method, uri) = (
                self.method_text().escape_ascii(),
                self.uri_text().escape_ascii(),
            );
            write!(f, "Message({method} {uri})")
        } else {
            write!(f, "Message({})", self.status())
        }
    }
}

#[cfg(test)]
mod tests;
