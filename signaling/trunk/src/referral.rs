//! REFERs of theirs, and the NOTIFYs that tell them how it goes (RFC 3515 §2.4, RFC 6665 §4.2.2).

use crate::agent::{Agent, Due};
use crate::api::{Event, InviteId, ReferId};
use crate::inside::Inside;
use crate::invite::Phase;
use crate::limits::{MAX_REFERS, REFER_DECISION, REFER_LASTS};
use crate::refer::SIPFRAG;
use crate::requests::Purpose;
use crate::validate::Refusal;
use serde::{Deserialize, Serialize};
use signaling_sip::message::{
    HeaderName, Message, Method, NameAddr, ReferTarget, Uri, blotted, split_list, unfold,
};
use signaling_sip::time::Instant;

/// A REFER of theirs: until somebody decides, and then until its last NOTIFY is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Referral {
    pub id: ReferId,
    /// Number of the REFER, by which our NOTIFYs name it.
    cseq: u32,
    state: State,
}

#[derive(Debug, Serialize, Deserialize)]
enum State {
    /// Key of its server transaction.
    Undecided { key: String },
    /// One NOTIFY at a time, so that none overtakes another; of those that wait only the newest counts.
    Notifying {
        until: Instant,
        under_way: bool,
        waiting: Option<Notice>,
        last: Notice,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Notice {
    status: u16,
    reason: String,
    /// The reason for which the subscription ends with it.
    end: Option<Over>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Over {
    Told,
    TimedOut,
}

impl Agent {
    pub(crate) fn on_refer(&mut self, message: &Message<'_>, inside: Inside, now: Instant) {
        let invite = inside.invite;
        let asked = self.may_refer(&inside).and_then(|()| Asked::of(message));
        let asked = match asked {
            Ok(asked) => asked,
            Err(refusal) => return self.refuse_inside(message, inside, &refusal, now),
        };
        let Ok((cseq, _)) = message.cseq() else {
            return;
        };
        let key = inside.key.clone();
        if !self.open_inside(message, inside) {
            return;
        }
        let refer = ReferId(self.draw() * 2 + 1);
        if let Some(entry) = self.s.invites.get_mut(&invite) {
            entry.referrals.push(Referral {
                id: refer,
                cseq,
                state: State::Undecided { key },
            });
        }
        let due = Due::Referral(invite, refer);
        self.s.schedule.set(due, Some(now + REFER_DECISION));
        self.event(Event::Referred {
            invite,
            refer,
            target: asked.target,
            replaces: asked.replaces,
            referred_by: asked.referred_by,
            raw: blotted(message.raw()),
        });
    }

    fn may_refer(&self, inside: &Inside) -> Result<(), Refusal> {
        let Some(entry) = self.s.invites.get(&inside.invite) else {
            return Err(Refusal::new(481, "Call/Transaction Does Not Exist"));
        };
        match entry.phase {
            Phase::Ending | Phase::Over => Err(Refusal::new(487, "Request Terminated")),
            Phase::Talking if inside.is_main && !entry.hung_up => Ok(()),
            Phase::Calling | Phase::Ringing | Phase::Talking => {
                Err(Refusal::new(491, "Request Pending"))
            }
        }?;
        if entry.referrals.len() >= MAX_REFERS {
            return Err(Refusal::new(500, "Too Many Transfers").with("Retry-After", "10"));
        }
        Ok(())
    }

    fn referral(&mut self, invite: InviteId, refer: ReferId) -> Option<&mut Referral> {
        let entry = self.s.invites.get_mut(&invite)?;
        entry.referrals.iter_mut().find(|r| r.id == refer)
    }

    pub(crate) fn accept_refer(&mut self, invite: InviteId, refer: ReferId, now: Instant) {
        let Some(referral) = self.referral(invite, refer) else {
            return;
        };
        let State::Undecided { key } = &referral.state else {
            return;
        };
        let key = key.clone();
        let trying = Notice {
            status: 100,
            reason: "Trying".into(),
            end: None,
        };
        let until = now + REFER_LASTS;
        referral.state = State::Notifying {
            until,
            under_way: false,
            waiting: Some(trying.clone()),
            last: trying,
        };
        self.s
            .schedule
            .set(Due::Referral(invite, refer), Some(until));
        self.respond(&key, 202, "Accepted", Vec::new(), b"", now);
        self.send_notify(invite, refer, now);
    }

    pub(crate) fn refuse_refer(
        &mut self,
        invite: InviteId,
        refer: ReferId,
        status: u16,
        now: Instant,
    ) {
        let status = if (300..700).contains(&status) {
            status
        } else {
            603
        };
        self.answer_undecided(invite, refer, status, phrase(status), now);
    }

    fn answer_undecided(
        &mut self,
        invite: InviteId,
        refer: ReferId,
        status: u16,
        reason: &str,
        now: Instant,
    ) {
        let Some(referral) = self.referral(invite, refer) else {
            return;
        };
        let State::Undecided { key } = &referral.state else {
            return;
        };
        let key = key.clone();
        self.forget_referral(invite, refer);
        self.respond(&key, status, reason, Vec::new(), b"", now);
    }

    pub(crate) fn notify_refer(
        &mut self,
        invite: InviteId,
        refer: ReferId,
        status: u16,
        reason: &str,
        now: Instant,
    ) {
        let status = status.clamp(100, 699);
        let reason = if reason.is_empty() {
            phrase(status)
        } else {
            reason
        };
        let notice = Notice {
            status,
            reason: reason.chars().filter(|c| !c.is_control()).collect(),
            end: (status >= 200).then_some(Over::Told),
        };
        self.notify_next(invite, refer, notice, now);
    }

    fn notify_next(&mut self, invite: InviteId, refer: ReferId, notice: Notice, now: Instant) {
        let Some(referral) = self.referral(invite, refer) else {
            return;
        };
        let State::Notifying { waiting, last, .. } = &mut referral.state else {
            return;
        };
        // What ended it is the last word.
        if waiting.as_ref().unwrap_or(last).end.is_some() {
            return;
        }
        *waiting = Some(notice);
        self.send_notify(invite, refer, now);
    }

    fn send_notify(&mut self, invite: InviteId, refer: ReferId, now: Instant) {
        let Some(entry) = self.s.invites.get(&invite) else {
            return;
        };
        let (account, main) = (entry.account, entry.main);
        let Some(Referral { cseq, state, .. }) = self.referral(invite, refer) else {
            return;
        };
        let State::Notifying {
            until,
            under_way,
            waiting,
            last,
        } = state
        else {
            return;
        };
        if *under_way {
            return;
        }
        let Some(notice) = waiting.take() else {
            return;
        };
        (*under_way, *last) = (true, notice.clone());
        let state = match notice.end {
            None => format!("active;expires={}", (*until - now).as_secs().max(1)),
            Some(Over::Told) => "terminated;reason=noresource".into(),
            Some(Over::TimedOut) => "terminated;reason=timeout".into(),
        };
        let event = format!("refer;id={cseq}");
        let Some((mut draft, next_hop)) =
            main.and_then(|main| self.dialog_draft(invite, main, Method::Notify))
        else {
            return self.forget_referral(invite, refer);
        };
        if notice.end.is_some() {
            self.s.schedule.set(Due::Referral(invite, refer), None);
        }
        draft.headers = vec![
            ("Event".into(), event.into_bytes()),
            ("Subscription-State".into(), state.into_bytes()),
        ];
        draft.content_type = Some(format!("{SIPFRAG};version=2.0"));
        draft.sdp = format!("SIP/2.0 {} {}\r\n", notice.status, notice.reason).into_bytes();
        self.request(
            Purpose::Notify(invite, refer),
            account,
            draft,
            &next_hop,
            now,
        );
    }

    /// A NOTIFY was answered, or was not: then nobody listens any more (RFC 6665 §4.2.2).
    pub(crate) fn on_notify_done(
        &mut self,
        invite: InviteId,
        refer: ReferId,
        is_heard: bool,
        now: Instant,
    ) {
        let Some(referral) = self.referral(invite, refer) else {
            return;
        };
        let State::Notifying {
            under_way, last, ..
        } = &mut referral.state
        else {
            return;
        };
        *under_way = false;
        if !is_heard || last.end.is_some() {
            return self.forget_referral(invite, refer);
        }
        self.send_notify(invite, refer, now);
    }

    /// Nobody decided, or nobody said how it ended.
    pub(crate) fn on_referral_due(&mut self, invite: InviteId, refer: ReferId, now: Instant) {
        let Some(referral) = self.referral(invite, refer) else {
            return;
        };
        match &referral.state {
            State::Undecided { .. } => {
                self.answer_undecided(invite, refer, 500, "Nobody Decided", now);
            }
            State::Notifying { last, .. } => {
                let notice = Notice {
                    end: Some(Over::TimedOut),
                    ..last.clone()
                };
                self.notify_next(invite, refer, notice, now);
            }
        }
    }

    /// The dialog ends: what nobody decided is answered now. Those that were accepted hear how it goes even
    /// after a BYE, since the subscription is a usage of its own (RFC 5057 §3.2).
    pub(crate) fn answer_undecided_refers(&mut self, invite: InviteId, now: Instant) {
        let Some(entry) = self.s.invites.get(&invite) else {
            return;
        };
        let all: Vec<ReferId> = entry.referrals.iter().map(|r| r.id).collect();
        for refer in all {
            self.answer_undecided(invite, refer, 487, "Request Terminated", now);
        }
    }

    fn forget_referral(&mut self, invite: InviteId, refer: ReferId) {
        self.s.schedule.set(Due::Referral(invite, refer), None);
        if let Some(entry) = self.s.invites.get_mut(&invite) {
            entry.referrals.retain(|r| r.id != refer);
        }
        self.forget_invite_if_over(invite);
    }
}

/// What a REFER of theirs asks for.
struct Asked {
    target: String,
    replaces: Option<String>,
    referred_by: Option<String>,
}

impl Asked {
    fn of(message: &Message<'_>) -> Result<Asked, Refusal> {
        let mut fields = message.values(HeaderName::ReferTo);
        let (Some(value), None) = (fields.next(), fields.next()) else {
            return Err(Refusal::bad("Bad Request: exactly one Refer-To"));
        };
        let value = unfold(value);
        if split_list(&value).count() > 1 {
            return Err(Refusal::bad("Bad Request: exactly one Refer-To"));
        }
        let to = ReferTarget::parse(&value)?;
        let is_ours = match &to.uri {
            Uri::Sip(uri) => !uri.secure,
            Uri::Tel(_) => true,
            Uri::Other(_) => false,
        };
        if !is_ours {
            return Err(Refusal::new(416, "Unsupported URI Scheme"));
        }
        if to.method.is_some_and(|method| method != b"INVITE") {
            return Err(Refusal::new(603, "Only INVITE May Be Referred To"));
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Asked {
            target: text(to.uri.to_bytes()),
            replaces: to.replaces.map(|r| text(r.to_bytes())),
            referred_by: referred_by(message)?.map(text),
        })
    }
}

/// Referred-By, to be handed on. A token of the referrer (RFC 3892 §4) is in the body that `cid` names, and
/// that we do not carry: the parameter would point nowhere.
fn referred_by(message: &Message<'_>) -> Result<Option<Vec<u8>>, Refusal> {
    let mut fields = message.values(HeaderName::ReferredBy);
    let value = match (fields.next(), fields.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => unfold(value),
        (Some(_), Some(_)) => {
            return Err(Refusal::bad("Bad Request: more than one Referred-By"));
        }
    };
    let address = NameAddr::parse(&value)?;
    if address.params.has("cid") {
        return Ok(Some([b"<".as_slice(), address.uri, b">"].concat()));
    }
    Ok(Some(value.into_owned()))
}

/// Words for the statuses that a transfer may end with.
fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200..=299 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        600 => "Busy Everywhere",
        603 => "Decline",
        101..=199 => "Session Progress",
        _ => "Refused",
    }
}
