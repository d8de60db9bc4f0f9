//! Session descriptions, from browsers and from SIP peers.

use crate::Target;
use signaling_sdp::attribute::{self, Crypto, Fingerprint, Setup};
use std::net::{IpAddr, Ipv4Addr};

pub const SDP: Target = Target {
    name: "sdp",
    run,
    words: &[
        b"v=0\r\n",
        b"o=- 1 1 IN IP4 127.0.0.1\r\n",
        b"o=- 18446744073709551616 1 IN IP6 ::1\r\n",
        b"s=-\r\n",
        b"t=0 0\r\n",
        b"c=IN IP4 0.0.0.0\r\n",
        b"c=IN IP6 ::\r\n",
        b"c=IN IP4 224.2.1.1/127/3\r\n",
        b"c=IN IP4 host.example\r\n",
        b"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n",
        b"m=audio 65536 RTP/AVP 0\r\n",
        b"m=video 0 RTP/AVP 96\r\n",
        b"m=message 9 TCP/MSRP *\r\n",
        b"m=audio 1/2 RTP/AVP 256\r\n",
        b"a=rtpmap:111 opus/48000/2\r\n",
        b"a=rtpmap:0 PCMU/0\r\n",
        b"a=rtpmap:101 telephone-event/8000\r\n",
        b"a=fmtp:111 minptime=10;useinbandfec=1\r\n",
        b"a=fmtp:101 0-16\r\n",
        b"a=mid:0\r\n",
        b"a=group:BUNDLE 0 1\r\n",
        b"a=ice-ufrag:abcd\r\n",
        b"a=ice-pwd:0123456789abcdefghijklmn\r\n",
        b"a=fingerprint:sha-256 AA:BB\r\n",
        b"a=fingerprint:SHA-1 \r\n",
        b"a=setup:actpass\r\n",
        b"a=candidate:1 1 udp 2130706431 1.2.3.4 31000 typ host\r\n",
        b"a=candidate:",
        b" typ srflx raddr 0.0.0.0 rport 0",
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:",
        b"|2^31|1:4",
        b"a=rtcp:9 IN IP4 0.0.0.0\r\n",
        b"a=rtcp:9 IN IP6 ::1\r\n",
        b"a=rtcp-mux\r\n",
        b"a=sendonly\r\n",
        b"a=inactive\r\n",
        b"a=ptime:20\r\n",
        b"a=ptime:0\r\n",
        b"a=maxptime:4294967296\r\n",
        b"b=AS:256\r\n",
        b"a=\r\n",
        b"a=:\r\n",
        b"a=rtpmap:\r\n",
        b"=\r\n",
        b"a",
        b"\r",
        b"\n",
    ],
    seeds: &[],
    max_len: 70_000,
};

fn run(data: &[u8]) {
    let description = match signaling_sdp::parse(data) {
        Ok(description) => description,
        Err(error) => {
            let _ = error.to_string();
            return;
        }
    };
    let printed = description.to_bytes();
    let again = signaling_sdp::parse(&printed)
        .unwrap_or_else(|error| panic!("refuses its own text: {error}"));
    // No value may become a line of its own on the way. (An odd host name in c= may read otherwise.)
    let lines = |description: &signaling_sdp::Description| {
        let sections = std::iter::once(&description.attributes)
            .chain(description.media.iter().map(|media| &media.attributes));
        sections.map(Vec::len).collect::<Vec<_>>()
    };
    assert_eq!(
        lines(&description),
        lines(&again),
        "from {}",
        printed.escape_ascii()
    );
    for section in std::iter::once(&description.attributes)
        .chain(description.media.iter().map(|media| &media.attributes))
    {
        attribute::values(section, "fingerprint").for_each(|value| drop(Fingerprint::parse(value)));
        attribute::values(section, "crypto").for_each(|value| drop(Crypto::parse(value)));
        attribute::values(section, "setup").for_each(|value| {
            let _ = Setup::parse(value);
        });
    }
    for media in &description.media {
        for map in attribute::rtpmaps(media) {
            let _ = format!("{map:?}");
        }
        for pt in 0..=127 {
            let _ = (attribute::rtpmap(media, pt), attribute::fmtp(media, pt));
        }
        let _ = attribute::direction(&media.attributes, &description.attributes);
        let _ = (
            attribute::ptime(media),
            attribute::rtcp(media, IpAddr::V4(Ipv4Addr::LOCALHOST)),
        );
        let _ = (media.connection(&description), media.refused());
    }
}
