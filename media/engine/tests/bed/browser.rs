//! A browser's end, made of other parts than the engine's: checks by hand, DTLS by dimpl as a client.

use dimpl::{Config, Dtls, DtlsCertificate, Output};
use is::stun::{StunMessage, TransId};
use is::{DefaultSha1HmacProvider, Sha1HmacProvider};
use media_control::{
    Codec, Direction, DtlsRole, Fingerprint, Format, LocalTransport, MediaKind, Remote,
    RemoteMedia, RemoteTransport, SrtpProfile,
};
use media_packet::rtp::RtpHeader;
use media_packet::srtp::Context;
use std::sync::Arc;
use std::time::Instant;

pub fn certificate() -> (Vec<u8>, Vec<u8>) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::new(Vec::<String>::new())
        .unwrap()
        .self_signed(&key)
        .unwrap();
    (certificate.der().to_vec(), key.serialize_der())
}

/// What a datagram to the browser turned out to be.
#[derive(Debug, PartialEq)]
pub enum Heard {
    Nothing,
    CheckAnswered,
    Rtp { header: RtpHeader, payload: Vec<u8> },
    Rtcp(Vec<u8>),
}

pub struct Browser {
    pub ufrag: String,
    pub pwd: String,
    pub certificate: (Vec<u8>, Vec<u8>),
    dtls: Dtls,
    role: DtlsRole,
    remote: Option<(String, String)>,
    pub keys: Option<(SrtpProfile, Context, Context)>,
    pub connected: bool,
    pub peer_certificate: Option<Vec<u8>>,
    pub out: Vec<Vec<u8>>,
    pub next_timeout: Option<Instant>,
}

impl Browser {
    /// `role` is what the engine plays.
    pub fn new(role: DtlsRole, v13: bool, now: Instant) -> Browser {
        Browser::with_config(role, v13, Config::builder().build().unwrap(), now)
    }

    pub fn with_config(role: DtlsRole, v13: bool, config: Config, now: Instant) -> Browser {
        let certificate = certificate();
        let own = DtlsCertificate {
            certificate: certificate.0.clone(),
            private_key: certificate.1.clone(),
        };
        let config = Arc::new(config);
        let mut dtls = if v13 {
            Dtls::new_auto(config, own, now)
        } else {
            Dtls::new_12(config, own, now)
        };
        dtls.set_active(role == DtlsRole::Passive);
        Browser {
            ufrag: "brws".to_owned(),
            pwd: "a-password-of-22-chars-or-more".to_owned(),
            certificate,
            dtls,
            role,
            remote: None,
            keys: None,
            connected: false,
            peer_certificate: None,
            out: Vec::new(),
            next_timeout: None,
        }
    }

