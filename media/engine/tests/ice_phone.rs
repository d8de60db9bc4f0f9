//! ICE with SIP phones (RFC 8445): we are lite, their checks say where they are.

mod bed;

use bed::browser::{audio, format};
use bed::call::{PHONE, RTP, pcmu};
use bed::{Bed, addr};
use is::stun::{StunMessage, TransId};
use is::{DefaultSha1HmacProvider, Sha1HmacProvider};
use media_control::{
    Codec, Command, Event, Face, IceCredentials, LegId, LegSpec, LegStats, LocalTransport, Remote,
    RemoteTransport,
};
use media_engine::SocketId;
use media_packet::rtp::RtpHeader;
use std::time::Duration;

const RTCP: SocketId = SocketId(2);
const FRAME: Duration = Duration::from_millis(20);
/// Where the phone is by its checks: behind a NAT.
const SEEN: &str = "203.0.113.77:61000";

fn ice_leg(ice: bool) -> LegSpec {
    LegSpec::Rtp {
        face: Face::Inside,
        sdes: false,
        video: false,
        ice,
    }
}

fn theirs() -> IceCredentials {
    IceCredentials {
        ufrag: "phne".into(),
        pwd: "the-telephones-own-password".into(),
    }
}

struct Phone {
    bed: Bed,
    ours: IceCredentials,
}

impl Phone {
    /// An echo behind a leg that does ICE.
    fn new() -> Phone {
        let mut bed = Bed::new();
        let LocalTransport::Rtp {
            ice: Some(ours), ..
        } = bed.create(2, ice_leg(true))
        else {
            panic!("no credentials")
        };
        bed.create_echo(3);
        bed.join(2, 3);
        Phone { bed, ours }
    }

    fn describes(&mut self, rtp: &str, ice: Option<IceCredentials>) {
        self.bed.command(Command::ConnectLeg {
            leg: LegId(2),
            remote: Remote {
                transport: RemoteTransport::Rtp {
                    rtp: Some(addr(rtp)),
                    rtcp: None,
                    signalling: "192.0.2.20".parse().unwrap(),
                    sdes: None,
                    video: None,
                    ice: ice.map(Box::new),
                },
                media: audio(vec![pcmu(), format(Codec::TelephoneEvent, 101, 8000)]),
            },
        });
    }

    fn check(&self, from: &str, pwd: &str, nominates: bool, controlling: bool) -> Vec<u8> {
        let name = format!("{}:{from}", self.ours.ufrag);
        let message = StunMessage::binding_request(
            &name,
            TransId::new(),
            controlling,
            7,
            1_845_501_695,
            nominates,
        );
        let mut packet = vec![0; 548];
        let hmac = |key: &[u8], parts: &[&[u8]]| DefaultSha1HmacProvider.sha1_hmac(key, parts);
        let len = message
            .to_bytes(Some(pwd.as_bytes()), &mut packet, hmac)
            .unwrap();
        packet.truncate(len);
        packet
    }

    /// A check from an address; whether it was answered as a good one.
    fn checks(&mut self, socket: SocketId, from: &str, nominates: bool) -> bool {
        let pwd = self.ours.pwd.clone();
        // Reports that fell due meanwhile.
        self.bed.take_sent();
        let check = self.check(&theirs().ufrag, &pwd, nominates, true);
        self.bed.arrive(socket, addr(from), &check);
        let sent = self.bed.take_sent();
        sent.first().is_some_and(|sent| {
            assert_eq!((sent.path.socket, sent.path.remote), (socket, addr(from)));
            let reply = StunMessage::parse(&sent.packet).unwrap();
            let hmac = |key: &[u8], parts: &[&[u8]]| DefaultSha1HmacProvider.sha1_hmac(key, parts);
            reply.is_successful_binding_response() && reply.verify(pwd.as_bytes(), hmac)
        })
    }

    /// A packet of sound from an address, and where its echo went.
    fn says(&mut self, from: &str, seq: u16) -> Option<String> {
        self.bed.pass(FRAME);
        self.bed.take_sent();
        let mut packet = vec![0; 172];
        RtpHeader::new(0, seq, u32::from(seq) * 160, 7)
            .write(&mut packet)
            .unwrap();
        self.bed.arrive(RTP, addr(from), &packet);
        let sent = self.bed.take_sent();
        sent.first().map(|sent| sent.path.remote.to_string())
    }

    fn closed(&mut self) -> LegStats {
        self.bed.command(Command::CloseLeg { leg: LegId(2) });
        let stats = self.bed.events.iter().rev().find_map(|event| match event {
            Event::LegClosed { stats, .. } => Some(stats.clone()),
            _ => None,
        });
        stats.unwrap()
    }
}

