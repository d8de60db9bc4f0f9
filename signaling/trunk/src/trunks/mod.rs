//! The trunks of the configuration that we register to, or that are known by their addresses: each has an account
//! inside, so that its requests, dialogs and credentials go the way of every other account's.

use crate::agent::Agent;
use crate::api::{AccountId, Line};
use crate::inbound::Caller;
use crate::lines::TrunkSpec;
use crate::net::Path;
use serde::{Deserialize, Serialize};
use signaling_sip::message::Message;
use signaling_sip::time::Instant;
use std::collections::BTreeMap;

/// Accounts of lines have numbers from here on; those of pages are drawn from below.
pub(crate) const LINES: u64 = 1 << 63;

/// Whether an account is a line's, which no command may name.
pub(crate) fn is_of_line(account: AccountId) -> bool {
    account.0 >= LINES
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Trunks {
    by_name: BTreeMap<String, Trunk>,
    drawn: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Trunk {
    pub spec: TrunkSpec,
    pub account: AccountId,
}

impl Trunks {
    pub fn account(&self, name: &str) -> Option<AccountId> {
        self.by_name.get(name).map(|trunk| trunk.account)
    }
}

impl Agent {
    /// What the operator said of the trunk that an account stands for; `None`: it is a page's or a phone's, or the
    /// trunk is gone and only its calls are still there.
    pub(crate) fn trunk_of(&self, account: AccountId) -> Option<&TrunkSpec> {
        let Some(Line::Trunk(name)) = &self.s.accounts.get(&account)?.line else {
            return None;
        };
        self.s.trunks.by_name.get(name).map(|trunk| &trunk.spec)
    }

    pub(crate) fn take_trunks(&mut self, _before: &[TrunkSpec], _now: Instant) {}

    pub(crate) fn trunk_calling(&mut self, _message: &Message<'_>, _path: Path) -> Option<Caller> {
        None
    }
}
