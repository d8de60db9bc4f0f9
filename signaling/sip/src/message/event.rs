//! What NOTIFYs say of their subscription (RFC 6665 §8.2), and the fragment of a message that those of a REFER
//! carry (RFC 3420).

use super::lex::{self, Params, is_token};
use super::{Fault, unfold};

/// The value of an Event header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPackage {
    pub name: Vec<u8>,
    pub id: Option<Vec<u8>>,
}

impl EventPackage {
    pub fn parse(value: &[u8]) -> Result<EventPackage, Fault> {
        let value = unfold(value);
        let (name, params) = token_and_params(&value)?;
        Ok(EventPackage {
            name: name.to_vec(),
            id: params.get("id").map(<[u8]>::to_vec),
        })
    }
}

/// The value of a Subscription-State header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionState {
    /// Neither active nor pending any more.
    pub terminated: bool,
    pub expires_s: Option<u32>,
}

impl SubscriptionState {
    pub fn parse(value: &[u8]) -> Result<SubscriptionState, Fault> {
        let value = unfold(value);
        let (state, params) = token_and_params(&value)?;
        Ok(SubscriptionState {
            terminated: state.eq_ignore_ascii_case(b"terminated"),
            expires_s: params.get("expires").and_then(lex::number),
        })
    }
}

fn token_and_params(value: &[u8]) -> Result<(&[u8], Params<'_>), Fault> {
    let end = value.iter().position(|b| *b == b';');
    let (token, params) = value.split_at(end.unwrap_or(value.len()));
    let token = lex::trim(token);
    if !is_token(token) {
        return Err(Fault::Params);
    }
    Ok((token, Params::parse(params)?))
}

/// More of a reason phrase nobody reads.
const MAX_REASON: usize = 200;

/// Status and reason of the response whose beginning is in a sipfrag. Without a response line it says nothing.
pub fn sipfrag_status(body: &[u8]) -> Option<(u16, String)> {
    let line = body.split(|b| matches!(b, b'\r' | b'\n')).next()?;
    let (version, rest) = line.split_at_checked(8)?;
    if !version.eq_ignore_ascii_case(b"SIP/2.0 ") {
        return None;
    }
    let rest = lex::trim(rest);
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (status, reason) = rest.split_at(digits);
    let status = lex::number(status).filter(|status| (100..700).contains(status))?;
    let reason = String::from_utf8_lossy(lex::trim(reason));
    let reason = reason.chars().filter(|c| !c.is_control());
    Some((
        u16::try_from(status).ok()?,
        reason.take(MAX_REASON).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_states_are_read_with_their_parameters() {
        let event = EventPackage::parse(b"refer ; id=93809823").unwrap();
        assert_eq!(event.name, b"refer");
        assert_eq!(event.id.as_deref(), Some(b"93809823".as_slice()));
        let state = SubscriptionState::parse(b"active;expires=60").unwrap();
        assert_eq!((state.terminated, state.expires_s), (false, Some(60)));
        let state = SubscriptionState::parse(b"Terminated;reason=noresource").unwrap();
        assert_eq!((state.terminated, state.expires_s), (true, None));
        for broken in ["", ";id=1", "a b", "active;=1"] {
            assert!(EventPackage::parse(broken.as_bytes()).is_err(), "{broken}");
            assert!(
                SubscriptionState::parse(broken.as_bytes()).is_err(),
                "{broken}"
            );
        }
    }

    #[test]
    fn a_fragment_tells_its_status_with_or_without_line_end_and_headers() {
        assert_eq!(
            sipfrag_status(b"SIP/2.0 100 Trying\r\n"),
            Some((100, "Trying".into()))
        );
        assert_eq!(sipfrag_status(b"SIP/2.0 200"), Some((200, String::new())));
        assert_eq!(
            sipfrag_status(b"SIP/2.0 603 No Way\r\nTo: x\r\n\r\n"),
            Some((603, "No Way".into()))
        );
        for nothing in [
            "",
            "SIP/2.0",
            "SIP/2.0 ",
            "SIP/2.0 20",
            "SIP/2.0 99999999999 x",
            "To: x\r\n",
            "INVITE sip:a@b SIP/2.0\r\n",
        ] {
            assert_eq!(sipfrag_status(nothing.as_bytes()), None, "{nothing}");
        }
    }
}
