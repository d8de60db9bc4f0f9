//! REFERs of ours and the NOTIFYs that they bring (RFC 3515, RFC 3892, RFC 5589).

use crate::agent::{Agent, Due};
use crate::api::{Cause, Event, Failure, InviteId, ReferId, ReferTo};
use crate::inside::Inside;
use crate::invite::Phase;
use crate::limits::{FIRST_NOTIFY, MAX_NOTIFY_PAUSE, MAX_REFERS};
use crate::outbound::target_uri;
use crate::registration::domain_uri;
use crate::requests::Purpose;
use crate::responses::{failure_of, reason_of};
use crate::validate::Refusal;
use serde::{Deserialize, Serialize};
use signaling_sip::message::{
    EventPackage, HeaderName, Message, Method, Replaces, SubscriptionState, Uri, addr_spec,
    blotted, escape_header, sipfrag_status, trim,
};
use signaling_sip::time::Instant;
use std::time::Duration;

/// What a NOTIFY of a REFER carries.
pub(crate) const SIPFRAG: &str = "message/sipfrag";

/// A REFER of ours and the subscription that it made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OurRefer {
    pub id: ReferId,
    /// Number of the REFER, by which its NOTIFYs name it (RFC 3515 §2.4.6).
    pub cseq: u32,
    /// Until its final response.
    pub request: Option<u64>,
    accepted: bool,
    last: (u16, String),
    /// The last word was told; only the end of the subscription is awaited.
    over: bool,
}

impl Agent {
    pub(crate) fn refer(&mut self, invite: InviteId, refer: ReferId, to: ReferTo, now: Instant) {
        let Some(entry) = self.s.invites.get(&invite) else {
            return;
        };
        if entry.phase == Phase::Over || entry.refers.iter().any(|r| r.id == refer) {
            return;
        }
        let (Phase::Talking, Some(main), false) = (entry.phase, entry.main, entry.hung_up) else {
            return self.refuse_our_refer(
                invite,
                refer,
                Cause::BadRequest,
                "no established dialog",
            );
        };
        if entry.refers.len() >= MAX_REFERS {
            return self.refuse_our_refer(invite, refer, Cause::Overloaded, "too many transfers");
        }
        let account = entry.account;
        let headers = match self.refer_headers(account, &to) {
            Ok(headers) => headers,
            Err(reason) => {
                return self.refuse_our_refer(invite, refer, Cause::BadRequest, &reason);
            }
        };
        let Some((mut draft, next_hop)) = self.dialog_draft(invite, main, Method::Refer) else {
            return;
        };
        draft.headers = headers;
        if let Some(entry) = self.s.invites.get_mut(&invite) {
            entry.refers.push(OurRefer {
                id: refer,
                cseq: draft.cseq,
                request: None,
                accepted: false,
                last: (100, "Trying".into()),
                over: false,
            });
        }
        let number = self.request(
            Purpose::Refer(invite, refer),
            account,
            draft,
            &next_hop,
            now,
        );
        if self.s.requests.contains_key(&number)
            && let Some(ours) = self.our_refer(invite, refer)
        {
            ours.request = Some(number);
        }
    }

    fn refuse_our_refer(&mut self, invite: InviteId, refer: ReferId, cause: Cause, reason: &str) {
        let failure = Failure {
            cause,
            reason: reason.into(),
            ..Failure::default()
        };
        self.event(Event::ReferRefused {
            invite,
            refer,
            failure,
        });
    }

    fn refer_headers(
        &self,
        account: crate::api::AccountId,
        to: &ReferTo,
    ) -> Result<Vec<(String, Vec<u8>)>, String> {
        let account = self.s.accounts.get(&account).ok_or("no such account")?;
        let spec = &account.spec;
        let uri = match to {
            ReferTo::Target(target) => target_uri(spec, target).map_err(|e| e.to_string())?,
            ReferTo::Call(other) => self.far_end(*other)?,
        };
        let aor = domain_uri(spec, Some(spec.login.as_bytes())).map_err(|e| e.to_string())?;
        let written = |uri: &[u8]| addr_spec("", uri).map_err(|e| e.to_string());
        Ok(vec![
            ("Refer-To".into(), written(&uri)?),
            ("Referred-By".into(), written(&aor.to_bytes())?),
        ])
    }

