//! Sixteen digits on every way that a digit can take: each reaches the far side once and only once, and is told once.

mod bed;

use bed::call::{Call, Ear, SAMPLES, Talker, codec_of, event, opus, pcmu};
use media_codec::chord::Chord;
use media_codec::dtmf::{self, Heard};
use media_control::{Codec, Command, Format, LegId};
use media_packet::dtmf::{Detector, EventSender, digit_of, event_of};
use media_packet::rtp::RtpHeader;

/// All of them, and some twice in a row.
const DIGITS: &str = "1234567890*#ABCD5511##";
/// Packets of a digit, and of sound between two.
const PRESSED: u32 = 5;
const BETWEEN: usize = 5;

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Events,
    NoMarker,
    LostEnds,
    LostStart,
    /// Each packet after its successor, the last one after the beginning of the next digit.
    Reordered,
    Doubled,
    /// What calls do with a digit that came by INFO, or is to leave as an event: one command.
    Command,
    Tones,
}

struct Cell {
    browser: Vec<Format>,
    phone: Vec<Format>,
    inband: bool,
    road: &'static str,
}

/// What one end hears: digits as events, digits as tones, and all sound.
#[derive(Default)]
struct End {
    events: Detector,
    event_digits: String,
    ear: Ear,
}

impl End {
    fn hear(
        &mut self,
        formats: &[Format],
        packets: Vec<(media_packet::rtp::RtpHeader, Vec<u8>)>,
        now: std::time::Instant,
    ) {
        for (header, payload) in packets {
            match codec_of(formats, header.pt) {
                Codec::TelephoneEvent => self.events.push(header.timestamp, &payload, now),
                codec => self.ear.hear(&codec, header, &payload, now),
            }
        }
        while let Some(detected) = self.events.poll(now) {
            self.event_digits.extend(digit_of(detected.event));
        }
    }

    fn tone_digits(&self) -> String {
        let mut ear = dtmf::Ear::new(8000);
        let mut digits = String::new();
        for part in self.ear.sound.clone().chunks_mut(SAMPLES) {
            ear.listen(part, false);
            while let Some(heard) = ear.poll() {
                if let Heard::Begin(digit) = heard {
                    digits.push(digit);
                }
            }
        }
        digits
    }
}

fn one_packet_each(
    call: &mut Call,
    from: Option<&mut Talker>,
    other: &mut Talker,
    from_phone: bool,
    ends: &mut [End; 2],
) {
    if let Some(from) = from {
        let (header, payload) = from.sing();
        if from_phone {
            call.phone_says(header, &payload);
        } else {
            call.browser_says(header, &payload);
        }
    }
    let (header, payload) = other.sing();
    if from_phone {
        call.browser_says(header, &payload);
    } else {
        call.phone_says(header, &payload);
    }
    settle(call, ends);
}

fn settle(call: &mut Call, ends: &mut [End; 2]) {
    call.pass();
    let now = call.bed.now;
    let (browser, phone) = (
        std::mem::take(&mut call.to_browser),
        std::mem::take(&mut call.to_phone),
    );
    ends[0].hear(&call.browser_formats.clone(), browser, now);
    ends[1].hear(&call.phone_formats.clone(), phone, now);
}

fn send(call: &mut Call, from_phone: bool, header: RtpHeader, payload: &[u8]) {
    if from_phone {
        call.phone_says(header, payload);
    } else {
        call.browser_says(header, payload);
    }
}

