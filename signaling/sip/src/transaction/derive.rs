use crate::message::{HeaderName, Message, Method, WriteFault, Writer};

/// The ACK of a 300 to 699 response (RFC 3261 §17.1.1.3): the INVITE's URI, top Via, Route, From, Call-ID
/// and number, the response's To.
pub fn ack_for(invite: &Message<'_>, response: &Message<'_>) -> Result<Vec<u8>, WriteFault> {
    let to = response.value(HeaderName::To);
    derived(invite, &Method::Ack, to)
}

/// The CANCEL of an INVITE (RFC 3261 §9.1), with the INVITE's own branch and To.
pub fn cancel_for(invite: &Message<'_>) -> Result<Vec<u8>, WriteFault> {
    derived(invite, &Method::Cancel, None)
}

fn derived(
    invite: &Message<'_>,
    method: &Method,
    to: Option<&[u8]>,
) -> Result<Vec<u8>, WriteFault> {
    let mut out = Vec::new();
    let mut writer = Writer::request(&mut out, method, invite.uri_text());
    if let Some(via) = invite.list(HeaderName::Via).next() {
        writer.copied("Via", via);
    }
    for route in invite.values(HeaderName::Route) {
        writer.copied("Route", route);
    }
    writer.text("Max-Forwards", "70");
    if let Some(from) = invite.value(HeaderName::From) {
        writer.copied("From", from);
    }
    if let Some(to) = to.or_else(|| invite.value(HeaderName::To)) {
        writer.copied("To", to);
    }
    if let Some(call_id) = invite.value(HeaderName::CallId) {
        writer.copied("Call-ID", call_id);
    }
    let number = invite.cseq().map_or(0, |(number, _)| number);
    let method = String::from_utf8_lossy(method.as_bytes()).into_owned();
    writer.text("CSeq", &format!("{number} {method}"));
    writer.end("", b"")?;
    Ok(out)
}
