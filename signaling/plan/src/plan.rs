//! The plan itself.

use crate::ask::{Caller, NoWay, Way};
use crate::media::MediaProfile;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What chooses among trunks by weight.
pub trait Lot {
    /// 0 to `bound` - 1.
    fn below(&mut self, bound: u64) -> u64;
}

/// All rules at one moment. Without any rule there is no way for anybody.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// By the trunk's name.
    pub trunk_media: BTreeMap<String, MediaProfile>,
    /// For phones that registered to us.
    pub phone_media: MediaProfile,
    /// For calls by the SIP accounts that pages bring themselves.
    pub account_media: MediaProfile,
}

impl Plan {
    /// Whether the plan has anything to say of calls of this session; else it dials through its own PBX as it
    /// always did.
    pub fn concerns(&self, _caller: &Caller) -> bool {
        false
    }

    /// The way for what was dialled. `is_up`: whether a line can be used now.
    pub fn route(
        &self,
        _caller: &Caller,
        _dialled: &str,
        _is_up: &dyn Fn(&crate::Destination) -> bool,
        _lot: &mut dyn Lot,
    ) -> Way {
        Way {
            answer: Err(NoWay {
                status: 404,
                reason: "The dial plan has no rule for this number".into(),
            }),
            steps: Vec::new(),
        }
    }
}
