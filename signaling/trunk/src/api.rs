//! The words between the calls and the trunk: [`Command`] in, [`Event`] out.
//!
//! SDP is bytes here and never opened. Names are the SIP side's; nothing knows of browsers. Both enums
//! travel over the link, so fields may be added with `#[serde(default)]`.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// One SIP identity in use: an address of record with its registrar and credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountId(pub u64);

/// One INVITE of ours with all its forks, or one INVITE of theirs: the SIP side of a leg, from its first
/// message until both sides forgot it. Drawn by whoever sees it first, so the two sides draw from
/// different halves: the calls even numbers, the trunk odd ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InviteId(pub u64);

/// One early or established dialog of an outgoing INVITE, numbered from 0 as To tags appear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ForkId(pub u32);

/// An offer of the peer inside a dialog that waits for our answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OfferId(pub u64);

/// One REFER, ours or theirs, and the subscription that it makes (RFC 3515). Ours are numbered by the calls,
/// theirs by the trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReferId(pub u64);

/// What an INVITE goes out by, or came in by, where that is no page's account: the operator's own lines
/// ([`crate::lines`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Line {
    /// A trunk of the configuration, by its name.
    Trunk(String),
    /// Whoever registered to us under this user name; calls to it ring all its contacts.
    Phone(String),
}

