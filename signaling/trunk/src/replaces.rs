//! INVITEs of theirs that take the place of a call of ours (RFC 3891 §3).

use crate::agent::Agent;
use crate::api::{AccountId, InviteId};
use crate::invite::Phase;
use crate::validate::Refusal;
use signaling_sip::message::{HeaderName, Message, Replaces};

impl Agent {
    /// The call that is to be replaced; `None` where the INVITE names none. Calls of other accounts do not exist
    /// for it.
    pub(crate) fn replaced_by(
        &self,
        account: AccountId,
        message: &Message<'_>,
    ) -> Result<Option<InviteId>, Refusal> {
        let mut fields = message.values(HeaderName::Replaces);
        let replaces = match (fields.next(), fields.next()) {
            (None, _) => return Ok(None),
            (Some(value), None) => Replaces::parse(value)?,
            (Some(_), Some(_)) => return Err(Refusal::bad("Bad Request: more than one Replaces")),
        };
        if message.value_named("Join").is_some() {
            return Err(Refusal::bad("Bad Request: both Replaces and Join"));
        }
        let nowhere = || Refusal::new(481, "Call/Transaction Does Not Exist");
        let tag = std::str::from_utf8(&replaces.to_tag).map_err(|_| nowhere())?;
        let invite = *self.s.tags.get(tag).ok_or_else(nowhere)?;
        let entry = self.s.invites.get(&invite);
        let entry = entry.filter(|i| i.account == account).ok_or_else(nowhere)?;
        let mut forks = entry.forks.iter();
        let fork = forks
            .find(|f| replaces.names(&f.dialog))
            .ok_or_else(nowhere)?;
        match entry.phase {
            Phase::Talking if entry.main != Some(fork.id) => Err(nowhere()),
            Phase::Ending | Phase::Over => Err(Refusal::new(603, "Decline")),
            _ if entry.hung_up => Err(Refusal::new(603, "Decline")),
            Phase::Talking if replaces.early_only => Err(Refusal::new(486, "Busy Here")),
            Phase::Talking | Phase::Calling => Ok(Some(invite)),
            // An early dialog that we did not begin may not be replaced.
            Phase::Ringing => Err(nowhere()),
        }
    }
}
