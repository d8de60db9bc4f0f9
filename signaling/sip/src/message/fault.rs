use std::fmt;

/// What is wrong with a received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No start line of SIP: nothing that could be answered.
    NotSip,
    /// A version other than 2.0.
    Version,
    StartLine,
    StatusCode,
    HeaderLine,
    /// CR or LF alone inside the head.
    BareLineEnd,
    /// The head does not end with an empty line.
    NoEnd,
    /// Malformed, contradictory, or longer than the datagram.
    ContentLength,
    TooLarge,
    TooManyHeaders,
    RequestUri,
    /// A URI that is well formed but of a scheme that we do not serve.
    Scheme,
    Uri,
    Via,
    Address,
    Params,
    CallId,
    CSeq,
    Number,
    Missing(&'static str),
    Repeated(&'static str),
}

impl Fault {
    /// The status that a request with this fault deserves (RFC 3261 §21.4).
    pub fn status(self) -> u16 {
        match self {
            Fault::Version => 505,
            Fault::Scheme => 416,
            Fault::TooLarge => 513,
            _ => 400,
        }
    }

    /// A reason phrase for that status.
    pub fn phrase(self) -> String {
        match self {
            Fault::Version => "Version Not Supported".into(),
            Fault::Scheme => "Unsupported URI Scheme".into(),
            Fault::TooLarge => "Message Too Large".into(),
            other => format!("Bad Request: {other}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotSip => f.write_str("not a SIP message"),
            Fault::Version => f.write_str("not SIP/2.0"),
            Fault::StartLine => f.write_str("malformed start line"),
            Fault::StatusCode => f.write_str("malformed status code"),
            Fault::HeaderLine => f.write_str("malformed header line"),
            Fault::BareLineEnd => f.write_str("CR or LF alone in a header"),
            Fault::NoEnd => f.write_str("no end of the headers"),
            Fault::ContentLength => f.write_str("Content-Length does not fit"),
            Fault::TooLarge => f.write_str("message too large"),
            Fault::TooManyHeaders => f.write_str("too many headers"),
            Fault::RequestUri => f.write_str("malformed Request-URI"),
            Fault::Scheme => f.write_str("unsupported URI scheme"),
            Fault::Uri => f.write_str("malformed URI"),
            Fault::Via => f.write_str("malformed Via"),
            Fault::Address => f.write_str("malformed address"),
            Fault::Params => f.write_str("malformed parameters"),
            Fault::CallId => f.write_str("malformed Call-ID"),
            Fault::CSeq => f.write_str("malformed CSeq"),
            Fault::Number => f.write_str("number out of range"),
            Fault::Missing(name) => write!(f, "no {name}"),
            Fault::Repeated(name) => write!(f, "more than one {name}"),
        }
    }
}

impl std::error::Error for Fault {}
