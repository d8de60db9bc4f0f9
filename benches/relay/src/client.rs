//! A browser's end of a call: checks made by hand, DTLS by dimpl, SRTP by `media/packet`.

use dimpl::{Config, Dtls, DtlsCertificate, Output};
use is::stun::{StunMessage, TransId};
use is::{DefaultSha1HmacProvider, Sha1HmacProvider};
use media_packet::srtp::{Context, Profile};
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub struct Identity {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    pub fingerprint: Vec<u8>,
}

impl Identity {
    pub fn new() -> Identity {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let certificate = rcgen::CertificateParams::new(Vec::<String>::new())
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate")
            .der()
            .to_vec();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate);
        Identity {
            fingerprint: digest.as_ref().to_vec(),
            certificate,
            key: key.serialize_der(),
        }
    }
}

pub struct Keys {
    pub profile: Profile,
    pub inbound: Context,
    pub outbound: Context,
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    DefaultSha1HmacProvider.sha1_hmac(key, parts)
}

/// A binding request that nominates.
pub fn check(theirs: &(String, String), ufrag: &str) -> Vec<u8> {
    let name = format!("{}:{ufrag}", theirs.0);
    let message = StunMessage::binding_request(&name, TransId::new(), true, 7, 1_845_501_695, true);
    to_bytes(&message, &theirs.1)
}

/// The answer to a check of the other side, if this is one.
pub fn answer(packet: &[u8], socket: &UdpSocket, pwd: &str) -> Option<Vec<u8>> {
    let request = StunMessage::parse(packet).ok()?;
    if !request.is_binding_request() {
        return None;
    }
    let reply = StunMessage::binding_reply(request.trans_id(), socket.peer_addr().ok()?);
    Some(to_bytes(&reply, pwd))
}

fn to_bytes(message: &StunMessage<'_>, pwd: &str) -> Vec<u8> {
    let mut packet = vec![0; 548];
    let len = message
        .to_bytes(Some(pwd.as_bytes()), &mut packet, hmac)
        .expect("room enough");
    packet.truncate(len);
    packet
}

/// Does ICE and DTLS as the client; the socket is connected to the other side and blocks.
pub fn connect(
    socket: &UdpSocket,
    identity: &Identity,
    theirs: &(String, String),
    (ufrag, pwd): (&str, &str),
    v13: bool,
) -> Result<Keys, String> {
    socket
        .set_read_timeout(Some(Duration::from_millis(10)))
        .map_err(|e| e.to_string())?;
    let own = DtlsCertificate {
        certificate: identity.certificate.clone(),
        private_key: identity.key.clone(),
    };
    let config = Arc::new(Config::builder().build().map_err(|e| format!("{e:?}"))?);
    let now = Instant::now();
    let mut dtls = if v13 {
        Dtls::new_auto(config, own, now)
    } else {
        Dtls::new_12(config, own, now)
    };
    dtls.set_active(true);
    let until = now + Duration::from_secs(10);
    let mut next_check = now;
    let mut checked = false;
    let (mut keys, mut connected) = (None, false);
    let mut buf = [0; 4096];
    while keys.is_none() || !connected {
        let now = Instant::now();
        if now > until {
            return Err(format!(
                "not connected after 10 s (check answered: {checked})"
            ));
        }
        if now >= next_check {
            let _ = socket.send(&check(theirs, ufrag));
            next_check = now
                + if checked {
                    Duration::from_secs(1)
                } else {
                    Duration::from_millis(50)
                };
        }
        if let Ok(len) = socket.recv(&mut buf) {
            let packet = &buf[..len];
            match packet.first() {
                Some(0..=3) => match answer(packet, socket, pwd) {
                    Some(reply) => drop(socket.send(&reply)),
                    None => checked = true,
                },
                Some(20..=63) => {
                    dtls.handle_packet(packet)
                        .map_err(|e| format!("DTLS: {e:?}"))?;
                }
                _ => {}
            }
        }
        if checked {
            dtls.handle_timeout(Instant::now())
                .map_err(|e| format!("DTLS: {e:?}"))?;
            let mut out = [0; 2048];
            loop {
                match dtls.poll_output(&mut out) {
                    Output::Packet(packet) => drop(socket.send(packet)),
                    Output::Timeout(_) => break,
                    Output::Connected => connected = true,
                    Output::KeyingMaterial(material, profile) => {
                        let profile = match profile {
                            dimpl::SrtpProfile::AES128_CM_SHA1_80 => Profile::AesCm128HmacSha1_80,
                            dimpl::SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
                            dimpl::SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
                            _ => return Err("an unknown SRTP profile".to_owned()),
                        };
                        keys = Some(split(&material, profile)?);
                    }
                    _ => {}
                }
            }
        }
    }
    keys.ok_or_else(|| "no keys".to_owned())
}

/// Both directions' keys out of the exported material (RFC 5764 §4.2); we are the client.
fn split(material: &[u8], profile: Profile) -> Result<Keys, String> {
    let (key, salt) = (
        media_packet::srtp::key_len(profile),
        media_packet::srtp::salt_len(profile),
    );
    let part = |key_at: usize, salt_at: usize| {
        let key_and_salt = [
            &material[key_at..key_at + key],
            &material[salt_at..salt_at + salt],
        ]
        .concat();
        Context::new(profile, &key_and_salt).map_err(|e| format!("{e:?}"))
    };
    Ok(Keys {
        profile,
        outbound: part(0, 2 * key)?,
        inbound: part(key, 2 * key + salt)?,
    })
}
