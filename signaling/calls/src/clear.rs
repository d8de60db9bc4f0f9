//! Keys of SDES are as secret as the SIP that carries them (RFC 4568 §8.1): said once where that is in the clear.

use crate::call::CallKey;
use crate::switchboard::Switchboard;
use signaling_trunk::api::InviteId;

impl Switchboard {
    /// A description of this leg was agreed on; `raw` is a message of the peer's.
    pub(crate) fn mind_the_keys(&mut self, key: CallKey, invite: InviteId, raw: &str) {
        if self.told_of_clear_keys || !is_in_the_clear(raw) {
            return;
        }
        let sip = self.calls.get(&key).and_then(|call| call.by_invite(invite));
        let local = sip.and_then(|sip| sip.local.as_ref());
        if local.is_some_and(|local| local.keyed) {
            self.told_of_clear_keys = true;
            tracing::warn!(
                call = key.0,
                "SRTP keys are sent over SIP without TLS: whoever reads the signalling can decrypt the calls (RFC 4568 §8.1); said once"
            );
        }
    }
}

/// By the transport of the topmost Via, the last hop of a request and the first of a response.
fn is_in_the_clear(raw: &str) -> bool {
    let mut lines = raw.lines().filter_map(|line| line.split_once(':'));
    let via = lines.find_map(|(name, value)| {
        let name = name.trim();
        let is_via = name.eq_ignore_ascii_case("via") || name.eq_ignore_ascii_case("v");
        is_via.then(|| value.trim())
    });
    // `SIP/2.0/TLS host` (RFC 3261 §20.42), with blanks around the slashes at will.
    let transport = via.and_then(|via| via.splitn(3, '/').nth(2));
    let transport = transport.and_then(|rest| rest.split_ascii_whitespace().next());
    transport
        .is_some_and(|name| !name.eq_ignore_ascii_case("TLS") && !name.eq_ignore_ascii_case("WSS"))
}

#[cfg(test)]
mod tests {
    use super::is_in_the_clear;

    #[test]
    fn the_topmost_via_tells_whether_signalling_is_secure() {
        for (raw, clear) in [
            (
                "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z\r\nVia: SIP/2.0/TLS h\r\n",
                true,
            ),
            ("SIP/2.0 200 OK\r\nv : SIP / 2.0 / tcp h\r\n", true),
            (
                "SIP/2.0 200 OK\r\nVIA: SIP/2.0/TLS h\r\nVia: SIP/2.0/UDP h\r\n",
                false,
            ),
            ("SIP/2.0 200 OK\r\n", false),
            ("", false),
        ] {
            assert_eq!(is_in_the_clear(raw), clear, "{raw}");
        }
    }
}
