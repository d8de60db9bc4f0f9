//! Keep-alives of phones over UDP (RFC 5626 §4.4.2): a STUN Binding request is told where it came from (RFC 5389).
//! Nothing is remembered, and an answer is little longer than what asked for it.

use crate::net::unmapped;
use std::net::{IpAddr, SocketAddr};

const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const XOR_MAPPED_ADDRESS: [u8; 2] = [0x00, 0x20];
/// A keep-alive has hardly any attributes.
const MAX_REQUEST: usize = 548;

/// The answer to a Binding request; `None`: it is none, and SIP more likely.
pub(crate) fn answer(bytes: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let [kind0, kind1, length0, length1, rest @ ..] = bytes else {
        return None;
    };
    let (cookie, rest) = rest.split_first_chunk::<4>()?;
    let (transaction, attributes) = rest.split_first_chunk::<12>()?;
    let length = usize::from(u16::from_be_bytes([*length0, *length1]));
    let is_request = [*kind0, *kind1] == BINDING_REQUEST
        && *cookie == COOKIE
        && length == attributes.len()
        && length.is_multiple_of(4)
        && bytes.len() <= MAX_REQUEST;
    if !is_request {
        return None;
    }
    let mask = [COOKIE.as_slice(), transaction].concat();
    let (family, address): (u8, Vec<u8>) = match unmapped(from.ip()) {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let xored = |plain: &[u8]| -> Vec<u8> {
        let pairs = plain.iter().zip(&mask);
        pairs.map(|(byte, mask)| byte ^ mask).collect()
    };
    let mut value = vec![0, family];
    value.extend(xored(&from.port().to_be_bytes()));
    value.extend(xored(&address));
    let mut out = BINDING_SUCCESS.to_vec();
    let value_len = u16::try_from(value.len()).ok()?;
    out.extend((value_len + 4).to_be_bytes());
    out.extend(mask);
    out.extend(XOR_MAPPED_ADDRESS);
    out.extend(value_len.to_be_bytes());
    out.extend(value);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(attributes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(attributes.len()).unwrap().to_be_bytes();
        // The transaction of RFC 5769 §2.2.
        let transaction = [
            0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
        ];
        [
            &BINDING_REQUEST,
            &length,
            COOKIE.as_slice(),
            &transaction,
            attributes,
        ]
        .concat()
    }

    #[test]
    fn a_binding_request_is_told_its_address_as_in_rfc_5769() {
        let v4 = answer(&request(b""), "192.0.2.1:32853".parse().unwrap()).unwrap();
        assert_eq!(
            v4.get(20..).unwrap(),
            [
                0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43
            ]
        );
        let from = "[2001:db8:1234:5678:11:2233:4455:6677]:32853"
            .parse()
            .unwrap();
        let v6 = answer(&request(b""), from).unwrap();
        assert_eq!(
            v6.get(24..).unwrap(),
            [
                0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25,
                0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9
            ]
        );
    }

    #[test]
    fn what_is_no_binding_request_is_left_to_others() {
        let from = "192.0.2.1:5060".parse().unwrap();
        assert!(answer(b"", from).is_none());
        assert!(answer(b"REGISTER sip:x SIP/2.0\r\n\r\n", from).is_none());
        assert!(answer(&request(&[0; 3]), from).is_none());
        let mut response = request(b"");
        response[0] = 1;
        assert!(answer(&response, from).is_none());
        assert!(answer(&request(&[0; 600]), from).is_none());
    }
}