/// Stands where an account would, in words about a [`Line`].
pub const NO_ACCOUNT: AccountId = AccountId(0);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Opens an account; registers it if it says so. Answered by `Registered` or `RegistrationFailed`
    /// (an account that does not register is usable at once and answers nothing).
    OpenAccount {
        account: AccountId,
        spec: AccountSpec,
    },
    /// REGISTER with expires 0, then `Unregistered`. Its calls go on.
    CloseAccount { account: AccountId },

    /// Calls `target`. `sdp` empty: a late offer, the peer's 200 brings theirs and `Acknowledge` ours.
    Invite {
        invite: InviteId,
        account: AccountId,
        target: Target,
        from_display: String,
        headers: Vec<Header>,
        sdp: Vec<u8>,
        #[serde(default)]
        options: Box<InviteOptions>,
    },
    /// The SDP for the ACK of a late offer. Without a late offer the trunk sends ACK by itself.
    Acknowledge {
        invite: InviteId,
        fork: ForkId,
        sdp: Vec<u8>,
    },
    /// Ends it in the way its state asks for: CANCEL, BYE, BYE to late forks, or `status` to an INVITE of
    /// theirs not yet answered (`None`: 603 Decline). Always followed by exactly one `Ended`.
    Hangup {
        invite: InviteId,
        status: Option<Refusal>,
    },

    /// A provisional response to their INVITE: 180, or 183 with SDP.
    Progress {
        invite: InviteId,
        status: u16,
        sdp: Option<Vec<u8>>,
    },
    /// 200 with our SDP (an answer, or our offer if their INVITE had none); repeated until the ACK.
    Accept { invite: InviteId, sdp: Vec<u8> },

    /// A re-INVITE of ours with this offer. Answered by `OfferAnswered` or `OfferRefused`. 491 is retried
    /// inside (RFC 3261 §14.1).
    Offer { invite: InviteId, sdp: Vec<u8> },
    /// The answer to an offer of theirs (`Event::Offered`), or, where that had no SDP, our offer.
    AnswerOffer {
        invite: InviteId,
        offer: OfferId,
        sdp: Vec<u8>,
    },
    /// Refuses an offer of theirs; the dialog stays as it was (488 where there is no better word).
    RefuseOffer {
        invite: InviteId,
        offer: OfferId,
        status: u16,
    },

    /// Sends a REFER inside an established dialog (RFC 3515). Answered by `ReferAccepted`, then `ReferNotified`
    /// as its NOTIFYs come, or by `ReferRefused` alone.
    Refer {
        invite: InviteId,
        refer: ReferId,
        to: ReferTo,
    },
    /// Takes their REFER: 202 and a first NOTIFY with 100. `NotifyRefer` is due until a final status.
    AcceptRefer { invite: InviteId, refer: ReferId },
    RefuseRefer {
        invite: InviteId,
        refer: ReferId,
        status: u16,
    },
    /// How what they asked for fares, as a NOTIFY with a sipfrag; 200 and above ends the subscription.
    NotifyRefer {
        invite: InviteId,
        refer: ReferId,
        status: u16,
        reason: String,
    },
    /// An INFO inside the dialog (RFC 6086, legacy usage). Sent in order, one at a time. Refusals are told by
    /// `InfoRefused`, success by nothing.
    Info {
        invite: InviteId,
        content_type: String,
        body: Vec<u8>,
    },

    /// Ends accounts and calls that are not listed: said once after the link came back.
    Retain {
        accounts: Vec<AccountId>,
        invites: Vec<InviteId>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// 2xx to the first REGISTER, or again after a failure. Refreshes are silent.
    Registered {
        account: AccountId,
        expires_s: u32,
        raw: String,
    },
    /// The registration is gone as asked.
    Unregistered {
        account: AccountId,
    },
    /// `retry_s`: the trunk goes on trying after so many seconds by itself; `None`: it gave up (403, or
    /// 401/407 with credentials sent), and the account is closed.
    RegistrationFailed {
        account: AccountId,
        failure: Failure,
        retry_s: Option<u32>,
    },

    /// An INVITE for a live account, from its registrar's side. 100 has been sent. `sdp` `None`: we offer.
    Incoming {
        invite: InviteId,
        account: AccountId,
        from: Identity,
        to: Identity,
        sdp: Option<Vec<u8>>,
        headers: Vec<Header>,
        source: SocketAddr,
        raw: String,
        /// It asks to take the place of this call of ours (RFC 3891), whose dialog and rights were checked: when it
        /// is accepted the other one is to be hung up.
        #[serde(default)]
        replaces: Option<InviteId>,
        /// It came by one of the operator's lines; `account` is then [`NO_ACCOUNT`]. `None`: it is for a page's
        /// account.
        #[serde(default)]
        by_line: Option<Box<ByLine>>,
    },
    /// A line can be used now, or cannot: a trunk whose servers answer or that is registered, a phone with a
    /// contact. Told at each change, and for each line that is up when `Lines` or the link is new.
    Line {
        line: Line,
        up: bool,
        /// Why it is down, for people.
        #[serde(default)]
        reason: String,
    },
    /// 18x to our INVITE. `sdp`: the answer of that fork, if it brought one (told each time it comes).
    Progress {
        invite: InviteId,
        fork: ForkId,
        status: u16,
        reason: String,
        sdp: Option<Vec<u8>>,
        source: SocketAddr,
        raw: String,
    },
    /// The first 2xx to our INVITE; other forks are ended inside. `sdp` is the answer (of this 2xx, or of a
    /// reliable 18x of the same fork), or their offer if ours was late: then `Acknowledge` is due.
    Answered {
        invite: InviteId,
        fork: ForkId,
        status: u16,
        reason: String,
        sdp: Option<Vec<u8>>,
        late: bool,
        source: SocketAddr,
        raw: String,
    },
    /// The ACK of our 200 came, with their answer where our 200 carried the offer.
    Acknowledged {
        invite: InviteId,
        sdp: Option<Vec<u8>>,
    },

    /// Their re-INVITE or UPDATE. `sdp` `None`: a refresh without offer by INVITE, which asks for ours.
    Offered {
        invite: InviteId,
        offer: OfferId,
        sdp: Option<Vec<u8>>,
        source: SocketAddr,
        raw: String,
        /// An UPDATE in an early dialog of ours (RFC 3311 §5.1), before anybody answered.
        #[serde(default)]
        fork: Option<ForkId>,
    },
    /// The ACK of a re-INVITE that had no offer, with their answer to ours.
    OfferAcknowledged {
        invite: InviteId,
        offer: OfferId,
        sdp: Option<Vec<u8>>,
    },
    OfferAnswered {
        invite: InviteId,
        status: u16,
        sdp: Option<Vec<u8>>,
        source: SocketAddr,
        raw: String,
    },
    /// Our re-INVITE was refused; the dialog goes on as it was.
    OfferRefused {
        invite: InviteId,
        failure: Failure,
    },

    /// 2xx to our REFER, or a NOTIFY that came before it; always before the first `ReferNotified`.
    ReferAccepted {
        invite: InviteId,
        refer: ReferId,
        status: u16,
        raw: String,
    },
    /// A NOTIFY with the sipfrag of our REFER. `over`: no other follows.
    ReferNotified {
        invite: InviteId,
        refer: ReferId,
        status: u16,
        reason: String,
        over: bool,
        raw: String,
    },
    /// Our REFER was refused, or nobody answered it.
    ReferRefused {
        invite: InviteId,
        refer: ReferId,
        failure: Failure,
    },
    /// The peer asks us to call somebody else (RFC 3515). `AcceptRefer` or `RefuseRefer` is due.
    Referred {
        invite: InviteId,
        refer: ReferId,
        /// The URI of Refer-To without its headers, as for [`Target::Uri`].
        target: String,
        /// From the URI's `?Replaces=`, to go into the new INVITE as it is.
        replaces: Option<String>,
        /// The Referred-By of the REFER (RFC 3892), to go into the new INVITE.
        referred_by: Option<String>,
        raw: String,
    },
    /// An INFO of theirs, already answered with 200 (bodies of other types than the known ones with 415).
    Info {
        invite: InviteId,
        content_type: String,
        body: Vec<u8>,
    },
    InfoRefused {
        invite: InviteId,
        failure: Failure,
    },

    /// It is over, once for each invite, whoever ended it.
    Ended {
        invite: InviteId,
        end: End,
    },
}

