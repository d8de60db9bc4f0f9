use serde::{Deserialize, Serialize};

/// A request method; case matters (RFC 3261 §7.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Register,
    Update,
    Prack,
    Info,
    Message,
    Subscribe,
    Notify,
    Refer,
    Publish,
    /// One that no RFC we know of defines.
    Other(Vec<u8>),
}

const KNOWN: [(&str, Method); 14] = [
    ("INVITE", Method::Invite),
    ("ACK", Method::Ack),
    ("BYE", Method::Bye),
    ("CANCEL", Method::Cancel),
    ("OPTIONS", Method::Options),
    ("REGISTER", Method::Register),
    ("UPDATE", Method::Update),
    ("PRACK", Method::Prack),
    ("INFO", Method::Info),
    ("MESSAGE", Method::Message),
    ("SUBSCRIBE", Method::Subscribe),
    ("NOTIFY", Method::Notify),
    ("REFER", Method::Refer),
    ("PUBLISH", Method::Publish),
];

impl Method {
    pub fn from_bytes(text: &[u8]) -> Method {
        let known = KNOWN.iter().find(|(name, _)| name.as_bytes() == text);
        known.map_or_else(
            || Method::Other(text.to_vec()),
            |(_, method)| method.clone(),
        )
    }

    pub fn as_bytes(&self) -> &[u8] {
        if let Method::Other(text) = self {
            return text;
        }
        let known = KNOWN.iter().find(|(_, method)| method == self);
        known.map_or(b"", |(name, _)| name.as_bytes())
    }

    pub fn is_known(&self) -> bool {
        !matches!(self, Method::Other(_))
    }
}
