//! Sound that goes on through whatever happens in a call, in virtual time: each end sees one stream whose numbers have
//! no hole and no jump, every SRTP packet opens, and the tone is there again within 300 ms.

mod bed;

use bed::browser::{audio, format};
use bed::call::{
    Call, Ear, FRAME, Mouth, PHONE, RATE, RTP, SAMPLES, Talker, codec_of, event, opus, pcma, pcmu,
    phone_at, rtp_leg,
};
use media_codec::level::split;
use media_control::{Codec, Command, Direction, Format, LegId, Remote, RemoteTransport};
use media_engine::SocketId;
use media_packet::rtp::RtpHeader;
use std::time::{Duration, Instant};

const BROWSER_HZ: f32 = 440.0;
const PHONE_HZ: f32 = 700.0;
const ELSEWHERE: &str = "192.0.2.77:7000";
/// Sound is back after this.
const BACK: Duration = Duration::from_millis(300);

/// How an end spends the next packet time.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Talk,
    /// Silence in an encoder that has DTX.
    Dtx,
    /// A comfort noise packet at the beginning of a silence.
    Noise,
    /// Says nothing, and its clock goes on, or stands still.
    Nothing,
    Stands,
}

struct Run {
    call: Call,
    browser: Talker,
    phone: Talker,
    /// Where the phone speaks from, and to.
    from: &'static str,
    socket: SocketId,
    browser_ear: Ear,
    phone_ear: Ear,
    ticks: u32,
}

impl Run {
    fn new(browser: Vec<Format>, phone: Vec<Format>) -> Run {
        let call = Call::new(browser.clone(), phone.clone(), false);
        Run {
            call,
            browser: Talker::new(browser[0].clone(), BROWSER_HZ, 0xb0b),
            phone: Talker::new(phone[0].clone(), PHONE_HZ, 0xf0e),
            from: PHONE,
            socket: RTP,
            browser_ear: Ear::default(),
            phone_ear: Ear::default(),
            ticks: 0,
        }
    }

    fn relayed() -> Run {
        let formats = || vec![pcmu(), event(101, 8000)];
        Run::new(formats(), formats())
    }

    fn relayed_opus() -> Run {
        let formats = || vec![opus(), event(110, 48_000)];
        Run::new(formats(), formats())
    }

    fn transcoded() -> Run {
        Run::new(
            vec![opus(), event(110, 48_000)],
            vec![pcmu(), event(101, 8000)],
        )
    }

    fn tick(&mut self, browser: Does, phone: Does) {
        self.ticks += 1;
        if self.ticks.is_multiple_of(250) {
            self.call.check();
        }
        if let Some((header, payload)) = say(&mut self.browser, browser) {
            self.call.browser_says(header, &payload);
        }
        if let Some((header, payload)) = say(&mut self.phone, phone) {
            self.call
                .phone_says_at(self.socket, self.from, header, &payload);
        }
        self.call.pass();
        let now = self.call.bed.now;
        for (header, payload) in std::mem::take(&mut self.call.to_browser) {
            let codec = codec_of(&self.call.browser_formats, header.pt);
            self.browser_ear.hear(&codec, header, &payload, now);
        }
        for (header, payload) in std::mem::take(&mut self.call.to_phone) {
            let codec = codec_of(&self.call.phone_formats, header.pt);
            self.phone_ear.hear(&codec, header, &payload, now);
        }
    }

    fn both(&mut self, ms: u32) {
        self.run(ms, Does::Talk, Does::Talk);
    }

    fn run(&mut self, ms: u32, browser: Does, phone: Does) {
        for _ in 0..ms / 20 {
            self.tick(browser, phone);
        }
    }

    fn connect(&mut self, leg: u64, remote: Remote) {
        self.call.bed.command(Command::ConnectLeg {
            leg: LegId(leg),
            remote,
        });
    }

