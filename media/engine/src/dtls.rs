//! The DTLS handshake of a browser leg (RFC 5763, RFC 5764): versions 1.2 and 1.3, either role.
//!
//! It serves for the SRTP keys alone; no application data passes. The peer's certificate is whatever it
//! says, so all trust is in the fingerprint of its description, checked here.

use aws_lc_rs::digest;
use dimpl::{Config, Dtls, DtlsCertificate, Output};
use media_control::{DtlsRole, Fingerprint, LegFailure, SrtpProfile};
use std::sync::Arc;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// From the first valid check (or the remote description, if that is later) to the keys.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The first flight is repeated after this; the usual 1 s would be heard.
const FIRST_RETRANSMIT: Duration = Duration::from_millis(150);
const RETRIES: usize = 8;
/// How long a finished handshake is kept to repeat its last flight for a peer that lost it.
const LINGER: Duration = Duration::from_secs(15);
const MTU: usize = 1200;
/// A server's handshake that was spoilt before the peer showed its certificate begins anew so often:
/// until then anybody who forges the peer's address can spoil it.
const MAX_RESTARTS: u8 = 4;

/// Certificate and private key that a node shows to every browser: the cluster's, not the node's.
#[derive(Clone)]
pub struct DtlsIdentity {
    config: Arc<Config>,
    certificate: DtlsCertificate,
    fingerprint: Fingerprint,
}

impl std::fmt::Debug for DtlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DtlsIdentity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl DtlsIdentity {
    /// `certificate` is X.509 in DER with an ECDSA P-256 key, `key` that key as PKCS #8 in DER.
    pub fn new(certificate: Vec<u8>, key: Vec<u8>) -> Result<DtlsIdentity, String> {
        let config = Config::builder()
            .mtu(MTU)
            // ICE has shown that the peer lives at its address before a ClientHello is looked at.
            .use_server_cookie(false)
            .flight_start_rto(FIRST_RETRANSMIT)
            .flight_retries(RETRIES)
            .handshake_timeout(HANDSHAKE_TIMEOUT)
            .build()
            .map_err(|error| error.to_string())?;
        let digest = digest::digest(&digest::SHA256, &certificate)
            .as_ref()
            .to_vec();
        Ok(DtlsIdentity {
            config: Arc::new(config),
            certificate: DtlsCertificate {
                certificate,
                private_key: key,
            },
            fingerprint: Fingerprint {
                hash: "sha-256".to_owned(),
                digest,
            },
        })
    }

    /// What descriptions say about us.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

/// The keys that a handshake exported, ours and the peer's.
pub(crate) struct ExportedKeys {
    pub profile: SrtpProfile,
    /// Master key followed by master salt, of what the peer sends.
    pub theirs: Vec<u8>,
    /// The same of what we send.
    pub ours: Vec<u8>,
}

pub(crate) enum Progress {
    Going,
    Done(ExportedKeys),
    Failed(LegFailure),
    /// The peer said that it ends (`close_notify`).
    Closed,
}

pub(crate) struct Handshake {
    identity: DtlsIdentity,
    dtls: Dtls,
    /// The peer's first message was taken; before, only what may be one is looked at.
    begun: bool,
    restarts: u8,
    role: DtlsRole,
    fingerprints: Vec<Fingerprint>,
    verified: bool,
    connected: bool,
    keys: Option<ExportedKeys>,
    next: Option<Instant>,
    forget_at: Option<Instant>,
}

impl Handshake {
    pub fn new(
        identity: &DtlsIdentity,
        role: DtlsRole,
        fingerprints: Vec<Fingerprint>,
        now: Instant,
    ) -> Handshake {
        Handshake {
            identity: identity.clone(),
            dtls: make(identity, role, now),
            begun: false,
            restarts: 0,
            role,
            fingerprints,
            verified: false,
            connected: false,
            keys: None,
            next: None,
            forget_at: None,
        }
    }

    /// Begins where we are the client; harmless otherwise.
    pub fn start(&mut self, now: Instant, send: &mut dyn FnMut(&[u8])) -> Progress {
        self.handle_timeout(now, send)
    }

    pub fn handle_packet(
        &mut self,
        packet: &[u8],
        now: Instant,
        send: &mut dyn FnMut(&[u8]),
    ) -> Progress {
        if !self.begun && !may_be_first(packet, self.role) {
            return Progress::Going;
        }
        // The library reads the time only here.
        if self.dtls.handle_timeout(now).is_err() {
            return self.failed(now);
        }
        let progress = self.drain(now, send);
        if !matches!(progress, Progress::Going) {
            return progress;
        }
        if self.dtls.handle_packet(packet).is_err() {
            // What the peer was still to be told (an alert) goes out before we give up.
            let _ = self.drain(now, send);
            return self.failed(now);
        }
        // A server is begun when it answers: a hello can come in fragments.
        self.begun |= self.role == DtlsRole::Active;
        self.drain(now, send)
    }

