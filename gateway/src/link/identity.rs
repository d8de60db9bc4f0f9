//! Who may be on the link: certificates of one small authority of our own, kept in `link.dir`.
//!
//! ```text
//! ca.pem    the authority's certificate      the same on every node
//! ca.key    its key                          only where further nodes' certificates are made
//! node.pem  this node's certificate          made from the authority at the first start
//! node.key  its key                          never leaves the node
//! ```
//!
//! One box makes all four by itself. A further node is given `ca.pem` with either `ca.key` or a
//! `node.pem` and `node.key` made for it. Both ends of a connection prove that the same authority knows
//! them (mutual TLS 1.3).

use crate::files::{self, FileError};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::path::Path;
use std::sync::Arc;

/// The name in every node's certificate; addresses would be wrong as soon as a node moves.
pub const NODE_NAME: &str = "node.trunkgate.internal";

/// Application protocol of the TLS handshake (RFC 7301).
const ALPN: &[u8] = b"trunkgate-link";

const AUTHORITY_NAME: &str = "Trunkgate link";

/// What this node shows and whom it believes.
pub struct Identity {
    authority: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads the files of `dir`, making those that are missing.
    pub fn load_or_make(dir: &Path) -> Result<Identity, FileError> {
        let _alone = files::lock_dir(dir)?;
        let [ca_pem, ca_key] = ["ca.pem", "ca.key"].map(|name| dir.join(name));
        let [node_pem, node_key] = ["node.pem", "node.key"].map(|name| dir.join(name));
        if !ca_pem.exists() {
            let key = generate(&ca_key)?;
            let certificate = authority_params()
                .self_signed(&key)
                .map_err(|e| FileError::unusable(&ca_pem, e))?;
            files::write_private(&ca_key, key.serialize_pem().as_bytes())?;
            files::write_public(&ca_pem, certificate.pem().as_bytes())?;
        }
        if !node_pem.exists() {
            let key = KeyPair::from_pem(&files::read_text(&ca_key)?)
                .map_err(|e| FileError::unusable(&ca_key, e))?;
            // Subject and key make an issuer; the rest of its certificate is not looked at.
            let issuer = Issuer::new(authority_params(), key);
            let key = generate(&node_key)?;
            let certificate = node_params()
                .signed_by(&key, &issuer)
                .map_err(|e| FileError::unusable(&node_pem, e))?;
            files::write_private(&node_key, key.serialize_pem().as_bytes())?;
            files::write_public(&node_pem, certificate.pem().as_bytes())?;
        }
        Ok(Identity {
            authority: read_certificate(&ca_pem)?,
            certificate: read_certificate(&node_pem)?,
            key: PrivateKeyDer::from_pem_slice(files::read_text(&node_key)?.as_bytes())
                .map_err(|e| FileError::unusable(&node_key, e))?,
        })
    }

    pub(super) fn server(&self) -> Result<quinn::crypto::rustls::QuicServerConfig, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), provider.clone())
                .build()
                .map_err(|e| rustls::Error::General(e.to_string()))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        quinn::crypto::rustls::QuicServerConfig::try_from(config)
            .map_err(|e| rustls::Error::General(e.to_string()))
    }

    pub(super) fn client(&self) -> Result<quinn::crypto::rustls::QuicClientConfig, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        quinn::crypto::rustls::QuicClientConfig::try_from(config)
            .map_err(|e| rustls::Error::General(e.to_string()))
    }

    fn roots(&self) -> Result<RootCertStore, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone())?;
        Ok(roots)
    }
}

fn generate(path: &Path) -> Result<KeyPair, FileError> {
    KeyPair::generate().map_err(|e| FileError::unusable(path, e))
}

fn read_certificate(path: &Path) -> Result<CertificateDer<'static>, FileError> {
    CertificateDer::from_pem_slice(files::read_text(path)?.as_bytes())
        .map_err(|e| FileError::unusable(path, e))
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params
        .distinguished_name
        .push(DnType::CommonName, AUTHORITY_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn node_params() -> CertificateParams {
    let mut params =
        CertificateParams::new(vec![NODE_NAME.to_owned()]).expect("the name is plain ASCII");
    params.distinguished_name.remove(DnType::CommonName);
    params
        .distinguished_name
        .push(DnType::CommonName, "Trunkgate node");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    params
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::test_dir;

    #[cfg(unix)]
    #[test]
    fn keys_are_made_once_and_only_their_owner_can_read_them() {
        use std::os::unix::fs::PermissionsExt;
        let dir = test_dir();
        let first = Identity::load_or_make(dir.path()).unwrap();
        let again = Identity::load_or_make(dir.path()).unwrap();
        assert_eq!(first.certificate, again.certificate);
        for name in ["ca.key", "node.key"] {
            let mode = dir
                .path()
                .join(name)
                .metadata()
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_further_node_with_the_authoritys_key_makes_a_certificate_of_its_own() {
        let (one, two) = (test_dir(), test_dir());
        let first = Identity::load_or_make(one.path()).unwrap();
        for name in ["ca.pem", "ca.key"] {
            std::fs::copy(one.path().join(name), two.path().join(name)).unwrap();
        }
        let second = Identity::load_or_make(two.path()).unwrap();
        assert_eq!(first.authority, second.authority);
        assert_ne!(first.certificate, second.certificate);
    }

    #[test]
    fn an_unreadable_certificate_is_named() {
        let dir = test_dir();
        std::fs::write(dir.path().join("ca.pem"), "nonsense").unwrap();
        std::fs::write(dir.path().join("node.pem"), "nonsense").unwrap();
        let error = Identity::load_or_make(dir.path())
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("ca.pem"), "{error}");
    }
}
