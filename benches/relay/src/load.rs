//! N calls, their packets, and what became of them.

use crate::client::{self, Identity, Keys};
use crate::process::{cpu, memory, pin};
use crate::target::{BrowserSide, Placed, Target};
use media_packet::demux::{Class, classify};
use media_packet::rtp::RtpHeader;
use media_packet::srtp::MAX_TRAILER;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const PAYLOAD: usize = 160;
const PLAIN: usize = 12 + PAYLOAD;
const PERIOD: Duration = Duration::from_millis(20);
/// Packets are counted after this, when sockets and caches are as they will be.
const WARM_UP: Duration = Duration::from_secs(1);
/// The load sleeps so long when nothing is due and nothing came.
const REST: Duration = Duration::from_micros(50);
/// A browser checks its consent so often (RFC 7675 §5.1).
const CONSENT: Duration = Duration::from_secs(4);

struct Call {
    browser: UdpSocket,
    phone: UdpSocket,
    placed: Placed,
    ufrag: String,
    pwd: String,
    /// `None`: plain RTP on this side too.
    keys: Option<Keys>,
    seq: u16,
    next_check: Instant,
}

/// What one round came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub name: String,
    pub profile: String,
    pub calls: usize,
    pub relayed: u64,
    pub lost: u64,
    pub user_us: f64,
    pub system_us: f64,
    pub busy: f64,
    pub p50: Duration,
    pub p99: Duration,
    pub memory_kb: f64,
}

pub struct Plan {
    pub calls: usize,
    pub time: Duration,
    pub v13: bool,
    /// Where the target runs; the load runs on the other.
    pub core: usize,
}

pub fn run(target: &mut dyn Target, plan: &Plan) -> Result<Outcome, String> {
    pin(target.pid(), plan.core);
    let identity = Identity::new();
    // The first call pays for what all share.
    let mut calls = vec![place(target, 0, &identity, plan.v13)?];
    let before = memory(target.pid());
    for n in 1..plan.calls {
        calls.push(place(target, n, &identity, plan.v13)?);
    }
    // A worker made by the target since then is to stay on its core too.
    pin(target.pid(), plan.core);
    talk(target, plan, calls, before)
}

fn place(
    target: &mut dyn Target,
    n: usize,
    identity: &Identity,
    v13: bool,
) -> Result<Call, String> {
    let socket = || UdpSocket::bind("127.0.0.1:0").map_err(|e| e.to_string());
    let (browser, phone) = (socket()?, socket()?);
    let address = |s: &UdpSocket| s.local_addr().map_err(|e| e.to_string());
    let side = BrowserSide {
        address: address(&browser)?,
        ufrag: format!("u{n:06}"),
        pwd: format!("password-of-22-characters-{n:06}"),
        fingerprint: identity.fingerprint.clone(),
    };
    let placed = target.place(n, &side, address(&phone)?);
    browser.connect(placed.browser).map_err(|e| e.to_string())?;
    phone.connect(placed.phone).map_err(|e| e.to_string())?;
    let keys = match &placed.ice {
        Some(theirs) => Some(
            client::connect(&browser, identity, theirs, (&side.ufrag, &side.pwd), v13)
                .map_err(|e| format!("call {n}: {e}"))?,
        ),
        None => None,
    };
    let spread = CONSENT.mul_f64((n % 97) as f64 / 97.0);
    Ok(Call {
        browser,
        phone,
        placed,
        ufrag: side.ufrag,
        pwd: side.pwd,
        keys,
        seq: 1000,
        next_check: Instant::now() + spread,
    })
}

struct Counters {
    begun: Instant,
    counting: bool,
    sent: u64,
    received: u64,
    delays: Vec<u32>,
}

