//! What pages, PBXs and media nodes see of the switchboard.

mod before_the_answer;
mod bridging;
mod digits;
mod ending;
mod extras;
mod following;
mod holding;
mod hunting;
mod ice;
mod inbound_lines;
mod late_offers;
mod limits;
mod lines_of_sound;
mod media_by_line;
mod outcomes;
mod planned;
mod resuming;
mod rig;
mod routed;
mod sdes;
mod sessions;
mod snapshots;
mod talking;
mod transferring;
mod video;
