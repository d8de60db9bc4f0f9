//! A page's `transfer` as REFER (RFC 3515, RFC 5589; protocol §2.8).
//!
//! Pages of 2.0 throw at a `notifyTransferEvent` for a call that they do not know, so it goes out only while the
//! call lives, and not to a page that came back with a token: then only the backend is told.

use crate::api::{Output, SessionId};
use crate::call::{Call, CallKey, Stage, Standing, Transfer};
use crate::callee::{self, Callee};
use crate::connecting::info_of;
use crate::ending::How;
use crate::limits::{TRANSFER_OUTCOME, TRANSFER_PROGRESS, TRANSFERRED};
use crate::switchboard::Switchboard;
use crate::timers::Timer;
use signaling_protocol::connection::{ApiMethod, Fail};
use signaling_protocol::transfer::{self, TransferStatus, TransferStatusEvent};
use signaling_protocol::{CallId, CallStatusInfo, HookMessage, ServerMessage};
use signaling_sip::time::Instant;
use signaling_trunk::api::{Command as Trunk, Failure, InviteId, ReferId, ReferTo, Target};

/// What is told of a transfer beside its status.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub info: Option<String>,
    pub raw: Option<String>,
    pub sip_status: Option<u16>,
}

impl Told {
    fn info(info: &str) -> Told {
        Told {
            info: Some(info.to_owned()),
            ..Told::default()
        }
    }
}

impl Switchboard {
    /// Attended where `target` names the far end of another established call of the session, else blind.
    pub(crate) fn transfer(
        &mut self,
        session: SessionId,
        message: transfer::Transfer,
        now: Instant,
    ) {
        // Unknown calls are ignored, like all that pages say of them (protocol §2.6).
        let Some(key) = self.call_of(session, message.call_id.as_str()) else {
            return;
        };
        match self.refer_to(key, &message.target) {
            Ok((invite, to, consult)) => {
                let refer = ReferId(self.new_key().0);
                if let Some(call) = self.calls.get_mut(&key) {
                    call.transfer = Some(Transfer {
                        refer,
                        consult,
                        completed: false,
                        progressed: 0,
                    });
                }
                self.timers
                    .set(Timer::Transfer(key.0), now + TRANSFER_OUTCOME);
                self.trunk(key.0, Trunk::Refer { invite, refer, to });
            }
            // COMPLETED is the last word of a transfer, and of this call but for its end.
            Err(info) if self.transfer_of(key).is_some_and(|t| t.completed) => {
                self.warn_of_transfer(key, Told::info(info));
            }
            Err(info) => self.tell_transfer_failed(key, Told::info(info)),
        }
    }