    fn change_codec(&mut self, formats: Vec<Format>) {
        self.connect(2, phone_at(self.from, audio(formats.clone())));
        self.phone.change(formats[0].clone());
        // What was on its way in the old codec is still the phone's to read.
        for format in formats {
            if !self.call.phone_formats.contains(&format) {
                self.call.phone_formats.push(format);
            }
        }
    }

    fn hold(&mut self, direction: Direction) {
        let mut media = audio(self.call.phone_formats.clone());
        media[0].direction = direction;
        self.connect(2, phone_at(self.from, media));
    }

    fn now(&self) -> Instant {
        self.call.bed.now
    }
}

fn say(talker: &mut Talker, does: Does) -> Option<(RtpHeader, Vec<u8>)> {
    match does {
        Does::Talk => Some(talker.sing()),
        Does::Dtx => {
            let payload = talker.mouth.say(&[0; SAMPLES]);
            if payload.len() > 2 {
                return Some((talker.header(), payload));
            }
            talker.timestamp = talker.timestamp.wrapping_add(talker.step());
            None
        }
        Does::Noise => {
            let mut header = talker.header();
            header.pt = 13;
            Some((header, vec![60]))
        }
        Does::Nothing => {
            talker.timestamp = talker.timestamp.wrapping_add(talker.step());
            None
        }
        Does::Stands => None,
    }
}

/// One stream without a hole, its time that of the wall, from the first packet to the last.
fn check_numbers(ear: &Ear, formats: &[Format]) -> Result<(), String> {
    let clock = |pt: u8| {
        let codec = codec_of(formats, pt);
        if codec == Codec::Opus { 48_000 } else { 8000 }
    };
    let mut ahead_ms = 0i64;
    for pair in ear.headers.windows(2) {
        let ((before_at, before), (at, after)) = (pair[0], pair[1]);
        if before.ssrc != after.ssrc {
            return Err("another SSRC".to_owned());
        }
        if after.seq != before.seq.wrapping_add(1) {
            return Err(format!("sequence {} after {}", after.seq, before.seq));
        }
        let step = i64::from(after.timestamp.wrapping_sub(before.timestamp).cast_signed());
        let step_ms = step * 1000 / clock(after.pt);
        let wall_ms = i64::try_from((at - before_at).as_millis()).unwrap();
        if step <= 0 {
            return Err(format!("the timestamp goes back by {step}"));
        }
        ahead_ms += step_ms - wall_ms;
        if ahead_ms.abs() > 100 {
            return Err(format!("timestamps are {ahead_ms} ms off the wall's clock"));
        }
    }
    Ok(())
}

/// The tone is there from one moment to another, in every 20 ms of it.
fn check_tone(ear: &Ear, hz: f32, from: Instant, to: Instant) -> Result<(), String> {
    let since = ear.since.ok_or("nothing was heard")?;
    let at = |moment: Instant| {
        usize::try_from(moment.saturating_duration_since(since).as_millis()).unwrap_or(0) * 8
    };
    // What was sent last is heard a jitter buffer later.
    let end = at(to).saturating_sub(8 * 40).min(ear.sound.len());
    let part = ear
        .sound
        .get(at(from)..end)
        .ok_or("nothing was heard then")?;
    if part.len() + 8 * 100 < at(to) - at(from) {
        return Err(format!(
            "{} ms of sound are missing",
            (at(to) - at(from) - part.len()) / 8
        ));
    }
    for (n, chunk) in part.chunks_exact(SAMPLES).enumerate() {
        let (tone, rest) = split(chunk, RATE, f64::from(hz));
        // -16 dBm0 are 6.5 million, of which Opus leaves a half and less; 8 dB below is a gap, and so is as much of
        // anything else.
        if tone < 1.0e6 || rest > tone {
            return Err(format!(
                "no tone at {} ms: {tone:.0} beside {rest:.0}",
                n * 20
            ));
        }
    }
    Ok(())
}

