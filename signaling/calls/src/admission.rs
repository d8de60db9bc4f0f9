//! Whether a page's wish to call can be granted, before anything is begun.

use crate::callee::{self, Callee};
use crate::limits::{CALLS_PER_SESSION, ENDING_PER_SESSION, EXTRAS, SDP_BYTES, TEXT_BYTES};
use crate::negotiate::{BrowserDescription, NegotiationError, extra_lines, read_browser};
use crate::session::Account;
use crate::switchboard::Switchboard;
use signaling_protocol::{CallStatusInfo, call};
use signaling_trunk::api::Header;

/// A wish that can be granted.
pub(crate) struct Admitted {
    pub description: BrowserDescription,
    pub callee: Callee,
    /// Lines for the SIP side's description.
    pub extra: Vec<(char, String)>,
    pub headers: Vec<Header>,
}

/// Why a call is refused before anything was begun.
pub(crate) struct Refused {
    pub info: String,
    pub sip_status: Option<u16>,
}

impl Refused {
    pub fn new(info: impl Into<String>) -> Refused {
        Refused {
            info: info.into(),
            sip_status: None,
        }
    }

    pub fn sip(status: u16, info: impl Into<String>) -> Refused {
        Refused {
            info: info.into(),
            sip_status: Some(status),
        }
    }
}

impl Switchboard {
    pub(crate) fn admit_call(
        &self,
        account: &Account,
        (calls_of_session, with_ending): (usize, usize),
        message: call::Call,
    ) -> Result<Admitted, Refused> {
        if message.is_msrp == Some(true) {
            return Err(Refused::sip(501, "MSRP calls are not there yet"));
        }
        if self.shutting_down {
            return Err(Refused::sip(503, "The gateway is shutting down"));
        }
        if !self.media_up {
            return Err(Refused::sip(503, "No media node is reachable"));
        }
        if calls_of_session >= CALLS_PER_SESSION {
            return Err(Refused::new(format!(
                "A session has at most {CALLS_PER_SESSION} calls"
            )));
        }
        if with_ending >= ENDING_PER_SESSION {
            return Err(Refused::sip(
                503,
                "Too many calls of this session are still ending; try again later",
            ));
        }
        if !self.has_room() {
            return Err(Refused::sip(
                503,
                "The gateway has as many calls as it may carry",
            ));
        }
        let params: Vec<(String, Option<String>)> = message
            .invite_parameters
            .unwrap_or_default()
            .into_iter()
            .take(EXTRAS)
            .map(|(name, value)| (name, (!value.is_empty()).then_some(value)))
            .collect();
        let callee = callee::read(message.callee.as_deref().unwrap_or_default(), params)
            .map_err(Refused::new)?;
        match callee {
            Callee::Echo if self.echo_calls() >= self.config.max_echo_calls => {
                return Err(Refused::sip(
                    503,
                    "All echo calls are in use; try again later",
                ));
            }
            Callee::Echo => {}
            Callee::Sip(_) => match account {
                Account::None => {
                    return Err(Refused::new("No SIP account: sign in first, or dial echo"));
                }
                Account::Failed => {
                    return Err(Refused::new("The SIP account could not be registered"));
                }
                Account::Open | Account::Registering | Account::Registered | Account::Retrying => {
                    if !self.trunk_up {
                        return Err(Refused::sip(503, "The SIP side is not reachable"));
                    }
                }
            },
        }
        let sdp = message.sdp.ok_or_else(|| Refused::new("sdp is missing"))?;
        if sdp.len() > SDP_BYTES {
            return Err(Refused::new("sdp is too long"));
        }
        let description = read_browser(&sdp).map_err(|error| match error {
            NegotiationError::NoCommonCodec | NegotiationError::NoAudio => {
                Refused::sip(488, CallStatusInfo::NoCommonCodecs.as_str())
            }
            other => Refused::sip(488, other.to_string()),
        })?;
        let extra = extra_lines(&message.sip_sdp.unwrap_or_default())
            .map_err(|e| Refused::new(e.to_string()))?;
        let headers = headers(
            &message.sip_headers.unwrap_or_default(),
            &self.config.page_headers,
        )
        .map_err(Refused::new)?;
        if message
            .visible_name
            .as_deref()
            .is_some_and(|name| name.chars().any(char::is_control))
        {
            return Err(Refused::new("visibleName holds a control character"));
        }
        Ok(Admitted {
            description,
            callee,
            extra,
            headers,
        })
    }
}

/// Only headers that begin with `X-`, and those that the operator lists, are a page's to add.
fn headers(lines: &[String], listed: &[String]) -> Result<Vec<Header>, &'static str> {
    if lines.len() > EXTRAS {
        return Err("sipHeaders has too many lines");
    }
    lines
        .iter()
        .map(|line| {
            let (name, value) = line
                .split_once(':')
                .ok_or("sipHeaders holds a line without a colon")?;
            let (name, value) = (name.trim(), value.trim());
            let is_token = !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
            let is_allowed = name.to_ascii_uppercase().starts_with("X-")
                || listed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
            if !is_token || !is_allowed {
                return Err(
                    "sipHeaders may only hold headers that begin with X- or that the operator allows",
                );
            }
            if value.len() > TEXT_BYTES || value.chars().any(char::is_control) {
                return Err("sipHeaders holds a value that cannot be sent");
            }
            Ok(Header {
                name: name.to_owned(),
                value: value.to_owned(),
            })
        })
        .collect()
}

/// A page's text at the length that we keep.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(TEXT_BYTES / 4).collect()
}
