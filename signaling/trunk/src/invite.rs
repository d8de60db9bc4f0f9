//! The SIP side of a leg: one INVITE of ours with its forks, or one of theirs.

use crate::agent::{Agent, Due};
use crate::api::{AccountId, End, Event, ForkId, InviteId, OfferId};
use crate::info::Infos;
use crate::net::Path;
use crate::redirect::Redirects;
use crate::refer::OurRefer;
use crate::referral::Referral;
use crate::registrar::ringing::Ringing;
use crate::reliable::Reliability;
use crate::requests::{Draft, Purpose};
use crate::session_timer::SessionTimer;
use serde::{Deserialize, Serialize};
use signaling_sip::dialog::Dialog;
use signaling_sip::message::Method;
use signaling_sip::time::Instant;
use std::time::Duration;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Invite {
    pub account: AccountId,
    pub inbound: bool,
    pub phase: Phase,
    pub forks: Vec<Fork>,
    /// The fork that is the call; of an inbound INVITE the only one.
    pub main: Option<ForkId>,
    /// Our tag.
    pub tag: String,
    pub contact_user: String,
    /// Ours until it has a final response.
    pub request: Option<u64>,
    /// Branch of ours, key of theirs.
    pub transaction: Option<String>,
    /// The INVITE had no SDP: the 2xx brings the offer, the ACK the answer.
    pub late: bool,
    /// The calls asked for the end.
    pub hung_up: bool,
    pub cancel_sent: bool,
    /// A late offer waits for `Acknowledge`.
    pub ack_due: bool,
    pub repeat: Option<Repeat>,
    pub our_offer: Option<OurOffer>,
    /// The re-INVITE under way.
    pub reinvite: Option<u64>,
    /// An offer of ours that came while another was under way.
    pub waiting_offer: Option<Vec<u8>>,
    pub their_offer: Option<TheirOffer>,
    #[serde(default)]
    pub refers: Vec<OurRefer>,
    /// Theirs; they may outlive the call.
    #[serde(default)]
    pub referrals: Vec<Referral>,
    #[serde(default)]
    pub infos: Infos,
    /// Number of their INVITE, for the PRACKs that name it.
    #[serde(default)]
    pub cseq: u32,
    /// Forks are numbered on, also when early dialogs were forgotten.
    #[serde(default)]
    pub next_fork: u32,
    #[serde(default)]
    pub reliability: Reliability,
    /// What we last described to the peer in an exchange that came about.
    #[serde(default)]
    pub last_sdp: Vec<u8>,
    /// What the peer last described to us.
    #[serde(default)]
    pub their_sdp: Vec<u8>,
    #[serde(default)]
    pub timer: SessionTimer,
    #[serde(default)]
    pub redirects: Redirects,
    /// How long one address may say nothing; 0: as long as its transaction lasts.
    #[serde(default)]
    pub attempt_ms: u32,
    /// Branches of INVITEs whose servers said nothing in time.
    #[serde(default)]
    pub abandoned: Vec<String>,
    /// Ours to a phone, with a request for each of its contacts.
    #[serde(default)]
    pub ringing: Option<Box<Ringing>>,
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Ours, without a final response.
    Calling,
    /// Theirs, without a final response.
    Ringing,
    Talking,
    /// Our BYE is under way.
    Ending,
    /// Told as ended; kept for late 2xx.
    Over,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fork {
    pub id: ForkId,
    pub dialog: Dialog,
    /// Number of the INVITE that the ACK is for, where it went, and its bytes.
    pub ack: Option<(u32, Path, Vec<u8>)>,
    /// Number of the INVITE whose ACK is due: requests in between have higher ones (RFC 3261 §13.2.2.4).
    #[serde(default)]
    pub ack_for: u32,
    /// RSeq of the last reliable provisional response (RFC 3262 §4).
    #[serde(default)]
    pub rseq: Option<u32>,
    /// Their last description before the 2xx: the answer in a reliable response, or an UPDATE's offer.
    #[serde(default)]
    pub early_sdp: Option<Vec<u8>>,
    /// An UPDATE before anybody answered.
    #[serde(default)]
    pub their_offer: Option<TheirOffer>,
    /// Which contact of a phone it is; 0: the INVITE has one request only.
    #[serde(default)]
    pub ring: u32,
    /// What requests go over instead of wherever the peer's Contact leads, if no proxy has put itself on the way.
    #[serde(default)]
    pub flow: Option<Path>,
}

impl Fork {
    pub fn new(id: ForkId, dialog: Dialog) -> Fork {
        Fork {
            id,
            dialog,
            ack: None,
            ack_for: 0,
            rseq: None,
            early_sdp: None,
            their_offer: None,
            ring: 0,
            flow: None,
        }
    }
}

/// A 2xx of ours, repeated until its ACK (RFC 3261 §13.3.1.4).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Repeat {
    pub path: Path,
    pub bytes: Vec<u8>,
    pub interval: Duration,
    pub until: Instant,
    pub cseq: u32,
    /// `None`: the first INVITE's. With true: the ACK brings the answer.
    pub offer: Option<(OfferId, bool)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum OurOffer {
    Sent {
        sdp: Vec<u8>,
        /// Not the calls' offer but one that keeps the session alive.
        #[serde(default)]
        refresh: bool,
    },
    /// Met one of theirs (491): tried again at its time.
    Backoff {
        sdp: Vec<u8>,
        #[serde(default)]
        refresh: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TheirOffer {
    pub id: OfferId,
    /// Key of its server transaction.
    pub key: String,
    pub is_invite: bool,
    pub had_sdp: bool,
    /// What it offers.
    #[serde(default)]
    pub sdp: Option<Vec<u8>>,
}

impl Invite {
    pub fn new(
        account: AccountId,
        inbound: bool,
        tag: String,
        contact_user: String,
        late: bool,
    ) -> Invite {
        Invite {
            account,
            inbound,
            phase: if inbound {
                Phase::Ringing
            } else {
                Phase::Calling
            },
            forks: Vec::new(),
            main: None,
            tag,
            contact_user,
            request: None,
            transaction: None,
            late,
            hung_up: false,
            cancel_sent: false,
            ack_due: false,
            repeat: None,
            our_offer: None,
            reinvite: None,
            waiting_offer: None,
            their_offer: None,
            refers: Vec::new(),
            referrals: Vec::new(),
            infos: Infos::default(),
            cseq: 0,
            next_fork: 0,
            reliability: Reliability::default(),
            last_sdp: Vec::new(),
            their_sdp: Vec::new(),
            timer: SessionTimer::default(),
            redirects: Redirects::default(),
            attempt_ms: 0,
            abandoned: Vec::new(),
            ringing: None,
            ended: false,
        }
    }

    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    pub fn fork(&mut self, id: ForkId) -> Option<&mut Fork> {
        self.forks.iter_mut().find(|f| f.id == id)
    }

    pub fn main(&mut self) -> Option<&mut Fork> {
        let id = self.main?;
        self.fork(id)
    }
}

impl Agent {
    pub(crate) fn add_invite(&mut self, id: InviteId, invite: Invite) {
        if let Some(account) = self.s.accounts.get_mut(&invite.account) {
            account.calls += 1;
        }
        self.s.tags.insert(invite.tag.clone(), id);
        self.s.invites.insert(id, invite);
    }

    /// A request inside a dialog, numbered; `None` where there is no such fork.
    pub(crate) fn dialog_draft(
        &mut self,
        invite: InviteId,
        fork: ForkId,
        method: Method,
    ) -> Option<(Draft, Vec<u8>)> {
        let entry = self.s.invites.get_mut(&invite)?;
        let contact_user = entry.contact_user.clone();
        let fork = entry.fork(fork)?;
        let ack_for = fork.ack_for;
        let dialog = &mut fork.dialog;
        let cseq = if method == Method::Ack {
            ack_for
        } else {
            dialog.next_cseq()
        };
        let routing = dialog.routing();
        let has_contact = matches!(
            method,
            Method::Invite | Method::Update | Method::Refer | Method::Notify
        );
        let draft = Draft {
            method,
            uri: routing.uri,
            routes: routing.routes,
            from: dialog.local.clone(),
            to: dialog.remote.clone(),
            call_id: dialog.call_id.clone(),
            cseq,
            contact: has_contact.then_some((contact_user, Vec::new())),
            headers: Vec::new(),
            content_type: None,
            sdp: Vec::new(),
        };
        Some((draft, routing.next_hop))
    }

    /// The number of a digest retry: in a dialog the next one, for other requests may have taken some meanwhile.
    pub(crate) fn cseq_of_retry(&mut self, purpose: &Purpose, cseq: u32) -> u32 {
        let next = cseq.saturating_add(1);
        let main = |i: &Invite| i.main.unwrap_or(ForkId(0));
        let (invite, fork) = match purpose {
            Purpose::Register(account) => {
                if let Some(account) = self.s.accounts.get_mut(account) {
                    account.cseq = next;
                }
                return next;
            }
            Purpose::Invite(invite) => {
                self.note_invite_cseq(*invite, next);
                return next;
            }
            Purpose::Ring(..)
            | Purpose::Cancel(_)
            | Purpose::Ack { .. }
            | Purpose::Probe { .. } => return next,
            Purpose::Bye(invite, fork) | Purpose::Prack(invite, fork) => (*invite, *fork),
            Purpose::Reinvite(invite)
            | Purpose::Refresh(invite)
            | Purpose::Refer(invite, _)
            | Purpose::Notify(invite, _)
            | Purpose::Info(invite) => match self.s.invites.get(invite) {
                Some(entry) => (*invite, main(entry)),
                None => return next,
            },
        };
        let entry = self.s.invites.get_mut(&invite);
        let Some(fork) = entry.and_then(|i| i.fork(fork)) else {
            return next;
        };
        let next = fork.dialog.next_cseq();
        if let Purpose::Refer(_, refer) = purpose
            && let Some(ours) = self.our_refer(invite, *refer)
        {
            ours.cseq = next;
        }
        next
    }

    /// Tells the end, once, and forgets what is no longer needed.
    pub(crate) fn end(&mut self, invite: InviteId, end: End, now: Instant) {
        self.answer_undecided_refers(invite, now);
        let Some(entry) = self.s.invites.get_mut(&invite) else {
            return;
        };
        entry.phase = Phase::Over;
        entry.repeat = None;
        entry.our_offer = None;
        entry.waiting_offer = None;
        let theirs = entry.their_offer.take();
        let first = !std::mem::replace(&mut entry.ended, true);
        let reinvite = entry.reinvite.take();
        self.drop_our_refers(invite);
        self.drop_infos(invite);
        if let Some(reinvite) = reinvite {
            // Its peer has stopped repeating the 2xx: none may ever come.
            self.abandon(reinvite);
        }
        if let Some(theirs) = theirs {
            self.respond(&theirs.key, 487, "Request Terminated", Vec::new(), b"", now);
        }
        self.settle_early_offers(invite, None, now);
        for due in [
            Due::Progress(invite),
            Due::Session(invite),
            Due::Repeat(invite),
            Due::Offer(invite),
            Due::Patience(invite),
        ] {
            self.s.schedule.set(due, None);
        }
        if first {
            self.event(Event::Ended { invite, end });
        }
        self.forget_invite_if_over(invite);
    }

    /// An INVITE of ours stays until no 2xx of a further fork can come (timer M).
    pub(crate) fn forget_invite_if_over(&mut self, invite: InviteId) {
        let Some(entry) = self.s.invites.get(&invite) else {
            return;
        };
        let waits = !entry.inbound && {
            let rings = entry.ringing.iter().flat_map(|r| r.branches());
            let branches = entry.transaction.iter().chain(&entry.abandoned);
            branches.chain(rings).any(|b| self.s.client.contains_key(b))
        };
        if entry.phase != Phase::Over || waits || !entry.referrals.is_empty() {
            return;
        }
        let (tag, account) = (entry.tag.clone(), entry.account);
        self.s.invites.remove(&invite);
        self.s.tags.remove(&tag);
        if let Some(account) = self.s.accounts.get_mut(&account) {
            account.calls = account.calls.saturating_sub(1);
        }
        self.forget_account_if_gone(account);
    }
}