    pub fn fingerprint(&self) -> Fingerprint {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.certificate.0);
        // As Chromium and others write it.
        Fingerprint {
            hash: "SHA-256".to_owned(),
            digest: digest.as_ref().to_vec(),
        }
    }

    pub fn description(&self, formats: Vec<Format>) -> Remote {
        Remote {
            transport: RemoteTransport::WebRtc {
                ufrag: self.ufrag.clone(),
                pwd: self.pwd.clone(),
                fingerprints: vec![self.fingerprint()],
                dtls: self.role,
            },
            media: audio(formats),
        }
    }

    pub fn set_remote(&mut self, local: &LocalTransport) {
        let LocalTransport::WebRtc { ufrag, pwd, .. } = local else {
            panic!("no browser leg")
        };
        self.remote = Some((ufrag.clone(), pwd.clone()));
    }

    pub fn check(&self, nominate: bool) -> Vec<u8> {
        let (ufrag, pwd) = self.remote.as_ref().unwrap();
        self.check_as(&format!("{ufrag}:{}", self.ufrag), pwd, nominate)
    }

    pub fn check_as(&self, username: &str, pwd: &str, nominate: bool) -> Vec<u8> {
        let message = StunMessage::binding_request(
            username,
            TransId::new(),
            true,
            7,
            1_845_501_695,
            nominate,
        );
        let mut packet = vec![0; 548];
        let len = message
            .to_bytes(Some(pwd.as_bytes()), &mut packet, |key, parts| {
                DefaultSha1HmacProvider.sha1_hmac(key, parts)
            })
            .unwrap();
        packet.truncate(len);
        packet
    }

    pub fn start(&mut self, now: Instant) {
        self.timeout(now);
    }

    pub fn timeout(&mut self, now: Instant) {
        self.dtls.handle_timeout(now).unwrap();
        self.drain();
    }

    pub fn hear(&mut self, packet: &[u8], now: Instant) -> Heard {
        match packet[0] {
            0..=3 => {
                let message = StunMessage::parse(packet).unwrap();
                let pwd = &self.remote.as_ref().unwrap().1;
                assert!(message.verify(pwd.as_bytes(), |key, parts| {
                    DefaultSha1HmacProvider.sha1_hmac(key, parts)
                }));
                assert!(message.is_successful_binding_response());
                Heard::CheckAnswered
            }
            20..=63 => {
                self.dtls.handle_timeout(now).unwrap();
                self.drain();
                self.dtls.handle_packet(packet).unwrap();
                self.drain();
                Heard::Nothing
            }
            _ => {
                let (_, inbound, _) = self.keys.as_mut().expect("media before the handshake");
                let mut packet = packet.to_vec();
                if (192..=223).contains(&packet[1]) {
                    let len = inbound.open_rtcp(&mut packet).expect("authentic");
                    packet.truncate(len);
                    return Heard::Rtcp(packet);
                }
                let header = RtpHeader::parse(&packet).unwrap();
                let len = inbound.open_rtp(&mut packet, &header).expect("authentic");
                let payload = packet[header.header_len..len].to_vec();
                Heard::Rtp { header, payload }
            }
        }
    }

    pub fn rtp(&mut self, header: &RtpHeader, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 12 + payload.len() + 32];
        header.write(&mut packet).unwrap();
        packet[12..12 + payload.len()].copy_from_slice(payload);
        let (_, _, outbound) = self.keys.as_mut().unwrap();
        let len = outbound
            .seal_rtp(&mut packet, 12 + payload.len(), header)
            .unwrap();
        packet.truncate(len);
        packet
    }

    fn drain(&mut self) {
        let mut buf = [0; 2048];
        loop {
            match self.dtls.poll_output(&mut buf) {
                Output::Packet(packet) => self.out.push(packet.to_vec()),
                Output::Timeout(at) => {
                    self.next_timeout = Some(at);
                    return;
                }
                Output::Connected => self.connected = true,
                Output::PeerCert(der) => self.peer_certificate = Some(der.to_vec()),
                Output::KeyingMaterial(material, profile) => {
                    let (profile, key, salt) = match profile {
                        dimpl::SrtpProfile::AES128_CM_SHA1_80 => {
                            (SrtpProfile::AesCm128HmacSha1_80, 16, 14)
                        }
                        dimpl::SrtpProfile::AEAD_AES_128_GCM => {
                            (SrtpProfile::AeadAes128Gcm, 16, 12)
                        }
                        dimpl::SrtpProfile::AEAD_AES_256_GCM => {
                            (SrtpProfile::AeadAes256Gcm, 32, 12)
                        }
                        _ => panic!("a new profile"),
                    };
                    let part = |at: usize, salt_at: usize| {
                        [&material[at..at + key], &material[salt_at..salt_at + salt]].concat()
                    };
                    let client = Context::new(profile, &part(0, 2 * key)).unwrap();
                    let server = Context::new(profile, &part(key, 2 * key + salt)).unwrap();
                    self.keys = Some(match self.role {
                        DtlsRole::Passive => (profile, server, client),
                        DtlsRole::Active => (profile, client, server),
                    });
                }
                _ => {}
            }
        }
    }
}

pub fn audio(formats: Vec<Format>) -> Vec<RemoteMedia> {
    vec![RemoteMedia {
        kind: MediaKind::Audio,
        direction: Direction::SendRecv,
        formats,
        ptime_ms: 20,
        mid: None,
        key_frame: media_control::KeyFrameRequests::default(),
        inband_dtmf: false,
    }]
}

pub fn format(codec: Codec, pt: u8, clock_hz: u32) -> Format {
    let channels = if codec == Codec::Opus { 2 } else { 1 };
    Format {
        codec,
        send_pt: pt,
        receive_pt: pt,
        clock_hz,
        channels,
        fmtp: String::new(),
    }
}
