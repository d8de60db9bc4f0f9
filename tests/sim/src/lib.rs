//! Switchboard and trunk agent in one thread, with a virtual clock and wires that lose, delay and reorder by
//! seed. No sleep, no port. A failure prints its seed.

pub mod between;
pub mod chance;
pub mod phone;
pub mod world;