    pub fn handle_timeout(&mut self, now: Instant, send: &mut dyn FnMut(&[u8])) -> Progress {
        if self.dtls.handle_timeout(now).is_err() {
            return self.failed(now);
        }
        self.drain(now, send)
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// The last flight need not be repeated any more.
    pub fn may_be_forgotten(&self, now: Instant) -> bool {
        self.forget_at.is_some_and(|at| at <= now)
    }

    pub fn forget_at(&self) -> Option<Instant> {
        self.forget_at
    }

    /// A failure after the keys are out ends only the repeating, not the leg: an alert of that age is
    /// not evidence of anything.
    fn failed(&mut self, now: Instant) -> Progress {
        if !self.verified && self.role == DtlsRole::Passive && self.restarts < MAX_RESTARTS {
            self.restarts += 1;
            self.dtls = make(&self.identity, self.role, now);
            self.begun = false;
            self.next = None;
            return Progress::Going;
        }
        if self.connected {
            Progress::Going
        } else {
            Progress::Failed(LegFailure::DtlsFailed)
        }
    }

    fn drain(&mut self, now: Instant, send: &mut dyn FnMut(&[u8])) -> Progress {
        let mut buf = [0u8; 2048];
        let mut closed = false;
        loop {
            match self.dtls.poll_output(&mut buf) {
                Output::Packet(packet) => {
                    self.begun |= self.role == DtlsRole::Passive;
                    send(packet);
                }
                Output::BufferTooSmall { .. } => return self.failed(now),
                Output::Timeout(at) => {
                    self.next = Some(at);
                    break;
                }
                Output::PeerCert(der) => {
                    if !matches_any(&self.fingerprints, der) {
                        return Progress::Failed(LegFailure::FingerprintMismatch);
                    }
                    self.verified = true;
                }
                Output::KeyingMaterial(material, profile) => {
                    self.keys = split(&material, profile, self.role);
                }
                Output::Connected => self.connected = true,
                Output::CloseNotify => closed = true,
                Output::ApplicationData(_) => {}
                _ => {}
            }
        }
        if self.connected && !self.verified {
            return Progress::Failed(LegFailure::FingerprintMismatch);
        }
        if self.connected && self.forget_at.is_none() {
            let Some(keys) = self.keys.take() else {
                // Connected without use_srtp: nothing could be sent (RFC 5764 §4.1).
                return Progress::Failed(LegFailure::DtlsFailed);
            };
            self.forget_at = Some(now + LINGER);
            return Progress::Done(keys);
        }
        if closed {
            Progress::Closed
        } else {
            Progress::Going
        }
    }
}

fn make(identity: &DtlsIdentity, role: DtlsRole, now: Instant) -> Dtls {
    let mut dtls = Dtls::new_auto(identity.config.clone(), identity.certificate.clone(), now);
    dtls.set_active(role == DtlsRole::Active);
    dtls
}

/// A handshake record of epoch 0 with a ClientHello for a server, a ServerHello or HelloVerifyRequest for
/// a client (RFC 6347 §4.1, §4.2.2).
fn may_be_first(packet: &[u8], role: DtlsRole) -> bool {
    match packet {
        [22, 254, _, 0, 0, _, _, _, _, _, _, _, _, kind, ..] => match role {
            DtlsRole::Passive => *kind == 1,
            DtlsRole::Active => matches!(kind, 2 | 3),
        },
        _ => false,
    }
}

/// RFC 8122 §5: hash names in any case. MD5 and SHA-1 are not trusted with this.
fn matches_any(fingerprints: &[Fingerprint], certificate: &[u8]) -> bool {
    fingerprints.iter().any(|fingerprint| {
        let algorithm = match fingerprint.hash.to_ascii_lowercase().as_str() {
            "sha-256" => &digest::SHA256,
            "sha-384" => &digest::SHA384,
            "sha-512" => &digest::SHA512,
            _ => return false,
        };
        digest::digest(algorithm, certificate)
            .as_ref()
            .ct_eq(&fingerprint.digest)
            .into()
    })
}

/// Client key, server key, client salt, server salt (RFC 5764 §4.2).
fn split(material: &[u8], profile: dimpl::SrtpProfile, role: DtlsRole) -> Option<ExportedKeys> {
    let (profile, key_len, salt_len) = match profile {
        dimpl::SrtpProfile::AES128_CM_SHA1_80 => (SrtpProfile::AesCm128HmacSha1_80, 16, 14),
        dimpl::SrtpProfile::AEAD_AES_128_GCM => (SrtpProfile::AeadAes128Gcm, 16, 12),
        dimpl::SrtpProfile::AEAD_AES_256_GCM => (SrtpProfile::AeadAes256Gcm, 32, 12),
        _ => return None,
    };
    let (client_key, rest) = material.split_at_checked(key_len)?;
    let (server_key, rest) = rest.split_at_checked(key_len)?;
    let (client_salt, rest) = rest.split_at_checked(salt_len)?;
    let (server_salt, _) = rest.split_at_checked(salt_len)?;
    let client = [client_key, client_salt].concat();
    let server = [server_key, server_salt].concat();
    Some(match role {
        DtlsRole::Active => ExportedKeys {
            profile,
            theirs: server,
            ours: client,
        },
        DtlsRole::Passive => ExportedKeys {
            profile,
            theirs: client,
            ours: server,
        },
    })
}
