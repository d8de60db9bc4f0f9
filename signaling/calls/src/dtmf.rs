//! Digits: a page's `sendDtmf` in its three ways, and those of the far side (protocol §2.9).

use crate::api::{Output, SessionId};
use crate::call::{Call, CallKey, FarLeg, SipLeg, Stage};
use crate::connecting::info_of;
use crate::limits::DIGITS;
use crate::switchboard::Switchboard;
use media_control::{Codec, Command as Media, LegId, RemoteTransport};
use serde::{Deserialize, Serialize};
use signaling_protocol::call::{DtmfType, SendDtmf, SendDtmfHook};
use signaling_protocol::connection::Fail;
use signaling_protocol::{CallId, HookMessage, ServerMessage};
use signaling_trunk::api::{Command as Trunk, Failure, InviteId};

/// How long a digit lasts, milliseconds.
const DIGIT_MS: u32 = 160;
/// What an INFO of the far side may say of a digit's length; media has limits of its own.
const LONGEST_MS: u32 = 5_000;

pub(crate) const DTMF: &str = "application/dtmf";
pub(crate) const DTMF_RELAY: &str = "application/dtmf-relay";

/// Digits of a SIP side that has no telephone-event (`calls.inband_dtmf`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InbandDtmf {
    /// They are heard in its sound, and sung into what it hears.
    #[default]
    Auto,
    /// Its sound is left alone, and there are no digits but by INFO.
    Off,
}

impl Switchboard {
    pub(crate) fn send_dtmf(&mut self, session: SessionId, message: SendDtmf) {
        let Some(key) = self.call_of(session, message.call_id.as_str()) else {
            return;
        };
        let digits = message.dtmf.to_ascii_uppercase();
        let kind = message.kind.unwrap_or(DtmfType::Rfc2833);
        if let Err(info) = self.press(key, digits, kind) {
            self.send(session, ServerMessage::Fail(Fail::error(info)));
        }
    }

