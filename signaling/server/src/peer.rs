/// What comes from the role at the other end of a link.
#[derive(Clone, Debug, PartialEq)]
pub enum FromPeer<T> {
    /// The link is up. `fresh`: the other side is new and holds nothing of what was before.
    Up {
        fresh: bool,
    },
    Message(T),
    /// The link is down; it may come back.
    Down,
    /// It did not come back within its grace.
    Lost,
}
