//! How numbers are written: by people, in E.164, and as each trunk wants them.

use serde::{Deserialize, Serialize};

/// How a trunk writes numbers, in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NumberForm {
    /// `+493012345`
    #[default]
    PlusE164,
    /// `493012345`
    E164,
    /// `00493012345`, with the numbering's own international prefix.
    International,
    /// `03012345` within the country, else as `International`.
    National,
    /// What was dialled.
    AsIs,
}