    /// The far end of another call of ours, which is to see that one replaced (RFC 5589 §7, RFC 3891 §7.1).
    fn far_end(&self, other: InviteId) -> Result<Vec<u8>, String> {
        let entry = self.s.invites.get(&other);
        let entry = entry.filter(|i| i.phase == Phase::Talking && !i.hung_up);
        let fork = entry.and_then(|i| i.forks.iter().find(|f| Some(f.id) == i.main));
        let dialog = &fork
            .ok_or("the other call has no established dialog")?
            .dialog;
        let Ok(Uri::Sip(mut uri)) = Uri::parse(&dialog.target) else {
            return Err("the other call's Contact is no SIP URI".into());
        };
        uri.params.retain(|(name, _)| name != b"method");
        uri.headers = None;
        let replaces = escape_header(&Replaces::of_far_end(dialog).to_bytes());
        Ok([uri.to_bytes(), b"?Replaces=".to_vec(), replaces].concat())
    }

    pub(crate) fn our_refer(&mut self, invite: InviteId, refer: ReferId) -> Option<&mut OurRefer> {
        let entry = self.s.invites.get_mut(&invite)?;
        entry.refers.iter_mut().find(|r| r.id == refer)
    }

    pub(crate) fn on_refer_final(
        &mut self,
        invite: InviteId,
        refer: ReferId,
        response: &Message<'_>,
        now: Instant,
    ) {
        let status = response.status();
        let Some(ours) = self.our_refer(invite, refer) else {
            return;
        };
        ours.request = None;
        if status < 300 {
            let told = std::mem::replace(&mut ours.accepted, true);
            let (last, reason) = ours.last.clone();
            if !told {
                let raw = blotted(response.raw());
                self.event(Event::ReferAccepted {
                    invite,
                    refer,
                    status,
                    raw,
                });
                self.await_notify(invite, refer, now + FIRST_NOTIFY);
            }
            // The peer makes no subscription (RFC 4488 §4), though we did not ask for that.
            let silent = response
                .value_named("Refer-Sub")
                .is_some_and(|value| trim(value).eq_ignore_ascii_case(b"false"));
            if silent {
                self.refer_notified(invite, refer, last, reason, true, String::new());
                self.forget_our_refer(invite, refer);
            }
            return;
        }
        if ours.accepted {
            // A NOTIFY came first and lied.
            let (reason, raw) = (reason_of(response), blotted(response.raw()));
            self.refer_notified(invite, refer, status, reason, true, raw);
        } else {
            self.event(Event::ReferRefused {
                invite,
                refer,
                failure: failure_of(response),
            });
        }
        self.forget_our_refer(invite, refer);
        self.end_if_unknown(invite, status, now);
    }

    /// The peer has forgotten the dialog (RFC 3261 §12.2.1.2).
    pub(crate) fn end_if_unknown(&mut self, invite: InviteId, status: u16, now: Instant) {
        let talking = self
            .s
            .invites
            .get(&invite)
            .filter(|i| i.phase == Phase::Talking);
        if let (Some(main), 408 | 481) = (talking.and_then(|i| i.main), status) {
            self.send_bye(invite, main, now);
        }
    }

    /// Nobody answered the REFER. A PBX that passes over what it does not know may carry the call all the same.
    pub(crate) fn on_refer_failed(&mut self, invite: InviteId, refer: ReferId, failure: Failure) {
        let Some(ours) = self.our_refer(invite, refer) else {
            return;
        };
        ours.request = None;
        if ours.accepted {
            return;
        }
        self.forget_our_refer(invite, refer);
        self.event(Event::ReferRefused {
            invite,
            refer,
            failure,
        });
    }

    pub(crate) fn on_notify(&mut self, message: &Message<'_>, inside: Inside, now: Instant) {
        let invite = inside.invite;
        let (refer, state, said) = match self.notify_of(message, &inside) {
            Ok(notify) => notify,
            Err(refusal) => return self.refuse_inside(message, inside, &refusal, now),
        };
        if !self.take_inside(message, inside, now) {
            return;
        }
        let raw = blotted(message.raw());
        let Some(ours) = self.our_refer(invite, refer) else {
            return;
        };
        let accepted = std::mem::replace(&mut ours.accepted, true);
        if let Some(said) = said {
            ours.last = said;
        }
        let (status, reason) = ours.last.clone();
        let over = state.terminated || status >= 200;
        if !accepted {
            // It overtook the 202, which says no more than this (RFC 6665 §4.4.1).
            self.event(Event::ReferAccepted {
                invite,
                refer,
                status: 202,
                raw: raw.clone(),
            });
        }
        self.refer_notified(invite, refer, status, reason, over, raw);
        if state.terminated {
            return self.forget_our_refer(invite, refer);
        }
        let expires = state.expires_s.map(|s| Duration::from_secs(s.into()));
        let pause = expires.map_or(MAX_NOTIFY_PAUSE, |e| e.saturating_add(FIRST_NOTIFY));
        self.await_notify(invite, refer, now + pause.min(MAX_NOTIFY_PAUSE));
    }

