//! What a role hears from the role at the other end of a link.

/// A message, or a change of the link itself.
#[derive(Clone, Debug, PartialEq)]
pub enum FromPeer<T> {
    /// The peer is there. `fresh`: a new process, or one that has dropped what it held of ours.
    Up {
        fresh: bool,
    },
    Message(T),
    /// Not reachable; what was said waits in the link.
    Down,
    /// Not back within the grace.
    Lost,
}
