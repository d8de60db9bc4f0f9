//! Counts heap allocations: once a call is set up, its packets cost none.

mod bed;

use bed::browser::{Browser, audio, format};
use bed::{BROWSERS, Bed, addr};
use media_control::{
    Codec, Command, Direction, DtlsRole, Event, Face, KeyFrameRequests, LegId, LegSpec, MediaKind,
    Remote, RemoteMedia, RemoteTransport, VideoAddresses,
};
use media_engine::{Buf, Datagram, Input, Output, Path, SocketId};
use media_packet::rtp::RtpHeader;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // Gone at the thread's end, when nobody counts any more.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is handed on to the system's allocator as it is; counting touches no heap, since the
// cell is const-initialised and needs no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are the ones that this needs.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BROWSER: &str = "198.51.100.7:50000";
const PHONE: &str = "192.0.2.20:4000";
const PHONE_VIDEO: &str = "192.0.2.20:4010";
const RTP: SocketId = SocketId(1);
const VIDEO: SocketId = SocketId(3);
const WARM: u16 = 1000;
const COUNTED: u16 = 2000;

/// One call's packets of one moment, both ways, in one batch; what left, reports included.
fn moment(bed: &mut Bed, batch: &mut [Datagram], packets: &[(SocketId, &str, Vec<u8>)]) -> usize {
    for (slot, (socket, remote, packet)) in batch.iter_mut().zip(packets) {
        slot.buf.fill(packet);
        slot.received(
            Path {
                socket: *socket,
                local: None,
                remote: addr(remote),
            },
            packet.len(),
        );
    }
    bed.now += Duration::from_millis(20);
    bed.legs.handle_timeout(bed.now);
    bed.legs.handle(Input::Datagrams(batch), bed.now);
    while let Some(output) = bed.legs.poll_output() {
        if let Output::Transmit { buf, .. } = output {
            bed.legs.recycle(buf);
        }
    }
    batch.iter().filter(|slot| slot.is_ready()).count()
}

fn video() -> Option<RemoteMedia> {
    Some(RemoteMedia {
        kind: MediaKind::Video,
        direction: Direction::SendRecv,
        formats: vec![format(Codec::Vp8, 96, 90_000)],
        ptime_ms: 20,
        mid: None,
        key_frame: KeyFrameRequests {
            pli: true,
            fir: false,
        },
        inband_dtmf: false,
    })
}

fn relay_without_heap(v13: bool, pictures: bool) {
    let mut bed = Bed::new();
    let mut browser = Browser::new(DtlsRole::Passive, v13, bed.now);
    let local = bed.create_browser(1);
    browser.set_remote(&local);
    bed.create(
        2,
        LegSpec::Rtp {
            face: Face::Inside,
            sdes: false,
            video: pictures,
            ice: false,
        },
    );
    let formats = vec![format(Codec::Pcmu, 0, 8000)];
    let mut media = audio(formats.clone());
    if pictures {
        media.extend(video());
    }
    let mut remote = browser.description(formats);
    remote.media = media.clone();
    bed.command(Command::ConnectLeg {
        leg: LegId(1),
        remote,
    });
    bed.connect_browser(&mut browser, addr(BROWSER));
    let remote = Remote {
        transport: RemoteTransport::Rtp {
            rtp: Some(addr(PHONE)),
            rtcp: None,
            signalling: "192.0.2.20".parse().unwrap(),
            sdes: None,
            video: pictures.then(|| {
                Box::new(VideoAddresses {
                    rtp: Some(addr(PHONE_VIDEO)),
                    rtcp: None,
                })
            }),
            ice: None,
        },
        media,
    };
    bed.command(Command::ConnectLeg {
        leg: LegId(2),
        remote,
    });
    bed.join(1, 2);

    let mut batch: Vec<Datagram> = (0..4).map(|_| Datagram::new(Buf::new())).collect();
    let mut allocations = 0;
    let mut left = 0;
    for n in 0..WARM + COUNTED {
        let header = RtpHeader::new(0, n, u32::from(n) * 160, 9);
        let mut plain = vec![0x55; 172];
        header.write(&mut plain).unwrap();
        let sealed = browser.rtp(
            &RtpHeader {
                ssrc: 0xb0b,
                ..header
            },
            &[7; 160],
        );
        let mut packets = vec![(RTP, PHONE, plain), (BROWSERS, BROWSER, sealed)];
        if pictures {
            let header = RtpHeader::new(96, n, u32::from(n) * 1800, 10);
            let mut plain = vec![0x10; 1012];
            header.write(&mut plain).unwrap();
            let sealed = browser.rtp(
                &RtpHeader {
                    ssrc: 0xc0c,
                    ..header
                },
                &[0x10; 1000],
            );
            packets.push((VIDEO, PHONE_VIDEO, plain));
            packets.push((BROWSERS, BROWSER, sealed));
        }
        // A check now and then, for consent; its answer may allocate and is not counted.
        if n % 250 == 0 {
            let check = browser.check(true);
            bed.arrive(BROWSERS, addr(BROWSER), &check);
            bed.take_sent();
        }
        let before = COUNT.get();
        let ready = moment(&mut bed, &mut batch, &packets);
        if n >= WARM {
            allocations += COUNT.get() - before;
            left += ready;
        }
    }
    let profile = browser.keys.as_ref().unwrap().0;
    let each = if pictures { 4 } else { 2 };
    assert_eq!(left, usize::from(COUNTED) * each, "{profile:?}");
    assert_eq!(allocations, 0, "{profile:?}");
    bed.command(Command::CloseLeg { leg: LegId(2) });
    let Some(Event::LegClosed { stats, .. }) = bed.events.last() else {
        panic!()
    };
    assert_eq!(stats.sent, u64::from(WARM + COUNTED) * each as u64 / 2);
}

#[test]
fn a_relayed_packet_costs_no_allocation() {
    relay_without_heap(false, false);
    relay_without_heap(true, false);
}

#[test]
fn a_relayed_picture_costs_no_allocation_either() {
    relay_without_heap(true, true);
}