    fn refer_to(
        &self,
        key: CallKey,
        target: &str,
    ) -> Result<(InviteId, ReferTo, Option<CallKey>), &'static str> {
        let Some(call) = self.calls.get(&key) else {
            return Err("The call is over");
        };
        let Some(sip) = call.sip() else {
            return Err("An echo call cannot be transferred");
        };
        if call.stage != Stage::Established || sip.standing != Standing::Answered {
            return Err("The call is not established");
        }
        if call.transfer.is_some() {
            return Err("A transfer of this call is already under way");
        }
        if call.following.is_some() {
            return Err("The far side is transferring this call");
        }
        if !self.trunk_up {
            return Err("The SIP side is not reachable");
        }
        let target = match callee::read(target, Vec::new()) {
            Ok(Callee::Sip(target)) => target,
            // Our echo is nobody that a PBX could call, but a user of that name may be.
            Ok(Callee::Echo) => Target::User {
                user: callee::ECHO.to_owned(),
                params: Vec::new(),
            },
            Err("callee is missing") => return Err("target is missing"),
            Err(_) => return Err("target holds characters that cannot be dialled"),
        };
        let consult = self
            .calls_of(call.session)
            .into_iter()
            .filter(|other| *other != key)
            .filter_map(|other| self.calls.get(&other))
            .find(|other| is_with(other, &target));
        // By a line the operator may pay for the new call, so that the page must be allowed to make it.
        if consult.is_none() && sip.line.is_some() && !self.may_dial(call.session, key, &target) {
            return Err("The dial plan does not allow this target");
        }
        match consult.and_then(|other| Some((other.key, other.sip()?.invite))) {
            Some((other, with)) => Ok((sip.invite, ReferTo::Call(with), Some(other))),
            None => Ok((sip.invite, ReferTo::Target(target), None)),
        }
    }

    fn may_dial(&self, session: SessionId, key: CallKey, target: &Target) -> bool {
        let text = match target {
            Target::User { user, .. } => user,
            Target::Uri { uri, .. } => uri,
        };
        let way = self
            .caller_of(session)
            .map(|caller| self.way(&caller, &callee::dialled(text), key));
        matches!(way, Some(Ok(route)) if !route.emergency)
    }

    /// The transfer that a REFER of ours began, if it still goes on.
    fn transferring(&self, invite: InviteId, refer: ReferId) -> Option<CallKey> {
        let key = *self.by_invite.get(&invite)?;
        let call = self.calls.get(&key)?;
        let goes_on = call.stage == Stage::Established && call.is_current(invite);
        let transfer = call.transfer.as_ref()?;
        (goes_on && transfer.refer == refer && !transfer.completed).then_some(key)
    }

    pub(crate) fn refer_accepted(
        &mut self,
        invite: InviteId,
        refer: ReferId,
        status: u16,
        raw: String,
    ) {
        // A NOTIFY that overtook it may have ended the transfer: nothing is told after that.
        if let Some(key) = self.transferring(invite, refer) {
            let told = Told {
                raw: Some(raw),
                sip_status: Some(status),
                info: None,
            };
            self.tell_transfer(key, TransferStatus::Accepted, told);
        }
    }

    pub(crate) fn refer_notified(
        &mut self,
        invite: InviteId,
        refer: ReferId,
        (status, reason, over): (u16, &str, bool),
        raw: String,
        now: Instant,
    ) {
        let Some(key) = self.transferring(invite, refer) else {
            return;
        };
        let mut told = Told {
            info: None,
            raw: Some(raw),
            sip_status: Some(status),
        };
        match TransferStatus::from_sipfrag(status, reason) {
            TransferStatus::Completed => {
                if let Some(transfer) = self.transfer_of(key) {
                    transfer.completed = true;
                }
                self.timers.set(Timer::Transfer(key.0), now + TRANSFERRED);
                self.tell_transfer(key, TransferStatus::Completed, told);
            }
            TransferStatus::Failed => {
                told.info = Some(signaling_protocol::info::sip_failure(status, reason));
                self.give_up_transfer(key, told);
            }
            // They end the subscription without an outcome (RFC 6665 §4.4.1): a BYE may follow or not.
            _ if over => {
                told.info = Some("The far side does not tell how the transfer ended".to_owned());
                self.give_up_transfer(key, told);
            }
            going => {
                // A far side that repeats itself without end must not fill the page's queue.
                let few = self.transfer_of(key).is_some_and(|transfer| {
                    transfer.progressed = transfer.progressed.saturating_add(1);
                    transfer.progressed <= TRANSFER_PROGRESS
                });
                if few {
                    self.tell_transfer(key, going, told);
                }
            }
        }
    }

    pub(crate) fn refer_refused(&mut self, invite: InviteId, refer: ReferId, failure: Failure) {
        if let Some(key) = self.transferring(invite, refer) {
            let told = Told {
                info: Some(info_of(&failure)),
                sip_status: (failure.status != 0).then_some(failure.status),
                raw: (!failure.raw.is_empty()).then_some(failure.raw),
            };
            self.give_up_transfer(key, told);
        }
    }

    /// No outcome came, or no BYE after COMPLETED.
    pub(crate) fn transfer_is_due(&mut self, key: CallKey, now: Instant) {
        let Some(transfer) = self.transfer_of(key).cloned() else {
            return;
        };
        if !transfer.completed {
            let info = CallStatusInfo::FailedByRequestTimeout.as_str();
            return self.give_up_transfer(key, Told::info(info));
        }
        let clearing = CallStatusInfo::NormalCallClearing.as_str();
        self.end(key, How::gateway(clearing, Some(200)), now);
        if let Some(consult) = transfer.consult {
            self.end(consult, How::gateway(clearing, Some(200)), now);
        }
    }

    fn transfer_of(&mut self, key: CallKey) -> Option<&mut Transfer> {
        self.calls.get_mut(&key)?.transfer.as_mut()
    }

    /// The call goes on as it was.
    pub(crate) fn give_up_transfer(&mut self, key: CallKey, told: Told) {
        self.timers.cancel(Timer::Transfer(key.0));
        if let Some(call) = self.calls.get_mut(&key) {
            call.transfer = None;
        }
        self.tell_transfer_failed(key, told);
    }

    /// The leg whose peer was asked is another one now, so nobody will tell what becomes of the transfer.
    pub(crate) fn transfer_is_lost(&mut self, key: CallKey) {
        let open = self.transfer_of(key).is_some_and(|t| !t.completed);
        if open {
            self.give_up_transfer(key, Told::info("The far side was replaced meanwhile"));
        } else {
            self.timers.cancel(Timer::Transfer(key.0));
            if let Some(call) = self.calls.get_mut(&key) {
                call.transfer = None;
            }
        }
    }

    /// Pages of 2.0 show nothing of it by themselves, but they have a WARN.
    fn tell_transfer_failed(&mut self, key: CallKey, told: Told) {
        self.tell_transfer(key, TransferStatus::Failed, told.clone());
        self.warn_of_transfer(key, told);
    }

    fn warn_of_transfer(&mut self, key: CallKey, told: Told) {
        let Some(call) = self.calls.get(&key) else {
            return;
        };
        let info = told.info.unwrap_or_else(|| "Failed by error".to_owned());
        let mut fail = Fail::event(ApiMethod::TransferStatusEvent, info);
        fail.id = Some(call.id.clone());
        fail.sip_status = told.sip_status;
        self.send(call.session, ServerMessage::Fail(fail));
    }

    fn tell_transfer(&mut self, key: CallKey, status: TransferStatus, told: Told) {
        let Some(call) = self.calls.get(&key).filter(|c| c.stage != Stage::Ending) else {
            return;
        };
        let event = transfer_event(call, false, status, told);
        let session = call.session;
        if call.page_is_new {
            self.hook_transfer(session, event);
        } else {
            self.send(session, ServerMessage::NotifyTransferEvent(event));
        }
    }

    pub(crate) fn hook_transfer(&mut self, session: SessionId, event: TransferStatusEvent) {
        let message = Box::new(HookMessage::TransferStatusEvent(event));
        self.output(Output::Hook { session, message });
    }
}

