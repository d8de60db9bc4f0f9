//! Requests of the peer inside a dialog that make no offer: all of them are answered in the same few ways.

use crate::agent::Agent;
use crate::api::InviteId;
use crate::net::Path;
use crate::validate::Refusal;
use signaling_sip::message::Message;
use signaling_sip::time::Instant;

/// Where such a request belongs, and what answering it takes.
pub(crate) struct Inside {
    pub invite: InviteId,
    /// Of the fork that is the call.
    pub is_main: bool,
    /// Of its server transaction.
    pub key: String,
    pub path: Path,
}

impl Inside {
    pub fn new(invite: InviteId, is_main: bool, key: String, path: Path) -> Inside {
        Inside {
            invite,
            is_main,
            key,
            path,
        }
    }
}

impl Agent {
    /// The transaction that absorbs its repetitions; false, and answered, at the limit.
    pub(crate) fn open_inside(&mut self, message: &Message<'_>, inside: Inside) -> bool {
        let Inside {
            invite, key, path, ..
        } = inside;
        let has_room = self.open_server(&key, message, path, false, Some(invite));
        if !has_room {
            self.refuse(message, path, &Refusal::overloaded());
        }
        has_room
    }

    /// 200; false if there was no room for it.
    pub(crate) fn take_inside(
        &mut self,
        message: &Message<'_>,
        inside: Inside,
        now: Instant,
    ) -> bool {
        self.answer_inside(message, inside, &Refusal::new(200, "OK"), now)
    }

    pub(crate) fn refuse_inside(
        &mut self,
        message: &Message<'_>,
        inside: Inside,
        refusal: &Refusal,
        now: Instant,
    ) {
        self.answer_inside(message, inside, refusal, now);
    }

    fn answer_inside(
        &mut self,
        message: &Message<'_>,
        inside: Inside,
        answer: &Refusal,
        now: Instant,
    ) -> bool {
        let key = inside.key.clone();
        let headers = answer.headers.clone();
        self.open_inside(message, inside)
            && self
                .respond(&key, answer.status, &answer.reason, headers, b"", now)
                .is_some()
    }
}
