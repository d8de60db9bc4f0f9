use super::*;

const FRAME: Duration = Duration::from_millis(20);

/// What a listener hears: numbers of packets, `L` for made up, `-` for nothing, `s` before a skipped one.
struct Bench {
    buffer: JitterBuffer,
    start: Instant,
    heard: Vec<String>,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            buffer: JitterBuffer::new(8000),
            start: Instant::now(),
            heard: Vec::new(),
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn push(&mut self, number: u16, ms: u64) {
        let now = self.at(ms);
        self.buffer
            .push(number, u32::from(number) * 160, &number.to_be_bytes(), now);
    }

    fn pop(&mut self, ms: u64) {
        let now = self.at(ms);
        let heard = match self.buffer.pop(now) {
            Pop::Frame { payload, skip } => {
                let number = u16::from_be_bytes([payload[0], payload[1]]);
                format!("{}{number}", if skip { "s" } else { "" })
            }
            Pop::Noise(_) => "n".into(),
            Pop::Lost { .. } => "L".into(),
            Pop::Nothing => "-".into(),
        };
        self.heard.push(heard);
    }

    /// Runs packets that arrive at these milliseconds against a pop every 20 ms.
    fn run(&mut self, mut arrivals: Vec<(u64, u16)>, until_ms: u64) -> String {
        arrivals.sort();
        let mut next = 0;
        for tick in 0..until_ms / 20 {
            let now = tick * 20 + 5;
            while next < arrivals.len() && arrivals[next].0 <= now {
                self.push(arrivals[next].1, arrivals[next].0);
                next += 1;
            }
            self.pop(now);
        }
        self.heard.join(" ")
    }
}

fn steady(range: std::ops::Range<u16>) -> Vec<(u64, u16)> {
    range.map(|n| (u64::from(n) * 20, n)).collect()
}

#[test]
fn a_steady_stream_is_played_in_order_after_the_first_delay() {
    let mut bench = Bench::new();
    assert_eq!(bench.run(steady(0..6), 120), "- - 0 1 2 3");
}

#[test]
fn reordered_and_doubled_packets_are_put_right() {
    let mut bench = Bench::new();
    let arrivals = vec![
        (0, 0),
        (20, 2),
        (22, 1),
        (24, 1),
        (60, 3),
        (80, 5),
        (81, 4),
        (82, 5),
    ];
    assert_eq!(bench.run(arrivals, 160), "- - 0 1 2 3 4 5");
    assert_eq!(bench.buffer.counters.late, 2);
}

#[test]
fn a_lost_packet_is_made_up_once() {
    let mut bench = Bench::new();
    let arrivals = steady(0..8).into_iter().filter(|(_, n)| *n != 3).collect();
    assert_eq!(bench.run(arrivals, 200), "- - 0 1 2 L 4 5 6 7");
    assert_eq!(bench.buffer.counters.lost, 1);
}

#[test]
fn packets_that_come_later_are_waited_for_and_nothing_of_them_is_lost() {
    let mut bench = Bench::new();
    let arrivals = (0..10u16)
        .map(|n| (u64::from(n) * 20 + if n >= 4 { 60 } else { 0 }, n))
        .collect();
    assert_eq!(bench.run(arrivals, 280), "- - 0 1 2 3 L 4 5 6 7 8 9 L");
}

#[test]
fn delay_that_is_not_needed_is_let_go() {
    let mut bench = Bench::new();
    let arrivals = (0..600u16)
        .map(|n| (u64::from(n) * 20 + if n == 4 { 130 } else { 0 }, n))
        .collect();
    let heard = bench.run(arrivals, 12_000);
    assert!(bench.buffer.counters.skipped >= 1, "{heard}");
    assert!(
        bench.buffer.waiting_ms() <= 60,
        "{}",
        bench.buffer.waiting_ms()
    );
}

#[test]
fn a_pause_is_silence_and_the_stream_goes_on_after_it() {
    let mut bench = Bench::new();
    // The sender said nothing for a second: the sequence goes on, and so does the clock.
    let mut buffer_at = |seq: u16, timestamp: u32, ms: u64| {
        let now = bench.at(ms);
        bench.buffer.push(seq, timestamp, &seq.to_be_bytes(), now);
    };
    buffer_at(0, 0, 0);
    buffer_at(1, 160, 20);
    for tick in 0..60 {
        if tick == 50 {
            let now = bench.at(1000);
            bench.buffer.push(2, 8000, &[0, 2], now);
            bench.buffer.push(3, 8160, &[0, 3], now);
        }
        bench.pop(tick * 20 + 5);
    }
    let heard = bench.heard.join(" ");
    assert!(heard.starts_with("- - 0 1 L L L - -"), "{heard}");
    assert!(heard.contains("- - - 2 3 L L L - -"), "{heard}");
}

