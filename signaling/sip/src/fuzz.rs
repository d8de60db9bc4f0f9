//! Entries for fuzzing: none of them may panic, whatever the bytes.

use crate::message::{
    EventPackage, Framing, HeaderName, Message, NameAddr, ReferTarget, Replaces, Scan,
    StreamFramer, SubscriptionState, Unit, Uri, Via, blotted, scan, sipfrag_status,
};

pub fn fuzz_message(data: &[u8]) {
    if let Scan::Message { message, .. } = scan(data, Framing::Datagram) {
        read_all(&message);
    }
    let _ = blotted(data);
    let _ = Uri::parse(data);
    let _ = NameAddr::parse(data);
    let _ = Via::parse(data);
    let _ = ReferTarget::parse(data);
    if let Ok(replaces) = Replaces::parse(data) {
        assert_eq!(Replaces::parse(&replaces.to_bytes()), Ok(replaces));
    }
}

/// The first byte says how long the pieces are in which the rest arrives.
pub fn fuzz_stream(data: &[u8]) {
    let Some((size, rest)) = data.split_first() else {
        return;
    };
    let mut framer = StreamFramer::default();
    for piece in rest.chunks(usize::from(*size).max(1)) {
        framer.push(piece);
        while let Some(unit) = framer.next_unit() {
            if let Unit::Message(message) = unit {
                read_all(&message);
            }
        }
    }
}

fn read_all(message: &Message<'_>) {
    let _ = (
        message.method(),
        message.status(),
        message.reason().len(),
        message.body().len(),
    );
    let _ = (
        message.from(),
        message.to(),
        message.call_id(),
        message.cseq(),
        message.top_via(),
    );
    for via in message.list(HeaderName::Via) {
        let _ = Via::parse(via);
    }
    for contact in message.list(HeaderName::Contact) {
        if let Ok(contact) = NameAddr::parse(contact) {
            let _ = (contact.display(), contact.tag(), Uri::parse(contact.uri));
        }
    }
    let _ = (
        message.content_type(),
        message.sdp(),
        message.number(HeaderName::Expires),
    );
    for (id, _, value) in message.fields() {
        let _ = match id {
            HeaderName::ReferTo => ReferTarget::parse(value).is_ok(),
            HeaderName::Replaces => Replaces::parse(value).is_ok(),
            HeaderName::Event => EventPackage::parse(value).is_ok(),
            HeaderName::SubscriptionState => SubscriptionState::parse(value).is_ok(),
            _ => false,
        };
    }
    let _ = sipfrag_status(message.body());
    let _ = crate::digest::challenges(message);
    let _ = crate::dialog::Dialog::from_request(message, b"tag");
}
