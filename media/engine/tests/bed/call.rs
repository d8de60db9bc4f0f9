//! A browser and a phone that speak, in any codec, and what each hears of the other.

use super::browser::{Browser, Heard, audio, format};
use super::{BROWSERS, Bed, addr};
use media_codec::g711::Law;
use media_codec::tone::Tone;
use media_codec::{g722, opus};
use media_control::{
    Codec, Command, DtlsRole, Event, Face, Format, LegId, LegSpec, Remote, RemoteMedia,
    RemoteTransport,
};
use media_engine::SocketId;
use media_packet::rtp::RtpHeader;
use std::time::{Duration, Instant};

pub const BROWSER: &str = "198.51.100.7:50000";
pub const PHONE: &str = "192.0.2.20:4000";
/// The first SIP leg's RTP socket.
pub const RTP: SocketId = SocketId(1);
pub const FRAME: Duration = Duration::from_millis(20);
/// All ears and mouths here are at this rate.
pub const RATE: u32 = 8000;
pub const SAMPLES: usize = 160;

pub fn pcmu() -> Format {
    format(Codec::Pcmu, 0, 8000)
}

pub fn pcma() -> Format {
    format(Codec::Pcma, 8, 8000)
}

pub fn opus() -> Format {
    format(Codec::Opus, 111, 48_000)
}

pub fn event(pt: u8, clock_hz: u32) -> Format {
    format(Codec::TelephoneEvent, pt, clock_hz)
}

/// Makes packets' payloads of one codec.
pub enum Mouth {
    G711(Law),
    G722(Box<g722::Encoder>),
    Opus(opus::Encoder),
}

impl Mouth {
    pub fn new(codec: &Codec) -> Mouth {
        match codec {
            Codec::Pcmu => Mouth::G711(Law::Mu),
            Codec::Pcma => Mouth::G711(Law::A),
            Codec::G722 => Mouth::G722(Box::default()),
            _ => Mouth::Opus(opus::Encoder::new(&opus::Settings::for_rate(RATE)).unwrap()),
        }
    }

    /// An Opus encoder that says next to nothing in silence.
    pub fn with_dtx() -> Mouth {
        let settings = opus::Settings {
            dtx: true,
            ..opus::Settings::for_rate(RATE)
        };
        Mouth::Opus(opus::Encoder::new(&settings).unwrap())
    }

    pub fn say(&mut self, samples: &[i16]) -> Vec<u8> {
        let mut payload = vec![0; 1500];
        let len = match self {
            Mouth::G711(law) => law.encode(samples, &mut payload),
            Mouth::G722(encoder) => {
                let doubled: Vec<i16> = samples.iter().flat_map(|s| [*s, *s]).collect();
                encoder.encode(&doubled, &mut payload)
            }
            Mouth::Opus(encoder) => encoder.encode(samples, &mut payload),
        };
        payload.truncate(len.unwrap());
        payload
    }
}

/// Plays a stream as a receiver would: each packet at its timestamp, nothing where none is.
#[derive(Default)]
pub struct Ear {
    decoder: Option<opus::Decoder>,
    pub headers: Vec<(Instant, RtpHeader)>,
    pub sound: Vec<i16>,
    /// When the first of `sound` was heard.
    pub since: Option<Instant>,
}

impl Ear {
    pub fn hear(&mut self, codec: &Codec, header: RtpHeader, payload: &[u8], now: Instant) {
        let mut samples = [0; 1920];
        let len = match codec {
            Codec::Pcmu => Law::Mu.decode(payload, &mut samples),
            Codec::Pcma => Law::A.decode(payload, &mut samples),
            _ => self
                .decoder
                .get_or_insert_with(|| opus::Decoder::new(RATE).unwrap())
                .decode(payload, &mut samples),
        };
        let since = *self.since.get_or_insert(now);
        // By the wall: what did not come was not heard.
        let at = usize::try_from((now - since).as_millis()).unwrap() * 8;
        if self.sound.len() + SAMPLES / 2 < at {
            self.sound.resize(at, 0);
        }
        self.sound.extend(&samples[..len.unwrap()]);
        self.headers.push((now, header));
    }
}

/// One end's way of sending: payload types, numbers and the sound.
pub struct Talker {
    pub ssrc: u32,
    pub seq: u16,
    pub timestamp: u32,
    pub codec: Format,
    pub mouth: Mouth,
    pub tone: Tone,
}

impl Talker {
    pub fn new(codec: Format, hz: f32, ssrc: u32) -> Talker {
        Talker {
            ssrc,
            seq: 100,
            timestamp: 5000,
            mouth: Mouth::new(&codec.codec),
            codec,
            tone: Tone::new(hz, -16.0, RATE),
        }
    }

    /// Another codec from now on.
    pub fn change(&mut self, codec: Format) {
        self.mouth = Mouth::new(&codec.codec);
        self.codec = codec;
    }

    pub fn step(&self) -> u32 {
        self.codec.clock_hz / 50
    }