impl Event {
    /// The INVITE that it is about, if it is about one.
    pub fn invite(&self) -> Option<InviteId> {
        match self {
            Event::Incoming { invite, .. }
            | Event::Progress { invite, .. }
            | Event::Answered { invite, .. }
            | Event::Acknowledged { invite, .. }
            | Event::Offered { invite, .. }
            | Event::OfferAcknowledged { invite, .. }
            | Event::OfferAnswered { invite, .. }
            | Event::OfferRefused { invite, .. }
            | Event::ReferAccepted { invite, .. }
            | Event::ReferNotified { invite, .. }
            | Event::ReferRefused { invite, .. }
            | Event::Referred { invite, .. }
            | Event::Info { invite, .. }
            | Event::InfoRefused { invite, .. }
            | Event::Ended { invite, .. } => Some(*invite),
            Event::Registered { .. }
            | Event::Unregistered { .. }
            | Event::RegistrationFailed { .. }
            | Event::Line { .. } => None,
        }
    }
}

/// What an INVITE tells that came by one of the operator's lines, whose right to call was checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ByLine {
    pub line: Line,
    /// The Request-URI: on a trunk the number that was dialled, which To need not be.
    pub called: Identity,
    /// P-Asserted-Identity of a line that is trusted (RFC 3325 §5).
    pub asserted: Option<Identity>,
}

/// Which account and how to reach it. Secrets inside: never logged (`Debug` leaves them out).
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct AccountSpec {
    /// User part of the address of record, unescaped.
    pub login: String,
    /// Digest username; the login where empty.
    pub auth_name: String,
    pub password: String,
    /// Domain of the address of record and Request-URI of REGISTER.
    pub domain: String,
    /// Where requests are sent; the domain where empty. Host, `host:port`, or a SIP URI (with `;transport=`).
    pub proxy: String,
    /// Port of domain and proxy where they name none; 0: by RFC 3263.
    pub port: u16,
    pub register: bool,
    pub display: String,
    /// `;name=value` parameters for the Contact of REGISTER.
    pub contact_params: Vec<(String, Option<String>)>,
}

impl std::fmt::Debug for AccountSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "AccountSpec {{ {}@{} via {:?}:{}, register: {} }}",
            self.login, self.domain, self.proxy, self.port, self.register
        )
    }
}

