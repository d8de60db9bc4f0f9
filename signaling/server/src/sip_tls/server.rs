//! Who connects to us: the facts of whatever certificate is shown.

use super::client::sip_domain;
use sha2::{Digest, Sha256};
use signaling_trunk::tls::PeerCertificate;
use std::net::IpAddr;
use std::sync::Arc;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage};

/// Names of one certificate that are looked at.
const MAX_NAMES: usize = 32;

/// Asks for a certificate, requires none, and takes whichever comes: only that its key is there is checked, since
/// whom it is enough for is not known before a request says which trunk's it is.
#[derive(Debug)]
pub(super) struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl AnyCertificate {
    pub fn new(provider: Arc<CryptoProvider>) -> AnyCertificate {
        AnyCertificate { provider }
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: each trunk has its own, and who sees ours listed shows nothing else.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// What is to be known of a chain; `profiles`: roots by trunk. `None`: it cannot be read.
pub(super) fn facts<'a>(
    chain: &[CertificateDer<'_>],
    remote: IpAddr,
    profiles: impl Iterator<Item = (&'a String, &'a RootCertStore)>,
    provider: &CryptoProvider,
) -> Option<PeerCertificate> {
    let (own, intermediates) = chain.split_first()?;
    let certificate = EndEntityCert::try_from(own).ok()?;
    let hosts = certificate.valid_dns_names();
    let domains = certificate.valid_uri_names().filter_map(sip_domain);
    let mut names: Vec<String> = hosts
        .chain(domains)
        .take(MAX_NAMES)
        .map(str::to_ascii_lowercase)
        .collect();
    let address = ServerName::IpAddress(remote.to_canonical().into());
    if certificate
        .verify_is_valid_for_subject_name(&address)
        .is_ok()
    {
        names.push(remote.to_canonical().to_string());
    }
    let now = UnixTime::now();
    let leads_to = |roots: &RootCertStore| {
        // Public authorities sign no more for clients: a server's certificate shows a domain as well (RFC 5922 §7.1
        // asks for no usage of its own).
        [KeyUsage::client_auth(), KeyUsage::server_auth()]
            .into_iter()
            .any(|usage| {
                let algorithms = provider.signature_verification_algorithms.all;
                certificate
                    .verify_for_usage(
                        algorithms,
                        &roots.roots,
                        intermediates,
                        now,
                        usage,
                        None,
                        None,
                    )
                    .is_ok()
            })
    };
    let trusted_by = profiles
        .filter(|(_, roots)| leads_to(roots))
        .map(|(name, _)| name.clone())
        .collect();
    Some(PeerCertificate {
        sha256: Sha256::digest(own).into(),
        names,
        trusted_by,
    })
}