    /// Which REFER of ours a NOTIFY is about, and what it says.
    #[expect(clippy::type_complexity, reason = "what one reader of it takes apart")]
    fn notify_of(
        &self,
        message: &Message<'_>,
        inside: &Inside,
    ) -> Result<(ReferId, SubscriptionState, Option<(u16, String)>), Refusal> {
        let package = package_of(message)?;
        let entry = self
            .s
            .invites
            .get(&inside.invite)
            .filter(|_| inside.is_main);
        let refers = entry.map(|i| i.refers.as_slice()).unwrap_or_default();
        // The first REFER of a dialog may go without a number (RFC 3515 §2.4.6).
        let ours = match package.id {
            None => refers.first(),
            Some(id) => refers.iter().find(|r| r.cseq.to_string().as_bytes() == id),
        };
        let ours = ours.ok_or_else(|| Refusal::new(481, "Subscription Does Not Exist"))?;
        let body = message.body();
        let state = match message.value(HeaderName::SubscriptionState) {
            Some(value) => SubscriptionState::parse(value)?,
            // Required since RFC 3265; there are PBXs from before.
            None => SubscriptionState {
                terminated: false,
                expires_s: None,
            },
        };
        if body.is_empty() {
            if state.terminated {
                return Ok((ours.id, state, None));
            }
            return Err(Refusal::bad("Bad Request: no body"));
        }
        if message.content_type().is_none_or(|t| t != SIPFRAG) || is_encoded(message) {
            return Err(Refusal::unsupported_type(SIPFRAG));
        }
        let said = sipfrag_status(body)
            .ok_or_else(|| Refusal::bad("Bad Request: no status in the fragment"))?;
        Ok((ours.id, state, Some(said)))
    }

    fn refer_notified(
        &mut self,
        invite: InviteId,
        refer: ReferId,
        status: u16,
        reason: String,
        over: bool,
        raw: String,
    ) {
        let Some(ours) = self.our_refer(invite, refer) else {
            return;
        };
        let was_over = ours.over;
        ours.over |= over;
        if !was_over {
            self.event(Event::ReferNotified {
                invite,
                refer,
                status,
                reason,
                over,
                raw,
            });
        }
    }

    fn await_notify(&mut self, invite: InviteId, refer: ReferId, until: Instant) {
        if self.our_refer(invite, refer).is_some() {
            self.s.schedule.set(Due::Notify(invite, refer), Some(until));
        }
    }

    /// No NOTIFY came for too long.
    pub(crate) fn on_notify_due(&mut self, invite: InviteId, refer: ReferId) {
        let reason = "No Notification".to_string();
        self.refer_notified(invite, refer, 408, reason, true, String::new());
        self.forget_our_refer(invite, refer);
    }

    fn forget_our_refer(&mut self, invite: InviteId, refer: ReferId) {
        self.s.schedule.set(Due::Notify(invite, refer), None);
        if let Some(entry) = self.s.invites.get_mut(&invite) {
            entry.refers.retain(|r| r.id != refer);
        }
    }

    /// The call is over: nobody waits for NOTIFYs any more.
    pub(crate) fn drop_our_refers(&mut self, invite: InviteId) {
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        for ours in std::mem::take(&mut entry.refers) {
            self.s.schedule.set(Due::Notify(invite, ours.id), None);
            if let Some(request) = ours.request {
                self.abandon(request);
            }
        }
    }
}

/// The one Event of a NOTIFY, which must be that of a REFER.
pub(crate) fn package_of(message: &Message<'_>) -> Result<EventPackage, Refusal> {
    let mut events = message.values(HeaderName::Event);
    let package = match (events.next(), events.next()) {
        (Some(value), None) => EventPackage::parse(value)?,
        (Some(_), Some(_)) => return Err(Refusal::bad("Bad Request: more than one Event")),
        (None, _) => return Err(Refusal::bad_event()),
    };
    if package.name == b"refer" {
        Ok(package)
    } else {
        Err(Refusal::bad_event())
    }
}

pub(crate) fn is_encoded(message: &Message<'_>) -> bool {
    message
        .value(HeaderName::ContentEncoding)
        .is_some_and(|e| !trim(e).eq_ignore_ascii_case(b"identity"))
}