/// Presses all digits at one end; what the far end's ears made of it, and what was told.
fn run(cell: &Cell, way: Way, from_phone: bool) -> Result<(), String> {
    let mut call = Call::new(cell.browser.clone(), cell.phone.clone(), cell.inband);
    let mut browser = Talker::new(cell.browser[0].clone(), 440.0, 0xb0b);
    let mut phone = Talker::new(cell.phone[0].clone(), 400.0, 0xf0e);
    let mut ends = [End::default(), End::default()];
    let (near, far) = if from_phone { (2, 1) } else { (1, 2) };
    let formats = if from_phone {
        &cell.phone
    } else {
        &cell.browser
    };
    let events = formats
        .iter()
        .find(|f| f.codec == Codec::TelephoneEvent)
        .cloned();
    let mut late: Option<(RtpHeader, [u8; 4])> = None;
    let mut between = BETWEEN;
    for digit in DIGITS.chars() {
        let (me, other) = if from_phone {
            (&mut phone, &mut browser)
        } else {
            (&mut browser, &mut phone)
        };
        for _ in 0..between {
            one_packet_each(&mut call, Some(me), other, from_phone, &mut ends);
        }
        match way {
            Way::Command => {
                call.bed.command(Command::SendDigits {
                    leg: LegId(far),
                    digits: digit.to_string(),
                    duration_ms: 100,
                });
                for _ in 0..PRESSED + 3 {
                    one_packet_each(&mut call, Some(me), other, from_phone, &mut ends);
                }
            }
            Way::Tones => {
                let (low, high) = dtmf::tones(digit).unwrap();
                let mut chord = Chord::new(&[(low, -12.0), (high, -10.0)], &[], 8000);
                for _ in 0..PRESSED {
                    let mut samples = [0; SAMPLES];
                    chord.fill(&mut samples);
                    let (header, payload) = (me.header(), me.mouth.say(&samples));
                    call.phone_says(header, &payload);
                    one_packet_each(&mut call, None, other, from_phone, &mut ends);
                }
            }
            Way::Events
            | Way::NoMarker
            | Way::LostEnds
            | Way::LostStart
            | Way::Reordered
            | Way::Doubled => {
                let format = events.clone().expect("a format for events");
                let step = format.clock_hz / 50;
                let began = me.timestamp;
                let mut sender =
                    EventSender::new(event_of(digit).unwrap(), began, step * PRESSED, step);
                let mut packets = Vec::new();
                while let Some(packet) = sender.next_packet() {
                    let mut header = me.header();
                    header.pt = format.receive_pt;
                    header.timestamp = packet.timestamp;
                    header.marker = packet.marker && way != Way::NoMarker;
                    packets.push((header, packet.payload));
                }
                let count = packets.len();
                let order: Vec<usize> = match way {
                    Way::LostEnds => (0..count - 3).collect(),
                    Way::LostStart => (2..count).collect(),
                    Way::Reordered => vec![1, 0, 3, 2, 5, 4],
                    Way::Doubled => (0..count).flat_map(|n| [n, n]).collect(),
                    _ => (0..count).collect(),
                };
                for (n, which) in order.iter().enumerate() {
                    let (header, payload) = packets[*which];
                    send(&mut call, from_phone, header, &payload);
                    if n == 0
                        && let Some((header, payload)) = late.take()
                    {
                        send(&mut call, from_phone, header, &payload);
                    }
                    if way != Way::Doubled || n % 2 == 1 {
                        one_packet_each(&mut call, None, other, from_phone, &mut ends);
                    }
                }
                if way == Way::Reordered {
                    late = packets.last().copied();
                    // No sound between, so that it comes just before it would be too late.
                    between = 0;
                }
            }
        }
    }
    for _ in 0..40 {
        let (me, other) = if from_phone {
            (&mut phone, &mut browser)
        } else {
            (&mut browser, &mut phone)
        };
        one_packet_each(&mut call, Some(me), other, from_phone, &mut ends);
    }
    let told = call.told(near);
    let heard = &ends[if from_phone { 0 } else { 1 }];
    let (as_events, as_tones) = (heard.event_digits.clone(), heard.tone_digits());
    let (wanted_events, wanted_tones) = if cell.inband && !from_phone {
        ("", DIGITS)
    } else {
        (DIGITS, "")
    };
    if as_events != wanted_events {
        return Err(format!("as events {as_events}"));
    }
    if as_tones != wanted_tones {
        return Err(format!("as tones {as_tones}"));
    }
    // What we were asked to send is not told back.
    let wanted_told = if way == Way::Command { "" } else { DIGITS };
    if told != wanted_told {
        return Err(format!("told {told}"));
    }
    let other_way = call.told(far);
    if !other_way.is_empty() {
        return Err(format!("told of the far side {other_way}"));
    }
    call.bed.command(Command::CloseLeg { leg: LegId(near) });
    let road = call.bed.events.iter().find_map(|event| match event {
        media_control::Event::LegClosed { stats, .. } => Some(stats.road.clone()),
        _ => None,
    });
    if road.as_deref() != Some(cell.road) {
        return Err(format!("the road was {road:?}"));
    }
    // One stream, whatever was put into it.
    for end in &ends {
        let headers: Vec<_> = end.ear.headers.iter().map(|(_, header)| header).collect();
        if headers.windows(2).any(|two| two[0].ssrc != two[1].ssrc) {
            return Err("another SSRC".to_owned());
        }
    }
    Ok(())
}

fn cell(browser: Vec<Format>, phone: Vec<Format>, road: &'static str) -> Cell {
    Cell {
        inband: phone.iter().all(|f| f.codec != Codec::TelephoneEvent),
        browser,
        phone,
        road,
    }
}

