//! How many nanoseconds does it take to open or seal a 172-byte packet (G.711, 20 ms)?

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use media_packet::rtp::RtpHeader;
use media_packet::srtp::{Context, MAX_TRAILER, Profile, key_len, salt_len};

const PLAIN: usize = 172;
/// Packets of one measured batch.
const BATCH: u16 = 64;

fn packet(seq: u16) -> [u8; PLAIN + MAX_TRAILER] {
    let mut buf = [0x55; PLAIN + MAX_TRAILER];
    RtpHeader::new(0, seq, u32::from(seq) * 160, 0x1234_5678)
        .write(&mut buf)
        .expect("room for a header");
    buf
}

fn srtp(c: &mut Criterion) {
    for profile in [
        Profile::AesCm128HmacSha1_80,
        Profile::AeadAes128Gcm,
        Profile::AeadAes256Gcm,
    ] {
        let key: Vec<u8> = (0..key_len(profile) + salt_len(profile))
            .map(|n| n as u8)
            .collect();
        let mut group = c.benchmark_group(format!("{profile:?}"));
        group.throughput(criterion::Throughput::Elements(u64::from(BATCH)));
        group.bench_function("seal", |b| {
            let mut context = Context::new(profile, &key).expect("a key of the right length");
            let mut seq = 0u16;
            let mut buf = packet(0);
            b.iter(|| {
                for _ in 0..BATCH {
                    seq = seq.wrapping_add(1);
                    media_packet::rtp::set_seq(&mut buf, seq);
                    let header = RtpHeader::parse(&buf).expect("a header");
                    context.seal_rtp(&mut buf, PLAIN, &header).expect("sealed");
                }
            });
        });
        group.bench_function("open", |b| {
            let mut sender = Context::new(profile, &key).expect("a key of the right length");
            let mut receiver = Context::new(profile, &key).expect("a key of the right length");
            let mut seq = 0u16;
            b.iter_batched_ref(
                || {
                    (0..BATCH)
                        .map(|_| {
                            seq = seq.wrapping_add(1);
                            let mut buf = packet(seq);
                            let header = RtpHeader::parse(&buf).expect("a header");
                            let len = sender.seal_rtp(&mut buf, PLAIN, &header).expect("sealed");
                            (buf, len)
                        })
                        .collect::<Vec<_>>()
                },
                |batch| {
                    for (buf, len) in batch {
                        let header = RtpHeader::parse(&buf[..*len]).expect("a header");
                        receiver
                            .open_rtp(&mut buf[..*len], &header)
                            .expect("opened");
                    }
                },
                // One batch set up, one measured: the window must see every packet in order.
                BatchSize::PerIteration,
            );
        });
    }
}

criterion_group!(benches, srtp);
criterion_main!(benches);
