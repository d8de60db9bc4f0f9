//! What a request that nobody vouches for is answered with, and why: outside every dialog, without credentials,
//! from whom we do not know. The table is the policy: the agent answers from it, and `signaling/README.md` shows it.

use crate::refer::package_of;
use crate::validate::Refusal;
use signaling_sip::message::{Message, Method};

/// One line of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub method: &'static str,
    /// 0: no answer at all.
    pub status: u16,
    /// 401 instead where phones may register: the same challenge for everybody.
    pub challenged: bool,
    pub why: &'static str,
}

/// Every method of ours, and what is left. The order is that of the documents.
pub const POLICY: &[Rule] = &[
    Rule {
        method: "INVITE",
        status: 404,
        challenged: true,
        why: "Only whom we know may make anything ring. An unknown user, a user of somebody else and the right user from the wrong source are told apart by nothing, and repeaters wait longer and longer.",
    },
    Rule {
        method: "REGISTER",
        status: 405,
        challenged: true,
        why: "Nobody registers where there is no registrar; where there is one, who exists shows in nothing.",
    },
    Rule {
        method: "OPTIONS",
        status: 200,
        challenged: false,
        why: "What we can do is no secret, and neighbours ask to know that we live; the answer is the same whoever is asked for, and never longer than the question.",
    },
    Rule {
        method: "MESSAGE",
        status: 405,
        challenged: false,
        why: "Texts come only inside calls and from accounts; a stranger's would be spam.",
    },
    Rule {
        method: "SUBSCRIBE",
        status: 405,
        challenged: false,
        why: "We tell nobody's state to a stranger.",
    },
    Rule {
        method: "PUBLISH",
        status: 405,
        challenged: false,
        why: "We keep nobody's state.",
    },
    Rule {
        method: "NOTIFY",
        status: 481,
        challenged: false,
        why: "Nobody may tell us what we did not ask for (RFC 6665 §4.1.3); a package that is not ours gets 489.",
    },
    Rule {
        method: "REFER",
        status: 403,
        challenged: false,
        why: "Only inside a call may somebody send us elsewhere: a REFER from outside would make us call at our own cost.",
    },
    Rule {
        method: "BYE",
        status: 481,
        challenged: false,
        why: "There is no such dialog (RFC 3261 §15.1.2).",
    },
    Rule {
        method: "UPDATE",
        status: 481,
        challenged: false,
        why: "There is no such dialog.",
    },
    Rule {
        method: "PRACK",
        status: 481,
        challenged: false,
        why: "There is no such dialog (RFC 3262 §3).",
    },
    Rule {
        method: "INFO",
        status: 481,
        challenged: false,
        why: "There is no such dialog (RFC 6086 §4.2.2).",
    },
    Rule {
        method: "CANCEL",
        status: 481,
        challenged: false,
        why: "There is no such transaction, or it came from elsewhere (RFC 3261 §9.2).",
    },
    Rule {
        method: "ACK",
        status: 0,
        challenged: false,
        why: "An ACK is never answered (RFC 3261 §17.2.1).",
    },
    Rule {
        method: "any other",
        status: 501,
        challenged: false,
        why: "We do not know it (RFC 3261 §8.2.1).",
    },
];

/// The refusal of a request outside dialogs; `None`: it is not refused, or its refusal has a place of its own
/// (INVITE and OPTIONS).
pub(crate) fn refusal_of(message: &Message<'_>) -> Option<Refusal> {
    let method = message.method();
    let status = rule_of(&method).status;
    match (method, status) {
        (Method::Notify, _) => match package_of(message) {
            Ok(_) => Some(Refusal::new(481, "Subscription Does Not Exist")),
            Err(refusal) => Some(refusal),
        },
        (_, 403) => Some(Refusal::new(403, "Forbidden")),
        (_, 404) => Some(Refusal::new(404, "Not Found")),
        (_, 405) => Some(Refusal::not_allowed()),
        (_, 481) => Some(Refusal::new(481, "Call/Transaction Does Not Exist")),
        (_, 501) => {
            Some(Refusal::new(501, "Not Implemented").with("Allow", crate::requests::ALLOW))
        }
        _ => None,
    }
}

fn rule_of(method: &Method) -> &'static Rule {
    let written = method.as_bytes();
    POLICY
        .iter()
        .find(|rule| method.is_known() && rule.method.as_bytes() == written)
        .unwrap_or(&POLICY[POLICY.len() - 1])
}
