//! The targets, a file per language.

mod envelope;

use crate::Target;

pub const ALL: &[Target] = &[envelope::ENVELOPE];
