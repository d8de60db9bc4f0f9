//! INFO inside a dialog: digits and picture requests (RFC 6086 §3, legacy usage; RFC 5168).

use crate::agent::Agent;
use crate::api::{Cause, Event, Failure, InviteId};
use crate::inside::Inside;
use crate::invite::Phase;
use crate::limits::{MAX_INFO_BODY, MAX_INFOS};
use crate::refer::is_encoded;
use crate::requests::Purpose;
use crate::responses::failure_of;
use crate::validate::Refusal;
use serde::{Deserialize, Serialize};
use signaling_sip::message::{Message, Method, Params, is_token};
use signaling_sip::time::Instant;
use std::collections::VecDeque;

/// What we understand of theirs.
const TYPES: [&str; 3] = [
    "application/dtmf",
    "application/dtmf-relay",
    "application/media_control+xml",
];

/// INFOs of ours in one dialog: one is under way, the others wait for their turn.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Infos {
    waiting: VecDeque<(String, Vec<u8>)>,
    under_way: bool,
    request: Option<u64>,
}

impl Agent {
    pub(crate) fn send_info(
        &mut self,
        invite: InviteId,
        content_type: String,
        body: Vec<u8>,
        now: Instant,
    ) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let wrong = match entry.phase {
            Phase::Over => return,
            Phase::Talking if !entry.hung_up => None,
            Phase::Calling | Phase::Ringing | Phase::Talking | Phase::Ending => {
                Some((Cause::BadRequest, "no established dialog"))
            }
        };
        let wrong = wrong.or_else(|| {
            if !is_media_type(&content_type) {
                Some((Cause::BadRequest, "not a media type"))
            } else if body.len() > MAX_INFO_BODY {
                Some((Cause::BadRequest, "INFO too long"))
            } else if entry.infos.waiting.len() >= MAX_INFOS {
                Some((Cause::Overloaded, "too many INFOs"))
            } else {
                None
            }
        });
        if let Some((cause, reason)) = wrong {
            let failure = Failure {
                cause,
                reason: reason.into(),
                ..Failure::default()
            };
            return self.event(Event::InfoRefused { invite, failure });
        }
        entry.infos.waiting.push_back((content_type, body));
        self.send_next_info(invite, now);
    }

    fn send_next_info(&mut self, invite: InviteId, now: Instant) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let (Phase::Talking, Some(main), false) = (entry.phase, entry.main, entry.infos.under_way)
        else {
            return;
        };
        let Some((content_type, body)) = entry.infos.waiting.pop_front() else {
            return;
        };
        entry.infos.under_way = true;
        let account = entry.account;
        let Some((mut draft, next_hop)) = self.dialog_draft(invite, main, Method::Info) else {
            return;
        };
        draft.content_type = Some(content_type);
        draft.sdp = body;
        let number = self.request(Purpose::Info(invite), account, draft, &next_hop, now);
        if self.s.requests.contains_key(&number)
            && let Some(entry) = self.s.invites.get_mut(&invite)
        {
            entry.infos.request = Some(number);
        }
    }

    pub(crate) fn on_info_final(&mut self, invite: InviteId, response: &Message<'_>, now: Instant) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        (entry.infos.under_way, entry.infos.request) = (false, None);
        let status = response.status();
        if status >= 300 {
            self.event(Event::InfoRefused {
                invite,
                failure: failure_of(response),
            });
        }
        self.end_if_unknown(invite, status, now);
        self.send_next_info(invite, now);
    }

    /// It could not be sent, or nobody answered. Those behind it would fare no better, and a digit that comes
    /// half a minute late is worse than none.
    pub(crate) fn on_info_failed(&mut self, invite: InviteId, failure: Failure) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        let waiting = std::mem::take(&mut entry.infos).waiting.len();
        for _ in 0..=waiting {
            self.event(Event::InfoRefused {
                invite,
                failure: failure.clone(),
            });
        }
    }

    /// The call is over.
    pub(crate) fn drop_infos(&mut self, invite: InviteId) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        if let Some(request) = std::mem::take(&mut entry.infos).request {
            self.abandon(request);
        }
    }

    pub(crate) fn on_info(&mut self, message: &Message<'_>, inside: Inside, now: Instant) {
        let (invite, is_main) = (inside.invite, inside.is_main);
        if message.value_named("Info-Package").is_some() {
            // We named none that we would take (RFC 6086 §4.2.2).
            let refusal = Refusal::new(469, "Bad Info Package").with("Recv-Info", "");
            return self.refuse_inside(message, inside, &refusal, now);
        }
        let body = message.body();
        let content_type = message.content_type().unwrap_or_default();
        if body.len() > MAX_INFO_BODY {
            let refusal = Refusal::new(413, "Request Entity Too Large");
            return self.refuse_inside(message, inside, &refusal, now);
        }
        if !body.is_empty() && (!TYPES.contains(&content_type.as_str()) || is_encoded(message)) {
            let refusal = Refusal::unsupported_type(&TYPES.join(", "));
            return self.refuse_inside(message, inside, &refusal, now);
        }
        if !self.take_inside(message, inside, now) {
            return;
        }
        // A fork that lost says nothing that anybody waits for.
        let calling = self
            .s
            .invites
            .get(&invite)
            .is_some_and(|i| i.phase == Phase::Calling);
        if !body.is_empty() && (is_main || calling) {
            self.event(Event::Info {
                invite,
                content_type,
                body: body.to_vec(),
            });
        }
    }
}

fn is_media_type(text: &str) -> bool {
    let end = text.find(';').unwrap_or(text.len());
    let (main, params) = text.split_at(end);
    let Some((kind, subtype)) = main.split_once('/') else {
        return false;
    };
    is_token(kind.as_bytes())
        && is_token(subtype.as_bytes())
        && !text.chars().any(char::is_control)
        && Params::parse(params.as_bytes()).is_ok()
}
