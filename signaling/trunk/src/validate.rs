//! What a request must be before anybody looks at whom it is for (RFC 3261 §8.2, RFC 4475).

use signaling_sip::message::{Fault, HeaderName, Message, Method, NameAddr, Uri, Via, trim};

/// A final response that says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(&'static str, Vec<u8>)>,
}

impl Refusal {
    pub fn new(status: u16, reason: &str) -> Refusal {
        Refusal {
            status,
            reason: reason.into(),
            headers: Vec::new(),
        }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Refusal {
        self.headers.push((name, value.as_bytes().to_vec()));
        self
    }

    pub fn bad(reason: &str) -> Refusal {
        Refusal::new(400, reason)
    }

    pub fn overloaded() -> Refusal {
        Refusal::new(503, "Service Unavailable").with("Retry-After", "5")
    }

    pub fn not_allowed() -> Refusal {
        Refusal::new(405, "Method Not Allowed").with("Allow", crate::requests::ALLOW)
    }

    pub fn unsupported_type(accept: &str) -> Refusal {
        Refusal::new(415, "Unsupported Media Type").with("Accept", accept)
    }

    /// A package of events that is not ours (RFC 6665 §8.2.1, §8.3.2).
    pub fn bad_event() -> Refusal {
        Refusal::new(489, "Bad Event").with("Allow-Events", "refer")
    }

    /// What an OPTIONS is answered with (RFC 3261 §11.2).
    pub fn capabilities() -> Vec<(&'static str, Vec<u8>)> {
        [
            ("Allow", crate::requests::ALLOW.into()),
            ("Accept", "application/sdp".into()),
            ("Accept-Encoding", "identity".into()),
            ("Supported", SUPPORTED.join(", ")),
        ]
        .map(|(name, value)| (name, value.into_bytes()))
        .to_vec()
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        Refusal::new(fault.status(), &fault.phrase())
    }
}

/// Option tags that we support and a peer may require.
pub(crate) const SUPPORTED: [&str; 4] = ["100rel", "timer", "199", "replaces"];

fn is_supported(tag: &[u8]) -> bool {
    SUPPORTED
        .iter()
        .any(|own| own.as_bytes().eq_ignore_ascii_case(tag))
}

/// `Err`: the response that the request deserves.
pub(crate) fn check(message: &Message<'_>) -> Result<(), Refusal> {
    check_form(message)?;
    let method = message.method();
    if !method.is_known() {
        return Err(Refusal::new(501, "Not Implemented").with("Allow", crate::requests::ALLOW));
    }
    let (_, cseq_method) = message.cseq()?;
    if cseq_method != message.method_text() {
        return Err(Fault::CSeq.into());
    }
    match Uri::parse(message.uri_text()) {
        Ok(Uri::Sip(uri)) if uri.headers.is_some() => return Err(Fault::RequestUri.into()),
        Ok(Uri::Sip(_) | Uri::Tel(_)) => {}
        Ok(Uri::Other(_)) => return Err(Fault::Scheme.into()),
        Err(_) => return Err(Fault::RequestUri.into()),
    }
    if !matches!(method, Method::Ack | Method::Cancel) {
        check_extensions(message, &method)?;
    }
    if matches!(method, Method::Invite | Method::Update | Method::Prack) {
        check_body(message)?;
    }
    if method == Method::Invite {
        check_accept(message)?;
    } else if message.value(HeaderName::Replaces).is_some() {
        // RFC 3891 §3.
        return Err(Refusal::bad("Bad Request: Replaces outside an INVITE"));
    }
    Ok(())
}

fn check_form(message: &Message<'_>) -> Result<(), Fault> {
    if let Some(fault) = message.fault {
        return Err(fault);
    }
    for (name, text) in [
        (HeaderName::From, "From"),
        (HeaderName::To, "To"),
        (HeaderName::CallId, "Call-ID"),
        (HeaderName::CSeq, "CSeq"),
        (HeaderName::MaxForwards, "Max-Forwards"),
        (HeaderName::ContentType, "Content-Type"),
        (HeaderName::Expires, "Expires"),
    ] {
        if message.values(name).count() > 1 {
            return Err(Fault::Repeated(text));
        }
    }
    message.top_via()?;
    for via in message.list(HeaderName::Via) {
        Via::parse(via)?;
    }
    message.from()?;
    message.to()?;
    message.call_id()?;
    message.cseq()?;
    if message
        .number(HeaderName::MaxForwards)?
        .is_some_and(|hops| hops > 255)
    {
        return Err(Fault::Number);
    }
    message.number(HeaderName::Expires)?;
    for contact in message.list(HeaderName::Contact) {
        if contact != b"*" {
            NameAddr::parse(contact)?;
        }
    }
    Ok(())
}

/// Require names what must be understood (RFC 3261 §8.2.2.3); Proxy-Require is for proxies.
fn check_extensions(message: &Message<'_>, method: &Method) -> Result<(), Refusal> {
    let more: &[&str] = match method {
        Method::Register => &["path", "outbound"],
        _ => &[],
    };
    let unknown: Vec<&[u8]> = message
        .list(HeaderName::Require)
        .filter(|tag| !tag.is_empty() && !is_supported(tag))
        .filter(|tag| {
            !more
                .iter()
                .any(|own| own.as_bytes().eq_ignore_ascii_case(tag))
        })
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let mut refusal = Refusal::new(420, "Bad Extension");
    let listed: Vec<u8> =
        signaling_sip::message::unfold(&unknown.join(b", ".as_slice())).into_owned();
    refusal.headers.push(("Unsupported", listed));
    Err(refusal)
}

/// Credentials in a language that nobody speaks are answered by the one that we do (RFC 4475 §3.3.7).
pub(crate) fn check_scheme(message: &Message<'_>) -> Result<(), Refusal> {
    let Some(value) = message.value(HeaderName::Authorization) else {
        return Ok(());
    };
    let scheme = trim(value)
        .split(u8::is_ascii_whitespace)
        .next()
        .unwrap_or_default();
    if scheme.eq_ignore_ascii_case(b"Digest") {
        return Ok(());
    }
    let challenge = "Digest realm=\"trunkgate\", nonce=\"0\", algorithm=SHA-256, qop=\"auth\"";
    Err(Refusal::new(401, "Unauthorized").with("WWW-Authenticate", challenge))
}

fn check_body(message: &Message<'_>) -> Result<(), Refusal> {
    if message.body().is_empty() {
        return Ok(());
    }
    let is_sdp = message
        .content_type()
        .is_none_or(|t| t == "application/sdp");
    let encoded = message
        .value(HeaderName::ContentEncoding)
        .is_some_and(|e| !trim(e).eq_ignore_ascii_case(b"identity"));
    if is_sdp && !encoded {
        return Ok(());
    }
    let refusal = Refusal::new(415, "Unsupported Media Type").with("Accept", "application/sdp");
    Err(refusal.with("Accept-Encoding", "identity"))
}

/// An Accept without SDP means that no answer of ours could be read (RFC 3261 §20.1).
fn check_accept(message: &Message<'_>) -> Result<(), Refusal> {
    let mut any = false;
    for range in message.list(HeaderName::Accept) {
        let main = range.split(|b| *b == b';').next().unwrap_or_default();
        let main = String::from_utf8_lossy(main)
            .split_whitespace()
            .collect::<String>()
            .to_ascii_lowercase();
        if matches!(main.as_str(), "application/sdp" | "application/*" | "*/*") {
            return Ok(());
        }
        any |= !main.is_empty();
    }
    if any {
        Err(Refusal::new(406, "Not Acceptable"))
    } else {
        Ok(())
    }
}
