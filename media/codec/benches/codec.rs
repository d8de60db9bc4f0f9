//! How many microseconds does a 20 ms frame cost, by codec?

use criterion::{Criterion, criterion_group, criterion_main};
use media_codec::conceal::Concealer;
use media_codec::{g711, g722, opus, resample};
use std::hint::black_box;

/// Two seconds of something with the bandwidth of speech: tones that glide under a syllable's envelope.
fn speech(rate: u32) -> Vec<Vec<i16>> {
    let frame = (rate / 50) as usize;
    let samples: Vec<i16> = (0..frame * 100)
        .map(|n| {
            let t = n as f64 / f64::from(rate);
            let envelope = 0.55 + 0.45 * (t * 4.0 * std::f64::consts::TAU).sin();
            let pitch = 120.0 + 30.0 * (t * 2.0).sin();
            let voice: f64 = (1..20)
                .map(|k| (f64::from(k) * pitch * t * std::f64::consts::TAU).sin() / f64::from(k))
                .sum();
            (voice * envelope * 5000.0) as i16
        })
        .collect();
    samples.chunks(frame).map(<[i16]>::to_vec).collect()
}

fn codecs(c: &mut Criterion) {
    let (narrow, wide) = (speech(8000), speech(16_000));
    let mut coded = [0u8; 1500];
    let mut pcm = [0i16; 1920];
    for law in [g711::Law::Mu, g711::Law::A] {
        c.bench_function(&format!("g711 {law:?} encode"), |b| {
            let mut frames = narrow.iter().cycle();
            b.iter(|| law.encode(black_box(frames.next().unwrap()), &mut coded))
        });
        c.bench_function(&format!("g711 {law:?} decode"), |b| {
            b.iter(|| law.decode(black_box(&[0x55; 160]), &mut pcm))
        });
    }
    c.bench_function("g722 encode", |b| {
        let (mut encoder, mut frames) = (g722::Encoder::new(), wide.iter().cycle());
        b.iter(|| encoder.encode(frames.next().unwrap(), &mut coded))
    });
    c.bench_function("g722 decode", |b| {
        let mut encoder = g722::Encoder::new();
        let packets: Vec<Vec<u8>> = wide
            .iter()
            .map(|frame| {
                let len = encoder.encode(frame, &mut coded).unwrap();
                coded[..len].to_vec()
            })
            .collect();
        let (mut decoder, mut packets) = (g722::Decoder::new(), packets.iter().cycle());
        b.iter(|| decoder.decode(packets.next().unwrap(), &mut pcm))
    });
    for (rate, frames) in [(8000, &narrow), (16_000, &wide)] {
        for complexity in [0, 5, 10] {
            let settings = opus::Settings {
                complexity,
                ..opus::Settings::for_rate(rate)
            };
            c.bench_function(
                &format!("opus {rate} Hz complexity {complexity} encode"),
                |b| {
                    let (mut encoder, mut frames) = (
                        opus::Encoder::new(&settings).unwrap(),
                        frames.iter().cycle(),
                    );
                    b.iter(|| encoder.encode(frames.next().unwrap(), &mut coded))
                },
            );
        }
        c.bench_function(&format!("opus browser's stream decode at {rate} Hz"), |b| {
            let mut encoder = opus::Encoder::new(&opus::Settings::for_rate(48_000)).unwrap();
            let packets: Vec<Vec<u8>> = speech(48_000)
                .iter()
                .map(|frame| {
                    let len = encoder.encode(frame, &mut coded).unwrap();
                    coded[..len].to_vec()
                })
                .collect();
            let (mut decoder, mut packets) =
                (opus::Decoder::new(rate).unwrap(), packets.iter().cycle());
            b.iter(|| decoder.decode(packets.next().unwrap(), &mut pcm))
        });
        c.bench_function(&format!("conceal {rate} Hz"), |b| {
            let (mut concealer, mut frames) = (Concealer::new(rate), frames.iter().cycle());
            b.iter(|| {
                pcm[..frames.next().unwrap().len()].copy_from_slice(frames.next().unwrap());
                let len = (rate / 50) as usize;
                concealer.good(&mut pcm[..len]);
                concealer.lost(&mut pcm[..len]);
            })
        });
    }
    c.bench_function("resample 8 to 16 kHz", |b| {
        let (mut up, mut frames) = (resample::Up::new(), narrow.iter().cycle());
        b.iter(|| up.process(frames.next().unwrap(), &mut pcm))
    });
    c.bench_function("resample 16 to 8 kHz", |b| {
        let (mut down, mut frames) = (resample::Down::new(), wide.iter().cycle());
        b.iter(|| down.process(frames.next().unwrap(), &mut pcm))
    });
}

criterion_group!(benches, codecs);
criterion_main!(benches);
