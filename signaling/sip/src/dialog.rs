//! Dialogs (RFC 3261 §12): who talks to whom, in which order, over which proxies.

use crate::message::{Fault, HeaderName, Message, NameAddr, Params, Uri, split_list, unfold};
use serde::{Deserialize, Serialize};

/// Most proxies that may record themselves into one dialog.
pub const MAX_ROUTES: usize = 32;

/// One peer-to-peer relation: one for each To tag that an INVITE brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialog {
    pub call_id: Vec<u8>,
    pub local_tag: Vec<u8>,
    pub remote_tag: Vec<u8>,
    /// Our From in requests, their To, tag included.
    pub local: Vec<u8>,
    /// Their To in our requests, tag included.
    pub remote: Vec<u8>,
    pub local_cseq: u32,
    pub remote_cseq: Option<u32>,
    /// The peer's Contact URI as it stood.
    pub target: Vec<u8>,
    /// Route values in the order in which they are passed.
    pub routes: Vec<Vec<u8>>,
}

/// How to address a request inside a dialog (RFC 3261 §12.2.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    pub uri: Vec<u8>,
    pub routes: Vec<Vec<u8>>,
    /// The URI that says where the request is sent.
    pub next_hop: Vec<u8>,
}

impl Dialog {
    /// Ours, from a response to our request (RFC 3261 §12.1.2). Without a Contact the Request-URI stays
    /// the target: an 18x may lack it.
    pub fn from_response(request: &Message<'_>, response: &Message<'_>) -> Result<Dialog, Fault> {
        let (number, _) = request.cseq()?;
        let mut routes = record_routes(response)?;
        routes.reverse();
        Ok(Dialog {
            call_id: request.call_id()?.to_vec(),
            local_tag: request.from()?.tag().unwrap_or_default().to_vec(),
            remote_tag: response.to()?.tag().unwrap_or_default().to_vec(),
            local: text(request, HeaderName::From),
            remote: text(response, HeaderName::To),
            local_cseq: number,
            remote_cseq: None,
            target: contact(response)?.unwrap_or_else(|| request.uri_text().to_vec()),
            routes,
        })
    }

    /// Theirs, from their request and the tag that we draw (RFC 3261 §12.1.1).
    pub fn from_request(request: &Message<'_>, local_tag: &[u8]) -> Result<Dialog, Fault> {
        let (number, _) = request.cseq()?;
        let mut local = text(request, HeaderName::To);
        local.extend_from_slice(b";tag=");
        local.extend_from_slice(local_tag);
        Ok(Dialog {
            call_id: request.call_id()?.to_vec(),
            local_tag: local_tag.to_vec(),
            remote_tag: request.from()?.tag().unwrap_or_default().to_vec(),
            local,
            remote: text(request, HeaderName::From),
            local_cseq: 0,
            remote_cseq: Some(number),
            target: contact(request)?.ok_or(Fault::Missing("Contact"))?,
            routes: record_routes(request)?,
        })
    }

    /// A request of the peer belongs here: both tags and the Call-ID match.
    pub fn owns(&self, request: &Message<'_>) -> bool {
        let tag =
            |addr: Result<NameAddr<'_>, Fault>| addr.ok().and_then(|a| a.tag().map(<[u8]>::to_vec));
        request.call_id() == Ok(self.call_id.as_slice())
            && tag(request.to()).unwrap_or_default() == self.local_tag
            && tag(request.from()).unwrap_or_default() == self.remote_tag
    }

    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq = self.local_cseq.saturating_add(1);
        self.local_cseq
    }

    /// False if the number is lower than one seen before (RFC 3261 §12.2.2: 500).
    pub fn take_remote_cseq(&mut self, number: u32) -> bool {
        if self.remote_cseq.is_some_and(|last| number <= last) {
            return false;
        }
        self.remote_cseq = Some(number);
        true
    }

    /// A new Contact in a target refresh request or its 2xx (RFC 3261 §12.2.1.2, RFC 3311 §5.1).
    pub fn refresh_target(&mut self, message: &Message<'_>) -> Result<(), Fault> {
        if let Some(uri) = contact(message)? {
            self.target = uri;
        }
        Ok(())
    }

    /// The route set is fixed by the 2xx, not by the 18x before it (RFC 3261 §13.2.2.4).
    pub fn confirm(&mut self, response: &Message<'_>) -> Result<(), Fault> {
        self.refresh_target(response)?;
        let mut routes = record_routes(response)?;
        routes.reverse();
        self.routes = routes;
        Ok(())
    }

    /// Loose routing where the first proxy says `;lr`, else strict as in RFC 2543.
    pub fn routing(&self) -> Routing {
        let first = self.routes.first().and_then(|r| NameAddr::parse(r).ok());
        let Some(first) = first else {
            return Routing {
                uri: self.target.clone(),
                routes: Vec::new(),
                next_hop: self.target.clone(),
            };
        };
        let parsed = Uri::parse(first.uri).ok();
        let loose = parsed
            .as_ref()
            .and_then(Uri::sip)
            .is_some_and(|sip| sip.param("lr").is_some());
        if loose {
            return Routing {
                uri: self.target.clone(),
                routes: self.routes.clone(),
                next_hop: first.uri.to_vec(),
            };
        }
        let mut uri = first.uri.to_vec();
        if let Some(Uri::Sip(mut sip)) = parsed {
            // Neither may stand in a Request-URI (RFC 3261 §19.1.1, table 1).
            sip.params.retain(|(name, _)| name != b"method");
            sip.headers = None;
            uri = sip.to_bytes();
        }
        let mut routes: Vec<Vec<u8>> = self.routes.iter().skip(1).cloned().collect();
        routes.push([b"<".as_slice(), &self.target, b">"].concat());
        Routing {
            next_hop: uri.clone(),
            uri,
            routes,
        }
    }
}

