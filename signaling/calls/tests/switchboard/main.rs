//! What pages, PBXs and media nodes see of the switchboard.

mod digits;
mod outcomes;
mod resuming;
mod rig;
mod sessions;
mod snapshots;
mod talking;
mod video;
