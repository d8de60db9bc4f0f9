//! How packets are marked as they leave, seen by who receives them.

#[path = "../../engine/tests/bed/browser.rs"]
#[allow(dead_code)]
mod browser;

use browser::{Browser, audio, certificate, format};
use media_control::{
    Codec, Command, DtlsRole, Event, Face, GroupId, LegId, LegSpec, LocalTransport, Remote,
    RemoteTransport, Source,
};
use media_packet::rtp::RtpHeader;
use media_relay::{FaceAddress, Node, NodeConfig, PeerAddress};
use socket2::SockRef;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// A socket that is told the octet of each packet.
fn listener(ip: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::new(ip, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    match ip {
        IpAddr::V4(_) => SockRef::from(&socket).set_recv_tos_v4(true).unwrap(),
        IpAddr::V6(_) => SockRef::from(&socket).set_recv_tclass_v6(true).unwrap(),
    }
    socket
}

/// The traffic class octet of the next packet.
fn octet(socket: &UdpSocket) -> u8 {
    let mut packet = [0; 2048];
    let mut slices = [IoSliceMut::new(&mut packet)];
    // A byte of value 0xee is nothing that the system writes.
    let mut control = [MaybeUninit::new(0xee_u8); 64];
    let slices: &mut [socket2::MaybeUninitSlice<'_>] = {
        let slice = &mut slices[0];
        // SAFETY: initialised bytes are valid as bytes that may be uninitialised, and nothing uninitialised is
        // written to them: the system call writes what it received.
        let uninit = unsafe {
            std::slice::from_raw_parts_mut(slice.as_mut_ptr().cast::<MaybeUninit<u8>>(), 2048)
        };
        &mut [socket2::MaybeUninitSlice::new(uninit)]
    };
    let mut message = socket2::MsgHdrMut::new()
        .with_buffers(slices)
        .with_control(&mut control);
    SockRef::from(socket).recvmsg(&mut message, 0).unwrap();
    let len = message.control_len();
    // SAFETY: all of them were initialised above.
    let control: Vec<u8> = control.iter().map(|b| unsafe { b.assume_init() }).collect();
    // A cmsghdr is a length of 8 bytes, a level and a type of 4 each; the value follows, in one byte (IP_TOS) or
    // four (IPV6_TCLASS) of the machine's order.
    assert!(len >= 17, "no octet came with the packet");
    control[16]
}

struct Bed {
    node: Node,
    events: Receiver<Event>,
}

impl Bed {
    fn new(ip: IpAddr, dscp: u8) -> Bed {
        let (certificate, key) = certificate();
        let config = NodeConfig {
            outside: vec![FaceAddress {
                bind: SocketAddr::new(ip, 0),
                announce: None,
            }],
            inside: vec![PeerAddress {
                bind: ip,
                announce: None,
            }],
            rtp_ports: 0..=0,
            workers: 1,
            dscp,
            certificate,
            key,
        };
        let (sender, events) = channel();
        let node = Node::new(config, move |event| {
            let _ = sender.send(event);
        })
        .unwrap();
        Bed { node, events }
    }

    fn create(&self, leg: u64, spec: LegSpec) -> LocalTransport {
        let (leg, group) = (LegId(leg), GroupId(1));
        self.node.handle(Command::CreateLeg { leg, group, spec });
        loop {
            match self.events.recv_timeout(PATIENCE).unwrap() {
                Event::LegCreated { leg: id, local } if id == leg => return local,
                _ => {}
            }
        }
    }
}

#[test]
fn media_packets_carry_the_operators_dscp_to_phones_and_browsers_on_both_ips() {
    for (ip, dscp, wanted) in [
        ("127.0.0.1", 46, 0xb8),
        ("127.0.0.1", 0, 0),
        ("::1", 46, 0xb8),
        ("::1", 34, 0x88),
    ] {
        let ip: IpAddr = ip.parse().unwrap();
        let bed = Bed::new(ip, dscp);
        let phone_end = bed.create(
            2,
            LegSpec::Rtp {
                face: Face::Inside,
                sdes: false,
                video: false,
                ice: false,
            },
        );
        bed.create(3, LegSpec::Source(Source::Echo));
        let LocalTransport::Rtp { rtp, .. } = phone_end else {
            panic!()
        };
        let phone = listener(ip);
        bed.node.handle(Command::ConnectLeg {
            leg: LegId(2),
            remote: Remote {
                transport: RemoteTransport::Rtp {
                    rtp: Some(phone.local_addr().unwrap()),
                    rtcp: None,
                    signalling: ip,
                    sdes: None,
                    video: None,
                    ice: None,
                },
                media: audio(vec![format(Codec::Pcmu, 0, 8000)]),
            },
        });
        bed.node.handle(Command::Join {
            a: LegId(2),
            b: LegId(3),
        });
        while bed.events.recv_timeout(PATIENCE).unwrap() != (Event::LegConnected { leg: LegId(2) })
        {
        }
        let mut packet = vec![0; 172];
        RtpHeader::new(0, 1, 160, 7).write(&mut packet).unwrap();
        phone.send_to(&packet, rtp[0]).unwrap();
        assert_eq!(octet(&phone), wanted, "{ip} to a phone");

        let browser_end = bed.create(
            1,
            LegSpec::WebRtc {
                face: Face::Outside,
            },
        );
        let LocalTransport::WebRtc { candidates, .. } = &browser_end else {
            panic!()
        };
        let mut browser = Browser::new(DtlsRole::Passive, true, Instant::now());
        browser.set_remote(&browser_end);
        let page = listener(ip);
        let check = browser.check(true);
        page.send_to(&check, candidates[0].address).unwrap();
        assert_eq!(octet(&page), wanted, "{ip} to a browser");
        bed.node.shutdown();
    }
}