#[test]
fn a_stream_that_begins_anew_is_followed() {
    for jump in [
        900_000u32,
        40_000_000,
        5000u32.wrapping_neg(),
        900_000u32.wrapping_neg(),
    ] {
        let mut bench = Bench::new();
        let mut heard = 0;
        for n in 0..100u16 {
            let moved = n >= 50;
            let (seq, timestamp) = if moved {
                (
                    n.wrapping_add(20_000),
                    (u32::from(n) * 160).wrapping_add(jump),
                )
            } else {
                (n, u32::from(n) * 160)
            };
            let now = bench.at(u64::from(n) * 20);
            bench.buffer.push(seq, timestamp, &n.to_be_bytes(), now);
            if let Pop::Frame { payload, .. } = bench.buffer.pop(now) {
                heard += usize::from(u16::from_be_bytes([payload[0], payload[1]]) >= 50);
            }
        }
        assert!(heard > 38, "{jump}: {heard}");
    }
}

#[test]
fn a_clock_that_drifts_is_followed_without_growing_delay() {
    // The sender's 20 ms last 19.96 or 20.04 of ours: one frame in ten seconds.
    for micros in [19_960u64, 20_040] {
        let mut buffer = JitterBuffer::new(8000);
        let start = Instant::now();
        let (mut sent, mut most, mut made_up) = (0u64, 0, 0);
        for tick in 0..9000u64 {
            let now = start + FRAME * u32::try_from(tick).unwrap();
            while sent * micros <= tick * 20_000 {
                let seq = u16::try_from(sent & 0xffff).unwrap();
                let timestamp = u32::try_from(sent * 160).unwrap();
                buffer.push(
                    seq,
                    timestamp,
                    &[1],
                    start + Duration::from_micros(sent * micros),
                );
                sent += 1;
            }
            loop {
                match buffer.pop(now) {
                    Pop::Frame { skip: true, .. } => continue,
                    Pop::Lost { .. } => made_up += 1,
                    _ => {}
                }
                break;
            }
            most = most.max(buffer.waiting_ms());
        }
        assert!(most <= 100, "{micros}: {most} ms");
        assert!(made_up < 40, "{micros}: {made_up}");
    }
}

#[test]
fn a_flood_stays_within_the_bound() {
    let mut buffer = JitterBuffer::new(8000);
    let now = Instant::now();
    for n in 0..5000u16 {
        buffer.push(n, u32::from(n), &[0; 1500], now);
        buffer.push(
            n.wrapping_mul(7919),
            u32::from(n).wrapping_mul(2_654_435_761),
            &[1; 1501],
            now,
        );
        buffer.push(
            n.wrapping_mul(7919),
            u32::from(n).wrapping_mul(2_654_435_761),
            &[1],
            now,
        );
    }
    assert_eq!(buffer.slots.len(), MAX_PACKETS);
    for n in 0..1000 {
        let _ = buffer.pop(now + FRAME * n);
        buffer.played(n);
    }
}

#[test]
fn no_order_of_numbers_and_times_does_harm() {
    for seed in 0..200u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut buffer = JitterBuffer::new([8000, 48_000][usize::try_from(seed % 2).unwrap()]);
        let mut now = Instant::now();
        let (mut seq, mut timestamp) = (0u16, 0u32);
        for _ in 0..500 {
            now += Duration::from_millis(random(40));
            let jump = random(20);
            seq = seq
                .wrapping_add(u16::try_from(if jump == 0 { random(65_536) } else { 1 }).unwrap());
            let step = if jump < 2 { random(1 << 32) } else { 160 };
            timestamp = timestamp.wrapping_add(u32::try_from(step).unwrap());
            buffer.push(seq, timestamp, &[1], now);
            for _ in 0..random(3) {
                if let Pop::Frame { .. } = buffer.pop(now) {
                    buffer.played(u32::try_from(random(5761)).unwrap());
                }
            }
            let _ = buffer.waiting_ms();
        }
    }
}
