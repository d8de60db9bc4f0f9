use super::lex::{self, is_token};
use super::{Fault, Method, Uri};
use std::fmt;

/// Something that cannot be written as SIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteFault {
    /// A control character in the named place.
    Control(String),
    /// A name that is no token.
    Name(String),
    /// Neither a token nor text that may be quoted.
    Param(String),
    Uri,
    TooLarge,
}

impl fmt::Display for WriteFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteFault::Control(place) => write!(f, "control character in {place}"),
            WriteFault::Name(name) => write!(f, "{:?} cannot be a header name", name),
            WriteFault::Param(name) => write!(f, "parameter {:?} cannot be written", name),
            WriteFault::Uri => f.write_str("not a URI"),
            WriteFault::TooLarge => f.write_str("message too large"),
        }
    }
}

impl std::error::Error for WriteFault {}

/// Writes one message into a buffer that is used again and again.
///
/// Every value is checked as it comes, and the first fault is remembered and told by [`Writer::end`]: no
/// input yields a second line or header.
pub struct Writer<'b> {
    out: &'b mut Vec<u8>,
    fault: Option<WriteFault>,
}

impl<'b> Writer<'b> {
    pub fn request(out: &'b mut Vec<u8>, method: &Method, uri: &[u8]) -> Writer<'b> {
        out.clear();
        let mut fault = None;
        if !is_token(method.as_bytes()) {
            fault = Some(WriteFault::Name("method".into()));
        }
        if Uri::parse(uri).is_err() {
            fault = Some(WriteFault::Uri);
        }
        out.extend_from_slice(method.as_bytes());
        out.push(b' ');
        out.extend_from_slice(uri);
        out.extend_from_slice(b" SIP/2.0\r\n");
        Writer { out, fault }
    }

    /// A reason phrase is for people: what cannot be written is left out instead of refused.
    pub fn response(out: &'b mut Vec<u8>, status: u16, reason: &str) -> Writer<'b> {
        out.clear();
        let status = status.clamp(100, 699);
        let reason: String = reason.chars().filter(|c| !c.is_control()).collect();
        out.extend_from_slice(format!("SIP/2.0 {status} {reason}\r\n").as_bytes());
        Writer { out, fault: None }
    }

    /// A header of our own making.
    pub fn header(&mut self, name: &str, value: &[u8]) -> &mut Self {
        if !is_token(name.as_bytes()) {
            self.fail(WriteFault::Name(name.into()));
            return self;
        }
        if value.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
            self.fail(WriteFault::Control(name.into()));
            return self;
        }
        self.line(name, value)
    }

    pub fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.header(name, value.as_bytes())
    }

    /// A received value handed back: its folds become spaces, the rest stays byte for byte.
    pub fn copied(&mut self, name: &str, value: &[u8]) -> &mut Self {
        if !is_token(name.as_bytes()) {
            self.fail(WriteFault::Name(name.into()));
            return self;
        }
        let value = lex::unfold(value);
        self.line(name, &value)
    }

    /// Content-Type if there is a body, Content-Length, and the body.
    pub fn end(mut self, content_type: &str, body: &[u8]) -> Result<(), WriteFault> {
        if !body.is_empty() {
            self.text("Content-Type", content_type);
        }
        let length = body.len().to_string();
        self.line("Content-Length", length.as_bytes());
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(body);
        if self.out.len() > super::MAX_MESSAGE {
            self.fail(WriteFault::TooLarge);
        }
        match self.fault.take() {
            None => Ok(()),
            Some(fault) => {
                self.out.clear();
                Err(fault)
            }
        }
    }

    fn line(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    fn fail(&mut self, fault: WriteFault) {
        self.fault.get_or_insert(fault);
    }
}

impl From<Fault> for WriteFault {
    fn from(_: Fault) -> Self {
        WriteFault::Uri
    }
}

/// A display name or parameter value in quotes. Controls are refused, quotes and backslashes escaped.
pub fn print_quoted(text: &[u8], place: &str, out: &mut Vec<u8>) -> Result<(), WriteFault> {
    if text.iter().any(u8::is_ascii_control) {
        return Err(WriteFault::Control(place.into()));
    }
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
    Ok(())
}

/// `"Display" <uri>`; the URI must be one.
pub fn addr_spec(display: &str, uri: &[u8]) -> Result<Vec<u8>, WriteFault> {
    Uri::parse(uri)?;
    let mut out = Vec::with_capacity(display.len() + uri.len() + 5);
    if !display.is_empty() {
        print_quoted(display.as_bytes(), "display name", &mut out)?;
        out.push(b' ');
    }
    out.push(b'<');
    out.extend_from_slice(uri);
    out.push(b'>');
    Ok(out)
}

/// `;name=value` for headers: a value that is no token is quoted.
pub fn print_params(
    params: &[(String, Option<String>)],
    out: &mut Vec<u8>,
) -> Result<(), WriteFault> {
    for (name, value) in params {
        if !is_token(name.as_bytes()) {
            return Err(WriteFault::Param(name.clone()));
        }
        out.push(b';');
        out.extend_from_slice(name.as_bytes());
        let Some(value) = value else { continue };
        out.push(b'=');
        if is_token(value.as_bytes()) {
            out.extend_from_slice(value.as_bytes());
        } else {
            print_quoted(value.as_bytes(), name, out)?;
        }
    }
    Ok(())
}
