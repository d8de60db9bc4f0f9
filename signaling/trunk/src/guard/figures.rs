/// What the agent has counted since its start, for whoever shows it. No name, number or address is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Requests and responses that came in and were read.
    pub requests: u64,
    pub responses: u64,
    /// Responses of ours by their class: 1xx to 6xx.
    pub answered: [u64; 6],
    /// Registrations of ours at their registrars, and contacts registered with us, now.
    pub registrations: u64,
    pub contacts: u64,
    /// Calls that go on now.
    pub calls: u64,
    /// Requests of strangers that were refused.
    pub refused: u64,
    /// Answers that were held back for a while.
    pub slowed: u64,
    /// Messages that were not read because their source had asked too much, or is banned.
    pub dropped: u64,
    /// Answers not sent because they would have been longer than what an unproven source sent.
    pub withheld: u64,
    /// What was no SIP.
    pub garbage: u64,
    /// Bans begun, and those in force now.
    pub bans: u64,
    pub banned: u64,
    /// Connections refused.
    pub connections_refused: u64,
    /// Calls that got 503 for the operator's limits.
    pub overloaded: u64,
}