/// Two seconds of talk, then something happens that takes as long as it takes, then two seconds of talk again.
fn cell(mut run: Run, road: &str, happens: impl FnOnce(&mut Run)) -> Result<(), String> {
    run.both(2000);
    let start = run.now() - Duration::from_millis(1500);
    let changed = run.now();
    happens(&mut run);
    let back = run.now().max(changed) + BACK;
    run.both(2000);
    let end = run.now();
    for (whose, ear, hz, formats) in [
        (
            "browser",
            &run.browser_ear,
            PHONE_HZ,
            &run.call.browser_formats,
        ),
        ("phone", &run.phone_ear, BROWSER_HZ, &run.call.phone_formats),
    ] {
        let fault = |fault| format!("{whose}: {fault}");
        check_numbers(ear, formats).map_err(fault)?;
        check_tone(ear, hz, start, changed).map_err(fault)?;
        check_tone(ear, hz, back, end).map_err(fault)?;
    }
    run.call.bed.command(Command::CloseLeg { leg: LegId(1) });
    let closed = run.call.bed.events.iter().find_map(|event| match event {
        media_control::Event::LegClosed { stats, .. } => Some(stats.clone()),
        _ => None,
    });
    let stats = closed.ok_or("no record")?;
    if stats.road != road {
        return Err(format!("the road was {}", stats.road));
    }
    if run.call.bed.has_failed() {
        return Err("a leg failed".to_owned());
    }
    Ok(())
}