pub(crate) fn transfer_event(
    call: &Call,
    incoming: bool,
    status: TransferStatus,
    told: Told,
) -> TransferStatusEvent {
    TransferStatusEvent {
        call_id: CallId::new(call.id.clone()),
        incoming,
        status,
        info: told.info,
        sip_message_raw: told.raw,
        has_video: Some(call.has_pictures()),
        custom: call.custom.clone(),
    }
}

/// Whether the far end of a call that stands is `target`.
fn is_with(call: &Call, target: &Target) -> bool {
    let answered = |standing| standing == Standing::Answered;
    if call.stage != Stage::Established || !call.sip().is_some_and(|s| answered(s.standing)) {
        return false;
    }
    let party = if call.incoming {
        &call.caller
    } else {
        &call.callee
    };
    [Some(party), call.party_uri.as_ref()]
        .into_iter()
        .flatten()
        .any(|text| same_party(text, target))
}

/// By user part, and by host where both name one. What an account's own domain is, only the trunk knows, so a bare
/// number is the same as that number anywhere.
fn same_party(text: &str, target: &Target) -> bool {
    let Ok(Callee::Sip(party)) = callee::read(text, Vec::new()) else {
        return false;
    };
    let ((user, host), (other, other_host)) = (name(&party), name(target));
    let same_host = match (host, other_host) {
        (Some(host), Some(other)) => host == other,
        _ => true,
    };
    !user.is_empty() && user == other && same_host
}

/// User and host; ports, parameters and headers name nobody.
fn name(target: &Target) -> (String, Option<String>) {
    let uri = match target {
        Target::User { user, .. } => return (user.clone(), None),
        Target::Uri { uri, .. } => uri,
    };
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    if scheme.eq_ignore_ascii_case("tel") {
        let number = rest.split(';').next().unwrap_or_default();
        let digits = number
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '*' | '#'));
        return (digits.collect(), None);
    }
    let (user, at) = rest.rsplit_once('@').unwrap_or(("", rest));
    let user = user.split([';', ':']).next().unwrap_or_default();
    let host = at.split([';', '?']).next().unwrap_or_default();
    let host = match host.rfind(']') {
        Some(end) => host.get(..=end).unwrap_or(host),
        None => host.split(':').next().unwrap_or_default(),
    };
    (user.to_owned(), Some(host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        match callee::read(b, Vec::new()) {
            Ok(Callee::Sip(target)) => same_party(a, &target),
            _ => false,
        }
    }

    #[test]
    fn a_party_is_known_by_number_and_by_uri_however_it_is_written() {
        assert!(same("1002", "1002"));
        assert!(same("1002", "sip:1002@pbx.test:5070;transport=tcp"));
        assert!(same("sip:1002@PBX.test", "1002@pbx.test"));
        assert!(same("+1 (555) 123-4567", "tel:+1-555-123-4567"));
        assert!(same(
            "sip:1002@[2001:db8::1]:5070",
            "sip:1002@[2001:db8::1]"
        ));
        for (a, b) in [
            ("1002", "1003"),
            ("sip:1002@pbx.test", "sip:1002@other.test"),
            ("", "1002"),
            ("sip:pbx.test", "sip:pbx.test"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }
}
