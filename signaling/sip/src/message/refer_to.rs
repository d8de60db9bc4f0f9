use super::{Fault, NameAddr, Replaces, Uri, lex, unescape, unfold};

/// What a Refer-To asks for (RFC 3515 §2.1): a URI to be called, and what its headers add to the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferTarget {
    /// Without method and headers.
    pub uri: Uri,
    /// The `method` parameter; an INVITE where there is none.
    pub method: Option<Vec<u8>>,
    /// From `?Replaces=`, percent-decoded.
    pub replaces: Option<Replaces>,
}

impl ReferTarget {
    /// Other headers of the URI than Replaces are passed over: whom a stranger's URI may make us say is not its business.
    pub fn parse(value: &[u8]) -> Result<ReferTarget, Fault> {
        let value = unfold(value);
        let mut uri = Uri::parse(uri_of(&value)?)?;
        let (mut method, mut replaces) = (None, None);
        if let Uri::Sip(sip) = &mut uri {
            method = sip.param("method").map(<[u8]>::to_vec);
            sip.params.retain(|(name, _)| name != b"method");
            if let Some(headers) = sip.headers.take() {
                replaces = replaces_of(&headers)?;
            }
        }
        Ok(ReferTarget {
            uri,
            method,
            replaces,
        })
    }
}

/// The URI of a name-addr or an addr-spec. A bare one may have no `?` (RFC 3261 §20), but phones write it.
fn uri_of(value: &[u8]) -> Result<&[u8], Fault> {
    match NameAddr::parse(value) {
        Ok(address) => Ok(address.uri),
        Err(_) if value.contains(&b'?') && !value.contains(&b'<') => Ok(lex::trim(value)),
        Err(fault) => Err(fault),
    }
}

fn replaces_of(headers: &[u8]) -> Result<Option<Replaces>, Fault> {
    let mut found = None;
    for header in headers.split(|b| *b == b'&') {
        let mut halves = header.splitn(2, |b| *b == b'=');
        let name = unescape(halves.next().unwrap_or_default()).ok_or(Fault::Uri)?;
        if !name.eq_ignore_ascii_case(b"Replaces") {
            continue;
        }
        let value = unescape(halves.next().unwrap_or_default()).ok_or(Fault::Uri)?;
        if found.replace(Replaces::parse(&value)?).is_some() {
            return Err(Fault::Repeated("Replaces"));
        }
    }
    Ok(found)
}

/// `value` as it may stand behind `?Name=` in a URI: all but the unreserved percent-coded.
pub fn escape_header(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 16);
    super::uri::escape(value, b"", &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replaces_of_a_refer_to_is_decoded() {
        let text = b"\"Carol\" <sip:carol@b.test;transport=tcp;method=INVITE?Subject=x&replaces=1%402%3Bto-tag%3Dt%3Bfrom-tag%3Df>;y";
        let to = ReferTarget::parse(text).unwrap();
        assert_eq!(to.uri.to_bytes(), b"sip:carol@b.test;transport=tcp");
        assert_eq!(to.method.as_deref(), Some(b"INVITE".as_slice()));
        let replaces = to.replaces.unwrap();
        assert_eq!(replaces.to_bytes(), b"1@2;to-tag=t;from-tag=f");
        assert_eq!(
            escape_header(&replaces.to_bytes()),
            b"1%402%3Bto-tag%3Dt%3Bfrom-tag%3Df"
        );
    }

    #[test]
    fn bare_addresses_and_telephone_numbers_are_read() {
        let read = |text: &str| {
            ReferTarget::parse(text.as_bytes()).map(|to| (to.uri.to_bytes(), to.replaces.is_some()))
        };
        assert_eq!(
            read("sip:1003@b.test"),
            Ok((b"sip:1003@b.test".to_vec(), false))
        );
        assert_eq!(
            read("sip:1003@b.test?Replaces=1%3Bto-tag%3Dt%3Bfrom-tag%3Df"),
            Ok((b"sip:1003@b.test".to_vec(), true))
        );
        assert_eq!(
            read("<tel:+4930;ext=1>"),
            Ok((b"tel:+4930;ext=1".to_vec(), false))
        );
        for broken in [
            "",
            "<>",
            "1003",
            "<sip:a b@c>",
            "<sip:@c>",
            "<sip:a@c?Replaces=%zz>",
            "<sip:a@c?Replaces=1>",
            "<sip:a@c?Replaces=1%3Bto-tag%3Dt%3Bfrom-tag%3Df&Replaces=1%3Bto-tag%3Dt%3Bfrom-tag%3Df>",
        ] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }
}