type Happening = (&'static str, fn(&mut Run));

#[test]
fn each_end_hears_one_stream_through_everything_that_happens_in_a_call() {
    let happenings: Vec<Happening> = vec![
        ("new SSRC, same sequence", |run| {
            run.phone.ssrc ^= 0x55;
            run.browser.ssrc ^= 0x55;
        }),
        ("same SSRC, new sequence", |run| {
            run.phone.seq = run.phone.seq.wrapping_add(20_000);
            run.browser.seq = run.browser.seq.wrapping_add(20_000);
        }),
        ("same SSRC, sequence goes back", |run| {
            // Behind the replay window of SRTP, so the browser's could not.
            run.phone.seq = run.phone.seq.wrapping_sub(20_000);
        }),
        ("same SSRC, new sequence and time", |run| {
            for talker in [&mut run.phone, &mut run.browser] {
                talker.seq = talker.seq.wrapping_add(9_000);
                talker.timestamp = talker.timestamp.wrapping_add(0x8000_0000);
            }
        }),
        ("new time alone", |run| {
            run.phone.timestamp = run.phone.timestamp.wrapping_add(77_000_000);
            run.browser.timestamp = run.browser.timestamp.wrapping_add(77_000_000);
        }),
        ("new port and all new", |run| {
            run.from = ELSEWHERE;
            let media = audio(run.call.phone_formats.clone());
            run.connect(2, phone_at(ELSEWHERE, media));
            (run.phone.ssrc, run.phone.seq, run.phone.timestamp) = (0x77, 60_000, 1);
        }),
        ("new codec", |run| {
            run.change_codec(vec![pcma(), event(101, 8000)])
        }),
        ("new codec and back", |run| {
            let before = run.call.phone_formats.clone();
            run.change_codec(vec![pcma(), event(101, 8000)]);
            run.both(1000);
            run.change_codec(before);
        }),
        ("3 s of silence", |run| {
            run.run(3000, Does::Nothing, Does::Nothing)
        }),
        ("4 s of silence, clocks stand", |run| {
            run.run(4000, Does::Stands, Does::Stands)
        }),
        ("20 s of silence", |run| {
            run.run(20_000, Does::Nothing, Does::Nothing)
        }),
        ("10 s of hold, inactive", |run| {
            run.hold(Direction::Inactive);
            run.both(10_000);
            run.hold(Direction::SendRecv);
        }),
        ("10 s of hold, music from the phone", |run| {
            run.hold(Direction::RecvOnly);
            run.both(10_000);
            run.hold(Direction::SendRecv);
        }),
        ("10 s of hold, 0.0.0.0", |run| {
            let mut held = phone_at(PHONE, audio(run.call.phone_formats.clone()));
            if let RemoteTransport::Rtp { rtp, .. } = &mut held.transport {
                *rtp = None;
            }
            run.connect(2, held);
            run.run(10_000, Does::Talk, Does::Nothing);
            run.hold(Direction::SendRecv);
        }),
        ("the same description again", |run| {
            run.hold(Direction::SendRecv)
        }),
        ("digits are sent", |run| {
            for leg in [1, 2] {
                run.call.bed.command(Command::SendDigits {
                    leg: LegId(leg),
                    digits: "12".into(),
                    duration_ms: 160,
                });
            }
        }),
    ];
    let mut bad = Vec::new();
    println!("{:36} {:12} {:12}", "", "relayed", "transcoded");
    for (name, happens) in happenings {
        let mut row = Vec::new();
        let becomes = if name == "new codec" {
            "transcoded"
        } else {
            "relayed"
        };
        for (run, road) in [(Run::relayed(), becomes), (Run::transcoded(), "transcoded")] {
            let came = if name == "digits are sent" {
                // Events are part of the stream, so its sound is looked at only.
                digits_cell(run, happens)
            } else {
                cell(run, road, happens)
            };
            row.push(match came {
                Ok(()) => "ok".to_owned(),
                Err(fault) => {
                    bad.push(format!("{name}, {road}: {fault}"));
                    fault
                }
            });
        }
        println!("{name:36} {:12} {:12}", row[0], row[1]);
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

fn digits_cell(mut run: Run, happens: fn(&mut Run)) -> Result<(), String> {
    run.both(2000);
    happens(&mut run);
    let mut events = 0;
    for _ in 0..50 {
        run.call
            .phone_formats
            .retain(|f| f.codec != Codec::TelephoneEvent);
        run.call
            .browser_formats
            .retain(|f| f.codec != Codec::TelephoneEvent);
        let (header, payload) = run.browser.sing();
        run.call.browser_says(header, &payload);
        let (header, payload) = run.phone.sing();
        run.call.phone_says(header, &payload);
        run.call.pass();
        for (header, _) in run
            .call
            .to_browser
            .drain(..)
            .chain(run.call.to_phone.drain(..))
        {
            events += u32::from(matches!(header.pt, 101 | 110));
        }
    }
    let from = run.now() + BACK;
    run.both(1000);
    check_tone(&run.browser_ear, PHONE_HZ, from, run.now())?;
    check_tone(&run.phone_ear, BROWSER_HZ, from, run.now())?;
    if events == 0 {
        return Err("no event was sent".to_owned());
    }
    Ok(())
}

#[test]
fn an_opus_sender_that_stops_in_silence_is_heard_at_once_when_it_goes_on() {
    for (name, run, road) in [
        ("relayed", Run::relayed_opus(), "relayed"),
        ("transcoded", Run::transcoded(), "transcoded"),
    ] {
        let came = cell(run, road, |run| {
            run.browser.mouth = Mouth::with_dtx();
            run.run(4000, Does::Dtx, Does::Talk);
        });
        assert_eq!(came, Ok(()), "{name}");
    }
}

#[test]
fn comfort_noise_of_a_phone_is_no_hole_in_the_browsers_stream() {
    let noise = || format(Codec::ComfortNoise, 13, 8000);
    let phone = || vec![pcmu(), event(101, 8000), noise()];
    let both = vec![pcmu(), event(101, 8000), noise()];
    for (name, browser, road) in [
        (
            "relayed, the browser has none",
            vec![pcmu(), event(101, 8000)],
            "relayed",
        ),
        ("transcoded", vec![opus(), event(110, 48_000)], "transcoded"),
    ] {
        let came = cell(Run::new(browser, phone()), road, |run| {
            for _ in 0..6 {
                run.tick(Does::Talk, Does::Noise);
                run.run(480, Does::Talk, Does::Nothing);
            }
        });
        assert_eq!(came, Ok(()), "{name}");
    }
    // Where both have it, it is passed on.
    let mut run = Run::new(both, phone());
    run.both(200);
    let (header, payload) = say(&mut run.phone, Does::Noise).unwrap();
    run.call.phone_says(header, &payload);
    let (header, payload) = run.call.to_browser.pop().unwrap();
    assert_eq!((header.pt, payload), (13, vec![60]));
}

#[test]
fn a_transferred_call_is_one_stream_for_the_browser() {
    for (name, run, road) in [
        ("relayed", Run::relayed(), "transcoded"),
        ("transcoded", Run::transcoded(), "transcoded"),
    ] {
        let came = cell(run, road, |run| {
            run.call.bed.create(3, rtp_leg());
            let formats = vec![pcma(), event(101, 8000)];
            run.connect(3, phone_at(ELSEWHERE, audio(formats.clone())));
            run.call.bed.command(Command::Part {
                a: LegId(1),
                b: LegId(2),
            });
            run.call.bed.join(1, 3);
            run.call.bed.command(Command::CloseLeg { leg: LegId(2) });
            run.call.bed.take_events();
            run.phone = Talker::new(pcma(), PHONE_HZ, 0x3333);
            (run.from, run.socket) = (ELSEWHERE, SocketId(3));
            // Another phone with another ear.
            run.call.phone_formats = formats;
            run.call.to_phone.clear();
            run.phone_ear = Ear::default();
            // It has heard nothing before; what is asked of it is what comes after.
            run.phone_ear.since = Some(run.now() - Duration::from_secs(2));
            let mut before = media_codec::tone::Tone::new(BROWSER_HZ, -16.0, RATE);
            run.phone_ear.sound = vec![0; 16_000];
            before.fill(&mut run.phone_ear.sound);
        });
        assert_eq!(came, Ok(()), "{name}");
    }
}

/// 22 minutes: the sequence numbers of both senders and of both our streams go around, and SRTP's counter with them.
#[test]
fn more_than_65536_packets_are_one_stream() {
    let narrow = || vec![pcmu()];
    for (browser, phone) in [(narrow(), narrow()), (narrow(), vec![pcma()])] {
        let formats = (browser.clone(), phone.clone());
        let mut run = Run::new(browser, phone);
        run.both(1000);
        let (mut to_browser, mut to_phone) = (0u32, 0u32);
        let (b, p) = (
            run.browser.mouth.say(&[900; SAMPLES]),
            run.phone.mouth.say(&[900; SAMPLES]),
        );
        let last = |ear: &Ear| ear.headers.last().unwrap().1;
        let (mut b_last, mut p_last) = (last(&run.browser_ear), last(&run.phone_ear));
        for n in 0..66_000u32 {
            if n.is_multiple_of(250) {
                run.call.check();
            }
            let header = run.browser.header();
            run.call.browser_says(header, &b);
            let header = run.phone.header();
            run.call.phone_says(header, &p);
            run.call.pass();
            let follow = |last: &mut RtpHeader, header: RtpHeader, count: &mut u32| {
                assert_eq!(header.ssrc, last.ssrc);
                assert_eq!(header.seq, last.seq.wrapping_add(1), "packet {n}");
                assert_eq!(
                    header.timestamp,
                    last.timestamp.wrapping_add(160),
                    "packet {n}"
                );
                *last = header;
                *count += 1;
            };
            for (header, _) in run.call.to_browser.drain(..) {
                follow(&mut b_last, header, &mut to_browser);
            }
            for (header, _) in run.call.to_phone.drain(..) {
                follow(&mut p_last, header, &mut to_phone);
            }
        }
        assert!(
            to_browser > 65_990 && to_phone > 65_990,
            "{to_browser} {to_phone}"
        );
        assert!(!run.call.bed.has_failed(), "{formats:?}");
        // And it still sounds.
        let from = run.now() + BACK;
        (run.browser_ear, run.phone_ear) = (Ear::default(), Ear::default());
        run.both(1500);
        check_tone(&run.browser_ear, PHONE_HZ, from, run.now()).unwrap();
        check_tone(&run.phone_ear, BROWSER_HZ, from, run.now()).unwrap();
        assert!(run.now() > from + FRAME);
    }
}