    fn press(&mut self, key: CallKey, digits: String, kind: DtmfType) -> Result<(), &'static str> {
        if digits.is_empty()
            || digits.len() > DIGITS
            || !digits.bytes().all(|b| b"0123456789*#ABCD".contains(&b))
        {
            return Err("dtmf may hold up to 32 of 0-9 * # A-D");
        }
        let call = self.calls.get_mut(&key);
        let Some(call) = call.filter(|c| c.stage == Stage::Established) else {
            return Err("The call is not established");
        };
        let browser_leg = call.key.browser_leg();
        let (sip, content_type) = match (&mut call.far, kind) {
            // An echo gives back digits, too.
            (FarLeg::Echo { .. }, _) => {
                self.send_digits(key, browser_leg, digits, DIGIT_MS);
                return Ok(());
            }
            (FarLeg::Sip(sip), DtmfType::Rfc2833) => {
                takes_digits(sip)?;
                let leg = sip.leg;
                self.send_digits(key, leg, digits, DIGIT_MS);
                return Ok(());
            }
            (FarLeg::Sip(sip), DtmfType::Info) => (sip, DTMF),
            (FarLeg::Sip(sip), DtmfType::InfoRelay) => (sip, DTMF_RELAY),
        };
        sip.digits_by_info = true;
        let invite = sip.invite;
        for digit in digits.chars() {
            // The trunk sends them one after the other, so that they keep their order.
            let body = match content_type {
                DTMF => digit.to_string(),
                _ => format!("Signal={digit}\r\nDuration={DIGIT_MS}\r\n"),
            };
            self.trunk(
                key.0,
                Trunk::Info {
                    invite,
                    content_type: content_type.to_owned(),
                    body: body.into_bytes(),
                },
            );
        }
        Ok(())
    }

    fn send_digits(&mut self, key: CallKey, leg: LegId, digits: String, duration_ms: u32) {
        self.media(
            key,
            Media::SendDigits {
                leg,
                digits,
                duration_ms,
            },
        );
    }

    /// A digit came in the media of a leg, as an event or as a tone; media has passed it on. Those of the browser are
    /// no news to its own application.
    pub(crate) fn digit_heard(&mut self, leg: LegId, digit: char) {
        let key = CallKey::of_leg(leg);
        let call = self.calls.get(&key);
        if call.is_some_and(|call| leg != key.browser_leg() && call.far_leg() == leg) {
            self.tell_digit(key, digit, DtmfType::Rfc2833);
        }
    }

    /// An INFO of the far side. Whatever is no digit is for others, or for nobody.
    pub(crate) fn info(&mut self, invite: InviteId, content_type: &str, body: &[u8]) {
        let Some((pressed, kind)) = read(content_type, body) else {
            return self.picture_info(invite, content_type, body);
        };
        let Some(key) = self.by_invite.get(&invite).copied() else {
            return;
        };
        let Some(call) = self.calls.get(&key).filter(|c| c.is_current(invite)) else {
            return;
        };
        let formats = &call.browser.formats;
        let takes = formats.iter().any(|f| f.codec == Codec::TelephoneEvent);
        if takes {
            let leg = key.browser_leg();
            self.send_digits(key, leg, pressed.digit.to_string(), pressed.duration_ms);
        }
        self.tell_digit(key, pressed.digit, kind);
    }

    /// The page hears of it once for what it asked last: a far side that takes no INFO refuses each digit.
    pub(crate) fn info_refused(&mut self, invite: InviteId, failure: &Failure) {
        let Some(key) = self.by_invite.get(&invite).copied() else {
            return;
        };
        let Some(call) = self.calls.get_mut(&key) else {
            return;
        };
        let session = call.session;
        let asked = call
            .by_invite_mut(invite)
            .is_some_and(|sip| std::mem::take(&mut sip.digits_by_info));
        if asked {
            let info = format!("The digit was refused: {}", info_of(failure));
            self.send(session, ServerMessage::Fail(Fail::error(info)));
        }
    }

    fn tell_digit(&mut self, key: CallKey, digit: char, kind: DtmfType) {
        let Some(call) = self.calls.get(&key).filter(|c| is_alive(c)) else {
            return;
        };
        let message = HookMessage::OnDtmfEvent(SendDtmfHook {
            call_id: CallId::new(call.id.clone()),
            dtmf: digit.to_string(),
            kind,
            custom: call.custom.clone(),
        });
        self.output(Output::Hook {
            session: call.session,
            message: Box::new(message),
        });
    }
}

/// From early media on: machines ask for digits before they answer.
fn is_alive(call: &Call) -> bool {
    match call.stage {
        Stage::Calling | Stage::Ringing | Stage::Established => true,
        Stage::AwaitingLegs | Stage::AwaitingRegistration | Stage::Ending => false,
    }
}