    /// The next packet's header; its time passes.
    pub fn header(&mut self) -> RtpHeader {
        let header = RtpHeader::new(self.codec.receive_pt, self.seq, self.timestamp, self.ssrc);
        self.seq = self.seq.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(self.step());
        header
    }

    pub fn sing(&mut self) -> (RtpHeader, Vec<u8>) {
        let mut samples = [0; SAMPLES];
        self.tone.fill(&mut samples);
        (self.header(), self.mouth.say(&samples))
    }
}

/// A call between leg 1, a browser, and leg 2, a phone.
pub struct Call {
    pub bed: Bed,
    pub browser: Browser,
    pub browser_formats: Vec<Format>,
    pub phone_formats: Vec<Format>,
    /// What left for the phone and for the browser since it was last asked, reports left out.
    pub to_phone: Vec<(RtpHeader, Vec<u8>)>,
    pub to_browser: Vec<(RtpHeader, Vec<u8>)>,
}

pub fn phone(media: Vec<RemoteMedia>) -> Remote {
    phone_at(PHONE, media)
}

pub fn phone_at(rtp: &str, media: Vec<RemoteMedia>) -> Remote {
    Remote {
        transport: RemoteTransport::Rtp {
            rtp: Some(addr(rtp)),
            rtcp: None,
            signalling: addr(rtp).ip(),
            sdes: None,
            video: None,
            ice: None,
        },
        media,
    }
}

impl Call {
    pub fn new(browser_formats: Vec<Format>, phone_formats: Vec<Format>, inband: bool) -> Call {
        let mut bed = Bed::new();
        let mut browser = Browser::new(DtlsRole::Passive, true, bed.now);
        let local = bed.create_browser(1);
        browser.set_remote(&local);
        bed.create(2, rtp_leg());
        let remote = browser.description(browser_formats.clone());
        bed.command(Command::ConnectLeg {
            leg: LegId(1),
            remote,
        });
        bed.connect_browser(&mut browser, addr(BROWSER));
        let mut media = audio(phone_formats.clone());
        media[0].inband_dtmf = inband;
        bed.command(Command::ConnectLeg {
            leg: LegId(2),
            remote: phone(media),
        });
        bed.join(1, 2);
        bed.take_events();
        Call {
            bed,
            browser,
            browser_formats,
            phone_formats,
            to_phone: Vec::new(),
            to_browser: Vec::new(),
        }
    }

    pub fn phone_says(&mut self, header: RtpHeader, payload: &[u8]) {
        self.phone_says_at(RTP, PHONE, header, payload);
    }

    pub fn phone_says_at(
        &mut self,
        socket: SocketId,
        from: &str,
        header: RtpHeader,
        payload: &[u8],
    ) {
        let mut packet = vec![0; 12];
        header.write(&mut packet).unwrap();
        packet.extend(payload);
        self.bed.arrive(socket, addr(from), &packet);
        self.collect();
    }

    pub fn browser_says(&mut self, header: RtpHeader, payload: &[u8]) {
        let packet = self.browser.rtp(&header, payload);
        self.bed.arrive(BROWSERS, addr(BROWSER), &packet);
        self.collect();
    }

    /// Lets a packet's time pass.
    pub fn pass(&mut self) {
        let until = self.bed.now + FRAME;
        while let Some(at) = self.bed.legs.poll_timeout().filter(|at| *at <= until) {
            let wait = at.saturating_duration_since(self.bed.now);
            self.bed.pass(wait);
            self.collect();
        }
        let rest = until - self.bed.now;
        self.bed.pass(rest);
        self.collect();
    }

    /// A check now and then keeps the browser's consent.
    pub fn check(&mut self) {
        let check = self.browser.check(true);
        self.bed.arrive(BROWSERS, addr(BROWSER), &check);
        self.collect();
    }

    pub fn collect(&mut self) {
        for sent in &self.bed.sent {
            let is_rtcp = sent.packet.len() > 1 && (192..=223).contains(&sent.packet[1]);
            if sent.path.remote != addr(BROWSER) && !is_rtcp {
                let header = RtpHeader::parse(&sent.packet).unwrap();
                let payload = sent.packet[header.header_len..].to_vec();
                self.to_phone.push((header, payload));
            }
        }
        for heard in self.bed.exchange(&mut self.browser, addr(BROWSER)) {
            if let Heard::Rtp { header, payload } = heard {
                self.to_browser.push((header, payload));
            }
        }
    }

    pub fn told(&mut self, leg: u64) -> String {
        let events = self.bed.events.iter();
        events
            .filter_map(|event| match event {
                Event::Digit { leg: id, digit, .. } if id.0 == leg => Some(*digit),
                _ => None,
            })
            .collect()
    }
}

pub fn rtp_leg() -> LegSpec {
    LegSpec::Rtp {
        face: Face::Inside,
        sdes: false,
        video: false,
        ice: false,
    }
}

/// The format behind a payload type that is sent to this end.
pub fn codec_of(formats: &[Format], pt: u8) -> Codec {
    formats
        .iter()
        .find(|f| f.send_pt == pt)
        .unwrap_or_else(|| panic!("payload type {pt} was not negotiated"))
        .codec
        .clone()
}
