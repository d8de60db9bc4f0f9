//! Whether a page's wish to call can be granted, before anything is begun.

use crate::api::SessionId;
use crate::call::CallKey;
use crate::callee::{self, Callee};
use crate::limits::{CALLS_PER_SESSION, ENDING_PER_SESSION, EXTRAS, SDP_BYTES, TEXT_BYTES};
use crate::negotiate::{BrowserDescription, NegotiationError, extra_lines, read_browser};
use crate::session::Account;
use crate::switchboard::Switchboard;
use signaling_plan::Route;
use signaling_protocol::{CallStatusInfo, call};
use signaling_sip::time::Instant;
use signaling_trunk::api::Header;

/// A wish that can be granted.
pub(crate) struct Admitted {
    pub description: BrowserDescription,
    pub callee: Callee,
    /// Lines for the SIP side's description.
    pub extra: Vec<(char, String)>,
    pub headers: Vec<Header>,
    /// What the dial plan says, where it is asked.
    pub route: Option<Route>,
    pub params: Vec<(String, Option<String>)>,
}

/// Why a call is refused before anything was begun.
pub(crate) struct Refused {
    pub info: String,
    pub sip_status: Option<u16>,
    /// Seconds after which it may work.
    pub retry_after_s: Option<u32>,
}

impl Refused {
    pub fn new(info: impl Into<String>) -> Refused {
        Refused {
            info: info.into(),
            sip_status: None,
            retry_after_s: None,
        }
    }

    pub fn sip(status: u16, info: impl Into<String>) -> Refused {
        Refused {
            info: info.into(),
            sip_status: Some(status),
            retry_after_s: None,
        }
    }

    pub fn later(status: u16, info: impl Into<String>, seconds: u32) -> Refused {
        Refused {
            retry_after_s: Some(seconds),
            ..Refused::sip(status, info)
        }
    }
}

impl Switchboard {
    pub(crate) fn admit_call(
        &mut self,
        session: SessionId,
        key: CallKey,
        message: call::Call,
        now: Instant,
    ) -> Result<Admitted, Refused> {
        let calls_of_session = self.calls_of(session).len();
        let with_ending = self.with_ending(session).count();
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
        let params: Vec<(String, Option<String>)> = message
            .invite_parameters
            .unwrap_or_default()
            .into_iter()
            .take(EXTRAS)
            .map(|(name, value)| (name, (!value.is_empty()).then_some(value)))
            .collect();
        let text = message.callee.as_deref().unwrap_or_default();
        let callee = callee::read(text, params.clone()).map_err(Refused::new)?;
        let mut route = None;
        match callee {
            Callee::Echo if self.echo_calls() >= self.config.max_echo_calls => {
                return Err(Refused::sip(
                    503,
                    "All echo calls are in use; try again later",
                ));
            }
            Callee::Echo => {}
            Callee::Sip(_) => route = self.road(session, key, text)?,
        }
        self.has_room(route.as_ref().is_some_and(|route| route.emergency), now)?;
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
            route,
            params,
        })
    }

    /// The dial plan's route for what a page dialled; none where its call goes by its own PBX.
    fn road(
        &self,
        session: SessionId,
        key: CallKey,
        callee: &str,
    ) -> Result<Option<Route>, Refused> {
        let user = self.sessions.get(&session).and_then(|s| s.user.as_ref());
        let by_plan = self.by_plan_as(session);
        match user.map_or(Account::None, |user| user.account) {
            _ if by_plan.is_some() => {}
            Account::None => {
                return Err(Refused::new("No SIP account: sign in first, or dial echo"));
            }
            Account::Failed => {
                return Err(Refused::new("The SIP account could not be registered"));
            }
            Account::Open | Account::Registering | Account::Registered | Account::Retrying => {}
        }
        if !self.trunk_up {
            return Err(Refused::sip(503, "The SIP side is not reachable"));
        }
        let Some(caller) = by_plan else {
            return Ok(None);
        };
        let route = self.way(&caller, &callee::dialled(callee.trim()), key)?;
        if route.emergency && !self.is_vouched_for(session) {
            let info = "Emergency calls need a session that somebody vouches for";
            return Err(Refused::sip(403, info));
        }
        Ok(Some(route))
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
