use super::Span;

/// The headers that this crate or its users read; the rest are [`HeaderName::Other`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum HeaderName {
    #[default]
    Other,
    Accept,
    Allow,
    Authorization,
    CallId,
    Contact,
    ContentLength,
    ContentType,
    ContentEncoding,
    CSeq,
    Event,
    Expires,
    From,
    MaxForwards,
    MinExpires,
    MinSe,
    Path,
    ProxyAuthenticate,
    ProxyAuthorization,
    RAck,
    Reason,
    RecordRoute,
    ReferredBy,
    ReferTo,
    Replaces,
    Require,
    RetryAfter,
    Route,
    RSeq,
    SessionExpires,
    Subject,
    SubscriptionState,
    Supported,
    To,
    Via,
    WwwAuthenticate,
}

/// Name, its compact form (RFC 3261 §7.3.3), id.
const NAMES: [(&str, u8, HeaderName); 35] = [
    ("Via", b'v', HeaderName::Via),
    ("From", b'f', HeaderName::From),
    ("To", b't', HeaderName::To),
    ("Call-ID", b'i', HeaderName::CallId),
    ("CSeq", 0, HeaderName::CSeq),
    ("Contact", b'm', HeaderName::Contact),
    ("Content-Length", b'l', HeaderName::ContentLength),
    ("Content-Type", b'c', HeaderName::ContentType),
    ("Max-Forwards", 0, HeaderName::MaxForwards),
    ("Record-Route", 0, HeaderName::RecordRoute),
    ("Route", 0, HeaderName::Route),
    ("Allow", 0, HeaderName::Allow),
    ("Supported", b'k', HeaderName::Supported),
    ("Require", 0, HeaderName::Require),
    ("Accept", 0, HeaderName::Accept),
    ("Authorization", 0, HeaderName::Authorization),
    ("Content-Encoding", b'e', HeaderName::ContentEncoding),
    ("Expires", 0, HeaderName::Expires),
    ("Min-Expires", 0, HeaderName::MinExpires),
    ("Min-SE", 0, HeaderName::MinSe),
    ("Path", 0, HeaderName::Path),
    ("Proxy-Authenticate", 0, HeaderName::ProxyAuthenticate),
    ("Proxy-Authorization", 0, HeaderName::ProxyAuthorization),
    ("RAck", 0, HeaderName::RAck),
    ("Reason", 0, HeaderName::Reason),
    ("Retry-After", 0, HeaderName::RetryAfter),
    ("RSeq", 0, HeaderName::RSeq),
    ("Session-Expires", b'x', HeaderName::SessionExpires),
    ("Subject", b's', HeaderName::Subject),
    ("WWW-Authenticate", 0, HeaderName::WwwAuthenticate),
    ("Event", b'o', HeaderName::Event),
    ("Refer-To", b'r', HeaderName::ReferTo),
    ("Referred-By", b'b', HeaderName::ReferredBy),
    ("Replaces", 0, HeaderName::Replaces),
    ("Subscription-State", 0, HeaderName::SubscriptionState),
];

impl HeaderName {
    pub fn from_bytes(name: &[u8]) -> HeaderName {
        let found = if let [letter] = name {
            let letter = letter.to_ascii_lowercase();
            NAMES.iter().find(|(_, compact, _)| *compact == letter)
        } else {
            NAMES
                .iter()
                .find(|(full, _, _)| full.as_bytes().eq_ignore_ascii_case(name))
        };
        found.map_or(HeaderName::Other, |(_, _, id)| *id)
    }

    /// The full name; empty for `Other`.
    pub fn as_str(self) -> &'static str {
        NAMES
            .iter()
            .find(|(_, _, id)| *id == self)
            .map_or("", |(name, _, _)| name)
    }
}

/// Where one header field stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Field {
    pub(crate) id: HeaderName,
    pub(crate) name: Span,
    pub(crate) value: Span,
}

/// A list that stays off the heap for ordinary messages.
#[derive(Clone)]
pub(crate) struct Fields {
    inline: [Field; INLINE],
    len: usize,
    spill: Vec<Field>,
}

/// A request through two proxies has about twenty fields.
const INLINE: usize = 28;

impl Fields {
    pub(crate) fn new() -> Fields {
        Fields {
            inline: [Field::default(); INLINE],
            len: 0,
            spill: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, field: Field) {
        match self.inline.get_mut(self.len) {
            Some(slot) => *slot = field,
            None => self.spill.push(field),
        }
        self.len += 1;
    }

    pub(crate) fn last_mut(&mut self) -> Option<&mut Field> {
        let last = self.len.checked_sub(1)?;
        self.spill.last_mut().or_else(|| self.inline.get_mut(last))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Field> + '_ {
        self.inline.iter().take(self.len).chain(self.spill.iter())
    }
}