#[test]
fn each_digit_arrives_once_and_only_once_on_every_way() {
    let (at8, at48) = (event(101, 8000), event(110, 48_000));
    let narrow = || vec![pcmu(), event(126, 8000)];
    let wide = || vec![opus(), event(110, 48_000)];
    let relayed8 = || cell(narrow(), vec![pcmu(), at8.clone()], "relayed");
    let relayed48 = || cell(wide(), vec![opus(), at48.clone()], "relayed");
    let transcoded8 = || cell(wide(), vec![pcmu(), at8.clone()], "transcoded");
    let transcoded48 = || cell(narrow(), vec![opus(), at48.clone()], "transcoded");
    let tones = || cell(wide(), vec![pcmu()], "transcoded");
    let tones_same = || cell(narrow(), vec![pcmu()], "transcoded");

    // (name, cell relayed, cell transcoded, way, from the phone)
    type Row = (&'static str, Result<Cell, &'static str>, Cell, Way, bool);
    let rows: Vec<Row> = vec![
        (
            "phone, 4733 at 8000",
            Ok(relayed8()),
            transcoded8(),
            Way::Events,
            true,
        ),
        (
            "phone, 4733 at 48000",
            Ok(relayed48()),
            transcoded48(),
            Way::Events,
            true,
        ),
        (
            "phone, no marker bit",
            Ok(relayed8()),
            transcoded8(),
            Way::NoMarker,
            true,
        ),
        (
            "phone, lost end packets",
            Ok(relayed8()),
            transcoded8(),
            Way::LostEnds,
            true,
        ),
        (
            "phone, lost end packets at 48000",
            Ok(relayed48()),
            transcoded48(),
            Way::LostEnds,
            true,
        ),
        (
            "phone, lost start",
            Ok(relayed8()),
            transcoded8(),
            Way::LostStart,
            true,
        ),
        (
            "phone, lost start at 48000",
            Ok(relayed48()),
            transcoded48(),
            Way::LostStart,
            true,
        ),
        (
            "phone, reordered",
            Ok(relayed8()),
            transcoded8(),
            Way::Reordered,
            true,
        ),
        (
            "phone, reordered at 48000",
            Ok(relayed48()),
            transcoded48(),
            Way::Reordered,
            true,
        ),
        (
            "phone, doubled",
            Ok(relayed8()),
            transcoded8(),
            Way::Doubled,
            true,
        ),
        (
            "phone, doubled at 48000",
            Ok(relayed48()),
            transcoded48(),
            Way::Doubled,
            true,
        ),
        (
            "browser, lost start",
            Ok(relayed8()),
            transcoded48(),
            Way::LostStart,
            false,
        ),
        (
            "browser, lost start at 48000",
            Ok(relayed48()),
            transcoded8(),
            Way::LostStart,
            false,
        ),
        (
            "browser, reordered",
            Ok(relayed8()),
            transcoded48(),
            Way::Reordered,
            false,
        ),
        (
            "browser, reordered at 48000",
            Ok(relayed48()),
            transcoded8(),
            Way::Reordered,
            false,
        ),
        (
            "phone, INFO or INFO_RELAY",
            Ok(relayed8()),
            transcoded8(),
            Way::Command,
            true,
        ),
        (
            "phone, in-band",
            Err("a leg whose tones are listened for is decoded"),
            tones(),
            Way::Tones,
            true,
        ),
        (
            "phone, in-band, one codec",
            Err("the same"),
            tones_same(),
            Way::Tones,
            true,
        ),
        (
            "browser, 4733 at 8000",
            Ok(relayed8()),
            transcoded48(),
            Way::Events,
            false,
        ),
        (
            "browser, 4733 at 48000",
            Ok(relayed48()),
            transcoded8(),
            Way::Events,
            false,
        ),
        (
            "browser, no marker bit",
            Ok(relayed8()),
            transcoded8(),
            Way::NoMarker,
            false,
        ),
        (
            "browser, lost end packets",
            Ok(relayed8()),
            transcoded8(),
            Way::LostEnds,
            false,
        ),
        (
            "page, RFC2833",
            Ok(relayed8()),
            transcoded8(),
            Way::Command,
            false,
        ),
        (
            "page, RFC2833 at 48000",
            Ok(relayed48()),
            transcoded48(),
            Way::Command,
            false,
        ),
        (
            "page, tones for the phone",
            Ok(Cell {
                road: "relayed",
                ..tones_same()
            }),
            tones(),
            Way::Command,
            false,
        ),
        (
            "browser, 4733 to tones",
            Ok(Cell {
                road: "relayed",
                ..tones_same()
            }),
            tones(),
            Way::Events,
            false,
        ),
    ];
    let mut bad = Vec::new();
    println!(
        "{:34} {:24} {:24}",
        "16 digits, some twice", "relayed", "transcoded"
    );
    for (name, relayed, transcoded, way, from_phone) in rows {
        let mut show = |cell: Result<Cell, &'static str>| match cell {
            Ok(cell) => match run(&cell, way, from_phone) {
                Ok(()) => "once, told once".to_owned(),
                Err(fault) => {
                    bad.push(format!("{name}, {}: {fault}", cell.road));
                    fault
                }
            },
            Err(why) => format!("n/a: {why}"),
        };
        let (relayed, transcoded) = (show(relayed), show(Ok(transcoded)));
        println!("{name:34} {relayed:24} {transcoded:24}");
    }
    assert!(bad.is_empty(), "{bad:#?}");
}