fn text(message: &Message<'_>, name: HeaderName) -> Vec<u8> {
    message.unfolded(name).unwrap_or_default().into_owned()
}

/// The Contact's URI, which must be one that requests can be sent to.
fn contact(message: &Message<'_>) -> Result<Option<Vec<u8>>, Fault> {
    let Some(contact) = message.contact() else {
        return Ok(None);
    };
    let contact = contact?;
    match Uri::parse(contact.uri)? {
        Uri::Sip(mut sip) if sip.headers.is_some() => {
            sip.headers = None;
            Ok(Some(sip.to_bytes()))
        }
        Uri::Sip(_) => Ok(Some(contact.uri.to_vec())),
        Uri::Tel(_) | Uri::Other(_) => Err(Fault::Scheme),
    }
}

fn record_routes(message: &Message<'_>) -> Result<Vec<Vec<u8>>, Fault> {
    let mut routes = Vec::new();
    for value in message.values(HeaderName::RecordRoute) {
        let value = unfold(value);
        for element in split_list(&value) {
            let route = NameAddr::parse(element)?;
            Uri::parse(route.uri)?.sip().ok_or(Fault::Scheme)?;
            if route.params == Params::default() {
                routes.push([b"<".as_slice(), route.uri, b">"].concat());
            } else {
                routes.push(element.to_vec());
            }
        }
        if routes.len() > MAX_ROUTES {
            return Err(Fault::TooManyHeaders);
        }
    }
    Ok(routes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialog(record_routes: &str) -> Dialog {
        let invite = b"INVITE sip:bob@b.test SIP/2.0\r\nVia: SIP/2.0/UDP a.test;branch=z9hG4bK1\r\n\
            From: <sip:alice@a.test>;tag=a1\r\nTo: <sip:bob@b.test>\r\nCall-ID: c1\r\nCSeq: 7 INVITE\r\n\r\n";
        let ok = format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a.test;branch=z9hG4bK1\r\nFrom: <sip:alice@a.test>;tag=a1\r\n\
             To: <sip:bob@b.test>;tag=b1\r\nCall-ID: c1\r\nCSeq: 7 INVITE\r\nContact: <sip:bob@192.0.2.4>\r\n{record_routes}\r\n"
        );
        let invite = Message::parse(invite).unwrap();
        Dialog::from_response(&invite, &Message::parse(ok.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn without_proxies_a_request_goes_to_the_contact() {
        let routing = dialog("").routing();
        assert_eq!(routing.uri, b"sip:bob@192.0.2.4");
        assert_eq!(routing.next_hop, routing.uri);
        assert!(routing.routes.is_empty());
    }

    #[test]
    fn loose_proxies_are_passed_in_reverse_order_of_recording() {
        let routing = dialog("Record-Route: <sip:p2.test;lr>, <sip:p1.test;lr>\r\n").routing();
        assert_eq!(routing.uri, b"sip:bob@192.0.2.4");
        assert_eq!(routing.next_hop, b"sip:p1.test;lr");
        assert_eq!(
            routing.routes,
            [b"<sip:p1.test;lr>".to_vec(), b"<sip:p2.test;lr>".to_vec()]
        );
    }

    #[test]
    fn a_strict_proxy_gets_its_own_uri_and_the_target_last() {
        let routing = dialog("Record-Route: <sip:p2.test;lr>, <sip:p1.test>\r\n").routing();
        assert_eq!(routing.uri, b"sip:p1.test");
        assert_eq!(
            routing.routes,
            [
                b"<sip:p2.test;lr>".to_vec(),
                b"<sip:bob@192.0.2.4>".to_vec()
            ]
        );
    }

    #[test]
    fn numbers_only_go_up() {
        let mut dialog = dialog("");
        assert_eq!(dialog.next_cseq(), 8);
        assert!(dialog.take_remote_cseq(5));
        assert!(!dialog.take_remote_cseq(5));
        assert!(!dialog.take_remote_cseq(4));
        assert!(dialog.take_remote_cseq(9));
    }
}