/// Whom to call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Target {
    /// A user of the account's domain (a number, a name), unescaped.
    User {
        user: String,
        params: Vec<(String, Option<String>)>,
    },
    /// A whole `sip:`, `sips:` or `tel:` URI as given; parsed and checked by the trunk.
    Uri {
        uri: String,
        params: Vec<(String, Option<String>)>,
    },
}

/// What else an INVITE of ours may say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InviteOptions {
    /// The value of a Replaces header (RFC 3891), as a REFER gave it.
    pub replaces: Option<String>,
    /// The value of a Referred-By header (RFC 3892).
    pub referred_by: Option<String>,
    /// By this line of the operator's instead of `account`. [`Target::User`] is then a user of the line's domain; of
    /// a phone it is ignored, since its contacts say whom to ask for.
    pub line: Option<Line>,
    /// Who calls, where that is not the account's own name.
    pub identity: CallerIdentity,
    /// How long a server may say nothing, milliseconds; 0: as the line says.
    pub attempt_ms: u32,
    /// A 3xx is not followed here: the call ends with it, and the calls decide by its [`Failure::contacts`].
    pub tell_redirects: bool,
    /// Max-Forwards, where the call came to us by SIP (RFC 7332 §4); `None`: 70.
    pub max_forwards: Option<u8>,
}

/// How a caller is shown to a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallerIdentity {
    /// User part of From, unescaped; empty: the line's login. `anonymous` makes
    /// `sip:anonymous@anonymous.invalid` (RFC 3323 §4.1.1.3).
    pub from_user: String,
    /// User part of P-Asserted-Identity (RFC 3325), told to trusted lines only.
    pub asserted_user: Option<String>,
    /// The value of Privacy (RFC 3323), such as `id`.
    pub privacy: Option<String>,
    /// Values of Diversion (RFC 5806), the newest first, each a whole `name-addr` with its parameters.
    pub diversion: Vec<String>,
}

/// Whom our REFER names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ReferTo {
    Target(Target),
    /// The far end of another established call of ours, which is to be replaced by the new one (attended transfer,
    /// RFC 5589 §7).
    Call(InviteId),
}

/// A header field to add, already decided on by the calls; the trunk refuses one that would break the
/// message (CR, LF, NUL, a name that is no token, or a header that it writes itself).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub name: String,
    pub value: String,
}

/// Somebody named in From, To or P-Asserted-Identity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// User part, unescaped; the whole URI where it has none.
    pub user: String,
    pub display: String,
    pub uri: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    pub status: u16,
    pub reason: String,
    /// Seconds after which it may work (Retry-After, RFC 3261 §20.33).
    #[serde(default)]
    pub retry_after_s: Option<u32>,
}

/// Why something failed. `status` 0: no SIP response was behind it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub status: u16,
    pub reason: String,
    pub cause: Cause,
    /// The response as received, credentials blotted; empty where there was none.
    pub raw: String,
    /// Of a 300, 301 or 302 that was not followed: whom to call instead, as URIs, the likeliest first.
    #[serde(default)]
    pub contacts: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The peer's response says it.
    #[default]
    Response,
    /// Nobody answered (RFC 3261 timers B and F).
    Timeout,
    /// The connection or the look-up failed.
    Unreachable,
    /// The address that it led to is not among `sip.allowed_targets`.
    NotAllowed,
    /// What we were asked to send cannot be written as SIP.
    BadRequest,
    /// A named limit of ours was reached.
    Overloaded,
}

/// How an INVITE or its dialog ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum End {
    /// We asked for it.
    ByUs { raw: String },
    /// BYE or CANCEL of the peer, with the text of its Reason header (RFC 3326) if any.
    ByPeer {
        cancelled: bool,
        reason: String,
        raw: String,
    },
    /// A final 3xx to 6xx, or none at all.
    Failed(Failure),
    /// Our 200 was never acknowledged (RFC 3261 §13.3.1.4).
    NoAck,
}