/// Whether digits can reach the far side in the media now.
pub(crate) fn takes_digits(sip: &SipLeg) -> Result<(), &'static str> {
    let Some(remote) = &sip.remote else {
        return Err("There is no media yet that a digit could travel in");
    };
    let reachable = match &remote.transport {
        RemoteTransport::Rtp { rtp, .. } => rtp.is_some(),
        RemoteTransport::WebRtc { .. } => true,
    };
    if !reachable || !remote.media.iter().any(|m| m.direction.sends()) {
        return Err("The call is on hold: digits in the media would not be heard, INFO would");
    }
    let takes = remote
        .media
        .iter()
        .any(|m| m.inband_dtmf || m.formats.iter().any(|f| f.codec == Codec::TelephoneEvent));
    if takes {
        Ok(())
    } else {
        Err("The far side takes no RFC2833 digits; try INFO")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pressed {
    pub digit: char,
    pub duration_ms: u32,
}

/// The digit that an INFO carries, if that is what it carries.
///
/// No RFC describes these bodies. `application/dtmf` is the digit alone; Asterisk (`res_pjsip_dtmf_info.c`) takes a
/// symbol or the number of the event there, and `Signal=` and `Duration=` lines in `application/dtmf-relay`. We send
/// the symbol and take all of that in either.
pub(crate) fn read(content_type: &str, body: &[u8]) -> Option<(Pressed, DtmfType)> {
    let plain = content_type.split(';').next().unwrap_or_default().trim();
    let kind = if plain.eq_ignore_ascii_case(DTMF) {
        DtmfType::Info
    } else if plain.eq_ignore_ascii_case(DTMF_RELAY) {
        DtmfType::InfoRelay
    } else {
        return None;
    };
    let text = std::str::from_utf8(body).ok()?;
    let mut signal = None;
    let mut duration_ms = DIGIT_MS;
    for line in text.lines() {
        let (name, value) = match line.split_once(['=', ':']) {
            Some((name, value)) => (name.trim(), value.trim()),
            None if signal.is_none() && kind == DtmfType::Info && !line.trim().is_empty() => {
                ("signal", line.trim())
            }
            None => continue,
        };
        if name.eq_ignore_ascii_case("signal") {
            signal = Some(value);
        } else if name.eq_ignore_ascii_case("duration")
            && let Ok(ms) = value.parse::<u32>()
        {
            duration_ms = ms.min(LONGEST_MS);
        }
    }
    let digit = symbol(signal?)?;
    Some((Pressed { digit, duration_ms }, kind))
}

/// A symbol, or the number of its event (RFC 4733 §3.2); a hook flash (16, `!`) is no digit.
fn symbol(text: &str) -> Option<char> {
    const ABOVE_NINE: [char; 6] = ['*', '#', 'A', 'B', 'C', 'D'];
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(one), None) => {
            let one = one.to_ascii_uppercase();
            (one.is_ascii_digit() || ABOVE_NINE.contains(&one)).then_some(one)
        }
        _ => {
            let number: usize = text.parse().ok()?;
            ABOVE_NINE.get(number.checked_sub(10)?).copied()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_from_whatever_phones_write() {
        let pressed = |content_type, body: &str| {
            let read = read(content_type, body.as_bytes());
            read.map(|(pressed, kind)| (pressed.digit, pressed.duration_ms, kind))
        };
        use DtmfType::{Info, InfoRelay};
        let all = [
            (DTMF, "5", Some(('5', 160, Info))),
            (DTMF, "*\r\n", Some(('*', 160, Info))),
            (DTMF, "d", Some(('D', 160, Info))),
            (DTMF, "10", Some(('*', 160, Info))),
            (DTMF, "15", Some(('D', 160, Info))),
            (DTMF, "Signal=7\r\nDuration=80", Some(('7', 80, Info))),
            ("Application/DTMF; x=y", " # ", Some(('#', 160, Info))),
            (
                DTMF_RELAY,
                "Signal=5\r\nDuration=160\r\n",
                Some(('5', 160, InfoRelay)),
            ),
            (
                DTMF_RELAY,
                "signal= *\nduration= 250",
                Some(('*', 250, InfoRelay)),
            ),
            (
                DTMF_RELAY,
                "SIGNAL = 11\r\nDURATION=x",
                Some(('#', 160, InfoRelay)),
            ),
            (
                DTMF_RELAY,
                "Duration=99999999\r\nSignal=a",
                Some(('A', 5000, InfoRelay)),
            ),
            (DTMF_RELAY, "5", None),
            (DTMF_RELAY, "Signal=16\r\n", None),
            (DTMF_RELAY, "Signal=!", None),
            (DTMF_RELAY, "Signal=", None),
            (DTMF_RELAY, "", None),
            (DTMF, "16", None),
            (DTMF, "123", None),
            (DTMF, "\u{661}", None),
            ("application/media_control+xml", "5", None),
        ];
        for (content_type, body, wanted) in all {
            assert_eq!(
                pressed(content_type, body),
                wanted,
                "{content_type} {body:?}"
            );
        }
        assert_eq!(read(DTMF, &[0xff, 0xfe]), None);
    }
}
