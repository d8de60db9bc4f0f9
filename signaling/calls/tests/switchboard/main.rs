//! What pages, PBXs and media nodes see of the switchboard.

mod before_the_answer;
mod bridging;
mod digits;
mod ending;
mod extras;
mod following;
mod holding;
mod outcomes;
mod resuming;
mod rig;
mod sessions;
mod snapshots;
mod talking;
mod transferring;
mod video;
