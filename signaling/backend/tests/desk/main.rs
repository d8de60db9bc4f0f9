//! The desk in virtual time, with a backend that says what the test wants.

mod bodies;
mod identities;
mod incoming;
mod ordering;
mod policies;
mod properties;
mod rig;
mod sessions;
