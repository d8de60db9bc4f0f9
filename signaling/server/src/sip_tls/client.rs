//! Whom we connect to: the far end must be the one that the URI names (RFC 5922 §7.2), by the rules of its trunk.

use super::certificates;
use sha2::{Digest, Sha256};
use signaling_trunk::lines::TlsSpec;
use std::sync::Arc;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    version,
};
use webpki::EndEntityCert;

pub(super) fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| format!("\"{name}\" is no name that a certificate could hold"))
}

/// How we connect by these rules; the error is a sentence without its end.
pub(super) fn config(
    spec: &TlsSpec,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientConfig, String> {
    let versions: &[_] = if spec.at_least_1_3 {
        &[&version::TLS13]
    } else {
        &[&version::TLS13, &version::TLS12]
    };
    let rule = match spec.pinned_sha256 {
        Some(pinned) => Rule::Pinned(pinned),
        None if roots.is_empty() => {
            return Err(
                "no certificate authority is known; install ca-certificates, or name one in sip.ca or the trunk's own roots"
                    .into(),
            );
        }
        None => {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone());
            let verifier = verifier.build().map_err(|error| error.to_string())?;
            // Empty where the roots are the system's: nobody's own certificate is among those.
            let listed = certificates(&spec.roots_pem).unwrap_or_default();
            Rule::Roots { verifier, listed }
        }
    };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier {
            rule,
            provider: provider.clone(),
        }));
    match (spec.certificate_pem.as_str(), spec.key_pem.as_str()) {
        ("", "") => Ok(builder.with_no_client_auth()),
        ("", _) => Err("it has a key of its own but no certificate".into()),
        (_, "") => Err("it has a certificate of its own but no key".into()),
        (certificate, key) => {
            let chain =
                certificates(certificate).map_err(|why| format!("its own certificate: {why}"))?;
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                .map_err(|_| "its own key is no private key in PEM".to_owned())?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("its own certificate and key: {error}"))
        }
    }
}

#[derive(Debug)]
enum Rule {
    /// That very certificate and nothing else counts.
    Pinned([u8; 32]),
    Roots {
        verifier: Arc<WebPkiServerVerifier>,
        /// The operator's roots themselves: a PBX that signed its own certificate is believed by listing that, though
        /// it may say that it is an authority.
        listed: Vec<CertificateDer<'static>>,
    },
}

#[derive(Debug)]
struct Verifier {
    rule: Rule,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.rule {
            Rule::Pinned(pinned) if Sha256::digest(end_entity)[..] == pinned[..] => {}
            Rule::Pinned(_) => return Err(CertificateError::ApplicationVerificationFailure.into()),
            Rule::Roots { listed, .. } if listed.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)
                    .or_else(|error| names_its_domain(end_entity, name, error))?;
            }
            Rule::Roots { verifier, .. } => {
                let verified =
                    verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now);
                // The chain is looked at before the name.
                if let Err(error) = verified {
                    names_its_domain(end_entity, name, error)?;
                }
            }
        }
        Ok(ServerCertVerified::assertion())
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

/// A SIP domain may stand in a certificate as `URI:sip:domain` instead of a DNS name (RFC 5922 §7.1).
fn names_its_domain(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    error: Error,
) -> Result<(), Error> {
    let by_name = matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    );
    let wanted = name.to_str();
    let named = || {
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let mut domains = certificate.valid_uri_names().filter_map(sip_domain);
        domains.find(|domain| domain.eq_ignore_ascii_case(&wanted))
    };
    if by_name && named().is_some() {
        Ok(())
    } else {
        Err(error)
    }
}

/// The domain of `sip:domain`; a URI with a user part names no domain (RFC 5922 §7.1).
pub(super) fn sip_domain(uri: &str) -> Option<&str> {
    let (scheme, domain) = uri.split_once(':')?;
    let is_domain = scheme.eq_ignore_ascii_case("sip") && !domain.contains(['@', ';', '?']);
    is_domain.then_some(domain)
}