fn talk(
    target: &dyn Target,
    plan: &Plan,
    mut calls: Vec<Call>,
    memory_before: f64,
) -> Result<Outcome, String> {
    let mut poll = Poll::new().map_err(|e| e.to_string())?;
    for (n, call) in calls.iter().enumerate() {
        for (side, socket) in [(0, &call.browser), (1, &call.phone)] {
            socket.set_nonblocking(true).map_err(|e| e.to_string())?;
            poll.registry()
                .register(
                    &mut SourceFd(&socket.as_raw_fd()),
                    Token(2 * n + side),
                    Interest::READABLE,
                )
                .map_err(|e| e.to_string())?;
        }
    }
    let begun = Instant::now();
    let mut counters = Counters {
        begun,
        counting: false,
        sent: 0,
        received: 0,
        delays: Vec::with_capacity(4_000_000),
    };
    let mut events = Events::with_capacity(1024);
    // All packets of a period, one after the other and not all at once.
    let slots = u32::try_from(2 * calls.len()).map_err(|e| e.to_string())?;
    let step = PERIOD / slots;
    let mut next = begun;
    let mut slot = 0;
    let (mut cpu_before, mut counted_from) = (cpu(target.pid()), begun);
    let end = begun + WARM_UP + plan.time;
    loop {
        let now = Instant::now();
        if !counters.counting && now >= begun + WARM_UP {
            counters.counting = true;
            cpu_before = cpu(target.pid());
            counted_from = now;
        }
        if now >= end {
            break;
        }
        while next <= now {
            let call = &mut calls[slot / 2];
            if slot.is_multiple_of(2) {
                from_browser(call, &mut counters, now);
            } else {
                from_phone(call, &mut counters);
            }
            slot = (slot + 1) % (2 * calls.len());
            next += step;
        }
        poll.poll(&mut events, Some(Duration::ZERO))
            .map_err(|e| e.to_string())?;
        if events.is_empty() {
            // Short enough not to be seen in the delays, long enough to leave the core to others.
            std::thread::sleep(REST.min(next.saturating_duration_since(Instant::now())));
        }
        for event in &events {
            let Token(at) = event.token();
            if at % 2 == 0 {
                hear_browser(&mut calls[at / 2], &mut counters);
            } else {
                hear_phone(&mut calls[at / 2], &mut counters);
            }
        }
    }
    let used = cpu(target.pid());
    let elapsed = counted_from.elapsed();
    // What is still under way.
    let (sent, in_time) = (counters.sent, counters.received);
    std::thread::sleep(Duration::from_millis(100));
    for call in &mut calls {
        hear_browser(call, &mut counters);
        hear_phone(call, &mut counters);
    }
    let received = counters.received;
    let (user, system) = used.since(&cpu_before);
    counters.delays.sort_unstable();
    let percentile = |share: usize| {
        let at = (counters.delays.len() * share / 100).min(counters.delays.len().saturating_sub(1));
        Duration::from_nanos(u64::from(counters.delays.get(at).copied().unwrap_or(0)))
    };
    let relayed = in_time.max(1);
    Ok(Outcome {
        name: target.name(),
        profile: calls[0]
            .keys
            .as_ref()
            .map_or("none".to_owned(), |keys| format!("{:?}", keys.profile)),
        calls: calls.len(),
        relayed,
        lost: sent.saturating_sub(received),
        user_us: user / relayed as f64,
        system_us: system / relayed as f64,
        busy: (user + system) / elapsed.as_micros() as f64,
        p50: percentile(50),
        p99: percentile(99),
        memory_kb: (memory(target.pid()) - memory_before) / (calls.len() - 1).max(1) as f64,
    })
}

/// A packet that carries the moment of its sending.
fn packet(call: &Call, counters: &Counters, ssrc: u32) -> ([u8; PLAIN + MAX_TRAILER], RtpHeader) {
    let mut buf = [0x55; PLAIN + MAX_TRAILER];
    let header = RtpHeader::new(0, call.seq, u32::from(call.seq) * 160, ssrc);
    let _ = header.write(&mut buf);
    // Nanoseconds of a run of seconds; zero says that it is not counted.
    let sent = if counters.counting {
        counters.begun.elapsed().as_nanos() as u64
    } else {
        0
    };
    buf[12..20].copy_from_slice(&sent.to_be_bytes());
    (buf, header)
}

fn from_browser(call: &mut Call, counters: &mut Counters, now: Instant) {
    if let Some(theirs) = &call.placed.ice
        && now >= call.next_check
    {
        call.next_check = now + CONSENT;
        let _ = call.browser.send(&client::check(theirs, &call.ufrag));
    }
    call.seq = call.seq.wrapping_add(1);
    let (mut buf, header) = packet(call, counters, 0x1111);
    let len = match &mut call.keys {
        Some(keys) => keys
            .outbound
            .seal_rtp(&mut buf, PLAIN, &header)
            .expect("a new number each time"),
        None => PLAIN,
    };
    let sent = call.browser.send(&buf[..len]).is_ok();
    counters.sent += u64::from(counters.counting && sent);
}

fn from_phone(call: &mut Call, counters: &mut Counters) {
    let (buf, _) = packet(call, counters, 0x2222);
    let sent = call.phone.send(&buf[..PLAIN]).is_ok();
    counters.sent += u64::from(counters.counting && sent);
}

fn hear_browser(call: &mut Call, counters: &mut Counters) {
    let mut buf = [0; 2048];
    while let Ok(len) = call.browser.recv(&mut buf) {
        let packet = &mut buf[..len];
        match classify(packet) {
            Class::Rtp => {
                let Ok(header) = RtpHeader::parse(packet) else {
                    continue;
                };
                let open = match &mut call.keys {
                    Some(keys) => keys.inbound.open_rtp(packet, &header).ok(),
                    None => Some(len),
                };
                if let Some(open) = open {
                    note(&packet[..open], header.header_len, counters);
                }
            }
            Class::Stun => {
                if let Some(reply) = client::answer(packet, &call.browser, &call.pwd) {
                    let _ = call.browser.send(&reply);
                }
            }
            _ => {}
        }
    }
}

fn hear_phone(call: &mut Call, counters: &mut Counters) {
    let mut buf = [0; 2048];
    while let Ok(len) = call.phone.recv(&mut buf) {
        if let (Class::Rtp, Ok(header)) = (classify(&buf[..len]), RtpHeader::parse(&buf[..len])) {
            note(&buf[..len], header.header_len, counters);
        }
    }
}

fn note(packet: &[u8], at: usize, counters: &mut Counters) {
    let Some(sent) = packet.get(at..at + 8).and_then(|b| b.first_chunk::<8>()) else {
        return;
    };
    let sent = u64::from_be_bytes(*sent);
    if sent == 0 {
        return;
    }
    counters.received += 1;
    let delay = (counters.begun.elapsed().as_nanos() as u64).saturating_sub(sent);
    counters
        .delays
        .push(u32::try_from(delay).unwrap_or(u32::MAX));
}
