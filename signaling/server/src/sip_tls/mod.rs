//! TLS of the trunk's connections: one server face for all who connect to us, and a client face for each trunk.
//!
//! Whoever connects may show any certificate, or none: whether it is enough is settled for each trunk when a request
//! comes, by the facts that [`server`] finds ([`signaling_trunk::tls::admits`]). Where we connect, nothing is said
//! before the far end has proved to be whom the trunk's rules ask for ([`client`]).

mod client;
mod server;
mod words;

use signaling_trunk::lines::{Lines, TlsSpec};
use signaling_trunk::tls::{PeerCertificate, TlsOpen};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::ResolvesServerCert;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A peer has this long for the whole of it.
pub const HANDSHAKE: Duration = Duration::from_secs(5);
/// Handshakes of strangers at once …
pub const MAX_HANDSHAKES: usize = 512;
/// … and from one address: a NAT with many phones behind it stays below when they all come back.
pub const MAX_HANDSHAKES_PER_ADDRESS: usize = 64;

/// What TLS is spoken with. Clones share everything.
#[derive(Clone)]
pub struct SipTls {
    acceptor: TlsAcceptor,
    provider: Arc<CryptoProvider>,
    /// By trunk; the empty name stands for pages' accounts and everybody else.
    profiles: Arc<RwLock<HashMap<String, Arc<Profile>>>>,
}

impl fmt::Debug for SipTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SipTls")
    }
}

/// Whom one trunk believes, and how we connect to it.
struct Profile {
    spec: TlsSpec,
    roots: Arc<RootCertStore>,
    /// Or why there can be no connection.
    client: Result<Arc<ClientConfig>, String>,
}

impl SipTls {
    /// `certificate`: ours, asked for at each handshake. `authorities`: believed beside the system's, where no trunk
    /// says otherwise.
    pub fn new(
        certificate: Arc<dyn ResolvesServerCert>,
        authorities: Vec<CertificateDer<'static>>,
    ) -> Result<SipTls, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(Arc::new(server::AnyCertificate::new(provider.clone())))
            .with_cert_resolver(certificate);
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(authorities);
        let usual = Profile::new(TlsSpec::default(), Arc::new(roots), &provider);
        Ok(SipTls {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            provider,
            profiles: Arc::new(RwLock::new(
                [(String::new(), Arc::new(usual))].into_iter().collect(),
            )),
        })
    }

    /// The operator's trunks from now on. What cannot be used is said in the log, and again by each connection that
    /// would need it.
    pub fn take_lines(&self, lines: &Lines) {
        let mut profiles = self
            .profiles
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let usual = profiles.get("").cloned();
        let mut next = HashMap::new();
        for trunk in &lines.trunks {
            let spec = trunk.tls.clone().unwrap_or_default();
            let known = profiles.get(&trunk.name).filter(|known| known.spec == spec);
            let profile = match (known, &usual) {
                (Some(known), _) => known.clone(),
                (None, Some(usual)) => {
                    let roots = match own_roots(&spec) {
                        Ok(own) => own.map_or_else(|| usual.roots.clone(), Arc::new),
                        Err(why) => {
                            tracing::warn!(trunk = trunk.name, "TLS: {why}");
                            // Nobody rather than everybody.
                            Arc::new(RootCertStore::empty())
                        }
                    };
                    let made = Profile::new(spec, roots, &self.provider);
                    if let Err(why) = &made.client {
                        tracing::warn!(trunk = trunk.name, "TLS: {why}");
                    }
                    Arc::new(made)
                }
                (None, None) => continue,
            };
            next.insert(trunk.name.clone(), profile);
        }
        next.extend(usual.map(|usual| (String::new(), usual)));
        *profiles = next;
    }

    /// The server's side of a handshake, and what the peer showed.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        remote: std::net::SocketAddr,
    ) -> Result<
        (
            impl AsyncRead + AsyncWrite + use<S>,
            Option<PeerCertificate>,
        ),
        String,
    > {
        let accepted = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await;
        let stream = match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("the handshake took too long".into()),
        };
        let peer = stream.get_ref().1.peer_certificates();
        let peer = peer.and_then(|chain| self.facts(chain, remote.ip()));
        Ok((stream, peer))
    }

    fn facts(
        &self,
        chain: &[CertificateDer<'_>],
        remote: std::net::IpAddr,
    ) -> Option<PeerCertificate> {
        let profiles = self
            .profiles
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let known = profiles
            .iter()
            .map(|(name, profile)| (name, &*profile.roots));
        server::facts(chain, remote, known, &self.provider)
    }

    /// The client's side of a handshake. The error says what is wrong and what to do.
    pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        open: &TlsOpen,
        stream: S,
    ) -> Result<impl AsyncRead + AsyncWrite + use<S>, String> {
        let profile = {
            let profiles = self.profiles.read().unwrap_or_else(PoisonError::into_inner);
            profiles.get(&open.profile).cloned()
        };
        let profile = profile.ok_or_else(|| "the trunk is gone".to_owned())?;
        let config = profile.client.clone()?;
        let name = client::server_name(&open.server_name)?;
        let connecting = TlsConnector::from(config).connect(name, stream);
        match tokio::time::timeout(HANDSHAKE, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(words::of(&error, open)),
            Err(_) => Err("the TLS handshake took too long".into()),
        }
    }
}

impl Profile {
    fn new(spec: TlsSpec, roots: Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> Profile {
        let client = client::config(&spec, &roots, provider).map(Arc::new);
        Profile {
            spec,
            roots,
            client,
        }
    }
}

/// `None`: the usual ones.
fn own_roots(spec: &TlsSpec) -> Result<Option<RootCertStore>, String> {
    if spec.roots_pem.is_empty() {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&spec.roots_pem).map_err(|why| format!("its roots: {why}"))? {
        roots
            .add(certificate)
            .map_err(|error| format!("its roots: {error}"))?;
    }
    Ok(Some(roots))
}

/// The certificates of a PEM text.
fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match read {
        Ok(read) if read.is_empty() => Err("there is no certificate in PEM".into()),
        Ok(read) => Ok(read),
        Err(error) => Err(error.to_string()),
    }
}