#[test]
fn a_phones_checks_are_answered_on_both_ports_and_the_address_it_nominates_is_used() {
    let mut phone = Phone::new();
    phone.describes("10.0.0.5:4000", Some(theirs()));
    assert!(phone.checks(RTP, SEEN, true));
    assert!(phone.checks(RTCP, "203.0.113.77:61001", true));
    assert_eq!(phone.says(SEEN, 1).as_deref(), Some(SEEN));
    // Nobody is heard whose address was not checked, whatever the description says of it.
    assert_eq!(phone.says("10.0.0.5:4000", 2), None);
    assert_eq!(phone.says("192.0.2.20:4000", 3), None);
    // It moves when it nominates another.
    assert!(phone.checks(RTP, "203.0.113.78:5000", false));
    assert_eq!(phone.says(SEEN, 4).as_deref(), Some(SEEN));
    phone.bed.pass(Duration::from_secs(2));
    assert!(phone.checks(RTP, "203.0.113.78:5000", true));
    assert_eq!(
        phone.says("203.0.113.78:5000", 5).as_deref(),
        Some("203.0.113.78:5000")
    );
    assert_eq!(phone.closed().strangers, 2);
}

#[test]
fn checks_that_come_before_the_description_are_answered_and_count() {
    let mut phone = Phone::new();
    assert!(phone.checks(RTP, SEEN, true));
    phone.describes("10.0.0.5:4000", Some(theirs()));
    assert_eq!(phone.says(SEEN, 1).as_deref(), Some(SEEN));
}

#[test]
fn checks_with_a_wrong_password_or_name_are_not_answered_and_move_nothing() {
    let mut phone = Phone::new();
    phone.describes(PHONE, Some(theirs()));
    let good = phone.ours.pwd.clone();
    for (name, pwd) in [
        ("phne", "a-wrong-password-of-some-length"),
        ("othr", good.as_str()),
    ] {
        let check = phone.check(name, pwd, true, true);
        phone.bed.arrive(RTP, addr("198.51.100.66:9"), &check);
        assert_eq!(phone.bed.take_sent(), []);
    }
    // Until there is a check that is good, it is heard from where its description says.
    assert_eq!(phone.says(PHONE, 1).as_deref(), Some(PHONE));
    assert_eq!(phone.says("198.51.100.66:9", 2), None);
    assert_eq!(phone.closed().unauthentic, 2);
}

#[test]
fn a_phone_that_thinks_itself_controlled_is_told_of_the_conflict() {
    let mut phone = Phone::new();
    phone.describes(PHONE, Some(theirs()));
    let check = phone.check("phne", &phone.ours.pwd, false, false);
    phone.bed.arrive(RTP, addr(PHONE), &check);
    let sent = phone.bed.take_sent();
    assert_eq!(sent.len(), 1);
    assert!(
        !StunMessage::parse(&sent[0].packet)
            .unwrap()
            .is_successful_binding_response()
    );
}

#[test]
fn a_peer_without_ice_is_latched_as_ever_and_its_checks_are_a_strangers() {
    let mut phone = Phone::new();
    phone.describes(PHONE, None);
    assert_eq!(phone.says(PHONE, 1).as_deref(), Some(PHONE));
    assert_eq!(phone.says(SEEN, 2), None);
    let mut bed = Bed::new();
    let LocalTransport::Rtp { ice, .. } = bed.create(2, ice_leg(false)) else {
        panic!()
    };
    assert_eq!(ice, None);
    let check = phone.check("phne", "some-password-that-nobody-knows", true, true);
    bed.arrive(RTP, addr(PHONE), &check);
    assert_eq!(bed.take_sent(), []);
}

#[test]
fn new_credentials_of_the_peers_forget_where_it_was() {
    let mut phone = Phone::new();
    phone.describes(PHONE, Some(theirs()));
    assert!(phone.checks(RTP, SEEN, true));
    phone.describes(PHONE, Some(theirs()));
    assert_eq!(
        phone.says(SEEN, 1).as_deref(),
        Some(SEEN),
        "the same again changes nothing"
    );
    let other = IceCredentials {
        ufrag: "next".into(),
        ..theirs()
    };
    phone.describes(PHONE, Some(other));
    assert_eq!(phone.says(SEEN, 2), None);
    assert_eq!(phone.says(PHONE, 3).as_deref(), Some(PHONE));
}

#[test]
fn where_a_phone_was_nominated_survives_a_snapshot() {
    let mut phone = Phone::new();
    phone.describes("10.0.0.5:4000", Some(theirs()));
    assert!(phone.checks(RTP, SEEN, true));
    let snapshot = phone.bed.legs.snapshot(LegId(2)).unwrap();
    let mut bytes = Vec::new();
    ciborium::into_writer(&snapshot, &mut bytes).unwrap();
    let snapshot = ciborium::from_reader(bytes.as_slice()).unwrap();
    let pair = media_engine::PortPair {
        rtp: RTP,
        rtcp: RTCP,
        bound: addr("203.0.113.2:20000"),
        announced: addr("203.0.113.2:20000"),
    };
    let mut bed = Bed::new();
    bed.create_echo(3);
    bed.legs.restore(snapshot, vec![pair], bed.now).unwrap();
    phone.bed = bed;
    assert_eq!(phone.says(SEEN, 9).as_deref(), Some(SEEN));
    assert_eq!(phone.says("10.0.0.5:4000", 10), None);
}
